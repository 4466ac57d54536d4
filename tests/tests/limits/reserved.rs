//! What is put by while requests run: no budget is passed by more than one of them.

use super::{ask, at_rest, chat, config, fine, gateway};
use ai_gateway_tests::client::{H1, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies, guard};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

/// Budgets put by what answers are usually like.
const USUAL: &str = "[limits]\nreserve = \"usual\"";

#[tokio::test]
async fn a_budget_is_passed_by_less_than_one_request() {
    let stub = fine().await;
    // 7 tokens in and 5 out cost 0.000057 dollars.
    let key = r#"limits = { tokens = "10000/min" }
        budget = [{ usd = 0.0001, per = "month", soft = 0.5 }, { usd = 1, per = "30d" }]"#;
    let mut gateway = gateway(&stub, key).await;
    let first = ask(&gateway).await;
    assert_eq!(first.status, 200);
    at_rest(&gateway).await;
    let ratio = gateway.measured("gateway_budget_used_ratio", "subject=\"key:bot\",per=\"month\"").await;
    assert_eq!(ratio, Some(0.57));
    let second = ask(&gateway).await;
    assert_eq!(second.status, 200);
    assert!(!second.header("x-gateway-budget-used").is_empty(), "{:?}", second.headers);
    at_rest(&gateway).await;
    let third = ask(&gateway).await;
    assert_eq!((third.status, &third.json()["error"]["code"]), (429, &"insufficient_quota".into()), "{}", third.text());
    assert_eq!(third.header("x-gateway-budget-used"), "1.140");
    assert_eq!(third.header("x-should-retry"), "false");
    let wait: u64 = third.header("retry-after").parse().unwrap();
    assert!(wait <= 31 * 86_400, "{wait}");
    assert_eq!(stub.count(), 2);
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    assert_eq!((&limits["store"], &limits["subjects"][0]["name"]), (&Value::Null, &"bot".into()));
    let month = &limits["subjects"][0]["limits"][1];
    assert_eq!((&month["per"], &month["used"], &month["reserved"]), (&"month".into(), &114_000_000.into(), &0.into()));
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let warned = gateway.output().1.iter().filter(|line| line.contains("soft mark")).count();
    assert_eq!(warned, 1);
}

#[tokio::test]
async fn what_failed_or_was_left_reserves_nothing() {
    let gate = Gate::new();
    let stream = Answer::sse([bodies::chat_role(), bodies::chat_delta("one"), bodies::chat_delta("two")]);
    let stub = Stub::sequence(vec![
        // A failure is repeated once.
        Answer::json(500, r#"{"error":{"message":"no"}}"#),
        Answer::json(500, r#"{"error":{"message":"no"}}"#),
        stream.clone().step(Step::Cut),
        stream.step(Step::Wait(gate)),
    ])
    .await;
    let key = r#"limits = { tokens = "100000/min", concurrent = 1 }
        budget = { usd = 1, per = "day" }"#;
    let gateway = gateway(&stub, key).await;
    assert!(ask(&gateway).await.status >= 500);
    at_rest(&gateway).await;
    let used = async || gateway.measured("gateway_budget_used_ratio", "subject=\"key:bot\",per=\"day\"").await;
    assert_eq!(used().await, Some(0.0), "an error costs nothing");
    let streamed = Request::post("/v1/chat/completions", bodies::chat_stream("assistant")).header("x-api-key", "sk");
    exchange(gateway.addr, &streamed).await;
    at_rest(&gateway).await;
    let cut = used().await.unwrap();
    assert!(cut > 0.0, "what was said before the cut was paid for");
    let mut client = H1::connect(gateway.addr).await;
    client.send(&streamed).await;
    client.respond().await.until("two").await;
    drop(client);
    at_rest(&gateway).await;
    assert!(used().await.unwrap() > cut);
}

/// Without `max_tokens`, what is usually reserved is the most that the model can say, then what its answers are like.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_bound_reserves_what_is_known_of_its_model() {
    let (first, last) = (Gate::new(), Gate::new());
    let answer = Answer::json(200, bodies::chat_answer("fine"));
    let mut answers = vec![answer.clone().after(&first)];
    answers.extend((0..20).map(|_| answer.clone()));
    answers.push(answer.after(&last));
    let stub = Stub::sequence(answers).await;
    let known =
        config(&stub, "budget = { usd = 1, per = \"day\" }", USUAL).replace("max_output = 1000", "max_output = 2000");
    let gateway = Gateway::start(&known).await;
    let reserved = ("gateway_reserved_cost", "subject=\"key:bot\"");
    let mut held = H1::connect(gateway.addr).await;
    held.send(&chat().header("x-api-key", "sk")).await;
    stub.next().await;
    let at_most = gateway.measured(reserved.0, reserved.1).await.unwrap();
    assert!((0.02..0.0201).contains(&at_most), "two thousand tokens and the prompt: {at_most}");
    first.open();
    assert_eq!(held.respond().await.status, 200);
    for _ in 0..20 {
        assert_eq!(ask(&gateway).await.status, 200);
        stub.next().await;
    }
    gateway.measured_when(reserved.0, reserved.1, |cost| cost == 0.0).await;
    let mut held = H1::connect(gateway.addr).await;
    held.send(&chat().header("x-api-key", "sk")).await;
    stub.next().await;
    let usual = gateway.measured(reserved.0, reserved.1).await.unwrap();
    assert!((0.00005..0.0002).contains(&usual), "the five tokens that all have had, and the prompt: {usual}");
    last.open();
    assert_eq!(held.respond().await.status, 200);
}

/// What a request would put by in its key's budget, in dollars.
async fn put_by(gateway: &Gateway, asks: &Value) -> f64 {
    let mut body: Value = serde_json::from_slice(&bodies::chat("assistant")).unwrap();
    body.as_object_mut().unwrap().extend(asks.as_object().unwrap().clone());
    let request = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", "sk");
    let said = exchange(gateway.addr, &request.header("x-gateway-explain", "1")).await.json();
    let limits = said["limits"].as_array().unwrap();
    let budget = limits.iter().find(|limit| limit["what"] == "budget").unwrap();
    budget["takes"].as_str().unwrap().parse().unwrap()
}

/// Health checks and classifiers ask for a token or five: that says nothing of other requests.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_bounded_are_no_measure_of_others() {
    let stub = fine().await;
    let known = config(&stub, "allow = [\"explain\"]\nbudget = { usd = 1, per = \"day\" }", USUAL)
        .replace("max_output = 1000", "max_output = 2000");
    let gateway = Gateway::start(&known).await;
    let mut bounded: Value = serde_json::from_slice(&bodies::chat("assistant")).unwrap();
    bounded["max_tokens"] = 5.into();
    let bounded = Request::post("/v1/chat/completions", bounded.to_string()).header("x-api-key", "sk");
    // On one connection a request comes when the one before it has been settled.
    let mut connection = H1::connect(gateway.addr).await;
    for _ in 0..30 {
        assert_eq!(connection.exchange(&bounded).await.status, 200);
    }
    let at_most = put_by(&gateway, &json!({})).await;
    assert!((0.02..0.0201).contains(&at_most), "two thousand tokens and the prompt: {at_most}");
    // Those of a key without limits are.
    let free = chat().header("x-api-key", "free");
    for _ in 0..21 {
        assert_eq!(connection.exchange(&free).await.status, 200);
    }
    let usual = put_by(&gateway, &json!({})).await;
    assert!((0.00005..0.0002).contains(&usual), "{usual}");
}

/// A client's `max_tokens` of a billion keeps nobody out of a budget.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_put_by_than_a_model_can_say() {
    let stub = fine().await;
    let known = config(
        &stub,
        "allow = [\"explain\"]\nlimits = { tokens = \"5000/day\" }\nbudget = { usd = 1, per = \"day\" }",
        "",
    )
    .replace("max_output = 1000", "max_output = 2000");
    let gateway = Gateway::start(&known).await;
    for (asked, right) in [
        (json!({"max_tokens": 1_000_000_000}), 0.02),
        (json!({"max_tokens": 2_000}), 0.02),
        (json!({"max_tokens": 1_000}), 0.01),
        (json!({"max_tokens": 1_000, "n": 3}), 0.03),
        (json!({"n": 3}), 0.06),
        (json!({"max_tokens": 1_000, "n": 1_000_000_000}), 1.28),
    ] {
        let put_by = put_by(&gateway, &asked).await;
        assert!((right..right + 0.0002).contains(&put_by), "{asked}: {put_by}");
    }
}

/// Several answers to one prompt, and several prompts, are as many answers, in whichever words they are asked for.
#[tokio::test]
async fn each_answer_that_is_asked_for_is_put_by() {
    let stub = fine().await;
    let key = "allow = [\"explain\"]\nlimits = { tokens = \"100000/day\" }\nbudget = { usd = 1, per = \"day\" }";
    let gateway = gateway(&stub, key).await;
    let contents = json!([{"role": "user", "parts": [{"text": "Hello"}]}]);
    let chat = json!([{"role": "user", "content": "Hello"}]);
    for (path, body, answers) in [
        ("/v1/chat/completions", json!({"model": "assistant", "messages": chat, "max_tokens": 100}), 1),
        ("/v1/chat/completions", json!({"model": "assistant", "messages": chat, "max_tokens": 100, "n": 4}), 4),
        (
            "/v1/completions",
            json!({"model": "assistant", "prompt": "Hello", "max_tokens": 100, "n": 2, "best_of": 5}),
            5,
        ),
        ("/v1/completions", json!({"model": "assistant", "prompt": ["a", "b", "c"], "max_tokens": 100, "n": 2}), 6),
        (
            "/v1beta/models/assistant:generateContent",
            json!({"contents": contents, "generationConfig": {"maxOutputTokens": 100, "candidateCount": 3}}),
            3,
        ),
    ] {
        let request = Request::post(path, body.to_string()).header("x-api-key", "sk");
        let said = exchange(gateway.addr, &request.header("x-gateway-explain", "1")).await.json();
        let takes = |what: &str| {
            let limits = said["limits"].as_array().unwrap_or_else(|| panic!("{said:#}"));
            limits.iter().find(|limit| limit["what"] == what).unwrap()["takes"].clone()
        };
        let tokens = takes("tokens").as_u64().unwrap();
        assert!((100 * answers..100 * answers + 50).contains(&tokens), "{body}: {tokens}");
        let cost: f64 = takes("budget").as_str().unwrap().parse().unwrap();
        let right = 0.001 * f64::from(u32::try_from(answers).unwrap());
        assert!((right..right + 0.0002).contains(&cost), "{body}: {cost}");
    }
}

/// Of a model whose longest answer nobody knows, as much is put by as the largest ones say.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_unknown_length_does_not_pass_a_budget_either() {
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let key = "allow = [\"explain\"]\nbudget = { usd = 2, per = \"day\" }";
    let gateway = Gateway::start(&config(&stub, key, "").replace("traits = { max_output = 1000 },", "")).await;
    let put_by = put_by(&gateway, &json!({})).await;
    assert!((1.28..1.2801).contains(&put_by), "128,000 tokens and the prompt: {put_by}");
    let addr = gateway.addr;
    let held: Vec<_> =
        (0..2).map(|_| tokio::spawn(async move { exchange(addr, &chat().header("x-api-key", "sk")).await })).collect();
    stub.next().await;
    stub.next().await;
    let refused = ask(&gateway).await;
    let (error, wait) = (refused.json()["error"].clone(), refused.header("retry-after").to_owned());
    assert_eq!((refused.status, &error["code"], &*wait), (429, &"rate_limit_exceeded".into(), "1"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("requests under way"), "nothing is used up: {error}");
    gate.open();
    for held in held {
        assert_eq!(held.await.unwrap().status, 200);
    }
    gateway.at_rest().await;
    assert_eq!(ask(&gateway).await.status, 200);
}

/// Twenty short answers make longer ones unexpected. Then come many at once, of any length up to the model's most.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_passed_by_one_request_at_most_however_long_answers_are() {
    // A tenth of a dollar, in pico-dollars, and the dearest answer: two thousand tokens, and seven of the prompt.
    const LIMIT: u64 = 100_000_000_000;
    const ONE: u64 = 20_007_000_000;
    for strict in [true, false] {
        let (gate, made) = (Gate::new(), std::sync::atomic::AtomicU64::new(0));
        let held = gate.clone();
        let stub = Stub::start(move |_| {
            let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number < 20 {
                return Answer::json(200, bodies::chat_answer("fine"));
            }
            let mut answer: Value = serde_json::from_str(&bodies::chat_answer("fine")).unwrap();
            answer["usage"]["completion_tokens"] = (1 + number * 1_237 % 2_000).into();
            Answer::json(200, answer.to_string()).after(&held)
        })
        .await;
        let reserve = if strict { "" } else { USUAL };
        let config = config(&stub, "budget = { usd = 0.1, per = \"total\" }", reserve)
            .replace("max_output = 1000", "max_output = 2000");
        let gateway = Gateway::start(&config).await;
        for _ in 0..20 {
            assert_eq!(ask(&gateway).await.status, 200);
        }
        gateway.at_rest().await;
        let spoken_for = async || {
            let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
            let budget = &limits["subjects"][0]["limits"][0];
            budget["used"].as_u64().unwrap() + budget["reserved"].as_u64().unwrap()
        };
        let addr = gateway.addr;
        let asked =
            (0..100).map(|_| tokio::spawn(async move { exchange(addr, &chat().header("x-api-key", "sk")).await }));
        let mut asked: FuturesUnordered<_> = asked.collect();
        if !strict {
            // Nobody hinders them: all are under way together.
            for _ in 0..120 {
                stub.next().await;
            }
        }
        gate.open();
        let (mut passed, mut most) = (0, 0);
        while let Some(reply) = asked.next().await {
            passed += usize::from(reply.unwrap().status == 200);
            most = most.max(spoken_for().await);
        }
        gateway.at_rest().await;
        most = most.max(spoken_for().await);
        eprintln!("strict: {strict}; {passed} of 100 pass, {most} of {LIMIT} were used and reserved at most");
        if strict {
            assert!(passed > 4 && most < LIMIT + ONE, "{passed} {most}");
        } else {
            assert!(passed == 100 && most > LIMIT + ONE, "this test can tell: {passed} {most}");
        }
    }
}

/// A picture takes some tokens whatever its bytes are: three fit where as much text would be far too much, and a recording
/// reserves what it may cost by its length.
#[tokio::test(flavor = "multi_thread")]
async fn media_reserve_what_they_take_and_no_text() {
    let gate = Gate::new();
    let held = gate.clone();
    let first = std::sync::atomic::AtomicBool::new(true);
    let stub = Stub::start(move |_| {
        let answer = Answer::json(200, bodies::chat_answer("fine"));
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) { answer } else { answer.after(&held) }
    })
    .await;
    let key = "limits = { tokens = \"200000/min\" }\nbudget = { usd = 20, per = \"day\" }\nallow = [\"explain\"]";
    let config = config(&stub, key, USUAL)
        .replace("model = \"m\", ", "model = \"m\", tpm = 100000, ")
        .replace("input = \"1\", ", "input = \"1\", audio_input = \"6\", ");
    let gateway = Gateway::start(&config).await;
    assert_eq!(ask(&gateway).await.status, 200);
    stub.next().await;
    at_rest(&gateway).await;

    let url = format!("data:image/png;base64,{}", "A".repeat(1_200_000));
    let content = json!([{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": url}}]);
    let body = json!({"model": "assistant", "max_tokens": 10, "messages": [{"role": "user", "content": content}]});
    let picture = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", "sk");
    let said = exchange(gateway.addr, &picture.clone().header("x-gateway-explain", "1")).await.json();
    assert_eq!(said["refused"], Value::Null, "{said:#}");
    let takes = |what: &str| {
        let limits = said["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["what"] == what).unwrap()["takes"].clone()
    };
    let tokens = takes("tokens").as_f64().unwrap();
    assert!((1_610.0..1_700.0).contains(&tokens), "{said:#}");
    assert_eq!(said["expected"]["prompt_tokens"].as_f64().unwrap() + 10.0, tokens, "{said:#}");

    let mut asked = Vec::new();
    for _ in 0..3 {
        let (addr, picture) = (gateway.addr, picture.clone());
        asked.push(tokio::spawn(async move { exchange(addr, &picture).await }));
        stub.next().await;
    }
    let reserved = gateway.measured("gateway_reserved_tokens", "subject=\"key:bot\"").await;
    assert_eq!(reserved, Some(3.0 * tokens), "as explained");
    let cost = gateway.measured("gateway_reserved_cost", "subject=\"key:bot\"").await.unwrap();
    let one: f64 = takes("budget").as_str().unwrap().parse().unwrap();
    assert!((cost - 3.0 * one).abs() < 1e-9, "{cost} is three times {one}");

    let file = "x".repeat(2_000_000);
    let part = |name: &str, more: &str, content: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n{content}\r\n")
    };
    let form = format!("{}{}--b--\r\n", part("model", "", "assistant"), part("file", "; filename=\"a.mp3\"", &file));
    let mut upload = Request::post("/v1/audio/transcriptions", form);
    upload.headers =
        vec![("content-type".into(), "multipart/form-data; boundary=b".into()), ("x-api-key".into(), "sk".into())];
    let addr = gateway.addr;
    asked.push(tokio::spawn(async move { exchange(addr, &upload).await }));
    stub.next().await;
    let upload = gateway.measured("gateway_reserved_cost", "subject=\"key:bot\"").await.unwrap() - cost;
    assert!((0.03..0.0301).contains(&upload), "five thousand tokens of sound: {upload}");
    gate.open();
    for asked in asked {
        let reply = asked.await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// What a request asks for decides its rates, and with them how many of it a budget has room for.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_passed_by_one_request_at_most_at_whatever_rates_they_are_billed() {
    const LIMIT: f64 = 1.0;
    let dir = tempfile::tempdir().unwrap();
    let prices = json!({"px": {
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 100_000, "max_output_tokens": 1_000,
        "input_cost_per_token": 1e-6, "input_cost_per_token_priority": 2e-6, "cache_creation_input_token_cost": 4e-3,
        "output_cost_per_token": 1e-4, "output_cost_per_token_priority": 2e-4, "output_cost_per_audio_token": 8e-4,
    }});
    let file = dir.path().join("prices.json");
    std::fs::write(&file, prices.to_string()).unwrap();
    let usage = |more: &str| format!("\"prompt_tokens\":50,\"completion_tokens\":1000,\"total_tokens\":1050{more}");
    let sound = usage(",\"completion_tokens_details\":{\"audio_tokens\":1000}");
    let eight = usage("").replace("1000,", "8000,").replace("1050", "8050");
    let cached = usage(",\"prompt_tokens_details\":{\"cache_write_tokens\":50}");
    let mark = json!([{"role": "user", "content": [
        {"type": "text", "text": "a text that is worth its cache", "cache_control": {"type": "ephemeral"}}]}]);
    let spoken = json!(["text", "audio"]);
    // What one costs, and how many pass before a dollar is put by.
    let cases = [
        ("usual", "service_tier", "priority".into(), usage(""), "priority", 0.2001, 5),
        ("most", "service_tier", "priority".into(), usage(""), "priority", 0.2001, 5),
        ("usual", "modalities", spoken.clone(), sound.clone(), "default", 0.80005, 2),
        ("most", "modalities", spoken, sound, "default", 0.80005, 2),
        ("most", "messages", mark, cached, "default", 0.3, 2),
        ("usual", "n", 8.into(), eight.clone(), "default", 0.80005, 2),
        ("most", "n", 8.into(), eight, "default", 0.80005, 2),
    ];
    for (reserve, field, value, usage, tier, one, passes) in cases {
        let gate = Gate::new();
        let (held, answer) = (gate.clone(), bodies::chat_answer("fine"));
        let stub = Stub::start(move |_| {
            let mut answer: Value = serde_json::from_str(&answer).unwrap();
            answer["usage"] = serde_json::from_str(&format!("{{{usage}}}")).unwrap();
            answer["service_tier"] = tier.into();
            Answer::json(200, answer.to_string()).after(&held)
        })
        .await;
        let more = format!("[limits]\nreserve = \"{reserve}\"\n[prices]\nfile = {file:?}");
        let config = config(&stub, "budget = { usd = 1, per = \"total\" }", &more)
            .replace("{ input = \"1\", output = \"10\" }", "{ like = \"openai/px\" }");
        let gateway = Gateway::start(&config).await;
        let mut body: Value = serde_json::from_slice(&bodies::chat("assistant")).unwrap();
        body["max_tokens"] = 1_000.into();
        body[field] = value;
        let request = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", "sk");
        let (addr, told) = (gateway.addr, format!("{reserve} {field}"));
        let mut asked: FuturesUnordered<_> = (0..25)
            .map(|_| {
                let request = request.clone();
                tokio::spawn(async move { exchange(addr, &request).await })
            })
            .collect();
        guard("refusals", async {
            for _ in passes..25 {
                let refused = asked.next().await.unwrap().unwrap();
                assert_eq!(refused.status, 429, "{told}: {}", refused.text());
            }
        })
        .await;
        gate.open();
        let costs: Vec<f64> =
            asked.map(|reply| reply.unwrap().header("x-gateway-cost").parse::<f64>().unwrap()).collect().await;
        assert!(costs.iter().all(|cost| (cost - one).abs() < 1e-9), "{told}: {costs:?} are not {one} each");
        let spent: f64 = costs.iter().sum();
        assert!(costs.len() == passes && spent < LIMIT + one, "{told}: {spent} of {LIMIT} by {}", costs.len());
        gateway.at_rest().await;
    }
}
