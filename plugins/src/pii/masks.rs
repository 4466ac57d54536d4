//! Placeholders, and what they stand for.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::find::{Finder, Finding, Kind, Next, label};

/// Longest placeholder: `[`, a name, `_`, a number, `]`.
const LONGEST: usize = 48;

/// What was masked in one request: `[EMAIL_1]` stands for the first mail address, wherever it appears.
///
/// Numbers follow the order in which values first appear, so that a conversation that grows keeps those it has: what the provider has
/// cached or signed stays the same.
#[derive(Debug, Default, Clone)]
pub struct Masks {
    originals: HashMap<Box<str>, Arc<str>>,
    placeholders: HashMap<(Kind, Arc<str>), Box<str>>,
    counts: HashMap<Kind, usize>,
    /// Numbers up to this one are not given out.
    after: usize,
    /// Placeholders that the request itself writes: they stand for nothing.
    taken: HashSet<Box<str>>,
}

impl Masks {
    /// For a turn that follows turns which only the provider has: its numbers are none of theirs. `seed` tells the turn from others.
    #[must_use]
    pub fn apart(seed: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        Self { after: 1000 + (hasher.finish() % 899_000) as usize, ..Self::default() }
    }

    /// Whether nothing was masked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.originals.is_empty()
    }

    /// Notes what looks like a placeholder in a text of the request, before the first is given out.
    pub fn reserve(&mut self, text: &str) {
        for (at, _) in text.match_indices('[') {
            if let Some(placeholder) = placeholder_at(text, at) {
                self.taken.insert(placeholder.into());
            }
        }
    }

    /// The placeholder of a value; a new one if it has none.
    pub fn mask(&mut self, kind: &Kind, value: &str) -> &str {
        let key: (Kind, Arc<str>) = (kind.clone(), value.into());
        let Self { originals, placeholders, counts, taken, after } = self;
        placeholders.entry(key).or_insert_with_key(|(kind, value)| {
            let count = counts.entry(kind.clone()).or_insert(*after);
            loop {
                *count += 1;
                let placeholder: Box<str> = format!("[{}_{count}]", label(kind)).into();
                if !taken.contains(&placeholder) {
                    originals.insert(placeholder.clone(), value.clone());
                    return placeholder;
                }
            }
        })
    }

    /// The placeholder of a value that has one.
    #[must_use]
    pub fn known(&self, kind: &Kind, value: &str) -> Option<&str> {
        self.placeholders.get(&(kind.clone(), value.into())).map(|placeholder| &**placeholder)
    }

    /// What a placeholder stands for.
    #[must_use]
    pub fn original(&self, placeholder: &str) -> Option<&str> {
        self.originals.get(placeholder).map(|original| &**original)
    }
}

/// Finds the placeholders that stand for something; each is a finding whose kind says nothing.
impl Finder for Masks {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        for (at, _) in text.get(from..).unwrap_or_default().match_indices('[') {
            let start = from + at;
            match placeholder_at(text, start) {
                Some(placeholder) if self.originals.contains_key(placeholder) => {
                    return Next::Found(Finding::new(Arc::default(), start..start + placeholder.len()));
                }
                Some(_) => {}
                None if !end && may_become_one(text.get(start..).unwrap_or_default()) => return Next::Open(start),
                None => {}
            }
        }
        Next::Open(text.len())
    }
}

/// What has the form of a placeholder and begins at `start`.
fn placeholder_at(text: &str, start: usize) -> Option<&str> {
    let rest = text.get(start..)?;
    let close = rest.get(..rest.floor_char_boundary(LONGEST))?.find(']')?;
    let inside = rest.get(1..close)?;
    let (name, number) = inside.rsplit_once('_')?;
    let fits = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    if fits { rest.get(..=close) } else { None }
}

/// Whether `rest`, which begins with `[`, is the beginning of one.
fn may_become_one(rest: &str) -> bool {
    rest.len() < LONGEST
        && rest.bytes().skip(1).all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::tests::cut_everywhere;
    use crate::find::{Script, rewrite};

    #[test]
    fn values_have_one_placeholder_each_and_come_back() {
        let (email, card): (Kind, Kind) = ("email".into(), "card".into());
        let mut masks = Masks::default();
        masks.reserve("as in [EMAIL_1] or [x] or [EMAIL_");
        assert_eq!(masks.mask(&email, "a@b.cc"), "[EMAIL_2]");
        assert_eq!(masks.mask(&email, "c@d.ee"), "[EMAIL_3]");
        assert_eq!(masks.mask(&email, "a@b.cc"), "[EMAIL_2]");
        assert_eq!(masks.mask(&card, "a@b.cc"), "[CARD_1]");
        assert_eq!(masks.known(&card, "4111"), None);
        let text = "[[EMAIL_2] wrote [EMAIL_1], [EMAIL_9], [EMAIL_2 ] and [EMAIL_3]] [CARD_1";
        let back = rewrite(&masks, text, Script::Plain, &mut |_, found| masks.original(found).map(str::to_owned));
        assert_eq!(back.unwrap(), "[a@b.cc wrote [EMAIL_1], [EMAIL_9], [EMAIL_2 ] and c@d.ee] [CARD_1");
        cut_everywhere(&masks, Script::Plain, text);
    }
}
