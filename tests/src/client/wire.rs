//! Reading HTTP/1 messages from a byte stream, as the stub and the raw client both need it.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The head of a request.
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Headers.
    pub headers: HeaderMap,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After this many bytes.
    Exact(usize),
    /// After the last chunk.
    Chunked,
    /// When the connection closes.
    Close,
}

/// Reads more bytes; false at the end of the stream.
pub async fn fill<S: AsyncRead + Unpin>(io: &mut S, buffer: &mut BytesMut) -> bool {
    buffer.reserve(16 * 1024);
    matches!(io.read_buf(buffer).await, Ok(n) if n > 0)
}

fn headers(parsed: &[httparse::Header<'_>]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).expect("header name");
        map.append(name, HeaderValue::from_bytes(header.value).expect("header value"));
    }
    map
}

/// Parses a request head off the front of the buffer. The headers' array is large: it must not be part of a future.
fn take_request_head(buffer: &mut BytesMut) -> Result<Option<RequestHead>, httparse::Error> {
    let mut parsed = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut parsed);
    let httparse::Status::Complete(size) = request.parse(buffer)? else { return Ok(None) };
    let head = RequestHead {
        method: request.method.and_then(|m| m.parse().ok()).ok_or(httparse::Error::Token)?,
        target: request.path.unwrap_or_default().to_owned(),
        headers: headers(request.headers),
    };
    buffer.advance(size);
    Ok(Some(head))
}

/// Parses a response head off the front of the buffer.
fn take_response_head(buffer: &mut BytesMut) -> Option<(u16, HeaderMap)> {
    let mut parsed = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut parsed);
    let complete = response.parse(buffer).unwrap_or_else(|e| panic!("bad response head: {e}: {buffer:?}"));
    let httparse::Status::Complete(size) = complete else { return None };
    let head = (response.code.expect("status"), headers(response.headers));
    buffer.advance(size);
    Some(head)
}

/// Reads a request head; `None` when the connection ends (or is not HTTP) before one is complete.
pub async fn read_request_head<S: AsyncRead + Unpin>(io: &mut S, buffer: &mut BytesMut) -> Option<RequestHead> {
    loop {
        match take_request_head(buffer) {
            Ok(Some(head)) => return Some(head),
            Ok(None) if fill(io, buffer).await => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Reads a response head (skipping `100 Continue`); `None` when the connection ends before one is complete.
pub async fn read_response_head<S: AsyncRead + Unpin>(io: &mut S, buffer: &mut BytesMut) -> Option<(u16, HeaderMap)> {
    loop {
        match take_response_head(buffer) {
            Some((100, _)) => {}
            Some(head) => return Some(head),
            None if fill(io, buffer).await => {}
            None => return None,
        }
    }
}

/// Where the body of a request with these headers ends. Panics when they are ambiguous: no gateway may send that.
pub fn request_length(headers: &HeaderMap) -> Length {
    let lengths = headers.get_all("content-length").iter().count();
    let codings: Vec<_> = headers.get_all("transfer-encoding").iter().collect();
    assert!(lengths + codings.len() <= 1, "ambiguous framing reached the upstream: {headers:?}");
    if !codings.is_empty() { Length::Chunked } else { Length::Exact(declared(headers).unwrap_or(0)) }
}

/// Where the body of a response with this status and headers ends.
pub fn response_length(method: &str, status: u16, headers: &HeaderMap) -> Length {
    if method == "HEAD" || status == 204 || status == 304 {
        Length::Exact(0)
    } else if headers.contains_key("transfer-encoding") {
        Length::Chunked
    } else {
        declared(headers).map_or(Length::Close, Length::Exact)
    }
}

fn declared(headers: &HeaderMap) -> Option<usize> {
    headers.get("content-length")?.to_str().ok()?.parse().ok()
}

/// Reads a whole body; `Err` holds what came before the connection ended inside it.
pub async fn read_body<S: AsyncRead + Unpin>(
    io: &mut S,
    buffer: &mut BytesMut,
    length: Length,
) -> Result<Bytes, Bytes> {
    let mut reader = BodyReader::new(length);
    let mut body = BytesMut::new();
    loop {
        match reader.next(io, buffer).await {
            Piece::Data(bytes) => body.extend_from_slice(&bytes),
            Piece::End => return Ok(body.freeze()),
            Piece::Cut => return Err(body.freeze()),
        }
    }
}

/// A part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes, as soon as they are there.
    Data(Bytes),
    /// The body is complete.
    End,
    /// The connection ended inside the body, or its framing is broken.
    Cut,
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub struct BodyReader {
    length: Length,
    /// Bytes left of the body or of the current chunk.
    left: usize,
    inside_chunk: bool,
    ended: bool,
}

impl BodyReader {
    /// A reader at the start of a body.
    pub fn new(length: Length) -> Self {
        let left = if let Length::Exact(n) = length { n } else { 0 };
        BodyReader { length, left, inside_chunk: false, ended: false }
    }

    /// The next piece, at the latest when the peer has sent one byte more.
    pub async fn next<S: AsyncRead + Unpin>(&mut self, io: &mut S, buffer: &mut BytesMut) -> Piece {
        loop {
            if self.ended {
                return Piece::End;
            }
            match self.take(buffer) {
                Ok(Some(Piece::End)) => self.ended = true,
                Ok(Some(piece)) => return piece,
                Ok(None) if fill(io, buffer).await => {}
                Ok(None) if self.length == Length::Close => self.ended = true,
                Ok(None) | Err(()) => return Piece::Cut,
            }
        }
    }

    /// What is already in the buffer, if anything.
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, ()> {
        match self.length {
            Length::Close => Ok((!buffer.is_empty()).then(|| Piece::Data(buffer.split().freeze()))),
            Length::Exact(_) if self.left == 0 => Ok(Some(Piece::End)),
            Length::Exact(_) => Ok(self.data(buffer)),
            Length::Chunked => {
                if self.inside_chunk && self.left > 0 {
                    return Ok(self.data(buffer));
                }
                if self.inside_chunk {
                    if buffer.len() < 2 {
                        return Ok(None);
                    }
                    if &buffer[..2] != b"\r\n" {
                        return Err(());
                    }
                    buffer.advance(2);
                    self.inside_chunk = false;
                }
                match httparse::parse_chunk_size(buffer).map_err(|_| ())? {
                    httparse::Status::Partial => Ok(None),
                    httparse::Status::Complete((start, 0)) => {
                        // Trailers are not used by anybody here: the final line must follow at once.
                        if buffer.len() < start + 2 {
                            return Ok(None);
                        }
                        buffer.advance(start + 2);
                        Ok(Some(Piece::End))
                    }
                    httparse::Status::Complete((start, size)) => {
                        buffer.advance(start);
                        self.left = usize::try_from(size).map_err(|_| ())?;
                        self.inside_chunk = true;
                        Ok(self.data(buffer))
                    }
                }
            }
        }
    }

    fn data(&mut self, buffer: &mut BytesMut) -> Option<Piece> {
        let size = self.left.min(buffer.len());
        self.left -= size;
        (size > 0).then(|| Piece::Data(buffer.split_to(size).freeze()))
    }
}

/// Encodes one chunk of a chunked body.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}
