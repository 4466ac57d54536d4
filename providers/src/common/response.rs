//! An answer as given.

use bounded_static::ToStatic;

use super::{Block, Extras, Str};
use crate::dialect::Dialect;
use crate::usage::Usage;

/// A complete answer in the words of no dialect.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub struct Response<'a> {
    /// The dialect that it was read from: `extras` everywhere below are fields of that dialect.
    pub dialect: Dialect,
    /// The provider's id of it.
    pub id: Option<Str<'a>>,
    /// The model that answered, as the provider calls it.
    pub model: Option<Str<'a>>,
    /// When, in Unix seconds.
    pub created: Option<u64>,
    /// The answers; one unless `n` asked for more.
    pub choices: Vec<Choice<'a>>,
    /// What it consumed.
    pub usage: Option<Usage>,
    /// The price and speed class that it was given at, in OpenAI's words.
    pub service_tier: Option<Str<'a>>,
    /// Fields that have no place here.
    pub extras: Extras<'a>,
}

impl Response<'_> {
    /// An empty answer of `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            id: None,
            model: None,
            created: None,
            choices: Vec::new(),
            usage: None,
            service_tier: None,
            extras: Vec::new(),
        }
    }
}

/// One of the answers.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Choice<'a> {
    /// What is said, in order.
    pub blocks: Vec<Block<'a>>,
    /// Why it ended.
    pub stop: Stop<'a>,
    /// Probabilities of the text's tokens.
    pub logprobs: Vec<TokenLogprob<'a>>,
    /// Fields that have no place here.
    pub extras: Extras<'a>,
}

/// Why an answer ended.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Stop<'a> {
    /// The reason.
    pub reason: StopReason,
    /// The stop sequence that was met, where it is told.
    pub sequence: Option<Str<'a>>,
    /// The reason in the provider's own word, if [`Self::reason`] says less.
    pub detail: Option<Str<'a>>,
}

impl Stop<'_> {
    /// Ended for `reason`.
    #[must_use]
    pub fn new(reason: StopReason) -> Self {
        Self { reason, sequence: None, detail: None }
    }
}

/// The union of what the dialects know.
#[derive(Debug, Clone, Copy, ToStatic, PartialEq, Eq, Default)]
pub enum StopReason {
    /// All was said.
    #[default]
    End,
    /// A stop sequence was met, and the dialect tells so.
    StopSequence,
    /// `max_tokens`, or the model's own limit of output.
    MaxTokens,
    /// The model's context is full (Anthropic's `model_context_window_exceeded`).
    ContextWindow,
    /// Tools are to be run.
    ToolCalls,
    /// The model declined (Anthropic's `refusal`).
    Refusal,
    /// A filter of the provider, or a guardrail, cut in.
    ContentFilter,
    /// A long turn was interrupted and can be continued (Anthropic's `pause_turn`).
    Pause,
    /// The model's tool call could not be read (Gemini's `MALFORMED_FUNCTION_CALL`, Bedrock's `malformed_tool_use`).
    MalformedCall,
    /// Something else; [`Stop::detail`] has the word.
    Other,
}

impl StopReason {
    /// Whether the model ended, or the room that its request left it: no filter, no pause, no accident.
    #[must_use]
    pub const fn is_of_model(self) -> bool {
        matches!(self, Self::End | Self::StopSequence | Self::MaxTokens | Self::ContextWindow | Self::ToolCalls)
    }
}

/// A token of the answer and its probability.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct TokenLogprob<'a> {
    /// The token as text.
    pub token: Str<'a>,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// Its bytes, where told.
    pub bytes: Option<Vec<u8>>,
    /// Its alternatives, without alternatives of their own.
    pub top: Vec<TokenLogprob<'a>>,
}
