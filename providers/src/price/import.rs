//! From LiteLLM's price file (<https://docs.litellm.ai/docs/proxy/custom_pricing>) to a sheet of the price map.
//!
//! Names become `vendor/model`. Prices become whole pico-dollars, rounded half up where the file is finer. What usage never
//! tells (pixels, video, hours of storage, times of day, surcharges of the clouds' regions) is left out; of several prices of a web
//! search the one for a medium context counts. What Anthropic's fast mode costs is written as factor, and becomes prices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::value::RawValue;

use super::decimal::scaled;
use super::map::{Model, SheetError, row_text, sheet_text};
use super::{Price, Rate, Tier, Times, Unit};

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The sheet, the same bytes for the same file and date.
    pub sheet: String,
    /// How many rows it has.
    pub rows: usize,
    /// Keys of the file that were taken, several of which may be one row.
    pub taken: usize,
    /// Keys of the file that were not, and why.
    pub skipped: BTreeMap<String, Skip>,
    /// How many prices were finer than a pico-dollar.
    pub rounded: usize,
    /// Fields that look like prices and are not known: the file's format may have moved on.
    pub unknown_fields: BTreeSet<String>,
}

/// Why a key of the file is no row of the sheet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// It documents the file, or has no vendor.
    NoModel,
    /// It is for an operation that the gateway does not serve.
    Mode(String),
    /// It has neither a size nor a price of anything that usage tells.
    NothingUsable,
    /// Its name cannot stand in a sheet.
    Name,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel => f.write_str("no model of a vendor"),
            Self::Mode(mode) => write!(f, "`{mode}` is not served"),
            Self::NothingUsable => f.write_str(
                "no size, and no price of anything that usage tells (pixels, pages, units of the vendor's own)",
            ),
            Self::Name => f.write_str("a name with spaces or control characters"),
        }
    }
}

/// Modes of LiteLLM that no operation of the gateway corresponds to.
const NOT_SERVED: &[&str] =
    &["video_generation", "search", "ocr", "evaluation", "vector_store", "extraction", "guardrail"];

/// Prices per token. Behind them stand `_above_200k_tokens`, `_flex` and the like. The longer of two that begin alike comes first.
const TOKENS: &[(&str, Unit)] = &[
    ("cache_creation_input_token_cost_above_1hr", Unit::CacheWrite1h),
    ("cache_creation_input_token_cost", Unit::CacheWrite),
    ("cache_read_input_token_cost", Unit::CacheRead),
    ("input_cost_per_audio_token", Unit::AudioInput),
    ("input_cost_per_image_token", Unit::ImageInput),
    ("input_cost_per_token", Unit::Input),
    ("output_cost_per_audio_token", Unit::AudioOutput),
    ("output_cost_per_image_token", Unit::ImageOutput),
    ("output_cost_per_reasoning_token", Unit::Reasoning),
    ("output_cost_per_token", Unit::Output),
];

/// Prices of other things: field, the mode that it means this in (`""`: all), unit. The first of a unit counts.
const OTHERS: &[(&str, &str, Unit)] = &[
    ("input_cost_per_token_cache_hit", "", Unit::CacheRead),
    ("input_cost_per_request", "", Unit::Request),
    ("input_cost_per_query", "rerank", Unit::SearchUnit),
    ("input_cost_per_second", "audio_transcription", Unit::AudioSecond),
    ("output_cost_per_second", "audio_transcription", Unit::AudioSecond),
    ("input_cost_per_character", "audio_speech", Unit::Character),
    ("output_cost_per_image", "image_generation", Unit::Image),
    ("output_cost_per_image", "image_edit", Unit::Image),
    ("input_cost_per_image", "image_generation", Unit::Image),
];

/// What a search costs, in pico-dollars, with any model of vendors who name one price
/// (<https://platform.openai.com/docs/pricing#built-in-tools>); Azure's is that of its other rows.
const SEARCHES: &[(&str, u64)] = &[("openai", 10_000_000_000), ("azure", 14_000_000_000)];

/// What is left out on purpose, by how the field begins.
const LEFT_OUT: &[&str] = &[
    // Caches that usage does not tell apart.
    "cache_creation_input_audio_token_cost",
    "cache_creation_input_token_cost_above_12hr",
    "cache_read_input_audio_token_cost",
    "cache_read_input_image_token_cost",
    "explicit_cache_read_input_token_cost",
    // A tier of one vendor's own.
    "cache_creation_input_token_cost_decisions",
    "cache_creation_input_token_cost_above_272k_tokens_decisions",
    "cache_read_input_token_cost_decisions",
    "cache_read_input_token_cost_above_272k_tokens_decisions",
    "input_cost_per_token_decisions",
    "input_cost_per_token_above_272k_tokens_decisions",
    "output_cost_per_token_decisions",
    "output_cost_per_token_above_272k_tokens_decisions",
    // Things that no usage counts.
    "annotation_cost_per_page",
    "citation_cost_per_token",
    "code_interpreter_cost_per_session",
    "computer_use_input_cost_per_1k_tokens",
    "computer_use_output_cost_per_1k_tokens",
    "cost_per_second",
    "file_search_cost_per",
    "google_maps_grounding_cost_per_query",
    "guardrail_cost_per_unit",
    "input_cost_per_audio_per_second",
    "input_cost_per_character",
    "input_cost_per_image",
    "input_cost_per_pixel",
    "input_cost_per_query",
    "input_cost_per_second",
    "input_cost_per_text_message",
    "input_cost_per_video",
    "input_dbu_cost_per_token",
    "ocr_cost_per",
    "output_cost_per_character",
    "output_cost_per_image",
    "output_cost_per_pixel",
    "output_cost_per_second",
    "output_cost_per_video",
    "output_dbu_cost_per_token",
    "vector_store_cost_per",
    // By the time of day: the full price counts.
    "off_peak_pricing",
];

/// Reads LiteLLM's `model_prices_and_context_window.json`. `date` stands in the sheet's id: the day of the file, or empty.
///
/// # Errors
/// It is not a JSON object of objects.
pub fn litellm(json: &[u8], date: &str) -> Result<Import, SheetError> {
    let not_json = |error: serde_json::Error| SheetError(format!("it is not LiteLLM's price file: {error}"));
    let file: BTreeMap<String, BTreeMap<String, &RawValue>> = serde_json::from_slice(json).map_err(not_json)?;
    let mut rows: BTreeMap<String, Entry> = BTreeMap::new();
    let mut skipped = BTreeMap::new();
    let mut found = Found::default();
    for (key, fields) in &file {
        match Entry::read(key, fields, &mut found) {
            Ok((name, entry)) => match rows.remove(&name) {
                // What is written with its vendor's name counts before what is not.
                Some(other) if *key == name => rows.insert(name, entry.or(other)),
                Some(other) => rows.insert(name, other.or(entry)),
                None => rows.insert(name, entry),
            }
            .map_or((), drop),
            Err(skip) => {
                skipped.insert(key.clone(), skip);
            }
        }
    }
    let count = rows.len();
    let text: String = rows.into_iter().map(|(name, entry)| row_text(&name, &entry.model())).collect();
    Ok(Import {
        sheet: sheet_text(date, &text),
        rows: count,
        taken: file.len() - skipped.len(),
        skipped,
        rounded: found.rounded,
        unknown_fields: found.unknown_fields,
    })
}

/// What is noticed on the way.
#[derive(Default)]
struct Found {
    rounded: usize,
    unknown_fields: BTreeSet<String>,
}

impl Found {
    /// Pico-dollars of a price in dollars; `None` if it is no price.
    fn pico(&mut self, dollars: &RawValue) -> Option<u64> {
        let scaled = scaled(dollars.get(), 12)?;
        self.rounded += usize::from(!scaled.exact);
        Some(scaled.value)
    }
}

struct Entry {
    /// The first of two for the same counts.
    rates: Vec<Rate>,
    us_only: Option<Times>,
    window: Option<u64>,
    max_output: Option<u64>,
}

impl Entry {
    fn read(key: &str, fields: &BTreeMap<String, &RawValue>, found: &mut Found) -> Result<(String, Self), Skip> {
        let text = |name: &str| fields.get(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let vendor = text("litellm_provider").filter(|_| key != "sample_spec").ok_or(Skip::NoModel)?;
        let mode = text("mode").unwrap_or_default();
        if NOT_SERVED.contains(&mode.as_str()) {
            return Err(Skip::Mode(mode));
        }
        let name = row_name(&vendor, key);
        if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Skip::Name);
        }
        let mut rates = Vec::new();
        for (field, value) in fields {
            if let Some(rate) = token_rate(field, value, found) {
                rates.push(rate);
            } else if !is_known(field) {
                found.unknown_fields.insert(field.clone());
            }
        }
        for (field, only_in, unit) in OTHERS {
            if only_in.is_empty() || *only_in == mode || (mode.is_empty() && *unit == Unit::Character) {
                let pico = fields.get(*field).and_then(|value| found.pico(value));
                rates.extend(pico.map(|pico| Rate::new(*unit, pico)));
            }
        }
        rates.extend(fields.get("search_context_cost_per_query").and_then(|value| web_search(value, found)));
        rates.extend(fields.get("tiered_pricing").into_iter().flat_map(|value| steps(value, found)));
        if let Some((_, pico)) = SEARCHES.iter().find(|(of, _)| *of == vendor && rates.iter().any(|rate| rate.pico > 0))
            && ["chat", "responses"].contains(&mode.as_str())
            && !rates.iter().any(|rate| rate.unit == Unit::WebSearch)
        {
            rates.push(Rate::new(Unit::WebSearch, *pico));
        }
        let times = fields.get("provider_specific_entry").map(|value| factors(value)).unwrap_or_default();
        if let Some(fast) = times.fast {
            let standard: Vec<Rate> =
                rates.iter().filter(|rate| rate.tier == Tier::Standard && rate.unit.is_token()).copied().collect();
            rates.extend(standard.iter().map(|rate| Rate { tier: Tier::FastMode, pico: fast.of(rate.pico), ..*rate }));
        }
        let tokens = |name: &str| {
            let count = fields.get(name).and_then(|raw| scaled(raw.get(), 0))?;
            Some(count.value).filter(|count| *count > 0)
        };
        let entry = Self {
            rates,
            us_only: times.us,
            window: tokens("max_input_tokens"),
            max_output: tokens("max_output_tokens"),
        };
        let empty = entry.rates.is_empty() && entry.window.is_none() && entry.max_output.is_none();
        if empty { Err(Skip::NothingUsable) } else { Ok((name, entry)) }
    }

    fn or(mut self, below: Self) -> Self {
        self.rates.extend(below.rates);
        Self {
            rates: self.rates,
            us_only: self.us_only.or(below.us_only),
            window: self.window.or(below.window),
            max_output: self.max_output.or(below.max_output),
        }
    }

    fn model(self) -> Model {
        let price = (!self.rates.is_empty()).then(|| Price::new(self.rates).with_us_only(self.us_only));
        Model { price, context_window: self.window, max_output: self.max_output }
    }
}

/// `vendor/model`: LiteLLM leaves the vendor out of some keys, and cuts some vendors in several.
fn row_name(provider: &str, key: &str) -> String {
    let vendor = match provider {
        "bedrock_converse" => "bedrock",
        "cohere_chat" => "cohere",
        "text-completion-openai" => "openai",
        "azure_text" => "azure",
        "fireworks_ai-embedding-models" => "fireworks_ai",
        vertex if vertex.starts_with("vertex_ai-") => "vertex_ai",
        other => other,
    };
    let named = key.strip_prefix(vendor).is_some_and(|rest| rest.starts_with('/'));
    if named { key.to_owned() } else { format!("{vendor}/{key}") }
}

/// A field of [`TOKENS`] with its tier and step.
fn token_rate(field: &str, dollars: &RawValue, found: &mut Found) -> Option<Rate> {
    let (unit, mut rest) = TOKENS.iter().find_map(|(name, unit)| Some((*unit, field.strip_prefix(name)?)))?;
    let (mut tier, mut above) = (Tier::Standard, 0);
    while !rest.is_empty() {
        if let Some(step) = rest.strip_prefix("_above_") {
            let (thousands, behind) = step.split_once("k_tokens")?;
            above = thousands.parse::<u64>().ok()?.checked_mul(1000)?;
            rest = behind;
        } else {
            let word = rest.strip_prefix('_')?;
            tier = if word == "batches" { Tier::Batch } else { Tier::of_word(word)? };
            rest = "";
        }
    }
    Some(Rate { unit, tier, above, pico: found.pico(dollars)? })
}

fn is_known(field: &str) -> bool {
    let looks_like_a_price = field.contains("_cost") || field.contains("pricing");
    !looks_like_a_price
        || matches!(field, "search_context_cost_per_query" | "tiered_pricing")
        || OTHERS.iter().any(|(name, ..)| *name == field)
        || LEFT_OUT.iter().any(|start| field.starts_with(start))
}

fn web_search(value: &RawValue, found: &mut Found) -> Option<Rate> {
    let sizes: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
    let order = ["search_context_size_medium", "search_context_size_low", "search_context_size_high"];
    let price = order.iter().find_map(|size| sizes.get(*size))?;
    Some(Rate::new(Unit::WebSearch, found.pico(price)?))
}

/// `provider_specific_entry`: how many times as much Anthropic's tokens cost in its fast mode, and in the US only. Others keep other
/// things there.
#[derive(Default)]
struct Factors {
    fast: Option<Times>,
    us: Option<Times>,
}

fn factors(value: &RawValue) -> Factors {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    let times = |name: &str| fields.get(name).and_then(|value| value.get().parse().ok());
    Factors { fast: times("fast"), us: times("us") }
}

/// `tiered_pricing`: prices for ranges of prompt tokens, `"range": [0, 256000]` and so on.
fn steps(value: &RawValue, found: &mut Found) -> Vec<Rate> {
    let steps: Vec<BTreeMap<String, &RawValue>> = serde_json::from_str(value.get()).unwrap_or_default();
    let mut rates = Vec::new();
    for fields in steps {
        let range: Option<Vec<&RawValue>> =
            fields.get("range").and_then(|range| serde_json::from_str(range.get()).ok());
        let Some(above) = range.and_then(|range| scaled(range.first()?.get(), 0)) else { continue };
        let of_step = fields.iter().filter_map(|(field, value)| token_rate(field, value, found));
        rates.extend(of_step.map(|rate| Rate { above: above.value, ..rate }));
    }
    rates
}
