//! Work that takes milliseconds, which the other requests of the thread shall not wait for: on a large body, which takes several
//! times the body's memory, too; and counting tokens.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, block_in_place, spawn_blocking};

/// Less is read within some milliseconds, whatever is done with it.
const LARGE: usize = 256 << 10;

static TURNS: Turns = Turns::new();

/// What a client waits for.
static AWAITED: Queue = Queue::new();
/// What nobody waits for.
static COUNTED: Queue = Queue::new();

/// Does work on `size` bytes; of a large one the thread's other tasks go on elsewhere meanwhile, where the runtime has threads for it.
/// No more of those are under way than the runtime has threads: more would take memory and save no time.
pub fn aside<T>(size: usize, work: impl FnOnce() -> T) -> T {
    let Some(threads) = (size > LARGE).then(threads).flatten() else { return work() };
    block_in_place(|| {
        let _turn = TURNS.wait(threads);
        work()
    })
}

/// Does work for which the thread's other tasks go on elsewhere meanwhile, where the runtime has threads for it.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if threads().is_some() { block_in_place(work) } else { work() }
}

/// Does work that a client waits for, on one of the threads for what takes its time.
///
/// # Errors
/// It panicked.
pub async fn awaited<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    AWAITED.take(work).await
}

/// Does work that can wait, and that nobody else shall wait for: a provider that fails leaves a thousand answers to be counted at once.
///
/// # Errors
/// It panicked.
pub async fn later<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    COUNTED.take(work).await
}

/// Work of which no more is under way than there are processors.
struct Queue(LazyLock<Semaphore>);

impl Queue {
    const fn new() -> Self {
        Self(LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }

    async fn take<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        let turn = self.0.acquire().await.ok();
        spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
    }
}

/// Of this runtime, if it has several or might.
fn threads() -> Option<usize> {
    let handle = Handle::try_current().ok()?;
    (handle.runtime_flavor() == RuntimeFlavor::MultiThread).then(|| handle.metrics().num_workers())
}

/// How many are at work.
struct Turns {
    taken: Mutex<usize>,
    left: Condvar,
}

/// Somebody's turn, until it is dropped.
struct Turn<'t>(&'t Turns);

impl Turns {
    const fn new() -> Self {
        Self { taken: Mutex::new(0), left: Condvar::new() }
    }

    /// Waits until fewer than `most` are at work.
    fn wait(&self, most: usize) -> Turn<'_> {
        let mut taken = self.taken.lock();
        self.left.wait_while(&mut taken, |taken| *taken >= most);
        *taken += 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock() -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    use futures::future::join_all;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_of_the_thread_go_on() {
        let done = tokio::spawn(async {
            let (told, heard) = mpsc::channel();
            // Of the only thread: it runs while the work waits for it.
            tokio::spawn(async move { told.send(()) });
            aside(LARGE + 1, || heard.recv())
        });
        assert_eq!(done.await.unwrap(), Ok(()));
    }

    #[test]
    fn no_more_are_at_work_than_may_be() {
        let turns = Turns::new();
        let (begin, begun) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = turns.wait(2);
            let second = turns.wait(2);
            scope.spawn(|| {
                let _third = turns.wait(2);
                begin.send(*turns.taken.lock()).unwrap();
            });
            assert!(begun.try_recv().is_err());
            drop(first);
            assert_eq!(begun.recv().unwrap(), 2);
            drop(second);
        });
        assert_eq!(*turns.taken.lock(), 0);
    }

    #[test]
    fn a_panic_gives_its_turn_back() {
        let turns = Turns::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = turns.wait(1);
            panic!("a bug");
        }));
        assert!(panicked.is_err());
        drop(turns.wait(1));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_itself() {
        assert_eq!(aside(usize::MAX, || 1), 1);
    }

    #[test]
    fn so_does_a_thread_without_a_runtime() {
        assert_eq!(aside(usize::MAX, || 1), 1);
    }

    #[tokio::test]
    async fn no_more_at_work_than_processors() {
        static AT_WORK: AtomicUsize = AtomicUsize::new(0);
        let processors = available_parallelism().map_or(1, usize::from);
        let (begins, begun) = mpsc::channel();
        let works = (0..20 * processors).map(|_| {
            let begins = begins.clone();
            later(move || {
                begins.send(AT_WORK.fetch_add(1, SeqCst) + 1).unwrap();
                std::thread::yield_now();
                AT_WORK.fetch_sub(1, SeqCst);
            })
        });
        assert!(join_all(works).await.iter().all(Result::is_ok));
        drop(begins);
        let seen: Vec<usize> = begun.iter().collect();
        assert_eq!(seen.len(), 20 * processors);
        assert!(seen.iter().all(|at_work| *at_work <= processors), "{seen:?}");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_can_wait() {
        let processors = available_parallelism().map_or(1, usize::from);
        let (lets, let_go) = mpsc::channel::<()>();
        let let_go = std::sync::Arc::new(Mutex::new(let_go));
        let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let works = (0..2 * processors).map(|_| {
            let (let_go, begins) = (let_go.clone(), begins.clone());
            tokio::spawn(later(move || {
                _ = begins.send(());
                let_go.lock().recv().is_err()
            }))
        });
        let works: Vec<_> = works.collect();
        for _ in 0..processors {
            begun.recv().await.unwrap();
        }
        assert_eq!(awaited(|| 1).await.unwrap(), 1);
        drop(lets);
        for work in works {
            assert!(work.await.unwrap().unwrap());
        }
    }
}
