//! What things are called elsewhere, and what is written here instead.

use super::tree::nearest;

/// Words, what they may mean here, and what is said where none of that is known; the first row with an answer counts.
const WORDS: &[(&[&str], &[&str], &str)] = &[
    (&["type", "provider", "vendor"], &["kind"], ""),
    (&["type", "kind", "plugin", "guardrail"], &["use"], ""),
    (&["url", "api_base", "endpoint", "api_url", "host"], &["base_url"], ""),
    (&["key", "api_token", "apikey", "token", "secret"], &["api_key"], ""),
    (&["key", "api_key", "secret", "token", "key_hash"], &["hash"], ""),
    (&["location", "aws_region", "aws_region_name", "vertex_location"], &["region"], ""),
    (&["project_id", "vertex_project"], &["project"], ""),
    (&["timeout", "request_timeout", "timeouts"], &["timeouts"], "[models.NAME] has `timeouts`: { total = \"10m\" }"),
    (&["retries", "num_retries", "max_retries", "retry"], &["retry"], "[models.NAME] has `retry`: { attempts = 3 }"),
    (
        &["fallback", "fallbacks"],
        &[],
        "targets with a larger `priority` are asked when those before them failed: `targets` of [models.NAME]",
    ),
    (&["rpm", "rpm_limit", "requests_per_minute"], &["requests", "rpm"], "`limits` say it: { requests = \"600/min\" }"),
    (&["tpm", "tpm_limit", "tokens_per_minute"], &["tokens", "tpm"], "`limits` say it: { tokens = \"100000/min\" }"),
    (&["max_parallel_requests", "max_concurrent"], &["concurrent"], "`limits` say it: { concurrent = 8 }"),
    (&["max", "limit", "max_budget", "amount"], &["usd"], ""),
    (&["max_budget"], &[], "`budget` says it: { usd = 10, per = \"day\" }"),
    (&["period", "window", "duration", "budget_duration"], &["per"], ""),
    (&["tls_cert", "tls_key", "cert", "certificate"], &["tls"], ""),
    (&["google"], &["gemini", "vertex"], ""),
    (&["claude"], &["anthropic"], ""),
    (&["aws", "amazon"], &["bedrock"], ""),
];

/// What somebody who wrote `word` may have meant of what is `known`: what is called so elsewhere, or what it is nearly.
pub(super) fn meant<'a>(word: &str, known: &[&'a str]) -> Vec<&'a str> {
    let of_row = |ours: &&[&str]| known.iter().copied().filter(|known| ours.contains(known)).collect::<Vec<_>>();
    let found = rows(word).map(|(ours, _)| of_row(&ours)).find(|found| !found.is_empty());
    found.unwrap_or_else(|| nearest(word, known.iter().copied()).into_iter().collect())
}

/// ``did you mean `x`?``, or where it is said, or the list of what there is.
pub(super) fn instead(word: &str, known: &[&str]) -> Option<String> {
    let meant = meant(word, known);
    if !meant.is_empty() {
        let quoted: Vec<String> = meant.iter().map(|word| format!("`{word}`")).collect();
        return Some(format!("did you mean {}?", quoted.join(" or ")));
    }
    if known.is_empty() {
        return None;
    }
    if let Some((_, said)) = rows(word).find(|(_, said)| !said.is_empty()) {
        return Some(said.to_owned());
    }
    let mut sorted = known.to_vec();
    sorted.sort_unstable();
    Some(format!("there are: {}", sorted.join(", ")))
}

fn rows(word: &str) -> impl Iterator<Item = (&'static [&'static str], &'static str)> {
    WORDS.iter().filter(move |(words, ..)| words.contains(&word)).map(|(_, ours, said)| (*ours, *said))
}
