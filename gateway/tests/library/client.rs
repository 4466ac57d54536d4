//! A client of any dialect, on a connection of its own for each request.

use std::net::SocketAddr;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Maker, Platform, Target, codec};
use ai_gateway_providers::common::{Block, Collector, Content, Losses, Message, ProviderTag, Request as Chat};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A request to send.
#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }
}

/// What came back.
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.map_or("", |line| line[name.len() + 2..].trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks `model` with `text` as a client of `dialect` does.
pub fn ask(dialect: Dialect, model: &str, text: &str, stream: bool) -> Request {
    let mut chat = Chat { stream, include_usage: stream, max_tokens: Some(1000), ..Chat::new(dialect) };
    chat.messages.push(Message { blocks: vec![Block::text(text.to_owned())], ..Message::default() });
    let target = Target::new(model, ProviderTag::of("client"));
    let body = codec(dialect).encode_request(&chat, &target, &mut Losses::default()).expect("a request");
    let path = match dialect {
        Dialect::OpenAiChat => "/v1/chat/completions".to_owned(),
        Dialect::OpenAiResponses => "/v1/responses".to_owned(),
        Dialect::Anthropic => "/v1/messages".to_owned(),
        Dialect::Gemini if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
        Dialect::Gemini => format!("/v1beta/models/{model}:generateContent"),
        Dialect::Bedrock if stream => format!("/model/{model}/converse-stream"),
        Dialect::Bedrock => format!("/model/{model}/converse"),
        Dialect::Cohere => "/v2/chat".to_owned(),
        Dialect::Own(own) => own.dialect().provider_path(model, stream),
    };
    Request { method: "POST", path, headers: String::new(), body }
}

pub async fn exchange(addr: SocketAddr, request: &Request) -> Reply {
    let exchanged = tokio::time::timeout(std::time::Duration::from_secs(60), talk(addr, request)).await;
    exchanged.expect("an answer in time")
}

async fn talk(addr: SocketAddr, Request { method, path, headers, body }: &Request) -> Reply {
    let mut connection = tokio::net::TcpStream::connect(addr).await.expect("a connection");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(&[head.as_bytes(), body].concat()).await.expect("the request is taken");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a header") + 4;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    let mut reply = Reply { status, head, body: answer[end..].to_vec() };
    if reply.header("transfer-encoding") == "chunked" {
        reply.body = unchunked(&reply.body);
    }
    reply
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.expect("the size of a chunk");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
    panic!("the answer has no end: {}", String::from_utf8_lossy(&body));
}

/// The text of a whole answer, streamed or not.
pub fn said(dialect: Dialect, stream: bool, reply: &Reply) -> String {
    let what = format!("{dialect}, stream {stream}: {} {}", reply.status, reply.text());
    assert_eq!(reply.status, 200, "{what}");
    let maker = Maker { provider: ProviderTag::of("c"), platform: Platform::Native, model: "m", id_seed: "c" };
    let mut collector = Collector::new(dialect);
    let streamed;
    let response = if stream {
        codec(dialect).stream_decoder(&maker).feed(&reply.body, true, &mut |event| collector.feed(&event));
        streamed = collector.finish().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        &streamed
    } else {
        &codec(dialect).decode_response(&reply.body, &maker).unwrap_or_else(|error| panic!("{what}: {error:?}"))
    };
    let blocks = response.choices.iter().flat_map(|choice| &choice.blocks);
    blocks.filter_map(|block| if let Content::Text(text) = &block.content { Some(&*text.text) } else { None }).collect()
}
