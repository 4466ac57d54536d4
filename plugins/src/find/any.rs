//! Several finders as one.

use super::{Finder, Finding, Next};

/// Finds what any of its finders finds. Of findings that overlap the leftmost counts, of those that begin together the longest, of
/// those that are the same stretch the first finder's.
#[derive(Default)]
pub struct Any(Vec<Box<dyn Finder>>);

impl Any {
    /// All of `finders` together.
    #[must_use]
    pub fn new(finders: Vec<Box<dyn Finder>>) -> Self {
        Self(finders)
    }

    /// Whether it looks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Finder for Any {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        let mut open = text.len();
        let mut best: Option<Finding> = None;
        for finder in &self.0 {
            match finder.next(text, from, end) {
                Next::Open(at) => open = open.min(at),
                Next::Found(finding) => {
                    let wins = best.as_ref().is_none_or(|best| {
                        let (new, old) = (&finding.range, &best.range);
                        new.start < old.start || (new.start == old.start && new.end > old.end)
                    });
                    if wins {
                        best = Some(finding);
                    }
                }
            }
        }
        match best {
            // What is still open may become a finding that begins before this one, or there.
            Some(finding) if end || finding.range.start < open => Next::Found(finding),
            Some(_) | None => Next::Open(open),
        }
    }
}
