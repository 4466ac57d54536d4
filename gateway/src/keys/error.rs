//! Why a key could not be made or changed.

use super::Refused;

/// Never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A field of the request is wrong.
    #[error("`{field}`: {message}")]
    Field {
        /// Which one.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// It stands against what is there.
    #[error("{0}")]
    Conflict(String),
    /// More than the maker has.
    #[error("`{field}`: {message}")]
    Beyond {
        /// Which field asks for more.
        field: &'static str,
        /// In which way.
        message: String,
    },
    /// Who asks may not any more.
    #[error("{}", .0.message())]
    Refused(Refused),
    /// There is no such key, or it is none of the caller's.
    #[error("there is no key `{0}`")]
    NotFound(String),
    /// The database failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl KeyError {
    /// `field` is wrong.
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Field { field: field.to_owned(), message: message.into() }
    }
}

impl From<rusqlite::Error> for KeyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.to_string())
    }
}
