//! The official SDKs from their registries against the gateway, in front of `ai-gateway mock` and of recorded traffic:
//! `tests/sdk/python` and `tests/sdk/node` hold the suites, `tests/sdk/setup.sh` installs what they need (`make test`
//! calls it).

use ai_gateway_tests::{Gateway, Mock, bodies, is_installed, recordings};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A whole suite of a language may take this long.
const SUITE: Duration = Duration::from_secs(170);

/// The folder of the installed SDKs, if they are.
fn installed() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sdk");
    is_installed("SDKs", home.join("stamp").is_file(), "tests/sdk/setup.sh").then_some(home)
}

/// The key that the suites are given.
fn keys() -> String {
    let hash = bodies::key_hash("sk-suite");
    format!("[[keys]]\nname = \"suite\"\nhash = \"{hash}\"\nmodels = [\"*\"]\n")
}

/// Runs a suite against a gateway in front of the mock provider.
async fn run(program: PathBuf, args: &[&str], folder: &str, sdk_home: &Path) {
    let mock = Mock::start().await;
    let origin = format!("http://{}", mock.addr);
    let config = format!(
        r#"
        [providers.mock]
        kind = "openai"
        base_url = "{origin}/v1"
        api_key = "unused"
        [providers.refusing]
        kind = "openai"
        base_url = "{origin}/v1"
        api_key = "revoked"
        {}
        {}
        [models.assistant]
        targets = [{{ provider = "mock", model = "echo" }}]
        {}
        "#,
        bodies::anthropic_provider("claude", &origin),
        bodies::anthropic_provider("refusing-claude", &origin),
        keys()
    );
    let mut command = tokio::process::Command::new(&program);
    command.args(args);
    run_with(&config, command, folder, sdk_home).await;
}

async fn run_with(config: &str, mut command: tokio::process::Command, folder: &str, sdk_home: &Path) {
    let mut gateway = Gateway::start(config).await;
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(folder))
        .env("GATEWAY_URL", format!("http://{}", gateway.addr))
        .env("GATEWAY_KEY", "sk-suite")
        .env("SDK_HOME", sdk_home)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = tokio::time::timeout(SUITE, command.output()).await.expect("the suite hangs");
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{text}");
    println!("{text}");
    gateway.assert_healthy().await;
    let (out, err) = gateway.output();
    assert!(!out.iter().chain(&err).any(|line| line.contains("sk-suite")), "the key is in the log");
}

/// Runs a suite against a gateway with a provider for each dialect, whose models are the recordings of that dialect.
async fn run_with_recordings(recorded: &Path, suite: tokio::process::Command, folder: &str, sdk_home: &Path) {
    let providers = [
        ("openai-chat", "openai-compatible", "/v1", "api_key = \"k\""),
        ("openai-responses", "openai", "/v1", "api_key = \"k\""),
        ("anthropic", "anthropic", "", "api_key = \"k\""),
        ("gemini", "gemini", "", "api_key = \"k\""),
        ("bedrock", "bedrock", "", "region = \"us-east-1\"\naccess_key_id = \"k\"\nsecret_access_key = \"k\""),
        ("cohere", "cohere", "", "api_key = \"k\""),
    ];
    let stub = recordings::upstream(recorded, &providers.map(|(dialect, ..)| dialect)).await;
    let provider = |(dialect, kind, path, account)| {
        let url = format!("{}{path}", stub.origin());
        let head = format!("[providers.{dialect}]\nkind = \"{kind}\"\ndialects = [\"{dialect}\"]");
        format!("{head}\nbase_url = \"{url}\"\n{account}\n")
    };
    let config = providers.map(provider).concat() + &keys();
    run_with(&config, suite, folder, sdk_home).await;
}

#[tokio::test]
async fn python_openai() {
    let Some(home) = installed() else { return };
    run(home.join("venv/bin/python"), &["-m", "unittest", "-v", "test_openai"], "python", &home).await;
}

#[tokio::test]
async fn python_anthropic() {
    let Some(home) = installed() else { return };
    run(home.join("venv/bin/python"), &["-m", "unittest", "-v", "test_anthropic"], "python", &home).await;
}

#[tokio::test]
async fn node_openai() {
    let Some(home) = installed() else { return };
    run("node".into(), &["--test", "openai.test.mjs"], "node", &home.join("node")).await;
}

/// Every recording through every other dialect, as that dialect's SDK reads it.
#[tokio::test]
async fn python_matrix() {
    let (Some(home), Some(recorded)) = (installed(), recordings::folder()) else { return };
    let mut suite = tokio::process::Command::new(home.join("venv/bin/python"));
    suite.args(["-W", "ignore", "-m", "unittest", "-v", "test_matrix"]);
    run_with_recordings(&recorded, suite, "python", &home).await;
}

/// The same through the SDKs for Node; what they must read is told by the Python suite.
#[tokio::test]
async fn node_matrix() {
    let (Some(home), Some(recorded)) = (installed(), recordings::folder()) else { return };
    let told = tempfile::NamedTempFile::new().expect("temporary file");
    let mut expect = std::process::Command::new(home.join("venv/bin/python"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/python/expect.py");
    let status = expect.arg(script).arg(told.path()).env("PYTHONDONTWRITEBYTECODE", "1").status();
    assert!(status.is_ok_and(|status| status.success()), "expect.py");
    let mut suite = tokio::process::Command::new("node");
    suite.args(["--test", "matrix.test.mjs"]).env("EXPECTATIONS", told.path());
    run_with_recordings(&recorded, suite, "node", &home.join("node")).await;
}
