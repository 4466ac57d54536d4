//! The tables `| file | subject |` at the heads of modules name the files that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::root;

/// Modules that only tests have.
const OF_TESTS: [&str; 3] = ["tests", "testing", "properties"];

fn module_heads(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            module_heads(&path, found);
        } else if path.ends_with("mod.rs") || path.ends_with("lib.rs") {
            found.push(path);
        }
    }
}

/// The names in the first column; `None`: there is no such table.
fn listed(source: &str) -> Option<BTreeSet<&str>> {
    let (_, rows) = source.split_once("//! | file | subject |\n//! |---|---|\n")?;
    let rows = rows.lines().map_while(|line| line.strip_prefix("//! | "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    Some(cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect())
}

fn declared(source: &str) -> BTreeSet<&str> {
    let names = source.lines().filter_map(|line| {
        let (visibility, name) = line.strip_suffix(';')?.split_once("mod ")?;
        (visibility.is_empty() || visibility.starts_with("pub")).then_some(name)
    });
    names.filter(|name| !OF_TESTS.contains(name)).collect()
}

#[test]
fn tables_of_files_are_true() {
    let mut heads = Vec::new();
    for part in ["providers/src", "plugins/src", "gateway/src"] {
        module_heads(&root().join(part), &mut heads);
    }
    let mut wrong = Vec::new();
    for head in heads {
        let source = fs::read_to_string(&head).unwrap();
        let (Some(listed), declared) = (listed(&source), declared(&source)) else { continue };
        let missing: Vec<_> = declared.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&declared).collect();
        if !missing.is_empty() || !gone.is_empty() {
            wrong.push(format!("{}: not told of {missing:?}, told of {gone:?}", head.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
