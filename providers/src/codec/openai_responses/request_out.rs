//! Requests written.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::fields::{Writer, find, has};
use super::input_out::Items;
use super::items_out::{Item, Kept};
use super::request_in::{ENCRYPTED, LOGPROBS};
use super::{OWN, tools_out};
use crate::catalogue::{Reasons, Thinking, Traits};
use crate::codec::Target;
use crate::codec::ids::{LONGEST_USER, end_user};
use crate::codec::openai::{Sampling, effort_asked, effort_taken, is_reference, output_limit, tier_told};
use crate::common::{CacheConfig, Effort, Json, Losses, ReasoningConfig, Request, Setting, Str};
use crate::json;

pub(super) fn encode(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    let body = Body::of(request, target, losses);
    json::write(&mut out, &body);
    out
}

/// The request as it is written: what cannot be said has been noted.
struct Body<'b> {
    request: &'b Request<'b>,
    own: bool,
    model: &'b str,
    instructions: Option<Cow<'b, str>>,
    input: Vec<Item<'b>>,
    tools: Option<tools_out::Tools<'b>>,
    tool_choice: Option<Json<'static>>,
    format: Option<tools_out::Format<'b>>,
    effort: Option<&'static str>,
    summary: Option<&'b str>,
    include: Vec<Str<'b>>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_logprobs: Option<u64>,
    service_tier: Option<&'b str>,
}

impl<'b> Body<'b> {
    fn of(request: &'b Request<'b>, target: &Target<'b>, losses: &mut Losses) -> Self {
        let own = request.dialect == OWN;
        note(request, losses);
        let asked = target.asks(request, own, losses);
        let (effort, summary) = asked.map_or((None, None), |config| reasoning(config, request, target, losses));
        let sampling = Sampling::of(target, own, effort);
        let logprobs = sampling.setting("logprobs", request.logprobs, &false, losses) == Some(true);
        let top_logprobs = sampling.setting("top_logprobs", request.top_logprobs, &0, losses);
        let temperature = sampling.setting("temperature", request.temperature, &1.0, losses);
        let top_p = sampling.setting("top_p", request.top_p, &1.0, losses);
        let max_tokens = output_limit(request.max_tokens, own, losses);
        let (provider, reference) = (target.provider, is_reference(target));
        let mut items = Items { own, reference, provider, input: Vec::new(), losses, custom: Vec::new() };
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
            format: tools_out::format(request, reference, losses),
            effort,
            summary,
            include: include(request, own, reasons(asked, &target.traits), logprobs),
            max_tokens,
            temperature,
            top_p,
            top_logprobs,
            service_tier: tier_told(request.service_tier.as_deref(), own, losses),
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
        top_k: _,
        seed: _,
        presence_penalty: _,
        frequency_penalty: _,
        stop: _,
        n: _,
        logprobs: _,
        top_logprobs: _,
        modalities: _,
        audio: _,
        verbosity: _,
        service_tier: _,
        user: _,
        metadata: _,
        cache: CacheConfig { automatic: _, key: _, retention: _, content: _ },
        store: _,
        previous: _,
        goes_on: _,
        extras,
    } = request;
    request.note(
        &[
            Setting::TopK,
            Setting::Seed,
            Setting::PresencePenalty,
            Setting::FrequencyPenalty,
            Setting::Stop,
            Setting::N,
            Setting::Modalities,
            Setting::Audio,
            Setting::Cache,
        ],
        losses,
    );
    if *dialect != OWN {
        losses.note_extras("", extras);
    }
}

/// Effort and summary.
fn reasoning<'b>(
    config: &'b ReasoningConfig<'_>,
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
) -> (Option<&'static str>, Option<&'b str>) {
    let ReasoningConfig { mode, effort: _, budget, summary, show } = config;
    let word = effort_taken(config, &target.traits, request.dialect, losses).map(Effort::as_str);
    let on = effort_asked(config) != Some(Effort::None);
    // Others show their reasoning unasked, or as they are told.
    let shown = request.dialect != OWN && on && show.unwrap_or(mode.is_some() || budget.is_some());
    (word, summary.as_deref().or(shown.then_some("auto")))
}

/// `include`. Clients of other dialects keep the conversation themselves, so they need reasoning in a form that can be sent
/// back; models that do not reason refuse to be asked for it.
fn include<'b>(request: &'b Request<'_>, own: bool, reasons: bool, logprobs: bool) -> Vec<Str<'b>> {
    let mut include = Vec::new();
    if if own { has(&request.extras, "=encrypted") } else { reasons } {
        include.push(ENCRYPTED.into());
    }
    if logprobs {
        include.push(LOGPROBS.into());
    }
    let others = find(&request.extras, "include").filter(|_| own).and_then(|list| list.read::<Vec<Str<'b>>>().ok());
    include.extend(others.into_iter().flatten());
    include
}

/// Whether the model reasons, as it is asked to or unasked.
fn reasons(asked: Option<&ReasoningConfig<'_>>, traits: &Traits) -> bool {
    let unasked = traits.reasons == Reasons::UnlessToldNot && traits.thinking != Thinking::Unsupported;
    asked.map_or(unasked, ReasoningConfig::asks)
}

impl Serialize for Body<'_> {
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
        let parallel = request.parallel_tool_calls.filter(|_| own || self.tools.is_some());
        body.opt("parallel_tool_calls", parallel)?;
        let nested = |prefix: &str| extras.iter().any(|(name, _)| name.starts_with(prefix));
        if self.format.is_some() || request.verbosity.is_some() || nested("text.") {
            body.put("text", &TextConfig { body: self, extras })?;
        }
        if self.effort.is_some() || self.summary.is_some() || nested("reasoning.") {
            body.put("reasoning", &ReasoningOut { body: self, extras })?;
        }
        body.opt("include", (!self.include.is_empty()).then_some(&self.include))?;
        body.opt("max_output_tokens", self.max_tokens)?;
        body.opt("temperature", self.temperature)?;
        body.opt("top_p", self.top_p)?;
        body.opt("top_logprobs", self.top_logprobs)?;
        body.opt("stream", request.stream.then_some(true))?;
        body.opt("store", if own { request.store } else { Some(request.store.unwrap_or(false)) })?;
        body.opt("previous_response_id", request.previous.as_ref())?;
        body.opt("metadata", request.metadata.as_ref())?;
        let user = if has(extras, "=safety_identifier") { "safety_identifier" } else { "user" };
        let longest = if own { usize::MAX } else { LONGEST_USER };
        body.opt(user, request.user.as_deref().map(|id| end_user(id, longest, |_| true)))?;
        body.opt("prompt_cache_key", cache.key.as_ref())?;
        body.opt("prompt_cache_retention", cache.retention.as_ref())?;
        body.opt("service_tier", self.service_tier)?;
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
    body: &'b Body<'b>,
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
    body: &'b Body<'b>,
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
