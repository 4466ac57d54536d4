//! Streams of the dialects that have no rules of their own here: their bytes pass, and the codec's decoder tells what they say.

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;

use super::translated::note;
use super::{Notes, raw};
use crate::codec::{Maker, StreamDecoder, codec};
use crate::common::Event;
use crate::dialect::Dialect;
use crate::event_stream::whole_frames_end;
use crate::sse::{Fields, Piece, Splitter};

/// Passes whole events on and reads along.
pub(super) struct Followed {
    decoder: Box<dyn StreamDecoder>,
    hold: Hold,
}

/// Only whole events go out, so that an error can follow at any time.
#[derive(Debug)]
enum Hold {
    Events(Splitter),
    /// The beginning of a frame of an AWS event stream.
    Frames(BytesMut),
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed").field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl Followed {
    pub(super) fn new(dialect: Dialect) -> Self {
        let maker = Maker::nobody("");
        let hold = match dialect {
            Dialect::Bedrock => Hold::Frames(BytesMut::new()),
            _ => Hold::Events(Splitter::default()),
        };
        Self { decoder: codec(dialect).stream_decoder(&maker), hold }
    }

    pub(super) fn feed(&mut self, chunk: &Bytes, end: bool, notes: &mut Notes) -> Bytes {
        match &mut self.hold {
            Hold::Events(splitter) => {
                let out = whole_events(splitter, chunk, |piece, at| {
                    let readable = is_readable(piece);
                    if readable {
                        let event = piece.bytes();
                        if follow(&mut *self.decoder, event, false, notes) {
                            notes.errors.push(at..at + event.len());
                        }
                    } else {
                        notes.unreadable();
                    }
                    readable
                });
                if !end {
                    return out;
                }
                let tail = splitter.tail();
                if follow(&mut *self.decoder, tail, true, notes) {
                    notes.errors.push(out.len()..out.len() + tail.len());
                }
                if notes.is_over() { [&out, tail].concat().into() } else { out }
            }
            Hold::Frames(pending) => {
                let failed = follow(&mut *self.decoder, chunk, end, notes);
                let out = whole_frames(pending, chunk, end && notes.is_over());
                if failed {
                    notes.errors.push(0..out.len());
                }
                out
            }
        }
    }

    pub(super) fn mid_event(&self) -> bool {
        match &self.hold {
            Hold::Events(splitter) => splitter.oversized(),
            Hold::Frames(_) => false,
        }
    }
}

/// Reads on, and says whether that told of an error.
fn follow(decoder: &mut dyn StreamDecoder, bytes: &[u8], end: bool, notes: &mut Notes) -> bool {
    let mut failed = false;
    decoder.feed(bytes, end, &mut |event| {
        failed |= matches!(event, Event::Error(_));
        note(&event, notes);
    });
    notes.stopped |= decoder.has_stopped();
    failed
}

/// Whether it is not an event that is no JSON: clients stumble over such a one, and the rest may be well.
fn is_readable(piece: Piece<'_>) -> bool {
    let Piece::Event(event) = piece else { return true };
    let fields = Fields::parse(event);
    let Some(data) = &fields.data else { return true };
    data.trim_ascii() == b"[DONE]" || raw::parse::<IgnoredAny>(data).is_some()
}

/// The events that `chunk` completes and `pass` lets pass, which is told where they will begin. What lies in the chunk as it is to
/// go out is not copied.
pub(super) fn whole_events(
    splitter: &mut Splitter,
    chunk: &Bytes,
    mut pass: impl FnMut(Piece<'_>, usize) -> bool,
) -> Bytes {
    let mut out = BytesMut::new();
    // `chunk[from..to]` is to be passed on after `out`.
    let (mut from, mut to) = (0, 0);
    splitter.feed(chunk, |piece: Piece<'_>, range| {
        let passes = pass(piece, out.len() + to - from);
        if passes && piece.bytes().len() == range.len() {
            to = range.end;
            return;
        }
        out.extend_from_slice(&chunk[from..to]);
        if passes {
            out.extend_from_slice(piece.bytes());
        }
        (from, to) = (range.end, range.end);
    });
    if out.is_empty() {
        return chunk.slice(from..to);
    }
    out.extend_from_slice(&chunk[from..to]);
    out.freeze()
}

fn whole_frames(pending: &mut BytesMut, chunk: &Bytes, last: bool) -> Bytes {
    if pending.is_empty() && !last {
        let whole = whole_frames_end(chunk);
        pending.extend_from_slice(&chunk[whole..]);
        return chunk.slice(..whole);
    }
    pending.extend_from_slice(chunk);
    let whole = if last { pending.len() } else { whole_frames_end(pending) };
    pending.split_to(whole).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_stream::write_event;

    fn pieces(hold: impl Fn(&Bytes) -> Bytes, chunks: &[&'static [u8]]) -> Vec<Bytes> {
        chunks.iter().map(|chunk| hold(&Bytes::from_static(chunk))).collect()
    }

    #[test]
    fn events_leave_whole() {
        let splitter = std::cell::RefCell::new(Splitter::default());
        let out = pieces(
            |chunk| whole_events(&mut splitter.borrow_mut(), chunk, |piece, _| is_readable(piece)),
            &[b"data: 1\n\ndata: 2", b"2\n\ndata: x\n\ndata: 3\n\nda", b"ta: 4\n", b"\n", b"data: no\n\ndata: 5\n\n"],
        );
        assert_eq!(out, [&b"data: 1\n\n"[..], b"data: 22\n\ndata: 3\n\n", b"", b"data: 4\n\n", b"data: 5\n\n"]);
    }

    #[test]
    fn frames_leave_whole() {
        let mut frame = Vec::new();
        write_event(&mut frame, "messageStop", |_| {});
        let pending = std::cell::RefCell::new(BytesMut::new());
        let stream = frame.repeat(3);
        let mut out = Vec::new();
        for chunk in stream.chunks(7) {
            let whole = whole_frames(&mut pending.borrow_mut(), &Bytes::copy_from_slice(chunk), false);
            assert!(whole.len().is_multiple_of(frame.len()));
            out.extend_from_slice(&whole);
        }
        assert_eq!(out, stream);
        let rest = whole_frames(&mut BytesMut::new(), &Bytes::copy_from_slice(&stream[..stream.len() - 1]), false);
        assert_eq!(rest, stream[..2 * frame.len()]);
        let damaged = Bytes::from(vec![1; 20]);
        assert_eq!(whole_frames(&mut BytesMut::new(), &damaged, false), damaged);
    }
}
