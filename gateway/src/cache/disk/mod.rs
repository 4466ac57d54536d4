//! The tier on disk: answers that survive a restart, one file each (`files`), bounded by bytes.
//!
//! What is there is known in memory (`index`), so that a miss touches no disk. Reads run on the runtime's threads for blocking
//! work, a few at a time; writes, removals and the scan at the start on one thread of its own, from a bounded queue. A disk
//! that is full, slow or broken costs nothing but hits: what cannot be written is not kept, and counted.

mod files;
mod index;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, oneshot};

use files::{Folder, is_full, size_of};
use index::{Index, Item, Name};

use super::record::{self, millis};
use super::tier_metrics::{Counters, TierMetrics};
use super::{Entry, Fingerprint, Form, Purge, Tier, TierError};
use crate::clock::Time;
use crate::config::DiskConfig;

/// The longest that a client waits for the disk.
const PATIENCE: Duration = Duration::from_millis(100);
/// Reads at a time; who comes then does without.
const READS: usize = 32;
/// Answers that may wait to be written, and their bytes.
const QUEUE: usize = 1024;
const QUEUE_BYTES: usize = 32 << 20;
/// How often those are looked for whose time is over.
const SWEEP: Duration = Duration::from_secs(10);
/// How long nothing is written after the disk refused.
const REST: Duration = Duration::from_secs(1);
/// The longest that a purge may take.
const PURGE: Duration = Duration::from_secs(60);
/// Files that are looked at in one go, while nobody else can.
const BATCH: usize = 1024;

/// Answers on disk.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    reads: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    time: Time,
    path: PathBuf,
    folder: Folder,
    max_size: AtomicU64,
    index: Mutex<Index>,
    /// Whether another process has taken the folder over, which changes nothing while something is written.
    handed_over: Mutex<bool>,
    /// Bytes of answers that wait to be written.
    queued: AtomicUsize,
    counters: Counters,
    bytes: Gauge,
    entries: Gauge,
}

enum Job {
    Put(Arc<Entry>),
    /// What was made before the time, in milliseconds since 1970.
    Purge(Purge, u64, oneshot::Sender<io::Result<u64>>),
}

impl Disk {
    /// The tier in the folder of `config`, which is made if it is not there. What is in it is found from now on, by and by.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn open(config: &DiskConfig, metrics: &TierMetrics, time: Time) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            time,
            path: config.path.clone(),
            folder: Folder::open(&config.path)?,
            max_size: AtomicU64::new(config.max_size),
            index: Mutex::default(),
            handed_over: Mutex::default(),
            queued: AtomicUsize::new(0),
            counters: metrics.of("disk"),
            bytes: metrics.disk_bytes.clone(),
            entries: metrics.disk_entries.clone(),
        });
        let (jobs, queue) = sync_channel(QUEUE);
        let worker = Worker { shared: shared.clone(), rests: None, failing: false };
        std::thread::Builder::new().name("cache-disk".to_owned()).spawn(move || worker.run(&queue))?;
        Ok(Self { shared, jobs, reads: Arc::new(Semaphore::new(READS)) })
    }

    /// Changes the most bytes of files; what is too much goes by and by.
    pub fn resize(&self, max_size: u64) {
        self.shared.max_size.store(max_size, Relaxed);
    }

    /// Bytes of files, the most of them that are to be, and how many files there are.
    pub fn size(&self) -> (u64, u64, usize) {
        let index = self.shared.index.lock();
        (index.bytes(), self.shared.max_size.load(Relaxed), index.len())
    }

    /// Another process has the folder from now on: nothing more is written, and it is told to look for what was written while it
    /// began.
    pub fn hand_over(&self) {
        *self.shared.handed_over.lock() = true;
        if let Err(error) = self.shared.folder.leave_note() {
            log::warn!("{} cannot be handed over: {}", self.shared.path.display(), error.kind());
        }
    }

    async fn remove(&self, what: &Purge, then: u64) -> Result<u64, TierError> {
        let error = |message: String| TierError { tier: "disk", message };
        let purge = async {
            let (reply, answer) = oneshot::channel();
            let mut job = Job::Purge(what.clone(), then, reply);
            // Behind what waits to be written, so that none of it comes afterwards.
            while let Err(refused) = self.jobs.try_send(job) {
                let TrySendError::Full(again) = refused else { return Err(error("its thread is gone".to_owned())) };
                job = again;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            match answer.await {
                Ok(removed) => removed.map_err(|failed| error(failed.kind().to_string())),
                Err(_) => Err(error("its thread is gone".to_owned())),
            }
        };
        tokio::time::timeout(PURGE, purge).await.unwrap_or_else(|_| Err(error("it takes too long".to_owned())))
    }
}

#[async_trait]
impl Tier for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn get(&self, fingerprint: &Fingerprint, form: Form) -> Option<Arc<Entry>> {
        let (name, shared) = ((*fingerprint, form), &self.shared);
        if !shared.index.lock().find(&name, millis(shared.time.now())) {
            shared.counters.looked_up(false);
            return None;
        }
        let Ok(permit) = self.reads.clone().try_acquire_owned() else {
            shared.counters.failures.inc();
            return None;
        };
        let read = {
            let shared = shared.clone();
            tokio::task::spawn_blocking(move || {
                let entry = shared.read(&name);
                drop(permit);
                entry
            })
        };
        let Ok(Ok(entry)) = tokio::time::timeout(PATIENCE, read).await else {
            shared.counters.failures.inc();
            return None;
        };
        shared.counters.looked_up(entry.is_some());
        entry.map(Arc::new)
    }

    fn put(&self, entry: &Arc<Entry>) {
        let (shared, size) = (&self.shared, entry.body.len());
        if shared.queued.fetch_add(size, Relaxed) <= QUEUE_BYTES && self.jobs.try_send(Job::Put(entry.clone())).is_ok()
        {
            return;
        }
        shared.queued.fetch_sub(size, Relaxed);
        shared.counters.dropped.inc();
    }

    async fn purge(&self, what: &Purge) -> Result<u64, TierError> {
        self.remove(what, u64::MAX).await
    }

    async fn purge_before(&self, what: &Purge, then: SystemTime) -> Result<u64, TierError> {
        self.remove(what, millis(then)).await
    }
}

impl Shared {
    fn read(&self, name: &Name) -> Option<Entry> {
        match self.folder.read(name) {
            Ok(Some(entry)) => return Some(entry),
            Ok(None) => {
                log::warn!("an answer in {} is damaged and has been removed", self.path.display());
                self.counters.failures.inc();
                let _ = self.folder.remove(name);
            }
            // Another process that uses the folder may have removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                self.counters.failures.inc();
                return None;
            }
        }
        self.index.lock().remove(name);
        None
    }

    fn tell(&self) {
        let index = self.index.lock();
        self.bytes.set(i64::try_from(index.bytes()).unwrap_or(i64::MAX));
        self.entries.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
    }
}

/// The thread that changes the disk.
struct Worker {
    shared: Arc<Shared>,
    /// Nothing is written before then.
    rests: Option<Instant>,
    /// Whether the last write failed.
    failing: bool,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        self.scan();
        loop {
            let mut answer = None;
            let job = queue.recv_timeout(SWEEP);
            if !*self.shared.handed_over.lock() && self.shared.folder.take_note() {
                self.scan();
            }
            match job {
                Ok(Job::Put(entry)) => {
                    self.put(&entry);
                    self.shared.queued.fetch_sub(entry.body.len(), Relaxed);
                }
                Ok(Job::Purge(what, then, reply)) => answer = Some((reply, self.purge(&what, then))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.sweep();
            self.make_room(0);
            self.shared.tell();
            // The last of it: who hears of a purge finds the figures and files as they are then.
            if let Some((reply, purged)) = answer {
                drop(reply.send(purged));
            }
        }
    }

    /// Finds what another process has left.
    fn scan(&self) {
        let shared = &self.shared;
        let now = millis(shared.time.now());
        let scanned = shared.folder.scan(|name, meta, length| {
            if record::end_of(&meta) <= now {
                let _ = shared.folder.remove(&name);
            } else {
                shared.index.lock().insert(name, Item::new(meta, size_of(length)));
            }
        });
        if let Err(error) = scanned {
            log::warn!("{} cannot be read: {}", shared.path.display(), error.kind());
            shared.counters.failures.inc();
        }
        self.make_room(0);
        shared.tell();
        log::info!("{} answers in {}", shared.index.lock().len(), shared.path.display());
    }

    fn put(&mut self, entry: &Entry) {
        let shared = self.shared.clone();
        let handed_over = shared.handed_over.lock();
        let now = Instant::now();
        if *handed_over
            || self.rests.is_some_and(|until| now < until)
            || record::end_of(&entry.meta) <= millis(shared.time.now())
        {
            shared.counters.dropped.inc();
            return;
        }
        let sized = record::head(entry).map(|head| (size_of((head.len() + entry.body.len()) as u64), head));
        let Some((size, head)) = sized.filter(|(size, _)| *size <= shared.max_size.load(Relaxed)) else {
            shared.counters.dropped.inc();
            return;
        };
        let name = (entry.meta.fingerprint, entry.meta.form);
        self.make_room(size);
        let mut written = shared.folder.write(&name, &head, &entry.body);
        if written.as_ref().is_err_and(is_full) {
            // Others fill the disk: what is there makes room.
            let mut freed = 0;
            while freed < 2 * size {
                match self.remove_oldest() {
                    Some(bytes) => freed += bytes,
                    None => break,
                }
            }
            written = shared.folder.write(&name, &head, &entry.body);
        }
        match written {
            Ok(()) => {
                shared.index.lock().insert(name, Item::new(entry.meta.clone(), size));
                if std::mem::take(&mut self.failing) {
                    log::info!("{} takes answers again", shared.path.display());
                }
            }
            Err(error) => {
                shared.counters.failures.inc();
                self.rests = Some(now + REST);
                if !std::mem::replace(&mut self.failing, true) {
                    log::warn!("{}: answers are not kept there at the moment: {}", shared.path.display(), error.kind());
                }
            }
        }
    }

    /// Removes what was not used for long until `size` more bytes fit in.
    fn make_room(&self, size: u64) {
        while self.shared.index.lock().bytes().saturating_add(size) > self.shared.max_size.load(Relaxed) {
            if self.remove_oldest().is_none() {
                return;
            }
        }
    }

    /// The bytes that it gave back.
    fn remove_oldest(&self) -> Option<u64> {
        let mut index = self.shared.index.lock();
        let name = index.oldest()?;
        let before = index.bytes();
        index.remove(&name);
        let freed = before - index.bytes();
        drop(index);
        let _ = self.shared.folder.remove(&name);
        Some(freed)
    }

    fn sweep(&self) {
        let now = millis(self.shared.time.now());
        loop {
            let mut index = self.shared.index.lock();
            let Some(name) = index.over(now) else { return };
            index.remove(&name);
            drop(index);
            let _ = self.shared.folder.remove(&name);
        }
    }

    fn purge(&self, what: &Purge, then: u64) -> io::Result<u64> {
        let (mut removed, mut next, mut failed) = (0, Some(0), None);
        while let Some(from) = next {
            let (taken, more) = self.shared.index.lock().taken(what, then, from, BATCH);
            for name in taken {
                self.shared.index.lock().remove(&name);
                match self.shared.folder.remove(&name) {
                    Ok(()) => removed += 1,
                    Err(error) => failed = Some(error),
                }
            }
            next = more;
        }
        failed.map_or(Ok(removed), Err)
    }
}

#[cfg(test)]
mod tests;
