//! Puts texts in the place of others.

use std::ops::Range;

/// `body` with each of these texts in the place of the bytes at its span, and every other byte as it is. The spans come in their
/// order and are apart; one that is not inside of the body takes what there is.
#[must_use]
pub fn splice(body: &[u8], texts: &[(Range<usize>, impl AsRef<[u8]>)]) -> Vec<u8> {
    let added: usize = texts.iter().map(|(_, text)| text.as_ref().len()).sum();
    let removed: usize = texts.iter().map(|(span, _)| span.len()).sum();
    let mut out = Vec::with_capacity((body.len() + added).saturating_sub(removed));
    let mut from = 0;
    for (span, text) in texts {
        out.extend_from_slice(body.get(from..span.start).unwrap_or_default());
        out.extend_from_slice(text.as_ref());
        from = span.end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_byte_stays() {
        let new = splice(b"one, two, three", &[(0..3, "1"), (5..8, ""), (15..15, "!")]);
        assert_eq!(new, b"1, , three!");
        assert_eq!(new.capacity(), new.len());
        assert_eq!(splice(b"one", &[] as &[(Range<usize>, &str)]), b"one");
        assert_eq!(splice(b"one", &[(1..7, "x"), (8..9, "y")]), b"oxy");
    }
}
