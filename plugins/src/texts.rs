//! Where the texts are in a JSON body, and replacing them without touching any other byte.

use std::borrow::Cow;

use bytes::Bytes;

use crate::providers::{Dialect, Operation};

/// Whether a body asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client's request.
    Request,
    /// An answer to it.
    Answer,
}

/// A text of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Text<'a> {
    /// What it is.
    pub kind: TextKind,
    /// The text; of [`TextKind::Arguments`] and of a tool's JSON result the JSON text.
    pub text: Cow<'a, str>,
    /// Whether it is JSON text: what is put in its place must be, too.
    pub json: bool,
    /// Its place among the texts of the body, from 0.
    pub number: usize,
}

/// Who wrote a text, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextKind {
    /// Instructions: a system or developer message.
    System,
    /// A user.
    User,
    /// The model, now or in an earlier turn.
    Assistant,
    /// The model, about how it comes to its answer.
    Reasoning,
    /// The model declines.
    Refusal,
    /// What a tool is called with.
    Arguments,
    /// What a tool returned.
    ToolResult,
    /// What is to be embedded, ranked, moderated, drawn or spoken.
    Input,
}

/// The texts of `body`, in its order. Nothing of a body that is no JSON.
#[must_use]
pub fn texts(body: &[u8], side: Side, dialect: Dialect, operation: Operation) -> Vec<Text<'_>> {
    let _ = (body, side, dialect, operation);
    Vec::new()
}

/// Puts another text in the place of each for which `edit` gives one. Gives back the new body, unless nothing was changed, and how
/// many texts were.
pub fn edit_texts(
    body: &Bytes,
    side: Side,
    dialect: Dialect,
    operation: Operation,
    edit: impl FnMut(&Text<'_>) -> Option<String>,
) -> (Option<Bytes>, usize) {
    let _ = (body, side, dialect, operation, edit);
    (None, 0)
}
