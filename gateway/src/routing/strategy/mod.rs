//! The order of the targets of one priority.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::plan::Candidate;
use super::stable::stable_hash;
use crate::config::Strategy;
use crate::health::TargetState;
use crate::snapshot::{Model, Target};

/// What a strategy wants to know of the request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When.
    pub now: Instant,
    /// Hash of what the request has in common with those that must go to the same target.
    pub sticky: Option<u64>,
    /// Tokens that the prompt is expected to have.
    pub prompt_tokens: u64,
    /// Tokens that the answer is expected to have.
    pub output_tokens: u64,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether it is only to be told what would happen: no turn is taken.
    pub preview: bool,
}

impl Asked {
    /// A request of which nothing is known.
    pub fn anything(now: Instant) -> Self {
        Self { now, sticky: None, prompt_tokens: 0, output_tokens: 0, stream: true, preview: false }
    }

    /// How fast a target was lately, in what matters to the request: streams are seen at their first output, other answers when
    /// they are whole.
    pub fn latency_of(&self, state: &TargetState) -> Option<Duration> {
        if self.stream { state.latency(self.now) } else { state.answer_time(self.now) }
    }
}

/// Whose turn it is for one request, of the targets of `model` that take turns.
pub(super) fn turn(model: &Model, asked: &Asked) -> usize {
    match model.strategy.strategy {
        Strategy::RoundRobin if asked.preview => model.turn.load(Ordering::Relaxed),
        Strategy::RoundRobin => model.turn.fetch_add(1, Ordering::Relaxed),
        _ => 0,
    }
}

/// Brings the candidates of one priority of `model` in order, the best first. `random` draws below its argument.
pub(super) fn order(
    group: &mut [Candidate],
    model: &Model,
    asked: &Asked,
    turn: usize,
    random: &mut impl FnMut(u64) -> u64,
) {
    match model.strategy.strategy {
        Strategy::Weighted => shuffle_by_weight(group, random),
        Strategy::RoundRobin => {
            let taking_turns = of_some_weight(group);
            taking_turns.rotate_left(turn % taking_turns.len().max(1));
        }
        Strategy::LeastLatency => {
            shuffle_by_weight(group, random);
            if let [first, second, ..] = group
                && second.target.weight > 0
                && second.expected_wait(asked, first) < first.expected_wait(asked, second)
            {
                group.swap(0, 1);
            }
        }
        Strategy::LeastBusy => {
            shuffle_by_weight(group, random);
            group.sort_by(|a, b| a.load().total_cmp(&b.load()));
        }
        Strategy::LowestCost => {
            shuffle_by_weight(group, random);
            group.sort_by_key(|candidate| {
                let target = &candidate.target;
                (target.weight == 0, target.expected_cost(asked).map_or((true, 0), |cost| (false, cost)))
            });
        }
        Strategy::Sticky => match asked.sticky {
            Some(key) => group.sort_by_cached_key(|candidate| Reverse(affinity(key, &candidate.target))),
            None => shuffle_by_weight(group, random),
        },
    }
}

/// Draws without replacement, each time in proportion to the weights. Weight 0 comes last.
fn shuffle_by_weight(group: &mut [Candidate], random: &mut impl FnMut(u64) -> u64) {
    let mut total: u64 = group.iter().map(|candidate| u64::from(candidate.target.weight)).sum();
    for start in 0..group.len() {
        if total == 0 {
            return;
        }
        let mut ticket = random(total);
        let drawn = group[start..].iter().position(|candidate| {
            let weight = u64::from(candidate.target.weight);
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        });
        group.swap(start, start + drawn.unwrap_or(0));
        total -= u64::from(group[start].target.weight);
    }
}

/// Brings those of weight 0 to the end; the others, which take turns.
fn of_some_weight(group: &mut [Candidate]) -> &mut [Candidate] {
    group.sort_by_key(|candidate| candidate.target.weight == 0);
    let count = group.partition_point(|candidate| candidate.target.weight > 0);
    &mut group[..count]
}

/// How much `target` and what `key` stands for belong together. The highest wins, in proportion to the weights, and a target
/// that comes or goes moves only its own share (weighted rendezvous hashing). The bits of a number that is not negative are in its
/// own order.
fn affinity(key: u64, target: &Target) -> u64 {
    let hash = stable_hash(&[&key.to_le_bytes(), target.provider.name.as_bytes(), target.model.as_bytes()]);
    // 53 bits, in (0, 1].
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    let uniform = ((hash >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let affinity = f64::from(target.weight) / -uniform.ln().min(-f64::MIN_POSITIVE);
    affinity.to_bits()
}

#[cfg(test)]
mod tests;
