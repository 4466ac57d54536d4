//! Calls against a server that answers with whatever bytes a test says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ai_gateway_providers::endpoint::match_endpoint;
use ai_gateway_providers::scan::scan_json;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method};
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Calls, mirror};
use crate::cache::{Cache, CacheMetrics};
use crate::clock::Time;
use crate::config::{Config, System};
use crate::credentials::Client;
use crate::net::call::{Ask, Call};
use crate::net::dns::Resolver;
use crate::proxy::request::Request;
use crate::proxy::{BufferBudget, Drains, Exchange, Gateway, Outcome};
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;

/// A server that gives `answer` to each request (its end: the end of its header's `content-length`), then keeps the
/// connection if `keep`. What it received, and that a connection was closed (an empty text), come out of the channel.
async fn server(answer: &'static str, keep: bool) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                let mut request = String::new();
                loop {
                    let read = io.read(&mut buffer).await.unwrap_or(0);
                    if read == 0 {
                        let _ = sender.send(String::new());
                        return;
                    }
                    request.push_str(&String::from_utf8_lossy(&buffer[..read]));
                    if is_whole(&request) {
                        let _ = sender.send(std::mem::take(&mut request));
                        io.write_all(answer.as_bytes()).await.unwrap();
                        if !keep {
                            return;
                        }
                    }
                }
            });
        }
    });
    (address, receiver)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn ask(address: SocketAddr) -> Ask {
    let mut header = RequestHeader::build(Method::POST, b"/v1/x", None).unwrap();
    header.insert_header("host", "upstream").unwrap();
    header.insert_header("content-length", "5").unwrap();
    let peer = HttpPeer::new(address, false, String::new());
    Ask { peer, header, body: Bytes::from_static(b"hello"), content_type: "text/plain" }
}

#[tokio::test]
async fn a_connection_serves_one_call_after_another() {
    let (address, mut received) = server("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine", true).await;
    let connector = Arc::new(Connector::new(None));
    for _ in 0..2 {
        let (header, mut call) = Call::open(&connector, ask(address)).await.unwrap();
        assert_eq!(header.status, 200);
        assert_eq!(call.next().await.unwrap().unwrap(), "fine");
        assert!(call.next().await.unwrap().is_none());
        assert!(call.next().await.unwrap().is_none());
        assert!(received.recv().await.unwrap().ends_with("hello"));
    }
    // Nobody has closed it.
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let (address, mut received) = server("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine", true).await;
    let connector = Arc::new(Connector::new(None));
    let (_, mut call) = Call::open(&connector, ask(address)).await.unwrap();
    assert_eq!(call.next().await.unwrap().unwrap(), "fine");
    assert!(received.recv().await.unwrap().ends_with("hello"));
    drop(call);
    assert_eq!(received.recv().await.unwrap(), "");
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_early_ends_told() {
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine";
    let (address, _received) = server(interim, false).await;
    let (header, mut call) = Call::open(&Arc::new(Connector::new(None)), ask(address)).await.unwrap();
    assert_eq!(header.status, 200);
    assert_eq!(call.next().await.unwrap().unwrap(), "fine");
    assert!(call.next().await.is_err(), "five bytes are missing");
}

#[tokio::test]
async fn no_answer_says_how_far_it_came() {
    let connector = Arc::new(Connector::new(None));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(!Call::open(&connector, ask(nobody)).await.err().unwrap().connected);
    let (silent, _received) = server("", false).await;
    assert!(Call::open(&connector, ask(silent)).await.err().unwrap().connected);
}

fn gateway(address: SocketAddr) -> Gateway {
    let text = format!(
        "[providers.shadow]\nkind = 'anthropic'\nbase_url = 'http://{address}'\napi_key = 'secret'\n\
         [models.m]\ntargets = [{{ provider = 'shadow', model = 'copy' }}]\ntimeouts = {{ total = '400ms' }}"
    );
    let loaded = Config::parse(&text, "test.toml", &System).unwrap();
    let telemetry = Arc::new(Telemetry::new());
    let (health, limits) = (telemetry.metrics.health.clone(), telemetry.metrics.limits.clone());
    let resolver = Resolver::new(telemetry.metrics.dns.clone());
    Gateway {
        ledger: None,
        time: Time::default(),
        current: Arc::new(ArcSwap::from_pointee(Snapshot::build(&loaded.config, None, &health, &limits).unwrap())),
        calls: Arc::new(Calls::new(8)),
        http: Arc::new(Client::new(resolver.clone())),
        resolver: Arc::new(resolver),
        drains: Drains::default(),
        buffered: BufferBudget::default(),
        telemetry,
        health,
        limits,
        cache: Arc::new(Cache::new(1 << 20, CacheMetrics::default(), Time::default())),
        continuity: Arc::default(),
        ending: Default::default(),
        patience: crate::proxy::CLIENT_PATIENCE,
    }
}

/// A chat request for `m`, whose one target is its mirror.
fn exchange(gateway: &Gateway, body: &Bytes) -> Exchange {
    let mut exchange = Exchange::new(gateway.current.load_full(), gateway.telemetry.metrics.in_flight());
    let endpoint = match_endpoint(&Method::POST, "/v1/chat/completions", &HeaderMap::new()).unwrap();
    let model = exchange.snapshot.model("m").unwrap();
    exchange.mirror = model.targets.first().cloned();
    let scan = scan_json(body).unwrap();
    exchange.request = Some(Request::new(endpoint, body.clone(), scan, model));
    exchange
}

async fn counted(gateway: &Gateway, outcome: &str) {
    let line = format!("gateway_mirrored_total{{provider=\"shadow\",outcome=\"{outcome}\"}} 1");
    for _ in 0..500 {
        if gateway.telemetry.metrics.encode().unwrap().contains(&line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {line}:\n{}", gateway.telemetry.metrics.encode().unwrap());
}

/// In its own dialect, with its own credential, whatever comes back; and nothing waits for it.
#[tokio::test]
async fn a_mirror_gets_the_request_in_its_own_words() {
    const WHOLE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"x","content":[],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
    let whole =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{WHOLE}", WHOLE.len());
    for (answer, keep, outcome) in [
        (&*whole.leak(), true, "ok"),
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", true, "status_5xx"),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", false, "cut"),
        ("", true, "total_timeout"),
    ] {
        let (address, mut received) = server(answer, keep).await;
        let gateway = gateway(address);
        let body = Bytes::from_static(br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#);
        let exchange = exchange(&gateway, &body);
        let mut client = RequestHeader::build(Method::POST, b"/v1/chat/completions", None).unwrap();
        client.insert_header("authorization", "Bearer client").unwrap();
        mirror(&gateway, &client, &exchange);
        drop(exchange);
        assert_eq!(gateway.telemetry.metrics.in_flight_count(), 0);
        let request = received.recv().await.unwrap();
        assert!(request.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("x-api-key: secret"), "{request}");
        assert!(!request.contains("Bearer client") && request.contains(r#""model":"copy""#), "{request}");
        counted(&gateway, outcome).await;
    }
}

#[tokio::test]
async fn too_many_mirrored_requests_are_dropped() {
    let (address, mut received) = server("", true).await;
    let gateway = gateway(address);
    let body = Bytes::from_static(br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#);
    let exchange = exchange(&gateway, &body);
    let client = RequestHeader::build(Method::POST, b"/v1/chat/completions", None).unwrap();
    for _ in 0..65 {
        mirror(&gateway, &client, &exchange);
    }
    counted(&gateway, "dropped").await;
    for _ in 0..64 {
        received.recv().await.unwrap();
    }
}

#[tokio::test]
async fn probes_tell_who_answers() {
    for (answer, result) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Ok(())),
        ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", Ok(())),
        ("HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n", Err(Outcome::Status(429))),
        ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", Err(Outcome::Status(503))),
        ("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", Err(Outcome::Credentials(401))),
        ("what is this\r\n\r\n", Err(Outcome::Garbage)),
    ] {
        let (address, mut received) = server(answer, true).await;
        let gateway = gateway(address);
        let snapshot = gateway.current.load_full();
        let provider = snapshot.provider("shadow").unwrap();
        let limit = Duration::from_secs(5);
        let probed = gateway.calls.probe(
            provider,
            &provider.credentials[0],
            "/v1/models",
            limit,
            &gateway.http,
            &gateway.resolver,
        );
        assert_eq!(probed.await, result, "{answer}");
        let request = received.recv().await.unwrap();
        assert!(request.starts_with("GET /v1/models HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("x-api-key: secret"), "{request}");
    }
}
