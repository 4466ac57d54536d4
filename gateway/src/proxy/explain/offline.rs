//! Explaining without a gateway that runs: the configuration, a request, and targets of which nothing is known yet.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ai_gateway_providers::error::ApiError;
use bytes::Bytes;
use futures::executor::block_on;
use http::{HeaderName, HeaderValue, Method};
use pingora_http::RequestHeader;

use super::{Explanation, explain};
use crate::config::Config;
use crate::continuity::Continuity;
use crate::keys::{Admission, Refused};
use crate::proxy::{Exchange, plan};
use crate::snapshot::{BuildError, Snapshot};
use crate::telemetry::Metrics;

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Offline<'a> {
    /// Name of the client's key; `None`: by the headers.
    pub key: Option<&'a str>,
    /// As a client would send it.
    pub method: Method,
    /// With its query.
    pub path: &'a str,
    /// As a client would send them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Not compressed.
    pub body: Bytes,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The configuration cannot be built.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// The path is none of this gateway's.
    #[error("{path}: {}", .error.message)]
    Path {
        /// The path.
        path: String,
        /// What is wrong.
        error: Box<ApiError>,
    },
    /// The path is no path.
    #[error("`{0}` is no path")]
    NoPath(String),
    /// There is no such key.
    #[error("{what}; there {}", match .names.is_empty() {
        true => "are no [[keys]]".to_owned(),
        false => format!("are: {}", .names.join(", ")),
    })]
    Key {
        /// What is wrong.
        what: String,
        /// The names of all keys.
        names: Vec<String>,
    },
}

impl Offline<'_> {
    /// Where the request would go in a gateway that has just been started with `config`.
    ///
    /// # Errors
    /// [`OfflineError`]. A request that would be refused is an explanation, no error.
    pub fn explain(self, config: &Config) -> Result<Explanation, OfflineError> {
        let metrics = Metrics::new();
        // Nobody connects to it.
        let mock = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let snapshot = Snapshot::build(config, Some(mock), &metrics.health, &metrics.limits)?;
        let mut exchange = Exchange::new(Arc::new(snapshot), metrics.in_flight());
        let header = self.header()?;
        plan::find_endpoint(&header, &mut exchange).map_err(|refusal| OfflineError::Path {
            path: self.path.to_owned(),
            error: Box::new(refusal.error().clone()),
        })?;
        self.identify(&header, &mut exchange)?;
        let random = &mut |bound| fastrand::u64(..bound);
        Ok(explain(&header, self.body, &mut exchange, &Continuity::default(), Instant::now(), random))
    }

    fn header(&self) -> Result<RequestHeader, OfflineError> {
        let no_path = || OfflineError::NoPath(self.path.to_owned());
        let mut header =
            RequestHeader::build(self.method.clone(), self.path.as_bytes(), None).map_err(|_| no_path())?;
        for (name, value) in &self.headers {
            header.append_header(name.clone(), value.clone()).map_err(|_| no_path())?;
        }
        Ok(header)
    }

    fn identify(&self, header: &RequestHeader, exchange: &mut Exchange) -> Result<(), OfflineError> {
        let keys = &exchange.snapshot.keys;
        let unknown = |what: String| OfflineError::Key {
            what,
            names: keys.configured().keys().map(ToString::to_string).collect(),
        };
        let key = match (self.key, block_on(keys.admit(&header.headers, header.uri.query(), exchange.at, &|| false))) {
            (Some(name), _) => match keys.configured().get(name) {
                Some(key) => Some(key.clone()),
                None => return Err(unknown(format!("there is no key `{name}`"))),
            },
            (None, Admission::Open) => None,
            (None, Admission::Key(key)) => Some(key),
            (None, Admission::Refused(Refused::Missing)) => {
                return Err(unknown("say whose request it is, with --key NAME".to_owned()));
            }
            (None, Admission::Refused(why) | Admission::Unusable(_, why)) => {
                return Err(unknown(why.message().to_owned()));
            }
        };
        exchange.key = key;
        Ok(())
    }
}
