//! Schemas as providers take them that hold to one: Anthropic
//! (<https://docs.claude.com/en/docs/build-with-claude/structured-outputs>) and Bedrock, which validates against the same subset
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>).
//!
//! They refuse objects that do not rule out further properties, and most bounds on values. As Anthropic's SDKs do, the former is added
//! and the latter are told in the description.

use super::fields::{Fields, Whole};
use crate::common::{Extras, Json};

/// Deeper schemas are left as they are.
const DEEPEST: u8 = 64;

const BOUNDS: [&str; 14] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "propertyNames",
];

/// The schema of a tool's arguments, which says that it is one of an object.
pub(super) fn object<'x>(parameters: Option<&'x Json<'_>>) -> Json<'x> {
    let object = parameters.and_then(|schema| schema.read::<Whole<'_>>().ok()).unwrap_or_default();
    match parameters {
        Some(schema) if Fields(&object.rest).get("type").is_some_and(|kind| kind.get() == r#""object""#) => {
            schema.borrowed()
        }
        Some(_) | None => {
            let mut fields = object.rest;
            fields.retain(|(name, _)| *name != *"type");
            fields.insert(0, ("type".into(), Json::of(&"object")));
            if Fields(&fields).get("properties").is_none() {
                fields.push(("properties".into(), Json::of(&Fields::default())));
            }
            Json::of(&Fields(&fields))
        }
    }
}

/// `schema` in what they take, and what it is for. Key order stays: the model writes properties in it.
pub(super) fn structured(schema: &Json<'_>, description: Option<&str>) -> Json<'static> {
    let schema = walk(schema, 0);
    match (schema.read::<Whole<'_>>(), description) {
        (Ok(mut whole), Some(description)) => {
            describe(&mut whole.rest, description);
            Json::of(&Fields(&whole.rest))
        }
        _ => schema,
    }
}

fn walk(schema: &Json<'_>, depth: u8) -> Json<'static> {
    let whole = schema.read::<Whole<'_>>().ok().filter(|_| depth < DEEPEST);
    let Some(Whole { rest }) = whole else { return schema.clone().into_owned() };
    let open = Fields(&rest).get("properties").is_some() && Fields(&rest).get("additionalProperties").is_none();
    let mut out = Extras::with_capacity(rest.len() + 1);
    let mut bounds = String::new();
    for (name, value) in rest {
        let value = match &*name {
            "properties" | "$defs" | "definitions" => each(&value, depth),
            "anyOf" | "allOf" | "oneOf" | "prefixItems" => list(&value, depth),
            "items" | "additionalProperties" => walk(&value, depth + 1),
            // The only numbers that it knows.
            "minItems" if matches!(value.get(), "0" | "1") => value,
            bound if BOUNDS.contains(&bound) => {
                bounds.push_str(if bounds.is_empty() { "{" } else { ", " });
                bounds.push_str(&format!("{bound}: {value:?}"));
                continue;
            }
            _ => value,
        };
        out.push((if name == *"oneOf" { "anyOf".into() } else { name }, value));
    }
    if open {
        out.push(("additionalProperties".into(), Json::of(&false)));
    }
    if !bounds.is_empty() {
        bounds.push('}');
        describe(&mut out, &bounds);
    }
    Json::of(&Fields(&out))
}

/// Adds to a schema's description.
fn describe(schema: &mut Extras<'_>, more: &str) {
    match schema.iter_mut().find(|(name, _)| *name == *"description") {
        Some((_, text)) => *text = Json::of(&format!("{}\n\n{more}", text.read::<String>().unwrap_or_default())),
        None => schema.push(("description".into(), Json::of(&more))),
    }
}

fn each(schemas: &Json<'_>, depth: u8) -> Json<'static> {
    let Ok(Whole { rest }) = schemas.read::<Whole<'_>>() else { return schemas.clone().into_owned() };
    let walked: Extras<'_> = rest.into_iter().map(|(name, schema)| (name, walk(&schema, depth + 1))).collect();
    Json::of(&Fields(&walked))
}

fn list(schemas: &Json<'_>, depth: u8) -> Json<'static> {
    match schemas.read::<Vec<Json<'_>>>() {
        Ok(list) => Json::of(&list.iter().map(|schema| walk(schema, depth + 1)).collect::<Vec<_>>()),
        Err(_) => schemas.clone().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object() {
        let object = |schema: &'static str| object(Json::parse(schema).as_ref()).get().to_owned();
        assert_eq!(object("{}"), r#"{"type":"object","properties":{}}"#);
        assert_eq!(object("null"), r#"{"type":"object","properties":{}}"#);
        assert_eq!(
            object(r#"{"required":["a"],"type":["object","null"]}"#),
            r#"{"type":"object","required":["a"],"properties":{}}"#
        );
        assert_eq!(object(r#"{"properties":{}, "type":"object"}"#), r#"{"properties":{}, "type":"object"}"#);
    }

    #[test]
    fn objects_are_closed_and_bounds_are_told() {
        let schema = r##"{"type":"object","properties":{"z":{"type":"integer","minimum":1,"maximum":9},"a":{"type":"array","description":"d","minItems":2,"items":{"oneOf":[{"type":"object","properties":{}},{"$ref":"#/$defs/x"}]}},"pattern":{"type":"string"}},"required":["z"]}"##;
        let wanted = r##"{"type":"object","properties":{"z":{"type":"integer","description":"{minimum: 1, maximum: 9}"},"a":{"type":"array","description":"d\n\n{minItems: 2}","items":{"anyOf":[{"type":"object","properties":{},"additionalProperties":false},{"$ref":"#/$defs/x"}]}},"pattern":{"type":"string"}},"required":["z"],"additionalProperties":false}"##;
        assert_eq!(structured(&Json::parse(schema).unwrap(), None).get(), wanted);
        // Done once is done.
        assert_eq!(structured(&Json::parse(wanted).unwrap(), None).get(), wanted);
    }
}
