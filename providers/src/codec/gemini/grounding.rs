//! Where an answer comes from: `groundingMetadata` and `citationMetadata` as citations, and citations as
//! `groundingMetadata` (<https://ai.google.dev/api/generate-content#GroundingMetadata>). Google counts in bytes.

use serde::{Deserialize, Serialize};

use super::extras::find;
use crate::common::{Citation, Json, Str};

/// The characters of a text that comes in pieces: which of its bytes begin one. Of plain ASCII only the length is kept,
/// of anything else one bit for each byte.
#[derive(Debug, Default)]
pub(super) struct Chars {
    bytes: usize,
    count: u64,
    /// Empty as long as every byte is a character.
    starts: Vec<u64>,
}

/// Texts that are longer get no places.
const MOST: usize = 4 << 20;

impl Chars {
    /// Adds a piece.
    pub(super) fn push(&mut self, text: &str) {
        if self.bytes + text.len() > MOST {
            self.bytes = MOST;
            return;
        }
        if self.starts.is_empty() && !text.is_ascii() {
            self.starts = vec![u64::MAX; self.bytes / 64 + 1];
            self.starts[self.bytes / 64] = (1 << (self.bytes % 64)) - 1;
        }
        if !self.starts.is_empty() {
            self.starts.resize((self.bytes + text.len()) / 64 + 1, 0);
            for (at, _) in text.char_indices() {
                let at = self.bytes + at;
                self.starts[at / 64] |= 1 << (at % 64);
            }
        }
        self.bytes += text.len();
        self.count += text.chars().count() as u64;
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The number of the character that begins at a byte, or of the one behind the text.
    fn char_at(&self, byte: u64) -> Option<u64> {
        let byte = usize::try_from(byte).ok().filter(|byte| *byte <= self.bytes && self.bytes < MOST)?;
        if self.starts.is_empty() {
            return Some(byte as u64);
        }
        let before = self.starts[..byte / 64].iter().map(|bits| u64::from(bits.count_ones())).sum::<u64>();
        Some(before + u64::from((self.starts[byte / 64] & ((1 << (byte % 64)) - 1)).count_ones()))
    }

    /// The byte at which a character begins.
    fn byte_at(&self, char: u64) -> Option<u64> {
        if char >= self.count || self.starts.is_empty() {
            return (char <= self.count && self.bytes < MOST).then_some(if char == self.count {
                self.bytes as u64
            } else {
                char
            });
        }
        let mut left = char;
        for (at, bits) in self.starts.iter().enumerate() {
            let here = u64::from(bits.count_ones());
            if left < here {
                let bit = (0..64).filter(|bit| bits & (1 << bit) != 0).nth(usize::try_from(left).ok()?)?;
                return Some(at as u64 * 64 + bit);
            }
            left -= here;
        }
        None
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Grounding<'a> {
    #[serde(borrow)]
    grounding_chunks: Vec<Chunk<'a>>,
    grounding_supports: Vec<Support>,
}

/// A source is of one of these kinds.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Chunk<'a> {
    #[serde(borrow)]
    web: Option<Source<'a>>,
    retrieved_context: Option<Source<'a>>,
    maps: Option<Source<'a>>,
    image: Option<Source<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Source<'a> {
    #[serde(borrow, alias = "sourceUri")]
    uri: Option<Str<'a>>,
    title: Option<Str<'a>>,
    text: Option<Str<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Support {
    segment: Segment,
    grounding_chunk_indices: Vec<usize>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Segment {
    start_index: u64,
    end_index: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Recitations<'a> {
    #[serde(borrow, alias = "citationSources")]
    citations: Vec<Recitation<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Recitation<'a> {
    start_index: u64,
    end_index: Option<u64>,
    #[serde(borrow)]
    uri: Option<Str<'a>>,
    title: Option<Str<'a>>,
}

/// The citations that a candidate's extras hold; what cannot be read cites nothing.
pub(super) fn citations(extras: &[(Str<'static>, Json<'static>)], text: &Chars) -> Vec<Citation<'static>> {
    let mut found = Vec::new();
    let span = |from: u64, to: Option<u64>| Some((text.char_at(from)?, text.char_at(to?)?));
    if let Some(Grounding { grounding_chunks, grounding_supports }) =
        find(extras, "groundingMetadata").and_then(|json| json.read().ok())
    {
        let cite = |at: usize, span: Option<(u64, u64)>| {
            let Chunk { web, retrieved_context, maps, image } = grounding_chunks.get(at)?;
            let Source { uri, title, text } = [web, retrieved_context, maps, image].into_iter().flatten().next()?;
            let owned = |text: &Option<Str<'_>>| text.clone().map(Str::into_owned);
            Some(Citation { url: owned(uri), title: owned(title), quote: owned(text), span, raw: None })
        };
        for Support { segment, grounding_chunk_indices } in &grounding_supports {
            let span = span(segment.start_index, segment.end_index);
            found.extend(grounding_chunk_indices.iter().filter_map(|at| cite(*at, span)));
        }
        let named = |at: &usize| grounding_supports.iter().any(|one| one.grounding_chunk_indices.contains(at));
        found.extend((0..grounding_chunks.len()).filter(|at| !named(at)).filter_map(|at| cite(at, None)));
    }
    if let Some(Recitations { citations }) = find(extras, "citationMetadata").and_then(|json| json.read().ok()) {
        found.extend(citations.into_iter().map(|Recitation { start_index, end_index, uri, title }| Citation {
            url: uri.map(Str::into_owned),
            title: title.map(Str::into_owned),
            span: span(start_index, end_index),
            ..Citation::default()
        }));
    }
    found
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Written<'o> {
    grounding_chunks: Vec<WrittenChunk<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grounding_supports: Vec<WrittenSupport>,
}

#[derive(Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum WrittenChunk<'o> {
    Web(WrittenSource<'o>),
    RetrievedContext(WrittenSource<'o>),
}

#[derive(Serialize, PartialEq)]
struct WrittenSource<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'o str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSupport {
    segment: WrittenSegment,
    grounding_chunk_indices: Vec<usize>,
}

#[derive(Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct WrittenSegment {
    start_index: u64,
    end_index: u64,
}

/// Writes citations as `groundingMetadata`. Beside each stands the stretch of its block.
pub(super) fn metadata<'o>(
    citations: impl Iterator<Item = (&'o Citation<'o>, (u64, u64))>,
    text: &Chars,
) -> Option<Json<'static>> {
    let mut written = Written::default();
    for (Citation { url, title, quote, span, raw: _ }, block) in citations {
        let source = WrittenSource { uri: url.as_deref(), title: title.as_deref(), text: quote.as_deref() };
        let chunk = match (&url, &quote) {
            (Some(_), None) => WrittenChunk::Web(source),
            (_, _) => WrittenChunk::RetrievedContext(source),
        };
        let at = written.grounding_chunks.iter().position(|known| *known == chunk).unwrap_or_else(|| {
            written.grounding_chunks.push(chunk);
            written.grounding_chunks.len() - 1
        });
        let (from, to) = span.map_or(block, |(from, to)| (block.0 + from, block.0 + to));
        let (Some(start_index), Some(end_index)) = (text.byte_at(from), text.byte_at(to)) else { continue };
        let segment = WrittenSegment { start_index, end_index };
        match written.grounding_supports.iter_mut().find(|known| known.segment == segment) {
            Some(known) => known.grounding_chunk_indices.push(at),
            None => {
                written.grounding_supports.push(WrittenSupport { segment, grounding_chunk_indices: vec![at] });
            }
        }
    }
    (!written.grounding_chunks.is_empty()).then(|| Json::of(&written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_characters_are_told_apart() {
        for pieces in [&["plain text", " and more of it"][..], &["58°F is ", "14°C"], &["ä", "", "😀x", "日本語"]]
        {
            let whole = pieces.concat();
            let mut chars = Chars::default();
            pieces.iter().for_each(|piece| chars.push(piece));
            for (number, (at, _)) in (0u64..).zip(whole.char_indices()) {
                assert_eq!(chars.char_at(at as u64), Some(number), "{whole} {at}");
                assert_eq!(chars.byte_at(number), Some(at as u64), "{whole} {number}");
            }
            let count = whole.chars().count() as u64;
            assert_eq!(
                (chars.char_at(whole.len() as u64), chars.byte_at(count)),
                (Some(count), Some(whole.len() as u64))
            );
            assert_eq!((chars.char_at(whole.len() as u64 + 1), chars.byte_at(count + 1)), (None, None));
        }
    }
}
