//! Text that comes in pieces.

use std::ops::Range;

use super::{CONTEXT, Finder, Kind, Next, floor, json};

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Script {
    /// As it is.
    #[default]
    Plain,
    /// As JSON, of which only the strings and numbers are meant: a tool call's arguments.
    Json,
}

/// A settled piece of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'t> {
    /// In which nothing was found.
    Plain(&'t str),
    /// That was found.
    Found {
        /// What it is.
        kind: Kind,
        /// As it was written.
        text: &'t str,
        /// It stands outside of a string of JSON, as numbers do: what takes its place has to be a string of its own.
        bare: bool,
    },
}

/// What is kept of a text that comes in pieces.
///
/// Memory: the last piece, what its finder keeps open, and [`CONTEXT`] bytes before it.
#[derive(Debug, Clone, Default)]
pub struct Window {
    script: Script,
    /// What was given out already and is still seen, and behind `from` what is not settled.
    text: String,
    from: usize,
    /// The same as the finder sees it, if that is something else.
    view: String,
    /// The beginning of an escape.
    rest: String,
    /// Whether `from` is inside a string of JSON.
    inside: bool,
}

/// Text given out that may pile up before it is cleared away.
const SPENT: usize = 8 * CONTEXT;

impl Window {
    /// An empty window on a text of this script.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self { script, ..Self::default() }
    }

    /// Bytes that came in and did not go out yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.text.len() - self.from + self.rest.len()
    }

    /// Takes in the next piece and gives out what is settled. `end`: it was the last; then nothing stays, and the window can begin
    /// another text.
    pub fn push(&mut self, finder: &dyn Finder, piece: &str, end: bool, sink: &mut dyn FnMut(Piece<'_>)) {
        self.take(piece, end);
        let view = match self.script {
            Script::Plain => &self.text,
            Script::Json => &self.view,
        };
        let seen = Seen { text: &self.text, view, script: self.script };
        (self.from, self.inside) = seen.run(finder, self.from, end, self.inside, sink);
        if end {
            *self = Self::new(self.script);
        } else if self.from > SPENT {
            let spent = floor(&self.text, self.from - CONTEXT);
            self.text.drain(..spent);
            if self.script == Script::Json {
                self.view.drain(..spent);
            }
            self.from -= spent;
        }
    }

    fn take(&mut self, piece: &str, end: bool) {
        match self.script {
            Script::Plain => self.text.push_str(piece),
            Script::Json => {
                self.rest.push_str(piece);
                let whole = if end { self.rest.len() } else { json::whole(&self.rest) };
                let raw = self.rest.get(..whole).unwrap_or_default();
                self.text.push_str(raw);
                json::view(raw, &mut self.view);
                self.rest.drain(..whole);
            }
        }
    }
}

/// A text, and how finders see it.
struct Seen<'t> {
    text: &'t str,
    view: &'t str,
    script: Script,
}

impl Seen<'_> {
    /// Gives out what is settled from `from` on. Returns up to where that was, and whether that is inside a string of JSON.
    fn run(
        &self,
        finder: &dyn Finder,
        mut from: usize,
        end: bool,
        mut inside: bool,
        sink: &mut dyn FnMut(Piece<'_>),
    ) -> (usize, bool) {
        loop {
            let found = match finder.next(self.view, from, end) {
                Next::Found(found) => found,
                Next::Open(open) => {
                    let open = if end { self.text.len() } else { floor(self.text, open).max(from) };
                    inside ^= self.plain(from..open, sink);
                    return (open, inside);
                }
            };
            let range = if self.script == Script::Json { self.within_string(found.range) } else { found.range };
            inside ^= self.plain(from..range.start, sink);
            if let Some(text) = self.text.get(range.clone()).filter(|text| !text.is_empty()) {
                let bare = self.script == Script::Json && !inside;
                sink(Piece::Found { kind: found.kind, text, bare });
            }
            from = range.end;
        }
    }

    /// The part of a finding that goes over no border of a string.
    fn within_string(&self, range: Range<usize>) -> Range<usize> {
        let inner = self.view.get(range.clone()).unwrap_or_default();
        let start = range.start + inner.len() - inner.trim_start_matches(json::QUOTE).len();
        let inner = self.view.get(start..range.end).unwrap_or_default();
        start..start + inner.find(json::QUOTE).unwrap_or(inner.len())
    }

    /// Gives out a stretch in which nothing was found. `true`: it leads into a string of JSON, or out of one.
    fn plain(&self, range: Range<usize>, sink: &mut dyn FnMut(Piece<'_>)) -> bool {
        if range.is_empty() {
            return false;
        }
        if let Some(text) = self.text.get(range.clone()) {
            sink(Piece::Plain(text));
        }
        let view = self.view.get(range).unwrap_or_default();
        self.script == Script::Json && memchr::memchr_iter(json::QUOTE as u8, view.as_bytes()).count() % 2 == 1
    }
}

/// The text with what `replace` puts in place of each finding (`None`: it stays). `None` if nothing was replaced.
///
/// `replace` gets and gives plain text; in JSON it is unescaped and escaped on the way.
pub fn rewrite(
    finder: &dyn Finder,
    text: &str,
    script: Script,
    replace: &mut dyn FnMut(&Kind, &str) -> Option<String>,
) -> Option<String> {
    let mut view = String::new();
    if script == Script::Json {
        json::view(text, &mut view);
    }
    let seen = Seen { text, view: if script == Script::Json { &view } else { text }, script };
    if matches!(finder.next(seen.view, 0, true), Next::Open(_)) {
        return None;
    }
    let (mut out, mut changed) = (String::with_capacity(text.len()), false);
    seen.run(finder, 0, true, false, &mut |piece| changed |= put(&piece, script, &mut out, replace));
    changed.then_some(out)
}

/// Appends a finding, or what replaces it, to `out`. `true`: it was replaced.
pub(crate) fn put(
    piece: &Piece<'_>,
    script: Script,
    out: &mut String,
    replace: &mut dyn FnMut(&Kind, &str) -> Option<String>,
) -> bool {
    let (kind, text, bare) = match piece {
        Piece::Plain(text) => {
            out.push_str(text);
            return false;
        }
        Piece::Found { kind, text, bare } => (kind, *text, *bare),
    };
    match script {
        Script::Plain => match replace(kind, text) {
            Some(new) => out.push_str(&new),
            None => {
                out.push_str(text);
                return false;
            }
        },
        Script::Json => match replace(kind, &json::unescape(text)) {
            Some(new) => {
                let quote = if bare { "\"" } else { "" };
                out.extend([quote, &json::escape(&new), quote]);
            }
            None => {
                out.push_str(text);
                return false;
            }
        },
    }
    true
}
