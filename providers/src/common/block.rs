//! What messages and answers are made of.

use std::borrow::Cow;

use bounded_static::ToStatic;

use super::{Extras, Json, Opaque, Str};
use crate::dialect::Dialect;

/// A part of a message or of an answer, with what can stand beside any part.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Block<'a> {
    /// What it says.
    pub content: Content<'a>,
    /// The prompt up to here is to be kept in the provider's cache.
    pub cache: Option<CacheMark<'a>>,
    /// The item's own id (Responses).
    pub id: Option<Str<'a>>,
    /// Fields of the block that have no place here.
    pub extras: Extras<'a>,
}

impl<'a> Block<'a> {
    /// A block that says `content` and nothing beside it.
    #[must_use]
    pub fn new(content: Content<'a>) -> Self {
        Self { content, ..Self::default() }
    }

    /// Whether it is a text of no words. Claude refuses one that a client sends back.
    pub(crate) fn is_silent(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.text.is_empty(),
            Content::Refusal(text) => text.is_empty(),
            Content::Media(_)
            | Content::Reasoning(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)
            | Content::Foreign(_) => false,
        }
    }

    /// Whether it is a text with a signature.
    pub(crate) fn is_signed_text(&self) -> bool {
        matches!(&self.content, Content::Text(text) if text.signature.is_some())
    }

    /// Plain text.
    #[must_use]
    pub fn text(text: impl Into<Str<'a>>) -> Self {
        Self::new(Content::Text(Text::new(text)))
    }
}

/// What a block says.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub enum Content<'a> {
    /// Text.
    Text(Text<'a>),
    /// The model declines; OpenAI keeps that apart from text.
    Refusal(Str<'a>),
    /// An image, sound, film or document.
    Media(Box<Media<'a>>),
    /// The model's reasoning.
    Reasoning(Box<Reasoning<'a>>),
    /// The model calls a tool that the client runs.
    ToolCall(Box<ToolCall<'a>>),
    /// What the tool returned. It stands in a user message, whatever the dialect calls that role.
    ToolResult(Box<ToolResult<'a>>),
    /// What only one dialect can say: calls and results of tools that the provider runs, references to stored items.
    Foreign(Box<Foreign<'a>>),
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Text(Text::default())
    }
}

/// Text, and where it comes from.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Text<'a> {
    /// The text itself.
    pub text: Str<'a>,
    /// Sources of it.
    pub citations: Vec<Citation<'a>>,
    /// Gemini signs plain answers, too.
    pub signature: Option<Opaque<'a>>,
}

impl<'a> Text<'a> {
    /// Text without sources.
    #[must_use]
    pub fn new(text: impl Into<Str<'a>>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A source of a stretch of text. What all dialects can say has a field; the whole is kept for its own dialect.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Citation<'a> {
    /// Address of the source.
    pub url: Option<Str<'a>>,
    /// Its title, or the document's.
    pub title: Option<Str<'a>>,
    /// The words of the source.
    pub quote: Option<Str<'a>>,
    /// The stretch of the block's text that it supports, in characters: from, to (exclusive). All of it, if it does not say.
    pub span: Option<(u64, u64)>,
    /// As it stood on the wire of its dialect.
    pub raw: Option<(Dialect, Json<'a>)>,
}

/// The sort of a [`Media`].
#[derive(Debug, Clone, Copy, ToStatic, PartialEq, Eq, Default)]
pub enum MediaKind {
    /// A picture.
    #[default]
    Image,
    /// Sound.
    Audio,
    /// A film.
    Video,
    /// PDF, text, office documents: whatever is read as a document.
    Document,
}

impl MediaKind {
    /// The sort that a media type names; everything that is no image, sound or film is a document.
    #[must_use]
    pub fn of_mime(mime: &str) -> Self {
        let sort = mime.split('/').next().unwrap_or_default();
        let named = |kind: &Self| kind.as_str().eq_ignore_ascii_case(sort);
        [Self::Image, Self::Audio, Self::Video].into_iter().find(named).unwrap_or(Self::Document)
    }

    /// The word in lists of what was dropped.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
        }
    }

    /// The field that [`Losses`](super::Losses) names where a medium of a request's message is dropped.
    #[must_use]
    pub const fn lost_in_message(self) -> &'static str {
        match self {
            Self::Image => "messages.image",
            Self::Audio => "messages.audio",
            Self::Video => "messages.video",
            Self::Document => "messages.document",
        }
    }

    /// The same of an answer.
    #[must_use]
    pub const fn lost_in_answer(self) -> &'static str {
        match self {
            Self::Image => "answer.image",
            Self::Audio => "answer.audio",
            Self::Video => "answer.video",
            Self::Document => "answer.document",
        }
    }
}

/// An image, sound, film or document.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Media<'a> {
    /// Which.
    pub kind: MediaKind,
    /// Where its bytes are.
    pub source: MediaSource<'a>,
    /// Its media type (`image/png`, `audio/wav`, `application/pdf`), if known.
    pub mime: Option<Str<'a>>,
    /// File name or title.
    pub name: Option<Str<'a>>,
    /// OpenAI's `detail`, Gemini's media resolution: `low`, `high`, `auto`, …
    pub detail: Option<Str<'a>>,
    /// What the model should know about it (Anthropic, Bedrock).
    pub context: Option<Str<'a>>,
    /// Whether answers shall cite it (Anthropic, Bedrock).
    pub cite: Option<bool>,
    /// What is spoken, of sound that a model made.
    pub transcript: Option<Str<'a>>,
    /// A thought signature on it (Gemini).
    pub signature: Option<Opaque<'a>>,
}

/// Where the bytes of a [`Media`] are.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub enum MediaSource<'a> {
    /// Here, in base64.
    Data(Str<'a>),
    /// At an address: `https:`, `gs:`, `s3:`. `data:` URLs are decoded to [`MediaSource::Data`].
    Url(Str<'a>),
    /// Uploaded to the provider before, under this id.
    File(Str<'a>),
    /// Plain text that is read as a document (Anthropic, Bedrock).
    Text(Str<'a>),
    /// A document made of blocks (Anthropic, Bedrock).
    Blocks(Vec<Block<'a>>),
}

impl Default for MediaSource<'_> {
    fn default() -> Self {
        Self::Data(Str::default())
    }
}

impl<'a> MediaSource<'a> {
    /// Reads a URL; of a `data:` URL in base64 gives the media type, too, as it is spelt.
    #[must_use]
    pub fn of_url(url: Str<'a>) -> (Self, Option<Str<'a>>) {
        let Some((mime, data)) = data_of(&url) else { return (Self::Url(url), None) };
        let mime = (!mime.is_empty() && !mime.starts_with(';')).then(|| mime.to_owned().into());
        let head = url.len() - data.len();
        (Self::Data(url.behind(head)), mime)
    }
}

/// A media type as it is compared: in lower case and without parameters.
pub(crate) fn plain_mime(mime: &str) -> String {
    mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Media type and base64 of a `data:` URL.
fn data_of(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let (head, data) = rest.split_once(',').filter(|_| scheme.eq_ignore_ascii_case("data"))?;
    let (kind, encoding) = head.rsplit_once(';')?;
    encoding.eq_ignore_ascii_case("base64").then_some((kind, data))
}

/// The model's reasoning.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct Reasoning<'a> {
    /// The reasoning itself, as far as it is shown.
    pub text: Str<'a>,
    /// Summaries of it (Responses). A provider that shows only a summary without calling it one says it in `text`.
    pub summary: Vec<Str<'a>>,
    /// Proves `text` to its maker (Anthropic, Bedrock, Gemini).
    pub signature: Option<Opaque<'a>>,
    /// Reasoning that only its maker can read: Anthropic's `redacted_thinking`, Responses' `encrypted_content`.
    pub encrypted: Option<Opaque<'a>>,
}

impl Reasoning<'_> {
    /// Whether it says nothing to anybody, such as the mark that the gateway puts before a call made without reasoning.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { text, summary, signature, encrypted } = self;
        text.is_empty() && summary.is_empty() && signature.is_none() && encrypted.is_none()
    }

    /// All that is shown, for who has one place for it: the parts of the summary and the reasoning itself, as paragraphs.
    #[must_use]
    pub fn shown(&self) -> Option<Cow<'_, str>> {
        paragraphs(self.summary.iter().chain([&self.text]).map(Str::as_str))
    }
}

const BETWEEN_PARAGRAPHS: &str = "\n\n";

/// The texts that say something as one.
pub(crate) fn paragraphs<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Cow<'a, str>> {
    let mut texts = texts.filter(|text| !text.is_empty());
    let mut all = Cow::Borrowed(texts.next()?);
    for text in texts {
        let all = all.to_mut();
        all.push_str(BETWEEN_PARAGRAPHS);
        all.push_str(text);
    }
    Some(all)
}

/// Sets the parts of a block of reasoning apart in a stream that has one place for all of it: it reads as
/// [`Reasoning::shown`].
#[derive(Debug, Default)]
pub(crate) struct Paragraphs(Option<Option<u32>>);

impl Paragraphs {
    /// More of a part of the summary, or of the reasoning itself (`None`), with what stands before it.
    pub(crate) fn next<'a>(&mut self, part: Option<u32>, text: &'a str) -> Cow<'a, str> {
        let apart = !text.is_empty() && self.0.replace(part).is_some_and(|last| last != part);
        if apart { [BETWEEN_PARAGRAPHS, text].concat().into() } else { text.into() }
    }
}

/// A call of a tool that the client runs.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct ToolCall<'a> {
    /// Ties the result to the call.
    pub id: Str<'a>,
    /// The tool.
    pub name: Str<'a>,
    /// A function's arguments as JSON text, as the model wrote it (it may be broken, or empty for none); the input of a custom
    /// tool as it is.
    pub arguments: Str<'a>,
    /// Whether it is a custom tool, whose input is plain text.
    pub custom: bool,
    /// The group that the tool belongs to (Responses).
    pub namespace: Option<Str<'a>>,
    /// A thought signature on it (Gemini).
    pub signature: Option<Opaque<'a>>,
}

impl ToolCall<'_> {
    /// The arguments for dialects that want an object: as they are, `{}` for none, and what is no JSON object wrapped the way
    /// Anthropic advises, `{"INVALID_JSON": "…"}`. A custom tool's text stands under `input`
    /// ([`CustomTool::as_function`](super::CustomTool::as_function)).
    #[must_use]
    pub fn arguments_object(&self) -> Json<'_> {
        let wrapped = |key: &str| Json::of(&std::collections::BTreeMap::from([(key, &*self.arguments)]));
        if self.custom {
            return wrapped("input");
        }
        if self.arguments.trim().is_empty() {
            return Json::of(&serde_json::Map::new());
        }
        match Json::parse(&self.arguments) {
            Some(json) if json.is_object() => json,
            Some(_) | None => wrapped("INVALID_JSON"),
        }
    }
}

/// What a tool returned.
#[derive(Debug, Clone, ToStatic, PartialEq, Default)]
pub struct ToolResult<'a> {
    /// The call's id.
    pub call_id: Str<'a>,
    /// The tool's name where the dialect says it (Gemini).
    pub name: Option<Str<'a>>,
    /// Text, images, documents.
    pub content: Vec<Block<'a>>,
    /// Whether the tool failed, where that is said.
    pub is_error: Option<bool>,
    /// Whether the tool is a custom one.
    pub custom: bool,
}

/// What only one dialect can say.
#[derive(Debug, Clone, ToStatic, PartialEq)]
pub struct Foreign<'a> {
    /// Which.
    pub dialect: Dialect,
    /// What it calls this (`server_tool_use`, `web_search_call`).
    pub kind: Str<'a>,
    /// The whole block.
    pub raw: Json<'a>,
}

/// "Keep the prompt up to here in the cache."
#[derive(Debug, Clone, ToStatic, PartialEq, Eq, Default)]
pub struct CacheMark<'a> {
    /// For how long: `5m`, `1h`; `None`: the provider's usual time.
    pub ttl: Option<Str<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_in_base64_are_read_however_they_are_spelt() {
        for (url, mime) in [
            ("data:image/png;base64,AA==", Some("image/png")),
            ("data:image/png;charset=utf-8;base64,AA==", Some("image/png;charset=utf-8")),
            ("data:image/PNG;base64,AA==", Some("image/PNG")),
            ("DATA:image/png;BASE64,AA==", Some("image/png")),
            ("data:;base64,AA==", None),
        ] {
            let (source, read) = MediaSource::of_url(url.into());
            assert_eq!((source, read.as_deref()), (MediaSource::Data("AA==".into()), mime), "{url}");
        }
        for url in ["https://x/a.png", "data:text/plain,a", "data:base64,AA==", "data:image/png;base64", ""] {
            assert_eq!(MediaSource::of_url(url.into()), (MediaSource::Url(url.into()), None), "{url}");
        }
    }

    #[test]
    fn data_urls_are_read_without_a_copy() {
        let url = "data:image/png;base64,AAAA";
        let (MediaSource::Data(data), _) = MediaSource::of_url(url.into()) else { panic!() };
        assert!(std::ptr::eq(data.as_str(), &url[22..]));
        let (source, _) = MediaSource::of_url(url.to_owned().into());
        assert_eq!(source, MediaSource::Data("AAAA".into()));
    }

    #[test]
    fn the_sort_of_a_medium_is_known_however_its_type_is_spelt() {
        for (mime, kind) in [
            ("IMAGE/png", MediaKind::Image),
            ("Audio/L16;rate=24000", MediaKind::Audio),
            ("video/mp4", MediaKind::Video),
            ("application/pdf", MediaKind::Document),
            ("", MediaKind::Document),
        ] {
            assert_eq!(MediaKind::of_mime(mime), kind, "{mime}");
        }
    }
}
