//! Shared calls that break.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Framing, H1, H2, Request, exchange};
use ai_gateway_tests::speak::{Heard, hear};
use ai_gateway_tests::{Answer, Gate, Step, Stub, StubFraming, bodies, guard};
use bytes::Bytes;
use futures::future::join_all;
use futures::{FutureExt, StreamExt};

use crate::PATH;
use crate::live::{ask, ask_at, assert_whole, start, statuses, stream};

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
