//! What passes in an answer on its way to the client. An [`Observer`] is fed every chunk of one upstream answer and
//! gives back what goes to the client, which is the very same bytes (except the usage chunk that only the gateway asked
//! for). On the way it fills in [`Seen`]: first output, usage, error, end. It reads one dialect; it never fails and
//! never holds back a byte that the client could use.
//!
//! | file | subject |
//! |---|---|
//! | `stream`, `raw` | server-sent events that pass, cut and handed to the rules of the dialect; values of them read without building them |
//! | `chat`, `typed`, `anthropic` | these rules: OpenAI's chunks, its typed events, Anthropic's events |
//! | `followed` | streams that pass while their codec reads along |
//! | `json`, `searches` | an answer that is one JSON document, and the searches in it |
//! | `translated`, `marks` | an answer whose two sides speak different dialects: the codecs read and write it |
//! | `converted` | an answer to another operation than the client asked |
//! | `continued` | what another attempt says, joined to an answer that broke off |
//! | `heard` | how much is said, for answers whose provider never tells |
//! | `end` | how an answer ended: by its model, so that it may be given again, or by a filter |
//! | `costed` | a usage that tells its cost |

mod anthropic;
mod chat;
mod continued;
mod converted;
mod costed;
mod end;
mod followed;
mod heard;
mod json;
mod marks;
mod raw;
mod searches;
mod stream;
mod translated;
mod typed;

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use serde_json::Value;

pub use self::converted::Conversion;
use self::converted::Converted;
pub use self::costed::{cost_in, with_cost};
pub use self::end::{End, end_of};
use self::followed::Followed;
pub use self::heard::Heard;
use self::json::JsonScan;
use self::stream::{Rules, Stream};
use self::translated::Translated;
pub use self::translated::Translation;
use crate::codec::OutputItem;
use crate::common::{Losses, TurnMemory};
use crate::dialect::{Dialect, Operation};
use crate::error::{ApiError, decode_value, mask, mask_secret};
use crate::event_stream::mask_frames;
use crate::usage::Usage;
use crate::usage::report::{Report, anthropic_stand_in, anthropic_tier, gemini_tier};
use crate::usage::tree::Tree;

/// How the answer's body is framed; its content type tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerForm {
    /// One JSON document (`application/json`).
    Json,
    /// Server-sent events (`text/event-stream`).
    Stream,
    /// Anything else, such as audio or plain text: only counted.
    Opaque,
}

/// What has been seen of an answer so far.
///
/// An attempt may be rolled back until `first_output || complete`. At the end of the body exactly one of these holds:
/// `error` is set, `cut` is set, or the answer is complete and good (`complete` may accompany an `error`: OpenAI's
/// `response.failed` ends its stream properly).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Something of the answer itself has passed: text, reasoning, refusal, tool call, audio, image. Not role chunks,
    /// pings, `message_start` and the like. A JSON document: its first byte that is not white space.
    pub first_output: bool,
    /// Stream: events with output (after the first one, an empty delta may be among them). JSON: 1 once it began.
    /// Opaque: chunks.
    pub outputs: u64,
    /// Stream: events with data, which is the `sequence_number` that OpenAI's next event would have.
    pub events: u64,
    /// The answer has come to its proper end: `[DONE]` or a finish reason for every choice, `message_stop`,
    /// `response.completed` and its siblings, the closing brace.
    pub complete: bool,
    /// The body ended, and the answer had neither come to its end nor reported an error.
    pub cut: bool,
    /// An error that the provider reported inside the answer, the first one.
    pub error: Option<ApiError>,
    /// How the answer to a chat ended, which its client's dialect may have no word for. Of a JSON document that passes it is known at its
    /// end, and only if [asked for](Observer::judging_whole); afterwards [`end_of`] tells.
    pub end: End,
    /// Outputs that are reasoning, where codecs read the answer.
    pub thoughts: u64,
    /// What the answer consumed, as far as reported.
    pub usage: Option<Usage>,
    /// The provider goes on making the answer whoever listens, and tells what it consumed when it is asked for it later
    /// (Responses: `background`).
    pub unfinished: bool,
    /// Of an answer that was made before and is asked for again: what it consumed then.
    pub past_usage: Option<Usage>,
    /// Whether that is the provider's last word although `complete` is not set.
    pub usage_is_final: bool,
    /// The provider's id of the answer, where something later refers to it: Responses, and translated answers.
    pub id: Option<String>,
    /// The model that answered, as the provider calls it.
    pub model: Option<String>,
    /// The service tier that the answer was given at, which decides its price.
    pub service_tier: Option<String>,
    /// Events or values that could not be read: malformed, or over the size limit. They are passed on all the same, but
    /// for events that are no JSON.
    pub unreadable: u64,
}

impl Seen {
    /// Whether a filter of the provider's has ended the answer before it said anything, or what it says are the filter's words. With
    /// several choices another may yet say something, and take that back.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        match self.end {
            End::Untold | End::Model | End::Otherwise => false,
            End::Filtered => self.outputs == self.thoughts,
            End::Replaced => true,
        }
    }
}

/// Watches one answer.
#[derive(Debug)]
pub struct Observer {
    notes: Notes,
    form: Form,
    ended: bool,
    /// What the attempts before the current one had reported.
    before: Option<Usage>,
    /// What comes back is an AWS event stream, where it is a stream.
    gives_frames: bool,
}

#[derive(Debug)]
enum Form {
    Json(Box<JsonScan>),
    Stream(Box<Stream>),
    Followed(Box<Followed>),
    Translated(Box<Translated>),
    Converted(Box<Converted>),
    Opaque,
}

impl Observer {
    /// An observer that translates. `form` is that of the provider's answer; what comes back has the form that
    /// [`Translation::stream`] says.
    #[must_use]
    pub fn translating(translation: Translation, operation: Operation, form: AnswerForm) -> Self {
        let notes = Notes::new(translation.from, operation);
        let gives_frames = translation.to == Dialect::Bedrock && translation.stream;
        Self::of(notes, Form::Translated(Box::new(Translated::new(translation, form))), gives_frames)
    }

    /// An observer that converts the answer to another operation than chat. What comes back is whole.
    #[must_use]
    pub fn converting(conversion: Conversion) -> Self {
        let notes = Notes::new(conversion.from.dialect(), conversion.operation);
        Self::of(notes, Form::Converted(Box::new(Converted::new(conversion))), false)
    }

    /// What the translation of the answer could not say.
    #[must_use]
    pub fn losses(&self) -> Option<&Losses> {
        match &self.form {
            Form::Translated(translated) => Some(translated.losses()),
            Form::Converted(converted) => Some(converted.losses()),
            Form::Json(_) | Form::Stream(_) | Form::Followed(_) | Form::Opaque => None,
        }
    }

    /// At the end of a translated answer: what its client may lose until the next turn.
    #[must_use]
    pub fn take_memory(&mut self) -> Option<TurnMemory> {
        self.translated_mut()?.take_memory()
    }

    /// Once the answer is [complete](Seen::complete): its items, if [`Translation::keeps_items`]. They are given once.
    #[must_use]
    pub fn take_items(&mut self) -> Vec<OutputItem> {
        if !self.notes.seen.complete {
            return Vec::new();
        }
        self.translated_mut().map(Translated::take_items).unwrap_or_default()
    }

    /// The event that tells of `error` inside a translated stream; `None` for others
    /// ([`encode_stream_error`](crate::error::encode_stream_error) writes theirs).
    #[must_use]
    pub fn translated_error(&mut self, error: &ApiError) -> Option<Vec<u8>> {
        Some(self.translated_mut()?.error_event(error))
    }

    /// Whether the answer has not come to a point from which no other attempt can go on. `false` unless
    /// [`Translation::may_go_on`].
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        self.continued().is_some_and(|said| !said.is_over() && !self.notes.stopped)
    }

    /// Whether an error that the provider reports, or the lack of an end, is not in what is given out: see
    /// [`Translation::may_go_on`].
    #[must_use]
    pub fn withholds_errors(&self) -> bool {
        self.continued().is_some()
    }

    /// The text that another attempt could go on with if the answer broke off here, without white space at its end. `None`:
    /// nothing else than an error can follow (a tool call is under way, reasoning is, nothing was said, or all was).
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        self.continued().filter(|_| !self.notes.stopped)?.text()
    }

    /// From here on the observer is fed the stream of another attempt, which goes on with [`Self::said`]. Nothing of its beginning
    /// is given out, and what it consumed is added to what was consumed before.
    pub fn go_on(&mut self, translation: Translation) {
        if let Form::Translated(translated) = &mut self.form {
            self.notes.dialect = translation.from;
            self.notes.seen.cut = false;
            self.notes.stopped = false;
            self.notes.seen.error = None;
            self.notes.seen.usage_is_final = false;
            self.notes.seen.model = None;
            self.notes.seen.service_tier = None;
            self.notes.heard = Heard::default();
            self.before = self.notes.seen.usage;
            self.ended = false;
            translated.go_on(translation);
        }
    }

    fn continued(&self) -> Option<&continued::Said> {
        match &self.form {
            Form::Translated(translated) => translated.said(),
            _ => None,
        }
    }

    fn translated_mut(&mut self) -> Option<&mut Translated> {
        match &mut self.form {
            Form::Translated(translated) => Some(translated),
            _ => None,
        }
    }

    /// An observer for one answer to `operation` in `dialect`.
    ///
    /// `hide_usage`: the gateway added `stream_options.include_usage` to the request, so the chunk that exists only
    /// because of it (`"choices":[]` with a `usage`) is kept from the client. It matters only for streams of OpenAI
    /// chat and completions.
    ///
    /// In an own dialect what comes back was read and written again.
    #[must_use]
    pub fn new(dialect: Dialect, operation: Operation, form: AnswerForm, hide_usage: bool) -> Self {
        if let Dialect::Own(_) = dialect {
            return Self::translating(Translation::within(dialect, form == AnswerForm::Stream), operation, form);
        }
        let form = match form {
            AnswerForm::Json => Form::Json(Box::new(JsonScan::new())),
            AnswerForm::Stream => match Rules::of(dialect, operation) {
                Some(rules) => Form::Stream(Box::new(Stream::new(rules, hide_usage))),
                None => Form::Followed(Box::new(Followed::new(dialect))),
            },
            AnswerForm::Opaque => Form::Opaque,
        };
        Self::of(Notes::new(dialect, operation), form, dialect == Dialect::Bedrock)
    }

    /// The same, which also finds out how a JSON document [ended](Seen::end); for that it keeps one of up to 256 KiB.
    #[must_use]
    pub fn judging_whole(mut self) -> Self {
        if let Form::Json(scan) = &mut self.form {
            scan.keep_whole();
        }
        self
    }

    fn of(notes: Notes, form: Form, gives_frames: bool) -> Self {
        Self { notes, form, ended: false, before: None, gives_frames }
    }

    /// Takes the next chunk of the body, in any cut, and gives back what goes to the client now. `end`: nothing
    /// follows; `chunk` may be empty then.
    ///
    /// Of a stream only whole events come back, as slices of `chunk` and without a copy where they lie in it: the beginning
    /// of an event is held until the rest of it is there, and stays behind if the answer breaks off inside it.
    pub fn feed(&mut self, chunk: Bytes, end: bool) -> Bytes {
        if self.ended {
            return chunk;
        }
        self.notes.errors.clear();
        let out = match &mut self.form {
            Form::Json(scan) => {
                scan.feed(&chunk, end, &mut self.notes);
                chunk
            }
            Form::Stream(stream) => stream.feed(&chunk, end, &mut self.notes),
            Form::Followed(followed) => followed.feed(&chunk, end, &mut self.notes),
            Form::Translated(translated) => translated.feed(&chunk, end, &mut self.notes),
            Form::Converted(converted) => converted.feed(&chunk, end, &mut self.notes),
            Form::Opaque => {
                let seen = &mut self.notes.seen;
                if !chunk.is_empty() {
                    seen.first_output = true;
                    seen.outputs += 1;
                }
                seen.complete |= end;
                chunk
            }
        };
        if end {
            self.ended = true;
            let seen = &mut self.notes.seen;
            seen.cut = !seen.complete && seen.error.is_none();
        }
        out
    }

    /// Makes unreadable what errors that the provider reports tell of the operator's account, and `secrets`, in `out`: what
    /// [`Self::feed`] has given back just now. Nothing else of it changes, and its length stays.
    #[must_use]
    pub fn masked<'a>(&mut self, out: Bytes, secrets: impl Iterator<Item = &'a [u8]> + Clone) -> Bytes {
        if self.notes.errors.is_empty() {
            return out;
        }
        let errors = std::mem::take(&mut self.notes.errors);
        let hide = |said: &mut [u8]| {
            secrets.clone().for_each(|secret| mask_secret(said, secret));
            mask(said);
        };
        let mut out = BytesMut::from(out);
        for said in errors {
            match out.get_mut(said) {
                Some(frames) if self.gives_frames => mask_frames(frames, hide),
                Some(said) => hide(said),
                None => {}
            }
        }
        out.freeze()
    }

    /// Whether what was given out so far ends inside an event of a stream. Before
    /// [`encode_stream_error`](crate::error::encode_stream_error) is appended there, the event has to be closed by `\n\n`.
    #[must_use]
    pub fn mid_event(&self) -> bool {
        match &self.form {
            Form::Stream(stream) => stream.mid_event(),
            Form::Followed(followed) => followed.mid_event(),
            Form::Json(_) | Form::Translated(_) | Form::Converted(_) | Form::Opaque => false,
        }
    }

    /// What the current attempt has reported to have consumed: [`Seen::usage`] without that of the attempts before it.
    #[must_use]
    pub fn own_usage(&self) -> Option<Usage> {
        let usage = self.notes.seen.usage?;
        match &self.before {
            None => Some(usage),
            Some(before) if usage == *before => None,
            Some(before) => Some(usage.minus(before)),
        }
    }

    /// How much the current attempt has said.
    #[must_use]
    pub fn heard(&self) -> &Heard {
        &self.notes.heard
    }

    /// What has been seen so far.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.notes.seen
    }

    /// The same, to keep.
    #[must_use]
    pub fn into_seen(self) -> Seen {
        self.notes.seen
    }
}

/// What the rules of a dialect write to: [`Seen`], and the counts that its usage is made of.
#[derive(Debug)]
struct Notes {
    dialect: Dialect,
    operation: Operation,
    seen: Seen,
    report: Report,
    heard: Heard,
    /// Of a stream that a codec reads: every answer in it has told why it is over. Nobody can go on with it.
    stopped: bool,
    /// Where in memory the errors of the event that is being read begin, and their lengths.
    errors_at: Vec<(usize, usize)>,
    /// Where errors stand in what is given out of the chunk.
    errors: Vec<Range<usize>>,
}

impl Notes {
    fn new(dialect: Dialect, operation: Operation) -> Self {
        Self {
            dialect,
            operation,
            seen: Seen::default(),
            report: Report::default(),
            heard: Heard::default(),
            stopped: false,
            errors_at: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Whether the answer has ended, well or not.
    fn is_over(&self) -> bool {
        self.seen.complete || self.seen.error.is_some()
    }

    fn thought(&mut self) {
        self.output();
        self.seen.thoughts += 1;
    }

    fn output(&mut self) {
        self.seen.first_output = true;
        self.seen.outputs += 1;
    }

    /// Takes in what is said by the value of the first `key` of an event: it is searched for, which is cheap and, as quotes in
    /// a string are escaped, cannot be fooled by the text.
    fn hear(&mut self, key: &Finder<'_>, data: &[u8]) -> bool {
        let Some(at) = key.find(data) else { return false };
        let rest = data[at + key.needle().len()..].trim_ascii_start();
        self.heard.json(rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start());
        true
    }

    fn unreadable(&mut self) {
        self.seen.unreadable += 1;
    }

    /// Takes a usage object in, as raw JSON.
    fn usage<'a>(&mut self, raw: impl Into<Option<&'a [u8]>>) {
        let Some(raw) = raw.into() else { return };
        // What counting tokens returns is an answer, not a consumption.
        if self.operation == Operation::CountTokens {
            return;
        }
        match Tree::parse(raw) {
            Some(Tree::Null) => {}
            Some(value) => {
                let tier = match self.dialect {
                    Dialect::Gemini => gemini_tier(&value),
                    Dialect::Anthropic => anthropic_tier(self.seen.service_tier.as_deref(), &value),
                    _ => value["service_tier"].as_str().map(str::to_owned),
                };
                if tier.is_some() {
                    self.seen.service_tier = tier;
                }
                if self.dialect == Dialect::Anthropic {
                    self.stand_in(anthropic_stand_in(&value).map(str::to_owned));
                }
                let model = self.seen.model.as_deref();
                let operation = if self.operation == Operation::Stored { Operation::Chat } else { self.operation };
                self.report(&Report::read_of(self.dialect, operation, model, &value));
            }
            None => self.unreadable(),
        }
    }

    /// A web search has come.
    fn search(&mut self) {
        self.report.search();
        self.report(&Report::default());
    }

    /// A picture has come.
    fn picture(&mut self) {
        self.report.picture();
        self.seen.usage = self.report.usage();
    }

    fn report(&mut self, report: &Report) {
        self.report.merge(report);
        let usage = self.report.usage();
        // What is kept was consumed before.
        if self.operation == Operation::Stored { self.seen.past_usage = usage } else { self.seen.usage = usage }
    }

    /// Takes an error in, as raw JSON: the whole event, or what stands under `error`.
    fn error<'a>(&mut self, raw: impl Into<Option<&'a [u8]>>) {
        let Some(raw) = raw.into() else { return };
        let at = raw.as_ptr().addr();
        // Around an error that is known there may be more than errors.
        if !self.errors_at.iter().any(|(known, _)| (at..at + raw.len()).contains(known)) {
            self.errors_at.push((at, raw.len()));
        }
        if self.seen.error.is_some() {
            return;
        }
        let value = serde_json::from_slice(raw)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(raw).trim().to_owned()));
        self.seen.error = Some(decode_value(self.dialect, 200, &value));
    }

    /// The `event` that was read last goes out, where it begins `at`: notes where the errors in it will stand. The whole event is
    /// one if it was put together from several lines.
    fn passes_errors(&mut self, event: &[u8], at: usize) {
        self.errors.extend(self.errors_at.drain(..).map(|(address, length)| {
            let within = address.checked_sub(event.as_ptr().addr()).filter(|from| from + length <= event.len());
            within.map_or(at..at + event.len(), |from| at + from..at + from + length)
        }));
    }

    /// The model's name, as raw JSON. The first one stays.
    fn model<'a>(&mut self, raw: impl Into<Option<&'a [u8]>>) {
        if let (None, Some(raw)) = (&self.seen.model, raw.into()) {
            self.seen.model = serde_json::from_slice::<String>(raw).ok().filter(|name| !name.is_empty());
        }
    }

    /// The model that answers in place of the one that was named before, if there is one.
    fn stand_in(&mut self, name: Option<String>) {
        if name.is_some() {
            self.seen.model = name;
        }
    }

    /// The answer's id, as raw JSON. The first one stays.
    fn id<'a>(&mut self, raw: impl Into<Option<&'a [u8]>>) {
        if let (None, Some(raw)) = (&self.seen.id, raw.into()) {
            self.seen.id = serde_json::from_slice(raw).ok();
        }
    }

    /// The last one stays: at the start it may still be `auto`.
    fn tier(&mut self, value: &Tree<'_>) {
        if let Some(tier) = value.as_str() {
            self.seen.service_tier = Some(tier.to_owned());
        }
    }
}
