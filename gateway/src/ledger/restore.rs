//! Limits and budgets know after a restart what was used before: it stands in the ledger.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ai_gateway_providers::usage::Usage;
use log::{error, info, warn};

use super::record::{Kind, Record};
use super::store::{Store, StoreError, open_read_only};
use crate::limits::{Amounts, Limits, Used};

/// Records read in one go.
const PAGE: u32 = 2_000;
/// Between two tries to read.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(1) } else { Duration::from_secs(1) };
/// Tries in a row that fail before it is given up; as many are waited until all is in the database.
const TRIES: u32 = 600;
/// What is counted of a text that is not sent as tokens.
const CHARACTERS_PER_TOKEN: u64 = 4;
/// Requests that began so long before a window may have ended in it: microseconds.
const LONGEST: i64 = 3_600_000_000;

/// What a record that was booked without its whole cost counts for, in pico-dollars.
pub type Known = dyn Fn(&Record<'_>) -> u64 + Send;

/// Reads what began at `from` (milliseconds since 1970) or later, and was booked before now, into `limits`, as soon as `caught_up` has lost
/// its other side. Returns when it is done, or after `patience`.
pub fn start(
    path: &Path,
    limits: &Arc<Limits>,
    known: Box<Known>,
    from: u64,
    caught_up: Receiver<()>,
    patience: Duration,
) {
    let restoring = Restoring::new(path, limits, known, from);
    let (running, done) = mpsc::sync_channel::<()>(0);
    let thread = thread::Builder::new().name("ledger-restore".to_owned()).spawn(move || {
        // Nothing is ever sent.
        let waited = caught_up.recv_timeout(RETRY * TRIES);
        let late = waited == Err(RecvTimeoutError::Timeout);
        if late {
            error!("what processes before this one left in the ledger's spool is not waited for any longer");
        }
        restoring.run(if late { 1 } else { TRIES });
        drop(running);
    });
    match thread {
        Err(error) => error!("what was used before cannot be read: {error}"),
        Ok(_) if done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) => {
            warn!(
                "what was used before is still being read from the ledger: until then limits and budgets have more room than is left"
            );
        }
        Ok(_) => {}
    }
}

/// While it lives, limits say that not everything is known yet.
struct Restoring {
    path: PathBuf,
    limits: Arc<Limits>,
    known: Box<Known>,
    from: i64,
    /// When this process began.
    began: i64,
}

impl Drop for Restoring {
    fn drop(&mut self) {
        self.limits.set_restoring(false);
    }
}

impl Restoring {
    fn new(path: &Path, limits: &Arc<Limits>, known: Box<Known>, from: u64) -> Self {
        limits.set_restoring(true);
        Self { path: path.to_owned(), limits: limits.clone(), known, from: micros(from), began: micros(limits.now()) }
    }

    /// The newest records come first: the shortest windows are right the soonest. After so many `tries` in a row it is given up.
    fn run(self, tries: u32) {
        let (begun, mut count, mut failed) = (Instant::now(), 0, 0);
        let mut last: Option<Record<'static>> = None;
        loop {
            let before = count;
            match self.pages(&mut last, &mut count) {
                Ok(()) => break,
                Err(error) => {
                    failed = if count > before { 1 } else { failed + 1 };
                    if failed == 1 {
                        error!("what was used before cannot be read from the ledger now: {error}");
                    }
                    if failed == tries {
                        error!("what was used before is given up: limits and budgets begin anew");
                        self.limits.begin_anew();
                        return;
                    }
                    thread::sleep(RETRY);
                }
            }
        }
        info!("limits and budgets know what {count} records have used, after {} ms", begun.elapsed().as_millis());
    }

    /// Goes on behind `last`. A page counts as a whole or not at all.
    fn pages(&self, last: &mut Option<Record<'static>>, count: &mut usize) -> Result<(), StoreError> {
        let db = open_read_only(&self.path)?;
        loop {
            let mut page = Store::newest(&db, self.from.saturating_sub(LONGEST), i64::MAX, last.as_ref(), PAGE)?;
            // What is later than now was booked before the clock was set back; nothing that this process has booked is.
            let now = micros(self.limits.now());
            for record in page.iter().filter(|record| record.at < self.began || record.at > now) {
                self.limits.restore(&used(record, &self.known));
                *count += 1;
            }
            match page.pop() {
                Some(record) => *last = Some(record),
                None => return Ok(()),
            }
        }
    }
}

/// What a record counts for. A request is let in before its first attempt, or before it gets an answer of another call.
fn used<'a>(record: &'a Record<'_>, known: &Known) -> Used<'a> {
    // Whoever was given an answer of another call took no tokens, and paid its part of that call, if any.
    let own = !matches!(record.kind, Kind::CacheHit | Kind::Shared);
    let tokens = if own { tokens(&record.usage) } else { 0 };
    let let_in = !own || (record.kind == Kind::Request && record.attempts > 0);
    let at = u64::try_from(record.at).unwrap_or(0);
    Used {
        keys: [record.key.as_deref(), record.account.as_deref()],
        team: record.team.as_deref(),
        tags: record.tags.iter().take(record.key_tags).map(|tag| &**tag).collect(),
        model: record.model.as_deref(),
        fallback: record.fallback.as_deref(),
        is_attempt: matches!(record.kind, Kind::Request | Kind::Attempt | Kind::HedgeLoser),
        amounts: Amounts { tokens, cost: record.cost.unwrap_or_else(|| known(record)) },
        at: at.saturating_add(record.duration_us) / 1000,
        let_in: let_in.then_some(at / 1000),
    }
}

/// As many as were booked: of text to be spoken, whose provider tells none, those that its characters may be.
fn tokens(usage: &Usage) -> u64 {
    let spoken = usage.characters.filter(|_| usage.told().is_none());
    spoken.map_or(usage.total().unwrap_or(0), |characters| characters.div_ceil(CHARACTERS_PER_TOKEN))
}

fn micros(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::full;
    use super::*;

    /// As while the requests came: what a client says in its own accounts is no budget's.
    #[test]
    fn only_the_tags_of_the_key_count() {
        let record = full(1);
        assert_eq!((&*record.tags[0], &*record.tags[1], record.key_tags), ("a", "prod", 1));
        assert_eq!(used(&record, &|_| 0).tags, ["a"]);
    }

    #[test]
    fn what_was_spoken_is_tokens_where_none_are_told() {
        let tokens = |usage| used(&Record { usage, kind: Kind::Request, ..full(1) }, &|_| 0).amounts.tokens;
        let spoken = Usage { characters: Some(4_001), ..Usage::default() };
        assert_eq!(tokens(spoken), 1_001);
        assert_eq!(tokens(Usage { input: Some(7), audio_output: Some(5), ..spoken }), 12);
    }

    #[test]
    fn what_was_booked_without_its_whole_cost_counts_by_what_is_known_of_it() {
        let whole = full(1);
        assert_eq!(used(&whole, &|_| 7).amounts.cost, whole.cost.unwrap());
        let part = Record { cost: None, ..full(1) };
        assert_eq!(used(&part, &|record| record.usage.input.unwrap()).amounts.cost, part.usage.input.unwrap());
    }

    #[test]
    fn an_attempt_is_a_request_of_the_model_that_was_fallen_back_on() {
        let of = |kind| {
            let record = Record { kind, ..full(1) };
            let used = used(&record, &|_| 0);
            (used.fallback.map(str::to_owned), used.let_in.is_some(), used.is_attempt)
        };
        let other = Some("other".to_owned());
        assert_eq!(of(Kind::Request), (other.clone(), true, true));
        assert_eq!(of(Kind::Attempt), (other.clone(), false, true));
        assert_eq!(of(Kind::Background), (other, false, false));
    }

    #[test]
    fn what_is_given_up_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Arc::<Limits>::default();
        let (caught_up, nobody) = mpsc::sync_channel(0);
        drop(caught_up);
        start(&dir.path().join("none.db"), &limits, Box::new(|_| 0), 0, nobody, Duration::from_secs(60));
        assert!(!limits.is_restoring() && limits.began_anew());
    }

    /// As long as the database takes nothing that others left in the spool. What it has is read.
    #[test]
    fn what_is_never_in_the_database_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        for made in [false, true] {
            let limits = Arc::<Limits>::default();
            if made {
                drop(Store::open(&path).unwrap());
            }
            let (_stuck, caught_up) = mpsc::sync_channel(0);
            start(&path, &limits, Box::new(|_| 0), 0, caught_up, Duration::from_secs(60));
            assert_eq!((limits.is_restoring(), limits.began_anew()), (false, !made));
        }
    }
}
