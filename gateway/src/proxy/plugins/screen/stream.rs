//! A stream on its way through the plugins that look at texts.

use ai_gateway_plugins::internal::{EventScreen, Screen, delta, text_of};
use ai_gateway_plugins::{Part, Rejection};
use ai_gateway_providers::Dialect;
use ai_gateway_providers::answer::{cost_in, with_cost};
use ai_gateway_providers::codec::{Client, StreamEncoder, codec};
use ai_gateway_providers::common::{Block, Content, Delta, Event, Losses};
use bounded_static::IntoBoundedStatic as _;
use bytes::Bytes;

use super::{Hooks, window};
use crate::proxy::plugins::{Active, Run};

/// Where the refusal begins with which a screen has ended its stream; the number of events if it has not.
fn refusal_at(events: &[Event<'_>]) -> usize {
    let [before @ .., Event::End] = events else { return events.len() };
    let mut rest = before;
    while let [
        before @ ..,
        Event::BlockStart { block: Block { content: Content::Refusal(_), .. }, .. },
        Event::Delta { delta: Delta::Refusal(_), .. },
        Event::BlockEnd { .. },
        Event::Stop { .. },
    ] = rest
    {
        rest = before;
    }
    rest.len()
}

/// A stream under way.
pub(super) struct Streaming {
    screen: Screen,
    /// What stands behind those who may wait.
    restoring: Option<EventScreen>,
    pub(super) encoder: Box<dyn StreamEncoder>,
    losses: Losses,
    dialect: Dialect,
    /// What its usage says that it cost: the events have no place for it.
    cost: Option<Box<str>>,
    /// Those who may wait, and how much they want at a time.
    waits: Vec<Active>,
    window: usize,
    /// Text that they have not seen.
    pending: Vec<Pending>,
    pub(super) refused: Option<Rejection>,
}

struct Pending {
    part: Part,
    /// Which summary of reasoning.
    sub: Option<u32>,
    text: String,
}

impl Streaming {
    pub(super) fn new(run: &Run, dialect: Dialect, client: &Client, hooks: Hooks) -> Self {
        let waits: Vec<Active> = run.those(|needs| needs.window.is_some()).cloned().collect();
        let window = waits.iter().filter_map(|active| active.entry.needs.window).min();
        let Hooks { mut look, mut restore } = hooks;
        if waits.is_empty() {
            look.append(&mut restore);
        }
        Self {
            restoring: (!restore.is_empty()).then(|| EventScreen::new(dialect, restore)),
            screen: Screen::new(dialect, look, client.request_id.get(..12).unwrap_or("0")),
            encoder: codec(dialect).stream_encoder(client),
            losses: Losses::default(),
            dialect,
            cost: None,
            waits,
            window: window.unwrap_or_default().clamp(1, 64 << 10),
            pending: Vec::new(),
            refused: None,
        }
    }

    pub(super) async fn feed(&mut self, chunk: Bytes, end: bool) -> Bytes {
        self.cost = cost_in(self.dialect, &chunk).or(self.cost.take());
        let written = self.screened(chunk, end).await;
        match &self.cost {
            Some(cost) => with_cost(self.dialect, written, cost),
            None => written,
        }
    }

    async fn screened(&mut self, chunk: Bytes, end: bool) -> Bytes {
        let Self { screen, encoder, losses, .. } = self;
        // What comes out is mostly about what went in.
        let mut out = Vec::with_capacity(chunk.len() + 256);
        if self.waits.is_empty() {
            screen.feed(&chunk, end, &mut |event| encoder.encode(event, losses, &mut out));
            self.refused = self.screen.refused().cloned();
            return out.into();
        }
        let mut events: Vec<Event<'static>> = Vec::new();
        screen.feed(&chunk, end, &mut |event| events.push(event.into_static()));
        // A refusal is the gateway's word: nobody is asked about it.
        let mut refusal = events.split_off(refusal_at(&events));
        let mut events = events.into_iter();
        while let Some(event) = events.next() {
            let ends = match &event {
                Event::BlockEnd { choice, index } => Some(Event::BlockEnd { choice: *choice, index: *index }),
                _ => None,
            };
            if let Some(rejection) = self.wait(event, &mut out).await {
                let unsent: Vec<_> = ends.into_iter().chain(events).chain(std::mem::take(&mut refusal)).collect();
                self.screen.take_back(&unsent);
                self.screen.refuse(rejection, &mut |event| refusal.push(event.into_static()));
                break;
            }
        }
        for event in refusal {
            self.write(event, &mut out);
        }
        let Self { restoring, encoder, losses, .. } = self;
        if let Some(restoring) = restoring {
            restoring.show(&mut |event| encoder.encode(event, losses, &mut out));
        }
        let restoring = restoring.as_ref().and_then(EventScreen::refused);
        self.refused = self.screen.refused().or(restoring).cloned();
        out.into()
    }

    /// Writes what those who may wait let pass.
    fn write(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        let Self { restoring, encoder, losses, .. } = self;
        match restoring {
            Some(restoring) => restoring.feed(event, &mut |event| encoder.encode(event, losses, out)),
            None => encoder.encode(event, losses, out),
        }
    }

    /// Keeps text until there is enough of it to ask about.
    async fn wait(&mut self, event: Event<'static>, out: &mut Vec<u8>) -> Option<Rejection> {
        let Event::Delta { choice, index, delta } = event else {
            if let Event::BlockEnd { choice, index } = event
                && let Some(rejection) = self.release_all(choice, index, out).await
            {
                return Some(rejection);
            }
            self.write(event, out);
            return None;
        };
        let (kind, sub, text) = match text_of(delta) {
            Ok(text) => text,
            Err(delta) => {
                // It comes when its block ends, and behind what it signs.
                if matches!(delta, Delta::Signature(_))
                    && let Some(rejection) = self.release_all(choice, index, out).await
                {
                    return Some(rejection);
                }
                self.write(Event::Delta { choice, index, delta }, out);
                return None;
            }
        };
        let part = Part::new(choice, index, kind);
        let at = self.pending.iter().position(|pending| pending.part == part && pending.sub == sub);
        let at = at.unwrap_or_else(|| {
            self.pending.push(Pending { part, sub, text: String::new() });
            self.pending.len() - 1
        });
        self.pending[at].text.push_str(&text);
        if self.pending[at].text.len() < self.window {
            return None;
        }
        let full = Pending { part, sub, text: std::mem::take(&mut self.pending[at].text) };
        self.release(full, false, out).await
    }

    /// Asks about all that is pending of a block, which ends.
    async fn release_all(&mut self, choice: u32, index: u32, out: &mut Vec<u8>) -> Option<Rejection> {
        let of_block = |pending: &Pending| (pending.part.choice, pending.part.index) == (choice, index);
        while let Some(at) = self.pending.iter().position(of_block) {
            let pending = self.pending.remove(at);
            if let Some(rejection) = self.release(pending, true, out).await {
                return Some(rejection);
            }
        }
        None
    }

    async fn release(&mut self, pending: Pending, end: bool, out: &mut Vec<u8>) -> Option<Rejection> {
        let Pending { part, sub, text } = pending;
        for active in &self.waits {
            if let Some(rejection) = window(active, part, &text, end).await {
                return Some(rejection);
            }
        }
        if !text.is_empty() {
            let delta = delta(part.kind, sub, text.into());
            self.write(Event::Delta { choice: part.choice, index: part.index, delta }, out);
        }
        None
    }
}
