//! Limits that several gateways share in a real Redis.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use ai_gateway::Clock;
use ai_gateway::config::RedisConfig;
use ai_gateway::internal::{Amounts, Claim, Instance, Kind, Limits, Period, Rule, Time, Used, What};
use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Redis, Setup, Stub, bodies, guard, lives};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;

const INSTANCES: usize = 3;

/// What a request costs, in pico-dollars: 7 tokens of input, 5 of output.
const COST: u64 = 57_000_000;

/// A gateway's configuration on this Redis.
fn on(stub: &Stub, redis: &Redis, key: &str, timeout: &str) -> String {
    format!(
        "{}[models.assistant]\n\
         targets = [{{ provider = \"stub\", model = \"m\", traits = {{ max_output = 1000 }},\n\
         price = {{ input = \"1\", output = \"10\" }} }}]\n\
         [[keys]]\nname = \"bot\"\nhash = \"{}\"\n{key}\n[store]\nredis = \"{}\"\n{}timeout = \"{timeout}\"\n",
        bodies::openai_provider("stub", &stub.origin()),
        bodies::key_hash("sk"),
        redis.url(),
        redis.more(),
    )
}

/// Three gateways on one Redis, which they have found.
async fn three(stub: &Stub, redis: &Redis, key: &str, timeout: &str) -> Vec<Gateway> {
    let config = on(stub, redis, key, timeout);
    let gateways = join_all((0..INSTANCES).map(|_| Gateway::start(&config))).await;
    for gateway in &gateways {
        gateway.store_is(true).await;
        gateway.counted_when("gateway_store_instances", "", |count| count == INSTANCES as u64).await;
    }
    gateways
}

async fn ask(gateway: &Gateway) -> Reply {
    let request = Request::post("/v1/chat/completions", bodies::chat("assistant")).header("x-api-key", "sk");
    exchange(gateway.addr, &request).await
}

/// A certificate that cannot be verified is told, and not only that the Redis cannot be reached.
#[tokio::test]
async fn why_a_redis_is_out_of_reach_is_told() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start(Setup::Tls).await;
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let config = on(&stub, &redis, r#"limits = { requests = "5/day" }"#, "10s").replace(&redis.more(), "");
    let gateway = Gateway::builder().config(&config).start().await;
    gateway.told(|line| line.contains("the store is out of reach") && line.contains("UnknownIssuer")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_let_exactly_five_of_twenty_pass() {
    if !Redis::is_installed() {
        return;
    }
    for (setup, key) in [
        (Setup::One, r#"limits = { requests = "5/day" }"#),
        (Setup::Tls, r#"limits = { tokens = "5500/day" }"#),
        (Setup::Sentinel, r#"limits = { concurrent = 5 }"#),
        (Setup::Cluster, r#"budget = { usd = 0.045, per = "month" }"#),
    ] {
        let redis = Redis::start(setup).await;
        let gate = Gate::new();
        let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
        // Longer than any stop of a busy machine: this is about the count.
        let gateways = three(&stub, &redis, key, "10s").await;
        let mut asked: FuturesUnordered<_> = (0..20).map(|number| ask(&gateways[number % INSTANCES])).collect();
        let passed = guard("refusals and answers", async {
            for _ in 0..15 {
                let refused = asked.next().await.expect("one more");
                assert_eq!(refused.status, 429, "{key}: {}", refused.text());
            }
            gate.open();
            asked.filter(|reply| std::future::ready(reply.status == 200)).count().await
        })
        .await;
        assert_eq!((passed, stub.count()), (5, 5), "{key}");
        // A number of the client's that no script could add up does not cost the store.
        let absurd = r#"{"model":"assistant","max_tokens":18446744073709551615,"messages":[]}"#;
        let request = Request::post("/v1/chat/completions", absurd).header("x-api-key", "sk");
        let reply = exchange(gateways[0].addr, &request).await;
        assert!(matches!(reply.status, 200 | 429), "{key}: {}", reply.text());
        for gateway in &gateways {
            gateway.store_is(true).await;
        }
        if key.contains("concurrent") || key.contains("tokens") {
            // 5 × 12 tokens are booked; what was reserved is free again, at all of them.
            let again = guard("room", async {
                loop {
                    let reply = ask(&gateways[2]).await;
                    if reply.status == 200 {
                        return reply;
                    }
                }
            });
            assert_eq!(again.await.status, 200);
        }
    }
}

/// What a process held that was killed is free a few seconds later.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_leaks_nothing() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start(Setup::One).await;
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let mut gateways = three(&stub, &redis, "limits = { concurrent = 5 }", "10s").await;
    let killed = gateways.pop().unwrap();
    let addr = killed.addr;
    let held: Vec<_> = (0..5)
        .map(|_| {
            tokio::spawn(async move {
                let request =
                    Request::post("/v1/chat/completions", bodies::chat("assistant")).header("x-api-key", "sk");
                let mut client = ai_gateway_tests::client::H1::connect(addr).await;
                client.try_exchange(&request).await
            })
        })
        .collect();
    for _ in 0..5 {
        stub.next().await;
    }
    assert_eq!(ask(&gateways[0]).await.status, 429);
    // Dropped, it is killed.
    drop(killed);
    for held in held {
        let _ = held.await;
    }
    gate.open();
    guard("room for five", async {
        while ask(&gateways[0]).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // All of them, as soon as the store knows that the last request has ended.
    guard("room for five at once", async {
        while !join_all((0..5).map(|number| ask(&gateways[number % 2]))).await.iter().all(|reply| reply.status == 200) {
        }
    })
    .await;
}

/// While Redis is killed and started again under load, twice, and loses its memory each time, no request fails, and no more
/// pass than twice the limit.
#[tokio::test(flavor = "multi_thread")]
async fn redis_dies_and_comes_back_under_load() {
    const LIMIT: usize = 600;
    if !Redis::is_installed() {
        return;
    }
    let mut redis = Redis::start(Setup::One).await;
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let key = format!("limits = {{ requests = \"{LIMIT}/day\" }}");
    let gateways = Arc::new(three(&stub, &redis, &key, "50ms").await);
    let (done, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (gateways, done, passed) = (gateways.clone(), done.clone(), passed.clone());
            tokio::spawn(async move {
                while !done.load(Relaxed) {
                    let reply = ask(&gateways[number % INSTANCES]).await;
                    assert!(matches!(reply.status, 200 | 429), "{} {}", reply.status, reply.text());
                    passed.fetch_add(usize::from(reply.status == 200), Relaxed);
                }
            })
        })
        .collect();
    let reach = async |count: usize| {
        guard("requests pass", async {
            let begun = Instant::now();
            while passed.load(Relaxed) < count && begun.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    };
    for round in 0..2 {
        reach(100 + 200 * round).await;
        redis.kill();
        for gateway in gateways.iter() {
            gateway.store_is(false).await;
            let ready = exchange(gateway.admin, &Request::get("/health/ready")).await;
            assert_eq!(ready.status, 200, "it serves on: {}", ready.text());
            assert!(ready.text().contains("store"), "and says what is amiss: {}", ready.text());
        }
        reach(200 + 200 * round).await;
        redis.restart().await;
        for gateway in gateways.iter() {
            gateway.store_is(true).await;
        }
    }
    // All that may pass has passed.
    guard("the limit is reached everywhere", async {
        loop {
            let before = passed.load(Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let refused = join_all(gateways.iter().map(ask)).await.iter().all(|reply| reply.status == 429);
            if refused && passed.load(Relaxed) == before {
                return;
            }
        }
    })
    .await;
    done.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let passed = passed.load(Relaxed);
    eprintln!("{passed} of {LIMIT} passed");
    assert!((LIMIT / 2..=2 * LIMIT).contains(&passed), "{passed}");
}

/// A Redis that has forgotten everything while its connections stood is told again what was used.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_forgets_it_is_told_again() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start(Setup::One).await;
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateways = three(&stub, &redis, "limits = { requests = \"5/day\" }", "10s").await;
    for _ in 0..3 {
        assert_eq!(ask(&gateways[0]).await.status, 200);
    }
    redis.forget().await;
    guard("it is told again, and two more pass", async {
        while redis.count("*:key:requests:*").await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while stub.count() < 5 {
            ask(&gateways[0]).await;
        }
    })
    .await;
    assert_eq!(ask(&gateways[0]).await.status, 429);
}

/// Limits that a month of tests does not reach, and one that it does.
fn month(requests: u64) -> String {
    format!(
        "limits = {{ requests = \"{requests}/day\", tokens = \"1000000/hour\" }}\nbudget = {{ usd = 1, per = \"month\" }}"
    )
}

/// What the Redis has booked at such a meter of the key.
async fn booked(redis: &Redis, what: &str) -> u64 {
    let found = redis.command(&["KEYS", &format!("{{ai-gateway}}:key:{what}:*")]).await;
    let Some(key) = found.lines().find(|line| line.starts_with('{')) else { return 0 };
    let hash = redis.command(&["HGETALL", key]).await;
    let values: Vec<&str> = hash.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
    let parts = values.chunks(2).filter(|part| !part[0].starts_with('r'));
    parts.map(|part| part[1].parse::<u64>().unwrap()).sum()
}

/// Whether the Redis has booked so many requests, each once with all that it used.
async fn has_booked(redis: &Redis, requests: u64) -> bool {
    let all = [booked(redis, "requests").await, booked(redis, "tokens").await, booked(redis, "budget").await];
    all == [requests, 12 * requests, COST * requests]
}

async fn books(redis: &Redis, requests: u64) {
    guard(&format!("{requests} requests are booked"), async {
        while !has_booked(redis, requests).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// So many more pass, and no other.
async fn pass(gateways: &[&Gateway], more: usize) {
    for number in 0..more {
        let reply = ask(gateways[number % gateways.len()]).await;
        assert_eq!(reply.status, 200, "{number} of {more}: {}", reply.text());
    }
    for gateway in gateways {
        assert_eq!(ask(gateway).await.status, 429);
    }
}

/// A Redis that comes back knowing what it knew some time ago is told the rest, however often.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_as_it_once_was_is_told_what_it_lacks() {
    if !Redis::is_installed() {
        return;
    }
    for setup in [Setup::One, Setup::Sentinel, Setup::Cluster] {
        let mut redis = Redis::start(setup).await;
        let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
        let gateways = three(&stub, &redis, &month(10), "10s").await;
        let each = || join_all(gateways.iter().map(ask));
        assert!(each().await.iter().all(|reply| reply.status == 200));
        books(&redis, 3).await;
        redis.save().await;
        assert!(each().await.iter().all(|reply| reply.status == 200));
        books(&redis, 6).await;
        for _ in 0..2 {
            redis.kill();
            for gateway in &gateways {
                gateway.store_is(false).await;
            }
            redis.restart().await;
            for gateway in &gateways {
                gateway.store_is(true).await;
            }
            assert!(has_booked(&redis, 6).await, "{setup:?}: neither less nor twice");
        }
        pass(&gateways.iter().collect::<Vec<_>>(), 4).await;
        let parts = redis.command(&["KEYS", "{ai-gateway}:of-*"]).await;
        let parts: Vec<&str> = parts.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(parts.len(), 3 * INSTANCES, "one for each meter and instance");
        for part in parts {
            assert!(!redis.command(&["PTTL", part]).await.starts_with(":-"), "{part} ends with its window");
        }
    }
}

/// Of what an instance has booked the Redis keeps no more than still counts, however long it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_not_kept_for_ever() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start(Setup::One).await;
    let limits = Arc::new(Limits::new());
    let store =
        limits.share_through(&RedisConfig::new(redis.url(), Duration::from_secs(10)), Instance::passing()).unwrap();
    let sharing = tokio::spawn(async move { store.run().await });
    // It has a part for each millisecond.
    let period = Period::sliding(Duration::from_millis(50));
    let rule = Rule { what: What::Requests, period, limit: 1_000_000, soft: 1_000_000 };
    let bot = limits.set(Kind::Key, "bot", &[rule]);
    guard("the store is up", async {
        while !limits.store().is_some_and(|store| store.up) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let (begun, mut moments) = (Instant::now(), BTreeSet::new());
    while moments.len() < 400 {
        drop(limits.admit(vec![bot.clone()], Claim::request(Amounts::default())).await.unwrap());
        moments.insert(begun.elapsed().as_millis());
    }
    let key = redis.command(&["KEYS", "{ai-gateway}:of-*"]).await;
    let key = key.lines().find(|line| line.starts_with('{')).expect("its part").to_owned();
    let parts: u64 = redis.command(&["HLEN", &key]).await.trim().trim_start_matches(':').parse().unwrap();
    assert!((1..=128).contains(&parts), "{parts}");
    sharing.abort();
}

/// What a gateway has used it knows after a restart from its ledger: a Redis that knows it is not told it twice, and one that does
/// not is told it, whenever it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_started_again_knows_what_redis_may_forget() {
    if !Redis::is_installed() {
        return;
    }
    let mut redis = Redis::start(Setup::One).await;
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let dir = tempfile::tempdir().unwrap();
    let start = async |redis: &Redis, name: &str| {
        let ledger = dir.path().join(name);
        let config = on(&stub, redis, &month(7), "10s");
        Gateway::start(&format!("{config}[ledger]\npath = \"{}\"\n", ledger.display())).await
    };
    let (first, other) = (start(&redis, "first.db").await, start(&redis, "other.db").await);
    for gateway in [&first, &other] {
        gateway.store_is(true).await;
        assert_eq!(ask(gateway).await.status, 200);
    }
    books(&redis, 2).await;
    redis.save().await;
    assert_eq!(ask(&first).await.status, 200);
    books(&redis, 3).await;

    // Dropped, it is killed.
    drop(first);
    let first = start(&redis, "first.db").await;
    first.store_is(true).await;
    assert!(has_booked(&redis, 3).await, "the Redis knew it");
    assert_eq!(ask(&first).await.status, 200);
    books(&redis, 4).await;
    redis.forget().await;
    books(&redis, 4).await;

    // One that is not there when the gateway starts, and comes as it was long ago.
    drop(first);
    redis.kill();
    let first = start(&redis, "first.db").await;
    assert_eq!(ask(&first).await.status, 200, "it goes on alone");
    other.store_is(false).await;
    redis.restart().await;
    for gateway in [&first, &other] {
        gateway.store_is(true).await;
    }
    books(&redis, 5).await;
    pass(&[&first, &other], 2).await;
}

/// What takes long to read from the ledger is told when it is read, and not again after the next start.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_late_from_the_ledger_is_told_once() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start(Setup::One).await;
    let dir = tempfile::tempdir().unwrap();
    let rule = Rule { what: What::Tokens, period: Period::Month, limit: 1_000, soft: 1_000 };
    let mut used = Used { keys: [Some("bot"), None], amounts: Amounts { tokens: 70, cost: 0 }, ..Used::default() };
    for is_late in [true, false] {
        let limits = Arc::new(Limits::new());
        let instance = Instance::of_ledger(&dir.path().join("ledger.db"), limits.now()).unwrap();
        let store = limits.share_through(&RedisConfig::new(redis.url(), Duration::from_secs(10)), instance).unwrap();
        let bot = limits.set(Kind::Key, "bot", &[rule]);
        assert!(limits.restores_from().is_some(), "what it reads is its own");
        let is_up = async || {
            guard("the store is up", async {
                while !limits.store().is_some_and(|store| store.up) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
        };
        let run = || tokio::spawn(async move { store.run().await });
        limits.set_restoring(true);
        let sharing = if is_late {
            let sharing = run();
            is_up().await;
            used.at = limits.now();
            limits.restore(&used);
            limits.set_restoring(false);
            sharing
        } else {
            limits.restore(&used);
            limits.set_restoring(false);
            let sharing = run();
            is_up().await;
            assert_eq!(booked(&redis, "tokens").await, 70);
            sharing
        };
        let tokens = if is_late { 70 } else { 75 };
        if !is_late {
            let request = limits.admit(vec![bot], Claim::request(Amounts::default())).await.unwrap();
            request.settle(Amounts { tokens: 5, cost: 0 });
        }
        guard("it is told", async {
            while booked(&redis, "tokens").await != tokens {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        sharing.abort();
        let _ = sharing.await;
    }
}

/// A process that takes over knows what the one before it has told the Redis, with a ledger or without.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_redis_may_forget() {
    if !Redis::is_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for ledger in ["", &format!("[ledger]\npath = \"{}\"\n", dir.path().join("ledger.db").display())] {
        let redis = Redis::start(Setup::One).await;
        let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
        let config = format!("{}{ledger}", on(&stub, &redis, &month(4), "10s"));
        let gateway = Gateway::builder().own_binary().config(&config).start().await;
        gateway.store_is(true).await;
        let mut serving = 0;
        for number in 1..=2 {
            assert_eq!(ask(&gateway).await.status, 200);
            books(&redis, number).await;
            serving = gateway.upgrade().await;
            gateway.status_when("it is alone", |status| status["predecessors"] == serde_json::json!([])).await;
            gateway.store_is(true).await;
            assert!(has_booked(&redis, number).await, "the Redis knew it");
        }
        assert_eq!(ask(&gateway).await.status, 200);
        books(&redis, 3).await;
        redis.forget().await;
        books(&redis, 3).await;
        pass(&[&gateway], 1).await;
        if !ledger.is_empty() {
            // And the one that is started after those.
            drop(gateway);
            guard("it ends", async {
                while lives(serving) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            let gateway = Gateway::start(&config).await;
            gateway.store_is(true).await;
            assert!(has_booked(&redis, 4).await, "the Redis knew it");
            redis.forget().await;
            books(&redis, 4).await;
            pass(&[&gateway], 0).await;
        }
    }
}

/// The system's clock, but for so many seconds.
struct Off(AtomicI64);

impl Clock for Off {
    fn now(&self) -> SystemTime {
        let off = self.0.load(Relaxed);
        let by = Duration::from_secs(off.unsigned_abs());
        if off < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// An instance whose clock is wrong, and is set while it runs, goes by the clock of the Redis, and so does its lease there.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_while_it_counts_changes_no_window() {
    const MINUTE: u64 = 60_000;
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start(Setup::One).await;
    let off = Arc::new(Off(AtomicI64::new(-3_600)));
    let limits = Arc::new(Limits::by(Time::of(off.clone())));
    let store =
        limits.share_through(&RedisConfig::new(redis.url(), Duration::from_secs(10)), Instance::passing()).unwrap();
    let sharing = tokio::spawn(async move { store.run().await });
    let is_up = || limits.store().is_some_and(|store| store.up && store.instances == 1);
    let true_now = || u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    // The store's answers, by which it is set, take their time.
    let is_right = || limits.now().abs_diff(true_now()) <= 5_000;
    let becomes_right = async || {
        guard("the clock is right", async {
            while !(is_up() && is_right()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    };
    becomes_right().await;
    let rule = Rule { what: What::Requests, period: Period::Sliding(MINUTE), limit: 1, soft: 1 };
    let bot = limits.set(Kind::Key, "bot", &[rule]);
    let admit = async || limits.admit(vec![bot.clone()], Claim::request(Amounts::default())).await;
    drop(admit().await.unwrap());
    let begun = true_now();
    for set in [3_600, -7_200, 0] {
        off.0.store(set, Relaxed);
        becomes_right().await;
        let until = admit().await.unwrap_err().refused.until;
        // A window ends in a step of a second.
        assert!(
            (begun + MINUTE - 5_000..=begun + MINUTE + 7_000).contains(&until),
            "{set}: {until} is not near {begun}"
        );
        let leases = redis.command(&["ZRANGE", "{ai-gateway}:leases", "0", "-1", "WITHSCORES"]).await;
        let scores: Vec<u64> = leases.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(matches!(scores[..], [ends] if ends.abs_diff(true_now()) <= 6_000), "{set}: {leases}");
        assert!(is_up());
    }
    sharing.abort();
}
