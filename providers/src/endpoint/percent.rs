//! Percent-decoding (RFC 3986 §2.1) of names inside a path.

use crate::model_name;

/// Decodes `raw`, a model name as it stands in a path; the error says what is wrong, to follow "is".
pub(super) fn decode_model(raw: &str) -> Result<String, &'static str> {
    let model = if raw.contains('%') {
        String::from_utf8(decode(raw.as_bytes()).ok_or("badly percent-encoded")?).map_err(|_| "not UTF-8")?
    } else {
        raw.to_owned()
    };
    model_name::check(&model).map(|()| model)
}

/// Whether `raw` names one thing in a path, and nothing beside or above it.
pub(super) fn is_id(raw: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~:=+@,".contains(byte);
    decode(raw.as_bytes()).is_some_and(|id| id.iter().all(is_plain) && id.iter().any(|byte| *byte != b'.'))
}

fn decode(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(*bytes.next()?).to_digit(16)?;
            let low = char::from(*bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_nowhere_else() {
        for id in ["resp_68a1", "gen-1-Ab", "cmpl:a.b~c", "bGl0ZTI=", "bGl0ZTI%3D", "a..b"] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "",
            ".",
            "..",
            "%2e%2E",
            "..%2Ffiles",
            "a%2Fb",
            "a/b",
            "a%5c..",
            "x%3Fy",
            "x%23y",
            "%252e%252e",
            "%",
            "ü",
            "a%00",
            "a;b",
        ] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn decodes_what_sdks_encode_and_refuses_the_rest() {
        for (raw, want) in [
            ("gpt-5", Ok("gpt-5")),
            ("openai%2Fgpt-5", Ok("openai/gpt-5")),
            ("a+b", Ok("a+b")),
            ("%e2%82%AC", Ok("€")),
            ("", Err("empty")),
            ("a%", Err("badly percent-encoded")),
            ("a%2", Err("badly percent-encoded")),
            ("a%+1", Err("badly percent-encoded")),
            ("%ff", Err("not UTF-8")),
            ("a%0d%0ab", Err("not free of control characters")),
        ] {
            assert_eq!(decode_model(raw), want.map(str::to_owned), "{raw}");
        }
    }
}
