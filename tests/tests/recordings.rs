//! Recorded traffic of real providers through the binary in its own dialect: the upstream gets the recorded request byte
//! for byte (outside the model), the client the recorded answer byte for byte, however it was cut into pieces on the way,
//! and the access log counts the recorded usage.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Connection, Framing, Request};
use ai_gateway_tests::mock_provider;
use ai_gateway_tests::recordings::{self, Recording};
use ai_gateway_tests::{Answer, Gateway, Step, Stub, bodies};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A reproducible source of odd sizes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }

    /// Cuts it anywhere, also inside events and characters.
    fn pieces(&mut self, whole: &Bytes) -> Vec<Bytes> {
        let longest = [3, 40, 700, usize::MAX][self.roll(4)].min(whole.len().max(1));
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < whole.len() {
            let end = (at + 1 + self.roll(longest)).min(whole.len());
            pieces.push(whole.slice(at..end));
            at = end;
        }
        pieces
    }
}

/// A stub that answers with whatever was last laid down, and a gateway in front of it.
struct Bench {
    stub: Stub,
    gateway: Gateway,
    client: Connection,
    answer: Arc<Mutex<Answer>>,
    dice: Dice,
    failures: Vec<String>,
}

impl Bench {
    async fn new(config: impl Fn(&str) -> String) -> Self {
        let answer = Arc::new(Mutex::new(Answer::status(500)));
        let laid = answer.clone();
        let stub = Stub::start(move |_| laid.lock().unwrap().clone()).await;
        let gateway = Gateway::start(&config(&stub.origin())).await;
        let client = Connection::for_framing(gateway.addr, Framing::Length).await;
        Bench { stub, gateway, client, answer, dice: Dice(0x9e37_79b9_7f4a_7c15), failures: Vec::new() }
    }

    /// Replays one recording at `target`, of which the upstream must see `upstream_target`.
    async fn replay(&mut self, recording: &Recording, dialect: &str, target: &str, upstream_target: &str) {
        let mut fail = |what: String| self.failures.push(format!("{}: {what}", recording.name));
        let mut answer = Answer::status(recording.status).header("content-type", &recording.answer_type);
        answer.steps = self.dice.pieces(&recording.answered()).into_iter().map(Step::Send).collect();
        if recording.streams() || self.dice.roll(2) == 0 {
            answer = answer.framing(ai_gateway_tests::StubFraming::Chunked);
        }
        *self.answer.lock().unwrap() = answer;

        let (sent, expected) = with_model_prefix(&recording.request);
        let before = self.stub.count();
        let mut request = Request::post(target, sent);
        request.headers = vec![("content-type".into(), recording.content_type.clone())];
        request.framing = [Framing::Length, Framing::Chunked(1 + self.dice.roll(5000))][self.dice.roll(2)];
        let reply = self.client.exchange(&request).await;

        // What the upstream got.
        let received = self.stub.received();
        let Some(received) = received.get(before) else {
            return fail(format!("never reached the upstream: {} {}", reply.status, reply.text()));
        };
        if received.target != upstream_target {
            fail(format!("upstream target {} instead of {upstream_target}", received.target));
        }
        let asked = recording.json();
        let counted = asked["stream_options"]["include_usage"] == true;
        let usage_added = dialect == "openai-chat" && asked["stream"] == true && !counted;
        if usage_added {
            let mut got = received.json();
            let options = got.as_object_mut().and_then(|o| o.remove("stream_options")).unwrap_or_default();
            let mut asked = asked.clone();
            asked.as_object_mut().map(|o| o.remove("stream_options"));
            if options["include_usage"] != true || got != asked {
                fail(format!("upstream body {}", String::from_utf8_lossy(&received.body)));
            }
        } else if received.body != expected {
            fail(format!("upstream body {}", String::from_utf8_lossy(&received.body)));
        }

        // What the client got.
        if reply.status != recording.status {
            fail(format!("status {} instead of {}", reply.status, recording.status));
        }
        if reply.header("content-type") != recording.answer_type {
            fail(format!("content-type {:?} instead of {:?}", reply.header("content-type"), recording.answer_type));
        }
        let visible = if usage_added { without_usage_chunk(&recording.answer).into() } else { recording.answered() };
        if !reply.complete || reply.body != visible {
            let visible = String::from_utf8_lossy(&visible);
            fail(format!("answer (complete: {}):\n{}\n-- instead of\n{visible}", reply.complete, reply.text()));
        }

        // What was counted.
        let log = self.gateway.log_of(reply.header("x-request-id")).await;
        if let Some(usage) = recorded_usage(dialect, &recording.answer) {
            for (name, count) in usage {
                if log["tokens"][name].as_u64() != Some(count) {
                    fail(format!("{name} tokens {} instead of {count}: {}", log["tokens"][name], log["tokens"]));
                }
            }
        }
        if log["status"] != recording.status {
            fail(format!("logged status {}", log["status"]));
        }
    }

    async fn finish(mut self, at_least: usize) {
        self.gateway.assert_healthy().await;
        let total = self.stub.count();
        assert!(self.failures.is_empty(), "{} problems:\n{}", self.failures.len(), self.failures.join("\n"));
        assert!(total >= at_least, "only {total} recordings were replayed");
    }
}

/// The request with `stub/` before its model, if it stands in the body, and as the upstream must see it.
fn with_model_prefix(body: &str) -> (String, String) {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(body).expect("a JSON object");
    let Some(raw) = fields.get("model").map(|raw| raw.get()) else { return (body.to_owned(), body.to_owned()) };
    let at = raw.as_ptr() as usize - body.as_ptr() as usize;
    let sent = format!("{}\"stub/{}{}", &body[..at], &raw[1..], &body[at + raw.len()..]);
    (sent, body.to_owned())
}

/// The stream without the event that carries nothing but the usage.
fn without_usage_chunk(stream: &str) -> String {
    let keep = |event: &&str| {
        let data = event.trim().strip_prefix("data:").and_then(|d| serde_json::from_str::<Value>(d.trim()).ok());
        !data.is_some_and(|d| d["choices"] == json!([]) && d["usage"].is_object())
    };
    stream.split_inclusive("\n\n").filter(keep).collect()
}

/// The JSON documents of an answer: itself, or its events' data.
fn documents(answer: &str) -> Vec<Value> {
    if let Ok(document) = serde_json::from_str(answer) {
        return vec![document];
    }
    let data = answer.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
}

/// The usage that a reader of the recording counts, by the names of the access log.
fn recorded_usage(dialect: &str, answer: &str) -> Option<Vec<(&'static str, u64)>> {
    let documents = documents(answer);
    // The highest value that any part of the answer reports.
    let count = |pointers: &[&str]| {
        let values = documents.iter().flat_map(|d| pointers.iter().filter_map(|p| d.pointer(p)?.as_u64()));
        values.max()
    };
    let mut found = Vec::new();
    let mut add = |name, count: Option<u64>| found.extend(count.map(|count| (name, count)));
    match dialect {
        "openai-chat" => {
            let (input, output, total) = (
                count(&["/usage/prompt_tokens"]),
                count(&["/usage/completion_tokens"]),
                count(&["/usage/total_tokens"]),
            );
            add("input", input);
            // Gemini leaves its thoughts out of the completion but not out of the total.
            let gap = total.zip(input).zip(output).is_some_and(|((t, i), o)| t > i + o);
            add("output", if gap { None } else { output });
            add("cached", count(&["/usage/prompt_tokens_details/cached_tokens"]));
            // One vendor reports more reasoning than output, of which it is a part.
            let reasoning = count(&["/usage/completion_tokens_details/reasoning_tokens"]);
            add("reasoning", reasoning.map(|n| output.map_or(n, |o| n.min(o))));
        }
        "openai-responses" => {
            add("input", count(&["/usage/input_tokens", "/response/usage/input_tokens"]));
            add("output", count(&["/usage/output_tokens", "/response/usage/output_tokens"]));
            let cached = "usage/input_tokens_details/cached_tokens";
            add("cached", count(&[&format!("/{cached}"), &format!("/response/{cached}")]));
            let reasoning = "usage/output_tokens_details/reasoning_tokens";
            add("reasoning", count(&[&format!("/{reasoning}"), &format!("/response/{reasoning}")]));
        }
        "anthropic" => {
            let field = |name: &str| count(&[&format!("/usage/{name}"), &format!("/message/usage/{name}")]);
            let (read, written) = (field("cache_read_input_tokens"), field("cache_creation_input_tokens"));
            let input = field("input_tokens");
            add("input", input.map(|n| n + read.unwrap_or(0) + written.unwrap_or(0)));
            add("output", field("output_tokens"));
            add("cached", read);
            add("cache_write", written);
        }
        "gemini" => {
            let field = |name: &str| count(&[&format!("/usageMetadata/{name}")]);
            let tool = field("toolUsePromptTokenCount").unwrap_or(0);
            add("input", field("promptTokenCount").map(|n| n + tool));
            add("cached", field("cachedContentTokenCount"));
        }
        "cohere" => {
            let field = |name: &str| {
                count(&[&format!("/usage/billed_units/{name}"), &format!("/delta/usage/billed_units/{name}")])
            };
            add("input", field("input_tokens"));
            add("output", field("output_tokens"));
        }
        // Its streams are binary.
        "bedrock" => {
            let field = |name: &str| count(&[&format!("/usage/{name}")]);
            let (read, written) = (field("cacheReadInputTokens"), field("cacheWriteInputTokens"));
            add("input", field("inputTokens").map(|n| n + read.unwrap_or(0) + written.unwrap_or(0)));
            add("output", field("outputTokens"));
            add("cached", read);
            add("cache_write", written);
        }
        other => panic!("dialect {other}"),
    }
    (!found.is_empty()).then_some(found)
}

#[tokio::test]
async fn openai_chat() {
    let Some(folder) = recordings::folder() else { return };
    let mut bench = Bench::new(|origin| bodies::openai_provider("stub", origin)).await;
    for mut recording in recordings::of_dialect(&folder, "openai-chat") {
        if recording.request.is_empty() {
            // Five were recorded without their request: the answer is worth a replay all the same.
            recording.request = r#"{"model":"unrecorded","messages":[]}"#.into();
        }
        // Vendors have other prefixes before the same last part.
        let target = recording.target.trim_end_matches("#stream");
        let suffix = ["/chat/completions", "/embeddings"].iter().find_map(|s| Some(&target[target.find(s)?..]));
        let target = format!("/v1{}", suffix.expect("a known endpoint"));
        bench.replay(&recording, "openai-chat", &target, &target).await;
    }
    bench.finish(131).await;
}

#[tokio::test]
async fn openai_responses() {
    let Some(folder) = recordings::folder() else { return };
    let provider =
        |origin: &str| format!("[providers.stub]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"k\"");
    let mut bench = Bench::new(provider).await;
    for recording in recordings::of_dialect(&folder, "openai-responses") {
        let target = format!("/v1/responses{}", recording.target.split_once("/responses").map_or("", |(_, rest)| rest));
        bench.replay(&recording, "openai-responses", &target, &target).await;
    }
    bench.finish(111).await;
}

#[tokio::test]
async fn anthropic() {
    let Some(folder) = recordings::folder() else { return };
    let mut bench = Bench::new(|origin| bodies::anthropic_provider("stub", origin)).await;
    for recording in recordings::of_dialect(&folder, "anthropic") {
        let target = recording.target.clone();
        bench.replay(&recording, "anthropic", &target, &target).await;
    }
    bench.finish(89).await;
}

#[tokio::test]
async fn gemini() {
    let Some(folder) = recordings::folder() else { return };
    let mut bench = Bench::new(|origin| mock_provider("stub", Dialect::Gemini, origin)).await;
    for recording in recordings::of_dialect(&folder, "gemini") {
        let (_, asked) = recording.target.split_once("/models/").expect("a model");
        // Embeddings and counts are read by operation, not passed on.
        if !asked.contains("enerateContent") {
            continue;
        }
        let (target, upstream) = (format!("/v1beta/models/stub%2F{asked}"), format!("/v1/v1beta/models/{asked}"));
        bench.replay(&recording, "gemini", &target, &upstream).await;
    }
    bench.finish(74).await;
}

#[tokio::test]
async fn bedrock() {
    let Some(folder) = recordings::folder() else { return };
    let mut bench = Bench::new(|origin| mock_provider("stub", Dialect::Bedrock, origin)).await;
    for recording in recordings::of_dialect(&folder, "bedrock") {
        // One was recorded with half of its body.
        if serde_json::from_str::<Value>(&recording.request).is_err() {
            continue;
        }
        let asked = recording.target.strip_prefix("/model/").expect("a model");
        let (target, upstream) = (format!("/model/stub%2F{asked}"), format!("/v1/model/{asked}"));
        bench.replay(&recording, "bedrock", &target, &upstream).await;
    }
    bench.finish(64).await;
}

#[tokio::test]
async fn cohere() {
    let Some(folder) = recordings::folder() else { return };
    let mut bench = Bench::new(|origin| mock_provider("stub", Dialect::Cohere, origin)).await;
    for recording in recordings::of_dialect(&folder, "cohere") {
        bench.replay(&recording, "cohere", &recording.target, &format!("/v1{}", recording.target)).await;
    }
    bench.finish(10).await;
}

#[tokio::test]
async fn openai_cassettes() {
    let Some(folder) = recordings::folder() else { return };
    let provider =
        |origin: &str| format!("[providers.stub]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"k\"");
    let mut bench = Bench::new(provider).await;
    for recording in recordings::openai_cassettes(&folder) {
        // The two forms were recorded without their content, and Azure's has a test of its own.
        if recording.content_type.starts_with("multipart/") || recording.target.contains("/deployments/") {
            continue;
        }
        bench.replay(&recording, "openai-chat", &recording.target, &recording.target).await;
    }
    bench.finish(40).await;
}

/// What Azure answered in its own form, to clients of that form and of OpenAI's; and the form without a model in the body, as its
/// reference has it, to whoever is asked.
#[tokio::test]
async fn azure_cassette() {
    let Some(folder) = recordings::folder() else { return };
    let azure = |recording: &Recording| recording.target.contains("/deployments/");
    let recording = recordings::openai_cassettes(&folder).into_iter().find(azure).expect("one of Azure");
    let dated = "/openai/deployments/gpt-5-nano/chat/completions?api-version=2024-12-01-preview";
    for (provider, upstream_target) in [
        ("kind = \"azure\"\napi_version = \"2024-12-01-preview\"\nbase_url = \"ORIGIN\"", dated),
        ("kind = \"azure\"\nbase_url = \"ORIGIN\"", "/openai/v1/chat/completions"),
        ("kind = \"openai\"\nbase_url = \"ORIGIN/v1\"", "/v1/chat/completions"),
    ] {
        let config =
            |origin: &str| format!("[providers.stub]\napi_key = \"k\"\n{}", provider.replace("ORIGIN", origin));
        let mut bench = Bench::new(config).await;
        // The client's version is not the provider's.
        let own = recording.target.replace("gpt-5-nano", "stub%2Fgpt-5-nano") + "?api-version=2023-05-15";
        for target in [&*own, "/v1/chat/completions"] {
            bench.replay(&recording, "openai-chat", target, upstream_target).await;
        }
        let mut bare = recording.json();
        bare.as_object_mut().unwrap().remove("model");
        let reply = bench.client.exchange(&Request::post(&own, bare.to_string())).await;
        assert_eq!((reply.status, reply.text()), (recording.status, recording.answer.clone()), "{provider}");
        let received = bench.stub.received().pop().unwrap();
        assert_eq!((&*received.target, received.json()), (upstream_target, recording.json()), "{provider}");
        bench.finish(3).await;
    }
}

/// The recorded audio answers behind a form of our own making.
#[tokio::test]
async fn openai_audio_cassettes() {
    let Some(folder) = recordings::folder() else { return };
    let mut replayed = 0;
    for recording in recordings::openai_cassettes(&folder) {
        let Some((_, boundary)) = recording.content_type.split_once("multipart/form-data; boundary=") else { continue };
        let stub = Stub::always(Answer::json(recording.status, recording.answer.clone())).await;
        let provider =
            format!("[providers.stub]\nkind = \"openai\"\nbase_url = \"{}/v1\"\napi_key = \"k\"", stub.origin());
        let gateway = Gateway::start(&provider).await;
        let form = |model: &str| {
            let mut form = Vec::new();
            let part = |form: &mut Vec<u8>, head: &str, content: &[u8]| {
                form.extend_from_slice(
                    format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
                );
                form.extend_from_slice(content);
                form.extend_from_slice(b"\r\n");
            };
            // Audio with things in it that look like the form's own syntax.
            let audio = [b"RIFF\0\xff\r\n--".as_slice(), &[0x80; 70_000], b"\r\nname=\"model\"\r\n\r\nno\r\n"].concat();
            let file = "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav";
            part(&mut form, file, &audio);
            part(&mut form, "name=\"model\"", model.as_bytes());
            part(&mut form, "name=\"prompt\"", "model=x — ü".as_bytes());
            form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
            form
        };
        let mut request = Request::post(&recording.target, form("stub/whisper-1"));
        request.headers = vec![("content-type".into(), recording.content_type.clone())];
        for framing in [Framing::Length, Framing::Chunked(999), Framing::H2(4096)] {
            let mut client = Connection::for_framing(gateway.addr, framing).await;
            let reply = client.exchange(&request.clone().framing(framing)).await;
            assert_eq!(
                (reply.status, reply.text()),
                (recording.status, recording.answer.clone()),
                "{}",
                recording.name
            );
            let received = stub.next().await;
            assert_eq!(received.target, recording.target);
            assert_eq!(received.header("content-type"), recording.content_type);
            assert!(received.body == form("whisper-1"), "{}: form changed ({framing:?})", recording.name);
        }
        replayed += 1;
    }
    assert_eq!(replayed, 2);
}
