//! Numbers by which states know their people: how they are written, and what tells them from other numbers.
//!
//! A row says how a number is written (see [`fits`](super::form::fits)), how it is checked, and in what other forms it counts if a
//! word before it says what it is. Where the check digit alone lets one of ten numbers through, only that word or a peculiar form
//! makes it one.

mod americas;
mod asia;
mod europe;

/// A kind of number.
pub(super) struct National {
    /// The country, by ISO 3166-1 in lower case.
    pub country: &'static str,
    /// Forms that are peculiar enough.
    pub forms: &'static [&'static str],
    /// Forms that count only behind one of `words`.
    pub loose: &'static [&'static str],
    /// In lower case.
    pub words: &'static [&'static str],
    /// Looks at its digits and letters, which have one of the forms.
    pub check: fn(&[u8]) -> bool,
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static National> {
    europe::ROWS.iter().chain(americas::ROWS).chain(asia::ROWS)
}

/// The countries that there are numbers of.
pub(super) fn countries() -> Vec<&'static str> {
    let mut countries: Vec<_> = all().map(|row| row.country).collect();
    countries.sort_unstable();
    countries.dedup();
    countries
}
