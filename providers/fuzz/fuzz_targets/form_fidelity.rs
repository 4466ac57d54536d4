//! Multipart bodies: the first line of the input is the `content-type`, the second the new model name, the rest is the
//! body.
#![no_main]

use ai_gateway_providers::scan::fidelity::check_multipart;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let content_type = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let model = String::from_utf8_lossy(parts.next().unwrap_or_default());
    if let Err(broken) = check_multipart(&content_type, parts.next().unwrap_or_default(), &model) {
        panic!("{broken}");
    }
});
