//! A client of any dialect: asks with a text, and says what it heard in terms that all dialects share. An application
//! judges by these terms whether it was answered, refused, or told that the answer broke.

use crate::client::{Reply, Request};
use crate::talk::target_of;
use ai_gateway_providers::codec::{Maker, Platform, Target, codec};
use ai_gateway_providers::common::{
    Block, Collector, Content, Delta, Event, Losses, Message, ProviderTag, Request as Chat, Response,
};
use ai_gateway_providers::error::decode_error;
use ai_gateway_providers::{ApiError, Dialect};

/// Asks `model` with `text` as a client of `dialect` does.
pub fn ask(dialect: Dialect, model: &str, text: &str, stream: bool) -> Request {
    let mut chat = Chat { stream, include_usage: stream, max_tokens: Some(1000), ..Chat::new(dialect) };
    chat.messages.push(Message { blocks: vec![Block::text(text.to_owned())], ..Message::default() });
    let target = Target::new(model, ProviderTag::of("client"));
    let body = codec(dialect).encode_request(&chat, &target, &mut Losses::default()).expect("a request");
    Request::post(&target_of(dialect, model, stream), body)
}

const NOT_NAMED: &str = "not named";

/// What a client makes of a reply.
#[derive(Debug)]
pub enum Heard {
    /// A whole answer.
    Answer(Answer),
    /// An error with a status of its own, in the client's dialect.
    Refused(u16, ApiError),
    /// A stream that had begun and then told of an error, with the text before it.
    Told(String, ApiError),
    /// An answer that had begun and visibly broke off, with the text before.
    Broken(String),
    /// What looks whole to HTTP and is no answer: no gateway may send that.
    Nonsense(String),
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// What is said.
    pub text: String,
    /// The model that says it, in dialects that name it.
    pub model: Option<String>,
    /// Tokens in and out.
    pub tokens: Option<(u64, u64)>,
}

impl Answer {
    fn of(response: &Response<'_>) -> Self {
        // Where the dialect does not name it, the decoder does.
        let named = response.model.as_ref().filter(|model| model.as_str() != NOT_NAMED);
        let model = named.map(|model| model.as_str().to_owned());
        let tokens = response.usage.map(|usage| (usage.total_input(), usage.total_output()));
        let tokens = tokens.and_then(|(input, output)| Some((input?, output?)));
        Answer { text: text_of(response), model, tokens }
    }
}

/// The text of an answer.
#[must_use]
pub fn text_of(response: &Response<'_>) -> String {
    let blocks = response.choices.iter().flat_map(|choice| &choice.blocks);
    blocks.filter_map(|block| if let Content::Text(text) = &block.content { Some(&*text.text) } else { None }).collect()
}

/// Reads a reply as a client of `dialect` that asked for a stream or not.
pub fn hear(dialect: Dialect, stream: bool, reply: &Reply) -> Heard {
    if reply.status >= 400 {
        if !reply.complete || serde_json::from_slice::<serde_json::Value>(&reply.body).is_err() {
            return Heard::Nonsense(format!("{}: {}", reply.status, reply.text()));
        }
        return Heard::Refused(reply.status, decode_error(dialect, reply.status, &reply.body));
    }
    let maker =
        Maker { provider: ProviderTag::of("client"), platform: Platform::Native, model: NOT_NAMED, id_seed: "client" };
    if stream {
        return hear_stream(dialect, &maker, reply);
    }
    match codec(dialect).decode_response(&reply.body, &maker) {
        _ if !reply.complete => Heard::Broken(String::new()),
        Ok(response) => Heard::Answer(Answer::of(&response)),
        Err(_) => Heard::Nonsense(reply.text()),
    }
}

fn hear_stream(dialect: Dialect, maker: &Maker<'_>, reply: &Reply) -> Heard {
    let mut collector = Collector::new(dialect);
    let (mut told, mut text) = (None, String::new());
    let mut decoder = codec(dialect).stream_decoder(maker);
    let mut take = |event: Event<'_>, told: &mut Option<ApiError>| {
        match &event {
            Event::Error(error) => *told = Some(error.clone()),
            Event::Delta { delta: Delta::Text(more), .. } => text.push_str(more),
            _ => {}
        }
        collector.feed(&event);
    };
    decoder.feed(&reply.body, false, &mut |event| take(event, &mut told));
    // At the end a decoder itself makes an error of what is missing; what was told before came from the gateway.
    let mut missing = None;
    decoder.feed(b"", true, &mut |event| take(event, &mut missing));
    match (collector.finish(), told) {
        (_, Some(error)) => Heard::Told(text, error),
        (Ok(response), None) if reply.complete => Heard::Answer(Answer::of(&response)),
        _ if !reply.complete => Heard::Broken(text),
        _ => Heard::Nonsense(reply.text()),
    }
}
