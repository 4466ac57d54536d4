//! Mirroring: a share of the traffic goes to one more target too, and no client can tell.

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, StubFraming as Framing, bodies, usage};
use serde_json::json;
use std::time::{Duration, Instant};

fn config(live: &Stub, copy: &Stub) -> String {
    format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"live\", model = \"l\" }}]\n\
         [[routes]]\nwhen = {{ model = \"m\" }}\n\
         mirror = {{ target = {{ provider = \"copy\", model = \"c\" }}, percent = 100 }}\n",
        bodies::openai_provider("live", &live.origin()),
        bodies::anthropic_provider("copy", &copy.origin()),
    )
}

/// The mirror hangs, fails, talks nonsense: the answer is the same, and as quick.
#[tokio::test]
async fn the_client_sees_nothing_of_the_mirror() {
    let never = Gate::new();
    for (what, answer) in [
        ("fine", Answer::json(200, "{}")),
        ("hangs", Answer::status(200).after(&never)),
        ("stalls", Answer::json(200, "{").step(Step::Stall)),
        ("fails", Answer::json(500, "{}")),
        ("refuses", Answer::json(401, "{}")),
        ("nonsense", Answer::raw("nonsense\r\n\r\n")),
        ("nobody", Answer::raw("")),
    ] {
        for stream in [false, true] {
            let events = [bodies::chat_role(), bodies::chat_delta("live"), bodies::chat_finish(), bodies::DONE.into()];
            let (live, said) = match stream {
                true => (Answer::sse(events.clone()), events.concat()),
                false => (Answer::json(200, bodies::chat_answer("live")), bodies::chat_answer("live")),
            };
            let (live, copy) = (Stub::always(live).await, Stub::always(answer.clone()).await);
            let mut gateway = Gateway::start(&config(&live, &copy)).await;
            let body = if stream { bodies::chat_stream("m") } else { bodies::chat("m") };
            let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body)).await;
            assert_eq!((reply.status, reply.text()), (200, said), "{what}");
            assert_eq!(reply.header("x-gateway-provider"), "live", "{what}");
            assert_eq!(reply.header("x-gateway-attempts"), "1", "{what}");
            let mirrored = copy.next().await;
            assert_eq!((&*mirrored.target, mirrored.header("x-api-key")), ("/v1/messages", "upstream-copy"), "{what}");
            let asked = mirrored.json();
            assert_eq!(asked["model"], "c", "{what}: {asked}");
            assert!(asked["messages"].to_string().contains("Hello"), "{what}: {asked}");
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!(log["attempts"].as_array().map(Vec::len), Some(1), "{what}: {log}");
            assert_eq!((live.count(), copy.count()), (1, 1), "{what}");
            gateway.assert_healthy().await;
        }
    }
}

/// What is kept from providers is kept from the mirror, too.
#[tokio::test]
async fn plugins_see_the_header_that_a_mirror_gets() {
    let (live, copy) = (
        Stub::always(Answer::json(200, bodies::chat_answer("live"))).await,
        Stub::always(Answer::json(200, "{}")).await,
    );
    let headers =
        "[[plugins]]\nuse = \"headers\"\nupstream = { set = { x-title = \"ours\" }, remove = [\"http-referer\"] }\n";
    let mut gateway = Gateway::start(&format!("{}{headers}", config(&live, &copy))).await;
    let request = Request::post("/v1/chat/completions", bodies::chat("m"));
    let request = request.header("x-title", "the client's").header("http-referer", "https://secret.example.com");
    assert_eq!(exchange(gateway.addr, &request).await.status, 200);
    for stub in [&live, &copy] {
        let received = stub.next().await;
        assert_eq!((received.header("x-title"), received.header("http-referer")), ("ours", ""));
    }
    gateway.assert_healthy().await;
}

/// What its provider has begun is paid for, whether it breaks off or falls silent.
#[tokio::test]
async fn a_copy_that_is_not_answered_to_the_end_is_booked() {
    let live = Stub::always(Answer::json(200, bodies::chat_answer("live"))).await;
    let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [], "model": "c", "stop_reason": null,
        "usage": {"input_tokens": 11}});
    let start = bodies::anthropic_event("message_start", &json!({"type": "message_start", "message": message}));
    let said = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hello"}});
    let said = bodies::anthropic_event("content_block_start", &said);
    let cut = Answer::sse([start.clone(), said]).framing(Framing::Chunked).step(Step::Cut);
    let copy = Stub::sequence(vec![cut, Answer::sse([start]).step(Step::Stall)]).await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let more = format!(
        "[limits]\ntokens = \"100000/day\"\n[prices.models]\n\"copy/c\" = {{ input = \"1\", output = \"2\" }}\n[ledger]\npath = {ledger:?}\n"
    );
    let config = config(&live, &copy).replace("model = \"c\"", "model = \"c\", timeouts = { total = \"1s\" }");
    let mut gateway = Gateway::start(&(config + &more)).await;
    for outcome in ["cut", "total_timeout"] {
        exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
        gateway.counted_when("gateway_mirrored_total", &format!("outcome=\"{outcome}\""), |count| count == 1).await;
    }
    gateway.at_rest().await;
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    // Twice the client's own, eleven and a word, and eleven.
    assert_eq!(limits["subjects"][0]["limits"][0]["used"], 2 * 12 + 11 + 1 + 11, "{limits}");
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let rows = usage(&ledger, &["--by", "upstream_model,usage_source", "--where", "kind=mirror"]);
    let names = ["upstream_model", "usage_source", "records", "input", "output", "cost_usd"];
    let rows: Vec<_> = rows.iter().map(|row| json!(names.map(|name| &row[name]))).collect();
    assert_eq!(
        rows,
        [json!(["c", "estimated", 1, 11, 1, "0.000013"]), json!(["c", "provider", 1, 11, null, "0.000011"])]
    );
}

/// A copy under way keeps nobody waiting: not a shutdown either.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_mirror() {
    let live = Stub::always(Answer::json(200, bodies::chat_answer("live"))).await;
    let copy = Stub::always(Answer::status(200).after(&Gate::new())).await;
    let mut gateway = Gateway::start(&config(&live, &copy)).await;
    exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    copy.next().await;
    let begun = Instant::now();
    gateway.terminate();
    gateway.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A target that an operator took out gets no copies either.
#[tokio::test]
async fn a_drained_target_gets_no_copy() {
    let live = Stub::always(Answer::json(200, bodies::chat_answer("live"))).await;
    let copy = Stub::always(Answer::json(200, "{}")).await;
    let gateway = Gateway::start(&config(&live, &copy)).await;
    let ask = Request::post("/v1/chat/completions", bodies::chat("m"));
    exchange(gateway.addr, &ask).await;
    copy.next().await;
    let drained = exchange(gateway.admin, &Request::post("/api/targets/drain?target=copy/c", "")).await;
    assert_eq!(drained.status, 200, "{}", drained.text());
    assert_eq!(exchange(gateway.addr, &ask).await.status, 200);
    gateway.counted_when("gateway_mirrored_total", "outcome=\"resting\"", |count| count == 1).await;
    assert_eq!(copy.count(), 1);
}
