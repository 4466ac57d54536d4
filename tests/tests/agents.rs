//! Coding agents from npm (Claude Code, Codex, Gemini CLI), headless, do a task with their own tools through the gateway
//! on a provider of another dialect: they write a file, read it back, and say a last word. The model is a script
//! ([`ai_gateway_tests::script`]); everything between is real. `tests/sdk/setup.sh` installs the agents.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::script::{self, SIGNATURE, Turn, USAGE};
use ai_gateway_tests::{Gateway, Stub, bodies, is_installed};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// An agent that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "sk-agent";
const CONTENT: &str = "written through the gateway: naïve 東京 \"quoted\" \\ $HOME";
const LAST_WORD: &str = "done";

/// The folder of the agents' programs, if they are installed.
fn installed() -> Option<PathBuf> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sdk/agents/node_modules/.bin");
    is_installed("agents", programs.join("claude").exists(), "tests/sdk/setup.sh").then_some(programs)
}

/// An agent at work: where it is at home, where it works, and what it talks to.
struct Stage {
    programs: PathBuf,
    home: tempfile::TempDir,
    work: tempfile::TempDir,
    upstream: Stub,
    gateway: Gateway,
}

impl Stage {
    /// A gateway whose models `assistant` and `small` are served by an upstream of `dialect` that plays `turns`.
    async fn set(dialect: Dialect, turns: impl FnOnce(&Path) -> Vec<Turn>) -> Option<Stage> {
        let programs = installed()?;
        let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let upstream = script::play(dialect, turns(&work.path().join("note.txt"))).await;
        let config = format!(
            r#"
            {}
            [models.assistant]
            targets = [{{ provider = "up", model = "big" }}]
            [models."gpt-5.5"]
            targets = [{{ provider = "up", model = "big" }}]
            [models.small]
            targets = [{{ provider = "up", model = "little" }}]
            [[keys]]
            name = "agent"
            hash = "{}"
            models = ["*"]
            "#,
            provider(dialect, &upstream.origin()),
            bodies::key_hash(KEY)
        );
        let gateway = Gateway::start(&config).await;
        Some(Stage { programs, home, work, upstream, gateway })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path()).env("NO_COLOR", "1").current_dir(self.work.path());
        command
    }

    fn origin(&self) -> String {
        format!("http://{}", self.gateway.addr)
    }

    /// Runs it to its end; what it printed to stdout.
    async fn run(&self, command: &mut Command) -> String {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.process_group(0).kill_on_drop(true).spawn().expect("the agent starts");
        let group = child.id().expect("a running agent");
        let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status();
            panic!("the agent hangs; the gateway says: {:?}", self.gateway.output());
        };
        let output = output.expect("the agent's end");
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{}\n{out}\n{err}\n{:?}", output.status, self.gateway.output());
        out
    }

    /// What must be true after every task. `harmless`: fields whose loss changes nothing.
    async fn check(mut self, dialect: Dialect, turns: usize, harmless: &[&str]) {
        let written = std::fs::read_to_string(self.work.path().join("note.txt")).expect("the file was made");
        assert_eq!(written.trim_end(), CONTENT);
        let requests = self.upstream.received();
        let mine: Vec<_> = requests.iter().filter(|request| script::is_turn(request)).collect();
        assert_eq!(mine.len(), turns, "turns");
        let last = mine[turns - 1].json();
        assert!(holds(&last, CONTENT), "what the tools returned did not come back to the model: {last:#}");
        if dialect == Dialect::Gemini {
            let signed = last.to_string().matches(SIGNATURE).count();
            assert_eq!(signed, turns - 1, "Gemini wants its signatures back: {last:#}");
        }
        for request in &requests {
            let headers = format!("{:?} {}", request.headers, request.target);
            for private in [KEY, "x-stainless", "x-codex", "x-goog-api-client"] {
                assert!(!headers.contains(private), "{private} reached the upstream: {headers}");
            }
            for anthropic in ["anthropic-beta", "beta=true"] {
                assert!(dialect == Dialect::Anthropic || !headers.contains(anthropic), "{anthropic}: {headers}");
            }
        }
        self.gateway.assert_healthy().await;
        let (log, _) = self.gateway.output();
        let log: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let (mut input, mut output) = (0, 0);
        for line in &log {
            assert_eq!((&line["status"], &line["finish"]), (&json!(200), &json!("complete")), "{line}");
            assert!(line["error"].is_null(), "{line}");
            for lost in line["dropped"].as_str().unwrap_or_default().split(',').filter(|lost| !lost.is_empty()) {
                assert!(harmless.contains(&lost), "lost `{lost}`: {line}");
            }
            input += line["tokens"]["input"].as_u64().unwrap_or_default();
            output += line["tokens"]["output"].as_u64().unwrap_or_default();
        }
        let asked = requests.len() as u64;
        assert_eq!((input, output), (USAGE.0 * asked, USAGE.1 * asked), "usage of {asked} requests: {log:?}");
    }
}

fn provider(dialect: Dialect, origin: &str) -> String {
    let (kind, base, more) = match dialect {
        Dialect::OpenAiChat => ("openai-compatible", "/v1", "api_key = \"upstream\""),
        Dialect::OpenAiResponses => ("openai", "/v1", "api_key = \"upstream\"\ndialects = [\"openai-responses\"]"),
        Dialect::Anthropic => ("anthropic", "", "api_key = \"upstream\""),
        Dialect::Gemini => ("gemini", "", "api_key = \"upstream\""),
        Dialect::Bedrock => {
            ("bedrock", "", "region = \"us-east-1\"\naccess_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"upstream\"")
        }
        Dialect::Cohere | Dialect::Own(_) => panic!("no script for {dialect}"),
    };
    format!("[providers.up]\nkind = \"{kind}\"\nbase_url = \"{origin}{base}\"\n{more}\n")
}

/// Whether some string below `value` has `text` in it.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(list) => list.iter().any(|item| holds(item, text)),
        Value::Object(object) => object.values().any(|item| holds(item, text)),
        _ => false,
    }
}

mod claude_code {
    use super::*;

    /// What only Claude knows, and what a model of somebody else does well without. The gateway knows nothing of the model
    /// `big`, also not that it reasons.
    const HARMLESS: [&str; 6] =
        ["context_management", "messages.cache", "tools.defer_loading", "reasoning.show", "reasoning", "user"];

    async fn works_on(dialect: Dialect) {
        let turns = |note: &Path| {
            vec![
                Turn::Call("Write", json!({"file_path": note, "content": CONTENT})),
                Turn::Call("Read", json!({"file_path": note})),
                Turn::Call("ToolSearch", json!({"query": "select:WebFetch"})),
                Turn::Call("Bash", json!({"command": format!("cat {}", note.display()), "description": "Show it"})),
                Turn::Say(LAST_WORD),
            ]
        };
        let Some(stage) = Stage::set(dialect, turns).await else { return };
        let mut command = stage.command("claude");
        command
            .args(["-p", "Write the note and read it back.", "--output-format", "json"])
            .arg("--dangerously-skip-permissions")
            // Root may skip permissions only where it says that this is a sandbox.
            .env("IS_SANDBOX", "1")
            .env("ANTHROPIC_BASE_URL", stage.origin())
            .env("ANTHROPIC_AUTH_TOKEN", KEY)
            .env("ANTHROPIC_MODEL", "assistant")
            .env("ANTHROPIC_SMALL_FAST_MODEL", "small")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("DISABLE_AUTOUPDATER", "1");
        let out = stage.run(&mut command).await;
        let result: Value = serde_json::from_str(out.trim()).unwrap_or_else(|e| panic!("{e}: {out}"));
        assert_eq!((&result["subtype"], &result["result"]), (&json!("success"), &json!(LAST_WORD)), "{result:#}");
        assert_eq!(result["usage"]["input_tokens"], 5 * USAGE.0, "what Claude Code counts: {result:#}");
        assert_eq!(result["usage"]["output_tokens"], 5 * USAGE.1, "what Claude Code counts: {result:#}");
        let last = stage.upstream.received().into_iter().rfind(script::is_turn).expect("a turn");
        let (asked, headers) = (last.json(), &last.headers);
        if dialect == Dialect::Anthropic {
            assert!(last.target.ends_with("?beta=true") && headers.contains_key("anthropic-beta"), "{headers:?}");
            assert!(holds(&asked, "tool_reference"), "{asked:#}");
        } else {
            assert!(holds(&asked, "The tool `WebFetch` is loaded"), "what was found is not told: {asked:#}");
        }
        stage.check(dialect, 5, &HARMLESS).await;
    }

    /// Everything of Claude's own passes.
    #[tokio::test]
    async fn on_anthropic() {
        works_on(Dialect::Anthropic).await;
    }

    #[tokio::test]
    async fn on_openai_chat() {
        works_on(Dialect::OpenAiChat).await;
    }

    #[tokio::test]
    async fn on_openai_responses() {
        works_on(Dialect::OpenAiResponses).await;
    }

    #[tokio::test]
    async fn on_gemini() {
        works_on(Dialect::Gemini).await;
    }

    #[tokio::test]
    async fn on_bedrock() {
        works_on(Dialect::Bedrock).await;
    }
}

mod codex {
    use super::*;

    /// What only OpenAI knows: notes for its own back office, searches that it runs itself, the words about a group of tools
    /// (its tools themselves arrive), a grammar (which is told in words).
    const HARMLESS: [&str; 8] = [
        "client_metadata",
        "prompt_cache_key",
        "reasoning.summary",
        "tools.format",
        "tools.namespace",
        "tools.tool_search",
        "tools.web_search",
        "verbosity",
    ];

    /// A model that Codex knows from the gateway's list only: everything is done with a shell.
    async fn works_on(dialect: Dialect) {
        let turns = |note: &Path| {
            let quoted = CONTENT.replace('\'', r"'\''");
            let note = note.display();
            vec![
                Turn::Call("exec_command", json!({"cmd": format!("printf '%s\\n' '{quoted}' > {note}")})),
                Turn::Call("exec_command", json!({"cmd": format!("cat {note}")})),
                Turn::Say(LAST_WORD),
            ]
        };
        run(dialect, "assistant", turns).await;
    }

    /// A model that Codex brings instructions and tools for: it patches files with a tool whose input is no JSON but follows a
    /// grammar.
    async fn patches_on(dialect: Dialect) {
        let turns = |note: &Path| {
            let patch = format!("*** Begin Patch\n*** Add File: note.txt\n+{CONTENT}\n*** End Patch\n");
            vec![
                Turn::Call("apply_patch", json!({ "input": patch })),
                Turn::Call("exec_command", json!({"cmd": format!("cat {}", note.display())})),
                Turn::Say(LAST_WORD),
            ]
        };
        run(dialect, "gpt-5.5", turns).await;
    }

    async fn run(dialect: Dialect, model: &str, turns: impl FnOnce(&Path) -> Vec<Turn>) {
        let Some(stage) = Stage::set(dialect, turns).await else { return };
        let config = format!(
            r#"
            model = "{model}"
            model_provider = "gateway"
            [model_providers.gateway]
            name = "gateway"
            base_url = "{}/v1"
            wire_api = "responses"
            # A key from a command, because only then Codex asks which models there are.
            [model_providers.gateway.auth]
            command = "echo"
            args = ["{KEY}"]
            "#,
            stage.origin()
        );
        std::fs::write(stage.home.path().join("config.toml"), config).expect("Codex's configuration");
        let mut command = stage.command("codex");
        command
            .args(["exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"])
            .arg("Write the note and read it back.")
            .env("CODEX_HOME", stage.home.path());
        let out = stage.run(&mut command).await;
        let events: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let complaint = events.iter().find(|event| event["type"] == "error" || event["item"]["type"] == "error");
        assert!(complaint.is_none(), "{events:#?}");
        let said: Vec<_> = events.iter().filter(|event| event["item"]["type"] == "agent_message").collect();
        assert!(said.last().is_some_and(|event| event["item"]["text"] == LAST_WORD), "{events:#?}");
        let end = events.last().expect("an event");
        let usage = (&end["usage"]["input_tokens"], &end["usage"]["output_tokens"]);
        assert_eq!(usage, (&json!(3 * USAGE.0), &json!(3 * USAGE.1)), "what Codex counts: {end}");
        stage.check(dialect, 3, &HARMLESS).await;
    }

    #[tokio::test]
    async fn on_openai_chat() {
        works_on(Dialect::OpenAiChat).await;
    }

    #[tokio::test]
    async fn on_anthropic() {
        works_on(Dialect::Anthropic).await;
    }

    #[tokio::test]
    async fn on_gemini() {
        works_on(Dialect::Gemini).await;
    }

    #[tokio::test]
    async fn on_bedrock() {
        works_on(Dialect::Bedrock).await;
    }

    #[tokio::test]
    async fn patches_on_openai_chat() {
        patches_on(Dialect::OpenAiChat).await;
    }

    #[tokio::test]
    async fn patches_on_anthropic() {
        patches_on(Dialect::Anthropic).await;
    }
}

mod gemini_cli {
    use super::*;

    /// The placeholder that stands where another model's calls have no signature, and ways to say how random.
    const HARMLESS: [&str; 3] = ["messages.signature", "top_k", "top_p"];

    async fn works_on(dialect: Dialect) {
        let turns = |_: &Path| {
            vec![
                Turn::Call("write_file", json!({"file_path": "note.txt", "content": CONTENT})),
                Turn::Call("read_file", json!({"file_path": "note.txt"})),
                Turn::Say(LAST_WORD),
            ]
        };
        let Some(stage) = Stage::set(dialect, turns).await else { return };
        let settings = stage.home.path().join(".gemini");
        std::fs::create_dir(&settings).expect("Gemini CLI's settings");
        let text = json!({
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": false},
            "general": {"enableAutoUpdate": false, "disableAutoUpdate": true}
        });
        std::fs::write(settings.join("settings.json"), text.to_string()).expect("Gemini CLI's settings");
        let mut command = stage.command("gemini");
        command
            .args(["-m", "assistant", "--yolo", "--output-format", "json", "-p", "Write the note and read it back."])
            .env("GEMINI_API_KEY", KEY)
            .env("GOOGLE_GEMINI_BASE_URL", stage.origin())
            .env("GEMINI_CLI_TRUST_WORKSPACE", "true");
        let out = stage.run(&mut command).await;
        let result: Value = serde_json::from_str(out.trim()).unwrap_or_else(|e| panic!("{e}: {out}"));
        assert_eq!(result["response"], LAST_WORD, "{result:#}");
        stage.check(dialect, 3, &HARMLESS).await;
    }

    #[tokio::test]
    async fn on_openai_chat() {
        works_on(Dialect::OpenAiChat).await;
    }

    #[tokio::test]
    async fn on_anthropic() {
        works_on(Dialect::Anthropic).await;
    }

    #[tokio::test]
    async fn on_bedrock() {
        works_on(Dialect::Bedrock).await;
    }
}

/// Cursor asks `/v1/chat/completions` with bodies of the Responses API, and reads the chunks of Chat. It cannot be run here:
/// its requests come from its own servers.
mod cursor {
    use super::*;
    use ai_gateway_tests::client::{Request, exchange};

    async fn asks(dialect: Dialect) {
        let turns = vec![Turn::Call("read_file", json!({"path": "a"})), Turn::Say(LAST_WORD)];
        let upstream = script::play(dialect, turns).await;
        let gateway = Gateway::start(&provider(dialect, &upstream.origin())).await;
        let parameters = json!({"type": "object", "properties": {"path": {"type": "string"}}});
        let mut body = json!({
            "model": "up/big", "stream": true, "store": false, "include": ["reasoning.encrypted_content"],
            "stream_options": {"include_usage": true},
            "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Read a."}],
            "tools": [{"type": "function", "name": "read_file", "strict": false, "parameters": parameters}]
        });
        for (answer, finish) in [("\"name\":\"read_file\"", "tool_calls"), (LAST_WORD, "stop")] {
            let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await;
            let text = reply.text();
            assert_eq!(reply.status, 200, "{text}");
            assert!(text.contains("\"object\":\"chat.completion.chunk\"") && text.contains(answer), "{text}");
            assert!(text.contains(&format!("\"finish_reason\":\"{finish}\"")) && text.contains("[DONE]"), "{text}");
            assert!(text.contains("\"prompt_tokens\":100"), "{text}");
            let input = body["input"].as_array_mut().expect("a list");
            let id = "call_1";
            input.push(json!({"type": "function_call", "call_id": id, "name": "read_file", "arguments": "{}"}));
            input.push(json!({"type": "function_call_output", "call_id": id, "output": CONTENT}));
        }
        let asked = upstream.received()[1].json();
        assert!(asked["input"].is_null() && holds(&asked, CONTENT), "{asked:#}");
    }

    #[tokio::test]
    async fn on_openai_chat() {
        asks(Dialect::OpenAiChat).await;
    }

    #[tokio::test]
    async fn on_anthropic() {
        asks(Dialect::Anthropic).await;
    }
}
