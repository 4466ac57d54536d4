//! What the tests of all operations share.

use std::path::{Path, PathBuf};

use crate::codec::Target;

/// The folder of recordings; without it the tests skip, but never in CI.
pub(super) fn conformance() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance"));
    if folder.is_dir() {
        return Some(folder.to_owned());
    }
    assert!(std::env::var_os("CI").is_none(), "no recordings at {}", folder.display());
    eprintln!("SKIPPED: no recordings at {}", folder.display());
    None
}

pub(super) fn target() -> Target<'static> {
    crate::codec::testing::target()
}
