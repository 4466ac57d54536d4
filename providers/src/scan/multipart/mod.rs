//! The scan of a `multipart/form-data` body: <https://www.rfc-editor.org/rfc/rfc7578>, framing of
//! <https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1>.
//!
//! Strict where readers differ, because the upstream must see the same parts as the gateway.

use std::ops::Range;

use memchr::memmem::Finder;

use super::{Field, FormError, RequestScan, Root, ScanError, UsageOption, choices, splice};
use crate::model_name;

/// How long the headers of one part may be, in bytes.
pub const MAX_PART_HEADERS: usize = 8 * 1024;

/// Walks over the parts of a form and finds the fields that the gateway reads: `model`, `stream`, `response_format`,
/// `prompt`, and counts its files.
/// `content_type` is the request's header; the provider is to get [`RequestScan::content_type`] in its place. What is in the
/// other parts is not looked at.
///
/// # Errors
/// No valid boundary, bad framing or part headers, or a field that the gateway reads is wrong or there twice. All are
/// [`ScanError::Form`].
pub fn scan_multipart(content_type: &str, body: &[u8]) -> Result<RequestScan, ScanError> {
    let boundary = boundary(content_type)?;
    if body.is_empty() {
        return Err(ScanError::Empty);
    }
    let dashed = format!("--{boundary}");
    let finder = Finder::new(dashed.as_bytes());
    let start = if body.starts_with(b"\r\n") { 2 } else { 0 };
    // For some readers a form may begin behind other text, and what a line is there they do not agree on.
    if !rest(body, start).starts_with(dashed.as_bytes()) {
        return Err(FormError::NoPart.into());
    }
    let mut delimiter = start..start + dashed.len();
    let mut scan = RequestScan {
        root: Root::Multipart { delimiter: delimiter.clone(), boundary },
        usage: UsageOption::Unreadable,
        ..RequestScan::default()
    };
    let mut seen = Seen::default();
    while let Some(offset) = part_start(body, &delimiter)? {
        let headers = PartHeaders::read(rest(body, offset)).map_err(|fault| fault.at(offset))?;
        let start = offset + headers.length;
        let end = next_delimiter(&finder, body, offset).ok_or(FormError::Unterminated { offset })?;
        // The line end before the delimiter belongs to the delimiter, so that a part may be empty.
        if !body.get(start..end).is_some_and(|content| content.ends_with(b"\r\n")) {
            return Err(FormError::BadDelimiter { offset: end }.into());
        }
        seen.read(&mut scan, &headers, offset, body, start..end - 2)?;
        delimiter = end..end + dashed.len();
    }
    match next_delimiter(&finder, body, delimiter.end) {
        Some(offset) => Err(FormError::BehindTheEnd { offset }.into()),
        None => Ok(scan),
    }
}

/// The form with these texts in the place of its [`prompts`](RequestScan::prompts), in their order; every other byte stays.
#[must_use]
pub fn with_prompts(scan: &RequestScan, body: &[u8], prompts: &[String]) -> Vec<u8> {
    let changed = scan.prompts.iter().zip(prompts).filter(|(old, new)| old.value != **new);
    splice(body, &changed.map(|(old, new)| (old.span.clone(), new)).collect::<Vec<_>>())
}

fn rest(body: &[u8], at: usize) -> &[u8] {
    body.get(at..).unwrap_or_default()
}

/// The next boundary at the start of a line, at `from` or behind it. Some readers take a CR or LF alone for a line's end.
fn next_delimiter(finder: &Finder<'_>, body: &[u8], from: usize) -> Option<usize> {
    let mut found = finder.find_iter(rest(body, from)).map(|at| from + at);
    found.find(|&at| body.get(..at).is_some_and(|before| before.ends_with(b"\r") || before.ends_with(b"\n")))
}

/// What follows `delimiter`: the start of a part, or `None` at the form's end.
fn part_start(body: &[u8], delimiter: &Range<usize>) -> Result<Option<usize>, FormError> {
    match rest(body, delimiter.end) {
        [b'\r', b'\n', ..] => Ok(Some(delimiter.end + 2)),
        [b'-', b'-'] | [b'-', b'-', b'\r' | b'\n', ..] => Ok(None),
        [] | [_] => Err(FormError::Unterminated { offset: delimiter.end }),
        // Spaces too: not all readers pass over them.
        _ => Err(FormError::BadDelimiter { offset: delimiter.start }),
    }
}

enum HeaderFault {
    TooLong,
    Bad,
    Encoded,
}

impl HeaderFault {
    fn at(self, offset: usize) -> FormError {
        match self {
            Self::TooLong => FormError::HeadersTooLong { offset },
            Self::Bad => FormError::BadHeaders { offset },
            Self::Encoded => FormError::Encoded { offset },
        }
    }
}

/// What the headers of a part say.
struct PartHeaders {
    /// The name of its field.
    name: Vec<u8>,
    /// Whether its text, if it is one, is what its bytes say as UTF-8, at least where they are ASCII.
    is_plain: bool,
    /// How long they are, with the empty line.
    length: usize,
}

impl PartHeaders {
    fn read(part: &[u8]) -> Result<Self, HeaderFault> {
        let (mut name, mut is_plain) = (None, true);
        let mut at = 0;
        loop {
            let limited = part.get(at..part.len().min(MAX_PART_HEADERS)).unwrap_or_default();
            let Some(length) = memchr::memmem::find(limited, b"\r\n") else {
                return Err(if part.len() > MAX_PART_HEADERS { HeaderFault::TooLong } else { HeaderFault::Bad });
            };
            let line = limited.get(..length).unwrap_or_default();
            at += length + 2;
            if line.is_empty() {
                return name.map(|name| Self { name, is_plain, length: at }).ok_or(HeaderFault::Bad);
            }
            let colon = memchr::memchr(b':', line).ok_or(HeaderFault::Bad)?;
            let (key, value) = (line.get(..colon).unwrap_or_default(), rest(line, colon + 1));
            // This refuses folded lines too.
            if !is_token(key) || value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                return Err(HeaderFault::Bad);
            }
            if key.eq_ignore_ascii_case(b"content-disposition") {
                let found = field_name(value).ok_or(HeaderFault::Bad)?;
                if name.replace(found).is_some() {
                    return Err(HeaderFault::Bad);
                }
            } else if key.eq_ignore_ascii_case(b"content-transfer-encoding") {
                let encoding = value.trim_ascii();
                if !["7bit", "8bit", "binary"].iter().any(|it| encoding.eq_ignore_ascii_case(it.as_bytes())) {
                    return Err(HeaderFault::Encoded);
                }
            } else if key.eq_ignore_ascii_case(b"content-type") {
                is_plain &= split_params(value).is_some_and(|(_, params)| {
                    let mut charsets = params.iter().filter(|(key, _)| is_called(key, b"charset"));
                    charsets.all(|(key, value)| !key.ends_with(b"*") && extends_ascii(value))
                });
            }
        }
    }
}

/// The name in a `content-disposition`.
fn field_name(disposition: &[u8]) -> Option<Vec<u8>> {
    let (kind, params) = split_params(disposition)?;
    let name = only(&params, b"name")?;
    // RFC 7578 §4.2 forbids parameters with a star. Some readers take `name*` all the same, .NET sends `filename*`.
    let extended = |key: &[u8]| key.contains(&b'*') && !key.eq_ignore_ascii_case(b"filename*");
    let is_read_alike = kind.eq_ignore_ascii_case(b"form-data")
        && !params.iter().any(|(key, _)| extended(key))
        && memchr::memchr2(b'"', b'\\', &name).is_none();
    is_read_alike.then_some(name)
}

/// Whether ASCII bytes mean ASCII in it.
fn extends_ascii(charset: &[u8]) -> bool {
    let known = ["utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"];
    known.iter().any(|it| charset.eq_ignore_ascii_case(it.as_bytes()))
}

/// The fields that are read as texts.
const TEXTS: [&str; 5] = ["model", "stream", "response_format", "prompt", "_charset_"];

/// Which of [`TEXTS`] has that name.
fn text_field(name: &[u8], offset: usize) -> Result<Option<&'static str>, FormError> {
    // Some readers mind neither case nor spaces.
    let plain: Vec<u8> = name.iter().filter(|byte| byte.is_ascii_graphic()).map(u8::to_ascii_lowercase).collect();
    match TEXTS.into_iter().find(|key| plain == key.as_bytes()) {
        Some(key) if name != key.as_bytes() => Err(FormError::Misspelt { key, offset }),
        found => Ok(found),
    }
}

/// The fields found so far; their values go straight into the scan.
#[derive(Default)]
struct Seen {
    stream: bool,
    response_format: bool,
}

impl Seen {
    fn read(
        &mut self,
        scan: &mut RequestScan,
        headers: &PartHeaders,
        offset: usize,
        body: &[u8],
        span: Range<usize>,
    ) -> Result<(), FormError> {
        let text = body.get(span.clone()).unwrap_or_default();
        let Some(key) = text_field(&headers.name, offset)? else {
            if matches!(&*headers.name, b"file" | b"image" | b"image[]" | b"mask") {
                scan.files += 1;
                scan.file_bytes += span.len() as u64;
            } else if headers.name == b"n" {
                let asked = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
                scan.choices = scan.choices.max(asked.map(choices));
            }
            return Ok(());
        };
        // RFC 7578 §4.6: that of all texts.
        if !headers.is_plain || (key == "_charset_" && !extends_ascii(text)) {
            return Err(FormError::Charset { offset });
        }
        if key == "prompt" {
            scan.prompts.push(Field { value: String::from_utf8_lossy(text).into_owned(), span });
            return Ok(());
        }
        let bad = |reason| FormError::BadValue { key, reason };
        let text = std::str::from_utf8(text).map_err(|_| bad("not UTF-8"))?;
        let again = match key {
            "model" => {
                model_name::check(text).map_err(bad)?;
                scan.model.replace(Field { value: text.to_owned(), span }).is_some()
            }
            "stream" => {
                scan.stream = parse_bool(text).ok_or_else(|| bad("neither true nor false"))?;
                std::mem::replace(&mut self.stream, true)
            }
            "response_format" => {
                scan.response_format = Some(text.to_owned());
                std::mem::replace(&mut self.response_format, true)
            }
            _ => false,
        };
        if again { Err(FormError::Duplicate { key, offset }) } else { Ok(()) }
    }
}

/// Booleans as the form readers of OpenAI and of the Python servers take them.
fn parse_bool(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["true", "1", "yes", "on", "t", "y"]) {
        Some(true)
    } else if is(&["false", "0", "no", "off", "f", "n", ""]) {
        Some(false)
    } else {
        None
    }
}

fn boundary(content_type: &str) -> Result<String, FormError> {
    let (kind, params) = split_params(content_type.as_bytes()).ok_or(FormError::NotMultipart)?;
    if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
        return Err(FormError::NotMultipart);
    }
    if !params.iter().any(|(key, _)| is_called(key, b"boundary")) {
        return Err(FormError::NoBoundary);
    }
    let boundary = only(&params, b"boundary").ok_or(FormError::BadBoundary)?;
    // RFC 2046 §5.1.1.
    let valid = (1..=70).contains(&boundary.len())
        && boundary.iter().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte))
        && !boundary.ends_with(b" ")
        && !params.iter().any(|(key, _)| key.contains(&b'*'));
    if valid { String::from_utf8(boundary).map_err(|_| FormError::BadBoundary) } else { Err(FormError::BadBoundary) }
}

/// The `content-type` of a form with that boundary.
pub(super) fn content_type_of(boundary: &str) -> String {
    let quote = if is_token(boundary.as_bytes()) { "" } else { "\"" };
    format!("multipart/form-data; boundary={quote}{boundary}{quote}")
}

type Params<'a> = Vec<(&'a [u8], Vec<u8>)>;

/// The value of the one parameter of that name.
fn only(params: &Params<'_>, key: &[u8]) -> Option<Vec<u8>> {
    let mut found = params.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
    let (_, value) = found.next()?;
    if found.next().is_some() { None } else { Some(value.clone()) }
}

/// Whether `key` is `name`, or a form of it with a star (RFC 2231).
fn is_called(key: &[u8], name: &[u8]) -> bool {
    key.split(|byte| *byte == b'*').next().is_some_and(|key| key.eq_ignore_ascii_case(name))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Splits `kind; key=value; key="quoted value"`.
fn split_params(header: &[u8]) -> Option<(&[u8], Params<'_>)> {
    let end = memchr::memchr(b';', header).unwrap_or(header.len());
    let kind = header.get(..end)?.trim_ascii();
    let mut params = Params::new();
    let mut at = rest(header, end);
    while let [b';', tail @ ..] = at.trim_ascii_start() {
        let tail = tail.trim_ascii_start();
        if tail.is_empty() || tail.starts_with(b";") {
            at = tail;
            continue;
        }
        let equals = memchr::memchr(b'=', tail)?;
        let key = tail.get(..equals)?.trim_ascii();
        let value = rest(tail, equals + 1).trim_ascii_start();
        let (value, after) = if let [b'"', quoted @ ..] = value { unquote(quoted)? } else { token(value)? };
        if !is_token(key) {
            return None;
        }
        params.push((key, value));
        at = after;
    }
    at.trim_ascii_start().is_empty().then_some((kind, params))
}

/// Reads up to the next semicolon. Some readers mind quotes within, others do not.
fn token(value: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let token = value.get(..end)?.trim_ascii_end();
    (!token.contains(&b'"')).then(|| (token.to_vec(), rest(value, end)))
}

/// Reads up to the closing quote. A backslash before anything but a quote or a backslash is one: so are paths of files sent.
fn unquote(quoted: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut at = quoted;
    loop {
        match at {
            [b'"', after @ ..] => return Some((value, after)),
            [b'\\', byte @ (b'"' | b'\\'), after @ ..] | [byte, after @ ..] => {
                value.push(*byte);
                at = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests;
