//! An exchange's side of limits, budgets and ledger.
//!
//! | file | subject |
//! |---|---|
//! | `admission` | what it is expected to use is reserved before its first attempt; what it has used is booked after the last |
//! | `consumed` | what an attempt consumed, told or estimated, and at whose prices |
//! | `book` | the ledger's records |
//! | `unfinished` | answers that go on being made when the request is over (Responses: `background`) |

pub mod admission;
pub mod book;
pub mod consumed;
pub mod unfinished;

use std::time::Duration;

use ai_gateway_providers::scan::Pieces;

use crate::limits::{Reservation, Standing};
use crate::proxy::request::labels::Labels;
use admission::Expected;
use consumed::Bill;

/// What a request is expected to use, holds for that, and has used.
#[derive(Debug, Default)]
pub struct Account {
    /// What it is expected to use.
    pub expected: Expected,
    /// What it asks for that is billed by the piece.
    pub pieces: Pieces,
    /// How long it has waited for its turn, its body first.
    pub waited: Duration,
    /// What it holds of its limits.
    pub reservation: Option<Reservation>,
    /// The same, when it is over and its answer [goes on](super::Exchange::is_unfinished).
    pub unsettled: Option<Reservation>,
    /// Whether it is remembered that its answer goes on.
    pub is_left: bool,
    /// Whether its answer is among those by which others are expected to be as long.
    pub has_taught: bool,
    /// How the client stands with its limits.
    pub standing: Standing,
    /// What its client says of it for its own accounts.
    pub labels: Option<Box<Labels>>,
    /// What it is in the ledger with, once it is.
    pub bill: Option<Box<Bill>>,
}
