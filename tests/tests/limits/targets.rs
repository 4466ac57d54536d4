//! A target's own limits, and those of models that are fallen back on.

use std::time::Duration;

use super::{chat, fine};
use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies, guard, run_to_end};
use futures::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_used_up_is_passed_over() {
    let (narrow, wide) = (fine().await, fine().await);
    let config = format!(
        "{}{}[models.assistant]\ntargets = [{{ provider = \"narrow\", model = \"m\", rpm = 3 }}, \
         {{ provider = \"wide\", model = \"m\", priority = 1 }}]\n\
         [models.alone]\ntargets = [{{ provider = \"narrow\", model = \"m\", rpm = 3 }}]\n",
        bodies::openai_provider("narrow", &narrow.origin()),
        bodies::openai_provider("wide", &wide.origin()),
    );
    let gateway = Gateway::start(&config).await;
    let replies = join_all((0..20).map(|_| async { exchange(gateway.addr, &chat()).await })).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!((narrow.count(), wide.count()), (3, 17));
    let alone = Request::post("/v1/chat/completions", bodies::chat("alone"));
    let reply = exchange(gateway.addr, &alone).await;
    assert!(reply.status >= 429, "{}", reply.text());
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((50..=61).contains(&wait), "{wait}");
    assert!(reply.text().contains("rpm"), "{}", reply.text());
    assert_eq!(narrow.count(), 3);
}

/// A local server takes so many at a time, and an account so many a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_have_limits_of_every_kind() {
    let gate = Gate::new();
    let busy = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let wide = fine().await;
    let narrow = "{ provider = \"busy\", model = \"m\", limits = [{ concurrent = 1 }, { requests = \"2/day\" }] }";
    let config = format!(
        "{}{}[models.assistant]\ntargets = [{narrow}, {{ provider = \"wide\", model = \"m\", priority = 1 }}]\n\
         [models.alone]\ntargets = [{narrow}]\n",
        bodies::openai_provider("busy", &busy.origin()),
        bodies::openai_provider("wide", &wide.origin()),
    );
    let gateway = Gateway::start(&config).await;
    let alone = || Request::post("/v1/chat/completions", bodies::chat("alone"));
    let first = async {
        let reply = exchange(gateway.addr, &chat()).await;
        assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "busy"));
    };
    let others = async {
        busy.next().await;
        let reply = exchange(gateway.addr, &chat()).await;
        assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "wide"));
        let reply = exchange(gateway.addr, &alone()).await;
        assert!(reply.status >= 429 && reply.text().contains("limits"), "{}", reply.text());
        assert!(reply.header("retry-after").parse::<u64>().unwrap() <= 2, "{:?}", reply.headers);
        gate.open();
    };
    tokio::join!(first, others);
    assert_eq!(exchange(gateway.addr, &alone()).await.status, 200);
    let reply = exchange(gateway.addr, &alone()).await;
    assert!(reply.status >= 429, "{}", reply.text());
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!(wait > 80_000, "{wait}");
    assert_eq!((busy.count(), wide.count()), (2, 1));
}

/// What counts of the limit of `narrow/m` on requests at the same time.
async fn at_once_at_target(gateway: &Gateway) -> u64 {
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    let target = limits["subjects"].as_array().unwrap().iter().find(|subject| subject["kind"] == "target").unwrap();
    target["limits"][0]["reserved"].as_u64().unwrap()
}

/// Between an attempt and the next one of the same target nothing is in flight there.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_repeat_holds_no_place_at_the_target() {
    let gate = Gate::new();
    let late = Answer::status(429).header("retry-after", "10");
    let fine = Answer::json(200, bodies::chat_answer("fine")).after(&gate);
    let stub = Stub::sequence(vec![late, fine]).await;
    let config = format!(
        "{}[models.assistant]\n\
         targets = [{{ provider = \"narrow\", model = \"m\", limits = {{ concurrent = 1 }} }}]\nretry = {{ max_wait = \"20s\" }}\n",
        bodies::openai_provider("narrow", &stub.origin()),
    );
    let gateway = Gateway::start(&config).await;
    let first = async {
        let reply = exchange(gateway.addr, &chat()).await;
        assert_eq!((reply.status, reply.header("x-gateway-attempts")), (200, "2"));
    };
    let other = async {
        stub.next().await;
        guard("the place at the target", async {
            while at_once_at_target(&gateway).await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(stub.count(), 1, "it was held until the next attempt");
        stub.next().await;
        assert_eq!(at_once_at_target(&gateway).await, 1);
        gate.open();
    };
    tokio::join!(first, other);
    assert_eq!(at_once_at_target(&gateway).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_broke_off_is_free_while_another_goes_on() {
    let gate = Gate::new();
    let half = Answer::sse([bodies::chat_role(), bodies::chat_delta("half ")]).step(Step::Cut);
    let narrow = Stub::sequence(vec![half, Answer::json(200, bodies::chat_answer("fine"))]).await;
    let rest = [bodies::chat_role(), bodies::chat_delta("and half"), bodies::chat_finish(), bodies::DONE.into()];
    let wide = Stub::always(Answer::sse(rest).after(&gate)).await;
    let config = format!(
        "{}{}[models.assistant]\non_cut = \"continue\"\n\
         targets = [{{ provider = \"narrow\", model = \"m\", limits = {{ concurrent = 1 }} }}, \
         {{ provider = \"wide\", model = \"m\", priority = 1, traits = {{ prefill = true }} }}]\n\
         [models.alone]\ntargets = [{{ provider = \"narrow\", model = \"m\" }}]\n",
        bodies::openai_provider("narrow", &narrow.origin()),
        bodies::openai_provider("wide", &wide.origin()),
    );
    let gateway = Gateway::start(&config).await;
    let first = async {
        let stream = Request::post("/v1/chat/completions", bodies::chat_stream("assistant"));
        let reply = exchange(gateway.addr, &stream).await;
        assert!(reply.complete && reply.text().contains("and half"), "{}", reply.text());
    };
    let other = async {
        wide.next().await;
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("alone"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        gate.open();
    };
    tokio::join!(first, other);
}

/// A second call and a mirrored one are counted at their targets, and are not made where these are full.
#[tokio::test]
async fn calls_beside_the_request_keep_to_their_targets_limits() {
    let (fine, copy) = (fine().await, fine().await);
    let slow = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Stall)).await;
    let events = [bodies::chat_role(), bodies::chat_delta("quick"), bodies::chat_finish(), bodies::DONE.into()];
    let gate = Gate::new();
    let quick = Stub::always(Answer::sse(events).after(&gate)).await;
    let config = format!(
        "{}{}{}{}[models.mirrored]\ntargets = [{{ provider = \"fine\", model = \"f\" }}]\n\
         [models.raced]\ntargets = [{{ provider = \"slow\", model = \"s\", timeouts = {{ first_token = \"1s\" }} }}, {{ provider = \"quick\", model = \"q\", priority = 1, rpm = 1 }}]\n\
         hedge = {{ after = \"20ms\", max_extra = \"100%\" }}\nretry = {{ attempts = 2, same_target = false }}\n\
         [[routes]]\nwhen = {{ model = \"mirrored\" }}\nmirror = {{ target = {{ provider = \"copy\", model = \"c\", rpm = 1 }}, percent = 100 }}\n",
        bodies::openai_provider("fine", &fine.origin()),
        bodies::openai_provider("copy", &copy.origin()),
        bodies::openai_provider("slow", &slow.origin()),
        bodies::openai_provider("quick", &quick.origin()),
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..3 {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("mirrored"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    gateway.counted_when("gateway_mirrored_total", "outcome=\"limited\"", |left_out| left_out == 2).await;
    copy.next().await;
    assert_eq!(copy.count(), 1);

    let raced = Request::post("/v1/chat/completions", bodies::chat_stream("raced"));
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &raced), async {
        slow.next().await;
        quick.next().await;
        gate.open();
    });
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!((slow.count(), quick.count()), (1, 1));
    let reply = exchange(gateway.addr, &raced).await;
    assert!(reply.text().contains("upstream_timeout"), "{}", reply.text());
    assert_eq!(quick.count(), 1, "the second call would be its second in a minute");
}

/// A target's own limit keeps it from being asked once more, and its error from nobody.
#[tokio::test]
async fn a_target_that_is_used_up_tells_its_own_error() {
    let stub = Stub::always(Answer::json(500, r#"{"error":{"message":"broken"}}"#)).await;
    let config = format!(
        "{}[models.m]\ntargets = [{{ provider = \"p\", model = \"m\", rpm = 1 }}]\n",
        bodies::openai_provider("p", &stub.origin())
    );
    let gateway = Gateway::start(&config).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert_eq!((reply.status, stub.count()), (502, 1), "{}", reply.text());
    assert!(reply.text().contains("status 500"), "{}", reply.text());
}

/// A model that a client names to fall back on answers within its own limits.
#[tokio::test]
async fn a_fallback_keeps_to_the_limits_of_its_model() {
    let stub = Stub::start(|request| match request.json()["model"].as_str() {
        Some("cheap") => Answer::json(503, r#"{"error":{"message":"away"}}"#),
        _ => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let config = format!(
        "{}[models.cheap]\ntargets = [{{ provider = \"p\", model = \"cheap\" }}]\n\
         [models.lim]\ntargets = [{{ provider = \"p\", model = \"lim\" }}]\nlimits = {{ requests = \"2/day\" }}\n",
        bodies::openai_provider("p", &stub.origin())
    );
    let gateway = Gateway::start(&config).await;
    let ask = |model: &str, fallbacks: &[&str]| {
        let body = serde_json::json!({"model": model, "fallbacks": fallbacks, "messages": [{"role": "user", "content": "Hi"}]});
        let request = Request::post("/v1/chat/completions", body.to_string());
        async move { exchange(gateway.addr, &request).await }
    };
    assert_eq!(ask("cheap", &["lim"]).await.status, 200);
    assert_eq!(ask("lim", &[]).await.status, 200);
    let reply = ask("cheap", &["lim"]).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(ask("lim", &[]).await.status, 429);
    let asked = stub.received().iter().filter(|request| request.json()["model"] == "lim").count();
    assert_eq!(asked, 2);
}

/// What was asked of it counts still, and what that cost is found by the same prices.
#[tokio::test]
async fn a_model_that_was_fallen_back_on_keeps_its_account_over_a_restart() {
    let stub = Stub::start(|request| match request.json()["model"].as_str() {
        Some("cheap") => Answer::json(503, r#"{"error":{"message":"away"}}"#),
        _ => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let price = "price = { input = \"1\", output = \"10\" }";
    let config = format!(
        "{}[models.cheap]\ntargets = [{{ provider = \"p\", model = \"cheap\" }}]\n\
         [models.lim]\ntargets = [{{ provider = \"p\", model = \"lim\", {price} }}]\n\
         limits = {{ requests = \"2/day\", tokens = \"9000/day\" }}\n[ledger]\npath = {:?}\n",
        bodies::openai_provider("p", &stub.origin()),
        dir.path().join("ledger.db"),
    );
    let ask = async |gateway: &Gateway| {
        let body = serde_json::json!({"model": "cheap", "fallbacks": ["lim"], "messages": [{"role": "user", "content": "Hi"}]});
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await.status;
        gateway.at_rest().await;
        reply
    };
    let used = async |gateway: &Gateway| {
        let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
        let of = limits["subjects"][0]["limits"].as_array().unwrap().iter();
        of.map(|limit| limit["used"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let gateway = Gateway::start(&config).await;
    assert_eq!(ask(&gateway).await, 200);
    assert_eq!(used(&gateway).await, [1, 12]);
    drop(gateway);
    let gateway = Gateway::start(&config).await;
    assert_eq!(used(&gateway).await, [1, 12]);
    assert_eq!((ask(&gateway).await, ask(&gateway).await), (200, 503));
    drop(gateway);
    let mut gateway = Gateway::start(&config).await;
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let rerated = run_to_end(&["usage", "rerate", "--config", "{config}"], &config, &[]);
    assert!(
        rerated.stdout.contains(" 0 cost something else, 0 are without a price; 0.000114 USD booked, 0.000114 USD now"),
        "{rerated:?}"
    );
}
