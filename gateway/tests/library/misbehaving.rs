//! Plugins that misbehave harm only their own requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ai_gateway::config::{Config, OnError, PluginConfig, System};
use ai_gateway::plugins::{
    Answer, AnswerBody, Context, End, Failure, Finish, Flow, Needs, Part, Plan, Plugin, Request, TextHook, Upstream,
    Verdict, Window, async_trait,
};
use ai_gateway_providers::Dialect;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{ask, exchange, said};
use crate::setup::{chat, config, serve, serve_with};

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
    let deeds = [Deed::Sleep, Deed::Block];
    join_all(deeds.iter().flat_map(|deed| ["request", "answer", "window"].map(|hook| harms_only_its_own(*deed, hook))))
        .await;
}

async fn harms_only_its_own(deed: Deed, hook: &'static str) {
    let mut bad = config(Bad { hook, deed }, OnError::Closed, Duration::from_secs(4));
    let when = "[providers.m]\nkind = \"mock\"\n[[plugins]]\nuse = \"headers\"\nrequest.set.x-a = \"b\"\n\
                when = { header = { x-bad = \"yes\" } }";
    let parsed = Config::parse(when, "when", &System).unwrap();
    bad.when = parsed.config.plugins[0].when.clone();
    let (addr, _gateway) = serve(vec![bad]).await;
    let slow: Vec<_> = (0..8)
        .map(|_| {
            // Only what is streamed has windows.
            let request = ask(Dialect::OpenAiChat, "two", "one two three", hook == "window").header("x-bad", "yes");
            tokio::spawn(async move { exchange(addr, &request).await })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(chat(addr, "two", "hi", false).await.status, 200, "{deed:?} {hook}");
    }
    assert!(!slow.iter().any(JoinHandle::is_finished), "{deed:?} {hook}: others had to wait for them");
    for slow in slow {
        let reply = slow.await.unwrap();
        assert!(reply.text().contains("the plugin `p` failed"), "{deed:?} {hook}: {}", reply.text());
    }
}

/// Fails at each target whose model is called so, and tells how the exchange has ended.
struct FailsAt(&'static str, mpsc::UnboundedSender<End>, Arc<AtomicUsize>);

#[async_trait]
impl Plugin for FailsAt {
    fn needs(&self) -> Needs {
        Needs::new().upstream().end()
    }

    fn on_upstream(&self, upstream: &mut Upstream, _: &Context) -> Result<(), Failure> {
        if *upstream.model != *self.0 {
            return Ok(());
        }
        self.2.fetch_add(1, Ordering::SeqCst);
        Err("it fails".into())
    }

    fn on_end(&self, end: &End, _: &Context) {
        let _ = self.1.send(end.clone());
    }
}

/// The call that it failed at was needless.
#[tokio::test]
async fn who_fails_at_the_second_call_of_a_race_harms_nobody() {
    let text = r#"
        [providers.m]
        kind = "mock"
        [models.two]
        targets = [{ provider = "m", model = "echo+slow-first-2s" }, { provider = "m", model = "lorem-3", priority = 1 }]
        hedge = { after = "20ms", max_extra = "100%" }
    "#;
    let (told, mut ends) = mpsc::unbounded_channel();
    let failed = Arc::<AtomicUsize>::default();
    let plugin = config(FailsAt("lorem-3", told, failed.clone()), OnError::Closed, Duration::from_secs(5));
    let (addr, _gateway) = serve_with(text, vec![plugin]).await;
    let reply = chat(addr, "two", "one two three", true).await;
    assert_eq!(said(Dialect::OpenAiChat, true, &reply), "one two three");
    let end = ends.recv().await.unwrap();
    assert_eq!((end.status, end.finish, end.error), (200, Finish::Complete, None));
    assert_eq!(failed.load(Ordering::SeqCst), 1);
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
