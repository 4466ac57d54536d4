//! The JSON Schema of the file, for editors, and what it says of secrets: their values are `writeOnly`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Value, json};

use super::File;

/// JSON Schema (draft 7, which Taplo and other editors read) of the whole file. Parts that are not supported yet are in it:
/// the schema is the file's model, and `check` says what a version can do.
pub fn schema() -> Schema {
    SchemaSettings::draft07().with_transform(NoNull).into_generator().into_root_schema_for::<File>()
}

/// [`schema`], made once.
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema().to_value());

/// [`schema`] as `ai-gateway schema` prints it: indented, without a line break at its end.
pub fn schema_json() -> String {
    format!("{:#}", *SCHEMA)
}

/// Settings of plugins, of which the schema knows nothing, that may be shown as well.
const OF_PLUGINS: [&str; 2] = ["engine", "words_file"];

/// Keys whose values may be shown: those that hold a word or a number somewhere, and a secret nowhere.
pub(super) static SHOWN: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let whole = &*SCHEMA;
    let (mut plain, mut secret) = (BTreeSet::from(OF_PLUGINS.map(str::to_owned)), BTreeSet::new());
    collect_keys(whole, &|value| holds(value, whole, is_plain), &mut plain);
    collect_keys(whole, &|value| holds(value, whole, is_secret), &mut secret);
    &plain - &secret
});

/// Adds the keys of all tables below `schema` whose values are such that `is` holds.
fn collect_keys(schema: &Value, is: &dyn Fn(&Value) -> bool, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                keys.extend(properties.iter().filter(|(_, value)| is(value)).map(|(key, _)| key.clone()));
            }
            object.values().for_each(|part| collect_keys(part, is, keys));
        }
        Value::Array(parts) => parts.iter().for_each(|part| collect_keys(part, is, keys)),
        _ => {}
    }
}

/// Whether `is` holds of a value, of one of its forms, or of what it is an array or a map of.
fn holds(value: &Value, whole: &Value, is: fn(&Value) -> bool) -> bool {
    let referred = value.get("$ref").and_then(Value::as_str).and_then(|path| whole.pointer(path.strip_prefix('#')?));
    let forms = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| value.get(key)?.as_array()).flatten();
    let elements = ["items", "additionalProperties"].into_iter().filter_map(|key| value.get(key));
    is(value) || referred.into_iter().chain(forms).chain(elements).any(|part| holds(part, whole, is))
}

fn is_plain(value: &Value) -> bool {
    let is_scalar = |kind: &Value| matches!(kind.as_str(), Some("string" | "number" | "integer" | "boolean"));
    match &value["type"] {
        Value::Array(kinds) => kinds.iter().any(is_scalar),
        kind => is_scalar(kind),
    }
}

fn is_secret(value: &Value) -> bool {
    value["writeOnly"] == true
}

/// TOML has no null: what may be left out is not required, and that is all.
#[derive(Debug, Clone, Copy)]
struct NoNull;

impl Transform for NoNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        let null = json!({ "type": "null" });
        if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|choice| *choice != null);
            if choices.len() == 1
                && let Some(choice) = object.remove("anyOf")
            {
                // Beside a `$ref` of draft 7 nothing else counts: `allOf` keeps the description.
                object.insert("allOf".to_owned(), choice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_section_are_shown_and_none_that_is_a_secret() {
        for key in [
            "shutdown_delay",
            "kind",
            "after",
            "hold",
            "max_effort",
            "percent",
            "owner",
            "issuer",
            "rpm",
            "usd",
            "max_size",
            "timeout",
            "retention",
            "endpoint",
            "sample",
            "to",
            "use",
            "input",
        ] {
            assert!(SHOWN.contains(key), "{key}");
        }
        for key in [
            "api_key",
            "api_keys",
            "admin_key",
            "client_secret",
            "credentials",
            "access_token",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "redis",
            "headers",
            "providers",
            "server",
            "password",
            "tls",
        ] {
            assert!(!SHOWN.contains(key), "{key}");
        }
    }
}
