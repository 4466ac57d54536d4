//! Base64 in the alphabet of URLs (RFC 4648, section 5), which Google's SDKs write and no other dialect takes.

use crate::common::Str;

/// The same bytes in the standard alphabet.
pub(super) fn to_standard(data: Str<'_>) -> Str<'_> {
    match memchr::memchr2(b'-', b'_', data.as_bytes()) {
        Some(_) => data.replace('-', "+").replace('_', "/").into(),
        None => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_alphabet_changes() {
        for (given, standard) in [("-_8=", "+/8="), ("+/8=", "+/8="), ("-/a_", "+/a/"), ("", "")] {
            assert_eq!(&*to_standard(given.into()), standard);
        }
    }
}
