//! Which of Anthropic's betas the clouds take. They answer others with a 400 ("invalid beta flag", "Unexpected value(s) for the
//! `anthropic-beta` header"), and so the fields that only those make known.
//!
//! Sources, read in November 2026:
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html>,
//! <https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool>, and what LiteLLM
//! (`anthropic_beta_headers_config.json`) and Envoy AI Gateway have found to pass.

use crate::codec::Platform;
use crate::common::{Block, CacheMark, Content, Extras, Losses, Request, Str, Tool};
use crate::dialect::Dialect;

/// A beta, and whether Bedrock's InvokeModel and Vertex AI take it.
type Row = (&'static str, bool, bool);

const ROWS: &[Row] = &[
    ("compact-2026-01-12", true, true),
    ("compact-2026-09-04", false, true),
    ("computer-use-2024-10-22", true, true),
    ("computer-use-2025-01-24", true, true),
    ("computer-use-2025-11-24", true, true),
    ("context-1m-2025-08-07", true, true),
    ("context-management-2025-06-27", true, true),
    ("dangerous-tool-use-2026-09-03", true, true),
    ("dev-full-thinking-2025-05-14", true, false),
    ("effort-2025-11-24", true, false),
    (FINE_GRAINED, true, false),
    ("interleaved-thinking-2025-05-14", true, true),
    ("mid-conversation-output-config-2026-07-01", true, false),
    ("mid-conversation-tool-changes-2026-07-01", true, false),
    ("model-context-window-exceeded-2025-08-26", true, false),
    ("output-128k-2025-02-19", true, false),
    ("per-turn-control-2026-07-01", false, true),
    ("search-results-2025-06-09", true, false),
    ("thinking-binding-controls-2026-08-01", true, true),
    ("thinking-display-updates-2026-08-18", true, true),
    ("token-efficient-tools-2025-02-19", true, false),
    (TOOL_EXAMPLES, true, false),
    (TOOL_SEARCH, true, true),
    ("web-search-2025-03-05", false, true),
];

const FINE_GRAINED: &str = "fine-grained-tool-streaming-2025-05-14";
const TOOL_EXAMPLES: &str = "tool-examples-2025-10-29";
const TOOL_SEARCH: &str = "tool-search-tool-2025-10-19";
const CACHE_SCOPE: &str = "prompt-caching-scope-2026-01-05";
/// Models that are asked in the place of one that declines, and how the beta begins without which nobody knows them.
const FALLBACKS: &str = "fallbacks";
const FALLBACKS_BETA: &str = "server-side-fallback-";

/// What clouds call otherwise.
const ALIASES: &[(&str, &str)] = &[("advanced-tool-use-2025-11-20", TOOL_SEARCH)];

/// Betas that ask for nothing: they tell what the client is.
const IDLE: [&str; 2] = ["claude-code-20250219", "oauth-2025-04-20"];

/// Fields of tools, and the beta that makes each known.
const TOOL_FIELDS: [(&str, &str); 3] =
    [("defer_loading", TOOL_SEARCH), ("eager_input_streaming", FINE_GRAINED), ("input_examples", TOOL_EXAMPLES)];

/// A client's betas for one provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Betas<'b> {
    /// What it is told.
    pub told: Vec<&'b str>,
    /// What it is not.
    pub lost: Vec<&'b str>,
}

impl<'b> Betas<'b> {
    /// Of the names in `asked`, with commas between, for a provider behind `platform` that takes only those in `taken`, if it is
    /// said; else all that are known to be taken. `None`: all as they come.
    #[must_use]
    pub fn of(asked: &'b str, platform: Platform, taken: Option<&[String]>) -> Option<Self> {
        if platform == Platform::Native && taken.is_none() {
            return None;
        }
        let takes = |name: &str| match taken {
            Some(taken) => taken.iter().any(|one| one == name),
            None => known_betas(platform).any(|beta| beta == name),
        };
        let mut betas = Self::default();
        for name in asked.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let alias = ALIASES.iter().find(|(other, _)| *other == name && !takes(name)).map(|(_, alias)| *alias);
            let told = alias.unwrap_or(name);
            match takes(told) {
                true if betas.told.contains(&told) => {}
                true => betas.told.push(told),
                false => betas.lost.push(name),
            }
        }
        Some(betas)
    }

    /// Notes what is not told and would have made a difference.
    pub fn note(&self, losses: &mut Losses) {
        self.lost.iter().filter(|name| !IDLE.contains(name)).for_each(|name| losses.note_foreign("betas.", name));
    }
}

/// The betas that the cloud behind `platform` is known to take.
pub(crate) fn known_betas(platform: Platform) -> impl Iterator<Item = &'static str> {
    let is_taken = move |(_, bedrock, vertex): &&Row| if platform == Platform::Vertex { *vertex } else { *bedrock };
    ROWS.iter().filter(is_taken).map(|(beta, ..)| *beta)
}

/// Takes the fields out of `request` that a cloud knows only with betas which are not among `told`.
pub fn without_fields(request: &mut Request<'_>, told: &[&str], losses: &mut Losses) {
    if request.dialect != Dialect::Anthropic {
        return;
    }
    request.extras.retain(|(name, _)| {
        let stays = *name != *FALLBACKS || told.iter().any(|beta| beta.starts_with(FALLBACKS_BETA));
        losses.note_if(!stays, FALLBACKS);
        stays
    });
    for tool in &mut request.tools {
        let Tool::Function(tool) = tool else { continue };
        tool.extras.retain(|(name, value)| {
            let needs = TOOL_FIELDS.iter().find(|(field, _)| *name == **field);
            let stays = needs.is_none_or(|(field, beta)| *field != "eager_input_streaming" && told.contains(beta));
            if !stays && value.get() != "false" {
                losses.note_foreign("tools.", name);
            }
            stays
        });
        unscope(&mut tool.cache, &mut tool.extras, told);
    }
    let messages = request.messages.iter_mut().map(|message| &mut message.blocks);
    std::iter::once(&mut request.system).chain(messages).for_each(|blocks| unscope_all(blocks, told));
}

fn unscope_all(blocks: &mut [Block<'_>], told: &[&str]) {
    for Block { content, cache, extras, .. } in blocks {
        unscope(cache, extras, told);
        if let Content::ToolResult(result) = content {
            unscope_all(&mut result.content, told);
        }
    }
}

/// A mark with a scope becomes one without: the cache is the same, and less shared.
fn unscope<'a>(cache: &mut Option<CacheMark<'a>>, extras: &mut Extras<'a>, told: &[&str]) {
    let Some(at) = extras.iter().position(|(name, _)| *name == *"cache_control") else { return };
    let mark = extras[at].1.to_value();
    if told.contains(&CACHE_SCOPE) || mark.get("scope").is_none() || mark["type"] != "ephemeral" {
        return;
    }
    extras.remove(at);
    *cache = Some(CacheMark { ttl: mark["ttl"].as_str().map(|ttl| Str::from(ttl.to_owned())) });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::codec::{Call, Target, codec, testing};

    const CLAUDE_CODE: &str = "claude-code-20250219, interleaved-thinking-2025-05-14,advanced-tool-use-2025-11-20,\
        prompt-caching-scope-2026-01-05,oauth-2025-04-20,effort-2025-11-24";

    #[test]
    fn clouds_are_told_what_they_take() {
        assert_eq!(Betas::of(CLAUDE_CODE, Platform::Native, None), None);
        let of = |platform, taken: Option<&[String]>| {
            let betas = Betas::of(CLAUDE_CODE, platform, taken).unwrap();
            let mut losses = Losses::default();
            betas.note(&mut losses);
            (betas.told, losses.header_value())
        };
        let (thinking, effort) = ("interleaved-thinking-2025-05-14", "effort-2025-11-24");
        let scope = "betas.prompt-caching-scope-2026-01-05";
        assert_eq!(of(Platform::BedrockInvoke, None), (vec![thinking, TOOL_SEARCH, effort], scope.to_owned()));
        assert_eq!(of(Platform::Vertex, None), (vec![thinking, TOOL_SEARCH], format!("{scope},betas.{effort}")));
        let said = ["advanced-tool-use-2025-11-20".to_owned()];
        let (told, lost) = of(Platform::Vertex, Some(&said));
        assert_eq!((told, lost.split(',').count()), (vec![&*said[0]], 3));
        assert!(of(Platform::Native, Some(&[])).0.is_empty());
    }

    fn written(told: &[&str]) -> (Value, String) {
        let mark = json!({"type": "ephemeral", "ttl": "1h", "scope": "global"});
        let body = json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "s", "cache_control": mark}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "defer_loading": true, "eager_input_streaming": true,
                "input_examples": [{}], "allowed_callers": ["direct"]}]});
        let body = body.to_string();
        let mut request = codec(Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap();
        let mut losses = Losses::default();
        without_fields(&mut request, told, &mut losses);
        let target = Target { platform: Platform::Vertex, ..testing::target() };
        let body = codec(Dialect::Anthropic).encode_request(&request, &target, &mut losses).unwrap();
        (serde_json::from_slice(&body).unwrap(), losses.header_value())
    }

    #[test]
    fn fields_of_betas_that_are_not_told_stay_behind() {
        let (body, lost) = written(&[]);
        assert_eq!(body["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
        assert_eq!(body["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(
            body["tools"][0],
            json!({"name": "f", "input_schema": {"type": "object"}, "allowed_callers": ["direct"]})
        );
        assert_eq!(lost, "tools.defer_loading,tools.eager_input_streaming,tools.input_examples");
        let (body, _) = written(&[TOOL_SEARCH, CACHE_SCOPE]);
        assert_eq!(
            (&body["tools"][0]["defer_loading"], &body["system"][0]["cache_control"]["scope"]),
            (&json!(true), &json!("global"))
        );
    }
}
