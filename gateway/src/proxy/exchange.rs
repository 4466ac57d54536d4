//! The exchange: one client request and its answer. Pingora hands it to every hook as `CTX`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ai_gateway_providers::answer::{Observer, Seen};
use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::{Dialect, Operation};
use http::HeaderValue;

use super::cached::Cached;
use super::calls::Hedge;
use super::plugins::Run;
use super::replay::Replay;
use super::trace::Trace;
use crate::config::Lossy;
use crate::keys::Refused;
use crate::proxy::account::Account;
use crate::proxy::answer::under_way::UpstreamAnswer;
use crate::proxy::attempt::Attempt;
use crate::proxy::attempt::resume::Resume;
use crate::proxy::attempt::step::Repeat;
use crate::proxy::request::Request;
use crate::routing::Plan;
use crate::routing::rules::Rule;
use crate::snapshot::{Key, Snapshot, Target};
use crate::telemetry::InFlight;

/// Everything known about one request so far.
pub struct Exchange {
    /// Sent back as `x-request-id`, and where the client's SDK looks for it, and logged.
    pub id: Box<str>,
    /// When the request's header had been read.
    pub started: Instant,
    /// The same, by the calendar.
    pub at: SystemTime,
    /// The configuration that this exchange lives by.
    pub snapshot: Arc<Snapshot>,
    /// The plugins that it goes through.
    pub plugins: Option<Arc<Run>>,
    /// Whether it ended among them, before it had a model: one of them answered or refused it, or nobody waited any more.
    pub ended_by_plugins: bool,
    /// Counts the exchange as in flight until it is dropped.
    _in_flight: InFlight,
    /// What its path asks for, until its request has been read, which then has it.
    pub path: Option<Endpoint>,
    /// In which dialect to say that the path is not understood.
    guessed_dialect: Dialect,
    /// Whose request it is; `None` also when no keys are configured.
    pub key: Option<Arc<Key>>,
    /// Why it was not let in, and its key, if it has one that may not be used now.
    pub not_let_in: Option<(Refused, Option<Arc<Key>>)>,
    /// The rule that decided its way.
    pub route: Option<Arc<Rule>>,
    /// Who gets a copy of it.
    pub mirror: Option<Arc<Target>>,
    /// The request as read, once it has been.
    pub request: Option<Request>,
    /// Targets not yet tried.
    pub plan: Plan,
    /// Attempts made, the current one last.
    pub attempts: Vec<Attempt>,
    /// A second call that is under way, of the plan's next target.
    pub hedge: Option<Hedge>,
    /// The installed replay session.
    pub replay: Option<Replay>,
    /// Its limits, and what it is booked with.
    pub account: Account,
    /// Whether it is remembered who keeps its answer.
    pub stored: bool,
    /// The current attempt's answer.
    pub upstream_answer: UpstreamAnswer,
    /// Whether what the upstream says goes to the client and can no longer be taken back.
    pub committed: bool,
    /// Its answer was written while its client was still sending.
    pub lingers: bool,
    /// The answer broke off, and is to look like that.
    pub abandoned: bool,
    /// The answer broke off, and its client was told so at the end of it.
    pub told_end: bool,
    /// Status sent to the client.
    pub status: u16,
    /// What it has to do with the cache; `None`: there is none for it.
    pub cached: Option<Box<Cached>>,
    /// The attempt that follows, if it is the same target once more.
    pub repeat: Option<Repeat>,
    /// Going on with an answer that broke off after commit.
    pub resume: Option<Box<Resume>>,
    /// What the client is told about coming back (`retry-after`, `retry-after-ms`).
    pub retry_after: Vec<(&'static str, HeaderValue)>,
    /// What went wrong, if the answer is not the upstream's own.
    pub error: Option<ApiError>,
    /// The client went away before the end.
    pub client_left: bool,
    /// Time spent in the gateway itself.
    pub overhead: Duration,
    /// Its place in a trace, if traces are made.
    pub trace: Option<Box<Trace>>,
}

impl Exchange {
    /// Begins an exchange under `snapshot`.
    pub fn new(snapshot: Arc<Snapshot>, in_flight: InFlight) -> Self {
        let started = Instant::now();
        Self {
            id: new_id(),
            started,
            at: snapshot.time.now(),
            snapshot,
            plugins: None,
            ended_by_plugins: false,
            _in_flight: in_flight,
            path: None,
            guessed_dialect: Dialect::OpenAiChat,
            key: None,
            not_let_in: None,
            route: None,
            mirror: None,
            request: None,
            plan: Plan::default(),
            attempts: Vec::new(),
            hedge: None,
            replay: None,
            account: Account::default(),
            stored: false,
            upstream_answer: UpstreamAnswer::new(started),
            committed: false,
            lingers: false,
            abandoned: false,
            told_end: false,
            status: 0,
            cached: None,
            repeat: None,
            resume: None,
            retry_after: Vec::new(),
            error: None,
            client_left: false,
            overhead: Duration::ZERO,
            trace: None,
        }
    }

    /// The dialect in which the client is answered; a guess where the path is not understood.
    pub fn dialect(&self) -> Dialect {
        self.endpoint().map_or(self.guessed_dialect, |endpoint| endpoint.dialect)
    }

    /// The path is not understood: this is told in `dialect`.
    pub fn guess_dialect(&mut self, dialect: Dialect) {
        self.guessed_dialect = dialect;
    }

    /// What is asked, once the path has been understood.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.request.as_ref().map(|request| &request.endpoint).or(self.path.as_ref())
    }

    /// The operation that is asked for, once the path has been understood.
    pub fn operation(&self) -> Option<Operation> {
        self.endpoint().map(|endpoint| endpoint.operation)
    }

    /// Gives it its request, made of what its path asks for.
    pub fn set_request(&mut self, request: impl FnOnce(Endpoint) -> Request) {
        self.request = self.path.take().map(request);
    }

    /// The request as read.
    ///
    /// # Errors
    /// It has not been.
    pub fn asked(&self) -> Result<&Request, ApiError> {
        self.request.as_ref().ok_or_else(|| ApiError::new(ErrorKind::Internal, "there is no request"))
    }

    /// Whether the client asked for a stream.
    pub fn wants_stream(&self) -> bool {
        self.request.as_ref().is_some_and(Request::wants_stream) || self.path.as_ref().is_some_and(|path| path.stream)
    }

    /// Whether the client asked for a stream of events, in which it can be told what goes wrong.
    pub fn wants_events(&self) -> bool {
        self.wants_stream() && self.request.as_ref().is_none_or(|request| !request.json_array)
    }

    /// Whether a stream's usage object is to tell the cost.
    pub fn wants_cost(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.wants_cost)
    }

    /// How long the client waited for the first output, if it asked for a stream.
    pub fn first_token(&self) -> Option<Duration> {
        let first_output = self.upstream_answer.first_output.filter(|_| self.wants_stream())?;
        Some(first_output.saturating_duration_since(self.started))
    }

    /// The current attempt's provider has the request, or is about to: of a stream the first output is waited for from now on.
    pub fn expect_output(&self) {
        if let (Some(replay), Some(attempt)) = (&self.replay, self.attempt())
            && self.wants_stream()
        {
            replay.expect_output(attempt.clocks.first_token);
        }
    }

    /// Whether the client named `provider/model` and not a configured model.
    pub fn is_direct(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.model.direct)
    }

    /// The model that the client named to fall back on for which `target` answers; `None`: it answers for the one that was asked for.
    pub fn fallback_at(&self, target: &Target) -> Option<&str> {
        let model = &self.request.as_ref()?.model;
        let name = model.answered_for(target);
        (*name != model.name).then_some(name)
    }

    /// The attempt under way or the last one made.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The same, to note what becomes of it.
    pub fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut()
    }

    /// What looks at the provider's answer; `None`: none has begun that may reach the client. While another attempt is to go on with
    /// an answer that broke off, it is still that answer's.
    pub fn observer(&self) -> Option<&Observer> {
        self.upstream_answer.observer.as_ref()
    }

    /// What [`Self::observer`] has seen so far.
    pub fn seen(&self) -> Option<&Seen> {
        self.observer().map(Observer::seen)
    }

    /// Whether the provider goes on making its answer, and tells later what that has used.
    pub fn is_unfinished(&self) -> bool {
        self.operation() == Some(Operation::Chat) && self.seen().is_some_and(|seen| seen.unfinished)
    }

    /// Whether what an API cannot say is to be told.
    pub fn reports_losses(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.model.lossy != Lossy::Drop)
    }
}

/// 128 random bits in hexadecimal: unique, and tells nothing.
fn new_id() -> Box<str> {
    format!("{:032x}", fastrand::u128(..)).into()
}
