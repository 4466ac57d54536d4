//! The table of provider kinds: what an account of each vendor looks like unless its row in the configuration says
//! otherwise. An OpenAI-compatible vendor is one row of [`PRESETS`] and nothing else.
//!
//! The rows are in `table.rs`; what a vendor's URLs look like is in `path.rs`; what it refuses of its own dialect in `refused.rs`; which of Anthropic's betas it takes in `betas.rs`.
//!
//! Sources: each vendor's own API reference, named at its row; read in November 2026.

mod betas;
mod path;
mod refused;
mod table;

use std::borrow::Cow;

pub(crate) use betas::known_betas;
pub use betas::{Betas, without_fields};
pub use path::{Account, UpstreamRequest, is_dated, upstream_path};
pub use table::PRESETS;

use crate::auth::AuthScheme;
use crate::codec::Platform;
use crate::dialect::{Dialect, Operation};
use crate::operations::Wire;

/// What is known of one kind of provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// The word after `kind =`.
    pub kind: &'static str,
    /// What the vendor's SDK calls its base URL, without a trailing slash. `None`: the account must say (Azure,
    /// `openai-compatible`), the region does ([`Cloud::origin`]), or the kind needs no upstream (`mock`).
    pub base_url: Option<&'static str>,
    /// The dialects it speaks, the preferred one first, each with what stands between the base URL's path and the
    /// endpoint's own path (see [`upstream_path`]).
    pub dialects: &'static [(Dialect, &'static str)],
    /// Where its key goes.
    pub auth: AuthScheme<&'static str>,
    /// Dialects whose endpoints want the key somewhere else.
    pub auth_of: &'static [(Dialect, AuthScheme<&'static str>)],
    /// The cloud whose own credentials it takes, as well as or instead of a key.
    pub cloud: Option<Cloud>,
    /// Whether it answers nobody without a credential.
    pub needs_key: bool,
    /// Environment variables that usually hold the credential, the preferred one first.
    pub key_env: &'static [&'static str],
    /// Environment variable that usually holds its address. The `…_BASE_URL` variables of the SDKs are not here on
    /// purpose: on a machine that uses this gateway they point at the gateway itself.
    pub address_env: Option<AddressEnv>,
    /// Headers it demands when the client's request carries none of that name.
    pub default_headers: &'static [(&'static str, &'static str)],
    /// Headers by which a client of this vendor alone says something, in lower case; an account may name more.
    pub forward: &'static [&'static str],
    /// Operations of its dialects that it certainly does not offer. An operation that is not listed may still be absent.
    pub not_offered: &'static [Operation],
    /// The same, of one of its dialects only.
    pub not_in: &'static [(Dialect, Operation)],
    /// Its own form of embeddings and rerank in OpenAI's dialect, where it is not OpenAI's and Jina's.
    pub vectors: Option<Wire>,
    /// Whether the usage of its answers tells what it charges, in US dollars ([`Usage::charged`](crate::Usage::charged)).
    pub tells_cost: bool,
    /// Where it differs from the dialect's reference.
    pub quirks: Quirks,
}

/// An environment variable that holds an address, and how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressEnv {
    /// A whole URL, used as the base URL.
    Url(&'static str),
    /// `host`, `host:port` or a URL: scheme, port and path are filled in from the preset's base URL.
    Host(&'static str),
}

impl AddressEnv {
    /// The variable's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Url(name) | Self::Host(name) => name,
        }
    }
}

/// Differences between a vendor and the dialect that it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// It refuses `stream_options` (and reports usage in the stream without being asked).
    pub no_stream_options: bool,
    /// It knows the deployments form of Azure OpenAI, chosen by `api_version`.
    pub azure_deployments: bool,
    /// OpenAI Chat: what it calls the most output tokens.
    pub limit: LimitSpelling,
    /// OpenAI Chat: it knows the role `developer`; the others know only `system`, which says the same everywhere.
    pub developer_role: bool,
    /// OpenAI Chat: it takes Anthropic's `cache_control` on content parts and tools (OpenRouter, LiteLLM and the like).
    pub cache_control: bool,
    /// OpenAI Chat: ids of tool calls must be nine letters or digits (Mistral).
    pub short_tool_ids: bool,
    /// Clients of other dialects have its models that reason asked in Responses, which says more: OpenAI, Azure, unless the account
    /// says itself what it speaks.
    pub reasons_in_responses: bool,
    /// OpenAI Chat: where reasoning is asked for and told.
    pub reasoning: ReasoningSpelling,
    /// OpenAI Chat: how it is asked to go on with what the last message, the assistant's, has begun.
    pub prefill: PrefillSpelling,
}

/// What an OpenAI-like vendor calls the most output tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitSpelling {
    /// `max_tokens`; some know `max_completion_tokens`, too, and so it stays if a client of this dialect says it.
    #[default]
    Either,
    /// `max_tokens` and nothing else.
    MaxTokens,
    /// `max_completion_tokens` (OpenAI, Azure).
    MaxCompletionTokens,
}

/// How an OpenAI-like vendor is asked to go on with a message of the assistant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrefillSpelling {
    /// There is no word for it.
    #[default]
    Unsaid,
    /// `"prefix": true` on the message (Mistral).
    Prefix,
    /// The same, under the path `/beta` only (DeepSeek): <https://api-docs.deepseek.com/guides/chat_prefix_completion>.
    PrefixInBeta,
    /// `"continue_final_message": true` and `"add_generation_prompt": false` (vLLM):
    /// <https://docs.vllm.ai/en/stable/serving/openai_compatible_server/>.
    ContinueFinalMessage,
}

/// How an OpenAI-like vendor spells reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReasoningSpelling {
    /// `reasoning_effort` in requests; `reasoning_content` where reasoning is shown (OpenAI, DeepSeek, vLLM, xAI, …).
    #[default]
    Effort,
    /// An object `reasoning` in requests; `reasoning` and `reasoning_details` in messages (OpenRouter).
    Object,
    /// Content parts of type `thinking` in messages (Mistral).
    Parts,
    /// `reasoning_effort` in requests; `reasoning` in messages (Cerebras, which refuses `reasoning_content`).
    Plain,
    /// `reasoning_effort` in requests, and no reasoning in their messages (Groq refuses `reasoning_content`, and of models that do not reason
    /// `reasoning`, which is left to clients of this dialect that say nothing else).
    Untold,
}

/// A cloud: its credentials are more than a key, and its addresses depend on a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon Web Services: requests are signed (Signature Version 4).
    Aws,
    /// Google Cloud: OAuth access tokens.
    Google,
    /// Azure: Entra ID access tokens.
    Azure,
}

impl PrefillSpelling {
    /// Whether the answer repeats what it was to go on with: Mistral's does (<https://github.com/vercel/ai/pull/3256>).
    #[must_use]
    pub const fn echoes(self) -> bool {
        matches!(self, Self::Prefix)
    }

    /// The path that `path`, of a request with a beginning of the answer, is asked at.
    #[must_use]
    pub fn path(self, path: String) -> String {
        match self {
            Self::PrefixInBeta if !path.starts_with("/beta/") => {
                format!("/beta{}", path.strip_prefix("/v1").unwrap_or(&path))
            }
            Self::Unsaid | Self::Prefix | Self::PrefixInBeta | Self::ContinueFinalMessage => path,
        }
    }
}

impl Cloud {
    /// The bare origin of its AI service in `region`; `None` where the region does not decide it.
    ///
    /// <https://docs.aws.amazon.com/general/latest/gr/bedrock.html>,
    /// <https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations>
    pub fn origin(self, region: &str) -> Option<String> {
        match (self, region) {
            (Self::Aws, region) if region.starts_with("cn-") => {
                Some(format!("https://bedrock-runtime.{region}.amazonaws.com.cn"))
            }
            (Self::Aws, region) => Some(format!("https://bedrock-runtime.{region}.amazonaws.com")),
            (Self::Google, "global") => Some("https://aiplatform.googleapis.com".to_owned()),
            (Self::Google, "us" | "eu") => Some(format!("https://aiplatform.{region}.rep.googleapis.com")),
            (Self::Google, region) => Some(format!("https://{region}-aiplatform.googleapis.com")),
            (Self::Azure, _) => None,
        }
    }
}

impl Preset {
    /// The preset of `kind`.
    pub fn find(kind: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.kind == kind)
    }

    /// Whether it speaks `dialect` unless its account says otherwise.
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.dialects.iter().any(|(spoken, _)| *spoken == dialect)
    }

    /// Whether it may offer `operation` in `dialect`: `false` where the dialect has no such operation or the vendor
    /// certainly has no such endpoint.
    pub fn offers(&self, dialect: Dialect, operation: Operation) -> bool {
        path::exists(dialect, operation)
            && !self.not_offered.contains(&operation)
            && !self.not_in.contains(&(dialect, operation))
    }

    /// Whether `model` may be asked for in `dialect`. Clouds that carry the API of each model's maker tell by the model's
    /// name; everybody else speaks each dialect for all models.
    pub fn carries(&self, dialect: Dialect, model: &str) -> bool {
        match (self.cloud, dialect) {
            // `us.anthropic.claude-…`, and ARNs that end so. A router chooses among several models.
            (Some(Cloud::Aws), Dialect::Anthropic) => model.contains("anthropic.") && !model.contains("prompt-router/"),
            (Some(Cloud::Google), Dialect::Anthropic) => is_claude(model),
            (Some(Cloud::Google), Dialect::Gemini) => !is_claude(model),
            _ => true,
        }
    }

    /// Collections whose models go without them, too, where models are resources.
    /// <https://ai.google.dev/api/models>, <https://cloud.google.com/vertex-ai/docs/reference/rest/v1/publishers.models>
    pub fn collections(&self) -> &'static [&'static str] {
        match (self.kind, self.cloud) {
            ("gemini", _) => &["models/"],
            (_, Some(Cloud::Google)) => &["publishers/google/models/", CLAUDE],
            _ => &[],
        }
    }

    /// That of [`Self::collections`] which may stand before `model` and names the same one with it; empty where none may.
    pub fn resource(&self, model: &str) -> &'static str {
        match self.collections() {
            [_, anthropic] if is_claude(model) => anthropic,
            [own, ..] => own,
            [] => "",
        }
    }

    /// `model` without its collection, which names the same one.
    pub fn plain<'m>(&self, model: &'m str) -> &'m str {
        let resource = self.resource(model);
        let is_in = |plain: &&str| !plain.contains('/') && self.resource(plain) == resource;
        model.strip_prefix(resource).filter(is_in).unwrap_or(model)
    }

    /// Whose API carries `dialect` there: what codecs must know of it.
    pub fn platform(&self, dialect: Dialect) -> Platform {
        match (self.cloud, dialect) {
            (Some(Cloud::Google), Dialect::Gemini | Dialect::Anthropic) => Platform::Vertex,
            (Some(Cloud::Aws), Dialect::Anthropic) => Platform::BedrockInvoke,
            _ => Platform::Native,
        }
    }

    /// Its base URL: the table's, or the one of `region`.
    pub fn base_url_in(&self, region: Option<&str>) -> Option<Cow<'static, str>> {
        match (self.base_url, self.cloud, region) {
            (Some(url), ..) => Some(Cow::Borrowed(url)),
            (None, Some(cloud), Some(region)) => cloud.origin(region).map(Cow::Owned),
            (None, ..) => None,
        }
    }

    fn prefix(&self, dialect: Dialect) -> &'static str {
        self.dialects.iter().find(|(spoken, _)| *spoken == dialect).map_or("", |(_, prefix)| prefix)
    }
}

const CLAUDE: &str = "publishers/anthropic/models/";

/// Vertex names Anthropic's models `claude-…`, or by their path.
fn is_claude(model: &str) -> bool {
    model.strip_prefix(CLAUDE).unwrap_or(model).starts_with("claude")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        let mut kinds: Vec<_> = PRESETS.iter().map(|preset| preset.kind).collect();
        let count = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), count, "a kind is listed twice");
        for preset in PRESETS {
            assert!(!preset.dialects.is_empty(), "{}", preset.kind);
            if let Some(url) = preset.base_url {
                assert!(!url.ends_with('/') && url.starts_with("http"), "{}: {url}", preset.kind);
                assert!(
                    url.starts_with("https://") || !preset.needs_key,
                    "{} would send its key in the clear",
                    preset.kind
                );
            }
            assert!(!preset.needs_key || preset.cloud.is_some() || !preset.key_env.is_empty(), "{}", preset.kind);
            for (_, prefix) in preset.dialects {
                assert!(prefix.is_empty() || (prefix.starts_with('/') && !prefix.ends_with('/')), "{}", preset.kind);
            }
        }
    }

    #[test]
    fn every_vendor_of_the_issue_is_there() {
        for kind in "openai azure anthropic gemini mistral groq xai deepseek together fireworks openrouter perplexity \
                     cerebras sambanova deepinfra nvidia huggingface ollama vllm lmstudio openai-compatible mock \
                     bedrock vertex cohere voyage jina"
            .split_whitespace()
        {
            assert!(Preset::find(kind).is_some(), "{kind}");
        }
    }

    #[test]
    fn addresses_of_the_regions() {
        for (kind, region, url) in [
            ("bedrock", "eu-central-1", "https://bedrock-runtime.eu-central-1.amazonaws.com"),
            ("bedrock", "cn-north-1", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
            ("vertex", "us-east5", "https://us-east5-aiplatform.googleapis.com"),
            ("vertex", "global", "https://aiplatform.googleapis.com"),
            ("vertex", "eu", "https://aiplatform.eu.rep.googleapis.com"),
            ("cohere", "anywhere", "https://api.cohere.com"),
        ] {
            assert_eq!(Preset::find(kind).unwrap().base_url_in(Some(region)).as_deref(), Some(url));
        }
        assert_eq!(Preset::find("azure").unwrap().base_url_in(Some("x")), None);
    }

    #[test]
    fn clouds_carry_the_makers_apis() {
        let (vertex, bedrock) = (Preset::find("vertex").unwrap(), Preset::find("bedrock").unwrap());
        assert!(
            vertex.carries(Dialect::Anthropic, "claude-sonnet-4-5@1") && !vertex.carries(Dialect::Gemini, "claude-x")
        );
        assert!(vertex.carries(Dialect::Gemini, "gemini-3-pro") && !vertex.carries(Dialect::Anthropic, "gemini-3-pro"));
        assert!(bedrock.carries(Dialect::Anthropic, "us.anthropic.claude-x-v1:0"));
        assert!(bedrock.carries(Dialect::Bedrock, "us.anthropic.claude-x-v1:0"));
        assert!(!bedrock.carries(Dialect::Anthropic, "amazon.nova-pro-v1:0"));
        // Off the diagonal the first that carries the model is spoken: Claude's own API knows more of Claude than Converse.
        let off = |model| bedrock.dialects.iter().find(|(dialect, _)| bedrock.carries(*dialect, model)).unwrap().0;
        assert_eq!(off("us.anthropic.claude-x-v1:0"), Dialect::Anthropic);
        assert_eq!(off("amazon.nova-pro-v1:0"), Dialect::Bedrock);
        assert_eq!(off("arn:aws:bedrock:us-east-1:1:application-inference-profile/mi1dadi0g15f"), Dialect::Bedrock);
        assert_eq!(off("arn:aws:bedrock:us-east-1:1:default-prompt-router/anthropic.claude:1"), Dialect::Bedrock);
        assert_eq!(vertex.platform(Dialect::Gemini), Platform::Vertex);
        assert_eq!(bedrock.platform(Dialect::Anthropic), Platform::BedrockInvoke);
        assert_eq!(bedrock.platform(Dialect::Bedrock), Platform::Native);
        let gemini = Preset::find("gemini").unwrap();
        assert_eq!(gemini.auth_of, [(Dialect::OpenAiChat, AuthScheme::Bearer)]);
        assert_eq!(gemini.auth, AuthScheme::Header("x-goog-api-key"));
    }
}
