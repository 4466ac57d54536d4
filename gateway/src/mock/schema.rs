//! Values that fit a JSON Schema: the arguments of mock tool calls and structured outputs.

use serde_json::{Map, Value, json};

/// How deep a schema is followed; a recursive one must end somewhere.
const DEPTH: usize = 8;

/// A plausible value for `schema`: its required properties (all of them, if none is required), the first of an enum, a
/// text for a string, 1 for a number, one item for an array.
pub(super) fn example(schema: &Value) -> Value {
    fill(schema, schema, DEPTH)
}

fn fill(root: &Value, schema: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
        return root.pointer(target).map_or(Value::Null, |found| fill(root, found, depth - 1));
    }
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(choice).and_then(Value::as_array).and_then(|all| all.first()) {
            return fill(root, first, depth - 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    match kind {
        "object" => object(root, schema, depth),
        "array" => schema.get("items").map_or_else(|| json!([]), |items| json!([fill(root, items, depth - 1)])),
        "integer" => json!(schema.get("minimum").and_then(Value::as_i64).unwrap_or(1)),
        "number" => json!(schema.get("minimum").and_then(Value::as_f64).unwrap_or(1.5)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!("Paris"),
    }
}

fn object(root: &Value, schema: &Value, depth: usize) -> Value {
    let mut filled = Map::new();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Value::Object(filled);
    };
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in properties {
        if required.is_empty() || required.contains(&name.as_str()) {
            filled.insert(name.clone(), fill(root, property, depth - 1));
        }
    }
    Value::Object(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_properties_are_filled() {
        let schema = json!({"type": "object", "required": ["city", "days"], "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}}});
        assert_eq!(example(&schema), json!({"city": "Paris", "days": 1}));
    }

    #[test]
    fn references_and_recursion_end() {
        let schema = json!({"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"});
        assert!(example(&schema).is_object());
    }
}
