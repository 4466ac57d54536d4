//! The gateway as a library, and plugins that are written against it: every hook in every dialect, plugins that misbehave, and
//! several gateways in one process.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ai_gateway::cache::{Entry, Fingerprint, Form, Purge, Tier, TierError};
use ai_gateway::config::{Config, OnError, PluginConfig, System};
use ai_gateway::keys::{KeyRing, Maker, NewKey, RuntimeKeys, hash_line};
use ai_gateway::plugins::{
    Answer, AnswerBody, Context, End, Failure, Flow, Needs, Part, Plan, Plugin, Rejection, Request, TextHook, Upstream,
    Verdict, Window, async_trait,
};
use ai_gateway::{Builder, Gateway};
use ai_gateway_providers::{Dialect, Operation};
use client::{Reply, ask, exchange, said};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::listening::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MOCKS: &str = r#"
    [providers.openai-chat]
    kind = "mock"
    [models.two]
    targets = [{ provider = "openai-chat", model = "echo" }, { provider = "openai-chat", model = "lorem-3", priority = 1 }]
"#;

/// A gateway with one plugin, serving on a port of its own for as long as the test's process lives.
async fn serve(plugins: Vec<PluginConfig>) -> (SocketAddr, Gateway) {
    serve_with(MOCKS, plugins).await
}

/// The same, of this configuration.
async fn serve_with(text: &str, plugins: Vec<PluginConfig>) -> (SocketAddr, Gateway) {
    let builder = Gateway::builder().config_text(text);
    serve_built(plugins.into_iter().fold(builder, Builder::plugin_config), |_| {}).await
}

/// The same, with what else is to be in its server.
async fn serve_built(builder: Builder, more: impl FnOnce(&mut Server)) -> (SocketAddr, Gateway) {
    let mut gateway = builder.build().expect("a gateway");
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let conf = ServerConf { threads: 2, max_retries: 64, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = gateway.service(&server.configuration);
    service.add_tcp(&addr.to_string());
    server.add_service(service);
    server.add_services(gateway.background());
    more(&mut server);
    std::thread::spawn(move || server.run(RunArgs::default()));
    while tokio::net::TcpStream::connect(addr).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (addr, gateway)
}

fn config(plugin: impl Plugin, on_error: OnError, timeout: Duration) -> PluginConfig {
    let mut config = PluginConfig::new("p", Arc::new(plugin));
    config.on_error = on_error;
    config.timeout = timeout;
    config
}

async fn chat(addr: SocketAddr, model: &str, text: &str, stream: bool) -> Reply {
    exchange(addr, &ask(Dialect::OpenAiChat, model, text, stream)).await
}

/// What a misbehaving plugin does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Sleep,
    Block,
    Panic,
    Fail,
}

/// Does it in one hook.
struct Bad {
    hook: &'static str,
    deed: Deed,
}

impl Bad {
    async fn act(&self, hook: &str) -> Result<(), Failure> {
        if self.hook != hook {
            return Ok(());
        }
        match self.deed {
            Deed::Sleep => std::future::pending().await,
            Deed::Block => std::thread::sleep(Duration::from_secs(5)),
            Deed::Panic => panic!("a plugin panics, as it shall"),
            Deed::Fail => return Err("it fails".into()),
        }
        Ok(())
    }

    fn act_sync(&self, hook: &str) -> Result<(), Failure> {
        match self.deed {
            Deed::Panic if self.hook == hook => panic!("a plugin panics, as it shall"),
            Deed::Fail if self.hook == hook => Err("it fails".into()),
            _ => Ok(()),
        }
    }
}

struct BadText(Deed, &'static str);

impl TextHook for BadText {
    fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
        text.replace(0..text.text().len(), "changed");
        Bad { hook: self.1, deed: self.0 }.act_sync("text").map(|()| Flow::Pass)
    }
}

#[async_trait]
impl Plugin for Bad {
    fn needs(&self) -> Needs {
        let needs = Needs::new();
        let needs = match self.hook {
            "request" => needs.body(),
            "plan" => needs.plan(),
            "upstream" => needs.upstream(),
            "answer" => needs.answer(),
            "text" => needs.text(16),
            "window" => needs.window(8),
            "bytes" => needs.bytes(),
            _ => needs.end(),
        };
        if self.deed == Deed::Block { needs.blocking() } else { needs }
    }

    async fn on_request(&self, request: &mut Request, _: &Context) -> Result<Verdict, Failure> {
        request.set_json(r#"{"model":"nobody"}"#);
        self.act("request").await.map(|()| Verdict::Pass)
    }

    fn on_plan(&self, plan: &mut Plan, _: &Context) -> Result<Verdict, Failure> {
        plan.candidates.clear();
        self.act_sync("plan").map(|()| Verdict::Pass)
    }

    fn on_upstream(&self, upstream: &mut Upstream, _: &Context) -> Result<(), Failure> {
        upstream.headers.clear();
        self.act_sync("upstream")
    }

    async fn on_answer(&self, answer: &mut Answer, _: &Context) -> Result<Verdict, Failure> {
        answer.body = AnswerBody::Json("{}".into());
        self.act("answer").await.map(|()| Verdict::Pass)
    }

    fn text_hook(&self, _: &Context) -> Option<Box<dyn TextHook>> {
        Some(Box::new(BadText(self.deed, self.hook)))
    }

    async fn on_window(&self, _: &Part, _: &str, _: bool, _: &Context) -> Result<Flow, Failure> {
        self.act("window").await.map(|()| Flow::Pass)
    }

    fn on_bytes(&self, _: &[u8], _: &Context) {
        let _ = self.act_sync("bytes");
    }

    fn on_end(&self, _: &End, _: &Context) {
        let _ = self.act_sync("end");
    }
}

/// Breaks in each of the two hooks that hear a stream.
struct Deaf;

#[async_trait]
impl Plugin for Deaf {
    fn needs(&self) -> Needs {
        Needs::new().text(16).window(8)
    }

    fn text_hook(&self, _: &Context) -> Option<Box<dyn TextHook>> {
        Some(Box::new(BadText(Deed::Fail, "text")))
    }

    async fn on_window(&self, _: &Part, _: &str, _: bool, _: &Context) -> Result<Flow, Failure> {
        Err("it fails, too".into())
    }
}

#[tokio::test]
async fn a_stream_that_is_refused_by_both_of_a_plugins_hooks_ends_with_one_refusal() {
    let (addr, _gateway) = serve(vec![config(Deaf, OnError::Closed, Duration::from_secs(5))]).await;
    for dialect in Dialect::ALL {
        let reply = exchange(addr, &ask(dialect, "two", "one two three four five", true)).await;
        let text = reply.text();
        let refusals = text.matches("the plugin `p` failed").count();
        // The Responses API says each text again when it is whole.
        assert!(refusals == 1 || dialect == Dialect::OpenAiResponses && refusals > 1, "{dialect}: {text}");
        assert!(!text.contains("five"), "{dialect}: {text}");
        if dialect == Dialect::Cohere {
            // Its word for what is refused is read as an error.
            assert!(text.contains("\"finish_reason\":\"ERROR\""), "{text}");
        } else {
            said(dialect, true, &reply);
        }
    }
}

#[tokio::test]
async fn what_a_bad_plugin_does_is_treated_as_configured() {
    for hook in ["request", "plan", "upstream", "answer", "text", "window"] {
        for deed in [Deed::Panic, Deed::Fail] {
            for on_error in [OnError::Open, OnError::Closed] {
                let what = format!("{hook} {deed:?} {on_error:?}");
                let plugin = config(Bad { hook, deed }, on_error, Duration::from_secs(5));
                let (addr, gateway) = serve(vec![plugin]).await;
                for stream in [false, true] {
                    let reply = chat(addr, "two", "one two three four five", stream).await;
                    if on_error == OnError::Open {
                        assert_eq!(said(Dialect::OpenAiChat, stream, &reply), "one two three four five", "{what}");
                    } else {
                        let text = reply.text();
                        assert!(text.contains("the plugin `p` failed"), "{what}: {} {text}", reply.status);
                        assert!(!text.contains("five"), "{what}: {text}");
                    }
                }
                let counted = format!("gateway_plugin_calls_total{{plugin=\"p\",hook=\"{hook}\",verdict=\"error\"}} ");
                assert!(gateway.metrics().unwrap().contains(&counted), "{what}");
            }
        }
    }
    for hook in ["bytes", "end"] {
        let plugin = config(Bad { hook, deed: Deed::Panic }, OnError::Closed, Duration::from_secs(5));
        let (addr, _gateway) = serve(vec![plugin]).await;
        let reply = chat(addr, "two", "one two", true).await;
        assert_eq!(said(Dialect::OpenAiChat, true, &reply), "one two", "{hook}");
    }
}

#[tokio::test]
async fn a_plugin_that_sleeps_or_blocks_harms_only_its_own_request() {
    for deed in [Deed::Sleep, Deed::Block] {
        for hook in ["request", "answer", "window"] {
            let mut bad = config(Bad { hook, deed }, OnError::Closed, Duration::from_millis(300));
            // Only what is streamed goes through it.
            let when = "[providers.m]\nkind = \"mock\"\n[[plugins]]\nuse = \"headers\"\nwhen = { header = { x-bad = \"yes\" } }";
            let parsed = Config::parse(when, "when", &System).unwrap();
            bad.when = parsed.config.plugins[0].when.clone();
            let (addr, _gateway) = serve(vec![bad]).await;
            let slow: Vec<_> = (0..8)
                .map(|_| {
                    let request =
                        ask(Dialect::OpenAiChat, "two", "one two three", hook == "window").header("x-bad", "yes");
                    tokio::spawn(async move { exchange(addr, &request).await })
                })
                .collect();
            for _ in 0..20 {
                assert_eq!(chat(addr, "two", "hi", false).await.status, 200, "{deed:?} {hook}");
            }
            for slow in slow {
                let reply = slow.await.unwrap();
                assert!(reply.text().contains("the plugin `p` failed"), "{deed:?} {hook}: {}", reply.text());
            }
        }
    }
}

/// Makes everything as large as it can.
struct Flood;

struct FloodText;

impl TextHook for FloodText {
    fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
        text.replace(0..text.text().len(), "x".repeat(64 << 20));
        Ok(Flow::Pass)
    }
}

#[async_trait]
impl Plugin for Flood {
    fn needs(&self) -> Needs {
        Needs::new().body().text(64 << 20)
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        for number in 0..100_000 {
            cx.tag(format!("tag{number}"), "x".repeat(1000));
        }
        let body = format!(r#"{{"model":"two","messages":[],"x":"{}"}}"#, "x".repeat(64 << 20));
        request.set_json(body);
        Ok(Verdict::Pass)
    }

    fn text_hook(&self, _: &Context) -> Option<Box<dyn TextHook>> {
        Some(Box::new(FloodText))
    }
}

#[tokio::test]
async fn a_plugin_that_floods_memory_is_a_plugin_that_fails() {
    let (addr, gateway) = serve(vec![config(Flood, OnError::Open, Duration::from_secs(20))]).await;
    for stream in [false, true] {
        let reply = chat(addr, "two", "one two three", stream).await;
        assert_eq!(said(Dialect::OpenAiChat, stream, &reply), "one two three");
    }
    let metrics = gateway.metrics().unwrap();
    assert!(metrics.matches("gateway_plugin_tags_total{").count() <= 32, "{metrics}");
}

/// One plugin that uses every hook.
#[derive(Default)]
struct All {
    ended: Arc<AtomicUsize>,
}

struct Shout;

impl TextHook for Shout {
    fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
        for (at, found) in text.text().match_indices("two words") {
            text.replace(at..at + found.len(), "2 WORDS");
        }
        Ok(Flow::Pass)
    }
}

#[async_trait]
impl Plugin for All {
    fn needs(&self) -> Needs {
        Needs::new().body().plan().upstream().answer().text(16).window(12).bytes().end()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        cx.tag("saw", "request");
        request.edit_texts(|text| text.text.contains("cat").then(|| text.text.replace("cat", "dog")));
        if request.texts().iter().any(|text| text.text.contains("answer me")) {
            return Ok(Verdict::say("the plugin says so"));
        }
        Ok(Verdict::Pass)
    }

    fn on_plan(&self, plan: &mut Plan, cx: &Context) -> Result<Verdict, Failure> {
        cx.with(|seen: &mut Vec<&str>| seen.push("plan"));
        plan.candidates.retain(|candidate| &*candidate.model != "lorem-3");
        Ok(Verdict::Pass)
    }

    fn on_upstream(&self, upstream: &mut Upstream, cx: &Context) -> Result<(), Failure> {
        cx.with(|seen: &mut Vec<&str>| seen.push("upstream"));
        upstream.headers.insert("x-from", "plugin".parse().unwrap());
        Ok(())
    }

    async fn on_answer(&self, answer: &mut Answer, cx: &Context) -> Result<Verdict, Failure> {
        cx.with(|seen: &mut Vec<&str>| seen.push("answer"));
        answer.headers.insert("x-plugin", "yes".parse().unwrap());
        answer.edit_texts(|text| text.text.contains("whole").then(|| text.text.replace("whole", "WHOLE")));
        if answer.texts().iter().any(|text| text.text.contains("reject me")) {
            return Ok(Verdict::reject(451, "not this"));
        }
        Ok(Verdict::Pass)
    }

    fn text_hook(&self, _: &Context) -> Option<Box<dyn TextHook>> {
        Some(Box::new(Shout))
    }

    async fn on_window(&self, _: &Part, text: &str, _: bool, cx: &Context) -> Result<Flow, Failure> {
        tokio::task::yield_now().await;
        let seen = cx.with(|said: &mut String| {
            said.push_str(text);
            said.contains("forbidden")
        });
        let message = "that is forbidden here".to_owned();
        Ok(if seen { Flow::Refuse(Rejection { status: 400, message }) } else { Flow::Pass })
    }

    fn on_end(&self, end: &End, _: &Context) {
        assert!(end.status > 0);
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn every_hook_in_every_dialect_streamed_and_not() {
    let ended = Arc::<AtomicUsize>::default();
    let plugin = All { ended: ended.clone() };
    let (addr, _gateway) = serve(vec![config(plugin, OnError::Closed, Duration::from_secs(20))]).await;
    let mut asked = 0;
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let say = async |text: &str| exchange(addr, &ask(dialect, "two", text, stream)).await;
            let reply = say("a cat and two words, all whole").await;
            let whole = if stream { "whole" } else { "WHOLE" };
            assert_eq!(said(dialect, stream, &reply), format!("a dog and 2 WORDS, all {whole}"), "{dialect} {stream}");
            assert_eq!(reply.header("x-plugin"), "yes", "{dialect} {stream}");
            assert_eq!(said(dialect, stream, &say("answer me").await), "the plugin says so", "{dialect} {stream}");
            let reply = say("it is a forbidden thing that nobody shall see").await;
            // Cohere's API has no other word for it than an error.
            if dialect != Dialect::Cohere {
                said(dialect, stream, &reply);
            }
            assert!(!reply.text().contains("nobody") && reply.text().contains("forbidden here"), "{}", reply.text());
            asked += 3;
            if !stream {
                let reply = say("reject me").await;
                assert!(reply.status >= 400 && reply.text().contains("not this"), "{dialect}: {}", reply.text());
                asked += 1;
            }
        }
    }
    while ended.load(Ordering::SeqCst) < asked {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ended.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn two_gateways_in_one_process_know_nothing_of_each_other() {
    let (one, first) = serve(vec![config(All::default(), OnError::Closed, Duration::from_secs(5))]).await;
    let (two, second) = serve(Vec::new()).await;
    let reply = chat(one, "two", "a cat", false).await;
    assert_eq!((said(Dialect::OpenAiChat, false, &reply), reply.header("x-plugin")), ("a dog".to_owned(), "yes"));
    let reply = chat(two, "two", "a cat", false).await;
    assert_eq!((said(Dialect::OpenAiChat, false, &reply), reply.header("x-plugin")), ("a cat".to_owned(), ""));
    assert!(first.metrics().unwrap().contains("gateway_plugin_calls_total"));
    assert!(!second.metrics().unwrap().contains("gateway_plugin_calls_total"));
}

#[tokio::test]
async fn a_reload_brings_plugins_and_takes_them_away() {
    let (addr, gateway) = serve(Vec::new()).await;
    let with = |text: &str| Config::parse(text, "t", &System).unwrap().config;
    let headers = format!("{MOCKS}[[plugins]]\nuse = \"headers\"\nanswer = {{ set = {{ x-new = \"yes\" }} }}");
    for (text, seen) in [(headers.as_str(), "yes"), (MOCKS, "")] {
        gateway.reload(&with(text)).unwrap();
        assert_eq!(chat(addr, "two", "hi", false).await.header("x-new"), seen);
    }
}

/// Has its text hook from what it kept of the request, which it takes.
struct TakesOnce;

#[async_trait]
impl Plugin for TakesOnce {
    fn needs(&self) -> Needs {
        Needs::new().body().text(16)
    }

    async fn on_request(&self, _: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        cx.set("a secret to be kept".to_owned());
        Ok(Verdict::Pass)
    }

    fn text_hook(&self, cx: &Context) -> Option<Box<dyn TextHook>> {
        cx.take::<String>().map(|_| Box::new(RefusesAll) as Box<dyn TextHook>)
    }
}

struct RefusesAll;

impl TextHook for RefusesAll {
    fn on_text(&mut self, _: &mut Window<'_>) -> Result<Flow, Failure> {
        Ok(Flow::Refuse(Rejection { status: 403, message: "not this".into() }))
    }
}

#[tokio::test]
async fn an_answer_has_one_text_hook_and_a_refusal_is_counted_as_one() {
    for stream in [false, true] {
        let (addr, gateway) = serve(vec![config(TakesOnce, OnError::Closed, Duration::from_secs(20))]).await;
        let reply = chat(addr, "two", "one two three", stream).await;
        assert!(reply.text().contains("not this") && !reply.text().contains("three"), "{}", reply.text());
        let metrics = gateway.metrics().unwrap();
        let calls = |verdict: &str| {
            let of = format!("gateway_plugin_calls_total{{plugin=\"p\",hook=\"text\",verdict=\"{verdict}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&of)?.parse::<u64>().ok()).unwrap_or(0)
        };
        assert_eq!((calls("pass"), calls("reject")), (0, 1), "stream {stream}");
    }
}

/// Changes a header, and makes a body that nobody takes; the next one sees what is left of that.
struct Spoils;

#[async_trait]
impl Plugin for Spoils {
    fn needs(&self) -> Needs {
        Needs::new().body()
    }

    async fn on_request(&self, request: &mut Request, _: &Context) -> Result<Verdict, Failure> {
        request.headers.insert("x-spoilt", "yes".parse().unwrap());
        request.set_json("{");
        Ok(Verdict::Pass)
    }
}

struct SeesHeaders;

#[async_trait]
impl Plugin for SeesHeaders {
    fn needs(&self) -> Needs {
        Needs::new().head()
    }

    async fn on_request(&self, request: &mut Request, _: &Context) -> Result<Verdict, Failure> {
        let spoilt = request.headers.contains_key("x-spoilt");
        Ok(Verdict::say(if spoilt { "spoilt" } else { "as it was" }))
    }
}

#[tokio::test]
async fn of_a_plugin_that_failed_nothing_is_kept() {
    let spoils = config(Spoils, OnError::Open, Duration::from_secs(20));
    let (addr, _gateway) = serve(vec![spoils, PluginConfig::new("sees", Arc::new(SeesHeaders))]).await;
    let reply = chat(addr, "two", "hi", false).await;
    assert_eq!(said(Dialect::OpenAiChat, false, &reply), "as it was");
}

/// Asks a model of the gateway, and tells what went wrong.
struct Asks(&'static str);

#[async_trait]
impl Plugin for Asks {
    fn needs(&self) -> Needs {
        Needs::new().head()
    }

    async fn on_request(&self, _: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let body = r#"{"model":"x","messages":[{"role":"user","content":"a question"}]}"#;
        let asked = cx.host().ask(Operation::Chat, self.0, body.into(), Duration::from_secs(10)).await;
        Ok(Verdict::say(asked.map_or_else(|error| error.0, |_| "an answer".to_owned())))
    }
}

/// What is too large, or broke off, was paid for all the same.
#[tokio::test]
async fn what_a_plugin_asked_for_is_booked_however_it_ends() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !String::from_utf8_lossy(&asked).contains("a question") {
                    connection.read_buf(&mut asked).await.unwrap();
                }
                let large = String::from_utf8_lossy(&asked).contains("large");
                let said = "word ".repeat(if large { 1 << 19 } else { 100 });
                let answer = format!(
                    r#"{{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{said}"}},"finish_reason":"stop"}}]"#
                );
                // Its end, with the usage, never comes.
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    answer.len() + 100
                );
                let _ = connection.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await;
            });
        }
    });
    for (model, told) in [("stub/large", "is too large"), ("stub/broken", "broke off")] {
        let stub =
            format!("{MOCKS}\n[providers.stub]\nkind = \"openai-compatible\"\nbase_url = \"http://{origin}/v1\"");
        let (addr, gateway) = serve_with(&stub, vec![PluginConfig::new("asks", Arc::new(Asks(model)))]).await;
        let reply = chat(addr, "two", "hi", false).await;
        let said = said(Dialect::OpenAiChat, false, &reply);
        assert!(said.contains(told), "{said}");
        let model = model.trim_start_matches("stub/");
        let booked = format!("gateway_price_unknown_total{{provider=\"stub\",model=\"{model}\"");
        let metrics = gateway.metrics().unwrap();
        assert!(metrics.contains(&booked), "{model}: {metrics}");
    }
}

/// A provider of one's own is an HTTP server, which may be in the same process: this one says how long the question was.
struct Measures;

#[async_trait]
impl ServeHttp for Measures {
    async fn response(&self, session: &mut ServerSession) -> http::Response<Vec<u8>> {
        let mut length = 0;
        while let Ok(Some(chunk)) = session.read_request_body().await {
            length += chunk.len();
        }
        let said = format!(
            r#"{{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{length} bytes"}},"finish_reason":"stop"}}]}}"#
        );
        let response = http::Response::builder().header("content-type", "application/json");
        response.header("content-length", said.len()).body(said.into_bytes()).unwrap()
    }
}

type Answers = HashMap<(Fingerprint, Form), Arc<Entry>>;

/// Answers kept in a map.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Answers>>);

#[async_trait]
impl Tier for Kept {
    fn name(&self) -> &'static str {
        "map"
    }

    async fn get(&self, fingerprint: &Fingerprint, form: Form) -> Option<Arc<Entry>> {
        self.0.lock().unwrap().get(&(*fingerprint, form)).cloned()
    }

    fn put(&self, entry: &Arc<Entry>) {
        self.0.lock().unwrap().insert((entry.meta.fingerprint, entry.meta.form), entry.clone());
    }

    async fn purge(&self, _: &Purge) -> Result<u64, TierError> {
        let mut all = self.0.lock().unwrap();
        Ok(std::mem::take(&mut *all).len() as u64)
    }
}

#[tokio::test]
async fn a_provider_and_a_store_of_ones_own() {
    let provider = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kept = Kept::default();
    let builder = || {
        let text = "[providers.own]\nkind = \"openai-compatible\"\nbase_url = \"http://set.below/v1\"\n\
                    [models.m]\ntargets = [{ provider = \"own\", model = \"m\" }]\ncache = { ttl = \"1h\" }";
        Gateway::builder().config_text(text).cache_tier(kept.clone()).configure(move |config| {
            let own = config.providers.get_mut("own").unwrap();
            own.base_url = format!("http://{provider}/v1").parse().ok();
        })
    };
    let (addr, _gateway) = serve_built(builder(), |server| {
        let mut service = Service::new("provider".to_owned(), Measures);
        service.add_tcp(&provider.to_string());
        server.add_service(service);
    })
    .await;
    while tokio::net::TcpStream::connect(provider).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let first = chat(addr, "m", "how long is this?", false).await;
    assert!(said(Dialect::OpenAiChat, false, &first).ends_with(" bytes"));
    // What one gateway has kept another one finds.
    let (other, _gateway) = serve_built(builder(), |_| {}).await;
    let second = chat(other, "m", "how long is this?", false).await;
    assert_eq!((second.header("x-gateway-cache"), second.text()), ("hit", first.text()));
}

#[tokio::test]
async fn a_reload_binds_the_keys_of_the_store_to_what_their_maker_may_now() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let config = |lead: &str| {
        let text = format!(
            "{MOCKS}[store]\npath = {path:?}\n[[keys]]\nname = \"other\"\nhash = \"{}\"\n{lead}",
            hash_line("o")
        );
        Config::parse(&text, "t", &System).unwrap().config
    };
    let lead = |models: &str| {
        config(&format!(
            "[[keys]]\nname = \"lead\"\nhash = \"{}\"\nallow = [\"keys\"]\nmodels = [{models}]",
            hash_line("l")
        ))
    };
    let all = lead("\"*\"");
    let ring = KeyRing::new(&all.keys);
    let keys = RuntimeKeys::open(&path, &ring, Arc::default()).unwrap();
    let maker = Maker::Key(ring.configured()["lead"].clone());
    let (_, secret) = keys.create(NewKey { name: "made".to_owned(), ..NewKey::default() }, &maker, &ring).unwrap();
    drop(keys);

    let (addr, gateway) = serve_built(Gateway::builder().config(all.clone()), |_| {}).await;
    let status = async || {
        let request = ask(Dialect::OpenAiChat, "two", "hi", false);
        exchange(addr, &request.header("authorization", &format!("Bearer {secret}"))).await.status
    };
    assert_eq!(status().await, 200);
    for (config, expected) in [(lead("\"openai-chat/*\""), 404), (all, 200), (config(""), 401)] {
        gateway.reload(&config).unwrap();
        assert_eq!(status().await, expected);
    }
}
