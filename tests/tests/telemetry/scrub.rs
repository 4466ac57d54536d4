//! Secrets and prompts are put everywhere, and looked for everywhere.

use ai_gateway_tests::client::{H1, Reply, Request, exchange};
use ai_gateway_tests::signer::Signer;
use ai_gateway_tests::unreachable::Refusing;
use ai_gateway_tests::{
    Answer, Collector, Gateway, Protocol, Received, Redis, Setup, Step, Stub, bodies, guard, run_to_end,
};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Stands in every secret, prompt and answer, and in nothing else.
const MARK: &str = "zq7x";

fn provider(received: &Received) -> Answer {
    let body = String::from_utf8_lossy(&received.body).into_owned();
    let error = format!(r#"{{"error":{{"message":"{MARK}-error of {MARK}-key","type":"{MARK}","code":"{MARK}"}}}}"#);
    let has = |word: &str| body.contains(word) || received.target.contains(word);
    let events = || [bodies::chat_role(), bodies::chat_delta(&format!("{MARK}-said"))];
    if has("say-401") {
        Answer::json(401, error)
    } else if has("say-400") {
        Answer::json(400, error)
    } else if has("say-500") {
        Answer::json(500, error).header("x-secret", &format!("{MARK}-header"))
    } else if has("say-html") {
        Answer::status(200).header("content-type", "text/html").step(Step::Send(format!("<html>{MARK}").into()))
    } else if has("say-garbage") {
        Answer::raw(format!("{MARK} is no HTTP\r\n\r\n"))
    } else if has("say-header") {
        Answer::raw(format!("HTTP/1.1 200 OK\r\n{MARK} no colon\r\ncontent-length: 0\r\n\r\n"))
    } else if has("say-json") {
        Answer::json(200, format!("{{\"{MARK}\": {MARK}"))
    } else if has("say-cut") {
        Answer::sse(events()).step(Step::Cut)
    } else if has("say-stream-error") {
        Answer::sse([format!("data: {error}\n\n")])
    } else if received.target.ends_with("/embeddings") {
        let data = json!([{"object": "embedding", "index": 0, "embedding": [1, 2]}]);
        Answer::json(200, json!({"object": "list", "model": "e", "data": data}).to_string())
    } else if received.target.ends_with("/moderations") {
        let result = json!({"flagged": has("say-flagged"), "categories": {}, "category_scores": {}});
        Answer::json(200, json!({"id": "1", "model": "o", "results": [result]}).to_string())
    } else if has("\"stream\":true") {
        let rest = [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.into()];
        Answer::sse(events().into_iter().chain(rest)).header("set-cookie", &format!("{MARK}-cookie"))
    } else {
        Answer::json(200, bodies::chat_answer(&format!("{MARK}-said")))
    }
}

fn everything_below(dir: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        if entry.path().is_dir() {
            everything_below(&entry.path(), into);
        } else {
            into.push((entry.path().display().to_string(), std::fs::read(entry.path()).expect("a file")));
        }
    }
}

#[tokio::test]
async fn no_output_holds_a_secret_or_a_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(provider).await;
    let collector = Collector::start().await;
    let origin = stub.origin();
    let key = format!("{MARK}-client-key-of-some-length");
    let config = format!(
        r#"
[providers.chat]
kind = "openai-compatible"
base_url = "{origin}/v1"
api_key = "{MARK}-provider-key"
headers = {{ x-extra = "{MARK}-provider-header" }}
health = {{ failures = 0, rate = 0 }}
[providers.claude]
kind = "anthropic"
base_url = "{origin}"
api_keys = ["{MARK}-key-1", "{MARK}-key-2"]
health = {{ failures = 0, rate = 0 }}
[providers.aws]
kind = "bedrock"
region = "us-east-1"
base_url = "{origin}"
access_key_id = "AKID{MARK}"
secret_access_key = "{MARK}-aws"
session_token = "{MARK}-session"
[providers.gone]
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
api_key = "{MARK}-gone"
[models.m]
targets = [{{ provider = "gone", model = "x" }}, {{ provider = "chat", model = "y", priority = 1 }}]
[[keys]]
name = "k"
hash = "{}"
limits = {{ requests = "100000/min", tokens = "100000000/min" }}
[ledger]
path = "{}"
[access_log]
to = "file:{}"
[telemetry]
{}traces = {{ propagate = ["*"] }}
metrics = {{ every = "200ms" }}
"#,
        bodies::key_hash(&key),
        dir.path().join("ledger.db").display(),
        dir.path().join("access.log").display(),
        collector.otlp(Protocol::Http).replace("x-tenant", &format!("authorization = \"{MARK}-otlp\", x-tenant")),
    );
    let mut gateway = Gateway::builder()
        .server(&format!("admin_key = \"{MARK}-admin-key-of-some-length\""))
        .config(&config)
        .env("RUST_LOG", "trace")
        .start()
        .await;

    let text = format!("{MARK}-prompt");
    let chat = |model: &str, stream: bool| {
        format!(
            r#"{{"model":"{model}","stream":{stream},"max_tokens":5,"messages":[{{"role":"system","content":"{text}"}},{{"role":"user","content":"{text}"}}],"tools":[{{"type":"function","function":{{"name":"f","description":"{text}","parameters":{{"type":"object"}}}}}}],"stop":["{text}"],"unknown":"{text}"}}"#
        )
    };
    let mut requests = Vec::new();
    for behaviour in [
        "",
        "say-400",
        "say-500",
        "say-html",
        "say-garbage",
        "say-header",
        "say-json",
        "say-cut",
        "say-stream-error",
        // The last: credentials that were refused rest for a while.
        "say-401",
    ] {
        for stream in [false, true] {
            let named = |provider: &str| format!("{provider}/a{behaviour}");
            requests.push(Request::post("/v1/chat/completions", chat(&named("chat"), stream)));
            requests.push(Request::post("/v1/chat/completions", chat(&named("claude"), stream)));
            requests.push(Request::post("/v1/chat/completions", chat(&named("aws"), stream)));
            let message = format!(
                r#"{{"model":"{}","max_tokens":5,"stream":{stream},"system":"{text}","messages":[{{"role":"user","content":"{text}"}}]}}"#,
                named("chat")
            );
            requests.push(Request::post("/v1/messages", message));
        }
    }
    requests.push(Request::post("/v1/chat/completions", chat("m", true)));
    requests.push(Request::post("/v1/embeddings", format!(r#"{{"model":"chat/e","input":"{text}"}}"#)));
    requests.push(Request::post("/v1/completions", format!(r#"{{"model":"chat/c","prompt":"{text}"}}"#)));
    requests.push(Request::post("/v1/chat/completions", format!(r#"{{"model":"chat/x","messages":"{text}"#)));
    requests
        .push(Request::post("/v1/chat/completions", format!(r#"{{"messages":[{{"role":"{text}","content":5}}]}}"#)));
    requests.push(Request::post("/v1/chat/completions", text.clone()));
    requests.push(Request::get(&format!("/v1/models?key={key}&x={text}")));
    requests.push(Request::get(&format!("/no/such/path?key={text}")));
    for (number, request) in requests.iter_mut().enumerate() {
        let header =
            [("authorization", format!("Bearer {key}")), ("x-api-key", key.clone()), ("x-goog-api-key", key.clone())];
        let (name, value) = &header[number % 3];
        request.headers.push(((*name).to_owned(), value.clone()));
        request.headers.push(("cookie".to_owned(), text.clone()));
        request.headers.push(("x-anything".to_owned(), text.clone()));
        request.headers.push(("traceparent".to_owned(), format!("00-{text}")));
        if !request.target.contains('?') {
            request.target.push_str(&format!("?beta={text}"));
        }
    }
    // Not with a right key, in every way to send one.
    let wrong = chat("m", false);
    for (name, value) in [
        ("authorization", format!("Bearer {text}")),
        ("x-api-key", text.clone()),
        ("authorization", text.clone()),
        ("api-key", text.clone()),
    ] {
        requests.push(Request::post("/v1/chat/completions", wrong.clone()).header(name, &value));
    }
    let total = requests.len();
    let mut answered = 0;
    for request in &requests {
        let mut client = H1::connect(gateway.addr).await;
        if client.try_exchange(request).await.is_some_and(|reply| reply.status == 200) {
            answered += 1;
        }
    }
    let reached = stub.count();
    assert!(answered >= 5 && reached >= total / 2, "{answered} of {total}, {reached} at the provider");

    let mut admin = H1::connect(gateway.admin).await;
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();
    for path in ["/metrics", "/api/targets", "/api/limits", "/api/keys", "/api/usage", "/health/ready"] {
        for key in [format!("{MARK}-admin-key-of-some-length"), format!("{MARK}-wrong")] {
            let reply = admin.exchange(&Request::get(path).header("authorization", &format!("Bearer {key}"))).await;
            outputs.push((format!("{path} ({})", reply.status), reply.body.to_vec()));
        }
    }
    what_is_left(&mut gateway, &collector, dir.path(), &mut outputs).await;
    for name in ["access.log", "ledger.db", "traces and metrics", "/metrics (200)"] {
        let found = outputs.iter().any(|(output, bytes)| output.contains(name) && bytes.len() > 1_000);
        assert!(found, "{name} has something to be searched");
    }
    let log = outputs.iter().find(|(name, _)| name.ends_with("access.log")).expect("the access log");
    assert!(log.1.iter().filter(|byte| **byte == b'\n').count() >= total, "a line for each");
    hold_none_of(&[MARK], &outputs);
}

/// Ends the gateway. What it has written, sent, and left in `dir`.
async fn what_is_left(gateway: &mut Gateway, sent: &Collector, dir: &Path, outputs: &mut Vec<(String, Vec<u8>)>) {
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let (stdout, stderr) = gateway.output();
    outputs.push(("standard output".into(), stdout.join("\n").into_bytes()));
    outputs.push(("standard error".into(), stderr.join("\n").into_bytes()));
    outputs.push(("traces and metrics".into(), sent.dump().await.into_bytes()));
    everything_below(dir, outputs);
}

fn hold_none_of(secrets: &[&str], outputs: &[(String, Vec<u8>)]) {
    for (name, bytes) in outputs {
        let text = String::from_utf8_lossy(bytes);
        if let Some(at) = secrets.iter().find_map(|secret| text.find(secret)) {
            let (from, to) = (text.floor_char_boundary(at.saturating_sub(300)), text.ceil_char_boundary(at + 100));
            panic!("{name} holds it: …{}…", &text[from..to]);
        }
    }
}

/// A webhook that does not get on well with its gateway.
async fn hook() -> Stub {
    let verdict = format!(r#"{{"action":"{MARK}"}}"#);
    let answers = [
        Answer::json(200, r#"{"action":"pass"}"#),
        Answer::json(200, verdict.clone()),
        Answer::json(200, format!("{MARK} is no JSON")),
        Answer::json(500, verdict),
        Answer::raw(format!("{MARK} is no HTTP\r\n\r\n")),
        Answer::json(200, format!(r#"{{"action":"reject","message":"{MARK}-no"}}"#)),
    ];
    let calls = AtomicUsize::new(0);
    Stub::start(move |_| answers[calls.fetch_add(1, Ordering::Relaxed) % answers.len()].clone()).await
}

/// What looks at texts, what keeps them, keys that come from elsewhere, and files that are refused.
#[tokio::test(flavor = "multi_thread")]
async fn nor_does_what_guards_and_what_keeps() {
    if !Redis::is_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(Setup::One).await;
    let (up, hook, nobody, collector) =
        (Stub::start(provider).await, hook().await, Refusing::new(), Collector::start().await);
    let (takes, refuses) = (Stub::always(Answer::status(200)).await, Stub::always(Answer::json(500, MARK)).await);
    let signer = Signer::new();
    let public = json!({"keys": [signer.jwk("a")]}).to_string();
    let issuer = Stub::always(Answer::json(200, public)).await;
    let (key, admin) = (format!("{MARK}-client-key-of-some-length"), format!("{MARK}-admin-key-of-some-length"));
    let config = format!(
        r#"
[providers.up]
kind = "openai-compatible"
base_url = "{up}/v1"
api_key = "{MARK}-provider"
health = {{ failures = 0, rate = 0 }}
[models.m]
targets = [{{ provider = "up", model = "y" }}]
[models.kept]
targets = [{{ provider = "up", model = "z" }}]
cache = {{ ttl = "10m", semantic = {{ model = "up/e", threshold = 0.9 }} }}
[[keys]]
name = "k"
hash = "{hash}"
cache = "shared"
allow = ["explain"]
[[keys]]
name = "staff"
[[keys]]
name = "guests"
[jwt]
issuers = [
    {{ issuer = "https://id.example", audience = "a", jwks = "{issuer}/keys?x={MARK}", key = "staff" }},
    {{ issuer = "https://gone.example", audience = "a", jwks = "{gone}/keys?x={MARK}", key = "guests" }},
]
[store]
path = "{keys}"
redis = "{store}"
timeout = "2s"
[cache]
redis = true
[ledger]
path = "{ledger}"
[telemetry]
{otlp}metrics = {{ every = "200ms" }}
[[plugins]]
name = "hook"
when = {{ header = {{ x-plugin = "hook" }} }}
use = "webhook"
url = "{hook}/check?token={MARK}-query"
secret = "{MARK}-hmac"
headers = {{ authorization = "{MARK}-hook" }}
on = ["request", "answer"]
[[plugins]]
name = "gone"
when = {{ header = {{ x-plugin = "gone" }} }}
use = "webhook"
url = "{gone}/check?token={MARK}-query"
on_error = "open"
[[plugins]]
name = "judge"
when = {{ header = {{ x-plugin = "judge" }} }}
use = "moderation"
model = "up/o"
on = ["request", "answer"]
[[plugins]]
name = "sink"
when = {{ header = {{ x-plugin = "sink" }} }}
use = "log"
url = "{takes}/ingest?key={MARK}-sink"
headers = {{ authorization = "{MARK}-sink" }}
[[plugins]]
name = "full"
when = {{ header = {{ x-plugin = "full" }} }}
use = "log"
url = "{refuses}/ingest?key={MARK}-sink"
[[plugins]]
name = "words"
when = {{ header = {{ x-plugin = "words" }} }}
use = "deny"
words = ["{MARK}-prompt"]
"#,
        up = up.origin(),
        hash = bodies::key_hash(&key),
        issuer = issuer.origin(),
        keys = dir.path().join("keys.db").display(),
        store = redis.url().replace("//", &format!("//:{MARK}-redis@")),
        ledger = dir.path().join("ledger.db").display(),
        otlp = collector.otlp(Protocol::Http),
        hook = hook.origin(),
        takes = takes.origin(),
        refuses = refuses.origin(),
        gone = format_args!("http://{MARK}-user:{MARK}-password@{}", nobody.addr),
    );
    let server = format!("admin_key = \"{admin}\"");
    let mut gateway = Gateway::builder().server(&server).config(&config).env("RUST_LOG", "trace").start().await;
    // Its password is wrong, and then right.
    gateway.admin_when("/health/ready", "no store", |ready| ready["reasons"] != json!([])).await;
    redis.command(&["CONFIG", "SET", "requirepass", &format!("{MARK}-redis")]).await;
    gateway.admin_when("/health/ready", "the store", |ready| ready["reasons"] == json!([])).await;
    let ask = async |key: &str, model: &str, plugin: &str, mut more: Value| -> Reply {
        let more = more.as_object_mut().unwrap();
        let text = format!("{MARK}-prompt {}", more.remove("say").unwrap_or_default());
        let mut body = json!({"model": model, "user": "u", "messages": [{"role": "user", "content": text}]});
        body.as_object_mut().unwrap().append(more);
        let request = Request::post("/v1/chat/completions", body.to_string());
        exchange(gateway.addr, &request.header("x-api-key", key).header("x-plugin", plugin)).await
    };
    let of_admin = async |method: &str, path: &str, body: Value| -> Reply {
        let mut request = Request::post(path, if body.is_null() { String::new() } else { body.to_string() });
        request.method = method.to_owned();
        exchange(gateway.admin, &request.header("authorization", &format!("Bearer {admin}"))).await
    };

    // Plugins, whatever comes of what they ask.
    for plugin in ["hook", "gone", "judge", "sink", "full", "words"] {
        for say in ["", "say-flagged", "say-500", "say-garbage"] {
            for stream in [false, true] {
                ask(&key, "m", plugin, json!({"stream": stream, "say": say})).await;
            }
        }
    }
    assert!(hook.count() >= 8 && String::from_utf8_lossy(&takes.next().await.body).contains(MARK));
    guard("the other sink is given up", async {
        loop {
            let reply = ask(&key, "m", "full", json!({})).await;
            if gateway.log_of(reply.header("x-request-id")).await["tags"] == json!(["full.log=lost"]) {
                break;
            }
        }
    })
    .await;

    // Questions that are nearly the same, and one that gets no vector.
    let mut seen = Vec::new();
    for more in
        [json!({}), json!({}), json!({"say": "again"}), json!({"say": "say-500"}), json!({"cache": {"ttl": MARK}})]
    {
        let reply = ask(&key, "kept", "", more).await;
        seen.push((reply.header("x-gateway-cache").to_owned(), !reply.header("x-gateway-cache-distance").is_empty()));
    }
    let seen: Vec<_> = seen.iter().map(|(cache, near)| (&**cache, *near)).collect();
    assert_eq!(seen[..3], [("miss", false), ("hit", false), ("hit", true)]);
    let explained = Request::post("/v1/chat/completions", bodies::chat("m")).header("x-gateway-explain", "1");
    assert_eq!(exchange(gateway.addr, &explained.header("authorization", &format!("Bearer {key}"))).await.status, 200);

    // Keys that are made, and those of issuers.
    let made = of_admin("POST", "/api/keys", json!({"name": "bot", "expires": "90d"})).await.json();
    let turned = of_admin("POST", "/api/keys/bot/rotate", json!({"overlap": "1h"})).await.json();
    let secrets = [&made, &turned].map(|made| made["key"].as_str().unwrap().to_owned());
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let token = |issuer: &str, kid: &str, signer: &Signer| {
        let claims = json!({"iss": issuer, "aud": "a", "sub": "ada", "exp": expires, "email": MARK});
        signer.token(kid, &claims)
    };
    let home = "https://id.example";
    let good = token(home, "a", &signer);
    let tokens = [
        token(home, "a", &Signer::new()),
        token(home, MARK, &signer),
        token("https://gone.example", "a", &signer),
        token(MARK, "a", &signer),
    ];
    for key in secrets.iter().chain([&good]) {
        assert_eq!(ask(key, "m", "", json!({})).await.status, 200);
    }
    for key in &tokens {
        assert_ne!(ask(key, "m", "", json!({})).await.status, 200);
    }

    // Files that are refused.
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();
    let more = |table: &str| format!("{config}\n{table}\n");
    for (number, file) in [
        more(&format!("[providers.z]\nkind = \"openai\"\napi_key = \"{MARK}-new\"\nbase_ur = \"x\"")),
        more(&format!("[providers.z]\nkind = \"openai\"\napi_key = [\"{MARK}-new\"]")),
        more(&format!("[providers.z]\nkind = \"openai\"\napi_key = \"{MARK}-new")),
        more(&format!("[providers.z]\nkind = \"openai\"\napi_keys = {{ a = \"{MARK}-new\" }}")),
        config.replace("secret = ", "secrets = "),
        config.replace("headers = ", "header = "),
        config.replace(
            &format!("headers = {{ authorization = \"{MARK}-sink\" }}"),
            &format!("headers = {{ authorization = [\"{MARK}-sink\"] }}"),
        ),
        config.replace("/check?", ":port/check?"),
        config.replace("redis://", "rediz://"),
        config.replace(redis.url().trim_start_matches("redis://"), "127.0.0.1:x"),
        config.replace("[store]", &format!("[store]\npassword = \"{MARK}\"")),
    ]
    .iter()
    .enumerate()
    {
        gateway.write(&server, file);
        let checked = run_to_end(&["check", gateway.file().to_str().unwrap()], "", &[]);
        assert_eq!(checked.code, Some(1), "file {number}");
        outputs.push((format!("the check of file {number}"), (checked.stdout + &checked.stderr).into_bytes()));
        let reload = of_admin("POST", "/api/reload", Value::Null).await;
        assert_eq!(reload.status, 400, "file {number}: {}", reload.text());
        outputs.push((format!("the reload of file {number}"), reload.body.to_vec()));
        outputs.push((
            format!("the status after file {number}"),
            of_admin("GET", "/api/status", Value::Null).await.body.to_vec(),
        ));
    }
    gateway.write(&server, &config);
    let reload = of_admin("POST", "/api/reload", Value::Null).await;
    assert_eq!(reload.status, 200, "{}", reload.text());

    redis.kill();
    gateway.admin_when("/health/ready", "the store is lost", |ready| ready["reasons"] != json!([])).await;
    ask(&key, "kept", "", json!({"say": "say-500 once more"})).await;

    for path in ["status", "limits", "targets", "cache", "keys", "keys/bot", "usage", "usage?by=customer"] {
        let said = of_admin("GET", &format!("/api/{path}"), Value::Null).await;
        assert_eq!(said.status, 200, "{path}");
        outputs.push((path.to_owned(), said.body.to_vec()));
    }
    let file = gateway.file();
    let reported = run_to_end(&["usage", "--config", file.to_str().unwrap()], "", &[]);
    for (command, said) in [("status", gateway.command(&["status"])), ("usage", reported)] {
        assert_eq!(said.code, Some(0), "{command}: {}", said.stderr);
        outputs.push((format!("the command {command}"), said.stdout.into_bytes()));
    }
    outputs.push(("metrics".into(), exchange(gateway.admin, &Request::get("/metrics")).await.body.to_vec()));
    what_is_left(&mut gateway, &collector, dir.path(), &mut outputs).await;
    let parts = tokens.iter().chain([&good]).flat_map(|token| token.split('.').skip(1));
    let secrets: Vec<&str> = parts.chain(secrets.iter().map(String::as_str)).chain([MARK]).collect();
    hold_none_of(&secrets, &outputs);
}
