//! The events of a stream, as they are written.

use serde::{Deserialize, Serialize};

use super::OWN;
use super::items_out::{Item, Part};
use super::response_out::Object;
use super::sources::{Annotation, Logprobs};
use crate::codec::sse::write_event;
use crate::error::{ApiError, encode_error};

/// One event; each kind has some of the fields.
#[derive(Serialize, Default)]
pub(super) struct Wire<'b> {
    pub(super) r#type: &'static str,
    pub(super) sequence_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<Object<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_id: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotation_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<Item<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<Part<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotation: Option<Annotation<'b, 'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<Logprobs<'b, 'b>>,
}

/// What [`encode_error`] wrote.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorFields,
}

#[derive(Deserialize, Serialize, Default)]
pub(super) struct ErrorFields {
    r#type: String,
    pub(super) code: Option<String>,
    pub(super) message: String,
    param: Option<String>,
}

#[derive(Serialize)]
struct ErrorWire<'e> {
    r#type: &'static str,
    sequence_number: u64,
    code: &'e str,
    message: &'e str,
    param: Option<&'e str>,
    error: &'e ErrorFields,
}

/// Appends an event.
pub(super) fn write(sequence: &mut u64, out: &mut Vec<u8>, kind: &'static str, wire: Wire<'_>) {
    let sequence_number = *sequence;
    *sequence += 1;
    write_event(out, Some(kind), &Wire { r#type: kind, sequence_number, ..wire });
}

/// Appends `error`, and gives what it told: the code, and a text for a person.
pub(super) fn write_error(sequence: &mut u64, out: &mut Vec<u8>, error: &ApiError) -> (String, String) {
    // What a client is told of an error is settled there.
    let body = serde_json::from_slice::<ErrorBody>(&encode_error(OWN, error, ""));
    let error = body.map_or(ErrorFields::default(), |body| body.error);
    let code = error.code.clone().unwrap_or_else(|| "server_error".to_owned());
    let (sequence_number, message, param) = (*sequence, &*error.message, error.param.as_deref());
    *sequence += 1;
    write_event(
        out,
        Some("error"),
        &ErrorWire { r#type: "error", sequence_number, code: &code, message, param, error: &error },
    );
    (code, error.message)
}
