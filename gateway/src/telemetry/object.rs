//! A JSON object, written member by member. A line of the log has some forty: to serialize a structure of them takes three
//! times as long, most of it for names that never need an escape.

use std::time::Duration;

use serde::Serialize;

/// An object that is being written to the end of `out`; [`Object::end`] closes it.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// Begins the member `name`, whose value is to follow. Names are ours, and plain.
    pub(super) fn value(&mut self, name: &str) -> &mut Vec<u8> {
        let before: &[u8] = if self.is_empty { b"\"" } else { b",\"" };
        self.is_empty = false;
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        let out = self.value(name);
        if is_plain(text) {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        } else {
            // A text has no value that JSON could not hold, and memory takes all.
            _ = serde_json::to_writer(out, text);
        }
    }

    pub(super) fn maybe_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.value(name).extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn maybe_number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(name, number);
        }
    }

    /// Milliseconds with up to three decimals, and with one at least.
    pub(super) fn millis(&mut self, name: &str, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.number(name, micros / 1_000);
        // A thousand more, so that the zeros in front are there.
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(1_000 + micros % 1_000).get(1..).unwrap_or_default();
        let (first, others) = digits.split_at_checked(1).unwrap_or_default();
        self.out.push(b'.');
        self.out.extend_from_slice(first.as_bytes());
        self.out.extend_from_slice(others.trim_end_matches('0').as_bytes());
    }

    /// Anything that has a [`Serialize`] of its own.
    pub(super) fn other(&mut self, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
        serde_json::to_writer(self.value(name), value)
    }

    /// A list of objects.
    pub(super) fn list<T>(&mut self, name: &str, items: &[T], mut write: impl FnMut(&T, &mut Object<'_>)) {
        let out = self.value(name);
        out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let mut object = Object::begin(out);
            write(item, &mut object);
            object.end();
        }
        out.push(b']');
    }
}

/// Whether it stands in JSON as it is. Looking at every byte is faster than to stop at the first that does not.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(write: impl FnOnce(&mut Object<'_>)) -> serde_json::Value {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        write(&mut object);
        object.end();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn nothing_and_lists_of_nothing() {
        assert_eq!(written(|_| {}), json!({}));
        let lists = written(|object| {
            object.list("none", &[(); 0], |(), _| {});
            object.list("some", &[1, 2], |number, item| item.number("n", *number));
        });
        assert_eq!(lists, json!({"none": [], "some": [{"n": 1}, {"n": 2}]}));
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(text in any::<String>(), ascii in "[ -~\\x00-\\x1f]*") {
            let value = written(|object| {
                object.text("a", &text);
                object.text("b", &ascii);
            });
            prop_assert_eq!(value, json!({"a": text, "b": ascii}));
        }

        #[test]
        fn milliseconds_are_spelt_as_a_float_is(micros in prop_oneof![0..2_000u64, 0..1u64 << 50]) {
            let mut out = Vec::new();
            Object::begin(&mut out).millis("a", Duration::from_micros(micros));
            let float = serde_json::to_string(&(micros as f64 / 1_000.0)).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"a\":{float}"));
        }
    }
}
