//! A dialect that shares no word with any other: telegrams.
//!
//! | | |
//! |---|---|
//! | request | `{"engine", "live", "limit", "heat", "orders", "lines": [{"who": "person" or "machine", "line"}]}` to `/telegram`, or to `/telegram/ENGINE/live` |
//! | answer | `{"engine", "line", "why", "spent": {"in", "out"}}` |
//! | stream | `{"bit"}` a line, at last `{"why", "spent"}`, or `{"fault", "sort"}` |
//! | error | `{"fault", "sort"}` |

use ai_gateway_providers::auth::AuthScheme;
use ai_gateway_providers::codec::{Call, Client, Codec, Maker, Sink, StreamDecoder, StreamEncoder, Target};
use ai_gateway_providers::common::{
    Block, Choice, Content, Delta, Event, Losses, Message, Request, Response, Role, Stop, StopReason,
};
use ai_gateway_providers::own::{ClientPath, OwnDialect};
use ai_gateway_providers::{ApiError, Dialect, ErrorKind, Usage};
use serde_json::{Value, json};

pub struct Telegram;

impl OwnDialect for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn codec(&self) -> &dyn Codec {
        self
    }

    fn client_path<'p>(&self, path: &'p str) -> Option<ClientPath<'p>> {
        let rest = path.strip_prefix("/telegram")?;
        match rest.strip_prefix('/').and_then(|rest| rest.strip_suffix("/live")) {
            Some(model) => Some(ClientPath { model: Some(model), stream: true }),
            None => rest.is_empty().then(ClientPath::default),
        }
    }

    fn provider_path(&self, _model: &str, _stream: bool) -> String {
        "/telegram".to_owned()
    }

    fn stream_type(&self) -> &'static str {
        "application/x-telegrams"
    }

    fn cache_ignores(&self) -> &'static [&'static str] {
        &["engine", "live"]
    }

    fn auth(&self) -> Option<AuthScheme<&'static str>> {
        Some(AuthScheme::Header("x-telegram-key"))
    }

    fn decode_error(&self, status: u16, body: &[u8]) -> ApiError {
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        fault(&body).unwrap_or_else(|| ApiError::new(kind(status), "no telegram came"))
    }

    fn encode_error(&self, error: &ApiError, _request_id: &str) -> Vec<u8> {
        told(error).to_string().into_bytes()
    }
}

fn kind(status: u16) -> ErrorKind {
    if status == 429 { ErrorKind::RateLimited } else { ErrorKind::UpstreamError }
}

fn told(error: &ApiError) -> Value {
    json!({"fault": error.message, "sort": error.kind.as_str()})
}

fn fault(body: &Value) -> Option<ApiError> {
    let sort = if body["sort"] == "rate_limited" { ErrorKind::RateLimited } else { ErrorKind::UpstreamError };
    Some(ApiError::new(sort, body["fault"].as_str()?))
}

fn read(body: &[u8], blame: ErrorKind) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|_| ApiError::new(blame, "that is no telegram"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn words<'a>(blocks: impl IntoIterator<Item = &'a Block<'a>>, losses: &mut Losses) -> String {
    let mut words = String::new();
    for block in blocks {
        match &block.content {
            Content::Text(text) => words.push_str(&text.text),
            _ => losses.note("messages.content"),
        }
    }
    words
}

fn usage(spent: &Value) -> Option<Usage> {
    let (input, output) = (spent["in"].as_u64(), spent["out"].as_u64());
    spent.is_object().then(|| Usage { input, output, ..Usage::default() })
}

fn spent(usage: Option<&Usage>) -> Value {
    usage.map_or(Value::Null, |usage| json!({"in": usage.total_input(), "out": usage.total_output()}))
}

fn why(stop: &Stop<'_>) -> &'static str {
    if stop.reason == StopReason::MaxTokens { "full" } else { "done" }
}

fn stop(why: &Value) -> Stop<'static> {
    Stop::new(if why == "full" { StopReason::MaxTokens } else { StopReason::End })
}

impl Codec for Telegram {
    fn decode_request<'a>(&self, body: &'a [u8], _call: &Call<'_>) -> Result<Request<'a>, ApiError> {
        let body = read(body, ErrorKind::InvalidRequest)?;
        let Some(lines) = body["lines"].as_array() else {
            return Err(ApiError::new(ErrorKind::InvalidRequest, "a telegram has lines").with_param("lines"));
        };
        let message = |line: &Value| Message {
            role: if line["who"] == "machine" { Role::Assistant } else { Role::User },
            blocks: vec![Block::text(text(&line["line"]))],
            ..Message::default()
        };
        Ok(Request {
            model: text(&body["engine"]).into(),
            stream: body["live"] == true,
            max_tokens: body["limit"].as_u64(),
            temperature: body["heat"].as_f64(),
            system: body["orders"].as_str().map(|orders| Block::text(orders.to_owned())).into_iter().collect(),
            messages: lines.iter().map(message).collect(),
            ..Request::new(Dialect::OpenAiChat)
        })
    }

    fn encode_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ApiError> {
        losses.note_if(!request.tools.is_empty(), "tools");
        let mut body = json!({"engine": target.model, "live": request.stream});
        if let Some(limit) = request.max_tokens {
            body["limit"] = limit.into();
        }
        if let Some(heat) = request.temperature {
            body["heat"] = heat.into();
        }
        let orders = words(request.instructions(), losses);
        if !orders.is_empty() {
            body["orders"] = orders.into();
        }
        let turns = request.turns();
        let line =
            |role, line| json!({"who": if role == Role::Assistant { "machine" } else { "person" }, "line": line});
        body["lines"] = turns.iter().map(|turn| line(turn.role, words(turn.blocks(), losses))).collect();
        Ok(body.to_string().into_bytes())
    }

    fn decode_response<'a>(&self, body: &'a [u8], _maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        let body = read(body, ErrorKind::UpstreamError)?;
        if let Some(error) = fault(&body) {
            return Err(error);
        }
        let blocks = vec![Block::text(text(&body["line"]))];
        Ok(Response {
            model: body["engine"].as_str().map(|model| model.to_owned().into()),
            choices: vec![Choice { blocks, stop: stop(&body["why"]), ..Choice::default() }],
            usage: usage(&body["spent"]),
            ..Response::new(Dialect::OpenAiChat)
        })
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        let engine = response.model.as_deref().unwrap_or(&client.model);
        let choice = response.choices.first().cloned().unwrap_or_default();
        let line = words(&choice.blocks, losses);
        let spent = spent(response.usage.as_ref());
        json!({"engine": engine, "line": line, "why": why(&choice.stop), "spent": spent}).to_string().into_bytes()
    }

    fn stream_decoder(&self, _maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::<Reader>::default()
    }

    fn stream_encoder(&self, _client: &Client) -> Box<dyn StreamEncoder> {
        Box::<Writer>::default()
    }
}

#[derive(Default)]
struct Reader {
    line: Vec<u8>,
    begun: bool,
    over: bool,
}

impl Reader {
    fn take(&mut self, sink: Sink<'_>) {
        let line = std::mem::take(&mut self.line);
        if self.over || line.trim_ascii().is_empty() {
            return;
        }
        let (choice, index) = (0, 0);
        let line = read(&line, ErrorKind::UpstreamError).unwrap_or_else(|error| told(&error));
        if !self.begun {
            self.begun = true;
            sink(Event::Start { id: None, model: None, created: None });
            sink(Event::BlockStart { choice, index, block: Block::text("") });
        }
        if let Some(error) = fault(&line) {
            self.over = true;
            sink(Event::Error(error));
        } else if line["why"].is_null() {
            sink(Event::Delta { choice, index, delta: Delta::Text(text(&line["bit"]).into()) });
        } else {
            self.over = true;
            sink(Event::BlockEnd { choice, index });
            sink(Event::Stop { choice, stop: stop(&line["why"]), extras: Vec::new() });
            usage(&line["spent"]).into_iter().for_each(|usage| sink(Event::Usage(usage)));
            sink(Event::End);
        }
    }
}

impl StreamDecoder for Reader {
    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>) {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.take(sink);
            }
        }
        if end && !self.over {
            self.over = true;
            sink(Event::Error(ApiError::new(ErrorKind::StreamCut, "the line went dead")));
        }
    }
}

#[derive(Default)]
struct Writer {
    why: &'static str,
    usage: Option<Usage>,
}

impl StreamEncoder for Writer {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let line = match event {
            Event::BlockStart { block, .. } => {
                let bit = words([&block], losses);
                if bit.is_empty() {
                    return;
                }
                json!({ "bit": bit })
            }
            Event::Delta { delta: Delta::Text(bit), .. } => json!({"bit": &*bit}),
            Event::Stop { stop, .. } => {
                self.why = why(&stop);
                return;
            }
            Event::Usage(usage) => {
                self.usage = Some(usage);
                return;
            }
            Event::Error(error) => told(&error),
            Event::End => json!({"why": self.why, "spent": spent(self.usage.as_ref())}),
            _ => return,
        };
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
    }
}
