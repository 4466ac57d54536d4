//! Tools written.

use serde::Serialize;

use super::family::Family;
use super::request_out::uses_tools;
use super::{OWN, messages, nova, write};
use crate::catalogue::Traits;
use crate::codec::choice::{choice_told, flat_choice};
use crate::codec::schema::{object, structured};
use crate::common::{
    Content, CustomTool, Extras, FunctionTool, Json, Losses, Request, Str, Tool, ToolChoice, flat_name,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'r> {
    tools: Vec<Entry<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'r>>,
    #[serde(flatten)]
    extras: write::Fields<'r, 'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Entry<'r> {
    ToolSpec(Spec<'r>),
    CachePoint(write::CachePoint<'r>),
    #[serde(untagged)]
    Raw(Json<'r>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'r> {
    name: Str<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Str<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Schema<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(flatten)]
    extras: write::Fields<'r, 'r>,
}

#[derive(Serialize)]
struct Schema<'r> {
    json: Json<'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Choice<'r> {
    Auto {},
    Any {},
    Tool {
        name: Str<'r>,
    },
    #[serde(untagged)]
    Raw(Json<'r>),
}

/// The tools and the choice among them; `None` if there are none.
pub(super) fn write<'r>(
    request: &'r Request<'_>,
    own: bool,
    family: Family,
    traits: &Traits,
    extras: &'r Extras<'r>,
    losses: &mut Losses,
) -> Option<ToolConfig<'r>> {
    let mut choice = None;
    let mut only: Option<&[Str<'_>]> = None;
    if request.tool_choice == Some(ToolChoice::None) {
        // What is not there cannot be called. But a conversation with calls needs its tools declared.
        if !uses_tools(request) {
            return None;
        }
        losses.note("tool_choice");
    }
    match choice_told(request, OWN, losses) {
        None | Some(ToolChoice::None) => {}
        // Some models refuse to be told what they do anyway.
        Some(ToolChoice::Auto) => choice = own.then_some(Choice::Auto {}),
        Some(ToolChoice::Required) => choice = Some(Choice::Any {}),
        Some(ToolChoice::Named(name)) => choice = Some(Choice::Tool { name: flat_choice(request, name).into() }),
        Some(ToolChoice::Allowed { names, required }) => {
            only = Some(names);
            choice = required.then_some(Choice::Any {});
        }
        Some(ToolChoice::Foreign { dialect, raw }) if *dialect == OWN => choice = Some(Choice::Raw(raw.borrowed())),
        Some(ToolChoice::Foreign { .. }) => losses.note("tool_choice"),
    }
    if !own && traits.refuses_forced_tool {
        losses.note_if(choice.take().is_some(), "tool_choice");
    }
    let mut tools = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        let allowed = |name: &Str<'_>| only.is_none_or(|names| names.contains(name));
        match tool {
            Tool::Function(tool) if !allowed(&tool.name) => {}
            Tool::Custom(tool) if !allowed(&tool.name) => {}
            Tool::Function(tool) => function(tool, own, family, &mut tools, losses),
            Tool::Custom(tool) => tools.push(custom(tool, losses)),
            Tool::Foreign { dialect, raw, .. } if *dialect == OWN => tools.push(Entry::Raw(raw.borrowed())),
            Tool::Foreign { kind, .. } => losses.note_foreign("tools.", kind),
        }
    }
    if !own && !tools.iter().any(|tool| matches!(tool, Entry::ToolSpec(_))) {
        tools = called(request);
    }
    (!tools.is_empty() || !extras.is_empty()).then_some(ToolConfig {
        tools,
        tool_choice: choice,
        extras: write::Fields(extras),
    })
}

fn function<'r>(tool: &'r FunctionTool<'_>, own: bool, family: Family, out: &mut Vec<Entry<'r>>, losses: &mut Losses) {
    let FunctionTool { name, description, parameters, strict, cache, namespace, extras } = tool;
    let whole_schema = own && extras.iter().any(|(name, _)| name == "inputSchema");
    if !own {
        losses.note_extras("tools.", extras);
    }
    let mut schema = || match parameters {
        Some(parameters) if own => parameters.borrowed(),
        parameters if !own && family == Family::Amazon => nova::schema(parameters.as_ref(), losses),
        parameters if !own && *strict == Some(true) => structured(&object(parameters.as_ref()), None),
        parameters => object(parameters.as_ref()),
    };
    out.push(Entry::ToolSpec(Spec {
        name: flat_name(namespace.as_deref(), name).into(),
        description: description.as_ref().filter(|text| own || !text.trim().is_empty()).map(Str::borrowed),
        input_schema: (!whole_schema).then(|| Schema { json: schema() }),
        strict: strict.filter(|strict| own || *strict),
        extras: write::Fields(if own { extras } else { &[] }),
    }));
    match cache {
        Some(mark) if own || family.caches() => out.push(Entry::CachePoint(messages::cache_point(mark))),
        Some(_) => losses.note("tools.cache"),
        None => {}
    }
}

fn custom<'r>(tool: &'r CustomTool<'_>, losses: &mut Losses) -> Entry<'r> {
    let CustomTool { name: _, description: _, format, namespace: _, extras } = tool;
    losses.note_extras("tools.", extras);
    let grammar = format.as_ref().is_some_and(|format| format.to_value()["type"] != "text");
    losses.note_if(grammar, "tools.format");
    let FunctionTool { name, description, parameters, namespace, .. } = tool.as_function();
    Entry::ToolSpec(Spec {
        name: Str::from(flat_name(namespace.as_deref(), &name).into_owned()),
        description,
        input_schema: Some(Schema { json: parameters.unwrap_or_default() }),
        strict: None,
        extras: write::Fields(&[]),
    })
}

/// A conversation with calls is refused unless tools are declared: those that were called, if the client declares none any more.
fn called<'r>(request: &'r Request<'_>) -> Vec<Entry<'r>> {
    let mut tools: Vec<Entry<'r>> = Vec::new();
    for block in request.messages.iter().flat_map(|message| &message.blocks) {
        let Content::ToolCall(call) = &block.content else { continue };
        let name = Str::from(flat_name(call.namespace.as_deref(), &call.name));
        if !tools.iter().any(|tool| matches!(tool, Entry::ToolSpec(spec) if spec.name == name)) {
            let input_schema = Some(Schema { json: object(None) });
            let (description, strict, extras) = (None, None, write::Fields(&[][..]));
            tools.push(Entry::ToolSpec(Spec { name, description, input_schema, strict, extras }));
        }
    }
    tools
}
