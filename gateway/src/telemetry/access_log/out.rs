//! Where lines go: a descriptor, a file that may be rotated away, or the journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use log::warn;

use crate::config::LogTo;
use crate::paths;

/// What the writer writes to.
pub(super) type Out = Box<dyn Write + Send>;

/// <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Opens what `to` names. `reopen`: when it is set, a file is opened anew before its next line.
///
/// # Errors
/// A file cannot be opened, or there is no journal: it is named.
pub(super) fn open(to: &LogTo, reopen: &Arc<AtomicBool>) -> io::Result<Out> {
    let named = |path: &Path| paths::error("access_log.to", path);
    Ok(match to {
        LogTo::Off => Box::new(io::sink()),
        // A descriptor of our own, because the buffer of `io::stdout` hides partial writes.
        LogTo::Stdout => Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogTo::Stderr => Box::new(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        LogTo::Journald => Box::new(Journal::at(Path::new(JOURNAL)).map_err(named(Path::new(JOURNAL)))?),
        LogTo::File(path) => Box::new(Rotated::open(path.clone(), reopen.clone()).map_err(named(path))?),
    })
}

/// Whether it could be opened, without making a file.
///
/// # Errors
/// As [`open`].
pub(super) fn check(to: &LogTo) -> io::Result<()> {
    match to {
        LogTo::File(path) => paths::check_file(path).map_err(paths::error("access_log.to", path)),
        other => open(other, &Arc::default()).map(drop),
    }
}

/// A file that is opened anew when its name no longer leads to it, or when asked. A line is never torn between two files.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    file: File,
    /// Device and number of the open file.
    identity: (u64, u64),
    reopen: Arc<AtomicBool>,
    /// The last byte written was a line's end.
    between_lines: bool,
    complained: bool,
}

impl Rotated {
    fn open(path: PathBuf, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        let (file, identity) = Self::opened(&path)?;
        Ok(Self { path, file, identity, reopen, between_lines: true, complained: false })
    }

    fn opened(path: &Path) -> io::Result<(File, (u64, u64))> {
        // Users' names and addresses are nobody else's business.
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        Ok((file, (metadata.dev(), metadata.ino())))
    }

    /// Where it cannot be opened the old file goes on being written: a line there is better than none.
    fn follow_the_name(&mut self) {
        let asked = self.reopen.swap(false, Relaxed);
        let here = self.path.metadata().is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if here && !asked {
            return;
        }
        match Self::opened(&self.path) {
            Ok((file, identity)) => {
                (self.file, self.identity, self.complained) = (file, identity, false);
            }
            Err(error) if !std::mem::replace(&mut self.complained, true) => {
                warn!("the access log {} cannot be opened again: {error}", self.path.display());
            }
            Err(_) => {}
        }
    }
}

impl Write for Rotated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.between_lines {
            self.follow_the_name();
        }
        let written = self.file.write(bytes)?;
        if let Some(last) = written.checked_sub(1).and_then(|last| bytes.get(last)) {
            self.between_lines = *last == b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The journal: one entry for each line, which is its message.
#[derive(Debug)]
struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    entry: Vec<u8>,
}

impl Journal {
    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self { socket, path: path.to_owned(), entry: Vec::new() })
    }
}

impl Write for Journal {
    /// Takes one line. A line holds no second line break, so that the plain form of a field does.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        let line = bytes.get(..end).unwrap_or_default();
        self.entry.clear();
        self.entry.extend_from_slice(b"PRIORITY=6\nSYSLOG_IDENTIFIER=ai-gateway\nMESSAGE=");
        self.entry.extend_from_slice(line);
        match self.socket.send(&self.entry) {
            Ok(_) => Ok(end),
            // The journal was started anew.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected) => {
                self.socket.connect(&self.path)?;
                self.socket.send(&self.entry).map(|_| end)
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_followed_when_it_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut out = open(&LogTo::File(path.clone()), &reopen).unwrap();
        out.write_all(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        out.write_all(b"two\n").unwrap();
        // A torn line is finished where it was begun.
        out.write_all(b"thr").unwrap();
        fs::rename(&path, dir.path().join("access.log.2")).unwrap();
        out.write_all(b"ee\n").unwrap();
        out.write_all(b"four\n").unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((read("access.log.1"), read("access.log.2")), ("one\n".into(), "two\nthree\n".into()));
        assert_eq!(read("access.log"), "four\n");

        // Somebody copied it and cut it short.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        out.write_all(b"five\n").unwrap();
        assert_eq!(read("access.log"), "five\n");
        reopen.store(true, Relaxed);
        out.write_all(b"six\n").unwrap();
        assert_eq!((read("access.log"), reopen.load(Relaxed)), ("five\nsix\n".into(), false));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o027, 0);
    }

    #[test]
    fn lines_go_on_into_the_old_file_when_there_can_be_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("logs");
        fs::create_dir(&inner).unwrap();
        let mut out = open(&LogTo::File(inner.join("a.log")), &Arc::default()).unwrap();
        let moved = dir.path().join("moved");
        fs::rename(&inner, &moved).unwrap();
        out.write_all(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("a.log")).unwrap(), "one\n");
        assert!(open(&LogTo::File(inner.join("a.log")), &Arc::default()).is_err());
    }

    #[test]
    fn the_journal_gets_an_entry_for_each_line_also_after_its_own_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut buffer = [0; 256];
        let mut next = |journal: &UnixDatagram| {
            let length = journal.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut out = Journal::at(&path).unwrap();
        out.write_all(b"{\"a\":1}\n{\"b\":2}\n").unwrap();
        let head = "PRIORITY=6\nSYSLOG_IDENTIFIER=ai-gateway\nMESSAGE=";
        assert_eq!(next(&journal), format!("{head}{{\"a\":1}}\n"));
        assert_eq!(next(&journal), format!("{head}{{\"b\":2}}\n"));
        drop(journal);
        fs::remove_file(&path).unwrap();
        assert!(out.write_all(b"lost\n").is_err());
        let journal = UnixDatagram::bind(&path).unwrap();
        out.write_all(b"three\n").unwrap();
        assert_eq!(next(&journal), format!("{head}three\n"));
    }
}
