//! Keys made at run time: their life through the admin API, what a key may give, and that they outlive the process.

use ai_gateway_tests::client::{Framing, Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, GatewayBuilder, Stub, bodies, run_to_end};
use serde_json::{Value, json};

const MASTER: &str = "master-0123456789";

struct Bench {
    stub: Stub,
    dir: tempfile::TempDir,
    gateway: Gateway,
}

fn builder(stub: &Stub, store: Option<&std::path::Path>) -> GatewayBuilder {
    let keys = format!(
        r#"
        {}
        [models.assistant]
        targets = [{{ provider = "stub", model = "m" }}]
        [models.other]
        targets = [{{ provider = "stub", model = "m" }}]
        [[keys]]
        name = "plain"
        hash = "{}"
        [[keys]]
        name = "lead"
        hash = "{}"
        models = ["assistant", "stub/gpt-*"]
        tags = ["gold"]
        team = "support"
        allow = ["keys", "fallbacks"]
        expires = "2099-01-01T00:00:00Z"
        [[keys]]
        name = "over"
        hash = "{}"
        expires = "2020-01-01T00:00:00Z"
        "#,
        bodies::openai_provider("stub", &stub.origin()),
        bodies::key_hash("sk-plain"),
        bodies::key_hash("sk-lead"),
        bodies::key_hash("sk-over"),
    );
    let store = store.map(|path| format!("[store]\npath = {:?}", path)).unwrap_or_default();
    Gateway::builder().server("admin_key = \"env:MASTER\"").env("MASTER", MASTER).config(&keys).config(&store)
}

impl Bench {
    async fn new() -> Self {
        let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
        let dir = tempfile::tempdir().unwrap();
        let gateway = builder(&stub, Some(&dir.path().join("keys.db"))).start().await;
        Self { stub, dir, gateway }
    }

    async fn restart(&mut self) {
        self.gateway = builder(&self.stub, Some(&self.dir.path().join("keys.db"))).start().await;
    }

    async fn api(&self, key: &str, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = Request::post(&format!("/api/keys{path}"), body);
        request.method = method.to_owned();
        if method == "GET" {
            request.framing = Framing::None;
        }
        if !key.is_empty() {
            request = request.header("authorization", &format!("Bearer {key}"));
        }
        exchange(self.gateway.admin, &request).await
    }

    async fn master(&self, method: &str, path: &str, body: Value) -> Reply {
        self.api(MASTER, method, path, body).await
    }

    async fn make(&self, body: Value) -> String {
        let reply = self.master("POST", "", body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["key"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, key: &str, model: &str) -> Reply {
        let request = Request::post("/v1/chat/completions", bodies::chat(model)).header("x-api-key", key);
        exchange(self.gateway.addr, &request).await
    }

    async fn refused(&self, key: &str) -> String {
        let reply = self.ask(key, "assistant").await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (401, &"invalid_api_key".into()),
            "{}",
            reply.text()
        );
        reply.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_key_lives_at_once_and_until_it_is_deleted() {
    let bench = Bench::new().await;
    let made = bench
        .master(
            "POST",
            "",
            json!({
                "name": "bot", "models": ["assistant", "stub/gpt-*"], "tags": ["gold"], "team": "support",
                "owner": "ada@example.com", "allow": ["explain"], "expires": "30d", "priority": 3, "on_abort": "drain",
            }),
        )
        .await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"), "{}", made.text());
    let made = made.json();
    let secret = made["key"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("gw-") && secret.len() == 46, "{secret}");
    let reply = bench.ask(&secret, "assistant").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let log = bench.gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!(log["key"], "bot", "{log}");
    assert_eq!(bench.ask(&secret, "other").await.status, 404);

    let shown = bench.master("GET", "/bot", Value::Null).await;
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("key");
    assert_eq!(shown.json(), expected);
    assert_eq!(
        (&shown.json()["source"], &shown.json()["team"], &shown.json()["made_by"]),
        (&"store".into(), &"support".into(), &Value::Null)
    );
    assert_eq!((&made["priority"], &made["on_abort"]), (&3.into(), &"drain".into()));
    let list = bench.master("GET", "", Value::Null).await.json();
    let names: Vec<_> = list["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["lead", "over", "plain", "bot"], "{list}");
    for text in [shown.text(), list.to_string()] {
        assert!(!text.contains(&secret) && !text.contains(&bodies::key_hash(&secret)[7..]), "{text}");
    }

    for (method, path, body, enabled) in [
        ("POST", "/bot/disable", Value::Null, false),
        ("POST", "/bot/enable", Value::Null, true),
        ("PATCH", "/bot", json!({ "enabled": false }), false),
        ("PATCH", "/bot", json!({ "enabled": true }), true),
    ] {
        let reply = bench.master(method, path, body).await;
        assert_eq!((reply.status, &reply.json()["enabled"]), (200, &enabled.into()), "{}", reply.text());
        if enabled {
            assert_eq!(bench.ask(&secret, "assistant").await.status, 200);
        } else {
            assert_eq!(bench.refused(&secret).await, "the API key is disabled");
        }
    }
    let deleted = bench.master("DELETE", "/bot", Value::Null).await;
    assert_eq!((deleted.status, deleted.json()), (200, json!({ "deleted": "bot" })));
    assert_eq!(bench.refused(&secret).await, "the API key is not valid");
    assert_eq!(bench.master("GET", "/bot", Value::Null).await.status, 404);
    assert_eq!(bench.refused("sk-over").await, "the API key is expired");
    // Who rotates keys out can see which are still in use.
    for (key, name, reason) in [("sk-over", "over".into(), "expired"), ("sk-wrong", Value::Null, "unknown")] {
        let reply = bench.ask(key, "assistant").await;
        let log = bench.gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((&log["key"], &log["refused"]), (&name, &reason.into()), "{log}");
        let counted = bench.gateway.measured("gateway_auth_refused_total", &format!("reason=\"{reason}\"")).await;
        assert!(counted >= Some(1.0), "{reason}: {counted:?}");
    }
}

#[tokio::test]
async fn rotation_overlaps() {
    let bench = Bench::new().await;
    let first = bench.make(json!({ "name": "bot" })).await;
    let rotated = bench.master("POST", "/bot/rotate", json!({ "overlap": "1h" })).await.json();
    let second = rotated["key"].as_str().unwrap().to_owned();
    assert!(rotated["old_secret_until"].is_string(), "{rotated}");
    for key in [&first, &second] {
        assert_eq!(bench.ask(key, "assistant").await.status, 200);
    }
    let third = bench.master("POST", "/bot/rotate", json!({ "overlap": "0s" })).await.json();
    assert_eq!(third["old_secret_until"], Value::Null);
    for key in [&first, &second] {
        bench.refused(key).await;
    }
    assert_eq!(bench.ask(third["key"].as_str().unwrap(), "assistant").await.status, 200);
    let bad = bench.master("POST", "/bot/rotate", json!({ "overlap": "some" })).await;
    assert_eq!((bad.status, &bad.json()["error"]["field"]), (400, &"overlap".into()));
}

#[tokio::test]
async fn the_api_asks_for_a_key_with_the_right() {
    let bench = Bench::new().await;
    for (key, status) in [
        ("", 401),
        ("wrong", 401),
        ("master-012345678", 401),
        ("master-01234567890", 401),
        ("sk-over", 401),
        ("sk-plain", 403),
        ("sk-lead", 200),
        (MASTER, 200),
    ] {
        let reply = bench.api(key, "GET", "", Value::Null).await;
        assert_eq!(reply.status, status, "{key}: {}", reply.text());
        assert_eq!(reply.header("www-authenticate") == "Bearer", status == 401, "{key}");
    }
    // The rest of the admin API is the master's, health and metrics are everybody's.
    for (path, key, status) in [
        ("/api/targets", "", 401),
        ("/api/targets", "sk-lead", 403),
        ("/api/targets", MASTER, 200),
        ("/health/live", "", 200),
        ("/metrics", "", 200),
    ] {
        let mut request = Request::get(path);
        if !key.is_empty() {
            request = request.header("authorization", &format!("Bearer {key}"));
        }
        assert_eq!(exchange(bench.gateway.admin, &request).await.status, status, "{path} {key}");
    }
    // The admin key opens nothing to clients, and the API is not on the public listener.
    bench.refused(MASTER).await;
    let public = Request::get("/api/keys").header("authorization", &format!("Bearer {MASTER}"));
    assert_eq!(exchange(bench.gateway.addr, &public).await.status, 404);
}

#[tokio::test]
async fn a_key_gives_no_more_than_it_has() {
    let bench = Bench::new().await;
    let masters = bench.make(json!({ "name": "masters" })).await;
    for (field, value) in [
        ("models", json!(["other"])),
        ("models", json!(["stub/*"])),
        ("tags", json!(["platinum"])),
        ("team", json!("research")),
        ("allow", json!(["explain"])),
        ("allow", json!(["keys"])),
        ("expires", json!("2100-01-01T00:00:00Z")),
    ] {
        let reply = bench.api("sk-lead", "POST", "", json!({ "name": "more", field: value })).await;
        assert_eq!((reply.status, &reply.json()["error"]["field"]), (403, &field.into()), "{}", reply.text());
    }
    let made = bench.api("sk-lead", "POST", "", json!({ "name": "less", "models": ["assistant"] })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!((&made["made_by"], &made["team"], &made["tags"]), (&"lead".into(), &"support".into(), &json!(["gold"])));
    let secret = made["key"].as_str().unwrap();
    assert_eq!((bench.ask(secret, "assistant").await.status, bench.ask(secret, "other").await.status), (200, 404));

    let list = bench.api("sk-lead", "GET", "", Value::Null).await.json();
    assert_eq!(list["keys"].as_array().unwrap().len(), 1, "{list}");
    for (method, path) in [
        ("GET", "/masters"),
        ("GET", "/plain"),
        ("GET", "/lead"),
        ("DELETE", "/masters"),
        ("POST", "/masters/rotate"),
        ("POST", "/masters/disable"),
    ] {
        assert_eq!(bench.api("sk-lead", method, path, Value::Null).await.status, 404, "{method} {path}");
    }
    assert_eq!(bench.ask(&masters, "other").await.status, 200);
    assert_eq!(bench.api("sk-lead", "DELETE", "/less", Value::Null).await.status, 200);
    bench.refused(secret).await;
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let bench = Bench::new().await;
    bench.make(json!({ "name": "bot" })).await;
    for (body, status, field) in [
        (json!({}), 400, "name"),
        (json!({ "name": "a'; DROP TABLE keys; --" }), 400, "name"),
        (json!({ "name": "a\u{0}b" }), 400, "name"),
        (json!({ "name": "../x" }), 400, "name"),
        (json!({ "name": "a", "models": ["missing"] }), 400, "models"),
        (json!({ "name": "a", "team": "'\n" }), 400, "team"),
        (json!({ "name": "a", "expires": "yesterday" }), 400, "expires"),
        (json!({ "name": "a", "key": "my-own" }), 400, "key"),
        (json!([1]), 400, "body"),
        (json!({ "name": "bot" }), 409, ""),
        (json!({ "name": "plain" }), 409, ""),
    ] {
        let reply = bench.master("POST", "", body.clone()).await;
        let named = reply.json()["error"]["field"].as_str().unwrap_or_default().to_owned();
        assert_eq!((reply.status, named.as_str()), (status, field), "{body}: {}", reply.text());
    }
    // What SQL takes for syntax is kept as it is.
    let text = "'); DROP TABLE keys; -- \" ? ;";
    let made = bench.master("POST", "", json!({ "name": "quoted", "owner": text, "team": text })).await;
    assert_eq!((made.status, &made.json()["owner"]), (201, &text.into()));
    for (method, path, status) in [
        ("PUT", "/bot", 405),
        ("DELETE", "", 405),
        ("GET", "/bot/rotate", 405),
        ("POST", "/bot/unknown", 404),
        ("DELETE", "/plain", 409),
        ("POST", "/plain/rotate", 409),
        ("GET", "/'%20OR%201=1", 404),
        ("DELETE", "/%00", 404),
        ("GET", "?limit=0", 400),
        ("GET", "?limit=1&after=zzz", 200),
    ] {
        assert_eq!(bench.master(method, path, Value::Null).await.status, status, "{method} {path}");
    }
    let first = bench.master("GET", "?after=", Value::Null).await.json();
    let mut names = first["keys"].as_array().unwrap().iter().map(|key| &key["name"]);
    assert!(names.any(|name| name == "plain"), "a page behind nothing is the first: {first}");
    let huge = bench.master("POST", "", json!({ "name": "a", "owner": "x".repeat(100_000) })).await;
    assert_eq!(huge.status, 413);
    assert_eq!(bench.master("GET", "/bot", Value::Null).await.status, 200, "all is still there");
}

#[tokio::test]
async fn without_a_store_there_is_nowhere_to_keep_a_key() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateway = builder(&stub, None).start().await;
    let bench = Bench { stub, dir: tempfile::tempdir().unwrap(), gateway };
    let reply = bench.master("POST", "", json!({ "name": "bot" })).await;
    assert_eq!(reply.status, 409);
    assert!(reply.text().contains("[store]") && reply.text().contains("path"), "{}", reply.text());
    assert_eq!(bench.master("GET", "", Value::Null).await.json()["keys"].as_array().unwrap().len(), 3);
    assert_eq!(bench.master("GET", "/bot", Value::Null).await.status, 404);
}

#[tokio::test]
async fn keys_outlive_the_process_also_one_that_is_killed() {
    let mut bench = Bench::new().await;
    let kept = bench.make(json!({ "name": "kept" })).await;
    let disabled = bench.make(json!({ "name": "disabled" })).await;
    let deleted = bench.make(json!({ "name": "deleted" })).await;
    bench.master("POST", "/disabled/disable", Value::Null).await;
    bench.master("DELETE", "/deleted", Value::Null).await;
    let listed = bench.master("GET", "", Value::Null).await.json();
    // The harness kills with SIGKILL, each time right after the answer.
    for round in 0..5 {
        bench.restart().await;
        assert_eq!(bench.ask(&kept, "assistant").await.status, 200);
        assert_eq!(bench.refused(&disabled).await, "the API key is disabled");
        assert_eq!(bench.refused(&deleted).await, "the API key is not valid");
        if round == 0 {
            assert_eq!(bench.master("GET", "", Value::Null).await.json(), listed);
        }
        let last = bench.make(json!({ "name": format!("round-{round}") })).await;
        bench.restart().await;
        assert_eq!(bench.ask(&last, "assistant").await.status, 200, "killed right after it was made");
    }
}

/// While somebody else holds the store's file, a change waits and requests do not notice.
#[tokio::test]
async fn requests_never_wait_for_the_store() {
    let bench = Bench::new().await;
    let secret = bench.make(json!({ "name": "bot" })).await;
    let other = rusqlite::Connection::open(bench.dir.path().join("keys.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ask = async {
        for _ in 0..20 {
            assert_eq!(bench.ask(&secret, "assistant").await.status, 200);
            bench.refused("gw-wrong").await;
        }
        other.execute_batch("ROLLBACK").unwrap();
    };
    let mut asking = std::pin::pin!(ask);
    let change = bench.make(json!({ "name": "another" }));
    let mut changing = std::pin::pin!(change);
    tokio::select! {
        biased;
        made = &mut changing => panic!("made while the store was held: {made}"),
        () = &mut asking => {}
    }
    let another = changing.await;
    assert_eq!(bench.ask(&another, "assistant").await.status, 200);
}

/// Keys of every shape, in every place: a clear 401, and nothing of them in any output.
#[tokio::test]
async fn no_bad_key_does_any_harm_or_is_logged() {
    let bench = Bench::new().await;
    let secret = bench.make(json!({ "name": "bot" })).await;
    let rotated = bench.master("POST", "/bot/rotate", json!({})).await.json()["key"].as_str().unwrap().to_owned();
    let long = "leak-".repeat(1600);
    assert_eq!(long.len(), 8000);
    for bad in
        ["leak-'; DROP TABLE keys; --", "leak-\" OR \"1\"=\"1", "leak-\u{e9}", "leak-\t\u{80}", "leak-eyJ.a.b", &long]
    {
        for header in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
            let value = if header == "authorization" { format!("Bearer {bad}") } else { bad.to_owned() };
            let request = Request::post("/v1/chat/completions", bodies::chat("assistant")).header(header, &value);
            let reply = exchange(bench.gateway.addr, &request).await;
            assert!(matches!(reply.status, 400 | 401), "{header}: {} {}", reply.status, reply.text());
            assert!(!reply.text().contains("leak-"), "{}", reply.text());
            let admin = Request::get("/api/keys").header(header, &value);
            let reply = exchange(bench.gateway.admin, &admin).await;
            assert!(matches!(reply.status, 400 | 401), "{header}: {} {}", reply.status, reply.text());
            assert!(!reply.text().contains("leak-"), "{}", reply.text());
        }
    }
    // In the wrong header, or in the wrong form, a right key is none.
    for (header, value) in [
        ("x-gateway-key", secret.clone()),
        ("cookie", format!("key={secret}")),
        ("authorization", format!("Basic {secret}")),
        ("authorization", secret.clone()),
    ] {
        let request = Request::post("/v1/chat/completions", bodies::chat("assistant")).header(header, &value);
        assert_eq!(exchange(bench.gateway.addr, &request).await.status, 401, "{header}");
    }
    let request = Request::get(&format!("/v1/models?key={secret}x"));
    assert_eq!(exchange(bench.gateway.addr, &request).await.status, 401);
    assert_eq!(bench.ask(&secret, "assistant").await.status, 200);

    let metrics = exchange(bench.gateway.admin, &Request::get("/metrics")).await.text();
    let (out, err) = bench.gateway.output();
    for text in out.iter().chain(&err).chain([&metrics]) {
        for leak in ["leak-", &secret, &rotated, MASTER, &bodies::key_hash(&secret)[7..]] {
            assert!(!text.contains(leak), "leaked {leak}: {text}");
        }
    }
}

/// A loopback admin listener without a key is open to programs, not to pages in a browser.
#[tokio::test]
async fn an_open_admin_api_is_closed_to_browsers() {
    let gateway = Gateway::start("[providers.m]\nkind = \"mock\"").await;
    assert_eq!(exchange(gateway.admin, &Request::get("/api/keys")).await.status, 200);
    let page = Request::post("/api/keys", "{}").header("origin", "https://evil.example");
    assert_eq!(exchange(gateway.admin, &page).await.status, 403);
    // An image of another page, and a page whose name was made to lead here: neither names its origin.
    let image = Request::get("/api/usage").header("sec-fetch-site", "cross-site");
    assert_eq!(exchange(gateway.admin, &image).await.status, 403);
    let port = gateway.admin.port();
    for (host, status) in [
        (format!("evil.example:{port}"), 403),
        (format!("10.0.0.1:{port}"), 403),
        ("localhost.evil.example".to_owned(), 403),
        (format!("LocalHost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
    ] {
        let asked = Request::get("/api/keys").header("host", &host);
        assert_eq!(exchange(gateway.admin, &asked).await.status, status, "{host}");
    }
}

#[test]
fn the_command_line_makes_keys() {
    let refused = run_to_end(&["key", "new", "support \"bot\""], "", &[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
    let made = run_to_end(&["key", "new", "support.bot@acme"], "", &[]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let (key, toml) = made.stdout.split_once("\n\n").unwrap();
    assert!(key.starts_with("gw-") && key.len() == 46, "{key}");
    assert!(!toml.contains(key), "{toml}");
    assert!(toml.contains(&format!("hash = \"{}\"", bodies::key_hash(key))), "{toml}");
    let config = format!("[providers.m]\nkind = \"mock\"\n{toml}");
    let checked = run_to_end(&["check", "{config}"], &config, &[]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let again = run_to_end(&["key", "new", "a"], "", &[]);
    assert_ne!(again.stdout.split_once('\n').unwrap().0, key);
    assert_ne!(run_to_end(&["key", "new", ""], "", &[]).code, Some(0));
    // Standard input is empty here.
    let empty = run_to_end(&["key", "hash"], "", &[]);
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(1), ""), "{empty:?}");
}

#[test]
fn the_command_line_hashes_a_key_from_standard_input() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new(ai_gateway_tests::binary())
        .args(["key", "hash"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"sk-my-own\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("hash = \"{}\"\n", bodies::key_hash("sk-my-own")));
}
