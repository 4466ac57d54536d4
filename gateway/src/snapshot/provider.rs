//! Providers as the proxy uses them: everything about an account that does not change from request to request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::Platform;
use ai_gateway_providers::common::ProviderTag;
use ai_gateway_providers::preset::{Account, Preset, Quirks, UpstreamRequest, upstream_path};
use http::{HeaderName, HeaderValue};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;

use crate::config::ProbeConfig;
use crate::credentials::Credentials;

/// Streams that may share one HTTP/2 connection: enough to help, few enough that one lost packet stalls few.
const H2_STREAMS: usize = 16;
/// How often an HTTP/2 connection is asked whether it lives.
const H2_PING: Duration = Duration::from_secs(15);
/// Idle upstream connections are closed before the usual load balancer does it, so that fewer requests meet a
/// connection that is just going away.
const UPSTREAM_IDLE: Duration = Duration::from_secs(50);
/// Somewhat less than the 64 KiB of RFC 9113, for the framing.
const H2_WINDOW: usize = 60 << 10;

/// One upstream account.
#[derive(Debug)]
pub struct Provider {
    /// Its name in the file.
    pub name: Arc<str>,
    /// What is known of the vendor.
    pub preset: &'static Preset,
    /// What it speaks, best first.
    pub dialects: Vec<Dialect>,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of the base URL, without a slash at its end.
    pub base_path: String,
    /// Value of the `host` header.
    pub authority: HeaderValue,
    /// What it is convinced with, by number; at least one. Injected only once the request's URL is final.
    pub credentials: Vec<Credentials>,
    /// Fixed headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Values of those that are secrets.
    pub secret_headers: Vec<HeaderValue>,
    /// Headers of a client's request that mean something to it alone and go on.
    pub forward: Vec<HeaderName>,
    /// Headers that the vendor demands, for clients that send none of that name.
    pub default_headers: Vec<(HeaderName, HeaderValue)>,
    /// Azure's `api-version`, for its older URL form.
    pub api_version: Option<String>,
    /// The cloud's region.
    pub region: Option<String>,
    /// The Google Cloud project.
    pub project: Option<String>,
    /// How it is asked on purpose whether it is well.
    pub probe: Option<ProbeConfig>,
    /// What is peculiar about it.
    pub quirks: Quirks,
    /// The only betas of Anthropic that it takes, where that is said.
    pub betas: Option<Vec<String>>,
    /// Marks opaque state that it made.
    pub tag: ProviderTag,
    pub(super) tls: bool,
    pub(super) http2: bool,
    /// It was found to take nothing else.
    pub(super) only_http2: AtomicBool,
    pub(super) ca: Option<Arc<CaType>>,
    pub(super) pool: u64,
}

impl Provider {
    /// Whether `model` can be asked for in `dialect`. The one dialect of an account is spoken for all its models.
    pub fn speaks(&self, dialect: Dialect, model: &str) -> bool {
        self.dialects.contains(&dialect) && (self.dialects.len() == 1 || self.preset.carries(dialect, model))
    }

    /// Whether it is Anthropic itself, who does more than its API says: it keeps threads, and reads what Claude Code says of itself.
    pub fn is_anthropic(&self) -> bool {
        self.preset.kind == "anthropic"
    }

    /// Whose API carries `dialect` there.
    pub fn platform(&self, dialect: Dialect) -> Platform {
        self.preset.platform(dialect)
    }

    /// Path and query of `request`; `None` if there is none for such an operation, or for such a name of a model.
    pub fn path(&self, request: &UpstreamRequest<'_>) -> Option<String> {
        let account = Account {
            base_path: &self.base_path,
            api_version: self.api_version.as_deref(),
            project: self.project.as_deref(),
            region: self.region.as_deref(),
        };
        upstream_path(self.preset, &account, request)
    }

    /// Lets a request with a body of `size` go to `peer` by HTTP/1 where that is larger than the window which an HTTP/2 server opens
    /// with: while Pingora waits for more window it sees neither an early answer nor a clock nor a client that leaves.
    pub fn choose_protocol(&self, peer: &mut HttpPeer, size: usize) {
        if size > H2_WINDOW && peer.options.alpn == ALPN::H2H1 && !self.only_http2.load(Ordering::Relaxed) {
            peer.options.alpn = ALPN::H1;
        }
    }

    /// `peer` takes no protocol that it was offered. Whether that is worth another try, as it was not offered HTTP/2; it is from now
    /// on.
    pub fn may_insist_on_http2(&self, peer: &HttpPeer) -> bool {
        self.http2 && peer.options.alpn == ALPN::H1 && !self.only_http2.swap(true, Ordering::Relaxed)
    }

    /// The peer at `address`, with everything that Pingora would otherwise leave open: time limits, certificate
    /// checks, protocol, connection pool.
    pub fn peer(&self, address: SocketAddr, connect: Duration, idle: Duration) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        peer.group_key = self.pool;
        let options = &mut peer.options;
        options.connection_timeout = Some(connect);
        options.total_connection_timeout = Some(connect);
        options.idle_timeout = Some(UPSTREAM_IDLE);
        options.ca = self.ca.clone();
        if self.http2 {
            options.alpn = if self.tls { ALPN::H2H1 } else { ALPN::H2 };
            options.max_h2_streams = H2_STREAMS;
            // Pingora waits for a window before it looks at anything else, our clocks included.
            options.write_timeout = Some(idle);
            // Our clocks do not tell Pingora that a connection is dead; without pings it would go on using it.
            options.h2_ping_interval = Some(H2_PING);
        }
        peer
    }
}
