//! `[server]`: where the gateway listens, and what it holds at most.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::{Host, Url};

use super::Context;
use super::certificates::{self, TlsConfig};
use super::secret::Secret;
use super::tree::At;
use super::units::{self, AdminText, DurationText, SecretText, SizeText};

/// Characters of the shortest admin key.
const SHORTEST_ADMIN_KEY: usize = 16;

/// `[server]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Addresses that clients speak to. One that is not loopback is refused without `[[keys]]`. Default: `["127.0.0.1:8080"]`.
    pub listen: Option<At<Vec<At<String>>>>,
    /// Address of health, metrics and the admin API; never one of `listen`. `"off"` serves none. Default: `"127.0.0.1:9090"`.
    pub admin: Option<At<AdminText>>,
    /// Key of the admin API (`/api/…`), sent as `authorization: Bearer`. Without it everybody who reaches the admin listener may
    /// use the API, and the listener must be loopback.
    pub admin_key: Option<At<SecretText>>,
    /// The largest request body, also after decompression; past it the answer is 413. Default: `"32MiB"`.
    pub max_body: Option<At<SizeText>>,
    /// Request bytes held by all exchanges together; past it the answer is 503 with `retry-after`. Default: `"1GiB"`.
    pub max_buffered: Option<At<SizeText>>,
    /// How long streams may go on after a shutdown or an upgrade began. Default: `"15m"`, as long as `timeouts.total`.
    pub drain: Option<At<DurationText>>,
    /// How long a shutdown goes on taking requests after it has begun to say that it is not ready: as long as a load balancer
    /// takes to notice. Default: it stops at once.
    pub shutdown_delay: Option<At<DurationText>>,
    /// Certificate and key of the listeners in `listen`. Default: plain HTTP.
    pub tls: Option<At<Tls>>,
}

/// `tls` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and the chain behind it.
    pub cert: At<String>,
    /// PEM file with the certificate's private key.
    pub key: At<String>,
}

/// The resolved `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Addresses of the public listener; at least one, none twice. Port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Address of the admin listener.
    pub admin: Option<SocketAddr>,
    /// Key of the admin API.
    pub admin_key: Option<Secret>,
    /// Bytes of the largest request body.
    pub max_body: usize,
    /// Request bytes held by all exchanges together; not less than `max_body`.
    pub max_buffered: usize,
    /// How long streams may go on after a shutdown began.
    pub drain: Duration,
    /// How long requests are taken after that.
    pub shutdown_delay: Duration,
    /// Certificate and key files, checked to belong together.
    pub tls: Option<TlsConfig>,
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl ServerConfig {
    /// Whether a client who asks at `url` gets here, as far as the address tells.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain("localhost")) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(Host::Domain(_)) | None => return false,
        };
        self.listen.iter().any(|listen| {
            let here = listen.ip() == ip || (listen.ip().is_unspecified() && ip.is_loopback());
            here && url.port_or_known_default() == Some(listen.port())
        })
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![loopback(8080)],
            admin: Some(loopback(9090)),
            admin_key: None,
            max_body: 32 << 20,
            max_buffered: 1 << 30,
            drain: Duration::from_secs(900),
            shutdown_delay: Duration::ZERO,
            tls: None,
        }
    }
}

impl Server {
    pub(super) fn resolve(self, has_keys: bool, cx: &mut Context<'_>) -> ServerConfig {
        let default = ServerConfig::default();
        let listen_span = self.listen.as_ref().map_or(0..0, |listen| listen.span.clone());
        let listen = self.listen.map_or(default.listen, |listen| resolve_listen(listen, has_keys, cx));
        let has_admin_key = self.admin_key.is_some();
        let admin_key = self.admin_key.and_then(|text| admin_key(&text, cx));
        let admin = match self.admin.map(|At { value, span }| At { value: value.0, span }) {
            None => default_admin(default.admin, &listen, listen_span, cx),
            Some(text) if text.value == "off" => None,
            Some(text) => resolve_admin(&text, &listen, has_admin_key, cx),
        };
        let max_body = self.max_body.as_ref().and_then(|text| cx.parse(text, |text| units::size(&text.0)));
        let max_buffered = self.max_buffered.as_ref().and_then(|text| cx.parse(text, |text| units::size(&text.0)));
        let (max_body_size, max_buffered_size) =
            (max_body.unwrap_or(default.max_body), max_buffered.unwrap_or(default.max_buffered));
        if max_body_size > max_buffered_size
            && let Some(span) = self.max_buffered.map(|text| text.span).or(self.max_body.map(|text| text.span))
        {
            cx.report.error(
                span,
                "`max_buffered` is less than `max_body`: the largest request would never be taken",
                "`max_buffered` is for all requests together; make it several times `max_body`",
            );
        }
        ServerConfig {
            listen,
            admin,
            admin_key,
            max_body: max_body_size,
            max_buffered: max_buffered_size,
            drain: cx.duration(self.drain.as_ref()).unwrap_or(default.drain),
            shutdown_delay: cx.duration(self.shutdown_delay.as_ref()).unwrap_or(default.shutdown_delay),
            tls: self.tls.and_then(|tls| certificates::server(&tls.value.cert, &tls.value.key, cx)),
        }
    }
}

/// An IP address and a port; `localhost` is the one name that needs no resolver.
pub(super) fn parse_address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(loopback(port.parse().ok()?)),
        None => text.parse().ok(),
    }
}

fn address(text: &At<String>, help: &str, cx: &mut Context<'_>) -> Option<SocketAddr> {
    let parsed = parse_address(&text.value);
    if parsed.is_none() {
        cx.report.error(text.span.clone(), format!("`{}` is not an address to listen on", text.value), help);
    }
    parsed
}

/// Whether both cannot be bound at once.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    // `[::]` is every address of both families.
    let covers =
        |wide: SocketAddr, other: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

fn resolve_listen(listen: At<Vec<At<String>>>, has_keys: bool, cx: &mut Context<'_>) -> Vec<SocketAddr> {
    if listen.value.is_empty() {
        cx.report.error(listen.span, "`listen` names no address", "leave it out for \"127.0.0.1:8080\"");
        return Vec::new();
    }
    let mut addresses: Vec<SocketAddr> = Vec::with_capacity(listen.value.len());
    for text in &listen.value {
        let help = "write an IP address and a port, as in \"127.0.0.1:8080\" or \"[::1]:8080\"";
        let Some(address) = address(text, help, cx) else { continue };
        if let Some(other) = addresses.iter().find(|other| collide(**other, address)) {
            cx.report.error(
                text.span.clone(),
                format!("`{address}` is taken already by `{other}`"),
                "remove one of them",
            );
            continue;
        }
        if !has_keys && !address.ip().is_loopback() {
            cx.report.error(
                text.span.clone(),
                format!("`{address}` can be reached from other machines, and without [[keys]] anybody may use it"),
                "add a [[keys]] table for each client, or listen on 127.0.0.1",
            );
        }
        addresses.push(address);
    }
    addresses
}

fn resolve_admin(text: &At<String>, listen: &[SocketAddr], has_key: bool, cx: &mut Context<'_>) -> Option<SocketAddr> {
    let admin = address(text, "write an IP address and a port, as in \"127.0.0.1:9090\", or \"off\"", cx)?;
    if listen.iter().any(|address| collide(*address, admin)) {
        cx.report.error(
            text.span.clone(),
            format!("`{admin}` is one of `listen`: the admin listener must be its own"),
            "use another port, or \"off\"",
        );
    }
    if !has_key && !admin.ip().is_loopback() {
        cx.report.error(
            text.span.clone(),
            format!("the admin listener `{admin}` can be reached from other machines and asks for no key"),
            "set `admin_key = \"env:NAME\"`, or listen on 127.0.0.1",
        );
    }
    Some(admin)
}

/// The address that the admin listener takes if the file names none.
fn default_admin(
    admin: Option<SocketAddr>,
    listen: &[SocketAddr],
    span: Range<usize>,
    cx: &mut Context<'_>,
) -> Option<SocketAddr> {
    if let Some(admin) = admin.filter(|admin| listen.iter().any(|address| collide(*address, *admin))) {
        let message = format!("`{admin}` is taken by the admin listener, as long as `admin` names no other address");
        cx.report.error(span, message, "set `admin`, to another port or \"off\"");
    }
    admin
}

/// A key that can be guessed is none.
fn admin_key(text: &At<SecretText>, cx: &mut Context<'_>) -> Option<Secret> {
    let secret = cx.secret(text)?;
    if secret.expose().len() < SHORTEST_ADMIN_KEY {
        let message = format!("the admin key has less than {SHORTEST_ADMIN_KEY} characters");
        cx.report.error(text.span.clone(), message, "take a random one, as `ai-gateway key new admin` prints");
    }
    Some(secret)
}
