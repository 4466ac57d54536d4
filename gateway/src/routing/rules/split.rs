//! The draw of a side: the same one for the same user, in every process and after every restart.
//!
//! A ticket is the first 64 bits of the SHA-256 of the route's name, what is kept to one side (`user`, `session`, `key`) and
//! its value, each followed by a zero byte, scaled to a millionth of all. The sides take their shares in the order of the
//! file, so that a canary that grows moves only those users that it takes from its neighbour.

use sha2::{Digest, Sha256};

use super::Facts;
use crate::config::SplitBy;

/// All tickets.
pub const WHOLE: u32 = 1_000_000;

/// A number below a million: fixed for who is asking, or at random where that is not known.
pub fn ticket(route: &str, by: SplitBy, facts: &Facts<'_>, random: &mut impl FnMut(u64) -> u64) -> u32 {
    let value = match by {
        SplitBy::User => facts.body().user.as_deref(),
        SplitBy::Session => facts.session(),
        SplitBy::Key => facts.asked.key.map(|key| &*key.name),
        SplitBy::Request => None,
    };
    match value {
        Some(value) => hashed(route, by.as_str(), value),
        None => u32::try_from(random(u64::from(WHOLE))).unwrap_or_default(),
    }
}

fn hashed(route: &str, by: &str, value: &str) -> u32 {
    let mut hasher = Sha256::new();
    for part in [route, by, value] {
        hasher.update(part);
        hasher.update([0]);
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hasher.finalize());
    let scaled = (u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h])) * u128::from(WHOLE)) >> 64;
    u32::try_from(scaled).unwrap_or_default()
}

/// Whose ticket it is.
pub fn side<T>(sides: &[(T, u32)], ticket: u32) -> Option<&T> {
    let mut end = 0_u32;
    let drawn = sides.iter().find(|(_, share)| {
        end = end.saturating_add(*share);
        ticket < end
    });
    drawn.map(|(side, _)| side)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These never change: whoever was on one side of an experiment stays there.
    #[test]
    fn golden_tickets() {
        let tickets = ["alice", "bob", ""].map(|user| hashed("canary", "user", user));
        assert_eq!(tickets, [6_690, 971_238, 841_589]);
        assert_ne!(hashed("canary", "user", "alice"), hashed("other", "user", "alice"), "routes draw independently");
        assert_ne!(hashed("canary", "user", "alice"), hashed("canary", "session", "alice"));
    }

    #[test]
    fn shares_are_met_within_a_percent() {
        let sides = [("old", 950_000), ("new", 50_000)];
        let drawn = |user: u32| *side(&sides, hashed("canary", "user", &format!("user-{user}"))).unwrap();
        let new = (0..100_000).filter(|user| drawn(*user) == "new").count();
        assert!((4_000..6_000).contains(&new), "{new}");
        let mut random = fastrand::Rng::with_seed(7);
        let new = (0..100_000).filter(|_| *side(&sides, random.u32(..WHOLE)).unwrap() == "new").count();
        assert!((4_000..6_000).contains(&new), "{new}");
    }

    #[test]
    fn a_canary_that_grows_moves_nobody_back() {
        for user in 0..1_000 {
            let ticket = hashed("canary", "user", &user.to_string());
            let small = *side(&[("old", 950_000), ("new", 50_000)], ticket).unwrap();
            let large = *side(&[("old", 500_000), ("new", 500_000)], ticket).unwrap();
            assert!(small == "old" || large == "new");
        }
    }

    #[test]
    fn every_ticket_has_a_side() {
        let sides = [("none", 0), ("a", 1), ("b", 999_999)];
        assert_eq!([0, 1, 999_999].map(|ticket| *side(&sides, ticket).unwrap()), ["a", "b", "b"]);
    }
}
