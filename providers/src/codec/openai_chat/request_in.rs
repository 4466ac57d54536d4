//! A client's request: <https://platform.openai.com/docs/api-reference/chat/create>.

use super::parts::{Origin, read_content};
use super::wire::{CacheControl, Message as WireMessage, Raw, arguments, keep, read, thought_signature};
use super::{OWN, calls, reasoning, remember, settings_in, tools_in};
use crate::codec::wire::{TextOr, read_request, wire};
use crate::codec::{Call, codec};
use crate::common::{
    Block, CacheMark, Content, Media, MediaKind, MediaSource, Message, Request, Role, Str, ToolCall, ToolResult,
};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};

wire! {
    pub(super) struct Body<'a> {
        "model" => model: Str<'a>,
        "messages" => messages: Option<Vec<WireMessage<'a>>>,
        "input" => input: Option<Raw<'a>>,
        "stream" => stream: bool,
        "stream_options" => stream_options: Option<Raw<'a>>,
        "tools" => tools: Vec<Raw<'a>>,
        "functions" => functions: Vec<Raw<'a>>,
        "tool_choice" => tool_choice: Option<Raw<'a>>,
        "function_call" => function_call: Option<Raw<'a>>,
        "parallel_tool_calls" => parallel_tool_calls: Option<bool>,
        "response_format" => response_format: Option<Raw<'a>>,
        "reasoning_effort" => reasoning_effort: Option<Raw<'a>>,
        "reasoning" => reasoning: Option<Raw<'a>>,
        "thinking" => thinking: Option<Raw<'a>>,
        "max_tokens" => max_tokens: Option<u64>,
        "max_completion_tokens" => max_completion_tokens: Option<u64>,
        "temperature" => temperature: Option<f64>,
        "top_p" => top_p: Option<f64>,
        "top_k" => top_k: Option<Raw<'a>>,
        "seed" => seed: Option<Raw<'a>>,
        "presence_penalty" => presence_penalty: Option<f64>,
        "frequency_penalty" => frequency_penalty: Option<f64>,
        "stop" => stop: Option<Raw<'a>>,
        "n" => n: Option<u64>,
        "logprobs" => logprobs: Option<Raw<'a>>,
        "top_logprobs" => top_logprobs: Option<u64>,
        "modalities" => modalities: Option<Raw<'a>>,
        "audio" => audio: Option<Raw<'a>>,
        "verbosity" => verbosity: Option<Str<'a>>,
        "service_tier" => service_tier: Option<Str<'a>>,
        "user" => user: Option<Str<'a>>,
        "safety_identifier" => safety_identifier: Option<Str<'a>>,
        "metadata" => metadata: Option<Raw<'a>>,
        "store" => store: Option<bool>,
        "prompt_cache_key" => prompt_cache_key: Option<Str<'a>>,
        "prompt_cache_retention" => prompt_cache_retention: Option<Str<'a>>,
        "cache_control" => cache_control: Option<CacheControl<'a>>,
    }
}

pub(super) fn decode<'a>(body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError> {
    let mut wire: Body<'a> = read_request(body)?;
    let messages = match (wire.messages.take(), wire.input) {
        (Some(messages), _) => messages,
        // Cursor sends whole Responses bodies on this path.
        (None, Some(_)) => {
            let mut request = codec(Dialect::OpenAiResponses).decode_request(body, call)?;
            request.include_usage = settings_in::include_usage(wire.stream_options);
            return Ok(request);
        }
        (None, None) => {
            return Err(ApiError::new(ErrorKind::InvalidRequest, "the request has no messages").with_param("messages"));
        }
    };
    let mut request = Request::new(OWN);
    request.messages.reserve(messages.len());
    let mut legacy = 0;
    for message in messages {
        request.messages.push(read_message(message, &mut legacy)?);
    }
    tools_in::read_tools(&mut wire, &mut request);
    settings_in::read_settings(wire, &mut request);
    if request.model.is_empty()
        && let Some(model) = call.model
    {
        request.model = model.to_owned().into();
    }
    Ok(request)
}

/// `legacy` counts the calls of `function_call`, which have no ids: the result of the role `function` belongs to the last one.
fn read_message<'a>(mut wire: WireMessage<'a>, legacy: &mut usize) -> Result<Message<'a>, ApiError> {
    let mut message = Message { name: wire.name.take(), ..Message::default() };
    let cache = wire.cache_control.take().map(CacheMark::from);
    match &*wire.role {
        "tool" | "function" => {
            let call_id = match (wire.tool_call_id.take(), &*wire.role) {
                (Some(id), _) => id,
                (None, "function") => legacy_id(*legacy),
                (None, _) => Str::default(),
            };
            if wire.role == "function" {
                remember(&mut message.extras, "function", crate::common::Json::default());
            }
            let mut content = Vec::new();
            remember_list(&wire.content, &mut message);
            read_content(std::mem::take(&mut wire.content), Origin::Client, &mut content);
            let result = ToolResult { call_id, name: message.name.take(), content, ..ToolResult::default() };
            let block = Block { cache, ..Block::new(Content::ToolResult(Box::new(result))) };
            message.blocks.push(block);
        }
        role => {
            message.role = match role {
                "system" => Role::System,
                "developer" => Role::Developer,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => {
                    let error = ApiError::new(ErrorKind::InvalidRequest, "a message has an unknown role");
                    return Err(error.with_param("messages"));
                }
            };
            remember_list(&wire.content, &mut message);
            if message.role == Role::Assistant {
                read_assistant(&mut wire, &mut message, legacy);
            } else {
                read_content(std::mem::take(&mut wire.content), Origin::Client, &mut message.blocks);
            }
            if let Some(last) = message.blocks.last_mut() {
                last.cache = last.cache.take().or(cache);
            }
        }
    }
    message.extras.append(&mut wire.rest);
    Ok(message)
}

/// A list of one text is written as a list again.
fn remember_list(content: &TextOr<'_, Raw<'_>>, message: &mut Message<'_>) {
    if matches!(content, TextOr::List(list) if list.len() == 1) {
        remember(&mut message.extras, "content", crate::common::Json::default());
    }
}

fn read_assistant<'a>(wire: &mut WireMessage<'a>, message: &mut Message<'a>, legacy: &mut usize) {
    let origin = Origin::Client;
    let plain = reasoning::plain(wire.reasoning_content, wire.reasoning);
    for (name, raw) in [
        ("reasoning_content", wire.reasoning_content),
        ("reasoning", wire.reasoning),
        ("reasoning_details", wire.reasoning_details),
    ] {
        if raw.is_some() {
            remember(&mut message.extras, name, crate::common::Json::default());
        }
    }
    reasoning::read_whole(plain, wire.reasoning_details, origin, &mut message.blocks);
    let from = message.blocks.len();
    read_content(std::mem::take(&mut wire.content), origin, &mut message.blocks);
    if let Some(refusal) = wire.refusal.take().filter(|refusal| !refusal.is_empty()) {
        message.blocks.push(Block::new(Content::Refusal(refusal)));
    }
    message.blocks.extend(wire.audio.take().and_then(read_audio));
    message.blocks.extend(super::answer_in::read_images(wire.images.take()));
    for raw in std::mem::take(&mut wire.tool_calls) {
        message.blocks.push(calls::read_call(raw, origin).unwrap_or_else(|| calls::foreign_call(raw)));
    }
    if let Some(call) = wire.function_call.take() {
        *legacy += 1;
        let call = ToolCall {
            id: legacy_id(*legacy),
            name: call.name.unwrap_or_default(),
            arguments: arguments(call.arguments),
            ..ToolCall::default()
        };
        message.blocks.push(Block::new(Content::ToolCall(Box::new(call))));
        remember(&mut message.extras, "function_call", crate::common::Json::default());
    }
    let blocks = &mut message.blocks[from..];
    if let Some(annotations) = wire.annotations.take() {
        let (citations, others) = super::answer_in::read_annotations(annotations);
        match blocks.iter_mut().find_map(text_of_block) {
            Some(text) if others.is_empty() => text.citations = citations,
            _ => message.extras.push(("annotations".into(), keep(annotations))),
        }
    }
    let extra_content = wire.extra_content.take();
    let blocks = &mut message.blocks[from..];
    if let Some(signature) = thought_signature(extra_content, wire.thought_signature.take()) {
        super::answer_in::sign(blocks, origin.opaque(signature));
    } else if let Some(extra_content) = extra_content {
        message.extras.push(("extra_content".into(), keep(extra_content)));
    }
}

fn text_of_block<'b, 'a>(block: &'b mut Block<'a>) -> Option<&'b mut crate::common::Text<'a>> {
    match &mut block.content {
        Content::Text(text) => Some(text),
        _ => None,
    }
}

/// `{"id": "audio_…"}`: sound of an earlier answer, which OpenAI keeps.
fn read_audio(raw: Raw<'_>) -> Option<Block<'_>> {
    let audio: super::wire::Audio<'_> = read(raw)?;
    let media = Media {
        kind: MediaKind::Audio,
        source: match audio.data {
            Some(data) => MediaSource::Data(data),
            None => MediaSource::File(audio.id.clone()?),
        },
        transcript: audio.transcript,
        ..Media::default()
    };
    Some(Block { id: audio.id, extras: audio.rest, ..Block::new(Content::Media(Box::new(media))) })
}

fn legacy_id(number: usize) -> Str<'static> {
    format!("call_function_{number}").into()
}
