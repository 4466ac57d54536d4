//! Paths: whatever comes, an endpoint leads below the provider's base URL and its model is a clean name.
#![no_main]

use ai_gateway_providers::{endpoint::match_endpoint, model_name};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    for method in [Method::GET, Method::POST] {
        if let Ok(endpoint) = match_endpoint(&method, path, &HeaderMap::new()) {
            // Where the path names the model, the verb behind the name is all that is left of it.
            assert!(
                endpoint.suffix.starts_with('/') || (endpoint.path_model.is_some() && endpoint.suffix.starts_with(':'))
            );
            assert!(endpoint.path_model.is_none_or(|model| model_name::check(&model).is_ok()));
        }
    }
});
