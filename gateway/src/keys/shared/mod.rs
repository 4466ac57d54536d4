//! Keys made at run time, the same at all instances that share a Redis (`[store] redis` beside `path`).
//!
//! Each instance keeps all keys in its own file and in memory, and goes by those alone: no request asks the Redis, and an
//! instance that cannot reach it goes on with what it knows, also over a restart. [`SharedKeys`] runs beside the requests: it tells
//! the Redis what was changed here, and asks it four times a second what was changed elsewhere. An account of a key is all of
//! it, with the time of the last change of each part: the later one wins, part by part (`Entry::over`), also when both
//! were made while the Redis was out of reach. That a key was deleted wins over every change of it, and is remembered for a year. When
//! the Redis is there again, or has lost its memory, both sides tell what the other lacks.
//!
//! What lies there of a secret is its SHA-256. Who can write to the Redis can make keys: give it a password.

mod entry;
mod outbox;
mod sync;

pub(super) use entry::{Entry, Parts, Rank};
pub(super) use outbox::Outbox;
pub use sync::SharedKeys;

#[cfg(test)]
mod tests;
