//! One export: a POST of HTTP, or a unary call of gRPC, through Pingora's connector.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;

use crate::config::{CollectorConfig, Protocol};
use crate::net::dns::Resolver;

/// Answers are a few bytes.
const MAX_ANSWER: usize = 64 << 10;
/// How long a connection is kept for the next export.
const IDLE: Duration = Duration::from_secs(30);

/// Why an export failed. Never with anything that the collector said.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another try may help, after so long.
    Later { cause: String, after: Option<Duration> },
    /// None will.
    Refused(String),
}

impl Failed {
    fn later(cause: impl Into<String>) -> Self {
        Self::Later { cause: cause.into(), after: None }
    }
}

/// Sends to one collector.
pub(super) struct Sender {
    connector: Connector,
    ca: Option<std::sync::Arc<pingora_core::protocols::tls::CaType>>,
}

impl Sender {
    pub(super) fn new(to: &CollectorConfig) -> Self {
        let ca = to.ca.as_ref().map(|ca| crate::snapshot::trust(&ca.certificates));
        Self { connector: Connector::new(None), ca }
    }

    /// Sends `message`; returns the message of the answer.
    pub(super) async fn send(
        &self,
        to: &CollectorConfig,
        message: Bytes,
        resolver: &Resolver,
    ) -> Result<Bytes, Failed> {
        let exchanged = Box::pin(self.exchange(to, message, resolver));
        tokio::time::timeout(to.timeout, exchanged).await.unwrap_or_else(|_| Err(Failed::later("no answer in time")))
    }

    async fn exchange(&self, to: &CollectorConfig, message: Bytes, resolver: &Resolver) -> Result<Bytes, Failed> {
        let address = resolver.resolve(&to.host, to.port, to.timeout).await;
        let mut peer =
            HttpPeer::new(address.map_err(|error| Failed::later(error.to_string()))?, to.tls, to.host.clone());
        let options = &mut peer.options;
        options.connection_timeout = Some(to.timeout);
        options.total_connection_timeout = Some(to.timeout);
        options.ca = self.ca.clone();
        let (header, body) = request(to, message).map_err(|error| Failed::Refused(cause(&error)))?;
        if to.protocol == Protocol::Grpc {
            options.alpn = ALPN::H2;
        }
        let mut reused_once = false;
        loop {
            let got = self.connector.get_http_session(&peer).await;
            let (session, reused) = got.map_err(|error| Failed::later(cause(&error)))?;
            match self.ask(session, &peer, header.clone(), body.clone()).await {
                Ok(answer) => return judge(to.protocol, &answer),
                // It was closed while it lay in the pool.
                Err(_) if reused && !std::mem::replace(&mut reused_once, true) => {}
                Err(error) => return Err(Failed::later(cause(&error))),
            }
        }
    }

    async fn ask(
        &self,
        mut session: HttpSession,
        peer: &HttpPeer,
        header: RequestHeader,
        body: Bytes,
    ) -> pingora_error::Result<Answer> {
        session.write_request_header(Box::new(header)).await?;
        session.write_request_body(body, true).await?;
        session.finish_request_body().await?;
        let head = loop {
            session.read_response_header().await?;
            match session.response_header() {
                Some(header) if header.status.is_informational() => {}
                Some(header) => break header.clone(),
                None => return pingora_error::Error::e_explain(pingora_error::ErrorType::ReadError, "no header"),
            }
        };
        let mut answer = Answer { status: head.status, headers: head.headers.clone(), body: BytesMut::new() };
        while !session.response_done() {
            match session.read_response_body().await? {
                Some(chunk) if answer.body.len() + chunk.len() > MAX_ANSWER => {
                    // Nobody needs the rest of it, nor this connection.
                    return Ok(answer);
                }
                Some(chunk) => answer.body.extend_from_slice(&chunk),
                None => break,
            }
        }
        if let HttpSession::H2(stream) = &mut session {
            stream.check_response_end_or_error()?;
            if let Some(trailers) = stream.read_trailers().await? {
                answer.headers.extend(trailers);
            }
        }
        self.connector.release_http_session(session, peer, Some(IDLE)).await;
        Ok(answer)
    }
}

/// What came back; trailers are among the headers.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: BytesMut,
}

fn request(to: &CollectorConfig, message: Bytes) -> pingora_error::Result<(RequestHeader, Bytes)> {
    let mut header = RequestHeader::build(Method::POST, to.path.as_bytes(), Some(8))?;
    let host = if to.host.contains(':') { format!("[{}]", to.host) } else { to.host.clone() };
    header.insert_header(header::HOST, format!("{host}:{}", to.port))?;
    header.insert_header(header::USER_AGENT, concat!("ai-gateway/", env!("CARGO_PKG_VERSION")))?;
    for (name, value) in &to.headers {
        header.insert_header(name, value)?;
    }
    match to.protocol {
        Protocol::Http => {
            header.insert_header(header::CONTENT_TYPE, "application/x-protobuf")?;
            header.insert_header(header::CONTENT_LENGTH, message.len())?;
            Ok((header, message))
        }
        Protocol::Grpc => {
            header.set_version(http::Version::HTTP_2);
            header.insert_header(header::CONTENT_TYPE, "application/grpc")?;
            header.insert_header(header::TE, "trailers")?;
            let mut framed = BytesMut::with_capacity(5 + message.len());
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            framed.extend_from_slice(&message);
            Ok((header, framed.freeze()))
        }
    }
}

fn judge(protocol: Protocol, answer: &Answer) -> Result<Bytes, Failed> {
    let status = answer.status.as_u16();
    match status {
        200..300 => {}
        429 | 502..=504 => {
            return Err(Failed::Later { cause: format!("status {status}"), after: retry_after(&answer.headers) });
        }
        _ => return Err(Failed::Refused(format!("status {status}"))),
    }
    let content_type = answer.headers.get(header::CONTENT_TYPE).map_or(&b""[..], header::HeaderValue::as_bytes);
    if content_type.starts_with(b"text/html") {
        return Err(Failed::Refused("it answers with a web page".to_owned()));
    }
    if protocol == Protocol::Http {
        return Ok(Bytes::copy_from_slice(&answer.body));
    }
    let code = answer.headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u32>().ok());
    match code {
        Some(0) => {
            let mut body = &answer.body[..];
            let plain = body.len() >= 5 && body.get_u8() == 0;
            let length = if plain { body.get_u32() as usize } else { 0 };
            Ok(Bytes::copy_from_slice(body.get(..length).unwrap_or_default()))
        }
        // Cancelled, deadline exceeded, resource exhausted, aborted, out of range, unavailable, data loss.
        Some(code @ (1 | 4 | 8 | 10 | 11 | 14 | 15)) => Err(Failed::later(format!("gRPC status {code}"))),
        Some(code) => Err(Failed::Refused(format!("gRPC status {code}"))),
        None => Err(Failed::Refused("it does not speak gRPC".to_owned())),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Not the whole error: its context may quote what was sent.
fn cause(error: &pingora_error::Error) -> String {
    error.etype().as_str().to_owned()
}
