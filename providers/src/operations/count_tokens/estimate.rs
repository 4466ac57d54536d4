//! Tokens of a chat request, estimated: OpenAI's `o200k_base` for all that is text, and what the providers publish for the
//! rest. Other vendors' tokenizers give up to a third more for the same text.

use crate::common::{
    Block, Content, CustomTool, FunctionTool, Json, Media, MediaKind, MediaSource, Message, Request, ResponseFormat,
    Tool,
};
use crate::dialect::Dialect;
use crate::operations::tokenizer::Counter;

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
    let mut estimate = Estimate { dialect: request.dialect, text: Counter::default(), other: ANSWER };
    if !request.system.is_empty() {
        estimate.other += MESSAGE;
        estimate.blocks(&request.system);
    }
    request.messages.iter().for_each(|message| estimate.message(message));
    request.tools.iter().for_each(|tool| estimate.tool(tool));
    match &request.response_format {
        Some(ResponseFormat::Schema { schema: raw, .. } | ResponseFormat::Foreign { raw, .. }) => {
            estimate.text.add(raw.get());
        }
        Some(ResponseFormat::Text | ResponseFormat::Json) | None => {}
    }
    estimate.text.total().saturating_add(estimate.other)
}

/// An estimate under way.
struct Estimate {
    dialect: Dialect,
    text: Counter,
    other: u64,
}

impl Estimate {
    fn message(&mut self, message: &Message<'_>) {
        let Message { role: _, blocks, name, id: _, extras: _ } = message;
        self.other += MESSAGE + u64::from(name.is_some());
        self.texts(&[name.as_deref()]);
        self.blocks(blocks);
    }

    fn texts(&mut self, texts: &[Option<&str>]) {
        texts.iter().flatten().for_each(|text| self.text.add(text));
    }

    fn blocks(&mut self, blocks: &[Block<'_>]) {
        blocks.iter().for_each(|block| self.content(&block.content));
    }

    fn content(&mut self, content: &Content<'_>) {
        match content {
            Content::Text(text) => self.text.add(&text.text),
            Content::Refusal(text) => self.text.add(text),
            Content::Media(media) => self.media(media),
            // What is encrypted is not counted: its length says little.
            Content::Reasoning(reasoning) => {
                self.text.add(&reasoning.text);
                reasoning.summary.iter().for_each(|text| self.text.add(text));
            }
            Content::ToolCall(call) => {
                self.other += TOOL;
                self.texts(&[Some(&call.name), Some(&call.arguments)]);
            }
            Content::ToolResult(result) => {
                self.other += TOOL;
                self.blocks(&result.content);
            }
            Content::Foreign(foreign) => self.text.add(foreign.raw.get()),
        }
    }

    fn media(&mut self, media: &Media<'_>) {
        self.texts(&[media.name.as_deref(), media.context.as_deref()]);
        let bytes = match &media.source {
            MediaSource::Data(base64) => Some(base64.len() as u64 / 4 * 3),
            MediaSource::Url(_) | MediaSource::File(_) => None,
            MediaSource::Text(text) => return self.text.add(text),
            MediaSource::Blocks(blocks) => return self.blocks(blocks),
        };
        self.other += match media.kind {
            MediaKind::Image => image(media.detail.as_deref(), self.dialect),
            // Gemini: 32 tokens a second of sound, at the 128 kbit/s of a common mp3.
            MediaKind::Audio => bytes.map_or(REMOTE, |bytes| bytes / 500),
            // Gemini: 263 tokens a second of film, at 2 Mbit/s.
            MediaKind::Video => bytes.map_or(REMOTE, |bytes| bytes / 1000),
            MediaKind::Document => DOCUMENT,
        };
    }

    fn tool(&mut self, tool: &Tool<'_>) {
        self.other += TOOL;
        match tool {
            Tool::Function(tool) => {
                let FunctionTool { name, description, parameters, namespace, strict: _, cache: _, extras: _ } = &**tool;
                let schema = parameters.as_ref().map(Json::get);
                self.texts(&[Some(name), description.as_deref(), namespace.as_deref(), schema]);
            }
            Tool::Custom(tool) => {
                let CustomTool { name, description, format, namespace, extras: _ } = &**tool;
                let format = format.as_ref().map(Json::get);
                self.texts(&[Some(name), description.as_deref(), namespace.as_deref(), format]);
            }
            Tool::Foreign { dialect: _, kind: _, raw } => self.text.add(raw.get()),
        }
    }
}

/// What an image of a megapixel takes, the most common size.
const fn image(detail: Option<&str>, dialect: Dialect) -> u64 {
    match (dialect, detail) {
        // <https://platform.openai.com/docs/guides/images-vision>: 85, and 170 for each of four tiles.
        (Dialect::OpenAiChat | Dialect::OpenAiResponses, Some(detail)) if matches!(detail.as_bytes(), b"low") => 85,
        (Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Own(_), _) => 765,
        // <https://docs.anthropic.com/en/docs/build-with-claude/vision>: width × height / 750.
        (Dialect::Anthropic | Dialect::Bedrock, _) => 1398,
        // <https://ai.google.dev/gemini-api/docs/tokens>: 258 for each tile of 768 × 768.
        (Dialect::Gemini, _) => 1032,
        // <https://docs.cohere.com/docs/image-inputs>: 256 for each tile of 512 × 512, and one for the whole.
        (Dialect::Cohere, _) => 1280,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Opaque, Reasoning, Role, ToolCall, ToolResult};

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
