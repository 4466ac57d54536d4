//! `ai-gateway explain`: where a request would go, and why. The same code as in a gateway that runs, without any network.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ai_gateway::config::{Config, System};
use ai_gateway::internal::explain::{AnsweredBy, Cache, Candidate, Explanation, Limit, Offline};
use ai_gateway::internal::{Kind, State, say};
use clap::Args;
use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde_json::Value;

use super::print;

/// What to explain.
#[derive(Args)]
pub struct Explain {
    /// The configuration, in TOML; as of `run`, the default is what the environment holds.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the key that the request comes with.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// The path that the client asks for; the default is guessed from the body.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// A header of the request; may be given several times.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The body of the request; `-` is standard input.
    #[arg(value_name = "REQUEST.json")]
    request: PathBuf,
}

/// Prints the explanation; the error is for a person.
pub fn run(arguments: &Explain) -> Result<(), String> {
    let body = read(&arguments.request)?;
    let guessed = arguments.path.is_none();
    let path = match &arguments.path {
        Some(path) => path.clone(),
        None => guess_path(&body)?,
    };
    let asked = Offline {
        key: arguments.key.as_deref(),
        method: Method::POST,
        path: &path,
        headers: arguments.headers.clone(),
        body: body.into(),
    };
    let explanation = asked.explain(&load(arguments.config.as_deref())?).map_err(|error| error.to_string())?;
    let text = match arguments.json {
        true => {
            let all = Json { path: &path, path_guessed: guessed, explanation: &explanation };
            serde_json::to_string_pretty(&all).map_err(|error| error.to_string())? + "\n"
        }
        false => {
            let guessed = if guessed { "  (guessed from the body; --path says otherwise)" } else { "" };
            format!("POST {path}{guessed}\n{}", as_text(&explanation))
        }
    };
    print(&text)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    path: &'a str,
    path_guessed: bool,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written as `name: value`")?;
    let name = name.trim().parse().map_err(|_| format!("`{name}` is no name of a header"))?;
    Ok((name, value.trim().parse().map_err(|_| "the value cannot stand in a header".to_owned())?))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    if file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).map_err(|error| format!("standard input: {error}"))?;
        return Ok(body);
    }
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn load(file: Option<&Path>) -> Result<Config, String> {
    let Some(file) = file else {
        let discovery = Config::from_environment(&System);
        say(&discovery);
        return Ok(discovery.config);
    };
    let loaded = Config::load(file).map_err(|errors| errors.to_string())?;
    for warning in &loaded.warnings {
        say(warning);
    }
    Ok(loaded.config)
}

/// The path to which such a body is usually sent.
fn guess_path(body: &[u8]) -> Result<String, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("the request is no JSON: {error}"))?;
    let has = |field: &str| body.get(field).is_some();
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    let first_tool = body.get("tools").and_then(|tools| tools.get(0));
    let tool_of_anthropic = first_tool.is_some_and(|tool| tool.get("input_schema").is_some());
    Ok(match () {
        () if has("contents") || has("inferenceConfig") => {
            return Err("the path of such a request names the model: say it with --path, such as \
                        /v1beta/models/MODEL:generateContent or /model/MODEL/converse"
                .to_owned());
        }
        () if has("messages") && (has("system") || has("stop_sequences") || has("thinking") || tool_of_anthropic) => {
            "/v1/messages"
        }
        () if has("messages") => "/v1/chat/completions",
        () if has("query") && has("documents") => "/v1/rerank",
        () if has("input") && has("voice") => "/v1/audio/speech",
        () if has("input") && (has("dimensions") || has("encoding_format") || model.contains("embed")) => {
            "/v1/embeddings"
        }
        () if has("input") || has("previous_response_id") => "/v1/responses",
        () if has("prompt") && (has("size") || has("quality")) => "/v1/images/generations",
        () if has("prompt") => "/v1/completions",
        () => return Err("the body does not tell which path it is for: say it with --path".to_owned()),
    }
    .to_owned())
}

fn as_text(explanation: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("key", explanation.key.as_deref().unwrap_or("none is asked for"));
    let stream = if explanation.stream { ", as a stream" } else { "" };
    line("asks for", &format!("{} in {}{stream}", explanation.operation, explanation.dialect));
    line("names", explanation.asked_model.as_deref().unwrap_or("no model"));
    for (number, step) in explanation.plugins.iter().enumerate() {
        let said = match &step.failed {
            None => format!("{} sees it", step.plugin),
            Some(condition) => format!("{} does not: {condition}", step.plugin),
        };
        line(if number == 0 { "plugins" } else { "" }, &said);
    }
    if explanation.rules.is_empty() {
        line("rules", "none are looked at");
    }
    for (number, step) in explanation.rules.iter().enumerate() {
        let said = match &step.failed {
            None => format!("{} matches", step.rule),
            Some(condition) if step.broke => format!("{} does not match: {condition} cannot be evaluated", step.rule),
            Some(condition) => format!("{} does not match: {condition}", step.rule),
        };
        line(if number == 0 { "rules" } else { "" }, &said);
    }
    if let Some(mirror) = &explanation.mirror {
        line("copy to", mirror);
    }
    if let Some(model) = &explanation.model {
        line("model", &format!("{}, strategy {}", model.name, model.strategy));
        let same = if model.retry.same_target { ", the same one once more where that helps" } else { "" };
        let retry = format!("at most {} targets{same}; after {}", model.retry.attempts, model.retry.on.join(", "));
        line("retry", &retry);
        line("waits", &format!("at most {} for a provider that says when to come back", time(model.retry.max_wait_ms)));
    }
    if let Some(expected) = &explanation.expected {
        line("expected", &format!("{} tokens of prompt, {} of answer", expected.prompt_tokens, expected.output_tokens));
    }
    if let Some(cache) = &explanation.cache {
        line("cache", &cached(cache));
    }
    let limits = explanation.limits.as_deref();
    if limits.is_some_and(<[_]>::is_empty) {
        line("limits", "there are none for this request");
    }
    for (number, limit) in limits.unwrap_or_default().iter().enumerate() {
        line(if number == 0 { "limits" } else { "" }, &limited(limit));
    }
    match (explanation.answered_by, &explanation.target, &explanation.refused) {
        (AnsweredBy::Gateway, ..) => line("goes to", "nobody: the gateway answers it"),
        (_, Some(target), _) => line("goes to", target),
        (.., Some(refused)) => line("refused", &format!("{} {}: {}", refused.status, refused.error, refused.message)),
        _ => {}
    }
    if !explanation.candidates.is_empty() {
        text.push('\n');
        text += &table(&explanation.candidates);
    }
    for left_out in &explanation.left_out {
        let back = left_out.retry_in_ms.map_or_else(String::new, |wait| format!(", for {}", time(wait)));
        let _ = writeln!(text, "left out  {}/{}: {}{back}", left_out.provider, left_out.model, left_out.detail);
    }
    if !explanation.candidates.is_empty() {
        text += "\nTargets and limits are told of as in a gateway that has just been started; ask a running one with the \
                 header x-gateway-explain: 1.\n";
    }
    text
}

fn cached(cache: &Cache) -> String {
    if let Some(why) = &cache.why_not {
        return format!("not used: {why}");
    }
    let kept = match cache.ttl_ms.unwrap_or(0) {
        0 => "its answer is not kept".to_owned(),
        ttl => format!("its answer is kept for {}", time(ttl)),
    };
    let age = match cache.max_age_ms {
        None => String::new(),
        Some(0) => ", a new one is wanted".to_owned(),
        Some(age) => format!(", none older than {} is taken", time(age)),
    };
    let live = if cache.shared_live { ", shared while it is produced" } else { "" };
    format!("scope {}: {kept}{age}{live}", cache.scope.unwrap_or_default())
}

fn limited(limit: &Limit) -> String {
    let whose = match limit.kind {
        Kind::Global => "everything".to_owned(),
        kind => format!("{} {}", kind.as_str(), limit.name),
    };
    let what = match limit.what {
        "concurrent" => "requests",
        "budget" => "USD",
        what => what,
    };
    let per = match limit.per.as_deref() {
        None => " at the same time".to_owned(),
        Some("total") => " in all".to_owned(),
        Some(per) => format!(" per {per}"),
    };
    let takes = match limit.what {
        "tokens" | "budget" => format!(", this one {}", limit.takes),
        _ => String::new(),
    };
    let room = match (limit.refuses, limit.room_in_ms) {
        (false, _) => String::new(),
        (true, None) => ": no room".to_owned(),
        (true, Some(wait)) => format!(": no room for {}", time(wait.next_multiple_of(1000))),
    };
    format!("{whose}: {} of {} {what}{per}{takes}{room}", limit.used, limit.limit)
}

/// A line for each candidate, with columns as wide as they must be, and below it what is peculiar about it.
fn table(candidates: &[Candidate]) -> String {
    const HEAD: [&str; 9] =
        ["", "target", "priority", "weight", "keys", "state", "spoken to in", "expected USD", "context"];
    let unknown = || "?".to_owned();
    let row = |(number, candidate): (usize, &Candidate)| {
        let dialect = match (candidate.dialect, candidate.translated) {
            (Some(dialect), true) => format!("{dialect}, translated"),
            (Some(dialect), false) => dialect.to_owned(),
            (None, _) => "-".to_owned(),
        };
        [
            (number + 1).to_string(),
            format!("{}/{}", candidate.provider, candidate.model),
            candidate.priority.to_string(),
            candidate.weight.to_string(),
            candidate.credentials.to_string(),
            state(candidate),
            dialect,
            candidate.expected_usd.clone().unwrap_or_else(unknown),
            candidate.context_window.map_or_else(unknown, |window| window.to_string()),
        ]
    };
    let rows: Vec<[String; 9]> = candidates.iter().enumerate().map(row).collect();
    let mut widths = HEAD.map(|name| name.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let write = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = write(&mut HEAD.into_iter());
    for (row, candidate) in rows.iter().zip(candidates) {
        text += &write(&mut row.iter().map(String::as_str));
        for note in notes(candidate) {
            let _ = writeln!(text, "{:width$}  {note}", "", width = widths[0]);
        }
    }
    text
}

fn state(candidate: &Candidate) -> String {
    let mut text = match candidate.state {
        State::HalfOpen => "half open".to_owned(),
        _ => "ready".to_owned(),
    };
    if let Some(latency) = candidate.latency_ms {
        let _ = write!(text, ", {latency:.0} ms");
    }
    if candidate.in_flight > 0 {
        let _ = write!(text, ", {} in flight", candidate.in_flight);
    }
    text
}

fn notes(candidate: &Candidate) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(candidate.behind.as_ref().map(|behind| format!("behind the one before: {}", behind.detail)));
    if candidate.spare {
        notes.push("only if one before it cannot be asked by then: retry.attempts end there".to_owned());
    }
    notes.extend(candidate.cannot.as_ref().map(|why| format!("passed over: {why}")));
    if !candidate.dropped.is_empty() {
        notes.push(format!("its API cannot say: {}", candidate.dropped.join(", ")));
    }
    let clocks = candidate.clocks;
    notes.push(format!(
        "clocks: connect {}, first token {}, idle {}, total {}",
        time(clocks.connect_ms),
        time(clocks.first_token_ms),
        time(clocks.idle_ms),
        time(clocks.total_ms)
    ));
    notes
}

fn time(millis: u64) -> String {
    humantime::format_duration(std::time::Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_guessed_from_the_body() {
        for (body, path) in [
            (r#"{"messages": []}"#, "/v1/chat/completions"),
            (r#"{"messages": [], "system": "x"}"#, "/v1/messages"),
            (r#"{"messages": [], "tools": [{"input_schema": {}}]}"#, "/v1/messages"),
            (r#"{"messages": [], "tools": [{"function": {}}]}"#, "/v1/chat/completions"),
            (r#"{"input": "x"}"#, "/v1/responses"),
            (r#"{"input": "x", "model": "text-embedding-3"}"#, "/v1/embeddings"),
            (r#"{"input": "x", "voice": "y"}"#, "/v1/audio/speech"),
            (r#"{"query": "x", "documents": []}"#, "/v1/rerank"),
            (r#"{"prompt": "x"}"#, "/v1/completions"),
            (r#"{"prompt": "x", "size": "1x1"}"#, "/v1/images/generations"),
        ] {
            assert_eq!(guess_path(body.as_bytes()).as_deref(), Ok(path), "{body}");
        }
        for (body, word) in [(r#"{"contents": []}"#, "--path"), ("{}", "--path"), ("x", "JSON")] {
            assert!(guess_path(body.as_bytes()).unwrap_err().contains(word), "{body}");
        }
    }

    #[test]
    fn headers_are_read_as_curl_takes_them() {
        let (name, value) = header("X-Team:  research ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-team", "research"));
        assert!(header("x-team").is_err() && header("a b: c").is_err());
    }
}
