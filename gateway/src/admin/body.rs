//! Request bodies of the admin API: small.

use http::{Response, StatusCode};
use pingora_core::protocols::http::ServerSession;

use super::problem;

/// Bytes of the largest body.
const MOST: usize = 64 * 1024;

/// The whole body.
pub(super) async fn read(session: &mut ServerSession) -> Result<Vec<u8>, Response<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MOST => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 64 KiB")),
            Ok(None) => return Ok(body),
            Err(_) => return Err(problem(StatusCode::BAD_REQUEST, "the body broke off")),
        }
    }
}
