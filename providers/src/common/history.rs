//! How a tool call is known again when its client sends it back.
//!
//! Many servers draw the ids of calls at random, but some count them from nought in each conversation (Kimi's `functions.name:0`).
//! So a call is known by its id, its name, its arguments and what was said before it: the turn before it if its id is drawn, all of
//! the conversation if it may be that of another one, too.

use sha2::digest::Output;
use sha2::{Digest as _, Sha256};

use super::{Block, Content, Media, MediaSource, Message, ProviderTag, Request, Role, ToolCall, ToolResult};
use crate::scan::{Counts, canonical_digest};

/// What a conversation said before an answer, as digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Before {
    /// The turn before it.
    last: Output<Sha256>,
    /// All of it, and the instructions.
    all: Output<Sha256>,
}

impl Before {
    /// The name of what `provider` wants to have back with `call`, which was made then: 32 hexadecimal digits.
    pub(super) fn name_of(&self, call: &ToolCall<'_>, provider: ProviderTag) -> String {
        let mut digest = Said::default();
        digest.say(b'p', &provider.to_bytes());
        digest.call(call);
        digest.0.update(if may_repeat(call) { self.all } else { self.last });
        digest.0.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A conversation that is read turn by turn.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Output<Sha256>,
    all: Sha256,
}

impl History {
    /// The one that begins with the instructions of `request`.
    pub(super) fn of(request: &Request<'_>) -> Self {
        let mut history = Self::default();
        history.turn(Role::System, request.system.iter());
        history
    }

    /// The next turn: consecutive messages of one role.
    pub(super) fn push(&mut self, turn: &[Message<'_>]) {
        let role = turn.first().map_or(Role::User, |message| message.role);
        self.turn(role, turn.iter().flat_map(|message| &message.blocks));
    }

    /// What was said so far.
    pub(super) fn before(&self) -> Before {
        Before { last: self.last, all: self.all.clone().finalize() }
    }

    fn turn<'b>(&mut self, role: Role, blocks: impl Iterator<Item = &'b Block<'b>>) {
        let mut said = Said::default();
        let role = match role {
            Role::System => b's',
            Role::Developer => b'd',
            Role::User => b'u',
            Role::Assistant => b'a',
        };
        said.say(role, b"");
        said.blocks(blocks);
        self.last = said.0.finalize();
        self.all.update(self.last);
    }
}

/// A digest of what is said, but for what clients lose or change: reasoning, signatures, marks.
#[derive(Debug, Default)]
struct Said(Sha256);

impl Said {
    fn say(&mut self, kind: u8, text: &[u8]) {
        self.0.update([kind]);
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    fn blocks<'b>(&mut self, blocks: impl Iterator<Item = &'b Block<'b>>) {
        for block in blocks {
            match &block.content {
                Content::Text(text) if text.text.is_empty() => {}
                Content::Text(text) => self.say(b't', text.text.as_bytes()),
                Content::Refusal(text) => self.say(b'n', text.as_bytes()),
                Content::Media(media) => self.media(media),
                Content::Reasoning(_) => {}
                Content::ToolCall(call) => self.call(call),
                Content::ToolResult(result) => {
                    let ToolResult { call_id, name: _, content, is_error, custom: _ } = &**result;
                    self.say(b'r', call_id.as_bytes());
                    self.blocks(content.iter());
                    self.say(if *is_error == Some(true) { b'!' } else { b'.' }, b"");
                }
                Content::Foreign(foreign) => self.say(b'f', foreign.raw.get().as_bytes()),
            }
        }
    }

    fn media(&mut self, media: &Media<'_>) {
        match &media.source {
            MediaSource::Data(data) => self.say(b'm', data.as_bytes()),
            MediaSource::Url(url) => self.say(b'l', url.as_bytes()),
            MediaSource::File(id) => self.say(b'i', id.as_bytes()),
            MediaSource::Text(text) => self.say(b't', text.as_bytes()),
            MediaSource::Blocks(blocks) => self.blocks(blocks.iter()),
        }
    }

    /// The arguments count by what they say: clients that keep them as objects write them anew.
    fn call(&mut self, call: &ToolCall<'_>) {
        self.say(b'c', call.id.as_bytes());
        self.say(b'c', call.name.as_bytes());
        let arguments = call.arguments_object();
        let arguments = arguments.get().as_bytes();
        self.0
            .update(canonical_digest(arguments, |_| Counts::Whole).unwrap_or_else(|| Sha256::digest(arguments).into()));
    }
}

/// Whether a call of another conversation may have the same id: none of its parts looks drawn at random, that is, changes often
/// between letters and digits.
fn may_repeat(call: &ToolCall<'_>) -> bool {
    const LENGTH: usize = 8;
    const CHANGES: usize = 3;
    let rest = if call.name.is_empty() { call.id.to_string() } else { call.id.replace(&*call.name, "") };
    let is_drawn = |part: &str| {
        let changes = part.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit());
        part.len() >= LENGTH && changes.count() >= CHANGES
    };
    !rest.split(|c: char| !c.is_ascii_alphanumeric()).any(is_drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> ToolCall<'a> {
        ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), ..ToolCall::default() }
    }

    #[test]
    fn ids_that_are_counted_may_repeat() {
        for (id, name) in [
            ("functions.f:0", "f"),
            ("functions.get_h264_s3_mp4_v2:13", "get_h264_s3_mp4_v2"),
            ("call_0", "f"),
            ("call00000001", "f"),
            ("tool_0_list_files", "list_files"),
            ("0", "f"),
            ("", ""),
        ] {
            assert!(may_repeat(&call(id, name, "")), "{id}");
        }
        for id in [
            "call_Aq5n3Bv9s8dKd2lJ0aPqWx7z",
            "toolu_01A09q90qw90lq917835lq9",
            "chatcmpl-tool-3f2a9c0e5d814b7c9e6fa1b2c3d4e5f6",
            "call_00_x7Kq2mPz91LsVb4tR8",
            "get_weather_9k2jd8s1m4qz",
            "0c5f3b9a-91d2-4e7a-8a3b-2f6d1c0e9b8a",
        ] {
            assert!(!may_repeat(&call(id, "get_weather", "")), "{id}");
        }
    }

    #[test]
    fn a_call_is_known_by_what_it_says_and_what_was_said_before_it() {
        let provider = ProviderTag::of("a");
        let history = |system: &'static str, first: &'static str, last: &'static str| {
            let mut request = Request::new(Dialect::OpenAiChat);
            request.system.push(Block::text(system));
            let mut history = History::of(&request);
            for text in [first, last] {
                history.push(&[Message { blocks: vec![Block::text(text)], ..Message::default() }]);
            }
            history.before()
        };
        let name = |before: Before, id, arguments| before.name_of(&call(id, "f", arguments), provider);
        let (counted, drawn) = ("functions.f:0", "call_Aq5n3Bv9s8dKd2lJ0aPqWx7z");
        let before = history("You help Ann.", "Hello", "Go on");
        for id in [counted, drawn] {
            let known = name(before, id, r#"{"a":1,"b":"é"}"#);
            assert_eq!(known, name(before, id, r#"{ "b": "\u00e9", "a": 1.0 }"#), "{id}: the same in other words");
            assert_ne!(known, name(before, id, r#"{"a":2,"b":"é"}"#), "{id}");
            assert_ne!(known, before.name_of(&call(id, "g", r#"{"a":1,"b":"é"}"#), provider), "{id}");
            assert_ne!(known, before.name_of(&call(id, "f", r#"{"a":1,"b":"é"}"#), ProviderTag::of("b")), "{id}");
            assert_ne!(known, name(history("You help Ann.", "Hello", "Stop"), id, r#"{"a":1,"b":"é"}"#), "{id}");
        }
        for other in [history("You help Bob.", "Hello", "Go on"), history("You help Ann.", "Good day", "Go on")] {
            assert_ne!(name(before, counted, ""), name(other, counted, ""), "it is another conversation");
            assert_eq!(name(before, drawn, ""), name(other, drawn, ""), "clients change what was said long ago");
        }
    }
}
