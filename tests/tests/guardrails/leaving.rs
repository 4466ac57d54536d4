//! Clients that leave while a plugin is asked: nobody goes on for them.

use std::time::{Duration, Instant};

use ai_gateway_tests::client::{Framing, H1, H2, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies};
use serde_json::{Value, json};

/// A model that says some words and stalls, or says all it has to say; and one that judges and never comes to an end.
async fn upstream() -> Stub {
    let never = Gate::new();
    Stub::start(move |request| {
        let body = request.json();
        let said = bodies::chat_events("words to look at");
        match body["model"].as_str().unwrap() {
            "judge" => Answer::status(200).after(&never),
            "stalls" => Answer::sse(said.into_iter().take(2)).step(Step::Stall),
            _ if body["stream"] == true => Answer::sse(said),
            _ => Answer::json(200, bodies::chat_answer("words to look at")),
        }
    })
    .await
}

/// A key with one place, and plugins that wait for a `hook` or a judge.
async fn gateway(upstream: &Stub, hook: &Stub) -> Gateway {
    let plugin = |name: &str, settings: &str| {
        format!(
            "[[plugins]]\nname = \"{name}\"\nwhen = {{ header = {{ \"x-guard\" = \"{name}\" }} }}\ntimeout = \"60s\"\n{settings}\n"
        )
    };
    let webhook = format!("use = \"webhook\"\nurl = \"{}\"\n", hook.origin());
    let plugins = [
        plugin("before", &webhook),
        plugin("behind", &format!("{webhook}on = [\"answer\"]\nwindow = 4")),
        plugin("judged", "use = \"moderation\"\nmodel = \"up/judge\""),
    ];
    let config = format!(
        "{}{}[[keys]]\nname = \"bot\"\nhash = \"{}\"\nlimits = {{ concurrent = 1 }}\n\
         [[keys]]\nname = \"other\"\nhash = \"{}\"\ncache = \"shared\"\n\
         [[keys]]\nname = \"another\"\nhash = \"{}\"\ncache = \"shared\"\n\
         [[keys]]\nname = \"drains\"\nhash = \"{}\"\non_abort = \"drain\"\n\
         [models.kept]\ntargets = [{{ provider = \"up\", model = \"stalls\" }}]\ncache = {{ ttl = \"10m\" }}\n",
        bodies::openai_provider("up", &upstream.origin()),
        plugins.concat(),
        bodies::key_hash("sk"),
        bodies::key_hash("sk-other"),
        bodies::key_hash("sk-another"),
        bodies::key_hash("sk-drains"),
    );
    Gateway::start(&config).await
}

fn asks(key: &str, model: &str, stream: bool, size: usize) -> Request {
    let turns = json!([{ "role": "user", "content": "x".repeat(size) }]);
    let body = json!({ "model": model, "stream": stream, "messages": turns });
    Request::post("/v1/chat/completions", body.to_string()).header("x-api-key", key)
}

/// Sends `request`, and leaves when `asked` is over. When that was.
async fn leaves(gateway: &Gateway, request: Request, asked: impl Future<Output = ()>) -> Instant {
    if let Framing::H2(_) = request.framing {
        let connection = H2::connect(gateway.addr).await;
        let mut stream = connection.clone();
        let answer = tokio::spawn(async move { drop(stream.exchange(&request).await) });
        asked.await;
        answer.abort();
        assert!(answer.await.unwrap_err().is_cancelled(), "there was an answer");
        return Instant::now();
    }
    let mut client = H1::connect(gateway.addr).await;
    client.send(&request).await;
    asked.await;
    let now = Instant::now();
    drop(client);
    now
}

/// All clocks are longer than a test may take: that it ended at all is what was to be shown.
fn at_once(left: Instant, departed: Instant, what: &str) {
    let after = departed.saturating_duration_since(left);
    if after > Duration::from_millis(100) {
        eprintln!("slow: {what}: {after:?}");
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_client_that_has_left() {
    let (up, hook) = (upstream().await, Stub::always(Answer::status(200).after(&Gate::new())).await);
    let gateway = gateway(&up, &hook).await;
    for framing in [Framing::Length, Framing::H2(16 << 10)] {
        for (guard, model, stream, size, calls) in [
            ("before", "up/fine", false, 10, 0),
            // What is large is looked at on a thread of its own.
            ("before", "up/fine", false, 100 << 10, 0),
            ("judged", "up/fine", true, 10, 1),
            ("behind", "up/fine", false, 10, 1),
            ("behind", "up/fine", true, 10, 1),
            ("behind", "up/stalls", true, 10, 1),
            ("behind", "kept", true, 10, 1),
        ] {
            let what = format!("{guard} {model} {stream} {size} {framing:?}");
            let (called, departed) = (up.count(), up.departures());
            let request = asks("sk", model, stream, size).header("x-guard", guard).header("user-agent", &what);
            let asked = async {
                for _ in 0..calls {
                    up.next().await;
                }
                if guard != "judged" {
                    hook.next().await;
                }
            };
            let left = Box::pin(leaves(&gateway, request.framing(framing), asked)).await;
            if guard != "judged" {
                at_once(left, hook.departed().await, &what);
            }
            let ends = guard == "judged" || model != "up/fine";
            if ends {
                at_once(left, up.departed().await, &what);
            }
            let of_it = |line: &Value| (line["user_agent"] == what.as_str()).then(|| line.clone());
            let log = gateway.log_line(of_it).await;
            assert_eq!((&log["finish"], &log["fault"]), (&"client_left".into(), &"caller".into()), "{what}: {log}");
            // The header of a stream may be on its way already.
            assert!(log["status"] == 499 || (stream && guard == "behind"), "{what}: {log}");
            // Its place is free again.
            let next = exchange(gateway.addr, &asks("sk", "up/fine", false, 10)).await;
            assert_eq!(next.status, 200, "{what}: {}", next.text());
            up.next().await;
            assert_eq!((up.count(), up.departures()), (called + calls + 1, departed + usize::from(ends)), "{what}");
        }
    }
    gateway.at_rest().await;
}

/// Says its words, and the rest when the gate opens.
async fn in_two_parts(gate: &Gate) -> Stub {
    let [role, words, finish, usage, done] = bodies::chat_events("words to look at");
    let begun = Answer::sse([role, words]).step(Step::Wait(gate.clone()));
    let rest = [finish, usage, done].map(|event| Step::Send(event.into()));
    Stub::always(rest.into_iter().fold(begun, Answer::step)).await
}

/// Where the key says so, the answer is read to its end all the same, and its usage is what the provider says.
#[tokio::test]
async fn an_answer_may_be_read_without_its_client() {
    let gate = Gate::new();
    let (up, hook) = (in_two_parts(&gate).await, Stub::always(Answer::status(200).after(&Gate::new())).await);
    let gateway = gateway(&up, &hook).await;
    let request = asks("sk-drains", "up/m", true, 10).header("x-guard", "behind").header("user-agent", "drains");
    let asked = async { drop(hook.next().await) };
    let left = Box::pin(leaves(&gateway, request, asked)).await;
    at_once(left, hook.departed().await, "the hook");
    gateway.counted_when("gateway_draining", "", |draining| draining == 1).await;
    gate.open();
    let log = gateway.log_line(|line| (line["user_agent"] == "drains").then(|| line.clone())).await;
    assert_eq!((&log["finish"], &log["tokens"]), (&"client_left".into(), &json!({"input": 7, "output": 5})), "{log}");
    assert_eq!((up.departures(), hook.count()), (0, 1));
    gateway.at_rest().await;
}

/// A call goes on that others follow, whatever its own client was waiting for.
#[tokio::test]
async fn a_call_goes_on_for_those_who_follow_it() {
    let gate = Gate::new();
    let up = in_two_parts(&gate).await;
    let hook = Stub::always(Answer::status(200).after(&Gate::new())).await;
    let gateway = gateway(&up, &hook).await;
    let mut follows = H1::connect(gateway.addr).await;
    let request = asks("sk-other", "kept", true, 10).header("x-guard", "behind").header("user-agent", "first");
    let asked = async {
        hook.next().await;
        follows.send(&asks("sk-another", "kept", true, 10)).await;
        gateway.followed(1).await;
    };
    let left = Box::pin(leaves(&gateway, request, asked)).await;
    at_once(left, hook.departed().await, "the hook");
    gate.open();
    let reply = follows.reply().await.unwrap();
    assert!(reply.complete && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!((reply.header("x-gateway-cache"), up.count(), up.departures()), ("shared", 1, 0));
    let log = gateway.log_line(|line| (line["user_agent"] == "first").then(|| line.clone())).await;
    assert_eq!(log["finish"], "client_left", "{log}");
}

/// A body that nobody reads is not taken for the client's next request, nor for one that it left behind.
#[tokio::test]
async fn a_body_that_nobody_reads_begins_no_request() {
    let gate = Gate::new();
    let hook = Stub::always(Answer::json(200, r#"{"action":"pass"}"#).after(&gate)).await;
    let up = upstream().await;
    let gateway = gateway(&up, &hook).await;
    let mut client = H1::connect(gateway.addr).await;
    let mut request =
        Request::post("/v1/responses/resp_1", "hello").header("x-api-key", "sk").header("x-guard", "before");
    request.method = "GET".into();
    client.send(&request).await;
    hook.next().await;
    let all_read = exchange(gateway.addr, &asks("sk-other", "up/fine", false, 10)).await;
    assert_eq!(all_read.status, 200);
    gate.open();
    let first = client.reply().await.unwrap();
    assert!((400..500).contains(&first.status), "{} {}", first.status, first.text());
    let next = client.exchange(&asks("sk", "up/fine", false, 10)).await;
    assert_eq!(next.status, 200, "{}", next.text());
}
