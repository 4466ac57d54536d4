//! Plugins in WebAssembly, through the binary: the examples in two languages, and one that does whatever a test asks for. `make wasm`
//! compiles them and runs this.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{H1, Reply, Request, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::{Gateway, Mock, binary, run_to_end};
use sha2::{Digest, Sha256};

const TEXT: &str = "please tell about project falcon and its plans";

/// Somebody to ask.
const MOCK: &str = "\n[providers.mock]\nkind = \"mock\"\n";

/// Both ways in which components run.
const ENGINES: [&str; 2] = ["native", "interpreter"];

/// The component, which `.ci/wasm` has made.
fn component(name: &str) -> PathBuf {
    std::path::absolute(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/wasm").join(name)).unwrap()
}

fn sha256(path: &PathBuf) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap_or_else(|error| panic!("{path:?}, of make wasm: {error}"))))
}

/// An entry of `[[plugins]]`.
fn plugin(name: &str, more: &str) -> String {
    let path = component(name);
    format!("[[plugins]]\nuse = \"wasm\"\npath = {path:?}\nsha256 = \"{}\"\n{more}\n", sha256(&path))
}

/// The one that does whatever is asked for, with these hooks.
fn trickster(hooks: &str, more: &str) -> String {
    let hooks: Vec<&str> = hooks.split_whitespace().collect();
    plugin("trickster.wasm", &format!("settings = {{ hooks = {hooks:?}, window = 64 }}\n{more}"))
}

/// A gateway with these plugins, on a mock that is a provider of every dialect, named after it.
async fn stage(plugins: &str) -> (Mock, Gateway) {
    let mock = Mock::start().await;
    let providers: String = Dialect::ALL.iter().map(|dialect| mock.provider(dialect.as_str(), *dialect)).collect();
    let gateway = Gateway::start(&format!("{providers}\n{plugins}")).await;
    (mock, gateway)
}

fn question(act: &str, model: &str, stream: bool) -> Request {
    ask(Dialect::OpenAiChat, &format!("openai-chat/{model}"), TEXT, stream).header("x-do", act)
}

async fn asked(gateway: &Gateway, act: &str, stream: bool) -> Reply {
    exchange(gateway.addr, &question(act, "echo", stream)).await
}

fn said(dialect: Dialect, stream: bool, reply: &Reply) -> String {
    match hear(dialect, stream, reply) {
        Heard::Answer(answer) => answer.text,
        other => panic!("{dialect}, stream {stream}, {}: {other:?}", reply.text()),
    }
}

fn heard(reply: &Reply, stream: bool) -> String {
    said(Dialect::OpenAiChat, stream, reply)
}

/// How many lines of the log say so, once there are as many as expected: a reply may be quicker than they are read.
async fn logged(gateway: &Gateway, text: &str, expected: usize) -> usize {
    let count = || gateway.output().1.iter().filter(|line| line.contains(text)).count();
    let all = async {
        while count() < expected {
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), all).await;
    count()
}

/// What the mock saw of a request.
fn inspected(reply: &Reply) -> serde_json::Value {
    serde_json::from_str(&heard(reply, false)).unwrap()
}

async fn both_examples(engine: &str) {
    let rust = plugin(
        "codename.wasm",
        &format!("engine = \"{engine}\"\nsettings = {{ word = \"falcon\", instead = \"something\" }}"),
    );
    let python = plugin(
        "orders.wasm",
        &format!(
            "engine = \"{engine}\"\nsettings = {{ pattern = '\\bORD-\\d+', instead = \"an order\" }}\ntimeout = \"30s\""
        ),
    );
    let (_mock, gateway) = stage(&format!("{rust}{python}")).await;
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            // The model says the word itself: the Rust one changes it. What is asked goes to the model without the number.
            let text = "where is ORD-4711? and ÖORD-1, fäl";
            let reply = exchange(gateway.addr, &ask(dialect, &format!("{dialect}/echo"), text, stream)).await;
            assert_eq!(said(dialect, stream, &reply), "where is an order? and ÖORD-1, fäl", "{dialect} {stream}");
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert!(log["tags"].to_string().contains("orders"), "{log}");

            let reply = exchange(gateway.addr, &ask(dialect, &format!("{dialect}/echo"), TEXT, stream)).await;
            assert_eq!(reply.status, 403, "{}", reply.text());
            assert!(reply.text().contains("there is no such project"));
        }
    }
}

#[tokio::test]
async fn the_examples_work_in_every_dialect_streamed_and_not() {
    both_examples("native").await;
}

#[tokio::test]
async fn the_examples_work_in_the_interpreter() {
    both_examples("interpreter").await;
}

#[tokio::test]
async fn every_hook_is_called_and_may_do_what_the_native_one_may() {
    for engine in ENGINES {
        let hooks = "request-texts request-json request-chat plan upstream answer-texts answer-json answer-chat text restore window bytes end";
        let (_mock, gateway) = stage(&trickster(hooks, &format!("engine = \"{engine}\""))).await;
        let gateway = &gateway;
        for stream in [false, true] {
            let reply = asked(gateway, "", stream).await;
            assert_eq!(heard(&reply, stream), TEXT);
            let log = gateway.log_of(reply.header("x-request-id")).await.to_string();
            for event in ["request", "plan", "upstream", "answer", "text", "restore", "window", "bytes", "end"] {
                assert!(log.contains(&format!("wasm.saw={event}\"")), "{event}: {log}");
            }
            // What each event decides.
            let reply = asked(gateway, "request=reject", stream).await;
            assert_eq!(reply.status, 422);
            assert!(reply.text().contains("not with me"), "{}", reply.text());
            let reply = asked(gateway, "request=say", stream).await;
            assert_eq!(heard(&reply, stream), "said by a plugin");
            let reply = asked(gateway, "request=json", stream).await;
            assert_eq!((reply.status, reply.text().as_str()), (201, r#"{"made":"up"}"#));
            let reply = asked(gateway, "plan=reject", stream).await;
            assert_eq!(reply.status, 422);
            for act in ["request=text", "request=body", "request=chat", "text=replace", "restore=replace"] {
                let reply = asked(gateway, act, stream).await;
                assert_eq!(heard(&reply, stream), TEXT.replace("falcon", "eagle"), "{act}");
            }
            for act in ["text=birds", "window=birds"] {
                let text = asked(gateway, act, stream).await.text();
                assert!(text.contains("not about birds") && text.contains("content_filter"), "{act}: {text}");
            }
            let reply = asked(gateway, "answer=header", stream).await;
            assert_eq!(reply.header("x-made"), "up");
            let reply = asked(gateway, "answer=reject", stream).await;
            assert_eq!(reply.status, 422);
        }
        for act in ["answer=text", "answer=body", "answer=chat"] {
            assert_eq!(heard(&asked(gateway, act, false).await, false), TEXT.replace("falcon", "eagle"), "{act}");
        }
        assert_eq!(heard(&asked(gateway, "answer=say", false).await, false), "said by a plugin");
        assert!(asked(gateway, "answer=json", false).await.text().contains("made"));
        let reply = exchange(gateway.addr, &question("upstream=header", "inspect", false)).await;
        let headers = inspected(&reply)["headers"].to_string();
        assert!(headers.contains("x-made"), "{headers}");
        // One instance for one request: the exchange is known, and what was seen before is remembered.
        let reply = asked(gateway, "plan=tell", false).await;
        let told = "event 2 of None chat openai-chat Some(\\\"openai-chat/echo\\\") false /v1/chat/completions";
        assert!(reply.text().contains(told), "{}", reply.text());
    }
}

/// What a plugin brings back is shown to no other one, wherever that stands in the file.
#[tokio::test]
async fn what_is_brought_back_is_seen_by_nobody_else() {
    let guard = "[[plugins]]\nuse = \"deny\"\npatterns = [\"eagle\"]\non = [\"answer\"]\n";
    let (_mock, gateway) = stage(&format!("{}{guard}", trickster("request text restore", ""))).await;
    for stream in [false, true] {
        let shown = asked(&gateway, "text=replace", stream).await.text();
        assert!(shown.contains("content_filter") || shown.contains("error"), "{shown}");
        let reply = asked(&gateway, "restore=replace", stream).await;
        assert_eq!(heard(&reply, stream), TEXT.replace("falcon", "eagle"));
    }
    // Nobody who asks for one of the two gets the other.
    let (_mock, gateway) = stage(&trickster("request restore", "")).await;
    assert_eq!(heard(&asked(&gateway, "text=replace", false).await, false), TEXT);
}

#[tokio::test]
async fn targets_are_put_in_another_order() {
    let mock = Mock::start().await;
    let model = "[models.m]\ntargets = [{ provider = \"a\", model = \"echo\" }, { provider = \"b\", model = \"lorem-3\", priority = 2 }]\n";
    let config = format!(
        "{}{}{model}{}",
        mock.provider("a", Dialect::OpenAiChat),
        mock.provider("b", Dialect::Anthropic),
        trickster("request plan", "")
    );
    let gateway = Gateway::start(&config).await;
    let asked =
        async |act| exchange(gateway.addr, &ask(Dialect::OpenAiChat, "m", TEXT, false).header("x-do", act)).await;
    assert_eq!(heard(&asked("").await, false), TEXT);
    assert_ne!(heard(&asked("plan=last").await, false), TEXT);
    assert_eq!(asked("plan=none").await.status, 403);
    assert_eq!(asked("plan=twice").await.status, 500);
}

#[tokio::test]
async fn what_misbehaves_harms_its_own_request_and_on_error_decides() {
    let events = ["request", "plan", "upstream", "answer", "text", "window", "bytes", "end"];
    for engine in ENGINES {
        let mut plugins = String::new();
        for (event, on_error) in events.iter().flat_map(|event| [(event, "open"), (event, "closed")]) {
            let name = if *event == "request" { on_error.to_owned() } else { format!("{on_error}-{event}") };
            let more = format!(
                "name = \"{name}\"\non_error = \"{on_error}\"\nwhen = {{ header = {{ x-plugin = \"{name}\" }} }}\n\
                 engine = \"{engine}\"\nfuel = 50000000\nmemory = \"8MiB\"\ntimeout = \"1s\""
            );
            plugins += &trickster(&format!("request-texts {event}"), &more);
        }
        let (_mock, mut gateway) = stage(&plugins).await;
        let asked = async |act: &str, plugin: &str, stream| {
            exchange(gateway.addr, &question(act, "echo", stream).header("x-plugin", plugin)).await
        };
        for (act, why) in [
            ("trap", "unreachable"),
            ("loop", "ran out of `fuel`"),
            ("flood", "more than its `memory`"),
            ("deep", ""),
            ("sleep", "longer than 1s"),
            ("fail", "it says: it does not like that"),
            ("wrong", "cannot be changed in this event"),
            ("text-99", "a text that is not there"),
            ("no-json", "no JSON"),
        ] {
            let reply = asked(&format!("request={act}"), "closed", false).await;
            assert_eq!(reply.status, 500, "{act}: {}", reply.text());
            assert!(reply.text().contains("the plugin `closed` failed"), "{}", reply.text());
            let reply = asked(&format!("request={act}"), "open", true).await;
            assert_eq!(heard(&reply, true), TEXT, "{act}");
            gateway.told(|line| line.contains("plugin closed: ") && line.contains(why)).await;
        }
        for event in &events[1..] {
            for act in ["trap", "loop", "sleep"] {
                if act == "sleep" && engine == "interpreter" {
                    continue;
                }
                let act = format!("{event}={act}");
                assert_eq!(heard(&asked(&act, &format!("open-{event}"), true).await, true), TEXT, "{act}");
                let reply = asked(&act, &format!("closed-{event}"), true).await;
                match *event {
                    "plan" | "upstream" | "answer" => assert_eq!(reply.status, 500, "{act}: {}", reply.text()),
                    "text" | "window" => {
                        assert!(!reply.text().contains("falcon"), "{act}: {}", reply.text());
                        assert!(reply.text().contains("the plugin `closed-"), "{act}: {}", reply.text());
                    }
                    _ => assert_eq!(heard(&reply, true), TEXT, "{act}"),
                }
            }
        }
        assert!(asked("text=beyond", "closed-text", false).await.text().contains("the plugin `closed-text` failed"));
        asked("request=log", "closed", false).await;
        assert_eq!(logged(&gateway, "says: line", 16).await, 16);
        assert!(gateway.output().1.iter().all(|line| line.len() < 1000));
        gateway.assert_healthy().await;
    }
}

#[tokio::test]
async fn what_broke_off_says_so_once() {
    let (_mock, gateway) = stage(&trickster("request bytes end", "name = \"p\"\non_error = \"open\"")).await;
    for act in ["request=trap", "bytes=trap", "end=trap"] {
        let reply = asked(&gateway, act, true).await;
        assert_eq!(heard(&reply, true), TEXT, "{act}");
        gateway.at_rest().await;
        let said = format!("request {}: plugin p: it broke off", reply.header("x-request-id"));
        assert_eq!(logged(&gateway, &said, 1).await, 1, "{act}: {:#?}", gateway.output().1);
    }
}

#[tokio::test]
async fn while_one_loops_its_neighbours_go_on() {
    for engine in ENGINES {
        let more = format!("engine = \"{engine}\"\nfuel = 1000000000000\ntimeout = \"15s\"");
        let (_mock, gateway) = stage(&trickster("request text", &more)).await;
        // More of them than threads.
        let loops: Vec<_> = ["request=loop", "text=loop"]
            .into_iter()
            .cycle()
            .take(8)
            .map(|act| {
                let (addr, request) = (gateway.addr, question(act, "echo", true));
                tokio::spawn(async move { exchange(addr, &request).await })
            })
            .collect();
        for stream in [false, true, false, true] {
            assert_eq!(heard(&asked(&gateway, "text=replace", stream).await, stream), TEXT.replace("falcon", "eagle"));
        }
        assert!(loops.iter().all(|task| !task.is_finished()));
        for (number, task) in loops.into_iter().enumerate() {
            let reply = task.await.unwrap();
            assert_eq!(reply.status == 500, number % 2 == 0, "{}", reply.text());
            assert!(reply.text().contains("the plugin `wasm` failed"), "{}", reply.text());
        }
        assert_eq!(logged(&gateway, "it took longer than 15s", 8).await, 8, "{:#?}", gateway.output().1);
    }
}

#[tokio::test]
async fn a_changed_component_is_loaded_anew_and_streams_under_way_keep_theirs() {
    let mock = Mock::start().await;
    let provider = mock.provider("mock", Dialect::OpenAiChat);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plugin.wasm");
    let put = |name: &str| {
        std::fs::copy(component(name), &file).unwrap();
        sha256(&file)
    };
    let config = |sha: &str, settings: &str| {
        format!("{provider}[[plugins]]\nuse = \"wasm\"\npath = {file:?}\nsha256 = \"{sha}\"\nsettings = {settings}\n")
    };
    let (old, new) = ("{ word = \"e\", instead = \"OLD\" }", "{ hooks = [\"request\"] }");
    let sha = put("codename.wasm");
    let gateway =
        Gateway::builder().env("RUST_LOG", "ai_gateway_plugins=info").config(&config(&sha, old)).start().await;
    let reload = async || {
        let reply = exchange(gateway.admin, &Request::post("/api/reload", "")).await;
        (reply.status, reply.json())
    };
    let mut client = H1::connect(gateway.addr).await;
    client.send(&ask(Dialect::OpenAiChat, "mock/lorem-100-every-50ms", "x", true)).await;
    let mut under_way = client.respond().await;
    under_way.until("OLD").await;

    // The same component with other settings: not compiled again.
    gateway.write("", &config(&sha, "{ word = \"e\", instead = \"NEW\" }"));
    assert_eq!(reload().await.0, 200);
    let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "mock/lorem-20", "x", false)).await;
    assert!(heard(&reply, false).contains("NEW"));
    assert_eq!(compiled(&gateway, 1).await, 1);

    // Another one in its place, and the configuration still means the old: refused, and the old one goes on.
    let changed = put("trickster.wasm");
    let (status, told) = reload().await;
    assert_eq!(status, 400);
    assert!(told.to_string().contains(&sha) && told.to_string().contains(&changed), "{told}");
    assert_eq!(compiled(&gateway, 1).await, 1);

    gateway.write("", &config(&changed, new));
    assert_eq!(reload().await.0, 200);
    let request = ask(Dialect::OpenAiChat, "mock/echo", "x", false).header("x-do", "request=say");
    assert_eq!(heard(&exchange(gateway.addr, &request).await, false), "said by a plugin");
    assert_eq!(compiled(&gateway, 2).await, 2);

    let (rest, complete) = under_way.rest().await;
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(complete && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert!(rest.contains("OLD") && !rest.contains("NEW"), "{rest}");
}

async fn compiled(gateway: &Gateway, expected: usize) -> usize {
    logged(gateway, "compiled for", expected).await
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    let good = plugin("trickster.wasm", "settings = { hooks = [] }");
    let sha = sha256(&component("trickster.wasm"));
    let text = component("../../README.md");
    let other = "00".repeat(32);
    for (config, line, told) in [
        (good.replace(&sha, &other), 4, vec![&*sha, &*other]),
        (good.replace("sha256", "# sha256"), 3, vec!["`sha256` is missing", &*sha]),
        (good.replace("trickster.wasm", "nothing.wasm"), 3, vec!["cannot be read"]),
        (good.replace("/trickster", "://trickster"), 3, vec!["from local files only"]),
        (
            format!("[[plugins]]\nuse = \"wasm\"\npath = {text:?}\nsha256 = \"{}\"", sha256(&text)),
            3,
            vec!["README.md` cannot be used"],
        ),
        (good.replace("hooks = []", "hooks = [], error = \"too blue\""), 3, vec!["cannot be used: it says: too blue"]),
        (good.replace("hooks = []", "hocks = []"), 3, vec!["hocks"]),
        (good.replace("hooks = []", "hooks = [\"window\"]"), 3, vec!["windows of 0"]),
        (format!("{good}memory = \"64KiB\""), 3, vec!["`memory`"]),
        (format!("{good}fuel = 10"), 3, vec!["`fuel`"]),
        (format!("{good}fuel = 0"), 6, vec!["without fuel"]),
        (format!("{good}engine = \"steam\""), 6, vec!["steam"]),
    ] {
        let outcome = run_to_end(&["check", "{config}"], &format!("{config}{MOCK}"), &[]);
        assert_eq!(outcome.code, Some(1), "{config}{outcome:?}");
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(all.contains(&format!("gateway.toml:{line}:")), "{line}: {all}");
        assert!(told.iter().all(|told| all.contains(told)), "{told:?}: {all}");
    }
    let outcome = run_to_end(&["check", "{config}"], &format!("{good}{MOCK}"), &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

/// What systemd's `MemoryDenyWriteExecute=yes` does.
#[test]
fn where_no_memory_may_be_executable_it_interprets() {
    let dir = tempfile::tempdir().unwrap();
    let check = |engine: &str| {
        let file = dir.path().join("gateway.toml");
        std::fs::write(
            &file,
            plugin("trickster.wasm", &format!("settings = {{ hooks = [] }}\nengine = \"{engine}\"")) + MOCK,
        )
        .unwrap();
        let deny = "import ctypes, os, sys\n\
                    PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1\n\
                    assert ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) == 0\n\
                    os.execv(sys.argv[1], sys.argv[1:])";
        let mut python = Command::new("python3");
        let output = python.args(["-c", deny]).arg(binary()).arg("check").arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, told) = check("native");
    assert!(code == Some(1) && told.contains("no native code can run here"), "{told}");
    for engine in ["auto", "interpreter"] {
        let (code, told) = check(engine);
        assert_eq!(code, Some(0), "{told}");
    }
}

/// What a request costs, for docs/plugins.md: `cargo test … --test wasm -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "measures"]
async fn what_it_costs() {
    let settings = [
        ("codename.wasm", "settings = { word = \"falcon\", instead = \"something\" }"),
        (
            "orders.wasm",
            "settings = { pattern = 'ORD-\\d+', instead = \"an order\" }\ntimeout = \"30s\"\nfuel = 100000000000",
        ),
    ];
    let mut cases = vec![("without".to_owned(), String::new())];
    for (name, settings) in settings {
        for engine in ENGINES {
            cases.push((format!("{name} {engine}"), plugin(name, &format!("engine = \"{engine}\"\n{settings}"))));
        }
    }
    for (name, plugin) in cases {
        let (_mock, gateway) = stage(&plugin).await;
        for (model, stream) in [("lorem-1", false), ("lorem-1000", true)] {
            let request = ask(Dialect::OpenAiChat, &format!("openai-chat/{model}"), "hello", stream);
            let mut client = H1::connect(gateway.addr).await;
            client.exchange(&request).await;
            let begun = std::time::Instant::now();
            for _ in 0..50 {
                client.exchange(&request).await;
            }
            let each = Duration::from_nanos(u64::try_from(begun.elapsed().as_nanos() / 50).unwrap());
            eprintln!("{name}: {model}, stream {stream}: {each:?}");
        }
    }
}
