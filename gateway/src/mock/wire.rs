//! The connection of one exchange, as an answer sees it: headers, frames, pauses that end when the client leaves.

use std::future::pending;
use std::io::Write as _;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use tokio::time::Instant;

use super::behaviour::{Behaviour, Delivery, Fault};
use super::play::BEFORE_A_CUT;

/// Why an answer did not come to a clean end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client left.
    Gone,
    /// The mock closes the connection.
    Cut,
    /// The mock writes these bytes past HTTP, then closes the connection. Over HTTP/2 it resets the stream.
    Raw(RawFault),
}

/// What is written past HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawFault {
    Garbage,
    /// With this content type.
    HalfChunk(&'static str),
    /// With this content type.
    BadChunk(&'static str),
    HugeHeader(usize),
}

/// How an answer leaves.
pub(super) struct Wire<'s> {
    session: &'s mut ServerSession,
    crlf: bool,
    comments: bool,
    delivery: Delivery,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// What `Delivery::Once` has kept back.
    kept: BytesMut,
    /// Bytes of the body before the connection is closed.
    left: Option<usize>,
}

impl<'s> Wire<'s> {
    pub(super) fn new(session: &'s mut ServerSession, behaviour: &Behaviour) -> Self {
        let wants_gzip = behaviour.gzip
            && session.get_header_bytes("accept-encoding").windows(4).any(|w| w.eq_ignore_ascii_case(b"gzip"));
        Wire {
            session,
            crlf: behaviour.crlf,
            comments: behaviour.comments,
            delivery: behaviour.delivery,
            gzip: wants_gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            kept: BytesMut::new(),
            left: if let Some(Fault::CutAt(bytes)) = behaviour.fault { Some(bytes) } else { None },
        }
    }

    /// Sends the response header. Without a `length` the body is chunked and every frame is flushed.
    pub(super) async fn header(
        &mut self,
        status: u16,
        extra: &[(&'static str, &str)],
        length: Option<usize>,
    ) -> Result<(), End> {
        let header = build(status, extra, length, self.gzip.is_some()).map_err(|_| End::Cut)?;
        self.session.write_response_header(Box::new(header)).await.map_err(|_| End::Gone)
    }

    /// Waits, unless the client leaves.
    pub(super) async fn pause(&mut self, time: Duration) -> Result<(), End> {
        if time.is_zero() { Ok(()) } else { self.until(Instant::now() + time).await }
    }

    /// Waits until then, unless the client leaves.
    pub(super) async fn until(&mut self, then: Instant) -> Result<(), End> {
        self.watch(tokio::time::sleep_until(then)).await
    }

    /// Waits until the client leaves.
    pub(super) async fn stall(&mut self) -> End {
        self.watch(pending()).await.err().unwrap_or(End::Gone)
    }

    async fn watch(&mut self, other: impl Future<Output = ()>) -> Result<(), End> {
        tokio::select! {
            // With the request read, this returns only when the client closes or resets, or sends what it must not.
            _ = self.session.read_body_or_idle(true) => Err(End::Gone),
            () = other => Ok(()),
        }
    }

    /// One step of a stream.
    pub(super) async fn frame(&mut self, frame: Bytes) -> Result<(), End> {
        if frame.is_empty() {
            return Ok(());
        }
        let frame = if self.crlf || self.comments { self.dress(&frame) } else { frame };
        let frame = match &mut self.gzip {
            // Writing to a Vec cannot fail.
            Some(gzip) => match gzip.write_all(&frame).and_then(|()| gzip.flush()) {
                Ok(()) => std::mem::take(gzip.get_mut()).into(),
                Err(_) => frame,
            },
            None => frame,
        };
        self.deliver(frame).await
    }

    /// Line ends and comments as the behaviour wants them.
    fn dress(&self, frame: &[u8]) -> Bytes {
        let mut dressed = Vec::with_capacity(frame.len() + 64);
        if self.comments {
            dressed.extend_from_slice(if self.crlf { b": ping\r\n\r\n" } else { b": ping\n\n" });
        }
        for &byte in frame {
            if byte == b'\n' && self.crlf {
                dressed.push(b'\r');
            }
            dressed.push(byte);
        }
        dressed.into()
    }

    async fn deliver(&mut self, mut bytes: Bytes) -> Result<(), End> {
        match self.delivery {
            Delivery::Chunks => self.write(bytes).await,
            Delivery::Once => {
                self.kept.put(bytes);
                Ok(())
            }
            Delivery::Drip(time) => {
                while !bytes.is_empty() {
                    self.write(bytes.split_to(1)).await?;
                    self.pause(time).await?;
                }
                Ok(())
            }
            Delivery::SplitUtf8 => {
                while let Some(inside) = bytes.iter().position(|byte| *byte >= 0xc0) {
                    self.write(bytes.split_to(inside + 1)).await?;
                    // Long enough for the two halves to arrive as two reads.
                    self.pause(Duration::from_millis(2)).await?;
                }
                self.write(bytes).await
            }
        }
    }

    /// Bytes as they are.
    async fn write(&mut self, bytes: Bytes) -> Result<(), End> {
        self.write_or_cut(bytes, false).await
    }

    async fn write_or_cut(&mut self, mut bytes: Bytes, end: bool) -> Result<(), End> {
        if let Some(left) = self.left {
            if bytes.len() > left {
                bytes.truncate(left);
                if !bytes.is_empty() {
                    self.session.write_response_body(bytes, false).await.map_err(|_| End::Gone)?;
                }
                self.pause(BEFORE_A_CUT).await?;
                return Err(End::Cut);
            }
            self.left = Some(left - bytes.len());
        }
        self.session.write_response_body(bytes, end).await.map_err(|_| End::Gone)
    }

    /// Sends what is kept back: before a stall or a cut too.
    pub(super) async fn release(&mut self) -> Result<(), End> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let kept = self.kept.split().freeze();
        self.write(kept).await
    }

    /// A clean HTTP end.
    pub(super) async fn finish(&mut self) -> Result<(), End> {
        if let Some(gzip) = self.gzip.take() {
            let tail = gzip.finish().map_err(|_| End::Cut)?;
            self.deliver(tail.into()).await?;
        }
        let kept = self.kept.split().freeze();
        self.write_or_cut(kept, true).await
    }

    /// A whole body with its length, in one go.
    pub(super) async fn whole(&mut self, status: u16, extra: &[(&'static str, &str)], body: Bytes) -> Result<(), End> {
        let body = match self.gzip.take() {
            Some(mut gzip) => {
                let packed = gzip.write_all(&body).and_then(|()| gzip.finish()).map_err(|_| End::Cut)?;
                let header = build(status, extra, Some(packed.len()), true).map_err(|_| End::Cut)?;
                self.session.write_response_header(Box::new(header)).await.map_err(|_| End::Gone)?;
                packed.into()
            }
            None => {
                self.header(status, extra, Some(body.len())).await?;
                body
            }
        };
        self.write_or_cut(body, true).await
    }
}

fn build(status: u16, extra: &[(&'static str, &str)], length: Option<usize>, gzip: bool) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build(status, Some(extra.len() + 4))?;
    for (name, value) in extra {
        header.insert_header(*name, *value)?;
    }
    if gzip {
        header.insert_header("content-encoding", "gzip")?;
    }
    match length {
        Some(length) => header.insert_header("content-length", length)?,
        None => header.insert_header("transfer-encoding", "chunked")?,
    }
    Ok(header)
}
