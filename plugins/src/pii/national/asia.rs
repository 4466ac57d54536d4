//! Asia, Africa, Oceania.

use super::National;
use crate::pii::checks::{dated, is, is_dull, luhn, number, verhoeff, weighted};

pub(super) const ROWS: &[National] = &[
    National {
        country: "in",
        forms: &["#### #### ####", "####-####-####"],
        loose: &["############"],
        words: &["aadhaar", "aadhar", "uid", "आधार"],
        check: aadhaar,
    },
    National { country: "in", forms: &["@@@@@####@"], loose: &[], words: &[], check: pan },
    National { country: "cn", forms: &["#################?"], loose: &[], words: &[], check: cn },
    National { country: "hk", forms: &["@######(?"], loose: &["@######?"], words: &["hkid", "身份證"], check: hk },
    National {
        country: "il", forms: &[], loose: &["#########"], words: &["ת.ז", "תעודת זהות", "teudat"], check: il
    },
    National {
        country: "jp",
        forms: &[],
        loose: &["############", "#### #### ####", "####-####-####"],
        words: &["マイナンバー", "個人番号", "my number"],
        check: jp,
    },
    National { country: "kr", forms: &["######-#######"], loose: &[], words: &[], check: kr },
    National { country: "sg", forms: &["@#######@"], loose: &[], words: &[], check: sg },
    National {
        country: "th",
        forms: &["#-####-#####-##-#", "# #### ##### ## #"],
        loose: &["#############"],
        words: &["บัตรประชาชน", "thai id", "citizen"],
        check: th,
    },
    National { country: "tw", forms: &["@#########"], loose: &[], words: &[], check: tw },
    National {
        country: "za",
        forms: &["###### #### ###"],
        loose: &["#############"],
        words: &["id number", "identity", "rsa id", "id:", "id no"],
        check: za,
    },
    National {
        country: "au",
        forms: &[],
        loose: &["### ### ###", "#########", "########"],
        words: &["tfn", "tax file"],
        check: tfn,
    },
    National { country: "au", forms: &["#### ##### #"], loose: &["##########"], words: &["medicare"], check: medicare },
];

fn aadhaar(digits: &[u8]) -> bool {
    digits.first().is_some_and(|first| *first >= b'2') && verhoeff(digits) && !is_dull(digits)
}

/// The permanent account number: the fourth letter says whose it is. Its check letter's rule is not public.
fn pan(chars: &[u8]) -> bool {
    chars.get(3).is_some_and(|kind| b"PCHABGJLFT".contains(kind)) && number(chars, 5, 9) != Some(0)
}

fn cn(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    matches!(number(chars, 6, 8), Some(18..=20))
        && dated(chars, 10, 12)
        && chars.get(17) == b"10X98765432".get((sum % 11) as usize)
}

fn hk(chars: &[u8]) -> bool {
    let Some(letter) = chars.first() else { return false };
    let sum = 36 * 9 + (u32::from(letter.wrapping_sub(b'A')) + 10) * 8 + weighted(&chars[1..], &[7, 6, 5, 4, 3, 2]);
    chars.get(7) == b"0A987654321".get((sum % 11) as usize)
}

fn il(digits: &[u8]) -> bool {
    luhn(digits) && !is_dull(digits)
}

fn jp(digits: &[u8]) -> bool {
    let rest = weighted(digits, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    is(digits, 11, if rest <= 1 { 0 } else { 11 - rest }) && !is_dull(digits)
}

/// Numbers given since October 2020 have no check digit: the date and the century have to do.
fn kr(digits: &[u8]) -> bool {
    let check = (11 - weighted(digits, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11) % 10;
    let young = number(digits, 0, 2).is_some_and(|year| year >= 20) && matches!(digits.get(6), Some(b'3' | b'4'));
    dated(digits, 2, 4) && matches!(digits.get(6), Some(b'1'..=b'8')) && (is(digits, 12, check) || young)
}

fn sg(chars: &[u8]) -> bool {
    let sum = weighted(&chars[1..], &[2, 7, 6, 5, 4, 3, 2]);
    let (letters, more): (&[u8; 11], u32) = match chars.first() {
        Some(b'S') => (b"JZIHGFEDCBA", 0),
        Some(b'T') => (b"JZIHGFEDCBA", 4),
        Some(b'F') => (b"XWUTRQPNMLK", 0),
        Some(b'G') => (b"XWUTRQPNMLK", 4),
        _ => return false,
    };
    letters.get(((sum + more) % 11) as usize) == chars.get(8)
}

fn th(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    digits.first() != Some(&b'0') && is(digits, 12, (11 - sum % 11) % 10)
}

fn tw(chars: &[u8]) -> bool {
    // Letters stand for 10 to 35 in an order of their own.
    let Some(place) = chars.first().and_then(|letter| b"ABCDEFGHJKLMNPQRSTUVXYWZIO".iter().position(|l| l == letter))
    else {
        return false;
    };
    let letter = place as u32 + 10;
    let sum = letter / 10 + letter % 10 * 9 + weighted(&chars[1..], &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
    matches!(chars.get(1), Some(b'1' | b'2' | b'8' | b'9')) && sum.is_multiple_of(10)
}

fn za(digits: &[u8]) -> bool {
    dated(digits, 2, 4) && matches!(digits.get(10), Some(b'0' | b'1')) && luhn(digits)
}

fn tfn(digits: &[u8]) -> bool {
    let sum = match digits.len() {
        8 => weighted(digits, &[10, 7, 8, 4, 6, 3, 5, 1]),
        _ => weighted(digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]),
    };
    sum.is_multiple_of(11) && !is_dull(digits)
}

fn medicare(digits: &[u8]) -> bool {
    matches!(digits.first(), Some(b'2'..=b'6')) && is(digits, 8, weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        let rows: [(&str, crate::pii::checks::Check); 12] = [
            ("234123412346", aadhaar),
            ("ABCPE1234F", pan),
            ("11010519491231002X", cn),
            ("A1234563", hk),
            ("123456782", il),
            ("123456789018", jp),
            ("S1234567D", sg),
            ("1101700230708", th),
            ("A123456789", tw),
            ("8001015009087", za),
            ("123456782", tfn),
            ("2123456701", medicare),
        ];
        for (good, check) in rows {
            assert!(check(good.as_bytes()), "{good}");
        }
    }
}
