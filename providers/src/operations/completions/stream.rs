//! A streamed answer.

use super::response::{Completion, Logprobs, TextChoice, WrittenUsage, completion_id, finish_reason, said};
use crate::codec::{Client, StreamEncoder, write_event};
use crate::common::{Delta, Event, Losses, Str, TokenLogprob};
use crate::dialect::Dialect;
use crate::error::encode_stream_error;
use crate::usage::Usage;

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
