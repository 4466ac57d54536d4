//! The replay matrix: body size × client framing × upstream protocol × attempt. Every cell has its own hang
//! guard, compares every byte that the upstream received on the attempt that counts, and then uses the client's
//! connection again.

use ai_gateway_tests::client::{Connection, Framing, Request};
use ai_gateway_tests::{Answer, Authority, Gateway, Received, Stub, bodies};

const KIB_64: usize = 64 * 1024;
const SIZES: [usize; 6] = [0, 1, KIB_64 - 1, KIB_64, KIB_64 + 1, 10 * 1024 * 1024];

#[derive(Clone, Copy, PartialEq)]
enum Upstream {
    H1,
    H2,
}

async fn stub(
    upstream: Upstream,
    authority: &Authority,
    script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> Stub {
    match upstream {
        Upstream::H1 => Stub::tls(authority, &["http/1.1"], script).await,
        Upstream::H2 => Stub::tls(authority, &["h2"], script).await,
    }
}

/// All sizes and both attempts for one framing and one kind of upstream.
async fn row(framing: Framing, upstream: Upstream) {
    let authority = Authority::new();
    let failing = stub(upstream, &authority, |_| Answer::json(503, r#"{"error":{"message":"down"}}"#)).await;
    let good = stub(upstream, &authority, |_| Answer::json(200, bodies::chat_answer("fine"))).await;
    let http2 = upstream == Upstream::H2;
    let (ca, a, b) = (authority.file(), failing.origin(), good.origin());
    let mut gateway = Gateway::start(&format!(
        r#"
        [providers.failing]
        kind = "openai-compatible"
        base_url = "{a}/v1"
        ca = "{ca}"
        http2 = {http2}
        [providers.good]
        kind = "openai-compatible"
        base_url = "{b}/v1"
        ca = "{ca}"
        http2 = {http2}
        [models.first]
        targets = [{{ provider = "good", model = "upstream-model" }}]
        [models.retry]
        targets = [
          {{ provider = "failing", model = "a-failing-model" }},
          {{ provider = "good", model = "upstream-model", priority = 1 }},
        ]
        "#
    ))
    .await;

    for size in SIZES {
        for model in ["first", "retry"] {
            let cell = format!("{size} bytes, {framing:?}, h2 upstream: {http2}, {model}");
            let mut client = Connection::for_framing(gateway.addr, framing).await;
            if size < 2 {
                // Nothing that could name a model: refused by the gateway, without a hang and without an attempt.
                let body = &b"7"[..size];
                let before = (failing.count(), good.count());
                let request = Request::post("/v1/chat/completions", body.to_vec()).framing(framing);
                let reply = client.exchange(&request).await;
                assert_eq!(reply.status, 400, "{cell}: {}", reply.text());
                assert_eq!(reply.json()["error"]["type"], "invalid_request_error", "{cell}: {}", reply.text());
                assert_eq!((failing.count(), good.count()), before, "{cell}: an attempt was made");
            } else {
                let sent = bodies::chat_of_size(model, size);
                let request = Request::post("/v1/chat/completions", sent.clone()).framing(framing);
                let reply = client.exchange(&request).await;
                assert_eq!(reply.status, 200, "{cell}: {}", reply.text());
                assert_eq!(reply.text(), bodies::chat_answer("fine"), "{cell}");
                let retried = model == "retry";
                assert_eq!(reply.header("x-gateway-attempts"), if retried { "2" } else { "1" }, "{cell}");
                if retried {
                    check(&failing.next().await, model, "a-failing-model", &sent, http2, &cell);
                }
                check(&good.next().await, model, "upstream-model", &sent, http2, &cell);
            }

            // The connection goes on: a small request, then one without a body.
            let again = bodies::chat("first");
            let reply = client.exchange(&Request::post("/v1/chat/completions", again.clone()).framing(framing)).await;
            assert_eq!(reply.status, 200, "{cell}, second request: {}", reply.text());
            check(&good.next().await, "first", "upstream-model", &again, http2, &format!("{cell}, second request"));
            let reply = client.exchange(&Request::get("/v1/models")).await;
            assert_eq!(reply.status, 200, "{cell}, GET afterwards: {}", reply.text());
        }
    }
    gateway.assert_healthy().await;
}

fn check(received: &Received, model: &str, upstream_model: &str, sent: &[u8], http2: bool, cell: &str) {
    assert!(received.complete, "{cell}: cut at the upstream");
    assert_eq!(received.http2, http2, "{cell}: protocol of the upstream");
    let (from, to) = (format!("\"model\":\"{model}\""), format!("\"model\":\"{upstream_model}\""));
    let expected = [b"{".as_slice(), to.as_bytes(), &sent[1 + from.len()..]].concat();
    assert_eq!(received.body.len(), expected.len(), "{cell}: length at the upstream");
    assert!(received.body == expected, "{cell}: bytes differ at the upstream");
}

#[tokio::test]
async fn content_length_to_h1() {
    row(Framing::Length, Upstream::H1).await;
}

#[tokio::test]
async fn content_length_to_h2() {
    row(Framing::Length, Upstream::H2).await;
}

#[tokio::test]
async fn chunked_to_h1() {
    row(Framing::Chunked(16_000), Upstream::H1).await;
}

#[tokio::test]
async fn chunked_to_h2() {
    row(Framing::Chunked(100_000), Upstream::H2).await;
}

#[tokio::test]
async fn h2_to_h1() {
    row(Framing::H2(16_384), Upstream::H1).await;
}

#[tokio::test]
async fn h2_to_h2() {
    row(Framing::H2(5_000), Upstream::H2).await;
}

/// Upstreams without TLS, and bodies in the smallest pieces.
#[tokio::test]
async fn a_body_of_one_byte_chunks() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let sent = bodies::chat_of_size("stub/m", 3_000);
    // HTTP/2 stacks take single bytes for an attack, so its frames are merely small.
    for framing in [Framing::Chunked(1), Framing::H2(64)] {
        let mut client = Connection::for_framing(gateway.addr, framing).await;
        for _ in 0..2 {
            let request = Request::post("/v1/chat/completions", sent.clone()).framing(framing);
            let reply = client.exchange(&request).await;
            assert_eq!(reply.status, 200, "{framing:?}: {}", reply.text());
            check(&stub.next().await, "stub/m", "m", &sent, false, &format!("{framing:?}"));
        }
    }
}

/// Many requests at once on one HTTP/2 connection, larger than its window together.
#[tokio::test]
async fn concurrent_h2_streams_do_not_mix() {
    let stub = Stub::start(|request| Answer::json(200, request.body.clone())).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let Connection::H2(client) = Connection::for_framing(gateway.addr, Framing::H2(1)).await else { unreachable!() };
    let requests = (0..20).map(|i| {
        let (mut client, size) = (client.clone(), 100_000 + i);
        async move {
            let sent = bodies::chat_of_size(&format!("stub/m{i}"), size);
            let request = Request::post("/v1/chat/completions", sent).framing(Framing::H2(16_384));
            let reply = client.exchange(&request).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(reply.json()["model"], format!("m{i}"));
            assert_eq!(reply.body.len(), size - "stub/".len());
        }
    });
    futures::future::join_all(requests).await;
}
