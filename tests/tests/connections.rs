//! Client connections: what HTTP/1 allows and what an attacker tries. Every answer is well framed, ambiguous requests never
//! reach the upstream, and nobody can hold the gateway up.

use ai_gateway_tests::client::{Connection, Framing, H1, H2, Request, exchange, wire};
use ai_gateway_tests::{Answer, Gateway, Stub, StubFraming, bodies};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn bench() -> (Stub, Gateway) {
    let stub = Stub::start(|request| Answer::json(200, request.body.clone())).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    (stub, gateway)
}

fn chat(framing: Framing) -> Request {
    Request::post("/v1/chat/completions", bodies::chat("stub/m")).framing(framing)
}

/// Successes and refusals in any order on one connection.
#[tokio::test]
async fn keep_alive_survives_refusals() {
    let (_stub, gateway) = bench().await;
    for framing in [Framing::Length, Framing::Chunked(7), Framing::H2(7)] {
        let mut client = Connection::for_framing(gateway.addr, framing).await;
        for _ in 0..3 {
            for (request, status) in [
                (chat(framing), 200),
                (Request::post("/v1/chat/completions", "{").framing(framing), 400),
                (Request::post("/nothing", "{}").framing(framing), 404),
                (Request::get("/v1/models"), 200),
                (Request { method: "HEAD".into(), ..Request::get("/v1/models") }, 200),
                (Request::post("/v1/chat/completions", bodies::chat("nobody/m")).framing(framing), 404),
            ] {
                let reply = client.exchange(&request).await;
                assert_eq!(reply.status, status, "{framing:?} {}: {}", request.target, reply.text());
                if reply.header("connection") == "close" {
                    // Only where the end of an unread body is not known beforehand, and then it is said.
                    assert!(matches!(framing, Framing::Chunked(_)) && status == 404, "{framing:?} {}", request.target);
                    client = Connection::for_framing(gateway.addr, framing).await;
                }
            }
        }
    }
}

/// Pingora serves the first of several requests sent at once and then closes: a client sends the others again. They must
/// neither be mixed up nor answered twice.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (stub, gateway) = bench().await;
    let mut client = H1::connect(gateway.addr).await;
    let all: Vec<u8> = (0..10)
        .flat_map(|i| {
            let framing = if i % 2 == 0 { Framing::Length } else { Framing::Chunked(11) };
            let body = bodies::chat(&format!("stub/m{i}"));
            H1::encode(&Request::post("/v1/chat/completions", body).framing(framing))
        })
        .collect();
    client.send_raw(&all).await;
    for i in 0..10 {
        let reply = client.reply().await.unwrap_or_else(|| panic!("no answer to pipelined request {i}"));
        assert_eq!((reply.status, &reply.json()["model"]), (200, &format!("m{i}").into()));
    }
    assert_eq!(stub.count(), 10);
}

#[tokio::test]
async fn a_request_in_single_bytes_is_read() {
    let (_stub, gateway) = bench().await;
    for framing in [Framing::Length, Framing::Chunked(5)] {
        let mut client = H1::connect(gateway.addr).await;
        for byte in H1::encode(&chat(framing)) {
            client.send_raw(&[byte]).await;
        }
        assert_eq!(client.reply().await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn connection_close_is_honoured() {
    let (_stub, gateway) = bench().await;
    let mut client = H1::connect(gateway.addr).await;
    let reply = client.exchange(&chat(Framing::Length).header("connection", "close")).await;
    assert_eq!(reply.status, 200);
    assert!(client.closed().await);
    // HTTP/1.0 without keep-alive: the end of the body must be visible and the connection ends.
    let mut client = H1::connect(gateway.addr).await;
    let body = bodies::chat("stub/m");
    let head = format!("POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len());
    let reply = client.exchange_raw("POST", &[head.as_bytes(), &body].concat()).await.unwrap();
    assert_eq!((reply.status, reply.complete), (200, true));
    assert!(!reply.headers.contains_key("transfer-encoding"), "chunks are not for HTTP/1.0");
    assert!(client.closed().await);
}

/// HTTP/1.0 has no chunks (RFC 9112 §6.1): a body of unknown length ends with the connection, whoever it comes from.
#[tokio::test]
async fn http_1_0_gets_no_chunks() {
    let stub = Stub::start(|request| {
        if request.json()["stream"] == true {
            return Answer::sse([
                bodies::chat_role(),
                bodies::chat_delta("hi"),
                bodies::chat_finish(),
                bodies::DONE.into(),
            ]);
        }
        Answer::json(200, bodies::chat_answer("hi")).framing(StubFraming::Chunked)
    })
    .await;
    let kept = |name: &str| {
        format!("[models.{name}]\ntargets = [{{ provider = \"stub\", model = \"m\" }}]\ncache = {{ ttl = \"1h\" }}\n")
    };
    let config = [bodies::openai_provider("stub", &stub.origin()), kept("whole"), kept("streamed")].concat();
    let gateway = Gateway::start(&config).await;
    for (body, asked) in [
        (bodies::chat("stub/m"), 1),
        (bodies::chat_stream("stub/m"), 1),
        (bodies::chat("whole"), 1),
        (bodies::chat("whole"), 0),
        (bodies::chat_stream("streamed"), 1),
        (bodies::chat_stream("streamed"), 0),
    ] {
        let before = stub.count();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut client = H1::connect(gateway.addr).await;
        let reply = client.exchange_raw("POST", &[head.as_bytes(), &body].concat()).await.unwrap();
        let what = String::from_utf8_lossy(&body);
        assert_eq!((reply.status, stub.count() - before), (200, asked), "{what}: {}", reply.text());
        assert!(!reply.headers.contains_key("transfer-encoding"), "{what}: {:?}", reply.headers);
        let closes = !reply.headers.contains_key("content-length");
        assert_eq!(reply.header("connection"), if closes { "close" } else { "keep-alive" }, "{what}");
        let text = reply.text();
        assert!(text.starts_with(['{', 'd']) && text.ends_with(['}', '\n']) && text.contains("hi"), "{text}");
    }
}

/// Requests whose end two servers could see at different places.
#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let (stub, mut gateway) = bench().await;
    let smuggled = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let body = String::from_utf8(bodies::chat("stub/m").to_vec()).unwrap();
    let length = body.len();
    let chunked = String::from_utf8([wire::chunk(body.as_bytes()), b"0\r\n\r\n".to_vec()].concat()).unwrap();
    let cases = [
        ("CL and TE", format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}")),
        ("TE and CL", format!("transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{chunked}")),
        ("two lengths", format!("content-length: {length}\r\ncontent-length: {}\r\n\r\n{body}", length + 1)),
        ("a list of lengths", format!("content-length: {length}, {}\r\n\r\n{body}", length + 1)),
        ("a signed length", format!("content-length: +{length}\r\n\r\n{body}")),
        ("a negative length", format!("content-length: -1\r\n\r\n{body}")),
        ("a hexadecimal length", format!("content-length: 0x{length:x}\r\n\r\n{body}")),
        ("a huge length", format!("content-length: 99999999999999999999999\r\n\r\n{body}")),
        ("an empty length", format!("content-length: \r\n\r\n{body}")),
        ("another coding", format!("transfer-encoding: gzip\r\n\r\n{chunked}")),
        ("chunked twice", format!("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunked}")),
        ("chunked, then identity", format!("transfer-encoding: chunked, identity\r\n\r\n{chunked}")),
        ("a misspelt coding", format!("transfer-encoding: xchunked\r\n\r\n{chunked}")),
        ("a coding with a control byte", format!("transfer-encoding: \x0bchunked\r\n\r\n{chunked}")),
        ("blank before the colon", format!("transfer-encoding : chunked\r\n\r\n{chunked}")),
        ("a folded header", format!("x: y\r\n transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a chunk size with a sign", format!("transfer-encoding: chunked\r\n\r\n+{chunked}")),
        ("a chunk size with 0x", format!("transfer-encoding: chunked\r\n\r\n0x{chunked}")),
        ("a chunk size that is none", "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_owned()),
        (
            "a chunk size that overflows",
            "transfer-encoding: chunked\r\n\r\n1ffffffffffffffff\r\n{}\r\n0\r\n\r\n".to_owned(),
        ),
        ("a chunk without its line end", format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}0\r\n\r\n")),
        (
            "a bare CR in the header",
            format!("x: a\rtransfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{body}"),
        ),
        ("a NUL in the header", format!("x: a\0b\r\ncontent-length: {length}\r\n\r\n{body}")),
    ];
    let before = stub.count();
    for (what, framing) in &cases {
        let mut client = H1::connect(gateway.addr).await;
        let request =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}");
        client.send_raw(format!("{request}{smuggled}").as_bytes()).await;
        client.half_close().await;
        let mut replies = Vec::new();
        while let Some(reply) = client.reply().await {
            replies.push(reply.status);
        }
        // RFC 9112 lets CL and TE together count as chunked if the connection closes after it; anything else is refused.
        let read_as_chunked = what.contains("TE") && replies == [200];
        let refused = replies.iter().all(|status| (400..502).contains(status)) && replies.len() <= 1;
        assert!(refused || read_as_chunked, "{what}: {replies:?}");
        // A client that leaves early cuts its request off upstream as well: that is not a smuggled one.
        for request in stub.received()[before..].iter().filter(|request| request.complete) {
            let text = String::from_utf8_lossy(&request.body);
            assert!(text == body.replace("stub/m", "m"), "{what}: the upstream got {text:?}");
        }
    }
    gateway.assert_healthy().await;
}

/// After chunks that do not hold nobody knows where the next request begins (RFC 9112 §2.2): what follows is never read as one.
#[tokio::test]
async fn nothing_is_read_after_broken_chunks() {
    let stub = Stub::start(|request| Answer::json(200, request.body.clone())).await;
    let key = format!("[[keys]]\nname = \"one\"\nhash = \"{}\"\n", bodies::key_hash("sk-one"));
    let mut gateway = Gateway::start(&format!("{}{key}", bodies::openai_provider("stub", &stub.origin()))).await;
    let next = "GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-one\r\n\r\n";
    let cases = [
        ("POST /nope", "", 404),
        ("POST /v1/chat/completions", "", 401),
        ("GET /v1/models", "", 401),
        ("POST /nope", "authorization: Bearer sk-one\r\n", 404),
        ("POST /v1/chat/completions", "authorization: Bearer sk-one\r\n", 400),
        ("GET /v1/chat/completions", "authorization: Bearer sk-one\r\n", 405),
        ("GET /v1/models", "authorization: Bearer sk-one\r\n", 200),
    ];
    for (line, key, status) in cases {
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\n{key}transfer-encoding: chunked\r\n\r\n");
        for chunks in ["zz\r\n", "0x4c\r\n", "2\r\n{}\r\nzz\r\n", "2\r\n{}zz\r\n"] {
            let together = [format!("{head}{chunks}{next}")].to_vec();
            let body_apart = [head.clone(), format!("{chunks}{next}")].to_vec();
            let next_apart = [format!("{head}{chunks}"), next.to_owned()].to_vec();
            for segments in [together, body_apart, next_apart] {
                let what = format!("{line} with {key:?}, {chunks:?} in {} segments", segments.len());
                let mut client = H1::connect(gateway.addr).await;
                let (last, first) = segments.split_last().unwrap();
                for segment in first {
                    client.send_raw(segment.as_bytes()).await;
                }
                let follows = last == next;
                if !follows {
                    client.send_raw(last.as_bytes()).await;
                }
                let reply = client.reply().await.unwrap_or_else(|| panic!("no answer to {what}"));
                assert_eq!((reply.status, reply.header("connection")), (status, "close"), "{what}");
                if follows {
                    client.try_send_raw(last.as_bytes()).await;
                }
                assert!(client.reply().await.is_none(), "a second answer to {what}");
            }
        }
    }
    assert_eq!(stub.count(), 0);
    gateway.assert_healthy().await;
}

/// Broken from the first line on.
#[tokio::test]
async fn garbage_is_refused() {
    let (stub, mut gateway) = bench().await;
    let cases: Vec<Vec<u8>> = vec![
        b"\r\n\r\n\r\n\r\nnonsense\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /v1/models HTTP/1.1\r\nno colon here\r\n\r\n".to_vec(),
        b"GET http://[::1 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n".to_vec(),
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(50),
        vec![0xff; 10_000],
        vec![b'A'; 3_000_000],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x00".to_vec(),
    ];
    for case in cases {
        let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
        let mut io = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
        let sent = io.write_all(&case).await;
        let _ = io.shutdown().await;
        let mut answer = Vec::new();
        let read = ai_gateway_tests::guard(&shown, io.read_to_end(&mut answer)).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 2"), "{shown:?} ({sent:?}, {read:?}): {text}");
        assert_eq!(exchange(gateway.addr, &chat(Framing::Length)).await.status, 200, "after {shown:?}");
    }
    assert_eq!(stub.count(), 12);
    gateway.assert_healthy().await;
}

/// HTTP/2 begins with more bytes than a health check sends: nobody waits for them.
#[tokio::test]
async fn the_shortest_requests_are_answered() {
    let (_stub, mut gateway) = bench().await;
    for (request, answer) in [
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "),
        ("OPTIONS / HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "),
        ("GET\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let mut io = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
        io.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        ai_gateway_tests::guard(request, io.read_to_string(&mut text)).await.unwrap();
        assert!(text.starts_with(answer), "{request:?}: {text}");
    }
    gateway.assert_healthy().await;
}

#[tokio::test]
async fn header_floods_are_refused() {
    let (stub, mut gateway) = bench().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n";
    let many: String = (0..100_000).map(|i| format!("x-{i}: {i}\r\n")).collect();
    let cases = [
        format!("{head}{many}\r\n{{}}"),
        format!("{head}x: {}\r\n\r\n{{}}", "y".repeat(5_000_000)),
        format!("{head}{}: y\r\n\r\n{{}}", "x".repeat(1_000_000)),
        format!("POST /v1/chat/completions?{} HTTP/1.1\r\nhost: x\r\n\r\n", "q".repeat(2_000_000)),
        format!("{}{}", head, "x-same: y\r\n".repeat(50_000)),
    ];
    for case in cases {
        let mut client = H1::connect(gateway.addr).await;
        let shown = &case[head.len().min(70)..120];
        let Some(reply) = client.exchange_raw("POST", case.as_bytes()).await else { continue };
        assert!((400..500).contains(&reply.status), "{shown}: {}", reply.status);
    }
    assert_eq!(stub.count(), 0);
    // Over HTTP/2 the limit is the protocol's own.
    let mut client = H2::connect(gateway.addr).await;
    let mut flood = chat(Framing::H2(100));
    flood.headers.extend((0..3000).map(|i| (format!("x-{i}"), "v".repeat(100))));
    match client.start(&flood).await {
        Ok(response) => assert!(response.status().is_client_error(), "{}", response.status()),
        Err(_) => client = H2::connect(gateway.addr).await,
    }
    assert_eq!(client.exchange(&chat(Framing::H2(100))).await.status, 200);
    gateway.assert_healthy().await;
}

/// Requests that end before they are whole.
#[tokio::test]
async fn truncated_requests_do_no_harm() {
    let (stub, mut gateway) = bench().await;
    for framing in [Framing::Length, Framing::Chunked(20)] {
        let whole = H1::encode(&chat(framing));
        for end in 1..whole.len() {
            let mut client = H1::connect(gateway.addr).await;
            client.send_raw(&whole[..end]).await;
            if end % 2 == 0 {
                // Says that no more will come, and still listens: an answer, if any, is an error.
                client.half_close().await;
                if let Some(reply) = client.reply().await {
                    assert!((400..500).contains(&reply.status), "{framing:?} {end}: {}", reply.status);
                }
            }
        }
    }
    assert_eq!(exchange(gateway.addr, &chat(Framing::Length)).await.status, 200);
    for request in stub.received() {
        assert!(request.complete && request.json()["model"] == "m", "a truncated request reached the upstream");
    }
    gateway.assert_healthy().await;
}

/// Hundreds of clients that send a byte now and then: they hold nobody up, and they are not waited for without end.
#[tokio::test]
async fn slow_clients_hold_nobody_up() {
    let (stub, mut gateway) = bench().await;
    let whole = H1::encode(&chat(Framing::Length));
    let header = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let mut slow = Vec::new();
    for i in 0..300 {
        let mut client = H1::connect(gateway.addr).await;
        // Half of them stay inside the header, half inside the body.
        client.send_raw(&whole[..if i % 2 == 0 { header / 2 } else { header + 20 }]).await;
        slow.push(client);
    }
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(exchange(gateway.addr, &chat(Framing::Length)).await.status, 200);
        for client in &mut slow {
            client.try_send_raw(b"x").await;
        }
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    drop(slow);
    assert_eq!(stub.count(), 50);
    gateway.assert_healthy().await;
}

/// A body that trickles in is answered with 408 after the gateway's own patience (30 s), whatever still comes.
#[tokio::test]
async fn a_trickling_body_ends_with_408() {
    let (stub, gateway) = bench().await;
    let mut client = H1::connect(gateway.addr).await;
    client.send_raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n{").await;
    let begun = Instant::now();
    let trickle = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            if !client.try_send_raw(b" ").await || client.readable() {
                break;
            }
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, trickle).await.expect("a body may trickle for more than a minute");
    let reply = client.reply().await.expect("an answer to a slow body");
    assert_eq!(reply.status, 408, "{}", reply.text());
    assert!(begun.elapsed() < patience);
    assert_eq!(stub.count(), 0);
}

/// A flood of streams that are opened and reset at once (CVE-2023-44487).
#[tokio::test]
async fn rapid_resets_do_no_harm() {
    let (_stub, mut gateway) = bench().await;
    let mut client = H2::connect(gateway.addr).await;
    let request = chat(Framing::H2(100));
    for _ in 0..2000 {
        let Some((response, mut body)) = client.try_open(&request).await else { break };
        body.send_reset(h2::Reason::CANCEL);
        drop((response, body));
    }
    assert_eq!(exchange(gateway.addr, &chat(Framing::H2(100))).await.status, 200);
    gateway.assert_healthy().await;
}
