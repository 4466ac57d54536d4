//! Ids of tool calls that a dialect does not take as they are: spelt anew, the same for call and result, and kept apart by a hash.

use std::borrow::Cow;

/// `id` if all its characters `fit` and it is at most `longest` long; else its first `kept` characters with `_` for those that
/// do not, and a hash of the whole.
pub(super) fn respelt(id: &str, longest: usize, kept: usize, fits: impl Fn(char) -> bool) -> Cow<'_, str> {
    if (1..=longest).contains(&id.len()) && id.chars().all(&fits) {
        return Cow::Borrowed(id);
    }
    let start: String = id.chars().take(kept).map(|c| if fits(c) { c } else { '_' }).collect();
    Cow::Owned(format!("{start}_{:016x}", hash(id, BASIS)))
}

/// FNV-1a's own beginning.
pub(super) const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, which is the same in every process and version.
pub(super) fn hash(id: &str, basis: u64) -> u64 {
    id.bytes().fold(basis, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
