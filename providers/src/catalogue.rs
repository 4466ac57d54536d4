//! What models accept, where models of one dialect differ and answer what they do not know with a 400.
//!
//! The facts are a table of parts of model names, which clouds and resellers keep (`us.anthropic.claude-sonnet-4-5-v1:0`,
//! `claude-sonnet-4-5@20250929`, `anthropic/claude-sonnet-4.5`). The first row that fits counts; a model that fits none is taken as it
//! is asked. The gateway lets an operator say otherwise for a target (`traits`).
//!
//! Sources: <https://platform.claude.com/docs/en/about-claude/models/overview>,
//! <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>, <https://ai.google.dev/gemini-api/docs/thinking>,
//! <https://platform.openai.com/docs/guides/latest-model>, read in November 2026.

use crate::common::Effort;

/// What is known of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// Its most output tokens: for dialects that demand a number.
    pub max_output: Option<u64>,
    /// How a Claude model takes what is asked about reasoning; of any model, that it does not reason.
    pub thinking: Thinking,
    /// Claude: it answers a choice of tools that forces a call with a 400.
    pub refuses_forced_tool: bool,
    /// Gemini: it is of the third generation or later. It takes `thinkingLevel`, media in function responses and a media
    /// resolution on a part; those before take only `thinkingBudget`.
    pub gemini_3: bool,
    /// Whether it goes on with what a message of the assistant at the end has begun.
    pub prefill: Prefill,
    /// OpenAI: when it reasons. While it does it takes no settings of sampling.
    pub reasons: Reasons,
    /// OpenAI: what it takes in Chat Completions.
    pub in_chat: InChat,
    /// OpenAI and its imitators: the most effort that it may be asked for. Most of their models know no more than `high`.
    pub max_effort: Effort,
    /// The least effort that it may be asked for, where it is known: `none` of those that can be told not to reason. No model of OpenAI
    /// that knows `none` knows `minimal`.
    pub min_effort: Option<Effort>,
}

/// When a model of OpenAI reasons: <https://platform.openai.com/docs/guides/reasoning>. While it does, it answers a temperature, a
/// nucleus, penalties, probabilities and stop sequences with a 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reasons {
    /// Not known, or never.
    #[default]
    Unknown,
    /// Only if it is asked to: the effort that is not said is `none`.
    IfAsked,
    /// Unless it is told not to.
    UnlessToldNot,
}

impl Reasons {
    /// Whether settings of sampling are taken beside this effort.
    #[must_use]
    pub fn takes_sampling(self, effort: Option<&str>) -> bool {
        match self {
            Self::Unknown => true,
            Self::IfAsked => effort.is_none_or(|effort| effort == "none"),
            Self::UnlessToldNot => effort == Some("none"),
        }
    }
}

/// What a model of OpenAI takes in Chat Completions: <https://platform.openai.com/docs/models>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InChat {
    /// All that this API can say.
    #[default]
    All,
    /// Everything but tools: "Function tools with reasoning_effort are not supported".
    NoTools,
    /// Nothing: it is there in Responses only.
    Nothing,
}

/// Whether a model goes on with what a message of the assistant at the end has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefill {
    /// Not known: where the vendor has a way to say it ([`PrefillSpelling`](crate::preset::PrefillSpelling)), it does.
    #[default]
    Unknown,
    /// It answers such a request with a 400.
    Refused,
    /// In its maker's own API and in Bedrock's. Others that offer it may begin anew.
    OwnApi,
    /// The operator says so.
    Always,
}

/// How a Claude model takes what is asked about reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Thinking {
    /// Not known, or both ways (4.6): a budget goes as a budget, an effort as adaptive thinking.
    #[default]
    AsAsked,
    /// Only budgets (3.7 to 4.5): an effort goes as the budget that stands for it.
    Budget,
    /// Only adaptive thinking, and no sampling parameters (from Opus 4.7 on): a budget goes as the effort that stands for it.
    Adaptive,
    /// The same, and it cannot be turned off (Fable, Mythos; Opus and Sonnet from 5.5 on).
    Always,
    /// The model does not reason.
    Unsupported,
}

impl Thinking {
    /// Whether it takes no budget and no sampling parameters.
    #[must_use]
    pub fn adaptive_only(self) -> bool {
        matches!(self, Self::Adaptive | Self::Always)
    }
}

/// A row: a part of the name in lower case with `.` as `-`, and what models with it are like. `#` at the end is any number of up to
/// two digits. A number at the end is all of the version: `opus-4` is in `opus-4-20250514` and not in `opus-4-5`.
type Row = (&'static str, Traits);

const NOTHING: Traits = Traits {
    max_output: None,
    thinking: Thinking::AsAsked,
    refuses_forced_tool: false,
    gemini_3: false,
    prefill: Prefill::Unknown,
    reasons: Reasons::Unknown,
    in_chat: InChat::All,
    max_effort: Effort::High,
    min_effort: None,
};

impl Default for Traits {
    fn default() -> Self {
        NOTHING
    }
}

/// Up to 4.5.
const fn claude(max_output: u64, thinking: Thinking) -> Traits {
    Traits { max_output: Some(max_output), thinking, prefill: Prefill::OwnApi, ..NOTHING }
}

/// From 4.6 on: <https://platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-6#prefill-removal>.
const fn claude_4_6(thinking: Thinking) -> Traits {
    Traits { prefill: Prefill::Refused, ..claude(128_000, thinking) }
}

/// The newest: <https://platform.claude.com/docs/en/models/fable-5/migration-guide>.
const CLAUDE: Traits = Traits { refuses_forced_tool: true, ..claude_4_6(Thinking::Always) };

/// A model that cannot be told not to reason, but hardly to.
const REASONS: Traits = Traits { min_effort: Some(Effort::Low), ..NOTHING };

const GEMINI_3: Traits = Traits { gemini_3: true, ..REASONS };

/// A model of OpenAI that reasons, from the least effort that it knows to the most.
const fn openai(reasons: Reasons, min_effort: Effort, max_effort: Effort) -> Traits {
    Traits { reasons, max_effort, min_effort: Some(min_effort), ..NOTHING }
}

/// The same, which is there in Responses only.
const fn in_responses(min_effort: Effort, max_effort: Effort) -> Traits {
    Traits { in_chat: InChat::Nothing, ..openai(Reasons::UnlessToldNot, min_effort, max_effort) }
}

/// The same, which takes no tools in Chat Completions (from GPT-5.4 on).
const fn without_tools(reasons: Reasons, min_effort: Effort, max_effort: Effort) -> Traits {
    Traits { in_chat: InChat::NoTools, ..openai(reasons, min_effort, max_effort) }
}

/// The newest of OpenAI: <https://developers.openai.com/api/docs/models>.
const GPT: Traits = without_tools(Reasons::UnlessToldNot, Effort::Low, Effort::Max);

/// A model that does not.
const CHAT: Traits = Traits { thinking: Thinking::Unsupported, ..NOTHING };

/// The first one counts. Names of models are open-ended: what has a maker's name and is not among the models before is taken for like the
/// newest.
const ROWS: &[Row] = &[
    ("claude-instant", claude(4_096, Thinking::Unsupported)),
    ("claude-v2", claude(4_096, Thinking::Unsupported)),
    ("claude-2", claude(4_096, Thinking::Unsupported)),
    ("claude-2-#", claude(4_096, Thinking::Unsupported)),
    ("claude-3", claude(4_096, Thinking::Unsupported)),
    ("claude-3-5", claude(8_192, Thinking::Unsupported)),
    ("claude-3-7", claude(64_000, Thinking::Budget)),
    // Some vendors put the version first.
    ("claude-4", claude(32_000, Thinking::Budget)),
    ("claude-4-5", claude(64_000, Thinking::Budget)),
    ("claude-4-6", claude_4_6(Thinking::AsAsked)),
    ("claude-4-7", claude_4_6(Thinking::Adaptive)),
    ("claude-4-8", claude_4_6(Thinking::Adaptive)),
    ("opus-4", claude(32_000, Thinking::Budget)),
    ("opus-4-0", claude(32_000, Thinking::Budget)),
    ("opus-4-1", claude(32_000, Thinking::Budget)),
    ("opus-4-5", claude(64_000, Thinking::Budget)),
    ("opus-4-6", claude_4_6(Thinking::AsAsked)),
    ("opus-4-7", claude_4_6(Thinking::Adaptive)),
    ("opus-4-8", claude_4_6(Thinking::Adaptive)),
    ("sonnet-4", claude(64_000, Thinking::Budget)),
    ("sonnet-4-0", claude(64_000, Thinking::Budget)),
    ("sonnet-4-5", claude(64_000, Thinking::Budget)),
    ("sonnet-4-6", claude_4_6(Thinking::AsAsked)),
    ("haiku-4-5", claude(64_000, Thinking::Budget)),
    ("claude-opus-5", claude_4_6(Thinking::Adaptive)),
    ("claude-sonnet-5", claude_4_6(Thinking::Adaptive)),
    ("claude-haiku-5", claude_4_6(Thinking::Adaptive)),
    ("claude-haiku-5-5", claude_4_6(Thinking::Adaptive)),
    ("claude-fable-5", claude_4_6(Thinking::Always)),
    ("claude-mythos-5", claude_4_6(Thinking::Always)),
    ("claude-mythos-preview", claude_4_6(Thinking::Always)),
    ("claude-", CLAUDE),
    // It refuses to be asked: https://ai.google.dev/gemini-api/docs/thinking
    ("gemini-2-0-flash-thinking", NOTHING),
    ("gemini-2-0", CHAT),
    ("gemini-1-", CHAT),
    ("gemini-2-5-pro", REASONS),
    ("gemini-2-", NOTHING),
    ("gemini-robotics-er-1-5", NOTHING),
    // Google's aliases, such as gemini-pro-latest, have long meant the third generation.
    ("gemini-pro-latest", GEMINI_3),
    ("gemini-pro", CHAT),
    ("gemini-", GEMINI_3),
    // So does Nova's first generation: https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
    ("nova-micro", CHAT),
    ("nova-lite", CHAT),
    ("nova-pro", CHAT),
    ("nova-premier", CHAT),
    ("gpt-3", CHAT),
    ("gpt-3-5", CHAT),
    // Azure's way to write it.
    ("gpt-35", CHAT),
    ("gpt-4", CHAT),
    ("gpt-4-#", CHAT),
    ("chatgpt-4o", CHAT),
    // In Chat Completions only.
    ("gpt-5-search", CHAT),
    ("gpt-5-chat", CHAT),
    // What each may be asked for: https://platform.openai.com/docs/models, https://developers.openai.com/api/docs/guides/reasoning
    ("gpt-5-codex", in_responses(Effort::Low, Effort::High)),
    ("gpt-5-pro", in_responses(Effort::High, Effort::High)),
    ("gpt-5-1-codex-max", in_responses(Effort::Low, Effort::XHigh)),
    ("gpt-5-1-codex-mini", in_responses(Effort::Medium, Effort::High)),
    ("gpt-5-1-codex", in_responses(Effort::Low, Effort::High)),
    ("gpt-5-1-chat", openai(Reasons::UnlessToldNot, Effort::Medium, Effort::Medium)),
    ("gpt-5-2-chat", openai(Reasons::UnlessToldNot, Effort::Medium, Effort::Medium)),
    ("gpt-5-3-chat", openai(Reasons::UnlessToldNot, Effort::Medium, Effort::Medium)),
    ("gpt-5-2-codex", in_responses(Effort::Low, Effort::XHigh)),
    ("gpt-5-2-pro", in_responses(Effort::Medium, Effort::XHigh)),
    ("gpt-5-4-pro", in_responses(Effort::Medium, Effort::XHigh)),
    ("gpt-5-5-pro", in_responses(Effort::Medium, Effort::XHigh)),
    ("gpt-5-1", openai(Reasons::IfAsked, Effort::None, Effort::High)),
    ("gpt-5-2", openai(Reasons::IfAsked, Effort::None, Effort::XHigh)),
    ("gpt-5-3-codex", in_responses(Effort::Low, Effort::XHigh)),
    ("gpt-5-3", openai(Reasons::UnlessToldNot, Effort::Low, Effort::XHigh)),
    ("gpt-5-4", without_tools(Reasons::IfAsked, Effort::None, Effort::XHigh)),
    ("gpt-5-5", without_tools(Reasons::UnlessToldNot, Effort::None, Effort::XHigh)),
    ("gpt-5-6", without_tools(Reasons::UnlessToldNot, Effort::None, Effort::Max)),
    ("gpt-5", openai(Reasons::UnlessToldNot, Effort::Minimal, Effort::High)),
    ("gpt-6-sol", without_tools(Reasons::UnlessToldNot, Effort::None, Effort::Max)),
    ("gpt-6-luna", without_tools(Reasons::UnlessToldNot, Effort::None, Effort::Max)),
    ("gpt-6-1-terra", without_tools(Reasons::UnlessToldNot, Effort::None, Effort::Max)),
    ("gpt-#", GPT),
    ("gpt-oss", REASONS),
    ("o1-pro", in_responses(Effort::Low, Effort::High)),
    ("o3-pro", in_responses(Effort::Low, Effort::High)),
    ("o3-deep-research", in_responses(Effort::Medium, Effort::Medium)),
    ("o4-mini-deep-research", in_responses(Effort::Medium, Effort::Medium)),
    ("o1", openai(Reasons::UnlessToldNot, Effort::Low, Effort::High)),
    ("o3", openai(Reasons::UnlessToldNot, Effort::Low, Effort::High)),
    ("o4-mini", openai(Reasons::UnlessToldNot, Effort::Low, Effort::High)),
    ("codex-mini", in_responses(Effort::Low, Effort::High)),
];

impl Traits {
    /// Whether it may be sent a message of the assistant at the end.
    #[must_use]
    pub fn takes_prefill(&self) -> bool {
        self.prefill != Prefill::Refused && !self.thinking.adaptive_only()
    }

    /// What is known of `model`, by any name that a vendor gives it.
    #[must_use]
    pub fn of(model: &str) -> Self {
        let name: String = model.chars().map(|c| if c == '.' { '-' } else { c.to_ascii_lowercase() }).collect();
        ROWS.iter().find(|(part, _)| is_named(&name, part)).map_or_else(Self::default, |(_, traits)| *traits)
    }
}

/// Whether the part of a [`Row`] is in `name`, at its beginning or after something that is no letter or digit: `o1` is not in `pro1`.
fn is_named(name: &str, part: &str) -> bool {
    let (word, any_number) = part.strip_suffix('#').map_or((part, false), |word| (word, true));
    name.match_indices(word).any(|(at, _)| {
        let (before, behind) = (&name[..at], &name[at + word.len()..]);
        let fits = match any_number {
            true => is_number(behind),
            false => !word.ends_with(|c: char| c.is_ascii_digit()) || ends_version(behind),
        };
        fits && !before.ends_with(|c: char| c.is_ascii_alphanumeric())
    })
}

/// Whether the version that stands before it is complete: what follows may be a date, or a word such as `32k`.
fn ends_version(behind: &str) -> bool {
    !behind.starts_with(|c: char| c.is_ascii_digit()) && !behind.strip_prefix('-').is_some_and(is_number)
}

/// Whether it begins with a number of one or two digits.
fn is_number(text: &str) -> bool {
    let behind = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (1..=2).contains(&(text.len() - behind.len())) && !behind.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_names_are_known() {
        for (model, thinking, max_output) in [
            ("claude-sonnet-4-5-20250929", Thinking::Budget, Some(64_000)),
            ("us.anthropic.claude-opus-4-20250514-v1:0", Thinking::Budget, Some(32_000)),
            ("anthropic/claude-3.5-haiku", Thinking::Unsupported, Some(8_192)),
            ("claude-3-haiku-20240307", Thinking::Unsupported, Some(4_096)),
            ("claude-opus-4-6", Thinking::AsAsked, Some(128_000)),
            ("claude-opus-4-8@default", Thinking::Adaptive, Some(128_000)),
            ("claude-2.1", Thinking::Unsupported, Some(4_096)),
            ("anthropic.claude-v2:1", Thinking::Unsupported, Some(4_096)),
            ("claude-4-sonnet", Thinking::Budget, Some(32_000)),
            ("claude-opus-4-1@20250805", Thinking::Budget, Some(32_000)),
            ("claude-opus-5", Thinking::Adaptive, Some(128_000)),
            ("us.anthropic.claude-sonnet-5-v1:0", Thinking::Adaptive, Some(128_000)),
            ("claude-haiku-5-5", Thinking::Adaptive, Some(128_000)),
            ("claude-opus-5-5", Thinking::Always, Some(128_000)),
            ("anthropic/claude-sonnet-5.5", Thinking::Always, Some(128_000)),
            ("claude-fable-5", Thinking::Always, Some(128_000)),
            ("claude-mythos-preview", Thinking::Always, Some(128_000)),
            ("claude-of-tomorrow", Thinking::Always, Some(128_000)),
            ("of-claude-s", Thinking::Always, Some(128_000)),
            ("gpt-5", Thinking::AsAsked, None),
        ] {
            let traits = Traits::of(model);
            assert_eq!((traits.thinking, traits.max_output), (thinking, max_output), "{model}");
        }
        for (model, prefill) in [
            ("claude-sonnet-4-5", Prefill::OwnApi),
            ("anthropic.claude-3-haiku-20240307-v1:0", Prefill::OwnApi),
            ("claude-opus-4-5", Prefill::OwnApi),
            ("claude-opus-4-6", Prefill::Refused),
            ("us.anthropic.claude-sonnet-4-6", Prefill::Refused),
            ("claude-opus-4-8", Prefill::Refused),
            ("claude-fable-5-2", Prefill::Refused),
            ("gpt-5", Prefill::Unknown),
        ] {
            assert_eq!(Traits::of(model).prefill, prefill, "{model}");
        }
        for (model, refused) in [
            ("claude-opus-5", false),
            ("claude-fable-5", false),
            ("claude-fable-5-20260301", false),
            ("claude-fable-5-1", true),
            ("anthropic.claude-mythos-5-2-v1:0", true),
            ("claude-opus-5-5", true),
            ("claude-sonnet-5-5", true),
            ("claude-haiku-5-5", false),
            ("claude-opus-6", true),
        ] {
            assert_eq!(Traits::of(model).refuses_forced_tool, refused, "{model}");
        }
        for (model, reasons, thinking) in [
            ("gpt-5", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-5-2025-08-07", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("openai/gpt-5-mini", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-5.1-codex-max", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-5.2", Reasons::IfAsked, Thinking::AsAsked),
            ("gpt-5.2-2025-12-11", Reasons::IfAsked, Thinking::AsAsked),
            ("gpt-5.2-pro", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-5-chat-latest", Reasons::Unknown, Thinking::Unsupported),
            ("o3", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("o4-mini-2025-04-16", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-4o-mini", Reasons::Unknown, Thinking::Unsupported),
            ("gpt-4.1", Reasons::Unknown, Thinking::Unsupported),
            ("gpt-4.5-preview", Reasons::Unknown, Thinking::Unsupported),
            ("gpt-4-1106-preview", Reasons::Unknown, Thinking::Unsupported),
            ("gpt-4-32k-0613", Reasons::Unknown, Thinking::Unsupported),
            ("gpt-35-turbo", Reasons::Unknown, Thinking::Unsupported),
            ("gpt-6-astra", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-6.1-sol", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-5.9", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("gpt-10", Reasons::UnlessToldNot, Thinking::AsAsked),
            ("cerebras-gpt-13b", Reasons::Unknown, Thinking::AsAsked),
            ("gpt-audio-mini", Reasons::Unknown, Thinking::AsAsked),
            ("pro1", Reasons::Unknown, Thinking::AsAsked),
        ] {
            let traits = Traits::of(model);
            assert_eq!((traits.reasons, traits.thinking), (reasons, thinking), "{model}");
        }
        for (model, gemini_3) in [
            ("gemini-3-pro-preview", true),
            ("google/gemini-3.1-flash-lite-preview", true),
            ("gemini-flash-latest", true),
            ("models/gemini-pro-latest", true),
            ("gemini-flash-lite-latest", true),
            ("gemini-of-tomorrow", true),
            ("models/gemini-2.5-pro", false),
            ("gemini-2.5-flash-lite", false),
            ("gemini-2.0-flash", false),
            ("gemini-1.5-pro-002", false),
            ("gemini-pro-vision", false),
        ] {
            assert_eq!(Traits::of(model).gemini_3, gemini_3, "{model}");
        }
        for (model, thinking) in [
            ("us.amazon.nova-pro-v1:0", Thinking::Unsupported),
            ("amazon.nova-premier-v1:0", Thinking::Unsupported),
            ("us.amazon.nova-2-lite-v1:0", Thinking::AsAsked),
            ("gemini-2.0-flash", Thinking::Unsupported),
            ("models/gemini-1.5-pro-002", Thinking::Unsupported),
            ("gemini-2.5-flash", Thinking::AsAsked),
        ] {
            assert_eq!(Traits::of(model).thinking, thinking, "{model}");
        }
        for (model, in_chat) in [
            ("gpt-5.1-codex-max", InChat::Nothing),
            ("gpt-5.3-codex", InChat::Nothing),
            ("gpt-5.5-pro-2026-04-23", InChat::Nothing),
            ("o3-pro", InChat::Nothing),
            ("o3", InChat::All),
            ("gpt-5-mini", InChat::All),
            ("gpt-5.2", InChat::All),
            ("gpt-5.4-mini", InChat::NoTools),
            ("gpt-5.6-terra", InChat::NoTools),
            ("gpt-6-astra", InChat::NoTools),
            ("gpt-4.1", InChat::All),
        ] {
            assert_eq!(Traits::of(model).in_chat, in_chat, "{model}");
        }
        for (model, max_effort) in [
            ("gpt-5", Effort::High),
            ("gpt-5.1-codex", Effort::High),
            ("gpt-5.1-codex-max", Effort::XHigh),
            ("gpt-5.2-2025-12-11", Effort::XHigh),
            ("gpt-5.3-codex", Effort::XHigh),
            ("gpt-5.4-mini", Effort::XHigh),
            ("openai/gpt-5.5", Effort::XHigh),
            ("gpt-5.6-sol", Effort::Max),
            ("gpt-6-astra", Effort::Max),
            ("gpt-6.1-terra", Effort::Max),
            ("o3", Effort::High),
            ("openai/gpt-oss-120b", Effort::High),
        ] {
            assert_eq!(Traits::of(model).max_effort, max_effort, "{model}");
        }
        for (model, min_effort) in [
            ("gpt-5", Some(Effort::Minimal)),
            ("gpt-5-nano-2025-08-07", Some(Effort::Minimal)),
            ("gpt-5-codex", Some(Effort::Low)),
            ("gpt-5-pro-2025-10-06", Some(Effort::High)),
            ("gpt-5.1", Some(Effort::None)),
            ("gpt-5.1-codex", Some(Effort::Low)),
            ("gpt-5.1-codex-mini", Some(Effort::Medium)),
            ("gpt-5.1-chat-latest", Some(Effort::Medium)),
            ("gpt-5.2-pro", Some(Effort::Medium)),
            ("gpt-6-astra", Some(Effort::Low)),
            ("gpt-6.1-sol", Some(Effort::Low)),
            ("gpt-6-sol", Some(Effort::None)),
            ("gpt-6.1-terra", Some(Effort::None)),
            ("o4-mini", Some(Effort::Low)),
            ("openai/gpt-oss-120b", Some(Effort::Low)),
            ("google/gemini-2.5-pro", Some(Effort::Low)),
            ("gemini-2.5-flash", None),
            ("deepseek-reasoner", None),
        ] {
            assert_eq!(Traits::of(model).min_effort, min_effort, "{model}");
        }
    }
}
