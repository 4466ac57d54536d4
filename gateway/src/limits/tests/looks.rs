//! How a request would fare, without counting it.

use std::time::Duration;

use super::super::*;
use super::{T, admit, amounts, limits, rule};

#[tokio::test]
async fn a_look_counts_nothing_and_says_what_would_be_said() {
    for what in [What::Requests, What::Tokens, What::Concurrent, What::Cost] {
        let (limits, bot) = limits(&[rule(what, Period::Day, 10)]);
        let subjects = [bot.clone()];
        let use_of = |amount| match what {
            What::Tokens => amounts(amount, 0),
            What::Cost => amounts(0, amount),
            What::Requests | What::Concurrent => amounts(0, 0),
        };
        for _ in 0..20 {
            assert!(limits.refusal(&subjects, Claim::request(use_of(1))).is_none(), "{what:?}");
        }
        assert_eq!((bot.usage(limits.now())[0].booked, bot.reserved(what)), (0, 0), "{what:?}");
        let held: Vec<_> = (0..10).map(|_| admit(&limits, &[&bot], use_of(1), limits.now()).unwrap()).collect();
        let looked = limits.refusal(&subjects, Claim::request(use_of(1))).unwrap();
        let refused = admit(&limits, &[&bot], use_of(1), limits.now()).unwrap_err();
        assert_eq!((&looked.refused.subject, looked.refused.rule), (&refused.refused.subject, refused.refused.rule));
        assert!(looked.refused.until.abs_diff(refused.refused.until) <= 2_000, "{what:?}");
        // Who is let in already holds its place.
        let counts_at_first = matches!(what, What::Requests | What::Concurrent);
        assert_eq!(limits.has_room(&subjects, Claim::more(use_of(1))), counts_at_first, "{what:?}");

        // It would wait for those that run, but not for tomorrow.
        limits.wait.store(5_000, Relaxed);
        assert_eq!(limits.refusal(&subjects, Claim::request(use_of(1))).is_some(), what == What::Requests, "{what:?}");
        drop(held);
    }
}

/// A clock that the test moves, in milliseconds since [`T`].
struct Still(AtomicU64);

impl crate::clock::Clock for Still {
    fn now(&self) -> std::time::SystemTime {
        UNIX_EPOCH + Duration::from_millis(T + self.0.load(Relaxed))
    }

    fn instant(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
}

#[test]
fn what_is_foreseen_is_what_then_is_and_counts_nothing() {
    let clock = Arc::new(Still(AtomicU64::new(0)));
    let limits = Arc::new(Limits::by(Time::of(clock.clone())));
    let rules = [
        rule(What::Requests, Period::Sliding(60_000), 8),
        rule(What::Tokens, Period::Hour, 3_000),
        rule(What::Concurrent, Period::Total, 3),
        rule(What::Cost, Period::Hour, 2_000),
    ];
    // Both tell of the same hour: of two that refuse as long, the one that was made first is told of.
    let team = limits.set(Kind::Team, "it", &rules[1..]);
    let subjects = [limits.set(Kind::Key, "bot", &rules), team];
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut held, mut seen) = (Vec::new(), HashSet::new());
    for step in 0..20_000 {
        clock.0.fetch_add(rng.u64(..10_000), Relaxed);
        let wanted = amounts(rng.u64(..800), rng.u64(..400));
        let claim = Claim::request(wanted);
        let foreseen = limits.preview(subjects.to_vec(), claim);
        assert_eq!(limits.preview(subjects.to_vec(), claim), foreseen, "{step}");
        let kinds: Vec<_> = foreseen.iter().map(|met| (met.subject.kind, met.rule.what)).collect();
        assert_eq!((kinds.len(), kinds[0], kinds[4]), (7, (Kind::Key, What::Requests), (Kind::Team, What::Tokens)));
        let full = foreseen.iter().filter_map(|met| met.until).max();
        let refusal = limits.refusal(&subjects, claim);
        match admit(&limits, &[&subjects[0], &subjects[1]], wanted, limits.now()) {
            Ok(reservation) => {
                assert!(full.is_none() && refusal.is_none(), "{step}: {foreseen:?}");
                for (before, after) in foreseen.iter().zip(limits.preview(subjects.to_vec(), claim)) {
                    assert_eq!(after.used, before.used + before.takes, "{step}: {before:?}");
                }
                held.push(reservation);
            }
            Err(refused) => {
                assert_eq!(refusal.map(|refusal| refusal.refused).as_ref(), Some(&refused.refused), "{step}");
                assert_eq!(full, Some(refused.refused.until), "{step}: {foreseen:?}");
                seen.insert((refused.refused.subject.kind, refused.refused.rule.what.as_str()));
            }
        }
        if !held.is_empty() && rng.bool() {
            let ended = held.swap_remove(rng.usize(..held.len()));
            ended.settle(wanted);
        }
    }
    assert!(seen.len() >= 4, "hardly any limit was met: {seen:?}");
}
