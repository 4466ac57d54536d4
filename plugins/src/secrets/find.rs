//! Finds secrets in text.

use std::collections::BTreeMap;

use super::assigned::{self, Assigned};
use super::shapes::{SHAPES, Shape};
use crate::find::{Finder, Finding, Kind, Next, before};

/// Most bytes of a private key: past them the rest is not hidden.
const LONGEST_PEM: usize = 16 << 10;
const PEM_BEGIN: &str = "-----BEGIN ";
/// Most bytes of what its first and last lines name.
const LONGEST_LABEL: usize = 64;

/// What is found besides the [`SHAPES`].
const PRIVATE_KEY: &str = "private_key";
const ASSIGNED: &str = "assigned_secret";
const URL_PASSWORD: &str = "url_password";

/// Finds keys and tokens of known shapes, private keys, and values that a name says are secret.
pub struct Secrets {
    kinds: BTreeMap<&'static str, Kind>,
    /// The shapes that begin with a byte.
    by_first: Vec<Vec<&'static Shape>>,
    assigned: bool,
}

impl Secrets {
    /// Finds all of them; `name`: under one name, or each under its own. `assigned`: values, too, that only their names tell.
    #[must_use]
    pub fn new(name: Option<&Kind>, assigned: bool) -> Self {
        let names = SHAPES.iter().map(|shape| shape.name).chain([PRIVATE_KEY, ASSIGNED, URL_PASSWORD]);
        let kinds = names.map(|own| (own, name.cloned().unwrap_or_else(|| own.into()))).collect();
        let mut by_first: Vec<Vec<&'static Shape>> = (0..128).map(|_| Vec::new()).collect();
        for shape in SHAPES {
            let first = shape.prefix.bytes().next().map_or(0, usize::from);
            if let Some(shapes) = by_first.get_mut(first) {
                shapes.push(shape);
            }
        }
        Self { kinds, by_first, assigned }
    }

    /// The names of all kinds that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHAPES.iter().map(|shape| shape.name).chain([PRIVATE_KEY, ASSIGNED, URL_PASSWORD])
    }

    fn found(&self, name: &str, range: std::ops::Range<usize>) -> Next {
        let kind = self.kinds.get(name).cloned().unwrap_or_else(|| name.into());
        Next::Found(Finding::new(kind, range))
    }

    /// What of known shape begins at `here`.
    fn shaped(&self, text: &str, here: usize, end: bool) -> Option<Next> {
        let rest = text.get(here..)?;
        let first = usize::from(rest.bytes().next()?);
        for shape in self.by_first.get(first)? {
            let Some(body) = rest.strip_prefix(shape.prefix) else {
                if !end && shape.prefix.starts_with(rest) {
                    return Some(Next::Open(here));
                }
                continue;
            };
            let most = shape.length.1;
            let length = body.bytes().take(most + 1).take_while(|byte| (shape.body)(*byte)).count();
            if !end && length == body.len() && length <= most {
                return Some(Next::Open(here));
            }
            let token = rest.get(..shape.prefix.len() + length).unwrap_or_default();
            let trimmed = token.trim_end_matches(['.', '-']);
            let trimmed = if shape.length.0 == shape.length.1 { token } else { trimmed };
            let length = trimmed.len().saturating_sub(shape.prefix.len());
            if (shape.length.0..=most).contains(&length) && (shape.check)(trimmed) {
                return Some(self.found(shape.name, here..here + trimmed.len()));
            }
        }
        None
    }

    /// A private key in PEM.
    fn pem(&self, text: &str, here: usize, end: bool) -> Option<Next> {
        let rest = text.get(here..)?;
        let Some(body) = rest.strip_prefix(PEM_BEGIN) else {
            return (!end && PEM_BEGIN.starts_with(rest)).then_some(Next::Open(here));
        };
        let label = match body.get(..body.floor_char_boundary(LONGEST_LABEL))?.find("-----") {
            Some(at) => body.get(..at)?,
            None => {
                let open = !end && body.len() < LONGEST_LABEL && body.bytes().all(is_of_label);
                return open.then_some(Next::Open(here));
            }
        };
        if !label.contains("PRIVATE KEY") || !label.bytes().all(is_of_label) {
            return None;
        }
        let inside = rest.get(..rest.floor_char_boundary(LONGEST_PEM))?;
        for (at, foot) in inside.match_indices("-----END ") {
            let behind = rest.get(at + foot.len()..)?;
            match behind.get(..behind.floor_char_boundary(LONGEST_LABEL))?.find("-----") {
                Some(close) => return Some(self.found(PRIVATE_KEY, here..here + at + foot.len() + close + 5)),
                None if !end && behind.len() < LONGEST_LABEL => return Some(Next::Open(here)),
                None => {}
            }
        }
        if !end && rest.len() < LONGEST_PEM {
            return Some(Next::Open(here));
        }
        // Without its end: all that looks like it.
        let base64 = |char: char| char.is_ascii_alphanumeric() || char.is_ascii_whitespace() || "+/=-:,".contains(char);
        let stop = inside.find(|char| !base64(char)).unwrap_or(inside.len());
        let stop = inside.get(..stop)?.trim_end().len();
        (stop > 100).then(|| self.found(PRIVATE_KEY, here..here + stop))
    }
}

impl Finder for Secrets {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        if self.assigned
            && let Some(next) = self.told_before(text, from, end)
        {
            return next;
        }
        let bytes = text.as_bytes();
        let mut here = from;
        while let Some(byte) = bytes.get(here) {
            let next = match byte {
                b'-' if bytes.get(here.wrapping_sub(1)) != Some(&b'-') => self.pem(text, here, end),
                _ if byte.is_ascii_alphanumeric() && begins(text, here) => {
                    self.shaped(text, here, end).or_else(|| self.assigned(text, here, end))
                }
                _ => self.assigned(text, here, end),
            };
            if let Some(next) = next {
                return next;
            }
            here += 1;
        }
        Next::Open(text.len())
    }
}

impl Secrets {
    /// What begins at `from` or behind because of what stands before: that may have been found as something else.
    fn told_before(&self, text: &str, from: usize, end: bool) -> Option<Next> {
        let nexts = assigned::signs_before(text, from).into_iter().flatten();
        nexts.filter_map(|sign| self.assigned(text, sign, end)).find_map(|next| match next {
            Next::Open(_) => Some(Next::Open(from)),
            Next::Found(finding) => (finding.range.start >= from).then_some(Next::Found(finding)),
        })
    }

    /// What is a secret because of the name or the `://` that begins at `here`.
    fn assigned(&self, text: &str, here: usize, end: bool) -> Option<Next> {
        let rest = text.get(here..)?;
        match rest.bytes().next()? {
            _ if !self.assigned => None,
            b':' if !end && "://".starts_with(rest) => Some(Next::Open(here)),
            b':' if rest.starts_with("://") => match assigned::in_url(text, here, end) {
                Assigned::Value(value) => Some(self.found(URL_PASSWORD, value)),
                Assigned::Open => Some(Next::Open(here)),
                Assigned::Not => None,
            },
            byte if byte.is_ascii_alphanumeric() && begins(text, here) => self.named(text, here, end),
            _ => None,
        }
    }

    /// What is assigned to the name that begins at `here`.
    fn named(&self, text: &str, here: usize, end: bool) -> Option<Next> {
        let name = here..assigned::name_end(text, here)?;
        if !end && name.end == text.len() {
            return Some(Next::Open(here));
        }
        match assigned::read(text, name, end) {
            // What tells by its look keeps its own name.
            Assigned::Value(value) => Some(match self.shaped(text, value.start, end) {
                Some(Next::Open(_)) => Next::Open(here),
                Some(shaped) => shaped,
                None => self.found(ASSIGNED, value),
            }),
            Assigned::Open => Some(Next::Open(here)),
            Assigned::Not => None,
        }
    }
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'-')
}

/// Whether a token may begin there.
fn begins(text: &str, here: usize) -> bool {
    !before(text, here).is_some_and(|char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '+' | '/'))
}
