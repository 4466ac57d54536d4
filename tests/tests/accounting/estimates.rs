//! What no provider told.

use super::*;

/// A provider that never reports, one whose stream breaks off, and one that breaks off and is gone on with.
#[tokio::test]
async fn what_no_provider_told_is_estimated() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let mocks = |dialect: Dialect| {
        format!(
            "[providers.{dialect}]\nkind = \"mock\"\ndialects = [\"{dialect}\"]\nhealth = {{ failures = 0, rate = 0 }}\n"
        )
    };
    let model = "[models.m]\non_cut = \"continue\"\ntargets = [\
        { provider = \"openai-chat\", model = \"lorem-12+cut-after-5\" }, \
        { provider = \"anthropic\", model = \"lorem-12+prefill\", priority = 1, traits = { prefill = true } }]\n";
    let limits = "[limits]\ntokens = \"1000000/day\"\n".to_owned();
    let config = [Dialect::ALL.map(mocks).concat(), model.into(), limits, ledger_at(&ledger)];
    let gateway = Gateway::start(&config.concat()).await;
    for dialect in Dialect::ALL {
        for stream in [true, false] {
            let name = format!("{dialect}/lorem-12+usage-missing{}", if stream { "" } else { "+close" });
            let reply = exchange(gateway.addr, &ask(dialect, &name, "Say something", stream)).await;
            assert_eq!(reply.status, 200, "{dialect}: {}", reply.text());
        }
        let cut = ask(dialect, &format!("{dialect}/lorem-12+cut-after-5"), "Say something", true);
        assert_eq!(exchange(gateway.addr, &cut).await.status, 200, "{dialect}");
    }
    let continued = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "m", "Say something", true)).await;
    assert!(continued.complete && continued.text().contains("tempor"), "{}", continued.text());
    gateway.at_rest().await;
    let counted = global(&gateway).await[0];
    let rows = booked(gateway, &ledger, &format!("provider,model,{BY}")).await;
    assert_eq!(rows.len(), 3 * Dialect::ALL.len() + 2, "{rows:?}");
    let tokens = |row: &Value| row["input"].as_u64().unwrap_or(0) + row["output"].as_u64().unwrap_or(0);
    assert_eq!(counted, rows.iter().map(tokens).sum::<u64>(), "limits have counted what the ledger has");
    for row in &rows {
        let (input, output) = (row["input"].as_u64().unwrap_or(0), row["output"].as_u64().unwrap_or(0));
        match (row["model"].as_str().unwrap(), row["kind"].as_str().unwrap()) {
            // Twelve words of Latin; five of them, of which three tokens a word are the most.
            ("m", "attempt") => {
                assert_eq!(row["usage_source"], "estimated", "{row}");
                assert!((5..=15).contains(&output) && input > 0, "{row}");
            }
            ("m", _) => {
                assert_eq!((&row["usage_source"], &row["kind"]), (&json!("provider"), &json!("request")), "{row}");
                // Seven words and the end of the one before.
                assert!((1..12).contains(&output) && input > 0, "{row}");
            }
            (model, kind) => {
                assert_eq!((&row["usage_source"], kind), (&json!("estimated"), "request"), "{row}");
                let bounds = if model.contains("cut") { 5..=15 } else { 12..=60 };
                assert!(bounds.contains(&output) && input > 0, "{row}");
            }
        }
    }
}

/// An error in the place of an answer is no answer, whatever its status.
#[tokio::test]
async fn an_error_inside_a_200_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let error = r#"{"error":{"message":"overloaded","code":503}}"#;
    let whole = Stub::always(Answer::json(200, error)).await;
    let events = Stub::always(Answer::sse([format!("data: {error}\n\n"), "data: [DONE]\n\n".to_owned()])).await;
    let config = [
        bodies::openai_provider("whole", &whole.origin()),
        bodies::openai_provider("events", &events.origin()),
        "[limits]\ntokens = \"1000000/day\"\n".to_owned(),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for (model, stream) in [("whole/m", false), ("events/m", true)] {
        let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, model, "Say something", stream)).await;
        assert!(reply.text().contains("overloaded"), "{model}: {} {}", reply.status, reply.text());
    }
    gateway.at_rest().await;
    let counted = global(&gateway).await;
    let rows = booked(gateway, &ledger, BY).await;
    let sources: Vec<_> = rows.iter().map(|row| (&row["usage_source"], &row["input"])).collect();
    assert!(sources.iter().all(|(source, input)| *source == "none" && input.is_null()), "{rows:#?}");
    assert_eq!(counted, [0]);
}

/// An answer that a filter kept back, and in whose place another was asked for, has a record of its own: it may have cost something.
#[tokio::test]
async fn an_answer_that_is_kept_back_is_booked_as_an_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11});
    let whole = |usage: Value| {
        let choice =
            json!({"index": 0, "message": {"role": "assistant", "content": null}, "finish_reason": "content_filter"});
        Answer::json(200, json!({"model": "b-1", "choices": [choice], "usage": usage}).to_string())
    };
    let finish = bodies::chat_finish().replace("\"stop\"", "\"content_filter\"");
    let told = format!("data: {}\n\n", json!({"model": "b-1", "choices": [], "usage": usage}));
    let stream = |told: String| Answer::sse([bodies::chat_role(), finish.clone(), told, bodies::DONE.into()]);
    let answers = [whole(usage), stream(told), whole(Value::Null), stream(String::new())];
    let blocks = Stub::sequence(answers.to_vec()).await;
    let good = fine().await;
    let config = [
        bodies::openai_provider("blocks", &blocks.origin()),
        bodies::openai_provider("good", &good.origin()),
        "[models.m]\ntargets = [{ provider = \"blocks\", model = \"b\" }, { provider = \"good\", model = \"g\", priority = 1 }]\n\
         retry = { on = [\"content_filter\"] }\n[prices.models]\n\"blocks/b\" = { input = \"3\", output = \"4\" }\n\
         \"good/g\" = { input = \"1\", output = \"2\" }\n[limits]\nbudget = { usd = 1, per = \"month\" }\n"
            .to_owned(),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for (number, streams) in [false, true, false, true].into_iter().enumerate() {
        let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "m", "Say something", streams)).await;
        assert!(reply.status == 200 && reply.text().contains("fine"), "{number}: {}", reply.text());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        let outcomes = [&log["attempts"][0]["outcome"], &log["attempts"][1]["outcome"]];
        assert_eq!(
            (outcomes, &log["finish"]),
            (["blocked", "ok"].map(|it| json!(it)).each_ref(), &json!("complete")),
            "{log}"
        );
    }
    gateway.at_rest().await;
    assert_eq!(
        gateway.counted("gateway_attempts_total", "provider=\"blocks\",model=\"b\",outcome=\"blocked\"").await,
        4
    );
    assert_eq!(gateway.counted("gateway_retries_total", "reason=\"blocked\"").await, 4);
    // Four times 7 x 1 + 5 x 2, and twice 11 x 3: what nothing is told of that says nothing costs nothing.
    assert_eq!(global(&gateway).await, [134_000_000]);
    let rows = booked(gateway, &ledger, BY).await;
    let names = ["upstream_model", "kind", "usage_source", "records", "input", "output", "cost_usd"];
    let rows: Vec<_> = rows.iter().map(|row| names.map(|name| row[name].clone())).collect();
    assert_eq!(
        json!(rows),
        json!([
            ["b", "attempt", "provider", 2, 22, 0, "0.000066"],
            ["g", "request", "provider", 4, 28, 20, "0.000068"]
        ])
    );
}
