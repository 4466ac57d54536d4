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
    assert_eq!(probe.finish(world.now, REFUSED), Changes::default(), "the alarm was given");
    let (wait, _) = world.waiting(&also_a);
    assert!(about(wait, 60 * SECOND));

    world.wait(wait);
    let mut probe = also_a.begin(world.now).unwrap();
    let changes = probe.first_output(world.now, SECOND);
    assert_eq!(changes.credential, Some(CredentialChange::Accepted), "an answer proves it good");
    assert_eq!(a.check(world.now), Availability::Ready);
    let again = world.attempt(&a, REFUSED);
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
fn a_403_out_of_nothing_is_the_credential() {
    let mut world = World::new();
    let (good, other) = (world.target("good", 0), world.target("other", 0));
    let _ = world.attempt(&good, SUCCESS);
    world.wait(601 * SECOND);
    assert!(world.attempt(&other, FORBIDDEN).credential.is_some());
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
