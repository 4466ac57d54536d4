//! Reloads: all or nothing, told with line and column, and unnoticed by clients.

use std::time::Duration;

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{H1, Request, exchange};
use ai_gateway_tests::load::Load;
use ai_gateway_tests::tls::Authority;
use ai_gateway_tests::{Answer, Gateway, Mock, Stub, bodies};
use serde_json::{Value, json};

fn ask(model: &str) -> Request {
    Request::post("/v1/chat/completions", bodies::chat(model))
}

async fn reload(gateway: &Gateway) -> (u16, Value) {
    let reply = exchange(gateway.admin, &Request::post("/api/reload", "")).await;
    (reply.status, reply.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let config = |n: u32| {
        let other = format!("[models.m{}]\ntargets = [{{ provider = \"mock\", model = \"lorem-{n}\" }}]", n % 7);
        let model = "[models.m]\ntargets = [{ provider = \"mock\", model = \"lorem-5\" }]";
        format!(
            "{provider}{model}\n{other}\n[[routes]]\nname = \"r{n}\"\nwhen = {{ model = \"x-{n}\" }}\nmodel = \"m\"\n"
        )
    };
    let gateway = Gateway::start(&config(0)).await;
    let load = Load::start(gateway.addr, &ask("m"), 4, 2, Duration::from_millis(5));
    let stream = tokio::spawn({
        let addr = gateway.addr;
        async move {
            let body = json!({ "model": "mock/lorem-60-every-50ms", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
            exchange(addr, &Request::post("/v1/chat/completions", body.to_string())).await
        }
    });
    for n in 1..=100 {
        gateway.write(&format!("max_body = \"{}MiB\"", 1 + n % 3), &config(n));
        if n % 10 == 0 {
            gateway.signal("HUP");
            let next = u64::from(n) + 1;
            gateway.status_when("the signal is obeyed", |status| status["config"]["generation"] == next).await;
        } else {
            let (status, verdict) = reload(&gateway).await;
            assert_eq!((status, &verdict["generation"]), (200, &json!(n + 1)), "{verdict}");
        }
        load.go_on(2).await;
    }
    let (done, failures) = load.end().await;
    assert_eq!(failures, Vec::<String>::new(), "of {done} requests");
    let stream = stream.await.unwrap();
    assert!(stream.complete && stream.text().ends_with("data: [DONE]\n\n"));
    eprintln!("{done} requests and 100 reloads");
    assert_eq!(gateway.counted("gateway_config_generation", "").await, 101);
    assert_eq!(gateway.counted("gateway_config_reloads_total", "taken").await, 100);
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_is_told_where() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let model = |to: &str| format!("{provider}[models.m]\ntargets = [{{ provider = \"{to}\", model = \"lorem-3\" }}]");
    let gateway = Gateway::start(&model("mock")).await;
    gateway.write("", &model("mcok"));
    let (status, verdict) = reload(&gateway).await;
    assert_eq!(status, 400);
    let problem = &verdict["error"]["problems"][0];
    let file = std::fs::read_to_string(gateway.file()).unwrap();
    let line = file.lines().position(|line| line.contains("mcok")).unwrap();
    let column = file.lines().nth(line).unwrap().find("\"mcok").unwrap();
    assert_eq!((&problem["line"], &problem["column"]), (&json!(line + 1), &json!(column + 1)), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("mock"), "{problem}");

    let outcome = gateway.command(&["reload"]);
    assert_eq!(outcome.code, Some(1));
    let place = format!("gateway.toml:{}:{}:", line + 1, column + 1);
    assert!(outcome.stderr.contains(&place), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("The configuration in force stays."), "{}", outcome.stderr);
    std::fs::write(gateway.file(), "[server\n").unwrap();
    let outcome = gateway.command(&["reload"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("gateway.toml:1:"), "{outcome:?}");

    assert_eq!(exchange(gateway.addr, &ask("m")).await.status, 200);
    assert_eq!(gateway.counted("gateway_config_generation", "").await, 1);
    assert_eq!(gateway.counted("gateway_config_last_reload_successful", "").await, 0);
    assert_eq!(gateway.counted("gateway_config_reloads_total", "refused").await, 3);
    let status = gateway.status().await;
    assert_eq!(
        (&status["config"]["generation"], &status["config"]["last_reload"]["taken"]),
        (&json!(1), &json!(false))
    );
    assert!(gateway.command(&["status"]).stdout.contains("was refused:"));

    gateway.write("", &model("mock"));
    let outcome = gateway.command(&["reload"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "reloaded: configuration 2 is in force\n"));
    assert_eq!(gateway.status().await["config"]["last_reload"]["taken"], true);
}

/// All or nothing: what a file names is opened before anything of it is in force.
#[tokio::test]
async fn a_log_that_cannot_be_opened_changes_nothing() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let model = |name: &str| format!("[models.{name}]\ntargets = [{{ provider = \"mock\", model = \"lorem-3\" }}]\n");
    let gateway = Gateway::start(&format!("{provider}{}", model("before"))).await;
    let with = |to: &str| format!("{provider}{}[access_log]\nto = \"file:{to}\"\n", model("after"));
    gateway.write("", &with("/nowhere/access.log"));
    let (status, verdict) = reload(&gateway).await;
    let told = verdict["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400, "{verdict}");
    assert!(told.starts_with("access_log.to: `/nowhere/access.log`: No such file"), "{told}");
    let outcome = gateway.command(&["reload"]);
    assert!(outcome.code == Some(1) && outcome.stderr.starts_with("error: access_log.to: "), "{outcome:?}");
    assert_eq!(exchange(gateway.addr, &ask("before")).await.status, 200);
    assert_eq!(exchange(gateway.addr, &ask("after")).await.status, 404);
    assert_eq!(gateway.status().await["config"]["generation"], 1);

    // One that can be is written to from the reload on.
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    gateway.write("", &with(log.to_str().unwrap()));
    assert_eq!(reload(&gateway).await.0, 200);
    assert!(log.exists());
}

/// A signal has nobody to tell what is doubtful about the file: the log says it.
#[tokio::test]
async fn what_is_doubtful_is_told_in_the_log() {
    let provider = |name| bodies::openai_provider(name, "http://127.0.0.1:1");
    let mut gateway = Gateway::start(&provider("stub")).await;
    // Its key stands in the file.
    gateway.write("", &provider("other"));
    gateway.signal("HUP");
    gateway.status_when("the signal is obeyed", |status| status["config"]["generation"] == 2).await;
    gateway.terminate();
    gateway.ended().await;
    let (_, err) = gateway.output();
    let told = err.iter().filter(|line| line.contains("a secret stands in the file itself")).count();
    assert_eq!(told, 2, "at the start, and by the reload: {err:?}");
}

/// Scripts that signal for each secret and each certificate do not wait for each other.
#[tokio::test]
async fn a_signal_that_comes_during_a_reload_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let made = std::process::Command::new("mkfifo").arg(&secret).status().unwrap();
    assert!(made.success());
    let provider = |name: &str| bodies::openai_provider(name, "http://127.0.0.1:1");
    let slow = format!(
        "[providers.slow]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"file:{}\"\n",
        secret.display()
    );
    let gateway = Gateway::start(&provider("first")).await;
    gateway.write("", &slow);
    gateway.signal("HUP");
    // Who opens it waits until it is read.
    let written = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(secret));
    let mut written = written.await.unwrap().unwrap();

    gateway.write("", &provider("late"));
    gateway.signal("HUP");
    gateway.told(|line| line.contains("the reload waits")).await;
    std::io::Write::write_all(&mut written, b"sk-slow").unwrap();
    drop(written);
    let status = gateway.status_when("both are obeyed", |status| status["config"]["generation"] == 3).await;
    assert_eq!(status["config"]["last_reload"]["taken"], true, "{status}");
    gateway.told(|line| line.contains("configuration 3 is in force")).await;
    let models = exchange(gateway.admin, &Request::get("/api/targets")).await.text();
    assert!(!models.contains("slow"), "{models}");
}

#[tokio::test]
async fn what_needs_another_process_is_refused_with_words() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let gateway = Gateway::start(&provider).await;
    gateway.write("", &format!("{provider}[ledger]\npath = \"ledger.db\"\n[providers.own]\nkind = \"mock\""));
    let (status, verdict) = reload(&gateway).await;
    assert_eq!(status, 409, "{verdict}");
    let told = verdict["error"]["message"].as_str().unwrap();
    assert!(told.contains("[ledger] cannot be changed by a reload: `ai-gateway upgrade`"), "{told}");
    assert_eq!(verdict["error"]["problems"].as_array().unwrap().len(), 2, "{verdict}");

    let get = exchange(gateway.admin, &Request::get("/api/reload")).await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn keys_secrets_the_admin_key_and_certificates_are_reloaded() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("upstream-key");
    std::fs::write(&secret, "upstream-one").unwrap();
    let (first, second) = (Authority::new(), Authority::new());
    let key = |key: &str| format!("[[keys]]\nname = \"bot\"\nhash = \"{}\"\n", bodies::key_hash(key));
    let provider = format!(
        "[providers.stub]\nkind = \"openai-compatible\"\nbase_url = \"{}/v1\"\napi_key = \"file:{}\"\n",
        stub.origin(),
        secret.display()
    );
    let server =
        |authority: &Authority, key: &str| format!("tls = {}\nadmin_key = \"{key}\"", authority.server_files());
    let gateway = Gateway::builder()
        .server(&server(&first, "admin-key-of-before"))
        .config(&format!("{provider}{}", key("sk-gw-one")))
        .start()
        .await;
    // A gateway whose provider is the first one, to see its certificate.
    let outer = async |authority: &Authority| {
        let (addr, file) = (gateway.addr, authority.file());
        let provider = |name: &str, key: &str| {
            format!(
                "[providers.{name}]\nkind = \"openai-compatible\"\nbase_url = \"https://{addr}/v1\"\nca = \"{file}\"\n\
                 api_key = \"{key}\"\n"
            )
        };
        Gateway::start(&format!("{}{}", provider("g", "sk-gw-one"), provider("h", "sk-gw-two"))).await
    };
    let trusting = outer(&first).await;
    assert_eq!(exchange(trusting.addr, &ask("g/stub/m")).await.status, 200);
    assert_eq!(stub.received()[0].header("authorization"), "Bearer upstream-one");

    std::fs::write(&secret, "upstream-two").unwrap();
    gateway.write(&server(&second, "admin-key-of-after"), &format!("{provider}{}", key("sk-gw-two")));
    let asked = |key: &str| Request::post("/api/reload", "").header("authorization", &format!("Bearer {key}"));
    assert_eq!(exchange(gateway.admin, &asked("wrong")).await.status, 401);
    let reply = exchange(gateway.admin, &asked("admin-key-of-before")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("a secret stands in the file itself"), "{}", reply.text());
    assert_eq!(exchange(gateway.admin, &asked("admin-key-of-before")).await.status, 401);
    // The command reads the key from the file.
    let outcome = gateway.command(&["reload"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");

    let trusting = outer(&second).await;
    assert_eq!(exchange(trusting.addr, &ask("h/stub/m")).await.status, 200);
    assert_eq!(exchange(trusting.addr, &ask("g/stub/m")).await.status, 502, "the old key is none any more");
    assert_eq!(stub.received()[1].header("authorization"), "Bearer upstream-two");

    // A certificate that does not fit changes nothing.
    let files = second.server_files();
    let cert = files.split('"').nth(1).unwrap();
    std::fs::write(cert, "no certificate").unwrap();
    let outcome = gateway.command(&["reload"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("holds no PEM certificate"), "{outcome:?}");
    let still = outer(&second).await;
    assert_eq!(exchange(still.addr, &ask("h/stub/m")).await.status, 200);
}

#[tokio::test]
async fn what_was_counted_survives_a_reload() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let provider = bodies::openai_provider("stub", &stub.origin());
    let key = |most: u32| {
        let hash = bodies::key_hash("sk-gw-one");
        format!("[[keys]]\nname = \"bot\"\nhash = \"{hash}\"\nlimits = {{ requests = \"{most}/hour\" }}\n")
    };
    let gateway = Gateway::start(&format!("{provider}{}", key(3))).await;
    let mut client = H1::connect(gateway.addr).await;
    let mut asked = async || client.exchange(&ask("stub/m").header("authorization", "Bearer sk-gw-one")).await.status;
    assert_eq!([asked().await, asked().await], [200, 200]);
    gateway.write("", &format!("{provider}{}", key(4)));
    assert_eq!(reload(&gateway).await.0, 200);
    assert_eq!([asked().await, asked().await, asked().await], [200, 200, 429]);
    let near = &gateway.status().await["limits_near"][0];
    assert_eq!((&near["name"], &near["used_percent"]), (&json!("bot"), &json!(100)), "{near}");
}
