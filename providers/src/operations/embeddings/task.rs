//! What vectors are made for, in each vendor's words.

use super::super::Wire;
use crate::common::{Losses, Str};

/// What a vector is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task<'a> {
    kind: Option<Kind>,
    /// The client's word, which says more where several stand for one kind.
    word: Str<'a>,
    wire: Wire,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Document,
    Similarity,
    Classification,
    Clustering,
    Question,
    Fact,
    Code,
}

/// One kind in the words of all; the first of several words is the one that is written, none: there is no such word.
struct Row {
    kind: Kind,
    /// <https://docs.cohere.com/reference/embed>
    cohere: &'static [&'static str],
    /// <https://ai.google.dev/gemini-api/docs/embeddings#task-types>
    google: &'static [&'static str],
    /// <https://docs.voyageai.com/reference/embeddings-api>; NVIDIA says `passage`.
    voyage: &'static [&'static str],
    /// <https://jina.ai/embeddings/>
    jina: &'static [&'static str],
    /// <https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html>
    nova: &'static [&'static str],
}

const ROWS: [Row; 8] = [
    Row {
        kind: Kind::Query,
        cohere: &["search_query"],
        google: &["RETRIEVAL_QUERY"],
        voyage: &["query"],
        jina: &["retrieval.query"],
        nova: &[
            "GENERIC_RETRIEVAL",
            "TEXT_RETRIEVAL",
            "IMAGE_RETRIEVAL",
            "VIDEO_RETRIEVAL",
            "DOCUMENT_RETRIEVAL",
            "AUDIO_RETRIEVAL",
        ],
    },
    Row {
        kind: Kind::Document,
        cohere: &["search_document", "image"],
        google: &["RETRIEVAL_DOCUMENT"],
        voyage: &["document", "passage"],
        jina: &["retrieval.passage"],
        nova: &["GENERIC_INDEX"],
    },
    Row {
        kind: Kind::Similarity,
        cohere: &[],
        google: &["SEMANTIC_SIMILARITY"],
        voyage: &[],
        jina: &["text-matching"],
        nova: &[],
    },
    Row {
        kind: Kind::Classification,
        cohere: &["classification"],
        google: &["CLASSIFICATION"],
        voyage: &[],
        jina: &["classification"],
        nova: &["CLASSIFICATION"],
    },
    Row {
        kind: Kind::Clustering,
        cohere: &["clustering"],
        google: &["CLUSTERING"],
        voyage: &[],
        jina: &["separation"],
        nova: &["CLUSTERING"],
    },
    Row { kind: Kind::Question, cohere: &[], google: &["QUESTION_ANSWERING"], voyage: &[], jina: &[], nova: &[] },
    Row { kind: Kind::Fact, cohere: &[], google: &["FACT_VERIFICATION"], voyage: &[], jina: &[], nova: &[] },
    Row {
        kind: Kind::Code,
        cohere: &[],
        google: &["CODE_RETRIEVAL_QUERY"],
        voyage: &[],
        jina: &["code.query", "nl2code.query"],
        nova: &[],
    },
];

impl Row {
    fn all(&self) -> impl Iterator<Item = &'static [&'static str]> {
        [self.cohere, self.google, self.voyage, self.jina, self.nova].into_iter()
    }

    fn words(&self, wire: Wire) -> &'static [&'static str] {
        match wire {
            Wire::Cohere | Wire::BedrockCohere => self.cohere,
            Wire::Gemini | Wire::GeminiBatch | Wire::Vertex => self.google,
            Wire::Voyage | Wire::OpenAi => self.voyage,
            Wire::Jina => self.jina,
            Wire::BedrockNova => self.nova,
            Wire::OpenAiResponses | Wire::Anthropic | Wire::Bedrock | Wire::BedrockTitan => &[],
        }
    }
}

impl<'a> Task<'a> {
    /// The task that `word` means on `wire`. Through OpenAI's form, which has none, any vendor's word is understood.
    pub(super) fn read(wire: Wire, word: Str<'a>) -> Self {
        let said = |row: &&Row| match wire {
            Wire::OpenAi => row.all().any(|words| words.contains(&&*word)),
            _ => row.words(wire).contains(&&*word),
        };
        let kind = ROWS.iter().find(said).map(|row| row.kind);
        Self { kind, word, wire }
    }

    /// Its word on `wire`. What only sorts of retrieval have no word for is searched for like anything; other tasks without
    /// a word are noted.
    pub(super) fn word(&self, wire: Wire, losses: &mut Losses) -> Option<&str> {
        let words =
            |wire: Wire, kind| ROWS.iter().find(|row| Some(row.kind) == kind).map_or(&[][..], |row| row.words(wire));
        let shared = words(wire, self.kind);
        // One vendor has several paths with the same words.
        if wire == self.wire || shared.contains(&&*self.word) {
            return Some(&self.word);
        }
        if let Some(word) = shared.first() {
            return Some(word);
        }
        losses.note("input_type");
        let near = matches!(self.kind, Some(Kind::Question | Kind::Fact | Kind::Code)).then_some(Kind::Query);
        words(wire, near).first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(from: Wire, word: &str, to: Wire) -> (Option<String>, bool) {
        let mut losses = Losses::default();
        let task = Task::read(from, word.into());
        (task.word(to, &mut losses).map(str::to_owned), losses.is_empty())
    }

    #[test]
    fn tasks_change_words() {
        let some = |word: &str| Some(word.to_owned());
        assert_eq!(said(Wire::Cohere, "search_query", Wire::GeminiBatch), (some("RETRIEVAL_QUERY"), true));
        assert_eq!(said(Wire::Gemini, "RETRIEVAL_DOCUMENT", Wire::Voyage), (some("document"), true));
        assert_eq!(said(Wire::BedrockNova, "TEXT_RETRIEVAL", Wire::Jina), (some("retrieval.query"), true));
        assert_eq!(said(Wire::BedrockNova, "TEXT_RETRIEVAL", Wire::BedrockNova), (some("TEXT_RETRIEVAL"), true));
        assert_eq!(said(Wire::OpenAi, "search_query", Wire::Gemini), (some("RETRIEVAL_QUERY"), true));
        assert_eq!(said(Wire::OpenAi, "passage", Wire::Cohere), (some("search_document"), true));
        assert_eq!(said(Wire::Gemini, "FACT_VERIFICATION", Wire::Vertex), (some("FACT_VERIFICATION"), true));
        assert_eq!(said(Wire::Gemini, "FACT_VERIFICATION", Wire::Cohere), (some("search_query"), false));
        assert_eq!(said(Wire::Gemini, "SEMANTIC_SIMILARITY", Wire::Voyage), (None, false));
        assert_eq!(said(Wire::Voyage, "of my own", Wire::Voyage), (some("of my own"), true));
        assert_eq!(said(Wire::Voyage, "of my own", Wire::Cohere), (None, false));
    }
}
