//! `log`: what is asked and answered, as lines of JSON in a file or for an HTTP sink.
//!
//! ```toml
//! [[plugins]]
//! use = "log"
//! file = "/var/log/ai-gateway/content.jsonl"   # opened anew for each batch, so it can be rotated; or
//! url = "https://logs.example.com/ingest"      # POST of application/x-ndjson
//! headers = { authorization = "env:SINK_TOKEN" }
//! redact = true               # default: what `pii` finds is redacted; false, or a list of its kinds
//! most = "64KiB"              # of an answer, and of each text of a request
//! memory = "16MiB"            # that may wait to be written; what is more is lost
//! ```
//!
//! Nothing waits for it: records go into a bounded queue, and a task that lives while there are any redacts and writes them. What a
//! sink refuses three times is lost: the log says so once, until the sink takes something again, and the next request gets the tag
//! `log` = `lost`, as one does for which the queue has no room. Records that wait when the process ends are lost, too.

mod queue;
mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::HeaderMap;
use serde::Deserialize;
use toml::Spanned;

use crate::find::Any;
use crate::pii::{self, DEFAULT_KINDS, KINDS};
use crate::settings::{self, Size, bytes, one_of};
use crate::{Context, End, Failure, Needs, Plugin, Request, Settings, SettingsError, Verdict, async_trait};
use queue::Queue;
use record::{Record, Seen};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogSettings {
    file: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    headers: Option<Spanned<BTreeMap<String, String>>>,
    redact: Option<Spanned<Redact>>,
    most: Option<Spanned<Size>>,
    memory: Option<Spanned<Size>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Redact {
    All(bool),
    Kinds(Vec<String>),
}

const MOST: usize = 64 << 10;
const MEMORY: usize = 16 << 20;

/// `use = "log"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("log", |settings: &Settings<'_>| {
    let LogSettings { file, url, headers, redact, most, memory } = settings.read()?;
    let sink = match (file, url) {
        (Some(file), None) => Sink::File(settings.output(file.get_ref())),
        (None, Some(url)) => Sink::Http {
            url: settings::url(&url)?,
            headers: settings.headers(headers.as_ref(), "application/x-ndjson")?,
        },
        (None, None) => {
            let error = SettingsError::new("this entry says neither `file` nor `url`");
            return Err(error.help("one of them says where records go"));
        }
        (Some(_), Some(_)) => {
            let error = SettingsError::new("this entry says both `file` and `url`");
            return Err(error.help("records go to one of them: for both, make two entries"));
        }
    };
    let span = redact.as_ref().map(Spanned::span).unwrap_or_default();
    let kinds = match redact.map(Spanned::into_inner) {
        None | Some(Redact::All(true)) => DEFAULT_KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
        Some(Redact::All(false)) => Vec::new(),
        Some(Redact::Kinds(kinds)) => {
            let kinds: Vec<_> = kinds.into_iter().map(|kind| Spanned::new(span.clone(), kind)).collect();
            one_of(&kinds, KINDS)?
        }
    };
    let most = bytes("most", most.as_ref(), MOST, usize::MAX)?;
    let memory = bytes("memory", memory.as_ref(), MEMORY, usize::MAX)?;
    let work = Work { sink, redact: pii::finder(&kinds, None), most };
    Ok(Arc::new(Log { most, hold: pii::hold(&kinds), queue: Arc::new(Queue::new(work, memory)) }))
});

/// Where records go.
enum Sink {
    File(PathBuf),
    Http { url: http::Uri, headers: HeaderMap },
}

/// What is done to them on the way.
struct Work {
    sink: Sink,
    redact: Any,
    /// Bytes of an answer's texts, and of each text of a request.
    most: usize,
}

struct Log {
    most: usize,
    /// Bytes that are kept beyond it until all is redacted.
    hold: usize,
    queue: Arc<Queue>,
}

#[async_trait]
impl Plugin for Log {
    fn needs(&self) -> Needs {
        Needs::new().body().bytes().end()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        cx.set(Seen::asked(record::asked(request, self.most + self.hold)));
        Ok(Verdict::Pass)
    }

    fn on_bytes(&self, bytes: &[u8], cx: &Context) {
        cx.with(|seen: &mut Seen| seen.keep(bytes, self.most));
    }

    fn on_end(&self, end: &End, cx: &Context) {
        let record = Record::new(cx.about(), end, cx.take().unwrap_or_default());
        if !self.queue.push(record, cx) {
            cx.tag("log", "lost");
        }
    }
}
