//! Request bodies of the admin API: small.

use std::time::Duration;

use http::{Response, StatusCode};
use pingora_core::protocols::http::ServerSession;
use tokio::time::timeout;

use super::problem;

/// Bytes of the largest body.
const MOST: usize = 64 * 1024;
/// By when the whole of it is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole body.
pub(super) async fn read(session: &mut ServerSession) -> Result<Vec<u8>, Response<Vec<u8>>> {
    read_within(session, PATIENCE).await
}

async fn read_within(session: &mut ServerSession, patience: Duration) -> Result<Vec<u8>, Response<Vec<u8>>> {
    let read = timeout(patience, read_all(session)).await;
    let read = read.unwrap_or_else(|_| Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")));
    if read.is_err() {
        // The rest is not waited for.
        session.set_keepalive(None);
    }
    read
}

async fn read_all(session: &mut ServerSession) -> Result<Vec<u8>, Response<Vec<u8>>> {
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let begin = b"POST /api/keys HTTP/1.1\r\nhost: admin\r\ncontent-length: 2\r\n\r\n{";
        client.write_all(begin).await.unwrap();
        let mut session = ServerSession::new_http1(Box::new(server));
        assert!(session.read_request().await.unwrap());
        let read = read_within(&mut session, Duration::from_millis(1)).await;
        assert_eq!(read.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
