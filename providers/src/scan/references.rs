//! References to items of earlier answers (Responses' `item_reference`), and the items put in their place.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Field;

static ID: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"id\""));
/// A letter of ASCII that is written as an escape, which no client does without intent.
static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u00"));

/// The items of earlier answers that the `input` of a Responses body refers to, by their ids, and where the references stand.
/// Nothing in a body that is no JSON object.
pub fn item_references(body: &[u8]) -> Vec<Field<String>> {
    if ID.find(body).is_none() && ESCAPED.find(body).is_none() {
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(body) else { return Vec::new() };
    let mut found = Vec::new();
    // What cannot be read any further is refused by the scan that all bodies go through.
    _ = serde_json::Deserializer::from_str(text).deserialize_map(Body { text, found: &mut found });
    found
}

/// Every `input`: who reads the body may take another one than the first.
struct Body<'t> {
    text: &'t str,
    found: &'t mut Vec<Field<String>>,
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<&RawValue>()? {
            if decoded(key) != "input" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let input = map.next_value::<&RawValue>()?.get();
            let begin = input.as_ptr().addr() - self.text.as_ptr().addr();
            // A text has no items.
            _ = serde_json::Deserializer::from_str(input).deserialize_seq(Items { input, begin, found: self.found });
        }
        Ok(())
    }
}

struct Items<'i, 't> {
    input: &'i str,
    begin: usize,
    found: &'t mut Vec<Field<String>>,
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            let item = item.get();
            let Ok(Some(id)) = serde_json::Deserializer::from_str(item).deserialize_map(Reference) else { continue };
            let start = self.begin + item.as_ptr().addr() - self.input.as_ptr().addr();
            self.found.push(Field { value: id, span: start..start + item.len() });
        }
        Ok(())
    }
}

/// The id in an item that is a reference: its type says so, or it has neither that nor anything to say.
struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let (mut id, mut named, mut says) = (None, false, false);
        while let Some(key) = map.next_key::<&RawValue>()? {
            match &*decoded(key) {
                "id" => id = serde_json::from_str(map.next_value::<&RawValue>()?.get()).ok(),
                "type" => match decoded(map.next_value()?).as_ref() {
                    "item_reference" => named = true,
                    // `null`
                    "" => {}
                    _ => says = true,
                },
                "role" | "content" => {
                    map.next_value::<IgnoredAny>()?;
                    says = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(id.filter(|_| named || !says))
    }
}

/// A string; empty if it is none.
fn decoded(raw: &RawValue) -> Cow<'_, str> {
    let raw = raw.get();
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => Cow::Owned(serde_json::from_str(raw).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::splice;
    use super::*;

    fn ids(body: &str) -> Vec<String> {
        item_references(body.as_bytes()).into_iter().map(|reference| reference.value).collect()
    }

    #[test]
    fn references_are_found_however_they_are_written() {
        let body = r#"{"input": [{"role":"user","content":"hi","id":"u"}, {"type":"item_reference","id":"msg_1"},
            {"id" : "rs_1"}, {"type":null,"id":"fc_1"}, {"type":"item\u005freference","\u0069d":"msg_2"},
            {"type":"message","type":"item_reference","id":"msg_3"}, {"type":"reasoning","id":"rs_2"}, "x", {"id": 7}],
            "metadata": {"input": [{"id": "no"}]}, "input": [{"id":"msg_4"}]}"#;
        assert_eq!(ids(body), ["msg_1", "rs_1", "fc_1", "msg_2", "msg_3", "msg_4"]);
        assert!(ids(r#"{"input":"\"id\"","id":"x"}"#).is_empty());
        assert!(ids(r#"{"input":[{"role":"user","content":"what is an item_reference?"}]}"#).is_empty());
    }

    #[test]
    fn items_take_the_place_of_references() {
        let body = r#"{"input": [{"id":"a"}, 1, {"type":"item_reference","id":"b"} ]}"#;
        let found = item_references(body.as_bytes());
        let items: Vec<_> = found.iter().map(|found| (found.span.clone(), format!("[{}]", found.value))).collect();
        assert_eq!(splice(body.as_bytes(), &items), br#"{"input": [[a], 1, [b] ]}"#);
        assert_eq!(splice(body.as_bytes(), &items[1..]), br#"{"input": [{"id":"a"}, 1, [b] ]}"#);
    }
}
