//! Whole answers: the first byte chooses the provider's dialect, the rest is the body. Every codec writes it so that it can be
//! read again, and its stream says the same as its whole answer.
#![no_main]

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::codec;
use ai_gateway_providers_fuzz::{check_answer, choose, maker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [dialect, body @ ..] = input else { return };
    let Ok(response) = codec(choose(&Dialect::ALL, *dialect)).decode_response(body, &maker()) else { return };
    for to in Dialect::ALL {
        check_answer(&response, to, body.len());
    }
});
