//! Which rooms of the gateway know which, as the table in `docs/architecture.md` has it.

use std::fs;
use std::path::Path;

use crate::root;

/// Folders and files under `gateway/src`, and the rooms that no line of theirs imports.
const STRANGERS: [(&[&str], &[&str]); 3] = [
    (&["config", "snapshot", "net", "clock", "mock"], &["proxy", "server", "embed", "admin"]),
    (
        &["keys", "routing", "health", "limits", "cache", "ledger", "credentials", "continuity", "telemetry"],
        &["proxy", "server", "embed", "admin"],
    ),
    (&["proxy"], &["server", "embed", "admin"]),
];

/// The lines of `path` that import one of `rooms`, with their files.
fn imports(path: &Path, rooms: &[&str], found: &mut Vec<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            imports(&entry.unwrap().path(), rooms, found);
        }
        return;
    }
    let source = fs::read_to_string(path).unwrap();
    let names = |line: &str| {
        let name = line.trim().trim_start_matches("pub ").strip_prefix("use crate::")?.split([':', ';', ' ']).next();
        name.filter(|name| rooms.contains(name)).map(|_| format!("{}: {}", path.display(), line.trim()))
    };
    let own = source.split("#[cfg(test)]").next().unwrap_or_default();
    found.extend(own.lines().filter_map(names));
}

#[test]
fn rooms_import_none_that_they_do_not_know() {
    let mut found = Vec::new();
    for (files, rooms) in STRANGERS {
        for file in files {
            imports(&root().join("gateway/src").join(file), rooms, &mut found);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
