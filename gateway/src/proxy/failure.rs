//! Failures: what they were, whether another attempt follows, and what the client is told if not.

use ai_gateway_providers::answer::AnswerForm;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use bytes::Bytes;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};
use rustls::AlertDescription;

use super::answer;
use super::replay::{Clock, Replay};
use crate::net::call::was_taken;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::attempt::resume;
use crate::proxy::attempt::step::Step;
use crate::proxy::reply::count;
use crate::proxy::reply::deliver::{LAST_WRITE, close, took_no_more, write_last};
use crate::proxy::reply::{Refusal, Stopped};
use crate::proxy::{Exchange, Gateway, plugins, reply};

/// Status that the log shows for a client that went away; it is never sent.
pub const CLIENT_LEFT: u16 = 499;

/// Ends the current attempt with `outcome` and decides whether Pingora may come back for the next one.
pub fn attempt_failed(exchange: &mut Exchange, outcome: Outcome, mut error: Box<Error>) -> Box<Error> {
    if exchange.drained() {
        exchange.client_left = true;
        exchange.end_attempt(outcome);
        error.set_retry(false);
        return error;
    }
    if resume::goes_on(exchange, outcome) {
        error.set_retry(true);
        return error;
    }
    let step = exchange.step_after(outcome);
    exchange.end_attempt(outcome);
    error.set_retry(step != Step::Stop);
    // Also where another attempt is to follow: it may be that nobody can be asked when its time has come.
    if exchange.error.is_none() && outcome != Outcome::ClientLeft {
        exchange.error = Some(resume::first_error(exchange).unwrap_or_else(|| final_error(exchange, outcome)));
    }
    exchange.prepare(step, outcome);
    error
}

/// Whether the current attempt goes on, on another connection.
fn tries_again(exchange: &mut Exchange) -> bool {
    exchange.attempt_mut().is_some_and(|attempt| attempt.connection.try_again())
}

/// No connection to the chosen target.
pub fn connect_failed(
    gateway: &Gateway,
    peer: &HttpPeer,
    exchange: &mut Exchange,
    mut error: Box<Error>,
) -> Box<Error> {
    // A pooled HTTP/2 connection that is just going away takes no new stream; nothing says that the provider is unwell.
    if error.etype() == &ErrorType::H2Error && tries_again(exchange) {
        error.set_retry(true);
        return error;
    }
    let outcome = Outcome::of_connect_error(&error);
    if refuses_protocol(&error)
        && let Some(attempt) = exchange.attempt_mut()
        && attempt.target.provider.may_insist_on_http2(peer)
        && attempt.connection.try_again()
    {
        error.set_retry(true);
        return error;
    }
    let mut has_others = false;
    if let Some(attempt) = exchange.attempt() {
        let provider = &attempt.target.provider;
        // The cause is the kernel's or rustls': nothing was sent yet that it could quote.
        let (why, cause) = (error.etype().as_str(), error.root_cause());
        log::warn!("request {}: provider {} at {}: {why}: {cause}", exchange.id, provider.name, peer.address());
        if let Some(address) = peer.address().as_inet()
            && outcome != Outcome::NoRoom
            && !attempt.is_haste(outcome)
        {
            has_others = gateway.resolver.unreachable(&provider.host, address.ip());
        }
    }
    // The provider may well be there, at another of its addresses.
    if has_others && exchange.step_after(outcome) != Step::Elsewhere && tries_again(exchange) {
        error.set_retry(true);
        return error;
    }
    attempt_failed(exchange, outcome, error)
}

/// Whether the other side speaks TLS, and none of the protocols that it was offered: any other failure may be the network's. Of
/// rustls' error Pingora keeps the words.
fn refuses_protocol(error: &Error) -> bool {
    let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol).to_string();
    error.etype() == &ErrorType::TLSHandshakeFailure && error.to_string().contains(&alert)
}

/// The attempt broke after a connection stood.
pub fn attempt_broke(exchange: &mut Exchange, mut error: Box<Error>, reused: bool) -> Box<Error> {
    if exchange.attempt().is_none_or(|attempt| attempt.outcome.is_some()) {
        // A filter of ours returned this error and has decided already, unless plugins still looked at what the provider refused.
        if exchange.error.is_none() && fired(exchange) == Some(Clock::Shutdown) {
            exchange.error = Some(shutting_down());
        }
        if exchange.committed && !resume::is_asking(exchange) {
            error.set_retry(false);
        }
        return error;
    }
    if exchange.is_complete_stream() {
        // Everything was said and passed on; how the connection ends after that is nobody's concern.
        exchange.end_attempt(Outcome::Ok);
        error.set_retry(false);
        return error;
    }
    let is_hurried = fired(exchange) == Some(Clock::Idle);
    if exchange.upstream_answer.error_body.is_some()
        && !exchange.client_left
        && (is_hurried || error.esource() != &ErrorSource::Downstream)
    {
        // An error answer without a body, or one that broke off or does not end: its status says enough.
        return answer::told_by_upstream(exchange);
    }
    let outcome = resume::reported(exchange).unwrap_or_else(|| classify(exchange, &error));
    let is_stale = reused && outcome == Outcome::Connect && !was_taken(&error);
    let again = error.etype() == &ErrorType::H2Downgrade || is_stale;
    let may_repeat = !exchange.committed || resume::is_asking(exchange);
    if again && may_repeat && tries_again(exchange) {
        // The pooled connection was closed by the other side, or is to speak HTTP/1 from now on; nothing says that
        // the provider is unwell.
        error.set_retry(true);
        return error;
    }
    if outcome == Outcome::ClientLeft {
        exchange.client_left = true;
    } else if let Some(attempt) = exchange.attempt() {
        // Not the whole error: its context may quote what the provider sent.
        let (provider, cause) = (&attempt.target.provider.name, error.etype().as_str());
        log::warn!("request {}: provider {provider}: {outcome:?}: {cause}", exchange.id);
    }
    attempt_failed(exchange, outcome, error)
}

fn fired(exchange: &Exchange) -> Option<Clock> {
    exchange.replay.as_ref().and_then(Replay::fired)
}

fn classify(exchange: &Exchange, error: &Error) -> Outcome {
    if let Some(clock) = fired(exchange) {
        return match clock {
            Clock::Total if exchange.drained() => Outcome::ClientLeft,
            Clock::Shutdown => Outcome::Shutdown,
            clock => Outcome::Timeout(clock),
        };
    }
    let answering = exchange.attempt().is_some_and(|attempt| attempt.status.is_some());
    match (error.esource(), error.etype()) {
        (
            ErrorSource::Downstream,
            ErrorType::ConnectionClosed
            | ErrorType::ConnectError
            | ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::H2Error,
        ) => Outcome::ClientLeft,
        (_, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Outcome::Timeout(Clock::Idle),
        (_, ErrorType::InvalidHTTPHeader | ErrorType::InvalidH2) => Outcome::Garbage,
        _ if answering => Outcome::Cut,
        _ => Outcome::Connect,
    }
}

/// What the client is told when no attempt is left.
pub(super) fn final_error(exchange: &Exchange, outcome: Outcome) -> ApiError {
    let provider = exchange.attempt().map_or("?", |attempt| &attempt.target.provider.name);
    let (kind, message) = match outcome {
        Outcome::NoCredentials => {
            (ErrorKind::UpstreamAuth, format!("the gateway has no valid credentials for provider `{provider}`"))
        }
        Outcome::Dns => {
            (ErrorKind::UpstreamUnreachable, format!("the address of provider `{provider}` could not be found"))
        }
        Outcome::Tls => (ErrorKind::UpstreamUnreachable, format!("no secure connection to provider `{provider}`")),
        Outcome::ConnectTimeout => (
            ErrorKind::UpstreamUnreachable,
            format!("provider `{provider}` did not accept a connection in time (timeouts.connect)"),
        ),
        Outcome::Connect => (
            ErrorKind::UpstreamUnreachable,
            format!("provider `{provider}` could not be reached, or closed the connection without an answer"),
        ),
        Outcome::Timeout(Clock::FirstToken) => (
            ErrorKind::UpstreamTimeout,
            format!("provider `{provider}` produced no output in time (timeouts.first_token)"),
        ),
        Outcome::Timeout(Clock::Idle) => {
            (ErrorKind::UpstreamTimeout, format!("provider `{provider}` went silent (timeouts.idle)"))
        }
        Outcome::Timeout(Clock::Total | Clock::Shutdown) => {
            (ErrorKind::UpstreamTimeout, "the request took too long (timeouts.total)".to_owned())
        }
        Outcome::Shutdown => return shutting_down(),
        Outcome::Credentials(status) => (
            ErrorKind::UpstreamAuth,
            format!("provider `{provider}` refused the gateway's credentials (status {status})"),
        ),
        Outcome::Garbage => {
            let unfit = exchange.attempt().and_then(|attempt| attempt.unfit).map(|unfit| unfit.to_string());
            let what = unfit.as_deref().unwrap_or("something that is no valid HTTP answer");
            (ErrorKind::UpstreamError, format!("provider `{provider}` answered with {what}"))
        }
        Outcome::Refused(kind) => (kind, format!("provider `{provider}` refused the request")),
        Outcome::Status(status) => return answer::said_by_status(exchange, status),
        Outcome::StreamError(_) => {
            (ErrorKind::UpstreamError, format!("provider `{provider}` reported an error instead of an answer"))
        }
        Outcome::Blocked => {
            (ErrorKind::ContentFilter, format!("a filter of provider `{provider}` has kept its answer back"))
        }
        Outcome::NoRoom => (
            ErrorKind::Busy,
            "this gateway has no descriptor or no memory left for a connection: send the request again".to_owned(),
        ),
        Outcome::Withheld => (ErrorKind::Internal, "a plugin failed, and nothing passes without it".to_owned()),
        Outcome::Cut | Outcome::Ok | Outcome::ClientLeft | Outcome::Hedged => return ApiError::cut_short(),
    };
    ApiError::new(kind, message)
}

/// What the client is told whose request has no answer yet when the process leaves.
pub fn shutting_down() -> ApiError {
    ApiError::new(ErrorKind::Busy, "this gateway is being shut down: send the request again")
}

/// Tells the client, in its dialect: JSON before commit, an event in the stream after it, a broken connection where
/// neither is possible.
pub async fn tell_client(session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
    if let Some(replay) = &exchange.replay {
        replay.restore(session);
    }
    exchange.close_call();
    let gone = FailToProxy { error_code: 0, can_reuse_downstream: false };
    let stalled = took_no_more(error) || exchange.drained();
    if exchange.is_complete_stream() {
        exchange.keep_answer();
        if !stalled {
            exchange.abandoned = !finish(session).await;
            if !exchange.abandoned {
                close(session).await;
            }
            return gone;
        }
    }
    if exchange.client_left || stalled || (error.esource() == &ErrorSource::Downstream && exchange.error.is_none()) {
        exchange.client_left = true;
        return gone;
    }
    plugins::conclude(exchange);
    if count::is_refused(exchange, exchange.error.as_ref()) && session.response_written().is_none() {
        session.set_keepalive(None);
        match count::answer(session, exchange).await {
            Ok(()) => {
                exchange.error = None;
                return FailToProxy { error_code: exchange.status, can_reuse_downstream: false };
            }
            Err(Stopped::Refused(refusal)) => exchange.error = Some(refusal.into_error()),
            Err(Stopped::Client(_)) => return gone,
        }
    }
    let told = exchange.error.take().unwrap_or_else(|| {
        log::error!("request {}: {}", exchange.id, error.etype().as_str());
        ApiError::new(ErrorKind::Internal, "the gateway failed to handle the request")
    });
    let error_code = told.client_status(exchange.dialect());
    exchange.spoil_call(&told);
    tell(session, exchange, told).await;
    FailToProxy { error_code, can_reuse_downstream: false }
}

/// Tells the client in the place of its answer, or behind the beginning of it. Nothing follows on that connection.
pub async fn tell(session: &mut Session, exchange: &mut Exchange, told: ApiError) {
    session.set_keepalive(None);
    // A `100 Continue` of ours counts as written, too.
    if session.response_written().is_none_or(|header| header.status.is_informational()) {
        let refusal = Refusal::with_headers(told, std::mem::take(&mut exchange.retry_after));
        if let Err(error) = reply::error(session, exchange, refusal).await {
            exchange.client_left |= took_no_more(&error);
            log::debug!("request {}: client could not be told: {error}", exchange.id);
        }
    } else {
        break_off(session, exchange, told).await;
    }
}

async fn break_off(session: &mut Session, exchange: &mut Exchange, told: ApiError) {
    // Of an answer out of the cache no more is known than what was asked for.
    let streams = match &exchange.upstream_answer.observer {
        Some(_) => exchange.upstream_answer.form == AnswerForm::Stream,
        None => exchange.wants_events(),
    };
    let event = streams.then(|| exchange.error_event(&told));
    end_with(session, exchange, event, told).await;
}

/// Ends an answer that is not whole: a stream with the event that tells why, anything else as what it is.
pub async fn end_with(session: &mut Session, exchange: &mut Exchange, event: Option<Bytes>, told: ApiError) {
    exchange.told_end = match event {
        Some(event) => write_last(session, event, true).await,
        None => false,
    };
    exchange.abandoned = !exchange.told_end;
    if exchange.told_end {
        close(session).await;
    }
    exchange.error = Some(told);
}

/// Ends the body of a whole answer. Says whether its client has it.
async fn finish(session: &mut Session) -> bool {
    matches!(tokio::time::timeout(LAST_WRITE, session.downstream_session.finish_body()).await, Ok(Ok(())))
}
