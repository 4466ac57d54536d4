//! Hedging: a second target is asked when the first is slow to begin; the first that produces is kept, the other is left
//! at once, and the client cannot tell that it was anything but an ordinary answer.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Connection, Framing, H1, Request, exchange};
use ai_gateway_tests::speak::{ask, text_of};
use ai_gateway_tests::talk::read_stream;
use ai_gateway_tests::{Answer, Authority, Gate, Gateway, Step, Stub, bodies};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// `model = "m"`: `one` first, then `two`, and a second call for every stream that takes longer than `after`.
fn two_targets(one: &str, two: &str, hedge: &str, settings: &str) -> String {
    format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"one\", model = \"1\" }}, \
         {{ provider = \"two\", model = \"2\", priority = 1 }}]\nhedge = {{ {hedge} }}\n{settings}",
        bodies::openai_provider("one", one),
        bodies::openai_provider("two", two),
    )
}

const AT_ONCE: &str = "after = \"20ms\", max_extra = \"100%\"";

fn stream_of(text: &str) -> Vec<String> {
    bodies::chat_events(text).into()
}

/// What a client sees of [`stream_of`]: all but the usage that it did not ask for.
fn seen_of(text: &str) -> String {
    [bodies::chat_role(), bodies::chat_delta(text), bodies::chat_finish(), bodies::DONE.into()].concat()
}

fn request() -> Request {
    Request::post("/v1/chat/completions", bodies::chat_stream("m"))
}

/// Goes on with these events, and stays at the gate with the first output said.
fn produce(answer: Answer, text: &str, rest: &Gate) -> Answer {
    let mut answer = stream_of(text).into_iter().fold(answer, |answer, event| answer.step(Step::Send(event.into())));
    let output = answer.steps.len() - 3;
    answer.steps.insert(output, Step::Wait(rest.clone()));
    answer
}

/// Whether `/api/targets` tells of one failure of the first target.
fn the_first_has_failed(status: &Value) -> bool {
    let mut targets = status["targets"].as_array().into_iter().flatten();
    targets.any(|target| target["provider"] == "one" && target["consecutive_failures"] == 1)
}

/// Targets that take a request and say nothing of it until the gate opens, before or after the preamble.
fn slow_answers(gate: &Gate, rest: &Gate) -> Vec<(&'static str, Answer)> {
    let rest = |answer: Answer| produce(answer, "slow", rest);
    let empty = || Answer::sse(Vec::<String>::new());
    vec![
        ("no header", rest(empty()).after(gate)),
        ("header only", rest(empty().step(Step::Wait(gate.clone())))),
        ("preamble", rest(Answer::sse([bodies::chat_role()]).step(Step::Wait(gate.clone())))),
    ]
}

/// At once: within 50 ms of the moment at which the other produces, as a rule, for a busy machine may take longer once.
#[tokio::test]
async fn the_second_call_wins_and_the_first_is_left_at_once() {
    let authority = Authority::new();
    let mut delays = Vec::new();
    for (index, (what, slow)) in slow_answers(&Gate::new(), &Gate::new()).into_iter().enumerate() {
        for alpn in ["http/1.1", "h2"] {
            let slow = slow.clone();
            let one = Stub::tls(&authority, &[alpn], move |_| slow.clone()).await;
            let (produced, rest) = (Gate::new(), Gate::new());
            let fast = Answer::sse(Vec::<String>::new()).step(Step::Wait(produced.clone()));
            let fast = produce(fast, "fast", &rest);
            let two = Stub::tls(&authority, &[alpn], move |_| fast.clone()).await;
            let config = two_targets(&one.origin(), &two.origin(), AT_ONCE, "")
                .replace("api_key", &format!("ca = \"{}\"\nhttp2 = {}\napi_key", authority.file(), alpn == "h2"));
            let mut gateway = Gateway::start(&config).await;
            let framing = [Framing::Length, Framing::H2(100)][index % 2];
            let mut client = Connection::for_framing(gateway.addr, framing).await;
            let asked = request().framing(framing);
            let (reply, left) = tokio::join!(client.exchange(&asked), async {
                one.next().await;
                two.next().await;
                produced.open();
                let began = Instant::now();
                // While the winner has more to say.
                let left = one.departed().await.saturating_duration_since(began);
                rest.open();
                left
            });
            assert!(left < Duration::from_secs(5), "{what} {alpn}: {left:?}");
            delays.push(left);
            assert_eq!((reply.status, reply.text()), (200, seen_of("fast")), "{what} {alpn}");
            assert_eq!(reply.header("x-gateway-provider"), "two", "{what} {alpn}");
            assert_eq!(reply.header("x-gateway-attempts"), "2", "{what} {alpn}");
            assert_eq!((one.count(), two.count()), (1, 1), "{what} {alpn}");
            assert_eq!(two.received()[0].json()["model"], "2", "{what} {alpn}");
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!((&log["finish"], &log["provider"]), (&"complete".into(), &"two".into()), "{what} {alpn}: {log}");
            assert_eq!(log["attempts"][0]["outcome"], "hedged", "{what} {alpn}: {log}");
            assert_eq!(log["attempts"][1]["outcome"], "ok", "{what} {alpn}: {log}");
            assert_eq!(log["tokens"]["output"], 5, "{what} {alpn}: {log}");
            gateway.assert_healthy().await;
        }
    }
    delays.sort_unstable();
    assert!(delays[delays.len() / 2] < Duration::from_millis(50), "{delays:?}");
}

#[tokio::test]
async fn the_first_call_wins_and_the_second_is_left_at_once() {
    for index in 0..3 {
        let (gate, rest) = (Gate::new(), Gate::new());
        let (what, slow) = slow_answers(&gate, &rest).swap_remove(index);
        let one = Stub::always(slow).await;
        let two = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Stall)).await;
        let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, "")).await;
        let asked = request();
        let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
            two.next().await;
            gate.open();
            two.departed().await;
            rest.open();
        });
        let text = reply.text();
        assert!(reply.status == 200 && text.ends_with(&seen_of("slow")), "{what}: {text}");
        assert_eq!(reply.header("x-gateway-provider"), "one", "{what}");
        assert_eq!(reply.header("x-gateway-attempts"), "2", "{what}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["provider"], "one", "{what}: {log}");
        let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
        assert_eq!(outcomes, ["hedged", "ok"], "{what}: {log}");
    }
}

/// Nor does one win whose answer a filter keeps back, if another is to be asked then.
#[tokio::test]
async fn a_call_whose_answer_is_kept_back_leaves_the_race_to_the_other() {
    let blocked = bodies::chat_finish().replace("\"stop\"", "\"content_filter\"");
    let blocked = Answer::sse([bodies::chat_role(), blocked, bodies::DONE.into()]);
    for (on, by, outcomes) in [("content_filter", "other", ["blocked", "ok"]), ("5xx", "blocked", ["hedged", "ok"])] {
        for blocked_is_first in [true, false] {
            let (ended, produced) = (Gate::new(), Gate::new());
            let good = Answer::sse([bodies::chat_role()]).step(Step::Wait(produced.clone()));
            let good =
                stream_of("good").into_iter().skip(1).fold(good, |good, event| good.step(Step::Send(event.into())));
            let answers = [blocked.clone().after(&ended), good];
            let [blocked, other] = [Stub::always(answers[0].clone()).await, Stub::always(answers[1].clone()).await];
            let (one, two) = if blocked_is_first { (&blocked, &other) } else { (&other, &blocked) };
            let settings = format!("retry = {{ on = [\"{on}\"] }}\n");
            let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, &settings)).await;
            let asked = request();
            let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
                one.next().await;
                two.next().await;
                ended.open();
                if by == "other" {
                    gateway.reads_on().await;
                    produced.open();
                }
            });
            let what = format!("{on}, blocked is first: {blocked_is_first}");
            assert_eq!(reply.status, 200, "{what}");
            assert_eq!(reply.text().contains("good"), by == "other", "{what}: {}", reply.text());
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!([&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]], outcomes, "{what}: {log}");
        }
    }
}

/// The hedge is the next attempt, and no other target is asked meanwhile.
#[tokio::test]
async fn a_first_call_that_fails_leaves_the_race_to_the_second() {
    let overloaded = r#"{"error":{"message":"overloaded","type":"server_error"}}"#;
    for (what, failure) in [
        ("status", Answer::json(503, overloaded)),
        ("cut", Answer::sse([bodies::chat_role()]).step(Step::Cut)),
        ("error event", Answer::sse([format!("data: {overloaded}\n\n")])),
        ("no answer", Answer::raw("")),
    ] {
        let (failed, produced) = (Gate::new(), Gate::new());
        let one = Stub::always(failure.after(&failed)).await;
        let two = Stub::always(Answer::sse(stream_of("fast")).after(&produced)).await;
        let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, "")).await;
        let asked = request();
        let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
            two.next().await;
            failed.open();
            gateway.admin_when("/api/targets", "the first has failed", the_first_has_failed).await;
            // Time for a third call, if there were one.
            tokio::time::sleep(Duration::from_millis(50)).await;
            produced.open();
        });
        assert_eq!((reply.status, reply.text()), (200, seen_of("fast")), "{what}");
        assert_eq!((one.count(), two.count()), (1, 1), "{what}");
        assert_eq!(reply.header("x-gateway-attempts"), "2", "{what}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_ne!(log["attempts"][0]["outcome"], "hedged", "{what}: {log}");
        assert_eq!(log["attempts"].as_array().map(Vec::len), Some(2), "{what}: {log}");
        assert_eq!((&log["provider"], &log["finish"]), (&"two".into(), &"complete".into()), "{what}: {log}");
    }
}

#[tokio::test]
async fn a_second_call_that_fails_leaves_the_race_to_the_first() {
    let gate = Gate::new();
    let one = Stub::always(Answer::sse(stream_of("slow")).after(&gate)).await;
    let two = Stub::always(Answer::json(429, r#"{"error":{"message":"slow down"}}"#).header("retry-after", "60")).await;
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, "")).await;
    let asked = request();
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        two.next().await;
        // Nobody else is told of it while the first one runs.
        gateway.reads_on().await;
        gate.open();
    });
    assert_eq!((reply.status, reply.text()), (200, seen_of("slow")));
    assert_eq!((one.count(), two.count()), (1, 1));
    let log = gateway.log_of(reply.header("x-request-id")).await;
    let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
    assert_eq!(outcomes, ["status_429", "ok"], "{log}");
    // It is left alone for as long as it asked.
    let rests = |target: &Value| target["provider"] == "two" && target["retry_in_ms"].as_u64() > Some(30_000);
    let targets = exchange(gateway.admin, &Request::get("/api/targets")).await.json();
    assert!(targets["targets"].as_array().unwrap().iter().any(rests), "{targets}");
}

/// Each is judged like an attempt of its own; the client is told the last error, or gets the third target's answer.
#[tokio::test]
async fn when_both_fail_the_plan_goes_on() {
    let overloaded = r#"{"error":{"message":"overloaded","type":"server_error"}}"#;
    let third = Stub::always(Answer::sse(stream_of("third"))).await;
    for with_third in [false, true] {
        let gate = Gate::new();
        let one = Stub::always(Answer::json(503, overloaded).after(&gate)).await;
        let two = Stub::always(Answer::json(429, overloaded)).await;
        let mut config = two_targets(&one.origin(), &two.origin(), AT_ONCE, "");
        if with_third {
            let more = "priority = 1 }, { provider = \"three\", model = \"3\", priority = 2 }";
            let three = bodies::openai_provider("three", &third.origin());
            config = format!("{three}{}", config.replace("priority = 1 }", more));
        }
        let gateway = Gateway::start(&config).await;
        let asked = request();
        let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
            two.next().await;
            gateway.reads_on().await;
            gate.open();
        });
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((one.count(), two.count()), (1, 1));
        let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
        assert_eq!(outcomes, ["status_5xx", "status_429"], "{log}");
        match with_third {
            false => assert_eq!((reply.status, &log["fault"]), (429, &"upstream".into()), "{log}"),
            true => assert_eq!((reply.status, reply.text()), (200, seen_of("third")), "{log}"),
        }
    }
}

/// What is the caller's own fault ends the race.
#[tokio::test]
async fn a_refusal_of_the_first_is_final() {
    let gate = Gate::new();
    let refusal = r#"{"error":{"message":"bad temperature","type":"invalid_request_error"}}"#;
    let one = Stub::always(Answer::json(400, refusal).after(&gate)).await;
    let two = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Stall)).await;
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, "")).await;
    let asked = request();
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        two.next().await;
        gate.open();
    });
    assert_eq!((reply.status, reply.text()), (400, refusal.to_owned()));
    two.departed().await;
    let log = gateway.log_of(reply.header("x-request-id")).await;
    let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
    assert_eq!(outcomes, ["hedged", "status_4xx"], "{log}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let stall = || Answer::sse([bodies::chat_role()]).step(Step::Stall);
    let (one, two) = (Stub::always(stall()).await, Stub::always(stall()).await);
    let mut gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, "")).await;
    let mut client = H1::connect(gateway.addr).await;
    client.send(&request()).await;
    one.next().await;
    two.next().await;
    drop(client);
    one.departed().await;
    two.departed().await;
    let log = gateway.log_line(|line| (line["finish"] == "client_left").then(|| line.clone())).await;
    assert_eq!(log["status"], 499, "{log}");
    let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
    assert_eq!(outcomes, ["client_left", "client_left"], "{log}");
    gateway.assert_healthy().await;
}

/// A clock that ends the first leaves the second its own time.
#[tokio::test]
async fn a_timeout_of_the_first_leaves_the_race_to_the_second() {
    let gate = Gate::new();
    let one = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Stall)).await;
    let two = Stub::always(Answer::sse(stream_of("fast")).after(&gate)).await;
    let hedge = "after = \"200ms\", max_extra = \"100%\"";
    let config = two_targets(&one.origin(), &two.origin(), hedge, "")
        .replace("model = \"1\"", "model = \"1\", timeouts = { first_token = \"300ms\" }");
    let gateway = Gateway::start(&config).await;
    let asked = request();
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        one.departed().await;
        gate.open();
    });
    assert_eq!((reply.status, reply.text()), (200, seen_of("fast")));
    let log = gateway.log_of(reply.header("x-request-id")).await;
    let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
    assert_eq!(outcomes, ["first_token_timeout", "ok"], "{log}");
    assert_eq!((one.count(), two.count()), (1, 1));
}

/// A target that hangs before there is a connection is raced, too.
#[tokio::test]
async fn a_connection_that_never_stands_loses() {
    // Takes connections, and never shakes hands.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = format!("https://{}", silent.local_addr().unwrap());
    let two = Stub::always(Answer::sse(stream_of("fast"))).await;
    let patient = "timeouts = { connect = \"1m\", first_token = \"1m\" }";
    let gateway = Gateway::start(&two_targets(&one, &two.origin(), AT_ONCE, patient)).await;
    let reply = exchange(gateway.addr, &request()).await;
    assert_eq!((reply.status, reply.text()), (200, seen_of("fast")));
    assert_eq!(reply.header("x-gateway-attempts"), "2");
}

/// After its first output the winner is an answer like any other: a cut is told in the stream, and never looks like an end.
#[tokio::test]
async fn a_winner_that_breaks_off_is_told_in_the_stream() {
    let one = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Stall)).await;
    for (what, answer) in [
        ("cut", Answer::sse([bodies::chat_delta("x")]).step(Step::Cut)),
        ("clean end", Answer::sse([bodies::chat_delta("x")])),
        ("silence", Answer::sse([bodies::chat_delta("x")]).step(Step::Stall)),
    ] {
        let two = Stub::always(answer).await;
        let idle = if what == "silence" { "timeouts = { idle = \"300ms\" }, " } else { "" };
        let config = two_targets(&one.origin(), &two.origin(), AT_ONCE, "")
            .replace("model = \"2\", ", &format!("model = \"2\", {idle}"));
        let gateway = Gateway::start(&config).await;
        let reply = exchange(gateway.addr, &request()).await;
        let text = reply.text();
        let rest = text.strip_prefix(&bodies::chat_delta("x")).unwrap_or_else(|| panic!("{what}: {text}"));
        assert!(rest.contains("\"error\"") && !rest.contains("[DONE]"), "{what}: {text}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((&log["finish"], &log["fault"]), (&"cut".into(), &"upstream".into()), "{what}: {log}");
        assert_eq!(two.count(), 1, "{what}");
    }
}

/// Pooled connections that the other side closed are no failures, and large bodies pass.
#[tokio::test]
async fn stale_connections_and_large_bodies() {
    let one = Stub::always(Answer::sse(stream_of("fine"))).await;
    let two = Stub::always(Answer::sse(stream_of("two"))).await;
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), "after = \"10s\"", "")).await;
    let mut client = H1::connect(gateway.addr).await;
    let text = "x".repeat(1 << 20);
    let large = format!(r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    for round in 0..4 {
        let reply = client.exchange(&Request::post("/v1/chat/completions", large.clone())).await;
        assert_eq!((reply.status, reply.text()), (200, seen_of("fine")), "{round}");
        assert_eq!(reply.header("x-gateway-attempts"), "1");
        if round == 1 {
            one.close_connections();
        }
    }
    let connections: Vec<usize> = one.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1], "connections are kept");
    assert!(one.received().iter().all(|request| request.complete && request.body.len() > text.len()));
}

/// `hedge = {}`: a second call comes when 95 of 100 answers of the target itself would have begun, and none before that is known.
#[tokio::test]
async fn a_second_call_waits_as_long_as_the_first_target_usually_takes() {
    let (gate, calls) = (Gate::new(), AtomicUsize::new(0));
    let held = gate.clone();
    let one = Stub::start(move |_| {
        let whole = |first| {
            let answer = Answer::sse(Vec::<String>::new()).step(first);
            stream_of("usual").into_iter().fold(answer, |answer, event| answer.step(Step::Send(event.into())))
        };
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 => whole(Step::Wait(held.clone())),
            1..=25 => whole(Step::Pause(Duration::from_millis(30))),
            _ => whole(Step::Stall),
        }
    })
    .await;
    let two = Stub::always(Answer::sse(stream_of("second"))).await;
    // While the early one is there, nothing else is hedged.
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), "max_in_flight = 1", "")).await;
    // Asked while nothing is known.
    let mut early = H1::connect(gateway.addr).await;
    early.send(&request()).await;
    one.next().await;
    let mut soonest = f64::MAX;
    for _ in 0..25 {
        let reply = exchange(gateway.addr, &request()).await;
        assert_eq!((reply.text(), reply.header("x-gateway-attempts")), (seen_of("usual"), "1"));
        let log = gateway.log_of(reply.header("x-request-id")).await;
        soonest = soonest.min(log["attempts"][0]["first_ms"].as_f64().unwrap());
    }
    gate.open();
    let early = early.reply().await.unwrap();
    assert_eq!((early.text(), early.header("x-gateway-attempts")), (seen_of("usual"), "1"));
    gateway.at_rest().await;
    let reply = exchange(gateway.addr, &request()).await;
    assert_eq!((reply.text(), reply.header("x-gateway-attempts")), (seen_of("second"), "2"));
    let log = gateway.log_of(reply.header("x-request-id")).await;
    let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
    assert_eq!(outcomes, ["hedged", "ok"], "{log}");
    // The histogram is exact within 6 %.
    assert!(log["attempts"][0]["ms"].as_f64().unwrap() > soonest * 0.94, "{soonest} {log}");
    assert_eq!((one.count(), two.count()), (27, 1));
}

#[tokio::test]
async fn the_share_of_second_calls_is_capped() {
    let slow = Answer::sse(Vec::<String>::new()).step(Step::Pause(Duration::from_millis(60)));
    let slow = stream_of("slow").into_iter().fold(slow, |answer, event| answer.step(Step::Send(event.into())));
    let one = Stub::always(slow).await;
    let two = Stub::always(Answer::sse(stream_of("fast"))).await;
    let hedge = "after = \"20ms\", max_extra = \"10%\"";
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), hedge, "retry = { attempts = 2 }")).await;
    let mut hedged = 0;
    for round in 1..50 {
        let reply = exchange(gateway.addr, &request()).await;
        assert_eq!(reply.status, 200);
        let log = gateway.log_of(reply.header("x-request-id")).await;
        hedged += usize::from(log["attempts"][0]["outcome"] == "hedged");
        assert!(hedged <= round / 10, "{hedged} of {round}");
    }
    assert_eq!(hedged, 4);
}

#[tokio::test]
async fn under_load_there_is_no_second_call() {
    let gate = Gate::new();
    let one = Stub::always(Answer::sse(stream_of("slow")).after(&gate)).await;
    let two = Stub::always(Answer::sse(stream_of("fast")).after(&gate)).await;
    let hedge = "after = \"20ms\", max_extra = \"100%\", max_in_flight = 1";
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), hedge, "")).await;
    let (first, second) = (request(), request());
    let (a, b, ()) = tokio::join!(exchange(gateway.addr, &first), exchange(gateway.addr, &second), async {
        one.next().await;
        one.next().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
    });
    // The one that came before the other had counted may have been hedged; together they are too many.
    assert!(a.text() == seen_of("slow") || b.text() == seen_of("slow"), "{} {}", a.text(), b.text());
    assert!(two.count() <= 1);
}

/// What is not streamed begins when it is ready: its length says nothing about the target's health.
#[tokio::test]
async fn whole_answers_have_no_second_call() {
    let slow = Answer::json(200, bodies::chat_answer("slow")).step(Step::Pause(Duration::from_millis(1)));
    let gate = Gate::new();
    let one = Stub::always(slow.after(&gate)).await;
    let two = Stub::always(Answer::json(200, bodies::chat_answer("fast"))).await;
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, "")).await;
    let asked = Request::post("/v1/chat/completions", bodies::chat("m"));
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        one.next().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
    });
    assert_eq!((reply.status, reply.text()), (200, bodies::chat_answer("slow")));
    assert_eq!(two.count(), 0);
}

/// The winner speaks any dialect, and so does the client.
#[tokio::test]
async fn every_dialect_wins_for_every_client() {
    let stalled = Stub::always(Answer::sse(Vec::<String>::new()).step(Step::Stall)).await;
    let mut config = bodies::openai_provider("one", &stalled.origin());
    for dialect in Dialect::ALL {
        config += &format!(
            "[providers.{dialect}]\nkind = \"mock\"\ndialects = [\"{dialect}\"]\n[models.over-{dialect}]\n\
             targets = [{{ provider = \"one\", model = \"1\" }}, \
             {{ provider = \"{dialect}\", model = \"lorem-20\", priority = 1 }}]\nhedge = {{ {AT_ONCE} }}\n"
        );
    }
    let gateway = Gateway::start(&config).await;
    for client in Dialect::ALL {
        for provider in Dialect::ALL {
            let reply = exchange(gateway.addr, &ask(client, &format!("over-{provider}"), "Say something.", true)).await;
            let what = format!("{client} over {provider}: {}", reply.text());
            assert_eq!((reply.status, reply.complete), (200, true), "{what}");
            assert_eq!(reply.header("x-gateway-provider"), provider.as_str(), "{what}");
            assert_eq!(words_of(client, &reply.body), 20, "{what}");
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!((&log["finish"], &log["provider"]), (&"complete".into(), &provider.as_str().into()), "{what}");
            assert_eq!(log["attempts"][0]["outcome"], "hedged", "{what}: {log}");
            assert!(log["tokens"]["output"].as_u64() > Some(0), "{what}: {log}");
        }
    }
}

/// Words of the answer, which has to be whole.
fn words_of(dialect: Dialect, body: &[u8]) -> usize {
    let answer = read_stream(dialect, body).unwrap_or_else(|error| panic!("{dialect}: {error}"));
    text_of(&answer).split_whitespace().count()
}

/// Two in a hundred answers stall for five seconds; the slowest of a hundred clients waits less than half as long again
/// as the usual one, for less than five second calls in a hundred.
///
/// What holds in general: a hedged answer begins `after` plus the second target's own time. So the second target has to
/// be quicker here. Between equal targets the slowest wait `after` and once more the usual time, twice the usual at best.
#[tokio::test]
#[ignore = "measures: docs/benchmarks.md has the figures"]
async fn stalls_are_hidden_for_few_extra_calls() {
    const REQUESTS: usize = 500;
    const AT_A_TIME: usize = 25;
    let usual = Duration::from_millis(400);
    let answer = |text: &str, pause| {
        let empty = Answer::sse([bodies::chat_role()]).step(Step::Pause(pause));
        stream_of(text).into_iter().skip(1).fold(empty, |answer, event| answer.step(Step::Send(event.into())))
    };
    let turn = std::sync::atomic::AtomicUsize::new(1);
    let one = Stub::start(move |_| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        answer("one", if turn.is_multiple_of(50) { Duration::from_secs(5) } else { usual })
    })
    .await;
    let two = Stub::always(answer("two", Duration::from_millis(5))).await;
    let hedge = "after = \"480ms\", max_extra = \"4.9%\"";
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), hedge, "")).await;
    let addr = gateway.addr;
    let clients = (0..AT_A_TIME as u32).map(|n| async move {
        // Evenly, and not all in the same moment.
        tokio::time::sleep(usual * n / AT_A_TIME as u32).await;
        let mut client = H1::connect(addr).await;
        let mut waited = Vec::new();
        for _ in 0..REQUESTS / AT_A_TIME {
            let begun = Instant::now();
            client.send(&request()).await;
            let mut response = client.respond().await;
            response.until("\"content\":\"").await;
            waited.push(begun.elapsed());
            assert!(response.rest().await.1);
        }
        waited
    });
    let mut waited: Vec<Duration> = futures::future::join_all(clients).await.concat();
    waited.sort_unstable();
    let (p50, p99) = (waited[REQUESTS / 2], waited[REQUESTS * 99 / 100]);
    println!("p50 {p50:?}, p99 {p99:?}, slowest {:?}, {} second calls", waited[REQUESTS - 1], two.count());
    assert!(p99 < p50 * 3 / 2, "p50 {p50:?}, p99 {p99:?}");
    assert!(two.count() >= 10 && two.count() * 100 < REQUESTS * 5, "{} second calls", two.count());
}

/// What is usual for a target is learned from its answers; until then there is no second call.
#[tokio::test]
async fn a_target_is_given_its_own_usual_time() {
    let turn = std::sync::atomic::AtomicUsize::new(1);
    let one = Stub::start(move |_| match turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        31 => Answer::sse([bodies::chat_role()]).step(Step::Stall),
        _ => Answer::sse(stream_of("one")),
    })
    .await;
    let two = Stub::always(Answer::sse(stream_of("two"))).await;
    let hedge = "after = \"p95\", max_extra = \"100%\"";
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), hedge, "")).await;
    let mut client = H1::connect(gateway.addr).await;
    for _ in 0..20 {
        assert_eq!(client.exchange(&request()).await.text(), seen_of("one"));
    }
    assert_eq!(two.count(), 0, "nothing is known of the first target yet");
    let mut told = String::new();
    while one.count() < 31 {
        told = client.exchange(&request()).await.text();
    }
    assert_eq!(told, seen_of("two"), "the one that stalls");
}

/// What the second call has consumed counts also when the first one's answer ends while it runs.
#[tokio::test]
async fn a_refusal_that_is_passed_on_settles_the_second_call_too() {
    let gate = Gate::new();
    let refusal = r#"{"error":{"message":"no such parameter","type":"invalid_request_error"}}"#;
    let one = Stub::always(Answer::json(400, refusal).after(&gate)).await;
    let two = Stub::always(Answer::sse([bodies::chat_role()]).step(Step::Stall)).await;
    let hash = bodies::key_hash("sk");
    let key = format!("[[keys]]\nname = \"bot\"\nhash = \"{hash}\"\nlimits = {{ tokens = \"100000/day\" }}\n");
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), AT_ONCE, &key)).await;
    let asked = request().header("x-api-key", "sk");
    let (first, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        two.next().await;
        gate.open();
    });
    assert_eq!(first.status, 400, "{}", first.text());
    gateway.at_rest().await;
    let second = exchange(gateway.addr, &asked).await;
    let left = |reply: &ai_gateway_tests::client::Reply| -> u64 {
        reply.header("x-ratelimit-remaining-tokens").parse().unwrap()
    };
    assert!(left(&second) < left(&first), "the prompt that the second call was given: {}", left(&second));
}

/// The second call is still on its way to its credential when the first fails: its target is the next one all the same.
#[tokio::test]
async fn a_second_call_that_was_not_made_is_no_attempt() {
    let (failing, token) = (Gate::new(), Gate::new());
    let one = Stub::always(Answer::json(503, "{}").after(&failing)).await;
    let two = Stub::always(Answer::sse(stream_of("two"))).await;
    let issued = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;
    let entra = Stub::always(Answer::json(200, issued).after(&token)).await;
    let config = format!(
        "{}[providers.two]\nkind = \"azure\"\nbase_url = \"{}\"\ntenant_id = \"acme.example\"\n\
         client_id = \"app\"\nclient_secret = \"env:SECRET\"\n\
         [models.m]\ntargets = [{{ provider = \"one\", model = \"1\" }}, \
         {{ provider = \"two\", model = \"2\", priority = 1 }}]\nhedge = {{ {AT_ONCE} }}\n",
        bodies::openai_provider("one", &one.origin()),
        two.origin(),
    );
    let gateway = Gateway::builder()
        .config(&config)
        .env("SECRET", "s")
        .env("AZURE_AUTHORITY_HOST", &entra.origin())
        .start()
        .await;
    let asked = request();
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        entra.next().await;
        failing.open();
        gateway.admin_when("/api/targets", "the first has failed", the_first_has_failed).await;
        token.open();
    });
    assert_eq!((reply.status, reply.text()), (200, seen_of("two")));
}

/// A buffered answer that breaks off costs nothing: whoever lost the race is asked again.
#[tokio::test]
async fn who_lost_against_a_buffered_answer_that_breaks_off_is_asked_again() {
    let one = Stub::sequence(vec![Answer::status(200).after(&Gate::new()), Answer::sse(stream_of("one"))]).await;
    let gate = Gate::new();
    let broken = Answer::sse([bodies::chat_role(), bodies::chat_delta("two")]).step(Step::Cut);
    let two = Stub::always(broken.after(&gate)).await;
    let config = two_targets(&one.origin(), &two.origin(), AT_ONCE, "on_cut = \"buffer\"");
    let gateway = Gateway::start(&config).await;
    let asked = request();
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        one.next().await;
        two.next().await;
        gate.open();
    });
    assert_eq!((reply.status, reply.text()), (200, seen_of("one")));
    assert_eq!((one.count(), two.count()), (2, 1));
}
