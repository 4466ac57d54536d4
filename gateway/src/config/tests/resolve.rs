//! What comes out of a good file.

use ai_gateway_providers::preset::UpstreamRequest;
use ai_gateway_providers::{Dialect, Operation};

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
    assert_eq!((&mock.base_url, &mock.credentials[0], mock.http2), (&None, &CredentialConfig::None, false));
    assert_eq!(mock.dialects, Dialect::ALL);
}

#[test]
fn a_key_from_the_environment_goes_to_the_vendor_only() {
    let config = parse("[providers.openai]\nkind = \"openai\"").config;
    assert_eq!(config.providers["openai"].credentials[0].key().unwrap().of(Dialect::Anthropic).1, "Bearer sk-env");
    let loaded = parse("[providers.openai]\nkind = \"openai\"\nbase_url = \"https://example.com/v1\"");
    assert_eq!(loaded.config.providers["openai"].credentials[0], CredentialConfig::None);
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
    let (name, value) = x.credentials[0].key().unwrap().of(Dialect::OpenAiChat);
    assert_eq!((name.as_str(), value.as_bytes()), ("x-key", &b"sk-set"[..]));
    assert!(
        x.http2 && x.quirks.no_stream_options && x.speaks(Dialect::Anthropic) && !x.speaks(Dialect::OpenAiResponses)
    );
    assert_eq!(x.headers.len(), 2);
    let shown = format!("{:?}", loaded.config);
    assert!(!shown.contains("sk-set"), "{shown}");
    let request = UpstreamRequest {
        dialect: Dialect::Anthropic,
        operation: Operation::Chat,
        suffix: None,
        model: "m",
        stream: false,
        query: None,
    };
    assert_eq!(x.path(&request).as_deref(), Some("/base/v1/messages"));
}

#[test]
fn an_expression_that_spells_a_model_with_its_collection_is_warned_of() {
    let warned = |cel: &str| {
        let text = format!(
            "[providers.g]\nkind = 'gemini'\napi_key = 'env:SET'\n\
             [providers.v]\nkind = 'vertex'\nproject = 'p'\nregion = 'r'\naccess_token = 'env:SET'\n\
             [providers.f]\nkind = 'fireworks'\napi_key = 'env:SET'\n\
             [[routes]]\nwhen = {{ cel = \"{cel}\" }}\nreject = {{ message = 'no' }}\n"
        );
        let warnings = parse(&text).warnings;
        assert!(warnings.iter().all(|warning| warning.to_string().contains("a.toml:13:")), "{cel}: {warnings:?}");
        warnings.len()
    };
    for never in [
        "request.model.startsWith('v/publishers/google/models/sec')",
        "request.model.startsWith('v/publishers/anthropic/')",
        "request.stream && !(request.model in ['x', 'g/models/sec'])",
        "request.model.contains('/publishers/google/models/')",
        "request.model.endsWith('models/gemini-3')",
    ] {
        assert_eq!(warned(never), 1, "{never}");
    }
    for may in [
        "request.model.startsWith('v/') || request.model == 'g/gemini-3'",
        "request.model.startsWith('v/publishers/meta/models/')",
        "request.model == 'f/accounts/fireworks/models/x'",
        "request.model == 'g/tunedModels/x' || request.path.startsWith('/v1/models/')",
        "request.headers['x-model'] == 'g/models/x'",
    ] {
        assert_eq!(warned(may), 0, "{may}");
    }
}

#[test]
fn a_literal_secret_is_taken_with_a_warning() {
    let loaded = parse("[providers.openai]\nkind = \"openai\"\napi_key = \"sk-literal\"");
    assert_eq!(
        loaded.config.providers["openai"].credentials[0].key().unwrap().of(Dialect::Anthropic).1,
        "Bearer sk-literal"
    );
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    let shown = warning.to_string();
    assert!(shown.contains("a.toml:3:11: a secret stands in the file itself"), "{shown}");
    assert!(!shown.contains("sk-literal"), "{shown}");
}

#[test]
fn credentials_of_the_clouds() {
    let pem = include_str!("../../credentials/test_key.pem");
    let account = serde_json::json!({
        "type": "service_account", "client_email": "bot@acme", "private_key": pem, "project_id": "of-the-account",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let world = Fake::new().with_var("SET", "sk-set").with_file("sa.json", account.to_string());
    let text = r#"
        [providers.aws]
        kind = "bedrock"
        region = "us-east-1"
        access_key_id = "env:SET2"
        secret_access_key = "env:SET"
        session_token = "env:SET"
        [providers.chain]
        kind = "bedrock"
        region = "us-east-1"
        base_url = "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com"
        [providers.key]
        kind = "bedrock"
        region = "us-east-1"
        api_key = "env:SET"
        [providers.google]
        kind = "vertex"
        region = "us-east5"
        credentials = "file:sa.json"
        [providers.token]
        kind = "vertex"
        region = "global"
        project = "acme"
        access_token = "env:SET"
        [providers.entra]
        kind = "azure"
        base_url = "https://example.openai.azure.com"
        tenant_id = "acme.example"
        client_id = "app"
        client_secret = "env:SET"
        [providers.gemini]
        kind = "gemini"
        api_key = "env:SET"
    "#;
    let loaded = Config::parse(text, "a.toml", &world.with_var("SET2", "AKIDEXAMPLE")).unwrap();
    assert_eq!(loaded.warnings, []);
    let shown = format!("{:?}", loaded.config);
    assert!(!shown.contains("sk-set") && !shown.contains("PRIVATE"), "{shown}");
    let of = |name: &str| &loaded.config.providers[name];
    assert!(
        matches!(&of("aws").credentials[0], CredentialConfig::Aws { keys: Some(keys), .. } if keys.session_token.is_some())
    );
    assert!(
        matches!(&of("chain").credentials[0], CredentialConfig::Aws { keys: None, region } if region == "us-east-1")
    );
    assert_eq!(of("key").credentials[0].key().unwrap().of(Dialect::Bedrock).1, "Bearer sk-set");
    assert_eq!(of("google").project.as_deref(), Some("of-the-account"));
    assert_eq!(of("google").base_url.as_ref().unwrap().as_str(), "https://us-east5-aiplatform.googleapis.com/");
    assert_eq!(of("token").credentials[0].key().unwrap().of(Dialect::Gemini).1, "Bearer sk-set");
    assert!(matches!(&of("entra").credentials[0], CredentialConfig::Entra(_)));
    let gemini = of("gemini").credentials[0].key().unwrap();
    assert_eq!(
        (gemini.of(Dialect::Gemini).0.as_str(), gemini.of(Dialect::OpenAiChat).0.as_str()),
        ("x-goog-api-key", "authorization")
    );
}

#[test]
fn the_machines_own_tokens_go_to_the_cloud_only() {
    let vertex = "[providers.v]\nkind = \"vertex\"\nregion = \"global\"\nproject = \"acme\"\nbase_url = ";
    for (url, own) in [
        ("https://us-central1-aiplatform-acme.p.googleapis.com", true),
        ("http://127.0.0.1:1", true),
        ("https://googleapis.com.evil.example", false),
    ] {
        let loaded = parse(&format!("{vertex}\"{url}\""));
        let credential = &loaded.config.providers["v"].credentials[0];
        assert_eq!(matches!(credential, CredentialConfig::Google(_)), own, "{url}");
        assert_eq!(loaded.warnings.len(), usize::from(!own), "{url}: {:?}", loaded.warnings);
    }
}

#[test]
fn a_base_url_that_is_not_meant() {
    let doubt = |kind: &str, url: &str, more: &str| -> Option<String> {
        let text = format!("[providers.p]\nkind = '{kind}'\nauth = 'none'\nbase_url = '{url}'\n{more}");
        let warnings: Vec<String> = parse(&text).warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.len() < 2, "{warnings:?}");
        let warning = warnings.into_iter().next()?;
        Some(warning.rsplit_once("did you mean ")?.1.trim_end().to_owned())
    };
    for (kind, url, meant) in [
        ("ollama", "http://127.0.0.1:11434", "\"http://127.0.0.1:11434/v1\"?"),
        ("vllm", "http://127.0.0.1:8000/", "\"http://127.0.0.1:8000/v1\"?"),
        ("openai-compatible", "http://127.0.0.1:1", "\"http://127.0.0.1:1/v1\"?"),
        ("groq", "https://127.0.0.1:1", "\"https://127.0.0.1:1/openai/v1\"?"),
        ("openai", "https://127.0.0.1:1/v1/chat/completions", "\"https://127.0.0.1:1/v1\"?"),
        ("openai", "https://127.0.0.1:1/x/v1/responses/", "\"https://127.0.0.1:1/x/v1\"?"),
        ("openai-compatible", "https://127.0.0.1:1/chat/completions", "\"https://127.0.0.1:1/v1\"?"),
        ("anthropic", "https://127.0.0.1:1/v1/messages", "\"https://127.0.0.1:1/v1\"?"),
        ("deepseek", "https://127.0.0.1:1/chat/completions", "\"https://127.0.0.1:1/\"?"),
        ("gemini", "https://127.0.0.1:1/v1beta", "\"https://127.0.0.1:1/\"?"),
        ("gemini", "https://127.0.0.1:1/x/v1beta/openai/", "\"https://127.0.0.1:1/x\"?"),
        ("cohere", "https://127.0.0.1:1/v1", "\"https://127.0.0.1:1/\"?"),
        ("cohere", "https://127.0.0.1:1/v2", "\"https://127.0.0.1:1/\"?"),
        ("azure", "https://127.0.0.1:1/openai", "\"https://127.0.0.1:1/\"?"),
        ("azure", "https://127.0.0.1:1/openai/deployments/gpt-5", "\"https://127.0.0.1:1/\"?"),
        ("azure", "https://127.0.0.1:1/openai/deployments/gpt-5/chat/completions", "\"https://127.0.0.1:1/\"?"),
    ] {
        assert_eq!(doubt(kind, url, "").as_deref(), Some(meant), "{kind} {url}");
    }
    let dated = "api_version = '2025-01-01-preview'";
    for path in ["/openai", "/openai/deployments/gpt-5"] {
        let url = format!("https://127.0.0.1:1{path}");
        assert_eq!(doubt("azure", &url, dated).as_deref(), Some("\"https://127.0.0.1:1/\"?"), "{path}");
    }
    assert_eq!(doubt("azure", "https://127.0.0.1:1/openai/v1", dated), None);
    let region = "region = 'us-east-1'";
    assert_eq!(doubt("bedrock", "https://127.0.0.1:1/model", region).as_deref(), Some("\"https://127.0.0.1:1/\"?"));
    for (kind, url) in [
        ("openai", "https://127.0.0.1:1/v1/"),
        ("openai-compatible", "https://127.0.0.1:1/models"),
        ("openai-compatible", "https://127.0.0.1:1/api"),
        ("openai-compatible", "https://api.deepseek.com"),
        ("anthropic", "https://127.0.0.1:1"),
        ("anthropic", "https://127.0.0.1:1/v1"),
        ("cohere", "https://127.0.0.1:1"),
        ("cohere", "https://127.0.0.1:1/relay"),
        ("azure", "https://127.0.0.1:1/openai/v1"),
        ("mock", "http://127.0.0.1:1"),
    ] {
        assert_eq!(doubt(kind, url, ""), None, "{kind} {url}");
    }
    // Messages are asked for at `/v1/messages` of the origin.
    assert_eq!(doubt("ollama", "http://127.0.0.1:11434", "dialects = ['anthropic']"), None);
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
    assert_eq!((loaded.config.server.admin, loaded.config.keys[0].hash), (None, Some([0; 32])));
    assert!(loaded.config.keys[0].may_use("everything"));
}

#[test]
fn every_address_of_one_family_leaves_those_of_the_other() {
    let key = "[[keys]]\nname = 'a'\nhash = 'sha256:4544960adbf893386971435af98a39b6f3a29f78107fbe68a787ab2467ba27d9'";
    let listening = |listen: &str| {
        let text = format!("[server]\nlisten = [{listen}]\n[providers.m]\nkind = 'mock'\n{key}");
        Config::parse(&text, "a.toml", &Fake::new()).is_ok()
    };
    assert!(listening("'0.0.0.0:8080', '[::1]:8080'"));
    for both in ["'0.0.0.0:8080', '127.0.0.1:8080'", "'[::]:8080', '127.0.0.1:8080'", "'[::1]:8080', '[::]:8080'"] {
        assert!(!listening(both), "{both}");
    }
}

#[test]
fn an_admin_listener_for_others_needs_a_key() {
    let text = "[providers.p]\nkind = \"mock\"\n[server]\nadmin = \"0.0.0.0:1\"\n";
    let errors = Config::parse(text, "a.toml", &Fake::new()).unwrap_err();
    assert!(errors.to_string().contains("asks for no key"), "{errors}");
    let world = Fake::new().with_var("KEY", "0123456789abcdef");
    let loaded = Config::parse(&format!("{text}admin_key = \"env:KEY\""), "a.toml", &world).unwrap();
    assert_eq!(loaded.config.server.admin_key, Some(Secret::new("0123456789abcdef")));
}

#[test]
fn verdicts() {
    let world = Fake::new()
        .with_file("good.toml", "[providers.p]\nkind = \"mock\"\n[server]\nadmin_key = \"sk-0123456789abcdef\"")
        .with_file("bad.toml", "[providers.p]\nkind = \"mok\"");
    let good = check(Path::new("good.toml"), &world);
    assert!(good.is_ok());
    insta::assert_snapshot!(good.to_string(), @r#"
    warning: good.toml:4:13: a secret stands in the file itself
     4 | admin_key = *********************
       |             ^^^^^^^^^^^^^^^^^^^^^
       = write "env:NAME", "file:PATH" or "credential:NAME", and keep the file's readers few until then
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

#[test]
fn a_key_where_its_hash_should_be_and_one_in_a_url_are_not_shown() {
    let provider = "[providers.p]\nkind = \"mock\"\n";
    for text in [
        "[[keys]]\nname = \"k\"\nkey = \"gw-this-is-secret\"\n",
        "[[keys]]\nname = \"k\"\nkey = \"gw-this-is-secret\n",
        "keys = [{ name = \"k\", key = \"gw-this-is-secret\" }]\n",
        "[providers.q]\nkind = \"openai\"\nbase_url = \"https://h/v1?api_key=this-is-secret\"\n",
        "[telemetry.otlp]\nendpoint = \"ftp://user:this-is-secret@h\"\n",
        "[telemetry.otlp]\nendpoint = \"http://user:this-is-secret@h\n",
        "[jwt]\nissuers = [{ issuer = \"i\", jwks = \"http://h/?key=this-is-secret\", key = \"k\" }]\n",
    ] {
        let place = if text.starts_with("keys") { format!("{text}{provider}") } else { format!("{provider}{text}") };
        let errors = Config::parse(&place, "a.toml", &Fake::new()).unwrap_err().to_string();
        assert!(!errors.contains("this-is"), "{errors}");
    }
}

#[test]
fn what_is_no_secret_is_shown_where_it_is_wrong() {
    let text = "[providers.p]\nkind = \"mock\"\n\
                [models.m]\ntargets = [{ provider = \"p\", model = \"m\" }]\nhedge = { after = \"p96\" }\n";
    let errors = Config::parse(text, "a.toml", &Fake::new()).unwrap_err().to_string();
    assert!(errors.contains("| hedge = { after = \"p96\" }"), "{errors}");
}

#[test]
fn a_provider_at_the_gateways_own_address_is_warned_of() {
    for (listen, url, warned) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/v1", true),
        ("127.0.0.1:8080", "http://localhost:8080/v1", true),
        ("0.0.0.0:8080", "http://127.0.0.1:8080/v1", true),
        ("[::1]:8080", "http://[::1]:8080/v1", true),
        ("127.0.0.1:8080", "http://127.0.0.1:8081/v1", false),
        ("127.0.0.1:8080", "http://127.0.0.2:8080/v1", false),
        ("0.0.0.0:8080", "http://10.0.0.1:8080/v1", false),
    ] {
        let text = format!(
            "[server]\nlisten = [\"{listen}\"]\n[providers.p]\nkind = \"mock\"\nbase_url = \"{url}\"\n\
             [[keys]]\nname = \"k\"\nhash = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n"
        );
        let loaded = Config::parse(&text, "a.toml", &Fake::new()).unwrap();
        let own = loaded.warnings.iter().any(|warning| warning.to_string().contains("the gateway's own address"));
        assert_eq!(own, warned, "{listen} {url}");
    }
}

#[test]
fn several_keys_and_health() {
    let world = Fake::new().with_var("A", "sk-a").with_var("B", "sk-b");
    let text = "[providers.x]\nkind = 'openai'\napi_keys = ['env:A', 'env:B']\n\
                health = { failures = 0, rate = 1, cooldown = '90s', probe = {} }";
    let loaded = Config::parse(text, "a.toml", &world).unwrap();
    assert_eq!(loaded.warnings, []);
    let provider = &loaded.config.providers["x"];
    let values: Vec<_> = provider.credentials.iter().map(|one| &one.key().unwrap().of(Dialect::OpenAiChat).1).collect();
    assert_eq!(values, ["Bearer sk-a", "Bearer sk-b"]);
    let settings = provider.health.settings;
    assert_eq!((settings.failures, settings.rate, settings.min_requests), (0, 1.0, 20));
    assert_eq!(settings.max_cooldown, Duration::from_secs(90), "never shorter than the first");
    let probe = ProbeConfig { path: "/models".to_owned(), every: Duration::from_secs(30) };
    assert_eq!(provider.health.probe, Some(probe));
    let snapshot = crate::snapshot::Snapshot::of(&loaded.config);
    assert_eq!(snapshot.provider("x").unwrap().credentials.len(), 2);
}

#[test]
fn more_keys_than_a_request_can_try_are_refused() {
    let text = |count: usize| {
        let keys: Vec<String> = (0..count).map(|number| format!("'k{number}'")).collect();
        format!("[providers.x]\nkind = 'openai'\napi_keys = [{}]", keys.join(", "))
    };
    assert!(Config::parse(&text(64), "a.toml", &Fake::new()).is_ok());
    let errors = Config::parse(&text(65), "a.toml", &Fake::new()).unwrap_err().to_string();
    assert!(errors.contains("more than 64 keys"), "{errors}");
}

#[test]
fn a_model_whose_answers_nobody_goes_on_with_is_told_of() {
    let warned = |target: &str, on_cut: &str| {
        let text = format!(
            "[providers.openai]\nkind = \"openai\"\n[providers.vllm]\nkind = \"vllm\"\n\
             [models.m]\ntargets = [{{ {target} }}]\non_cut = \"{on_cut}\""
        );
        let loaded = parse(&text);
        assert_eq!(format!("{:?}", loaded.config.models["m"].on_cut).to_lowercase(), on_cut);
        loaded.warnings.iter().any(|warning| format!("{warning:?}").contains("prefill"))
    };
    let openai = "provider = \"openai\", model = \"gpt-5\"";
    assert!(warned(openai, "continue"));
    assert!(!warned(openai, "buffer") && !warned(openai, "error"));
    assert!(!warned("provider = \"vllm\", model = \"qwen3\"", "continue"));
    assert!(!warned(&format!("{openai}, traits = {{ prefill = true }}"), "continue"));
    assert!(warned("provider = \"vllm\", model = \"qwen3\", traits = { prefill = false }", "continue"));
}

#[test]
fn weights_that_nobody_looks_at_are_told_of() {
    let warned = |strategy: &str, more: &str| {
        let text = format!(
            "[providers.m]\nkind = 'mock'\n[models.m]\nstrategy = '{strategy}'\n\
             targets = [{{ provider = 'm', model = 'a', weight = 9 }}, {{ provider = 'm', model = 'b', {more} }}]"
        );
        !warned(&text).is_empty()
    };
    assert!(warned("round_robin", "weight = 1"));
    assert!(!warned("weighted", "weight = 1"));
    // It takes no turn, or its turn is another one.
    assert!(!warned("round_robin", "weight = 0") && !warned("round_robin", "weight = 1, priority = 1"));
}

#[test]
fn a_key_has_no_more_tags_than_can_be_booked() {
    let file = |count: usize| {
        let tags: Vec<String> = (0..count).map(|number| format!("'t{number}'")).collect();
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let tags = tags.join(", ");
        format!("[providers.m]\nkind = 'mock'\n[[keys]]\nname = 'b'\nhash = 'sha256:{hash}'\ntags = [{tags}]")
    };
    assert!(Config::parse(&file(256), "a.toml", &Fake::new()).is_ok());
    let errors = Config::parse(&file(257), "a.toml", &Fake::new()).unwrap_err().to_string();
    assert!(errors.contains("more than 256 tags"), "{errors}");
}

#[test]
fn caches() {
    let text = r#"
        [providers.mock]
        kind = "mock"
        [models.a]
        targets = [{ provider = "mock", model = "echo" }]
        cache = { ttl = "10m", tool_calls = true, pace = "5ms", pays = "split" }
        [models.b]
        targets = [{ provider = "mock", model = "echo" }]
        cache = { ttl = "0s" }
        [models.c]
        targets = [{ provider = "mock", model = "echo" }]
        [[keys]]
        name = "one"
        hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        [[keys]]
        name = "two"
        hash = "sha256:f3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        cache = "off"
        [cache]
        disk = { path = "kept" }
        redis = true
        [store]
        redis = "redis://127.0.0.1:1"
    "#;
    let config = parse(text).config;
    let default = ModelCacheConfig::default();
    let a = ModelCacheConfig {
        ttl: Duration::from_secs(600),
        tool_calls: true,
        pace: Some(Duration::from_millis(5)),
        pays: crate::cache::Payer::Split,
        ..default.clone()
    };
    assert!(default.share && !default.tool_calls && !default.temperature && default.ttl.is_zero());
    let of = |model: &str| config.models[model].cache.clone();
    assert_eq!((of("a"), of("b"), of("c")), (Some(a), Some(default), None));
    assert_eq!(config.keys[0].cache, CacheScope::Private);
    assert_eq!(config.keys[1].cache, CacheScope::Off);
    let disk = DiskConfig { path: "kept".into(), max_size: 4 << 30 };
    assert_eq!(config.cache, CacheConfig { disk: Some(disk), redis: true, ..CacheConfig::default() });
    assert_eq!(parse("[providers.mock]\nkind = \"mock\"").config.cache, CacheConfig::default());
}

/// What a restart gives back is told before it happens.
#[test]
fn a_ledger_that_forgets_before_a_budget_does_is_warned_of() {
    let warnings = |ledger: &str, per: &str| {
        let text = format!(
            "[providers.m]\nkind = 'mock'\n{ledger}\n[[keys]]\nname = 'a'\nhash = 'sha256:{:064}'\nbudget = {{ usd = 5, per = '{per}' }}",
            0
        );
        parse(&text).warnings.len()
    };
    let week = "[ledger]\npath = 'l.db'\nretention = '7d'";
    for (ledger, per, expected) in [
        (week, "week", 0),
        (week, "7d", 0),
        (week, "month", 1),
        (week, "8d", 1),
        ("[ledger]\npath = 'l.db'", "month", 0),
        ("[ledger]\npath = 'l.db'", "total", 1),
        ("[ledger]\npath = 'l.db'\nretention = 'off'", "total", 0),
        ("", "total", 0),
    ] {
        assert_eq!(warnings(ledger, per), expected, "{ledger} {per}");
    }
}

/// `run` would open them: a file that it would refuse is not valid, and looking makes nothing.
#[test]
fn a_verdict_is_also_of_the_files_that_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let told = |rest: &str| {
        let text = format!("[providers.p]\nkind = 'mock'\n{rest}");
        let verdict = check(Path::new("a.toml"), &Fake::new().with_file("a.toml", text));
        let told = verdict.to_string();
        assert_eq!(verdict.is_ok(), told == "a.toml: valid: 1 provider, 0 models, 0 keys", "{told}");
        told
    };
    for (text, place) in [
        (format!("[store]\npath = '{root}/none/keys.db'"), format!("store.path: `{root}/none/keys.db`: ")),
        (format!("[access_log]\nto = 'file:{root}/none/a.log'"), format!("access_log.to: `{root}/none/a.log`: ")),
        (format!("[access_log]\nto = 'file:{root}'"), format!("access_log.to: `{root}`: ")),
        (format!("[ledger]\npath = '{root}/file/l.db'\nspool = '{root}/s'"), format!("ledger.path: `{root}/file`: ")),
        (
            format!("[ledger]\npath = '{root}/l.db'\nspool = '{root}/file/s'"),
            format!("ledger.spool: `{root}/file/s`: "),
        ),
        (format!("[cache]\ndisk = {{ path = '{root}/file/c' }}"), format!("cache.disk.path: `{root}/file/c`: ")),
    ] {
        let told = told(&text);
        assert!(told.starts_with(&format!("error: a.toml: {place}")) && told.lines().count() == 1, "{told}");
    }
    let good = format!(
        "[store]\npath = '{root}/keys.db'\n[access_log]\nto = 'file:{root}/file'\n[ledger]\npath = '{root}/new/l.db'\n\
         [cache]\ndisk = {{ path = '{root}/new/cache' }}"
    );
    told(&good);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Where a relative path starts helps only with one.
#[test]
fn where_paths_start_is_told_of_relative_ones() {
    let told = |path: &str| {
        let text = format!("[providers.p]\nkind = 'openai'\napi_key = 'env:A'\nca = '{path}'");
        let world = Fake::new().with_var("A", "sk-a");
        Config::parse(&text, "/etc/gw/a.toml", &world).unwrap_err().errors.remove(0).help
    };
    assert_eq!(told("ca.pem").as_deref(), Some("relative paths start at `/etc/gw`"));
    assert_eq!(told("/ca.pem"), None);
}

/// A URL without a password is no secret.
#[test]
fn the_url_of_a_store_is_a_secret_only_with_a_password() {
    let warnings = |url: &str| parse(&format!("[providers.p]\nkind = 'mock'\n[store]\nredis = '{url}'")).warnings.len();
    assert_eq!(warnings("redis://127.0.0.1:6379"), 0);
    assert_eq!(warnings("redis-sentinel://127.0.0.1:6379,127.0.0.1:6380/main/1"), 0);
    assert_eq!(warnings("redis://:sk-this-is-secret@127.0.0.1:6379"), 1);
    assert_eq!(warnings("redis-cluster://me:sk-this-is-secret@127.0.0.1:6379"), 1);
}

fn warned(text: &str) -> Vec<String> {
    let shown = |warning: Warning| format!("{} = {}", warning.message, warning.help.unwrap_or_default());
    parse(text).warnings.into_iter().map(shown).collect()
}

#[test]
fn conditions_and_teams_that_no_key_has_are_doubtful() {
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let file = format!(
        "[providers.m]\nkind = 'mock'\n[teams.support]\nlimits = {{ requests = '1/day' }}\n[teams.team-a]\n\
         [[keys]]\nname = 'support-bot'\nteam = 'suport'\ntags = ['eu']\nhash = 'sha256:{hash}'\n\
         [[keys]]\nname = 'b'\nteam = 'team-b'\nhash = 'sha256:{}'\n\
         [[routes]]\nmodel = 'm/a'\nwhen = {{ key = ['suport-bot', 'b', '*-bot'], tag = 'us', team = 'team-*' }}\n",
        hash.replace('e', "f")
    );
    assert_eq!(
        warned(&file),
        [
            "there is no [teams.suport], and the limits of [teams.support] are not for this key = did you mean `support`?",
            "there is no key `suport-bot`: this never matches = did you mean `support-bot`?",
            "no key has the tag `us`: this never matches = ",
        ]
    );
    // Keys that are made at run time may have what these have not.
    assert_eq!(warned(&format!("{file}[store]\npath = 'keys.db'\n")).len(), 1);
}

#[test]
fn everything_together_may_have_limits_in_several_times() {
    let text = "[providers.m]\nkind = 'mock'\n[limits]\nrequests = '600/min'\nconcurrent = 8\n";
    let limits = |more: &str| {
        let shown = |rule: &crate::limits::Rule| format!("{} {} {}", rule.what.as_str(), rule.limit, rule.period);
        parse(&format!("{text}{more}")).config.limits.rules.iter().map(shown).collect::<Vec<_>>()
    };
    let one = limits("");
    assert_eq!(one.len(), 2);
    let more = "limits = [{ requests = '100000/day', tokens = '1000000/day' }, { tokens = '5000/s' }]";
    let all = limits(more);
    assert!(all.len() == 5 && one.iter().all(|own| all.contains(own)), "{all:?}");
    assert_eq!(limits("[limits.limits]\nrequests = '9/s'").len(), 3, "one table, as elsewhere");
}

#[test]
fn a_key_that_has_expired_is_doubtful() {
    let file = |end: &str| {
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        format!(
            "[providers.m]\nkind = 'mock'\n[[keys]]\nname = 'b'\nhash = 'sha256:{hash}'\nexpires = '{end}T00:00:00Z'"
        )
    };
    let doubt = "the key `b` has expired: it is refused = write a later time, or take the key out";
    assert_eq!(warned(&file("2001-01-01")), [doubt]);
    assert!(warned(&file("2099-01-01")).is_empty());
}

/// Sentinels may want a password of their own.
#[test]
fn whoever_asks_a_sentinel_says_so() {
    let read = |redis: &str, more: &str| {
        let text = format!("[providers.p]\nkind = 'mock'\n[store]\nredis = '{redis}'\n{more}");
        Config::parse(&text, "a.toml", &Fake::new().with_var("PW", "pw"))
    };
    let (plain, behind) = ("redis://127.0.0.1:6379", "redis-sentinel://127.0.0.1:26379/main");
    let login = "sentinel_user = 'gateway'\nsentinel_password = 'env:PW'";
    let loaded = read(behind, login).unwrap();
    let redis = loaded.config.store.redis.unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(redis.sentinel_user.as_deref(), Some("gateway"));
    assert_eq!(redis.sentinel_password.unwrap().expose(), "pw");
    let wrong = |redis: &str, more: &str| read(redis, more).unwrap_err().errors.remove(0).message;
    assert_eq!(wrong(plain, login), "no Sentinel is asked");
    assert_eq!(wrong(behind, "sentinel_user = 'gateway'"), "`sentinel_user` has no `sentinel_password`");
    assert_eq!(read(behind, "sentinel_password = 'pw'").unwrap().warnings.len(), 1);
}

#[test]
fn budgets_tell_where_they_do_not_know_how_much_to_put_by() {
    let file = |traits: &str, limits: &str| {
        format!(
            "[limits]\n{limits}\n[providers.m]\nkind = 'mock'\n[models.m]\n\
             targets = [{{ provider = 'm', model = 'x', price = {{ input = 1, output = 2 }}{traits} }},\n\
             {{ provider = 'm', model = 'free' }}]\n[models.e]\n\
             targets = [{{ provider = 'm', model = 'embeds', price = {{ input = 1, output = 0 }} }}]"
        )
    };
    let doubt = "budgets put by 128000 tokens for an answer where the longest is not known: `m/x` = \
                 say it in their targets: `traits = { max_output = 8192 }`";
    let budget = "budget = { usd = 2, per = 'day' }";
    assert_eq!(warned(&file("", budget)), [doubt]);
    assert_eq!(warned(&file("", &format!("reserve = 'most'\n{budget}"))), [doubt]);
    assert!(warned(&file("", &format!("reserve = 'usual'\n{budget}"))).is_empty());
    assert!(warned(&file("", "tokens = '5/min'")).is_empty());
    assert!(warned(&file(", traits = { max_output = 100 }", budget)).is_empty());
}
