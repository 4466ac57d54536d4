//! Bytes as a `data:` URL (RFC 2397).

use std::fmt;

use serde::{Serialize, Serializer};

/// Written piece by piece, because the data may be long.
pub(super) struct DataUrl<'r> {
    /// Without it the data stand alone.
    pub(super) mime: Option<&'r str>,
    /// Base64.
    pub(super) data: &'r str,
}

impl fmt::Display for DataUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mime {
            Some(mime) => write!(f, "data:{mime};base64,{}", self.data),
            None => f.write_str(self.data),
        }
    }
}

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
