//! Plugins in every dialect, streamed and not, on providers of the client's dialect and of another, through the binary.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Reply, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::{Answer, Gateway, Mock, Stub, bodies, run_to_end};

const TEXT: &str = "please tell about project falcon and its plans";

/// A gateway with these plugins, on a mock that is a provider of every dialect, named after it.
async fn stage(plugins: &str) -> (Mock, Gateway) {
    let mock = Mock::start().await;
    let providers: String = Dialect::ALL.iter().map(|dialect| mock.provider(dialect.as_str(), *dialect)).collect();
    let gateway = Gateway::start(&format!("{providers}\n{plugins}")).await;
    (mock, gateway)
}

/// Asks in every dialect, streamed and not, a provider of the same dialect and one of another.
async fn everywhere(gateway: &Gateway, behaviour: &str, check: impl AsyncFn(Dialect, bool, Reply, &str)) {
    for dialect in Dialect::ALL {
        let other = if dialect == Dialect::Anthropic { Dialect::OpenAiChat } else { Dialect::Anthropic };
        for provider in [dialect, other] {
            for stream in [false, true] {
                let request = ask(dialect, &format!("{provider}/{behaviour}"), TEXT, stream);
                let reply = exchange(gateway.addr, &request).await;
                let what = format!("{dialect} on {provider}, stream {stream}: {} {}", reply.status, reply.text());
                check(dialect, stream, reply, &what).await;
            }
        }
    }
}

fn said(dialect: Dialect, stream: bool, reply: &Reply, what: &str) -> String {
    match hear(dialect, stream, reply) {
        Heard::Answer(answer) => answer.text,
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn requests_and_headers() {
    let plugins = r#"
        [[plugins]]
        use = "headers"
        upstream = { set = { x-up = "yes" } }
        answer = { set = { x-down = "yes" } }
        [[plugins]]
        use = "deny"
        words = ["project falcon"]
        on = ["request"]
        action = "redact"
        [[plugins]]
        use = "size"
        output_tokens = 77
    "#;
    let (_mock, gateway) = stage(plugins).await;
    everywhere(&gateway, "inspect", async |dialect, stream, reply, what| {
        assert_eq!(reply.header("x-down"), "yes", "{what}");
        let text = said(dialect, stream, &reply, what);
        let seen: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e}"));
        let body = seen["body"].to_string();
        assert!(!body.contains("falcon") && body.contains("please tell about"), "{what}");
        assert!(body.contains("77") && !body.contains("1000"), "{what}");
        assert!(seen["headers"].to_string().contains("x-up"), "{what}");
    })
    .await;
    assert!(
        gateway.counted("gateway_plugin_calls_total", "plugin=\"deny\",hook=\"request\",verdict=\"pass\"").await >= 24
    );
    assert!(gateway.counted("gateway_plugin_calls_total", "plugin=\"headers\",hook=\"upstream\"").await >= 24);
}

#[tokio::test]
async fn texts_of_answers_are_changed_wherever_they_are_cut() {
    let plugins = r#"
        [[plugins]]
        use = "deny"
        words = ["project falcon"]
        on = ["answer"]
        action = "redact"
    "#;
    let (_mock, gateway) = stage(plugins).await;
    for behaviour in ["echo", "echo+drip-0ms", "echo+one-chunk", "reasoning"] {
        everywhere(&gateway, behaviour, async |dialect, stream, reply, what| {
            let text = said(dialect, stream, &reply, what);
            assert!(!reply.text().contains("falcon"), "{behaviour}: {what}");
            assert!(text.starts_with("please tell about ") && text.ends_with(" and its plans"), "{behaviour}: {what}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_refusal_of_an_answer_is_the_dialects_own() {
    let plugins = r#"
        [[plugins]]
        use = "deny"
        words = ["falcon"]
        on = ["answer"]
        message = "not about birds"
    "#;
    let (_mock, gateway) = stage(plugins).await;
    everywhere(&gateway, "echo", async |dialect, stream, reply, what| {
        // Cohere's API has no other word for it than an error.
        if dialect != Dialect::Cohere {
            said(dialect, stream, &reply, what);
        }
        let text = reply.text();
        assert!(!text.contains("falcon") && text.contains("not about birds"), "{what}");
        let ends = match dialect {
            Dialect::OpenAiChat => "content_filter",
            Dialect::OpenAiResponses => "incomplete",
            Dialect::Anthropic => "refusal",
            Dialect::Gemini => "SAFETY",
            Dialect::Bedrock => "content_filtered",
            Dialect::Cohere | Dialect::Own(_) => "COMPLETE",
        };
        assert!(text.contains(ends) || dialect == Dialect::Cohere, "{what}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(
            (&log["fault"], &log["status"], &log["finish"]),
            (&"policy".into(), &200.into(), &"complete".into()),
            "{log}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_rejected_request_is_an_error_of_the_dialect_and_goes_nowhere() {
    let plugins = r#"
        [[plugins]]
        use = "deny"
        name = "birds"
        words = ["falcon"]
        status = 422
        message = "not about birds"
    "#;
    let (mock, gateway) = stage(plugins).await;
    everywhere(&gateway, "echo", async |dialect, stream, reply, what| {
        match hear(dialect, stream, &reply) {
            Heard::Refused(_, error) => assert!(error.message.contains("not about birds"), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((&log["fault"], &log["error"]), (&"policy".into(), &"rejected".into()), "{log}");
    })
    .await;
    assert_eq!(mock.requests_of("echo").await, 0);
    assert_eq!(
        gateway.counted("gateway_plugin_calls_total", "plugin=\"birds\",hook=\"request\",verdict=\"reject\"").await,
        24
    );
}

#[tokio::test]
async fn conditions_decide_who_goes_through_and_explain_tells() {
    let config = r#"
        [providers.p]
        kind = "mock"
        [[plugins]]
        use = "headers"
        name = "streams"
        when = { stream = true }
        answer = { set = { x-stream = "yes" } }
        [[plugins]]
        use = "headers"
        answer = { set = { x-all = "yes" } }
    "#;
    let gateway = Gateway::start(config).await;
    for stream in [false, true] {
        let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "p/echo", "hi", stream)).await;
        assert_eq!((reply.header("x-all"), reply.headers.contains_key("x-stream")), ("yes", stream));
        let explained = ask(Dialect::OpenAiChat, "p/echo", "hi", stream).header("x-gateway-explain", "1");
        let told = exchange(gateway.addr, &explained).await.json();
        assert_eq!(told["plugins"][0]["plugin"], "streams", "{told}");
        assert_eq!(told["plugins"][0]["runs"], stream, "{told}");
        assert_eq!(told["plugins"][1]["runs"], true, "{told}");
    }
}

/// An answer that is too large to be kept whole fails those who would read it, and nobody else.
#[tokio::test]
async fn an_answer_too_large_to_be_read_is_told_by_on_error() {
    let said = "so it goes on ".repeat((33 << 20) / 14);
    let stub = Stub::always(Answer::json(200, bodies::chat_answer(&said))).await;
    for (on_error, status) in [("open", 200), ("closed", 500)] {
        let plugins = format!(
            "[[plugins]]\nuse = \"deny\"\nwords = [\"falcon\"]\non = [\"answer\"]\non_error = \"{on_error}\"\n\
             [[plugins]]\nuse = \"headers\"\nanswer = {{ set = {{ x-down = \"yes\" }} }}\n"
        );
        let gateway = Gateway::start(&format!("{}{plugins}", bodies::openai_provider("p", &stub.origin()))).await;
        let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "p/m", "hi", false)).await;
        assert_eq!(reply.status, status, "{on_error}");
        if on_error == "open" {
            assert_eq!((reply.header("x-down"), reply.body.len() > 33 << 20), ("yes", true));
        } else {
            assert!(reply.text().contains("the plugin `deny` failed"), "{}", reply.text());
        }
        let failed = "plugin=\"deny\",hook=\"answer\",verdict=\"error\"";
        assert_eq!(gateway.counted("gateway_plugin_calls_total", failed).await, 1, "{on_error}");
    }
}

#[test]
fn what_is_wrong_with_plugins_stands_at_its_place() {
    for (plugins, place, words) in [
        ("[[plugins]]\nuse = \"header\"", ":6:7", "did you mean `headers`?"),
        ("[[plugins]]\nuse = \"headers\"\nanswr = {}", ":7:1", "did you mean `answer`?"),
        ("[[plugins]]\nuse = \"headers\"\nanswer.set.x-a = 1", ":7:18", "expected a string"),
        ("[[plugins]]\nuse = \"headers\"\non_error = \"opn\"", ":7:12", "on"),
        ("[[plugins]]\nuse = \"headers\"\ntimeout = \"0s\"", ":7:11", "longer than zero"),
        ("[[plugins]]\nuse = \"headers\"\nwhen = { modl = \"x\" }", ":7:10", "did you mean `model`?"),
        (
            "[[plugins]]\nuse = \"size\"\nname = \"a\"\n[[plugins]]\nuse = \"size\"\nname = \"a\"",
            ":10:8",
            "another plugin",
        ),
    ] {
        let config = format!("[server]\n[providers.p]\nkind = \"mock\"\n\n{plugins}\n");
        let outcome = run_to_end(&["check", "{config}"], &config, &[]);
        assert_eq!(outcome.code, Some(1), "{plugins}: {}", outcome.stdout);
        assert!(outcome.stderr.contains(place) && outcome.stderr.contains(words), "{plugins}:\n{}", outcome.stderr);
    }
}
