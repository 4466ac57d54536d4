//! Keys made at run time at one of several gateways, which share a real Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ai_gateway_tests::client::{Framing, Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Redis, Setup, Stub, bodies, guard};
use futures::future::join_all;
use serde_json::{Value, json};

/// By when a change is known everywhere.
const SOON: Duration = Duration::from_secs(1);

struct Bench {
    stub: Stub,
    redis: Redis,
    dirs: Vec<tempfile::TempDir>,
    gateways: Vec<Gateway>,
}

impl Bench {
    async fn new(setup: Setup) -> Self {
        let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
        let dirs = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut bench = Self { stub, redis: Redis::start(setup).await, dirs, gateways: Vec::new() };
        let gateways = (0..3).map(|number| bench.start(number));
        bench.gateways = join_all(gateways).await;
        for gateway in &bench.gateways {
            gateway.store_is(true).await;
        }
        bench
    }

    async fn start(&self, number: usize) -> Gateway {
        let config = format!(
            "{}[models.assistant]\ntargets = [{{ provider = \"stub\", model = \"m\" }}]\n\
             [store]\npath = {:?}\nredis = \"{}\"\ntimeout = \"10s\"\n",
            bodies::openai_provider("stub", &self.stub.origin()),
            self.dirs[number].path().join("keys.db"),
            self.redis.url(),
        );
        Gateway::start(&config).await
    }

    async fn api(&self, number: usize, method: &str, path: &str, body: Value) -> Reply {
        let mut request =
            Request::post(&format!("/api/keys{path}"), if body.is_null() { String::new() } else { body.to_string() });
        request.method = method.to_owned();
        if method == "GET" {
            request.framing = Framing::None;
        }
        let reply = exchange(self.gateways[number].admin, &request).await;
        assert!(reply.status < 300, "{method} {path}: {}", reply.text());
        reply
    }

    async fn make(&self, number: usize, body: Value) -> String {
        self.api(number, "POST", "", body).await.json()["key"].as_str().unwrap().to_owned()
    }

    /// Waits until the key has this status everywhere; how long that took.
    async fn everywhere(&self, key: &str, status: u16) -> Duration {
        let begun = Instant::now();
        guard(&format!("{status} everywhere"), async {
            for gateway in &self.gateways {
                while ask(gateway, key).await.status != status {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        })
        .await;
        begun.elapsed()
    }
}

async fn ask(gateway: &Gateway, key: &str) -> Reply {
    let request = Request::post("/v1/chat/completions", bodies::chat("assistant")).header("x-api-key", key);
    exchange(gateway.addr, &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_key_is_known_everywhere_within_a_second() {
    if !Redis::is_installed() {
        return;
    }
    for setup in [Setup::One, Setup::Cluster] {
        let bench = Bench::new(setup).await;
        let secret = bench.make(0, json!({ "name": "bot", "limits": { "requests": "1000/day" } })).await;
        let mut took = vec![bench.everywhere(&secret, 200).await];
        let listed = bench.api(2, "GET", "/bot", Value::Null).await.json();
        assert_eq!(listed["limits"], json!([{ "requests": "1000/day" }]));
        bench.api(1, "POST", "/bot/disable", Value::Null).await;
        took.push(bench.everywhere(&secret, 401).await);
        bench.api(2, "PATCH", "/bot", json!({ "enabled": true, "limits": null })).await;
        took.push(bench.everywhere(&secret, 200).await);
        let rotated = bench.api(0, "POST", "/bot/rotate", json!({ "overlap": "0s" })).await.json();
        let rotated = rotated["key"].as_str().unwrap();
        took.push(bench.everywhere(rotated, 200).await);
        took.push(bench.everywhere(&secret, 401).await);
        bench.api(1, "DELETE", "/bot", Value::Null).await;
        took.push(bench.everywhere(rotated, 401).await);
        eprintln!("{setup:?}: known everywhere after {took:?}");
        // The fastest: the machine may be busy with other tests.
        assert!(took.iter().min() < Some(&SOON), "{took:?}");
    }
}

/// An instance without a memory gets all keys at once, however many there are: also those whose maker was changed after hundreds of
/// others were made.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_knows_all_keys_whatever_their_order() {
    if !Redis::is_installed() {
        return;
    }
    let mut bench = Bench::new(Setup::One).await;
    let maker = bench.make(0, json!({ "name": "maker", "allow": ["keys"] })).await;
    let child = Request::post("/api/keys", json!({ "name": "child" }).to_string()).header("x-api-key", &maker);
    let child = exchange(bench.gateways[0].admin, &child).await.json()["key"].as_str().unwrap().to_owned();
    let mut last = String::new();
    for n in 0..500 {
        last = bench.make(0, json!({ "name": format!("other-{n}") })).await;
    }
    bench.everywhere(&last, 200).await;
    bench.api(0, "PATCH", "/maker", json!({ "limits": { "requests": "1000/day" } })).await;
    let newest = bench.make(0, json!({ "name": "newest" })).await;
    bench.everywhere(&newest, 200).await;
    bench.dirs[2] = tempfile::tempdir().unwrap();
    bench.gateways[2] = bench.start(2).await;
    for secret in [&maker, &newest, &child] {
        bench.everywhere(secret, 200).await;
    }
}

/// A Redis that loses its memory while the connections stand, as by FLUSHALL, is told everything again, and goes on telling.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_is_told_again() {
    if !Redis::is_installed() {
        return;
    }
    let mut bench = Bench::new(Setup::One).await;
    let known = bench.make(0, json!({ "name": "known" })).await;
    let doomed = bench.make(0, json!({ "name": "doomed" })).await;
    for _ in 0..20 {
        bench.api(0, "PATCH", "/known", json!({ "limits": { "requests": "1000/day" } })).await;
    }
    bench.everywhere(&doomed, 200).await;
    bench.redis.forget().await;
    bench.api(1, "DELETE", "/doomed", Value::Null).await;
    bench.everywhere(&doomed, 401).await;
    bench.dirs[2] = tempfile::tempdir().unwrap();
    bench.gateways[2] = bench.start(2).await;
    bench.everywhere(&known, 200).await;
}

/// While the Redis is away, each instance goes on with the keys that it knows, under load and over a restart, and makes and takes out
/// keys of its own; when it is back, with no memory, all know everything.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_redis_each_goes_on_with_what_it_knows() {
    if !Redis::is_installed() {
        return;
    }
    let mut bench = Bench::new(Setup::One).await;
    let known = bench.make(0, json!({ "name": "known" })).await;
    let doomed = bench.make(0, json!({ "name": "doomed" })).await;
    let held = bench.make(0, json!({ "name": "held" })).await;
    for secret in [&known, &doomed, &held] {
        bench.everywhere(secret, 200).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = bench.gateways[..2]
        .iter()
        .map(|gateway| {
            let (addr, known, done) = (gateway.addr, known.clone(), done.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !done.load(Relaxed) {
                    let request =
                        Request::post("/v1/chat/completions", bodies::chat("assistant")).header("x-api-key", &known);
                    let reply = exchange(addr, &request).await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    count += 1;
                }
                count
            })
        })
        .collect();
    bench.redis.kill();
    for gateway in &bench.gateways {
        gateway.store_is(false).await;
        let ready = exchange(gateway.admin, &Request::get("/health/ready")).await;
        assert!(ready.status == 200 && ready.text().contains("keys"), "{}", ready.text());
    }
    let first = bench.make(0, json!({ "name": "first" })).await;
    let second = bench.make(1, json!({ "name": "second" })).await;
    bench.api(1, "DELETE", "/doomed", Value::Null).await;
    bench.api(1, "POST", "/held/disable", Value::Null).await;
    // Later changes of something else bring neither back.
    for name in ["doomed", "held"] {
        bench.api(0, "PATCH", &format!("/{name}"), json!({ "limits": { "requests": "1000/day" } })).await;
    }
    bench.gateways[2] = bench.start(2).await;
    assert_eq!(ask(&bench.gateways[2], &known).await.status, 200, "it starts without the Redis");
    assert_eq!(
        (ask(&bench.gateways[0], &first).await.status, ask(&bench.gateways[1], &first).await.status),
        (200, 401)
    );
    assert_eq!(ask(&bench.gateways[2], &doomed).await.status, 200, "nobody can tell it");

    bench.redis.restart().await;
    for secret in [&known, &first, &second] {
        bench.everywhere(secret, 200).await;
    }
    bench.everywhere(&doomed, 401).await;
    bench.everywhere(&held, 401).await;
    guard("the limits everywhere", async {
        for number in 0..3 {
            while bench.api(number, "GET", "/held", Value::Null).await.json()["limits"] == json!([]) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    })
    .await;
    done.store(true, Relaxed);
    for load in load {
        assert!(load.await.unwrap() > 0);
    }
    // What lies in the Redis is no secret.
    for gateway in &bench.gateways {
        let (out, err) = gateway.output();
        assert!(!out.iter().chain(&err).any(|line| line.contains(&known)), "a secret in a log");
    }
}

/// What was deleted long ago is forgotten: by an instance that begins, and only what is still as it was when that looked.
#[tokio::test(flavor = "multi_thread")]
async fn who_begins_has_the_redis_forget_what_was_deleted_long_ago() {
    if !Redis::is_installed() {
        return;
    }
    let bench = Bench::new(Setup::One).await;
    let fresh = json!({ "name": "fresh" });
    bench.make(0, fresh).await;
    bench.api(0, "DELETE", "/fresh", Value::Null).await;
    let (keys, order) = ("{ai-gateway}:keys", "{ai-gateway}:keys:order");
    let there = async |name: &str| {
        let kept = bench.redis.command(&["HEXISTS", keys, name]).await == ":1\r\n";
        let listed = bench.redis.command(&["ZSCORE", order, name]).await != "$-1\r\n";
        assert_eq!(kept, listed, "{name}");
        kept
    };
    guard("the deletion is told", async {
        let deleted = async || !bench.redis.command(&["HGET", keys, "fresh"]).await.contains("\"key\"");
        while !(there("fresh").await && deleted().await) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Deleted in 1970.
    for name in ["old", "older"] {
        let deletion = json!({ "name": name, "changed": 1_000 }).to_string();
        bench.redis.command(&["HSET", keys, name, &deletion]).await;
        bench.redis.command(&["ZADD", order, "1", name]).await;
    }
    let one_more = bench.start(0).await;
    one_more.store_is(true).await;
    guard("it is forgotten", async {
        while there("old").await || there("older").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(there("fresh").await, "others may not have heard of it yet");

    // Between the look and the script a name may have been given to a key again, or been deleted again.
    let script = include_str!("../../gateway/src/keys/shared/forget.lua");
    for (name, entry, stays) in [
        ("made-again", json!({ "changed": 1, "key": {} }), true),
        ("deleted-again", json!({ "changed": 2_000 }), true),
        ("deleted-before", json!({ "changed": 1_999 }), false),
        ("not-named", json!({ "changed": 1 }), true),
    ] {
        bench.redis.command(&["HSET", keys, name, &entry.to_string()]).await;
        bench.redis.command(&["ZADD", order, "1", name]).await;
        let named = if name == "not-named" { "no-such-name" } else { name };
        let done = bench.redis.command(&["EVAL", script, "2", keys, order, "2000", named]).await;
        assert_eq!((done.as_str(), there(name).await), (":0\r\n", stays), "{name}");
    }
}
