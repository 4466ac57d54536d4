//! Paths: whatever comes, an endpoint leads below the provider's base URL and its model is a clean name.
#![no_main]

use ai_gateway_providers::{endpoint::match_endpoint, model_name};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    for method in [Method::GET, Method::POST] {
        if let Ok(endpoint) = match_endpoint(&method, path, &HeaderMap::new()) {
            assert!(endpoint.upstream_path("/base/").starts_with("/base/"));
            assert!(endpoint.path_model.is_none_or(|model| model_name::check(&model).is_ok()));
        }
    }
});
