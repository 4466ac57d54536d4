//! Where events end.

use std::ops::Range;

use memchr::memchr2;

/// The largest event that is put together from several chunks, unless said otherwise: a base64 image fits.
pub const DEFAULT_MAX_EVENT: usize = 16 << 20;

/// A tail buffer that grew past this for one large event is given back after it.
const KEEP_TAIL: usize = 16 << 10;

/// A part of the body. All pieces in order, and then [`Splitter::tail`], are exactly the bytes that were fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One whole event with its terminator, and with the stray line ends before it.
    Event(&'a [u8]),
    /// A part of an event that is larger than the limit: for passing on, not for reading. The event goes on until the
    /// next [`Piece::Event`] begins.
    Oversized {
        /// What is passed on.
        bytes: &'a [u8],
        /// The event begins here.
        begins: bool,
    },
}

impl<'a> Piece<'a> {
    /// The bytes, whatever they are.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Event(bytes) | Self::Oversized { bytes, .. } => bytes,
        }
    }
}

/// Cuts a body that arrives in arbitrary chunks into events.
///
/// An event ends at its first empty line; lines end with `\n`, `\r\n` or `\r`, also mixed. Events inside one chunk are
/// given as slices of it. Only the beginning of an event that the chunk did not finish is kept, and never more than the
/// limit.
#[derive(Debug)]
pub struct Splitter {
    tail: Vec<u8>,
    max_event: usize,
    /// The current event is over the limit: nothing of it is kept.
    oversized: bool,
    /// Nothing but line ends since the last event.
    blank: bool,
    /// The current line is empty so far.
    line_empty: bool,
    /// The last byte was `\r`: a `\n` now belongs to it.
    after_cr: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_EVENT)
    }
}

impl Splitter {
    /// A splitter that keeps at most `max_event` bytes.
    #[must_use]
    pub fn new(max_event: usize) -> Self {
        Self { tail: Vec::new(), max_event, oversized: false, blank: true, line_empty: true, after_cr: false }
    }

    /// Gives every piece that `chunk` completes to `on_piece`, in order, with the range of `chunk` that it covers. A
    /// piece longer than its range began in an earlier chunk.
    pub fn feed(&mut self, chunk: &[u8], mut on_piece: impl FnMut(Piece<'_>, Range<usize>)) {
        let mut start = 0;
        while let Some(end) = self.event_end(chunk, start) {
            if self.oversized {
                self.oversized = false;
                on_piece(Piece::Oversized { bytes: &chunk[start..end], begins: false }, start..end);
            } else if self.tail.is_empty() {
                on_piece(Piece::Event(&chunk[start..end]), start..end);
            } else {
                self.tail.extend_from_slice(&chunk[start..end]);
                on_piece(Piece::Event(&self.tail), start..end);
                self.clear_tail();
            }
            start = end;
        }
        let rest = &chunk[start..];
        if rest.is_empty() {
            return;
        }
        if self.oversized {
            on_piece(Piece::Oversized { bytes: rest, begins: false }, start..chunk.len());
        } else if self.tail.len().saturating_add(rest.len()) > self.max_event {
            self.oversized = true;
            if self.tail.is_empty() {
                on_piece(Piece::Oversized { bytes: rest, begins: true }, start..chunk.len());
            } else {
                self.tail.extend_from_slice(rest);
                on_piece(Piece::Oversized { bytes: &self.tail, begins: true }, start..chunk.len());
                self.clear_tail();
            }
        } else {
            self.tail.extend_from_slice(rest);
        }
    }

    /// The event that has begun and not ended. At the end of the body, some servers leave out the last empty line.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Whether the event that has begun is over the limit, so that its beginning has been given out already.
    #[must_use]
    pub fn oversized(&self) -> bool {
        self.oversized
    }

    /// Where the event that `chunk[from..]` continues ends, behind its terminator. `None`: not in this chunk, and the
    /// line state stands at the end of the chunk.
    fn event_end(&mut self, chunk: &[u8], from: usize) -> Option<usize> {
        let mut pos = from;
        while let Some(offset) = memchr2(b'\n', b'\r', &chunk[pos..]) {
            let at = pos + offset;
            pos = at + 1;
            if offset > 0 {
                self.has_text();
            }
            let is_cr = chunk[at] == b'\r';
            if !is_cr && self.after_cr {
                self.after_cr = false;
                continue;
            }
            self.after_cr = is_cr;
            if !self.line_empty {
                self.line_empty = true;
            } else if !self.blank {
                self.blank = true;
                if is_cr && chunk.get(pos) == Some(&b'\n') {
                    self.after_cr = false;
                    pos += 1;
                }
                return Some(pos);
            }
        }
        if pos < chunk.len() {
            self.has_text();
        }
        None
    }

    fn has_text(&mut self) {
        self.blank = false;
        self.line_empty = false;
        self.after_cr = false;
    }

    fn clear_tail(&mut self) {
        self.tail.clear();
        if self.tail.capacity() > KEEP_TAIL {
            self.tail = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events, the tail, and whether anything was oversized.
    fn split(max_event: usize, chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>, bool) {
        let mut splitter = Splitter::new(max_event);
        let (mut events, mut all, mut oversized) = (Vec::new(), Vec::new(), false);
        for chunk in chunks {
            splitter.feed(chunk, |piece, range| {
                all.extend_from_slice(piece.bytes());
                assert!(piece.bytes().ends_with(&chunk[range]));
                match piece {
                    Piece::Event(event) => events.push(event.to_vec()),
                    Piece::Oversized { .. } => oversized = true,
                }
            });
            assert!(splitter.tail().len() <= max_event);
        }
        all.extend_from_slice(splitter.tail());
        assert_eq!(all, chunks.concat(), "pieces and tail are the input");
        (events, splitter.tail().to_vec(), oversized)
    }

    fn texts(events: &[Vec<u8>]) -> Vec<&str> {
        events.iter().map(|event| std::str::from_utf8(event).unwrap()).collect()
    }

    #[test]
    fn ends_events_at_every_kind_of_empty_line() {
        let input = "data: 1\n\ndata: 2\r\n\r\ndata: 3\r\rdata: 4\n\r\ndata: 5\r\n\ndata: 6\r\r\n\n\ndata: 7";
        let (events, tail, _) = split(1000, &[input.as_bytes()]);
        assert_eq!(
            texts(&events),
            ["data: 1\n\n", "data: 2\r\n\r\n", "data: 3\r\r", "data: 4\n\r\n", "data: 5\r\n\n", "data: 6\r\r\n"]
        );
        assert_eq!(tail, b"\n\ndata: 7");
    }

    #[test]
    fn finds_the_same_events_however_the_input_is_cut() {
        let input = b"\n: hi\n\nevent: a\r\ndata: 1\r\n\r\ndata: 2\r\rdata: 3\ndata: 4\n\n\n\ndata: 5\n\n";
        let trim = |events: Vec<Vec<u8>>| events.iter().map(|e| e.trim_ascii().to_vec()).collect::<Vec<_>>();
        let whole = trim(split(1000, &[input]).0);
        assert_eq!(whole.len(), 5);
        for at in 0..=input.len() {
            assert_eq!(trim(split(1000, &[&input[..at], &input[at..]]).0), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(trim(split(1000, &bytes).0), whole);
    }

    #[test]
    fn skips_an_oversized_event_and_recovers() {
        let (events, _, oversized) = split(8, &[b"data: 1", b"23456789", b"0\n", b"\ndata: 2\n", b"\n"]);
        assert_eq!(texts(&events), ["data: 2\n\n"]);
        assert!(oversized);
    }

    #[test]
    fn an_event_inside_one_chunk_is_not_copied() {
        let mut splitter = Splitter::default();
        splitter.feed(b"data: 1\n\ndata: 2\n\n", |piece, range| assert_eq!(piece.bytes().len(), range.len()));
        assert_eq!(splitter.tail.capacity(), 0);
    }

    proptest! {
        #[test]
        fn never_loses_a_byte(chunks in prop::collection::vec("[a:\n\r]{0,12}", 0..12), max in 0usize..20) {
            let chunks: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
            split(max, &chunks);
        }
    }
}
