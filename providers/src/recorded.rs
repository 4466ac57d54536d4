//! Requests that real clients sent (`../shared/conformance`), through endpoint matching and scan.

use std::fs;
use std::path::{Path, PathBuf};

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::endpoint::match_endpoint;
use crate::scan::{fidelity, scan_json};

/// The folder of recordings; without it the tests skip, but never in CI.
fn conformance() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance"));
    if folder.is_dir() {
        return Some(folder.to_owned());
    }
    assert!(std::env::var_os("CI").is_none(), "no recordings at {}", folder.display());
    eprintln!("SKIPPED: no recordings at {}", folder.display());
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The path at the gateway of a request that was recorded at some provider's base URL.
fn public_path(recorded: &str) -> String {
    let path = recorded.split(['?', '#']).next().unwrap();
    ["/chat/completions", "/embeddings", "/responses"]
        .into_iter()
        .find(|end| path.ends_with(end) && !path.contains("/deployments/"))
        .map_or_else(|| path.to_owned(), |end| format!("/v1{end}"))
}

fn check_body(text: &str, source: &Path) {
    let want: Value = serde_json::from_str(text).unwrap();
    let scan = scan_json(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    assert_eq!(scan.model.as_ref().map(|model| model.value.as_str()), want["model"].as_str(), "{}", source.display());
    assert_eq!(scan.stream, want["stream"].as_bool().unwrap_or(false), "{}", source.display());
    assert_eq!(fidelity::check_json(text.as_bytes(), "other/model-1"), Ok(()), "{}", source.display());
}

#[test]
fn recorded_requests_of_the_served_dialects() {
    let Some(conformance) = conformance() else { return };
    let mut seen = 0;
    for dialect in ["openai-chat", "openai-responses", "anthropic"] {
        for file in files(&conformance.join("recordings").join(dialect)) {
            let recording: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let request = &recording["request"];
            let path = public_path(request["path"].as_str().unwrap());
            let endpoint = match_endpoint(&Method::POST, &path, &HeaderMap::new()).unwrap();
            assert_eq!(endpoint.dialect.as_str(), dialect, "{}", file.display());
            assert_eq!(Some(endpoint.operation.as_str()), recording["operation"].as_str(), "{}", file.display());
            // A few were recorded without their body.
            if request["body"].is_null() {
                continue;
            }
            check_body(&serde_json::to_string(&request["body"]).unwrap(), &file);
            check_body(&serde_json::to_string_pretty(&request["body"]).unwrap(), &file);
            seen += 1;
        }
    }
    assert!(seen > 300, "only {seen} recordings");
}

#[test]
fn recorded_openai_bodies_byte_for_byte() {
    let Some(conformance) = conformance() else { return };
    let mut seen = 0;
    for file in files(&conformance.join("openai-recordings")) {
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let cassette: Value = serde_yaml_ng::from_slice(&fs::read(&file).unwrap()).unwrap();
        for interaction in cassette["interactions"].as_array().unwrap() {
            let request = &interaction["request"];
            let (_, path) = request["url"].as_str().unwrap().split_once("://").unwrap().1.split_once('/').unwrap();
            match_endpoint(&Method::POST, &public_path(&format!("/{path}")), &HeaderMap::new()).unwrap();
            let body = request["body"].as_str().unwrap();
            if body.starts_with('{') {
                check_body(body, &file);
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "only {seen} bodies");
}
