//! Tools and the choice among them, in a request.

use super::DIALECT;
use crate::codec::choice::choice_told;
use crate::common::{CustomTool, FunctionTool, Losses, Request, Tool, ToolChoice, flat_name};
use crate::json::{self, List, Object};

/// Writes the tools and the choice among them. A choice of some of them becomes a request that has only these.
pub(super) fn write(request: &Request<'_>, body: &mut Object<'_>, losses: &mut Losses) {
    let (own, tools) = (request.dialect == DIALECT, &request.tools);
    let choice = choice_told(request, DIALECT, losses);
    let is_among = |tool: &&Tool<'_>| match (choice, tool_name(tool)) {
        (Some(ToolChoice::Named(name)), Some(tool)) => *tool == **name,
        (Some(ToolChoice::Allowed { names, required: _ }), Some(tool)) => names.iter().any(|name| *tool == **name),
        (Some(ToolChoice::Named(_) | ToolChoice::Allowed { .. }), None) => false,
        (_, _) => true,
    };
    // What a client of this dialect chose of tools that there are not is left to the provider to complain about.
    let chosen = tools.iter().any(|tool| is_among(&tool));
    let tools = || tools.iter().filter(|tool| !chosen || is_among(tool));
    losses.note_if(!chosen && tools().next().is_some(), "tool_choice");
    if tools().any(|tool| is_sendable(tool)) {
        body.list("tools", |list| {
            for tool in tools() {
                write_tool(own, tool, list, losses);
            }
        });
    } else {
        for tool in tools() {
            if let Tool::Foreign { dialect: _, kind, raw: _ } = tool {
                losses.note_foreign("tools.", kind);
            }
        }
    }
    let strict = tools().filter_map(|tool| match tool {
        Tool::Function(tool) => Some(tool.strict),
        Tool::Custom(_) | Tool::Foreign { .. } => None,
    });
    // One switch for all of them.
    if let Some(first) = strict.clone().next() {
        if strict.clone().all(|one| one == first) {
            body.optional("strict_tools", first.as_ref());
        } else {
            losses.note_if(strict.clone().any(|one| one == Some(true)), "tools.strict");
        }
    }
    match choice {
        None | Some(ToolChoice::Auto | ToolChoice::Allowed { names: _, required: false }) => {}
        Some(ToolChoice::None) => body.field("tool_choice", "NONE"),
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { names: _, required: true }) => {
            body.field("tool_choice", "REQUIRED");
        }
        Some(ToolChoice::Foreign { dialect, raw }) if *dialect == DIALECT => body.field("tool_choice", raw),
        Some(ToolChoice::Foreign { dialect: _, raw: _ }) => losses.note("tool_choice"),
    }
}

fn tool_name<'t>(tool: &'t Tool<'_>) -> Option<&'t str> {
    match tool {
        Tool::Function(tool) => Some(&tool.name),
        Tool::Custom(tool) => Some(&tool.name),
        Tool::Foreign { .. } => None,
    }
}

fn is_sendable(tool: &Tool<'_>) -> bool {
    !matches!(tool, Tool::Foreign { dialect, .. } if *dialect != DIALECT)
}

fn write_tool(own: bool, tool: &Tool<'_>, list: &mut List<'_>, losses: &mut Losses) {
    match tool {
        Tool::Function(tool) => write_function(own, tool, list, losses),
        Tool::Custom(tool) => {
            let CustomTool { name: _, description: _, format, namespace: _, extras } = &**tool;
            let free = format.as_ref().is_none_or(|format| format.to_value()["type"] == "text");
            losses.note_if(!free, "tools.format");
            losses.note_extras("tools.", extras);
            write_function(own, &tool.as_function(), list, losses);
        }
        Tool::Foreign { dialect, kind: _, raw } if *dialect == DIALECT => {
            list.item().extend_from_slice(raw.get().as_bytes());
        }
        Tool::Foreign { dialect: _, kind, raw: _ } => losses.note_foreign("tools.", kind),
    }
}

fn write_function(own: bool, tool: &FunctionTool<'_>, list: &mut List<'_>, losses: &mut Losses) {
    let FunctionTool { name, description, parameters, strict: _, cache, namespace, extras } = tool;
    losses.note_if(cache.is_some(), "tools.cache");
    json::object(list.item(), |tool| {
        tool.field("type", "function");
        tool.object("function", |function| {
            function.field("name", &*flat_name(namespace.as_deref(), name));
            function.optional("description", description.as_ref());
            match parameters {
                Some(parameters) => function.field("parameters", parameters),
                None if own => {}
                None => function.object("parameters", |schema| {
                    schema.field("type", "object");
                    schema.object("properties", |_| {});
                }),
            }
            match own {
                true => function.extras(extras),
                false => losses.note_extras("tools.", extras),
            }
        });
    });
}
