use super::*;
use Dialect::{Anthropic, Bedrock, Cohere, Gemini, OpenAiChat, OpenAiResponses};

fn preset(kind: &str) -> &'static Preset {
    Preset::find(kind).unwrap()
}

fn request(dialect: Dialect, operation: Operation, model: &str, stream: bool) -> UpstreamRequest<'_> {
    UpstreamRequest { dialect, operation, suffix: None, model, stream, query: None }
}

#[test]
fn paths_of_the_vendors() {
    for (kind, base_path, dialect, suffix, expected) in [
        ("openai", "/v1", OpenAiChat, "/chat/completions", "/v1/chat/completions"),
        ("openai", "/v1/", OpenAiResponses, "/responses/resp_1/cancel", "/v1/responses/resp_1/cancel"),
        ("gemini", "/", OpenAiChat, "/chat/completions", "/v1beta/openai/chat/completions"),
        ("gemini", "/v1beta/openai/", OpenAiChat, "/embeddings", "/v1beta/openai/embeddings"),
        ("azure", "/", OpenAiResponses, "/responses", "/openai/v1/responses"),
        ("azure", "/openai/v1", OpenAiChat, "/chat/completions", "/openai/v1/chat/completions"),
        ("anthropic", "/", Anthropic, "/v1/messages", "/v1/messages"),
        ("anthropic", "/v1", Anthropic, "/v1/messages", "/v1/messages"),
        ("anthropic", "/proxy", Anthropic, "/v1/messages", "/proxy/v1/messages"),
        ("cohere", "/", OpenAiChat, "/chat/completions", "/compatibility/v1/chat/completions"),
        ("cohere", "/", Cohere, "/v2/chat", "/v2/chat"),
        ("deepseek", "", OpenAiResponses, "/responses", "/responses"),
        ("deepseek", "/", Anthropic, "/v1/messages", "/anthropic/v1/messages"),
        ("deepseek", "/v1", Anthropic, "/v1/messages", "/anthropic/v1/messages"),
        ("fireworks", "/inference/v1", Anthropic, "/v1/messages", "/inference/v1/messages"),
        ("openrouter", "/api/v1", Anthropic, "/v1/messages/count_tokens", "/api/v1/messages/count_tokens"),
        ("ollama", "/v1", Anthropic, "/v1/messages", "/v1/messages"),
        ("deepinfra", "/v1/openai", OpenAiChat, "/chat/completions", "/v1/openai/chat/completions"),
    ] {
        let account = Account { base_path, ..Account::default() };
        let request = UpstreamRequest { suffix: Some(suffix), ..request(dialect, Operation::Chat, "m", false) };
        let path = upstream_path(preset(kind), &account, &request);
        assert_eq!(path.as_deref(), Some(expected), "{kind} {base_path} {dialect}");
    }
}

#[test]
fn paths_of_the_operations() {
    use Operation::{Chat, CountTokens, Embeddings, Images, Rerank};
    let account = Account { base_path: "/", project: Some("acme"), region: Some("us-east5"), ..Account::default() };
    let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-x-v1:0";
    let below = "/v1/projects/acme/locations/us-east5";
    for (kind, dialect, operation, model, stream, expected) in [
        ("openai", OpenAiChat, Images, "m", false, "/images/generations"),
        ("openai", OpenAiResponses, Chat, "m", true, "/responses"),
        ("openai", OpenAiResponses, CountTokens, "m", false, "/responses/input_tokens"),
        ("anthropic", Anthropic, CountTokens, "m", false, "/v1/messages/count_tokens"),
        ("cohere", Cohere, Chat, "m", true, "/v2/chat"),
        ("cohere", Cohere, Embeddings, "m", false, "/v2/embed"),
        ("cohere", Cohere, Rerank, "m", false, "/v2/rerank"),
        ("gemini", Gemini, Chat, "gemini-3-pro", false, "/v1beta/models/gemini-3-pro:generateContent"),
        ("gemini", Gemini, Chat, "models/g", true, "/v1beta/models/g:streamGenerateContent?alt=sse"),
        ("gemini", Gemini, Chat, "tunedModels/t", false, "/v1beta/tunedModels/t:generateContent"),
        ("gemini", Gemini, CountTokens, "a/../b", false, "/v1beta/models/a%2F..%2Fb:countTokens"),
        ("gemini", Gemini, Embeddings, "e", false, "/v1beta/models/e:batchEmbedContents"),
        ("gemini", Gemini, Images, "imagen", false, "/v1beta/models/imagen:predict"),
        ("vertex", Gemini, Chat, "g", true, "{}/publishers/google/models/g:streamGenerateContent?alt=sse"),
        ("vertex", Gemini, Embeddings, "e", false, "{}/publishers/google/models/e:predict"),
        ("vertex", Gemini, Chat, "endpoints/12", false, "{}/endpoints/12:generateContent"),
        ("vertex", Gemini, Chat, "publishers/x/models/y", false, "{}/publishers/x/models/y:generateContent"),
        ("vertex", Anthropic, Chat, "claude-x@1", false, "{}/publishers/anthropic/models/claude-x%401:rawPredict"),
        ("vertex", Anthropic, Chat, "claude-x", true, "{}/publishers/anthropic/models/claude-x:streamRawPredict"),
        ("vertex", Anthropic, CountTokens, "c", false, "{}/publishers/anthropic/models/count-tokens:rawPredict"),
        ("vertex", OpenAiChat, Chat, "google/g", false, "{}/endpoints/openapi/chat/completions"),
        ("bedrock", Bedrock, Chat, "amazon.nova-pro-v1:0", false, "/model/amazon.nova-pro-v1%3A0/converse"),
        ("bedrock", Bedrock, Chat, "m", true, "/model/m/converse-stream"),
        ("bedrock", Bedrock, CountTokens, "m", false, "/model/m/count-tokens"),
        ("bedrock", Bedrock, Embeddings, "m", false, "/model/m/invoke"),
        ("bedrock", Anthropic, Chat, "m", true, "/model/m/invoke-with-response-stream"),
        (
            "bedrock",
            Anthropic,
            Chat,
            arn,
            false,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude-x-v1%3A0/invoke",
        ),
    ] {
        let path = upstream_path(preset(kind), &account, &request(dialect, operation, model, stream));
        assert_eq!(path, Some(expected.replace("{}", below)), "{kind} {dialect} {operation}");
        assert!(preset(kind).offers(dialect, operation), "{kind} {dialect} {operation}");
    }
}

#[test]
fn the_clients_verb_and_query_stay_but_for_google() {
    let client = UpstreamRequest {
        suffix: Some("/v1beta/models/e:embedContent"),
        query: Some("alt=json&fields=candidates"),
        ..request(Gemini, Operation::Embeddings, "e", false)
    };
    let path = |kind, request: &UpstreamRequest<'_>| upstream_path(preset(kind), &Account::default(), request);
    assert_eq!(path("gemini", &client).unwrap(), "/v1beta/models/e:embedContent");
    let stream = UpstreamRequest { query: Some("alt=sse&x=1"), ..request(Gemini, Operation::Chat, "g", true) };
    assert_eq!(path("gemini", &stream).unwrap(), "/v1beta/models/g:streamGenerateContent?alt=sse");
    let copy = UpstreamRequest { query: Some("fields=choices"), ..request(OpenAiChat, Operation::Chat, "g", false) };
    assert_eq!(path("gemini", &copy).unwrap(), "/v1beta/openai/chat/completions");
    assert_eq!(path("openai", &copy).unwrap(), "/chat/completions?fields=choices");
    let invoke = UpstreamRequest { suffix: Some("/model/x/invoke"), ..request(Bedrock, Operation::Chat, "m", false) };
    assert_eq!(path("bedrock", &invoke).unwrap(), "/model/m/invoke");
    let beta = UpstreamRequest { query: Some("beta=true"), ..request(Anthropic, Operation::Chat, "m", false) };
    assert_eq!(path("bedrock", &beta).unwrap(), "/model/m/invoke");
    assert_eq!(path("anthropic", &beta).unwrap(), "/v1/messages?beta=true");
}

#[test]
fn no_path_for_what_has_none() {
    let account = Account { project: Some("p"), region: Some("r"), ..Account::default() };
    for (kind, dialect, operation, model) in [
        ("bedrock", Bedrock, Operation::Chat, ".."),
        ("bedrock", Bedrock, Operation::Chat, ""),
        ("bedrock", Bedrock, Operation::Speech, "m"),
        ("bedrock", Anthropic, Operation::Embeddings, "m"),
        ("vertex", Gemini, Operation::Chat, "endpoints/../x"),
        ("vertex", Anthropic, Operation::Embeddings, "m"),
        ("gemini", Gemini, Operation::Chat, "tunedModels//x"),
        ("cohere", Cohere, Operation::Images, "m"),
        ("openai", OpenAiResponses, Operation::Embeddings, "m"),
    ] {
        assert_eq!(upstream_path(preset(kind), &account, &request(dialect, operation, model, false)), None, "{model}");
    }
    let nowhere = request(Gemini, Operation::Chat, "g", false);
    assert_eq!(upstream_path(preset("vertex"), &Account::default(), &nowhere), None, "no project");
}

#[test]
fn azure_by_api_version() {
    let azure = preset("azure");
    let of = |base_path, api_version| Account { base_path, api_version, ..Account::default() };
    let chat = UpstreamRequest { query: Some("a=b"), ..request(OpenAiChat, Operation::Chat, "gpt 5/x", false) };
    assert_eq!(
        upstream_path(azure, &of("/", Some("2024-10-21")), &chat).unwrap(),
        "/openai/deployments/gpt%205%2Fx/chat/completions?api-version=2024-10-21&a=b"
    );
    assert_eq!(
        upstream_path(azure, &of("/openai/v1/", Some("preview")), &chat).unwrap(),
        "/openai/v1/chat/completions?api-version=preview&a=b"
    );
    assert_eq!(upstream_path(azure, &of("/", None), &chat).unwrap(), "/openai/v1/chat/completions?a=b");
    assert_eq!(
        upstream_path(azure, &of("/", Some("2024-10-21")), &UpstreamRequest { model: "..", ..chat }),
        None,
        "a name that would climb"
    );
    let responses = request(OpenAiResponses, Operation::Chat, "m", false);
    assert_eq!(
        upstream_path(azure, &of("", Some("2025-03-01-preview")), &responses).unwrap(),
        "/openai/responses?api-version=2025-03-01-preview"
    );
    // Nobody else has versions.
    assert_eq!(upstream_path(preset("openai"), &of("/v1", Some("2024-10-21")), &responses).unwrap(), "/v1/responses");
}
