//! Folders of the spool. Every process has one of its own, which tells by a lock whether that process lives:
//!
//! ```text
//! ledger.db.spool/lock                    held while a folder is made or claimed
//! ledger.db.spool/<run>/lock              held by the process as long as it lives, whatever ends it
//! ledger.db.spool/<run>/0000000001.spool  segments, in the order of their numbers
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use log::warn;

use super::super::record::micros;

const LOCK: &str = "lock";
const SEGMENT: &str = "spool";

/// A folder of segments whose lock is held: the process's own, or that of one that has died.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    _lock: File,
}

impl Run {
    /// Makes a new folder below `root`.
    ///
    /// # Errors
    /// The folder cannot be made, or the file system has no locks.
    pub fn create(root: &Path) -> io::Result<Self> {
        make_dir(root)?;
        let _making = lock_root(root)?;
        let dir = root.join(format!("{:x}-{:08x}", micros(SystemTime::now()), fastrand::u32(..)));
        make_dir(&dir)?;
        let lock = open(&dir.join(LOCK))?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }

    /// Claims the folders below `root` whose processes have died. One that cannot be used, which is somebody else's, is passed over.
    ///
    /// # Errors
    /// `root` cannot be read.
    pub fn claim_dead(root: &Path) -> io::Result<Vec<Self>> {
        let _claiming = lock_root(root)?;
        let mut runs = Vec::new();
        for entry in fs::read_dir(root)? {
            let dir = entry?.path();
            if !dir.is_dir() {
                continue;
            }
            let claimed =
                open(&dir.join(LOCK)).map_err(TryLockError::Error).and_then(|lock| lock.try_lock().map(|()| lock));
            match claimed {
                Ok(lock) => runs.push(Self { dir, _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    warn!("{} in the ledger's spool is left as it is: {error}", dir.display())
                }
            }
        }
        runs.sort_by(|a, b| a.dir.cmp(&b.dir));
        Ok(runs)
    }

    /// Makes segment `number`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create_segment(&self, number: u64) -> io::Result<(PathBuf, File)> {
        let path = self.dir.join(format!("{number:010}.{SEGMENT}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path)?;
        // The name must outlive a power loss as the content does.
        File::open(&self.dir)?.sync_all()?;
        Ok((path, file))
    }

    /// The segments there are, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn segments(&self) -> io::Result<Vec<PathBuf>> {
        let paths: io::Result<Vec<PathBuf>> =
            fs::read_dir(&self.dir)?.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == SEGMENT));
        paths.sort();
        Ok(paths)
    }

    /// Removes the folder; keeps it if anything but the lock is in it.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        let _removing = lock_root(self.dir.parent().unwrap_or(&self.dir))?;
        if fs::read_dir(&self.dir)?.count() > 1 {
            return Ok(());
        }
        fs::remove_file(self.dir.join(LOCK))?;
        fs::remove_dir(&self.dir)
    }
}

/// Puts a damaged segment aside, for a person to look at. Returns its new name.
///
/// # Errors
/// It cannot be renamed.
pub fn put_aside(segment: &Path) -> io::Result<PathBuf> {
    let aside = segment.with_extension("damaged");
    fs::rename(segment, &aside)?;
    Ok(aside)
}

fn lock_root(root: &Path) -> io::Result<File> {
    let file = open(&root.join(LOCK))?;
    file.lock()?;
    Ok(file)
}

fn open(lock: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(lock)
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_claimed_and_only_once() {
        let root = tempfile::tempdir().unwrap();
        let (alive, dead) = (Run::create(root.path()).unwrap(), Run::create(root.path()).unwrap());
        dead.create_segment(2).unwrap();
        dead.create_segment(1).unwrap();
        assert!(Run::claim_dead(root.path()).unwrap().is_empty());
        let dir = dead.dir.clone();
        drop(dead);
        let mut claimed = Run::claim_dead(root.path()).unwrap();
        assert!(Run::claim_dead(root.path()).unwrap().is_empty());
        let claimed = claimed.pop().unwrap();
        let names: Vec<_> = claimed.segments().unwrap();
        assert_eq!(names, [dir.join("0000000001.spool"), dir.join("0000000002.spool")]);
        for path in names {
            fs::remove_file(path).unwrap();
        }
        claimed.remove().unwrap();
        assert!(!dir.exists() && alive.dir.exists());
    }

    /// Also for root, who may open everything but a folder as a file.
    #[test]
    fn a_folder_that_cannot_be_used_keeps_no_other_from_being_claimed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("0/lock")).unwrap();
        drop(Run::create(root.path()).unwrap());
        assert_eq!(Run::claim_dead(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn what_was_put_aside_stays() {
        let root = tempfile::tempdir().unwrap();
        let run = Run::create(root.path()).unwrap();
        let (path, _) = run.create_segment(1).unwrap();
        put_aside(&path).unwrap();
        assert!(run.segments().unwrap().is_empty());
        let dir = run.dir.clone();
        run.remove().unwrap();
        assert!(dir.join("0000000001.damaged").exists());
    }
}
