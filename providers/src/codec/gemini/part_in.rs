//! A part of the wire as a block: of requests and of answers.

use super::extras::{nest, remember};
use super::wire::{Blob, Fields, FileData, FunctionCall, FunctionResponse, OneOrMany, Part};
use crate::codec::base64url::to_standard;
use crate::common::{
    Block, Content, Extras, Foreign, Json, Media, MediaKind, MediaSource, Opaque, ProviderTag, Reasoning, Str, Text,
    ToolCall, ToolResult, may_hold_ticket,
};
use crate::dialect::Dialect;

const OWN: Dialect = Dialect::Gemini;
/// Stands before what is encrypted, where it shares a field with what is signed.
pub(super) const ENCRYPTED: &str = "encrypted:";
/// Fields that stand beside a part's kind.
const BESIDE: [&str; 8] = [
    "videoMetadata",
    "video_metadata",
    "partMetadata",
    "part_metadata",
    "mediaProcessing",
    "media_processing",
    "audioMetadata",
    "speechMetadata",
];

/// The mark of a call that a provider of another dialect made.
pub(super) const MADE_ELSEWHERE: &str = "=made_elsewhere";

/// Whose parts they are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// A client's.
    Client,
    /// A provider's.
    Maker(ProviderTag),
}

impl Origin {
    /// A ticket without data says only that others made the call.
    fn opaque<'a>(self, text: Str<'a>) -> Option<Opaque<'a>> {
        let opaque = match self {
            Self::Maker(provider) => Opaque::made_by(OWN, Some(provider), text),
            // The field is bytes, and Google's Python SDK writes bytes in the alphabet of URLs.
            Self::Client if may_hold_ticket(text.as_bytes()) => {
                let opened = Opaque::from_client(OWN, to_standard(text.borrowed()).into_owned());
                if opened.dialect == OWN { Opaque::from_client(OWN, text) } else { opened }
            }
            Self::Client => Opaque::from_client(OWN, text),
        };
        Some(opaque).filter(|opaque| opaque.dialect == OWN || !opaque.data.is_empty())
    }
}

/// Where ids come from that the wire leaves out.
pub(super) trait Ids<'a> {
    /// The id of a call of the tool `name`.
    fn of_call(&mut self, id: Option<Str<'a>>, name: &Str<'a>) -> Str<'a>;
    /// The id of the call that a result of the tool `name` answers.
    fn of_result(&mut self, id: Option<Str<'a>>, name: &Str<'a>) -> Str<'a>;
}

/// Reads a part.
pub(super) fn block<'a>(part: Part<'a>, origin: Origin, ids: &mut dyn Ids<'a>) -> Block<'a> {
    let Part {
        text,
        thought,
        signature,
        inline_data,
        file_data,
        function_call,
        function_response,
        media_resolution,
        rest,
    } = part;
    let mut extras = Extras::new();
    let content = if let Some(call) = function_call {
        if call.name.is_empty() || call.rest.iter().any(|(name, _)| partial(name)) {
            let call = Json::of(&Fields(call_fields(call)));
            return Block::new(foreign(rest, Some(("functionCall", call)), thought, signature));
        }
        let told = signature.is_some();
        let signature = signature.and_then(|text| origin.opaque(text));
        if told && signature.is_none() {
            extras.push((MADE_ELSEWHERE.into(), Json::of(&true)));
        }
        Content::ToolCall(Box::new(tool_call(call, signature, &mut extras, ids)))
    } else if let Some(response) = function_response {
        if let Some(signature) = signature {
            extras.push(("thoughtSignature".into(), Json::of(&signature)));
        }
        Content::ToolResult(Box::new(tool_result(response, origin, &mut extras, ids)))
    } else if let Some(blob) = inline_data {
        let signature = signature.and_then(|text| origin.opaque(text));
        Content::Media(Box::new(Media { signature, ..inline(blob, &mut extras) }))
    } else if let Some(file) = file_data {
        let signature = signature.and_then(|text| origin.opaque(text));
        Content::Media(Box::new(Media { signature, ..at_address(file, &mut extras) }))
    } else if text.is_none() && rest.iter().any(|(name, _)| !BESIDE.contains(&&**name)) {
        return Block::new(foreign(rest, None, thought, signature));
    } else if thought {
        Content::Reasoning(Box::new(reasoning(
            text.unwrap_or_default(),
            signature.and_then(|text| origin.opaque(text)),
        )))
    } else {
        let signature = signature.and_then(|text| origin.opaque(text));
        Content::Text(Text { text: text.unwrap_or_default(), signature, ..Text::default() })
    };
    let mut block = Block { content, extras, ..Block::default() };
    block.extras.extend(rest);
    if thought && !matches!(block.content, Content::Reasoning(_)) {
        block.extras.push(("thought".into(), Json::of(&true)));
    }
    if let Some(resolution) = media_resolution {
        match (&mut block.content, level(&resolution)) {
            (Content::Media(media), Some(detail)) => media.detail = Some(detail),
            (_, _) => block.extras.push(("mediaResolution".into(), resolution)),
        }
    }
    block
}

/// Whether a field of a call says that its arguments come in pieces.
fn partial(name: &str) -> bool {
    matches!(name, "partialArgs" | "partial_args" | "willContinue" | "will_continue")
}

fn call_fields(call: FunctionCall<'_>) -> Extras<'_> {
    let FunctionCall { id, name, args, rest } = call;
    let mut fields = Extras::new();
    fields.extend(id.map(|id| ("id".into(), Json::of(&id))));
    if !name.is_empty() {
        fields.push(("name".into(), Json::of(&name)));
    }
    fields.extend(args.map(|args| ("args".into(), args)));
    fields.extend(rest);
    fields
}

/// A part that only Gemini knows: its kind is the first field that is not about the part.
fn foreign<'a>(
    rest: Extras<'a>,
    known: Option<(&'static str, Json<'a>)>,
    thought: bool,
    signature: Option<Str<'a>>,
) -> Content<'a> {
    let first = rest.iter().map(|(name, _)| &**name).find(|name| !BESIDE.contains(name));
    let kind = known.as_ref().map(|(name, _)| *name).or(first).map_or_else(|| "part".to_owned(), camel);
    let mut fields = Extras::new();
    fields.extend(thought.then(|| ("thought".into(), Json::of(&true))));
    fields.extend(signature.map(|text| ("thoughtSignature".into(), Json::of(&text))));
    fields.extend(known.map(|(name, json)| (name.into(), json)));
    fields.extend(rest);
    Content::Foreign(Box::new(Foreign { dialect: OWN, kind: kind.into(), raw: Json::of(&Fields(fields)) }))
}

/// `executable_code` as `executableCode`.
pub(super) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        camel.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
    }
    camel
}

fn reasoning<'a>(text: Str<'a>, opaque: Option<Opaque<'a>>) -> Reasoning<'a> {
    let mut reasoning = Reasoning { text, ..Reasoning::default() };
    match opaque {
        Some(opaque) if opaque.dialect != OWN && opaque.data.starts_with(ENCRYPTED) => {
            let data = opaque.data[ENCRYPTED.len()..].to_owned().into();
            reasoning.encrypted = Some(Opaque { data, ..opaque });
        }
        signature => reasoning.signature = signature,
    }
    reasoning
}

fn tool_call<'a>(
    call: FunctionCall<'a>,
    signature: Option<Opaque<'a>>,
    extras: &mut Extras<'a>,
    ids: &mut dyn Ids<'a>,
) -> ToolCall<'a> {
    let FunctionCall { id, name, args, rest } = call;
    if id.is_none() {
        remember(extras, "=functionCall.id", Json::default());
    }
    if args.is_none() {
        remember(extras, "=functionCall.args", Json::default());
    }
    nest(extras, "functionCall.", rest);
    let id = ids.of_call(id, &name);
    ToolCall { id, name, arguments: args.map_or_else(|| "{}".into(), Json::into_raw), signature, ..ToolCall::default() }
}

/// A result is an object of the application's own. One that wraps a single text the way Google's documentation and SDKs
/// do is unwrapped: `{"output": "…"}`, `{"result": "…"}`, `{"error": "…"}`.
fn tool_result<'a>(
    response: FunctionResponse<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
    ids: &mut dyn Ids<'a>,
) -> ToolResult<'a> {
    let FunctionResponse { id, name, response, parts: OneOrMany(parts), rest } = response;
    if id.is_none() {
        remember(extras, "=functionResponse.id", Json::default());
    }
    nest(extras, "functionResponse.", rest);
    let mut result = ToolResult { call_id: ids.of_result(id, &name), name: Some(name), ..ToolResult::default() };
    match response {
        None => remember(extras, "=functionResponse.response", Json::default()),
        Some(response) => {
            let fields = response.read_in_body().map_or_else(Vec::new, |Fields(fields)| fields);
            let (key, text) = match &*fields {
                [(key, value)] => (&**key, value.read_in_body::<Str<'a>>()),
                _ => ("", None),
            };
            result.is_error = (key == "error" && !fields[0].1.is_null()).then_some(true);
            let text = match text.filter(|_| matches!(key, "output" | "result" | "error")) {
                Some(text) => {
                    remember(extras, "=functionResponse.key", Json::of(&key));
                    text
                }
                None => response.into_raw(),
            };
            result.content.push(Block::text(text));
        }
    }
    result.content.extend(parts.into_iter().map(|part| block(part, origin, ids)));
    result
}

fn inline<'a>(blob: Blob<'a>, extras: &mut Extras<'a>) -> Media<'a> {
    let Blob { mime, data, name, rest } = blob;
    nest(extras, "inlineData.", rest);
    let kind = mime.as_deref().map_or(MediaKind::Document, MediaKind::of_mime);
    Media { kind, source: MediaSource::Data(to_standard(data)), mime, name, ..Media::default() }
}

fn at_address<'a>(file: FileData<'a>, extras: &mut Extras<'a>) -> Media<'a> {
    let FileData { mime, uri, name, rest } = file;
    nest(extras, "fileData.", rest);
    let kind = MediaKind::of_mime(mime.as_deref().or_else(|| mime_of_url(&uri)).unwrap_or_default());
    Media { kind, source: MediaSource::Url(uri), mime, name, ..Media::default() }
}

/// The media type that an address ends with, or that its host tells.
pub(super) fn mime_of_url(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    if ["://youtu.be/", "://www.youtube.com/", "://youtube.com/", "://m.youtube.com/"]
        .iter()
        .any(|at| path.contains(at))
    {
        return Some("video/mp4");
    }
    let (_, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "m4a" => "audio/mp4",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "mkv" => "video/x-matroska",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        _ => return None,
    })
}

/// `{"level": "MEDIA_RESOLUTION_HIGH"}` as `high`.
fn level<'a>(resolution: &Json<'a>) -> Option<Str<'a>> {
    let Fields(fields) = resolution.read_in_body()?;
    let [(name, level)] = &*fields else { return None };
    let level: Str<'a> = level.read_in_body().filter(|_| &**name == "level")?;
    Some(level.strip_prefix("MEDIA_RESOLUTION_")?.to_ascii_lowercase().into())
}
