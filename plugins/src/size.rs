//! `use = "size"`: ceilings on what is asked and on what is answered.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::to_raw_value;

use crate::fields::{Change, Object, change, value_at};
use crate::providers::Dialect;
use crate::providers::scan::BodyFacts;
use crate::settings;
use crate::{Context, Failure, Flow, Kind, Needs, Plugin, Rejection, Request, TextHook, Verdict, Window, async_trait};

/// The kind that `use = "size"` means.
pub const PLUGIN: Kind = Kind::new("size", |settings| Ok(Arc::new(settings.read::<Size>()?)));

/// The settings; a ceiling that is not written does not exist.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Size {
    /// Bytes of the body.
    body_bytes: Option<settings::Size>,
    /// Messages, system prompts left out.
    messages: Option<usize>,
    /// Tokens of the prompt: a quarter of the bytes of its texts.
    prompt_tokens: Option<u64>,
    /// Tokens that a request may ask for. One that asks for more is asked to do with these.
    output_tokens: Option<u64>,
    /// Bytes of the text of an answer, reasoning and arguments of tools included. A longer one ends there as a refusal.
    answer_bytes: Option<settings::Size>,
}

#[async_trait]
impl Plugin for Size {
    fn needs(&self) -> Needs {
        let mut needs = Needs::new();
        let tokens = self.prompt_tokens.or(self.output_tokens);
        if self.body_bytes.is_some() || self.messages.is_some() || tokens.is_some() {
            needs = needs.body();
        }
        needs.text = self.answer_bytes.map(|_| 0);
        needs
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let reject = |what: &str, is: usize, most: usize| {
            cx.tag("over", what);
            Ok(Verdict::reject(400, format!("{what}: {is} are more than the {most} that are allowed here")))
        };
        match self.body_bytes {
            Some(settings::Size(most)) if request.json().len() > most => {
                return reject("bytes of the body", request.json().len(), most);
            }
            _ => {}
        }
        if let Some(most) = self.messages
            && let Some(Ok(chat)) = request.chat()
            && chat.messages.len() > most
        {
            return reject("messages", chat.messages.len(), most);
        }
        if let Some(most) = self.prompt_tokens {
            let tokens = BodyFacts::in_dialect(request.json(), request.dialect).prompt_tokens();
            if tokens > most {
                let (tokens, most) = (usize::try_from(tokens), usize::try_from(most));
                return reject("tokens of the prompt", tokens.unwrap_or(usize::MAX), most.unwrap_or(usize::MAX));
            }
        }
        if let Some(most) = self.output_tokens
            && lower_output(request, most)?
        {
            cx.tag("lowered", "output tokens");
        }
        Ok(Verdict::Pass)
    }

    fn text_hook(&self, _: &Context) -> Option<Box<dyn TextHook>> {
        Some(Box::new(Counter { left: self.answer_bytes?.0 }))
    }
}

/// Bounds the answer that is asked for. `false`: it was small enough.
fn lower_output(request: &mut Request, most: u64) -> Result<bool, Failure> {
    if let Dialect::Own(_) = request.dialect {
        let asked = request.clone();
        let Some(Ok(mut chat)) = asked.chat() else { return Ok(false) };
        let lowers = chat.max_tokens.is_some_and(|asked| asked > most);
        if lowers {
            chat.max_tokens = Some(most);
            // The error itself may quote the body.
            request.set_chat(&chat).map_err(|_| "the dialect cannot say the bound")?;
        }
        return Ok(lowers);
    }
    let lowered = lowered(request.json(), most);
    let lowers = lowered.is_some();
    lowered.into_iter().for_each(|body| request.set_json(body));
    Ok(lowers)
}

/// The [plain] names of the field in all built-in dialects; Gemini and Bedrock have theirs one object further in.
const FIELDS: [&str; 3] = ["maxtokens", "maxcompletiontokens", "maxoutputtokens"];
const OBJECTS: [&str; 3] = ["generationconfig", "inferenceconfig", "additionalmodelrequestfields"];

/// The body with no more than `most` in any of the fields; `None` if it stays as it is.
fn lowered(body: &[u8], most: u64) -> Option<Vec<u8>> {
    let mut object = Object::read(body)?;
    lower(&mut object, most, true).then(|| {
        lower_thinking(&mut object, most);
        object.write()
    })
}

/// Bounds all of the fields that ask for more, of `object` and, if it is the `outermost`, of those in it. Says whether there was one.
fn lower(object: &mut Object<'_>, most: u64, outermost: bool) -> bool {
    let mut lowers = false;
    for name in object.names() {
        let known = plain(&name);
        if FIELDS.contains(&&*known) {
            object.edit(&name, |value| {
                let more = asked(value?).is_some_and(|asked| asked > most);
                lowers |= more;
                more.then(|| to_raw_value(&most).ok())?
            });
        } else if outermost && OBJECTS.contains(&&*known) {
            object.edit(&name, |value| {
                let mut inner = Object::read(value?.as_bytes())?;
                let more = lower(&mut inner, most, false);
                lowers |= more;
                more.then(|| to_raw_value(&inner).ok())?
            });
        }
    }
    lowers
}

/// A field's name as the least exact readers take it: protobuf's JSON has two spellings, and Go's `encoding/json` does not mind the
/// case (also ſ is an s to it, and the sign of Kelvin a k).
fn plain(name: &str) -> String {
    let letter = |letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    name.chars().filter(|letter| *letter != '_').map(letter).collect()
}

/// How much the JSON `value` asks for, rounded up and saturating. Some readers take a number in a string, each in its own way: what
/// is none here may be any.
fn asked(value: &str) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    let number =
        |text: &str| text.parse::<f64>().ok().filter(|number| !number.is_nan()).map(|number| number.ceil() as u64);
    match value.strip_prefix('"') {
        Some(text) => Some(number(text.trim_end_matches('"')).unwrap_or(u64::MAX)),
        None => number(value),
    }
}

/// The objects that say how many tokens of the answer may be spent on reasoning, and their field for it.
const THINKING: [(&[&str], &str); 4] = [
    (&["thinking"], "budget_tokens"),
    (&["additionalModelRequestFields", "thinking"], "budget_tokens"),
    (&["generationConfig", "thinkingConfig"], "thinkingBudget"),
    (&["generation_config", "thinking_config"], "thinking_budget"),
];
/// Anthropic takes no smaller budget.
const LEAST_THINKING: u64 = 1024;

/// Budgets of reasoning leave a quarter of `most` for the answer, if they were not below `most`: Anthropic refuses such a request.
/// Where that is too little to reason with, nothing asks for it.
fn lower_thinking(object: &mut Object<'_>, most: u64) {
    for (within, budget) in THINKING {
        let path: Vec<String> = within.iter().chain([&budget]).map(|name| (*name).to_owned()).collect();
        let asked = value_at(object, &path).and_then(|value| asked(&value));
        if asked.is_none_or(|asked| asked < most) {
            continue;
        }
        if most > LEAST_THINKING {
            let fits = (most - most / 4).max(LEAST_THINKING);
            change(object, &path, &Change::Set(&fits.into()));
        } else if let Some((_, thinking)) = path.split_last() {
            change(object, thinking, &Change::Remove);
        }
    }
}

/// Counts the text of an answer.
struct Counter {
    left: usize,
}

impl TextHook for Counter {
    fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
        let new = text.text().len() - text.seen();
        text.release_to(text.text().len());
        match self.left.checked_sub(new) {
            Some(left) => {
                self.left = left;
                Ok(Flow::Pass)
            }
            None => {
                let message = "the answer is longer than answers may be here".to_owned();
                Ok(Flow::Refuse(Rejection { status: 400, message }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn nothing_is_lowered_that_is_low_enough() {
        let low = |body: &str| lowered(body.as_bytes(), 10).map(|low| String::from_utf8(low).unwrap());
        assert_eq!(low(r#"{"max_tokens": 10, "x": 1e999}"#), None);
        assert_eq!(low(r#"{ "max_tokens" : 11, "n": 1.0 }"#).unwrap(), r#"{ "max_tokens" : 10, "n": 1.0 }"#);
        let gemini = r#"{"generationConfig":{"maxOutputTokens":99,"topK":1},"contents":[]}"#;
        assert_eq!(low(gemini).unwrap(), gemini.replace("99", "10"));
        assert_eq!(low("[]"), None);
        assert_eq!(low(r#"{"max_tokens":"10","MaxTokens":null,"generationConfig":"maxOutputTokens"}"#), None);
    }

    /// What some reader takes for the field, and for a number.
    #[test]
    fn no_other_spelling_asks_for_more() {
        let low = |body: &str| lowered(body.as_bytes(), 10).map(|low| String::from_utf8(low).unwrap());
        for field in [
            "max_tokens",
            "MAX_TOKENS",
            "Max_Completion_Tokens",
            "max_output_token\\u0073",
            "max_output_toKens",
            "max_tokenſ",
            "maxtokens",
        ] {
            for number in [
                "99",
                "1e2",
                "11.5",
                "\"99\"",
                "\" 99\"",
                "\"9_9\"",
                "\"0x63\"",
                "\"\\u0039\\u0039\"",
                "\"Infinity\"",
                "\"nan\"",
            ] {
                let body = format!(r#"{{"a":1.0,"{field}":{number},"z":[ ]}}"#);
                assert_eq!(low(&body).unwrap(), format!(r#"{{"a":1.0,"{field}":10,"z":[ ]}}"#), "{body}");
                for object in [
                    "generationConfig",
                    "generation_config",
                    "GenerationConfig",
                    "inferenceConfig",
                    "additionalModelRequestFields",
                ] {
                    let body = format!(r#"{{"{object}":{{"{field}":{number},"x":"99"}},"z":1}}"#);
                    assert_eq!(
                        low(&body).unwrap(),
                        format!(r#"{{"{object}":{{"{field}":10,"x":"99"}},"z":1}}"#),
                        "{body}"
                    );
                }
            }
        }
        // Whichever of several is read.
        let twice = r#"{"max_tokens":99,"MAX_TOKENS":"98","max_tokens":5,"generationConfig":{"maxOutputTokens":97,"maxOutputTokens":9},"generationConfig":{}}"#;
        let wanted = twice.replace("99", "10").replace("\"98\"", "10").replace("97", "10");
        assert_eq!(low(twice).unwrap(), wanted);
    }

    #[test]
    fn reasoning_is_left_room_to_answer() {
        let low = |body: &str| lowered(body.as_bytes(), 16_000).map(|low| String::from_utf8(low).unwrap());
        assert_eq!(
            low(r#"{"max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":31999},"z":1e999}"#).unwrap(),
            r#"{"max_tokens":16000,"thinking":{"type":"enabled","budget_tokens":12000},"z":1e999}"#
        );
        assert_eq!(
            low(r#"{"max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":15999}}"#).unwrap(),
            r#"{"max_tokens":16000,"thinking":{"type":"enabled","budget_tokens":15999}}"#
        );
        assert_eq!(low(r#"{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":31999}}"#), None);
        let converse = r#"{"inferenceConfig":{"maxTokens":20000},"additionalModelRequestFields":{"top_k":5,"thinking":{"budget_tokens":16000}}}"#;
        assert_eq!(
            low(converse).unwrap(),
            converse.replace(":20000", ":16000").replace("budget_tokens\":16000", "budget_tokens\":12000")
        );
        let gemini = r#"{"generationConfig":{"maxOutputTokens":65536,"thinkingConfig":{"thinkingBudget":24576}}}"#;
        assert_eq!(low(gemini).unwrap(), gemini.replace("65536", "16000").replace("24576", "12000"));
    }

    #[test]
    fn too_little_for_reasoning_is_none() {
        let low = |most, body: &str| String::from_utf8(lowered(body.as_bytes(), most).unwrap());
        let body = r#"{"max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":31999},"model":"m"}"#;
        assert_eq!(low(1024, body).unwrap(), r#"{"max_tokens":1024,"model":"m"}"#);
        assert!(low(1025, body).unwrap().contains(r#""budget_tokens":1024}"#));
    }

    #[test]
    fn only_what_is_written_is_needed() {
        let of = |text| PLUGIN.build(&Settings::of(text)).map(|plugin| plugin.needs());
        assert_eq!(of("").unwrap(), Needs::new());
        assert_eq!(of("answer_bytes = 5").unwrap(), Needs::new().text(0));
        assert_eq!(of("messages = 5").unwrap(), Needs::new().body());
        assert!(of("message = 5").is_err() && of("messages = -5").is_err());
    }
}
