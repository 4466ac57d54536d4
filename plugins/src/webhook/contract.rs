//! What is said to a webhook, and what it may say. See `docs/webhook.md`; a change here is a change there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{About, Part, PartKind, Text, TextKind};

/// Most bytes of a message to a client.
const LONGEST_MESSAGE: usize = 4 << 10;

/// What is said.
#[derive(Debug, Serialize)]
pub(super) struct Call<'a> {
    version: u8,
    /// `request` or `answer`.
    event: &'static str,
    id: &'a str,
    key: Option<&'a str>,
    team: Option<&'a str>,
    tags: Vec<&'a str>,
    model: Option<&'a str>,
    operation: &'static str,
    dialect: &'static str,
    stream: bool,
    texts: Vec<Shown<'a>>,
    /// Of an answer: whether this part of it ends here.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<bool>,
}

/// A text.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    /// By which an edit names it. Of an answer: the part.
    number: usize,
    role: &'static str,
    text: std::borrow::Cow<'a, str>,
}

impl<'a> Shown<'a> {
    pub fn of(text: Text<'a>) -> Self {
        let role = match text.kind {
            TextKind::System => "system",
            TextKind::User => "user",
            TextKind::Assistant => "assistant",
            TextKind::Reasoning => "reasoning",
            TextKind::Refusal => "refusal",
            TextKind::Arguments => "arguments",
            TextKind::ToolResult => "tool",
            _ => "input",
        };
        Self { number: text.number, role, text: text.text }
    }
}

impl<'a> Call<'a> {
    pub fn request(about: &'a About, texts: Vec<Shown<'a>>) -> Self {
        let key = about.key.as_ref();
        Self {
            version: 1,
            event: "request",
            id: &about.id,
            key: key.map(|key| &*key.name),
            team: key.and_then(|key| key.team.as_deref()),
            tags: key.map(|key| key.tags.iter().map(|tag| &**tag).collect()).unwrap_or_default(),
            model: about.model.as_deref(),
            operation: about.operation.as_str(),
            dialect: about.dialect.as_str(),
            stream: about.stream,
            texts,
            end: None,
        }
    }

    pub fn answer(about: &'a About, part: Part, text: &'a str, end: bool) -> Self {
        let role = match part.kind {
            PartKind::Reasoning => "reasoning",
            PartKind::Refusal => "refusal",
            PartKind::Arguments | PartKind::Input => "arguments",
            _ => "assistant",
        };
        let shown = Shown { number: part.index as usize, role, text: text.into() };
        Self { event: "answer", end: Some(end), ..Self::request(about, vec![shown]) }
    }
}

/// What it decides.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub said: Said,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Pass,
    Reject { message: String, status: u16 },
    Edit { texts: BTreeMap<usize, String> },
    Answer { text: String },
}

#[derive(Deserialize)]
struct Wire {
    action: String,
    message: Option<String>,
    status: Option<u16>,
    text: Option<String>,
    texts: Option<Vec<Edited>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Edited {
    number: usize,
    text: String,
}

/// Reads a verdict. What the contract does not know is an error, so that nothing passes by a mistake.
pub(super) fn read(body: &[u8]) -> Result<Verdict, &'static str> {
    let Wire { action, message, status, text, texts, tags } =
        serde_json::from_slice(body).map_err(|_| "its verdict cannot be read")?;
    let said = match action.as_str() {
        "pass" => Said::Pass,
        "reject" => {
            let mut message = message.unwrap_or_else(|| "the request was refused".to_owned());
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            Said::Reject { message, status: status.unwrap_or(403) }
        }
        "answer" => Said::Answer { text: text.ok_or("it answers without `text`")? },
        "edit" => {
            let texts = texts.ok_or("it edits without `texts`")?;
            Said::Edit { texts: texts.into_iter().map(|edited| (edited.number, edited.text)).collect() }
        }
        _ => return Err("its verdict has an unknown `action`"),
    };
    if matches!(&said, Said::Reject { status, .. } if !(400..500).contains(status)) {
        return Err("it rejects with a status that is none of 400 to 499");
    }
    Ok(Verdict { said, tags })
}

/// `v1=` and the HMAC-SHA256 of `TIME.BODY` in hexadecimal.
pub(super) fn sign(key: &ring::hmac::Key, time: u64, body: &[u8]) -> String {
    let mut context = ring::hmac::Context::with_key(key);
    context.update(time.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let mut signature = "v1=".to_owned();
    for byte in context.sign().as_ref() {
        signature.push_str(&format!("{byte:02x}"));
    }
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        assert_eq!(read(br#"{"action":"pass","tags":{"a":"b"}}"#).unwrap().tags["a"], "b");
        assert_eq!(
            read(br#"{"action":"reject","message":"no","status":451}"#).unwrap().said,
            Said::Reject { message: "no".to_owned(), status: 451 }
        );
        assert!(matches!(
            read(br#"{"action":"edit","texts":[{"number":1,"text":"x"}]}"#).unwrap().said,
            Said::Edit { .. }
        ));
        for lie in [
            "",
            "[]",
            "{}",
            "{\"action\":\"maybe\"}",
            "{\"action\":\"edit\"}",
            "{\"action\":\"answer\"}",
            "{\"action\":\"reject\",\"status\":200}",
            "{\"action\":1}",
        ] {
            assert!(read(lie.as_bytes()).is_err(), "{lie}");
        }
    }

    #[test]
    fn signatures_are_as_documented() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
        assert_eq!(
            sign(&key, 1_700_000_000, b"{}"),
            "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
    }
}
