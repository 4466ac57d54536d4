//! Sums that never pass a limit, whatever comes at once and in whatever order.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::super::*;
use super::{T, admit, amounts, limits, rule};

#[test]
fn twenty_threads_at_a_limit_of_five() {
    for what in [What::Requests, What::Concurrent, What::Tokens, What::Cost] {
        for _ in 0..50 {
            let (limits, bot) = limits(&[rule(what, Period::Day, 5)]);
            let (passed, barrier) = (AtomicUsize::new(0), std::sync::Barrier::new(20));
            let held: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..20)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            let reservation = admit(&limits, &[&bot], amounts(1, 1), T).ok();
                            passed.fetch_add(usize::from(reservation.is_some()), Relaxed);
                            reservation
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(passed.load(Relaxed), 5, "{what:?}");
            drop(held);
            assert_eq!(bot.reserved(what), 0);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin { tokens: u64, cost: u64, whose: usize },
    End { which: usize, part: u64, dropped: bool },
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..400_u64, 0..400_u64, 0..3_usize).prop_map(|(tokens, cost, whose)| Step::Begin { tokens, cost, whose }),
        3 => (0..64_usize, 0..=100_u64, any::<bool>())
            .prop_map(|(which, part, dropped)| Step::End { which, part, dropped }),
        1 => (0..40_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    /// Whatever comes in whatever order: no sum passes its limit (a budget's: by less than one request), and nothing stays
    /// reserved.
    #[test]
    fn no_sum_passes_its_limit(steps in steps()) {
        let limits = Arc::new(Limits::new());
        let rules = [
            rule(What::Requests, Period::Sliding(60_000), 20),
            rule(What::Tokens, Period::Sliding(60_000), 1_000),
            rule(What::Concurrent, Period::Total, 7),
            rule(What::Cost, Period::Hour, 2_000),
            rule(What::Cost, Period::Sliding(600_000), 3_000),
        ];
        let global = limits.set(Kind::Global, "", &rules);
        let keys: Vec<_> = ["a", "b", "c"].map(|name| limits.set(Kind::Key, name, &rules[..4])).into();
        let offset = i64::try_from(T).unwrap() - i64::try_from(limits.now()).unwrap();
        limits.offset.store(offset, Relaxed);
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Begin { tokens, cost, whose } => {
                    let subjects = [&keys[whose], &global];
                    if let Ok(reservation) = admit(&limits, &subjects, amounts(tokens, cost), limits.now()) {
                        held.push(reservation);
                    }
                }
                Step::End { which, part, dropped } if !held.is_empty() => {
                    let reservation = held.swap_remove(which % held.len());
                    let Amounts { tokens, cost } = reservation.amounts();
                    if !dropped {
                        reservation.settle(amounts(tokens * part / 100, cost * part / 100));
                    }
                }
                Step::End { .. } => {}
                Step::Pass(millis) => {
                    limits.offset.fetch_add(i64::try_from(millis).unwrap(), Relaxed);
                }
            }
            let now = limits.now();
            for usage in keys.iter().chain([&global]).flat_map(|subject| subject.usage(now)) {
                let sum = usage.booked + usage.reserved;
                let one_request = if usage.rule.what == What::Cost { 400 } else { 0 };
                // What was reserved in one window may be booked in the next: never more than the reserved sum.
                prop_assert!(sum <= usage.rule.limit + one_request, "{usage:?}");
            }
        }
        drop(held);
        for what in [What::Tokens, What::Concurrent, What::Cost] {
            prop_assert!(keys.iter().chain([&global]).all(|subject| subject.reserved(what) == 0));
        }
    }
}

/// Five hundred requests at once, some given up, some failed, some that use less than expected.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_at_once_keep_within_a_budget() {
    const LIMIT: u64 = 20_000;
    let (limits, bot) = limits(&[rule(What::Cost, Period::Total, LIMIT), rule(What::Tokens, Period::Day, 50_000)]);
    let seen = |at: &str| {
        for usage in bot.usage(limits.now()) {
            let (sum, one) = (usage.booked + usage.reserved, if usage.rule.what == What::Cost { 500 } else { 0 });
            assert!(sum < usage.rule.limit + one.max(1), "{at}: {usage:?}");
        }
    };
    let requests = (0..500_u64).map(|number| {
        let (limits, bot) = (limits.clone(), bot.clone());
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(number);
            let reserved = amounts(rng.u64(1..500), rng.u64(1..500));
            let Ok(reservation) = limits.admit(vec![bot], Claim::request(reserved)).await else { return (0, 0) };
            for _ in 0..rng.u64(0..20) {
                tokio::task::yield_now().await;
            }
            if rng.bool() {
                return (0, 0);
            }
            let used = amounts(rng.u64(0..=reserved.tokens), rng.u64(0..=reserved.cost));
            reservation.settle(used);
            (used.tokens, used.cost)
        })
    });
    let requests: Vec<_> = requests.collect();
    let mut sum = (0, 0);
    for request in requests {
        seen("while they run");
        let (tokens, cost) = request.await.unwrap();
        sum = (sum.0 + tokens, sum.1 + cost);
    }
    seen("at the end");
    let usage = bot.usage(limits.now());
    assert_eq!((usage[1].booked, usage[0].booked), sum);
    assert_eq!((usage[0].reserved, usage[1].reserved), (0, 0));
    // How many found room depends on which of them ended first.
    assert!(sum.0 > 0 && sum.1 > 0, "{sum:?}");
}
