//! By which name the store keeps what an instance has booked itself.
//!
//! One with a ledger goes on under its name after a restart: it knows from there what it has booked, and may compare. The name
//! stands in a file beside the ledger. Whoever lives with others on one ledger has a name of its own that ends with it: of what it
//! would read there, others book a part. The file is locked as long as a process lives, so that the next one knows.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use crate::paths;

/// An instance, as the store knows it.
#[derive(Debug)]
pub struct Instance {
    name: u64,
    /// The name of the process that this one took over from, and goes on with.
    taken_over: OnceLock<u64>,
    /// Since when all that was booked into the ledger is in the store under this name: milliseconds since 1970.
    since: Option<u64>,
    file: Option<File>,
}

impl Instance {
    /// One that ends with its process.
    pub fn passing() -> Self {
        Self { name: fastrand::u64(..), taken_over: OnceLock::new(), since: None, file: None }
    }

    /// The one that books into this ledger; it is `now`.
    ///
    /// # Errors
    /// Its name cannot be kept.
    pub fn of_ledger(ledger: &Path, now: u64) -> io::Result<Self> {
        let mut path = ledger.as_os_str().to_owned();
        path.push(".instance");
        let path = Path::new(&path);
        Self::kept_in(path, now).map_err(paths::error("ledger.path", path))
    }

    fn kept_in(path: &Path, now: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let is_alone = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let mut instance = Self::passing();
        if is_alone {
            let (name, since) = match read(&file)? {
                Some(found) => found,
                None => write(&file, &format!("{:016x} {now}\n", instance.name)).map(|()| (instance.name, now))?,
            };
            (instance.name, instance.since) = (name, Some(since));
        }
        flock(&file, FlockOperation::LockShared)?;
        instance.file = Some(file);
        Ok(instance)
    }

    /// Its name.
    pub(in crate::limits) fn name(&self) -> u64 {
        self.taken_over.get().copied().unwrap_or(self.name)
    }

    /// Goes on with the name of the process that this one takes over from; to be called before it runs.
    pub(in crate::limits) fn take_over(&self, name: u64) {
        // There is one such process.
        let _ = self.taken_over.set(name);
    }

    /// Whether it knows all that is there under its name.
    pub(in crate::limits) fn has_taken_over(&self) -> bool {
        self.taken_over.get().is_some()
    }

    pub(in crate::limits) fn since(&self) -> Option<u64> {
        self.since
    }

    /// From now on this process books. If it does so under another name than the one beside the ledger, nobody may go on with
    /// that one.
    pub(super) fn begin(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        match read(file)? {
            Some((name, _)) if name != self.name() => write(file, ""),
            _ => Ok(()),
        }
    }
}

/// The name, and since when it is in use; `None`: the next one takes a new one.
fn read(mut file: &File) -> io::Result<Option<(u64, u64)>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    // Without its end it was not written to the end.
    let parts = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n')?.split_once(' '));
    Ok(parts.and_then(|(name, since)| Some((u64::from_str_radix(name, 16).ok()?, since.parse().ok()?))))
}

fn write(mut file: &File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outlives_its_process_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.db");
        let start = |now| Instance::of_ledger(&ledger, now).unwrap();
        let first = start(1);
        first.begin().unwrap();
        let (name, since) = (first.name(), first.since());
        assert_eq!(since, Some(1));
        drop(first);
        let again = start(2);
        assert_eq!((again.name(), again.since()), (name, Some(1)));

        let failed = start(3);
        assert_eq!(failed.since(), None);
        assert_ne!(failed.name(), name);
        drop((again, failed));
        let again = start(4);
        assert_eq!(again.name(), name, "who never began has booked nothing");

        let heir = start(5);
        heir.take_over(again.name());
        heir.begin().unwrap();
        assert_eq!((heir.name(), heir.since()), (name, None));
        drop((again, heir));
        let again = start(6);
        assert_eq!((again.name(), again.since()), (name, Some(1)));

        let other = start(7);
        other.begin().unwrap();
        drop((again, other));
        let next = start(8);
        assert_eq!(next.since(), Some(8), "others have booked beside it");
        assert_ne!(next.name(), name);
    }

    #[test]
    fn a_name_that_was_not_written_to_its_end_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for text in ["", "0123456789abcdef 17", "x 17\n", "0123456789abcdef\n"] {
            std::fs::write(&path, text).unwrap();
            let instance = Instance::kept_in(&path, 9).unwrap();
            assert_eq!(instance.since(), Some(9), "{text}");
            drop(instance);
            assert_eq!(read(&File::open(&path).unwrap()).unwrap().map(|(_, since)| since), Some(9));
        }
    }
}
