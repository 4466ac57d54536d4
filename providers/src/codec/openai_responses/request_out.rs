//! Requests written.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::fields::{Writer, find, has};
use super::items_out::{Body, Item, Kept, Part, Parts};
use super::request_in::{ENCRYPTED, LOGPROBS};
use super::{OWN, tools_out};
use crate::codec::Target;
use crate::codec::sse::write_json;
use crate::common::{
    Block, CacheConfig, Content, Effort, Losses, Media, MediaKind, MediaSource, Message, ProviderTag, Reasoning,
    ReasoningConfig, ReasoningMode, Request, Role, Str, Text, ToolCall, ToolResult,
};

pub(super) fn encode(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    let body = Body_::of(request, target, losses);
    write_json(&mut out, &body);
    out
}

/// The request as it is written: what cannot be said has been noted.
struct Body_<'b> {
    request: &'b Request<'b>,
    own: bool,
    model: &'b str,
    instructions: Option<Cow<'b, str>>,
    input: Vec<Item<'b>>,
    tools: Option<tools_out::Tools<'b>>,
    tool_choice: Option<crate::common::Json<'static>>,
    format: Option<tools_out::Format<'b>>,
    effort: Option<&'static str>,
    summary: Option<&'b str>,
    include: Vec<Str<'b>>,
}

impl<'b> Body_<'b> {
    fn of(request: &'b Request<'b>, target: &Target<'b>, losses: &mut Losses) -> Self {
        let own = request.dialect == OWN;
        note(request, losses);
        let (effort, summary) = reasoning(request, own);
        let mut items = Items { own, provider: target.provider, input: Vec::new(), losses };
        let instructions = items.instructions(&request.system);
        items.input.reserve_exact(request.messages.len());
        request.messages.iter().for_each(|message| items.message(message));
        let input = items.input;
        Self {
            request,
            own,
            model: target.model,
            instructions,
            input,
            tools: tools_out::tools(request, losses),
            tool_choice: tools_out::choice(request, losses),
            format: tools_out::format(request, losses),
            effort,
            summary,
            include: include(request, own),
        }
    }
}

/// Notes the fields that this dialect has no word for.
fn note(request: &Request<'_>, losses: &mut Losses) {
    let Request {
        dialect,
        model: _,
        stream: _,
        include_usage: _,
        system: _,
        messages: _,
        tools: _,
        tool_choice: _,
        parallel_tool_calls: _,
        response_format: _,
        reasoning: _,
        max_tokens: _,
        temperature: _,
        top_p: _,
        top_k,
        seed,
        presence_penalty,
        frequency_penalty,
        stop,
        n,
        logprobs: _,
        top_logprobs: _,
        modalities,
        audio,
        verbosity: _,
        service_tier: _,
        user: _,
        metadata: _,
        cache: CacheConfig { automatic, key: _, retention: _, content },
        store: _,
        previous: _,
        extras,
    } = request;
    losses.note_if(top_k.is_some(), "top_k");
    losses.note_if(seed.is_some(), "seed");
    losses.note_if(presence_penalty.is_some(), "presence_penalty");
    losses.note_if(frequency_penalty.is_some(), "frequency_penalty");
    losses.note_if(!stop.is_empty(), "stop");
    losses.note_if(n.is_some_and(|n| n > 1), "n");
    losses.note_if(modalities.iter().any(|kind| *kind != "text"), "modalities");
    losses.note_if(audio.is_some(), "audio");
    losses.note_if(automatic.is_some() || content.is_some(), "cache");
    if *dialect != OWN {
        losses.note_extras("", extras);
    }
}

/// Effort and summary.
fn reasoning<'b>(request: &'b Request<'_>, own: bool) -> (Option<&'static str>, Option<&'b str>) {
    let Some(ReasoningConfig { mode, effort, budget, summary, show }) = &request.reasoning else { return (None, None) };
    let effort = match (effort, mode, budget) {
        (Some(effort), _, _) => Some(*effort),
        (None, Some(ReasoningMode::Disabled), _) => Some(Effort::None),
        (None, _, Some(budget)) => Some(Effort::of_budget(*budget)),
        (None, _, None) => None,
    };
    let on = effort != Some(Effort::None);
    let word = effort.map(|effort| if !own && effort == Effort::Max { Effort::XHigh } else { effort }.as_str());
    // Others show their reasoning unasked, or as they are told.
    let shown = !own && on && show.unwrap_or(mode.is_some() || budget.is_some());
    (word, summary.as_deref().or(shown.then_some("auto")))
}

/// `include`. Clients of other dialects keep the conversation themselves, so they need reasoning in a form that can be sent
/// back; models that do not reason refuse to be asked for it.
fn include<'b>(request: &'b Request<'_>, own: bool) -> Vec<Str<'b>> {
    let mut include = Vec::new();
    let reasons = request.reasoning.as_ref().is_some_and(|reasoning| {
        reasoning.mode != Some(ReasoningMode::Disabled) && reasoning.effort != Some(Effort::None)
    });
    if if own { has(&request.extras, "=encrypted") } else { reasons } {
        include.push(ENCRYPTED.into());
    }
    if request.logprobs == Some(true) {
        include.push(LOGPROBS.into());
    }
    let others = find(&request.extras, "include").filter(|_| own).and_then(|list| list.read::<Vec<Str<'b>>>().ok());
    include.extend(others.into_iter().flatten());
    include
}

impl Serialize for Body_<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Request { extras, cache, .. } = self.request;
        let (request, own) = (self.request, self.own);
        let extras: Kept<'_> = if own { extras } else { &[] };
        let mut body = Writer(serializer.serialize_map(None)?);
        body.put("model", self.model)?;
        body.opt("instructions", self.instructions.as_ref())?;
        body.put("input", &self.input)?;
        body.opt("tools", self.tools.as_ref())?;
        body.opt("tool_choice", self.tool_choice.as_ref())?;
        body.opt("parallel_tool_calls", request.parallel_tool_calls)?;
        let nested = |prefix: &str| extras.iter().any(|(name, _)| name.starts_with(prefix));
        if self.format.is_some() || request.verbosity.is_some() || nested("text.") {
            body.put("text", &TextConfig { body: self, extras })?;
        }
        if self.effort.is_some() || self.summary.is_some() || nested("reasoning.") {
            body.put("reasoning", &ReasoningOut { body: self, extras })?;
        }
        body.opt("include", (!self.include.is_empty()).then_some(&self.include))?;
        body.opt("max_output_tokens", request.max_tokens)?;
        body.opt("temperature", request.temperature)?;
        body.opt("top_p", request.top_p)?;
        body.opt("top_logprobs", request.top_logprobs)?;
        body.opt("stream", request.stream.then_some(true))?;
        body.opt("store", if own { request.store } else { Some(request.store.unwrap_or(false)) })?;
        body.opt("previous_response_id", request.previous.as_ref())?;
        body.opt("metadata", request.metadata.as_ref())?;
        let user = if has(extras, "=safety_identifier") { "safety_identifier" } else { "user" };
        body.opt(user, request.user.as_ref())?;
        body.opt("prompt_cache_key", cache.key.as_ref())?;
        body.opt("prompt_cache_retention", cache.retention.as_ref())?;
        body.opt("service_tier", request.service_tier.as_ref())?;
        for (name, value) in extras.iter().filter(|(name, _)| *name != "include" && !name.contains('.')) {
            match name.strip_prefix('=') {
                None => body.0.serialize_entry(name, value)?,
                Some(idle @ ("stream_options" | "truncation" | "background")) => {
                    body.0.serialize_entry(idle, value)?;
                }
                Some(_) => {}
            }
        }
        body.0.end()
    }
}

struct TextConfig<'b> {
    body: &'b Body_<'b>,
    extras: Kept<'b>,
}

impl Serialize for TextConfig<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Writer(serializer.serialize_map(None)?);
        text.opt("format", self.body.format.as_ref())?;
        text.opt("verbosity", self.body.request.verbosity.as_ref())?;
        text.nested("text.", self.extras)?;
        text.0.end()
    }
}

struct ReasoningOut<'b> {
    body: &'b Body_<'b>,
    extras: Kept<'b>,
}

impl Serialize for ReasoningOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reasoning = Writer(serializer.serialize_map(None)?);
        reasoning.opt("effort", self.body.effort)?;
        reasoning.opt("summary", self.body.summary)?;
        reasoning.nested("reasoning.", self.extras)?;
        reasoning.0.end()
    }
}

/// Makes items of messages.
struct Items<'b, 'l> {
    own: bool,
    provider: ProviderTag,
    input: Vec<Item<'b>>,
    losses: &'l mut Losses,
}

impl<'b> Items<'b, '_> {
    fn instructions(&mut self, system: &'b [Block<'b>]) -> Option<Cow<'b, str>> {
        let mut all: Option<Cow<'b, str>> = None;
        for block in system {
            self.beside(block);
            let text = match &block.content {
                Content::Text(text) => &*text.text,
                Content::Refusal(text) => text,
                Content::Media(media) => match &media.source {
                    MediaSource::Text(text) => text,
                    _ => {
                        self.losses.note(place(media.kind));
                        continue;
                    }
                },
                Content::Foreign(foreign) => {
                    self.losses.note_foreign("messages.", &foreign.kind);
                    continue;
                }
                Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => continue,
            };
            match &mut all {
                None => all = Some(text.into()),
                Some(all) => {
                    let all = all.to_mut();
                    all.push_str("\n\n");
                    all.push_str(text);
                }
            }
        }
        all
    }

    /// What stands beside a block's content.
    fn beside(&mut self, block: &'b Block<'b>) -> Kept<'b> {
        let Block { content: _, cache, id: _, extras } = block;
        self.losses.note_if(cache.is_some(), "messages.cache");
        if self.own {
            return extras;
        }
        self.losses.note_extras("messages.", extras);
        &[]
    }

    fn message(&mut self, message: &'b Message<'b>) {
        let Message { role, blocks, name, id, extras } = message;
        self.losses.note_if(name.is_some(), "messages.name");
        if !self.own {
            self.losses.note_extras("messages.", extras);
        }
        let extras: Kept<'b> = if self.own { extras } else { &[] };
        let is_result = |block: &&Block<'_>| matches!(block.content, Content::ToolResult(_));
        // Results come before what the user adds to them.
        for block in blocks.iter().filter(is_result) {
            if let Content::ToolResult(result) = &block.content {
                self.result(result, block);
            }
        }
        let mut parts = Vec::new();
        for block in blocks.iter().filter(|block| !is_result(block)) {
            let part = |content: &Content<'_>| match content {
                Content::Text(_) | Content::Refusal(_) => true,
                Content::Media(_) => *role != Role::Assistant,
                Content::Foreign(_) => has(&block.extras, "=part"),
                Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => false,
            };
            if part(&block.content) {
                self.part(block, *role, &mut parts);
                continue;
            }
            self.end_message(*role, id.as_deref(), extras, &mut parts);
            let kept = self.beside(block);
            let body = match &block.content {
                Content::Reasoning(reasoning) => self.reasoning(reasoning),
                Content::ToolCall(call) => self.call(call),
                Content::Media(media) => self.image(media, block),
                Content::Foreign(foreign) if foreign.dialect == OWN => Some(Body::Foreign(&foreign.raw)),
                Content::Foreign(foreign) => {
                    self.losses.note_foreign("messages.", &foreign.kind);
                    None
                }
                Content::Text(_) | Content::Refusal(_) | Content::ToolResult(_) => None,
            };
            if let Some(body) = body {
                self.push(body, block.id.as_deref(), kept);
            }
        }
        self.end_message(*role, id.as_deref(), extras, &mut parts);
    }

    fn push(&mut self, body: Body<'b>, id: Option<&'b str>, extras: Kept<'b>) {
        let prefix = match &body {
            Body::Message { .. } => "msg_",
            Body::Reasoning { .. } => "rs_",
            Body::Call { call, .. } if call.custom => "ctc_",
            Body::Call { .. } => "fc_",
            Body::Image { .. } => "ig_",
            Body::Result { .. } | Body::Foreign(_) => "",
        };
        // OpenAI refuses ids that it did not give: those of other vendors, and those that this gateway made up.
        let known =
            |id: &&str| id.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(super::response_out::MADE));
        let id = id.filter(|id| self.own && known(id)).map(Cow::Borrowed);
        let status = find(extras, "=status").and_then(|status| status.read::<&str>().ok());
        self.input.push(Item { id, status, body, extras });
    }

    /// Ends the message whose parts have been collected.
    fn end_message(&mut self, role: Role, id: Option<&'b str>, extras: Kept<'b>, parts: &mut Vec<Part<'b>>) {
        if parts.is_empty() {
            return;
        }
        let role = match role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let content = match &parts[..] {
            [Part::InputText { text, extras: [] }] => Parts::Text(Cow::Borrowed(*text)),
            [Part::OutputText { text, citations: [], logprobs: None, extras: [] }] if id.is_none() => {
                Parts::Text(Cow::Borrowed(*text))
            }
            _ => Parts::List(std::mem::take(parts)),
        };
        parts.clear();
        self.push(Body::Message { role, content, beside: &[] }, id, extras);
    }

    fn part(&mut self, block: &'b Block<'b>, role: Role, parts: &mut Vec<Part<'b>>) {
        let extras = self.beside(block);
        match &block.content {
            Content::Text(Text { text, citations, signature }) => {
                self.losses.note_if(signature.is_some(), "messages.signature");
                let can_say = role == Role::Assistant && citations.iter().all(super::sources::can_say);
                self.losses.note_if(!citations.is_empty() && !can_say, "messages.citations");
                parts.push(match role {
                    Role::Assistant => Part::OutputText { text, citations, logprobs: None, extras },
                    Role::System | Role::Developer | Role::User => Part::InputText { text, extras },
                });
            }
            Content::Refusal(text) if role == Role::Assistant => parts.push(Part::Refusal { text, extras }),
            Content::Refusal(text) => parts.push(Part::InputText { text, extras }),
            Content::Media(media) => self.media(media, extras, parts),
            Content::Foreign(foreign) if foreign.dialect == OWN => parts.push(Part::Foreign(&foreign.raw)),
            Content::Foreign(foreign) => self.losses.note_foreign("messages.", &foreign.kind),
            Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => {}
        }
    }

    fn media(&mut self, media: &'b Media<'b>, extras: Kept<'b>, parts: &mut Vec<Part<'b>>) {
        let Media { kind, source, mime: _, name: _, detail: _, context, cite, transcript, signature } = media;
        self.losses.note_if(context.is_some(), place(*kind));
        self.losses.note_if(*cite == Some(true), "messages.citations");
        self.losses.note_if(signature.is_some(), "messages.signature");
        let web = |url: &str| self.own || url.starts_with("https:") || url.starts_with("http:");
        match (source, kind) {
            (MediaSource::Text(text), _) => parts.push(Part::InputText { text, extras }),
            (MediaSource::Blocks(blocks), _) => {
                for block in blocks {
                    self.part(block, Role::User, parts);
                }
            }
            (MediaSource::Data(_), MediaKind::Image | MediaKind::Document | MediaKind::Audio) => {
                parts.push(Part::Media { media, own: self.own, extras });
            }
            (MediaSource::Url(url), MediaKind::Image | MediaKind::Document) if web(url) => {
                parts.push(Part::Media { media, own: self.own, extras });
            }
            (MediaSource::File(_), MediaKind::Image | MediaKind::Document) if self.own => {
                parts.push(Part::Media { media, own: self.own, extras });
            }
            (_, _) => {
                self.losses.note(place(*kind));
                parts.extend(transcript.as_deref().map(|text| Part::InputText { text, extras: &[] }));
            }
        }
    }

    /// An image in the model's own turn: only one that it drew can be said.
    fn image(&mut self, media: &'b Media<'b>, block: &Block<'_>) -> Option<Body<'b>> {
        match &media.source {
            MediaSource::Data(data) if self.own && media.kind == MediaKind::Image && block.id.is_some() => {
                Some(Body::Image { data })
            }
            _ => {
                self.losses.note(place(media.kind));
                let text = media.transcript.as_deref()?;
                Some(Body::Message { role: "assistant", content: Parts::Text(Cow::Borrowed(text)), beside: &[] })
            }
        }
    }

    fn reasoning(&mut self, reasoning: &'b Reasoning<'b>) -> Option<Body<'b>> {
        let Reasoning { text, summary, signature, encrypted } = reasoning;
        let state = encrypted.as_ref().or(signature.as_ref());
        let readable = [encrypted, signature].into_iter().flatten().find_map(|it| it.for_provider(OWN, self.provider));
        // Reasoning that its maker keeps is named by its id alone; that of open models is plain text.
        if readable.is_none() && !(self.own && state.is_none()) {
            self.losses.note("messages.reasoning");
            return None;
        }
        let mut summary: Vec<&str> = summary.iter().map(Str::as_str).collect();
        let mut text = (!text.is_empty()).then_some(&**text);
        // A client of another dialect was shown the summary as the reasoning itself.
        if !self.own && summary.is_empty() {
            summary.extend(text.take());
        }
        Some(Body::Reasoning { summary, text: text.filter(|_| self.own), encrypted: readable.map(Str::from) })
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several that may have nothing to say")]
    fn call(&mut self, call: &'b ToolCall<'b>) -> Option<Body<'b>> {
        // The signature has its place with its maker only; the gateway keeps it by the call's id.
        let arguments = if call.arguments.is_empty() && !call.custom { "{}" } else { &call.arguments };
        Some(Body::Call { call, id: call_id(&call.id), arguments })
    }

    fn result(&mut self, result: &'b ToolResult<'b>, block: &'b Block<'b>) {
        let ToolResult { call_id, name: _, content, is_error, custom } = result;
        self.losses.note_if(*is_error == Some(true), "messages.tool_result.error");
        let extras = self.beside(block);
        let mut parts = Vec::new();
        content.iter().for_each(|block| self.part(block, Role::User, &mut parts));
        let content = match &parts[..] {
            [] => Parts::Text(Cow::Borrowed("")),
            [Part::InputText { text, extras: [] }] => Parts::Text(Cow::Borrowed(*text)),
            _ => Parts::List(parts),
        };
        let body = Body::Result { call_id: self::call_id(call_id), custom: *custom, content };
        self.push(body, block.id.as_deref(), extras);
    }
}

const fn place(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "messages.image",
        MediaKind::Audio => "messages.audio",
        MediaKind::Video => "messages.video",
        MediaKind::Document => "messages.document",
    }
}

/// OpenAI takes ids of at most 64 characters; a longer one is told by its FNV-1a hash, the same for call and result.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() <= 64 {
        return Cow::Borrowed(id);
    }
    let hash = |seed: u64| id.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("call_{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x8422_2325_cbf2_9ce4)).into()
}
