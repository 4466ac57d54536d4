//! What plugins may ask of the gateway.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ai_gateway_plugins::{Host, HostError, HostErrorKind, async_trait};
use ai_gateway_providers::Operation;
use ai_gateway_providers::codec::OutputItem;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::SetOnce;

use crate::limits::Refusal;
use crate::proxy::account::admission::Coming;
use crate::proxy::{Gateway, calls};
use crate::snapshot::Key;

/// The gateway, as the plugins of one exchange see it.
pub struct GatewayHost {
    gateway: Gateway,
    /// Who pays for what they ask.
    key: Option<Arc<Key>>,
    /// The request that is not let in yet; `None`: it is.
    coming: Mutex<Option<Coming>>,
    /// Why nothing is asked for it.
    refusal: SetOnce<Box<Refusal>>,
}

impl GatewayHost {
    /// For the plugins of a request of `key`'s.
    pub fn new(gateway: Gateway, key: Option<Arc<Key>>) -> Self {
        Self { gateway, key, coming: Mutex::default(), refusal: SetOnce::new() }
    }

    /// From here on models are asked only if the limits of this request have room for it; `None`: it is not in question.
    pub fn expect(&self, coming: Option<Coming>) {
        *self.coming.lock() = coming;
    }

    /// Why a model was not asked, if one was not.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.get().map(|refusal| &**refusal)
    }

    /// The same, as soon as one is not.
    pub async fn refused(&self) -> &Refusal {
        self.refusal.wait().await
    }

    /// Of what its client may refer to in its next request, this is what it was told.
    pub fn told(&self, items: Vec<OutputItem>) {
        self.gateway.continuity.correct_items(self.key.as_deref(), items);
    }

    fn is_refused(&self) -> bool {
        let coming = self.coming.lock();
        let refusal = coming.as_ref().and_then(|coming| coming.refusal(&self.gateway.limits));
        refusal.is_some_and(|refusal| {
            // The first one is told.
            drop(self.refusal.set(refusal));
            true
        })
    }
}

#[async_trait]
impl Host for GatewayHost {
    async fn fetch(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, HostError> {
        let sent = tokio::time::timeout(timeout, Box::pin(self.gateway.http.send_within(request, timeout))).await;
        sent.map_err(|_| too_long(timeout))?
            .map_err(|error| HostError::new(HostErrorKind::Unavailable, error.to_string()))
    }

    async fn ask(&self, operation: Operation, model: &str, body: Bytes, timeout: Duration) -> Result<Bytes, HostError> {
        if self.is_refused() {
            // The plugin's task hears of it first, and drops the plugin here, which has not failed.
            tokio::task::yield_now().await;
            return Err(HostError::new(HostErrorKind::NoRoom, "the limits of the request have no room"));
        }
        let asked = Box::pin(calls::ask(&self.gateway, operation, model, body, self.key.clone()));
        let asked = tokio::time::timeout(timeout, asked).await;
        asked.map_err(|_| too_long(timeout))?
    }
}

fn too_long(timeout: Duration) -> HostError {
    let message = format!("no answer within {}", humantime::format_duration(timeout));
    HostError::new(HostErrorKind::TimedOut, message)
}

impl fmt::Debug for GatewayHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayHost")
    }
}
