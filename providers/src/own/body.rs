//! What the gateway and its plugins want of a body in an own dialect, read by its codec: the names of its fields tell nothing.

use bytes::Bytes;

use super::Own;
use crate::codec::{Call, Client, Codec, Maker, Target};
use crate::common::{
    Block, Content, Losses, Media, MediaKind, MediaSource, ProviderTag, Request, Response, Role, Str, Tool,
};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};
use crate::model_name;
use crate::scan::{self, BodyFacts, Field, Repeatable, RequestScan, Side, Text, TextKind, Tools, scan_json};

/// [`scan_json`] of a request in `dialect`. Of an own one, model, stream, bound and number of the answers are what its codec reads; the
/// model's place is not known then.
///
/// # Errors
/// It is no JSON object, or nothing that the codec understands: the caller's fault.
pub fn scan_request(body: &Bytes, dialect: Dialect, call: &Call<'_>) -> Result<RequestScan, ApiError> {
    let invalid = |message: String| ApiError::new(ErrorKind::InvalidRequest, message);
    let mut scan = scan_json(body).map_err(|error| invalid(error.to_string()))?;
    let Dialect::Own(own) = dialect else { return Ok(scan) };
    let asked = own.decode_request(body, call)?;
    let model = (!asked.model.is_empty()).then(|| asked.model.into_string());
    if let Some(model) = &model {
        let named = model_name::check(model);
        named.map_err(|reason| invalid(format!("the model name is {reason}")).with_param("model"))?;
    }
    scan.model = model.map(|value| Field { value, span: 0..0 });
    scan.stream = asked.stream;
    scan.max_tokens = asked.max_tokens;
    scan.choices = asked.n.map(scan::choices);
    scan.previous = None;
    scan.only_input = false;
    Ok(scan)
}

/// [`scan::texts`](crate::scan::texts); `None` if the codec cannot read the body.
pub(crate) fn texts(own: Own, body: &[u8], side: Side) -> Option<Vec<Text<'static>>> {
    let mut found = Vec::new();
    let mut take = |kind, json, text: &mut Str<'_>| {
        let number = found.len();
        found.push(Text { kind, text: text.as_str().to_owned().into(), json, number, goes_on: false });
    };
    match side {
        Side::Request => of_request(&mut own.decode_request(body, &Call::default()).ok()?, &mut take),
        Side::Answer => of_response(&mut own.decode_response(body, &maker()).ok()?, &mut take),
    }
    Some(found)
}

/// [`scan::edit_texts`](crate::scan::edit_texts); `None` if the codec cannot read the body, or not write it.
pub(crate) fn edit_texts(
    own: Own,
    body: &[u8],
    side: Side,
    edit: &mut dyn FnMut(&Text<'_>) -> Option<String>,
) -> Option<(Option<Bytes>, usize)> {
    let (mut number, mut count) = (0, 0);
    let mut change = |kind, json, text: &mut Str<'_>| {
        let new = edit(&Text { kind, text: text.as_str().into(), json, number, goes_on: false });
        number += 1;
        if let Some(new) = new {
            *text = new.into();
            count += 1;
        }
    };
    let mut losses = Losses::default();
    let edited = match side {
        Side::Request => {
            let mut request = own.decode_request(body, &Call::default()).ok()?;
            of_request(&mut request, &mut change);
            own.encode_request(&request, &Target::new(&request.model, ProviderTag::of("")), &mut losses).ok()?
        }
        Side::Answer => {
            let mut response = own.decode_response(body, &maker()).ok()?;
            of_response(&mut response, &mut change);
            own.encode_response(&response, &Client::default(), &mut losses)
        }
    };
    Some(((count > 0).then(|| edited.into()), count))
}

/// [`BodyFacts::in_dialect`].
pub(crate) fn facts(own: Own, body: &[u8]) -> BodyFacts {
    let named = BodyFacts::of(body);
    let Ok(mut asked) = own.decode_request(body, &Call::default()) else { return named };
    let (mut media, mut terms) = (scan::Media::default(), named.terms);
    let blocks = asked.system.iter().chain(asked.messages.iter().flat_map(|message| &message.blocks));
    blocks.for_each(|block| count_media(block, &mut media));
    asked.service_tier.iter().for_each(|tier| terms.ask_tier(tier));
    terms.audio |= asked.audio.is_some();
    let (images, tools) = (has_image(&asked), !asked.tools.is_empty());
    let mut facts = BodyFacts { images, tools, media, terms, prompt_bytes: 0, ..named };
    facts.user = facts.user.or_else(|| asked.user.as_ref().map(ToString::to_string));
    let tools: usize = asked.tools.iter().map(length).sum();
    let mut bytes = tools as u64;
    of_request(&mut asked, &mut |_, _, text| bytes += text.len() as u64);
    facts.prompt_bytes = bytes;
    facts
}

/// [`Repeatable::of`].
pub(crate) fn repeatable(own: Own, body: &[u8]) -> Repeatable {
    let Ok(asked) = own.decode_request(body, &Call::default()) else {
        return Repeatable { once: Some("body"), ..Repeatable::default() };
    };
    let hosted = asked.tools.iter().any(|tool| matches!(tool, Tool::Foreign { .. }));
    let tools = match asked.tools.is_empty() {
        true => Tools::None,
        false if hosted => Tools::Hosted,
        false => Tools::Declared,
    };
    let once = match &asked {
        Request { previous: Some(_), .. } => Some("previous_response_id"),
        Request { store: Some(true), .. } => Some("store"),
        Request { audio: Some(_), .. } => Some("audio"),
        _ => None,
    };
    Repeatable { temperature: asked.temperature.is_some_and(|temperature| temperature != 0.0), tools, once }
}

fn maker() -> Maker<'static> {
    Maker::nobody("0")
}

/// Takes a text: whose it is, and whether it is JSON.
type Visit<'v> = &'v mut dyn FnMut(TextKind, bool, &mut Str<'_>);

fn of_request(request: &mut Request<'_>, visit: Visit<'_>) {
    of_blocks(&mut request.system, TextKind::System, visit);
    for message in &mut request.messages {
        let kind = match message.role {
            Role::System | Role::Developer => TextKind::System,
            Role::User => TextKind::User,
            Role::Assistant => TextKind::Assistant,
        };
        of_blocks(&mut message.blocks, kind, visit);
    }
}

fn of_response(response: &mut Response<'_>, visit: Visit<'_>) {
    for choice in &mut response.choices {
        of_blocks(&mut choice.blocks, TextKind::Assistant, visit);
    }
}

fn of_blocks(blocks: &mut [Block<'_>], kind: TextKind, visit: Visit<'_>) {
    for block in blocks {
        match &mut block.content {
            Content::Text(text) => visit(kind, false, &mut text.text),
            Content::Refusal(text) => visit(TextKind::Refusal, false, text),
            Content::Reasoning(reasoning) => {
                visit(TextKind::Reasoning, false, &mut reasoning.text);
                reasoning.summary.iter_mut().for_each(|part| visit(TextKind::Reasoning, false, part));
            }
            Content::ToolCall(call) => visit(TextKind::Arguments, !call.custom, &mut call.arguments),
            Content::ToolResult(result) => of_blocks(&mut result.content, TextKind::ToolResult, visit),
            Content::Media(media) => {
                match &mut media.source {
                    MediaSource::Text(text) => visit(kind, false, text),
                    MediaSource::Blocks(blocks) => of_blocks(blocks, kind, visit),
                    MediaSource::Data(_) | MediaSource::Url(_) | MediaSource::File(_) => {}
                }
                if let Some(transcript) = &mut media.transcript {
                    visit(kind, false, transcript);
                }
            }
            Content::Foreign(_) => {}
        }
    }
}

fn has_image(request: &Request<'_>) -> bool {
    fn image(block: &Block<'_>) -> bool {
        match &block.content {
            Content::Media(media) => matches!(**media, Media { kind: MediaKind::Image, .. }),
            Content::ToolResult(result) => result.content.iter().any(image),
            _ => false,
        }
    }
    request.messages.iter().flat_map(|message| &message.blocks).any(image)
}

fn count_media(block: &Block<'_>, found: &mut scan::Media) {
    match &block.content {
        Content::Media(media) => match &media.source {
            MediaSource::Data(data) => found.add(media.kind, data.len() as u64),
            MediaSource::Url(_) | MediaSource::File(_) => found.add(media.kind, 0),
            MediaSource::Text(_) => {}
            MediaSource::Blocks(blocks) => blocks.iter().for_each(|block| count_media(block, found)),
        },
        Content::ToolResult(result) => result.content.iter().for_each(|block| count_media(block, found)),
        _ => {}
    }
}

/// Bytes of a tool's declaration.
fn length(tool: &Tool<'_>) -> usize {
    match tool {
        Tool::Function(tool) => {
            let parameters = tool.parameters.as_ref().map_or(0, |parameters| parameters.get().len());
            tool.name.len() + tool.description.as_deref().map_or(0, str::len) + parameters
        }
        Tool::Custom(tool) => tool.name.len() + tool.description.as_deref().map_or(0, str::len),
        Tool::Foreign { raw, .. } => raw.get().len(),
    }
}
