//! Streams: whatever comes, there is one end or error, and what is said does not depend on the cuts. What another codec writes of
//! it ends as the original does.
//!
//! The first byte chooses the provider's dialect, the next two the client's and the cuts. The rest is taken twice: as a body, and as events, one
//! a line (for Bedrock, the line's first byte chooses its name).
#![no_main]

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::codec;
use ai_gateway_providers::common::{Event, Losses, Response};
use ai_gateway_providers::error::ApiError;
use ai_gateway_providers::event_stream::{write_event, write_exception};
use ai_gateway_providers_fuzz::{check_answer, check_size, choose, client, maker, read_stream, text};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] =
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];

/// The lines as events of `dialect`.
fn framed(dialect: Dialect, lines: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some((choice, payload)) = line.split_first() else { continue };
        match NAMES.get(usize::from(*choice % 8)) {
            _ if dialect != Dialect::Bedrock => {
                body.extend_from_slice(b"data: ");
                body.extend_from_slice(line);
                body.extend_from_slice(b"\n\n");
            }
            Some(name) => write_event(&mut body, name, |out| out.extend_from_slice(payload)),
            None => write_exception(&mut body, "throttlingException", |out| out.extend_from_slice(payload)),
        }
    }
    body
}

fn read(dialect: Dialect, chunks: &[&[u8]]) -> Result<Response<'static>, ApiError> {
    read_stream(dialect, &mut *codec(dialect).stream_decoder(&maker()), chunks, &mut |_| {})
}

/// The stream, written as it comes in dialect `to`.
fn translate(dialect: Dialect, to: Dialect, body: &[u8]) {
    let (mut encoder, mut out, mut losses) = (codec(to).stream_encoder(&client()), Vec::new(), Losses::default());
    let mut decoder = codec(dialect).stream_decoder(&maker());
    let whole = read_stream(dialect, &mut *decoder, &[body], &mut |event: Event<'_>| {
        encoder.encode(event, &mut losses, &mut out);
    });
    check_size(body.len(), out.len());
    let again = read(to, &[&out]);
    // Some dialects have no word for an answer that is none: there it reads as cut off.
    if whole.as_ref().is_ok_and(|response| response.choices.is_empty()) {
        return;
    }
    assert_eq!(again.is_ok(), whole.is_ok(), "{to}: {again:?}: {}", text(&out));
    if let Ok(response) = &whole {
        check_answer(response, dialect, body.len());
    }
}

fuzz_target!(|input: &[u8]| {
    let [dialect, first, second, rest @ ..] = input else { return };
    let dialect = choose(&Dialect::ALL, *dialect);
    for body in [rest, &framed(dialect, rest)] {
        let whole = format!("{:?}", read(dialect, &[body]));
        let (before, after) = body.split_at(body.len() * usize::from(*first) / 256);
        let (middle, after) = after.split_at(after.len() * usize::from(*second) / 256);
        assert_eq!(format!("{:?}", read(dialect, &[before, middle, after])), whole);
        if (1..1024).contains(&body.len()) && *second == b'0' {
            assert_eq!(format!("{:?}", read(dialect, &body.chunks(1).collect::<Vec<_>>())), whole);
        }
        translate(dialect, choose(&Dialect::ALL, *first), body);
    }
});
