//! Tool calls that are read, and when their arguments are complete.

use super::OWN;
use super::parts::Origin;
use super::wire::{Raw, ToolCall as WireCall, arguments, keep, read, thought_signature};
use crate::common::{Block, Content, Foreign, Str, ToolCall};

/// A whole call of a function or custom tool; `None` for what is neither.
pub(super) fn read_call(raw: Raw<'_>, origin: Origin) -> Option<Block<'_>> {
    let wire: WireCall<'_> = read(raw)?;
    let (name, arguments, custom) = match (wire.kind.as_deref(), wire.function, wire.custom) {
        (_, Some(function), None) => (function.name, arguments(function.arguments), false),
        (Some("custom") | None, None, Some(custom)) => (custom.name, custom.input.unwrap_or_default(), true),
        (_, _, _) => return None,
    };
    let signature = thought_signature(wire.extra_content, None);
    let mut extras = wire.rest;
    if signature.is_none() {
        extras.extend(wire.extra_content.map(|raw| ("extra_content".into(), keep(raw))));
    }
    let call = ToolCall {
        id: wire.id.unwrap_or_default(),
        name: name.unwrap_or_default(),
        arguments,
        custom,
        namespace: None,
        signature: signature.map(|signature| origin.opaque(signature)),
    };
    Some(Block { extras, ..Block::new(Content::ToolCall(Box::new(call))) })
}

/// A call of a sort that is not known. Its id tells it from a content part that is not known.
pub(super) fn foreign_call(raw: Raw<'_>) -> Block<'_> {
    let wire: WireCall<'_> = read(raw).unwrap_or_default();
    let foreign = Foreign { dialect: OWN, kind: wire.kind.unwrap_or_default(), raw: keep(raw) };
    Block { id: Some(wire.id.unwrap_or_default()), ..Block::new(Content::Foreign(Box::new(foreign))) }
}

/// The id of a call that came without one.
pub(super) fn made_up_id(seed: &str, number: usize) -> Str<'static> {
    format!("call_{seed}_{number}").into()
}

/// Notices the end of a JSON object in pieces of its text: cheap, and right for well-formed JSON.
#[derive(Debug, Default)]
pub(super) struct ObjectEnd {
    depth: u32,
    in_string: bool,
    escaped: bool,
    ended: bool,
}

impl ObjectEnd {
    pub(super) fn feed(&mut self, text: &str) {
        for byte in text.bytes() {
            match (self.in_string, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (false, b'{' | b'[') => {
                    self.depth += 1;
                    self.ended = false;
                }
                (false, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.ended = self.depth == 0;
                }
                (_, _) => {}
            }
        }
    }

    /// Whether the object has been closed.
    pub(super) fn is_complete(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_arguments_is_noticed_across_pieces() {
        let mut end = ObjectEnd::default();
        for (piece, complete) in [(r#"{"a": "}\"#, false), (r#""}", "b": [{}"#, false), ("]", false), ("} ", true)] {
            end.feed(piece);
            assert_eq!(end.is_complete(), complete, "{piece}");
        }
    }
}
