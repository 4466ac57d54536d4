//! Clients that leave, and answers that are drained.

use super::*;

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
