//! Halves of surrogate pairs in JSON: a server that cuts an answer inside a character sends one escape in each of two chunks, which no
//! JSON reader takes, and a client that cuts its text inside one sends half of it.

use std::borrow::Cow;

/// `json` with an escaped half that stands alone as the escape of the replacement character, which is as long.
pub(crate) fn whole_characters(json: &[u8]) -> Cow<'_, [u8]> {
    let mut whole = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        let escape = at + found;
        at = match unit(json, escape) {
            Some(0xd800..=0xdbff) if matches!(unit(json, escape + 6), Some(0xdc00..=0xdfff)) => escape + 12,
            Some(0xd800..=0xdfff) => {
                if let Some(half) = whole.to_mut().get_mut(escape..escape + 6) {
                    half.copy_from_slice(b"\\ufffd");
                }
                escape + 6
            }
            Some(_) | None => escape + 2,
        };
    }
    whole
}

/// The code unit of the escape `\uXXXX` at `at`.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_that_stand_alone_are_replaced() {
        for (json, whole) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""a\uDE00b\ud83d\n""#, r#""a\ufffdb\ufffd\n""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
        ] {
            assert_eq!(std::str::from_utf8(&whole_characters(json.as_bytes())).unwrap(), whole);
        }
        for same in [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u12""#, r#""\"#, "", r#""\u+d83""#] {
            assert!(
                matches!(whole_characters(same.as_bytes()), Cow::Borrowed(json) if json == same.as_bytes()),
                "{same}"
            );
        }
    }
}
