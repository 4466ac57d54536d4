//! What limits know, from one process to the next: no upgrade gives anybody more than was allowed.
//!
//! The process that takes over is given everything that was counted, and what requests under way have reserved
//! ([`Limits::save`], [`Limits::load`]). While the process before it finishes those requests it tells what becomes of them
//! ([`TellingTo`], [`Limits::hear`]), in sums, so that a message may come twice; and is told the same, for what it judges itself:
//! attempts at targets. What else comes to it still, on old connections, it does not let in itself (`elsewhere`). Of a process
//! that is gone nothing stays reserved ([`Limits::forget`]).
//!
//! With `[store]` every process tells the store itself what it books and reserves. The next one goes on under the name that the
//! store knows ([`Limits::take_over`]), and what was booked is handed over all the same: whoever finds that the store has
//! forgotten must know all that was told under that name.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::meter::Meter;
use super::{Kind, Limits, Period, Rule, Subject, What};

/// A subject and all that was counted against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    kind: Kind,
    name: Box<str>,
    meters: Vec<SavedMeter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedMeter {
    rule: Rule,
    /// Until when, and how much.
    booked: Vec<(u64, u64)>,
    reserved: u64,
    warned: u64,
}

/// One limit of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Place {
    kind: Kind,
    name: Box<str>,
    what: What,
    period: Period,
}

/// How one process stands with a limit: what it ever booked, and has reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    booked: u64,
    reserved: u64,
}

/// What a process tells of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    place: Place,
    sums: Sums,
}

/// What was told, by the limit: of the teller what the other side knows, of the hearer what it has counted.
#[derive(Clone, Debug, Default)]
pub struct TellingTo(HashMap<Place, Sums>);

impl TellingTo {
    /// All of it, for a process that hears in this one's place.
    pub fn all(&self) -> Vec<Told> {
        self.0.iter().map(|(place, sums)| Told { place: place.clone(), sums: *sums }).collect()
    }

    /// Takes in what [`Self::all`] gave.
    pub fn extend(&mut self, told: Vec<Told>) {
        self.0.extend(told.into_iter().map(|told| (told.place, told.sums)));
    }
}

impl Limits {
    /// Everything that was counted, and from where this process goes on to tell the one that gets it.
    pub fn save(&self) -> (Vec<Saved>, TellingTo) {
        let now = self.now();
        let mut telling = TellingTo::default();
        let subjects = self.all().into_iter().map(|subject| {
            let counts = self.is_counted_here(subject.kind);
            let mut meters = subject.meters();
            let saved = meters.iter_mut().map(|meter| {
                meter.advance(now);
                telling.0.insert(place(&subject, meter), sums(meter, counts));
                let booked = meter.booked.iter().copied().collect();
                let reserved = if counts { meter.reserved } else { 0 };
                SavedMeter { rule: meter.rule, booked, reserved, warned: meter.warned }
            });
            Saved { kind: subject.kind, name: subject.name.clone(), meters: saved.collect() }
        });
        (subjects.collect(), telling)
    }

    /// Takes over what another process has counted, before anything is counted here: it knows better than a ledger. Its
    /// reservations count as those of processes before this one.
    pub fn load(&self, saved: Vec<Saved>) {
        for Saved { kind, name, meters } in saved {
            if !self.takes_in(kind) {
                continue;
            }
            for saved in meters {
                self.with_meter(kind, &name, saved.rule, |meter| {
                    meter.clear();
                    for (ends, amount) in &saved.booked {
                        meter.count(*ends, *amount);
                    }
                    meter.reserved = meter.reserved.saturating_add(saved.reserved);
                    meter.foreign = meter.foreign.saturating_add(saved.reserved);
                    meter.warned = meter.warned.max(saved.warned);
                });
            }
        }
    }

    /// What has changed since it was told last.
    pub fn tell(&self, telling: &mut TellingTo) -> Vec<Told> {
        self.tell_these(self.all(), telling)
    }

    pub(super) fn tell_these(
        &self,
        subjects: impl IntoIterator<Item = Arc<Subject>>,
        telling: &mut TellingTo,
    ) -> Vec<Told> {
        let mut changed = Vec::new();
        for subject in subjects {
            let counts = self.is_counted_here(subject.kind);
            for meter in subject.meters().iter() {
                let (place, sums) = (place(&subject, meter), sums(meter, counts));
                if telling.0.get(&place).copied().unwrap_or_default() != sums {
                    telling.0.insert(place.clone(), sums);
                    changed.push(Told { place, sums });
                }
            }
        }
        changed
    }

    /// Takes in what another living process tells; `heard` is what was known of it.
    pub fn hear(&self, told: Vec<Told>, heard: &mut TellingTo) {
        let now = self.now();
        for Told { place, sums } in told {
            if !self.takes_in(place.kind) {
                continue;
            }
            let before = heard.0.insert(place.clone(), sums).unwrap_or_default();
            // It goes by the limits of before: what they do not know here counts all the same, and refuses nobody.
            let rule = Rule { what: place.what, period: place.period, limit: u64::MAX, soft: u64::MAX };
            self.with_meter(place.kind, &place.name, rule, |meter| {
                meter.advance(now);
                meter.count(place.period.ends(now), sums.booked.saturating_sub(before.booked));
                meter.shift_foreign(before.reserved, sums.reserved);
            });
            if let Some(subject) = self.find(place.kind, &place.name) {
                subject.freed.notify_waiters();
            }
        }
    }

    /// A process before this one is gone: what it had reserved is free.
    pub fn forget(&self, heard: &mut TellingTo) {
        let all = heard.all().into_iter();
        let gone = all.map(|told| Told { sums: Sums { reserved: 0, ..told.sums }, ..told });
        self.hear(gone.collect(), heard);
    }

    /// The name under which the store keeps what this process has booked, if there is one.
    pub fn instance(&self) -> Option<u64> {
        self.shared.get().map(|shared| shared.instance.name())
    }

    /// Goes on under that name of the process before this one.
    pub fn take_over(&self, instance: u64) {
        if let Some(shared) = self.shared.get() {
            shared.instance.take_over(instance);
        }
    }

    /// Whether no store does.
    pub(super) fn is_counted_here(&self, kind: Kind) -> bool {
        kind == Kind::Target || self.shared.get().is_none()
    }

    /// Whether what a process before this one has booked is this one's, too.
    fn takes_in(&self, kind: Kind) -> bool {
        self.is_counted_here(kind) || self.shared.get().is_some_and(|shared| shared.instance.has_taken_over())
    }

    /// The meter of such a rule; made, and in force for nobody, if there is none.
    fn with_meter(&self, kind: Kind, name: &str, rule: Rule, change: impl FnOnce(&mut Meter)) {
        let subject = self.subject(kind, name);
        let mut meters = subject.meters();
        if let Some(meter) = meters.iter_mut().find(|meter| meter.rule.counts_as(&rule)) {
            return change(meter);
        }
        let mut made = Meter::new(rule);
        made.in_force = false;
        change(&mut made);
        meters.push(made);
    }
}

impl Meter {
    fn shift_foreign(&mut self, before: u64, after: u64) {
        let shift = |value: u64| value.saturating_sub(before).saturating_add(after);
        (self.reserved, self.foreign) = (shift(self.reserved), shift(self.foreign));
    }
}

fn place(subject: &Subject, meter: &Meter) -> Place {
    Place { kind: subject.kind, name: subject.name.clone(), what: meter.rule.what, period: meter.rule.period }
}

/// Those of this process alone. What it has reserved at limits that are not counted here, the store knows.
fn sums(meter: &Meter, counts: bool) -> Sums {
    let reserved = if counts { meter.reserved.saturating_sub(meter.foreign) } else { 0 };
    Sums { booked: meter.ever, reserved }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::shared::Instance;
    use super::super::{Amounts, Claim};
    use super::*;
    use crate::config::RedisConfig;

    const HOUR: Period = Period::Sliding(3_600_000);

    fn limits() -> Arc<Limits> {
        let limits = Arc::new(Limits::new());
        let rule = |what, limit| Rule { what, period: HOUR, limit, soft: limit };
        limits.set(Kind::Key, "bot", &[rule(What::Tokens, 100), rule(What::Requests, 5), rule(What::Concurrent, 2)]);
        limits
    }

    async fn enter(limits: &Arc<Limits>, tokens: u64) -> Option<super::super::Reservation> {
        let subjects = limits.subjects_of(std::iter::once("bot"), None, std::iter::empty(), "m");
        limits.admit(subjects, Claim::request(Amounts { tokens, cost: 0 })).await.ok()
    }

    fn used(limits: &Limits) -> Vec<(u64, u64)> {
        let subject = limits.find(Kind::Key, "bot").unwrap();
        subject.usage(limits.now()).iter().map(|usage| (usage.booked, usage.reserved)).collect()
    }

    fn through_json<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_is_settled_in_the_old_process_counts_in_the_new_one() {
        let old = limits();
        enter(&old, 10).await.unwrap().settle(Amounts { tokens: 30, cost: 0 });
        let stream = enter(&old, 50).await.unwrap();
        let new = limits();
        let (saved, mut telling) = old.save();
        new.load(through_json(&saved));
        let mut heard = TellingTo::default();
        heard.extend(through_json(&telling.all()));
        assert_eq!(used(&new), [(30, 50), (2, 0), (0, 1)]);
        assert!(enter(&new, 21).await.is_none(), "30 are used and 50 reserved over there");
        let other = enter(&new, 20).await.unwrap();
        assert!(enter(&new, 0).await.is_none(), "two at a time");

        // The old one is told of it, too, and echoes nothing.
        let (mut telling_back, mut heard_back) = (TellingTo::default(), TellingTo::default());
        old.hear(through_json(&new.tell(&mut telling_back)), &mut heard_back);
        assert_eq!(used(&old), [(30, 70), (3, 0), (0, 2)]);
        assert!(old.tell(&mut telling).is_empty());

        stream.settle(Amounts { tokens: 40, cost: 0 });
        let told = old.tell(&mut telling);
        new.hear(through_json(&told), &mut heard);
        new.hear(told, &mut heard);
        assert_eq!(used(&new), [(70, 20), (3, 0), (0, 1)]);
        assert!(old.tell(&mut telling).is_empty());

        // A third process takes over from the second.
        let third = limits();
        let (saved, _) = new.save();
        third.load(saved);
        assert_eq!(used(&third), used(&new));
        drop(other);
    }

    /// What is reserved the store knows of each process; what is booked there under their name, both have to know.
    #[tokio::test]
    async fn with_a_store_what_is_booked_goes_on_under_its_name() {
        let shared = || {
            let (limits, redis) = (limits(), RedisConfig::new("redis://127.0.0.1:1", Duration::from_millis(50)));
            let _never_run = limits.share_through(&redis, Instance::passing()).unwrap();
            limits
        };
        let (old, new, other) = (shared(), shared(), shared());
        enter(&old, 10).await.unwrap().settle(Amounts { tokens: 30, cost: 0 });
        let stream = enter(&old, 50).await.unwrap();
        let (saved, mut telling) = old.save();
        other.load(saved.clone());
        assert_eq!(used(&other), [(0, 0), (0, 0), (0, 0)], "it is another instance");
        new.take_over(old.instance().unwrap());
        assert_eq!(new.instance(), old.instance());
        new.load(through_json(&saved));
        assert_eq!(used(&new), [(30, 0), (2, 0), (0, 0)]);
        let mut heard = TellingTo::default();
        heard.extend(telling.all());
        stream.settle(Amounts { tokens: 40, cost: 0 });
        new.hear(old.tell(&mut telling), &mut heard);
        assert_eq!(used(&new), [(70, 0), (2, 0), (0, 0)]);
        let bot = new.find(Kind::Key, "bot").unwrap();
        assert!(bot.meters().iter().all(|meter| meter.unsent == 0 && meter.unsent_reserved == 0), "who booked tells");
    }

    #[tokio::test]
    async fn of_a_process_that_is_gone_nothing_stays_reserved() {
        let (old, new) = (limits(), limits());
        let _stream = enter(&old, 50).await.unwrap();
        let (saved, telling) = old.save();
        new.load(saved);
        let mut heard = TellingTo::default();
        heard.extend(telling.all());
        assert_eq!(used(&new), [(0, 50), (1, 0), (0, 1)]);
        new.forget(&mut heard);
        assert_eq!(used(&new), [(0, 0), (1, 0), (0, 0)]);
    }
}
