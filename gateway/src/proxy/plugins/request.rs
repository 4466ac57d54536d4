//! The request phase: plugins see the request before it is routed, and may change, answer or reject it.

use std::sync::Arc;

use ai_gateway_plugins::{About, Reply, Request, Verdict};
use ai_gateway_providers::codec::{Call, Client, codec};
use ai_gateway_providers::common::{Json, Losses, Response, take_apart};
use ai_gateway_providers::endpoint::{BodyKind, Endpoint};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::scan::{RequestScan, with_prompts};
use ai_gateway_providers::{Dialect, Operation};
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use serde::{Deserialize, Serialize};

use super::call::{on_request_hook, rejected, said};
use super::host::GatewayHost;
use super::{Run, Screener, Told, differing, key};
use crate::config::CREDENTIALS;
use crate::proxy::account::admission::{self, Coming};
use crate::proxy::attempt::encode::unix_seconds;
use crate::proxy::intake::read_labels;
use crate::proxy::plan::route::{facts, named};
use crate::proxy::reply::{self, Stopped};
use crate::proxy::waiting::wait_for;
use crate::proxy::{Exchange, Gateway, answer as upstream, plan};
use crate::telemetry::Hook;

/// What becomes of a request.
pub enum Decided {
    /// It goes on, with this body.
    Go(Bytes),
    /// The client gets this answer, which passes these plugins like any other.
    Say(Box<Reply>, Arc<Run>),
}

/// Headers that no plugin sees or changes, beside those with credentials.
const FRAMING: [http::HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE];

/// Takes the request through the plugins. Nothing happens where there are none.
///
/// # Errors
/// One of them refuses it, or the client left meanwhile.
pub async fn on_request(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    body: Bytes,
) -> Result<Decided, Stopped> {
    if exchange.snapshot.plugins.is_empty() {
        return Ok(Decided::Go(body));
    }
    let Some(run) = begin(gateway, session.req_header(), exchange, &body) else { return Ok(Decided::Go(body)) };
    exchange.plugins = Some(run.clone());
    let sent = body.clone();
    let decided = match run.active.iter().any(|active| active.entry.needs.request) {
        true => Box::pin(ask_all(gateway, &run, session, exchange, body)).await,
        false => Ok(Decided::Go(body)),
    };
    // What they ask from here on is for one that is let in.
    run.host.expect(None);
    exchange.ended_by_plugins = !matches!(decided, Ok(Decided::Go(_)));
    if exchange.ended_by_plugins {
        let in_body = exchange.endpoint().is_some_and(|endpoint| endpoint.body == BodyKind::Json);
        read_labels(gateway, session, exchange, in_body, &sent);
    }
    decided
}

fn begin(gateway: &Gateway, header: &RequestHeader, exchange: &Exchange, body: &Bytes) -> Option<Arc<Run>> {
    let endpoint = exchange.endpoint()?;
    // What cannot be read is refused when it is planned.
    let scan = plan::scan(&header.headers, endpoint, body).ok()?;
    let model = named(endpoint, &scan).map(|name| exchange.snapshot.name(name));
    let stream = scan.stream || endpoint.stream;
    let json = if endpoint.body == BodyKind::Json { &body[..] } else { b"" };
    let facts = facts(header, exchange, endpoint, model.as_ref(), &scan, json);
    Run::begin(&exchange.snapshot.plugins, &facts, || {
        let host = Arc::new(GatewayHost::new(gateway.clone(), exchange.key.clone()));
        let mut about = About::new(endpoint.dialect, endpoint.operation, host.clone());
        about.id = (&*exchange.id).into();
        about.key = exchange.key.as_deref().map(key);
        about.model = model.as_ref().map(|name| name.as_str().into());
        about.stream = stream;
        about.path = header.uri.path().into();
        (about.started, about.at) = (exchange.started, exchange.at);
        host.expect(Some(Coming::new(exchange, endpoint, about.model.clone(), scan.clone(), body.clone())));
        (about, host)
    })
}

async fn ask_all(
    gateway: &Gateway,
    run: &Run,
    session: &mut Session,
    exchange: &mut Exchange,
    body: Bytes,
) -> Result<Decided, Stopped> {
    let Some(endpoint) = &exchange.path else { return Ok(Decided::Go(body)) };
    let headers = seen(&session.req_header().headers);
    let shown = Shown::of(endpoint, &session.req_header().headers, &body);
    let json = shown.json(&body);
    let mut request = Request::new(endpoint.dialect, endpoint.operation, headers, json);
    request.path_model = endpoint.path_model.clone();
    request.path_stream = endpoint.stream;
    let mut changed = None;
    for active in run.those(|needs| needs.request) {
        let view = request.for_next(active.entry.needs.body);
        let called = active.call(Hook::Request, view, on_request_hook, said);
        let called = async {
            tokio::select! {
                biased;
                refusal = run.host.refused() => Err(refusal),
                // One with a thread of its own may hear of the refusal, and end, before this task does.
                called = called => run.host.refusal().map_or(Ok(called), Err),
            }
        };
        let called = match wait_for(&mut session.downstream_session, &gateway.ending, called).await {
            Ok(Ok(called)) => called?,
            Ok(Err(refusal)) => return Err(admission::refuse(&gateway.limits, exchange, refusal).into()),
            Err(given_up) => return Err(given_up.told(exchange)),
        };
        let Some((view, verdict)) = called else { continue };
        match verdict {
            Verdict::Pass => {}
            Verdict::Answer(reply) => return Ok(Decided::Say(reply, run.before(active))),
            Verdict::Reject(rejection) => return Err(rejected(rejection).into()),
        }
        if view.is_changed() && !matches!(shown, Shown::Nothing) && active.entry.needs.body {
            let most = exchange.snapshot.body_limits.max_body;
            let read = shown.taken(endpoint, &session.req_header().headers, &body, view.json(), most);
            let Some((written, scan)) = read else {
                active.failed(
                    Hook::Request,
                    &"it made a body that is too large, or cannot be read".into(),
                    Default::default(),
                )?;
                continue;
            };
            let model = named(endpoint, &scan).map(Into::into);
            run.host.expect(Some(Coming::new(exchange, endpoint, model, scan, written.clone())));
            request.set_json(view.json().clone());
            changed = Some(written);
        }
        request.headers = view.headers;
    }
    give_back(session.req_header_mut(), &request.headers);
    Ok(Decided::Go(changed.unwrap_or(body)))
}

/// What of a body plugins are shown.
enum Shown {
    /// All of it.
    Json,
    /// The texts of a form.
    Prompts(Box<RequestScan>),
    Nothing,
}

/// The JSON that stands for a form.
#[derive(Serialize, Deserialize)]
struct Form {
    prompt: Vec<String>,
}

impl Shown {
    fn of(endpoint: &Endpoint, headers: &HeaderMap, body: &Bytes) -> Self {
        match endpoint.body {
            BodyKind::Json => Self::Json,
            BodyKind::None => Self::Nothing,
            BodyKind::Multipart => match plan::scan(headers, endpoint, body) {
                Ok(scan) if !scan.prompts.is_empty() => Self::Prompts(Box::new(scan)),
                Ok(_) | Err(_) => Self::Nothing,
            },
        }
    }

    fn json(&self, body: &Bytes) -> Bytes {
        match self {
            Self::Json => body.clone(),
            Self::Prompts(scan) => {
                let prompt = scan.prompts.iter().map(|prompt| prompt.value.clone()).collect();
                serde_json::to_vec(&Form { prompt }).unwrap_or_default().into()
            }
            Self::Nothing => Bytes::new(),
        }
    }

    /// The body that says what a plugin made of the JSON, and what is found in it; `None`: none can be, or it has more than
    /// `most` bytes.
    fn taken(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        body: &Bytes,
        json: &Bytes,
        most: usize,
    ) -> Option<(Bytes, RequestScan)> {
        let (written, prompts) = match self {
            Self::Json => (json.clone(), None),
            Self::Prompts(scan) => {
                let Form { prompt } = serde_json::from_slice(json).ok()?;
                (with_prompts(scan, body, &prompt).into(), Some(prompt))
            }
            Self::Nothing => return None,
        };
        let small = Some(written).filter(|written| written.len() <= most)?;
        let scan = plan::scan(headers, endpoint, &small).ok()?;
        // A text that has the form's boundary in it would be something else there.
        let same = |prompts: Vec<String>| scan.prompts.iter().map(|prompt| &prompt.value).eq(&prompts);
        prompts.is_none_or(same).then_some((small, scan))
    }
}

fn hidden(name: &http::HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str()) || FRAMING.contains(name)
}

/// The headers that plugins see.
fn seen(headers: &HeaderMap) -> HeaderMap {
    let mut seen = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| !hidden(name)) {
        seen.append(name.clone(), value.clone());
    }
    seen
}

/// Writes the headers that plugins have changed back into the request's.
fn give_back(header: &mut RequestHeader, changed: &HeaderMap) {
    for name in differing(&header.headers, changed, hidden) {
        header.remove_header(&name);
        for value in changed.get_all(&name) {
            // A name that was read from headers, or parsed, is one that can be written.
            let _ = header.append_header(name.clone(), value.clone());
        }
    }
}

/// Answers with what a plugin says. `before`: those that stand before it, which look at the answer.
pub async fn answer(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    said: Reply,
    before: &Arc<Run>,
) -> Result<(), Stopped> {
    let Some(endpoint) = exchange.endpoint().cloned() else { return Ok(()) };
    let stream = exchange.plugins.as_ref().is_some_and(|run| run.about.stream);
    let (status, content_type, body) = match said {
        Reply::Json { status, body } => (status, "application/json", body),
        Reply::Chat(response) if endpoint.operation == Operation::Chat => {
            let client = client(exchange, session.req_header(), stream, Bytes::new());
            let body = written(&response, endpoint.dialect, &client, stream);
            let content_type = match () {
                () if !stream || client.json_array => "application/json",
                () => upstream::stream_type(endpoint.dialect),
            };
            (200, content_type, body.into())
        }
        _ => {
            return Err(ApiError::new(ErrorKind::Internal, "a plugin gave the answer of another operation").into());
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut header = ResponseHeader::build(status, Some(6))?;
    header.insert_header(http::header::CONTENT_TYPE, content_type)?;
    let (header, body) = match Screener::by(before, exchange, session.req_header()) {
        Some(screener) => {
            let screened = Box::pin(screened(screener, header, body));
            match wait_for(&mut session.downstream_session, &gateway.ending, screened).await {
                Ok(screened) => screened?,
                Err(given_up) => return Err(given_up.told(exchange)),
            }
        }
        None => (header, body),
    };
    exchange.status = header.status.as_u16();
    let told = before.told.lock().take();
    if let (Some(run), Some(Told { error, status })) = (&exchange.plugins, told) {
        run.tell(error, status);
    }
    Ok(reply::whole(session, exchange, header, body).await?)
}

/// What `screener` lets the client have of an answer.
async fn screened(mut screener: Box<Screener>, header: ResponseHeader, body: Bytes) -> Result<(ResponseHeader, Bytes)> {
    let (mut head, mut said) = (header.clone(), BytesMut::new());
    let tasks = vec![HttpTask::Header(Box::new(header), false), HttpTask::Body(Some(body), true)];
    for task in screener.pass(tasks).await? {
        match task {
            HttpTask::Header(header, _) => head = *header,
            HttpTask::Body(Some(body), _) => said.extend_from_slice(&body),
            _ => {}
        }
    }
    Ok((head, said.freeze()))
}

/// A whole answer, or the stream that says the same, in `dialect`.
fn written(response: &Response<'_>, dialect: Dialect, client: &Client, stream: bool) -> Vec<u8> {
    let mut losses = Losses::default();
    if !stream {
        return codec(dialect).encode_response(response, client, &mut losses);
    }
    let mut encoder = codec(dialect).stream_encoder(client);
    let mut out = Vec::new();
    take_apart(response, &mut |event| encoder.encode(event, &mut losses, &mut out));
    out
}

/// For whom answers are written that do not pass as they come. `body`: the request's.
pub(super) fn client(exchange: &Exchange, header: &RequestHeader, stream: bool, body: Bytes) -> Client {
    let model = exchange.plugins.as_ref().and_then(|run| run.about.model.as_deref()).unwrap_or_default();
    let endpoint = exchange.endpoint();
    let scan = exchange.request.as_ref().map(|request| &request.scan);
    Client {
        model: model.to_owned(),
        include_usage: stream && scan.is_some_and(|scan| !scan.hide_usage()),
        request_id: exchange.id.to_string(),
        now: unix_seconds(exchange.snapshot.time.now()),
        echo: endpoint.and_then(|endpoint| echo(endpoint, &body)),
        json_array: endpoint.is_some_and(|endpoint| plan::wants_json_array(header, endpoint)),
    }
}

/// What answers of the Responses API, and of own dialects, repeat of their request; and whether one for Chat says `function_call`.
fn echo(endpoint: &Endpoint, body: &[u8]) -> Option<Json<'static>> {
    let repeats = match endpoint.dialect {
        Dialect::OpenAiResponses | Dialect::Own(_) => true,
        Dialect::OpenAiChat => memchr::memmem::find(body, b"\"functions\"").is_some(),
        _ => false,
    };
    if endpoint.operation != Operation::Chat || !repeats {
        return None;
    }
    let codec = codec(endpoint.dialect);
    let asked = codec.decode_request(body, &Call::default()).ok()?;
    codec.echo(&asked)
}
