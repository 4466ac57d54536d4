//! What the mock has seen, for tests: counters, who left early and when, and the last request of each model.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Version};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Models that are counted by name; what comes after is counted under `(others)`.
const MODELS: usize = 5000;
/// Clients that left, kept with their times.
const ABORTS: usize = 1000;
/// Bodies up to this size are shown.
const SHOWN: usize = 64 * 1024;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) method: http::Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    authority: Option<String>,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) peer: Option<String>,
    body_len: usize,
    body: Content,
}

/// A small body is hashed when somebody asks, a large one at once so that it is not kept.
#[derive(Debug, Clone)]
enum Content {
    Small(Bytes),
    Hash(String),
}

impl Arrival {
    pub(super) fn new(header: &pingora_http::RequestHeader, peer: Option<String>, body: &Bytes) -> Self {
        Arrival {
            method: header.method.clone(),
            path: header.uri.path().to_owned(),
            query: header.uri.query().map(str::to_owned),
            authority: header.uri.authority().map(ToString::to_string),
            version: header.version,
            headers: header.headers.clone(),
            peer,
            body_len: body.len(),
            body: if body.len() <= SHOWN { Content::Small(body.clone()) } else { Content::Hash(sha256(body)) },
        }
    }

    /// For `inspect` and `/mock/last`.
    pub(super) fn describe(&self) -> Value {
        let mut headers = Map::new();
        for name in self.headers.keys() {
            let mut values: Vec<_> =
                self.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
            let value = if values.len() == 1 { json!(values.pop()) } else { json!(values) };
            headers.insert(name.as_str().to_owned(), value);
        }
        let mut all = json!({
            "method": self.method.as_str(), "path": self.path, "query": self.query, "authority": self.authority,
            "protocol": format!("{:?}", self.version), "peer": self.peer, "headers": headers, "body_len": self.body_len,
        });
        if let Some(fields) = all.as_object_mut() {
            match &self.body {
                Content::Small(body) => {
                    fields.insert("body_sha256".into(), sha256(body).into());
                    match std::str::from_utf8(body) {
                        Ok(text) => fields.insert("body".into(), text.into()),
                        Err(_) => fields.insert("body_hex".into(), hex::encode(body).into()),
                    };
                }
                Content::Hash(hash) => {
                    fields.insert("body_sha256".into(), hash.as_str().into());
                }
            }
        }
        all
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[derive(Debug)]
struct PerModel {
    requests: u64,
    aborted: u64,
    last: Arc<Arrival>,
}

#[derive(Debug)]
struct Abort {
    model: String,
    number: u64,
    at_ms: u64,
}

#[derive(Debug, Default)]
struct Records {
    models: HashMap<String, PerModel>,
    aborts: VecDeque<Abort>,
}

/// The counters of a mock.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Never reset: ids are made of it.
    numbers: AtomicU64,
    requests: AtomicU64,
    aborted: AtomicU64,
    open: AtomicU64,
    records: Mutex<Records>,
}

impl Stats {
    /// Counts a request and gives its number, and which of this model it is, from 0.
    pub(super) fn arrived(&self, model: &str, arrival: Arc<Arrival>) -> (u64, u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut records = self.records();
        let before = if let Some(known) = records.models.get_mut(model) {
            known.requests += 1;
            known.last = arrival;
            known.requests - 1
        } else {
            let name = if records.models.len() < MODELS { model } else { "(others)" };
            let entry = records.models.entry(name.to_owned()).or_insert_with(|| PerModel {
                requests: 0,
                aborted: 0,
                last: Arc::clone(&arrival),
            });
            entry.requests += 1;
            entry.last = arrival;
            entry.requests - 1
        };
        (self.numbers.fetch_add(1, Ordering::Relaxed) + 1, before)
    }

    /// A client left before the end.
    pub(super) fn left(&self, model: &str, number: u64) {
        self.aborted.fetch_add(1, Ordering::Relaxed);
        let mut records = self.records();
        if let Some(known) = records.models.get_mut(model) {
            known.aborted += 1;
        }
        if records.aborts.len() == ABORTS {
            records.aborts.pop_front();
        }
        records.aborts.push_back(Abort { model: model.to_owned(), number, at_ms: now_ms() });
    }

    /// Counts an exchange as open until the guard is dropped.
    pub(super) fn open(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    pub(super) fn reset(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.aborted.store(0, Ordering::Relaxed);
        *self.records() = Records::default();
    }

    pub(super) fn show(&self) -> Value {
        let records = self.records();
        let by_model: Map<String, Value> = records
            .models
            .iter()
            .map(|(model, m)| (model.clone(), json!({"requests": m.requests, "aborted": m.aborted})))
            .collect();
        let aborts: Vec<Value> =
            records.aborts.iter().map(|a| json!({"model": a.model, "number": a.number, "at_ms": a.at_ms})).collect();
        json!({
            "requests": self.requests.load(Ordering::Relaxed), "aborted": self.aborted.load(Ordering::Relaxed),
            "open": self.open.load(Ordering::Relaxed), "by_model": by_model, "aborts": aborts, "now_ms": now_ms(),
        })
    }

    pub(super) fn show_last(&self) -> Value {
        let records = self.records();
        Value::Object(records.models.iter().map(|(model, m)| (model.clone(), m.last.describe())).collect())
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // A panic while counting leaves counts that are a little wrong, which is no reason to stop.
        self.records.lock()
    }
}

/// An exchange that is under way.
pub(super) struct Open<'s>(&'s Stats);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
