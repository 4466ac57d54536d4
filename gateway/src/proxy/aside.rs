//! Work on a large body, which takes milliseconds that the other requests of the thread shall not wait for, and several times
//! the body's memory.

use std::sync::{Condvar, Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Less is read within some milliseconds, whatever is done with it.
const LARGE: usize = 256 << 10;

static TURNS: Turns = Turns::new();

/// Does work on `size` bytes; of a large one the thread's other tasks go on elsewhere meanwhile, where the runtime has threads for it.
/// No more of those are under way than the runtime has threads: more would take memory and save no time.
pub fn aside<T>(size: usize, work: impl FnOnce() -> T) -> T {
    let Some(threads) = (size > LARGE).then(threads).flatten() else { return work() };
    block_in_place(|| {
        let _turn = TURNS.wait(threads);
        work()
    })
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
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *self.left.wait_while(taken, |taken| *taken >= most).unwrap_or_else(PoisonError::into_inner) += 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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
                begin.send(*turns.taken.lock().unwrap()).unwrap();
            });
            assert!(begun.try_recv().is_err());
            drop(first);
            assert_eq!(begun.recv().unwrap(), 2);
            drop(second);
        });
        assert_eq!(*turns.taken.lock().unwrap(), 0);
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
}
