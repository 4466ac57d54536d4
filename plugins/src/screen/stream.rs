//! The texts of a stream through the hooks.

use super::whole::screen_block;
use super::{Hooked, chain};
use crate::providers::Dialect;
use crate::providers::codec::{Maker, StreamDecoder, codec};
use crate::providers::common::{Block, Content, Delta, Event, Json, Opaque, Stop, StopReason, Str};
use crate::text::Stage;
use crate::{Part, PartKind, Rejection};

/// Most bytes of a text, give or take a piece, that are gathered before hooks see it: their calls stay short.
const MOST_GATHERED: usize = 4 << 10;

/// A stream on its way to the client. Bytes in, events out: the caller has them written by its dialect's encoder.
///
/// Text comes out as soon as all hooks let it go, and all of it before its block ends. Probabilities of tokens are left out:
/// they would tell what was changed.
pub struct Screen {
    decoder: Box<dyn StreamDecoder>,
    events: EventScreen,
}

/// The same for a stream whose events have been read: those that come out of another screen.
pub struct EventScreen {
    dialect: Dialect,
    hooks: Vec<Hooked>,
    blocks: Vec<Open>,
    /// Which text is being gathered, and what of it: pieces of one text that come together are looked at, and written, as one.
    gathering: Option<Of>,
    gathered: String,
    /// Answers that have not ended.
    choices: Vec<Choice>,
    refused: Option<Rejection>,
    over: bool,
}

/// Names one text of a stream.
#[derive(Clone, Copy, PartialEq)]
struct Of {
    choice: u32,
    index: u32,
    /// Which summary of reasoning.
    sub: Option<u32>,
    kind: PartKind,
}

struct Choice {
    number: u32,
    blocks: u32,
    ended: bool,
}

/// A block that has begun and not ended.
struct Open {
    choice: u32,
    index: u32,
    kind: Option<PartKind>,
    /// One for the block itself, and one for each summary of reasoning.
    texts: Vec<(Option<u32>, Vec<Stage>)>,
    /// They go out when it ends: then all of its text has, and whether that was changed is known.
    signatures: Vec<Opaque<'static>>,
}

impl Open {
    /// Whether something else stands in its texts than what was signed.
    fn is_edited(&self, hooks: &[Hooked]) -> bool {
        let by = |stages: &[Stage]| stages.iter().zip(hooks).any(|(stage, hook)| stage.is_edited() && !hook.restores);
        self.texts.iter().any(|(_, stages)| by(stages))
    }
}

fn kept(signature: Opaque<'_>) -> Opaque<'static> {
    Opaque::made_by(signature.dialect, signature.provider, signature.data.into_owned())
}

impl Screen {
    /// For a stream in the client's `dialect`. `seed` makes ids where the dialect has none.
    #[must_use]
    pub fn new(dialect: Dialect, hooks: Vec<Hooked>, seed: &str) -> Self {
        let maker = Maker::nobody(seed);
        let decoder = codec(dialect).stream_decoder(&maker);
        Self { decoder, events: EventScreen::new(dialect, hooks) }
    }

    /// Takes the next chunk. `end`: nothing follows. After a refusal nothing more comes out.
    pub fn feed(&mut self, chunk: &[u8], end: bool, sink: &mut dyn FnMut(Event<'_>)) {
        let Self { decoder, events } = self;
        decoder.feed(chunk, end, &mut |event| events.feed(event, sink));
        events.show(sink);
    }

    /// Ends the stream: the client gets the message as a refusal, and the proper end.
    pub fn refuse(&mut self, rejection: Rejection, sink: &mut dyn FnMut(Event<'_>)) {
        self.events.refuse(rejection, sink);
    }

    /// Takes back what came out last and did not reach the client: a refusal then ends what the client has seen.
    pub fn take_back(&mut self, events: &[Event<'_>]) {
        for event in events.iter().rev() {
            match event {
                Event::BlockStart { choice, index, .. } => {
                    self.events.blocks.retain(|open| (open.choice, open.index) != (*choice, *index));
                    self.events.choice(*choice).blocks = *index;
                }
                Event::BlockEnd { choice, index } => {
                    self.events.blocks.push(Open {
                        choice: *choice,
                        index: *index,
                        kind: None,
                        texts: Vec::new(),
                        signatures: Vec::new(),
                    });
                }
                Event::Stop { choice, .. } => self.events.choice(*choice).ended = false,
                Event::Error(_) => self.events.over = false,
                // Of a refusal: no other end comes from here.
                Event::End if self.events.refused.take().is_some() => self.events.over = false,
                _ => {}
            }
        }
    }

    /// Why it was ended, if it was.
    #[must_use]
    pub fn refused(&self) -> Option<&Rejection> {
        self.events.refused.as_ref()
    }
}

impl EventScreen {
    /// For texts that go through `hooks`, of a stream in the client's `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect, hooks: Vec<Hooked>) -> Self {
        Self {
            dialect,
            hooks,
            blocks: Vec::new(),
            gathering: None,
            gathered: String::new(),
            choices: Vec::new(),
            refused: None,
            over: false,
        }
    }

    /// Why the stream was ended, if it was.
    #[must_use]
    pub fn refused(&self) -> Option<&Rejection> {
        self.refused.as_ref()
    }

    /// Takes the next event. What it says may wait for [`show`](Self::show).
    pub fn feed(&mut self, event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        let event = match event {
            _ if self.over => return,
            Event::Logprobs { .. } if !self.hooks.is_empty() => return,
            Event::Delta { choice, index, delta } => match text_of(delta) {
                Ok((kind, sub, text)) => {
                    let kind = self.kind(choice, index, kind);
                    return self.gather(Of { choice, index, sub, kind }, &text, sink);
                }
                Err(Delta::Signature(signature)) => match self.open(choice, index) {
                    Some(open) => return open.signatures.push(kept(signature)),
                    None => Event::Delta { choice, index, delta: Delta::Signature(signature) },
                },
                Err(delta) => Event::Delta { choice, index, delta },
            },
            event => event,
        };
        self.show(sink);
        if self.over {
            return;
        }
        match event {
            Event::BlockStart { choice, index, mut block } => {
                if let Content::Foreign(foreign) = &mut block.content
                    && let Some(rejection) = self.foreign(&mut foreign.raw)
                {
                    return self.refuse(rejection, sink);
                }
                self.begin(choice, index, block, sink);
            }
            Event::Delta { choice, index, delta: Delta::Foreign(mut raw) } => match self.foreign(&mut raw) {
                Some(rejection) => self.refuse(rejection, sink),
                None => sink(Event::Delta { choice, index, delta: Delta::Foreign(raw) }),
            },
            Event::BlockEnd { choice, index } => {
                self.flush(choice, index, sink);
                if !self.over {
                    sink(Event::BlockEnd { choice, index });
                }
            }
            Event::Stop { choice, stop, extras } => {
                self.choice(choice).ended = true;
                sink(Event::Stop { choice, stop, extras });
            }
            Event::Error(error) => {
                while let Some((choice, index)) = self.blocks.first().map(|open| (open.choice, open.index)) {
                    self.flush(choice, index, sink);
                }
                if !self.over {
                    sink(Event::Error(error));
                }
                self.over = true;
            }
            event => sink(event),
        }
    }

    /// A block that only this dialect has comes whole, and once more when it is finished. Why the answer must not go on, if so.
    fn foreign(&mut self, raw: &mut Json<'_>) -> Option<Rejection> {
        match screen_block(raw.get(), self.dialect, &mut self.hooks) {
            Ok(None) => None,
            Ok(Some(edited)) => {
                *raw = Json::parse(&edited).map(Json::into_owned).unwrap_or_default();
                None
            }
            Err(rejection) => Some(rejection),
        }
    }

    fn begin(&mut self, choice: u32, index: u32, mut block: Block<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        let of_choice = self.choice(choice);
        of_choice.blocks = of_choice.blocks.max(index.saturating_add(1));
        let mut signatures = Vec::new();
        let (kind, text) = match &mut block.content {
            Content::Text(text) => (Some(PartKind::Text), std::mem::take(&mut text.text)),
            Content::Refusal(text) => (Some(PartKind::Refusal), std::mem::take(text)),
            Content::Reasoning(reasoning) => {
                signatures.extend(reasoning.signature.take().map(kept));
                (Some(PartKind::Reasoning), std::mem::take(&mut reasoning.text))
            }
            Content::ToolCall(call) => {
                let kind = if call.custom { PartKind::Input } else { PartKind::Arguments };
                (Some(kind), std::mem::take(&mut call.arguments))
            }
            Content::Media(media) => (Some(PartKind::Transcript), media.transcript.take().unwrap_or_default()),
            Content::ToolResult(_) | Content::Foreign(_) => (None, Str::default()),
        };
        self.blocks.push(Open { choice, index, kind, texts: Vec::new(), signatures });
        sink(Event::BlockStart { choice, index, block });
        if let Some(kind) = kind {
            self.gather(Of { choice, index, sub: None, kind }, &text, sink);
        }
    }

    fn gather(&mut self, of: Of, text: &str, sink: &mut dyn FnMut(Event<'_>)) {
        if text.is_empty() {
            return;
        }
        if self.gathering.is_some_and(|other| other != of) || self.gathered.len() >= MOST_GATHERED {
            self.show(sink);
        }
        self.gathering = Some(of);
        self.gathered.push_str(text);
    }

    /// Shows the hooks what was gathered: nothing more comes for now.
    pub fn show(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        let Some(of) = self.gathering.take() else { return };
        let mut text = std::mem::take(&mut self.gathered);
        if !self.over {
            self.text(of, &text, false, sink);
        }
        text.clear();
        self.gathered = text;
    }

    fn text(&mut self, of: Of, text: &str, end: bool, sink: &mut dyn FnMut(Event<'_>)) {
        let Of { choice, index, sub, kind } = of;
        let Self { hooks, blocks, .. } = self;
        let mut out = |text: &str| sink(Event::Delta { choice, index, delta: delta(kind, sub, text.into()) });
        let open = blocks.iter_mut().rev().find(|open| open.choice == choice && open.index == index);
        let refused = match open {
            None => {
                out(text);
                None
            }
            Some(open) => {
                let at = open.texts.iter().position(|(other, _)| *other == sub).unwrap_or_else(|| {
                    open.texts.push((sub, hooks.iter().map(|_| Stage::default()).collect()));
                    open.texts.len() - 1
                });
                chain::run(hooks, &mut open.texts[at].1, Part::new(choice, index, kind), text, end, &mut out)
            }
        };
        if let Some(rejection) = refused {
            self.refuse(rejection, sink);
        }
    }

    /// The end of a block: all of its texts end.
    fn flush(&mut self, choice: u32, index: u32, sink: &mut dyn FnMut(Event<'_>)) {
        let Some(open) = self.open(choice, index) else { return };
        let (kind, subs) = (open.kind, open.texts.iter().map(|text| text.0).collect::<Vec<_>>());
        for sub in subs {
            if let (Some(kind), false) = (kind, self.over) {
                self.text(Of { choice, index, sub, kind }, "", true, sink);
            }
        }
        let at = self.blocks.iter().position(|open| open.choice == choice && open.index == index);
        let Some(open) = at.map(|at| self.blocks.remove(at)) else { return };
        if !self.over && !open.is_edited(&self.hooks) {
            for signature in open.signatures {
                sink(Event::Delta { choice, index, delta: Delta::Signature(signature) });
            }
        }
    }

    /// What a delta of this kind brings: only the block that it is of tells the input of a custom tool from arguments.
    fn kind(&mut self, choice: u32, index: u32, kind: PartKind) -> PartKind {
        match kind {
            PartKind::Arguments => self.open(choice, index).and_then(|open| open.kind).unwrap_or(kind),
            kind => kind,
        }
    }

    fn open(&mut self, choice: u32, index: u32) -> Option<&mut Open> {
        self.blocks.iter_mut().find(|open| open.choice == choice && open.index == index)
    }

    fn refuse(&mut self, rejection: Rejection, sink: &mut dyn FnMut(Event<'_>)) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        for Open { choice, index, .. } in self.blocks.drain(..) {
            sink(Event::BlockEnd { choice, index });
        }
        if self.choices.is_empty() {
            self.choice(0);
        }
        for Choice { number: choice, blocks: index, ended } in self.choices.drain(..) {
            if ended {
                continue;
            }
            let block = Block::new(Content::Refusal(Str::default()));
            sink(Event::BlockStart { choice, index, block });
            sink(Event::Delta { choice, index, delta: Delta::Refusal(rejection.message.as_str().into()) });
            sink(Event::BlockEnd { choice, index });
            sink(Event::Stop { choice, stop: Stop::new(StopReason::ContentFilter), extras: Vec::new() });
        }
        sink(Event::End);
        self.refused = Some(rejection);
    }

    fn choice(&mut self, number: u32) -> &mut Choice {
        let at = self.choices.iter().position(|choice| choice.number == number).unwrap_or_else(|| {
            self.choices.push(Choice { number, blocks: 0, ended: false });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }
}

/// The text that a delta brings, of what kind, and of which summary of reasoning.
///
/// # Errors
/// It brings none: the delta.
pub fn text_of(delta: Delta<'_>) -> Result<(PartKind, Option<u32>, Str<'_>), Delta<'_>> {
    Ok(match delta {
        Delta::Text(text) => (PartKind::Text, None, text),
        Delta::Refusal(text) => (PartKind::Refusal, None, text),
        Delta::Reasoning(text) => (PartKind::Reasoning, None, text),
        Delta::Summary { part, text } => (PartKind::Reasoning, Some(part), text),
        Delta::Arguments(text) => (PartKind::Arguments, None, text),
        Delta::Transcript(text) => (PartKind::Transcript, None, text),
        other @ (Delta::Signature(_)
        | Delta::Encrypted(_)
        | Delta::Citation(_)
        | Delta::MediaData(_)
        | Delta::Foreign(_)) => return Err(other),
    })
}

/// The event's part that brings a text of this kind. `sub`: which summary, of reasoning.
#[must_use]
pub fn delta(kind: PartKind, sub: Option<u32>, text: Str<'_>) -> Delta<'_> {
    match (kind, sub) {
        (PartKind::Reasoning, Some(part)) => Delta::Summary { part, text },
        (PartKind::Text, _) => Delta::Text(text),
        (PartKind::Refusal, _) => Delta::Refusal(text),
        (PartKind::Reasoning, None) => Delta::Reasoning(text),
        (PartKind::Arguments | PartKind::Input, _) => Delta::Arguments(text),
        (PartKind::Transcript, _) => Delta::Transcript(text),
    }
}
