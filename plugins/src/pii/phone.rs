//! Telephone numbers, international and national.

use super::checks::{dated, number};
use super::form::is_space;

/// Beginnings of words that announce a number, in lower case.
const WORDS: &[&str] = &[
    "tel",
    "phone",
    "call",
    "fax",
    "mobil",
    "cell",
    "whatsapp",
    "sms",
    "text me",
    "handy",
    "rufnummer",
    "anruf",
    "rückruf",
    "tél",
    "portable",
    "appel",
    "joindre",
    "móvil",
    "llam",
    "llám",
    "celular",
    "tlf",
    "chiam",
    "bel ",
    "gsm",
    "zadzwo",
    "komórk",
    "liga ",
    "ligue",
    "ligar",
    "telemóvel",
    "dial",
    "hotline",
    "puhelin",
    "тел",
    "моб",
    "звон",
];
/// The same, anywhere in a word: scripts without spaces, and parts of longer words.
const PARTS: &[&str] = &[
    "telefon",
    "telephone",
    "phone",
    "电话",
    "手机",
    "致电",
    "拨打",
    "電話",
    "携帯",
    "전화",
    "연락처",
    "फोन",
    "फ़ोन",
    "मोबाइल",
    "هاتف",
    "جوال",
    "טלפון",
];

/// Whether `written` is a telephone number. `context` gives what stands before it.
pub(super) fn check(written: &str, context: &dyn Fn() -> String) -> bool {
    if written.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return false;
    }
    let digits: Vec<u8> = written.bytes().filter(u8::is_ascii_digit).collect();
    let (open, closed) = (written.matches('(').count(), written.matches(')').count());
    if !(7..=15).contains(&digits.len()) || open != closed || open > 1 || written.matches('+').count() > 1 {
        return false;
    }
    let groups: Vec<usize> = groups(written);
    if let Some(international) = written.strip_prefix('+').or_else(|| written.strip_prefix("(+")) {
        return !international.starts_with('0') && is_international(&digits, &groups);
    }
    if written.contains('+') {
        return false;
    }
    if let Some(rest) = digits.strip_prefix(b"00") {
        // Without a mark of its own it is in groups: else it is a number with zeros in front.
        return groups.len() > 1 && is_international(rest, &groups);
    }
    if is_date_like(written, &digits, &groups) {
        return false;
    }
    national(written, &digits, &groups) || (may_be_one(&digits, &groups) && announced(&context()))
}

/// The numbers of digits in each group.
fn groups(written: &str) -> Vec<usize> {
    let parts = written.split(|char: char| !char.is_ascii_digit());
    parts.map(str::len).filter(|length| *length > 0).collect()
}

fn announced(context: &str) -> bool {
    let begins = |at: usize| !context.get(..at).is_some_and(|head| head.ends_with(char::is_alphanumeric));
    PARTS.iter().any(|part| context.contains(part))
        || WORDS.iter().any(|word| context.match_indices(word).any(|(at, _)| begins(at)))
}

/// A country code that there is, and as many digits as its country may have.
fn is_international(digits: &[u8], groups: &[usize]) -> bool {
    let length = digits.len();
    // One is usual (+33 6 …), and the (0) that is dialled at home.
    if groups.iter().skip(1).filter(|group| **group < 2).count() > 2 {
        return false;
    }
    match (number(digits, 0, 1), number(digits, 0, 2), number(digits, 0, 3)) {
        (Some(1), ..) => length == 11 && digits.get(1).is_some_and(|byte| *byte >= b'2'),
        (Some(7), ..) => length == 11,
        (_, Some(two), _) if is_country(two) => match two {
            33 => (11..=12).contains(&length),
            34 | 48 => length == 11,
            55 => (12..=13).contains(&length),
            86 => (11..=13).contains(&length),
            91 => (12..=13).contains(&length),
            _ => (9..=15).contains(&length),
        },
        (.., Some(three)) => {
            matches!(three, 210..=299 | 350..=389 | 420..=423 | 500..=509 | 590..=599 | 670..=692 | 800..=888 | 960..=998)
                && (9..=15).contains(&length)
        }
        _ => false,
    }
}

/// Country codes of two digits.
fn is_country(two: u64) -> bool {
    matches!(two, 20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98)
}

/// A national form so peculiar that it is hardly anything else.
fn national(written: &str, digits: &[u8], groups: &[usize]) -> bool {
    let parenthesis = written.starts_with('(');
    let spaced = written.chars().any(is_space);
    let digit = |place: usize| digits.get(place).copied().unwrap_or_default();
    let area = |place: usize| digit(place) >= b'2' && digit(place + 3) >= b'2';
    match groups {
        // North America: (212) 555-1234, 212-555-1234, 1-212-555-1234.
        [3, 3, 4] if area(0) && (parenthesis || !spaced) && !written.contains('/') => true,
        [1, 3, 3, 4] if digit(0) == b'1' && area(1) && (!spaced || written.contains('(')) => true,
        // Brazil: (11) 91234-5678. Elsewhere, too: (91) 123 45 67.
        [2, 4 | 5, 4] if parenthesis && digit(0) != b'0' => true,
        // Spain: 912 34 56 78, 91 234 56 78.
        [3, 2, 2, 2] | [2, 3, 2, 2] => matches!(digit(0), b'6'..=b'9') && spaced,
        // China: 138 1234 5678.
        [3, 4, 4] if digit(0) == b'1' && digit(1) >= b'3' => true,
        // Russia: 8 (495) 123-45-67.
        [1, 3, 3, 2, 2] => digit(0) == b'8' && matches!(digit(1), b'3' | b'4' | b'8' | b'9'),
        // France: 06 12 34 56 78. In rising order it is more likely a draw of the lottery.
        [2, 2, 2, 2, ..] => {
            let pairs: Vec<&[u8]> = digits.chunks(2).collect();
            let rises = pairs.windows(2).all(|pair| pair.first() < pair.last());
            groups.len() == 5 && digits.len() == 10 && digit(0) == b'0' && digit(1) != b'0' && !rises
        }
        // A trunk prefix: 030 1234567, 06 12 34 56 78, 020 7946 0958, (02) 9876 5432, 0171/1234567.
        [first, .., last] => {
            digit(0) == b'0'
                && digit(1) != b'0'
                && (9..=12).contains(&digits.len())
                && (2..=6).contains(first)
                && *last >= 2
                && groups.len() <= 6
                && written.matches('.').count() != 1
                && written.matches('/').count() <= 1
        }
        _ => false,
    }
}

/// What is a number if a word before it says so: 7 to 12 digits in one piece, or in a few groups.
fn may_be_one(digits: &[u8], groups: &[usize]) -> bool {
    (7..=12).contains(&digits.len()) && groups.len() <= 6 && groups.iter().all(|group| *group >= 2 || groups.len() < 3)
}

/// Whether it begins as a date does: 01.02.2024, 2024-01-02 10.
fn is_date_like(written: &str, digits: &[u8], groups: &[usize]) -> bool {
    let marked = written.contains(['.', '-', '/']);
    match groups {
        [2, 2, 4, ..] => marked && (dated(digits, 2, 0) || dated(digits, 0, 2)),
        [4, 2, 2, ..] => marked && dated(digits, 4, 6),
        _ => false,
    }
}
