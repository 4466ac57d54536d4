//! Reading answers to their end after their clients have left (`on_abort = "drain"`), so that what they consumed is what the
//! provider says it is.
//!
//! There is no reader of its own: the [replay session](crate::proxy::replay) keeps from Pingora that the client is gone and swallows
//! what is written, so that the attempt goes on as before, with its clocks and in the same task. It counts as in flight: a
//! shutdown waits for it as for any stream.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

/// Answers that are drained at a time; of others the upstream is cancelled.
const MOST: i64 = 256;
/// The most that is read of one.
pub const MOST_BYTES: usize = 16 << 20;
/// The longest that one is read.
pub const LONGEST: Duration = Duration::from_secs(120);

/// Room for answers without clients. It counts in the very gauge that the metrics show.
#[derive(Clone, Debug, Default)]
pub struct Drains(Gauge);

/// One of them; dropping it makes room for another.
#[derive(Debug)]
pub struct Draining(Gauge);

impl Drains {
    /// Room that is counted in `gauge`, which nobody else may change.
    pub fn new(gauge: Gauge) -> Self {
        Self(gauge)
    }

    /// Room for one; `None` when all is taken.
    pub fn enter(&self) -> Option<Draining> {
        // Counts itself first, so that two cannot take the last place.
        let before = self.0.inc();
        let draining = Draining(self.0.clone());
        (before < MOST).then_some(draining)
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_drained_at_a_time() {
        let drains = Drains::default();
        let mut all: Vec<_> = (0..MOST).map(|_| drains.enter().unwrap()).collect();
        assert!(drains.enter().is_none() && drains.enter().is_none());
        all.pop();
        assert!(drains.enter().is_some());
        drop(all);
        assert_eq!(drains.0.get(), 0);
    }
}
