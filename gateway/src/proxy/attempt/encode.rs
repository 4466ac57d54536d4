//! The request as a target must get it: the client's own bytes with another model name where both sides speak one dialect and the
//! target takes all words of it, a translation where they do not.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use ai_gateway_providers::answer::{Conversion, Translation};
use ai_gateway_providers::catalogue::InChat;
use ai_gateway_providers::codec::{Client, Platform, codec, no_thread};
use ai_gateway_providers::common::{
    Aliases, Json, Loss, Losses, ProviderTag, Request as CommonRequest, may_hold_ticket, restore_turns,
};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::model_name::gemini_resource;
use ai_gateway_providers::operations::{self, Wire, completions};
use ai_gateway_providers::preset::{Betas, without_fields};
use ai_gateway_providers::scan::{BodyFacts, Edits, FieldEdits, says, without_attribution};
use ai_gateway_providers::{Dialect, Operation, codec};
use bytes::Bytes;

use super::resume;
use crate::config::Lossy;
use crate::continuity::Continuity;
use crate::proxy::Exchange;
use crate::proxy::request::Request;
use crate::proxy::waiting::aside::aside;
use crate::snapshot::{Route, Target, Way};

/// A request written for one target.
pub struct Encoded {
    /// How the target is asked.
    pub route: Route,
    /// The body to send.
    pub body: Bytes,
    /// Whether the usage chunk was asked for by the gateway only.
    pub hide_usage: bool,
    /// How its answer becomes the client's.
    pub answer: AnswerWay,
    /// What the target's API could not say.
    pub losses: Losses,
}

/// How a provider's answer becomes the client's.
pub enum AnswerWay {
    /// As it comes.
    Straight,
    /// Through the codecs.
    Translated(Box<Translation>),
    /// From one wire form to another.
    Converted(Box<Conversion>),
    /// One of these two, which has begun.
    Begun,
}

impl AnswerWay {
    /// Whether the answer does not pass as it comes.
    pub fn translates(&self) -> bool {
        !matches!(self, Self::Straight)
    }

    /// Takes what the answer needs that begins.
    pub fn begin(&mut self) -> Self {
        let begun = if self.translates() { Self::Begun } else { Self::Straight };
        std::mem::replace(self, begun)
    }
}

/// What Responses may not be able to say of a request, and Chat may.
const IN_CHAT_ALONE: [&str; 12] = [
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "n",
    "modalities",
    "audio",
    "messages.name",
    "messages.image",
    "messages.audio",
    "messages.video",
    "messages.document",
];

/// Writes the exchange's request for `target`.
///
/// # Errors
/// When the target's API cannot say it.
pub fn encode(target: &Target, exchange: &Exchange, continuity: &Continuity) -> Result<Encoded, ApiError> {
    let writer = Writer { target, request: exchange.asked()?, exchange, continuity };
    aside(writer.request.body.len(), || writer.write())
}

/// Writes the request to go on with `said` for `target`, which is asked as `route` says.
///
/// # Errors
/// When the target's API cannot say it.
pub fn encode_rest(
    target: &Target,
    route: Route,
    said: &str,
    exchange: &Exchange,
    continuity: &Continuity,
) -> Result<Encoded, ApiError> {
    let writer = Writer { target, request: exchange.asked()?, exchange, continuity };
    let translated = aside(writer.request.body.len(), || writer.translate(route, Some(said)));
    writer.accept_losses(translated?)
}

/// Writes the request of an exchange for one target.
struct Writer<'a> {
    target: &'a Target,
    request: &'a Request,
    exchange: &'a Exchange,
    continuity: &'a Continuity,
}

impl<'a> Writer<'a> {
    fn write(&self) -> Result<Encoded, ApiError> {
        let Self { target, request, .. } = *self;
        let endpoint = &request.endpoint;
        if endpoint.operation == Operation::Stored {
            let route = Route { dialect: endpoint.dialect, platform: Platform::Native, way: Way::Straight };
            return Ok(self.splice(route));
        }
        let Some(route) = target.provider.route(endpoint, &target.model) else {
            return Err(super::no_usable_target(request));
        };
        let route = self.keeping_signatures(route).or_else(|| self.in_voyages_words(route)).unwrap_or(route);
        if request.scan.thread && endpoint.dialect == Dialect::Anthropic && !target.provider.is_anthropic() {
            return Err(no_thread());
        }
        let foreign_body = route.platform == Platform::BedrockInvoke
            || (route.platform == Platform::Vertex && route.dialect == Dialect::Anthropic)
            || request.json_array
            // Only its codec knows where its fields are.
            || matches!(endpoint.dialect, Dialect::Own(_))
            // Cursor sends the bodies of Responses to `/v1/chat/completions` and reads the answers of Chat.
            || (endpoint.dialect == Dialect::OpenAiChat && request.scan.only_input);
        let encoded = match route.way {
            Way::Wires(from, to) => self.convert(route, (from, to))?,
            Way::Straight if endpoint.operation != Operation::Chat => return Ok(self.splice(route)),
            Way::Straight if !foreign_body && !may_hold_ticket(&request.body) => self.straight(route)?,
            Way::Straight | Way::Codecs => match self.in_responses(route) {
                Some(encoded) => encoded,
                None => self.with_files(self.translate(route, None)?),
            },
        };
        self.accept_losses(encoded)
    }

    /// OpenAI's models that reason are asked in Responses, which takes tools of all of them, and gives their reasoning in a form that
    /// can be sent back. What only Chat can say is said there, to models that take it.
    fn in_responses(&self, route: Route) -> Option<Encoded> {
        let Self { target, request, .. } = *self;
        let responses = target.provider.in_responses(route, &request.endpoint, &target.model, &target.traits)?;
        let encoded = self.translate(responses, None).ok()?;
        let takes_chat = || match target.traits.in_chat {
            InChat::All => true,
            InChat::NoTools => !BodyFacts::of(&request.body).tools,
            InChat::Nothing => false,
        };
        let is_of_chat = |loss: &Loss| loss.known && IN_CHAT_ALONE.contains(&&*loss.field);
        if !encoded.losses.iter().any(is_of_chat) || !takes_chat() {
            return Some(encoded);
        }
        let Ok(chat) = self.translate(route, None) else { return Some(encoded) };
        let only_there = |field: &str| chat.losses.iter().all(|loss| loss.field != field);
        let says_more = encoded.losses.iter().any(|loss| is_of_chat(loss) && only_there(&loss.field));
        Some(if says_more { chat } else { encoded })
    }

    /// Claude on Bedrock is asked in its own API. Files that this one cannot be told may be told to Converse: office documents,
    /// and what lies in S3.
    fn with_files(&self, encoded: Encoded) -> Encoded {
        let Self { target, .. } = *self;
        let Route { dialect: _, platform, way } = encoded.route;
        let is_file = |field: &str| field.ends_with(".document") || field.ends_with(".image");
        let lost = |losses: &Losses| losses.iter().filter(|loss| loss.known && is_file(&loss.field)).count();
        if (platform, way) != (Platform::BedrockInvoke, Way::Codecs)
            || lost(&encoded.losses) == 0
            || !target.provider.speaks(Dialect::Bedrock, &target.model)
        {
            return encoded;
        }
        let route = Route { dialect: Dialect::Bedrock, platform: target.provider.platform(Dialect::Bedrock), way };
        match self.translate(route, None) {
            Ok(other) if lost(&other.losses) < lost(&encoded.losses) => other,
            Ok(_) | Err(_) => encoded,
        }
    }

    fn accept_losses(&self, encoded: Encoded) -> Result<Encoded, ApiError> {
        let model = &self.request.model;
        if model.lossy == Lossy::Error && !encoded.losses.is_empty() {
            let message = format!(
                "the {} API of model `{}` cannot say: {} (`lossy = \"error\"`)",
                encoded.route.dialect,
                model.name,
                encoded.losses.header_value()
            );
            return Err(ApiError::new(ErrorKind::InvalidRequest, message));
        }
        Ok(encoded)
    }

    /// Gemini 3 refuses a call that comes back without its signature, also in Google's copy of OpenAI's API, and clients of
    /// OpenAI's send none. In its own API they are kept by the call's id, and calls of other models get what is taken in place of
    /// one. What only that copy understands (`extra_body`) is left to it.
    fn keeping_signatures(&self, route: Route) -> Option<Route> {
        let Self { target, request, .. } = *self;
        let copied = (request.endpoint.operation, route.way, route.dialect)
            == (Operation::Chat, Way::Straight, Dialect::OpenAiChat);
        let says = |word: &str| memchr::memmem::find(&request.body, word.as_bytes()).is_some();
        let calls = copied && target.traits.gemini_3 && says(r#""tool"#) && !says(r#""extra_body""#);
        if calls { target.provider.beside_chat(&target.model) } else { None }
    }

    /// Who wants `top_n` documents speaks the form of Jina and many others, which Voyage refuses. A request without it is as it is
    /// in Voyage's own form, whose clients read its answers.
    fn in_voyages_words(&self, route: Route) -> Option<Route> {
        let Self { target, request, .. } = *self;
        let shared = (request.endpoint.operation, route.way, route.dialect)
            == (Operation::Rerank, Way::Straight, Dialect::OpenAiChat);
        let foreign = shared && target.provider.preset.vectors == Some(Wire::Voyage) && says(&request.body, "top_n");
        foreign.then_some(Route { way: Way::Wires(Wire::Jina, Wire::Voyage), ..route })
    }

    /// A chat in the client's own dialect. It is translated all the same where the answer has to be watched because another target
    /// may go on with it, and where the target may refuse the client's own words.
    fn straight(&self, route: Route) -> Result<Encoded, ApiError> {
        let Self { target, request, .. } = *self;
        let may_go_on = resume::may_go_on(self.exchange, route.dialect);
        let may_refuse = route.dialect == Dialect::OpenAiChat && target.provider.quirks.may_refuse(&request.body);
        if !may_go_on && !may_refuse {
            return Ok(self.splice(route));
        }
        let body = self.without_attribution(request.endpoint.dialect, request.body.clone());
        let asked = decode(&body, request);
        let goes_on = may_go_on && asked.as_ref().is_ok_and(|(asked, _)| asked.may_be_gone_on_with());
        if !goes_on && !may_refuse {
            return Ok(self.splice(route));
        }
        let translated = self.write_decoded(asked?, route, None)?;
        if goes_on {
            return Ok(translated);
        }
        // The answer needs no change.
        let Encoded { body, losses, .. } = translated;
        Ok(Encoded { body, losses, ..self.splice(route) })
    }

    /// Both sides speak one dialect: only the model's name changes, and usage is asked for.
    fn splice(&self, route: Route) -> Encoded {
        let Self { target, request, .. } = *self;
        let Request { endpoint, scan, .. } = request;
        let asks_usage = matches!(endpoint.operation, Operation::Chat | Operation::Completions)
            && route.dialect == Dialect::OpenAiChat
            && !target.provider.quirks.no_stream_options;
        let name = self.model_in_body(route);
        let edits = Edits { model: name.as_deref(), include_usage: asks_usage };
        let mut body = self.without_attribution(route.dialect, scan.rewrite(&request.body, &edits));
        if (route.dialect, endpoint.operation) == (Dialect::Gemini, Operation::CountTokens) {
            // It stands alone, or within another whose `model` is required.
            let model = serde_json::Value::from(gemini_resource(&target.model)).to_string();
            let edits = FieldEdits { set: vec![("model".to_owned(), model)], remove: Vec::new() };
            body = edits.apply_within(&body, "generateContentRequest");
        }
        let hide_usage = asks_usage && scan.hide_usage();
        Encoded { route, body, hide_usage, answer: AnswerWay::Straight, losses: Losses::default() }
    }

    /// What the body says of the model for the target; `None`: nothing, or nothing new.
    fn model_in_body(&self, route: Route) -> Option<Cow<'a, str>> {
        let Self { target, request, .. } = *self;
        match &request.scan.model {
            Some(field) if route.dialect == Dialect::Gemini && field.value.starts_with("models/") => {
                Some(gemini_resource(&target.model).into())
            }
            // A path, a rule or a list of models to fall back on may have named it.
            None if request.endpoint.operation == Operation::Stored || !route.dialect.names_model_in_body() => None,
            _ => Some((&*target.model).into()),
        }
    }

    /// What Claude Code says of itself is for Anthropic alone.
    fn without_attribution(&self, client: Dialect, body: Bytes) -> Bytes {
        if client != Dialect::Anthropic || self.target.provider.is_anthropic() {
            return body;
        }
        match without_attribution(&body) {
            Cow::Owned(without) => without.into(),
            Cow::Borrowed(_) => body,
        }
    }

    fn translate(&self, route: Route, said: Option<&str>) -> Result<Encoded, ApiError> {
        let body = self.without_attribution(self.request.endpoint.dialect, self.request.body.clone());
        self.write_decoded(decode(&body, self.request)?, route, said)
    }

    /// Writes what was decoded.
    fn write_decoded<'b>(
        &self,
        (mut asked, mut losses): (CommonRequest<'b>, Losses),
        route: Route,
        said: Option<&'b str>,
    ) -> Result<Encoded, ApiError> {
        let Self { target, request, exchange, continuity } = *self;
        let to = request.endpoint.dialect;
        let provider = target.provider.tag;
        let key = exchange.key.as_deref();
        // A client of the same dialect gets, and keeps, everything.
        let remembers = route.dialect != to;
        if remembers {
            asked.join_pieces();
        }
        let before = if remembers || continuity.has_turns(key) {
            restore_turns(&mut asked, provider, remembers, |call| continuity.recall_turn(key, call))
        } else {
            None
        };
        self.apply_betas(route, &mut asked, &mut losses);
        if route.dialect != to {
            asked.put_in_words();
        }
        let may_go_on = said.is_some() || (resume::may_go_on(exchange, route.dialect) && asked.may_be_gone_on_with());
        if let Some(said) = said {
            asked.go_on_with(said);
        }
        let body = codec(route.dialect).encode_request(&asked, &self.written_for(route), &mut losses)?;
        // A mistake, or of an API that has another field for what is asked: it would be paid for all the same.
        if route.dialect != to && asked.messages.is_empty() {
            let error = ApiError::new(ErrorKind::InvalidRequest, "there are no messages to answer");
            return Err(error.with_param("messages"));
        }
        let keeps_items = to == Dialect::OpenAiResponses && route.dialect != to && asked.store != Some(false);
        if route.dialect != to {
            keep_nothing(&mut asked);
        }
        let translation = Translation {
            from: route.dialect,
            to,
            platform: route.platform,
            provider,
            model: target.model.to_string(),
            client: client(exchange, request, &asked, exchange.snapshot.time.now()),
            aliases: if route.dialect == to { Aliases::default() } else { Aliases::of(&asked, route.dialect) },
            before,
            stream: request.wants_stream(),
            reasoning: asked.reasoning.is_some(),
            keeps_items,
            completion: is_completion(request),
            may_go_on,
            echoes: said.is_some() && route.dialect == Dialect::OpenAiChat && target.provider.quirks.prefill.echoes(),
        };
        let answer = AnswerWay::Translated(Box::new(translation));
        Ok(Encoded { route, body: body.into(), hide_usage: false, answer, losses })
    }

    fn convert(&self, route: Route, (from, to): (Wire, Wire)) -> Result<Encoded, ApiError> {
        let Self { request, exchange, .. } = *self;
        let (operation, written_for) = (request.endpoint.operation, self.written_for(route));
        let body = self.without_attribution(request.endpoint.dialect, request.body.clone());
        let translated = operations::translate_request(operation, from, to, &body, &request.call(), &written_for)?;
        let conversion = Conversion {
            operation,
            from: to,
            to: from,
            asked: translated.asked,
            model: request.model.name.to_string(),
            request_id: exchange.id.to_string(),
            now: unix_seconds(exchange.snapshot.time.now()),
            input_tokens: None,
        };
        let (body, answer) = (translated.body.into(), AnswerWay::Converted(Box::new(conversion)));
        Ok(Encoded { route, body, hide_usage: false, answer, losses: translated.losses })
    }

    /// InvokeModel takes Anthropic's betas in the body; everywhere else they are in the header. What a cloud is not told of them it
    /// does not know the fields of.
    fn apply_betas(&self, route: Route, asked: &mut CommonRequest<'_>, losses: &mut Losses) {
        let Some(betas) = betas_for(self.target, route, self.request, asked.dialect) else { return };
        betas.note(losses);
        if route.platform != Platform::Native {
            without_fields(asked, &betas.told, losses);
        }
        if route.platform == Platform::BedrockInvoke && !betas.told.is_empty() {
            asked.extras.push(("anthropic_beta".into(), Json::of(&betas.told)));
        }
    }

    fn written_for(&self, route: Route) -> codec::Target<'a> {
        let Self { target, .. } = *self;
        codec::Target {
            model: &target.model,
            provider: target.provider.tag,
            quirks: target.provider.quirks,
            platform: route.platform,
            traits: target.traits,
        }
    }
}

/// The client's request in the common model, and what that cannot say.
fn decode<'b>(body: &'b Bytes, request: &Request) -> Result<(CommonRequest<'b>, Losses), ApiError> {
    let mut losses = Losses::default();
    let asked = match is_completion(request) {
        true => completions::decode_request(body, &mut losses)?,
        false => codec(request.endpoint.dialect).decode_request(body, &request.call())?,
    };
    Ok((asked, losses))
}

fn is_completion(request: &Request) -> bool {
    request.endpoint.operation == Operation::Completions
}

/// From the client's dialect to itself: for an answer that came in another form than the client wants. `created`: when it was made.
pub fn within(exchange: &Exchange, provider: ProviderTag, model: &str, created: SystemTime) -> Option<Translation> {
    let request = exchange.request.as_ref()?;
    let dialect = request.endpoint.dialect;
    let asked = codec(dialect).decode_request(&request.body, &request.call());
    let asked = asked.unwrap_or_else(|_| CommonRequest::new(dialect));
    Some(Translation {
        from: dialect,
        to: dialect,
        platform: Platform::Native,
        provider,
        model: model.to_owned(),
        client: client(exchange, request, &asked, created),
        aliases: Aliases::default(),
        before: None,
        stream: request.wants_stream(),
        reasoning: asked.reasoning.is_some(),
        keeps_items: false,
        completion: false,
        may_go_on: false,
        echoes: false,
    })
}

/// Whom a translated answer is written for.
fn client(exchange: &Exchange, request: &Request, asked: &CommonRequest<'_>, now: SystemTime) -> Client {
    Client {
        model: request.model.name.to_string(),
        include_usage: asked.include_usage,
        request_id: exchange.id.to_string(),
        now: unix_seconds(now),
        echo: codec(request.endpoint.dialect).echo(asked),
        json_array: request.json_array,
    }
}

/// A translated answer cannot be asked for, whatever its request says, and is not to repeat it.
fn keep_nothing(asked: &mut CommonRequest<'_>) {
    asked.store = Some(false);
    if let Some((_, background)) = asked.extras.iter_mut().find(|(name, _)| *name == *"background") {
        *background = Json::of(&false);
    }
}

/// Whole seconds since 1970.
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What the target is told of the client's betas; `None`: all of them, as they come, or none because it speaks another dialect.
pub fn betas_for<'r>(target: &Target, route: Route, request: &'r Request, from: Dialect) -> Option<Betas<'r>> {
    let asked = request.betas.as_deref().unwrap_or_default();
    let speaks = (from, route.dialect) == (Dialect::Anthropic, Dialect::Anthropic);
    speaks.then(|| Betas::of(asked, route.platform, target.provider.betas.as_deref())).flatten()
}
