//! [`Str`], text that is borrowed from the body it was read from wherever it has no escapes.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;

use bounded_static::{IntoBoundedStatic, ToBoundedStatic};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// Text of the common model: a `Cow<str>` whose `Deserialize` borrows where it can.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Str<'a>(Cow<'a, str>);

impl<'a> Str<'a> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, independent of the body it came from.
    #[must_use]
    pub fn into_owned(self) -> Str<'static> {
        Str(Cow::Owned(self.0.into_owned()))
    }

    /// A cheap handle on the same text.
    #[must_use]
    pub fn borrowed(&self) -> Str<'_> {
        Str(Cow::Borrowed(&self.0))
    }

    /// The text without its first bytes, not copied. As it is if there is no character's end.
    pub(crate) fn behind(self, bytes: usize) -> Self {
        match self.0 {
            Cow::Borrowed(text) => Self(Cow::Borrowed(text.get(bytes..).unwrap_or(text))),
            Cow::Owned(mut text) if text.is_char_boundary(bytes) => {
                text.drain(..bytes);
                Self(Cow::Owned(text))
            }
            text @ Cow::Owned(_) => Self(text),
        }
    }

    /// The text as a `String`.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }

    /// Appends `more`.
    pub fn push_str(&mut self, more: &str) {
        if self.0.is_empty() {
            self.0 = Cow::Owned(more.to_owned());
        } else {
            self.0.to_mut().push_str(more);
        }
    }
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Str<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Str<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Str<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Str<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self(text)
    }
}

impl PartialEq<str> for Str<'_> {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Str<'_> {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IntoBoundedStatic for Str<'_> {
    type Static = Str<'static>;

    fn into_static(self) -> Str<'static> {
        self.into_owned()
    }
}

impl ToBoundedStatic for Str<'_> {
    type Static = Str<'static>;

    fn to_static(&self) -> Str<'static> {
        self.clone().into_owned()
    }
}

impl Serialize for Str<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
