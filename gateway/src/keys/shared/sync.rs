//! Tells the Redis what was changed here, and takes over what was changed elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use log::{debug, info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use redis::{RedisError, RedisResult, Script};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::super::{KeyError, RuntimeKeys};
use super::{Entry, Outbox, Rank};
use crate::config::RedisConfig;
use crate::limits::shared::{Connection, PATIENCE, PREFIX, Server, why};

/// Between two questions for what was changed elsewhere.
const ASK: Duration = Duration::from_millis(250);
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(200);
/// Keys in one message.
const BATCH: usize = 500;

static PUSH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("push.lua")));
static FORGET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("forget.lua")));

/// Keeps the keys of this instance and those of the Redis the same; runs as long as the process.
pub struct SharedKeys {
    keys: Arc<RuntimeKeys>,
    server: Server,
    outbox: Arc<Outbox>,
}

/// What was heard of the Redis so far.
#[derive(Default)]
struct Heard {
    /// What its memory is called: another name, or none, and it has lost what it knew.
    memory: Option<String>,
    revision: u64,
}

/// Why the two are not the same for now.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the Redis is out of reach ({})", why(.0))]
    Redis(#[from] RedisError),
    #[error("the Redis does not answer")]
    Silent,
    #[error("the Redis has lost its memory")]
    Forgot,
    #[error("{0}")]
    Keys(#[from] KeyError),
    #[error("the gateway is leaving")]
    Leaving,
}

#[async_trait]
impl BackgroundService for SharedKeys {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl SharedKeys {
    /// The keys `keys`, in the Redis of `config`.
    ///
    /// # Errors
    /// The URL is not one of a Redis.
    pub fn new(config: &RedisConfig, keys: Arc<RuntimeKeys>) -> RedisResult<Self> {
        let outbox = keys.outbox.get_or_init(Arc::default).clone();
        Ok(Self { server: Server::new(config)?, keys, outbox })
    }

    async fn run(&self) {
        let mut told = false;
        loop {
            let failed = match self.share().await {
                Ok(never) => match never {},
                Err(failed) => failed,
            };
            match failed {
                (true, failed) => {
                    warn!("keys changed elsewhere are not known for now: {failed}");
                    told = true;
                }
                (false, failed) if !told => {
                    warn!("keys are not shared yet: {failed}");
                    told = true;
                }
                (false, failed) => debug!("keys: {failed}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Shares until something fails. Says with it whether anything was shared.
    async fn share(&self) -> Result<std::convert::Infallible, (bool, Failed)> {
        let (mut connection, mut heard) = self.connect().await.map_err(|failed| (false, failed))?;
        loop {
            let _ = timeout(ASK, self.outbox.wake.notified()).await;
            let names = self.outbox.take();
            let turn = async {
                if !names.is_empty() {
                    let keys = self.keys.clone();
                    let entries =
                        spawn_blocking(move || keys.entries(Some(&names))).await.map_err(|_| Failed::Leaving)?;
                    push(&mut connection, &entries).await?;
                }
                self.merge(pull(&mut connection, &mut heard).await?).await
            };
            // What was not told is told when all is compared.
            turn.await.map_err(|failed| (true, failed))?;
        }
    }

    /// Connects, takes over all that is there and tells all that is missing there.
    async fn connect(&self) -> Result<(Connection, Heard), Failed> {
        let mut connection = self.server.connect().await?;
        let mut heard = Heard::default();
        let there = pull(&mut connection, &mut heard).await?;
        let oldest = self.keys.oldest();
        let (over, there): (Vec<Entry>, Vec<Entry>) =
            there.into_iter().partition(|entry| entry.deletion().is_some_and(|deleted| deleted.changed < oldest));
        forget(&mut connection, &over, oldest).await?;
        let ranks: HashMap<String, Rank> = there.iter().map(|entry| (entry.name.clone(), entry.rank())).collect();
        self.merge(there).await?;
        let keys = self.keys.clone();
        let all = spawn_blocking(move || keys.entries(None)).await.map_err(|_| Failed::Leaving)?;
        let lacks = |entry: &Entry| ranks.get(&entry.name).is_none_or(|rank| *rank < entry.rank());
        let missing: Vec<Entry> = all.into_iter().filter(lacks).collect();
        push(&mut connection, &missing).await?;
        info!("keys are shared: {} are there, {} were missing there", ranks.len(), missing.len());
        Ok((connection, heard))
    }

    async fn merge(&self, entries: Vec<Entry>) -> Result<(), Failed> {
        if entries.is_empty() {
            return Ok(());
        }
        let keys = self.keys.clone();
        Ok(spawn_blocking(move || keys.merge(entries)).await.map_err(|_| Failed::Leaving)??)
    }
}

/// What has come since, all of it at once: a key may have come before the one that made it.
async fn pull(connection: &mut Connection, heard: &mut Heard) -> Result<Vec<Entry>, Failed> {
    let [hash, order, revision] = names();
    // One that changes meanwhile comes a second time.
    let mut entries = HashMap::new();
    loop {
        let mut ask = redis::pipe();
        ask.hget(&hash, "").get(&revision);
        ask.cmd("ZRANGEBYSCORE").arg(&order).arg(format!("({}", heard.revision)).arg("+inf").arg("WITHSCORES");
        ask.arg("LIMIT").arg(0).arg(BATCH);
        type Answer = (Option<String>, Option<u64>, Vec<(String, u64)>);
        let (memory, revision, page): Answer = patient(ask.query_async(connection)).await?;
        if revision.unwrap_or(0) < heard.revision || heard.memory.is_some() && heard.memory != memory {
            return Err(Failed::Forgot);
        }
        heard.memory = memory;
        let Some((_, last)) = page.last() else { return Ok(entries.into_values().collect()) };
        heard.revision = *last;
        let mut get = redis::cmd("HMGET");
        get.arg(&hash).arg(page.iter().map(|(name, _)| name).collect::<Vec<_>>());
        let texts: Vec<Option<String>> = patient(get.query_async(connection)).await?;
        for text in texts.into_iter().flatten() {
            match serde_json::from_str::<Entry>(&text) {
                Ok(entry) => _ = entries.insert(entry.name.clone(), entry),
                Err(error) => warn!("a key of the Redis cannot be read: {error}"),
            }
        }
    }
}

/// Has the Redis forget what was deleted before `oldest`.
async fn forget(connection: &mut Connection, over: &[Entry], oldest: u64) -> Result<(), Failed> {
    let [hash, order, _] = names();
    for batch in over.chunks(BATCH) {
        let mut call = FORGET.prepare_invoke();
        call.key(&hash).key(&order).arg(oldest);
        for entry in batch {
            call.arg(&entry.name);
        }
        let _: u64 = patient(call.invoke_async(connection)).await?;
    }
    Ok(())
}

async fn push(connection: &mut Connection, entries: &[Entry]) -> Result<(), Failed> {
    for batch in entries.chunks(BATCH) {
        let mut call = PUSH.prepare_invoke();
        for name in names() {
            call.key(name);
        }
        call.arg(format!("{:016x}", fastrand::u64(..)));
        for entry in batch {
            // Texts and numbers have no values that JSON could not hold.
            let text = serde_json::to_string(entry).unwrap_or_default();
            call.arg(&entry.name).arg(text);
        }
        let _: u64 = patient(call.invoke_async(connection)).await?;
    }
    Ok(())
}

async fn patient<T>(answer: impl Future<Output = RedisResult<T>>) -> Result<T, Failed> {
    Ok(timeout(PATIENCE, answer).await.map_err(|_| Failed::Silent)??)
}

/// The keys by name, the names by revision, and the revision: one slot of a cluster.
fn names() -> [String; 3] {
    ["keys", "keys:order", "keys:revision"].map(|name| format!("{PREFIX}:{name}"))
}
