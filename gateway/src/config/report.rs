//! What is wrong with a configuration: position, reason, and what would be right.
//!
//! A line of the file is shown with every problem, and the file may hold secrets: whatever could be one is masked.

use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, and a person should know.
    Warning,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong, or doubtful, in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Name of the file.
    pub source: String,
    /// Where in the file; `None` when it concerns no line of it.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line's text, cut when long, with secrets masked.
    pub excerpt: String,
    /// Where in the excerpt the caret stands, in characters from 0.
    pub caret: usize,
    /// How many characters the caret underlines, at least 1.
    pub width: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.as_str(), self.source)?;
        let gutter = match &self.place {
            None => {
                write!(f, ": {}", self.message)?;
                0
            }
            Some(place) => {
                write!(f, ":{}:{}: {}", place.line, place.column, self.message)?;
                let number = place.line.to_string();
                let gutter = number.len();
                write!(f, "\n {number} | {}", place.excerpt)?;
                write!(f, "\n {:gutter$} | {:caret$}{}", "", "", "^".repeat(place.width), caret = place.caret)?;
                gutter
            }
        };
        if let Some(help) = &self.help {
            write!(f, "\n {:gutter$} = {help}", "")?;
        }
        Ok(())
    }
}

impl Problem {
    fn of_no_line(severity: Severity, source: &str, message: String, help: Option<String>) -> Self {
        Self { severity, source: source.to_owned(), place: None, message, help }
    }
}

/// A doubtful thing in a configuration that is used nevertheless.
pub type Warning = Problem;

/// Everything that is wrong with a configuration, in the order of the file, and the warnings found on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigErrors {
    /// Never empty.
    pub errors: Vec<Problem>,
    /// What else is doubtful.
    pub warnings: Vec<Warning>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl ConfigErrors {
    /// A configuration that could not even be looked at.
    pub(super) fn single(source: &str, message: String, help: Option<String>) -> Self {
        Self { errors: vec![Problem::of_no_line(Severity::Error, source, message, help)], warnings: Vec::new() }
    }

    /// What is wrong with something that the configuration names; `messages` is not empty.
    pub(super) fn of_no_line(source: &str, messages: Vec<String>, warnings: Vec<Warning>) -> Self {
        let errors = messages.into_iter().flat_map(|message| Self::single(source, message, None).errors).collect();
        Self { errors, warnings }
    }
}

/// Past this many errors a file is not a configuration, and a person reads no further; nor past as many warnings.
const MOST: usize = 50;

/// Collects what is wrong with one file.
pub(super) struct Report<'a> {
    name: &'a str,
    text: &'a str,
    masked: Vec<Range<usize>>,
    errors: Vec<(usize, Problem)>,
    warnings: Vec<(usize, Problem)>,
    /// Warnings past the most that are shown.
    unshown: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, masked: Vec::new(), errors: Vec::new(), warnings: Vec::new(), unshown: 0 }
    }

    /// Shows none of these bytes in any excerpt.
    pub(super) fn mask(&mut self, span: Range<usize>) {
        self.masked.push(span);
    }

    /// Whether some of it is shown in no excerpt.
    pub(super) fn is_masked(&self, span: &Range<usize>) -> bool {
        self.masked.iter().any(|masked| masked.start < span.end && span.start < masked.end)
    }

    /// What stands at `span`, unmasked: for finding a place in it.
    pub(super) fn source(&self, span: Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Help>) {
        self.add(Severity::Error, span, message.into(), help.into());
    }

    pub(super) fn warn(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Help>) {
        self.add(Severity::Warning, span, message.into(), help.into());
    }

    /// Whether it is no use to look for more errors.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= MOST
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: String, help: Help) {
        let found = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if found.len() >= MOST {
            self.unshown += usize::from(severity == Severity::Warning);
            return;
        }
        let start = self.text.floor_char_boundary(span.start);
        let place = place(self.text, start..self.text.ceil_char_boundary(span.end).max(start), &self.masked);
        let problem = Problem { severity, source: self.name.to_owned(), place: Some(place), message, help: help.0 };
        found.push((start, problem));
    }

    /// The warnings, or everything that is wrong.
    pub(super) fn finish(self) -> Result<Vec<Warning>, ConfigErrors> {
        let in_order = |mut found: Vec<(usize, Problem)>| -> Vec<Problem> {
            found.sort_by_key(|(start, _)| *start);
            found.into_iter().map(|(_, problem)| problem).collect()
        };
        let (errors, mut warnings) = (in_order(self.errors), in_order(self.warnings));
        if self.unshown > 0 {
            let message = format!("and more like these, which are not shown: {}", self.unshown);
            warnings.push(Problem::of_no_line(Severity::Warning, self.name, message, None));
        }
        if errors.is_empty() { Ok(warnings) } else { Err(ConfigErrors { errors, warnings }) }
    }
}

/// What would be right, or nothing that could be said.
pub(super) struct Help(pub Option<String>);

impl From<&str> for Help {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl From<String> for Help {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<String>> for Help {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}

/// The most characters of a line that are shown, and how many of them before the caret.
const EXCERPT: usize = 120;
const BEFORE: usize = 60;

fn place(text: &str, span: Range<usize>, masked: &[Range<usize>]) -> Place {
    let before = text.get(..span.start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    let rest = text.get(line_start..).unwrap_or_default();
    let line_text = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
    let column = text.get(line_start..span.start).unwrap_or_default().chars().count();
    let in_line = text.get(span.start..span.end.min(line_start + line_text.len())).unwrap_or_default();
    let width = in_line.chars().count();
    let skipped = if column > BEFORE && line_text.chars().count() > EXCERPT { column - BEFORE } else { 0 };
    let line_end = line_start + line_text.len();
    let masked: Vec<_> = masked.iter().filter(|range| range.start < line_end && range.end > line_start).collect();
    let excerpt: String = line_text
        .char_indices()
        .skip(skipped)
        .take(EXCERPT)
        .map(|(at, c)| {
            let at = line_start + at;
            if masked.iter().any(|range| range.contains(&at)) {
                '*'
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect();
    let caret = column - skipped;
    let width = width.min(EXCERPT.saturating_sub(caret)).max(1);
    Place { line, column: column + 1, excerpt: excerpt.trim_end().to_owned(), caret, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts() {
        let text = "a = 1\n\tkey = \"sécret\" # x\r\nlast";
        let at = text.find("sécret").unwrap();
        let secret = at..at + "sécret".len();
        let shown = place(text, secret.clone(), &[secret]);
        assert_eq!((shown.line, shown.column, shown.width), (2, 9, 6));
        assert_eq!(shown.excerpt, " key = \"******\" # x");
        let end = place(text, text.len()..text.len(), &[]);
        assert_eq!((end.line, end.column, end.width, end.excerpt.as_str()), (3, 5, 1, "last"));
        let empty = place("", 0..0, &[]);
        assert_eq!((empty.line, empty.column, empty.width), (1, 1, 1));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("{}x{}", "a".repeat(1000), "b".repeat(1000));
        let shown = place(&text, 1000..1001, &[]);
        assert_eq!((shown.column, shown.caret, shown.excerpt.chars().count()), (1001, BEFORE, EXCERPT));
        assert_eq!(shown.excerpt.chars().nth(shown.caret), Some('x'));
    }
}
