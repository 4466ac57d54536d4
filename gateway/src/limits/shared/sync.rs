//! Tells the store what has happened, and finds it again when it was lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use redis::RedisResult;
use tokio::time::timeout;

use super::scripts::{self, Told};
use super::server::Connection;
use super::{LAPSED, PATIENCE, PREFIX, Shared, is_shared, key, words};
use crate::limits::{Limits, Subject};

/// How often an instance says that it lives.
const RENEW: Duration = Duration::from_secs(1);
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(200);
/// By how much clocks may differ: answers take up to [`PATIENCE`].
const OUT_OF_STEP: Duration = Duration::from_secs(2);
/// Meters told of in one script.
const BATCH: usize = 500;

/// Keeps the store told; runs as long as the process.
pub struct Sync {
    limits: Arc<Limits>,
    shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for Sync {
    async fn start(&self, _shutdown: ShutdownWatch) {
        // Not ended by a shutdown: requests that are being finished count to their end.
        self.run().await;
    }
}

impl Sync {
    pub(super) fn new(limits: Arc<Limits>, shared: Arc<Shared>) -> Self {
        Self { limits, shared }
    }

    /// Never ends.
    pub async fn run(&self) {
        let mut memory = None;
        loop {
            match self.connect(&mut memory).await {
                Ok(epoch) => self.keep_told(epoch).await,
                Err(error) => {
                    log::debug!("the store: {}", error.category());
                    // What the try may have reserved is another lease's, which ends.
                    self.shared.epoch.fetch_add(2, Ordering::AcqRel);
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Connects, tells everything that the store does not know, and has limits counted there from then on. `memory` is by
    /// what the store was known to have kept its memory.
    async fn connect(&self, memory: &mut Option<u64>) -> RedisResult<u64> {
        let shared = &self.shared;
        let mut connection = shared.server.connect().await?;
        self.set_clock(&mut connection).await?;
        let marker = format!("{PREFIX}:memory");
        redis::cmd("SETNX").arg(&marker).arg(fastrand::u64(..)).exec_async(&mut connection).await?;
        let found: u64 = redis::cmd("GET").arg(&marker).query_async(&mut connection).await?;
        let forgot = *memory != Some(found);

        let lost = shared.epoch.load(Ordering::Acquire);
        let epoch = lost + 1;
        redis::cmd("ZREM")
            .arg(scripts::leases())
            .arg(shared.lease(lost - lost.min(1)))
            .exec_async(&mut connection)
            .await?;
        // From here on what is let in is told on its own.
        let subjects = self.limits.all();
        for subject in subjects.iter().filter(|subject| is_shared(subject)) {
            for meter in subject.meters().iter_mut() {
                meter.advance(self.limits.now());
                meter.unsent_reserved = i64::try_from(meter.reserved).unwrap_or(i64::MAX);
                if forgot {
                    meter.unsent = meter.booked();
                }
            }
        }
        // All that has to be told anew is marked. If telling it fails, only what did not arrive is left.
        *memory = Some(found);
        self.tell(&mut connection, &subjects, epoch).await?;
        shared.connection.store(Some(Arc::new(connection)));
        shared.epoch.store(epoch, Ordering::Release);
        shared.up.store(true, Ordering::Release);
        log::info!("limits are counted in the store, by {} instances", shared.instances());
        Ok(epoch)
    }

    /// The store's clock is that of all instances.
    async fn set_clock(&self, connection: &mut Connection) -> RedisResult<()> {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
        self.go_by(seconds * 1000 + micros / 1000, Duration::ZERO);
        Ok(())
    }

    /// It is `theirs` at the store, or was lately. Clocks that differ by no more than `tolerance` are left alone.
    fn go_by(&self, theirs: u64, tolerance: Duration) {
        let ahead = theirs.cast_signed() - self.limits.now().cast_signed();
        if u128::from(ahead.unsigned_abs()) > tolerance.as_millis() {
            self.limits.offset.fetch_add(ahead, Ordering::Relaxed);
        }
    }

    /// Tells what happens until the store is lost.
    async fn keep_told(&self, epoch: u64) {
        let shared = &self.shared;
        loop {
            // At once: what a request gave back may be what its client's next one needs. What happens while this is told goes
            // together next time.
            let _ = timeout(RENEW, shared.wake.notified()).await;
            let Some(connection) = shared.connection.load_full() else { return };
            let queued = shared.take_queue();
            for subject in &queued {
                // Before it is looked at: what comes from now on queues it again.
                subject.queued.store(false, Ordering::Release);
            }
            let mut connection = Connection::clone(&connection);
            match self.tell(&mut connection, &queued, epoch).await {
                Ok(true) => {}
                Ok(false) => return shared.lost(epoch, LAPSED),
                Err(error) => return shared.lost(epoch, &words::<()>(&Err(error))),
            }
        }
    }

    /// Tells what these subjects have to tell, and that this instance lives. `false`: the store had not known it any more.
    async fn tell(&self, connection: &mut Connection, subjects: &[Arc<Subject>], epoch: u64) -> RedisResult<bool> {
        let now = self.limits.now();
        let mut told = Vec::new();
        for subject in subjects.iter().filter(|subject| is_shared(subject)) {
            for (place, meter) in subject.meters().iter_mut().enumerate() {
                let (change, booked) = (std::mem::take(&mut meter.unsent_reserved), meter.take_unsent(now));
                if change == 0 && booked.is_empty() {
                    continue;
                }
                let (key, keep) = (key(subject, &meter.rule), scripts::ends(&meter.rule, now));
                let alone = if booked.is_empty() { Some((keep, 0)) } else { None };
                for (index, (ends, booked)) in booked.into_iter().chain(alone).enumerate() {
                    let change = if index == 0 { change } else { 0 };
                    told.push((subject, place, Told { key: key.clone(), change, booked, ends, keep }));
                }
            }
        }
        let lease = self.shared.lease(epoch);
        let (places, told): (Vec<_>, Vec<_>) =
            told.into_iter().map(|(subject, place, told)| ((subject, place), told)).unzip();
        let (mut sent, mut known) = (0, true);
        let result = loop {
            let batch = told.get(sent..(sent + BATCH).min(told.len())).unwrap_or_default();
            let answer: RedisResult<(u64, bool, u64)> =
                match timeout(PATIENCE, scripts::tell(&lease, batch).invoke_async(connection)).await {
                    Ok(answer) => answer,
                    Err(_) => Err((redis::ErrorKind::Io, "too slow").into()),
                };
            match answer {
                Ok((instances, is_new, time)) => {
                    self.shared.instances.store(instances.max(1), Ordering::Relaxed);
                    self.go_by(time, OUT_OF_STEP);
                    known &= !is_new;
                }
                Err(error) => break Err(error),
            }
            sent += batch.len();
            if sent >= told.len() {
                break Ok(known);
            }
        };
        // What did not arrive, or perhaps did, is told again: rather twice than never. What is reserved is told anew anyway.
        for ((subject, place), told) in places.iter().zip(&told).skip(sent) {
            if let Some(meter) = subject.meters().get_mut(*place) {
                meter.unsent = meter.unsent.saturating_add(told.booked);
            }
        }
        result
    }
}
