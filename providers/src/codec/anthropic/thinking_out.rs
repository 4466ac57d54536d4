//! What is asked about reasoning, as each Claude model takes it: <https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/effort>.

use serde::Serialize;

use crate::catalogue::Thinking;
use crate::common::{Effort, Losses, ReasoningConfig, ReasoningMode};

/// The least budget that Anthropic takes.
const LEAST: u64 = 1024;

/// `thinking`.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ThinkingOut {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<&'static str>,
}

/// `thinking` and `output_config.effort`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    pub thinking: Option<ThinkingOut>,
    pub effort: Option<&'static str>,
}

impl Plan {
    /// Thinking within a budget: forced tools, other sampling and turns that do not begin with thinking are refused.
    pub(super) fn manual(&self) -> bool {
        self.thinking.is_some_and(|thinking| thinking.budget_tokens.is_some())
    }

    /// Whether the model thinks, one way or the other.
    pub(super) fn on(&self) -> bool {
        self.thinking.is_some_and(|thinking| thinking.r#type != "disabled")
    }

    /// Gives thinking up.
    pub(super) fn give_up(&mut self, losses: &mut Losses) {
        losses.note("reasoning");
        *self = Self::default();
    }

    /// What `asked` becomes. `own`: the client speaks Anthropic's words, and means them.
    pub(super) fn of(
        asked: &ReasoningConfig<'_>,
        model: Thinking,
        max_tokens: u64,
        own: bool,
        losses: &mut Losses,
    ) -> Self {
        let ReasoningConfig { mode, effort, budget, summary, show } = asked;
        if own && model == Thinking::AsAsked {
            return Self {
                thinking: mode.map(|mode| ThinkingOut {
                    r#type: match mode {
                        ReasoningMode::Disabled => "disabled",
                        ReasoningMode::Enabled => "enabled",
                        ReasoningMode::Adaptive => "adaptive",
                    },
                    budget_tokens: *budget,
                    display: show.map(display),
                }),
                effort: effort.map(Effort::as_str),
            };
        }
        let off = *mode == Some(ReasoningMode::Disabled) || *effort == Some(Effort::None) || *budget == Some(0);
        let asked = mode.is_some() || budget.is_some() || (effort.is_some() && !own);
        // A client that wants a summary wants to see what was thought; models differ in what they show unasked.
        let show = show.or(summary.is_some().then_some(true));
        let word =
            effort.filter(|effort| *effort != Effort::None).map(|effort| effort_word(effort, model, own, losses));
        match model {
            Thinking::Unsupported => {
                losses.note_if(!off && (asked || word.is_some()), "reasoning");
                Self::default()
            }
            Thinking::Always if off => {
                losses.note("reasoning");
                Self::default()
            }
            _ if off => Self { thinking: Some(plain("disabled")), effort: word.filter(|_| own) },
            _ if !asked => Self { thinking: None, effort: word.filter(|_| model != Thinking::Budget || own) },
            Thinking::Budget => Self {
                thinking: manual(
                    budget.or(effort.map(Effort::budget)).unwrap_or(Effort::High.budget()),
                    max_tokens,
                    losses,
                )
                .map(|thinking| ThinkingOut { display: show.filter(|show| !show).map(display), ..thinking }),
                effort: word.filter(|_| own),
            },
            Thinking::AsAsked if budget.is_some() => Self {
                thinking: manual(budget.unwrap_or_default(), max_tokens, losses)
                    .map(|thinking| ThinkingOut { display: show.filter(|show| !show).map(display), ..thinking }),
                effort: None,
            },
            Thinking::AsAsked | Thinking::Adaptive | Thinking::Always => Self {
                thinking: Some(ThinkingOut { display: show.map(display), ..plain("adaptive") }),
                effort: word.or(budget.map(|budget| effort_word(Effort::of_budget(budget), model, own, losses))),
            },
        }
    }
}

const fn plain(kind: &'static str) -> ThinkingOut {
    ThinkingOut { r#type: kind, budget_tokens: None, display: None }
}

const fn display(show: bool) -> &'static str {
    if show { "summarized" } else { "omitted" }
}

/// A budget within its bounds: at least 1,024, and less than `max_tokens`, with a quarter of that left for the answer.
fn manual(budget: u64, max_tokens: u64, losses: &mut Losses) -> Option<ThinkingOut> {
    if max_tokens <= LEAST {
        losses.note("reasoning");
        return None;
    }
    let most = if budget < max_tokens { budget } else { max_tokens - max_tokens / 4 };
    Some(ThinkingOut { budget_tokens: Some(most.max(LEAST)), ..plain("enabled") })
}

/// `xhigh` is known only to models that know no budgets; what they all know comes near.
fn effort_word(effort: Effort, model: Thinking, own: bool, losses: &mut Losses) -> &'static str {
    match effort {
        effort if own => effort.as_str(),
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::XHigh if !model.adaptive_only() => {
            losses.note_if(model == Thinking::AsAsked, "reasoning");
            "high"
        }
        effort => effort.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(asked: &ReasoningConfig<'_>, model: Thinking, max_tokens: u64) -> (Value, Option<&'static str>, bool) {
        let mut losses = Losses::default();
        let plan = Plan::of(asked, model, max_tokens, false, &mut losses);
        (serde_json::to_value(plan.thinking).unwrap(), plan.effort, losses.is_empty())
    }

    #[test]
    fn an_effort_goes_as_each_model_takes_it() {
        let high = ReasoningConfig { effort: Some(Effort::High), ..ReasoningConfig::default() };
        let adaptive = json!({"type": "adaptive"});
        assert_eq!(plan(&high, Thinking::AsAsked, 32_000), (adaptive.clone(), Some("high"), true));
        assert_eq!(plan(&high, Thinking::Adaptive, 32_000), (adaptive, Some("high"), true));
        let budget = json!({"type": "enabled", "budget_tokens": 16_384});
        assert_eq!(plan(&high, Thinking::Budget, 32_000), (budget, None, true));
        assert_eq!(plan(&high, Thinking::Unsupported, 32_000), (Value::Null, None, false));
        let none = ReasoningConfig { effort: Some(Effort::None), ..ReasoningConfig::default() };
        assert_eq!(plan(&none, Thinking::AsAsked, 32_000), (json!({"type": "disabled"}), None, true));
        assert_eq!(plan(&none, Thinking::Always, 32_000), (Value::Null, None, false));
    }

    #[test]
    fn a_budget_stays_within_its_bounds() {
        let asked = |budget| ReasoningConfig { budget: Some(budget), ..ReasoningConfig::default() };
        let enabled = |budget: u64| (json!({"type": "enabled", "budget_tokens": budget}), None, true);
        assert_eq!(plan(&asked(500), Thinking::AsAsked, 8000), enabled(1024));
        assert_eq!(plan(&asked(5000), Thinking::AsAsked, 8000), enabled(5000));
        assert_eq!(plan(&asked(8000), Thinking::AsAsked, 8000), enabled(6000));
        assert_eq!(plan(&asked(8000), Thinking::Budget, 1025), enabled(1024));
        assert_eq!(plan(&asked(500), Thinking::Budget, 1024), (Value::Null, None, false));
        assert_eq!(plan(&asked(9000), Thinking::Adaptive, 800), (json!({"type": "adaptive"}), Some("high"), true));
    }
}
