//! Calling a hook: within its time, with its panics caught, counted, and with its failure treated as the configuration says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_gateway_plugins::{Context, Failure, Flow, Plugin, Policy, Rejection, TextHook, Verdict, Window};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Active, Entry};
use crate::config::OnError;
use crate::telemetry::{Hook, Said};

/// A hook under way: it owns its view and gives it back.
pub type Work<V, T> = fn(Arc<dyn Plugin>, Arc<Context>, V) -> BoxFuture<'static, (V, Result<T, Failure>)>;

impl Active {
    /// Calls an async hook with `view`.
    ///
    /// # Errors
    /// It failed, and the request must not go on: what the client is told. Inside: the hook's view and result, or `None` if
    /// it failed and does not count.
    pub async fn call<V: Send + 'static, T: Send + 'static>(
        &self,
        hook: Hook,
        view: V,
        work: Work<V, T>,
        said: fn(&T) -> Said,
    ) -> Result<Option<(V, T)>, ApiError> {
        let begun = Instant::now();
        let (plugin, cx) = (self.plugin().clone(), self.cx.clone());
        let timeout = self.entry.config.timeout;
        let done = if self.entry.needs.blocking {
            let blocked = self.entry.blocked.clone();
            let done = async move {
                let Ok(room) = blocked.acquire_owned().await else { return None };
                let runtime = tokio::runtime::Handle::current();
                let done = tokio::task::spawn_blocking(move || {
                    let done = runtime.block_on(work(plugin, cx, view));
                    drop(room);
                    done
                });
                done.await.ok()
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
