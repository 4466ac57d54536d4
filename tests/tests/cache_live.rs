//! One upstream call, shared live by everyone who asks the same: however many join, whenever they do, however slowly they read
//! and whenever they leave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::wire::Piece;
use ai_gateway_tests::client::{Framing, H1, H2, Reply, Request, exchange};
use ai_gateway_tests::speak::{Heard, hear};
use ai_gateway_tests::{Answer, Dice, Gate, Gateway, Step, Stub, StubFraming, bodies, guard};
use bytes::Bytes;
use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::sync::Barrier;

const PATH: &str = "/v1/chat/completions";

/// A gateway with one model `m` at `stub`, whose table has `more`.
async fn start(stub: &Stub, more: &str) -> Gateway {
    let provider = bodies::openai_provider("stub", &stub.origin());
    let health = "health = { failures = 0, rate = 0 }";
    let model = format!("[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n{more}\n");
    Gateway::start(&format!("{provider}{health}\n{model}")).await
}

fn ask() -> Request {
    Request::post(PATH, bodies::chat_stream("m"))
}

async fn ask_at(addr: SocketAddr) -> Reply {
    exchange(addr, &ask()).await
}

/// A stream of `words`, with `step` before each word's event.
fn stream(words: usize, step: impl Fn(usize) -> Option<Step>) -> Answer {
    let mut answer = Answer::sse([bodies::chat_role()]);
    for word in 0..words {
        answer.steps.extend(step(word));
        answer.steps.push(Step::Send(bodies::chat_delta(&format!("word {word} ")).into()));
    }
    answer.steps.extend(step(words));
    for end in [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.to_owned()] {
        answer.steps.push(Step::Send(end.into()));
    }
    answer
}

fn statuses<'a>(replies: impl IntoIterator<Item = &'a Reply>) -> (usize, usize) {
    let headers: Vec<&str> = replies.into_iter().map(|reply| reply.header("x-gateway-cache")).collect();
    let count = |wanted: &str| headers.iter().filter(|status| **status == wanted).count();
    (count("miss"), count("shared"))
}

fn assert_whole(reply: &Reply) {
    let heard = hear(Dialect::OpenAiChat, true, reply);
    assert!(matches!(heard, Heard::Answer(_)), "{heard:?}");
}

/// Sends the request, waits for `word`, and reads on once all have got so far.
async fn join_in(addr: SocketAddr, word: &str, all: &Barrier) -> Reply {
    let mut client = H1::connect(addr).await;
    client.send(&ask()).await;
    let mut body = client.respond().await;
    let mut whole = body.until(word).await.into_bytes();
    all.wait().await;
    let (rest, complete) = body.rest().await;
    whole.extend_from_slice(&rest);
    Reply { status: body.status, headers: body.headers, body: whole.into(), complete }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_and_then_a_hundred_more_share_one_call() {
    let gates = [Gate::new(), Gate::new()];
    let of_stub = gates.clone();
    let stub = Stub::start(move |_| {
        let wait = |gate: usize| Some(Step::Wait(of_stub[gate].clone()));
        stream(40, |word| {
            if word == 10 {
                wait(0)
            } else if word == 20 {
                wait(1)
            } else {
                None
            }
        })
    })
    .await;
    let gateway = start(&stub, "cache = { ttl = \"10m\" }").await;
    let barriers = [Barrier::new(101), Barrier::new(101)];
    let early = join_all((0..100).map(|_| join_in(gateway.addr, "word 9 ", &barriers[0])));
    let others = async {
        barriers[0].wait().await;
        assert_eq!(stub.count(), 1);
        gates[0].open();
        // These find half of the answer there.
        let late = join_all((0..100).map(|_| join_in(gateway.addr, "word 19 ", &barriers[1])));
        let end = async {
            barriers[1].wait().await;
            gates[1].open();
        };
        tokio::join!(late, end).0
    };
    let (early, late) = tokio::join!(early, others);
    let replies: Vec<&Reply> = early.iter().chain(&late).collect();
    assert!(replies.iter().all(|reply| reply.complete && reply.body == replies[0].body));
    assert_whole(replies[0]);
    assert_eq!(statuses(replies.iter().copied()), (1, 199));
    assert_eq!(stub.count(), 1);
    let ids: std::collections::HashSet<_> = replies.iter().map(|reply| reply.header("x-request-id")).collect();
    assert_eq!(ids.len(), 200, "each has an id of its own");
    // And one who comes when all is over.
    let hit = exchange(gateway.addr, &ask()).await;
    assert_eq!((hit.header("x-gateway-cache"), &hit.body), ("hit", &replies[0].body));
    let counted = |name: &'static str| gateway.counted(name, "");
    // An answer is counted behind its last byte.
    gateway.at_rest().await;
    assert_eq!(counted("gateway_cache_hits_total").await, 1);
    assert_eq!(counted("gateway_cache_shares_total").await, 199);
    assert_eq!(counted("gateway_cache_misses_total").await, 1);
    assert_eq!(counted("gateway_cache_saved_tokens_total").await, 200 * 12);
}

/// Wherever a stream is, whoever joins it has all that there is before the provider says another word.
#[tokio::test]
async fn a_late_joiner_has_its_first_byte_at_once() {
    let gates: [Gate; 30] = std::array::from_fn(|_| Gate::new());
    let of_stub = gates.clone();
    let stub = Stub::start(move |_| {
        stream(of_stub.len(), |word| Some(Step::Wait(of_stub.get(word.checked_sub(1)?)?.clone())))
    })
    .await;
    let gateway = start(&stub, "cache = { ttl = \"0s\" }").await;
    let (addr, gates) = (gateway.addr, &gates);
    let replies = join_all((0..gates.len()).map(|word| async move {
        if let Some(before) = word.checked_sub(1) {
            gates[before].passed().await;
        }
        let mut client = H1::connect(addr).await;
        client.send(&ask()).await;
        let mut body = client.respond().await;
        let heard = body.until(&format!("word {word} ")).await;
        assert_eq!(heard.matches("word ").count(), word + 1, "{heard}");
        gates[word].open();
        let (rest, complete) = body.rest().await;
        Reply { status: body.status, headers: body.headers, body: [heard.as_bytes(), &rest].concat().into(), complete }
    }))
    .await;
    assert!(replies.iter().all(|reply| reply.complete && reply.body == replies[0].body));
    assert_whole(&replies[0]);
    assert_eq!((statuses(&replies), stub.count()), ((1, gates.len() - 1), 1));
}

/// How long it takes from a request's first byte to its answer's, for each of a hundred who join a stream that a hundred read
/// already: one after the other while it flows, and then all at once. Connections stand before. Figures for a quiet machine and a
/// release build, which are printed and not judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn how_soon_a_late_joiner_has_its_first_byte() {
    for (name, between) in [("every 5 ms", Duration::from_millis(5)), ("all at once", Duration::ZERO)] {
        let stub = Stub::start(|_| stream(80, |_| Some(Step::Pause(Duration::from_millis(25))))).await;
        let gateway = start(&stub, "cache = { ttl = \"0s\" }").await;
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(H1::connect(gateway.addr).await);
        }
        let mut late = clients.split_off(100);
        let begun = Instant::now();
        let early = clients.into_iter().map(|mut client| {
            tokio::spawn(async move {
                client.send(&ask()).await;
                client.reply().await.unwrap()
            })
        });
        let early: Vec<_> = early.collect();
        gateway.followed(99).await;
        let all_follow = begun.elapsed();
        // Some of the stream is there.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let request = Bytes::from(H1::encode(&ask()));
        let mut joins = Vec::new();
        for mut client in late.drain(..) {
            let request = request.clone();
            joins.push(tokio::spawn(async move {
                let begun = Instant::now();
                client.send_raw(&request).await;
                let mut body = client.respond().await;
                let status = body.headers["x-gateway-cache"].clone();
                let Piece::Data(first) = body.piece().await else { panic!("no first piece") };
                let wait = begun.elapsed();
                let (rest, complete) = body.rest().await;
                assert!(complete && status == "shared");
                (wait, [first, rest].concat())
            }));
            if !between.is_zero() {
                tokio::time::sleep(between).await;
            }
        }
        let (mut waits, mut whole) = (Vec::new(), None);
        for join in joins {
            let (wait, body) = join.await.unwrap();
            waits.push(wait);
            assert_eq!(&body, whole.get_or_insert(body.clone()));
        }
        for early in early {
            assert_eq!(Some(early.await.unwrap().body.to_vec()), whole);
        }
        assert_eq!(stub.count(), 1);
        waits.sort();
        let soon = waits.iter().filter(|wait| **wait <= Duration::from_millis(5)).count();
        eprintln!(
            "{name}: first byte after {:?} (median), {:?} (95 of 100), {:?} (last); {soon} of 100 within 5 ms; \
             the first hundred followed within {all_follow:?}",
            waits[50], waits[94], waits[99]
        );
    }
}

/// Over HTTP/2, and both protocols together; whole answers, too.
#[tokio::test]
async fn clients_of_both_protocols_share() {
    for request in [ask(), Request::post(PATH, bodies::chat("m"))] {
        let gate = Gate::new();
        let of_stub = gate.clone();
        let stub = Stub::start(move |request| match request.json()["stream"] == true {
            true => stream(20, |word| (word == 5).then(|| Step::Wait(of_stub.clone()))),
            false => Answer::json(200, bodies::chat_answer("fine")).after(&of_stub),
        })
        .await;
        let gateway = start(&stub, "cache = { ttl = \"0s\" }").await;
        let h2 = request.clone().framing(Framing::H2(16 << 10));
        let requests = [&request, &h2, &request, &h2];
        let opens = async {
            gateway.followed(3).await;
            gate.open();
        };
        let (replies, ()) = tokio::join!(join_all(requests.map(|request| exchange(gateway.addr, request))), opens);
        assert!(replies.iter().all(|reply| reply.status == 200 && reply.complete && reply.body == replies[0].body));
        assert_eq!((statuses(&replies), stub.count()), ((1, 3), 1));
    }
}

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

/// Those who wait for an answer to begin follow it, too: the first one may leave before.
#[tokio::test]
async fn who_waits_for_the_beginning_keeps_the_call() {
    let gate = Gate::new();
    let of_stub = gate.clone();
    let stub = Stub::start(move |_| stream(3, |_| None).after(&of_stub)).await;
    let gateway = start(&stub, "cache = { ttl = \"10m\" }").await;
    let mut first = H1::connect(gateway.addr).await;
    first.send(&ask()).await;
    stub.next().await;
    let mut second = H1::connect(gateway.addr).await;
    second.send(&ask()).await;
    gateway.followed(1).await;
    drop(first);
    gate.open();
    let reply = second.reply().await.unwrap();
    assert_whole(&reply);
    assert_eq!((reply.header("x-gateway-cache"), stub.count()), ("shared", 1));
    // It was complete, and stays.
    assert_eq!(exchange(gateway.addr, &ask()).await.header("x-gateway-cache"), "hit");
}

/// Wherever a shared call breaks, nobody takes what there is for a whole answer, and nothing of it stays.
#[tokio::test]
async fn nobody_sees_a_clean_end_of_a_broken_answer() {
    let steps = stream(6, |_| None).steps.len();
    let cases = [StubFraming::Chunked, StubFraming::Close].into_iter().flat_map(|form| {
        (0..steps).flat_map(move |at| {
            [false, true].map(|silent| broken_for_all(form, at, silent, at >= steps - 2).boxed_local())
        })
    });
    futures::stream::iter(cases).buffer_unordered(6).collect::<()>().await;
}

/// An answer that breaks off at a step, or falls silent there; `whole`: all events of a choice have been there when the last one is
/// its end.
async fn broken_for_all(form: StubFraming, at: usize, silent: bool, whole: bool) {
    let what = format!("{form:?} at {at}, silent {silent}");
    let gate = Gate::new();
    let of_stub = gate.clone();
    let stub = Stub::start(move |_| {
        let mut answer = stream(6, |_| None).framing(form);
        answer.steps.truncate(at);
        if silent {
            answer.steps.push(Step::Stall);
        } else if form == StubFraming::Chunked {
            answer.steps.push(Step::Cut);
        }
        answer.after(&of_stub)
    })
    .await;
    let clocks = if silent { "\ntimeouts = { first_token = \"2s\", idle = \"2s\" }" } else { "" };
    let more = "cache = { ttl = \"10m\" }\nretry = { attempts = 1, same_target = false }";
    let gateway = start(&stub, &format!("{more}{clocks}")).await;
    let opens = async {
        gateway.followed(3).await;
        gate.open();
    };
    let clients = join_all((0..4).map(|_| ask_at(gateway.addr)));
    let (replies, ()) = tokio::join!(clients, opens);
    for reply in &replies {
        let heard = hear(Dialect::OpenAiChat, true, reply);
        let good = matches!(heard, Heard::Answer(_));
        assert!(!matches!(heard, Heard::Nonsense(_)) && good == whole, "{what}: {heard:?}");
        assert_eq!(reply.body, replies[0].body, "{what}");
    }
    assert_eq!((statuses(&replies), stub.count()), ((1, 3), 1), "{what}");
    if !whole {
        exchange(gateway.addr, &ask()).await;
        assert_eq!(stub.count(), 2, "{what}: it was kept");
    }
}

/// A whole answer that breaks off, and one that is refused.
#[tokio::test]
async fn whole_answers_break_for_all() {
    let body = bodies::chat_answer("fine");
    for at in [0, 1, body.len() / 2, body.len() - 1] {
        let gate = Gate::new();
        let (of_stub, part) = (gate.clone(), Bytes::from(body.clone()).slice(..at));
        let stub = Stub::start(move |_| {
            let mut answer = Answer::json(200, part.clone()).framing(StubFraming::Chunked).after(&of_stub);
            answer.steps.push(Step::Cut);
            answer
        })
        .await;
        let gateway = start(&stub, "cache = { ttl = \"10m\" }\nretry = { attempts = 1, same_target = false }").await;
        let opens = async {
            gateway.followed(2).await;
            gate.open();
        };
        let request = Request::post(PATH, bodies::chat("m"));
        let (replies, ()) = tokio::join!(join_all((0..3).map(|_| exchange(gateway.addr, &request))), opens);
        for reply in &replies {
            let heard = hear(Dialect::OpenAiChat, false, reply);
            assert!(matches!(heard, Heard::Refused(502, _) | Heard::Broken(_)), "at {at}: {heard:?}");
        }
        assert_eq!(stub.count(), 1, "at {at}");
    }
}

/// A call that fails before its output is tried elsewhere for all of them together.
#[tokio::test]
async fn all_move_to_the_next_attempt_together() {
    for broken in [
        Answer::json(503, r#"{"error":{"message":"no"}}"#),
        Answer::sse([bodies::chat_role()]).step(Step::Cut),
        Answer::sse([bodies::chat_role(), "data: {\"error\":{\"message\":\"overloaded\"}}\n\n".to_owned()]),
    ] {
        let gate = Gate::new();
        let bad = Stub::always(broken.after(&gate)).await;
        let good = Stub::always(stream(5, |_| None)).await;
        let providers =
            [("bad", &bad), ("good", &good)].map(|(name, stub)| bodies::openai_provider(name, &stub.origin()));
        let model = "[models.m]\ntargets = [{ provider = \"bad\", model = \"u\" }, { provider = \"good\", model = \"u\", priority = 1 }]\n";
        let gateway = Gateway::start(&format!("{}{model}cache = {{ ttl = \"10m\" }}\n", providers.concat())).await;
        let opens = async {
            gateway.followed(5).await;
            gate.open();
        };
        let (replies, ()) = tokio::join!(join_all((0..6).map(|_| ask_at(gateway.addr))), opens);
        assert!(replies.iter().all(|reply| reply.complete && reply.body == replies[0].body));
        assert_whole(&replies[0]);
        assert_eq!((statuses(&replies), bad.count(), good.count()), ((1, 5), 1, 1));
    }
}

/// With `ttl = "0s"` nothing stays, and calls are shared all the same; with `share = false` each makes its own.
#[tokio::test]
async fn sharing_and_keeping_are_two_things() {
    for (settings, calls, later) in [("ttl = \"0s\"", 1, "miss"), ("ttl = \"10m\", share = false", 3, "hit")] {
        let gate = Gate::new();
        let of_stub = gate.clone();
        let stub = Stub::start(move |_| stream(3, |_| None).after(&of_stub)).await;
        let gateway = start(&stub, &format!("cache = {{ {settings} }}")).await;
        let opens = async {
            // All are there: those that make calls are at the stub, the others follow.
            for _ in 0..calls {
                stub.next().await;
            }
            gateway.followed(3 - calls as u64).await;
            gate.open();
        };
        let (replies, ()) = tokio::join!(join_all((0..3).map(|_| ask_at(gateway.addr))), opens);
        replies.iter().for_each(assert_whole);
        assert_eq!((statuses(&replies), stub.count()), ((calls, 3 - calls), calls), "{settings}");
        assert_eq!(exchange(gateway.addr, &ask()).await.header("x-gateway-cache"), later, "{settings}");
    }
}

/// A client that resets its stream of HTTP/2 is one that leaves.
#[tokio::test]
async fn a_stream_that_is_reset_is_left() {
    let stub = Stub::start(|_| stream(3, |word| (word == 2).then_some(Step::Stall))).await;
    let gateway = start(&stub, "cache = { ttl = \"10m\" }").await;
    let request = ask().framing(Framing::H2(16 << 10));
    let mut connection = H2::connect(gateway.addr).await;
    let mut first = connection.start(&request).await.unwrap();
    let mut second = connection.start(&request).await.unwrap();
    for response in [&mut first, &mut second] {
        guard("output", response.body_mut().data()).await.unwrap().unwrap();
    }
    drop((first, second));
    stub.departed().await;
    assert_eq!(stub.count(), 1);
}
