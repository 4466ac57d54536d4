//! What is kept, who gets it, and in which form.

use std::time::{Duration, Instant};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Framing, H1, Request, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::{Answer, Gateway, Mock, Step, Stub, StubFraming, bodies, guard};
use serde_json::{Value, json};

use crate::{KEEPS, cache, chat, counting, model, start};

#[tokio::test]
async fn a_hit_is_the_answer_as_it_was() {
    let stub = counting().await;
    let gateway = start(&stub, &model(KEEPS)).await;
    let mut client = H1::connect(gateway.addr).await;
    for request in [chat(&json!({})), chat(&json!({"stream": true, "seed": 1}))] {
        let before = stub.count();
        let first = client.exchange(&request).await;
        assert_eq!((first.status, cache(&first), first.header("age")), (200, "miss", ""));
        let other = request.clone().framing(Framing::H2(16 << 10));
        for hit in [client.exchange(&request).await, exchange(gateway.addr, &other).await] {
            assert_eq!((hit.status, cache(&hit), hit.complete), (200, "hit", true));
            assert_eq!(hit.body, first.body);
            assert_eq!(hit.header("age").parse::<u64>().unwrap(), 0);
            for name in ["content-type", "x-gateway-provider", "x-gateway-model", "openai-processing-ms"] {
                assert_eq!(hit.header(name), first.header(name), "{name}");
            }
            assert_eq!(hit.header("x-gateway-cost"), "0");
            assert_ne!(hit.header("x-request-id"), first.header("x-request-id"));
            assert_eq!(hit.header("x-gateway-attempts"), "");
        }
        assert_eq!(stub.count() - before, 1);
        client.exchange(&request).await;
    }
    let log = gateway.log_line(|line| (line["cache"] == "hit").then(|| line.clone())).await;
    assert_eq!((&log["status"], &log["finish"]), (&json!(200), &json!("complete")), "{log}");
}

/// The answer may depend on it. A header that stays behind divides nothing.
#[tokio::test]
async fn a_header_that_goes_on_to_the_provider_is_part_of_the_question() {
    let stub = counting().await;
    let gateway = start(&stub, &format!("forward = [\"x-mode\"]\n{}", model(KEEPS))).await;
    let addr = gateway.addr;
    let ask = async |name, value| exchange(addr, &chat(&json!({})).header(name, value)).await;
    assert_eq!(cache(&ask("x-mode", "a").await), "miss");
    let received = stub.next().await;
    assert_eq!(received.header("x-mode"), "a");
    for (name, value, wanted) in
        [("x-mode", "a", "hit"), ("x-mode", "b", "miss"), ("x-other", "a", "miss"), ("x-other", "b", "hit")]
    {
        assert_eq!(cache(&ask(name, value).await), wanted, "{name} {value}");
    }
    assert_eq!((stub.next().await.header("x-mode"), stub.next().await.header("x-other")), ("b", ""));
}

/// A large one is written in parts.
#[tokio::test]
async fn a_large_hit_is_whole() {
    let text = "x".repeat(3 << 20);
    let stub = Stub::start(move |_| Answer::json(200, bodies::chat_answer(&text))).await;
    let gateway = start(&stub, &model(KEEPS)).await;
    let first = exchange(gateway.addr, &chat(&json!({}))).await;
    for request in [chat(&json!({})), chat(&json!({})).framing(Framing::H2(16 << 10))] {
        let hit = exchange(gateway.addr, &request).await;
        assert_eq!((cache(&hit), hit.complete, hit.body.len()), ("hit", true, first.body.len()));
        assert!(hit.body == first.body);
    }
    assert_eq!(stub.count(), 1);
}

/// Without `cache` of the model nothing of it is there.
#[tokio::test]
async fn nothing_is_kept_unless_it_is_to_be() {
    let stub = counting().await;
    let gateway = start(&stub, &model("")).await;
    for _ in 0..2 {
        assert_eq!(cache(&exchange(gateway.addr, &chat(&json!({}))).await), "");
    }
    assert_eq!(stub.count(), 2);
}

/// Every dialect: a stream from a whole answer that is kept, and a whole answer from a stream.
#[tokio::test]
async fn a_kept_answer_serves_both_forms() {
    let mock = Mock::start().await;
    let mut config = String::new();
    for dialect in Dialect::ALL {
        config += &mock.provider(dialect.as_str(), dialect);
        config += &format!(
            "[models.\"m-{dialect}\"]\ntargets = [{{ provider = \"{dialect}\", model = \"lorem-12\" }}]\n{KEEPS}\n"
        );
    }
    let gateway = Gateway::start(&config).await;
    for dialect in Dialect::ALL {
        let asked = |text: &str, stream| {
            let mut request = ask(dialect, &format!("m-{dialect}"), text, stream);
            if dialect == Dialect::OpenAiResponses {
                // What the provider stores is of one call.
                let mut body: Value = serde_json::from_slice(&request.body).unwrap();
                body["store"] = json!(false);
                request.body = body.to_string().into();
            }
            request
        };
        for (text, first) in [("one", true), ("two", false)] {
            let before = mock.requests_of("lorem-12").await;
            let (made, other) =
                (exchange(gateway.addr, &asked(text, first)).await, exchange(gateway.addr, &asked(text, !first)).await);
            let what = format!("{dialect}, first a stream: {first}: {} {}", made.text(), other.text());
            assert_eq!((cache(&made), cache(&other)), ("miss", "hit"), "{what}");
            assert_eq!(mock.requests_of("lorem-12").await - before, 1);
            let (Heard::Answer(made), Heard::Answer(heard)) =
                (hear(dialect, first, &made), hear(dialect, !first, &other))
            else {
                panic!("{what}");
            };
            assert_eq!((&made.text, made.tokens), (&heard.text, heard.tokens), "{what}");
            // From then on it is there in both.
            let again = exchange(gateway.addr, &asked(text, !first)).await;
            assert_eq!((cache(&again), &again.body), ("hit", &other.body));
        }
    }
}

/// Ids and times of a converted answer are those of the kept one.
#[tokio::test]
async fn a_converted_answer_is_the_same_answer() {
    let stub = counting().await;
    let gateway = start(&stub, &model(KEEPS)).await;
    exchange(gateway.addr, &chat(&json!({"stream": true, "stream_options": {"include_usage": true}}))).await;
    let whole = exchange(gateway.addr, &chat(&json!({}))).await;
    let (body, content_type) = (whole.json(), whole.header("content-type"));
    assert_eq!((cache(&whole), content_type), ("hit", "application/json"));
    assert_eq!(
        (&body["id"], &body["created"], &body["model"]),
        (&json!("chatcmpl-1"), &json!(1), &json!("upstream-model"))
    );
    assert_eq!(body["choices"][0]["message"]["content"], "answer 0");
    assert_eq!(stub.count(), 1);
}

/// A stream that hid its usage is none for who wants to know it; what was asked instead is for all.
#[tokio::test]
async fn a_converted_answer_has_its_usage() {
    let stub = counting().await;
    let gateway = start(&stub, &model(KEEPS)).await;
    let hides = chat(&json!({"stream": true}));
    let shows = chat(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let whole = chat(&json!({}));
    for (request, status, usage) in [
        (&hides, "miss", false),
        (&whole, "miss", true),
        (&shows, "hit", true),
        (&hides, "hit", false),
        (&whole, "hit", true),
    ] {
        let reply = exchange(gateway.addr, request).await;
        let text = reply.text();
        assert_eq!((cache(&reply), text.contains("\"total_tokens\":12")), (status, usage), "{text}");
    }
    assert_eq!(stub.count(), 2);
}

#[tokio::test]
async fn what_failed_is_not_kept() {
    let good = bodies::chat_answer("fine");
    let event = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n";
    let cut = good[..good.len() - 5].to_owned();
    let ended = |reason: &str| good.replace(r#""finish_reason":"stop""#, &format!(r#""finish_reason":"{reason}""#));
    let failed = bodies::chat_finish().replace(r#""finish_reason":"stop""#, r#""finish_reason":"error""#);
    assert!(ended("error") != good && failed != bodies::chat_finish());
    let answers = [
        (false, Answer::json(200, ended("content_filter"))),
        (false, Answer::json(200, ended("insufficient_system_resource"))),
        (true, Answer::sse([bodies::chat_delta("half"), failed, bodies::DONE.to_owned()])),
        (false, Answer::json(400, r#"{"error":{"message":"no"}}"#)),
        (false, Answer::json(500, r#"{"error":{"message":"no"}}"#)),
        (false, Answer::json(200, r#"{"error":{"message":"no"}}"#)),
        (false, Answer::json(200, cut)),
        (false, Answer::json(200, &b"not json"[..])),
        (true, Answer::sse([bodies::chat_delta("half"), event.to_owned()])),
        (true, Answer::sse([bodies::chat_delta("half")]).step(Step::Cut)),
        (true, Answer::sse([bodies::chat_delta("half")]).framing(StubFraming::Close)),
    ];
    for (number, (streams, answer)) in answers.into_iter().enumerate() {
        let stub = Stub::always(answer).await;
        let gateway = start(&stub, &model(&format!("{KEEPS}\nretry = {{ attempts = 1, same_target = false }}"))).await;
        for calls in 1..3 {
            let reply = exchange(gateway.addr, &chat(&json!({"stream": streams}))).await;
            assert_eq!((cache(&reply) == "hit", stub.count()), (false, calls), "answer {number}");
        }
    }
}

/// What a request says: `no-cache` makes a new answer, `no-store` leaves none.
#[tokio::test]
async fn a_request_may_want_a_new_answer() {
    let stub = counting().await;
    let gateway = start(&stub, &model(KEEPS)).await;
    let text = async |request: Request| {
        let reply = exchange(gateway.addr, &request).await;
        (cache(&reply).to_owned(), reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned())
    };
    let plain = || chat(&json!({}));
    let got = |status: &str, number: usize| (status.to_owned(), format!("answer {number}"));
    assert_eq!(text(plain().header("cache-control", "no-store")).await, got("miss", 0));
    assert_eq!(text(plain()).await, got("miss", 1));
    assert_eq!(text(plain()).await, got("hit", 1));
    assert_eq!(text(plain().header("cache-control", "no-cache")).await, got("miss", 2));
    assert_eq!(text(plain()).await, got("hit", 2));
    assert_eq!(text(plain().header("cache-control", "no-cache, no-store")).await, got("bypass", 3));
    assert_eq!(text(plain()).await, got("hit", 2));
    // The field is for the gateway, and does not reach the provider.
    assert_eq!(text(chat(&json!({"cache": {"no-cache": true}}))).await, got("miss", 4));
    assert!(stub.received().iter().all(|request| request.json().get("cache").is_none()));
    // Numbers and order do not matter, words do.
    assert_eq!(text(chat(&json!({"seed": 5.0, "top_p": 1}))).await, got("miss", 5));
    assert_eq!(text(chat(&json!({"top_p": 1.0, "seed": 5}))).await, got("hit", 5));
    assert_eq!(text(chat(&json!({"top_p": 1.0, "seed": 6}))).await, got("miss", 6));
}

/// A rule speaks in the client's place.
#[tokio::test]
async fn a_rule_may_say_what_is_kept() {
    let stub = counting().await;
    let rule = "[[routes]]\nwhen = { header = { x-once = \"1\" } }\nbody = { set = { cache = { no-store = true } } }\n";
    let gateway = start(&stub, &format!("{}{rule}", model(KEEPS))).await;
    for request in [chat(&json!({})), chat(&json!({"cache": {"ttl": 60}}))] {
        assert_eq!(cache(&exchange(gateway.addr, &request.header("x-once", "1")).await), "miss");
    }
    assert_eq!(cache(&exchange(gateway.addr, &chat(&json!({}))).await), "miss");
    assert!(stub.received().iter().all(|request| request.json().get("cache").is_none()));
}

/// A client that says so on all of its calls says so to models without a cache, too, whose providers may refuse what they do not know.
#[tokio::test]
async fn what_is_said_of_keeping_reaches_no_provider() {
    let stub = counting().await;
    let gateway = start(&stub, &model("")).await;
    for name in ["m", "stub/u"] {
        let reply = exchange(gateway.addr, &chat(&json!({"model": name, "cache": {"no-cache": true}}))).await;
        assert_eq!((reply.status, cache(&reply)), (200, ""), "{name}");
    }
    assert!(stub.received().iter().all(|request| request.json().get("cache").is_none()));
    exchange(gateway.addr, &chat(&json!({"cache": {"type": "their own"}}))).await;
    assert_eq!(stub.received().pop().unwrap().json()["cache"]["type"], "their own");
}

/// Events of a kept stream come one after the other where the model says so.
#[tokio::test]
async fn a_replay_may_take_its_time() {
    let stub = counting().await;
    let gateway = start(&stub, &model("cache = { ttl = \"10m\", pace = \"20ms\" }")).await;
    let request = chat(&json!({"stream": true}));
    let first = exchange(gateway.addr, &request).await;
    let begun = Instant::now();
    let mut client = H1::connect(gateway.addr).await;
    client.send(&request).await;
    let mut body = client.respond().await;
    let mut pieces = Vec::new();
    while let ai_gateway_tests::client::wire::Piece::Data(piece) = body.piece().await {
        pieces.push(piece);
    }
    assert_eq!(pieces.concat(), first.body);
    let events = first.text().matches("\n\n").count();
    assert!(
        pieces.len() >= events - 1 && begun.elapsed() >= Duration::from_millis(20) * (events as u32 - 1),
        "{pieces:?}"
    );
}

/// Old answers are none, and a hit says how old it is.
#[tokio::test]
async fn an_answer_has_its_time() {
    let stub = counting().await;
    let gateway = start(&stub, &model("cache = { ttl = \"1500ms\" }")).await;
    let ask = async || exchange(gateway.addr, &chat(&json!({}))).await;
    let begun = Instant::now();
    assert_eq!(cache(&ask().await), "miss");
    // As long as it is young it is given; then a new one takes its place.
    guard("a new answer", async {
        loop {
            let reply = ask().await;
            if cache(&reply) != "hit" {
                assert_eq!(cache(&reply), "miss");
                break;
            }
            let age: u64 = reply.header("age").parse().unwrap();
            assert!(age <= begun.elapsed().as_secs(), "{age}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(stub.count(), 2);
    // Where it is kept for longer, its age grows.
    let gateway = start(&stub, &model("cache = { ttl = \"1h\" }")).await;
    let begun = Instant::now();
    let ask = async || exchange(gateway.addr, &chat(&json!({}))).await;
    assert_eq!(cache(&ask().await), "miss");
    let mut last = 0;
    guard("an age", async {
        while last == 0 {
            let reply = ask().await;
            assert_eq!(cache(&reply), "hit");
            last = reply.header("age").parse().unwrap();
            assert!(last <= begun.elapsed().as_secs(), "{last}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(stub.count(), 3);
}

/// A shorter time counts for what is kept already, down to none at all.
#[tokio::test]
async fn a_reload_may_shorten_the_time() {
    let stub = counting().await;
    let config = |ttl: &str| {
        let provider = bodies::openai_provider("stub", &stub.origin());
        format!("{provider}{}", model(&format!("cache = {{ ttl = \"{ttl}\" }}")))
    };
    let gateway = Gateway::start(&config("10m")).await;
    let ask = async || cache(&exchange(gateway.addr, &chat(&json!({}))).await).to_owned();
    assert_eq!((ask().await, ask().await), ("miss".to_owned(), "hit".to_owned()));
    for (ttl, status) in [("0s", "miss"), ("10m", "hit"), ("1h", "hit")] {
        gateway.write("", &config(ttl));
        let outcome = gateway.command(&["reload"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(ask().await, status, "{ttl}");
    }
    assert_eq!(stub.count(), 2);
}

/// A plugin that sends other headers makes other answers.
#[tokio::test]
async fn a_reload_may_change_what_plugins_send() {
    let stub = counting().await;
    let config = |level: &str| {
        let provider = bodies::openai_provider("stub", &stub.origin());
        let plugin = format!("[[plugins]]\nuse = \"headers\"\nupstream = {{ set = {{ x-level = \"{level}\" }} }}\n");
        format!("{provider}{}{plugin}", model(KEEPS))
    };
    let gateway = Gateway::start(&config("strict")).await;
    for (level, status) in [("strict", "miss"), ("strict", "hit"), ("off", "miss"), ("strict", "hit")] {
        gateway.write("", &config(level));
        let outcome = gateway.command(&["reload"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(cache(&exchange(gateway.addr, &chat(&json!({}))).await), status, "{level}");
    }
}

/// Many distinct answers: memory is bounded, and the last ones are there.
#[tokio::test]
async fn the_oldest_answers_make_room() {
    let text = "x".repeat(3000);
    let stub = Stub::start(move |_| Answer::json(200, bodies::chat_answer(&text))).await;
    let gateway = start(&stub, &format!("{}[cache]\nmax_size = \"256KiB\"\n", model(KEEPS))).await;
    let mut client = H1::connect(gateway.addr).await;
    let mut ask = async |number: u32| cache(&client.exchange(&chat(&json!({"seed": number}))).await).to_owned();
    for number in 0..200 {
        assert_eq!(ask(number).await, "miss");
        if number % 20 == 0 {
            let held = gateway.counted("gateway_cache_held_bytes", "").await;
            assert!(held <= (256 << 10) * 11 / 10, "{held}");
        }
    }
    assert_eq!((ask(199).await, ask(0).await), ("hit".to_owned(), "miss".to_owned()));
    assert!(gateway.counted("gateway_cache_evictions_total", "").await > 100);
}
