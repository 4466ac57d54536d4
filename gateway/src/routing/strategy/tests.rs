use std::collections::BTreeMap;
use std::time::Duration;

use super::super::plan::tests::{Lab, order as targets_in_order};
use super::*;
use crate::health::Verdict;

const DRAWS: usize = 100_000;

/// How often each target came first.
fn shares(lab: &mut Lab, asked: impl Fn(usize) -> Option<u64>) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::<String, f64>::new();
    for draw in 0..DRAWS {
        let asked = Asked { sticky: asked(draw), ..Asked::anything(lab.now) };
        let first = lab.plan_of(&asked).candidates()[0].target.model.to_string();
        *shares.entry(first).or_default() += 1.0 / DRAWS as f64;
    }
    shares
}

fn assert_share(shares: &BTreeMap<String, f64>, name: &str, expected: f64) {
    let share = shares.get(name).copied().unwrap_or_default();
    assert!((share - expected).abs() < 0.01, "{name}: {share} instead of {expected}: {shares:?}");
}

#[test]
fn shares_follow_the_weights() {
    for settings in ["", "strategy = 'sticky'", "strategy = 'least_busy'"] {
        let mut lab = Lab::new(&[("a", ", weight = 90"), ("b", ", weight = 10"), ("never", ", weight = 0")], settings);
        let shares = shares(&mut lab, |draw| Some(stable_hash(&[&draw.to_le_bytes()])));
        assert!(!shares.contains_key("never"));
        // With nothing in flight, the least busy one is any.
        assert_share(&shares, "a", 0.9);
        assert_eq!(targets_in_order(&mut lab.plan(), lab.now).len(), 3);
    }
}

#[test]
fn turns_are_taken() {
    let targets = [("a", ""), ("b", ""), ("off", ", weight = 0"), ("c", ", weight = 7")];
    let mut lab = Lab::new(&targets, "strategy = 'round_robin'");
    let orders: Vec<String> = (0..6).map(|_| targets_in_order(&mut lab.plan(), lab.now).concat()).collect();
    // What has no weight has no turn, and is asked when all others have failed.
    assert_eq!(orders, ["abc", "bca", "cab", "abc", "bca", "cab"].map(|order| order.to_owned() + "off"));
}

#[test]
fn each_priority_takes_turns() {
    let targets = [("a", ""), ("b", ""), ("c", ", priority = 1"), ("d", ", priority = 1")];
    let mut lab = Lab::new(&targets, "strategy = 'round_robin'\nretry = { attempts = 4 }");
    let orders: Vec<String> = (0..3).map(|_| targets_in_order(&mut lab.plan(), lab.now).concat()).collect();
    assert_eq!(orders, ["abcd", "badc", "abcd"].map(str::to_owned));
}

#[test]
fn sticky_requests_stay_also_after_a_restart() {
    let targets = [("a", ""), ("b", ""), ("c", "")];
    let first_of = |targets: &[(&str, &str)], session: &str| {
        let mut lab = Lab::new(targets, "strategy = 'sticky'");
        let sticky = Some(stable_hash(&[b"session", session.as_bytes()]));
        lab.plan_of(&Asked { sticky, ..Asked::anything(lab.now) }).candidates()[0].target.model.to_string()
    };
    let golden = ["s0", "s1", "s2", "s3", "s4", "s5"].map(|session| first_of(&targets, session));
    assert_eq!(golden.concat(), "acacba", "as in every version");
    let moved = (0..300).filter(|n| {
        let session = format!("s{n}");
        first_of(&targets, &session) != first_of(&[("a", ""), ("b", ""), ("c", ""), ("d", "")], &session)
    });
    assert!((45..105).contains(&moved.count()), "a new target takes its own share and moves nobody else");
}

#[test]
fn the_faster_one_is_found_within_seconds() {
    let mut lab = Lab::new(&[("a", ""), ("b", "")], "strategy = 'least_latency'");
    let latency = |name: &str, shifted: bool| match (name, shifted) {
        ("a", false) | ("b", true) => Duration::from_millis(100),
        _ => Duration::from_millis(900),
    };
    let run = |lab: &mut Lab, seconds: u32, shifted: bool| {
        let mut firsts = BTreeMap::<String, u32>::new();
        for _ in 0..seconds * 20 {
            lab.now += Duration::from_millis(50);
            let mut taken = lab.plan().take_next(lab.now).unwrap();
            let name = taken.target.model.to_string();
            let took = latency(&name, shifted);
            _ = taken.pass.first_output(lab.now + took, took);
            _ = taken.pass.finish(lab.now + took, Verdict::Success { first_output: None });
            *firsts.entry(name).or_default() += 1;
        }
        firsts
    };
    run(&mut lab, 10, false);
    let before = run(&mut lab, 5, false);
    assert!(before.get("a") > Some(&90), "{before:?}");
    run(&mut lab, 10, true);
    let after = run(&mut lab, 5, true);
    assert!(after.get("b") > Some(&90), "{after:?}");
}

#[test]
fn the_least_busy_one_for_its_weight_is_first() {
    let mut lab = Lab::new(&[("a", ""), ("b", ", weight = 3")], "strategy = 'least_busy'");
    let under_way: Vec<_> = (0..40).map(|_| lab.plan().take_next(lab.now).unwrap()).collect();
    let at_b = under_way.iter().filter(|taken| &*taken.target.model == "b").count();
    assert_eq!(at_b, 30);
}

/// A second's worth of requests at 100 a second, one target's answers taking `a`, the other's `b`: how many the first got.
fn share_of_a(lab: &mut Lab, asked: &Asked, (a, b): (Duration, Duration)) -> usize {
    let mut under_way = Vec::new();
    let mut at_a = 0;
    for _ in 0..100 {
        lab.now += Duration::from_millis(10);
        let asked = Asked { now: lab.now, ..*asked };
        let taken = lab.plan_of(&asked).take_next(lab.now).unwrap();
        let (is_a, now) = (&*taken.target.model == "a", lab.now);
        at_a += usize::from(is_a);
        under_way.push((now, if is_a { a } else { b }, taken.pass));
        for (begun, took, mut pass) in std::mem::take(&mut under_way) {
            if begun + took > now {
                under_way.push((begun, took, pass));
                continue;
            }
            if asked.stream {
                _ = pass.first_output(begun + took, took);
            } else {
                pass.answered(begun + took, took);
            }
            _ = pass.finish(now, Verdict::Success { first_output: None });
        }
    }
    at_a
}

const LEAST_LATENCY: &str = "strategy = 'least_latency'";

#[test]
fn a_target_that_was_never_seen_is_not_sent_everything() {
    for stream in [true, false] {
        let mut lab = Lab::new(&[("a", ""), ("b", "")], LEAST_LATENCY);
        let asked = Asked { stream, ..Asked::anything(lab.now) };
        let slow = share_of_a(&mut lab, &asked, (Duration::from_secs(3), Duration::from_millis(50)));
        assert!((1..=15).contains(&slow), "stream {stream}: {slow}");
    }
}

#[test]
fn whole_answers_are_measured_and_a_failure_is_forgotten() {
    let mut lab = Lab::new(&[("a", ""), ("b", "")], LEAST_LATENCY);
    let asked = Asked { stream: false, ..Asked::anything(lab.now) };
    let (fast, slow) = (Duration::from_millis(20), Duration::from_millis(300));
    share_of_a(&mut lab, &asked, (fast, slow));
    let before = share_of_a(&mut lab, &asked, (fast, slow));
    assert!(before > 90, "{before}");
    lab.fail("a", 1, crate::health::FailureKind::Status(502), None);
    for _ in 0..20 {
        let asked = Asked { now: lab.now, ..asked };
        assert_eq!(&*lab.plan_of(&asked).candidates()[0].target.model, "b", "with nothing in flight");
    }
    lab.now += Duration::from_secs(60);
    share_of_a(&mut lab, &asked, (fast, slow));
    let later = share_of_a(&mut lab, &asked, (fast, slow));
    assert!(later > 90, "{later}");
}

#[test]
fn a_credential_that_rests_does_not_make_its_target_look_fast() {
    let mut lab = Lab::new(&[("a", ""), ("b", "")], LEAST_LATENCY);
    let wait = Some(Duration::from_secs(600));
    let limited = Verdict::Failure { kind: crate::health::FailureKind::RateLimited, retry_after: wait };
    _ = lab.target("a").states[0].begin(lab.now).unwrap().finish(lab.now, limited);
    let asked = Asked::anything(lab.now);
    let took = (Duration::from_millis(300), Duration::from_millis(10));
    share_of_a(&mut lab, &asked, took);
    let at_a = share_of_a(&mut lab, &asked, took);
    assert!(at_a < 10, "{at_a}");
}
