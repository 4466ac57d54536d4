//! Providers and stores of one's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ai_gateway::Gateway;
use ai_gateway::cache::{Entry, Fingerprint, Form, Purge, Tier, TierError};
use ai_gateway::plugins::async_trait;
use ai_gateway_providers::Dialect;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::services::listening::Service;

use crate::client::said;
use crate::setup::{chat, serve_built};

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
