//! A stream put together into an answer, and an answer taken apart into a stream.

use bounded_static::ToBoundedStatic as _;

use super::{Block, Choice, Content, Delta, Event, MediaSource, Response, Stop, Str};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};

/// Puts the events of a stream together. What comes out is what the answer would have been without streaming.
#[derive(Debug)]
pub struct Collector {
    response: Response<'static>,
    outcome: Option<Result<(), ApiError>>,
}

impl Collector {
    /// For a stream of `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { response: Response::new(dialect), outcome: None }
    }

    /// Takes the next event in.
    pub fn feed(&mut self, event: &Event<'_>) {
        if self.outcome.is_some() {
            return;
        }
        match event {
            Event::Start { id, model, created } => {
                self.response.id = id.to_static();
                self.response.model = model.to_static();
                self.response.created = *created;
            }
            Event::BlockStart { choice, block, .. } => self.choice(*choice).blocks.push(block.to_static()),
            Event::Delta { choice, index, delta } => {
                if let Some(block) = self.choice(*choice).blocks.get_mut(*index as usize) {
                    add(block, delta);
                }
            }
            Event::BlockEnd { .. } | Event::Ping => {}
            Event::Logprobs { choice, logprobs } => {
                self.choice(*choice).logprobs.extend(logprobs.iter().map(|token| token.to_static()));
            }
            Event::Stop { choice, stop, extras } => {
                let choice = self.choice(*choice);
                choice.stop = stop.to_static();
                choice.extras = extras.to_static();
            }
            Event::Usage(usage) => self.response.usage = Some(*usage),
            Event::ServiceTier(tier) => self.response.service_tier = Some(tier.to_static()),
            Event::Extras(extras) => self.response.extras.extend(extras.to_static()),
            Event::Error(error) => self.outcome = Some(Err(error.clone())),
            Event::End => self.outcome = Some(Ok(())),
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// The error that the stream reported, or that it broke off.
    pub fn finish(self) -> Result<Response<'static>, ApiError> {
        match self.outcome {
            Some(Ok(())) => Ok(self.response),
            Some(Err(error)) => Err(error),
            None => Err(ApiError::new(ErrorKind::StreamCut, "the stream broke off before it was complete")),
        }
    }

    /// The answer as far as it has come.
    #[must_use]
    pub fn so_far(self) -> Response<'static> {
        self.response
    }

    /// Choices are numbered without gaps by all providers; a number that is out of any bound is taken for the last one.
    fn choice(&mut self, number: u32) -> &mut Choice<'static> {
        let number = (number as usize).min(127);
        if self.response.choices.len() <= number {
            self.response.choices.resize_with(number + 1, Choice::default);
        }
        &mut self.response.choices[number]
    }
}

/// Adds a delta to the block it belongs to.
pub(crate) fn add(block: &mut Block<'static>, delta: &Delta<'_>) {
    match (&mut block.content, delta) {
        (Content::Text(text), Delta::Text(more)) => text.text.push_str(more),
        (Content::Text(text), Delta::Citation(citation)) => text.citations.push((**citation).to_static()),
        (Content::Text(text), Delta::Signature(signature)) => text.signature = Some(signature.to_static()),
        (Content::Refusal(text), Delta::Refusal(more)) => text.push_str(more),
        (Content::Reasoning(reasoning), Delta::Reasoning(more)) => reasoning.text.push_str(more),
        (Content::Reasoning(reasoning), Delta::Summary { part, text }) => {
            let part = (*part as usize).min(1023);
            if reasoning.summary.len() <= part {
                reasoning.summary.resize_with(part + 1, Str::default);
            }
            reasoning.summary[part].push_str(text);
        }
        (Content::Reasoning(reasoning), Delta::Signature(signature)) => {
            reasoning.signature = Some(signature.to_static())
        }
        (Content::Reasoning(reasoning), Delta::Encrypted(data)) => reasoning.encrypted = Some(data.to_static()),
        (Content::ToolCall(call), Delta::Arguments(more)) => call.arguments.push_str(more),
        (Content::ToolCall(call), Delta::Signature(signature)) => call.signature = Some(signature.to_static()),
        (Content::Media(media), Delta::MediaData(more)) => {
            if let MediaSource::Data(data) = &mut media.source {
                data.push_str(more);
            }
        }
        (Content::Media(media), Delta::Transcript(more)) => media.transcript.get_or_insert_default().push_str(more),
        (Content::Media(media), Delta::Signature(signature)) => media.signature = Some(signature.to_static()),
        (Content::Foreign(foreign), Delta::Foreign(raw)) => foreign.raw = raw.to_static(),
        // A decoder that sends a block what it cannot take has a defect, which the tests of stream = answer would show.
        (_, _) => {}
    }
}

/// Gives out a whole answer as the events of a stream.
pub fn take_apart(response: &Response<'_>, sink: &mut dyn FnMut(Event<'_>)) {
    let Response { dialect: _, id, model, created, choices, usage, service_tier, extras } = response;
    sink(Event::Start {
        id: id.as_ref().map(Str::borrowed),
        model: model.as_ref().map(Str::borrowed),
        created: *created,
    });
    for (number, choice) in (0u32..).zip(choices) {
        let Choice { blocks, stop, logprobs, extras } = choice;
        for (index, block) in (0u32..).zip(blocks) {
            let (start, deltas) = split(block);
            sink(Event::BlockStart { choice: number, index, block: start });
            for delta in deltas {
                sink(Event::Delta { choice: number, index, delta });
            }
            sink(Event::BlockEnd { choice: number, index });
        }
        if !logprobs.is_empty() {
            sink(Event::Logprobs { choice: number, logprobs: logprobs.clone() });
        }
        sink(Event::Stop { choice: number, stop: Stop::clone(stop), extras: extras.clone() });
    }
    if let Some(usage) = usage {
        sink(Event::Usage(*usage));
    }
    if let Some(tier) = service_tier {
        sink(Event::ServiceTier(tier.borrowed()));
    }
    if !extras.is_empty() {
        sink(Event::Extras(extras.clone()));
    }
    sink(Event::End);
}

/// A block as it starts, and the deltas that make it whole.
pub(crate) fn split<'b>(block: &'b Block<'_>) -> (Block<'b>, Vec<Delta<'b>>) {
    let mut start: Block<'b> = block.clone();
    let mut deltas = Vec::new();
    match &mut start.content {
        Content::Text(text) => {
            deltas.push(Delta::Text(std::mem::take(&mut text.text)));
            deltas.extend(std::mem::take(&mut text.citations).into_iter().map(|one| Delta::Citation(Box::new(one))));
            deltas.extend(text.signature.take().map(Delta::Signature));
        }
        Content::Refusal(text) => deltas.push(Delta::Refusal(std::mem::take(text))),
        Content::Reasoning(reasoning) => {
            let summaries = std::mem::take(&mut reasoning.summary);
            deltas.extend((0u32..).zip(summaries).map(|(part, text)| Delta::Summary { part, text }));
            let text = std::mem::take(&mut reasoning.text);
            deltas.extend((!text.is_empty()).then_some(Delta::Reasoning(text)));
            deltas.extend(reasoning.signature.take().map(Delta::Signature));
            deltas.extend(reasoning.encrypted.take().map(Delta::Encrypted));
        }
        Content::ToolCall(call) => {
            deltas.push(Delta::Arguments(std::mem::take(&mut call.arguments)));
            deltas.extend(call.signature.take().map(Delta::Signature));
        }
        Content::Media(_) | Content::ToolResult(_) | Content::Foreign(_) => {}
    }
    (start, deltas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Opaque, Reasoning, StopReason, ToolCall};
    use crate::usage::Usage;

    #[test]
    fn taken_apart_and_put_together_is_the_same() {
        let mut response = Response::new(Dialect::Gemini);
        response.id = Some("r1".into());
        response.usage = Some(Usage { output: Some(3), ..Usage::default() });
        response.service_tier = Some("flex".into());
        let reasoning = Reasoning {
            text: "because".into(),
            summary: vec!["a".into(), "b".into()],
            signature: Some(Opaque::made_by(Dialect::Gemini, None, "sig".into())),
            ..Reasoning::default()
        };
        let call = ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), ..ToolCall::default() };
        response.choices.push(Choice {
            blocks: vec![
                Block::new(Content::Reasoning(Box::new(reasoning))),
                Block::text("hello"),
                Block::new(Content::ToolCall(Box::new(call))),
            ],
            stop: Stop::new(StopReason::ToolCalls),
            ..Choice::default()
        });
        let mut collector = Collector::new(Dialect::Gemini);
        take_apart(&response, &mut |event| collector.feed(&event));
        assert_eq!(collector.finish().unwrap(), response);
    }

    #[test]
    fn a_stream_without_an_end_is_no_answer() {
        let mut collector = Collector::new(Dialect::Gemini);
        collector.feed(&Event::Start { id: None, model: None, created: None });
        assert_eq!(collector.finish().unwrap_err().kind, ErrorKind::StreamCut);
    }
}
