//! A provider's whole answer: <https://platform.openai.com/docs/api-reference/chat/object>.

use serde_json::Value;

use super::parts::{Origin, read_content, read_part};
use super::wire::{
    Annotation, Answer, Audio, Choice as WireChoice, Logprobs, Message, Raw, Token, arguments, is_filled, keep, read,
    text_of, thought_signature,
};
use super::{OF_MESSAGE, OWN, calls, mark, mark_choice, reasoning};
use crate::codec::Maker;
use crate::codec::wire::read_answer;
use crate::common::{
    Block, Choice, Citation, Content, Extras, Json, Media, MediaKind, MediaSource, Opaque, Response, Stop, StopReason,
    Str, Text, TokenLogprob, ToolCall,
};
use crate::dialect::Operation;
use crate::error::{ApiError, ErrorKind, decode_value};
use crate::usage::report::Report;
use crate::usage::tree::Tree;

pub(super) fn decode<'a>(body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
    let answer: Answer<'a> = read_answer(body)?;
    if let Some(error) = error_of(&answer) {
        return Err(error);
    }
    let Answer { id, model, created, choices, usage, service_tier, x_groq, rest, .. } = answer;
    let Some(choices) = choices else {
        return Err(ApiError::new(ErrorKind::UpstreamError, "the provider's answer has no choices"));
    };
    let mut response = Response::new(OWN);
    response.id = id.filter(|id| !id.is_empty());
    response.model = model.filter(|model| !model.is_empty());
    response.created = created.and_then(seconds);
    let report = read_usage(usage, x_groq);
    response.usage = report.and_then(|report| report.usage());
    response.service_tier = service_tier;
    response.extras = rest;
    response.extras.retain(|(_, value)| !value.is_null());
    mark(&mut response.extras);
    let mut made_up = 0;
    for choice in choices {
        response.choices.push(read_choice(choice, maker, &mut made_up)?);
    }
    Ok(response)
}

/// The error that an answer or chunk reports in spite of its status: OpenRouter's `error`, vLLM's `object: "error"`.
pub(super) fn error_of(answer: &Answer<'_>) -> Option<ApiError> {
    if let Some(raw) = answer.error.filter(|raw| is_filled(Some(raw))) {
        return Some(reported(raw));
    }
    let is_error = text_of(answer.object).is_some_and(|object| object == *"error");
    if is_error {
        let whole: serde_json::Map<String, Value> =
            answer.rest.iter().map(|(name, value)| (name.to_string(), value.to_value())).collect();
        return Some(decode_value(OWN, 200, &Value::Object(whole)));
    }
    None
}

fn reported(raw: Raw<'_>) -> ApiError {
    decode_value(OWN, 200, &read::<Value>(raw).unwrap_or_default())
}

/// The error of a single choice, and reasons that say that the answer failed.
pub(super) fn choice_error(error: Option<Raw<'_>>, finish_reason: Option<&str>) -> Option<ApiError> {
    if let Some(raw) = error.filter(|raw| is_filled(Some(raw))) {
        return Some(reported(raw));
    }
    match finish_reason {
        // Mistral and OpenRouter; Z.ai; DeepSeek.
        Some("error" | "network_error") => {
            Some(ApiError::new(ErrorKind::UpstreamError, "the provider failed in the middle of its answer"))
        }
        Some("insufficient_system_resource") => {
            Some(ApiError::new(ErrorKind::Overloaded, "the provider broke its answer off because it is overloaded"))
        }
        Some(_) | None => None,
    }
}

/// Some vendors write fractions of a second; Azure's first chunk says 0.
pub(super) fn seconds(raw: Raw<'_>) -> Option<u64> {
    let seconds = read::<f64>(raw)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (1.0..1e15).contains(&seconds).then_some(seconds as u64)
}

/// The usage, and Groq's copy of it.
pub(super) fn read_usage(usage: Option<Raw<'_>>, x_groq: Option<Raw<'_>>) -> Option<Report> {
    let report = |value: &Tree<'_>| Report::read(OWN, Operation::Chat, value);
    let stated = usage.filter(|raw| is_filled(Some(raw))).and_then(read).map(|value| report(&value));
    let groq = x_groq.and_then(read::<Tree<'_>>).filter(|groq| groq["usage"].is_object());
    stated.or_else(|| groq.map(|groq| report(&groq["usage"])))
}

fn read_choice<'a>(wire: WireChoice<'a>, maker: &Maker<'_>, made_up: &mut usize) -> Result<Choice<'a>, ApiError> {
    let WireChoice { index: _, message, delta, finish_reason, stop_reason, logprobs, error, rest } = wire;
    if let Some(error) = choice_error(error, finish_reason.as_deref()) {
        return Err(error);
    }
    let mut choice = Choice { extras: rest, ..Choice::default() };
    choice.extras.retain(|(_, value)| !value.is_null());
    if let Some(message) = message.or(delta) {
        read_message(*message, maker, &mut choice);
    }
    for block in &mut choice.blocks {
        if let Content::ToolCall(call) = &mut block.content
            && call.id.is_empty()
        {
            call.id = calls::made_up_id(maker.id_seed, *made_up);
            *made_up += 1;
        }
    }
    match logprobs.map(read_logprobs) {
        Some(Ok(logprobs)) => choice.logprobs = logprobs,
        Some(Err(raw)) => choice.extras.push(("logprobs".into(), raw)),
        None => {}
    }
    choice.blocks.iter_mut().for_each(|block| mark(&mut block.extras));
    let has_calls = choice.blocks.iter().any(|block| matches!(block.content, Content::ToolCall(_)));
    let refuses = choice.blocks.iter().any(|block| matches!(block.content, Content::Refusal(_)));
    choice.stop = refused(stop_of(finish_reason, stop_reason, has_calls), refuses);
    mark_choice(&mut choice.extras, &choice.stop);
    Ok(choice)
}

fn read_message<'a>(mut message: Message<'a>, maker: &Maker<'_>, choice: &mut Choice<'a>) {
    let origin = Origin::Provider(maker.provider);
    let blocks = &mut choice.blocks;
    let plain = reasoning::plain(message.reasoning_content, message.reasoning);
    reasoning::read_whole(plain, message.reasoning_details, origin, blocks);
    let from = blocks.len();
    read_content(std::mem::take(&mut message.content), origin, blocks);
    join_texts(blocks, from);
    let citations = message.annotations.map(read_annotations);
    if let Some((citations, others)) = citations {
        if !citations.is_empty() {
            cite(blocks, from, citations);
        }
        if !others.is_empty() {
            choice.extras.push((format!("{OF_MESSAGE}annotations").into(), Json::of(&others)));
        }
    }
    if let Some(refusal) = message.refusal.take().filter(|refusal| !refusal.is_empty()) {
        blocks.push(Block::new(Content::Refusal(refusal)));
    }
    blocks.extend(message.audio.and_then(read_audio));
    blocks.extend(read_images(message.images));
    for raw in std::mem::take(&mut message.tool_calls) {
        blocks.push(calls::read_call(raw, origin).unwrap_or_else(|| calls::foreign_call(raw)));
    }
    if let Some(call) = message.function_call.take() {
        let name = call.name.unwrap_or_default();
        let call = ToolCall { name, arguments: arguments(call.arguments), ..ToolCall::default() };
        blocks.push(Block::new(Content::ToolCall(Box::new(call))));
    }
    if let Some(signature) = thought_signature(message.extra_content, message.thought_signature) {
        sign(&mut blocks[from..], origin.opaque(signature));
    } else if let Some(raw) = message.extra_content {
        choice.extras.push((format!("{OF_MESSAGE}extra_content").into(), keep(raw)));
    }
    choice.extras.extend(of_message(message.rest));
}

/// Fields of a message among those of its choice.
pub(super) fn of_message(rest: Extras<'_>) -> impl Iterator<Item = (Str<'_>, Json<'_>)> {
    rest.into_iter()
        .filter(|(name, value)| *name != *"channel" && !value.is_null())
        .map(|(name, value)| (format!("{OF_MESSAGE}{name}").into(), value))
}

/// Mistral's lists of text parts are one text, as they are in its streams.
fn join_texts(blocks: &mut Vec<Block<'_>>, from: usize) {
    let mut at = from + 1;
    while at < blocks.len() {
        let (before, rest) = blocks.split_at_mut(at);
        match (before.last_mut().map(|block| &mut block.content), &rest[0].content) {
            (Some(Content::Text(text)), Content::Text(more)) => {
                text.text.push_str(&more.text);
                blocks.remove(at);
            }
            (Some(Content::Reasoning(one)), Content::Reasoning(more))
                if one.signature.is_none() && one.encrypted.is_none() && more.encrypted.is_none() =>
            {
                one.text.push_str(&more.text);
                one.signature.clone_from(&more.signature);
                blocks.remove(at);
            }
            (_, _) => at += 1,
        }
    }
}

/// Gives the sources to the text; to an empty one if there is none.
fn cite<'a>(blocks: &mut Vec<Block<'a>>, from: usize, citations: Vec<Citation<'a>>) {
    for block in &mut blocks[from..] {
        if let Content::Text(text) = &mut block.content {
            text.citations = citations;
            return;
        }
    }
    blocks.insert(from, Block::new(Content::Text(Text { citations, ..Text::default() })));
}

/// Puts a message's signature where the common model has one: on the text, else on the first call without its own.
pub(super) fn sign<'a>(blocks: &mut [Block<'a>], signature: Opaque<'a>) {
    for block in blocks.iter_mut() {
        if let Content::Text(text) = &mut block.content {
            text.signature = Some(signature);
            return;
        }
    }
    for block in blocks {
        if let Content::ToolCall(call) = &mut block.content {
            call.signature.get_or_insert(signature);
            return;
        }
    }
}

/// The sources, and the annotations that are none (OpenRouter's parsed files).
pub(super) fn read_annotations(raw: Raw<'_>) -> (Vec<Citation<'_>>, Vec<Json<'_>>) {
    let (mut citations, mut others) = (Vec::new(), Vec::new());
    for raw in read::<Vec<Raw<'_>>>(raw).unwrap_or_default() {
        let annotation = read::<Annotation<'_>>(raw).unwrap_or_default();
        match annotation.url_citation {
            Some(source) => citations.push(Citation {
                url: source.url,
                title: source.title,
                quote: source.content,
                span: source.start_index.zip(source.end_index),
                raw: Some((OWN, keep(raw))),
            }),
            None => others.push(keep(raw)),
        }
    }
    (citations, others)
}

/// Sound that the model made.
pub(super) fn read_audio(raw: Raw<'_>) -> Option<Block<'_>> {
    let audio: Audio<'_> = read(raw)?;
    let media = Media {
        kind: MediaKind::Audio,
        source: MediaSource::Data(audio.data.unwrap_or_default()),
        transcript: audio.transcript,
        ..Media::default()
    };
    Some(Block { id: audio.id, extras: audio.rest, ..Block::new(Content::Media(Box::new(media))) })
}

/// Pictures that the model made, as OpenRouter gives them.
pub(super) fn read_images(raw: Option<Raw<'_>>) -> Vec<Block<'_>> {
    let list = raw.and_then(read::<Vec<Raw<'_>>>).unwrap_or_default();
    let blocks = list.into_iter().map(|raw| read_part(raw, Origin::Client));
    blocks.filter(|block| matches!(block.content, Content::Media(_))).collect()
}

/// Both lists as one; a shape that is not OpenAI's is given back.
pub(super) fn read_logprobs(raw: Raw<'_>) -> Result<Vec<TokenLogprob<'_>>, Json<'_>> {
    match read::<Logprobs<'_>>(raw) {
        Some(logprobs) if logprobs.rest.is_empty() => {
            Ok(logprobs.content.into_iter().chain(logprobs.refusal).map(token).collect())
        }
        Some(_) | None => Err(keep(raw)),
    }
}

fn token(token: Token<'_>) -> TokenLogprob<'_> {
    TokenLogprob {
        token: token.token,
        logprob: token.logprob,
        bytes: token.bytes,
        top: token.top_logprobs.into_iter().map(self::token).collect(),
    }
}

/// OpenAI says of a refusal that the answer stopped; the message says the rest.
pub(super) fn refused(stop: Stop<'_>, refuses: bool) -> Stop<'_> {
    match stop.reason {
        StopReason::End if refuses => Stop { reason: StopReason::Refusal, ..stop },
        _ => stop,
    }
}

/// Why an answer ended. `stop_reason` is vLLM's: the stop sequence that was met.
pub(crate) fn stop_of<'a>(finish_reason: Option<Str<'a>>, stop_reason: Option<Raw<'a>>, has_calls: bool) -> Stop<'a> {
    let Some(word) = finish_reason else {
        return Stop::new(if has_calls { StopReason::ToolCalls } else { StopReason::End });
    };
    let sequence = stop_reason.filter(|raw| raw.get().starts_with('"')).and_then(|raw| text_of(Some(raw)));
    let (reason, exact) = match &*word {
        "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" if has_calls => (StopReason::ToolCalls, true),
        "stop" if sequence.is_some() => (StopReason::StopSequence, true),
        "stop" => (StopReason::End, true),
        "eos" | "eos_token" | "end_turn" => (StopReason::End, false),
        "stop_sequence" => (StopReason::StopSequence, false),
        "length" => (StopReason::MaxTokens, true),
        "max_tokens" => (StopReason::MaxTokens, false),
        "model_length" | "model_context_window_exceeded" => (StopReason::ContextWindow, false),
        "tool_calls" => (StopReason::ToolCalls, true),
        "function_call" => (StopReason::ToolCalls, true),
        "content_filter" => (StopReason::ContentFilter, true),
        "sensitive" => (StopReason::ContentFilter, false),
        "refusal" => (StopReason::Refusal, false),
        "malformed_function_call" => (StopReason::MalformedCall, false),
        _ => (StopReason::Other, false),
    };
    Stop { reason, sequence, detail: (!exact).then_some(word) }
}
