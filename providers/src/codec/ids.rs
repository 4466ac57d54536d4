//! Ids of tool calls and end users, and names of tools, that a dialect does not take as they are: spelt anew, the same for call and result, and kept apart
//! by a hash.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// `id` if all its characters `fit` and it is at most `longest` long; else its first `kept` characters with `_` for those that
/// do not, and a hash of the whole.
pub(crate) fn respelt(id: &str, longest: usize, kept: usize, fits: impl Fn(char) -> bool) -> Cow<'_, str> {
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

/// The longest id of an end user that OpenAI takes, and those that imitate it.
pub(super) const LONGEST_USER: usize = 64;

/// The end user's id as a provider may be told it: itself if it is at most `longest` characters and `fits`, else an opaque id of
/// 37 letters and digits (`user_` and a part of its SHA-256) that is the same for the same user in every process and version.
pub(super) fn end_user(id: &str, longest: usize, fits: impl Fn(&str) -> bool) -> Cow<'_, str> {
    if id.chars().count() <= longest && fits(id) {
        return Cow::Borrowed(id);
    }
    let hash: String = Sha256::digest(id).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Cow::Owned(format!("user_{hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_user_that_does_not_fit_has_one_opaque_id() {
        assert_eq!(end_user("joe", 64, |_| true), "joe");
        let long = "é".repeat(65);
        let (hidden, again) = (end_user(&long, 64, |_| true), end_user(&long, 64, |_| true));
        assert_eq!(hidden, again);
        assert!(hidden.len() == 37 && hidden.starts_with("user_"), "{hidden}");
        assert!(hidden.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{hidden}");
        let mail = end_user("joe@example.com", 256, |id| !id.contains('@'));
        assert!(mail != hidden && mail.len() == 37, "{mail}");
        assert_eq!(end_user(&"é".repeat(64), 64, |_| true), "é".repeat(64));
    }
}
