//! The tools of a request and the choice among them.

use super::request_in::Body;
use super::wire::{CacheControl, Raw, keep, read};
use super::{OWN, remember};
use crate::codec::wire::wire;
use crate::common::{CacheMark, CustomTool, FunctionTool, Json, Request, Str, Tool, ToolChoice};

wire! {
    struct ToolWire<'a> {
        "type" => kind: Option<Str<'a>>,
        "function" => function: Option<FunctionWire<'a>>,
        "custom" => custom: Option<CustomWire<'a>>,
        "cache_control" => cache_control: Option<CacheControl<'a>>,
    }

    struct FunctionWire<'a> {
        "name" => name: Option<Str<'a>>,
        "description" => description: Option<Str<'a>>,
        "parameters" => parameters: Option<Raw<'a>>,
        "strict" => strict: Option<bool>,
        "type" => kind: Option<Str<'a>>,
        "cache_control" => cache_control: Option<CacheControl<'a>>,
    }

    struct CustomWire<'a> {
        "name" => name: Option<Str<'a>>,
        "description" => description: Option<Str<'a>>,
        "format" => format: Option<Raw<'a>>,
        "type" => kind: Option<Str<'a>>,
    }

    struct ChoiceWire<'a> {
        "type" => kind: Option<Str<'a>>,
        "name" => name: Option<Str<'a>>,
        "function" => function: Option<Named<'a>>,
        "custom" => custom: Option<Named<'a>>,
        "allowed_tools" => allowed_tools: Option<AllowedWire<'a>>,
    }

    struct Named<'a> {
        "name" => name: Option<Str<'a>>,
    }

    struct AllowedWire<'a> {
        "mode" => mode: Option<Str<'a>>,
        "tools" => tools: Vec<ChoiceWire<'a>>,
    }
}

/// Reads tools and choice, also in the words of before `tools` and in the flat shape of Responses.
pub(super) fn read_tools<'a>(wire: &mut Body<'a>, request: &mut Request<'a>) {
    request.tools.extend(std::mem::take(&mut wire.tools).into_iter().map(read_tool));
    let functions = std::mem::take(&mut wire.functions);
    if !functions.is_empty() {
        remember(&mut request.extras, "functions", Json::of(&request.tools.is_empty()));
    }
    request.tools.extend(functions.into_iter().map(|raw| match read::<FunctionWire<'_>>(raw) {
        Some(function) => Tool::Function(Box::new(function_tool(function, Vec::new(), None))),
        None => foreign(raw, "function".into()),
    }));
    request.tool_choice = wire.tool_choice.or(wire.function_call).map(read_choice);
    if let Some(raw) = wire.tool_choice
        && raw.get() == "\"any\""
    {
        remember(&mut request.extras, "tool_choice", keep(raw));
    }
}

fn foreign<'a>(raw: Raw<'a>, kind: Str<'a>) -> Tool<'a> {
    Tool::Foreign { dialect: OWN, kind, raw: keep(raw) }
}

fn read_tool(raw: Raw<'_>) -> Tool<'_> {
    let Some(tool) = read::<ToolWire<'_>>(raw) else { return foreign(raw, Str::default()) };
    let cache = tool.cache_control.map(CacheMark::from);
    match (tool.kind.as_deref(), tool.function, tool.custom) {
        // Some clients leave the type out.
        (Some("function") | None, Some(function), None) => {
            Tool::Function(Box::new(function_tool(function, tool.rest, cache)))
        }
        (Some("custom"), None, Some(custom)) if custom.name.is_some() => {
            Tool::Custom(Box::new(custom_tool(custom, tool.rest)))
        }
        (Some("function"), None, None) => match read::<FunctionWire<'_>>(raw) {
            Some(flat) if flat.name.is_some() => Tool::Function(Box::new(function_tool(flat, Vec::new(), cache))),
            Some(_) | None => foreign(raw, "function".into()),
        },
        (Some("custom"), None, None) => match read::<CustomWire<'_>>(raw) {
            Some(flat) if flat.name.is_some() => Tool::Custom(Box::new(custom_tool(flat, Vec::new()))),
            Some(_) | None => foreign(raw, "custom".into()),
        },
        (_, _, _) => foreign(raw, tool.kind.unwrap_or_default()),
    }
}

/// `outer` are fields beside `function`; those within it get its name before theirs.
fn function_tool<'a>(
    function: FunctionWire<'a>,
    outer: crate::common::Extras<'a>,
    cache: Option<CacheMark<'a>>,
) -> FunctionTool<'a> {
    let FunctionWire { name, description, parameters, strict, kind: _, cache_control, rest } = function;
    let mut extras = outer;
    extras.extend(rest.into_iter().map(|(name, value)| (format!("function.{name}").into(), value)));
    FunctionTool {
        name: name.unwrap_or_default(),
        description,
        parameters: parameters.map(keep),
        strict,
        cache: cache.or(cache_control.map(CacheMark::from)),
        namespace: None,
        extras,
    }
}

fn custom_tool<'a>(custom: CustomWire<'a>, outer: crate::common::Extras<'a>) -> CustomTool<'a> {
    let CustomWire { name, description, format, kind: _, rest } = custom;
    let mut extras = outer;
    extras.extend(rest.into_iter().map(|(name, value)| (format!("custom.{name}").into(), value)));
    CustomTool { name: name.unwrap_or_default(), description, format: format.map(keep), namespace: None, extras }
}

fn read_choice(raw: Raw<'_>) -> ToolChoice<'_> {
    let foreign = || ToolChoice::Foreign { dialect: OWN, raw: keep(raw) };
    if let Some(word) = read::<Str<'_>>(raw) {
        return match &*word {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            // `any` is Mistral's word.
            "required" | "any" => ToolChoice::Required,
            _ => foreign(),
        };
    }
    let Some(choice) = read::<ChoiceWire<'_>>(raw) else { return foreign() };
    match (choice.kind.as_deref(), choice.allowed_tools) {
        (Some("allowed_tools"), Some(allowed)) => {
            let names: Vec<_> = allowed.tools.iter().map(named).collect();
            match names.into_iter().collect::<Option<Vec<_>>>() {
                Some(names) => ToolChoice::Allowed { names, required: allowed.mode.as_deref() == Some("required") },
                None => foreign(),
            }
        }
        (Some("function" | "custom") | None, None) => {
            let choice = ChoiceWire { allowed_tools: None, ..choice };
            named(&choice).map_or_else(foreign, ToolChoice::Named)
        }
        (_, _) => foreign(),
    }
}

/// The name in a choice: nested as here, or flat as in Responses and in `function_call`.
fn named<'a>(choice: &ChoiceWire<'a>) -> Option<Str<'a>> {
    let nested = choice.function.as_ref().or(choice.custom.as_ref()).and_then(|named| named.name.clone());
    nested.or_else(|| choice.name.clone())
}
