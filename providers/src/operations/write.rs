//! JSON written field by field: bodies whose fields come and go need no struct for each shape.

use serde::Serialize;

use crate::common::{Json, Str};

/// A whole body.
pub(super) fn body(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    object(&mut out, fill);
    out
}

/// Appends an object.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, first: true });
    out.push(b'}');
}

/// Appends a list.
pub(super) fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(b']');
}

/// Appends one value. Only maps whose keys are no strings cannot be written, and there are none here.
pub(super) fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

/// An object under way.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Object<'_> {
    /// A field whose value `write` appends.
    pub(super) fn with(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        value(self.out, key);
        self.out.push(b':');
        write(self.out);
    }

    /// A field.
    pub(super) fn put(&mut self, key: &str, field: &(impl Serialize + ?Sized)) {
        self.with(key, |out| value(out, field));
    }

    /// A field, if there is one.
    pub(super) fn some(&mut self, key: &str, field: Option<&(impl Serialize + ?Sized)>) {
        if let Some(field) = field {
            self.put(key, field);
        }
    }

    /// A field that is an object.
    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.with(key, |out| object(out, fill));
    }

    /// A field that is a list.
    pub(super) fn list<T>(&mut self, key: &str, items: impl IntoIterator<Item = T>, each: impl FnMut(&mut Vec<u8>, T)) {
        self.with(key, |out| list(out, items, each));
    }

    /// Fields as they came.
    pub(super) fn extras(&mut self, extras: &[(Str<'_>, Json<'_>)]) {
        for (key, field) in extras {
            self.put(key, field);
        }
    }
}
