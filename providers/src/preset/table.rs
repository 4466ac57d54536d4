//! The rows: one per kind.

use super::{AddressEnv, Cloud, LimitSpelling, PrefillSpelling, Preset, Quirks, ReasoningSpelling};
use crate::auth::AuthScheme;
use crate::dialect::{Dialect, Operation};
use crate::operations::Wire;

use Operation::{Chat, Completions, CountTokens, Embeddings, Images, Moderation, Rerank, Speech, Transcription};

const CHAT: (Dialect, &str) = (Dialect::OpenAiChat, "");
const RESPONSES: (Dialect, &str) = (Dialect::OpenAiResponses, "");
const MESSAGES: (Dialect, &str) = (Dialect::Anthropic, "");

const REFERENCE: Quirks = Quirks {
    no_stream_options: false,
    azure_deployments: false,
    limit: LimitSpelling::Either,
    developer_role: false,
    cache_control: false,
    short_tool_ids: false,
    reasons_in_responses: false,
    reasoning: ReasoningSpelling::Effort,
    prefill: PrefillSpelling::Unsaid,
};
/// OpenAI's own API, and Azure's.
const OPENAI: Quirks =
    Quirks { limit: LimitSpelling::MaxCompletionTokens, developer_role: true, reasons_in_responses: true, ..REFERENCE };

/// What makers of embeddings and rerankers do not offer.
const NO_TEXT: &[Operation] = &[Chat, Completions, Images, Speech, Transcription, Moderation];

/// An OpenAI-compatible vendor that wants a bearer key: the row that most rows differ from in a field or two.
const fn vendor(kind: &'static str, base_url: &'static str, key_env: &'static [&'static str]) -> Preset {
    Preset {
        kind,
        base_url: Some(base_url),
        dialects: &[CHAT],
        auth: AuthScheme::Bearer,
        auth_of: &[],
        cloud: None,
        needs_key: true,
        key_env,
        address_env: None,
        default_headers: &[],
        forward: &[],
        not_offered: &[],
        // OpenAI's alone; also Azure has none: https://github.com/openai/openai-dotnet/issues/1165
        not_in: &[(Dialect::OpenAiResponses, CountTokens)],
        vectors: None,
        tells_cost: false,
        quirks: REFERENCE,
    }
}

/// A server on this machine that wants no key unless it was started with one.
const fn local(kind: &'static str, base_url: &'static str) -> Preset {
    Preset { needs_key: false, dialects: &[CHAT, RESPONSES, MESSAGES], ..vendor(kind, base_url, &[]) }
}

/// Every kind that can be used, in the order in which the environment is searched for accounts.
pub static PRESETS: &[Preset] = &[
    // https://platform.openai.com/docs/api-reference
    Preset {
        dialects: &[CHAT, RESPONSES],
        not_offered: &[Rerank],
        not_in: &[],
        quirks: OPENAI,
        ..vendor("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
    },
    // https://docs.anthropic.com/en/api/overview
    Preset {
        dialects: &[MESSAGES],
        auth: AuthScheme::Header("x-api-key"),
        default_headers: &[("anthropic-version", "2023-06-01")],
        ..vendor("anthropic", "https://api.anthropic.com", &["ANTHROPIC_API_KEY"])
    },
    // https://learn.microsoft.com/en-us/azure/ai-foundry/openai/latest
    Preset {
        base_url: None,
        dialects: &[(Dialect::OpenAiChat, "/openai/v1"), (Dialect::OpenAiResponses, "/openai/v1")],
        auth: AuthScheme::Header("api-key"),
        cloud: Some(Cloud::Azure),
        address_env: Some(AddressEnv::Url("AZURE_OPENAI_ENDPOINT")),
        not_offered: &[Rerank, Moderation],
        quirks: Quirks { azure_deployments: true, ..OPENAI },
        ..vendor("azure", "", &["AZURE_OPENAI_API_KEY"])
    },
    // https://ai.google.dev/api, https://ai.google.dev/gemini-api/docs/openai
    Preset {
        dialects: &[(Dialect::Gemini, ""), (Dialect::OpenAiChat, "/v1beta/openai")],
        auth: AuthScheme::Header("x-goog-api-key"),
        auth_of: &[(Dialect::OpenAiChat, AuthScheme::Bearer)],
        not_offered: &[Completions, Rerank, Moderation],
        ..vendor("gemini", "https://generativelanguage.googleapis.com", &["GEMINI_API_KEY", "GOOGLE_API_KEY"])
    },
    // https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest; Claude:
    // https://docs.anthropic.com/en/api/claude-on-vertex-ai
    Preset {
        base_url: None,
        dialects: &[(Dialect::Gemini, ""), MESSAGES],
        cloud: Some(Cloud::Google),
        // Provisioned throughput or not, and at which priority: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo
        forward: &["x-vertex-ai-llm-request-type", "x-vertex-ai-llm-shared-request-type"],
        not_offered: &[Completions, Rerank, Moderation],
        ..vendor("vertex", "", &[])
    },
    // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html; Claude:
    // https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
    Preset {
        base_url: None,
        dialects: &[MESSAGES, (Dialect::Bedrock, "")],
        cloud: Some(Cloud::Aws),
        not_offered: &[Completions, Speech, Transcription, Moderation],
        ..vendor("bedrock", "", &["AWS_BEARER_TOKEN_BEDROCK"])
    },
    // https://docs.cohere.com/reference/about, https://docs.cohere.com/docs/compatibility-api (which refuses
    // `stream_options`)
    Preset {
        dialects: &[(Dialect::Cohere, ""), (Dialect::OpenAiChat, "/compatibility/v1")],
        not_offered: &[Completions, Images, Speech, Transcription, Moderation, CountTokens],
        not_in: &[(Dialect::OpenAiChat, Rerank)],
        quirks: Quirks { no_stream_options: true, ..REFERENCE },
        ..vendor("cohere", "https://api.cohere.com", &["CO_API_KEY", "COHERE_API_KEY"])
    },
    // https://docs.mistral.ai/api
    Preset {
        not_offered: &[Rerank, Images],
        quirks: Quirks {
            no_stream_options: true,
            limit: LimitSpelling::MaxTokens,
            short_tool_ids: true,
            reasoning: ReasoningSpelling::Parts,
            prefill: PrefillSpelling::Prefix,
            ..REFERENCE
        },
        ..vendor("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"])
    },
    // https://console.groq.com/docs/openai
    Preset {
        dialects: &[CHAT, RESPONSES],
        not_offered: &[Completions, Rerank, Images, Moderation],
        quirks: Quirks { reasoning: ReasoningSpelling::Untold, ..REFERENCE },
        ..vendor("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"])
    },
    // https://docs.x.ai/docs/api-reference (its Anthropic endpoint is deprecated)
    Preset {
        dialects: &[CHAT, RESPONSES],
        // By which its prompt cache finds the conversation: https://docs.x.ai/developers/advanced-api-usage/prompt-caching/maximizing-cache-hits
        forward: &["x-grok-conv-id"],
        not_offered: &[Rerank, Moderation],
        ..vendor("xai", "https://api.x.ai/v1", &["XAI_API_KEY"])
    },
    // https://api-docs.deepseek.com
    Preset {
        dialects: &[CHAT, RESPONSES, (Dialect::Anthropic, "/anthropic")],
        not_offered: &[Embeddings, Rerank, Images, Speech, Transcription, Moderation],
        quirks: Quirks { limit: LimitSpelling::MaxTokens, prefill: PrefillSpelling::PrefixInBeta, ..REFERENCE },
        ..vendor("deepseek", "https://api.deepseek.com", &["DEEPSEEK_API_KEY"])
    },
    // https://docs.together.ai/docs/openai-api-compatibility
    Preset { not_offered: &[Moderation], ..vendor("together", "https://api.together.ai/v1", &["TOGETHER_API_KEY"]) },
    // https://docs.fireworks.ai/tools-sdks/openai-compatibility, …/anthropic-compatibility
    Preset {
        dialects: &[CHAT, RESPONSES, MESSAGES],
        // The same: https://docs.fireworks.ai/guides/prompt-caching, https://reference.langchain.com/python/langchain-fireworks/middleware
        forward: &["x-session-affinity"],
        not_offered: &[Moderation],
        ..vendor("fireworks", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"])
    },
    // https://openrouter.ai/docs/api-reference
    Preset {
        dialects: &[CHAT, RESPONSES, MESSAGES],
        not_offered: &[Moderation],
        tells_cost: true,
        quirks: Quirks { cache_control: true, reasoning: ReasoningSpelling::Object, ..REFERENCE },
        ..vendor("openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"])
    },
    // https://docs.perplexity.ai/api-reference (every chunk of a stream carries usage)
    Preset {
        not_offered: &[Completions, Rerank, Images, Speech, Transcription, Moderation],
        quirks: Quirks { no_stream_options: true, ..REFERENCE },
        ..vendor("perplexity", "https://api.perplexity.ai", &["PERPLEXITY_API_KEY", "PPLX_API_KEY"])
    },
    // https://inference-docs.cerebras.ai/resources/openai, …/capabilities/reasoning
    Preset {
        not_offered: &[Embeddings, Rerank, Images, Speech, Transcription, Moderation],
        quirks: Quirks { reasoning: ReasoningSpelling::Plain, ..REFERENCE },
        ..vendor("cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"])
    },
    // https://docs.sambanova.ai/docs/en/features/openai-compatibility, …/anthropic-compatibility
    Preset {
        dialects: &[CHAT, RESPONSES, MESSAGES],
        not_offered: &[Rerank, Moderation],
        ..vendor("sambanova", "https://api.sambanova.ai/v1", &["SAMBANOVA_API_KEY"])
    },
    // https://deepinfra.com/docs/openai_api
    Preset {
        not_offered: &[Rerank, Moderation],
        ..vendor("deepinfra", "https://api.deepinfra.com/v1/openai", &["DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"])
    },
    // https://docs.api.nvidia.com/nim/reference/llm-apis
    Preset {
        not_offered: &[Images, Speech, Transcription, Moderation],
        ..vendor("nvidia", "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"])
    },
    // https://huggingface.co/docs/inference-providers
    Preset {
        dialects: &[CHAT, RESPONSES],
        not_offered: &[Completions, Embeddings, Rerank, Images, Speech, Transcription, Moderation],
        ..vendor("huggingface", "https://router.huggingface.co/v1", &["HF_TOKEN", "HUGGINGFACE_API_KEY"])
    },
    // https://docs.voyageai.com/reference
    Preset {
        not_offered: NO_TEXT,
        vectors: Some(Wire::Voyage),
        ..vendor("voyage", "https://api.voyageai.com/v1", &["VOYAGE_API_KEY"])
    },
    // https://api.jina.ai/redoc
    Preset {
        not_offered: NO_TEXT,
        vectors: Some(Wire::Jina),
        ..vendor("jina", "https://api.jina.ai/v1", &["JINA_API_KEY"])
    },
    // https://docs.ollama.com/api/openai-compatibility, …/anthropic-compatibility
    Preset {
        address_env: Some(AddressEnv::Host("OLLAMA_HOST")),
        not_offered: &[Rerank, Moderation],
        ..local("ollama", "http://127.0.0.1:11434/v1")
    },
    // https://docs.vllm.ai/en/stable/serving/online_serving.html
    Preset {
        not_offered: &[Moderation],
        quirks: Quirks { prefill: PrefillSpelling::ContinueFinalMessage, ..REFERENCE },
        ..local("vllm", "http://127.0.0.1:8000/v1")
    },
    // https://lmstudio.ai/docs/developer/openai-compat, …/anthropic-compat
    Preset {
        not_offered: &[Rerank, Images, Speech, Transcription, Moderation],
        ..local("lmstudio", "http://127.0.0.1:1234/v1")
    },
    Preset { base_url: None, needs_key: false, ..vendor("openai-compatible", "", &[]) },
    // The gateway's own mock: inside the process, or at a base URL where `ai-gateway mock` listens.
    Preset {
        base_url: None,
        dialects: &[CHAT, RESPONSES, MESSAGES, (Dialect::Gemini, ""), (Dialect::Bedrock, ""), (Dialect::Cohere, "")],
        ..local("mock", "")
    },
];
