//! Streams written: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use super::super::{Client, StreamEncoder};
use super::OWN;
use super::block_out::{BlockOut, BodyOut, Known};
use super::event_out::{DeltaOut, EndOut, EventOut, put};
use super::response_in::{EXPLAINED, OWN_STOP};
use super::response_out::{MessageOut, citation_out, made_id, spoken, ticket, unsigned};
use super::usage::{UsageOut, stop_out, tier_out};
use super::wire::Whole;
use crate::codec::fields::Fields;
use crate::common::{
    Block, Citation, Content, Delta, Event, Extras, Json, Losses, Paragraphs, Reasoning, Sequence, Stop, Str, Text,
    ToolCall, flat_name,
};
use crate::dialect::Dialect;
use crate::error::encode_stream_error;
use crate::usage::Usage;
use bounded_static::IntoBoundedStatic as _;

/// Fields of blocks and answers that are Anthropic's. Events do not tell their dialect: others are not for this client.
const OWN_FIELDS: [&str; 7] = [
    "caller",
    "container",
    "context_management",
    "diagnostics",
    "input_transformations",
    "stop_details",
    "toolset_name",
];
/// Those of them that stand inside the `delta` of `message_delta`.
const IN_DELTA: [&str; 2] = ["container", "stop_details"];

/// The block that is open.
#[derive(Default)]
enum Open {
    /// None, or one that is not shown.
    #[default]
    Hidden,
    Text,
    /// Text of which nothing was said yet: Claude refuses an empty one that a client sends back.
    Silent {
        signature: Option<Box<str>>,
        extras: Extras<'static>,
    },
    /// Sound: its transcript is shown as text once there is some.
    Spoken,
    /// Reasoning of which nothing was said yet.
    Unsaid {
        encrypted: Option<String>,
    },
    Thinking {
        encrypted: Option<String>,
        said: Paragraphs,
        signed: bool,
    },
    /// A call; of a custom tool, whose text is wrapped in an object.
    Call {
        custom: bool,
    },
    /// A block that only Anthropic knows: its fields so far.
    Foreign(Extras<'static>),
}

pub(super) struct Encoder {
    sequence: Sequence,
    writer: Writer,
}

/// What is known of the answer, and where its stream stands.
struct Writer {
    client: Client,
    started: bool,
    ended: bool,
    /// The number of the block that is open or comes next.
    index: u32,
    open: Open,
    usage: Option<Usage>,
    tier: Option<Str<'static>>,
    stop: Stop<'static>,
    /// Whether the word for it is Anthropic's.
    own_stop: bool,
    extras: Extras<'static>,
}

impl Encoder {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            sequence: Sequence::default(),
            writer: Writer {
                client: client.clone(),
                started: false,
                ended: false,
                index: 0,
                open: Open::Hidden,
                usage: None,
                tier: None,
                stop: Stop::default(),
                own_stop: false,
                extras: Vec::new(),
            },
        }
    }
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let Self { sequence, writer } = self;
        match &event {
            Event::BlockStart { choice: 1.., .. }
            | Event::Delta { choice: 1.., .. }
            | Event::BlockEnd { choice: 1.., .. }
            | Event::Stop { choice: 1.., .. } => losses.note("answer.choices"),
            _ => sequence.feed(event, &mut |event| writer.write(event, losses, out)),
        }
    }
}

impl Writer {
    fn write(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Start { id, model, created: _ } => self.start(id.as_deref(), model.as_deref(), out),
            Event::BlockStart { choice: _, index: _, block } => {
                self.start(None, None, out);
                self.begin(&block, losses, out);
            }
            Event::Delta { choice: _, index: _, delta } => self.delta(&delta, losses, out),
            Event::BlockEnd { .. } => self.end_block(losses, out),
            Event::Logprobs { .. } => losses.note("answer.logprobs"),
            Event::Stop { choice: _, stop, extras } => {
                self.stop = stop.into_static();
                self.own_stop = Fields(&extras).get(OWN_STOP).is_some();
                self.keep(extras, losses);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(tier) => self.tier = Some(tier.into_owned()),
            Event::Extras(extras) => self.keep(extras, losses),
            Event::Ping => put(out, &EventOut::Ping),
            Event::Error(error) => {
                self.ended = true;
                out.extend(encode_stream_error(OWN, &error, &self.client.request_id, 0));
            }
            Event::End => self.end(losses, out),
        }
    }

    fn keep(&mut self, extras: Extras<'_>, losses: &mut Losses) {
        let (own, others): (Vec<_>, Vec<_>) = extras.into_iter().partition(|(name, _)| OWN_FIELDS.contains(&&**name));
        losses.note_extras("answer.", &others);
        self.extras.extend(own.into_static());
    }

    fn start(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let made_id = made_id(&self.client);
        // Not an estimate: who adds up what a stream says keeps the larger of two counts.
        let usage = self.usage.unwrap_or_default();
        let message = MessageOut {
            id: id.unwrap_or(&made_id),
            r#type: "message",
            role: "assistant",
            model: model.unwrap_or(&self.client.model),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: UsageOut::of(&Usage { output: None, reasoning: None, ..usage }, None).with_input(),
            extras: Fields::default(),
        };
        put(out, &EventOut::MessageStart { message });
    }

    fn begin(&mut self, block: &Block<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let Block { content, cache: _, id: _, extras } = block;
        if Fields(extras).get(EXPLAINED).is_some() {
            self.open = Open::Hidden;
            return;
        }
        let (own, others): (Vec<_>, Vec<_>) =
            extras.iter().cloned().partition(|(name, _)| OWN_FIELDS.contains(&&**name));
        losses.note_extras("answer.", &others);
        match content {
            Content::Text(Text { text, citations, signature }) => {
                let signature = signature.as_ref().and_then(ticket);
                self.open = Open::Silent { signature, extras: own.into_static() };
                self.say(text, out);
                citations.iter().for_each(|citation| self.cite(citation, losses, out));
            }
            Content::Refusal(text) => {
                self.open = Open::Silent { signature: None, extras: own.into_static() };
                self.say(text, out);
            }
            Content::Reasoning(reasoning) => {
                let Reasoning { text, summary, signature, encrypted } = &**reasoning;
                self.open = Open::Unsaid { encrypted: None };
                for (part, text) in (0..).zip(summary) {
                    self.reason(text, Some(part), out);
                }
                self.reason(text, None, out);
                if let Some(signature) = signature {
                    self.sign(&signature.for_client(OWN), out);
                }
                if let Some(data) = encrypted {
                    self.encrypt(data.for_client(OWN).into_string());
                }
            }
            Content::ToolCall(call) => {
                let ToolCall { id, name, arguments, custom, namespace, signature } = &**call;
                let body = BodyOut::ToolUse {
                    id: (**id).into(),
                    name: flat_name(namespace.as_deref(), name).into(),
                    input: Json::of(&Fields::default()),
                    signature: signature.as_ref().and_then(ticket),
                };
                self.show(body, &own, out);
                self.open = Open::Call { custom: *custom };
                self.delta_if(*custom, DeltaOut::Input { partial_json: r#"{"input":""# }, out);
                self.argue(arguments, out);
            }
            Content::Media(media) => {
                let text = spoken(media, losses);
                self.open = Open::Spoken;
                self.speak(text.unwrap_or_default(), out);
            }
            Content::ToolResult(_) => {
                losses.note("answer.tool_result");
                self.open = Open::Hidden;
            }
            Content::Foreign(foreign) if foreign.dialect == OWN => {
                put(
                    out,
                    &EventOut::ContentBlockStart { index: self.index, content_block: BlockOut::Raw(&foreign.raw) },
                );
                let fields = foreign.raw.read::<Whole<'_>>().map(|object| object.rest.into_static());
                self.open = Open::Foreign(fields.unwrap_or_default());
            }
            Content::Foreign(foreign) => {
                losses.note_foreign("answer.", &foreign.kind);
                self.open = Open::Hidden;
            }
        }
    }

    fn show(&mut self, body: BodyOut<'_>, extras: &[(Str<'_>, Json<'_>)], out: &mut Vec<u8>) {
        let content_block = BlockOut::Known(Known { body, cache_control: None, extras: Fields(extras) });
        put(out, &EventOut::ContentBlockStart { index: self.index, content_block });
    }

    fn add(&self, delta: DeltaOut<'_>, out: &mut Vec<u8>) {
        put(out, &EventOut::ContentBlockDelta { index: self.index, delta });
    }

    fn delta_if(&self, said: bool, delta: DeltaOut<'_>, out: &mut Vec<u8>) {
        if said {
            self.add(delta, out);
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        match (&self.open, delta) {
            (Open::Text | Open::Silent { .. }, Delta::Text(text) | Delta::Refusal(text)) => self.say(text, out),
            (Open::Text | Open::Silent { .. }, Delta::Citation(citation)) => self.cite(citation, losses, out),
            (Open::Silent { extras, .. }, Delta::Signature(signature)) => {
                self.open = Open::Silent { signature: ticket(signature), extras: extras.clone() };
            }
            // SDKs add a signature to thinking only; for others the gateway remembers it by the call's id.
            (Open::Text | Open::Call { .. }, Delta::Signature(signature)) => {
                if let Some(signature) = ticket(signature) {
                    self.add(DeltaOut::Signature { signature: &signature }, out);
                }
            }
            (Open::Unsaid { .. } | Open::Thinking { .. }, Delta::Reasoning(text)) => self.reason(text, None, out),
            (Open::Unsaid { .. } | Open::Thinking { .. }, Delta::Summary { part, text }) => {
                self.reason(text, Some(*part), out);
            }
            (Open::Unsaid { .. } | Open::Thinking { .. }, Delta::Signature(signature)) => {
                self.sign(&signature.for_client(OWN), out);
            }
            (Open::Unsaid { .. } | Open::Thinking { .. }, Delta::Encrypted(data)) => {
                self.encrypt(data.for_client(OWN).into_string());
            }
            (Open::Call { .. }, Delta::Arguments(more)) => self.argue(more, out),
            (Open::Spoken, Delta::Transcript(more)) => self.speak(more, out),
            (Open::Text, Delta::Transcript(more)) => {
                self.delta_if(!more.is_empty(), DeltaOut::Text { text: more }, out)
            }
            (Open::Foreign(before), Delta::Foreign(raw)) => self.finished(before, raw, out),
            // Of blocks that are not shown, and was noted when they began.
            (_, _) => {}
        }
    }

    /// Lets a text begin if it has not.
    fn speak_up(&mut self, out: &mut Vec<u8>) {
        if let Open::Silent { signature, extras } = &mut self.open {
            let (signature, extras) = (signature.take(), std::mem::take(extras));
            self.show(BodyOut::Text { text: "", citations: Vec::new(), signature }, &extras, out);
            self.open = Open::Text;
        }
    }

    fn say(&mut self, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.speak_up(out);
            self.add(DeltaOut::Text { text }, out);
        }
    }

    fn cite(&mut self, citation: &Citation<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        if let Some(citation) = citation_out(citation, losses) {
            self.speak_up(out);
            self.add(DeltaOut::Citation { citation }, out);
        }
    }

    /// Lets a block of thinking begin if it has not.
    fn think(&mut self, out: &mut Vec<u8>) {
        if let Open::Unsaid { encrypted } = &mut self.open {
            let encrypted = encrypted.take();
            self.show(BodyOut::Thinking { thinking: "".into(), signature: "".into() }, &[], out);
            self.open = Open::Thinking { encrypted, said: Paragraphs::default(), signed: false };
        }
    }

    fn reason(&mut self, text: &str, part: Option<u32>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.think(out);
        let Open::Thinking { said, .. } = &mut self.open else { return };
        let thinking = said.next(part, text);
        self.add(DeltaOut::Thinking { thinking: &thinking }, out);
    }

    fn sign(&mut self, signature: &str, out: &mut Vec<u8>) {
        self.think(out);
        if let Open::Thinking { signed, .. } = &mut self.open {
            *signed = true;
            self.add(DeltaOut::Signature { signature }, out);
        }
    }

    fn encrypt(&mut self, data: String) {
        if let Open::Unsaid { encrypted } | Open::Thinking { encrypted, .. } = &mut self.open {
            *encrypted = Some(data);
        }
    }

    fn argue(&mut self, more: &str, out: &mut Vec<u8>) {
        if more.is_empty() {
            return;
        }
        if matches!(self.open, Open::Call { custom: true }) {
            let quoted = serde_json::Value::from(more).to_string();
            self.add(DeltaOut::Input { partial_json: &quoted[1..quoted.len() - 1] }, out);
        } else {
            self.add(DeltaOut::Input { partial_json: more }, out);
        }
    }

    fn speak(&mut self, more: &str, out: &mut Vec<u8>) {
        if more.is_empty() {
            return;
        }
        self.show(BodyOut::Text { text: "", citations: Vec::new(), signature: None }, &[], out);
        self.open = Open::Text;
        self.add(DeltaOut::Text { text: more }, out);
    }

    /// The finished form of a block that only Anthropic knows: its input, or a compaction, came bit by bit. Clients want a
    /// compaction's content even if there is none.
    fn finished(&self, before: &Extras<'_>, raw: &Json<'_>, out: &mut Vec<u8>) {
        let Ok(Whole { mut rest }) = raw.read::<Whole<'_>>() else { return };
        if let Some(input) = Fields(&rest).get("input") {
            return self.add(DeltaOut::Input { partial_json: input.get() }, out);
        }
        rest.retain(|field| *field.0 == *"content" || !before.contains(field));
        self.delta_if(!rest.is_empty(), DeltaOut::Compaction { fields: Fields(&rest) }, out);
    }

    fn end_block(&mut self, losses: &mut Losses, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::Hidden | Open::Spoken => return,
            Open::Silent { signature, .. } => return losses.note_if(signature.is_some(), "answer.signature"),
            Open::Unsaid { encrypted: Some(data) } => {
                self.show(BodyOut::RedactedThinking { data: data.into() }, &[], out)
            }
            Open::Unsaid { encrypted: None } => return,
            Open::Thinking { encrypted, signed: false, .. } => {
                // Any dialect but Anthropic's: see `unsigned`.
                let state = encrypted.unwrap_or_else(|| unsigned(Dialect::OpenAiChat).for_client(OWN).into_string());
                self.add(DeltaOut::Signature { signature: &state }, out);
            }
            Open::Call { custom: true } => self.add(DeltaOut::Input { partial_json: r#""}"# }, out),
            Open::Text | Open::Thinking { .. } | Open::Call { .. } | Open::Foreign(_) => {}
        }
        put(out, &EventOut::ContentBlockStop { index: self.index });
        self.index += 1;
    }

    fn end(&mut self, losses: &mut Losses, out: &mut Vec<u8>) {
        self.start(None, None, out);
        self.ended = true;
        let (in_delta, beside): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.extras).into_iter().partition(|(name, _)| IN_DELTA.contains(&&**name));
        let tier = tier_out(self.tier.as_deref(), losses);
        put(
            out,
            &EventOut::MessageDelta {
                delta: EndOut {
                    stop_reason: stop_out(&self.stop, self.own_stop, losses),
                    stop_sequence: self.stop.sequence.as_deref(),
                    extras: Fields(&in_delta),
                },
                usage: UsageOut::of(&self.usage.unwrap_or_default(), tier),
                extras: Fields(&beside),
            },
        );
        put(out, &EventOut::MessageStop);
    }
}
