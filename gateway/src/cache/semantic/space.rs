//! The vectors of one model's answered questions, and which of them is nearest to another.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::cache::{Fingerprint, Form, Meta, Purge};

/// Questions of one bucket that are compared one by one; more get an index.
const SCANNED: usize = 128;
/// So many may search at once: an index refuses more than it has room for.
pub const SEARCHES: usize = 16;
/// Elements of the longest vector.
const MOST_ELEMENTS: usize = 8192;

/// A vector of length 1: of two of them, the scalar product says how near they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector(Box<[f32]>);

impl Vector {
    /// Brings `elements` to length 1. `None`: they have no direction, or are too many.
    pub fn new(mut elements: Vec<f32>) -> Option<Self> {
        let length = elements.iter().map(|element| element * element).sum::<f32>().sqrt();
        if !length.is_normal() || elements.len() > MOST_ELEMENTS {
            return None;
        }
        elements.iter_mut().for_each(|element| *element /= length);
        Some(Self(elements.into()))
    }

    /// As it is told to other instances.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|element| element.to_le_bytes()).collect()
    }

    /// As another instance tells it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (elements, rest) = bytes.as_chunks();
        if rest.is_empty() {
            Self::new(elements.iter().map(|element| f32::from_le_bytes(*element)).collect())
        } else {
            None
        }
    }

    /// From 0, the same direction, to 2.
    fn distance(&self, other: &Self) -> f32 {
        let product: f32 = self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum();
        (1.0 - product).clamp(0.0, 2.0)
    }
}

/// A question that has an answer.
#[derive(Debug, Clone)]
pub struct Point {
    /// All of its request but the question itself, and who may see the answer.
    pub bucket: Fingerprint,
    /// Its answer.
    pub answer: Fingerprint,
    /// How that is written: there may be other forms of it.
    pub form: Form,
    /// Name of the client's key that got it first, to purge by.
    pub key: Option<Box<str>>,
    /// Tags of the key and the request, to purge by.
    pub tags: Vec<Box<str>>,
    /// Until when it may be used.
    pub until: SystemTime,
}

impl Point {
    /// A question of `bucket` with the answer that is kept as `meta` says.
    pub fn new(bucket: Fingerprint, meta: &Meta) -> Option<Self> {
        let until = meta.created.checked_add(meta.ttl)?;
        let (key, tags) = (meta.key.clone(), meta.tags.clone());
        Some(Self { bucket, answer: meta.fingerprint, form: meta.form, key, tags, until })
    }
}

/// The nearest question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// Its answer.
    pub answer: Fingerprint,
    /// How that is written.
    pub form: Form,
    /// Cosine distance: 1 less the similarity.
    pub distance: f32,
}

/// Answered questions of one model, whose vectors come from one embedding model.
#[derive(Default)]
pub struct Space {
    points: HashMap<u64, Point>,
    /// The oldest first.
    order: VecDeque<u64>,
    by_answer: HashMap<Fingerprint, u64>,
    buckets: HashMap<Fingerprint, Bucket>,
    next: u64,
}

/// Questions that may be answered for each other.
enum Bucket {
    Few(Vec<(u64, Vector)>),
    Many { index: Index, elements: usize },
}

impl Space {
    /// Questions in it.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// The nearest question of `bucket` to `vector`, no farther than `within`.
    pub fn nearest(&self, bucket: &Fingerprint, vector: &Vector, within: f32, now: SystemTime) -> Option<Near> {
        let fresh = |id: u64| self.points.get(&id).filter(|point| point.until > now);
        let near = |id: u64, distance: f32| {
            let point = fresh(id).filter(|_| distance <= within)?;
            Some(Near { answer: point.answer, form: point.form, distance })
        };
        match self.buckets.get(bucket)? {
            Bucket::Few(all) => all
                .iter()
                .filter(|(_, other)| other.0.len() == vector.0.len())
                .filter_map(|(id, other)| near(*id, vector.distance(other)))
                .min_by(|a, b| a.distance.total_cmp(&b.distance)),
            Bucket::Many { index, elements } if *elements == vector.0.len() => {
                let found = index.filtered_search(&vector.0, 1, |id| fresh(id).is_some()).ok()?;
                near(*found.keys.first()?, found.distances.first()?.max(0.0))
            }
            Bucket::Many { .. } => None,
        }
    }

    /// Remembers an answered question; beyond `most` of them the oldest is forgotten.
    pub fn learn(&mut self, point: Point, vector: Vector, most: usize) {
        self.forget(&point.answer);
        while !self.points.is_empty() && self.points.len() >= most {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
        let id = self.next;
        self.next += 1;
        let bucket = self.buckets.entry(point.bucket).or_insert_with(|| Bucket::Few(Vec::new()));
        if bucket.add(id, vector).is_err() {
            return;
        }
        self.by_answer.insert(point.answer, id);
        self.points.insert(id, point);
        self.order.push_back(id);
    }

    /// Forgets the question of an answer that is no more.
    pub fn forget(&mut self, answer: &Fingerprint) {
        if let Some(id) = self.by_answer.get(answer).copied() {
            self.remove(id);
            if self.order.len() > 2 * self.points.len() + SCANNED {
                self.order.retain(|id| self.points.contains_key(id));
            }
        }
    }

    /// Forgets the questions whose answers are purged. `model`: whose they all are.
    pub fn purge(&mut self, what: &Purge, model: &str) {
        let takes = |point: &Point| what.takes_named(&point.answer, point.key.as_deref(), model, &point.tags);
        let purged: Vec<u64> = self.points.iter().filter(|(_, point)| takes(point)).map(|(id, _)| *id).collect();
        if purged.len() == self.points.len() {
            *self = Self::default();
            return;
        }
        purged.into_iter().for_each(|id| self.remove(id));
        self.order.retain(|id| self.points.contains_key(id));
    }

    fn remove(&mut self, id: u64) {
        let Some(point) = self.points.remove(&id) else { return };
        self.by_answer.remove(&point.answer);
        if let Some(bucket) = self.buckets.get_mut(&point.bucket)
            && bucket.remove(id)
        {
            self.buckets.remove(&point.bucket);
        }
    }
}

/// The index could not take it.
struct Full;

impl Bucket {
    fn add(&mut self, id: u64, vector: Vector) -> Result<(), Full> {
        match self {
            Self::Few(all) if all.len() < SCANNED => all.push((id, vector)),
            Self::Few(all) => {
                // Vectors of another length, from an embedding model that has changed, match nothing any more.
                let elements = vector.0.len();
                let index = Index::new(&options(elements)).map_err(|_| Full)?;
                for (id, vector) in all.iter().filter(|(_, vector)| vector.0.len() == elements) {
                    put(&index, *id, vector)?;
                }
                put(&index, id, &vector)?;
                *self = Self::Many { index, elements };
            }
            Self::Many { index, elements } if *elements == vector.0.len() => put(index, id, &vector)?,
            Self::Many { .. } => *self = Self::Few(vec![(id, vector)]),
        }
        Ok(())
    }

    /// Whether nothing is left in it.
    fn remove(&mut self, id: u64) -> bool {
        match self {
            Self::Few(all) => {
                all.retain(|(other, _)| *other != id);
                all.is_empty()
            }
            Self::Many { index, .. } => {
                let _ = index.remove(id);
                index.size() == 0
            }
        }
    }
}

fn options(dimensions: usize) -> IndexOptions {
    IndexOptions { dimensions, metric: MetricKind::Cos, quantization: ScalarKind::F32, ..IndexOptions::default() }
}

fn put(index: &Index, id: u64, vector: &Vector) -> Result<(), Full> {
    if index.size() == index.capacity() {
        let capacity = (index.capacity() * 2).max(2 * SCANNED);
        index.reserve_capacity_and_threads(capacity, SEARCHES).map_err(|_| Full)?;
    }
    index.add(id, &vector.0).map_err(|_| Full)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn print(name: u64) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&name.to_le_bytes());
        Fingerprint(bytes)
    }

    fn random(random: &mut fastrand::Rng) -> Vector {
        Vector::new((0..64).map(|_| random.f32() - 0.5).collect()).unwrap()
    }

    fn point(bucket: u64, answer: u64, until: SystemTime) -> Point {
        let (key, tags) = (Some("bot".into()), vec![if answer.is_multiple_of(2) { "even" } else { "odd" }.into()]);
        Point { bucket: print(bucket), answer: print(answer), form: Form::Whole, key, tags, until }
    }

    #[test]
    fn vectors_have_a_direction() {
        assert_eq!(*Vector::new(vec![3.0, 4.0]).unwrap().0, [0.6, 0.8]);
        for bad in [vec![], vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![f32::INFINITY], vec![f32::MAX, f32::MAX]] {
            assert_eq!(Vector::new(bad), None);
        }
    }

    /// What a plain search over all finds, in a bucket of any size, through additions and removals.
    #[test]
    fn finds_the_nearest() {
        let now = SystemTime::now();
        let later = now + Duration::from_secs(60);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut space = Space::default();
        let mut all = Vec::new();
        let mut missed = 0;
        for answer in 0..600 {
            let vector = random(&mut rng);
            space.learn(point(1, answer, later), vector.clone(), 1000);
            all.push((answer, vector));
            if answer % 5 == 4 {
                let (gone, _) = all.swap_remove(rng.usize(..all.len()));
                space.forget(&print(gone));
                assert_eq!(space.points.len(), all.len());
            }
            let asked = random(&mut rng);
            let best = all.iter().min_by(|a, b| asked.distance(&a.1).total_cmp(&asked.distance(&b.1))).unwrap();
            let found = space.nearest(&print(1), &asked, 2.0, now).unwrap();
            assert!(all.iter().any(|(answer, _)| print(*answer) == found.answer));
            missed += u32::from(found.answer != print(best.0));
            let itself = space.nearest(&print(1), &best.1, 0.001, now).unwrap();
            assert_eq!(itself.answer, print(best.0));
        }
        // An index is approximate.
        assert!(missed < 30, "{missed} of 600");
    }

    #[test]
    fn buckets_and_time_are_kept_apart() {
        let now = SystemTime::now();
        let mut space = Space::default();
        let vector = Vector::new(vec![1.0, 0.0]).unwrap();
        space.learn(point(1, 10, now + Duration::from_secs(5)), vector.clone(), 10);
        assert_eq!(space.nearest(&print(2), &vector, 2.0, now), None);
        assert_eq!(
            space.nearest(&print(1), &vector, 0.1, now),
            Some(Near { answer: print(10), form: Form::Whole, distance: 0.0 })
        );
        assert_eq!(space.nearest(&print(1), &vector, 0.1, now + Duration::from_secs(5)), None);
        let across = Vector::new(vec![0.0, 1.0]).unwrap();
        assert_eq!(space.nearest(&print(1), &across, 0.9, now), None);
        assert_eq!(space.nearest(&print(1), &Vector::new(vec![1.0]).unwrap(), 2.0, now), None);
    }

    /// However many of those that are nearer are past their time.
    #[test]
    fn old_questions_hide_no_fresh_one() {
        let now = SystemTime::now();
        let mut rng = fastrand::Rng::with_seed(9);
        let asked = random(&mut rng);
        let beside = |by: f32| {
            let mut elements = asked.0.to_vec();
            elements[0] += by;
            Vector::new(elements).unwrap()
        };
        for old in [10, 500] {
            let mut space = Space::default();
            for answer in 0..150 {
                space.learn(point(1, answer, now + Duration::from_secs(60)), random(&mut rng), 10_000);
            }
            for answer in 0..old {
                space.learn(point(1, 1000 + answer, now), beside(0.0001 * answer as f32), 10_000);
            }
            space.learn(point(1, 999, now + Duration::from_secs(1)), beside(0.1), 10_000);
            let found = space.nearest(&print(1), &asked, 0.1, now).unwrap();
            assert_eq!(found.answer, print(999), "{old}");
        }
    }

    #[test]
    fn what_is_purged_is_forgotten() {
        let later = SystemTime::now() + Duration::from_secs(60);
        let mut rng = fastrand::Rng::with_seed(5);
        let mut space = Space::default();
        for (purge, left) in [
            (Purge::Fingerprint(print(7)), 399),
            (Purge::Tag("even".into()), 200),
            (Purge::Key("other".into()), 400),
            (Purge::Key("bot".into()), 0),
            (Purge::Model("n".into()), 400),
            (Purge::Model("m".into()), 0),
            (Purge::All, 0),
        ] {
            for answer in 0..400 {
                space.learn(point(answer % 2, answer, later), random(&mut rng), 1000);
            }
            space.purge(&purge, "m");
            assert_eq!((space.len(), space.by_answer.len(), space.order.len()), (left, left, left), "{purge:?}");
            assert_eq!(space.buckets.is_empty(), left == 0, "{purge:?}");
        }
    }

    #[test]
    fn vectors_are_told_as_they_are() {
        let vector = random(&mut fastrand::Rng::with_seed(1));
        let told = Vector::from_bytes(&vector.to_bytes()).unwrap();
        assert!(vector.distance(&told) < 1e-6);
        for bad in [&[][..], &[0; 4], &[0; 5], &[1, 2, 3]] {
            assert_eq!(Vector::from_bytes(bad), None);
        }
    }

    #[test]
    fn the_oldest_give_way() {
        let later = SystemTime::now() + Duration::from_secs(60);
        let mut rng = fastrand::Rng::with_seed(3);
        let mut space = Space::default();
        for answer in 0..1000 {
            space.learn(point(answer % 3, answer, later), random(&mut rng), 300);
            space.forget(&print(answer / 2));
            assert!(space.points.len() <= 300 && space.order.len() <= 2 * space.points.len() + SCANNED + 1);
        }
        assert_eq!(space.by_answer.len(), space.points.len());
        let held: usize = space
            .buckets
            .values()
            .map(|bucket| match bucket {
                Bucket::Few(all) => all.len(),
                Bucket::Many { index, .. } => index.size(),
            })
            .sum();
        assert_eq!(held, space.points.len());
    }
}
