//! What programs that embed the gateway, and plugins, rely on: the public items of the plugin interface and of the library, as
//! they stand in the source.
//!
//! `docs/public-api.txt` lists them, so that no change goes unnoticed; `UPDATE_API=1 cargo test -p ai-gateway-tests --test public_api`
//! writes it. `docs/released-api.txt` is that list as it was at the last release: what breaks it needs a version that says so.
//! While there is none, nothing was released and nothing is promised.

mod rooms;
mod scan;
mod semver;
mod tables;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use scan::{Header, Item, items};
use semver::{breaks, may_break};

/// Files of the plugin interface, and what of them is promised; with nothing named: all. What ships beside it is configured, not
/// called.
const PLUGINS: [(&str, &[&str]); 14] = [
    ("answer", &[]),
    ("context", &[]),
    ("end", &[]),
    ("host", &[]),
    ("lib", &[]),
    ("plan", &[]),
    ("plugin", &[]),
    ("registry", &[]),
    ("request", &[]),
    ("settings", &[]),
    ("text", &["Flow", "Part", "PartKind", "TextHook", "Window"]),
    ("tls", &[]),
    ("upstream", &[]),
    ("verdict", &[]),
];
/// The same of the library.
const GATEWAY: [(&str, &[&str]); 15] = [
    ("cache/entry", &["Form", "Meta", "Entry"]),
    ("cache/mod", &["Entry", "Fingerprint", "Form", "Meta", "Purge", "Tier", "TierError"]),
    ("cache/semantic/mod", &["Learnt", "Point", "Vector"]),
    ("cache/semantic/space", &["Point", "Vector"]),
    ("cache/terms", &["Fingerprint"]),
    ("cache/tier", &[]),
    ("clock/mod", &["Clock"]),
    ("config/environment", &[]),
    (
        "config/mod",
        &[
            "Config",
            "ConfigErrors",
            "Environment",
            "Extensions",
            "Loaded",
            "OnError",
            "Place",
            "PluginConfig",
            "Problem",
            "Severity",
            "System",
            "Warning",
        ],
    ),
    ("config/plugins", &["OnError", "PluginConfig"]),
    ("config/report", &["ConfigErrors", "Place", "Problem", "Severity", "Warning"]),
    ("embed/mod", &[]),
    ("embed/mounted", &[]),
    (
        "lib",
        &[
            "Builder",
            "ClientPath",
            "Clock",
            "Error",
            "Gateway",
            "Mounted",
            "Own",
            "OwnDialect",
            "cache",
            "config",
            "plugins",
        ],
    ),
    ("server/mod", &["StartError"]),
];

/// The same of the wire formats: what a dialect of one's own is.
const PROVIDERS: [(&str, &[&str]); 2] =
    [("codec/mod", &["Codec", "StreamDecoder", "StreamEncoder"]), ("own/mod", &["ClientPath", "Own", "OwnDialect"])];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The list, its version first; then for each file its items, with their members indented.
fn listing() -> String {
    let mut text = format!("ai-gateway {}\n", env!("CARGO_PKG_VERSION"));
    for (folder, files) in [("providers", &PROVIDERS[..]), ("plugins", &PLUGINS), ("gateway", &GATEWAY)] {
        let read = |(file, only): &(&str, &[&str])| {
            let path = root().join(folder).join("src").join(format!("{file}.rs"));
            let mut items = items(&fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")));
            items.retain(|item| only.is_empty() || only.iter().any(|name| item.is_about(name)));
            items
        };
        let items: Vec<Vec<Item>> = files.iter().map(read).collect();
        let defined: Vec<&str> =
            items.iter().flatten().filter(|item| item.header == Header::Defines).map(|item| &*item.of).collect();
        for ((file, _), items) in files.iter().zip(&items) {
            writeln!(text, "# {folder}/{file}").unwrap();
            let is_seen = |item: &&Item| match item.header {
                Header::Defines => true,
                Header::Implements => defined.iter().any(|name| item.is_about(name)),
                Header::Inherent => defined.contains(&&*item.of) && !item.members.is_empty(),
            };
            for item in items.iter().filter(is_seen) {
                writeln!(text, "{}", item.text).unwrap();
                for member in &item.members {
                    writeln!(text, "    {member}").unwrap();
                }
            }
        }
    }
    text
}

#[test]
fn the_public_api_is_the_recorded_one_and_keeps_its_promises() {
    let now = listing();
    if let Ok(released) = fs::read_to_string(root().join("docs/released-api.txt")) {
        let broken = breaks(&released, &now);
        assert!(
            broken.is_empty() || may_break(&released, &now),
            "programs written for the last release would not compile any more: take these changes back, or give the workspace a \
             version that may break them (before 1.0 another 0.N, then another N)\n{broken:#?}"
        );
    }
    let path = root().join("docs/public-api.txt");
    if std::env::var_os("UPDATE_API").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    let gone: Vec<&str> = recorded.lines().filter(|line| !now.lines().any(|now| now == *line)).collect();
    let new: Vec<&str> = now.lines().filter(|line| !recorded.lines().any(|old| old == *line)).collect();
    assert!(
        recorded == now,
        "the public API has changed: if that is meant, run this test with UPDATE_API=1 and say so in the commit\n\
         gone: {gone:#?}\nnew: {new:#?}"
    );
}
