//! The background service of telemetry: exports, and the access log's own file.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};

use super::Telemetry;
use super::otlp::Exporter;
use crate::net::dns::Resolver;
use crate::snapshot::Snapshot;

/// How often freed memory is given back.
const TIDY: Duration = Duration::from_secs(2);
/// Larger than any block that mimalloc keeps for later.
const LARGE: usize = 64 << 20;

/// Does what nobody waits for.
pub struct TelemetryService {
    telemetry: Arc<Telemetry>,
    exporter: Exporter,
}

impl TelemetryService {
    /// Serves `telemetry` as `current` says.
    pub fn new(telemetry: Arc<Telemetry>, current: Arc<ArcSwap<Snapshot>>, resolver: Arc<Resolver>) -> Self {
        let exporter = Exporter::new(telemetry.clone(), current, resolver);
        Self { telemetry, exporter }
    }

    /// SIGUSR1 says that the access log's file was rotated.
    async fn keep_the_log(&self) {
        match signal(SignalKind::user_defined1()) {
            Ok(mut rotated) => {
                while rotated.recv().await.is_some() {
                    self.telemetry.access_log.reopen();
                }
            }
            Err(error) => log::error!("SIGUSR1: {error}"),
        }
    }
}

/// Lets mimalloc give memory back. It does so a second after memory was freed, but only when a large block is freed again: an
/// idle process would keep what a burst of large prompts took. The block is never touched, so that it is address space only.
async fn tidy_up() {
    let mut tick = tokio::time::interval(TIDY);
    loop {
        tick.tick().await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}

#[async_trait]
impl BackgroundService for TelemetryService {
    /// Ends with its runtime, not with the shutdown: the requests that are still served are told of, too.
    async fn start(&self, _shutdown: ShutdownWatch) {
        tokio::join!(self.exporter.run(), self.keep_the_log(), tidy_up());
    }
}
