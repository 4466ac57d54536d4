//! Text that comes in pieces, as finders see it.

use std::ops::Range;

use super::json::{self, Places};
use super::{CONTEXT, Finder, Kind};

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Script {
    /// As it is.
    #[default]
    Plain,
    /// As JSON, of which only the strings and numbers are meant: a tool call's arguments.
    Json,
}

/// Something found in a piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Where it stands in the text that was shown.
    pub range: Range<usize>,
    /// It stands outside of a string of JSON, as numbers do: what takes its place has to be a string of its own.
    pub bare: bool,
}

/// Reads one text that comes in pieces. What it has settled it forgets, but for [`CONTEXT`] bytes.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    script: Script,
    /// What finders saw last and see still, and behind `kept` what they are shown.
    view: String,
    kept: usize,
    places: Places,
    /// Whether the text goes on inside a string of JSON.
    inside: bool,
}

impl Reader {
    /// At the beginning of a text of this script.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self { script, ..Self::default() }
    }

    /// Looks through `text`: all of what is not settled yet, and what has come since. Tells what is found in it, in order, and gives
    /// back up to where it is settled; the rest has to be shown again, with more behind it. `end`: nothing follows, all is settled.
    pub fn look(&mut self, finder: &dyn Finder, text: &str, end: bool, found: &mut dyn FnMut(Found)) -> usize {
        self.view.truncate(self.kept);
        self.places.begin(self.kept);
        match self.script {
            Script::Plain => self.view.push_str(text),
            Script::Json => json::view(text, end, &mut self.view, &mut self.places),
        }
        let Self { script, view, kept, places, inside } = self;
        let mut from = *kept;
        let open = finder.walk(view, from, end, &mut |finding| {
            let range = match script {
                Script::Plain => finding.range,
                Script::Json => within_string(view, finding.range),
            };
            *inside ^= crosses(view, *script, from..range.start);
            from = range.end;
            if !range.is_empty() {
                let bare = *script == Script::Json && !*inside;
                found(Found { kind: finding.kind, range: places.of(range.start)..places.of(range.end), bare });
            }
            from
        });
        let settled = if end { view.len() } else { view.floor_char_boundary(open).max(from) };
        *inside ^= crosses(view, *script, from..settled);
        let done = places.of(settled);
        let spent = self.view.floor_char_boundary(settled.saturating_sub(CONTEXT));
        self.view.truncate(settled);
        self.view.drain(..spent);
        self.kept = self.view.len();
        if end { text.len() } else { done }
    }
}

/// Whether a stretch leads into a string of JSON, or out of one.
fn crosses(view: &str, script: Script, range: Range<usize>) -> bool {
    let bytes = view.as_bytes().get(range).unwrap_or_default();
    script == Script::Json && memchr::memchr_iter(json::QUOTE as u8, bytes).count() % 2 == 1
}

/// The part of a finding that goes over no border of a string.
fn within_string(view: &str, range: Range<usize>) -> Range<usize> {
    let inner = view.get(range.clone()).unwrap_or_default();
    let start = range.start + inner.len() - inner.trim_start_matches(json::QUOTE).len();
    let inner = view.get(start..range.end).unwrap_or_default();
    start..start + inner.find(json::QUOTE).unwrap_or(inner.len())
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
    let mut out: Option<String> = None;
    let mut at = 0;
    Reader::new(script).look(finder, text, true, &mut |found| {
        let Some(written) = text.get(found.range.clone()) else { return };
        let new = match script {
            Script::Plain => replace(&found.kind, written),
            Script::Json => replace(&found.kind, &json::unescape(written)).map(|new| in_json(&new, found.bare)),
        };
        let Some(new) = new else { return };
        let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
        out.push_str(text.get(at..found.range.start).unwrap_or_default());
        out.push_str(&new);
        at = found.range.end;
    });
    out.map(|out| out + text.get(at..).unwrap_or_default())
}

/// What stands for a text in JSON: inside of a string, or as one.
#[must_use]
pub fn in_json(text: &str, bare: bool) -> String {
    let escaped = json::escape(text);
    if bare { format!("\"{escaped}\"") } else { escaped.into_owned() }
}
