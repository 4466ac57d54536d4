//! Limits that several instances share, in a Redis or Valkey.
//!
//! Each meter is a hash there (`*.lua`): what was booked, by the moment until which it counts, and what each instance has
//! reserved. Beside it stands what each [`Instance`] has booked of it, so that one that comes back sees what the store has
//! forgotten. One script checks all limits of a request and counts it at all of them or at none; it is asked once for each
//! request, with a short timeout. What requests have used and given back is told at once, many together under load; other
//! instances know it a round trip later. An instance that dies stops renewing its lease, and what it had reserved no longer
//! counts.
//!
//! While the store is down or slow, each instance goes on by what it has counted itself, with an equal share of every limit:
//! the limit divided by the instances seen last, at least 1. A window during which the store fails may so hold up to twice the
//! limit (what had been used before, and the shares), the windows after it the limit, or one for each instance if those are
//! more. An instance that has not reached the store since it began takes itself for the only one. When it is back, each instance
//! compares: of what it has booked itself and still counts, the store is told what it has not, be it that it was out of reach, or
//! that it has come back with less than it knew. What one that ends for good had not told is lost. Leases and windows go by the
//! store's clock.

mod instance;
mod scripts;
pub(crate) mod server;
mod sync;

pub use instance::Instance;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) use server::{Connection, Server, why};

use super::meter::Rule;
use super::subject::{Entry, Kind, MeterUsage, Place, Subject};
use super::{Claim, Limits, Refusal, Refused, Reservation, Standing, What};
use crate::config::RedisConfig;

/// How long a connection may take, and what is told when nobody waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// What the store knows each instance by, and all keys: one slot of a cluster.
pub(crate) const PREFIX: &str = "{ai-gateway}";

/// Why a store is lost that answers: what this instance had reserved there counts no more.
const LAPSED: &str = "it has not heard of this instance for too long, or has forgotten it";

/// The store as this instance sees it.
pub struct Shared {
    server: Server,
    timeout: Duration,
    connection: ArcSwapOption<Connection>,
    /// Counts how often it was lost; odd while it is.
    epoch: AtomicU64,
    /// Whether limits are counted there.
    up: AtomicBool,
    instances: AtomicU64,
    /// Subjects with something to tell.
    queue: Mutex<Vec<Arc<Subject>>>,
    wake: Notify,
    /// What was used before this process began is known by now, and has to be compared.
    compare: AtomicBool,
    /// This process, at random.
    process: u64,
    pub(super) instance: Instance,
}

/// Whether its URL can be used.
///
/// # Errors
/// What is wrong with it, without its password.
pub fn check(config: &RedisConfig) -> Result<(), String> {
    match Server::new(config) {
        Ok(_) => Ok(()),
        Err(_) => Err("this is not the URL of a Redis".to_owned()),
    }
}

impl Shared {
    fn new(server: Server, timeout: Duration, instance: Instance) -> Self {
        Self {
            server,
            timeout,
            connection: ArcSwapOption::empty(),
            epoch: AtomicU64::new(1),
            up: AtomicBool::new(false),
            instances: AtomicU64::new(1),
            queue: Mutex::default(),
            wake: Notify::new(),
            compare: AtomicBool::new(false),
            process: fastrand::u64(..),
            instance,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    pub(super) fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// `subject` has something to tell.
    pub(super) fn queue(&self, subject: &Arc<Subject>) {
        if !subject.queued.swap(true, Ordering::AcqRel) {
            self.queue.lock().push(subject.clone());
            self.wake.notify_one();
        }
    }

    /// What is booked here may be more than what the store has been told.
    pub(super) fn compare(&self) {
        self.compare.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn take_queue(&self) -> Vec<Arc<Subject>> {
        std::mem::take(&mut *self.queue.lock())
    }

    /// Under this name it reserves; another one after each loss, so that nothing of before is left.
    fn lease(&self, epoch: u64) -> String {
        format!("r{:016x}-{epoch}", self.process)
    }

    /// From now on this instance counts alone.
    fn lost(&self, epoch: u64, why: &str) {
        if self.epoch.compare_exchange(epoch, epoch + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.up.store(false, Ordering::Release);
            self.connection.store(None);
            self.wake.notify_one();
            log::warn!(
                "the store is out of reach ({why}): limits are counted here, with a share of 1/{}",
                self.instances()
            );
        }
    }

    /// Asks the store to let a request in. If it does not answer in time, the request is judged here.
    pub(super) async fn admit(
        self: &Arc<Self>,
        limits: &Arc<Limits>,
        places: Vec<Place>,
        claim: Claim,
    ) -> Result<Reservation, Box<Refusal>> {
        let (shared, limits, fallback) = (self.clone(), limits.clone(), limits.clone());
        // A task of its own: a client that leaves meanwhile must not leave behind what the store has counted.
        let task = tokio::spawn(async move { shared.ask(&limits, places, claim).await });
        match task.await {
            Ok(result) => result,
            // Only if the process is leaving.
            Err(_) => Ok(Reservation::new(fallback, Vec::new(), claim, Standing::default())),
        }
    }

    async fn ask(
        &self,
        limits: &Arc<Limits>,
        mut places: Vec<Place>,
        claim: Claim,
    ) -> Result<Reservation, Box<Refusal>> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let now = limits.now();
        let asked = rules_of(&places);
        let Some(answer) = self.answer(epoch, &asked, claim, now).await else {
            return limits.admit_without_store(places, claim).await;
        };
        let mut standing = Standing::default();
        let refused_by = answer.first().and_then(|number| usize::try_from(number.checked_sub(1)?).ok());
        let until = answer.get(1).copied().unwrap_or(now);
        let (mut refused, mut refusing) = (None, None);
        for (place, ((subject, rule), state)) in
            asked.iter().zip(answer.get(2..).unwrap_or_default().chunks(3)).enumerate()
        {
            let &[booked, reserved, last_end] = state else { continue };
            let usage = MeterUsage { rule: *rule, booked, reserved };
            standing.add(subject.kind, &usage, rule.limit, (last_end > 0).then_some(last_end), now);
            if booked >= rule.soft && subject.warns(rule, booked, now) {
                super::warn(subject, rule);
            }
            if refused_by == Some(place) {
                refusing = Some((usage, (last_end > 0).then_some(last_end)));
                refused = Some(Refused { subject: subject.clone(), rule: *rule, until, is_held: booked < rule.limit });
            }
        }
        if let Some((usage, last_end)) = refusing {
            standing.refuse(&usage, usage.rule.limit, last_end, now);
        }
        if let Some(refused) = refused {
            return Err(Box::new(Refusal { refused, standing }));
        }
        // If the store was lost meanwhile, what it just counted is told to it anew, under the next lease.
        let tell = || self.epoch.load(Ordering::Acquire) != epoch;
        Entry::new(claim, now, None, &tell).pass(&mut places);
        if tell() {
            places.iter().for_each(|place| self.queue(&place.subject));
        }
        Ok(Reservation::new(limits.clone(), places, claim, standing))
    }

    /// What the store says of a request; `None`: it is out of reach.
    async fn answer(&self, epoch: u64, asked: &[(Arc<Subject>, Rule)], claim: Claim, now: u64) -> Option<Vec<u64>> {
        let mut connection = Connection::clone(&*self.connection.load_full()?);
        let invocation = scripts::admit(&self.lease(epoch), &self.instance, asked, claim, now);
        let answer = tokio::time::timeout(self.timeout, invocation.invoke_async::<Vec<u64>>(&mut connection)).await;
        let failure = match answer {
            Ok(Ok(answer)) if answer.is_empty() => LAPSED.to_owned(),
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => why(&error),
            Err(_) => "too slow".to_owned(),
        };
        self.lost(epoch, &failure);
        None
    }
}

/// The limits in force of the subjects.
fn rules_of(places: &[Place]) -> Vec<(Arc<Subject>, Rule)> {
    let mut all = Vec::with_capacity(2 * places.len());
    for Place { subject, .. } in places.iter() {
        let meters = subject.meters();
        all.extend(meters.iter().filter(|meter| meter.in_force).map(|meter| (subject.clone(), meter.rule)));
    }
    all
}

/// The keys of a meter, and of this instance's part of it.
fn keys(subject: &Subject, rule: &Rule, instance: &Instance) -> [String; 2] {
    let (kind, what, name) = (subject.kind.as_str(), rule.what.as_str(), &subject.name);
    let period = match rule.what {
        What::Concurrent => String::new(),
        _ => format!(":{}", rule.period).replace(' ', ""),
    };
    let meter = format!("{kind}:{what}{period}:{name}");
    [format!("{PREFIX}:{meter}"), format!("{PREFIX}:of-{:016x}:{meter}", instance.name())]
}

/// Targets keep to a share of their limits, and are not in the store.
fn is_shared(subject: &Subject) -> bool {
    subject.kind != Kind::Target
}

impl Limits {
    /// Counts in a Redis from now on, as this instance. The store is asked when the service that this returns runs.
    ///
    /// # Errors
    /// The URL is not one of a Redis.
    pub fn share_through(
        self: &Arc<Self>,
        config: &RedisConfig,
        instance: Instance,
    ) -> Result<sync::Sync, redis::RedisError> {
        let shared = Arc::new(Shared::new(Server::new(config)?, config.timeout, instance));
        let shared = self.shared.get_or_init(|| shared).clone();
        Ok(sync::Sync::new(self.clone(), shared))
    }
}

#[cfg(test)]
mod tests;
