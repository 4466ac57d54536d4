//! The same from many threads.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::thread;

use super::*;

#[test]
fn one_probe_at_a_time_from_many_threads() {
    let world = World::with(Settings { failures: 2, cooldown: Duration::from_micros(1), ..Settings::default() });
    let targets = [world.target("m", 0), world.target("n", 0)];
    let probing = targets.each_ref().map(|_| AtomicI64::new(0));
    let probes = AtomicU64::new(0);
    // Time passes for cool-downs, and not so much that a probe is waited for no longer.
    let (began, nanos) = (Instant::now(), AtomicU64::new(0));
    let now = || began + Duration::from_nanos(nanos.fetch_add(100, SeqCst));
    thread::scope(|scope| {
        for seed in 0..8 {
            let (targets, probing, probes, now) = (&targets, &probing, &probes, &now);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..20_000 {
                    let number = random.usize(..2);
                    let Some(mut pass) = targets[number].begin(now()) else { continue };
                    let is_probe = pass.is_probe();
                    if is_probe {
                        probes.fetch_add(1, SeqCst);
                        assert_eq!(probing[number].fetch_add(1, SeqCst), 0, "two probes at a time");
                        thread::yield_now();
                        probing[number].fetch_sub(1, SeqCst);
                    }
                    if random.u8(..4) == 0 {
                        let _ = pass.first_output(now(), SECOND);
                    }
                    match random.u8(..8) {
                        0 => drop(pass),
                        1 => drop(pass.finish(now(), Verdict::Neutral)),
                        2 | 3 => drop(pass.finish(now(), SUCCESS)),
                        _ => drop(pass.finish(now(), FAILED)),
                    }
                }
            });
        }
    });
    assert!(probes.into_inner() > 0, "nothing was tested");
    assert!(targets.iter().all(|target| target.in_flight() == 0));
}

#[test]
fn a_benched_credential_has_one_probe_over_all_its_targets() {
    let mut world = World::new();
    let targets: Vec<_> = (0..8).map(|number| world.target(&number.to_string(), 0)).collect();
    let _ = world.attempt(&targets[0], failure(FailureKind::Credentials(401)));
    world.wait(30 * SECOND);
    let passed: Vec<Pass> = thread::scope(|scope| {
        let begin = |target: &Arc<TargetState>| target.begin(world.now);
        let threads: Vec<_> = targets.iter().map(|target| scope.spawn(move || begin(target))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(passed.len(), 1);
}

#[test]
fn nobody_loses_a_target_that_is_being_made() {
    let now = Instant::now();
    let health = Health::with_room_for(50, now, 7);
    let pinned = health.target("p", "pinned", 0, now);
    thread::scope(|scope| {
        for seed in 0..4 {
            let health = &health;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..5_000 {
                    let model = random.u32(..200).to_string();
                    let one = health.target("p", &model, 0, now);
                    assert!(Arc::ptr_eq(&one, &health.target("p", &model, 0, now)));
                }
            });
        }
    });
    assert!(health.targets().len() <= 60);
    assert!(Arc::ptr_eq(&pinned, &health.target("p", "pinned", 0, now)));
}
