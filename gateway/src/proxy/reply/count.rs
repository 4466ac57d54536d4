//! Token counts for models whose providers do not count: a real tokenizer's estimate, marked as one.

use ai_gateway_providers::codec::Call;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::operations::count_tokens;
use ai_gateway_providers::{Dialect, Operation};
use bytes::Bytes;
use http::StatusCode;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::proxy::reply::Stopped;
use crate::proxy::waiting::aside::awaited;
use crate::proxy::{Exchange, reply};
use crate::snapshot::client_wire;

/// Says that a count is the gateway's own.
const ESTIMATE: &str = "x-gateway-estimate";
/// The name under which Vertex AI counts for Claude, as if it were a model.
const COUNTER: &str = "models/count-tokens";

/// Whether the exchange asks for a count that none of the model's providers makes.
pub fn is_ours(exchange: &Exchange) -> bool {
    let Some(request) = &exchange.request else { return false };
    let endpoint = &request.endpoint;
    let counts = |target: &crate::snapshot::Target| target.provider.route(endpoint, &target.model).is_some();
    endpoint.operation == Operation::CountTokens
        && client_wire(endpoint).is_some()
        && !request.model.targets.iter().any(|target| counts(target))
}

/// Whether the exchange asked for a count, and the provider that was asked last makes none: of this model, or at all. `error`: what
/// it said, once that is known.
pub fn is_refused(exchange: &Exchange, error: Option<&ApiError>) -> bool {
    let says = |words: &str| error.is_some_and(|error| error.message.to_ascii_lowercase().contains(words));
    exchange.endpoint().is_some_and(|it| it.operation == Operation::CountTokens && client_wire(it).is_some())
        && match exchange.attempt().and_then(|attempt| attempt.status) {
            // Bedrock says so of most models, and of Claude's inference profiles; Vertex AI of some of Claude's, and in most regions.
            Some(400) => ["support counting tokens", "supported for token counting", COUNTER].into_iter().any(says),
            Some(404) => {
                says(COUNTER) || error.is_some_and(|error| error.kind != ErrorKind::ModelNotFound) && !says("model")
            }
            Some(405 | 501) => true,
            // A key of OpenAI's may be good for chat and not for Responses.
            Some(401 | 403) => is_told_in_responses(exchange),
            Some(_) | None => false,
        }
}

/// Whether the client of another API is counted for by OpenAI's Responses, which its chats do not need.
fn is_told_in_responses(exchange: &Exchange) -> bool {
    let responses = Dialect::OpenAiResponses;
    exchange.dialect() != responses
        && exchange.attempt().is_some_and(|attempt| attempt.encoded.route.dialect == responses)
}

/// Answers without any upstream.
///
/// # Errors
/// Something is wrong with the request, or the client is gone.
pub async fn answer(session: &mut Session, exchange: &mut Exchange) -> Result<(), Stopped> {
    let body = estimate(exchange).await?;
    exchange.status = 200;
    let mut header = ResponseHeader::build(StatusCode::OK, Some(6))?;
    header.insert_header(ESTIMATE, "true")?;
    Ok(reply::json(session, exchange, header, body).await?)
}

/// A long text takes its time, which no other request shall wait for.
async fn estimate(exchange: &Exchange) -> Result<Bytes, ApiError> {
    let request = exchange.asked()?;
    let (endpoint, body) = (request.endpoint.clone(), request.body.clone());
    let counted = awaited(move || {
        let wire = client_wire(&endpoint)
            .ok_or_else(|| ApiError::new(ErrorKind::NotSupported, "this API has no token counts"))?;
        count_tokens::local_answer(wire, &body, &Call { model: endpoint.path_model.as_deref(), stream: false })
    });
    let answered = counted.await.map_err(|_| ApiError::new(ErrorKind::Internal, "the count failed"))??;
    Ok(answered.body.into())
}
