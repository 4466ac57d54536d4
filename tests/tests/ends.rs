//! How an answer may end: with its last bytes, with nothing, with trailers, or long after everything was said.

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Step, Stub, bodies};
use std::time::{Duration, Instant};

fn provider(name: &str, stub: &Stub, http2: bool) -> String {
    format!("{}\nhttp2 = {http2}\n", bodies::openai_provider(name, &stub.origin()))
}

/// `first/m` is answered by `first` alone; `m` by `first` and then by `second`.
async fn gateway(first: &Stub, second: &Stub, http2: bool) -> Gateway {
    Gateway::start(&format!(
        "{}\n{}\n[models.m]\ntargets = [{{ provider = \"first\", model = \"a\" }}, \
         {{ provider = \"second\", model = \"b\", priority = 1 }}]",
        provider("first", first, http2),
        provider("second", second, false),
    ))
    .await
}

fn stream() -> [String; 4] {
    [bodies::chat_role(), bodies::chat_delta("said"), bodies::chat_finish(), bodies::DONE.to_owned()]
}

async fn second() -> Stub {
    Stub::start(|request| match request.json()["stream"] == true {
        true => Answer::sse(stream()),
        false => Answer::json(200, bodies::chat_answer("said")),
    })
    .await
}

fn bodies_of(model: &str) -> [(Request, &'static str); 2] {
    [
        (Request::post("/v1/chat/completions", bodies::chat(model)), "application/json"),
        (Request::post("/v1/chat/completions", bodies::chat_stream(model)), "text/event-stream"),
    ]
}

/// A 200 without a body is no answer: the next target is asked, and without one the client is told.
#[tokio::test]
async fn an_empty_answer_is_a_failure() {
    let second = second().await;
    for (_, content_type) in bodies_of("") {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: 0\r\n\r\n");
        let first = Stub::always(Answer::raw(head)).await;
        let gateway = gateway(&first, &second, false).await;
        for (request, _) in bodies_of("m") {
            let reply = exchange(gateway.addr, &request).await;
            assert!(reply.status == 200 && reply.text().contains("said"), "{content_type}: {reply:?}");
        }
        for (request, _) in bodies_of("first/m") {
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!((reply.status, reply.complete), (502, true), "{content_type}: {}", reply.text());
        }
    }
}

/// HTTP/2 servers may end with trailers, so that the last DATA frame does not know that it is the last.
#[tokio::test]
async fn trailers_are_an_end_like_any_other() {
    let second = second().await;
    let whole = Stub::start(|request| match request.json()["stream"] == true {
        true => Answer::sse(stream()).step(Step::Trailers),
        false => Answer::json(200, bodies::chat_answer("said")).step(Step::Trailers),
    })
    .await;
    let gateway_whole = gateway(&whole, &second, true).await;
    for model in ["m", "first/m"] {
        for (request, _) in bodies_of(model) {
            let reply = exchange(gateway_whole.addr, &request).await;
            assert!(reply.status == 200 && reply.complete && reply.text().contains("said"), "{model}: {reply:?}");
        }
    }
    assert_eq!((whole.count(), second.count()), (4, 0));

    let cut = Stub::always(Answer::sse([bodies::chat_role(), bodies::chat_delta("half")]).step(Step::Trailers)).await;
    let gateway_cut = gateway(&cut, &second, true).await;
    let [_, (request, _)] = bodies_of("first/m");
    let reply = exchange(gateway_cut.addr, &request).await;
    assert!(reply.text().contains("stream_cut") && !reply.text().contains("[DONE]"), "{}", reply.text());

    let nothing = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Trailers)).await;
    let gateway_nothing = gateway(&nothing, &second, true).await;
    let [_, (request, _)] = bodies_of("m");
    let reply = exchange(gateway_nothing.addr, &request).await;
    assert!(reply.status == 200 && reply.text().ends_with(bodies::DONE), "{}", reply.text());
}

/// What the connection does after the end marker is nobody's concern.
#[tokio::test]
async fn after_the_end_marker_nothing_can_go_wrong() {
    let second = second().await;
    for last in [Step::Cut, Step::Stall] {
        let first = Stub::always(Answer::sse(stream()).step(last.clone())).await;
        let gateway = gateway(&first, &second, false).await;
        for model in ["first/m", "m"] {
            let [_, (request, _)] = bodies_of(model);
            let begun = Instant::now();
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!(reply.text(), stream().concat(), "{last:?}");
            assert!(reply.complete && begun.elapsed() < Duration::from_secs(20), "{last:?}");
            let log = gateway.log_line(|line| (line["model"] == model).then(|| line.clone())).await;
            assert_eq!((&log["finish"], &log["attempts"][0]["outcome"]), (&"complete".into(), &"ok".into()), "{log}");
        }
    }
    assert_eq!(second.count(), 0);
}

/// A `connection` header that names odd things concerns the client's connection, and nothing else.
#[tokio::test]
async fn odd_connection_headers_do_no_harm() {
    let second = second().await;
    let gateway = gateway(&second, &second, false).await;
    for odd in ["host", "\"quoted\"", "x-a, x-b, keep-alive"] {
        let request = Request::post("/v1/chat/completions", bodies::chat("m")).header("connection", odd);
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!((reply.status, reply.complete), (200, true), "{odd}: {}", reply.text());
    }
}
