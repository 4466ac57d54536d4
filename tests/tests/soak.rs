//! A long day, played fast: very many mixed requests, among them large prompts, failures and clients that leave, after which the
//! process must be no larger than before.
//!
//! Not a part of `make test`. `cargo test -p ai-gateway-tests --test soak -- --ignored --nocapture` prints the figures;
//! `SOAK_REQUESTS` (a million) says how many.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{H1, Request};
use ai_gateway_tests::{Gateway, Mock, bodies};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
/// One in so many has a prompt of [`LARGE`] bytes.
const LARGE_EVERY: usize = 2_000;
const LARGE: usize = 10 << 20;
/// Names of models that clients make up: more than any table of them takes.
const NAMES: usize = 2_500;
/// How long the process may take to give memory back.
const REST: Duration = Duration::from_secs(15);

/// Resident memory in MiB, and open files.
fn figures(pid: u32) -> (f64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: f64 = kib.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
    (kib / 1024.0, std::fs::read_dir(format!("/proc/{pid}/fd")).expect("files").count())
}

/// The n-th request; `true`: its client leaves before the end.
fn nth(n: usize, large: &Bytes) -> (Request, bool) {
    let chat = |body: Bytes| Request::post("/v1/chat/completions", body);
    if n.is_multiple_of(LARGE_EVERY) {
        return (chat(large.clone()), false);
    }
    match n % 16 {
        0..4 => (chat(bodies::chat("chat/echo")), false),
        4..7 => (chat(bodies::chat_stream("chat/lorem-20")), false),
        7 => (chat(bodies::chat_stream("chat/lorem-2000-every-5ms")), true),
        8 => (chat(bodies::chat_stream("claude/lorem-20")), false),
        9 => (Request::post("/v1/messages", bodies::message("chat/lorem-20", true)), false),
        10 => (Request::post("/v1/messages", bodies::message("claude/echo", false)), false),
        11 => (chat(bodies::chat_stream("m")), false),
        12 => (chat(bodies::chat("m")), false),
        13 => (chat(Bytes::from_static(b"{\"model\":")), false),
        14 => (chat(bodies::chat("nobody")), false),
        // A name of its own each time.
        _ => (chat(bodies::chat(&format!("chat/echo-{n}"))), false),
    }
}

async fn client(addr: SocketAddr, next: Arc<AtomicUsize>, end: usize, large: Bytes) -> [usize; 3] {
    let mut counts = [0; 3];
    let mut connection = H1::connect(addr).await;
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= end {
            return counts;
        }
        let (request, leaves) = nth(n, &large);
        if leaves {
            connection.send(&request).await;
            connection.respond().await.piece().await;
            connection = H1::connect(addr).await;
            counts[2] += 1;
            continue;
        }
        let reply = connection.try_exchange(&request).await;
        let closed = reply.as_ref().is_none_or(|reply| reply.header("connection") == "close");
        match reply {
            Some(reply) if reply.status == 200 => counts[0] += 1,
            Some(_) | None => counts[1] += 1,
        }
        if closed {
            connection = H1::connect(addr).await;
        }
    }
}

async fn load(addr: SocketAddr, from: usize, requests: usize, large: &Bytes) -> [usize; 3] {
    let next = Arc::new(AtomicUsize::new(from));
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(client(addr, next.clone(), from + requests, large.clone()))).collect();
    let mut total = [0; 3];
    for client in clients {
        for (sum, count) in total.iter_mut().zip(client.await.expect("a client")) {
            *sum += count;
        }
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: see above"]
async fn memory_is_flat() {
    let requests: usize = std::env::var("SOAK_REQUESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mock = Mock::start().await;
    let dir = tempfile::tempdir().expect("a folder");
    let config = format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"chat\", model = \"status-500\" }}, {{ provider = \"claude\", model = \"echo\", priority = 1 }}]\n\
         [ledger]\npath = \"{}\"\n[access_log]\nto = \"file:/dev/null\"\n\
         [telemetry]\notlp = {{ endpoint = \"http://127.0.0.1:9\" }}\ntraces = {{ content = true }}\nmetrics = {{ every = \"5s\" }}\n",
        mock.provider("chat", Dialect::OpenAiChat),
        mock.provider("claude", Dialect::Anthropic),
        dir.path().join("ledger.db").display(),
    );
    let mut gateway = Gateway::start(&config).await;
    let pid = gateway.pid();
    let large = bodies::chat_of_size("chat/lorem-20", LARGE);
    println!("at the start: {:.1} MiB, {} files", figures(pid).0, figures(pid).1);

    // What stays for good is there after a while: pools, label sets and names (which are bounded), threads' heaps.
    let mut client = H1::connect(gateway.addr).await;
    for n in 0..NAMES {
        let request = Request::post("/v1/chat/completions", bodies::chat(&format!("chat/warm-{n}")));
        assert_eq!(client.exchange(&request).await.status, 200);
    }
    let warm = (requests / 20).max(2 * LARGE_EVERY);
    load(gateway.addr, 0, warm, &large).await;
    println!("after {warm} requests: {:.1} MiB", figures(pid).0);
    tokio::time::sleep(REST).await;
    let before = figures(pid);
    println!("at rest: {:.1} MiB, {} files", before.0, before.1);

    let begun = Instant::now();
    let [good, bad, left] = load(gateway.addr, warm, requests, &large).await;
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{requests} requests in {took:.0} s ({:.0}/s): {good} good, {bad} refused, {left} left: {:.1} MiB",
        requests as f64 / took,
        figures(pid).0
    );
    tokio::time::sleep(REST).await;
    let after = figures(pid);
    println!("at rest: {:.1} MiB, {} files", after.0, after.1);
    gateway.assert_healthy().await;
    assert_eq!(gateway.counted("gateway_in_flight", "").await, 0);
    assert!(after.0 < before.0 * 1.2, "{:.1} MiB before, {:.1} MiB after", before.0, after.0);
    assert!(after.1 <= before.1 + 8, "{} files before, {} after", before.1, after.1);
}
