//! Streams: what the recordings lack.

use super::super::super::Client;
use super::super::super::testing::{check_cuts, check_no_false_end, client, maker};
use super::*;
use crate::common::{Block, Content, Delta, Stop, StopReason, ToolCall, take_apart};
use crate::error::ErrorKind;

const CHUNKS: [&str; 5] = [
    r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":3,"totalTokenCount":3},"modelVersion":"m","responseId":"r"}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"Grüß "}],"role":"model"},"index":0},{"content":{"parts":[{"text":"Two \"{[]}\\"}]},"index":1}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"dich"},{"functionCall":{"name":"f","args":{"a":"}"}},"thoughtSignature":"c2ln"}],"role":"model"},"index":0,"finishReason":"STOP"}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":""}]},"index":1,"finishReason":"MAX_TOKENS","safetyRatings":[]}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":9,"totalTokenCount":12}}"#,
    r#"{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":10,"thoughtsTokenCount":2,"totalTokenCount":15}}"#,
];

fn array(chunks: &[&str]) -> Vec<u8> {
    format!("[{}\n]", chunks.join("\n,\r\n")).into_bytes()
}

#[test]
fn events_and_arrays_mean_the_same_in_any_cut() {
    let (sse, array) = (sse(&CHUNKS), array(&CHUNKS));
    let whole = streamed(&sse).unwrap();
    assert_eq!(streamed(&array).unwrap(), whole);
    assert_eq!(whole.choices.len(), 2);
    assert_eq!(whole.choices[0].stop.reason, StopReason::ToolCalls);
    assert_eq!(whole.choices[1].stop.reason, StopReason::MaxTokens);
    assert_eq!(whole.usage.unwrap().total(), Some(15));
    for body in [&sse, &array] {
        check_cuts(|| Gemini.stream_decoder(&maker()), OWN, body);
        check_no_false_end(|| Gemini.stream_decoder(&maker()), OWN, body);
    }
    // Line ends of every sort, and white space before an array.
    for end in ["\n\n", "\r\r", "\r\n\r\n"] {
        let body: String = CHUNKS.iter().map(|chunk| format!("data:{chunk}{end}")).collect();
        assert_eq!(streamed(body.as_bytes()).unwrap(), whole);
    }
    assert_eq!(streamed(&[b" \r\n".as_slice(), &array].concat()).unwrap(), whole);
}

#[test]
fn a_stream_without_a_reason_to_end_is_cut() {
    for body in [sse(&CHUNKS[..3]), array(&CHUNKS[..3]), sse(&[]), b"[]".to_vec(), b"[".to_vec(), b"   ".to_vec()] {
        assert_eq!(streamed(&body).unwrap_err().kind, ErrorKind::StreamCut, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn an_error_in_a_stream_is_an_error() {
    let error = r#"{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}"#;
    let in_array = format!("[{error}]");
    for body in [
        sse(&[CHUNKS[0], error]),
        sse(&[&in_array]),
        array(&[CHUNKS[0], error]),
        error.as_bytes().to_vec(),
        in_array.clone().into_bytes(),
    ] {
        let events = events(&body);
        assert_eq!(events.iter().filter(|event| matches!(event, Event::End | Event::Error(_))).count(), 1);
        assert_eq!(testing::collected(OWN, &events).unwrap_err().kind, ErrorKind::RateLimited);
    }
}

#[test]
fn a_broken_chunk_is_missed() {
    let body = sse(&[CHUNKS[1], r#"{"candidates":[{"content":"#, CHUNKS[2], CHUNKS[3]]);
    assert_eq!(streamed(&body).unwrap_err().kind, ErrorKind::UpstreamError);
    // What is no chunk is not.
    assert!(streamed(&sse(&[CHUNKS[1], "keep-alive", CHUNKS[2], CHUNKS[3], "[DONE]"])).is_ok());
}

fn written(events: Vec<Event<'_>>, client: &Client) -> String {
    let (mut encoder, mut out, mut losses) = (Gemini.stream_encoder(client), Vec::new(), Losses::default());
    for event in events {
        encoder.encode(event, &mut losses, &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn calling() -> Vec<Event<'static>> {
    let call = ToolCall { id: "c1".into(), name: "f".into(), ..ToolCall::default() };
    let delta = |index, delta| Event::Delta { choice: 0, index, delta };
    vec![
        Event::Start { id: Some("r".into()), model: Some("m".into()), created: None },
        Event::BlockStart { choice: 0, index: 0, block: Block::text("") },
        delta(0, Delta::Text("hi".into())),
        Event::Ping,
        Event::BlockStart { choice: 0, index: 1, block: Block::new(Content::ToolCall(Box::new(call))) },
        delta(1, Delta::Arguments("{\"a\":\n".into())),
        Event::BlockEnd { choice: 0, index: 0 },
        delta(1, Delta::Arguments("1}".into())),
        Event::BlockEnd { choice: 0, index: 1 },
        Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolCalls), extras: Vec::new() },
    ]
}

#[test]
fn calls_are_written_whole_and_the_end_says_all() {
    let text = written([calling(), vec![Event::End]].concat(), &client());
    assert_eq!(
        text,
        concat!(
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\",\"responseId\":\"r\"}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"f\",\"args\":{\"a\": 1}}}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\",\"responseId\":\"r\"}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"modelVersion\":\"m\",\"responseId\":\"r\"}\n\n",
        )
    );
}

/// The parts of all chunks of a stream, those that say nothing left out.
fn parts(text: &str) -> Vec<serde_json::Value> {
    let chunks = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let chunks = chunks.map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap());
    let parts = chunks.filter_map(|chunk| chunk["candidates"][0]["content"]["parts"].as_array().cloned());
    parts.flatten().filter(|part| *part != serde_json::json!({"text": ""})).collect()
}

#[test]
fn other_dialects_streams_are_told_in_parts() {
    use crate::common::{Media, MediaKind, MediaSource, Opaque, Reasoning};
    use crate::usage::Usage;
    let start = |index, content| Event::BlockStart { choice: 0, index, block: Block::new(content) };
    let delta = |index, delta| Event::Delta { choice: 0, index, delta };
    let sealed = Opaque::made_by(Dialect::OpenAiResponses, None, "e".into());
    let sound = Media { kind: MediaKind::Audio, mime: Some("audio/pcm".into()), ..Media::default() };
    let url = Media { source: MediaSource::Url("https://x.org/a.png".into()), ..Media::default() };
    let text = written(
        vec![
            // No start, usage after the stop, a block that never ends.
            start(0, Content::Reasoning(Box::new(Reasoning::default()))),
            delta(0, Delta::Summary { part: 0, text: "one".into() }),
            delta(0, Delta::Summary { part: 1, text: "two".into() }),
            delta(0, Delta::Reasoning("".into())),
            delta(0, Delta::Encrypted(sealed.clone())),
            Event::BlockEnd { choice: 0, index: 0 },
            start(1, Content::Media(Box::new(sound))),
            delta(1, Delta::MediaData("AAAA".into())),
            delta(1, Delta::Transcript("la".into())),
            delta(1, Delta::MediaData("BBBB".into())),
            start(2, Content::Media(Box::new(url))),
            start(3, Content::Refusal("n".into())),
            delta(3, Delta::Refusal("o".into())),
            start(4, Content::ToolCall(Box::new(ToolCall { name: "f".into(), ..ToolCall::default() }))),
            delta(9, Delta::Text("of no block".into())),
            Event::Stop { choice: 0, stop: Stop::new(StopReason::Pause), extras: Vec::new() },
            Event::Usage(Usage { input: Some(1), ..Usage::default() }),
            Event::End,
        ],
        &client(),
    );
    let parts = parts(&text);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parts[0], json(r#"{"text":"one","thought":true}"#));
    assert_eq!(parts[1], json(r#"{"text":"\n\ntwo","thought":true}"#));
    assert!(parts[2]["thoughtSignature"].is_string());
    assert_eq!(
        parts[3..],
        [
            json(r#"{"inlineData":{"mimeType":"audio/pcm","data":"AAAA"}}"#),
            json(r#"{"text":"la"}"#),
            json(r#"{"inlineData":{"mimeType":"audio/pcm","data":"BBBB"}}"#),
            json(r#"{"fileData":{"fileUri":"https://x.org/a.png"}}"#),
            json(r#"{"text":"n"}"#),
            json(r#"{"text":"o"}"#),
            json(r#"{"functionCall":{"id":"","name":"f","args":{}}}"#),
        ]
    );
    let last = text.trim_end().rsplit("data: ").next().unwrap();
    let last = json(last);
    assert_eq!(
        (&last["candidates"][0]["finishReason"], &last["usageMetadata"]["promptTokenCount"]),
        (&"OTHER".into(), &1.into())
    );
    assert_eq!((&last["modelVersion"], &last["responseId"]), (&"public".into(), &"req1".into()));
}

#[test]
fn an_array_is_valid_json_also_when_it_ends_badly() {
    let client = Client { json_array: true, ..client() };
    let whole = written([calling(), vec![Event::End]].concat(), &client);
    let list: Vec<serde_json::Value> = serde_json::from_str(&whole).unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(streamed(whole.as_bytes()).unwrap().choices[0].stop.reason, StopReason::ToolCalls);
    let error = Event::Error(crate::error::ApiError::new(ErrorKind::Overloaded, "busy"));
    for events in [vec![error.clone()], [calling(), vec![error]].concat()] {
        let broken = written(events, &client);
        let list: Vec<serde_json::Value> = serde_json::from_str(&broken).unwrap();
        assert_eq!(list.last().unwrap()["error"]["status"], "UNAVAILABLE");
        assert_eq!(streamed(broken.as_bytes()).unwrap_err().kind, ErrorKind::Overloaded);
    }
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&written(vec![Event::End], &client)).unwrap().len(), 1);
}

#[test]
fn an_error_event_has_no_end_behind_it() {
    let text = written(
        [calling(), vec![Event::Error(crate::error::ApiError::new(ErrorKind::StreamCut, "cut"))]].concat(),
        &client(),
    );
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("data: {\"error\":{\"code\":"), "{last}");
    assert!(!text.contains("finishReason"));
}

#[test]
fn an_answer_taken_apart_reads_the_same() {
    let whole = streamed(&sse(&CHUNKS)).unwrap();
    let mut events = Vec::new();
    take_apart(&whole, &mut |event| {
        use bounded_static::IntoBoundedStatic as _;
        events.push(event.into_static());
    });
    let again = streamed(written(events, &client()).as_bytes()).unwrap();
    assert_eq!((again.choices, again.usage), (whole.choices, whole.usage));
}

#[test]
fn no_damage_makes_two_ends_or_a_panic() {
    for body in [sse(&CHUNKS[..3]), array(&CHUNKS[..3])] {
        for at in 0..body.len() {
            for damage in [b'"', b'{', b'}', b'[', b'\n', b'0', 0xff] {
                let mut body = body.clone();
                body[at] = damage;
                let events = events(&body);
                let ends = events.iter().filter(|event| matches!(event, Event::End | Event::Error(_))).count();
                assert_eq!(ends, 1, "{}", String::from_utf8_lossy(&body));
                assert!(matches!(events.last(), Some(Event::End | Event::Error(_))));
            }
        }
    }
}
