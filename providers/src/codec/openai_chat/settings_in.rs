//! The settings of a request.

use serde::Deserialize;

use super::remember;
use super::request_in::Body;
use super::wire::{Raw, keep, read};
use crate::codec::wire::{TextOr, wire};
use crate::common::{
    AudioConfig, CacheConfig, CacheMark, Effort, Extras, ReasoningConfig, ReasoningMode, Request, ResponseFormat, Str,
};

wire! {
    pub(super) struct StreamOptions<'a> {
        "include_usage" => include_usage: bool,
    }

    /// OpenRouter's `reasoning` and Anthropic's `thinking`, which Z.ai, LiteLLM and others take.
    struct ReasoningObject<'a> {
        "effort" => effort: Option<Str<'a>>,
        "max_tokens" => max_tokens: Option<u64>,
        "budget_tokens" => budget_tokens: Option<u64>,
        "exclude" => exclude: Option<bool>,
        "enabled" => enabled: Option<bool>,
        "summary" => summary: Option<Str<'a>>,
        "type" => kind: Option<Str<'a>>,
    }

    struct Format<'a> {
        "type" => kind: Str<'a>,
        "json_schema" => json_schema: Option<JsonSchema<'a>>,
    }

    struct JsonSchema<'a> {
        "name" => name: Option<Str<'a>>,
        "description" => description: Option<Str<'a>>,
        "schema" => schema: Option<Raw<'a>>,
        "strict" => strict: Option<bool>,
    }

    struct Voice<'a> {
        "voice" => voice: Option<Str<'a>>,
        "format" => format: Option<Str<'a>>,
    }
}

/// Whether `stream_options` ask for usage in a chunk of its own.
pub(super) fn include_usage(stream_options: Option<Raw<'_>>) -> bool {
    stream_options.and_then(read::<StreamOptions<'_>>).is_some_and(|options| options.include_usage)
}

/// Takes all that is left in `wire` over.
pub(super) fn read_settings<'a>(wire: Body<'a>, request: &mut Request<'a>) {
    let Body {
        model,
        messages: _,
        input,
        stream,
        stream_options,
        tools: _,
        functions: _,
        tool_choice: _,
        function_call: _,
        parallel_tool_calls,
        response_format,
        reasoning_effort,
        reasoning,
        thinking,
        max_tokens,
        max_completion_tokens,
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
        safety_identifier,
        metadata,
        store,
        prompt_cache_key,
        prompt_cache_retention,
        cache_control,
        rest,
    } = wire;
    let extras = &mut request.extras;
    request.model = model;
    request.stream = stream;
    request.include_usage = include_usage(stream_options);
    if let Some(raw) = stream_options {
        remember(extras, "stream_options", keep(raw));
    }
    request.parallel_tool_calls = parallel_tool_calls;
    request.response_format = response_format.map(read_format);
    request.reasoning = read_reasoning(reasoning_effort, reasoning, thinking, extras);
    request.max_tokens = max_completion_tokens.or(max_tokens);
    if max_completion_tokens.is_some() {
        remember(extras, "max_completion_tokens", crate::common::Json::of(&max_completion_tokens));
    }
    if max_tokens.is_some() {
        remember(extras, "max_tokens", crate::common::Json::of(&max_tokens));
    }
    request.temperature = temperature;
    request.top_p = top_p;
    request.top_k = typed(top_k, "top_k", extras);
    request.seed = typed(seed, "seed", extras);
    request.presence_penalty = presence_penalty;
    request.frequency_penalty = frequency_penalty;
    match stop.and_then(read::<TextOr<'a, Str<'a>>>) {
        Some(TextOr::Text(only)) => {
            request.stop.push(only);
            extras.extend(stop.map(|raw| ("=stop".into(), keep(raw))));
        }
        Some(TextOr::List(list)) => request.stop = list,
        None => extras.extend(stop.map(|raw| ("stop".into(), keep(raw)))),
    }
    request.n = n;
    request.logprobs = typed(logprobs, "logprobs", extras);
    request.top_logprobs = top_logprobs;
    request.modalities = typed(modalities, "modalities", extras).unwrap_or_default();
    request.audio = audio.and_then(|raw| match read::<Voice<'_>>(raw) {
        Some(Voice { voice, format, rest }) if rest.is_empty() => Some(AudioConfig { voice, format }),
        Some(_) | None => {
            extras.push(("audio".into(), keep(raw)));
            None
        }
    });
    request.verbosity = verbosity;
    request.service_tier = service_tier;
    if let (Some(identifier), Some(user)) = (&safety_identifier, &user) {
        remember(extras, "safety_identifier", crate::common::Json::of(identifier));
        remember(extras, "user", crate::common::Json::of(user));
    } else if let Some(identifier) = &safety_identifier {
        remember(extras, "safety_identifier", crate::common::Json::of(identifier));
    }
    request.user = safety_identifier.or(user);
    request.metadata = metadata.map(keep);
    request.store = store;
    request.cache = CacheConfig {
        automatic: cache_control.map(CacheMark::from),
        key: prompt_cache_key,
        retention: prompt_cache_retention,
        content: None,
    };
    extras.extend(input.map(|raw| ("input".into(), keep(raw))));
    extras.extend(rest);
}

/// A value of the usual type; a vendor's other one is kept under the field's name.
fn typed<'a, T: Deserialize<'a>>(raw: Option<Raw<'a>>, name: &'static str, extras: &mut Extras<'a>) -> Option<T> {
    let raw = raw?;
    let value = read(raw);
    if value.is_none() {
        extras.push((name.into(), keep(raw)));
    }
    value
}

/// All spellings at once. What was understood in full is remembered as a spelling; the rest is a field of its own.
fn read_reasoning<'a>(
    effort: Option<Raw<'a>>,
    reasoning: Option<Raw<'a>>,
    thinking: Option<Raw<'a>>,
    extras: &mut Extras<'a>,
) -> Option<ReasoningConfig<'a>> {
    let mut config = ReasoningConfig::default();
    for (name, raw) in [("reasoning", reasoning), ("thinking", thinking)] {
        let Some(raw) = raw else { continue };
        let understood = read::<ReasoningObject<'_>>(raw).is_some_and(|object| take(object, &mut config));
        let name = if understood { format!("={name}") } else { name.to_owned() };
        extras.push((name.into(), keep(raw)));
    }
    if let Some(raw) = effort {
        let level = read::<Str<'_>>(raw).and_then(|word| Effort::parse(&word));
        config.effort = level.or(config.effort);
        extras.push((if level.is_some() { "=reasoning_effort" } else { "reasoning_effort" }.into(), keep(raw)));
    }
    (config != ReasoningConfig::default()).then_some(config)
}

/// Whether all of it found a place.
fn take<'a>(object: ReasoningObject<'a>, config: &mut ReasoningConfig<'a>) -> bool {
    let ReasoningObject { effort, max_tokens, budget_tokens, exclude, enabled, summary, kind, rest } = object;
    let mut understood = rest.is_empty();
    if let Some(word) = effort {
        config.effort = Effort::parse(&word);
        understood &= config.effort.is_some();
    }
    config.budget = max_tokens.or(budget_tokens).or(config.budget);
    config.show = exclude.map(|exclude| !exclude).or(config.show);
    config.summary = summary.or(config.summary.take());
    config.mode = match (enabled, kind.as_deref()) {
        (Some(true), _) | (_, Some("enabled")) => Some(ReasoningMode::Enabled),
        (Some(false), _) | (_, Some("disabled")) => Some(ReasoningMode::Disabled),
        (None, Some("adaptive" | "auto")) => Some(ReasoningMode::Adaptive),
        (None, Some(_)) => {
            understood = false;
            config.mode
        }
        (None, None) => config.mode,
    };
    understood
}

fn read_format(raw: Raw<'_>) -> ResponseFormat<'_> {
    let foreign = || ResponseFormat::Foreign { dialect: super::OWN, raw: keep(raw) };
    let Some(format) = read::<Format<'_>>(raw) else { return foreign() };
    match (&*format.kind, format.json_schema) {
        ("text", None) if format.rest.is_empty() => ResponseFormat::Text,
        ("json_object", None) if format.rest.is_empty() => ResponseFormat::Json,
        ("json_schema", Some(JsonSchema { name, description, schema: Some(schema), strict, rest }))
            if rest.is_empty() && format.rest.is_empty() =>
        {
            ResponseFormat::Schema { name, description, schema: keep(schema), strict }
        }
        (_, _) => foreign(),
    }
}
