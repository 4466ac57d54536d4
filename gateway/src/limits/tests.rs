//! Limits in one process: exactness, reservations, windows, waiting.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use proptest::prelude::*;

use super::*;

const T: u64 = 1_764_092_000_000;

fn rule(what: What, period: Period, limit: u64) -> Rule {
    Rule { what, period, limit, soft: limit }
}

fn amounts(tokens: u64, cost: u64) -> Amounts {
    Amounts { tokens, cost }
}

fn limits(rules: &[Rule]) -> (Arc<Limits>, Arc<Subject>) {
    let limits = Arc::new(Limits::new());
    let subject = limits.set(Kind::Key, "bot", rules);
    (limits, subject)
}

fn admit(
    limits: &Arc<Limits>,
    subjects: &[&Arc<Subject>],
    amounts: Amounts,
    now: u64,
) -> Result<Reservation, Box<Refusal>> {
    let places = subject::places(subjects.iter().map(|subject| Arc::clone(subject)).collect());
    limits.enter(places, Claim::request(amounts), Some(1), now)
}

async fn in_turn(
    limits: &Arc<Limits>,
    subject: &Arc<Subject>,
    amounts: Amounts,
    priority: u32,
) -> Result<Reservation, Box<Refusal>> {
    limits.admit_in_turn(vec![subject.clone()], Claim::request(amounts), priority, Duration::ZERO).await
}

fn until(refused: Result<Reservation, Box<Refusal>>) -> u64 {
    refused.unwrap_err().refused.until
}

#[test]
fn requests_count_when_they_come_and_for_the_whole_window() {
    let (limits, bot) = limits(&[rule(What::Requests, Period::Sliding(60_000), 5)]);
    for step in 0..5 {
        drop(admit(&limits, &[&bot], amounts(0, 0), T + step * 1_000).unwrap());
    }
    let at = until(admit(&limits, &[&bot], amounts(0, 0), T + 5_000));
    assert!((T + 60_000..=T + 61_000).contains(&at), "{}", at - T);
    assert_eq!(until(admit(&limits, &[&bot], amounts(0, 0), at - 1)), at);
    admit(&limits, &[&bot], amounts(0, 0), at).unwrap();
    let next = until(admit(&limits, &[&bot], amounts(0, 0), at));
    assert!((at + 1..=at + 1_000).contains(&next), "room for one comes back");
}

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

#[test]
fn a_refusal_counts_nowhere() {
    let limits = Arc::new(Limits::new());
    let narrow = limits.set(Kind::Team, "t", &[rule(What::Requests, Period::Day, 1)]);
    let wide =
        limits.set(Kind::Key, "k", &[rule(What::Requests, Period::Day, 9), rule(What::Tokens, Period::Day, 100)]);
    let first = admit(&limits, &[&narrow, &wide], amounts(10, 0), T).unwrap();
    let refused = admit(&limits, &[&wide, &narrow], amounts(10, 0), T).unwrap_err().refused;
    assert_eq!((refused.subject.kind, refused.rule.what), (Kind::Team, What::Requests));
    assert_eq!(wide.usage(T)[0].booked, 1);
    assert_eq!(wide.usage(T)[1].reserved, 10);
    first.settle(amounts(3, 0));
    assert_eq!((wide.usage(T)[1].booked, wide.usage(T)[1].reserved), (3, 0));
}

#[test]
fn a_budget_lets_in_while_anything_is_left() {
    let (limits, bot) = limits(&[rule(What::Cost, Period::Month, 100)]);
    let first = admit(&limits, &[&bot], amounts(0, 99), T).unwrap();
    let second = admit(&limits, &[&bot], amounts(0, 50), T).unwrap();
    assert!(admit(&limits, &[&bot], amounts(0, 0), T).is_err());
    drop(second);
    first.settle(amounts(0, 40));
    assert_eq!(bot.usage(limits.now())[0].booked, 40);
    // What it costs is booked by the clock of the process.
    let now = limits.now();
    let third = admit(&limits, &[&bot], amounts(0, 61), now).unwrap();
    let at = until(admit(&limits, &[&bot], amounts(0, 1), now));
    // 40 are booked, 61 reserved: one too many with the one that each needs, and 61 may come back.
    assert_eq!(at, now + 1_000, "requests that run may give it back long before the month ends");
    third.settle(amounts(0, 10));
    assert!(admit(&limits, &[&bot], amounts(0, 1), now).is_ok());
    // 50 and 55 are booked, 5 reserved: eleven too many, of which 5 may come back.
    let fourth = admit(&limits, &[&bot], amounts(0, 5), now).unwrap();
    bot.meters()[0].book(55, now);
    assert_eq!(until(admit(&limits, &[&bot], amounts(0, 1), now)), Period::Month.ends(now));
    drop(fourth);
}

#[test]
fn a_total_budget_that_is_used_up_never_comes_back() {
    let (limits, bot) = limits(&[rule(What::Cost, Period::Total, 100)]);
    assert_eq!(limits.restores_from(), Some(0));
    let used = Used { keys: [Some("bot"), None], amounts: amounts(0, 100), at: 1, ..Used::default() };
    limits.restore(&used);
    assert_eq!(until(admit(&limits, &[&bot], amounts(0, 1), T)), NEVER);
}

/// What was used before counts until the same moment as if this process had seen it, whatever order it is told in.
#[test]
fn what_was_used_before_counts_as_long_as_it_would_have() {
    let windows = [Period::Sliding(60_000), Period::Sliding(86_400_000), Period::Hour, Period::Day, Period::Month];
    for (what, period) in
        [What::Tokens, What::Requests].into_iter().flat_map(|what| windows.map(|window| (what, window)))
    {
        let (seen, bot) = limits(&[rule(what, period, 1_000)]);
        let (told, other) = limits(&[rule(what, period, 1_000)]);
        let now = seen.now();
        let past = [0, 1_000, 59_000, 61_000, 3_000_000, 80_000_000, 90_000_000, 3_000_000_000].map(|ago| now - ago);
        let in_order: Vec<(u64, u64)> = (1..).zip(past).collect();
        for (amount, at) in in_order.iter().rev() {
            bot.meters()[0].book(if what == What::Requests { 1 } else { *amount }, *at);
        }
        for (amount, at) in (1..).zip(past) {
            // A request counts when it came, tokens when it ended.
            let (at, let_in) = if what == What::Requests { (now, Some(at)) } else { (at, None) };
            told.restore(&Used {
                keys: [None, Some("bot")],
                amounts: amounts(amount, 0),
                at,
                let_in,
                ..Used::default()
            });
        }
        bot.meters()[0].advance(now);
        let of = |subject: &Subject| {
            let mut meters = subject.meters();
            [0, 30_000, 1_800_000, 50_000_000].map(|later| {
                meters[0].advance(now + later);
                meters[0].booked()
            })
        };
        assert_eq!(of(&bot), of(&other), "{what:?} {period}");
    }
}

#[test]
fn a_request_larger_than_the_limit_passes_alone() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Sliding(1_000), 100)]);
    let large = admit(&limits, &[&bot], amounts(1_000, 0), T).unwrap();
    assert!(admit(&limits, &[&bot], amounts(1, 0), T).is_err());
    drop(large);
    drop(admit(&limits, &[&bot], amounts(1, 0), T).unwrap());
    assert_eq!(bot.reserved(What::Tokens), 0);
}

#[test]
fn absurd_numbers_count_as_large_ones() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Day, 100), rule(What::Cost, Period::Total, u64::MAX / 2)]);
    for _ in 0..10_000 {
        let Ok(held) = admit(&limits, &[&bot], amounts(u64::MAX, u64::MAX), limits.now()) else { break };
        held.settle(amounts(0, u64::MAX));
    }
    let usage = bot.usage(limits.now());
    assert_eq!((usage[0].reserved, usage[1].reserved), (0, 0));
    assert!(usage[1].booked >= u64::MAX / 2);
    assert!(admit(&limits, &[&bot], amounts(1, 1), limits.now()).is_err());
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let (limits, bot) = limits(&[rule(What::Concurrent, Period::Total, 2), rule(What::Tokens, Period::Day, 100)]);
    let held = admit(&limits, &[&bot], amounts(30, 0), T).unwrap();
    // One limit goes, one is narrower, one is new.
    assert!(Arc::ptr_eq(
        &bot,
        &limits.set(Kind::Key, "bot", &[rule(What::Tokens, Period::Day, 50), rule(What::Tokens, Period::Hour, 60)])
    ));
    assert_eq!(bot.usage(T).len(), 2);
    assert!(admit(&limits, &[&bot], amounts(21, 0), T).is_err());
    let other = admit(&limits, &[&bot], amounts(20, 0), T).unwrap();
    limits.set(Kind::Key, "bot", &[rule(What::Concurrent, Period::Total, 2), rule(What::Tokens, Period::Day, 100)]);
    assert!(admit(&limits, &[&bot], amounts(1, 0), T).is_err(), "both are still under way");
    held.settle(amounts(5, 0));
    other.settle(amounts(6, 0));
    let now = limits.now();
    let usage = bot.usage(now);
    assert_eq!((usage[0].reserved, usage[1].reserved, usage[1].booked), (0, 0, 11));
    limits.set(Kind::Key, "bot", &[rule(What::Tokens, Period::Hour, 60)]);
    assert_eq!(
        (bot.usage(now)[0].reserved, bot.usage(now)[0].booked),
        (0, 11),
        "it never knew of the first one's estimate"
    );
}

#[test]
fn what_the_client_is_told() {
    let (limits, bot) = limits(&[
        rule(What::Requests, Period::Sliding(60_000), 10),
        rule(What::Requests, Period::Day, 3),
        rule(What::Tokens, Period::Sliding(60_000), 1_000),
        Rule { soft: 80, ..rule(What::Cost, Period::Month, 100) },
    ]);
    let header = |name, value: &str| (HeaderName::from_static(name), value.to_owned());
    let told = |standing: Standing| -> Vec<(HeaderName, String)> {
        let mut headers = HeaderMap::new();
        standing.tell(&mut headers);
        headers.iter().map(|(name, value)| (name.clone(), value.to_str().unwrap().to_owned())).collect()
    };
    let held = admit(&limits, &[&bot], amounts(100, 79), T).unwrap();
    let headers = told(held.standing);
    assert_eq!(headers[0], header("x-ratelimit-limit-requests", "3"));
    assert_eq!(headers[1], header("x-ratelimit-remaining-requests", "2"));
    assert_eq!(headers[3], header("x-ratelimit-limit-tokens", "1000"));
    assert_eq!(headers[4], header("x-ratelimit-remaining-tokens", "900"));
    assert_eq!(headers.len(), 6, "the soft mark is not reached: {headers:?}");
    let second = admit(&limits, &[&bot], amounts(1, 4), T).unwrap();
    assert_eq!(told(second.standing).len(), 6, "nothing is used yet");
    held.settle(amounts(100, 80));
    let third = admit(&limits, &[&bot], amounts(1, 4), limits.now()).unwrap();
    assert_eq!(told(third.standing).last(), Some(&header("x-gateway-budget-used", "0.800")));
}

#[test]
fn a_budget_that_is_only_reserved_is_not_used_up() {
    let (limits, bot) = limits(&[rule(What::Cost, Period::Total, 100)]);
    let [first, second] = [30, 120].map(|cost| admit(&limits, &[&bot], amounts(1, cost), limits.now()).unwrap());
    let refused = |now| admit(&limits, &[&bot], amounts(1, 1), now).unwrap_err().refused;
    assert!(refused(limits.now()).is_held);
    first.settle(amounts(1, 99));
    assert!(refused(limits.now()).is_held);
    second.settle(amounts(1, 1));
    assert!(!refused(limits.now()).is_held);
}

#[test]
fn a_soft_mark_warns_once_in_its_time() {
    let mut meter = meter::Meter::new(Rule { soft: 80, ..rule(What::Cost, Period::Day, 100) });
    meter.enter(90, T, false);
    meter.spend(79, T);
    assert!(!meter.warns(meter.booked(), T));
    meter.spend(1, T);
    assert!(meter.warns(80, T) && !meter.warns(80, T) && !meter.warns(80, Period::Day.ends(T) - 1));
    assert!(meter.warns(80, Period::Day.ends(T)));
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

#[tokio::test]
async fn who_waits_goes_by_priority() {
    let (limits, bot) = limits(&[rule(What::Concurrent, Period::Total, 1)]);
    limits.wait.store(60_000, Relaxed);
    let first = in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (number, priority) in [(1, 0), (2, 5), (3, 0), (4, 9)] {
        let (limits_of_it, bot, order) = (limits.clone(), bot.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let held = in_turn(&limits_of_it, &bot, amounts(0, 0), priority).await.unwrap();
            order.lock().unwrap().push(number);
            drop(held);
        }));
        while limits.queues.len() < tasks.len() {
            tokio::task::yield_now().await;
        }
    }
    drop(first);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [4, 2, 1, 3]);
    assert_eq!(limits.queues.len(), 0);
}

/// Whoever raises a limit does it for those who wait, and for those who would queue up behind them.
#[tokio::test(start_paused = true)]
async fn a_raised_limit_lets_those_in_who_wait() {
    let rules = [rule(What::Requests, Period::Sliding(3_600_000), 1)];
    for raised in [&[rule(What::Requests, Period::Sliding(3_600_000), 3)][..], &[]] {
        let (limits, bot) = limits(&rules);
        limits.wait.store(7_200_000, Relaxed);
        in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap().settle(amounts(0, 0));
        let (waits, subject) = (limits.clone(), bot.clone());
        let began = tokio::time::Instant::now();
        let waiting = tokio::spawn(async move { in_turn(&waits, &subject, amounts(0, 0), 0).await.map(drop) });
        while limits.queues.len() < 1 {
            tokio::task::yield_now().await;
        }
        bot.set_rules(raised);
        waiting.await.unwrap().unwrap();
        drop(in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap());
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }
}

/// What requests under way reserve is not enough room, and the rest has yet to end.
#[test]
fn room_for_a_large_request_is_not_told_too_early() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Sliding(60_000), 100)]);
    admit(&limits, &[&bot], amounts(0, 0), T).unwrap().settle(amounts(10, 0));
    let _running = admit(&limits, &[&bot], amounts(20, 0), limits.now()).unwrap();
    let now = limits.now();
    assert!(until(admit(&limits, &[&bot], amounts(90, 0), now)) <= now + 1_000, "20 may come back");
    assert!(until(admit(&limits, &[&bot], amounts(95, 0), now)) > now + 50_000, "25 may not, before 5 have ended");
}

/// A request larger than the whole limit is let in where nothing else counts. It does not wait for that, so that those behind it
/// do not either.
#[tokio::test]
async fn what_is_too_large_does_not_wait() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Sliding(60_000), 100)]);
    limits.wait.store(60_000, Relaxed);
    let running = in_turn(&limits, &bot, amounts(50, 0), 0).await.unwrap();
    let begun = tokio::time::Instant::now();
    for _ in 0..2 {
        assert!(limits.refusal(std::slice::from_ref(&bot), Claim::request(amounts(101, 0))).is_some());
        assert!(in_turn(&limits, &bot, amounts(101, 0), 0).await.is_err());
        assert_eq!(limits.queues.len(), 0);
        drop(in_turn(&limits, &bot, amounts(50, 0), 0).await.unwrap());
    }
    // Also where it comes to the head of those who wait.
    let held = in_turn(&limits, &bot, amounts(50, 0), 0).await.unwrap();
    let enter = |tokens| {
        let (limits, bot) = (limits.clone(), bot.clone());
        tokio::spawn(async move { in_turn(&limits, &bot, amounts(tokens, 0), 0).await.map(drop) })
    };
    let waiting = [enter(1), enter(1)];
    while limits.queues.len() < 2 {
        tokio::task::yield_now().await;
    }
    let too_large = enter(101);
    while limits.queues.len() < 3 {
        tokio::task::yield_now().await;
    }
    drop((held, running));
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    // By then nothing else may count: it is let in or refused, and nobody waits.
    _ = too_large.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(limits.queues.len(), 0);
}

#[tokio::test]
async fn a_wait_ends() {
    let (limits, bot) = limits(&[rule(What::Concurrent, Period::Total, 1), rule(What::Requests, Period::Day, 1)]);
    limits.wait.store(500, Relaxed);
    let _held = in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap();
    let begun = tokio::time::Instant::now();
    let refusal = in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap_err();
    assert_eq!(refusal.refused.rule.what, What::Requests);
    assert!(begun.elapsed() < Duration::from_millis(500), "no wait helps");
    limits.set(Kind::Key, "bot", &[rule(What::Concurrent, Period::Total, 1)]);
    assert!(in_turn(&limits, &bot, amounts(0, 0), 0).await.is_err());
    assert!(begun.elapsed() >= Duration::from_millis(500));
    // What was waited before is a part of it.
    limits.wait.store(u64::MAX / 2, Relaxed);
    let waited = Duration::from_millis(u64::MAX / 2);
    assert!(limits.admit_in_turn(vec![bot], Claim::request(amounts(0, 0)), 0, waited).await.is_err());
    assert_eq!(limits.queues.len(), 0);
}

/// One that was let in and then has to make a call: at a limit of one at a time, with others waiting for its end.
#[tokio::test]
async fn what_is_let_in_first_and_extended_later_counts_once() {
    let rules = [rule(What::Requests, Period::Day, 2), rule(What::Concurrent, Period::Total, 1)];
    let (limits, bot) = limits(&[&rules[..], &[rule(What::Tokens, Period::Day, 100)]].concat());
    let used = || bot.usage(limits.now()).iter().map(|usage| (usage.booked, usage.reserved)).collect::<Vec<_>>();
    limits.wait.store(60_000, Relaxed);
    let first = in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap();
    let (waiting, subject) = (limits.clone(), bot.clone());
    let next = tokio::spawn(async move { in_turn(&waiting, &subject, amounts(0, 0), 9).await });
    while limits.queues.len() < 1 {
        tokio::task::yield_now().await;
    }
    let begun = tokio::time::Instant::now();
    let more = limits.admit_in_turn(vec![bot.clone()], Claim::more(amounts(40, 0)), 0, Duration::ZERO).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "it does not wait for those who wait for it");
    assert_eq!(used(), [(1, 0), (0, 1), (0, 40)]);
    more.after(Some(first)).settle(amounts(30, 0));
    let next = next.await.unwrap().unwrap();
    assert_eq!(used(), [(2, 0), (0, 1), (30, 0)]);

    // Refused, it keeps what it has until it ends.
    limits.wait.store(0, Relaxed);
    bot.meters()[2].book(70, limits.now());
    let refusal =
        limits.admit_in_turn(vec![bot.clone()], Claim::more(amounts(1, 0)), 0, Duration::ZERO).await.unwrap_err();
    assert_eq!(refusal.refused.rule.what, What::Tokens);
    assert_eq!(used(), [(2, 0), (0, 1), (100, 0)]);
    drop(next);
    assert_eq!(used(), [(2, 0), (0, 0), (100, 0)]);
}

#[test]
fn a_clock_that_is_set_back_freezes_nothing() {
    const HOUR: u64 = 3_600_000;
    let mut meter = meter::Meter::new(rule(What::Tokens, Period::Sliding(HOUR), 100));
    meter.book(7, T);
    meter.book(20, T + 30 * 60_000);
    // Two threads, of which the one that read the clock first comes last.
    meter.advance(T + 30 * 60_000 - 500);
    assert_eq!(meter.last_end(), Some(Period::Sliding(HOUR).ends(T + 30 * 60_000)));
    // Ten hours back: all of it counts one more window, by the clock that goes now.
    let back = T - 10 * HOUR;
    meter.book(3, back);
    assert_eq!((meter.booked(), meter.last_end()), (30, Some(Period::Sliding(HOUR).ends(back))));
    meter.book(5, back + HOUR / 2);
    assert_eq!(meter.booked(), 35);
    meter.advance(back + HOUR + 60_000);
    assert_eq!(meter.booked(), 5, "what is counted since ends on its own");
    meter.advance(back + 2 * HOUR);
    assert_eq!((meter.booked(), meter.last_end()), (0, None));
}

#[test]
fn a_store_is_told_until_when_it_counts() {
    let mut meter = meter::Meter::new(rule(What::Cost, Period::Sliding(60_000), 100));
    let ends = |at| Period::Sliding(60_000).ends(at);
    for (amount, at) in [(10, T), (20, T + 20_000), (30, T + 40_000)] {
        meter.spend(amount, at);
    }
    // The store has heard of the first ten.
    meter.unsent -= 10;
    assert_eq!(meter.take_unsent(T + 40_000), [(ends(T + 40_000), 30), (ends(T + 20_000), 20)]);
    assert!(meter.take_unsent(T + 40_000).is_empty());
    // It was out of reach for longer than the window: nothing that has ended is told into the next one.
    meter.spend(40, T + 41_000);
    assert!(meter.take_unsent(T + 200_000).is_empty());
    meter.spend(50, T + 200_000);
    assert_eq!(meter.take_unsent(T + 200_000), [(ends(T + 200_000), 50)]);
}

#[test]
fn what_only_requests_under_way_use_is_reset_soon() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Day, 100)]);
    let held = admit(&limits, &[&bot], amounts(100, 0), T).unwrap();
    let mut headers = HeaderMap::new();
    held.standing.tell(&mut headers);
    assert_eq!(headers["x-ratelimit-remaining-tokens"], "0");
    assert_eq!(headers["x-ratelimit-reset-tokens"], "1s");
}

/// Who waits at one subject and is refused by another goes there, and lets those go on who wait for the first alone.
#[tokio::test]
async fn who_is_refused_elsewhere_waits_there() {
    let limits = Arc::new(Limits::new());
    let [team, busy, idle] = [(Kind::Team, "t"), (Kind::Key, "busy"), (Kind::Key, "idle")]
        .map(|(kind, name)| limits.set(kind, name, &[rule(What::Concurrent, Period::Total, 1)]));
    limits.wait.store(60_000, Relaxed);
    let enter = |subjects: &[&Arc<Subject>]| {
        let (limits, subjects) = (limits.clone(), subjects.iter().map(|subject| Arc::clone(subject)).collect());
        tokio::spawn(async move {
            limits.admit_in_turn(subjects, Claim::request(amounts(0, 0)), 0, Duration::ZERO).await.unwrap()
        })
    };
    let (of_team, of_busy) = (enter(&[&team]).await.unwrap(), enter(&[&busy]).await.unwrap());
    let head = enter(&[&team, &busy]);
    while limits.queues.len() < 1 {
        tokio::task::yield_now().await;
    }
    let behind = enter(&[&team, &idle]);
    while limits.queues.len() < 2 {
        tokio::task::yield_now().await;
    }
    drop(of_team);
    let begun = tokio::time::Instant::now();
    drop(behind.await.unwrap());
    assert!(begun.elapsed() < Duration::from_secs(30), "not at its deadline");
    drop(of_busy);
    drop(head.await.unwrap());
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(limits.queues.len(), 0);
}

#[tokio::test]
async fn nobody_overtakes_a_full_queue() {
    let (limits, bot) = limits(&[rule(What::Concurrent, Period::Total, 1)]);
    limits.wait.store(60_000, Relaxed);
    let held = in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap();
    let _queue: Vec<_> = (0..1_000).map(|_| limits.queues.join(&bot, (false, 0)).unwrap()).collect();
    drop(held);
    let refusal = in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap_err();
    assert_eq!(refusal.refused.rule.what, What::Concurrent);
    assert_eq!(bot.reserved(What::Concurrent), 0);
    // What nobody has to wait for any more is open to all.
    limits.set(Kind::Key, "bot", &[]);
    in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap();
}

#[test]
fn what_is_done_anyway_counts_at_its_target() {
    let limits = Arc::new(Limits::new());
    let target = limits.set(Kind::Target, "p/m", &[rule(What::Requests, Period::Day, 1)]);
    let _first = limits.begin(vec![target.clone()], Claim::request(amounts(0, 0))).unwrap();
    assert!(limits.begin(vec![target.clone()], Claim::request(amounts(0, 0))).is_none());
    let _half = limits.begin_anyway(vec![target.clone()], Claim::request(amounts(0, 0))).unwrap();
    assert_eq!(target.usage(limits.now())[0].booked, 2);
}

/// What an attempt has used may be known long after it has ended.
#[test]
fn who_has_made_room_is_not_there_and_holds_the_rest() {
    let limits = Arc::new(Limits::new());
    let rules = [rule(What::Concurrent, Period::Day, 1), rule(What::Tokens, Period::Day, 9)];
    let target = limits.set(Kind::Target, "p/m", &rules);
    let begin = || limits.begin(vec![target.clone()], Claim::request(amounts(4, 0)));
    let mut first = begin().unwrap();
    assert!(begin().is_none());
    first.make_room();
    first.make_room();
    let second = begin().unwrap();
    assert!(begin().is_none());
    first.settle(amounts(3, 0));
    let used = |at: usize| (target.usage(limits.now())[at].booked, target.usage(limits.now())[at].reserved);
    assert_eq!((used(0), used(1)), ((0, 1), (3, 4)));
    drop(second);
    assert_eq!((used(0), used(1)), ((0, 0), (3, 0)));
}

/// In two places with other limits, and in a third one with none: they are the target's, not the place's.
#[test]
fn a_target_in_several_places_has_one_set_of_limits() {
    let text = "[providers.p]\nkind = \"anthropic\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"x\"\n\
                [models.a]\ntargets = [{ provider = \"p\", model = \"m\", rpm = 5, tpm = 900 }]\n\
                [models.b]\ntargets = [{ provider = \"p\", model = \"m\", rpm = 9 }]\n\
                [models.c]\ntargets = [{ provider = \"p\", model = \"m\" }]\n";
    let loaded = crate::config::Config::parse(text, "test.toml", &crate::config::System).unwrap();
    let snapshot = crate::snapshot::Snapshot::of(&loaded.config);
    let of = |model: &str| snapshot.model(model).unwrap().targets[0].limits.clone().unwrap();
    assert!(Arc::ptr_eq(&of("a"), &of("b")) && Arc::ptr_eq(&of("a"), &of("c")));
    let mut limits: Vec<_> =
        of("c").usage(T).iter().map(|usage| (usage.rule.what.as_str(), usage.rule.limit)).collect();
    limits.sort_unstable();
    assert_eq!(limits, [("requests", 5), ("tokens", 900)]);
}

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
