//! Spans of a finished request, with the attributes of OpenTelemetry's conventions
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>) or OpenInference's
//! (<https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>).
//!
//! Tokens and content are those of the request's span only, so that nobody who adds spans up counts them twice.

mod gen_ai;
mod open_inference;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::content::Redactor;
use super::{AttemptRecord, Attributes, Record};
use crate::config::Convention;
use crate::telemetry::AttemptOutcome;

/// Bits of `flags` that say: whether the parent is on another machine is known, and it is.
const REMOTE_PARENT: u32 = 0x300;
const LOCAL_PARENT: u32 = 0x100;
const SAMPLED: u32 = 1;

/// The request's span, then those of its attempts. Without a `redactor` no content is told, whatever was captured.
pub(in crate::telemetry) fn spans(record: &Record, convention: Convention, redactor: Option<&Redactor>) -> Vec<Span> {
    let mut spans = Vec::with_capacity(1 + record.attempts.len());
    spans.push(request(record, convention, redactor));
    for (number, attempt) in (1_u64..).zip(&record.attempts) {
        spans.push(self::attempt(record, attempt, number, convention));
    }
    spans
}

fn request(record: &Record, convention: Convention, redactor: Option<&Redactor>) -> Span {
    let context = &record.context;
    let mut attributes = Attributes::default();
    let name = match convention {
        Convention::GenAi => gen_ai::describe(record, redactor, &mut attributes),
        Convention::OpenInference => open_inference::describe(record, redactor, &mut attributes),
    };
    attributes
        .add("http.request.method", &*record.method)
        .add("url.path", &*record.path)
        .add("http.response.status_code", record.status)
        .add("error.type", record.fault.map(|fault| record.error.unwrap_or(fault)))
        .add("gateway.request_id", &*record.id)
        .add("gateway.key", record.key.as_deref())
        .add("gateway.route", record.route.as_deref())
        .add("gateway.model", record.model.as_deref())
        .add("gateway.dialect", record.dialect)
        .add("gateway.attempts", record.attempts.len() as u64)
        .add("gateway.finish", record.finish.as_str())
        .add("gateway.fault", record.fault)
        .add("gateway.cost_usd", dollars(record))
        .add("gateway.dropped", record.dropped.as_deref());
    let mut events = Vec::new();
    if let Some(first) = record.first_output {
        let name = match convention {
            Convention::GenAi => "gen_ai.first_token",
            Convention::OpenInference => "First Token Stream Event",
        };
        events.push(event(name, nanos(record.begun + first), Attributes::default()));
    }
    let end = nanos(record.begun + record.duration);
    if let Some(fault) = record.fault {
        let mut attributes = Attributes::default();
        attributes.add("exception.type", record.error.unwrap_or(fault));
        events.push(event("exception", end, attributes));
    }
    // A client's own mistake is no error of the server, say the conventions for HTTP.
    let failed = matches!(record.fault, Some("upstream" | "gateway"));
    Span {
        trace_id: context.trace_bytes().to_vec(),
        span_id: context.span().to_be_bytes().to_vec(),
        trace_state: context.state().to_owned(),
        parent_span_id: context.parent().map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        flags: SAMPLED | if context.parent().is_some() { REMOTE_PARENT } else { LOCAL_PARENT },
        name,
        kind: SpanKind::Server as i32,
        start_time_unix_nano: nanos(record.begun),
        end_time_unix_nano: end,
        attributes: attributes.into_inner(),
        events,
        status: failed
            .then(|| Status { message: record.error.unwrap_or_default().to_owned(), code: StatusCode::Error as i32 }),
        ..Span::default()
    }
}

fn attempt(record: &Record, attempt: &AttemptRecord, number: u64, convention: Convention) -> Span {
    let context = &record.context;
    let begun = record.begun + attempt.begun;
    let failed = !matches!(attempt.outcome, AttemptOutcome::Ok | AttemptOutcome::Hedged | AttemptOutcome::ClientLeft);
    let mut attributes = Attributes::default();
    match convention {
        Convention::GenAi => attributes.add("gen_ai.provider.name", gen_ai::provider_name(attempt.kind)),
        Convention::OpenInference => attributes.add("openinference.span.kind", "CHAIN"),
    };
    attributes
        .add("server.address", &*attempt.host)
        .add("server.port", attempt.port)
        .add("http.response.status_code", attempt.status)
        .add("error.type", failed.then_some(attempt.outcome.as_str()))
        .add("gateway.attempt", number)
        .add("gateway.provider", &*attempt.provider)
        .add("gateway.upstream_model", &*attempt.model)
        .add("gateway.upstream_dialect", attempt.dialect)
        .add("gateway.credential", attempt.credential as u64)
        .add("gateway.outcome", attempt.outcome.as_str())
        .add("gateway.fault", attempt.fault)
        .add("gateway.rival", attempt.rival.then_some(true));
    let first = attempt.first_output.map(|first| event("first_token", nanos(begun + first), Attributes::default()));
    Span {
        trace_id: context.trace_bytes().to_vec(),
        span_id: attempt.span.to_be_bytes().to_vec(),
        trace_state: context.state().to_owned(),
        parent_span_id: context.span().to_be_bytes().to_vec(),
        flags: SAMPLED | LOCAL_PARENT,
        name: format!("attempt {}/{}", attempt.provider, attempt.model),
        kind: SpanKind::Client as i32,
        start_time_unix_nano: nanos(begun),
        end_time_unix_nano: nanos(begun + attempt.duration),
        attributes: attributes.into_inner(),
        events: first.into_iter().collect(),
        status: failed.then(|| Status { message: attempt.outcome.as_str().to_owned(), code: StatusCode::Error as i32 }),
        ..Span::default()
    }
}

fn event(name: &str, at: u64, attributes: Attributes) -> Event {
    Event { time_unix_nano: at, name: name.to_owned(), attributes: attributes.into_inner(), ..Event::default() }
}

/// What the request cost.
fn dollars(record: &Record) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "the ledger is exact")]
    record.cost.map(|pico| pico as f64 / 1e12)
}

pub(in crate::telemetry) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
