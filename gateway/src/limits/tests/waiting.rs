//! Who waits for room, and who does not.

use std::time::Duration;

use super::super::*;
use super::{T, admit, amounts, in_turn, limits, rule, until};

#[tokio::test]
async fn who_waits_goes_by_priority() {
    let (limits, bot) = limits(&[rule(What::Concurrent, Period::Total, 1)]);
    limits.wait.store(60_000, Relaxed);
    let first = in_turn(&limits, &bot, amounts(0, 0), 0).await.unwrap();
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (number, priority) in [(1, 0), (2, 5), (3, 0), (4, 9)] {
        let (limits_of_it, bot, order) = (limits.clone(), bot.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let held = in_turn(&limits_of_it, &bot, amounts(0, 0), priority).await.unwrap();
            order.lock().push(number);
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
    assert_eq!(*order.lock(), [4, 2, 1, 3]);
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
