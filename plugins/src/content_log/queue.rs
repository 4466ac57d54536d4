//! Records on their way to the sink.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::record::Record;
use super::{Sink, Work};
use crate::{Context, Host};

/// Records that are written together.
const BATCH: usize = 64;
/// Tries of a sink, the time between them, and the longest that one may take.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// A queue bounded by bytes, and the task that empties it.
pub(super) struct Queue {
    work: Arc<Work>,
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    bytes: usize,
    /// A task is at work.
    active: bool,
    /// The sink did not take what it was given, which nobody has been told yet.
    failed: bool,
    /// The operator knows that the sink takes nothing.
    told: bool,
}

impl Queue {
    /// At most `most` bytes wait.
    pub fn new(work: Work, most: usize) -> Self {
        Self { work: Arc::new(work), most, waiting: Mutex::default() }
    }

    /// Takes a record in. `false`: there is no room, and it is lost, or the sink did not take others before it. Never waits.
    pub fn push(self: &Arc<Self>, record: Record, cx: &Context) -> bool {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
        let mut waiting = self.waiting.lock();
        if waiting.bytes + record.size > self.most {
            return false;
        }
        waiting.bytes += record.size;
        waiting.records.push_back(record);
        if !std::mem::replace(&mut waiting.active, true) {
            runtime.spawn(self.clone().empty(cx.plugin().to_owned(), cx.about().host.clone()));
        }
        !std::mem::take(&mut waiting.failed)
    }

    /// Writes until nothing waits. `plugin`: whose log it is.
    async fn empty(self: Arc<Self>, plugin: String, host: Arc<dyn Host>) {
        loop {
            let (batch, size) = {
                let mut waiting = self.waiting.lock();
                let count = waiting.records.len().min(BATCH);
                if count == 0 {
                    waiting.active = false;
                    return;
                }
                let batch: Vec<Record> = waiting.records.drain(..count).collect();
                let size: usize = batch.iter().map(|record| record.size).sum();
                (batch, size)
            };
            let work = self.work.clone();
            // Redaction computes, and files block. If it panicked the batch is lost, not the log.
            let written = tokio::task::spawn_blocking(move || {
                let lines: Vec<u8> = batch.into_iter().flat_map(|record| record.write(&work)).collect();
                match &work.sink {
                    Sink::File(path) => append(path, &lines).map(|()| Vec::new()).map_err(|error| error.to_string()),
                    Sink::Http { .. } => Ok(lines),
                }
            });
            let taken = match (written.await, &self.work.sink) {
                (Ok(Ok(lines)), Sink::Http { url, headers }) => send(&*host, url, headers, lines.into()).await,
                (Ok(written), _) => written.map(drop),
                (Err(_), _) => Err("what was to be written could not be made".to_owned()),
            };
            let mut waiting = self.waiting.lock();
            waiting.bytes -= size;
            waiting.failed |= taken.is_err();
            let told = std::mem::replace(&mut waiting.told, taken.is_err());
            drop(waiting);
            match taken {
                Err(cause) if !told => log::warn!("plugin {plugin} cannot write what it logs, which is lost: {cause}"),
                Ok(()) if told => log::warn!("plugin {plugin} writes what it logs again"),
                _ => {}
            }
        }
    }
}

fn append(path: &std::path::Path, lines: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(lines)
}

async fn send(host: &dyn Host, url: &http::Uri, headers: &http::HeaderMap, lines: Bytes) -> Result<(), String> {
    let mut attempt = 1;
    loop {
        let mut request = http::Request::new(lines.clone());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers.clone();
        let failed = match host.fetch(request, LONGEST).await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => format!("status {}", answer.status().as_u16()),
            Err(error) => error.message,
        };
        if attempt == TRIES {
            return Err(failed);
        }
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}
