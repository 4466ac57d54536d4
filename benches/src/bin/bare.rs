//! A bare Pingora pass-through: what any proxy on Pingora costs before it does anything of its own.
//!
//! Listener, threads, connection pool, allocator and log level are those of `ai-gateway run`, so that the difference
//! between the two is the gateway's own work.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use clap::Parser;
use mimalloc::MiMalloc;
use pingora_core::{
    apps::HttpServerOptions,
    listeners::{L4BufferSettings, ListenerConfig},
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Idle connections kept to the upstream, as many as the gateway keeps.
const UPSTREAM_POOL: usize = 1024;
/// Bytes of an answer that are gathered until it is flushed, as many as the gateway's.
const WRITE_BUFFER: usize = 8 << 10;

/// A bare Pingora pass-through to one upstream.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where everything is sent, by plain HTTP/1.
    #[arg(long)]
    upstream: SocketAddr,
    /// Worker threads; as many as there are cores unless given.
    #[arg(long)]
    threads: Option<usize>,
}

struct PassThrough {
    upstream: SocketAddr,
    host: String,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        request.insert_header(http::header::HOST, &self.host)
    }
}

fn main() -> ai_gateway_benches::Result<()> {
    let arguments = Arguments::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    // Pingora does not tell which port it was given, so a free one is chosen for it.
    let listen = TcpListener::bind(arguments.listen)?.local_addr()?;
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => thread::available_parallelism()?.get(),
    };
    let conf = ServerConf { threads, upstream_keepalive_pool_size: UPSTREAM_POOL, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = PassThrough { upstream: arguments.upstream, host: arguments.upstream.to_string() };
    let mut service = http_proxy_service(&server.configuration, proxy);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    if let Some(app) = service.app_logic_mut() {
        app.server_options = Some(options);
    }
    let buffer = L4BufferSettings::default().write(WRITE_BUFFER);
    service.add_listener(ListenerConfig::tcp(listen.to_string()).l4_buffer(buffer));
    server.add_service(service);
    thread::spawn(move || {
        while TcpStream::connect(listen).is_err() {
            thread::sleep(Duration::from_millis(2));
        }
        eprintln!("listening on http://{listen}");
    });
    server.run_forever()
}
