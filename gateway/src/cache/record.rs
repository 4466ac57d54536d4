//! How an entry is written where it leaves the process: on a disk, in a Redis.
//!
//! ```text
//! "agcache2" | SHA-256 of the rest | length of the description, u32 LE | length of the body, u32 LE | description: JSON | body
//! ```

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ai_gateway_providers::Operation;
use ai_gateway_providers::usage::Usage;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Entry, Fingerprint, Form, Meta};

const MAGIC: [u8; 8] = *b"agcache2";
/// Bytes before the description.
const HEAD: usize = 8 + 32 + 4 + 4;
/// A longer description is damage.
pub const MAX_DESCRIPTION: usize = 256 << 10;

/// [`Meta`] as written. Times are in milliseconds.
#[derive(Serialize, Deserialize)]
struct Description<'a> {
    fingerprint: Cow<'a, str>,
    form: Option<u32>,
    dialect: Cow<'a, str>,
    operation: Cow<'a, str>,
    status: u16,
    /// Each byte of a value is a character.
    headers: Vec<(Cow<'a, str>, String)>,
    key: Option<Cow<'a, str>>,
    model: Cow<'a, str>,
    tags: Vec<Cow<'a, str>>,
    provider: Cow<'a, str>,
    upstream_model: Cow<'a, str>,
    created: u64,
    ttl: u64,
    usage: Option<Usage>,
    cost: Option<u64>,
}

/// Milliseconds since 1970.
pub fn millis(time: SystemTime) -> u64 {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// When an entry's time is over, in milliseconds since 1970.
pub fn end_of(meta: &Meta) -> u64 {
    let ttl = u64::try_from(meta.ttl.as_millis()).unwrap_or(u64::MAX);
    millis(meta.created).saturating_add(ttl)
}

/// Everything that is written of an entry before its body; `None` if it is too long.
pub fn head(entry: &Entry) -> Option<Vec<u8>> {
    let mut out = vec![0; HEAD];
    serde_json::to_writer(&mut out, &Description::of(&entry.meta)).ok()?;
    let description = u32::try_from(out.len() - HEAD).ok().filter(|length| *length as usize <= MAX_DESCRIPTION)?;
    let body = u32::try_from(entry.body.len()).ok()?;
    out.get_mut(40..44)?.copy_from_slice(&description.to_le_bytes());
    out.get_mut(44..48)?.copy_from_slice(&body.to_le_bytes());
    let digest = Sha256::new().chain_update(out.get(40..)?).chain_update(&entry.body).finalize();
    out.get_mut(..8)?.copy_from_slice(&MAGIC);
    out.get_mut(8..40)?.copy_from_slice(&digest);
    Some(out)
}

/// Reads an entry that was written whole; `None` if it is damaged, or was written by another version.
pub fn read(record: &Bytes) -> Option<Entry> {
    let (digest, rest) = record.get(8..)?.split_first_chunk::<32>()?;
    if Sha256::digest(rest).as_slice() != digest {
        return None;
    }
    let (meta, start) = description(record)?;
    Some(Entry { meta, body: record.slice(start..) })
}

/// What a record that begins with `beginning` and has `length` bytes says of its entry. Its body is not looked at.
pub fn peek(beginning: &[u8], length: u64) -> Option<Meta> {
    let (meta, start) = description(beginning)?;
    let body = u32::from_le_bytes(*beginning.get(44..48)?.first_chunk()?);
    (start as u64 + u64::from(body) == length).then_some(meta)
}

/// The description, and where the body begins.
fn description(record: &[u8]) -> Option<(Meta, usize)> {
    if record.get(..8)? != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(*record.get(40..44)?.first_chunk()?) as usize;
    let text = record.get(HEAD..HEAD.checked_add(length)?)?;
    let description: Description<'_> = serde_json::from_slice(text).ok()?;
    Some((description.into_meta()?, HEAD + length))
}

impl<'a> Description<'a> {
    fn of(meta: &'a Meta) -> Self {
        let form = match meta.form {
            Form::Whole => None,
            Form::Stream(number) => Some(number),
        };
        let value = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        Self {
            fingerprint: meta.fingerprint.to_string().into(),
            form,
            dialect: (&*meta.dialect).into(),
            operation: meta.operation.as_str().into(),
            status: meta.status.as_u16(),
            headers: meta.headers.iter().map(|(name, text)| (name.as_str().into(), value(text))).collect(),
            key: meta.key.as_deref().map(Cow::Borrowed),
            model: (&*meta.model).into(),
            tags: meta.tags.iter().map(|tag| Cow::Borrowed(&**tag)).collect(),
            provider: (&*meta.provider).into(),
            upstream_model: (&*meta.upstream_model).into(),
            created: millis(meta.created),
            ttl: u64::try_from(meta.ttl.as_millis()).unwrap_or(u64::MAX),
            usage: meta.usage,
            cost: meta.cost,
        }
    }

    fn into_meta(self) -> Option<Meta> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let value: Vec<u8> = value.chars().map(|byte| u8::try_from(byte).ok()).collect::<Option<_>>()?;
            headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&value).ok()?);
        }
        let owned = |text: Cow<'_, str>| text.into_owned().into_boxed_str();
        Some(Meta {
            fingerprint: self.fingerprint.parse().ok()?,
            form: self.form.map_or(Form::Whole, Form::Stream),
            dialect: self.dialect.into_owned().into(),
            operation: Operation::ALL.into_iter().find(|operation| operation.as_str() == self.operation)?,
            status: StatusCode::from_u16(self.status).ok()?,
            headers,
            key: self.key.map(owned),
            model: owned(self.model),
            tags: self.tags.into_iter().map(owned).collect(),
            provider: owned(self.provider),
            upstream_model: owned(self.upstream_model),
            created: UNIX_EPOCH.checked_add(Duration::from_millis(self.created))?,
            ttl: Duration::from_millis(self.ttl),
            usage: self.usage,
            cost: self.cost,
        })
    }
}

/// From 64 hexadecimal digits.
impl std::str::FromStr for Fingerprint {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer of `length` bytes to the request numbered `number`.
    pub fn entry(number: u8, length: usize) -> Entry {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("application/json"));
        headers.append("x-odd", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        Entry {
            meta: Meta {
                fingerprint: Fingerprint([number; 32]),
                form: Form::Whole,
                dialect: "anthropic".into(),
                operation: Operation::Chat,
                status: StatusCode::OK,
                headers,
                key: Some("bot".into()),
                model: "assistant".into(),
                tags: vec!["gold".into()],
                provider: "openai".into(),
                upstream_model: "gpt-5".into(),
                created: SystemTime::now(),
                ttl: Duration::from_secs(600),
                usage: Some(Usage::default()),
                cost: Some(5),
            },
            body: vec![number; length].into(),
        }
    }

    pub fn written(entry: &Entry) -> Bytes {
        [&head(entry).unwrap()[..], &entry.body].concat().into()
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        for form in [Form::Whole, Form::Stream(0), Form::Stream(7)] {
            let mut entry = entry(7, 1000);
            entry.meta.form = form;
            entry.meta.created = UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
            let record = written(&entry);
            let back = read(&record).unwrap();
            assert_eq!((format!("{:?}", back.meta), &back.body), (format!("{:?}", entry.meta), &entry.body));
            assert_eq!(back.body.as_ptr(), record[record.len() - 1000..].as_ptr(), "the body is not copied");
            let peeked = peek(&record[..record.len() - 900], record.len() as u64).unwrap();
            assert_eq!(format!("{peeked:?}"), format!("{:?}", entry.meta));
        }
    }

    #[test]
    fn damage_is_noticed() {
        let record = written(&entry(7, 100));
        for length in 0..record.len() {
            assert!(read(&record.slice(..length)).is_none(), "cut at {length}");
            assert!(peek(&record, length as u64).is_none());
        }
        for at in 0..record.len() {
            let mut damaged = record.to_vec();
            damaged[at] ^= 1;
            assert!(read(&damaged.into()).is_none(), "at {at}");
        }
        assert!(read(&[&record[..], b"x"].concat().into()).is_none());
    }
}
