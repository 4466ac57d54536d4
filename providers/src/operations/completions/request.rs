//! A client's request.

use crate::codec::{TextOr, read_request, wire};
use crate::common::{Block, Json, Losses, Message, Request, Str};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};

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
