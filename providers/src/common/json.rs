//! [`Json`], a piece of JSON that is carried as it was written: key order and the spelling of numbers survive.

use std::borrow::Cow;
use std::fmt;

use bounded_static::{IntoBoundedStatic, ToBoundedStatic};
use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::usage::tree::Tree;

/// Raw, well-formed JSON. Two of them are equal when they mean the same.
#[derive(Clone)]
pub struct Json<'a>(Cow<'a, RawValue>);

impl<'a> Json<'a> {
    /// Takes `text` if it is one JSON value, white space around it allowed.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str::<&'a RawValue>(text).ok().map(|raw| Self(Cow::Borrowed(raw)))
    }

    /// Writes `value`. `null` for what JSON cannot say (a map with keys that are no strings).
    #[must_use]
    pub fn of(value: &impl Serialize) -> Json<'static> {
        let raw = serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Json(Cow::Owned(raw))
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Reads it as `T`, borrowing where `T` can.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read<'b, T: Deserialize<'b>>(&'b self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }

    /// Reads it as a `T` that borrows from the body which this piece was borrowed from; `None` also if it stands alone.
    #[must_use]
    pub fn read_in_body<T: Deserialize<'a>>(&self) -> Option<T> {
        match &self.0 {
            Cow::Borrowed(raw) => serde_json::from_str(raw.get()).ok(),
            Cow::Owned(_) => None,
        }
    }

    /// The text, borrowed from the body where this piece is.
    #[must_use]
    pub fn into_raw(self) -> super::Str<'a> {
        match self.0 {
            Cow::Borrowed(raw) => raw.get().into(),
            Cow::Owned(raw) => raw.get().to_owned().into(),
        }
    }

    /// As a tree; for small pieces only.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.read().unwrap_or(Value::Null)
    }

    /// As a tree that borrows from it; for small pieces only.
    pub(crate) fn to_tree(&self) -> Tree<'_> {
        self.read().unwrap_or_default()
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.get().starts_with('{')
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.get() == "null"
    }

    /// Whether it is `null`, `{}` or `[]`.
    pub(crate) fn is_empty(&self) -> bool {
        let inside = |open, close| self.get().strip_prefix(open).and_then(|text| text.strip_suffix(close));
        self.is_null() || inside('{', '}').or_else(|| inside('[', ']')).is_some_and(|text| text.trim_ascii().is_empty())
    }

    /// The same, independent of the body it came from.
    #[must_use]
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }

    /// A cheap handle on the same piece.
    #[must_use]
    pub fn borrowed(&self) -> Json<'_> {
        Json(Cow::Borrowed(&self.0))
    }
}

impl Default for Json<'_> {
    fn default() -> Self {
        Self(Cow::Borrowed(RawValue::NULL))
    }
}

impl PartialEq for Json<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get() || self.to_value() == other.to_value()
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl IntoBoundedStatic for Json<'_> {
    type Static = Json<'static>;

    fn into_static(self) -> Json<'static> {
        self.into_owned()
    }
}

impl ToBoundedStatic for Json<'_> {
    type Static = Json<'static>;

    fn to_static(&self) -> Json<'static> {
        self.clone().into_owned()
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(|raw| Self(Cow::Borrowed(raw)))
    }
}

/// Fields that the common model has no place for, under their own names. They mean something only in the dialect they
/// came in (`Request::dialect`, `Response::dialect`). Names that begin with `=`: see [`Losses::note_extras`](super::Losses::note_extras).
pub type Extras<'a> = Vec<(super::Str<'a>, Json<'a>)>;
