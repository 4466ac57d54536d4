//! What clients say for their own accounts.

use super::*;

/// What clients of other gateways send is understood, kept, and not passed on.
#[tokio::test]
async fn headers_of_other_gateways_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let slow = gate.clone();
    let stub = Stub::start(move |request| match request.json()["model"].as_str() {
        Some("slow") => Answer::json(200, bodies::chat_answer("late")).after(&slow),
        Some("bad") => Answer::json(503, "{}"),
        _ => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let target =
        |model: &str, priority: u8| format!("{{ provider = \"stub\", model = \"{model}\", priority = {priority} }}");
    let config = [
        bodies::openai_provider("stub", &stub.origin()),
        format!("[models.m]\ntargets = [{}, {}]\n", target("bad", 0), target("good", 1)),
        key("k", "tags = [\"own\"]"),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let sent = [
        ("x-litellm-customer-id", "acme"),
        ("x-litellm-tags", "blue,green"),
        ("x-litellm-call-id", "call-7"),
        ("x-portkey-trace-id", "trace-7"),
        ("x-portkey-metadata", "{\"env\":\"prod\"}"),
        ("cf-aig-metadata", "{\"n\":5}"),
        ("helicone-property-app", "chat"),
        ("x-litellm-timeout", "20"),
        ("x-litellm-stream-timeout", "20"),
        ("x-portkey-request-timeout", "20000"),
        ("x-litellm-num-retries", "1"),
    ];
    let with = |body: &str, headers: &[(&str, &str)]| {
        let request = Request::post("/v1/chat/completions", body.to_owned()).header("x-api-key", "sk-k");
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    let ask = |model: &str, more: &str| {
        format!("{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"a secret prompt\"}}]{more}}}")
    };
    let reply = exchange(gateway.addr, &with(&ask("stub/good", ""), &sent)).await;
    assert_eq!(reply.status, 200);
    for (name, _) in sent {
        assert_eq!(stub.received()[0].header(name), "", "{name} reached the provider");
    }
    let in_body = ask("stub/good", ",\"user\":\"u-1\",\"metadata\":{\"env\":\"dev\"}");
    assert_eq!(exchange(gateway.addr, &with(&in_body, &[])).await.status, 200);
    assert_eq!(stub.received()[1].json()["user"], "u-1");

    // Neither waits longer than it may.
    for (name, value) in
        [("x-litellm-timeout", "0.1"), ("x-portkey-request-timeout", "100"), ("cf-aig-request-timeout", "100")]
    {
        let reply = exchange(gateway.addr, &with(&ask("stub/slow", ""), &[(name, value)])).await;
        assert_eq!(reply.status, 504, "{name}: {}", reply.text());
    }
    assert_eq!(exchange(gateway.addr, &with(&ask("m", ""), &[("x-litellm-timeout", "soon")])).await.status, 400);
    for (headers, status) in [
        (&[][..], 200),
        (&[("x-litellm-num-retries", "0")][..], 503),
        (&[("cf-aig-max-attempts", "1")][..], 503),
        (&[("cf-aig-max-attempts", "2")][..], 200),
    ] {
        let before = stub.count();
        let reply = exchange(gateway.addr, &with(&ask("m", ""), headers)).await;
        assert_eq!((reply.status, stub.count() - before), (status, if status == 200 { 2 } else { 1 }), "{headers:?}");
    }

    let tags = |rows: Vec<Value>| rows.iter().map(|row| row["tag"].clone()).collect::<Vec<_>>();
    let customers = booked(gateway, &ledger, "customer").await;
    for customer in ["acme", "u-1"] {
        assert!(customers.iter().any(|row| row["customer"] == customer && row["requests"] == 1), "{customers:?}");
    }
    let tags = tags(usage(&ledger, &["--by", "tag"]));
    for tag in ["own", "blue", "green"] {
        assert!(tags.contains(&json!(tag)), "{tags:?}");
    }
    let files: Vec<u8> = std::fs::read(&ledger).unwrap();
    let holds = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("[\"env\",\"prod\"]") && holds("[\"env\",\"dev\"]") && holds("[\"call_id\",\"call-7\"]"));
    assert!(holds("trace-7") && holds("[\"n\",\"5\"]") && holds("[\"app\",\"chat\"]") && !holds("secret prompt"));
}
