//! Frames that are in no file yet, oldest first.

use std::collections::VecDeque;

use super::super::frame;

/// Frames are gathered up to this size, so that a batch is one write and dropping is in pieces.
const CHUNK: usize = 256 << 10;

/// Whole frames that are written together.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub records: u64,
}

/// A queue of frames, bounded by bytes.
#[derive(Debug)]
pub struct Backlog {
    batches: VecDeque<Batch>,
    /// Kept for the next batch: a steady flow allocates nothing.
    spare: Vec<u8>,
    bytes: usize,
    records: u64,
    limit: usize,
}

impl Backlog {
    /// An empty one that holds at most `limit` bytes, or one batch.
    pub fn new(limit: usize) -> Self {
        Self { batches: VecDeque::new(), spare: Vec::new(), bytes: 0, records: 0, limit }
    }

    /// Records held.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds a frame. Returns how many of the oldest records it had to give up for that.
    pub fn push(&mut self, frame: &[u8]) -> u64 {
        match self.batches.back_mut() {
            Some(batch) if batch.bytes.len() + frame.len() <= CHUNK => {
                batch.bytes.extend_from_slice(frame);
                batch.records += 1;
            }
            _ => {
                let mut bytes = std::mem::take(&mut self.spare);
                bytes.extend_from_slice(frame);
                self.batches.push_back(Batch { bytes, records: 1 });
            }
        }
        self.bytes += frame.len();
        self.records += 1;
        let mut lost = 0;
        while self.bytes > self.limit && self.batches.len() > 1 {
            lost += self.take().map_or(0, |batch| batch.records);
        }
        lost
    }

    /// Takes the oldest frames out.
    pub fn take(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        self.bytes -= batch.bytes.len();
        self.records -= batch.records;
        Some(batch)
    }

    /// Puts back the end of a batch of which only the first `written` bytes found room, from the frame on that they tear.
    /// Returns length and number of the frames that are written whole.
    pub fn put_back(&mut self, mut batch: Batch, written: usize) -> (usize, u64) {
        let (length, records) = frame::whole(batch.bytes.get(..written).unwrap_or_default());
        batch.bytes.drain(..length);
        batch.records -= records;
        if batch.records > 0 {
            self.bytes += batch.bytes.len();
            self.records += batch.records;
            self.batches.push_front(batch);
        }
        (length, records)
    }

    /// Gives the buffer of a written batch back.
    pub fn recycle(&mut self, mut batch: Batch) {
        // One that a burst made larger is not kept.
        if batch.bytes.capacity() <= CHUNK {
            batch.bytes.clear();
            self.spare = batch.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::tests::full;
    use super::*;

    fn framed(n: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::append(&full(n), &mut bytes);
        bytes
    }

    #[test]
    fn what_a_torn_write_left_is_written_again_from_its_frame() {
        let frames: Vec<_> = (0..3).map(framed).collect();
        for written in 0..=frames.concat().len() {
            let mut backlog = Backlog::new(usize::MAX);
            assert!(frames.iter().all(|frame| backlog.push(frame) == 0));
            let batch = backlog.take().unwrap();
            assert!(backlog.is_empty() && backlog.bytes == 0);
            let (length, records) = backlog.put_back(batch, written);
            assert!(length <= written && written - length < frames[2].len().max(frames[1].len()));
            let rest = backlog.take().map_or(Vec::new(), |batch| batch.bytes);
            assert_eq!(rest, frames.concat()[length..], "{written}");
            assert_eq!(rest, frames[records as usize..].concat());
        }
    }

    #[test]
    fn past_its_limit_the_oldest_are_given_up_and_told() {
        let mut backlog = Backlog::new(3 * CHUNK);
        let mut lost = 0;
        let pushed = 4 * CHUNK / framed(0).len();
        for n in 0..pushed {
            lost += backlog.push(&framed(n as u32));
        }
        assert!(lost > 0 && backlog.bytes <= 3 * CHUNK);
        assert_eq!(lost + backlog.records(), pushed as u64);
        let first = backlog.take().unwrap();
        assert!(first.bytes.starts_with(&framed(lost as u32)));
    }
}
