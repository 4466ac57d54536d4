//! All targets of the process, by identity.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::RwLock;

use super::credential::CredentialState;
use super::probe::ActiveProbe;
use super::settings::Settings;
use super::status::{CredentialStatus, whole_millis};
use super::target::TargetState;

/// How many targets are kept; clients name upstream models. Those in use do not count as superfluous.
const MOST_TARGETS: usize = 10_000;

/// The health of everything that is or was a target. One per process; snapshots and exchanges hold what it gives.
#[derive(Debug)]
pub struct Health {
    begin: Instant,
    seed: u64,
    hasher: RandomState,
    most: usize,
    all: RwLock<All>,
}

#[derive(Debug)]
struct All {
    providers: HashMap<Arc<str>, Provider>,
    targets: usize,
    /// At so many targets it is time to look for superfluous ones.
    sweep_at: usize,
}

#[derive(Debug)]
struct Provider {
    name: Arc<str>,
    /// No longer in the file: kept for what it has still in flight, and in case it comes back.
    gone: bool,
    settings: Arc<ArcSwap<Settings>>,
    /// Where it is, if that was said.
    address: Option<Box<str>>,
    /// By number.
    credentials: Vec<Arc<CredentialState>>,
    /// By model, then one per credential in use.
    targets: HashMap<Arc<str>, Vec<Arc<TargetState>>>,
}

impl Health {
    /// Nothing is known yet. `seed` decides the jitter of cool-downs.
    pub fn new(now: Instant, seed: u64) -> Self {
        Self::with_room_for(MOST_TARGETS, now, seed)
    }

    pub(super) fn with_room_for(most: usize, now: Instant, seed: u64) -> Self {
        let all = All { providers: HashMap::new(), targets: 0, sweep_at: most };
        Self { begin: now, seed, hasher: RandomState::new(), most, all: RwLock::new(all) }
    }

    /// Sets which providers there are. Of others only what is in flight is told any more, and none of their targets stays drained;
    /// what is known of them counts again when they come back.
    pub fn keep(&self, provider: impl Fn(&str) -> bool) {
        for known in self.all.write().providers.values_mut() {
            known.gone = !provider(&known.name);
            for target in known.each().filter(|_| known.gone) {
                target.undrain();
            }
        }
    }

    /// Whether there is such a provider.
    pub(super) fn has(&self, provider: &str) -> bool {
        self.all.read().providers.get(provider).is_some_and(|provider| !provider.gone)
    }

    /// Sets what a provider's file says, in force at once for all its targets; their state stays. A credential that is not
    /// the one it was is no longer benched.
    pub fn configure<C: Hash>(&self, provider: &str, settings: Settings, credentials: &[C]) {
        let mut all = self.all.write();
        let provider = all.provider(provider);
        provider.settings.store(Arc::new(settings));
        for (index, credential) in credentials.iter().enumerate() {
            // The same in the process that takes over from this one.
            let mut hasher = DefaultHasher::new();
            credential.hash(&mut hasher);
            provider.credential(index, self.seed).configure(hasher.finish());
        }
    }

    /// Says where a provider is. Failures at another address say nothing of this one.
    pub fn locate(&self, provider: &str, address: &str) {
        let mut all = self.all.write();
        let provider = all.provider(provider);
        let before = provider.address.replace(address.into());
        if before.is_some_and(|before| *before != *address) {
            provider.each().for_each(|target| target.forget());
        }
    }

    /// The state of `model` at `provider` with its credential number `credential`, made if need be.
    pub fn target(&self, provider: &str, model: &str, credential: usize, now: Instant) -> Arc<TargetState> {
        let used = now.saturating_duration_since(self.begin).as_millis() as u64;
        if let Some(found) = self.all.read().find(provider, model, credential) {
            found.used.fetch_max(used, Relaxed);
            return found.clone();
        }
        let mut all = self.all.write();
        if let Some(found) = all.find(provider, model, credential) {
            return found.clone();
        }
        if all.targets >= all.sweep_at {
            all.sweep(self.most);
        }
        all.targets += 1;
        let provider = all.provider(provider);
        let credential = provider.credential(credential, self.seed);
        let seed = self.hasher.hash_one((self.seed, &provider.name, model, credential.index()));
        let made = Arc::new(TargetState::new(credential, model, now, seed));
        made.used.store(used, Relaxed);
        provider.targets.entry(made.model().clone()).or_default().push(made.clone());
        made
    }

    /// The state of a provider's credential, made if need be.
    pub fn credential(&self, provider: &str, credential: usize) -> Arc<CredentialState> {
        self.all.write().provider(provider).credential(credential, self.seed)
    }

    /// Begins a probe on purpose of a provider with one of its credentials.
    pub fn begin_probe(&self, provider: &str, credential: usize, now: Instant) -> ActiveProbe {
        let all = self.all.read();
        let targets = all.providers.get(provider).into_iter().flat_map(Provider::each);
        let passes = targets.filter(|target| target.credential().index() == credential);
        ActiveProbe { passes: passes.filter_map(|target| target.begin(now)).collect() }
    }

    /// Every target that is told of, sorted by provider, model and credential.
    pub fn targets(&self) -> Vec<Arc<TargetState>> {
        let all = self.all.read();
        let mut targets: Vec<_> = all.providers.values().flat_map(Provider::told).cloned().collect();
        drop(all);
        targets.sort_by(|a, b| {
            let key =
                |target: &TargetState| (target.provider().clone(), target.model().clone(), target.credential().index());
            key(a).cmp(&key(b))
        });
        targets
    }

    /// The credentials that are benched and were not accepted since, sorted by provider and number.
    pub fn benched(&self, now: Instant) -> Vec<CredentialStatus> {
        let all = self.all.read();
        let there = all.providers.values().filter(|provider| !provider.gone);
        let credentials = there.flat_map(|provider| &provider.credentials);
        let mut benched: Vec<_> = credentials
            .filter_map(|credential| {
                let (at, reason) = credential.benched(now)?;
                Some(CredentialStatus {
                    provider: credential.provider().to_string(),
                    credential: credential.index(),
                    reason: reason.as_str(),
                    detail: reason.to_string(),
                    retry_in_ms: whole_millis(at, now),
                })
            })
            .collect();
        benched.sort_by(|a, b| (&a.provider, a.credential).cmp(&(&b.provider, b.credential)));
        benched
    }
}

impl All {
    fn find(&self, provider: &str, model: &str, credential: usize) -> Option<&Arc<TargetState>> {
        let targets = self.providers.get(provider)?.targets.get(model)?;
        targets.iter().find(|target| target.credential().index() == credential)
    }

    fn provider(&mut self, name: &str) -> &mut Provider {
        self.providers.entry(name.into()).or_insert_with(|| Provider::new(name))
    }

    /// Forgets the quarter of targets that was not used for the longest, but none that somebody holds or that an
    /// operator drained. So many at once, that looking through all of them is paid by as many requests.
    fn sweep(&mut self, most: usize) {
        let superfluous = |target: &Arc<TargetState>| Arc::strong_count(target) == 1 && !target.is_drained();
        let each = self.providers.values().flat_map(Provider::each).filter(|target| superfluous(target));
        let mut used: Vec<u64> = each.map(|target| target.used.load(Relaxed)).collect();
        let mut remaining = (most / 4).max(1).min(used.len());
        if remaining > 0 {
            let (_, newest, _) = used.select_nth_unstable(remaining - 1);
            let newest = *newest;
            for provider in self.providers.values_mut() {
                provider.targets.retain(|_, targets| {
                    targets.retain(|target| {
                        let goes = remaining > 0 && superfluous(target) && target.used.load(Relaxed) <= newest;
                        remaining -= usize::from(goes);
                        !goes
                    });
                    !targets.is_empty()
                });
            }
        }
        self.targets = self.providers.values().flat_map(Provider::each).count();
        self.sweep_at = most.max(self.targets + most / 4);
    }
}

impl Provider {
    fn new(name: &str) -> Self {
        let settings = Arc::new(ArcSwap::from_pointee(Settings::default()));
        Self {
            name: name.into(),
            gone: false,
            settings,
            address: None,
            credentials: Vec::new(),
            targets: HashMap::new(),
        }
    }

    fn each(&self) -> impl Iterator<Item = &Arc<TargetState>> {
        self.targets.values().flatten()
    }

    fn told(&self) -> impl Iterator<Item = &Arc<TargetState>> {
        self.each().filter(|target| !self.gone || target.in_flight() > 0)
    }

    fn credential(&mut self, index: usize, seed: u64) -> Arc<CredentialState> {
        for next in self.credentials.len()..=index {
            let state = CredentialState::new(self.name.clone(), next, self.settings.clone(), seed ^ next as u64);
            self.credentials.push(Arc::new(state));
        }
        self.credentials[index].clone()
    }
}
