//! `explain`, as a header and as a command: what it says, to whom, and that a live request then does just that.

use std::io::Write as _;

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Outcome, Stub, bodies, run_to_end};
use serde_json::{Value, json};

/// Stands in every prompt, and in no explanation.
const PROMPT: &str = "my secret plan";

/// The providers `chat` and `claude` at these origins, and models on them.
fn config(chat: &str, claude: &str) -> String {
    format!(
        "{}{}\
        [models.turns]\nstrategy = \"round_robin\"\ntargets = [{{ provider = \"chat\", model = \"a\" }}, \
         {{ provider = \"chat\", model = \"b\" }}, {{ provider = \"chat\", model = \"c\" }}]\n\
        [models.cheap]\nstrategy = \"lowest_cost\"\nretry = {{ attempts = 2 }}\ntimeouts = {{ idle = \"7s\" }}\ntargets = [\
         {{ provider = \"chat\", model = \"dear\", price = {{ input = 100, output = 100 }}, context = 8000 }}, \
         {{ provider = \"claude\", model = \"fair\", price = {{ input = 1, output = 2 }} }}, \
         {{ provider = \"chat\", model = \"unknown\", priority = 1 }}]\n\
        [[routes]]\nname = \"vision\"\nwhen = {{ images = true }}\nmodel = \"turns\"\n\
        [[routes]]\nname = \"odd\"\nwhen = {{ cel = \"request.headers['x-a'] == 'b'\" }}\nmodel = \"turns\"\n\
        [[routes]]\nname = \"research\"\nwhen = {{ header = {{ x-team = \"re*\" }} }}\nmodel = \"cheap\"\n\
        mirror = {{ target = {{ provider = \"chat\", model = \"copy\" }} }}\n\
        [[routes]]\nname = \"closed\"\nwhen = {{ header = {{ x-no = \"*\" }} }}\nreject = {{ message = \"closed\", status = 451 }}\n",
        bodies::openai_provider("chat", chat),
        bodies::anthropic_provider("claude", claude),
    )
}

fn keys() -> String {
    format!(
        "[[keys]]\nname = \"curious\"\nhash = \"{}\"\nallow = [\"explain\"]\n[[keys]]\nname = \"plain\"\nhash = \"{}\"\n",
        bodies::key_hash("sk-curious"),
        bodies::key_hash("sk-plain"),
    )
}

/// A gateway, and the stub behind `chat`.
async fn bench(more: &str) -> (Stub, Gateway) {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateway = Gateway::start(&format!("{}{more}", config(&stub.origin(), &stub.origin()))).await;
    (stub, gateway)
}

/// Path and body of a small request for `model`.
fn ask_in(dialect: Dialect, model: &str) -> (String, Value) {
    let messages = json!([{"role": "user", "content": PROMPT}]);
    match dialect {
        Dialect::OpenAiChat => ("/v1/chat/completions".into(), json!({"model": model, "messages": messages})),
        Dialect::Cohere | Dialect::Own(_) => ("/v2/chat".into(), json!({"model": model, "messages": messages})),
        Dialect::OpenAiResponses => ("/v1/responses".into(), json!({"model": model, "input": PROMPT})),
        Dialect::Anthropic => ("/v1/messages".into(), json!({"model": model, "max_tokens": 9, "messages": messages})),
        Dialect::Gemini => (
            format!("/v1beta/models/{model}:generateContent"),
            json!({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}),
        ),
        Dialect::Bedrock => {
            (format!("/model/{model}/converse"), json!({"messages": [{"role": "user", "content": [{"text": PROMPT}]}]}))
        }
    }
}

fn request(dialect: Dialect, model: &str) -> Request {
    let (path, body) = ask_in(dialect, model);
    Request::post(&path, body.to_string())
}

fn explained(request: Request) -> Request {
    request.header("x-gateway-explain", "1")
}

async fn explain(gateway: &Gateway, request: Request) -> Value {
    let reply = exchange(gateway.addr, &explained(request)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!reply.text().contains(PROMPT) && !reply.text().contains("upstream-"), "{}", reply.text());
    reply.json()
}

fn went_to(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    format!("{}/{}", reply.header("x-gateway-provider"), reply.header("x-gateway-model"))
}

#[tokio::test]
async fn a_live_request_goes_where_explained_in_six_dialects() {
    let (stub, gateway) = bench("").await;
    for (asked, dialect) in Dialect::ALL.into_iter().enumerate() {
        let first = explain(&gateway, request(dialect, "turns")).await;
        let again = explain(&gateway, request(dialect, "turns")).await;
        assert_eq!(first, again, "{dialect}: explaining takes no turn");
        assert_eq!((&first["dialect"], &first["operation"]), (&dialect.as_str().into(), &"chat".into()), "{first}");
        assert_eq!((&first["answered_by"], &first["asked_model"]), (&"target".into(), &"turns".into()), "{first}");
        assert_eq!(first["candidates"][0]["translated"], dialect != Dialect::OpenAiChat, "{first}");
        assert_eq!(stub.count(), asked, "{dialect}: no upstream call");
        let live = exchange(gateway.addr, &request(dialect, "turns")).await;
        assert_eq!(went_to(&live), first["target"].as_str().unwrap(), "{dialect}");
        // A target is less busy behind an answer's last byte.
        gateway.at_rest().await;
        let next = explain(&gateway, request(dialect, "turns")).await;
        assert_ne!(next["target"], first["target"], "{dialect}: the turn is another's");
    }
}

#[tokio::test]
async fn everything_that_decides_is_told() {
    let (stub, gateway) = bench("").await;
    let asked = || {
        let body = json!({"model": "turns", "stream": true, "seed": 5, "max_tokens": 100,
            "messages": [{"role": "user", "content": PROMPT}]});
        Request::post("/v1/chat/completions", body.to_string())
            .header("x-team", "research")
            .header("x-gateway-timeout-total", "90s")
    };
    let said = explain(&gateway, asked()).await;
    let rules = json!([
        {"rule": "vision", "matched": false, "failed": "images = true", "broke": false},
        {"rule": "odd", "matched": false, "failed": "cel \"request.headers['x-a'] == 'b'\"", "broke": true},
        {"rule": "research", "matched": true, "failed": null, "broke": false},
    ]);
    assert_eq!(said["rules"], rules, "{said:#}");
    assert_eq!((&said["rule"], &said["mirror"]), (&"research".into(), &"chat/copy".into()), "{said:#}");
    assert_eq!((&said["stream"], &said["asked_model"], &said["key"]), (&true.into(), &"turns".into(), &Value::Null));
    let retry = &said["model"]["retry"];
    assert_eq!((&said["model"]["name"], &said["model"]["strategy"]), (&"cheap".into(), &"lowest_cost".into()));
    assert_eq!((&retry["attempts"], &retry["max_wait_ms"]), (&2.into(), &10_000.into()), "{retry}");
    assert_eq!(said["expected"]["output_tokens"], 100, "{said:#}");
    assert_eq!(said["limits"], json!([]), "{said:#}");

    let [fair, dear, unknown] = [0, 1, 2].map(|place| &said["candidates"][place]);
    assert_eq!(said["target"], "claude/fair", "{said:#}");
    assert_eq!(
        (&fair["model"], &dear["model"], &unknown["model"]),
        (&"fair".into(), &"dear".into(), &"unknown".into())
    );
    let prompt = said["expected"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(fair["expected_usd"], format!("0.000{}", prompt + 200), "exact: {said:#}");
    assert_eq!((&unknown["expected_usd"], &unknown["context_window"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&dear["context_window"], &dear["credentials"], &dear["state"]),
        (&8000.into(), &1.into(), &"ready".into())
    );
    assert_eq!(
        (&fair["translated"], &fair["dropped"], &fair["dialect"]),
        (&true.into(), &json!(["seed"]), &"anthropic".into())
    );
    assert_eq!((&dear["translated"], &dear["dropped"]), (&false.into(), &json!([])));
    assert_eq!(
        (&fair["behind"], &dear["behind"]["by"], &unknown["behind"]["by"]),
        (&Value::Null, &"cost".into(), &"priority".into())
    );
    assert_eq!((&dear["spare"], &unknown["spare"]), (&false.into(), &true.into()));
    let clocks = json!({"connect_ms": 5000, "first_token_ms": 120_000, "idle_ms": 7000, "total_ms": 90_000});
    assert_eq!(fair["clocks"], clocks);

    let rejected = explain(&gateway, request(Dialect::OpenAiChat, "turns").header("x-no", "1")).await;
    let refused = json!({"status": 451, "error": "rejected", "message": "closed"});
    assert_eq!((&rejected["refused"], &rejected["rule"]), (&refused, &"closed".into()), "{rejected:#}");
    assert_eq!((&rejected["answered_by"], &rejected["target"]), (&"nobody".into(), &Value::Null));
    assert_eq!(rejected["limits"], Value::Null, "it comes to none: {rejected:#}");
    let missing = explain(&gateway, request(Dialect::Anthropic, "nothing")).await;
    assert_eq!(missing["refused"]["error"], "model_not_found", "{missing:#}");
    let listed = explain(&gateway, Request::get("/v1/models")).await;
    assert_eq!(listed["answered_by"], "gateway", "{listed:#}");
    assert_eq!(stub.count(), 0);

    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(!metrics.contains("gateway_route_errors_total{"), "an explanation counts no broken rule: {metrics}");
}

#[tokio::test]
async fn targets_that_rest_are_told_of() {
    let limited = Stub::always(Answer::json(429, "{}").header("retry-after", "40")).await;
    let well = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let config = format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"limited\", model = \"x\" }}, {{ provider = \"well\", model = \"y\", priority = 1 }}]\n",
        bodies::openai_provider("limited", &limited.origin()),
        bodies::openai_provider("well", &well.origin()),
    );
    let gateway = Gateway::start(&config).await;
    let ask = || request(Dialect::OpenAiChat, "m");
    assert_eq!(explain(&gateway, ask()).await["target"], "limited/x");
    assert_eq!(went_to(&exchange(gateway.addr, &ask()).await), "well/y");
    let said = explain(&gateway, ask()).await;
    assert_eq!((&said["target"], &said["left_out"][0]["by"]), (&"well/y".into(), &"resting".into()), "{said:#}");
    let wait = said["left_out"][0]["retry_in_ms"].as_u64().unwrap();
    assert!((30_000..=40_000).contains(&wait), "{said:#}");
    let alone = explain(&gateway, request(Dialect::OpenAiChat, "limited/x")).await;
    assert_eq!((&alone["refused"]["status"], &alone["refused"]["error"]), (&503.into(), &"all_targets_resting".into()));
    assert_eq!(limited.count(), 1);
}

#[tokio::test]
async fn only_keys_with_the_right_may_ask() {
    let (stub, gateway) = bench(&keys()).await;
    for dialect in Dialect::ALL {
        let said = explain(&gateway, request(dialect, "turns").header("x-api-key", "sk-curious")).await;
        assert_eq!(said["key"], "curious", "{dialect}: {said:#}");
        let refused =
            exchange(gateway.addr, &explained(request(dialect, "turns").header("x-api-key", "sk-plain"))).await;
        assert_eq!(refused.status, 403, "{dialect}: {}", refused.text());
        let body = refused.json();
        let (place, word) = match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => (&body["error"]["code"], "permission_denied"),
            Dialect::Anthropic => (&body["error"]["type"], "permission_error"),
            Dialect::Gemini => (&body["error"]["status"], "PERMISSION_DENIED"),
            Dialect::Bedrock | Dialect::Cohere | Dialect::Own(_) => (&body["message"], ""),
        };
        assert!(place.as_str().is_some_and(|text| text.contains(word)), "{dialect}: {body}");
        assert!(refused.text().contains("x-gateway-explain"), "{dialect}: {body}");
        let unknown =
            exchange(gateway.addr, &explained(request(dialect, "turns").header("x-api-key", "sk-none"))).await;
        assert_eq!(unknown.status, 401, "{dialect}: {}", unknown.text());
    }
    assert_eq!(stub.count(), 0);
    // Who says that it is not to be explained is answered.
    let live = request(Dialect::OpenAiChat, "turns").header("x-api-key", "sk-plain").header("x-gateway-explain", "0");
    went_to(&exchange(gateway.addr, &live).await);
}

/// Whether the cache would be used, and why not; a live request then does so.
#[tokio::test]
async fn the_use_of_the_cache_is_told() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let keys: String = ["private", "shared", "off"]
        .map(|cache| {
            let hash = bodies::key_hash(&format!("sk-{cache}"));
            format!("[[keys]]\nname = \"{cache}\"\nhash = \"{hash}\"\nallow = [\"explain\"]\ncache = \"{cache}\"\n")
        })
        .concat();
    let config = format!(
        "{}[models.kept]\ntargets = [{{ provider = \"chat\", model = \"a\" }}]\ncache = {{ ttl = \"10m\" }}\n\
         [models.plain]\ntargets = [{{ provider = \"chat\", model = \"a\" }}]\n{keys}",
        bodies::openai_provider("chat", &stub.origin())
    );
    let gateway = Gateway::start(&config).await;
    let ten = json!(600_000);
    for (key, model, more, header, expected) in [
        (
            "private",
            "kept",
            json!({}),
            None,
            json!({"used": true, "scope": "private", "ttl_ms": ten, "shared_live": true}),
        ),
        (
            "shared",
            "kept",
            json!({"cache": {"ttl": 9}}),
            None,
            json!({"used": true, "scope": "shared", "ttl_ms": 9000}),
        ),
        ("private", "kept", json!({}), Some(("cache-control", "max-age=5")), json!({"used": true, "max_age_ms": 5000})),
        (
            "private",
            "kept",
            json!({}),
            Some(("x-gateway-timeout-total", "9s")),
            json!({"shared_live": false, "ttl_ms": ten}),
        ),
        ("off", "kept", json!({}), None, json!({"used": false, "why_not": "the key has cache = \"off\""})),
        ("private", "plain", json!({}), None, json!({"used": false, "why_not": "the model has no `cache`"})),
        ("private", "kept", json!({"store": true}), None, json!({"used": false, "shared_live": false, "scope": null})),
        ("private", "kept", json!({"temperature": 1}), None, json!({"used": false, "ttl_ms": null})),
        ("private", "kept", json!({"tools": [{"type": "function"}]}), None, json!({"used": false})),
        ("private", "kept", json!({"cache": {"use-cache": false}}), None, json!({"used": false})),
    ] {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": PROMPT}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut asked = Request::post("/v1/chat/completions", body.to_string());
        asked = asked.header("x-api-key", &format!("sk-{key}"));
        if let Some((name, value)) = header {
            asked = asked.header(name, value);
        }
        let said = &explain(&gateway, asked.clone()).await["cache"];
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&said[name], value, "{key} {model} {more}: {said}");
        }
        assert_eq!(said["why_not"].is_string(), said["used"] == false, "{said}");
        let live = exchange(gateway.addr, &asked).await;
        let uses = matches!(live.header("x-gateway-cache"), "miss" | "hit");
        assert_eq!((live.status, said["used"] == true), (200, uses), "{key} {model} {more}: {said}");
    }
    let outcome = run(&config, &["--key", "private"], &json!({"model": "kept", "messages": []}));
    let line = "cache       scope private: its answer is kept for 10m, shared while it is produced";
    assert!(outcome.stdout.lines().any(|said| said == line), "{outcome:?}");
    let outcome = run(&config, &["--key", "off"], &json!({"model": "kept", "messages": []}));
    assert!(
        outcome.stdout.lines().any(|said| said == "cache       not used: the key has cache = \"off\""),
        "{outcome:?}"
    );
}

/// Runs the command on a body in a file.
fn run(config: &str, arguments: &[&str], body: &Value) -> Outcome {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(body.to_string().as_bytes()).expect("written");
    let path = file.path().to_str().expect("utf-8");
    let all: Vec<&str> = [&["explain", "--config", "{config}"], arguments, &[path]].concat();
    run_to_end(&all, config, &[])
}

#[test]
fn the_command_tells_the_same_without_any_network() {
    // Nobody listens there.
    let config = config("http://127.0.0.1:1", "http://127.0.0.1:1") + &keys();
    let (_, body) = ask_in(Dialect::OpenAiChat, "turns");
    let research = ["--key", "plain", "--header", "x-team: research"];

    let outcome = run(&config, &[&research[..], &["--json"]].concat(), &body);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let said: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!((&said["path"], &said["path_guessed"]), (&"/v1/chat/completions".into(), &true.into()), "{said:#}");
    assert_eq!(
        (&said["target"], &said["rule"], &said["key"]),
        (&"claude/fair".into(), &"research".into(), &"plain".into())
    );

    let outcome = run(&config, &research, &body);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for line in [
        "POST /v1/chat/completions  (guessed from the body; --path says otherwise)",
        "key         plain",
        "rules       vision does not match: images = true",
        "            research matches",
        "copy to     chat/copy",
        "model       cheap, strategy lowest_cost",
        "limits      there are none for this request",
        "goes to     claude/fair",
    ] {
        assert!(outcome.stdout.lines().any(|said| said == line), "no line {line:?} in\n{}", outcome.stdout);
    }
    assert!(!format!("{outcome:?}").contains(PROMPT), "{outcome:?}");

    let outcome = run(&config, &["--key", "plain", "--path", "/v1/messages"], &body);
    assert!(
        outcome.stdout.starts_with("POST /v1/messages\n") && outcome.stdout.contains("chat in anthropic"),
        "{outcome:?}"
    );
    let (_, gemini) = ask_in(Dialect::Gemini, "turns");
    for (arguments, body, words) in [
        (&["--key", "nobody"][..], &body, &["there is no key `nobody`", "curious, plain"][..]),
        (&[], &body, &["--key"]),
        (&["--key", "plain", "--path", "/nowhere"], &body, &["/nowhere", "no such endpoint"]),
        (&["--key", "plain"], &gemini, &["--path"]),
    ] {
        let outcome = run(&config, arguments, body);
        assert_eq!(outcome.code, Some(1), "{arguments:?}: {outcome:?}");
        assert!(words.iter().all(|word| outcome.stderr.contains(word)), "{arguments:?}: {outcome:?}");
    }
}

#[test]
fn the_command_needs_no_configuration() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&bodies::chat("mock/echo")).expect("written");
    let outcome = run_to_end(&["explain", "--json", file.path().to_str().expect("utf-8")], "", &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let said: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(said["target"], "mock/echo", "{said:#}");
}

/// What a limit says of a request; those of `name` that count `what`.
fn limit_of<'a>(said: &'a Value, name: &str, what: &str) -> &'a Value {
    let limits = said["limits"].as_array().unwrap_or_else(|| panic!("no limits in {said:#}"));
    let mut found = limits.iter().filter(|limit| limit["name"] == name && limit["what"] == what);
    found.next().unwrap_or_else(|| panic!("no {what} of {name:?} in {said:#}"))
}

/// A gateway with limits, at whose `chat` a request takes 12 tokens and costs 57 millionths of a dollar; `rests` does not answer.
async fn limited(stub: &Stub, rests: &Stub) -> Gateway {
    let key = |name: &str, more: &str| {
        let hash = bodies::key_hash(&format!("sk-{name}"));
        format!("[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nallow = [\"explain\"]\n{more}\n")
    };
    let config = format!(
        "{}{}{}{}{}{}\
         [models.plain]\ntargets = [{{ provider = \"chat\", model = \"a\", traits = {{ max_output = 1000 }}, price = {{ input = 1, output = 10 }} }}]\n\
         [models.kept]\ntargets = [{{ provider = \"chat\", model = \"a\" }}]\ncache = {{ ttl = \"10m\" }}\n\
         [models.rests]\ntargets = [{{ provider = \"rests\", model = \"a\" }}]\n\
         [models.rests-kept]\ntargets = [{{ provider = \"rests\", model = \"a\" }}]\ncache = {{ ttl = \"10m\" }}\n\
         [limits]\nconcurrent = 7\n",
        bodies::openai_provider("chat", &stub.origin()),
        bodies::openai_provider("rests", &rests.origin()),
        key("bot", "team = \"it\"\nlimits = { requests = \"5/day\", tokens = \"100000/day\" }"),
        key("poor", "budget = { usd = 0.0001, per = \"month\" }"),
        key("talker", "limits = { tokens = \"1060/day\" }"),
        key("free", ""),
    );
    Gateway::start(&config).await
}

fn asked_by(key: &str, model: &str) -> Request {
    request(Dialect::OpenAiChat, model).header("x-api-key", &format!("sk-{key}"))
}

/// Asks when what was asked before is booked, which happens behind its answer.
async fn live(gateway: &Gateway, key: &str, model: &str) -> Reply {
    gateway.at_rest().await;
    exchange(gateway.addr, &asked_by(key, model)).await
}

/// The explanation of a request, which is the same ten times.
async fn foreseen(gateway: &Gateway, key: &str, model: &str) -> Value {
    gateway.at_rest().await;
    let said = explain(gateway, asked_by(key, model)).await;
    for _ in 1..10 {
        let again = explain(gateway, asked_by(key, model)).await;
        assert_eq!((&again["refused"], &again["target"]), (&said["refused"], &said["target"]));
        for (before, after) in said["limits"].as_array().unwrap().iter().zip(again["limits"].as_array().unwrap()) {
            assert_eq!((&before["used"], &before["refuses"]), (&after["used"], &after["refuses"]), "it counts");
        }
    }
    said
}

/// A live request is refused as explained, with this kind of error.
async fn is_refused_as_explained(gateway: &Gateway, key: &str, model: &str, kind: &str) -> Value {
    let said = foreseen(gateway, key, model).await;
    assert_eq!(said["refused"]["error"], kind, "{key} {model}: {said:#}");
    assert_eq!((&said["answered_by"], &said["target"]), (&"nobody".into(), &Value::Null), "{said:#}");
    let reply = live(gateway, key, model).await;
    assert_eq!(said["refused"]["status"], reply.status, "{key} {model}: {}", reply.text());
    let (explained, told) = (&said["refused"]["message"], &reply.json()["error"]["message"]);
    assert_eq!(without_seconds(explained), without_seconds(told), "{key} {model}");
    said
}

/// Between two requests some time passes, and with it what is told of how long something rests.
fn without_seconds(message: &Value) -> String {
    let words = message.as_str().unwrap().split(' ');
    words.map(|word| if word.parse::<f64>().is_ok() { "_" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Each limit in force is told as a live request then meets it, and asking counts nothing.
#[tokio::test]
async fn limits_are_told_as_a_live_request_meets_them() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let rests = Stub::always(Answer::json(429, "{}").header("retry-after", "40")).await;
    let gateway = limited(&stub, &rests).await;
    assert_eq!(foreseen(&gateway, "free", "plain").await["limits"].as_array().map(Vec::len), Some(1));

    assert_ne!(live(&gateway, "bot", "rests").await.status, 200);
    for asked in 1..5 {
        let said = foreseen(&gateway, "bot", "plain").await;
        assert_eq!((&said["target"], &said["refused"]), (&"chat/a".into(), &Value::Null), "{said:#}");
        let concurrent = json!({"kind": "global", "name": "", "what": "concurrent", "per": null, "limit": 7,
            "used": 0, "takes": 1, "refuses": false, "room_in_ms": null});
        assert_eq!(limit_of(&said, "", "concurrent"), &concurrent);
        let requests = json!({"kind": "key", "name": "bot", "what": "requests", "per": "1day", "limit": 5,
            "used": asked, "takes": 1, "refuses": false, "room_in_ms": null});
        assert_eq!(limit_of(&said, "bot", "requests"), &requests);
        let tokens = limit_of(&said, "bot", "tokens");
        // A quarter of the body's 73 bytes, and a thousand for an answer whose length is not said.
        assert_eq!((&tokens["used"], &tokens["takes"]), (&(12 * (asked - 1)).into(), &1019.into()), "{said:#}");
        let reply = live(&gateway, "bot", "plain").await;
        assert_eq!((reply.status, reply.header("x-ratelimit-remaining-requests")), (200, &*(4 - asked).to_string()));
    }
    let said = is_refused_as_explained(&gateway, "bot", "plain", "key_rate_limited").await;
    assert_eq!(said["refused"]["status"], 429, "{said:#}");
    let full = limit_of(&said, "bot", "requests");
    assert_eq!((&full["used"], &full["limit"], &full["refuses"]), (&5.into(), &5.into(), &true.into()), "{said:#}");
    let wait = full["room_in_ms"].as_u64().unwrap();
    assert!((86_000_000..=88_000_000).contains(&wait), "{wait}");
    assert_eq!(limit_of(&said, "bot", "tokens")["refuses"], false, "{said:#}");

    // Who may be answered by the cache is counted before targets are chosen, others behind that.
    is_refused_as_explained(&gateway, "bot", "kept", "key_rate_limited").await;
    is_refused_as_explained(&gateway, "bot", "rests-kept", "key_rate_limited").await;
    let said = foreseen(&gateway, "bot", "rests").await;
    assert_eq!(said["refused"]["error"], "all_targets_resting", "{said:#}");
    assert_eq!(live(&gateway, "bot", "rests").await.status, 503);

    // Only live requests are counted as refused.
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    let refused = "gateway_limit_rejected_total{subject=\"key:bot\",kind=\"requests\"} 3";
    assert!(metrics.lines().any(|line| line == refused), "{metrics}");
}

#[tokio::test]
async fn budgets_and_tokens_are_told_as_a_live_request_meets_them() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateway = limited(&stub, &stub).await;
    for used in ["0", "0.000057"] {
        let said = foreseen(&gateway, "poor", "plain").await;
        let budget = limit_of(&said, "poor", "budget");
        assert_eq!(
            (&budget["kind"], &budget["per"], &budget["limit"], &budget["used"], &budget["takes"]),
            (&"key".into(), &"month".into(), &"0.0001".into(), &used.into(), &"0.010073".into()),
            "{said:#}"
        );
        assert_eq!((&budget["refuses"], &said["refused"]), (&false.into(), &Value::Null), "{said:#}");
        assert_eq!(live(&gateway, "poor", "plain").await.status, 200);
    }
    let said = is_refused_as_explained(&gateway, "poor", "plain", "budget_exceeded").await;
    let budget = limit_of(&said, "poor", "budget");
    assert_eq!((&budget["used"], &budget["refuses"]), (&"0.000114".into(), &true.into()), "{said:#}");

    for _ in 0..4 {
        assert_eq!(foreseen(&gateway, "talker", "kept").await["refused"], Value::Null);
        gateway.at_rest().await;
        let other = request(Dialect::Anthropic, "plain").header("x-api-key", "sk-talker");
        assert_eq!(exchange(gateway.addr, &other).await.status, 200);
    }
    let said = is_refused_as_explained(&gateway, "talker", "kept", "key_rate_limited").await;
    let tokens = limit_of(&said, "talker", "tokens");
    assert_eq!((&tokens["used"], &tokens["limit"]), (&48.into(), &1060.into()), "{said:#}");
    assert_eq!(tokens["takes"], 1018, "{said:#}");
}

#[test]
fn the_command_tells_what_is_configured() {
    let config = config("http://127.0.0.1:1", "http://127.0.0.1:1")
        + &keys()
        + "limits = { requests = \"5/min\", tokens = \"9000/hour\" }\nbudget = { usd = 20.5, per = \"month\" }\n\
           [limits]\nconcurrent = 7\n";
    let (_, body) = ask_in(Dialect::Anthropic, "turns");
    let outcome = run(&config, &["--key", "plain"], &body);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for line in [
        "limits      everything: 0 of 7 requests at the same time",
        "            key plain: 0 of 5 requests per 1m",
        "            key plain: 0 of 20.5 USD per month, this one 0",
    ] {
        assert!(outcome.stdout.lines().any(|said| said == line), "no line {line:?} in\n{}", outcome.stdout);
    }
    assert!(outcome.stdout.contains("key plain: 0 of 9000 tokens per 1h, this one "), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Targets and limits are told of as in a gateway that has just been started"));
    let outcome = run(&config, &["--key", "curious", "--json"], &body);
    let said: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(said["limits"].as_array().map(Vec::len), Some(1), "{said:#}");
    assert_eq!(limit_of(&said, "", "concurrent")["used"], 0, "{said:#}");
}
