//! Traces: a span for each request and one for each of its attempts.
//!
//! Nothing is recorded while a request runs but its place in the trace ([`Context`]) and, of a sampled one, what its span is to
//! tell of the prompt ([`Parameters`], [`Captured`]). When the request is over the proxy makes one [`Record`] of what it knows
//! anyway and puts it into a bounded queue ([`Traces`]); the spans are made of it in the background (`spans`, `content`).

mod content;
mod context;
mod parameters;
mod queue;
mod record;
mod spans;
mod wire;

pub use content::Captured;
pub use context::{Context, trace_id_of};
pub use parameters::Parameters;
pub use queue::Traces;
pub use record::{AttemptRecord, Record};

pub(super) use content::Redactor;
pub(super) use queue::Waiting;
pub(super) use spans::{nanos, spans};
pub(super) use wire::Attributes;
