//! The units of the file: durations, sizes, rates and hashes are strings there, and numbers from here on.
//!
//! The text types only carry their JSON Schema; parsing is left to the functions, so that every bad unit of a file is
//! reported and not only the first.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

// Without a link in its doc: rustc 1.95's rustdoc panics at one on what another crate has.
pub use ai_gateway_plugins::parse_size as size;

/// Reads a string; says in a person's words what it expects.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// A string of the file whose schema names a pattern and examples.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $description:literal, $pattern:literal, $examples:tt $(, $more:literal: $value:literal)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_string(Text($expected)).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $description,
                    "pattern": $pattern,
                    "examples": $examples
                    $(, $more: $value)?
                })
            }
        }
    };
}

text_type!(
    /// A length of time as written: `"30s"`, `"10m"`, `"1h 30m"`.
    DurationText,
    "a string such as \"30s\" or \"10m\"",
    "A length of time: a number and a unit (ms, s, m, h, d), several may follow each other.",
    r"^\s*([0-9]+(\.[0-9]+)?\s*[a-zA-Zµ]+\s*)+$",
    ["500ms", "30s", "10m", "1h 30m"]
);
text_type!(
    /// The admin listener's address as written, or that there is none.
    AdminText,
    "a string such as \"127.0.0.1:9090\", or \"off\"",
    "An IP address and a port, or `off`.",
    "^(off|.+:[0-9]+)$",
    ["127.0.0.1:9090", "off"]
);
text_type!(
    /// How long something is kept as written: a length of time or `"off"`.
    RetentionText,
    "a string such as \"400d\", or \"off\"",
    "A length of time (a number and a unit: m, h, d), or `off` for no end.",
    r"^\s*(off|([0-9]+(\.[0-9]+)?\s*[a-zA-Zµ]+\s*)+)$",
    ["90d", "400d", "off"]
);
text_type!(
    /// A number of bytes as written: `"32MiB"`.
    SizeText,
    "a string such as \"512KiB\" or \"32MiB\"",
    "A number of bytes with a unit: B, kB, KiB, MB, MiB, GB, GiB.",
    r"^[0-9]+(\.[0-9]+)?\s*[kKmMgGtT]?i?[bB]?$",
    ["512KiB", "32MiB", "1GiB"]
);
text_type!(
    /// So many per time as written: `"600/min"`.
    RateText,
    "a string such as \"600/min\"",
    "So many in a length of time: a whole number, a slash and s, sec, min, hour, h or day.",
    "^[0-9]+/(s|sec|min|hour|h|day)$",
    ["10/s", "600/min", "200000/day"]
);
text_type!(
    /// A share as written: `"5%"`.
    PercentText,
    "a string such as \"5%\"",
    "A share: a number from 0.01 to 100 and a percent sign.",
    r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$",
    ["0.5%", "5%", "100%"]
);
text_type!(
    /// When a second call is made, as written: `"p95"`, or a [`DurationText`].
    HedgeAfterText,
    "\"p95\" or a string such as \"800ms\"",
    "`p95`, or a length of time: a number and a unit (ms, s, m, h, d).",
    r"^\s*(p95|([0-9]+(\.[0-9]+)?\s*[a-zA-Zµ]+\s*)+)$",
    ["p95", "800ms", "2s"]
);
text_type!(
    /// The digest of a client's key as written.
    HashText,
    "a string such as \"sha256:…\"",
    "`sha256:` and the 64 hexadecimal digits of the SHA-256 of the whole key.",
    "^sha256:[0-9a-fA-F]{64}$",
    ["sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"]
);

text_type!(
    /// A reference to a secret as written, or the secret itself.
    SecretText,
    "a string such as \"env:NAME\" or \"file:PATH\"",
    "`env:NAME` (an environment variable), `file:PATH` or `credential:NAME` (a systemd credential); anything else is the secret itself, which is accepted with a warning.",
    "^.+$",
    ["env:OPENAI_API_KEY", "file:/etc/ai-gateway/openai.key", "credential:openai"],
    "writeOnly": true
);

/// So many per length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub count: u64,
    /// In which time.
    pub per: Duration,
}

/// A thousand years. What is not much longer can be added to any time.
const LONGEST: Duration = Duration::from_secs(1_000 * 31_557_600);

/// Parses a [`DurationText`]; zero is refused, and more than a thousand years.
///
/// # Errors
/// What is wrong, for a person.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(Duration::ZERO) => Err("a duration must be longer than zero: \"1ms\" is next to none".into()),
        Ok(value) if value > LONGEST => Err(format!("`{text}` is too long: no clock tells the end of it")),
        Ok(value) => Ok(value),
        Err(_) => {
            Err(format!("`{text}` is not a duration: write a number and a unit, as in \"30s\", \"10m\", \"1h 30m\""))
        }
    }
}

/// Parses a [`PercentText`] into parts of ten thousand, at least one.
///
/// # Errors
/// What is wrong, for a person.
pub fn percent(text: &str) -> Result<u32, String> {
    let bad = || format!("`{text}` is not a share: write a number from 0.01 to 100 and a percent sign, as in \"5%\"");
    let number = text.trim().strip_suffix('%').ok_or_else(bad)?.trim();
    let share: f64 = number.parse().map_err(|_| bad())?;
    if !(0.01..=100.0).contains(&share) {
        return Err(bad());
    }
    // In range, so that the cast is exact.
    Ok((share * 100.0).round() as u32)
}

impl FromStr for Rate {
    type Err = String;

    /// Reads a rate as written in the file; zero is refused. The error says what is wrong, for a person.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            format!(
                "`{text}` is not a rate: write a number, a slash and a unit, as in \"10/s\", \"600/min\", \"5000/day\""
            )
        };
        let (count, unit) = text.trim().split_once('/').ok_or_else(bad)?;
        let per = match unit {
            "s" | "sec" => 1,
            "min" => 60,
            "h" | "hour" => 3_600,
            "day" => 86_400,
            _ => return Err(bad()),
        };
        match count.parse() {
            Ok(0) => Err("a rate must be more than zero".into()),
            Ok(count) => Ok(Self { count, per: Duration::from_secs(per) }),
            Err(_) => Err(bad()),
        }
    }
}

/// Parses a point in time.
///
/// # Errors
/// What is wrong, for a person.
pub fn instant(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text.trim())
        .map_err(|_| format!("`{text}` is not a time: write it in UTC, as in \"2027-01-01T00:00:00Z\""))
}

/// Parses a [`HashText`].
///
/// # Errors
/// What is wrong, for a person.
pub fn sha256(text: &str) -> Result<[u8; 32], String> {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = text.strip_prefix("sha256:").ok_or_else(|| match is_digest(text) {
        true => "a hash begins with `sha256:`: write it before these digits".to_owned(),
        false => "a hash begins with `sha256:`; the key itself does not belong into the file: `ai-gateway key hash` \
                  makes it"
            .to_owned(),
    })?;
    let mut hash = [0; 32];
    match hex::decode_to_slice(digits, &mut hash) {
        Ok(()) => Ok(hash),
        Err(_) => Err(format!(
            "`sha256:` is followed by 64 hexadecimal digits; here are {} characters",
            digits.chars().count()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "30", "s", "30 parsecs", "-1s", "0s", "1001y", "300000000000y", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares() {
        assert_eq!((percent("5%"), percent(" 0.5 %"), percent("100%")), (Ok(500), Ok(50), Ok(10_000)));
        for bad in ["", "5", "%", "0%", "0.001%", "101%", "-1%", "NaN%", "inf%", "5%%"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!("600/min".parse(), Ok(Rate { count: 600, per: Duration::from_secs(60) }));
        assert_eq!("1/day".parse(), Ok(Rate { count: 1, per: Duration::from_secs(86_400) }));
        for bad in ["", "600", "/min", "0/s", "1/week", "-1/s", "1.5/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hashes() {
        assert_eq!(sha256(&format!("sha256:{}", "aB".repeat(32))), Ok([0xab; 32]));
        for bad in ["", "sk-secret", "sha256:", "sha256:zz", &format!("sha256:{}", "a".repeat(65))] {
            assert!(sha256(bad).is_err(), "{bad}");
        }
    }
}
