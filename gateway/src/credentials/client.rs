//! The HTTP client that asks for tokens, and whom plugins want to ask: Pingora's connector and the gateway's resolver, so that
//! nothing else speaks TLS.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ai_gateway_plugins::Tls;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, header};
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::CertKey;
use pingora_http::RequestHeader;

use super::CredentialError;
use crate::net::call::{Ask, Call};
use crate::net::dns::Resolver;
use crate::snapshot::trust;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// The same for a cloud's metadata service, which is next door or not there at all.
const CONNECT_LOCAL: Duration = Duration::from_secs(1);
/// Longest silence of a server that gives tokens or keys.
const IDLE: Duration = Duration::from_secs(8);
/// How long a connection lies idle before it is closed.
const KEPT: Duration = Duration::from_secs(30);
/// Answers are a token and little else.
const MAX_ANSWER: usize = 256 * 1024;

/// Sends small requests over HTTP/1 and reads small answers.
pub struct Client {
    connector: Arc<Connector>,
    resolver: Resolver,
}

impl Client {
    /// A client that verifies servers by the system's certificates.
    pub fn new(resolver: Resolver) -> Self {
        Self { connector: Arc::new(Connector::new(None)), resolver }
    }

    /// Sends `request`, whose URI is absolute, as the [`Tls`] in its extensions says, if there is one. Follows no redirect: what
    /// it carries is for nobody else.
    ///
    /// # Errors
    /// Nothing that can be understood came back. Never quotes what was sent or received.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, CredentialError> {
        self.send_within(request, IDLE).await
    }

    /// The same, where the server may be silent for as long as `idle`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_within(
        &self,
        request: Request<Bytes>,
        idle: Duration,
    ) -> Result<Response<Bytes>, CredentialError> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        self.exchange(request, &host, idle).await.map_err(|cause| CredentialError::new(format!("{host}: {cause}")))
    }

    async fn exchange(&self, request: Request<Bytes>, host: &str, idle: Duration) -> Result<Response<Bytes>, String> {
        let uri = request.uri();
        let authority = uri.authority().ok_or("the URL has no host")?.to_string();
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let address = self.resolver.resolve(host, port, CONNECT).await.map_err(|error| error.to_string())?;
        let connect = if is_next_door(address.ip()) { CONNECT_LOCAL } else { CONNECT };
        let mut peer = HttpPeer::new(address, tls, host.to_owned());
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.read_timeout = Some(idle);
        peer.options.write_timeout = Some(idle);
        peer.options.idle_timeout = Some(KEPT);
        if let Some(own) = request.extensions().get::<Tls>() {
            show(&mut peer, own)?;
        }

        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut header = RequestHeader::build(request.method().clone(), path.as_bytes(), Some(8)).map_err(cause)?;
        for (name, value) in request.headers() {
            header.append_header(name, value).map_err(cause)?;
        }
        header.insert_header(header::HOST, authority).map_err(cause)?;
        let body = request.body().clone();
        if !body.is_empty() || request.method() != http::Method::GET {
            header.insert_header(header::CONTENT_LENGTH, body.len()).map_err(cause)?;
        }

        let ask = Ask { peer, header, body, content_type: "application/json" };
        let (header, mut call) = Call::open(&self.connector, ask).await.map_err(|failed| cause(failed.error))?;
        let mut answer = BytesMut::new();
        while let Some(chunk) = call.next().await.map_err(cause)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err("the answer is too large".to_owned());
            }
            answer.extend_from_slice(&chunk);
        }
        let mut response = Response::new(answer.freeze());
        (*response.status_mut(), *response.headers_mut()) = (header.status, header.headers.clone());
        Ok(response)
    }
}

fn show(peer: &mut HttpPeer, own: &Tls) -> Result<(), String> {
    let identity = |(chain, key): (&[Vec<u8>], &[u8])| Arc::new(CertKey::new(chain.to_vec(), key.to_vec()));
    // Pingora panics over a certificate that its own parser does not take.
    let made = std::panic::catch_unwind(|| (own.authorities().map(trust), own.identity().map(identity)));
    let (authorities, identity) = made.map_err(|_| "the certificates of `tls` cannot be used")?;
    (peer.options.ca, peer.client_cert_key) = (authorities, identity);
    // Who trusts others, or is another, gets no connection of somebody else.
    let mut hasher = DefaultHasher::new();
    (own.authorities(), own.identity()).hash(&mut hasher);
    peer.group_key = hasher.finish();
    Ok(())
}

/// Not the whole error: its context may quote what was sent.
fn cause(error: impl AsRef<pingora_error::Error>) -> String {
    error.as_ref().etype().as_str().to_owned()
}

fn is_next_door(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}
