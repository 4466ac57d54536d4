//! The health of targets as clients and operators see it: who rests, who is told so, what comes back, and what a request may
//! say about its own clocks.

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::unreachable::Hanging;
use ai_gateway_tests::{Answer, Gateway, Step, Stub, bodies};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn good() -> Answer {
    Answer::json(200, bodies::chat_answer("good"))
}

fn failed(status: u16) -> Answer {
    Answer::json(status, r#"{"error":{"message":"no","type":"server_error"}}"#)
}

async fn ask(gateway: &Gateway, model: &str) -> ai_gateway_tests::client::Reply {
    exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat(model))).await
}

async fn targets(gateway: &Gateway) -> Value {
    exchange(gateway.admin, &Request::get("/api/targets")).await.json()
}

#[tokio::test]
async fn all_resting_is_a_503_that_says_why_and_until_when() {
    let stub = Stub::always(failed(503)).await;
    let rests = "health = { cooldown = \"1m\", max_cooldown = \"1m\" }\n";
    let gateway = Gateway::start(&(bodies::openai_provider("p", &stub.origin()) + rests)).await;
    let mut asked = 0;
    let reply = loop {
        let reply = ask(&gateway, "p/m").await;
        if reply.json()["error"]["code"] == "all_targets_resting" {
            break reply;
        }
        assert_eq!(reply.status, 503);
        asked += 1;
        assert!(asked <= 5, "five failures in a row are enough");
    };
    let before = stub.count();
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("p/m") && message.contains("in a row"), "{message}");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    for (path, body) in
        [("/v1/messages", bodies::message("p/m", true)), ("/v1/responses", bodies::response("p/m", true))]
    {
        let reply = exchange(gateway.addr, &Request::post(path, body)).await;
        assert_eq!((reply.status, reply.headers.contains_key("retry-after")), (503, true), "{path}: {}", reply.text());
    }
    assert_eq!(stub.count(), before, "a resting target is not asked");
    let status = targets(&gateway).await;
    assert_eq!(status["targets"][0]["state"], "waiting", "{status}");
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(metrics.contains(r#"gateway_target_up{provider="p",model="m",credential="0"} 0"#), "{metrics}");
    let log = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!((&log["fault"], &log["error"]), (&"upstream".into(), &"all_targets_resting".into()), "{log}");

    gateway.write("", &bodies::openai_provider("other", &stub.origin()));
    assert_eq!(gateway.command(&["reload"]).code, Some(0));
    assert_eq!(targets(&gateway).await["targets"], serde_json::json!([]), "of a provider that is gone nothing is told");
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(!metrics.contains("gateway_target_up{"), "{metrics}");
}

#[tokio::test]
async fn credentials_fail_on_their_own() {
    let refuses = |request: &ai_gateway_tests::Received| match request.header("authorization") {
        "Bearer revoked" => failed(401),
        _ => good(),
    };
    let stub = Stub::start(refuses).await;
    let gateway = Gateway::start(&format!(
        "[providers.p]\nkind = \"openai-compatible\"\nbase_url = \"{}/v1\"\napi_keys = [\"one\", \"revoked\", \"two\"]\n",
        stub.origin()
    ))
    .await;
    for _ in 0..12 {
        let reply = ask(&gateway, "p/m").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let mut used = BTreeMap::<String, u32>::new();
    for request in stub.received() {
        *used.entry(request.header("authorization").to_owned()).or_default() += 1;
    }
    assert_eq!(used["Bearer revoked"], 1, "{used:?}");
    assert!(used["Bearer one"] >= 4 && used["Bearer two"] >= 4, "spread: {used:?}");
    let status = targets(&gateway).await;
    assert_eq!(status["refused_credentials"][0]["credential"], 1, "{status}");
    gateway.told(|line| line.contains("credential 1") && line.contains("401")).await;
    let (_, messages) = gateway.output();
    let alarms: Vec<_> = messages.iter().filter(|line| line.contains("credential 1") && line.contains("401")).collect();
    assert_eq!(alarms.len(), 1, "one alarm: {messages:?}");
    assert!(!messages.iter().any(|line| line.contains("revoked")), "{messages:?}");
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(metrics.contains(r#"gateway_credential_refused{provider="p",credential="1"} 1"#), "{metrics}");
}

/// A model or a request that the account may not ask for is no reason to give up the account.
#[tokio::test]
async fn one_refused_model_takes_no_other_with_it() {
    let stub = Stub::start(|request: &ai_gateway_tests::Received| match request.json()["model"].as_str() {
        Some("ok") => good(),
        Some(status) => failed(status.parse().unwrap()),
        None => failed(400),
    })
    .await;
    let gateway = Gateway::start(&bodies::openai_provider("p", &stub.origin())).await;
    for status in ["403", "401", "402"] {
        let refused = ask(&gateway, &format!("p/{status}")).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (502, &"upstream_auth_failed".into()));
        assert_eq!(ask(&gateway, "p/ok").await.status, 200, "after {status}");
        let rests = ask(&gateway, &format!("p/{status}")).await;
        let why = format!("the credentials may not use this model ({status})");
        assert!(rests.status == 503 && rests.text().contains(&why), "{}", rests.text());
    }
    let status = targets(&gateway).await;
    assert_eq!(status["refused_credentials"], serde_json::json!([]), "{status}");
}

/// A 403 that speaks of the request is its client's, in the provider's words; nobody else is asked, and nothing rests.
#[tokio::test]
async fn a_403_of_one_request_is_its_clients_own() {
    let flagged =
        r#"{"error":{"code":403,"message":"Input was flagged","metadata":{"reasons":["x"],"flagged_input":"y"}}}"#;
    let expired = r#"{"error":{"code":403,"message":"CachedContent not found (or permission denied)","status":"PERMISSION_DENIED"}}"#;
    for (body, translated) in [(flagged, 400), (expired, 404)] {
        let first =
            Stub::sequence(vec![good(), Answer::json(403, body), good(), Answer::json(403, body), good()]).await;
        let second = Stub::always(good()).await;
        let gateway = Gateway::start(&format!(
            "{}{}[models.m]\ntargets = [{{ provider = \"first\", model = \"x\" }}, \
             {{ provider = \"second\", model = \"x\", priority = 1 }}]\n",
            bodies::openai_provider("first", &first.origin()),
            bodies::openai_provider("second", &second.origin())
        ))
        .await;
        assert_eq!(ask(&gateway, "m").await.status, 200);
        let reply = ask(&gateway, "m").await;
        assert_eq!((reply.status, reply.text()), (403, body.to_owned()));
        assert_eq!(ask(&gateway, "m").await.header("x-gateway-provider"), "first", "it does not rest");
        let reply = exchange(gateway.addr, &Request::post("/v1/messages", bodies::message("m", false))).await;
        assert_eq!(reply.status, translated, "{}", reply.text());
        assert_eq!(ask(&gateway, "m").await.header("x-gateway-provider"), "first", "it does not rest");
        assert_eq!((first.count(), second.count()), (5, 0));
        assert_eq!(targets(&gateway).await["refused_credentials"], serde_json::json!([]));
    }
}

/// An account that is really dead is given up with the second model, whatever it answered before.
#[tokio::test]
async fn a_key_that_is_revoked_under_way_is_benched_with_the_second_model() {
    let stub = Stub::sequence(vec![good(), good(), failed(401)]).await;
    let gateway = Gateway::start(&bodies::openai_provider("p", &stub.origin())).await;
    let mut statuses = Vec::new();
    for model in ["p/a", "p/b", "p/a", "p/b", "p/c"] {
        statuses.push(ask(&gateway, model).await.status);
    }
    assert_eq!((statuses, stub.count()), (vec![200, 200, 502, 502, 503], 4));
    let status = targets(&gateway).await;
    assert_eq!(status["refused_credentials"][0]["detail"], "credentials refused (401)", "{status}");
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(metrics.contains(r#"gateway_credential_refused{provider="p",credential="0"} 1"#), "{metrics}");
}

#[tokio::test]
async fn an_operator_takes_a_target_out_and_brings_it_back() {
    let (first, second) = (Stub::always(good()).await, Stub::always(good()).await);
    let gateway = Gateway::start(&format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"first\", model = \"x/y\" }}, \
         {{ provider = \"second\", model = \"z\", priority = 1 }}]\n",
        bodies::openai_provider("first", &first.origin()),
        bodies::openai_provider("second", &second.origin())
    ))
    .await;
    let post = async |path: &str| exchange(gateway.admin, &Request::post(path, "")).await;
    assert_eq!(ask(&gateway, "m").await.header("x-gateway-provider"), "first");
    let drained = post("/api/targets/drain?target=first/x/y").await;
    assert_eq!((drained.status, &drained.json()["targets"][0]["state"]), (200, &"drained".into()));
    assert_eq!(ask(&gateway, "m").await.header("x-gateway-provider"), "second");
    let reply = ask(&gateway, "first/x/y").await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.text().contains("taken out by an operator"), "{}", reply.text());
    assert_eq!(post("/api/targets/undrain?target=first/x/y").await.status, 200);
    assert_eq!(ask(&gateway, "m").await.header("x-gateway-provider"), "first");
    for (path, status) in [("/api/targets/drain", 400), ("/api/targets/drain?target=first/none", 404)] {
        assert_eq!(post(path).await.status, status, "{path}");
    }
    let reply = exchange(gateway.admin, &Request::get("/api/targets/drain?target=first/x/y")).await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn a_request_sets_its_own_clocks() {
    let silent = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Stall)).await;
    let gateway = Gateway::start(&bodies::openai_provider("p", &silent.origin())).await;
    for (header, value, clock, stream) in [
        ("x-gateway-timeout-first-token", "300ms", "first_token_timeout", true),
        ("x-gateway-timeout-total", "0.3", "total_timeout", true),
        ("x-gateway-timeout-total", "300ms", "total_timeout", false),
    ] {
        let body = if stream { bodies::chat_stream("p/m") } else { bodies::chat("p/m") };
        let begun = Instant::now();
        let request = Request::post("/v1/chat/completions", body).header(header, value);
        let reply = exchange(gateway.addr, &request).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(280) && took < Duration::from_secs(20), "{header}: {took:?}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["attempts"][0]["outcome"], clock, "{log}");
        let sent = silent.next().await;
        assert_eq!(sent.header(header), "", "it is not the provider's business");
    }
    let request = Request::post("/v1/chat/completions", bodies::chat("p/m")).header("x-gateway-timeout-idle", "soon");
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &"x-gateway-timeout-idle".into()));
}

/// Who has little patience learns that the target is slow for that; for everybody else it is as well as before.
#[tokio::test]
async fn the_haste_of_one_client_takes_no_target_from_the_others() {
    let slow = Stub::start(|request| match request.json()["stream"] == true {
        true => Answer::sse([bodies::chat_role()]).step(Step::Stall),
        false => good(),
    })
    .await;
    let full = Hanging::new().await;
    let hasty = [
        ("x-litellm-timeout", "0.5", "total_timeout"),
        ("x-portkey-request-timeout", "500", "total_timeout"),
        ("cf-aig-request-timeout", "500", "total_timeout"),
        ("x-gateway-timeout-total", "500ms", "total_timeout"),
        ("x-gateway-timeout-first-token", "500ms", "first_token_timeout"),
        ("x-litellm-stream-timeout", "0.5", "first_token_timeout"),
        ("x-gateway-timeout-connect", "500ms", "connect_timeout"),
        // There is no connection yet when the attempt's time is over.
        ("x-gateway-timeout-total", "500ms", "connect_timeout"),
    ];
    let gateway = Gateway::start(
        &(bodies::openai_provider("p", &slow.origin())
            + &bodies::openai_provider("full", &format!("http://{}", full.addr))
            + "health = { failures = 1 }\n"),
    )
    .await;
    for (header, value, clock) in hasty {
        let model = if clock == "connect_timeout" { "full/m" } else { "p/m" };
        let request = Request::post("/v1/chat/completions", bodies::chat_stream(model)).header(header, value);
        let reply = exchange(gateway.addr, &request).await;
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["attempts"][0]["outcome"], clock, "{header}: {log}");
    }
    let status = targets(&gateway).await;
    for target in status["targets"].as_array().unwrap() {
        let seen = [&target["state"], &target["consecutive_failures"], &target["latency_ms"]];
        assert_eq!(seen, [&Value::from("ready"), &0.into(), &Value::Null], "{status}");
    }
    assert_eq!(ask(&gateway, "p/m").await.status, 200);
}

/// Retries at one target are bounded by a budget: an outage does not double the load.
#[tokio::test]
async fn retries_do_not_double_the_load_of_an_outage() {
    let stub = Stub::always(failed(500)).await;
    let gateway = Gateway::start(&format!(
        "{}health = {{ failures = 0, rate = 0 }}\n",
        bodies::openai_provider("p", &stub.origin())
    ))
    .await;
    let mut client = ai_gateway_tests::client::H1::connect(gateway.addr).await;
    const REQUESTS: usize = 40;
    for _ in 0..REQUESTS {
        let reply = client.exchange(&Request::post("/v1/chat/completions", bodies::chat("p/m"))).await;
        assert_eq!(reply.status, 500);
    }
    let retries = stub.count() - REQUESTS;
    // A reserve of ten, and one for each five requests.
    assert!((10..=18).contains(&retries), "{retries}");
}

#[tokio::test]
async fn sessions_stay_where_they_are() {
    let stubs = [Stub::always(good()).await, Stub::always(good()).await, Stub::always(good()).await];
    let providers: String =
        stubs.iter().zip(["a", "b", "c"]).map(|(stub, name)| bodies::openai_provider(name, &stub.origin())).collect();
    let config = format!(
        "{providers}[models.m]\nstrategy = \"sticky\"\nsticky = {{ header = \"x-conversation\" }}\ntargets = [{}]\n",
        ["a", "b", "c"].map(|name| format!("{{ provider = \"{name}\", model = \"m\" }}")).join(", ")
    );
    let session = async |gateway: &Gateway, session: &str| {
        let request = Request::post("/v1/chat/completions", bodies::chat("m")).header("x-conversation", session);
        exchange(gateway.addr, &request).await.header("x-gateway-provider").to_owned()
    };
    let (before, after) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let mut seen = BTreeMap::<String, u32>::new();
    for number in 0..30 {
        let name = format!("session-{number}");
        let first = session(&before, &name).await;
        assert_eq!(session(&before, &name).await, first);
        assert_eq!(session(&after, &name).await, first, "also in another process");
        *seen.entry(first).or_default() += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    // Without a session the beginning of the prompt decides.
    let turn = |messages: &str| {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hello"}}{messages}]}}"#);
        Request::post("/v1/chat/completions", body)
    };
    let first = exchange(before.addr, &turn("")).await.header("x-gateway-provider").to_owned();
    let more = r#",{"role":"assistant","content":"hi"},{"role":"user","content":"more"}"#;
    assert_eq!(exchange(before.addr, &turn(more)).await.header("x-gateway-provider"), first);
}

/// A target that rests for a moment because its provider asked for it is waited for, if there is no other.
#[tokio::test]
async fn a_short_rest_is_waited_for() {
    let limited = failed(429).header("retry-after-ms", "700");
    let stub = Stub::sequence(vec![limited.clone(), limited, good()]).await;
    let longer = Stub::always(failed(429).header("retry-after", "8")).await;
    let config = format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"m\" }}]\nretry = {{ same_target = false }}\n\
         [models.hasty]\ntargets = [{{ provider = \"longer\", model = \"m\" }}]\nretry = {{ max_wait = \"1ms\" }}\n",
        bodies::openai_provider("p", &stub.origin()),
        bodies::openai_provider("longer", &longer.origin())
    );
    let gateway = Gateway::start(&config).await;
    let begun = Instant::now();
    assert_eq!(ask(&gateway, "m").await.status, 429);
    assert_eq!(ask(&gateway, "m").await.status, 429);
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    assert_eq!(ask(&gateway, "m").await.status, 200);
    assert_eq!(stub.count(), 3);
    // With less patience than the rest is long.
    assert_eq!(ask(&gateway, "hasty").await.status, 429);
    let reply = ask(&gateway, "hasty").await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &"all_targets_resting".into()));
    assert_eq!(longer.count(), 1);
}
