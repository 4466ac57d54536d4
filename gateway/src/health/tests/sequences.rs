//! Sequences by chance: what must hold whatever happens, and agreement with a simple model.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize),
    FirstOutput(usize),
    Finish(usize, Verdict),
    Drop(usize),
    Wait(u64),
    Reload(u32),
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let kind = prop_oneof![
        4 => Just(FailureKind::Connect),
        2 => Just(FailureKind::RateLimited),
        1 => Just(FailureKind::Overloaded),
        1 => Just(FailureKind::Credentials(401)),
        1 => Just(FailureKind::Credentials(403)),
        1 => Just(FailureKind::NoCredentials),
    ];
    let failed = (kind, prop::option::weighted(0.3, 0_u64..1000))
        .prop_map(|(kind, seconds)| Verdict::Failure { kind, retry_after: seconds.map(Duration::from_secs) });
    prop_oneof![2 => Just(SUCCESS), 4 => failed, 1 => Just(Verdict::Neutral)]
}

fn step(verdict: impl Strategy<Value = Verdict>) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..3).prop_map(Step::Begin),
        2 => (0_usize..8).prop_map(Step::FirstOutput),
        5 => ((0_usize..8), verdict).prop_map(|(which, verdict)| Step::Finish(which, verdict)),
        1 => (0_usize..8).prop_map(Step::Drop),
        4 => (0_u64..40_000).prop_map(Step::Wait),
        1 => (0_u32..8).prop_map(Step::Reload),
    ]
}

/// An attempt under way.
struct Flight {
    pass: Pass,
    target: usize,
    /// Whether it may hold the place of a probe, which nobody has taken over.
    probing: bool,
}

fn take(flights: &mut Vec<Flight>, which: usize) -> Option<Flight> {
    (!flights.is_empty()).then(|| flights.remove(which % flights.len()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens(steps in prop::collection::vec(step(verdict()), 1..120)) {
        let mut world = World::with(Settings::default());
        let targets = [world.target("m", 0), world.target("n", 0), world.target("m", 1)];
        let mut deadlines: [Option<Instant>; 3] = [None; 3];
        let mut flights: Vec<Flight> = Vec::new();
        for step in steps {
            match step {
                Step::Begin(number) => {
                    let usable = targets[number].check(world.now);
                    let pass = targets[number].begin(world.now);
                    prop_assert_eq!(pass.is_some(), usable.is_usable(), "begin does what check says");
                    if let Some(pass) = pass {
                        prop_assert_eq!(pass.is_probe(), usable == Availability::HalfOpen);
                        let late = flights.iter_mut().filter(|flight| flight.target == number && flight.probing && pass.is_probe());
                        for flight in late {
                            prop_assert!(world.now >= flight.pass.begun() + SECOND, "nothing is known of it for a while");
                            flight.probing = false;
                        }
                        flights.push(Flight { probing: pass.is_probe(), pass, target: number });
                    }
                }
                Step::FirstOutput(which) => {
                    let count = flights.len().max(1);
                    if let Some(flight) = flights.get_mut(which % count) {
                        let _ = flight.pass.first_output(world.now, SECOND);
                        flight.probing = false;
                    }
                }
                Step::Finish(which, verdict) => {
                    if let Some(flight) = take(&mut flights, which) {
                        let before = targets.each_ref().map(|target| (target.status(world.now), target.check(world.now)));
                        let _ = flight.pass.finish(world.now, verdict);
                        if verdict == Verdict::Neutral {
                            for (number, target) in targets.iter().enumerate() {
                                let (mut was, check) = before[number].clone();
                                was.in_flight -= usize::from(number == flight.target);
                                if !flight.probing {
                                    prop_assert_eq!(target.check(world.now), check);
                                    prop_assert_eq!(target.status(world.now), was);
                                }
                            }
                        }
                    }
                }
                Step::Drop(which) => drop(take(&mut flights, which)),
                Step::Wait(millis) => world.wait(Duration::from_millis(millis)),
                Step::Reload(failures) => {
                    world.health.configure("p", Settings { failures, ..Settings::default() }, &["key a", "key b"]);
                }
            }
            for (number, target) in targets.iter().enumerate() {
                // Another attempt has shown that it is well: what probes it still is an attempt like any other.
                if target.check(world.now) == Availability::Ready {
                    flights.iter_mut().filter(|flight| flight.target == number).for_each(|flight| flight.probing = false);
                }
                let flying = flights.iter().filter(|flight| flight.target == number);
                prop_assert_eq!(target.in_flight(), flying.clone().count());
                prop_assert!(flying.filter(|flight| flight.probing).count() <= 1, "one probe at a time");
                let at = target.check(world.now).retry_at();
                if let Some(deadline) = deadlines[number].filter(|deadline| *deadline > world.now) {
                    prop_assert!(at.is_some_and(|at| at >= deadline), "deadlines only move later");
                }
                if !matches!(target.check(world.now).reason(), Some(Reason::Probing)) {
                    deadlines[number] = at;
                }
            }
        }
        flights.clear();
        prop_assert!(targets.iter().all(|target| target.in_flight() == 0));
        world.wait(Duration::from_secs(400));
        for target in &targets {
            prop_assert!(target.check(world.now).is_usable(), "nothing is out for ever");
        }
    }

    #[test]
    fn the_breaker_is_this_simple_model(
        steps in prop::collection::vec(step(prop_oneof![Just(SUCCESS), Just(FAILED), Just(FAILED)]), 1..120)
    ) {
        let mut world = World::with(Settings { failures: 3, rate: 0.0, ..Settings::default() });
        let target = world.target("m", 0);
        let mut model = Model::default();
        let mut flights: Vec<(Pass, Known)> = Vec::new();
        for step in steps {
            match step {
                Step::Begin(_) => {
                    if let Some(pass) = target.begin(world.now) {
                        let probe = model.until.is_some().then(|| model.begin_probe(world.now));
                        flights.push((pass, Known { openings: model.all_openings, probe }));
                    }
                }
                Step::FirstOutput(which) => {
                    let count = flights.len().max(1);
                    if let Some((pass, known)) = flights.get_mut(which % count) {
                        let _ = pass.first_output(world.now, SECOND);
                        model.leave(known);
                    }
                }
                Step::Finish(which, verdict) if !flights.is_empty() => {
                    let (pass, mut known) = flights.remove(which % flights.len());
                    let changes = pass.finish(world.now, verdict);
                    model.leave(&mut known);
                    let cooldown = model.end(&known, verdict == SUCCESS, world.now, changes.target);
                    prop_assert!(cooldown, "{changes:?}");
                }
                Step::Drop(which) if !flights.is_empty() => {
                    let (_, mut known) = flights.remove(which % flights.len());
                    model.leave(&mut known);
                }
                Step::Wait(millis) => world.wait(Duration::from_millis(millis)),
                Step::Finish(..) | Step::Drop(_) | Step::Reload(_) => {}
            }
            let expected = match model.until {
                None => "ready",
                Some(until) if world.now < until => "waiting",
                Some(_) if model.probe.is_some_and(|(_, _, until)| world.now < until) => "probing",
                Some(_) => "half open",
            };
            let found = match target.check(world.now) {
                Availability::Ready => "ready",
                Availability::HalfOpen => "half open",
                Availability::Until { reason: Reason::Probing, .. } => "probing",
                Availability::Until { .. } => "waiting",
                Availability::Drained => "drained",
            };
            prop_assert_eq!(found, expected);
        }
    }
}

/// A breaker that opens after three failures in a row.
#[derive(Default)]
struct Model {
    until: Option<Instant>,
    /// The number of the last probe, how long it is waited for, and until when.
    probe: Option<(u32, Duration, Instant)>,
    probes: u32,
    failures: u32,
    openings: u32,
    all_openings: u32,
}

/// What is known of an attempt.
struct Known {
    openings: u32,
    probe: Option<u32>,
}

impl Model {
    fn begin_probe(&mut self, now: Instant) -> u32 {
        self.probes += 1;
        let wait = self.probe.map_or(SECOND, |(_, wait, _)| (wait * 2).min(60 * SECOND));
        self.probe = Some((self.probes, wait, now + wait));
        self.probes
    }

    fn leave(&mut self, known: &mut Known) {
        if let Some(probe) = known.probe.take() {
            self.probe = self.probe.filter(|(number, ..)| *number != probe);
        }
    }

    /// Whether the change is the right one.
    fn end(&mut self, known: &Known, success: bool, now: Instant, change: Option<TargetChange>) -> bool {
        if known.openings != self.all_openings {
            return change.is_none();
        }
        if success {
            self.failures = 0;
            self.openings = 0;
            return change == self.until.take().map(|_| TargetChange::Closed);
        }
        self.failures += 1;
        if self.until.is_none() && self.failures < 3 {
            return change.is_none();
        }
        self.openings += 1;
        self.all_openings += 1;
        let Some(TargetChange::Opened { cooldown, .. }) = change else { return false };
        self.until = Some(now + cooldown);
        about(cooldown, SECOND * 60.min(1 << self.openings.min(10)))
    }
}
