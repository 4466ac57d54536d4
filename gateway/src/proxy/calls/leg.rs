//! A call in a race: it runs until something can be said of its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ai_gateway_providers::answer::{Observer, Seen};
use ai_gateway_providers::{Dialect, Operation};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::ErrorType;

use super::handover::{self, Begun, Rest};
use crate::net::call::{Ask, Call, NoAnswer};
use crate::proxy::Outcome;
use crate::proxy::answer::retry_after::retry_after;
use crate::proxy::answer::{MOST_HELD, form_of, is_web_page, verdict};

/// A call, and what is known of its answer.
pub struct Leg {
    address: SocketAddr,
    /// A mutex because exchanges must be `Sync`; it is never locked.
    run: Mutex<BoxFuture<'static, Ripe>>,
    ripe: Option<Ripe>,
    /// What had been seen of its answer when its usage was last reported.
    told: Arc<Mutex<Seen>>,
}

/// A call of which something can be said.
struct Ripe {
    answer: Result<Begun, NoAnswer>,
    verdict: Result<(), Outcome>,
}

impl Leg {
    /// A call to `address`, which runs while it [ripens](Self::ripen). `blocked_fails`: an answer that a filter keeps back is a failure.
    pub fn new(
        connector: Arc<Connector>,
        address: SocketAddr,
        ask: Ask,
        dialect: Dialect,
        operation: Operation,
        blocked_fails: bool,
    ) -> Self {
        let told = Arc::default();
        let run = run(connector, ask, dialect, operation, blocked_fails, Arc::clone(&told)).boxed();
        Self { address, run: Mutex::new(run), ripe: None, told }
    }

    /// Runs the call until its answer shows output or failed. May be dropped and called again.
    ///
    /// # Errors
    /// How it failed.
    pub async fn ripen(&mut self) -> Result<(), Outcome> {
        if let Some(ripe) = &self.ripe {
            return ripe.verdict;
        }
        let ripe = self.run.get_mut().await;
        self.ripe.insert(ripe).verdict
    }

    /// How it failed, if it did.
    pub fn failed(&self) -> Option<Outcome> {
        self.ripe.as_ref().and_then(|ripe| ripe.verdict.err())
    }

    /// How long its provider asked to stay away, if it refused.
    pub fn retry_after(&self) -> Option<Duration> {
        let Ok(Begun { header, .. }) = &self.ripe.as_ref()?.answer else { return None };
        if header.status.as_u16() >= 400 { retry_after(&header.headers) } else { None }
    }

    /// What had been seen of its answer when its provider last reported what it consumed.
    pub fn told(&self) -> Seen {
        self.told.lock().clone()
    }

    /// A peer for Pingora, on which it goes on; `None` if it is not ripe.
    pub fn hand_over(self) -> Option<Box<HttpPeer>> {
        self.ripe.map(|ripe| Box::new(handover::peer(self.address, ripe.answer)))
    }
}

async fn run(
    connector: Arc<Connector>,
    ask: Ask,
    dialect: Dialect,
    operation: Operation,
    blocked_fails: bool,
    told: Arc<Mutex<Seen>>,
) -> Ripe {
    let (header, mut call) = match Call::open(&connector, ask).await {
        Ok((header, call)) => (header, Box::new(call)),
        Err(failed) => return Ripe { verdict: Err(outcome_of(&failed)), answer: Err(failed) },
    };
    let refused = verdict(header.status.as_u16()).or(is_web_page(&header).then_some(Outcome::Garbage));
    if let Some(outcome) = refused {
        return Ripe { answer: Ok(Begun { header, held: Vec::new(), rest: Rest::Open(call) }), verdict: Err(outcome) };
    }
    let mut observer = Observer::new(dialect, operation, form_of(&header, dialect), false);
    let (mut held, mut size) = (Vec::new(), 0);
    let (rest, verdict) = loop {
        let over = match call.next().await {
            Ok(Some(chunk)) => {
                size += chunk.len();
                held.push(chunk.clone());
                observer.feed(chunk, false);
                false
            }
            Ok(None) => {
                observer.feed(Bytes::new(), true);
                true
            }
            Err(_) => break (Rest::Broken, Err(Outcome::Cut)),
        };
        let seen = observer.seen();
        {
            let mut told = told.lock();
            if told.usage != seen.usage {
                *told = seen.clone();
            }
        }
        let verdict = match &seen.error {
            _ if seen.first_output => Ok(()),
            Some(error) => Err(Outcome::StreamError(error.kind)),
            None if seen.cut => Err(Outcome::Cut),
            None if over && seen.is_blocked() && blocked_fails => Err(Outcome::Blocked),
            None if over || size > MOST_HELD => Ok(()),
            None => continue,
        };
        break (if over { Rest::Over } else { Rest::Open(call) }, verdict);
    };
    Ripe { answer: Ok(Begun { header, held, rest }), verdict }
}

/// How an attempt ended that got no answer.
pub fn outcome_of(failed: &NoAnswer) -> Outcome {
    match failed.error.etype() {
        ErrorType::InvalidHTTPHeader | ErrorType::InvalidH2 => Outcome::Garbage,
        _ if failed.connected => Outcome::Connect,
        _ => Outcome::of_connect_error(&failed.error),
    }
}
