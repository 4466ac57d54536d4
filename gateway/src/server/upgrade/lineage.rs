//! The processes before this one that finish their streams still. Each tells over its channel what becomes of what it had
//! reserved, who keeps the answers that it still gives, and how many requests it has, until it ends; and it asks whether the
//! requests that still come to it may be let in. A thread listens to each. If this process is followed on itself while they live,
//! its successor gets their channels.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::gauge::Gauge;

use super::channel::Channel;
use super::message::{Identity, Message, batches};
use crate::continuity::Continuity;
use crate::limits::{Held, HeldFor, Limits, TellingTo};

/// How soon a listener notices that it is to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Another process on its way out.
#[derive(Clone, Debug)]
pub struct Ancestor {
    /// Who it is.
    pub who: Identity,
    /// Requests that it has still.
    pub in_flight: u64,
    /// Since when it takes none any more, as far as this process knows.
    pub since: Instant,
}

/// All of them.
#[derive(Debug)]
pub struct Lineage {
    limits: Arc<Limits>,
    continuity: Arc<Continuity>,
    living: Gauge,
    lines: Mutex<Vec<Line>>,
}

/// One of them.
#[derive(Debug)]
struct Line {
    heard: Arc<Heard>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Heard {
    who: Identity,
    since: Instant,
    channel: Channel,
    told: Mutex<TellingTo>,
    /// What it has been told.
    telling: Mutex<TellingTo>,
    held: Mutex<HeldFor>,
    in_flight: AtomicU64,
    /// The listener is to stop between two messages.
    stop: AtomicBool,
    ended: AtomicBool,
}

impl Lineage {
    /// None yet. `living` counts them; the others learn what they tell.
    pub fn new(limits: Arc<Limits>, continuity: Arc<Continuity>, living: Gauge) -> Self {
        Self { limits, continuity, living, lines: Mutex::default() }
    }

    /// Begins to listen to a process, of which `told` is known, and for whose requests so much is held.
    pub fn follow(&self, who: Identity, channel: Channel, told: TellingTo, held: Vec<Held>) {
        let mut held_for = HeldFor::default();
        held_for.take(&self.limits, held);
        let heard = Arc::new(Heard {
            who,
            since: Instant::now(),
            channel,
            told: Mutex::new(told),
            telling: Mutex::default(),
            held: Mutex::new(held_for),
            in_flight: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        self.living.inc();
        let listener = self.listen(heard.clone());
        self.lines().push(Line { heard, listener });
    }

    /// Those that live.
    pub fn ancestors(&self) -> Vec<Ancestor> {
        let living = |line: &Line| {
            let Heard { who, in_flight, since, .. } = &*line.heard;
            let living = !line.heard.ended.load(Ordering::Acquire);
            living.then(|| Ancestor { who: who.clone(), in_flight: in_flight.load(Ordering::Relaxed), since: *since })
        };
        self.lines().iter().filter_map(living).collect()
    }

    /// Whether there is one.
    pub fn has_living(&self) -> bool {
        !self.lines().is_empty()
    }

    /// Passes all of them on. They are not listened to any more, unless [`Self::resume`] follows.
    ///
    /// # Errors
    /// The next process is gone.
    pub fn pass_on(&self, to: &Channel) -> io::Result<()> {
        for line in self.lines().iter_mut() {
            line.heard.stop.store(true, Ordering::Release);
            if let Some(listener) = line.listener.take() {
                // It never panics.
                _ = listener.join();
            }
            let Heard { who, channel, told, held, ended, .. } = &*line.heard;
            if ended.load(Ordering::Acquire) {
                continue;
            }
            to.send_socket(&Message::Predecessor { who: who.clone() }, channel.duplicate()?.as_fd())?;
            let told = told.lock().all();
            to.send_list(told, |told| Message::Told { pid: who.pid, told })?;
            to.send_list(held.lock().give(), |held| Message::Holds { pid: who.pid, held })?;
        }
        Ok(())
    }

    /// Goes on listening: nobody took over.
    pub fn resume(&self) {
        for line in self.lines().iter_mut().filter(|line| line.listener.is_none()) {
            line.heard.held.lock().keep();
            line.heard.stop.store(false, Ordering::Release);
            line.listener = self.listen(line.heard.clone());
        }
    }

    fn listen(&self, heard: Arc<Heard>) -> Option<JoinHandle<()>> {
        let (limits, continuity, living) = (self.limits.clone(), self.continuity.clone(), self.living.clone());
        let run = move || {
            if heard.listen(&limits, &continuity) {
                info!("process {} has ended", heard.who.pid);
                living.dec();
            }
        };
        match thread::Builder::new().name("predecessor".to_owned()).spawn(run) {
            Ok(listener) => Some(listener),
            Err(error) => {
                warn!("what the process before this one settles is not heard: {error}");
                None
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        let mut lines = self.lines.lock();
        lines.retain(|line| !line.heard.ended.load(Ordering::Acquire));
        lines
    }
}

impl Heard {
    /// Listens until the process ends, or nobody wants it any more. Whether it ended.
    fn listen(&self, limits: &Arc<Limits>, continuity: &Continuity) -> bool {
        while !self.stop.load(Ordering::Acquire) {
            match self.channel.receive(Some(LOOK)) {
                Ok(Some((Message::Told { told, .. }, _))) => {
                    limits.hear(told, &mut self.told.lock());
                }
                Ok(Some((Message::Kept { answers }, _))) => continuity.remember_answers(answers),
                Ok(Some((Message::Asks { asked }, _))) => {
                    let answered = limits.answer(asked, &mut self.held.lock());
                    self.say(&Message::Answers { answered });
                }
                Ok(Some((Message::Changes { id, change }, _))) => self.held.lock().change(id, change),
                Ok(Some((Message::InFlight { count, listens }, _))) => {
                    self.in_flight.store(count, Ordering::Relaxed);
                    if listens {
                        self.tell(limits);
                    }
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(None) | Err(_) => {
                    limits.forget(&mut self.told.lock());
                    *self.held.lock() = HeldFor::default();
                    self.ended.store(true, Ordering::Release);
                    return true;
                }
            }
        }
        false
    }

    /// Tells it what has been booked and reserved here.
    fn tell(&self, limits: &Limits) {
        let pid = std::process::id();
        for told in batches(limits.tell(&mut self.telling.lock())).unwrap_or_default() {
            self.say(&Message::Told { pid, told });
        }
    }

    fn say(&self, message: &Message) {
        // If it is gone the next look says so.
        _ = self.channel.send(message);
    }
}
