//! A part of a row: a mask of the columns that have a value, u64 LE, the first one in the lowest bit, and these values, in the order
//! of the columns: a number in zigzag and groups of seven bits, a text behind its length.

use rusqlite::types::ValueRef;
use serde::Serialize;

use super::super::record::Text;
use super::{Column, Values, signed};

/// A part that is being written, one column after the other.
pub(super) struct Part<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    mask: u64,
    /// The bit of the next column.
    bit: u64,
}

impl<'o> Part<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        Self { out, start, mask: 0, bit: 1 }
    }

    pub(super) fn end(self) {
        set(self.out, self.start, self.mask.to_le_bytes());
    }

    fn null(&mut self) {
        self.bit <<= 1;
    }

    fn value(&mut self) {
        self.mask |= self.bit;
        self.bit <<= 1;
    }

    pub(super) fn number(&mut self, number: i64) {
        self.value();
        self.varint(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(super) fn count(&mut self, count: Option<u64>) {
        match count {
            Some(count) => self.number(signed(count)),
            None => self.null(),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.value();
        self.varint(text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn maybe_text(&mut self, text: &Option<Text<'_>>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// A list as JSON; an empty one is null.
    pub(super) fn list<T: Serialize>(&mut self, list: &[T]) {
        if list.is_empty() {
            return self.null();
        }
        self.value();
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 3]);
        // Texts have no values that JSON could not hold, and memory takes all.
        _ = serde_json::to_writer(&mut *self.out, list);
        // The length in three groups, however small it is.
        let length = self.out.len() - start - 3;
        let [low, ..] = length.to_le_bytes();
        let [middle, ..] = (length >> 7).to_le_bytes();
        let [high, ..] = (length >> 14).to_le_bytes();
        set(self.out, start, [low | 0x80, middle | 0x80, high & 0x7f]);
    }

    fn varint(&mut self, mut rest: u64) {
        while let [low, ..] = rest.to_le_bytes()
            && rest > 0x7f
        {
            self.out.push(low | 0x80);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.out.push(low);
    }
}

pub(super) fn set<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// The values of a part; columns of a later version are passed over. `None`: it is none, or one of the `required` first columns
/// has no value.
pub(super) fn values<'a, const N: usize>(
    columns: &[Column; N],
    required: u32,
    part: &'a [u8],
) -> Option<Values<'a, N>> {
    let (mask, mut rest) = part.split_first_chunk()?;
    let mut mask = u64::from_le_bytes(*mask);
    if mask.trailing_ones() < required {
        return None;
    }
    let mut values = [ValueRef::Null; N];
    for (column, value) in columns.iter().zip(&mut values) {
        if mask == 0 {
            break;
        }
        if mask & 1 == 1 {
            *value = match column {
                Column::Number(_) => {
                    let number = varint(&mut rest)?;
                    ValueRef::Integer((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
                }
                Column::Words(_) => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let (text, after) = rest.split_at_checked(length)?;
                    rest = after;
                    ValueRef::Text(text)
                }
            };
        }
        mask >>= 1;
    }
    Some(values)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
