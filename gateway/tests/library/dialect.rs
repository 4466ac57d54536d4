//! A dialect that the program brings along, on either side of the gateway and on both: whole and streamed, its errors, its
//! usage, the cache and plugins.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ai_gateway::plugins::{Context, End, Finish, Needs, Plugin, async_trait};
use ai_gateway::{Builder, Gateway, Own};
use ai_gateway_providers::{Dialect, ErrorKind};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::services::listening::Service;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::{Reply, Request, ask, exchange, said};
use crate::setup::{MOCKS, serve_built, serve_with};
use crate::telegram::Telegram;

const CONFIG: &str = r#"
    [providers.mock]
    kind = "mock"

    [providers.telegraph]
    kind = "openai-compatible"
    base_url = "http://TELEGRAPH/office"
    api_key = "wire-7"
    dialects = ["telegram"]
    health = { failures = 0, rate = 0 }

    [models.wire]
    targets = [{ provider = "telegraph", model = "morse" }]
    retry = { attempts = 1 }

    [models.safe]
    targets = [{ provider = "telegraph", model = "morse" }, { provider = "mock", model = "echo", priority = 1 }]
    retry = { attempts = 2, same_target = false }

    [models.kept]
    targets = [{ provider = "telegraph", model = "morse" }]
    cache = { ttl = "1h" }
"#;

/// The one handle for all tests: what it holds is never given back.
fn telegram() -> Own {
    static TELEGRAM: OnceLock<Own> = OnceLock::new();
    *TELEGRAM.get_or_init(|| Own::new(Telegram))
}

/// What a provider was asked.
#[derive(Debug, Clone, Default)]
struct Asked {
    path: String,
    key: String,
    body: Value,
}

/// A provider that speaks telegrams. It does what the last line says, or repeats it.
#[derive(Clone, Default)]
struct Telegraph(Arc<Mutex<Vec<Asked>>>);

impl Telegraph {
    fn last(&self) -> Asked {
        self.0.lock().unwrap().last().cloned().expect("it was asked")
    }
}

#[async_trait]
impl ServeHttp for Telegraph {
    async fn response(&self, session: &mut ServerSession) -> http::Response<Vec<u8>> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = session.read_request_body().await {
            body.extend_from_slice(&chunk);
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let header = session.req_header();
        let key = header.headers.get("x-telegram-key").map(|key| key.to_str().unwrap().to_owned());
        let asked = Asked { path: header.uri.path().to_owned(), key: key.unwrap_or_default(), body };
        let live = asked.body["live"] == true;
        let line = asked.body["lines"].as_array().and_then(|lines| lines.last()).map(|line| line["line"].clone());
        let line = line.unwrap_or_default().as_str().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(asked);
        let fault = |fault: &str, sort: &str| json!({"fault": fault, "sort": sort}).to_string();
        let spent = json!({"in": 7, "out": 3});
        let (status, body) = match (&*line, live) {
            ("fail 429", _) => (429, fault("the wire is busy", "rate_limited")),
            ("fail 500", _) => (500, fault("the wire wire-7 of sk-abcdef1234 is down", "broken")),
            ("cut", false) => (200, "{\"line\":\"on".to_owned()),
            ("cut", true) => (200, "{\"bit\":\"one \"}\n{\"bit\":\"tw".to_owned()),
            ("break", false) => (200, fault("the wire broke", "broken")),
            ("break", true) => (200, format!("{{\"bit\":\"one \"}}\n{}\n", fault("the wire broke", "broken"))),
            (_, false) => (200, json!({"engine": "m-1", "line": line, "why": "done", "spent": spent}).to_string()),
            (_, true) => {
                let mut lines: String =
                    line.split_inclusive(' ').map(|bit| format!("{}\n", json!({ "bit": bit }))).collect();
                lines.push_str(&format!("{}\n", json!({"why": "done", "spent": spent})));
                (200, lines)
            }
        };
        let kind = if live && status == 200 { "application/x-telegrams" } else { "application/json" };
        let response = http::Response::builder().status(status).header("content-type", kind);
        response.header("content-length", body.len()).body(body.into_bytes()).unwrap()
    }
}

/// Tells how exchanges end.
struct Ends(mpsc::UnboundedSender<End>);

#[async_trait]
impl Plugin for Ends {
    fn needs(&self) -> Needs {
        Needs::new().end()
    }

    fn on_end(&self, end: &End, _: &Context) {
        let _ = self.0.send(end.clone());
    }
}

/// A gateway beside a telegraph, for as long as the test's process lives.
struct Office {
    addr: SocketAddr,
    telegraph: Telegraph,
    ends: mpsc::UnboundedReceiver<End>,
    _gateway: Gateway,
}

impl Office {
    async fn open(more: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = free.local_addr().unwrap();
        let (told, ends) = mpsc::unbounded_channel();
        let text = format!("{CONFIG}{more}").replace("TELEGRAPH", &provider.to_string());
        let builder = Gateway::builder().config_text(text).dialect(telegram()).plugin("ends", Ends(told));
        let telegraph = Telegraph::default();
        let app = telegraph.clone();
        let (addr, gateway) = serve_built(builder, move |server| {
            drop(free);
            let mut service = Service::new("telegraph".to_owned(), app);
            service.add_tcp(&provider.to_string());
            server.add_service(service);
        })
        .await;
        while tokio::net::TcpStream::connect(provider).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { addr, telegraph, ends, _gateway: gateway }
    }

    async fn send(&self, request: &Request) -> Reply {
        exchange(self.addr, request).await
    }

    /// What a client of `dialect` gets.
    async fn ask(&self, dialect: Dialect, model: &str, text: &str, stream: bool) -> Reply {
        self.send(&ask(dialect, model, text, stream)).await
    }

    /// How the exchange ended.
    async fn end(&mut self) -> End {
        self.ends.recv().await.expect("the gateway lives")
    }
}

fn own() -> Dialect {
    telegram().into()
}

/// A telegram as it is written, to `path`.
fn wire(path: &str, body: &Value) -> Request {
    Request { path: path.to_owned(), body: body.to_string().into_bytes(), ..ask(own(), "", "", false) }
}

fn lines(reply: &Reply) -> Vec<Value> {
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()))
}

#[tokio::test]
async fn its_clients_reach_providers_of_other_dialects() {
    let mut office = Office::open("").await;
    let whole = office.ask(own(), "mock/echo", "good day to you", false).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/json"));
    assert_eq!(json(&whole)["line"], "good day to you");
    let spent = json(&whole)["spent"].clone();
    assert!(spent["in"].as_u64() > Some(0) && spent["out"].as_u64() > Some(0), "{spent}");
    let end = office.end().await;
    assert_eq!(end.usage.unwrap().total_output(), spent["out"].as_u64());

    let by_body = ask(own(), "mock/echo", "good day to you", true);
    let by_path = wire("/telegram/mock%2Fecho/live", &json!({"lines": [{"line": "good day to you"}]}));
    for request in [by_body, by_path] {
        let streamed = office.send(&request).await;
        assert_eq!((streamed.status, streamed.header("content-type")), (200, "application/x-telegrams"));
        let mut lines = lines(&streamed);
        assert_eq!(lines.pop().unwrap(), json!({"why": "done", "spent": spent}));
        assert!(lines.len() > 2, "it comes in bits: {lines:?}");
        let said: String = lines.iter().filter_map(|line| line["bit"].as_str()).collect();
        assert_eq!(said, "good day to you");
        let end = office.end().await;
        assert_eq!((end.finish, end.usage.unwrap().total_output()), (Finish::Complete, spent["out"].as_u64()));
    }
}

#[tokio::test]
async fn clients_of_all_dialects_reach_a_provider_that_speaks_it() {
    let mut office = Office::open("").await;
    for dialect in Dialect::ALL.into_iter().chain([own()]) {
        for stream in [false, true] {
            let reply = office.ask(dialect, "wire", "what news is there", stream).await;
            assert_eq!(said(dialect, stream, &reply), "what news is there", "{dialect} {stream}");
            assert_eq!(reply.header("x-gateway-provider"), "telegraph");
            let asked = office.telegraph.last();
            assert_eq!((&*asked.path, &*asked.key), ("/office/telegram", "wire-7"));
            let wanted = json!({
                "engine": "morse", "live": stream, "limit": 1000,
                "lines": [{"who": "person", "line": "what news is there"}],
            });
            assert_eq!(asked.body, wanted, "{dialect} {stream}");
            let end = office.end().await;
            let usage = end.usage.expect("it said what it used");
            assert_eq!((usage.total_input(), usage.total_output()), (Some(7), Some(3)), "{dialect} {stream}");
            assert_eq!(end.finish, Finish::Complete, "{dialect} {stream}");
        }
    }
}

#[tokio::test]
async fn between_two_that_speak_it_all_that_it_says_arrives() {
    let office = Office::open("").await;
    let body = json!({
        "engine": "wire", "heat": 0.5, "limit": 9, "orders": "be brief",
        "lines": [{"who": "person", "line": "one"}, {"who": "machine", "line": "two"}, {"who": "person", "line": "three"}],
    });
    let reply = office.send(&wire("/telegram", &body)).await;
    assert_eq!(json(&reply), json!({"engine": "m-1", "line": "three", "why": "done", "spent": {"in": 7, "out": 3}}));
    let mut wanted = body;
    wanted["engine"] = "morse".into();
    wanted["live"] = false.into();
    assert_eq!(office.telegraph.last().body, wanted);
    assert_eq!(reply.header("x-gateway-dropped"), "");
}

#[tokio::test]
async fn errors_are_told_in_the_clients_words_and_read_in_the_providers() {
    let mut office = Office::open("").await;
    for stream in [false, true] {
        let reply = office.ask(Dialect::OpenAiChat, "wire", "fail 429", stream).await;
        assert_eq!((reply.status, &json(&reply)["error"]["message"]), (429, &json!("the wire is busy")));
        assert_eq!(office.end().await.error, Some("rate_limited"));
        let reply = office.ask(own(), "wire", "fail 429", stream).await;
        assert_eq!((reply.status, json(&reply)), (429, json!({"fault": "the wire is busy", "sort": "rate_limited"})));
        office.end().await;
        // A provider's keys are nobody's business.
        let reply = office.ask(own(), "wire", "fail 500", stream).await;
        let told = json(&reply);
        assert_eq!((reply.status, &told["sort"]), (502, &json!("upstream_error")));
        assert!(
            told["fault"].as_str().unwrap().contains("is down") && !reply.text().contains("sk-abcdef1234"),
            "{told}"
        );
        office.end().await;
        // Inside a 200, before any output.
        let reply = office.ask(own(), "wire", "break", false).await;
        assert_eq!((reply.status, &json(&reply)["fault"]), (502, &json!("the wire broke")));
        office.end().await;
        // The mock's, which is of another dialect.
        let reply = office.ask(own(), "mock/status-429", "hi", stream).await;
        assert_eq!((reply.status, &json(&reply)["sort"]), (429, &json!("rate_limited")));
        office.end().await;
    }
    // After some of a stream.
    let broken = office.ask(own(), "wire", "break", true).await;
    assert_eq!(lines(&broken), [json!({"bit": "one "}), json!({"fault": "the wire broke", "sort": "upstream_error"})]);
    assert_eq!(office.end().await.finish, Finish::Cut);
    let broken = office.ask(Dialect::OpenAiChat, "wire", "break", true).await.text();
    assert!(broken.contains("the wire broke") && !broken.contains("[DONE]"), "{broken}");
    office.end().await;
}

#[tokio::test]
async fn a_cut_answer_is_never_taken_for_a_whole_one() {
    let mut office = Office::open("").await;
    let cut = lines(&office.ask(own(), "wire", "cut", true).await);
    assert_eq!((&cut[0], &cut[1]["sort"], cut.len()), (&json!({"bit": "one "}), &json!("stream_cut"), 2), "{cut:?}");
    assert_eq!(office.end().await.finish, Finish::Cut);
    let cut = office.ask(Dialect::Anthropic, "wire", "cut", true).await.text();
    assert!(cut.contains("event: error") && !cut.contains("message_stop"), "{cut}");
    office.end().await;
    let cut = lines(&office.ask(own(), "mock/lorem-9+cut-after-3", "hi", true).await);
    assert_eq!(cut.last().unwrap()["sort"], "stream_cut", "{cut:?}");
    office.end().await;
    let cut = office.ask(own(), "wire", "cut", false).await;
    assert_eq!((cut.status, &json(&cut)["fault"]), (502, &json!("that is no telegram")));
}

#[tokio::test]
async fn the_gateways_own_errors_are_told_in_it() {
    let key = format!("[[keys]]\nname = \"k\"\nhash = \"{}\"\n", ai_gateway::internal::hash_line("secret"));
    let office = Office::open(&key).await;
    let reply = office.ask(own(), "wire", "hi", false).await;
    assert_eq!((reply.status, &json(&reply)["sort"]), (401, &json!("unauthenticated")));
    let with_key = |request: Request| request.header("authorization", "Bearer secret");
    for (request, status, sort) in [
        (ask(own(), "nobody", "hi", true), 404, ErrorKind::ModelNotFound),
        (ask(own(), "", "hi", false), 400, ErrorKind::InvalidRequest),
        (wire("/telegram", &json!({"engine": "wire"})), 400, ErrorKind::InvalidRequest),
        (wire("/telegram/%zz/live", &json!({"lines": []})), 400, ErrorKind::InvalidRequest),
        (Request { method: "GET", ..ask(own(), "wire", "hi", false) }, 405, ErrorKind::MethodNotAllowed),
    ] {
        let reply = office.send(&with_key(request)).await;
        assert_eq!((reply.status, &json(&reply)["sort"]), (status, &json!(sort.as_str())), "{}", reply.text());
    }
    let elsewhere = office.send(&with_key(wire("/telegrams", &json!({})))).await;
    assert_eq!((elsewhere.status, elsewhere.text().contains("\"error\"")), (404, true), "no path of this dialect");
}

#[tokio::test]
async fn its_answers_are_kept_and_given_again_whole_and_streamed() {
    let mut office = Office::open("").await;
    let request = |heat: f64, live: bool| {
        let body = json!({"engine": "kept", "heat": heat, "live": live, "lines": [{"line": "keep this"}]});
        wire("/telegram", &body)
    };
    let first = office.send(&request(0.0, false)).await;
    // It is kept when it is over.
    office.end().await;
    let second = office.send(&request(0.0, false)).await;
    assert_eq!((first.header("x-gateway-cache"), second.header("x-gateway-cache")), ("miss", "hit"));
    assert_eq!(first.body, second.body);
    let streamed = office.send(&request(0.0, true)).await;
    assert_eq!(
        (streamed.header("x-gateway-cache"), streamed.header("content-type")),
        ("hit", "application/x-telegrams")
    );
    assert_eq!(said(own(), true, &streamed), "keep this");
    let heated = office.send(&request(0.5, false)).await;
    assert_eq!(heated.header("x-gateway-cache"), "bypass");
}

#[tokio::test]
async fn a_failure_in_it_is_made_good_in_another_dialect() {
    let mut office = Office::open("").await;
    for client in [own(), Dialect::OpenAiResponses] {
        for stream in [false, true] {
            let reply = office.ask(client, "safe", "fail 500", stream).await;
            assert_eq!(said(client, stream, &reply), "fail 500", "{client} {stream}");
            assert_eq!((reply.header("x-gateway-provider"), office.end().await.attempts), ("mock", 2));
        }
    }
}

#[tokio::test]
async fn what_it_says_was_used_counts_against_limits() {
    let hash = ai_gateway::internal::hash_line("secret");
    let key = format!("[[keys]]\nname = \"k\"\nhash = \"{hash}\"\nlimits = {{ tokens = \"115/min\" }}\n");
    let mut office = Office::open(&key).await;
    let body = json!({"engine": "wire", "limit": 90, "lines": [{"line": "hi"}]});
    let request = wire("/telegram", &body).header("authorization", "Bearer secret");
    // Each is expected to use ninety and a few, and uses ten: the third no longer fits.
    for status in [200, 200, 429] {
        let reply = office.send(&request).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        if status == 429 {
            assert_eq!(json(&reply)["sort"], "key_rate_limited");
        }
        office.end().await;
    }
}

#[tokio::test]
async fn a_gateway_that_was_not_told_does_not_know_it() {
    let (addr, _gateway) = serve_with(MOCKS, Vec::new()).await;
    let reply = exchange(addr, &ask(own(), "two", "hi", false)).await;
    assert_eq!((reply.status, json(&reply)["error"]["code"].as_str()), (404, Some("not_found")));
}

#[tokio::test]
async fn plugins_read_and_write_it() {
    let plugins = "[[plugins]]\nuse = \"pii\"\naction = \"mask\"\n\
                   [[plugins]]\nuse = \"prompt\"\nsystem = \"be kind\"\nmode = \"append\"\n\
                   [[plugins]]\nuse = \"size\"\noutput_tokens = 50\nprompt_tokens = 20\n";
    let office = Office::open(plugins).await;
    for stream in [false, true] {
        let body = json!({
            "engine": "wire", "limit": 80, "live": stream, "orders": "be brief",
            "lines": [{"line": "write to ada@example.org today"}],
        });
        let reply = office.send(&wire("/telegram", &body)).await;
        let asked = office.telegraph.last().body;
        let line = asked["lines"][0]["line"].as_str().unwrap();
        assert!(line.starts_with("write to ") && !line.contains("ada@example.org"), "{asked}");
        assert_eq!((&asked["orders"], &asked["limit"]), (&json!("be briefbe kind"), &json!(50)));
        assert_eq!(said(own(), stream, &reply), "write to ada@example.org today", "stream {stream}");
    }
    let long = office.ask(own(), "wire", &"word ".repeat(50), false).await;
    assert_eq!(long.status, 400, "{}", long.text());
}

#[tokio::test]
async fn routes_know_it_by_its_name() {
    let office = Office::open("[[routes]]\nwhen = { dialect = \"telegram\" }\nmodel = \"mock/lorem-2\"").await;
    assert_eq!(office.ask(own(), "wire", "hi", false).await.header("x-gateway-provider"), "mock");
    assert_eq!(office.ask(Dialect::Cohere, "wire", "hi", false).await.header("x-gateway-provider"), "telegraph");
}

#[test]
fn names_are_checked_where_they_stand() {
    let text = |name: &str| {
        format!(
            "[providers.p]\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1\"\ndialects = [\"{name}\"]"
        )
    };
    let wrong = |builder: Builder| builder.build().map(drop).unwrap_err().to_string();
    let with = |name: &str| wrong(Gateway::builder().config_text(text(name)).dialect(telegram()));
    let near = with("telegran");
    assert!(near.contains(":4:13") && near.contains("there is no dialect `telegran`"), "{near}");
    assert!(near.contains("did you mean `telegram`?"), "{near}");
    let far = with("zulu");
    assert!(
        far.contains("there are: anthropic, bedrock, cohere, gemini, openai-chat, openai-responses, telegram"),
        "{far}"
    );
    // Another gateway of the process does not know it.
    let unknown = wrong(Gateway::builder().config_text(text("telegram")));
    assert!(
        unknown.contains("there is no dialect `telegram`") && !unknown.contains("responses, telegram"),
        "{unknown}"
    );
    let twice = wrong(Gateway::builder().config_text(text("telegram")).dialect(telegram()).dialect(telegram()));
    assert!(twice.contains("two dialects of the name `telegram`"), "{twice}");
}
