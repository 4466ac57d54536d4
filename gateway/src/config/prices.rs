//! `[prices]`, and the `price` of a target: what models cost. The compiled-in price map, an operator's file above it, and
//! single prices above that.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ai_gateway_providers::preset::Preset;
use ai_gateway_providers::price::{Lookup, Model, Price, PriceMap, Rate, Unit, per_million};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::Context;
use super::providers::ProviderConfig;
use super::tree::{At, instead, nearest};

/// `[prices]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// A price file that counts before the built-in price map: LiteLLM's `model_prices_and_context_window.json`, or what
    /// `ai-gateway prices import` makes of one.
    pub file: Option<At<String>>,
    /// Refuse models without a price. Default: `false`, their cost is unknown.
    pub require: Option<bool>,
    /// Prices of single models by `provider/model`: for models without an entry in `[models]`.
    #[serde(default)]
    pub models: BTreeMap<String, At<PriceText>>,
}

/// What a model costs, as written: US dollars per million.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Price")]
pub struct PriceText {
    /// A row of the price map whose prices count where none is written here, such as `azure/gpt-5`; `ai-gateway prices show`
    /// lists them. A price that is written here counts at every service tier and for prompts of every size.
    pub like: Option<At<String>>,
    /// Tokens of input.
    pub input: Option<At<DollarsText>>,
    /// Tokens of input from the provider's cache. Default: as `input`.
    pub cache_read: Option<At<DollarsText>>,
    /// Tokens of input written to the provider's cache. Default: as `input`.
    pub cache_write: Option<At<DollarsText>>,
    /// Tokens of input written to the provider's cache for an hour. Default: as `cache_write`.
    pub cache_write_1h: Option<At<DollarsText>>,
    /// Tokens of audio input. Default: as `input`.
    pub audio_input: Option<At<DollarsText>>,
    /// Tokens of image input. Default: as `input`.
    pub image_input: Option<At<DollarsText>>,
    /// Tokens of output.
    pub output: Option<At<DollarsText>>,
    /// Tokens of reasoning. Default: as `output`.
    pub reasoning: Option<At<DollarsText>>,
    /// Tokens of audio output. Default: as `output`.
    pub audio_output: Option<At<DollarsText>>,
    /// Tokens of image output. Default: as `output`.
    pub image_output: Option<At<DollarsText>>,
    /// Seconds of audio, where no tokens are billed.
    pub audio_second: Option<At<DollarsText>>,
    /// Search units of a rerank.
    pub search_unit: Option<At<DollarsText>>,
    /// Web searches that the provider runs.
    pub web_search: Option<At<DollarsText>>,
    /// Requests, whatever they hold.
    pub request: Option<At<DollarsText>>,
    /// Characters of text to be spoken.
    pub character: Option<At<DollarsText>>,
    /// Images made.
    pub image: Option<At<DollarsText>>,
}

/// An amount of US dollars as written: `"2.50"` or `2.5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DollarsText(pub String);

impl<'de> Deserialize<'de> for DollarsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dollars;

        impl Visitor<'_> for Dollars {
            type Value = DollarsText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("US dollars per million, such as \"2.50\"")
            }

            fn visit_str<E>(self, text: &str) -> Result<DollarsText, E> {
                Ok(DollarsText(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<DollarsText, E> {
                Ok(DollarsText(number.to_string()))
            }

            // The shortest decimal that is this number is the one that was written.
            fn visit_f64<E>(self, number: f64) -> Result<DollarsText, E> {
                Ok(DollarsText(if number < 1e15 { number.to_string() } else { format!("{number:e}") }))
            }
        }

        deserializer.deserialize_any(Dollars)
    }
}

impl JsonSchema for DollarsText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DollarsText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "description": "US dollars per million, at most six digits behind the point.",
            "pattern": r"^[0-9]+(\.[0-9]{0,6})?$",
            "minimum": 0,
            "examples": ["2.50", "10"],
        })
    }
}

/// Resolved prices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PricesConfig {
    /// What is known of models.
    pub map: Arc<PriceMap>,
    /// Whether models without a price are refused.
    pub require: bool,
}

impl PricesConfig {
    /// What is known of `model` at `provider`; nothing, if nothing is.
    pub fn of(&self, provider: &ProviderConfig, model: &str) -> Model {
        self.find(&provider.name, provider.preset, provider.region.as_deref(), model)
    }

    /// What is known of `model`, in whichever way it is spelt, at the `provider` of this kind; nothing, if nothing is.
    pub fn find(&self, provider: &str, preset: &Preset, region: Option<&str>, model: &str) -> Model {
        let lookup = Lookup { provider, kind: preset.kind, model: preset.plain(model), region };
        self.map.find(&lookup).unwrap_or_default()
    }

    /// What is known of the `model` of a target, whose own `price` counts first.
    pub(super) fn of_target(
        &self,
        price: Option<At<PriceText>>,
        model: &At<String>,
        provider: &ProviderConfig,
        cx: &mut Context<'_>,
    ) -> Model {
        let mut known = self.of(provider, &model.value);
        let written = price.is_some();
        if let Some(price) = price {
            known.price = price.value.resolve(price.span, &self.map, cx);
        }
        // A price that could not be read is an error already.
        if self.require && !written && known.price.is_none() {
            cx.report.error(
                model.span.clone(),
                format!("the price of `{}` at `{}` is not known, and [prices] requires one", model.value, provider.name),
                "write the target's `price`, as in { input = \"2.50\", output = \"10\" } or { like = \"openai/gpt-5\" }",
            );
        }
        known
    }
}

impl Prices {
    pub(super) fn resolve(
        self,
        providers: &BTreeMap<String, Option<ProviderConfig>>,
        cx: &mut Context<'_>,
    ) -> PricesConfig {
        let mut map = PriceMap::built_in();
        if let Some(file) = self.file
            && let Some(content) = cx.read(&file)
        {
            match map.clone().with_file(&content) {
                Ok(with_file) => map = with_file,
                Err(error) => {
                    let message = format!("`{}` is no price file: {error}", file.value);
                    cx.report.error(file.span, message, "`ai-gateway prices import` makes one of LiteLLM's");
                }
            }
        }
        let mut overrides = BTreeMap::new();
        for (name, price) in self.models {
            let At { value: price, span } = price;
            let plain = plain_name(&name, &span, providers, cx);
            let known = Model { price: price.resolve(span.clone(), &map, cx), ..Model::default() };
            let is_plain = plain == name;
            match overrides.entry(plain) {
                Entry::Vacant(entry) => _ = entry.insert(known),
                Entry::Occupied(mut entry) => {
                    let message = format!("`{}` has a price under another spelling, too", entry.key());
                    cx.report.warn(span, message, "keep one; until then the one without the collection counts");
                    if is_plain {
                        entry.insert(known);
                    }
                }
            }
        }
        PricesConfig { map: Arc::new(map.with_overrides(overrides)), require: self.require.unwrap_or(false) }
    }
}

/// `provider/model` of a provider that there is, without what may be left out of the model's name.
fn plain_name(
    name: &str,
    span: &Range<usize>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    cx: &mut Context<'_>,
) -> String {
    let Some((provider, model)) = name.split_once('/') else {
        let help = "write `provider/model` in quotes, as in [prices.models.\"openai/gpt-5\"]";
        cx.report.error(span.clone(), format!("`{name}` names no provider"), help);
        return name.to_owned();
    };
    match providers.get(provider) {
        Some(Some(known)) => format!("{provider}/{}", known.preset.plain(model)),
        // What is wrong with it is reported already.
        Some(None) => name.to_owned(),
        None => {
            let known: Vec<&str> = providers.keys().map(String::as_str).collect();
            cx.report.error(span.clone(), format!("there is no provider `{provider}`"), instead(provider, &known));
            name.to_owned()
        }
    }
}

impl PriceText {
    /// `None` only with an error reported.
    fn resolve(self, span: Range<usize>, map: &PriceMap, cx: &mut Context<'_>) -> Option<Price> {
        let Self {
            like,
            input,
            cache_read,
            cache_write,
            cache_write_1h,
            audio_input,
            image_input,
            output,
            reasoning,
            audio_output,
            image_output,
            audio_second,
            search_unit,
            web_search,
            request,
            character,
            image,
        } = self;
        let written = [
            (Unit::Input, input),
            (Unit::CacheRead, cache_read),
            (Unit::CacheWrite, cache_write),
            (Unit::CacheWrite1h, cache_write_1h),
            (Unit::AudioInput, audio_input),
            (Unit::ImageInput, image_input),
            (Unit::Output, output),
            (Unit::Reasoning, reasoning),
            (Unit::AudioOutput, audio_output),
            (Unit::ImageOutput, image_output),
            (Unit::AudioSecond, audio_second),
            (Unit::SearchUnit, search_unit),
            (Unit::WebSearch, web_search),
            (Unit::Request, request),
            (Unit::Character, character),
            (Unit::Image, image),
        ];
        let mut rates: Vec<Rate> = Vec::new();
        let (mut sound, mut us_only) = (true, None);
        for (unit, dollars) in written {
            let Some(dollars) = dollars else { continue };
            match cx.parse(&dollars, |text| per_million(&text.0)) {
                Some(pico) => rates.push(Rate::new(unit, pico)),
                None => sound = false,
            }
        }
        if let Some(like) = like {
            match map.row(&like.value).and_then(|model| model.price) {
                Some(price) => {
                    let own: Vec<Unit> = rates.iter().map(|rate| rate.unit).collect();
                    rates.extend(price.rates().iter().filter(|rate| !own.contains(&rate.unit)));
                    us_only = price.us_only();
                }
                None => {
                    let names: Vec<&str> = map.names().collect();
                    let near = nearest(&like.value, names).map(|name| format!("did you mean `{name}`?"));
                    let help = near.unwrap_or_else(|| "`ai-gateway prices show MODEL` lists the rows".to_owned());
                    cx.report.error(like.span, format!("the price map has no price of `{}`", like.value), help);
                    sound = false;
                }
            }
        }
        if rates.is_empty() && sound {
            let help = "write at least `input` and `output`, in US dollars per million tokens";
            cx.report.error(span, "this price says nothing", help);
            return None;
        }
        sound.then(|| Price::new(rates).with_us_only(us_only).for_all())
    }
}
