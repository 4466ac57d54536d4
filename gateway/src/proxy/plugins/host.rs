//! What plugins may ask of the gateway.

use std::fmt;
use std::time::Duration;

use ai_gateway_plugins::{Host, HostError, async_trait};
use ai_gateway_providers::Operation;
use bytes::Bytes;

use crate::proxy::{Gateway, calls};

/// The gateway, as plugins see it.
pub struct GatewayHost(pub Gateway);

#[async_trait]
impl Host for GatewayHost {
    async fn fetch(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, HostError> {
        let sent = tokio::time::timeout(timeout, Box::pin(self.0.http.send(request))).await;
        sent.map_err(|_| too_long(timeout))?.map_err(|error| HostError(error.to_string()))
    }

    async fn ask(&self, operation: Operation, model: &str, body: Bytes, timeout: Duration) -> Result<Bytes, HostError> {
        let asked = tokio::time::timeout(timeout, Box::pin(calls::ask(&self.0, operation, model, body))).await;
        asked.map_err(|_| too_long(timeout))?.map_err(HostError)
    }
}

fn too_long(timeout: Duration) -> HostError {
    HostError(format!("no answer within {}", humantime::format_duration(timeout)))
}

impl fmt::Debug for GatewayHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayHost")
    }
}
