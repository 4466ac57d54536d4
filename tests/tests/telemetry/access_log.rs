//! The access log in a file, as logrotate treats it.

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies, guard, run_to_end};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

async fn gateway(provider: &Stub, access_log: &str) -> Gateway {
    Gateway::start(&format!("{}[access_log]\n{access_log}\n", bodies::openai_provider("one", &provider.origin()))).await
}

async fn ask(gateway: &Gateway, model: &str) -> Reply {
    let request = Request::post("/v1/chat/completions", bodies::chat(model)).header("traceparent", TRACEPARENT);
    exchange(gateway.addr, &request).await
}

/// The line of this request in the file at `path`, waiting for it.
async fn line_in(path: &Path, reply: &Reply) -> Value {
    let id = reply.header("x-request-id").to_owned();
    guard("the line", async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.find(|line| line["id"] == *id) {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_file_is_followed_through_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let provider = Stub::always(Answer::json(200, bodies::chat_answer("hi"))).await;
    let gateway = gateway(&provider, &format!("to = \"file:{}\"", path.display())).await;
    let first = ask(&gateway, "one/x").await;
    let line = line_in(&path, &first).await;
    // Without traces the id of the client's trace is there all the same.
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((&line["status"], &line["tokens"]["output"]), (&200.into(), &5.into()));

    std::fs::rename(&path, &old).unwrap();
    let second = ask(&gateway, "one/x").await;
    line_in(&path, &second).await;

    // Somebody made the new file already, and says so.
    let newest = dir.path().join("access.log.2");
    std::fs::rename(&path, &newest).unwrap();
    std::fs::write(&path, "").unwrap();
    let killed = Command::new("kill").args(["-USR1", &gateway.pid().to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    let third = ask(&gateway, "one/x").await;
    line_in(&path, &third).await;
    let counts = [&old, &newest, &path].map(|path| std::fs::read_to_string(path).unwrap().lines().count());
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(gateway.output().0, Vec::<String>::new(), "nothing on standard output");
}

#[tokio::test]
async fn successes_are_sampled_and_failures_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let provider = Stub::always(Answer::json(200, bodies::chat_answer("hi"))).await;
    let mut gateway = gateway(&provider, &format!("to = \"file:{}\"\nsample = \"0.01%\"", path.display())).await;
    for _ in 0..30 {
        assert_eq!(ask(&gateway, "one/x").await.status, 200);
        assert_eq!(ask(&gateway, "nobody").await.status, 404);
    }
    gateway.terminate();
    gateway.ended().await;
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines.matches("\"status\":404").count(), 30, "{lines}");
    assert!(lines.matches("\"status\":200").count() < 3, "{lines}");
}

#[tokio::test]
async fn standard_error_and_nowhere() {
    let provider = Stub::always(Answer::json(200, bodies::chat_answer("hi"))).await;
    for (to, in_stderr) in [("stderr", 1), ("off", 0)] {
        let mut gateway = gateway(&provider, &format!("to = \"{to}\"")).await;
        let reply = ask(&gateway, "one/x").await;
        gateway.terminate();
        gateway.ended().await;
        let (out, errors) = gateway.output();
        let lines = errors.iter().filter(|line| line.contains(reply.header("x-request-id"))).count();
        assert_eq!((out.len(), lines), (0, in_stderr), "{to}: {errors:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_at_the_start() {
    let config = "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"off\"\n[providers.mock]\nkind = \"mock\"\n\
                  [access_log]\nto = \"file:no/such/folder/access.log\"\n";
    let outcome = run_to_end(&["run", "--config", "{config}"], config, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("access_log.to: `")
            && outcome.stderr.contains("no/such/folder/access.log`: No such file"),
        "{outcome:?}"
    );
}
