//! Secrets and prompts are put everywhere, and looked for everywhere.

use ai_gateway_tests::client::{H1, Request};
use ai_gateway_tests::{Answer, Collector, Gateway, Protocol, Received, Step, Stub, bodies};
use std::path::Path;

/// Stands in every secret, prompt and answer, and in nothing else.
const MARK: &str = "zq7x";

fn provider(received: &Received) -> Answer {
    let body = String::from_utf8_lossy(&received.body).into_owned();
    let error = format!(r#"{{"error":{{"message":"{MARK}-error of {MARK}-key","type":"{MARK}","code":"{MARK}"}}}}"#);
    let has = |word: &str| body.contains(word) || received.target.contains(word);
    let events = || [bodies::chat_role(), bodies::chat_delta(&format!("{MARK}-said"))];
    if has("say-401") {
        Answer::json(401, error)
    } else if has("say-400") {
        Answer::json(400, error)
    } else if has("say-500") {
        Answer::json(500, error).header("x-secret", &format!("{MARK}-header"))
    } else if has("say-html") {
        Answer::status(200).header("content-type", "text/html").step(Step::Send(format!("<html>{MARK}").into()))
    } else if has("say-garbage") {
        Answer::raw(format!("{MARK} is no HTTP\r\n\r\n"))
    } else if has("say-header") {
        Answer::raw(format!("HTTP/1.1 200 OK\r\n{MARK} no colon\r\ncontent-length: 0\r\n\r\n"))
    } else if has("say-json") {
        Answer::json(200, format!("{{\"{MARK}\": {MARK}"))
    } else if has("say-cut") {
        Answer::sse(events()).step(Step::Cut)
    } else if has("say-stream-error") {
        Answer::sse([format!("data: {error}\n\n")])
    } else if has("\"stream\":true") {
        let rest = [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.into()];
        Answer::sse(events().into_iter().chain(rest)).header("set-cookie", &format!("{MARK}-cookie"))
    } else {
        Answer::json(200, bodies::chat_answer(&format!("{MARK}-said")))
    }
}

fn everything_below(dir: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        if entry.path().is_dir() {
            everything_below(&entry.path(), into);
        } else {
            into.push((entry.path().display().to_string(), std::fs::read(entry.path()).expect("a file")));
        }
    }
}

#[tokio::test]
async fn no_output_holds_a_secret_or_a_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(provider).await;
    let collector = Collector::start().await;
    let origin = stub.origin();
    let key = format!("{MARK}-client-key-of-some-length");
    let config = format!(
        r#"
[providers.chat]
kind = "openai-compatible"
base_url = "{origin}/v1"
api_key = "{MARK}-provider-key"
headers = {{ x-extra = "{MARK}-provider-header" }}
health = {{ failures = 0, rate = 0 }}
[providers.claude]
kind = "anthropic"
base_url = "{origin}"
api_keys = ["{MARK}-key-1", "{MARK}-key-2"]
health = {{ failures = 0, rate = 0 }}
[providers.aws]
kind = "bedrock"
region = "us-east-1"
base_url = "{origin}"
access_key_id = "AKID{MARK}"
secret_access_key = "{MARK}-aws"
session_token = "{MARK}-session"
[providers.gone]
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
api_key = "{MARK}-gone"
[models.m]
targets = [{{ provider = "gone", model = "x" }}, {{ provider = "chat", model = "y", priority = 1 }}]
[[keys]]
name = "k"
hash = "{}"
limits = {{ requests = "100000/min", tokens = "100000000/min" }}
[ledger]
path = "{}"
[access_log]
to = "file:{}"
[telemetry]
{}traces = {{ propagate = ["*"] }}
metrics = {{ every = "200ms" }}
"#,
        bodies::key_hash(&key),
        dir.path().join("ledger.db").display(),
        dir.path().join("access.log").display(),
        collector.otlp(Protocol::Http).replace("x-tenant", &format!("authorization = \"{MARK}-otlp\", x-tenant")),
    );
    let mut gateway = Gateway::builder()
        .server(&format!("admin_key = \"{MARK}-admin-key-of-some-length\""))
        .config(&config)
        .env("RUST_LOG", "trace")
        .start()
        .await;

    let text = format!("{MARK}-prompt");
    let chat = |model: &str, stream: bool| {
        format!(
            r#"{{"model":"{model}","stream":{stream},"max_tokens":5,"messages":[{{"role":"system","content":"{text}"}},{{"role":"user","content":"{text}"}}],"tools":[{{"type":"function","function":{{"name":"f","description":"{text}","parameters":{{"type":"object"}}}}}}],"stop":["{text}"],"unknown":"{text}"}}"#
        )
    };
    let mut requests = Vec::new();
    for behaviour in [
        "",
        "say-400",
        "say-500",
        "say-html",
        "say-garbage",
        "say-header",
        "say-json",
        "say-cut",
        "say-stream-error",
        // The last: credentials that were refused rest for a while.
        "say-401",
    ] {
        for stream in [false, true] {
            let named = |provider: &str| format!("{provider}/a{behaviour}");
            requests.push(Request::post("/v1/chat/completions", chat(&named("chat"), stream)));
            requests.push(Request::post("/v1/chat/completions", chat(&named("claude"), stream)));
            requests.push(Request::post("/v1/chat/completions", chat(&named("aws"), stream)));
            let message = format!(
                r#"{{"model":"{}","max_tokens":5,"stream":{stream},"system":"{text}","messages":[{{"role":"user","content":"{text}"}}]}}"#,
                named("chat")
            );
            requests.push(Request::post("/v1/messages", message));
        }
    }
    requests.push(Request::post("/v1/chat/completions", chat("m", true)));
    requests.push(Request::post("/v1/embeddings", format!(r#"{{"model":"chat/e","input":"{text}"}}"#)));
    requests.push(Request::post("/v1/completions", format!(r#"{{"model":"chat/c","prompt":"{text}"}}"#)));
    requests.push(Request::post("/v1/chat/completions", format!(r#"{{"model":"chat/x","messages":"{text}"#)));
    requests
        .push(Request::post("/v1/chat/completions", format!(r#"{{"messages":[{{"role":"{text}","content":5}}]}}"#)));
    requests.push(Request::post("/v1/chat/completions", text.clone()));
    requests.push(Request::get(&format!("/v1/models?key={key}&x={text}")));
    requests.push(Request::get(&format!("/no/such/path?key={text}")));
    for (number, request) in requests.iter_mut().enumerate() {
        let header =
            [("authorization", format!("Bearer {key}")), ("x-api-key", key.clone()), ("x-goog-api-key", key.clone())];
        let (name, value) = &header[number % 3];
        request.headers.push(((*name).to_owned(), value.clone()));
        request.headers.push(("cookie".to_owned(), text.clone()));
        request.headers.push(("x-anything".to_owned(), text.clone()));
        request.headers.push(("traceparent".to_owned(), format!("00-{text}")));
        if !request.target.contains('?') {
            request.target.push_str(&format!("?beta={text}"));
        }
    }
    // Not with a right key, in every way to send one.
    let wrong = chat("m", false);
    for (name, value) in [
        ("authorization", format!("Bearer {text}")),
        ("x-api-key", text.clone()),
        ("authorization", text.clone()),
        ("api-key", text.clone()),
    ] {
        requests.push(Request::post("/v1/chat/completions", wrong.clone()).header(name, &value));
    }
    let total = requests.len();
    let mut answered = 0;
    for request in &requests {
        let mut client = H1::connect(gateway.addr).await;
        if client.try_exchange(request).await.is_some_and(|reply| reply.status == 200) {
            answered += 1;
        }
    }
    let reached = stub.count();
    assert!(answered >= 5 && reached >= total / 2, "{answered} of {total}, {reached} at the provider");

    let mut admin = H1::connect(gateway.admin).await;
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();
    for path in ["/metrics", "/api/targets", "/api/limits", "/api/keys", "/api/usage", "/health/ready"] {
        for key in [format!("{MARK}-admin-key-of-some-length"), format!("{MARK}-wrong")] {
            let reply = admin.exchange(&Request::get(path).header("authorization", &format!("Bearer {key}"))).await;
            outputs.push((format!("{path} ({})", reply.status), reply.body.to_vec()));
        }
    }
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let (stdout, stderr) = gateway.output();
    outputs.push(("standard output".into(), stdout.join("\n").into_bytes()));
    outputs.push(("standard error".into(), stderr.join("\n").into_bytes()));
    outputs.push(("traces and metrics".into(), collector.dump().await.into_bytes()));
    everything_below(dir.path(), &mut outputs);
    for name in ["access.log", "ledger.db", "traces and metrics", "/metrics (200)"] {
        let found = outputs.iter().any(|(output, bytes)| output.contains(name) && bytes.len() > 1_000);
        assert!(found, "{name} has something to be searched");
    }
    let log = outputs.iter().find(|(name, _)| name.ends_with("access.log")).expect("the access log");
    assert!(log.1.iter().filter(|byte| **byte == b'\n').count() >= total, "a line for each");
    for (name, bytes) in &outputs {
        let text = String::from_utf8_lossy(bytes);
        if let Some(at) = text.find(MARK) {
            let (from, to) = (text.floor_char_boundary(at.saturating_sub(300)), text.ceil_char_boundary(at + 100));
            panic!("{name} holds it: …{}…", &text[from..to]);
        }
    }
}
