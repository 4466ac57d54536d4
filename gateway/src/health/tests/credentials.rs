//! Credentials that are refused.

use super::*;

const REFUSED: Verdict = Verdict::Failure { kind: FailureKind::Credentials(401), retry_after: None };
const FORBIDDEN: Verdict = Verdict::Failure { kind: FailureKind::Credentials(403), retry_after: None };

#[test]
fn one_is_benched_with_all_its_targets_and_no_other() {
    let mut world = World::new();
    let (a, also_a, b) = (world.target("m", 0), world.target("n", 0), world.target("m", 1));
    let late = also_a.begin(world.now).unwrap();
    let changes = world.attempt(&a, REFUSED);
    assert_eq!(changes.credential, Some(CredentialChange::Refused(Reason::CredentialsRefused(401))));
    assert_eq!(changes.target, None);
    assert_eq!(late.finish(world.now, REFUSED), Changes::default(), "one alarm");
    for target in [&a, &also_a] {
        let (wait, reason) = world.waiting(target);
        assert!(about(wait, 30 * SECOND));
        assert_eq!(reason, "credentials refused (401)");
    }
    assert_eq!(b.check(world.now), Availability::Ready);
    assert_eq!(b.counters().failures, 0);
    assert_eq!(world.health.benched(world.now)[0].detail, "credentials refused (401)");

    world.wait(30 * SECOND);
    assert_eq!(a.check(world.now), Availability::HalfOpen);
    let probe = a.begin(world.now).unwrap();
    assert!(also_a.begin(world.now).is_none(), "one probe for the credential, not for each target");
    drop(probe);
    assert_eq!(world.attempt(&also_a, REFUSED), Changes::default(), "the alarm was given");
    let (wait, _) = world.waiting(&a);
    assert!(about(wait, 60 * SECOND));

    world.wait(wait);
    let mut probe = also_a.begin(world.now).unwrap();
    let changes = probe.first_output(world.now, SECOND);
    assert_eq!(changes.credential, Some(CredentialChange::Accepted), "an answer proves it good");
    assert_eq!(a.check(world.now), Availability::Ready);
    let _ = world.attempt(&a, REFUSED);
    let again = world.attempt(&also_a, REFUSED);
    assert!(again.credential.is_some(), "another alarm");
}

#[test]
fn the_breaker_knows_nothing_of_it() {
    let mut world = World::new();
    let target = world.target("m", 0);
    for _ in 0..10 {
        let _ = world.attempt(&target, REFUSED);
        world.wait(300 * SECOND);
    }
    let _ = world.attempt(&target, SUCCESS);
    assert_eq!((target.counters().opened, target.counters().failures), (0, 10));
    assert_eq!(target.check(world.now), Availability::Ready);
}

#[test]
fn a_model_that_is_not_for_this_credential_harms_no_other() {
    let mut world = World::new();
    let (good, forbidden) = (world.target("good", 0), world.target("forbidden", 0));
    let _ = world.attempt(&good, SUCCESS);
    let changes = world.attempt(&forbidden, FORBIDDEN);
    assert!(matches!(changes.target, Some(TargetChange::Held { reason: Reason::ModelRefused(403), .. })));
    assert_eq!(changes.credential, None);
    assert_eq!(good.check(world.now), Availability::Ready);
    assert_eq!(world.waiting(&forbidden).1, "the credentials may not use this model (403)");

    world.wait(SECOND);
    let revoked = world.attempt(&good, FORBIDDEN);
    assert!(revoked.credential.is_some(), "what worked last is refused now: it is the credential");
}

#[test]
fn a_403_is_of_the_model_until_a_second_one_is_refused() {
    let world = World::new();
    let (one, two, good) = (world.target("one", 0), world.target("two", 0), world.target("good", 0));
    let changes = world.attempt(&one, FORBIDDEN);
    assert!(matches!(changes.target, Some(TargetChange::Held { reason: Reason::ModelRefused(403), .. })));
    assert_eq!(good.check(world.now), Availability::Ready, "nothing is known of the others");
    let _ = world.attempt(&good, SUCCESS);
    assert_eq!(world.attempt(&two, FORBIDDEN).credential, None, "another one was good in between");
    assert!(world.attempt(&good, FORBIDDEN).credential.is_some());
    assert!(!good.check(world.now).is_usable());
}

#[test]
fn a_403_amid_answers_rests_its_model_for_a_second() {
    let mut world = World::new();
    let (good, other) = (world.target("good", 0), world.target("other", 0));
    for _ in 0..3 {
        let _ = world.attempt(&good, SUCCESS);
        assert!(world.attempt(&good, FORBIDDEN).credential.is_none());
        assert!(about(world.waiting(&good).0, SECOND), "one bad prompt is no reason to leave it alone");
        assert_eq!(other.check(world.now), Availability::Ready);
        world.wait(SECOND);
    }
    let _ = world.attempt(&good, SUCCESS);
    world.wait(600 * SECOND);
    let _ = world.attempt(&good, FORBIDDEN);
    assert!(about(world.waiting(&good).0, 30 * SECOND), "nothing is known of it any more");
}

#[test]
fn names_that_clients_make_up_bench_no_credential_that_works() {
    let mut world = World::new();
    let good = world.target("good", 0);
    let _ = world.attempt(&good, SUCCESS);
    for number in 0..200 {
        world.wait(SECOND);
        let changes = world.attempt(&world.target(&format!("made up {number}"), 0), FORBIDDEN);
        assert!(matches!(changes.target, Some(TargetChange::Held { reason: Reason::ModelRefused(403), .. })));
        assert_eq!(good.check(world.now), Availability::Ready);
    }
    assert!(world.attempt(&good, FORBIDDEN).credential.is_some(), "now nothing is left that works");
}

#[test]
fn one_refusal_after_a_success_is_of_the_model() {
    for status in [401, 402, 403] {
        let mut world = World::new();
        let (good, other) = (world.target("good", 0), world.target("other", 0));
        let refused = failure(FailureKind::Credentials(status));
        let _ = world.attempt(&good, SUCCESS);
        let changes = world.attempt(&good, refused);
        assert!(
            matches!(changes.target, Some(TargetChange::Held { reason: Reason::ModelRefused(is), .. }) if is == status),
            "its own success counts, too: {changes:?}"
        );
        assert_eq!(other.check(world.now), Availability::Ready);
        assert!(world.health.benched(world.now).is_empty());
        world.wait(world.waiting(&good).0);
        assert_eq!(world.attempt(&good, refused).credential, None, "that is nothing new");
        let changes = world.attempt(&other, refused);
        assert_eq!(changes.credential, Some(CredentialChange::Refused(Reason::CredentialsRefused(status))), "dead");
    }
}

#[test]
fn a_refusal_long_after_the_last_success_is_the_credential() {
    let mut world = World::new();
    let (good, _other) = (world.target("good", 0), world.target("other", 0));
    let _ = world.attempt(&good, SUCCESS);
    world.wait(599 * SECOND);
    assert_eq!(world.attempt(&good, REFUSED).credential, None);
    world.wait(30 * SECOND);
    assert!(world.attempt(&good, REFUSED).credential.is_some());
}

#[test]
fn the_only_model_is_the_credential() {
    let mut world = World::new();
    let only = world.target("m", 0);
    let _ = world.attempt(&only, SUCCESS);
    assert!(world.attempt(&only, REFUSED).credential.is_some());
    world.wait(30 * SECOND);
    assert_eq!(world.attempt(&only, SUCCESS).credential, Some(CredentialChange::Accepted));
    assert_eq!(world.attempt(&only, FORBIDDEN).credential, None, "others may be allowed that nobody has asked for yet");
    world.wait(30 * SECOND);
    assert!(world.attempt(&only, FORBIDDEN).credential.is_some());
}

#[test]
fn who_insists_on_a_refused_model_keeps_no_other_from_coming_back() {
    for refused in [REFUSED, FORBIDDEN] {
        let mut world = World::new();
        let targets = ["bad", "worse", "good"].map(|model| world.target(model, 0));
        let [bad, worse, good] = &targets;
        let _ = world.attempt(bad, refused);
        if bad.check(world.now) != worse.check(world.now) {
            let _ = world.attempt(worse, refused);
        }
        assert!(!good.check(world.now).is_usable());
        world.wait(30 * SECOND);
        let changes = world.attempt(bad, refused);
        assert!(matches!(changes.target, Some(TargetChange::Held { reason: Reason::ModelRefused(_), .. })));
        assert!(bad.begin(world.now).is_none());
        assert_eq!(world.health.benched(world.now)[0].retry_in_ms, 0, "an operator still sees it");
        assert_eq!(good.check(world.now), Availability::HalfOpen);
        let later = |seconds| world.health.benched(world.now + seconds * SECOND).len();
        assert_eq!((later(599), later(601)), (1, 0), "unless it is not in use any more");
        assert_eq!(world.attempt(good, SUCCESS).credential, Some(CredentialChange::Accepted));
        assert!(world.health.benched(world.now).is_empty());
    }
}

#[test]
fn a_credential_that_is_refused_for_all_stays_benched() {
    let mut world = World::new();
    let targets = ["a", "b", "c"].map(|model| world.target(model, 0));
    for target in &targets {
        let _ = world.attempt(target, SUCCESS);
    }
    let _ = world.attempt(&targets[0], REFUSED);
    assert!(world.attempt(&targets[1], REFUSED).credential.is_some());
    world.wait(30 * SECOND);
    let _ = world.attempt(&targets[2], REFUSED);
    for (target, seconds) in [(&targets[0], 60), (&targets[1], 120), (&targets[0], 240), (&targets[2], 300)] {
        let (wait, reason) = world.waiting(target);
        assert_eq!(reason, "credentials refused (401)");
        assert!(about(wait, seconds * SECOND), "{wait:?}");
        world.wait(wait);
        let _ = world.attempt(target, REFUSED);
    }
}

#[test]
fn another_secret_in_its_place_is_tried_at_once() {
    let world = World::with(Settings::default());
    let (a, b) = (world.target("m", 0), world.target("m", 1));
    let late = a.begin(world.now).unwrap();
    let _ = world.attempt(&a, REFUSED);
    let _ = world.attempt(&b, REFUSED);
    world.health.configure("p", Settings::default(), &["key a", "key b"]);
    assert!(!a.check(world.now).is_usable() && !b.check(world.now).is_usable(), "a reload forgets nothing");
    world.health.configure("p", Settings::default(), &["key c", "key b"]);
    assert_eq!(a.check(world.now), Availability::Ready);
    assert!(!b.check(world.now).is_usable());
    assert_eq!(late.finish(world.now, REFUSED), Changes::default(), "that was the old one");
    assert_eq!(a.check(world.now), Availability::Ready);
}

#[test]
fn no_credentials_bench_for_a_short_time() {
    let mut world = World::new();
    let target = world.target("m", 0);
    for seconds in [2, 4, 8] {
        let _ = world.attempt(&target, failure(FailureKind::NoCredentials));
        let (wait, reason) = world.waiting(&target);
        assert!(about(wait, seconds * SECOND));
        assert_eq!(reason, "no credentials could be had");
        world.wait(wait);
    }
}
