//! The nesting guard. Scanning needs no stack, but those who read the body later (providers, plugins, codecs) recurse.

/// How many arrays and objects may stand inside each other.
pub const MAX_DEPTH: usize = 128;

/// The offset of the first opening bracket that is deeper than [`MAX_DEPTH`]. Meant for valid JSON; anything else gives
/// some answer, without panic.
pub(super) fn too_deep(body: &[u8]) -> Option<usize> {
    // A body with few brackets cannot be deep, whichever of them are inside strings.
    memchr::memchr2_iter(b'{', b'[', body).nth(MAX_DEPTH)?;
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => at = string_end(body, at + 1),
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The offset of the quote that ends the string whose content starts at `at`; of a string that does not end, the length of
/// `body`.
pub(crate) fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if body.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn the_limit_itself_passes_and_one_more_does_not() {
        assert_eq!(too_deep(nested(MAX_DEPTH).as_bytes()), None);
        assert_eq!(too_deep(nested(MAX_DEPTH + 1).as_bytes()), Some(MAX_DEPTH));
        assert_eq!(too_deep(nested(1_000_000).as_bytes()), Some(MAX_DEPTH));
    }

    #[test]
    fn neither_breadth_nor_brackets_in_strings_count() {
        assert_eq!(too_deep(format!("[{}]", vec!["[{}]"; 1000].join(",")).as_bytes()), None);
        assert_eq!(too_deep(format!(r#"["\"{}\\", "\\\"[[["]"#, "[{".repeat(1000)).as_bytes()), None);
        let behind = format!(r#"{{"a":"[[[\\","b":{}}}"#, nested(MAX_DEPTH));
        assert_eq!(too_deep(behind.as_bytes()).map(|at| &behind[at..=at]), Some("["));
    }

    #[test]
    fn garbage_is_survived() {
        for body in ["\"", "\"\\", "]]]]", "\\\""] {
            assert_eq!(too_deep(format!("{}{body}", "[]".repeat(200)).as_bytes()), None);
        }
    }
}
