//! What OpenAI and its imitators take of a tool or a form of the answer that is to be followed exactly. Others make fewer demands
//! on its schema, and OpenAI refuses one that does not meet its own: <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>.

use serde_json::{Map, Value};

use crate::common::{FunctionTool, Json, Losses};
use crate::dialect::Dialect;

/// What may stand in a schema beside what is in it.
const WORDS: [&str; 19] = [
    "$schema",
    "type",
    "title",
    "description",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "$defs",
    "definitions",
    "enum",
    "const",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
];

const FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Whether a tool is to be followed exactly, as far as its schema allows. Clients of OpenAI's dialects know what they ask for.
pub(super) fn strict(tool: &FunctionTool<'_>, from: Dialect) -> Option<bool> {
    let knows = matches!(from, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    tool.strict.map(|strict| {
        strict && (knows || tool.parameters.as_ref().is_some_and(|schema| is_of_an_object(&schema.to_value())))
    })
}

/// Whether an answer is to follow its schema exactly, as far as OpenAI itself takes the schema: answers of the other dialects always
/// do, and have no word for it.
pub(super) fn strict_answer(
    schema: &Json<'_>,
    wanted: Option<bool>,
    from: Dialect,
    reference: bool,
    losses: &mut Losses,
) -> Option<bool> {
    let always = matches!(from, Dialect::Anthropic | Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere);
    if !(always && reference) {
        return wanted;
    }
    let taken = is_of_an_object(&schema.to_value());
    losses.note_if(!taken, "response_format.strict");
    taken.then_some(true)
}

fn is_of_an_object(schema: &Value) -> bool {
    schema["type"] == "object" && schema.get("anyOf").is_none() && is_taken(schema)
}

fn is_taken(schema: &Value) -> bool {
    let Value::Object(fields) = schema else { return false };
    if fields.contains_key("$ref") {
        return fields.len() == 1;
    }
    let is = |kind: &str| match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        only => only == kind,
    };
    let inside = |name: &str| schema[name].as_object().into_iter().flat_map(Map::values);
    fields.keys().all(|word| WORDS.contains(&word.as_str()))
        && (fields.contains_key("type") || fields.contains_key("anyOf"))
        && fields.get("format").is_none_or(|format| FORMATS.iter().any(|one| format == one))
        && (is_closed(fields) || !(is("object") || fields.contains_key("properties")))
        && (fields.contains_key("items") || !is("array"))
        && fields.get("items").is_none_or(is_taken)
        && fields.get("anyOf").is_none_or(|any| any.as_array().is_some_and(|any| any.iter().all(is_taken)))
        && ["properties", "$defs", "definitions"].into_iter().flat_map(inside).all(is_taken)
}

/// Whether an object has all of its properties, and no others.
fn is_closed(fields: &Map<String, Value>) -> bool {
    let closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
    match (fields.get("properties"), fields.get("required")) {
        (Some(Value::Object(properties)), Some(Value::Array(required))) => {
            closed
                && properties.keys().all(|name| required.iter().any(|one| one == name))
                && required.iter().all(|one| one.as_str().is_some_and(|one| properties.contains_key(one)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::common::Json;

    fn is_strict(schema: &Value, from: Dialect) -> bool {
        let parameters = Some(Json::of(schema));
        strict(&FunctionTool { parameters, strict: Some(true), ..FunctionTool::default() }, from).unwrap()
    }

    #[test]
    fn what_openai_refuses_is_not_strict() {
        let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let of = |schema: Value| object(json!({"x": schema}), json!(["x"]));
        for schema in [
            object(json!({}), json!([])),
            of(json!({"type": ["string", "null"], "description": "d", "enum": ["a", null]})),
            of(json!({"type": "array", "items": {"$ref": "#/$defs/y"}, "minItems": 1})),
            of(json!({"anyOf": [{"type": "string", "format": "date"}, of(json!({"type": "number"}))]})),
        ] {
            assert!(is_strict(&schema, Dialect::Anthropic), "{schema}");
        }
        for schema in [
            object(json!({"n": {"type": "number"}, "s": {"type": "string"}}), json!(["n"])),
            object(json!({"n": {"type": "number"}}), json!(["n", "m"])),
            json!({"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}),
            json!({"type": "object", "properties": {}, "additionalProperties": false}),
            json!({"anyOf": [object(json!({}), json!([]))]}),
            of(json!({"type": "object"})),
            of(json!({"type": "array"})),
            of(json!({"type": "string", "default": "a"})),
            of(json!({"type": "string", "format": "uri"})),
            of(json!({"description": "anything"})),
            of(json!({"$ref": "#/$defs/y", "description": "d"})),
            of(json!({"allOf": [{"type": "string"}]})),
            json!(true),
        ] {
            assert!(!is_strict(&schema, Dialect::Anthropic), "{schema}");
            assert!(is_strict(&schema, Dialect::OpenAiChat), "who says it to OpenAI knows it");
        }
    }

    #[test]
    fn what_is_not_asked_is_not_said() {
        let of = |strict| FunctionTool { strict, ..FunctionTool::default() };
        assert_eq!(strict(&of(None), Dialect::Anthropic), None);
        assert_eq!(strict(&of(Some(false)), Dialect::Anthropic), Some(false));
        assert_eq!(strict(&of(Some(true)), Dialect::Cohere), Some(false), "it has no schema");
    }
}
