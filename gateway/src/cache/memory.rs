//! Entries in memory, bounded by bytes: the least recently used go first. Fills count, too, from their first byte, and what is
//! still being sent to somebody counts until it has been, whether or not it can be found any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use pingora_http::ResponseHeader;

use super::fill::{Fill, Reader};
use super::weight::{Scale, Weight};
use super::{CacheMetrics, Entry, Fingerprint, Form, Purge};
use crate::clock::Time;

/// Largest answer that is kept or can be joined, whatever `max_size` is.
const LARGEST: usize = 16 << 20;

/// All entries and fills of the process. A reload changes its size only.
#[derive(Debug)]
pub struct Memory {
    pub(super) time: Time,
    index: Mutex<Index>,
    scale: Scale,
    max_size: AtomicUsize,
    metrics: CacheMetrics,
}

#[derive(Debug, Default)]
struct Index {
    /// The forms of a request's answer: seldom more than one.
    slots: HashMap<Fingerprint, Vec<Slot>>,
    /// When each entry was last used, the one that goes first at the front.
    order: BTreeMap<u64, (Fingerprint, Form)>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    form: Form,
    kept: Option<(Arc<Kept>, u64)>,
    /// The calls under way, also those that nobody may follow: who purges finds them here.
    fills: Vec<Arc<Fill>>,
}

/// An entry that is counted for as long as anybody holds it.
#[derive(Debug)]
pub struct Kept {
    entry: Arc<Entry>,
    _weight: Weight,
}

impl std::ops::Deref for Kept {
    type Target = Arc<Entry>;

    fn deref(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Memory {
    /// Room for `max_size` bytes; entries age by `time`.
    pub fn new(max_size: usize, metrics: CacheMetrics, time: Time) -> Self {
        Self { time, index: Mutex::default(), scale: Scale::default(), max_size: AtomicUsize::new(max_size), metrics }
    }

    /// Changes the room; what is too much goes at once.
    pub fn resize(&self, max_size: usize) {
        self.max_size.store(max_size, Relaxed);
        self.make_room();
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.scale.total()
    }

    /// The most bytes that are to be held.
    pub fn max_size(&self) -> usize {
        self.max_size.load(Relaxed)
    }

    /// Entries that can be found.
    pub fn len(&self) -> usize {
        self.index.lock().order.len()
    }

    /// The answer of that form that is not older than `max_age`.
    pub fn find(&self, fingerprint: &Fingerprint, form: Form, max_age: Duration) -> Option<Arc<Kept>> {
        self.index.lock().fresh(fingerprint, form, self.time.now(), max_age)
    }

    /// The answers of other forms than `form`, not older than `max_age`.
    pub fn find_others(&self, fingerprint: &Fingerprint, form: Form, max_age: Duration) -> Vec<Arc<Kept>> {
        let (mut index, now) = (self.index.lock(), self.time.now());
        let Some(slots) = index.slots.get(fingerprint) else { return Vec::new() };
        let forms: Vec<Form> = slots.iter().map(|slot| slot.form).filter(|other| *other != form).collect();
        forms.into_iter().filter_map(|other| index.fresh(fingerprint, other, now, max_age)).collect()
    }

    /// Whether there is an answer of any form that is not past its time, or one under way.
    pub fn holds(&self, fingerprint: &Fingerprint) -> bool {
        let (index, now) = (self.index.lock(), self.time.now());
        let holds = |slot: &Slot| {
            !slot.fills.is_empty() || slot.kept.as_ref().is_some_and(|(kept, _)| kept.is_fresh(now, Duration::MAX))
        };
        index.slots.get(fingerprint).is_some_and(|slots| slots.iter().any(holds))
    }

    /// Begins a call, which others may follow if `share`.
    ///
    /// # Errors
    /// Somebody has begun one already, which can be followed. Never without `share`.
    pub fn begin(self: &Arc<Self>, fingerprint: Fingerprint, form: Form, share: bool) -> Result<Writer, Reader> {
        let mut index = self.index.lock();
        let slot = index.slot_or_new(fingerprint, form);
        if share && let Some(reader) = slot.join() {
            return Err(reader);
        }
        let fill = Fill::new(&self.scale, &self.metrics.following, share);
        slot.fills.push(fill.clone());
        Ok(Writer { memory: self.clone(), fingerprint, form, fill, ended: false })
    }

    /// Keeps an entry, in place of the one before.
    pub fn insert(&self, entry: Arc<Entry>) -> Arc<Kept> {
        let kept = self.put(self.index.lock(), entry);
        self.make_room();
        kept
    }

    fn put(&self, mut index: MutexGuard<'_, Index>, entry: Arc<Entry>) -> Arc<Kept> {
        let (fingerprint, form, size) = (entry.meta.fingerprint, entry.meta.form, entry.weight());
        let kept = Arc::new(Kept { entry, _weight: self.scale.weigh(size) });
        let tick = index.tick();
        let before = index.slot_or_new(fingerprint, form).kept.replace((kept.clone(), tick));
        if let Some((_, tick)) = &before {
            index.order.remove(tick);
        }
        index.order.insert(tick, (fingerprint, form));
        drop(index);
        drop(before);
        kept
    }

    /// Removes the least recently used entries until the rest fits. `false`: it does not, because of what is under way.
    fn make_room(&self) -> bool {
        let max_size = self.max_size();
        while self.scale.total() > max_size {
            // What it held is freed without the lock.
            let Some(evicted) = self.index.lock().evict() else { break };
            drop(evicted);
            self.metrics.evictions.inc();
        }
        self.tell_size();
        self.scale.total() <= max_size
    }

    fn tell_size(&self) {
        self.metrics.bytes.set(i64::try_from(self.scale.total()).unwrap_or(i64::MAX));
    }

    /// Removes entries and says how many. What is under way and may be part of what is purged is not kept when it ends.
    pub fn purge(&self, what: &Purge) -> u64 {
        let mut index = self.index.lock();
        let mut removed = Vec::new();
        let mut keeps_some = |slots: &mut Vec<Slot>| {
            slots.retain_mut(|slot| {
                slot.close();
                removed.extend(slot.kept.take_if(|(kept, _)| what.takes(kept)));
                slot.kept.is_some()
            });
            !slots.is_empty()
        };
        if let Purge::Fingerprint(fingerprint) = what {
            if index.slots.get_mut(fingerprint).is_some_and(|slots| !keeps_some(slots)) {
                index.slots.remove(fingerprint);
            }
        } else {
            index.slots.retain(|_, slots| keeps_some(slots));
        }
        for (_, tick) in &removed {
            index.order.remove(tick);
        }
        drop(index);
        let count = removed.len() as u64;
        // What they held is freed without the lock.
        drop(removed);
        self.tell_size();
        count
    }
}

impl Slot {
    fn join(&self) -> Option<Reader> {
        self.fills.iter().find_map(Fill::join)
    }

    /// Nothing that is under way can be joined, or is kept when it ends.
    fn close(&mut self) {
        self.fills.drain(..).for_each(|fill| fill.close());
    }
}

impl Index {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn slot(&mut self, fingerprint: &Fingerprint, form: Form) -> Option<&mut Slot> {
        self.slots.get_mut(fingerprint)?.iter_mut().find(|slot| slot.form == form)
    }

    fn slot_or_new(&mut self, fingerprint: Fingerprint, form: Form) -> &mut Slot {
        let slots = self.slots.entry(fingerprint).or_default();
        let at = slots.iter().position(|slot| slot.form == form).unwrap_or_else(|| {
            slots.push(Slot { form, kept: None, fills: Vec::new() });
            slots.len() - 1
        });
        &mut slots[at]
    }

    /// The entry, which is the most recently used one now.
    fn fresh(
        &mut self,
        fingerprint: &Fingerprint,
        form: Form,
        now: SystemTime,
        max_age: Duration,
    ) -> Option<Arc<Kept>> {
        let clock = self.clock + 1;
        let (kept, tick) = self.slot(fingerprint, form)?.kept.as_mut()?;
        if !kept.is_fresh(now, max_age) {
            return None;
        }
        let (kept, before) = (kept.clone(), std::mem::replace(tick, clock));
        self.clock = clock;
        self.order.remove(&before);
        self.order.insert(clock, (*fingerprint, form));
        Some(kept)
    }

    /// Removes the least recently used entry.
    fn evict(&mut self) -> Option<Arc<Kept>> {
        let (_, (fingerprint, form)) = self.order.pop_first()?;
        let kept = self.slot(&fingerprint, form)?.kept.take();
        self.tidy(&fingerprint);
        kept.map(|(kept, _)| kept)
    }

    /// Removes `fill`. `false`: it is not there any more, because of a purge.
    fn take_out(&mut self, fingerprint: &Fingerprint, form: Form, fill: &Arc<Fill>) -> bool {
        let Some(Slot { fills, .. }) = self.slot(fingerprint, form) else { return false };
        let place = fills.iter().position(|other| Arc::ptr_eq(other, fill));
        place.map(|place| fills.swap_remove(place)).is_some()
    }

    fn tidy(&mut self, fingerprint: &Fingerprint) {
        if let Some(slots) = self.slots.get_mut(fingerprint) {
            slots.retain(|slot| slot.kept.is_some() || !slot.fills.is_empty());
            if slots.is_empty() {
                self.slots.remove(fingerprint);
            }
        }
    }
}

/// The end of a call at which its answer comes in. Dropped before the answer is whole, it breaks it off for all who follow.
#[derive(Debug)]
pub struct Writer {
    memory: Arc<Memory>,
    fingerprint: Fingerprint,
    form: Form,
    fill: Arc<Fill>,
    ended: bool,
}

impl Writer {
    /// What it writes to.
    pub fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }

    /// The header has come and will not be taken back.
    pub fn begin(&self, header: ResponseHeader) {
        self.fill.begin(header);
    }

    /// More of the body has come.
    pub fn push(&self, data: &[u8]) {
        let most = LARGEST.min(self.memory.max_size() / 2);
        self.fill.push(data, most);
        if !self.memory.make_room() {
            self.fill.close();
        }
    }

    /// The answer is over, and whole. What it was [to be kept](Fill::keep) as can be found from now on, and is returned.
    pub fn finish(mut self) -> Option<Arc<Entry>> {
        self.ended = true;
        let entry = self.fill.kept().map(|(meta, body)| Arc::new(Entry { meta, body }));
        let mut index = self.memory.index.lock();
        let stands = index.take_out(&self.fingerprint, self.form, &self.fill);
        let entry = entry.filter(|_| stands);
        match &entry {
            Some(entry) => drop(self.memory.put(index, entry.clone())),
            None => {
                index.tidy(&self.fingerprint);
                drop(index);
            }
        }
        self.fill.end(true);
        self.memory.make_room();
        entry
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended {
            let mut index = self.memory.index.lock();
            index.take_out(&self.fingerprint, self.form, &self.fill);
            index.tidy(&self.fingerprint);
            drop(index);
            self.fill.end(false);
        }
    }
}
