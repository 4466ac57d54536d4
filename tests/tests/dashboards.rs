//! `conf/grafana` and `conf/prometheus` against a real Prometheus that scrapes the real binary: every panel has data, and
//! every alert goes by metrics that there are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Gateway, Mock, Prometheus, Redis, Setup, bodies, unreachable::Refusing};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

fn conf(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../conf").join(file)
}

fn dashboard() -> Value {
    serde_json::from_slice(&std::fs::read(conf("grafana/ai-gateway.json")).expect("the dashboard")).expect("JSON")
}

/// The title and the expressions of every panel, the variables filled in.
fn panels(dashboard: &Value) -> Vec<(&str, Vec<String>)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let mut expressions = Vec::new();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut expression = target["expr"].as_str().expect("an expression").to_owned();
            for variable in dashboard["templating"]["list"].as_array().expect("variables") {
                expression = expression.replace(&format!("${}", variable["name"].as_str().expect("a name")), ".*");
            }
            expression = expression.replace("$__rate_interval", "10s").replace("$__range", "30s");
            assert!(!expression.contains('$'), "a variable that there is not: {expression}");
            expressions.push(expression);
        }
        if !expressions.is_empty() {
            found.push((panel["title"].as_str().expect("a title"), expressions));
        }
    }
    found
}

/// The names of this project's metrics in an expression.
fn metrics(expression: &str) -> BTreeSet<String> {
    // Labels stand in braces, or in parentheses behind `by`.
    let mut plain = String::new();
    let mut hidden = 0_usize;
    for character in expression.chars() {
        match character {
            '{' => hidden += 1,
            '}' => hidden -= 1,
            '(' if hidden > 0 || plain.trim_end().ends_with(" by") => hidden += 1,
            ')' if hidden > 0 => hidden -= 1,
            _ if hidden == 0 => plain.push(character),
            _ => {}
        }
        if hidden == 0 && matches!(character, '(' | ')' | '}') {
            plain.push('|');
        }
    }
    let words = plain.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let ours = |word: &&str| ["gateway_", "gen_ai_", "process_"].iter().any(|prefix| word.starts_with(prefix));
    words.filter(ours).map(str::to_owned).collect()
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).output().expect("promtool");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
}

#[test]
fn the_alerts_are_rules_and_fire_when_they_should() {
    if Prometheus::is_installed() {
        promtool(&["check", "rules", &conf("prometheus/alerts.yml").to_string_lossy()]);
        promtool(&["test", "rules", &conf("prometheus/alerts_test.yml").to_string_lossy()]);
        promtool(&["check", "rules", &conf("prometheus/envoy-names.yml").to_string_lossy()]);
    }
}

/// The expressions of a file of rules.
fn rules(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(conf(file)).expect("the rules");
    let rules: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    rules.iter().map(|rule| rule["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// A gateway in which everything happens that the dashboard shows.
async fn eventful(mock: &Mock, redis: &Redis, dead: &Refusing, ledger: &std::path::Path) -> Gateway {
    let price = "price = { input = \"1\", output = \"10\", cache_read = \"0.1\" }";
    let target = |provider: &str, model: &str| format!("{{ provider = \"{provider}\", model = \"{model}\", {price} }}");
    let named = mock.provider("named", Dialect::OpenAiChat).replace("127.0.0.1", "localhost");
    let config = format!(
        "{named}{claude}{revoked}[providers.dead]\nkind = \"mock\"\nbase_url = \"http://{dead}/v1\"\ndialects = [\"openai-chat\"]\n\
         [models.assistant]\ntargets = [{assistant}]\n[models.rescued]\ntargets = [{rescued}]\n[models.cached]\ntargets = [{cached}]\ncache = {{ ttl = \"10m\" }}\n\
         [limits]\nwait = \"1s\"\n\
         [[keys]]\nname = \"bot\"\nhash = \"{bot}\"\nlimits = {{ tokens = \"10000000/min\" }}\nbudget = {{ usd = 5, per = \"day\" }}\n\
         [[keys]]\nname = \"poor\"\nhash = \"{poor}\"\nlimits = {{ requests = \"1/hour\" }}\n\
         [telemetry]\notlp = {{ endpoint = \"http://{dead}\", timeout = \"1s\" }}\ntraces = {{ sample = \"100%\" }}\n\
         [cache]\nredis = true\n[store]\nredis = \"{redis}\"\n[ledger]\npath = \"{ledger}\"\n",
        claude = mock.provider("claude", Dialect::Anthropic),
        revoked = mock.provider("revoked", Dialect::Anthropic),
        dead = dead.addr,
        assistant = target("named", "lorem-20-every-10ms"),
        rescued = [target("dead", "m"), target("named", "reasoning")].join(", "),
        cached = target("named", "usage-cached"),
        bot = bodies::key_hash("bot"),
        poor = bodies::key_hash("poor"),
        redis = redis.url(),
        ledger = ledger.display(),
    );
    Gateway::start(&config).await
}

/// One of each kind of request that the dashboard distinguishes.
async fn everything(gateway: &Gateway) {
    let streams = ["assistant", "rescued"].map(|model| ("bot", bodies::chat_stream(model)));
    let models = ["assistant", "rescued", "cached", "named/usage-missing", "named/status-500", "named/status-429"];
    let whole =
        models.into_iter().chain(["revoked/status-401", "no-such-model"]).map(|model| ("bot", bodies::chat(model)));
    let lossy = json!({"model": "claude/echo", "logprobs": true, "messages": [{"role": "user", "content": "hello"}]});
    let refused = ("poor", bodies::chat("assistant"));
    let all = streams.into_iter().chain(whole).chain([("bot", lossy.to_string().into()), refused]);
    let asked = all.map(|(key, body)| async move {
        exchange(gateway.addr, &Request::post("/v1/chat/completions", body).header("x-api-key", key)).await
    });
    asked.collect::<FuturesUnordered<_>>().collect::<Vec<_>>().await;
}

/// PANELS=FILE keeps what the panels show of the last minute, to be drawn.
#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_alert_has_its_metrics() {
    if !Prometheus::is_installed() || !Redis::is_installed() {
        return;
    }
    let (mock, redis, dead) = (Mock::start().await, Redis::start(Setup::One).await, Refusing::new());
    let dir = tempfile::tempdir().expect("temporary directory");
    let gateway = eventful(&mock, &redis, &dead, &dir.path().join("ledger.db")).await;
    let prometheus = Prometheus::start(gateway.admin).await;
    assert_eq!(exchange(gateway.admin, &Request::post("/api/reload", "")).await.status, 200);
    while prometheus.query("count_over_time(up[1m]) >= 12").await.is_empty() {
        everything(&gateway).await;
    }

    let dashboard = dashboard();
    let mut empty = Vec::new();
    let mut shown = Vec::new();
    let mut named = BTreeSet::new();
    for (title, expressions) in panels(&dashboard) {
        for expression in &expressions {
            let samples = prometheus.query(expression).await;
            if samples.iter().all(|sample| sample["value"][1] == "NaN") {
                empty.push(format!("{title}: {expression}"));
            }
            named.extend(metrics(expression));
            if std::env::var_os("PANELS").is_some() {
                let series = prometheus.last_minute(expression).await;
                shown.push(json!({"title": title, "expression": expression, "series": series}));
            }
        }
    }
    if let Some(file) = std::env::var_os("PANELS") {
        std::fs::write(file, json!(shown).to_string()).expect("the panels are written");
    }
    assert!(empty.is_empty(), "panels without data:\n{}", empty.join("\n"));

    for expression in rules("prometheus/alerts.yml") {
        let names = metrics(&expression);
        assert!(!names.is_empty() || expression.starts_with("up{"), "{expression}");
        named.extend(names);
    }
    for expression in rules("prometheus/envoy-names.yml") {
        assert!(!prometheus.query(&expression).await.is_empty(), "{expression}");
    }
    // Some have no series as long as nothing goes wrong.
    let exposed = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    let families: Vec<&str> =
        exposed.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let is_there = |name: &str| {
        let of = |family: &&str| name.strip_prefix(*family).is_some_and(|rest| SUFFIXES.contains(&rest));
        families.iter().any(of)
    };
    let missing: Vec<_> = named.into_iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "the binary has no such metrics: {missing:?}");
}

/// What follows on the name of a family in the names of its samples.
const SUFFIXES: [&str; 6] = ["", "_total", "_info", "_bucket", "_count", "_sum"];

#[test]
fn metrics_are_found_in_expressions() {
    let found = |expression| metrics(expression).into_iter().collect::<Vec<_>>();
    assert_eq!(
        found("sum by (gen_ai_token_type) (rate(gateway_a_total{gen_ai_b=\"gateway_c\"}[5m]))"),
        ["gateway_a_total"]
    );
    assert_eq!(found("max(gateway_a) by (gateway_x) / gen_ai_b_sum"), ["gateway_a", "gen_ai_b_sum"]);
}
