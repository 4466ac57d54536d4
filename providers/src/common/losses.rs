//! What a dialect could not say.

use super::{Block, Content, Request, Str};
use crate::error::{ApiError, ErrorKind};

/// The fields that an encoder could not carry, each once, in the order in which they were met. Names are those of the
/// common model (`logprobs`, `n`, `messages.audio`, `tools.strict`); of fields that it has no place for, the client's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    fields: Vec<Loss>,
    /// Nothing is left of something that the user showed.
    message: bool,
}

/// One field that was not carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Its name.
    pub field: String,
    /// Whether the name is one of this crate's and not a client's: only those are fit for a metric's label.
    pub known: bool,
}

/// A setting of a request that several dialects have no word for: its name as a loss and what there is to lose are said here, once for
/// all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    ParallelToolCalls,
    TopK,
    Seed,
    PresencePenalty,
    FrequencyPenalty,
    Stop,
    N,
    Logprobs,
    TopLogprobs,
    Modalities,
    Audio,
    Verbosity,
    User,
    Metadata,
    /// Caching of whatever can be cached.
    Cache,
    CacheKey,
    CacheRetention,
    Store,
}

impl Setting {
    /// What it is called as a loss.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ParallelToolCalls => "parallel_tool_calls",
            Self::TopK => "top_k",
            Self::Seed => "seed",
            Self::PresencePenalty => "presence_penalty",
            Self::FrequencyPenalty => "frequency_penalty",
            Self::Stop => "stop",
            Self::N => "n",
            Self::Logprobs => "logprobs",
            Self::TopLogprobs => "top_logprobs",
            Self::Modalities => "modalities",
            Self::Audio => "audio",
            Self::Verbosity => "verbosity",
            Self::User => "user",
            Self::Metadata => "metadata",
            Self::Cache | Self::CacheRetention => "cache",
            Self::CacheKey => "prompt_cache_key",
            Self::Store => "store",
        }
    }
}

impl Request<'_> {
    /// Whether it asks for anything there that the model would not do unasked.
    pub(crate) fn asks_for(&self, setting: Setting) -> bool {
        match setting {
            Setting::ParallelToolCalls => self.parallel_tool_calls == Some(false),
            Setting::TopK => self.top_k.is_some(),
            Setting::Seed => self.seed.is_some(),
            Setting::PresencePenalty => self.presence_penalty.is_some_and(|penalty| penalty != 0.0),
            Setting::FrequencyPenalty => self.frequency_penalty.is_some_and(|penalty| penalty != 0.0),
            Setting::Stop => !self.stop.is_empty(),
            Setting::N => self.n.is_some_and(|n| n > 1),
            Setting::Logprobs => self.logprobs == Some(true),
            Setting::TopLogprobs => self.top_logprobs.is_some_and(|count| count > 0),
            Setting::Modalities => self.modalities.iter().any(|kind| *kind != "text"),
            Setting::Audio => self.audio.is_some(),
            Setting::Verbosity => self.verbosity.as_deref().is_some_and(|verbosity| verbosity != "medium"),
            Setting::User => self.user.is_some(),
            Setting::Metadata => self.metadata.as_ref().is_some_and(|metadata| !metadata.is_empty()),
            Setting::Cache => self.cache.automatic.is_some(),
            Setting::CacheKey => self.cache.key.is_some(),
            Setting::CacheRetention => self.cache.retention.is_some(),
            Setting::Store => self.store == Some(true),
        }
    }

    /// Notes those of `settings` that it asks for: the dialect it is written in has no word for them.
    pub(crate) fn note(&self, settings: &[Setting], losses: &mut Losses) {
        for setting in settings {
            losses.note_if(self.asks_for(*setting), setting.name());
        }
    }
}

/// Most names that are kept: enough for anything real.
const MOST: usize = 64;

impl Losses {
    /// Notes that `field` was not carried.
    pub fn note(&mut self, field: &'static str) {
        self.add(field, true);
    }

    /// The same if there was something to lose.
    pub fn note_if(&mut self, lost: bool, field: &'static str) {
        if lost {
            self.note(field);
        }
    }

    /// Notes that fields which the common model has no place for were not carried. `place` stands before their names (`messages.`).
    ///
    /// An extra whose name begins with `=` is no field: it only remembers how its own dialect spelt something that the
    /// common model does say, and nothing is lost without it. Nor is it without `null`, an empty list, or no bias at all; other empty
    /// objects may ask for something (`"web_search_options": {}`).
    pub fn note_extras(&mut self, place: &str, extras: &[(Str<'_>, super::Json<'_>)]) {
        let asks =
            |value: &super::Json<'_>, name: &str| !value.is_empty() || (value.is_object() && name != "logit_bias");
        for (name, _) in extras.iter().filter(|(name, value)| !name.starts_with('=') && asks(value, name)) {
            self.add(&format!("{place}{name}"), false);
        }
    }

    /// Notes a block, tool or choice that only another dialect knows, by its kind.
    pub fn note_foreign(&mut self, place: &str, kind: &str) {
        self.add(&format!("{place}{kind}"), false);
    }

    /// Notes that nothing is left of a message of the user's.
    pub(crate) fn note_message<'b>(&mut self, blocks: impl IntoIterator<Item = &'b Block<'b>>) {
        self.message |= blocks.into_iter().any(|block| matches!(block.content, Content::Media(_)));
    }

    /// Refuses a request in which nothing is left of what the user showed: it would ask for something else.
    pub(crate) fn leave_every_message(&self) -> Result<(), ApiError> {
        let message = "this model's API cannot say anything of one of the messages";
        let refused = || ApiError::new(ErrorKind::InvalidRequest, message).with_param("messages");
        if self.message { Err(refused()) } else { Ok(()) }
    }

    /// Takes over what another step lost.
    pub fn extend(&mut self, other: &Self) {
        self.message |= other.message;
        for loss in &other.fields {
            self.add(&loss.field, loss.known);
        }
    }

    fn add(&mut self, field: &str, known: bool) {
        if self.fields.len() < MOST && !self.fields.iter().any(|loss| loss.field == field) {
            self.fields.push(Loss { field: field.to_owned(), known });
        }
    }

    /// Whether everything was carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What was lost.
    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.fields.iter()
    }

    /// The value of `x-gateway-dropped`: names with commas between, at most 1 KiB, without anything that a header cannot carry.
    #[must_use]
    pub fn header_value(&self) -> String {
        let mut value = String::new();
        for Loss { field, .. } in &self.fields {
            if value.len() + field.len() > 1024 {
                value.push_str(",…");
                break;
            }
            if !value.is_empty() {
                value.push(',');
            }
            value.extend(field.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '_' }));
        }
        value.replace('…', "...")
    }
}
