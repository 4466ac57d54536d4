//! Clients that keep asking, over connections that they keep, and count every failure: what an operator does meanwhile must
//! cause none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::{Framing, H1, H2, Reply, Request};

/// What has happened so far.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    stop: AtomicBool,
    failures: std::sync::Mutex<Vec<String>>,
}

/// Clients at work.
pub struct Load {
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `h1` and `h2` clients that send `request` again and again, with `pause` between.
    pub fn start(addr: SocketAddr, request: &Request, h1: usize, h2: usize, pause: Duration) -> Self {
        let counts = Arc::new(Counts::default());
        let mut clients = Vec::new();
        for _ in 0..h1 {
            clients.push(tokio::spawn(over_h1(addr, request.clone(), pause, counts.clone())));
        }
        for _ in 0..h2 {
            let request = request.clone().framing(Framing::H2(1 << 14));
            clients.push(tokio::spawn(over_h2(addr, request, pause, counts.clone())));
        }
        Self { counts, clients }
    }

    /// Requests that were answered well.
    pub fn done(&self) -> u64 {
        self.counts.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more were answered well.
    pub async fn go_on(&self, more: u64) {
        let wanted = self.done() + more;
        crate::guard("the load goes on", async {
            while self.done() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Ends it: how many were answered well, and what went wrong.
    pub async fn end(self) -> (u64, Vec<String>) {
        self.counts.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client of the load");
        }
        let failures = std::mem::take(&mut *self.counts.failures.lock().unwrap());
        (self.counts.done.load(Ordering::Relaxed), failures)
    }
}

impl Counts {
    fn judge(&self, how: &str, reply: Option<&Reply>) {
        match reply {
            Some(reply) if reply.status == 200 && reply.complete => {
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            Some(reply) => {
                self.failed(format!("{how}: {} {} (complete: {})", reply.status, reply.text(), reply.complete))
            }
            None => self.failed(format!("{how}: the connection ended without an answer")),
        }
    }

    fn failed(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

async fn over_h1(addr: SocketAddr, request: Request, pause: Duration, counts: Arc<Counts>) {
    while !counts.stopped() {
        // Refused: it panics, and the test with it.
        let mut connection = H1::connect(addr).await;
        while !counts.stopped() {
            let reply = connection.try_exchange(&request).await;
            counts.judge("h1", reply.as_ref());
            tokio::time::sleep(pause).await;
            // An answer that says `close` is polite; one that does not, and is followed by an end, is a failure.
            if reply.is_none_or(|reply| reply.header("connection").eq_ignore_ascii_case("close")) {
                break;
            }
        }
    }
}

async fn over_h2(addr: SocketAddr, request: Request, pause: Duration, counts: Arc<Counts>) {
    while !counts.stopped() {
        let mut connection = H2::connect(addr).await;
        while !counts.stopped() {
            // No more streams on this connection (GOAWAY): nothing was asked, and nothing is lost.
            let Some(reply) = connection.try_exchange(&request).await else { break };
            counts.judge("h2", Some(&reply));
            tokio::time::sleep(pause).await;
        }
    }
}
