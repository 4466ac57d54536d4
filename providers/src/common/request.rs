//! A conversation turn as asked for.

use bounded_static::ToStatic;

use super::{Block, CacheMark, Content, Extras, Json, ResponseFormat, Str, Tool, ToolChoice};
use crate::dialect::Dialect;

/// Anthropic's conversations that are kept: the SDK's `tool_runner` begins one unasked and sends only what is new from then on.
pub(crate) const THREAD: &str = "thread";

/// A chat request in the words of no dialect.
///
/// Encoders take it apart field by field, without `..`: what they cannot say goes to [`Losses`](super::Losses).
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub struct Request<'a> {
    /// The dialect that it was read from: `extras` everywhere below are fields of that dialect.
    pub dialect: Dialect,
    /// The model as the client names it; empty where the path names it.
    pub model: Str<'a>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client wants a stream's usage in a chunk of its own (OpenAI Chat's `stream_options.include_usage`).
    pub include_usage: bool,
    /// Instructions that stand apart from the messages: Anthropic's `system`, Gemini's `systemInstruction`, Responses'
    /// `instructions`. System messages *among* the messages are there.
    pub system: Vec<Block<'a>>,
    /// The conversation, oldest first. Consecutive messages may have one role.
    pub messages: Vec<Message<'a>>,
    /// Tools that the model may use.
    pub tools: Vec<Tool<'a>>,
    /// Which of them it must use.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer's text.
    pub response_format: Option<ResponseFormat<'a>>,
    /// How much to reason.
    pub reasoning: Option<ReasoningConfig<'a>>,
    /// Most output tokens, reasoning included.
    pub max_tokens: Option<u64>,
    /// Randomness.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Sampling from the best so many.
    pub top_k: Option<u64>,
    /// For repeatable answers.
    pub seed: Option<i64>,
    /// Against repeating topics.
    pub presence_penalty: Option<f64>,
    /// Against repeating words.
    pub frequency_penalty: Option<f64>,
    /// Texts that end the answer.
    pub stop: Vec<Str<'a>>,
    /// How many answers; 1 if `None`.
    pub n: Option<u64>,
    /// Whether to report the tokens' probabilities.
    pub logprobs: Option<bool>,
    /// How many alternatives to report for each token.
    pub top_logprobs: Option<u64>,
    /// What the answer may be made of, in lower case: `text`, `audio`, `image`.
    pub modalities: Vec<Str<'a>>,
    /// The answer's voice.
    pub audio: Option<AudioConfig<'a>>,
    /// How long-winded to be: `low`, `medium`, `high`.
    pub verbosity: Option<Str<'a>>,
    /// Price and speed class, in OpenAI's words: `auto`, `default`, `flex`, `priority`, …
    pub service_tier: Option<Str<'a>>,
    /// Who asks, in the application's own terms, for the provider's abuse detection (`safety_identifier`, `user`, `user_id`).
    pub user: Option<Str<'a>>,
    /// The application's own notes, an object.
    pub metadata: Option<Json<'a>>,
    /// Prompt caching as a whole.
    pub cache: CacheConfig<'a>,
    /// Whether the provider shall keep the answer for later reference (Responses, stored completions).
    pub store: Option<bool>,
    /// The kept answer that this turn follows (Responses' `previous_response_id`).
    pub previous: Option<Str<'a>>,
    /// The last message, the assistant's, is the beginning of the answer: the model shall go on with it.
    pub goes_on: bool,
    /// Fields of the request that have no place here.
    pub extras: Extras<'a>,
}

impl Request<'_> {
    /// An empty request of `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            model: Str::default(),
            stream: false,
            include_usage: false,
            system: Vec::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            response_format: None,
            reasoning: None,
            max_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            seed: None,
            presence_penalty: None,
            frequency_penalty: None,
            stop: Vec::new(),
            n: None,
            logprobs: None,
            top_logprobs: None,
            modalities: Vec::new(),
            audio: None,
            verbosity: None,
            service_tier: None,
            user: None,
            metadata: None,
            cache: CacheConfig::default(),
            store: None,
            previous: None,
            goes_on: false,
            extras: Vec::new(),
        }
    }
}

impl<'a> Request<'a> {
    /// The name of the tool that was called under `id`, for dialects whose results name the tool.
    #[must_use]
    pub fn tool_name(&self, id: &str) -> Option<&Str<'a>> {
        self.messages.iter().flat_map(|message| &message.blocks).find_map(|block| match &block.content {
            Content::ToolCall(call) if call.id == *id => Some(&call.name),
            _ => None,
        })
    }

    /// The field that refers to a part of the conversation which only the provider keeps.
    pub(crate) fn refers_to(&self) -> Option<&'static str> {
        if self.previous.is_some() {
            return Some("previous_response_id");
        }
        if self.cache.content.is_some() {
            return Some("cachedContent");
        }
        if self.has_thread() {
            return Some(THREAD);
        }
        if self.dialect == Dialect::Anthropic && self.says("compaction") {
            return Some("compaction");
        }
        if self.dialect != Dialect::OpenAiResponses {
            return None;
        }
        let said = |field: &&str| self.says(field);
        let mut blocks = self.messages.iter().flat_map(|message| &message.blocks);
        // Only its maker can read what it has compacted, or compact anything.
        let refers =
            |kind: &str| matches!(kind, "item_reference" | "compaction" | "compaction_summary" | "compaction_trigger");
        let is_reference = |block: &Block<'_>| matches!(&block.content, Content::Foreign(item) if refers(&item.kind));
        ["conversation", "prompt"].into_iter().find(said).or_else(|| blocks.any(is_reference).then_some("input"))
    }

    /// Whether it is a turn of a conversation that Anthropic keeps.
    pub(crate) fn has_thread(&self) -> bool {
        self.dialect == Dialect::Anthropic && self.says(THREAD)
    }

    /// Whether there is something in a field that has no place here.
    fn says(&self, field: &str) -> bool {
        self.extras.iter().any(|(name, value)| *name == *field && !value.is_null())
    }

    /// The conversation with consecutive messages of one role put together, for dialects whose turns alternate. System and
    /// developer messages are left out: see [`Self::instructions`].
    #[must_use]
    pub fn turns(&self) -> Vec<Turn<'_, 'a>> {
        let mut turns: Vec<Turn<'_, 'a>> = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            if message.role.instructs() {
                continue;
            }
            match turns.last_mut() {
                Some(turn) if turn.role == message.role => turn.messages.push(message),
                Some(_) | None => turns.push(Turn { role: message.role, messages: vec![message] }),
            }
        }
        turns
    }

    /// The conversation with the model's consecutive messages put together, for dialects whose tool results must follow the one
    /// message that has all the calls. Between two sides of one dialect it is left as it is: see [`Self::turns`] for dialects whose
    /// turns alternate.
    pub(crate) fn runs(&self, own: bool) -> impl Iterator<Item = &[Message<'a>]> {
        let goes_on = move |one: &Message<'_>, next: &Message<'_>| {
            !own && one.role == Role::Assistant && next.role == Role::Assistant
        };
        self.messages.chunk_by(goes_on)
    }

    /// All instructions in order: `system`, then the blocks of system and developer messages, wherever they stand.
    pub fn instructions(&self) -> impl Iterator<Item = &Block<'a>> {
        let among = self.messages.iter().filter(|message| message.role.instructs());
        self.system.iter().chain(among.flat_map(|message| &message.blocks))
    }
}

/// Consecutive messages of one role.
#[derive(Debug, Clone)]
pub struct Turn<'r, 'a> {
    /// `User` or `Assistant`.
    pub role: Role,
    /// At least one.
    pub messages: Vec<&'r Message<'a>>,
}

impl<'r, 'a> Turn<'r, 'a> {
    /// The blocks of all its messages.
    pub fn blocks(&self) -> impl Iterator<Item = &'r Block<'a>> + use<'_, 'r, 'a> {
        self.messages.iter().flat_map(|message| &message.blocks)
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, ToStatic, PartialEq, Eq, Default)]
pub enum Role {
    /// The operator, above the developer.
    System,
    /// The application.
    Developer,
    /// The person, and the tools that the client runs.
    #[default]
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// Whether what is said so are instructions: see [`Request::instructions`].
    #[must_use]
    pub fn instructs(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

/// One message.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub blocks: Vec<Block<'a>>,
    /// The speaker's name (OpenAI Chat).
    pub name: Option<Str<'a>>,
    /// The item's id (Responses).
    pub id: Option<Str<'a>>,
    /// Fields of the message that have no place here.
    pub extras: Extras<'a>,
}

/// How much to reason.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct ReasoningConfig<'a> {
    /// On, off, or as the model sees fit.
    pub mode: Option<ReasoningMode>,
    /// How hard.
    pub effort: Option<Effort>,
    /// Most tokens of reasoning.
    pub budget: Option<u64>,
    /// The kind of summary wanted (Responses: `auto`, `concise`, `detailed`).
    pub summary: Option<Str<'a>>,
    /// Whether the reasoning shall be shown (Gemini's `includeThoughts`, Anthropic's `display`).
    pub show: Option<bool>,
}

impl ReasoningConfig<'_> {
    /// Whether any reasoning is asked for.
    pub(crate) fn asks(&self) -> bool {
        self.mode != Some(ReasoningMode::Disabled) && self.effort != Some(Effort::None) && self.budget != Some(0)
    }
}

/// Whether to reason.
#[derive(Debug, Clone, Copy, ToStatic, PartialEq, Eq)]
pub enum ReasoningMode {
    /// Not at all.
    Disabled,
    /// Yes, within the budget.
    Enabled,
    /// As the model sees fit.
    Adaptive,
}

/// How hard to reason: the union of what the dialects know, from nothing to everything.
#[derive(Debug, Clone, Copy, ToStatic, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// A lot.
    High,
    /// More than a lot.
    XHigh,
    /// As much as it takes.
    Max,
}

impl Effort {
    /// Every level, rising.
    pub const ALL: [Self; 7] = [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    /// The word on OpenAI's and Anthropic's wires.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The level of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == word)
    }

    /// The budget that stands for this level where only a number of tokens can be said. 1,024 is the least that Anthropic takes.
    #[must_use]
    pub const fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal | Self::Low => 1024,
            Self::Medium => 4096,
            Self::High => 16_384,
            Self::XHigh => 32_768,
            Self::Max => 63_999,
        }
    }

    /// The level that stands for a budget where only a level can be said.
    #[must_use]
    pub const fn of_budget(budget: u64) -> Self {
        match budget {
            0 => Self::None,
            1..=2047 => Self::Low,
            2048..=8191 => Self::Medium,
            8192..=24_575 => Self::High,
            _ => Self::XHigh,
        }
    }
}

/// The answer's voice.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct AudioConfig<'a> {
    /// Its name.
    pub voice: Option<Str<'a>>,
    /// The sound's format: `wav`, `mp3`, `pcm16`, …
    pub format: Option<Str<'a>>,
}

/// Prompt caching as a whole; marks on single blocks are on them.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct CacheConfig<'a> {
    /// Cache whatever can be (Anthropic's `cache_control` of the request).
    pub automatic: Option<CacheMark<'a>>,
    /// Requests with one key share a cache (OpenAI's `prompt_cache_key`).
    pub key: Option<Str<'a>>,
    /// OpenAI's `prompt_cache_retention`: `in_memory`, `24h`.
    pub retention: Option<Str<'a>>,
    /// A cache made before (Gemini's `cachedContent`).
    pub content: Option<Str<'a>>,
}
