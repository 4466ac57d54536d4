//! Against recorded completions, and by hand.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{decode_request, encode_response, stream_encoder};
use crate::codec::Client;
use crate::common::{
    Block, Choice, Content, Losses, Reasoning, Request, Response, Stop, StopReason, Str, TokenLogprob, take_apart,
};
use crate::dialect::{Dialect, Operation};
use crate::error::ApiError;
use crate::usage::Usage;
use crate::usage::report::Report;
use crate::usage::tree::Tree;

fn client() -> Client {
    Client { model: "public".into(), include_usage: true, request_id: "req1".into(), now: 7, ..Client::default() }
}

/// The request and answer of a recording; none where the recordings are not at hand, except in CI.
fn recording(name: &str) -> Option<(String, String)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance/openai-recordings"));
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no recordings at {}", root.display());
        eprintln!("SKIPPED: no recordings at {}", root.display());
        return None;
    }
    let cassette: Value = serde_yaml_ng::from_slice(&fs::read(root.join(format!("{name}.yaml"))).unwrap()).unwrap();
    let exchange = &cassette["interactions"][0];
    let text = |value: &Value| value["body"].as_str().unwrap().to_owned();
    Some((text(&exchange["request"]), text(&exchange["response"])))
}

fn decode(body: &str) -> Result<(Request<'_>, Vec<String>), ApiError> {
    let mut losses = Losses::default();
    let request = decode_request(body.as_bytes(), &mut losses)?;
    Ok((request, losses.iter().map(|loss| loss.field.clone()).collect()))
}

#[test]
fn a_recorded_request_becomes_a_chat_request() {
    let Some((body, _)) = recording("completion-suffix") else { return };
    let (request, losses) = decode(&body).unwrap();
    let sent: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(request.messages.len(), 1);
    assert!(
        matches!(&request.messages[0].blocks[0].content, Content::Text(text) if text.text == *sent["prompt"].as_str().unwrap())
    );
    assert_eq!(
        (request.n, request.max_tokens, request.temperature, request.top_p),
        (Some(2), Some(25), Some(0.5), Some(0.9))
    );
    assert_eq!((request.logprobs, request.top_logprobs), (Some(true), Some(3)));
    assert_eq!(request.stop, ["def ", "class "].map(Str::from));
    assert!(request.extras.is_empty());
    assert_eq!(losses, ["suffix"]);
    for name in ["completion-basic", "completion-streaming", "completion-streaming-usage", "completion-unknown-model"] {
        let (body, _) = recording(name).unwrap();
        assert_eq!(decode(&body).unwrap_or_else(|error| panic!("{name}: {error}")).1, Vec::<String>::new(), "{name}");
    }
    for name in ["completion-text-batch", "completion-token", "completion-token-batch"] {
        let (body, _) = recording(name).unwrap();
        let error = decode(&body).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some("prompt")), "{name}");
    }
}

#[test]
fn every_field_is_said_or_noted() {
    let (request, losses) = decode(
        r#"{"model":"m","prompt":["one\n"],"suffix":"s","echo":true,"best_of":3,"n":2,"logprobs":0,"logit_bias":{"1":2},
        "stop":"x","stream":true,"stream_options":{"include_usage":true,"new":1},"seed":4,"user":"u","top_k":5,
        "presence_penalty":0.1,"frequency_penalty":0.2,"metadata":{"a":"b"},"min_p":0.1}"#,
    )
    .unwrap();
    let extras: Vec<_> = request.extras.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(extras, ["logit_bias", "min_p"]);
    assert!(request.stream && request.include_usage);
    assert_eq!(
        (request.logprobs, request.top_logprobs, request.seed, request.top_k),
        (Some(true), None, Some(4), Some(5))
    );
    assert_eq!((request.presence_penalty, request.frequency_penalty), (Some(0.1), Some(0.2)));
    assert_eq!((request.user.as_deref(), request.stop[0].as_str()), (Some("u"), "x"));
    assert!(request.metadata.is_some());
    assert_eq!(losses, ["suffix", "echo", "best_of", "stream_options.new"]);
    let none = decode(r#"{"model":"m","prompt":"p","suffix":null,"echo":false,"best_of":1,"stop":null}"#).unwrap();
    assert_eq!(none.1, Vec::<String>::new());
}

#[test]
fn prompts_that_chat_cannot_take_are_refused() {
    for prompt in [
        "",
        r#","prompt":null"#,
        r#","prompt":[]"#,
        r#","prompt":["secret","b"]"#,
        r#","prompt":[1,2]"#,
        r#","prompt":[[1]]"#,
        r#","prompt":7"#,
        r#","prompt":{"secret":1}"#,
    ] {
        let error = decode(&format!(r#"{{"model":"m"{prompt}}}"#)).unwrap_err();
        assert_eq!(error.status, 400, "{prompt}");
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}

fn answer(texts: &[&'static str]) -> Response<'static> {
    let top = |token: &'static str, logprob| TokenLogprob { token: token.into(), logprob, ..TokenLogprob::default() };
    Response {
        id: Some("chatcmpl-1".into()),
        model: Some("gpt".into()),
        created: Some(5),
        choices: texts
            .iter()
            .map(|text| Choice {
                blocks: vec![Block::text(*text), Block::text("!")],
                stop: Stop::new(StopReason::MaxTokens),
                logprobs: vec![
                    TokenLogprob { top: vec![top("ä", -0.5), top("b", -1.5)], ..top("ä", -0.5) },
                    top("!", 0.0),
                ],
                ..Choice::default()
            })
            .collect(),
        usage: Some(Usage {
            input: Some(3),
            cache_read: Some(1),
            output: Some(2),
            reasoning: Some(4),
            ..Usage::default()
        }),
        ..Response::new(Dialect::OpenAiChat)
    }
}

fn whole(response: &Response<'_>) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = encode_response(response, &client(), &mut losses);
    (serde_json::from_slice(&body).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}

fn chunks(response: &Response<'_>, client: &Client) -> Vec<Value> {
    let (mut encoder, mut out, mut losses) = (stream_encoder(client), Vec::new(), Losses::default());
    take_apart(response, &mut |event| encoder.encode(event, &mut losses, &mut out));
    assert!(losses.is_empty(), "{losses:?}");
    let body = String::from_utf8(out).unwrap();
    let body = body.strip_suffix("data: [DONE]\n\n").unwrap();
    body.split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

#[test]
fn an_answer_is_a_text_completion() {
    let (written, losses) = whole(&answer(&["ä", "c"]));
    let logprobs = json!({"tokens": ["ä", "!"], "token_logprobs": [-0.5, 0.0], "top_logprobs": [{"ä": -0.5, "b": -1.5}, {}], "text_offset": [0, 1]});
    let choice =
        |index: u32, text: &str| json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": "length"});
    let usage = json!({"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 4}});
    assert_eq!(
        written,
        json!({"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "gpt", "choices": [choice(0, "ä!"), choice(1, "c!")], "usage": usage})
    );
    assert!(losses.is_empty());
    let read = Report::read(Dialect::OpenAiChat, Operation::Completions, &Tree::from(&usage)).usage();
    assert_eq!(read, answer(&[]).usage);
}

#[test]
fn a_stream_says_what_the_answer_says() {
    let response = answer(&["ä", "c"]);
    let (whole, _) = whole(&response);
    let chunks = chunks(&response, &client());
    for (number, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let of_choice = || {
            chunks
                .iter()
                .flat_map(|chunk| chunk["choices"].as_array().unwrap())
                .filter(|choice| choice["index"] == number)
        };
        let text: String = of_choice().map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(text, choice["text"].as_str().unwrap());
        assert_eq!(of_choice().find(|choice| !choice["logprobs"].is_null()).unwrap()["logprobs"], choice["logprobs"]);
        assert_eq!(of_choice().next_back().unwrap()["finish_reason"], "length");
    }
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!((&last["usage"], &last["choices"]), (&whole["usage"], &json!([])));
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk["id"] == "cmpl-1"));
    let without = self::chunks(&response, &Client { include_usage: false, ..client() });
    assert!(without.iter().all(|chunk| chunk.get("usage").is_none()));
}

/// The shape that OpenAI's own service has: no field more, none less.
#[test]
fn the_shape_is_that_of_the_recordings() {
    fn shape(value: &Value) -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }
    let Some((_, body)) = recording("completion-suffix") else { return };
    let recorded: Value = serde_json::from_str(&body).unwrap();
    let (written, _) = whole(&answer(&["a", "b"]));
    assert_eq!(shape(&written), shape(&recorded));
    assert_eq!(shape(&written["choices"][0]), shape(&recorded["choices"][0]));
    assert_eq!(shape(&written["choices"][0]["logprobs"]), shape(&recorded["choices"][0]["logprobs"]));
    let (_, body) = recording("completion-streaming-usage").unwrap();
    let recorded: Vec<Value> =
        body.split("\n\n").filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok()).collect();
    let written = chunks(&answer(&["a"]), &client());
    assert_eq!(shape(&written[0]), shape(&recorded[0]));
    assert_eq!(shape(&written[0]["choices"][0]), shape(&recorded[0]["choices"][0]));
    assert_eq!(shape(written.last().unwrap()), shape(recorded.last().unwrap()));
}

#[test]
fn what_a_completion_cannot_say_is_noted() {
    let mut response = answer(&["a"]);
    let reasoning = Content::Reasoning(Box::new(Reasoning { text: "why".into(), ..Reasoning::default() }));
    response.choices[0].blocks.insert(0, Block::new(reasoning));
    response.service_tier = Some("flex".into());
    response.id = None;
    let (written, losses) = whole(&response);
    assert_eq!(losses, ["answer.service_tier", "answer.reasoning"]);
    assert_eq!((&written["id"], &written["choices"][0]["text"]), (&json!("cmpl-req1"), &json!("a!")));
}

#[test]
fn an_error_ends_the_stream_without_its_marker() {
    use crate::common::Event;
    let (mut encoder, mut out, mut losses) = (stream_encoder(&client()), Vec::new(), Losses::default());
    for event in [Event::Ping, Event::Error(ApiError::cut_short()), Event::End] {
        encoder.encode(event, &mut losses, &mut out);
    }
    let body = String::from_utf8(out).unwrap();
    assert!(body.starts_with(": ping\n\ndata: {\"error\":") && !body.contains("[DONE]"), "{body}");
}

proptest::proptest! {
    #[test]
    fn no_prompt_panics(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
        prompt in "[\\[\\]{}\",1a\\\\ ]{0,12}",
        stop in "[\\[\\]{}\",1a]{0,6}",
    ) {
        let body = format!(r#"{{"prompt":{prompt},"stop":{stop},"stream_options":{{}}}}"#);
        for body in [&bytes[..], body.as_bytes()] {
            if let Ok(request) = decode_request(body, &mut Losses::default()) {
                assert_eq!(request.messages.len(), 1);
            }
        }
    }
}
