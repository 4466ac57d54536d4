//! JSON bodies: the first line of the input is the new model name, the rest is the body.
#![no_main]

use ai_gateway_providers::scan::fidelity::check_json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let model = String::from_utf8_lossy(parts.next().unwrap_or_default());
    if let Err(broken) = check_json(parts.next().unwrap_or_default(), &model) {
        panic!("{broken}");
    }
});
