//! What can be told of the choice among tools.

use std::borrow::Cow;

use crate::common::{Losses, Request, Tool, ToolChoice, flat_name, group_of};
use crate::dialect::Dialect;

/// Whether any of a request's tools can be told in `dialect`.
pub(super) fn any_told(request: &Request<'_>, dialect: Dialect) -> bool {
    request.tools.iter().any(|tool| match tool {
        Tool::Function(_) | Tool::Custom(_) => true,
        Tool::Foreign { dialect: of, .. } => *of == dialect,
    })
}

/// Whether a tool of this name is told: those of other dialects have none here.
pub(super) fn is_told(request: &Request<'_>, name: &str) -> bool {
    request.tools.iter().any(|tool| match tool {
        Tool::Function(tool) => *tool.name == *name,
        Tool::Custom(tool) => *tool.name == *name,
        Tool::Foreign { .. } => false,
    })
}

/// The choice as `dialect` may be told it: providers refuse a choice without tools, or of a tool that they were not told of. What is
/// left out is noted, unless it asked for nothing.
pub(super) fn choice_told<'r, 'a>(
    request: &'r Request<'a>,
    dialect: Dialect,
    losses: &mut Losses,
) -> Option<&'r ToolChoice<'a>> {
    let choice = request.tool_choice.as_ref()?;
    let fits = request.dialect == dialect
        || match choice {
            ToolChoice::Named(name) => is_told(request, name),
            ToolChoice::Allowed { names, required: _ } => names.iter().any(|name| is_told(request, name)),
            ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Foreign { .. } => {
                any_told(request, dialect)
            }
        };
    losses.note_if(!fits && !matches!(choice, ToolChoice::Auto | ToolChoice::None), "tool_choice");
    Some(choice).filter(|_| fits)
}

/// Whether the choice makes the model call a tool.
pub(super) fn forces(choice: &ToolChoice<'_>) -> bool {
    match choice {
        ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { names: _, required: true } => true,
        ToolChoice::Auto
        | ToolChoice::None
        | ToolChoice::Allowed { names: _, required: false }
        | ToolChoice::Foreign { .. } => false,
    }
}

/// What a chosen tool is called in dialects without namespaces.
pub(super) fn flat_choice<'r>(request: &'r Request<'_>, name: &'r str) -> Cow<'r, str> {
    flat_name(group_of(&request.tools, name).map(|group| &**group), name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::target;
    use super::super::{Call, codec};
    use super::*;
    use crate::common::{Block, FunctionTool, Json, Message};

    const SEARCH: &str = r#"{"type":"web_search_20250305","name":"web_search"}"#;
    const FUNCTION: &str = r#"{"name":"f","input_schema":{"type":"object","properties":{}}}"#;

    /// What an Anthropic client's tools and choice become.
    fn told(dialect: Dialect, tools: &[&str], choice: &str) -> (Value, Vec<String>) {
        let body = format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],"tools":[{}],"tool_choice":{choice}}}"#,
            tools.join(",")
        );
        let request = codec(Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap();
        let mut losses = Losses::default();
        let body = codec(dialect).encode_request(&request, &target(), &mut losses).unwrap();
        let lost = losses.iter().map(|loss| loss.field.clone()).filter(|field| field == "tool_choice").collect();
        (serde_json::from_slice(&body).unwrap(), lost)
    }

    /// The choice as it stands in a body of `dialect`.
    fn choice_in(dialect: Dialect, body: &Value) -> &Value {
        match dialect {
            Dialect::Gemini => &body["toolConfig"],
            Dialect::Bedrock => &body["toolConfig"]["toolChoice"],
            _ => &body["tool_choice"],
        }
    }

    /// Of one provider's tools and a function, the function alone is left for clients of the other dialects.
    #[test]
    fn no_dialect_is_told_a_choice_of_what_it_is_not_told_of() {
        for from in [Dialect::Anthropic, Dialect::OpenAiResponses] {
            for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
                let foreign = || Tool::Foreign { dialect: from, kind: "search".into(), raw: Json::of(&1) };
                let function =
                    FunctionTool { name: "f".into(), namespace: Some("ns".into()), ..FunctionTool::default() };
                let mut request = Request::new(from);
                let mut written = |tools: &[Tool<'static>], choice: ToolChoice<'static>| -> (Value, Vec<String>) {
                    (request.tools, request.tool_choice) = (tools.to_vec(), Some(choice));
                    request.messages = vec![Message { blocks: vec![Block::text("x")], ..Message::default() }];
                    let mut losses = Losses::default();
                    let body = codec(to).encode_request(&request, &target(), &mut losses).unwrap();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let lost = losses.iter().map(|loss| loss.field.clone()).filter(|field| field == "tool_choice");
                    (choice_in(to, &body).clone(), lost.collect())
                };
                let some = |name: &'static str| ToolChoice::Allowed { names: vec![name.into()], required: true };
                let lost = vec!["tool_choice".to_owned()];
                for choice in [ToolChoice::Named("search".into()), some("search"), ToolChoice::Required] {
                    assert_eq!(written(&[foreign()], choice), (Value::Null, lost.clone()), "{from} -> {to}");
                }
                for choice in [ToolChoice::None, ToolChoice::Auto] {
                    assert_eq!(written(&[foreign()], choice), (Value::Null, vec![]), "{from} -> {to}");
                }
                let both = || [foreign(), Tool::Function(Box::new(function.clone()))];
                for choice in [ToolChoice::Named("search".into()), some("search")] {
                    assert_eq!(written(&both(), choice), (Value::Null, lost.clone()), "{from} -> {to}");
                }
                let (named, lost) = written(&both(), ToolChoice::Named("f".into()));
                assert!(!named.is_null() && lost.is_empty(), "{from} -> {to}: {named} {lost:?}");
                let flat =
                    named.to_string().contains("ns__f") || matches!(to, Dialect::OpenAiResponses | Dialect::Cohere);
                assert!(flat, "{from} -> {to}: {named}");
            }
        }
    }

    /// Whether or not names have to be spelt anew.
    #[test]
    fn a_name_alone_chooses_the_tool_that_stands_in_no_group() {
        let function = |namespace: Option<&str>| {
            let namespace = namespace.map(|namespace| namespace.to_owned().into());
            Tool::Function(Box::new(FunctionTool { name: "search".into(), namespace, ..FunctionTool::default() }))
        };
        let long = "n".repeat(130);
        for to in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock] {
            for group in ["ns", &*long] {
                for (tools, alone) in [
                    (vec![function(None), function(Some(group))], true),
                    (vec![function(Some(group)), function(None)], true),
                    (vec![function(Some(group))], false),
                ] {
                    let mut request = Request::new(Dialect::OpenAiResponses);
                    request.messages = vec![Message { blocks: vec![Block::text("x")], ..Message::default() }];
                    (request.tools, request.tool_choice) = (tools, Some(ToolChoice::Named("search".into())));
                    let body = codec(to).encode_request(&request, &target(), &mut Losses::default()).unwrap();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let choice = choice_in(to, &body);
                    assert_eq!(choice.to_string().contains("\"search\""), alone, "{to}: {choice}");
                }
            }
        }
    }

    const DIALECTS: [Dialect; 3] = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Cohere];

    #[test]
    fn nothing_is_chosen_where_no_tool_is_left() {
        for dialect in DIALECTS {
            for (choice, lost) in [
                (r#"{"type":"tool","name":"web_search"}"#, vec!["tool_choice"]),
                (r#"{"type":"any"}"#, vec!["tool_choice"]),
                (r#"{"type":"auto","disable_parallel_tool_use":true}"#, vec![]),
                (r#"{"type":"none"}"#, vec![]),
            ] {
                let (body, losses) = told(dialect, &[SEARCH], choice);
                for field in ["tools", "tool_choice", "parallel_tool_calls"] {
                    assert!(body[field].is_null(), "{dialect:?} {choice} {body}");
                }
                assert_eq!(losses, lost, "{dialect:?} {choice}");
            }
        }
    }

    #[test]
    fn a_tool_that_is_not_told_is_not_chosen() {
        for dialect in DIALECTS {
            let (body, losses) = told(dialect, &[SEARCH, FUNCTION], r#"{"type":"tool","name":"web_search"}"#);
            assert_eq!((body["tools"].as_array().unwrap().len(), &body["tool_choice"]), (1, &Value::Null), "{body}");
            assert_eq!(losses, ["tool_choice"]);
            let (body, losses) = told(dialect, &[SEARCH, FUNCTION], r#"{"type":"tool","name":"f"}"#);
            assert!(!body["tool_choice"].is_null() && losses.is_empty(), "{body} {losses:?}");
        }
    }

    #[test]
    fn of_some_allowed_tools_those_that_are_told_are_left() {
        let allowed = |names: &[&'static str]| ToolChoice::Allowed {
            names: names.iter().map(|name| (*name).into()).collect(),
            required: true,
        };
        let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[],"tools":[{SEARCH},{FUNCTION}]}}"#);
        let mut request = codec(Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap();
        request.tool_choice = Some(allowed(&["web_search", "f"]));
        let written = |request: &Request<'_>| -> Value {
            let body = codec(Dialect::OpenAiResponses).encode_request(request, &target(), &mut Losses::default());
            serde_json::from_slice(&body.unwrap()).unwrap()
        };
        assert_eq!(written(&request)["tool_choice"]["tools"], json!([{"type": "function", "name": "f"}]));
        request.tool_choice = Some(allowed(&["web_search"]));
        assert!(written(&request)["tool_choice"].is_null());
    }
}
