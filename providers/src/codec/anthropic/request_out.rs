//! Requests written: <https://docs.anthropic.com/en/api/messages>, with what Vertex
//! (<https://docs.anthropic.com/en/api/claude-on-vertex-ai>) and Bedrock's InvokeModel
//! (<https://docs.anthropic.com/en/api/claude-on-amazon-bedrock>) change.

use std::borrow::Cow;

use serde::Serialize;

use super::super::{Platform, Target, keeps_no_thread, refers_to_nothing};
use super::OWN;
use super::block_out::CacheOut;
use super::marks::Marks;
use super::messages_out::{MessageOut, SystemOut, Writer};
use super::thinking_out::{Plan, ThinkingOut};
use super::tools_out::{ChoiceOut, ToolOut, choice_out, tools_out};
use super::wire::Whole;
use crate::codec::choice::forces;
use crate::codec::fields::Fields;
use crate::codec::ids::end_user;
use crate::codec::schema::structured;
use crate::common::{CacheConfig, Content, Extras, Json, Losses, Request, ResponseFormat, Role, Setting, Str};
use crate::error::ApiError;
use crate::json;

/// Sent as `max_tokens`, which Anthropic demands, where neither the request nor the catalogue of models has a number. All models
/// from Claude 3.7 on take it.
const MAX_TOKENS: u64 = 32_000;

/// The longest `metadata.user_id` that Anthropic takes.
const LONGEST_USER: usize = 256;

/// What Anthropic has no word for.
const UNSAID: &[Setting] = &[
    Setting::Seed,
    Setting::PresencePenalty,
    Setting::FrequencyPenalty,
    Setting::N,
    Setting::Logprobs,
    Setting::TopLogprobs,
    Setting::Modalities,
    Setting::Audio,
    Setting::Verbosity,
    Setting::Store,
    Setting::CacheKey,
    Setting::CacheRetention,
];

#[derive(Serialize)]
struct BodyOut<'x> {
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'x str>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<SystemOut<'x>>,
    messages: Vec<MessageOut<'x>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolOut<'x>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ChoiceOut<'x>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<ConfigOut<'x>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'x str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<MetadataOut<'x>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'x str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheOut<'x>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    extras: Fields<'x, 'x>,
}

#[derive(Serialize)]
struct ConfigOut<'x> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<FormatOut<'x>>,
    #[serde(flatten)]
    extras: Fields<'x, 'x>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum FormatOut<'x> {
    Schema { r#type: &'static str, schema: Json<'x> },
    Raw(&'x Json<'x>),
}

#[derive(Serialize)]
struct MetadataOut<'x> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'x, str>>,
    #[serde(flatten)]
    extras: Fields<'x, 'x>,
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
        parallel_tool_calls: _,
        response_format,
        reasoning,
        max_tokens,
        temperature,
        top_p,
        top_k,
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
        user,
        metadata,
        cache: CacheConfig { automatic, key: _, retention: _, content: _ },
        store: _,
        previous: _,
        goes_on: _,
        extras,
    } = request;
    let own = *dialect == OWN;
    refers_to_nothing(request, OWN)?;
    if target.platform != Platform::Native {
        keeps_no_thread(request)?;
    }
    request.note(UNSAID, losses);
    let (rest, special) = split_extras(extras, own, target.platform);
    if !own {
        losses.note_extras("", extras);
    }
    let max_tokens = max_tokens_out(*max_tokens, target, own, losses);
    let mut writer = Writer {
        own,
        provider: target.provider,
        platform: target.platform,
        prefill: target.traits.takes_prefill(),
        marks: Marks::of(request, own),
        losses,
        dropped_reasoning: false,
    };
    let tools = tools_out(request, own, &mut writer.marks, writer.losses);
    let system = writer.system(request);
    let messages = writer.messages(request);
    let dropped = writer.dropped_reasoning;
    let losses = writer.losses;
    losses.leave_every_message()?;

    let asked = reasoning.clone().unwrap_or_default();
    let mut plan = Plan::of(&asked, target.traits.thinking, max_tokens, own, losses);
    let misses_thinking = (!own || dropped) && !goes_on_thinking(request, target);
    // A budget excludes a forced tool, too. An application that forces one breaks without the call, not without the thinking.
    if plan.manual() && (misses_thinking || (!own && request.tool_choice.as_ref().is_some_and(forces))) {
        plan.give_up(losses);
    }
    let sampling = Sampling { temperature: *temperature, top_p: *top_p, top_k: *top_k };
    let Sampling { temperature, top_p, top_k } = if own { sampling } else { sampling.fit(&plan, target, losses) };
    let tool_choice = choice_out(request, own, &target.traits, !tools.is_empty(), losses);

    // What the common model could not say of it stands in the extras, for its own dialect only.
    let thinking = if special.thinking { None } else { plan.thinking };
    let config = ConfigOut {
        effort: plan.effort,
        format: response_format.as_ref().and_then(|format| format_out(format, own, losses)),
        extras: Fields(&special.output_config),
    };
    let said = config.effort.is_some() || config.format.is_some() || !config.extras.0.is_empty();
    let notes = metadata.as_ref().filter(|_| own).and_then(|notes| notes.read::<Whole<'_>>().ok()).unwrap_or_default();
    if !own {
        request.note(&[Setting::Metadata], losses);
    }
    let (version, model) = match target.platform {
        Platform::Native => (None, Some(target.model)),
        Platform::Vertex => (Some("vertex-2023-10-16"), None),
        Platform::BedrockInvoke => (Some("bedrock-2023-05-31"), None),
    };
    let body = BodyOut {
        anthropic_version: version,
        model,
        max_tokens,
        system,
        messages,
        tools,
        tool_choice,
        thinking,
        output_config: said.then_some(config),
        temperature,
        top_p,
        top_k,
        stop_sequences: stops(stop, own, losses),
        metadata: (user.is_some() || !notes.rest.is_empty())
            .then(|| MetadataOut { user_id: user.as_deref().map(|id| user_out(id, own)), extras: Fields(&notes.rest) }),
        service_tier: service_tier.as_deref().and_then(|tier| tier_out(tier, own, target.platform, losses)),
        cache_control: automatic.as_ref().filter(|_| own || target.platform == Platform::Native).map(CacheOut::of),
        stream: *stream && target.platform != Platform::BedrockInvoke,
        extras: Fields(&rest),
    };
    let mut out = Vec::with_capacity(4096);
    json::write(&mut out, &body);
    Ok(out)
}

/// Extras that are written inside something else.
#[derive(Default)]
struct Special<'x> {
    thinking: bool,
    output_config: Extras<'x>,
}

/// The extras of a request of this dialect: those that stand beside its fields, and those that do not.
fn split_extras<'x>(extras: &'x Extras<'_>, own: bool, platform: Platform) -> (Extras<'x>, Special<'x>) {
    let (mut beside, mut special) = (Extras::default(), Special::default());
    for (name, value) in extras.iter().filter(|_| own) {
        match &**name {
            "output_config" => special.output_config = value.read::<Whole<'_>>().unwrap_or_default().rest,
            "anthropic_version" if platform != Platform::Native => {}
            name => {
                special.thinking |= name == "thinking";
                beside.push((name.into(), value.borrowed()));
            }
        }
    }
    (beside, special)
}

fn max_tokens_out(asked: Option<u64>, target: &Target<'_>, own: bool, losses: &mut Losses) -> u64 {
    match (asked, target.traits.max_output) {
        (Some(asked), Some(most)) if asked > most && !own => {
            losses.note("max_tokens");
            most
        }
        (Some(asked), _) => asked,
        (None, most) => most.unwrap_or(MAX_TOKENS),
    }
}

/// Whether the last turn of the assistant, if it called tools, begins with thinking that the provider can read: Anthropic wants
/// that of thinking within a budget.
fn goes_on_thinking(request: &Request<'_>, target: &Target<'_>) -> bool {
    let turns = request.turns();
    if turns.last().is_some_and(|turn| turn.role == Role::Assistant) {
        // A beginning to go on with cannot be thought about any more.
        return false;
    }
    let Some(last) = turns.iter().rfind(|turn| turn.role == Role::Assistant) else { return true };
    let calls = last.blocks().any(|block| matches!(block.content, Content::ToolCall(_)));
    let reads = |block: &crate::common::Block<'_>| match &block.content {
        Content::Reasoning(reasoning) => {
            let state = reasoning.signature.as_ref().or(reasoning.encrypted.as_ref());
            state.is_some_and(|state| state.for_provider(OWN, target.provider).is_some())
        }
        _ => false,
    };
    !calls || last.blocks().find(|block| reads(block) || !is_empty(block)).is_some_and(reads)
}

/// Whether the block is left out: reasoning that cannot be read, texts without content.
fn is_empty(block: &crate::common::Block<'_>) -> bool {
    match &block.content {
        Content::Text(text) => text.text.trim().is_empty(),
        Content::Reasoning(_) => true,
        _ => false,
    }
}

struct Sampling {
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u64>,
}

impl Sampling {
    /// What Anthropic takes: a temperature up to 1, no `top_p` beside it, and while thinking hardly anything.
    fn fit(mut self, plan: &Plan, target: &Target<'_>, losses: &mut Losses) -> Self {
        if self.temperature.is_some_and(|temperature| temperature > 1.0) {
            losses.note("temperature");
            self.temperature = Some(1.0);
        }
        let refused = target.traits.thinking.adaptive_only();
        if refused || plan.on() {
            losses.note_if(self.temperature.take().is_some_and(|temperature| temperature < 1.0), "temperature");
            losses.note_if(self.top_k.take().is_some(), "top_k");
            let keeps = |top_p: f64| !refused && (0.95..=1.0).contains(&top_p);
            losses.note_if(self.top_p.take_if(|top_p| !keeps(*top_p)).is_some_and(|top_p| top_p < 1.0), "top_p");
        }
        if self.temperature.is_some() {
            losses.note_if(self.top_p.take().is_some_and(|top_p| top_p < 1.0), "top_p");
        }
        self
    }
}

/// Texts that end the answer; of white space alone they are refused.
fn stops<'x>(stop: &'x [Str<'_>], own: bool, losses: &mut Losses) -> Vec<&'x str> {
    let fits = |text: &str| own || !text.trim().is_empty();
    losses.note_if(stop.iter().any(|text| !fits(text)), "stop");
    stop.iter().map(Str::as_str).filter(|text| fits(text)).collect()
}

/// "Do not include any identifying information such as name, email address, or phone number."
fn user_out(id: &str, own: bool) -> Cow<'_, str> {
    if own {
        return Cow::Borrowed(id);
    }
    end_user(id, LONGEST_USER, |id| !id.contains('@') && !is_phone(id))
}

/// Whether it may be a phone number: as many digits as one has, and nothing else but what is written between them.
fn is_phone(id: &str) -> bool {
    let digits = id.bytes().filter(u8::is_ascii_digit).count();
    let shortest = if digits == id.len() { 10 } else { 7 };
    (shortest..=15).contains(&digits) && id.bytes().all(|byte| byte.is_ascii_digit() || b"+ ()./-".contains(&byte))
}

fn tier_out<'x>(tier: &'x str, own: bool, platform: Platform, losses: &mut Losses) -> Option<&'x str> {
    match tier {
        // Clouds know no tiers of Anthropic's.
        "auto" | "default" if !own && platform != Platform::Native => None,
        _ if !own && platform != Platform::Native => {
            losses.note("service_tier");
            None
        }
        "default" => Some("standard_only"),
        // What was bought of the faster tier is used under `auto`.
        "auto" | "priority" | "fast" if !own => Some("auto"),
        other if own => Some(other),
        _ => {
            losses.note("service_tier");
            None
        }
    }
}

fn format_out<'x>(format: &'x ResponseFormat<'_>, own: bool, losses: &mut Losses) -> Option<FormatOut<'x>> {
    match format {
        ResponseFormat::Text => None,
        // Only a schema can be asked for.
        ResponseFormat::Json => {
            losses.note("response_format");
            None
        }
        ResponseFormat::Schema { name: _, description, schema, strict: _ } => {
            let schema = if own { schema.borrowed() } else { structured(schema, description.as_deref()) };
            Some(FormatOut::Schema { r#type: "json_schema", schema })
        }
        ResponseFormat::Foreign { dialect, raw } if *dialect == OWN => Some(FormatOut::Raw(raw)),
        ResponseFormat::Foreign { .. } => {
            losses.note("response_format");
            None
        }
    }
}
