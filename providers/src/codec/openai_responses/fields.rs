//! Extras as this dialect keeps and writes them.
//!
//! A name with a dot is a field of a nested object (`reasoning.context`, `text.x`); one that begins with `=` is a remark of
//! this codec to itself, which is no loss elsewhere:
//!
//! | remark | meaning |
//! |---|---|
//! | `=status` | the item's `status`; a client repeats it, nobody reads it |
//! | `=phase` | whether OpenAI's model takes a message for its last one; means nothing to others |
//! | `=foreign` | reasoning that was made in another dialect |
//! | `=part` | a foreign block is a part of its message, not an item |
//! | `=safety_identifier` | `Request::user` was said under that name |
//! | `=encrypted` | encrypted reasoning is asked for in `include` |
//! | `=namespace` | the namespace that a tool begins, without its tools, if it says no more than its name |
//! | `=stream_options`, `=truncation`, `=background` | values that ask for nothing |

use serde::ser::{Serialize, SerializeMap};

use crate::common::{Extras, Json, Str};

/// An object that is being written: fields that are there, and extras.
pub(super) struct Writer<M>(pub(super) M);

impl<M: SerializeMap> Writer<M> {
    pub(super) fn put<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    pub(super) fn opt<T: Serialize>(&mut self, name: &'static str, value: Option<T>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.0.serialize_entry(name, &value))
    }

    /// Writes those extras that are the object's own: no remarks, no fields of nested objects.
    pub(super) fn extras(&mut self, extras: &[(Str<'_>, Json<'_>)]) -> Result<(), M::Error> {
        for (name, value) in extras {
            match &**name {
                "=phase" => self.0.serialize_entry("phase", value)?,
                name if name.starts_with('=') || name.contains('.') => {}
                name => self.0.serialize_entry(name, value)?,
            }
        }
        Ok(())
    }

    /// Writes the extras of a nested object, `prefix` ending in a dot.
    pub(super) fn nested(&mut self, prefix: &str, extras: &[(Str<'_>, Json<'_>)]) -> Result<(), M::Error> {
        for (name, value) in extras {
            if let Some(name) = name.strip_prefix('=').unwrap_or(name).strip_prefix(prefix) {
                self.0.serialize_entry(name, value)?;
            }
        }
        Ok(())
    }
}

/// The value kept under `name`.
pub(super) fn find<'e, 'a>(extras: &'e [(Str<'a>, Json<'a>)], name: &str) -> Option<&'e Json<'a>> {
    extras.iter().find_map(|(found, value)| (*found == *name).then_some(value))
}

pub(super) fn has(extras: &[(Str<'_>, Json<'_>)], name: &str) -> bool {
    find(extras, name).is_some()
}

/// A remark that says all by being there.
pub(super) fn remark<'a>(name: &'static str) -> (Str<'a>, Json<'a>) {
    (name.into(), Json::of(&true))
}

/// Puts `prefix` before the names. A remark stays one.
pub(super) fn prefixed<'a>(prefix: &str, extras: Extras<'a>) -> impl Iterator<Item = (Str<'a>, Json<'a>)> {
    extras.into_iter().map(move |(name, value)| match name.strip_prefix('=') {
        Some(name) => (format!("={prefix}{name}").into(), value),
        None => (format!("{prefix}{}", &*name).into(), value),
    })
}
