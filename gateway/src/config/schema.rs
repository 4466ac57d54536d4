//! The JSON Schema of the file, for editors.

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

/// [`schema`] as `ai-gateway schema` prints it: indented, without a line break at its end.
pub fn schema_json() -> String {
    format!("{:#}", schema().to_value())
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
