//! JSON written member by member, straight into a body: one whose fields come and go needs no struct for each shape.

use serde::Serialize;

use crate::common::{Json, Str};

/// Appends one value. Only a map whose keys are no strings cannot be written: `null` stands for it.
pub fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let from = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(from);
        out.extend_from_slice(b"null");
    }
}

/// A whole body.
pub fn body(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    object(&mut out, fill);
    out
}

/// An object as raw JSON, for small odd pieces.
pub fn raw(fill: impl FnOnce(&mut Object<'_>)) -> Json<'static> {
    Json::parse(&String::from_utf8_lossy(&body(fill))).unwrap_or_default().into_owned()
}

/// Appends an object.
pub fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, is_empty: true });
    out.push(b'}');
}

/// Appends a list.
pub fn list(out: &mut Vec<u8>, fill: impl FnOnce(&mut List<'_>)) {
    out.push(b'[');
    fill(&mut List { out, is_empty: true });
    out.push(b']');
}

/// An object that is being written.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl Object<'_> {
    /// Begins a field of ours, whose name has nothing to escape. Its value is to be appended to what is given back.
    #[inline]
    pub fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    #[inline]
    fn comma(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
    }

    /// A field.
    pub fn field(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) {
        write(self.key(key), value);
    }

    /// A field, if there is one.
    pub fn optional(&mut self, key: &'static str, value: Option<&(impl Serialize + ?Sized)>) {
        if let Some(value) = value {
            self.field(key, value);
        }
    }

    /// A field that is an object.
    pub fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    /// A field that is a list.
    pub fn list(&mut self, key: &'static str, fill: impl FnOnce(&mut List<'_>)) {
        list(self.key(key), fill);
    }

    /// A field that is a list with something for each of `items`.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        self.list(key, |list| items.into_iter().for_each(|item| write(list.item(), item)));
    }

    /// Fields as they came.
    pub fn extras(&mut self, extras: &[(Str<'_>, Json<'_>)]) {
        extras.iter().for_each(|(key, value)| self.extra(key, value));
    }

    /// A field as it came.
    pub fn extra(&mut self, key: &Str<'_>, value: &Json<'_>) {
        self.comma();
        write(self.out, key);
        self.out.push(b':');
        self.out.extend_from_slice(value.get().as_bytes());
    }
}

/// A list that is being written.
#[derive(Debug)]
pub struct List<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl List<'_> {
    /// Where the next item is to be appended.
    #[inline]
    pub fn item(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn written(fill: impl FnOnce(&mut Object<'_>)) -> String {
        String::from_utf8(body(fill)).unwrap()
    }

    #[test]
    fn nothing_and_lists_of_nothing() {
        assert_eq!(written(|_| {}), "{}");
        let lists = written(|o| {
            o.list("none", |_| {});
            o.each("some", [1, 2], |out, number| object(out, |o| o.field("n", &number)));
        });
        assert_eq!(lists, r#"{"none":[],"some":[{"n":1},{"n":2}]}"#);
    }

    #[test]
    fn names_as_they_came_are_escaped_and_values_stay_as_they_are() {
        let extras = vec![("a\"b".into(), Json::parse("1e999").unwrap()), ("c".into(), Json::parse("{ }").unwrap())];
        assert_eq!(written(|o| o.extras(&extras)), r#"{"a\"b":1e999,"c":{ }}"#);
        assert_eq!(written(|o| (o.field("z", "\n"), o.extras(&extras)).1), r#"{"z":"\n","a\"b":1e999,"c":{ }}"#);
    }

    #[test]
    fn what_cannot_be_written_is_null() {
        let no_map = BTreeMap::from([([1], 1)]);
        assert_eq!(written(|o| (o.field("a", &no_map), o.optional("b", None::<&str>)).0), r#"{"a":null}"#);
    }
}
