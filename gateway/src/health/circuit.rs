//! The states of a breaker: closed, open until a moment, then half open, where probes pass: one, and while nothing is known of
//! it, ever more rarely another one. A whole answer can take minutes, and the first probe may hang where all others would not.

use std::time::{Duration, Instant};

/// How long the first probe is waited for before there is a second one.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// The most that doubling makes of it.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// A breaker without the rule that opens it.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Open until then, half open from then on; `None`: closed.
    until: Option<Instant>,
    /// The last probe, while nothing is known of it.
    probe: Option<Probe>,
    /// How many there were.
    probes: u32,
    /// How often it opened without closing in between.
    openings: u32,
    /// Counts the openings. What began before the last one knows nothing new.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u32,
    patience: Duration,
    /// When another one may pass.
    until: Instant,
}

/// What a circuit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Everything.
    Closed,
    /// A probe.
    HalfOpen,
    /// Nothing for now, as a probe is under way.
    Probing,
    /// Nothing until then.
    Open(Instant),
}

/// What a passage must show when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    generation: u32,
    /// Which probe it is, if it is one.
    probe: Option<u32>,
}

impl Ticket {
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

impl Circuit {
    pub(super) fn gate(&self, now: Instant) -> Gate {
        match self.until {
            None => Gate::Closed,
            Some(until) if now < until => Gate::Open(until),
            Some(_) => match self.probe {
                Some(probe) if now < probe.until => Gate::Probing,
                Some(_) | None => Gate::HalfOpen,
            },
        }
    }

    /// Lets one through.
    pub(super) fn enter(&mut self, now: Instant) -> Option<Ticket> {
        let probe = match self.gate(now) {
            Gate::Closed => None,
            Gate::HalfOpen => Some(self.begin_probe(now)),
            Gate::Probing | Gate::Open(_) => return None,
        };
        Some(Ticket { generation: self.generation, probe })
    }

    fn begin_probe(&mut self, now: Instant) -> u32 {
        self.probes = self.probes.wrapping_add(1);
        let patience = self.probe.map_or(FIRST_PATIENCE, |last| (2 * last.patience).min(MOST_PATIENCE));
        self.probe = Some(Probe { number: self.probes, patience, until: now + patience });
        self.probes
    }

    /// Lets one through that nobody may refuse any more. If the circuit is shut, it is of the time before and tells nothing.
    pub(super) fn enter_anyway(&mut self, now: Instant) -> Ticket {
        self.enter(now).unwrap_or(Ticket { generation: self.generation.wrapping_sub(1), probe: None })
    }

    /// Gives the probe's place back, unless another one has it; it stays open to the next one.
    pub(super) fn give_back(&mut self, ticket: &mut Ticket) {
        if let Some(number) = ticket.probe.take() {
            self.probe = self.probe.filter(|probe| probe.number != number);
        }
    }

    /// Whether nothing was decided since `ticket` was given.
    pub(super) fn is_current(&self, ticket: Ticket) -> bool {
        ticket.generation == self.generation
    }

    pub(super) fn is_closed(&self) -> bool {
        self.until.is_none()
    }

    /// How often it will have opened in a row with the next time.
    pub(super) fn next_opening(&self) -> u32 {
        self.openings.saturating_add(1)
    }

    /// Opens it until `until`, or longer if it is open for longer.
    pub(super) fn open(&mut self, until: Instant) {
        self.until = self.until.max(Some(until));
        self.openings = self.next_opening();
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn close(&mut self) {
        self.until = None;
        self.openings = 0;
    }

    /// Until when it is open, and how often it opened in a row; `None`: closed.
    pub(super) fn opened(&self) -> Option<(Instant, u32)> {
        self.until.map(|until| (until, self.openings))
    }

    /// As another one was.
    pub(super) fn restore(&mut self, until: Instant, openings: u32) {
        (self.until, self.openings) = (Some(until), openings);
        self.generation = self.generation.wrapping_add(1);
    }

    /// Closes it for another one in its place: what is under way knows nothing of that.
    pub(super) fn replace(&mut self) {
        self.close();
        self.generation = self.generation.wrapping_add(1);
    }
}
