//! Reasoning items, and how the state of other makers travels in their one field, `encrypted_content`.
//!
//! Encrypted reasoning of this dialect stands there as it is. Of another maker the field holds the ticket of the signature,
//! or `.` and the ticket of the encrypted form, or both (a ticket is base64 and has no dot). A signature is worth nothing
//! without the exact text that it signs, and of what a client gets it sends back the `summary` for sure: `ai` sends nothing else,
//! Codex drops `content` at times and shows only summaries. So text of other dialects is told as a summary, and becomes
//! text again when its ticket comes back. Text without any state has a ticket of nobody: by it the next turn is known to hold
//! what OpenAI would refuse. A block of this dialect, told by its item id, keeps its text in `content`.

use super::wire::{self, Raw, Thought};
use super::{OWN, Side};
use crate::common::{Block, Opaque, Reasoning, Str};
use crate::dialect::Dialect;
use crate::error::ApiError;

/// The dialect in a ticket of nobody: one that has no state of reasoning.
const NOBODY: Dialect = Dialect::Cohere;

/// Reads a reasoning item's fields. The flag: it was made in another dialect.
pub(super) fn read<'a>(
    summary: Raw<'a>,
    content: Raw<'a>,
    encrypted: Raw<'a>,
    side: Side,
) -> Result<(Reasoning<'a>, bool), ApiError> {
    let thoughts = |raw: Raw<'a>| raw.map_or(Ok(Vec::new()), |raw| side.read::<Vec<Thought<'a>>>(raw));
    let mut summary: Vec<Str<'a>> = thoughts(summary)?.into_iter().map(|thought| thought.text).collect();
    let mut text = joined(thoughts(content)?.into_iter().map(|thought| thought.text));
    let (signature, encrypted) = match encrypted {
        Some(raw) => open(wire::text(Some(raw)), side),
        None => (None, None),
    };
    let foreign = [&signature, &encrypted].into_iter().flatten().any(|state| state.dialect != OWN);
    if foreign && matches!(side, Side::Client) && text.is_empty() {
        text = joined(std::mem::take(&mut summary));
    }
    let signature = signature.filter(|state| !(state.dialect == NOBODY && state.data.is_empty()));
    Ok((Reasoning { text, summary, signature, encrypted }, foreign))
}

/// Whether a block's text is told as a summary.
pub(super) fn text_as_summary(block: &Block<'_>) -> bool {
    block.id.is_none()
}

/// What stands in `encrypted_content`, for a client.
pub(super) fn for_client<'r>(block: &Block<'_>, reasoning: &'r Reasoning<'_>) -> Option<Str<'r>> {
    match (&reasoning.signature, &reasoning.encrypted) {
        (None, None) if text_as_summary(block) => {
            Some(Opaque::made_by(NOBODY, None, Str::default()).for_client(OWN).into_owned())
        }
        (None, None) => None,
        (Some(signature), None) => Some(signature.for_client(OWN)),
        (None, Some(encrypted)) if encrypted.dialect == OWN => Some(encrypted.for_client(OWN)),
        (signature, Some(encrypted)) => {
            let signature = signature.as_ref().map_or(Str::default(), |signature| signature.for_client(OWN));
            Some(format!("{signature}.{}", encrypted.for_client(OWN)).into())
        }
    }
}

/// Takes `encrypted_content` apart: signature, encrypted form.
pub(super) fn open<'a>(text: Str<'a>, side: Side) -> (Option<Opaque<'a>>, Option<Opaque<'a>>) {
    if text.is_empty() {
        return (None, None);
    }
    let ticket = |text: &str| {
        let state = Opaque::from_client(OWN, text.to_owned().into());
        (state.dialect != OWN).then_some(state)
    };
    let (first, second) = text.split_once('.').map_or((&*text, None), |(first, second)| (first, Some(second)));
    match (ticket(first), second) {
        (Some(signature), None) => (Some(signature), None),
        (Some(signature), Some(second)) => (Some(signature), Some(Opaque::from_client(OWN, second.to_owned().into()))),
        (None, Some(second)) if first.is_empty() && ticket(second).is_some() => (None, ticket(second)),
        (None, _) => (None, Some(side.opaque(text))),
    }
}

/// An `encrypted_content` without the signature in it, because the text that it signed was changed; `None`: there is none in it.
pub(crate) fn without_signature(encrypted: &str) -> Option<String> {
    let (signature, encrypted) = open(encrypted.to_owned().into(), Side::Client);
    let signature = signature?;
    Some(match encrypted {
        Some(encrypted) => format!(".{}", encrypted.for_client(OWN)),
        None if signature.dialect == NOBODY && signature.data.is_empty() => return None,
        None => Opaque::made_by(NOBODY, None, Str::default()).for_client(OWN).to_string(),
    })
}

fn joined<'a>(texts: impl IntoIterator<Item = Str<'a>>) -> Str<'a> {
    let mut texts = texts.into_iter();
    let mut all = texts.next().unwrap_or_default();
    texts.for_each(|text| all.push_str(&text));
    all
}
