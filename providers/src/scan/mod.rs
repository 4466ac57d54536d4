//! What the gateway reads of a request body, and the few bytes it changes in it.
//!
//! A body is never re-serialised between two sides of one dialect. [`scan_json`] and [`scan_multipart`] validate the
//! whole body in one pass and find where the fields stand that the gateway reads; [`RequestScan::rewrite`] splices the
//! model name into a copy and leaves every other byte as sent. `json.rs` and `multipart.rs` hold the two scans,
//! `depth.rs` the nesting guard, `rewrite.rs` the splicing, `edit.rs` the setting and removing of other fields, `facts.rs` what
//! routing rules ask (both step through the body with `cursor.rs`), `opening.rs` the beginning of a prompt, `pieces.rs` what is billed by the piece,
//! `media.rs` what is no text, `terms.rs` what decides at which rates it is billed, `references.rs` items of earlier answers that it
//! refers to, `texts.rs` what plugins
//! read and replace, `canonical.rs` a digest of what it says, `cacheable.rs` whether its answer may be given again, `fidelity.rs` the
//! invariants that the property tests and
//! the fuzz targets share.
//!
//! ```
//! use ai_gateway_providers::scan::{Edits, scan_json};
//! use bytes::Bytes;
//!
//! let body = Bytes::from_static(br#"{"temperature": 1.0e0, "model" : "fast", "stream": true, "messages": []}"#);
//! let scan = scan_json(&body)?;
//! assert_eq!(scan.model.as_ref().map(|m| m.value.as_str()), Some("fast"));
//! assert!(scan.hide_usage(), "the client did not ask for the usage chunk");
//!
//! let sent = scan.rewrite(&body, &Edits { model: Some("gpt-5"), include_usage: true });
//! assert_eq!(
//!     sent,
//!     r#"{"temperature": 1.0e0, "model" : "gpt-5","stream_options":{"include_usage":true}, "stream": true, "messages": []}"#
//! );
//! # Ok::<(), ai_gateway_providers::scan::ScanError>(())
//! ```

mod attribution;
mod cacheable;
mod canonical;
mod cursor;
mod depth;
mod edit;
mod error;
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fidelity;
mod json;
mod media;
mod multipart;
mod opening;
mod pieces;
mod references;
mod rewrite;
mod splice;
mod terms;
mod texts;

use std::borrow::Cow;
use std::ops::Range;

pub use attribution::without_attribution;
pub use cacheable::{CacheField, Repeatable, Tools, cache_field};
pub use canonical::{Counts, canonical_digest};
pub use depth::MAX_DEPTH;
pub(crate) use depth::string_end;
pub use edit::FieldEdits;
pub use error::{FormError, Place, ScanError};
pub use facts::{
    BodyFacts, LabelFields, anthropic_fallbacks_of, fallbacks_of, label_fields, metadata_of, says, says_any, tools_say,
};
pub use json::scan_json;
pub use media::Media;
pub use multipart::{MAX_PART_HEADERS, scan_multipart, with_prompts};
pub use opening::opening;
pub use pieces::Pieces;
pub use references::item_references;
pub use rewrite::Edits;
pub use splice::splice;
pub use texts::{
    Side, Text, TextKind, block_texts, edit_block, edit_texts, has_tokens, is_one_object, restore_texts, texts,
};

/// A value and where it stands in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T> {
    /// The decoded value.
    pub value: T,
    /// The bytes of the raw value: a JSON string with its quotes, a multipart part's content.
    pub span: Range<usize>,
}

/// The fields of a request body that the gateway reads. The default is that of a request without a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestScan {
    /// `model`: never empty, at most 1024 bytes, without control characters. `None` if absent or `null`.
    pub model: Option<Field<String>>,
    /// `stream`; absent and `null` are false.
    pub stream: bool,
    /// The most output tokens the client allows: the largest of `max_tokens`, `max_completion_tokens` and
    /// `max_output_tokens`. `None` if there is none, or only such as no provider accepts (negative).
    pub max_tokens: Option<u64>,
    /// How many answers, or pictures, are asked for: the larger of `n` and `best_of`, or Gemini's `candidateCount`, at least 1 and
    /// at most 128, for each of the texts that are to be completed (`prompt`). `None` if it does not say.
    pub choices: Option<u64>,
    /// `previous_response_id`: the stored answer that a Responses request follows; or the one that a turn of Anthropic's `thread`
    /// does.
    pub previous: Option<String>,
    /// Whether there is a `thread`: a conversation that Anthropic keeps.
    pub thread: bool,
    /// Whether there is a `conversation` that is not `null`, which only the provider of a Responses request keeps.
    pub conversation: bool,
    /// `response_format` of a multipart form (`text`, `srt`, …): says that an answer is not JSON.
    pub response_format: Option<String>,
    /// Every `prompt` of a multipart form: the one of its fields that is a text for a model. What is no UTF-8 in it is replaced.
    pub prompts: Vec<Field<String>>,
    /// Whether there is an `input` and no `messages`: a body of the Responses API, whatever the path says.
    pub only_input: bool,
    /// Whether there is a field in which a client may name other models: `fallbacks`, `models` (see [`fallbacks_of`]), `preset`.
    pub fallbacks: bool,
    /// Whether there is a field `tools`, whose tools may name models themselves; see [`tools_say`].
    pub tools: bool,
    /// Whether there is a field `cache`, in which a client may say how it wants its answer kept; see [`cache_field`].
    pub cache: bool,
    /// Whether there is a field in which a client says whose request it is or what it is for; see [`label_fields`].
    pub labels: bool,
    /// Whether there is a field that decides at which rates the request is billed; see [`Terms::of`](crate::price::Terms::of).
    pub terms: bool,
    /// Files of a multipart form (`file`, `image`, `image[]`, `mask`).
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Where `model` is `null` or empty: there a name goes.
    null_model: Option<Range<usize>>,
    usage: UsageOption,
    root: Root,
}

/// As how many answers so many count: more than 128 no provider makes. It refuses such a request, which must not keep others out
/// meanwhile.
pub(crate) fn choices(asked: u64) -> u64 {
    asked.clamp(1, 128)
}

impl RequestScan {
    /// Whether a stream's usage chunk was not asked for by the client, so that it must be kept from it when
    /// [`Edits::include_usage`] has the upstream send one. False for requests that do not stream.
    #[must_use]
    pub fn hide_usage(&self) -> bool {
        self.stream && !matches!(self.usage, UsageOption::Asked | UsageOption::Unreadable)
    }

    /// The `content-type` with which the body, as it is or [rewritten](Self::rewrite), is read as it was here.
    #[must_use]
    pub fn content_type(&self) -> Cow<'static, str> {
        match &self.root {
            Root::None | Root::Json { .. } => Cow::Borrowed("application/json"),
            Root::Multipart { boundary, .. } => Cow::Owned(multipart::content_type_of(boundary)),
        }
    }
}

/// What the body says about `stream_options.include_usage`, and where to say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum UsageOption {
    /// There is no `stream_options`.
    #[default]
    Absent,
    /// `include_usage` is true.
    Asked,
    /// `stream_options` is `null`, at this span.
    NoObject(Range<usize>),
    /// `stream_options` is an object without `include_usage`.
    NoKey {
        /// Just behind its opening brace.
        open: usize,
        /// Whether it has no key at all.
        empty: bool,
    },
    /// `include_usage` is `false` or `null`, at this span.
    Declined(Range<usize>),
    /// Neither is what the API wants; the provider says so best.
    Unreadable,
}

/// The outermost structure, where a missing field is inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Root {
    #[default]
    None,
    /// A JSON object.
    Json {
        /// Just behind its opening brace.
        open: usize,
        /// Whether it has no key at all.
        empty: bool,
    },
    /// A multipart form.
    Multipart {
        /// The span of its first `--boundary`.
        delimiter: Range<usize>,
        boundary: String,
    },
}

#[cfg(test)]
mod properties;
