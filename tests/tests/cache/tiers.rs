//! Who may be given a kept answer, and where answers are kept: across restarts, instances and failures, until they are purged.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Redis, Setup, SmallDisk, Stub, bodies, guard, lives, run_to_end};
use serde_json::{Value, json};

/// A gateway's configuration: a model whose answers are kept, and `more`.
fn config(stub: &Stub, more: &str) -> String {
    format!(
        "{}[models.assistant]\ntargets = [{{ provider = \"stub\", model = \"m\" }}]\ncache = {{ ttl = \"1h\" }}\n\
         [models.other]\ntargets = [{{ provider = \"stub\", model = \"m\" }}]\ncache = {{ ttl = \"1h\" }}\n{more}",
        bodies::openai_provider("stub", &stub.origin()),
    )
}

async fn stub() -> Stub {
    Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await
}

/// Says something else each time.
async fn counting_stub() -> Stub {
    let count = AtomicUsize::new(0);
    Stub::start(move |_| {
        let number = count.fetch_add(1, Relaxed);
        Answer::json(200, bodies::chat_answer(&format!("answer {number}")))
    })
    .await
}

fn question(model: &str, text: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": text }] })
}

async fn ask(gateway: &Gateway, body: &Value) -> Reply {
    ask_as(gateway, "sk", body).await
}

async fn ask_as(gateway: &Gateway, key: &str, body: &Value) -> Reply {
    let request = Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", key);
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

fn status(reply: &Reply) -> &str {
    reply.header("x-gateway-cache")
}

async fn admin(gateway: &Gateway, method: &str, path: &str) -> Reply {
    let request = match method {
        "GET" => Request::get(path),
        _ => Request { method: method.to_owned(), ..Request::post(path, "") },
    };
    exchange(gateway.admin, &request).await
}

/// Waits until `GET /api/cache` says so; what it says then.
async fn until(gateway: &Gateway, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    gateway.admin_when("/api/cache", what, is).await
}

fn on_disk(entries: u64) -> impl Fn(&Value) -> bool {
    move |status| status["disk"]["entries"] == entries
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_for_those_who_may_have_it() {
    let stub = stub().await;
    let keys: String = [("a", "private"), ("b", "private"), ("c", "shared"), ("d", "shared"), ("e", "off")]
        .map(|(name, cache)| {
            format!("[[keys]]\nname = \"{name}\"\nhash = \"{}\"\ncache = \"{cache}\"\n", bodies::key_hash(name))
        })
        .concat();
    let gateway = Gateway::start(&config(&stub, &keys)).await;
    let body = question("assistant", "hello");
    for (key, expected, calls) in [
        ("a", "miss", 1),
        ("a", "hit", 1),
        ("b", "miss", 2),
        ("c", "miss", 3),
        ("d", "hit", 3),
        ("c", "hit", 3),
        ("e", "bypass", 4),
        ("e", "bypass", 5),
        ("b", "hit", 5),
    ] {
        let reply = ask_as(&gateway, key, &body).await;
        assert_eq!((status(&reply), stub.count()), (expected, calls), "{key}");
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "fine");
    }
    // The same in other words, and what only seems so.
    let of = async |text: &str| {
        let request = Request::post("/v1/chat/completions", text.to_owned()).header("x-api-key", "a");
        exchange(gateway.addr, &request).await
    };
    let spelled = r#"{ "messages" : [{"content":"h\u0065llo","role":"user"}], "user":"u", "model":"assistant" }"#;
    assert_eq!(status(&of(spelled).await), "hit");
    for (field, expected) in [
        (r#""temperature":0.5"#, "bypass"),
        (r#""tools":[{"type":"function","function":{"name":"f"}}]"#, "bypass"),
        (r#""store":true"#, "bypass"),
        (r#""seed":1"#, "miss"),
        (r#""cache":{"no-cache":true}"#, "miss"),
        (r#""cache":{"namespace":"mine"}"#, "miss"),
        (r#""cache":{"use-cache":false}"#, "bypass"),
        (r#""cache":{"s-maxage":3600}"#, "hit"),
    ] {
        let text = format!(r#"{{"model":"assistant",{field},"messages":[{{"role":"user","content":"hello"}}]}}"#);
        assert_eq!(status(&of(&text).await), expected, "{field}");
        let sent = stub.received().pop().unwrap().json();
        assert!(sent.get("cache").is_none(), "it is for the gateway: {sent}");
    }
    let calls = stub.count();
    let wrong = of(r#"{"model":"assistant","cache":{"no-store":true,"ttl":1.5},"messages":[]}"#).await;
    assert_eq!((wrong.status, stub.count()), (400, calls), "{}", wrong.text());
    assert!(wrong.text().contains("cache.ttl"), "{}", wrong.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_disk_survive_kill_9() {
    let stub = stub().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let text = config(&stub, &format!("[cache]\ndisk = {{ path = {path:?}, max_size = \"16MiB\" }}\n"));
    let gateway = Gateway::start(&text).await;
    let first = ask(&gateway, &question("assistant", "first")).await;
    assert_eq!(status(&first), "miss");
    until(&gateway, "one file", on_disk(1)).await;
    // It is killed while it writes.
    for number in 0..200 {
        ask(&gateway, &question("assistant", &format!("number {number}"))).await;
    }
    let kill = Command::new("kill").args(["-KILL", &gateway.pid().to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    drop(gateway);
    let calls = stub.count();

    let gateway = Gateway::start(&text).await;
    until(&gateway, "the files", |status| status["disk"]["entries"].as_u64() > Some(0)).await;
    // The scan is over when it can be purged.
    assert_eq!(admin(&gateway, "DELETE", "/api/cache?tag=none").await.json(), json!({ "removed": 0 }));
    let again = ask(&gateway, &question("assistant", "first")).await;
    assert_eq!((status(&again), stub.count()), ("hit", calls));
    assert_eq!(again.body, first.body);
    let mut hits = 0;
    for number in 0..200 {
        let reply = ask(&gateway, &question("assistant", &format!("number {number}"))).await;
        assert_eq!(reply.body, first.body, "whole or not at all");
        hits += u64::from(status(&reply) == "hit");
    }
    assert_eq!(stub.count() as u64, calls as u64 + 200 - hits);
    assert!(hits > 0);
}

/// What the process before answers after an upgrade is not kept behind the back of the one that can be purged.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_process_keeps_nothing() {
    let (gate, folder) = (Gate::new(), tempfile::tempdir().unwrap());
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let text = config(&stub, &format!("[cache]\ndisk = {{ path = {:?} }}\n", folder.path()));
    let gateway = Gateway::start(&text).await;
    let (addr, body) = (gateway.addr, question("assistant", "hello"));
    let request = Request::post("/v1/chat/completions", body.to_string());
    let before = tokio::spawn(async move { exchange(addr, &request).await });
    stub.next().await;
    let (old, _) = (gateway.pid(), gateway.upgrade().await);
    gate.open();
    assert_eq!(status(&before.await.unwrap()), "miss");
    guard("the process ends", async {
        while lives(old) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let kept = |path: std::io::Result<std::fs::DirEntry>| path.unwrap().file_type().unwrap().is_dir();
    assert!(!std::fs::read_dir(folder.path()).unwrap().any(kept));
    assert_eq!(status(&ask(&gateway, &body).await), "miss");
    until(&gateway, "one file", on_disk(1)).await;
    assert_eq!(admin(&gateway, "DELETE", "/api/cache?all=true").await.json(), json!({ "removed": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_no_request() {
    let disk = SmallDisk::mount();
    let stub = stub().await;
    let path = disk.path().join("cache");
    let gateway = Gateway::start(&config(&stub, &format!("[cache]\ndisk = {{ path = {path:?} }}\n"))).await;
    ask(&gateway, &question("assistant", "before")).await;
    until(&gateway, "one file", on_disk(1)).await;
    let filler = disk.path().join("filler");
    let full = std::fs::write(&filler, vec![0; 2 << 20]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // What is there makes room for what comes, as long as there is anything.
    for number in 0..20 {
        let body = question("assistant", &format!("number {number}"));
        assert_eq!(status(&ask(&gateway, &body).await), "miss");
        assert_eq!(status(&ask(&gateway, &body).await), "hit", "in memory");
    }
    let blocked = "a".repeat(8000);
    std::fs::remove_file(&filler).unwrap();
    let again = async |number: usize| {
        ask(&gateway, &question("other", &format!("{blocked} {number}"))).await;
    };
    guard("the disk takes answers again", async {
        for number in 0.. {
            again(number).await;
            if admin(&gateway, "GET", "/api/cache").await.json()["disk"]["entries"].as_u64() > Some(3) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let metrics = admin(&gateway, "GET", "/metrics").await.text();
    assert!(metrics.contains("gateway_cache_tier_failures_total{tier=\"disk\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_have_their_answers_in_common() {
    if !Redis::is_installed() {
        return;
    }
    for setup in [Setup::One, Setup::Sentinel, Setup::Cluster] {
        let mut redis = Redis::start(setup).await;
        let stub = counting_stub().await;
        let more = format!(
            "[cache]\nredis = true\n[store]\nredis = \"{}\"\ntimeout = \"10s\"\n{}\
             [[keys]]\nname = \"bot\"\nhash = \"{}\"\ntags = [\"gold\"]\n",
            redis.url(),
            redis.more(),
            bodies::key_hash("sk")
        );
        let text = config(&stub, &more);
        let (one, other) = (Gateway::start(&text).await, Gateway::start(&text).await);
        for gateway in [&one, &other] {
            until(gateway, "the store", |status| status["redis"]["up"] == true).await;
        }
        for (round, purge) in ["model=assistant", "key=bot", "tag=gold", "all=true"].into_iter().enumerate() {
            let body = question("assistant", &format!("round {round}"));
            let before = redis.size().await;
            let first = ask(&one, &body).await;
            assert_eq!(status(&first), "miss", "{setup:?}");
            // It is stored behind the answer.
            guard("it is stored", async {
                while redis.size().await == before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            let seen = ask(&other, &body).await;
            assert_eq!((status(&seen), &seen.body), ("hit", &first.body));
            // Purged at one of them, it is gone at both: there at once, at the other within a second or so.
            assert_eq!(admin(&one, "DELETE", &format!("/api/cache?{purge}")).await.status, 200);
            let new = ask(&one, &body).await;
            assert_eq!(status(&new), "miss", "{purge}");
            assert_ne!(new.body, first.body);
            guard("the other one hears of it", async {
                while ask(&other, &body).await.body == first.body {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        }

        // Without the store each goes on with its own, and no request fails or waits for long.
        let kept = question("assistant", "kept");
        ask(&one, &kept).await;
        redis.kill();
        for number in 0..20 {
            let began = Instant::now();
            assert_eq!(status(&ask(&one, &question("assistant", &format!("down {number}"))).await), "miss");
            assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        }
        assert_eq!(status(&ask(&one, &kept).await), "hit");
        until(&one, "the loss", |status| status["redis"]["up"] == false).await;
        assert_eq!(admin(&one, "DELETE", "/api/cache?model=assistant").await.status, 503);
        assert_eq!(status(&ask(&one, &kept).await), "miss", "what can be reached has been purged");
        redis.restart().await;
        until(&one, "the store", |status| status["redis"]["up"] == true).await;
    }
}

/// An instance that was away hears of purges when it is back, and keeps what it has from after them.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_of_what_was_there_before_it() {
    if !Redis::is_installed() {
        return;
    }
    let (redis, stub, folder) = (Redis::start(Setup::One).await, stub().await, tempfile::tempdir().unwrap());
    let more = format!(
        "[cache]\nredis = true\ndisk = {{ path = {:?} }}\n[store]\nredis = \"{}\"\ntimeout = \"10s\"\n",
        folder.path(),
        redis.url()
    );
    let text = config(&stub, &more).replace("1h", "90d");
    let purged = async |model: &str, ago: Duration| {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - ago;
        let (field, mark) = (format!("model:{model}"), format!("0123456789abcdef-{}", at.as_millis()));
        redis.command(&["HSET", "ai-gateway:cache-purged", &field, &mark]).await;
    };
    let up = async |gateway: &Gateway| {
        until(gateway, "the store", |status| status["redis"]["up"] == true).await;
    };
    let (kept, other) = (question("assistant", "kept"), question("other", "purged"));
    let mut gateway = Gateway::start(&text).await;
    up(&gateway).await;
    ask(&gateway, &kept).await;
    until(&gateway, "one file", on_disk(1)).await;
    purged("assistant", Duration::from_secs(120)).await;
    until(&gateway, "it hears of that", |status| on_disk(0)(status) && status["purging"] == false).await;
    assert_eq!(status(&ask(&gateway, &kept).await), "miss");
    assert_eq!(status(&ask(&gateway, &other).await), "miss");
    until(&gateway, "two files", on_disk(2)).await;
    gateway.terminate();
    gateway.ended().await;

    purged("other", Duration::ZERO).await;
    let gateway = Gateway::start(&text).await;
    up(&gateway).await;
    assert_eq!(admin(&gateway, "GET", "/api/cache").await.json()["disk"]["entries"], 1);
    redis.forget().await;
    assert_eq!(status(&ask(&gateway, &kept).await), "hit");
    assert_eq!(status(&ask(&gateway, &other).await), "miss");

    // No answer outlives the marks that say that it was purged.
    guard("it is stored", async {
        while redis.count("ai-gateway:cache:*").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let names = redis.command(&["KEYS", "ai-gateway:cache:*"]).await;
    let name = names.lines().find(|line| line.starts_with("ai-gateway:cache:")).unwrap().trim();
    let left = redis.command(&["TTL", name]).await;
    let days = left.trim_start_matches(':').trim().parse::<u64>().unwrap() / 86_400;
    assert!((29..=30).contains(&days), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_costs_its_timeout_once() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start(Setup::One).await;
    let stub = stub().await;
    let more = format!("[cache]\nredis = true\n[store]\nredis = \"{}\"\ntimeout = \"1s\"\n", redis.url());
    let gateway = Gateway::start(&config(&stub, &more)).await;
    until(&gateway, "the store", |status| status["redis"]["up"] == true).await;
    redis.pause();
    let began = Instant::now();
    for number in 0..50 {
        assert_eq!(status(&ask(&gateway, &question("assistant", &format!("number {number}"))).await), "miss");
    }
    // Fifty of them would be fifty seconds.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    until(&gateway, "the loss", |status| status["redis"]["up"] == false).await;
    redis.resume();
    until(&gateway, "the store", |status| status["redis"]["up"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api() {
    let stub = stub().await;
    let gateway = Gateway::start(&config(&stub, "")).await;
    for model in ["assistant", "other"] {
        assert_eq!(status(&ask(&gateway, &question(model, "hello")).await), "miss");
        assert_eq!(status(&ask(&gateway, &question(model, "hello")).await), "hit");
    }
    // An answer is counted behind its last byte.
    let counted = |figures: &Value| figures["hits"] == 2 && figures["misses"] == 2;
    let figures = until(&gateway, "all are counted", counted).await;
    assert_eq!(
        (&figures["hits"], &figures["misses"], &figures["memory"]["entries"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(
        (&figures["disk"], &figures["redis"], &figures["memory"]["max_size"]),
        (&json!(null), &json!(null), &json!(512 << 20))
    );
    assert!(figures["memory"]["bytes"].as_u64() > Some(100));
    for bad in ["", "?all=false", "?model=", "?who=x", "?model=a&key=b", "?fingerprint=zz"] {
        assert_eq!(admin(&gateway, "DELETE", &format!("/api/cache{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(admin(&gateway, "POST", "/api/cache").await.status, 405);
    assert_eq!(admin(&gateway, "GET", "/api/cache/purge").await.status, 405);
    assert_eq!(admin(&gateway, "POST", "/api/cache/purge?model=assistant").await.json(), json!({ "removed": 1 }));
    assert_eq!(status(&ask(&gateway, &question("assistant", "hello")).await), "miss");
    assert_eq!(status(&ask(&gateway, &question("other", "hello")).await), "hit");
    let address = gateway.admin.to_string();
    let show = run_to_end(&["cache", "show", "--admin", &address], "", &[]);
    assert!(show.code == Some(0) && show.stdout.contains("memory.entries"), "{show:?}");
    let purge = run_to_end(&["cache", "purge", "--all", "--admin", &address], "", &[]);
    assert_eq!((purge.code, &*purge.stdout), (Some(0), "2 removed from this instance\n"), "{purge:?}");
    assert_ne!(run_to_end(&["cache", "purge", "--admin", &address], "", &[]).code, Some(0));
    assert_eq!(status(&ask(&gateway, &question("other", "hello")).await), "miss");
}
