//! Operations other than chat: the first byte chooses the operation, the second the client's form; then comes the request, in one
//! line, and behind it the answer. What is written is JSON.
#![no_main]

use ai_gateway_providers::codec::{Call, Target, codec};
use ai_gateway_providers::common::{Event, Json, Losses, take_apart};
use ai_gateway_providers::operations::{About, Wire, completions, translate_answer, translate_request, translates};
use ai_gateway_providers::{Dialect, Operation};
use ai_gateway_providers_fuzz::{account, check_size, choose, client, maker, text};
use libfuzzer_sys::fuzz_target;

const OPERATIONS: [Operation; 5] =
    [Operation::Completions, Operation::Embeddings, Operation::Rerank, Operation::CountTokens, Operation::Images];

fn check_json(what: &str, input: usize, body: &[u8]) {
    check_size(input, body.len());
    let json = std::str::from_utf8(body).ok().and_then(Json::parse);
    assert!(json.is_some(), "{what} is no JSON: {}", text(body));
}

/// Completions are chat in other words.
fn check_completions(request: &[u8], answer: &[u8]) {
    let mut losses = Losses::default();
    if let Ok(request) = completions::decode_request(request, &mut losses) {
        for to in Dialect::ALL {
            let _ = codec(to).encode_request(&request, &Target::new("model", account()), &mut losses);
        }
    }
    let Ok(response) = codec(Dialect::OpenAiChat).decode_response(answer, &maker()) else { return };
    check_json("the completion", answer.len(), &completions::encode_response(&response, &client(), &mut losses));
    let (mut encoder, mut out) = (completions::stream_encoder(&client()), Vec::new());
    take_apart(&response, &mut |event: Event<'_>| encoder.encode(event, &mut losses, &mut out));
    check_size(answer.len(), out.len());
    assert!(out.ends_with(b"data: [DONE]\n\n"));
}

fuzz_target!(|input: &[u8]| {
    let [operation, from, rest @ ..] = input else { return };
    let (operation, from) = (choose(&OPERATIONS, *operation), choose(&Wire::ALL, *from));
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (request, answer) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    if operation == Operation::Completions {
        return check_completions(request, answer);
    }
    let call = Call { model: Some("model"), stream: false };
    for to in Wire::ALL.into_iter().filter(|to| translates(operation, from, *to)) {
        let target = Target::new("model", account());
        let Ok(written) = translate_request(operation, from, to, request, &call, &target) else { continue };
        check_json("the request", request.len(), &written.body);
        if let Ok(answered) = translate_answer(operation, to, from, answer, &written.asked, &About::default()) {
            // Documents are repeated from the request.
            check_json("the answer", input.len(), &answered.body);
        }
    }
});
