//! The header that a provider gets: from a clean slate, so that nothing passes that is not meant to.

use std::borrow::Cow;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::Platform;
use ai_gateway_providers::endpoint::BodyKind;
use http::header::HeaderName;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use sha2::{Digest, Sha256};

use super::Attempt;
use super::encode;
use super::outcome::Outcome;
use crate::proxy::plugins::Run;
use crate::proxy::{Exchange, plugins, trace};

/// Client headers that mean something to any provider and nothing to an attacker. Everything else stays behind (credentials, cookies,
/// hop-by-hop headers, the client's own organisation), but for what the provider's own `forward` names.
const FORWARDED: [&str; 12] = [
    "content-type",
    "accept",
    "user-agent",
    IDEMPOTENCY_KEY,
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "http-referer",
    "x-title",
    "x-client-request-id",
    "traceparent",
    "tracestate",
];
/// Marks requests that are to have one answer.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Those of them that mean something in one dialect only.
const OF_DIALECT: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];

/// Writes the header of the current attempt's request.
pub fn write_header(session: &Session, upstream: &mut RequestHeader, exchange: &mut Exchange) -> Result<()> {
    let Some(attempt) = exchange.attempt() else {
        return Error::e_explain(ErrorType::InternalError, "no attempt was made");
    };
    let mut header = match header_for(attempt, session.req_header(), exchange, exchange.plugins.as_deref()) {
        Ok(header) => header,
        Err(error) => {
            exchange.end_attempt(Outcome::Withheld);
            return Err(error);
        }
    };
    header.set_version(upstream.version);
    *upstream = header;
    Ok(())
}

/// The header of `attempt`'s request, from a clean slate. `client`: what the client sent. `plugins`: those that it goes through.
pub fn header_for(
    attempt: &Attempt,
    client: &RequestHeader,
    exchange: &Exchange,
    plugins: Option<&Run>,
) -> Result<RequestHeader> {
    let Some(request) = &exchange.request else {
        return Error::e_explain(ErrorType::InternalError, "there is no request");
    };
    let endpoint = &request.endpoint;
    let provider = &attempt.target.provider;
    let query = client.uri.query().map(without_credentials).filter(|query| !query.is_empty());
    let stream = request.wants_stream();
    let Some(path) = provider.path_of(attempt.encoded.route, endpoint, &attempt.target.model, stream, query.as_deref())
    else {
        return Error::e_explain(ErrorType::InternalError, "the request has no path at this provider");
    };
    let goes_on = exchange.resume.is_some() && attempt.encoded.route.dialect == Dialect::OpenAiChat;
    let path = if goes_on { provider.quirks.prefill.path(path) } else { path };
    let mut header = RequestHeader::build_no_case(client.method.clone(), path.as_bytes(), Some(16))?;
    header.insert_header(http::header::HOST, &provider.authority)?;
    let has_body = endpoint.body != BodyKind::None;
    let translates = attempt.encoded.answer.translates();
    if has_body {
        // The client's own may be read in more ways than one, and the provider must read the body as it was read here.
        let content_type = if translates { "application/json".into() } else { request.scan.content_type() };
        header.insert_header(http::header::CONTENT_TYPE, &*content_type)?;
    }
    let foreign = attempt.encoded.route.dialect != endpoint.dialect;
    let betas = encode::betas_for(&attempt.target, attempt.encoded.route, request, endpoint.dialect);
    // In the clouds the version stands in the body.
    let has_version_in_body = attempt.encoded.route.platform != Platform::Native;
    let stays = |name: &str| {
        (foreign && OF_DIALECT.contains(&name))
            || (has_body && name == "content-type")
            || (translates && name == "accept")
            || (has_version_in_body && name == "anthropic-version")
            || (betas.is_some() && name == "anthropic-beta")
    };
    let passes = |name: &HeaderName| {
        (FORWARDED.contains(&name.as_str()) || provider.forward.contains(name)) && !stays(name.as_str())
    };
    for (name, value) in client.headers.iter().filter(|(name, _)| passes(name)) {
        header.append_header(name, value)?;
    }
    if let (Some(value), Some(key)) = (client.headers.get(IDEMPOTENCY_KEY), &exchange.key) {
        header.insert_header(IDEMPOTENCY_KEY, idempotency_key(&key.name, value.as_bytes()))?;
    }
    if let Some(betas) =
        betas.filter(|it| attempt.encoded.route.platform != Platform::BedrockInvoke && !it.told.is_empty())
    {
        header.insert_header("anthropic-beta", betas.told.join(","))?;
    }
    trace::propagate(exchange, attempt, &mut header)?;
    // The gateway reads the answer: it must not be compressed.
    header.insert_header(http::header::ACCEPT_ENCODING, "identity")?;
    if has_body {
        header.insert_header(http::header::CONTENT_LENGTH, attempt.encoded.body.len())?;
    }
    for (name, value) in &provider.default_headers {
        if !header.headers.contains_key(name) {
            header.insert_header(name, value)?;
        }
    }
    for (name, value) in &provider.headers {
        header.insert_header(name, value)?;
    }
    if let Some(rule) = &exchange.route {
        for name in &rule.headers.remove {
            header.remove_header(name);
        }
        for (name, value) in &rule.headers.set {
            header.insert_header(name, value)?;
        }
    }
    plugins::on_upstream(plugins, exchange.attempts.len(), attempt, &mut header)?;
    attempt.grant.apply(&mut header, &attempt.encoded.body)?;
    Ok(header)
}

/// The query for the upstream: what tells who the client is, and which version of Azure it thinks it speaks to, stays
/// behind; the rest passes as sent.
fn without_credentials(query: &str) -> Cow<'_, str> {
    let stays = |pair: &&str| {
        let name = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
        !matches!(name.as_deref(), Some("key" | "api-version"))
    };
    if query.split('&').all(|pair| stays(&pair)) {
        return Cow::Borrowed(query);
    }
    Cow::Owned(query.split('&').filter(stays).collect::<Vec<_>>().join("&"))
}

/// What the provider gets of the idempotency key `value` of a client whose key is called `key`: all clients share its account, and
/// none must get another's answer. It stays the same when the client, or the gateway, tries again.
fn idempotency_key(key: &str, value: &[u8]) -> String {
    // No value of a header has a line end.
    let hash = Sha256::new_with_prefix(value).chain_update(b"\n").chain_update(key);
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_is_each_keys_own() {
        let of = |name: &str, value: &str| idempotency_key(name, value.as_bytes());
        assert_eq!(of("a", "order-17"), of("a", "order-17"));
        let all = [of("a", "order-17"), of("b", "order-17"), of("a", "order-1"), of("7", "order-1")];
        assert!(all.iter().enumerate().all(|(n, one)| one.len() == 64 && !all[..n].contains(one)), "{all:?}");
    }

    #[test]
    fn a_key_in_the_query_stays_behind() {
        assert_eq!(without_credentials("beta=true"), "beta=true");
        assert_eq!(without_credentials("key=sk-1&beta=true&a=%20b&api-version=2024-10-21"), "beta=true&a=%20b");
        assert_eq!(without_credentials("key=sk-1"), "");
        assert_eq!(without_credentials("%6bey=sk-1&a"), "a");
        assert_eq!(without_credentials("keys=1&monkey=key"), "keys=1&monkey=key");
    }
}
