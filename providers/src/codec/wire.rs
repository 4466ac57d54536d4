//! How wire formats are read: every object in one pass, known fields typed, all others kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{ApiError, ErrorKind};

/// Declares structs that are read from JSON objects.
///
/// Each field names its key (or several spellings of it, `"a" | "b"`), then itself, then its type, which must be `Deserialize + Default`; absent and `null` both give the
/// default. All other fields end up in `rest`, in order. Nothing is buffered and text is borrowed where it has no escapes.
/// (`#[serde(flatten)]` would buffer every value and cannot hold raw JSON.)
///
/// ```text
/// wire! {
///     /// A message.
///     pub(super) struct Message<'a> {
///         "role" => role: Str<'a>,
///         "content" => content: Option<OneOrMany<'a, Part<'a>>>,
///     }
/// }
/// ```
macro_rules! wire {
    ($( $(#[$meta:meta])* $vis:vis struct $name:ident<$lt:lifetime> {
        $( $(#[$field_meta:meta])* $($key:literal)|+ => $field:ident : $ty:ty ),* $(,)?
    } )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Default, Clone)]
        $vis struct $name<$lt> {
            $( $(#[$field_meta])* pub(super) $field: $ty, )*
            /// Fields that are not known.
            pub(super) rest: $crate::common::Extras<$lt>,
        }

        impl<'de: $lt, $lt> serde::Deserialize<'de> for $name<$lt> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object<$lt>(std::marker::PhantomData<&$lt ()>);
                impl<'de: $lt, $lt> serde::de::Visitor<'de> for Object<$lt> {
                    type Value = $name<$lt>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name<$lt>, A::Error> {
                        let mut object = $name::default();
                        while let Some(key) = map.next_key::<$crate::common::Str<$lt>>()? {
                            match &*key {
                                $( $($key)|+ => object.$field = map.next_value::<Option<$ty>>()?.unwrap_or_default(), )*
                                _ => object.rest.push((key, map.next_value()?)),
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(Object(std::marker::PhantomData))
            }
        }
    )+ };
}

pub(crate) use wire;

/// A string, or a list: how OpenAI, Anthropic and Cohere write content.
#[derive(Debug, Clone)]
pub(crate) enum TextOr<'a, T> {
    /// A string.
    Text(crate::common::Str<'a>),
    /// A list.
    List(Vec<T>),
}

impl<T> Default for TextOr<'_, T> {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrList<T> {
            type Value = TextOr<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned().into()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(TextOr::List)
            }
        }
        deserializer.deserialize_any(TextOrList(PhantomData)).map(|either| match either {
            TextOr::Text(text) => TextOr::Text(text),
            TextOr::List(list) => TextOr::List(list),
        })
    }
}

/// A list, or one of its items alone: protocol buffers' JSON allows both, and Cohere's streams have one call where its answers
/// have a list.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Vec<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object)).map(|one| vec![one])
            }
        }
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// Reads a request body.
///
/// # Errors
/// What is wrong and where, without quoting the body.
pub(crate) fn read_request<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    from_body(body).map_err(|error| wrong_request(&error))
}

/// Reads a piece of a request body.
///
/// # Errors
/// As [`read_request`].
pub(crate) fn read_request_piece<'a, T: Deserialize<'a>>(piece: &'a RawValue) -> Result<T, ApiError> {
    serde_json::from_str(piece.get()).map_err(|error| wrong_request(&error))
}

fn wrong_request(error: &serde_json::Error) -> ApiError {
    let message = format!("the request body is not what this API takes: {}", tell(error));
    ApiError::new(ErrorKind::InvalidRequest, message)
}

/// Reads an answer's body, or an event of a stream.
///
/// # Errors
/// That the provider's answer cannot be read.
pub(crate) fn read_answer<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    from_body(body).map_err(|error| wrong_answer(&error))
}

/// Reads a piece of an answer's body.
///
/// # Errors
/// As [`read_answer`].
pub(crate) fn read_answer_piece<'a, T: Deserialize<'a>>(piece: &'a RawValue) -> Result<T, ApiError> {
    serde_json::from_str(piece.get()).map_err(|error| wrong_answer(&error))
}

fn wrong_answer(error: &serde_json::Error) -> ApiError {
    ApiError::new(ErrorKind::UpstreamError, format!("the provider's answer cannot be read: {}", tell(error)))
}

/// Checking the whole body for UTF-8 at once is much faster than string by string.
fn from_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    }
}

/// serde quotes strings that it finds in the wrong place: what the client wrote has no business in a log.
fn tell(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some(from) = text.find("invalid type: string \"") else { return text };
    let start = from + "invalid type: string ".len();
    match text[start..].rfind("\", expected") {
        Some(end) => format!("{}…{}", &text[..start], &text[start + end + 1..]),
        None => format!("a field has the wrong type at line {} column {}", error.line(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Str;

    wire! {
        struct Part<'a> {
            "type" => kind: Str<'a>,
            "text" => text: Option<Str<'a>>,
        }
        struct Message<'a> {
            "role" => role: Str<'a>,
            "content" => content: TextOr<'a, Part<'a>>,
            "n" => n: Option<u64>,
        }
    }

    #[test]
    fn known_fields_are_typed_and_others_kept() {
        let body =
            r#"{"role":"user","x":{"b":1, "a":1e400},"content":[{"type":"text","text":"a\nb","new":true}],"n":null}"#;
        let message: Message<'_> = read_request(body.as_bytes()).unwrap();
        assert_eq!(&*message.role, "user");
        assert_eq!(message.n, None);
        assert_eq!(message.rest[0].1.get(), r#"{"b":1, "a":1e400}"#);
        let TextOr::List(parts) = message.content else { panic!() };
        assert_eq!((&*parts[0].kind, parts[0].text.as_deref()), ("text", Some("a\nb")));
        assert_eq!(&*parts[0].rest[0].0, "new");
        let message: Message<'_> = read_request(br#"{"content":"hi"}"#).unwrap();
        assert!(matches!(message.content, TextOr::Text(text) if text == "hi"));
    }

    #[test]
    fn an_error_does_not_quote_the_prompt() {
        let error = read_request::<Message<'_>>(br#"{"n":"my \" secret"}"#).unwrap_err();
        assert!(!error.message.contains("secret"), "{}", error.message);
        assert!(error.message.contains("line 1"), "{}", error.message);
    }
}
