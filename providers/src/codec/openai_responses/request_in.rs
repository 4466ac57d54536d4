//! Requests read. <https://platform.openai.com/docs/api-reference/responses/create>

use super::fields::{prefixed, remark};
use super::items_in::{self, Read};
use super::tools_in;
use super::wire::{Item, Raw};
use super::{OWN, Side};
use crate::codec::wire::{TextOr, read_request, wire};
use crate::common::{Block, Effort, Extras, Json, Message, ReasoningConfig, Request, Role, Str};
use crate::error::ApiError;

wire! {
    struct Body<'a> {
        "model" => model: Str<'a>,
        "input" => input: TextOr<'a, Item<'a>>,
        "instructions" => instructions: Option<Str<'a>>,
        "tools" => tools: Vec<tools_in::Tool<'a>>,
        "tool_choice" => tool_choice: Raw<'a>,
        "parallel_tool_calls" => parallel_tool_calls: Option<bool>,
        "text" => text: Option<TextConfig<'a>>,
        "reasoning" => reasoning: Option<Reasoning<'a>>,
        "include" => include: Vec<Str<'a>>,
        "max_output_tokens" => max_output_tokens: Option<u64>,
        "temperature" => temperature: Option<f64>,
        "top_p" => top_p: Option<f64>,
        "top_logprobs" => top_logprobs: Option<u64>,
        "stream" => stream: Option<bool>,
        "store" => store: Option<bool>,
        "previous_response_id" => previous: Option<Str<'a>>,
        "metadata" => metadata: Option<Json<'a>>,
        "user" => user: Option<Str<'a>>,
        "safety_identifier" => safety_identifier: Option<Str<'a>>,
        "prompt_cache_key" => cache_key: Option<Str<'a>>,
        "prompt_cache_retention" => cache_retention: Option<Str<'a>>,
        "service_tier" => service_tier: Option<Str<'a>>,
    }

    struct TextConfig<'a> {
        "format" => format: Raw<'a>,
        "verbosity" => verbosity: Option<Str<'a>>,
    }

    struct Reasoning<'a> {
        "effort" => effort: Option<Str<'a>>,
        "summary" => summary: Option<Str<'a>>,
        "generate_summary" => generate_summary: Option<Str<'a>>,
    }
}

/// Probabilities are asked for under this name.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";
/// Reasoning that can be sent back to a provider that keeps nothing.
pub(super) const ENCRYPTED: &str = "reasoning.encrypted_content";

pub(super) fn decode(body: &[u8]) -> Result<Request<'_>, ApiError> {
    let body: Body<'_> = read_request(body)?;
    let mut request = Request::new(OWN);
    request.extras = body.rest;
    for (name, value) in &mut request.extras {
        let idle = match &**name {
            "stream_options" => true,
            "truncation" => value.get() == "\"disabled\"",
            "background" => value.get() == "false",
            _ => false,
        };
        if idle {
            *name = format!("={}", &**name).into();
        }
    }
    request.model = body.model;
    request.stream = body.stream.unwrap_or(false);
    request.system.extend(body.instructions.map(Block::text));
    for tool in body.tools {
        tools_in::tool(tool, &mut request.tools)?;
    }
    match body.input {
        TextOr::Text(text) => request.messages.push(user(Block::text(text))),
        TextOr::List(items) => {
            request.messages.reserve_exact(items.len());
            items.into_iter().try_for_each(|item| read_item(item, &mut request))?;
        }
    }
    request.tool_choice = body.tool_choice.map(tools_in::choice).transpose()?;
    request.parallel_tool_calls = body.parallel_tool_calls;
    if let Some(TextConfig { format, verbosity, rest }) = body.text {
        request.response_format = format.map(tools_in::format).transpose()?;
        request.verbosity = verbosity;
        request.extras.extend(prefixed("text.", rest));
    }
    request.reasoning = body.reasoning.map(|reasoning| read_reasoning(reasoning, &mut request.extras));
    read_include(body.include, &mut request);
    request.max_tokens = body.max_output_tokens;
    request.temperature = body.temperature;
    request.top_p = body.top_p;
    request.top_logprobs = body.top_logprobs;
    request.store = body.store;
    request.previous = body.previous;
    request.metadata = body.metadata;
    request.service_tier = body.service_tier;
    request.cache.key = body.cache_key;
    request.cache.retention = body.cache_retention;
    match (body.safety_identifier, body.user) {
        (Some(identifier), user) => {
            request.user = Some(identifier);
            request.extras.push(remark("=safety_identifier"));
            request.extras.extend(user.map(|user| ("user".into(), Json::of(&user))));
        }
        (None, user) => request.user = user,
    }
    Ok(request)
}

fn user(block: Block<'_>) -> Message<'_> {
    Message { role: Role::User, blocks: vec![block], ..Message::default() }
}

fn read_item<'a>(item: Item<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    if item.kind == "additional_tools" {
        let tools: Vec<tools_in::Tool<'a>> = item.tools.map_or(Ok(Vec::new()), |raw| Side::Client.read(raw))?;
        return tools.into_iter().try_for_each(|tool| tools_in::tool(tool, &mut request.tools));
    }
    request.messages.push(match items_in::item(item, Side::Client)? {
        Read::Message { role, id, parts, logprobs: _, extras } => {
            Message { role, blocks: parts, name: None, id, extras }
        }
        Read::Block { role, block } => Message { role, blocks: vec![block], ..Message::default() },
    });
    Ok(())
}

fn read_reasoning<'a>(reasoning: Reasoning<'a>, extras: &mut Extras<'a>) -> ReasoningConfig<'a> {
    let Reasoning { effort, summary, generate_summary, rest } = reasoning;
    let level = effort.as_deref().and_then(Effort::parse);
    if let Some(word) = effort.filter(|_| level.is_none()) {
        extras.push(("reasoning.effort".into(), Json::of(&word)));
    }
    extras.extend(prefixed("reasoning.", rest));
    let summary = summary.or(generate_summary);
    let show = summary.as_ref().map(|_| true);
    ReasoningConfig { mode: None, effort: level, budget: None, summary, show }
}

fn read_include<'a>(mut include: Vec<Str<'a>>, request: &mut Request<'a>) {
    include.retain(|name| match &**name {
        LOGPROBS => {
            request.logprobs = Some(true);
            false
        }
        ENCRYPTED => {
            request.extras.push(remark("=encrypted"));
            false
        }
        _ => true,
    });
    if !include.is_empty() {
        request.extras.push(("include".into(), Json::of(&include)));
    }
}
