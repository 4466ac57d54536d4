//! Readers of a shared call, however slowly they read and whenever they leave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ai_gateway_tests::client::wire::Piece;
use ai_gateway_tests::client::{Framing, H1, H2, Request, exchange};
use ai_gateway_tests::{Answer, Dice, Gate, Step, Stub, bodies, guard};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::json;
use tokio::net::TcpSocket;

use crate::PATH;
use crate::live::{ask, assert_whole, start, statuses, stream};

/// A client that asks, and that leaves politely or not if it leaves.
async fn join(addr: SocketAddr, reset: bool) -> H1 {
    let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
    if reset {
        tcp.set_zero_linger().unwrap();
    }
    let mut client = H1::over(tcp);
    client.send(&ask()).await;
    client
}

/// Reads `pieces` pieces and leaves.
async fn leave_after(mut client: H1, pieces: usize) {
    if pieces == 0 {
        return;
    }
    let mut body = client.respond().await;
    for _ in 0..pieces {
        if !matches!(body.piece().await, Piece::Data(_)) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_may_leave_reset_and_stall_and_the_first_one_too() {
    let gates: [Gate; 4] = std::array::from_fn(|_| Gate::new());
    let (of_stub, calls) = (gates.clone(), AtomicUsize::new(0));
    let stub = Stub::start(move |_| {
        let gate = of_stub.get(calls.fetch_add(1, Ordering::Relaxed)).cloned().unwrap_or_default();
        stream(60, |word| {
            Some(if word == 1 { Step::Wait(gate.clone()) } else { Step::Pause(Duration::from_millis(2)) })
        })
    })
    .await;
    let gateway = start(&stub, "cache = { ttl = \"0s\" }").await;
    for (seed, gate) in (0..).zip(&gates) {
        let mut dice = Dice(seed);
        let before = stub.count();
        // The one that makes the call goes first, and leaves first.
        let mut first = H1::connect(gateway.addr).await;
        first.send(&ask()).await;
        let mut body = first.respond().await;
        assert_eq!(body.headers["x-gateway-cache"], "miss");
        body.until("word 0 ").await;
        let (mut stays, mut stalls, mut goes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..200 {
            match dice.roll(4) {
                0 => stays.push(join(gateway.addr, false).await),
                1 => stalls.push(join(gateway.addr, false).await),
                way => goes.push((join(gateway.addr, way == 2).await, dice.roll(40))),
            }
        }
        // All follow the same call before any leaves.
        gateway.followed(200).await;
        let goes: Vec<_> = goes.into_iter().map(|(client, pieces)| tokio::spawn(leave_after(client, pieces))).collect();
        let reads = |mut client: H1| tokio::spawn(async move { client.reply().await.unwrap() });
        let stays: Vec<_> = stays.into_iter().map(reads).collect();
        drop(first);
        gate.open();
        for client in goes {
            client.await.unwrap();
        }
        let mut replies = Vec::new();
        for client in stays {
            replies.push(client.await.unwrap());
        }
        // These read nothing until the others have it all.
        for client in &mut stalls {
            replies.push(client.reply().await.unwrap());
        }
        assert!(replies.iter().all(|reply| reply.complete && reply.body == replies[0].body), "seed {seed}");
        assert_whole(&replies[0]);
        assert_eq!(stub.count() - before, 1, "seed {seed}");
        gateway.at_rest().await;
    }
}

/// A client that takes little before it reads.
async fn stalled(addr: SocketAddr) -> H1 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    H1::over(socket.connect(addr).await.unwrap())
}

/// Who reads nothing holds up nobody, and gets everything when it reads again. The first one stalls, too.
#[tokio::test]
async fn a_reader_that_stalls_slows_nobody() {
    let large = "x".repeat(64 << 10);
    let (gate, pieces) = (Gate::new(), 150);
    let of_stub = gate.clone();
    let stub = Stub::start(move |_| {
        let mut answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("begun")]);
        answer.steps.push(Step::Wait(of_stub.clone()));
        let delta = Bytes::from(bodies::chat_delta(&large));
        answer.steps.extend((0..pieces).map(|_| Step::Send(delta.clone())));
        for end in [bodies::chat_finish(), bodies::DONE.to_owned()] {
            answer.steps.push(Step::Send(end.into()));
        }
        answer
    })
    .await;
    let gateway = start(&stub, "cache = { ttl = \"0s\" }").await;
    let joins = || async {
        let mut client = stalled(gateway.addr).await;
        client.send(&ask()).await;
        client
    };
    let mut first = joins().await;
    stub.next().await;
    let mut second = joins().await;
    let reads = tokio::spawn({
        let addr = gateway.addr;
        async move { exchange(addr, &ask()).await }
    });
    gateway.followed(2).await;
    gate.open();
    let whole = reads.await.unwrap();
    assert!(whole.complete && whole.body.len() > pieces * (64 << 10), "{}", whole.body.len());
    for client in [&mut first, &mut second] {
        let reply = client.reply().await.unwrap();
        assert!(reply.complete && reply.body == whole.body, "{}", reply.body.len());
    }
    assert_eq!(stub.count(), 1);
}

/// Who falls too far behind an answer that is too large to be remembered is told so, and its provider is not to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_left_behind_is_told_so() {
    let delta = Bytes::from(bodies::chat_delta(&"x".repeat(100 << 10)));
    let gate = Gate::new();
    let of_stub = gate.clone();
    let stub = Stub::start(move |_| {
        let mut answer = Answer::sse([bodies::chat_role()]).step(Step::Wait(of_stub.clone()));
        answer.steps.extend(std::iter::repeat_n(Step::Send(delta.clone()), 400));
        answer.steps.extend([bodies::chat_finish(), bodies::DONE.to_owned()].map(|end| Step::Send(end.into())));
        answer
    })
    .await;
    let gateway = start(&stub, "cache = { ttl = \"0s\" }").await;
    let mut first = stalled(gateway.addr).await;
    first.send(&ask()).await;
    stub.next().await;
    let mut second = stalled(gateway.addr).await;
    second.send(&ask()).await;
    // One that reads no more than its window holds, which it does not open.
    let mut third = H2::connect(gateway.addr).await.start(&ask().framing(Framing::H2(100))).await.unwrap().into_body();
    let addr = gateway.addr;
    let reads = tokio::spawn(async move { exchange(addr, &ask()).await });
    gateway.followed(3).await;
    gate.open();
    let whole = reads.await.unwrap();
    assert!(whole.complete && whole.body.len() > 400 * (100 << 10), "{}", whole.body.len());
    let over_http_2 = async {
        let mut said = Vec::new();
        while let Some(data) = third.data().await {
            let data = data.unwrap_or_else(|error| panic!("{error} behind {} bytes", said.len()));
            let _ = third.flow_control().release_capacity(data.len());
            said.extend_from_slice(&data);
        }
        assert!(String::from_utf8_lossy(&said).contains("took it too slowly"), "{} bytes", said.len());
    };
    guard("the end of a stream", over_http_2).await;
    for client in [&mut first, &mut second] {
        let reply = client.reply().await.unwrap();
        assert!(reply.complete && reply.text().contains("took it too slowly"), "{} bytes", reply.body.len());
    }
    gateway.at_rest().await;
    for (fault, count) in [("caller", 3), ("upstream", 0)] {
        assert_eq!(gateway.counted("gateway_requests_total", &format!("fault=\"{fault}\"")).await, count, "{fault}");
    }
    assert_eq!(stub.count(), 1);
}

/// Its own client hears that the connection closes behind an error, before it sends the next request there; the others keep theirs.
#[tokio::test]
async fn an_error_says_that_its_connection_closes() {
    let refusal = Answer::json(400, r#"{"error":{"message":"no","type":"invalid_request_error"}}"#);
    for (request, status) in [
        (Request::post("/v1/messages", bodies::message("m", false)), 400),
        (Request::post(PATH, bodies::chat("m")), 502),
    ] {
        let answer = if status == 400 { refusal.clone() } else { Answer::status(500) };
        let gate = Gate::new();
        let stub = Stub::always(answer.after(&gate)).await;
        let gateway = start(&stub, "cache = { ttl = \"10m\" }\nretry = { attempts = 1 }").await;
        let (mut first, mut second) = (H1::connect(gateway.addr).await, H1::connect(gateway.addr).await);
        first.send(&request).await;
        stub.next().await;
        second.send(&request).await;
        gateway.followed(1).await;
        gate.open();
        let reply = first.reply().await.unwrap();
        assert_eq!((reply.status, reply.header("connection")), (status, "close"), "{}", reply.text());
        assert!(first.closed().await);
        let reply = second.reply().await.unwrap();
        assert_eq!((reply.status, reply.header("connection")), (status, "keep-alive"), "{}", reply.text());
        second.send(&Request::get("/v1/models")).await;
        assert_eq!(second.reply().await.unwrap().status, 200);
    }
}

/// What a provider refuses may be something that the request says of its own client, and that the others do not say.
#[tokio::test]
async fn a_refusal_of_what_is_left_out_is_not_shared() {
    let labelled = |label: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "user": label});
        Request::post(PATH, body.to_string())
    };
    let gate = Gate::new();
    let of_stub = gate.clone();
    let stub = Stub::start(move |request| match request.json()["user"].as_str() {
        Some("bad") => Answer::json(400, r#"{"error":{"message":"user is bad","param":"user"}}"#).after(&of_stub),
        _ => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let gateway = start(&stub, "cache = { ttl = \"10m\" }").await;
    let (bad, good) = (labelled("bad"), labelled("good"));
    let asks = async {
        stub.next().await;
        let follows = async {
            gateway.followed(1).await;
            gate.open();
        };
        tokio::join!(exchange(gateway.addr, &good), follows).0
    };
    let (bad, good) = tokio::join!(exchange(gateway.addr, &bad), asks);
    assert_eq!((bad.status, bad.header("x-gateway-cache")), (400, "miss"));
    assert_eq!((good.status, good.header("x-gateway-cache")), (200, "miss"), "{}", good.text());
    assert_eq!(exchange(gateway.addr, &labelled("other")).await.header("x-gateway-cache"), "hit");
}

/// An error that the gateway words names the request of each client.
#[tokio::test]
async fn a_shared_error_names_the_request_that_it_is_told_to() {
    let gate = Gate::new();
    let stub = Stub::always(Answer::status(500).after(&gate)).await;
    let gateway = start(&stub, "cache = { ttl = \"10m\" }\nretry = { attempts = 1, same_target = false }").await;
    let request = Request::post("/v1/messages", bodies::message("m", false));
    let opens = async {
        gateway.followed(1).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(join_all([&request, &request].map(|one| exchange(gateway.addr, one))), opens);
    assert_eq!((statuses(&replies), stub.count()), ((1, 1), 1));
    for reply in &replies {
        let id = reply.json()["request_id"].clone();
        assert_eq!((reply.status, id.as_str()), (502, Some(reply.header("x-request-id"))), "{}", reply.text());
    }
}

/// An answer that is too large to be remembered as a whole is whole for its only client, however slowly that one reads.
#[tokio::test]
async fn a_large_answer_waits_for_its_only_reader() {
    let delta = Bytes::from(bodies::chat_delta(&"x".repeat(64 << 10)));
    let pieces = 400;
    let stub = Stub::start(move |_| {
        let mut answer = Answer::sse([bodies::chat_role()]);
        answer.steps.extend((0..pieces).map(|_| Step::Send(delta.clone())));
        answer.steps.extend([bodies::chat_finish(), bodies::DONE.to_owned()].map(|end| Step::Send(end.into())));
        answer
    })
    .await;
    let gateway = start(&stub, "cache = { ttl = \"10m\" }").await;
    let mut client = stalled(gateway.addr).await;
    client.send(&ask()).await;
    // Of the 16 MiB that are read without it, all that buffers do not take.
    guard("it is far behind", async {
        while gateway.counted("gateway_cache_held_bytes", "").await <= 8 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let reply = client.reply().await.unwrap();
    assert!(reply.complete && reply.body.len() > pieces * (64 << 10), "{}", reply.body.len());
}

/// The call stops when the last one has gone, and not before.
#[tokio::test]
async fn a_call_that_nobody_follows_is_stopped() {
    let stub = Stub::start(|_| stream(3, |word| (word == 2).then_some(Step::Stall))).await;
    let gateway = start(&stub, "cache = { ttl = \"10m\" }").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(H1::connect(gateway.addr).await);
        let client = clients.last_mut().unwrap();
        client.send(&ask()).await;
        client.respond().await.until("word 1 ").await;
    }
    assert_eq!(stub.count(), 1);
    // The one that makes the call goes first, and then another.
    for followers in [2, 1] {
        drop(clients.remove(0));
        gateway.followed(followers).await;
    }
    assert_eq!(stub.departures(), 0);
    let gone = Instant::now();
    clients.clear();
    assert!(stub.departed().await >= gone);
    gateway.at_rest().await;
}
