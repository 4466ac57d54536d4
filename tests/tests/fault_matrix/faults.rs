//! The ways in which a provider fails.

/// What a client is owed in spite of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// Everything, whatever the fault: it is none for this client.
    Answer,
    /// An answer by another target if there is one; an error that says what happened otherwise.
    Rescue,
    /// The same if the answer is not streamed. A stream has begun, and tells that it broke.
    RescueOrTold,
    /// The provider's own words: the caller is to blame, and no other target is asked.
    Refusal,
    /// An answer by another target, which may have a larger window, or the model that is not there; else the provider's own words.
    OtherModel,
    /// Any of these by dialect: an answer, or that it broke.
    Honesty,
}

/// Where a faulty target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At the mock, as a model of this name.
    Mock(&'static str),
    /// The same, with an account of its own for each request: the fault is the account's.
    Account(&'static str),
    /// At an address that refuses connections.
    Refusing,
    /// At an address at which connecting hangs.
    Hanging,
    /// At an address whose certificate nobody vouches for.
    Untrusted,
}

impl At {
    /// Whether it is a clock that ends it.
    pub fn waits(self) -> bool {
        match self {
            At::Hanging => true,
            At::Mock(model) => model.contains("stall") || model.contains("drip-30ms"),
            At::Account(_) | At::Refusing | At::Untrusted => false,
        }
    }
}

/// One row of the table.
pub struct Fault {
    /// What happens, for the table.
    pub name: &'static str,
    /// How.
    pub at: At,
    /// What the client is owed.
    pub owed: Owed,
}

const fn fault(name: &'static str, at: At, owed: Owed) -> Fault {
    Fault { name, at, owed }
}

/// All rows, in the order of the life of an attempt.
pub const FAULTS: &[Fault] = &[
    fault("connection refused", At::Refusing, Owed::Rescue),
    fault("connecting hangs", At::Hanging, Owed::Rescue),
    fault("TLS fails: unknown authority", At::Untrusted, Owed::Rescue),
    fault("closed before the response header", At::Mock("cut-header"), Owed::Rescue),
    fault("no response header", At::Mock("stall-header"), Owed::Rescue),
    fault("bytes that are no HTTP", At::Mock("garbage"), Owed::Rescue),
    fault("401, revoked key", At::Account("status-401"), Owed::Rescue),
    fault("402, no credit", At::Account("status-402"), Owed::Rescue),
    fault("403", At::Account("status-403"), Owed::Rescue),
    fault("404, no such model", At::Account("status-404"), Owed::OtherModel),
    fault("400, the caller's own", At::Mock("status-400"), Owed::Refusal),
    fault("400, context length", At::Mock("context-length"), Owed::OtherModel),
    fault("400, content filter", At::Mock("content-filter"), Owed::Refusal),
    fault("408", At::Mock("status-408"), Owed::Rescue),
    fault("409", At::Mock("status-409"), Owed::Rescue),
    fault("429 with retry-after", At::Mock("status-429-retry-300ms"), Owed::Rescue),
    fault("429 without retry-after", At::Mock("status-429"), Owed::Rescue),
    fault("429, no quota left", At::Mock("insufficient-quota"), Owed::Rescue),
    fault("500", At::Mock("status-500"), Owed::Rescue),
    fault("502", At::Mock("status-502"), Owed::Rescue),
    fault("503", At::Mock("status-503"), Owed::Rescue),
    fault("529", At::Mock("status-529"), Owed::Rescue),
    fault("200, and the first event is an error", At::Mock("error-event-first"), Owed::Rescue),
    fault("200, preamble, then an error event", At::Mock("error-after-preamble"), Owed::Rescue),
    fault("200, no more after the preamble", At::Mock("stall-before-output"), Owed::Rescue),
    fault("200, closed before the first byte of the body", At::Mock("cut-at-byte-0"), Owed::Rescue),
    fault("200, closed after the first byte of the body", At::Mock("cut-at-byte-1"), Owed::Rescue),
    fault("200, closed after the preamble", At::Mock("cut-before-output"), Owed::Rescue),
    fault("200, a body that is no answer", At::Mock("garbage-body"), Owed::Rescue),
    fault("200, framing cut inside a chunk", At::Mock("half-chunk"), Owed::Rescue),
    fault("200, framing that is none", At::Mock("bad-chunk"), Owed::Rescue),
    fault("200, a byte each 30 ms", At::Mock("lorem-20+drip-30ms"), Owed::Rescue),
    fault("200, a byte at a time, quickly", At::Mock("lorem-20+drip-0ms"), Owed::Answer),
    fault("200, error event after 3 chunks", At::Mock("lorem-20+error-after-3"), Owed::RescueOrTold),
    fault("200, closed after 3 chunks", At::Mock("lorem-20+cut-after-3"), Owed::RescueOrTold),
    fault("200, clean end of HTTP after 3 chunks", At::Mock("lorem-20+end-early-after-3"), Owed::RescueOrTold),
    fault("200, no more after 3 chunks", At::Mock("lorem-20+stall-after-3"), Owed::RescueOrTold),
    fault("200, an event that is no JSON after 3 chunks", At::Mock("lorem-20+malformed-after-3"), Owed::Honesty),
    fault("200, whole without its end marker", At::Mock("lorem-20+no-end-marker"), Owed::Honesty),
];

/// Rows of which some cells are known to be wrong, and why. A row that is right must not stand here.
pub const OPEN: &[(&str, &str)] = &[];
