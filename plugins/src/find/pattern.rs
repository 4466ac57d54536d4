//! A regular expression as a finder.

use regex::{Regex, RegexBuilder};

use super::{Finder, Finding, Kind, Next};

/// Most bytes that the program of a regular expression may take.
const SIZE_LIMIT: usize = 1 << 20;

/// A regular expression that is refused: what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub(super) String);

/// Finds what a regular expression matches (the syntax of the `regex` crate: no look-around, no back references, linear time).
///
/// How far an expression looks cannot be known. In a stream the last `reach` bytes are kept until more has come: matches up to that
/// length are found however the text was cut; longer ones may be found shorter.
#[derive(Debug)]
pub struct Pattern {
    kind: Kind,
    regex: Regex,
    reach: usize,
}

impl Pattern {
    /// The default of `reach`.
    pub const REACH: usize = 64;

    /// Matches of `pattern` are findings of `kind`.
    ///
    /// # Errors
    /// It cannot be read, is too large, or matches nothing at all (the empty text).
    pub fn new(kind: Kind, pattern: &str, reach: usize) -> Result<Self, PatternError> {
        let regex = RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT).build();
        let regex = regex.map_err(|error| PatternError(reason(&error)))?;
        if regex.is_match("") {
            return Err(PatternError("it matches the empty text, so it would be found everywhere".to_owned()));
        }
        Ok(Self { kind, regex, reach })
    }
}

impl Finder for Pattern {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        let settled =
            if end { text.len() } else { text.floor_char_boundary(text.len().saturating_sub(self.reach)).max(from) };
        let mut at = from;
        while let Some(found) = self.regex.find_at(text, at) {
            if found.start() >= settled && !end {
                break;
            }
            if found.is_empty() {
                // Possible between words (`\b`): nothing that could be replaced.
                at = text.ceil_char_boundary(found.end() + 1);
                if at >= text.len() {
                    break;
                }
                continue;
            }
            return Next::Found(Finding::new(self.kind.clone(), found.range()));
        }
        Next::Open(settled)
    }
}

/// The last line of what `regex` says: the lines before it draw the place.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        error => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("this is not a regular expression: {reason}")
        }
    }
}
