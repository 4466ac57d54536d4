//! Limits and budgets, as clients meet them.

use std::time::Duration;

use ai_gateway_tests::client::{H1, Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies, guard, guard_until, run_to_end};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;

/// A configuration whose key `sk` has these lines, before an upstream; `more` stands after it.
fn config(stub: &Stub, key: &str, more: &str) -> String {
    format!(
        "{}[models.assistant]\n\
         targets = [{{ provider = \"stub\", model = \"m\", price = {{ input = \"1\", output = \"10\" }} }}]\n\
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
    // A request is expected to use 1018 tokens, or 0.010018 dollars.
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

/// The head of a chat request of `length` bytes with this key.
fn head(key: &str, target: &str, length: usize) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// What counts of the limit of `bot` on requests at the same time.
async fn at_once(gateway: &Gateway) -> u64 {
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    let bot = limits["subjects"].as_array().unwrap().iter().find(|subject| subject["name"] == "bot").unwrap();
    let limit = bot["limits"].as_array().unwrap().iter().find(|limit| limit["what"] == "concurrent").unwrap();
    limit["reserved"].as_u64().unwrap()
}

async fn until_at_once(gateway: &Gateway, count: u64) {
    guard("requests at once", async {
        while at_once(gateway).await != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_on_its_way_is_a_request_at_the_same_time() {
    let stub = fine().await;
    let gateway = gateway(&stub, "limits = { concurrent = 1 }").await;
    let body = bodies::chat_of_size("assistant", 300_000);
    let (begin, rest) = body.split_at(200_000);
    let mut slow = H1::connect(gateway.addr).await;
    slow.send_raw(head("sk", "/v1/chat/completions", body.len()).as_bytes()).await;
    slow.send_raw(begin).await;
    until_at_once(&gateway, 1).await;
    for (target, kind) in [("/v1/chat/completions", "rate_limit_exceeded"), ("/v1/messages", "rate_limit_error")] {
        let mut second = H1::connect(gateway.addr).await;
        second.send_raw(head("sk", target, body.len()).as_bytes()).await;
        second.send_raw(begin).await;
        let refused = second.reply().await.unwrap();
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0), "{:?}", refused.headers);
        let error = &refused.json()["error"];
        assert!(error["type"] == kind || error["code"] == kind, "{}", refused.text());
    }
    let large = Request::post("/v1/chat/completions", body.clone());
    let free = exchange(gateway.addr, &large.clone().header("x-api-key", "free")).await;
    assert_eq!(free.status, 200, "another key has room: {}", free.text());
    // What is here is let in by itself, and one that leaves is none any more.
    slow.send_raw(rest).await;
    assert_eq!(slow.reply().await.unwrap().status, 200);
    until_at_once(&gateway, 0).await;
    let mut gone = H1::connect(gateway.addr).await;
    gone.send_raw(head("sk", "/v1/chat/completions", body.len()).as_bytes()).await;
    gone.send_raw(begin).await;
    until_at_once(&gateway, 1).await;
    drop(gone);
    until_at_once(&gateway, 0).await;
    assert_eq!(exchange(gateway.addr, &large.header("x-api-key", "sk")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_large_ones_at_once_exactly_five_pass() {
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let gateway = gateway(&stub, "limits = { concurrent = 5 }").await;
    let large = Request::post("/v1/chat/completions", bodies::chat_of_size("assistant", 400_000));
    let large = large.header("x-api-key", "sk");
    let mut asked: FuturesUnordered<_> = (0..20).map(|_| exchange(gateway.addr, &large)).collect();
    guard("refusals and answers", async {
        for _ in 5..20 {
            let refused = asked.next().await.expect("one more");
            assert_eq!(refused.status, 429, "{}", refused.text());
        }
        gate.open();
        assert_eq!(asked.filter(|reply| std::future::ready(reply.status == 200)).count().await, 5);
    })
    .await;
    until_at_once(&gateway, 0).await;
}

/// Who waits for its turn to send a body leaves when its client does, and is told of the end of a drain.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_waits_for_its_turn_waits_no_longer_than_it_must() {
    let stub = fine().await;
    let wait = config(&stub, "limits = { concurrent = 1 }", "[limits]\nwait = \"10m\"");
    let mut gateway = Gateway::builder().server("drain = \"300ms\"").config(&wait).start().await;
    let body = bodies::chat_of_size("assistant", 900_000);
    let begin = async |addr, sent: usize| {
        let mut client = H1::connect(addr).await;
        client.send_raw(head("sk", "/v1/chat/completions", body.len()).as_bytes()).await;
        client.send_raw(&body[..sent]).await;
        client
    };
    let mut slow = begin(gateway.addr, 100_000).await;
    until_at_once(&gateway, 1).await;
    for sent in [100_000, 600_000] {
        let waiting = begin(gateway.addr, sent).await;
        gateway.counted_when("gateway_bytes_buffered", "", |bytes| bytes == 100_000 + sent as u64).await;
        drop(waiting);
        gateway.counted_when("gateway_in_flight", "", |count| count == 1).await;
        assert_eq!(gateway.log_line(|line| (line["status"] == 499).then_some(())).await, ());
    }

    let mut waiting = begin(gateway.addr, 100_000).await;
    gateway.counted_when("gateway_bytes_buffered", "", |bytes| bytes > 100_000).await;
    gateway.terminate();
    for client in [&mut slow, &mut waiting] {
        let told = client.reply().await.expect("an answer");
        assert_eq!(told.status, 503, "{}", told.text());
        assert!(told.text().contains("shut down"), "{}", told.text());
    }
    assert_eq!(gateway.ended().await, Some(0));
    assert_eq!(gateway.output().0.len(), 4, "lines of the access log");
}

/// Where requests may wait for room, a large one does as a small one.
#[tokio::test(flavor = "multi_thread")]
async fn large_ones_wait_for_room_as_small_ones_do() {
    let stub = fine().await;
    let gateway = Gateway::start(&config(&stub, "limits = { concurrent = 1 }", "[limits]\nwait = \"20s\"")).await;
    let large = Request::post("/v1/chat/completions", bodies::chat_of_size("assistant", 400_000));
    let large = large.header("x-api-key", "sk");
    for reply in join_all((0..10).map(|_| exchange(gateway.addr, &large))).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// A request waits no longer in all than it may wait, for whatever it waits: of a model with a cache it is counted before it takes
/// tokens.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_waited_to_be_counted_is_not_waited_again_for_tokens() {
    let (short, long) = (Gate::new(), Gate::new());
    let gates = [short.clone(), long.clone()];
    let stub = Stub::start(move |request| {
        let answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("fine")]);
        let rest = [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.to_owned()];
        let gate = &gates[usize::from(request.json()["max_tokens"] == 1900)];
        rest.into_iter()
            .fold(answer.step(Step::Wait(gate.clone())), |answer, event| answer.step(Step::Send(event.into())))
    })
    .await;
    let more = "team = \"t\"\n[teams.t]\nlimits = { tokens = \"2000/min\" }\n[limits]\nwait = \"4s\"\n\
                [models.kept]\ntargets = [{ provider = \"stub\", model = \"m\" }]\ncache = { ttl = \"1m\" }\n";
    let gateway = Gateway::start(&config(&stub, "team = \"t\"\nlimits = { concurrent = 1 }", more)).await;
    let ask = |key: &str, model: &str, max_tokens: u32| {
        let message = serde_json::json!({"role": "user", "content": "Hi"});
        let body = serde_json::json!({"model": model, "max_tokens": max_tokens, "stream": true, "messages": [message]});
        let request = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", key);
        async move { exchange(gateway.addr, &request).await.status }
    };
    let waits = async {
        stub.next().await;
        stub.next().await;
        let opens = async {
            gateway.measured_when("gateway_limit_waiting", "", |waiting| waiting == 1.0).await;
            tokio::time::sleep(Duration::from_millis(2400)).await;
            short.open();
            tokio::time::sleep(Duration::from_millis(2800)).await;
            long.open();
        };
        tokio::join!(ask("sk", "kept", 500), opens).0
    };
    let statuses = tokio::join!(ask("free", "assistant", 1900), ask("sk", "assistant", 1), waits);
    assert_eq!(statuses, (200, 200, 429));
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

async fn at_rest_of_tokens(gateway: &Gateway) {
    gateway.measured_when("gateway_reserved_tokens", "subject=\"key:bot\"", |reserved| reserved == 0.0).await;
}

#[tokio::test]
async fn a_budget_is_passed_by_less_than_one_request() {
    let stub = fine().await;
    // 7 tokens in and 5 out cost 0.000057 dollars.
    let key = r#"limits = { tokens = "10000/min" }
        budget = [{ usd = 0.0001, per = "month", soft = 0.5 }, { usd = 1, per = "30d" }]"#;
    let mut gateway = gateway(&stub, key).await;
    let first = ask(&gateway).await;
    assert_eq!(first.status, 200);
    at_rest(&gateway).await;
    let ratio = gateway.measured("gateway_budget_used_ratio", "subject=\"key:bot\",per=\"month\"").await;
    assert_eq!(ratio, Some(0.57));
    let second = ask(&gateway).await;
    assert_eq!(second.status, 200);
    assert!(!second.header("x-gateway-budget-used").is_empty(), "{:?}", second.headers);
    at_rest(&gateway).await;
    let third = ask(&gateway).await;
    assert_eq!((third.status, &third.json()["error"]["code"]), (429, &"insufficient_quota".into()), "{}", third.text());
    assert_eq!(third.header("x-gateway-budget-used"), "1.140");
    assert_eq!(third.header("x-should-retry"), "false");
    let wait: u64 = third.header("retry-after").parse().unwrap();
    assert!(wait <= 31 * 86_400, "{wait}");
    assert_eq!(stub.count(), 2);
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    assert_eq!((&limits["store"], &limits["subjects"][0]["name"]), (&serde_json::Value::Null, &"bot".into()));
    let month = &limits["subjects"][0]["limits"][1];
    assert_eq!((&month["per"], &month["used"], &month["reserved"]), (&"month".into(), &114_000_000.into(), &0.into()));
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let warned = gateway.output().1.iter().filter(|line| line.contains("soft mark")).count();
    assert_eq!(warned, 1);
}

#[tokio::test]
async fn what_failed_or_was_left_reserves_nothing() {
    let gate = Gate::new();
    let stream = Answer::sse([bodies::chat_role(), bodies::chat_delta("one"), bodies::chat_delta("two")]);
    let stub = Stub::sequence(vec![
        // A failure is repeated once.
        Answer::json(500, r#"{"error":{"message":"no"}}"#),
        Answer::json(500, r#"{"error":{"message":"no"}}"#),
        stream.clone().step(Step::Cut),
        stream.step(Step::Wait(gate)),
    ])
    .await;
    let key = r#"limits = { tokens = "100000/min", concurrent = 1 }
        budget = { usd = 1, per = "day" }"#;
    let gateway = gateway(&stub, key).await;
    assert!(ask(&gateway).await.status >= 500);
    at_rest(&gateway).await;
    let used = async || gateway.measured("gateway_budget_used_ratio", "subject=\"key:bot\",per=\"day\"").await;
    assert_eq!(used().await, Some(0.0), "an error costs nothing");
    let streamed = Request::post("/v1/chat/completions", bodies::chat_stream("assistant")).header("x-api-key", "sk");
    exchange(gateway.addr, &streamed).await;
    at_rest(&gateway).await;
    let cut = used().await.unwrap();
    assert!(cut > 0.0, "what was said before the cut was paid for");
    let mut client = H1::connect(gateway.addr).await;
    client.send(&streamed).await;
    client.respond().await.until("two").await;
    drop(client);
    at_rest(&gateway).await;
    assert!(used().await.unwrap() > cut);
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
            statuses.push(exchange(gateway.addr, &request).await.status);
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

/// Without `max_tokens`, what is reserved is the most that the model can say, then what its answers are like.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_bound_reserves_what_is_known_of_its_model() {
    let (first, last) = (Gate::new(), Gate::new());
    let answer = Answer::json(200, bodies::chat_answer("fine"));
    let mut answers = vec![answer.clone().after(&first)];
    answers.extend((0..20).map(|_| answer.clone()));
    answers.push(answer.after(&last));
    let stub = Stub::sequence(answers).await;
    let known = config(&stub, "budget = { usd = 1, per = \"day\" }", "")
        .replace("model = \"m\", ", "model = \"m\", traits = { max_output = 2000 }, ");
    let gateway = Gateway::start(&known).await;
    let reserved = ("gateway_reserved_cost", "subject=\"key:bot\"");
    let mut held = H1::connect(gateway.addr).await;
    held.send(&chat().header("x-api-key", "sk")).await;
    stub.next().await;
    let at_most = gateway.measured(reserved.0, reserved.1).await.unwrap();
    assert!((0.02..0.0201).contains(&at_most), "two thousand tokens and the prompt: {at_most}");
    first.open();
    assert_eq!(held.respond().await.status, 200);
    for _ in 0..20 {
        assert_eq!(ask(&gateway).await.status, 200);
        stub.next().await;
    }
    gateway.measured_when(reserved.0, reserved.1, |cost| cost == 0.0).await;
    let mut held = H1::connect(gateway.addr).await;
    held.send(&chat().header("x-api-key", "sk")).await;
    stub.next().await;
    let usual = gateway.measured(reserved.0, reserved.1).await.unwrap();
    assert!((0.00005..0.0002).contains(&usual), "the five tokens that all have had, and the prompt: {usual}");
    last.open();
    assert_eq!(held.respond().await.status, 200);
}

/// What a request would put by in its key's budget, in dollars.
async fn put_by(gateway: &Gateway, max_tokens: Option<u64>) -> f64 {
    let mut body: serde_json::Value = serde_json::from_slice(&bodies::chat("assistant")).unwrap();
    if let Some(most) = max_tokens {
        body["max_tokens"] = most.into();
    }
    let request = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", "sk");
    let said = exchange(gateway.addr, &request.header("x-gateway-explain", "1")).await.json();
    let limits = said["limits"].as_array().unwrap();
    let budget = limits.iter().find(|limit| limit["what"] == "budget").unwrap();
    budget["takes"].as_str().unwrap().parse().unwrap()
}

/// Health checks and classifiers ask for a token or five: that says nothing of other requests.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_bounded_are_no_measure_of_others() {
    let stub = fine().await;
    let known = config(&stub, "allow = [\"explain\"]\nbudget = { usd = 1, per = \"day\" }", "")
        .replace("model = \"m\", ", "model = \"m\", traits = { max_output = 2000 }, ");
    let gateway = Gateway::start(&known).await;
    let mut bounded: serde_json::Value = serde_json::from_slice(&bodies::chat("assistant")).unwrap();
    bounded["max_tokens"] = 5.into();
    let bounded = Request::post("/v1/chat/completions", bounded.to_string()).header("x-api-key", "sk");
    // On one connection a request comes when the one before it has been settled.
    let mut connection = H1::connect(gateway.addr).await;
    for _ in 0..30 {
        assert_eq!(connection.exchange(&bounded).await.status, 200);
    }
    let at_most = put_by(&gateway, None).await;
    assert!((0.02..0.0201).contains(&at_most), "two thousand tokens and the prompt: {at_most}");
    // Those of a key without limits are.
    let free = chat().header("x-api-key", "free");
    for _ in 0..21 {
        assert_eq!(connection.exchange(&free).await.status, 200);
    }
    let usual = put_by(&gateway, None).await;
    assert!((0.00005..0.0002).contains(&usual), "{usual}");
}

/// A client's `max_tokens` of a billion keeps nobody out of a budget.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_put_by_than_a_model_can_say() {
    let stub = fine().await;
    let known = config(
        &stub,
        "allow = [\"explain\"]\nlimits = { tokens = \"5000/day\" }\nbudget = { usd = 1, per = \"day\" }",
        "",
    )
    .replace("model = \"m\", ", "model = \"m\", traits = { max_output = 2000 }, ");
    let gateway = Gateway::start(&known).await;
    for (asked, right) in [(1_000_000_000, 0.02), (2_000, 0.02), (1_000, 0.01)] {
        let put_by = put_by(&gateway, Some(asked)).await;
        assert!((right..right + 0.0001).contains(&put_by), "{asked}: {put_by}");
    }
}

/// Twenty short answers make longer ones unexpected. Then come many at once, of any length up to the model's most.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_budget_is_passed_by_one_request_at_most_however_long_answers_are() {
    // A tenth of a dollar, in pico-dollars, and the dearest answer: two thousand tokens, and seven of the prompt.
    const LIMIT: u64 = 100_000_000_000;
    const ONE: u64 = 20_007_000_000;
    for strict in [true, false] {
        let (gate, made) = (Gate::new(), std::sync::atomic::AtomicU64::new(0));
        let held = gate.clone();
        let stub = Stub::start(move |_| {
            let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number < 20 {
                return Answer::json(200, bodies::chat_answer("fine"));
            }
            let mut answer: serde_json::Value = serde_json::from_str(&bodies::chat_answer("fine")).unwrap();
            answer["usage"]["completion_tokens"] = (1 + number * 1_237 % 2_000).into();
            Answer::json(200, answer.to_string()).after(&held)
        })
        .await;
        let reserve = if strict { "[limits]\nreserve = \"most\"" } else { "" };
        let config = config(&stub, "budget = { usd = 0.1, per = \"total\" }", reserve)
            .replace("model = \"m\", ", "model = \"m\", traits = { max_output = 2000 }, ");
        let gateway = Gateway::start(&config).await;
        for _ in 0..20 {
            assert_eq!(ask(&gateway).await.status, 200);
        }
        gateway.at_rest().await;
        let spoken_for = async || {
            let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
            let budget = &limits["subjects"][0]["limits"][0];
            budget["used"].as_u64().unwrap() + budget["reserved"].as_u64().unwrap()
        };
        let addr = gateway.addr;
        let asked =
            (0..100).map(|_| tokio::spawn(async move { exchange(addr, &chat().header("x-api-key", "sk")).await }));
        let mut asked: FuturesUnordered<_> = asked.collect();
        if !strict {
            // Nobody hinders them: all are under way together.
            for _ in 0..120 {
                stub.next().await;
            }
        }
        gate.open();
        let (mut passed, mut most) = (0, 0);
        while let Some(reply) = asked.next().await {
            passed += usize::from(reply.unwrap().status == 200);
            most = most.max(spoken_for().await);
        }
        gateway.at_rest().await;
        most = most.max(spoken_for().await);
        eprintln!("strict: {strict}; {passed} of 100 pass, {most} of {LIMIT} were used and reserved at most");
        if strict {
            assert!(passed > 4 && most < LIMIT + ONE, "{passed} {most}");
        } else {
            assert!(passed == 100 && most > LIMIT + ONE, "this test can tell: {passed} {most}");
        }
    }
}

/// A picture takes some tokens whatever its bytes are: three fit where as much text would be far too much, and a recording
/// reserves what it may cost by its length.
#[tokio::test(flavor = "multi_thread")]
async fn media_reserve_what_they_take_and_no_text() {
    let gate = Gate::new();
    let held = gate.clone();
    let first = std::sync::atomic::AtomicBool::new(true);
    let stub = Stub::start(move |_| {
        let answer = Answer::json(200, bodies::chat_answer("fine"));
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) { answer } else { answer.after(&held) }
    })
    .await;
    let key = "limits = { tokens = \"200000/min\" }\nbudget = { usd = 20, per = \"day\" }\nallow = [\"explain\"]";
    let config = config(&stub, key, "")
        .replace("model = \"m\", ", "model = \"m\", tpm = 100000, ")
        .replace("input = \"1\", ", "input = \"1\", audio_input = \"6\", ");
    let gateway = Gateway::start(&config).await;
    assert_eq!(ask(&gateway).await.status, 200);
    stub.next().await;
    at_rest(&gateway).await;

    let url = format!("data:image/png;base64,{}", "A".repeat(1_200_000));
    let content =
        serde_json::json!([{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": url}}]);
    let body =
        serde_json::json!({"model": "assistant", "max_tokens": 10, "messages": [{"role": "user", "content": content}]});
    let picture = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", "sk");
    let said = exchange(gateway.addr, &picture.clone().header("x-gateway-explain", "1")).await.json();
    assert_eq!(said["refused"], serde_json::Value::Null, "{said:#}");
    let takes = |what: &str| {
        let limits = said["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["what"] == what).unwrap()["takes"].clone()
    };
    let tokens = takes("tokens").as_f64().unwrap();
    assert!((1_610.0..1_700.0).contains(&tokens), "{said:#}");
    assert_eq!(said["expected"]["prompt_tokens"].as_f64().unwrap() + 10.0, tokens, "{said:#}");

    let mut asked = Vec::new();
    for _ in 0..3 {
        let (addr, picture) = (gateway.addr, picture.clone());
        asked.push(tokio::spawn(async move { exchange(addr, &picture).await }));
        stub.next().await;
    }
    let reserved = gateway.measured("gateway_reserved_tokens", "subject=\"key:bot\"").await;
    assert_eq!(reserved, Some(3.0 * tokens), "as explained");
    let cost = gateway.measured("gateway_reserved_cost", "subject=\"key:bot\"").await.unwrap();
    let one: f64 = takes("budget").as_str().unwrap().parse().unwrap();
    assert!((cost - 3.0 * one).abs() < 1e-9, "{cost} is three times {one}");

    let file = "x".repeat(2_000_000);
    let part = |name: &str, more: &str, content: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n{content}\r\n")
    };
    let form = format!("{}{}--b--\r\n", part("model", "", "assistant"), part("file", "; filename=\"a.mp3\"", &file));
    let mut upload = Request::post("/v1/audio/transcriptions", form);
    upload.headers =
        vec![("content-type".into(), "multipart/form-data; boundary=b".into()), ("x-api-key".into(), "sk".into())];
    let addr = gateway.addr;
    asked.push(tokio::spawn(async move { exchange(addr, &upload).await }));
    stub.next().await;
    let upload = gateway.measured("gateway_reserved_cost", "subject=\"key:bot\"").await.unwrap() - cost;
    assert!((0.03..0.0301).contains(&upload), "five thousand tokens of sound: {upload}");
    gate.open();
    for asked in asked {
        let reply = asked.await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// What a request asks for decides its rates, and with them how many of it a budget has room for.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_passed_by_one_request_at_most_at_whatever_rates_they_are_billed() {
    const LIMIT: f64 = 1.0;
    let dir = tempfile::tempdir().unwrap();
    let prices = serde_json::json!({"px": {
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 100_000, "max_output_tokens": 1_000,
        "input_cost_per_token": 1e-6, "input_cost_per_token_priority": 2e-6, "cache_creation_input_token_cost": 4e-3,
        "output_cost_per_token": 1e-4, "output_cost_per_token_priority": 2e-4, "output_cost_per_audio_token": 8e-4,
    }});
    let file = dir.path().join("prices.json");
    std::fs::write(&file, prices.to_string()).unwrap();
    let usage = |more: &str| format!("\"prompt_tokens\":50,\"completion_tokens\":1000,\"total_tokens\":1050{more}");
    let sound = usage(",\"completion_tokens_details\":{\"audio_tokens\":1000}");
    let cached = usage(",\"prompt_tokens_details\":{\"cache_write_tokens\":50}");
    let mark = serde_json::json!([{"role": "user", "content": [
        {"type": "text", "text": "a text that is worth its cache", "cache_control": {"type": "ephemeral"}}]}]);
    let spoken = serde_json::json!(["text", "audio"]);
    // What one costs, and how many pass before a dollar is put by.
    let cases = [
        ("usual", "service_tier", "priority".into(), usage(""), "priority", 0.2001, 5),
        ("most", "service_tier", "priority".into(), usage(""), "priority", 0.2001, 5),
        ("usual", "modalities", spoken.clone(), sound.clone(), "default", 0.80005, 2),
        ("most", "modalities", spoken, sound, "default", 0.80005, 2),
        ("most", "messages", mark, cached, "default", 0.3, 2),
    ];
    for (reserve, field, value, usage, tier, one, passes) in cases {
        let gate = Gate::new();
        let (held, answer) = (gate.clone(), bodies::chat_answer("fine"));
        let stub = Stub::start(move |_| {
            let mut answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            answer["usage"] = serde_json::from_str(&format!("{{{usage}}}")).unwrap();
            answer["service_tier"] = tier.into();
            Answer::json(200, answer.to_string()).after(&held)
        })
        .await;
        let more = format!("[limits]\nreserve = \"{reserve}\"\n[prices]\nfile = {file:?}");
        let config = config(&stub, "budget = { usd = 1, per = \"total\" }", &more)
            .replace("{ input = \"1\", output = \"10\" }", "{ like = \"openai/px\" }");
        let gateway = Gateway::start(&config).await;
        let mut body: serde_json::Value = serde_json::from_slice(&bodies::chat("assistant")).unwrap();
        body["max_tokens"] = 1_000.into();
        body[field] = value;
        let request = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", "sk");
        let (addr, told) = (gateway.addr, format!("{reserve} {field}"));
        let mut asked: FuturesUnordered<_> = (0..25)
            .map(|_| {
                let request = request.clone();
                tokio::spawn(async move { exchange(addr, &request).await })
            })
            .collect();
        guard("refusals", async {
            for _ in passes..25 {
                let refused = asked.next().await.unwrap().unwrap();
                assert_eq!(refused.status, 429, "{told}: {}", refused.text());
            }
        })
        .await;
        gate.open();
        let costs: Vec<f64> =
            asked.map(|reply| reply.unwrap().header("x-gateway-cost").parse::<f64>().unwrap()).collect().await;
        assert!(costs.iter().all(|cost| (cost - one).abs() < 1e-9), "{told}: {costs:?} are not {one} each");
        let spent: f64 = costs.iter().sum();
        assert!(costs.len() == passes && spent < LIMIT + one, "{told}: {spent} of {LIMIT} by {}", costs.len());
        gateway.at_rest().await;
    }
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
