//! The JSON Schema of the file, for editors.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::File;

/// JSON Schema (draft 7, which Taplo and other editors read) of the whole file. Parts that are not supported yet are in it:
/// the schema is the file's model, and `check` says what a version can do.
pub fn schema() -> Schema {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<File>()
}
