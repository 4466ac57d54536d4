//! The tier that several instances have in common, in the Redis or Valkey of `[store]`.
//!
//! An entry is a string there that ends with its time; what was purged is told by `Marks`, which each instance looks at every
//! second. A client waits for the store as long as `store.timeout` says, once: a store that does not answer in time is left
//! alone until it does again, and meanwhile each instance goes on with what it has itself. Limits have a connection of their own,
//! so that a large answer does not keep them waiting.

mod marks;
mod questions;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use redis::{RedisError, RedisResult};
use tokio::sync::{Notify, mpsc};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use marks::Marks;
use questions::{Questions, Told};

use super::record::{self, millis};
use super::semantic::Learnt;
use super::tier_metrics::{Counters, TierMetrics};
use super::{Cache, Entry, Fingerprint, Form, Purge, SKEW, Tier, TierError};
use crate::clock::Time;
use crate::config::RedisConfig;
use crate::limits::shared::server::{Connection, Server, why};

/// How long anything may take for which no client waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the marks are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The first wait before the store is tried again, which doubles up to the last.
const RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Bytes of the largest answer that is stored: what is larger takes too long.
const MAX_ENTRY: usize = 1 << 20;
/// Answers that may wait to be stored, and their bytes.
const QUEUE: usize = 1024;
const QUEUE_BYTES: usize = 32 << 20;
/// So many of them are on their way at a time.
const AT_ONCE: usize = 8;
/// How entries are called. Those of a cluster are spread over all of it.
const PREFIX: &str = "ai-gateway:cache:";
/// Where the marks are.
const MARKS: &str = "ai-gateway:cache-purged";
/// The longest that an answer is in the store, whatever its own time is.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// How long a mark is of use: by then nothing of before it is left, whatever the clocks say.
const MARK_LIFE: Duration = Duration::from_secs(31 * 86_400);

/// Answers in a Redis.
pub struct Redis {
    time: Time,
    server: Server,
    timeout: Duration,
    connection: ArcSwapOption<Connection>,
    /// The connection was lost.
    lost: Notify,
    marks: ArcSwap<Marks>,
    /// Held by whoever changes them, here or in the store.
    marking: tokio::sync::Mutex<()>,
    queue: mpsc::Sender<Queued>,
    queued: AtomicUsize,
    questions: mpsc::Sender<Told>,
    counters: Counters,
}

/// Keeps the connection, stores what is to be stored, looks at the marks, and hears of questions that others have answered. A background service of Pingora; it runs as long
/// as the process.
pub struct Keeper {
    redis: Arc<Redis>,
    cache: Weak<Cache>,
    queues: Mutex<Option<(mpsc::Receiver<Queued>, Questions)>>,
}

/// An answer to be stored, and its stamp of when it was new: what is purged meanwhile does not come back by it.
type Queued = ([u8; 8], Arc<Entry>);

impl Redis {
    /// The tier at the store of `config`, and what must run for it. Nothing is asked of it before that runs. `cache` is told
    /// what other instances have purged.
    ///
    /// # Errors
    /// The URL is not one of a Redis.
    pub fn new(config: &RedisConfig, cache: &Arc<Cache>, metrics: &TierMetrics) -> RedisResult<(Arc<Self>, Keeper)> {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (questions, told) = mpsc::channel(QUEUE);
        let redis = Arc::new(Self {
            time: cache.memory.time.clone(),
            server: Server::new(config)?,
            timeout: config.timeout,
            connection: ArcSwapOption::empty(),
            lost: Notify::new(),
            marks: ArcSwap::default(),
            marking: tokio::sync::Mutex::new(()),
            queue,
            queued: AtomicUsize::new(0),
            questions,
            counters: metrics.of("redis"),
        });
        let queues = Mutex::new(Some((receiver, Questions::new(told))));
        let keeper = Keeper { redis: redis.clone(), cache: Arc::downgrade(cache), queues };
        Ok((redis, keeper))
    }

    /// Whether the store answers.
    pub fn is_up(&self) -> bool {
        self.connection.load().is_some()
    }

    fn connection(&self) -> Option<Connection> {
        self.connection.load_full().map(|connection| Connection::clone(&connection))
    }

    /// Leaves the store alone until it answers again.
    fn lose(&self, why: &str) {
        self.counters.failures.inc();
        if self.connection.swap(None).is_some() {
            log::warn!("the store is out of reach ({why}): answers are kept by each instance for itself");
            self.lost.notify_one();
        }
    }

    /// What the store answers to a command; `None` if it does not, or not in time.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd, patience: Duration) -> Option<T> {
        let mut connection = self.connection()?;
        self.heard(timeout(patience, command.query_async(&mut connection)).await)
    }

    /// The same of several commands, none of which has an answer that matters.
    async fn ask_all(&self, commands: &redis::Pipeline) -> Option<()> {
        let mut connection = self.connection()?;
        self.heard(timeout(PATIENCE, commands.query_async(&mut connection)).await)
    }

    fn heard<T>(&self, answer: Result<RedisResult<T>, Elapsed>) -> Option<T> {
        match answer {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) if is_refusal(&error) => {
                self.counters.failures.inc();
                None
            }
            Ok(Err(error)) => {
                self.lose(&why(&error));
                None
            }
            Err(_) => {
                self.lose("too slow");
                None
            }
        }
    }

    /// These are the marks in the store: what was purged since the last ones.
    fn now_known(&self, marks: HashMap<String, String>) -> Vec<(Purge, SystemTime)> {
        let marks = Marks::new(marks);
        let purged = marks.since(&self.marks.load());
        self.marks.store(Arc::new(marks));
        purged
    }

    async fn store(&self, (stamp, entry): &Queued) {
        let now = millis(self.time.now());
        let left = record::end_of(&entry.meta).saturating_sub(now).min(in_millis(LONGEST));
        let Some(head) = record::head(entry).filter(|_| left > 0) else { return };
        let value = [&stamp[..], &head, &entry.body].concat();
        let mut set = redis::cmd("SET");
        set.arg(name(&entry.meta.fingerprint, entry.meta.form)).arg(value).arg("PX").arg(left);
        let _: Option<()> = self.ask(&set, PATIENCE).await;
    }
}

fn all_marks() -> redis::Cmd {
    let mut all = redis::cmd("HGETALL");
    all.arg(MARKS);
    all
}

/// Whether the store answered, though not as it was asked: it is full, or this user may not do that.
fn is_refusal(error: &RedisError) -> bool {
    !(error.is_io_error() || error.is_connection_dropped() || error.is_timeout() || error.is_unrecoverable_error())
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn name(fingerprint: &Fingerprint, form: Form) -> String {
    format!("{PREFIX}{fingerprint}:{form}")
}

#[async_trait]
impl Tier for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn is_common(&self) -> bool {
        true
    }

    async fn get(&self, fingerprint: &Fingerprint, form: Form) -> Option<Arc<Entry>> {
        let name = name(fingerprint, form);
        let found: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(&name), self.timeout).await?;
        let entry = found.and_then(|value| {
            let value = Bytes::from(value);
            let stamp = value.get(..8)?;
            let entry = record::read(&value.slice(8..))?;
            let ours = (entry.meta.fingerprint, entry.meta.form) == (*fingerprint, form);
            (ours && self.marks.load().stamp(&entry.meta) == stamp).then(|| Arc::new(entry))
        });
        self.counters.looked_up(entry.is_some());
        entry
    }

    fn put(&self, entry: &Arc<Entry>) {
        let size = entry.body.len();
        if size <= MAX_ENTRY && self.connection.load().is_some() {
            if self.queued.fetch_add(size, Relaxed) <= QUEUE_BYTES
                && self.queue.try_send((self.marks.load().stamp(&entry.meta), entry.clone())).is_ok()
            {
                return;
            }
            self.queued.fetch_sub(size, Relaxed);
        }
        self.counters.dropped.inc();
    }

    fn learn(&self, learnt: &Arc<Learnt>) {
        if self.connection.load().is_some() {
            let Learnt { model, point, .. } = &**learnt;
            let stamp = self.marks.load().stamp_named(&point.answer, point.key.as_deref(), model, &point.tags);
            if self.questions.try_send((stamp, learnt.clone())).is_ok() {
                return;
            }
        }
        self.counters.dropped.inc();
    }

    /// How many entries that are is not known: 0.
    async fn purge(&self, what: &Purge) -> Result<u64, TierError> {
        let error = || TierError { tier: "redis", message: "the store is out of reach".to_owned() };
        let now = millis(self.time.now());
        let (field, mark) = (marks::field(what), marks::new_mark(now));
        let marking = self.marking.lock().await;
        let set: Option<u64> = self.ask(redis::cmd("HSET").arg(MARKS).arg(&field).arg(&mark), PATIENCE).await;
        set.ok_or_else(error)?;
        self.marks.rcu(|marks| {
            let mut marks = Marks::clone(marks);
            marks.set(field.clone(), mark.clone());
            marks
        });
        drop(marking);
        let old = self.marks.load().older_than(now.saturating_sub(in_millis(MARK_LIFE)));
        if !old.is_empty() {
            let _: Option<u64> = self.ask(redis::cmd("HDEL").arg(MARKS).arg(old), PATIENCE).await;
        }
        Ok(0)
    }
}

#[async_trait]
impl BackgroundService for Keeper {
    async fn start(&self, _shutdown: ShutdownWatch) {
        // Not ended by a shutdown: requests that are being finished are served from it to their end.
        self.run().await;
    }
}

impl Keeper {
    /// Never ends; a second call ends at once.
    pub async fn run(&self) {
        let queues = self.queues.lock().take();
        let Some((mut queue, mut questions)) = queues else { return };
        let (mut wait, mut first) = (RETRY, true);
        loop {
            let began = Instant::now();
            match self.connect(first).await {
                Ok(()) => {
                    first = false;
                    self.keep(&mut queue, &mut questions).await;
                }
                Err(error) => log::debug!("the store: {}", error.category()),
            }
            while let Ok((_, entry)) = queue.try_recv() {
                self.redis.queued.fetch_sub(entry.body.len(), Relaxed);
                self.redis.counters.dropped.inc();
            }
            self.redis.counters.dropped.inc_by(questions.clear());
            wait = if began.elapsed() > 2 * LOOK { RETRY } else { (2 * wait).min(LAST_RETRY) };
            tokio::time::sleep(wait).await;
        }
    }

    /// `first`: what an earlier process has left on a disk was made nobody knows under which marks.
    async fn connect(&self, first: bool) -> RedisResult<()> {
        let redis = &self.redis;
        let slow = |_| RedisError::from((redis::ErrorKind::Io, "too slow"));
        let mut connection = timeout(PATIENCE, redis.server.connect()).await.map_err(slow)??;
        // Nothing is read before it is known what was purged.
        let marking = redis.marking.lock().await;
        let all = all_marks();
        let marks = timeout(PATIENCE, all.query_async(&mut connection)).await.map_err(slow)??;
        let purged = redis.now_known(marks);
        drop(marking);
        if first {
            // Marks of before then are gone.
            let oldest = redis.time.now().checked_sub(MARK_LIFE).map(|then| (Purge::All, then));
            for (what, then) in purged.into_iter().chain(oldest) {
                self.purge(&what, Some(then + SKEW)).await;
            }
        } else {
            self.purge_all(purged).await;
        }
        redis.connection.store(Some(Arc::new(connection)));
        log::info!("answers are kept in the store");
        Ok(())
    }

    /// Until the store is lost.
    async fn keep(&self, queue: &mut mpsc::Receiver<Queued>, questions: &mut Questions) {
        let redis = &self.redis;
        let mut batch = Vec::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while redis.connection.load().is_some() {
            tokio::select! {
                () = redis.lost.notified() => {}
                _ = look.tick() => {
                    let marking = redis.marking.lock().await;
                    let purged = redis.ask(&all_marks(), PATIENCE).await.map(|marks| redis.now_known(marks));
                    drop(marking);
                    self.purge_all(purged.unwrap_or_default()).await;
                    if self.talk(questions).await {
                        look.reset_immediately();
                    }
                }
                _ = queue.recv_many(&mut batch, AT_ONCE) => {
                    join_all(batch.iter().map(|queued| redis.store(queued))).await;
                    let stored = batch.drain(..).map(|(_, entry)| entry.body.len()).sum();
                    redis.queued.fetch_sub(stored, Relaxed);
                }
            }
        }
    }

    /// Hears of some questions that others have answered and tells of some that were answered here. Whether there are more.
    async fn talk(&self, questions: &mut Questions) -> bool {
        let (heard, more) = questions.hear(&self.redis).await;
        if !heard.is_empty()
            && let Some(cache) = self.cache.upgrade()
        {
            let _ = cache.semantic.learn(heard).await;
        }
        // What is there is known before any of it is trimmed.
        more || questions.tell(&self.redis).await
    }

    /// What others have purged goes here, too.
    async fn purge_all(&self, purged: Vec<(Purge, SystemTime)>) {
        for (what, _) in purged {
            self.purge(&what, None).await;
        }
    }

    async fn purge(&self, what: &Purge, then: Option<SystemTime>) {
        let Some(cache) = self.cache.upgrade() else { return };
        if let Err(error) = cache.purge_own(what, then).await {
            log::warn!("{error}");
        }
    }
}
