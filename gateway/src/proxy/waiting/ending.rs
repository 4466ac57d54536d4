//! The end of everything that is in flight, when a process that leaves has waited long enough.
//!
//! Exchanges wait for it beside their clocks ([`Replay`](crate::proxy::replay::Replay)), so that each ends as if a clock had run out:
//! its client gets an error in its dialect, and its record is written.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Every exchange waits at one of so many, whose lock it then shares with few.
const SHARDS: usize = 16;

/// Told once, to everybody.
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    over: AtomicBool,
    next: AtomicUsize,
    shards: [Arc<Notify>; SHARDS],
}

/// Waits for the end. Made once for an exchange, and polled as often as its clocks are.
#[derive(Debug)]
pub struct End {
    ending: Ending,
    notified: Pin<Box<OwnedNotified>>,
}

impl Ending {
    /// Ends what is in flight, and what comes later.
    pub fn end(&self) {
        self.0.over.store(true, Ordering::Release);
        self.0.shards.iter().for_each(|shard| shard.notify_waiters());
    }

    /// Something that waits for it.
    pub fn wait(&self) -> End {
        let shard = &self.0.shards[self.0.next.fetch_add(1, Ordering::Relaxed) % SHARDS];
        End { ending: self.clone(), notified: Box::pin(shard.clone().notified_owned()) }
    }

    /// Resolves at the end.
    pub async fn reached(&self) {
        (&mut self.wait()).await;
    }
}

impl End {
    /// What it waits for.
    pub fn of(&self) -> &Ending {
        &self.ending
    }
}

impl Future for &mut End {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Registered first, so that an end between the two is not missed.
        let told = self.notified.as_mut().poll(context).is_ready();
        if told || self.ending.0.over.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_told_to_those_who_wait_and_those_who_come_later() {
        let ending = Ending::default();
        let mut waiting: Vec<End> = (0..2 * SHARDS).map(|_| ending.wait()).collect();
        for end in &mut waiting {
            assert!(futures::poll!(end).is_pending());
        }
        ending.end();
        for end in &mut waiting {
            end.await;
        }
        (&mut ending.wait()).await;
    }
}
