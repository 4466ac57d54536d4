//! What one dialect says in a form of its own and the model must hear all the same.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Block, Content, Foreign, Message, Request, Role, Text};
use crate::dialect::Dialect;

/// What stands before the summary of what was said before, where no field says so.
const SUMMARY: &str = "Summary of the conversation so far:\n";

impl Request<'_> {
    /// Puts in words what only the client's dialect has a form for and the conversation cannot do without.
    pub fn put_in_words(&mut self) {
        self.put_summary_in_words();
        self.put_results_in_words();
    }

    /// Of a conversation that Anthropic has compacted only the summary and what follows it counts, whether or not the client sends
    /// the rest, too: <https://platform.claude.com/docs/en/build-with-claude/compaction>.
    fn put_summary_in_words(&mut self) {
        let last = self.messages.iter().enumerate().rev().find_map(|(at, message)| {
            let mut blocks = message.blocks.iter().enumerate().rev();
            blocks.find_map(|(block, one)| Some((at, block, summary(&one.content)?)))
        });
        let Some((at, block, summary)) = last else { return };
        self.messages.drain(..at);
        if let Some(first) = self.messages.first_mut() {
            first.blocks.drain(..=block);
        }
        self.messages.retain(|message| !message.blocks.is_empty());
        let blocks = vec![Block::text(format!("{SUMMARY}{summary}"))];
        self.messages.insert(0, Message { role: Role::User, blocks, ..Message::default() });
    }

    /// Puts in words what the results of tools say in a form that only the client's dialect has: a tool search that Anthropic's
    /// clients run themselves (Claude Code's `ToolSearch`) answers with `tool_reference` blocks, and a model that saw nothing
    /// in their place would search again.
    fn put_results_in_words(&mut self) {
        for block in self.messages.iter_mut().flat_map(|message| &mut message.blocks) {
            let Content::ToolResult(result) = &mut block.content else { continue };
            for part in &mut result.content {
                if let Content::Foreign(foreign) = &part.content
                    && let Some(words) = tool_reference(foreign)
                {
                    part.content = Content::Text(Text::new(words));
                }
            }
        }
    }
}

/// The text of a compaction; `None` also if it had failed.
fn summary(content: &Content<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Compaction {
        content: Option<String>,
    }
    let Content::Foreign(foreign) = content else { return None };
    if foreign.dialect != Dialect::Anthropic || foreign.kind != *"compaction" {
        return None;
    }
    serde_json::from_str::<Compaction>(foreign.raw.get()).ok()?.content
}

/// <https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/tool-search-tool>
fn tool_reference(foreign: &Foreign<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Reference<'a> {
        #[serde(borrow)]
        tool_name: Cow<'a, str>,
    }
    if foreign.dialect != Dialect::Anthropic || foreign.kind != *"tool_reference" {
        return None;
    }
    let Reference { tool_name } = serde_json::from_str(foreign.raw.get()).ok()?;
    Some(format!("The tool `{tool_name}` is loaded and can be called now.\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::codec::{Call, Target, codec};
    use crate::common::{Losses, Opaque, ProviderTag};
    use crate::dialect::Dialect;

    const FOUND: &str = r#"{"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "ToolSearch", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [
            {"type": "tool_reference", "tool_name": "WebFetch"}, {"type": "tool_reference", "tool_name": "Monitor"}
        ]}]}]}"#;

    /// The summary is all that is left of what was said before.
    #[test]
    fn every_model_hears_the_summary_of_a_compacted_conversation() {
        let compacted = r#"{"model": "m", "max_tokens": 99, "system": "s", "messages": [
            {"role": "user", "content": "long ago"},
            {"role": "assistant", "content": [
                {"type": "text", "text": "long since"}, {"type": "compaction", "content": "They met."}, {"type": "text", "text": "Well."}
            ]},
            {"role": "user", "content": "go on"},
            {"role": "assistant", "content": [{"type": "compaction", "content": null}]},
            {"role": "user", "content": "please"}]}"#;
        let alone = r#"{"model": "m", "max_tokens": 99, "messages": [
            {"role": "assistant", "content": [{"type": "compaction", "content": "They met.", "encrypted_content": "e"}]},
            {"role": "user", "content": "go on"}]}"#;
        for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::Bedrock, Dialect::Cohere] {
            for body in [compacted, alone] {
                let mut asked = codec(Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap();
                asked.put_in_words();
                assert_eq!(asked.messages[0].role, super::Role::User);
                let mut losses = Losses::default();
                let target = Target::new("m", ProviderTag::of("p"));
                let written = codec(to).encode_request(&asked, &target, &mut losses).unwrap();
                let written: Value = serde_json::from_slice(&written).unwrap();
                let text = written.to_string();
                assert!(text.contains("Summary of the conversation so far:\\nThey met."), "{to}: {text}");
                assert!(text.contains("go on") && !text.contains("long"), "{to}: {text}");
                assert_eq!(losses.header_value(), if body == alone { "" } else { "messages.compaction" });
            }
        }
    }

    #[test]
    fn a_mark_of_the_gateway_is_no_loss() {
        let mark = Opaque::made_by(Dialect::OpenAiChat, Some(ProviderTag::of("p")), "".into());
        let thought = format!(
            r#"{{"type": "thinking", "thinking": "", "signature": "{}"}}, "#,
            mark.for_client(Dialect::Anthropic)
        );
        let marked = FOUND.replace(r#"{"type": "tool_use""#, &format!(r#"{thought}{{"type": "tool_use""#));
        for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::Bedrock, Dialect::Cohere] {
            let asked = codec(Dialect::Anthropic).decode_request(marked.as_bytes(), &Call::default()).unwrap();
            let mut losses = Losses::default();
            codec(to).encode_request(&asked, &Target::new("m", ProviderTag::of("p")), &mut losses).unwrap();
            assert!(!losses.header_value().contains("reasoning"), "{to}: {}", losses.header_value());
        }
    }

    #[test]
    fn every_model_hears_which_tools_were_found() {
        for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::Bedrock, Dialect::Cohere] {
            let mut asked = codec(Dialect::Anthropic).decode_request(FOUND.as_bytes(), &Call::default()).unwrap();
            asked.put_in_words();
            let mut losses = Losses::default();
            let target = Target::new("m", ProviderTag::of("p"));
            let body = codec(to).encode_request(&asked, &target, &mut losses).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            for tool in ["WebFetch", "Monitor"] {
                assert!(body.to_string().contains(&format!("The tool `{tool}` is loaded")), "{to}: {body}");
            }
            assert!(!losses.header_value().contains("tool_reference"), "{to}: {}", losses.header_value());
        }
    }
}
