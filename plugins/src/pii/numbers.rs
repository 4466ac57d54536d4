//! Numbers of all kinds in one pass: cards, accounts, national ids, telephones.

use super::form::{Candidate, compact, fits, may_begin};
use super::national::{self, National};
use super::{card, iban, phone};
use crate::find::{Finder, Finding, Kind, Next};

/// Most digits and letters of a form in the table.
const LONGEST_FORM: usize = 20;

/// Which numbers are looked for, and what they are called.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub card: Option<Kind>,
    pub iban: Option<Kind>,
    pub phone: Option<Kind>,
    pub national: Option<Kind>,
}

/// Finds numbers.
pub(super) struct Numbers {
    kinds: Kinds,
    /// Forms by how many digits and letters they have, the first to be tried first.
    forms: Vec<Vec<Form>>,
}

struct Form {
    form: &'static str,
    kind: Kind,
    check: fn(&[u8]) -> bool,
    /// One of these has to stand before it.
    words: Option<&'static [&'static str]>,
}

impl Numbers {
    /// Finds `kinds`; national ids of `countries`, or of all that are known.
    pub fn new(kinds: Kinds, countries: Option<&[String]>) -> Self {
        let mut forms: Vec<Vec<Form>> = (0..=LONGEST_FORM).map(|_| Vec::new()).collect();
        let mut add = |form: Form| {
            let length = form
                .form
                .chars()
                .filter(|char| matches!(char, '#' | '@' | '?') || char.is_ascii_alphanumeric())
                .count();
            if let Some(forms) = forms.get_mut(length) {
                forms.push(form);
            }
        };
        if let Some(kind) = &kinds.card {
            for form in card::FORMS {
                add(Form { form, kind: kind.clone(), check: card::check, words: None });
            }
        }
        if let Some(kind) = &kinds.national {
            let wanted =
                |row: &&National| countries.is_none_or(|countries| countries.iter().any(|name| *name == row.country));
            for row in national::all().filter(wanted) {
                for form in row.forms {
                    add(Form { form, kind: kind.clone(), check: row.check, words: None });
                }
                for form in row.loose {
                    add(Form { form, kind: kind.clone(), check: row.check, words: Some(row.words) });
                }
            }
        }
        Self { kinds, forms }
    }

    /// What the first `count` groups of the candidate are.
    fn kind_of(&self, candidate: &Candidate<'_>, count: usize) -> Option<&Kind> {
        let written = candidate.written(count);
        let chars = compact(written);
        if chars.len() < 7 || !candidate.ends_well(count) {
            return None;
        }
        if let Some(kind) = &self.kinds.iban
            && iban::check(written, &chars)
        {
            return Some(kind);
        }
        let forms = self.forms.get(chars.len()).map_or(&[][..], Vec::as_slice);
        let mut context: Option<String> = None;
        for form in forms.iter().filter(|form| fits(written, form.form) && (form.check)(&chars)) {
            let Some(words) = form.words else { return Some(&form.kind) };
            let context = context.get_or_insert_with(|| candidate.context());
            if words.iter().any(|word| context.contains(word)) {
                return Some(&form.kind);
            }
        }
        let kind = self.kinds.phone.as_ref()?;
        let ends = !candidate.goes_on(count);
        (ends && phone::check(written, &|| candidate.context())).then_some(kind)
    }
}

impl Finder for Numbers {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        let bytes = text.as_bytes();
        let mut here = from;
        while let Some(byte) = bytes.get(here) {
            let is_first = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'(');
            let Some(begins) = (if is_first { may_begin(text, here, end) } else { Some(false) }) else {
                return Next::Open(here);
            };
            if !begins {
                here += 1;
                continue;
            }
            let Some(candidate) = Candidate::read(text, here, end) else { return Next::Open(here) };
            for count in (1..=candidate.groups).rev() {
                if let Some(kind) = self.kind_of(&candidate, count) {
                    return Next::Found(Finding::new(kind.clone(), candidate.start..candidate.end(count)));
                }
            }
            if matches!(byte, b'+' | b'(') {
                here += 1;
                continue;
            }
            here += 1 + bytes.iter().skip(here + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        }
        Next::Open(text.len())
    }
}
