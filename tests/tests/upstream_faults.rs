//! Upstreams that misbehave towards a model without a second target: the client gets a clear error in its dialect or a
//! stream that visibly breaks, never a hang and never a false success, and the gateway serves on.

use ai_gateway_providers::codec::{Client, Target, codec};
use ai_gateway_providers::common::{Block, Choice, Losses, Message, ProviderTag, Request as Chat, Response};
use ai_gateway_providers::{Dialect, Usage};
use ai_gateway_tests::client::{Connection, Framing, Request, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::talk::{read_stream, target_of};
use ai_gateway_tests::unreachable::Hanging;
use ai_gateway_tests::{Answer, Authority, Gateway, Mock, Step, Stub, StubFraming, bodies, mock_provider};
use std::time::Duration;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

fn config(stub: &Stub, good: &Stub) -> String {
    format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"stub\", model = \"x\" }}]\n",
        bodies::openai_provider("stub", &stub.origin()),
        bodies::openai_provider("good", &good.origin())
    )
}

/// The same with short clocks, so that silence ends.
fn impatient(stub: &Stub, good: &Stub) -> String {
    let clocks = "timeouts = { connect = \"1s\", first_token = \"700ms\", idle = \"700ms\", total = \"3s\" }";
    config(stub, good) + clocks
}

fn broken() -> Vec<(&'static str, Answer)> {
    let huge = format!("{OK}x-huge: {}\r\ncontent-length: 2\r\n\r\n{{}}", "h".repeat(10 * 1024 * 1024));
    let many: String = (0..100_000).map(|i| format!("x-{i}: 1\r\n")).collect();
    vec![
        ("nothing", Answer::raw("")),
        ("garbage", Answer::raw(vec![0xa5_u8; 5000])),
        ("text", Answer::raw("SSH-2.0-OpenSSH_9.9\r\n")),
        ("HTTP/0.9", Answer::raw("<html>hello</html>")),
        ("HTTP/2 frames", Answer::raw(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0".to_vec())),
        ("status that is no number", Answer::raw("HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\n{}")),
        ("status 99999", Answer::raw("HTTP/1.1 99999 OK\r\ncontent-length: 2\r\n\r\n{}")),
        ("header without colon", Answer::raw("HTTP/1.1 200 OK\r\nnonsense\r\ncontent-length: 2\r\n\r\n{}")),
        ("half a header", Answer::raw("HTTP/1.1 200 OK\r\ncontent-len")),
        ("header of 10 MiB", Answer::raw(huge)),
        ("100,000 headers", Answer::raw(format!("{OK}{many}content-length: 2\r\n\r\n{{}}"))),
        ("half a body", Answer::raw(format!("{OK}content-length: 100\r\n\r\n{{\"a\":"))),
        ("half a chunk", Answer::raw(format!("{OK}transfer-encoding: chunked\r\n\r\n64\r\n{{\"a\":"))),
        (
            "a chunk size that is none",
            Answer::raw(format!("{OK}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n")),
        ),
        ("a huge chunk size", Answer::raw(format!("{OK}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{{}}"))),
        ("two lengths", Answer::raw(format!("{OK}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"))),
        ("a negative length", Answer::raw(format!("{OK}content-length: -2\r\n\r\n{{}}"))),
        ("header that stops", Answer { framing: StubFraming::Raw, ..Answer::raw(OK).step(Step::Stall) }),
        ("body that stops", Answer::raw(format!("{OK}content-length: 10\r\n\r\n{{")).step(Step::Stall)),
        ("chunk that stops", Answer::raw(format!("{OK}transfer-encoding: chunked\r\n\r\n10\r\n{{")).step(Step::Stall)),
        ("101", Answer::raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")),
        ("only 100s", Answer::raw("HTTP/1.1 100 Continue\r\n\r\n".repeat(50))),
    ]
}

#[tokio::test]
async fn no_answer_is_a_clear_error() {
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    for (what, answer) in broken() {
        let stub = Stub::always(answer).await;
        let mut gateway = Gateway::start(&impatient(&stub, &good)).await;
        for framing in [Framing::Length, Framing::H2(100)] {
            let mut client = Connection::for_framing(gateway.addr, framing).await;
            let request = Request::post("/v1/chat/completions", bodies::chat("m")).framing(framing);
            let reply = client.exchange(&request).await;
            if reply.status == 0 {
                // HTTP/2: the header may be lost with the reset that follows it at once. Honest, too.
            } else if reply.status == 200 {
                // The header was good and has been passed on: only a visible break is honest.
                assert!(!reply.complete || reply.text().contains("\"error\""), "{what}: a false success: {reply:?}");
            } else {
                assert!(matches!(reply.status, 502 | 504), "{what}: {} {}", reply.status, reply.text());
                assert!(reply.complete, "{what}: the error was cut");
                let error = reply.json();
                assert!(error["error"]["message"].is_string() && error["error"]["type"].is_string(), "{what}: {error}");
            }
            let log = gateway.log_line(|line| (line["model"] == "m").then(|| line.clone())).await;
            assert_eq!(log["fault"], "upstream", "{what}: {log}");
            let fine = Request::post("/v1/chat/completions", bodies::chat("good/m")).framing(framing);
            assert_eq!(exchange(gateway.addr, &fine).await.status, 200, "{what}: afterwards");
        }
        gateway.assert_healthy().await;
    }
}

/// The model `m` of `stub`, and `pair`, for which `good` is asked next.
fn with_second(stub: &Stub, good: &Stub) -> String {
    format!(
        "{}\n[models.pair]\ntargets = [{{ provider = \"stub\", model = \"x\" }}, {{ provider = \"good\", model = \"x\" }}]\n",
        config(stub, good)
    )
}

/// Good HTTP that is no answer of the API: client and operator are told what came, and the next target is asked.
#[tokio::test]
async fn what_is_no_answer_is_called_by_its_name() {
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let chat = |model| Request::post("/v1/chat/completions", bodies::chat(model));
    let message = |model| Request::post("/v1/messages", bodies::message(model, false));
    let page = Answer::status(200).header("content-type", "text/html; charset=utf-8");
    let redirect = Answer::status(302).header("location", "https://login.example:8443/private?secret=1");
    let xml = Answer::status(200).header("content-type", "application/xml");
    let compressed = Answer::json(200, "?").header("content-encoding", "br");
    for (answer, translated_only, told, noted) in [
        (redirect, false, "a redirect (302)", "status 302, content-type none, to login.example"),
        (page, false, "a web page", "status 200, content-type text/html; charset=utf-8"),
        (Answer::status(204), false, "no content (204)", "status 204, content-type none"),
        (xml, true, "an unexpected content type", "status 200, content-type application/xml"),
        (compressed, false, "a content-encoding that was not asked for", "status 200, content-type application/json"),
    ] {
        let stub = Stub::always(answer).await;
        let gateway = Gateway::start(&with_second(&stub, &good)).await;
        for request in [message("m"), chat("m")].into_iter().take(if translated_only { 1 } else { 2 }) {
            let reply = exchange(gateway.addr, &request).await;
            let said = format!("provider `stub` answered with {told}");
            assert_eq!((reply.status, &reply.json()["error"]["message"]), (502, &said.into()), "{}", request.target);
            let rescued =
                Request { body: String::from_utf8_lossy(&request.body).replace("\"m\"", "\"pair\"").into(), ..request };
            let reply = exchange(gateway.addr, &rescued).await;
            assert_eq!(reply.status, 200, "{told}: {}", reply.text());
            assert!(reply.text().contains("fine"), "{told}: {}", reply.text());
        }
        gateway.told(|line| line.contains(&format!("provider stub: {told}: {noted}"))).await;
        let errors = gateway.output().1.join("\n");
        assert!(!errors.contains("private") && !errors.contains("secret=1"), "{errors}");
    }
}

/// Errors that say nothing a client could read are said by the gateway.
#[tokio::test]
async fn an_error_without_words_gets_some() {
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let page = Answer::status(502).header("content-type", "text/html").step(Step::Send("<h1>nginx</h1>".into()));
    let torn =
        Answer::raw("HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"error");
    for (answer, status) in [
        (Answer::status(500), 502),
        (Answer::status(503).framing(StubFraming::Chunked), 503),
        (Answer::status(409), 409),
        (page, 502),
        (torn, 404),
        (Answer::status(600), 502),
    ] {
        let stub = Stub::always(answer).await;
        let gateway = Gateway::start(&config(&stub, &good)).await;
        for framing in [Framing::Length, Framing::H2(100)] {
            let request = Request::post("/v1/chat/completions", bodies::chat("m")).framing(framing);
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!((reply.status, reply.complete), (status, true), "{}", reply.text());
            let error = &reply.json()["error"];
            assert!(error["message"].as_str().unwrap().contains("provider"), "{error}");
            assert_eq!(reply.header("content-type"), "application/json", "{error}");
        }
    }
}

/// A provider's words may quote the gateway's own credential, and the account that it belongs to.
#[tokio::test]
async fn an_error_tells_nothing_of_the_account() {
    let said = r#"{"error":{"message":"Limit of org-AbC123xyz: Authorization: Bearer upstream-p, sk-1234567890"}}"#;
    let stub = Stub::always(Answer::json(400, said)).await;
    let gateway = Gateway::start(&bodies::openai_provider("p", &stub.origin())).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("p/m"))).await;
    assert_eq!(stub.next().await.header("authorization"), "Bearer upstream-p");
    let told = r#"{"error":{"message":"Limit of org-*********: Authorization: Bearer **********, sk-**********"}}"#;
    assert_eq!((reply.status, reply.text().as_str()), (400, told));
    let reply = exchange(gateway.addr, &Request::post("/v1/messages", bodies::message("p/m", false))).await;
    assert_eq!(reply.status, 400);
    assert!(
        !["AbC123xyz", "upstream-p", "1234567890"].iter().any(|secret| reply.text().contains(secret)),
        "{}",
        reply.text()
    );
}

/// A header of the operator's may carry the credential in the place of `api_key`.
#[tokio::test]
async fn an_error_tells_no_header_that_refers_to_a_secret() {
    let said = r#"{"error":{"message":"invalid token t0k-en-of-ours in region europe","code":"t0k-en-of-ours"}}"#;
    let stub = Stub::always(Answer::json(400, said)).await;
    let event = format!("data: {said}\n\n");
    let streams = Stub::always(Answer::sse([bodies::chat_role(), bodies::chat_delta("x"), event])).await;
    let provider = |name: &str, stub: &Stub| {
        format!(
            "[providers.{name}]\nkind = \"openai-compatible\"\nbase_url = \"{}/v1\"\nauth = \"none\"\n\
             headers = {{ Authorization = \"env:OURS\", x-region = \"europe\" }}\n",
            stub.origin()
        )
    };
    let config = provider("p", &stub) + &provider("s", &streams);
    let gateway = Gateway::builder().config(&config).env("OURS", "Bearer t0k-en-of-ours").start().await;
    let told = said.replace("t0k-en-of-ours", "**************");
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("p/m"))).await;
    assert_eq!(stub.next().await.header("authorization"), "Bearer t0k-en-of-ours");
    assert_eq!((reply.status, &reply.text()), (400, &told));
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("s/m"))).await;
    assert!(reply.text().contains(&told), "{}", reply.text());
}

/// What is packed is unpacked or not passed on, whatever was asked for: in what it says the credential may stand.
#[tokio::test]
async fn a_packed_error_tells_no_more_than_another() {
    let said = r#"{"error":{"message":"no voice for Bearer upstream-p","param":"voice"}}"#;
    let told = said.replace("upstream-p", "**********");
    for coding in ["gzip", "identity, gzip", "br", "zstd", "gzip, br"] {
        // Of a coding that is not known the gateway sees no more than its name.
        let stub = Stub::always(Answer::json(400, pack(said)).header("content-encoding", coding)).await;
        let gateway = Gateway::start(&bodies::responses_provider("p", &stub.origin())).await;
        for request in [
            Request::post("/v1/chat/completions", bodies::chat("p/m")),
            Request::post("/v1/messages", bodies::message("p/m", false)),
            Request::post("/v1/audio/speech", r#"{"model":"p/tts","input":"x","voice":"alloy"}"#),
            Request::get("/v1/responses/resp_1"),
        ] {
            let what = format!("{coding} {}", request.target);
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!((reply.status, reply.complete), (400, true), "{what}: {}", reply.text());
            assert!(!reply.headers.contains_key("content-encoding"), "{what}: {:?}", reply.headers);
            if !coding.ends_with("gzip") {
                let message = &reply.json()["error"]["message"];
                assert_eq!(message, "provider `p` answered with status 400", "{what}");
            } else if request.target == "/v1/messages" {
                assert!(reply.text().contains("no voice for Bearer **********"), "{what}: {}", reply.text());
            } else {
                assert_eq!(reply.text(), told, "{what}");
            }
        }
    }
    let stub = Stub::always(Answer::json(200, pack("{}")).header("content-encoding", "br")).await;
    let gateway = Gateway::start(&bodies::responses_provider("p", &stub.origin())).await;
    let reply = exchange(gateway.addr, &Request::get("/v1/responses/resp_1")).await;
    assert_eq!(reply.status, 502, "a good one, too: {}", reply.text());
}

/// How gzip ends behind the end of a stream is nobody's concern.
#[tokio::test]
async fn a_whole_stream_in_a_torn_gzip_is_whole() {
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let packed = pack(&bodies::chat_events("fine").concat());
    let short = packed[..packed.len() - 4].to_vec();
    let padded = [&packed[..], &[0; 3]].concat();
    for body in [short, padded] {
        let answer = Answer::sse([body]).header("content-encoding", "gzip");
        let stub = Stub::always(answer).await;
        let gateway = Gateway::start(&config(&stub, &good)).await;
        for request in [
            Request::post("/v1/chat/completions", bodies::chat_stream("m")),
            Request::post("/v1/chat/completions", bodies::chat_stream("m")).framing(Framing::H2(100)),
            Request::post("/v1/messages", bodies::message("m", true)),
        ] {
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!((reply.status, reply.complete), (200, true), "{}", reply.text());
            assert!(reply.text().contains("fine") && !reply.text().contains("error"), "{}", reply.text());
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!((&log["attempts"][0]["outcome"], &log["tokens"]["output"]), (&"ok".into(), &5.into()), "{log}");
        }
    }
}

fn pack(text: &str) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A type that says nothing, a coding that is none, and gzip that nobody asked for, hide nothing: the answer is read, its usage too.
#[tokio::test]
async fn unlabelled_and_packed_answers_are_read() {
    let events = bodies::chat_events("fine");
    let good = Stub::always(Answer::json(200, bodies::chat_answer("good"))).await;
    for (content_type, coding) in [
        (None, "Identity"),
        (Some("text/plain; charset=utf-8"), "none"),
        (Some("application/json"), "utf-8"),
        (Some("application/octet-stream"), ""),
        (None, "GZip"),
        (Some("application/json"), "identity, x-gzip"),
    ] {
        let packed = coding.to_ascii_lowercase().ends_with("gzip");
        for stream in [false, true] {
            let text = if stream { events.concat() } else { bodies::chat_answer("fine") };
            let mut answer = Answer::status(200);
            if let Some(content_type) = content_type {
                let stream_type =
                    if content_type.contains("json") && stream { "text/event-stream" } else { content_type };
                answer = answer.header("content-type", stream_type);
            }
            let body = if packed { pack(&text) } else { text.into_bytes() };
            answer = answer.header("content-encoding", coding);
            // In pieces, as they come over a network.
            answer.steps.extend(body.chunks(100).map(|piece| Step::Send(bytes::Bytes::copy_from_slice(piece))));
            let stub = Stub::always(answer.framing(StubFraming::Chunked)).await;
            let gateway = Gateway::start(&config(&stub, &good)).await;
            let chat = if stream { bodies::chat_stream("m") } else { bodies::chat("m") };
            for request in [
                Request::post("/v1/chat/completions", chat),
                Request::post("/v1/messages", bodies::message("m", stream)),
            ] {
                let what = format!("{content_type:?} {coding:?} stream: {stream} {}", request.target);
                let reply = exchange(gateway.addr, &request).await;
                assert_eq!((reply.status, reply.complete), (200, true), "{what}: {}", reply.text());
                assert!(reply.text().contains("fine"), "{what}: {}", reply.text());
                let expected = if stream { "text/event-stream" } else { "application/json" };
                assert!(reply.header("content-type").starts_with(expected), "{what}: {:?}", reply.headers);
                assert!(!reply.headers.contains_key("content-encoding"), "{what}: {:?}", reply.headers);
                let log = gateway.log_of(reply.header("x-request-id")).await;
                assert_eq!(
                    (&log["tokens"]["input"], &log["tokens"]["output"]),
                    (&7.into(), &5.into()),
                    "{what}: {log}"
                );
            }
        }
    }
}

/// Small servers ignore `"stream": true`; an SDK that waits for events would find an empty answer.
#[tokio::test]
async fn a_whole_answer_becomes_the_stream_that_was_asked_for() {
    for dialect in Dialect::ALL {
        let mut answer = Response::new(dialect);
        answer.choices.push(Choice { blocks: vec![Block::text("fine")], ..Choice::default() });
        answer.usage = Some(Usage { input: Some(7), output: Some(5), ..Usage::default() });
        let body = codec(dialect).encode_response(&answer, &Client::default(), &mut Losses::default());
        let body = String::from_utf8(body).unwrap();
        let stub = Stub::always(Answer::json(200, body)).await;
        let refuses = Stub::always(Answer::json(200, r#"{"error":{"message":"overloaded"}}"#)).await;
        let provider = |name: &str, stub: &Stub| {
            let origin = stub.origin();
            format!("[providers.{name}]\nkind = \"mock\"\nbase_url = \"{origin}\"\ndialects = [\"{dialect}\"]\n")
        };
        let gateway = Gateway::start(&[provider("up", &stub), provider("refuses", &refuses)].concat()).await;
        let ask = async |model: &str| {
            let mut chat = Chat { stream: true, max_tokens: Some(9), ..Chat::new(dialect) };
            chat.messages.push(Message { blocks: vec![Block::text("Hi")], ..Message::default() });
            let target = Target::new(model, ProviderTag::of("client"));
            let body = codec(dialect).encode_request(&chat, &target, &mut Losses::default()).unwrap();
            exchange(gateway.addr, &Request::post(&target_of(dialect, model, true), body)).await
        };
        let reply = ask("up/m").await;
        assert_eq!((reply.status, reply.complete), (200, true), "{dialect}: {}", reply.text());
        let said = read_stream(dialect, &reply.body).unwrap();
        let said: Vec<_> = said.choices[0].blocks.iter().map(|block| &block.content).collect();
        assert_eq!(said, [&Block::text("fine").content], "{dialect}: {}", reply.text());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((&log["tokens"]["input"], &log["tokens"]["output"]), (&7.into(), &5.into()), "{dialect}: {log}");
        let reply = ask("refuses/m").await;
        assert!(reply.status >= 400 || read_stream(dialect, &reply.body).is_err(), "{dialect}: {}", reply.text());
    }
}

/// And others stream whatever they are asked for.
#[tokio::test]
async fn a_stream_becomes_the_whole_answer_that_was_asked_for() {
    let mock = Mock::start().await;
    let direct = Gateway::start(&Dialect::ALL.map(|dialect| mock.provider(dialect.as_str(), dialect)).concat()).await;
    for dialect in Dialect::ALL {
        let streamed = exchange(direct.addr, &ask(dialect, &format!("{dialect}/lorem-6"), "Hi", true)).await;
        let answers = |body: bytes::Bytes| {
            let answer = Answer::status(200).header("content-type", streamed.header("content-type"));
            Stub::always(answer.framing(StubFraming::Chunked).step(Step::Send(body)))
        };
        let whole = answers(streamed.body.clone()).await;
        let torn = answers(streamed.body.slice(..streamed.body.len() / 2)).await;
        let providers =
            [("whole", &whole), ("torn", &torn)].map(|(name, stub)| mock_provider(name, dialect, &stub.origin()));
        let pair = "[models.pair]\ntargets = [{ provider = \"torn\", model = \"m\" }, { provider = \"whole\", model = \"m\" }]\n";
        let gateway = Gateway::start(&(providers.concat() + pair)).await;
        let Heard::Answer(said) = hear(dialect, true, &streamed) else { panic!("{dialect}: {}", streamed.text()) };
        for model in ["whole/m", "pair"] {
            let reply = exchange(gateway.addr, &ask(dialect, model, "Hi", false)).await;
            assert_eq!(reply.header("content-type"), "application/json", "{dialect} {model}: {}", reply.text());
            match hear(dialect, false, &reply) {
                Heard::Answer(answer) => {
                    assert_eq!((answer.text, answer.tokens), (said.text.clone(), said.tokens), "{dialect}")
                }
                other => panic!("{dialect} {model}: {other:?}"),
            }
        }
        let reply = exchange(gateway.addr, &ask(dialect, "torn/m", "Hi", false)).await;
        assert_eq!(reply.status, 502, "{dialect}: {}", reply.text());
    }
}

/// The same faults where the client asked for a stream.
#[tokio::test]
async fn broken_streams_are_told_or_cut() {
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let sse = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = String::from_utf8(ai_gateway_tests::client::wire::chunk(bodies::chat_delta("x").as_bytes())).unwrap();
    let endless_line = format!("data: {{\"x\":\"{}", "y".repeat(300_000));
    let cases = [
        ("garbage body", Answer::sse(["\0\x01\x02\u{fffd} no events at all"])),
        ("events that are no JSON", Answer::sse(["data: {nonsense\n\n", "data: <html>\n\n"])),
        ("half a chunk", Answer::raw(format!("{sse}{chunk}40\r\ndata: {{"))),
        ("a chunk size that is none", Answer::raw(format!("{sse}{chunk}xyz\r\nmore"))),
        ("an endless line", Answer::sse(vec![endless_line; 20]).step(Step::Cut)),
        ("silence after output", Answer::raw(format!("{sse}{chunk}")).step(Step::Stall)),
        ("a JSON answer instead of a stream", Answer::json(200, "{\"choices\":[")),
    ];
    for (what, answer) in cases {
        let stub = Stub::always(answer).await;
        let mut gateway = Gateway::start(&impatient(&stub, &good)).await;
        for framing in [Framing::Length, Framing::H2(100)] {
            let request = Request::post("/v1/chat/completions", bodies::chat_stream("m")).framing(framing);
            let reply = exchange(gateway.addr, &request).await;
            let honest = !reply.complete || reply.text().contains("\"error\"") || reply.status >= 500;
            assert!(honest && !reply.text().contains("[DONE]"), "{what}: a false success: {}", reply.text());
        }
        gateway.assert_healthy().await;
    }
}

#[tokio::test]
async fn an_endless_answer_does_not_fill_the_memory() {
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let mut answer = Answer::json(200, "{\"x\":\"").framing(StubFraming::Chunked);
    answer.steps.extend((0..3000).map(|_| Step::Send(bytes::Bytes::from_static(&[b'a'; 65_536]))));
    answer.steps.push(Step::Stall);
    let stub = Stub::always(answer).await;
    let mut gateway = Gateway::start(&impatient(&stub, &good)).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert!(!reply.complete || reply.status >= 500, "a false success: {} bytes", reply.body.len());
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let kib: usize = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 100 * 1024, "the gateway held {kib} KiB of 190 MiB");
    gateway.assert_healthy().await;
}

/// An answer that comes before the request has been read: it counts, and the rest of the request does not matter.
#[tokio::test]
async fn an_early_answer_passes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut some = [0; 1000];
                io.read_exact(&mut some).await.unwrap();
                let body = r#"{"error":{"message":"too long","type":"invalid_request_error"}}"#;
                let head = format!(
                    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                io.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                // Reads on, so that the answer is not lost to a reset.
                let mut sink = vec![0; 65_536];
                while matches!(io.read(&mut sink).await, Ok(n) if n > 0) {}
            });
        }
    });
    let gateway = Gateway::start(&bodies::openai_provider("stub", &origin)).await;
    for size in [5_000, 8 * 1024 * 1024] {
        let request = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", size));
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 400, "{size}: {}", reply.text());
        assert_eq!(reply.json()["error"]["message"], "too long");
    }
}

/// Over HTTP/2 Pingora does not see the early answer to a request which is larger than the window, nor a clock that runs out.
#[tokio::test]
async fn large_requests_go_by_http1() {
    let authority = Authority::new();
    let answer = Answer::json(200, bodies::chat_answer("fine"));
    let stub = Stub::tls(&authority, &["h2", "http/1.1"], move |_| answer.clone()).await;
    let config = format!("{}ca = \"{}\"\n", bodies::openai_provider("stub", &stub.origin()), authority.file());
    let gateway = Gateway::start(&config).await;
    for (size, http2) in [(1_000, true), (128 << 10, false), (1_000, true), (8 << 20, false)] {
        let request = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", size));
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{}: {:?}", reply.text(), gateway.output().1);
        let received = stub.next().await;
        assert_eq!((received.http2, received.complete), (http2, true), "{size}");
    }
}

/// That one handshake is broken by the network says nothing of what the provider speaks.
#[tokio::test]
async fn a_broken_handshake_changes_no_protocol() {
    let authority = Authority::new();
    let stub =
        Stub::tls(&authority, &["h2", "http/1.1"], move |_| Answer::json(200, bodies::chat_answer("fine"))).await;
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = stub.origin().replace(&stub.addr.port().to_string(), &relay.local_addr().unwrap().port().to_string());
    let upstream = stub.addr;
    tokio::spawn(async move {
        for number in 0.. {
            let (mut near, _) = relay.accept().await.unwrap();
            if number == 1 {
                // With the beginning of the handshake in it.
                near.readable().await.unwrap();
                continue;
            }
            let mut far = tokio::net::TcpStream::connect(upstream).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let config = format!("{}ca = \"{}\"\n", bodies::openai_provider("stub", &origin), authority.file());
    let gateway = Gateway::start(&config).await;
    let large = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", 128 << 10));
    for status in [200, 502, 200, 200] {
        let reply = exchange(gateway.addr, &large).await;
        assert_eq!(reply.status, status, "{}: {:?}", reply.text(), gateway.output().1);
        stub.close_connections();
    }
    assert_eq!(stub.received().iter().map(|received| received.http2).collect::<Vec<_>>(), [false; 3]);
}

/// A pooled connection that the upstream has closed meanwhile is replaced without the client noticing.
#[tokio::test]
async fn a_stale_pooled_connection_is_not_the_clients_problem() {
    let authority = Authority::new();
    for alpn in ["http/1.1", "h2"] {
        let answer = Answer::json(200, bodies::chat_answer("fine"));
        let stub = Stub::tls(&authority, &[alpn], move |_| answer.clone()).await;
        let config = format!(
            "{}ca = \"{}\"\nhttp2 = {}",
            bodies::openai_provider("stub", &stub.origin()),
            authority.file(),
            alpn == "h2"
        );
        let gateway = Gateway::start(&config).await;
        for _ in 0..20 {
            let request = Request::post("/v1/chat/completions", bodies::chat("stub/m"));
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!(reply.status, 200, "{}: {:?}", reply.text(), gateway.output().1);
            stub.close_connections();
        }
        assert!(stub.received().iter().map(|r| r.connection).max() > Some(1));
    }
}

/// Connections to the upstream are used again, by any client.
#[tokio::test]
async fn upstream_connections_are_pooled() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    for _ in 0..10 {
        let request = Request::post("/v1/chat/completions", bodies::chat("stub/m"));
        assert_eq!(exchange(gateway.addr, &request).await.status, 200);
    }
    let connections = stub.received().iter().map(|r| r.connection).max().unwrap() + 1;
    assert!(connections <= 3, "{connections} connections for 10 requests in a row");
}

#[tokio::test]
async fn an_upstream_that_does_not_accept_is_a_connect_timeout() {
    let full = Hanging::new().await;
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let origin = format!("http://{}", full.addr);
    let config = format!(
        "{}[models.m]\ntargets = [{{ provider = \"stub\", model = \"x\" }}]\ntimeouts = {{ connect = \"500ms\" }}",
        bodies::openai_provider("stub", &origin) + &bodies::openai_provider("good", &good.origin())
    );
    let gateway = Gateway::start(&config).await;
    let begun = std::time::Instant::now();
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(reply.text().contains("(timeouts.connect)"), "{}", reply.text());
    let log = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!(log["attempts"][0]["outcome"], "connect_timeout", "{log}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
