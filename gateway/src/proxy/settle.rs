//! The end of every exchange, whatever happened: metrics, one line in the access log, one in the ledger, the session put back.

use ai_gateway_providers::Operation;
use ai_gateway_providers::answer::{AnswerForm, Observer, Seen};
use ai_gateway_providers::error::Fault;
use pingora_proxy::Session;

use super::failure::CLIENT_LEFT;
use crate::proxy::account::{admission, book, unfinished};
use crate::proxy::{Exchange, Gateway, Outcome, cached, calls, plugins};
use crate::telemetry::trace::trace_id_of;
use crate::telemetry::{Attempt, AttemptOutcome, Finish, Finished, Line, RequestModel, Tokens, Usage};

/// Accounts for the exchange. Pingora calls this exactly once for each.
pub fn settle(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) {
    if let Some(replay) = &exchange.replay {
        replay.restore(session);
    }
    calls::give_up(exchange);
    plugins::conclude(exchange);
    // Of an answer that was not complete; a client may go on with it all the same.
    if let Some(memory) = exchange.upstream_answer.observer.as_mut().and_then(Observer::take_memory) {
        gateway.continuity.remember_turn(exchange.key.as_deref(), memory);
    }
    admission::settle(exchange);
    count_losses(gateway, exchange);
    exchange.client_left |= exchange.drained();
    if exchange.client_left {
        exchange.end_attempt(if exchange.drained() { Outcome::Ok } else { Outcome::ClientLeft });
        if session.response_written().is_none_or(|header| header.status.is_informational()) {
            exchange.status = CLIENT_LEFT;
        }
    } else {
        exchange.end_attempt(Outcome::Ok);
    }
    cached::count(gateway, exchange);
    book::book(gateway, exchange);
    book::book_others(gateway, exchange);
    unfinished::account(gateway, exchange);
    let attempts: Vec<Attempt> = exchange.attempts.iter().map(|attempt| attempt.record(exchange.is_direct())).collect();
    for attempt in &attempts {
        gateway.telemetry.metrics.attempt(attempt);
    }
    let seen = exchange.upstream_answer.observer.as_ref().map(Observer::seen);
    let finish = finish(exchange, seen);
    let tags = plugins::on_end(gateway, exchange, finish);
    for pair in attempts.windows(2) {
        let [failed, _next] = pair else { continue };
        if !failed.rival && !matches!(failed.outcome, AttemptOutcome::Ok | AttemptOutcome::Hedged) {
            gateway.telemetry.metrics.retried(failed.outcome);
        }
    }
    let trace = exchange.trace.take();
    let header = session.req_header();
    let trace_id = trace.as_ref().map_or_else(|| trace_id_of(&header.headers), |trace| Some(trace.id()));
    let dropped = dropped(exchange);
    let last = exchange.attempt();
    let not_let_in = exchange.not_let_in.as_ref();
    let unusable = not_let_in.and_then(|(_, key)| key.as_ref());
    if let Some((why, _)) = not_let_in {
        gateway.telemetry.metrics.not_let_in(why.reason());
    }
    let finished = Finished {
        operation: exchange.operation().map_or("unknown", Operation::as_str),
        dialect: exchange.endpoint().map(|endpoint| endpoint.dialect.as_str()),
        request_model: request_model(exchange),
        provider: last.map(|attempt| &*attempt.target.provider.name),
        upstream_model: last.map(|attempt| &*attempt.target.model),
        response_model: seen.and_then(|seen| seen.model.as_deref()),
        status: exchange.status,
        key: exchange.key.as_ref().or(unusable).map(|key| &*key.name),
        fault: fault(exchange),
        finish,
        stream: exchange.wants_stream(),
        duration: exchange.started.elapsed(),
        first_token: exchange.first_token(),
        overhead: exchange.overhead,
        usage: usage(exchange, seen, finish),
        cost: exchange.cost(),
        attempts: &attempts,
    };
    let line = Line {
        at: exchange.at,
        id: &exchange.id,
        method: header.method.as_str(),
        path: header.uri.path(),
        client: session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip),
        user_agent: header.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()),
        bytes_in: session.body_bytes_read() as u64,
        bytes_out: session.body_bytes_sent() as u64,
        route: exchange.route.as_ref().map(|rule| &*rule.name),
        dropped: dropped.as_deref(),
        cache: exchange.cache_status().map(cached::Status::as_str),
        seams: exchange.resume.as_ref().map_or(0, |resume| resume.seams()),
        error: exchange.error.as_ref().map(|error| error.kind.as_str()),
        refused: not_let_in.map(|(why, _)| why.reason()),
        tags: &tags,
        trace_id: trace_id.as_deref(),
        finished: &finished,
    };
    gateway.telemetry.record(&line);
    if let Some(trace) = trace {
        trace.finish(gateway, exchange, &line);
    }
}

fn count_losses(gateway: &Gateway, exchange: &Exchange) {
    let Some(attempt) = exchange.attempt() else { return };
    let (client, provider) = (exchange.dialect(), attempt.encoded.route.dialect);
    gateway.telemetry.metrics.dropped(&attempt.encoded.losses, client, provider);
    if let Some(losses) = exchange.observer().and_then(Observer::losses) {
        gateway.telemetry.metrics.dropped(losses, provider, client);
    }
}

/// What the log says was dropped, the request's fields first.
fn dropped(exchange: &Exchange) -> Option<String> {
    let mut losses = exchange.attempt()?.encoded.losses.clone();
    if let Some(lost) = exchange.observer().and_then(Observer::losses) {
        losses.extend(lost);
    }
    (!losses.is_empty()).then(|| losses.header_value())
}

fn request_model(exchange: &Exchange) -> RequestModel<'_> {
    match &exchange.request {
        None => RequestModel::Unknown,
        Some(request) if exchange.is_direct() => RequestModel::Direct(&request.model.name),
        Some(request) => RequestModel::Configured(&request.model.name),
    }
}

/// Whose fault it was that the exchange failed; `None` if it did not.
pub(super) fn fault(exchange: &Exchange) -> Option<Fault> {
    if exchange.client_left {
        return Some(Fault::Caller);
    }
    let told = exchange.error.as_ref().map(|error| error.kind.fault());
    match exchange.attempt().and_then(|attempt| attempt.outcome) {
        Some(Outcome::Ok) | None => told,
        // Answered here after all: a count that the provider does not make.
        Some(_) if !exchange.committed && exchange.status < 400 => told,
        // A provider's 409 is worth another try: its words blame the caller, its state is its own.
        Some(Outcome::Status(409)) => Some(Fault::Upstream),
        Some(outcome) if outcome.is_callers_fault() => told.or(Some(Fault::Caller)),
        Some(_) => told.or(Some(Fault::Upstream)),
    }
}

fn finish(exchange: &Exchange, seen: Option<&Seen>) -> Finish {
    let broke = (exchange.error.is_some() && !plugins::refused_in_stream(exchange))
        || seen.is_some_and(|seen| seen.error.is_some());
    if exchange.client_left {
        Finish::ClientLeft
    } else if exchange.status >= 400 || (broke && !exchange.committed) {
        Finish::Error
    } else if broke {
        Finish::Cut
    } else {
        Finish::Complete
    }
}

fn usage(exchange: &Exchange, seen: Option<&Seen>, finish: Finish) -> Usage {
    let Some(seen) = seen else { return Usage::NotExpected };
    match &seen.usage {
        Some(usage) => Usage::Reported(Tokens {
            input: usage.total_input(),
            cached_input: usage.cache_read,
            cache_creation_input: usage.total_cache_write(),
            output: usage.total_output(),
            reasoning: usage.reasoning,
        }),
        None if exchange.is_unfinished() || finish != Finish::Complete || fault(exchange).is_some() => {
            Usage::NotExpected
        }
        None if (200..300).contains(&exchange.status) && exchange.upstream_answer.form != AnswerForm::Opaque => {
            Usage::Missing
        }
        None => Usage::NotExpected,
    }
}
