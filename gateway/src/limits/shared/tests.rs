//! What an instance does while it cannot reach the store. Tests with a real Redis are in `tests/tests/limits_shared.rs`.

use super::*;
use crate::limits::{Amounts, NEVER, Period};

/// Limits with a store that is never asked, one of three instances.
fn one_of_three(rule: Rule) -> (Arc<Limits>, Arc<Subject>) {
    let limits = Arc::new(Limits::new());
    let _never_run = limits
        .share_through(&RedisConfig::new("redis://127.0.0.1:1", Duration::from_millis(50)), Instance::passing())
        .unwrap();
    limits.shared.get().unwrap().instances.store(3, Ordering::Relaxed);
    let subject = limits.set(Kind::Key, "bot", &[rule]);
    (limits, subject)
}

async fn admit(limits: &Arc<Limits>, subject: &Arc<Subject>, tokens: u64) -> Option<Reservation> {
    limits.admit(vec![subject.clone()], Claim::request(Amounts { tokens, cost: 0 })).await.ok()
}

#[tokio::test]
async fn alone_it_keeps_to_its_share() {
    for (limit, passes) in [(30, 10), (32, 10), (2, 1)] {
        for what in [What::Requests, What::Concurrent, What::Tokens] {
            let (limits, bot) = one_of_three(Rule { what, period: Period::Day, limit, soft: limit });
            let mut held = Vec::new();
            while let Some(reservation) = admit(&limits, &bot, 1).await {
                held.push(reservation);
            }
            assert_eq!(held.len(), passes, "{what:?} {limit}");
        }
    }
}

#[tokio::test]
async fn what_happens_meanwhile_is_kept_to_be_told() {
    let (limits, bot) = one_of_three(Rule { what: What::Tokens, period: Period::Total, limit: 900, soft: 900 });
    let first = admit(&limits, &bot, 100).await.unwrap();
    let second = admit(&limits, &bot, 50).await.unwrap();
    let untold = || bot.meters().iter().map(|meter| (meter.unsent_reserved, meter.unsent)).collect::<Vec<_>>();
    assert_eq!(untold(), [(150, 0)]);
    first.settle(Amounts { tokens: 70, cost: 0 });
    drop(second);
    assert_eq!(untold(), [(0, 70)]);
    let shared = limits.shared.get().unwrap();
    assert_eq!(shared.take_queue(), std::slice::from_ref(&bot), "it waits once");
    assert!(shared.take_queue().is_empty());
}

#[test]
fn a_store_that_is_lost_is_lost_once() {
    let (limits, _) = one_of_three(Rule { what: What::Requests, period: Period::Total, limit: NEVER, soft: NEVER });
    let shared = limits.shared.get().unwrap();
    shared.epoch.store(4, Ordering::Relaxed);
    shared.up.store(true, Ordering::Relaxed);
    shared.lost(2, "an answer of before");
    assert!(shared.is_up());
    shared.lost(4, "gone");
    shared.lost(4, "gone");
    assert!(!shared.is_up());
    assert_eq!(shared.epoch.load(Ordering::Relaxed), 5);
    assert_ne!(shared.lease(4), shared.lease(6), "nothing of before is its own any more");
}
