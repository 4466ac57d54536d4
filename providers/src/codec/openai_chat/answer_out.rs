//! A whole answer for a client: <https://platform.openai.com/docs/api-reference/chat/object>.

use std::borrow::Cow;

use serde::Serialize;

use super::message_wire::{CallOut, CustomOut, ExtraOut, FunctionOut, KnownCall};
use super::part_out::{Fields, PartBody, PartOut};
use super::reasoning::{AnyDetail, write_details};
use super::usage::UsageOut;
use super::{OF_MESSAGE, OWN, is_marked};
use crate::codec::Client;
use crate::common::{
    Block, Choice, Citation, Content, Json, Losses, Media, MediaKind, MediaSource, Reasoning, Response, Stop,
    StopReason, Str, Text, TokenLogprob, ToolCall, flat_name,
};
use crate::json;

#[derive(Serialize)]
struct AnswerOut<'r> {
    id: Cow<'r, str>,
    object: &'static str,
    created: u64,
    model: &'r str,
    choices: Vec<ChoiceOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'r str>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

#[derive(Serialize)]
struct ChoiceOut<'r> {
    index: usize,
    message: Said<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<LogprobsOut<'r>>,
    finish_reason: Cow<'r, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'r str>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

/// A message, or what a chunk adds to it.
#[derive(Serialize, Default)]
pub(super) struct Said<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Option<Cow<'r, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<Option<Cow<'r, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) reasoning_details: Vec<AnyDetail<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<CallOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<LegacyCall<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio: Option<AudioOut<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) images: Vec<PartOut<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<AnnotationOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<ExtraOut<'r>>,
    #[serde(flatten)]
    pub(super) rest: Fields<'r>,
}

/// A call as it was told before there were tools. A chunk that adds to one has no name.
#[derive(Serialize)]
pub(super) struct LegacyCall<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Cow<'r, str>>,
    pub(super) arguments: Cow<'r, str>,
}

impl Said<'_> {
    /// Tells the calls as it was done before there were tools: one a message, without an id.
    pub(super) fn use_function_call(&mut self, losses: &mut Losses) {
        for call in std::mem::take(&mut self.tool_calls) {
            match call {
                CallOut::Known(KnownCall {
                    function: Some(FunctionOut { name, arguments }), extra_content, ..
                }) if self.function_call.is_none() => {
                    losses.note_if(extra_content.is_some(), "answer.signature");
                    self.function_call = Some(LegacyCall { name: Some(name), arguments });
                }
                _ => losses.note("answer.tool_calls"),
            }
        }
    }
}

/// Whether the client says `functions` and not `tools`.
pub(super) fn says_functions(client: &Client) -> bool {
    client.echo.is_some()
}

/// Sound; a chunk of it says only what is new.
#[derive(Serialize, Default)]
pub(super) struct AudioOut<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transcript: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<u64>,
    #[serde(flatten)]
    pub(super) rest: Fields<'r>,
}

/// A source of the text, or an annotation of another sort.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AnnotationOut<'r> {
    Url {
        /// In streams: clients add lists up by it.
        #[serde(skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        #[serde(rename = "type")]
        kind: &'static str,
        url_citation: UrlOut<'r>,
    },
    Raw(Json<'r>),
}

#[derive(Serialize)]
pub(super) struct UrlOut<'r> {
    url: &'r str,
    title: &'r str,
    start_index: u64,
    end_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'r str>,
}

impl AnnotationOut<'_> {
    /// Gives it the next number of its stream.
    pub(super) fn number(&mut self, next: &mut u32) {
        if let Self::Url { index, .. } = self {
            *index = Some(*next);
            *next += 1;
        }
    }
}

/// What is written of a source of the text that stands from `from` to `to` in the answer. One that tells no stretch supports
/// all of it.
pub(super) fn annotation<'r>(
    citation: &'r Citation<'r>,
    from: u64,
    to: u64,
    losses: &mut Losses,
) -> Option<AnnotationOut<'r>> {
    let Citation { url, title, quote, span, raw } = citation;
    if let Some((OWN, raw)) = raw
        && from == 0
    {
        return Some(AnnotationOut::Raw(raw.borrowed()));
    }
    let Some(url) = url else {
        losses.note("answer.citations");
        return None;
    };
    let (start_index, end_index) = span.map_or((from, to), |(start, end)| (from + start, from + end));
    let title = title.as_deref().unwrap_or(url);
    let url_citation = UrlOut { url, title, start_index, end_index, content: quote.as_deref() };
    Some(AnnotationOut::Url { index: None, kind: "url_citation", url_citation })
}

/// The tokens of the text, or of the refusal.
#[derive(Serialize)]
pub(super) struct LogprobsOut<'r> {
    content: Option<Vec<TokenOut<'r>>>,
    refusal: Option<Vec<TokenOut<'r>>>,
}

#[derive(Serialize)]
struct TokenOut<'r> {
    token: &'r str,
    logprob: f64,
    bytes: Option<&'r [u8]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<TokenOut<'r>>>,
}

impl<'r> LogprobsOut<'r> {
    pub(super) fn of(tokens: &'r [TokenLogprob<'r>], refused: bool) -> Option<Self> {
        if tokens.is_empty() {
            return None;
        }
        let tokens = Some(tokens.iter().map(|token| TokenOut::of(token, true)).collect());
        Some(match refused {
            false => Self { content: tokens, refusal: None },
            true => Self { content: None, refusal: tokens },
        })
    }
}

impl<'r> TokenOut<'r> {
    fn of(token: &'r TokenLogprob<'r>, with_top: bool) -> Self {
        let TokenLogprob { token, logprob, bytes, top } = token;
        let top_logprobs = with_top.then(|| top.iter().map(|token| Self::of(token, false)).collect());
        Self { token, logprob: *logprob, bytes: bytes.as_deref(), top_logprobs }
    }
}

/// OpenAI's word for the reason. A vendor's own word is kept. `refuses`: the message has a refusal. `functions`: the client knows
/// no tools.
pub(super) fn finish_reason<'r>(
    stop: &'r Stop<'r>,
    own: bool,
    refuses: bool,
    functions: bool,
    losses: &mut Losses,
) -> Cow<'r, str> {
    let Stop { reason, sequence: _, detail } = stop;
    if let Some(detail) = detail
        && own
    {
        return (&**detail).into();
    }
    let wordless = matches!(reason, StopReason::Pause | StopReason::MalformedCall | StopReason::Other);
    losses.note_if(wordless, "answer.stop");
    match reason {
        StopReason::End | StopReason::StopSequence | StopReason::Pause => "stop",
        // What ended for a reason without a word here must not look complete.
        StopReason::MaxTokens | StopReason::ContextWindow | StopReason::MalformedCall | StopReason::Other => "length",
        StopReason::ToolCalls if functions => "function_call",
        StopReason::ToolCalls => "tool_calls",
        StopReason::Refusal if refuses => "stop",
        StopReason::Refusal | StopReason::ContentFilter => "content_filter",
    }
    .into()
}

pub(super) fn encode(response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect, id, model, created, choices, usage, service_tier, extras } = response;
    let own = *dialect == OWN;
    let empty = [Choice::default()];
    let choices = if choices.is_empty() { &empty[..] } else { &choices[..] };
    let answer = AnswerOut {
        id: id.as_deref().map_or_else(|| made_id(client).into(), Cow::Borrowed),
        object: "chat.completion",
        created: created.unwrap_or(client.now),
        model: model.as_deref().unwrap_or(&client.model),
        choices: choices
            .iter()
            .enumerate()
            .map(|(index, choice)| write_choice(index, choice, own, client, losses))
            .collect(),
        usage: usage.as_ref().map(UsageOut::of),
        service_tier: service_tier.as_deref(),
        rest: fields(extras, "", losses),
    };
    let mut out = Vec::with_capacity(1024);
    json::write(&mut out, &answer);
    out
}

/// The id of an answer whose provider gave none.
pub(super) fn made_id(client: &Client) -> String {
    format!("chatcmpl-{}", client.request_id)
}

/// Extras that are this dialect's; others are noted.
pub(super) fn fields<'r>(extras: &'r [(Str<'r>, Json<'r>)], prefix: &'static str, losses: &mut Losses) -> Fields<'r> {
    if is_marked(extras) {
        return Fields::outer(extras, prefix);
    }
    losses.note_extras("answer.", extras);
    Fields::default()
}

fn write_choice<'r>(
    index: usize,
    choice: &'r Choice<'r>,
    own: bool,
    client: &Client,
    losses: &mut Losses,
) -> ChoiceOut<'r> {
    let Choice { blocks, stop, logprobs, extras } = choice;
    let detailed = needs_details(blocks);
    let mut writer =
        Writer { said: Said::default(), text: None, refusal: None, position: 0, reasoned: 0, detailed, losses };
    blocks.iter().for_each(|block| writer.block(block, client));
    let Writer { mut said, text, refusal, losses, .. } = writer;
    let says_otherwise = refusal.is_some() || said.audio.is_some() || !said.tool_calls.is_empty();
    let refuses = refusal.is_some();
    let refused = refuses && text.is_none();
    said.role = Some("assistant");
    said.content = Some(text.or_else(|| (!says_otherwise).then(|| "".into())));
    said.refusal = Some(refusal);
    let functions = says_functions(client);
    if functions {
        said.use_function_call(losses);
    }
    let rest = fields(extras, OF_MESSAGE, losses);
    if is_marked(extras) {
        for (name, value) in extras {
            if *name == *"message.annotations" {
                let others = value.read::<Vec<Json<'r>>>().unwrap_or_default();
                said.annotations.extend(others.into_iter().map(AnnotationOut::Raw));
            }
        }
        said.rest = Fields::message(extras);
    }
    ChoiceOut {
        index,
        message: said,
        logprobs: LogprobsOut::of(logprobs, refused),
        finish_reason: finish_reason(stop, own, refuses, functions, losses),
        stop_reason: stop.sequence.as_deref(),
        rest,
    }
}

struct Writer<'r, 'w> {
    said: Said<'r>,
    text: Option<Cow<'r, str>>,
    refusal: Option<Cow<'r, str>>,
    /// Characters of text so far.
    position: u64,
    reasoned: usize,
    /// Whether the reasoning is told in `reasoning_details`, too.
    detailed: bool,
    losses: &'w mut Losses,
}

/// Plain text says all of a single block that has nothing beside its text.
fn needs_details(blocks: &[Block<'_>]) -> bool {
    let mut reasoning = blocks.iter().filter_map(|block| match &block.content {
        Content::Reasoning(reasoning) => Some((block, reasoning)),
        _ => None,
    });
    let Some((block, first)) = reasoning.next() else { return false };
    let plain = first.signature.is_none() && first.encrypted.is_none() && first.summary.is_empty();
    !plain || block.id.is_some() || is_marked(&block.extras) || reasoning.next().is_some()
}

fn append<'r>(to: &mut Option<Cow<'r, str>>, text: Cow<'r, str>) {
    match to {
        Some(to) => to.to_mut().push_str(&text),
        None => *to = Some(text),
    }
}

impl<'r> Writer<'r, '_> {
    fn block(&mut self, block: &'r Block<'r>, client: &Client) {
        let Block { content, cache: _, id, extras } = block;
        let own = is_marked(extras);
        match content {
            Content::Reasoning(_) | Content::ToolCall(_) | Content::Media(_) if own => {}
            _ => self.losses.note_extras("answer.", extras),
        }
        match content {
            Content::Text(Text { text, citations, signature }) => {
                let from = self.position;
                self.position += text.chars().count() as u64;
                for citation in citations {
                    self.said.annotations.extend(annotation(citation, from, self.position, self.losses));
                }
                if let Some(signature) = signature {
                    self.said.extra_content = Some(ExtraOut::new(signature.for_client(OWN).into_string()));
                }
                append(&mut self.text, (&**text).into());
            }
            Content::Refusal(text) if text.is_empty() => {}
            Content::Refusal(text) => append(&mut self.refusal, (&**text).into()),
            Content::Reasoning(reasoning) => {
                let Reasoning { text: _, summary: _, signature, encrypted } = &**reasoning;
                if let Some(shown) = reasoning.shown() {
                    append(&mut self.said.reasoning_content, shown);
                }
                if self.detailed {
                    let signature = signature.as_ref().map(|signature| signature.for_client(OWN));
                    let encrypted = encrypted.as_ref().map(|encrypted| encrypted.for_client(OWN));
                    let extras: &[_] = if own { extras } else { &[] };
                    let details = &mut self.said.reasoning_details;
                    write_details(reasoning, signature, encrypted, id.as_deref(), self.reasoned, extras, details);
                }
                self.reasoned += 1;
            }
            Content::ToolCall(call) => {
                let rest = if own { Fields::outer(extras, "") } else { Fields::default() };
                self.said.tool_calls.push(CallOut::Known(write_call(call, rest)));
            }
            Content::Media(media) => self.media(media, block, own, client),
            Content::Foreign(foreign) if foreign.dialect == OWN && id.is_some() => {
                self.said.tool_calls.push(CallOut::Raw(&foreign.raw));
            }
            Content::Foreign(foreign) if foreign.dialect == OWN && foreign.kind.starts_with("reasoning.") => {
                self.said.reasoning_details.push(AnyDetail::Raw(&foreign.raw));
            }
            Content::Foreign(foreign) => self.losses.note_foreign("answer.", &foreign.kind),
            Content::ToolResult(_) => self.losses.note("answer.tool_result"),
        }
    }

    fn media(&mut self, media: &'r Media<'r>, block: &'r Block<'r>, own: bool, client: &Client) {
        self.losses.note_if(media.signature.is_some(), "answer.signature");
        match (media.kind, &media.source) {
            (MediaKind::Audio, MediaSource::Data(data)) if self.said.audio.is_none() => {
                let id = block.id.as_deref().map_or_else(|| format!("audio_{}", client.request_id).into(), Cow::from);
                let rest = if own { Fields::outer(&block.extras, "") } else { Fields::default() };
                // The SDKs demand a time; what is in this answer does not expire.
                let expires_at = rest.is_empty().then_some(client.now + 3600);
                let transcript = Some(media.transcript.as_deref().unwrap_or_default());
                self.said.audio = Some(AudioOut { id: Some(id), data: Some(data), transcript, expires_at, rest });
            }
            (MediaKind::Image, MediaSource::Data(_) | MediaSource::Url(_)) => {
                let extras: &[_] = if own { &block.extras } else { &[] };
                let body = PartBody::shown(media, extras, own);
                self.said.images.push(PartOut { body, cache: None, extras });
            }
            (kind, _) => self.losses.note(kind.lost_in_answer()),
        }
    }
}

/// A call. Clients parse the arguments, so a function without any gets `{}`.
pub(super) fn write_call<'r>(call: &'r ToolCall<'r>, rest: Fields<'r>) -> KnownCall<'r> {
    let ToolCall { id, name, arguments, custom, namespace, signature } = call;
    let name = flat_name(namespace.as_deref(), name);
    let extra_content = signature.as_ref().map(|signature| ExtraOut::new(signature.for_client(OWN).into_string()));
    let known = KnownCall { id: (&**id).into(), extra_content, rest, ..KnownCall::default() };
    if *custom {
        return KnownCall { kind: "custom", custom: Some(CustomOut { name, input: arguments }), ..known };
    }
    let arguments = if arguments.is_empty() { "{}" } else { &**arguments };
    KnownCall { kind: "function", function: Some(FunctionOut { name, arguments: arguments.into() }), ..known }
}
