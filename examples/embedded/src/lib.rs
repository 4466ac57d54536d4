//! A proxy of one's own with the gateway under `/ai`. [`Site`] is the proxy that was there before; it knows nothing of the
//! gateway.

use std::error::Error;

use ai_gateway::{Gateway, Mounted};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// The proxy that was there before.
pub struct Site;

#[async_trait]
impl ProxyHttp for Site {
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn request_filter(&self, session: &mut Session, _: &mut usize) -> pingora_core::Result<bool> {
        let body = Bytes::from(format!("this is {}\n", session.req_header().uri.path()));
        let mut header = ResponseHeader::build(200, Some(2))?;
        header.insert_header("content-length", body.len())?;
        session.write_response_header(Box::new(header), false).await?;
        session.write_response_body(Some(body), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut usize) -> pingora_core::Result<Box<HttpPeer>> {
        pingora_core::Error::e_explain(pingora_core::ErrorType::InternalError, "everything is answered here")
    }
}

/// A server that listens on `address`: the site, and under `/ai` the gateway of this configuration.
pub fn server(address: &str, config: &str) -> Result<Server, Box<dyn Error>> {
    let mut gateway = Gateway::builder().config_text(config).build()?;

    let conf = ServerConf { threads: 2, max_retries: 64, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let mut service = http_proxy_service(&server.configuration, Mounted::new("/ai", &gateway, Site));
    service.add_tcp(address);
    server.add_service(service);
    server.add_services(gateway.background());
    Ok(server)
}
