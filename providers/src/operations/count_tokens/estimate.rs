//! Tokens of a chat request, estimated: OpenAI's `o200k_base` for all that is text, and what the providers publish for the
//! rest. Other vendors' tokenizers give up to a third more for the same text.

use crate::common::{
    Block, Content, CustomTool, FunctionTool, Media, MediaKind, MediaSource, Message, Request, ResponseFormat, Tool,
    ToolResult,
};
use crate::dialect::Dialect;
use crate::operations::tokenizer::count;

/// Around each message, and before the answer: OpenAI's cookbook, "How to count tokens with tiktoken".
const MESSAGE: u64 = 3;
const ANSWER: u64 = 3;
/// Around each tool, call and result.
const TOOL: u64 = 8;
/// Of a document whose pages cannot be counted: Anthropic says 1,500 to 3,000 a page.
const DOCUMENT: u64 = 2000;
/// Of sound and film at an address: half a minute of sound in Gemini's counting.
const REMOTE: u64 = 1000;

/// About how many tokens the request takes as input.
#[must_use]
pub fn estimate(request: &Request<'_>) -> u64 {
    let dialect = request.dialect;
    let system = if request.system.is_empty() { 0 } else { MESSAGE };
    let message = |Message { role: _, blocks: all, name, id: _, extras: _ }: &Message<'_>| {
        MESSAGE + name.as_deref().map_or(0, |name| 1 + count(name)) + blocks(all, dialect)
    };
    ANSWER
        + system
        + blocks(&request.system, dialect)
        + request.messages.iter().map(message).sum::<u64>()
        + request.tools.iter().map(tool).sum::<u64>()
        + format(request.response_format.as_ref())
}

fn blocks(blocks: &[Block<'_>], dialect: Dialect) -> u64 {
    blocks.iter().map(|block| content(&block.content, dialect)).sum()
}

fn content(content: &Content<'_>, dialect: Dialect) -> u64 {
    match content {
        Content::Text(text) => count(&text.text),
        Content::Refusal(text) => count(text),
        Content::Media(one) => media(one, dialect),
        // What is encrypted is not counted: its length says little.
        Content::Reasoning(reasoning) => {
            count(&reasoning.text) + reasoning.summary.iter().map(|text| count(text)).sum::<u64>()
        }
        Content::ToolCall(call) => TOOL + count(&call.name) + count(&call.arguments),
        Content::ToolResult(result) => {
            let ToolResult { call_id: _, name: _, content, is_error: _, custom: _ } = &**result;
            TOOL + blocks(content, dialect)
        }
        Content::Foreign(foreign) => count(foreign.raw.get()),
    }
}

fn media(media: &Media<'_>, dialect: Dialect) -> u64 {
    let about = [&media.name, &media.context].into_iter().flatten().map(|text| count(text)).sum::<u64>();
    let bytes = match &media.source {
        MediaSource::Data(base64) => Some(base64.len() as u64 / 4 * 3),
        MediaSource::Url(_) | MediaSource::File(_) => None,
        MediaSource::Text(text) => return about + count(text),
        MediaSource::Blocks(all) => return about + blocks(all, dialect),
    };
    about
        + match media.kind {
            MediaKind::Image => image(media.detail.as_deref(), dialect),
            // Gemini: 32 tokens a second of sound, at the 128 kbit/s of a common mp3.
            MediaKind::Audio => bytes.map_or(REMOTE, |bytes| bytes / 500),
            // Gemini: 263 tokens a second of film, at 2 Mbit/s.
            MediaKind::Video => bytes.map_or(REMOTE, |bytes| bytes / 1000),
            MediaKind::Document => DOCUMENT,
        }
}

/// What an image of a megapixel takes, the most common size.
const fn image(detail: Option<&str>, dialect: Dialect) -> u64 {
    match (dialect, detail) {
        // <https://platform.openai.com/docs/guides/images-vision>: 85, and 170 for each of four tiles.
        (Dialect::OpenAiChat | Dialect::OpenAiResponses, Some(detail)) if matches!(detail.as_bytes(), b"low") => 85,
        (Dialect::OpenAiChat | Dialect::OpenAiResponses, _) => 765,
        // <https://docs.anthropic.com/en/docs/build-with-claude/vision>: width × height / 750.
        (Dialect::Anthropic | Dialect::Bedrock, _) => 1398,
        // <https://ai.google.dev/gemini-api/docs/tokens>: 258 for each tile of 768 × 768.
        (Dialect::Gemini, _) => 1032,
        // <https://docs.cohere.com/docs/image-inputs>: 256 for each tile of 512 × 512, and one for the whole.
        (Dialect::Cohere, _) => 1280,
    }
}

fn tool(tool: &Tool<'_>) -> u64 {
    match tool {
        Tool::Function(tool) => {
            let FunctionTool { name, description, parameters, namespace, strict: _, cache: _, extras: _ } = &**tool;
            TOOL + count(name)
                + [namespace, description].into_iter().flatten().map(|text| count(text)).sum::<u64>()
                + parameters.as_ref().map_or(0, |schema| count(schema.get()))
        }
        Tool::Custom(tool) => {
            let CustomTool { name, description, format, namespace, extras: _ } = &**tool;
            TOOL + count(name)
                + [namespace, description].into_iter().flatten().map(|text| count(text)).sum::<u64>()
                + format.as_ref().map_or(0, |format| count(format.get()))
        }
        Tool::Foreign { dialect: _, kind: _, raw } => TOOL + count(raw.get()),
    }
}

fn format(format: Option<&ResponseFormat<'_>>) -> u64 {
    match format {
        Some(ResponseFormat::Schema { schema: raw, .. } | ResponseFormat::Foreign { raw, .. }) => count(raw.get()),
        Some(ResponseFormat::Text | ResponseFormat::Json) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Json, Opaque, Reasoning, Role, ToolCall};

    fn request(dialect: Dialect, content: Content<'static>) -> Request<'static> {
        let mut request = Request::new(dialect);
        request.messages.push(Message { role: Role::User, blocks: vec![Block::new(content)], ..Message::default() });
        request
    }

    #[test]
    fn text_counts_as_openai_counts() {
        let mut request = request(Dialect::OpenAiChat, Content::Text(crate::common::Text::new("Hello, world!")));
        assert_eq!(estimate(&request), 3 + 3 + 4);
        request.system.push(Block::text("Hello, world!"));
        assert_eq!(estimate(&request), 3 + 3 + 4 + 3 + 4);
        request.tools.push(Tool::Function(Box::new(FunctionTool {
            name: "get".into(),
            description: Some("Hello, world!".into()),
            parameters: Json::parse("{}"),
            ..FunctionTool::default()
        })));
        assert_eq!(estimate(&request), 17 + 8 + 1 + 4 + 1);
    }

    #[test]
    fn bytes_are_not_read_as_text() {
        let data = "A".repeat(1_000_000);
        let media = |kind| {
            Content::Media(Box::new(Media { kind, source: MediaSource::Data(data.clone().into()), ..Media::default() }))
        };
        assert_eq!(estimate(&request(Dialect::OpenAiChat, media(MediaKind::Image))), 771);
        assert_eq!(estimate(&request(Dialect::Anthropic, media(MediaKind::Image))), 1404);
        assert_eq!(estimate(&request(Dialect::Gemini, media(MediaKind::Audio))), 1506);
        let reasoning = Reasoning {
            encrypted: Some(Opaque::made_by(Dialect::Anthropic, None, data.into())),
            ..Reasoning::default()
        };
        assert_eq!(estimate(&request(Dialect::Anthropic, Content::Reasoning(Box::new(reasoning)))), 6);
    }

    #[test]
    fn results_are_counted_inside() {
        let result = ToolResult { content: vec![Block::text("Hello, world!")], ..ToolResult::default() };
        assert_eq!(estimate(&request(Dialect::Anthropic, Content::ToolResult(Box::new(result)))), 6 + 8 + 4);
        let call = ToolCall { name: "get".into(), arguments: "{}".into(), ..ToolCall::default() };
        assert_eq!(estimate(&request(Dialect::Anthropic, Content::ToolCall(Box::new(call)))), 6 + 8 + 1 + 1);
    }
}
