//! Decimal text to whole numbers and back: money never passes through a float.

use std::fmt::{self, Write};

/// A decimal number times a power of ten, as a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scaled {
    pub value: u64,
    /// Whether nothing was rounded away. Rounding is to the nearest, half up.
    pub exact: bool,
}

/// Reads `text` (`2.50`, `1.25e-06`, as JSON and TOML write numbers) times 10^`shift`. `None`: it is no such number, it is
/// negative, or it does not fit.
pub(crate) fn scaled(text: &str, shift: i32) -> Option<Scaled> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // How many of the digits stand before the decimal point of the result.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(shift);
    let mut value: u64 = 0;
    let mut exact = true;
    for (index, digit) in (0_i64..).zip(digits().map(|byte| u64::from(byte - b'0'))) {
        if index < kept {
            value = value.checked_mul(10)?.checked_add(digit)?;
        } else {
            exact &= digit == 0;
            if index == kept && digit >= 5 {
                value = value.checked_add(1)?;
            }
        }
    }
    let written = i64::try_from(whole.len() + fraction.len()).ok()?;
    for _ in written..kept {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10)?;
    }
    Some(Scaled { value, exact })
}

/// `value` / 10^`places` without trailing zeros: `2.5`.
pub(crate) struct Decimal {
    pub value: u64,
    pub places: u32,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u64.pow(self.places);
        let (whole, fraction) = (self.value / unit, self.value % unit);
        let mut text = String::with_capacity(32);
        write!(text, "{whole}")?;
        if fraction > 0 {
            write!(text, ".{fraction:0places$}", places = self.places as usize)?;
            text.truncate(text.trim_end_matches('0').len());
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_as_files_write_them() {
        for (text, shift, value, exact) in [
            ("0", 12, 0, true),
            ("0.0", 12, 0, true),
            ("2.50", 6, 2_500_000, true),
            ("1.25e-06", 12, 1_250_000, true),
            ("3E-7", 12, 300_000, true),
            ("1e3", 0, 1_000, true),
            ("0.0000004", 6, 0, false),
            ("0.0000005", 6, 1, false),
            ("0.0000000000009999999999999999999999999999", 12, 1, false),
            ("1.41953125e-07", 12, 141_953, false),
            ("0.000002999990000000000200", 12, 2_999_990, false),
            ("18446744.073709551615", 12, u64::MAX, true),
            ("0e999999999", 12, 0, true),
            ("7e-999999999", 12, 0, false),
            ("00012", 0, 12, true),
        ] {
            assert_eq!(scaled(text, shift), Some(Scaled { value, exact }), "{text}");
        }
        for bad in ["", ".", "-1", "+1", "1e", "1e9999999999", "nan", "inf", "1.2.3", "0x10", "1_000", " 1", "1e30"] {
            assert_eq!(scaled(bad, 12), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: u64, places in 0_u32..20) {
            let text = Decimal { value, places }.to_string();
            prop_assert_eq!(scaled(&text, places.cast_signed()), Some(Scaled { value, exact: true }), "{}", text);
        }

        #[test]
        fn any_text(text in "\\PC*|[0-9.eE+-]*", shift in -40_i32..40) {
            let _ = scaled(&text, shift);
        }
    }
}
