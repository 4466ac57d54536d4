//! What is known of the targets' health: which may be tried now, which must wait and why, how fast each answers.
//!
//! [`Health`] keeps one [`TargetState`] per provider, upstream model and credential; it outlives reloads, so that a new
//! configuration forgets nothing. Routing asks [`TargetState::check`]; an attempt takes a [`Pass`] with
//! [`TargetState::begin`] and gives it back with a [`Verdict`], or drops it, which says nothing about the target.
//!
//! Three things keep a target from being tried, each with a deadline that only ever moves later:
//!
//! - its **breaker**: failures in a row, or a share of them in a window, open it; it cools down, longer each time, and
//!   then a probe passes, and while that says nothing ever more rarely another one, until one succeeds;
//! - a **hold**: the provider asked to wait (`retry-after`), or limits the rate. That is no failure of the breaker: such
//!   a provider is well, and its answer says when to come back;
//! - its **credential**, shared by all targets of one account: refused (401, 402, 403) for more than one model, it takes no
//!   request but such probes.
//!
//! Nothing here knows a clock or a task: every call is given the time. Locks are short and never nest but in one order,
//! target before credential.

mod budget;
mod circuit;
mod credential;
mod histogram;
mod hold;
mod latency;
mod probe;
mod registry;
mod saved;
mod settings;
mod status;
mod target;
mod verdict;
mod window;

#[cfg(test)]
mod tests;

pub use probe::ProbeSchedule;
pub use registry::Health;
pub use saved::Saved;
pub use settings::Settings;
pub use status::{CredentialStatus, State, TargetStatus};
pub use target::{Pass, TargetState};
pub use verdict::{Availability, Changes, CredentialChange, FailureKind, Reason, TargetChange, Verdict};
