//! Tools, the choice among them and the form of the answer, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{OWN, Side};
use crate::codec::fields::Fields;
use crate::codec::wire::wire;
use crate::common::{CustomTool, FunctionTool, Json, ResponseFormat, Str, ToolChoice};
use crate::error::ApiError;

/// A declaration as it stands.
pub(super) type Tool<'a> = &'a RawValue;

wire! {
    struct Declared<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Str<'a>,
        "description" => description: Option<Str<'a>>,
        "parameters" => parameters: Option<Json<'a>>,
        "strict" => strict: Option<bool>,
        "format" => format: Option<Json<'a>>,
    }

    struct Namespace<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Str<'a>,
        "tools" => tools: Vec<Tool<'a>>,
    }

    struct Choice<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Option<Str<'a>>,
        "mode" => mode: Option<Str<'a>>,
        "tools" => tools: Vec<Choice<'a>>,
    }

    struct Format<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Option<Str<'a>>,
        "description" => description: Option<Str<'a>>,
        "schema" => schema: Option<Json<'a>>,
        "strict" => strict: Option<bool>,
    }
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    r#type: Str<'a>,
}

fn kind(raw: Tool<'_>) -> Result<Str<'_>, ApiError> {
    Side::Client.read::<Kind<'_>>(raw).map(|kind| kind.r#type)
}

fn json(raw: &RawValue) -> Json<'_> {
    Json::parse(raw.get()).unwrap_or_default()
}

/// Reads a declaration. A namespace becomes its tools; one with tools that are no functions or custom ones stays whole.
pub(super) fn tool<'a>(raw: Tool<'a>, tools: &mut Vec<crate::common::Tool<'a>>) -> Result<(), ApiError> {
    let kind = kind(raw)?;
    match &*kind {
        "namespace" => {
            let Namespace { kind, name, tools: inner, rest } = Side::Client.read(raw)?;
            let from = tools.len();
            for raw in inner {
                match client_tool(raw, Some(&name))? {
                    Some(tool) => tools.push(tool),
                    None => {
                        tools.truncate(from);
                        break;
                    }
                }
            }
            match tools.get_mut(from) {
                Some(first) => {
                    // A description is a loss where there are no namespaces; a name is not, it is put before those of the tools.
                    let mark = if rest.is_empty() { "=namespace" } else { "namespace" };
                    let extras = match first {
                        crate::common::Tool::Function(tool) => &mut tool.extras,
                        crate::common::Tool::Custom(tool) => &mut tool.extras,
                        crate::common::Tool::Foreign { .. } => return Ok(()),
                    };
                    extras.push((mark.into(), Json::of(&Fields(&rest))));
                }
                None => tools.push(crate::common::Tool::Foreign { dialect: OWN, kind, raw: json(raw) }),
            }
        }
        _ => tools.push(match client_tool(raw, None)? {
            Some(tool) => tool,
            None => crate::common::Tool::Foreign { dialect: OWN, kind, raw: json(raw) },
        }),
    }
    Ok(())
}

fn client_tool<'a>(raw: Tool<'a>, namespace: Option<&Str<'a>>) -> Result<Option<crate::common::Tool<'a>>, ApiError> {
    let kind = kind(raw)?;
    if !matches!(&*kind, "function" | "custom") {
        return Ok(None);
    }
    let Declared { kind: _, name, description, parameters, strict, format, rest: extras } = Side::Client.read(raw)?;
    let namespace = namespace.cloned();
    Ok(Some(if kind == "function" {
        let tool = FunctionTool { name, description, parameters, strict, cache: None, namespace, extras };
        crate::common::Tool::Function(Box::new(tool))
    } else {
        crate::common::Tool::Custom(Box::new(CustomTool { name, description, format, namespace, extras }))
    }))
}

/// Reads `tool_choice`.
pub(super) fn choice(raw: &RawValue) -> Result<ToolChoice<'_>, ApiError> {
    let foreign = || ToolChoice::Foreign { dialect: OWN, raw: json(raw) };
    if raw.get().starts_with('"') {
        let word: Str<'_> = Side::Client.read(raw)?;
        return Ok(match &*word {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => foreign(),
        });
    }
    let Choice { kind, name, mode, tools, rest } = Side::Client.read(raw)?;
    let client_tool = |kind: &str| matches!(kind, "function" | "custom");
    Ok(match (&*kind, name) {
        ("allowed_tools", _)
            if rest.is_empty()
                && tools.iter().all(|tool| client_tool(&tool.kind) && tool.name.is_some() && tool.rest.is_empty()) =>
        {
            let names = tools.into_iter().filter_map(|tool| tool.name).collect();
            ToolChoice::Allowed { names, required: mode.is_some_and(|mode| mode == "required") }
        }
        (kind, Some(name)) if client_tool(kind) && rest.is_empty() => ToolChoice::Named(name),
        (_, _) => foreign(),
    })
}

/// Reads `text.format`.
pub(super) fn format(raw: &RawValue) -> Result<ResponseFormat<'_>, ApiError> {
    let Format { kind, name, description, schema, strict, rest } = Side::Client.read(raw)?;
    Ok(match (&*kind, schema) {
        ("text", None) if rest.is_empty() => ResponseFormat::Text,
        ("json_object", None) if rest.is_empty() => ResponseFormat::Json,
        ("json_schema", Some(schema)) if rest.is_empty() => {
            ResponseFormat::Schema { name, description, schema, strict }
        }
        (_, _) => ResponseFormat::Foreign { dialect: OWN, raw: json(raw) },
    })
}
