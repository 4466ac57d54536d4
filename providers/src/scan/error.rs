//! Why a body was refused, in words that help its sender and repeat nothing of its content.

use std::fmt;

/// Where in a JSON body, both from 1, the column in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The byte in the line.
    pub column: usize,
}

impl Place {
    /// The place of the byte at `offset`.
    pub(super) fn of(body: &[u8], offset: usize) -> Self {
        let before = body.get(..offset).unwrap_or(body);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        Self { line: memchr::memchr_iter(b'\n', before).count() + 1, column: before.len() - line_start + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}", self.line, self.column)
    }
}

/// Why a body was refused. All are the caller's errors (400).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// There is no body.
    #[error("the request body is empty, expected a JSON object")]
    Empty,
    /// JSON must be UTF-8 (RFC 8259 §8.1).
    #[error("the request body is not UTF-8 at byte {offset} ({place})")]
    NotUtf8 {
        /// The first bad byte, from 0.
        offset: usize,
        /// The same as line and column.
        place: Place,
    },
    /// A syntax error.
    #[error("the request body is not valid JSON: {message} at {place}")]
    NotJson {
        /// The parser's words.
        message: String,
        /// Where it stopped.
        place: Place,
    },
    /// JSON, but an array, a string, ….
    #[error("the request body must be a JSON object")]
    NotAnObject,
    /// More than [`MAX_DEPTH`](super::MAX_DEPTH) arrays and objects inside each other.
    #[error("the request body is nested deeper than {} levels at {place}", super::MAX_DEPTH)]
    TooDeep {
        /// The opening bracket that is one too many.
        place: Place,
    },
    /// A field that the gateway reads stands there twice: which one counts would depend on the reader.
    #[error("`{key}` appears more than once in the request body, second at {place}")]
    Duplicate {
        /// The field.
        key: &'static str,
        /// The second one.
        place: Place,
    },
    /// A key that is `model` but for the case of its letters: some providers read it as `model`, others do not.
    #[error("`model` must be written in lower case, at {place}")]
    ModelCase {
        /// The key.
        place: Place,
    },
    /// `model` is not a string.
    #[error("`model` must be a string, at {place}")]
    ModelNotAString {
        /// The value.
        place: Place,
    },
    /// `model` is a string that cannot be a model's name.
    #[error("`model` is {reason}, at {place}")]
    BadModel {
        /// What is wrong, to follow "is".
        reason: &'static str,
        /// The value.
        place: Place,
    },
    /// `stream` is neither true nor false nor null.
    #[error("`stream` must be true or false, at {place}")]
    StreamNotABoolean {
        /// The value.
        place: Place,
    },
    /// The form cannot be read.
    #[error("the request body is not valid multipart/form-data: {0}")]
    Form(#[from] FormError),
}

impl ScanError {
    /// The request field that is wrong, for errors that name one (OpenAI's `param`).
    #[must_use]
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Duplicate { key, .. } => Some(key),
            Self::ModelCase { .. } | Self::ModelNotAString { .. } | Self::BadModel { .. } => Some("model"),
            Self::StreamNotABoolean { .. } => Some("stream"),
            Self::Form(error) => error.param(),
            Self::Empty | Self::NotUtf8 { .. } | Self::NotJson { .. } | Self::NotAnObject | Self::TooDeep { .. } => {
                None
            }
        }
    }
}

/// Why a `multipart/form-data` body was refused. Offsets are bytes from the start of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The `content-type` is another one, or missing.
    #[error("`content-type` must be multipart/form-data with a boundary")]
    NotMultipart,
    /// No `boundary` parameter.
    #[error("`content-type` has no boundary")]
    NoBoundary,
    /// RFC 2046 §5.1.1 allows 1 to 70 of a few characters, and one boundary.
    #[error(
        "`content-type` must have one boundary of 1 to 70 letters, digits, and `'()+_,-./:=?`, and no parameter with `*`"
    )]
    BadBoundary,
    /// The body begins with something else than the boundary.
    #[error("the body does not begin with `--` and the boundary of `content-type`")]
    NoPart,
    /// Something else than CR LF around a boundary, or than that or `--` behind it.
    #[error("the boundary at byte {offset} is not alone on a line that begins and ends with CR LF")]
    BadDelimiter {
        /// Where the boundary is.
        offset: usize,
    },
    /// The body ends before the next boundary.
    #[error("the part at byte {offset} does not end with the boundary")]
    Unterminated {
        /// Where the part starts.
        offset: usize,
    },
    /// The headers of a part pass [`MAX_PART_HEADERS`](super::MAX_PART_HEADERS).
    #[error("the headers of the part at byte {offset} are longer than {} bytes", super::MAX_PART_HEADERS)]
    HeadersTooLong {
        /// Where the part starts.
        offset: usize,
    },
    /// The headers of a part are malformed or do not give it exactly one name (RFC 7578 §4.2).
    #[error("the part at byte {offset} needs one header `content-disposition: form-data; name=\"…\"`")]
    BadHeaders {
        /// Where the part starts.
        offset: usize,
    },
    /// A part has a `content-transfer-encoding` that some readers undo (RFC 7578 §4.7).
    #[error("the part at byte {offset} must not be encoded: send its bytes without `content-transfer-encoding`")]
    Encoded {
        /// Where the part starts.
        offset: usize,
    },
    /// A text that is not what its bytes say as UTF-8.
    #[error("the text in the part at byte {offset} must be UTF-8")]
    Charset {
        /// Where the part starts.
        offset: usize,
    },
    /// The name of a field that the gateway reads, but for case and spaces: for some readers it is that field.
    #[error("`{key}` is misspelt in the part at byte {offset}: write it in lower case, without spaces")]
    Misspelt {
        /// The field.
        key: &'static str,
        /// Where the part starts.
        offset: usize,
    },
    /// The boundary appears again behind the form's end.
    #[error("there is another part behind the end of the form, at byte {offset}")]
    BehindTheEnd {
        /// The boundary.
        offset: usize,
    },
    /// A field that the gateway reads stands there twice.
    #[error("`{key}` appears more than once, second in the part at byte {offset}")]
    Duplicate {
        /// The field.
        key: &'static str,
        /// The second part.
        offset: usize,
    },
    /// The value of a field that the gateway reads.
    #[error("`{key}` is {reason}")]
    BadValue {
        /// The field.
        key: &'static str,
        /// What is wrong, to follow "is".
        reason: &'static str,
    },
}

impl FormError {
    fn param(&self) -> Option<&'static str> {
        match self {
            Self::Duplicate { key, .. } | Self::BadValue { key, .. } | Self::Misspelt { key, .. } => Some(key),
            Self::NotMultipart
            | Self::NoBoundary
            | Self::BadBoundary
            | Self::NoPart
            | Self::BadDelimiter { .. }
            | Self::Unterminated { .. }
            | Self::HeadersTooLong { .. }
            | Self::BadHeaders { .. }
            | Self::Encoded { .. }
            | Self::Charset { .. }
            | Self::BehindTheEnd { .. } => None,
        }
    }
}
