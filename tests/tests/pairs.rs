//! Every client dialect over every provider dialect, through the binary, against the mock that refuses histories which a real
//! provider would refuse: reasoning signed by somebody else, calls without their signature, thinking that is missing.

use ai_gateway_providers::codec::{Maker, Platform, Target, codec};
use ai_gateway_providers::common::{
    Block, Content, FunctionTool, Json, Losses, Message, ProviderTag, ReasoningConfig, Request as Chat, Response, Role,
    Tool, ToolResult,
};
use ai_gateway_providers::{ApiError, Dialect};
use ai_gateway_tests::client::{H1, Reply, Request, exchange};
use ai_gateway_tests::talk::{read_stream, target_of};
use ai_gateway_tests::{Answer, Gateway, Stub};
use serde_json::{Value, json};

/// One mock provider for each dialect, called like it.
async fn gateway() -> Gateway {
    let provider = |dialect: Dialect| format!("[providers.{dialect}]\nkind = \"mock\"\ndialects = [\"{dialect}\"]\n");
    Gateway::start(&Dialect::ALL.map(provider).concat()).await
}

/// A client that speaks `dialect`: its own wire, written and read by the codec.
struct Talk {
    dialect: Dialect,
    chat: Chat<'static>,
}

impl Talk {
    fn new(dialect: Dialect) -> Self {
        let weather = FunctionTool {
            name: "weather".into(),
            description: Some("Tells the weather".into()),
            parameters: Json::parse(r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#),
            ..FunctionTool::default()
        };
        let mut chat = Chat {
            max_tokens: Some(8000),
            tools: vec![Tool::Function(Box::new(weather))],
            reasoning: Some(ReasoningConfig { budget: Some(2048), show: Some(true), ..ReasoningConfig::default() }),
            ..Chat::new(dialect)
        };
        chat.messages.push(Message { blocks: vec![Block::text("What is the weather?")], ..Message::default() });
        Self { dialect, chat }
    }

    fn request(&self, model: &str, stream: bool) -> Request {
        let chat = Chat { stream, include_usage: stream, ..self.chat.clone() };
        let target = Target::new(model, ProviderTag::of("client"));
        let body = codec(self.dialect).encode_request(&chat, &target, &mut Losses::default()).unwrap();
        Request::post(&target_of(self.dialect, model, stream), body)
    }

    fn read(&self, reply: &Reply, stream: bool) -> Result<Response<'static>, ApiError> {
        if stream {
            return read_stream(self.dialect, &reply.body);
        }
        let maker =
            Maker { provider: ProviderTag::of("client"), platform: Platform::Native, model: "m", id_seed: "client" };
        let body: &'static [u8] = reply.body.to_vec().leak();
        codec(self.dialect).decode_response(body, &maker)
    }

    /// Takes the answer into the history, as much of it as `keep` lets through, and answers its calls. False: there was none.
    fn go_on(&mut self, answer: Response<'static>, keep: impl Fn(&mut Block<'static>) -> bool) -> bool {
        let blocks = answer.choices.into_iter().next().unwrap().blocks;
        let results: Vec<Block<'_>> = blocks
            .iter()
            .filter_map(|block| match &block.content {
                Content::ToolCall(call) => Some(Block::new(Content::ToolResult(Box::new(ToolResult {
                    call_id: call.id.clone(),
                    content: vec![Block::text("rain")],
                    ..ToolResult::default()
                })))),
                _ => None,
            })
            .collect();
        let blocks = blocks.into_iter().filter_map(|mut block| keep(&mut block).then_some(block)).collect();
        self.chat.messages.push(Message { role: Role::Assistant, blocks, ..Message::default() });
        let called = !results.is_empty();
        self.chat.messages.push(Message { blocks: results, ..Message::default() });
        called
    }
}

/// What a client keeps that knows only text, calls and results.
fn strip(block: &mut Block<'static>) -> bool {
    block.extras.clear();
    match &mut block.content {
        Content::ToolCall(call) => {
            call.signature = None;
            true
        }
        Content::Text(text) => {
            text.signature = None;
            !text.text.is_empty()
        }
        _ => false,
    }
}

fn text_of(response: &Response<'_>) -> String {
    let blocks = response.choices.iter().flat_map(|choice| &choice.blocks);
    blocks.filter_map(|block| if let Content::Text(text) = &block.content { Some(&*text.text) } else { None }).collect()
}

/// Three turns with a call in each, then the text: with clients that lose everything that their dialect does not name, and
/// with clients that keep all.
#[tokio::test]
async fn tool_loops_of_three_turns_through_every_pair() {
    let gateway = gateway().await;
    for client in Dialect::ALL {
        let mut connection = H1::connect(gateway.addr).await;
        for provider in Dialect::ALL {
            for (stream, strips) in [(false, true), (true, true), (false, false), (true, false)] {
                let what = format!("{client} over {provider}, stream {stream}, strips {strips}");
                // On the diagonal nothing is remembered: a client that strips its own dialect's state loses it, as it would without us.
                if strips && client == provider {
                    continue;
                }
                let mut talk = Talk::new(client);
                let mut turns = 0;
                let last = loop {
                    let reply = connection.exchange(&talk.request(&format!("{provider}/tool-loop-3"), stream)).await;
                    assert_eq!(reply.status, 200, "{what}, turn {turns}: {}", reply.text());
                    let answer =
                        talk.read(&reply, stream).unwrap_or_else(|error| panic!("{what}, turn {turns}: {error}"));
                    assert!(answer.usage.is_some(), "{what}, turn {turns}: usage");
                    let said = text_of(&answer);
                    if !talk.go_on(answer, |block| !strips || strip(block)) {
                        break said;
                    }
                    turns += 1;
                    assert!(turns < 5, "{what}: never ends");
                };
                assert_eq!(turns, 3, "{what}");
                assert!(last.contains("rain"), "{what}: {last}");
            }
        }
    }
}

/// A conversation that goes on with another provider does not show it the state of the one before.
#[tokio::test]
async fn state_never_reaches_another_provider() {
    let gateway = gateway().await;
    for client in Dialect::ALL {
        let mut connection = H1::connect(gateway.addr).await;
        for first in Dialect::ALL {
            for second in Dialect::ALL.into_iter().filter(|second| *second != first) {
                let what = format!("{client} over {first}, then {second}");
                let mut talk = Talk::new(client);
                for (provider, turn) in [(first, 0), (second, 1)] {
                    let reply = connection.exchange(&talk.request(&format!("{provider}/tool-loop-3"), turn == 0)).await;
                    assert_eq!(reply.status, 200, "{what}, turn {turn}: {}", reply.text());
                    let answer = talk.read(&reply, turn == 0).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert!(talk.go_on(answer, |_| true), "{what}, turn {turn}: no call");
                }
            }
        }
    }
}

/// What is asked of one dialect's behaviours, each client sees in its own words: ends, errors before and inside a stream.
#[tokio::test]
async fn ends_and_errors_in_the_clients_own_words() {
    let gateway = gateway().await;
    for client in Dialect::ALL {
        let mut connection = H1::connect(gateway.addr).await;
        for provider in Dialect::ALL.into_iter().filter(|provider| *provider != client) {
            for stream in [false, true] {
                let what = |model: &str| format!("{client} over {provider}/{model}, stream {stream}");
                let talk = Talk::new(client);
                // Each a target of its own: one whose rate is limited rests.
                let limited = format!("{provider}/status-429+{client}-{stream}");
                let refused = talk.request(&limited, stream);
                let reply = ai_gateway_tests::client::exchange(gateway.addr, &refused).await;
                assert_eq!(reply.status, 429, "{}: {}", what("status-429"), reply.text());
                let reply = connection.exchange(&talk.request(&format!("{provider}/length-after-3"), stream)).await;
                let answer = talk.read(&reply, stream).unwrap_or_else(|error| panic!("{}: {error}", what("length")));
                let reason = answer.choices[0].stop.reason;
                assert_eq!(reason, ai_gateway_providers::common::StopReason::MaxTokens, "{}", what("length"));
                let reply = connection.exchange(&talk.request(&format!("{provider}/lorem-20"), stream)).await;
                let answer = talk.read(&reply, stream).unwrap_or_else(|error| panic!("{}: {error}", what("lorem")));
                assert_eq!(text_of(&answer).split_whitespace().count(), 20, "{}", what("lorem"));
            }
            for model in ["cut-after-5", "error-after-5"] {
                let talk = Talk::new(client);
                let request = talk.request(&format!("{provider}/lorem-20+{model}"), true);
                let reply = ai_gateway_tests::client::exchange(gateway.addr, &request).await;
                let told = talk.read(&reply, true);
                assert!(told.is_err(), "{client} over {provider}/{model}: looks complete: {}", reply.text());
            }
        }
    }
}

/// Token counts, embeddings, rerank and completions in one dialect, answered by another.
#[tokio::test]
async fn other_operations_cross_dialects() {
    let gateway = gateway().await;
    let mut connection = H1::connect(gateway.addr).await;
    for (target, body, field) in [
        ("/v1/embeddings", r#"{"model":"cohere/embed","input":["a","b"]}"#, "/data/1/embedding/0"),
        ("/v1/embeddings", r#"{"model":"gemini/embed","input":["a","b"]}"#, "/data/1/embedding/0"),
        (
            "/v2/embed",
            r#"{"model":"openai-chat/embed","texts":["a"],"input_type":"search_query","embedding_types":["float"]}"#,
            "/embeddings/float/0/0",
        ),
        (
            "/v1beta/models/openai-chat%2Fembed:batchEmbedContents",
            r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]}}]}"#,
            "/embeddings/0/values/0",
        ),
        (
            "/v2/rerank",
            r#"{"model":"openai-chat/rerank","query":"q","documents":["a","b"]}"#,
            "/results/0/relevance_score",
        ),
        ("/v1/rerank", r#"{"model":"cohere/rerank","query":"q","documents":["a","b"]}"#, "/results/0/relevance_score"),
        ("/v1/completions", r#"{"model":"anthropic/echo","prompt":"hello"}"#, "/choices/0/text"),
        (
            "/v1/messages/count_tokens",
            r#"{"model":"gemini/echo","messages":[{"role":"user","content":"hello you"}]}"#,
            "/input_tokens",
        ),
        (
            "/v1/messages/count_tokens",
            r#"{"model":"cohere/echo","messages":[{"role":"user","content":"hello you"}]}"#,
            "/input_tokens",
        ),
        ("/v1/responses/input_tokens", r#"{"model":"anthropic/echo","input":"hello you"}"#, "/input_tokens"),
    ] {
        let reply = connection.exchange(&Request::post(target, body)).await;
        assert_eq!(reply.status, 200, "{target} {body}: {}", reply.text());
        let answer = reply.json();
        assert!(answer.pointer(field).is_some_and(|value| !value.is_null()), "{target} {body}: {answer}");
        assert_eq!(reply.header("content-length"), reply.body.len().to_string(), "{target} {body}");
        let estimated = !reply.header("x-gateway-estimate").is_empty();
        assert_eq!(estimated, body.contains("cohere/echo"), "{target} {body}");
    }
}

/// What an API cannot say is named, counted, and refused where the operator wants that.
#[tokio::test]
async fn losses_are_disclosed() {
    let config = "[providers.anthropic]\nkind = \"mock\"\ndialects = [\"anthropic\"]\n\
        [models.strict]\ntargets = [{ provider = \"anthropic\", model = \"echo\" }]\nlossy = \"error\"\n\
        [models.quiet]\ntargets = [{ provider = \"anthropic\", model = \"echo\" }]\nlossy = \"drop\"\n";
    let gateway = Gateway::start(config).await;
    let mut connection = H1::connect(gateway.addr).await;
    let body = |model: &str, stream: bool| {
        format!(
            r#"{{"model":"{model}","stream":{stream},"seed":7,"n":2,"x_own":1,"max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]}}"#
        )
    };
    for stream in [false, true] {
        let reply = connection.exchange(&Request::post("/v1/chat/completions", body("anthropic/echo", stream))).await;
        assert_eq!((reply.status, reply.header("x-gateway-dropped")), (200, "seed,n,x_own"), "{}", reply.text());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["dropped"], "seed,n,x_own", "{log}");
        let reply = connection.exchange(&Request::post("/v1/chat/completions", body("quiet", stream))).await;
        assert_eq!((reply.status, reply.header("x-gateway-dropped")), (200, ""));
    }
    let reply = connection.exchange(&Request::post("/v1/chat/completions", body("strict", false))).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("seed,n,x_own"), "{}", reply.text());
    let metrics = ai_gateway_tests::client::exchange(gateway.admin, &Request::get("/metrics")).await.text();
    for (field, count) in [("seed", 4), ("_other", 4)] {
        let line =
            format!("gateway_dropped_fields_total{{field=\"{field}\",from=\"openai-chat\",to=\"anthropic\"}} {count}");
        assert!(metrics.contains(&line), "{line}:\n{metrics}");
    }
}

/// SDKs of some vendors look for a request's id elsewhere than OpenAI's. Where the provider tells one there, that is it.
#[tokio::test]
async fn the_id_of_a_request_is_where_its_client_looks_for_it() {
    let gateway = gateway().await;
    let mut connection = H1::connect(gateway.addr).await;
    let name_of = |dialect: Dialect| match dialect {
        Dialect::Anthropic => "request-id",
        Dialect::Bedrock => "x-amzn-requestid",
        _ => "x-request-id",
    };
    for client in Dialect::ALL {
        let talk = Talk::new(client);
        for provider in Dialect::ALL {
            for stream in [false, true] {
                let what = format!("{client} to {provider}, stream {stream}");
                let reply = connection.exchange(&talk.request(&format!("{provider}/echo"), stream)).await;
                assert_eq!(reply.status, 200, "{what}: {}", reply.text());
                let (own, upstream) = (reply.header("x-request-id"), reply.header("x-upstream-request-id"));
                assert!(own.len() == 32 && upstream.starts_with("req_mock_"), "{what}: {:?}", reply.headers);
                let passes = name_of(provider) == name_of(client) && name_of(client) != "x-request-id";
                assert_eq!(reply.header(name_of(client)), if passes { upstream } else { own }, "{what}");
            }
        }
        let reply = connection.exchange(&talk.request("nobody/echo", false)).await;
        assert_eq!(reply.status, 404, "{client}: {}", reply.text());
        assert_eq!(reply.header(name_of(client)), reply.header("x-request-id"), "{client}");
    }
}

/// A client of before there were tools, which reads `function_call` only.
#[tokio::test]
async fn who_says_functions_is_answered_with_a_function_call() {
    let gateway = gateway().await;
    let mut connection = H1::connect(gateway.addr).await;
    for provider in [Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock] {
        let body = |stream: bool| {
            format!(
                r#"{{"model":"{provider}/tool-call","stream":{stream},"functions":[{{"name":"weather","parameters":{{"type":"object"}}}}],"messages":[{{"role":"user","content":"hi"}}]}}"#
            )
        };
        let reply = connection.exchange(&Request::post("/v1/chat/completions", body(false))).await;
        let choice = reply.json()["choices"][0].clone();
        assert_eq!(choice["message"]["function_call"]["name"], "weather", "{provider}: {}", reply.text());
        assert_eq!(choice["finish_reason"], "function_call", "{provider}: {}", reply.text());
        let reply = connection.exchange(&Request::post("/v1/chat/completions", body(true))).await;
        let text = reply.text();
        assert!(text.contains(r#""function_call":{"name":"weather""#), "{provider}: {text}");
        assert!(text.contains(r#""finish_reason":"function_call""#), "{provider}: {text}");
        assert!(!text.contains("tool_calls"), "{provider}: {text}");
    }
}

/// Google's copy of OpenAI's API refuses Gemini 3's calls without their signatures, too, and OpenAI's clients strip them.
#[tokio::test]
async fn calls_of_gemini_3_keep_their_signatures_for_clients_that_strip_them() {
    let call = json!({"candidates": [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "c2lnbmVk"}]}, "finishReason": "STOP"}]});
    let native = Stub::always(Answer::json(200, call.to_string())).await;
    let gateway =
        Gateway::start(&format!("[providers.google]\nkind = \"gemini\"\nbase_url = \"{}\"", native.origin())).await;
    let ask = async |body: &Value| {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string().into_bytes())).await;
        (reply, native.next().await)
    };
    let mut body = json!({
        "model": "google/gemini-3-pro-preview",
        "messages": [{"role": "user", "content": "What is the weather?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    });
    let (reply, seen) = ask(&body).await;
    assert_eq!(seen.target, "/v1beta/models/gemini-3-pro-preview:generateContent");
    let mut said = serde_json::from_slice::<Value>(&reply.body).unwrap()["choices"][0]["message"].take();
    for call in said["tool_calls"].as_array_mut().unwrap() {
        call.as_object_mut().unwrap().remove("extra_content").expect("the signature is told");
    }
    let id = said["tool_calls"][0]["id"].clone();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.extend([said, json!({"role": "tool", "tool_call_id": id, "content": "rain"})]);
    let part = |seen: &[u8]| serde_json::from_slice::<Value>(seen).unwrap()["contents"][1]["parts"][0].take();
    let (_, seen) = ask(&body).await;
    assert_eq!(part(&seen.body)["thoughtSignature"], "c2lnbmVk");
    // A call that another model made, or another process.
    for (message, name) in [(1, "id"), (2, "tool_call_id")] {
        let message = &mut body["messages"][message];
        let holder = if name == "id" { &mut message["tool_calls"][0] } else { message };
        holder[name] = "toolu_1".into();
    }
    let (_, seen) = ask(&body).await;
    assert_eq!(part(&seen.body)["thoughtSignature"], "skip_thought_signature_validator");
    // What needs no signatures goes as it is, and so does what only Google's copy understands.
    body["extra_body"] = json!({"google": {"thinking_config": {"include_thoughts": true}}});
    let (_, seen) = ask(&body).await;
    assert_eq!(seen.target, "/v1beta/openai/chat/completions");
    body["model"] = "google/gemini-2.5-pro".into();
    body.as_object_mut().unwrap().remove("extra_body");
    let (_, seen) = ask(&body).await;
    assert_eq!(seen.target, "/v1beta/openai/chat/completions");
}
