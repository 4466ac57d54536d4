//! Plugins that ask a model themselves.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ai_gateway::config::PluginConfig;
use ai_gateway::plugins::{Context, Failure, HostErrorKind, Needs, Plugin, Request, Verdict, async_trait};
use ai_gateway_providers::{Dialect, Operation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{ask, exchange};
use crate::setup::{MOCKS, chat, serve_with};

/// Asks a model of the gateway, waits so long, and tells what went wrong.
struct Asks(&'static str, Duration);

#[async_trait]
impl Plugin for Asks {
    fn needs(&self) -> Needs {
        Needs::new().head()
    }

    async fn on_request(&self, _: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let body = r#"{"model":"x","messages":[{"role":"user","content":"a question"}]}"#;
        let asked = cx.host().ask(Operation::Chat, self.0, body.into(), self.1).await;
        Ok(Verdict::say(asked.map_or_else(|error| error.message, |_| "an answer".to_owned())))
    }
}

/// A provider that never comes to the end of an answer, with its usage, in the way that the model's name says.
async fn stub() -> SocketAddr {
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
                let asked = String::from_utf8_lossy(&asked);
                if asked.contains("silent") {
                    std::future::pending::<()>().await;
                }
                let said = "word ".repeat(if asked.contains("large") { 1 << 19 } else { 100 });
                let answer = format!(
                    r#"{{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{said}"}},"finish_reason":"stop"}}]"#
                );
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    answer.len() + 100
                );
                let _ = connection.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await;
                if asked.contains("slow") {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    origin
}

/// What is too large, broke off, or was given up was paid for all the same.
#[tokio::test]
async fn what_a_plugin_asked_for_is_booked_however_it_ends() {
    let origin = stub().await;
    let config = format!("{MOCKS}\n[providers.stub]\nkind = \"openai-compatible\"\nbase_url = \"http://{origin}/v1\"");
    let (long, short) = (Duration::from_secs(10), Duration::from_millis(300));
    for (model, patience, timeout, told) in [
        ("large", long, long, "is too large"),
        ("broken", long, long, "broke off"),
        ("slow", short, long, "no answer within"),
        ("silent", short, long, "no answer within"),
        ("slow", long, short, "the plugin `asks` failed"),
    ] {
        let asks = Asks(format!("stub/{model}").leak(), patience);
        let mut plugin = PluginConfig::new("asks", Arc::new(asks));
        plugin.timeout = timeout;
        let (addr, gateway) = serve_with(&config, vec![plugin]).await;
        let reply = chat(addr, "two", "hi", false).await;
        assert!(reply.text().contains(told), "{model}: {}", reply.text());
        let booked = format!("gateway_price_unknown_total{{provider=\"stub\",model=\"{model}\"");
        let metrics = async {
            while !gateway.metrics().unwrap().contains(&booked) {
                tokio::task::yield_now().await;
            }
        };
        let metrics = tokio::time::timeout(Duration::from_secs(20), metrics).await;
        assert!(metrics.is_ok(), "{model} {told}: {}", gateway.metrics().unwrap());
    }
}

/// Asks a model of the gateway for something, and tells of what kind the error is.
struct Tells(Operation, &'static str, &'static str, Duration);

#[async_trait]
impl Plugin for Tells {
    fn needs(&self) -> Needs {
        Needs::new().head()
    }

    async fn on_request(&self, _: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let Self(operation, model, body, patience) = *self;
        let asked = cx.host().ask(operation, model, body.into(), patience).await;
        Ok(Verdict::say(asked.map_or_else(|error| format!("{:?}", error.kind), |_| "an answer".to_owned())))
    }
}

/// Plugins can tell the configuration, the question and the provider apart.
#[tokio::test]
async fn a_plugin_is_told_why_there_is_no_answer() {
    let origin = stub().await;
    let config = format!(
        r#"{MOCKS}
        [providers.stub]
        kind = "openai-compatible"
        base_url = "http://{origin}/v1"
        [providers.nobody]
        kind = "openai-compatible"
        base_url = "http://127.0.0.1:1/v1"
        [providers.claude]
        kind = "anthropic"
        api_key = "sk-none"
        [models.claude]
        targets = [{{ provider = "claude", model = "x" }}]
        "#
    );
    let chat_body = r#"{"model":"x","messages":[{"role":"user","content":"a question"}]}"#;
    let (long, short) = (Duration::from_secs(10), Duration::from_millis(50));
    let why = [
        (Operation::Chat, "openai-chat/echo", chat_body, long, "an answer"),
        (Operation::Chat, "nothing", chat_body, long, "Misconfigured"),
        (Operation::Moderation, "claude", r#"{"model":"x","input":"a question"}"#, long, "Misconfigured"),
        (Operation::Chat, "openai-chat/status-401", chat_body, long, "Misconfigured"),
        (Operation::Chat, "openai-chat/status-404", chat_body, long, "Misconfigured"),
        (Operation::Chat, "openai-chat/status-400", chat_body, long, "Invalid"),
        (Operation::Chat, "openai-chat/echo", "no JSON", long, "Invalid"),
        (Operation::Chat, "openai-chat/echo", r#"{"model":"x","stream":true,"messages":[]}"#, long, "Invalid"),
        (Operation::Rerank, "openai-chat/echo", "{}", long, "Invalid"),
        (Operation::Chat, "openai-chat/status-429", chat_body, long, "Unavailable"),
        (Operation::Chat, "openai-chat/status-503", chat_body, long, "Unavailable"),
        (Operation::Chat, "nobody/x", chat_body, long, "Unavailable"),
        (Operation::Chat, "stub/broken", chat_body, long, "Unavailable"),
        (Operation::Chat, "stub/silent", chat_body, short, "TimedOut"),
    ];
    for (operation, model, body, patience, told) in why {
        let plugin = PluginConfig::new("tells", Arc::new(Tells(operation, model, body, patience)));
        let (addr, _gateway) = serve_with(&config, vec![plugin]).await;
        let reply = chat(addr, "two", "hi", false).await;
        assert!(reply.text().contains(told), "{operation} {model} {body}: {told}, but {}", reply.text());
    }
}

/// Asks a model and lets the request pass, on a thread of its own or not, and whatever comes of it.
struct Judges {
    blocking: bool,
    failed: Arc<Mutex<Vec<HostErrorKind>>>,
    ended: Arc<AtomicUsize>,
}

/// Counts a call that is over, one that was dropped, too.
struct Ends(Arc<AtomicUsize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Plugin for Judges {
    fn needs(&self) -> Needs {
        if self.blocking { Needs::new().head().blocking() } else { Needs::new().head() }
    }

    async fn on_request(&self, _: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let _ends = Ends(self.ended.clone());
        let body = r#"{"model":"x","messages":[{"role":"user","content":"a question"}]}"#;
        let asked = cx.host().ask(Operation::Chat, "openai-chat/echo", body.into(), Duration::from_secs(10)).await;
        Ok(asked.map_or_else(
            |error| {
                self.failed.lock().unwrap().push(error.kind);
                Verdict::say(error.message)
            },
            |_| Verdict::Pass,
        ))
    }
}

/// What a plugin asks is booked to the key of its request; when nothing is left, the request is refused and nothing asked.
#[tokio::test]
async fn who_has_nothing_left_pays_for_no_question_of_a_plugin() {
    for blocking in [false, true] {
        let prices = "[prices.models]\n\"openai-chat/echo\" = { input = 0, output = 0, request = \"1000000\" }";
        let hash = ai_gateway::internal::hash_line("sk-bot");
        let key = format!("[[keys]]\nname = \"bot\"\nhash = \"{hash}\"\nbudget = {{ usd = 3.5, per = \"month\" }}");
        let (failed, ended) = (Arc::new(Mutex::default()), Arc::new(AtomicUsize::new(0)));
        let judges = Judges { blocking, failed: failed.clone(), ended: ended.clone() };
        let plugin = PluginConfig::new("judges", Arc::new(judges));
        let (addr, gateway) = serve_with(&format!("{MOCKS}\n{prices}\n{key}"), vec![plugin]).await;
        let request = ask(Dialect::OpenAiChat, "two", "hi", false).header("x-api-key", "sk-bot");
        let spent = "gateway_cost_usd_total{provider=\"openai-chat\",model=\"echo\",key=\"bot\"}";
        // Each answer, and the question before it.
        for (asked, status, dollars) in [(1, 200, 2), (2, 200, 4), (3, 429, 4), (4, 429, 4)] {
            let reply = exchange(addr, &request).await;
            assert_eq!(reply.status, status, "{blocking} {asked}: {}", reply.text());
            assert_eq!(reply.text().contains("the budget of this key is used up"), status == 429, "{}", reply.text());
            let booked = async {
                while !gateway.metrics().unwrap().contains(&format!("{spent} {dollars}.0\n")) {
                    tokio::task::yield_now().await;
                }
            };
            let booked = tokio::time::timeout(Duration::from_secs(20), booked).await;
            assert!(booked.is_ok(), "{asked} {blocking}: {}", gateway.metrics().unwrap());
        }
        // One on a thread of its own is dropped there, or has just been told: nothing comes of it, and it does not go on.
        let over = async {
            while ended.load(Ordering::Relaxed) < 4 {
                tokio::task::yield_now().await;
            }
        };
        let over = tokio::time::timeout(Duration::from_secs(20), over).await;
        let failed = failed.lock().unwrap();
        assert!(
            over.is_ok() && failed.len() <= 2 && failed.iter().all(|kind| *kind == HostErrorKind::NoRoom),
            "{blocking} {failed:?}"
        );
    }
}
