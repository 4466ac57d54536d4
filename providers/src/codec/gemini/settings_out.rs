//! `generationConfig`, `toolConfig` and the service tier for a provider.

use serde::Serialize;

use super::super::Target;
use super::extras::{Beside, find};
use super::wire::Fields;
use crate::codec::choice::{choice_told, flat_choice, is_told};
use crate::common::{Effort, Json, Losses, ReasoningConfig, ReasoningMode, Request, ResponseFormat, Str, ToolChoice};
use crate::dialect::Dialect;

const OWN: Dialect = Dialect::Gemini;
/// The most that every thinking model of the second generation takes.
const MOST_THINKING: u64 = 24_576;
/// The least that models take which cannot be told not to think: <https://ai.google.dev/gemini-api/docs/thinking#set-budget>.
const LEAST_THINKING: u64 = 128;
/// The most stop sequences: <https://ai.google.dev/api/generate-content#v1beta.GenerationConfig>.
const MOST_STOPS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    function_calling_config: Option<CallingConfig<'o>>,
    #[serde(flatten)]
    beside: Beside<'o>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Str<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<Str<'o>>,
    #[serde(flatten)]
    beside: Beside<'o>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Generation<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'o [Str<'o>],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<Str<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Json<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<Json<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_modalities: Vec<Str<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech_config: Option<Json<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Thinking<'o>>,
    /// A form of the answer that only this dialect knows.
    #[serde(flatten)]
    format: Fields<'o>,
    #[serde(flatten)]
    beside: Beside<'o>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Thinking<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<Str<'o>>,
    #[serde(flatten)]
    beside: Beside<'o>,
}

/// A spelling that the client's own request remembered.
fn kept<'o>(request: &'o Request<'_>, name: &str) -> Option<&'o Json<'o>> {
    if request.dialect == OWN { find(&request.extras, name) } else { None }
}

fn beside<'o>(request: &'o Request<'_>, prefix: &'static str) -> Beside<'o> {
    if request.dialect == OWN { Beside::of(&request.extras, prefix) } else { Beside::default() }
}

/// The tier in Google's words: <https://ai.google.dev/gemini-api/docs/flex-inference>. Vertex is told by a header.
pub(super) fn tier<'o>(
    tier: &'o Str<'_>,
    request: &'o Request<'_>,
    vertex: bool,
    losses: &mut Losses,
) -> Option<Str<'o>> {
    if let Some(word) = kept(request, "=serviceTier") {
        return word.read().ok();
    }
    match &**tier {
        "auto" => None,
        "default" if vertex => None,
        "default" => Some("standard".into()),
        "flex" | "priority" if !vertex => Some(tier.borrowed()),
        "fast" if !vertex => Some("priority".into()),
        _ => {
            losses.note("service_tier");
            None
        }
    }
}

/// Which functions must be called.
pub(super) fn tool_config<'o>(request: &'o Request<'_>, losses: &mut Losses) -> Option<ToolConfig<'o>> {
    let named = |name: &'o Str<'_>| Str::from(flat_choice(request, name));
    let told = |names: &'o [Str<'_>]| {
        names.iter().filter(|name| request.dialect == OWN || is_told(request, name)).map(named).collect()
    };
    let chosen: Option<(&str, Vec<Str<'o>>)> = match choice_told(request, OWN, losses) {
        None => None,
        Some(ToolChoice::Auto) => Some(("AUTO", Vec::new())),
        Some(ToolChoice::None) => Some(("NONE", Vec::new())),
        Some(ToolChoice::Required) => Some(("ANY", Vec::new())),
        Some(ToolChoice::Named(name)) => Some(("ANY", vec![named(name)])),
        Some(ToolChoice::Allowed { names, required: true }) => Some(("ANY", told(names))),
        // The one mode that takes names and demands no call.
        Some(ToolChoice::Allowed { names, required: false }) => Some(("VALIDATED", told(names))),
        Some(ToolChoice::Foreign { .. }) => {
            losses.note("tool_choice");
            None
        }
    };
    let config = chosen.map(|(mode, allowed_function_names)| CallingConfig {
        mode: match kept(request, "=toolConfig.functionCallingConfig.mode") {
            Some(word) => word.read().ok().flatten(),
            None => Some(mode.into()),
        },
        allowed_function_names,
        beside: beside(request, "toolConfig.functionCallingConfig."),
    });
    let beside = beside(request, "toolConfig.");
    (config.is_some() || !beside.is_empty()).then_some(ToolConfig { function_calling_config: config, beside })
}

/// How to answer.
pub(super) fn generation<'o>(
    request: &'o Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Option<Generation<'o>> {
    let own = request.dialect == OWN;
    // Zero asks for nothing, and some models know no penalties.
    let penalty = |asked: Option<f64>| asked.filter(|asked| own || *asked != 0.0);
    let stops = if own { request.stop.len() } else { request.stop.len().min(MOST_STOPS) };
    losses.note_if(stops < request.stop.len(), "stop");
    let response_modalities = match kept(request, "=generationConfig.responseModalities") {
        Some(words) => words.read().unwrap_or_default(),
        None => request.modalities.iter().map(|word| word.to_ascii_uppercase().into()).collect(),
    };
    let speech_config = kept(request, "=generationConfig.speechConfig").map(Json::borrowed);
    // Voices are not the same anywhere, and sound comes in one format.
    losses.note_if(request.audio.is_some() && speech_config.is_none(), "audio");
    let mut generation = Generation {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        candidate_count: request.n,
        max_output_tokens: request.max_tokens,
        stop_sequences: request.stop.get(..stops).unwrap_or_default(),
        // The field has 32 bits; what is repeatable stays so.
        seed: request.seed.map(|seed| if i32::try_from(seed).is_ok() { seed } else { seed & 0x7fff_ffff }),
        presence_penalty: penalty(request.presence_penalty),
        frequency_penalty: penalty(request.frequency_penalty),
        response_logprobs: request.logprobs,
        logprobs: request.top_logprobs,
        response_modalities,
        speech_config,
        thinking_config: target.asks(request, own, losses).and_then(|config| thinking(config, request, target, losses)),
        beside: beside(request, "generationConfig."),
        ..Generation::default()
    };
    if let Some(format) = &request.response_format {
        response_format(format, request, &mut generation, losses);
    }
    let empty = serde_json::to_vec(&generation).is_ok_and(|json| json == b"{}");
    (!empty).then_some(generation)
}

fn response_format<'o>(
    format: &'o ResponseFormat<'_>,
    request: &'o Request<'_>,
    generation: &mut Generation<'o>,
    losses: &mut Losses,
) {
    match format {
        ResponseFormat::Text => generation.response_mime_type = Some("text/plain".into()),
        ResponseFormat::Json => generation.response_mime_type = Some("application/json".into()),
        // An answer always follows the schema, and the schema has no name.
        ResponseFormat::Schema { name: _, description, schema, strict: _ } => {
            losses.note_if(description.is_some(), "response_format.description");
            generation.response_mime_type = match kept(request, "=generationConfig.responseMimeType") {
                Some(word) => word.read().ok().flatten(),
                None => Some("application/json".into()),
            };
            match kept(request, "=generationConfig.responseSchema") {
                Some(openapi) => generation.response_schema = Some(openapi.borrowed()),
                None => generation.response_json_schema = Some(schema.borrowed()),
            }
        }
        ResponseFormat::Foreign { dialect: OWN, raw } => generation.format = raw.read().unwrap_or_default(),
        ResponseFormat::Foreign { .. } => losses.note("response_format"),
    }
}

/// How much to think: <https://ai.google.dev/gemini-api/docs/thinking>. A level and a budget exclude each other. What
/// stands for an effort is what Google's own endpoint for OpenAI's dialect makes of it:
/// <https://ai.google.dev/gemini-api/docs/openai#thinking>.
fn thinking<'o>(
    config: &ReasoningConfig<'_>,
    request: &'o Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Option<Thinking<'o>> {
    let ReasoningConfig { mode, effort, budget, summary, show } = config;
    if request.dialect == OWN {
        let thinking_budget = match (mode, budget) {
            (Some(ReasoningMode::Adaptive), None) => Some(-1),
            (_, budget) => budget.and_then(|budget| i64::try_from(budget).ok()),
        };
        let thinking_level = match kept(request, "=generationConfig.thinkingConfig.thinkingLevel") {
            Some(word) => word.read().ok(),
            None => effort.map(|effort| effort.as_str().into()),
        };
        let beside = beside(request, "generationConfig.thinkingConfig.");
        return Some(Thinking { include_thoughts: *show, thinking_budget, thinking_level, beside });
    }
    let off = *mode == Some(ReasoningMode::Disabled) || *effort == Some(Effort::None);
    let asked = matches!(mode, Some(ReasoningMode::Enabled | ReasoningMode::Adaptive));
    // Dialects that switch reasoning on show it unless told otherwise.
    let include_thoughts = show.or((summary.is_some() || asked).then_some(true)).filter(|_| !off);
    let mut thinking = Thinking { include_thoughts, ..Thinking::default() };
    if target.traits.gemini_3 {
        // It cannot be turned off.
        losses.note_if(off, "reasoning");
        let effort = if off { Some(Effort::None) } else { effort.or(budget.map(Effort::of_budget)) };
        thinking.thinking_level = effort.map(|effort| level(effort).into());
    } else {
        let least = if target.traits.min_effort.is_some_and(|least| least > Effort::None) { LEAST_THINKING } else { 0 };
        let budget = if off { Some(0) } else { *budget };
        losses.note_if(budget.is_some_and(|budget| budget < least), "reasoning");
        thinking.thinking_budget = match (budget, effort) {
            (Some(budget), _) => i64::try_from(budget.clamp(least, MOST_THINKING)).ok(),
            (None, Some(effort)) => Some(tokens(*effort)),
            (None, None) => asked.then_some(-1),
        };
    }
    let said =
        thinking.include_thoughts.is_some() || thinking.thinking_budget.is_some() || thinking.thinking_level.is_some();
    said.then_some(thinking)
}

fn level(effort: Effort) -> &'static str {
    match effort {
        // The lowest that all of them take: the larger models know no `minimal`.
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    }
}

fn tokens(effort: Effort) -> i64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal | Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High | Effort::XHigh | Effort::Max => 24_576,
    }
}
