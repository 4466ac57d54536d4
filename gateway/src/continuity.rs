//! What is remembered from one request of a client to its next: state behind tool calls that clients strip, and who keeps which
//! answer. Bounded, in memory, and never shared between keys.

use std::sync::Arc;

use ai_gateway_providers::common::TurnMemory;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::snapshot::Target;

/// Bytes of reasoning and signatures that are kept; the least used go first.
const TURN_BYTES: u64 = 64 << 20;
/// Stored answers whose keeper is remembered.
const STORED_ANSWERS: usize = 200_000;

/// The memory of a gateway.
#[derive(Debug)]
pub struct Continuity {
    turns: Cache<Box<str>, Arc<TurnMemory>, TurnWeight>,
    stored: Cache<Box<str>, Keeper>,
}

/// Who keeps an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The provider.
    pub provider: Arc<str>,
    /// Which of its credentials, which may be of different accounts; `None`: not known.
    pub credential: Option<u64>,
}

impl Keeper {
    /// Whoever is asked by `target` with its credential number `credential`.
    pub fn of(target: &Target, credential: usize) -> Self {
        let state = target.states.get(credential);
        let credential = state.and_then(|state| state.credential().fingerprint());
        Self { provider: target.provider.name.clone(), credential }
    }

    /// The number of that credential at `target`, if it is known and still there.
    pub fn credential_at(&self, target: &Target) -> Option<usize> {
        let wanted = self.credential?;
        target.states.iter().position(|state| state.credential().fingerprint() == Some(wanted))
    }
}

#[derive(Debug, Clone)]
struct TurnWeight;

impl Weighter<Box<str>, Arc<TurnMemory>> for TurnWeight {
    fn weight(&self, id: &Box<str>, memory: &Arc<TurnMemory>) -> u64 {
        // Calls of one turn share its memory.
        (id.len() + memory.size() / memory.calls.len().max(1)) as u64
    }
}

impl Default for Continuity {
    fn default() -> Self {
        Self { turns: Cache::with_weighter(1024, TURN_BYTES, TurnWeight), stored: Cache::new(STORED_ANSWERS) }
    }
}

impl Continuity {
    /// Keeps what belongs to the tool calls of an answer to `key`.
    pub fn remember_turn(&self, key: Option<&str>, memory: TurnMemory) {
        let memory = Arc::new(memory);
        for (id, _) in &memory.calls {
            self.turns.insert(scoped(key, id), memory.clone());
        }
    }

    /// What belongs to the tool call `id` of `key`.
    pub fn recall_turn(&self, key: Option<&str>, id: &str) -> Option<Arc<TurnMemory>> {
        self.turns.get(&*scoped(key, id))
    }

    /// Notes that `keeper` keeps the answer `id` for `key`.
    pub fn remember_stored(&self, key: Option<&str>, id: &str, keeper: Keeper) {
        self.stored.insert(scoped(key, id), keeper);
    }

    /// Who keeps the answer `id` for `key`.
    pub fn recall_stored(&self, key: Option<&str>, id: &str) -> Option<Keeper> {
        self.stored.get(&*scoped(key, id))
    }
}

impl Continuity {
    /// Who keeps which answer, for another process.
    pub fn stored_answers(&self) -> Vec<(Box<str>, Box<str>, Option<u64>)> {
        self.stored.iter().map(|(answer, keeper)| (answer, (&*keeper.provider).into(), keeper.credential)).collect()
    }

    /// Takes in what [`Self::stored_answers`] gave.
    pub fn remember_answers(&self, answers: Vec<(Box<str>, Box<str>, Option<u64>)>) {
        for (answer, provider, credential) in answers {
            self.stored.insert(answer, Keeper { provider: provider.into(), credential });
        }
    }
}

/// Names of keys have no control characters.
fn scoped(key: Option<&str>, id: &str) -> Box<str> {
    format!("{}\0{id}", key.unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_never_sees_what_another_one_left() {
        let memory = Continuity::default();
        let keeper = Keeper { provider: "openai".into(), credential: Some(7) };
        memory.remember_stored(Some("a"), "resp_1", keeper.clone());
        assert_eq!(memory.recall_stored(Some("a"), "resp_1"), Some(keeper.clone()));
        let next = Continuity::default();
        next.remember_answers(memory.stored_answers());
        assert_eq!(next.recall_stored(Some("a"), "resp_1"), Some(keeper));
        assert_eq!(memory.recall_stored(Some("b"), "resp_1"), None);
        assert_eq!(memory.recall_stored(None, "resp_1"), None);
    }
}
