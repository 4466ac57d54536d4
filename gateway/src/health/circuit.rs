//! The states of a breaker: closed, open until a moment, then half open, where one probe at a time passes.

use std::time::Instant;

/// A breaker without the rule that opens it.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Open until then, half open from then on; `None`: closed.
    until: Option<Instant>,
    /// Somebody holds a [`Ticket`] with `probe`.
    probing: bool,
    /// How often it opened without closing in between.
    openings: u32,
    /// Counts the openings. What began before the last one knows nothing new.
    generation: u32,
}

/// What a circuit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Everything.
    Closed,
    /// One probe.
    HalfOpen,
    /// Nothing, as the probe is under way.
    Probing,
    /// Nothing until then.
    Open(Instant),
}

/// What a passage must show when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    generation: u32,
    /// Whether it is the probe. At most one ticket of a circuit has this.
    pub(super) probe: bool,
}

impl Circuit {
    pub(super) fn gate(&self, now: Instant) -> Gate {
        match self.until {
            None => Gate::Closed,
            Some(until) if now < until => Gate::Open(until),
            Some(_) if self.probing => Gate::Probing,
            Some(_) => Gate::HalfOpen,
        }
    }

    /// Lets one through.
    pub(super) fn enter(&mut self, now: Instant) -> Option<Ticket> {
        let probe = match self.gate(now) {
            Gate::Closed => false,
            Gate::HalfOpen => true,
            Gate::Probing | Gate::Open(_) => return None,
        };
        self.probing |= probe;
        Some(Ticket { generation: self.generation, probe })
    }

    /// Lets one through that nobody may refuse any more. If the circuit is shut, it is of the time before and tells nothing.
    pub(super) fn enter_anyway(&mut self, now: Instant) -> Ticket {
        self.enter(now).unwrap_or(Ticket { generation: self.generation.wrapping_sub(1), probe: false })
    }

    /// Gives the probe's place back; it stays open to the next one.
    pub(super) fn give_back(&mut self, ticket: &mut Ticket) {
        if std::mem::take(&mut ticket.probe) {
            self.probing = false;
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
