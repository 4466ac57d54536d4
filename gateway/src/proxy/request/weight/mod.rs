//! What a request weighs: its tokens by the length of what it holds, before it is sent. A tokenizer would cost more than all the
//! rest of the gateway.

use ai_gateway_providers::endpoint::{BodyKind, Endpoint};
use ai_gateway_providers::price::Terms;
use ai_gateway_providers::scan::{BodyFacts, Media, Pieces, RequestScan};
use ai_gateway_providers::usage::Usage;

use super::SMALL;
use crate::proxy::plan::BYTES_PER_TOKEN;

/// How many tokens what stands in a body, or is made of it, may have.
pub struct Weights {
    /// Bytes of text for a token.
    text: u64,
    /// Tokens of a picture, or of a page.
    picture: u64,
    /// Bytes of sound for a token.
    audio: u64,
    /// Bytes of sound for a millisecond.
    millisecond: u64,
    /// Tokens of a picture that is made.
    drawn: u64,
    /// Tokens of sound for a character that is spoken.
    spoken: u64,
}

impl Weights {
    /// What is usual: prose and code; a picture at full size; ten tokens for a second of sound, and 4 kB for it, which is less than
    /// most sound takes.
    pub const USUAL: Self =
        Self { text: BYTES_PER_TOKEN, picture: 1_600, audio: 400, millisecond: 4, drawn: 1_600, spoken: 2 };

    /// The most: no text has more tokens than bytes; no provider counts more for a picture (`gpt-4o-mini`: 2833 and eight times
    /// 5667) or for one that it makes (`gpt-image-1`: 6240); of sound, 32 tokens for a second that takes 1 kB.
    pub const MOST: Self = Self { text: 1, picture: 48_169, audio: 31, millisecond: 1, drawn: 6_240, spoken: 4 };

    /// The tokens of what is asked for by the piece, if anything is.
    pub fn made(&self, pieces: Pieces) -> Option<Usage> {
        let Pieces { characters, images, search_units: _ } = pieces;
        let made = Usage {
            image_output: images.map(|n| n.saturating_mul(self.drawn)),
            audio_output: characters.map(|n| n.saturating_mul(self.spoken)),
            ..Usage::default()
        };
        (made != Usage::default()).then_some(made)
    }
}

/// What the tokens of a prompt, and their price, go by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighed {
    /// Bytes of text: all but media.
    text: u64,
    media: Media,
    /// At which rates it may be billed.
    pub terms: Terms,
}

impl Weighed {
    /// Reads a body that was scanned. What is small counts as text, whatever it holds, and is not read again unless the `most` is
    /// wanted or it says at which rates.
    pub fn of(endpoint: &Endpoint, scan: &RequestScan, body: &[u8], most: impl FnOnce() -> bool) -> Self {
        let (media, terms) = match endpoint.body {
            BodyKind::Multipart => (Media::of_form(scan, endpoint.operation), Terms::default()),
            BodyKind::Json if body.len() > SMALL || most() => {
                let BodyFacts { media, terms, .. } = BodyFacts::in_dialect(body, endpoint.dialect);
                (media, terms)
            }
            BodyKind::Json if scan.terms => (Media::default(), Terms::of(body)),
            BodyKind::Json | BodyKind::None => Default::default(),
        };
        Self { text: (body.len() as u64).saturating_sub(media.bytes), media, terms }
    }

    /// A text so long.
    pub fn text(bytes: usize) -> Self {
        Self { text: bytes as u64, ..Self::default() }
    }

    /// About how many tokens it takes.
    pub fn tokens(&self) -> u64 {
        self.usage(&Weights::USUAL).total_input().unwrap_or(0)
    }

    /// The same by kinds.
    pub fn usage(&self, weights: &Weights) -> Usage {
        let Media { pictures, audio_bytes, .. } = self.media;
        let some = |count: u64| (count > 0).then_some(count);
        Usage {
            input: Some(self.text.div_ceil(weights.text)),
            image_input: some(pictures.saturating_mul(weights.picture)),
            audio_input: some(audio_bytes.div_ceil(weights.audio)),
            audio_input_ms: some(audio_bytes.div_ceil(weights.millisecond)),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests;
