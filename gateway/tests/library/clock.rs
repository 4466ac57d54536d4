//! A clock of one's own decides what time it is: all that expires, comes back and is dated goes by it, and nothing here waits.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ai_gateway::internal::hash_line;
use ai_gateway::internal::ledger::{self, Dimension, Query};
use ai_gateway::plugins::{Context, Failure, Needs, Plugin, Request, Verdict, async_trait};
use ai_gateway::{Clock, Gateway};
use ai_gateway_providers::Dialect;

use crate::client::{Reply, ask, exchange, said};
use crate::setup;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Stands still until it is moved.
struct ByHand {
    begin: (SystemTime, Instant),
    passed: Mutex<Duration>,
}

impl ByHand {
    fn at(time: &str) -> Arc<Self> {
        let begin = (humantime::parse_rfc3339(time).unwrap(), Instant::now());
        Arc::new(Self { begin, passed: Mutex::default() })
    }

    fn pass(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }
}

impl Clock for ByHand {
    fn now(&self) -> SystemTime {
        self.begin.0 + *self.passed.lock().unwrap()
    }

    fn instant(&self) -> Instant {
        self.begin.1 + *self.passed.lock().unwrap()
    }
}

/// A gateway that goes by `clock`, serving for as long as the test's process lives.
async fn serve(clock: &Arc<ByHand>, more: &str) -> (SocketAddr, Gateway) {
    let config = format!("[providers.m]\nkind = \"mock\"\nhealth = {{ failures = 1, cooldown = \"30s\" }}\n{more}");
    setup::serve_built(Gateway::builder().config_text(config).clock(clock.clone()), |_| {}).await
}

/// Asks `model` for an echo, with the key `k`.
async fn chat(addr: SocketAddr, model: &str, text: &str) -> Reply {
    let request = ask(Dialect::OpenAiChat, model, text, false);
    exchange(addr, &request.header("authorization", "Bearer k")).await
}

fn key(more: &str) -> String {
    format!("[[keys]]\nname = \"k\"\nhash = \"{}\"\n{more}\n", hash_line("k"))
}

#[tokio::test]
async fn a_key_expires_when_the_clock_says_so() {
    let clock = ByHand::at("2031-03-10T23:59:30Z");
    let (addr, _gateway) = serve(&clock, &key("expires = \"2031-03-11T00:00:00Z\"")).await;
    for (passes, status) in [(0, 200), (29, 200), (1, 401), (1000, 401)] {
        clock.pass(Duration::from_secs(passes));
        let reply = chat(addr, "m/echo", "hi").await;
        assert_eq!(reply.status, status, "{passes}: {}", reply.text());
    }
}

/// A limit per day counts what came in the last 24 hours, in parts of 24 minutes.
#[tokio::test]
async fn a_limit_of_a_day_has_room_again_a_day_later_by_the_clock() {
    let clock = ByHand::at("2031-03-10T22:00:00Z");
    let (addr, _gateway) = serve(&clock, &key("limits = { requests = \"2/day\" }")).await;
    for remaining in ["1", "0"] {
        let reply = chat(addr, "m/echo", "hi").await;
        let told = ["remaining", "reset"].map(|what| reply.header(&format!("x-ratelimit-{what}-requests")).to_owned());
        assert_eq!((reply.status, told), (200, [remaining, "24h24m0s"].map(str::to_owned)));
    }
    clock.pass(HOUR * 3 + Duration::from_millis(500));
    let refused = chat(addr, "m/echo", "hi").await;
    let told = ["x-ratelimit-reset-requests", "retry-after", "retry-after-ms"].map(|name| refused.header(name));
    assert_eq!((refused.status, told), (429, ["21h23m59.5s", "77040", "77039500"]));
    for (passes, status) in [(Duration::from_millis(77_039_499), 429), (Duration::from_millis(1), 200)] {
        clock.pass(passes);
        assert_eq!(chat(addr, "m/echo", "hi").await.status, status);
    }
}

const DEAR: &str =
    "[models.dear]\ntargets = [{ provider = \"m\", model = \"echo\", price = { input = \"1\", output = \"10\" } }]\n";

#[tokio::test]
async fn a_budget_of_a_day_rolls_over_when_the_clock_passes_midnight() {
    let clock = ByHand::at("2031-03-10T22:00:00Z");
    let (addr, _gateway) = serve(&clock, &(key("budget = { usd = 0.000001, per = \"day\" }") + DEAR)).await;
    // The first one passes the budget, and is the last one of its day.
    assert_eq!(chat(addr, "dear", "hi").await.status, 200);
    clock.pass(HOUR + Duration::from_millis(500));
    let refused = chat(addr, "dear", "hi").await;
    let told = ["retry-after", "retry-after-ms"].map(|name| refused.header(name));
    assert_eq!((refused.status, told), (429, ["3600", "3599500"]));
    for (passes, status) in [(Duration::from_millis(3_599_499), 429), (Duration::from_millis(1), 200), (HOUR, 429)] {
        clock.pass(passes);
        assert_eq!(chat(addr, "dear", "hi").await.status, status, "{passes:?}");
    }
}

#[tokio::test]
async fn a_budget_of_a_month_rolls_over_by_the_clock() {
    let clock = ByHand::at("2031-02-27T12:00:00Z");
    let (addr, _gateway) = serve(&clock, &(key("budget = { usd = 0.000001, per = \"month\" }") + DEAR)).await;
    for (passes, status) in [(Duration::ZERO, 200), (DAY, 429), (DAY / 2, 200), (30 * DAY, 429), (DAY, 200)] {
        clock.pass(passes);
        let reply = chat(addr, "dear", "hi").await;
        assert_eq!(reply.status, status, "{passes:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_kept_answer_ages_by_the_clock() {
    let clock = ByHand::at("2031-03-10T12:00:00Z");
    let model = "[models.kept]\ntargets = [{ provider = \"m\", model = \"inspect\" }]\ncache = { ttl = \"1h\" }\n";
    let (addr, _gateway) = serve(&clock, model).await;
    let mut seen = Vec::new();
    for passes in [0, 0, 1234, 2365, 1, 1] {
        clock.pass(Duration::from_secs(passes));
        let reply = chat(addr, "kept", "hi").await;
        seen.push((reply.header("x-gateway-cache").to_owned(), reply.header("age").to_owned()));
    }
    let expected = [("miss", ""), ("hit", "0"), ("hit", "1234"), ("hit", "3599"), ("miss", ""), ("hit", "1")];
    assert_eq!(seen, expected.map(|(cache, age)| (cache.to_owned(), age.to_owned())));
}

#[tokio::test]
async fn a_breaker_lets_through_again_by_the_clock() {
    let clock = ByHand::at("2031-03-10T12:00:00Z");
    let model = "[models.weak]\ntargets = [{ provider = \"m\", model = \"first-1+status-500\" }]\nretry = { same_target = false, max_wait = \"1ms\" }\n";
    let (addr, _gateway) = serve(&clock, model).await;
    let asked = async |passes: u64| {
        clock.pass(Duration::from_secs(passes));
        let reply = chat(addr, "weak", "hi").await;
        (reply.status, reply.header("retry-after").parse().unwrap_or(0))
    };
    assert_eq!(asked(0).await, (500, 0));
    // Its cool-down of 30 seconds is shortened by chance, and told in whole seconds.
    let (status, wait) = asked(0).await;
    assert!(status == 503 && (20..=30).contains(&wait), "{status} {wait}");
    assert_eq!(asked(10).await, (503, wait - 10));
    assert_eq!(asked(wait - 11).await, (503, 1));
    assert_eq!(asked(1).await, (200, 0));
    assert_eq!(asked(0).await, (200, 0));
}

/// What the ledger has of each day, once all of it is in the database.
fn days(gateway: &Gateway, path: &Path) -> Vec<(String, u64)> {
    assert!(ledger::close(&gateway.proxy(), Duration::from_secs(60)));
    let report = ledger::ask(path, &Query { by: vec![Dimension::Day], ..Query::default() }).unwrap().to_json();
    let rows = report["rows"].as_array().unwrap_or_else(|| panic!("{report}"));
    rows.iter().map(|row| (row["day"].as_str().unwrap().to_owned(), row["requests"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn records_are_dated_by_the_clock_and_kept_for_as_long_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let clock = ByHand::at("2031-03-10T23:59:59Z");
    let config = format!("[ledger]\npath = {path:?}\nretention = \"30d\"\n");
    let (addr, gateway) = serve(&clock, &config).await;
    for passes in [0, 1, 1] {
        clock.pass(Duration::from_secs(passes));
        assert_eq!(chat(addr, "m/echo", "hi").await.status, 200);
    }
    assert_eq!(days(&gateway, &path), [("2031-03-10".to_owned(), 1), ("2031-03-11".to_owned(), 2)]);

    let (addr, gateway) = serve(&clock, &config).await;
    clock.pass(30 * DAY - Duration::from_secs(1));
    assert_eq!(chat(addr, "m/echo", "hi").await.status, 200);
    assert_eq!(days(&gateway, &path), [("2031-03-11".to_owned(), 2), ("2031-04-10".to_owned(), 1)]);
}

/// Notes what time it is for plugins.
struct Asks(Arc<Mutex<Vec<SystemTime>>>);

#[async_trait]
impl Plugin for Asks {
    fn needs(&self) -> Needs {
        Needs::new().head()
    }

    async fn on_request(&self, _: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        self.0.lock().unwrap().push(cx.about().at);
        Ok(Verdict::Pass)
    }
}

#[tokio::test]
async fn plugins_and_templates_have_the_time_of_the_clock() {
    let clock = ByHand::at("2031-03-10T12:00:00Z");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let config = "[providers.m]\nkind = \"mock\"\n[[plugins]]\nuse = \"prompt\"\nsystem = \"It is {{date}}.\"\n";
    let builder = Gateway::builder().config_text(config).clock(clock.clone()).plugin("asks", Asks(seen.clone()));
    let (addr, _gateway) = setup::serve_built(builder, |_| {}).await;
    for day in ["2031-03-10", "2031-03-11"] {
        let reply = chat(addr, "m/inspect", "hi").await;
        let received = said(Dialect::OpenAiChat, false, &reply);
        assert!(received.contains(&format!("It is {day}.")), "{received}");
        clock.pass(DAY);
    }
    assert_eq!(*seen.lock().unwrap(), [clock.begin.0, clock.begin.0 + DAY]);
}

#[tokio::test]
async fn two_gateways_of_a_process_may_have_different_times() {
    let early = ByHand::at("2031-03-10T12:00:00Z");
    let late = ByHand::at("2032-03-10T12:00:00Z");
    let config = key("expires = \"2031-12-31T00:00:00Z\"");
    let ((before, _one), (after, _other)) = (serve(&early, &config).await, serve(&late, &config).await);
    assert_eq!((chat(before, "m/echo", "hi").await.status, chat(after, "m/echo", "hi").await.status), (200, 401));
}
