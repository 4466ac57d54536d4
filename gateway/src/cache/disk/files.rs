//! The files: where they are, how they come and go. Everything here blocks.
//!
//! A file is written under another name and renamed when it is whole, so that a process that is killed leaves none that is
//! not; it is not synced, so that a power loss may leave one, which its checksum tells.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::super::record::{self, MAX_DESCRIPTION};
use super::super::{Entry, Meta};
use super::index::Name;

/// How names begin of files that are not whole yet.
const UNFINISHED: &str = "unfinished-";
/// Tells the process that has the folder now that another one has written to it beside it.
const NOTE: &str = "handed-over";
/// Another process may still be writing one that is younger.
const ABANDONED: Duration = Duration::from_secs(60);
/// A disk gives room in pieces of this size.
const BLOCK: u64 = 4096;

/// Bytes that a file of `length` bytes takes.
pub fn size_of(length: u64) -> u64 {
    length.div_ceil(BLOCK).max(1) * BLOCK
}

/// Whether there is no room left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A folder of entries. Only its owner can read it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which is made if it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let folder = Self { path: path.to_owned() };
        // Better noticed now than by the first answer. A disk that is full is none of it.
        let probe = folder.path.join(format!("{UNFINISHED}{}-probe", std::process::id()));
        match create(&probe) {
            Err(error) if !is_full(&error) => return Err(error),
            _ => drop(fs::remove_file(&probe)),
        }
        Ok(folder)
    }

    fn path_of(&self, name: &Name) -> PathBuf {
        let fingerprint = name.0.to_string();
        self.path.join(fingerprint.get(..2).unwrap_or_default()).join(format!("{fingerprint}-{}", name.1))
    }

    /// Reads an entry.
    pub fn read(&self, name: &Name) -> io::Result<Option<Entry>> {
        let record = Bytes::from(fs::read(self.path_of(name))?);
        Ok(record::read(&record).filter(|entry| (entry.meta.fingerprint, entry.meta.form) == *name))
    }

    /// Writes an entry whose head is `head`, in place of the one before.
    pub fn write(&self, name: &Name, head: &[u8], body: &[u8]) -> io::Result<()> {
        let unfinished = self.path.join(format!("{UNFINISHED}{}", std::process::id()));
        let written = self.write_to(&unfinished, name, head, body);
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn write_to(&self, unfinished: &Path, name: &Name, head: &[u8], body: &[u8]) -> io::Result<()> {
        let mut file = create(unfinished)?;
        file.write_all(head)?;
        file.write_all(body)?;
        drop(file);
        let path = self.path_of(name);
        if let Some(shelf) = path.parent()
            && !shelf.exists()
        {
            DirBuilder::new().mode(0o700).create(shelf)?;
        }
        fs::rename(unfinished, path)
    }

    /// Removes an entry; one that is not there is no error.
    pub fn remove(&self, name: &Name) -> io::Result<()> {
        match fs::remove_file(self.path_of(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells the process that has the folder from now on that there may be entries that it does not know.
    pub fn leave_note(&self) -> io::Result<()> {
        create(&self.path.join(NOTE)).map(drop)
    }

    /// Whether it was told so, since it last asked.
    pub fn take_note(&self) -> bool {
        fs::remove_file(self.path.join(NOTE)).is_ok()
    }

    /// Gives every entry that is there, and the length of its file. What was left unfinished or is no entry any more is
    /// removed; what looks like nothing of ours is left alone.
    pub fn scan(&self, mut found: impl FnMut(Name, Meta, u64)) -> io::Result<()> {
        for shelf in fs::read_dir(&self.path)? {
            let shelf = shelf?;
            let name = shelf.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(UNFINISHED) {
                let written = shelf.metadata().and_then(|data| data.modified()).ok();
                let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
                if age.is_none_or(|age| age > ABANDONED) {
                    let _ = fs::remove_file(shelf.path());
                }
            } else if name.len() == 2 && shelf.file_type()?.is_dir() {
                for file in fs::read_dir(shelf.path())? {
                    let file = file?;
                    let Some(name) = named(&file.file_name().to_string_lossy()) else { continue };
                    match peek(&file.path()) {
                        Some((meta, length)) if (meta.fingerprint, meta.form) == name => found(name, meta, length),
                        _ => drop(fs::remove_file(file.path())),
                    }
                }
            }
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn named(text: &str) -> Option<Name> {
    let (fingerprint, form) = text.split_once('-')?;
    Some((fingerprint.parse().ok()?, form.parse().ok()?))
}

/// What the file says of its entry, and its length.
fn peek(path: &Path) -> Option<(Meta, u64)> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut beginning = Vec::with_capacity(4096);
    // Nearly always enough.
    (&file).take(4096).read_to_end(&mut beginning).ok()?;
    let meta = record::peek(&beginning, length).or_else(|| {
        (&file).take(MAX_DESCRIPTION as u64).read_to_end(&mut beginning).ok()?;
        record::peek(&beginning, length)
    })?;
    Some((meta, length))
}
