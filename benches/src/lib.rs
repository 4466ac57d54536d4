//! Measuring ai-gateway against a bare Pingora pass-through.
//!
//! The binaries are thin: [`wire`] reads answers off a socket at next to no cost, [`load`] drives a target in a
//! closed loop, at a fixed rate or by holding streams open, [`process`] starts the targets and reads what they cost
//! from `/proc`, and [`compare`] alternates between targets and makes the table that `make bench` prints.
//! [`steady`] is load that must not notice how its target is replaced (`systemd/test.sh`).
//! [`standin`] is the smallest possible upstream, for checking the load generator itself.

pub mod compare;
pub mod load;
pub mod process;
pub mod standin;
pub mod stats;
pub mod steady;
pub mod wire;

/// Any failure of a bench run; benches have nobody to handle kinds of errors differently.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Result of a bench step.
pub type Result<T, E = Error> = std::result::Result<T, E>;
