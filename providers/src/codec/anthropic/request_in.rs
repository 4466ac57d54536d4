//! Requests read: <https://docs.anthropic.com/en/api/messages>.

use serde_json::value::RawValue;

use super::super::wire::read_request;
use super::OWN;
use super::block_in::{Side, read_blocks, take_cache};
use super::wire::{Body, ChoiceIn, FormatIn, MessageIn, Metadata, OutputConfig, ThinkingIn, ToolIn};
use crate::codec::fields::Fields;
use crate::common::{
    Effort, Extras, FunctionTool, Json, Message, ReasoningConfig, ReasoningMode, Request, ResponseFormat, Role, Tool,
    ToolChoice,
};
use crate::error::{ApiError, ErrorKind};

pub(super) fn decode<'a>(body: &'a [u8]) -> Result<Request<'a>, ApiError> {
    let wire: Body<'a> = read_request(body)?;
    let mut request = Request::new(OWN);
    request.model = wire.model;
    request.stream = wire.stream;
    if let Some(system) = wire.system {
        request.system = read_blocks(system, Side::Client)?;
    }
    request.messages = wire.messages.into_iter().map(message).collect::<Result<_, _>>()?;
    request.tools = wire.tools.into_iter().map(tool).collect::<Result<_, _>>()?;
    if let Some(raw) = wire.tool_choice {
        (request.tool_choice, request.parallel_tool_calls) = tool_choice(raw)?;
    }
    request.max_tokens = wire.max_tokens;
    request.temperature = wire.temperature;
    request.top_p = wire.top_p;
    request.top_k = wire.top_k;
    request.stop = wire.stop_sequences;
    if let Some(Metadata { user_id, rest }) = wire.metadata {
        request.user = user_id;
        request.metadata = (!rest.is_empty()).then(|| Json::of(&Fields(&rest)));
    }
    request.service_tier = wire.service_tier.map(|tier| if tier == *"standard_only" { "default".into() } else { tier });
    let mut cache_control = wire.cache_control;
    request.cache.automatic = take_cache(&mut cache_control);
    request.extras = wire.rest;
    request.extras.extend(cache_control.and_then(|raw| Some(("cache_control".into(), Json::parse(raw.get())?))));
    let mut format = wire.output_format;
    let mut reasoning = ReasoningConfig::default();
    if let Some(config) = wire.output_config {
        output_config(config, &mut reasoning, &mut format, &mut request.extras);
    }
    if let Some(raw) = wire.thinking {
        thinking(raw, &mut reasoning, &mut request.extras)?;
    }
    request.reasoning = (reasoning != ReasoningConfig::default()).then_some(reasoning);
    request.response_format = format.map(response_format).transpose()?;
    Ok(request)
}

fn message(wire: MessageIn<'_>) -> Result<Message<'_>, ApiError> {
    let role = match &*wire.role {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        _ => return Err(wrong("a message has an unknown role").with_param("messages")),
    };
    let blocks = read_blocks(wire.content, Side::Client)?;
    Ok(Message { role, blocks, name: None, id: None, extras: wire.rest })
}

fn wrong(what: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, what)
}

fn tool(raw: &RawValue) -> Result<Tool<'_>, ApiError> {
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        r#type: Option<crate::common::Str<'a>>,
    }
    let kind = Side::Client.read::<Kind<'_>>(raw)?.r#type.filter(|kind| *kind != *"custom");
    if let Some(kind) = kind {
        return Ok(Tool::Foreign { dialect: OWN, kind, raw: Json::parse(raw.get()).unwrap_or_default() });
    }
    let mut wire: ToolIn<'_> = Side::Client.read(raw)?;
    let cache = take_cache(&mut wire.cache_control);
    let mut extras = wire.rest;
    extras.extend(wire.cache_control.and_then(|raw| Some(("cache_control".into(), Json::parse(raw.get())?))));
    Ok(Tool::Function(Box::new(FunctionTool {
        name: wire.name,
        description: wire.description,
        parameters: wire.input_schema,
        strict: wire.strict,
        cache,
        namespace: None,
        extras,
    })))
}

fn tool_choice(raw: &RawValue) -> Result<(Option<ToolChoice<'_>>, Option<bool>), ApiError> {
    let ChoiceIn { kind, name, disable_parallel, rest } = Side::Client.read(raw)?;
    let choice = match (&*kind, name) {
        _ if !rest.is_empty() => None,
        ("auto", None) => Some(ToolChoice::Auto),
        ("any", None) => Some(ToolChoice::Required),
        ("none", None) => Some(ToolChoice::None),
        ("tool", Some(name)) => Some(ToolChoice::Named(name)),
        _ => None,
    };
    let parallel = disable_parallel.map(|disable| !disable);
    let foreign = || ToolChoice::Foreign { dialect: OWN, raw: Json::parse(raw.get()).unwrap_or_default() };
    Ok((Some(choice.unwrap_or_else(foreign)), parallel))
}

fn output_config<'a>(
    wire: OutputConfig<'a>,
    reasoning: &mut ReasoningConfig<'a>,
    format: &mut Option<&'a RawValue>,
    extras: &mut Extras<'a>,
) {
    let OutputConfig { effort, format: new_format, mut rest } = wire;
    *format = new_format.or(*format);
    if let Some(word) = effort {
        reasoning.effort = Effort::parse(&word);
        if reasoning.effort.is_none() {
            rest.push(("effort".into(), Json::of(&word)));
        }
    }
    if !rest.is_empty() {
        extras.push(("output_config".into(), Json::of(&Fields(&rest))));
    }
}

/// What the common model cannot say of it leaves the whole in the extras, too, for its own dialect.
fn thinking<'a>(
    raw: &'a RawValue,
    reasoning: &mut ReasoningConfig<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), ApiError> {
    let ThinkingIn { kind, budget_tokens, display, rest } = Side::Client.read(raw)?;
    reasoning.mode = match &*kind {
        "enabled" => Some(ReasoningMode::Enabled),
        "disabled" => Some(ReasoningMode::Disabled),
        "adaptive" => Some(ReasoningMode::Adaptive),
        _ => None,
    };
    reasoning.budget = budget_tokens;
    reasoning.show = match display.as_deref() {
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        _ => None,
    };
    if reasoning.mode.is_none() || reasoning.show.is_some() != display.is_some() || !rest.is_empty() {
        extras.extend(Json::parse(raw.get()).map(|raw| ("thinking".into(), raw)));
    }
    Ok(())
}

fn response_format(raw: &RawValue) -> Result<ResponseFormat<'_>, ApiError> {
    Ok(match Side::Client.read(raw)? {
        FormatIn { kind, schema: Some(schema), rest } if kind == *"json_schema" && rest.is_empty() => {
            ResponseFormat::Schema { name: None, description: None, schema, strict: None }
        }
        FormatIn { .. } => ResponseFormat::Foreign { dialect: OWN, raw: Json::parse(raw.get()).unwrap_or_default() },
    })
}
