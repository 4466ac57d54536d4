//! Providers as the proxy uses them: everything about an account that does not change from request to request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ai_gateway_providers::codec::Platform;
use ai_gateway_providers::common::ProviderTag;
use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::preset::{Preset, Quirks, UpstreamRequest, upstream_path};
use ai_gateway_providers::{Dialect, Operation};
use http::{HeaderName, HeaderValue};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;

/// Streams that may share one HTTP/2 connection: enough to help, few enough that one lost packet stalls few.
const H2_STREAMS: usize = 16;
/// How often an HTTP/2 connection is asked whether it lives.
const H2_PING: Duration = Duration::from_secs(15);
/// Idle upstream connections are closed before the usual load balancer does it, so that fewer requests meet a
/// connection that is just going away.
const UPSTREAM_IDLE: Duration = Duration::from_secs(50);

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
    /// Credentials and fixed headers. Injected only once the request's URL is final.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers that the vendor demands, for clients that send none of that name.
    pub default_headers: Vec<(HeaderName, HeaderValue)>,
    /// Azure's `api-version`, for its older URL form.
    pub api_version: Option<String>,
    /// What is peculiar about it.
    pub quirks: Quirks,
    /// Marks opaque state that it made.
    pub tag: ProviderTag,
    pub(super) tls: bool,
    pub(super) http2: bool,
    pub(super) ca: Option<Arc<CaType>>,
    pub(super) pool: u64,
}

/// How a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The dialect that it is spoken to in.
    pub dialect: Dialect,
    /// Whose API carries that dialect.
    pub platform: Platform,
}

impl Provider {
    /// How it is asked for `endpoint` of `model`: in the client's own dialect where it can be, in its preferred one where the
    /// request can be translated, `None` if not at all.
    pub fn route(&self, endpoint: &Endpoint, model: &str) -> Option<Route> {
        let route = |dialect| Route { dialect, platform: self.preset.platform(dialect) };
        let spoken = |dialect: &Dialect| self.dialects.contains(dialect) && self.preset.serves(*dialect, model);
        let own = Some(endpoint.dialect).filter(spoken).map(route).filter(|route| {
            self.preset.offers(endpoint.operation)
                && (endpoint.operation == Operation::Chat || route.platform == Platform::Native)
        });
        own.or_else(|| {
            let translatable = matches!(endpoint.operation, Operation::Chat);
            self.dialects.iter().copied().filter(|_| translatable).find(spoken).map(route)
        })
    }

    /// Path and query of `endpoint` for `model` at this provider, asked as `route` says. `query` is the client's; it means nothing to
    /// another dialect.
    pub fn path(&self, route: Route, endpoint: &Endpoint, model: &str, query: Option<&str>) -> String {
        let same = route.dialect == endpoint.dialect;
        let request = UpstreamRequest {
            dialect: route.dialect,
            suffix: if same { &endpoint.suffix } else { chat_suffix(route.dialect) },
            model: Some(model),
            query: query.filter(|_| same),
        };
        upstream_path(self.preset, &self.base_path, self.api_version.as_deref(), &request)
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

/// The chat endpoint's own path in `dialect`.
const fn chat_suffix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat => "/chat/completions",
        Dialect::OpenAiResponses => "/responses",
        Dialect::Anthropic => "/v1/messages",
        Dialect::Gemini => ":generateContent",
        Dialect::Bedrock => "/converse",
        Dialect::Cohere => "/v2/chat",
    }
}
