//! Every hook, in every dialect, of answers that are streamed and that are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ai_gateway::config::OnError;
use ai_gateway::plugins::{
    Answer, Context, End, Failure, Flow, Needs, Part, Plan, Plugin, Rejection, Request, TextHook, Upstream, Verdict,
    Window, async_trait,
};
use ai_gateway_providers::Dialect;

use crate::client::{ask, exchange, said};
use crate::setup::{chat, config, serve};

/// One plugin that uses every hook.
#[derive(Default)]
pub struct All {
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
