//! A request for a provider.

use serde::Serialize;

use super::super::{Platform, Target, refers_to_nothing};
use super::extras::{Beside, find};
use super::part_out::{Reader, Writer};
use super::settings_out::{self, Generation, ToolConfig};
use super::write::{Content, Piece};
use crate::common::{
    Block, CacheConfig, Content as Said, FunctionTool, Json, Losses, Message, Request, Role, Setting, Str, Tool,
    flat_name,
};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};

const OWN: Dialect = Dialect::Gemini;
/// What Gemini has no word for.
const UNSAID: &[Setting] = &[
    Setting::ParallelToolCalls,
    Setting::Verbosity,
    Setting::User,
    Setting::Cache,
    Setting::CacheRetention,
    Setting::CacheKey,
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'o> {
    contents: Vec<Content<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tools<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<Generation<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'o Json<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<Str<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(flatten)]
    beside: Beside<'o>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Tools<'o> {
    Functions {
        #[serde(rename = "functionDeclarations")]
        functions: Vec<Function<'o>>,
    },
    Raw(&'o Json<'o>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Function<'o> {
    name: Str<'o>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Str<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Json<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Json<'o>>,
    #[serde(flatten)]
    beside: Beside<'o>,
}

/// Writes the body.
pub(super) fn encode(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let Request {
        dialect,
        // Model and streaming are in the path, and usage comes unasked.
        model: _,
        stream: _,
        include_usage: _,
        system: _,
        messages: _,
        tools,
        tool_choice: _,
        parallel_tool_calls: _,
        response_format: _,
        reasoning: _,
        max_tokens: _,
        temperature: _,
        top_p: _,
        top_k: _,
        seed: _,
        presence_penalty: _,
        frequency_penalty: _,
        stop: _,
        n: _,
        logprobs: _,
        top_logprobs: _,
        modalities: _,
        audio: _,
        verbosity: _,
        service_tier,
        user: _,
        metadata,
        cache: CacheConfig { automatic: _, key: _, retention: _, content },
        store,
        previous: _,
        goes_on: _,
        extras,
    } = request;
    refers_to_nothing(request, OWN)?;
    let own = *dialect == OWN;
    let vertex = target.platform == Platform::Vertex;
    request.note(UNSAID, losses);
    if !own {
        request.note(&[Setting::Store], losses);
        losses.note_extras("", extras);
    }
    let labels = metadata.as_ref().filter(|metadata| own || (vertex && fit_for_labels(metadata)));
    if labels.is_none() {
        request.note(&[Setting::Metadata], losses);
    }
    let reader = Reader::Provider { tag: target.provider, gemini_3: target.traits.gemini_3, vertex };
    let mut writer = Writer::new(reader, own, losses);
    let (contents, system_instruction) = conversation(request, &mut writer);
    losses.leave_every_message()?;
    let body = Body {
        contents,
        system_instruction,
        tools: tools_of(tools, own, losses),
        tool_config: settings_out::tool_config(request, losses),
        generation_config: settings_out::generation(request, target, losses),
        cached_content: content.as_deref(),
        labels,
        service_tier: service_tier.as_ref().and_then(|tier| settings_out::tier(tier, request, vertex, losses)),
        store: store.filter(|_| own),
        beside: if own { Beside::of(extras, "") } else { Beside::default() },
    };
    serde_json::to_vec(&body)
        .map_err(|_| ApiError::new(ErrorKind::Internal, "the request could not be written for its provider"))
}

type Conversation<'o> = (Vec<Content<'o>>, Option<Content<'o>>);

fn conversation<'o>(request: &'o Request<'_>, writer: &mut Writer<'o, '_>) -> Conversation<'o> {
    let mut contents = Vec::with_capacity(request.messages.len());
    let mut instructions = Vec::new();
    request.instructions().for_each(|block| writer.block(block, &mut instructions));
    if writer.own {
        let current = current(request.messages.iter().map(|message| (message.role, &*message.blocks)));
        for (at, message) in request.messages.iter().enumerate().filter(|(_, message)| !message.role.instructs()) {
            contents.push(own_content(message, at >= current, writer));
        }
    } else {
        let turns = request.turns();
        for message in &request.messages {
            writer.losses.note_extras("messages.", &message.extras);
            writer.losses.note_if(message.name.is_some(), "messages.name");
        }
        let current = turns.iter().rposition(|turn| turn.role == Role::User && turn.blocks().any(asks));
        for (at, turn) in turns.iter().enumerate() {
            writer.must_sign = turn.role == Role::Assistant && current.is_none_or(|current| at > current);
            let (mut results, mut parts) = (Vec::new(), Vec::new());
            for block in turn.blocks() {
                match &block.content {
                    // Results stand directly behind their calls, whatever else the user says.
                    Said::ToolResult(result) => {
                        writer.losses.note_if(block.cache.is_some(), "messages.cache");
                        writer.losses.note_extras("messages.", &block.extras);
                        results.push(writer.result(result, &block.extras, &mut parts));
                    }
                    _ => writer.block(block, &mut parts),
                }
            }
            results.append(&mut parts);
            if results.is_empty() && turn.role == Role::User {
                writer.losses.note_message(turn.blocks());
            }
            if !results.is_empty() {
                contents.push(content(if turn.role == Role::Assistant { "model" } else { "user" }, results));
            }
        }
        // Nothing but instructions is a prompt elsewhere; here there must be a turn of the user.
        if contents.is_empty() && !instructions.is_empty() {
            contents.push(content("user", std::mem::take(&mut instructions)));
        }
    }
    let kept = find(&request.extras, "=systemInstruction.role").filter(|_| writer.own);
    let beside = if writer.own { Beside::of(&request.extras, "systemInstruction.") } else { Beside::default() };
    let system = (!instructions.is_empty() || kept.is_some()).then(|| Content {
        parts: instructions,
        role: kept.and_then(|role| role.read().ok()),
        beside,
    });
    (contents, system)
}

/// Where the current turn begins: the last message in which the user says something that is no result of a tool.
fn current<'m>(messages: impl DoubleEndedIterator<Item = (Role, &'m [Block<'m>])> + ExactSizeIterator) -> usize {
    let mut messages = messages.enumerate();
    let asked = messages.rfind(|(_, (role, blocks))| *role == Role::User && blocks.iter().any(asks));
    asked.map_or(0, |(at, _)| at)
}

fn asks(block: &Block<'_>) -> bool {
    !matches!(block.content, Said::ToolResult(_))
}

fn content<'o>(role: &'static str, parts: Vec<Piece<'o>>) -> Content<'o> {
    Content { parts, role: Some(role.into()), beside: Beside::default() }
}

/// A message of a client that speaks this dialect stays one.
fn own_content<'o>(message: &'o Message<'_>, current: bool, writer: &mut Writer<'o, '_>) -> Content<'o> {
    let Message { role, blocks, name: _, id: _, extras } = message;
    writer.must_sign = current && *role == Role::Assistant;
    let mut parts = Vec::with_capacity(blocks.len());
    blocks.iter().for_each(|block| writer.block(block, &mut parts));
    let role = match find(extras, "=role") {
        Some(kept) => kept.read().ok(),
        None => Some(if *role == Role::Assistant { "model" } else { "user" }.into()),
    };
    Content { parts, role, beside: Beside::of(extras, "") }
}

/// All functions in one object, at the place of the first; tools of Google's as they came.
fn tools_of<'o>(tools: &'o [Tool<'_>], own: bool, losses: &mut Losses) -> Vec<Tools<'o>> {
    let mut written: Vec<Tools<'o>> = Vec::new();
    for tool in tools {
        let function = match tool {
            Tool::Function(tool) => function(tool, own, losses),
            Tool::Custom(tool) => {
                losses.note_if(
                    tool.format.as_ref().is_some_and(|format| format.to_value()["type"] != "text"),
                    "tools.format",
                );
                losses.note_extras("tools.", &tool.extras);
                let FunctionTool { name, description, parameters, namespace, .. } = tool.as_function();
                Function {
                    name: flat(&name, namespace.as_ref()),
                    description,
                    parameters: None,
                    parameters_json_schema: parameters,
                    beside: Beside::default(),
                }
            }
            Tool::Foreign { dialect: OWN, raw, .. } => {
                written.push(Tools::Raw(raw));
                continue;
            }
            Tool::Foreign { kind, .. } => {
                losses.note_foreign("tools.", kind);
                continue;
            }
        };
        let functions = written.iter_mut().find_map(|tools| match tools {
            Tools::Functions { functions } => Some(functions),
            Tools::Raw(_) => None,
        });
        match functions {
            Some(functions) => functions.push(function),
            None => written.push(Tools::Functions { functions: vec![function] }),
        }
    }
    written
}

fn function<'o>(tool: &'o FunctionTool<'_>, own: bool, losses: &mut Losses) -> Function<'o> {
    let FunctionTool { name, description, parameters, strict, cache, namespace, extras } = tool;
    // Arguments are held to the schema only where a call is demanded.
    losses.note_if(*strict == Some(true), "tools.strict");
    losses.note_if(cache.is_some(), "tools.cache");
    if !own {
        losses.note_extras("tools.", extras);
    }
    let openapi = find(extras, "=parameters").filter(|_| own).map(Json::borrowed);
    Function {
        name: flat(name, namespace.as_ref()),
        description: description.as_ref().map(Str::borrowed),
        parameters_json_schema: parameters.as_ref().filter(|_| openapi.is_none()).map(Json::borrowed),
        parameters: openapi,
        beside: if own { Beside::of(extras, "") } else { Beside::default() },
    }
}

/// A tool's name with its namespace.
fn flat<'o>(name: &Str<'o>, namespace: Option<&Str<'_>>) -> Str<'o> {
    match namespace {
        None => name.clone(),
        Some(namespace) => flat_name(Some(namespace), name).into_owned().into(),
    }
}

/// <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-labels-to-api-calls>: small letters, digits,
/// lines; at most 63 of them.
fn fit_for_labels(metadata: &Json<'_>) -> bool {
    let fits = |text: &str| {
        text.len() <= 63 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let labels = metadata.read::<std::collections::BTreeMap<Str<'_>, Str<'_>>>();
    labels.is_ok_and(|labels| {
        labels.len() <= 64
            && labels.iter().all(|(key, value)| {
                fits(key) && fits(value) && key.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
            })
    })
}
