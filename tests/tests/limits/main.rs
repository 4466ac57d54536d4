//! Limits and budgets, as clients meet them.

mod reserved;
mod targets;
mod uploads;

use std::time::Duration;

use ai_gateway_tests::client::{H1, Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Stub, bodies, guard, guard_until};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;

/// A configuration whose key `sk` has these lines, before an upstream; `more` stands after it.
fn config(stub: &Stub, key: &str, more: &str) -> String {
    format!(
        "{}[models.assistant]\n\
         targets = [{{ provider = \"stub\", model = \"m\", traits = {{ max_output = 1000 }},\n\
         price = {{ input = \"1\", output = \"10\" }} }}]\n\
         [[keys]]\nname = \"bot\"\nhash = \"{}\"\n{key}\n[[keys]]\nname = \"free\"\nhash = \"{}\"\n{more}\n",
        bodies::openai_provider("stub", &stub.origin()),
        bodies::key_hash("sk"),
        bodies::key_hash("free"),
    )
}

async fn gateway(stub: &Stub, key: &str) -> Gateway {
    Gateway::start(&config(stub, key, "")).await
}

async fn fine() -> Stub {
    Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await
}

fn chat() -> Request {
    Request::post("/v1/chat/completions", bodies::chat("assistant"))
}

async fn ask(gateway: &Gateway) -> Reply {
    exchange(gateway.addr, &chat().header("x-api-key", "sk")).await
}

/// Nothing is reserved any more.
async fn at_rest(gateway: &Gateway) {
    for name in ["tokens", "cost"] {
        let reserved = format!("gateway_reserved_{name}");
        gateway.measured_when(&reserved, "subject=\"key:bot\"", |reserved| reserved == 0.0).await;
    }
}

async fn at_rest_of_tokens(gateway: &Gateway) {
    gateway.measured_when("gateway_reserved_tokens", "subject=\"key:bot\"", |reserved| reserved == 0.0).await;
}

/// Sends `count` requests at once to these gateways in turn, whose upstream waits for `gate`; how many pass.
async fn pass_at_once(gateways: &[Gateway], count: usize, expected: usize, gate: &Gate) -> usize {
    let mut asked: FuturesUnordered<_> = (0..count).map(|number| ask(&gateways[number % gateways.len()])).collect();
    guard("refusals and answers", async {
        for _ in expected..count {
            let refused = asked.next().await.expect("one more");
            assert_eq!(refused.status, 429, "{}", refused.text());
        }
        gate.open();
        asked.filter(|reply| std::future::ready(reply.status == 200)).count().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_at_once_exactly_five_pass() {
    // A request is expected to use 1018 tokens, or 0.010071 dollars.
    for (key, kind) in [
        (r#"limits = { requests = "5/day" }"#, "requests"),
        (r#"limits = { concurrent = 5 }"#, "concurrent"),
        (r#"limits = { tokens = "5500/day" }"#, "tokens"),
        (r#"budget = { usd = 0.045, per = "month" }"#, "budget"),
        (r#"limits = [{ requests = "50/min" }, { requests = "5/hour", concurrent = 10 }]"#, "requests"),
    ] {
        let gate = Gate::new();
        let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
        let gateways = [gateway(&stub, key).await];
        assert_eq!(pass_at_once(&gateways, 20, 5, &gate).await, 5, "{key}");
        assert_eq!(stub.count(), 5);
        let rejected = format!("subject=\"key:bot\",kind=\"{kind}\"");
        assert_eq!(gateways[0].measured("gateway_limit_rejected_total", &rejected).await, Some(15.0));
        let free = exchange(gateways[0].addr, &chat().header("x-api-key", "free")).await;
        assert_eq!(free.status, 200, "another key has room");
        assert!(!free.headers.contains_key("x-ratelimit-limit-requests"));
    }
}

/// It takes time of the gateway's, and no tokens and no money.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_the_gateways_own_is_a_request() {
    let stub = fine().await;
    let gateway = gateway(
        &stub,
        "limits = { requests = \"3/day\", tokens = \"1000000/day\" }\nbudget = { usd = 1, per = \"month\" }",
    )
    .await;
    let count = Request::post("/v1/messages/count_tokens", bodies::message("assistant", false));
    let count = count.header("x-api-key", "sk");
    for left in ["2", "1"] {
        let reply = exchange(gateway.addr, &count).await;
        assert_eq!((reply.status, reply.header("x-gateway-estimate")), (200, "true"), "{}", reply.text());
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), left, "{:?}", reply.headers);
    }
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    let bot = limits["subjects"].as_array().unwrap().iter().find(|subject| subject["name"] == "bot").unwrap();
    let used = bot["limits"].as_array().unwrap().iter().map(|limit| limit["used"].as_u64().unwrap());
    assert_eq!(used.sum::<u64>(), 2, "{bot}");
    assert_eq!(ask(&gateway).await.status, 200);
    let refused = exchange(gateway.addr, &count).await;
    assert_eq!((refused.status, &refused.json()["type"]), (429, &"error".into()), "{}", refused.text());
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_tell_how_the_key_stands_and_when_to_come_back() {
    let stub = fine().await;
    let gateway =
        gateway(&stub, r#"limits = [{ requests = "3/day", tokens = "100000/day" }, { requests = "9/s" }]"#).await;
    for left in ["2", "1", "0", "0"] {
        let reply = ask(&gateway).await;
        assert_eq!(reply.header("x-ratelimit-limit-requests"), "3", "{:?}", reply.headers);
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), left, "{:?}", reply.headers);
        assert_eq!(reply.header("x-ratelimit-limit-tokens"), "100000");
        // What is expected of it is reserved; what the ones before have used is booked.
        let tokens: u64 = reply.header("x-ratelimit-remaining-tokens").parse().unwrap();
        if reply.status == 200 {
            assert!((98_900..99_000).contains(&tokens), "{tokens}");
            assert!(reply.header("x-ratelimit-reset-requests").starts_with("24h"), "{:?}", reply.headers);
        } else {
            assert_eq!((reply.status, tokens), (429, 100_000 - 3 * 12));
            assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
            let wait: u64 = reply.header("retry-after").parse().unwrap();
            assert!((86_300..=87_840).contains(&wait), "{wait}");
        }
        at_rest_of_tokens(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_long_enough() {
    let stub = fine().await;
    let gateway = gateway(&stub, r#"limits = { requests = "1/s" }"#).await;
    let refused =
        guard_until("a refusal", async || Some(ask(&gateway).await).filter(|reply| reply.status == 429)).await;
    let wait: u64 = refused.header("retry-after-ms").parse().unwrap();
    assert!(wait <= 1_020 && refused.header("retry-after") == wait.div_ceil(1000).max(1).to_string(), "{wait}");
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(ask(&gateway).await.status, 200, "the time it was told is enough");
}

#[tokio::test]
async fn teams_tags_models_and_everything_have_limits() {
    let stub = fine().await;
    for (key, more, whose) in [
        ("team = \"support\"", "[teams.support]\nlimits = { requests = \"2/day\" }", "team:support"),
        ("tags = [\"gold\"]", "[tags.gold]\nbudget = { usd = 0.0001, per = \"total\" }", "tag:gold"),
        ("", "[limits]\nrequests = \"2/day\"", "global"),
        (
            "",
            "[models.narrow]\nlimits = { requests = \"2/day\" }\ntargets = [{ provider = \"stub\", model = \"n\" }]",
            "model:narrow",
        ),
    ] {
        let gateway = Gateway::start(&config(&stub, key, more)).await;
        let model = if whose == "model:narrow" { "narrow" } else { "assistant" };
        let request = Request::post("/v1/chat/completions", bodies::chat(model)).header("x-api-key", "sk");
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let reply = exchange(gateway.addr, &request).await;
            statuses.push(reply.status);
            if reply.status == 429 && whose != "tag:gold" {
                assert_eq!(reply.header("x-ratelimit-remaining-requests"), "0", "{whose}: {:?}", reply.headers);
            }
            if whose == "tag:gold" {
                gateway
                    .measured_when("gateway_reserved_cost", "subject=\"tag:gold\"", |reserved| reserved == 0.0)
                    .await;
            }
        }
        assert_eq!(statuses, [200, 200, 429], "{whose}");
        let kind = if whose == "tag:gold" { "budget" } else { "requests" };
        let rejected = format!("subject=\"{whose}\",kind=\"{kind}\"");
        assert_eq!(gateway.measured("gateway_limit_rejected_total", &rejected).await, Some(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_may_wait_for_room() {
    let stub = fine().await;
    let gateway = Gateway::start(&config(&stub, "limits = { concurrent = 1 }", "[limits]\nwait = \"20s\"")).await;
    let replies = join_all((0..10).map(|_| ask(&gateway))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(gateway.measured("gateway_limit_waiting", "").await, Some(0.0));
}

/// Who waits and leaves gives up its place at once, not when its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_waits_no_more() {
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let gateway = Gateway::start(&config(&stub, "limits = { concurrent = 1 }", "[limits]\nwait = \"10m\"")).await;
    let request = chat().header("x-api-key", "sk");
    let mut first = H1::connect(gateway.addr).await;
    first.send(&request).await;
    stub.next().await;
    let mut waiting = H1::connect(gateway.addr).await;
    waiting.send(&request).await;
    gateway.measured_when("gateway_limit_waiting", "", |count| count == 1.0).await;
    drop(waiting);
    gateway.measured_when("gateway_limit_waiting", "", |count| count == 0.0).await;
    assert_eq!(gateway.log_line(|line| (line["status"] == 499).then_some(())).await, ());
    gate.open();
    assert_eq!(first.respond().await.status, 200);
    assert_eq!(stub.count(), 1, "nobody asks for one who has left");
}

/// Past the rate, wrong keys of an address hear 429, and right ones are let in.
#[tokio::test]
async fn wrong_keys_of_an_address_are_bounded() {
    let stub = fine().await;
    let gateway = Gateway::start(&config(&stub, "", "[limits]\nwrong_keys = \"3/hour\"")).await;
    let wrong = |key: &str| chat().header("x-api-key", key);
    for (number, status) in [401, 401, 401, 429, 429].into_iter().enumerate() {
        let reply = exchange(gateway.addr, &wrong(&format!("wrong-{number}"))).await;
        assert_eq!(reply.status, status, "{number}: {}", reply.text());
        if status == 429 {
            assert_eq!(reply.header("retry-after"), "3600");
            assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded", "{}", reply.text());
        }
    }
    assert_eq!(exchange(gateway.addr, &chat()).await.status, 429, "none is a wrong one");
    assert_eq!(ask(&gateway).await.status, 200);
}
