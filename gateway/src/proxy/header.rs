//! Headers of answers, set by names that are known: Pingora's `insert_header` reads a name anew each time, and looks up how it is
//! capitalised.

use std::mem;

use http::header::TRANSFER_ENCODING;
use http::response::{Parts, Response};
use http::{HeaderMap, Version};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_http::ResponseHeader;

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

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, StatusCode};

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
