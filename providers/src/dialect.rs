//! The wire formats ([`Dialect`]) and what is asked in them ([`Operation`]).

use std::fmt;
use std::str::FromStr;

use bounded_static::ToStatic;
use serde::{Serialize, Serializer};

use crate::own::Own;

/// The wire format of an API family.
#[derive(Clone, Copy, Debug, ToStatic, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// OpenAI Chat Completions and the OpenAI operations around it (embeddings, images, audio, …):
    /// <https://platform.openai.com/docs/api-reference/chat>.
    OpenAiChat,
    /// OpenAI Responses: <https://platform.openai.com/docs/api-reference/responses>.
    OpenAiResponses,
    /// Anthropic Messages: <https://docs.anthropic.com/en/api/messages>.
    Anthropic,
    /// Gemini's `generateContent` family: <https://ai.google.dev/api/generate-content>.
    Gemini,
    /// Amazon Bedrock Converse: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.
    Bedrock,
    /// Cohere v2: <https://docs.cohere.com/reference/chat>.
    Cohere,
    /// One that the program which embeds the gateway brings along.
    Own(Own),
}

impl Dialect {
    /// The built-in dialects, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic, Self::Gemini, Self::Bedrock, Self::Cohere];

    /// The name used in configuration, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Own(own) => own.name(),
        }
    }

    /// Whether a request names its model in the body; the others do in the path. Azure's older API does in both.
    #[must_use]
    pub const fn names_model_in_body(self) -> bool {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::Anthropic | Self::Cohere => true,
            Self::Gemini | Self::Bedrock | Self::Own(_) => false,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Dialect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A name that no built-in dialect has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dialect {0:?}, expected openai-chat, openai-responses, anthropic, gemini, bedrock or cohere")]
pub struct UnknownDialect(pub String);

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        Self::ALL.into_iter().find(|d| d.as_str() == name).ok_or_else(|| UnknownDialect(name.to_owned()))
    }
}

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A conversation turn: Chat Completions, Responses, Messages, Converse.
    Chat,
    /// Legacy text completion.
    Completions,
    /// Vectors for texts.
    Embeddings,
    /// Documents ordered by relevance to a query.
    Rerank,
    /// Image generation, edits and variations.
    Images,
    /// Text to audio.
    Speech,
    /// Audio to text, also translated into English.
    Transcription,
    /// Classification of harmful content.
    Moderation,
    /// How many tokens a chat request would take.
    CountTokens,
    /// The models that exist.
    Models,
    /// An answer that a provider keeps: retrieved, deleted, cancelled, its input listed (Responses).
    Stored,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Rerank,
        Self::Images,
        Self::Speech,
        Self::Transcription,
        Self::Moderation,
        Self::CountTokens,
        Self::Models,
        Self::Stored,
    ];

    /// Whether an answer costs something at most providers.
    #[must_use]
    pub const fn costs(self) -> bool {
        match self {
            Self::Chat
            | Self::Completions
            | Self::Embeddings
            | Self::Rerank
            | Self::Images
            | Self::Speech
            | Self::Transcription => true,
            Self::Moderation | Self::CountTokens | Self::Models | Self::Stored => false,
        }
    }

    /// The name used in configuration, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::Speech => "speech",
            Self::Transcription => "transcription",
            Self::Moderation => "moderation",
            Self::CountTokens => "count_tokens",
            Self::Models => "models",
            Self::Stored => "stored",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_round_trips_in_text() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.as_str().parse::<Dialect>().unwrap(), dialect);
            assert_eq!(serde_json::to_string(&dialect).unwrap(), format!("{:?}", dialect.as_str()));
        }
        assert!("openai".parse::<Dialect>().unwrap_err().to_string().contains("openai-chat"));
    }
}
