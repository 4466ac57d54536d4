//! OpenTelemetry's usual variables, beside the file and without it.

use std::time::Duration;

use super::*;

fn from(env: &Fake) -> (TelemetryConfig, Vec<String>) {
    let mut skipped = Vec::new();
    let config = TelemetryConfig::from_environment(env, &mut skipped);
    (config, skipped)
}

/// Where a collector is, as a URL.
fn place(to: &CollectorConfig) -> String {
    format!("{}://{}:{}{}", if to.tls { "https" } else { "http" }, to.host, to.port, to.path)
}

fn parse(text: &str, env: &Fake) -> Loaded {
    let text = format!("[providers.mock]\nkind = \"mock\"\n{text}");
    Config::parse(&text, "a.toml", env).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn nothing_is_sent_unless_a_collector_is_named() {
    let (config, skipped) = from(&Fake::new().with_var("OTEL_SERVICE_NAME", "x"));
    assert!(config.traces.is_none() && config.metrics.is_none() && skipped.is_empty());
    let config = parse("[telemetry]\nservice = \"y\"\n", &Fake::new()).config.telemetry;
    assert!(config.traces.is_none() && config.metrics.is_none());
    assert_eq!(config.resource["service.name"], "y");
}

#[test]
fn a_collector_in_the_environment_gets_both_signals() {
    let env = Fake::new()
        .with_var("OTEL_EXPORTER_OTLP_ENDPOINT", "https://[::1]/otel/")
        .with_var("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc=,x-b= c+d ")
        .with_var("OTEL_EXPORTER_OTLP_TIMEOUT", "2500")
        .with_var("OTEL_METRIC_EXPORT_INTERVAL", "5000")
        .with_var("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-list,team=a%2Cb")
        .with_var("OTEL_TRACES_SAMPLER", "traceidratio")
        .with_var("OTEL_TRACES_SAMPLER_ARG", "0.25");
    let (config, skipped) = from(&env);
    assert_eq!(skipped, Vec::<String>::new());
    let (traces, metrics) = (config.traces.unwrap(), config.metrics.unwrap());
    assert_eq!(place(&traces.to), "https://::1:443/otel/v1/traces");
    assert_eq!(place(&metrics.to), "https://::1:443/otel/v1/metrics");
    assert_eq!((traces.sample, traces.follow, traces.to.timeout), (2_500, false, Duration::from_millis(2_500)));
    assert_eq!(metrics.every, Duration::from_secs(5));
    let headers: Vec<_> = traces.to.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(headers, [("authorization", "Basic abc="), ("x-b", "c+d")]);
    assert_eq!((&*config.resource["service.name"], &*config.resource["team"]), ("from-list", "a,b"));
    assert!(!format!("{traces:?}").contains("abc"), "headers are secrets");

    // One signal may go elsewhere, or nowhere.
    let env = env
        .with_var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces.example/api/t")
        .with_var("OTEL_METRICS_EXPORTER", "none");
    let (config, _) = from(&env);
    assert_eq!(place(&config.traces.unwrap().to), "http://traces.example:80/api/t");
    assert!(config.metrics.is_none());
    let (config, _) = from(&env.with_var("OTEL_SDK_DISABLED", "true"));
    assert!(config.traces.is_none());
}

#[test]
fn grpc_has_its_own_port_and_paths() {
    let env = Fake::new().with_var("OTEL_TRACES_EXPORTER", "otlp").with_var("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let traces = from(&env).0.traces.unwrap();
    assert_eq!(place(&traces.to), "http://127.0.0.1:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let config = parse("[telemetry]\notlp = { protocol = \"http\" }\ntraces = {}\n", &env).config.telemetry;
    assert_eq!(place(&config.traces.unwrap().to), "http://127.0.0.1:4318/v1/traces");
}

#[test]
fn the_file_counts_before_the_environment() {
    let env = Fake::new()
        .with_var("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1")
        .with_var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:2/x")
        .with_var("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let loaded = parse(
        "[telemetry]\notlp = { endpoint = \"http://c:3/base\" }\ntraces = { sample = \"5%\", attributes = \"openinference\", content = true }\n",
        &env,
    );
    let traces = loaded.config.telemetry.traces.unwrap();
    assert_eq!(place(&traces.to), "http://c:3/base/v1/traces");
    assert_eq!((traces.sample, traces.follow, traces.attributes), (500, true, Convention::OpenInference));
    assert_eq!(traces.content, Some(ContentConfig { max: 32 << 10, redact: Vec::new() }));
    let traces = parse("", &env).config.telemetry.traces.unwrap();
    assert_eq!((place(&traces.to), traces.sample), ("http://b:2/x".to_owned(), 0));
}

#[test]
fn what_cannot_be_used_is_named_without_its_value() {
    let env = Fake::new()
        .with_var("OTEL_EXPORTER_OTLP_ENDPOINT", "sk-this:is a secret")
        .with_var("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .with_var("OTEL_EXPORTER_OTLP_HEADERS", "sk-this")
        .with_var("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
        .with_var("OTEL_EXPORTER_OTLP_CERTIFICATE", "none.pem")
        .with_var("OTEL_TRACES_SAMPLER", "xray");
    let (config, skipped) = from(&env);
    assert!(config.traces.is_none());
    assert_eq!(skipped.len(), 6, "{skipped:#?}");
    assert!(!skipped.concat().contains("sk-this"), "{skipped:#?}");
    let loaded = parse("", &env);
    assert_eq!(loaded.warnings.len(), 6);
}
