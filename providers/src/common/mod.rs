//! The common model: chat requests, answers and streams in the words of no dialect, a superset of what the dialects can
//! say. Off the diagonal every translation is `decode` of one dialect into it and `encode` of another out of it.
//!
//! Everything borrows from the body it was read from. What it has no place for travels in `extras` (fields) and `Foreign` (blocks, tools)
//! and is understood only by the dialect it came in; what an encoder cannot say it notes in [`Losses`].
//!
//! | file | subject |
//! |---|---|
//! | `request`, `block`, `tool` | what is asked |
//! | `prefill` | a request to go on with an answer that has begun |
//! | `response`, `event` | what is answered, whole and streamed |
//! | `collect` | a stream put together into an answer, and an answer taken apart into a stream |
//! | `sequence` | blocks that overlap, put one behind the other |
//! | `pieces` | an answer that its client sends back as it was streamed |
//! | `alias` | tools that were renamed on their way to the provider |
//! | `names` | names of tools that a provider does not take |
//! | `opaque` | signatures and encrypted reasoning, bound to their maker |
//! | `memory`, `history` | what clients lose between turns, kept by the tool calls that it belongs to; how these are known again |
//! | `words` | what every model must hear, though only one dialect can say it |
//! | `losses` | what could not be said |
//! | `text`, `json` | borrowed text and raw JSON |

mod alias;
mod block;
mod collect;
mod event;
mod history;
mod json;
mod losses;
mod memory;
mod names;
mod opaque;
mod pieces;
mod prefill;
mod request;
mod response;
mod sequence;
mod text;
mod tool;
mod words;

pub use alias::{Alias, Aliases, flat_name};
pub use block::{
    Block, CacheMark, Citation, Content, Foreign, Media, MediaKind, MediaSource, Reasoning, Text, ToolCall, ToolResult,
};
pub(crate) use block::{Paragraphs, paragraphs, plain_mime};
pub use collect::{Collector, take_apart};
pub(crate) use collect::{add, split};
pub use event::{Delta, Event};
pub use history::Before;
pub use json::{Extras, Json};
pub(crate) use losses::Setting;
pub use losses::{Loss, Losses};
pub use memory::{TurnMemory, TurnRecorder, restore_turns};
pub use opaque::{Opaque, ProviderTag, may_hold_ticket};
pub use prefill::can_go_on;
pub(crate) use request::THREAD;
pub use request::{AudioConfig, CacheConfig, Effort, Message, ReasoningConfig, ReasoningMode, Request, Role, Turn};
pub use response::{Choice, Response, Stop, StopReason, TokenLogprob};
pub use sequence::Sequence;
pub use text::Str;
pub(crate) use tool::group_of;
pub use tool::{CustomTool, FunctionTool, ResponseFormat, Tool, ToolChoice};
