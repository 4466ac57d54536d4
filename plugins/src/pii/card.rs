//! Payment cards: the ranges that networks issue from, and Luhn's check.

use super::checks::{is_dull, luhn, number};

/// How cards are written.
pub(super) const FORMS: &[&str] = &[
    "#############",
    "##############",
    "###############",
    "################",
    "##################",
    "###################",
    "#### #### #### ####",
    "####-####-####-####",
    "####.####.####.####",
    "#### #### #### #### ###",
    "####-####-####-####-###",
    "#### ###### #####",
    "####-######-#####",
    "#### ###### ####",
    "####-######-####",
];

/// Whether a network issues cards with such a number.
pub(super) fn check(digits: &[u8]) -> bool {
    let start = |length| number(digits, 0, length).unwrap_or_default();
    let (two, three, four) = (start(2), start(3), start(4));
    let issued = match digits.len() {
        // Visa; 13 digits are from the last century, and look like times in milliseconds.
        13 => false,
        14 => (300..=305).contains(&three) || matches!(two, 36 | 38 | 39),
        15 => matches!(two, 34 | 37),
        16 => {
            let visa = start(1) == 4;
            let mastercard = (51..=55).contains(&two) || (2221..=2720).contains(&four);
            let discover = four == 6011 || two == 65 || (644..=649).contains(&three);
            let jcb = (3528..=3589).contains(&four);
            // China's UnionPay, India's RuPay, Russia's Mir.
            let others = matches!(two, 62 | 81 | 82 | 60) || three == 508 || (2200..=2204).contains(&four);
            visa || mastercard || discover || jcb || others || maestro(four)
        }
        18 | 19 => start(1) == 4 && digits.len() == 19 || two == 62 || two == 65 || maestro(four),
        _ => false,
    };
    issued && !is_dull(&digits[1..]) && luhn(digits)
}

fn maestro(four: u64) -> bool {
    matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
}
