//! JSON objects of which single fields are changed: the others keep their order and are written as they were.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// An object.
#[derive(Debug, Default)]
pub(crate) struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Reads one; `None` if `json` is something else.
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.get())
    }

    /// Gives a field another value, at its place or at the end.
    pub fn set(&mut self, name: &str, value: &impl Serialize) {
        let value = to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        match self.0.iter_mut().rev().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, _)| other != name);
        before != self.0.len()
    }

    /// As JSON.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The value at the end of a path of names.
pub(crate) fn value_at(object: &Object, path: &[impl AsRef<str>]) -> Option<String> {
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

/// Changes what is at `path` in `object`: names, numbers of elements, and `*` for all of them. Objects on the way are made.
pub(crate) fn change(object: &mut Object, path: &[String], change: &Change<'_>) {
    let Some((name, rest)) = path.split_first() else { return };
    let names = if name == "*" { object.names() } else { vec![name.clone()] };
    for name in names {
        let value = object.get(&name);
        if rest.is_empty() {
            match change {
                Change::Set(new) => object.set(&name, new),
                Change::Default(new) if value.is_none() => object.set(&name, new),
                Change::Default(_) => {}
                Change::Remove => {
                    object.remove(&name);
                }
            }
        } else if let Some(new) = inner(value, rest, change) {
            object.set(&name, &new);
        }
    }
}

/// The same in a value; `None`: nothing to change.
fn inner(value: Option<&str>, path: &[String], what: &Change<'_>) -> Option<Box<RawValue>> {
    let text = value.map_or("{}", str::trim_start);
    if value.is_none() && matches!(what, Change::Remove) {
        return None;
    }
    if text.starts_with('{') {
        let mut object = Object::read(text.as_bytes())?;
        change(&mut object, path, what);
        return to_raw_value(&object).ok();
    }
    let mut elements: Vec<Box<RawValue>> = text.starts_with('[').then(|| serde_json::from_str(text).ok())??;
    let (place, rest) = path.split_first()?;
    let place: Option<usize> = place.parse().ok();
    let everywhere = path.first().is_some_and(|name| name == "*");
    let mut gone = Vec::new();
    for (number, element) in elements.iter_mut().enumerate().filter(|(number, _)| everywhere || Some(*number) == place)
    {
        if rest.is_empty() {
            match what {
                Change::Set(new) => *element = to_raw_value(new).ok()?,
                Change::Default(_) => {}
                Change::Remove => gone.push(number),
            }
        } else if let Some(new) = inner(Some(element.get()), rest, what) {
            *element = new;
        }
    }
    for number in gone.into_iter().rev() {
        elements.remove(number);
    }
    to_raw_value(&elements).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_named_changes() {
        let body = r#"{"z":1.50,"a":{"b":[{"n":"x","k":1},{"n":"y"}]},"m":"é"}"#;
        let run = |path: &str, what: Change<'_>| {
            let mut object = Object::read(body.as_bytes()).unwrap();
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            change(&mut object, &path, &what);
            String::from_utf8(object.write()).unwrap()
        };
        assert_eq!(run("m", Change::Set(&json!(2))), r#"{"z":1.50,"a":{"b":[{"n":"x","k":1},{"n":"y"}]},"m":2}"#);
        assert_eq!(run("a.b.*.n", Change::Remove), r#"{"z":1.50,"a":{"b":[{"k":1},{}]},"m":"é"}"#);
        assert_eq!(run("a.b.1", Change::Remove), r#"{"z":1.50,"a":{"b":[{"n":"x","k":1}]},"m":"é"}"#);
        assert_eq!(run("a.b.0.n", Change::Set(&json!("q"))), body.replace("\"x\"", "\"q\""));
        assert_eq!(run("z", Change::Default(&json!(9))), body);
        assert_eq!(run("q.r", Change::Default(&json!(9))), body.replace("\"é\"}", "\"é\",\"q\":{\"r\":9}}"));
        assert_eq!(run("q.r", Change::Remove), body);
        assert_eq!(run("m.r", Change::Set(&json!(9))), body);
    }
}
