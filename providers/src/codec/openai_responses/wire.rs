//! The wire's objects: items, and the parts of their content.
//! <https://platform.openai.com/docs/api-reference/responses/create>

use serde_json::value::RawValue;

use crate::codec::wire::wire;
use crate::common::{Extras, Json, Str};

/// A value that is looked at only if its item is of a known type.
pub(super) type Raw<'a> = Option<&'a RawValue>;

wire! {
    /// An item of `input` or `output`, of any type.
    pub(super) struct Item<'a> {
        "type" => kind: Str<'a>,
        "role" => role: Str<'a>,
        "id" => id: Option<Str<'a>>,
        "call_id" => call_id: Option<Str<'a>>,
        "name" => name: Option<Str<'a>>,
        "namespace" => namespace: Option<Str<'a>>,
        "content" => content: Raw<'a>,
        "arguments" => arguments: Raw<'a>,
        "input" => input: Raw<'a>,
        "output" => output: Raw<'a>,
        "summary" => summary: Raw<'a>,
        "encrypted_content" => encrypted: Raw<'a>,
        "result" => result: Raw<'a>,
        "tools" => tools: Raw<'a>,
    }

    /// A part of a message or of a tool's output, of any type.
    pub(super) struct Part<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Option<Str<'a>>,
        "refusal" => refusal: Option<Str<'a>>,
        "image_url" => image_url: Option<Str<'a>>,
        "file_id" => file_id: Option<Str<'a>>,
        "file_data" => file_data: Option<Str<'a>>,
        "file_url" => file_url: Option<Str<'a>>,
        "filename" => filename: Option<Str<'a>>,
        "detail" => detail: Option<Str<'a>>,
        "input_audio" => audio: Option<Audio<'a>>,
        "annotations" => annotations: Vec<Json<'a>>,
        "logprobs" => logprobs: Vec<Logprob<'a>>,
    }

    /// Sound in base64.
    pub(super) struct Audio<'a> {
        "data" => data: Str<'a>,
        "format" => format: Option<Str<'a>>,
    }

    /// A summary or text of reasoning.
    pub(super) struct Thought<'a> {
        "text" => text: Str<'a>,
    }

    /// A token and its probability.
    pub(super) struct Logprob<'a> {
        "token" => token: Str<'a>,
        "logprob" => logprob: f64,
        "bytes" => bytes: Option<Vec<u8>>,
        "top_logprobs" => top: Vec<Logprob<'a>>,
    }

    /// The place of a source.
    pub(super) struct Annotation<'a> {
        "url" => url: Option<Str<'a>>,
        "title" => title: Option<Str<'a>>,
        "filename" => filename: Option<Str<'a>>,
        "quote" => quote: Option<Str<'a>>,
        "start_index" => start: Option<u64>,
        "end_index" => end: Option<u64>,
    }
}

impl Item<'_> {
    /// The item put together again, for types that only this dialect knows.
    pub(super) fn into_json(self) -> Json<'static> {
        let Self {
            kind,
            role,
            id,
            call_id,
            name,
            namespace,
            content,
            arguments,
            input,
            output,
            summary,
            encrypted,
            result,
            tools,
            rest,
        } = self;
        let mut fields = Fields::default();
        fields.text("type", Some(kind));
        fields.text("role", Some(role));
        fields.text("id", id);
        fields.text("call_id", call_id);
        fields.text("name", name);
        fields.text("namespace", namespace);
        fields.raw("content", content);
        fields.raw("arguments", arguments);
        fields.raw("input", input);
        fields.raw("output", output);
        fields.raw("summary", summary);
        fields.raw("encrypted_content", encrypted);
        fields.raw("result", result);
        fields.raw("tools", tools);
        fields.finish(rest)
    }
}

impl Part<'_> {
    /// The part put together again, for types that only this dialect knows.
    pub(super) fn into_json(self) -> Json<'static> {
        let Self {
            kind,
            text,
            refusal,
            image_url,
            file_id,
            file_data,
            file_url,
            filename,
            detail,
            audio,
            annotations,
            logprobs,
            rest,
        } = self;
        let mut fields = Fields::default();
        fields.text("type", Some(kind));
        fields.text("text", text);
        fields.text("refusal", refusal);
        fields.text("image_url", image_url);
        fields.text("file_id", file_id);
        fields.text("file_data", file_data);
        fields.text("file_url", file_url);
        fields.text("filename", filename);
        fields.text("detail", detail);
        if let Some(audio) = audio {
            let mut inner = Fields::default();
            inner.text("data", Some(audio.data));
            inner.text("format", audio.format);
            fields.0.push(("input_audio".into(), inner.finish(audio.rest)));
        }
        if !annotations.is_empty() {
            fields.0.push(("annotations".into(), Json::of(&annotations)));
        }
        if !logprobs.is_empty() {
            let logprobs: Vec<_> = logprobs.into_iter().map(super::sources::logprob).collect();
            fields.0.push(("logprobs".into(), Json::of(&super::sources::Logprobs(&logprobs))));
        }
        fields.finish(rest)
    }
}

/// An object that is put together again.
#[derive(Default)]
struct Fields<'a>(Extras<'a>);

impl<'a> Fields<'a> {
    fn text(&mut self, name: &'static str, value: Option<Str<'a>>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.push((name.into(), Json::of(&value)));
        }
    }

    fn raw(&mut self, name: &'static str, value: Raw<'a>) {
        if let Some(value) = value {
            self.0.push((name.into(), Json::of(&value)));
        }
    }

    fn finish(mut self, rest: Extras<'a>) -> Json<'static> {
        self.0.extend(rest);
        Json::of(&crate::codec::fields::Fields(&self.0))
    }
}

/// A field that is a string, or the JSON of what it is instead (arguments as an object).
pub(super) fn text(raw: Raw<'_>) -> Str<'_> {
    let Some(raw) = raw else { return Str::default() };
    serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into())
}
