//! An answer while it is produced, and all who follow it.
//!
//! What the call's own exchange writes to its client goes into the fill, and every client, also that of this exchange, reads
//! it there at its own pace ([`Reader`]). Nothing is visible before the header is: an attempt that may yet be taken back writes
//! nothing. As long as anybody follows, the call goes on ([`Fill::deserted`]).
//!
//! A fill that grows too large forgets its beginning as its readers pass it. From then on nobody can join it, it is not kept, it
//! grows no faster than its fastest reader reads, and who falls back too far behind that one is left behind.

use std::collections::VecDeque;
use std::sync::Arc;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::answer::{AnswerForm, End, end_of};
use ai_gateway_providers::error::ApiError;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use pingora_http::ResponseHeader;
use prometheus_client::metrics::gauge::Gauge;
use serde::de::IgnoredAny;
use tokio::sync::{Notify, watch};

use super::entry::{Form, Meta, common_headers};
use super::weight::{Scale, Weight};

/// First piece of memory for a body; each further one is twice as large, up to the last.
const SMALLEST_PIECE: usize = 1 << 10;
const LARGEST_PIECE: usize = 32 << 10;
/// Most bytes that a reader is given at once.
pub const BATCH: usize = 256 << 10;
/// How far a reader may be behind the fastest one, in a fill that forgets.
const MOST_LAG: usize = 4 << 20;
/// What a fill takes beside its body.
const OVERHEAD: usize = 1 << 10;

/// An answer under way.
#[derive(Debug)]
pub struct Fill {
    state: Mutex<State>,
    news: watch::Sender<()>,
    moved: Notify,
    /// Those who follow any fill beside the clients of their own exchanges.
    following: Gauge,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    header: Option<Arc<ResponseHeader>>,
    /// The body, without its first `forgotten` chunks.
    chunks: VecDeque<Bytes>,
    forgotten: usize,
    /// Bytes of the whole body.
    length: usize,
    /// Free memory for what comes.
    piece: BytesMut,
    piece_size: usize,
    weight: Weight,
    readers: Vec<Option<Place>>,
    /// Whether others may join.
    open: bool,
    /// Whether what all have read is forgotten.
    forgets: bool,
    /// Whether its request says what those of the others need not say.
    personal: bool,
    /// What it is kept as, once it is known to be whole, and the dialect in which a model says it.
    keep: Option<(Box<Meta>, Option<Dialect>)>,
    /// What was wrong with it, whatever its clients were told.
    fault: Option<Arc<ApiError>>,
    /// What the call consumed, once it is known.
    spent: Option<Spent>,
}

/// What a call consumed, or what following it saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Input and output.
    pub tokens: u64,
    /// In pico-dollars; `None`: not known.
    pub cost: Option<u64>,
    /// Whether the provider has told that, and no price.
    pub charged: bool,
}

/// What following a call comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// What is paid of the call, in pico-dollars; `None`: nothing was divided.
    pub share: Option<u64>,
    /// What was not spent.
    pub saved: Spent,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Chunks read.
    at: usize,
    /// Whether it is the client of the exchange that makes the call.
    first: bool,
    /// What it pays of the call, in pico-dollars.
    share: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing can be seen yet.
    Pending,
    /// The header is there, and the body is coming.
    Flowing,
    /// The body is whole.
    Ended,
    /// It broke off.
    Broken,
    /// The call was given up before anything could be seen, for a reason of its own client.
    Void,
}

impl Fill {
    /// A fill about which nothing is known. `open`: whether others may join it, which `following` counts.
    pub(super) fn new(scale: &Scale, following: &Gauge, open: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                phase: Phase::Pending,
                header: None,
                chunks: VecDeque::new(),
                forgotten: 0,
                length: 0,
                piece: BytesMut::new(),
                piece_size: SMALLEST_PIECE,
                weight: scale.weigh(OVERHEAD),
                readers: Vec::new(),
                open,
                forgets: false,
                personal: false,
                keep: None,
                fault: None,
                spent: None,
            }),
            news: watch::Sender::new(()),
            moved: Notify::new(),
            following: following.clone(),
        })
    }

    /// One more who follows; `None`: it is too late.
    pub fn join(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.state.lock();
        let joinable = state.open && matches!(state.phase, Phase::Pending | Phase::Flowing);
        joinable.then(|| {
            self.following.inc();
            self.seat(&mut state, Place::default())
        })
    }

    /// The client of the exchange that makes the call.
    pub fn join_first(self: &Arc<Self>) -> Reader {
        self.seat(&mut self.state.lock(), Place { first: true, ..Place::default() })
    }

    fn seat(self: &Arc<Self>, state: &mut State, place: Place) -> Reader {
        let free = state.readers.iter().position(Option::is_none);
        let seat = free.unwrap_or(state.readers.len());
        match state.readers.get_mut(seat) {
            Some(reader) => *reader = Some(place),
            None => state.readers.push(Some(place)),
        }
        Reader { fill: self.clone(), seat, left: false, news: self.news.subscribe() }
    }

    /// Resolves when nobody follows any more; nobody can join then.
    pub async fn deserted(&self) {
        self.when(State::is_deserted).await;
    }

    /// Whether nobody follows any more; nobody can join then.
    pub fn is_deserted(&self) -> bool {
        self.state.lock().is_deserted()
    }

    /// Nobody can join from here on, and it is not kept.
    pub(super) fn close(&self) {
        self.state.lock().close();
    }

    /// The header, which makes the fill visible.
    pub(super) fn begin(&self, header: ResponseHeader) {
        let mut state = self.state.lock();
        if state.phase == Phase::Pending {
            state.phase = Phase::Flowing;
            state.header = Some(Arc::new(header));
        }
        drop(state);
        self.news.send_replace(());
    }

    /// More of the body. `most`: where a fill begins to forget.
    pub(super) fn push(&self, data: &[u8], most: usize) {
        if data.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let chunk = state.copy(data);
        state.length += chunk.len();
        state.weight.grow(size_of::<Bytes>());
        state.chunks.push_back(chunk);
        if state.length > most {
            state.close();
        }
        if state.forgets {
            state.forget();
        }
        drop(state);
        self.news.send_replace(());
    }

    /// The answer has turned out to be whole and successful: it is to be found when it has ended. Its header is added to `meta`
    /// then. `said_in`: it is what a model says, in this dialect, and is only kept if the model has ended it.
    pub fn keep(&self, meta: Meta, said_in: Option<Dialect>) {
        let mut state = self.state.lock();
        if !state.forgets {
            state.keep = Some((Box::new(meta), said_in));
        }
    }

    /// The answer has turned out to be bad, for the records of those who follow.
    pub fn spoil(&self, fault: ApiError) {
        let mut state = self.state.lock();
        (state.keep, state.fault) = (None, Some(Arc::new(fault)));
    }

    /// Its request says something of its own client, which another that asks the same need not say: that may be why it is refused.
    pub fn is_personal(&self) -> bool {
        self.state.lock().personal
    }

    /// Notes that, before anything can be seen.
    pub fn set_personal(&self) {
        self.state.lock().personal = true;
    }

    /// What was wrong with it.
    pub fn fault(&self) -> Option<Arc<ApiError>> {
        self.state.lock().fault.clone()
    }

    /// What it is kept as, with the body, at its end.
    pub(super) fn kept(&self) -> Option<(Meta, Bytes)> {
        let mut state = self.state.lock();
        let (mut meta, said_in) = state.keep.take()?;
        let header = state.header.as_ref().filter(|_| state.phase == Phase::Flowing)?;
        (meta.status, meta.headers) = (header.status, common_headers(&header.headers));
        let mut body = BytesMut::with_capacity(state.length);
        state.chunks.iter().for_each(|chunk| body.extend_from_slice(chunk));
        drop(state);
        // What passes is not read that closely; what stays is.
        let form = match meta.form {
            Form::Whole => AnswerForm::Json,
            Form::Stream(_) => AnswerForm::Stream,
        };
        let good = match said_in {
            Some(dialect) => end_of(&body, dialect, form).is_some_and(End::is_of_model),
            None => {
                form == AnswerForm::Stream || !is_json(&meta) || serde_json::from_slice::<IgnoredAny>(&body).is_ok()
            }
        };
        good.then(|| (*meta, body.freeze()))
    }

    /// The end: of a whole answer, or of one that broke off. The first one stands.
    pub(super) fn end(&self, whole: bool) {
        let mut state = self.state.lock();
        state.open = false;
        state.phase = match (state.phase, whole) {
            (Phase::Flowing, true) => Phase::Ended,
            (Phase::Flowing, false) => Phase::Broken,
            (Phase::Pending, _) => Phase::Void,
            (over, _) => over,
        };
        drop(state);
        self.news.send_replace(());
    }

    /// Notes what the call consumed. With `divides`, its cost is divided in equal parts among all who follow, and nobody who
    /// comes later; the parts add up to it exactly. Gives the part of the exchange itself.
    pub fn settle(&self, spent: Spent, divides: bool) -> Option<u64> {
        let mut state = self.state.lock();
        state.spent = Some(spent);
        let cost = spent.cost.filter(|_| divides)?;
        let others: Vec<&mut Place> = state.readers.iter_mut().flatten().filter(|place| !place.first).collect();
        let payers = others.len() as u64 + 1;
        let (part, rest) = (cost / payers, cost % payers);
        for (place, number) in others.into_iter().zip(1..) {
            place.share = Some(part + u64::from(number < rest));
        }
        Some(part + u64::from(rest > 0))
    }

    /// Waits until more can be taken: where everything is remembered, at once, else until the fastest reader is not far behind.
    pub async fn has_room(&self) {
        self.when(|state| !state.forgets || state.least_lag().is_none_or(|lag| lag <= MOST_LAG / 2)).await;
    }

    /// Resolves when `holds` does; readers that read or leave have it looked at again.
    async fn when(&self, mut holds: impl FnMut(&mut State) -> bool) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if holds(&mut self.state.lock()) {
                return;
            }
            moved.await;
        }
    }
}

impl State {
    fn is_deserted(&mut self) -> bool {
        let deserted = self.readers.iter().all(Option::is_none);
        self.open &= !deserted;
        deserted
    }

    fn close(&mut self) {
        self.open = false;
        self.forgets = true;
        self.keep = None;
    }

    /// Copies a chunk, so that it holds no more memory than it is counted with.
    fn copy(&mut self, data: &[u8]) -> Bytes {
        if data.len() > LARGEST_PIECE / 2 {
            self.weight.grow(data.len());
            return Bytes::copy_from_slice(data);
        }
        if self.piece.capacity() < data.len() {
            let size = self.piece_size.max(data.len());
            self.piece_size = (self.piece_size * 2).min(LARGEST_PIECE);
            self.piece = BytesMut::with_capacity(size);
            self.weight.grow(size);
        }
        self.piece.extend_from_slice(data);
        self.piece.split().freeze()
    }

    fn bill(&self, Place { share, .. }: Place) -> Bill {
        let spent = self.spent.unwrap_or_default();
        let cost = spent.cost.map(|cost| cost.saturating_sub(share.unwrap_or(0)));
        Bill { share, saved: Spent { cost, ..spent } }
    }

    /// Chunks that the fastest reader has read; `None`: nobody reads.
    fn fastest(&self) -> Option<usize> {
        self.readers.iter().flatten().map(|place| place.at).filter(|at| *at != LEFT_BEHIND).max()
    }

    /// How far behind the end the fastest reader is, in bytes; `None`: nobody reads.
    fn least_lag(&self) -> Option<usize> {
        let fastest = self.fastest()?;
        Some(self.chunks.iter().skip(fastest.saturating_sub(self.forgotten)).map(Bytes::len).sum())
    }

    /// Forgets what all have read, and leaves behind who holds up too much of what the fastest has read.
    fn forget(&mut self) {
        let fastest = self.fastest().unwrap_or(self.forgotten);
        let (mut first, mut lag) = (fastest, 0);
        for chunk in self.chunks.iter().take(fastest.saturating_sub(self.forgotten)).rev() {
            lag += chunk.len();
            if lag > MOST_LAG {
                break;
            }
            first -= 1;
        }
        for place in self.readers.iter_mut().flatten().filter(|place| place.at < first) {
            // It keeps its seat, from which nothing can be seen any more.
            place.at = LEFT_BEHIND;
        }
        let slowest = self.readers.iter().flatten().map(|place| place.at).filter(|at| *at != LEFT_BEHIND).min();
        let read = slowest.unwrap_or(self.forgotten + self.chunks.len());
        while self.forgotten < read
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.forgotten += 1;
            self.weight.shrink(chunk.len() + size_of::<Bytes>());
        }
    }

    fn read(&mut self, seat: usize, into: &mut Vec<Bytes>) -> Option<Next> {
        let Some(Some(place)) = self.readers.get_mut(seat) else { return Some(Next::Broken) };
        if place.at == LEFT_BEHIND {
            return Some(Next::Behind);
        }
        let mut size = 0;
        while size < BATCH
            && let Some(chunk) = self.chunks.get(place.at - self.forgotten)
        {
            size += chunk.len();
            into.push(chunk.clone());
            place.at += 1;
        }
        let all = place.at == self.forgotten + self.chunks.len();
        if self.forgets && size > 0 {
            self.forget();
        }
        match self.phase {
            Phase::Ended if all => Some(Next::End),
            _ if size > 0 => Some(Next::More),
            Phase::Broken | Phase::Void => Some(Next::Broken),
            Phase::Pending | Phase::Flowing | Phase::Ended => None,
        }
    }
}

fn is_json(meta: &Meta) -> bool {
    meta.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

const LEFT_BEHIND: usize = usize::MAX;

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Chunks, and there may be more.
    More,
    /// The last chunks, if any, and the answer is whole.
    End,
    /// The answer broke off.
    Broken,
    /// The answer went on without this reader, which is too slow.
    Behind,
}

/// One who follows a fill, until it is dropped.
#[derive(Debug)]
pub struct Reader {
    fill: Arc<Fill>,
    seat: usize,
    /// Whether it has given its seat back.
    left: bool,
    news: watch::Receiver<()>,
}

impl Reader {
    /// What it follows.
    pub fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }

    /// The header, as soon as it can be seen; `None`: the call was given up before, and somebody else has to make it.
    pub async fn header(&mut self) -> Option<Arc<ResponseHeader>> {
        loop {
            self.news.borrow_and_update();
            {
                let state = self.fill.state.lock();
                if state.phase != Phase::Pending {
                    return state.header.clone();
                }
            }
            self.news.changed().await.ok()?;
        }
    }

    /// Adds what there is of the body to `into`, or waits for it. May be dropped and called again.
    pub async fn next(&mut self, into: &mut Vec<Bytes>) -> Next {
        loop {
            self.news.borrow_and_update();
            let (next, forgets) = {
                let mut state = self.fill.state.lock();
                (state.read(self.seat, into), state.forgets)
            };
            if let Some(next) = next {
                if forgets {
                    self.fill.moved.notify_waiters();
                }
                return next;
            }
            if self.news.changed().await.is_err() {
                return Next::Broken;
            }
        }
    }

    /// What it pays and saves, as far as that is known.
    pub fn bill(&self) -> Bill {
        let state = self.fill.state.lock();
        state.readers.get(self.seat).copied().flatten().map(|place| state.bill(place)).unwrap_or_default()
    }

    /// It follows no more, and the bill is what it is then: nothing comes to it afterwards.
    pub fn leave(mut self) -> Bill {
        self.stand_up().unwrap_or_default()
    }

    fn stand_up(&mut self) -> Option<Bill> {
        if std::mem::replace(&mut self.left, true) {
            return None;
        }
        let mut state = self.fill.state.lock();
        let place = state.readers.get_mut(self.seat)?.take()?;
        if !place.first {
            self.fill.following.dec();
        }
        if state.forgets {
            state.forget();
        }
        let bill = state.bill(place);
        drop(state);
        self.fill.moved.notify_waiters();
        Some(bill)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stand_up();
    }
}
