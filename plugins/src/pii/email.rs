//! Addresses of mail.

use crate::find::{Finder, Finding, Kind, Next, at, before, joins};

/// Most bytes before the `@` (RFC 5321 §4.5.3.1.1), with room for letters of other scripts.
const LONGEST_LOCAL: usize = 64;
/// Most bytes behind it.
const LONGEST_DOMAIN: usize = 190;
/// What looks like a domain at the end of a file's name or a package's.
const FILES: &[&str] = &[
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "js",
    "mjs",
    "cjs",
    "ts",
    "tsx",
    "jsx",
    "json",
    "css",
    "html",
    "xml",
    "yml",
    "yaml",
    "toml",
    "txt",
    "log",
    "pdf",
    "zip",
    "gz",
    "tar",
    "exe",
    "dll",
    "jar",
    "class",
    "service",
    "timer",
    "local",
    "localhost",
    "internal",
    "invalid",
    "lock",
    "cfg",
    "conf",
    "ini",
    "cpp",
    "java",
    "so",
];

/// Finds mail addresses.
#[derive(Debug)]
pub(super) struct Email(pub Kind);

impl Finder for Email {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        let bytes = text.as_bytes();
        let mut search = from;
        while let Some(sign) = memchr::memchr(b'@', bytes.get(search..).unwrap_or_default()).map(|at| search + at) {
            search = sign + 1;
            let Some(start) = local(text, sign).filter(|start| *start >= from) else { continue };
            let name = text.get(start..sign).unwrap_or_default();
            if name.is_empty() || name.ends_with('.') || name.contains("..") {
                continue;
            }
            let (domain, open) = domain(text, sign + 1);
            if open && !end {
                return Next::Open(start);
            }
            let Some(stop) = domain.filter(|stop| !is_something_else(text, start, *stop)) else { continue };
            return Next::Found(Finding::new(self.0.clone(), start..stop));
        }
        if end {
            return Next::Open(text.len());
        }
        // The end may be the part before an `@` that is still to come.
        Next::Open(local(text, text.len()).map_or(text.len(), |start| start.max(from)))
    }
}

fn is_local(char: char) -> bool {
    (joins(char) && char != '_')
        || matches!(
            char,
            '.' | '_' | '%' | '+' | '-' | '!' | '#' | '$' | '&' | '\'' | '*' | '=' | '?' | '^' | '~' | '`'
        )
}

/// Where the part before an `@` at `sign` begins, if it may be one.
fn local(text: &str, sign: usize) -> Option<usize> {
    let from = text.floor_char_boundary(sign.saturating_sub(LONGEST_LOCAL + 4));
    let head = text.get(from..sign)?;
    let length: usize = head.chars().rev().take_while(|char| is_local(*char)).map(char::len_utf8).sum();
    let word = text.get(sign - length..sign)?;
    // Quotes, `?email=` and `key=` before it are not a part of it.
    let skipped = word.rfind(['=', '?', '&', '!', '*', '`', '$', '#']).map_or(0, |at| at + 1);
    let word = word.get(skipped..)?.trim_start_matches(['\'', '.', '-', '~', '^']);
    (word.len() <= LONGEST_LOCAL).then(|| sign - word.len())
}

/// Where the domain that begins at `from` ends, if it is one; and whether it may go on behind the text.
fn domain(text: &str, from: usize) -> (Option<usize>, bool) {
    let rest = text.get(from..).unwrap_or_default();
    let run = rest.char_indices().find(|(_, char)| !((joins(*char) && *char != '_') || matches!(char, '.' | '-')));
    let length = run.map_or(rest.len(), |(at, _)| at);
    if length > LONGEST_DOMAIN {
        return (None, false);
    }
    // Behind it one character more is looked at, and behind a colon another.
    let open = length == rest.len() || rest.get(length..) == Some(":");
    let name = rest.get(..length).unwrap_or_default().trim_end_matches(['.', '-']);
    let labels: Vec<&str> = name.split('.').collect();
    let plain =
        |label: &&str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.len() <= 63;
    let top = labels.last().copied().unwrap_or_default();
    let is_top = top.chars().count() >= 2
        && top.chars().all(char::is_alphabetic)
        && !FILES.iter().any(|file| top.eq_ignore_ascii_case(file));
    let is_domain = labels.len() >= 2 && labels.iter().all(plain) && (is_top || top.starts_with("xn--"));
    (is_domain.then_some(from + name.len()), open)
}

/// What is written like an address: `git@github.com:owner/name`, `user:password@host`, `//user@host`.
fn is_something_else(text: &str, start: usize, stop: usize) -> bool {
    let ahead = before(text, start);
    if ahead == Some('/') && text.get(..start).is_some_and(|head| head.ends_with("//")) {
        return true;
    }
    let in_url = || {
        let from = text.floor_char_boundary(start.saturating_sub(LONGEST_LOCAL));
        let head = text.get(from..start).unwrap_or_default();
        head.rsplit(char::is_whitespace).next().is_some_and(|head| head.contains("://"))
    };
    if ahead == Some(':') && in_url() {
        return true;
    }
    let path = at(text, stop) == Some(':')
        && at(text, stop + 1).is_some_and(|char| char.is_alphanumeric() || matches!(char, '/' | '~'));
    path && !text.get(stop + 1..stop + 2).is_some_and(|next| next.bytes().all(|byte| byte.is_ascii_digit()))
}
