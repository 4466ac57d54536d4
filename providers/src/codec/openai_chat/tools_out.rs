//! Tools and the choice among them for a provider.

use std::borrow::Cow;

use serde::Serialize;

use super::OWN;
use super::part_out::{CacheOut, Fields};
use crate::codec::Target;
use crate::codec::choice::{flat_choice, is_told};
use crate::codec::strict::{strict, strict_answer};
use crate::common::{
    CustomTool, Extras, FunctionTool, Json, Losses, Request, ResponseFormat, Str, Tool, ToolChoice, flat_name,
};
use crate::dialect::Dialect;

/// A tool.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ToolOut<'r> {
    /// A function or custom tool.
    Known(Box<KnownTool<'r>>),
    /// As it was read.
    Raw(&'r Json<'r>),
}

#[derive(Serialize)]
pub(super) struct KnownTool<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<Declaration<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Declaration<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheOut<'r>>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

#[derive(Serialize)]
pub(super) struct Declaration<'r> {
    name: Cow<'r, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Cow<'r, Json<'r>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'r Json<'r>>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

/// Writes the tools.
pub(super) struct Tools<'w, 'r> {
    pub(super) from: Dialect,
    pub(super) own: bool,
    pub(super) reference: bool,
    /// As far as it can be told.
    pub(super) choice: Option<&'r ToolChoice<'r>>,
    pub(super) target: &'w Target<'w>,
}

impl<'r> Tools<'_, 'r> {
    pub(super) fn write(&self, request: &'r Request<'r>, losses: &mut Losses) -> Vec<ToolOut<'r>> {
        let mut out = Vec::with_capacity(request.tools.len());
        for tool in &request.tools {
            if !self.is_allowed(tool) {
                continue;
            }
            match tool {
                Tool::Function(tool) => out.push(ToolOut::Known(Box::new(self.function(tool, losses)))),
                Tool::Custom(tool) if self.own || self.reference => {
                    out.push(ToolOut::Known(Box::new(self.custom(tool, losses))))
                }
                Tool::Custom(tool) => {
                    let has_grammar = tool.format.as_ref().is_some_and(|format| format.to_value()["type"] != "text");
                    losses.note_if(has_grammar, "tools.format");
                    losses.note_extras("tools.", &tool.extras);
                    let FunctionTool { name, description, parameters, namespace, .. } = tool.as_function();
                    let function = Declaration {
                        name: flat_name(namespace.as_deref(), &name).into_owned().into(),
                        description: description.map(|text| text.into_string().into()),
                        parameters: parameters.map(|json| Cow::Owned(json.into_owned())),
                        strict: None,
                        format: None,
                        rest: Fields::default(),
                    };
                    out.push(ToolOut::Known(Box::new(KnownTool {
                        kind: "function",
                        function: Some(function),
                        custom: None,
                        cache_control: None,
                        rest: Fields::default(),
                    })));
                }
                Tool::Foreign { dialect, kind: _, raw } if *dialect == OWN => out.push(ToolOut::Raw(raw)),
                Tool::Foreign { dialect: _, kind, raw: _ } => losses.note_foreign("tools.", kind),
            }
        }
        out
    }

    /// Vendors that know no `allowed_tools` are told only of those tools.
    fn is_allowed(&self, tool: &Tool<'_>) -> bool {
        let Some(ToolChoice::Allowed { names, required: _ }) = self.choice else { return true };
        let name = match tool {
            Tool::Function(tool) => &tool.name,
            Tool::Custom(tool) => &tool.name,
            Tool::Foreign { .. } => return true,
        };
        self.own || self.reference || names.contains(name)
    }

    fn extras(&self, extras: &'r Extras<'r>, losses: &mut Losses) -> &'r [(Str<'r>, Json<'r>)] {
        if self.own {
            return extras;
        }
        losses.note_extras("tools.", extras);
        &[]
    }

    fn function(&self, tool: &'r FunctionTool<'r>, losses: &mut Losses) -> KnownTool<'r> {
        let FunctionTool { name, description, parameters, strict: wanted, cache, namespace, extras } = tool;
        let strict = strict(tool, self.from);
        losses.note_if(strict != *wanted, "tools.strict");
        let extras = self.extras(extras, losses);
        let may_cache = self.own || self.target.quirks.cache_control;
        losses.note_if(cache.is_some() && !may_cache, "tools.cache");
        // Some vendors demand a schema.
        let none = || (!self.own).then(|| Json::parse(r#"{"type":"object","properties":{}}"#)).flatten();
        let function = Declaration {
            name: flat_name(namespace.as_deref(), name),
            description: description.as_deref().map(Cow::Borrowed),
            parameters: parameters.as_ref().map(Cow::Borrowed).or_else(|| none().map(Cow::Owned)),
            strict,
            format: None,
            rest: Fields::inner(extras, "function."),
        };
        KnownTool {
            kind: "function",
            function: Some(function),
            custom: None,
            cache_control: cache.as_ref().filter(|_| may_cache).map(CacheOut::from),
            rest: Fields::outer(extras, "function."),
        }
    }

    fn custom(&self, tool: &'r CustomTool<'r>, losses: &mut Losses) -> KnownTool<'r> {
        let CustomTool { name, description, format, namespace, extras } = tool;
        let extras = self.extras(extras, losses);
        let custom = Declaration {
            name: flat_name(namespace.as_deref(), name),
            description: description.as_deref().map(Cow::Borrowed),
            parameters: None,
            strict: None,
            format: None,
            rest: Fields::inner(extras, "custom."),
        };
        let custom = Declaration { format: format.as_ref(), ..custom };
        KnownTool {
            kind: "custom",
            function: None,
            custom: Some(custom),
            cache_control: None,
            rest: Fields::outer(extras, "custom."),
        }
    }

    pub(super) fn choice(&self, request: &'r Request<'r>, losses: &mut Losses) -> Option<ChoiceOut<'r>> {
        Some(match self.choice? {
            ToolChoice::Auto => ChoiceOut::Word("auto"),
            ToolChoice::None => ChoiceOut::Word("none"),
            ToolChoice::Required => ChoiceOut::Word("required"),
            ToolChoice::Named(name) => ChoiceOut::Named(self.named(name, request)),
            ToolChoice::Allowed { names, required } if self.own || self.reference => ChoiceOut::Allowed(AllowedOut {
                kind: "allowed_tools",
                allowed_tools: AllowedTools {
                    mode: if *required { "required" } else { "auto" },
                    tools: names
                        .iter()
                        .filter(|name| self.own || is_told(request, name))
                        .map(|name| self.named(name, request))
                        .collect(),
                },
            }),
            ToolChoice::Allowed { names: _, required } => ChoiceOut::Word(if *required { "required" } else { "auto" }),
            ToolChoice::Foreign { dialect, raw } if *dialect == OWN => ChoiceOut::Raw(raw),
            ToolChoice::Foreign { .. } => {
                losses.note("tool_choice");
                return None;
            }
        })
    }

    fn named(&self, name: &'r Str<'r>, request: &'r Request<'r>) -> NamedOut<'r> {
        let custom = request.tools.iter().any(|tool| matches!(tool, Tool::Custom(tool) if tool.name == *name));
        let named = Name { name: flat_choice(request, name) };
        if custom && (self.own || self.reference) {
            NamedOut { kind: "custom", function: None, custom: Some(named) }
        } else {
            NamedOut { kind: "function", function: Some(named), custom: None }
        }
    }
}

/// The choice.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ChoiceOut<'r> {
    Word(&'static str),
    Named(NamedOut<'r>),
    Allowed(AllowedOut<'r>),
    Raw(&'r Json<'r>),
}

#[derive(Serialize)]
pub(super) struct NamedOut<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<Name<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Name<'r>>,
}

#[derive(Serialize)]
struct Name<'r> {
    name: Cow<'r, str>,
}

#[derive(Serialize)]
pub(super) struct AllowedOut<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    allowed_tools: AllowedTools<'r>,
}

#[derive(Serialize)]
struct AllowedTools<'r> {
    mode: &'static str,
    tools: Vec<NamedOut<'r>>,
}

/// The form of the answer: <https://platform.openai.com/docs/guides/structured-outputs>.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum FormatOut<'r> {
    Bare {
        #[serde(rename = "type")]
        kind: &'static str,
    },
    Schema {
        #[serde(rename = "type")]
        kind: &'static str,
        json_schema: SchemaOut<'r>,
    },
    Raw(&'r Json<'r>),
}

#[derive(Serialize)]
pub(super) struct SchemaOut<'r> {
    name: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'r str>,
    schema: &'r Json<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// Writes the form of the answer.
pub(super) fn format<'r>(request: &'r Request<'r>, reference: bool, losses: &mut Losses) -> Option<FormatOut<'r>> {
    Some(match request.response_format.as_ref()? {
        ResponseFormat::Text => FormatOut::Bare { kind: "text" },
        ResponseFormat::Json => FormatOut::Bare { kind: "json_object" },
        ResponseFormat::Schema { name, description, schema, strict } => FormatOut::Schema {
            kind: "json_schema",
            json_schema: SchemaOut {
                name: name.as_deref().unwrap_or("response"),
                description: description.as_deref(),
                schema,
                strict: strict_answer(schema, *strict, request.dialect, reference, losses),
            },
        },
        ResponseFormat::Foreign { dialect, raw } if *dialect == OWN => FormatOut::Raw(raw),
        ResponseFormat::Foreign { .. } => {
            losses.note("response_format");
            return None;
        }
    })
}
