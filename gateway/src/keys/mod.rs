//! The clients' keys, and what each may do.
//!
//! A [`Key`] is what an exchange holds. A request presents a secret; [`KeyRing::admit`] makes one SHA-256 of it and looks that
//! up in memory: among the keys of the file, then among those made at run time ([`LiveKeys`]). A JWT of a known issuer
//! (`jwt`) becomes a key with the rights of its template. No request asks a store. Keys made at run time are managed through
//! [`RuntimeKeys`], which writes each change to an embedded database before it counts; `grant` sees to it that a key
//! gives no more than it has.

mod bounds;
mod by_hash;
mod error;
mod grant;
mod jwt;
mod key;
mod listed;
mod live;
mod merge;
mod new_key;
mod page;
mod presented;
mod record;
mod ring;
mod runtime;
mod secret;
mod shared;
mod since;
mod store;

pub use error::KeyError;
pub use grant::Maker;
pub use jwt::{KeySets, Tokens, check_jwks};
pub use key::{Flaw, Key, Refused};
pub use listed::Listed;
pub use live::LiveKeys;
pub use new_key::{Bounds, Change, NewKey, duration_field};
pub use page::is_from_page;
pub use presented::presented_key;
pub use ring::{Admission, KeyRing};
pub use runtime::RuntimeKeys;
pub use secret::{hash_line, new_secret};
pub use shared::SharedKeys;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether too many requests without a right key have come from where this one comes from.
pub type Many<'a> = &'a (dyn Fn() -> bool + Sync);

/// Seconds since 1970, as times of keys are kept.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// The end of the year 9999: what comes later cannot be written.
const LAST: u64 = 253_402_300_799;

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(LAST))
}

/// A time of a key as people read it.
fn shown(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(time(seconds)).to_string()
}
