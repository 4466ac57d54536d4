//! What the mock reads of a chat-like request: enough to answer it, in one pass and without keeping the rest.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::script::words;

/// A request to say something, whatever its dialect.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) max_tokens: Option<u64>,
    /// The text of the last user message or tool result, with its media counted.
    pub(super) last: String,
    /// The last message gives the result of a tool.
    pub(super) after_tool: bool,
    /// Words in all messages and in the system prompt.
    pub(super) words: u64,
    /// Name and parameter schema of each function.
    pub(super) tools: Vec<(String, Value)>,
    /// The answer must fit this.
    pub(super) schema: Option<Value>,
    /// The answer must be some JSON object.
    pub(super) json_object: bool,
}

#[derive(Deserialize)]
struct Body<'b> {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    messages: Option<Vec<Message>>,
    input: Option<Input>,
    prompt: Option<Content>,
    system: Option<Content>,
    instructions: Option<Content>,
    #[serde(borrow)]
    tools: Option<&'b RawValue>,
    #[serde(borrow)]
    response_format: Option<&'b RawValue>,
    #[serde(borrow)]
    text: Option<&'b RawValue>,
    #[serde(borrow)]
    output_format: Option<&'b RawValue>,
    #[serde(borrow)]
    output_config: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Message>),
}

/// A message of Chat Completions or Messages, or an input item of Responses.
#[derive(Deserialize)]
struct Message {
    role: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    content: Option<Content>,
    output: Option<Content>,
}

/// A text, or a list of parts.
#[derive(Default)]
struct Content {
    text: String,
    images: usize,
    audios: usize,
    files: usize,
    tool_result: bool,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    content: Option<Box<Content>>,
}

impl Content {
    fn push_text(&mut self, text: &str) {
        if !self.text.is_empty() && !text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }

    fn add(&mut self, part: Part) {
        match part.kind.as_deref() {
            Some("image" | "image_url" | "input_image") => self.images += 1,
            Some("audio" | "input_audio") => self.audios += 1,
            Some("file" | "input_file" | "document") => self.files += 1,
            Some("tool_result") => {
                self.tool_result = true;
                self.push_text(&part.content.map(|inner| inner.text).unwrap_or_default());
            }
            // Texts of all dialects, and any other part that has one.
            Some(_) | None => self.push_text(part.text.as_deref().unwrap_or_default()),
        }
    }

    fn described(&self) -> String {
        let mut text = self.text.clone();
        for (count, name) in [(self.images, "image"), (self.audios, "audio"), (self.files, "file")] {
            if count > 0 {
                let plural = if count == 1 { "" } else { "s" };
                text.push_str(&format!(" [{count} {name}{plural}]"));
            }
        }
        text
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of content parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content { text: text.to_owned(), ..Content::default() })
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }

            fn visit_u64<E>(self, _token: u64) -> Result<Content, E> {
                Ok(Content { text: "token".into(), ..Content::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                content.add(Part::deserialize(serde::de::value::MapAccessDeserializer::new(map))?);
                Ok(content)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                while let Some(part) = seq.next_element::<Content>()? {
                    content.push_text(&part.text);
                    content.images += part.images;
                    content.audios += part.audios;
                    content.files += part.files;
                    content.tool_result |= part.tool_result;
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

impl Ask {
    /// Reads a JSON body of any of the three dialects, or of the old completions.
    pub(super) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let body: Body<'_> = serde_json::from_slice(body)?;
        let mut ask = Ask {
            model: body.model.unwrap_or_default(),
            stream: body.stream.unwrap_or_default(),
            include_usage: body.stream_options.and_then(|o| o.include_usage).unwrap_or_default(),
            max_tokens: body.max_completion_tokens.or(body.max_output_tokens).or(body.max_tokens),
            ..Ask::default()
        };
        for alone in [body.system, body.instructions].into_iter().flatten() {
            ask.words += words(&alone.text);
        }
        let mut items = body.messages.unwrap_or_default();
        match body.input {
            Some(Input::Text(text)) => ask.take_last(&Content { text, ..Content::default() }, false),
            Some(Input::Items(more)) => items.extend(more),
            None => {}
        }
        if let Some(prompt) = body.prompt {
            ask.take_last(&prompt, false);
        }
        for item in items {
            let said = item.content.or(item.output).unwrap_or_default();
            let result = said.tool_result
                || item.role.as_deref() == Some("tool")
                || item.kind.as_deref() == Some("function_call_output");
            match item.role.as_deref() {
                Some("assistant" | "system" | "developer") => ask.words += words(&said.text),
                // An item without role and text: a call that the model made earlier.
                None if !result => ask.words += words(&said.text),
                Some(_) | None => ask.take_last(&said, result),
            }
        }
        ask.tools = body.tools.and_then(read_tools).unwrap_or_default();
        for format in [body.response_format, body.text, body.output_format, body.output_config].into_iter().flatten() {
            ask.read_format(&serde_json::from_str(format.get()).unwrap_or_default());
        }
        Ok(ask)
    }

    fn take_last(&mut self, said: &Content, after_tool: bool) {
        self.words += words(&said.text);
        self.last = said.described();
        self.after_tool = after_tool;
    }

    /// `response_format` of Chat Completions, `text.format` of Responses, `output_format` or `output_config.format` of Messages.
    fn read_format(&mut self, format: &Value) {
        let format = format.get("format").unwrap_or(format);
        match format.get("type").and_then(Value::as_str) {
            Some("json_schema") => {
                self.schema = format.pointer("/json_schema/schema").or_else(|| format.get("schema")).cloned();
            }
            Some("json_object") => self.json_object = true,
            Some(_) | None => {}
        }
    }
}

fn read_tools(raw: &RawValue) -> Option<Vec<(String, Value)>> {
    let tools: Vec<Value> = serde_json::from_str(raw.get()).ok()?;
    let read = |tool: &Value| {
        let function = tool.get("function").unwrap_or(tool);
        let name = function.get("name")?.as_str()?.to_owned();
        let schema = function.get("parameters").or_else(|| function.get("input_schema"))?.clone();
        Some((name, schema))
    };
    Some(tools.iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Ask {
        Ask::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn chat_with_an_image() {
        let ask = read(
            r#"{"model":"echo","stream":true,"stream_options":{"include_usage":true},"messages":[
                {"role":"system","content":"be kind"},
                {"role":"user","content":[{"type":"text","text":"hi there"},{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
        );
        assert_eq!(
            (ask.last.as_str(), ask.words, ask.stream, ask.include_usage),
            ("hi there [1 image]", 4, true, true)
        );
    }

    #[test]
    fn results_of_tools() {
        for body in [
            r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"sunny"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"sunny"}]}]}]}"#,
            r#"{"input":[{"role":"user","content":"q"},{"type":"function_call","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"sunny"}]}"#,
        ] {
            let ask = read(body);
            assert!(ask.after_tool, "{body}");
            assert_eq!(ask.last, "sunny", "{body}");
        }
    }

    #[test]
    fn inputs_of_responses() {
        assert_eq!(read(r#"{"input":"hello you"}"#).last, "hello you");
        assert_eq!(
            read(r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image"}]}]}"#)
                .last,
            "a [1 image]"
        );
    }

    #[test]
    fn tools_and_formats() {
        let ask = read(
            r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{}}},{"name":"g","input_schema":{}}],
            "response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object"}}}}"#,
        );
        assert_eq!(ask.tools.iter().map(|t| t.0.as_str()).collect::<Vec<_>>(), ["f", "g"]);
        assert!(ask.schema.is_some());
        assert!(read(r#"{"text":{"format":{"type":"json_object"}}}"#).json_object);
    }
}
