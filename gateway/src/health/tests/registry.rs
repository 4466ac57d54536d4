//! Targets by identity, and probes on purpose.

use super::*;

#[test]
fn state_belongs_to_an_identity() {
    let world = World::with(Settings::default());
    let target = world.target("m", 0);
    world.fail(&target, 5);
    assert!(Arc::ptr_eq(&target, &world.target("m", 0)));
    for other in [world.target("m", 1), world.target("n", 0), world.health.target("q", "m", 0, world.now)] {
        assert_eq!(other.check(world.now), Availability::Ready);
    }
    let names: Vec<_> = world
        .health
        .targets()
        .iter()
        .map(|target| format!("{}/{}#{}", target.provider(), target.model(), target.credential().index()))
        .collect();
    assert_eq!(names, ["p/m#0", "p/m#1", "p/n#0", "q/m#0"]);
}

#[test]
fn settings_change_in_place() {
    let world = World::with(Settings::default());
    let target = world.target("m", 0);
    world.fail(&target, 2);
    world.health.configure("p", Settings { failures: 3, cooldown: 20 * SECOND, ..Settings::default() }, &["key a"]);
    world.fail(&target, 1);
    assert!(about(world.waiting(&target).0, 20 * SECOND), "two failures were not forgotten");
}

#[test]
fn a_provider_that_is_gone_is_not_told_of_until_it_comes_back() {
    let mut world = World::with(Settings::default());
    let (drained, broken, other) =
        (world.target("drained", 0), world.target("broken", 1), world.health.target("q", "m", 0, world.now));
    world.fail(&broken, 5);
    let _ = world.attempt(&drained, failure(FailureKind::Credentials(401)));
    drained.drain();
    assert_eq!(world.health.benched(world.now).len(), 1);
    let names = |world: &World| -> Vec<String> {
        world.health.targets().iter().map(|target| format!("{}/{}", target.provider(), target.model())).collect()
    };
    let under_way = other.begin(world.now).unwrap();
    world.health.keep(|name| name == "q");
    assert_eq!(names(&world), ["q/m"]);
    assert!(world.health.benched(world.now).is_empty());
    world.health.keep(|name| name == "p");
    assert_eq!(names(&world), ["p/broken", "p/drained", "q/m"], "it has still a request under way");
    drop(under_way);
    assert_eq!(names(&world), ["p/broken", "p/drained"]);
    assert!(!drained.is_drained());
    world.wait(Duration::from_millis(1));
    assert!(matches!(broken.check(world.now), Availability::Until { .. }), "it comes back as it was");

    let saved = world.health.save(world.now);
    let heir = Health::new(world.now, 8);
    heir.configure("q", Settings::default(), &["key"]);
    heir.load(saved, world.now);
    assert!(heir.targets().is_empty(), "a provider that the new process does not have");
}

#[test]
fn names_of_clients_fill_no_memory() {
    let mut world = World::new();
    world.health = Health::with_room_for(100, world.now, 7);
    let pinned: Vec<_> = (0..50).map(|number| world.target(&format!("pinned {number}"), 0)).collect();
    world.target("drained", 0).drain();
    for number in 0..1000 {
        world.wait(SECOND);
        let target = world.target(&format!("made up {number}"), 0);
        let _ = world.attempt(&target, SUCCESS);
        world.target("favourite", 0);
        assert!(world.health.targets().len() <= 100);
    }
    let kept = world.health.targets();
    assert!(pinned.iter().all(|target| kept.iter().any(|other| Arc::ptr_eq(target, other))));
    let has = |name: &str| kept.iter().any(|target| &**target.model() == name);
    assert!(has("drained") && has("favourite") && has("made up 999") && !has("made up 0"));
}

#[test]
fn those_in_use_are_kept_beyond_the_limit() {
    let mut world = World::new();
    world.health = Health::with_room_for(10, world.now, 7);
    let pinned: Vec<_> = (0..500).map(|number| world.target(&number.to_string(), 0)).collect();
    assert_eq!(world.health.targets().len(), 500);
    drop(pinned);
    for number in 0..500 {
        world.target(&format!("other {number}"), 0);
    }
    assert!(world.health.targets().len() < 600);
}

#[test]
fn a_probe_on_purpose_brings_back_what_failed() {
    let mut world = World::new();
    let (well, ill, other) = (world.target("well", 0), world.target("ill", 0), world.target("well", 1));
    world.fail(&well, 4);
    world.fail(&ill, 5);
    world.wait(2 * SECOND);
    let probe = world.health.begin_probe("p", 0, world.now);
    assert!(!probe.is_empty());
    assert!(!ill.check(world.now).is_usable(), "it is the probe");
    let changed = probe.finish(world.now, Ok(()));
    assert_eq!(changed.len(), 1);
    assert!(Arc::ptr_eq(&changed[0].0, &ill));
    assert_eq!(changed[0].1.target, Some(TargetChange::Closed));
    let changed = world.health.begin_probe("p", 0, world.now).finish(world.now, Err(FailureKind::Timeout));
    assert!(
        changed.len() == 1 && Arc::ptr_eq(&changed[0].0, &well),
        "it was no success of the others: the fifth in a row"
    );
    assert_eq!((other.counters(), other.in_flight()), (Default::default(), 0));
    assert!(world.health.begin_probe("none", 0, world.now).is_empty());
}

#[test]
fn another_address_is_not_blamed_for_the_one_before() {
    let world = World::with(Settings::default());
    world.health.locate("p", "https://old.example");
    let target = world.target("m", 0);
    let late = target.begin(world.now).unwrap();
    world.fail(&target, 5);
    world.health.locate("p", "https://old.example");
    assert!(target.begin(world.now).is_none(), "it is where it was");
    world.health.locate("p", "https://new.example");
    assert_eq!(target.check(world.now), Availability::Ready);
    let _ = late.finish(world.now, FAILED);
    world.fail(&target, 4);
    assert_eq!(target.check(world.now), Availability::Ready, "four failures of its own");
}
