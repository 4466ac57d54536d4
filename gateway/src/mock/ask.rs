//! What the mock reads of a chat-like request: enough to answer it, in one pass and without keeping the rest.

use ai_gateway_providers::Dialect;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::content::{Content, Mark};
use super::history::History;
use super::proof;
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
    /// The text of the last message, if it is the model's: the beginning of its answer.
    pub(super) begun: String,
    /// Words in all messages and in the system prompt.
    pub(super) words: u64,
    /// The tools that the client runs.
    pub(super) tools: Vec<Tool>,
    /// Whether the dialect knows tools with plain text as input.
    pub(super) custom_tools: bool,
    /// The answer must fit this.
    pub(super) schema: Option<Value>,
    /// The answer must be some JSON object.
    pub(super) json_object: bool,
    /// Reasoning is asked for with a budget, so that calls must follow some.
    pub(super) thinking: bool,
    /// Responses: `encrypted_content` is asked for.
    pub(super) encrypted: bool,
    pub(super) history: History,
}

/// A tool that the client runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    /// The group that it belongs to (Responses).
    pub(super) namespace: Option<String>,
    /// Of its arguments.
    pub(super) schema: Value,
    /// Its input is plain text.
    pub(super) custom: bool,
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
    thinking: Option<Thinking>,
    include: Option<Vec<String>>,
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
struct Thinking {
    #[serde(rename = "type")]
    kind: Option<String>,
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
    tool_calls: Option<Vec<IgnoredAny>>,
    summary: Option<Content>,
    encrypted_content: Option<String>,
}

impl Ask {
    /// Reads a JSON body of OpenAI's dialects or of Anthropic's, or of the old completions.
    pub(super) fn read(dialect: Dialect, body: &[u8]) -> Result<Self, serde_json::Error> {
        let body: Body<'_> = serde_json::from_slice(body)?;
        let mut ask = Ask {
            model: body.model.unwrap_or_default(),
            stream: body.stream.unwrap_or_default(),
            include_usage: body.stream_options.and_then(|o| o.include_usage).unwrap_or_default(),
            max_tokens: body.max_completion_tokens.or(body.max_output_tokens).or(body.max_tokens),
            custom_tools: dialect != Dialect::Anthropic,
            thinking: body.thinking.and_then(|thinking| thinking.kind).as_deref() == Some("enabled"),
            encrypted: body.include.is_some_and(|all| all.iter().any(|one| one == "reasoning.encrypted_content")),
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
        items.into_iter().for_each(|item| ask.take(item));
        ask.tools = body.tools.and_then(read_tools).unwrap_or_default();
        for format in [body.response_format, body.text, body.output_format, body.output_config].into_iter().flatten() {
            ask.read_format(&serde_json::from_str(format.get()).unwrap_or_default());
        }
        Ok(ask)
    }

    fn take(&mut self, mut item: Message) {
        let kind = item.kind.as_deref();
        let mut said = item.content.take().or(item.output.take()).unwrap_or_default();
        if item.role.as_deref() == Some("tool")
            || matches!(kind, Some("function_call_output" | "custom_tool_call_output"))
        {
            said.results = Some(std::mem::take(&mut said.text));
        }
        match item.role.as_deref() {
            Some("system" | "developer") => self.words += words(&said.text),
            Some("assistant") => self.take_models(&item, &said),
            // An item without a role: what the model thought or called earlier.
            None if said.results.is_none() => self.take_models(&item, &said),
            Some(_) | None => {
                let after_tool = said.results.is_some();
                self.take_last(&said, after_tool);
            }
        }
    }

    fn take_last(&mut self, said: &Content, after_tool: bool) {
        self.words += words(&said.text) + said.results.as_deref().map_or(0, words);
        self.last = said.described();
        self.begun = String::new();
        self.after_tool = after_tool;
        self.history.user(&said.text, after_tool);
    }

    fn take_models(&mut self, item: &Message, said: &Content) {
        self.words += words(&said.text);
        self.begun.clone_from(&said.text);
        let history = &mut self.history;
        match item.kind.as_deref() {
            Some("reasoning") => {
                let summary = item.summary.as_ref().map_or("", |summary| &summary.text);
                let encrypted = item.encrypted_content.as_deref();
                history.thought(encrypted.is_none_or(|it| proof::proves(Dialect::OpenAiResponses, summary, it)));
            }
            Some("function_call" | "custom_tool_call") => history.call(None),
            // Whatever else is an item of its own (a search that the provider ran) is a part of the turn.
            Some(_) | None => {
                let calls = item.tool_calls.iter().flatten().map(|_| Mark::Call);
                if said.marks.is_empty() {
                    history.text();
                }
                for mark in said.marks.iter().copied().chain(calls) {
                    match mark {
                        Mark::Text => history.text(),
                        Mark::Call => history.call(None),
                        Mark::Thought(proven) => history.thought(proven),
                    }
                }
            }
        }
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

fn read_tools(raw: &RawValue) -> Option<Vec<Tool>> {
    let tools: Vec<Value> = serde_json::from_str(raw.get()).ok()?;
    let mut read = Vec::with_capacity(tools.len());
    for tool in &tools {
        match (tool.get("name").and_then(Value::as_str), tool.get("tools").and_then(Value::as_array)) {
            (Some(namespace), Some(inner)) => read.extend(inner.iter().filter_map(|it| read_tool(it, Some(namespace)))),
            (_, _) => read.extend(read_tool(tool, None)),
        }
    }
    Some(read)
}

fn read_tool(tool: &Value, namespace: Option<&str>) -> Option<Tool> {
    let custom = tool.get("type").is_some_and(|kind| kind == "custom") && tool.get("input_schema").is_none();
    let inner = tool.get("function").or_else(|| tool.get("custom")).unwrap_or(tool);
    let name = inner.get("name")?.as_str()?.to_owned();
    let schema = inner.get("parameters").or_else(|| inner.get("input_schema")).cloned();
    let schema = schema.or(custom.then_some(Value::Null))?;
    Some(Tool { name, namespace: namespace.map(str::to_owned), schema, custom })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Ask {
        Ask::read(Dialect::OpenAiResponses, body.as_bytes()).unwrap()
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
        assert_eq!(ask.tools.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["f", "g"]);
        assert!(ask.schema.is_some());
        assert!(read(r#"{"text":{"format":{"type":"json_object"}}}"#).json_object);
    }
}
