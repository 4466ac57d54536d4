//! Work on a large body, which takes milliseconds that the other requests of the thread shall not wait for.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Less is read within some milliseconds, whatever is done with it.
const LARGE: usize = 256 << 10;

/// Does work on `size` bytes; of a large one the thread's other tasks go on elsewhere meanwhile, where the runtime has threads for it.
pub fn aside<T>(size: usize, work: impl FnOnce() -> T) -> T {
    let threads = || Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if size > LARGE && threads() { block_in_place(work) } else { work() }
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

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_itself() {
        assert_eq!(aside(usize::MAX, || 1), 1);
    }

    #[test]
    fn so_does_a_thread_without_a_runtime() {
        assert_eq!(aside(usize::MAX, || 1), 1);
    }
}
