//! Plugins that ask a model themselves.

use std::sync::Arc;
use std::time::Duration;

use ai_gateway::config::PluginConfig;
use ai_gateway::plugins::{Context, Failure, Needs, Plugin, Request, Verdict, async_trait};
use ai_gateway_providers::{Dialect, Operation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::said;
use crate::setup::{MOCKS, chat, serve_with};

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
