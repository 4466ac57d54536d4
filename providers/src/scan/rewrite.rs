//! Splices edits into a body.

use std::io::{self, Write};
use std::ops::Range;

use bytes::Bytes;

use super::{RequestScan, Root, UsageOption};

/// What is to be changed in a request body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    /// The model name to send. A body without `model` gets one.
    pub model: Option<&'a str>,
    /// Have a streamed answer end with its usage (`stream_options.include_usage`): for OpenAI's chat and completions.
    /// Without effect on requests that do not stream, and on forms.
    pub include_usage: bool,
}

impl RequestScan {
    /// The body with the edits: the very same `Bytes` if nothing changes, otherwise one allocation of the exact size.
    /// Every byte outside the edits stays as it is. `body` is the one that was scanned; with any other the result is
    /// that one unchanged, or nonsense.
    #[must_use]
    pub fn rewrite(&self, body: &Bytes, edits: &Edits<'_>) -> Bytes {
        let model = edits.model.and_then(|model| self.model_splice(model));
        let usage = if edits.include_usage && self.stream { self.usage_splice() } else { None };
        let mut splices = [model, usage];
        // Stable: a model goes before the options that are inserted at the same place.
        splices.sort_by_key(|splice| splice.as_ref().map(|s| s.span.start));
        apply(body, &splices).unwrap_or_else(|| body.clone())
    }

    fn model_splice<'a>(&self, model: &'a str) -> Option<Splice<'a>> {
        let text = match &self.root {
            Root::None => return None,
            Root::Json { .. } => Piece::Json(model),
            Root::Multipart { .. } => Piece::Raw(model),
        };
        if self.model.as_ref().is_some_and(|field| field.value == model) {
            return None;
        }
        let span = self.model.as_ref().map(|field| &field.span).or(self.null_model.as_ref());
        match (span, &self.root) {
            (Some(span), _) => Some(Splice::new(span.clone(), [text, Piece::NONE, Piece::NONE, Piece::NONE])),
            (None, Root::None) => None,
            (None, Root::Json { open, empty }) => {
                let comma = Piece::Raw(if *empty { "" } else { "," });
                Some(Splice::new(*open..*open, [Piece::Raw("\"model\":"), text, comma, Piece::NONE]))
            }
            (None, Root::Multipart { delimiter, .. }) => {
                let head = Piece::Raw("\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n");
                let start = delimiter.start;
                Some(Splice::new(start..start, [Piece::Body(delimiter.clone()), head, text, Piece::Raw("\r\n")]))
            }
        }
    }

    fn usage_splice(&self) -> Option<Splice<'static>> {
        let Root::Json { open, .. } = self.root else { return None };
        let (span, text) = match &self.usage {
            UsageOption::Asked | UsageOption::Unreadable => return None,
            UsageOption::Absent => match &self.model {
                Some(model) => (model.span.end..model.span.end, r#","stream_options":{"include_usage":true}"#),
                // A body that streams has a key, so the comma is right.
                None => (open..open, r#""stream_options":{"include_usage":true},"#),
            },
            UsageOption::NoObject(span) => (span.clone(), r#"{"include_usage":true}"#),
            UsageOption::NoKey { open, empty: true } => (*open..*open, r#""include_usage":true"#),
            UsageOption::NoKey { open, empty: false } => (*open..*open, r#""include_usage":true,"#),
            UsageOption::Declined(span) => (span.clone(), "true"),
        };
        Some(Splice::new(span, [Piece::Raw(text), Piece::NONE, Piece::NONE, Piece::NONE]))
    }
}

/// Some bytes of the body and what stands there instead.
struct Splice<'a> {
    span: Range<usize>,
    pieces: [Piece<'a>; 4],
}

enum Piece<'a> {
    /// As it is.
    Raw(&'a str),
    /// As a JSON string.
    Json(&'a str),
    /// Copied from the body.
    Body(Range<usize>),
}

impl Piece<'_> {
    const NONE: Self = Self::Raw("");

    fn write(&self, body: &[u8], out: &mut impl Write) -> Option<()> {
        match self {
            Self::Raw(text) => out.write_all(text.as_bytes()).ok(),
            Self::Json(text) => serde_json::to_writer(out, text).ok(),
            Self::Body(span) => out.write_all(body.get(span.clone())?).ok(),
        }
    }
}

impl<'a> Splice<'a> {
    fn new(span: Range<usize>, pieces: [Piece<'a>; 4]) -> Self {
        Self { span, pieces }
    }
}

/// `None` if nothing changes, or a splice is not inside the body.
fn apply(body: &Bytes, splices: &[Option<Splice<'_>>]) -> Option<Bytes> {
    if splices.iter().all(Option::is_none) {
        return None;
    }
    let mut size = Counter(0);
    let mut removed = 0;
    for splice in splices.iter().flatten() {
        removed += splice.span.len();
        splice.pieces.iter().try_for_each(|piece| piece.write(body, &mut size))?;
    }
    let mut out = Vec::with_capacity((body.len() + size.0).checked_sub(removed)?);
    let mut kept = 0;
    for splice in splices.iter().flatten() {
        out.extend_from_slice(body.get(kept..splice.span.start)?);
        splice.pieces.iter().try_for_each(|piece| piece.write(body, &mut out))?;
        kept = splice.span.end;
    }
    out.extend_from_slice(body.get(kept..)?);
    Some(out.into())
}

/// Measures what would be written.
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
