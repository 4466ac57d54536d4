//! Requests in the dialects that the mock reads with the gateway's own codecs.

use ai_gateway_providers::codec::{Call, codec};
use ai_gateway_providers::common::{Content, Media, MediaKind, ReasoningMode, Request, ResponseFormat, Role, Tool};
use ai_gateway_providers::{ApiError, Dialect};
use serde_json::json;

use super::ask::{self, Ask};
use super::content;
use super::proof;
use super::script::words;

impl Ask {
    /// Reads a body of `dialect`.
    pub(super) fn decode(dialect: Dialect, body: &[u8], call: &Call<'_>) -> Result<Self, ApiError> {
        codec(dialect).decode_request(body, call).map(|request| Self::of(&request))
    }

    fn of(request: &Request<'_>) -> Self {
        let thinks = |mode| mode == Some(ReasoningMode::Enabled);
        let mut ask = Ask {
            model: request.model.to_string(),
            stream: request.stream,
            include_usage: request.include_usage,
            max_tokens: request.max_tokens,
            thinking: request.reasoning.as_ref().is_some_and(|reasoning| thinks(reasoning.mode)),
            tools: request.tools.iter().filter_map(tool).collect(),
            ..Ask::default()
        };
        match &request.response_format {
            Some(ResponseFormat::Schema { schema, .. }) => ask.schema = Some(schema.to_value()),
            Some(ResponseFormat::Json) => ask.json_object = true,
            Some(ResponseFormat::Text | ResponseFormat::Foreign { .. }) | None => {}
        }
        for block in request.instructions() {
            if let Content::Text(text) = &block.content {
                ask.words += words(&text.text);
            }
        }
        for turn in request.turns() {
            let said: Vec<_> = turn.blocks().map(|block| &block.content).collect();
            if turn.role == Role::Assistant {
                ask.take_model(request.dialect, &said);
            } else {
                ask.take_user(&said);
            }
        }
        ask
    }

    fn take_user(&mut self, said: &[&Content<'_>]) {
        let mut heard = Heard::default();
        let mut result: Option<Heard> = None;
        for content in said {
            if let Content::ToolResult(given) = content {
                let into = result.get_or_insert_default();
                given.content.iter().for_each(|block| into.add(&block.content));
            } else {
                heard.add(content);
            }
        }
        self.begun = String::new();
        self.history.user(&heard.text, result.is_some());
        self.after_tool = result.is_some();
        let mut all = result.unwrap_or_default();
        all.push(&heard.text);
        content::add(&mut all.counts, heard.counts);
        self.words += words(&all.text);
        self.last = all.described();
    }

    fn take_model(&mut self, dialect: Dialect, said: &[&Content<'_>]) {
        // Gemini streams reasoning in parts, and the last one signs them all.
        let mut thoughts = String::new();
        self.begun =
            said.iter().map(|content| if let Content::Text(text) = content { &*text.text } else { "" }).collect();
        for content in said {
            match content {
                Content::Reasoning(reasoning) => {
                    thoughts.push_str(&reasoning.text);
                    let signature = reasoning.signature.as_ref().or(reasoning.encrypted.as_ref());
                    let proven = match (signature, dialect) {
                        (Some(signature), _) => proof::proves(dialect, &std::mem::take(&mut thoughts), &signature.data),
                        // Only Anthropic's own models refuse reasoning that is not signed.
                        (None, Dialect::Bedrock) => false,
                        (None, _) => true,
                    };
                    self.history.thought(proven);
                }
                Content::ToolCall(call) => {
                    let proven = call.signature.as_ref().map(|signature| {
                        proof::is_skipped(&signature.data)
                            || *signature.data == proof::of_call(dialect, &call.name, &call.arguments)
                    });
                    self.history.call(proven);
                }
                Content::Text(text) => {
                    self.words += words(&text.text);
                    // The mock signs no text.
                    if text.signature.is_some() {
                        self.history.thought(false);
                    }
                    self.history.text();
                }
                Content::Refusal(_) | Content::Media(_) | Content::ToolResult(_) | Content::Foreign(_) => {
                    self.history.text();
                }
            }
        }
    }
}

fn tool(tool: &Tool<'_>) -> Option<ask::Tool> {
    match tool {
        Tool::Function(tool) => Some(ask::Tool {
            name: tool.name.to_string(),
            namespace: None,
            schema: tool.parameters.as_ref().map_or_else(|| json!({"type": "object"}), |schema| schema.to_value()),
            custom: false,
        }),
        Tool::Custom(_) | Tool::Foreign { .. } => None,
    }
}

/// Text, and how many media came with it.
#[derive(Default)]
struct Heard {
    text: String,
    /// Images, audio, files.
    counts: [usize; 3],
}

impl Heard {
    fn push(&mut self, text: &str) {
        content::push_line(&mut self.text, text);
    }

    fn add(&mut self, content: &Content<'_>) {
        match content {
            Content::Text(text) => self.push(&text.text),
            Content::Media(media) => self.counts[place(media)] += 1,
            Content::Refusal(_)
            | Content::Reasoning(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)
            | Content::Foreign(_) => {}
        }
    }

    fn described(self) -> String {
        content::described(self.text, self.counts)
    }
}

fn place(media: &Media<'_>) -> usize {
    match media.kind {
        MediaKind::Image => 0,
        MediaKind::Audio => 1,
        MediaKind::Video | MediaKind::Document => 2,
    }
}
