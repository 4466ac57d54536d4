//! The recordings, and hand-written cases for what they lack.

mod answers;
mod recordings;
mod requests;
mod streams;
mod translated;

use serde_json::Value;

/// Texts that are strings, as lists of one block; `null`s away.
fn normal(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            for (name, value) in object.iter_mut() {
                if let ("content" | "system", Value::String(text)) = (name.as_str(), &*value) {
                    *value = serde_json::json!([{"type": "text", "text": text}]);
                }
                if name != "input" && name != "input_schema" && name != "schema" {
                    normal(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(normal),
        _ => {}
    }
}
