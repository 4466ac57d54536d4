//! The beginning of a prompt: what all turns of one conversation have in common.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What of a body stays the same from turn to turn, in any dialect.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Opening<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow, alias = "systemInstruction")]
    system_instruction: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: First<'a>,
    #[serde(borrow)]
    input: First<'a>,
    #[serde(borrow)]
    contents: First<'a>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
}

/// The first two elements of an array, or the text that stands in its place.
#[derive(Default)]
struct First<'a>([Option<&'a RawValue>; 2]);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let mut elements = serde_json::Deserializer::from_str(raw.get());
        Ok(elements.deserialize_seq(Elements).unwrap_or(Self([Some(raw), None])))
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = First<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First<'de>, A::Error> {
        let first = First([seq.next_element()?, seq.next_element()?]);
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

impl<'a> First<'a> {
    /// A system prompt and what follows it, else the first message alone.
    fn parts(&self) -> [Option<&'a RawValue>; 2] {
        let [first, second] = self.0;
        let is_system = first.is_some_and(|first| {
            #[derive(Deserialize)]
            struct Role<'r> {
                #[serde(borrow)]
                role: Option<&'r str>,
            }
            let role = serde_json::from_str::<Role<'_>>(first.get()).ok().and_then(|message| message.role);
            matches!(role, Some("system" | "developer"))
        });
        [first, second.filter(|_| is_system)]
    }
}

/// The raw values of a JSON body that all turns of a conversation begin with, and with which the prompt caches of providers
/// begin: tools, system prompt, first message. Empty values where there are none; all empty for a body that is no object.
pub fn opening(body: &[u8]) -> [&[u8]; 11] {
    let opening: Opening<'_> = serde_json::from_slice(body).unwrap_or_default();
    let Opening { tools, system, instructions, system_instruction, messages, input, contents, prompt } = opening;
    let [m0, m1] = messages.parts();
    let [i0, i1] = input.parts();
    let [c0, c1] = contents.parts();
    [tools, system, instructions, system_instruction, m0, m1, i0, i1, c0, c1, prompt]
        .map(|part| part.map_or(&b""[..], |raw| raw.get().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_one_conversation_begin_alike() {
        let conversations: [&[&str]; 5] = [
            &[
                r#"{"model":"a","messages":[{"role":"user","content":"hi"}]}"#,
                r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"x"}],"stream":true}"#,
            ],
            &[
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}"#,
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},{"role":"user"}]}"#,
            ],
            &[r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"ho"}]}"#],
            &[r#"{"input":"hi","tools":[]}"#, r#"{"tools":[],"input":"hi"}"#],
            &[
                r#"{"contents":[{"parts":[]}],"systemInstruction":{}}"#,
                r#"{"systemInstruction":{},"contents":[{"parts":[]},{}]}"#,
            ],
        ];
        let mut seen = std::collections::HashSet::new();
        for turns in conversations {
            let first = opening(turns[0].as_bytes());
            assert!(turns.iter().all(|turn| opening(turn.as_bytes()) == first), "{turns:?}");
            assert!(seen.insert(first), "{turns:?}");
        }
        assert_eq!(opening(b"[]"), [&b""[..]; 11]);
        assert_eq!(opening(b"{"), [&b""[..]; 11]);
    }
}
