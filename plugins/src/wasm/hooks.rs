//! The plugin itself: each hook is an event to the exchange's instance, and what it decides.

use std::sync::Arc;

use super::at_once::at_once;
use super::engine::Ready;
use super::instance::{Instance, Limits, Owner};
use super::slot::Slot;
use super::world::{Decision, Event, Hooks, Needs as Asked, Piece, Reply as Said, Verdict as Decided};
use super::{apply, view};
use crate::async_trait;
use crate::{
    Answer, Context, End, Failure, Flow, Needs, Part, Plan, Plugin, Rejection, Reply, Request, TextHook, Upstream,
    Verdict, Window,
};

/// A component with its settings.
#[derive(Clone)]
pub(super) struct Wasm(Arc<Common>);

#[derive(Clone)]
struct Common {
    ready: Arc<Ready>,
    limits: Limits,
    settings: String,
    hooks: Hooks,
    needs: Needs,
}

impl Wasm {
    pub(super) fn new(ready: Arc<Ready>, limits: Limits, settings: String) -> Self {
        Self(Arc::new(Common { ready, limits, settings, hooks: Hooks::empty(), needs: Needs::new() }))
    }

    pub(super) fn with_needs(self, (hooks, needs): (Hooks, Needs)) -> Self {
        Self(Arc::new(Common { hooks, needs, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// What the component needs with these settings.
    pub(super) async fn ask_needs(&self) -> Result<Asked, Failure> {
        let Common { ready, limits, settings, .. } = &*self.0;
        let started = Instance::start(ready, *limits, Owner::default(), settings, None);
        match tokio::time::timeout(limits.time, started).await {
            Ok(started) => Ok(started?.1),
            Err(_) => Err(super::at_once::too_long(limits.time)),
        }
    }

    async fn tell(&self, slot: &Slot, event: &Event, cx: &Context) -> Result<Decided, Failure> {
        let Common { ready, limits, settings, .. } = &*self.0;
        let start = async {
            let about = cx.about();
            let owner = Owner { request: about.id.clone(), plugin: cx.plugin().into() };
            let exchange = view::exchange(about);
            Ok(Instance::start(ready, *limits, owner, settings, Some(&exchange)).await?.0)
        };
        let Decision { verdict, tags } = Box::pin(slot.tell(event, start)).await?;
        tags.into_iter().for_each(|(name, value)| cx.tag(name, value));
        Ok(verdict)
    }

    /// The same from a hook that cannot wait.
    fn tell_now(&self, slot: &Slot, event: &Event, cx: &Context) -> Result<Decided, Failure> {
        at_once(self.0.limits.time, self.tell(slot, event, cx))
    }

    fn texts(&self, hook: Hooks, event: fn(Piece) -> Event, cx: &Context) -> Option<Box<dyn TextHook>> {
        let texts = || Texts { wasm: self.clone(), event, slot: slot(cx), cx: cx.beside() };
        self.0.hooks.contains(hook).then(|| Box::new(texts()) as Box<dyn TextHook>)
    }

    /// Tells of something that nothing can be decided of.
    fn let_know(&self, event: &Event, cx: &Context) {
        let slot = slot(cx);
        if slot.is_broken() {
            return;
        }
        if let Err(failure) = self.tell_now(&slot, event, cx) {
            log::warn!("request {}: plugin {}: {failure}", cx.about().id, cx.plugin());
        }
    }
}

/// Where the exchange keeps the instance.
fn slot(cx: &Context) -> Slot {
    cx.with(|slot: &mut Slot| slot.clone())
}

fn rejection(said: super::world::Rejection) -> Rejection {
    Rejection { status: said.status, message: said.message }
}

/// A decision that may be any; `change` does what is to be changed.
fn verdict(
    decided: Decided,
    change: impl FnOnce(Vec<super::world::Change>) -> Result<(), Failure>,
) -> Result<Verdict, Failure> {
    Ok(match decided {
        Decided::Pass => Verdict::Pass,
        Decided::Change(changes) => {
            change(changes)?;
            Verdict::Pass
        }
        Decided::Reject(said) => Verdict::Reject(rejection(said)),
        Decided::Answer(Said::Text(text)) => Verdict::say(text),
        Decided::Answer(Said::Json((status, json))) => {
            if !(200..600).contains(&status) {
                return Err("it answered with a status that is none".into());
            }
            let body = apply::sound(json)?;
            Verdict::Answer(Box::new(Reply::Json { status, body }))
        }
    })
}

/// Of hooks in which nothing can be answered.
fn flow(
    decided: Decided,
    change: impl FnOnce(Vec<super::world::Change>) -> Result<(), Failure>,
) -> Result<Flow, Failure> {
    match verdict(decided, change)? {
        Verdict::Pass => Ok(Flow::Pass),
        Verdict::Reject(rejection) => Ok(Flow::Refuse(rejection)),
        Verdict::Answer(_) => Err("it answered where only a request or an answer can be answered".into()),
    }
}

#[async_trait]
impl Plugin for Wasm {
    fn needs(&self) -> Needs {
        self.0.needs
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let event = Event::Request(view::request(request, self.0.hooks)?);
        let decided = self.tell(&slot(cx), &event, cx).await?;
        verdict(decided, |changes| apply::to_request(changes, request))
    }

    fn on_plan(&self, plan: &mut Plan, cx: &Context) -> Result<Verdict, Failure> {
        let decided = self.tell_now(&slot(cx), &Event::Plan(view::plan(plan)), cx)?;
        verdict(decided, |changes| apply::to_plan(changes, plan))
    }

    fn on_upstream(&self, upstream: &mut Upstream, cx: &Context) -> Result<(), Failure> {
        let decided = self.tell_now(&slot(cx), &Event::Upstream(view::upstream(upstream)), cx)?;
        match flow(decided, |changes| apply::to_upstream(changes, upstream))? {
            Flow::Pass => Ok(()),
            Flow::Refuse(_) => Err("it rejected an attempt, which can only be changed".into()),
        }
    }

    async fn on_answer(&self, answer: &mut Answer, cx: &Context) -> Result<Verdict, Failure> {
        let event = Event::Answer(view::answer(answer, self.0.hooks)?);
        let decided = self.tell(&slot(cx), &event, cx).await?;
        verdict(decided, |changes| apply::to_answer(changes, answer))
    }

    fn text_hook(&self, cx: &Context) -> Option<Box<dyn TextHook>> {
        self.texts(Hooks::TEXT, Event::Text, cx)
    }

    fn restore_hook(&self, cx: &Context) -> Option<Box<dyn TextHook>> {
        self.texts(Hooks::RESTORE, Event::Restore, cx)
    }

    async fn on_window(&self, part: &Part, text: &str, end: bool, cx: &Context) -> Result<Flow, Failure> {
        let event = Event::Window(view::piece(*part, text, end));
        flow(self.tell(&slot(cx), &event, cx).await?, |changes| apply::nothing(&changes))
    }

    fn on_bytes(&self, bytes: &[u8], cx: &Context) {
        self.let_know(&Event::Bytes(bytes.to_vec()), cx);
    }

    fn on_end(&self, end: &End, cx: &Context) {
        self.let_know(&Event::End(view::end(end)), cx);
    }
}

/// The texts of one answer.
struct Texts {
    wasm: Wasm,
    event: fn(Piece) -> Event,
    slot: Slot,
    cx: Context,
}

impl TextHook for Texts {
    fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
        let decided = self.wasm.tell_now(&self.slot, &(self.event)(view::window(text)), &self.cx)?;
        flow(decided, |changes| apply::to_text(changes, text))
    }
}
