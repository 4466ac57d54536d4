//! Records of work beside the answer that the client got: raced, mirrored, failed.

use super::*;

/// A retry, a raced call and a mirrored one are told from the request that they belong to.
#[tokio::test]
async fn each_kind_of_work_has_records_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let start = json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant",
        "content": [], "model": "c", "stop_reason": null, "usage": {"input_tokens": 11, "output_tokens": 1}}});
    let start = bodies::anthropic_event("message_start", &start);
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    // Says what the prompt took, and then fails, or never goes on.
    let fails = Stub::always(Answer::sse([start.clone(), bodies::anthropic_event("error", &overloaded)])).await;
    let hangs = Stub::always(Answer::sse([start]).step(Step::Stall)).await;
    // The second request there is the raced one.
    let (told, answer) = (Gate::new(), Answer::sse(bodies::chat_events("fine")));
    let fine = Stub::sequence(vec![answer.clone(), answer.clone().after(&told), answer]).await;
    let targets = |first: &str| {
        format!(
            "targets = [{{ provider = \"{first}\", model = \"{first}-1\" }}, {{ provider = \"fine\", model = \"f\", priority = 1 }}]\n"
        )
    };
    let config = [
        bodies::anthropic_provider("fails", &fails.origin()),
        bodies::anthropic_provider("hangs", &hangs.origin()),
        bodies::openai_provider("fine", &fine.origin()),
        format!("[models.retried]\n{}", targets("fails")),
        format!("[models.raced]\n{}hedge = {{ after = \"20ms\", max_extra = \"100%\" }}\n", targets("hangs")),
        "[models.mirrored]\ntargets = [{ provider = \"fine\", model = \"f\" }]\n".into(),
        "[[routes]]\nwhen = { model = \"mirrored\" }\nmirror = { target = { provider = \"fine\", model = \"copy\" }, percent = 100 }\n".into(),
        "[prices.models]\n\"fine/f\" = { input = \"1\", output = \"2\" }\n\"fails/fails-1\" = { input = \"3\", output = \"4\" }\n".into(),
        "[limits]\nbudget = { usd = 1, per = \"month\" }\ntokens = \"1000000/day\"\n".into(),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for model in ["retried", "raced", "mirrored"] {
        let asked = Request::post("/v1/chat/completions", bodies::chat_stream(model));
        let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
            fine.next().await;
            if model == "raced" {
                hangs.next().await;
                gateway.reads_on().await;
                told.open();
            }
        });
        assert!(reply.status == 200 && reply.text().contains("fine"), "{model}: {}", reply.text());
    }
    gateway.counted_when("gateway_ledger_booked_total", "", |booked| booked == 6).await;
    assert_eq!(gateway.counted("gateway_price_unknown_total", "model=\"hangs-1\"").await, 1);
    // Limits count behind the last byte, of a mirrored request when it is through.
    gateway.at_rest().await;
    gateway.counted_when("gateway_mirrored_total", "outcome=\"ok\"", |count| count == 1).await;
    // Budgets and limits have counted all of it: four times twelve tokens, and twice eleven or one more for what was begun.
    let used = global(&gateway).await;
    assert_eq!(used[1], 84_000_000, "{used:?}");
    assert!((70..=72).contains(&used[0]), "{used:?}");
    let rows = booked(gateway, &ledger, &format!("model,{BY}")).await;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!([
                row["model"],
                row["kind"],
                row["upstream_model"],
                row["usage_source"],
                row["input"],
                row["cost_usd"],
                row["requests"]
            ])
        })
        .collect();
    for wanted in [
        json!(["retried", "request", "f", "provider", 7, "0.000017", 1]),
        json!(["retried", "attempt", "fails-1", "provider", 11, "0.000033", 0]),
        json!(["raced", "request", "f", "provider", 7, "0.000017", 1]),
        json!(["raced", "hedge_loser", "hangs-1", "provider", 11, "0", 0]),
        json!(["mirrored", "request", "f", "provider", 7, "0.000017", 1]),
        json!(["mirrored", "mirror", "copy", "provider", 7, "0", 0]),
    ] {
        assert!(rows.contains(&wanted), "{wanted} is not in {}", json!(rows));
    }
    assert_eq!(rows.len(), 6);
}

/// What a failed attempt has told is the request's own record where nobody else can be asked, with the tier and the model that it named.
#[tokio::test]
async fn an_attempt_that_nobody_follows_is_booked_as_its_answer_told() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let told = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-2025-08-07", "service_tier": "flex",
        "choices": [], "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000},
    });
    let events =
        [format!("data: {told}\n\n"), "data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}\n\n".into()];
    let fails = Stub::always(Answer::sse(events)).await;
    let other = fine().await;
    let config = [
        bodies::responses_provider("first", &fails.origin()),
        bodies::anthropic_provider("second", &other.origin()),
        "[models.m]\nlossy = \"error\"\ntargets = [{ provider = \"first\", model = \"gpt-5\", price = { like = \"openai/gpt-5\" } },\n\
         { provider = \"second\", model = \"claude-sonnet-4-5\", priority = 1 }]\nretry = { same_target = false }\n"
            .to_owned(),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let body = json!({
        "model": "m", "stream": true, "logit_bias": {"50256": -100}, "messages": [{"role": "user", "content": "Hello"}],
    });
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(other.count(), 0, "it cannot be asked");
    assert!(reply.status >= 500 || reply.text().contains("error"), "{} {}", reply.status, reply.text());
    gateway.counted_when("gateway_ledger_stored_total", "", |stored| stored == 1).await;
    let rows = booked(gateway, &ledger, BY).await;
    assert_eq!(json!([rows[0]["kind"], rows[0]["input"], rows[0]["cost_usd"]]), json!(["request", 1_000_000, "0.625"]));
    let database = rusqlite::Connection::open(&ledger).unwrap();
    let named = database.query_row("SELECT service_tier, answer_model FROM usage", (), |row| {
        Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?))
    });
    assert_eq!(named.unwrap(), (Some("flex".to_owned()), Some("gpt-5-2025-08-07".to_owned())));
}
