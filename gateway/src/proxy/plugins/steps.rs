//! The smaller steps: the plan, the header of an attempt, and the end.

use std::sync::Arc;

use ai_gateway_plugins::{Candidate, Context, End, Finish, Plan, Plugin, Tag, Upstream, Verdict};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::price::Dollars;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use super::call::{rejected, said};
use super::{Run, differing};
use crate::config::CREDENTIALS;
use crate::proxy::attempt::Attempt;
use crate::proxy::reply::Refusal;
use crate::proxy::{Exchange, Gateway};
use crate::telemetry::{Finish as Finished, Hook, Said};

/// Headers of a request to a provider that are the gateway's alone, beside credentials.
const OURS: [http::HeaderName; 5] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, ACCEPT_ENCODING];

/// Lets plugins reorder and narrow the plan.
///
/// # Errors
/// One rejects the request, or none of the targets is left.
pub fn on_plan(exchange: &mut Exchange) -> std::result::Result<(), Refusal> {
    let Some(run) = exchange.plugins.clone() else { return Ok(()) };
    if !run.active.iter().any(|active| active.entry.needs.plan) || exchange.plan.is_empty() {
        return Ok(());
    }
    let model = exchange.request.as_ref().map(|request| request.model.name.clone()).unwrap_or_default();
    let candidates = exchange.plan.candidates().iter().enumerate();
    let candidates = candidates.map(|(number, candidate)| {
        let target = &candidate.target;
        Candidate::new(number, target.provider.name.clone(), target.model.clone(), target.priority, target.weight)
    });
    let mut plan = Plan::new(model, candidates.collect());
    for active in run.those(|needs| needs.plan) {
        let mut view = plan.clone();
        let called = active.call_sync(Hook::Plan, |plugin, cx| plugin.on_plan(&mut view, cx), said);
        match called? {
            None => {}
            Some(Verdict::Pass) => plan = view,
            Some(Verdict::Reject(rejection)) => return Err(rejected(rejection).into()),
            Some(Verdict::Answer(_)) => {
                active.failed(Hook::Plan, &"it answered a plan".into(), std::time::Duration::ZERO)?;
            }
        }
    }
    let order: Vec<usize> = plan.candidates.iter().map(Candidate::number).collect();
    exchange.plan.arrange(&order);
    if exchange.plan.is_empty() {
        let message = format!("the plugins of this gateway leave no target of model `{}`", plan.model);
        return Err(ApiError::new(ErrorKind::Forbidden, message).into());
    }
    Ok(())
}

/// Lets the plugins of `run` change the headers of an attempt, the one of this `number`, before its credentials are added.
///
/// # Errors
/// One failed, and nothing passes without it: `run` has been told.
pub fn on_upstream(run: Option<&Run>, number: usize, attempt: &Attempt, header: &mut RequestHeader) -> Result<()> {
    let Some(run) = run else { return Ok(()) };
    for active in run.those(|needs| needs.upstream) {
        let (provider, model) = (attempt.target.provider.name.clone(), attempt.target.model.clone());
        let mut view = Upstream::new(provider, model, header.headers.clone());
        view.attempt = number.max(1);
        let called = active.call_sync(Hook::Upstream, |plugin, cx| plugin.on_upstream(&mut view, cx), |()| Said::Pass);
        match called {
            Ok(None) => {}
            Ok(Some(())) => rewrite(header, &view)?,
            Err(error) => {
                run.tell(error, None);
                return Error::e_explain(ErrorType::InternalError, "a plugin failed");
            }
        }
    }
    Ok(())
}

fn rewrite(header: &mut RequestHeader, view: &Upstream) -> Result<()> {
    let ours = |name: &http::HeaderName| OURS.contains(name) || CREDENTIALS.contains(&name.as_str());
    for name in differing(&header.headers, &view.headers, ours) {
        header.remove_header(&name);
        for value in view.headers.get_all(&name) {
            header.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

/// Notes in the exchange what plugins have told its client in the place of its answer.
pub fn conclude(exchange: &mut Exchange) {
    label(exchange);
    let Some(run) = &exchange.plugins else { return };
    let mut told = run.told.lock();
    if let Some(told) = &mut *told {
        exchange.error = Some(told.error.clone());
        if let Some(status) = told.status {
            exchange.status = status;
        }
    }
}

/// Puts what plugins noted so far among the labels of the exchange, which the ledger keeps.
pub fn label(exchange: &mut Exchange) {
    let Some(run) = &exchange.plugins else { return };
    let tags = run.tags();
    if !tags.is_empty() {
        exchange.account.labels.get_or_insert_default().note(&tags);
    }
}

/// Whether a plugin ended the stream, properly.
pub fn refused_in_stream(exchange: &Exchange) -> bool {
    exchange.plugins.as_ref().is_some_and(|run| {
        let told = run.told.lock();
        told.as_ref().is_some_and(|told| told.status.is_none())
    })
}

/// Digests of the plugins that change where a request goes or with what headers: it is another one for the cache.
pub fn steering(exchange: &Exchange) -> Vec<[u8; 32]> {
    let steers = |run: &Arc<Run>| {
        let those = run.those(|needs| needs.plan || needs.upstream);
        those.map(|active| active.entry.config.digest).collect()
    };
    exchange.plugins.as_ref().map(steers).unwrap_or_default()
}

/// Whether plugins judge the answer when it is whole, so that nothing is settled before.
pub fn wants_whole_answers(exchange: &Exchange) -> bool {
    exchange.plugins.as_ref().is_some_and(|run| {
        run.those(|needs| needs.answer || needs.text.is_some() || needs.window.is_some()).next().is_some()
    })
}

/// Tells the plugins that the exchange is over, and gives back what they noted.
pub fn on_end(gateway: &Gateway, exchange: &Exchange, finish: Finished) -> Vec<Tag> {
    let Some(run) = &exchange.plugins else { return Vec::new() };
    if run.those(|needs| needs.end).next().is_some() {
        let end = end(exchange, finish);
        for active in run.those(|needs| needs.end) {
            // It cannot fail: there is nothing left to be refused.
            let tell = |plugin: &dyn Plugin, cx: &Context| {
                plugin.on_end(&end, cx);
                Ok(())
            };
            let _ = active.call_sync(Hook::End, tell, |()| Said::Pass);
        }
    }
    let tags = run.tags();
    for Tag { plugin, name, value } in &tags {
        gateway.telemetry.metrics.plugins.tagged(plugin, name, value);
    }
    tags
}

fn end(exchange: &Exchange, finish: Finished) -> End {
    let attempt = exchange.attempt();
    let usage = match attempt.and_then(|attempt| attempt.consumed.as_ref()) {
        Some(consumed) => consumed.usage,
        None => exchange.seen().and_then(|seen| seen.usage),
    };
    let finish = match finish {
        Finished::Complete => Finish::Complete,
        Finished::Cut => Finish::Cut,
        Finished::Error => Finish::Error,
        Finished::ClientLeft => Finish::ClientLeft,
    };
    let mut end = End::new(exchange.status, finish);
    end.error = exchange.error.as_ref().map(|error| error.kind.as_str());
    end.usage = usage;
    end.cost = exchange.cost().map(|cost| Dollars(cost).to_string());
    end.provider = attempt.map(|attempt| attempt.target.provider.name.clone());
    end.model = attempt.map(|attempt| attempt.target.model.clone());
    end.attempts = exchange.attempts.len();
    end.duration = exchange.started.elapsed();
    end.first_token = exchange.first_token();
    end
}
