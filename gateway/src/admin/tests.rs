use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Admin, Readiness};
use crate::config::{Config, System};
use crate::credentials::Client;
use crate::keys::{KeySets, Maker, RuntimeKeys, hash_line};
use crate::net::dns::Resolver;
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;

/// Sends a request over a connection and gives the answer's head and body.
async fn ask(readiness: &Arc<Readiness>, method: &str, target: &str) -> (String, String) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let accept = if target == "/metrics" {
        "accept: application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1\r\n"
    } else {
        ""
    };
    let request = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{accept}\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let admin = Arc::new(Admin::new(Arc::new(Metrics::new()), readiness.clone()));
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    admin.process_new_http(ServerSession::new_http1(Box::new(server)), &shutdown).await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn readiness_follows_the_life_of_the_process() {
    let readiness = Arc::new(Readiness::default());
    let ready = async || {
        let (head, body) = ask(&readiness, "GET", "/health/ready").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let why = body["reasons"].as_array().unwrap().len();
        (head.split(' ').nth(1).unwrap().to_owned(), body["status"].as_str().unwrap().to_owned(), why)
    };
    assert_eq!(ready().await, ("503".to_owned(), "starting".to_owned(), 1));
    readiness.set_ready();
    assert_eq!(ready().await, ("200".to_owned(), "ready".to_owned(), 0));
    readiness.set_draining();
    readiness.set_ready();
    assert_eq!(ready().await, ("503".to_owned(), "draining".to_owned(), 1));

    let (head, _) = ask(&readiness, "GET", "/health/live").await;
    assert!(head.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn paths_and_methods() {
    let readiness = Arc::new(Readiness::default());
    readiness.set_ready();
    for (method, target, status) in [
        ("GET", "/health/live", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz?verbose", 200),
        ("GET", "/metrics", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/health/ready", 405),
        ("GET", "/", 404),
        ("POST", "/api/keys", 404),
        ("GET", "/metrics/", 404),
    ] {
        let (head, body) = ask(&readiness, method, target).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{method} {target}: {head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert_eq!(head.contains("allow: get, head"), status == 405, "{head}");
        if target != "/metrics" || status != 200 {
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(json["error"]["status"].as_u64(), (status != 200).then_some(status));
        }
    }
}

#[tokio::test]
async fn metrics_are_open_metrics_and_head_has_no_body() {
    let readiness = Arc::new(Readiness::default());
    let (head, body) = ask(&readiness, "GET", "/metrics").await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(body.contains("\ngateway_in_flight 0\n") && body.ends_with("# EOF\n"));

    let (head, plain) = ask(&readiness, "GET", "/metrics?").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.contains("\n# TYPE gateway_dns_lookups_total counter\n") && !plain.contains("# EOF"));

    let (head, rest) = ask(&readiness, "HEAD", "/metrics").await;
    let length: usize = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
    // Some figures of the process are others by now, with other digits.
    assert!(length.abs_diff(body.len()) < 64, "{length}, and {} before", body.len());
    assert_eq!(rest, "");

    let (_, body) = ask(&readiness, "GET", "/health/live").await;
    let (head, rest) = ask(&readiness, "HEAD", "/health/live").await;
    assert!(head.contains(&format!("content-length: {}", body.len())));
    assert_eq!(rest, "");
}

fn snapshot(keys: &str) -> Snapshot {
    let text = "[providers.p]\nkind = 'openai-compatible'\nbase_url = 'http://127.0.0.1:1/v1'\n[models.a]\n\
                targets = [{ provider = 'p', model = 'a' }]\n";
    let loaded = Config::parse(&format!("{text}{keys}"), "a.toml", &System).unwrap_or_else(|errors| panic!("{errors}"));
    Snapshot::of(&loaded.config)
}

/// The file changes, or the maker is disabled, while the rest of its request is on its way.
#[tokio::test]
async fn who_may_make_keys_is_asked_again_when_the_request_is_there() {
    let secret = "sk-lead";
    let lead = format!("[[keys]]\nname = 'lead'\nallow = ['keys']\nhash = '{}'\n", hash_line(secret));
    for (then, status) in [(lead.as_str(), 201), (lead.replace("'lead'", "'other'").as_str(), 201), ("", 401)] {
        let dir = tempfile::tempdir().unwrap();
        let mut before = snapshot(&lead);
        let runtime = RuntimeKeys::open(&dir.path().join("keys.db"), &before.keys, Arc::default()).unwrap();
        let runtime = Arc::new(runtime);
        before.keys = std::mem::take(&mut before.keys).joined_by(Some(runtime.live()), &[], &key_sets());
        let current = Arc::new(ArcSwap::from_pointee(before));
        let admin = Admin::new(Arc::new(Metrics::new()), Arc::new(Readiness::default()));
        let admin = Arc::new(admin.with_keys(current.clone(), Some(runtime.clone())));

        let (mut client, server) = tokio::io::duplex(1 << 20);
        let head = format!("POST /api/keys HTTP/1.1\r\nhost: admin\r\nconnection: close\r\nx-api-key: {secret}\r\n");
        let body = r#"{"name": "bot"}"#;
        let (first, last) = body.split_at(body.len() - 1);
        let begin = format!("{head}content-length: {}\r\n\r\n{first}", body.len());
        client.write_all(begin.as_bytes()).await.unwrap();
        let (_stop, shutdown) = tokio::sync::watch::channel(false);
        let mut answering = admin.process_new_http(ServerSession::new_http1(Box::new(server)), &shutdown);
        assert!(futures::poll!(&mut answering).is_pending(), "it waits for the last byte");

        let mut after = snapshot(then);
        after.keys = std::mem::take(&mut after.keys).joined_by(Some(runtime.live()), &[], &key_sets());
        runtime.rebind(&after.keys);
        current.store(Arc::new(after));
        client.write_all(last.as_bytes()).await.unwrap();
        answering.await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{then}: {answer}");
        assert_eq!(runtime.list("", 10, &Maker::Master).len(), usize::from(status == 201));
    }
}

fn key_sets() -> KeySets {
    KeySets::new(Arc::new(Client::new(Resolver::new(Metrics::new().dns.clone()))))
}
