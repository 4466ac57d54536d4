//! Bodies on their way: until it is here, a request is one of those that its key makes at the same time, and is let in as such by
//! [`Limits::admit`] only then.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::meter::{Meter, WHILE_OTHERS_RUN, What};
use super::{Kind, Limits, Refusal, Refused, Standing, Subject};

/// A body on its way. When it is dropped, that is over.
#[derive(Debug, Default)]
pub struct Upload(Vec<Arc<Subject>>);

impl Limits {
    /// Counts a body on its way at the limits on requests at the same time of these keys. Where requests may wait for room, a body
    /// waits only for others on their way, in no order: what it has not waited then, it may wait to be let in
    /// ([`Limits::admit_in_turn`]).
    ///
    /// # Errors
    /// The limit that is in the way.
    pub async fn upload(&self, keys: impl Iterator<Item = &str> + Send) -> Result<Upload, Box<Refusal>> {
        let wait = Duration::from_millis(self.wait.load(Relaxed));
        let deadline = Instant::now() + wait;
        let mut upload = Upload::default();
        for subject in keys.filter_map(|key| self.find(Kind::Key, key)) {
            loop {
                let mut freed = pin!(subject.freed.notified());
                freed.as_mut().enable();
                match subject.begin_upload(self.now(), !wait.is_zero()) {
                    Ok(true) => upload.0.push(subject.clone()),
                    Ok(false) => {}
                    Err(_) if timeout_at(deadline, freed).await.is_ok() => continue,
                    Err(refused) => return Err(Box::new(Refusal { refused, standing: Standing::default() })),
                }
                break;
            }
        }
        Ok(upload)
    }
}

impl Subject {
    /// Whether it counts here.
    fn begin_upload(self: &Arc<Self>, now: u64, waits: bool) -> Result<bool, Refused> {
        let mut meters = self.meters();
        let Some(meter) = at_once(&mut meters) else { return Ok(false) };
        let others = if waits { meter.uploads } else { meter.uploads.saturating_add(meter.used()) };
        if meter.in_force && others >= meter.rule.limit {
            let until = now.saturating_add(WHILE_OTHERS_RUN);
            return Err(Refused { subject: self.clone(), rule: meter.rule, until, is_held: true });
        }
        meter.uploads = meter.uploads.saturating_add(1);
        Ok(true)
    }
}

fn at_once(meters: &mut [Meter]) -> Option<&mut Meter> {
    meters.iter_mut().find(|meter| meter.rule.what == What::Concurrent)
}

impl Drop for Upload {
    fn drop(&mut self) {
        for subject in &self.0 {
            if let Some(meter) = at_once(&mut subject.meters()) {
                meter.uploads = meter.uploads.saturating_sub(1);
            }
            subject.freed.notify_waiters();
        }
    }
}
