//! Masked values: nobody but the client is shown them again, and what was signed stays what it was.

use std::sync::{Arc, Mutex};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::speak::ask;
use ai_gateway_tests::{Answer, Gateway, Stub, mock_provider};
use serde_json::{Value, json};

use super::answer;

/// A model that repeats the placeholder, a moderation model and a webhook; what these two were shown.
async fn shown_to_others() -> (Stub, Arc<Mutex<Vec<String>>>) {
    let shown = Arc::<Mutex<Vec<String>>>::default();
    let seen = shown.clone();
    let stub = Stub::start(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if request.target.contains("moderations") {
            let texts = request.json()["input"].as_array().map_or(1, Vec::len);
            seen.lock().unwrap().push(body);
            let judged = vec![json!({"flagged": false, "categories": {}, "category_scores": {}}); texts];
            return Answer::json(200, json!({"id": "1", "model": "m", "results": judged}).to_string());
        }
        if request.target.contains("hook") {
            seen.lock().unwrap().push(body);
            return Answer::json(200, r#"{"action":"pass"}"#);
        }
        let stream = request.json()["stream"] == true;
        answer(Dialect::OpenAiChat, &["I write to [EM", "AIL_1]", " with password = 'Zx81kq0LmW3vTt'"], stream)
    })
    .await;
    (stub, shown)
}

#[tokio::test]
async fn who_looks_at_answers_is_shown_placeholders() {
    let (stub, shown) = shown_to_others().await;
    let gateway = Gateway::start(&format!(
        r#"{}
[[plugins]]
use = "pii"

[[plugins]]
use = "moderation"
model = "up/omni"
on = ["request", "answer"]
window = 8

[[plugins]]
use = "webhook"
url = "{}/hook"
on = ["request", "answer"]
window = 8

[[plugins]]
use = "deny"
words = ["joe"]
"#,
        mock_provider("up", Dialect::OpenAiChat, &stub.origin()),
        stub.origin()
    ))
    .await;
    for stream in [false, true] {
        let request = ask(Dialect::OpenAiChat, "up/m", "I am joe@example.com", stream);
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let said = ai_gateway_tests::speak::hear(Dialect::OpenAiChat, stream, &reply);
        assert!(super::said(&said).contains("I write to joe@example.com with"), "{stream}: {}", reply.text());
        let shown = std::mem::take(&mut *shown.lock().unwrap());
        assert!(shown.iter().any(|body| body.contains("I am [EMAIL_1]")), "{shown:?}");
        assert!(shown.iter().any(|body| body.contains("password")), "answers are shown: {shown:?}");
        assert!(shown.iter().all(|body| !body.contains("joe")), "{shown:?}");
    }
}

/// What Claude thinks, whole or in these pieces, with its signature.
fn thinking(pieces: &[&str], stream: bool) -> Answer {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    if !stream {
        let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": pieces.concat(), "signature": "SIGNED"}], "usage": usage});
        return Answer::json(200, message.to_string());
    }
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let delta = |delta: Value| event(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    let block = json!({"type": "thinking", "thinking": "", "signature": ""});
    let start =
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage});
    let mut events = vec![
        event(json!({"type": "message_start", "message": start})),
        event(json!({"type": "content_block_start", "index": 0, "content_block": block})),
    ];
    events.extend(pieces.iter().map(|piece| delta(json!({"type": "thinking_delta", "thinking": piece}))));
    events.extend([
        delta(json!({"type": "signature_delta", "signature": "SIGNED"})),
        event(json!({"type": "content_block_stop", "index": 0})),
        event(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})),
        event(json!({"type": "message_stop"})),
    ]);
    Answer::sse(events)
}

async fn thinks(plugins: &str, pieces: &'static [&'static str], stream: bool) -> Reply {
    let stub = Stub::start(move |request| match request.target.contains("hook") {
        true => Answer::json(200, r#"{"action":"pass"}"#),
        false => thinking(pieces, stream),
    })
    .await;
    let plugins = plugins.replace("HOOK", &format!("{}/hook", stub.origin()));
    let gateway =
        Gateway::start(&format!("{}{plugins}", mock_provider("up", Dialect::Anthropic, &stub.origin()))).await;
    let request: Request = ask(Dialect::Anthropic, "up/m", "I am ann@example.com", stream);
    exchange(gateway.addr, &request).await
}

#[tokio::test]
async fn reasoning_is_signed_if_it_is_what_was_signed() {
    const REDACT: &str = "[[plugins]]\nuse = \"pii\"\naction = \"redact\"\non = [\"answer\"]\n";
    const MASK: &str = "[[plugins]]\nuse = \"pii\"\n";
    const HOOK: &str = "[[plugins]]\nuse = \"webhook\"\nurl = \"HOOK\"\non = [\"answer\"]\nwindow = 4096\n";
    for stream in [false, true] {
        for hook in ["", HOOK] {
            let what = format!("stream {stream}, hook {}", !hook.is_empty());
            let reply = thinks(&format!("{REDACT}{hook}"), &["I write to ", "joe@example.com"], stream).await;
            assert!(reply.text().contains("[EMAIL]"), "{what}: {}", reply.text());
            assert!(!reply.text().contains("SIGNED"), "{what}: {}", reply.text());
            let reply = thinks(&format!("{REDACT}{hook}"), &["I write to ", "joe"], stream).await;
            assert!(reply.text().contains("SIGNED"), "{what}: {}", reply.text());
            let reply = thinks(&format!("{MASK}{hook}"), &["I write to ", "[EMAIL_1]"], stream).await;
            let (text, signature) = (reply.text().find("ann@example.com"), reply.text().find("SIGNED"));
            assert!(text.is_some() && signature.is_some() && (!stream || text < signature), "{what}: {}", reply.text());
        }
    }
}

/// A Responses client may refer to what was said before by its id alone: it is put there as the client was told it, not as the model
/// said it.
#[tokio::test]
async fn an_item_that_is_referred_to_says_what_its_client_was_told() {
    let stub = Stub::start(|request| {
        answer(Dialect::OpenAiChat, &["So: [EM", "AIL_1]", "."], request.json()["stream"] == true)
    })
    .await;
    let provider = mock_provider("up", Dialect::OpenAiChat, &stub.origin());
    let gateway = Gateway::start(&format!("{provider}[[plugins]]\nuse = \"pii\"\n")).await;
    for stream in [false, true] {
        let ask = async |input: Value| {
            let body = json!({"model": "up/m", "input": input, "stream": stream}).to_string();
            let reply = exchange(gateway.addr, &Request::post("/v1/responses", body)).await;
            assert!(reply.text().contains("So: ann@example.com."), "{}", reply.text());
            (reply, String::from_utf8(stub.next().await.body.to_vec()).unwrap())
        };
        let (reply, seen) = ask(json!("I am ann@example.com")).await;
        assert!(seen.contains("I am [EMAIL_1]"), "{seen}");
        let id = reply.text().split_once("\"msg_gw_").unwrap().1.split('"').next().map(|id| format!("msg_gw_{id}"));
        let second = json!([{"type": "item_reference", "id": id}, {"role": "user", "content": "I am bob@example.com"}]);
        let (_, seen) = ask(second).await;
        assert!(seen.contains("So: [EMAIL_1].") && seen.contains("I am [EMAIL_2]"), "{seen}");
    }
}
