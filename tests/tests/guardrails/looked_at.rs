//! What is looked at: whatever a provider, or a client, would read as a text.

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub};
use serde_json::json;

const DENY: &str = "[[plugins]]\nuse = \"deny\"\nwords = [\"falcon\"]\n";

async fn gateway(stub: &Stub, plugins: &str) -> Gateway {
    let provider = format!("[providers.up]\nkind = \"openai\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n", stub.origin());
    Gateway::start(&format!("{provider}{plugins}")).await
}

fn asks(text: &str) -> Request {
    let body = format!(r#"{{"model":"up/m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    Request::post("/v1/chat/completions", body)
}

/// A form of these parts.
fn form(target: &str, parts: &[(&str, &str)]) -> Request {
    let parts: String = parts.iter().map(|(name, value)| part(name, value)).collect();
    let mut request = Request::post(target, format!("{parts}--b--\r\n"));
    request.headers = vec![("content-type".into(), "multipart/form-data; boundary=b".into())];
    request
}

fn part(name: &str, value: &str) -> String {
    format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// A client that cuts a text inside an emoji sends half of it; so does a provider.
#[tokio::test]
async fn half_a_character_hides_no_text() {
    let said = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"write to [EMAIL_1], falcon \ud83d"},
        "finish_reason":"stop"}]}"#;
    let stub = Stub::start(move |_| Answer::json(200, said)).await;
    let masking = gateway(&stub, "[[plugins]]\nuse = \"pii\"\n").await;
    let reply = exchange(masking.addr, &asks(r"I am joe@example.com \ud83d")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("write to joe@example.com"), "{}", reply.text());
    let sent = String::from_utf8(stub.next().await.body.to_vec()).unwrap();
    assert!(sent.contains("I am [EMAIL_1]") && !sent.contains("joe@"), "{sent}");

    let denying = gateway(&stub, DENY).await;
    let reply = exchange(denying.addr, &asks(r"falcon \ud83d")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let reply = exchange(denying.addr, &asks("hi")).await;
    assert!(reply.status == 200 && !reply.text().contains("falcon"), "{}", reply.text());
}

/// Otherwise clients choose by what they leave out of a request whether it is guarded.
#[tokio::test]
async fn a_condition_that_cannot_be_told_is_no_way_past_a_guard() {
    let stub = Stub::always(Answer::json(200, r#"{"id":"1","choices":[]}"#)).await;
    let when = "when = { cel = \"int(request.headers['x-level']) < 3\" }\n";
    let closed = gateway(&stub, &format!("{DENY}{when}")).await;
    let open = gateway(&stub, &format!("{DENY}{when}on_error = \"open\"\n")).await;
    for (level, of_closed, of_open) in [("1", 403, 403), ("5", 200, 200), ("abc", 403, 200), ("", 403, 200)] {
        let request = asks("falcon").header("x-level", level);
        assert_eq!(exchange(closed.addr, &request).await.status, of_closed, "closed, {level:?}");
        assert_eq!(exchange(open.addr, &request).await.status, of_open, "open, {level:?}");
    }
    assert_eq!(exchange(closed.addr, &asks("falcon")).await.status, 403, "without the header");
    let labels = "plugin=\"deny\",hook=\"when\",verdict=\"error\"";
    assert_eq!(closed.counted("gateway_plugin_calls_total", labels).await, 3);
    assert_eq!(open.counted("gateway_plugin_calls_total", labels).await, 2);
}

#[tokio::test]
async fn transcripts_are_texts() {
    let heard = json!({"text": "the falcon flies", "segments": [{"id": 0, "text": "the falcon flies"}]});
    let stub = Stub::start(move |request| match request.target.contains("transcriptions") {
        true => Answer::json(200, heard.to_string()),
        false => Answer::status(404),
    })
    .await;
    let gateway = gateway(&stub, &format!("{DENY}action = \"redact\"\non = [\"answer\"]\n")).await;
    let request = form("/v1/audio/transcriptions", &[("model", "up/m"), ("file", "RIFF")]);
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!reply.text().contains("falcon") && reply.json()["text"] == "the [WORD] flies", "{}", reply.text());
}

/// What is to be drawn, and what a transcript is to go on from, are texts in forms, too.
#[tokio::test]
async fn prompts_of_forms_are_texts() {
    let stub = Stub::start(|_| Answer::json(200, r#"{"created":1,"data":[{"b64_json":"aGk="}]}"#)).await;
    let plugins = format!("{DENY}on = [\"request\"]\n[[plugins]]\nuse = \"pii\"\n");
    let gateway = gateway(&stub, &plugins).await;
    let edit =
        |prompt: &str| form("/v1/images/edits", &[("image", "joe@example.com"), ("prompt", prompt), ("model", "up/m")]);
    let reply = exchange(gateway.addr, &edit("a card for ann@example.com")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = String::from_utf8(stub.next().await.body.to_vec()).unwrap();
    assert!(sent.contains(&part("prompt", "a card for [EMAIL_1]")), "{sent}");
    assert!(sent.contains(&part("image", "joe@example.com")), "other parts stay: {sent}");
    let reply = exchange(gateway.addr, &edit("a falcon")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
}

/// A stream that is looked at says what it cost like any other.
#[tokio::test]
async fn the_cost_of_a_stream_stays() {
    let said = [
        json!({"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}),
        json!({"id": "1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.25}}),
    ];
    let events = said.iter().map(|event| format!("data: {event}\n\n")).chain(["data: [DONE]\n\n".to_owned()]);
    let events: Vec<String> = events.collect();
    let stub = Stub::start(move |_| Answer::sse(events.clone())).await;
    let gateway = gateway(&stub, DENY).await;
    let body = json!({"model": "up/m", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "hi"}]});
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await;
    assert!(reply.text().contains(r#""cost":0.25"#), "{}", reply.text());
}

/// Clients pass a byte order mark over. What is no JSON object nobody has looked at.
#[tokio::test]
async fn what_no_guard_can_read_does_not_pass() {
    let said = |text: &str| {
        let message = json!({"role": "assistant", "content": text});
        json!({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string()
    };
    let secret = said("the falcon flies");
    for (body, can_read) in [
        (format!("\u{feff}{secret}"), true),
        (format!("[{secret}]"), false),
        (format!("{}\n{secret}", said("hi")), false),
    ] {
        let answer = body.clone();
        let stub = Stub::start(move |_| Answer::json(200, answer.clone())).await;
        let closed = gateway(&stub, &format!("{DENY}on = [\"answer\"]\n")).await;
        let reply = exchange(closed.addr, &asks("hi")).await;
        assert_eq!((reply.status == 200, reply.text().contains("falcon")), (can_read, false), "{}", reply.text());
        let open = gateway(&stub, &format!("{DENY}on = [\"answer\"]\non_error = \"open\"\n")).await;
        let reply = exchange(open.addr, &asks("hi")).await;
        assert_eq!((reply.status, reply.text().contains("falcon")), (200, !can_read), "{}", reply.text());
    }
}

/// What a client runs is what it asked for, and what came of it is for the provider as masked as the rest.
#[tokio::test]
async fn calls_of_tools_that_clients_run_are_masked_and_come_back() {
    let call = json!({"type": "shell_call", "id": "s", "call_id": "c", "status": "completed",
        "action": {"commands": ["mail [EMAIL_1]"]}});
    let response = json!({"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [call],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
    let item =
        |kind: &str| format!("event: {kind}\ndata: {}\n\n", json!({"type": kind, "output_index": 0, "item": call}));
    let of = |kind: &str| format!("event: {kind}\ndata: {}\n\n", json!({"type": kind, "response": response}));
    let events = [
        of("response.created"),
        item("response.output_item.added"),
        item("response.output_item.done"),
        of("response.completed"),
    ];
    let stub = Stub::start(move |request| match request.json()["stream"] == true {
        true => Answer::sse(events.clone()),
        false => Answer::json(200, response.to_string()),
    })
    .await;
    let gateway = gateway(&stub, "[[plugins]]\nuse = \"pii\"\n").await;
    for stream in [false, true] {
        let ran = json!({"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "joe@example.com", "stderr": ""}]});
        let body = json!({"model": "up/m", "store": false, "stream": stream,
            "input": [{"role": "user", "content": "write to joe@example.com"}, ran]});
        let reply = exchange(gateway.addr, &Request::post("/v1/responses", body.to_string())).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.text().contains("mail joe@example.com") && !reply.text().contains("EMAIL"), "{}", reply.text());
        let sent = String::from_utf8(stub.next().await.body.to_vec()).unwrap();
        assert!(sent.contains(r#""stdout":"[EMAIL_1]""#) && !sent.contains("joe@"), "{sent}");
    }
}
