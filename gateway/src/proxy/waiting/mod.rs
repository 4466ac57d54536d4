//! Waiting for what takes its time, for as long as its client is there and the process stays.
//!
//! | file | subject |
//! |---|---|
//! | `ending` | the end of all that is in flight, when the process leaves |
//! | `aside` | work that takes milliseconds, beside the threads that serve |

pub mod aside;
pub mod ending;

use futures::FutureExt;
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorSource, Result};
use pingora_proxy::Session;

use super::Exchange;
use super::failure::shutting_down;
use super::reply::Stopped;
use ending::Ending;

/// Why something is waited for no longer.
#[derive(Debug)]
pub enum GivenUp {
    /// The client has left; how that was seen.
    ClientLeft(Box<Error>),
    /// The process leaves.
    Ending,
}

impl From<Box<Error>> for GivenUp {
    fn from(error: Box<Error>) -> Self {
        Self::ClientLeft(error)
    }
}

impl GivenUp {
    /// What becomes of a request that has nothing of an answer yet. If its client has left, the exchange knows that then.
    pub fn told(self, exchange: &mut Exchange) -> Stopped {
        match self {
            Self::Ending => shutting_down().into(),
            Self::ClientLeft(mut error) => {
                exchange.client_left = true;
                exchange.forget_failure();
                error.esource = ErrorSource::Downstream;
                error.set_retry(false);
                error.into()
            }
        }
    }
}

/// What `work` comes to. It is dropped, and so cancelled, when its client leaves or the process does.
///
/// # Errors
/// One of the two.
pub async fn wait_for<T>(
    client: &mut ServerSession,
    ending: &Ending,
    work: impl Future<Output = T>,
) -> Result<T, GivenUp> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = ending.reached() => Err(GivenUp::Ending),
        // Takes memory only where there is a wait.
        error = async { Box::pin(leaves(client)).await } => Err(GivenUp::ClientLeft(error)),
    }
}

/// Looks whether the client is there, without waiting for anything.
///
/// # Errors
/// It has left, or, once the attempt has a session of its own, a clock of that has run out.
pub fn still_there(session: &mut Session) -> Result<()> {
    match leaves(&mut session.downstream_session).now_or_never() {
        Some(error) => Err(error.into_down()),
        None => Ok(()),
    }
}

/// Resolves when the client leaves.
pub async fn leaves(client: &mut ServerSession) -> Box<Error> {
    // A body that nobody reads is not the beginning of the next request.
    let mut read = false;
    loop {
        match client.read_body_or_idle(read).await {
            Ok(chunk) => read |= chunk.is_none(),
            Err(error) => return error,
        }
    }
}
