//! Models and their targets, as routing sees them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ai_gateway_providers::Usage;
use ai_gateway_providers::catalogue::Traits;
use ai_gateway_providers::price::{Cost, Model as Known};

use super::Provider;
use crate::cache::key::CachedModel;
use crate::clock::Time;
use crate::config::{HedgeConfig, Lossy, OnCut, RetryConfig, StrategyConfig, TargetConfig, TimeoutsConfig};
use crate::health::{Health, TargetState};
use crate::limits::{Kind, Limits, Subject};
use crate::routing::Asked;

/// A public name and where it may be answered.
#[derive(Clone, Debug)]
pub struct Model {
    /// What clients ask for.
    pub name: Arc<str>,
    /// Whether it is `provider/model` and has no `[models]` entry.
    pub direct: bool,
    /// How one of several targets of a priority is chosen.
    pub strategy: StrategyConfig,
    /// Whose turn it is, of the targets that take turns.
    pub turn: Arc<AtomicUsize>,
    /// In the order of the file.
    pub targets: Vec<Arc<Target>>,
    /// Which outcomes move on to the next target.
    pub retry: RetryConfig,
    /// What happens to a field that a target's API cannot say.
    pub lossy: Lossy,
    /// When a second call is made.
    pub hedge: Option<HedgeConfig>,
    /// What happens when an answer breaks off.
    pub on_cut: OnCut,
    /// How its answers are kept and shared; `None`: they are not.
    pub cache: Option<Arc<CachedModel>>,
    /// Whose targets these are, where a client named models to fall back on; else empty.
    pub stages: Vec<Stage>,
}

/// The targets of one of several models that are tried one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The model's name.
    pub model: Arc<str>,
    /// Their first priority; they end where those of the next model begin.
    pub from: u32,
    /// The most of them that are tried.
    pub attempts: u32,
}

impl Model {
    /// The most tokens of an answer, by whichever of its targets; `None`: of one it is not known.
    pub fn most_output(&self) -> Option<u64> {
        self.targets.iter().map(|target| target.most_output()).max_by_key(|most| most.unwrap_or(u64::MAX)).flatten()
    }

    /// The same, with the targets of `others` as the last ones to try: of each model as many as its own `retry` says. What is a
    /// target already is none once more.
    pub fn followed_by(&self, others: &[Arc<Self>]) -> Self {
        let mut model = self.clone();
        let caches = others.iter().map(|other| other.cache.as_ref());
        model.cache = self.cache.as_ref().and_then(|cache| cache.followed_by(caches));
        model.stages = vec![Stage { model: self.name.clone(), from: 0, attempts: self.retry.attempts }];
        for other in others {
            let before = model.targets.len();
            let last = model.targets.iter().map(|target| target.priority).max();
            let first = last.map_or(0, |last| last.saturating_add(1));
            for target in &other.targets {
                let same =
                    |known: &Arc<Target>| known.provider.name == target.provider.name && known.model == target.model;
                if !model.targets.iter().any(same) {
                    model.targets.push(Arc::new(target.at_priority(first.saturating_add(target.priority))));
                }
            }
            let added = u32::try_from(model.targets.len() - before).unwrap_or(u32::MAX);
            let attempts = added.min(other.retry.attempts);
            model.retry.attempts = model.retry.attempts.saturating_add(attempts);
            model.stages.push(Stage { model: other.name.clone(), from: first, attempts });
        }
        model
    }

    /// The name of the model for which `target` answers: this one, or one to fall back on.
    pub fn answered_for(&self, target: &Target) -> &Arc<str> {
        let stage = self.stages.iter().rfind(|stage| stage.from <= target.priority);
        stage.map_or(&self.name, |stage| &stage.model)
    }
}

/// One place where a model can be answered.
#[derive(Clone, Debug)]
pub struct Target {
    /// The account.
    pub provider: Arc<Provider>,
    /// The provider's own name of the model.
    pub model: Arc<str>,
    /// What the model accepts.
    pub traits: Traits,
    /// Share inside its priority.
    pub weight: u32,
    /// Smaller first.
    pub priority: u32,
    /// The clocks of an attempt.
    pub timeouts: TimeoutsConfig,
    /// What it costs and how large its context is, as far as that is known.
    pub known: Arc<Known>,
    /// How it is, for each of the provider's credentials; at least one.
    pub states: Vec<Arc<TargetState>>,
    /// What its provider allows of it, if the configuration says so.
    pub limits: Option<Arc<Subject>>,
    /// What time it is for its health.
    pub time: Time,
    /// Whose turn it is, of equally busy credentials.
    pub turn: Arc<AtomicUsize>,
}

impl Target {
    /// The number of one of the provider's credentials that may be used now, at random; `None`: the target rests.
    pub fn any_credential(&self) -> Option<usize> {
        let now = self.time.instant();
        let states = self.states.iter().enumerate();
        let usable: Vec<usize> =
            states.filter(|(_, state)| state.check(now).is_usable()).map(|(number, _)| number).collect();
        fastrand::choice(usable)
    }

    /// The target that `config` describes, with the state that it has had so far.
    pub fn new(config: &TargetConfig, provider: &Arc<Provider>, health: &Health, limits: &Limits) -> Self {
        let states = (0..provider.credentials.len())
            .map(|credential| health.target(&provider.name, &config.model, credential, limits.time().instant()))
            .collect();
        Self {
            provider: provider.clone(),
            model: config.model.as_str().into(),
            traits: config.traits,
            weight: config.weight,
            priority: config.priority,
            timeouts: config.timeouts,
            known: config.known.clone(),
            states,
            time: limits.time().clone(),
            limits: limits.find(Kind::Target, &config.id()),
            turn: Arc::default(),
        }
    }

    /// The same place at another priority.
    fn at_priority(&self, priority: u32) -> Self {
        Self { priority, ..self.clone() }
    }

    /// What `usage` costs here by its price, or, where that does not tell the whole, by what the provider says that it charges;
    /// `None`: nothing is known of that.
    pub fn cost(&self, usage: &Usage, tier: Option<&str>) -> Option<Cost> {
        let cost = self.known.price.as_ref().map(|price| price.cost(usage, tier));
        let charged = || usage.charged.filter(|_| self.provider.preset.tells_cost).map(Cost::charged);
        cost.filter(|cost| cost.unpriced.is_none()).or_else(charged).or(cost)
    }

    /// The most tokens of an answer; `None`: it is not known.
    pub fn most_output(&self) -> Option<u64> {
        self.traits.max_output.or(self.known.max_output)
    }

    /// What a request is expected to cost here, in pico-dollars; `None` if the price is not known.
    pub fn expected_cost(&self, asked: &Asked) -> Option<u64> {
        self.known.price.as_ref()?.expected(asked.prompt_tokens, asked.output_tokens)
    }
}
