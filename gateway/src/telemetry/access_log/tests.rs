use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use super::{AccessLog, LogTo, MAX_WAITING};
use ai_gateway_providers::Fault;

use crate::telemetry::{Attempt, AttemptOutcome, Finish, Finished, Line, RequestModel, Tokens, Usage};

const SOON: Duration = Duration::from_secs(20);

/// What was written, to be looked at.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn lines(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().clone();
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives these results in turn, then writes to the sink.
struct Script(Vec<io::Result<usize>>, Sink);

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return self.1.write(bytes);
        }
        let n = self.0.remove(0)?.min(bytes.len());
        self.1.write(&bytes[..n])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks each write until it is told to go on.
struct Stuck(Receiver<()>, Sink);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn finished(attempts: &[Attempt]) -> Finished<'_> {
    Finished {
        operation: "chat",
        dialect: Some("anthropic"),
        request_model: RequestModel::Configured("assistant"),
        provider: Some("local"),
        upstream_model: Some("qwen3"),
        response_model: Some("qwen3:8b"),
        status: 200,
        key: Some("support-bot"),
        fault: Some(Fault::Upstream),
        finish: Finish::Cut,
        stream: true,
        duration: Duration::from_micros(1_234_567),
        first_token: Some(Duration::from_millis(200)),
        overhead: Duration::from_micros(41),
        usage: Usage::Reported(Tokens { input: Some(9), cached_input: Some(3), output: Some(5), ..Tokens::default() }),
        cost: Some(1_250_000_000),
        attempts,
    }
}

fn line<'a>(finished: &'a Finished<'a>) -> Line<'a> {
    Line {
        route: None,
        dropped: None,
        seams: 0,
        cache: None,
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123),
        id: "req-1",
        method: "POST",
        path: "/v1/messages?key=secret",
        client: Some([127, 0, 0, 1].into()),
        user_agent: Some("curl/8"),
        bytes_in: 120,
        bytes_out: 4_500,
        tags: &[],
        error: Some("upstream_cut"),
        refused: None,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
        finished,
    }
}

#[test]
fn a_line_has_these_fields_in_this_order_and_no_query() {
    let attempts = [
        Attempt {
            provider: "openai".into(),
            model: "gpt-5".into(),
            direct: false,
            outcome: AttemptOutcome::Status429,
            status: Some(429),
            duration: Duration::from_millis(12),
            first_output: None,
            rival: false,
        },
        Attempt {
            provider: "local".into(),
            model: "qwen3".into(),
            direct: false,
            outcome: AttemptOutcome::Connect,
            status: None,
            duration: Duration::from_millis(3),
            first_output: Some(Duration::from_millis(2)),
            rival: false,
        },
    ];
    let finished = finished(&attempts);
    let mut out = Vec::new();
    line(&finished).append_to(&mut out);
    let expected = concat!(
        r#"{"ts":"2026-09-21T14:13:20.123Z","id":"req-1","method":"POST","path":"/v1/messages","operation":"chat","#,
        r#""dialect":"anthropic","key":"support-bot","model":"assistant","provider":"local","#,
        r#""upstream_model":"qwen3","response_model":"qwen3:8b","status":200,"fault":"upstream","stream":true,"#,
        r#""attempts":[{"provider":"openai","model":"gpt-5","outcome":"status_429","status":429,"ms":12.0},"#,
        r#"{"provider":"local","model":"qwen3","outcome":"connect","ms":3.0,"first_ms":2.0}],"#,
        r#""bytes_in":120,"bytes_out":4500,"duration_ms":1234.567,"first_token_ms":200.0,"overhead_us":41,"#,
        r#""tokens":{"input":9,"cached":3,"output":5},"cost_usd":0.00125,"finish":"cut","client":"127.0.0.1","user_agent":"curl/8","#,
        r#""error":"upstream_cut","trace_id":"0af7651916cd43dd8448eb211c80319c"}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);

    let mut out = Vec::new();
    let absent = Line { client: None, user_agent: None, error: None, trace_id: None, ..line(&finished) };
    absent.append_to(&mut out);
    let line = String::from_utf8(out).unwrap();
    assert!(!line.contains("null") && !line.contains("trace_id"), "what is absent is left out: {line}");
}

#[test]
fn what_clients_choose_is_escaped_and_cut() {
    let model = "é".repeat(1_000);
    let finished = Finished { request_model: RequestModel::Direct(&model), ..finished(&[]) };
    let agent = format!("a\nb\u{1b}[31m\"{}", "x".repeat(1_000));
    let mut out = Vec::new();
    Line { user_agent: Some(&agent), at: SystemTime::UNIX_EPOCH - SOON, ..line(&finished) }.append_to(&mut out);
    assert_eq!(out.iter().filter(|&&byte| byte < b' ').count(), 1, "only the newline at the end");
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(json["user_agent"].as_str().unwrap().starts_with("a\nb\u{1b}[31m\"xx"));
    assert!(json["user_agent"].as_str().unwrap().len() <= 160);
    assert!(json["model"].as_str().unwrap().len() <= 256);
}

#[test]
fn lines_of_many_threads_arrive_whole() {
    let sink = Sink::default();
    let dropped = Counter::default();
    let log = AccessLog::new(sink.clone(), dropped.clone());
    let finished = finished(&[]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (log, finished) = (&log, &finished);
            scope.spawn(move || {
                for n in 0..500 {
                    log.write(&Line { id: &format!("{thread}-{n}"), ..line(finished) });
                }
            });
        }
    });
    assert!(log.flush(SOON));
    let mut ids: Vec<String> = sink.lines().iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), dropped.get()), (2_000, 0));
}

#[test]
fn a_reader_that_is_stuck_neither_blocks_nor_fills_the_memory() {
    let (go_on, stuck) = channel();
    let sink = Sink::default();
    let dropped = Counter::default();
    let log = AccessLog::new(Stuck(stuck, sink.clone()), dropped.clone());
    let long = format!("\"{}\"\n", "x".repeat(100_000));
    let mut written = 0;
    while dropped.get() < 100 {
        log.push(long.as_bytes());
        written += 1;
    }
    assert!(!log.flush(Duration::from_millis(1)));
    assert!(log.shared.state.lock().waiting.len() <= MAX_WAITING);

    drop(go_on);
    assert!(log.flush(SOON));
    assert_eq!(sink.lines().len() as u64 + dropped.get(), written);
}

#[test]
fn slow_and_interrupted_writes_lose_nothing() {
    let sink = Sink::default();
    let dropped = Counter::default();
    let would_block = || Err(io::ErrorKind::WouldBlock.into());
    let script = vec![would_block(), Ok(10), Err(io::ErrorKind::Interrupted.into()), would_block(), Ok(1)];
    let log = AccessLog::new(Script(script, sink.clone()), dropped.clone());
    log.write(&line(&finished(&[])));
    assert!(log.flush(SOON));
    assert_eq!((sink.lines().len(), dropped.get()), (1, 0));
}

/// A disk that is full in the middle of a line, and has room again: whoever reads line by line loses that one alone.
#[test]
fn a_torn_line_is_ended_before_the_next() {
    let sink = Sink::default();
    let full = || Err(io::ErrorKind::StorageFull.into());
    let log = AccessLog::new(Script(vec![Ok(20), full(), full(), full()], sink.clone()), Counter::default());
    let finished = finished(&[]);
    for _ in 0..3 {
        log.write(&line(&finished));
        assert!(log.flush(SOON));
    }
    let written = String::from_utf8(sink.0.lock().clone()).unwrap();
    let lines: Vec<_> = written.lines().collect();
    assert_eq!((lines.len(), lines[0].len()), (2, 20), "{written}");
    assert!(serde_json::from_str::<serde_json::Value>(lines[1]).is_ok(), "{written}");
}

#[test]
fn a_broken_pipe_loses_lines_and_nothing_else() {
    let sink = Sink::default();
    let dropped = Counter::default();
    let log = AccessLog::new(Script(vec![Err(io::ErrorKind::BrokenPipe.into())], sink.clone()), dropped.clone());
    for lost in [1, 0] {
        log.write(&line(&finished(&[])));
        assert!(log.flush(SOON));
        assert_eq!((sink.lines().len() as u64, dropped.get()), (1 - lost, 1));
    }
}

#[test]
fn what_was_written_before_the_end_arrives() {
    let sink = Sink::default();
    let log = AccessLog::new(sink.clone(), Counter::default());
    let shared = Arc::downgrade(&log.shared);
    log.write(&line(&finished(&[])));
    drop(log);
    // The writer holds the last reference and gives it up when it has written.
    while shared.strong_count() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(sink.lines().len(), 1);
}

#[test]
fn of_successes_a_share_is_logged_and_of_failures_all() {
    let sink = Sink::default();
    let log = AccessLog::new(sink.clone(), Counter::default());
    let failed = finished(&[]);
    let good = Finished { fault: None, ..failed };
    log.sample.store(1_000, std::sync::atomic::Ordering::Relaxed);
    for _ in 0..2_000 {
        log.write(&line(&good));
    }
    assert!(log.flush(SOON));
    let logged = sink.lines().len();
    assert!((100..320).contains(&logged), "{logged} of 2000");
    for _ in 0..50 {
        log.write(&line(&failed));
        log.write(&line(&Finished { status: 404, ..good }));
    }
    assert!(log.flush(SOON));
    assert!(sink.lines().len() >= logged + 100);
}

#[test]
fn another_place_takes_over_between_two_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let config = |to, sample| crate::config::AccessLogConfig { to, sample };
    let sink = Sink::default();
    let log = AccessLog::new(sink.clone(), Counter::default());
    let finished = finished(&[]);
    log.write(&line(&finished));
    assert!(log.flush(SOON));
    log.go_on_with(log.open(&config(LogTo::File(path.clone()), 10_000)).unwrap());
    log.write(&line(&finished));
    assert!(log.flush(SOON));
    let below = path.join("below a file");
    let error = log.open(&config(LogTo::File(below.clone()), 10_000)).err().unwrap().to_string();
    assert!(error.starts_with(&format!("access_log.to: `{}`: ", below.display())), "{error}");
    log.write(&line(&finished));
    log.go_on_with(log.open(&config(LogTo::Off, 10_000)).unwrap());
    log.write(&line(&finished));
    assert!(log.flush(SOON));
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!((sink.lines().len(), written.lines().count()), (1, 2));
}
