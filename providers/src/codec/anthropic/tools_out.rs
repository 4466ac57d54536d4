//! Tools and the choice among them, as they are written.

use std::borrow::Cow;

use serde::Serialize;

use super::OWN;
use super::block_out::CacheOut;
use super::marks::Marks;
use crate::catalogue::Traits;
use crate::codec::choice::{choice_told, flat_choice, forces};
use crate::codec::fields::Fields;
use crate::codec::schema::{object, structured};
use crate::common::{CustomTool, FunctionTool, Json, Losses, Request, Str, Tool, ToolChoice, flat_name};

/// Most tools of a request that may be strict.
const MOST_STRICT: usize = 20;

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ToolOut<'x> {
    Known {
        name: Box<str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<Str<'x>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        input_schema: Option<Json<'x>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheOut<'x>>,
        #[serde(flatten)]
        extras: Fields<'x, 'x>,
    },
    Raw(&'x Json<'x>),
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ChoiceOut<'x> {
    Known {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'x, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        disable_parallel_tool_use: Option<bool>,
    },
    Raw(&'x Json<'x>),
}

/// Writes the tools. Where only some are allowed, the others are not told of: that says the same.
pub(super) fn tools_out<'x>(
    request: &'x Request<'_>,
    own: bool,
    marks: &mut Marks,
    losses: &mut Losses,
) -> Vec<ToolOut<'x>> {
    let allowed = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => Some(names),
        _ => None,
    };
    let may = |name: &Str<'_>| allowed.is_none_or(|names| names.contains(name));
    let mut strict = 0;
    let mut out = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        match tool {
            Tool::Function(tool) if may(&tool.name) => {
                if !own {
                    losses.note_extras("tools.", &tool.extras);
                }
                out.push(function(tool, own, &mut strict, marks, losses));
            }
            Tool::Custom(tool) if may(&tool.name) => out.push(custom(tool, losses)),
            Tool::Function(_) | Tool::Custom(_) => {}
            Tool::Foreign { dialect, raw, .. } if *dialect == OWN => out.push(ToolOut::Raw(raw)),
            Tool::Foreign { kind, .. } => losses.note_foreign("tools.", kind),
        }
    }
    out
}

fn function<'x>(
    tool: &'x FunctionTool<'_>,
    own: bool,
    strict_tools: &mut usize,
    marks: &mut Marks,
    losses: &mut Losses,
) -> ToolOut<'x> {
    let FunctionTool { name, description, parameters, strict, cache, namespace, extras } = tool;
    let strict = if own {
        *strict
    } else {
        *strict_tools += usize::from(*strict == Some(true));
        losses.note_if(*strict == Some(true) && *strict_tools > MOST_STRICT, "tools.strict");
        strict.filter(|strict| *strict && *strict_tools <= MOST_STRICT)
    };
    ToolOut::Known {
        name: flat_name(namespace.as_deref(), name).into(),
        description: description.as_ref().map(Str::borrowed),
        input_schema: match parameters {
            parameters if own => parameters.as_ref().map(Json::borrowed),
            Some(parameters) if strict == Some(true) => Some(structured(&object(Some(parameters)), None)),
            parameters => Some(object(parameters.as_ref())),
        },
        strict,
        cache_control: marks.take(cache.as_ref(), "tools.cache", losses),
        extras: if own { Fields(extras) } else { Fields::default() },
    }
}

fn custom<'x>(tool: &'x CustomTool<'_>, losses: &mut Losses) -> ToolOut<'x> {
    losses.note_extras("tools.", &tool.extras);
    losses.note_if(tool.format.as_ref().is_some_and(|format| format.to_value()["type"] != "text"), "tools.format");
    let FunctionTool { name, description, parameters, namespace, .. } = tool.as_function();
    ToolOut::Known {
        name: flat_name(namespace.as_deref(), &name).into(),
        description,
        input_schema: parameters,
        strict: None,
        cache_control: None,
        extras: Fields::default(),
    }
}

/// Writes the choice. Without tools there is nothing to choose, and Anthropic refuses to.
pub(super) fn choice_out<'x>(
    request: &'x Request<'_>,
    own: bool,
    traits: &Traits,
    tools: bool,
    losses: &mut Losses,
) -> Option<ChoiceOut<'x>> {
    let disable = match request.parallel_tool_calls {
        Some(parallel) if own || !parallel => Some(!parallel),
        Some(_) | None => None,
    };
    let choice = choice_told(request, OWN, losses);
    if !tools && !own {
        return None;
    }
    let known = |kind, name| Some(ChoiceOut::Known { r#type: kind, name, disable_parallel_tool_use: disable });
    match choice {
        Some(ToolChoice::Auto) => known("auto", None),
        // Nothing is called, so nothing in parallel; the field is refused beside it.
        Some(ToolChoice::None) => {
            Some(ChoiceOut::Known { r#type: "none", name: None, disable_parallel_tool_use: disable.filter(|_| own) })
        }
        Some(choice) if !own && traits.refuses_forced_tool && forces(choice) => {
            losses.note("tool_choice");
            known("auto", None)
        }
        Some(ToolChoice::Required) => known("any", None),
        Some(ToolChoice::Named(name)) => known("tool", Some(flat_choice(request, name))),
        Some(ToolChoice::Allowed { names: _, required }) => known(if *required { "any" } else { "auto" }, None),
        Some(ToolChoice::Foreign { dialect, raw }) if *dialect == OWN => Some(ChoiceOut::Raw(raw)),
        Some(ToolChoice::Foreign { .. }) => {
            losses.note("tool_choice");
            disable.and_then(|_| known("auto", None))
        }
        None => disable.and_then(|_| known("auto", None)),
    }
}
