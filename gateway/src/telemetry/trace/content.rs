//! Prompts and answers in spans: what was captured is read by the codecs, cleaned and cut to its bound, all in the background.

use std::borrow::Cow;

use ai_gateway_plugins::find::{Any, find_all};
use ai_gateway_plugins::pii;
use ai_gateway_providers::codec::{Call, Maker, Platform, codec};
use ai_gateway_providers::common::{Block, Collector, Content, ProviderTag, Response, Role, StopReason};
use ai_gateway_providers::{AnswerForm, Dialect, Operation};
use bytes::Bytes;
use regex::Regex;

use crate::config::ContentConfig;

/// What is captured of a request or an answer at most: enough for what may be sent of a stream with its framing.
const MAX_CAPTURED: usize = 1 << 20;
/// What stands for what was left out.
const REDACTED: &str = "[redacted]";

/// What is left out besides what the plugins find for certain: all that is only written like it. A trace may lose a harmless word
/// rather than keep a key that is cut short, made up or of no known shape.
const PATTERNS: [&str; 9] = [
    r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63})+",
    r"\b(?:sk|pk|rk|gsk|xai|r8|hf|pplx|nvapi|AQ|csk)[-_][A-Za-z0-9_\-]{12,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bAIza[A-Za-z0-9_\-]{30,}",
    r"\b(?:gh[pousr]|github_pat|glpat|xox[abprs]|ya29)[-_.][A-Za-z0-9_\-.]{10,}",
    r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/\-]{12,}=*",
    r#"(?i)\b(?:password|passwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token)["']?\s*[:=]\s*["']?[^\s"',;]{4,}"#,
];

/// Leaves out what looks like a secret or an address.
pub(in crate::telemetry) struct Redactor {
    /// What the plugins `secrets` and `pii` find: secrets of known shapes or by their names, and addresses.
    known: Any,
    patterns: Vec<Regex>,
}

impl Redactor {
    /// The built-in patterns and `more`, which the configuration has checked; `None` if one is none after all: then no content
    /// may be sent.
    pub(in crate::telemetry) fn new(more: &[String]) -> Option<Self> {
        let patterns = PATTERNS.into_iter().chain(more.iter().map(String::as_str));
        let patterns = patterns.map(Regex::new).collect::<Result<_, _>>().ok()?;
        Some(Self { known: pii::finder(&["secret", "email"], None), patterns })
    }

    fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found: Vec<_> = find_all(&self.known, text).into_iter().map(|finding| finding.range).collect();
        found.extend(self.patterns.iter().flat_map(|pattern| pattern.find_iter(text)).map(|found| found.range()));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable_by_key(|range| range.start);
        let (mut clean, mut at) = (String::with_capacity(text.len()), 0);
        for range in found {
            if let Some(before) = text.get(at..range.start) {
                clean.push_str(before);
                clean.push_str(REDACTED);
            }
            at = at.max(range.end);
        }
        Cow::Owned(clean + text.get(at..).unwrap_or_default())
    }
}

/// A prompt and its answer as they passed, up to a bound.
#[derive(Debug)]
pub struct Captured {
    dialect: Dialect,
    operation: Operation,
    /// `None`: too large.
    request: Option<Bytes>,
    answer: Vec<u8>,
    /// How the answer is framed.
    form: AnswerForm,
    max: usize,
}

impl Captured {
    /// Begins with the client's request. A body that is too large is not kept: it could not be read in part.
    pub fn new(config: &ContentConfig, dialect: Dialect, operation: Operation, body: &Bytes) -> Self {
        // A copy: the body's own memory is counted elsewhere, and given back when the answer begins.
        let request = (body.len() <= MAX_CAPTURED).then(|| Bytes::copy_from_slice(body));
        Self { dialect, operation, request, answer: Vec::new(), form: AnswerForm::Opaque, max: config.max }
    }

    /// Another answer begins.
    pub fn begin_answer(&mut self, form: AnswerForm) {
        self.form = form;
        self.answer.clear();
    }

    /// A part of the answer has gone to the client.
    pub fn see(&mut self, chunk: &[u8]) {
        let room = MAX_CAPTURED.saturating_sub(self.answer.len());
        self.answer.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.answer.capacity() + self.request.as_ref().map_or(0, Bytes::len)
    }

    /// What was asked, and what was answered.
    pub(super) fn read(&self, redactor: &Redactor) -> Conversation {
        let mut room = Room { left: self.max, redactor };
        let mut conversation = Conversation { omitted: self.request.is_none(), ..Conversation::default() };
        if self.operation != Operation::Chat {
            conversation.input = self.request.as_deref().and_then(|body| room.json(body));
            return conversation;
        }
        if let Some(request) = &self.request
            && let Ok(request) = codec(self.dialect).decode_request(request, &Call::default())
        {
            conversation.system = request.system.iter().filter_map(|block| room.part(block)).collect();
            // The newest are of most use, and are taken first.
            for message in request.messages.iter().rev() {
                let parts: Vec<Part> = message.blocks.iter().filter_map(|block| room.part(block)).collect();
                if parts.is_empty() && !message.blocks.is_empty() {
                    conversation.omitted = true;
                    break;
                }
                conversation.asked.push(Said { role: role(message.role, &parts), parts, stop: None });
            }
            conversation.asked.reverse();
        }
        let mut room = Room { left: self.max, redactor };
        if let Some(answer) = self.answered() {
            for choice in &answer.choices {
                let parts = choice.blocks.iter().filter_map(|block| room.part(block)).collect();
                let stop = Some(stop_word(choice.stop.reason));
                conversation.answered.push(Said { role: "assistant", parts, stop });
            }
        }
        conversation
    }

    /// The answer in the client's own dialect, as far as it came.
    fn answered(&self) -> Option<Response<'static>> {
        let codec = codec(self.dialect);
        let maker =
            Maker { provider: ProviderTag::of("client"), platform: Platform::Native, model: "", id_seed: "trace" };
        let mut collector = Collector::new(self.dialect);
        match self.form {
            AnswerForm::Stream => {
                codec.stream_decoder(&maker).feed(&self.answer, false, &mut |event| collector.feed(&event));
            }
            AnswerForm::Json => {
                let response = codec.decode_response(&self.answer, &maker).ok()?;
                ai_gateway_providers::common::take_apart(&response, &mut |event| collector.feed(&event));
            }
            AnswerForm::Opaque => return None,
        }
        Some(collector.so_far())
    }
}

/// What was said, cleaned.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: Vec<Part>,
    pub(super) asked: Vec<Said>,
    pub(super) answered: Vec<Said>,
    /// Of other operations than chat: the request as JSON.
    pub(super) input: Option<String>,
    /// Something was left out for its size.
    pub(super) omitted: bool,
}

/// What somebody said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) role: &'static str,
    pub(super) parts: Vec<Part>,
    /// Of an answer: why it ended.
    pub(super) stop: Option<&'static str>,
}

/// A part of it.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Reasoning(String),
    Call {
        id: String,
        name: String,
        arguments: String,
    },
    Result {
        id: String,
        text: String,
    },
    /// A picture, sound, film or document: only that there was one.
    Media,
}

/// How much may still be said.
struct Room<'r> {
    left: usize,
    redactor: &'r Redactor,
}

impl Room<'_> {
    /// `text` cleaned, and cut to what is left; a cut is marked.
    fn text(&mut self, text: &str) -> String {
        let clean = self.redactor.clean(text);
        let kept = clean.get(..clean.floor_char_boundary(self.left)).unwrap_or_default();
        self.left -= kept.len();
        if kept.len() < clean.len() { format!("{kept}…") } else { kept.to_owned() }
    }

    /// `None` when there is no room, or nothing to tell.
    fn part(&mut self, block: &Block<'_>) -> Option<Part> {
        if self.left == 0 {
            return None;
        }
        Some(match &block.content {
            Content::Text(text) => Part::Text(self.text(&text.text)),
            Content::Refusal(text) => Part::Text(self.text(text)),
            Content::Reasoning(reasoning) => {
                let summary = reasoning.summary.iter().map(|part| &**part);
                let all: Vec<&str> = std::iter::once(&*reasoning.text).chain(summary).collect();
                Part::Reasoning(self.text(all.join("\n").trim()))
            }
            Content::ToolCall(call) => Part::Call {
                id: self.text(&call.id),
                name: self.text(&call.name),
                arguments: self.json(call.arguments.as_bytes()).unwrap_or_else(|| self.text(&call.arguments)),
            },
            Content::ToolResult(result) => {
                let texts = result.content.iter().filter_map(|block| match &block.content {
                    Content::Text(text) => Some(&*text.text),
                    _ => None,
                });
                let text = texts.collect::<Vec<_>>().join("\n");
                Part::Result { id: self.text(&result.call_id), text: self.text(&text) }
            }
            Content::Media(_) => Part::Media,
            Content::Foreign(_) => return None,
        })
    }

    /// A JSON document with its texts cleaned: escapes hide nothing. `None` if it is none.
    fn json(&mut self, document: &[u8]) -> Option<String> {
        let mut value: serde_json::Value = serde_json::from_slice(document).ok()?;
        clean_all(&mut value, self.redactor);
        Some(self.text(&value.to_string()))
    }
}

fn clean_all(value: &mut serde_json::Value, redactor: &Redactor) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(clean) = redactor.clean(text) {
                *text = clean;
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| clean_all(value, redactor)),
        serde_json::Value::Object(object) => object.values_mut().for_each(|value| clean_all(value, redactor)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

fn role(role: Role, parts: &[Part]) -> &'static str {
    match role {
        Role::System | Role::Developer => "system",
        Role::Assistant => "assistant",
        Role::User if parts.iter().any(|part| matches!(part, Part::Result { .. })) => "tool",
        Role::User => "user",
    }
}

/// In the words of OpenTelemetry.
fn stop_word(reason: StopReason) -> &'static str {
    match reason {
        StopReason::End | StopReason::StopSequence | StopReason::Pause => "stop",
        StopReason::MaxTokens | StopReason::ContextWindow => "length",
        StopReason::ToolCalls => "tool_call",
        StopReason::ContentFilter | StopReason::Refusal => "content_filter",
        StopReason::MalformedCall | StopReason::Other => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(max: usize, body: &str) -> Captured {
        let config = ContentConfig { max, redact: Vec::new() };
        Captured::new(&config, Dialect::OpenAiChat, Operation::Chat, &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn secrets_and_addresses_are_left_out() {
        let redactor = Redactor::new(&["(?i)project [a-z]+".to_owned()]).unwrap();
        for (text, expected) in [
            ("mail ann.o-neil+x@mail.example.co.uk now", "mail [redacted] now"),
            ("key sk-proj-abcdefghijklmnop1234, sk-ant-api03-AbCdEfGhIjKl", "key [redacted], [redacted]"),
            ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
            ("gsk_abcdefghijklmnop hf_abcdefghijklmnop", "[redacted] [redacted]"),
            ("Authorization: Bearer abcdef0123456789", "Authorization: [redacted]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "[redacted]"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----!", "[redacted]!"),
            ("-----BEGIN PRIVATE KEY-----\nMII", "[redacted]"),
            (r#"{"password": "hunter22", "a": 1}"#, r#"{"[redacted]", "a": 1}"#),
            ("about Project Phoenix", "about [redacted]"),
            ("a sketch of the risk-free task @home", "a sketch of the risk-free task @home"),
        ] {
            assert_eq!(redactor.clean(text), expected);
        }
    }

    #[test]
    fn what_the_plugins_find_is_left_out_too_with_keys_of_this_gateway_and_of_vendors_without_a_pattern() {
        let redactor = Redactor::new(&[]).unwrap();
        let body = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ0cF2hL4nR6tX8zA1bC3dE5fG7h";
        for secret in [
            crate::keys::new_secret().unwrap(),
            format!("npm_{}", &body[..36]),
            format!("hvs.{body}"),
            format!("glsa_{}", &body[..40]),
            format!("dapi{}", "0123456789abcdef".repeat(2)),
            format!("pypi-AgEI{body}"),
        ] {
            assert_eq!(redactor.clean(&format!("it is {secret}, no?")), "it is [redacted], no?", "{secret}");
        }
        assert_eq!(redactor.clean("postgres://app:Tr0ub4dor@db/x"), "postgres://app:[redacted]@db/x");
        assert_eq!(redactor.clean("mail jürgen@müller.de now"), "mail [redacted] now");
    }

    #[test]
    fn many_patterns_that_are_large_together_leave_out_what_each_says() {
        let more = ["a", "b", "c", "d"].map(|end| format!(r"\w{{60}}-{end}"));
        assert!(regex::RegexSet::new(&more).is_err(), "they fit into one");
        let redactor = Redactor::new(&more).unwrap();
        assert_eq!(redactor.clean("mail ann@mail.example"), "mail [redacted]");
    }

    #[test]
    fn a_conversation_is_read_cleaned_and_bounded() {
        let body = r#"{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"I am a\u0040b.example"},
            {"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"to\":\"a\\u0040b.example\"}"}}]},
            {"role":"tool","tool_call_id":"c1","content":"done"}]}"#;
        let mut captured = captured(10_000, body);
        captured.begin_answer(AnswerForm::Json);
        captured.see(br#"{"id":"x","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ok, a@b.example"},"finish_reason":"stop"}]}"#);
        let read = captured.read(&Redactor::new(&[]).unwrap());
        let told = format!("{read:?}");
        assert!(!told.contains("example"), "{told}");
        let roles: Vec<_> = read.asked.iter().map(|said| said.role).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool"]);
        assert!(told.contains("I am [redacted]") && told.contains("ok, [redacted]") && told.contains("be kind"));
        assert_eq!(read.answered[0].stop, Some("stop"));
    }

    #[test]
    fn the_newest_is_kept_and_a_stream_that_broke_off_is_read_as_far_as_it_came() {
        let long = "x".repeat(100);
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"old"}},{{"role":"user","content":"{long}"}}]}}"#
        );
        let mut captured = captured(10, &body);
        captured.begin_answer(AnswerForm::Stream);
        captured.see(b"data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hel\"}}]}\n\n");
        captured.see(b"data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"}}]}\n\ndata: {\"id");
        let read = captured.read(&Redactor::new(&[]).unwrap());
        assert!(read.omitted && read.asked.len() == 1);
        assert!(matches!(&read.asked[0].parts[..], [Part::Text(text)] if text == "xxxxxxxxxx…"));
        assert!(matches!(&read.answered[0].parts[..], [Part::Text(text)] if text == "hello"));
    }
}
