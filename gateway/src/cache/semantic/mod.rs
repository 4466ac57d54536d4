//! The semantic cache: a question whose meaning is near enough to that of one that was answered gets that answer.
//!
//! A [`Question`] is the text of the last message; all the rest of the request, its model, its scope and its dialect have to be
//! the same, exactly as for the cache that it stands on: their hash is the *bucket*. A `Space` keeps the vectors of a model's
//! answered questions and names the fingerprint of the nearest; the answer itself lies where all answers lie. Nothing here asks
//! for vectors: an embedding model does, which the proxy asks.

mod question;
mod space;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use question::Question;
pub use space::{Near, Vector};

use space::{Point, Space};

use sha2::{Digest, Sha256};

use super::Fingerprint;

/// Texts whose vectors are known, at most: those that many ask at the same time are turned into vectors once.
const TEXTS: usize = 1024;

/// The answered questions of all models.
pub struct Semantic {
    spaces: Mutex<HashMap<Arc<str>, Arc<RwLock<Space>>>>,
    vectors: quick_cache::sync::Cache<[u8; 32], Arc<Vector>>,
}

impl Default for Semantic {
    fn default() -> Self {
        Self { spaces: Mutex::default(), vectors: quick_cache::sync::Cache::new(TEXTS) }
    }
}

/// Where a question is looked for.
#[derive(Debug, Clone)]
pub struct Place {
    /// The model that is asked, by its name.
    pub model: Arc<str>,
    /// All of the request but the question itself, and who may see the answer.
    pub bucket: Fingerprint,
}

impl Semantic {
    /// The answered question nearest to `vector`, no farther than `within`: cosine distance, 1 less the similarity.
    /// Takes some tenths of a millisecond, not on the caller's thread.
    pub async fn nearest(&self, place: &Place, vector: &Arc<Vector>, within: f32) -> Option<Near> {
        let space = self.space(&place.model);
        let (bucket, vector) = (place.bucket, vector.clone());
        let search = move || {
            let space = space.read().unwrap_or_else(PoisonError::into_inner);
            space.nearest(&bucket, &vector, within, Instant::now())
        };
        tokio::task::spawn_blocking(search).await.ok()?
    }

    /// Remembers for `ttl` that the question has an answer, `most` of a model at most. Returns at once.
    pub fn learn(&self, place: &Place, vector: &Arc<Vector>, answer: Fingerprint, ttl: Duration, most: usize) {
        let Some(until) = Instant::now().checked_add(ttl) else { return };
        let space = self.space(&place.model);
        let point = Point { bucket: place.bucket, answer, until };
        let vector = vector.clone();
        tokio::task::spawn_blocking(move || {
            space.write().unwrap_or_else(PoisonError::into_inner).learn(point, Vector::clone(&vector), most);
        });
    }

    /// The vector that `embedder` gave a text not long ago.
    pub fn known_vector(&self, embedder: &str, text: &str) -> Option<Arc<Vector>> {
        self.vectors.get(&named(embedder, text))
    }

    /// Remembers the vector that `embedder` gave a text.
    pub fn remember_vector(&self, embedder: &str, text: &str, vector: Arc<Vector>) {
        self.vectors.insert(named(embedder, text), vector);
    }

    /// Forgets the question of an answer that is no more.
    pub fn forget(&self, model: &Arc<str>, answer: &Fingerprint) {
        self.space(model).write().unwrap_or_else(PoisonError::into_inner).forget(answer);
    }

    /// Forgets all questions.
    pub fn clear(&self) {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Questions that are remembered.
    pub fn len(&self) -> usize {
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.values().map(|space| space.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn space(&self, model: &Arc<str>) -> Arc<RwLock<Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner).entry(model.clone()).or_default().clone()
    }
}

fn named(embedder: &str, text: &str) -> [u8; 32] {
    let hash = Sha256::new().chain_update((embedder.len() as u64).to_le_bytes());
    hash.chain_update(embedder).chain_update(text).finalize().into()
}
