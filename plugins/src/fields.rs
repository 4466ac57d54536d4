//! JSON of which single fields are changed: every byte that nobody changes stays as it was written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// An object, or an array, whose elements go by their numbers.
#[derive(Debug)]
pub(crate) struct Object<'j> {
    json: &'j str,
    members: Vec<Member<'j>>,
    added: Vec<(String, Box<RawValue>)>,
}

#[derive(Debug)]
struct Member<'j> {
    name: Cow<'j, str>,
    old: &'j str,
    new: New,
}

#[derive(Debug)]
enum New {
    Same,
    Other(Box<RawValue>),
    Gone,
}

impl Default for Object<'_> {
    fn default() -> Self {
        Self { json: "{}", members: Vec::new(), added: Vec::new() }
    }
}

impl<'j> Object<'j> {
    /// Reads an object; `None` if `json` is something else.
    pub fn read(json: &'j [u8]) -> Option<Self> {
        let json = std::str::from_utf8(json).ok()?;
        json.trim_start().starts_with('{').then(|| Self::of(json))?
    }

    /// Reads an object or an array.
    fn of(json: &'j str) -> Option<Self> {
        let Members(members) = serde_json::from_str(json).ok()?;
        Some(Self { json, members, added: Vec::new() })
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        if let Some((_, value)) = self.added.iter().find(|(other, _)| other == name) {
            return Some(value.get());
        }
        self.members.iter().rev().find(|member| member.name == name).and_then(Member::value)
    }

    /// Gives a field another value, at its place or at the end. If it is there twice, everywhere: readers differ in which they take.
    pub fn set(&mut self, name: &str, value: &impl Serialize) {
        let value = to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        self.edit(name, |_| Some(value.clone()));
    }

    /// Gives a field the value that `new` makes of its own; of none if it is not there. `None`: it stays as it is.
    pub fn edit(&mut self, name: &str, mut new: impl FnMut(Option<&str>) -> Option<Box<RawValue>>) {
        let mut there = false;
        for member in self.members.iter_mut().filter(|member| member.name == name) {
            let Some(value) = member.value() else { continue };
            there = true;
            if let Some(new) = new(Some(value)) {
                member.new = New::Other(new);
            }
        }
        for (_, value) in self.added.iter_mut().filter(|(other, _)| other == name) {
            there = true;
            if let Some(new) = new(Some(value.get())) {
                *value = new;
            }
        }
        if !there && let Some(new) = new(None) {
            self.added.push((name.to_owned(), new));
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.added.len();
        self.added.retain(|(other, _)| other != name);
        let mut found = before != self.added.len();
        for member in self.members.iter_mut().filter(|member| member.name == name && !matches!(member.new, New::Gone)) {
            (member.new, found) = (New::Gone, true);
        }
        found
    }

    /// As JSON.
    pub fn write(&self) -> Vec<u8> {
        self.text().into()
    }

    fn text(&self) -> String {
        let mut out = String::with_capacity(self.json.len());
        let (mut from, mut empty) = (self.json.len() - self.json.trim_start().len() + 1, true);
        out.push_str(&self.json[..from]);
        for Member { old, new, .. } in &self.members {
            let start = old.as_ptr().addr() - self.json.as_ptr().addr();
            let before = &self.json[from..start];
            from = start + old.len();
            let value = match new {
                New::Same => old,
                New::Other(value) => value.get(),
                New::Gone => continue,
            };
            // What stood before it went with its comma.
            let before = if empty { before.trim_start().strip_prefix(',').unwrap_or(before) } else { before };
            out.push_str(before);
            out.push_str(value);
            empty = false;
        }
        for (name, value) in &self.added {
            if !std::mem::take(&mut empty) {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(name.as_str()).to_string());
            out.push(':');
            out.push_str(value.get());
        }
        out.push_str(&self.json[from..]);
        out
    }

    fn is_array(&self) -> bool {
        self.json.trim_start().starts_with('[')
    }

    /// The names of its fields, in order.
    pub fn names(&self) -> Vec<String> {
        let left = self.members.iter().filter(|member| !matches!(member.new, New::Gone));
        let added = self.added.iter().map(|(name, _)| name.clone());
        left.map(|member| member.name.clone().into_owned()).chain(added).collect()
    }
}

impl Member<'_> {
    fn value(&self) -> Option<&str> {
        match &self.new {
            New::Same => Some(self.old),
            New::Other(value) => Some(value.get()),
            New::Gone => None,
        }
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.text()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

struct Members<'j>(Vec<Member<'j>>);

impl<'de: 'j, 'j> Deserialize<'de> for Members<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push(Member { name, old: value.get(), new: New::Same });
                }
                Ok(Members(members))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Members<'de>, S::Error> {
                let mut members = Vec::new();
                while let Some(value) = list.next_element::<&'de RawValue>()? {
                    members.push(Member { name: members.len().to_string().into(), old: value.get(), new: New::Same });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[derive(serde::Deserialize)]
struct Name<'j>(#[serde(borrow)] Cow<'j, str>);

/// The value at the end of a path of names.
pub(crate) fn value_at(object: &Object<'_>, path: &[impl AsRef<str>]) -> Option<String> {
    let (name, rest) = path.split_first()?;
    let value = object.get(name.as_ref())?;
    if rest.is_empty() { Some(value.to_owned()) } else { value_at(&Object::read(value.as_bytes())?, rest) }
}

/// What becomes of the value at the end of a path.
pub(crate) enum Change<'v> {
    /// It becomes this.
    Set(&'v serde_json::Value),
    /// It becomes this if there is none.
    Default(&'v serde_json::Value),
    /// It goes.
    Remove,
}

/// Changes what is at `path` in `object`: names, numbers of elements, and `*` for all of them. Objects on the way are made, elements
/// are not.
pub(crate) fn change(object: &mut Object<'_>, path: &[String], change: &Change<'_>) {
    let Some((name, rest)) = path.split_first() else { return };
    let names = if name == "*" { object.names() } else { vec![name.clone()] };
    for name in names {
        let value = object.get(&name);
        if value.is_none() && object.is_array() {
            continue;
        }
        match change {
            _ if !rest.is_empty() => object.edit(&name, |value| inner(value, rest, change)),
            Change::Set(new) => object.set(&name, new),
            Change::Default(new) if value.is_none() => object.set(&name, new),
            Change::Default(_) => {}
            Change::Remove => _ = object.remove(&name),
        }
    }
}

/// The same in a value; `None`: nothing to change.
fn inner(value: Option<&str>, path: &[String], what: &Change<'_>) -> Option<Box<RawValue>> {
    let mut object = match value {
        Some(value) => Object::of(value)?,
        None if matches!(what, Change::Remove) => return None,
        None => Object::default(),
    };
    change(&mut object, path, what);
    to_raw_value(&object).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::scan::FieldEdits;
    use proptest::prelude::{Just, Strategy, prop_oneof};
    use serde_json::{Value, json};

    fn run(body: &str, path: &str, what: &Change<'_>) -> String {
        let mut object = Object::read(body.as_bytes()).unwrap();
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        change(&mut object, &path, what);
        String::from_utf8(object.write()).unwrap()
    }

    #[test]
    fn only_what_is_named_changes() {
        let body = r#"{"z":1.50,"a":{"b":[{"n":"x","k":1},{"n":"y"}]},"m":"é"}"#;
        let run = |path: &str, what: Change<'_>| run(body, path, &what);
        assert_eq!(run("m", Change::Set(&json!(2))), r#"{"z":1.50,"a":{"b":[{"n":"x","k":1},{"n":"y"}]},"m":2}"#);
        assert_eq!(run("a.b.*.n", Change::Remove), r#"{"z":1.50,"a":{"b":[{"k":1},{}]},"m":"é"}"#);
        assert_eq!(run("a.b.1", Change::Remove), r#"{"z":1.50,"a":{"b":[{"n":"x","k":1}]},"m":"é"}"#);
        assert_eq!(run("a.b.0.n", Change::Set(&json!("q"))), body.replace("\"x\"", "\"q\""));
        assert_eq!(run("z", Change::Default(&json!(9))), body);
        assert_eq!(run("q.r", Change::Default(&json!(9))), body.replace("\"é\"}", "\"é\",\"q\":{\"r\":9}}"));
        assert_eq!(run("q.r", Change::Remove), body);
        assert_eq!(run("m.r", Change::Set(&json!(9))), body);
        assert_eq!(run("a.b.2", Change::Set(&json!(9))), body);
        assert_eq!(run("a.b.x", Change::Default(&json!(9))), body);
    }

    #[test]
    fn what_is_not_named_stays_as_it_was_written() {
        let body = " { \"mod\\u0065l\" : \"m\" ,\n\t\"n\": 1.0e0,\"caf\\u00e9\" : { \"a\" : [ 1 , 2 ] , \"b\":null } , \"n\" : 2 }\n";
        for (path, what, wanted) in [
            ("model", Change::Set(&json!("x")), body.replace("\"m\" ,", "\"x\" ,")),
            ("model", Change::Remove, body.replace(" \"mod\\u0065l\" : \"m\" ,", "")),
            ("n", Change::Remove, body.replace(" ,\n\t\"n\": 1.0e0", "").replace(" , \"n\" : 2", "")),
            ("n", Change::Set(&json!(3)), body.replace("1.0e0", "3").replace("\"n\" : 2", "\"n\" : 3")),
            ("café.a.0", Change::Remove, body.replace("[ 1 , 2 ]", "[ 2 ]")),
            ("café.a.1", Change::Remove, body.replace("[ 1 , 2 ]", "[ 1 ]")),
            ("café.b", Change::Default(&json!(1)), body.to_owned()),
            ("café.c", Change::Set(&json!(1)), body.replace("null }", "null,\"c\":1 }")),
            ("*", Change::Remove, " { }\n".to_owned()),
        ] {
            assert_eq!(run(body, path, &what), wanted, "{path}");
        }
        let twice = r#"{"a":{"b":1}, "a":{"c":2},"a":3}"#;
        assert_eq!(run(twice, "a.b", &Change::Set(&json!(9))), r#"{"a":{"b":9}, "a":{"c":2,"b":9},"a":3}"#);
        assert_eq!(run(twice, "a.b", &Change::Remove), r#"{"a":{}, "a":{"c":2},"a":3}"#);
        assert_eq!(run("{}", "a\"", &Change::Set(&json!(1))), r#"{"a\"":1}"#);
        assert_eq!(run("{ }", "a.b", &Change::Set(&json!(1))), r#"{"a":{"b":1} }"#);
        for other in ["[1]", "1", "", "{", "{\"a\"}", "null"] {
            assert!(Object::read(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_set_is_written_as_a_route_writes_it() {
        for body in ["{}", "{ }", r#"{ "a" : 1.0 , "b":[2 ]}"#, r#" {"a":1,"a":{"c":3} } "#, r#"{"b": null}"#] {
            let set = vec![("a".to_owned(), "true".to_owned()), ("z\"".to_owned(), "[1]".to_owned())];
            let route = FieldEdits { set, remove: Vec::new() }.apply(&body.into());
            let mut object = Object::read(body.as_bytes()).unwrap();
            object.set("a", &true);
            object.set("z\"", &[1]);
            assert_eq!(String::from_utf8(object.write()).unwrap(), std::str::from_utf8(&route).unwrap());
        }
    }

    /// Any JSON, with white space, and no key twice.
    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![Just("1.50"), Just("null"), Just("\"\\u00e9\"")].prop_map(str::to_owned);
        leaf.prop_recursive(3, 24, 3, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..3);
            let map = proptest::collection::btree_map("[a-c]", inner, 0..3);
            prop_oneof![
                list.prop_map(|list| format!("[ {} ]", list.join(" , "))),
                map.prop_map(|map| {
                    let members: Vec<String> =
                        map.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
                    format!("{{ {} }}", members.join("\n, "))
                }),
            ]
        })
    }

    /// The value at the end of `path`.
    fn found<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
        path.iter().try_fold(value, |value, name| match value {
            Value::Array(list) => list.get(name.parse::<usize>().ok()?),
            value => value.get(name),
        })
    }

    /// What [`change`] does, with `new` set or, if it is none, taken out; of other than objects and arrays nothing.
    fn modelled(value: &mut Value, path: &[String], new: Option<&Value>) {
        let (name, rest) = path.split_first().unwrap();
        match value {
            Value::Object(members) if rest.is_empty() => match new {
                Some(new) => _ = members.insert(name.clone(), new.clone()),
                None => _ = members.remove(name),
            },
            Value::Object(members) => match (members.get_mut(name), new) {
                (Some(member), _) => modelled(member, rest, new),
                (None, Some(_)) => modelled(members.entry(name.clone()).or_insert(json!({})), rest, new),
                (None, None) => {}
            },
            Value::Array(list) => {
                let Some(at) = name.parse().ok().filter(|at| *at < list.len()) else { return };
                match new {
                    _ if !rest.is_empty() => modelled(&mut list[at], rest, new),
                    Some(new) => list[at] = new.clone(),
                    None => _ = list.remove(at),
                }
            }
            _ => {}
        }
    }

    /// Whether `short` is `long` without one piece of it.
    fn is_cut(short: &str, long: &str) -> bool {
        let same = |pair: &(u8, u8)| pair.0 == pair.1;
        let start = short.bytes().zip(long.bytes()).take_while(same).count();
        let end = short.bytes().rev().zip(long.bytes().rev()).take_while(same).count();
        short.len() <= long.len() && start + end >= short.len()
    }

    proptest::proptest! {
        /// At any path the value is that which serde_json has there, and no other byte is touched.
        #[test]
        fn one_place_changes(
            fields in proptest::collection::btree_map("[a-c]", any_json(), 0..4),
            path in proptest::collection::vec("[a-c]|[0-2]", 1..4),
            sets in proptest::bool::ANY,
        ) {
            let members: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value} ")).collect();
            let body = format!(" {{ {}}}\n", members.join(","));
            let old: Value = serde_json::from_str(&body).unwrap();
            let new = sets.then(|| json!(777));
            let out = run(&body, &path.join("."), &new.as_ref().map_or(Change::Remove, Change::Set));
            let mut wanted = old.clone();
            modelled(&mut wanted, &path, new.as_ref());
            proptest::prop_assert_eq!(&serde_json::from_str::<Value>(&out).unwrap(), &wanted, "{} {}", body, out);
            match (wanted == old, sets, found(&old, &path)) {
                (true, ..) => proptest::prop_assert_eq!(out, body),
                (_, true, Some(_)) => {
                    let (before, after) = out.split_once("777").unwrap();
                    proptest::prop_assert!(body.starts_with(before) && body.ends_with(after), "{} {}", body, out);
                }
                (_, true, None) => proptest::prop_assert!(is_cut(&body, &out), "{} {}", body, out),
                (_, false, _) => proptest::prop_assert!(is_cut(&out, &body), "{} {}", body, out),
            }
        }

        /// Field after field, as if they were a map's.
        #[test]
        fn edits_are_those_of_a_map(
            names in proptest::collection::vec("[a-c]", 0..6),
            edits in proptest::collection::vec(("[a-d]", proptest::option::of(0_u8..9)), 0..8),
            space in "[ \n\t]{0,2}",
        ) {
            let mut members: Vec<String> = Vec::new();
            for (at, name) in names.iter().enumerate() {
                members.push(format!("{space}\"{name}\"{space}:{space}{at}{space}"));
            }
            let body = format!("{space}{{{}{space}}}{space}", members.join(","));
            let mut model: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
            let mut object = Object::read(body.as_bytes()).unwrap();
            for (name, new) in edits {
                match new {
                    Some(new) => {
                        object.set(&name, &new);
                        model.insert(name.clone(), new.into());
                    }
                    None => proptest::prop_assert_eq!(object.remove(&name), model.remove(&name).is_some()),
                }
                let told = object.get(&name).map(str::to_owned);
                proptest::prop_assert_eq!(told, model.get(&name).map(ToString::to_string));
            }
            let read: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&object.write()).unwrap();
            proptest::prop_assert_eq!(read, model);
        }
    }
}
