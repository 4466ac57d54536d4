//! Once another process serves in this one's place, that one lets requests in: all that was counted is there, and no two
//! processes give away what is left once each.
//!
//! This process asks it over their channel ([`Questions`]), and counts nothing of such a request itself: the other one holds the
//! [`Reservation`] ([`HeldFor`]), and is told what becomes of it. If it does not answer, this process decides by itself again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::meter::{Amounts, Claim, Meter, Rule, What};
use super::subject::{Place, places};
use super::{Kind, Limits, Refusal, Refused, Reservation, Standing, Subject};

/// Longest wait for an answer; who does not give one is not asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request that wants to be let in, to the process that decides.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    id: u64,
    subjects: Vec<Name>,
    claim: Claim,
}

type Name = (Kind, Box<str>);

/// What that process says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answered {
    id: u64,
    standing: Standing,
    refused: Option<RefusedBy>,
}

/// A [`Refused`], by name.
#[derive(Debug, Serialize, Deserialize)]
struct RefusedBy {
    subject: Name,
    rule: Rule,
    until: u64,
    is_held: bool,
}

/// What becomes of a reservation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// [`Reservation::make_room`].
    MakeRoom,
    /// [`Reservation::outlast`].
    Outlast(Amounts),
    /// [`Reservation::settle`].
    Settle(Amounts),
}

/// What the other process is to be told.
#[derive(Debug)]
pub enum Said {
    /// A request wants to be let in.
    Asked(Asked),
    /// Something becomes of one that was.
    Changed(u64, Change),
}

/// The process that decides, as requests see it.
#[derive(Debug)]
pub(super) struct Elsewhere {
    next: AtomicU64,
    say: mpsc::Sender<Said>,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiting {
    limits: Arc<Limits>,
    subjects: Vec<Arc<Subject>>,
    claim: Claim,
    answer: oneshot::Sender<Result<Reservation, Box<Refusal>>>,
}

/// What the other process holds for a request of this one.
#[derive(Debug)]
pub(super) struct HeldElsewhere {
    id: u64,
    elsewhere: Arc<Elsewhere>,
    /// Who may wait here for what it gives back.
    subjects: Vec<Arc<Subject>>,
}

impl HeldElsewhere {
    pub(super) fn change(&self, change: Change) {
        self.elsewhere.say(Said::Changed(self.id, change));
        self.subjects.iter().for_each(|subject| subject.freed.notify_waiters());
    }
}

impl Elsewhere {
    /// Whether anybody listens.
    fn say(&self, said: Said) -> bool {
        self.say.send(said).is_ok()
    }

    /// `None`: nobody answers.
    async fn admit(
        self: &Arc<Self>,
        limits: &Arc<Limits>,
        places: &[Place],
        claim: Claim,
    ) -> Option<Result<Reservation, Box<Refusal>>> {
        let id = self.next.fetch_add(1, Relaxed);
        let subjects: Vec<_> = places.iter().map(|place| place.subject.clone()).collect();
        let names = subjects.iter().map(|subject| name(subject)).collect();
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(id, Waiting { limits: limits.clone(), subjects, claim, answer });
        if self.say(Said::Asked(Asked { id, subjects: names, claim }))
            && let Ok(Ok(verdict)) = timeout(PATIENCE, answered).await
        {
            return Some(verdict);
        }
        self.waiting.lock().remove(&id);
        None
    }
}

/// What this process has to say to the one that serves in its place. As long as there is somebody to whom it is passed on, that
/// process lets requests in.
#[derive(Debug)]
pub struct Questions {
    limits: Arc<Limits>,
    elsewhere: Arc<Elsewhere>,
    said: Mutex<Option<mpsc::Receiver<Said>>>,
}

impl Questions {
    /// What is to be passed on next, if there is something `within` that time. Blocks.
    pub fn next(&self, within: Duration) -> Option<Said> {
        if let Some(said) = self.said.lock().as_ref() {
            return said.recv_timeout(within).ok();
        }
        std::thread::sleep(within);
        None
    }

    /// Whether the answer is waited for still.
    pub fn awaits(&self, asked: &Asked) -> bool {
        self.elsewhere.waiting.lock().contains_key(&asked.id)
    }

    /// The other process has answered.
    pub fn answer(&self, answered: Answered) {
        let Answered { id, standing, refused } = answered;
        let waiting = self.elsewhere.waiting.lock().remove(&id);
        let Some(Waiting { limits, subjects, claim, answer }) = waiting else {
            if refused.is_none() {
                self.elsewhere.say(Said::Changed(id, Change::Settle(Amounts::default())));
            }
            return;
        };
        let verdict = match refused {
            None => {
                let there = HeldElsewhere { id, elsewhere: self.elsewhere.clone(), subjects };
                Ok(Reservation::elsewhere(limits, there, claim, standing))
            }
            Some(RefusedBy { subject: (kind, name), rule, until, is_held }) => {
                let refused = Refused { subject: limits.subject(kind, &name), rule, until, is_held };
                Err(Box::new(Refusal { refused, standing }))
            }
        };
        // A client that has left meanwhile gives back what is held for it.
        drop(answer.send(verdict));
    }

    /// The other process serves: it is asked from now on, also if it has let somebody wait too long meanwhile.
    pub fn open(&self) {
        let said = self.said.lock();
        if said.is_some() {
            self.limits.elsewhere.store(Some(self.elsewhere.clone()));
        }
    }

    /// Nobody listens any more: this process decides by itself.
    pub fn close(&self) {
        self.said.lock().take();
        self.limits.decide_without(&self.elsewhere);
        // Who asks from here on is not heard.
        self.elsewhere.waiting.lock().clear();
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.close();
    }
}

impl Limits {
    /// Another process is about to decide in this one's place: from now on requests wait for its answers.
    pub fn ask_elsewhere(self: &Arc<Self>) -> Questions {
        let (say, said) = mpsc::channel();
        let elsewhere = Arc::new(Elsewhere { next: AtomicU64::new(0), say, waiting: Mutex::default() });
        self.elsewhere.store(Some(elsewhere.clone()));
        Questions { limits: self.clone(), elsewhere, said: Mutex::new(Some(said)) }
    }

    /// Lets a request in by what is counted without the store: here, or where another process decides.
    pub(super) async fn admit_without_store(
        self: &Arc<Self>,
        places: Vec<Place>,
        claim: Claim,
    ) -> Result<Reservation, Box<Refusal>> {
        if !places.is_empty()
            && let Some(elsewhere) = self.elsewhere.load_full()
        {
            if let Some(verdict) = elsewhere.admit(self, &places, claim).await {
                return verdict;
            }
            self.decide_without(&elsewhere);
        }
        self.enter(places, claim, Some(self.share()), self.now())
    }

    fn decide_without(&self, elsewhere: &Arc<Elsewhere>) {
        let asked = self.elsewhere.load();
        if asked.as_ref().is_some_and(|asked| Arc::ptr_eq(asked, elsewhere)) {
            self.elsewhere.compare_and_swap(&*asked, None);
        }
    }

    /// Decides on a request of another process.
    pub fn answer(self: &Arc<Self>, asked: Asked, held: &mut HeldFor) -> Answered {
        let Asked { id, subjects, claim } = asked;
        let subjects = subjects.into_iter().map(|(kind, name)| self.subject(kind, &name));
        match self.enter(places(subjects.collect()), claim, Some(self.share()), self.now()) {
            Ok(reservation) => {
                let standing = reservation.standing;
                held.0.insert(id, reservation);
                Answered { id, standing, refused: None }
            }
            Err(refusal) => {
                let Refusal { refused: Refused { subject, rule, until, is_held }, standing } = *refusal;
                let refused = Some(RefusedBy { subject: name(&subject), rule, until, is_held });
                Answered { id, standing, refused }
            }
        }
    }

    /// How this process stands with what that request is about, as far as `telling` does not say so already.
    pub fn tell_of(&self, asked: &Asked, telling: &mut super::TellingTo) -> Vec<super::Told> {
        let subjects = asked.subjects.iter().filter_map(|(kind, name)| self.find(*kind, name));
        self.tell_these(subjects, telling)
    }
}

/// What this process holds for requests of another one. When it is dropped, all of it is given back.
#[derive(Debug, Default)]
pub struct HeldFor(HashMap<u64, Reservation>);

/// One of them, for a process that goes on holding it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    id: u64,
    subjects: Vec<Name>,
    claim: Claim,
    is_over: bool,
}

impl HeldFor {
    /// The other process says what becomes of one.
    pub fn change(&mut self, id: u64, change: Change) {
        match change {
            Change::MakeRoom => self.0.get_mut(&id).into_iter().for_each(Reservation::make_room),
            Change::Outlast(beside) => self.0.get_mut(&id).into_iter().for_each(|held| held.outlast(beside)),
            Change::Settle(used) => self.0.remove(&id).into_iter().for_each(|held| held.settle(used)),
        }
    }

    /// All of them, which from now on count as another process's ([`Meter::foreign`]).
    pub fn give(&self) -> Vec<Held> {
        self.0.iter().map(|(id, held)| held.give(*id)).collect()
    }

    /// Nobody has taken them.
    pub fn keep(&self) {
        self.0.values().for_each(Reservation::own);
    }

    /// Takes over what another process has [given](Self::give), after what its limits have counted.
    pub fn take(&mut self, limits: &Arc<Limits>, held: Vec<Held>) {
        for Held { id, subjects, claim, is_over } in held {
            // What a store counts is another process's there.
            let here = subjects.iter().filter(|(kind, _)| limits.is_counted_here(*kind));
            let mut places = places(here.map(|(kind, name)| limits.subject(*kind, name)).collect());
            for place in &mut places {
                place.meters = place.subject.meters().len();
            }
            let reservation = Reservation::held(limits.clone(), places, claim, is_over);
            reservation.own();
            self.0.insert(id, reservation);
        }
    }
}

impl Reservation {
    fn give(&self, id: u64) -> Held {
        self.each_reserved(|meter, amount| meter.foreign = meter.foreign.saturating_add(amount));
        let subjects = self.places.iter().map(|place| name(&place.subject)).collect();
        Held { id, subjects, claim: self.claim, is_over: self.is_over }
    }

    fn own(&self) {
        self.each_reserved(|meter, amount| meter.foreign = meter.foreign.saturating_sub(amount));
    }

    /// The meters at which it has reserved something, and how much.
    fn each_reserved(&self, change: impl Fn(&mut Meter, u64)) {
        for Place { subject, meters } in &self.places {
            for meter in subject.meters().iter_mut().take(*meters) {
                let what = meter.rule.what;
                if what != What::Requests && (what == What::Cost || !self.is_over) {
                    change(meter, self.claim.of(what));
                }
            }
        }
    }
}

fn name(subject: &Subject) -> Name {
    (subject.kind, subject.name.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
    use std::thread;

    use super::super::{Period, TellingTo};
    use super::*;

    fn limits() -> Arc<Limits> {
        let limits = Arc::new(Limits::new());
        let rule = |what, limit| Rule { what, period: Period::Sliding(3_600_000), limit, soft: limit };
        limits.set(Kind::Key, "bot", &[rule(What::Tokens, 100), rule(What::Requests, 5), rule(What::Concurrent, 3)]);
        limits
    }

    async fn enter(limits: &Arc<Limits>, tokens: u64) -> Result<Reservation, Box<Refusal>> {
        let subjects = limits.subjects_of(std::iter::once("bot"), None, std::iter::empty(), "m");
        limits.admit(subjects, Claim::request(Amounts { tokens, cost: 0 })).await
    }

    fn used(limits: &Limits) -> Vec<(u64, u64)> {
        let subject = limits.find(Kind::Key, "bot").unwrap();
        subject.usage(limits.now()).iter().map(|usage| (usage.booked, usage.reserved)).collect()
    }

    /// Passes on what is said, until all is.
    fn pass_on(questions: &Questions, to: &Arc<Limits>, held: &mut HeldFor, all: &AtomicBool) {
        loop {
            let last = all.load(Acquire);
            match questions.next(Duration::from_millis(5)) {
                Some(Said::Asked(asked)) => questions.answer(to.answer(asked, held)),
                Some(Said::Changed(id, change)) => held.change(id, change),
                None if last => return,
                None => {}
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_decides_holds_what_is_reserved_until_its_end() {
        let (old, new) = (limits(), limits());
        let (questions, all) = (Arc::new(old.ask_elsewhere()), Arc::new(AtomicBool::new(false)));
        let passing = {
            let (questions, new, all) = (questions.clone(), new.clone(), all.clone());
            thread::spawn(move || {
                let mut held = HeldFor::default();
                pass_on(&questions, &new, &mut held, &all);
                held
            })
        };
        let mut long = enter(&old, 40).await.unwrap();
        let short = enter(&old, 20).await.unwrap();
        let refusal = enter(&old, 50).await.unwrap_err();
        assert_eq!((refusal.refused.rule.what, &*refusal.refused.subject.name), (What::Tokens, "bot"));
        let own = enter(&new, 10).await.unwrap();
        short.settle(Amounts { tokens: 25, cost: 0 });
        long.make_room();
        drop(enter(&old, 0).await.unwrap());
        all.store(true, Release);
        let held = passing.join().unwrap();
        assert_eq!(used(&new), [(25, 50), (4, 0), (0, 1)]);
        assert_eq!(used(&old), [(0, 0), (0, 0), (0, 0)], "all of it is over there");

        // A third one takes over from the second, and goes on holding what is left.
        let third = limits();
        let given = serde_json::to_string(&held.give()).unwrap();
        let (saved, telling) = new.save();
        third.load(saved);
        let mut heard = TellingTo::default();
        heard.extend(telling.all());
        let mut taken = HeldFor::default();
        taken.take(&third, serde_json::from_str(&given).unwrap());
        assert_eq!(used(&third), used(&new));
        long.settle(Amounts { tokens: 30, cost: 0 });
        pass_on(&questions, &third, &mut taken, &all);
        assert_eq!(used(&third), [(55, 10), (4, 0), (0, 1)]);
        third.forget(&mut heard);
        assert_eq!(used(&third), [(55, 0), (4, 0), (0, 0)], "what the second one had itself is free when it is gone");

        held.keep();
        drop(held);
        drop(own);
        assert_eq!(used(&new), [(25, 0), (4, 0), (0, 0)]);
    }

    #[tokio::test]
    async fn who_gets_no_answer_decides_itself() {
        let old = limits();
        let questions = old.ask_elsewhere();
        let mut asking = Box::pin(enter(&old, 10));
        assert!(futures::poll!(&mut asking).is_pending());
        drop(questions);
        let entered = asking.await.unwrap();
        assert_eq!(used(&old), [(0, 10), (1, 0), (0, 1)]);
        let _late = old.ask_elsewhere();
        tokio::time::pause();
        let second = enter(&old, 10).await.unwrap();
        assert_eq!(used(&old), [(0, 20), (2, 0), (0, 2)]);
        drop((entered, second));
    }
}
