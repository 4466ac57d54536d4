//! The semantic cache: a question whose meaning is near enough to that of one that was answered gets that answer.
//!
//! A [`Question`] is the text of the last message; all the rest of the request, its model, its scope and its dialect have to be
//! the same, exactly as for the cache that it stands on: their hash is the *bucket*. A `Space` keeps the vectors of a model's
//! answered questions and names the fingerprint of the nearest; the answer itself lies where all answers lie. Nothing here asks
//! for vectors: an embedding model does, which the proxy asks.

mod question;
mod space;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Fingerprint, Purge};
use space::Space;

pub use question::Question;
pub use space::{Near, Point, Vector};

/// Texts whose vectors are known, at most: those that many ask at the same time are turned into vectors once.
const TEXTS: usize = 1024;

/// The answered questions of all models.
pub struct Semantic {
    spaces: Mutex<HashMap<Arc<str>, Arc<RwLock<Space>>>>,
    vectors: quick_cache::sync::Cache<[u8; 32], Arc<Vector>>,
    /// Permits to search.
    searches: Arc<Semaphore>,
}

impl Default for Semantic {
    fn default() -> Self {
        let vectors = quick_cache::sync::Cache::new(TEXTS);
        Self { spaces: Mutex::default(), vectors, searches: Arc::new(Semaphore::new(space::SEARCHES)) }
    }
}

/// That a question has an answer. Instances tell each other of it.
#[derive(Debug, Clone)]
pub struct Learnt {
    /// The model that was asked, by its name.
    pub model: Arc<str>,
    /// The question.
    pub point: Point,
    /// Its meaning.
    pub vector: Arc<Vector>,
    /// How many questions of the model are remembered at most.
    pub most: usize,
}

/// Where a question is looked for.
#[derive(Debug, Clone)]
pub struct Place {
    /// The model that is asked, by its name.
    pub model: Arc<str>,
    /// All of the request but the question itself, and who may see the answer.
    pub bucket: Fingerprint,
}

/// Does what takes its time on a thread of its own. A panic is told without its words, which may be of a prompt.
fn blocking<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<Option<T>> {
    spawn_blocking(move || {
        let done = catch_unwind(AssertUnwindSafe(work));
        done.inspect_err(|_| log::error!("the semantic cache could not {what}: it panicked")).ok()
    })
}

impl Semantic {
    /// The answered question nearest to `vector`, no farther than `within`: cosine distance, 1 less the similarity;
    /// of those whose answers last beyond `now`.
    /// Takes some tenths of a millisecond, not on the caller's thread.
    pub async fn nearest(&self, place: &Place, vector: &Arc<Vector>, within: f32, now: SystemTime) -> Option<Near> {
        let space = self.space(&place.model);
        let (bucket, vector) = (place.bucket, vector.clone());
        let permit = self.searches.clone().acquire_owned().await.ok()?;
        let search = move || {
            // A caller that leaves does not end the search.
            let _permit = permit;
            let space = space.read();
            space.nearest(&bucket, &vector, within, now)
        };
        blocking("search", search).await.ok()??
    }

    /// Remembers answered questions. Returns at once; what is returned ends when they can be found.
    pub fn learn(&self, learnt: Vec<Arc<Learnt>>) -> JoinHandle<Option<()>> {
        let learnt: Vec<_> = learnt.into_iter().map(|learnt| (self.space(&learnt.model), learnt)).collect();
        blocking("learn", move || {
            for (space, learnt) in learnt {
                let Learnt { point, vector, most, .. } = &*learnt;
                let mut space = space.write();
                space.learn(point.clone(), Vector::clone(vector), *most);
            }
        })
    }

    /// The vector that `embedder` gave a text not long ago, or else gives to `ask`. Of those who want that of the same text at the
    /// same time only one asks; where it gets none or leaves, the next one does.
    pub async fn vector(
        &self,
        embedder: &str,
        text: &str,
        ask: impl Future<Output = Option<Vector>>,
    ) -> Option<Arc<Vector>> {
        let asked = async { ask.await.map(Arc::new).ok_or(()) };
        self.vectors.get_or_insert_async(&named(embedder, text), asked).await.ok()
    }

    /// Forgets the question of an answer that is no more.
    pub fn forget(&self, model: &Arc<str>, answer: &Fingerprint) {
        self.space(model).write().forget(answer);
    }

    /// Forgets the questions whose answers are purged.
    pub async fn purge(&self, what: &Purge) {
        let spaces = self.spaces.lock().clone();
        let what = what.clone();
        let purged = blocking("forget", move || {
            for (model, space) in spaces {
                space.write().purge(&what, &model);
            }
        });
        let _ = purged.await;
    }

    /// Questions that are remembered.
    pub fn count(&self) -> usize {
        let spaces = self.spaces.lock().clone();
        spaces.values().map(|space| space.read().len()).sum()
    }

    fn space(&self, model: &Arc<str>) -> Arc<RwLock<Space>> {
        self.spaces.lock().entry(model.clone()).or_default().clone()
    }
}

fn named(embedder: &str, text: &str) -> [u8; 32] {
    let hash = Sha256::new().chain_update((embedder.len() as u64).to_le_bytes());
    hash.chain_update(embedder).chain_update(text).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};
    use std::time::Duration;

    use futures::FutureExt;
    use futures::future::join;

    use super::*;
    use crate::cache::Form;

    /// An index takes only so many searches at a time, and refuses the others.
    #[tokio::test(flavor = "multi_thread")]
    async fn any_number_may_search_at_once() {
        let semantic = Arc::new(Semantic::default());
        let until = SystemTime::now() + Duration::from_secs(60);
        let place = Arc::new(Place { model: "m".into(), bucket: Fingerprint([0; 32]) });
        let mut rng = fastrand::Rng::with_seed(1);
        let mut random = || Arc::new(Vector::new((0..64).map(|_| rng.f32() - 0.5).collect()).unwrap());
        let vectors: Vec<_> = (0..200).map(|_| random()).collect();
        let learnt = vectors.iter().enumerate().map(|(answer, vector)| {
            let (bucket, answer) = (place.bucket, Fingerprint([answer as u8; 32]));
            let point = Point { bucket, answer, form: Form::Whole, key: None, tags: Vec::new(), until };
            Arc::new(Learnt { model: place.model.clone(), point, vector: vector.clone(), most: 1000 })
        });
        semantic.learn(learnt.collect()).await.unwrap();
        let searches = vectors.iter().cycle().take(2000).map(|vector| {
            let (semantic, place, vector) = (semantic.clone(), place.clone(), vector.clone());
            tokio::spawn(async move { semantic.nearest(&place, &vector, 0.01, SystemTime::now()).await })
        });
        for (n, search) in searches.collect::<Vec<_>>().into_iter().enumerate() {
            let near = search.await.unwrap();
            assert_eq!(near.map(|near| near.answer), Some(Fingerprint([(n % 200) as u8; 32])));
        }
    }

    #[tokio::test]
    async fn work_that_panics_has_no_result() {
        assert_eq!(blocking("count", || 1).await.unwrap(), Some(1));
        assert_eq!(blocking("count", || -> u8 { panic!("as it shall") }).await.unwrap(), None);
    }

    #[tokio::test]
    async fn one_asks_for_the_vector_of_a_text_and_the_others_wait() {
        let semantic = Semantic::default();
        let vector = || Vector::new(vec![1.0, 0.0]);
        let asked = Cell::new(0);
        // Gives none at first.
        let ask = || async {
            asked.set(asked.get() + 1);
            if asked.get() > 1 { vector() } else { None }
        };
        let mut first = Box::pin(semantic.vector("e", "text", pending()));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(semantic.vector("e", "text", ask()));
        let mut third = Box::pin(semantic.vector("e", "text", ask()));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        let other = semantic.vector("e", "another text", ready(vector()));
        assert!(other.now_or_never().flatten().is_some());
        assert_eq!(asked.get(), 0);

        // The first one leaves and the next one gets none, so that it is the turn of the last one, and nobody's after that.
        drop(first);
        let (second, third) = join(second, third).await;
        let got: Vec<_> = second.iter().chain(&third).map(|vector| Vector::clone(vector)).collect();
        assert_eq!((got, asked.get()), (vec![vector().unwrap()], 2));
        let late = semantic.vector("e", "text", async { panic!("it is known") });
        assert_eq!(late.await.as_deref(), vector().as_ref());
    }
}
