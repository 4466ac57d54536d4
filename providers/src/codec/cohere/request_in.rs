//! A client's request.

use super::wire::{ChatRequest, Document, Function, Message, ResponseFormat, TextOrObject, Thinking, Tool};
use super::{DIALECT, block_in};
use crate::codec::read_request;
use crate::common::{
    self, Block, Content, Extras, FunctionTool, Json, Media, MediaKind, MediaSource, Opaque, ReasoningConfig,
    ReasoningMode, Request, Role, Str, ToolChoice, ToolResult,
};
use crate::error::{ApiError, ErrorKind};
use crate::json;

pub(super) fn decode(body: &[u8]) -> Result<Request<'_>, ApiError> {
    let ChatRequest {
        model,
        stream,
        messages,
        tools,
        strict_tools,
        tool_choice,
        documents,
        response_format,
        thinking,
        max_tokens,
        stop_sequences,
        temperature,
        seed,
        frequency_penalty,
        presence_penalty,
        k,
        p,
        logprobs,
        rest: mut extras,
    } = read_request(body)?;
    if let (Some(strict), true) = (strict_tools, tools.is_empty()) {
        extras.push(("strict_tools".into(), Json::of(&strict)));
    }
    // Cohere takes larger ones than the common model knows.
    let small = seed.as_ref().and_then(|seed| seed.read::<i64>().ok());
    extras.extend(seed.filter(|_| small.is_none()).map(|seed| ("seed".into(), seed)));
    let mut messages = messages.into_iter().map(message).collect::<Result<Vec<_>, _>>()?;
    add_documents(&mut messages, documents);
    Ok(Request {
        model,
        stream,
        // Cohere's streams always tell it.
        include_usage: stream,
        messages,
        tools: tools.into_iter().map(|one| tool(one, strict_tools)).collect(),
        tool_choice: tool_choice.map(choice),
        response_format: response_format.map(format),
        reasoning: thinking.map(|thinking| reasoning(thinking, &mut extras)),
        max_tokens,
        temperature,
        top_p: p,
        top_k: k,
        seed: small,
        presence_penalty,
        frequency_penalty,
        stop: stop_sequences,
        logprobs,
        extras,
        ..Request::new(DIALECT)
    })
}

fn message(message: Message<'_>) -> Result<common::Message<'_>, ApiError> {
    let opaque = |text: Str<'_>| Opaque::from_client(DIALECT, text.into_owned());
    let (role, blocks, extras) = match &*message.role {
        "assistant" => {
            let (blocks, extras) = block_in::assistant(message, &opaque, &|_| String::new());
            (Role::Assistant, blocks, extras)
        }
        "tool" => {
            let content = block_in::parts(message.content, &opaque);
            let result = ToolResult { call_id: message.tool_call_id, content, ..ToolResult::default() };
            (Role::User, vec![Block::new(Content::ToolResult(Box::new(result)))], message.rest)
        }
        "user" => (Role::User, block_in::parts(message.content, &opaque), message.rest),
        "system" => (Role::System, block_in::parts(message.content, &opaque), message.rest),
        _ => {
            let why = "a message's role must be one of: system, user, assistant, tool";
            return Err(ApiError::new(ErrorKind::InvalidRequest, why).with_param("messages"));
        }
    };
    Ok(common::Message { role, blocks, extras, ..common::Message::default() })
}

/// The request's documents become the first blocks of what the user said last, where other dialects have theirs.
fn add_documents<'a>(messages: &mut Vec<common::Message<'a>>, documents: Vec<TextOrObject<'a, Document<'a>>>) {
    if documents.is_empty() {
        return;
    }
    let blocks = documents.into_iter().map(|document| match document {
        TextOrObject::Object(document) => block_in::document(document),
        TextOrObject::Text(text) => Block::new(Content::Media(Box::new(Media {
            kind: MediaKind::Document,
            source: MediaSource::Text(text),
            ..Media::default()
        }))),
    });
    let is_result = |block: &Block<'_>| matches!(block.content, Content::ToolResult(_));
    let last = messages.iter_mut().rfind(|one| one.role == Role::User && !one.blocks.iter().any(is_result));
    match last {
        Some(message) => drop(message.blocks.splice(0..0, blocks)),
        None => messages.push(common::Message { blocks: blocks.collect(), ..common::Message::default() }),
    }
}

fn tool<'a>(tool: Tool<'a>, strict: Option<bool>) -> common::Tool<'a> {
    let Tool { kind, function, rest: mut extras } = tool;
    match function {
        Some(Function { name, description, parameters, rest }) if matches!(&*kind, "function" | "") => {
            extras.extend(rest);
            let tool = FunctionTool { name, description, parameters, strict, extras, ..FunctionTool::default() };
            common::Tool::Function(Box::new(tool))
        }
        function => {
            let raw = json::raw(|object| {
                object.field("type", &kind);
                if let Some(Function { name, description, parameters, rest }) = &function {
                    object.object("function", |object| {
                        object.field("name", name);
                        object.optional("description", description.as_ref());
                        object.optional("parameters", parameters.as_ref());
                        object.extras(rest);
                    });
                }
                object.extras(&extras);
            });
            common::Tool::Foreign { dialect: DIALECT, kind, raw }
        }
    }
}

fn choice(raw: Json<'_>) -> ToolChoice<'_> {
    match raw.get() {
        "\"REQUIRED\"" => ToolChoice::Required,
        "\"NONE\"" => ToolChoice::None,
        _ => ToolChoice::Foreign { dialect: DIALECT, raw },
    }
}

fn format(format: ResponseFormat<'_>) -> common::ResponseFormat<'_> {
    let ResponseFormat { kind, json_schema, rest } = format;
    match (&*kind, json_schema) {
        ("text", None) if rest.is_empty() => common::ResponseFormat::Text,
        ("json_object", None) if rest.is_empty() => common::ResponseFormat::Json,
        ("json_object", Some(schema)) if rest.is_empty() => {
            common::ResponseFormat::Schema { name: None, description: None, schema, strict: None }
        }
        (_, json_schema) => common::ResponseFormat::Foreign {
            dialect: DIALECT,
            raw: json::raw(|object| {
                object.field("type", &kind);
                object.optional("json_schema", json_schema.as_ref());
                object.extras(&rest);
            }),
        },
    }
}

fn reasoning<'a>(thinking: Thinking<'a>, extras: &mut Extras<'a>) -> ReasoningConfig<'a> {
    let Thinking { kind, token_budget: budget, rest } = thinking;
    let mode = match kind.as_deref() {
        Some("enabled") => Some(ReasoningMode::Enabled),
        Some("disabled") => Some(ReasoningMode::Disabled),
        Some(_) | None => None,
    };
    // A mode that is not known yet: its own dialect gets it back whole.
    if !rest.is_empty() || (mode.is_none() && kind.is_some()) {
        let whole = json::raw(|object| {
            object.optional("type", kind.as_ref());
            object.optional("token_budget", budget.as_ref());
            object.extras(&rest);
        });
        extras.push(("thinking".into(), whole));
    }
    ReasoningConfig { mode, budget, ..ReasoningConfig::default() }
}
