//! The request as a target must get it: the client's own bytes with another model name where both sides speak one dialect, a
//! translation where they do not.

use std::time::{SystemTime, UNIX_EPOCH};

use ai_gateway_providers::answer::Translation;
use ai_gateway_providers::codec::{Call, Client, Platform, codec};
use ai_gateway_providers::common::{Aliases, Json, Losses, Request as CommonRequest, may_hold_ticket, restore_turns};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::scan::Edits;
use ai_gateway_providers::{Dialect, Operation, codec};
use bytes::Bytes;

use super::Exchange;
use super::exchange::Request;
use crate::config::Lossy;
use crate::continuity::Continuity;
use crate::snapshot::{Route, Target};

/// A request written for one target.
pub struct Encoded {
    /// How the target is asked.
    pub route: Route,
    /// The body to send.
    pub body: Bytes,
    /// Whether the usage chunk was asked for by the gateway only.
    pub hide_usage: bool,
    /// How its answer is turned into the client's; `None`: it passes as it comes.
    pub translation: Option<Translation>,
    /// What the target's API could not say.
    pub losses: Losses,
}

/// Writes the exchange's request for `target`.
///
/// # Errors
/// When the target's API cannot say it.
pub fn encode(target: &Target, exchange: &Exchange, continuity: &Continuity) -> Result<Encoded, ApiError> {
    let (Some(request), Some(endpoint)) = (&exchange.request, &exchange.endpoint) else {
        return Err(ApiError::new(ErrorKind::Internal, "there is no request"));
    };
    let Some(route) = target.provider.route(endpoint, &target.model) else {
        return Err(super::attempt::no_usable_target(exchange, &request.model.name));
    };
    let chat = endpoint.operation == Operation::Chat;
    let translates = route.dialect != endpoint.dialect
        || route.platform == Platform::BedrockInvoke
        || (route.platform == Platform::Vertex && route.dialect == Dialect::Anthropic)
        || request.json_array;
    if chat && (translates || may_hold_ticket(&request.body)) {
        return translate(target, route, request, exchange, continuity);
    }
    Ok(splice(target, route, request, endpoint.operation))
}

/// Both sides speak one dialect: only the model's name changes, and usage is asked for.
fn splice(target: &Target, route: Route, request: &Request, operation: Operation) -> Encoded {
    let scan = &request.scan;
    let asks_usage = matches!(operation, Operation::Chat | Operation::Completions)
        && route.dialect == Dialect::OpenAiChat
        && !target.provider.quirks.no_stream_options;
    let model = scan.model.as_ref().map(|_| &*target.model);
    let body = scan.rewrite(&request.body, &Edits { model, include_usage: asks_usage });
    Encoded { route, body, hide_usage: asks_usage && scan.hide_usage(), translation: None, losses: Losses::default() }
}

fn translate(
    target: &Target,
    route: Route,
    request: &Request,
    exchange: &Exchange,
    continuity: &Continuity,
) -> Result<Encoded, ApiError> {
    let to = exchange.dialect();
    let client_codec = codec(to);
    let call = Call {
        model: exchange.endpoint.as_ref().and_then(|endpoint| endpoint.path_model.as_deref()),
        stream: exchange.wants_stream(),
    };
    let mut asked = client_codec.decode_request(&request.body, &call)?;
    let tag = target.provider.tag;
    let key = exchange.key.as_ref().map(|key| &*key.name);
    restore_turns(&mut asked, tag, |id| continuity.recall_turn(key, id));
    add_betas(&mut asked, request, route.platform);
    if route.dialect != to {
        asked.put_results_in_words();
    }
    let written_for = codec::Target {
        model: &target.model,
        provider: tag,
        quirks: target.provider.quirks,
        platform: route.platform,
        traits: target.traits,
        ..codec::Target::new(&target.model, tag)
    };
    let mut losses = Losses::default();
    let body = codec(route.dialect).encode_request(&asked, &written_for, &mut losses)?;
    if request.model.lossy == Lossy::Error && !losses.is_empty() {
        let message = format!(
            "the {} API of model `{}` cannot say: {} (`lossy = \"error\"`)",
            route.dialect,
            request.model.name,
            losses.header_value()
        );
        return Err(ApiError::new(ErrorKind::InvalidRequest, message));
    }
    let translation = Translation {
        from: route.dialect,
        to,
        platform: route.platform,
        provider: tag,
        model: target.model.to_string(),
        client: Client {
            model: request.model.name.to_string(),
            include_usage: asked.include_usage,
            request_id: exchange.id.to_string(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            echo: client_codec.echo(&asked),
            json_array: request.json_array,
        },
        aliases: if route.dialect == to { Aliases::default() } else { Aliases::of(&asked) },
        stream: exchange.wants_stream(),
    };
    Ok(Encoded { route, body: body.into(), hide_usage: false, translation: Some(translation), losses })
}

/// InvokeModel takes Anthropic's betas in the body; everywhere else they stay in the header.
fn add_betas(asked: &mut CommonRequest<'_>, request: &Request, platform: Platform) {
    if platform == Platform::BedrockInvoke
        && asked.dialect == Dialect::Anthropic
        && let Some(betas) = &request.betas
    {
        let list: Vec<&str> = betas.split(',').map(str::trim).filter(|beta| !beta.is_empty()).collect();
        asked.extras.push(("anthropic_beta".into(), Json::of(&list)));
    }
}
