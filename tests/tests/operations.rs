//! Every path of the public listener towards an OpenAI-compatible or Anthropic provider: the right upstream path, query,
//! headers and bytes, whatever the operation answers with.

use ai_gateway_tests::client::{Connection, Framing, Request, exchange};
use ai_gateway_tests::{Answer, Authority, Gateway, Stub, bodies};

fn openai(name: &str, origin: &str) -> String {
    format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"upstream-{name}\"\n")
}

#[tokio::test]
async fn every_openai_path_reaches_its_upstream_path() {
    let stub = Stub::start(|request| Answer::json(200, request.body.clone())).await;
    // Not every vendor has every operation: this one is asked for all.
    let config = format!("{}{}", openai("stub", &stub.origin()), bodies::openai_provider("compatible", &stub.origin()));
    let gateway = Gateway::start(&config).await;
    let body =
        r#"{"model":"PROVIDER/m","messages":[],"input":"x","query":"q","documents":["d"],"prompt":"p","voice":"v"}"#;
    for (target, upstream) in [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/chat/completions", "/v1/chat/completions"),
        ("/v1beta/openai/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/chat/completions?a=b&c=%20", "/v1/chat/completions?a=b&c=%20"),
        ("/v1/completions", "/v1/completions"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/v1/moderations", "/v1/moderations"),
        ("/v1/images/generations", "/v1/images/generations"),
        ("/v1/audio/speech", "/v1/audio/speech"),
        ("/v1/rerank", "/v1/rerank"),
        ("/v1/responses", "/v1/responses"),
        ("/responses", "/v1/responses"),
    ] {
        // OpenAI itself has no rerank, and not every compatible server has the Responses API.
        let provider = if target.contains("rerank") { "compatible" } else { "stub" };
        let reply = exchange(gateway.addr, &Request::post(target, body.replace("PROVIDER", provider))).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        let received = stub.next().await;
        assert_eq!(received.target, upstream, "{target}");
        assert_eq!(String::from_utf8_lossy(&received.body), body.replace("PROVIDER/", ""), "{target}");
        assert_eq!(received.header("authorization"), format!("Bearer upstream-{provider}"));
        assert_eq!(received.header("content-length"), received.body.len().to_string());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["status"], 200, "{log}");
    }
}

#[tokio::test]
async fn anthropic_paths_and_headers() {
    let stub = Stub::start(|request| Answer::json(200, request.body.clone())).await;
    let gateway = Gateway::start(&bodies::anthropic_provider("claude", &stub.origin())).await;
    for (target, upstream) in [
        ("/v1/messages", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/anthropic/v1/messages/count_tokens?beta=true", "/v1/messages/count_tokens?beta=true"),
    ] {
        let request = Request::post(target, bodies::message("claude/m", false))
            .header("anthropic-version", "2023-06-01")
            .header("anthropic-beta", "context-1m-2025-08-07,other")
            .header("x-api-key", "whatever");
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        let received = stub.next().await;
        assert_eq!(received.target, upstream);
        assert_eq!(received.header("x-api-key"), "upstream-claude");
        assert_eq!(received.header("anthropic-version"), "2023-06-01");
        assert_eq!(received.header("anthropic-beta"), "context-1m-2025-08-07,other");
    }
    // A client that does not say a version (curl) gets the API's current one.
    let reply = exchange(gateway.addr, &Request::post("/v1/messages", bodies::message("claude/m", false))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!stub.next().await.header("anthropic-version").is_empty());
}

/// A request that stands within another names its model there, too.
#[tokio::test]
async fn a_count_for_gemini_names_the_upstreams_model() {
    let stub = Stub::start(|_| Answer::json(200, r#"{"totalTokens":3}"#)).await;
    let gateway = Gateway::start(&format!(
        "[providers.gem]\nkind = \"gemini\"\nbase_url = \"{}\"\napi_key = \"k\"\n\
         [models.fast]\ntargets = [{{ provider = \"gem\", model = \"gemini-2.5-flash\" }}]\n",
        stub.origin()
    ))
    .await;
    let within = r#"{"generateContentRequest": {"contents": [], "model": "models/fast"}}"#;
    for (body, sent) in [
        (within, within.replace("models/fast", "models/gemini-2.5-flash")),
        (
            r#"{"contents": [], "model": "models/fast"}"#,
            r#"{"contents": [], "model": "models/gemini-2.5-flash"}"#.into(),
        ),
        (r#"{"contents": []}"#, r#"{"contents": []}"#.into()),
    ] {
        let reply = exchange(gateway.addr, &Request::post("/v1beta/models/fast:countTokens", body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let received = stub.next().await;
        assert_eq!(received.target, "/v1beta/models/gemini-2.5-flash:countTokens");
        assert_eq!(received.body, sent);
    }
}

/// A provider that does not count after all is made up for; one that refuses what is asked is heard.
#[tokio::test]
async fn a_count_that_a_provider_does_not_make_is_estimated() {
    let refusal = r#"{"message":"The provided model doesn't support counting tokens."}"#;
    let wrong = r#"{"message":"messages: at least one is required"}"#;
    for (status, body, wanted) in
        [(400, refusal, 200), (404, "{}", 200), (405, "", 200), (501, "{}", 200), (400, wrong, 400)]
    {
        let stub = Stub::start(move |_| Answer::json(status, body)).await;
        let config = format!(
            "{}[providers.aws]\nkind = \"bedrock\"\nregion = \"us-east-1\"\nbase_url = \"{}\"\napi_key = \"k\"\n",
            bodies::anthropic_provider("claude", &stub.origin()),
            stub.origin()
        );
        let gateway = Gateway::start(&config).await;
        // Anthropic itself does not say that it does not count.
        let models = ["aws/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws/amazon.nova-pro-v1:0", "claude/m"];
        for model in models.into_iter().filter(|model| status != 400 || !model.starts_with("claude")) {
            let reply =
                exchange(gateway.addr, &Request::post("/v1/messages/count_tokens", bodies::message(model, false)))
                    .await;
            assert_eq!(reply.status, wanted, "{status} {model}: {}", reply.text());
            assert_eq!(stub.next().await.method, "POST");
            if wanted == 200 {
                assert_eq!(reply.header("x-gateway-estimate"), "true");
                assert!(reply.json()["input_tokens"].as_u64().is_some_and(|count| count > 0), "{}", reply.text());
                assert_eq!(gateway.log_of(reply.header("x-request-id")).await["status"], 200);
            }
        }
    }
}

/// Vertex AI knows no request within the request, and counts for Claude at an address of its own.
#[tokio::test]
async fn vertex_is_asked_for_counts_in_its_own_form() {
    let stub = Stub::start(|request| match request.json() {
        body if body.get("generateContentRequest").is_some() || body.get("anthropic_version").is_some() => {
            Answer::json(400, r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"Unknown name"}}"#)
        }
        body if body.get("contents").is_some() => Answer::json(200, r#"{"totalTokens":7}"#),
        _ => Answer::json(200, r#"{"input_tokens":7}"#),
    })
    .await;
    let gateway = Gateway::start(&vertex(&stub.origin())).await;
    let place = "/v1/projects/acme/locations/us-east5/publishers";
    let (gemini, claude) = ("google/gemini-2.5-pro", "google/claude-opus-4-6@default");
    let contents = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#.to_owned();
    let within = format!(r#"{{"generateContentRequest":{contents}}}"#);
    let message = |model: &str| String::from_utf8(bodies::message(model, false).to_vec()).unwrap();
    let responses = |model: &str| format!(r#"{{"model":"{model}","input":"hi"}}"#);
    for (target, body, field, model) in [
        ("/v1beta/models/google%2Fgemini-2.5-pro:countTokens", contents, "/totalTokens", gemini),
        ("/v1beta/models/google%2Fgemini-2.5-pro:countTokens", within, "/totalTokens", gemini),
        ("/v1/messages/count_tokens", message(gemini), "/input_tokens", gemini),
        ("/v1/responses/input_tokens", responses(gemini), "/input_tokens", gemini),
        ("/v1/messages/count_tokens", message(claude), "/input_tokens", claude),
        ("/v1/responses/input_tokens", responses(claude), "/input_tokens", claude),
    ] {
        let reply = exchange(gateway.addr, &Request::post(target, body)).await;
        assert_eq!((reply.status, reply.header("x-gateway-estimate")), (200, ""), "{target} {model}: {}", reply.text());
        assert_eq!(reply.json().pointer(field).and_then(serde_json::Value::as_u64), Some(7), "{target} {model}");
        let seen = stub.next().await;
        if model == gemini {
            assert_eq!(seen.target, format!("{place}/google/models/gemini-2.5-pro:countTokens"));
        } else {
            assert_eq!(seen.target, format!("{place}/anthropic/models/count-tokens:rawPredict"));
            // The counter knows no default version.
            assert_eq!(seen.json()["model"], "claude-opus-4-6");
        }
    }
    // A count asks for nothing that Vertex would not take in a chat.
    let body = r#"{"model":"google/claude-opus-4-6","messages":[{"role":"user","content":"hi"}],
        "tools":[{"name":"f","input_schema":{"type":"object"},"eager_input_streaming":true}]}"#;
    let reply = exchange(gateway.addr, &Request::post("/v1/messages/count_tokens", body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = stub.next().await.json();
    assert_eq!(seen["tools"], serde_json::json!([{"name": "f", "input_schema": {"type": "object"}}]));
}

/// OpenAI counts; those that imitate it are not asked for what only it has.
#[tokio::test]
async fn openai_is_asked_for_counts_and_its_imitators_are_not() {
    let stub = Stub::always(Answer::json(200, r#"{"object":"response.input_tokens","input_tokens":11}"#)).await;
    let gateway = Gateway::start(&openai("stub", &stub.origin())).await;
    let own = r#"{"model":"stub/gpt","input":"hi","previous_response_id":"resp_1","truncation":"auto"}"#;
    let contents = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
    let message = String::from_utf8(bodies::message("stub/gpt", false).to_vec()).unwrap();
    for (target, body, field) in [
        ("/v1/responses/input_tokens", own, "/input_tokens"),
        ("/v1/messages/count_tokens", &*message, "/input_tokens"),
        ("/v1beta/models/stub%2Fgpt:countTokens", contents, "/totalTokens"),
    ] {
        let reply = exchange(gateway.addr, &Request::post(target, body.to_owned())).await;
        assert_eq!((reply.status, reply.header("x-gateway-estimate")), (200, ""), "{target}: {}", reply.text());
        assert_eq!(reply.json().pointer(field).and_then(serde_json::Value::as_u64), Some(11), "{target}");
        let seen = stub.next().await;
        assert_eq!((&*seen.target, &seen.json()["model"]), ("/v1/responses/input_tokens", &"gpt".into()), "{target}");
        if body == own {
            assert_eq!(seen.body, own.replace("stub/", ""));
        }
        assert!(gateway.log_of(reply.header("x-request-id")).await["tokens"].is_null(), "a count consumes nothing");
    }
    for kind in ["azure", "openai-compatible", "xai", "mock"] {
        let stub = Stub::always(Answer::json(500, "{}")).await;
        let gateway = Gateway::start(&responses_only(kind, &stub.origin())).await;
        let asked = Request::post("/v1/responses/input_tokens", r#"{"model":"p/m","input":"hi"}"#);
        let reply = exchange(gateway.addr, &asked).await;
        assert_eq!((reply.status, reply.header("x-gateway-estimate")), (200, "true"), "{kind}: {}", reply.text());
        assert_eq!(stub.count(), 0, "{kind}");
    }
}

/// Nobody but the provider knows how much it keeps.
#[tokio::test]
async fn what_a_provider_keeps_is_not_estimated() {
    let absent =
        r#"{"error":{"message":"Unknown request URL: POST /v1/responses/input_tokens.","code":"unknown_url"}}"#;
    let stub = Stub::always(Answer::json(404, absent)).await;
    for kind in ["openai", "openai-compatible"] {
        let gateway = Gateway::start(&responses_only(kind, &stub.origin())).await;
        let count = async |more: &str| {
            let body = format!(r#"{{"model":"p/m","input":"hi"{more}}}"#);
            exchange(gateway.addr, &Request::post("/v1/responses/input_tokens", body)).await
        };
        let reply = count("").await;
        assert_eq!((reply.status, reply.header("x-gateway-estimate")), (200, "true"), "{kind}: {}", reply.text());
        for (field, value) in [
            ("previous_response_id", r#""resp_1""#),
            ("conversation", r#"{"id":"conv_1"}"#),
            ("prompt", r#"{"id":"pmpt_1"}"#),
        ] {
            let reply = count(&format!(r#","{field}":{value}"#)).await;
            assert_eq!(reply.status, 400, "{kind} {field}: {}", reply.text());
            let error = &reply.json()["error"];
            assert_eq!(error["param"], field, "{kind}: {error}");
            assert!(error["message"].as_str().unwrap().contains("cannot be counted"), "{kind}: {error}");
        }
    }
}

/// Who keeps the answer is not asked for that model, and who is asked does not keep it.
#[tokio::test]
async fn a_count_on_top_of_what_another_provider_keeps_is_a_bad_request() {
    let stub = Stub::always(Answer::json(500, "{}")).await;
    let config = format!(
        "{}{}[models.c]\ntargets = [{{ provider = \"claude\", model = \"claude\" }}]\n",
        openai("stub", &stub.origin()),
        bodies::anthropic_provider("claude", &stub.origin()),
    );
    let gateway = Gateway::start(&config).await;
    let body = r#"{"model":"c","input":"x","previous_response_id":"resp_1"}"#;
    for target in ["/v1/responses/input_tokens", "/v1/responses"] {
        let reply = exchange(gateway.addr, &Request::post(target, body)).await;
        assert_eq!(reply.status, 400, "{target}: {}", reply.text());
        let error = &reply.json()["error"];
        assert_eq!(error["param"], "previous_response_id", "{target}: {error}");
        assert!(error["message"].as_str().unwrap().contains("keeps"), "{target}: {error}");
    }
    assert_eq!(stub.count(), 0);
}

/// Restricted keys of OpenAI's are good for chat and nothing else: they do not rest for a count that is made up for.
#[tokio::test]
async fn a_key_that_may_not_count_goes_on_chatting() {
    let scopes = r#"{"error":{"message":"Missing scopes: api.responses.write","type":"invalid_request_error"}}"#;
    for status in [401, 403] {
        let stub = Stub::start(move |request| match &*request.target {
            "/v1/chat/completions" => Answer::json(200, bodies::chat_answer("hi")),
            _ => Answer::json(status, scopes),
        })
        .await;
        let gateway = Gateway::start(&openai("stub", &stub.origin())).await;
        for _ in 0..2 {
            let request = Request::post("/v1/messages/count_tokens", bodies::message("stub/gpt", false));
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!((reply.status, reply.header("x-gateway-estimate")), (200, "true"), "{}", reply.text());
        }
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("stub/gpt"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(stub.count(), 3);
    }
}

fn responses_only(kind: &str, origin: &str) -> String {
    format!(
        "[providers.p]\nkind = \"{kind}\"\nbase_url = \"{origin}/v1\"\napi_key = \"k\"\n\
         dialects = [\"openai-responses\"]\n"
    )
}

/// Voyage has words of its own for what others call `top_n` and `dimensions`.
#[tokio::test]
async fn voyage_is_asked_in_its_own_words() {
    let stub = Stub::start(|request| match &*request.target {
        "/v1/rerank" => Answer::json(
            200,
            r#"{"object":"list","data":[{"index":1,"relevance_score":0.5}],"model":"r","usage":{"total_tokens":9}}"#,
        ),
        _ => Answer::json(
            200,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0]}],"model":"v","usage":{"total_tokens":3}}"#,
        ),
    })
    .await;
    let config = format!("[providers.v]\nkind = \"voyage\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n", stub.origin());
    let gateway = Gateway::start(&config).await;
    let body = r#"{"model":"v/rerank-2.5","query":"q","documents":["a","b"],"top_n":1}"#;
    let reply = exchange(gateway.addr, &Request::post("/v2/rerank", body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["results"], serde_json::json!([{"index": 1, "relevance_score": 0.5}]));
    let seen = stub.next().await;
    let wanted = serde_json::json!({"model": "rerank-2.5", "query": "q", "documents": ["a", "b"], "top_k": 1});
    assert_eq!((seen.header("authorization"), seen.json()), ("Bearer k", wanted.clone()));
    // One of the form that most have is told so in its own, at the path that Voyage has too.
    let reply = exchange(gateway.addr, &Request::post("/v1/rerank", body)).await;
    assert_eq!((reply.status, &reply.json()["results"][0]["index"]), (200, &1.into()), "{}", reply.text());
    let seen = stub.next().await;
    assert_eq!((&*seen.target, seen.json()), ("/v1/rerank", wanted));
    // A client of its own API gets through as it is.
    let own = r#"{"model":"v/rerank-2.5","query":"q","documents":["a","b"],"top_k":1,"truncation":false}"#;
    let reply = exchange(gateway.addr, &Request::post("/v1/rerank", own)).await;
    assert_eq!((reply.status, &reply.json()["data"][0]["index"]), (200, &1.into()), "{}", reply.text());
    assert_eq!(stub.next().await.body, own.replace("v/", ""));
    let embed = r#"{"model":"v/voyage-4","texts":["a"],"input_type":"search_query","embedding_types":["float"],
        "output_dimension":256}"#;
    let reply = exchange(gateway.addr, &Request::post("/v2/embed", embed)).await;
    assert_eq!(reply.json()["embeddings"]["float"], serde_json::json!([[1.0]]), "{}", reply.text());
    let wanted =
        serde_json::json!({"model": "voyage-4", "input": ["a"], "input_type": "query", "output_dimension": 256});
    assert_eq!(stub.next().await.json(), wanted);
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("v/voyage-4"))).await;
    assert_eq!(reply.status, 501, "{}", reply.text());
}

/// It counts in few regions, and not for all models.
#[tokio::test]
async fn what_vertex_does_not_count_of_claude_is_estimated() {
    let unsupported = r#"{"type":"error","error":{"type":"invalid_request_error","message":"claude-x@1 is not supported for token counting"}}"#;
    let google = |code: u16, status: &str, message: &str| {
        format!(r#"{{"error":{{"code":{code},"status":"{status}","message":"{message}"}}}}"#)
    };
    let counter = "Publisher Model `projects/acme/locations/us-east5/publishers/anthropic/models/count-tokens`";
    let no_model = r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#;
    for (status, body, wanted) in [
        (400, unsupported.to_owned(), 200),
        (400, google(400, "FAILED_PRECONDITION", &format!("{counter} is not servable in region us-east5.")), 200),
        (404, google(404, "NOT_FOUND", &format!("{counter} was not found.")), 200),
        (404, google(404, "NOT_FOUND", "Requested entity was not found."), 200),
        (404, no_model.to_owned(), 404),
        (400, google(400, "INVALID_ARGUMENT", "messages: at least one is required"), 400),
    ] {
        let answer = Answer::json(status, body.clone());
        let stub = Stub::start(move |_| answer.clone()).await;
        let gateway = Gateway::start(&vertex(&stub.origin())).await;
        let request = Request::post("/v1/messages/count_tokens", bodies::message("google/claude-x@1", false));
        let reply = exchange(gateway.addr, &request).await;
        let estimated = if wanted == 200 { "true" } else { "" };
        assert_eq!((reply.status, reply.header("x-gateway-estimate")), (wanted, estimated), "{body}: {}", reply.text());
        assert_eq!(stub.count(), 1);
    }
}

fn vertex(origin: &str) -> String {
    format!(
        "[providers.google]\nkind = \"vertex\"\nregion = \"us-east5\"\nproject = \"acme\"\n\
         access_token = \"google\"\nbase_url = \"{origin}\"\n"
    )
}

#[tokio::test]
async fn azure_has_two_forms() {
    let stub = Stub::start(|request| Answer::json(200, request.body.clone())).await;
    let origin = stub.origin();
    let config = format!(
        "[providers.new]\nkind = \"azure\"\nbase_url = \"{origin}\"\napi_key = \"az\"\n\
         [providers.old]\nkind = \"azure\"\nbase_url = \"{origin}\"\napi_key = \"az\"\napi_version = \"2024-10-21\"\n"
    );
    let gateway = Gateway::start(&config).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("new/gpt-5"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received = stub.next().await;
    assert_eq!(received.target, "/openai/v1/chat/completions");
    assert_eq!((received.header("api-key"), received.header("authorization")), ("az", ""));
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("old/gpt-5"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received = stub.next().await;
    assert_eq!(received.target, "/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21");
    assert_eq!(received.json()["model"], "gpt-5");
    // The client's side of the old form: the model is in the path, and its api-version is not the provider's.
    for model in ["old%2Fgpt-5", "old/gpt-5"] {
        let target = format!("/openai/deployments/{model}/chat/completions?api-version=2023-05-15");
        let request = Request::post(&target, r#"{"messages":[]}"#).header("api-key", "client");
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        let received = stub.next().await;
        assert_eq!(received.target, "/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21");
        assert_eq!(received.header("api-key"), "az");
    }
    // Whoever is asked elsewhere finds the model in the body, though its client did not write it there.
    for (body, sent) in [
        (r#"{"messages":[],"stream":false}"#, r#"{"model":"gpt-5","messages":[],"stream":false}"#),
        (r#"{"messages":[],"model":""}"#, r#"{"messages":[],"model":"gpt-5"}"#),
        (r#"{"model": null,"messages":[]}"#, r#"{"model": "gpt-5","messages":[]}"#),
    ] {
        let request = Request::post("/openai/deployments/new%2Fgpt-5/chat/completions", body);
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let received = stub.next().await;
        assert_eq!(received.target, "/openai/v1/chat/completions");
        assert_eq!(received.body, sent);
    }
    let form = "--x\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nen\r\n--x--\r\n";
    let mut request = Request::post("/openai/deployments/new%2Fwhisper/audio/transcriptions", form);
    request.headers = vec![("content-type".into(), "multipart/form-data; boundary=x".into())];
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received = stub.next().await;
    let sent = String::from_utf8_lossy(&received.body);
    assert!(sent.contains("name=\"model\"\r\n\r\nwhisper\r\n"), "{sent}");
}

/// Bytes that are not JSON come back as they are: audio, images, compressed answers.
#[tokio::test]
async fn binary_answers_pass() {
    let audio: Vec<u8> = (0..200_000_u32).map(|i| (i * 31 % 251) as u8).collect();
    let sent = bytes::Bytes::from(audio.clone());
    let stub = Stub::start(move |_| {
        let mut answer = Answer::status(200).header("content-type", "audio/mpeg");
        answer = answer.framing(ai_gateway_tests::StubFraming::Chunked);
        answer.steps.extend(sent.chunks(7_000).map(|part| ai_gateway_tests::Step::Send(sent.slice_ref(part))));
        answer
    })
    .await;
    let gateway = Gateway::start(&openai("stub", &stub.origin())).await;
    for framing in [Framing::Length, Framing::H2(100)] {
        let request = Request::post("/v1/audio/speech", r#"{"model":"stub/tts","input":"x","voice":"alloy"}"#);
        let reply = exchange(gateway.addr, &request.framing(framing)).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "audio/mpeg"), "{}", reply.text());
        assert!(reply.complete && reply.body == audio);
    }
}

/// An upstream that compresses although nobody asked, or because the client's header came through: the client can read
/// the answer, and its usage is counted.
#[tokio::test]
async fn compressed_answers_stay_readable() {
    use std::io::{Read, Write};
    let answer = bodies::chat_answer("fine");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(answer.as_bytes()).unwrap();
    let zipped = bytes::Bytes::from(encoder.finish().unwrap());
    let plain = answer.clone();
    let stub = Stub::start(move |request| {
        if request.header("accept-encoding").contains("gzip") {
            Answer::json(200, zipped.clone()).header("content-encoding", "gzip")
        } else {
            Answer::json(200, plain.clone())
        }
    })
    .await;
    let gateway = Gateway::start(&openai("stub", &stub.origin())).await;
    for accepted in ["gzip, br", "identity", ""] {
        let mut request = Request::post("/v1/chat/completions", bodies::chat("stub/m"));
        if !accepted.is_empty() {
            request = request.header("accept-encoding", accepted);
        }
        let reply = exchange(gateway.addr, &request).await;
        let mut text = reply.text();
        if reply.header("content-encoding") == "gzip" {
            assert!(accepted.contains("gzip"));
            text.clear();
            flate2::read::GzDecoder::new(&reply.body[..]).read_to_string(&mut text).unwrap();
        }
        assert_eq!((reply.status, text), (200, answer.clone()), "{accepted}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["tokens"]["input"], 7, "{accepted}: {log}");
    }
}

/// What an answer carries besides the provider's own headers.
#[tokio::test]
async fn answers_carry_the_gateways_headers() {
    let stub = Stub::start(|_| {
        Answer::json(200, bodies::chat_answer("x"))
            .header("x-ratelimit-remaining-requests", "41")
            .header("openai-processing-ms", "12")
            .header("set-cookie", "session=provider")
            .header("connection", "keep-alive, x-internal")
            .header("x-internal", "secret")
    })
    .await;
    let gateway = Gateway::start(&format!(
        "{}[models.nice]\ntargets = [{{ provider = \"stub\", model = \"upstream-name\" }}]",
        openai("stub", &stub.origin())
    ))
    .await;
    let mut ids = std::collections::HashSet::new();
    for framing in [Framing::Length, Framing::H2(100)] {
        let mut client = Connection::for_framing(gateway.addr, framing).await;
        for _ in 0..3 {
            let request = Request::post("/v1/chat/completions", bodies::chat("nice")).framing(framing);
            let reply = client.exchange(&request).await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("x-gateway-provider"), "stub");
            assert_eq!(reply.header("x-gateway-model"), "upstream-name");
            assert_eq!(reply.header("x-gateway-attempts"), "1");
            assert!(ids.insert(reply.header("x-request-id").to_owned()), "an id twice");
            for hidden in ["set-cookie", "x-internal"] {
                assert!(!reply.headers.contains_key(hidden), "{hidden} came through: {:?}", reply.headers);
            }
        }
    }
}

#[tokio::test]
async fn tls_upstreams_are_verified() {
    let (ours, other) = (Authority::new(), Authority::new());
    let answer = || |_: &ai_gateway_tests::Received| Answer::json(200, bodies::chat_answer("secure"));
    for alpn in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let stub = Stub::tls(&ours, alpn, answer()).await;
        let port = stub.addr.port();
        let provider = |name: &str, host: &str, ca: Option<&Authority>| {
            let ca = ca.map(|ca| format!("ca = \"{}\"\n", ca.file())).unwrap_or_default();
            format!("[providers.{name}]\nkind = \"openai-compatible\"\nbase_url = \"https://{host}:{port}/v1\"\n{ca}")
        };
        let config = [
            provider("right", "127.0.0.1", Some(&ours)),
            provider("named", "localhost", Some(&ours)),
            provider("roots", "localhost", None),
            provider("wrong", "localhost", Some(&other)),
        ];
        let mut gateway = Gateway::start(&config.concat()).await;
        for name in ["right", "named"] {
            let request = Request::post("/v1/chat/completions", bodies::chat(&format!("{name}/m")));
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!(reply.status, 200, "{name} {alpn:?}: {}", reply.text());
        }
        let served = stub.count();
        // Also after a good connection to the same address exists: it must not be shared.
        for name in ["roots", "wrong"] {
            let request = Request::post("/v1/chat/completions", bodies::chat(&format!("{name}/m")));
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!(reply.status, 502, "{name} {alpn:?}: {}", reply.text());
            assert!(reply.json()["error"]["message"].is_string());
        }
        assert_eq!(stub.count(), served, "a request went to an upstream that was not verified");
        gateway.assert_healthy().await;
    }
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_a_502() {
    let config = "[providers.x]\nkind = \"openai-compatible\"\nbase_url = \"http://no-such-host.invalid/v1\"";
    let gateway = Gateway::start(config).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("x/m"))).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let log = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!(log["fault"], "upstream", "{log}");
}

/// The first telemetry: what a scrape shows after a few requests.
#[tokio::test]
async fn metrics_count_what_happened() {
    let stub = Stub::start(|request| {
        if request.json()["stream"] == true {
            Answer::sse([bodies::chat_delta("x"), bodies::chat_delta("y"), bodies::chat_usage(), bodies::DONE.into()])
        } else {
            Answer::json(200, bodies::chat_answer("x"))
        }
    })
    .await;
    let gateway = Gateway::start(&format!(
        "{}[models.nice]\ntargets = [{{ provider = \"stub\", model = \"m\" }}]",
        openai("stub", &stub.origin())
    ))
    .await;
    for body in [bodies::chat("nice"), bodies::chat_stream("nice"), bodies::chat("unknown-model-name")] {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body)).await;
        gateway.log_of(reply.header("x-request-id")).await;
    }
    let reply = exchange(gateway.admin, &Request::get("/metrics")).await;
    let text = reply.text();
    for name in [
        "gen_ai_server_request_duration_seconds_bucket",
        "gen_ai_server_time_to_first_token_seconds_bucket",
        "gen_ai_server_time_per_output_token_seconds_bucket",
        "gen_ai_client_token_usage_token_sum",
    ] {
        assert!(text.lines().any(|l| l.starts_with(name)), "{name} is missing:\n{text}");
    }
    let sum = |kind: &str| {
        let label = format!("gen_ai_token_type=\"{kind}\"");
        let lines = text.lines().filter(|l| l.starts_with("gen_ai_client_token_usage_token_sum") && l.contains(&label));
        lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    assert_eq!((sum("input"), sum("output")), (14.0, 10.0), "{text}");
    assert!(!text.contains("unknown-model-name"), "a client's made-up name became a label");
    assert!(!text.contains("Hello"), "a prompt in the metrics");
}
