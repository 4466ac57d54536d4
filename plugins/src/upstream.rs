//! A request to a provider.

use std::sync::Arc;

use http::HeaderMap;

/// A request to a provider before its credentials are added. Headers of framing and credentials that a plugin sets are
/// overwritten or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upstream {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The provider's own name of the model.
    pub model: Arc<str>,
    /// Number of the attempt, from 1.
    pub attempt: usize,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Upstream {
    /// The first attempt, at `model` of `provider`.
    #[must_use]
    pub fn new(provider: impl Into<Arc<str>>, model: impl Into<Arc<str>>, headers: HeaderMap) -> Self {
        Self { provider: provider.into(), model: model.into(), attempt: 1, headers }
    }
}
