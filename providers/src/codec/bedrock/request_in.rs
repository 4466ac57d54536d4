//! Requests read.

use super::wire::{self, SchemaFormat, TextFormat, ToolChoice as WireChoice};
use super::{OWN, family, read, write};
use crate::codec::Call;
use crate::codec::wire::read_request;
use crate::common::{
    Extras, FunctionTool, Json, Message, Opaque, Request, ResponseFormat, Role, Str, Tool, ToolChoice,
};
use crate::error::{ApiError, ErrorKind};

pub(super) fn decode<'a>(body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError> {
    let wire: wire::Request<'a> = read_request(body)?;
    let wire::Request { messages, system, inference, tools, fields, metadata, tier, output, rest } = wire;
    let opaque = |text| Opaque::from_client(OWN, text);
    let mut request = Request::new(OWN);
    request.model = call.model.map_or_else(Str::default, |model| model.to_owned().into());
    request.stream = call.stream;
    request.extras = rest;
    request.system = read::blocks(system, &opaque);
    request.messages.reserve(messages.len());
    for message in messages {
        let role = match &*message.role {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(ApiError::new(ErrorKind::InvalidRequest, "a message has an unknown role")),
        };
        let blocks = match role {
            Role::Assistant => read::models_blocks(message.content, &opaque),
            Role::User | Role::System | Role::Developer => read::blocks(message.content, &opaque),
        };
        request.messages.push(Message { role, blocks, extras: message.rest, ..Message::default() });
    }
    let wire::Inference { max_tokens, temperature, top_p, stop, rest } = inference;
    (request.max_tokens, request.temperature, request.top_p, request.stop) = (max_tokens, temperature, top_p, stop);
    keep(&mut request.extras, "inferenceConfig", &rest);

    request.tools = read_tools(tools.tools);
    request.tool_choice = tools.choice.map(read_choice);
    keep(&mut request.extras, "toolConfig", &tools.rest);

    if let Some(rest) = fields.and_then(|fields| family::read(fields, &mut request)) {
        request.extras.push(("additionalModelRequestFields".into(), rest));
    }
    request.metadata = metadata;
    request.service_tier = tier.kind;
    keep(&mut request.extras, "serviceTier", &tier.rest);

    let wire::OutputConfig { format, effort, mut rest } = output;
    request.response_format = format.map(read_format);
    if let Some(effort) = effort
        && !family::effort(Some(&effort), &mut request)
    {
        rest.push(("effort".into(), Json::of(&effort)));
    }
    keep(&mut request.extras, "outputConfig", &rest);
    Ok(request)
}

/// Keeps what is unknown of a nested object, under the object's name.
fn keep(extras: &mut Extras<'_>, name: &'static str, rest: &Extras<'_>) {
    if !rest.is_empty() {
        extras.push((name.into(), Json::of(&write::Fields(rest))));
    }
}

fn read_tools(wire: Vec<wire::Tool<'_>>) -> Vec<Tool<'_>> {
    let mut tools = Vec::with_capacity(wire.len());
    for wire::Tool { spec, cache_point, rest } in wire {
        if let Some(spec) = spec {
            let wire::ToolSpec { name, description, schema, strict, rest: mut extras } = *spec;
            if !schema.rest.is_empty() {
                extras.push(("inputSchema".into(), Json::of(&write::Fields(&schema.rest))));
            }
            let parameters = schema.json;
            tools.push(Tool::Function(Box::new(FunctionTool {
                name,
                description,
                parameters,
                strict,
                extras,
                ..FunctionTool::default()
            })));
        }
        if let Some(point) = cache_point {
            match tools.last_mut() {
                Some(Tool::Function(tool)) if tool.cache.is_none() && read::is_plain(&point) => {
                    tool.cache = Some(read::mark(point));
                }
                Some(_) | None => tools.push(foreign("cachePoint", &read::raw_cache_point(&point))),
            }
        }
        tools.extend(rest.iter().map(|(kind, raw)| foreign(kind, raw)));
    }
    tools
}

fn foreign(kind: &str, raw: &Json<'_>) -> Tool<'static> {
    Tool::Foreign { dialect: OWN, kind: kind.to_owned().into(), raw: read::wrapped(kind, raw) }
}

fn read_choice(raw: Json<'_>) -> ToolChoice<'_> {
    match raw.read::<WireChoice<'_>>() {
        Ok(WireChoice { auto: None, any: None, tool: Some(tool), rest }) if rest.is_empty() && tool.rest.is_empty() => {
            ToolChoice::Named(tool.name.into_owned())
        }
        Ok(WireChoice { auto: Some(auto), any: None, tool: None, rest }) if rest.is_empty() && auto.rest.is_empty() => {
            ToolChoice::Auto
        }
        Ok(WireChoice { auto: None, any: Some(any), tool: None, rest }) if rest.is_empty() && any.rest.is_empty() => {
            ToolChoice::Required
        }
        Ok(_) | Err(_) => ToolChoice::Foreign { dialect: OWN, raw },
    }
}

/// The schema is JSON in a string.
fn read_format(raw: Json<'_>) -> ResponseFormat<'_> {
    let known = raw.read::<TextFormat<'_>>().ok().filter(|format| {
        let whole = format.rest.is_empty() && format.structure.rest.is_empty();
        whole && format.kind == "json_schema"
    });
    let schema = known.and_then(|format| format.structure.schema);
    match schema {
        Some(SchemaFormat { schema, name, description, rest }) if rest.is_empty() => {
            match serde_json::value::RawValue::from_string(schema.into_string()) {
                Ok(schema) => ResponseFormat::Schema {
                    name: name.map(Str::into_owned),
                    description: description.map(Str::into_owned),
                    schema: Json::of(&schema),
                    strict: None,
                },
                Err(_) => ResponseFormat::Foreign { dialect: OWN, raw },
            }
        }
        Some(_) | None => ResponseFormat::Foreign { dialect: OWN, raw },
    }
}
