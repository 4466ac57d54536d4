//! Streams read: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use bounded_static::IntoBoundedStatic as _;
use serde_json::value::RawValue;

use super::super::Sink;
use super::super::sse::EventRules;
use super::OWN;
use super::block_in::{Side, read_block, read_citation};
use super::response_in::{explained, explanation, has_words, of_stop, read_usage, report, said, service_tier, stop};
use super::wire::{Answer, DeltaIn, EndIn, EventIn, Whole};
use crate::codec::fields::Fields;
use crate::common::{Block, Content, Delta, Event, Extras, Json, ProviderTag, Stop, Str};
use crate::error::{ApiError, ErrorKind, decode_error};
use crate::usage::report::Report;

/// What the events of a stream mean, in whatever frames they come.
pub(super) struct Rules {
    side: Side,
    started: bool,
    /// An event could not be read, and what it said is missing.
    damaged: bool,
    /// Anything was said but reasoning.
    worded: bool,
    blocks: u32,
    open: Vec<Open>,
    report: Report,
    model: Option<String>,
    tier: Option<Str<'static>>,
    stop: Option<Stop<'static>>,
    extras: Extras<'static>,
}

/// A block that has not ended.
struct Open {
    /// Its number on the wire.
    wire: u64,
    /// Its number as given out.
    index: u32,
    kind: Kind,
}

enum Kind {
    Text,
    Reasoning,
    /// A call, and its arguments if no delta brings them.
    Call(Option<String>),
    /// A block that only this dialect knows: its fields, what was added to its input, and whether anything was added at all.
    Foreign {
        fields: Extras<'static>,
        input: String,
        changed: bool,
    },
    Other,
}

impl Rules {
    pub(super) fn new(provider: ProviderTag) -> Self {
        Self {
            side: Side::Provider(provider),
            started: false,
            damaged: false,
            worded: false,
            blocks: 0,
            open: Vec::new(),
            report: Report::default(),
            model: None,
            tier: None,
            stop: None,
            extras: Vec::new(),
        }
    }

    fn take(&mut self, event: &EventIn<'_>, kind: &str, sink: Sink<'_>) -> Result<(), ApiError> {
        match kind {
            "message_start" => {
                let Some(message) = event.message else { return Ok(()) };
                self.start(self.side.read(message)?, sink);
            }
            "content_block_start" => {
                let Some(raw) = event.content_block else { return Err(unreadable()) };
                let block = read_block(raw, self.side)?;
                self.end_block(event.index, sink);
                self.begin(event.index, block, sink);
            }
            "content_block_delta" => {
                let Some(raw) = event.delta else { return Err(unreadable()) };
                self.delta(event.index, raw, sink)?;
            }
            "content_block_stop" => self.end_block(event.index, sink),
            "message_delta" => self.nearly_done(event, sink)?,
            "message_stop" => self.finish(sink),
            "ping" => sink(Event::Ping),
            // What may come: new events say nothing that the old ones need.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, message: Answer<'_>, sink: Sink<'_>) {
        let Answer { kind: _, role: _, id, model, content: _, stop_reason: _, stop_sequence: _, usage, error: _, rest } =
            message;
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.model = model.as_deref().map(str::to_owned);
        self.keep(rest);
        // Before the start, so that who writes one can tell it.
        if let Some(usage) = usage {
            let mut usage = read_usage(usage);
            self.tier = service_tier(None, &usage);
            // A placeholder: the true count comes with `message_delta`.
            usage.remove("output_tokens");
            let report = report(self.model.as_deref(), &usage);
            self.count(&report, sink);
        }
        sink(Event::Start { id, model, created: None });
    }

    fn keep(&mut self, extras: Extras<'_>) {
        for (name, value) in said(extras) {
            self.extras.retain(|(known, _)| *known != name);
            self.extras.push((name.into_owned(), value.into_owned()));
        }
    }

    fn count(&mut self, later: &Report, sink: Sink<'_>) {
        self.report.merge(later);
        if let Some(usage) = self.report.usage() {
            sink(Event::Usage(usage));
        }
    }

    fn begin(&mut self, wire: u64, mut block: Block<'_>, sink: Sink<'_>) -> usize {
        self.worded |= has_words(&block);
        let kind = match &mut block.content {
            Content::Text(_) => Kind::Text,
            Content::Reasoning(_) => Kind::Reasoning,
            Content::ToolCall(call) => Kind::Call(Some(std::mem::take(&mut call.arguments).into_string())),
            Content::Foreign(foreign) => {
                let fields = foreign.raw.read::<Whole<'_>>().map(|object| object.rest.into_static());
                Kind::Foreign { fields: fields.unwrap_or_default(), input: String::new(), changed: false }
            }
            Content::Refusal(_) | Content::Media(_) | Content::ToolResult(_) => Kind::Other,
        };
        let index = self.blocks;
        self.blocks += 1;
        sink(Event::BlockStart { choice: 0, index, block });
        self.open.push(Open { wire, index, kind });
        self.open.len() - 1
    }

    fn delta(&mut self, wire: u64, raw: &RawValue, sink: Sink<'_>) -> Result<(), ApiError> {
        let DeltaIn { kind, text, partial_json, thinking, signature, citation, rest } = self.side.read(raw)?;
        let at = match self.open.iter().position(|open| open.wire == wire) {
            Some(at) => at,
            // Some imitations let a text begin without saying so.
            None if kind == *"text_delta" => self.begin(wire, Block::text(""), sink),
            None => return Err(unreadable()),
        };
        let Open { index, kind: block, .. } = &mut self.open[at];
        let delta = match (block, &*kind) {
            (Kind::Text, "text_delta") => text.map(Delta::Text),
            (Kind::Text, "citations_delta") => match citation {
                Some(raw) => Some(Delta::Citation(Box::new(read_citation(raw, self.side)?))),
                None => None,
            },
            (Kind::Reasoning, "thinking_delta") => thinking.map(Delta::Reasoning),
            (Kind::Text | Kind::Reasoning | Kind::Call(_), "signature_delta") => {
                signature.and_then(|text| self.side.opaque(text)).map(Delta::Signature)
            }
            (Kind::Call(whole), "input_json_delta") => {
                let more = partial_json.filter(|more| !more.is_empty());
                if more.is_some() {
                    *whole = None;
                }
                more.map(Delta::Arguments)
            }
            (Kind::Foreign { input, changed, .. }, "input_json_delta") => {
                input.push_str(partial_json.as_deref().unwrap_or_default());
                *changed |= !input.is_empty();
                None
            }
            (Kind::Foreign { fields, changed, .. }, _) => {
                let texts = [("text", text), ("thinking", thinking)];
                let texts = texts.into_iter().filter_map(|(name, value)| Some((name.into(), Json::of(&value?))));
                for (name, value) in rest.into_iter().chain(texts) {
                    *changed = true;
                    add_field(fields, name, &value);
                }
                None
            }
            (Kind::Text | Kind::Reasoning | Kind::Call(_) | Kind::Other, _) => None,
        };
        if let Some(delta) = delta {
            self.worded |= matches!(&delta, Delta::Text(text) if !text.is_empty());
            sink(Event::Delta { choice: 0, index: *index, delta });
        }
        Ok(())
    }

    fn end_block(&mut self, wire: u64, sink: Sink<'_>) {
        if let Some(at) = self.open.iter().position(|open| open.wire == wire) {
            self.close(at, sink);
        }
    }

    fn close(&mut self, at: usize, sink: Sink<'_>) {
        let Open { index, kind, .. } = self.open.remove(at);
        let delta = match kind {
            Kind::Call(Some(arguments)) if !arguments.is_empty() => Some(Delta::Arguments(arguments.into())),
            Kind::Foreign { mut fields, input, changed: true } => {
                if let Some(input) = Json::parse(&input) {
                    fields.retain(|(name, _)| *name != *"input");
                    fields.push(("input".into(), input.into_owned()));
                }
                Some(Delta::Foreign(Json::of(&Fields(&fields))))
            }
            Kind::Call(_) | Kind::Foreign { .. } | Kind::Text | Kind::Reasoning | Kind::Other => None,
        };
        if let Some(delta) = delta {
            sink(Event::Delta { choice: 0, index, delta });
        }
        sink(Event::BlockEnd { choice: 0, index });
    }

    fn nearly_done(&mut self, event: &EventIn<'_>, sink: Sink<'_>) -> Result<(), ApiError> {
        if let Some(delta) = event.delta {
            let EndIn { stop_reason, stop_sequence, rest } = self.side.read(delta)?;
            self.keep(rest);
            if stop_reason.is_some() {
                self.stop = Some(stop(stop_reason, stop_sequence).into_static());
            }
        }
        self.keep(event.rest.clone());
        if let Some(usage) = event.usage {
            let usage = read_usage(usage);
            self.tier = service_tier(self.tier.as_deref(), &usage).or(self.tier.take());
            let report = report(self.model.as_deref(), &usage);
            self.count(&report, sink);
        }
        Ok(())
    }

    /// The end marker. Without a stop reason before it, or with events that could not be read, the answer is not whole.
    fn finish(&mut self, sink: Sink<'_>) {
        let (Some(stop), false) = (self.stop.take(), self.damaged) else {
            return sink(Event::Error(if self.damaged { unreadable() } else { ApiError::cut_short() }));
        };
        while !self.open.is_empty() {
            self.close(0, sink);
        }
        if !self.worded
            && let Some(text) = explanation(&stop, &self.extras)
        {
            let index = self.blocks;
            sink(Event::BlockStart { choice: 0, index, block: explained(String::new()) });
            sink(Event::Delta { choice: 0, index, delta: Delta::Refusal(text.into()) });
            sink(Event::BlockEnd { choice: 0, index });
        }
        let extras = of_stop(&stop);
        sink(Event::Stop { choice: 0, stop, extras });
        if let Some(tier) = self.tier.take() {
            sink(Event::ServiceTier(tier));
        }
        let extras = std::mem::take(&mut self.extras);
        if !extras.is_empty() {
            sink(Event::Extras(extras));
        }
        sink(Event::End);
    }
}

impl EventRules for Rules {
    fn on_event(&mut self, name: &[u8], data: &[u8], sink: Sink<'_>) {
        let Ok(event) = serde_json::from_slice::<EventIn<'_>>(data) else {
            let says_something = name.starts_with(b"content_block") || name.starts_with(b"message");
            self.damaged |= says_something || (name.is_empty() && data.trim_ascii_start().starts_with(b"{"));
            return;
        };
        let kind = if event.kind.is_empty() { str::from_utf8(name).unwrap_or_default() } else { &*event.kind };
        if kind == "error" || event.error.is_some() {
            return sink(Event::Error(decode_error(OWN, 200, data)));
        }
        if self.take(&event, kind, sink).is_err() {
            self.damaged = true;
        }
    }

    fn on_end(&mut self, sink: Sink<'_>) {
        sink(Event::Error(ApiError::cut_short()));
    }

    fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }
}

pub(super) fn unreadable() -> ApiError {
    ApiError::new(ErrorKind::UpstreamError, "the provider sent an event that cannot be read")
}

/// Text is added to what the field holds, anything else replaces it.
fn add_field(fields: &mut Extras<'static>, name: Str<'_>, value: &Json<'_>) {
    let place = match fields.iter().position(|(known, _)| *known == name) {
        Some(at) => at,
        None => {
            fields.push((name.into_owned(), Json::default()));
            fields.len() - 1
        }
    };
    let old = &mut fields[place].1;
    *old = match (old.read::<String>(), value.read::<Str<'_>>()) {
        (Ok(mut text), Ok(more)) => {
            text.push_str(&more);
            Json::of(&text)
        }
        _ => value.clone().into_owned(),
    };
}
