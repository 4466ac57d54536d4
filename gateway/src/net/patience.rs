//! How long a client's connection is waited for, and whether a request's header has come on it.

use std::cell::Cell;
use std::time::Duration;

/// Longest silence of a client in the middle of its request or between two, and longest wait for it to take a part of
/// its answer.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

tokio::task_local! {
    /// Whether the header of the request that this task serves is whole.
    pub static HEADER_CAME: Cell<bool>;
}

/// Tells that the header of the request is whole; of no effect where nobody waits for it.
pub fn header_came() {
    // Under another server, or on HTTP/2, there is nobody.
    let _ = HEADER_CAME.try_with(|came| came.set(true));
}
