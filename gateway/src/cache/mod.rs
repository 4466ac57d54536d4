//! Answers that are kept, and calls that are shared by all who ask the same at the same time.
//!
//! A request that may use the cache comes with its [`Terms`]: the [`Fingerprint`] of what it asks, and what its model, its key
//! and it itself allow. A call under way is a fill, which any number of clients follow; a finished answer is an [`Entry`], which
//! memory keeps and the [`Tier`]s below it may keep for longer. Nothing here knows of sessions: who serves an answer to a
//! client is the proxy.

mod entry;
pub mod semantic;
mod terms;
mod tier;

pub use entry::{Entry, Form, Meta};
pub use terms::{Fingerprint, Payer, Terms, Verdict};
pub use tier::{Purge, Tier, TierError};
