//! Reading a request's body: bounded in size, in total memory and in time, and decoded once.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use ai_gateway_providers::{ApiError, ErrorKind};
use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::poll;
use http::HeaderValue;
use pingora_proxy::Session;
use prometheus_client::metrics::gauge::Gauge;

use crate::limits::{self, Limits, Upload};
use crate::proxy::failure::shutting_down;
use crate::proxy::reply::Refusal;
use crate::proxy::waiting::aside::awaited;
use crate::proxy::waiting::ending::Ending;
use crate::proxy::waiting::{GivenUp, wait_for};
use crate::snapshot::{BodyLimits, Key};

/// Time every client gets to send its body, whatever the size.
const READ_GRACE: Duration = Duration::from_secs(30);
/// Slowest upload accepted after that, in bytes per second.
const SLOWEST_UPLOAD: usize = 32 * 1024;
/// Largest window that a zstd frame may ask for, as a power of two: 8 MiB, as RFC 8878 recommends.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Places at which the bytes of keys are counted.
const KEYS: usize = 4096;
/// How many times the bytes that are left a key may hold: three quarters of all if it is alone, and less with each that comes.
const TIMES_FREE: i64 = 3;
/// So much is read of a body that waits for its turn, also while room is scarce.
const AHEAD: usize = 256 * 1024;
/// What is read ahead of the first byte of a body whose length is announced.
const FIRST_BUFFER: usize = 64 * 1024;
/// So much is decoded within a millisecond or two.
const AT_ONCE: usize = 256 * 1024;

/// Request bytes held by all exchanges together (`server.max_buffered`), and by those of each key.
#[derive(Clone, Debug)]
pub struct BufferBudget(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// The very gauge that the metrics show.
    all: Gauge,
    /// Of keys, each at the place of its name. Few of many share one, and only what they may hold while room is scarce.
    by_key: Box<[AtomicI64]>,
    random: RandomState,
}

impl BufferBudget {
    /// A budget that counts in `gauge`, which nobody else may change.
    pub fn new(gauge: Gauge) -> Self {
        let by_key = std::iter::repeat_with(AtomicI64::default).take(KEYS).collect();
        Self(Arc::new(Held { all: gauge, by_key, random: RandomState::new() }))
    }

    fn of_key(&self, place: usize) -> Option<&AtomicI64> {
        self.0.by_key.get(place)
    }
}

impl Default for BufferBudget {
    fn default() -> Self {
        Self::new(Gauge::default())
    }
}

/// A share of the [`BufferBudget`], given back when dropped.
#[derive(Debug)]
pub struct Room {
    budget: BufferBudget,
    /// Where its key is counted.
    place: Option<usize>,
    bytes: i64,
}

impl Room {
    fn new(budget: BufferBudget, key: Option<&Key>) -> Self {
        let place = key.and_then(|key| usize::try_from(budget.0.random.hash_one(&*key.name) % KEYS as u64).ok());
        Self { budget, place, bytes: 0 }
    }

    /// Takes so many bytes more, if all exchanges together then hold no more than `limit`, and those of its key no more than
    /// [`TIMES_FREE`] what is left: however much a key sends, others have room. The only body of a key is not bounded by that.
    ///
    /// # Errors
    /// They would.
    pub fn grow(&mut self, bytes: usize, limit: usize) -> Result<(), Refusal> {
        let (bytes, limit) = (saturating(bytes), saturating(limit));
        let all = self.budget.0.all.inc_by(bytes) + bytes;
        let of_key = self.place.and_then(|place| self.budget.of_key(place));
        let own = of_key.map_or(0, |own| own.fetch_add(bytes, Relaxed) + bytes);
        self.bytes += bytes;
        if all > limit {
            return Err(Refusal::busy(
                "the gateway holds as many request bytes as it may (server.max_buffered); try again",
            ));
        }
        if own > self.bytes && own > (limit - all).saturating_mul(TIMES_FREE) {
            let message = "requests of this key hold as many bytes as they may while others need room (server.max_buffered); try again";
            let wait = ("retry-after", HeaderValue::from_static("1"));
            return Err(Refusal::with_headers(ApiError::new(ErrorKind::KeyRateLimited, message), vec![wait]));
        }
        Ok(())
    }

    /// Whether all exchanges together hold less than half of `limit`.
    fn is_ample(&self, limit: usize) -> bool {
        self.budget.0.all.get() < saturating(limit) / 2
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.0.all.dec_by(self.bytes);
        if let Some(own) = self.place.and_then(|place| self.budget.of_key(place)) {
            own.fetch_sub(self.bytes, Relaxed);
        }
    }
}

fn saturating(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Why there is no body.
#[derive(Debug)]
pub enum BodyError {
    /// The request is refused with this error.
    Refused(Refusal),
    /// Its key has no room for one more on its way.
    Limited(Box<limits::Refusal>),
    /// The client is gone or broke its own framing; nobody to answer.
    Client(Box<pingora_error::Error>),
}

impl<T: Into<Refusal>> From<T> for BodyError {
    fn from(refusal: T) -> Self {
        Self::Refused(refusal.into())
    }
}

/// The length that the client announced, if it did.
pub fn announced_length(session: &Session) -> Option<usize> {
    let value = session.req_header().headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

/// The refusal of a body longer than `server.max_body`.
pub fn too_large(limits: BodyLimits) -> ApiError {
    ApiError::new(
        ErrorKind::TooLarge,
        format!("the request body is larger than {} bytes (server.max_body)", limits.max_body),
    )
}

/// Whose body it is.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The client's key.
    pub key: Option<&'a Key>,
    /// Where it has its limits.
    pub limits: &'a Limits,
    /// The end of all that is in flight.
    pub ending: &'a Ending,
}

/// A whole body.
#[derive(Debug)]
pub struct Received {
    /// Decoded.
    pub body: Bytes,
    /// Its share of what all exchanges may hold.
    pub room: Room,
    /// How long it has waited for its turn.
    pub waited: Duration,
}

/// Reads the whole body and decodes its `content-encoding`.
///
/// # Errors
/// [`BodyError::Refused`] with a 413, 415, 400, 408, 429 or 503; [`BodyError::Client`] if the connection broke.
pub async fn read(
    session: &mut Session,
    limits: BodyLimits,
    budget: &BufferBudget,
    sender: Sender<'_>,
) -> Result<Received, BodyError> {
    let mut room = Room::new(budget.clone(), sender.key);
    let mut turn = Turn::new(sender);
    let mut body = read_all(session, limits, &mut room, &mut turn).await?;
    if let Some(coding) = session.req_header().headers.get(http::header::CONTENT_ENCODING).and_then(coding_in) {
        let coding = coding.to_owned();
        body = decode(session, coding, body, limits, sender.ending).await?;
        room.grow(body.len(), limits.max_buffered)?;
    }
    Ok(Received { body, room, waited: turn.waited() })
}

/// The turn of a body that does not come in one piece: one of the requests that its key makes at the same time.
struct Turn<'a> {
    sender: Sender<'a>,
    comes: Option<BoxFuture<'a, Result<Upload, Box<limits::Refusal>>>>,
    began: Option<Instant>,
    has: Option<(Upload, Duration)>,
}

impl<'a> Turn<'a> {
    fn new(sender: Sender<'a>) -> Self {
        Self { sender, comes: None, began: None, has: None }
    }

    /// Waits for it; at once if it has it, or needs none.
    async fn come(&mut self) -> Result<(), BodyError> {
        let (Some(key), None) = (self.sender.key, &self.has) else { return Ok(()) };
        let limits = self.sender.limits;
        let comes = self.comes.get_or_insert_with(|| Box::pin(limits.upload(key.accounts())));
        let began = *self.began.get_or_insert_with(Instant::now);
        let upload = comes.await.map_err(BodyError::Limited)?;
        self.comes = None;
        self.has = Some((upload, began.elapsed()));
        Ok(())
    }

    fn waited(&self) -> Duration {
        let so_far = || self.began.map(|began| began.elapsed()).unwrap_or_default();
        self.has.as_ref().map_or_else(so_far, |(_, waited)| *waited)
    }
}

async fn read_all(
    session: &mut Session,
    limits: BodyLimits,
    room: &mut Room,
    turn: &mut Turn<'_>,
) -> Result<Bytes, BodyError> {
    let started = Instant::now();
    let ending = turn.sender.ending;
    let announced = announced_length(session).unwrap_or(0);
    let mut body = BytesMut::new();
    loop {
        let deadline = READ_GRACE + Duration::from_secs((body.len() / SLOWEST_UPLOAD) as u64);
        let mut reading = pin!(session.downstream_session.read_request_body());
        let mut read = poll!(&mut reading);
        if read.is_pending() && !body.is_empty() {
            // A client that leaves is seen as long as what it sends is read.
            tokio::select! {
                biased;
                came = turn.come() => came?,
                () = ending.reached() => return Err(shutting_down().into()),
                ahead = &mut reading, if body.len() < AHEAD || room.is_ample(limits.max_buffered) => read = Poll::Ready(ahead),
            }
        }
        let read = match read {
            Poll::Ready(read) => read,
            Poll::Pending => {
                let left = (deadline + turn.waited()).saturating_sub(started.elapsed());
                tokio::select! {
                    biased;
                    read = reading => read,
                    () = ending.reached() => return Err(shutting_down().into()),
                    () = tokio::time::sleep(left) => {
                        let message = "the request body arrived too slowly";
                        return Err(ApiError::new(ErrorKind::RequestTimeout, message).into());
                    }
                }
            }
        };
        let Some(chunk) = read.map_err(BodyError::Client)? else { break };
        if body.len() + chunk.len() > limits.max_body {
            return Err(too_large(limits).into());
        }
        room.grow(chunk.len(), limits.max_buffered)?;
        if body.is_empty() {
            if chunk.len() >= announced {
                // The usual case: the body came in one piece. Keep that piece.
                body = chunk.try_into_mut().unwrap_or_else(|chunk| BytesMut::from(chunk.as_ref()));
                continue;
            }
            body.reserve(announced.min(limits.max_body).max(FIRST_BUFFER));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The coding that a header names, if it names one.
fn coding_in(value: &HeaderValue) -> Option<&[u8]> {
    let coding = value.as_bytes().trim_ascii();
    (!coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")).then_some(coding)
}

/// Decodes at once what is small before and after it; what is not may take a while, and waits for its turn, packed as it came: all
/// that wait hold no more than was counted.
async fn decode(
    session: &mut Session,
    coding: Vec<u8>,
    body: Bytes,
    limits: BodyLimits,
    ending: &Ending,
) -> Result<Bytes, BodyError> {
    if body.len() <= AT_ONCE {
        let mut decoding = Decoding::new(&coding, body.clone())?;
        if decoding.go_on(AT_ONCE.min(limits.max_body)).map_err(|_| undecodable())? {
            return Ok(decoding.decoded.into());
        }
    }
    let decoded = awaited(move || Decoding::new(&coding, body)?.finish(limits));
    match wait_for(&mut session.downstream_session, ending, decoded).await {
        Ok(decoded) => Ok(decoded.unwrap_or_else(|_| Err(undecodable()))?),
        Err(GivenUp::ClientLeft(error)) => Err(BodyError::Client(error)),
        Err(GivenUp::Ending) => Err(shutting_down().into()),
    }
}

/// A body on its way out of one content coding (RFC 9110 §8.4.1).
struct Decoding {
    source: Box<dyn Read + Send>,
    decoded: Vec<u8>,
}

impl Decoding {
    fn new(coding: &[u8], body: Bytes) -> Result<Self, ApiError> {
        let is = |names: &[&str]| names.iter().any(|name| coding.eq_ignore_ascii_case(name.as_bytes()));
        let source: Box<dyn Read + Send> = if is(&["gzip", "x-gzip"]) {
            Box::new(flate2::bufread::MultiGzDecoder::new(body.reader()))
        } else if is(&["br"]) {
            Box::new(brotli::Decompressor::new(body.reader(), 16 * 1024))
        } else if is(&["zstd"]) {
            let decoder = zstd::stream::read::Decoder::with_buffer(body.reader()).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(decoder)
            });
            Box::new(decoder.map_err(|_| undecodable())?)
        } else {
            return Err(ApiError::new(
                ErrorKind::UnsupportedMedia,
                "this content-encoding is not supported; send gzip, br, zstd or none",
            ));
        };
        Ok(Self { source, decoded: Vec::new() })
    }

    /// Goes on until there are `most` bytes. Says whether fewer are all.
    fn go_on(&mut self, most: usize) -> std::io::Result<bool> {
        let left = most.saturating_sub(self.decoded.len());
        (&mut self.source).take(left as u64).read_to_end(&mut self.decoded)?;
        Ok(self.decoded.len() < most)
    }

    /// The whole, which may not pass `max_body`, whatever it came from: a bomb costs no more than that.
    fn finish(mut self, limits: BodyLimits) -> Result<Bytes, ApiError> {
        match self.go_on(limits.max_body + 1) {
            Ok(true) => Ok(self.decoded.into()),
            Ok(false) => Err(too_large(limits)),
            Err(_) => Err(undecodable()),
        }
    }
}

fn undecodable() -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, "the request body is not valid in its content-encoding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeyConfig;
    use std::io::Write;

    const LIMITS: BodyLimits = BodyLimits { max_body: 1 << 20, max_buffered: 1 << 30 };

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    fn decode(coding: &[u8], body: Bytes, limits: BodyLimits) -> Result<Bytes, ApiError> {
        Decoding::new(coding, body)?.finish(limits)
    }

    #[test]
    fn names_of_codings() {
        for (value, coding) in
            [(" ZStd ", Some(&b"ZStd"[..])), ("", None), (" Identity", None), ("gzip, br", Some(b"gzip, br"))]
        {
            assert_eq!(coding_in(&HeaderValue::from_static(value)), coding, "{value:?}");
        }
    }

    #[test]
    fn what_is_small_is_decoded_at_once() {
        let text = b"{\"model\":\"m\"}".repeat(10_000);
        for (length, whole) in [(0, true), (AT_ONCE - 1, true), (AT_ONCE, false)] {
            let text = text.iter().copied().cycle().take(length).collect::<Vec<u8>>();
            let mut decoding = Decoding::new(b"gzip", gzip(&text)).unwrap();
            assert_eq!(decoding.go_on(AT_ONCE).unwrap(), whole, "{length}");
            assert_eq!(decoding.finish(LIMITS).unwrap(), text);
        }
    }

    #[test]
    fn codings_decode_to_the_same_bytes() {
        let text = b"{\"model\":\"m\"}".repeat(1000);
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 4, 20).write_all(&text).unwrap();
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        for (name, body) in [("gzip", gzip(&text)), ("BR", br.into()), ("zstd", zstd.into())] {
            assert_eq!(decode(name.as_bytes(), body, LIMITS).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![b'a'; 64 << 20]);
        assert!(bomb.len() < LIMITS.max_body);
        assert_eq!(decode(b"gzip", bomb, LIMITS).unwrap_err().kind, ErrorKind::TooLarge);
    }

    #[test]
    fn damage_and_unknown_codings_are_refused() {
        assert_eq!(
            decode(b"gzip", Bytes::from_static(b"nonsense"), LIMITS).unwrap_err().kind,
            ErrorKind::InvalidRequest
        );
        assert_eq!(decode(b"compress", Bytes::new(), LIMITS).unwrap_err().kind, ErrorKind::UnsupportedMedia);
        assert_eq!(decode(b"gzip, br", Bytes::new(), LIMITS).unwrap_err().kind, ErrorKind::UnsupportedMedia);
    }

    #[test]
    fn a_reservation_gives_back_what_it_took() {
        let budget = BufferBudget::default();
        let mut first = Room::new(budget.clone(), None);
        first.grow(60, 100).unwrap();
        let mut second = Room::new(budget.clone(), None);
        assert!(second.grow(60, 100).is_err());
        drop(second);
        assert_eq!(budget.0.all.get(), 60);
        drop(first);
        assert_eq!(budget.0.all.get(), 0);
    }

    #[test]
    fn a_key_leaves_room_for_others() {
        let budget = BufferBudget::default();
        let [many, other] =
            ["many", "other"].map(|name| Key::new(KeyConfig { name: name.into(), ..Default::default() }));
        let room = |key| Room::new(budget.clone(), Some(key));
        let mut alone = room(&many);
        alone.grow(100, 100).unwrap();
        drop(alone);
        let mut held = [room(&many), room(&many), room(&many)];
        held.iter_mut().for_each(|room| room.grow(25, 100).unwrap());
        let mut more = room(&many);
        assert_eq!(more.grow(1, 100).unwrap_err().error().kind, ErrorKind::KeyRateLimited);
        drop(more);
        let mut others = [room(&other), room(&other)];
        others.iter_mut().for_each(|room| room.grow(9, 100).unwrap());
        drop((held, others));
        assert_eq!(budget.0.all.get(), 0);
        assert!(budget.0.by_key.iter().all(|own| own.load(Relaxed) == 0));
    }
}
