//! What is known of one host, and the lookup that may be under way for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Answer, DnsError, MAX_STALE, MAX_TTL, MIN_TTL, RETRY_AFTER};

/// More addresses of one host than this are not used: [`Addresses::avoided`] has a bit for each.
const MAX_ADDRESSES: usize = 64;
/// How long an address is left alone that could not be connected to, before one request tries it again.
const AVOIDED_FOR: Duration = Duration::from_secs(60);

pub(super) struct Host {
    name: Box<str>,
    cached: ArcSwapOption<Cached>,
    in_flight: AtomicBool,
    /// All callers that wait for a first answer.
    pub(super) looked_up: Notify,
}

impl Host {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            cached: ArcSwapOption::empty(),
            in_flight: AtomicBool::new(false),
            looked_up: Notify::new(),
        }
    }

    /// The last answer, if there ever was one.
    pub(super) fn cached(&self) -> Guard<Option<Arc<Cached>>> {
        self.cached.load()
    }

    /// The right to look this host up; `None` while somebody else has it.
    pub(super) fn take_off(self: &Arc<Self>) -> Option<Flight> {
        let free = self.in_flight.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed);
        free.is_ok().then(|| Flight(self.clone()))
    }
}

/// A lookup under way. Dropping it ends it, whatever happened, and wakes who waits.
pub(super) struct Flight(Arc<Host>);

impl Flight {
    pub(super) fn host(&self) -> &str {
        &self.0.name
    }

    pub(super) fn cached(&self) -> Guard<Option<Arc<Cached>>> {
        self.0.cached()
    }

    pub(super) fn land(self, answer: Cached) {
        self.0.cached.store(Some(Arc::new(answer)));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.store(false, Ordering::Release);
        self.0.looked_up.notify_waiters();
    }
}

/// The last word on a host: addresses, or why there are none.
pub(super) struct Cached {
    addresses: Result<Arc<Addresses>, DnsError>,
    /// From then on it is refreshed.
    pub(super) fresh_until: Instant,
    /// From then on it is not used any more.
    pub(super) usable_until: Instant,
    /// The last refresh failed; these are addresses of before.
    pub(super) stale: bool,
}

impl Cached {
    /// What follows `old` after a lookup that ended `now`.
    pub(super) fn next(old: Option<&Self>, answer: Result<Answer, DnsError>, now: Instant) -> Self {
        let known = old.and_then(|old| old.addresses.as_deref().ok());
        let error = match answer.map(|answer| (Addresses::new(&answer.addresses, known), answer.ttl)) {
            Ok((Some(addresses), ttl)) => {
                let fresh_until = now + ttl.clamp(MIN_TTL, MAX_TTL);
                return Self {
                    addresses: Ok(Arc::new(addresses)),
                    fresh_until,
                    usable_until: fresh_until + MAX_STALE,
                    stale: false,
                };
            }
            Ok((None, _)) => DnsError::NotFound,
            Err(error) => error,
        };
        let retry = now + RETRY_AFTER;
        match old {
            Some(Self { addresses: Ok(addresses), usable_until, .. }) if now < *usable_until => Self {
                addresses: Ok(addresses.clone()),
                fresh_until: retry.min(*usable_until),
                usable_until: *usable_until,
                stale: true,
            },
            _ => Self { addresses: Err(error), fresh_until: retry, usable_until: retry, stale: false },
        }
    }

    /// The next address in turn.
    pub(super) fn pick(&self, now: Instant) -> Result<IpAddr, DnsError> {
        match &self.addresses {
            Ok(addresses) => addresses.pick(now).ok_or(DnsError::NotFound),
            Err(error) => Err(error.clone()),
        }
    }

    /// No connection to `address` could be made. Whether others are left.
    pub(super) fn avoid(&self, address: IpAddr, now: Instant) -> bool {
        self.addresses.as_ref().is_ok_and(|addresses| addresses.avoid(address, now))
    }

    pub(super) fn reached(&self, address: IpAddr) {
        if let Ok(addresses) = &self.addresses {
            addresses.reached(address);
        }
    }
}

/// At least one address; IPv4 ones first.
struct Addresses {
    all: Box<[IpAddr]>,
    v4: usize,
    turn: AtomicUsize,
    /// A bit for each address that could not be connected to.
    avoided: AtomicU64,
    /// When each of those may be tried again, by one request.
    trials: Mutex<Vec<(IpAddr, Instant)>>,
}

impl Addresses {
    /// Those that were `found`. What is known of them stays.
    fn new(found: &[IpAddr], known: Option<&Self>) -> Option<Self> {
        let mut all: Vec<IpAddr> = Vec::with_capacity(found.len());
        for address in found.iter().filter(|a| a.is_ipv4()).chain(found.iter().filter(|a| a.is_ipv6())) {
            if !all.contains(address) && all.len() < MAX_ADDRESSES {
                all.push(*address);
            }
        }
        let v4 = all.iter().filter(|address| address.is_ipv4()).count();
        let mut trials = known.map_or_else(Vec::new, |known| known.trials.lock().clone());
        trials.retain(|(address, _)| all.contains(address));
        let mut avoided = 0;
        for (place, address) in all.iter().enumerate() {
            avoided |= u64::from(trials.iter().any(|(avoided, _)| avoided == address)) << place;
        }
        (!all.is_empty()).then(|| Self {
            all: all.into(),
            v4,
            turn: AtomicUsize::new(0),
            avoided: AtomicU64::new(avoided),
            trials: Mutex::new(trials),
        })
    }

    fn pick(&self, now: Instant) -> Option<IpAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let avoided = self.avoided.load(Ordering::Relaxed);
        if avoided != 0
            && let Some(address) = self.trial(now)
        {
            return Some(address);
        }
        self.pick_but(avoided, turn).or_else(|| {
            // None works: forget what is known and begin again.
            self.trials.lock().clear();
            self.avoided.store(0, Ordering::Relaxed);
            self.pick_but(0, turn)
        })
    }

    /// An address that it is time to try again, for the one who asks.
    fn trial(&self, now: Instant) -> Option<IpAddr> {
        let mut trials = self.trials.lock();
        let (address, due) = trials.iter_mut().find(|(_, due)| *due <= now)?;
        *due = now + AVOIDED_FOR;
        Some(*address)
    }

    fn pick_but(&self, avoided: u64, turn: usize) -> Option<IpAddr> {
        [0..self.v4, self.v4..self.all.len()].into_iter().find_map(|family| {
            let (first, len) = (family.start, family.len());
            let mut in_turn = (0..len).map(|step| first + turn.wrapping_add(step) % len);
            let place = in_turn.find(|place| avoided & (1 << place) == 0)?;
            self.all.get(place).copied()
        })
    }

    fn place(&self, address: IpAddr) -> Option<usize> {
        self.all.iter().position(|known| *known == address)
    }

    fn avoid(&self, address: IpAddr, now: Instant) -> bool {
        let Some(place) = self.place(address) else { return false };
        let mut trials = self.trials.lock();
        trials.retain(|(known, _)| *known != address);
        trials.push((address, now + AVOIDED_FOR));
        self.avoided.fetch_or(1 << place, Ordering::Relaxed);
        trials.len() < self.all.len()
    }

    fn reached(&self, address: IpAddr) {
        if self.avoided.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(place) = self.place(address) {
            self.trials.lock().retain(|(known, _)| *known != address);
            self.avoided.fetch_and(!(1 << place), Ordering::Relaxed);
        }
    }
}
