//! A request for Cohere, or for what imitates it.

use super::block_out::{self, Names, Writer, document_data, document_text, is_object};
use super::{DIALECT, tools_out};
use crate::codec::{Target, refers_to_nothing};
use crate::common::{
    Block, CacheConfig, Content, Effort, Losses, Media, MediaKind, Message, ReasoningConfig, ReasoningMode, Request,
    ResponseFormat, Role, Setting, ToolResult,
};
use crate::error::ApiError;
use crate::json::{self, List, Object};

const NAMES: Names = Names {
    place: "messages.",
    media: MediaKind::lost_in_message,
    reasoning: "messages.reasoning",
    signature: "messages.signature",
    cache: "messages.cache",
    misplaced: "messages.tool_call",
};

pub(super) fn encode(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    use Setting::{
        Audio, Cache, CacheKey, CacheRetention, Metadata, Modalities, N, ParallelToolCalls, Store, TopLogprobs, User,
        Verbosity,
    };
    let Request {
        dialect,
        model: _,
        stream,
        include_usage: _,
        system,
        messages,
        tools: _,
        tool_choice: _,
        parallel_tool_calls: _,
        response_format,
        reasoning: _,
        max_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        presence_penalty,
        frequency_penalty,
        stop,
        n: _,
        logprobs,
        top_logprobs: _,
        modalities: _,
        audio: _,
        verbosity: _,
        service_tier,
        user: _,
        metadata: _,
        cache: CacheConfig { automatic: _, key: _, retention: _, content: _ },
        store: _,
        previous: _,
        goes_on: _,
        extras,
    } = request;
    refers_to_nothing(request, DIALECT)?;
    let own = *dialect == DIALECT;
    let writer = Writer {
        own,
        is_answer: false,
        opaque: &|state| state.for_provider(DIALECT, target.provider).map(Into::into),
        names: &NAMES,
    };
    let mut out = Vec::with_capacity(4096);
    json::object(&mut out, |body| {
        body.field("model", target.model);
        if *stream {
            body.field("stream", &true);
        }
        body.list("messages", |list| {
            if !system.is_empty() {
                json::object(list.item(), |message| {
                    message.field("role", "system");
                    writer.content(system.iter(), message, losses);
                });
            }
            for run in request.runs(own) {
                write_messages(&writer, run, list, losses);
            }
        });
        write_documents(&writer, messages, body, losses);
        tools_out::write(request, body, losses);
        if let Some(format) = response_format {
            write_format(format, body, losses);
        }
        if let Some(reasoning) = target.asks(request, own, losses)
            && !(own && extras.iter().any(|(name, _)| name == "thinking"))
        {
            write_reasoning(reasoning, body, losses);
        }
        body.optional("max_tokens", max_tokens.as_ref());
        body.optional("temperature", temperature.as_ref());
        body.optional("p", top_p.as_ref());
        body.optional("k", top_k.as_ref());
        body.optional("seed", seed.as_ref());
        body.optional("presence_penalty", presence_penalty.as_ref());
        body.optional("frequency_penalty", frequency_penalty.as_ref());
        body.optional("stop_sequences", (!stop.is_empty()).then_some(stop));
        body.optional("logprobs", logprobs.as_ref());
        match own {
            true => body.extras(extras),
            false => losses.note_extras("", extras),
        }
    });
    losses.leave_every_message()?;
    request.note(&[ParallelToolCalls, N, TopLogprobs, Modalities, Audio, Verbosity], losses);
    losses.note_if(service_tier.as_deref().is_some_and(|tier| !matches!(tier, "auto" | "default")), "service_tier");
    request.note(&[User, Metadata, Cache, CacheRetention, CacheKey, Store], losses);
    Ok(out)
}

/// Writes the messages of a run, which become one, or several: each tool result is one of its own, before the rest.
fn write_messages(writer: &Writer<'_>, run: &[Message<'_>], list: &mut List<'_>, losses: &mut Losses) {
    let Some(Message { role, extras, .. }) = run.first() else { return };
    losses.note_if(run.iter().any(|message| message.name.is_some()), "messages.name");
    run.iter().skip(1).for_each(|other| losses.note_extras("messages.", &other.extras));
    let mut blocks: Vec<&Block<'_>> = Vec::new();
    for message in run {
        let said: Vec<&Block<'_>> = message.blocks.iter().collect();
        let says =
            |block: &&Block<'_>| block_out::says_something(block) || matches!(block.content, Content::ToolResult(_));
        if *role != Role::Assistant || writer.own || said.iter().any(says) {
            blocks.extend(said);
        } else {
            // A turn of nothing is refused; what it had is noted all the same.
            json::object(&mut Vec::new(), |nowhere| writer.assistant(&said, &message.extras, nowhere, losses));
        }
    }
    let write_extras = |object: &mut Object<'_>, losses: &mut Losses| match writer.own {
        true => object.extras(extras),
        false => losses.note_extras("messages.", extras),
    };
    for block in &blocks {
        if let Content::ToolResult(result) = &block.content {
            json::object(list.item(), |object| {
                write_result(writer, block, result, object, losses);
                if blocks.len() == 1 {
                    write_extras(object, losses);
                }
            });
        }
    }
    let rest = blocks.iter().copied().filter(|block| {
        let apart = *role != Role::Assistant && is_document(block);
        !apart && !matches!(block.content, Content::ToolResult(_))
    });
    if rest.clone().next().is_none() && !blocks.is_empty() {
        if blocks.len() > 1 {
            losses.note_extras("messages.", extras);
        }
        return;
    }
    if *role == Role::Assistant && !writer.own && blocks.is_empty() {
        return;
    }
    if *role == Role::User && !writer.own && !blocks.is_empty() {
        // What it had is noted all the same.
        let mut parts = 0;
        json::list(&mut Vec::new(), |nowhere| {
            parts = rest.clone().filter(|block| writer.part(block, nowhere, losses)).count();
        });
        if parts == 0 {
            return losses.note_message(rest);
        }
    }
    json::object(list.item(), |object| {
        object.field("role", role_name(*role));
        match role {
            Role::Assistant => writer.assistant(&blocks, extras, object, losses),
            Role::System | Role::Developer | Role::User => {
                writer.content(rest, object, losses);
                write_extras(object, losses);
            }
        }
    });
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

fn write_result(
    writer: &Writer<'_>,
    block: &Block<'_>,
    result: &ToolResult<'_>,
    message: &mut Object<'_>,
    losses: &mut Losses,
) {
    let Block { content: _, cache, id: _, extras } = block;
    let ToolResult { call_id, name: _, content, is_error, custom: _ } = result;
    losses.note_if(cache.is_some(), "messages.cache");
    losses.note_if(*is_error == Some(true), "messages.tool_result.error");
    if !writer.own {
        losses.note_extras("messages.", extras);
    }
    message.field("role", "tool");
    message.field("tool_call_id", call_id);
    let is_image =
        |block: &&Block<'_>| matches!(&block.content, Content::Media(media) if media.kind == MediaKind::Image);
    losses.note_if(content.iter().any(|block| is_image(&block)), "messages.tool_result.image");
    let said = content.iter().filter(|block| !is_image(block));
    if !content.iter().any(is_document) {
        // A tool that says nothing: the field must be there.
        match said.clone().next() {
            Some(_) => writer.content(said, message, losses),
            None => message.field("content", ""),
        }
        return;
    }
    message.list("content", |parts| {
        for block in said {
            match (&block.content, is_document(block)) {
                (Content::Media(media), true) => json::object(parts.item(), |part| {
                    part.field("type", "document");
                    let text = document_text(media);
                    losses.note_if(text.is_none(), "messages.document");
                    let text = text.unwrap_or_default();
                    part.object("document", |document| write_document(writer, block, media, &text, document, losses));
                }),
                _ => {
                    writer.part(block, parts, losses);
                }
            }
        }
    });
}

fn is_document(block: &Block<'_>) -> bool {
    matches!(&block.content, Content::Media(media) if block_out::is_document(media))
}

/// Documents stand beside the messages, wherever they were.
fn write_documents(writer: &Writer<'_>, messages: &[Message<'_>], body: &mut Object<'_>, losses: &mut Losses) {
    let users = messages.iter().filter(|message| message.role != Role::Assistant);
    let mut documents = users.flat_map(|message| &message.blocks).filter(|block| is_document(block)).peekable();
    if documents.peek().is_none() {
        return;
    }
    body.list("documents", |list| {
        for block in documents {
            let Content::Media(media) = &block.content else { continue };
            let Some(text) = document_text(media) else {
                losses.note("messages.document");
                continue;
            };
            let bare = media.name.is_none() && media.context.is_none() && block.extras.is_empty();
            let id = block.id.as_ref().filter(|_| writer.own);
            if bare && id.is_none() && !is_object(&text) {
                losses.note_if(block.cache.is_some(), "messages.cache");
                json::write(list.item(), &text);
            } else {
                json::object(list.item(), |document| write_document(writer, block, media, &text, document, losses));
            }
        }
    });
}

fn write_document(
    writer: &Writer<'_>,
    block: &Block<'_>,
    media: &Media<'_>,
    text: &str,
    document: &mut Object<'_>,
    losses: &mut Losses,
) {
    let Block { content: _, cache, id, extras } = block;
    losses.note_if(cache.is_some(), "messages.cache");
    losses.note_if(media.cite == Some(false), "messages.citations");
    losses.note_if(media.signature.is_some(), "messages.signature");
    document.optional("id", id.as_ref().filter(|_| writer.own));
    document_data(writer.own, text, media, document.key("data"));
    match writer.own {
        true => document.extras(extras),
        false => losses.note_extras("messages.", extras),
    }
}

fn write_format(format: &ResponseFormat<'_>, body: &mut Object<'_>, losses: &mut Losses) {
    match format {
        ResponseFormat::Text => body.object("response_format", |format| format.field("type", "text")),
        ResponseFormat::Json => body.object("response_format", |format| format.field("type", "json_object")),
        // Cohere has no place for its name, which means nothing, and keeps to the schema in any case.
        ResponseFormat::Schema { name: _, description, schema, strict: _ } => {
            losses.note_if(description.is_some(), "response_format.description");
            body.object("response_format", |format| {
                format.field("type", "json_object");
                format.field("json_schema", schema);
            });
        }
        ResponseFormat::Foreign { dialect, raw } if *dialect == DIALECT => body.field("response_format", raw),
        ResponseFormat::Foreign { dialect: _, raw: _ } => losses.note("response_format"),
    }
}

fn write_reasoning(reasoning: &ReasoningConfig<'_>, body: &mut Object<'_>, losses: &mut Losses) {
    let ReasoningConfig { mode, effort, budget, summary, show } = reasoning;
    // Cohere shows all of the reasoning, and neither sums it up nor hides it.
    losses.note_if(summary.is_some(), "reasoning.summary");
    losses.note_if(*show == Some(false), "reasoning.show");
    let budget = budget.or_else(|| effort.map(Effort::budget));
    let off = *mode == Some(ReasoningMode::Disabled) || (mode.is_none() && budget == Some(0));
    // As the model sees fit is what it does unasked.
    if off || *mode == Some(ReasoningMode::Enabled) || budget.is_some() {
        body.object("thinking", |thinking| {
            thinking.field("type", if off { "disabled" } else { "enabled" });
            thinking.optional("token_budget", budget.filter(|budget| !off && *budget > 0).as_ref());
        });
    }
}
