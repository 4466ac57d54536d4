//! Tools, the choice among them and the form of the answer, written.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};

use super::OWN;
use super::fields::{Writer, find};
use crate::codec::choice::{choice_told, is_told};
use crate::codec::strict::{strict, strict_answer};
use crate::common::{CustomTool, FunctionTool, Json, Losses, Request, ResponseFormat, Str, Tool, ToolChoice};
use crate::dialect::Dialect;

/// A request's tools, those of one namespace together.
pub(super) struct Tools<'b> {
    tools: &'b [Tool<'b>],
    from: Dialect,
}

/// Takes the tools, and notes what cannot be said of them.
pub(super) fn tools<'b>(request: &'b Request<'b>, losses: &mut Losses) -> Option<Tools<'b>> {
    let own = request.dialect == OWN;
    for tool in &request.tools {
        let extras = match tool {
            Tool::Function(tool) => {
                losses.note_if(tool.cache.is_some(), "tools.cache");
                losses.note_if(strict(tool, request.dialect) != tool.strict, "tools.strict");
                &tool.extras
            }
            Tool::Custom(tool) => &tool.extras,
            Tool::Foreign { dialect, kind, .. } => {
                if *dialect != OWN {
                    losses.note_foreign("tools.", kind);
                }
                continue;
            }
        };
        if !own {
            losses.note_extras("tools.", extras);
        }
    }
    let any = request.tools.iter().any(|tool| !matches!(tool, Tool::Foreign { dialect, .. } if *dialect != OWN));
    any.then_some(Tools { tools: &request.tools, from: request.dialect })
}

fn namespace<'t>(tool: &'t Tool<'_>) -> Option<&'t str> {
    match tool {
        Tool::Function(tool) => tool.namespace.as_deref(),
        Tool::Custom(tool) => tool.namespace.as_deref(),
        Tool::Foreign { .. } => None,
    }
}

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = |tool: &&Tool<'_>| !matches!(tool, Tool::Foreign { dialect, .. } if *dialect != OWN);
        let groups = self.tools.chunk_by(|a, b| namespace(a).is_some() && namespace(a) == namespace(b));
        serializer.collect_seq(groups.filter(|group| group.iter().any(|tool| said(&tool))).map(|tools| Group {
            tools,
            from: self.from,
            inside: false,
        }))
    }
}

/// Tools of one namespace, or one tool.
struct Group<'b> {
    tools: &'b [Tool<'b>],
    from: Dialect,
    inside: bool,
}

impl Serialize for Group<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { tools, from, inside } = *self;
        let Some(first) = tools.first() else { return serializer.serialize_none() };
        if let (Some(name), false) = (namespace(first), inside) {
            let mut group = Writer(serializer.serialize_map(None)?);
            group.put("type", "namespace")?;
            group.put("name", name)?;
            let extras = match first {
                Tool::Function(tool) => &tool.extras,
                Tool::Custom(tool) => &tool.extras,
                Tool::Foreign { .. } => return group.0.end(),
            };
            if let Some(Ok(Value::Object(rest))) = find(extras, "namespace").map(Json::read::<Value>) {
                for (name, value) in rest {
                    group.0.serialize_entry(&name, &value)?;
                }
            }
            let tools: Vec<_> = tools.chunks(1).map(|tools| Group { tools, from, inside: true }).collect();
            group.put("tools", &tools)?;
            return group.0.end();
        }
        match first {
            Tool::Function(tool) => write_function(tool, from, serializer),
            Tool::Custom(tool) => write_custom(tool, from == OWN, serializer),
            Tool::Foreign { raw, .. } => raw.serialize(serializer),
        }
    }
}

fn write_function<S: Serializer>(tool: &FunctionTool<'_>, from: Dialect, serializer: S) -> Result<S::Ok, S::Error> {
    let own = from == OWN;
    let FunctionTool { name, description, parameters, strict: _, cache: _, namespace: _, extras } = tool;
    let mut object = Writer(serializer.serialize_map(None)?);
    object.put("type", "function")?;
    object.put("name", name)?;
    object.opt("description", description.as_ref())?;
    match (parameters, own) {
        (Some(parameters), _) => object.put("parameters", parameters)?,
        (None, true) => {}
        (None, false) => object.put("parameters", &json!({"type": "object", "properties": {}}))?,
    }
    // Here a tool is strict unless it says otherwise; everywhere else it is not.
    object.opt("strict", strict(tool, from).or((!own).then_some(false)))?;
    write_extras(&mut object, extras, own)?;
    object.0.end()
}

fn write_custom<S: Serializer>(tool: &CustomTool<'_>, own: bool, serializer: S) -> Result<S::Ok, S::Error> {
    let CustomTool { name, description, format, namespace: _, extras } = tool;
    let mut object = Writer(serializer.serialize_map(None)?);
    object.put("type", "custom")?;
    object.put("name", name)?;
    object.opt("description", description.as_ref())?;
    match format {
        Some(format) if own => object.put("format", format)?,
        Some(format) => object.put("format", &flat_format(format))?,
        None => {}
    }
    write_extras(&mut object, extras, own)?;
    object.0.end()
}

fn write_extras<M: serde::ser::SerializeMap>(
    object: &mut Writer<M>,
    extras: &[(Str<'_>, Json<'_>)],
    own: bool,
) -> Result<(), M::Error> {
    for (name, value) in extras.iter().filter(|(name, _)| own && !name.starts_with('=') && *name != "namespace") {
        object.0.serialize_entry(name, value)?;
    }
    Ok(())
}

/// OpenAI Chat nests a grammar's fields, Responses does not.
fn flat_format(format: &Json<'_>) -> Value {
    let mut value = format.to_value();
    if let Some(Value::Object(grammar)) = value.get_mut("grammar").map(Value::take) {
        value = json!({"type": "grammar"});
        if let Some(object) = value.as_object_mut() {
            object.extend(grammar);
        }
    }
    value
}

/// `tool_choice`.
pub(super) fn choice(request: &Request<'_>, losses: &mut Losses) -> Option<Json<'static>> {
    let kind = |name: &str| {
        let custom = request.tools.iter().any(|tool| matches!(tool, Tool::Custom(tool) if *tool.name == *name));
        if custom { "custom" } else { "function" }
    };
    Some(match choice_told(request, OWN, losses)? {
        ToolChoice::Auto => Json::of(&"auto"),
        ToolChoice::None => Json::of(&"none"),
        ToolChoice::Required => Json::of(&"required"),
        ToolChoice::Named(name) => Json::of(&json!({"type": kind(name), "name": name})),
        ToolChoice::Allowed { names, required } => {
            let told = names.iter().filter(|name| request.dialect == OWN || is_told(request, name));
            let tools: Vec<_> = told.map(|name| json!({"type": kind(name), "name": name})).collect();
            let mode = if *required { "required" } else { "auto" };
            Json::of(&json!({"type": "allowed_tools", "mode": mode, "tools": tools}))
        }
        ToolChoice::Foreign { dialect: OWN, raw } => raw.clone().into_owned(),
        ToolChoice::Foreign { .. } => {
            losses.note("tool_choice");
            return None;
        }
    })
}

/// `text.format`; plain text is said only where the client said it.
pub(super) struct Format<'b> {
    format: &'b ResponseFormat<'b>,
    strict: Option<bool>,
}

pub(super) fn format<'b>(request: &'b Request<'b>, reference: bool, losses: &mut Losses) -> Option<Format<'b>> {
    match request.response_format.as_ref()? {
        ResponseFormat::Text if request.dialect != OWN => None,
        ResponseFormat::Foreign { dialect, .. } if *dialect != OWN => {
            losses.note("response_format");
            None
        }
        format => {
            let strict = match format {
                ResponseFormat::Schema { schema, strict, .. } => {
                    strict_answer(schema, *strict, request.dialect, reference, losses)
                }
                ResponseFormat::Text | ResponseFormat::Json | ResponseFormat::Foreign { .. } => None,
            };
            Some(Format { format, strict })
        }
    }
}

impl Serialize for Format<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let ResponseFormat::Foreign { raw, .. } = self.format {
            return raw.serialize(serializer);
        }
        let mut object = Writer(serializer.serialize_map(None)?);
        match self.format {
            ResponseFormat::Text | ResponseFormat::Foreign { .. } => object.put("type", "text")?,
            ResponseFormat::Json => object.put("type", "json_object")?,
            ResponseFormat::Schema { name, description, schema, strict: _ } => {
                object.put("type", "json_schema")?;
                object.put("name", name.as_deref().filter(|name| !name.is_empty()).unwrap_or("answer"))?;
                object.opt("description", description.as_ref())?;
                object.put("schema", schema)?;
                object.opt("strict", self.strict)?;
            }
        }
        object.0.end()
    }
}
