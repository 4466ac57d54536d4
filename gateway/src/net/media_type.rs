//! What kind of body a header announces.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The media type in `content-type`, as in `text/html`, without its parameters; empty if there is none. Its case says nothing.
pub fn essence(headers: &HeaderMap) -> &[u8] {
    let whole = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    whole.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}
