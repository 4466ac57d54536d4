//! From a body to what is asked, for every operation.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::Call;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::ask::Ask;
use super::failure::Failure;
use super::form::Form;
use super::route::{Op, Route};
use super::script::words;

/// A request, read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) ask: Ask,
    /// The JSON body, for the operations that are not a conversation.
    pub(super) json: Value,
    pub(super) form: Option<Form>,
}

impl From<Ask> for Read {
    fn from(ask: Ask) -> Self {
        Read { ask, ..Read::default() }
    }
}

/// Reads a body.
pub(super) fn read(route: &Route<'_>, content_type: &str, body: &Bytes) -> Result<Read, Failure> {
    let mut read = match route.op {
        Op::Chat | Op::Completions | Op::Responses | Op::Messages => {
            Ask::read(route.dialect, body).map_err(unreadable)?.into()
        }
        Op::Translated => decode(route, body)?.into(),
        Op::CountTokens => count(route, body)?.into(),
        Op::Images | Op::Transcription if content_type.starts_with("multipart/") => form(content_type, body)?,
        Op::Models | Op::StoredResponse | Op::Stats | Op::Last | Op::Reset => Read::default(),
        Op::Embeddings | Op::Images | Op::Speech | Op::Transcription | Op::Moderations | Op::Rerank => {
            let json: Value = serde_json::from_slice(body).map_err(unreadable)?;
            let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (model, last) = (text("model"), text("input"));
            Read { ask: Ask { model, words: words(&last), last, ..Ask::default() }, json, form: None }
        }
    };
    if let Some(model) = &route.model {
        model.clone_into(&mut read.ask.model);
    }
    read.ask.stream |= route.stream;
    Ok(read)
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::bad_request(format!("the body is not a request in JSON: {error}"))
}

fn decode(route: &Route<'_>, body: &[u8]) -> Result<Ask, Failure> {
    let call = Call { model: route.model.as_deref(), stream: route.stream };
    Ask::decode(route.dialect, body, &call).map_err(|error| Failure::bad_request(error.message))
}

/// Gemini: the request itself, or one around it. Bedrock: one around either of its two sorts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted<'b> {
    #[serde(borrow)]
    generate_content_request: Option<&'b RawValue>,
    #[serde(borrow)]
    input: Option<CountedInput<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountedInput<'b> {
    #[serde(borrow)]
    converse: Option<&'b RawValue>,
    invoke_model: Option<Invoked>,
}

#[derive(Deserialize)]
struct Invoked {
    /// In base64.
    body: String,
}

fn count(route: &Route<'_>, body: &[u8]) -> Result<Ask, Failure> {
    if !matches!(route.dialect, Dialect::Gemini | Dialect::Bedrock) {
        return Ask::read(route.dialect, body).map_err(unreadable);
    }
    let counted: Counted<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    match (counted.generate_content_request, counted.input) {
        (Some(inner), _) | (_, Some(CountedInput { converse: Some(inner), .. })) => {
            decode(route, inner.get().as_bytes())
        }
        (None, Some(CountedInput { invoke_model: Some(invoked), .. })) => {
            let body = STANDARD.decode(invoked.body).map_err(|_| Failure::bad_request("'body' is not base64"))?;
            Ask::read(Dialect::Anthropic, &body).map_err(unreadable)
        }
        (None, _) => decode(route, body),
    }
}

fn form(content_type: &str, body: &[u8]) -> Result<Read, Failure> {
    let form = Form::read(content_type, body).ok_or_else(|| Failure::bad_request("the form has no boundary"))?;
    let last = form.file.as_ref().map(|(name, size)| format!("{name} has {size} bytes")).unwrap_or_default();
    let ask = Ask {
        model: form.get("model").unwrap_or_default().to_owned(),
        stream: form.get("stream") == Some("true"),
        words: words(form.get("prompt").unwrap_or_default()),
        last,
        ..Ask::default()
    };
    Ok(Read { ask, json: Value::Null, form: Some(form) })
}
