//! What two processes say to each other. A version that does not know a message passes it over, so that any two versions can
//! follow on each other: what is not understood is not handed over, and the sockets always are.

use serde::{Deserialize, Serialize};

use crate::continuity::Kept;
use crate::{health, limits};

/// Bytes of JSON in a message with a list.
const BATCH: usize = 48 << 10;

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Clients.
    Public,
    /// Health, metrics and the admin API.
    Admin,
}

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

impl Identity {
    /// This process.
    pub fn own() -> Self {
        Self { pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// A message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Message {
    /// From the process that starts the new one, before it ends.
    Started {
        /// The new one's id.
        pid: u32,
    },
    /// To the new process, first: who it takes over from.
    Begin {
        /// Who.
        from: Identity,
    },
    /// A listening socket comes along.
    Listener {
        /// What for.
        role: Role,
        /// The address as configured, which tells it from others.
        configured: String,
        /// Pingora's name of it.
        key: String,
    },
    /// A channel comes along, to a process that finishes its streams still.
    Predecessor {
        /// Who it is.
        who: Identity,
    },
    /// All sockets have come.
    Listeners,
    /// To the new process: how targets are.
    Health {
        /// Some of them.
        targets: Vec<health::Saved>,
    },
    /// To the new process: under which name the store keeps what was booked.
    Instance {
        /// The name.
        name: u64,
    },
    /// To the new process: what limits have counted.
    Limits {
        /// Some of what has limits.
        subjects: Vec<limits::Saved>,
    },
    /// To the new process, also from a process that finishes its streams: who keeps which answer.
    Kept {
        /// Some answers, by key and id, with provider and credential.
        answers: Vec<Kept>,
    },
    /// What a process has booked and reserved.
    Told {
        /// Which one.
        pid: u32,
        /// Of some limits.
        told: Vec<limits::Told>,
    },
    /// From a process that finishes its streams: a request on an old connection wants to be let in.
    Asks {
        /// Which one.
        asked: limits::Asked,
    },
    /// To that process.
    Answers {
        /// Whether it is.
        answered: limits::Answered,
    },
    /// From that process, of a request that was.
    Changes {
        /// Which one.
        id: u64,
        /// What becomes of it.
        change: limits::Change,
    },
    /// To the new process: what is held for requests of one that finishes its streams.
    Holds {
        /// Which one.
        pid: u32,
        /// Some of it.
        held: Vec<limits::Held>,
    },
    /// From the new process: it has built what its configuration says, and can take over.
    Prepared {
        /// Who it is.
        who: Identity,
    },
    /// From the new process: it cannot.
    Failed {
        /// Why, for a person.
        message: String,
    },
    /// To the new process, after all that the old one knew: serve.
    Go,
    /// From the new process: it serves.
    Ready,
    /// From a process that finishes its streams.
    InFlight {
        /// How many requests it still has.
        count: u64,
        /// Whether it hears what is counted here. One of an earlier version does not.
        #[serde(default)]
        listens: bool,
    },
    /// Something of another version.
    #[serde(other)]
    Unknown,
}

/// Cuts a list into parts of which each fits a message.
///
/// # Errors
/// An element cannot be written as JSON.
pub fn batches<T: Serialize>(all: Vec<T>) -> serde_json::Result<Vec<Vec<T>>> {
    let mut batches = Vec::new();
    let (mut batch, mut size) = (Vec::new(), 0);
    for element in all {
        let length = serde_json::to_vec(&element)?.len();
        if size + length > BATCH && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            size = 0;
        }
        size += length;
        batch.push(element);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_to_size_and_nothing_is_left_out() {
        let all: Vec<String> = (0..1000).map(|n| "x".repeat(n)).collect();
        let cut = batches(all.clone()).unwrap();
        assert!(cut.len() > 5 && cut.iter().all(|batch| serde_json::to_vec(batch).unwrap().len() < 64 << 10));
        assert_eq!(cut.concat(), all);
        assert!(batches::<String>(Vec::new()).unwrap().is_empty());
    }
}
