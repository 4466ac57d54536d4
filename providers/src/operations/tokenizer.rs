//! OpenAI's tokenizers, compiled in by `bpe-openai` (GitHub; MIT) and unpacked when they are first used. Counting is linear
//! in the text's length, whatever it says, and bounded.

use bpe_openai::{Tokenizer, cl100k_base, o200k_base};

/// Bytes that one [`Counter`] reads. Megabytes of dashes, the worst there is, take a second each.
const MOST: usize = 512 << 10;

/// Counts tokens of `o200k_base` over several texts. What comes after the first 512 KiB is taken to be like what came
/// before, so that nobody can keep a thread busy.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    tokens: u64,
    read: usize,
    unread: usize,
}

impl Counter {
    /// Takes a text in.
    pub(crate) fn add(&mut self, text: &str) {
        let (now, later) = text.split_at(text.floor_char_boundary(MOST - self.read));
        self.tokens += o200k_base().count(now) as u64;
        self.read += now.len();
        self.unread += later.len();
    }

    /// The tokens of all.
    pub(crate) fn total(&self) -> u64 {
        let rest = self.tokens as u128 * self.unread as u128 / self.read.max(1) as u128;
        self.tokens.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX))
    }
}

/// The text of `cl100k_base` tokens, which are what OpenAI's clients send to its embedding models in place of texts.
pub(super) fn text_of(tokens: &[u32]) -> Option<String> {
    let tokenizer: &Tokenizer = cl100k_base();
    let known = tokenizer.bpe.num_tokens();
    if tokens.iter().any(|token| usize::try_from(*token).map_or(true, |token| token >= known)) {
        return None;
    }
    tokenizer.decode(tokens)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn count(text: &str) -> u64 {
        let mut counter = Counter::default();
        counter.add(text);
        counter.total()
    }

    #[test]
    fn known_texts_have_known_counts() {
        assert_eq!(count(""), 0);
        assert_eq!(count("Hello, world!"), 4);
        // As recorded from OpenAI (`embeddings-tokens.yaml`).
        assert_eq!(text_of(&[4438, 656, 358, 7738, 856, 3636, 30]).as_deref(), Some("How do I reset my password?"));
        assert_eq!(text_of(&[u32::MAX]), None);
        assert_eq!(text_of(&[100_300]), None, "special tokens are no text");
    }

    #[test]
    fn what_is_too_long_is_taken_to_be_like_the_rest() {
        let text = "Hello, world! ".repeat(MOST / 14 * 4);
        let part = count(&text[..MOST / 14 * 14]);
        assert!(count(&text).abs_diff(part * 4) < 10);
        let mut counter = Counter::default();
        for _ in 0..3 {
            counter.add(&"\u{1f30d}".repeat(MOST / 4 - 1));
        }
        assert!(counter.read <= MOST && counter.unread > MOST);
        assert!(counter.total().abs_diff(count(&"\u{1f30d}".repeat(MOST / 4 - 1)) * 3) < 10);
    }

    #[test]
    fn hostile_texts_take_no_longer_than_others() {
        let size = 1 << 20;
        for piece in [
            "a", " ", "\n", "A", "aA", "é", "0", ".", " \n", "\u{200b}", "🌍", "''", "ab ", "\u{0301}", "\r ", "/", "-",
        ] {
            let text = piece.repeat(size / piece.len());
            count(&text[..piece.len()]);
            let start = Instant::now();
            assert!(count(&text) > 0);
            let spent = start.elapsed();
            println!("{piece:?}: {spent:?}");
            assert!(spent < Duration::from_secs(30), "{piece:?}: {spent:?}");
        }
    }
}
