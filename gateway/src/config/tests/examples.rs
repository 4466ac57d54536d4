//! The files in `conf/`, and the file that the design fixes.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use ai_gateway_providers::Dialect;

use super::*;

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf")
}

fn world() -> Fake {
    let (cert, key) = tls::pair();
    Fake::new()
        .with_var("OPENAI_API_KEY", "sk-1")
        .with_var("ANTHROPIC_API_KEY", "sk-1")
        .with_var("GEMINI_API_KEY", "sk-1")
        .with_var("COHERE_API_KEY", "sk-1")
        .with_var("AZURE_OPENAI_API_KEY", "sk-2")
        .with_var("LOCAL_LLM_KEY", "sk-3")
        .with_var("WEBHOOK_SECRET", "sk-9")
        .with_var("REDIS_URL", "redis://127.0.0.1:6379")
        .with_var("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .with_var("AWS_SECRET_ACCESS_KEY", "sk-7")
        .with_var("GOOGLE_ACCESS_TOKEN", "sk-8")
        .with_var("CREDENTIALS_DIRECTORY", "/run/credentials/ai-gateway")
        .with_file("/run/credentials/ai-gateway/openai", "sk-4\n")
        .with_file("/run/credentials/ai-gateway/anthropic", "sk-5\n")
        .with_file("/run/credentials/ai-gateway/key_openai", "sk-9\n")
        .with_file("/run/credentials/ai-gateway/key_anthropic", "sk-10\n")
        .with_file("/run/credentials/ai-gateway/key_admin", "an-admin-key-of-some-length\n")
        .with_file("/etc/ai-gateway/groq.key", "sk-6\n")
        .with_file("/etc/ai-gateway/tls/fullchain.pem", &cert)
        .with_file("/etc/ai-gateway/tls/key.pem", key)
        .with_file("/etc/ai-gateway/company-ca.pem", cert)
}

fn load(name: &str) -> Config {
    let text = fs::read_to_string(conf().join(name)).unwrap();
    let loaded = Config::parse(&text, name, &world()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, [], "{name}");
    loaded.config
}

#[test]
fn every_example_is_a_configuration() {
    let mut seen = 0;
    for entry in fs::read_dir(conf()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".toml") {
            load(&name);
            seen += 1;
        }
    }
    assert!(seen >= 6);
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let example = load("example.toml");
    assert_eq!(example.server, ServerConfig::default());
    assert_eq!(example.ledger, Some(LedgerConfig::at("/var/lib/ai-gateway/ledger.db".into())));
    assert_eq!(example.access_log, AccessLogConfig::default());
    let mut defaults = TelemetryConfig::from_environment(
        &Fake::new().with_var("OTEL_TRACES_EXPORTER", "otlp").with_var("OTEL_METRICS_EXPORTER", "otlp"),
        &mut Vec::new(),
    );
    defaults.resource.insert("deployment.environment.name".to_owned(), "production".to_owned());
    if let Some(traces) = &mut defaults.traces {
        traces.propagate = vec!["azure".to_owned()];
    }
    assert_eq!(example.telemetry, defaults);
    let assistant = &example.models["assistant"];
    assert_eq!((assistant.targets[0].timeouts, &assistant.retry), (TimeoutsConfig::default(), &RetryConfig::of(1)));
    let (mut written, minimal) = (example.providers["primary"].clone(), load("minimal.toml"));
    assert_eq!(written.headers.len(), 1);
    written.headers.clear();
    written.name = "openai".to_owned();
    // The order of dialects that somebody writes is kept to, whatever a model could do in another one.
    assert!(!std::mem::replace(&mut written.quirks.reasons_in_responses, true));
    assert_eq!(written, minimal.providers["openai"]);
}

#[test]
fn every_supported_key_is_in_the_example() {
    let text = fs::read_to_string(conf().join("example.toml")).unwrap();
    let schema = serde_json::to_value(schema()).unwrap();
    // What it says in words, or as a table.
    let in_words = [
        ("Jwt", "issuers"),
        ("TraitsText", "gemini_3"),
        ("TraitsText", "max_effort"),
        ("TraitsText", "min_effort"),
        ("TraitsText", "prefill"),
        ("TraitsText", "thinking"),
    ];
    for (section, definition) in schema["definitions"].as_object().unwrap() {
        let Some(properties) = definition["properties"].as_object() else { continue };
        for key in properties.keys() {
            let wanted =
                if in_words.contains(&(section.as_str(), key.as_str())) { key.clone() } else { format!("{key} = ") };
            assert!(text.contains(&wanted), "`{key}` of {section} is not in conf/example.toml");
        }
    }
}

#[test]
fn several_providers() {
    let config = load("multi-provider.toml");
    let weights: Vec<_> = config.models["assistant"].targets.iter().map(|t| (t.weight, t.priority)).collect();
    assert_eq!(weights, [(90, 0), (10, 0), (1, 1)]);
    assert_eq!(config.providers["local"].ca.as_ref().unwrap().certificates.len(), 1);
    assert_eq!(config.providers["anthropic"].credentials[0].key().unwrap().of(Dialect::Anthropic).0, "x-api-key");
    let (support, research) = (&config.keys[0], &config.keys[1]);
    assert!(support.may_use("assistant") && !support.may_use("claude") && !support.may_use("openai/gpt-5"));
    assert!(research.may_use("claude") && research.may_use("openai/gpt-5") && !research.may_use("groq/x"));
}

/// Design §10, word for word, except for what the file must find.
const DESIGN: &str = r#"
[server]
listen = ["127.0.0.1:8080"]
admin = "127.0.0.1:9090"
max_body = "32MiB"
max_buffered = "1GiB"
drain = "10m"
tls = { cert = "file", key = "file" }

[providers.openai]
kind = "openai"
api_key = "env:OPENAI_API_KEY"

[providers.local]
kind = "openai-compatible"
base_url = "http://127.0.0.1:8000/v1"

[providers.aws]
kind = "bedrock"
region = "us-east-1"
access_key_id = "env:A"
secret_access_key = "env:B"
session_token = "env:C"

[providers.google]
kind = "vertex"
project = "acme"
region = "us-central1"
credentials = "file:/etc/ai-gateway/sa.json"
access_token = "env:T"

[models.assistant]
strategy = "weighted"
targets = [
  { provider = "openai", model = "gpt-5", weight = 90 },
  { provider = "local", model = "qwen3", weight = 10 },
  { provider = "aws", model = "anthropic.claude-sonnet-4-5", priority = 1 },
]
timeouts = { connect = "3s", first_token = "30s", idle = "60s", total = "10m" }
retry = { attempts = 3, on = ["connect", "timeout", "429", "5xx", "overloaded"] }
cache = { ttl = "10m" }
lossy = "warn"

[[routes]]
when = { header = { "x-team" = "research" }, model = "gpt-*" }
model = "assistant"

[[keys]]
name = "support-bot"
hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
models = ["assistant", "openai/*"]
limits = { requests = "600/min", tokens = "200000/min", concurrent = 32 }
budget = { usd = 50.0, per = "month" }
cache = "shared"

[cache]
max_size = "512MiB"

[store]
redis = "redis://127.0.0.1:6379"

[ledger]
path = "/var/lib/ai-gateway/ledger.db"

[[plugins]]
use = "pii"
action = "mask"
"#;

#[test]
fn the_types_know_every_key_of_the_design() {
    let file: File = toml::from_str(DESIGN).unwrap();
    assert_eq!((file.providers.len(), file.routes.len(), file.plugins.len()), (4, 1, 1));
    let when = file.routes[0].when.as_ref().unwrap();
    assert_eq!(when.header.as_ref().unwrap()["x-team"].0[0].value, "research");
    assert_eq!("600/min".parse::<Rate>().unwrap().count, 600);
    assert_eq!(file.keys[0].limits.as_ref().unwrap().0[0].requests.as_ref().unwrap().value.0, "600/min");
}

#[test]
fn the_schema_lists_every_key_of_the_design() {
    let schema = serde_json::to_value(schema()).unwrap();
    let mut known = BTreeSet::new();
    collect(&schema, &mut known);
    let design: toml::Table = toml::from_str(DESIGN).unwrap();
    let mut used = BTreeSet::new();
    // Names of providers, models and headers are the user's.
    keys(&toml::Value::Table(design), &mut used);
    for name in ["openai", "local", "aws", "google", "assistant", "x-team"] {
        used.remove(name);
    }
    // The two names are keys too, elsewhere.
    assert!(used.contains("model") && used.contains("region"));
    let missing: Vec<_> = used.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn collect(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                into.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| collect(value, into));
        }
        Value::Array(array) => array.iter().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn keys(value: &toml::Value, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            into.extend(table.keys().cloned());
            table.values().for_each(|value| keys(value, into));
        }
        toml::Value::Array(array) => array.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn everything_public_in_the_schema_is_described() {
    let schema = serde_json::to_value(schema()).unwrap();
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "`{key}` of {name} has no description");
        }
    }
}

#[test]
fn the_committed_schema_is_this_one() {
    let path = conf().join("schema.json");
    let now = schema_json() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &now).unwrap();
    }
    assert!(!now.contains("null"), "TOML has none");
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == now, "run `ai-gateway schema > conf/schema.json`, or this test with UPDATE_SCHEMA=1");
}
