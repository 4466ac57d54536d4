//! The ledger: what it says of requests, and that no killed process, full disk or second process costs a record or makes one
//! count twice.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Answer, Gateway, SmallDisk, Stub, bodies, guard, run_to_end, usage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An upstream that answers whatever model it is asked for; `broken…` fails.
async fn upstream() -> Stub {
    upstream_that(true).await
}

/// The same, which tells what it used, or does not.
async fn upstream_that(tells: bool) -> Stub {
    Stub::start(move |request| {
        // Whose process was killed while it wrote the request has sent a part of it.
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if body["model"].as_str().is_some_and(|model| model.starts_with("broken")) {
            return Answer::json(400, r#"{"error":{"message":"no","type":"invalid_request_error"}}"#);
        }
        if body["stream"] == true {
            let (role, word, finish) = (bodies::chat_role(), bodies::chat_delta("fine"), bodies::chat_finish());
            let usage = if tells { bodies::chat_usage() } else { String::new() };
            return Answer::sse([role, word, finish, usage, bodies::DONE.to_owned()]);
        }
        let mut answer: Value = serde_json::from_str(&bodies::chat_answer("fine")).unwrap();
        if !tells {
            answer["usage"] = Value::Null;
        }
        Answer::json(200, answer.to_string())
    })
    .await
}

async fn start(stub: &Stub, ledger: &Path) -> Gateway {
    let provider = bodies::openai_provider("stub", &stub.origin());
    Gateway::start(&format!("{provider}\n[ledger]\npath = \"{}\"\n", ledger.display())).await
}

/// Lets the gateway end in peace.
async fn stop(mut gateway: Gateway) {
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn each_request_is_a_record_with_its_usage() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let stub = upstream().await;
    let gateway = start(&stub, &ledger).await;
    let ask = async |body| exchange(gateway.addr, &Request::post("/v1/chat/completions", body)).await.status;
    assert_eq!(ask(bodies::chat("stub/a")).await, 200);
    assert_eq!(ask(bodies::chat_stream("stub/a")).await, 200);
    assert_eq!(ask(bodies::chat("stub/broken")).await, 400);
    // What is only explained consumes nothing.
    let explained = Request::post("/v1/chat/completions", bodies::chat("stub/a")).header("x-gateway-explain", "1");
    assert_eq!(exchange(gateway.addr, &explained).await.status, 200);
    // Neither has a model that could be charged.
    assert_eq!(ask(bodies::chat("nobody/a")).await, 404);
    assert_eq!(exchange(gateway.addr, &Request::get("/v1/models")).await.status, 200);

    gateway.counted_when("gateway_ledger_stored_total", "", |stored| stored == 3).await;
    let path = "/api/usage?by=provider,upstream_model,usage_source&provider=stub";
    let report = exchange(gateway.admin, &Request::get(path)).await.json();
    let seen: Vec<Vec<&Value>> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            ["upstream_model", "usage_source", "requests", "failed", "input", "output"].map(|name| &row[name]).into()
        })
        .collect();
    let expected = [json!(["a", "provider", 2, 0, 14, 10]), json!(["broken", "none", 1, 1, null, null])];
    assert_eq!(json!(seen), json!(expected));
    let csv = exchange(gateway.admin, &Request::get("/api/usage?by=model&format=csv")).await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(csv.text().starts_with("model,requests,"), "{}", csv.text());
    for (path, status) in [("/api/usage?by=nonsense", 400), ("/api/usage?from=never", 400)] {
        assert_eq!(exchange(gateway.admin, &Request::get(path)).await.status, status, "{path}");
    }
    assert_eq!(exchange(gateway.admin, &Request::post("/api/usage", "")).await.status, 405);

    // The command line reads while the gateway runs, and after.
    let total = || usage(&ledger, &["--by", "", "--from", "1h"])[0]["requests"].clone();
    assert_eq!(total(), 3);
    assert_eq!(gateway.counted("gateway_ledger_lost_total", "").await, 0);
    stop(gateway).await;
    assert_eq!(total(), 3);
    assert_eq!(usage(&ledger, &["--where", "upstream_model=a", "--to", "1h"]), Vec::<Value>::new());
}

/// What a plugin refuses is a request of its client's like any other.
#[tokio::test]
async fn what_a_plugin_refuses_is_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let stub = upstream().await;
    let gateway = Gateway::start(&format!(
        "{}[ledger]\npath = \"{}\"\n[[keys]]\nname = \"bot\"\nhash = \"{}\"\n[[plugins]]\nuse = \"deny\"\nwords = [\"Hello\"]\n",
        bodies::openai_provider("stub", &stub.origin()),
        ledger.display(),
        bodies::key_hash("sk")
    ))
    .await;
    let ask = async |body, key| {
        let request = Request::post("/v1/chat/completions", body).header("x-api-key", key);
        exchange(gateway.addr, &request).await.status
    };
    let mut body: Value = serde_json::from_slice(&bodies::chat_stream("stub/a")).unwrap();
    (body["user"], body["metadata"]) = ("acme".into(), json!({"tags": "beta"}));
    assert_eq!(ask(body.to_string().into(), "sk").await, 403);
    // Nobody knows whose that is; and that has no model that could be read.
    assert_eq!(ask(bodies::chat("stub/a"), "other").await, 401);
    assert_eq!(ask("{".into(), "sk").await, 400);
    assert_eq!(stub.count(), 0);
    gateway.counted_when("gateway_ledger_stored_total", "", |stored| stored == 1).await;
    stop(gateway).await;
    let rows = usage(&ledger, &["--by", "key,customer,tag,model,operation,usage_source", "--from", "1h"]);
    let row = &rows[0];
    let told = ["key", "customer", "tag", "model", "operation", "usage_source", "requests", "failed", "unpriced"];
    let expected = json!(["bot", "acme", "beta", "stub/a", "chat", "none", 1, 1, 0]);
    assert_eq!(json!(told.map(|name| &row[name])), expected, "{rows:?}");
    assert_eq!(rows.len(), 1);
}

/// Where there is no price, a cost that OpenRouter tells is the cost, whichever API the client speaks.
#[tokio::test]
async fn what_openrouter_says_that_it_charges_is_booked_where_there_is_no_price() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let stub = Stub::start(|request| {
        let usage =
            json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "cost": 0.25, "is_byok": false});
        if request.json()["stream"] == true {
            let last = format!("data: {}\n\n", json!({"choices": [], "usage": usage}));
            return Answer::sse([
                bodies::chat_role(),
                bodies::chat_delta("fine"),
                bodies::chat_finish(),
                last,
                bodies::DONE.to_owned(),
            ]);
        }
        let mut answer: Value = serde_json::from_str(&bodies::chat_answer("fine")).unwrap();
        answer["usage"] = usage;
        Answer::json(200, answer.to_string())
    })
    .await;
    let provider = |name: &str, kind: &str| {
        format!("[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n", stub.origin())
    };
    let config = format!(
        "{}{}[prices.models]\n\"router/priced\" = {{ input = \"1\", output = \"2\" }}\n\
         [limits]\nbudget = {{ usd = 1.0, per = \"month\" }}\n[ledger]\npath = \"{}\"\n",
        provider("router", "openrouter"),
        provider("other", "openai-compatible"),
        ledger.display()
    );
    let gateway = Gateway::start(&config).await;
    let ask = async |path: &str, body| {
        let reply = exchange(gateway.addr, &Request::post(path, body)).await;
        // Its budget knows of it by then.
        gateway.log_of(reply.header("x-request-id")).await;
        reply
    };
    let chat = "/v1/chat/completions";
    let whole = ask(chat, bodies::chat("router/nobodys")).await;
    assert_eq!((whole.status, whole.header("x-gateway-cost")), (200, "0.25"), "{}", whole.text());
    let streamed = ask(chat, bodies::chat_stream("router/nobodys")).await.text();
    assert_eq!(streamed.matches("\"cost\"").count(), 0, "nobody asked for usage: {streamed}");
    let gemini = "/v1beta/models/router%2Fnobodys:streamGenerateContent?alt=sse";
    let translated = ask(gemini, r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#.into()).await;
    assert_eq!(translated.status, 200, "{}", translated.text());
    assert_eq!(ask(chat, bodies::chat("router/priced")).await.header("x-gateway-cost"), "0.000017");
    // What others say is not known to be dollars.
    assert_eq!(ask(chat, bodies::chat("other/nobodys")).await.header("x-gateway-cost"), "");
    // The budget knows of it.
    assert_eq!(ask(chat, bodies::chat("router/nobodys")).await.status, 200);
    let refused = ask(chat, bodies::chat("router/nobodys")).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    stop(gateway).await;
    let costs = || {
        let rows = usage(&ledger, &["--by", "provider,upstream_model,price_map"]);
        let row = |row: &Value| {
            ["provider", "upstream_model", "requests", "cost_usd", "unpriced"].map(|name| row[name].clone())
        };
        json!(rows.iter().filter(|row| row["failed"] == 0).map(row).collect::<Vec<_>>())
    };
    assert_eq!(
        costs(),
        json!([
            ["other", "nobodys", 1, "0", 1],
            ["router", "nobodys", 4, "1", 0],
            ["router", "priced", 1, "0.000017", 0],
        ])
    );
    let outcome = run_to_end(&["usage", "rerate", "--config", "{config}"], &config, &[]);
    assert!(outcome.stdout.contains("1.000017 USD booked, 1.000017 USD now"), "{outcome:?}");
}

/// Fourteen tokens of input and ten of output, in two requests.
#[tokio::test]
async fn a_record_has_its_cost_and_can_be_rated_anew() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let stub = upstream().await;
    let config = |input: &str| {
        let provider = bodies::openai_provider("stub", &stub.origin());
        let price = format!("[prices.models]\n\"stub/a\" = {{ input = \"{input}\", output = \"2\" }}");
        let key =
            format!("[[keys]]\nname = \"k\"\nhash = \"{}\"\nteam = \"t\"\ntags = [\"x\"]", bodies::key_hash("sk"));
        format!("{provider}\n{price}\n{key}\n[ledger]\npath = \"{}\"\n", ledger.display())
    };
    let gateway = Gateway::start(&config("1")).await;
    for model in ["stub/a", "stub/a", "stub/unpriced-model"] {
        let request = Request::post("/v1/chat/completions", bodies::chat(model)).header("authorization", "Bearer sk");
        assert_eq!(exchange(gateway.addr, &request).await.status, 200);
    }
    stop(gateway).await;
    let costs = || {
        let row = usage(&ledger, &["--by", "team,tag", "--where", "tag=x"]).remove(0);
        ["team", "tag", "cost_usd", "unpriced", "rerated_cost_usd"].map(|name| row[name].clone())
    };
    assert_eq!(json!(costs()), json!(["t", "x", "0.000034", 1, null]));
    let outcome = run_to_end(&["usage", "rerate", "--config", "{config}"], &config("2"), &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("0.000034 USD booked, 0.000048 USD now"), "{outcome:?}");
    assert_eq!(json!(costs()), json!(["t", "x", "0.000034", 1, "0.000048"]));
}

#[tokio::test]
async fn without_a_ledger_nothing_is_kept_and_that_is_said() {
    let gateway = Gateway::start("[providers.m]\nkind = \"mock\"").await;
    assert_eq!(exchange(gateway.admin, &Request::get("/api/usage")).await.status, 404);
    let outcome = run_to_end(&["usage", "--config", "{config}"], "[providers.m]\nkind = \"mock\"", &[]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("[ledger]"), "{outcome:?}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let below = dir.path().join("file/ledger.db");
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[providers.m]\nkind = \"mock\"\n[ledger]\npath = \"{}\"",
        below.display()
    );
    let outcome = run_to_end(&["run", "--config", "{config}"], &config, &[]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("ledger.path: ") && outcome.stderr.contains("/file`"), "{outcome:?}");
}

/// Sends a request on a connection of its own. Says if the whole answer came: the gateway may be killed at any moment.
async fn try_whole(addr: std::net::SocketAddr, body: &[u8]) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Ok(false) };
    assert!(head.starts_with("http/1.1 200"), "{answer}");
    Ok(match head.split_once("content-length: ") {
        Some((_, length)) => body.len() == length.lines().next().unwrap().parse::<usize>().unwrap(),
        None => body.ends_with("0\r\n\r\n"),
    })
}

/// Clients that ask without a pause, each for a model of its own, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

/// What clients of all rounds have seen.
#[derive(Default)]
struct Seen {
    next: AtomicU32,
    whole: Mutex<HashSet<String>>,
}

impl Load {
    fn start(gateway: &Gateway, clients: usize, seen: &Arc<Seen>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (addr, stop, seen) = (gateway.addr, stop.clone(), seen.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let n = seen.next.fetch_add(1, Ordering::Relaxed);
                    let model = format!("m-{n}");
                    let named = format!("stub/{model}");
                    let body = if n.is_multiple_of(2) { bodies::chat(&named) } else { bodies::chat_stream(&named) };
                    match try_whole(addr, &body).await {
                        Ok(true) => assert!(seen.whole.lock().unwrap().insert(model)),
                        Ok(false) => {}
                        Err(_) => return,
                    }
                }
            })
        };
        Load { clients: (0..clients).map(client).collect(), stop }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// Checks the ledger against what clients and the upstream have seen: whoever had a whole answer is booked, once and with the
/// right usage, or where it `tells` none an estimate, and nobody else is for whom the upstream was not asked. Returns the number of
/// records.
fn compare(ledger: &Path, seen: &Seen, stub: &Stub, tells: bool) -> usize {
    let rows = usage(ledger, &["--by", "upstream_model"]);
    let booked: HashMap<String, &Value> =
        rows.iter().map(|row| (row["upstream_model"].as_str().unwrap().to_owned(), row)).collect();
    assert_eq!(booked.len(), rows.len());
    for (model, row) in &booked {
        assert_eq!((&row["records"], &row["requests"]), (&json!(1), &json!(1)), "{model} is booked more than once");
    }
    let whole = seen.whole.lock().unwrap();
    for model in whole.iter() {
        let row = booked.get(model).unwrap_or_else(|| panic!("{model} was answered and is not booked"));
        let (input, output) = (row["input"].as_u64().unwrap(), row["output"].as_u64().unwrap());
        let right =
            if tells { (input, output) == (7, 5) } else { (10..40).contains(&input) && (1..30).contains(&output) };
        assert!(right && row["failed"] == 0, "{model}: {row}");
    }
    let asked: HashSet<String> = stub
        .received()
        .iter()
        .filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok()?["model"].as_str().map(str::to_owned))
        .collect();
    for model in booked.keys() {
        assert!(asked.contains(model), "{model} is booked and the upstream was never asked");
    }
    rows.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_fifty_times_under_load_each_finished_request_is_booked_once() {
    kill_often(&upstream().await, true).await;
}

/// What they have used is estimated then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_fifty_times_each_is_booked_once_also_where_the_provider_tells_no_usage() {
    kill_often(&upstream_that(false).await, false).await;
}

/// Each round ends with SIGKILL in the middle of the load; the next process takes over what the one before left.
async fn kill_often(stub: &Stub, tells: bool) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let seen = Arc::new(Seen::default());
    for round in 0..50_u64 {
        let gateway = start(stub, &ledger).await;
        let load = Load::start(&gateway, 4, &seen);
        // A number of answers that differs from round to round, a moment that differs by chance.
        let goal = seen.whole.lock().unwrap().len() + 5 + (round * 37 % 60) as usize;
        guard("the load", async {
            while seen.whole.lock().unwrap().len() < goal {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        // Kills it (SIGKILL).
        drop(gateway);
        load.end().await;
    }
    // And one that ends in peace: of its requests all are booked.
    let gateway = start(stub, &ledger).await;
    let before = seen.next.load(Ordering::Relaxed);
    let load = Load::start(&gateway, 4, &seen);
    guard("the load", async {
        while seen.next.load(Ordering::Relaxed) < before + 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    load.end().await;
    stop(gateway).await;
    let booked = compare(&ledger, &seen, stub, tells);
    // In between lie the requests that were under way at the fifty kills, four at a time.
    let (whole, asked) = (seen.whole.lock().unwrap().len(), stub.count());
    eprintln!("{whole} whole answers, {booked} records, {asked} requests at the upstream");
    assert!(whole <= booked && booked <= asked && asked <= whole + 50 * 4, "{whole} {booked} {asked}");
    assert!(whole > 50 * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let stub = upstream().await;
    let seen = Arc::new(Seen::default());
    let (first, second) = (start(&stub, &ledger).await, start(&stub, &ledger).await);
    let loads = [Load::start(&first, 2, &seen), Load::start(&second, 2, &seen)];
    for gateway in [&first, &second] {
        // Both have written to the database while the other did.
        gateway.counted_when("gateway_ledger_stored_total", "", |stored| stored > 0).await;
    }
    for load in loads {
        load.end().await;
    }
    stop(first).await;
    stop(second).await;
    let whole = seen.whole.lock().unwrap().len();
    assert_eq!((compare(&ledger, &seen, &stub, true), stub.count()), (whole, whole));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_no_request_and_once_freed_no_record_is_missing() {
    let disk = SmallDisk::mount();
    let ledger = disk.path().join("ledger.db");
    let stub = upstream().await;
    let seen = Arc::new(Seen::default());
    let gateway = start(&stub, &ledger).await;
    let answered = async |count: usize| {
        let goal = seen.whole.lock().unwrap().len() + count;
        let load = Load::start(&gateway, 4, &seen);
        guard("the load", async {
            while seen.whole.lock().unwrap().len() < goal {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        load.end().await;
    };
    answered(50).await;
    gateway.counted_when("gateway_ledger_stored_total", "", |stored| stored >= 50).await;
    assert_eq!(gateway.counted("gateway_ledger_waiting", "").await, 0);

    let filler = disk.path().join("filler");
    let full = std::fs::write(&filler, vec![0; 2 << 20]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    answered(300).await;
    // The alarm.
    gateway.counted_when("gateway_ledger_waiting", "", |waiting| waiting > 0).await;
    gateway.counted_when("gateway_ledger_write_errors_total", "", |errors| errors > 0).await;
    let ready = exchange(gateway.admin, &Request::get("/health/ready")).await;
    assert!(ready.status == 200 && ready.text().contains("disk is full"), "{} {}", ready.status, ready.text());

    std::fs::remove_file(&filler).unwrap();
    gateway.counted_when("gateway_ledger_waiting", "", |waiting| waiting == 0).await;
    answered(20).await;
    let booked = gateway.counted("gateway_ledger_booked_total", "").await;
    gateway.counted_when("gateway_ledger_stored_total", "", |stored| stored == booked).await;
    assert_eq!(gateway.counted("gateway_ledger_lost_total", "").await, 0);
    let whole = seen.whole.lock().unwrap().len();
    // Every request had its whole answer.
    assert_eq!(seen.next.load(Ordering::Relaxed) as usize, whole);
    stop(gateway).await;
    assert_eq!(compare(&ledger, &seen, &stub, true), whole);
}
