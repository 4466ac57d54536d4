//! Writes JSON objects straight into the body: known fields, and those that were kept as they came.

use serde::Serialize;

use crate::codec::write_json;
use crate::common::{Extras, Json, Str};

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    /// Writes one of our keys, which have nothing to escape; its value is to be appended to what is given back.
    pub(super) fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn comma(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    pub(super) fn field(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) {
        write_json(self.key(key), &value);
    }

    pub(super) fn optional(&mut self, key: &'static str, value: Option<&(impl Serialize + ?Sized)>) {
        if let Some(value) = value {
            self.field(key, value);
        }
    }

    pub(super) fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    pub(super) fn extras(&mut self, extras: &Extras<'_>) {
        extras.iter().for_each(|(key, value)| self.extra(key, value));
    }

    pub(super) fn extra(&mut self, key: &Str<'_>, value: &Json<'_>) {
        self.comma();
        write_json(self.out, key);
        self.out.push(b':');
        self.out.extend_from_slice(value.get().as_bytes());
    }
}

/// Appends an object.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::open(out);
    fill(&mut object);
    object.close();
}

/// A list whose items write themselves.
pub(super) struct List<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> List<'o> {
    pub(super) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, empty: true }
    }

    /// Where the next item is to be appended.
    pub(super) fn item(&mut self) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out
    }

    pub(super) fn close(self) {
        self.out.push(b']');
    }
}

/// An object as raw JSON, for small odd pieces.
pub(super) fn raw(fill: impl FnOnce(&mut Object<'_>)) -> Json<'static> {
    let mut out = Vec::new();
    object(&mut out, fill);
    Json::parse(&String::from_utf8_lossy(&out)).unwrap_or_default().into_owned()
}
