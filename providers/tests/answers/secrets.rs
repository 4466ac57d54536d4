//! What errors in streams do not tell.

use super::*;

/// What comes out of a stream whose key is `t0ken-1`, whole and in two pieces cut at every byte.
fn masked(dialect: Dialect, stream: &[u8]) -> Vec<u8> {
    let masked = |chunks: &[&[u8]]| -> Vec<u8> {
        let mut observer = Observer::new(dialect, Operation::Chat, AnswerForm::Stream, false);
        let feed = |(at, chunk): (usize, &&[u8])| {
            let out = observer.feed(Bytes::copy_from_slice(chunk), at + 1 == chunks.len());
            observer.masked(out, [&b"t0ken-1"[..]].into_iter())
        };
        chunks.iter().enumerate().flat_map(feed).collect()
    };
    let whole = masked(&[stream]);
    for at in 0..stream.len() {
        assert!(masked(&[&stream[..at], &stream[at..]]) == whole, "{dialect} cut at {at}");
    }
    whole
}

#[test]
fn errors_in_streams_do_not_tell_the_gateways_secrets_and_nothing_else_changes() {
    use Dialect::{Anthropic, Cohere, Gemini, OpenAiChat, OpenAiResponses};
    const SAID: &str = "t0ken-1 and sk-abcdefgh12 of org-AbC123xyz";
    const TOLD: &str = "******* and sk-********** of org-*********";
    let text = |before: &str, after: &str| (format!("{before}{SAID}{after}"), format!("{before}{SAID}{after}"));
    let error = |before: &str, after: &str| (format!("{before}{SAID}{after}"), format!("{before}{TOLD}{after}"));
    let twice = |before: &str, between: &str, after: &str| {
        let of = |word: &str| format!("{before}{word}{between}{word}{after}");
        (of(SAID), of(TOLD))
    };
    for (dialect, events) in [
        (
            OpenAiChat,
            vec![
                text("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", "\"},\"finish_reason\":null}]}\n\n"),
                error(
                    "data: {\"error\":{\"message\":\"",
                    "\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"org-AbC123xyz\"}}]}\r\n\r\n",
                ),
                twice(
                    "data: {\"error\":{\"message\":\"",
                    "\"},\"choices\":[{\"index\":0,\"error\":{\"message\":\"",
                    "\"}}]}\n\n",
                ),
                error(
                    "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"error\",\"error\":{\"message\":\"",
                    "\"},\"delta\":{\"content\":\"org-AbC123xyz\"}}]}\n\n",
                ),
                text("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", "\"},\"finish_reason\":null}]}\n\n"),
                error(
                    "event: error\ndata: {\"message\":\n\ndata: {\"x\":1}\n\nevent: error\ndata: {\"message\":\ndata: \"",
                    "\"}\n\n",
                ),
                error("event: error\ndata: {\"message\":\"", "\"}"),
            ],
        ),
        (
            OpenAiResponses,
            vec![
                text("data: {\"type\":\"response.output_text.delta\",\"delta\":\"", "\"}\n\n"),
                error("event: error\ndata: {\"type\":\"error\",\"message\":\"", "\"}\n\n"),
                error(
                    "data: {\"type\":\"response.failed\",\"response\":{\"instructions\":\"org-AbC123xyz\",\"error\":{\"message\":\"",
                    "\"}}}\n\n",
                ),
            ],
        ),
        (
            Anthropic,
            vec![
                text(
                    "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"",
                    "\"}}\n\n",
                ),
                error("event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"", "\"}}\n\n"),
            ],
        ),
        (
            Gemini,
            vec![
                text("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"", "\"}]}}]}\n\n"),
                error("data: {\"error\":{\"code\":503,\"message\":\"", "\"}}\n\n"),
            ],
        ),
        (
            Cohere,
            vec![
                text(
                    "data: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"",
                    "\"}}}}\n\n",
                ),
                error(
                    "data: {\"type\":\"message-end\",\"delta\":{\"error\":\"",
                    "\",\"finish_reason\":\"ERROR\"}}\n\n",
                ),
            ],
        ),
    ] {
        let sent: String = events.iter().map(|(sent, _)| &**sent).collect();
        let wanted: String = events.iter().map(|(_, wanted)| &**wanted).collect();
        // An event that is no JSON stays behind.
        let wanted = wanted.replace("event: error\ndata: {\"message\":\n\n", "");
        assert_eq!(String::from_utf8(masked(dialect, sent.as_bytes())).unwrap(), wanted, "{dialect}");
    }
    let frames = |told: &str| {
        let mut frames = Vec::new();
        let delta = format!("{{\"contentBlockIndex\":0,\"delta\":{{\"text\":\"{SAID}\"}}}}");
        write_event(&mut frames, "contentBlockDelta", |out| out.extend_from_slice(delta.as_bytes()));
        let error = format!("{{\"message\":\"{told}\"}}");
        write_exception(&mut frames, "modelStreamErrorException", |out| out.extend_from_slice(error.as_bytes()));
        frames
    };
    assert!(masked(Dialect::Bedrock, &frames(SAID)) == frames(TOLD));
}
