//! How a client of each dialect asks for a chat, and what it makes of the stream that it gets.

use ai_gateway_providers::codec::{Maker, Platform, codec};
use ai_gateway_providers::common::{Collector, ProviderTag, Response};
use ai_gateway_providers::{ApiError, Dialect};

/// The path of a chat, with the model where the path names it.
pub fn target_of(dialect: Dialect, model: &str, stream: bool) -> String {
    let in_path = model.replace('/', "%2F");
    match dialect {
        Dialect::OpenAiChat => "/v1/chat/completions".to_owned(),
        Dialect::OpenAiResponses => "/v1/responses".to_owned(),
        Dialect::Anthropic => "/v1/messages".to_owned(),
        Dialect::Gemini if stream => format!("/v1beta/models/{in_path}:streamGenerateContent?alt=sse"),
        Dialect::Gemini => format!("/v1beta/models/{in_path}:generateContent"),
        Dialect::Bedrock if stream => format!("/model/{in_path}/converse-stream"),
        Dialect::Bedrock => format!("/model/{in_path}/converse"),
        Dialect::Cohere | Dialect::Own(_) => "/v2/chat".to_owned(),
    }
}

/// What a stream adds up to.
///
/// # Errors
/// The error that it reports, or that it broke off.
pub fn read_stream(dialect: Dialect, body: &[u8]) -> Result<Response<'static>, ApiError> {
    let maker =
        Maker { provider: ProviderTag::of("client"), platform: Platform::Native, model: "m", id_seed: "client" };
    let mut collector = Collector::new(dialect);
    codec(dialect).stream_decoder(&maker).feed(body, true, &mut |event| collector.feed(&event));
    collector.finish()
}
