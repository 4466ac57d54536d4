//! Europe.

use super::National;
use crate::pii::checks::{dated, is, is_date, is_dull, luhn, mod_11_10, number, weighted};

pub(super) const ROWS: &[National] = &[
    // The Social Security number of the Swiss, AHV-Nr. / No AVS.
    National {
        country: "ch",
        forms: &["756.####.####.##", "756 #### #### ##"],
        loose: &["#############"],
        words: &["ahv", "avs"],
        check: ch,
    },
    National {
        country: "at",
        forms: &["#### ######"],
        loose: &["##########"],
        words: &["svnr", "sv-nr", "sozialversicherung"],
        check: at,
    },
    National {
        country: "be",
        forms: &["##.##.##-###.##", "##.##.##-###-##"],
        loose: &["###########", "###### ### ##"],
        words: &["rijksregister", "registre national", "national", "insz", "niss", "nn"],
        check: be,
    },
    National { country: "bg", forms: &[], loose: &["##########"], words: &["егн", "egn"], check: bg },
    National {
        country: "cz",
        forms: &["######/####"],
        loose: &["##########"],
        words: &["rodné", "rodne", "rč"],
        check: cz,
    },
    National { country: "de", forms: &["## ### ### ###", "###########"], loose: &[], words: &[], check: de },
    National { country: "dk", forms: &["######-####"], loose: &["##########"], words: &["cpr"], check: dk },
    National { country: "ee", forms: &["###########"], loose: &[], words: &[], check: ee },
    National { country: "es", forms: &["########~@", "##.###.###~@"], loose: &[], words: &[], check: dni },
    National { country: "es", forms: &["@#######~@", "@-#######-@"], loose: &[], words: &[], check: nie },
    National {
        country: "fi",
        forms: &["######-###?", "######A###?", "######+###?"],
        loose: &[],
        words: &[],
        check: fi,
    },
    National {
        country: "fr",
        forms: &[
            "# ## ## ?? ### ### ##",
            "###############",
            "######?########",
            "# ## ## ?? ### ###",
            "# ## ## ?? ### ###-##",
        ],
        loose: &[],
        words: &[],
        check: fr,
    },
    National {
        country: "gb",
        forms: &["@@######@", "@@ ## ## ## @", "@@ ###### @", "@@-##-##-##-@"],
        loose: &[],
        words: &[],
        check: nino,
    },
    National {
        country: "gb",
        forms: &[],
        loose: &["### ### ####", "###-###-####", "##########"],
        words: &["nhs"],
        check: nhs,
    },
    National { country: "gr", forms: &[], loose: &["###########"], words: &["αμκα", "amka"], check: amka },
    National { country: "hr", forms: &[], loose: &["###########"], words: &["oib"], check: mod_11_10 },
    National { country: "ie", forms: &[], loose: &["#######@", "#######@@"], words: &["pps", "ppsn"], check: ie },
    National { country: "it", forms: &["@@@@@@##@##@###@", "@@@ @@@ ##@## @###@"], loose: &[], words: &[], check: it },
    National {
        country: "nl",
        forms: &[],
        loose: &["#########", "####.##.###", "### ### ###"],
        words: &["bsn", "burgerservice", "sofi"],
        check: nl,
    },
    National { country: "no", forms: &["###### #####", "###########"], loose: &[], words: &[], check: no },
    National { country: "pl", forms: &["###########"], loose: &[], words: &[], check: pl },
    National {
        country: "pt",
        forms: &[],
        loose: &["#########", "### ### ###"],
        words: &["nif", "contribuinte"],
        check: pt,
    },
    National { country: "ro", forms: &["#############"], loose: &[], words: &[], check: ro },
    National {
        country: "ru",
        forms: &["###-###-### ##", "###-###-###-##"],
        loose: &["###########"],
        words: &["снилс", "snils"],
        check: snils,
    },
    National { country: "ru", forms: &[], loose: &["############"], words: &["инн", "inn"], check: inn },
    National {
        country: "se",
        forms: &["######-####", "########-####", "######+####"],
        loose: &["##########", "############"],
        words: &["personn"],
        check: se,
    },
    National { country: "tr", forms: &["###########"], loose: &[], words: &[], check: tr },
];

fn ch(digits: &[u8]) -> bool {
    digits.starts_with(b"756")
        && is(digits, 12, (10 - weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]) % 10) % 10)
}

/// Running number, check digit, and the day of birth, whose month may be past 12.
fn at(digits: &[u8]) -> bool {
    let check = weighted(digits, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11;
    digits.first() != Some(&b'0') && dated(digits, 6, 4) && is(digits, 3, check)
}

/// 97 minus the remainder by 97; of those born from 2000 on a 2 stands before the number.
fn be(digits: &[u8]) -> bool {
    let (Some(first), Some(check)) = (number(digits, 0, 9), number(digits, 9, 11)) else { return false };
    (dated(digits, 2, 4) || digits.get(2..4) == Some(b"00"))
        && (97 - first % 97 == check || 97 - (first + 2_000_000_000) % 97 == check)
}

fn bg(digits: &[u8]) -> bool {
    let Some(month) = number(digits, 2, 4) else { return false };
    (1..=52).contains(&(month)) && is(digits, 9, weighted(digits, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10)
}

/// Divisible by 11; the month of women is 50 more.
fn cz(digits: &[u8]) -> bool {
    let (Some(all), Some(month)) = (number(digits, 0, 10), number(digits, 2, 4)) else { return false };
    let day = number(digits, 4, 6).unwrap_or_default();
    all.is_multiple_of(11) && (1..=12).contains(&(month % 50 % 20)) && (1..=31).contains(&day)
}

/// The tax id: of the first ten digits exactly one appears twice or thrice (§ 139b AO, Steueridentifikationsnummerverordnung).
fn de(digits: &[u8]) -> bool {
    let mut counts = [0_u8; 10];
    for byte in digits.iter().take(10) {
        if let Some(count) = counts.get_mut(usize::from(byte.wrapping_sub(b'0'))) {
            *count += 1;
        }
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    digits.first() != Some(&b'0') && repeated == 1 && counts.iter().all(|count| *count <= 3) && mod_11_10(digits)
}

/// A day, and the old check by 11: new numbers do not keep it, which is why a word is needed for them.
fn dk(digits: &[u8]) -> bool {
    dated(digits, 2, 0) && weighted(digits, &[4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// Estonia and Lithuania.
fn ee(digits: &[u8]) -> bool {
    let first = weighted(digits, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    let second = weighted(digits, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11;
    let check = if first < 10 { first } else { second % 10 };
    (b'1'..=b'8').contains(&digits.first().copied().unwrap_or_default()) && dated(digits, 3, 5) && is(digits, 10, check)
}

const DNI: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

fn dni(chars: &[u8]) -> bool {
    let check = |number: u64| DNI.get((number % 23) as usize);
    number(chars, 0, 8).is_some_and(|number| number > 0 && check(number) == chars.get(8))
}

fn nie(chars: &[u8]) -> bool {
    let Some(series) = chars.first().and_then(|first| b"XYZ".iter().position(|letter| letter == first)) else {
        return false;
    };
    let Some(number) = number(chars, 1, 8) else { return false };
    DNI.get(((series as u64 * 10_000_000 + number) % 23) as usize) == chars.get(8)
}

fn fi(chars: &[u8]) -> bool {
    // The century is a mark or a letter.
    let letters = chars.len() - 10;
    let (Some(day), Some(running)) = (number(chars, 0, 6), number(chars, 6 + letters, 9 + letters)) else {
        return false;
    };
    let check = b"0123456789ABCDEFHJKLMNPRSTUVWXY".get(((day * 1000 + running) % 31) as usize);
    dated(chars, 2, 0) && running > 1 && check == chars.last()
}

/// Sex, year, month, department (with letters on Corsica), and a key by 97.
fn fr(chars: &[u8]) -> bool {
    if chars.len() != 15 || !matches!(chars.first(), Some(b'1' | b'2' | b'3' | b'4' | b'7' | b'8')) {
        return false;
    }
    let month = number(chars, 3, 5).unwrap_or_default();
    let head = match chars.get(5..7) {
        Some(b"2A") => 19,
        Some(b"2B") => 18,
        _ => number(chars, 5, 7).unwrap_or(100),
    };
    let (Some(first), Some(rest), Some(key)) = (number(chars, 0, 5), number(chars, 7, 13), number(chars, 13, 15))
    else {
        return false;
    };
    let whole = first * 100_000_000 + head * 1_000_000 + rest;
    head < 100 && matches!(month, 1..=12 | 20..=42 | 50..=99) && 97 - whole % 97 == key
}

fn nino(chars: &[u8]) -> bool {
    let (Some(first), Some(second), Some(last)) = (chars.first(), chars.get(1), chars.get(8)) else { return false };
    !b"DFIQUV".contains(first)
        && !b"DFIOQUV".contains(second)
        && !matches!(&chars[..2], b"BG" | b"GB" | b"NK" | b"KN" | b"TN" | b"NT" | b"ZZ")
        && (b'A'..=b'D').contains(last)
}

fn nhs(digits: &[u8]) -> bool {
    let check = 11 - weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    check != 10 && is(digits, 9, check % 11) && !is_dull(digits)
}

fn amka(digits: &[u8]) -> bool {
    dated(digits, 2, 0) && luhn(digits)
}

fn ie(chars: &[u8]) -> bool {
    let second = chars.get(8).map_or(0, |letter| u32::from(letter.saturating_sub(b'A')) + 1);
    let check = (weighted(chars, &[8, 7, 6, 5, 4, 3, 2]) + if second < 27 { second * 9 } else { 0 }) % 23;
    chars.get(7) == b"WABCDEFGHIJKLMNOPQRSTUV".get(check as usize)
}

/// The codice fiscale: letters of the name, year, month, day, place, and a check letter.
fn it(chars: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let sum: u32 = chars
        .iter()
        .take(15)
        .enumerate()
        .map(|(place, byte)| {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                _ => byte.wrapping_sub(b'0'),
            };
            if place % 2 == 0 { ODD.get(usize::from(value)).copied().unwrap_or_default() } else { u32::from(value) }
        })
        .sum();
    let day = number(chars, 9, 11).unwrap_or_default();
    let month = chars.get(8).is_some_and(|month| b"ABCDEHLMPRST".contains(month));
    month && (1..=31).contains(&(day % 40)) && chars.get(15).is_some_and(|check| u32::from(check - b'A') == sum % 26)
}

/// The proof by eleven.
fn nl(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]);
    !is_dull(digits) && digits.get(8).is_some_and(|last| sum % 11 == u32::from(last - b'0') % 11)
}

fn no(digits: &[u8]) -> bool {
    let first = (11 - weighted(digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11) % 11;
    let second = (11 - weighted(digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    dated(digits, 2, 0) && is(digits, 9, first) && is(digits, 10, second)
}

/// PESEL: the month tells the century.
fn pl(digits: &[u8]) -> bool {
    let month = number(digits, 2, 4).unwrap_or_default() % 20;
    let day = number(digits, 4, 6).unwrap_or_default();
    let check = (10 - weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10;
    is_date(month, day) && is(digits, 10, check)
}

fn pt(digits: &[u8]) -> bool {
    let rest = weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    digits.first() != Some(&b'0') && is(digits, 8, if rest < 2 { 0 } else { 11 - rest })
}

fn ro(digits: &[u8]) -> bool {
    let rest = weighted(digits, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    digits.first() != Some(&b'0') && dated(digits, 3, 5) && is(digits, 12, if rest == 10 { 1 } else { rest })
}

fn snils(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
    number(digits, 9, 11) == Some(u64::from(sum)) && !is_dull(&digits[..9])
}

fn inn(digits: &[u8]) -> bool {
    let first = weighted(digits, &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
    let second = weighted(digits, &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
    is(digits, 10, first) && is(digits, 11, second)
}

fn se(digits: &[u8]) -> bool {
    let digits = if digits.len() == 12 { &digits[2..] } else { digits };
    let day = number(digits, 4, 6).unwrap_or_default();
    // A coordination number's day is 60 more.
    let month = number(digits, 2, 4).unwrap_or_default();
    is_date(month, day % 60) && luhn(digits)
}

fn tr(digits: &[u8]) -> bool {
    let odd = weighted(digits, &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let even = weighted(digits, &[0, 1, 0, 1, 0, 1, 0, 1, 0]);
    let first = (odd * 7 + 100 - even) % 10;
    let sum = weighted(digits, &[1; 10]);
    digits.first() != Some(&b'0') && is(digits, 9, first) && is(digits, 10, sum % 10) && !is_dull(&digits[..9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        let rows: [(&str, crate::pii::checks::Check); 22] = [
            ("7569217076985", ch),
            ("1237010180", at),
            ("85073003328", be),
            ("6101057509", bg),
            ("86095742719", de),
            ("37605030299", ee),
            ("12345678Z", dni),
            ("X1234567L", nie),
            ("131052308T", fi),
            ("255081416802538", fr),
            ("AB123456C", nino),
            ("9434765919", nhs),
            ("RSSMRA85T10A562S", it),
            ("123456782", nl),
            ("44051401359", pl),
            ("123456789", pt),
            ("1800101221144", ro),
            ("11223344595", snils),
            ("500100732259", inn),
            ("8112189876", se),
            ("10000000146", tr),
            ("1234567T", ie),
        ];
        for (good, check) in rows {
            assert!(check(good.as_bytes()), "{good}");
        }
    }
}
