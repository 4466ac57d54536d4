//! A finder, and what becomes of what it finds: masked, removed, refused or only told of. What `pii`, `secrets` and `deny` have in
//! common.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use toml::Spanned;

use crate::fields::Object;
use crate::find::{Any, Found, Kind, LONGEST_ESCAPE, Reader, Script, find_first, in_json, redacted, rewrite, unescape};
use crate::judging::{Tokens, Way, rejection_status};
use crate::pii::Masks;
use crate::providers::Dialect;
use crate::{
    Context, End, Failure, Flow, Needs, Part, PartKind, Plugin, Rejection, Request, SettingsError, TextHook, TextKind,
    Verdict, Window, async_trait,
};

/// What becomes of what is found, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// A placeholder takes its place, and it takes the placeholder's in the answer. What is found in an answer itself is redacted.
    Mask,
    /// The name of what it is takes its place.
    Redact,
    /// The client gets an error, or the model's refusal.
    Reject,
    /// Nothing: the exchange gets a tag.
    Report,
}

/// The settings that all guards have.
#[derive(Debug)]
pub(crate) struct Common {
    pub on: Vec<Way>,
    pub action: Action,
    pub message: Option<String>,
    pub status: u16,
    pub tokens: Tokens,
}

impl Common {
    /// Checks what was written.
    pub fn new(
        on: Vec<Way>,
        action: Action,
        message: Option<String>,
        status: Option<&Spanned<u16>>,
        tokens: Tokens,
    ) -> Result<Self, SettingsError> {
        let (on, status) = (Way::some(on)?, rejection_status(status, 403)?);
        Ok(Self { on, action, message, status, tokens })
    }

    fn rejection(&self, kind: &Kind, way: Way) -> Rejection {
        let of = if way == Way::Request { "request" } else { "answer" };
        let message =
            self.message.clone().unwrap_or_else(|| format!("this {of} holds what must not pass here: {kind}"));
        Rejection { status: self.status, message }
    }
}

/// A plugin that looks for something.
pub(crate) struct Guard {
    finder: Any,
    common: Arc<Common>,
    /// Bytes of an answer that the finder may keep open, as they are seen: escaped they are more.
    hold: usize,
}

impl Guard {
    pub fn new(finder: Any, common: Common, hold: usize) -> Self {
        Self { finder, common: Arc::new(common), hold }
    }

    fn looks(&self, way: Way) -> bool {
        self.common.on.contains(&way)
    }

    fn hook(&self, finder: Any, masks: &Arc<Masks>, restores: bool, cx: &Context) -> Box<dyn TextHook> {
        let seen = cx.with(|kept: &mut Kept| kept.seen.clone());
        let (masks, common) = (masks.clone(), self.common.clone());
        Box::new(Hook { finder, masks, restores, common, readers: Vec::new(), found: Vec::new(), seen })
    }
}

/// What a guard keeps of an exchange.
#[derive(Default)]
struct Kept {
    masks: Arc<Masks>,
    /// What was found in the answer.
    seen: Arc<Mutex<BTreeSet<Kind>>>,
}

#[async_trait]
impl Plugin for Guard {
    fn needs(&self) -> Needs {
        let mut needs = Needs::new();
        if self.looks(Way::Request) {
            needs = needs.body();
        }
        if self.looks(Way::Answer) {
            needs = needs.end();
        }
        let restores = self.common.action == Action::Mask && self.looks(Way::Request);
        if self.looks(Way::Answer) || restores { needs.text(self.hold * LONGEST_ESCAPE) } else { needs }
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        if let Some(verdict) = self.common.tokens.verdict(request, self.common.action == Action::Report, cx) {
            return Ok(verdict);
        }
        let mut kinds = BTreeSet::new();
        match self.common.action {
            Action::Reject | Action::Report => {
                for text in request.texts() {
                    if let Some(kind) = find_first(&self.finder, &text.text, script_of(text.json)) {
                        kinds.insert(kind);
                    }
                }
            }
            Action::Redact => {
                request.edit_texts(|text| {
                    rewrite(&self.finder, &text.text, script_of(text.json), &mut |kind, _| {
                        kinds.insert(kind.clone());
                        Some(redacted(kind))
                    })
                });
            }
            Action::Mask => {
                let mut masks = if follows_stored(request) { Masks::apart(&cx.about().id) } else { Masks::default() };
                let mut reasons = false;
                for text in request.texts() {
                    masks.reserve(&text.text);
                    reasons |= text.kind == TextKind::Reasoning;
                }
                let is_signed = reasons && may_be_signed(request.json());
                request.edit_texts(|text| {
                    rewrite(&self.finder, &text.text, script_of(text.json), &mut |kind, value| {
                        // What the model has signed may only become what it was when it signed it.
                        let masked = match text.kind {
                            TextKind::Reasoning if is_signed => masks.known(kind, value).map(str::to_owned),
                            _ => Some(masks.mask(kind, value).to_owned()),
                        };
                        kinds.extend(masked.is_some().then(|| kind.clone()));
                        masked
                    })
                });
                if !masks.is_empty() {
                    cx.with(|kept: &mut Kept| kept.masks = Arc::new(masks));
                }
            }
        }
        for kind in &kinds {
            cx.tag("found", &**kind);
        }
        Ok(match kinds.first() {
            Some(kind) if self.common.action == Action::Reject => {
                Verdict::Reject(self.common.rejection(kind, Way::Request))
            }
            Some(_) | None => Verdict::Pass,
        })
    }

    fn text_hook(&self, cx: &Context) -> Option<Box<dyn TextHook>> {
        let masks = cx.with(|kept: &mut Kept| kept.masks.clone());
        if !self.looks(Way::Answer) {
            return None;
        }
        let mut finder = self.finder.clone();
        if !masks.is_empty() {
            // Placeholders are no findings.
            finder = finder.and(masks.clone());
        }
        (!finder.is_empty()).then(|| self.hook(finder, &masks, false, cx))
    }

    fn restore_hook(&self, cx: &Context) -> Option<Box<dyn TextHook>> {
        let masks = cx.with(|kept: &mut Kept| kept.masks.clone());
        (!masks.is_empty()).then(|| self.hook(Any::default().and(masks.clone()), &masks, true, cx))
    }

    fn on_end(&self, _end: &End, cx: &Context) {
        let seen = cx.with(|kept: &mut Kept| kept.seen.clone());
        for kind in seen.lock().iter() {
            cx.tag("found", &**kind);
        }
    }
}

/// Looks at one answer.
struct Hook {
    finder: Any,
    masks: Arc<Masks>,
    /// Whether it brings back what is masked, and does nothing else.
    restores: bool,
    common: Arc<Common>,
    /// Of the parts that have begun and not ended.
    readers: Vec<(Part, Reader)>,
    found: Vec<Found>,
    seen: Arc<Mutex<BTreeSet<Kind>>>,
}

impl TextHook for Hook {
    fn on_text(&mut self, window: &mut Window<'_>) -> Result<Flow, Failure> {
        let (part, text) = (window.part(), window.text());
        let json = part.kind == PartKind::Arguments;
        let at = self.readers.iter().position(|(other, _)| *other == part).unwrap_or_else(|| {
            self.readers.push((part, Reader::new(script_of(json))));
            self.readers.len() - 1
        });
        let Some((_, reader)) = self.readers.get_mut(at) else { return Ok(Flow::Pass) };
        let found = &mut self.found;
        let settled = reader.look(&self.finder, text, window.is_end(), &mut |one| found.push(one));
        if window.is_end() {
            self.readers.swap_remove(at);
        }
        for Found { kind, range, bare } in self.found.drain(..) {
            let written = text.get(range.clone()).unwrap_or_default();
            let found = if json { unescape(written) } else { Cow::Borrowed(written) };
            let original = self.masks.original(&found);
            let new = match original {
                Some(original) if self.restores => original.to_owned(),
                Some(_) => continue,
                None => {
                    self.seen.lock().insert(kind.clone());
                    match self.common.action {
                        Action::Report => continue,
                        Action::Mask | Action::Redact => redacted(&kind),
                        Action::Reject => return Ok(Flow::Refuse(self.common.rejection(&kind, Way::Answer))),
                    }
                }
            };
            if json {
                window.replace_raw(range, in_json(&new, bare));
            } else {
                window.replace(range, new);
            }
        }
        window.release_to(settled);
        Ok(Flow::Pass)
    }
}

/// Whether the request goes on with turns that the provider keeps, and with the placeholders in them.
pub(crate) fn follows_stored(request: &Request) -> bool {
    let Some(body) = Object::read(request.json()) else { return false };
    let says = |name: &&str| body.get(name).is_some_and(|value| value != "null");
    match request.dialect {
        Dialect::OpenAiResponses => ["previous_response_id", "conversation"].iter().any(says),
        Dialect::Anthropic => body.get("thread").is_some_and(|thread| thread.contains("\"previous_message_id\"")),
        _ => false,
    }
}

/// The fields beside reasoning in which dialects have what its maker knows it by.
const SIGNATURES: [&str; 5] =
    ["signature\"", "Signature\"", "encrypted\"", "encrypted_content\"", "reasoning_details\""];

/// Whether there is such a field anywhere in a body.
fn may_be_signed(body: &[u8]) -> bool {
    let is_field = |end: usize| body.get(end..).unwrap_or_default().trim_ascii_start().starts_with(b":");
    let has = |name: &&str| memchr::memmem::find_iter(body, *name).any(|at| is_field(at + name.len()));
    SIGNATURES.iter().any(has)
}

fn script_of(json: bool) -> Script {
    if json { Script::Json } else { Script::Plain }
}
