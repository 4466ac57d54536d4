//! `/metrics` of a gateway that has seen something, before Prometheus' own checker.

use super::{good_stream, two_targets};
use ai_gateway_tests::client::{H1, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Step, Stub, bodies};
use std::io::Write;
use std::process::{Command, Stdio};

/// What `promtool check metrics` has to say of `text`; nothing if all is well.
fn checked(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus: `make services` installs it");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn prometheus_has_nothing_to_say_against_them() {
    let limited =
        Answer::json(429, r#"{"error":{"message":"slow down","type":"rate_limit"}}"#).header("retry-after", "1");
    let one = Stub::sequence(vec![limited, Answer::sse([bodies::chat_role()]).step(Step::Cut)]).await;
    let two = Stub::always(good_stream()).await;
    let dir = tempfile::tempdir().unwrap();
    let more = format!(
        "[[keys]]\nname = \"k\"\nhash = \"{}\"\nlimits = {{ requests = \"1000/min\", tokens = \"100000/min\", concurrent = 9 }}\n\
         budget = {{ usd = 5.0, per = \"day\" }}\n[ledger]\npath = \"{}\"\n[limits]\nrequests = \"1000/min\"\n\
         [[routes]]\nwhen = {{ cel = \"request.headers['x-never-sent'] == 'a'\" }}\nmodel = \"m\"\n",
        bodies::key_hash("client-key"),
        dir.path().join("ledger.db").display()
    );
    let gateway = Gateway::start(&two_targets(&one.origin(), &two.origin(), &more)).await;
    let request =
        |body: bytes::Bytes| Request::post("/v1/chat/completions", body).header("authorization", "Bearer client-key");
    for _ in 0..4 {
        assert_eq!(exchange(gateway.addr, &request(bodies::chat_stream("m"))).await.status, 200);
    }
    assert_eq!(exchange(gateway.addr, &request(bodies::chat("nobody"))).await.status, 404);
    // A translated request, which loses a field.
    let message = r#"{"model":"m","max_tokens":9,"top_k":5,"context_management":{"edits":[]},"messages":[{"role":"user","content":"Hello"}]}"#;
    let message = Request::post("/v1/messages", message).header("x-api-key", "client-key");
    exchange(gateway.addr, &message).await;

    // An answer is counted behind its last byte.
    gateway.at_rest().await;
    let mut admin = H1::connect(gateway.admin).await;
    let classic = admin.exchange(&Request::get("/metrics")).await;
    assert_eq!(classic.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = classic.text();
    assert_eq!(checked(&text), "", "{text}");
    for name in [
        "gen_ai_client_token_usage_token_bucket{",
        "gen_ai_server_request_duration_seconds_bucket{",
        "gen_ai_server_time_to_first_token_seconds_bucket{",
        "gen_ai_server_time_per_output_token_seconds_bucket{",
        "gateway_requests_total{",
        "gateway_attempts_total{",
        "gateway_retries_total{reason=\"status_429\"} 1",
        "gateway_upstream_connections_total{",
        "gateway_target_up{",
        "gateway_dropped_fields_total{",
        "gateway_in_flight 0",
        "gateway_build_info{",
        "gateway_log_dropped_total 0",
        "gateway_otlp_traces_sent_total 0",
        "gateway_dns_lookups_total",
        "gateway_ledger_",
        "gateway_usage_missing_total",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_cpu_seconds_total ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
    }
    let reused = gateway.counted("gateway_upstream_connections_total", "provider=\"two\",reused=\"true\"").await;
    assert!(reused >= 1, "{text}");

    // Prometheus itself asks for the newer format, and both say the same.
    let open = Request::get("/metrics").header("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let open = admin.exchange(&open).await;
    assert_eq!(open.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    assert_eq!(names(&open.text()), names(&text));
}

/// An alert goes by it: only a provider that tells nothing of a whole answer's usage is to be seen, not clients that leave.
#[tokio::test]
async fn only_whole_answers_should_have_told_their_usage() {
    let gateway = Gateway::start("[providers.m]\nkind = \"mock\"").await;
    let stream = |model: &str| Request::post("/v1/chat/completions", bodies::chat_stream(model));
    let missing = || gateway.counted("gateway_usage_missing_total", "");

    let mut leaving = H1::connect(gateway.addr).await;
    leaving.send(&stream("m/never-ends")).await;
    leaving.respond().await.until("content").await;
    drop(leaving);
    for broken in ["m/error-after-2", "m/cut-after-2"] {
        let mut client = H1::connect(gateway.addr).await;
        client.send(&stream(broken)).await;
        client.respond().await.rest().await;
    }
    gateway.at_rest().await;
    assert_eq!(missing().await, 0);

    exchange(gateway.addr, &stream("m/usage-missing")).await;
    gateway.at_rest().await;
    assert_eq!(missing().await, 1);
}
