//! `ai-gateway status`: how the running gateway is.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::ask::Whom;
use super::print;

const PATIENCE: Duration = Duration::from_secs(10);

/// Which gateway, and how it is shown.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    whom: Whom,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints it; the error is for a person.
pub fn run(options: &Options) -> Result<(), String> {
    let answer = options.whom.ask("GET", "/api/status", PATIENCE)?;
    if !answer.is_ok() {
        return Err(answer.error());
    }
    print(&if options.json { format!("{:#}\n", answer.body) } else { page(&answer.body) })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn time(seconds: &Value) -> String {
    humantime::format_duration(Duration::from_secs(seconds.as_u64().unwrap_or(0))).to_string()
}

/// The page for a person.
fn page(status: &Value) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    _ = write(status, &mut page);
    page
}

fn write(status: &Value, page: &mut String) -> std::fmt::Result {
    let (version, pid, up) = (text(&status["version"]), &status["pid"], time(&status["uptime_seconds"]));
    writeln!(page, "ai-gateway {version}, process {pid}: {}, up {up}", text(&status["state"]))?;
    list(&status["reasons"]).try_for_each(|reason| writeln!(page, "  {}", text(reason)))?;
    let config = &status["config"];
    let file = config["file"].as_str().unwrap_or("no file");
    writeln!(page, "configuration {} ({file}), read {}", config["generation"], text(&config["loaded"]))?;
    let last = &config["last_reload"];
    if let Some(error) = last["error"].as_str() {
        writeln!(page, "  the reload at {} was refused:", text(&last["at"]))?;
        error.lines().try_for_each(|line| writeln!(page, "    {line}"))?;
    }
    let listen: Vec<String> = list(&status["listen"]).map(text).collect();
    writeln!(page, "listening on {}; {} requests in flight", listen.join(", "), status["in_flight"])?;
    for other in list(&status["predecessors"]) {
        let (pid, version, since) = (&other["pid"], text(&other["version"]), time(&other["seconds"]));
        writeln!(page, "  process {pid} ({version}) finishes {} requests, since {since}", other["in_flight"])?;
    }
    writeln!(page, "\nproviders")?;
    for provider in list(&status["providers"]) {
        let (name, state, kind) = (text(&provider["name"]), text(&provider["state"]), text(&provider["kind"]));
        writeln!(page, "  {name:<20} {state:<9} {kind}, {}", text(&provider["address"]))?;
    }
    if list(&status["targets"]).next().is_some() {
        writeln!(page, "\ntargets")?;
    }
    for target in list(&status["targets"]) {
        let name = format!("{}/{}", text(&target["provider"]), text(&target["model"]));
        let count = |of: &str| target["counters"][of].as_u64().unwrap_or(0);
        write!(page, "  {name:<40} {:<9} {} in flight", text(&target["state"]), target["in_flight"])?;
        write!(page, ", {} answers, {} failures", count("successes"), count("failures"))?;
        if let Some(latency) = target["p50_ms"].as_f64().or(target["latency_ms"].as_f64()) {
            write!(page, ", first output {latency:.0} ms")?;
        }
        if let Some(detail) = target["detail"].as_str() {
            write!(page, ": {detail}")?;
        }
        writeln!(page)?;
    }
    for refused in list(&status["refused_credentials"]) {
        let (provider, detail) = (text(&refused["provider"]), text(&refused["detail"]));
        writeln!(page, "  {provider}, credential {}: {detail}", refused["credential"])?;
    }
    if list(&status["limits_near"]).next().is_some() {
        writeln!(page, "\nlimits nearly used up")?;
    }
    for limit in list(&status["limits_near"]) {
        let name = format!("{} {}", text(&limit["kind"]), text(&limit["name"]));
        let per = limit["per"].as_str().map(|per| format!(" per {per}")).unwrap_or_default();
        writeln!(page, "  {name:<30} {}{per}: {} %", text(&limit["what"]), limit["used_percent"])?;
    }
    let ledger = &status["ledger"];
    if ledger["lost"].as_u64().unwrap_or(0) > 0 || ledger["waiting"].as_i64().unwrap_or(0) > 0 {
        writeln!(page, "\nledger: {} records wait, {} are lost", ledger["waiting"], ledger["lost"])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_is_wrong_and_nothing_is_needed() {
        let status = serde_json::json!({
            "version": "1.2.3", "pid": 7, "state": "ready", "reasons": ["why"], "uptime_seconds": 61, "in_flight": 2,
            "config": { "file": "a.toml", "generation": 3, "loaded": "2026-11-25T00:00:00Z",
                "last_reload": { "at": "2026-11-25T01:00:00Z", "taken": false, "error": "error: a.toml:1:2: no\n = help" } },
            "listen": ["127.0.0.1:80"],
            "providers": [{ "name": "p", "kind": "openai", "address": "h:443", "state": "down" }],
            "targets": [{ "provider": "p", "model": "m", "state": "waiting", "in_flight": 1, "latency_ms": 12.4,
                "detail": "5 failures in a row", "counters": { "successes": 4, "failures": 5 } }],
            "refused_credentials": [], "store": { "up": false },
            "limits_near": [{ "kind": "key", "name": "bot", "what": "tokens", "per": "1m", "used_percent": 91 }],
            "ledger": { "waiting": 0, "lost": 1 },
            "predecessors": [{ "pid": 6, "version": "1.2.2", "in_flight": 9, "seconds": 5 }],
        });
        let page = page(&status);
        for part in [
            "ai-gateway 1.2.3, process 7: ready, up 1m 1s\n  why\n",
            "refused:\n    error: a.toml:1:2: no\n     = help",
            "process 6 (1.2.2) finishes 9 requests, since 5s",
            "p/m                                      waiting   1 in flight, 4 answers, 5 failures, first output 12 ms: 5 failures in a row",
            "key bot                        tokens per 1m: 91 %",
            "1 are lost",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        assert!(super::page(&Value::Null).contains("providers"));
    }
}
