//! Reading an explanation off an exchange that has its plan.

use std::sync::Arc;
use std::time::Instant;

use ai_gateway_providers::Operation;
use ai_gateway_providers::endpoint::BodyKind;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::price::Dollars;
use bytes::Bytes;
use pingora_http::RequestHeader;

use super::said::{
    AnsweredBy, Candidate, Explanation, LeftOut, Limit, Model, PluginStep, Refused, Retry, RuleStep, Tokens, millis,
};
use crate::config::RetryOn;
use crate::continuity::Continuity;
use crate::health::{Availability, State};
use crate::proxy::account::admission;
use crate::proxy::attempt::encode::{Encoded, encode};
use crate::proxy::exchange::Exchange;
use crate::proxy::plan::route::{facts, named};
use crate::proxy::plan::{Next, scan};
use crate::proxy::reply::Refusal;
use crate::proxy::request::Request;
use crate::routing::{self, Asked, Behind, Why};
use crate::snapshot::Target;

/// Whether the gateway answers by itself, and needs no plan.
pub fn is_ours(exchange: &Exchange) -> bool {
    exchange.operation() == Some(Operation::Models)
}

/// What the client says, also where the request is refused before it is understood, and which plugins see it.
#[derive(Default)]
pub struct Named {
    model: Option<String>,
    stream: bool,
    plugins: Vec<PluginStep>,
}

impl Named {
    /// Reads path and body.
    pub fn of(header: &RequestHeader, body: &Bytes, exchange: &Exchange) -> Self {
        let Some(endpoint) = exchange.endpoint() else { return Self::default() };
        let scan = scan(&header.headers, endpoint, body).unwrap_or_default();
        let model = named(endpoint, &scan);
        let json = if endpoint.body == BodyKind::Json { &body[..] } else { b"" };
        let name = model.map(|name| exchange.snapshot.name(name));
        let facts = facts(header, exchange, endpoint, name.as_ref(), &scan, json);
        let told = exchange.snapshot.plugins.told(&facts).into_iter();
        let step = |(name, failed): (Arc<str>, Option<String>)| PluginStep {
            plugin: name.to_string(),
            runs: failed.is_none(),
            failed,
        };
        let plugins = told.map(step).collect();
        Self { model: model.map(str::to_owned), stream: endpoint.stream || scan.stream, plugins }
    }
}

/// The limits that the request, which is known, comes to.
pub fn limits(exchange: &Exchange) -> Vec<Limit> {
    let now = exchange.snapshot.limits.now();
    admission::preview(exchange).iter().map(|met| Limit::new(met, now)).collect()
}

/// The explanation of an exchange after `planned`; `asked` is what its strategy was told of the request.
pub fn explanation(
    exchange: &Exchange,
    continuity: &Continuity,
    asked: Option<&Asked>,
    planned: Result<Next, Refusal>,
    named: Named,
    rules: Vec<RuleStep>,
) -> Explanation {
    let planned = planned.map_err(|refusal| refusal.error().clone());
    let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
    let mut last_error = None;
    if let (Some(request), Some(asked)) = (&exchange.request, asked) {
        let planned = exchange.plan.candidates();
        for (position, candidate) in planned.iter().enumerate() {
            let encoded = encode(&candidate.target, exchange, continuity);
            let behind = Behind::the_one_before(planned, position, &request.model, asked);
            let spare = position >= exchange.plan.targets_left();
            if let (Err(error), false) = (&encoded, spare) {
                last_error = Some(error.clone());
            }
            candidates.push(Candidate { spare, behind, ..said(&candidate.target, request, asked, encoded) });
        }
        left_out.extend(exchange.plan.left_out().iter().map(|left_out| said_of_left_out(left_out, asked.now)));
    }
    let first = candidates.iter().find(|candidate| candidate.cannot.is_none() && !candidate.spare);
    let target =
        first.filter(|_| planned.is_ok()).map(|candidate| format!("{}/{}", candidate.provider, candidate.model));
    let (answered_by, refused) = match planned {
        Ok(Next::Count) => (AnsweredBy::Gateway, None),
        Ok(Next::Ask) if target.is_some() => (AnsweredBy::Target, None),
        Ok(Next::Ask) => {
            let nobody = || ApiError::new(ErrorKind::Internal, "there is no target");
            (AnsweredBy::Nobody, Some(last_error.unwrap_or_else(nobody)))
        }
        Err(error) => (AnsweredBy::Nobody, Some(error)),
    };
    let dialect = exchange.dialect();
    let mirror = exchange.mirror.as_ref().filter(|_| refused.is_none());
    Explanation {
        key: exchange.key.as_ref().map(|key| key.name.to_string()),
        dialect: dialect.as_str(),
        operation: exchange.operation().map_or("unknown", Operation::as_str),
        stream: named.stream,
        asked_model: named.model,
        answered_by,
        target,
        refused: refused.map(|error| Refused {
            status: error.client_status(dialect),
            error: error.kind.as_str(),
            message: error.message,
        }),
        plugins: named.plugins,
        rules,
        rule: exchange.route.as_ref().map(|rule| rule.name.to_string()),
        mirror: mirror.map(|target| name(target)),
        model: exchange.request.as_ref().map(model),
        candidates,
        left_out,
        expected: asked.map(|asked| Tokens { prompt_tokens: asked.prompt_tokens, output_tokens: asked.output_tokens }),
        cache: None,
        limits: None,
    }
}

fn name(target: &Target) -> String {
    format!("{}/{}", target.provider.name, target.model)
}

fn model(request: &Request) -> Model {
    let (model, retry) = (&request.model, &request.model.retry);
    Model {
        name: model.name.to_string(),
        strategy: model.strategy.strategy.as_str(),
        retry: Retry {
            attempts: retry.attempts,
            on: retry.on.iter().copied().map(RetryOn::as_str).collect(),
            same_target: retry.same_target,
            max_wait_ms: millis(retry.max_wait),
        },
    }
}

/// Everything that a target has by itself, whatever the order.
fn said(target: &Target, request: &Request, asked: &Asked, encoded: Result<Encoded, ApiError>) -> Candidate {
    let ready = target.states.iter().any(|state| state.check(asked.now) == Availability::Ready);
    let latency = target.states.iter().filter_map(|state| state.latency(asked.now)).min();
    let (encoded, cannot) = match encoded {
        Ok(encoded) => (Some(encoded), None),
        Err(error) => (None, Some(error.message)),
    };
    let dropped = encoded.iter().flat_map(|encoded| encoded.losses.iter().map(|loss| loss.field.clone()));
    Candidate {
        provider: target.provider.name.to_string(),
        model: target.model.to_string(),
        priority: target.priority,
        weight: target.weight,
        credentials: target.states.len(),
        state: if ready { State::Ready } else { State::HalfOpen },
        latency_ms: latency.map(|latency| latency.as_secs_f64() * 1e3),
        in_flight: target.states.iter().map(|state| state.in_flight()).sum(),
        expected_usd: target.expected_cost(asked).map(|cost| Dollars(cost).to_string()),
        context_window: target.known.context_window,
        dialect: encoded.as_ref().map(|encoded| encoded.route.dialect.as_str()),
        translated: encoded.as_ref().is_some_and(|encoded| encoded.answer.translates()),
        dropped: dropped.collect(),
        cannot,
        spare: false,
        clocks: request.clocks.over(target.timeouts).into(),
        behind: None,
    }
}

fn said_of_left_out(left_out: &routing::LeftOut, now: Instant) -> LeftOut {
    let (by, detail, until) = match &left_out.why {
        Why::Unusable => ("unusable", "it cannot answer such a request".to_owned(), None),
        Why::Resting(at, reason) => ("resting", reason.to_string(), Some(*at)),
        Why::Drained => ("drained", "an operator took it out".to_owned(), None),
        Why::Probed => ("probed", "another request is finding out whether it is well again".to_owned(), None),
        Why::Limited(at) => ("limited", "its own `rpm`, `tpm` or `limits` have no room".to_owned(), Some(*at)),
        Why::Enough => ("enough", "`retry.attempts` of its model end before the client's fallbacks".to_owned(), None),
    };
    LeftOut {
        provider: left_out.target.provider.name.to_string(),
        model: left_out.target.model.to_string(),
        by,
        detail,
        retry_in_ms: until.map(|at| millis(at.saturating_duration_since(now))),
    }
}
