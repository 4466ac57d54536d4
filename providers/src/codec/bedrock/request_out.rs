//! Requests written.

use serde::Serialize;

use super::family::{self, Family};
use super::messages::Writer;
use super::wire::AnyObject;
use super::{OWN, media, tools, write};
use crate::catalogue::Thinking;
use crate::codec::schema::structured;
use crate::codec::{Target, refers_to_nothing};
use crate::common::{
    CacheConfig, CacheMark, Content, Effort, Extras, Json, Losses, Message, Reasoning, Request, ResponseFormat,
    Setting, Str,
};
use crate::error::ApiError;
use crate::json;

/// What Converse has no word for.
const UNSAID: &[Setting] = &[
    Setting::ParallelToolCalls,
    Setting::Seed,
    Setting::PresencePenalty,
    Setting::FrequencyPenalty,
    Setting::N,
    Setting::Logprobs,
    Setting::TopLogprobs,
    Setting::Modalities,
    Setting::Audio,
    Setting::Verbosity,
    Setting::User,
    Setting::Store,
    Setting::CacheKey,
    Setting::CacheRetention,
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Out<'r> {
    messages: Vec<write::Message<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<write::Part<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_config: Option<Inference<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<tools::ToolConfig<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_request_fields: Option<Json<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_metadata: Option<Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<Tier<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'r>>,
    #[serde(flatten)]
    extras: write::Fields<'r, 'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inference<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'r str>,
    #[serde(flatten)]
    extras: write::Fields<'r, 'r>,
}

#[derive(Serialize)]
struct Tier<'r> {
    r#type: &'r str,
    #[serde(flatten)]
    extras: write::Fields<'r, 'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputConfig<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text_format: Option<Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(flatten)]
    extras: write::Fields<'r, 'r>,
}

pub(super) fn encode(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let Request {
        dialect,
        model: _,
        stream: _,
        include_usage: _,
        system: _,
        messages,
        tools: _,
        tool_choice: _,
        parallel_tool_calls: _,
        response_format,
        reasoning: _,
        max_tokens,
        temperature,
        top_p,
        top_k: _,
        seed: _,
        presence_penalty: _,
        frequency_penalty: _,
        stop,
        n: _,
        logprobs: _,
        top_logprobs: _,
        modalities: _,
        audio: _,
        verbosity: _,
        service_tier,
        user: _,
        metadata,
        cache: CacheConfig { automatic, key: _, retention: _, content: _ },
        store: _,
        previous: _,
        goes_on: _,
        extras,
    } = request;
    refers_to_nothing(request, OWN)?;
    let own = *dialect == OWN;
    let family = Family::of(target.model);
    // What is known of the model, or said by the operator.
    let model = if own { Thinking::AsAsked } else { target.traits.thinking };
    request.note(UNSAID, losses);

    let mut writer = Writer {
        own,
        provider: target.provider,
        caches: own || family.caches(),
        prefill: target.traits.takes_prefill(),
        names: media::Names::default(),
        losses: &mut *losses,
    };
    let mut system = if own { writer.system(request.system.iter()) } else { writer.system(request.instructions()) };
    let mut written = writer.messages(messages);
    let caches = writer.caches;
    writer.losses.leave_every_message()?;

    // A client's own history is its own affair, as long as nobody else had a part in it.
    let unproven = unproven(&written) && (!own || has_foreign_thoughts(messages));
    let reasoning = target.asks(request, own, losses);
    let mut fields = family::write(request, reasoning, family, model, unproven);
    losses.note_if(fields.lost_reasoning, "reasoning");
    losses.note_if(fields.lost_top_k, "top_k");

    let nested = |name: &str| nested(extras, name, own);
    let (inference_extras, tool_extras, tier_extras, output_extras) =
        (nested("inferenceConfig"), nested("toolConfig"), nested("serviceTier"), nested("outputConfig"));
    fields.fields.extend(nested("additionalModelRequestFields"));
    let mut top = Extras::new();
    if own {
        let rest = extras.iter().filter(|(name, raw)| !(NESTED.contains(&&**name) && raw.is_object()));
        top.extend(rest.map(|(name, raw)| (name.borrowed(), raw.borrowed())));
    } else {
        losses.note_extras("", extras);
    }

    // OpenAI's and Gemini's temperature goes up to 2; while it thinks Claude takes none but 1, and no small `top_p`; and its later
    // models take neither, nor does Nova when it reasons as hard as it can.
    let (refused, thinks) = (model.adaptive_only() || fields.at_most, fields.thinks && !own);
    let fixed = refused || thinks;
    losses.note_if(temperature.is_some_and(|it| !own && (it > 1.0 || fixed && it != 1.0)), "temperature");
    let temperature = temperature.filter(|_| !fixed).map(|it| if own { it } else { it.min(1.0) });
    // Nor does it take both; an id that does not tell is most likely Claude's.
    let beside = !own && temperature.is_some() && matches!(family, Family::Anthropic | Family::Unknown);
    let keeps = |top_p: &f64| !refused && !beside && (!thinks || *top_p >= 0.95);
    losses.note_if(top_p.is_some_and(|it| it < 1.0 && !keeps(&it)), "top_p");
    let top_p = top_p.filter(keeps);
    let stop_sequences: Vec<&str> =
        stop.iter().map(|text| &**text).filter(|text| own || !text.trim().is_empty()).collect();
    losses.note_if(stop_sequences.len() < stop.len(), "stop");
    let said = max_tokens.is_some() || temperature.is_some() || top_p.is_some() || !stop_sequences.is_empty();
    let inference = Inference {
        max_tokens: *max_tokens,
        temperature,
        top_p,
        stop_sequences,
        extras: write::Fields(&inference_extras),
    };

    if let Some(mark) = automatic {
        write_cache(mark, caches, &mut system, &mut written, losses);
    }

    let tool_config = tools::write(request, own, family, &target.traits, &tool_extras, losses);
    let text_format = response_format.as_ref().and_then(|format| write_format(format, own, losses));
    let output =
        OutputConfig { text_format, effort: fields.effort.map(Effort::as_str), extras: write::Fields(&output_extras) };
    let tier = service_tier.as_deref().map(|tier| if tier == "fast" && !own { "priority" } else { tier });
    let tier = tier.filter(|tier| {
        let known = own || matches!(*tier, "default" | "flex" | "priority" | "reserved");
        losses.note_if(!known && *tier != "auto", "service_tier");
        known
    });
    let out = Out {
        messages: written,
        system,
        inference_config: (said || !inference_extras.is_empty()).then_some(inference),
        tool_config,
        additional_model_request_fields: (!fields.fields.is_empty()).then(|| Json::of(&write::Fields(&fields.fields))),
        request_metadata: metadata.as_ref().and_then(|metadata| write_metadata(metadata, own, losses)),
        service_tier: tier.map(|kind| Tier { r#type: kind, extras: write::Fields(&tier_extras) }),
        output_config: (output.text_format.is_some() || output.effort.is_some() || !output_extras.is_empty())
            .then_some(output),
        extras: write::Fields(&top),
    };
    let mut body = Vec::with_capacity(1024);
    json::write(&mut body, &out);
    Ok(body)
}

/// Whether the model is about to go on after its tools' results, and its reasoning before their calls is not there.
fn unproven(messages: &[write::Message<'_>]) -> bool {
    let [.., calls, results] = messages else { return false };
    let goes_on = results.content.iter().any(|part| matches!(part, write::Part::ToolResult(_)));
    goes_on && !matches!(calls.content.first(), Some(write::Part::ReasoningContent(_)))
}

/// Whether another dialect's provider reasoned in the history: that is left out.
fn has_foreign_thoughts(messages: &[Message<'_>]) -> bool {
    messages.iter().flat_map(|message| &message.blocks).any(|block| match &block.content {
        Content::Reasoning(reasoning) => {
            let Reasoning { text: _, summary: _, signature, encrypted } = &**reasoning;
            [signature, encrypted].into_iter().flatten().any(|state| state.dialect != OWN)
        }
        _ => false,
    })
}

/// Objects whose unknown members are kept under their name.
const NESTED: [&str; 5] =
    ["inferenceConfig", "toolConfig", "serviceTier", "outputConfig", "additionalModelRequestFields"];

fn nested(extras: &Extras<'_>, name: &str, own: bool) -> Extras<'static> {
    let raw = extras.iter().find(|(key, raw)| own && key == name && raw.is_object());
    let object = raw.and_then(|(_, raw)| raw.read::<AnyObject<'_>>().ok()).unwrap_or_default();
    object.rest.into_iter().map(|(key, raw)| (key.into_owned(), raw.into_owned())).collect()
}

/// "Cache whatever can be" is a point behind the instructions and one behind the conversation.
fn write_cache<'r>(
    mark: &'r CacheMark<'r>,
    caches: bool,
    system: &mut Vec<write::Part<'r>>,
    messages: &mut [write::Message<'r>],
    losses: &mut Losses,
) {
    if !caches {
        return losses.note("cache");
    }
    let point = || write::Part::CachePoint(super::messages::cache_point(mark));
    let ends_with_point = |parts: &[write::Part<'_>]| matches!(parts.last(), Some(write::Part::CachePoint(_)) | None);
    if !ends_with_point(system) {
        system.push(point());
    }
    if let Some(last) = messages.last_mut().filter(|last| !ends_with_point(&last.content)) {
        last.content.push(point());
    }
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_OutputConfig.html>
fn write_format<'r>(format: &'r ResponseFormat<'_>, own: bool, losses: &mut Losses) -> Option<Json<'r>> {
    #[derive(Serialize)]
    struct Format<'r> {
        r#type: &'static str,
        structure: Structure<'r>,
    }
    #[derive(Serialize)]
    struct Structure<'r> {
        #[serde(rename = "jsonSchema")]
        schema: Schema<'r>,
    }
    #[derive(Serialize)]
    struct Schema<'r> {
        schema: &'r str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'r str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'r str>,
    }
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::Json => {
            losses.note("response_format");
            None
        }
        // An answer always follows its schema.
        ResponseFormat::Schema { name, description, schema, strict: _ } => {
            let schema = if own { schema.borrowed() } else { structured(schema, None) };
            let schema = Schema { schema: schema.get(), name: name.as_deref(), description: description.as_deref() };
            Some(Json::of(&Format { r#type: "json_schema", structure: Structure { schema } }))
        }
        ResponseFormat::Foreign { dialect, raw } if *dialect == OWN => Some(raw.borrowed()),
        ResponseFormat::Foreign { .. } => {
            losses.note("response_format");
            None
        }
    }
}

/// Up to 16 short texts of harmless characters
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
fn write_metadata<'r>(metadata: &'r Json<'_>, own: bool, losses: &mut Losses) -> Option<Json<'r>> {
    if own {
        return Some(metadata.borrowed());
    }
    let allowed = |text: &str, least: usize| {
        let harmless = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
        (least..=256).contains(&text.len()) && text.chars().all(harmless)
    };
    let object: AnyObject<'_> = metadata.read().unwrap_or_default();
    let mut kept: Vec<(Str<'_>, Json<'_>)> = Vec::new();
    for (key, value) in object.rest {
        let text: Option<Str<'_>> = value.read().ok();
        if kept.len() < 16 && allowed(&key, 1) && text.is_some_and(|text| allowed(&text, 0)) {
            kept.push((key, value));
        } else {
            losses.note("metadata");
        }
    }
    (!kept.is_empty()).then(|| Json::of(&write::Fields(&kept)))
}

/// Whether the conversation holds calls of tools or their results.
pub(super) fn uses_tools(request: &Request<'_>) -> bool {
    let mut blocks = request.messages.iter().flat_map(|message| &message.blocks);
    blocks.any(|block| matches!(block.content, Content::ToolCall(_) | Content::ToolResult(_)))
}
