//! Extras written back to the dialect that they come from.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::common::{Json, Str};

super::wire! {
    /// An object whose fields are all kept as they are.
    pub(crate) struct Whole<'a> {}
}

/// Fields as a JSON object; flattened into a struct they stand beside its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fields<'x, 'a>(pub(crate) &'x [(Str<'a>, Json<'a>)]);

impl Fields<'_, '_> {
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'_>> {
        self.0.iter().find(|(key, _)| *key == *name).map(|(_, value)| value)
    }
}

impl Serialize for Fields<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
