//! Tools, the choice among them, and the form of the answer.

use bounded_static::ToStatic;

use super::{CacheMark, Extras, Json, Str};
use crate::dialect::Dialect;

/// A tool that the model may use.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub enum Tool<'a> {
    /// Run by the client; its arguments follow a JSON Schema.
    Function(Box<FunctionTool<'a>>),
    /// Run by the client; its input is plain text.
    Custom(Box<CustomTool<'a>>),
    /// Run by the provider, or in a shape that only one dialect knows.
    Foreign {
        /// Which.
        dialect: Dialect,
        /// What it is called there (`web_search_20250305`, `file_search`, `googleSearch`).
        kind: Str<'a>,
        /// The whole declaration.
        raw: Json<'a>,
    },
}

/// The group of the tool that a name alone chooses: one that stands in no group comes first.
pub(crate) fn group_of<'t, 'a>(tools: &'t [Tool<'a>], chosen: &str) -> Option<&'t Str<'a>> {
    let groups = tools.iter().filter_map(|tool| match tool {
        Tool::Function(tool) if *tool.name == *chosen => Some(tool.namespace.as_ref()),
        Tool::Custom(tool) if *tool.name == *chosen => Some(tool.namespace.as_ref()),
        Tool::Function(_) | Tool::Custom(_) | Tool::Foreign { .. } => None,
    });
    groups.collect::<Option<Vec<_>>>()?.first().copied()
}

/// A function.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct FunctionTool<'a> {
    /// Its name.
    pub name: Str<'a>,
    /// What it does.
    pub description: Option<Str<'a>>,
    /// JSON Schema of its arguments, an object; `None`: it takes none.
    pub parameters: Option<Json<'a>>,
    /// Whether arguments must follow the schema exactly.
    pub strict: Option<bool>,
    /// The prompt up to here is to be kept in the provider's cache.
    pub cache: Option<CacheMark<'a>>,
    /// The group it belongs to (Responses).
    pub namespace: Option<Str<'a>>,
    /// Fields of the tool that have no place here.
    pub extras: Extras<'a>,
}

/// A tool whose input is plain text (OpenAI's `custom`).
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct CustomTool<'a> {
    /// Its name.
    pub name: Str<'a>,
    /// What it does.
    pub description: Option<Str<'a>>,
    /// OpenAI's `format`: free text, or a grammar.
    pub format: Option<Json<'a>>,
    /// The group it belongs to (Responses).
    pub namespace: Option<Str<'a>>,
    /// Fields of the tool that have no place here.
    pub extras: Extras<'a>,
}

impl CustomTool<'_> {
    /// The function that stands for it in dialects that know no custom tools: one string argument, `input`. The grammar, if
    /// there is one, is told in the description; the caller notes the loss of `tools.format`. Calls of it are turned back by
    /// [`Aliases`](super::Aliases).
    #[must_use]
    pub fn as_function(&self) -> FunctionTool<'_> {
        let mut description = self.description.as_deref().unwrap_or_default().to_owned();
        if let Some(format) = self.format.as_ref().filter(|format| format.to_value()["type"] != "text") {
            if !description.is_empty() {
                description.push_str("\n\n");
            }
            description.push_str("The input must follow this format: ");
            description.push_str(format.get());
        }
        let parameters = Json::parse(
            r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#,
        );
        FunctionTool {
            name: self.name.borrowed(),
            description: (!description.is_empty()).then(|| description.into()),
            parameters,
            namespace: self.namespace.as_ref().map(Str::borrowed),
            ..FunctionTool::default()
        }
    }
}

/// Which tools the model must use.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub enum ToolChoice<'a> {
    /// As it sees fit.
    Auto,
    /// None of them.
    None,
    /// At least one of them.
    Required,
    /// This one.
    Named(Str<'a>),
    /// Only these (OpenAI's `allowed_tools`, Gemini's `allowedFunctionNames`).
    Allowed {
        /// Their names.
        names: Vec<Str<'a>>,
        /// Whether one of them must be used.
        required: bool,
    },
    /// A choice that only one dialect knows.
    Foreign {
        /// Which.
        dialect: Dialect,
        /// The whole choice.
        raw: Json<'a>,
    },
}

/// The form of the answer's text.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub enum ResponseFormat<'a> {
    /// Any.
    Text,
    /// Some JSON object.
    Json,
    /// JSON after a schema.
    Schema {
        /// The schema's name, which OpenAI demands.
        name: Option<Str<'a>>,
        /// What it is for.
        description: Option<Str<'a>>,
        /// JSON Schema.
        schema: Json<'a>,
        /// Whether the answer must follow it exactly.
        strict: Option<bool>,
    },
    /// A form that only one dialect knows (grammars, enumerations).
    Foreign {
        /// Which.
        dialect: Dialect,
        /// The whole.
        raw: Json<'a>,
    },
}
