//! [`Tree`], a JSON value that borrows from its text: the cheapest form in which the small object of an answer's counts can
//! be asked for one field after the other.

use std::fmt;
use std::ops::Index;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::common::Str;

/// A JSON value. It says of any text what `serde_json::Value` says.
#[derive(Debug, Clone, Default)]
pub(crate) enum Tree<'a> {
    #[default]
    Null,
    Bool(bool),
    Number(f64),
    Text(Str<'a>),
    Array(Vec<Tree<'a>>),
    /// The members in their order; of two with the same name the last counts.
    Object(Vec<(Str<'a>, Tree<'a>)>),
}

impl<'a> Tree<'a> {
    /// Reads a whole text; `None` if it is no JSON.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        // Whether it is UTF-8 is cheaper to find out once than of each string.
        serde_json::from_str(str::from_utf8(text).ok()?).ok()
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The elements of an array; none if it is something else.
    pub(crate) fn elements(&self) -> &[Self] {
        if let Self::Array(elements) = self { elements } else { &[] }
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Takes a member out of an object.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Self::Object(members) = self {
            members.retain(|(member, _)| member != name);
        }
    }
}

/// A member of an object; `Null` if there is none, or this is no object.
impl<'a> Index<&str> for Tree<'a> {
    type Output = Tree<'a>;

    fn index(&self, name: &str) -> &Tree<'a> {
        let Self::Object(members) = self else { return &Tree::Null };
        members.iter().rfind(|(member, _)| member == name).map_or(&Tree::Null, |(_, value)| value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Tree<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        #[expect(clippy::cast_precision_loss, reason = "as serde_json's `as_f64`")]
        impl<'de> Visitor<'de> for Any {
            type Value = Tree<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E: Error>(self) -> Result<Tree<'de>, E> {
                Ok(Tree::Null)
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Tree<'de>, E> {
                Ok(Tree::Bool(value))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Tree<'de>, E> {
                Ok(Tree::Number(number as f64))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Tree<'de>, E> {
                Ok(Tree::Number(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Tree<'de>, E> {
                Ok(Tree::Number(number))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Tree<'de>, E> {
                Ok(Tree::Text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Tree<'de>, E> {
                Ok(Tree::Text(text.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Tree<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = array.next_element()? {
                    elements.push(element);
                }
                Ok(Tree::Array(elements))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Tree<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    if members.is_empty() {
                        // Hardly an object of counts has more, so that it need not grow.
                        members.reserve(8);
                    }
                    members.push(member);
                }
                Ok(Tree::Object(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
impl<'a> From<&'a serde_json::Value> for Tree<'a> {
    fn from(value: &'a serde_json::Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Asks both for everything that either has, and for what neither has.
    fn same(tree: &Tree<'_>, value: &Value) {
        assert_eq!(tree.as_f64().map(f64::to_bits), value.as_f64().map(f64::to_bits));
        assert_eq!(tree.as_str(), value.as_str());
        assert_eq!((tree.is_object(), matches!(tree, Tree::Null)), (value.is_object(), value.is_null()));
        assert_eq!(
            (tree.elements().len(), matches!(tree, Tree::Array(_))),
            match value {
                Value::Array(elements) => (elements.len(), true),
                _ => (0, false),
            }
        );
        tree.elements().iter().zip(value.as_array().into_iter().flatten()).for_each(|(tree, value)| same(tree, value));
        if let Tree::Object(members) = tree {
            assert!(members.iter().all(|(name, _)| value.get(&**name).is_some()));
        }
        value.as_object().into_iter().flatten().for_each(|(name, value)| same(&tree[name], value));
        assert!(matches!(tree["absent"], Tree::Null));
    }

    fn check(text: &[u8]) {
        match (Tree::parse(text), serde_json::from_slice::<Value>(text)) {
            (Some(tree), Ok(value)) => {
                same(&tree, &value);
                same(&Tree::from(&value), &value);
                let (mut tree, mut value) = (tree, value);
                tree.remove("a");
                value.as_object_mut().map(|members| members.remove("a"));
                same(&tree, &value);
            }
            (None, Err(_)) => {}
            (tree, value) => panic!("{tree:?} but {value:?} of {}", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn extremes_are_read_as_serde_json_reads_them() {
        for text in [
            r#"{"a":1,"b":2,"\u0061":3}"#,
            r#"{"a":{"b":1},"a":{"c":2}}"#,
            r#"{"a":0,"a":null}"#,
            r#"{"\ud83d\ude00\"":"\n\u00e4"}"#,
            r#"{"\ud83d":1}"#,
            r#"["\ud83d"]"#,
            "[1,-1,1.5,-0,-0.0,1e3,18446744073709551615,18446744073709551616,-9223372036854775809,0.1e-400]",
            "1e400",
            "-1E+999",
            "nul",
            "{} {}",
            r#"{"a":}"#,
            "[01]",
            "",
            " null\n",
        ] {
            check(text.as_bytes());
        }
        check(b"{\"a\xff\":1}");
        check(b"[\"\xff\"]");
        for depth in [127, 128, 129, 100_000] {
            check(["[".repeat(depth), "]".repeat(depth)].concat().as_bytes());
            check(["{\"a\":".repeat(depth), "1".to_owned(), "}".repeat(depth)].concat().as_bytes());
        }
    }

    /// JSON with few names, so that they are often there twice, and with numbers and escapes of every kind.
    fn json() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            Just(r#""a""#.to_owned()),
            Just(r#""\u0061""#.to_owned()),
            Just(r#""b""#.to_owned()),
            r#""([ -!#-\[\]-~äß€😀]|\\["\\/bfnrt]|\\u[0-9a-f]{4}){0,6}""#,
        ];
        let number = prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<u64>().prop_map(|number| number.to_string()),
            "-?(0|[1-9][0-9]{0,22})([.][0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        ];
        let word = prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned);
        let leaf = prop_oneof![text.clone(), number, word];
        leaf.prop_recursive(5, 40, 6, move |inner| {
            let member = (text.clone(), inner.clone()).prop_map(|(name, value)| format!("{name} : {value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(|elements| format!("[{}]", elements.join(","))),
                prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",\n"))),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_as_serde_json_reads_it(text in json()) {
            check(text.as_bytes());
        }

        #[test]
        fn so_is_what_is_hardly_json(text in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = text.into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            check(&text);
        }
    }
}
