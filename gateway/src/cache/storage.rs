//! [`Memory`] as a storage of pingora-cache, for proxies that use Pingora's own cache phases. What they write can be read while
//! it is written; a write that is given up is an error to who reads it.
//!
//! The gateway does not go through here: see `proxy::cached` for what those phases cannot do.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ai_gateway_providers::{Dialect, Operation};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::key::{CacheHashKey, CompactCacheKey, HashBinary};
use pingora_cache::storage::streaming_write::U64WriteId;
use pingora_cache::storage::{
    HandleHit, HandleMiss, HitHandler, MissFinishType, MissHandler, PurgeOutcome, PurgeTarget, PurgeType, Storage,
};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::fill::{Next, Reader};
use super::memory::{Found, Memory, Writer};
use super::{Entry, Fingerprint, Form, Meta};

/// How long an answer is taken for fresh that is still being written.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// A storage of pingora-cache. Pingora wants it to live for ever: leak one.
#[derive(Clone, Debug)]
pub struct MemoryStorage(pub Arc<Memory>);

/// Two hashes of 128 bits: of the key, and of its variance.
fn fingerprint(primary: HashBinary, variance: Option<HashBinary>) -> Fingerprint {
    let mut whole = [0; 32];
    whole[..16].copy_from_slice(&primary);
    whole[16..].copy_from_slice(&variance.unwrap_or_default());
    Fingerprint(whole)
}

fn of_key(key: &CacheKey) -> Fingerprint {
    fingerprint(key.primary_bin(), key.variance_bin())
}

fn of_compact(key: &CompactCacheKey) -> Fingerprint {
    fingerprint(key.primary_bin(), key.variance_bin())
}

fn meta_of(entry: &Entry) -> Result<CacheMeta> {
    let Meta { status, headers, created, ttl, .. } = &entry.meta;
    let mut header = ResponseHeader::build(*status, Some(headers.len()))?;
    for (name, value) in headers {
        header.append_header(name, value)?;
    }
    Ok(CacheMeta::new(*created + *ttl, *created, 0, 0, header))
}

fn entry_meta(fingerprint: Fingerprint, meta: &CacheMeta, now: SystemTime) -> Meta {
    let header = meta.response_header();
    Meta {
        fingerprint,
        form: Form::Whole,
        dialect: Dialect::OpenAiChat.as_str().into(),
        operation: Operation::Chat,
        status: header.status,
        headers: header.headers.clone(),
        key: None,
        model: Box::default(),
        tags: Vec::new(),
        provider: Box::default(),
        upstream_model: Box::default(),
        created: now,
        ttl: meta.fresh_until().duration_since(now).unwrap_or_default(),
        usage: None,
        cost: None,
    }
}

impl MemoryStorage {
    async fn found(&self, fingerprint: &Fingerprint, tag: Option<u64>) -> Result<Option<(CacheMeta, HitHandler)>> {
        loop {
            let found = match tag {
                Some(tag) => self.0.find_fill(fingerprint, Form::Whole, tag).map_or(Found::Nothing, Found::Fill),
                None => self.0.find(fingerprint, Form::Whole, Duration::MAX, true),
            };
            let mut reader = match found {
                Found::Nothing => return Ok(None),
                Found::Entry(kept) => {
                    let handler =
                        Hit { chunks: VecDeque::from([kept.body.clone()]), reader: None, _kept: Some(kept.clone()) };
                    return Ok(Some((meta_of(&kept)?, Box::new(handler))));
                }
                Found::Fill(reader) => reader,
            };
            // One that was given up leaves its place to another.
            if let Some(header) = reader.header().await {
                let now = self.0.time.now();
                let meta = CacheMeta::new(now + UNDER_WAY, now, 0, 0, ResponseHeader::clone(&header));
                let handler = Hit { chunks: VecDeque::new(), reader: Some(reader), _kept: None };
                return Ok(Some((meta, Box::new(handler))));
            }
        }
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn lookup(&'static self, key: &CacheKey, _trace: &SpanHandle) -> Result<Option<(CacheMeta, HitHandler)>> {
        self.found(&of_key(key), None).await
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        streaming_write_tag: Option<&[u8]>,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let tag = match streaming_write_tag.map(U64WriteId::try_from) {
            Some(Ok(id)) => Some(id.into()),
            Some(Err(_)) => return Ok(None),
            None => None,
        };
        self.found(&of_key(key), tag).await
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        let fingerprint = of_key(key);
        let begin = |share| self.0.begin(fingerprint, Form::Whole, share);
        let writer = match begin(true).or_else(|_| begin(false)) {
            Ok(writer) => writer,
            Err(_) => return Error::e_explain(ErrorType::InternalError, "nothing can be written"),
        };
        writer.fill().keep(entry_meta(fingerprint, meta, self.0.time.now()));
        writer.begin(meta.response_header().clone());
        Ok(Box::new(Miss { tag: writer.fill().tag().into(), writer, written: 0 }))
    }

    async fn purge(&'static self, target: PurgeTarget<'_>, _: PurgeType, _: &SpanHandle) -> Result<PurgeOutcome> {
        Ok(match self.0.remove(&of_compact(target.key()), Form::Whole) {
            true => PurgeOutcome::Purged(None),
            false => PurgeOutcome::NotFound,
        })
    }

    async fn update_meta(&'static self, key: &CacheKey, meta: &CacheMeta, _trace: &SpanHandle) -> Result<bool> {
        let fingerprint = of_key(key);
        let Some(body) = self.0.body(&fingerprint, Form::Whole) else { return Ok(false) };
        self.0.insert(Arc::new(Entry { meta: entry_meta(fingerprint, meta, self.0.time.now()), body }));
        Ok(true)
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

/// Reads an entry, or what is being written.
struct Hit {
    chunks: VecDeque<Bytes>,
    /// `None` once nothing more can come.
    reader: Option<Reader>,
    _kept: Option<Arc<super::memory::Kept>>,
}

#[async_trait]
impl HandleHit for Hit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Ok(Some(chunk));
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            let mut chunks = Vec::new();
            let next = reader.next(&mut chunks).await;
            self.chunks = chunks.into();
            match next {
                Next::More => {}
                Next::End => self.reader = None,
                Next::Broken => return Error::e_explain(ErrorType::ConnectionClosed, "the answer broke off"),
            }
        }
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Writes an entry; dropped before it is finished, it leaves none.
struct Miss {
    writer: Writer,
    tag: U64WriteId,
    written: usize,
}

#[async_trait]
impl HandleMiss for Miss {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        self.written += data.len();
        self.writer.push(&data);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        let written = self.written;
        self.writer.finish();
        Ok(MissFinishType::Created(written))
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(self.tag.as_bytes())
    }
}
