use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{BodyKind, Endpoint, EndpointError, match_endpoint};
use crate::Dialect::{self, Anthropic, Bedrock, Cohere, Gemini, OpenAiChat, OpenAiResponses};
use crate::Operation;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|&(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
}

fn find(method: &str, path: &str) -> Result<Endpoint, EndpointError> {
    match_endpoint(&Method::from_bytes(method.as_bytes()).unwrap(), path, &HeaderMap::new())
}

#[test]
fn openai_paths() {
    use Operation::{Chat, Completions, Embeddings, Images, Moderation, Rerank, Speech, Transcription};
    for (suffix, operation, dialect, body) in [
        ("/chat/completions", Chat, OpenAiChat, BodyKind::Json),
        ("/completions", Completions, OpenAiChat, BodyKind::Json),
        ("/embeddings", Embeddings, OpenAiChat, BodyKind::Json),
        ("/rerank", Rerank, OpenAiChat, BodyKind::Json),
        ("/moderations", Moderation, OpenAiChat, BodyKind::Json),
        ("/images/generations", Images, OpenAiChat, BodyKind::Json),
        ("/images/edits", Images, OpenAiChat, BodyKind::Multipart),
        ("/images/variations", Images, OpenAiChat, BodyKind::Multipart),
        ("/audio/speech", Speech, OpenAiChat, BodyKind::Json),
        ("/audio/transcriptions", Transcription, OpenAiChat, BodyKind::Multipart),
        ("/audio/translations", Transcription, OpenAiChat, BodyKind::Multipart),
        ("/responses", Chat, OpenAiResponses, BodyKind::Json),
    ] {
        let want =
            Endpoint { operation, dialect, suffix: suffix.into(), body, path_model: None, stream: false, stored: None };
        for prefix in
            ["/v1", "", "/openai/v1", "/openai", "//v1", "/v1beta/openai", "/v1alpha/openai", "/gemini/v1beta/openai"]
        {
            let path = format!("{prefix}{suffix}");
            assert_eq!(find("POST", &format!("{path}/")), Ok(want.clone()), "{path}/");
            assert_eq!(find("POST", &path), Ok(want.clone()), "{path}");
            for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "BREW"] {
                assert_eq!(find(method, &path), Err(EndpointError::WrongMethod { dialect, allow: "POST" }), "{path}");
            }
        }
    }
}

#[test]
fn there_are_no_web_sockets() {
    let upgrade = headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
    for path in ["/v1/responses", "/responses", "/openai/v1/responses"] {
        let found = match_endpoint(&Method::GET, path, &upgrade);
        assert_eq!(found, Err(EndpointError::NoWebSocket { dialect: OpenAiResponses }), "{path}");
    }
    assert!(match_endpoint(&Method::POST, "/v1/responses", &upgrade).is_ok());
}

#[test]
fn forms_may_be_json() {
    let json = headers(&[("content-type", "Application/JSON; charset=utf-8")]);
    assert_eq!(match_endpoint(&Method::POST, "/v1/images/edits", &json).unwrap().body, BodyKind::Json);
    let form = headers(&[("content-type", "multipart/form-data; boundary=a")]);
    assert_eq!(match_endpoint(&Method::POST, "/v1/images/edits", &form).unwrap().body, BodyKind::Multipart);
}

#[test]
fn azure_deployments() {
    for (path, model, suffix) in [
        ("/openai/deployments/gpt-4o/chat/completions", "gpt-4o", "/chat/completions"),
        ("/openai/deployments/gpt-4o/completions", "gpt-4o", "/completions"),
        ("/openai/deployments/my%20model%2Fa/embeddings", "my model/a", "/embeddings"),
        ("/openai/deployments/openai/gpt-5/chat/completions", "openai/gpt-5", "/chat/completions"),
        ("/openai/deployments/whisper/audio/transcriptions", "whisper", "/audio/transcriptions"),
    ] {
        let endpoint = find("POST", path).unwrap();
        assert_eq!((endpoint.path_model.as_deref(), &*endpoint.suffix), (Some(model), suffix), "{path}");
        assert_eq!(find("GET", path), Err(EndpointError::WrongMethod { dialect: OpenAiChat, allow: "POST" }));
    }
    for (path, reason) in [
        ("/openai/deployments//chat/completions", "empty"),
        ("/openai/deployments/a%/chat/completions", "badly percent-encoded"),
        ("/openai/deployments/a%0A/chat/completions", "not free of control characters"),
    ] {
        assert_eq!(find("POST", path), Err(EndpointError::BadModel { dialect: OpenAiChat, reason }), "{path}");
    }
    let unknown = Err(EndpointError::UnknownPath { dialect: OpenAiChat });
    assert_eq!(find("POST", "/openai/deployments/gpt-4o/extensions/chat"), unknown);
    assert_eq!(find("POST", "/deployments/gpt-4o/chat/completions"), unknown);
}

#[test]
fn anthropic_paths() {
    for prefix in ["/v1", "", "/anthropic/v1", "/anthropic"] {
        let messages = find("POST", &format!("{prefix}/messages")).unwrap();
        assert_eq!((messages.dialect, messages.operation), (Anthropic, Operation::Chat));
        assert_eq!(messages.upstream_path(""), "/v1/messages");
        let count = find("POST", &format!("{prefix}/messages/count_tokens")).unwrap();
        assert_eq!((count.dialect, count.operation), (Anthropic, Operation::CountTokens));
        assert_eq!(count.upstream_path("/relay/"), "/relay/v1/messages/count_tokens");
        let wrong = EndpointError::WrongMethod { dialect: Anthropic, allow: "POST" };
        assert_eq!(find("GET", &format!("{prefix}/messages")), Err(wrong));
    }
}

#[test]
fn models_in_the_shape_that_the_client_asks_for() {
    let anthropic = [
        ("/v1/models", headers(&[("anthropic-version", "2023-06-01"), ("authorization", "Bearer x")])),
        ("/v1/models", headers(&[("x-api-key", "k")])),
        ("/anthropic/v1/models", headers(&[("authorization", "Bearer x")])),
    ];
    let openai = [
        ("/v1/models", headers(&[])),
        ("/models", headers(&[("authorization", "Bearer x")])),
        ("/v1/models", headers(&[("x-api-key", "k"), ("authorization", "Bearer x")])),
        ("/openai/v1/models", headers(&[("x-goog-api-key", "k")])),
        ("/v1/models", headers(&[("x-fern-sdk-name", "another"), ("authorization", "Bearer x")])),
    ];
    let gemini = [
        ("/v1/models", headers(&[("x-goog-api-key", "k"), ("x-goog-api-client", "google-genai-sdk/3.6.1")])),
        ("/models", headers(&[("x-goog-api-client", "google-genai-sdk/3.6.1"), ("authorization", "Bearer x")])),
        ("/v1beta/models", headers(&[])),
        ("/gemini/v1/models", headers(&[("anthropic-version", "2023-06-01")])),
    ];
    let cohere = [
        ("/v1/models", headers(&[("x-fern-sdk-name", "cohere"), ("authorization", "Bearer x")])),
        ("/cohere/v1/models", headers(&[])),
    ];
    for (cases, dialect, suffix) in [
        (&anthropic[..], Anthropic, "/v1/models"),
        (&openai[..], OpenAiChat, "/models"),
        (&gemini[..], Gemini, "/v1beta/models"),
        (&cohere[..], Cohere, "/v1/models"),
    ] {
        for (path, headers) in cases {
            let list = match_endpoint(&Method::GET, path, headers).unwrap();
            let want = Endpoint {
                operation: Operation::Models,
                dialect,
                suffix: suffix.into(),
                body: BodyKind::None,
                path_model: None,
                stream: false,
                stored: None,
            };
            assert_eq!(list, want, "{path}");
            assert_eq!(match_endpoint(&Method::HEAD, path, headers).unwrap(), want, "{path}");
            let one = match_endpoint(&Method::GET, &format!("{path}/openai/a%3Ab"), headers).unwrap();
            let suffix = format!("{suffix}/openai/a%3Ab").into();
            assert_eq!(one, Endpoint { suffix, path_model: Some("openai/a:b".into()), ..want });
            let wrong = EndpointError::WrongMethod { dialect, allow: "GET, HEAD" };
            assert_eq!(match_endpoint(&Method::DELETE, path, headers), Err(wrong));
        }
    }
    assert_eq!(find("GET", "/v1/models/qwen3:8b").unwrap().path_model.as_deref(), Some("qwen3:8b"));
    for (path, dialect) in
        [("/v1/models/", OpenAiChat), ("/v1beta/models/", Gemini), ("/v1beta/openai/models", OpenAiChat)]
    {
        let list = find("GET", path).unwrap();
        assert_eq!((list.operation, list.dialect, list.path_model), (Operation::Models, dialect, None), "{path}");
    }
    for path in ["/v1beta/models/qwen3:8b", "/v1beta/openai/models/qwen3:8b"] {
        assert_eq!(find("GET", path).unwrap().path_model.as_deref(), Some("qwen3:8b"), "{path}");
    }
    assert_eq!(find("GET", "/v1/models//"), Err(EndpointError::BadModel { dialect: OpenAiChat, reason: "empty" }));
}

#[test]
fn models_named_in_the_path() {
    use Operation::{Chat, CountTokens, Embeddings};
    for (path, dialect, operation, suffix, stream, model) in [
        ("/v1beta/models/gemini-2.5-pro:generateContent", Gemini, Chat, ":generateContent", false, "gemini-2.5-pro"),
        ("/v1beta/openai/gpt-5:generateContent", Gemini, Chat, ":generateContent", false, "openai/gpt-5"),
        ("/v1/models/google/a%3Ab:streamGenerateContent", Gemini, Chat, ":streamGenerateContent", true, "google/a:b"),
        ("/gemini/v1beta/models/m:countTokens", Gemini, CountTokens, ":countTokens", false, "m"),
        ("/v1alpha/models/m:countTokens", Gemini, CountTokens, ":countTokens", false, "m"),
        ("/models/m:generateContent", Gemini, Chat, ":generateContent", false, "m"),
        ("/models/p/qwen3:8b:generateContent", Gemini, Chat, ":generateContent", false, "p/qwen3:8b"),
        ("/gemini/models/m:generateContent", Gemini, Chat, ":generateContent", false, "m"),
        ("/v1beta/models/m:embedContent", Gemini, Embeddings, ":embedContent", false, "m"),
        ("/v1beta/models/m:batchEmbedContents", Gemini, Embeddings, ":batchEmbedContents", false, "m"),
        ("/model/anthropic.claude-v1:0/converse", Bedrock, Chat, "/converse", false, "anthropic.claude-v1:0"),
        (
            "/bedrock/model/arn%3Aaws%3Abedrock/converse-stream",
            Bedrock,
            Chat,
            "/converse-stream",
            true,
            "arn:aws:bedrock",
        ),
        ("/model/m/count-tokens", Bedrock, CountTokens, "/count-tokens", false, "m"),
    ] {
        let found = find("POST", path).unwrap();
        assert_eq!(
            (found.dialect, found.operation, &*found.suffix, found.stream, found.path_model.as_deref()),
            (dialect, operation, suffix, stream, Some(model)),
            "{path}"
        );
        assert_eq!(find("GET", path), Err(EndpointError::WrongMethod { dialect, allow: "POST" }), "{path}");
    }
}

#[test]
fn vertex_paths() {
    for version in ["/v1", "/v1beta1", "/gemini/v1beta1", ""] {
        for project in ["/projects/p/locations/global", "/projects/p:1/locations/l", ""] {
            for (named, model) in [
                ("google/models/m", "m"),
                ("gem/models/gemini-2.5-pro", "gem/gemini-2.5-pro"),
                ("anthropic/models/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
                ("a%62/models/org/qwen3:8b", "ab/org/qwen3:8b"),
            ] {
                let path = format!("{version}{project}/publishers/{named}:streamGenerateContent");
                let found = find("POST", &path).unwrap();
                let want = (Gemini, Operation::Chat, true, Some(model));
                assert_eq!((found.dialect, found.operation, found.stream, found.path_model.as_deref()), want, "{path}");
                assert_eq!(
                    find("GET", &path),
                    Err(EndpointError::WrongMethod { dialect: Gemini, allow: "POST" }),
                    "{path}"
                );
            }
        }
    }
}

#[test]
fn a_base_url_with_a_version_too_much_is_told() {
    for (path, dialect, version) in [
        ("/v1/v1/messages", Anthropic, "v1"),
        ("/anthropic/v1/v1/messages/count_tokens", Anthropic, "v1"),
        ("/v1/v1/chat/completions/", OpenAiChat, "v1"),
        ("/openai/v1/v1/responses", OpenAiResponses, "v1"),
        ("/v1/v2/chat", Cohere, "v1"),
        ("/v1/v1beta/models/m:generateContent", Gemini, "v1"),
        ("/v1/model/m/converse", Bedrock, "v1"),
        ("/v1beta/chat/completions", OpenAiChat, "v1beta"),
    ] {
        assert_eq!(find("POST", path), Err(EndpointError::SurplusVersion { dialect, version }), "{path}");
    }
}

#[test]
fn cohere_paths() {
    for (path, operation, suffix) in [
        ("/v2/chat", Operation::Chat, "/v2/chat"),
        ("/cohere/v2/embed", Operation::Embeddings, "/v2/embed"),
        ("/v2/rerank", Operation::Rerank, "/v2/rerank"),
        ("/cohere/v1/rerank", Operation::Rerank, "/v2/rerank"),
        ("/cohere/chat", Operation::Chat, "/v2/chat"),
    ] {
        let found = find("POST", path).unwrap();
        assert_eq!((found.dialect, found.operation, &*found.suffix), (Cohere, operation, suffix), "{path}");
    }
    for path in ["/v1/chat", "/v1/embed", "/v1/tokenize"] {
        let of = |path: &str| match find("POST", path) {
            Err(EndpointError::NotSupportedYet { dialect, instead }) => (dialect, instead),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(of(&format!("/cohere{path}")), of(path));
    }
}

#[test]
fn stored_responses() {
    for (method, path, suffix) in [
        ("GET", "/v1/responses/resp_1", "/responses/resp_1"),
        ("DELETE", "/openai/v1/responses/resp_1", "/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel", "/responses/resp_1/cancel"),
        ("GET", "/responses/resp_1/input_items", "/responses/resp_1/input_items"),
    ] {
        let found = find(method, path).unwrap();
        assert_eq!(
            (found.operation, &*found.suffix, found.stored.as_deref()),
            (Operation::Stored, suffix, Some("resp_1"))
        );
    }
    let count = find("POST", "/v1/responses/input_tokens").unwrap();
    assert_eq!((count.operation, count.dialect), (Operation::CountTokens, OpenAiResponses));
}

#[test]
fn known_but_not_served_yet() {
    for (method, path, dialect) in [
        ("POST", "/v1/responses/compact", OpenAiResponses),
        ("POST", "/v1/messages/batches", Anthropic),
        ("GET", "/v1/messages/batches/b/results", Anthropic),
        ("POST", "/model/m/invoke", Bedrock),
        ("POST", "/model/m/invoke-with-response-stream", Bedrock),
        ("POST", "/v1/chat", Cohere),
        ("POST", "/v1/embed", Cohere),
        ("POST", "/v1/tokenize", Cohere),
        ("POST", "/v1/fim/completions", OpenAiChat),
        ("POST", "/v1/models/m:predict", Gemini),
        ("POST", "/v1beta/models/m:batchGenerateContent", Gemini),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict", Anthropic),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", Anthropic),
        ("POST", "/v1beta1/publishers/anthropic/models/m:streamRawPredict", Anthropic),
        ("POST", "/v1beta1/publishers/google/models/m:predict", Gemini),
    ] {
        let error = find(method, path).unwrap_err();
        assert!(matches!(error, EndpointError::NotSupportedYet { .. }), "{path}: {error}");
        assert_eq!(error.dialect(), dialect, "{path}");
    }
    let claude = find("POST", "/v1beta1/publishers/anthropic/models/m:rawPredict").unwrap_err().to_string();
    assert_eq!(claude, "this endpoint is not supported yet: ask `/v1/messages`, as Anthropic's own client does");
    for (method, path, dialect, allow) in [
        ("POST", "/v1/responses/resp_1", OpenAiResponses, "GET, DELETE"),
        ("GET", "/v1/responses/resp_1/cancel", OpenAiResponses, "POST"),
        ("GET", "/v2/chat", Cohere, "POST"),
        ("POST", "/v1beta/models", Gemini, "GET, HEAD"),
    ] {
        assert_eq!(find(method, path), Err(EndpointError::WrongMethod { dialect, allow }), "{path}");
    }
}

#[test]
fn unknown_paths_have_the_dialect_of_their_surroundings() {
    for (path, dialect) in [
        ("", OpenAiChat),
        ("/", OpenAiChat),
        ("/v1", OpenAiChat),
        ("/v1/", OpenAiChat),
        ("/favicon.ico", OpenAiChat),
        ("/v1/chat/completions//", OpenAiChat),
        ("/v1/chat/completionsx", OpenAiChat),
        ("/v1/v1/v1/chat/completions", OpenAiChat),
        ("/v1/modelsx", OpenAiChat),
        ("/openai/nothing", OpenAiChat),
        ("/openai/v2/chat", OpenAiChat),
        ("/openai/v1/chat", OpenAiChat),
        ("/v1/chat/nothing", OpenAiChat),
        ("/openai/v1/messages", OpenAiChat),
        ("/openaix/v1/chat/completions", OpenAiChat),
        ("/v1/responses//", OpenAiResponses),
        ("/v1/responses/a/b", OpenAiResponses),
        ("/v1/responses/..", OpenAiResponses),
        ("/v1/responses/../input_items", OpenAiResponses),
        ("/v1/responses/..%2Ffiles", OpenAiResponses),
        ("/v1/responses/%2e%2e/cancel", OpenAiResponses),
        ("/v1/responses/x%3Fy", OpenAiResponses),
        ("/v1/messages/nothing", Anthropic),
        ("/anthropic/v1/chat/completions", Anthropic),
        ("/v1beta/nothing", Gemini),
        ("/v1beta/models/m:nothing", Gemini),
        ("/v1beta1/projects/p/locations/global/publishers/google/models/m:nothing", Gemini),
        ("/v1/projects/p/locations/l/endpoints/1:generateContent", Gemini),
        ("/model/a/nothing", Bedrock),
        ("/bedrock/", Bedrock),
        ("/v2/nothing", Cohere),
        ("/cohere/", Cohere),
    ] {
        assert_eq!(find("POST", path), Err(EndpointError::UnknownPath { dialect }), "{path}");
    }
    let claude = headers(&[("anthropic-version", "2023-06-01")]);
    let error = match_endpoint(&Method::GET, "/v1/nothing", &claude).unwrap_err();
    assert_eq!(error.dialect(), Dialect::Anthropic);
}
