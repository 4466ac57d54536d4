//! One upstream call, shared live by everyone who asks the same, whenever they join.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::wire::Piece;
use ai_gateway_tests::client::{Framing, H1, Reply, Request, exchange};
use ai_gateway_tests::speak::{Heard, hear};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies};
use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::Barrier;

use crate::PATH;

/// A gateway with one model `m` at `stub`, whose table has `more`.
pub async fn start(stub: &Stub, more: &str) -> Gateway {
    let provider = bodies::openai_provider("stub", &stub.origin());
    let health = "health = { failures = 0, rate = 0 }";
    let model = format!("[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n{more}\n");
    Gateway::start(&format!("{provider}{health}\n{model}")).await
}

pub fn ask() -> Request {
    Request::post(PATH, bodies::chat_stream("m"))
}

pub async fn ask_at(addr: SocketAddr) -> Reply {
    exchange(addr, &ask()).await
}

/// A stream of `words`, with `step` before each word's event.
pub fn stream(words: usize, step: impl Fn(usize) -> Option<Step>) -> Answer {
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

pub fn statuses<'a>(replies: impl IntoIterator<Item = &'a Reply>) -> (usize, usize) {
    let headers: Vec<&str> = replies.into_iter().map(|reply| reply.header("x-gateway-cache")).collect();
    let count = |wanted: &str| headers.iter().filter(|status| **status == wanted).count();
    (count("miss"), count("shared"))
}

pub fn assert_whole(reply: &Reply) {
    let heard = hear(Dialect::OpenAiChat, true, reply);
    assert!(matches!(heard, Heard::Answer(_)), "{heard:?}");
}

/// Sends the request, waits for `word`, and reads on once all have got so far.
pub async fn join_in(addr: SocketAddr, word: &str, all: &Barrier) -> Reply {
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
