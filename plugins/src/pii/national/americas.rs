//! The Americas.

use super::National;
use crate::pii::checks::{dated, is, is_dull, luhn, number, weighted};

pub(super) const ROWS: &[National] = &[
    National {
        country: "us",
        forms: &["###-##-####"],
        loose: &["### ## ####", "#########"],
        words: &["ssn", "social security", "itin", "taxpayer"],
        check: us,
    },
    National {
        country: "ca",
        forms: &["###-###-###"],
        loose: &["### ### ###", "#########"],
        words: &["sin", "nas", "social insurance"],
        check: ca,
    },
    National { country: "br", forms: &["###.###.###-##", "###########"], loose: &[], words: &[], check: cpf },
    National {
        country: "ar",
        forms: &["##-########-#"],
        loose: &["###########"],
        words: &["cuit", "cuil"],
        check: cuit,
    },
    National {
        country: "cl",
        forms: &["##.###.###-?", "#.###.###-?"],
        loose: &["########-?", "#######-?"],
        words: &["rut", "run"],
        check: rut,
    },
    National { country: "mx", forms: &["@@@@######@@@@@@?#"], loose: &[], words: &[], check: curp },
];

/// Social Security numbers; and those for taxes of people who have none, which begin with 9.
fn us(digits: &[u8]) -> bool {
    let (Some(area), Some(group), Some(serial)) = (number(digits, 0, 3), number(digits, 3, 5), number(digits, 5, 9))
    else {
        return false;
    };
    let person = area != 0 && area != 666 && area < 900 && group != 0;
    let taxpayer = area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
    // Printed on cards in shops, and therefore nobody's.
    let sample = matches!(digits, b"078051120" | b"219099999");
    serial != 0 && (person || taxpayer) && !sample && !is_dull(digits)
}

fn ca(digits: &[u8]) -> bool {
    !matches!(digits.first(), Some(b'0' | b'8')) && luhn(digits) && !is_dull(digits)
}

fn cpf(digits: &[u8]) -> bool {
    let check = |sum: u32| if sum % 11 < 2 { 0 } else { 11 - sum % 11 };
    let first = check(weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]));
    let second = check(weighted(digits, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]));
    is(digits, 9, first) && is(digits, 10, second) && !is_dull(digits)
}

fn cuit(digits: &[u8]) -> bool {
    let check = (11 - weighted(digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    matches!(number(digits, 0, 2), Some(20 | 23 | 24 | 27 | 30 | 33 | 34)) && is(digits, 10, check)
}

fn rut(chars: &[u8]) -> bool {
    let Some((check, digits)) = chars.split_last() else { return false };
    let weights = [2, 3, 4, 5, 6, 7, 2, 3];
    let sum: u32 = digits.iter().rev().zip(weights).map(|(byte, weight)| u32::from(byte - b'0') * weight).sum();
    match 11 - sum % 11 {
        11 => *check == b'0',
        10 => *check == b'K',
        expected => u32::from(check.wrapping_sub(b'0')) == expected,
    }
}

fn curp(chars: &[u8]) -> bool {
    // The alphabet has an Ñ between N and O.
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'N' => u32::from(byte - b'A') + 10,
        _ => u32::from(byte.wrapping_sub(b'A')) + 11,
    };
    let sum: u32 = chars.iter().take(17).zip((2..=18).rev()).map(|(byte, weight)| value(*byte) * weight).sum();
    matches!(chars.get(10), Some(b'H' | b'M' | b'X')) && dated(chars, 6, 8) && is(chars, 17, (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        let rows: [(&str, crate::pii::checks::Check); 6] = [
            ("536904399", us),
            ("130692544", ca),
            ("52998224725", cpf),
            ("20055361682", cuit),
            ("125319092", rut),
            ("BOXW310820HNERXN09", curp),
        ];
        for (good, check) in rows {
            assert!(check(good.as_bytes()), "{good}");
        }
        assert!(!us(b"666123456") && !us(b"000123456") && !us(b"123006789") && !us(b"123450000"));
    }
}
