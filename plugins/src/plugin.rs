//! The trait.

use crate::async_trait;
use crate::{Answer, Context, End, Failure, Flow, Part, Plan, Request, TextHook, Upstream, Verdict};

/// Something that is done to requests and answers on their way.
///
/// One value serves all requests at once; what belongs to one request is kept in its [`Context`]. Every hook does nothing unless
/// it is written, and is called only if [`needs`](Self::needs) says so.
///
/// A hook that fails, panics or takes longer than the configured `timeout` counts as an error of the plugin, and `on_error`
/// decides: `"open"` goes on as if it had passed, with everything it changed in that call forgotten; `"closed"` refuses the
/// request. An async hook is dropped at its timeout, at the next `await` that it reaches.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Which hooks are called, and with what. Asked once, when the configuration is built.
    fn needs(&self) -> Needs;

    /// The request has come: may pass it, change it, answer it or reject it. Before routing, limits and the cache.
    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let _ = (request, cx);
        Ok(Verdict::Pass)
    }

    /// The targets have been chosen: may reorder them and take some out, or reject the request. Called again if all of them rested
    /// and the request waited. Not called for a request that the cache answers: who forbids something does so in
    /// [`on_request`](Self::on_request).
    fn on_plan(&self, plan: &mut Plan, cx: &Context) -> Result<Verdict, Failure> {
        let _ = (plan, cx);
        Ok(Verdict::Pass)
    }

    /// A request to a provider is about to be sent: may change its headers. Called for each attempt, before credentials are added.
    ///
    /// # Errors
    /// As of every hook: `on_error` decides.
    fn on_upstream(&self, upstream: &mut Upstream, cx: &Context) -> Result<(), Failure> {
        let _ = (upstream, cx);
        Ok(())
    }

    /// The answer has come: may change its headers and, of an answer that is whole, its body. A stream is seen here when it begins,
    /// without a body. Also for answers out of the cache.
    async fn on_answer(&self, answer: &mut Answer, cx: &Context) -> Result<Verdict, Failure> {
        let _ = (answer, cx);
        Ok(Verdict::Pass)
    }

    /// An answer to this request begins: who is to look at its text, if anybody. Chat only. What is given back is called for
    /// every piece of text of a stream, and for every text of an answer that comes whole.
    fn text_hook(&self, cx: &Context) -> Option<Box<dyn TextHook>> {
        let _ = cx;
        None
    }

    /// The same for who brings back in the answer what its [`on_request`](Self::on_request) took out of the request. It comes behind
    /// the text hooks and windows of all plugins, so nobody else is shown what it brings back; of several the last in the file
    /// comes first. Reasoning that it changes keeps its signature: the next request says again what was signed.
    fn restore_hook(&self, cx: &Context) -> Option<Box<dyn TextHook>> {
        let _ = cx;
        None
    }

    /// So much text of an answer has come as [`Needs::window`] asks for, or one of its parts has ended: may wait for somebody's
    /// opinion before the client gets it. `text` follows on what was given before.
    async fn on_window(&self, part: &Part, text: &str, end: bool, cx: &Context) -> Result<Flow, Failure> {
        let _ = (part, text, end, cx);
        Ok(Flow::Pass)
    }

    /// Bytes on their way to the client, as they leave: to be looked at, not changed.
    fn on_bytes(&self, bytes: &[u8], cx: &Context) {
        let _ = (bytes, cx);
    }

    /// The exchange is over. Called exactly once for every request that this plugin had to do with; cannot fail.
    fn on_end(&self, end: &End, cx: &Context) {
        let _ = (end, cx);
    }
}

/// What a plugin needs. The cost of a request is that of what the plugins need which it goes through, and no more.
///
/// ```
/// use ai_gateway_plugins::Needs;
/// let needs = Needs::new().body().text(256);
/// assert!(needs.body && needs.request && !needs.plan);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Needs {
    /// `on_request` is called.
    pub request: bool,
    /// The request's body is there, too.
    pub body: bool,
    /// `on_plan` is called.
    pub plan: bool,
    /// `on_upstream` is called.
    pub upstream: bool,
    /// `on_answer` is called.
    pub answer: bool,
    /// The body of an answer that comes whole is there, too.
    pub answer_body: bool,
    /// `text_hook` and `restore_hook` are called, and so many bytes of text are held back at most.
    pub text: Option<usize>,
    /// `on_window` is called, for so many bytes of text at a time.
    pub window: Option<usize>,
    /// `on_bytes` is called.
    pub bytes: bool,
    /// `on_end` is called.
    pub end: bool,
    /// Async hooks block their thread (files, locks, long computations), so they run on a thread of their own.
    pub blocking: bool,
}

impl Needs {
    /// Nothing: never called.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            request: false,
            body: false,
            plan: false,
            upstream: false,
            answer: false,
            answer_body: false,
            text: None,
            window: None,
            bytes: false,
            end: false,
            blocking: false,
        }
    }

    /// The head of requests: [`Plugin::on_request`] with an empty body.
    #[must_use]
    pub const fn head(self) -> Self {
        Self { request: true, ..self }
    }

    /// Whole requests: [`Plugin::on_request`].
    #[must_use]
    pub const fn body(self) -> Self {
        Self { request: true, body: true, ..self }
    }

    /// [`Plugin::on_plan`].
    #[must_use]
    pub const fn plan(self) -> Self {
        Self { plan: true, ..self }
    }

    /// [`Plugin::on_upstream`].
    #[must_use]
    pub const fn upstream(self) -> Self {
        Self { upstream: true, ..self }
    }

    /// The head of answers: [`Plugin::on_answer`] without a body, which goes by as it comes.
    #[must_use]
    pub const fn answer_head(self) -> Self {
        Self { answer: true, ..self }
    }

    /// Whole answers: [`Plugin::on_answer`] with the body of those that are no streams.
    #[must_use]
    pub const fn answer(self) -> Self {
        Self { answer: true, answer_body: true, ..self }
    }

    /// The text of answers: [`Plugin::text_hook`], [`Plugin::restore_hook`]. `hold`: bytes of each part that may be held back so that what is looked for
    /// is found across chunks, at most 64 KiB; the client gets text so much later.
    #[must_use]
    pub const fn text(self, hold: usize) -> Self {
        Self { text: Some(hold), ..self }
    }

    /// The text of answers, waited for: [`Plugin::on_window`] about every `bytes` of it, from 1 to 64 KiB.
    #[must_use]
    pub const fn window(self, bytes: usize) -> Self {
        Self { window: Some(bytes), ..self }
    }

    /// [`Plugin::on_bytes`].
    #[must_use]
    pub const fn bytes(self) -> Self {
        Self { bytes: true, ..self }
    }

    /// [`Plugin::on_end`].
    #[must_use]
    pub const fn end(self) -> Self {
        Self { end: true, ..self }
    }

    /// The async hooks may block.
    #[must_use]
    pub const fn blocking(self) -> Self {
        Self { blocking: true, ..self }
    }
}
