//! What a line of the log wants of a JSON object. It has some forty members: to serialize a structure of them takes three times
//! as long, and texts that need no escape are most of them.

use std::time::Duration;

use ai_gateway_providers::json::Object;

pub(super) trait Members {
    fn text(&mut self, name: &'static str, text: &str);
    fn number(&mut self, name: &'static str, number: u64);
    /// Milliseconds with up to three decimals, and with one at least.
    fn millis(&mut self, name: &'static str, duration: Duration);

    fn maybe_text(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn maybe_number(&mut self, name: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(name, number);
        }
    }
}

impl Members for Object<'_> {
    fn text(&mut self, name: &'static str, text: &str) {
        if !is_plain(text) {
            return self.field(name, text);
        }
        let out = self.key(name);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.key(name).extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn millis(&mut self, name: &'static str, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let out = self.key(name);
        out.extend_from_slice(itoa::Buffer::new().format(micros / 1_000).as_bytes());
        // A thousand more, so that the zeros in front are there.
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(1_000 + micros % 1_000).get(1..).unwrap_or_default();
        let (first, others) = digits.split_at_checked(1).unwrap_or_default();
        out.push(b'.');
        out.extend_from_slice(first.as_bytes());
        out.extend_from_slice(others.trim_end_matches('0').as_bytes());
    }
}

/// Whether it stands in JSON as it is. Looking at every byte is faster than to stop at the first that does not.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use ai_gateway_providers::json;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(text in any::<String>(), ascii in "[ -~\\x00-\\x1f]*") {
            let written = json::body(|object| {
                object.text("a", &text);
                object.text("b", &ascii);
            });
            prop_assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), json!({"a": text, "b": ascii}));
        }

        #[test]
        fn milliseconds_are_spelt_as_a_float_is(micros in prop_oneof![0..2_000u64, 0..1u64 << 50]) {
            let written = json::body(|object| object.millis("a", Duration::from_micros(micros)));
            let float = serde_json::to_string(&(micros as f64 / 1_000.0)).unwrap();
            prop_assert_eq!(String::from_utf8(written).unwrap(), format!("{{\"a\":{float}}}"));
        }
    }
}
