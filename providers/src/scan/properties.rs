//! Property tests: bodies of every shape, through the invariants of [`fidelity`].

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Edits, fidelity, scan_json, scan_multipart};

/// White space as JSON allows it.
pub(super) fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A string literal: plain, Unicode, or with escapes, lone surrogates among them.
pub(super) fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        r#"([a-z{}\[\],:é😀]|\\[\\"/bfnrt]|\\u[0-9a-fA-F]{4}|\\ud83d\\ude00|\\ud800){0,12}"#
            .prop_map(|inner| format!("\"{inner}\"")),
    ]
}

/// The text of any value: number spellings and nesting as a client may choose them.
pub(super) fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        literal(),
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            (prop::collection::vec((space(), inner.clone(), space()), 0..5)).prop_map(|items| {
                let items: Vec<_> = items.into_iter().map(|(a, item, b)| a + &item + &b).collect();
                format!("[{}]", items.join(","))
            }),
            (prop::collection::vec((space(), literal(), space(), inner), 0..5)).prop_map(object),
        ]
    })
}

fn object(members: Vec<(String, String, String, String)>) -> String {
    let members: Vec<_> = members.into_iter().map(|(a, key, b, value)| format!("{a}{key}{b}:{a}{value}{b}")).collect();
    format!("{{{}}}", members.join(","))
}

/// `model` as a key, plain or with an escape.
fn model_key() -> impl Strategy<Value = String> {
    prop_oneof![Just(r#""model""#.to_owned()), Just(r#""mod\u0065l""#.to_owned())]
}

fn model_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9./:_-]{1,20}", r#"[\PC"\\]{1,20}"#]
        .prop_filter("a name", |name| crate::model_name::check(name).is_ok())
}

/// Keys that the gateway reads, with values that are sometimes right.
fn known_member() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        (Just("\"stream\"".to_owned()), prop_oneof![Just("true".to_owned()), Just("false".to_owned()), value()]),
        (
            Just("\"stream_options\"".to_owned()),
            prop_oneof![
                Just("null".to_owned()),
                Just("{ }".to_owned()),
                Just(r#"{"include_usage" : true}"#.to_owned()),
                Just(r#"{"a":1, "include_usage":false }"#.to_owned()),
                value()
            ]
        ),
        (prop_oneof![Just("\"max_tokens\"".to_owned()), Just("\"max_output_tokens\"".to_owned())], value()),
        (literal(), value()),
    ]
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases(400))]

    /// The guarantee of the gateway: outside the model's span, what is sent is what came.
    #[test]
    fn only_the_model_changes(
        mut before in prop::collection::vec((space(), literal(), space(), value()), 0..6),
        after in prop::collection::vec((space(), literal(), space(), value()), 0..6),
        (s1, key, s2) in (space(), model_key(), space()),
        (old, new) in (model_name(), model_name()),
        margin in space(),
    ) {
        let read = |key: &str| serde_json::from_str::<String>(key)
            .is_ok_and(|key| super::json::NAMES.iter().any(|name| name.eq_ignore_ascii_case(&key)));
        prop_assume!(before.iter().chain(&after).all(|(_, key, ..)| !read(key)));
        before.push((s1, key, s2, serde_json::to_string(&old).unwrap()));
        before.extend(after);
        let body = Bytes::from(margin.clone() + &object(before) + &margin);
        let scan = scan_json(&body).unwrap();
        let field = scan.model.clone().unwrap();
        prop_assert_eq!(&field.value, &old);
        let sent = scan.rewrite(&body, &Edits { model: Some(&new), include_usage: false });
        prop_assert_eq!(&sent[..field.span.start], &body[..field.span.start]);
        prop_assert!(sent.ends_with(&body[field.span.end..]));
        prop_assert_eq!(&scan_json(&sent).unwrap().model.unwrap().value, &new);
        prop_assert_eq!(fidelity::check_json(&body, &new), Ok(()));
    }

    /// Streaming options in all their forms.
    #[test]
    fn usage_is_asked_for(
        members in prop::collection::vec((space(), known_member()), 0..6),
        at in any::<prop::sample::Index>(),
        (stream, old, new) in (any::<bool>(), prop::option::of(prop::option::of(model_name())), model_name()),
    ) {
        let mut members: Vec<_> =
            members.into_iter().map(|(space, (key, value))| (space.clone(), key, space, value)).collect();
        if stream {
            members.insert(0, (String::new(), "\"stream\"".to_owned(), String::new(), "true".to_owned()));
        }
        // Absent, null, or a name.
        if let Some(old) = old {
            let model = (String::new(), "\"model\"".to_owned(), String::new(), serde_json::to_string(&old).unwrap());
            members.insert(at.index(members.len() + 1), model);
        }
        prop_assert_eq!(fidelity::check_json(object(members).as_bytes(), &new), Ok(()));
    }

    #[test]
    fn truncated_and_broken_bodies_are_survived(
        members in prop::collection::vec((space(), literal(), space(), value()), 0..4),
        cut in any::<prop::sample::Index>(),
        broken in any::<u8>(),
    ) {
        let mut body = object(members).into_bytes();
        let at = cut.index(body.len());
        prop_assert_eq!(fidelity::check_json(&body[..at], "m"), Ok(()));
        body[at] = broken;
        prop_assert_eq!(fidelity::check_json(&body, "m"), Ok(()));
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..200), model in any::<String>()) {
        prop_assert_eq!(fidelity::check_json(&body, &model), Ok(()));
        prop_assert_eq!(fidelity::check_multipart("multipart/form-data; boundary=x", &body, &model), Ok(()));
        let content_type = String::from_utf8_lossy(&body);
        prop_assert_eq!(fidelity::check_multipart(&content_type, &body, &model), Ok(()));
    }

    /// Binary parts of any content around the fields.
    #[test]
    fn forms_keep_their_binary_parts(
        boundary in "[A-Za-z0-9'()+_,./:=?-]{1,70}",
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
        at in any::<prop::sample::Index>(),
        (old, new) in (prop::option::of(model_name()), model_name()),
        cut in any::<prop::sample::Index>(),
    ) {
        let delimiter = format!("--{boundary}").into_bytes();
        let holds = |part: &[u8]| memchr::memmem::find(part, &delimiter).is_some();
        prop_assume!(!parts.iter().any(|part| holds(part)) && old.iter().chain([&new]).all(|name| !holds(name.as_bytes())));
        let mut fields: Vec<(String, Vec<u8>)> =
            parts.into_iter().enumerate().map(|(n, part)| (format!("file{n}\"; filename=\"a.bin"), part)).collect();
        if let Some(old) = &old {
            fields.insert(at.index(fields.len() + 1), ("model".to_owned(), old.clone().into_bytes()));
        }
        prop_assume!(!fields.is_empty());
        let mut body = Vec::new();
        for (name, value) in &fields {
            let mut head = String::new();
            write!(head, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").unwrap();
            body.extend([head.as_bytes(), value.as_slice(), b"\r\n"].concat());
        }
        body.extend(format!("--{boundary}--\r\n").bytes());
        let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");

        prop_assert_eq!(fidelity::check_multipart(&content_type, &body[..cut.index(body.len())], &new), Ok(()));
        prop_assert_eq!(fidelity::check_multipart(&content_type, &body, &new), Ok(()));
        let body = Bytes::from(body);
        let scan = scan_multipart(&content_type, &body).unwrap();
        prop_assert_eq!(scan.model.as_ref().map(|field| &field.value), old.as_ref());
        let sent = scan.rewrite(&body, &Edits { model: Some(&new), include_usage: true });
        prop_assert_eq!(&scan_multipart(&content_type, &sent).unwrap().model.unwrap().value, &new);
    }
}
