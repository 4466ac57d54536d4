//! Under which names the price map may know an upstream's model: clouds and resellers decorate the maker's name with
//! regions, versions and paths.

use super::map::Lookup;

/// The price map's word for the vendor of a provider kind. `None`: a model's name there says nothing of its price. Azure's
/// deployments are named by their owner, and what runs on one's own machines has one's own price.
pub(super) fn vendor(kind: &str) -> Option<&str> {
    match kind {
        "azure" | "openai-compatible" | "vllm" | "lmstudio" | "mock" => None,
        "vertex" => Some("vertex_ai"),
        "together" => Some("together_ai"),
        "fireworks" => Some("fireworks_ai"),
        "nvidia" => Some("nvidia_nim"),
        "jina" => Some("jina_ai"),
        same => Some(same),
    }
}

/// Rows that may hold the price, the closest first, versions as they were asked for.
pub(super) fn rows(lookup: &Lookup<'_>) -> Vec<String> {
    let Some(vendor) = vendor(lookup.kind) else { return Vec::new() };
    let row = |name: &str| format!("{vendor}/{name}");
    let model = lookup.model;
    match lookup.kind {
        "bedrock" => bedrock(lookup).iter().map(|name| row(name)).collect(),
        "gemini" => vec![row(model.strip_prefix("models/").unwrap_or(model))],
        "vertex" => {
            // `publishers/meta/models/llama-…` is `meta/llama-…` in the map; Google's own and Anthropic's have no maker.
            let path = model.strip_prefix("publishers/").and_then(|path| path.split_once("/models/"));
            let (maker, name) = path.or_else(|| model.split_once('/')).unwrap_or(("google", model));
            vec![row(name), row(&format!("{maker}/{name}"))]
        }
        // `ft:gpt-4o-mini-2024-07-18:organisation:name:id`
        "openai" if model.starts_with("ft:") => {
            let base = model.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
            vec![row(&base)]
        }
        _ => vec![row(model)],
    }
}

/// Regions that an inference profile may serve from.
const GEOGRAPHIES: &[&str] = &["us", "us-gov", "eu", "apac", "jp", "au", "ca", "global"];

fn bedrock(lookup: &Lookup<'_>) -> Vec<String> {
    let mut model = lookup.model;
    if model.starts_with("arn:") {
        // An application's own profile says nothing of its model.
        if model.contains(":application-inference-profile/") {
            return Vec::new();
        }
        model = model.rsplit('/').next().unwrap_or(model);
    }
    let plain = model.split_once('.').filter(|(first, _)| GEOGRAPHIES.contains(first)).map(|(_, plain)| plain);
    let mut names = Vec::with_capacity(4);
    for name in [Some(model), plain].into_iter().flatten() {
        names.extend(lookup.region.map(|region| format!("{region}/{name}")));
        names.push(name.to_owned());
    }
    names
}

/// The name without its last version or date; `None` if it has none.
pub(super) fn without_version(name: &str) -> Option<&str> {
    if let Some((plain, _)) = name.rsplit_once('@') {
        return Some(plain);
    }
    if let Some(plain) = name.strip_suffix("-latest") {
        return Some(plain);
    }
    if let Some((before, after)) = name.rsplit_once(':').filter(|(_, after)| is_number(after)) {
        let versioned = before.rsplit_once("-v").filter(|(_, version)| is_number(version));
        return Some(versioned.map_or(before, |(plain, _)| plain)).filter(|_| !after.is_empty());
    }
    dated(name, &[8]).or_else(|| dated(name, &[4, 2, 2]))
}

/// Takes the numbers of these lengths, each behind a dash, from the end of the name.
fn dated<'a>(name: &'a str, lengths: &[usize]) -> Option<&'a str> {
    lengths.iter().rev().try_fold(name, |rest, length| {
        let (plain, number) = rest.rsplit_once('-')?;
        (is_number(number) && number.len() == *length).then_some(plain)
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `name` is `plain` with versions or dates behind it.
pub(super) fn is_version_of(name: &str, plain: &str) -> bool {
    std::iter::successors(without_version(name), |name| without_version(name)).any(|name| name == plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (name, plain) in [
            ("claude-sonnet-4-5@20250929", Some("claude-sonnet-4-5")),
            ("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5")),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", Some("anthropic.claude-sonnet-4-5-20250929")),
            ("gpt-4o-2024-08-06", Some("gpt-4o")),
            ("mistral-large-latest", Some("mistral-large")),
            ("amazon.nova-pro:0", Some("amazon.nova-pro")),
            ("gpt-5", None),
            ("gpt-4-0613", None),
            ("deepseek-v3", None),
            ("llama3:8b", None),
            ("", None),
            (":", None),
            ("-", None),
        ] {
            assert_eq!(without_version(name), plain, "{name}");
        }
        assert!(is_version_of("claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"));
        assert!(!is_version_of("gpt-5-mini-2025-08-07", "gpt-5") && !is_version_of("gpt-5", "gpt-5"));
    }

    #[test]
    fn clouds_names() {
        let rows = |kind, model| rows(&Lookup { provider: "mine", kind, model, region: Some("eu-west-1") });
        assert_eq!(rows("openai", "gpt-5"), ["openai/gpt-5"]);
        assert_eq!(rows("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc"), ["openai/ft:gpt-4o-mini-2024-07-18"]);
        assert_eq!(rows("gemini", "models/gemini-2.5-pro"), ["gemini/gemini-2.5-pro"]);
        assert_eq!(rows("vertex", "gemini-2.5-pro"), ["vertex_ai/gemini-2.5-pro", "vertex_ai/google/gemini-2.5-pro"]);
        assert_eq!(rows("vertex", "publishers/meta/models/llama"), ["vertex_ai/llama", "vertex_ai/meta/llama"]);
        assert_eq!(rows("vertex", "meta/llama"), ["vertex_ai/llama", "vertex_ai/meta/llama"]);
        let profile = ["eu-west-1/eu.anthropic.x", "eu.anthropic.x", "eu-west-1/anthropic.x", "anthropic.x"];
        let profile = profile.map(|name| format!("bedrock/{name}"));
        assert_eq!(rows("bedrock", "eu.anthropic.x"), profile);
        assert_eq!(rows("bedrock", "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.x"), profile);
        assert!(rows("bedrock", "arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc").is_empty());
        assert!(rows("azure", "gpt-5").is_empty() && rows("vllm", "qwen3").is_empty());
    }
}
