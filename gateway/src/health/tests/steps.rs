//! A target step by step.

use super::*;

#[test]
fn failures_in_a_row_open_the_breaker() {
    let world = World::new();
    let target = world.target("m", 0);
    world.fail(&target, 4);
    assert_eq!(world.attempt(&target, SUCCESS), Changes::default());
    world.fail(&target, 4);
    assert_eq!(target.check(world.now), Availability::Ready);
    let changes = world.attempt(&target, failure(FailureKind::Status(503)));
    assert!(matches!(
        changes,
        Changes {
            target: Some(TargetChange::Opened { reason: Reason::Failures { count: 5, .. }, .. }),
            credential: None
        }
    ));
    let (wait, reason) = world.waiting(&target);
    assert!(about(wait, 2 * SECOND));
    assert_eq!(reason, "5 failures in a row (last: status 503)");
    assert!(target.begin(world.now).is_none());
}

#[test]
fn a_share_of_failures_opens_it_too() {
    let mut world = World::new();
    let target = world.target("m", 0);
    for _ in 0..9 {
        let _ = world.attempt(&target, SUCCESS);
        world.fail(&target, 1);
        world.wait(SECOND);
    }
    let _ = world.attempt(&target, SUCCESS);
    assert_eq!(target.check(world.now), Availability::Ready, "19 are too few");
    world.fail(&target, 1);
    assert_eq!(world.waiting(&target).1, "10 of 20 attempts failed (last: connect)");
}

#[test]
fn old_failures_are_no_share() {
    let mut world = World::new();
    let target = world.target("m", 0);
    for _ in 0..200 {
        let _ = world.attempt(&target, SUCCESS);
        world.fail(&target, 1);
        world.wait(4 * SECOND);
    }
    assert_eq!(target.check(world.now), Availability::Ready);
}

#[test]
fn both_rules_can_be_off() {
    let world = World::with(Settings { failures: 0, rate: 0.0, ..Settings::default() });
    let target = world.target("m", 0);
    world.fail(&target, 1000);
    assert_eq!(target.check(world.now), Availability::Ready);
}

#[test]
fn one_probe_at_a_time_and_success_closes() {
    let mut world = World::new();
    let target = world.target("m", 0);
    world.fail(&target, 5);
    world.wait(2 * SECOND);
    assert_eq!(target.check(world.now), Availability::HalfOpen);
    let probe = target.begin(world.now).unwrap();
    assert!(probe.is_probe());
    assert!(target.begin(world.now).is_none());
    assert_eq!(world.waiting(&target).1, "another request is trying whether it is back");
    drop(probe);
    assert_eq!(target.check(world.now), Availability::HalfOpen, "a client that left says nothing");
    let changes = world.attempt(&target, SUCCESS);
    assert_eq!(changes.target, Some(TargetChange::Closed));
    world.fail(&target, 4);
    assert_eq!(target.check(world.now), Availability::Ready, "it counts anew");
    assert_eq!((target.counters().opened, target.counters().closed, target.counters().probes), (1, 1, 2));
}

/// Answers that are not streamed take minutes, and one request may hang where no other would.
#[test]
fn a_probe_that_says_nothing_is_not_waited_for_by_all_others() {
    let mut world = World::new();
    let target = world.target("m", 0);
    world.fail(&target, 5);
    world.wait(2 * SECOND);
    let mut hanging = Vec::new();
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        hanging.push(target.begin(world.now).unwrap());
        world.wait(wait * SECOND - Duration::from_millis(1));
        assert!(target.begin(world.now).is_none(), "{wait} s");
        world.wait(Duration::from_millis(1));
    }
    let well = target.begin(world.now).unwrap();
    drop(hanging.pop());
    assert!(target.begin(world.now).is_none(), "only the last one has the place to give back");
    let changes = well.finish(world.now, SUCCESS);
    assert_eq!(changes.target, Some(TargetChange::Closed));
    assert_eq!(target.check(world.now), Availability::Ready);
    let changes = hanging.remove(0).finish(world.now, FAILED);
    assert_eq!((changes.target, target.check(world.now)), (None, Availability::Ready), "one failure of a closed one");
}

#[test]
fn cool_downs_double_up_to_a_limit() {
    let mut world = World::new();
    let target = world.target("m", 0);
    world.fail(&target, 5);
    for seconds in [2, 4, 8, 16, 32, 60, 60, 60] {
        let (wait, _) = world.waiting(&target);
        assert!(about(wait, seconds * SECOND), "{wait:?} for {seconds} s");
        world.wait(wait);
        world.fail(&target, 1);
        assert_eq!(world.waiting(&target).1, "still failing when tried again (last: connect)");
    }
    let (wait, _) = world.waiting(&target);
    world.wait(wait);
    let _ = world.attempt(&target, SUCCESS);
    world.fail(&target, 5);
    assert!(about(world.waiting(&target).0, 2 * SECOND), "a success begins a new series");
}

#[test]
fn what_was_under_way_when_it_opened_changes_nothing() {
    let mut world = World::new();
    let target = world.target("m", 0);
    let stragglers: Vec<Pass> = (0..20).map(|_| target.begin(world.now).unwrap()).collect();
    world.fail(&target, 5);
    let before = target.check(world.now);
    for (number, straggler) in stragglers.into_iter().enumerate() {
        let changes = straggler.finish(world.now, if number % 2 == 0 { FAILED } else { SUCCESS });
        assert_eq!(changes, Changes::default());
    }
    assert_eq!(target.check(world.now), before);
    world.wait(2 * SECOND);
    assert_eq!(target.check(world.now), Availability::HalfOpen);
}

#[test]
fn the_first_output_of_a_probe_lets_the_next_one_pass() {
    let mut world = World::new();
    let target = world.target("m", 0);
    world.fail(&target, 5);
    world.wait(2 * SECOND);
    let mut long = target.begin(world.now).unwrap();
    let _ = long.first_output(world.now, SECOND);
    assert_eq!(target.check(world.now), Availability::HalfOpen, "only a complete answer closes it");
    let next = target.begin(world.now).unwrap();
    assert!(next.is_probe() && target.begin(world.now).is_none());
    let cut = long.finish(world.now, failure(FailureKind::Cut));
    assert!(matches!(cut.target, Some(TargetChange::Opened { reason: Reason::StillFailing(FailureKind::Cut), .. })));
    let (wait, _) = world.waiting(&target);
    assert!(about(wait, 4 * SECOND));
    world.wait(wait);
    assert_eq!(next.finish(world.now, SUCCESS), Changes::default(), "it began before that");
    assert_eq!(target.check(world.now), Availability::HalfOpen);
}

#[test]
fn rate_limits_hold_and_open_nothing() {
    let mut world = World::new();
    let target = world.target("m", 0);
    let limited = world.attempt(&target, asking(FailureKind::RateLimited, 12));
    assert!(matches!(limited.target, Some(TargetChange::Held { wait, .. }) if wait == 12 * SECOND));
    assert_eq!(world.waiting(&target), (12 * SECOND, "rate limited by the provider, retry-after 12 s".to_owned()));
    world.wait(12 * SECOND);
    assert_eq!(target.check(world.now), Availability::Ready);
    for _ in 0..9 {
        let _ = world.attempt(&target, asking(FailureKind::RateLimited, 1));
        assert_eq!(world.waiting(&target).0, SECOND, "as long as the client is told, and no longer");
        world.wait(SECOND);
    }
    for fifths in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        let _ = world.attempt(&target, failure(FailureKind::RateLimited));
        let (wait, reason) = world.waiting(&target);
        assert!(about(wait, fifths * SECOND / 5), "{wait:?} for {fifths} fifths of a second");
        assert_eq!(reason, "rate limited by the provider");
        world.wait(wait);
        assert_eq!(target.check(world.now), Availability::Ready, "not half open");
    }
    let _ = world.attempt(&target, SUCCESS);
    let _ = world.attempt(&target, failure(FailureKind::RateLimited));
    assert!(about(world.waiting(&target).0, SECOND / 5));
    assert_eq!((target.counters().rate_limited, target.counters().opened), (22, 0));
}

#[test]
fn many_rate_limits_at_once_are_one() {
    let world = World::new();
    let target = world.target("m", 0);
    let passes: Vec<Pass> = (0..50).map(|_| target.begin(world.now).unwrap()).collect();
    let mut changes: Vec<Changes> =
        passes.into_iter().map(|pass| pass.finish(world.now, failure(FailureKind::RateLimited))).collect();
    assert!(changes.remove(0).target.is_some());
    assert!(changes.iter().all(|change| *change == Changes::default()));
    assert!(about(world.waiting(&target).0, SECOND / 5));
}

#[test]
fn any_answer_may_ask_to_wait_and_the_latest_deadline_counts() {
    let mut world = World::new();
    let target = world.target("m", 0);
    let passes: Vec<Pass> = (0..4).map(|_| target.begin(world.now).unwrap()).collect();
    let waits = [10, 5, 100_000, 0].map(|seconds| asking(FailureKind::Overloaded, seconds));
    let expected = [10, 10, 300, 300];
    for ((pass, verdict), seconds) in passes.into_iter().zip(waits).zip(expected) {
        let _ = pass.finish(world.now, verdict);
        assert_eq!(world.waiting(&target).0, seconds * SECOND);
    }
    world.wait(300 * SECOND);
    assert_eq!(target.check(world.now), Availability::Ready);
    world.fail(&target, 1);
    assert!(about(world.waiting(&target).0, 2 * SECOND), "but each counted as a failure");
}

#[test]
fn a_success_shortens_no_wait() {
    let world = World::new();
    let target = world.target("m", 0);
    let other = target.begin(world.now).unwrap();
    let _ = world.attempt(&target, asking(FailureKind::RateLimited, 12));
    let _ = other.finish(world.now, SUCCESS);
    assert_eq!(world.waiting(&target).0, 12 * SECOND);
}

#[test]
fn operators_drain_and_bring_back() {
    let world = World::new();
    let target = world.target("m", 0);
    let pass = target.begin(world.now).unwrap();
    assert!(target.drain() && !target.drain());
    assert_eq!(target.check(world.now), Availability::Drained);
    assert_eq!(target.check(world.now).reason().unwrap().to_string(), "drained by an operator");
    assert!(target.begin(world.now).is_none());
    assert_eq!(pass.finish(world.now, SUCCESS), Changes::default(), "what is under way goes on");
    assert!(target.undrain() && !target.undrain());
    assert_eq!(target.check(world.now), Availability::Ready);
}

#[test]
fn latency_is_counted_once_and_early() {
    let mut world = World::new();
    let target = world.target("m", 0);
    assert_eq!(target.latency(world.now), None);
    let mut pass = target.begin(world.now).unwrap();
    let _ = pass.first_output(world.now, SECOND / 4);
    assert_eq!(target.latency(world.now), Some(SECOND / 4));
    let _ = pass.finish(world.now, Verdict::Success { first_output: Some(60 * SECOND) });
    assert_eq!(target.latency(world.now), Some(SECOND / 4));
    for _ in 0..18 {
        let _ = world.attempt(&target, Verdict::Success { first_output: Some(SECOND / 4) });
    }
    assert_eq!(target.quantile(world.now, 0.5), None);
    target.begin(world.now).unwrap().no_output(world.now, SECOND);
    assert!(target.quantile(world.now, 0.5).unwrap().abs_diff(SECOND / 4) < SECOND / 60);
    assert!(target.quantile(world.now, 0.99).unwrap().abs_diff(SECOND) < SECOND / 15);
    world.wait(10 * SECOND);
    let before = target.latency(world.now).unwrap();
    world.fail(&target, 1);
    assert!(target.latency(world.now).unwrap() > before, "failures are slow");
    assert!(target.status(world.now).latency_ms.is_some());

    let down = world.target("down", 0);
    world.fail(&down, 2);
    assert_eq!(down.status(world.now).latency_ms, None, "nothing was measured");
    assert!(down.latency(world.now).unwrap() >= SECOND, "and it is slow all the same");
}

#[test]
fn status_says_it_all() {
    let world = World::new();
    let target = world.target("m", 0);
    let _pass = target.begin(world.now).unwrap();
    world.fail(&target, 5);
    let status = target.status(world.now);
    assert_eq!((status.state, status.reason, status.in_flight), (State::Waiting, Some("failures"), 1));
    assert!(status.retry_in_ms.is_some_and(|wait| (1800..=2000).contains(&wait)));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["provider"], "p");
    assert_eq!(json["state"], "waiting");
    assert_eq!(json["detail"], "5 failures in a row (last: connect)");
    assert_eq!(json["p95_ms"], serde_json::Value::Null);
    assert_eq!(json["counters"]["opened"], 1);
}
