//! Who comes again and again without a right key: `limits.wrong_keys`.
//!
//! Counted with `pingora-limits`: there are as many addresses as an attacker has, a sketch of them stays 64 KiB, and it may be
//! wrong here. It never counts too few; of two addresses that it takes for one, a wrong key of either hears "too many" instead
//! of "not valid", and a token that has not been seen yet has to wait. Whoever has a right key is never refused by it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;
use pingora_limits::rate::Rate as Sketch;

use crate::config::Rate;

/// Counts requests without a right key by the address that they come from.
pub struct Strangers {
    rate: Rate,
    /// Behind a lock, which only wrong keys and new tokens take: 0.9.1 takes the time before it looks when the interval began,
    /// and panics, where sums are checked, if another thread begins one in between.
    sketch: Mutex<Sketch>,
}

impl Strangers {
    /// So many in a time are let through to be told what is wrong with their keys.
    pub fn new(rate: Rate) -> Self {
        Self { rate, sketch: Mutex::new(Sketch::new(rate.per)) }
    }

    /// How many.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts a request without a right key. Says whether it is one too many.
    pub fn count(&self, address: IpAddr) -> bool {
        self.observe(address, 1) > self.rate.count
    }

    /// Whether the next one would be one too many.
    pub fn are_many(&self, address: IpAddr) -> bool {
        self.observe(address, 0) >= self.rate.count
    }

    fn observe(&self, address: IpAddr, more: isize) -> u64 {
        let seen = self.sketch.lock().observe(&who(address), more);
        u64::try_from(seen).unwrap_or(0)
    }
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strangers").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// One customer of a provider has a whole /64 of IPv6.
fn who(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn strangers(count: u64) -> Strangers {
        Strangers::new(Rate { count, per: Duration::from_secs(3_600) })
    }

    #[test]
    fn each_address_has_its_own_few() {
        let strangers = strangers(3);
        let [one, other]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        assert_eq!([(); 5].map(|()| strangers.count(one)), [false, false, false, true, true]);
        assert!(strangers.are_many(one) && !strangers.are_many(other));
        assert!(!strangers.count(other));
        assert!(!strangers.are_many(other), "looking counts nothing");
    }

    #[test]
    fn a_network_is_one_address_and_v4_is_v4() {
        let same = |a: &str, b: &str| who(a.parse().unwrap()) == who(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8:0:0:ffff::2") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }

    /// Many threads across the ends of intervals: what the lock is for.
    #[test]
    fn new_intervals_harm_nobody() {
        let strangers = Strangers::new(Rate { count: 3, per: Duration::from_secs(1) });
        let begun = std::time::Instant::now();
        let passed = std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3_u8].map(|thread| {
                let strangers = &strangers;
                scope.spawn(move || {
                    let mut passed = 0;
                    while begun.elapsed() < Duration::from_millis(2_200) {
                        passed += u64::from(!strangers.count([192, 0, 2, thread].into()));
                    }
                    passed
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        // An interval lasts a second at least. Addresses that are taken for one have the three of it together.
        let intervals = begun.elapsed().as_secs() + 1;
        assert!(passed.iter().all(|passed| *passed <= 3 * intervals), "{passed:?} in {intervals}");
        assert!(passed.iter().sum::<u64>() >= 6, "a new interval has room again: {passed:?}");
    }
}
