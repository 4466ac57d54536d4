//! Files and folders that the configuration names: what is told of one that cannot be used, and whether one could be, without
//! making or changing anything.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

/// Says of an error which key of the configuration, or option, names the path, and the path.
pub fn error(key: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error + use<> {
    let place = format!("{key}: `{}`", path.display());
    move |error| io::Error::new(error.kind(), format!("{place}: {error}"))
}

/// Whether the file can be written, or made in its folder.
///
/// # Errors
/// Why not.
pub fn check_file(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_room(folder_of(path)),
        Err(error) => Err(error),
    }
}

/// Whether files can be made in the folder, or it can be made itself with those above it.
///
/// # Errors
/// Why not.
pub fn check_folder(path: &Path) -> io::Result<()> {
    let there = path.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    check_room(there.into_iter().find(|path| path.symlink_metadata().is_ok()).unwrap_or(path))
}

/// The folder in which a file is.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check_room(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_is_made_to_find_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::write(at("file"), "").unwrap();
        let kind = |result: io::Result<()>| result.err().map(|error| error.kind());
        assert_eq!([check_file(&at("file")), check_file(&at("new"))].map(kind), [None, None]);
        assert_eq!(kind(check_file(&at("none/new"))), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(check_file(&at("file/new"))), Some(io::ErrorKind::NotADirectory));
        assert_eq!(kind(check_file(dir.path())), Some(io::ErrorKind::IsADirectory));
        assert_eq!([check_folder(dir.path()), check_folder(&at("some/new"))].map(kind), [None, None]);
        assert_eq!(kind(check_folder(&at("file/new"))), Some(io::ErrorKind::NotADirectory));
        assert_eq!([check_file(Path::new("new")), check_folder(Path::new("some/new"))].map(kind), [None, None]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let told = check_file(&at("none/new")).map_err(error("store.path", Path::new("none/new"))).unwrap_err();
        assert!(told.to_string().starts_with("store.path: `none/new`: No such file"), "{told}");
    }
}
