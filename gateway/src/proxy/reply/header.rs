//! Headers of answers, those of the gateway's own among them. They are set by names that are known: Pingora's `insert_header` reads a
//! name anew each time, and looks up how it is capitalised.

use std::mem;

use ai_gateway_providers::Dialect;
use http::header::TRANSFER_ENCODING;
use http::response::{Parts, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{ErrorType, OrErr};
use pingora_http::ResponseHeader;

use crate::proxy::Exchange;

/// Tells the client what the provider's API, or its own, could not say.
pub static DROPPED: HeaderName = HeaderName::from_static("x-gateway-dropped");
/// Tells what the answer cost, in US dollars. In a request: where the client wants it told beside that.
pub static COST: HeaderName = HeaderName::from_static("x-gateway-cost");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static ANTHROPIC_ID: HeaderName = HeaderName::from_static("request-id");
static AWS_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
static PROVIDER: HeaderName = HeaderName::from_static("x-gateway-provider");
static MODEL: HeaderName = HeaderName::from_static("x-gateway-model");
static ATTEMPTS: HeaderName = HeaderName::from_static("x-gateway-attempts");
/// About as many headers are set of an answer: room is made for them at once, not twice on the way.
const STAMPS: usize = 12;

/// A header without anything in it.
pub fn empty() -> Parts {
    Response::new(()).into_parts().0
}

/// Changes the headers of an answer, whose names are then written in the usual case.
///
/// # Errors
/// Those of `change`.
pub fn edit<E>(header: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap) -> Result<(), E>) -> Result<(), E> {
    let mut parts = Parts::from(mem::replace(header, empty().into()));
    let changed = change(&mut parts.headers);
    *header = parts.into();
    changed
}

/// Fits the header among `tasks`, if there is one, to the version that `client` speaks: HTTP/1.0 has no chunks (RFC 9112 §6.1), so
/// a body of unknown length ends with the connection.
pub fn fit(tasks: &mut [HttpTask], client: &mut ServerSession) {
    if client.req_header().version > Version::HTTP_10 {
        return;
    }
    for task in tasks {
        if let HttpTask::Header(header, _) = task
            && header.remove_header(&TRANSFER_ENCODING).is_some()
        {
            client.set_keepalive(None);
        }
    }
}

impl Exchange {
    /// Sets the gateway's own headers.
    ///
    /// # Errors
    /// Never in practice: the values are checked when the configuration is built.
    pub fn stamp(&self, header: &mut ResponseHeader) -> pingora_error::Result<()> {
        let stamped = edit(header, |headers| {
            headers.reserve(STAMPS);
            let id = HeaderValue::from_str(&self.id)?;
            // Some SDKs look for it elsewhere. What is there is the provider's.
            let elsewhere = match self.dialect() {
                Dialect::Anthropic => Some(&ANTHROPIC_ID),
                Dialect::Bedrock => Some(&AWS_ID),
                _ => None,
            };
            if let Some(name) = elsewhere {
                headers.entry(name).or_insert_with(|| id.clone());
            }
            headers.insert(&REQUEST_ID, id);
            self.account.standing.tell(headers);
            if let Some(attempt) = self.attempt() {
                headers.insert(&PROVIDER, HeaderValue::from_str(&attempt.target.provider.name)?);
                if !attempt.target.model.is_empty() {
                    headers.insert(&MODEL, HeaderValue::from_str(&attempt.target.model)?);
                }
                headers.insert(&ATTEMPTS, self.attempts.len().into());
                if !attempt.encoded.losses.is_empty() && self.reports_losses() {
                    headers.insert(&DROPPED, attempt.encoded.losses.header_value().try_into()?);
                }
            }
            self.stamp_cache(headers)
        });
        stamped.or_err(ErrorType::InvalidHTTPHeader, "a header of the gateway's own")
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn the_rest_of_the_header_stays() {
        let mut header = ResponseHeader::build(StatusCode::ACCEPTED, None).unwrap();
        header.set_version(Version::HTTP_2);
        header.append_header("x-a", "1").unwrap();
        header.append_header("x-a", "2").unwrap();
        for outcome in [Ok(()), Err("no")] {
            let changed = edit(&mut header, |headers| {
                headers.insert(HeaderName::from_static("x-b"), HeaderValue::from_static("3"));
                outcome
            });
            assert_eq!(changed, outcome);
            let found: Vec<_> = header.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            assert_eq!(found, [("x-a", &b"1"[..]), ("x-a", b"2"), ("x-b", b"3")]);
            assert_eq!((header.status, header.version), (StatusCode::ACCEPTED, Version::HTTP_2));
        }
    }
}
