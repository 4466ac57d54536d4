//! Reading a value of an event without building it: which keys it has, and whether they say anything.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A field's value as it stands in the event. `null` and an absent field are both `None`.
pub(super) type Raw<'a> = Option<&'a RawValue>;

/// The bytes of a value.
pub(super) fn bytes(raw: &RawValue) -> &[u8] {
    raw.get().as_bytes()
}

/// Whether a value holds something: not `null`, `false`, `""`, `[]` or `{}`.
pub(super) fn has_content(raw: &RawValue) -> bool {
    let text = raw.get();
    match text.as_bytes().first() {
        None | Some(b'n' | b'f') => false,
        Some(b'"') => text.len() > 2,
        Some(b'[' | b'{') => text[1..text.len() - 1].bytes().any(|byte| !byte.is_ascii_whitespace()),
        Some(_) => true,
    }
}

/// The `type` of an event that has no `event:` line.
pub(super) fn type_of(data: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    serde_json::from_slice::<Typed<'_>>(data).ok().map(|typed| typed.r#type)
}

/// Whether an object has a field with content that is not `ignored`. Anything but an object has none.
pub(super) fn has_field(raw: &RawValue, ignored: &'static [&'static str]) -> bool {
    struct Fields(&'static [&'static str]);

    #[derive(serde::Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

    impl<'de> Visitor<'de> for Fields {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
            let mut found = false;
            while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                found |= has_content(value) && !self.0.contains(&&*name.0);
            }
            Ok(found)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer.deserialize_map(Fields(ignored)).unwrap_or(false)
}

/// A value of which only its being there matters is read as raw, so that an unexpected type never makes the whole event
/// unreadable.
pub(super) fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Option<T> {
    serde_json::from_slice(data).ok()
}
