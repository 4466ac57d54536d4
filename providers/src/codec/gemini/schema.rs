//! Gemini's older schemas are OpenAPI 3.0's: types in capitals, `nullable` beside the type
//! (<https://ai.google.dev/api/caching#Schema>). Other dialects want JSON Schema.

use serde::{Deserialize, Serialize, Serializer};

use super::wire::Fields;
use crate::common::{Json, Str};

/// Deeper levels stay as they are: no real schema has them, and each level costs stack.
const DEEPEST: u8 = 64;

/// The same as JSON Schema. What is JSON Schema already stays as it is.
pub(super) fn to_json_schema(schema: &Json<'_>) -> Json<'static> {
    Json::of(&AsJsonSchema(schema, 0))
}

/// Writes a schema as JSON Schema, level by level, in the order in which it stands; and how deep that is.
struct AsJsonSchema<'s>(&'s Json<'s>, u8);

/// The schemas under `properties`, whose keys are the user's names.
struct Named<'s>(&'s Json<'s>, u8);

/// A list of schemas.
struct List<'s>(&'s Json<'s>, u8);

/// Numbers that protocol buffers write as strings.
struct Number<'s>(&'s Json<'s>);

impl Serialize for AsJsonSchema<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let depth = self.1 + 1;
        let fields = if depth > DEEPEST { None } else { self.0.read::<Fields<'_>>().ok() };
        let Some(Fields(fields)) = fields else { return self.0.serialize(serializer) };
        let nullable = fields.iter().any(|(name, json)| &**name == "nullable" && json.get() == "true");
        let typed = fields.iter().any(|(name, _)| &**name == "type");
        let mut map = serializer.serialize_map(None)?;
        for (name, json) in &fields {
            match &**name {
                "nullable" | "propertyOrdering" | "property_ordering" => {}
                "type" => match json.read::<Str<'_>>() {
                    Ok(word) if word == "TYPE_UNSPECIFIED" => {}
                    Ok(word) if nullable => map.serialize_entry("type", &[&*word.to_ascii_lowercase(), "null"])?,
                    Ok(word) => map.serialize_entry("type", &*word.to_ascii_lowercase())?,
                    Err(_) => map.serialize_entry("type", json)?,
                },
                "enum" if nullable => {
                    let mut values: Vec<Json<'_>> = json.read().unwrap_or_default();
                    if !values.iter().any(Json::is_null) {
                        values.push(Json::default());
                    }
                    map.serialize_entry("enum", &values)?;
                }
                "properties" | "$defs" | "defs" => {
                    map.serialize_entry(if &**name == "defs" { "$defs" } else { &**name }, &Named(json, depth))?;
                }
                "items" | "additionalProperties" | "additional_properties" | "not" => {
                    map.serialize_entry(camel(name), &AsJsonSchema(json, depth))?;
                }
                "anyOf" | "any_of" if nullable && !typed => {
                    let mut any: Vec<Json<'_>> = json.read().unwrap_or_default();
                    any = any.iter().map(|one| Json::of(&AsJsonSchema(one, depth))).collect();
                    any.push(Json::of(&serde_json::json!({"type": "null"})));
                    map.serialize_entry("anyOf", &any)?;
                }
                "anyOf" | "any_of" | "oneOf" | "allOf" | "prefixItems" => {
                    map.serialize_entry(camel(name), &List(json, depth))?;
                }
                "example" => map.serialize_entry("examples", &[json])?,
                "minItems" | "min_items" | "maxItems" | "max_items" | "minLength" | "min_length" | "maxLength"
                | "max_length" | "minProperties" | "min_properties" | "maxProperties" | "max_properties" => {
                    map.serialize_entry(camel(name), &Number(json))?;
                }
                _ => map.serialize_entry(&**name, json)?,
            }
        }
        map.end()
    }
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.read::<Fields<'_>>() {
            Ok(Fields(fields)) => {
                serializer.collect_map(fields.iter().map(|(name, json)| (name, AsJsonSchema(json, self.1))))
            }
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match <Vec<Json<'_>>>::deserialize(&mut serde_json::Deserializer::from_str(self.0.get())) {
            Ok(list) => serializer.collect_seq(list.iter().map(|one| AsJsonSchema(one, self.1))),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl Serialize for Number<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.read::<Str<'_>>().ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(number) => serializer.serialize_u64(number),
            None => self.0.serialize(serializer),
        }
    }
}

/// The camel spelling of the keywords above.
fn camel(name: &str) -> &str {
    match name {
        "any_of" => "anyOf",
        "additional_properties" => "additionalProperties",
        "min_items" => "minItems",
        "max_items" => "maxItems",
        "min_length" => "minLength",
        "max_length" => "maxLength",
        "min_properties" => "minProperties",
        "max_properties" => "maxProperties",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openapi_becomes_json_schema_in_order() {
        let schema = r#"{"type":"OBJECT","properties":{"type":{"type":"STRING","nullable":true,"enum":["a"]},
            "b":{"type":"ARRAY","min_items":"1","items":{"any_of":[{"type":"INTEGER"}],"nullable":true}},
            "a":{"type":"NUMBER","format":"float","example":1.50}},"required":["b"],"propertyOrdering":["type","b"]}"#;
        let wanted = concat!(
            r#"{"type":"object","properties":{"type":{"type":["string","null"],"enum":["a",null]},"#,
            r#""b":{"type":"array","minItems":1,"items":{"anyOf":[{"type":"integer"},{"type":"null"}]}},"#,
            r#""a":{"type":"number","format":"float","examples":[1.50]}},"required":["b"]}"#
        );
        assert_eq!(to_json_schema(&Json::parse(schema).unwrap()).get(), wanted);
    }

    #[test]
    fn no_depth_is_too_much() {
        for level in [r#"{"items":"#, r#"{"anyOf":["#, r#"{"nullable":true,"anyOf":["#, r#"{"properties":{"a":"#] {
            let open = level.repeat(20_000);
            let close: String = open
                .chars()
                .rev()
                .filter_map(|c| match c {
                    '{' => Some('}'),
                    '[' => Some(']'),
                    _ => None,
                })
                .collect();
            let schema = format!(r#"{open}{{"type":"STRING"}}{close}"#);
            assert!(to_json_schema(&Json::parse(&schema).unwrap()).get().contains("STRING"));
        }
    }

    #[test]
    fn json_schema_stays() {
        let schema = r##"{"$ref":"#/$defs/A","$defs":{"A":{"type":["string","null"],"additionalProperties":false}}}"##;
        assert_eq!(to_json_schema(&Json::parse(schema).unwrap()).get(), schema);
        assert_eq!(to_json_schema(&Json::parse("true").unwrap()).get(), "true");
    }
}
