//! Every recorded answer of the three dialects, through the observer: bytes survive in any cut, and what is seen equals what the
//! recording says. The expectations are read from the recordings here, by other code than the observer's.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};

use ai_gateway_providers::{AnswerForm, Dialect, Observer, Operation, Seen, Usage};
use bytes::Bytes;
use serde_json::Value;

struct Recording {
    name: String,
    host: String,
    dialect: Dialect,
    operation: Operation,
    stream: bool,
    status: u16,
    body: Vec<u8>,
}

/// The recordings; none where they are not at hand, except in CI.
fn recordings() -> Vec<Recording> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance"));
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", root.display());
        eprintln!("SKIPPED: no recordings at {}", root.display());
        return Vec::new();
    }
    let mut all = Vec::new();
    for folder in ["openai-chat", "openai-responses", "anthropic"] {
        all.extend(files(&root.join("recordings").join(folder), "json").iter().map(|path| from_json(path)));
    }
    all.extend(files(&root.join("openai-recordings"), "yaml").iter().map(|path| from_yaml(path)));
    assert!(all.len() > 300, "only {} recordings", all.len());
    all
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

fn from_json(path: &Path) -> Recording {
    let recording: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = |field: &str| recording[field].as_str().unwrap().to_owned();
    let body = &recording["response"]["body"];
    Recording {
        name: name(path),
        host: text("host"),
        dialect: text("dialect").parse().unwrap(),
        operation: Operation::ALL.into_iter().find(|operation| operation.as_str() == text("operation")).unwrap(),
        stream: body.is_string(),
        status: recording["response"]["status"].as_u64().unwrap().try_into().unwrap(),
        body: body.as_str().map_or_else(|| serde_json::to_vec_pretty(body).unwrap(), |text| text.as_bytes().to_vec()),
    }
}

fn from_yaml(path: &Path) -> Recording {
    let recording: serde_yaml_ng::Value = serde_yaml_ng::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let interaction = &recording["interactions"][0];
    let url = interaction["request"]["url"].as_str().unwrap();
    let operation = [
        ("chat/completions", Operation::Chat),
        ("completions", Operation::Completions),
        ("embeddings", Operation::Embeddings),
        ("images", Operation::Images),
        ("audio/speech", Operation::Speech),
        ("audio/", Operation::Transcription),
    ];
    let operation = operation.into_iter().find(|(part, _)| url.contains(part)).unwrap().1;
    let body = interaction["response"]["body"].as_str().unwrap();
    Recording {
        name: name(path),
        host: interaction["request"]["host"].as_str().unwrap().to_owned(),
        dialect: Dialect::OpenAiChat,
        operation,
        stream: body.starts_with("data:"),
        status: interaction["response"]["code"].as_u64().unwrap().try_into().unwrap(),
        body: body.as_bytes().to_vec(),
    }
}

/// What the client receives, and what was seen.
fn observe<'a>(recording: &Recording, hide_usage: bool, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Seen) {
    let form = if recording.stream { AnswerForm::Stream } else { AnswerForm::Json };
    let mut observer = Observer::new(recording.dialect, recording.operation, form, hide_usage);
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&observer.feed(Bytes::copy_from_slice(chunk), false));
    }
    out.extend_from_slice(&observer.feed(Bytes::new(), true));
    (out, observer.into_seen())
}

/// The body in pieces of pseudo-random length.
fn cuts(body: &[u8], mut seed: u64) -> Vec<&[u8]> {
    let (mut chunks, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (chunk, tail) = rest.split_at(rest.len().min(usize::try_from(seed >> 33).unwrap() % 700 + 1));
        chunks.push(chunk);
        rest = tail;
    }
    chunks
}

/// The data of the events, as a client with a simple parser reads them.
fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok()).collect()
}

fn answers() -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(|recording| recording.status == 200)
}

#[test]
fn bytes_survive_and_the_cut_does_not_matter() {
    for recording in answers() {
        let (out, seen) = observe(&recording, false, [&recording.body[..]]);
        assert_eq!(out, recording.body, "{}", recording.name);
        for chunks in [recording.body.chunks(1).collect(), cuts(&recording.body, 1), cuts(&recording.body, 2)] {
            for hide_usage in [false, true] {
                let (cut_out, cut_seen) = observe(&recording, hide_usage, chunks.iter().copied());
                assert_eq!(cut_seen, seen, "{}", recording.name);
                if !hide_usage {
                    assert_eq!(cut_out, recording.body, "{}", recording.name);
                }
            }
        }
    }
}

#[test]
fn every_answer_is_complete_and_has_output() {
    for recording in answers() {
        let (_, seen) = observe(&recording, false, [&recording.body[..]]);
        let text = String::from_utf8_lossy(&recording.body);
        assert_eq!(seen.unreadable, 0, "{}", recording.name);
        let error = recording.stream && text.contains("\"error\":{") && !recording.name.contains("responses");
        assert_eq!(seen.error.is_some(), error, "{}: {:?}", recording.name, seen.error);
        if recording.host == "api.groq.com" && error {
            assert!(!seen.complete && !seen.cut, "{}", recording.name);
        } else {
            assert!(seen.complete && !seen.cut, "{}: {seen:?}", recording.name);
        }
        // The one answer that was used up by hidden reasoning.
        let empty = recording.name == "chat-streaming-detailed-usage";
        assert_eq!(seen.first_output, !empty, "{}", recording.name);
        assert_eq!(seen.outputs > 0, !empty, "{}", recording.name);
    }
}

#[test]
fn the_model_is_the_recorded_one() {
    for recording in answers() {
        let (_, seen) = observe(&recording, false, [&recording.body[..]]);
        let objects = if recording.stream { events(&recording.body) } else { vec![parse(&recording.body)] };
        let model = objects.iter().find_map(|object| {
            [&object["model"], &object["response"]["model"], &object["message"]["model"]]
                .into_iter()
                .find_map(|model| model.as_str().filter(|model| !model.is_empty()))
        });
        assert_eq!(seen.model.as_deref(), model, "{}", recording.name);
    }
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// The counts of the recording, in its own words: the largest of each over all its reports.
fn recorded(recording: &Recording) -> impl Fn(&[&str]) -> Option<u64> {
    let objects = if recording.stream { events(&recording.body) } else { vec![parse(&recording.body)] };
    let reports: Vec<Value> = objects
        .iter()
        .flat_map(|object| {
            [&object["usage"], &object["response"]["usage"], &object["message"]["usage"], &object["x_groq"]["usage"]]
        })
        .filter(|usage| usage.is_object())
        .cloned()
        .collect();
    move |paths| {
        let find = |usage: &Value| paths.iter().find_map(|path| usage.pointer(path)?.as_u64());
        reports.iter().filter_map(find).max()
    }
}

#[test]
fn usage_is_the_recorded_one() {
    let (mut with_usage, mut without) = (0, Vec::new());
    for recording in answers() {
        let (_, seen) = observe(&recording, false, [&recording.body[..]]);
        let count = recorded(&recording);
        let name = &recording.name;
        let Some(usage) = seen.usage.and_then(|usage| usage.told()) else {
            assert!(
                count(&["/total_tokens", "/input_tokens"]).is_none() || recording.operation == Operation::CountTokens,
                "{name}"
            );
            without.push(name.clone());
            continue;
        };
        with_usage += 1;
        match recording.dialect {
            Dialect::Anthropic => {
                assert_eq!(usage.input, count(&["/input_tokens"]), "{name}");
                assert_eq!(usage.cache_read, count(&["/cache_read_input_tokens"]), "{name}");
                assert_eq!(usage.cache_write_1h, count(&["/cache_creation/ephemeral_1h_input_tokens"]), "{name}");
                let written = usage.cache_write_5m.unwrap() + usage.cache_write_1h.unwrap_or(0);
                assert_eq!(Some(written), count(&["/cache_creation_input_tokens"]), "{name}");
                assert_eq!(usage.total_output(), count(&["/output_tokens"]), "{name}");
                assert_eq!(usage.reasoning, count(&["/output_tokens_details/thinking_tokens"]), "{name}");
            }
            Dialect::OpenAiChat | Dialect::OpenAiResponses => openai_usage_is(&usage, &count, name),
            other => panic!("{name}: {other}"),
        }
    }
    assert!(with_usage == 0 || with_usage > 280, "{with_usage}");
    assert!(without.len() < 30, "{without:?}");
}

fn openai_usage_is(usage: &Usage, count: &impl Fn(&[&str]) -> Option<u64>, name: &str) {
    if let Some(seconds) = count(&["/seconds"]) {
        assert_eq!(usage.audio_input_ms, Some(seconds * 1000), "{name}");
        return;
    }
    let input = count(&["/prompt_tokens", "/input_tokens"]).or(count(&["/total_tokens"])).unwrap();
    let output = count(&["/completion_tokens", "/output_tokens"]);
    let cached = count(&[
        "/prompt_tokens_details/cached_tokens",
        "/input_tokens_details/cached_tokens",
        "/num_cached_tokens",
        "/cached_tokens",
    ]);
    let reasoning = count(&["/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens"]);
    assert_eq!(usage.total_input(), Some(input), "{name}");
    assert_eq!(usage.cache_read, cached, "{name}");
    assert_eq!(usage.audio_input, count(&["/prompt_tokens_details/audio_tokens"]), "{name}");
    assert_eq!(usage.audio_output, count(&["/completion_tokens_details/audio_tokens"]), "{name}");
    if let Some(seconds) = count(&["/prompt_audio_seconds"]) {
        // What Mistral's total has more is the audio, which has no tokens of its own.
        assert_eq!(usage.audio_input_ms, Some(seconds * 1000), "{name}");
        assert_eq!((usage.total_output(), usage.reasoning), (output, None), "{name}");
    } else if let Some(output) = output {
        // Gemini's endpoint counts thoughts in the total only.
        let total = count(&["/total_tokens"]).unwrap();
        assert_eq!(usage.total(), Some(total), "{name}");
        let hidden = total - input - output;
        let expected = if hidden > 0 { Some(hidden) } else { reasoning.map(|reasoning| reasoning.min(output)) };
        assert_eq!(usage.reasoning, expected, "{name}");
    } else {
        assert_eq!(usage.total_output(), None, "{name}");
    }
}

#[test]
fn a_truncated_answer_is_never_complete() {
    for recording in answers() {
        if !recording.stream {
            for end in (0..recording.body.len()).step_by(recording.body.len() / 50 + 1) {
                let (_, seen) = observe(&recording, false, [&recording.body[..end]]);
                assert!(!seen.complete && seen.cut, "{} at {end}", recording.name);
            }
            continue;
        }
        let text = std::str::from_utf8(&recording.body).unwrap();
        let boundaries = text.match_indices("\n\n").map(|(at, end)| at + end.len());
        for end in boundaries.flat_map(|end| [end.saturating_sub(9), end]) {
            // An event that lacks only its last line ends is whole.
            let before = &recording.body[..end];
            if before.trim_ascii_end().len() == recording.body.trim_ascii_end().len() {
                continue;
            }
            let (_, seen) = observe(&recording, false, [before]);
            let expected = match recording.dialect {
                Dialect::OpenAiChat => {
                    events(before).iter().any(|event| event["choices"][0]["finish_reason"].is_string())
                }
                _ => false,
            };
            assert_eq!(seen.complete, expected, "{} at {end}", recording.name);
            assert_eq!(seen.cut, !expected && seen.error.is_none(), "{} at {end}", recording.name);
        }
    }
}

#[test]
fn hiding_usage_takes_out_exactly_the_usage_chunk() {
    let mut hidden = 0;
    for recording in answers().filter(|recording| recording.stream && recording.dialect == Dialect::OpenAiChat) {
        let text = std::str::from_utf8(&recording.body).unwrap();
        let expected: String = text
            .split_inclusive("\n\n")
            .filter(|event| {
                let data = event.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
                let usage_only = data.is_some_and(|data| {
                    data["choices"].as_array().is_some_and(Vec::is_empty) && data["usage"].is_object()
                });
                hidden += u32::from(usage_only);
                !usage_only
            })
            .collect();
        for chunks in [vec![&recording.body[..]], recording.body.chunks(1).collect(), cuts(&recording.body, 7)] {
            let (out, _) = observe(&recording, true, chunks);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{}", recording.name);
        }
    }
    assert!(hidden == 0 || hidden >= 3, "{hidden}");
}

#[test]
fn recorded_errors_are_understood() {
    for recording in recordings().into_iter().filter(|recording| recording.status != 200) {
        let error = ai_gateway_providers::error::decode_error(recording.dialect, recording.status, &recording.body);
        let body = parse(&recording.body);
        let message = body["error"]["message"].as_str().or(body["message"].as_str()).unwrap();
        assert_eq!((error.message.as_str(), error.status), (message, recording.status), "{}", recording.name);
        assert_eq!(error.client_status(recording.dialect), recording.status, "{}", recording.name);
    }
}
