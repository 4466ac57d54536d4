//! Dialects that are none of the six built-in ones: the program that embeds the gateway brings them along.
//!
//! [`OwnDialect`] is what such a program writes; [`Own`] is the handle on it that stands in [`Dialect::Own`]. `codec` puts what
//! holds for all of them around its codec, `body` reads request bodies by that codec where the built-in dialects have their
//! fields looked up by name.

mod body;
mod codec;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use bounded_static::{IntoBoundedStatic, ToBoundedStatic};

use crate::auth::AuthScheme;
use crate::codec::Codec;
use crate::dialect::Dialect;
use crate::error::{ApiError, decode_named, encode_error};

pub use body::scan_request;
pub(crate) use body::{edit_texts, facts, repeatable, texts};

/// A dialect of one's own: clients may speak it to the gateway, and providers be spoken to in it.
///
/// Only chats are asked in it. A request is a POST whose body is a JSON object, and a whole answer is `application/json`; a
/// stream may be framed in any way. All bodies go through the codec, also where both sides speak this dialect: what shall pass there
/// that the [common model](crate::common) has no place for, its codec puts into `extras` and takes out again.
///
/// ```
/// use ai_gateway_providers::codec::{Call, Client, Codec, Maker, Sink, StreamDecoder, StreamEncoder, Target};
/// use ai_gateway_providers::common::{
///     Block, Choice, Content, Event, Losses, Message, Request, Response, Role,
/// };
/// use ai_gateway_providers::own::{ClientPath, Own, OwnDialect};
/// use ai_gateway_providers::{ApiError, Dialect, ErrorKind, Usage};
/// use serde_json::{Value, json};
///
/// /// `{"engine": "m", "say": "Hi"}` is answered by `{"said": "Hello"}`; no streams.
/// struct Parrot;
///
/// impl OwnDialect for Parrot {
///     fn name(&self) -> &'static str {
///         "parrot"
///     }
///
///     fn codec(&self) -> &dyn Codec {
///         self
///     }
///
///     fn client_path<'p>(&self, path: &'p str) -> Option<ClientPath<'p>> {
///         (path == "/parrot").then(ClientPath::default)
///     }
///
///     fn provider_path(&self, _model: &str, _stream: bool) -> String {
///         "/parrot".to_owned()
///     }
/// }
///
/// fn read(body: &[u8]) -> Result<Value, ApiError> {
///     serde_json::from_slice(body).map_err(|error| ApiError::new(ErrorKind::InvalidRequest, error.to_string()))
/// }
///
/// fn text(value: &Value) -> String {
///     value.as_str().unwrap_or_default().to_owned()
/// }
///
/// fn said<'a>(blocks: impl IntoIterator<Item = &'a Block<'a>>) -> String {
///     let texts = blocks.into_iter().filter_map(|block| match &block.content {
///         Content::Text(text) => Some(&*text.text),
///         _ => None,
///     });
///     texts.collect()
/// }
///
/// impl Codec for Parrot {
///     fn decode_request<'a>(&self, body: &'a [u8], _call: &Call<'_>) -> Result<Request<'a>, ApiError> {
///         let body = read(body)?;
///         let said = Message { role: Role::User, blocks: vec![Block::text(text(&body["say"]))], ..Message::default() };
///         // The gateway sets the field `dialect` right.
///         Ok(Request { model: text(&body["engine"]).into(), messages: vec![said], ..Request::new(Dialect::OpenAiChat) })
///     }
///
///     fn encode_request(&self, request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
///         losses.note_if(!request.tools.is_empty(), "tools");
///         let say = said(request.messages.iter().flat_map(|message| &message.blocks));
///         Ok(json!({"engine": target.model, "say": say}).to_string().into_bytes())
///     }
///
///     fn decode_response<'a>(&self, body: &'a [u8], _maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
///         let blocks = vec![Block::text(text(&read(body)?["said"]))];
///         let choice = Choice { blocks, ..Choice::default() };
///         Ok(Response { choices: vec![choice], ..Response::new(Dialect::OpenAiChat) })
///     }
///
///     fn encode_response(&self, response: &Response<'_>, _client: &Client, _losses: &mut Losses) -> Vec<u8> {
///         json!({"said": said(response.choices.iter().flat_map(|choice| &choice.blocks))}).to_string().into_bytes()
///     }
/// #   fn stream_decoder(&self, _maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
/// #       struct Never;
/// #       impl StreamDecoder for Never {
/// #           fn feed(&mut self, _: &[u8], end: bool, sink: Sink<'_>) {
/// #               if end { sink(Event::Error(ApiError::new(ErrorKind::StreamCut, "no streams"))) }
/// #           }
/// #       }
/// #       Box::new(Never)
/// #   }
/// #   fn stream_encoder(&self, _client: &Client) -> Box<dyn StreamEncoder> {
/// #       struct Never;
/// #       impl StreamEncoder for Never {
/// #           fn encode(&mut self, _: Event<'_>, _: &mut Losses, _: &mut Vec<u8>) {}
/// #       }
/// #       Box::new(Never)
/// #   }
///     // stream_decoder, stream_encoder: see the trait `Codec`
/// }
///
/// let parrot = Dialect::Own(Own::new(Parrot));
/// assert_eq!(parrot.as_str(), "parrot");
/// let asked = ai_gateway_providers::codec::codec(parrot)
///     .decode_request(br#"{"engine": "m", "say": "Hi"}"#, &Call::default())?;
/// assert_eq!((&*asked.model, asked.dialect), ("m", parrot));
/// # Ok::<(), ApiError>(())
/// ```
pub trait OwnDialect: Send + Sync + 'static {
    /// Its name in configuration, metrics and logs: none of the built-in ones' ([`Dialect::ALL`]).
    fn name(&self) -> &'static str;

    /// What reads and writes it. What it makes need not name this dialect: the gateway sets [`Request::dialect`] and
    /// [`Response::dialect`](crate::common::Response::dialect).
    ///
    /// [`Request::dialect`]: crate::common::Request::dialect
    fn codec(&self) -> &dyn Codec;

    /// What the path of a client's POST says, as sent and without its query; `None`: it is none of this dialect's. Such paths
    /// are looked at before those of the built-in dialects, and are theirs no more.
    fn client_path<'p>(&self, path: &'p str) -> Option<ClientPath<'p>>;

    /// The path at a provider, which follows that of its base URL, with a slash at its beginning. `model`: the provider's name of
    /// it, percent-encoded, so that it can stand in a path as it is.
    fn provider_path(&self, model: &str, stream: bool) -> String;

    /// The content type of its streams; not `application/json`, which a whole answer has.
    fn stream_type(&self) -> &'static str {
        "text/event-stream"
    }

    /// Fields at the top of a request's body that change nothing in what is answered, for the gateway's cache: the name of the
    /// model, which has been resolved, and the wish for a stream. What is not named here makes another question.
    fn cache_ignores(&self) -> &'static [&'static str] {
        &["model", "stream"]
    }

    /// Where a provider's `api_key` goes, unless its `auth` says that. `None`: where its `kind` has it, which is a bearer token
    /// for most.
    fn auth(&self) -> Option<AuthScheme<&'static str>> {
        None
    }

    /// Understands a provider's error answer of `status`, which may be anything. The default finds code, type and message in the
    /// usual places of JSON, and goes by the status.
    fn decode_error(&self, status: u16, body: &[u8]) -> ApiError {
        decode_named(self.name(), status, body)
    }

    /// The body of an error for a client, which says nothing but what it may know. The default is OpenAI's:
    /// `{"error": {"message", "type", "param", "code"}}`. In streams the codec writes [`Event::Error`](crate::common::Event::Error).
    fn encode_error(&self, error: &ApiError, request_id: &str) -> Vec<u8> {
        encode_error(Dialect::OpenAiChat, error, request_id)
    }
}

/// What the path of a client's request says. The default: only that it is a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientPath<'p> {
    /// The model, as it stands in the path; the gateway takes the percent-encoding away. `None`: the body names it.
    pub model: Option<&'p str>,
    /// Whether a stream is asked for; else the body may.
    pub stream: bool,
}

/// A handle on an [`OwnDialect`]. Two of one name are the same.
#[derive(Clone, Copy)]
pub struct Own(&'static Registered);

/// What a handle points to.
struct Registered {
    name: &'static str,
    dialect: Box<dyn OwnDialect>,
    /// The handle itself, which is the codec that the gateway uses.
    handle: OnceLock<Own>,
}

impl Own {
    /// Makes `dialect` known. It stays in memory until the process ends, which is why a program does this once for each of its
    /// dialects, and not for each gateway.
    #[must_use]
    pub fn new(dialect: impl OwnDialect) -> Self {
        let (name, handle) = (dialect.name(), OnceLock::new());
        Self(Box::leak(Box::new(Registered { name, dialect: Box::new(dialect), handle })))
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// The dialect itself.
    #[must_use]
    pub fn dialect(self) -> &'static dyn OwnDialect {
        &*self.0.dialect
    }

    /// Its codec, which sees to what holds for all own dialects.
    pub(crate) fn codec(self) -> &'static dyn Codec {
        self.0.handle.get_or_init(|| self)
    }
}

impl<D: OwnDialect> From<D> for Own {
    fn from(dialect: D) -> Self {
        Self::new(dialect)
    }
}

impl From<Own> for Dialect {
    fn from(own: Own) -> Self {
        Self::Own(own)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Own {}

impl Hash for Own {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl PartialOrd for Own {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Own {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl ToBoundedStatic for Own {
    type Static = Self;

    fn to_static(&self) -> Self {
        *self
    }
}

impl IntoBoundedStatic for Own {
    type Static = Self;

    fn into_static(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests;
