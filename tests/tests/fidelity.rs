//! Byte fidelity: whatever JSON a client sends, the upstream receives the same bytes outside the value of the
//! top-level `model`.

use ai_gateway_tests::client::{Connection, Framing, Request};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::ops::Range;

/// A request body and where in it the raw value of `model` stands.
#[derive(Debug, Clone)]
struct Body {
    text: String,
    model: Range<usize>,
}

fn blank() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

/// Numbers as people and programs spell them: not what a parser would write again.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("-0".to_owned()),
        Just("1.0".to_owned()),
        Just("1E+400".to_owned()),
        Just("0.1000000000000000055511151231257827".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
    ]
}

/// String literals with every kind of escape, and characters of one to four bytes.
fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z0-9 {}\\[\\]:,/']{0,12}",
        Just("\\\"".to_owned()),
        Just("\\\\".to_owned()),
        Just("\\/".to_owned()),
        Just("\\u0041\\n\\t\\b".to_owned()),
        Just("\\ud83d\\ude00".to_owned()),
        Just("\\u2028".to_owned()),
        Just("ä€😀\u{7f}\u{2028}".to_owned()),
        Just("\\\"model\\\":\\\"x\\\"".to_owned()),
    ];
    prop::collection::vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn value() -> impl Strategy<Value = String> {
    let literals = ["true", "false", "null"].map(str::to_owned).to_vec();
    let leaf = prop_oneof![number(), string(), prop::sample::select(literals)];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let item = (blank(), inner.clone(), blank()).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
        let member = (blank(), key(), blank(), inner, blank()).prop_map(|(a, k, b, v, c)| format!("{a}{k}{b}:{v}{c}"));
        prop_oneof![
            prop::collection::vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// Keys below the top level, where `model` and `stream` mean nothing to the gateway.
fn key() -> impl Strategy<Value = String> {
    let known = ["\"model\"", "\"stream\"", "\"messages\"", "\"max_tokens\"", "\"\"", "\"a\\u0062\""];
    prop_oneof![prop::sample::select(known.map(str::to_owned).to_vec()), string()]
}

/// The spelling of `"model"` itself: any JSON string that means it.
fn model_key() -> impl Strategy<Value = String> {
    let spellings = ["\"model\"", "\"model\"", "\"model\"", "\"mod\\u0065l\"", "\"\\u006dodel\""];
    prop::sample::select(spellings.map(str::to_owned).to_vec())
}

fn model_value() -> impl Strategy<Value = String> {
    let spellings = ["\"stub/m\"", "\"stub/m\"", "\"stub\\/m\"", "\"stub\\u002fm\"", "\"\\u0073tub/m\""];
    prop::sample::select(spellings.map(str::to_owned).to_vec())
}

/// A top-level member: its text, and the place of the model's value within it.
type Member = (String, Option<Range<usize>>);

fn body() -> impl Strategy<Value = Body> {
    let plain = |key: &'static str| {
        (blank(), blank(), blank(), value(), blank()).prop_map(move |(a, b, c, v, d)| {
            let member: Member = (format!("{a}\"{key}\"{b}:{c}{v}{d}"), None);
            member
        })
    };
    let unknown = (blank(), "x_[a-z]{1,8}", blank(), value(), blank(), any::<u32>());
    let unknown = unknown.prop_map(|(a, k, b, v, c, n)| -> Member { (format!("{a}\"{k}{n}\"{b}:{v}{c}"), None) });
    let model = (blank(), model_key(), blank(), blank(), model_value(), blank());
    let model = model.prop_map(|(a, k, b, c, v, d)| -> Member {
        let head = format!("{a}{k}{b}:{c}");
        let span = head.len()..head.len() + v.len();
        (format!("{head}{v}{d}"), Some(span))
    });
    let others = (plain("messages"), plain("tools"), prop::collection::vec(unknown, 0..4));
    (model, others, blank(), blank())
        .prop_flat_map(|(model, (messages, tools, mut unknown), before, after)| {
            unknown.extend([model, messages, tools]);
            (Just(unknown).prop_shuffle(), Just(before), Just(after))
        })
        .prop_map(|(members, before, after)| {
            let mut text = format!("{before}{{");
            let mut span = 0..0;
            for (i, (member, model)) in members.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                if let Some(range) = model {
                    span = text.len() + range.start..text.len() + range.end;
                }
                text.push_str(member);
            }
            text.push('}');
            text.push_str(&after);
            Body { text, model: span }
        })
}

#[test]
fn bytes_outside_the_model_survive() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (stub, gateway) = runtime.block_on(async {
        let stub = Stub::always(Answer::json(200, r#"{"object":"x"}"#)).await;
        let origin = stub.origin();
        // One account of each dialect at the same stub: `stub` for the OpenAI paths, `stub2` for Anthropic's.
        let config = format!(
            "[providers.stub]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"k\"\n\
             [models.\"stub2/m\"]\ntargets = [{{ provider = \"claude\", model = \"m\" }}]\n\
             {}",
            bodies::anthropic_provider("claude", &origin)
        );
        let gateway = Gateway::start(&config).await;
        (stub, gateway)
    });
    let h1 = runtime.block_on(Connection::for_framing(gateway.addr, Framing::Length));
    let h2 = runtime.block_on(Connection::for_framing(gateway.addr, Framing::H2(1)));
    let connections = std::cell::RefCell::new((h1, h2));
    let framings = prop_oneof![Just(Framing::Length), (1..200_usize).prop_map(Framing::Chunked), Just(Framing::H2(97))];
    let paths = prop::sample::select(vec!["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"]);

    // The seed is fresh in each run; a failure prints the smallest body that fails.
    let config = Config { cases: 250, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&(body(), framings, paths), |(body, framing, path)| {
        let mut sent = body.text.clone();
        if path == "/v1/messages" {
            sent.replace_range(body.model.clone(), "\"stub2/m\"");
        }
        let mut expected = body.text.clone();
        expected.replace_range(body.model.clone(), "\"m\"");
        let request = Request::post(path, sent).framing(framing);
        let mut connections = connections.borrow_mut();
        let client = if matches!(framing, Framing::H2(_)) { &mut connections.1 } else { &mut connections.0 };
        let reply = runtime.block_on(client.exchange(&request));
        prop_assert_eq!(reply.status, 200, "{}", reply.text());
        let received = runtime.block_on(stub.next());
        prop_assert_eq!(String::from_utf8_lossy(&received.body), expected);
        let type_ok = received.header("content-type") == "application/json";
        prop_assert!(type_ok, "content-type changed: {:?}", received.headers);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// A streamed chat request without `stream_options` gets it added; everything else stays as sent.
#[tokio::test]
async fn only_the_usage_option_is_added_to_a_stream() {
    let stub = Stub::always(Answer::sse([bodies::chat_delta("x"), bodies::chat_finish(), bodies::DONE.into()])).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let mut client = Connection::for_framing(gateway.addr, Framing::Length).await;
    let cases = [
        (r#"{"model":"stub/m","stream":true,"x":1.0}"#, None),
        (r#"{ "stream" : true , "x" : 1.0e5, "model" : "stub/m" }"#, None),
        (r#"{"stream":true,"stream_options":{},"model":"stub/m","x":-0}"#, Some(r#"{"include_usage":true}"#)),
        (
            r#"{"stream":true,"stream_options":{"include_obfuscation":false},"model":"stub/m"}"#,
            Some(r#"{"include_obfuscation":false,"include_usage":true}"#),
        ),
        (
            r#"{"stream":true,"stream_options":{"include_usage":false},"model":"stub/m"}"#,
            Some(r#"{"include_usage":true}"#),
        ),
        (r#"{"stream":true,"stream_options":null,"model":"stub/m"}"#, Some(r#"{"include_usage":true}"#)),
    ];
    for (sent, options) in cases {
        let reply = client.exchange(&Request::post("/v1/chat/completions", sent)).await;
        assert_eq!(reply.status, 200, "{sent}: {}", reply.text());
        let received = stub.next().await;
        let text = String::from_utf8(received.body.to_vec()).unwrap();
        let mut json = received.json();
        let added = json.as_object_mut().unwrap().remove("stream_options").unwrap_or_default();
        let expected: serde_json::Value = serde_json::from_str(options.unwrap_or(r#"{"include_usage":true}"#)).unwrap();
        assert_eq!(added, expected, "{sent} became {text}");
        let mut original: serde_json::Value = serde_json::from_str(&sent.replace("stub/m", "m")).unwrap();
        original.as_object_mut().unwrap().remove("stream_options");
        assert_eq!(json, original, "{sent} became {text}");
        if options.is_none() {
            // The insertion is one span: what is left of and right of it is the original text.
            let original = sent.replace("stub/m", "m");
            let inserted = text.len() - original.len();
            let split = (0..=original.len()).find(|&i| {
                text.is_char_boundary(i) && text[..i] == original[..i] && text[i + inserted..] == original[i..]
            });
            assert!(split.is_some(), "{original} became {text}");
        }
    }
}

/// A request that already asks for its usage is not touched.
#[tokio::test]
async fn a_stream_that_asks_for_usage_is_sent_as_it_is() {
    let stub = Stub::always(Answer::sse([bodies::chat_delta("x"), bodies::DONE.into()])).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let mut client = Connection::for_framing(gateway.addr, Framing::Length).await;
    let sent = r#"{ "stream_options" : { "include_usage" : true }, "stream" : true, "model" : "stub/m" }"#;
    let reply = client.exchange(&Request::post("/v1/chat/completions", sent)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(String::from_utf8_lossy(&stub.next().await.body), sent.replace("stub/m", "m"));
}
