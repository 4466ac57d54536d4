//! Probes: a provider is asked for something harmless on purpose, to see whether it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use pingora_http::RequestHeader;

use super::Calls;
use super::leg::outcome_of;
use crate::credentials::{Client, Credentials};
use crate::net::call::{Ask, Call};
use crate::net::dns::Resolver;
use crate::proxy::Outcome;
use crate::proxy::answer::verdict;
use crate::proxy::replay::Clock;
use crate::snapshot::Provider;

/// The most that is read of what a probe brings; a longer answer costs its connection.
const MOST_READ: usize = 1 << 20;

impl Calls {
    /// Asks `provider` for `path`, below its base URL, with one of its credentials.
    ///
    /// Every status below 500 is a good answer but 401, 403 and 429.
    ///
    /// # Errors
    /// How it failed, within `limit`.
    pub async fn probe(
        &self,
        provider: &Provider,
        credentials: &Credentials,
        path: &str,
        limit: Duration,
        http: &Arc<Client>,
        resolver: &Resolver,
    ) -> Result<(), Outcome> {
        let asked = Box::pin(self.ask(provider, credentials, path, limit, http, resolver));
        tokio::time::timeout(limit, asked).await.unwrap_or(Err(Outcome::Timeout(Clock::Total)))
    }

    async fn ask(
        &self,
        provider: &Provider,
        credentials: &Credentials,
        path: &str,
        limit: Duration,
        http: &Arc<Client>,
        resolver: &Resolver,
    ) -> Result<(), Outcome> {
        let dialect = provider.dialects.first().copied().ok_or(Outcome::NoCredentials)?;
        let grant = credentials.grant(dialect, http, limit).await.map_err(|_| Outcome::NoCredentials)?;
        let address = resolver.resolve(&provider.host, provider.port, limit).await.map_err(|_| Outcome::Dns)?;
        let mut header = request_header(provider, path).map_err(|_| Outcome::Garbage)?;
        grant.apply(&mut header, &[]).map_err(|_| Outcome::NoCredentials)?;
        let peer = provider.peer(address, limit, limit);
        let ask = Ask { peer, header, body: Bytes::new(), content_type: "application/json" };
        let (header, mut call) = Call::open(&self.connector, ask).await.map_err(|failed| outcome_of(&failed))?;
        let refused = verdict(header.status.as_u16());
        if let Some(outcome @ (Outcome::Credentials(401 | 403) | Outcome::Status(429 | 500..))) = refused {
            return Err(outcome);
        }
        let mut read = 0;
        while let Some(chunk) = call.next().await.map_err(|_| Outcome::Cut)? {
            read += chunk.len();
            if read > MOST_READ {
                break;
            }
        }
        Ok(())
    }
}

fn request_header(provider: &Provider, path: &str) -> pingora_error::Result<RequestHeader> {
    let path = format!("{}{path}", provider.base_path.trim_end_matches('/'));
    let mut request = RequestHeader::build_no_case(Method::GET, path.as_bytes(), Some(8))?;
    request.insert_header(header::HOST, &provider.authority)?;
    request.insert_header(header::ACCEPT, "application/json")?;
    request.insert_header(header::ACCEPT_ENCODING, "identity")?;
    for (name, value) in provider.default_headers.iter().chain(&provider.headers) {
        request.insert_header(name, value)?;
    }
    Ok(request)
}
