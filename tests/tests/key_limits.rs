//! Limits and budgets of keys that are made at run time, over their changes and over a restart; and what all limits know after one.

use std::path::Path;
use std::time::{Duration, Instant};

use ai_gateway_tests::client::{Framing, Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies, guard};
use serde_json::{Value, json};

const MASTER: &str = "master-0123456789";

/// A gateway that keeps keys and a ledger in `dir`, before an upstream at which a request costs 0.000057 dollars.
async fn start(stub: &Stub, dir: &Path, more: &str) -> Gateway {
    let config = format!(
        "{}[models.assistant]\n\
         targets = [{{ provider = \"stub\", model = \"m\", price = {{ input = \"1\", output = \"10\" }} }}]\n\
         [[keys]]\nname = \"lead\"\nhash = \"{}\"\nallow = [\"keys\"]\n{more}\n\
         [store]\npath = {:?}\n[ledger]\npath = {:?}\n",
        bodies::openai_provider("stub", &stub.origin()),
        bodies::key_hash("sk-lead"),
        dir.join("keys.db"),
        dir.join("ledger.db"),
    );
    Gateway::builder().server("admin_key = \"env:MASTER\"").env("MASTER", MASTER).config(&config).start().await
}

async fn fine() -> Stub {
    Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await
}

async fn api(gateway: &Gateway, key: &str, method: &str, path: &str, body: Value) -> Reply {
    let mut request = Request::post(path, if body.is_null() { String::new() } else { body.to_string() });
    request.method = method.to_owned();
    if method == "GET" {
        request.framing = Framing::None;
    }
    exchange(gateway.admin, &request.header("authorization", &format!("Bearer {key}"))).await
}

async fn make(gateway: &Gateway, key: &str, body: Value) -> String {
    let made = api(gateway, key, "POST", "/api/keys", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["key"].as_str().unwrap().to_owned()
}

/// Asks when what was asked before is settled, which happens behind its answer.
async fn ask(gateway: &Gateway, key: &str) -> Reply {
    gateway.at_rest().await;
    let request = Request::post("/v1/chat/completions", bodies::chat("assistant")).header("x-api-key", key);
    exchange(gateway.addr, &request).await
}

async fn statuses(gateway: &Gateway, key: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(ask(gateway, key).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_key_made_at_run_time_has_its_limits_at_once_and_after_a_restart() {
    let (stub, dir) = (fine().await, tempfile::tempdir().unwrap());
    let gateway = start(&stub, dir.path(), "").await;
    let bounds =
        json!({ "limits": { "requests": "2/day", "concurrent": 9 }, "budget": [{ "usd": 5, "per": "month" }] });
    let mut body = bounds.clone();
    body["name"] = "bot".into();
    let secret = make(&gateway, MASTER, body).await;
    let first = ask(&gateway, &secret).await;
    assert_eq!((first.status, first.header("x-ratelimit-limit-requests")), (200, "2"), "{:?}", first.headers);
    assert_eq!(statuses(&gateway, &secret, 2).await, [200, 429]);

    // More room, at once; what was counted stays. What is shown can be sent back.
    let patch = json!({ "limits": [{ "requests": "4/day" }] });
    let changed = api(&gateway, MASTER, "PATCH", "/api/keys/bot", patch).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["limits"], json!([{ "requests": "4/day" }]));
    assert_eq!(changed.json()["budget"], json!([{ "usd": 5.0, "per": "month", "soft": 0.8 }]));
    assert_eq!(statuses(&gateway, &secret, 3).await, [200, 200, 429]);
    let shown = api(&gateway, MASTER, "GET", "/api/keys/bot", Value::Null).await.json();
    let back = json!({ "limits": shown["limits"], "budget": shown["budget"], "enabled": shown["enabled"] });
    assert_eq!(api(&gateway, MASTER, "PATCH", "/api/keys/bot", back).await.json(), shown);
    let rotated = api(&gateway, MASTER, "POST", "/api/keys/bot/rotate", Value::Null).await.json();
    assert_eq!(rotated["limits"], shown["limits"]);
    assert_eq!(statuses(&gateway, rotated["key"].as_str().unwrap(), 1).await, [429], "another secret is the same key");

    for (body, field) in [
        (json!({}), "body"),
        (json!({ "limits": { "requests": "many" } }), "limits"),
        (json!({ "budget": { "usd": -1, "per": "day" } }), "budget"),
        (json!({ "models": ["assistant"] }), "models"),
        (json!({ "enabled": "yes" }), "enabled"),
    ] {
        let refused = api(&gateway, MASTER, "PATCH", "/api/keys/bot", body.clone()).await;
        assert_eq!((refused.status, &refused.json()["error"]["field"]), (400, &field.into()), "{body}");
    }
    drop(gateway);

    let gateway = start(&stub, dir.path(), "").await;
    let same = api(&gateway, MASTER, "GET", "/api/keys/bot", Value::Null).await.json();
    assert_eq!((&same["limits"], &same["budget"]), (&shown["limits"], &shown["budget"]));
    // The limits are the same, and the four requests of before count still.
    assert_eq!(statuses(&gateway, &secret, 2).await, [429, 429]);
    let none = api(&gateway, MASTER, "PATCH", "/api/keys/bot", json!({ "limits": null })).await.json();
    assert_eq!((&none["limits"], none["budget"].as_array().map(Vec::len)), (&json!([]), Some(1)));
    assert_eq!(statuses(&gateway, &secret, 2).await, [200, 200]);
}

#[tokio::test]
async fn what_a_key_made_counts_against_itself_and_its_maker() {
    let (stub, dir) = (fine().await, tempfile::tempdir().unwrap());
    let gateway = start(&stub, dir.path(), "limits = { requests = \"3/day\" }").await;
    let small = make(&gateway, "sk-lead", json!({ "name": "small", "limits": { "requests": "1/day" } })).await;
    // It may ask for more than its maker has, and does not get it.
    let large = make(&gateway, "sk-lead", json!({ "name": "large", "limits": { "requests": "100/day" } })).await;
    assert_eq!(statuses(&gateway, &small, 2).await, [200, 429]);
    assert_eq!(statuses(&gateway, &large, 3).await, [200, 200, 429]);
    assert_eq!(statuses(&gateway, "sk-lead", 1).await, [429]);
    assert_eq!(stub.count(), 3);
}

/// Spends until the budget refuses.
async fn spend(gateway: &Gateway, key: &str) -> usize {
    guard("the budget is used up", async {
        for spent in 0.. {
            let reply = ask(gateway, key).await;
            if reply.status == 429 {
                assert_eq!(reply.json()["error"]["code"], "insufficient_quota", "{}", reply.text());
                return spent;
            }
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        unreachable!()
    })
    .await
}

/// Each round a process is killed right after an answer; the next one knows what was spent, by keys of the file, keys made at run
/// time and those that they made, and of everything.
#[tokio::test]
async fn a_budget_that_is_used_up_still_refuses_after_a_kill() {
    let (stub, dir) = (fine().await, tempfile::tempdir().unwrap());
    let lead = "budget = { usd = 0.0004, per = \"month\" }\nlimits = { tokens = \"100000/day\" }";
    let mut gateway = start(&stub, dir.path(), lead).await;
    let month = json!({ "name": "bot", "budget": { "usd": 0.0002, "per": "month" } });
    let bot = make(&gateway, MASTER, month).await;
    let own = make(&gateway, "sk-lead", json!({ "name": "own" })).await;
    // Half of it in the process before.
    assert_eq!(statuses(&gateway, &bot, 2).await, [200, 200]);
    assert_eq!(statuses(&gateway, &own, 4).await, [200; 4]);
    drop(gateway);
    gateway = start(&stub, dir.path(), lead).await;
    assert_eq!(spend(&gateway, &bot).await, 2, "0.0002 dollars are three requests and a bit");
    // 0.0004 are seven and a bit: four of the key that it made, and four of its own.
    assert_eq!(spend(&gateway, "sk-lead").await, 4);
    for round in 0..3 {
        drop(gateway);
        gateway = start(&stub, dir.path(), lead).await;
        for key in [&bot, &own, "sk-lead"] {
            assert_eq!(ask(&gateway, key).await.status, 429, "{round}");
        }
    }
    // Twelve tokens each, of eight requests.
    let limits = api(&gateway, MASTER, "GET", "/api/limits", Value::Null).await.json();
    let lead = limits["subjects"].as_array().unwrap().iter().find(|subject| subject["name"] == "lead").unwrap();
    let used: Vec<_> =
        lead["limits"].as_array().unwrap().iter().map(|limit| (&limit["what"], &limit["used"])).collect();
    assert_eq!(used, [(&"tokens".into(), &96.into()), (&"budget".into(), &456_000_000.into())]);
}

/// A budget that is given later begins then, and so do those of a key that takes the name of one that is gone: before a restart as
/// after.
#[tokio::test]
async fn what_was_spent_before_a_budget_was_given_does_not_count() {
    let (stub, dir) = (fine().await, tempfile::tempdir().unwrap());
    let mut gateway = start(&stub, dir.path(), "").await;
    // 0.0001 dollars are one request and a bit.
    let budget = json!({ "usd": 0.0001, "per": "month" });
    let late = make(&gateway, MASTER, json!({ "name": "late", "limits": { "requests": "9/day" } })).await;
    let gone = make(&gateway, MASTER, json!({ "name": "again", "budget": budget })).await;
    assert_eq!(statuses(&gateway, &late, 3).await, [200; 3]);
    assert_eq!(spend(&gateway, &gone).await, 2);

    assert_eq!(api(&gateway, MASTER, "DELETE", "/api/keys/again", Value::Null).await.status, 200);
    let again = make(&gateway, MASTER, json!({ "name": "again", "budget": budget })).await;
    let given = api(&gateway, MASTER, "PATCH", "/api/keys/late", json!({ "budget": budget })).await;
    assert_eq!(given.status, 200, "{}", given.text());
    for key in [&late, &again] {
        assert_eq!(statuses(&gateway, key, 1).await, [200], "nothing was spent of it");
    }
    for _ in 0..2 {
        gateway.at_rest().await;
        drop(gateway);
        gateway = start(&stub, dir.path(), "").await;
        let limits = api(&gateway, MASTER, "GET", "/api/limits", Value::Null).await.json();
        let used = |name: &str, what: &str| {
            let subject =
                limits["subjects"].as_array().unwrap().iter().find(|subject| subject["name"] == name).unwrap();
            subject["limits"].as_array().unwrap().iter().find(|limit| limit["what"] == what).unwrap()["used"].clone()
        };
        assert_eq!((used("late", "budget"), used("again", "budget")), (57_000_000.into(), 57_000_000.into()));
        assert_eq!(used("late", "requests"), 4, "what counts longer counts on");
    }
    // More of it is no other budget.
    let more = json!({ "budget": { "usd": 0.0002, "per": "month" } });
    assert_eq!(api(&gateway, MASTER, "PATCH", "/api/keys/late", more).await.status, 200);
    assert_eq!(spend(&gateway, &late).await, 3);
    drop(gateway);
    let gateway = start(&stub, dir.path(), "").await;
    assert_eq!(statuses(&gateway, &late, 1).await, [429]);
}

/// Of an answer whose output has no price, what its input costs counts against budgets: before a restart as after.
#[tokio::test]
async fn what_has_a_price_in_part_counts_by_that_after_a_restart() {
    let (stub, dir) = (fine().await, tempfile::tempdir().unwrap());
    let config = format!(
        "{}[models.assistant]\ntargets = [{{ provider = \"stub\", model = \"m\", price = {{ input = \"1\" }} }}]\n\
         [[keys]]\nname = \"bot\"\nhash = \"{}\"\nbudget = {{ usd = 0.00001, per = \"month\" }}\n[ledger]\npath = {:?}\n",
        bodies::openai_provider("stub", &stub.origin()),
        bodies::key_hash("sk"),
        dir.path().join("ledger.db"),
    );
    // Seven tokens of input, for seven millionths of a dollar each time.
    let gateway = Gateway::start(&config).await;
    assert_eq!(statuses(&gateway, "sk", 1).await, [200]);
    gateway.at_rest().await;
    drop(gateway);
    let gateway = Gateway::start(&config).await;
    assert_eq!(statuses(&gateway, "sk", 2).await, [200, 429]);
    drop(gateway);
    let gateway = Gateway::start(&config).await;
    assert_eq!(statuses(&gateway, "sk", 1).await, [429]);
}

/// What was refused does not count, before as after.
#[tokio::test]
async fn requests_of_a_process_that_was_killed_count_still() {
    let (stub, dir) = (fine().await, tempfile::tempdir().unwrap());
    let lead = "limits = [{ requests = \"5/day\", concurrent = 3 }, { requests = \"1000000/min\" }]";
    let gateway = start(&stub, dir.path(), lead).await;
    assert_eq!(statuses(&gateway, "sk-lead", 3).await, [200; 3]);
    drop(gateway);
    let gateway = start(&stub, dir.path(), lead).await;
    assert_eq!(statuses(&gateway, "sk-lead", 4).await, [200, 200, 429, 429]);
    drop(gateway);
    let gateway = start(&stub, dir.path(), lead).await;
    assert_eq!(statuses(&gateway, "sk-lead", 1).await, [429]);
    let limits = api(&gateway, MASTER, "GET", "/api/limits", Value::Null).await.json();
    let lead = limits["subjects"].as_array().unwrap().iter().find(|subject| subject["name"] == "lead").unwrap();
    let used: Vec<_> =
        lead["limits"].as_array().unwrap().iter().map(|limit| (&limit["what"], &limit["used"])).collect();
    let (requests, concurrent) = (&"requests".into(), &"concurrent".into());
    assert_eq!(used, [(requests, &5.into()), (concurrent, &0.into()), (requests, &5.into())]);
}

/// While somebody else has the ledger's database for himself, a process starts all the same, says what it does not know yet, and
/// knows it when the database is free.
#[tokio::test]
async fn a_locked_ledger_delays_the_start_by_seconds_at_most() {
    let (stub, dir) = (fine().await, tempfile::tempdir().unwrap());
    let budget = "budget = { usd = 0.0001, per = \"total\" }";
    let gateway = start(&stub, dir.path(), budget).await;
    assert_eq!(spend(&gateway, "sk-lead").await, 2);
    drop(gateway);
    let other = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE mine (n); COMMIT").unwrap();
    let begun = Instant::now();
    let gateway = start(&stub, dir.path(), budget).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    let ready = exchange(gateway.admin, &Request::get("/health/ready")).await;
    assert!(ready.status == 200 && ready.text().contains("being read"), "{}", ready.text());
    assert_eq!(ask(&gateway, "sk-lead").await.status, 200, "it serves");
    drop(other);
    guard("the ledger is read", async {
        while exchange(gateway.admin, &Request::get("/health/ready")).await.text().contains("being read") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(ask(&gateway, "sk-lead").await.status, 429);
}
