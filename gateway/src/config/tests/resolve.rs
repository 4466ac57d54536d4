//! What comes out of a good file.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::preset::UpstreamRequest;

use super::*;

fn parse(text: &str) -> Loaded {
    let world = Fake::new().with_var("OPENAI_API_KEY", "sk-env").with_var("SET", "sk-set");
    Config::parse(text, "a.toml", &world).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn defaults() {
    let config = parse("[providers.mock]\nkind = \"mock\"").config;
    assert_eq!(config.server, ServerConfig::default());
    assert_eq!(config.server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    let mock = &config.providers["mock"];
    assert_eq!((&mock.base_url, &mock.auth, mock.http2), (&None, &None, false));
    assert_eq!(mock.dialects, Dialect::ALL);
}

#[test]
fn a_key_from_the_environment_goes_to_the_vendor_only() {
    let config = parse("[providers.openai]\nkind = \"openai\"").config;
    assert_eq!(config.providers["openai"].auth.as_ref().unwrap().1, "Bearer sk-env");
    let loaded = parse("[providers.openai]\nkind = \"openai\"\nbase_url = \"https://example.com/v1\"");
    assert_eq!(loaded.config.providers["openai"].auth, None);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}

#[test]
fn overrides() {
    let text = r#"
        [providers.x]
        kind = "openai"
        base_url = "http://127.0.0.1:9/base/"
        api_key = "env:SET"
        auth = "header:X-Key"
        dialects = ["anthropic", "openai-chat"]
        headers = { x-a = "1", x-b = "env:SET" }
        http2 = true
        quirks = { stream_options = false }
    "#;
    let loaded = parse(text);
    assert_eq!(loaded.warnings, []);
    let x = &loaded.config.providers["x"];
    let (name, value) = x.auth.as_ref().unwrap();
    assert_eq!((name.as_str(), value.as_bytes()), ("x-key", &b"sk-set"[..]));
    assert!(
        x.http2 && x.quirks.no_stream_options && x.speaks(Dialect::Anthropic) && !x.speaks(Dialect::OpenAiResponses)
    );
    assert_eq!(x.headers.len(), 2);
    let shown = format!("{:?}", loaded.config);
    assert!(!shown.contains("sk-set"), "{shown}");
    let request = UpstreamRequest { dialect: Dialect::Anthropic, suffix: "/v1/messages", model: None, query: None };
    assert_eq!(x.path(&request), "/base/v1/messages");
}

#[test]
fn a_literal_secret_is_taken_with_a_warning() {
    let loaded = parse("[providers.openai]\nkind = \"openai\"\napi_key = \"sk-literal\"");
    assert_eq!(loaded.config.providers["openai"].auth.as_ref().unwrap().1, "Bearer sk-literal");
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    let shown = warning.to_string();
    assert!(shown.contains("a.toml:3:11: a secret stands in the file itself"), "{shown}");
    assert!(!shown.contains("sk-literal"), "{shown}");
}

#[test]
fn models_by_name() {
    let config = parse(
        "[providers.p]\nkind = \"mock\"\n[models.m]\ntargets = [{ provider = \"p\", model = \"echo\" }]\n\
         [models.\"p/own\"]\ntargets = [{ provider = \"p\", model = \"tool-call\" }]\nretry = { on = [\"5xx\", \"connect\", \"5xx\"] }",
    )
    .config;
    assert_eq!(config.model("m").unwrap().targets[0].model, "echo");
    assert_eq!(config.model("p/a/b").unwrap().targets[0].model, "a/b");
    let own = config.model("p/own").unwrap();
    assert_eq!(own.targets[0].model, "tool-call");
    assert_eq!(own.retry.on, [RetryOn::Connect, RetryOn::ServerError]);
    for unknown in ["", "p", "p/", "q/x", "/m"] {
        assert_eq!(config.model(unknown), None, "{unknown}");
    }
}

#[test]
fn patterns() {
    for (pattern, name, matches) in [
        ("openai/*", "openai/gpt-5", true),
        ("openai/*", "openai", false),
        ("gpt-*", "gpt-5", true),
        ("*", "anything/at all", true),
        ("a?c", "abc", false),
        ("a?c", "a?c", true),
        ("", "x", false),
    ] {
        assert_eq!(ModelPattern::new(pattern).matches(name), matches, "{pattern} {name}");
    }
}

#[test]
fn listening_for_others_needs_keys() {
    let text = "[server]\nlisten = [\"0.0.0.0:0\"]\nadmin = \"off\"\n[providers.p]\nkind = \"mock\"\n";
    let errors = Config::parse(text, "a.toml", &Fake::new()).unwrap_err();
    assert!(errors.to_string().contains("without [[keys]] anybody may use it"), "{errors}");
    let with_key = format!("{text}[[keys]]\nname = \"k\"\nhash = \"sha256:{}\"", "0".repeat(64));
    let loaded = parse(&with_key);
    assert_eq!((loaded.config.server.admin, loaded.config.keys[0].hash), (None, [0; 32]));
    assert!(loaded.config.keys[0].may_use("everything"));
}

#[test]
fn verdicts() {
    let world = Fake::new()
        .with_file("good.toml", "[providers.p]\nkind = \"mock\"\n[server]\nadmin = \"0.0.0.0:1\"")
        .with_file("bad.toml", "[providers.p]\nkind = \"mok\"");
    let good = check(Path::new("good.toml"), &world);
    assert!(good.is_ok());
    insta::assert_snapshot!(good.to_string(), @r#"
    warning: good.toml:4:9: the admin listener `0.0.0.0:1` can be reached from other machines and asks for no key
     4 | admin = "0.0.0.0:1"
       |         ^^^^^^^^^^^
       = listen on 127.0.0.1 unless the network keeps others out
    good.toml: valid: 1 provider, 0 models, 0 keys, 1 warning
    "#);
    let bad = check(Path::new("bad.toml"), &world);
    assert!(!bad.is_ok());
    insta::assert_snapshot!(bad.to_string(), @r#"
    error: bad.toml:2:8: there is no kind `mok`
     2 | kind = "mok"
       |        ^^^^^
       = did you mean `mock`?
    "#);
}
