//! What a request or an answer says, as names and values that can be compared. Names are those under which a loss is disclosed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ai_gateway_providers::common::{
    AudioConfig, Block, CacheConfig, Choice, Citation, Content, Effort, Media, MediaKind, MediaSource, Message, Opaque,
    Reasoning, ReasoningConfig, Request, Response, ResponseFormat, Role, Tool, ToolChoice,
};
use ai_gateway_providers::{Dialect, Usage};
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
    let Request {
        dialect: _,
        // How the answer is to come, and of whom, is no part of what is asked.
        model: _,
        stream: _,
        include_usage: _,
        system,
        messages,
        tools: _,
        tool_choice: _,
        parallel_tool_calls,
        response_format,
        reasoning,
        max_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        presence_penalty,
        frequency_penalty,
        stop,
        n,
        logprobs,
        top_logprobs,
        modalities,
        audio,
        verbosity,
        service_tier,
        user,
        metadata,
        cache,
        store,
        // Refused by all but its own dialect.
        previous: _,
        // Only some vendors of OpenAI's dialect want to be told what the last message shows anyway.
        goes_on: _,
        extras: _,
    } = request;
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
    for Message { role: _, blocks: _, name, id: _, extras: _ } in messages {
        add_some(&mut f, "messages.name", name.as_ref());
    }
    for block in system.iter().chain(messages.iter().flat_map(|message| &message.blocks)) {
        if let Some(mark) = &block.cache {
            add(&mut f, "messages.cache", mark.ttl.as_deref().unwrap_or("5m"));
        }
    }
    of_tools(&mut f, request);
    add_some(&mut f, "parallel_tool_calls", parallel_tool_calls.filter(|parallel| !parallel));
    match response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::Json) => add(&mut f, "response_format", "json"),
        Some(ResponseFormat::Schema { schema, .. }) => add(&mut f, "response_format", sorted(&schema.to_value())),
        Some(ResponseFormat::Foreign { .. }) => add(&mut f, "response_format", "foreign"),
    }
    if let Some(ReasoningConfig { mode, effort, budget, summary: _, show: _ }) = reasoning {
        // Levels and budgets stand for each other, and Google's levels for other budgets than those of the others.
        let much = effort.or(budget.map(Effort::of_budget)).map(|effort| match effort {
            Effort::None => "none",
            Effort::Minimal | Effort::Low => "little",
            Effort::Medium | Effort::High | Effort::XHigh | Effort::Max => "much",
        });
        add_some(&mut f, "reasoning", much.or(mode.map(|_| "wanted")));
    }
    add_some(&mut f, "max_tokens", *max_tokens);
    add_some(&mut f, "temperature", *temperature);
    add_some(&mut f, "top_p", *top_p);
    add_some(&mut f, "top_k", *top_k);
    add_some(&mut f, "seed", *seed);
    add_some(&mut f, "presence_penalty", *presence_penalty);
    add_some(&mut f, "frequency_penalty", *frequency_penalty);
    if !stop.is_empty() {
        add(&mut f, "stop", stop.join(","));
    }
    add_some(&mut f, "n", n.filter(|n| *n > 1));
    add_some(&mut f, "logprobs", logprobs.filter(|wanted| *wanted));
    add_some(&mut f, "top_logprobs", *top_logprobs);
    modalities.iter().filter(|kind| **kind != *"text").for_each(|kind| add(&mut f, "modalities", kind));
    if let Some(AudioConfig { voice, format: _ }) = audio {
        add(&mut f, "audio", voice.as_deref().unwrap_or_default());
    }
    add_some(&mut f, "verbosity", verbosity.as_ref());
    add_some(&mut f, "service_tier", service_tier.as_ref());
    add_some(&mut f, "user", user.as_ref());
    add_some(&mut f, "metadata", metadata.as_ref().map(|json| sorted(&json.to_value())));
    let CacheConfig { automatic, key, retention, content: _ } = cache;
    add_some(&mut f, "cache", automatic.as_ref().map(|mark| mark.ttl.as_deref().unwrap_or("5m")));
    add_some(&mut f, "prompt_cache_key", key.as_ref());
    add_some(&mut f, "cache.retention", retention.as_ref());
    add_some(&mut f, "store", store.filter(|store| *store));
    f
}

fn of_block(f: &mut Features, block: &Block<'_>, role: &str, text: &mut String) {
    match &block.content {
        // OpenAI Chat says so of media that stand beside the result they belong to.
        Content::Text(part) if part.text.starts_with("Attached to the result") => {}
        Content::Text(part) => {
            text.push_str(&part.text);
            add_some(f, "messages.signature", part.signature.as_ref().map(|state| &state.data));
        }
        Content::Refusal(part) => text.push_str(part),
        Content::Media(media) => add(f, &format!("messages.{}", media.kind.as_str()), of_media(media)),
        Content::Reasoning(reasoning) => {
            let (shown, state) = of_reasoning(reasoning);
            add_some(f, "messages.reasoning", shown);
            add_some(f, "messages.signature", state);
        }
        Content::ToolCall(call) => {
            add(f, "messages.tool_call", format!("{role} {} {}", call.name, arguments(&call.arguments)));
            add_some(f, "messages.signature", call.signature.as_ref().map(|state| &state.data));
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

/// What is shown of it, and its state for its maker.
fn of_reasoning(reasoning: &Reasoning<'_>) -> (Option<String>, Option<String>) {
    let Reasoning { text, summary, signature, encrypted } = reasoning;
    let shown: String = summary.iter().chain([text]).map(|part| &**part).collect();
    let opened =
        |state: &Opaque<'_>| Opaque::from_client(state.dialect, state.data.clone().into_owned()).data.to_string();
    let state = encrypted.as_ref().or(signature.as_ref()).map(opened);
    (Some(shown).filter(|shown| !shown.is_empty()), state.filter(|data| !data.is_empty()))
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
    let Response { dialect: _, id: _, model: _, created: _, choices, usage, service_tier, extras: _ } = response;
    add(&mut f, "answer.choices", choices.len());
    add_some(&mut f, "answer.service_tier", service_tier.as_ref());
    for Choice { blocks, stop, logprobs, extras: _ } in choices {
        let mut text = String::new();
        for block in blocks {
            match &block.content {
                Content::Text(part) => {
                    text.push_str(&part.text);
                    for citation in &part.citations {
                        add(&mut f, "answer.citations", source(citation));
                    }
                }
                Content::Refusal(part) => text.push_str(part),
                Content::Reasoning(reasoning) => {
                    add_some(&mut f, "answer.reasoning", of_reasoning(reasoning).0);
                }
                Content::ToolCall(call) => {
                    add(
                        &mut f,
                        "answer.tool_call",
                        format!("{} {} {}", call.id, call.name, arguments(&call.arguments)),
                    );
                }
                Content::Media(media) => {
                    // What a sound is made of is not always told.
                    let of_sound = Media { mime: None, ..(**media).clone() };
                    let told = if media.kind == MediaKind::Audio { of_media(&of_sound) } else { of_media(media) };
                    add(&mut f, &format!("answer.{}", media.kind.as_str()), told);
                    text.push_str(media.transcript.as_deref().unwrap_or_default());
                }
                Content::ToolResult(_) => add(&mut f, "answer.tool_result", "result"),
                Content::Foreign(foreign) => add(&mut f, &format!("answer.{}", foreign.kind), foreign.raw.get()),
            }
        }
        add(&mut f, "answer.text", text);
        add(&mut f, "answer.stop", stop_class(stop.reason));
        add_some(&mut f, "answer.stop_sequence", stop.sequence.as_ref());
        let logprobs: Vec<String> =
            logprobs.iter().map(|token| format!("{}={:.3}", token.token, token.logprob)).collect();
        if !logprobs.is_empty() {
            add(&mut f, "answer.logprobs", logprobs.join(" "));
        }
    }
    if let Some(usage) = usage {
        of_usage(&mut f, usage);
    }
    f
}

/// The parts of a usage that `dialect` has no word for: they are in its totals only.
pub fn untold_parts(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => &["cache_write_1h"],
        Dialect::Anthropic => &["audio_input", "audio_output", "image_input", "image_output"],
        Dialect::Gemini => &["cache_write", "cache_write_1h", "web_searches"],
        Dialect::Bedrock => {
            &["audio_input", "audio_output", "image_input", "image_output", "reasoning", "web_searches"]
        }
        Dialect::Cohere | Dialect::Own(_) => &[
            "audio_input",
            "audio_output",
            "cache_write",
            "cache_write_1h",
            "image_input",
            "image_output",
            "reasoning",
            "web_searches",
        ],
    }
}

/// The totals, and the parts of them.
fn of_usage(f: &mut Features, usage: &Usage) {
    let Usage {
        // What is in no other part.
        input: _,
        output: _,
        cache_read,
        cache_write_5m: _,
        cache_write_1h,
        audio_input,
        image_input,
        reasoning,
        audio_output,
        image_output,
        web_searches,
        // No consumption of a chat, or what no dialect tells its clients.
        audio_input_ms: _,
        search_units: _,
        characters: _,
        images: _,
        other_models: _,
        charged: _,
    } = usage;
    add_some(f, "answer.usage.input", usage.total_input());
    add_some(f, "answer.usage.output", usage.total_output());
    for (name, count) in [
        ("cache_read", *cache_read),
        ("cache_write", usage.total_cache_write()),
        ("cache_write_1h", *cache_write_1h),
        ("audio_input", *audio_input),
        ("image_input", *image_input),
        ("reasoning", *reasoning),
        ("audio_output", *audio_output),
        ("image_output", *image_output),
        ("web_searches", *web_searches),
    ] {
        add_some(f, &format!("answer.usage.{name}"), count.filter(|count| *count > 0));
    }
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
