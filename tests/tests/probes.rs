//! Probes: a provider is asked on purpose, and its targets rest before a client has met the outage.

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test]
async fn an_outage_is_found_and_its_end_too() {
    let down = Arc::new(AtomicBool::new(true));
    let state = down.clone();
    let stub = Stub::start(move |request| match (&*request.target, state.load(Ordering::Relaxed)) {
        (_, true) => Answer::json(503, "{}"),
        ("/v1/models", false) => Answer::json(200, r#"{"data":[]}"#),
        (_, false) => Answer::json(200, bodies::chat_answer("well")),
    })
    .await;
    let config = format!(
        "{}health = {{ failures = 2, cooldown = \"1s\", max_cooldown = \"1s\", probe = {{ every = \"1s\" }} }}\n\
         [models.m]\ntargets = [{{ provider = \"p\", model = \"x\" }}]",
        bodies::openai_provider("p", &stub.origin())
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..2 {
        let probe = stub.next().await;
        assert_eq!((&*probe.target, probe.method.as_str()), ("/v1/models", "GET"));
        assert_eq!(probe.header("authorization"), "Bearer upstream-p");
        assert!(probe.body.is_empty());
    }
    // A probe that fails opens it once more.
    gateway.measured_when("gateway_target_opened_total", "provider=\"p\"", |opened| opened >= 1.0).await;
    let rests = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    down.store(false, Ordering::Relaxed);
    // The breaker may have let it through as a probe of its own, in the moment between two probes.
    assert!(rests.status == 503, "{}", rests.text());
    gateway.measured_when("gateway_target_up", "provider=\"p\"", |up| up == 1.0).await;
    let well = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert_eq!((well.status, well.text()), (200, bodies::chat_answer("well")));
}
