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

/// How often the configuration in force is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How often freed memory is given back.
const TIDY: Duration = Duration::from_secs(2);
/// Larger than any block that mimalloc keeps for later.
const LARGE: usize = 64 << 20;

/// Does what nobody waits for. It looks at the configuration in force by itself, so that a reload needs no word to it.
pub struct TelemetryService {
    telemetry: Arc<Telemetry>,
    current: Arc<ArcSwap<Snapshot>>,
    exporter: Exporter,
}

impl TelemetryService {
    /// Serves `telemetry` as `current` says.
    pub fn new(telemetry: Arc<Telemetry>, current: Arc<ArcSwap<Snapshot>>, resolver: Arc<Resolver>) -> Self {
        let exporter = Exporter::new(telemetry.clone(), current.clone(), resolver);
        Self { telemetry, current, exporter }
    }

    /// Lets the access log follow its configuration, and SIGUSR1, which says that its file was rotated.
    async fn keep_the_log(&self) {
        let log = &self.telemetry.access_log;
        let mut rotated = signal(SignalKind::user_defined1()).map_err(|error| log::error!("SIGUSR1: {error}")).ok();
        let mut known = self.current.load_full();
        let mut tick = tokio::time::interval(TICK);
        loop {
            let asked = async {
                match &mut rotated {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = asked => log.reopen(),
                _ = tick.tick() => {
                    let snapshot = self.current.load_full();
                    if Arc::ptr_eq(&snapshot, &known) {
                        continue;
                    }
                    // After a reload a file is opened anew in any case.
                    log.reopen();
                    if snapshot.access_log != known.access_log
                        && let Err(error) = log.configure(&snapshot.access_log)
                    {
                        log::error!("the access log stays where it was: {error}");
                    }
                    known = snapshot;
                }
            }
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
