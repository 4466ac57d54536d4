//! A provider's stream: <https://platform.openai.com/docs/api-reference/chat/streaming>, and what vendors make of it.
//!
//! The stop of a choice is held until `[DONE]` or the end of the body: OpenRouter goes on after it, repeats it, or reports an
//! error. A body that ends without `[DONE]` is complete if every choice has been told to be.

use bounded_static::IntoBoundedStatic as _;

use super::OWN;
use super::answer_in::{choice_error, error_of, read_logprobs, read_usage, seconds, stop_of};
use super::call_deltas::Ids;
use super::delta_in::{Choice, remember_last};
use super::parts::Origin;
use super::wire::{Answer, Choice as WireChoice};
use crate::codec::sse::EventRules;
use crate::codec::wire::read_answer;
use crate::codec::{Maker, Sink};
use crate::common::{Event, Extras};
use crate::error::{ApiError, decode_error};
use crate::usage::Usage;
use crate::usage::report::Report;

/// Answers that are followed at once; what calls itself by a higher number is taken for the last.
const MOST_CHOICES: u32 = 128;

/// The chunks of a stream.
pub(super) struct Chunks {
    origin: Origin,
    id_seed: String,
    started: bool,
    choices: Vec<Choice>,
    made_up: usize,
    report: Report,
    usage: Option<Usage>,
    service_tier: Option<String>,
    extras: Extras<'static>,
    /// A chunk could not be read: the answer may lack something.
    torn: bool,
    over: bool,
}

impl Chunks {
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        Self {
            origin: Origin::Provider(maker.provider),
            id_seed: maker.id_seed.to_owned(),
            started: false,
            choices: Vec::new(),
            made_up: 0,
            report: Report::default(),
            usage: None,
            service_tier: None,
            extras: Vec::new(),
            torn: false,
            over: false,
        }
    }

    fn chunk(&mut self, chunk: Answer<'_>, sink: Sink<'_>) {
        if let Some(error) = error_of(&chunk) {
            self.over = true;
            return sink(Event::Error(error));
        }
        let Answer { id, model, created, choices, usage, service_tier, x_groq, rest, .. } = chunk;
        let choices = choices.unwrap_or_default();
        let id = id.filter(|id| !id.is_empty());
        // Azure's first chunk tells of the prompt's filter and has neither id nor choices.
        if !self.started && (id.is_some() || !choices.is_empty()) {
            self.started = true;
            let model = model.filter(|model| !model.is_empty());
            sink(Event::Start { id, model, created: created.and_then(seconds) });
        }
        for (name, value) in rest {
            remember_last(&mut self.extras, name, value);
        }
        for choice in choices {
            if let Some(error) = choice_error(choice.error, choice.finish_reason.as_deref()) {
                self.over = true;
                return sink(Event::Error(error));
            }
            self.choice(choice, sink);
        }
        if let Some(report) = read_usage(usage, x_groq) {
            self.report.merge(&report);
            let usage = self.report.usage();
            if usage != self.usage
                && let Some(usage) = usage
            {
                sink(Event::Usage(usage));
            }
            self.usage = usage;
        }
        if let Some(tier) = service_tier
            && self.service_tier.as_deref() != Some(&*tier)
        {
            self.service_tier = Some(tier.to_string());
            sink(Event::ServiceTier(tier));
        }
    }

    fn choice(&mut self, wire: WireChoice<'_>, sink: Sink<'_>) {
        let WireChoice { index, message, delta, finish_reason, stop_reason, logprobs, error: _, rest } = wire;
        let number = index.unwrap_or(0).min(MOST_CHOICES - 1);
        while self.choices.len() <= number as usize {
            let number = u32::try_from(self.choices.len()).unwrap_or(u32::MAX);
            self.choices.push(Choice::new(number));
        }
        let Self { origin, id_seed, choices, made_up, .. } = self;
        let choice = &mut choices[number as usize];
        let ids = &mut Ids { seed: id_seed, made_up };
        for (name, value) in rest {
            remember_last(&mut choice.extras, name, value);
        }
        // Some send the whole message in place of a delta.
        if let Some(delta) = delta.or(message) {
            choice.delta(*delta, *origin, ids, sink);
        }
        match logprobs.map(read_logprobs) {
            Some(Ok(logprobs)) if !logprobs.is_empty() => sink(Event::Logprobs { choice: number, logprobs }),
            Some(Ok(_)) | None => {}
            Some(Err(raw)) => remember_last(&mut choice.extras, "logprobs".into(), raw),
        }
        if finish_reason.as_ref().is_some_and(|word| !word.is_empty()) && choice.stop.is_none() {
            choice.stop = Some(stop_of(finish_reason, stop_reason, !choice.calls.is_empty()).into_static());
        }
    }

    fn finish(&mut self, sink: Sink<'_>) {
        self.over = true;
        if self.torn {
            return sink(Event::Error(ApiError::cut_short()));
        }
        for choice in &mut self.choices {
            choice.finish(&mut Ids { seed: &self.id_seed, made_up: &mut self.made_up }, sink);
        }
        if !self.extras.is_empty() {
            super::mark(&mut self.extras);
            sink(Event::Extras(std::mem::take(&mut self.extras)));
        }
        sink(Event::End);
    }
}

impl EventRules for Chunks {
    fn on_event(&mut self, name: &[u8], data: &[u8], sink: Sink<'_>) {
        let data = data.trim_ascii();
        if self.over {
        } else if data == b"[DONE]" {
            self.finish(sink);
        } else if name == b"error" {
            self.over = true;
            sink(Event::Error(decode_error(OWN, 200, data)));
        } else if let Ok(chunk) = read_answer::<Answer<'_>>(data) {
            self.chunk(chunk, sink);
        } else {
            // Words between the chunks are no loss, a chunk that cannot be read is.
            self.torn |= data.starts_with(b"{");
        }
    }

    fn on_end(&mut self, sink: Sink<'_>) {
        if self.over {
            return;
        }
        if self.has_stopped() {
            self.finish(sink);
        } else {
            sink(Event::Error(ApiError::cut_short()));
        }
    }

    fn has_stopped(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.stop.is_some())
    }
}
