//! `server.tls`, tried by another gateway whose provider is the first one: certificates, trust and ALPN on both sides.

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::tls::Authority;
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};

#[tokio::test]
async fn the_listener_speaks_tls_to_those_who_trust_it() {
    let authority = Authority::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let inner = Gateway::builder()
        .server(&format!("tls = {}", authority.server_files()))
        .config(&bodies::openai_provider("stub", &stub.origin()))
        .start()
        .await;
    let provider = |name: &str, settings: &str| {
        format!("{}{settings}\n", bodies::openai_provider(name, &format!("https://{}", inner.addr)))
    };
    let trust = format!("ca = \"{}\"", authority.file());
    let outer = Gateway::start(
        &[
            provider("h2", &format!("{trust}\nhttp2 = true")),
            provider("h1", &format!("{trust}\nhttp2 = false")),
            provider("stranger", ""),
        ]
        .concat(),
    )
    .await;
    for (provider, status) in [("h2", 200), ("h1", 200), ("stranger", 502)] {
        let request = Request::post("/v1/chat/completions", bodies::chat(&format!("{provider}/stub/m")));
        let reply = exchange(outer.addr, &request).await;
        assert_eq!(reply.status, status, "{provider}: {}", reply.text());
    }
    assert_eq!(stub.count(), 2);
    let attempts = outer.log_line(|line| (line["provider"] == "stranger").then(|| line["attempts"].clone())).await;
    assert_eq!(attempts[0]["outcome"], "tls", "{attempts}");
}
