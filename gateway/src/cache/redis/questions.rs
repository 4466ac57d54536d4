//! Answered questions, as instances tell each other of them: a stream in the store, which each reads from its beginning and then
//! follows. It has the meanings; the answers are where all answers are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::super::record::millis;
use super::super::semantic::{Learnt, Point, Vector};
use super::marks::Marks;
use super::{MARK_LIFE, PATIENCE, Redis};

/// The stream.
const STREAM: &str = "ai-gateway:cache-questions";
/// How many there are in it, more or less: the oldest go first.
const MOST: usize = 10_000;
/// How many are read or written at once.
const BATCH: usize = 64;

/// A question to be told, and its stamp of when it was answered: what is purged meanwhile does not come back by it.
pub type Told = ([u8; 8], Arc<Learnt>);

/// What is told, and how far it has been heard.
pub struct Questions {
    told: mpsc::Receiver<Told>,
    /// Tells this instance's own ones from others.
    me: u64,
    /// Where what was not heard yet begins.
    from: String,
    /// The longest time that one of them is of use, in milliseconds.
    longest: u64,
}

/// A question as written; its vector is beside it. Times are in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Description {
    bucket: String,
    answer: String,
    form: String,
    model: Box<str>,
    key: Option<Box<str>>,
    tags: Vec<Box<str>>,
    until: u64,
    most: usize,
}

impl Questions {
    /// Those that come by `told`.
    pub fn new(told: mpsc::Receiver<Told>) -> Self {
        Self { told, me: fastrand::u64(..), from: "-".to_owned(), longest: 0 }
    }

    /// Leaves untold what was to be told; how many that are.
    pub fn clear(&mut self) -> u64 {
        std::iter::from_fn(|| self.told.try_recv().ok()).count() as u64
    }

    /// Those that others have told of since, at most a batch, and whether there may be more.
    pub async fn hear(&mut self, redis: &Redis) -> (Vec<Arc<Learnt>>, bool) {
        let mut range = redis::cmd("XRANGE");
        range.arg(STREAM).arg(&self.from).arg("+").arg("COUNT").arg(BATCH);
        let Some(rows) = redis.ask::<Vec<Value>>(&range, PATIENCE).await else { return (Vec::new(), false) };
        let (marks, now, more) = (redis.marks.load(), redis.time.now(), rows.len() == BATCH);
        let mut heard = Vec::new();
        for row in rows {
            let Ok((id, fields)) = redis::from_redis_value::<(String, HashMap<String, Vec<u8>>)>(row) else { continue };
            self.from = format!("({id}");
            let Some((from, learnt)) = read(&fields, &marks) else { continue };
            let told = id.split('-').next().and_then(|told| told.parse().ok()).unwrap_or(0);
            self.longest = self.longest.max(millis(learnt.point.until).saturating_sub(told));
            if from != self.me && learnt.point.until > now {
                heard.push(Arc::new(learnt));
            }
        }
        (heard, more)
    }

    /// Tells what is to be told, at most a batch; whether there may be more. Those whose time is over are left out of the stream.
    pub async fn tell(&mut self, redis: &Redis) -> bool {
        let told: Vec<Told> = std::iter::from_fn(|| self.told.try_recv().ok()).take(BATCH).collect();
        if told.is_empty() {
            return false;
        }
        let now = millis(redis.time.now());
        let mut all = redis::pipe();
        for (stamp, learnt) in &told {
            self.longest = self.longest.max(millis(learnt.point.until).saturating_sub(now));
            let Ok(description) = serde_json::to_vec(&Description::of(learnt)) else { continue };
            all.cmd("XADD").arg(STREAM).arg("MAXLEN").arg("~").arg(MOST).arg("*");
            all.arg("from").arg(self.me).arg("stamp").arg(stamp).arg("of").arg(description);
            all.arg("vector").arg(learnt.vector.to_bytes()).ignore();
        }
        // The stream goes by the store's clock.
        let useless = millis(SystemTime::now()).saturating_sub(self.longest);
        all.cmd("XTRIM").arg(STREAM).arg("MINID").arg("~").arg(useless).ignore();
        all.cmd("EXPIRE").arg(STREAM).arg(MARK_LIFE.as_secs()).ignore();
        if redis.ask_all(&all).await.is_none() {
            redis.counters.dropped.inc_by(told.len() as u64);
        }
        told.len() == BATCH
    }
}

/// Who tells of it, and the question; `None` if its answer was purged, or another version wrote it.
fn read(fields: &HashMap<String, Vec<u8>>, marks: &Marks) -> Option<(u64, Learnt)> {
    let from = std::str::from_utf8(fields.get("from")?).ok()?.parse().ok()?;
    let description: Description = serde_json::from_slice(fields.get("of")?).ok()?;
    let learnt = description.into_learnt(Vector::from_bytes(fields.get("vector")?)?)?;
    let Learnt { model, point, .. } = &learnt;
    let stamp = marks.stamp_named(&point.answer, point.key.as_deref(), model, &point.tags);
    (fields.get("stamp")? == &stamp).then_some((from, learnt))
}

impl Description {
    fn of(learnt: &Learnt) -> Self {
        let Learnt { model, point, most, .. } = learnt;
        Self {
            bucket: point.bucket.to_string(),
            answer: point.answer.to_string(),
            form: point.form.to_string(),
            model: (**model).into(),
            key: point.key.clone(),
            tags: point.tags.clone(),
            until: millis(point.until),
            most: *most,
        }
    }

    fn into_learnt(self, vector: Vector) -> Option<Learnt> {
        let point = Point {
            bucket: self.bucket.parse().ok()?,
            answer: self.answer.parse().ok()?,
            form: self.form.parse().ok()?,
            key: self.key,
            tags: self.tags,
            until: UNIX_EPOCH.checked_add(Duration::from_millis(self.until))?,
        };
        Some(Learnt { model: self.model.into(), point, vector: Arc::new(vector), most: self.most })
    }
}
