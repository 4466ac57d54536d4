//! Whether a filter of the provider's keeps an answer back: inside a 200 the answer ends for that reason and has said nothing.

use super::Notes;
use super::translated::note;
use crate::codec::{Maker, codec};
use crate::common::{Stop, StopReason, take_apart};
use crate::dialect::{Dialect, Operation};

/// The largest document that is kept to be judged: one that says nothing may still repeat its request's instructions and tools.
pub(super) const MAX_JUDGED: usize = 256 << 10;

/// What a filter of the provider's did to an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    /// Nothing that is told.
    #[default]
    Nothing,
    /// It ended the answer: what was said before that stands.
    Ended,
    /// All that there is of the answer is its doing (the message of Bedrock's guardrails).
    Replaced,
}

impl Filter {
    /// What is told by why an answer ended.
    pub(super) fn of(stop: &Stop<'_>) -> Self {
        match (stop.reason, stop.detail.as_deref()) {
            (_, Some("guardrail_intervened")) => Self::Replaced,
            (StopReason::ContentFilter | StopReason::Refusal, _) => Self::Ended,
            _ => Self::Nothing,
        }
    }
}

/// Whether `body`, a whole answer to a chat, is blocked.
pub(super) fn is_blocked(body: &[u8], dialect: Dialect) -> bool {
    let maker = Maker::nobody("");
    let Ok(response) = codec(dialect).decode_response(body, &maker) else { return false };
    let mut notes = Notes::new(dialect, Operation::Chat);
    take_apart(&response, &mut |event| note(&event, &mut notes));
    notes.is_blocked()
}
