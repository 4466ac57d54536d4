//! Legacy completions (`/v1/completions`, <https://platform.openai.com/docs/api-reference/completions>) for providers that know
//! only chat: the prompt becomes the one message of a user, and the answer's text the completion.
//!
//! Left to the provider: how many tokens to write at most, where the client does not say it. The original's 16 were made for
//! models that do not think and do not greet.

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::codec::{Client, StreamEncoder, TextOr, read_request, wire, write_event, write_json};
use crate::common::{
    Block, Choice, Content, Delta, Event, Json, Losses, Message, Request, Response, StopReason, Str, TokenLogprob,
};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind, encode_stream_error};
use crate::usage::Usage;

wire! {
    struct CompletionRequest<'a> {
        "model" => model: Str<'a>,
        "prompt" => prompt: TextOr<'a, Json<'a>>,
        "suffix" => suffix: Option<Str<'a>>,
        "echo" => echo: bool,
        "best_of" => best_of: Option<u64>,
        "max_tokens" => max_tokens: Option<u64>,
        "temperature" => temperature: Option<f64>,
        "top_p" => top_p: Option<f64>,
        "top_k" => top_k: Option<u64>,
        "n" => n: Option<u64>,
        "stream" => stream: bool,
        "stream_options" => stream_options: StreamOptions<'a>,
        "logprobs" => logprobs: Option<u64>,
        "stop" => stop: TextOr<'a, Str<'a>>,
        "presence_penalty" => presence_penalty: Option<f64>,
        "frequency_penalty" => frequency_penalty: Option<f64>,
        "seed" => seed: Option<i64>,
        "user" => user: Option<Str<'a>>,
        "metadata" => metadata: Option<Json<'a>>,
    }

    struct StreamOptions<'a> {
        "include_usage" => include_usage: bool,
    }
}

/// Reads a client's request as a chat request of the dialect `openai-chat`. What chat cannot say is noted in `losses`; what chat
/// says in the same words (`logit_bias`, and what is not known here) goes along as its extras.
///
/// # Errors
/// What is wrong with it. Several prompts and prompts of token numbers are refused: chat has no words for them.
pub fn decode_request<'a>(body: &'a [u8], losses: &mut Losses) -> Result<Request<'a>, ApiError> {
    let CompletionRequest {
        model,
        prompt,
        suffix,
        echo,
        best_of,
        max_tokens,
        temperature,
        top_p,
        top_k,
        n,
        stream,
        stream_options: StreamOptions { include_usage, rest: stream_extras },
        logprobs,
        stop,
        presence_penalty,
        frequency_penalty,
        seed,
        user,
        metadata,
        rest: extras,
    } = read_request(body)?;
    losses.note_if(suffix.is_some_and(|suffix| !suffix.is_empty()), "suffix");
    losses.note_if(echo, "echo");
    losses.note_if(best_of.is_some_and(|best| best > n.unwrap_or(1)), "best_of");
    losses.note_extras("stream_options.", &stream_extras);
    Ok(Request {
        model,
        stream,
        include_usage,
        messages: vec![Message { blocks: vec![Block::text(one_prompt(prompt)?)], ..Message::default() }],
        max_tokens,
        temperature,
        top_p,
        top_k,
        n,
        logprobs: logprobs.map(|_| true),
        top_logprobs: logprobs.filter(|alternatives| *alternatives > 0),
        stop: match stop {
            TextOr::Text(text) => vec![text],
            TextOr::List(texts) => texts,
        },
        presence_penalty,
        frequency_penalty,
        seed,
        user,
        metadata,
        extras,
        ..Request::new(Dialect::OpenAiChat)
    })
}

/// The one prompt that chat can take.
fn one_prompt<'a>(prompt: TextOr<'a, Json<'a>>) -> Result<Str<'a>, ApiError> {
    let refused = |why| Err(ApiError::new(ErrorKind::InvalidRequest, why).with_param("prompt"));
    let prompts = match prompt {
        TextOr::Text(text) => return Ok(text),
        TextOr::List(prompts) => prompts,
    };
    match &prompts[..] {
        [] => refused("a prompt is needed"),
        [first, ..] if !first.get().starts_with('"') => {
            refused("this model's provider takes prompts as text, not as token numbers")
        }
        [only] => match only.read::<String>() {
            Ok(text) => Ok(text.into()),
            Err(_) => refused("the prompt must be a text"),
        },
        [_, _, ..] => refused("this model's provider takes one prompt at a time"),
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [TextChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<WrittenUsage>>,
}

#[derive(Serialize)]
struct TextChoice<'a> {
    text: &'a str,
    index: u32,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

/// Probabilities in parallel lists.
#[derive(Serialize)]
struct Logprobs<'a> {
    tokens: Vec<&'a str>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Top<'a>>,
    text_offset: Vec<u64>,
}

/// Alternatives by their token.
struct Top<'a>(&'a [TokenLogprob<'a>]);

impl Serialize for Top<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for TokenLogprob { token, logprob, bytes: _, top: _ } in self.0 {
            map.serialize_entry(token, logprob)?;
        }
        map.end()
    }
}

impl<'a> Logprobs<'a> {
    /// Those of `tokens`, whose first begins at character `offset` of the text; moves `offset` behind the last.
    fn of(tokens: &'a [TokenLogprob<'a>], offset: &mut u64) -> Self {
        let text_offset = tokens.iter().map(|token| {
            let at = *offset;
            *offset += token.token.chars().count() as u64;
            at
        });
        Self {
            text_offset: text_offset.collect(),
            tokens: tokens.iter().map(|token| &*token.token).collect(),
            token_logprobs: tokens.iter().map(|token| token.logprob).collect(),
            top_logprobs: tokens.iter().map(|token| Top(&token.top)).collect(),
        }
    }
}

#[derive(Serialize)]
struct WrittenUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Details::is_empty")]
    prompt_tokens_details: Details,
    #[serde(skip_serializing_if = "Details::is_empty")]
    completion_tokens_details: Details,
}

#[derive(Serialize, Default, PartialEq, Eq)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

impl Details {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl WrittenUsage {
    fn of(usage: &Usage) -> Self {
        let (input, output) = (usage.total_input().unwrap_or(0), usage.total_output().unwrap_or(0));
        Self {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
            prompt_tokens_details: Details {
                cached_tokens: usage.cache_read,
                cache_write_tokens: usage.total_cache_write(),
                reasoning_tokens: None,
                audio_tokens: usage.audio_input,
                image_tokens: usage.image_input,
            },
            completion_tokens_details: Details {
                reasoning_tokens: usage.reasoning,
                audio_tokens: usage.audio_output,
                image_tokens: usage.image_output,
                ..Details::default()
            },
        }
    }
}

/// Writes an answer as a `text_completion`.
#[must_use]
pub fn encode_response(response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect: _, id, model, created, choices, usage, service_tier, extras } = response;
    losses.note_if(service_tier.is_some(), "answer.service_tier");
    losses.note_extras("answer.", extras);
    let mut texts = Vec::with_capacity(choices.len());
    for Choice { blocks, stop: _, logprobs: _, extras } in choices {
        losses.note_extras("answer.", extras);
        let mut text = String::new();
        for block in blocks {
            text.push_str(said(block, losses));
        }
        texts.push(text);
    }
    let written = (0..).zip(choices).zip(&texts).map(|((index, choice), text)| TextChoice {
        text,
        index,
        logprobs: (!choice.logprobs.is_empty()).then(|| Logprobs::of(&choice.logprobs, &mut 0)),
        finish_reason: Some(finish_reason(choice.stop.reason)),
    });
    let mut out = Vec::with_capacity(512);
    write_json(
        &mut out,
        &Completion {
            id: &completion_id(id.as_deref(), client),
            object: "text_completion",
            created: created.unwrap_or(client.now),
            model: model.as_deref().unwrap_or(&client.model),
            choices: &written.collect::<Vec<_>>(),
            usage: usage.as_ref().map(|usage| Some(WrittenUsage::of(usage))),
        },
    );
    out
}

/// What a block adds to the completion's text.
fn said<'b>(block: &'b Block<'_>, losses: &mut Losses) -> &'b str {
    let Block { content, cache: _, id: _, extras } = block;
    losses.note_extras("answer.", extras);
    match content {
        Content::Text(text) => {
            losses.note_if(!text.citations.is_empty(), "answer.citations");
            &text.text
        }
        Content::Refusal(text) => text,
        Content::Reasoning(_) => {
            losses.note("answer.reasoning");
            ""
        }
        Content::Media(media) => {
            losses.note("answer.media");
            media.transcript.as_deref().unwrap_or_default()
        }
        Content::ToolCall(_) | Content::ToolResult(_) => {
            losses.note("answer.tool_calls");
            ""
        }
        Content::Foreign(foreign) => {
            losses.note_foreign("answer.", &foreign.kind);
            ""
        }
    }
}

/// <https://platform.openai.com/docs/api-reference/completions/object#completions/object-choices>.
const fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Pause => "length",
        StopReason::ContentFilter => "content_filter",
        StopReason::End
        | StopReason::StopSequence
        | StopReason::ToolCalls
        | StopReason::Refusal
        | StopReason::MalformedCall
        | StopReason::Other => "stop",
    }
}

/// An id that looks like one of a completion.
fn completion_id(id: Option<&str>, client: &Client) -> String {
    let id = id.unwrap_or(&client.request_id);
    let bare = id.strip_prefix("chatcmpl-").or_else(|| id.strip_prefix("cmpl-")).unwrap_or(id);
    format!("cmpl-{bare}")
}

/// Writes a stream of `text_completion` chunks.
#[must_use]
pub fn stream_encoder(client: &Client) -> Box<dyn StreamEncoder> {
    Box::new(Encoder {
        client: client.clone(),
        id: completion_id(None, client),
        model: client.model.clone(),
        created: client.now,
        usage: None,
        offsets: Vec::new(),
        ended: false,
    })
}

struct Encoder {
    client: Client,
    id: String,
    model: String,
    created: u64,
    usage: Option<Usage>,
    /// How many characters of each choice have their probabilities.
    offsets: Vec<u64>,
    ended: bool,
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Start { id, model, created } => {
                self.id = completion_id(id.as_deref(), &self.client);
                self.model = model.map_or_else(|| self.client.model.clone(), Str::into_string);
                self.created = created.unwrap_or(self.client.now);
            }
            Event::BlockStart { choice, index: _, block } => self.text(choice, said(&block, losses), out),
            Event::Delta { choice, index: _, delta } => match delta {
                Delta::Text(text) | Delta::Refusal(text) | Delta::Transcript(text) => self.text(choice, &text, out),
                Delta::Citation(_) => losses.note("answer.citations"),
                // Noted when their block began; signatures are for turns that completions do not have.
                Delta::Reasoning(_)
                | Delta::Summary { .. }
                | Delta::Signature(_)
                | Delta::Encrypted(_)
                | Delta::Arguments(_)
                | Delta::MediaData(_)
                | Delta::Foreign(_) => {}
            },
            Event::BlockEnd { .. } => {}
            Event::Logprobs { choice, logprobs } => self.logprobs(choice, &logprobs, out),
            Event::Stop { choice, stop, extras } => {
                losses.note_extras("answer.", &extras);
                let finish_reason = Some(finish_reason(stop.reason));
                self.chunk(&[TextChoice { text: "", index: choice, logprobs: None, finish_reason }], out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(_) => losses.note("answer.service_tier"),
            Event::Extras(extras) => losses.note_extras("answer.", &extras),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => {
                self.ended = true;
                out.extend_from_slice(&encode_stream_error(Dialect::OpenAiChat, &error, &self.client.request_id, 0));
            }
            Event::End => {
                self.ended = true;
                if let (true, Some(usage)) = (self.client.include_usage, &self.usage) {
                    self.write(&[], Some(Some(WrittenUsage::of(usage))), out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }
}

impl Encoder {
    fn text(&self, choice: u32, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.chunk(&[TextChoice { text, index: choice, logprobs: None, finish_reason: None }], out);
        }
    }

    fn logprobs(&mut self, choice: u32, tokens: &[TokenLogprob<'_>], out: &mut Vec<u8>) {
        // A number that is out of any bound is taken for the last one, as where streams are put together.
        let at = (choice as usize).min(127);
        if self.offsets.len() <= at {
            self.offsets.resize(at + 1, 0);
        }
        let logprobs = Some(Logprobs::of(tokens, &mut self.offsets[at]));
        self.chunk(&[TextChoice { text: "", index: choice, logprobs, finish_reason: None }], out);
    }

    /// A chunk before the one with the usage: where that is wanted, all others say that they have none.
    fn chunk(&self, choices: &[TextChoice<'_>], out: &mut Vec<u8>) {
        self.write(choices, self.client.include_usage.then_some(None), out);
    }

    fn write(&self, choices: &[TextChoice<'_>], usage: Option<Option<WrittenUsage>>, out: &mut Vec<u8>) {
        let chunk = Completion {
            id: &self.id,
            object: "text_completion",
            created: self.created,
            model: &self.model,
            choices,
            usage,
        };
        write_event(out, None, &chunk);
    }
}

#[cfg(test)]
mod tests;
