use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::{Config, System};
use crate::health::{FailureKind, Health, Verdict};
use crate::snapshot::Snapshot;

pub(crate) struct Lab {
    pub(crate) now: Instant,
    pub(crate) snapshot: Snapshot,
    rng: fastrand::Rng,
}

impl Lab {
    /// A model `m` with these targets (name, settings) at the provider `p`, and these settings of its own.
    pub(crate) fn new(targets: &[(&str, &str)], settings: &str) -> Self {
        let now = Instant::now();
        let targets: Vec<String> = targets
            .iter()
            .map(|(name, settings)| format!("{{ provider = 'p', model = '{name}'{settings} }}"))
            .collect();
        let text = format!(
            "[providers.p]\nkind = 'openai-compatible'\nbase_url = 'http://127.0.0.1:1/v1'\napi_keys = ['a', 'b']\n\
             [models.m]\ntargets = [{}]\n{settings}",
            targets.join(", ")
        );
        let loaded = Config::parse(&text, "test.toml", &System).unwrap_or_else(|errors| panic!("{errors}"));
        let snapshot = Snapshot::build(&loaded.config, None, &Arc::new(Health::new(now, 1)), &Arc::default()).unwrap();
        Self { now, snapshot, rng: fastrand::Rng::with_seed(7) }
    }

    pub(crate) fn model(&self) -> Arc<Model> {
        self.snapshot.model("m").unwrap()
    }

    pub(crate) fn plan(&mut self) -> Plan {
        self.plan_of(&Asked::anything(self.now))
    }

    pub(crate) fn plan_of(&mut self, asked: &Asked) -> Plan {
        Plan::build(&self.model(), asked, |_| None, &mut |bound| self.rng.u64(..bound))
    }

    pub(crate) fn target(&self, name: &str) -> Arc<Target> {
        self.model().targets.iter().find(|target| &*target.model == name).unwrap().clone()
    }

    /// Ends `count` attempts at `name`, with every credential.
    pub(crate) fn fail(&self, name: &str, count: usize, kind: FailureKind, retry_after: Option<Duration>) {
        for state in &self.target(name).states {
            for _ in 0..count {
                if let Some(pass) = state.begin(self.now) {
                    _ = pass.finish(self.now, Verdict::Failure { kind, retry_after });
                }
            }
        }
    }
}

/// The targets in the order of the plan when every attempt fails for a reason of the target.
pub(crate) fn order(plan: &mut Plan, now: Instant) -> Vec<String> {
    let mut order = Vec::new();
    while let Some(taken) = plan.take_next(now) {
        order.push(taken.target.model.to_string());
        plan.leave_target();
    }
    order
}

#[test]
fn priorities_come_before_weights() {
    let mut lab = Lab::new(&[("low", ", weight = 1000, priority = 1"), ("high", "")], "");
    for _ in 0..50 {
        assert_eq!(order(&mut lab.plan(), lab.now), ["high", "low"]);
    }
}

#[test]
fn unusable_targets_and_too_many_are_left_out() {
    let targets = [("a", ""), ("b", ", priority = 1"), ("c", ", priority = 2"), ("d", ", priority = 3")];
    let lab = Lab::new(&targets, "retry = { attempts = 2 }");
    let build = |usable: fn(&Target) -> bool| {
        let against = |target: &Target| (!usable(target)).then_some(Why::Unusable);
        Plan::build(&lab.model(), &Asked::anything(lab.now), against, &mut |_| 0)
    };
    let mut plan = build(|target| &*target.model != "a");
    assert!(plan.has_next(lab.now) && plan.has_other_target(lab.now) && !plan.is_empty());
    assert_eq!(order(&mut plan, lab.now), ["b", "c"]);
    assert!(!plan.has_next(lab.now) && !plan.has_other_target(lab.now));
    let plan = build(|_| false);
    assert!(plan.is_empty() && plan.earliest(lab.now).is_none());
}

#[test]
fn the_clients_fallbacks_get_their_turn() {
    let own = [("a", ""), ("b", ", priority = 1"), ("c", ", priority = 2")];
    let lab = Lab::new(&own, "retry = { attempts = 2 }");
    let other = lab.snapshot.model("p/x").unwrap();
    let model = lab.model().followed_by(&[other, lab.model(), lab.snapshot.model("p/y").unwrap()]);
    let mut plan = Plan::build(&model, &Asked::anything(lab.now), |_| None, &mut |_| 0);
    assert!(matches!(plan.left_out(), [LeftOut { target, why: Why::Enough }] if &*target.model == "c"));
    assert_eq!(order(&mut plan, lab.now), ["a", "b", "x", "y"]);
    let mut plan = Plan::build(
        &model,
        &Asked::anything(lab.now),
        |target| (&*target.model == "a").then_some(Why::Unusable),
        &mut |_| 0,
    );
    assert_eq!(order(&mut plan, lab.now), ["b", "c", "x", "y"], "those that cannot be asked take nobody's place");
}

#[test]
fn another_credential_comes_before_another_target() {
    let mut lab = Lab::new(&[("a", ""), ("b", ", priority = 1")], "");
    let mut plan = lab.plan();
    let taken: Vec<_> = std::iter::from_fn(|| plan.take_next(lab.now))
        .map(|taken| (taken.target.model.clone(), taken.credential))
        .collect();
    let mut sorted = taken.clone();
    sorted.sort();
    assert_eq!(sorted, [("a".into(), 0), ("a".into(), 1), ("b".into(), 0), ("b".into(), 1)]);
    assert!(taken.iter().map(|(model, _)| &**model).eq(["a", "a", "b", "b"]));
}

#[test]
fn credentials_are_spread() {
    let mut lab = Lab::new(&[("a", "")], "");
    let mut begun = [0; 2];
    let mut under_way = Vec::new();
    for _ in 0..10 {
        let taken = lab.plan().take_next(lab.now).unwrap();
        begun[taken.credential] += 1;
        under_way.push(taken);
    }
    assert_eq!(begun, [5, 5]);
}

#[test]
fn resting_targets_are_left_out_and_the_earliest_is_known() {
    let mut lab = Lab::new(&[("a", ""), ("b", ", priority = 1")], "");
    lab.fail("a", 5, FailureKind::Connect, None);
    let mut plan = lab.plan();
    assert_eq!(order(&mut plan, lab.now), ["b"]);
    assert!(plan.left_out()[0].words(lab.now).unwrap().starts_with("p/a rests for "), "{:?}", plan.left_out());
    lab.fail("b", 1, FailureKind::RateLimited, Some(Duration::from_secs(40)));
    let plan = lab.plan();
    assert!(plan.is_empty());
    assert!(plan.earliest(lab.now).unwrap() <= Duration::from_secs(3), "{:?}", plan.earliest(lab.now));
}

#[test]
fn a_prompt_that_is_too_long_goes_to_a_larger_window() {
    let targets = [
        ("small", ", context = 8000"),
        ("same", ", context = 8000, priority = 1"),
        ("large", ", context = 200000, priority = 2"),
    ];
    let mut lab = Lab::new(&targets, "");
    let mut plan = lab.plan();
    let taken = plan.take_next(lab.now).unwrap();
    assert!(plan.has_larger_window(&taken.target));
    plan.seek_larger_window(&taken.target);
    assert_eq!(order(&mut plan, lab.now), ["large"]);
}

#[test]
fn a_half_open_target_is_probed_once() {
    let mut lab = Lab::new(&[("a", ""), ("b", ", priority = 1")], "");
    lab.fail("a", 5, FailureKind::Connect, None);
    lab.now += Duration::from_secs(10);
    let (mut first, mut second) = (lab.plan(), lab.plan());
    let probes: Vec<_> = [first.take_next(lab.now), first.take_next(lab.now)].into_iter().flatten().collect();
    assert!(probes.iter().all(|taken| &*taken.target.model == "a"), "one probe for each credential");
    assert_eq!(order(&mut second, lab.now), ["b"]);
}

#[test]
fn what_rests_is_nothing_to_go_on_with() {
    let mut lab = Lab::new(&[("a", ""), ("b", ", priority = 1")], "");
    let refused = Verdict::Failure { kind: FailureKind::RateLimited, retry_after: Some(Duration::from_secs(9)) };
    let mut plan = lab.plan();
    let taken = plan.take_next(lab.now).unwrap();
    _ = taken.target.states[1 - taken.credential].begin(lab.now).unwrap().finish(lab.now, refused);
    assert!(plan.has_next(lab.now) && plan.has_other_target(lab.now));
    lab.fail("b", 1, FailureKind::RateLimited, Some(Duration::from_secs(9)));
    assert!(
        !plan.has_next(lab.now) && !plan.has_other_target(lab.now),
        "the other credential and the other target rest"
    );
    assert!(plan.has_next(lab.now + Duration::from_secs(10)));
}

#[test]
fn a_rival_that_is_not_adopted_was_not_tried() {
    let mut lab = Lab::new(&[("a", ""), ("b", ", priority = 1")], "");
    let mut plan = lab.plan();
    let _first = plan.take_next(lab.now).unwrap();
    for _ in 0..3 {
        assert_eq!(&*plan.begin_rival(lab.now).unwrap().target.model, "b");
    }
    plan.leave_target();
    let tried: Vec<_> = std::iter::from_fn(|| plan.take_next(lab.now)).collect();
    assert_eq!(tried.len(), 2, "both credentials");
}

#[test]
fn who_loses_against_a_rival_comes_after_it() {
    let mut lab = Lab::new(&[("a", ""), ("b", ", priority = 1")], "retry = { attempts = 2 }");
    let mut plan = lab.plan();
    let first = plan.take_next(lab.now).unwrap();
    let rival = plan.begin_rival(lab.now).unwrap();
    plan.prefer_rival(rival.credential, first.credential);
    plan.leave_target();
    let again: Vec<_> = std::iter::from_fn(|| plan.take_next(lab.now)).collect();
    assert!(again.len() == 2 && again.iter().all(|taken| &*taken.target.model == "a"));
}
