//! Vectors as they stand on the wire. Numbers are copied as text where both sides write lists: an answer of 2,048 vectors
//! has three million of them.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::{Json, Str};
use crate::error::{ApiError, ErrorKind};

/// The form of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A list of floating-point numbers.
    Float,
    /// Base64 of 32-bit floating-point numbers, little end first.
    Base64,
    /// A list of numbers from -128 to 127.
    Int8,
    /// A list of numbers from 0 to 255.
    Uint8,
    /// One bit per dimension, eight in a number from -128 to 127.
    Binary,
    /// One bit per dimension, eight in a number from 0 to 255.
    Ubinary,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 6] = [Self::Float, Self::Base64, Self::Int8, Self::Uint8, Self::Binary, Self::Ubinary];

    /// The word of Cohere, Voyage and Jina.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Base64 => "base64",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }

    /// The form of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.as_str() == word)
    }

    /// The kind of number, however it is spelt.
    pub(super) const fn numbers(self) -> Self {
        match self {
            Self::Base64 => Self::Float,
            Self::Float | Self::Int8 | Self::Uint8 | Self::Binary | Self::Ubinary => self,
        }
    }
}

/// One vector.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Vector<'a> {
    /// A list of numbers, as it was written.
    List(Json<'a>),
    /// In base64.
    Base64(Str<'a>),
    /// Taken out of base64.
    Floats(Vec<f32>),
    /// The same, of whole numbers.
    Bytes(Vec<i16>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Vector<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        match json.get().as_bytes().first() {
            Some(b'[') => Ok(Self::List(json)),
            // Base64 needs no escapes; a text that has them is none, and found out when it is decoded.
            Some(b'"') => Ok(Self::Base64(json.get().trim_matches('"').to_owned().into())),
            _ => Err(serde::de::Error::custom("a vector is a list of numbers or base64")),
        }
    }
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(list) => list.serialize(serializer),
            Self::Base64(text) => text.serialize(serializer),
            Self::Floats(floats) => floats.serialize(serializer),
            Self::Bytes(bytes) => bytes.serialize(serializer),
        }
    }
}

impl Vector<'_> {
    /// The same vector, whose numbers are of `numbers`, as a list or in base64.
    ///
    /// # Errors
    /// That the provider's vector is none.
    pub(super) fn spelt(&self, numbers: Form, base64: bool) -> Result<Vector<'_>, ApiError> {
        let spelt = match (self, base64) {
            (Self::List(list), false) => Some(Vector::List(list.borrowed())),
            (Self::Base64(text), true) => Some(Vector::Base64(text.borrowed())),
            (Self::List(list), true) => encode(list.get(), numbers).map(|text| Vector::Base64(text.into())),
            (Self::Base64(text), false) => decode(text, numbers),
            (Self::Floats(_) | Self::Bytes(_), _) => Some(self.clone()),
        };
        spelt.ok_or_else(|| ApiError::new(ErrorKind::UpstreamError, "the provider's vectors cannot be read"))
    }
}

fn decode(text: &str, numbers: Form) -> Option<Vector<'static>> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(match numbers {
        Form::Float | Form::Base64 => {
            let (floats, rest) = bytes.as_chunks::<4>();
            let floats: Vec<_> = floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            // JSON has no infinity.
            if !rest.is_empty() || floats.iter().any(|number| !number.is_finite()) {
                return None;
            }
            Vector::Floats(floats)
        }
        Form::Int8 | Form::Binary => Vector::Bytes(bytes.iter().map(|byte| i16::from(byte.cast_signed())).collect()),
        Form::Uint8 | Form::Ubinary => Vector::Bytes(bytes.iter().map(|byte| i16::from(*byte)).collect()),
    })
}

fn encode(list: &str, numbers: Form) -> Option<String> {
    let bytes: Vec<u8> = match numbers {
        Form::Float | Form::Base64 => each::<f32>(list)?.iter().flat_map(|number| number.to_le_bytes()).collect(),
        Form::Int8 | Form::Binary => each::<i8>(list)?.iter().map(|number| number.cast_unsigned()).collect(),
        Form::Uint8 | Form::Ubinary => each(list)?,
    };
    Some(STANDARD.encode(bytes))
}

/// The numbers of a JSON list. It was read as JSON before, so commas stand between its items; items that are no numbers do
/// not parse.
fn each<T: FromStr>(list: &str) -> Option<Vec<T>> {
    let inner = list.strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim_ascii().is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|number| number.trim_ascii().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vector<'_> {
        serde_json::from_str(text).unwrap()
    }

    fn written(vector: &Vector<'_>) -> String {
        serde_json::to_string(vector).unwrap()
    }

    #[test]
    fn floats_go_to_base64_and_back() {
        let list = read("[0.5, -1e-3,3.4028235e38,0]");
        let base64 = list.spelt(Form::Float, true).unwrap();
        assert_eq!(written(&base64), r#""AAAAP28Sg7r//39/AAAAAA==""#);
        assert_eq!(written(&base64.spelt(Form::Float, false).unwrap()), "[0.5,-0.001,3.4028235e+38,0.0]");
        assert_eq!(written(&list.spelt(Form::Float, false).unwrap()), "[0.5, -1e-3,3.4028235e38,0]");
        assert_eq!(written(&read("[]").spelt(Form::Float, true).unwrap()), r#""""#);
    }

    #[test]
    fn whole_numbers_take_a_byte_each() {
        for (form, list) in [(Form::Int8, "[-128,0,127]"), (Form::Ubinary, "[0,128,255]")] {
            let read = read(list);
            let base64 = read.spelt(form, true).unwrap();
            let Vector::Base64(text) = &base64 else { panic!() };
            assert_eq!(text.len(), 4);
            assert_eq!(written(&base64.spelt(form, false).unwrap()), list);
        }
    }

    #[test]
    fn what_is_no_vector_is_an_error() {
        for text in ["[1,[2]]", "[null]", r#"["1"]"#, "[true]"] {
            assert!(read(text).spelt(Form::Float, true).is_err(), "{text}");
        }
        for text in [r#""AAA""#, r#""not base64""#, r#""AACAfw==""#, r#""AAAA""#, r#""a\nb""#] {
            assert!(read(text).spelt(Form::Float, false).is_err(), "{text}");
        }
        assert!(read("[128]").spelt(Form::Int8, true).is_err());
        assert!(serde_json::from_str::<Vector<'_>>("null").is_err());
    }
}
