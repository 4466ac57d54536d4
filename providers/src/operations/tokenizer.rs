//! OpenAI's tokenizers, compiled in by `bpe-openai` (GitHub; MIT) and unpacked when they are first used. Counting is linear
//! in the text's length, whatever it says.

use bpe_openai::{Tokenizer, cl100k_base, o200k_base};

/// How many tokens of `o200k_base` the text has.
pub(super) fn count(text: &str) -> u64 {
    o200k_base().count(text) as u64
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
    fn hostile_texts_take_no_longer_than_others() {
        let size = 1 << 20;
        for piece in
            ["a", " ", "\n", "A", "aA", "é", "0", ".", " \n", "\u{200b}", "🌍", "''", "ab ", "\u{0301}", "\r ", "/"]
        {
            let text = piece.repeat(size / piece.len());
            count(&text[..piece.len()]);
            let start = Instant::now();
            assert!(count(&text) > 0);
            let spent = start.elapsed();
            println!("{piece:?}: {spent:?}");
            assert!(spent < Duration::from_secs(8), "{piece:?}: {spent:?}");
        }
    }
}
