//! What is remembered from one request of a client to its next: state behind tool calls that clients strip, items of translated
//! answers that clients only refer to, and who keeps which answer. Bounded, in memory, and never shared between keys.

mod shelf;
mod unfinished;

use std::sync::Arc;

use ai_gateway_providers::codec::OutputItem;
use ai_gateway_providers::common::TurnMemory;
use parking_lot::Mutex;

use crate::snapshot::{Key, Target};
use shelf::Shelf;
pub use unfinished::{Held, Unfinished};

/// Bytes of reasoning and signatures that are kept.
const TURN_BYTES: u64 = 64 << 20;
/// Bytes of items of answers that are kept.
const ITEM_BYTES: u64 = 64 << 20;
/// What an item takes beside its bytes.
const OVERHEAD: usize = 64;
/// Stored answers whose keeper is remembered.
const STORED_ANSWERS: u64 = 200_000;
/// Unfinished answers of which it is still to be booked what they have used.
const UNFINISHED_ANSWERS: u64 = 10_000;

/// The memory of a gateway.
#[derive(Debug)]
pub struct Continuity {
    /// `None`: two answers were told apart by nothing but what they thought.
    turns: Shelf<Option<Arc<TurnMemory>>>,
    items: Shelf<Arc<str>>,
    stored: Shelf<Keeper>,
    unfinished: Shelf<Arc<Unfinished>>,
    /// The answers that came since another process was given all; `None`: it was not.
    news: Mutex<Option<Vec<Box<str>>>>,
}

/// An answer, by key and id, with provider and credential.
pub type Kept = (Box<str>, Box<str>, Option<u64>);

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

impl Default for Continuity {
    fn default() -> Self {
        Self {
            turns: Shelf::new(TURN_BYTES),
            items: Shelf::new(ITEM_BYTES),
            stored: Shelf::new(STORED_ANSWERS),
            unfinished: Shelf::new(UNFINISHED_ANSWERS),
            news: Mutex::default(),
        }
    }
}

impl Continuity {
    /// Keeps what belongs to the tool calls of an answer to `key`. Of calls that were remembered with something else before, nothing
    /// is certain any more.
    pub fn remember_turn(&self, key: Option<&Key>, memory: TurnMemory) {
        let memory = Arc::new(memory);
        // Calls of one turn share its memory.
        let part = memory.size() / memory.calls.len().max(1);
        for (call, _) in &memory.calls {
            let name = scoped(&owner(key), call);
            self.turns.update(name, |known| {
                let certain = known.is_none_or(|known| known.as_ref() == Some(&memory));
                let (value, weight) = if certain { (Some(memory.clone()), part) } else { (None, OVERHEAD) };
                (value, (call.len() + weight) as u64)
            });
        }
    }

    /// Whether anything is kept that belongs to tool calls of `key`.
    pub fn has_turns(&self, key: Option<&Key>) -> bool {
        self.turns.has_any_of(&owner(key))
    }

    /// What belongs to a tool call of `key`.
    pub fn recall_turn(&self, key: Option<&Key>, call: &str) -> Option<Arc<TurnMemory>> {
        self.turns.get(&scoped(&owner(key), call))?
    }

    /// Keeps the items of an answer to `key`.
    pub fn remember_items(&self, key: Option<&Key>, items: Vec<OutputItem>) {
        for OutputItem { id, json } in items {
            let weight = (id.len() + json.len() + OVERHEAD) as u64;
            self.items.insert(scoped(&owner(key), &id), json.into(), weight);
        }
    }

    /// The same of items that read otherwise for their client than they were kept: those that are kept.
    pub fn correct_items(&self, key: Option<&Key>, mut items: Vec<OutputItem>) {
        items.retain(|item| self.recall_item(key, &item.id).is_some());
        self.remember_items(key, items);
    }

    /// The item `id` of an answer to `key`, without its id.
    pub fn recall_item(&self, key: Option<&Key>, id: &str) -> Option<Arc<str>> {
        self.items.get(&scoped(&owner(key), id))
    }

    /// Notes that `keeper` keeps the answer `id` for `key`.
    pub fn remember_stored(&self, key: Option<&Key>, id: &str, keeper: Keeper) {
        self.stored.insert(scoped(&owner(key), id), keeper, 1);
        if let Some(news) = &mut *self.news.lock() {
            news.push(scoped(&owner(key), id));
        }
    }

    /// Who keeps the answer `id` for `key`.
    pub fn recall_stored(&self, key: Option<&Key>, id: &str) -> Option<Keeper> {
        self.stored.get(&scoped(&owner(key), id))
    }

    /// Notes that the answer `id` for `key` is not finished.
    pub fn leave_unfinished(&self, key: Option<&Key>, id: &str, answer: Arc<Unfinished>) {
        self.unfinished.insert(scoped(&owner(key), id), answer, 1);
    }

    /// What was noted of it, once.
    pub fn take_unfinished(&self, key: Option<&Key>, id: &str) -> Option<Arc<Unfinished>> {
        self.unfinished.remove(&scoped(&owner(key), id))
    }
}

impl Continuity {
    /// Who keeps which answer, for another process, which [`Self::new_answers`] tells the later ones.
    pub fn stored_answers(&self) -> Vec<Kept> {
        *self.news.lock() = Some(Vec::new());
        self.stored.all().into_iter().map(|(answer, keeper)| kept(answer, keeper)).collect()
    }

    /// Those that came since it was asked last.
    pub fn new_answers(&self) -> Vec<Kept> {
        let news = self.news.lock().as_mut().map(std::mem::take).unwrap_or_default();
        news.into_iter().filter_map(|answer| Some(kept(answer.clone(), self.stored.get(&answer)?))).collect()
    }

    /// There is no other process that wants to know.
    pub fn tell_nobody(&self) {
        *self.news.lock() = None;
    }

    /// Takes in what [`Self::stored_answers`] or [`Self::new_answers`] gave.
    pub fn remember_answers(&self, answers: Vec<Kept>) {
        for (answer, provider, credential) in answers {
            self.stored.insert(answer, Keeper { provider: provider.into(), credential }, 1);
        }
    }
}

fn kept(answer: Box<str>, keeper: Keeper) -> Kept {
    (answer, (&*keeper.provider).into(), keeper.credential)
}

/// A key, by more than its name: another one of that name has nothing of what this one made. Keys of the file go by their names alone.
fn owner(key: Option<&Key>) -> String {
    let mut owner = String::new();
    for key in key.into_iter().flat_map(Key::line) {
        // Names have no control characters.
        if !owner.is_empty() {
            owner.push('\u{2}');
        }
        owner.push_str(&key.name);
        if key.made() > 0 {
            owner.push_str(&format!("\u{1}{}", key.made()));
        }
    }
    owner
}

fn scoped(owner: &str, id: &str) -> Box<str> {
    format!("{owner}\0{id}").into()
}

#[cfg(test)]
mod tests {
    use ai_gateway_providers::common::{Block, Content, Reasoning};

    use super::*;
    use crate::config::KeyConfig;

    fn key(name: &str) -> Key {
        Key::new(KeyConfig { name: name.into(), ..KeyConfig::default() })
    }

    /// Of an answer that called a tool.
    fn turn(thought: &'static str) -> TurnMemory {
        let reasoning = Reasoning { text: thought.into(), ..Reasoning::default() };
        let reasoning = vec![Block::new(Content::Reasoning(Box::new(reasoning)))];
        TurnMemory { reasoning, calls: vec![("call_1".to_owned(), None)] }
    }

    #[test]
    fn what_is_not_certain_is_forgotten_for_good() {
        let memory = Continuity::default();
        let key = key("a");
        for (thought, known) in [("one", true), ("one", true), ("two", false), ("two", false)] {
            memory.remember_turn(Some(&key), turn(thought));
            assert!(memory.has_turns(Some(&key)) && !memory.has_turns(None));
            assert_eq!(memory.recall_turn(Some(&key), "call_1"), known.then(|| Arc::new(turn("one"))));
        }
    }

    #[test]
    fn one_key_never_sees_what_another_one_left() {
        let memory = Continuity::default();
        let keeper = Keeper { provider: "openai".into(), credential: Some(7) };
        memory.remember_stored(Some(&key("a")), "resp_1", keeper.clone());
        assert_eq!(memory.recall_stored(Some(&key("a")), "resp_1"), Some(keeper.clone()));
        let next = Continuity::default();
        next.remember_answers(memory.stored_answers());
        assert_eq!(next.recall_stored(Some(&key("a")), "resp_1"), Some(keeper));
        assert_eq!(memory.recall_stored(Some(&key("b")), "resp_1"), None);
        assert_eq!(memory.recall_stored(None, "resp_1"), None);
    }

    #[test]
    fn another_key_of_a_name_has_nothing_of_what_the_one_before_left() {
        let memory = Continuity::default();
        let keeper = Keeper { provider: "openai".into(), credential: None };
        let of = |made| key("a").made_at(made);
        memory.remember_stored(Some(&of(5)), "resp_1", keeper.clone());
        assert_eq!(memory.recall_stored(Some(&of(5)), "resp_1"), Some(keeper));
        assert_eq!(memory.recall_stored(Some(&of(6)), "resp_1"), None);
        memory.remember_turn(Some(&of(5)), turn("because"));
        assert!(memory.recall_turn(Some(&of(5)), "call_1").is_some());
        assert!(memory.recall_turn(Some(&of(6)), "call_1").is_none());
        let made_by = |maker: Key| {
            Key::within(KeyConfig { name: "a".into(), ..KeyConfig::default() }, Some(Arc::new(maker)), true)
        };
        assert_ne!(owner(Some(&made_by(of(5)))), owner(Some(&made_by(of(6)))));
        assert_eq!(owner(Some(&of(0))), "a", "the name of a key of the file is its own");
    }

    #[test]
    fn items_are_kept_for_one_key_and_corrected_only_if_they_are_kept() {
        let memory = Continuity::default();
        let item = |id: &str, json: &str| OutputItem { id: id.into(), json: json.into() };
        memory.remember_items(Some(&key("a")), vec![item("msg_1", "[EMAIL_1]")]);
        assert_eq!(memory.recall_item(Some(&key("b")), "msg_1"), None);
        memory.correct_items(Some(&key("a")), vec![item("msg_1", "ann"), item("msg_2", "bob")]);
        assert_eq!(memory.recall_item(Some(&key("a")), "msg_1").as_deref(), Some("ann"));
        assert_eq!(memory.recall_item(Some(&key("a")), "msg_2"), None, "its request said that nothing is to be kept");
        memory.correct_items(Some(&key("b")), vec![item("msg_1", "bob")]);
        assert_eq!(memory.recall_item(Some(&key("b")), "msg_1"), None);
    }

    #[test]
    fn a_key_with_large_answers_leaves_what_others_have() {
        let memory = Continuity::default();
        let item = |id: String, size| vec![OutputItem { id, json: "x".repeat(size) }];
        memory.remember_items(Some(&key("quiet")), item("msg_1".into(), 100));
        for number in 0..45 {
            memory.remember_items(Some(&key("busy")), item(format!("msg_{number}"), 3 << 20));
        }
        assert!(memory.recall_item(Some(&key("quiet")), "msg_1").is_some());
        assert!(memory.recall_item(Some(&key("busy")), "msg_44").is_some());
        assert!(memory.recall_item(Some(&key("busy")), "msg_0").is_none());
    }

    #[test]
    fn another_process_hears_of_each_answer() {
        let (old, new) = (Continuity::default(), Continuity::default());
        let [openai, azure] = ["openai", "azure"].map(|name| Keeper { provider: name.into(), credential: None });
        old.remember_stored(None, "resp_1", openai.clone());
        assert!(old.new_answers().is_empty(), "nobody wants to know");
        new.remember_answers(old.stored_answers());
        assert!(old.new_answers().is_empty(), "nothing is new");
        old.remember_stored(Some(&key("a")), "resp_2", azure.clone());
        new.remember_answers(old.new_answers());
        assert!(old.new_answers().is_empty(), "it is told once");
        assert_eq!(new.recall_stored(None, "resp_1"), Some(openai.clone()));
        assert_eq!(new.recall_stored(Some(&key("a")), "resp_2"), Some(azure));
        old.tell_nobody();
        old.remember_stored(None, "resp_3", openai.clone());
        assert!(old.new_answers().is_empty());
    }
}
