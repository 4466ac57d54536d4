//! How closely a medium is to be looked at, in the words of those who know any: OpenAI's `detail`, Gemini's media resolution.

use crate::common::Losses;

/// Whose words are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words {
    /// OpenAI's own, of images: `ImageDetail` of its SDK.
    OpenAi,
    /// Those that OpenAI has had from the beginning: its imitators', Cohere's, and OpenAI's own of documents.
    Common,
    /// Google's, without what stands before them: <https://ai.google.dev/gemini-api/docs/media-resolution>.
    Gemini,
}

/// A word, and whether it says less than was asked for.
type Told = (&'static str, bool);

/// A word of the common model; what it is for OpenAI, its imitators and Gemini.
const WORDS: [(&str, Told, Told, Told); 7] = [
    ("auto", ("auto", false), ("auto", false), ("UNSPECIFIED", false)),
    ("unspecified", ("auto", false), ("auto", false), ("UNSPECIFIED", false)),
    ("low", ("low", false), ("low", false), ("LOW", false)),
    ("medium", ("high", true), ("high", true), ("MEDIUM", false)),
    ("high", ("high", false), ("high", false), ("HIGH", false)),
    ("ultra_high", ("high", true), ("high", true), ("ULTRA_HIGH", false)),
    ("original", ("original", false), ("high", true), ("ULTRA_HIGH", false)),
];

/// Whether it asks for anything that would not be done unasked.
pub(super) fn asks(detail: Option<&str>) -> bool {
    detail.is_some_and(|detail| !matches!(detail, "auto" | "unspecified"))
}

/// The word that comes nearest; `messages.detail` is lost where it is not the same, or none is known.
pub(super) fn told(detail: Option<&str>, words: Words, losses: &mut Losses) -> Option<&'static str> {
    let detail = detail?;
    let known = WORDS.iter().find(|(word, ..)| *word == detail).map(|(_, openai, common, gemini)| match words {
        Words::OpenAi => *openai,
        Words::Common => *common,
        Words::Gemini => *gemini,
    });
    losses.note_if(known.is_none_or(|(_, less)| less), "messages.detail");
    known.map(|(word, _)| word)
}
