//! What leaves for the client, as plugins see it. The replay session passes everything through here that it writes, from Pingora's
//! proxy path and out of the cache alike, so that hooks may wait and each client's own plugins are asked.
//!
//! Of an answer that comes whole header and body are kept until the plugins have said what they think of it, if any of them
//! looks at bodies. A stream goes through as it comes, but for what text hooks hold back.
//! Its texts are looked at in `stream`.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use ai_gateway_plugins::internal::{Hooked, part_of, refuse_whole, screen_whole};
use ai_gateway_plugins::{Answer, AnswerBody, Context, Flow, Needs, Part, Plugin, Rejection, Reply, TextHook, Verdict};
use ai_gateway_providers::answer::AnswerForm;
use ai_gateway_providers::codec::{Client, codec};
use ai_gateway_providers::common::Losses;
use ai_gateway_providers::error::{ApiError, ErrorKind, encode_error};
use ai_gateway_providers::scan::is_one_object;
use ai_gateway_providers::{Dialect, Operation};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::call::{Fails, TextPolicy, flow_said, rejected, said};
use super::request::client;
use super::{Active, Run, differing};
use crate::proxy::Exchange;
use crate::proxy::answer::form_of;
use crate::telemetry::{Hook, Said};
use stream::Streaming;

/// The largest answer that is kept whole for plugins.
const MOST_WHOLE: usize = 32 << 20;
/// Servers on .NET begin their answers with it, and clients pass it over.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Headers of an answer that plugins do not change.
const FRAMING: [http::HeaderName; 3] = [CONTENT_LENGTH, TRANSFER_ENCODING, http::header::CONNECTION];

/// Stands between an exchange's answer and its client.
pub struct Screener {
    run: Arc<Run>,
    dialect: Dialect,
    operation: Operation,
    client: Client,
    /// Those that look at this answer's texts, made once: they may be all that is left of what their plugin kept.
    hooks: Hooks,
    /// Whether anybody looks at them: a plugin that could, but has nothing to do here, costs the answer nothing.
    looks: bool,
    state: State,
}

enum State {
    /// The header has not come.
    Head,
    /// The body goes by.
    Passing,
    /// A stream, of which the texts are looked at.
    Stream(Box<Streaming>),
    /// An answer that is kept until it is whole.
    Whole(Box<ResponseHeader>, BytesMut),
    /// The client has all that it gets.
    Over,
}

impl Screener {
    /// For the answer of an exchange whose request is known; `None`: no plugin looks at it.
    pub fn of(exchange: &Exchange, header: &RequestHeader) -> Option<Box<Self>> {
        Self::by(exchange.plugins.as_ref()?, exchange, header)
    }

    /// The same, of which `run` is all that looks at it.
    pub(super) fn by(run: &Arc<Run>, exchange: &Exchange, header: &RequestHeader) -> Option<Box<Self>> {
        let endpoint = exchange.endpoint()?;
        run.those(|needs| needs.answer || needs.text.is_some() || needs.window.is_some() || needs.bytes).next()?;
        // What answers repeat of their request only they need who may have one written anew.
        let writes = run.those(|needs| needs.answer_body || needs.text.is_some() || needs.window.is_some()).next();
        let body = writes.and_then(|_| exchange.request.as_ref().map(|request| request.body.clone()));
        let client = client(exchange, header, exchange.wants_stream(), body.unwrap_or_default());
        let (dialect, operation) = (endpoint.dialect, endpoint.operation);
        Some(Box::new(Self {
            run: run.clone(),
            dialect,
            operation,
            client,
            hooks: Hooks::default(),
            looks: false,
            state: State::Head,
        }))
    }

    /// Whether the client has got the end of its answer.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Passes on what is to be written.
    ///
    /// # Errors
    /// Never in practice: headers are copied from such as were read.
    pub async fn pass(&mut self, tasks: Vec<HttpTask>) -> Result<Vec<HttpTask>> {
        let mut out = Vec::with_capacity(tasks.len() + 1);
        for task in tasks {
            match task {
                HttpTask::Header(header, end) if !header.status.is_informational() => {
                    Box::pin(self.header(header, end, &mut out)).await?;
                }
                HttpTask::Body(body, end) => Box::pin(self.body(body, end, &mut out)).await?,
                task @ (HttpTask::Trailer(_) | HttpTask::Done)
                    if matches!(self.state, State::Head | State::Passing) =>
                {
                    out.push(task);
                }
                task @ (HttpTask::Trailer(_) | HttpTask::Done) => {
                    Box::pin(self.body(None, true, &mut out)).await?;
                    if !self.is_over() {
                        out.push(task);
                    }
                }
                task if !self.is_over() => out.push(task),
                _ => {}
            }
        }
        for active in self.run.those(|needs| needs.bytes) {
            for body in
                out.iter().filter_map(|task| if let HttpTask::Body(Some(body), _) = task { Some(body) } else { None })
            {
                let show = |plugin: &dyn Plugin, cx: &Context| {
                    plugin.on_bytes(body, cx);
                    Ok(())
                };
                let _ = active.call_sync(Hook::Bytes, show, |()| Said::Pass);
            }
        }
        Ok(out)
    }

    /// Whether the answer has texts that plugins look at.
    fn has_text(&self) -> bool {
        matches!(
            self.operation,
            Operation::Chat | Operation::Completions | Operation::Stored | Operation::Transcription
        )
    }

    async fn header(&mut self, mut header: Box<ResponseHeader>, end: bool, out: &mut Vec<HttpTask>) -> Result<()> {
        let good = header.status.is_success();
        let form = form_of(&header, self.dialect);
        self.hooks = if good && self.has_text() { Hooks::of(&self.run) } else { Hooks::default() };
        let waits = self.run.those(|needs| needs.window.is_some()).next().is_some();
        self.looks = good && self.has_text() && (waits || !self.hooks.is_empty());
        let reads_body = self.looks || self.run.those(|needs| needs.answer_body).next().is_some();
        if form == AnswerForm::Json && reads_body && !end {
            self.state = State::Whole(header, BytesMut::new());
            return Ok(());
        }
        let mut answer = self.answer(&header, AnswerBody::Passing);
        if let Err(error) = self.ask(&mut answer, |_| true).await {
            return self.refuse(&header, error, out);
        }
        apply(&mut header, &answer.headers)?;
        if form != AnswerForm::Stream || !self.looks {
            if form == AnswerForm::Opaque && self.looks && !end && header.status != StatusCode::NO_CONTENT {
                return self.unread(header, end, "it cannot read an answer of this form", out);
            }
            self.state = State::Passing;
            out.push(HttpTask::Header(header, end));
            return Ok(());
        }
        if matches!(self.operation, Operation::Completions | Operation::Transcription) {
            return self.unread(header, end, "it cannot read streams of legacy completions and transcriptions", out);
        }
        header.remove_header(&CONTENT_LENGTH);
        let hooks = std::mem::take(&mut self.hooks);
        self.state = State::Stream(Box::new(Streaming::new(&self.run, self.dialect, &self.client, hooks)));
        out.push(HttpTask::Header(header, end));
        Ok(())
    }

    /// Nobody can read the answer for those who look at bodies and texts: their failure, which lets it pass or not.
    fn unread(&mut self, header: Box<ResponseHeader>, end: bool, why: &str, out: &mut Vec<HttpTask>) -> Result<()> {
        if let Err(error) = self.fail_readers(why) {
            return self.refuse(&header, error, out);
        }
        self.state = State::Passing;
        out.push(HttpTask::Header(header, end));
        Ok(())
    }

    /// All of them fail for this reason.
    ///
    /// # Errors
    /// What the client is told, if the answer must not go on without one of them.
    fn fail_readers(&self, why: &str) -> std::result::Result<(), ApiError> {
        let mut failed = Ok(());
        for active in self.run.those(|needs| needs.text.is_some() || needs.window.is_some() || needs.answer_body) {
            failed = failed.and(active.failed(Hook::Answer, &why.into(), Duration::ZERO));
        }
        failed
    }

    async fn body(&mut self, body: Option<Bytes>, end: bool, out: &mut Vec<HttpTask>) -> Result<()> {
        match &mut self.state {
            State::Over => {}
            State::Head | State::Passing => {
                if body.is_some() || end {
                    out.push(HttpTask::Body(body, end));
                }
            }
            State::Stream(streaming) => {
                let bytes = streaming.feed(body.unwrap_or_default(), end).await;
                let over = streaming.refused.is_some();
                if let Some(rejection) = streaming.refused.take() {
                    self.run.tell(rejected(rejection), None);
                }
                if !bytes.is_empty() || end || over {
                    out.push(HttpTask::Body((!bytes.is_empty()).then_some(bytes), end || over));
                }
                if end || over {
                    self.run.host.told(streaming.encoder.items());
                    self.state = State::Over;
                }
            }
            State::Whole(header, held) => {
                held.extend_from_slice(&body.unwrap_or_default());
                if held.len() > MOST_WHOLE {
                    let (header, held) = (header.clone(), std::mem::take(held).freeze());
                    self.unread_whole(header, held, end, "the answer is too large to be looked at", out).await?;
                } else if end {
                    let (header, held) = (header.clone(), std::mem::take(held).freeze());
                    self.whole(header, held, out).await?;
                }
            }
        }
        Ok(())
    }

    /// An answer that was kept to be read, and cannot be: who would read it fails, and the others see its header.
    async fn unread_whole(
        &mut self,
        mut header: Box<ResponseHeader>,
        held: Bytes,
        end: bool,
        why: &str,
        out: &mut Vec<HttpTask>,
    ) -> Result<()> {
        if let Err(error) = self.fail_readers(why) {
            return self.refuse(&header, error, out);
        }
        let mut answer = self.answer(&header, AnswerBody::Passing);
        if let Err(error) = self.ask(&mut answer, |needs| !needs.answer_body).await {
            return self.refuse(&header, error, out);
        }
        apply(&mut header, &answer.headers)?;
        self.state = State::Passing;
        out.extend([HttpTask::Header(header, false), HttpTask::Body(Some(held), end)]);
        Ok(())
    }

    fn answer(&self, header: &ResponseHeader, body: AnswerBody) -> Answer {
        let mut answer = Answer::new(self.dialect, self.operation, body);
        answer.status = header.status.as_u16();
        answer.headers = header.headers.clone();
        for name in FRAMING {
            answer.headers.remove(name);
        }
        answer
    }

    /// Asks `those` plugins about an answer, or its head.
    async fn ask(
        &self,
        answer: &mut Answer,
        those: fn(&Needs) -> bool,
    ) -> std::result::Result<Option<Reply>, ApiError> {
        for active in self.run.those(|needs| needs.answer && those(needs)) {
            let mut view = answer.clone();
            if !active.entry.needs.answer_body {
                view.body = AnswerBody::Passing;
            }
            let called = active.call(
                Hook::Answer,
                view,
                |plugin, cx, mut answer| {
                    Box::pin(async move {
                        let verdict = plugin.on_answer(&mut answer, &cx).await;
                        (answer, verdict)
                    })
                },
                said,
            );
            let Some((view, verdict)) = called.await? else { continue };
            match verdict {
                Verdict::Pass => {
                    answer.headers = view.headers;
                    if active.entry.needs.answer_body && answer.body != AnswerBody::Passing {
                        answer.body = view.body;
                    }
                }
                Verdict::Answer(_) if answer.body == AnswerBody::Passing => {
                    active.failed(Hook::Answer, &"it answered an answer that goes by".into(), Duration::ZERO)?;
                }
                Verdict::Answer(reply) => return Ok(Some(*reply)),
                Verdict::Reject(rejection) => return Err(rejected(rejection)),
            }
        }
        Ok(None)
    }

    /// An answer that is whole.
    async fn whole(&mut self, mut header: Box<ResponseHeader>, mut body: Bytes, out: &mut Vec<HttpTask>) -> Result<()> {
        if body.starts_with(BYTE_ORDER_MARK) {
            body = body.slice(BYTE_ORDER_MARK.len()..);
        }
        let array = self.client.json_array && body.trim_ascii_start().starts_with(b"[");
        let body = if array && header.status.is_success() {
            match self.stream_in_array(&body).await {
                Some(body) => body,
                None => return self.unread_whole(header, body, true, "it cannot read this array", out).await,
            }
        } else {
            body
        };
        if self.looks && !array && !body.is_empty() && !is_one_object(&body) {
            return self.unread_whole(header, body, true, "the answer is not one JSON object", out).await;
        }
        let mut answer = self.answer(&header, AnswerBody::Json(body));
        match self.ask(&mut answer, |_| true).await {
            Ok(None) => {}
            Ok(Some(Reply::Chat(response))) if self.operation == Operation::Chat => {
                let mut losses = Losses::default();
                let body = codec(self.dialect).encode_response(&response, &self.client, &mut losses);
                answer.body = AnswerBody::Json(body.into());
            }
            Ok(Some(Reply::Json { body, .. })) => answer.body = AnswerBody::Json(body),
            Ok(Some(_)) => {
                let error = ApiError::new(ErrorKind::Internal, "a plugin gave the answer of another operation");
                return self.refuse(&header, error, out);
            }
            Err(error) => return self.refuse(&header, error, out),
        }
        if self.looks && !array {
            let mut refused = screen_whole(&mut answer, &mut self.hooks.look);
            if refused.is_none() {
                refused = Box::pin(self.windows(&mut answer)).await;
            }
            if refused.is_none() {
                refused = screen_whole(&mut answer, &mut self.hooks.restore);
            }
            if let Some(rejection) = refused {
                self.run.tell(rejected(rejection), None);
            }
        }
        apply(&mut header, &answer.headers)?;
        let body = match answer.body {
            AnswerBody::Json(body) => body,
            AnswerBody::Passing => Bytes::new(),
        };
        if self.operation == Operation::Chat {
            self.run.host.told(codec(self.dialect).items_of(&body));
        }
        header.remove_header(&TRANSFER_ENCODING);
        header.insert_header(CONTENT_LENGTH, body.len())?;
        self.state = State::Over;
        out.extend([HttpTask::Header(header, false), HttpTask::Body(Some(body), true)]);
        Ok(())
    }

    /// Shows the texts of a whole answer to those who may wait.
    async fn windows(&self, answer: &mut Answer) -> Option<Rejection> {
        let waits: Vec<&Active> = self.run.those(|needs| needs.window.is_some()).collect();
        if waits.is_empty() {
            return None;
        }
        let mut texts: Vec<(Part, String)> = Vec::new();
        for text in answer.texts() {
            match (part_of(&text), texts.last_mut()) {
                (Some(_), Some((_, before))) if text.goes_on => before.push_str(&text.text),
                (Some(part), _) => texts.push((part, text.text.into_owned())),
                (None, _) => {}
            }
        }
        for (part, text) in texts {
            for active in &waits {
                if let Some(rejection) = window(active, part, &text, true).await {
                    refuse_whole(answer, &rejection);
                    return Some(rejection);
                }
            }
        }
        None
    }

    /// Gemini's stream in one JSON array is looked at as the stream that it is. `None`: it is none.
    async fn stream_in_array(&mut self, body: &Bytes) -> Option<Bytes> {
        let events: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body).ok()?;
        let hooks = std::mem::take(&mut self.hooks);
        let mut streaming = Streaming::new(&self.run, self.dialect, &self.client, hooks);
        let mut out = BytesMut::new();
        for event in events {
            let event = Bytes::from(format!("data: {}\n\n", event.get().replace(['\n', '\r'], " ")));
            out.extend_from_slice(&streaming.feed(event, false).await);
        }
        out.extend_from_slice(&streaming.feed(Bytes::new(), true).await);
        if let Some(rejection) = streaming.refused.take() {
            self.run.tell(rejected(rejection), None);
        }
        Some(out.freeze())
    }

    /// The client gets an error in the place of the answer.
    fn refuse(&mut self, header: &ResponseHeader, error: ApiError, out: &mut Vec<HttpTask>) -> Result<()> {
        let status = error.client_status(self.dialect);
        let body = encode_error(self.dialect, &error, &self.client.request_id);
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut refusal = ResponseHeader::build(code, Some(8))?;
        for (name, value) in header.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-")) {
            refusal.append_header(name.clone(), value.clone())?;
        }
        refusal.insert_header(CONTENT_TYPE, "application/json")?;
        refusal.insert_header(CONTENT_LENGTH, body.len())?;
        self.run.tell(error, Some(status));
        self.state = State::Over;
        out.extend([HttpTask::Header(Box::new(refusal), false), HttpTask::Body(Some(body.into()), true)]);
        Ok(())
    }
}

/// Writes the headers that plugins have changed.
fn apply(header: &mut ResponseHeader, changed: &HeaderMap) -> Result<()> {
    for name in differing(&header.headers, changed, |name| FRAMING.contains(name)) {
        header.remove_header(&name);
        for value in changed.get_all(&name) {
            header.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

/// The text hooks of the plugins, for one answer.
#[derive(Default)]
struct Hooks {
    /// Those that look at what the model says, in the order of the plugins.
    look: Vec<Hooked>,
    /// Those that bring back what was masked, in reverse: behind all that look, those who may wait among them.
    restore: Vec<Hooked>,
}

impl Hooks {
    fn of(run: &Run) -> Self {
        let hooked = |active: &Active, make: fn(&dyn Plugin, &Context) -> Option<Box<dyn TextHook>>| {
            let made = active.contained(|plugin, cx| Ok(make(plugin, cx)));
            let hook = made.unwrap_or_else(|failure| Some(Box::new(Fails(failure))))?;
            let hold = active.entry.needs.text.unwrap_or_default();
            Some(Hooked::new(hook, hold, Arc::new(TextPolicy(active.clone()))))
        };
        let mut hooks = Self::default();
        for active in run.those(|needs| needs.text.is_some()) {
            hooks.look.extend(hooked(active, |plugin, cx| plugin.text_hook(cx)));
            hooks.restore.extend(hooked(active, |plugin, cx| plugin.restore_hook(cx)).map(Hooked::restores));
        }
        hooks.restore.reverse();
        hooks
    }

    fn is_empty(&self) -> bool {
        self.look.is_empty() && self.restore.is_empty()
    }
}

/// Asks a plugin that may wait about a text. What it refuses with.
async fn window(active: &Active, part: Part, text: &str, end: bool) -> Option<Rejection> {
    let called = active.call(
        Hook::Window,
        (part, text.to_owned(), end),
        |plugin, cx, view| {
            Box::pin(async move {
                let flow = plugin.on_window(&view.0, &view.1, view.2, &cx).await;
                (view, flow)
            })
        },
        flow_said,
    );
    match called.await {
        Ok(Some((_, Flow::Refuse(rejection)))) => Some(rejection),
        Ok(Some((_, Flow::Pass)) | None) => None,
        Err(error) => Some(Rejection { status: error.kind.status(), message: error.message }),
    }
}
