//! `generationConfig`, `toolConfig` and the service tier of a client's request.

use super::extras::{nest, remember};
use super::schema::to_json_schema;
use super::wire::{CallingConfig, Fields, GenerationConfig, Num, ThinkingConfig, ToolConfig};
use crate::common::{
    AudioConfig, Effort, Extras, Json, ReasoningConfig, ReasoningMode, Request, ResponseFormat, Str, ToolChoice,
};
use crate::dialect::Dialect;

/// The tier in OpenAI's words.
pub(super) fn tier<'a>(word: Str<'a>, extras: &mut Extras<'a>) -> Str<'a> {
    let lower = word.to_ascii_lowercase();
    let tier = match lower.as_str() {
        "standard" => "default".into(),
        "unspecified" => "auto".into(),
        _ => lower.into(),
    };
    remember(extras, "=serviceTier", Json::of(&word));
    tier
}

/// <https://ai.google.dev/api/caching#FunctionCallingConfig>
pub(super) fn tool_choice<'a>(config: ToolConfig<'a>, extras: &mut Extras<'a>) -> Option<ToolChoice<'a>> {
    let ToolConfig { calling, rest } = config;
    nest(extras, "toolConfig.", rest);
    let CallingConfig { mode, allowed, rest } = calling?;
    nest(extras, "toolConfig.functionCallingConfig.", rest);
    let word = mode.as_deref().unwrap_or("AUTO").to_ascii_uppercase();
    let choice = match (word.as_str(), &*allowed) {
        ("NONE", _) => ToolChoice::None,
        ("ANY", []) => ToolChoice::Required,
        ("ANY", [name]) => ToolChoice::Named(name.clone()),
        ("ANY", _) => ToolChoice::Allowed { names: allowed, required: true },
        (_, []) => ToolChoice::Auto,
        (_, _) => ToolChoice::Allowed { names: allowed, required: false },
    };
    if !matches!(word.as_str(), "AUTO" | "ANY" | "NONE") || mode.is_none() {
        remember(extras, "=toolConfig.functionCallingConfig.mode", Json::of(&mode));
    }
    Some(choice)
}

/// <https://ai.google.dev/api/generate-content#v1beta.GenerationConfig>
pub(super) fn generation<'a>(config: GenerationConfig<'a>, request: &mut Request<'a>, extras: &mut Extras<'a>) {
    let GenerationConfig {
        temperature,
        top_p,
        top_k,
        candidates,
        max_tokens,
        stop,
        seed,
        presence_penalty,
        frequency_penalty,
        response_logprobs,
        logprobs,
        mime,
        schema,
        json_schema,
        modalities,
        speech,
        thinking,
        rest,
    } = config;
    nest(extras, "generationConfig.", rest);
    let mut count = |number: Option<Num>, name: &'static str| {
        let number = number?;
        let count = number.count();
        if count.is_none() {
            remember(extras, name, Json::of(&number.0));
        }
        count
    };
    request.top_k = count(top_k, "generationConfig.topK");
    request.n = count(candidates, "generationConfig.candidateCount");
    request.max_tokens = count(max_tokens, "generationConfig.maxOutputTokens");
    request.top_logprobs = count(logprobs, "generationConfig.logprobs");
    request.temperature = temperature.map(|number| number.0);
    request.top_p = top_p.map(|number| number.0);
    request.presence_penalty = presence_penalty.map(|number| number.0);
    request.frequency_penalty = frequency_penalty.map(|number| number.0);
    request.seed = seed.and_then(Num::whole);
    request.stop = stop;
    request.logprobs = response_logprobs;
    request.modalities = modalities.iter().map(|word| word.to_ascii_lowercase().into()).collect();
    if modalities.iter().any(|word| word.bytes().any(|byte| byte.is_ascii_lowercase())) {
        remember(extras, "=generationConfig.responseModalities", Json::of(&modalities));
    }
    request.response_format = format(mime, schema, json_schema, extras);
    if let Some(speech) = speech {
        let voice = &speech.to_value()["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"];
        let voice = voice.as_str().map(|name| name.to_owned().into());
        if voice.is_some() {
            request.audio = Some(AudioConfig { voice, format: None });
            remember(extras, "=generationConfig.speechConfig", speech);
        } else {
            extras.push(("generationConfig.speechConfig".into(), speech));
        }
    }
    request.reasoning = thinking.map(|thinking| reasoning(thinking, extras));
}

fn format<'a>(
    mime: Option<Str<'a>>,
    schema: Option<Json<'a>>,
    json_schema: Option<Json<'a>>,
    extras: &mut Extras<'a>,
) -> Option<ResponseFormat<'a>> {
    if let Some(mime) = mime.as_ref().filter(|mime| !matches!(&***mime, "text/plain" | "application/json")) {
        // `text/x.enum` and whatever comes.
        let mut fields: Extras<'_> = vec![("responseMimeType".into(), Json::of(mime))];
        fields.extend(schema.map(|schema| ("responseSchema".into(), schema)));
        fields.extend(json_schema.map(|schema| ("responseJsonSchema".into(), schema)));
        return Some(ResponseFormat::Foreign { dialect: Dialect::Gemini, raw: Json::of(&Fields(fields)) });
    }
    let json = mime.as_deref() == Some("application/json");
    let schema = match (json_schema, schema) {
        (Some(schema), _) => schema,
        (None, Some(openapi)) => {
            let schema = to_json_schema(&openapi);
            remember(extras, "=generationConfig.responseSchema", openapi);
            schema
        }
        (None, None) if json => return Some(ResponseFormat::Json),
        (None, None) => return mime.map(|_| ResponseFormat::Text),
    };
    if !json {
        remember(extras, "=generationConfig.responseMimeType", Json::of(&mime));
    }
    Some(ResponseFormat::Schema { name: None, description: None, schema, strict: None })
}

/// <https://ai.google.dev/gemini-api/docs/thinking>: a budget of -1 is the model's own choice, 0 is none.
fn reasoning<'a>(config: ThinkingConfig<'a>, extras: &mut Extras<'a>) -> ReasoningConfig<'a> {
    let ThinkingConfig { show, budget, level, rest } = config;
    nest(extras, "generationConfig.thinkingConfig.", rest);
    let (mode, budget) = match budget.and_then(Num::whole) {
        None => (None, None),
        Some(0) => (Some(ReasoningMode::Disabled), Some(0)),
        Some(budget) => match u64::try_from(budget) {
            Ok(budget) => (Some(ReasoningMode::Enabled), Some(budget)),
            Err(_) => (Some(ReasoningMode::Adaptive), None),
        },
    };
    let effort = level.as_deref().and_then(|word| Effort::parse(&word.to_ascii_lowercase()));
    if let Some(level) = level {
        match effort {
            Some(_) => remember(extras, "=generationConfig.thinkingConfig.thinkingLevel", Json::of(&level)),
            None => extras.push(("generationConfig.thinkingConfig.thinkingLevel".into(), Json::of(&level))),
        }
    }
    ReasoningConfig { mode, effort, budget, summary: None, show }
}
