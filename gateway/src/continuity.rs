//! What is remembered from one request of a client to its next: state behind tool calls that clients strip, and which provider keeps
//! which answer. Bounded, in memory, and never shared between keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ai_gateway_providers::common::TurnMemory;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Bytes of reasoning and signatures that are kept; the least used go first.
const TURN_BYTES: u64 = 64 << 20;
/// Stored answers whose provider is remembered.
const STORED_ANSWERS: usize = 200_000;

/// The memory of a gateway.
#[derive(Debug)]
pub struct Continuity {
    turns: Cache<Box<str>, Arc<TurnMemory>, TurnWeight>,
    stored: Cache<Box<str>, Arc<str>>,
    /// The answers that came since another process was given all; `None`: it was not.
    news: Mutex<Option<Vec<Box<str>>>>,
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
        Self {
            turns: Cache::with_weighter(1024, TURN_BYTES, TurnWeight),
            stored: Cache::new(STORED_ANSWERS),
            news: Mutex::default(),
        }
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

    /// Notes that `provider` keeps the answer `id` for `key`.
    pub fn remember_stored(&self, key: Option<&str>, id: &str, provider: Arc<str>) {
        self.stored.insert(scoped(key, id), provider);
        if let Some(news) = &mut *self.news() {
            news.push(scoped(key, id));
        }
    }

    /// The provider that keeps the answer `id` for `key`.
    pub fn recall_stored(&self, key: Option<&str>, id: &str) -> Option<Arc<str>> {
        self.stored.get(&*scoped(key, id))
    }
}

impl Continuity {
    /// Who keeps which answer, for another process, which [`Self::new_answers`] tells the later ones.
    pub fn stored_answers(&self) -> Vec<(Box<str>, Box<str>)> {
        *self.news() = Some(Vec::new());
        self.stored.iter().map(|(answer, provider)| (answer, (&*provider).into())).collect()
    }

    /// Those that came since it was asked last.
    pub fn new_answers(&self) -> Vec<(Box<str>, Box<str>)> {
        let news = self.news().as_mut().map(std::mem::take).unwrap_or_default();
        let known = |answer: Box<str>| self.stored.get(&*answer).map(|provider| (answer, (&*provider).into()));
        news.into_iter().filter_map(known).collect()
    }

    /// There is no other process that wants to know.
    pub fn tell_nobody(&self) {
        *self.news() = None;
    }

    /// Takes in what [`Self::stored_answers`] or [`Self::new_answers`] gave.
    pub fn remember_answers(&self, answers: Vec<(Box<str>, Box<str>)>) {
        for (answer, provider) in answers {
            self.stored.insert(answer, provider.into());
        }
    }

    fn news(&self) -> MutexGuard<'_, Option<Vec<Box<str>>>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
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
        memory.remember_stored(Some("a"), "resp_1", "openai".into());
        assert_eq!(memory.recall_stored(Some("a"), "resp_1").as_deref(), Some("openai"));
        assert_eq!(memory.recall_stored(Some("b"), "resp_1"), None);
        assert_eq!(memory.recall_stored(None, "resp_1"), None);
    }

    #[test]
    fn another_process_hears_of_each_answer() {
        let (old, new) = (Continuity::default(), Continuity::default());
        old.remember_stored(None, "resp_1", "openai".into());
        assert!(old.new_answers().is_empty(), "nobody wants to know");
        new.remember_answers(old.stored_answers());
        assert!(old.new_answers().is_empty(), "nothing is new");
        old.remember_stored(Some("a"), "resp_2", "azure".into());
        new.remember_answers(old.new_answers());
        assert!(old.new_answers().is_empty(), "it is told once");
        assert_eq!(new.recall_stored(None, "resp_1").as_deref(), Some("openai"));
        assert_eq!(new.recall_stored(Some("a"), "resp_2").as_deref(), Some("azure"));
        old.tell_nobody();
        old.remember_stored(None, "resp_3", "openai".into());
        assert!(old.new_answers().is_empty());
    }
}
