//! How a provider is asked: in which dialect, through whose API, and in which wire form where an operation has several.

use ai_gateway_providers::catalogue::{Reasons, Thinking, Traits};
use ai_gateway_providers::codec::Platform;
use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::operations::{Wire, translates};
use ai_gateway_providers::preset::{Cloud, UpstreamRequest, is_dated};
use ai_gateway_providers::{Dialect, Operation};

use super::Provider;

/// How a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The dialect that it is spoken to in.
    pub dialect: Dialect,
    /// Whose API carries that dialect.
    pub platform: Platform,
    /// What lies between the client and it.
    pub way: Way,
}

/// What lies between a client and a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One dialect on both sides.
    Straight,
    /// The codecs of two dialects; legacy completions become chat.
    Codecs,
    /// Another operation than chat, from the client's wire form to the provider's.
    Wires(Wire, Wire),
}

impl Provider {
    /// How it is asked for `endpoint` of `model`: in the client's own dialect where it can be, else in its preferred one that
    /// the request can be translated to; `None` if not at all.
    pub fn route(&self, endpoint: &Endpoint, model: &str) -> Option<Route> {
        let own = endpoint.dialect;
        // Requests of a batch name the model, each of them.
        let as_it_is = (own, endpoint.operation) != (Dialect::Gemini, Operation::Embeddings);
        if as_it_is && self.speaks(own, model) && self.preset.offers(own, endpoint.operation) {
            let route = self.by(own, Way::Straight);
            if endpoint.operation == Operation::Chat || route.platform == Platform::Native {
                return Some(route);
            }
        }
        let mut spoken = self.dialects.iter().copied().filter(|dialect| self.speaks(*dialect, model));
        match endpoint.operation {
            Operation::Chat | Operation::Completions => spoken
                .find(|dialect| self.preset.offers(*dialect, Operation::Chat))
                .map(|dialect| self.by(dialect, Way::Codecs)),
            operation => {
                let from = client_wire(endpoint)?;
                spoken.find_map(|dialect| {
                    let to = self.wire(dialect, operation, model, endpoint)?;
                    translates(operation, from, to).then(|| self.by(dialect, Way::Wires(from, to)))
                })
            }
        }
    }

    /// How a client of OpenAI's Chat reaches Gemini's own API there, beside Google's copy of OpenAI's; `None` where there is none.
    pub fn beside_chat(&self, model: &str) -> Option<Route> {
        self.speaks(Dialect::Gemini, model).then(|| self.by(Dialect::Gemini, Way::Codecs))
    }

    /// How clients of other dialects reach OpenAI's models that reason, beside Chat as `route` has it; `None` where that is all.
    pub fn in_responses(&self, route: Route, endpoint: &Endpoint, model: &str, traits: &Traits) -> Option<Route> {
        let chat =
            (endpoint.operation, route.way, route.dialect) == (Operation::Chat, Way::Codecs, Dialect::OpenAiChat);
        let reasons = traits.reasons != Reasons::Unknown && traits.thinking != Thinking::Unsupported;
        let says_more = chat && reasons && self.quirks.reasons_in_responses && !self.is_before_responses();
        (says_more && self.speaks(Dialect::OpenAiResponses, model))
            .then(|| self.by(Dialect::OpenAiResponses, Way::Codecs))
    }

    /// Whether Azure is asked in a version of its API that knows no Responses:
    /// <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/responses>.
    fn is_before_responses(&self) -> bool {
        let mut dated = self.api_version.iter().filter(|version| is_dated(version));
        dated.any(|version| version.as_str() < "2025-03-01")
    }

    fn by(&self, dialect: Dialect, way: Way) -> Route {
        Route { dialect, platform: self.platform(dialect), way }
    }

    /// The wire form in which `operation` is asked for in `dialect`; clouds choose it by the maker in the model's name.
    fn wire(&self, dialect: Dialect, operation: Operation, model: &str, endpoint: &Endpoint) -> Option<Wire> {
        use Operation::{CountTokens, Embeddings, Images, Rerank};
        let google_cloud = self.preset.cloud == Some(Cloud::Google);
        if !self.preset.offers(dialect, operation) {
            return None;
        }
        Some(match (dialect, operation) {
            (Dialect::OpenAiChat, Embeddings) => self.preset.vectors.unwrap_or(Wire::OpenAi),
            (Dialect::OpenAiChat, Rerank) => self.preset.vectors.unwrap_or(Wire::Jina),
            (Dialect::OpenAiChat, Images) => Wire::OpenAi,
            (Dialect::OpenAiResponses, CountTokens) => Wire::OpenAiResponses,
            (Dialect::Anthropic, CountTokens) if self.platform(dialect) != Platform::BedrockInvoke => Wire::Anthropic,
            (Dialect::Gemini, Images) if model.contains("imagen") => Wire::Vertex,
            (Dialect::Gemini, CountTokens | Embeddings) if google_cloud => Wire::Vertex,
            (Dialect::Gemini, Images | CountTokens) => Wire::Gemini,
            (Dialect::Gemini, Embeddings) if endpoint.suffix == ":embedContent" => Wire::Gemini,
            (Dialect::Gemini, Embeddings) => Wire::GeminiBatch,
            (Dialect::Bedrock, CountTokens) => Wire::Bedrock,
            (Dialect::Bedrock, Embeddings | Rerank) if model.contains("cohere.") => Wire::BedrockCohere,
            (Dialect::Bedrock, Embeddings) if model.contains("nova") => Wire::BedrockNova,
            (Dialect::Bedrock, Embeddings) => Wire::BedrockTitan,
            (Dialect::Bedrock, Rerank) => Wire::Bedrock,
            (Dialect::Cohere, Embeddings | Rerank) => Wire::Cohere,
            _ => return None,
        })
    }

    /// Path and query of `endpoint` for `model`, asked as `route` says; `None` if there is none for such a name of a model.
    /// `query` is the client's; it means nothing to another dialect.
    pub fn path_of(
        &self,
        route: Route,
        endpoint: &Endpoint,
        model: &str,
        stream: bool,
        query: Option<&str>,
    ) -> Option<String> {
        let straight = route.way == Way::Straight;
        let (operation, suffix) = match route.way {
            Way::Straight => (endpoint.operation, Some(&*endpoint.suffix)),
            Way::Codecs => (Operation::Chat, None),
            // Gemini's models paint in answers.
            Way::Wires(_, Wire::Gemini) if endpoint.operation == Operation::Images => (Operation::Chat, None),
            Way::Wires(_, Wire::Gemini) if endpoint.operation == Operation::Embeddings => {
                (Operation::Embeddings, Some(":embedContent"))
            }
            Way::Wires(..) => (endpoint.operation, None),
        };
        let query = query.filter(|_| straight);
        self.path(&UpstreamRequest { dialect: route.dialect, operation, suffix, model, stream, query })
    }
}

/// The wire form in which a client asks for something else than chat.
pub fn client_wire(endpoint: &Endpoint) -> Option<Wire> {
    Some(match (endpoint.dialect, endpoint.operation) {
        (Dialect::OpenAiChat, Operation::Embeddings | Operation::Images) => Wire::OpenAi,
        (Dialect::OpenAiChat, Operation::Rerank) => Wire::Jina,
        (Dialect::OpenAiResponses, Operation::CountTokens) => Wire::OpenAiResponses,
        (Dialect::Anthropic, Operation::CountTokens) => Wire::Anthropic,
        (Dialect::Gemini, Operation::CountTokens) => Wire::Gemini,
        (Dialect::Gemini, Operation::Embeddings) if endpoint.suffix == ":batchEmbedContents" => Wire::GeminiBatch,
        (Dialect::Gemini, Operation::Embeddings) => Wire::Gemini,
        (Dialect::Bedrock, Operation::CountTokens) => Wire::Bedrock,
        (Dialect::Cohere, Operation::Embeddings | Operation::Rerank) => Wire::Cohere,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::time::Instant;

    use ai_gateway_providers::endpoint::match_endpoint;
    use ai_gateway_providers::preset::{PRESETS, Preset};
    use http::{HeaderMap, Method};

    use super::*;
    use crate::config::{Config, System};
    use crate::health::Health;
    use crate::snapshot::Snapshot;

    /// Of each way in which a provider's models are named apart, one; others are named like none of them.
    const MODELS: [&str; 9] = [
        "any",
        "gemini-3-pro",
        "imagen-4",
        "claude-opus-5",
        "anthropic.claude-opus-5-v1:0",
        "cohere.rerank-v3-5:0",
        "amazon.nova-2-multimodal-embeddings-v1:0",
        "amazon.titan-embed-text-v2:0",
        "amazon.rerank-v1:0",
    ];

    /// Paths of all operations that go across dialects, in all forms that clients have for them.
    const PATHS: [&str; 12] = [
        "/v1/embeddings",
        "/v2/embed",
        "/v1beta/models/m:embedContent",
        "/v1beta/models/m:batchEmbedContents",
        "/v1/rerank",
        "/v2/rerank",
        "/v1/messages/count_tokens",
        "/v1/responses/input_tokens",
        "/v1beta/models/m:countTokens",
        "/model/m/count-tokens",
        "/v1/images/generations",
        "/v1/chat/completions",
    ];

    /// One account of every kind.
    fn accounts() -> String {
        let account = |preset: &Preset| {
            let more = match preset.cloud {
                Some(Cloud::Google) => "region = 'us-east5'\nproject = 'acme'\naccess_token = 't'",
                Some(Cloud::Aws) => "region = 'us-east-1'\napi_key = 'k'",
                Some(Cloud::Azure) | None => "api_key = 'k'",
            };
            let base = if preset.dialects.contains(&(Dialect::OpenAiChat, "")) { "/v1" } else { "" };
            format!("[providers.{0}]\nkind = '{0}'\nbase_url = 'http://127.0.0.1:1{base}'\n{more}\n", preset.kind)
        };
        PRESETS.iter().map(account).collect()
    }

    #[test]
    fn each_form_of_an_operation_has_a_provider_that_is_asked_in_it() {
        let loaded = Config::parse(&accounts(), "test.toml", &System).unwrap_or_else(|errors| panic!("{errors}"));
        let health = Arc::new(Health::new(Instant::now(), 1));
        let snapshot = Snapshot::build(&loaded.config, None, &health, &Arc::default()).unwrap();
        let endpoints = PATHS.map(|path| match_endpoint(&Method::POST, path, &HeaderMap::new()).unwrap());
        let mut asked = HashSet::new();
        for provider in snapshot.providers() {
            for endpoint in &endpoints {
                let routes = MODELS.iter().filter_map(|model| provider.route(endpoint, model));
                asked.extend(routes.filter_map(|route| match route.way {
                    Way::Wires(_, to) => Some((endpoint.operation, to)),
                    Way::Straight | Way::Codecs => None,
                }));
            }
        }
        for operation in Operation::ALL {
            for to in Wire::ALL.into_iter().filter(|to| Wire::ALL.iter().any(|from| translates(operation, *from, *to)))
            {
                assert!(asked.contains(&(operation, to)), "nobody is asked for {operation} in the form {to:?}");
            }
        }
    }
}
