//! Gateways that serve, in the process of the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ai_gateway::config::{OnError, PluginConfig};
use ai_gateway::plugins::Plugin;
use ai_gateway::{Builder, Gateway};
use ai_gateway_providers::Dialect;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};

use crate::client::{Reply, ask, exchange};

/// Providers of the kind `mock`, and the model `two` of them.
pub const MOCKS: &str = r#"
    [providers.openai-chat]
    kind = "mock"
    [models.two]
    targets = [{ provider = "openai-chat", model = "echo" }, { provider = "openai-chat", model = "lorem-3", priority = 1 }]
"#;

/// A gateway with one plugin, serving on a port of its own for as long as the test's process lives.
pub async fn serve(plugins: Vec<PluginConfig>) -> (SocketAddr, Gateway) {
    serve_with(MOCKS, plugins).await
}

/// The same, of this configuration.
pub async fn serve_with(text: &str, plugins: Vec<PluginConfig>) -> (SocketAddr, Gateway) {
    let builder = Gateway::builder().config_text(text);
    serve_built(plugins.into_iter().fold(builder, Builder::plugin_config), |_| {}).await
}

/// The same, with what else is to be in its server.
pub async fn serve_built(builder: Builder, more: impl FnOnce(&mut Server)) -> (SocketAddr, Gateway) {
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

pub fn config(plugin: impl Plugin, on_error: OnError, timeout: Duration) -> PluginConfig {
    let mut config = PluginConfig::new("p", Arc::new(plugin));
    config.on_error = on_error;
    config.timeout = timeout;
    config
}

pub async fn chat(addr: SocketAddr, model: &str, text: &str, stream: bool) -> Reply {
    exchange(addr, &ask(Dialect::OpenAiChat, model, text, stream)).await
}
