//! Why a plan is in the order that it is in, by the very measures that ordered it.

use ai_gateway_providers::price::Dollars;

use super::plan::Candidate;
use super::strategy::Asked;
use crate::config::Strategy;
use crate::snapshot::Model;

/// Why a candidate stands behind another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Behind {
    /// A fixed word: `priority`, `weight`, `draw`, `turn`, `latency`, `in_flight`, `cost` or `affinity`.
    pub by: &'static str,
    /// The same for people.
    pub detail: String,
}

impl Behind {
    /// Why the candidate at `position` of a new plan of `model` stands behind the one before it.
    pub fn the_one_before(candidates: &[Candidate], position: usize, model: &Model, asked: &Asked) -> Option<Self> {
        let (this, before) = (candidates.get(position)?, candidates.get(position.checked_sub(1)?)?);
        let [mine, other] = [this, before].map(|candidate| &candidate.target);
        if mine.priority > other.priority {
            let detail = format!("priority {} comes after {}", mine.priority, other.priority);
            return Some(Self { by: "priority", detail });
        }
        if mine.weight == 0 && other.weight > 0 {
            return Some(by("weight", "it has no weight: only when the others have failed"));
        }
        if mine.weight == 0 && model.strategy.strategy != Strategy::LowestCost {
            return Some(by("weight", "neither it nor the one before has a weight"));
        }
        let first_two =
            position == candidates.iter().take_while(|first| first.target.priority < mine.priority).count() + 1;
        Some(match model.strategy.strategy {
            Strategy::RoundRobin => by("turn", "its turn comes later"),
            Strategy::LeastLatency if first_two => by_latency(this, before, asked),
            Strategy::LeastBusy => by_load(this, before),
            Strategy::LowestCost => by_cost(this, before, asked),
            Strategy::Sticky if asked.sticky.is_some() => {
                by("affinity", "what the request sticks by fits the one before")
            }
            Strategy::Weighted | Strategy::LeastLatency | Strategy::Sticky => drawn(this),
        })
    }
}

fn by(by: &'static str, detail: &str) -> Behind {
    Behind { by, detail: detail.to_owned() }
}

fn drawn(this: &Candidate) -> Behind {
    Behind { by: "draw", detail: format!("drawn later, with weight {}", this.target.weight) }
}

fn by_latency(this: &Candidate, before: &Candidate, asked: &Asked) -> Behind {
    let [mine, other] = [this.expected_wait(asked, before), before.expected_wait(asked, this)];
    if mine <= other {
        return drawn(this);
    }
    let what = if asked.stream { "first output" } else { "an answer" };
    let [mine, other] = [mine, other].map(|wait| wait.as_secs_f64() * 1e3);
    Behind { by: "latency", detail: format!("{what} expected in {mine:.0} ms, of the one before in {other:.0} ms") }
}

fn by_load(this: &Candidate, before: &Candidate) -> Behind {
    let [mine, other] = [this, before].map(Candidate::load);
    match mine > other {
        true => Behind {
            by: "in_flight",
            detail: format!("{mine:.2} in flight for its weight, at the one before {other:.2}"),
        },
        false => drawn(this),
    }
}

fn by_cost(this: &Candidate, before: &Candidate, asked: &Asked) -> Behind {
    match [this, before].map(|candidate| candidate.target.expected_cost(asked)) {
        [None, Some(_)] => by("cost", "its price is not known"),
        [Some(mine), Some(other)] if mine > other => Behind {
            by: "cost",
            detail: format!("{} USD expected, at the one before {}", Dollars(mine), Dollars(other)),
        },
        _ => drawn(this),
    }
}
