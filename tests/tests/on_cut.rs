//! `on_cut`: an answer that breaks off when the client has its beginning is gone on with by another target, or not begun before it
//! is whole. Whatever cannot be gone on with ends in an honest error.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Framing, H1, Reply, Request, exchange};
use ai_gateway_tests::speak::{self, text_of};
use ai_gateway_tests::talk::read_stream;
use ai_gateway_tests::{Answer, Gateway, Mock, Received, Step, Stub, StubFraming, bodies};
use serde_json::{Value, json};

/// What every answer of `lorem-12` says.
const WHOLE: &str = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor";
const WORDS: usize = 12;
/// How an answer may break off after some of its words.
const CUTS: [&str; 4] = ["cut-after", "stall-after", "error-after", "end-early-after"];

/// The same targets fail again and again here, and are to be asked all the same.
const UNRESTED: &str = "health = { failures = 0, rate = 0 }";

/// One mock provider for each dialect, called like it.
fn mocks() -> String {
    let provider =
        |dialect: Dialect| format!("[providers.{dialect}]\nkind = \"mock\"\ndialects = [\"{dialect}\"]\n{UNRESTED}\n");
    Dialect::ALL.map(provider).concat()
}

/// A model of these targets: provider, upstream model, and more of its table.
fn model(name: &str, targets: &[(&str, &str, &str)], on_cut: &str) -> String {
    let targets: Vec<String> = (0..)
        .zip(targets)
        .map(|(priority, (provider, model, more))| {
            // Only those have a clock that fall silent, or may for a while.
            let silent = model.contains("stall") || model.contains("slow-first");
            let clock = if silent { ", timeouts = { idle = \"300ms\" }" } else { "" };
            format!("{{ provider = \"{provider}\", model = \"{model}\", priority = {priority}{more}{clock} }}")
        })
        .collect();
    format!(
        "[models.\"{name}\"]\ntargets = [{}]\non_cut = \"{on_cut}\"\nretry = {{ attempts = 9 }}\n",
        targets.join(", ")
    )
}

const ABLE: &str = ", traits = { prefill = true }";

/// A client's request for a stream.
fn ask(dialect: Dialect, model: &str) -> Request {
    speak::ask(dialect, model, "Say something", true)
}

fn text_in(dialect: Dialect, reply: &Reply, what: &str) -> String {
    text_of(&read_stream(dialect, &reply.body).unwrap_or_else(|error| panic!("{what}: {error}: {}", reply.text())))
}

fn assert_broken(dialect: Dialect, reply: &Reply, what: &str) {
    if let Ok(response) = read_stream(dialect, &reply.body) {
        panic!("{what}: complete with {:?}", text_of(&response));
    }
}

fn outcomes(log: &Value) -> Vec<&str> {
    log["attempts"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect()
}

/// Whatever the client speaks, wherever the answer breaks off and how: what it gets is whole.
#[tokio::test]
async fn another_target_goes_on_with_the_text() {
    let mut config = mocks();
    for cut in CUTS {
        for at in 1..WORDS {
            let first = format!("lorem-12+{cut}-{at}");
            let other = [("openai-chat", &*first, ""), ("anthropic", "lorem-12+prefill", ABLE)];
            config += &model(&format!("{cut}-{at}"), &other, "continue");
        }
    }
    let mut gateway = Gateway::start(&config).await;
    for dialect in Dialect::ALL {
        let mut client = H1::connect(gateway.addr).await;
        for cut in CUTS {
            // Stalls take their time.
            let step = if cut == "stall-after" { 5 } else { 1 };
            for at in (1..WORDS).step_by(step) {
                let what = format!("{dialect}, {cut}-{at}");
                let reply = client.exchange(&ask(dialect, &format!("{cut}-{at}"))).await;
                assert!(reply.status == 200 && reply.complete, "{what}: {}", reply.text());
                assert_eq!(text_in(dialect, &reply, &what), WHOLE, "{what}");
                let comments = reply.text().matches(": x-gateway-seam from=openai-chat/lorem-12+").count();
                assert_eq!(comments, usize::from(dialect != Dialect::Bedrock), "{what}: {}", reply.text());
                let log = gateway.log_of(reply.header("x-request-id")).await;
                assert_eq!((&log["finish"], &log["seams"]), (&"complete".into(), &1.into()), "{what}: {log}");
                let outcome = match cut {
                    "stall-after" => "idle_timeout",
                    "error-after" => "stream_error",
                    _ => "cut",
                };
                assert_eq!(outcomes(&log), [outcome, "ok"], "{what}: {log}");
                assert!(log.get("error").is_none() && log.get("fault").is_none(), "{what}: {log}");
            }
        }
    }
    gateway.assert_healthy().await;
}

/// All that the first target says, and its error, in one piece: it was said all the same.
#[tokio::test]
async fn what_breaks_off_at_once_is_gone_on_with() {
    let able = ("anthropic", "lorem-12+prefill", ABLE);
    let config = [
        mocks(),
        model("two", &[("openai-chat", "lorem-12+error-after-5+one-chunk", ""), able], "continue"),
        model("one", &[("anthropic", "lorem-12+error-after-5+one-chunk", "")], "continue"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for dialect in Dialect::ALL {
        let reply = exchange(gateway.addr, &ask(dialect, "two")).await;
        assert_eq!(text_in(dialect, &reply, "two"), WHOLE, "{dialect}");
        let reply = exchange(gateway.addr, &ask(dialect, "one")).await;
        assert_broken(dialect, &reply, "one");
        assert!(reply.complete && reply.text().contains("overloaded"), "{dialect}: {}", reply.text());
    }
}

/// Between two sides of one dialect, too, and from every dialect to every other.
#[tokio::test]
async fn every_dialect_goes_on_with_every_other() {
    let mut config = mocks();
    for first in Dialect::ALL.map(Dialect::as_str) {
        for second in Dialect::ALL.map(Dialect::as_str) {
            let targets = [(first, "lorem-12+cut-after-5", ""), (second, "lorem-12+prefill", ABLE)];
            config += &model(&format!("{first}-{second}"), &targets, "continue");
        }
    }
    let gateway = Gateway::start(&config).await;
    for client in Dialect::ALL {
        for first in Dialect::ALL {
            for second in Dialect::ALL {
                let what = format!("{client}: {first}, {second}");
                let reply = exchange(gateway.addr, &ask(client, &format!("{first}-{second}"))).await;
                if [client, first] == [Dialect::OpenAiResponses; 2] {
                    // An answer that its provider keeps would not be the one that the client has.
                    assert_broken(client, &reply, &what);
                } else {
                    assert_eq!(text_in(client, &reply, &what), WHOLE, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn both_calls_are_counted_and_there_is_one_answer() {
    let targets = [("anthropic", "lorem-12+cut-after-5", ""), ("openai-chat", "lorem-12+prefill", ABLE)];
    let gateway = Gateway::start(&[mocks(), model("m", &targets, "continue")].concat()).await;
    for framing in [Framing::Length, Framing::H2(100)] {
        let request = ask(Dialect::OpenAiChat, "m").framing(framing);
        let reply = exchange(gateway.addr, &request).await;
        assert!(reply.complete, "{}", reply.text());
        let text = reply.text();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect();
        assert!(events.iter().all(|event| event["id"] == events[0]["id"]), "{text}");
        assert!(events.iter().all(|event| event["model"] == events[0]["model"]), "{text}");
        let count = |is: &dyn Fn(&Value) -> bool| events.iter().filter(|event| is(event)).count();
        assert_eq!(count(&|event| event["choices"][0]["delta"]["role"] == "assistant"), 1, "{text}");
        assert_eq!(count(&|event| event["choices"][0]["finish_reason"] == "stop"), 1, "{text}");
        assert_eq!(text.matches("[DONE]").count(), 1, "{text}");
        // Two words were asked first, then those and the five that had been said; what the first made was not told in full.
        let usage = &events.last().unwrap()["usage"];
        assert_eq!(usage["prompt_tokens"], 2 + 2 + 5, "{text}");
        assert!((7..=8).contains(&usage["completion_tokens"].as_u64().unwrap()), "{text}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["tokens"]["input"], 9, "{log}");
    }
}

/// The speaker itself is asked when nobody else is there, and once only.
#[tokio::test]
async fn a_lone_target_may_go_on_with_its_own_text() {
    let config = [
        mocks(),
        model("twice", &[("openai-chat", "lorem-12+prefill+cut-after-6", ABLE)], "continue"),
        model("thrice", &[("openai-chat", "lorem-12+prefill+cut-after-5", ABLE)], "continue"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    // Six of the last six words: that is all, and the end is missing.
    for (name, words) in [("twice", 12), ("thrice", 10)] {
        let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, name)).await;
        assert_broken(Dialect::OpenAiChat, &reply, name);
        let said = WHOLE.split(' ').take(words).last().unwrap();
        assert!(reply.text().contains(&format!("\" {said}\"")), "{}", reply.text());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((outcomes(&log), &log["seams"]), (vec!["cut", "cut"], &1.into()), "{log}");
    }
    let stub = Stub::start(|request| match request.json()["messages"].as_array().map(Vec::len) {
        Some(1) => Answer::sse([bodies::chat_role(), bodies::chat_delta("half \n")]).step(Step::Cut),
        _ => Answer::sse([
            bodies::chat_role(),
            bodies::chat_delta(" \nand "),
            bodies::chat_delta("half"),
            bodies::chat_finish(),
            bodies::DONE.into(),
        ]),
    })
    .await;
    let config = [bodies::openai_provider("stub", &stub.origin()), model("m", &[("stub", "x", ABLE)], "continue")];
    let gateway = Gateway::start(&config.concat()).await;
    let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "m")).await;
    assert_eq!(text_in(Dialect::OpenAiChat, &reply, "stub"), "half \nand half");
    stub.next().await;
    let asked = stub.next().await.json();
    assert_eq!(asked["messages"][1], json!({"role": "assistant", "content": "half"}));
}

/// A target that refuses is passed over, and what it said is nobody's concern.
#[tokio::test]
async fn a_refusal_to_go_on_is_never_shown() {
    let cut = ("openai-chat", "lorem-12+cut-after-4", "");
    let refuses = ("anthropic", "lorem-12+no-prefill", ABLE);
    let config = [
        mocks(),
        model("refused", &[cut, refuses], "continue"),
        model(
            "then-able",
            &[cut, refuses, ("cohere", "status-503", ABLE), ("gemini", "lorem-12+prefill", ABLE)],
            "continue",
        ),
        model("silent", &[cut, ("anthropic", "stall-before-output+lorem-12", ABLE)], "continue")
            .replace("idle =", "first_token = \"400ms\", idle ="),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for dialect in Dialect::ALL {
        for (name, attempts) in [("refused", 2), ("silent", 2), ("then-able", 4)] {
            let what = format!("{dialect}, {name}");
            let reply = exchange(gateway.addr, &ask(dialect, name)).await;
            if name == "then-able" {
                assert_eq!(text_in(dialect, &reply, &what), WHOLE, "{what}");
                let seam = "to=gemini/lorem-12+prefill cause=cut\n";
                assert!(dialect == Dialect::Bedrock || reply.text().contains(seam), "{what}: {}", reply.text());
            } else {
                assert_broken(dialect, &reply, &what);
                let text = reply.text();
                assert!(
                    text.contains("broke off") && !text.contains("prefill") && !text.contains("no output"),
                    "{text}"
                );
                assert!(!text.contains("x-gateway-seam"), "{text}");
            }
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!(outcomes(&log).len(), attempts, "{what}: {log}");
            let finish = if name == "then-able" { "complete" } else { "cut" };
            assert_eq!(log["finish"], finish, "{what}: {log}");
        }
    }
}

/// Nobody is asked when what was said is no plain text, or nobody is known to go on.
#[tokio::test]
async fn what_cannot_be_gone_on_with_ends_in_an_error() {
    let next = ("anthropic", "lorem-12+prefill", ABLE);
    let unable =
        [("anthropic", "lorem-12+prefill", ""), ("bedrock", "claude-opus-4-6", ""), ("gemini", "lorem-12", "")];
    let cut = ("openai-chat", "lorem-12+cut-after-4", "");
    let config = [
        mocks(),
        model("call", &[("openai-chat", "tool-call+cut-after-2", ""), next], "continue"),
        model("thought", &[("openai-chat", "reasoning+cut-after-2", ""), next], "continue"),
        model("unable", &[cut, unable[0], unable[1], unable[2]], "continue"),
        model("off", &[cut, next], "error"),
        model("able", &[cut, next], "continue"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let honest = async |dialect: Dialect, request: Request, what: &str| {
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        assert_broken(dialect, &reply, what);
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((outcomes(&log), &log["finish"]), (vec!["cut"], &"cut".into()), "{what}: {log}");
        assert!(log.get("seams").is_none(), "{what}: {log}");
    };
    for dialect in Dialect::ALL {
        for name in ["call", "thought", "unable", "off"] {
            honest(dialect, ask(dialect, name), &format!("{dialect}, {name}")).await;
        }
    }
    for more in [
        json!({"n": 2}),
        json!({"logprobs": true}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}}),
    ] {
        let mut body: Value = serde_json::from_slice(&bodies::chat_stream("able")).unwrap();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        honest(Dialect::OpenAiChat, Request::post("/v1/chat/completions", body.to_string()), &more.to_string()).await;
    }
}

/// Reasoning that has ended is no hindrance: the text behind it is gone on with.
#[tokio::test]
async fn a_text_behind_reasoning_is_gone_on_with() {
    let targets = [("openai-chat", "reasoning+cut-after-5", ""), ("anthropic", "prefill", ABLE)];
    let gateway = Gateway::start(&[mocks(), model("m", &targets, "continue")].concat()).await;
    for dialect in Dialect::ALL {
        let reply = exchange(gateway.addr, &ask(dialect, "m")).await;
        assert_eq!(text_in(dialect, &reply, "reasoning"), "Say something", "{dialect}");
        let reasoning = reply.text().matches("think").count();
        assert!(dialect == Dialect::Bedrock || reasoning > 0, "{dialect}: {}", reply.text());
    }
}

/// Before the first output all is as ever, and an error is told as what it is.
#[tokio::test]
async fn before_the_first_output_all_is_as_ever() {
    let whole = ("anthropic", "lorem-12", "");
    let config = [
        mocks(),
        model("alone", &[("openai-chat", "error-after-preamble", ABLE)], "continue"),
        model("first", &[("openai-chat", "error-after-preamble", ABLE), whole], "continue"),
        model("cut", &[("openai-chat", "cut-before-output", ""), whole], "continue"),
        model("error", &[("openai-chat", "lorem-12+error-after-3", "")], "continue"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for dialect in Dialect::ALL {
        for name in ["alone", "error"] {
            let reply = exchange(gateway.addr, &ask(dialect, name)).await;
            assert_broken(dialect, &reply, name);
            assert!(reply.complete && reply.text().contains("overloaded"), "{dialect}, {name}: {}", reply.text());
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!(outcomes(&log), ["stream_error"], "{dialect}, {name}: {log}");
        }
        for name in ["first", "cut"] {
            let reply = exchange(gateway.addr, &ask(dialect, name)).await;
            assert_eq!(text_in(dialect, &reply, name), WHOLE, "{dialect}, {name}");
            assert!(!reply.text().contains("seam"), "{dialect}, {name}: {}", reply.text());
        }
    }
}

/// A stub that begins with "one two" and breaks off in one way or another, and the mock that goes on.
#[tokio::test]
async fn broken_bytes_are_a_cut_like_any_other() {
    let begun = [bodies::chat_role(), bodies::chat_delta("lorem"), bodies::chat_delta(" ipsum")];
    let sse = || Answer::sse(begun.clone());
    let next = bodies::chat_delta(" dolor");
    let answers = [
        ("closed", sse().step(Step::Cut)),
        ("clean end", sse()),
        ("trailers", sse().step(Step::Trailers)),
        ("half an event", sse().step(Step::Send(next[..30].to_owned().into())).step(Step::Cut)),
        ("half an event, clean end", sse().step(Step::Send(next[..30].to_owned().into()))),
        ("an event that is none", sse().step(Step::Send("data: {\"choi\n\n".into())).step(Step::Cut)),
        ("noise", sse().step(Step::Send("\u{0}\u{1}<html>".into())).step(Step::Cut)),
        (
            "an error without an end",
            sse().step(Step::Send("data: {\"error\":{\"message\":\"no\"}}\n\n".into())).step(Step::Stall),
        ),
        (
            "a chunk that is none",
            Answer::raw(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\nzz\r\n",
                begun.concat().len(),
                begun.concat()
            )),
        ),
    ];
    for http2 in [false, true] {
        for (what, answer) in answers.clone() {
            let raw = what == "a chunk that is none";
            if http2 && raw {
                continue;
            }
            let stub = Stub::always(if http2 || raw { answer } else { answer.framing(StubFraming::Chunked) }).await;
            let config = [
                mocks(),
                bodies::openai_provider("stub", &stub.origin()),
                format!("http2 = {http2}\n"),
                model("m", &[("stub", "x", ""), ("anthropic", "lorem-12+prefill", ABLE)], "continue"),
            ];
            let mut gateway = Gateway::start(&config.concat()).await;
            for framing in [Framing::Length, Framing::H2(100)] {
                let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "m").framing(framing)).await;
                assert!(reply.complete, "{what}, h2 {http2}: {}", reply.text());
                assert_eq!(text_in(Dialect::OpenAiChat, &reply, what), WHOLE, "{what}, h2 {http2}");
            }
            gateway.assert_healthy().await;
        }
    }
}

/// The words for it differ, and Mistral repeats what it is given.
#[tokio::test]
async fn vendors_are_asked_in_their_own_words() {
    let mock = Mock::start().await;
    let first = ("openai-chat", "lorem-12+cut-after-4", "");
    let config = [
        mocks(),
        format!("[providers.mistral]\nkind = \"mistral\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n", mock.addr),
        model("m", &[first, ("mistral", "lorem-12", "")], "continue"),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    for dialect in Dialect::ALL {
        let reply = exchange(gateway.addr, &ask(dialect, "m")).await;
        assert_eq!(text_in(dialect, &reply, "mistral"), WHOLE, "{dialect}");
    }

    let said = "lorem ipsum dolor sit";
    let plain = json!({"role": "assistant", "content": said});
    for (kind, path, last, more) in [
        (
            "vllm",
            "/v1/chat/completions",
            plain.clone(),
            json!({"continue_final_message": true, "add_generation_prompt": false}),
        ),
        (
            "deepseek",
            "/beta/chat/completions",
            json!({"role": "assistant", "content": said, "prefix": true}),
            json!({}),
        ),
    ] {
        let rest = [bodies::chat_delta(" and so on"), bodies::chat_finish(), bodies::DONE.into()];
        let stub = Stub::always(Answer::sse(rest)).await;
        let base = format!("{}{}", stub.origin(), if kind == "vllm" { "/v1" } else { "" });
        let config = [
            mocks(),
            format!("[providers.{kind}]\nkind = \"{kind}\"\nbase_url = \"{base}\"\napi_key = \"k\"\n"),
            model("m", &[first, (kind, "x", "")], "continue"),
        ];
        let gateway = Gateway::start(&config.concat()).await;
        for dialect in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini] {
            let reply = exchange(gateway.addr, &ask(dialect, "m")).await;
            assert_eq!(text_in(dialect, &reply, kind), format!("{said} and so on"), "{kind}, {dialect}");
            let asked = stub.next().await;
            assert_eq!(asked.target, path, "{kind}, {dialect}");
            let asked = asked.json();
            assert_eq!(asked["messages"].as_array().unwrap().last().unwrap(), &last, "{kind}, {dialect}");
            for (name, value) in more.as_object().unwrap() {
                assert_eq!(&asked[name], value, "{kind}, {dialect}");
            }
            // 1000, less what the text so far took.
            assert_eq!(asked["max_tokens"], 995, "{kind}, {dialect}");
        }
    }
}

/// The client leaves while the second target has its turn, before and after its first word.
#[tokio::test]
async fn a_client_that_leaves_ends_what_goes_on() {
    for (what, rest) in [
        ("before its output", vec![bodies::chat_role()]),
        ("after its output", vec![bodies::chat_role(), bodies::chat_delta(" more")]),
    ] {
        let second = Stub::always(Answer::sse(rest).step(Step::Stall)).await;
        let config = [
            mocks(),
            bodies::openai_provider("stub", &second.origin()),
            model("m", &[("openai-chat", "lorem-12+cut-after-4", ""), ("stub", "x", ABLE)], "continue"),
        ];
        let mut gateway = Gateway::start(&config.concat()).await;
        let mut client = H1::connect(gateway.addr).await;
        client.send(&ask(Dialect::OpenAiChat, "m")).await;
        let mut response = client.respond().await;
        response.until(if what == "before its output" { " sit" } else { " more" }).await;
        second.next().await;
        drop(client);
        second.departed().await;
        let log = gateway.log_line(|line| (line["model"] == "m").then(|| line.clone())).await;
        assert_eq!(log["finish"], "client_left", "{what}: {log}");
        assert_eq!(outcomes(&log), ["cut", "client_left"], "{what}: {log}");
        gateway.assert_healthy().await;
    }
}

/// The first word of what goes on has as long as any first word.
#[tokio::test]
async fn a_slow_start_of_what_goes_on_is_no_silence() {
    let targets =
        [("openai-chat", "lorem-12+cut-after-4", ""), ("anthropic", "lorem-12+prefill+slow-first-900ms", ABLE)];
    let gateway = Gateway::start(&[mocks(), model("m", &targets, "continue")].concat()).await;
    let reply = exchange(gateway.addr, &ask(Dialect::Anthropic, "m")).await;
    assert_eq!(text_in(Dialect::Anthropic, &reply, "slow"), WHOLE);
}

/// The connection to the client lives on.
#[tokio::test]
async fn the_clients_connection_lives_on() {
    let targets = [("openai-chat", "lorem-12+cut-after-4", ""), ("anthropic", "lorem-12+prefill", ABLE)];
    let gateway = Gateway::start(&[mocks(), model("m", &targets, "continue")].concat()).await;
    let mut client = H1::connect(gateway.addr).await;
    for _ in 0..5 {
        let reply = client.exchange(&ask(Dialect::Gemini, "m")).await;
        assert_eq!(text_in(Dialect::Gemini, &reply, "again"), WHOLE);
    }
}

/// `buffer`: nothing leaves before the answer is whole, so that whatever happens to it is not seen.
#[tokio::test]
async fn a_buffered_answer_is_whole_or_not_there() {
    let mut config = mocks();
    for cut in CUTS {
        for at in 0..WORDS {
            let first = format!("lorem-12+{cut}-{at}");
            for dialect in Dialect::ALL.map(Dialect::as_str) {
                let targets = [(dialect, &*first, ""), ("anthropic", "lorem-5", "")];
                config += &model(&format!("{dialect}-{cut}-{at}"), &targets, "buffer");
                config += &model(&format!("{dialect}-{cut}-{at}-alone"), &targets[..1], "buffer");
            }
        }
    }
    let mut gateway = Gateway::start(&config).await;
    for dialect in Dialect::ALL {
        let mut client = H1::connect(gateway.addr).await;
        for cut in CUTS {
            let step = if cut == "stall-after" { 6 } else { 1 };
            for at in (step / 6..WORDS).step_by(step) {
                for first in [dialect, Dialect::OpenAiChat, Dialect::Gemini] {
                    let what = format!("{dialect} from {first}, {cut}-{at}");
                    let reply = client.exchange(&ask(dialect, &format!("{first}-{cut}-{at}"))).await;
                    assert!(reply.status == 200 && reply.complete, "{what}: {}", reply.text());
                    assert_eq!(text_in(dialect, &reply, &what), "lorem ipsum dolor sit amet", "{what}");
                    assert_eq!(reply.header("x-gateway-attempts"), "2", "{what}");
                }
                let what = format!("{dialect} alone, {cut}-{at}");
                let alone = exchange(gateway.addr, &ask(dialect, &format!("{dialect}-{cut}-{at}-alone"))).await;
                assert!(alone.status >= 500 && alone.complete, "{what}: {} {}", alone.status, alone.text());
            }
        }
    }
    gateway.assert_healthy().await;
}

/// Nothing at all leaves before the end; a whole answer passes as it came.
#[tokio::test]
async fn a_buffered_answer_leaves_at_its_end() {
    let pieces = [bodies::chat_role(), bodies::chat_delta("one"), bodies::chat_finish()];
    let gate = ai_gateway_tests::Gate::new();
    let answer = Answer::sse(pieces.clone()).step(Step::Wait(gate.clone())).step(Step::Send(bodies::DONE.into()));
    let stub = Stub::always(answer).await;
    let config = [bodies::openai_provider("stub", &stub.origin()), model("m", &[("stub", "x", "")], "buffer")];
    let gateway = Gateway::start(&config.concat()).await;
    let mut client = H1::connect(gateway.addr).await;
    client.send(&Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
    let _: Received = stub.next().await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), client.reply()).await;
    assert!(early.is_err(), "{early:?}");
    gate.open();
    let reply = client.reply().await.unwrap();
    assert_eq!(reply.text(), [&pieces.concat(), bodies::DONE].concat());
}

/// An answer that is not streamed: an error with a status, where else the connection would break.
#[tokio::test]
async fn a_whole_answer_that_breaks_off_is_not_begun() {
    let config = [mocks(), model("m", &[("openai-chat", "lorem-12+cut-after-3", "")], "buffer")];
    let gateway = Gateway::start(&config.concat()).await;
    let mut client = H1::connect(gateway.addr).await;
    let reply = client.exchange(&Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert!(reply.status == 502 && reply.complete && reply.text().contains("stream_cut"), "{}", reply.text());
}

/// What is held is bounded: past it the answer leaves, and a cut is told in the stream.
#[tokio::test]
async fn an_answer_too_large_to_be_held_leaves() {
    let config = [mocks(), model("m", &[("openai-chat", "json-20000KiB+cut-after-19000", "")], "buffer")];
    let gateway = Gateway::start(&config.concat()).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.len() > 19_000 << 10 && reply.text().contains("stream_cut"), "{}", reply.body.len());
}

/// Who has spoken is asked to go on with the key that it spoke for, and not more often than the client wants.
#[tokio::test]
async fn the_speaker_goes_on_with_its_own_key() {
    let stub = Stub::start(|request| match request.header("authorization") {
        "Bearer k1" => Answer::json(401, "{}"),
        _ if request.json()["messages"].as_array().map(Vec::len) == Some(1) => {
            Answer::sse([bodies::chat_role(), bodies::chat_delta("half ")]).step(Step::Cut)
        }
        _ => Answer::sse([
            bodies::chat_role(),
            bodies::chat_delta("and half"),
            bodies::chat_finish(),
            bodies::DONE.into(),
        ]),
    })
    .await;
    let provider = bodies::openai_provider("stub", &stub.origin())
        .lines()
        .map(|line| if line.starts_with("api_key") { "api_keys = [\"k1\", \"k2\"]" } else { line })
        .collect::<Vec<_>>()
        .join("\n");
    let config = [provider + "\n", model("m", &[("stub", "x", ABLE)], "continue")];
    let gateway = Gateway::start(&config.concat()).await;
    for _ in 0..3 {
        let reply = exchange(gateway.addr, &ask(Dialect::OpenAiChat, "m")).await;
        assert_eq!(text_in(Dialect::OpenAiChat, &reply, "own key"), "half and half");
    }
    let refused = stub.received().iter().filter(|request| request.header("authorization") == "Bearer k1").count();
    assert!(refused <= 1, "a refused key was used {refused} times");
    let once = ask(Dialect::OpenAiChat, "m").header("x-litellm-num-retries", "0");
    let before = stub.count();
    let reply = exchange(gateway.addr, &once).await;
    assert_broken(Dialect::OpenAiChat, &reply, "no retries");
    assert_eq!(stub.count() - before, 1);
}

/// Nothing can follow on an answer that has told why it is over, though its connection breaks before its end.
#[tokio::test]
async fn what_has_told_why_it_is_over_is_not_gone_on_with() {
    let second =
        Stub::always(Answer::sse([bodies::chat_delta("else"), bodies::chat_finish(), bodies::DONE.into()])).await;
    let chat = [bodies::chat_role(), bodies::chat_delta("said"), bodies::chat_finish()];
    let said = |text: &str| json!({"role": "model", "parts": [{"text": text}]});
    let gemini = [
        json!({"candidates": [{"index": 0, "content": said("sa")}]}),
        json!({"candidates": [{"index": 0, "content": said("id"), "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 1, "totalTokenCount": 8}}),
    ];
    let event = |name: &str, data: Value| bodies::anthropic_event(name, &data);
    let text = json!({"type": "text_delta", "text": "said"});
    let anthropic = [
        event(
            "message_start",
            json!({"type": "message_start", "message": {"id": "m", "type": "message",
            "role": "assistant", "model": "x", "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}}}),
        ),
        event(
            "content_block_start",
            json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        ),
        event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": text})),
        event("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        event(
            "message_delta",
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 1}}),
        ),
    ];
    for (kind, dialect, events) in [
        ("openai-compatible", Dialect::OpenAiChat, chat.to_vec()),
        ("gemini", Dialect::Gemini, gemini.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()),
        ("anthropic", Dialect::Anthropic, anthropic.to_vec()),
    ] {
        let first = Stub::always(Answer::sse(events).step(Step::Cut)).await;
        let path = if kind == "openai-compatible" { "/v1" } else { "" };
        let config = format!(
            "[providers.first]\nkind = \"{kind}\"\nbase_url = \"{}{path}\"\napi_key = \"k\"\ndialects = [\"{dialect}\"]\n{UNRESTED}\n{}{}",
            first.origin(),
            bodies::openai_provider("second", &second.origin()),
            model("m", &[("first", "m", ABLE), ("second", "m", ABLE)], "continue"),
        );
        let mut gateway = Gateway::start(&config).await;
        for client in Dialect::ALL {
            let what = format!("{kind}, {client}");
            let before = first.count();
            let reply = exchange(gateway.addr, &ask(client, "m")).await;
            assert_broken(client, &reply, &what);
            assert_eq!((first.count() - before, second.count()), (1, 0), "{what}");
        }
        gateway.assert_healthy().await;
    }
}
