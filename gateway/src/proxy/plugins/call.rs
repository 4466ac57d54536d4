//! Calling a hook: within its time, with its panics caught, counted, and with its failure treated as the configuration says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_gateway_plugins::internal::Policy;
use ai_gateway_plugins::{
    Answer, AnswerBody, Context, Failure, Flow, Part, Plugin, Rejection, Request, TextHook, Verdict, Window,
};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::Active;
use crate::config::OnError;
use crate::snapshot::Entry;
use crate::telemetry::{Hook, Said};

/// A hook that sees more than this gets a thread of its own: reading it takes milliseconds, in which all other requests on the
/// thread would wait.
const LARGE: usize = 64 << 10;

/// What a hook is shown.
pub trait View: Send + 'static {
    /// Bytes that it may read.
    fn size(&self) -> usize;
}

impl View for Request {
    fn size(&self) -> usize {
        self.json().len()
    }
}

impl View for Answer {
    fn size(&self) -> usize {
        if let AnswerBody::Json(body) = &self.body { body.len() } else { 0 }
    }
}

impl View for (Part, String, bool) {
    fn size(&self) -> usize {
        self.1.len()
    }
}

/// A hook under way: it owns its view and gives it back.
pub type Work<V, T> = fn(Arc<dyn Plugin>, Arc<Context>, V) -> BoxFuture<'static, (V, Result<T, Failure>)>;

/// The hook of a request.
pub fn on_request_hook(
    plugin: Arc<dyn Plugin>,
    cx: Arc<Context>,
    mut request: Request,
) -> BoxFuture<'static, (Request, Result<Verdict, Failure>)> {
    Box::pin(async move {
        let verdict = plugin.on_request(&mut request, &cx).await;
        (request, verdict)
    })
}

impl Active {
    /// Calls an async hook with `view`.
    ///
    /// # Errors
    /// It failed, and the request must not go on: what the client is told. Inside: the hook's view and result, or `None` if
    /// it failed and does not count.
    pub async fn call<V: View, T: Send + 'static>(
        &self,
        hook: Hook,
        view: V,
        work: Work<V, T>,
        said: fn(&T) -> Said,
    ) -> Result<Option<(V, T)>, ApiError> {
        let begun = Instant::now();
        let (plugin, cx) = (self.plugin().clone(), self.cx.clone());
        let timeout = self.entry.config.timeout;
        let done = if self.entry.needs.blocking || view.size() > LARGE {
            let blocked = self.entry.needs.blocking.then(|| self.entry.blocked.clone());
            let done = async move {
                let room = match blocked {
                    Some(blocked) => Some(blocked.acquire_owned().await.ok()?),
                    None => None,
                };
                let runtime = tokio::runtime::Handle::current();
                let (asks, gone) = oneshot::channel::<()>();
                let done = tokio::task::spawn_blocking(move || {
                    let done = runtime.block_on(async {
                        tokio::select! {
                            biased;
                            done = work(plugin, cx, view) => Some(done),
                            _ = gone => None,
                        }
                    });
                    drop(room);
                    done
                });
                let done = done.await;
                // Dropped before, because it took too long or its client has left, it ends the work.
                drop(asks);
                done.ok().flatten()
            };
            tokio::time::timeout(timeout, done).await
        } else {
            let done = AssertUnwindSafe(async move { work(plugin, cx, view).await }).catch_unwind();
            tokio::time::timeout(timeout, done).await.map(Result::ok)
        };
        let done = match done {
            Ok(Some((view, Ok(done)))) => Ok((view, done)),
            Ok(Some((_, Err(failure)))) => Err(failure),
            Ok(None) => Err("it panicked".into()),
            Err(_) => Err(too_long(timeout)),
        };
        match done {
            Ok((view, done)) => {
                self.entry.stats.count(hook, said(&done), begun.elapsed());
                Ok(Some((view, done)))
            }
            Err(failure) => self.failed(hook, &failure, begun.elapsed()).map(|()| None),
        }
    }

    /// Calls a hook that does not wait. See [`Self::call`].
    pub fn call_sync<T>(
        &self,
        hook: Hook,
        work: impl FnOnce(&dyn Plugin, &Context) -> Result<T, Failure>,
        said: fn(&T) -> Said,
    ) -> Result<Option<T>, ApiError> {
        let begun = Instant::now();
        match self.contained(work) {
            Ok(done) => {
                self.entry.stats.count(hook, said(&done), begun.elapsed());
                Ok(Some(done))
            }
            Err(failure) => self.failed(hook, &failure, begun.elapsed()).map(|()| None),
        }
    }

    /// Calls into the plugin, counting nothing.
    ///
    /// # Errors
    /// It failed, or panicked.
    pub fn contained<T>(&self, work: impl FnOnce(&dyn Plugin, &Context) -> Result<T, Failure>) -> Result<T, Failure> {
        let done = catch_unwind(AssertUnwindSafe(|| work(&**self.plugin(), &self.cx)));
        done.unwrap_or_else(|_| Err("it panicked".into()))
    }

    /// Counts a failure.
    ///
    /// # Errors
    /// What the client is told, if the request must not go on without the plugin.
    pub fn failed(&self, hook: Hook, failure: &Failure, took: Duration) -> Result<(), ApiError> {
        self.entry.stats.count(hook, Said::Error, took);
        log::warn!("request {}: plugin {}: {failure}", self.cx.about().id, self.entry.config.name);
        match self.entry.config.on_error {
            OnError::Open => Ok(()),
            OnError::Closed => Err(closed(&self.entry)),
        }
    }
}

/// The hook of a text, as the screen sees it.
pub struct TextPolicy(pub(super) Active);

impl Policy for TextPolicy {
    fn failed(&self, failure: &Failure) -> Option<Rejection> {
        let error = self.0.failed(Hook::Text, failure, Duration::ZERO).err()?;
        Some(Rejection { status: error.kind.status(), message: error.message })
    }

    fn called(&self, said: &Flow, time: Duration) -> Result<(), Failure> {
        let timeout = self.0.entry.config.timeout;
        if time > timeout {
            return Err(too_long(timeout));
        }
        self.0.entry.stats.count(Hook::Text, flow_said(said), time);
        Ok(())
    }
}

fn too_long(timeout: Duration) -> Failure {
    format!("it took longer than {}", humantime::format_duration(timeout)).into()
}

fn closed(entry: &Entry) -> ApiError {
    let name = &entry.config.name;
    let message = format!("the plugin `{name}` failed, and nothing passes without it");
    ApiError::new(ErrorKind::Internal, message)
}

/// What a verdict counts as.
pub fn said(verdict: &Verdict) -> Said {
    match verdict {
        Verdict::Pass => Said::Pass,
        Verdict::Answer(_) => Said::Answer,
        Verdict::Reject(_) => Said::Reject,
    }
}

/// What the client is told.
pub fn rejected(rejection: Rejection) -> ApiError {
    let Rejection { status, message } = rejection;
    let status = if (400..500).contains(&status) { status } else { 403 };
    ApiError::rejected(status, message)
}

/// What the word of a hook that sees text counts as.
pub fn flow_said(flow: &Flow) -> Said {
    match flow {
        Flow::Pass => Said::Pass,
        Flow::Refuse(_) => Said::Reject,
    }
}

/// Stands for a text hook that could not be made, and fails with what went wrong.
pub struct Fails(pub Failure);

impl TextHook for Fails {
    fn on_text(&mut self, _: &mut Window<'_>) -> Result<Flow, Failure> {
        Err(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use std::thread::{self, ThreadId};

    use ai_gateway_plugins::{About, Needs, NoHost, async_trait};
    use ai_gateway_providers::{Dialect, Operation};
    use http::HeaderMap;

    use super::*;
    use crate::config::PluginConfig;
    use crate::telemetry::Plugins;

    #[derive(Debug, Default)]
    struct Where(Arc<Mutex<Vec<ThreadId>>>);

    #[async_trait]
    impl Plugin for Where {
        fn needs(&self) -> Needs {
            Needs::new().body()
        }

        async fn on_request(&self, _: &mut Request, _: &Context) -> Result<Verdict, Failure> {
            self.0.lock().push(thread::current().id());
            Ok(Verdict::Pass)
        }
    }

    #[tokio::test]
    async fn what_is_large_is_read_on_another_thread() {
        let seen = Arc::default();
        let config = PluginConfig::new("where", Arc::new(Where(Arc::clone(&seen))));
        let about = Arc::new(About::new(Dialect::OpenAiChat, Operation::Chat, Arc::new(NoHost)));
        let cx = Arc::new(Context::new(about, "where".into(), Arc::default()));
        let active = Active { entry: Arc::new(Entry::new(config, &Plugins::default())), cx };
        for size in [LARGE, LARGE + 1] {
            let request = Request::new(Dialect::OpenAiChat, Operation::Chat, HeaderMap::new(), vec![b' '; size].into());
            let called = active.call(Hook::Request, request, on_request_hook, said);
            assert!(called.await.unwrap().is_some());
        }
        let here = thread::current().id();
        let seen: Vec<_> = seen.lock().iter().map(|id| *id == here).collect();
        assert_eq!(seen, [true, false]);
    }
}
