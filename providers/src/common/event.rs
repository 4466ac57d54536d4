//! A streamed answer as it comes.

use bounded_static::ToStatic;

use super::{Block, Citation, Extras, Json, Opaque, Stop, Str, TokenLogprob};
use crate::error::ApiError;
use crate::usage::Usage;

/// A step of a stream. Decoders produce them in this order; encoders may rely on it:
///
/// `Start`, then for each block `BlockStart`, its `Delta`s, `BlockEnd` (blocks may overlap: parallel tool calls come
/// interleaved), `Stop` once for each choice, `Usage` at any time (cumulative), and at last either `End` or `Error`, after
/// which nothing comes.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub enum Event<'a> {
    /// The answer begins.
    Start {
        /// The provider's id of it.
        id: Option<Str<'a>>,
        /// The model that answers.
        model: Option<Str<'a>>,
        /// When, in Unix seconds.
        created: Option<u64>,
    },
    /// A block begins: `block` is whole but for what the deltas bring. Of text and reasoning it is mostly empty, of a tool call it has
    /// id and name.
    BlockStart {
        /// Which answer, 0 unless `n` asked for more.
        choice: u32,
        /// Number of the block within its choice: 0, 1, 2, … in the order in which blocks begin.
        index: u32,
        /// The block so far.
        block: Block<'a>,
    },
    /// A block goes on.
    Delta {
        /// Which answer.
        choice: u32,
        /// The block.
        index: u32,
        /// What is added.
        delta: Delta<'a>,
    },
    /// A block is complete.
    BlockEnd {
        /// Which answer.
        choice: u32,
        /// The block.
        index: u32,
    },
    /// Probabilities of tokens just sent.
    Logprobs {
        /// Which answer.
        choice: u32,
        /// The tokens, to be added to those before.
        logprobs: Vec<TokenLogprob<'a>>,
    },
    /// An answer is complete.
    Stop {
        /// Which answer.
        choice: u32,
        /// Why.
        stop: Stop<'a>,
        /// [`Choice::extras`](super::Choice::extras).
        extras: Extras<'a>,
    },
    /// What was consumed so far; replaces earlier reports.
    Usage(Usage),
    /// The price and speed class, in OpenAI's words.
    ServiceTier(Str<'a>),
    /// [`Response::extras`](super::Response::extras).
    Extras(Extras<'a>),
    /// The provider is still there.
    Ping,
    /// The provider reports an error, or the stream broke off. The answer is not complete.
    Error(ApiError),
    /// The proper end.
    End,
}

/// What is added to a block.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub enum Delta<'a> {
    /// To a text.
    Text(Str<'a>),
    /// To a refusal.
    Refusal(Str<'a>),
    /// To the reasoning.
    Reasoning(Str<'a>),
    /// To a summary of the reasoning.
    Summary {
        /// Which summary: 0, 1, …
        part: u32,
        /// What is added.
        text: Str<'a>,
    },
    /// The signature of the reasoning, text or call. Replaces an earlier one.
    Signature(Opaque<'a>),
    /// The encrypted form of the reasoning. Replaces an earlier one.
    Encrypted(Opaque<'a>),
    /// To a call's arguments.
    Arguments(Str<'a>),
    /// A source of the text.
    Citation(Box<Citation<'a>>),
    /// To the data of a medium: base64 that can be decoded by itself.
    MediaData(Str<'a>),
    /// To a sound's transcript.
    Transcript(Str<'a>),
    /// The finished form of a block that only one dialect knows. Replaces what its start said.
    Foreign(Json<'a>),
}
