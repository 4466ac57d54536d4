//! Check digits and dates, as the numbers of many countries have them. Digits come as ASCII.

/// The value of an ASCII digit.
fn value(byte: u8) -> u32 {
    u32::from(byte.wrapping_sub(b'0'))
}

/// The number that digits from `from` to `to` make; `None` if they are no digits.
pub fn number(digits: &[u8], from: usize, to: usize) -> Option<u64> {
    let digits = digits.get(from..to)?;
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(value(*byte))))
}

/// Luhn's sum, check digit last (ISO/IEC 7812-1).
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let doubled = value(*byte) << (place % 2);
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The weighted sum of the first digits.
pub fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(byte, weight)| value(*byte) * weight).sum()
}

/// Whether the digit at `place` is `expected`.
pub fn is(digits: &[u8], place: usize, expected: u32) -> bool {
    digits.get(place).is_some_and(|byte| value(*byte) == expected)
}

/// ISO/IEC 7064 MOD 11,10, check digit last.
pub fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, digits)) = digits.split_last() else { return false };
    let rest = digits.iter().fold(10, |product, byte| {
        let sum = (value(*byte) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - rest) % 10 == value(*check)
}

/// The remainder by 97 of a number in which letters count from 10 (ISO 13616, ISO/IEC 7064 MOD 97-10).
pub fn mod_97(chars: impl Iterator<Item = u8>) -> u32 {
    chars.fold(0, |rest, byte| match byte {
        b'A'..=b'Z' => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
        _ => (rest * 10 + value(byte)) % 97,
    })
}

/// Verhoeff's check, check digit last.
pub fn verhoeff(digits: &[u8]) -> bool {
    const PERMUTE: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    // The product of the dihedral group of order ten.
    let multiply = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b) % 5 + 5,
        (false, true) => (a + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (place, byte)| {
        let digit = usize::from(byte.wrapping_sub(b'0'));
        multiply(sum, PERMUTE[place % 8].get(digit).copied().unwrap_or(0))
    });
    sum == 0
}

/// Whether there is such a day.
pub fn is_date(month: u64, day: u64) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Whether the digits at these places are month and day.
pub fn dated(digits: &[u8], month: usize, day: usize) -> bool {
    match (number(digits, month, month + 2), number(digits, day, day + 2)) {
        (Some(month), Some(day)) => is_date(month, day),
        _ => false,
    }
}

/// Whether all digits are the same: such numbers pass many checks and are nobody's.
pub fn is_dull(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair.first() == pair.last())
}

/// Whether digits are a number of some kind.
#[cfg(test)]
pub(crate) type Check = fn(&[u8]) -> bool;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_pass_and_neighbours_fail() {
        let checks: [(&str, crate::pii::checks::Check); 4] =
            [("4111111111111111", luhn), ("86095742719", mod_11_10), ("236", verhoeff), ("234123412346", verhoeff)];
        for (good, check) in checks {
            assert!(check(good.as_bytes()), "{good}");
            for place in 0..good.len() {
                let mut bad = good.as_bytes().to_vec();
                bad[place] = if bad[place] == b'9' { b'0' } else { bad[place] + 1 };
                assert!(!check(&bad), "{good} at {place}");
            }
        }
        assert_eq!(mod_97("3214282912345698765432161182".bytes()), 1);
        assert_eq!(mod_97("WEST12345698765432GB82".bytes()), 1);
    }
}
