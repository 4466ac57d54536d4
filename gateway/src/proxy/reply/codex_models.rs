//! The list of models as Codex reads it. `codex-rs/protocol/src/openai_models.rs` in openai/codex is its only
//! documentation; what an entry must have was found by leaving fields out in front of Codex 0.169.

use std::collections::BTreeSet;

use http::HeaderMap;
use serde_json::{Value, json};

/// Codex takes the place of its own instructions from the list, and refuses an entry without any.
const INSTRUCTIONS: &str = "\
You are a coding agent that works in the user's workspace through Codex, an application in the terminal. The user sees \
what you say; you see what the tools return.

- Go on until the task is done, or until you need something that only the user knows. Do not guess: read the files, run \
the commands.
- Follow the instructions in AGENTS.md files. They hold for the folder that they are in and everything below it; the \
nearest one wins, and what the user says comes first.
- Search with `rg` where it is there. Change files with the tool for that, if there is one, otherwise with shell commands.
- Fix causes, not symptoms, in the style of the code around. Change nothing that was not asked for, and undo nothing that \
is not yours. Commit or make branches only if you are asked to.
- Check your work with the project's own tests and tools, the narrowest first, as far as you are allowed to run them.
- Say in a sentence what you are about to do before long work. End with what you changed, how you checked it and what is \
left, in few words. Name files with their paths and lines (`src/main.rs:42`), and do not repeat their content.";

/// Whether a request for the list comes from Codex.
pub fn asks(headers: &HeaderMap, query: Option<&str>) -> bool {
    let is_codex = |name: &str| {
        let start = headers.get(name).and_then(|value| value.as_bytes().get(..5));
        start.is_some_and(|start| start.eq_ignore_ascii_case(b"codex"))
    };
    let says_version = || query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("client_version=")));
    is_codex("originator") || is_codex("user-agent") || says_version()
}

/// The list. What the gateway does not know of a model is said as Codex assumes it for models that it does not know.
pub fn list(names: &BTreeSet<String>) -> Value {
    let unknown = names.iter().filter(|name| !is_known_to_codex(name));
    let models: Vec<Value> = unknown.enumerate().map(|(priority, name)| entry(name, priority)).collect();
    json!({ "models": models })
}

/// Codex brings instructions and tools of their own for OpenAI's newer models; an entry would take their place.
fn is_known_to_codex(name: &str) -> bool {
    name.starts_with("codex-") || name.strip_prefix("gpt-").is_some_and(|rest| !rest.starts_with(['3', '4']))
}

fn entry(name: &str, priority: usize) -> Value {
    let efforts: Vec<Value> = [("low", "Quick"), ("medium", "Balanced"), ("high", "Thorough")]
        .map(|(effort, description)| json!({ "effort": effort, "description": description }))
        .into();
    json!({
        "slug": name,
        "display_name": name,
        "description": null,
        "default_reasoning_level": null,
        "supported_reasoning_levels": efforts,
        "shell_type": "default",
        "visibility": "list",
        "supported_in_api": true,
        "priority": priority,
        "upgrade": null,
        "base_instructions": INSTRUCTIONS,
        "supports_reasoning_summaries": true,
        "support_verbosity": false,
        "default_verbosity": null,
        "apply_patch_tool_type": null,
        "truncation_policy": { "mode": "bytes", "limit": 10_000 },
        "supports_parallel_tool_calls": true,
        "experimental_supported_tools": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_codex_knows_better_is_left_out() {
        let list = list(&["assistant", "codex-mini", "gpt-4o", "gpt-5.5", "openai/gpt-5"].map(str::to_owned).into());
        let slugs: Vec<&str> = list["models"].as_array().unwrap().iter().filter_map(|m| m["slug"].as_str()).collect();
        assert_eq!(slugs, ["assistant", "gpt-4o", "openai/gpt-5"]);
    }

    #[test]
    fn codex_is_known_by_what_it_sends() {
        let from = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        let originator = http::HeaderName::from_static("originator");
        assert!(asks(&from(originator.clone(), "codex_vscode"), None));
        assert!(asks(&from(originator.clone(), "Codex Desktop"), None));
        assert!(asks(&from(http::header::USER_AGENT, "codex_exec/0.169.0 (Debian 12.0.0; x86_64)"), None));
        assert!(asks(&HeaderMap::new(), Some("a=b&client_version=0.169.0")));
        assert!(!asks(&from(originator, "pi"), Some("limit=20")));
        assert!(!asks(&from(http::header::USER_AGENT, "OpenAI/Python 2.7"), None));
    }
}
