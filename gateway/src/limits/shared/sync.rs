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
use super::{LAPSED, PATIENCE, Shared, is_shared, keys, why};
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
        if let Err(error) = self.shared.instance.begin() {
            log::error!("the file beside the ledger that names this instance cannot be written: {error}");
        }
        let mut told = false;
        loop {
            match self.connect().await {
                Ok(epoch) => {
                    told = true;
                    self.keep_told(epoch).await;
                }
                Err(error) => {
                    let level = if told { log::Level::Debug } else { log::Level::Warn };
                    log::log!(level, "the store is out of reach ({}): limits are counted here", why(&error));
                    told = true;
                    // What the try may have reserved is another lease's, which ends.
                    self.shared.epoch.fetch_add(2, Ordering::AcqRel);
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Connects, tells everything that the store does not know, and has limits counted there from then on.
    async fn connect(&self) -> RedisResult<u64> {
        let shared = &self.shared;
        let mut connection = shared.server.connect().await?;
        self.set_clock(&mut connection).await?;
        let lost = shared.epoch.load(Ordering::Acquire);
        let epoch = lost + 1;
        // What was sent before and comes late counts no more.
        redis::cmd("ZREM")
            .arg(scripts::leases())
            .arg(shared.lease(lost - lost.min(1)))
            .exec_async(&mut connection)
            .await?;
        shared.compare.store(false, Ordering::Release);
        // From here on what is let in is told on its own.
        let subjects = self.limits.all();
        for subject in subjects.iter().filter(|subject| is_shared(subject)) {
            for meter in subject.meters().iter_mut() {
                meter.unsent_reserved = i64::try_from(meter.reserved).unwrap_or(i64::MAX);
            }
        }
        if !self.compare_all(&mut connection, &subjects, epoch).await? {
            return Err((redis::ErrorKind::Io, LAPSED).into());
        }
        shared.connection.store(Some(Arc::new(connection)));
        shared.epoch.store(epoch, Ordering::Release);
        shared.up.store(true, Ordering::Release);
        log::info!("limits are counted in the store, by {} instances", shared.instances());
        Ok(epoch)
    }

    /// Notes as untold what this instance has booked at these subjects and the store does not have, whatever it was told before.
    async fn compare(&self, connection: &mut Connection, subjects: &[Arc<Subject>], epoch: u64) -> RedisResult<()> {
        struct Part<'a> {
            subject: &'a Subject,
            place: usize,
            own: String,
            /// The first of its ends.
            first: u64,
            booked: u64,
        }
        let (now, instance) = (self.limits.now(), &self.shared.instance);
        let mut parts = Vec::new();
        for subject in subjects.iter().filter(|subject| is_shared(subject)) {
            for (place, meter) in subject.meters().iter_mut().enumerate() {
                meter.advance(now);
                // What is booked from here on is added.
                meter.unsent = 0;
                if let Some((first, _)) = meter.booked.front() {
                    let [_, own] = keys(subject, &meter.rule, instance);
                    parts.push(Part { subject, place, own, first: *first, booked: meter.booked() });
                }
            }
        }
        let lease = self.shared.lease(epoch);
        let mut compared = 0;
        loop {
            let batch = parts.get(compared..(compared + BATCH).min(parts.len())).unwrap_or_default();
            let asked = scripts::compare(&lease, batch.iter().map(|part| (&*part.own, part.first)));
            let there: Vec<u64> = in_time(asked.invoke_async(connection)).await?;
            for (part, there) in batch.iter().zip(there) {
                if let Some(meter) = part.subject.meters().get_mut(part.place) {
                    meter.unsent = meter.unsent.saturating_add(part.booked.saturating_sub(there));
                }
            }
            compared += batch.len();
            if compared >= parts.len() {
                return Ok(());
            }
        }
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
            let mut connection = Connection::clone(&connection);
            let queued = shared.take_queue();
            for subject in &queued {
                // Before it is looked at: what comes from now on queues it again.
                subject.queued.store(false, Ordering::Release);
            }
            let told = if shared.compare.swap(false, Ordering::AcqRel) {
                self.compare_all(&mut connection, &self.limits.all(), epoch).await
            } else {
                self.tell(&mut connection, &queued, epoch).await
            };
            match told {
                Ok(true) => {}
                Ok(false) => return shared.lost(epoch, LAPSED),
                Err(error) => return shared.lost(epoch, &why(&error)),
            }
        }
    }

    /// [`Self::tell`], with what the store turns out not to have.
    async fn compare_all(
        &self,
        connection: &mut Connection,
        subjects: &[Arc<Subject>],
        epoch: u64,
    ) -> RedisResult<bool> {
        self.compare(connection, subjects, epoch).await?;
        self.tell(connection, subjects, epoch).await
    }

    /// Tells what these subjects have to tell, and that this instance lives. `false`: the store does not know it any more, and
    /// counts nothing. What did not arrive, or perhaps did, is found when the two compare.
    async fn tell(&self, connection: &mut Connection, subjects: &[Arc<Subject>], epoch: u64) -> RedisResult<bool> {
        let now = self.limits.now();
        let mut told = Vec::new();
        for subject in subjects.iter().filter(|subject| is_shared(subject)) {
            for meter in subject.meters().iter_mut() {
                let (change, booked) = (std::mem::take(&mut meter.unsent_reserved), meter.take_unsent(now));
                if change == 0 && booked.is_empty() {
                    continue;
                }
                let keys = keys(subject, &meter.rule, &self.shared.instance);
                let keep = scripts::ends(&meter.rule, now);
                let alone = if booked.is_empty() { Some((keep, 0)) } else { None };
                for (index, (ends, booked)) in booked.into_iter().chain(alone).enumerate() {
                    let change = if index == 0 { change } else { 0 };
                    told.push(Told { keys: keys.clone(), change, booked, ends, keep });
                }
            }
        }
        let lease = self.shared.lease(epoch);
        let mut sent = 0;
        loop {
            let batch = told.get(sent..(sent + BATCH).min(told.len())).unwrap_or_default();
            let (instances, has_ended, time): (u64, bool, u64) =
                in_time(scripts::tell(&lease, batch).invoke_async(connection)).await?;
            self.go_by(time, OUT_OF_STEP);
            if has_ended {
                return Ok(false);
            }
            self.shared.instances.store(instances.max(1), Ordering::Relaxed);
            sent += batch.len();
            if sent >= told.len() {
                return Ok(true);
            }
        }
    }
}

/// What nobody waits for.
async fn in_time<T>(answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err((redis::ErrorKind::Io, "too slow").into()))
}
