use std::collections::HashSet;
use std::time::Duration;

use super::{MAX_DIRECT_MODELS, MAX_SERIES, MAX_TARGETS, Metrics};
use ai_gateway_providers::Fault;

use crate::telemetry::{Attempt, AttemptOutcome, Finish, Finished, RequestModel, Tokens, Usage};

fn chat() -> Finished<'static> {
    Finished {
        operation: "chat",
        dialect: Some("openai-chat"),
        request_model: RequestModel::Configured("assistant"),
        provider: Some("openai"),
        upstream_model: Some("gpt-5"),
        response_model: Some("gpt-5-2026-01-01"),
        status: 200,
        key: Some("support-bot"),
        fault: None,
        finish: Finish::Complete,
        stream: true,
        duration: Duration::from_millis(1_500),
        first_token: Some(Duration::from_millis(500)),
        overhead: Duration::from_micros(35),
        usage: Usage::Reported(Tokens {
            input: Some(100),
            cached_input: Some(60),
            cache_creation_input: None,
            output: Some(11),
            reasoning: Some(4),
        }),
        cost: None,
        attempts: &[],
    }
}

fn attempt(model: &str, direct: bool, outcome: AttemptOutcome) -> Attempt {
    Attempt {
        provider: "openai".into(),
        model: model.into(),
        direct,
        outcome,
        status: None,
        duration: Duration::from_millis(1),
        first_output: None,
        rival: false,
    }
}

/// The sample lines, without their comments.
fn samples(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode().unwrap();
    assert!(text.ends_with("# EOF\n"));
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn has(metrics: &Metrics, line: &str) {
    let all = samples(metrics);
    assert!(all.iter().any(|sample| sample == line), "{line}\nis not in\n{}", all.join("\n"));
}

/// The upper bounds of a histogram, in order.
fn bounds(metrics: &Metrics, start: &str) -> Vec<f64> {
    let bound = |line: String| {
        let (_, rest) = line.split_once("le=\"")?;
        rest.split('"').next()?.trim_start_matches('+').parse().ok()
    };
    samples(metrics).into_iter().filter(|line| line.starts_with(start)).filter_map(bound).collect()
}

const LABELS: &str = r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_original_model="assistant",gen_ai_request_model="gpt-5",gen_ai_response_model="gpt-5-2026-01-01",status="200",key="support-bot""#;

#[test]
fn names_labels_and_values_are_those_of_the_convention() {
    let metrics = Metrics::new();
    metrics.finished(&chat());
    for (name, sum) in [
        ("gen_ai_server_request_duration_seconds", "1.5"),
        ("gen_ai_server_time_to_first_token_seconds", "0.5"),
        ("gen_ai_server_time_per_output_token_seconds", "0.1"),
    ] {
        has(&metrics, &format!("{name}_sum{{{LABELS}}} {sum}"));
        has(&metrics, &format!("{name}_count{{{LABELS}}} 1"));
    }
    for (kind, sum) in [("input", "100.0"), ("output", "11.0"), ("cached_input", "60.0"), ("reasoning", "4.0")] {
        has(&metrics, &format!("gen_ai_client_token_usage_token_sum{{{LABELS},gen_ai_token_type=\"{kind}\"}} {sum}"));
    }
    assert!(!metrics.encode().unwrap().contains("cache_creation_input\""), "not reported is not zero");
    has(&metrics, r#"gateway_requests_total{operation="chat",fault="none",status="200"} 1"#);
    has(&metrics, "gateway_overhead_seconds_count 1");
    has(&metrics, &format!("gateway_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
}

#[test]
fn buckets_are_those_of_the_convention() {
    let metrics = Metrics::new();
    metrics.finished(&Finished { usage: Usage::Reported(Tokens { output: Some(2), ..Tokens::default() }), ..chat() });

    let tokens: Vec<f64> = (0..14).map(|n| 4_f64.powi(n)).chain([f64::INFINITY]).collect();
    assert_eq!(bounds(&metrics, "gen_ai_client_token_usage_token_bucket"), tokens);
    let duration: Vec<f64> = (0..14).map(|n| 0.01 * 2_f64.powi(n)).chain([f64::INFINITY]).collect();
    assert_eq!(bounds(&metrics, "gen_ai_server_request_duration_seconds_bucket"), duration);
    assert_eq!(
        bounds(&metrics, "gen_ai_server_time_to_first_token_seconds_bucket"),
        [
            0.001,
            0.005,
            0.01,
            0.02,
            0.04,
            0.06,
            0.08,
            0.1,
            0.25,
            0.5,
            0.75,
            1.0,
            2.5,
            5.0,
            7.5,
            10.0,
            15.0,
            20.0,
            30.0,
            45.0,
            60.0,
            f64::INFINITY
        ]
    );
    assert_eq!(
        bounds(&metrics, "gen_ai_server_time_per_output_token_seconds_bucket"),
        [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, f64::INFINITY]
    );
    let overhead = bounds(&metrics, "gateway_overhead_seconds_bucket");
    assert_eq!((overhead.first(), overhead.get(12)), (Some(&10e-6), Some(&0.1)));
}

#[test]
fn failures_carry_an_error_type_on_the_duration_only_and_no_series_appears_twice() {
    let metrics = Metrics::new();
    let cut = Finished { fault: Some(Fault::Upstream), finish: Finish::Cut, ..chat() };
    for finished in [chat(), cut, Finished { fault: Some(Fault::Caller), ..cut }] {
        metrics.finished(&finished);
    }
    has(&metrics, &format!("gen_ai_server_request_duration_seconds_count{{{LABELS}}} 1"));
    has(&metrics, &format!("gen_ai_server_request_duration_seconds_count{{{LABELS},error_type=\"_OTHER\"}} 2"));
    has(&metrics, &format!("gen_ai_server_time_to_first_token_seconds_count{{{LABELS}}} 3"));
    has(&metrics, r#"gateway_requests_total{operation="chat",fault="upstream",status="200"} 1"#);
    has(&metrics, r#"gateway_requests_total{operation="chat",fault="caller",status="200"} 1"#);

    let all = samples(&metrics);
    let names: HashSet<&str> = all.iter().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn a_request_that_is_not_streamed_has_no_token_times() {
    let metrics = Metrics::new();
    metrics.finished(&Finished { stream: false, ..chat() });
    assert!(samples(&metrics).iter().all(|line| !line.starts_with("gen_ai_server_time")));
}

#[test]
fn names_that_clients_make_up_are_not_labels() {
    let metrics = Metrics::new();
    let refused = Finished { status: 404, fault: Some(Fault::Caller), usage: Usage::NotExpected, ..chat() };
    metrics.finished(&Finished { request_model: RequestModel::Unknown, ..refused });
    metrics.finished(&Finished { request_model: RequestModel::Direct("openai/made-up"), ..refused });
    metrics.attempt(&attempt("made-up", true, AttemptOutcome::Status4xx));
    let text = metrics.encode().unwrap();
    assert!(!text.contains("made-up"));
    assert!(text.contains(r#"gen_ai_request_model="_unknown""#) && text.contains(r#"gen_ai_request_model="_other""#));

    // What was answered once is known.
    metrics.finished(&Finished { request_model: RequestModel::Direct("openai/gpt-5"), ..chat() });
    metrics.finished(&Finished { request_model: RequestModel::Direct("openai/gpt-5"), ..refused });
    metrics.attempt(&attempt("gpt-5", true, AttemptOutcome::Ok));
    metrics.attempt(&attempt("gpt-5", true, AttemptOutcome::Connect));
    let labels = LABELS.replace("assistant", "openai/gpt-5");
    has(&metrics, &format!("gen_ai_server_request_duration_seconds_count{{{labels}}} 1"));
    let labels = labels.replace("200", "404");
    has(&metrics, &format!("gen_ai_server_request_duration_seconds_count{{{labels},error_type=\"_OTHER\"}} 1"));
    has(&metrics, r#"gateway_attempts_total{provider="openai",model="gpt-5",outcome="connect"} 1"#);

    // A configured target is known from the start.
    metrics.attempt(&attempt("new", false, AttemptOutcome::Status5xx));
    has(&metrics, r#"gateway_attempts_total{provider="openai",model="new",outcome="status_5xx"} 1"#);
}

#[test]
fn label_sets_are_bounded_and_nothing_is_lost() {
    let metrics = Metrics::new();
    let chat = || Finished { stream: false, usage: Usage::NotExpected, ..chat() };
    for n in 0..3 * MAX_SERIES {
        let name = format!("m{n}");
        let direct = format!("openai/m{n}");
        metrics.finished(&Finished {
            response_model: Some(&name),
            request_model: RequestModel::Direct(&direct),
            ..chat()
        });
        metrics.attempt(&attempt(&name, false, AttemptOutcome::Ok));
    }
    assert!(metrics.series.all().len() <= MAX_SERIES + MAX_DIRECT_MODELS + 1);
    assert_eq!(metrics.targets.all().len(), MAX_TARGETS + 1);
    has(
        &metrics,
        &format!(r#"gateway_requests_total{{operation="chat",fault="none",status="200"}} {}"#, 3 * MAX_SERIES),
    );

    // Keys without end: the coarsest label set takes the rest.
    for n in 0..3 * MAX_SERIES {
        metrics.finished(&Finished { key: Some(&format!("key-{n}")), ..chat() });
    }
    assert_eq!(metrics.series.all().len(), super::MAX_SERIES_COARSE + 1);
    let total: u64 = samples(&metrics)
        .iter()
        .filter(|line| line.starts_with("gen_ai_server_request_duration_seconds_count"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum();
    assert_eq!(total, 6 * MAX_SERIES as u64);
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new();
    metrics.finished(&Finished { key: Some("a\"b\\c\nd"), ..chat() });
    assert!(metrics.encode().unwrap().contains(r#"key="a\"b\\c\nd""#));
}

#[test]
fn guards_count_requests_in_flight() {
    let metrics = Metrics::new();
    let (one, two) = (metrics.in_flight(), metrics.in_flight());
    assert_eq!(metrics.in_flight_count(), 2);
    drop(one);
    has(&metrics, "gateway_in_flight 1");
    drop(two);
    assert_eq!(metrics.in_flight_count(), 0);
}

#[test]
fn every_outcome_counts_under_its_own_name() {
    let metrics = Metrics::new();
    for outcome in AttemptOutcome::ALL {
        metrics.attempt(&attempt("m", false, outcome));
    }
    for outcome in AttemptOutcome::ALL {
        let name = outcome.as_str();
        has(&metrics, &format!(r#"gateway_attempts_total{{provider="openai",model="m",outcome="{name}"}} 1"#));
    }
}
