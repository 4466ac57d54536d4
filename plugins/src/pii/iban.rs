//! International bank account numbers (ISO 13616): the countries' lengths, and the check by 97.

use super::checks::{mod_97, number};
use super::form::is_space;

/// Countries and the lengths of their numbers, from SWIFT's registry.
const LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

/// Whether `written`, `chars` without its separators, is one: in one piece, or in groups of four.
pub(super) fn check(written: &str, chars: &[u8]) -> bool {
    let Some(country) = chars.get(..2) else { return false };
    let known = |(name, length): &&(&str, usize)| name.as_bytes() == country && *length == chars.len();
    if !LENGTHS.iter().any(|entry| known(&entry)) || number(chars, 2, 4).is_none() || !is_grouped(written) {
        return false;
    }
    mod_97(chars.iter().skip(4).chain(chars.iter().take(4)).copied()) == 1
}

/// Whether it has no separators, or one after every four characters.
fn is_grouped(written: &str) -> bool {
    let mut lengths = written.split(|char| is_space(char) || char == '-').map(str::len).peekable();
    let mut first = true;
    while let Some(length) = lengths.next() {
        let last = lengths.peek().is_none();
        let fits = if first && last { true } else { length == 4 || (last && (1..4).contains(&length)) };
        if !fits {
            return false;
        }
        first = false;
    }
    true
}
