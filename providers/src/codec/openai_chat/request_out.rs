//! A request for a provider.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use super::message_out::Messages;
use super::message_wire::MessageOut;
use super::part_out::{CacheOut, Fields};
use super::settings_in::StreamOptions;
use super::tools_out::{ChoiceOut, Declaration, FormatOut, ToolOut, Tools, format};
use super::{OWN, SPELT, spelt};
use crate::codec::choice::{any_told, choice_told};
use crate::codec::ids::{LONGEST_USER, end_user};
use crate::codec::openai::{Sampling, effort_asked, effort_taken, is_reference, most_stops, tier_told};
use crate::codec::{Target, refers_to_nothing};
use crate::common::{
    AudioConfig, CacheConfig, Effort, Json, Losses, ReasoningConfig, ReasoningMode, Request, Setting, Str,
};
use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::json;
use crate::preset::{LimitSpelling, PrefillSpelling, ReasoningSpelling};

#[derive(Serialize)]
struct BodyOut<'r> {
    model: &'r str,
    messages: Vec<MessageOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptionsOut<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolOut<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    functions: Vec<Declaration<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ChoiceOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<FormatOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<ReasoningOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    random_seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "<[Str<'_>]>::is_empty")]
    stop: &'r [Str<'r>],
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "<[Str<'_>]>::is_empty")]
    modalities: &'r [Str<'r>],
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<AudioOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_identifier: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
    #[serde(flatten)]
    spelt: Spelt<'r>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

#[derive(Serialize)]
struct StreamOptionsOut<'r> {
    include_usage: bool,
    #[serde(flatten)]
    rest: Options<'r>,
}

/// What else a client asked of its stream.
struct Options<'r>(Vec<(Str<'r>, Json<'r>)>);

impl Serialize for Options<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Serialize, Default, PartialEq)]
struct ReasoningOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
}

#[derive(Serialize)]
struct AudioOut<'r> {
    voice: &'r str,
    format: &'r str,
}

/// Settings as the client spelt them.
#[derive(Clone, Copy)]
struct Spelt<'r> {
    all: &'r [(Str<'r>, Json<'r>)],
    /// Whether the vendor takes `max_completion_tokens`.
    limit: bool,
}

impl<'r> Spelt<'r> {
    fn has(&self, names: &[&str]) -> bool {
        self.iter_all().any(|(name, _)| names.contains(&name))
    }

    fn iter_all(self) -> impl Iterator<Item = (&'r str, &'r Json<'r>)> {
        let spelt = self.all.iter().filter_map(|(name, value)| Some((name.strip_prefix(SPELT)?, value)));
        spelt.filter(move |(name, _)| self.limit || !matches!(*name, "max_tokens" | "max_completion_tokens"))
    }

    /// These two are put together with what the gateway itself wants.
    fn iter(self) -> impl Iterator<Item = (&'r str, &'r Json<'r>)> {
        self.iter_all().filter(|(name, _)| !matches!(*name, "stream_options" | "functions"))
    }
}

impl Serialize for Spelt<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

pub(super) fn encode(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let Request {
        dialect,
        model: _,
        stream,
        include_usage: _,
        system: _,
        messages: _,
        tools: _,
        tool_choice: _,
        parallel_tool_calls,
        response_format: _,
        reasoning: _,
        max_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        presence_penalty,
        frequency_penalty,
        stop,
        n,
        logprobs,
        top_logprobs,
        modalities,
        audio,
        verbosity,
        service_tier,
        user,
        metadata,
        cache,
        store,
        previous: _,
        goes_on,
        extras,
    } = request;
    refers_to_nothing(request, OWN)?;
    let own = *dialect == OWN;
    let reference = is_reference(target);
    let quirks = &target.quirks;
    let all: &[_] = if own { extras } else { &[] };
    let spelt = Spelt { all, limit: quirks.limit != LimitSpelling::MaxTokens };
    if !own {
        losses.note_extras("", extras);
    }
    let tools = Tools { from: *dialect, own, reference, choice: choice_told(request, OWN, losses), target };
    let mut messages = Messages::write(request, target, losses);
    losses.leave_every_message()?;
    let prefill = Some(quirks.prefill).filter(|_| *goes_on);
    if matches!(prefill, Some(PrefillSpelling::Prefix | PrefillSpelling::PrefixInBeta))
        && let Some(last) = messages.last_mut()
    {
        last.prefix = Some(true);
    }
    let finishes = prefill == Some(PrefillSpelling::ContinueFinalMessage);
    let (mut tools_out, mut functions) = (tools.write(request, losses), Vec::new());
    if spelt.has(&["functions"]) {
        for tool in std::mem::take(&mut tools_out) {
            match tool {
                ToolOut::Known(mut known) => functions.extend(known.function.take()),
                ToolOut::Raw(raw) => tools_out.push(ToolOut::Raw(raw)),
            }
        }
    }
    // Others than OpenAI may refuse what they do not know.
    let mut openai_only = |setting: Setting| {
        let asks = request.asks_for(setting);
        losses.note_if(asks && !own && !reference, setting.name());
        asks && (own || reference)
    };
    let CacheConfig { automatic, key, retention, content: _ } = cache;
    let prompt_cache_key = key.as_deref().filter(|_| openai_only(Setting::CacheKey));
    let prompt_cache_retention = retention.as_deref().filter(|_| openai_only(Setting::CacheRetention));
    let verbosity = verbosity.as_deref().filter(|_| openai_only(Setting::Verbosity) || own);
    let store = store.filter(|_| openai_only(Setting::Store) || own);
    let metadata = metadata.as_ref().filter(|_| openai_only(Setting::Metadata) || own);
    // OpenAI takes it only of answers that it keeps.
    let unkept = !own && store != Some(true);
    let modalities: &[Str<'_>] = if openai_only(Setting::Modalities) || own { modalities } else { &[] };
    let audio = audio.as_ref().filter(|_| openai_only(Setting::Audio));
    let cache_control = automatic.as_ref().filter(|_| own || quirks.cache_control);
    losses.note_if(automatic.is_some() && cache_control.is_none(), "cache");
    if reference && !own {
        request.note(&[Setting::TopK], losses);
    }
    let said = spelt.has(&["reasoning", "thinking", "reasoning_effort"])
        || own && extras.iter().any(|(name, _)| matches!(&**name, "reasoning" | "thinking" | "reasoning_effort"));
    losses.note_if(unkept && metadata.is_some(), "metadata");
    let metadata = metadata.filter(|_| !unkept);
    let (reasoning_effort, reasoning) = match target.asks(request, own, losses) {
        Some(config) if !said => write_reasoning(config, target, *dialect, losses),
        Some(_) | None => (None, None),
    };
    let max_tokens = max_tokens.filter(|_| !spelt.has(&["max_tokens", "max_completion_tokens"]));
    let (max_tokens, max_completion_tokens) =
        if quirks.limit == LimitSpelling::MaxCompletionTokens { (None, max_tokens) } else { (max_tokens, None) };
    let user = user.as_deref().filter(|_| !spelt.has(&["safety_identifier"]));
    let user = user.map(|user| end_user(user, if own { usize::MAX } else { LONGEST_USER }, |_| true));
    let (user, safety_identifier) = if reference && !own { (None, user) } else { (user, None) };
    // Mistral answers what it does not know with a 422, and calls the seed otherwise: https://docs.mistral.ai/api
    let strict = !own && quirks.reasoning == ReasoningSpelling::Parts;
    for (field, present) in [
        ("user", user.is_some()),
        ("logprobs", logprobs.is_some()),
        ("top_logprobs", top_logprobs.is_some()),
        ("top_k", top_k.is_some()),
        ("service_tier", service_tier.is_some()),
    ] {
        losses.note_if(strict && present, field);
    }
    let sampling = Sampling::of(target, own, reasoning_effort);
    let stop = if spelt.has(&["stop"]) { &[] } else { sampling.stops(stop, most_stops(target, own), losses) };
    let body = BodyOut {
        model: target.model,
        messages,
        stream: (own || *stream).then_some(*stream),
        stream_options: stream_options(request, target, own),
        tools: tools_out,
        functions,
        tool_choice: if spelt.has(&["tool_choice"]) { None } else { tools.choice(request, losses) },
        parallel_tool_calls: parallel_tool_calls.filter(|_| own || any_told(request, OWN)),
        response_format: format(request, reference, losses),
        reasoning_effort,
        reasoning,
        max_tokens,
        max_completion_tokens,
        temperature: sampling.setting("temperature", *temperature, &1.0, losses),
        top_p: sampling.setting("top_p", *top_p, &1.0, losses),
        top_k: top_k.filter(|_| own || !(reference || strict)),
        seed: seed.filter(|_| !strict),
        random_seed: seed.filter(|_| strict),
        presence_penalty: sampling.setting("presence_penalty", *presence_penalty, &0.0, losses),
        frequency_penalty: sampling.setting("frequency_penalty", *frequency_penalty, &0.0, losses),
        stop,
        n: *n,
        logprobs: sampling.setting("logprobs", logprobs.filter(|_| !strict), &false, losses),
        top_logprobs: sampling.setting("top_logprobs", top_logprobs.filter(|_| !strict), &0, losses),
        modalities,
        audio: audio.map(|AudioConfig { voice, format }| AudioOut {
            voice: voice.as_deref().unwrap_or("alloy"),
            format: format.as_deref().unwrap_or(if *stream { "pcm16" } else { "wav" }),
        }),
        verbosity,
        service_tier: tier_told(service_tier.as_deref(), own, losses).filter(|_| !strict),
        user: user.filter(|_| !strict),
        safety_identifier,
        metadata,
        store,
        prompt_cache_key,
        prompt_cache_retention,
        cache_control: cache_control.map(CacheOut::from),
        continue_final_message: finishes.then_some(true),
        add_generation_prompt: finishes.then_some(false),
        rest: Fields::outer(all, ""),
        spelt,
    };
    let mut out = Vec::with_capacity(4096);
    json::write(&mut out, &body);
    Ok(out)
}

/// A stream's usage is always asked for: the gateway accounts for it, and the client gets it only if it wants it.
fn stream_options<'r>(request: &'r Request<'r>, target: &Target<'_>, own: bool) -> Option<StreamOptionsOut<'r>> {
    if !request.stream || target.quirks.no_stream_options {
        return None;
    }
    let said = spelt(&request.extras, "stream_options").filter(|_| own);
    let rest = said.and_then(|said| said.read::<StreamOptions<'_>>().ok()).unwrap_or_default().rest;
    Some(StreamOptionsOut { include_usage: true, rest: Options(rest) })
}

fn write_reasoning(
    config: &ReasoningConfig<'_>,
    target: &Target<'_>,
    from: Dialect,
    losses: &mut Losses,
) -> (Option<&'static str>, Option<ReasoningOut>) {
    let ReasoningConfig { mode, effort, budget, summary, show } = config;
    losses.note_if(summary.is_some(), "reasoning.summary");
    let disabled = *mode == Some(ReasoningMode::Disabled);
    if target.quirks.reasoning == ReasoningSpelling::Object {
        // "Reasoning is mandatory for this endpoint and cannot be disabled."
        let least = target.traits.min_effort.filter(|least| disabled && *least > Effort::None);
        losses.note_if(least.is_some(), "reasoning");
        let said = effort.filter(|_| !disabled && budget.is_none()).map(|effort| effort.min(Effort::XHigh));
        let out = ReasoningOut {
            effort: least.or(said).map(Effort::as_str),
            max_tokens: budget.filter(|_| !disabled),
            exclude: show.map(|show| !show).filter(|exclude| *exclude),
            enabled: mode.filter(|_| least.is_none()).map(|_| !disabled),
        };
        return (None, (out != ReasoningOut::default()).then_some(out));
    }
    losses.note_if(*show == Some(false), "reasoning.show");
    let effort = match (target.quirks.reasoning, effort_asked(config)) {
        // Models of Mistral that do not reason refuse to be told.
        (ReasoningSpelling::Parts, Some(_)) if disabled && *effort != Some(Effort::None) => {
            losses.note("reasoning");
            None
        }
        // Mistral knows all or nothing: https://docs.mistral.ai/capabilities/reasoning
        (ReasoningSpelling::Parts, Some(level)) if level > Effort::Minimal => Some("high"),
        (ReasoningSpelling::Parts, level) => level.map(|_| "none"),
        (_, _) => effort_taken(config, &target.traits, from, losses).map(Effort::as_str),
    };
    (effort, None)
}
