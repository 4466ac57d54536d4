//! The lines that the behaviour `script` performs: `CALL tool {arguments}` and `SAY text`, each on a line of its own.

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Calls a tool with what stands behind its name.
    Call { tool: String, input: String },
    /// Says something.
    Say(String),
}

/// The steps in a text, whatever else it says.
pub(super) fn read(text: &str) -> Vec<Step> {
    // Most texts have none, and long ones are not taken apart for that.
    let finders = ["CALL ", "SAY "].map(|word| memchr::memmem::find(text.as_bytes(), word.as_bytes()));
    if finders == [None, None] {
        return Vec::new();
    }
    text.lines().filter_map(|line| step(line.trim())).collect()
}

fn step(line: &str) -> Option<Step> {
    if let Some(text) = line.strip_prefix("SAY ") {
        return Some(Step::Say(unescape(text.trim_start())));
    }
    let line = line.strip_prefix("CALL ")?.trim_start();
    let (tool, input) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (tool, input) = (tool.to_owned(), input.trim_start());
    let input = if is_object(input) { input.to_owned() } else { unescape(input) };
    Some(Step::Call { tool, input })
}

/// Whether `input` can be a function's arguments.
pub(super) fn is_object(input: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(input).is_ok()
}

/// `\n`, `\t` and `\\` as what they mean; any other backslash stays.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let (meant, length) = match after.as_bytes().first() {
            Some(b'n') => ('\n', 1),
            Some(b't') => ('\t', 1),
            Some(b'\\') => ('\\', 1),
            Some(_) | None => ('\\', 0),
        };
        plain.push(meant);
        rest = &after[length..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_among_other_text() {
        let text = "Please do this.\n  CALL shell {\"command\": \"printf 'a\\\\n'\"}\nRECALL this\nCALL now\r\n\
                    CALL apply_patch *** Begin Patch\\n*** Add File: a\\n+x\\\\y \\d\nSAY all\\nright";
        let call = |tool: &str, input: &str| Step::Call { tool: tool.into(), input: input.into() };
        assert_eq!(
            read(text),
            [
                call("shell", "{\"command\": \"printf 'a\\\\n'\"}"),
                call("now", ""),
                call("apply_patch", "*** Begin Patch\n*** Add File: a\n+x\\y \\d"),
                Step::Say("all\nright".into()),
            ]
        );
        assert_eq!(read("SAYING nothing, CALLING nobody"), []);
    }
}
