//! What programs that embed the gateway, and plugins, rely on is recorded in `docs/public-api.txt`, so that no change of it goes
//! unnoticed: the signatures of all public items of the plugin interface and of the library, as they stand in the source.
//! `UPDATE_API=1 cargo test -p ai-gateway-tests --test public_api` writes the file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Files of the plugin interface; what ships beside it is configured, not called.
const PLUGINS: [&str; 16] = [
    "answer",
    "context",
    "end",
    "host",
    "lib",
    "plan",
    "plugin",
    "registry",
    "request",
    "screen/mod",
    "screen/stream",
    "settings",
    "text",
    "tls",
    "upstream",
    "verdict",
];
const GATEWAY: [&str; 4] = ["cache/tier", "clock/mod", "embed/mod", "embed/mounted"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The public items of a source, one a line.
fn items(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let (mut items, mut item): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut in_trait = false;
    for line in source.lines() {
        let text = line.trim();
        if line.starts_with('}') {
            in_trait = false;
        }
        if line.starts_with("impl") && text.ends_with('{') {
            items.push(text.trim_end_matches('{').trim().to_owned());
            continue;
        }
        let method = in_trait && (text.starts_with("fn ") || text.starts_with("async fn "));
        if item.is_none() && !text.starts_with("pub(") && (text.starts_with("pub ") || method) {
            in_trait |= text.starts_with("pub trait");
            item = Some(String::new());
        }
        if let Some(signature) = &mut item {
            if !signature.is_empty() {
                signature.push(' ');
            }
            signature.push_str(text);
            if text.ends_with(['{', ';', '}', ',']) && signature.matches('(').count() <= signature.matches(')').count()
            {
                let end = signature.trim_end_matches(['{', ';', ',']).trim();
                items.push(format!("    {end}"));
                item = None;
            }
        }
    }
    items
}

fn listing() -> String {
    let mut text = String::new();
    for (folder, files) in [("plugins", &PLUGINS[..]), ("gateway", &GATEWAY[..])] {
        for file in files {
            let path = root().join(folder).join("src").join(format!("{file}.rs"));
            let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            writeln!(text, "# {folder}/{file}").unwrap();
            for item in items(&source) {
                writeln!(text, "{item}").unwrap();
            }
        }
    }
    text
}

#[test]
fn the_public_api_is_the_recorded_one() {
    let path = root().join("docs/public-api.txt");
    let now = listing();
    if std::env::var_os("UPDATE_API").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let gone: Vec<&str> = recorded.lines().filter(|line| !now.lines().any(|now| now == *line)).collect();
    let new: Vec<&str> = now.lines().filter(|line| !recorded.lines().any(|old| old == *line)).collect();
    assert!(
        recorded == now,
        "the public API has changed: if that is meant, run this test with UPDATE_API=1 and say so in the commit\n\
         gone: {gone:#?}\nnew: {new:#?}"
    );
}

#[test]
fn items_are_found() {
    let source = "pub struct A {\n    /// x\n    pub b: u8,\n    c: u8,\n}\n\nimpl A {\n    pub fn long(\n        a: u8,\n    ) -> u8 {\n    }\n    fn private() {}\n}\n\
        pub trait T {\n    fn needed(&self);\n}\nfn free() {}\n";
    let found = [
        "    pub struct A",
        "    pub b: u8",
        "impl A",
        "    pub fn long( a: u8, ) -> u8",
        "    pub trait T",
        "    fn needed(&self)",
    ];
    assert_eq!(items(source), found);
}
