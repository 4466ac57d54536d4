//! By whose prices, and what is billed by the piece.

use super::*;

/// Anthropic answers by another model what the one that was asked for declines (`fallbacks`): whatever became of the answer, limits,
/// records and what is made of these later go by the prices of the model that gave it.
#[tokio::test]
async fn what_another_model_answered_in_place_of_the_one_asked_for_has_its_prices() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let (fable, opus) = ("claude-fable-5-2", "claude-opus-4-8");
    // What had been said before it was declined is billed, too, by a price that is not this one.
    let whole = json!({"id": "m", "type": "message", "role": "assistant", "model": opus,
        "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1000, "output_tokens": 200, "iterations": [
            {"type": "message", "model": fable, "input_tokens": 900, "output_tokens": 30},
            {"type": "fallback_message", "model": opus, "input_tokens": 1000, "output_tokens": 200}]}});
    let start = |model: &str, input: u64| {
        let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [], "model": model,
            "stop_reason": null, "usage": {"input_tokens": input}});
        bodies::anthropic_event("message_start", &json!({"type": "message_start", "message": message}))
    };
    let block = |index: u64, block: Value| {
        let data = json!({"type": "content_block_start", "index": index, "content_block": block});
        bodies::anthropic_event("content_block_start", &data)
    };
    let cut = Answer::sse([
        start(fable, 1000),
        block(0, json!({"type": "fallback", "from": {"model": fable}, "to": {"model": opus}})),
        bodies::anthropic_event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})),
        block(1, json!({"type": "text", "text": "Hello"})),
    ])
    .framing(StubFraming::Chunked)
    .step(Step::Cut);
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let fails = Answer::sse([start(opus, 11), bodies::anthropic_event("error", &overloaded)]);
    let claude = Stub::sequence(vec![Answer::json(200, whole.to_string()), cut, fails]).await;
    let copies = Stub::always(Answer::json(200, whole.to_string())).await;
    let fine = Stub::always(Answer::sse(bodies::chat_events("fine"))).await;
    let config = [
        bodies::anthropic_provider("claude", &claude.origin()),
        bodies::anthropic_provider("copies", &copies.origin()),
        bodies::openai_provider("fine", &fine.origin()),
        format!("[models.fable]\ntargets = [{{ provider = \"claude\", model = \"{fable}\" }}]\n"),
        format!(
            "[models.opus]\ntargets = [{{ provider = \"claude\", model = \"{opus}\", price = {{ input = \"4\", output = \"20\" }} }}]\n"
        ),
        format!(
            "[models.both]\ntargets = [{{ provider = \"claude\", model = \"{fable}\" }}, {{ provider = \"fine\", model = \"f\", priority = 1 }}]\n"
        ),
        format!(
            "[[routes]]\nwhen = {{ model = \"fable\", header = {{ x-copy = \"yes\" }} }}\n\
             mirror = {{ target = {{ provider = \"copies\", model = \"{fable}\" }}, percent = 100 }}\n"
        ),
        format!(
            "[prices.models]\n\"copies/{opus}\" = {{ input = \"2\", output = \"10\" }}\n\"fine/f\" = {{ input = \"1\", output = \"2\" }}\n"
        ),
        "[limits]\nbudget = { usd = 1, per = \"month\" }\n".to_owned(),
        ledger_at(&ledger),
    ]
    .concat();
    let gateway = Gateway::start(&config).await;
    for (model, stream, copy) in [("fable", false, "yes"), ("fable", true, "no"), ("both", true, "no")] {
        let body = json!({"model": model, "max_tokens": 64, "stream": stream, "fallbacks": "default",
            "messages": [{"role": "user", "content": "Hello"}]});
        let asked = Request::post("/v1/messages", body.to_string()).header("x-copy", copy);
        let reply = exchange(gateway.addr, &asked).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    }
    gateway.counted_when("gateway_mirrored_total", "outcome=\"ok\"", |count| count == 1).await;
    gateway.at_rest().await;
    // 1,000 at 4 dollars and 200 at 20; the same at half the price; 1,000 and a word; 11; seven and five of another provider's.
    let used = [8_000_000_000 + 4_000_000_000 + 4_020_000_000 + 44_000_000 + 17_000_000];
    assert_eq!(global(&gateway).await, used);
    let rows = booked(gateway, &ledger, &format!("provider,model,{BY}")).await;
    let names = ["provider", "upstream_model", "model", "kind", "usage_source", "cost_usd", "unpriced"];
    let rows: Vec<Value> = rows.iter().map(|row| json!(names.map(|name| &row[name]))).collect();
    for wanted in [
        json!(["claude", opus, "fable", "request", "provider", "0", 1]),
        json!(["copies", opus, "fable", "mirror", "provider", "0", 1]),
        json!(["claude", opus, "fable", "request", "estimated", "0.00402", 0]),
        json!(["claude", opus, "both", "attempt", "provider", "0.000044", 0]),
        json!(["fine", "f", "both", "request", "provider", "0.000017", 0]),
    ] {
        assert!(rows.contains(&wanted), "{wanted} is not in {}", json!(rows));
    }
    assert_eq!(rows.len(), 5);
    let rerated = run_to_end(&["usage", "rerate", "--config", "{config}"], &config, &[]);
    let same = " 0 cost something else, 2 are without a price; 0.004081 USD booked, 0.004081 USD now";
    assert!(rerated.stdout.contains(same), "{rerated:?}");
    let gateway = Gateway::start(&config).await;
    assert_eq!(global(&gateway).await, used, "after a restart");
}

/// Seven tokens in, five out, at 1 and 2 dollars a million.
#[tokio::test]
async fn answers_tell_their_cost() {
    let stub = fine().await;
    let config = format!(
        "{}[prices.models]\n\"stub/m\" = {{ input = \"1\", output = \"2\" }}\n",
        bodies::openai_provider("stub", &stub.origin())
    );
    let gateway = Gateway::start(&config).await;
    for (dialect, model, cost) in [
        (Dialect::OpenAiChat, "stub/m", "0.000017"),
        (Dialect::Anthropic, "stub/m", "0.000017"),
        (Dialect::OpenAiChat, "stub/unpriced-model", ""),
    ] {
        let whole = exchange(gateway.addr, &ask(dialect, model, "Hi", false).header("x-gateway-cost", "stream")).await;
        assert_eq!((whole.status, whole.header("x-gateway-cost")), (200, cost), "{dialect} {model}");
        let plain = exchange(gateway.addr, &ask(dialect, model, "Hi", true)).await;
        assert!(!plain.text().contains("\"cost\"") && plain.header("x-gateway-cost").is_empty(), "{}", plain.text());
        let told = exchange(gateway.addr, &ask(dialect, model, "Hi", true).header("x-gateway-cost", "stream")).await;
        let wanted = if cost.is_empty() { 0 } else { 1 };
        assert_eq!(told.text().matches("\"cost\":0.000017,").count(), wanted, "{dialect} {model}: {}", told.text());
        assert_eq!(told.text().replace("\"cost\":0.000017,", "").len(), plain.text().len(), "{dialect} {model}");
    }
    let unasked = exchange(
        gateway.addr,
        &Request::post("/v1/chat/completions", bodies::chat_stream("stub/m")).header("x-gateway-cost", "stream"),
    )
    .await;
    assert!(!unasked.text().contains("usage"), "{}", unasked.text());
    assert!(stub.received().iter().all(|request| request.header("x-gateway-cost").is_empty()));
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    let spent = "gateway_cost_usd_total{provider=\"stub\",model=\"m\",key=\"_none\"} 0.000119";
    assert!(metrics.contains(spent), "{metrics}");
    assert!(metrics.contains("gateway_price_unknown_total{provider=\"stub\",model=\"unpriced-model\""), "{metrics}");
    // Frames with lengths and checksums carry it, too.
    let framed = ask(Dialect::Bedrock, "stub/m", "Hi", true).header("x-gateway-cost", "stream");
    let framed = exchange(gateway.addr, &framed).await;
    let frames = events(Dialect::Bedrock, &framed.body);
    let costs = frames.iter().filter(|frame| String::from_utf8_lossy(frame).contains("\"cost\":0.000017,")).count();
    assert!(costs == 1 && observe(Dialect::Bedrock, &frames, true).seen().complete, "{}", framed.text());
}

/// Characters, pictures and requests have prices, too; and what is not known is seen.
#[tokio::test]
async fn what_is_billed_by_the_piece_uses_a_budget_up() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let stub = Stub::start(|request| match &*request.target {
        "/v1/audio/speech" => {
            Answer::status(200).header("content-type", "audio/mpeg").step(Step::Send(Bytes::from(vec![7; 20_000])))
        }
        "/v1/images/generations" => {
            Answer::json(200, r#"{"created":1,"data":[{"b64_json":"AA=="},{"b64_json":"AA=="}]}"#)
        }
        _ => Answer::json(200, r#"{"results":[{"index":0,"relevance_score":0.5}]}"#),
    })
    .await;
    let config = [
        bodies::openai_provider("stub", &stub.origin()),
        "[prices]\nrequire = true\n[prices.models]\n\"stub/tts\" = { character = \"15\" }\n\
         \"stub/draw\" = { image = \"40000\" }\n\"stub/rank\" = { request = \"1000\" }\n\
         \"stub/units\" = { search_unit = \"2000\" }\n[limits]\nbudget = { usd = 0.082, per = \"month\" }\n"
            .to_owned(),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let post = async |path: &str, body: &str| exchange(gateway.addr, &Request::post(path, body.to_owned())).await;
    let speak = r#"{"model":"stub/tts","input":"Grüße, \u4e16","voice":"alloy"}"#;
    let draw = r#"{"model":"stub/draw","prompt":"a cat","n":2}"#;
    let rank = |model: &str| json!({"model": model, "query": "q", "documents": ["d"]}).to_string();
    // A price that says nothing of pictures is none for them.
    let other = post("/v1/images/generations", &draw.replace("draw", "tts")).await;
    assert_eq!(other.status, 403, "{}", other.text());
    assert_eq!(post("/v1/audio/speech", speak).await.status, 200);
    for (model, cost) in [("stub/rank", "0.001"), ("stub/units", "")] {
        let ranked = post("/v1/rerank", &rank(model)).await;
        assert_eq!((ranked.status, ranked.header("x-gateway-cost")), (200, cost), "{model}: {}", ranked.text());
    }
    let drawn = post("/v1/images/generations", draw).await;
    assert_eq!((drawn.status, drawn.header("x-gateway-cost")), (200, "0.08"), "{}", drawn.text());
    gateway.at_rest().await;
    // 8 x 15 / 1,000,000, and 0.001, and 2 x 0.04.
    assert_eq!(global(&gateway).await, [81_120_000_000]);
    // Put by for two more pictures is as much again, but asked for they may be, as something is left; then nothing is.
    assert_eq!(post("/v1/images/generations", draw).await.status, 200);
    gateway.at_rest().await;
    assert_eq!(post("/v1/audio/speech", speak).await.status, 429);
    let unknown = "provider=\"stub\",model=\"units\"";
    assert_eq!(gateway.counted("gateway_price_unknown_total", unknown).await, 1);
    let rows = booked(gateway, &ledger, &format!("operation,{BY}")).await;
    let names = ["upstream_model", "usage_source", "characters", "images", "cost_usd", "unpriced"];
    let rows: Vec<_> = rows
        .iter()
        .filter(|row| row["cost_usd"] != "0" || row["unpriced"] != 0)
        .map(|row| names.map(|name| &row[name]))
        .collect();
    assert_eq!(
        json!(rows),
        json!([
            ["draw", "estimated", null, 4, "0.16", 0],
            ["rank", "none", null, null, "0.001", 0],
            ["units", "none", null, null, "0", 1],
            ["tts", "estimated", 8, null, "0.00012", 0],
        ])
    );
}

/// What is made is billed whether its client is there for it or not. Its provider has not told anything by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_what_is_billed_by_the_piece_pays_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let held = gate.clone();
    let stub = Stub::start(move |_| Answer::json(200, "{}").after(&held)).await;
    let prices = [
        ("tts", "{ character = \"15\" }"),
        ("says", "{ input = \"1\", audio_output = \"10\" }"),
        ("draw", "{ image = \"40000\" }"),
        ("paint", "{ input = \"5\", image_output = \"40\" }"),
        ("hear", "{ audio_second = \"100\" }"),
        ("listen", "{ input = \"5\", audio_input = \"6\", output = \"10\" }"),
        ("units", "{ search_unit = \"2000\" }"),
        ("rank", "{ input = \"2\" }"),
        ("embed", "{ input = \"2\" }"),
    ];
    let prices: String = prices.iter().map(|(model, price)| format!("\"stub/{model}\" = {price}\n")).collect();
    let config = [
        bodies::openai_provider("stub", &stub.origin()),
        format!("[prices.models]\n{prices}[limits]\nbudget = {{ usd = 5, per = \"month\" }}\n"),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let speak = |model: &str| json!({"model": model, "input": "Grüße, \u{4e16}", "voice": "alloy"});
    let draw = |model: &str| json!({"model": model, "prompt": "a cat", "n": 2});
    let rank = |model: &str| json!({"model": model, "query": "q", "documents": vec!["a document"; 150]});
    let hear = |model: &str| {
        let part = |name: &str, content: &str| {
            format!("--b\r\ncontent-disposition: form-data; name={name}\r\n\r\n{content}\r\n")
        };
        let file = part("\"file\"; filename=\"a.mp3\"", &"x".repeat(40_000));
        let mut request = Request::post("/v1/audio/transcriptions", part("\"model\"", model) + &file + "--b--\r\n");
        request.headers = vec![("content-type".into(), "multipart/form-data; boundary=b".into())];
        request
    };
    let post = |path: &str, body: Value| Request::post(path, body.to_string());
    let asked = [
        post("/v1/audio/speech", speak("stub/tts")),
        post("/v1/audio/speech", speak("stub/says")),
        post("/v1/images/generations", draw("stub/draw")),
        post("/v1/images/generations", draw("stub/paint")),
        hear("stub/hear"),
        hear("stub/listen"),
        post("/v1/rerank", rank("stub/units")),
        post("/v1/rerank", rank("stub/rank")),
        post("/v1/embeddings", json!({"model": "stub/embed", "input": ["one text", "and one more"]})),
    ];
    for request in &asked {
        let mut client = H1::connect(gateway.addr).await;
        client.send(request).await;
        stub.next().await;
        drop(client);
        stub.departed().await;
    }
    gateway.counted_when("gateway_ledger_booked_total", "", |booked| booked == asked.len() as u64).await;
    gateway.at_rest().await;
    let spent = global(&gateway).await;
    let rows = booked(gateway, &ledger, BY).await;
    let cost = |row: &Value| row["cost_usd"].as_str().unwrap().parse::<f64>().unwrap();
    let row = |model: &str| rows.iter().find(|row| row["upstream_model"] == model).unwrap_or_else(|| panic!("{model}"));
    for (model, least, most) in [
        ("tts", 0.00012, 0.00012),
        ("says", 0.00016, 0.0003),
        ("draw", 0.08, 0.08),
        ("paint", 0.128, 0.129),
        ("hear", 0.001, 0.001),
        ("listen", 0.0006, 0.001),
        ("units", 0.004, 0.004),
        ("rank", 0.0005, 0.002),
        ("embed", 0.00001, 0.0001),
    ] {
        let row = row(model);
        assert_eq!((&row["usage_source"], &row["unpriced"]), (&json!("estimated"), &json!(0)), "{row}");
        assert!((least - 1e-12..most + 1e-12).contains(&cost(row)), "{row}");
    }
    let all: f64 = rows.iter().map(cost).sum();
    let spent = spent[0] as f64 / 1e12;
    assert!((spent - all).abs() < 1e-9, "the budget knows of {spent}, the ledger of {all}");
}
