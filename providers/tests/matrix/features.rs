//! What a request or an answer says, as names and values that can be compared. Names are those under which a loss is disclosed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ai_gateway_providers::common::{
    Block, Citation, Content, Media, MediaSource, Request, Response, ResponseFormat, Role, Tool, ToolChoice,
};
use serde_json::Value;

/// Names and values.
pub type Features = BTreeMap<String, String>;

fn add(features: &mut Features, name: &str, value: impl std::fmt::Display) {
    let entry = features.entry(name.to_owned()).or_default();
    let _ = write!(entry, "{value};");
}

fn add_some(features: &mut Features, name: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        add(features, name, value);
    }
}

/// Everything that `request` asks for.
pub fn of_request(request: &Request<'_>) -> Features {
    let mut f = Features::new();
    let instructions: Vec<&str> = request.instructions().filter_map(text_of).collect();
    if !instructions.is_empty() {
        add(&mut f, "system", instructions.join("\n").split_whitespace().collect::<Vec<_>>().join(" "));
    }
    for turn in request.turns() {
        let role = if turn.role == Role::Assistant { "assistant" } else { "user" };
        let mut text = String::new();
        for block in turn.blocks() {
            of_block(&mut f, block, role, &mut text);
        }
        if !text.is_empty() {
            add(&mut f, "messages.text", format!("{role}: {}", text.trim()));
        }
    }
    for block in request.system.iter().chain(request.messages.iter().flat_map(|message| &message.blocks)) {
        if let Some(mark) = &block.cache {
            add(&mut f, "messages.cache", mark.ttl.as_deref().unwrap_or("5m"));
        }
    }
    of_tools(&mut f, request);
    add_some(&mut f, "parallel_tool_calls", request.parallel_tool_calls.filter(|parallel| !parallel));
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::Json) => add(&mut f, "response_format", "json"),
        Some(ResponseFormat::Schema { schema, .. }) => add(&mut f, "response_format", sorted(&schema.to_value())),
        Some(ResponseFormat::Foreign { .. }) => add(&mut f, "response_format", "foreign"),
    }
    if let Some(reasoning) = &request.reasoning {
        // Levels and budgets stand for each other: what matters is that there is some.
        let wanted = reasoning.effort.is_some() || reasoning.budget.is_some() || reasoning.mode.is_some();
        add_some(&mut f, "reasoning", wanted.then_some("wanted"));
    }
    add_some(&mut f, "max_tokens", request.max_tokens);
    add_some(&mut f, "temperature", request.temperature);
    add_some(&mut f, "top_p", request.top_p);
    add_some(&mut f, "top_k", request.top_k);
    add_some(&mut f, "seed", request.seed);
    add_some(&mut f, "presence_penalty", request.presence_penalty);
    add_some(&mut f, "frequency_penalty", request.frequency_penalty);
    if !request.stop.is_empty() {
        add(&mut f, "stop", request.stop.join(","));
    }
    add_some(&mut f, "n", request.n.filter(|n| *n > 1));
    add_some(&mut f, "logprobs", request.logprobs.filter(|wanted| *wanted));
    add_some(&mut f, "verbosity", request.verbosity.as_ref());
    add_some(&mut f, "service_tier", request.service_tier.as_ref());
    add_some(&mut f, "user", request.user.as_ref());
    add_some(&mut f, "metadata", request.metadata.as_ref().map(|json| sorted(&json.to_value())));
    add_some(&mut f, "store", request.store.filter(|store| *store));
    f
}

fn of_block(f: &mut Features, block: &Block<'_>, role: &str, text: &mut String) {
    match &block.content {
        // OpenAI Chat says so of media that stand beside the result they belong to.
        Content::Text(part) if part.text.starts_with("Attached to the result") => {}
        Content::Text(part) => text.push_str(&part.text),
        Content::Refusal(part) => text.push_str(part),
        Content::Media(media) => add(f, &format!("messages.{}", media.kind.as_str()), of_media(media)),
        Content::Reasoning(reasoning) => {
            let shown =
                [reasoning.summary.iter().map(|s| &**s).collect::<String>(), reasoning.text.to_string()].concat();
            if !shown.is_empty() {
                add(f, "messages.reasoning", shown);
            }
        }
        Content::ToolCall(call) => {
            add(f, "messages.tool_call", format!("{role} {} {}", call.name, arguments(&call.arguments)));
        }
        Content::ToolResult(result) => {
            let mut said = String::new();
            for part in &result.content {
                match &part.content {
                    Content::Media(media) => {
                        // It may come beside the result where it cannot be in it.
                        add(f, &format!("messages.{}", media.kind.as_str()), of_media(media));
                    }
                    _ => said.push_str(text_of(part).unwrap_or_default()),
                }
            }
            // What stands for nothing, where a result must not be empty.
            let said = if said == "(no output)" { "" } else { &said };
            add(f, "messages.tool_result", json_or_text(said));
            add_some(f, "messages.tool_result.error", result.is_error.filter(|error| *error));
        }
        Content::Foreign(foreign) => add(f, &format!("messages.{}", foreign.kind), foreign.raw.get()),
    }
}

/// The tools that may be called and whether one must be. A dialect that cannot name a tool may leave the others out, one that
/// cannot forbid tools all of them.
fn of_tools(f: &mut Features, request: &Request<'_>) {
    let names: Option<Vec<&str>> = match &request.tool_choice {
        Some(ToolChoice::None) => Some(Vec::new()),
        Some(ToolChoice::Named(name)) => Some(vec![name]),
        Some(ToolChoice::Allowed { names, .. }) => Some(names.iter().map(|name| &**name).collect()),
        Some(ToolChoice::Auto | ToolChoice::Required | ToolChoice::Foreign { .. }) | None => None,
    };
    let callable = |tool: &&Tool<'_>| names.as_ref().is_none_or(|names| names.contains(&name_of(tool).as_str()));
    let tools: Vec<&Tool<'_>> = request.tools.iter().filter(callable).collect();
    tools.iter().for_each(|tool| of_tool(f, tool));
    let must = match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. }) => {
            Some("required")
        }
        Some(ToolChoice::Foreign { .. }) => Some("foreign"),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Allowed { required: false, .. }) | None => None,
    };
    add_some(f, "tool_choice", must);
}

fn name_of(tool: &Tool<'_>) -> String {
    match tool {
        Tool::Function(tool) => tool.name.to_string(),
        Tool::Custom(tool) => tool.name.to_string(),
        Tool::Foreign { kind, .. } => kind.to_string(),
    }
}

fn of_tool(f: &mut Features, tool: &Tool<'_>) {
    match tool {
        Tool::Function(tool) => {
            let parameters = tool.parameters.as_ref().map_or(Value::Null, |json| json.to_value());
            let description = tool.description.as_deref().unwrap_or_default();
            add(f, "tools", format!("{} {description} {}", tool.name, sorted(&parameters)));
            add_some(f, "tools.strict", tool.strict.filter(|strict| *strict));
            add_some(f, "tools.cache", tool.cache.as_ref().map(|mark| mark.ttl.as_deref().unwrap_or("5m")));
        }
        Tool::Custom(tool) => add(f, "tools", &tool.name),
        Tool::Foreign { kind, .. } => add(f, "tools", kind),
    }
}

/// Everything that `response` says.
pub fn of_response(response: &Response<'_>) -> Features {
    let mut f = Features::new();
    add(&mut f, "answer.choices", response.choices.len());
    for choice in &response.choices {
        let mut text = String::new();
        for block in &choice.blocks {
            match &block.content {
                Content::Text(part) => {
                    text.push_str(&part.text);
                    for citation in &part.citations {
                        add(&mut f, "answer.citations", source(citation));
                    }
                }
                Content::Refusal(part) => text.push_str(part),
                Content::Reasoning(reasoning) => {
                    let summary: String = reasoning.summary.iter().map(|part| &**part).collect();
                    let shown = [summary.as_str(), &reasoning.text].concat();
                    if !shown.is_empty() {
                        add(&mut f, "answer.reasoning", shown);
                    }
                }
                Content::ToolCall(call) => {
                    add(
                        &mut f,
                        "answer.tool_call",
                        format!("{} {} {}", call.id, call.name, arguments(&call.arguments)),
                    );
                }
                Content::Media(media) => add(&mut f, &format!("answer.{}", media.kind.as_str()), of_media(media)),
                Content::ToolResult(_) => add(&mut f, "answer.tool_result", "result"),
                Content::Foreign(foreign) => add(&mut f, &format!("answer.{}", foreign.kind), foreign.raw.get()),
            }
        }
        add(&mut f, "answer.text", text);
        add(&mut f, "answer.stop", stop_class(choice.stop.reason));
        let logprobs: Vec<String> =
            choice.logprobs.iter().map(|token| format!("{}={:.3}", token.token, token.logprob)).collect();
        if !logprobs.is_empty() {
            add(&mut f, "answer.logprobs", logprobs.join(" "));
        }
    }
    if let Some(usage) = &response.usage {
        add_some(&mut f, "answer.usage.input", usage.total_input());
        add_some(&mut f, "answer.usage.output", usage.total_output());
    }
    f
}

/// Reasons that mean the same to a program: not every dialect tells a stop sequence from the end, or who refused.
fn stop_class(reason: ai_gateway_providers::common::StopReason) -> &'static str {
    use ai_gateway_providers::common::StopReason;
    match reason {
        StopReason::End | StopReason::StopSequence | StopReason::Pause => "end",
        StopReason::MaxTokens | StopReason::ContextWindow => "length",
        StopReason::ToolCalls => "tool calls",
        StopReason::Refusal | StopReason::ContentFilter => "refused",
        StopReason::MalformedCall | StopReason::Other => "other",
    }
}

/// The names of the tools.
pub fn tool_names(request: &Request<'_>) -> Vec<String> {
    request.tools.iter().map(name_of).collect()
}

/// The names in the calls of a conversation.
pub fn called(request: &Request<'_>) -> Vec<String> {
    let blocks = request.messages.iter().flat_map(|message| &message.blocks);
    let name = |block: &Block<'_>| match &block.content {
        Content::ToolCall(call) => Some(call.name.to_string()),
        _ => None,
    };
    blocks.filter_map(name).collect()
}

/// The name of the tool that must be called.
pub fn chosen(request: &Request<'_>) -> Option<String> {
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) => Some(name.to_string()),
        Some(ToolChoice::Allowed { names, required: true }) => names.first().map(ToString::to_string),
        _ => None,
    }
}

/// The calls of an answer, with group and sort.
pub fn calls(response: &Response<'_>) -> Vec<String> {
    let blocks = response.choices.iter().flat_map(|choice| &choice.blocks);
    let call = |block: &Block<'_>| match &block.content {
        Content::ToolCall(call) => {
            let sort = if call.custom { "custom " } else { "" };
            let namespace = call.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
            Some(format!("{sort}{namespace}{} {}", call.name, call.arguments))
        }
        _ => None,
    };
    blocks.filter_map(call).collect()
}

fn text_of<'b>(block: &'b Block<'_>) -> Option<&'b str> {
    match &block.content {
        Content::Text(text) => Some(&text.text),
        Content::Refusal(text) => Some(text),
        _ => None,
    }
}

fn of_media(media: &Media<'_>) -> String {
    match &media.source {
        MediaSource::Data(data) => format!("{} {data}", media.mime.as_deref().unwrap_or_default()),
        MediaSource::Url(url) => url.to_string(),
        MediaSource::File(file) => format!("file {file}"),
        MediaSource::Text(text) => format!("text {text}"),
        MediaSource::Blocks(blocks) => format!("{} blocks", blocks.len()),
    }
}

fn source(citation: &Citation<'_>) -> String {
    citation.url.as_deref().or(citation.title.as_deref()).unwrap_or_default().to_owned()
}

fn arguments(text: &str) -> String {
    if text.trim().is_empty() { "{}".to_owned() } else { json_or_text(text) }
}

fn json_or_text(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |value| sorted(&value))
}

/// `serde_json` sorts keys.
fn sorted(value: &Value) -> String {
    value.to_string()
}
