//! An HTTP/1.1 client that costs as little as possible: one request image written as is, one incremental reader.
//!
//! It understands what the targets send: a status line, `content-length` or `chunked`, and counts server-sent events.
//! It is deliberately not a general client.

use std::{io, net::SocketAddr, time::Instant};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A request as it goes on the wire, and how its answer must end.
#[derive(Debug, Clone)]
pub struct Request {
    image: Vec<u8>,
    /// What the stream ends with; `None`: the answer is no stream.
    end: Option<&'static Ending>,
}

impl Request {
    /// `POST {path}` with a JSON `body` and, if given, a bearer `key`.
    /// `end` says that the answer must be server-sent events, and what they end with.
    fn post(host: SocketAddr, path: &str, key: Option<&str>, body: &str, end: Option<&'static Ending>) -> Self {
        let authorization = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let length = body.len();
        let image = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: ai-gateway-load\r\naccept: */*\r\n\
             {authorization}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        Self { image: image.into_bytes(), end }
    }

    /// A Chat Completions request for `model` whose body is exactly `size` bytes (or the smallest possible, if that is more).
    pub fn chat(host: SocketAddr, key: Option<&str>, model: &str, size: usize, stream: bool) -> Self {
        let flag = if stream { r#","stream":true"# } else { "" };
        let body = filled(size, |text| {
            format!(
                r#"{{"model":"{model}","temperature":0.7,"max_tokens":1024{flag},"messages":[{{"role":"system","content":"You answer briefly."}},{{"role":"user","content":"{text}"}}]}}"#
            )
        });
        Self::post(host, "/v1/chat/completions", key, &body, stream.then_some(DONE))
    }

    /// The same as a request of Anthropic's Messages.
    pub fn messages(host: SocketAddr, key: Option<&str>, model: &str, size: usize, stream: bool) -> Self {
        let flag = if stream { r#","stream":true"# } else { "" };
        let body = filled(size, |text| {
            format!(
                r#"{{"model":"{model}","temperature":0.7,"max_tokens":1024{flag},"system":"You answer briefly.","messages":[{{"role":"user","content":"{text}"}}]}}"#
            )
        });
        Self::post(host, "/v1/messages", key, &body, stream.then_some(MESSAGE_STOP))
    }
}

/// A body with as much text as brings it to `size`.
fn filled(size: usize, body: impl Fn(&str) -> String) -> String {
    const WORDS: &str = "the quick brown fox jumps over the lazy dog and ";
    let missing = size.saturating_sub(body("").len());
    body(&WORDS.chars().cycle().take(missing).collect::<String>())
}

/// What came back for one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// When the first output text of a stream arrived.
    pub first_output: Option<Instant>,
    /// Server-sent events counted, the final `[DONE]` included.
    pub events: u64,
    /// Body bytes after de-chunking.
    pub body_bytes: u64,
}

/// Reads one answer from arbitrary slices of the connection.
#[derive(Debug)]
struct Reader {
    state: State,
    head: Vec<u8>,
    status: u16,
    close: bool,
    events: u64,
    body_bytes: u64,
    saw_output: bool,
    last_byte: u8,
    tail: Tail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Fixed(u64),
    Size(u64),
    Data(u64),
    AfterData,
    /// In the trailer section; how many bytes the current line has.
    Trailer(u64),
    Done,
}

/// The last bytes of the body, to recognise how a stream ended wherever the reads were cut.
#[derive(Debug, Default)]
struct Tail(Ending);

/// The last bytes of a stream.
type Ending = [u8; 14];

/// Of Chat Completions.
const DONE: &Ending = b"data: [DONE]\n\n";
/// Of Messages.
const MESSAGE_STOP: &Ending = b"ssage_stop\"}\n\n";

impl Tail {
    fn push(&mut self, data: &[u8]) {
        let keep = data.len().min(DONE.len());
        self.0.rotate_left(keep);
        let start = DONE.len() - keep;
        self.0[start..].copy_from_slice(&data[data.len() - keep..]);
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed answer: {what}"))
}

impl Reader {
    fn new() -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            status: 0,
            close: false,
            events: 0,
            body_bytes: 0,
            saw_output: false,
            last_byte: 0,
            tail: Tail::default(),
        }
    }

    fn feed(&mut self, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() {
            match self.state {
                State::Head => {
                    let before = self.head.len();
                    self.head.extend_from_slice(input);
                    let from = before.saturating_sub(3);
                    let Some(end) = memmem::find(&self.head[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
                        return Ok(());
                    };
                    input = &input[end - before..];
                    self.parse_head(end)?;
                }
                State::Fixed(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    self.body(&input[..take]);
                    input = &input[take..];
                    let left = left - take as u64;
                    self.state = if left == 0 { State::Done } else { State::Fixed(left) };
                }
                State::Size(size) => {
                    let byte = input[0];
                    input = &input[1..];
                    self.state = match byte {
                        b'\r' => State::Size(size),
                        b'\n' if size == 0 => State::Trailer(0),
                        b'\n' => State::Data(size),
                        _ => {
                            let digit = char::from(byte).to_digit(16).ok_or_else(|| malformed("chunk size"))?;
                            State::Size(size.checked_mul(16).ok_or_else(|| malformed("chunk size"))? + u64::from(digit))
                        }
                    };
                }
                State::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    self.body(&input[..take]);
                    input = &input[take..];
                    let left = left - take as u64;
                    self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                }
                State::AfterData => {
                    match input[0] {
                        b'\r' => {}
                        b'\n' => self.state = State::Size(0),
                        _ => return Err(malformed("no line end after a chunk")),
                    }
                    input = &input[1..];
                }
                State::Trailer(length) => {
                    self.state = match input[0] {
                        b'\r' => State::Trailer(length),
                        b'\n' if length == 0 => State::Done,
                        b'\n' => State::Trailer(0),
                        _ => State::Trailer(length + 1),
                    };
                    input = &input[1..];
                }
                State::Done => return Err(malformed("bytes after the end")),
            }
        }
        Ok(())
    }

    fn parse_head(&mut self, end: usize) -> io::Result<()> {
        let head = std::str::from_utf8(&self.head[..end]).map_err(|_| malformed("head is not UTF-8"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        self.status = status.ok_or_else(|| malformed("status line"))?;
        let mut framing = None;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                framing = Some(State::Fixed(value.parse().map_err(|_| malformed("content-length"))?));
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
                framing = Some(State::Size(0));
            } else if name.eq_ignore_ascii_case("connection") {
                self.close = value.eq_ignore_ascii_case("close");
            }
        }
        self.state = match framing {
            Some(State::Fixed(0)) => State::Done,
            Some(state) => state,
            None => return Err(malformed("neither content-length nor chunked")),
        };
        Ok(())
    }

    fn body(&mut self, data: &[u8]) {
        self.body_bytes += data.len() as u64;
        if self.last_byte == b'\n' && data.first() == Some(&b'\n') {
            self.events += 1;
        }
        self.events += memmem::find_iter(data, b"\n\n").count() as u64;
        if let Some(last) = data.last() {
            self.last_byte = *last;
        }
        if !self.saw_output {
            const CONTENT: &[u8] = b"\"content\":\"";
            let filled = |at: usize| data.get(at + CONTENT.len()).is_some_and(|byte| *byte != b'"');
            self.saw_output = memmem::find_iter(data, CONTENT).any(filled);
        }
        self.tail.push(data);
    }
}

/// A keep-alive connection to a target.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// How much is read at once; a larger answer takes more reads.
const READ_SIZE: usize = 16 * 1024;

impl Connection {
    /// Connects to `address` with `TCP_NODELAY`.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { address, socket, buffer: vec![0; READ_SIZE] })
    }

    /// Sends `request` and reads its whole answer; `on_event` is told when a read brought one or more events.
    /// An answer other than a complete 200 is an error. Connects again if the target closed after the answer.
    pub async fn exchange(&mut self, request: &Request, mut on_event: impl FnMut(Instant)) -> io::Result<Answer> {
        let mut exchange = self.begin(request).await?;
        while exchange.advance(self, &mut on_event).await? {}
        let answer = exchange.finish()?;
        if exchange.reader.close {
            *self = Self::open(self.address).await?;
        }
        Ok(answer)
    }

    /// Sends `request` only; the answer is read step by step with [`Exchange::advance`].
    pub async fn begin(&mut self, request: &Request) -> io::Result<Exchange> {
        self.socket.write_all(&request.image).await?;
        Ok(Exchange { reader: Reader::new(), end: request.end, first_output: None })
    }
}

/// An answer being read.
#[derive(Debug)]
pub struct Exchange {
    reader: Reader,
    end: Option<&'static Ending>,
    first_output: Option<Instant>,
}

impl Exchange {
    /// One read from the connection; false when the answer is complete.
    pub async fn advance(
        &mut self,
        connection: &mut Connection,
        mut on_event: impl FnMut(Instant),
    ) -> io::Result<bool> {
        if self.reader.state == State::Done {
            return Ok(false);
        }
        let read = connection.socket.read(&mut connection.buffer).await?;
        if read == 0 {
            return Err(malformed("the connection ended before the answer did"));
        }
        let events = self.reader.events;
        self.reader.feed(&connection.buffer[..read])?;
        if self.end.is_some() && self.reader.events > events {
            let now = Instant::now();
            on_event(now);
            if self.reader.saw_output && self.first_output.is_none() {
                self.first_output = Some(now);
            }
        }
        Ok(self.reader.state != State::Done)
    }

    /// Whether output text has arrived.
    pub fn has_output(&self) -> bool {
        self.first_output.is_some()
    }

    /// Whether anything of the answer has arrived.
    pub fn has_begun(&self) -> bool {
        !self.reader.head.is_empty()
    }

    /// Whether the target closes the connection after this answer.
    pub fn closes(&self) -> bool {
        self.reader.close
    }

    /// What came, once [`Exchange::advance`] has said that it is all.
    ///
    /// # Errors
    /// Another status than 200, or a stream without its end.
    pub fn finish(&self) -> io::Result<Answer> {
        let reader = &self.reader;
        if reader.status != 200 {
            return Err(malformed(&format!("status {}", reader.status)));
        }
        if self.end.is_some_and(|end| reader.tail.0 != *end) {
            return Err(malformed("the stream ended without its end marker"));
        }
        Ok(Answer {
            status: reader.status,
            first_output: self.first_output,
            events: reader.events,
            body_bytes: reader.body_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
        2a\r\ndata: {\"delta\":{\"role\":\"a\",\"content\":\"\"}}\n\r\n\
        20\r\n\ndata: {\"content\":\"hello\"}\n\ndata\r\n\
        a\r\n: [DONE]\n\n\r\n0\r\n\r\n";

    #[test]
    fn a_chunked_stream_reads_the_same_wherever_it_is_cut() {
        for cut in 0..STREAM.len() {
            let mut reader = Reader::new();
            reader.feed(&STREAM.as_bytes()[..cut]).unwrap();
            assert_ne!(reader.state, State::Done, "cut at {cut}");
            reader.feed(&STREAM.as_bytes()[cut..]).unwrap();
            assert_eq!(reader.state, State::Done, "cut at {cut}");
            assert_eq!((reader.status, reader.events, &reader.tail.0), (200, 3, DONE), "cut at {cut}");
        }
    }

    #[test]
    fn an_empty_delta_is_not_output() {
        let mut reader = Reader::new();
        let output = STREAM.find("20\r\n").unwrap();
        reader.feed(&STREAM.as_bytes()[..output]).unwrap();
        assert!(!reader.saw_output);
        reader.feed(&STREAM.as_bytes()[output..]).unwrap();
        assert!(reader.saw_output);
    }

    #[test]
    fn a_fixed_length_answer_ends_with_its_last_byte() {
        let text = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let mut reader = Reader::new();
        reader.feed(&text[..text.len() - 1]).unwrap();
        assert_eq!(reader.state, State::Fixed(1));
        reader.feed(b"}").unwrap();
        assert_eq!((reader.state, reader.status, reader.close, reader.body_bytes), (State::Done, 429, true, 2));
        assert!(reader.feed(b"x").is_err());
    }

    #[test]
    fn a_chat_request_has_the_size_asked_for() {
        let host = SocketAddr::from(([127, 0, 0, 1], 80));
        for (model, size) in [("m", 1024), ("a-longer-model-name", 1024), ("m", 200_000)] {
            for request in [Request::chat, Request::messages] {
                let request = request(host, Some("k"), model, size, true);
                let image = String::from_utf8(request.image).unwrap();
                let (head, body) = image.split_once("\r\n\r\n").unwrap();
                assert_eq!(body.len(), size);
                assert!(head.ends_with(&format!("content-length: {size}")));
                serde_json::from_str::<serde_json::Value>(body).unwrap();
            }
        }
    }
}
