//! `GET /v1/models` and `/v1/models/{id}`: what the key may use, in the shape that the client's headers ask for.

use std::collections::BTreeSet;

use ai_gateway_providers::Dialect;
use bytes::Bytes;
use http::StatusCode;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use serde_json::{Value, json};

use super::codex_models;
use crate::proxy::plan::route;
use crate::proxy::{Exchange, reply};

/// The mock provider has a model for every number in its table of behaviours; these stand for them.
const MOCK_MODELS: [&str; 4] = ["echo", "lorem-100", "reasoning", "tool-call"];

/// Answers without any upstream.
pub async fn answer(session: &mut Session, exchange: &mut Exchange) -> Result<()> {
    let dialect = exchange.dialect();
    let wanted = exchange.endpoint().and_then(|endpoint| endpoint.path_model.clone());
    let body = match wanted {
        None if dialect == Dialect::OpenAiChat && asked_by_codex(session) => codex_models::list(&usable(exchange)),
        None => list(dialect, &usable(exchange)),
        Some(name) => {
            let known = exchange.snapshot.model(&name).is_some();
            let allowed = exchange.key.as_ref().is_none_or(|key| key.may_use(exchange.snapshot.name(&name)));
            if !(known && allowed) {
                let error = route::unknown(exchange, &name);
                return reply::error(session, exchange, error).await;
            }
            entry(dialect, &name)
        }
    };
    exchange.status = 200;
    let header = ResponseHeader::build(StatusCode::OK, Some(6))?;
    reply::json(session, exchange, header, Bytes::from(body.to_string())).await
}

fn asked_by_codex(session: &Session) -> bool {
    let header = session.req_header();
    codex_models::asks(&header.headers, header.uri.query())
}

/// Names that can be listed: those under `[models]`, the mock's, and those that the key's allow-list spells out. Where there are none
/// under `[models]`, or the key is for a provider's models together, also those that the price map knows of the providers.
fn usable(exchange: &Exchange) -> BTreeSet<String> {
    let snapshot = &exchange.snapshot;
    let mut names: BTreeSet<String> = snapshot.model_names().into_iter().map(str::to_owned).collect();
    let all = names.is_empty() || exchange.key.as_ref().is_some_and(|key| key.names_providers());
    for provider in snapshot.providers() {
        let kind = provider.preset.kind;
        let mock = MOCK_MODELS.into_iter().filter(|_| kind == "mock");
        let known = if all { snapshot.prices.map.models_of(kind) } else { Vec::new() };
        names.extend(mock.chain(known).map(|model| format!("{}/{model}", provider.name)));
    }
    let Some(key) = &exchange.key else { return names };
    names.retain(|name| key.may_use(snapshot.name(name)));
    let spelt_out = key.plain_names().filter(|name| snapshot.model(name).is_some());
    names.extend(spelt_out.map(|name| snapshot.name(name).as_str().to_owned()));
    names
}

/// <https://platform.openai.com/docs/api-reference/models/list>, <https://docs.anthropic.com/en/api/models-list>,
/// <https://ai.google.dev/api/models>, <https://docs.cohere.com/reference/list-models>.
fn list(dialect: Dialect, names: &BTreeSet<String>) -> Value {
    let data: Vec<Value> = names.iter().map(|name| entry(dialect, name)).collect();
    match dialect {
        Dialect::Anthropic => json!({
            "data": data,
            "first_id": names.first(),
            "last_id": names.last(),
            "has_more": false,
        }),
        Dialect::Gemini | Dialect::Cohere => json!({ "models": data }),
        _ => json!({ "object": "list", "data": data }),
    }
}

fn entry(dialect: Dialect, name: &str) -> Value {
    match dialect {
        Dialect::Anthropic => {
            json!({ "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z" })
        }
        Dialect::Gemini => json!({
            "name": format!("models/{name}"),
            "baseModelId": name,
            "version": "1",
            "displayName": name,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        }),
        Dialect::Cohere => json!({ "name": name, "endpoints": ["chat"] }),
        _ => json!({ "id": name, "object": "model", "created": 0, "owned_by": "ai-gateway" }),
    }
}
