//! What the end-to-end suites in `tests/tests` share: the real binary as a process ([`Gateway`], [`Mock`]), an upstream
//! that records every byte it gets and answers from a script ([`Stub`]), raw HTTP/1 and HTTP/2 clients that can send any
//! framing ([`client`]), clients of every dialect ([`speak`]), and loaders for the recorded traffic in `../shared/conformance` ([`recordings`]).
//!
//! Nothing here sleeps to synchronise: processes announce themselves with a printed line, scripts wait on a [`Gate`], and
//! every wait is cut by [`guard`], which turns a hang into a failed test.

pub mod bodies;
pub mod client;
mod collector;
mod dice;
mod disk;
pub mod load;
mod process;
pub mod prometheus;
pub mod recordings;
pub mod redis;
pub mod script;
pub mod signer;
pub mod speak;
mod stub;
pub mod talk;
pub mod tls;
pub mod unreachable;

pub use collector::{Collector, Protocol, attributes, text_of};
pub use dice::Dice;
pub use disk::SmallDisk;
pub use process::{Gateway, GatewayBuilder, Mock, Outcome, binary, lives, mock_provider, run_to_end, signal, usage};
pub use prometheus::Prometheus;
pub use redis::{Redis, Setup};
pub use stub::{Answer, Framing as StubFraming, Gate, Received, Step, Stub};
pub use tls::Authority;

use std::future::Future;
use std::time::Duration;

/// How long any single wait may take before the test is declared hung. Generous: the machine may be busy.
pub const HANG: Duration = Duration::from_secs(30);

/// Awaits `future`, panicking with `what` if it takes longer than [`HANG`].
pub async fn guard<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANG, future).await {
        Ok(value) => value,
        Err(_) => panic!("hung for {HANG:?}: {what}"),
    }
}

/// Asks again and again until there is a value, panicking with `what` if that takes longer than [`HANG`].
pub async fn guard_until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    guard(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Whether the tests of `what` can be made on this machine, where it is `found` or not. In CI it is an error if it is not;
/// elsewhere this says loudly that they are not made. `how`: the command that installs it.
pub fn is_installed(what: &str, found: bool, how: &str) -> bool {
    assert!(found || std::env::var_os("CI").is_none(), "CI has no {what}: run `{how}`");
    if !found {
        eprintln!("SKIPPED: this machine has no {what}; `{how}` installs it");
    }
    found
}
