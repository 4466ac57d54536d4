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

    /// Gives a field another value, at its place or at the end.
    pub fn set(&mut self, name: &str, value: &impl Serialize) {
        let value = to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        if let Some((_, old)) = self.added.iter_mut().find(|(other, _)| other == name) {
            *old = value;
            return;
        }
        let mut members = self.members.iter_mut().rev().filter(|member| !matches!(member.new, New::Gone));
        match members.find(|member| member.name == name) {
            Some(member) => member.new = New::Other(value),
            None => self.added.push((name.to_owned(), value)),
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

    fn names(&self) -> Vec<String> {
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
            _ if !rest.is_empty() => {
                if let Some(new) = inner(value, rest, change) {
                    object.set(&name, &new);
                }
            }
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
    use serde_json::json;

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
            ("n", Change::Set(&json!(3)), body.replace("\"n\" : 2", "\"n\" : 3")),
            ("café.a.0", Change::Remove, body.replace("[ 1 , 2 ]", "[ 2 ]")),
            ("café.a.1", Change::Remove, body.replace("[ 1 , 2 ]", "[ 1 ]")),
            ("café.b", Change::Default(&json!(1)), body.to_owned()),
            ("café.c", Change::Set(&json!(1)), body.replace("null }", "null,\"c\":1 }")),
            ("*", Change::Remove, " { }\n".to_owned()),
        ] {
            assert_eq!(run(body, path, &what), wanted, "{path}");
        }
        assert_eq!(run("{}", "a\"", &Change::Set(&json!(1))), r#"{"a\"":1}"#);
        assert_eq!(run("{ }", "a.b", &Change::Set(&json!(1))), r#"{"a":{"b":1} }"#);
        for other in ["[1]", "1", "", "{", "{\"a\"}", "null"] {
            assert!(Object::read(other.as_bytes()).is_none(), "{other}");
        }
    }

    proptest::proptest! {
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
