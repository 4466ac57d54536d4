//! What the ledger says of answers that did not go straight: whose clients left, that broke off, that were raced or mirrored; what
//! clients are told of their cost; and what they may say for their own accounts.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ai_gateway_providers::answer::{AnswerForm, Observer};
use ai_gateway_providers::{Dialect, Operation, Usage};
use ai_gateway_tests::client::wire::Piece;
use ai_gateway_tests::client::{Body, Framing, H1, H2, Request, exchange};
use ai_gateway_tests::speak::ask;
use ai_gateway_tests::{
    Answer, Gate, Gateway, Mock, Step, Stub, StubFraming, bodies, mock_provider, run_to_end, usage,
};
use bytes::Bytes;
use serde_json::{Value, json};

const BY: &str = "upstream_model,kind,usage_source";

/// Lets the gateway end in peace, and reads its ledger.
async fn booked(mut gateway: Gateway, ledger: &Path, by: &str) -> Vec<Value> {
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    usage(ledger, &["--by", by])
}

fn ledger_at(path: &Path) -> String {
    format!("[ledger]\npath = \"{}\"\n", path.display())
}

fn key(name: &str, more: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nhash = \"{}\"\n{more}\n", bodies::key_hash(&format!("sk-{name}")))
}

/// The events of a stream, one by one.
fn events(dialect: Dialect, stream: &[u8]) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let length = match dialect {
            Dialect::Bedrock => u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize,
            _ => rest.windows(2).position(|end| end == b"\n\n").unwrap() + 2,
        };
        events.push(Bytes::copy_from_slice(&rest[..length]));
        rest = &rest[length..];
    }
    events
}

fn stream(dialect: Dialect, events: &[Bytes]) -> Answer {
    let kind = if dialect == Dialect::Bedrock { "application/vnd.amazon.eventstream" } else { "text/event-stream" };
    let mut answer = Answer::status(200).header("content-type", kind).framing(StubFraming::Chunked);
    answer.steps.extend(events.iter().cloned().map(Step::Send));
    answer
}

fn observe(dialect: Dialect, events: &[Bytes], end: bool) -> Observer {
    let mut observer = Observer::new(dialect, Operation::Chat, AnswerForm::Stream, false);
    events.iter().for_each(|event| drop(observer.feed(event.clone(), false)));
    if end {
        observer.feed(Bytes::new(), true);
    }
    observer
}

async fn read(body: &mut Body<'_>, bytes: usize) {
    let mut read = 0;
    while read < bytes {
        match body.piece().await {
            Piece::Data(data) => read += data.len(),
            end => panic!("{end:?} after {read} of {bytes} bytes"),
        }
    }
}

/// What a row must say.
struct Expected {
    source: &'static str,
    /// If the provider said it.
    usage: Option<Usage>,
    output: bool,
}

/// The client leaves before the header, and after each event of a stream in each dialect; its key says what becomes of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_anywhere_are_booked_once_and_from_the_right_source() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let mock = Mock::start().await;
    let direct = Gateway::start(&Dialect::ALL.map(|dialect| mock.provider(dialect.as_str(), dialect)).concat()).await;
    let next = Arc::new(Mutex::new(Answer::status(500)));
    let script = next.clone();
    let stub = Stub::start(move |_| script.lock().unwrap().clone()).await;
    let providers = Dialect::ALL.map(|dialect| mock_provider(dialect.as_str(), dialect, &stub.origin()));
    let keys = [key("cancel", ""), key("drain", "on_abort = \"drain\"")];
    let gateway = Gateway::start(&[providers.concat(), keys.concat(), ledger_at(&ledger)].concat()).await;

    let mut expected: HashMap<String, Expected> = HashMap::new();
    for dialect in Dialect::ALL {
        let whole = exchange(direct.addr, &ask(dialect, &format!("{dialect}/lorem-6"), "Say something", true)).await;
        let events = events(dialect, &whole.body);
        let told = observe(dialect, &events, true).seen().usage.unwrap();
        assert!(events.len() > 6 && told.total_output() > Some(0), "{dialect}");
        for mode in ["cancel", "drain"] {
            // `None`: before the header.
            for read_events in std::iter::once(None).chain((0..=events.len()).map(Some)) {
                let what = format!("{dialect}-{mode}-{read_events:?}").replace(['(', ')'], "");
                let (gate, count) = (Gate::new(), read_events.unwrap_or(0));
                let (head, tail) = events.split_at(count);
                let mut answer = stream(dialect, head).step(Step::Wait(gate.clone()));
                answer.steps.extend(tail.iter().cloned().map(Step::Send));
                let answer = if read_events.is_none() { answer.after(&gate) } else { answer };
                *next.lock().unwrap() = answer;
                let asked = ask(dialect, &format!("{dialect}/{what}"), "Say something", true);
                let mut client = H1::connect(gateway.addr).await;
                client.send(&asked.header("x-api-key", &format!("sk-{mode}"))).await;
                stub.next().await;
                if read_events.is_some() {
                    let mut body = client.respond().await;
                    assert_eq!(body.status, 200, "{what}");
                    read(&mut body, head.iter().map(Bytes::len).sum()).await;
                }
                drop(client);
                if mode == "drain" {
                    gateway.counted_when("gateway_draining", "", |draining| draining == 1).await;
                    gate.open();
                } else {
                    stub.departed().await;
                }
                gateway.counted_when("gateway_ledger_booked_total", "", |booked| booked > expected.len() as u64).await;
                gateway.counted_when("gateway_draining", "", |draining| draining == 0).await;
                let observer = observe(dialect, head, false);
                let seen = observer.seen();
                let settled = seen.usage.is_some() && (seen.complete || seen.usage_is_final);
                let (source, usage) = match mode {
                    "drain" => ("drained", Some(told)),
                    _ if settled => ("provider", seen.usage),
                    _ => ("estimated", None),
                };
                expected.insert(what, Expected { source, usage, output: seen.first_output });
            }
        }
    }
    let rows = booked(gateway, &ledger, BY).await;
    assert_eq!(rows.len(), expected.len());
    for row in rows {
        let what = row["upstream_model"].as_str().unwrap();
        let expected = expected.remove(what).unwrap_or_else(|| panic!("{what} is booked twice"));
        let is = json!([row["kind"], row["usage_source"], row["records"], row["requests"]]);
        assert_eq!(is, json!(["request", expected.source, 1, 1]), "{what}: {row}");
        if let Some(usage) = expected.usage {
            let told = json!([row["input"], row["cache_read"], row["output"], row["reasoning"]]);
            assert_eq!(told, json!([usage.input, usage.cache_read, usage.output, usage.reasoning]), "{what}: {row}");
        } else {
            // Six words of Latin (Anthropic says 1 before the first), and a prompt of two of English in a body of at most some hundred bytes.
            let (input, output) = (row["input"].as_u64().unwrap(), row["output"].as_u64().unwrap_or(0));
            assert!((1..200).contains(&input), "{what}: {row}");
            assert!(if expected.output { (1..30).contains(&output) } else { output <= 1 }, "{what}: {row}");
        }
    }
}

/// The whole answer of a client that does not want a stream is not there before its end; the prompt has been read all the same.
#[tokio::test]
async fn a_client_that_leaves_before_a_whole_answer_is_booked() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let answer = bodies::chat_answer("fine");
    let (begun, rest) = answer.split_at(60);
    let answer = Answer::json(200, begun.to_owned()).framing(StubFraming::Chunked).step(Step::Wait(gate.clone()));
    let stub = Stub::always(answer.step(Step::Send(rest.to_owned().into()))).await;
    let keys = [key("cancel", ""), key("drain", "on_abort = \"drain\"")];
    let provider = bodies::openai_provider("stub", &stub.origin());
    let gateway = Gateway::start(&[provider, keys.concat(), ledger_at(&ledger)].concat()).await;
    for mode in ["cancel", "drain"] {
        let mut client = H1::connect(gateway.addr).await;
        let body = bodies::chat(&format!("stub/{mode}"));
        client.send(&Request::post("/v1/chat/completions", body).header("x-api-key", &format!("sk-{mode}"))).await;
        stub.next().await;
        drop(client);
        if mode == "drain" {
            gateway.counted_when("gateway_draining", "", |draining| draining == 1).await;
            gate.open();
        } else {
            stub.departed().await;
        }
    }
    gateway.counted_when("gateway_ledger_booked_total", "", |booked| booked == 2).await;
    let rows = booked(gateway, &ledger, BY).await;
    let figures: Vec<Value> = rows
        .iter()
        .map(|row| json!([row["upstream_model"], row["usage_source"], row["input"], row["output"]]))
        .collect();
    assert_eq!(figures[1], json!(["drain", "drained", 7, 5]));
    assert_eq!((&figures[0][0], &figures[0][1]), (&json!("cancel"), &json!("estimated")));
    assert!(figures[0][2].as_u64() > Some(5), "{figures:?}");
}

/// A client may close its side of an HTTP/1 connection behind its request, and wait. With `cancel` that is leaving; with `drain`,
/// where nothing is to be cancelled, it gets its answer.
#[tokio::test]
async fn a_drained_answer_goes_to_a_client_that_only_closed_its_side() {
    let keys = [key("cancel", ""), key("drain", "on_abort = \"drain\"")].concat();
    let stream = || Answer::sse([bodies::chat_delta("Hello"), bodies::chat_finish(), bodies::DONE.into()]);
    for (body, answer) in [
        (bodies::chat("stub/m"), Answer::json(200, bodies::chat_answer("Hello"))),
        (bodies::chat_stream("stub/m"), stream()),
    ] {
        let gate = Gate::new();
        let stub = Stub::always(answer.after(&gate)).await;
        let gateway = Gateway::start(&[bodies::openai_provider("stub", &stub.origin()), keys.clone()].concat()).await;
        for mode in ["cancel", "drain"] {
            let mut client = H1::connect(gateway.addr).await;
            let asked = Request::post("/v1/chat/completions", body.clone()).header("x-api-key", &format!("sk-{mode}"));
            client.send(&asked).await;
            stub.next().await;
            client.half_close().await;
            if mode == "cancel" {
                stub.departed().await;
                assert!(client.reply().await.is_none());
                continue;
            }
            gateway.counted_when("gateway_draining", "", |draining| draining == 1).await;
            gate.open();
            let reply = client.reply().await.expect("an answer");
            assert_eq!((reply.status, reply.complete), (200, true));
            assert!(reply.text().contains("Hello"), "{}", reply.text());
            gateway.counted_when("gateway_draining", "", |draining| draining == 0).await;
        }
    }
}

/// A drain has the clocks of its attempt, and ends with them; a client of HTTP/2 leaves by resetting its stream.
#[tokio::test]
async fn a_drain_ends_when_the_provider_falls_silent() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let stub = Stub::always(Answer::sse([bodies::chat_role(), bodies::chat_delta("Hello")]).step(Step::Stall)).await;
    let config = [
        bodies::openai_provider("stub", &stub.origin()),
        "[models.m]\ntargets = [{ provider = \"stub\", model = \"u\" }]\ntimeouts = { idle = \"200ms\" }\n".into(),
        key("drain", "on_abort = \"drain\""),
        ledger_at(&ledger),
    ];
    let mut gateway = Gateway::start(&config.concat()).await;
    let asked = Request::post("/v1/chat/completions", bodies::chat_stream("m")).header("x-api-key", "sk-drain");
    let mut client = H1::connect(gateway.addr).await;
    client.send(&asked).await;
    client.respond().await.until("Hello").await;
    drop(client);
    stub.departed().await;
    let mut client = H2::connect(gateway.addr).await;
    let mut answer = client.start(&asked.framing(Framing::H2(100))).await.unwrap();
    while !answer.body_mut().data().await.unwrap().unwrap().ends_with(b"\n\n") {}
    drop(answer);
    stub.departed().await;
    gateway.at_rest().await;
    assert_eq!(gateway.counted("gateway_draining", "").await, 0);
    gateway.assert_healthy().await;
    let rows = booked(gateway, &ledger, BY).await;
    let figures: Vec<Value> =
        rows.iter().map(|row| json!([row["usage_source"], row["requests"], row["output"]])).collect();
    assert_eq!(json!(figures), json!([["estimated", 2, 2]]));
}

/// A shutdown waits for what is drained, and the drained answer is booked.
#[tokio::test]
async fn a_shutdown_lets_drained_answers_end() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let mut answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("Hello")]).step(Step::Wait(gate.clone()));
    answer
        .steps
        .extend([bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.into()].map(|e| Step::Send(e.into())));
    let stub = Stub::always(answer).await;
    let provider = bodies::openai_provider("stub", &stub.origin());
    let mut gateway =
        Gateway::start(&[provider, key("drain", "on_abort = \"drain\""), ledger_at(&ledger)].concat()).await;
    let mut client = H1::connect(gateway.addr).await;
    client
        .send(&Request::post("/v1/chat/completions", bodies::chat_stream("stub/m")).header("x-api-key", "sk-drain"))
        .await;
    client.respond().await.until("Hello").await;
    drop(client);
    gateway.counted_when("gateway_draining", "", |draining| draining == 1).await;
    gateway.terminate();
    gate.open();
    assert_eq!(gateway.ended().await, Some(0));
    let row = usage(&ledger, &["--by", BY]).remove(0);
    assert_eq!(json!([row["usage_source"], row["input"], row["output"]]), json!(["drained", 7, 5]));
}

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

/// What is counted of everything: tokens, and pico-dollars. Nothing is reserved any more.
async fn global(gateway: &Gateway) -> Vec<u64> {
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    let limits = limits["subjects"][0]["limits"].as_array().unwrap();
    assert!(limits.iter().all(|limit| limit["reserved"] == 0), "{limits:?}");
    limits.iter().map(|limit| limit["used"].as_u64().unwrap()).collect()
}

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

/// An upstream of OpenAI's chat that says "fine", whole and streamed, for seven tokens in and five out.
async fn fine() -> Stub {
    let events = bodies::chat_events("fine");
    Stub::start(move |request| match request.json()["stream"] == true {
        true => Answer::sse(events.clone()),
        false => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await
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

/// What clients of other gateways send is understood, kept, and not passed on.
#[tokio::test]
async fn headers_of_other_gateways_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let slow = gate.clone();
    let stub = Stub::start(move |request| match request.json()["model"].as_str() {
        Some("slow") => Answer::json(200, bodies::chat_answer("late")).after(&slow),
        Some("bad") => Answer::json(503, "{}"),
        _ => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let target =
        |model: &str, priority: u8| format!("{{ provider = \"stub\", model = \"{model}\", priority = {priority} }}");
    let config = [
        bodies::openai_provider("stub", &stub.origin()),
        format!("[models.m]\ntargets = [{}, {}]\n", target("bad", 0), target("good", 1)),
        key("k", "tags = [\"own\"]"),
        ledger_at(&ledger),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let sent = [
        ("x-litellm-customer-id", "acme"),
        ("x-litellm-tags", "blue,green"),
        ("x-litellm-call-id", "call-7"),
        ("x-portkey-trace-id", "trace-7"),
        ("x-portkey-metadata", "{\"env\":\"prod\"}"),
        ("cf-aig-metadata", "{\"n\":5}"),
        ("helicone-property-app", "chat"),
        ("x-litellm-timeout", "20"),
        ("x-litellm-stream-timeout", "20"),
        ("x-portkey-request-timeout", "20000"),
        ("x-litellm-num-retries", "1"),
    ];
    let with = |body: &str, headers: &[(&str, &str)]| {
        let request = Request::post("/v1/chat/completions", body.to_owned()).header("x-api-key", "sk-k");
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    let ask = |model: &str, more: &str| {
        format!("{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"a secret prompt\"}}]{more}}}")
    };
    let reply = exchange(gateway.addr, &with(&ask("stub/good", ""), &sent)).await;
    assert_eq!(reply.status, 200);
    for (name, _) in sent {
        assert_eq!(stub.received()[0].header(name), "", "{name} reached the provider");
    }
    let in_body = ask("stub/good", ",\"user\":\"u-1\",\"metadata\":{\"env\":\"dev\"}");
    assert_eq!(exchange(gateway.addr, &with(&in_body, &[])).await.status, 200);
    assert_eq!(stub.received()[1].json()["user"], "u-1");

    // Neither waits longer than it may.
    for (name, value) in
        [("x-litellm-timeout", "0.1"), ("x-portkey-request-timeout", "100"), ("cf-aig-request-timeout", "100")]
    {
        let reply = exchange(gateway.addr, &with(&ask("stub/slow", ""), &[(name, value)])).await;
        assert_eq!(reply.status, 504, "{name}: {}", reply.text());
    }
    assert_eq!(exchange(gateway.addr, &with(&ask("m", ""), &[("x-litellm-timeout", "soon")])).await.status, 400);
    for (headers, status) in [
        (&[][..], 200),
        (&[("x-litellm-num-retries", "0")][..], 503),
        (&[("cf-aig-max-attempts", "1")][..], 503),
        (&[("cf-aig-max-attempts", "2")][..], 200),
    ] {
        let before = stub.count();
        let reply = exchange(gateway.addr, &with(&ask("m", ""), headers)).await;
        assert_eq!((reply.status, stub.count() - before), (status, if status == 200 { 2 } else { 1 }), "{headers:?}");
    }

    let tags = |rows: Vec<Value>| rows.iter().map(|row| row["tag"].clone()).collect::<Vec<_>>();
    let customers = booked(gateway, &ledger, "customer").await;
    for customer in ["acme", "u-1"] {
        assert!(customers.iter().any(|row| row["customer"] == customer && row["requests"] == 1), "{customers:?}");
    }
    let tags = tags(usage(&ledger, &["--by", "tag"]));
    for tag in ["own", "blue", "green"] {
        assert!(tags.contains(&json!(tag)), "{tags:?}");
    }
    let files: Vec<u8> = std::fs::read(&ledger).unwrap();
    let holds = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("[\"env\",\"prod\"]") && holds("[\"env\",\"dev\"]") && holds("[\"call_id\",\"call-7\"]"));
    assert!(holds("trace-7") && holds("[\"n\",\"5\"]") && holds("[\"app\",\"chat\"]") && !holds("secret prompt"));
}
