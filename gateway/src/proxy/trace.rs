//! The exchange in its trace: its place is found when it begins, and told of when it is over.

use bytes::Bytes;
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use ai_gateway_providers::{AnswerForm, Fault};

use crate::proxy::attempt::Attempt;
use crate::proxy::request::Request;
use crate::proxy::{Exchange, Gateway, Outcome};
use crate::telemetry::trace::{AttemptRecord, Captured, Context, Parameters, Record};
use crate::telemetry::{Line, short};

/// A larger body is not searched for parameters: nobody waits for that.
const MAX_SEARCHED: usize = 256 << 10;

/// What is kept of an exchange for its trace. Without traces there is none.
pub struct Trace {
    context: Context,
    parameters: Parameters,
    captured: Option<Box<Captured>>,
}

/// Finds the place of the exchange in a trace, if traces are made.
pub fn begin(session: &Session, exchange: &mut Exchange) {
    if let Some(config) = &exchange.snapshot.telemetry.traces {
        let context = Context::of(&session.req_header().headers, config);
        exchange.trace = Some(Box::new(Trace { context, parameters: Parameters::default(), captured: None }));
    }
}

/// Notes what the span is to tell of the request, which has been read.
pub fn see_request(exchange: &mut Exchange) {
    let (Some(trace), Some(request)) = (&mut exchange.trace, &exchange.request) else { return };
    if !trace.context.sampled {
        return;
    }
    let Request { endpoint, body, .. } = request;
    if body.len() <= MAX_SEARCHED && body.starts_with(b"{") {
        trace.parameters = Parameters::of(body);
    }
    let content = exchange.snapshot.telemetry.traces.as_ref().and_then(|config| config.content.as_ref());
    trace.captured =
        content.map(|content| Box::new(Captured::new(content, endpoint.dialect, endpoint.operation, body)));
}

/// Tells the provider of the trace, if it is one that learns of it.
///
/// # Errors
/// Never in practice: the values are plain.
pub fn propagate(exchange: &Exchange, attempt: &Attempt, header: &mut RequestHeader) -> Result<()> {
    let (Some(trace), Some(config)) = (&exchange.trace, &exchange.snapshot.telemetry.traces) else { return Ok(()) };
    if !config.reaches(&attempt.target.provider.name) {
        return Ok(());
    }
    for (name, value) in trace.context.headers(attempt.span) {
        header.remove_header(name);
        if let Some(value) = value {
            header.insert_header(name, value)?;
        }
    }
    Ok(())
}

impl Trace {
    /// Id of the trace.
    pub fn id(&self) -> String {
        self.context.trace_id()
    }

    /// An answer begins; what was captured of another one was taken back.
    pub fn begin_answer(&mut self, form: AnswerForm) {
        if let Some(captured) = &mut self.captured {
            captured.begin_answer(form);
        }
    }

    /// A part of the answer goes to the client.
    pub fn see_answer(&mut self, part: &Option<Bytes>) {
        if let (Some(captured), Some(part)) = (&mut self.captured, part) {
            captured.see(part);
        }
    }

    /// Queues the spans of an exchange that is over.
    pub fn finish(self, gateway: &Gateway, exchange: &Exchange, line: &Line<'_>) {
        if self.context.sampled {
            gateway.telemetry.traces.offer(|| record(self, exchange, line));
        }
    }
}

fn record(trace: Trace, exchange: &Exchange, line: &Line<'_>) -> Record {
    let Trace { context, parameters, captured } = trace;
    let finished = line.finished;
    let labels = exchange.account.labels.as_deref();
    let session = labels.and_then(|labels| labels.metadata().find(|(name, _)| *name == "session_id"));
    let seen = exchange.seen();
    Record {
        context,
        begun: exchange.at,
        duration: finished.duration,
        first_output: finished.first_token,
        id: line.id.into(),
        operation: finished.operation,
        dialect: finished.dialect,
        method: line.method.into(),
        path: short(line.path).into(),
        model: finished.request_model.name().map(short).map(Into::into),
        key: exchange.key.as_ref().map(|key| key.name.clone()),
        route: line.route.map(Into::into),
        session: session.map(|(_, value)| value.into()),
        user: labels.and_then(|labels| labels.customer()).map(Into::into),
        stream: finished.stream,
        status: finished.status,
        fault: finished.fault.map(Fault::as_str),
        error: exchange.error.as_ref().map(|error| error.kind.as_str()),
        finish: finished.finish,
        response_id: seen.and_then(|seen| seen.id.as_deref()).map(short).map(Into::into),
        response_model: finished.response_model.map(short).map(Into::into),
        tokens: finished.usage.tokens(),
        cost: finished.cost,
        dropped: line.dropped.map(Into::into),
        parameters,
        captured,
        attempts: exchange.attempts.iter().map(|attempt| attempt_record(exchange, attempt)).collect(),
    }
}

fn attempt_record(exchange: &Exchange, attempt: &Attempt) -> AttemptRecord {
    let provider = &attempt.target.provider;
    let outcome = attempt.outcome.unwrap_or(Outcome::Ok);
    let fault = match outcome {
        Outcome::Ok | Outcome::Hedged => None,
        Outcome::NoRoom | Outcome::Withheld | Outcome::Shutdown => Some(Fault::Gateway),
        outcome if outcome.is_callers_fault() => Some(Fault::Caller),
        _ => Some(Fault::Upstream),
    };
    AttemptRecord {
        span: attempt.span,
        begun: attempt.started.saturating_duration_since(exchange.started),
        duration: attempt.took,
        first_output: attempt.first_output,
        provider: provider.name.clone(),
        kind: provider.preset.kind,
        model: attempt.target.model.clone(),
        dialect: attempt.encoded.route.dialect.as_str(),
        host: provider.host.as_str().into(),
        port: provider.port,
        credential: attempt.credential,
        outcome: outcome.into(),
        fault: fault.map(Fault::as_str),
        status: attempt.status,
        rival: attempt.rival || outcome == Outcome::Hedged,
    }
}
