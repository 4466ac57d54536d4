//! Running without a file.

use ai_gateway_providers::Dialect;

use super::*;

fn names(discovery: &Discovery) -> Vec<&str> {
    discovery.found.iter().map(|found| found.provider.as_str()).collect()
}

#[test]
fn nothing_set_is_the_mock() {
    let discovery = Config::from_environment(&Fake::new());
    assert_eq!((names(&discovery).len(), discovery.skipped.len()), (0, 0));
    assert_eq!(discovery.config.providers.keys().collect::<Vec<_>>(), ["mock"]);
    assert_eq!(discovery.config.server, ServerConfig::default());
}

#[test]
fn the_usual_variables() {
    let world = Fake::new()
        .with_var("OPENAI_API_KEY", "sk-1")
        .with_var("ANTHROPIC_API_KEY", "sk-2")
        .with_var("GOOGLE_API_KEY", "sk-3")
        .with_var("AZURE_OPENAI_API_KEY", "sk-4")
        .with_var("AZURE_OPENAI_ENDPOINT", "https://example.openai.azure.com/")
        .with_var("GROQ_API_KEY", "")
        .with_var("OLLAMA_HOST", "192.168.1.5");
    let discovery = Config::from_environment(&world);
    assert_eq!(names(&discovery), ["openai", "anthropic", "azure", "gemini", "ollama"]);
    assert_eq!(
        discovery.to_string(),
        "no configuration file: using openai (OPENAI_API_KEY), anthropic (ANTHROPIC_API_KEY), azure (AZURE_OPENAI_API_KEY), \
         gemini (GOOGLE_API_KEY), ollama (OLLAMA_HOST)"
    );
    let providers = &discovery.config.providers;
    assert_eq!(providers["azure"].base_url.as_ref().unwrap().as_str(), "https://example.openai.azure.com/");
    assert_eq!(providers["ollama"].base_url.as_ref().unwrap().as_str(), "http://192.168.1.5:11434/v1");
    assert_eq!(providers["anthropic"].credentials[0].key().unwrap().of(Dialect::Anthropic).0, "x-api-key");
    assert_eq!(discovery.config.model("openai/gpt-5").unwrap().targets.len(), 1);
}

#[test]
fn what_cannot_be_used_is_said() {
    let world = Fake::new()
        .with_var("OPENAI_API_KEY", "sk-this\nis-secret")
        .with_var("AZURE_OPENAI_API_KEY", "sk-this-is-secret")
        .with_var("OLLAMA_HOST", "a b");
    let discovery = Config::from_environment(&world);
    let said = discovery.to_string();
    assert!(said.ends_with("the built-in mock answers"), "{said}");
    assert!(said.contains("`OPENAI_API_KEY` cannot be used"), "{said}");
    assert!(said.contains("`AZURE_OPENAI_API_KEY` is set, but `AZURE_OPENAI_ENDPOINT` is not"), "{said}");
    assert!(said.contains("`OLLAMA_HOST` cannot be used"), "{said}");
    assert!(!said.contains("sk-this"), "{said}");
    assert!(discovery.config.providers.contains_key("mock"));
}

#[test]
fn an_address_that_is_not_read_is_said() {
    let world = Fake::new()
        .with_var("OPENAI_API_KEY", "sk-1")
        .with_var("OPENAI_BASE_URL", "https://llm.internal.example/v1")
        .with_var("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080");
    let discovery = Config::from_environment(&world);
    // Nothing of the second is used here.
    assert_eq!(
        discovery.to_string(),
        "ignored: `OPENAI_BASE_URL`, which may be this gateway's own address: requests go to https://api.openai.com/v1; \
         for another address write a file with `base_url`\n\
         no configuration file: using openai (OPENAI_API_KEY)"
    );
}

#[test]
fn addresses_of_ollama() {
    for (value, url) in [
        ("localhost", "http://localhost:11434/v1"),
        ("localhost:1", "http://localhost:1/v1"),
        ("https://ollama.example.com", "https://ollama.example.com/v1"),
        ("http://h:1/x/v1", "http://h:1/x/v1"),
    ] {
        let discovery = Config::from_environment(&Fake::new().with_var("OLLAMA_HOST", value));
        assert_eq!(discovery.config.providers["ollama"].base_url.as_ref().unwrap().as_str(), url, "{value}");
    }
}

#[test]
fn clouds_by_their_usual_variables() {
    let world = Fake::new()
        .with_var("AWS_REGION", "eu-central-1")
        .with_var("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .with_var("GOOGLE_CLOUD_LOCATION", "global")
        .with_var("GOOGLE_CLOUD_PROJECT", "acme")
        .with_var("AZURE_OPENAI_ENDPOINT", "https://example.openai.azure.com/")
        .with_var("AZURE_TENANT_ID", "acme.example")
        .with_var("AZURE_CLIENT_ID", "app")
        .with_var("AZURE_CLIENT_SECRET", "sk-1")
        .with_var("GEMINI_API_KEY", "sk-2")
        .with_var("CO_API_KEY", "sk-3");
    let discovery = Config::from_environment(&world);
    assert_eq!(discovery.skipped, [""; 0]);
    assert_eq!(names(&discovery), ["azure", "gemini", "vertex", "bedrock", "cohere"]);
    let providers = &discovery.config.providers;
    let url = |name: &str| providers[name].base_url.as_ref().unwrap().as_str().to_owned();
    assert_eq!(url("bedrock"), "https://bedrock-runtime.eu-central-1.amazonaws.com/");
    assert_eq!(url("vertex"), "https://aiplatform.googleapis.com/");
    assert_eq!(providers["vertex"].project.as_deref(), Some("acme"));
    assert!(matches!(providers["vertex"].credentials[0], CredentialConfig::Google(GoogleConfig::Machine { .. })));
    assert!(matches!(providers["bedrock"].credentials[0], CredentialConfig::Aws { keys: None, .. }));
    assert!(matches!(providers["azure"].credentials[0], CredentialConfig::Entra(_)));
    let gemini = providers["gemini"].credentials[0].key().unwrap();
    assert_eq!(gemini.of(Dialect::Gemini).0, "x-goog-api-key");
    assert_eq!(gemini.of(Dialect::OpenAiChat).1, "Bearer sk-2");
}

#[test]
fn a_cloud_is_not_guessed() {
    // Of a machine where somebody works with the clouds, but not with their AI services from here.
    let world = Fake::new()
        .with_var("AWS_REGION", "eu-central-1")
        .with_var("GOOGLE_CLOUD_PROJECT", "acme")
        .with_var("AZURE_CLIENT_SECRET", "sk-1");
    assert_eq!(names(&Config::from_environment(&world)), [""; 0]);
    let key = Fake::new().with_var("AWS_BEARER_TOKEN_BEDROCK", "sk-1");
    let discovery = Config::from_environment(&key);
    assert_eq!(discovery.skipped, ["`AWS_BEARER_TOKEN_BEDROCK` is set, but `AWS_REGION` is not"]);
    let discovery = Config::from_environment(&key.with_var("AWS_REGION", "us-east-1"));
    assert_eq!(
        discovery.config.providers["bedrock"].credentials[0].key().unwrap().of(Dialect::Bedrock).1,
        "Bearer sk-1"
    );
}
