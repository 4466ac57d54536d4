//! `[[routes]]` at work: [`RuleSet::decide`] takes the [`Facts`] of a request to the first rule that matches, and to what it
//! says. `facts.rs` has what rules see of a request, `condition.rs` what they ask of it, `cel.rs` the expressions, `split.rs`
//! the draw of a side.

mod cel;
mod condition;
mod facts;
mod split;

use std::sync::Arc;

use ai_gateway_providers::scan::FieldEdits;

pub use cel::{Expression, Failed};
pub use condition::holds;
pub use facts::{Asked, Facts};

use crate::config::{Condition, HeaderEdits, ModelConfig, RouteConfig, RouteTo, SideConfig, SplitBy};
use crate::snapshot::{BuildError, Model, Target};

/// The rules of a configuration, in order. Empty ones cost nothing.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
}

/// One rule, with everything that it refers to.
#[derive(Debug)]
pub struct Rule {
    /// For logs and `explain`.
    pub name: Arc<str>,
    /// Changes to the upstream request's headers.
    pub headers: HeaderEdits,
    /// Changes to the body's fields.
    pub body: FieldEdits,
    when: Vec<Condition>,
    to: To,
    mirror: Option<(Arc<Target>, u32)>,
}

/// Where a rule sends what matches.
#[derive(Debug)]
enum To {
    Asked,
    Model(Arc<Model>),
    Split { by: SplitBy, sides: Vec<(Arc<Model>, u32)> },
    Reject { status: u16, message: String },
}

/// What a rule decided.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The rule that matched.
    pub rule: Arc<Rule>,
    /// Where the request goes.
    pub to: Destination,
    /// Who gets a copy of this request.
    pub mirror: Option<Arc<Target>>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To the model that the client named.
    Asked,
    /// To this one.
    Model(Arc<Model>),
    /// Nowhere: the client gets this.
    Rejected {
        /// From 400 to 499.
        status: u16,
        /// What to tell.
        message: String,
    },
}

/// How a rule took a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'r> {
    /// All its conditions hold.
    Matched,
    /// The first of them that does not hold.
    Failed(&'r Condition),
    /// The expression in this condition failed on the request, which therefore does not match.
    Broke(&'r Condition),
}

impl RuleSet {
    /// Builds the rules. `named` finds a model by its public name, `own` builds one that only a rule knows.
    ///
    /// # Errors
    /// A rule refers to what is not there, which the checks of a configuration refuse.
    pub fn build(
        routes: &[RouteConfig],
        named: impl Fn(&str) -> Option<Arc<Model>>,
        own: impl Fn(&ModelConfig) -> Result<Model, BuildError>,
    ) -> Result<Self, BuildError> {
        let build = |route: &RouteConfig| {
            let dangling = |name: &str| BuildError::Route { route: route.name.clone(), name: name.to_owned() };
            let named = |name: &str| named(name).ok_or_else(|| dangling(name));
            let to = match &route.to {
                RouteTo::Asked => To::Asked,
                RouteTo::Model(name) => To::Model(named(name)?),
                RouteTo::Targets(model) => To::Model(Arc::new(own(model)?)),
                RouteTo::Split { by, sides } => {
                    let side = |side: &SideConfig| Ok::<_, BuildError>((named(&side.model)?, side.share));
                    To::Split { by: *by, sides: sides.iter().map(side).collect::<Result<_, BuildError>>()? }
                }
                RouteTo::Reject { status, message } => To::Reject { status: *status, message: message.clone() },
            };
            let mirror = match &route.mirror {
                None => None,
                Some(mirror) => {
                    let target = own(&mirror.model)?.targets.into_iter().next();
                    Some((target.ok_or_else(|| dangling(&mirror.model.name))?, mirror.share))
                }
            };
            Ok(Arc::new(Rule {
                name: route.name.as_str().into(),
                headers: route.headers.clone(),
                body: route.body.clone(),
                when: route.when.clone(),
                to,
                mirror,
            }))
        };
        Ok(Self { rules: routes.iter().map(build).collect::<Result<_, BuildError>>()? })
    }

    /// Whether there are none: no facts need be gathered then.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule that matches, and what it says; `None` if none does. `random` gives a number below its argument. `told`
    /// hears how each rule took the request, up to the one that matched.
    pub fn decide<'r>(
        &'r self,
        facts: &Facts<'_>,
        random: &mut impl FnMut(u64) -> u64,
        mut told: impl FnMut(&'r Rule, Verdict<'r>),
    ) -> Option<Decision> {
        let rule = self.rules.iter().find(|rule| {
            let verdict = rule.verdict(facts);
            told(rule, verdict);
            matches!(verdict, Verdict::Matched)
        })?;
        let to = match &rule.to {
            To::Asked => Destination::Asked,
            To::Model(model) => Destination::Model(model.clone()),
            To::Split { by, sides } => {
                let ticket = split::ticket(&rule.name, *by, facts, random);
                split::side(sides, ticket).map_or(Destination::Asked, |model| Destination::Model(model.clone()))
            }
            To::Reject { status, message } => Destination::Rejected { status: *status, message: message.clone() },
        };
        let mirror = rule.mirror.as_ref().filter(|(_, share)| random(u64::from(split::WHOLE)) < u64::from(*share));
        Some(Decision { rule: rule.clone(), to, mirror: mirror.map(|(target, _)| target.clone()) })
    }
}

impl Rule {
    fn verdict(&self, facts: &Facts<'_>) -> Verdict<'_> {
        for condition in &self.when {
            match condition::holds(condition, facts) {
                Ok(true) => {}
                Ok(false) => return Verdict::Failed(condition),
                Err(_) => return Verdict::Broke(condition),
            }
        }
        Verdict::Matched
    }
}

#[cfg(test)]
mod tests;
