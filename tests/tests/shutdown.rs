//! The end of a process, and its beginning: streams are finished, what remains is ended politely, and nothing out of reach keeps
//! a gateway from starting.

use std::time::{Duration, Instant};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{H1, Request, exchange};
use ai_gateway_tests::unreachable::{Hanging, Refusing};
use ai_gateway_tests::{Answer, Gate, Gateway, Mock, Step, Stub, bodies, guard_until, usage};
use serde_json::{Value, json};
use tokio::net::TcpStream;

fn ask(path: &str, model: &str, stream: bool) -> Request {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let body = json!({ "model": model, "stream": stream, "max_tokens": 2000, "messages": messages });
    Request::post(path, body.to_string())
}

const CHAT: &str = "/v1/chat/completions";

async fn ready(gateway: &Gateway) -> u16 {
    exchange(gateway.admin, &Request::get("/health/ready")).await.status
}

#[tokio::test]
async fn a_shutdown_waits_for_streams_and_for_nothing_else() {
    let gate = Gate::new();
    let [role, word, rest @ ..] = bodies::chat_events("fine");
    let stream = Answer::sse([role, word]).step(Step::Wait(gate.clone())).step(Step::Send(rest.concat().into()));
    let stub = Stub::start(move |request| match request.json()["stream"] == true {
        true => stream.clone(),
        false => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let provider = bodies::openai_provider("stub", &stub.origin());
    let mut gateway = Gateway::builder().server("drain = \"1m\"").config(&provider).start().await;
    assert_eq!(ready(&gateway).await, 200);
    let mut idle = H1::connect(gateway.addr).await;
    assert_eq!(idle.exchange(&ask(CHAT, "stub/m", false)).await.status, 200);
    let mut client = H1::connect(gateway.addr).await;
    client.send(&ask(CHAT, "stub/m", true)).await;
    let mut stream = client.respond().await;
    stream.until("data:").await;
    gateway.terminate();
    gateway.status_when("it drains", |status| status["state"] == "draining").await;
    assert_eq!(ready(&gateway).await, 503);
    // A connection that was idle may be answered once more, or be closed already.
    if let Some(last) = idle.try_exchange(&ask(CHAT, "stub/m", false)).await {
        assert_eq!(last.status, 200, "{}", last.text());
    }
    let refused = async || TcpStream::connect(gateway.addr).await.err();
    guard_until("the listeners are closed", refused).await;
    gate.open();
    let (rest, complete) = stream.rest().await;
    assert!(complete && rest.ends_with(b"data: [DONE]\n\n"));
    // When nothing is in flight, and not at the end of the drain.
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn what_is_left_at_the_end_of_the_drain_ends_politely_and_is_recorded() {
    let stub = Stub::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (body["stream"].as_bool(), request.target.contains("messages")) {
            (Some(true), true) => {
                let start = json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
                    "model": "m", "content": [], "stop_reason": null, "usage": { "input_tokens": 3, "output_tokens": 1 } } });
                let block = json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
                let delta = json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "fine" } });
                let event = bodies::anthropic_event;
                Answer::sse([
                    event("message_start", &start),
                    event("content_block_start", &block),
                    event("content_block_delta", &delta),
                ])
                .step(Step::Stall)
            }
            (Some(true), false) => Answer::sse([bodies::chat_role(), bodies::chat_delta("fine")]).step(Step::Stall),
            _ => Answer::json(200, bodies::chat_answer("fine")).step(Step::Stall),
        }
    })
    .await;
    let silent = Stub::always(Answer::raw("").step(Step::Stall)).await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let mut gateway = Gateway::builder()
        .server("drain = \"700ms\"")
        .config(&bodies::openai_provider("chat", &stub.origin()))
        .config(&bodies::anthropic_provider("claude", &stub.origin()))
        .config(&bodies::openai_provider("silent", &silent.origin()))
        .config(&format!("[ledger]\npath = \"{}\"", ledger.display()))
        .start()
        .await;
    let mut chat = H1::connect(gateway.addr).await;
    chat.send(&ask(CHAT, "chat/m", true)).await;
    let mut chat = chat.respond().await;
    chat.until("fine").await;
    let mut claude = H1::connect(gateway.addr).await;
    claude.send(&ask("/v1/messages", "claude/m", true)).await;
    let mut claude = claude.respond().await;
    claude.until("fine").await;
    let mut waiting = H1::connect(gateway.addr).await;
    waiting.send(&ask(CHAT, "silent/m", false)).await;
    gateway.status_when("all three are served", |status| status["in_flight"] == 3).await;
    gateway.terminate();

    let (rest, complete) = chat.rest().await;
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(complete && rest.contains("shut down") && rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest}");
    let (rest, complete) = claude.rest().await;
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(complete && rest.contains("event: error") && rest.contains("shut down"), "{rest}");
    let refused = waiting.reply().await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("shut down"), "{}", refused.text());

    assert_eq!(gateway.ended().await, Some(0));
    let (log, _) = gateway.output();
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let faults: Vec<_> =
        lines.iter().map(|line| (line["fault"].as_str(), line["attempts"][0]["outcome"].as_str())).collect();
    assert_eq!(faults, [(Some("gateway"), Some("gateway")); 3], "{lines:#?}");
    let rows = usage(&ledger, &["--by", "provider"]);
    let providers: Vec<_> = rows.iter().map(|row| row["provider"].as_str().unwrap()).collect();
    assert!(providers.contains(&"chat") && providers.contains(&"claude"), "{rows:?}");
}

#[tokio::test]
async fn a_second_signal_or_an_interrupt_waits_for_nothing_and_loses_nothing() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    for (first, second) in [("TERM", Some("TERM")), ("TERM", Some("INT")), ("INT", None)] {
        for delay in ["", "shutdown_delay = \"1m\""] {
            let case = format!("{first} {second:?} {delay}");
            let mut gateway = Gateway::builder().server(delay).config(&provider).start().await;
            let mut client = H1::connect(gateway.addr).await;
            client.send(&ask(CHAT, "mock/lorem-1000-every-50ms", true)).await;
            let mut stream = client.respond().await;
            stream.until("data:").await;
            gateway.signal(first);
            if let Some(second) = second {
                gateway.status_when("it drains", |status| status["state"] == "draining").await;
                gateway.signal(second);
            }
            let (rest, complete) = stream.rest().await;
            let rest = String::from_utf8_lossy(&rest).into_owned();
            assert!(complete && rest.contains("shut down"), "{case}: {rest}");
            assert_eq!(gateway.ended().await, Some(0), "{case}");
            let log: Vec<Value> = gateway.output().0.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!((log.len(), log[0]["fault"].as_str()), (1, Some("gateway")), "{case}: {log:#?}");
        }
    }
}

/// What has been ended by the drain's end is no longer waited for by anybody, but its records are written.
#[tokio::test]
async fn a_signal_behind_the_end_of_the_drain_loses_nothing() {
    let mock = Mock::start().await;
    for signals in [&["TERM"][..], &["INT"], &["TERM", "TERM", "INT"]] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.db");
        let config = format!("[ledger]\npath = \"{}\"", ledger.display());
        let mut gateway = Gateway::builder()
            .server("drain = \"300ms\"")
            .config(&mock.provider("mock", Dialect::OpenAiChat))
            .config(&config)
            .start()
            .await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(H1::connect(gateway.addr).await);
        }
        let mut streams = Vec::new();
        for client in &mut clients {
            client.send(&ask(CHAT, "mock/lorem-1000-every-50ms", true)).await;
            let mut stream = client.respond().await;
            stream.until("data:").await;
            streams.push(stream);
        }
        gateway.terminate();
        for stream in &mut streams {
            let (rest, complete) = stream.rest().await;
            assert!(complete && String::from_utf8_lossy(&rest).contains("shut down"), "{signals:?}");
        }
        signals.iter().for_each(|signal| gateway.signal(signal));
        assert_eq!(gateway.ended().await, Some(0), "{signals:?}");
        assert_eq!(gateway.output().0.len(), 4, "{signals:?}: {:#?}", gateway.output());
        assert_eq!(usage(&ledger, &["--by", ""])[0]["requests"], 4, "{signals:?}");
    }
}

#[tokio::test]
async fn a_delay_lets_balancers_notice_before_the_listeners_close() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let mut gateway = Gateway::builder().server("shutdown_delay = \"1m\"").config(&provider).start().await;
    gateway.terminate();
    gateway.status_when("it drains", |status| status["state"] == "draining").await;
    assert_eq!(ready(&gateway).await, 503);
    assert_eq!(exchange(gateway.addr, &ask(CHAT, "mock/lorem-3", false)).await.status, 200);
    gateway.signal("INT");
    assert_eq!(gateway.ended().await, Some(0));
}

/// Of three starts the fastest: the machine may be busy with other tests.
#[tokio::test]
async fn nothing_out_of_reach_keeps_a_gateway_from_answering() {
    let (hanging, refusing) = (Hanging::new().await, Refusing::new());
    let mock = Mock::start().await;
    let (mut fastest, mut all) = (Duration::MAX, Vec::new());
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let key = "sk-gw-start-to-first-answer";
        let config = format!(
            "{}[providers.nowhere]\nkind = \"openai-compatible\"\nbase_url = \"https://nowhere.invalid/v1\"\napi_key = \"none-of-it\"\n\
             health = {{ probe = {{ path = \"/models\", every = \"1s\" }} }}\n\
             [store]\nredis = \"redis://{}\"\npath = \"{}/keys.db\"\n\
             [cache]\nredis = true\n\
             [telemetry]\notlp = {{ endpoint = \"http://{}\" }}\ntraces = {{ sample = \"100%\" }}\nmetrics = {{ every = \"1s\" }}\n\
             [ledger]\npath = \"{}/ledger.db\"\n\
             [[keys]]\nname = \"bot\"\nhash = \"{}\"\nlimits = {{ requests = \"100/min\" }}\nbudget = {{ usd = 1, per = \"day\" }}\n\
             [[jwt.issuers]]\nissuer = \"https://issuer.invalid\"\njwks = \"http://{}/keys\"\naudience = \"x\"\nkey = \"bot\"\n",
            mock.provider("mock", Dialect::OpenAiChat),
            hanging.addr,
            dir.path().display(),
            hanging.addr,
            dir.path().display(),
            bodies::key_hash(key),
            refusing.addr,
        );
        let began = Instant::now();
        let gateway = Gateway::start(&config).await;
        let listening = began.elapsed();
        let request = ask(CHAT, "mock/lorem-1", false).header("authorization", &format!("Bearer {key}"));
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answered = began.elapsed();
        fastest = fastest.min(answered);
        all.push((listening, answered));
        assert_eq!(ready(&gateway).await, 200);
    }
    eprintln!("start to first answer: {fastest:?}; each, to \"listening\" and to the answer: {all:?}");
    // A build without optimisations takes most of it to read the system's certificates.
    let most = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 100 });
    assert!(fastest < most, "{fastest:?}");
}

/// Who waits for a provider, behind a failed attempt or before the first one, is told of the end, too.
#[tokio::test]
async fn who_waits_for_a_provider_is_told_of_the_end() {
    let stub = Stub::always(Answer::json(429, "{}").header("retry-after", "50")).await;
    let config = format!(
        "{}[models.m]\ntargets = [{{ provider = \"p\", model = \"x\" }}]\nretry = {{ max_wait = \"60s\" }}\n",
        bodies::openai_provider("p", &stub.origin())
    );
    let mut gateway = Gateway::builder().server("drain = \"700ms\"").config(&config).start().await;
    let mut behind = H1::connect(gateway.addr).await;
    behind.send(&ask(CHAT, "m", false)).await;
    stub.next().await;
    let resting = |status: &Value| status["targets"][0]["state"] == "waiting";
    gateway.admin_when("/api/targets", "it rests", resting).await;
    let mut before = H1::connect(gateway.addr).await;
    before.send(&ask(CHAT, "m", false)).await;
    gateway.status_when("both are served", |status| status["in_flight"] == 2).await;
    gateway.terminate();
    for waiting in [&mut behind, &mut before] {
        let reply = waiting.reply().await.unwrap();
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.text().contains("shut down"), "{}", reply.text());
        assert_eq!(reply.header("retry-after"), "1", "another instance, or the next one, may have it at once");
    }
    assert_eq!(gateway.ended().await, Some(0));
    assert_eq!(stub.count(), 1);
}

/// Who waits for a plugin, or for what its question means, is told of the end, too.
#[tokio::test]
async fn who_waits_for_a_plugin_is_told_of_the_end() {
    let (never, gate) = (Gate::new(), Gate::new());
    let of_stub = gate.clone();
    let up = Stub::start(move |request| {
        let body = request.json();
        let [role, words, finish, usage, done] = bodies::chat_events("words to look at");
        let begun = Answer::sse([role]).step(Step::Wait(of_stub.clone())).step(Step::Send(words.into()));
        match body["model"].as_str().unwrap() {
            "vector" => Answer::status(200).after(&never),
            "stalls" => begun.step(Step::Stall),
            _ if body["stream"] == true => {
                [finish, usage, done].into_iter().fold(begun, |answer, event| answer.step(Step::Send(event.into())))
            }
            _ => Answer::json(200, bodies::chat_answer("words to look at")),
        }
    })
    .await;
    let hook = Stub::always(Answer::status(200).after(&Gate::new())).await;
    let plugin = |name: &str, more: &str| {
        let when = format!("when = {{ header = {{ \"x-guard\" = \"{name}\" }} }}");
        let url = format!("url = \"{}\"", hook.origin());
        format!("[[plugins]]\nuse = \"webhook\"\nname = \"{name}\"\n{when}\n{url}\ntimeout = \"60s\"\n{more}\n")
    };
    let model = |name: &str, target: &str, more: &str| {
        format!(
            "[models.{name}]\ntargets = [{{ provider = \"up\", model = \"{target}\" }}]\ncache = {{ ttl = \"10m\"{more} }}\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let semantic = ", semantic = { model = \"up/vector\", threshold = 0.9, timeout = \"60s\" }";
    let mut gateway = Gateway::builder()
        .server("drain = \"700ms\"")
        .config(&bodies::openai_provider("up", &up.origin()))
        .config(&plugin("before", ""))
        .config(&plugin("behind", "on = [\"answer\"]\nwindow = 4"))
        .config(&model("kept", "fine", ""))
        .config(&model("shared", "stalls", ""))
        .config(&model("near", "fine", semantic))
        .config(&format!("[ledger]\npath = \"{}\"", ledger.display()))
        .start()
        .await;
    assert_eq!(exchange(gateway.addr, &ask(CHAT, "kept", false)).await.status, 200);
    up.next().await;
    let guarded = |guard: &str, model: &str, stream| ask(CHAT, model, stream).header("x-guard", guard);

    let mut streams = Vec::new();
    for model in ["up/fine", "up/stalls", "shared", "shared"] {
        let mut client = H1::connect(gateway.addr).await;
        client.send(&guarded("behind", model, true)).await;
        streams.push((model, client));
    }
    gateway.followed(1).await;
    let mut begun = Vec::new();
    for (model, client) in &mut streams {
        begun.push((*model, client.respond().await));
    }
    gate.open();
    let mut waiting = Vec::new();
    for (guard, model) in [("before", "up/fine"), ("behind", "up/fine"), ("behind", "kept"), ("none", "near")] {
        let mut client = H1::connect(gateway.addr).await;
        client.send(&guarded(guard, model, false)).await;
        waiting.push((guard, model, client));
    }
    // Four streams and three others; three calls for the streams, one more answer and a vector.
    for _ in 0..7 {
        hook.next().await;
    }
    for _ in 0..5 {
        up.next().await;
    }
    gateway.terminate();
    for (model, stream) in &mut begun {
        let (rest, complete) = stream.rest().await;
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(complete && rest.contains("shut down") && rest.contains("\"error\""), "{model}: {rest}");
        assert!(!rest.contains("words") && !rest.contains("[DONE]"), "{model}: {rest}");
    }
    for (guard, model, client) in &mut waiting {
        let reply = client.reply().await.unwrap_or_else(|| panic!("{guard} {model}: no answer"));
        assert_eq!(reply.status, 503, "{guard} {model}: {}", reply.text());
        assert!(reply.text().contains("shut down"), "{guard} {model}: {}", reply.text());
    }
    assert_eq!(gateway.ended().await, Some(0));
    let log: Vec<Value> = gateway.output().0.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let faults = log.iter().filter(|line| line["fault"] == "gateway").count();
    assert_eq!((log.len(), faults), (9, 8), "{log:#?}");
    let rows = usage(&ledger, &["--by", "model"]);
    let requests: u64 = rows.iter().map(|row| row["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, 9, "{rows:?}");
}
