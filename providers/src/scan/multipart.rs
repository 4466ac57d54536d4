//! The scan of a `multipart/form-data` body: <https://www.rfc-editor.org/rfc/rfc7578>, framing of
//! <https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1>.
//!
//! Strict where readers differ, because the upstream must see the same parts as the gateway.

use std::ops::Range;

use memchr::memmem::Finder;

use super::{Field, FormError, RequestScan, Root, ScanError, UsageOption, splice};
use crate::model_name;

/// How long the headers of one part may be, in bytes.
pub const MAX_PART_HEADERS: usize = 8 * 1024;

/// Walks over the parts of a form and finds the fields that the gateway reads: `model`, `stream`, `response_format`,
/// `prompt`, and counts its files.
/// `content_type` is the request's header. What is in the other parts is not looked at.
///
/// # Errors
/// No valid boundary, bad framing or part headers, or a field that the gateway reads is wrong or there twice. All are
/// [`ScanError::Form`].
pub fn scan_multipart(content_type: &str, body: &[u8]) -> Result<RequestScan, ScanError> {
    let boundary = boundary(content_type)?;
    if body.is_empty() {
        return Err(ScanError::Empty);
    }
    let line = format!("\r\n--{boundary}");
    let delimiter = Finder::new(line.as_bytes());
    // The first boundary may stand at the very start, without a line end before it.
    let first = if body.starts_with(line.as_bytes().get(2..).unwrap_or_default()) {
        0
    } else {
        delimiter.find(body).ok_or(FormError::NoPart)? + 2
    };
    let first = first..first + line.len() - 2;
    let mut scan = RequestScan {
        root: Root::Multipart { delimiter: first.clone() },
        usage: UsageOption::Unreadable,
        ..RequestScan::default()
    };
    let mut seen = Seen::default();
    let mut at = first.end;
    while let Some(start) = part_start(body, at)? {
        let part = rest(body, start);
        let (name, headers) = headers(part).map_err(|fault| fault.at(start))?;
        // The line end before the delimiter belongs to the delimiter, so that a part may be empty.
        let content = start + headers;
        let length = delimiter.find(rest(body, content)).ok_or(FormError::Unterminated { offset: start })?;
        let span = content..content + length;
        seen.read(&mut scan, &name, start, body, span)?;
        at = content + length + line.len();
    }
    match delimiter.find(rest(body, at)) {
        Some(offset) => Err(FormError::BehindTheEnd { offset: at + offset + 2 }.into()),
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

/// What follows a boundary that ends at `at`: the start of a part, or `None` at the form's end.
fn part_start(body: &[u8], at: usize) -> Result<Option<usize>, FormError> {
    let rest = rest(body, at);
    if rest.starts_with(b"--") {
        return Ok(None);
    }
    let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match rest.get(padding..padding + 2) {
        Some(b"\r\n") => Ok(Some(at + padding + 2)),
        _ if rest.len() < padding + 2 => Err(FormError::Unterminated { offset: at }),
        _ => Err(FormError::BadDelimiter { offset: at }),
    }
}

enum HeaderFault {
    TooLong,
    Bad,
}

impl HeaderFault {
    fn at(self, offset: usize) -> FormError {
        match self {
            Self::TooLong => FormError::HeadersTooLong { offset },
            Self::Bad => FormError::BadHeaders { offset },
        }
    }
}

/// The field name of a part, and how long its headers are with the empty line.
fn headers(part: &[u8]) -> Result<(Vec<u8>, usize), HeaderFault> {
    let mut name = None;
    let mut at = 0;
    loop {
        let limited = part.get(at..part.len().min(MAX_PART_HEADERS)).unwrap_or_default();
        let Some(length) = memchr::memmem::find(limited, b"\r\n") else {
            return Err(if part.len() > MAX_PART_HEADERS { HeaderFault::TooLong } else { HeaderFault::Bad });
        };
        let line = limited.get(..length).unwrap_or_default();
        at += length + 2;
        if line.is_empty() {
            return name.map(|name| (name, at)).ok_or(HeaderFault::Bad);
        }
        if memchr::memchr2(b'\r', b'\n', line).is_some() {
            return Err(HeaderFault::Bad);
        }
        let colon = memchr::memchr(b':', line).ok_or(HeaderFault::Bad)?;
        let (key, value) = (line.get(..colon).unwrap_or_default(), rest(line, colon + 1));
        // This refuses folded lines too.
        if key.is_empty() || key.iter().any(u8::is_ascii_whitespace) {
            return Err(HeaderFault::Bad);
        }
        if key.eq_ignore_ascii_case(b"content-disposition") {
            let (kind, params) = split_params(value).ok_or(HeaderFault::Bad)?;
            let found = only(&params, b"name").ok_or(HeaderFault::Bad)?;
            // RFC 7578 §4.2 forbids `name*=`; some readers take it all the same.
            let extended = params.iter().any(|(key, _)| key.starts_with(b"name*"));
            if !kind.eq_ignore_ascii_case(b"form-data") || extended || name.replace(found).is_some() {
                return Err(HeaderFault::Bad);
            }
        }
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
        name: &[u8],
        offset: usize,
        body: &[u8],
        span: Range<usize>,
    ) -> Result<(), FormError> {
        let key = match name {
            b"model" => "model",
            b"stream" => "stream",
            b"response_format" => "response_format",
            b"prompt" => {
                let value = String::from_utf8_lossy(body.get(span.clone()).unwrap_or_default()).into_owned();
                scan.prompts.push(Field { value, span });
                return Ok(());
            }
            b"file" | b"image" | b"image[]" | b"mask" => {
                scan.files += 1;
                scan.file_bytes += span.len() as u64;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let bad = |reason| FormError::BadValue { key, reason };
        let text = body.get(span.clone()).unwrap_or_default();
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
            _ => {
                scan.response_format = Some(text.to_owned());
                std::mem::replace(&mut self.response_format, true)
            }
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
    if !params.iter().any(|(key, _)| key.eq_ignore_ascii_case(b"boundary")) {
        return Err(FormError::NoBoundary);
    }
    let boundary = only(&params, b"boundary").ok_or(FormError::BadBoundary)?;
    let valid = (1..=70).contains(&boundary.len())
        && boundary.iter().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte))
        && !boundary.ends_with(b" ");
    if valid { String::from_utf8(boundary).map_err(|_| FormError::BadBoundary) } else { Err(FormError::BadBoundary) }
}

type Params<'a> = Vec<(&'a [u8], Vec<u8>)>;

/// The value of the one parameter of that name.
fn only(params: &Params<'_>, key: &[u8]) -> Option<Vec<u8>> {
    let mut found = params.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
    let (_, value) = found.next()?;
    if found.next().is_some() { None } else { Some(value.clone()) }
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
        let (value, after) = if let [b'"', quoted @ ..] = value { unquote(quoted)? } else { token(value) };
        params.push((key, value));
        at = after;
    }
    at.trim_ascii_start().is_empty().then_some((kind, params))
}

fn token(value: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    (value.get(..end).unwrap_or_default().trim_ascii_end().to_vec(), rest(value, end))
}

/// Reads up to the closing quote.
fn unquote(quoted: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, rest(quoted, at + 1))),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests;
