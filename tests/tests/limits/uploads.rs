//! Bodies on their way count, too, and wait.

use std::time::Duration;

use super::{config, fine, gateway};
use ai_gateway_tests::client::{H1, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies, guard};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;

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
    let config = config(&stub, "team = \"t\"\nlimits = { concurrent = 1 }", more);
    let gateway = Gateway::start(&config.replace("max_output = 1000", "max_output = 2000")).await;
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
