//! One try of one target: choosing it, connecting, and sending it the request.
//!
//! | file | subject |
//! |---|---|
//! | `encode` | the request as that target must get it |
//! | `header` | the header that it gets |
//! | `outcome` | how it ended, and whether that moves on to the next target |
//! | `step` | what follows on a failed one |
//! | `resume` | another goes on with an answer that broke off (`on_cut = "continue"`) |

pub mod encode;
pub mod header;
pub mod outcome;
pub mod resume;
pub mod step;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_gateway_providers::error::{ApiError, ErrorKind};
use bytes::Bytes;
use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::calls;
use crate::config::TimeoutsConfig;
use crate::continuity::Continuity;
use crate::credentials::{Client, Grant, without_scheme};
use crate::health::{Changes, CredentialChange, Pass, Reason, TargetChange, TargetState, Verdict};
use crate::limits::Reservation;
use crate::net::call::{STALE_RETRIES, STALE_WITHIN};
use crate::net::dns::Resolver;
use crate::proxy::account::admission;
use crate::proxy::account::consumed::Consumed;
use crate::proxy::answer::unfit::Unfit;
use crate::proxy::request::Request;
use crate::proxy::request::clocks::{self, Clocks};
use crate::proxy::{Exchange, Gateway};
use crate::routing::{Plan, Taken};
use crate::snapshot::Target;
use encode::Encoded;
use outcome::Outcome;
use step::Repeat;

/// Shortest wait for a provider's first token: a token endpoint answers more slowly than a connection stands.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// A try, and how it went.
pub struct Attempt {
    /// Where it went.
    pub target: Arc<Target>,
    /// Number of the provider's credential.
    pub credential: usize,
    /// Its clocks.
    pub clocks: TimeoutsConfig,
    /// When it began.
    pub started: Instant,
    /// The request as it is asked, and what becomes of its answer.
    pub encoded: Encoded,
    /// The gateway's own credential for it.
    pub grant: Grant,
    /// Status of the upstream's answer.
    pub status: Option<u16>,
    /// What its answer is, if it is none of the target's API.
    pub unfit: Option<Unfit>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// How long it took, once it has ended.
    pub took: Duration,
    /// How long after its beginning its first output came.
    pub first_output: Option<Duration>,
    /// How long the provider asked to stay away.
    pub retry_after: Option<Duration>,
    /// What it holds of the target's own limits.
    pub held: Option<Reservation>,
    /// What it consumed, if that is not what its observer tells: it was given up, or has to be estimated.
    pub consumed: Option<Box<Consumed<'static>>>,
    /// Whether it is asked outside Pingora's proxy path.
    pub called: bool,
    /// Whether it was the second call of a hedged request and did not become the answer.
    pub rival: bool,
    /// Id of its span.
    pub span: u64,
    /// Counts it at its target, until it has ended.
    pass: Option<Pass>,
    /// What it goes over.
    pub connection: Connection,
}

impl Attempt {
    /// An attempt that begins now.
    pub fn new(taken: Taken, encoded: Encoded, clocks: Clocks) -> Self {
        let Taken { target, credential, pass } = taken;
        Self { pass: Some(pass), ..Self::uncounted(target, credential, encoded, clocks) }
    }

    /// The same, of which the target's health learns nothing.
    pub fn uncounted(target: Arc<Target>, credential: usize, encoded: Encoded, clocks: Clocks) -> Self {
        Self {
            clocks: clocks.over(target.timeouts),
            target,
            credential,
            pass: None,
            held: None,
            started: Instant::now(),
            encoded,
            grant: Grant::None,
            status: None,
            unfit: None,
            outcome: None,
            took: Duration::ZERO,
            first_output: None,
            retry_after: None,
            consumed: None,
            called: false,
            rival: false,
            span: fastrand::u64(1..),
            connection: Connection::default(),
        }
    }

    /// The same, with what it holds of its target's own limits.
    #[must_use]
    pub fn holding(self, held: Option<Reservation>) -> Self {
        Self { held, ..self }
    }

    /// Notes the end. The first outcome stands.
    pub fn end(&mut self, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        let now = Instant::now();
        self.outcome = Some(outcome);
        self.took = now - self.started;
        self.encoded.body = Bytes::new();
        if let Some(held) = &mut self.held {
            held.make_room();
        }
        if let Some(pass) = self.pass.take() {
            let verdict = if self.is_haste(outcome) { Verdict::Neutral } else { outcome.verdict(self.retry_after) };
            let changes = pass.finish(self.target.time.instant_or(now), verdict);
            self.report(&changes);
        }
    }

    /// Whether it ends with `outcome` only because its client has less patience than its target is given.
    pub fn is_haste(&self, outcome: Outcome) -> bool {
        clocks::is_haste(outcome, self.started.elapsed(), self.clocks, self.target.timeouts)
    }

    /// Notes the end of an attempt that was given up because another one began its answer first.
    pub fn lose(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.no_output(self.target.time.instant(), self.started.elapsed());
        }
        self.end(Outcome::Hedged);
    }

    /// Whether the request was handed over to the provider.
    pub fn was_sent(&self) -> bool {
        self.called || self.connection.sent.is_some() || self.status.is_some()
    }

    /// How its target is, with its credential.
    pub fn state(&self) -> &TargetState {
        &self.target.states[self.credential]
    }

    /// Notes that the first output has come: that of a stream, or an answer that comes at once.
    pub fn saw_first_output(&mut self, stream: bool) {
        let now = Instant::now();
        let after = now - self.started;
        self.first_output = Some(after);
        let Some(pass) = &mut self.pass else { return };
        let now = self.target.time.instant_or(now);
        if stream {
            let changes = pass.first_output(now, after);
            self.report(&changes);
        } else {
            pass.answered(now, after);
        }
    }

    fn report(&self, changes: &Changes) {
        report(&self.target.provider.name, &self.target.model, self.credential, changes);
    }

    /// What metrics and logs say of it.
    pub fn record(&self, direct: bool) -> crate::telemetry::Attempt {
        crate::telemetry::Attempt {
            provider: self.target.provider.name.clone(),
            model: self.target.model.clone(),
            direct,
            outcome: self.outcome.unwrap_or(Outcome::Ok).into(),
            status: self.status,
            duration: self.took,
            first_output: self.first_output,
            rival: self.rival,
        }
    }
}

/// The connection of an attempt, and those that were dead before it.
#[derive(Default)]
pub struct Connection {
    /// When it stood; taken when the request is handed over.
    connected: Option<Instant>,
    /// When the request was handed over.
    sent: Option<Instant>,
    stale: usize,
    /// Whether the attempt goes on, on another one.
    again: bool,
}

impl Connection {
    /// Notes that the connection stands.
    pub fn stands(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// Notes that the request is handed over. How long the connection stood by then.
    fn hand_over(&mut self) -> Duration {
        let now = Instant::now();
        self.sent = Some(now);
        self.connected.take().map_or(Duration::ZERO, |connected| now - connected)
    }

    /// Asks for the same target once more, on another connection. `false` after a few times, or when the provider had
    /// time to begin its work.
    pub fn try_again(&mut self) -> bool {
        self.stale += 1;
        self.again = self.stale <= STALE_RETRIES && self.sent.is_none_or(|sent| sent.elapsed() < STALE_WITHIN);
        self.again
    }
}

/// What the current one of `attempts`, the last, tells its provider and nobody else.
pub fn secrets(attempts: &[Attempt]) -> impl Iterator<Item = &[u8]> + Clone {
    attempts.last().into_iter().flat_map(|attempt| {
        let headers = attempt.target.provider.secret_headers.iter().map(without_scheme);
        headers.chain([attempt.grant.secret()])
    })
}

/// Tells the operator what an attempt or a probe changed.
pub fn report(provider: &str, model: &str, credential: usize, changes: &Changes) {
    match changes.credential {
        Some(CredentialChange::Refused(reason)) => {
            log::error!("provider {provider}, credential {credential}: {reason}; it is not used for now");
        }
        Some(CredentialChange::Accepted) => {
            log::warn!("provider {provider}, credential {credential}: accepted again");
        }
        None => {}
    }
    match changes.target {
        Some(TargetChange::Opened { reason, cooldown }) => {
            log::warn!("target {provider}/{model}: {reason}; it rests for {cooldown:?}");
        }
        Some(TargetChange::Closed) => log::warn!("target {provider}/{model}: it is well again"),
        Some(TargetChange::Held { reason: reason @ (Reason::ModelRefused(_) | Reason::NoModel), wait }) => {
            log::warn!("target {provider}/{model}, credential {credential}: {reason}; it rests for {wait:?}");
        }
        Some(TargetChange::Held { reason, wait }) => {
            log::info!("target {provider}/{model}: {reason}; it rests for {wait:?}");
        }
        None => {}
    }
}

/// Takes the next attempt of the plan and finds the address to connect to.
pub async fn choose_peer(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
    if exchange.drained() {
        // Nobody waits for another attempt.
        exchange.client_left = true;
        let error = Error::explain(ErrorType::ConnectionClosed, "the client has left");
        return Err(error.into_down());
    }
    if calls::go_on_with_hedge(exchange) {
        return calls::take_over(session, exchange).await;
    }
    let repeat = exchange.repeat.take();
    if let Some(repeat) = &repeat {
        repeat.wait(session, exchange, &gateway.ending).await?;
    }
    let begun = Instant::now();
    let again = exchange.attempt_mut().is_some_and(|attempt| std::mem::take(&mut attempt.connection.again));
    if !again {
        let now = gateway.time.instant_or(begun);
        let attempt = next_attempt(&gateway.continuity, exchange, repeat, now)?;
        exchange.attempts.push(attempt);
    }
    let Some(attempt) = exchange.attempts.last_mut() else {
        return Err(Error::explain(ErrorType::InternalError, "no attempt was made"));
    };
    if let Some(replay) = &exchange.replay {
        replay.begin_attempt(attempt.clocks.total);
    }
    exchange.overhead += begun.elapsed();
    match approach(attempt, &gateway.http, &gateway.resolver, &exchange.id).await {
        Ok(peer) if calls::may_hedge(exchange) => calls::race(gateway, session, exchange, peer).await,
        Ok(mut peer) => {
            if let Some(attempt) = exchange.attempt() {
                attempt.target.provider.choose_protocol(&mut peer, attempt.encoded.body.len());
            }
            Ok(Box::new(peer))
        }
        Err((outcome, error)) => Err(super::failure::attempt_failed(exchange, outcome, error)),
    }
}

/// Fetches what `attempt` needs before it can connect: the gateway's credential, and the address.
///
/// # Errors
/// How the attempt ends without them; logged already, under the exchange's `id`.
pub async fn approach(
    attempt: &mut Attempt,
    http: &Arc<Client>,
    resolver: &Resolver,
    id: &str,
) -> Result<HttpPeer, (Outcome, Box<Error>)> {
    let (provider, timeouts) = (&attempt.target.provider, attempt.clocks);
    // Not the client's clock: without a credential the account would count as unusable, for everybody.
    let patience = attempt.target.timeouts.connect.max(TOKEN_PATIENCE);
    match provider.credentials[attempt.credential].grant(attempt.encoded.route.dialect, http, patience).await {
        Ok(grant) => attempt.grant = grant,
        Err(error) => {
            log::warn!("request {id}: provider {}: no credential: {error}", provider.name);
            return Err((Outcome::NoCredentials, Error::explain(ErrorType::InternalError, "no credential")));
        }
    }
    let connect = timeouts.to_connect();
    match resolver.resolve(&provider.host, provider.port, connect).await {
        Ok(address) => {
            let mut peer = provider.peer(address, connect, timeouts.idle);
            if attempt.connection.stale == STALE_RETRIES {
                // All connections in the pool may be dead, and a dead HTTP/2 one lies there until its own task has noticed.
                peer.group_key = !peer.group_key;
            }
            Ok(peer)
        }
        Err(error) => {
            log::warn!("provider {}: {error}", provider.name);
            Err((Outcome::Dns, Error::explain(ErrorType::ConnectError, error.to_string())))
        }
    }
}

/// The same target once more, or the next one of the plan whose API can say what is asked.
pub(super) fn next_attempt(
    continuity: &Continuity,
    exchange: &mut Exchange,
    repeat: Option<Repeat>,
    now: Instant,
) -> Result<Attempt> {
    if exchange.resume.is_some() {
        return resume::next_attempt(exchange, continuity);
    }
    let clocks = exchange.request.as_ref().map(|request| request.clocks).unwrap_or_default();
    let mut taken = repeat.map(|repeat| repeat.take(now));
    while let Some(next) = taken.take().or_else(|| exchange.plan.take_next(now)) {
        match encode::encode(&next.target, exchange, continuity) {
            Ok(encoded) => {
                let held = match admission::begin(exchange, &next.target, now) {
                    Ok(held) => held,
                    Err(why) => {
                        exchange.plan.leave_out(why);
                        continue;
                    }
                };
                exchange.forget_failure();
                return Ok(Attempt::new(next, encoded, clocks).holding(held));
            }
            Err(error) => {
                // Once somebody was asked, what others cannot say is no fault of the caller.
                if exchange.attempts.is_empty() {
                    exchange.error = Some(error);
                }
                exchange.plan.leave_target();
            }
        }
    }
    // After an attempt, it is how that one failed.
    if exchange.error.is_none()
        && let Some(request) = &exchange.request
    {
        let (error, headers) = all_rest(request, &exchange.plan, now);
        exchange.retry_after = headers;
        exchange.error = Some(error);
    }
    Err(Error::explain(ErrorType::InternalError, "no attempt is left"))
}

/// The error for a model all of whose targets rest, and when the first of them may be asked again.
pub fn all_rest(request: &Request, plan: &Plan, now: Instant) -> (ApiError, Vec<(&'static str, HeaderValue)>) {
    let seconds = plan.earliest(now).unwrap_or_default().as_secs_f64().ceil().max(1.0);
    let mut reasons: Vec<String> = plan.left_out().iter().filter_map(|left_out| left_out.words(now)).collect();
    reasons.dedup();
    let message = format!("no target of model `{}` can be asked now: {}", request.model.name, reasons.join("; "));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few minutes")]
    let header = ("retry-after", HeaderValue::from(seconds as u64));
    (ApiError::new(ErrorKind::AllResting, message), vec![header])
}

/// The error for a model none of whose targets speaks what the client speaks.
pub fn no_usable_target(request: &Request) -> ApiError {
    let Request { model, endpoint, .. } = request;
    let message = format!(
        "no provider of model `{}` offers {} in the dialect {}, and it cannot be translated",
        model.name, endpoint.operation, endpoint.dialect
    );
    ApiError::new(ErrorKind::NotSupported, message)
}

/// Hands over the attempt's body in place of the one that Pingora replays.
pub fn write_body(body: &mut Option<Bytes>, end: bool, exchange: &mut Exchange) {
    let Some(attempt) = exchange.attempts.last_mut() else { return };
    exchange.overhead += attempt.connection.hand_over();
    if end {
        *body = Some(attempt.encoded.body.clone());
        if !attempt.called {
            exchange.expect_output();
        }
    }
}
