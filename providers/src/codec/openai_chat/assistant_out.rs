//! The model's messages for a provider.

use std::borrow::Cow;

use super::message_out::{Messages, content, one_text};
use super::message_wire::{AudioOut, CallOut, ContentOut, CustomOut, ExtraOut, FunctionOut, KnownCall, MessageOut};
use super::part_out::{Fields, PartBody, PartOut};
use super::reasoning::{AnyDetail, write_details};
use super::{OWN, spelt};
use crate::common::{Block, Content, Media, MediaKind, Message, Opaque, Reasoning, Str, Text, ToolCall, flat_name};
use crate::preset::ReasoningSpelling;

impl<'r> Messages<'r, '_> {
    pub(super) fn assistant(&mut self, run: &'r [Message<'r>], listed: bool, base: MessageOut<'r>) {
        let mut out = MessageOut { role: "assistant", ..base };
        let mut parts = Vec::new();
        let mut reasoned = 0;
        for message in run {
            let before = parts.len();
            self.assistant_blocks(message, &mut reasoned, &mut out, &mut parts);
            set_apart(&mut parts, before, self.between);
        }
        let says_otherwise = out.refusal.is_some()
            || out.audio.is_some()
            || out.function_call.is_some()
            || !out.tool_calls.is_empty()
            || !out.images.is_empty();
        let reasons = out.reasoning_content.is_some() || out.reasoning.is_some() || !out.reasoning_details.is_empty();
        if !self.own && parts.is_empty() && !says_otherwise && !reasons {
            // Vendors refuse a message of nothing.
            return;
        }
        out.content = Some(match parts.is_empty() {
            true if says_otherwise => ContentOut::Null,
            // Thinking stands in parts; the text behind it is a part, too.
            _ if self.own || parts.iter().any(|part| matches!(part.body, PartBody::Thinking(_))) => {
                content(parts, listed)
            }
            _ => one_text(parts, ""),
        });
        self.push(out);
    }

    fn assistant_blocks(
        &mut self,
        message: &'r Message<'r>,
        reasoned: &mut usize,
        out: &mut MessageOut<'r>,
        parts: &mut Vec<PartOut<'r>>,
    ) {
        for block in &message.blocks {
            match &block.content {
                Content::Text(text) => {
                    let Text { text, citations, signature } = text;
                    let own = citations.iter().filter_map(|citation| citation.raw.as_ref());
                    out.annotations.extend(own.filter(|(dialect, _)| *dialect == OWN && self.own).map(|(_, raw)| raw));
                    self.losses.note_if(!self.own && !citations.is_empty(), "messages.citations");
                    if let Some(signature) = self.signature(signature.as_ref()) {
                        out.extra_content = Some(ExtraOut::new(signature));
                    }
                    let (cache, extras) = (self.cache(block.cache.as_ref()), self.block_extras(block));
                    parts.push(PartOut { body: PartBody::Text((&**text).into()), cache, extras });
                }
                Content::Refusal(text) if (self.own || self.reference) && out.refusal.is_none() => {
                    self.cache(block.cache.as_ref());
                    self.block_extras(block);
                    out.refusal = Some(text);
                }
                Content::Media(media) => self.assistant_media(block, media, out, parts),
                Content::Reasoning(reasoning) => {
                    self.reasoning(block, reasoning, message, *reasoned, out, parts);
                    *reasoned += 1;
                }
                Content::ToolCall(call) => self.call(block, call, message, out),
                Content::Foreign(foreign) if self.own && foreign.kind.starts_with("reasoning.") => {
                    match self.target.quirks.reasoning {
                        ReasoningSpelling::Effort | ReasoningSpelling::Object => {
                            out.reasoning_details.push(AnyDetail::Raw(&foreign.raw));
                        }
                        _ => self.losses.note("messages.reasoning"),
                    }
                }
                Content::Foreign(foreign) if self.own && block.id.is_some() => {
                    out.tool_calls.push(CallOut::Raw(&foreign.raw));
                }
                Content::Refusal(_) | Content::ToolResult(_) | Content::Foreign(_) => self.part(block, parts),
            }
        }
    }

    fn assistant_media(
        &mut self,
        block: &'r Block<'r>,
        media: &'r Media<'r>,
        out: &mut MessageOut<'r>,
        parts: &mut Vec<PartOut<'r>>,
    ) {
        let extras = self.block_extras(block);
        self.cache(block.cache.as_ref());
        let images = self.own || self.target.quirks.reasoning == ReasoningSpelling::Object;
        match (media.kind, &block.id) {
            (MediaKind::Audio, Some(id)) if self.own => out.audio = Some(AudioOut { id }),
            (MediaKind::Image, _) if images => {
                self.losses.note_if(media.signature.is_some(), "messages.signature");
                let body = PartBody::shown(media, extras, self.own);
                out.images.push(PartOut { body, cache: None, extras });
            }
            (kind, _) => {
                self.losses.note(kind.lost_in_message());
                if let Some(transcript) = &media.transcript {
                    parts.push(PartOut::text(&**transcript));
                }
            }
        }
    }

    /// What the provider may see of opaque state.
    fn signature(&mut self, signature: Option<&'r Opaque<'r>>) -> Option<&'r str> {
        let seen = signature.and_then(|signature| signature.for_provider(OWN, self.target.provider));
        self.losses.note_if(signature.is_some() && seen.is_none(), "messages.signature");
        seen
    }

    fn reasoning(
        &mut self,
        block: &'r Block<'r>,
        reasoning: &'r Reasoning<'r>,
        message: &'r Message<'r>,
        index: usize,
        out: &mut MessageOut<'r>,
        parts: &mut Vec<PartOut<'r>>,
    ) {
        self.cache(block.cache.as_ref());
        let extras = self.block_extras(block);
        if let Some(raw) = spelt(extras, "part") {
            return parts.push(PartOut::new(PartBody::Raw(raw)));
        }
        let Reasoning { text: _, summary: _, signature, encrypted } = reasoning;
        let shown = reasoning.shown();
        let told = |name: &str| spelt(&message.extras, name).is_some();
        let spelling = self.target.quirks.reasoning;
        let opaque = signature.is_some() || encrypted.is_some();
        let (content, plain, detailed) = match (spelling, self.own) {
            (ReasoningSpelling::Effort | ReasoningSpelling::Object, true) => {
                (told("reasoning_content"), told("reasoning"), told("reasoning_details"))
            }
            (ReasoningSpelling::Effort, false) => (!self.reference, false, false),
            (ReasoningSpelling::Object, false) => (false, true, true),
            (ReasoningSpelling::Plain, _) => (false, true, false),
            // Who has it from there says it so, and who says it otherwise has it from somebody else.
            (ReasoningSpelling::Untold, true) => {
                (false, told("reasoning") && !told("reasoning_content") && !told("reasoning_details"), false)
            }
            (ReasoningSpelling::Parts, _) | (ReasoningSpelling::Untold, false) => (false, false, false),
        };
        let between = self.between;
        let add = |field: &mut Option<Cow<'r, str>>, text: &Option<Cow<'r, str>>| {
            if let Some(text) = text {
                let field = field.get_or_insert_default().to_mut();
                field.push_str(if field.is_empty() || text.is_empty() { "" } else { between });
                field.push_str(text);
            }
        };
        let in_parts = spelling == ReasoningSpelling::Parts;
        let visible = shown.is_some() && (content || plain || in_parts);
        if content {
            add(&mut out.reasoning_content, &shown);
        }
        if plain {
            add(&mut out.reasoning, &shown);
        }
        let before = out.reasoning_details.len();
        if detailed {
            let signature = self.signature(signature.as_ref()).map(Str::from);
            let encrypted = self.signature(encrypted.as_ref()).map(Str::from);
            // Without a signature the details say nothing that the plain text does not; one for somebody else was put there by the
            // gateway.
            if signature.is_some() || encrypted.is_some() || (self.own && !opaque) {
                let id = block.id.as_deref();
                write_details(reasoning, signature, encrypted, id, index, extras, &mut out.reasoning_details);
            }
        } else {
            self.losses.note_if(opaque && visible, "messages.signature");
        }
        let detailed = out.reasoning_details.len() > before;
        if let Some(shown) = shown.filter(|_| in_parts) {
            parts.push(PartOut::new(PartBody::Thinking(shown)));
        }
        self.losses.note_if(!visible && !detailed && !reasoning.is_empty(), "messages.reasoning");
    }

    fn call(
        &mut self,
        block: &'r Block<'r>,
        call: &'r ToolCall<'r>,
        message: &'r Message<'r>,
        out: &mut MessageOut<'r>,
    ) {
        self.cache(block.cache.as_ref());
        let extras = self.block_extras(block);
        let ToolCall { id, name, arguments, custom, namespace, signature } = call;
        let name = flat_name(namespace.as_deref(), name);
        if self.own && spelt(&message.extras, "function_call").is_some() {
            out.function_call = Some(FunctionOut { name, arguments: (&**arguments).into() });
            return;
        }
        let native = *custom && (self.own || self.reference);
        let mut known = KnownCall { id: self.call_id(id), rest: Fields::outer(extras, ""), ..KnownCall::default() };
        known.extra_content = self.signature(signature.as_ref()).map(ExtraOut::new);
        if native {
            known.kind = "custom";
            known.custom = Some(CustomOut { name, input: arguments });
        } else {
            known.kind = "function";
            let arguments = match (*custom, &**arguments) {
                (true, _) => call.arguments_object().get().to_owned().into(),
                (false, "") if !self.own => "{}".into(),
                (false, arguments) => arguments.into(),
            };
            known.function = Some(FunctionOut { name, arguments });
        }
        out.tool_calls.push(CallOut::Known(known));
    }
}

/// What one message says stands apart from what the messages before it said.
fn set_apart(parts: &mut [PartOut<'_>], before: usize, between: &str) {
    let says = |part: &PartOut<'_>| !matches!(&part.body, PartBody::Text(text) if text.is_empty());
    let Some((said, more)) = parts.split_at_mut_checked(before) else { return };
    if let (Some(PartBody::Text(_)), Some(PartBody::Text(text))) = (
        said.iter().rfind(|part| says(part)).map(|part| &part.body),
        more.iter_mut().find(|part| says(part)).map(|part| &mut part.body),
    ) {
        text.to_mut().insert_str(0, between);
    }
}
