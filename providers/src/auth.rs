//! How a provider wants to see its credential, and the header made from it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Where the credential goes in an upstream request; `N` is the name of a header (text in the table of presets).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthScheme<N = HeaderName> {
    /// `authorization: Bearer <secret>`.
    Bearer,
    /// The secret alone, in a header of this lower-case name (`x-api-key`, `api-key`).
    Header(N),
    /// No credential is sent.
    None,
}

/// Why a scheme or a secret cannot be used. Never holds the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The secret has no character.
    #[error("it is empty")]
    Empty,
    /// The secret holds a control character or is not ASCII, which no HTTP header may carry.
    #[error(
        "it contains a character that an HTTP header cannot carry (a control character, a line break or a letter outside ASCII)"
    )]
    Unprintable,
    /// The name cannot be the name of an HTTP header.
    #[error("`header:` must be followed by the name of an HTTP header")]
    HeaderName,
    /// The text is no scheme.
    #[error("an auth scheme is `bearer`, `none` or `header:NAME`")]
    Scheme,
}

impl<N: AsRef<str>> AuthScheme<N> {
    /// The header that carries `secret`, marked sensitive; `None` for [`AuthScheme::None`].
    ///
    /// White space around the secret is no part of it: files and shell substitutions end in a line break.
    ///
    /// # Errors
    /// [`AuthError`] when nothing is left, or when a header cannot carry it.
    pub fn header(&self, secret: &str) -> Result<Option<(HeaderName, HeaderValue)>, AuthError> {
        let secret = secret.trim();
        let (name, text) = match self {
            Self::None => return Ok(None),
            Self::Bearer => (AUTHORIZATION, Cow::Owned(format!("Bearer {secret}"))),
            Self::Header(name) => (
                HeaderName::from_bytes(name.as_ref().as_bytes()).map_err(|_| AuthError::HeaderName)?,
                Cow::Borrowed(secret),
            ),
        };
        if secret.is_empty() {
            return Err(AuthError::Empty);
        }
        if !secret.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(AuthError::Unprintable);
        }
        let mut value = HeaderValue::from_str(&text).map_err(|_| AuthError::Unprintable)?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

impl<N: AsRef<str>> fmt::Display for AuthScheme<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Header(name) => write!(f, "header:{}", name.as_ref()),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for AuthScheme {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "bearer" => Ok(Self::Bearer),
            "none" => Ok(Self::None),
            _ => {
                let name = text.strip_prefix("header:").ok_or(AuthError::Scheme)?;
                HeaderName::from_bytes(name.as_bytes()).map(Self::Header).map_err(|_| AuthError::HeaderName)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_and_named_header() {
        let (name, value) = AuthScheme::<&str>::Bearer.header("sk-1\n").unwrap().unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("authorization", &b"Bearer sk-1"[..]));
        assert!(value.is_sensitive());
        assert_eq!(format!("{value:?}"), "Sensitive");
        let (name, value) = AuthScheme::Header("X-Api-Key").header("k").unwrap().unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("x-api-key", &b"k"[..]));
        assert_eq!(AuthScheme::<&str>::None.header("whatever"), Ok(None));
    }

    #[test]
    fn secrets_that_no_header_carries_are_refused() {
        for secret in ["a\nb", "a\r\nx: y", "a\0", "caf\u{e9}", "tab\there"] {
            assert_eq!(AuthScheme::<&str>::Bearer.header(secret), Err(AuthError::Unprintable), "{secret:?}");
        }
        for secret in ["", "\n", "  "] {
            assert_eq!(AuthScheme::<&str>::Bearer.header(secret), Err(AuthError::Empty), "{secret:?}");
        }
    }

    #[test]
    fn schemes_as_text() {
        for text in ["bearer", "none", "header:x-goog-api-key"] {
            assert_eq!(text.parse::<AuthScheme>().unwrap().to_string(), text);
        }
        assert_eq!("header:API-Key".parse(), Ok(AuthScheme::Header(HeaderName::from_static("api-key"))));
        assert_eq!("header:a b".parse::<AuthScheme>(), Err(AuthError::HeaderName));
        assert_eq!("basic".parse::<AuthScheme>(), Err(AuthError::Scheme));
    }
}
