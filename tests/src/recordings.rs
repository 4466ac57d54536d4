//! Recorded traffic of real providers, from `../shared/conformance`.

use crate::{Answer, Received, Step, Stub, StubFraming};
use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// One recorded HTTP interaction.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The file's name, for messages.
    pub name: String,
    /// Method in upper case.
    pub method: String,
    /// Path as the dialect's own SDK sends it, with its query.
    pub target: String,
    /// `content-type` of the request.
    pub content_type: String,
    /// Body of the request.
    pub request: String,
    /// Status of the answer.
    pub status: u16,
    /// `content-type` of the answer.
    pub answer_type: String,
    /// Body of the answer; empty if it is in [`Self::binary`].
    pub answer: String,
    /// Body of the answer that is no text: AWS event streams.
    pub binary: Bytes,
}

impl Recording {
    /// The request as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.request).unwrap_or_else(|e| panic!("{}: request: {e}", self.name))
    }

    /// True when the answer is a stream of events.
    pub fn streams(&self) -> bool {
        self.answer_type.starts_with("text/event-stream")
    }

    /// The name without the file's prefix and ending that all have: what it is asked for as a model.
    pub fn model(&self) -> &str {
        let name = self.name.trim_end_matches(".json");
        name.strip_prefix("tests-models-cassettes-").unwrap_or(name)
    }

    /// The body of the answer.
    pub fn answered(&self) -> Bytes {
        if self.binary.is_empty() { Bytes::from(self.answer.clone()) } else { self.binary.clone() }
    }

    /// The recorded answer, for a stub to give.
    pub fn replay(&self) -> Answer {
        let body = self.answered();
        let answer = Answer::status(self.status).header("content-type", &self.answer_type).step(Step::Send(body));
        if self.answer_type.starts_with("application/json") { answer } else { answer.framing(StubFraming::Chunked) }
    }
}

/// A stub that answers a request for model NAME, in whatever dialect, with the recording of that name. What follows a `~` in it
/// makes another target of the same recording.
pub async fn upstream(folder: &Path, dialects: &[&str]) -> Stub {
    let all = dialects.iter().flat_map(|dialect| of_dialect(folder, dialect));
    let answers: HashMap<String, Answer> = all.map(|r| (r.model().to_owned(), r.replay())).collect();
    Stub::start(move |request| {
        let model = asked_model(request);
        let name = model.split('~').next().unwrap_or_default();
        answers.get(name).cloned().unwrap_or_else(|| Answer::json(404, format!("no recording {model:?}")))
    })
    .await
}

/// The model of a request: in the path as Gemini's `models/NAME:generateContent` and Bedrock's `model/NAME/converse`,
/// else in the body.
fn asked_model(request: &Received) -> String {
    let after = |marker| request.target.split_once(marker).map(|(_, rest)| rest.split([':', '/', '?']).next());
    match after("/models/").or_else(|| after("/model/")) {
        Some(name) => name.unwrap_or_default().to_owned(),
        None => request.json()["model"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The folder of recordings, or `None` (said in one line) in a clone without it. In CI it must exist.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "the recordings are missing in CI: {}", folder.display());
    eprintln!("SKIPPED: no recordings at {}", folder.display());
    None
}

/// The interactions in `recordings/<dialect>`.
pub fn of_dialect(folder: &Path, dialect: &str) -> Vec<Recording> {
    #[derive(Deserialize)]
    struct File {
        request: Request,
        response: Response,
    }
    #[derive(Deserialize)]
    struct Request {
        method: String,
        path: String,
        #[serde(default)]
        body: Box<serde_json::value::RawValue>,
    }
    #[derive(Deserialize)]
    struct Response {
        status: u16,
        headers: std::collections::HashMap<String, String>,
        #[serde(default)]
        body: Box<serde_json::value::RawValue>,
        #[serde(default)]
        body_base64: String,
    }
    let text = |raw: &serde_json::value::RawValue| match serde_json::from_str(raw.get()) {
        // A stream or another text is a JSON string; a document stays as spelled in the file, blanks and all.
        Ok(Value::String(text)) => text,
        Ok(Value::Null) | Err(_) => String::new(),
        Ok(_) => raw.get().to_owned(),
    };
    files(&folder.join("recordings").join(dialect), "json")
        .into_iter()
        .map(|(name, content)| {
            let file: File = serde_json::from_str(&content).unwrap_or_else(|e| panic!("{name}: {e}"));
            Recording {
                name,
                method: file.request.method.to_uppercase(),
                target: file.request.path,
                content_type: "application/json".into(),
                request: text(&file.request.body),
                status: file.response.status,
                answer_type: file.response.headers.get("content-type").cloned().unwrap_or_default(),
                answer: text(&file.response.body),
                binary: base64::prelude::BASE64_STANDARD.decode(&file.response.body_base64).expect("base64").into(),
            }
        })
        .collect()
}

/// The interactions in `openai-recordings`.
pub fn openai_cassettes(folder: &Path) -> Vec<Recording> {
    #[derive(Deserialize)]
    struct Cassette {
        interactions: Vec<Interaction>,
    }
    #[derive(Deserialize)]
    struct Interaction {
        request: Request,
        response: Response,
    }
    #[derive(Deserialize)]
    struct Request {
        body: String,
        headers: std::collections::HashMap<String, Vec<String>>,
        url: String,
        method: String,
    }
    #[derive(Deserialize)]
    struct Response {
        body: String,
        headers: std::collections::HashMap<String, Vec<String>>,
        code: u16,
    }
    let first = |headers: &std::collections::HashMap<String, Vec<String>>| {
        headers.get("Content-Type").and_then(|v| v.first()).cloned().unwrap_or_default()
    };
    let mut all = Vec::new();
    for (name, content) in files(&folder.join("openai-recordings"), "yaml") {
        let cassette: Cassette = serde_yaml_ng::from_str(&content).unwrap_or_else(|e| panic!("{name}: {e}"));
        for Interaction { request, response } in cassette.interactions {
            let target = request.url.splitn(4, '/').nth(3).unwrap_or_default();
            all.push(Recording {
                name: name.clone(),
                method: request.method,
                target: format!("/{target}"),
                content_type: first(&request.headers),
                request: request.body,
                status: response.code,
                answer_type: first(&response.headers),
                answer: response.body,
                binary: Bytes::new(),
            });
        }
    }
    all
}

fn files(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("directory entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no recordings in {}", folder.display());
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("recording"))).collect()
}
