//! Several finders as one.

use std::sync::Arc;

use super::{Finder, Finding, Next};

/// Finds what any of its finders finds. Of findings that overlap the leftmost counts, of those that begin together the longest, of
/// those that are the same stretch the first finder's.
#[derive(Default, Clone)]
pub struct Any(Vec<Arc<dyn Finder>>);

impl Any {
    /// All of `finders` together.
    #[must_use]
    pub fn new(finders: Vec<Arc<dyn Finder>>) -> Self {
        Self(finders)
    }

    /// One more.
    #[must_use]
    pub fn and(mut self, finder: Arc<dyn Finder>) -> Self {
        self.0.push(finder);
        self
    }

    /// Whether it looks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What comes next. `known`: what each finder said last, which holds as long as its finding was not passed: so each of them
    /// goes over the text once.
    fn next_of(&self, known: &mut Vec<Next>, text: &str, from: usize, end: bool) -> Next {
        known.resize(self.0.len(), Next::Found(Finding::new(Arc::default(), 0..0)));
        let mut open = text.len();
        let mut best: Option<&Finding> = None;
        for (finder, known) in self.0.iter().zip(known) {
            if matches!(known, Next::Found(finding) if finding.range.start < from || finding.range.is_empty()) {
                *known = finder.next(text, from, end);
            }
            match known {
                Next::Open(at) => open = open.min(*at),
                Next::Found(finding) => {
                    let wins = best.is_none_or(|best| {
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
            Some(finding) if end || finding.range.start < open => Next::Found(finding.clone()),
            Some(_) | None => Next::Open(open.max(from)),
        }
    }
}

impl Finder for Any {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        self.next_of(&mut Vec::new(), text, from, end)
    }

    fn walk(&self, text: &str, mut from: usize, end: bool, found: &mut dyn FnMut(Finding) -> usize) -> usize {
        // In nearly every text there is nothing: that is told without keeping what each of them says.
        let quiet = |open: usize, finder: &Arc<dyn Finder>| match finder.next(text, from, end) {
            Next::Open(at) => Some(open.min(at)),
            Next::Found(_) => None,
        };
        if let Some(open) = self.0.iter().try_fold(text.len(), quiet) {
            return open.max(from);
        }
        let mut known = Vec::new();
        loop {
            match self.next_of(&mut known, text, from, end) {
                Next::Found(finding) => from = found(finding),
                Next::Open(open) => return open,
            }
        }
    }
}
