//! A file system that is soon full.

use std::path::Path;
use std::process::Command;

/// A file system of a megabyte. Mounting it takes root, which CI has.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one, for as long as it lives.
    pub fn mount() -> SmallDisk {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "this test mounts a tmpfs: it needs root");
        SmallDisk(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have files open.
        _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
