//! One line of the log.

use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::Work;
use crate::find::{Any, Found, Reader, Script, in_json, redacted};
use crate::providers::codec::{Maker, codec};
use crate::providers::common::{Collector, Content};
use crate::providers::{Dialect, Operation};
use crate::{About, End, Finish, Request, Side, TextKind, texts};

/// Most texts of a request that are kept: the last ones.
const MOST_TEXTS: usize = 64;

/// What is kept of an exchange that is under way.
#[derive(Default)]
pub(super) struct Seen {
    asked: Vec<Said>,
    answer: Vec<u8>,
    /// Bytes of the answer that were left out.
    more: usize,
}

/// A text and who wrote it.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    role: &'static str,
    text: String,
}

impl Said {
    /// Puts names in the place of what `finder` finds, and leaves out what begins behind `most` bytes.
    fn redact(&mut self, finder: &Any, most: usize) {
        let Self { role, text } = self;
        let script = if *role == "arguments" { Script::Json } else { Script::Plain };
        let (mut told, mut at) = (String::new(), 0);
        Reader::new(script).look(finder, text, true, &mut |Found { kind, range, bare }| {
            if range.start >= most {
                return;
            }
            told.push_str(text.get(at..range.start).unwrap_or_default());
            let name = redacted(&kind);
            told.push_str(&if script == Script::Json { in_json(&name, bare) } else { name });
            at = range.end;
        });
        told.push_str(text.get(at..text.floor_char_boundary(most)).unwrap_or_default());
        *text = told;
    }
}

impl Seen {
    /// Of a request that asks this.
    pub fn asked(asked: Vec<Said>) -> Self {
        Self { asked, ..Self::default() }
    }

    /// Keeps a piece of the answer, as it stands on the wire.
    pub fn keep(&mut self, bytes: &[u8], most: usize) {
        // A stream takes several times the bytes of its text.
        let room = (8 * most).saturating_sub(self.answer.len()).min(bytes.len());
        self.answer.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.more += bytes.len() - room;
    }
}

/// The texts of a request, of each up to `most` bytes.
pub(super) fn asked(request: &Request, most: usize) -> Vec<Said> {
    let texts = request.texts();
    let skipped = texts.len().saturating_sub(MOST_TEXTS);
    let said = |text: &crate::Text<'_>| Said { role: role(text.kind), text: cut(&text.text, most).to_owned() };
    texts.iter().skip(skipped).map(said).collect()
}

fn role(kind: TextKind) -> &'static str {
    match kind {
        TextKind::System => "system",
        TextKind::User => "user",
        TextKind::Assistant => "assistant",
        TextKind::Reasoning => "reasoning",
        TextKind::Refusal => "refusal",
        TextKind::Arguments => "arguments",
        TextKind::ToolResult => "tool",
        _ => "input",
    }
}

fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// An exchange that is over.
pub(super) struct Record {
    line: Line,
    dialect: Dialect,
    operation: Operation,
    answer: Vec<u8>,
    /// Bytes that it takes in the queue.
    pub size: usize,
}

#[derive(Serialize)]
struct Line {
    /// Unix time in milliseconds.
    time: u64,
    id: String,
    key: Option<String>,
    team: Option<String>,
    operation: &'static str,
    dialect: &'static str,
    model: Option<String>,
    stream: bool,
    status: u16,
    finish: &'static str,
    error: Option<&'static str>,
    provider: Option<String>,
    upstream_model: Option<String>,
    duration_ms: u64,
    request: Vec<Said>,
    answer: Vec<Said>,
    /// Bytes of the answer that are not told.
    left_out: usize,
}

impl Record {
    pub fn new(about: &About, end: &End, seen: Seen) -> Self {
        let Seen { asked, answer, more } = seen;
        let size = asked.iter().map(|said| said.text.len() + 32).sum::<usize>() + answer.len() + 512;
        let line = Line {
            time: about.now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0)),
            id: about.id.to_string(),
            key: about.key.as_ref().map(|key| key.name.to_string()),
            team: about.key.as_ref().and_then(|key| key.team.as_ref()).map(ToString::to_string),
            operation: about.operation.as_str(),
            dialect: about.dialect.as_str(),
            model: about.model.as_ref().map(ToString::to_string),
            stream: about.stream,
            status: end.status,
            finish: match end.finish {
                Finish::Complete => "complete",
                Finish::Cut => "cut",
                Finish::Error => "error",
                Finish::ClientLeft => "client_left",
            },
            error: end.error,
            provider: end.provider.as_ref().map(ToString::to_string),
            upstream_model: end.model.as_ref().map(ToString::to_string),
            duration_ms: u64::try_from(end.duration.as_millis()).unwrap_or(u64::MAX),
            request: asked,
            answer: Vec::new(),
            left_out: more,
        };
        Self { line, dialect: about.dialect, operation: about.operation, answer, size }
    }

    /// The line, with a line end.
    pub fn write(mut self, work: &Work) -> Vec<u8> {
        self.line.answer = self.answered();
        for said in &mut self.line.request {
            said.redact(&work.redact, work.most);
        }
        for said in &mut self.line.answer {
            said.redact(&work.redact, usize::MAX);
        }
        // Behind the redaction, which half a number would escape.
        let mut room = work.most;
        for Said { text, .. } in &mut self.line.answer {
            let kept = text.floor_char_boundary(room);
            self.line.left_out += text.len() - kept;
            room -= kept;
            text.truncate(kept);
        }
        self.line.answer.retain(|said| !said.text.is_empty());
        let mut line = serde_json::to_vec(&self.line).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// What the answer says.
    fn answered(&self) -> Vec<Said> {
        // Streams of own dialects may be made of objects, too.
        let objects = self.line.stream && matches!(self.dialect, Dialect::Own(_));
        let whole = self.answer.trim_ascii_start().starts_with(b"{") && !objects;
        if whole || self.operation != Operation::Chat {
            let texts = texts(&self.answer, Side::Answer, self.dialect, self.operation);
            return texts
                .into_iter()
                .map(|text| Said { role: role(text.kind), text: text.text.into_owned() })
                .collect();
        }
        let maker = Maker::nobody("0");
        let (mut decoder, mut collector) = (codec(self.dialect).stream_decoder(&maker), Collector::new(self.dialect));
        let mut cut = Vec::new();
        // Of a stream that was cut its beginning is told: the error at its end is none of its texts.
        decoder.feed(&self.answer, true, &mut |event| match event {
            crate::providers::common::Event::Error(_) => cut.push(()),
            event => collector.feed(&event),
        });
        if !cut.is_empty() {
            collector.feed(&crate::providers::common::Event::End);
        }
        let Ok(response) = collector.finish() else { return Vec::new() };
        let mut said = Vec::new();
        for block in response.choices.into_iter().flat_map(|choice| choice.blocks) {
            let (role, text) = match block.content {
                Content::Text(text) => ("assistant", text.text),
                Content::Refusal(text) => ("refusal", text),
                Content::Reasoning(reasoning) => ("reasoning", reasoning.text),
                Content::ToolCall(call) => ("arguments", call.arguments),
                Content::Media(_) | Content::ToolResult(_) | Content::Foreign(_) => continue,
            };
            said.push(Said { role, text: text.into_string() });
        }
        said
    }
}
