//! An answer that a provider keeps is an answer: who asks for it again gets it as the plugins let it pass.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub};
use serde_json::json;

use super::answer;

const PLUGINS: &str = r#"
[[plugins]]
use = "deny"
words = ["falcon"]
message = "GUARD SAYS NO"

[[plugins]]
use = "pii"
on = ["request", "answer"]

[[plugins]]
use = "headers"
answer = { set = { x-seen = "yes" } }
"#;

/// Keeps answers that say this, and one item that the model was asked with and said.
async fn kept(text: &'static str) -> (Stub, Gateway) {
    let stub = Stub::start(move |request| {
        if request.target.contains("input_items") {
            let item =
                json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]});
            return Answer::json(200, json!({"object": "list", "data": [item]}).to_string());
        }
        answer(Dialect::OpenAiResponses, &[text], request.target.contains("stream=true"))
    })
    .await;
    let provider = format!("[providers.up]\nkind = \"openai\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n", stub.origin());
    let gateway = Gateway::start(&format!("{provider}{PLUGINS}")).await;
    (stub, gateway)
}

async fn ask(gateway: &Gateway, method: &str, path: &str) -> Reply {
    let mut request = Request::get(&format!("/v1/responses/resp_1{path}"));
    request.method = method.into();
    exchange(gateway.addr, &request).await
}

#[tokio::test]
async fn what_was_refused_is_refused_again() {
    let (_stub, gateway) = kept("the falcon flies").await;
    for (method, path) in [("GET", ""), ("GET", "?stream=true"), ("GET", "/input_items"), ("POST", "/cancel")] {
        let reply = ask(&gateway, method, path).await;
        assert_eq!((reply.status, reply.header("x-seen")), (200, "yes"), "{method} {path}: {}", reply.text());
        assert!(!reply.text().contains("falcon"), "{method} {path}: {}", reply.text());
        assert!(reply.text().contains("GUARD SAYS NO"), "{method} {path}: {}", reply.text());
    }
    let refusal = ask(&gateway, "GET", "").await.json();
    assert_eq!(refusal["object"], "response", "{refusal}");
    assert_eq!(refusal["output"][0]["content"][0]["type"], "refusal", "{refusal}");
}

#[tokio::test]
async fn what_tells_of_persons_is_taken_out() {
    let (_stub, gateway) = kept("write to joe@example.com").await;
    for path in ["", "?stream=true", "/input_items"] {
        let reply = ask(&gateway, "GET", path).await;
        assert_eq!((reply.status, reply.header("x-seen")), (200, "yes"), "{path}: {}", reply.text());
        assert!(reply.text().contains("write to [EMAIL]"), "{path}: {}", reply.text());
        assert!(!reply.text().contains("joe@"), "{path}: {}", reply.text());
    }
    assert!(gateway.counted("gateway_plugin_calls_total", "plugin=\"pii\",hook=\"text\"").await > 0);
}

/// What allows only requests that say something has nothing to say of one that has no words.
#[tokio::test]
async fn who_asks_for_one_says_nothing() {
    let stub = Stub::start(|_| answer(Dialect::OpenAiResponses, &["hi"], false)).await;
    let gateway = Gateway::start(&format!(
        "[providers.up]\nkind = \"openai\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n[[plugins]]\nuse = \"allow\"\nwords = [\"invoice\"]\n",
        stub.origin()
    ))
    .await;
    let reply = ask(&gateway, "GET", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("\"hi\""), "{}", reply.text());
}
