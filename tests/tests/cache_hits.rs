//! What is kept, who gets it, in which form, and what that costs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Framing, H1, Reply, Request, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::{Answer, Dice, Gate, Gateway, Mock, Step, Stub, StubFraming, bodies, guard, run_to_end, usage};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

const PATH: &str = "/v1/chat/completions";
const KEEPS: &str = "cache = { ttl = \"10m\" }";

async fn start(stub: &Stub, more: &str) -> Gateway {
    let provider = bodies::openai_provider("stub", &stub.origin());
    Gateway::start(&format!("{provider}health = {{ failures = 0, rate = 0 }}\n{more}")).await
}

fn model(more: &str) -> String {
    format!("[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n{more}\n")
}

/// An upstream whose every answer is another one.
async fn counting() -> Stub {
    let calls = AtomicUsize::new(0);
    Stub::start(move |request| {
        let text = format!("answer {}", calls.fetch_add(1, Ordering::Relaxed));
        if request.json()["stream"] == true {
            let words = [bodies::chat_role(), bodies::chat_delta(&text), bodies::chat_finish()];
            return Answer::sse(words.into_iter().chain([bodies::chat_usage(), bodies::DONE.to_owned()]));
        }
        Answer::json(200, bodies::chat_answer(&text)).header("openai-processing-ms", "7")
    })
    .await
}

fn chat(more: &Value) -> Request {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Request::post(PATH, body.to_string())
}

fn cache(reply: &Reply) -> &str {
    reply.header("x-gateway-cache")
}

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

const LIMITS: &str = "limits = { requests = \"4/min\", tokens = \"1000/min\" }";

/// Hits are requests, and take no tokens.
#[tokio::test]
async fn limits_count_hits_as_requests_only() {
    let stub = counting().await;
    let key = format!("[[keys]]\nname = \"k\"\nhash = \"{}\"\n{LIMITS}\n", bodies::key_hash("sk-k"));
    let gateway = start(&stub, &format!("{}{key}", model(KEEPS))).await;
    let request = chat(&json!({"max_tokens": 900})).header("authorization", "Bearer sk-k");
    let mut left = Vec::new();
    for status in ["miss", "hit", "hit", "hit"] {
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!((reply.status, cache(&reply)), (200, status));
        left.push(reply.header("x-ratelimit-remaining-tokens").to_owned());
        // What an answer did not take is given back behind its last byte.
        gateway.at_rest().await;
    }
    assert!(left[1..].iter().all(|tokens| *tokens == left[1]), "{left:?}");
    assert_eq!(exchange(gateway.addr, &request).await.status, 429);
}

/// One record for the call, others for those who followed it and for hits; and its cost is divided exactly, if that is to be.
#[tokio::test]
async fn a_call_is_paid_once() {
    // A plugin that judges the answer whole is of no matter to who pays for it.
    let judges = "[[plugins]]\nuse = \"secrets\"\naction = \"redact\"\non = [\"answer\"]\n";
    for (pays, plugins) in [("first", ""), ("split", ""), ("split", judges)] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.db");
        let gate = Gate::new();
        let of_stub = gate.clone();
        let stub = Stub::start(move |_| {
            let mut answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("fine")]);
            answer.steps.push(Step::Wait(of_stub.clone()));
            for end in [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.to_owned()] {
                answer.steps.push(Step::Send(end.into()));
            }
            answer
        })
        .await;
        let keys: String = (0..3)
            .map(|key| {
                format!(
                    "[[keys]]\nname = \"k{key}\"\nhash = \"{}\"\ncache = \"shared\"\n",
                    bodies::key_hash(&format!("sk-{key}"))
                )
            })
            .collect();
        let rest = format!(
            "{}{keys}{plugins}[prices.models]\n\"stub/u\" = {{ input = \"1\", output = \"2\" }}\n[ledger]\npath = \"{}\"\n",
            model(&format!("cache = {{ ttl = \"10m\", pays = \"{pays}\" }}")),
            ledger.display()
        );
        let mut gateway = start(&stub, &rest).await;
        let ask = |key: usize| chat(&json!({"stream": true})).header("authorization", &format!("Bearer sk-{key}"));
        let opens = async {
            gateway.followed(2).await;
            gate.open();
        };
        let requests: Vec<Request> = (0..3).map(ask).collect();
        let (replies, ()) =
            tokio::join!(join_all(requests.iter().map(|request| exchange(gateway.addr, request))), opens);
        assert!(replies.iter().all(|reply| reply.body == replies[0].body));
        assert_eq!(cache(&exchange(gateway.addr, &ask(0)).await), "hit");
        gateway.at_rest().await;
        // Two followers and a hit, of twelve tokens each.
        assert_eq!(gateway.counted("gateway_cache_saved_tokens_total", "").await, 36);
        gateway.terminate();
        gateway.ended().await;

        let rows = usage(&ledger, &["--by", "kind,key"]);
        let count = |kind: &str| {
            rows.iter().filter(|row| row["kind"] == kind).map(|row| row["records"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!((count("request"), count("shared"), count("cache_hit")), (1, 2, 1), "{rows:?}");
        // Seven tokens in and five out, at one and two dollars for a million.
        let cost = |kind: &str| -> Vec<u64> {
            let of_kind = rows.iter().filter(|row| row["kind"] == kind);
            of_kind.map(|row| pico(&row["cost_usd"])).collect()
        };
        let (mut all, whole) = ([cost("request"), cost("shared"), cost("cache_hit")].concat(), 17_000_000);
        assert_eq!(all.iter().sum::<u64>(), whole, "{rows:?}");
        all.sort_unstable();
        let expected = if pays == "first" { [0, 0, 0, whole] } else { [0, 5_666_666, 5_666_667, 5_666_667] };
        assert_eq!(all, expected, "{rows:?}");
    }
}

/// What a provider told of a call that was divided stays the whole of it, whatever prices there are meanwhile for others.
#[tokio::test]
async fn a_divided_cost_that_the_provider_told_outlives_a_rating() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::new();
    let of_stub = gate.clone();
    let stub = Stub::start(move |_| {
        let mut answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("fine")]);
        answer.steps.push(Step::Wait(of_stub.clone()));
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "cost": 0.25});
        let last = format!("data: {}\n\n", json!({"choices": [], "usage": usage}));
        answer
            .steps
            .extend([bodies::chat_finish(), last, bodies::DONE.to_owned()].map(|event| Step::Send(event.into())));
        answer
    })
    .await;
    let config = format!(
        "[providers.stub]\nkind = \"openrouter\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n{}[ledger]\npath = \"{}\"\n",
        stub.origin(),
        model("cache = { ttl = \"10m\", pays = \"split\" }"),
        dir.path().join("ledger.db").display()
    );
    let mut gateway = Gateway::start(&config).await;
    let request = chat(&json!({"stream": true}));
    let opens = async {
        gateway.followed(1).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(join_all((0..2).map(|_| exchange(gateway.addr, &request))), opens);
    assert!(replies.iter().all(|reply| reply.complete));
    gateway.at_rest().await;
    gateway.terminate();
    gateway.ended().await;
    let rerated =
        |price: &str| run_to_end(&["usage", "rerate", "--config", "{config}"], &format!("{config}{price}"), &[]);
    let told = rerated("");
    assert!(
        told.stdout.contains(" 0 cost something else, 0 are without a price; 0.25 USD booked, 0.25 USD now"),
        "{told:?}"
    );
    let priced = rerated("[prices.models]\n\"stub/u\" = { input = \"1\", output = \"2\" }\n");
    assert!(priced.stdout.contains("0.25 USD booked, 0.000017 USD now"), "{priced:?}");
}

/// Who follows a call that is divided pays its part, also if it has not read the answer to its end.
#[tokio::test]
async fn who_leaves_behind_the_end_has_paid() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let of_stub = gate.clone();
    let delta = Bytes::from(bodies::chat_delta(&"x".repeat(64 << 10)));
    let stub = Stub::start(move |_| {
        let mut answer = Answer::sse([bodies::chat_role()]).step(Step::Wait(of_stub.clone()));
        answer.steps.extend((0..150).map(|_| Step::Send(delta.clone())));
        let end = [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.to_owned()];
        answer.steps.extend(end.map(|event| Step::Send(event.into())));
        answer
    })
    .await;
    let rest = format!(
        "{}[prices.models]\n\"stub/u\" = {{ input = \"1\", output = \"2\" }}\n[ledger]\npath = \"{}\"\n",
        model("cache = { ttl = \"10m\", pays = \"split\" }"),
        ledger.display()
    );
    let mut gateway = start(&stub, &rest).await;
    let request = chat(&json!({"stream": true}));
    let mut first = H1::connect(gateway.addr).await;
    first.send(&request).await;
    stub.next().await;
    // It takes little before it reads, which it never does.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut follower = H1::over(socket.connect(gateway.addr).await.unwrap());
    follower.send(&request).await;
    gateway.followed(1).await;
    gate.open();
    assert!(first.reply().await.unwrap().complete);
    drop(follower);
    gateway.at_rest().await;
    gateway.terminate();
    gateway.ended().await;
    let rows = usage(&ledger, &["--by", "kind"]);
    let cost = |kind: &str| {
        let row = rows.iter().find(|row| row["kind"] == kind);
        row.map_or(0, |row| pico(&row["cost_usd"]))
    };
    assert_eq!((cost("request"), cost("shared")), (8_500_000, 8_500_000), "{rows:?}");
}

/// Who waits for the call of another and leaves has followed it; who makes one, leaves and is followed had no answer, whether it has been
/// told to go on sending or not.
#[tokio::test]
async fn who_leaves_before_the_answer_is_booked_as_what_it_was() {
    for expects in [false, true] {
        leaves_before_the_answer(expects).await;
    }
}

async fn leaves_before_the_answer(expects: bool) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let rest = format!("{}[ledger]\npath = \"{}\"\n", model("cache = { ttl = \"10m\" }"), ledger.display());
    let mut gateway = start(&stub, &rest).await;
    let request = chat(&json!({}));
    let addr = gateway.addr;
    let mut first = H1::connect(addr).await;
    first.send(&if expects { request.clone().header("expect", "100-continue") } else { request.clone() }).await;
    stub.next().await;
    let mut waits = H1::connect(addr).await;
    waits.send(&request).await;
    gateway.followed(1).await;
    drop(waits);
    gateway.followed(0).await;
    let stays = tokio::spawn(async move { exchange(addr, &chat(&json!({}))).await });
    gateway.followed(1).await;
    drop(first);
    // Whoever asks now is behind it.
    exchange(addr, &Request::get("/v1/models")).await;
    gate.open();
    assert_eq!(cache(&stays.await.unwrap()), "shared");
    gateway.at_rest().await;
    gateway.terminate();
    gateway.ended().await;
    let ledger = rusqlite::Connection::open(ledger).unwrap();
    let mut query = ledger.prepare("SELECT kind, status FROM usage ORDER BY kind, status").unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u16>(1)?))).unwrap();
    let rows: Vec<_> = rows.map(Result::unwrap).collect();
    let expected = [("request", 499), ("shared", 200), ("shared", 499)];
    assert_eq!(rows, expected.map(|(kind, status)| (kind.to_owned(), status)));
}

/// Dollars as the report writes them, in pico-dollars.
fn pico(dollars: &Value) -> u64 {
    let text = dollars.as_str().map_or_else(|| dollars.to_string(), str::to_owned);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{fraction:0<12}").parse().unwrap_or_else(|error| panic!("{error}: {dollars}"))
}

/// Whoever asks what, in whatever order: an answer is never that to another question, of another model or for another scope.
#[tokio::test]
async fn a_hit_implies_permission_and_equality() {
    // The upstream says what it was asked, and by its number which call it was.
    let calls = AtomicUsize::new(0);
    let stub = Stub::start(move |request| {
        let body = request.json();
        let asked = format!("{}|{}|{}|{}", request.target, body["model"], body["messages"], body["seed"]);
        let text = format!("{asked}#{}", calls.fetch_add(1, Ordering::Relaxed));
        Answer::json(200, bodies::chat_answer(&text))
    })
    .await;
    let keys = [("a", "private"), ("b", "private"), ("c", "shared"), ("d", "shared"), ("e", "off")];
    let mut config = String::new();
    for (name, scope) in keys {
        let hash = bodies::key_hash(&format!("sk-{name}"));
        config += &format!("[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\ncache = \"{scope}\"\n");
    }
    for (name, upstream) in [("m", "u"), ("n", "u"), ("o", "v")] {
        config += &format!("[models.{name}]\ntargets = [{{ provider = \"stub\", model = \"{upstream}\" }}]\n{KEEPS}\n");
    }
    let gateway = start(&stub, &config).await;
    let mut dice = Dice(7);
    let mut client = H1::connect(gateway.addr).await;
    let (mut seen, mut hits) = (std::collections::HashMap::<String, String>::new(), 0);
    for _ in 0..600 {
        let (key, scope) = keys[dice.roll(keys.len())];
        let (model, text, seed) = (["m", "n", "o"][dice.roll(3)], ["one", "two"][dice.roll(2)], dice.roll(2));
        let dialect = [Dialect::OpenAiChat, Dialect::Anthropic][dice.roll(2)];
        let mut request = ask(dialect, model, text, false).header("authorization", &format!("Bearer sk-{key}"));
        if dialect == Dialect::OpenAiChat {
            let mut body: Value = serde_json::from_slice(&request.body).unwrap();
            body["seed"] = json!(seed);
            request.body = body.to_string().into();
        }
        let reply = client.exchange(&request).await;
        let Heard::Answer(answer) = hear(dialect, false, &reply) else { panic!("{}", reply.text()) };
        let upstream = if model == "o" { "v" } else { "u" };
        assert!(answer.text.contains(text) && answer.text.contains(&format!("\"{upstream}\"")), "{}", answer.text);
        if dialect == Dialect::OpenAiChat {
            assert!(answer.text.contains(&format!("|{seed}#")), "{}", answer.text);
        }
        // Who may share what with whom.
        let owner = if scope == "shared" { "all that share" } else { key };
        let asked =
            format!("{owner} {dialect} {model} {text} {}", if dialect == Dialect::OpenAiChat { seed } else { 0 });
        match cache(&reply) {
            "hit" => {
                hits += 1;
                assert_eq!(seen.get(&asked), Some(&answer.text), "{asked}");
            }
            "miss" => assert!(seen.insert(asked.clone(), answer.text).is_none(), "{asked} was there"),
            "bypass" => assert_eq!(scope, "off"),
            other => panic!("{other}"),
        }
    }
    assert!(hits > 300, "{hits}");
}
