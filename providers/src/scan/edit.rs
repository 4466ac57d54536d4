//! Sets and removes top-level fields of a JSON body.

use std::ops::Range;

use bytes::Bytes;

use super::cursor::Cursor;
use super::splice;

/// What is to be changed in the fields of a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Names, and the JSON text of their values.
    pub set: Vec<(String, String)>,
    /// Names of those that are taken out.
    pub remove: Vec<String>,
}

impl FieldEdits {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// `body` with the edits. What is set keeps its place, or comes last if it was not there; every other member, and the
    /// white space around it, stays as sent. The very same `Bytes` if nothing changes, and if `body` is no JSON object.
    #[must_use]
    pub fn apply(&self, body: &Bytes) -> Bytes {
        let mut cursor = Cursor::new(body);
        if self.is_empty() || !cursor.enter(b'{') {
            return body.clone();
        }
        let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
        let mut missing: Vec<&(String, String)> = self.set.iter().collect();
        // What stands between `from` and the next member that stays goes; `end` is that of the last one that was read.
        let (open, mut stays) = (cursor.at(), false);
        let (mut from, mut end) = (open, open);
        while let Some(key) = cursor.next_key() {
            let value = cursor.value();
            if end == open {
                from = key.start;
            }
            let set = self.set.iter().find(|(name, _)| name.as_bytes() == &*key.name);
            if set.is_some() || !self.remove.iter().any(|name| name.as_bytes() == &*key.name) {
                // The comma before it stays, unless there is nothing that it would stand behind.
                let gone = from..if stays { end } else { key.start };
                edits.extend((!gone.is_empty()).then_some((gone, "")));
                if let Some(field @ (_, new)) = set {
                    edits.push((value.clone(), new));
                    missing.retain(|other| *other != field);
                }
                (from, stays) = (value.end, true);
            }
            end = value.end;
        }
        edits.extend((from < end).then_some((from..end, "")));
        let mut added = String::new();
        for (name, value) in missing {
            added.push_str(if stays || !added.is_empty() { "," } else { "" });
            added.extend([&serde_json::Value::from(name.as_str()).to_string(), ":", value]);
        }
        edits.extend((!added.is_empty()).then_some((end..end, added.as_str())));
        if edits.is_empty() { body.clone() } else { splice(body, &edits).into() }
    }

    /// `body` with the edits made in the object that its member `name` holds; the very same `Bytes` if there is none.
    #[must_use]
    pub fn apply_within(&self, body: &Bytes, name: &str) -> Bytes {
        let mut cursor = Cursor::new(body);
        if !cursor.enter(b'{') {
            return body.clone();
        }
        let mut edited = Vec::new();
        while let Some(key) = cursor.next_key() {
            let value = cursor.value();
            if *key.name == *name.as_bytes() {
                edited.push((value.clone(), self.apply(&body.slice(value))));
            }
        }
        if edited.is_empty() { body.clone() } else { splice(body, &edited).into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties::{literal, space, value};
    use super::*;

    #[test]
    fn an_object_within_is_edited() {
        let edits = edits(&[("model", "\"new\"")], &[]);
        let within = |body: &'static str| edits.apply_within(&Bytes::from_static(body.as_bytes()), "in");
        assert_eq!(
            within(r#"{ "a": 1, "in": {"x":1, "model" : "old"} ,"b":{}}"#),
            r#"{ "a": 1, "in": {"x":1, "model" : "new"} ,"b":{}}"#
        );
        assert_eq!(within(r#"{"in":{}}"#), r#"{"in":{"model":"new"}}"#);
        for same in [r#"{"model":"old"}"#, r#"{"in":1}"#, "[]", ""] {
            assert_eq!(within(same), same);
        }
    }

    fn edits(set: &[(&str, &str)], remove: &[&str]) -> FieldEdits {
        FieldEdits {
            set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn edited(body: &str, set: &[(&str, &str)], remove: &[&str]) -> String {
        String::from_utf8(edits(set, remove).apply(&Bytes::copy_from_slice(body.as_bytes())).into()).unwrap()
    }

    #[test]
    fn members_are_set_in_place_added_and_taken_out() {
        let body = "{ \"a\" : 1.0e0,\n  \"b\":[1, 2] ,\"c\": null }";
        assert_eq!(edited(body, &[("b", "true")], &[]), "{ \"a\" : 1.0e0,\n  \"b\":true ,\"c\": null }");
        assert_eq!(edited(body, &[("d", "{}")], &[]), "{ \"a\" : 1.0e0,\n  \"b\":[1, 2] ,\"c\": null,\"d\":{} }");
        assert_eq!(edited(body, &[], &["a"]), "{ \"b\":[1, 2] ,\"c\": null }");
        assert_eq!(edited(body, &[], &["b"]), "{ \"a\" : 1.0e0 ,\"c\": null }");
        assert_eq!(edited(body, &[], &["c", "x"]), "{ \"a\" : 1.0e0,\n  \"b\":[1, 2] }");
        assert_eq!(edited(body, &[], &["a", "b", "c"]), "{  }");
        assert_eq!(edited(body, &[("z", "1"), ("y", "2")], &["a", "b", "c"]), "{ \"z\":1,\"y\":2 }");
        assert_eq!(edited(body, &[("d", "4")], &["a", "c"]), "{ \"b\":[1, 2],\"d\":4 }");
        assert_eq!(edited(body, &[("b", "2")], &["a"]), "{ \"b\":2 ,\"c\": null }");
        assert_eq!(edited("{}", &[("z", "1")], &[]), "{\"z\":1}");
        assert_eq!(edited("{ }", &[("\"", "1")], &[]), "{\"\\\"\":1 }");
        assert_eq!(edited(r#"{"\u0061":1,"a":2}"#, &[("a", "3")], &[]), r#"{"\u0061":3,"a":3}"#, "whoever reads which");
    }

    #[test]
    fn what_changes_nothing_copies_nothing() {
        for (text, edits) in
            [("{\"a\":1}", edits(&[], &["b"])), ("[1]", edits(&[("a", "1")], &[])), ("{}", edits(&[], &[]))]
        {
            let body = Bytes::from_static(text.as_bytes());
            assert_eq!(edits.apply(&body).as_ptr(), body.as_ptr(), "{text}");
        }
    }

    /// The members of an object: keys as written, raw values.
    fn members(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut cursor = Cursor::new(body);
        assert!(cursor.enter(b'{'));
        let mut members = Vec::new();
        while let Some(key) = cursor.next_key() {
            let value = cursor.value();
            members.push((key.name.into_owned(), cursor.slice(value).to_vec()));
        }
        members
    }

    proptest! {
        /// Whatever is edited: the rest is there as it was, in its order, and the whole is JSON.
        #[test]
        fn every_other_member_stays(
            fields in prop::collection::vec((prop_oneof![literal(), Just("\"a\"".into()), Just("\"b\"".into())],
                space(), value(), space()), 0..6),
            lead in space(),
            set in any::<bool>(),
        ) {
            let list: Vec<_> = fields.iter().map(|(key, a, value, b)| format!("{a}{key}{b}:{a}{value}{b}")).collect();
            let body = Bytes::from(format!("{lead}{{{}{lead}}}{lead}", list.join(",")));
            let edits = edits(if set { &[("a", "{\"new\":1}"), ("c", "2")] } else { &[] }, &["b"]);
            let out = edits.apply(&body);
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).unwrap();
            let others = |body: &[u8]| -> Vec<_> {
                members(body).into_iter().filter(|(name, _)| ![&b"a"[..], b"b", b"c"].contains(&&**name)).collect()
            };
            prop_assert_eq!(others(&body), others(&out));
            let named = |body: &[u8], name: &[u8]| -> Vec<Vec<u8>> {
                members(body).into_iter().filter(|(n, _)| n == name).map(|(_, value)| value).collect()
            };
            prop_assert!(named(&out, b"b").is_empty());
            if set {
                prop_assert!(!named(&out, b"a").is_empty());
                let new = named(&out, b"a").iter().all(|value| value == b"{\"new\":1}");
                prop_assert!(new);
            } else {
                prop_assert_eq!(named(&out, b"a"), named(&body, b"a"));
            }
        }
    }
}
