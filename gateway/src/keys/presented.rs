//! Where a request carries its key.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

/// Headers that may carry a client's key, in the order in which they are looked at.
static KEY_HEADERS: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The key as sent: the first of the known headers that has one, else the query's `key`.
pub fn presented_key<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Cow<'a, [u8]>> {
    for name in &KEY_HEADERS {
        let Some(value) = headers.get(name) else { continue };
        let value = value.as_bytes().trim_ascii();
        let key = if *name == AUTHORIZATION { bearer(value) } else { Some(value) };
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            return Some(Cow::Borrowed(key));
        }
    }
    let pairs = url::form_urlencoded::parse(query?.as_bytes());
    pairs.into_iter().find(|(name, value)| name == "key" && !value.is_empty()).map(|(_, value)| match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
        Cow::Owned(value) => Cow::Owned(value.into_bytes()),
    })
}

/// The token of `authorization: Bearer …`.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
