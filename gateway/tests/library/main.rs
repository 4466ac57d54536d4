//! The gateway as a library, and plugins that are written against it. All of it is one test binary; a new subject is a new file.
//!
//! | file | subject |
//! |---|---|
//! | `hooks` | every hook, in every dialect |
//! | `misbehaving` | plugins that fail, panic, sleep, block and flood |
//! | `asks` | plugins that ask a model themselves |
//! | `several` | several gateways in one process |
//! | `reload` | what a reload brings and takes away |
//! | `own` | providers and stores of one's own |
//! | `dialect`, `telegram` | a dialect of one's own |
//! | `clock` | a clock of one's own |
//! | `setup`, `client` | what the others need: gateways that serve, and who asks them |

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod asks;
mod client;
mod clock;
mod dialect;
mod hooks;
mod misbehaving;
mod own;
mod reload;
mod setup;
mod several;
mod telegram;
