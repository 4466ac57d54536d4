//! What may have to wait, from hooks that cannot.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, RuntimeFlavor};

use crate::Failure;

/// Does `work` here and now, within `limit`. Most is done in one go; what is not goes on as long as it may, while another thread takes
/// over what else this one has to do.
///
/// # Errors
/// That of the work, or that it took too long.
pub(super) fn at_once<T>(limit: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let begun = Instant::now();
    let mut work = pin!(work);
    let mut cx = Context::from_waker(Waker::noop());
    if let Poll::Ready(done) = work.as_mut().poll(&mut cx) {
        return done;
    }
    if let Ok(runtime) = Handle::try_current()
        && runtime.runtime_flavor() == RuntimeFlavor::MultiThread
    {
        let within = async { tokio::time::timeout(limit, work).await };
        return tokio::task::block_in_place(|| runtime.block_on(within)).unwrap_or_else(|_| Err(too_long(limit)));
    }
    // A runtime of one thread has no other: neighbours wait.
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut cx) {
            return done;
        }
        if begun.elapsed() > limit {
            return Err(too_long(limit));
        }
    }
}

/// Does `work` on a thread of its own and waits: for when a configuration is loaded, from wherever that happens.
///
/// # Errors
/// That of the work.
pub(super) fn alone<T: Send>(work: impl Future<Output = Result<T, Failure>> + Send) -> Result<T, Failure> {
    let run = || {
        let runtime = Builder::new_current_thread().enable_time().build().map_err(|error| error.to_string())?;
        runtime.block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|_| Err("it panicked".into()))
}

/// Of whom takes longer than `limit`.
pub(super) fn too_long(limit: Duration) -> Failure {
    format!("it took longer than {limit:?}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn turns(turns: usize) -> Result<usize, Failure> {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        Ok(turns)
    }

    async fn for_ever() -> Result<usize, Failure> {
        loop {
            turns(1).await?;
        }
    }

    #[test]
    fn it_is_done_wherever_it_is_called() {
        fn check() {
            let limit = Duration::from_millis(20);
            assert_eq!(at_once(limit, turns(0)), Ok(0));
            assert_eq!(at_once(limit, turns(3)), Ok(3));
            assert_eq!(at_once(limit, for_ever()), Err("it took longer than 20ms".into()));
        }
        check();
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async { check() });
        let many = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        many.block_on(async { tokio::spawn(async { check() }).await }).unwrap();
        assert_eq!(alone(turns(2)), Ok(2));
    }
}
