//! Another process takes over: no connection refused, no stream broken, no record lost, no limit doubled; and if it cannot, the
//! old one serves on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Framing, H1, H2, Reply, Request, exchange};
use ai_gateway_tests::load::Load;
use ai_gateway_tests::{Answer, Gate, Gateway, Mock, Step, Stub, bodies, guard, lives, run_to_end, signal, usage};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;

fn ask(model: &str, stream: bool) -> Request {
    let body =
        serde_json::json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "hi" }] });
    Request::post("/v1/chat/completions", body.to_string())
}

fn is_whole(reply: &Reply) -> bool {
    reply.status == 200 && reply.complete && reply.text().ends_with("data: [DONE]\n\n")
}

/// A stream that has begun, and goes on when the gate opens.
fn held(gate: &Gate) -> Answer {
    let [role, word, rest @ ..] = bodies::chat_events("fine");
    Answer::sse([role, word]).step(Step::Wait(gate.clone())).step(Step::Send(rest.concat().into()))
}

async fn gone(pid: u32) {
    guard("the process ends", async {
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn rows(ledger: &Path) -> u64 {
    let rows = usage(ledger, &["--by", ""]);
    rows[0]["requests"].as_u64().unwrap_or_else(|| panic!("{rows:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_upgrades_in_a_row_under_load() {
    let mock = Mock::start().await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let stub = Stub::always(held(&gate)).await;
    let mut gateway = Gateway::builder()
        .own_binary()
        .config(&mock.provider("mock", Dialect::OpenAiChat))
        .config(&bodies::openai_provider("stub", &stub.origin()))
        .config(&format!("[ledger]\npath = \"{}\"", ledger.display()))
        .start()
        .await;
    let addr = gateway.addr;
    let load = Load::start(addr, &ask("mock/lorem-5", false), 6, 3, Duration::from_millis(20));
    load.go_on(20).await;
    let mut streams = Vec::new();
    let mut pids = vec![gateway.pid()];
    for upgrade in 0..4 {
        // Of 4 to 6 seconds, so that those of two processes before are still there, as a rule.
        for stream in 0..12_u64 {
            let model = format!("mock/lorem-{}-every-50ms", 80 + 10 * (stream % 5));
            streams.push(tokio::spawn(async move {
                if stream % 3 == 0 {
                    H2::connect(addr).await.exchange(&ask(&model, true).framing(Framing::H2(1 << 14))).await
                } else {
                    H1::connect(addr).await.exchange(&ask(&model, true)).await
                }
            }));
        }
        if upgrade == 2 {
            streams.push(tokio::spawn(async move { exchange(addr, &ask("stub/m", true)).await }));
            stub.next().await;
        }
        load.go_on(60).await;
        if upgrade < 3 {
            pids.push(gateway.upgrade().await);
            load.go_on(60).await;
        }
    }
    // The last process knows all that finish streams before it.
    let status = gateway.status().await;
    assert_eq!(status["pid"], *pids.last().unwrap());
    let before: Vec<u64> =
        status["predecessors"].as_array().unwrap().iter().map(|p| p["pid"].as_u64().unwrap()).collect();
    assert!(before.contains(&u64::from(pids[2])), "{status:#}");
    gate.open();

    let count = streams.len() as u64;
    for stream in streams {
        let reply = stream.await.unwrap();
        assert!(is_whole(&reply), "{} {}", reply.status, reply.text());
    }
    let (done, failures) = load.end().await;
    assert_eq!(failures, Vec::<String>::new(), "of {done} requests");
    eprintln!("{done} requests and {count} streams through {} processes", pids.len());
    assert_eq!(gateway.ended().await, Some(0));
    gone(pids[1]).await;
    gone(pids[2]).await;
    gateway.status_when("no predecessor is left", |status| status["predecessors"] == serde_json::json!([])).await;
    signal(pids[3], "TERM");
    gone(pids[3]).await;
    assert_eq!(rows(&ledger), done + count, "each request has one record");
}

/// A program in the place of the gateway's that passes its check.
fn replace(binary: &Path, script: &str) {
    std::fs::remove_file(binary).unwrap();
    std::fs::write(binary, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(binary, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn after_a_failed_upgrade_the_old_process_serves_on() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let gateway = Gateway::builder().own_binary().config(&provider).start().await;
    let mut connection = H1::connect(gateway.addr).await;
    let binary = gateway.binary();
    let mut failed = async |how: &str, told: &str, args: &[&str]| {
        let outcome = gateway.command(&[&["upgrade"], args].concat());
        assert_eq!(outcome.code, Some(1), "{how}: {outcome:?}");
        assert!(outcome.stderr.contains(told), "{how}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("The running gateway serves on."), "{how}: {}", outcome.stderr);
        assert_eq!(gateway.status().await["pid"], gateway.pid(), "{how}");
        assert_eq!(connection.exchange(&ask("mock/lorem-3", false)).await.status, 200, "{how}");
    };
    replace(&binary, "echo this is no gateway; exit 7");
    failed("it does not even check", "this is no gateway", &[]).await;
    replace(&binary, "[ $1 = check ] || exit 7");
    failed("it ends", "ended before it served (exit status: 7)", &[]).await;
    replace(&binary, "[ $1 = check ] || exec sleep 60");
    failed("it hangs", "did not serve within 500ms", &["--timeout", "500ms"]).await;
    replace(&binary, "exec sleep 60");
    failed("its check hangs", "did not serve within 500ms", &["--timeout", "500ms"]).await;
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o644)).unwrap();
    failed("it may not be run", "cannot be started: Permission denied", &[]).await;
    std::fs::remove_file(&binary).unwrap();
    failed("it is not there", "cannot be started: No such file", &[]).await;

    std::os::unix::fs::symlink(ai_gateway_tests::binary(), &binary).unwrap();
    gateway.write("drain = \"often\"", &provider);
    failed("its file is wrong", "gateway.toml:4:9: `often` is not a duration", &[]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = std::fs::read_to_string(gateway.file()).unwrap();
    let other = format!("listen = [\"{}\"]", taken.local_addr().unwrap());
    std::fs::write(gateway.file(), file.replace("listen = [\"127.0.0.1:0\"]", &other).replace("often", "1m")).unwrap();
    failed("it cannot listen", "cannot be listened on: Address already in use", &[]).await;

    gateway.write("", &provider);
    let outcome = gateway.command(&["upgrade"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.starts_with("upgraded: process "), "{outcome:?}");
    let pid: u32 = outcome.stdout.split([' ', ',']).nth(2).unwrap().parse().unwrap();
    gateway.adopt(pid);
    assert_eq!(gateway.status().await["pid"], pid);
    assert_eq!(exchange(gateway.addr, &ask("mock/lorem-3", false)).await.status, 200);
}

#[tokio::test]
async fn an_upgrade_by_signal_and_a_drained_target_stays_drained() {
    let (mock, gate) = (Mock::start().await, Gate::new());
    let stub = Stub::always(held(&gate)).await;
    let gateway = Gateway::builder()
        .own_binary()
        .config(&mock.provider("mock", Dialect::OpenAiChat))
        .config(&bodies::openai_provider("stub", &stub.origin()))
        .config("[models.m]\ntargets = [{ provider = \"mock\", model = \"lorem-3\" }, { provider = \"mock\", model = \"lorem-4\" }]")
        .start()
        .await;
    let first = gateway.pid();
    let drain = Request::post("/api/targets/drain?target=mock/lorem-3", "");
    assert_eq!(exchange(gateway.admin, &drain).await.status, 200);
    let stream = tokio::spawn({
        let addr = gateway.addr;
        async move { exchange(addr, &ask("stub/m", true)).await }
    });
    gateway.status_when("the stream has begun", |status| status["in_flight"] == 1).await;
    gateway.signal("USR2");
    let status = gateway.status_when("another process serves", |status| status["pid"] != first).await;
    gateway.adopt(status["pid"].as_u64().unwrap() as u32);
    let with_stream = |status: &Value| status["predecessors"][0]["in_flight"] == 1;
    let status = gateway.status_when("the old one tells what it has", with_stream).await;
    assert_eq!(status["predecessors"][0]["pid"], first);
    let page = gateway.command(&["status"]).stdout;
    assert!(page.contains(&format!("process {first} (")) && page.contains("finishes 1 requests"), "{page}");
    let targets = exchange(gateway.admin, &Request::get("/api/targets")).await.json();
    let drained =
        targets["targets"].as_array().unwrap().iter().find(|target| target["model"] == "lorem-3").unwrap().clone();
    assert_eq!(drained["state"], "drained");
    for _ in 0..4 {
        let reply = exchange(gateway.addr, &ask("m", false)).await;
        assert_eq!(reply.header("x-gateway-model"), "lorem-4");
    }
    gate.open();
    assert!(is_whole(&stream.await.unwrap()));
}

/// The file says what will be: the commands tell so, and a signal needs neither key nor address.
#[tokio::test]
async fn a_file_with_another_admin_key_or_address_does_not_lock_the_commands_out() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let keys = ["admin-key-of-the-start", "admin-key-of-a-reload", "admin-key-of-a-signal"];
    let line = |number: usize| format!("admin_key = \"{}\"", keys[number]);
    let gateway = Gateway::builder().own_binary().server(&line(0)).config(&provider).start().await;
    let (file, admin, pid) = (gateway.file(), gateway.admin.to_string(), gateway.pid().to_string());
    let file = file.to_str().unwrap();
    let status = async |address: std::net::SocketAddr, number: usize| {
        let asked = Request::get("/api/status").header("authorization", &format!("Bearer {}", keys[number]));
        exchange(address, &asked).await
    };

    gateway.write(&line(1), &provider);
    let reload = ["reload", "--config", file, "--admin", &admin];
    let refused = run_to_end(&reload, "", &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("AI_GATEWAY_ADMIN_KEY"), "{refused:?}");
    let reloaded = run_to_end(&reload, "", &[("AI_GATEWAY_ADMIN_KEY", keys[0])]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert_eq!(status(gateway.admin, 1).await.status, 200);

    gateway.write(&line(2), &provider);
    let told = run_to_end(&[&reload[..], &["--pid", &pid]].concat(), "", &[]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stderr.contains("got a signal instead"), "{told:?}");
    guard("the reload", async {
        while status(gateway.admin, 2).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    let other = ai_gateway_tests::redis::own_addr();
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{other}\""))).unwrap();
    let upgrade = ["upgrade", "--config", file];
    let refused = run_to_end(&upgrade, "", &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("`--admin` names"), "{refused:?}");
    assert!(!refused.stderr.contains("serves on"), "{refused:?}");
    let told = run_to_end(&[&upgrade[..], &["--pid", &pid]].concat(), "", &[]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let successor = guard("the upgrade", async {
        loop {
            if tokio::net::TcpStream::connect(other).await.is_ok() {
                break status(other, 2).await.json()["pid"].as_u64().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    gateway.adopt(u32::try_from(successor).unwrap());
    assert_ne!(successor, u64::from(gateway.pid()));
}

#[tokio::test]
async fn nobody_has_to_read_what_it_prints() {
    let mock = Mock::start().await;
    let warned = bodies::openai_provider("warned", "http://upstream.invalid");
    let gateway = Gateway::builder()
        .own_binary()
        .unheard()
        .config(&mock.provider("mock", Dialect::OpenAiChat))
        .config(&warned)
        .start()
        .await;
    let pid = gateway.upgrade().await;
    assert_eq!(gateway.status().await["pid"], pid);
    assert_eq!(exchange(gateway.addr, &ask("mock/lorem-3", false)).await.status, 200);
}

#[tokio::test]
async fn an_answer_that_ends_in_the_old_process_is_known_to_the_new_one() {
    let gate = Gate::new();
    let held = gate.clone();
    let stub = Stub::start(move |request| {
        let answer = Answer::json(200, r#"{"id":"resp_1","object":"response","status":"completed","output":[]}"#);
        if request.method == "POST" { answer.after(&held) } else { answer }
    })
    .await;
    let other = Stub::always(Answer::json(404, "{}")).await;
    let gateway = Gateway::builder()
        .own_binary()
        .config(&bodies::responses_provider("other", &other.origin()))
        .config(&bodies::responses_provider("stub", &stub.origin()))
        .start()
        .await;
    let mut old = H1::connect(gateway.addr).await;
    old.send(&Request::post("/v1/responses", bodies::response("stub/m", false))).await;
    stub.next().await;
    gateway.upgrade().await;
    gate.open();
    assert_eq!(old.reply().await.unwrap().json()["id"], "resp_1");
    guard("the new process knows who keeps it", async {
        while exchange(gateway.addr, &Request::get("/v1/responses/resp_1")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(stub.next().await.target, "/v1/responses/resp_1");
    assert_eq!(other.count(), 0);
}

/// The ledger's database is locked when the process starts, so it does not know yet what was used before.
#[tokio::test]
async fn limits_know_what_was_used_before_although_an_upgrade_came_early() {
    let mock = Mock::start().await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let key = "sk-gw-test-of-an-early-upgrade";
    let config = format!(
        "{}[ledger]\npath = \"{}\"\n[[keys]]\nname = \"bot\"\nhash = \"{}\"\nlimits = {{ requests = \"5/day\" }}",
        mock.provider("mock", Dialect::OpenAiChat),
        ledger.display(),
        bodies::key_hash(key)
    );
    let asked = ask("mock/lorem-1", false).header("authorization", &format!("Bearer {key}"));
    let mut before = Gateway::start(&config).await;
    for _ in 0..4 {
        assert_eq!(exchange(before.addr, &asked).await.status, 200);
    }
    before.terminate();
    assert_eq!(before.ended().await, Some(0));

    let lock = rusqlite::Connection::open(&ledger).unwrap();
    lock.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; CREATE TABLE of_the_test (x)").unwrap();
    let gateway = Gateway::builder().own_binary().config(&config).start().await;
    let reads = "what was used before is still being read";
    let ready = exchange(gateway.admin, &Request::get("/health/ready")).await.text();
    assert!(ready.contains(reads), "{ready}");
    let refused = exchange(gateway.admin, &Request::post("/api/upgrade?timeout=100ms", "")).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("still being read from the ledger"), "{}", refused.text());
    drop(lock);
    let pid = gateway.upgrade().await;
    assert_eq!(gateway.status().await["pid"], pid);
    assert_eq!(exchange(gateway.addr, &asked).await.status, 200);
    assert_eq!(exchange(gateway.addr, &asked).await.status, 429, "that was the fifth");
}

#[tokio::test]
async fn two_living_processes_do_not_double_what_is_allowed() {
    let gate = Gate::new();
    let held = gate.clone();
    let stub = Stub::start(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if body["stream"] == true {
            let (role, word, finish) = (bodies::chat_role(), bodies::chat_delta("fine"), bodies::chat_finish());
            let rest = [finish, bodies::chat_usage(), bodies::DONE.to_owned()].concat();
            return Answer::sse([role, word]).step(Step::Wait(held.clone())).step(Step::Send(rest.into()));
        }
        Answer::json(200, bodies::chat_answer("fine"))
    })
    .await;
    let key = "sk-gw-test-of-an-upgrade";
    let limits = "limits = { requests = \"10/hour\", concurrent = 2 }";
    let gateway = Gateway::builder()
        .own_binary()
        .config(&bodies::openai_provider("stub", &stub.origin()))
        .config(&format!("[[keys]]\nname = \"bot\"\nhash = \"{}\"\n{limits}", bodies::key_hash(key)))
        .start()
        .await;
    let asked = |stream: bool| {
        let body = serde_json::json!({ "model": "stub/m", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] });
        Request::post("/v1/chat/completions", body.to_string()).header("authorization", &format!("Bearer {key}"))
    };
    for _ in 0..4 {
        assert_eq!(exchange(gateway.addr, &asked(false)).await.status, 200);
    }
    let mut old = H1::connect(gateway.addr).await;
    old.send(&asked(true)).await;
    let mut stream = old.respond().await;
    stream.until("fine").await;
    gateway.upgrade().await;

    // The stream over there is one of the two at a time.
    let mut new = H1::connect(gateway.addr).await;
    new.send(&asked(true)).await;
    let mut second = new.respond().await;
    second.until("fine").await;
    // Its connection may have been one of the last that the old process took, which tells of it some milliseconds later.
    let both = |limits: &Value| {
        let all = limits["subjects"][0]["limits"].as_array();
        all.is_some_and(|all| all.iter().any(|limit| limit["what"] == "concurrent" && limit["reserved"] == 2))
    };
    guard("the new process knows of both streams", async {
        while !both(&exchange(gateway.admin, &Request::get("/api/limits")).await.json()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let refused = exchange(gateway.addr, &asked(false)).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    gate.open();
    stream.until("[DONE]").await;
    second.until("[DONE]").await;
    drop(old);
    // Six were used; told to the new process, the two streams are over.
    gateway.status_when("the old one is gone", |status| status["predecessors"] == serde_json::json!([])).await;
    for n in 0..4 {
        let reply = exchange(gateway.addr, &asked(false)).await;
        assert_eq!(reply.status, 200, "{n}: {}", reply.text());
    }
    assert_eq!(exchange(gateway.addr, &asked(false)).await.status, 429);
}

/// Of two processes that are asked at once, the old one on connections of before, both together let in what one would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_connections_bring_no_more_than_is_left() {
    const EACH: usize = 6;
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    // A request is expected to cost 0.010018 dollars.
    let kinds = [
        ("requests", "limits = { requests = \"4/hour\" }", 4),
        ("concurrent", "limits = { concurrent = 3 }", 3),
        ("tokens", "limits = { tokens = \"2200/hour\" }", 2),
        ("budget", "budget = { usd = 0.015, per = \"day\" }", 2),
    ];
    let keys = kinds.map(|(kind, limits, _)| {
        format!("[[keys]]\nname = \"{kind}\"\nhash = \"{}\"\n{limits}\n", bodies::key_hash(&secret(kind)))
    });
    let models =
        "[models.m]\ntargets = [{ provider = \"stub\", model = \"m\", price = { input = \"1\", output = \"10\" } }]\n";
    let gateway = Gateway::builder()
        .own_binary()
        .config(&bodies::openai_provider("stub", &stub.origin()))
        .config(&format!("{models}[limits]\nreserve = \"usual\"\n{}", keys.concat()))
        .start()
        .await;
    let asked = |kind: &str| ask("m", false).header("x-api-key", &secret(kind));
    let mut kept = Vec::new();
    for (kind, ..) in kinds {
        for _ in 0..EACH {
            let mut connection = H1::connect(gateway.addr).await;
            let seen = connection.exchange(&Request::get("/v1/models").header("x-api-key", &secret(kind))).await;
            assert_eq!(seen.status, 200);
            kept.push((kind, connection));
        }
    }
    gateway.upgrade().await;

    let mut asking = FuturesUnordered::new();
    for (kind, mut connection) in kept {
        let (old, new) = (asked(kind), asked(kind));
        let addr = gateway.addr;
        asking.push(tokio::spawn(async move { (kind, connection.exchange(&old).await) }));
        asking.push(tokio::spawn(async move { (kind, exchange(addr, &new).await) }));
    }
    let passing: usize = kinds.iter().map(|(.., most)| most).sum();
    guard("those that are refused", async {
        for _ in passing..2 * EACH * kinds.len() {
            let (kind, reply) = asking.next().await.unwrap().unwrap();
            assert_eq!(reply.status, 429, "{kind}: {}", reply.text());
        }
    })
    .await;
    gate.open();
    let mut passed = Vec::new();
    while let Some(reply) = asking.next().await {
        let (kind, reply) = reply.unwrap();
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
        passed.push(kind);
    }
    for (kind, _, most) in kinds {
        assert_eq!(passed.iter().filter(|of| **of == kind).count(), most, "{kind}");
    }
    // What they have used counts where the next ones come, and nothing is held any more.
    let limits = guard("nothing is reserved", async {
        loop {
            let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
            let all = limits["subjects"].as_array().unwrap().iter().flat_map(|of| of["limits"].as_array().unwrap());
            if all.clone().all(|limit| limit["reserved"].as_f64() == Some(0.0)) {
                break limits;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let used = |kind: &str| {
        let subjects = limits["subjects"].as_array().unwrap();
        let of = subjects.iter().find(|subject| subject["name"] == kind).unwrap_or_else(|| panic!("{limits:#}"));
        of["limits"][0]["used"].as_f64().unwrap_or_else(|| panic!("{limits:#}"))
    };
    assert_eq!((used("requests"), used("tokens")), (4.0, 24.0), "{limits:#}");
    assert!(used("budget") > 0.0, "{limits:#}");
}

fn secret(of: &str) -> String {
    format!("sk-gw-test-of-{of}")
}
