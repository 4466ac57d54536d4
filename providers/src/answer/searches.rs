//! The web searches that a whole answer shows, told by short strings at certain depths as the answer passes.

use super::Notes;
use crate::dialect::Dialect;
use crate::usage::report::{PAGE_ACTIONS, Report, SEARCH, google_searches};

/// The longest word that means something here.
const MAX_WORD: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Searches {
    /// The string that is being read, as far as it fits.
    word: [u8; MAX_WORD],
    /// How long that is.
    length: usize,
    /// Items of Responses that are calls of the search, or queries of Google's.
    found: u64,
    /// How many of the items look at a page.
    pages: u64,
    /// What follows is the type of an item.
    at_item_type: bool,
    /// What follows is the type of an action.
    at_type: bool,
    /// What follows are Google's queries.
    in_queries: bool,
}

impl Searches {
    /// Takes the next part of a string at `depth` of what is said; `is_over`: its last.
    pub(super) fn text(&mut self, depth: u32, part: &[u8], is_over: bool, dialect: Dialect) {
        let means_something = match dialect {
            // output[{ "type" }], and its "action": { "type" }
            Dialect::OpenAiResponses => matches!(depth, 3 | 4),
            // candidates[{ groundingMetadata: { webSearchQueries: [ "…" ] } }]
            Dialect::Gemini => matches!(depth, 3..=5),
            _ => false,
        };
        if !means_something {
            return;
        }
        let fits = part.len().min(MAX_WORD - self.length.min(MAX_WORD));
        let from = self.length.min(MAX_WORD);
        self.word[from..from + fits].copy_from_slice(&part[..fits]);
        self.length = self.length.saturating_add(part.len());
        if is_over {
            let length = std::mem::take(&mut self.length);
            let word = self.word;
            self.word(depth, word.get(..length).unwrap_or_default(), length, dialect);
        }
    }

    /// `word` is empty if it is longer than any that means something.
    fn word(&mut self, depth: u32, word: &[u8], length: usize, dialect: Dialect) {
        let counts = match (dialect, depth) {
            (Dialect::Gemini, 3 | 4) => {
                self.in_queries = depth == 4 && word == b"webSearchQueries";
                false
            }
            (Dialect::Gemini, _) => self.in_queries && length > 0,
            // Not a function of the client's that is called so.
            (_, 3) => {
                let is_search = self.at_item_type && word == SEARCH.as_bytes();
                self.at_item_type = word == b"type";
                is_search
            }
            _ => {
                let is_page = self.at_type && PAGE_ACTIONS.iter().any(|action| action.as_bytes() == word);
                self.pages += u64::from(is_page);
                self.at_type = word == b"type";
                false
            }
        };
        self.found += u64::from(counts);
    }

    /// The answer is over.
    pub(super) fn tell(&self, notes: &mut Notes) {
        let found = match notes.dialect {
            Dialect::Gemini => google_searches(notes.seen.model.as_deref().unwrap_or_default(), self.found),
            _ => self.found.saturating_sub(self.pages),
        };
        if found > 0 {
            notes.report(&Report::of_searches(found));
        }
    }
}
