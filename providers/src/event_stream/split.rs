//! Where frames end.

use super::frame::{Frame, FrameError, PRELUDE, lengths};

/// A tail buffer that grew past this for one large frame is given back after it.
const KEEP_TAIL: usize = 16 << 10;

/// Cuts a body that arrives in arbitrary chunks into frames. Frames inside one chunk are given as slices of it; only the
/// beginning of a frame that the chunk did not finish is kept, and never more than [`MAX_FRAME`](super::MAX_FRAME).
#[derive(Debug, Default)]
pub struct FrameSplitter {
    tail: Vec<u8>,
    broken: bool,
}

impl FrameSplitter {
    /// Gives every frame that `chunk` completes to `on_frame`, in order. After an error nothing more is given out: where
    /// the next frame would begin is unknown.
    pub fn feed(&mut self, mut chunk: &[u8], mut on_frame: impl FnMut(Result<Frame<'_>, FrameError>)) {
        while !self.broken && !chunk.is_empty() {
            let direct = self.tail.is_empty();
            if !direct {
                // Just what the frame lacks, so that those behind it need no copy.
                let wanted = match lengths(&self.tail) {
                    Ok(Some((total, _))) => total,
                    Ok(None) | Err(_) => PRELUDE,
                };
                let (more, rest) = chunk.split_at(wanted.saturating_sub(self.tail.len()).min(chunk.len()));
                self.tail.extend_from_slice(more);
                chunk = rest;
            }
            match Frame::first(if direct { chunk } else { &self.tail }) {
                Ok(Some((frame, length))) => {
                    on_frame(Ok(frame));
                    if direct {
                        chunk = &chunk[length..];
                    } else {
                        self.clear_tail();
                    }
                }
                Ok(None) if direct => {
                    self.tail.extend_from_slice(chunk);
                    return;
                }
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    self.clear_tail();
                    on_frame(Err(error));
                }
            }
        }
    }

    fn clear_tail(&mut self) {
        self.tail.clear();
        if self.tail.capacity() > KEEP_TAIL {
            self.tail = Vec::new();
        }
    }
}

/// Where the last whole frame of `bytes` ends; they begin with one. What cannot be a frame counts as whole, so that nobody holds it.
pub(crate) fn whole_frames_end(bytes: &[u8]) -> usize {
    let mut end = 0;
    loop {
        match lengths(&bytes[end..]) {
            Ok(Some((total, _))) if total <= bytes.len() - end => end += total,
            Ok(_) => return end,
            Err(_) => return bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event_stream::{MAX_FRAME, write_event, write_exception};

    /// What `Frame` borrows, kept; and whether a frame has begun and not ended.
    fn split(chunks: &[&[u8]]) -> (Vec<Result<String, FrameError>>, bool) {
        let (mut splitter, mut frames) = (FrameSplitter::default(), Vec::new());
        for chunk in chunks {
            splitter.feed(chunk, |frame| frames.push(frame.map(|frame| format!("{frame:?}"))));
            assert!(splitter.tail.len() <= MAX_FRAME);
        }
        (frames, !splitter.tail.is_empty())
    }

    fn body() -> Vec<u8> {
        let mut body = Vec::new();
        write_event(&mut body, "messageStart", |out| out.extend_from_slice(br#"{"role":"assistant"}"#));
        write_event(&mut body, "contentBlockStop", |_| {});
        write_exception(&mut body, "throttlingException", |out| out.extend_from_slice(br#"{"message":"slow"}"#));
        body
    }

    #[test]
    fn finds_the_same_frames_however_the_body_is_cut() {
        let body = body();
        let whole = split(&[&body]);
        assert_eq!(whole.0.len(), 3);
        assert!(whole.0.iter().all(Result::is_ok) && !whole.1);
        for at in 0..=body.len() {
            assert_eq!(split(&[&body[..at], &body[at..]]), whole, "cut at {at}");
        }
        assert_eq!(split(&body.chunks(1).collect::<Vec<_>>()), whole);
        assert!(split(&[&body[..body.len() - 1]]).1);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let body = body();
        let whole = split(&[&body]).0;
        for at in 0..body.len() {
            let mut damaged = body.clone();
            damaged[at] ^= 0x10;
            let (frames, _) = split(&[&damaged]);
            let (last, before) = frames.split_last().unwrap();
            assert!(last.is_err(), "byte {at}");
            assert_eq!(before, &whole[..before.len()]);
        }
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_kept() {
        let prelude = |total: u32, headers: u32| {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            bytes
        };
        assert_eq!(split(&[&prelude((MAX_FRAME + 1) as u32, 0)]).0, [Err(FrameError::TooLarge)]);
        assert_eq!(split(&[&prelude(u32::MAX, u32::MAX)]).0, [Err(FrameError::TooLarge)]);
        assert_eq!(split(&[&prelude(20, 5)]).0, [Err(FrameError::Malformed)]);
        assert_eq!(split(&[&prelude(0, 0)]).0, [Err(FrameError::Malformed)]);
        assert_eq!(split(&[&prelude(100, 0), &[0; 10]]).0, []);
    }

    #[test]
    fn a_frame_inside_one_chunk_is_not_copied() {
        let (mut splitter, body) = (FrameSplitter::default(), body());
        splitter.feed(&body, |frame| assert!(frame.is_ok()));
        assert_eq!(splitter.tail.capacity(), 0);
    }

    #[test]
    fn headers_of_every_type_are_skipped() {
        let mut headers = Vec::new();
        for (kind, value) in [
            (0u8, &[][..]),
            (1, &[]),
            (2, &[1]),
            (3, &[1; 2]),
            (4, &[1; 4]),
            (5, &[1; 8]),
            (6, b"\0\x02ab"),
            (8, &[1; 8]),
            (9, &[1; 16]),
        ] {
            headers.extend_from_slice(&[1, b'x', kind]);
            headers.extend_from_slice(value);
        }
        for (name, value) in [(":message-type", "error"), (":error-code", "Oops"), (":error-message", "why")] {
            headers.push(name.len() as u8);
            headers.extend_from_slice(name.as_bytes());
            headers.extend_from_slice(&[7, 0, value.len() as u8]);
            headers.extend_from_slice(value.as_bytes());
        }
        let frame = |headers: &[u8]| {
            let mut frame = [(headers.len() as u32 + 16).to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
            frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
            frame.extend_from_slice(headers);
            frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
            frame
        };
        let (frames, _) = split(&[&frame(&headers)]);
        assert_eq!(frames, [Ok(format!("{:?}", Frame::Error { code: "Oops", message: "why" }))]);
        for broken in [&headers[..headers.len() - 1], &[1, b'x', 10], &[5, b'x'], &[1, b'x', 7, 0, 1, 0xff]] {
            assert_eq!(split(&[&frame(broken)]).0, [Err(FrameError::Malformed)], "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            split(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}
