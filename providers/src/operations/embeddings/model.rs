//! What is asked and answered, in the words of no vendor.

use super::super::{Wire, no_answer, refused};
use super::task::Task;
use super::vectors::{Form, Vector};
use crate::common::{Extras, Json, Losses, Media, MediaKind, Str};
use crate::error::ApiError;
use crate::operations::tokenizer;
use crate::usage::Usage;

/// A request. Writers take it apart without `..`.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    /// The form it was read from, which alone understands `extras`.
    pub(super) wire: Wire,
    /// Empty where the path names it.
    pub(super) model: Str<'a>,
    pub(super) inputs: Vec<Input<'a>>,
    /// The one input stood alone, not in a list.
    pub(super) alone: bool,
    /// Length of the vectors.
    pub(super) dimensions: Option<u64>,
    /// The forms of vectors wanted; none: the usual one.
    pub(super) forms: Vec<Form>,
    /// What to do with inputs that are too long.
    pub(super) truncate: Option<Truncate>,
    /// Most tokens of an input (Cohere).
    pub(super) max_tokens: Option<u64>,
    /// Whether vectors shall have the length 1 (Titan, Jina). Those of all others have it.
    pub(super) normalize: Option<bool>,
    /// Who asks, for abuse detection.
    pub(super) user: Option<Str<'a>>,
    pub(super) extras: Extras<'a>,
}

/// One input: one vector.
#[derive(Debug, Clone, Default)]
pub(super) struct Input<'a> {
    pub(super) parts: Vec<Part<'a>>,
    pub(super) task: Option<Task<'a>>,
    /// The document's title (Google).
    pub(super) title: Option<Str<'a>>,
}

#[derive(Debug, Clone)]
pub(super) enum Part<'a> {
    Text(Str<'a>),
    /// A list of token numbers (OpenAI).
    Tokens(Json<'a>),
    Media(Box<Media<'a>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truncate {
    /// Too long is an error.
    Never,
    Start,
    End,
}

impl Truncate {
    /// The words of Cohere and Nova.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "NONE",
            Self::Start => "START",
            Self::End => "END",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Never, Self::Start, Self::End].into_iter().find(|truncate| word.eq_ignore_ascii_case(truncate.as_str()))
    }

    /// For those who only know whether.
    pub(super) const fn of(truncate: bool) -> Self {
        if truncate { Self::End } else { Self::Never }
    }

    /// The same the other way; that they cut at the end is what may be lost.
    pub(super) fn flag(self, losses: &mut Losses) -> bool {
        losses.note_if(self == Self::Start, "truncate");
        self != Self::Never
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            model: Str::default(),
            inputs: Vec::new(),
            alone: false,
            dimensions: None,
            forms: Vec::new(),
            truncate: None,
            max_tokens: None,
            normalize: None,
            user: None,
            extras: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.inputs.is_empty() || self.inputs.iter().any(|input| input.parts.is_empty()) {
            return Err(refused("input", "there is nothing to embed: each input needs a text, tokens or an image"));
        }
        Ok(())
    }

    /// The task of all inputs, for those who take one per request; notes it if they differ.
    pub(super) fn task(&self, losses: &mut Losses) -> Option<&Task<'a>> {
        let first = self.inputs.first()?.task.as_ref();
        losses.note_if(self.inputs.iter().any(|input| input.task.as_ref() != first), "input_type");
        first
    }

    /// Notes what only some providers can say: Google's and Nova cannot.
    pub(super) fn note_unsaid(&self, losses: &mut Losses) {
        let Self {
            wire: _,
            model: _,
            inputs: _,
            alone: _,
            dimensions: _,
            forms,
            truncate: _,
            max_tokens,
            normalize,
            user,
            extras: _,
        } = self;
        losses.note_if(forms.iter().any(|form| form.numbers() != Form::Float), "embedding_types");
        losses.note_if(max_tokens.is_some(), "max_tokens");
        losses.note_if(*normalize == Some(false), "normalize");
        losses.note_if(user.is_some(), "user");
    }

    /// Gives every input the same task.
    pub(super) fn set_task(&mut self, task: Option<&Task<'a>>) {
        self.inputs.iter_mut().for_each(|input| input.task = task.cloned());
    }

    /// The only input.
    pub(super) fn single(&self) -> Result<&Input<'a>, ApiError> {
        match &self.inputs[..] {
            [input] => Ok(input),
            _ => Err(refused("input", "this model takes one input per request: send the inputs one by one")),
        }
    }

    /// Takes over the fields that only its own form knows, or notes them.
    pub(super) fn own_extras(&self, wire: Wire, losses: &mut Losses) -> &[(Str<'a>, Json<'a>)] {
        if self.wire == wire {
            return &self.extras;
        }
        losses.note_extras("", &self.extras);
        &[]
    }
}

impl<'a> Input<'a> {
    pub(super) fn of(part: Part<'a>) -> Self {
        Self { parts: vec![part], ..Self::default() }
    }

    pub(super) fn text(text: impl Into<Str<'a>>) -> Self {
        Self::of(Part::Text(text.into()))
    }

    /// Its text, for those who take nothing else; tokens are turned back into it.
    pub(super) fn only_text(&self) -> Result<Str<'_>, ApiError> {
        let mut text = Str::default();
        for part in &self.parts {
            let more = part.as_text()?.ok_or_else(|| refused("input", "this model embeds text only"))?;
            if text.is_empty() {
                text = more;
            } else {
                text.push_str("\n");
                text.push_str(&more);
            }
        }
        Ok(text)
    }
}

impl Part<'_> {
    /// Its text, if it is text or tokens.
    pub(super) fn as_text(&self) -> Result<Option<Str<'_>>, ApiError> {
        match self {
            Self::Text(text) => Ok(Some(text.borrowed())),
            Self::Tokens(tokens) => tokens
                .read()
                .ok()
                .and_then(|tokens: Vec<u32>| tokenizer::text_of(&tokens))
                .map(|text| Some(text.into()))
                .ok_or_else(|| refused("input", "the tokens are not of cl100k_base, or are no text")),
            Self::Media(_) => Ok(None),
        }
    }

    /// An image at a URL, or in a data URL.
    pub(super) fn image<'a>(url: Str<'a>) -> Part<'a> {
        let (source, mime) = crate::common::MediaSource::of_url(url);
        Part::Media(Box::new(Media { kind: MediaKind::Image, source, mime, ..Media::default() }))
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) id: Option<Str<'a>>,
    /// One or more sorts of numbers (never [`Form::Base64`], which is a spelling) for the same vectors, each with one per input in the order of the inputs.
    pub(super) sets: Vec<(Form, Vec<Vector<'a>>)>,
    pub(super) usage: Option<Usage>,
}

impl<'a> Answer<'a> {
    /// A vector for each of `inputs`: with one missing, the others would be taken for those of other inputs.
    pub(super) fn check(&self, inputs: usize) -> Result<(), ApiError> {
        let complete = |vectors: &Vec<Vector<'_>>| !vectors.is_empty() && (inputs == 0 || vectors.len() == inputs);
        if self.sets.is_empty() || !self.sets.iter().all(|(_, vectors)| complete(vectors)) {
            return Err(no_answer("vector for each input"));
        }
        Ok(())
    }

    /// The vectors for clients that take one form: that one if it is there; others are noted.
    pub(super) fn only(&self, numbers: Form, base64: bool, losses: &mut Losses) -> Result<Vec<Vector<'_>>, ApiError> {
        losses.note_if(self.sets.len() > 1, "answer.embedding_types");
        let wanted = self.sets.iter().find(|(form, _)| *form == numbers).or(self.sets.first());
        let (form, vectors) = wanted.ok_or_else(|| no_answer("vectors"))?;
        vectors.iter().map(|vector| vector.spelt(*form, base64)).collect()
    }

    /// Tokens read, 0 if that is not known.
    pub(super) fn input_tokens(&self) -> u64 {
        self.usage.and_then(|usage| usage.total_input()).unwrap_or(0)
    }
}
