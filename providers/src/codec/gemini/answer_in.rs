//! A provider's answer, whole or chunk by chunk: one state machine reads both, so that a stream adds up to the answer
//! that it would have been.
//!
//! Parts of text that follow each other are one block: a stream cuts a text anywhere. A signature ends the block that it
//! signs; one on an empty part signs the block before it, which is where an answer that is not streamed has it.

use bounded_static::{IntoBoundedStatic as _, ToBoundedStatic as _};

use super::super::wire::read_answer;
use super::super::{Maker, Sink};
use super::grounding::{Chars, citations};
use super::part_in::{Ids, Origin, block};
use super::stop;
use super::wire::{Answer, Candidate, Content as Turn, Logprobs, OneOrMany, Token};
use crate::common::{
    Block, Collector, Content, Delta, Event, Extras, Opaque, ProviderTag, Reasoning, Response, Stop, Str, Text,
    TokenLogprob,
};
use crate::dialect::{Dialect, Operation};
use crate::error::{ApiError, ErrorKind, decode_value};
use crate::usage::Usage;
use crate::usage::report::{Report, gemini_tier, google_searches};
use crate::usage::tree::Tree;

const OWN: Dialect = Dialect::Gemini;
/// Most answers of one request that are told apart.
const MOST_CHOICES: u32 = 127;

/// Reads an answer that came whole.
pub(super) fn decode<'a>(body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
    let answer: Answer<'a> = read_answer(body)?;
    let mut collector = Collector::new(OWN);
    let mut assembler = Assembler::new(maker);
    assembler.chunk(answer, &mut |event| collector.feed(&event));
    assembler.end(false, &mut |event| collector.feed(&event));
    collector.finish()
}

/// An answer under way.
pub(super) struct Assembler {
    provider: ProviderTag,
    /// The one that was asked, until the answer names itself.
    model: String,
    ids: Made,
    started: bool,
    choices: Vec<Choice>,
    report: Report,
    usage: Option<Usage>,
    tier: Option<String>,
    blocked: Option<Stop<'static>>,
    extras: Extras<'static>,
}

/// The queries for the search that a candidate is grounded in.
fn queries(candidate: &Candidate<'_>) -> u64 {
    let grounding = candidate.rest.iter().find(|(name, _)| *name == "groundingMetadata");
    grounding.map_or(0, |(_, grounding)| {
        let grounding = grounding.to_tree();
        let queries = grounding["webSearchQueries"].elements().iter();
        queries.filter(|query| query.as_str().is_some_and(|query| !query.is_empty())).count() as u64
    })
}

/// One of its choices.
#[derive(Default)]
struct Choice {
    number: u32,
    /// The number of the next block.
    next: u32,
    open: Option<Open>,
    text: Chars,
    calls: bool,
    finish: Option<String>,
    extras: Extras<'static>,
}

/// The block that further parts may continue.
#[derive(Clone, Copy)]
struct Open {
    index: u32,
    thought: bool,
    /// It is signed: nothing can be added.
    sealed: bool,
    /// Where in the answer's text it begins.
    from: u64,
}

/// Ids for calls that come without.
struct Made {
    seed: String,
    next: u32,
}

impl<'a> Ids<'a> for Made {
    fn of_call(&mut self, id: Option<Str<'a>>, _: &Str<'a>) -> Str<'a> {
        id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
            self.next += 1;
            format!("call_{}_{}", self.seed, self.next - 1).into()
        })
    }

    fn of_result(&mut self, id: Option<Str<'a>>, _: &Str<'a>) -> Str<'a> {
        id.unwrap_or_default()
    }
}

impl Assembler {
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        Self {
            provider: maker.provider,
            model: maker.model.to_owned(),
            ids: Made { seed: maker.id_seed.to_owned(), next: 0 },
            started: false,
            choices: Vec::new(),
            report: Report::default(),
            usage: None,
            tier: None,
            blocked: None,
            extras: Vec::new(),
        }
    }

    /// Takes an answer, or a chunk of one, in.
    pub(super) fn chunk(&mut self, answer: Answer<'_>, sink: Sink<'_>) {
        let Answer { candidates, feedback, usage, model, id, created, error, rest } = answer;
        if let Some(error) = error {
            sink(Event::Error(decode_value(OWN, 200, &error.to_value())));
            return;
        }
        if !self.started {
            self.started = true;
            let model = model.unwrap_or_else(|| self.model.clone().into());
            self.model = model.to_string();
            let created = created.as_deref().and_then(unix_seconds);
            sink(Event::Start { id, model: Some(model), created });
        }
        let queries: u64 = candidates.iter().map(queries).sum();
        if queries > 0 {
            self.report.merge(&Report::of_searches(google_searches(&self.model, queries)));
        }
        if let Some(usage) = usage {
            self.usage(&usage.to_tree(), sink);
        } else if queries > 0 {
            self.usage(&Tree::Null, sink);
        }
        if let Some(feedback) = feedback {
            if let Some(word) = feedback.to_value()["blockReason"].as_str() {
                self.blocked = Some(stop::blocked(word.to_owned().into()));
            }
            put(&mut self.extras, "promptFeedback".into(), feedback.into_owned());
        }
        for (name, json) in rest {
            put(&mut self.extras, name.into_owned(), json.into_owned());
        }
        for (at, candidate) in (0u32..).zip(candidates) {
            self.candidate(at, candidate, sink);
        }
    }

    fn usage(&mut self, counts: &Tree<'_>, sink: Sink<'_>) {
        self.report.merge(&Report::read(OWN, Operation::Chat, counts));
        let usage = self.report.usage();
        if usage != self.usage {
            self.usage = usage;
            usage.into_iter().for_each(|usage| sink(Event::Usage(usage)));
        }
        if let Some(tier) = gemini_tier(counts)
            && self.tier.as_ref() != Some(&tier)
        {
            sink(Event::ServiceTier(tier.as_str().into()));
            self.tier = Some(tier);
        }
    }

    fn candidate(&mut self, at: u32, candidate: Candidate<'_>, sink: Sink<'_>) {
        let Candidate { content, index, finish, logprobs, rest } = candidate;
        let Turn { role: _, parts: OneOrMany(parts), rest: _ } = content;
        let number = index.unwrap_or(at).min(MOST_CHOICES);
        let known = self.choices.iter().position(|choice| choice.number == number).unwrap_or_else(|| {
            self.choices.push(Choice { number, ..Choice::default() });
            self.choices.len() - 1
        });
        let choice = &mut self.choices[known];
        for part in parts {
            choice.block(block(part, Origin::Maker(self.provider), &mut self.ids), sink);
        }
        if let Some(logprobs) = logprobs {
            let logprobs = read_logprobs(logprobs);
            if !logprobs.is_empty() {
                sink(Event::Logprobs { choice: number, logprobs });
            }
        }
        if let Some(word) = finish.filter(|word| *word != "FINISH_REASON_UNSPECIFIED") {
            choice.finish = Some(word.into_string());
        }
        for (name, json) in rest {
            put(&mut choice.extras, name.into_owned(), json.into_owned());
        }
    }

    /// Whether all its answers have a reason to be over.
    pub(super) fn has_stopped(&self) -> bool {
        let is_over = |choice: &Choice| choice.finish.is_some();
        if self.choices.is_empty() { self.blocked.is_some() } else { self.choices.iter().all(is_over) }
    }

    /// Nothing follows. A stream is whole when all its answers have a reason to be over.
    pub(super) fn end(&mut self, streamed: bool, sink: Sink<'_>) {
        if self.choices.is_empty() {
            match self.blocked.take() {
                Some(stop) => sink(Event::Stop { choice: 0, stop, extras: Vec::new() }),
                None if streamed => return sink(Event::Error(ApiError::cut_short())),
                None => {
                    let error = ApiError::new(ErrorKind::UpstreamError, "the provider's answer is empty");
                    return sink(Event::Error(error));
                }
            }
        }
        if streamed && self.choices.iter().any(|choice| choice.finish.is_none()) {
            return sink(Event::Error(ApiError::cut_short()));
        }
        for mut choice in std::mem::take(&mut self.choices) {
            choice.cite(sink);
            choice.close(sink);
            let stop = stop::read(choice.finish.as_deref().unwrap_or("STOP"), choice.calls);
            sink(Event::Stop { choice: choice.number, stop, extras: choice.extras });
        }
        if !self.extras.is_empty() {
            sink(Event::Extras(std::mem::take(&mut self.extras)));
        }
        sink(Event::End);
    }
}

impl Choice {
    fn block(&mut self, block: Block<'_>, sink: Sink<'_>) {
        let Block { content, cache, id, extras } = block;
        match content {
            Content::Text(text) if extras.is_empty() => {
                let Text { text, signature, .. } = text;
                let from = self.text.count();
                self.text.push(&text);
                let start = || Content::Text(Text::default());
                self.prose(
                    Open { index: 0, thought: false, sealed: false, from },
                    start,
                    text,
                    Delta::Text,
                    signature,
                    sink,
                );
            }
            Content::Reasoning(reasoning) if extras.is_empty() => {
                let Reasoning { text, signature, .. } = *reasoning;
                let start = || Content::Reasoning(Box::default());
                let from = self.text.count();
                self.prose(
                    Open { index: 0, thought: true, sealed: false, from },
                    start,
                    text,
                    Delta::Reasoning,
                    signature,
                    sink,
                );
            }
            Content::ToolCall(mut call) => {
                self.calls = true;
                self.close(sink);
                let arguments = std::mem::take(&mut call.arguments);
                let index =
                    self.start(Block { content: Content::ToolCall(call), cache, id, extras: told(extras) }, sink);
                sink(Event::Delta { choice: self.number, index, delta: Delta::Arguments(arguments) });
                sink(Event::BlockEnd { choice: self.number, index });
            }
            content => {
                self.close(sink);
                let index = self.start(Block { content, cache, id, extras: told(extras) }, sink);
                sink(Event::BlockEnd { choice: self.number, index });
            }
        }
    }

    /// Text and reasoning, which parts continue.
    fn prose<'t>(
        &mut self,
        new: Open,
        start: impl Fn() -> Content<'static>,
        text: Str<'t>,
        delta: impl Fn(Str<'t>) -> Delta<'t>,
        signature: Option<Opaque<'t>>,
        sink: Sink<'_>,
    ) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let index = match self.open {
            Some(open) if open.thought == new.thought && !open.sealed => open.index,
            _ => {
                self.close(sink);
                let index = self.start(Block::new(start()), sink);
                self.open = Some(Open { index, ..new });
                index
            }
        };
        if !text.is_empty() {
            sink(Event::Delta { choice: self.number, index, delta: delta(text) });
        }
        if let Some(signature) = signature {
            sink(Event::Delta { choice: self.number, index, delta: Delta::Signature(signature) });
            self.open = self.open.map(|open| Open { sealed: true, ..open });
        }
    }

    fn start(&mut self, block: Block<'_>, sink: Sink<'_>) -> u32 {
        let index = self.next;
        self.next += 1;
        sink(Event::BlockStart { choice: self.number, index, block });
        index
    }

    fn close(&mut self, sink: Sink<'_>) {
        if let Some(Open { index, .. }) = self.open.take() {
            sink(Event::BlockEnd { choice: self.number, index });
        }
    }

    /// The sources, which come at the end, belong to the text before them.
    fn cite(&self, sink: Sink<'_>) {
        let Some(Open { index, thought: false, from, .. }) = self.open else { return };
        for mut citation in citations(&self.extras, &self.text) {
            // Google counts from the beginning of the answer.
            citation.span = citation.span.map(|(start, end)| (start.saturating_sub(from), end.saturating_sub(from)));
            sink(Event::Delta { choice: self.number, index, delta: Delta::Citation(Box::new(citation)) });
        }
    }
}

/// Of an answer, only fields count: how it spelt an absent id is of no use to anyone.
fn told(extras: Extras<'_>) -> Extras<'_> {
    extras.into_iter().filter(|(name, _)| !name.starts_with('=')).collect()
}

/// Later chunks replace what earlier ones said.
fn put(extras: &mut Extras<'static>, name: Str<'static>, json: crate::common::Json<'static>) {
    match extras.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = json,
        None => extras.push((name, json)),
    }
}

fn read_logprobs(logprobs: Logprobs<'_>) -> Vec<TokenLogprob<'static>> {
    let Logprobs { chosen, top, rest: _ } = logprobs;
    let read = |token: &Token<'_>| TokenLogprob {
        token: token.token.to_static(),
        logprob: token.logprob.0,
        ..TokenLogprob::default()
    };
    let mut top = top.into_iter();
    let mut tokens = Vec::with_capacity(chosen.len());
    for token in chosen {
        let alternatives = top.next().map(|place| place.candidates).unwrap_or_default();
        tokens.push(TokenLogprob { top: alternatives.iter().map(read).collect(), ..read(&token) });
    }
    tokens.into_static()
}

/// Seconds since 1970 of `2026-02-15T07:50:37.854117Z`.
fn unix_seconds(time: &str) -> Option<u64> {
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    (days.checked_sub(719_468)?.checked_mul(86_400)?).checked_add(hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::unix_seconds;

    #[test]
    fn time_is_told_in_seconds() {
        assert_eq!(unix_seconds("2026-02-15T07:50:37.854117Z"), Some(1_771_141_837));
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_seconds("2024-02-29T23:59:59Z"), Some(1_709_251_199));
        assert_eq!(unix_seconds("yesterday"), None);
    }
}
