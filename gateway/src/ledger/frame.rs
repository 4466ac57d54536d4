//! How records lie in a segment: each behind a mark, its length and a checksum, so that a torn or damaged one is
//! recognised and its neighbours are still found.
//!
//! ```text
//! FF A6 | length, u32 LE | CRC-32 of the payload, u32 LE | payload: a row
//! ```

use super::record::Record;
use super::row;

/// No UTF-8 text has the byte FF. What looks like a mark inside of a payload has no right checksum.
const MARK: [u8; 2] = [0xff, 0xa6];
/// Bytes before the payload.
const HEAD: usize = 10;
/// A record is bounded by its texts; a longer length is damage.
const MAX_PAYLOAD: usize = 256 << 10;

/// Puts a record in a frame at the end of `out`.
pub fn append(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    row::write(record, out);
    let (_, frame) = out.split_at_mut(start);
    if let Some((head, payload)) = frame.split_first_chunk_mut::<HEAD>()
        && let Ok(length) = u32::try_from(payload.len())
    {
        let ([a, b], [c, d, e, f]) = (MARK, length.to_le_bytes());
        let [g, h, i, j] = crc(payload).to_le_bytes();
        *head = [a, b, c, d, e, f, g, h, i, j];
    }
}

/// The payloads of a segment. What is damaged is skipped.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    /// Bytes passed over since the last good frame.
    passed: usize,
    damaged: usize,
}

impl<'a> Frames<'a> {
    /// Reads a segment.
    pub fn new(segment: &'a [u8]) -> Self {
        Self { rest: segment, passed: 0, damaged: 0 }
    }

    /// Bytes skipped so far that had a good frame behind them. A torn end is none: it is how a killed process leaves it.
    pub fn damaged(&self) -> usize {
        self.damaged
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let start = if self.rest.starts_with(&MARK) { 0 } else { memchr::memmem::find(self.rest, &MARK)? };
            self.passed += start;
            self.rest = self.rest.get(start..)?;
            if let Some((payload, rest)) = split(self.rest)
                && checksum(self.rest) == Some(crc(payload))
            {
                self.damaged += std::mem::take(&mut self.passed);
                self.rest = rest;
                return Some(payload);
            }
            self.passed += MARK.len();
            self.rest = self.rest.get(MARK.len()..)?;
        }
    }
}

/// Length and number of the whole frames at the beginning of `bytes`, which begin with one.
pub fn whole(bytes: &[u8]) -> (usize, u64) {
    let (mut rest, mut count) = (bytes, 0);
    while let Some((_, after)) = split(rest) {
        rest = after;
        count += 1;
    }
    (bytes.len() - rest.len(), count)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*bytes.get(2..)?.first_chunk()?) as usize;
    // Zeros are no frame, though their checksum would be right.
    if length == 0 || length > MAX_PAYLOAD {
        return None;
    }
    bytes.get(HEAD..)?.split_at_checked(length)
}

fn checksum(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(6..)?.first_chunk()?))
}

fn crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::full;
    use super::*;

    /// `count` frames, and where each ends.
    fn segment(count: u32) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for n in 0..count {
            append(&full(n), &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read(bytes: &[u8]) -> Vec<u32> {
        let at = |payload| row::read(payload).unwrap().at;
        Frames::new(bytes).map(|payload| (at(payload) - 1_700_000_000_000_000) as u32).collect()
    }

    #[test]
    fn cut_anywhere_only_the_torn_record_is_lost() {
        let (bytes, ends) = segment(4);
        for cut in 0..=bytes.len() {
            let complete = ends.iter().filter(|end| **end <= cut).count();
            let part = bytes.get(..cut).unwrap();
            assert_eq!(read(part), (0..complete as u32).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(whole(part), (complete.checked_sub(1).map_or(0, |last| ends[last]), complete as u64));
        }
    }

    #[test]
    fn a_torn_end_is_no_damage_but_a_hole_is() {
        let (bytes, ends) = segment(3);
        let mut torn = Frames::new(&bytes[..bytes.len() - 1]);
        assert_eq!((torn.by_ref().count(), torn.damaged()), (2, 0));
        let mut hole = bytes.clone();
        hole[ends[0] + 20] ^= 1;
        let mut hole = Frames::new(&hole);
        assert_eq!((hole.by_ref().count(), hole.damaged()), (2, ends[1] - ends[0]));
    }

    proptest! {
        #[test]
        fn a_damaged_byte_costs_one_record(at in 0usize..100_000, flip in 1u8..) {
            let (mut bytes, ends) = segment(5);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let hit = ends.iter().position(|end| at < *end).unwrap() as u32;
            prop_assert_eq!(read(&bytes), (0..5).filter(|n| *n != hit).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(prop_oneof![Just(0xffu8), Just(0xa6), Just(0), any::<u8>()], 0..300)) {
            _ = Frames::new(&bytes).count();
            prop_assert!(whole(&bytes).0 <= bytes.len());
        }

        #[test]
        fn frames_between_rubbish_are_found(before in proptest::collection::vec(any::<u8>(), 0..40), after in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (frames, _) = segment(2);
            let bytes = [before.as_slice(), &frames, &after].concat();
            prop_assert_eq!(read(&bytes), vec![0, 1]);
        }
    }
}
