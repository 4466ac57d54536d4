//! `usageMetadata` for a client: <https://ai.google.dev/api/generate-content#UsageMetadata>. The prompt includes what came
//! from a cache; the candidates do not include the thoughts.

use serde::Serialize;

use crate::usage::Usage;

/// The counts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content_token_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates_token_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts_token_count: Option<u64>,
    total_token_count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prompt_tokens_details: Vec<Detail>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates_tokens_details: Vec<Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'o str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    modality: &'static str,
    token_count: u64,
}

/// Writes `usage`, and the tier in Google's words, which stands among the counts.
pub(super) fn write<'o>(usage: Option<&Usage>, tier: Option<&'o str>) -> Option<Counts<'o>> {
    if usage.is_none() && tier.is_none() {
        return None;
    }
    let Usage {
        input: _,
        cache_read,
        cache_write_5m: _,
        cache_write_1h: _,
        audio_input,
        image_input,
        output,
        reasoning,
        audio_output,
        image_output,
        // Not tokens, and unknown here.
        audio_input_ms: _,
        search_units: _,
        web_searches: _,
        characters: _,
        images: _,
        other_models: _,
        charged: _,
    } = usage.copied().unwrap_or_default();
    let usage = usage.copied().unwrap_or_default();
    let details = |audio: Option<u64>, image: Option<u64>, all: Option<u64>| {
        let special = audio.unwrap_or(0).saturating_add(image.unwrap_or(0));
        let mut details = Vec::new();
        if audio.is_some() || image.is_some() {
            details.push(Detail { modality: "TEXT", token_count: all.unwrap_or(0).saturating_sub(special) });
        }
        details.extend(audio.map(|token_count| Detail { modality: "AUDIO", token_count }));
        details.extend(image.map(|token_count| Detail { modality: "IMAGE", token_count }));
        details
    };
    let candidates = [output, audio_output, image_output].into_iter().flatten().reduce(u64::saturating_add);
    let tier = tier.map(|tier| match tier {
        "default" => "standard",
        "fast" => "priority",
        other => other,
    });
    Some(Counts {
        prompt_token_count: usage.total_input(),
        cached_content_token_count: cache_read,
        candidates_token_count: candidates,
        thoughts_token_count: reasoning,
        total_token_count: usage.total().unwrap_or(0),
        prompt_tokens_details: details(audio_input, image_input, usage.total_input()),
        candidates_tokens_details: details(audio_output, image_output, candidates),
        service_tier: tier,
    })
}
