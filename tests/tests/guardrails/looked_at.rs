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

#[tokio::test]
async fn transcripts_are_texts() {
    let heard = json!({"text": "the falcon flies", "segments": [{"id": 0, "text": "the falcon flies"}]});
    let stub = Stub::start(move |request| match request.target.contains("transcriptions") {
        true => Answer::json(200, heard.to_string()),
        false => Answer::status(404),
    })
    .await;
    let gateway = gateway(&stub, &format!("{DENY}action = \"redact\"\non = [\"answer\"]\n")).await;
    let part =
        |name: &str, value: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let form = [part("model", "up/m"), part("file", "RIFF"), "--b--\r\n".into()].concat();
    let request =
        Request::post("/v1/audio/transcriptions", form).header("content-type", "multipart/form-data; boundary=b");
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!reply.text().contains("falcon") && reply.json()["text"] == "the [DENIED] flies", "{}", reply.text());
}
