//! Responses: <https://platform.openai.com/docs/api-reference/responses> and its streaming events.

use std::io::Write as _;

use ai_gateway_providers::Dialect;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{CREATED, Encode, Meta, push_json, set};
use crate::mock::failure::Failure;
use crate::mock::proof;
use crate::mock::script::{Call, Finish, Piece, Script, Usage};

/// A stream of numbered events.
pub(in crate::mock) struct Responses {
    meta: Meta,
    sequence: u64,
    /// The finished items.
    output: Vec<Value>,
    /// The item that is being said, and its text so far.
    open: Option<(Item, String)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Item {
    Reasoning,
    Message,
    Call { number: usize, name: String, namespace: Option<String>, custom: bool },
}

impl Item {
    fn of_call(number: usize, call: &Call) -> Self {
        let (name, namespace) = (call.name.clone(), call.namespace.clone());
        Item::Call { number, name, namespace, custom: call.custom }
    }
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    })
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// The status of an answer that ends so, and its reason if it is not complete.
fn ending(finish: Finish) -> (&'static str, Option<&'static str>) {
    match finish {
        Finish::Stop | Finish::ToolCalls => ("completed", None),
        Finish::Length => ("incomplete", Some("max_output_tokens")),
        Finish::ContentFilter => ("incomplete", Some("content_filter")),
    }
}

impl Responses {
    pub(in crate::mock) fn new(meta: Meta) -> Self {
        Responses { meta, sequence: 0, output: Vec::new(), open: None }
    }

    /// The answer in one.
    pub(in crate::mock) fn whole(meta: &Meta, script: &Script) -> Vec<u8> {
        let mut all = Responses::new(meta.clone());
        let reasoning = script.reasoning();
        if !reasoning.is_empty() {
            all.output.push(all.item(&Item::Reasoning, &reasoning, "completed"));
        }
        if script.calls.is_empty() {
            all.output.push(all.item(&Item::Message, &script.text(), "completed"));
        }
        for (number, call) in script.calls.iter().enumerate() {
            let item = Item::of_call(number, call);
            all.output.push(all.item(&item, &call.arguments, "completed"));
        }
        all.response(ending(script.finish), script.usage).to_string().into_bytes()
    }

    /// A stored response, as `GET /responses/{id}` shows it.
    pub(in crate::mock) fn stored(meta: &Meta, id: &str, status: &'static str) -> Value {
        let mut all = Responses::new(meta.clone());
        all.output.push(all.item(&Item::Message, "stored", "completed"));
        let mut response = all.response((status, None), Some(Usage { input: 1, output: 1, ..Usage::default() }));
        set(&mut response, "id", json!(id));
        response
    }

    fn response(&self, (status, reason): (&'static str, Option<&'static str>), usage: Option<Usage>) -> Value {
        let mut response = json!({
            "id": self.meta.id("resp_"), "object": "response", "created_at": CREATED, "status": status,
            "background": false, "error": null, "incomplete_details": reason.map(|reason| json!({"reason": reason})),
            "instructions": null, "max_output_tokens": null, "model": self.meta.model, "output": self.output,
            "parallel_tool_calls": true, "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null}, "service_tier": "default", "store": true, "temperature": 1.0,
            "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
            "truncation": "disabled", "user": null, "metadata": {},
        });
        if let Some(usage) = usage {
            set(&mut response, "usage", usage_json(usage));
        }
        response
    }

    fn item_id(&self, item: &Item) -> String {
        let prefix = match item {
            Item::Reasoning => "rs_",
            Item::Message => "msg_",
            Item::Call { custom: true, .. } => "ctc_",
            Item::Call { custom: false, .. } => "fc_",
        };
        self.meta.call_id(prefix, self.output.len())
    }

    fn item(&self, item: &Item, text: &str, status: &str) -> Value {
        let id = self.item_id(item);
        let begun = status == "in_progress";
        match item {
            Item::Reasoning if begun => json!({"id": id, "type": "reasoning", "summary": []}),
            Item::Reasoning => {
                let mut item =
                    json!({"id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]});
                if self.meta.encrypted {
                    set(&mut item, "encrypted_content", json!(proof::of_text(Dialect::OpenAiResponses, text)));
                }
                item
            }
            Item::Message => {
                let content = if begun { json!([]) } else { json!([text_part(text)]) };
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            Item::Call { number, name, namespace, custom } => {
                let (kind, field) =
                    if *custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
                let mut call = json!({
                    "id": id, "type": kind, "status": status, "call_id": self.meta.call_id("call_", *number),
                    "name": name, field: text,
                });
                if let Some(namespace) = namespace {
                    set(&mut call, "namespace", json!(namespace));
                }
                call
            }
        }
    }

    fn event(&mut self, out: &mut Vec<u8>, name: &str, mut fields: Value) {
        set(&mut fields, "type", json!(name));
        set(&mut fields, "sequence_number", json!(self.sequence));
        self.sequence += 1;
        super::push_event(out, name, &fields);
    }

    /// Where an event about the open item belongs.
    fn place(&self, item: &Item) -> Value {
        let mut place = json!({"item_id": self.item_id(item), "output_index": self.output.len()});
        match item {
            Item::Reasoning => set(&mut place, "summary_index", json!(0)),
            Item::Message => set(&mut place, "content_index", json!(0)),
            Item::Call { .. } => {}
        }
        place
    }

    fn enter(&mut self, out: &mut Vec<u8>, item: Item) {
        if self.open.as_ref().is_some_and(|(open, _)| *open == item) {
            return;
        }
        self.leave(out, "completed");
        let added = json!({"output_index": self.output.len(), "item": self.item(&item, "", "in_progress")});
        self.event(out, "response.output_item.added", added);
        let mut place = self.place(&item);
        match &item {
            Item::Reasoning => {
                set(&mut place, "part", json!({"type": "summary_text", "text": ""}));
                self.event(out, "response.reasoning_summary_part.added", place);
            }
            Item::Message => {
                set(&mut place, "part", text_part(""));
                self.event(out, "response.content_part.added", place);
            }
            Item::Call { .. } => {}
        }
        self.open = Some((item, String::new()));
    }

    fn leave(&mut self, out: &mut Vec<u8>, status: &str) {
        let Some((item, text)) = self.open.take() else { return };
        let mut done = self.place(&item);
        match &item {
            Item::Reasoning => {
                set(&mut done, "text", json!(text));
                self.event(out, "response.reasoning_summary_text.done", done);
                let mut part = self.place(&item);
                set(&mut part, "part", json!({"type": "summary_text", "text": text}));
                self.event(out, "response.reasoning_summary_part.done", part);
            }
            Item::Message => {
                set(&mut done, "text", json!(text));
                set(&mut done, "logprobs", json!([]));
                self.event(out, "response.output_text.done", done);
                let mut part = self.place(&item);
                set(&mut part, "part", text_part(&text));
                self.event(out, "response.content_part.done", part);
            }
            Item::Call { custom: true, .. } => {
                set(&mut done, "input", json!(text));
                self.event(out, "response.custom_tool_call_input.done", done);
            }
            Item::Call { name, .. } => {
                set(&mut done, "name", json!(name));
                set(&mut done, "arguments", json!(text));
                self.event(out, "response.function_call_arguments.done", done);
            }
        }
        let finished = self.item(&item, &text, status);
        self.event(out, "response.output_item.done", json!({"output_index": self.output.len(), "item": finished}));
        self.output.push(finished);
    }

    /// One delta of the open item: the event that comes often, so it is not built as a tree.
    fn delta(&mut self, out: &mut Vec<u8>, name: &str, text: &str) {
        let Some((item, mut so_far)) = self.open.take() else { return };
        so_far.push_str(text);
        let index = match item {
            Item::Reasoning => ",\"summary_index\":0",
            Item::Message => ",\"content_index\":0,\"logprobs\":[]",
            Item::Call { .. } => "",
        };
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{},\"item_id\":\"{}\",\"output_index\":{}{index},\"delta\":",
            self.sequence,
            self.item_id(&item),
            self.output.len(),
        );
        push_json(out, text);
        out.extend_from_slice(b"}\n\n");
        self.sequence += 1;
        self.open = Some((item, so_far));
    }
}

impl Encode for Responses {
    fn preamble(&mut self, _script: &Script) -> Bytes {
        let mut out = Vec::with_capacity(2048);
        for name in ["response.created", "response.in_progress"] {
            let response = self.response(("in_progress", None), None);
            self.event(&mut out, name, json!({"response": response}));
        }
        out.into()
    }

    fn piece(&mut self, piece: Piece<'_>) -> Bytes {
        let mut out = Vec::with_capacity(256);
        match piece {
            Piece::Text(text) => {
                self.enter(&mut out, Item::Message);
                self.delta(&mut out, "response.output_text.delta", text);
            }
            Piece::Reasoning(text) => {
                self.enter(&mut out, Item::Reasoning);
                self.delta(&mut out, "response.reasoning_summary_text.delta", text);
            }
            Piece::Call(number, call) => self.enter(&mut out, Item::of_call(number, call)),
            Piece::Arguments(_, part) => {
                let custom = matches!(self.open, Some((Item::Call { custom: true, .. }, _)));
                let name = if custom {
                    "response.custom_tool_call_input.delta"
                } else {
                    "response.function_call_arguments.delta"
                };
                self.delta(&mut out, name, part);
            }
        }
        out.into()
    }

    fn closing(&mut self, finish: Finish, usage: Option<Usage>) -> Vec<Bytes> {
        let (status, reason) = ending(finish);
        let mut done = Vec::new();
        self.leave(&mut done, status);
        let mut last = Vec::with_capacity(2048);
        let response = self.response((status, reason), usage);
        let name = if reason.is_some() { "response.incomplete" } else { "response.completed" };
        self.event(&mut last, name, json!({"response": response}));
        vec![done.into(), last.into()]
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        let mut out = Vec::new();
        let error = json!({"code": failure.code, "message": failure.message, "param": null});
        self.event(&mut out, "error", error);
        let mut response = self.response(("failed", None), None);
        set(&mut response, "error", json!({"code": failure.code, "message": failure.message}));
        self.event(&mut out, "response.failed", json!({"response": response}));
        out.into()
    }
}
