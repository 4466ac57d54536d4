use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::usage::Usage;

const WIRES: [Wire; 9] = [
    Wire::OpenAi,
    Wire::Jina,
    Wire::Voyage,
    Wire::Cohere,
    Wire::Gemini,
    Wire::GeminiBatch,
    Wire::Vertex,
    Wire::BedrockTitan,
    Wire::BedrockNova,
];

fn about() -> About<'static> {
    About { model: "public", request_id: "req1", now: 1_700_000_000, input_tokens: None }
}

/// The client's request as the provider gets it, and what was lost on the way.
fn request(from: Wire, to: Wire, body: &Value) -> Result<(Value, String, Asked), ApiError> {
    let target = crate::operations::tests::target();
    let body = body.to_string();
    let Translated { body, losses, asked } =
        translate_request(from, to, body.as_bytes(), &Call { model: Some("m"), stream: false }, &target)?;
    Ok((serde_json::from_slice(&body).unwrap(), losses.header_value(), asked))
}

fn asked(from: Wire, to: Wire, body: &Value) -> (Value, String) {
    let (body, losses, _) = request(from, to, body).unwrap_or_else(|error| panic!("{error}"));
    (body, losses)
}

fn answer(from: Wire, to: Wire, forms: &[Form], body: &Value) -> (Value, Option<Usage>) {
    let asked = Asked { forms: forms.to_vec(), ..Asked::default() };
    let answered = translate_answer(from, to, body.to_string().as_bytes(), &asked, &about())
        .unwrap_or_else(|error| panic!("{error}"));
    (serde_json::from_slice(&answered.body).unwrap(), answered.usage)
}

#[test]
fn a_full_request_of_openai_for_everyone() {
    let full = json!({"model": "x", "input": ["a", "b"], "dimensions": 256, "encoding_format": "base64", "user": "u",
        "input_type": "query", "truncate": "START", "new": 1});
    let (body, losses) = asked(Wire::OpenAi, Wire::OpenAi, &full);
    assert_eq!((body["new"].clone(), losses.as_str()), (json!(1), ""));
    assert_eq!(
        asked(Wire::OpenAi, Wire::Cohere, &full),
        (
            json!({"model": "upstream-model", "texts": ["a", "b"], "input_type": "search_query",
                "embedding_types": ["float"], "output_dimension": 256, "truncate": "START"}),
            "new,user".into()
        )
    );
    let one = |text: &str| {
        json!({"model": "models/upstream-model", "content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_QUERY",
            "outputDimensionality": 256})
    };
    assert_eq!(
        asked(Wire::OpenAi, Wire::GeminiBatch, &full),
        (json!({"requests": [one("a"), one("b")]}), "new,user,truncate".into())
    );
    assert_eq!(
        asked(Wire::OpenAi, Wire::Vertex, &full),
        (
            json!({"instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY"},
                {"content": "b", "task_type": "RETRIEVAL_QUERY"}],
                "parameters": {"outputDimensionality": 256, "autoTruncate": true}}),
            "new,user,truncate".into()
        )
    );
    assert_eq!(
        asked(Wire::OpenAi, Wire::Voyage, &full),
        (
            json!({"model": "upstream-model", "input": ["a", "b"], "input_type": "query", "output_dimension": 256,
                "encoding_format": "base64", "truncation": true}),
            "new,truncate,user".into()
        )
    );
    assert_eq!(
        asked(Wire::OpenAi, Wire::Jina, &full),
        (
            json!({"model": "upstream-model", "input": ["a", "b"], "task": "retrieval.query", "dimensions": 256,
                "embedding_type": "base64", "truncate": true}),
            "new,truncate,user".into()
        )
    );
    let one = json!({"model": "x", "input": "a", "dimensions": 256});
    assert_eq!(
        asked(Wire::OpenAi, Wire::BedrockTitan, &one),
        (json!({"inputText": "a", "dimensions": 256}), String::new())
    );
    assert_eq!(
        asked(Wire::OpenAi, Wire::BedrockNova, &one),
        (
            json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX",
                "embeddingDimension": 256, "text": {"truncationMode": "NONE", "value": "a"}}}),
            String::new()
        )
    );
    assert_eq!(
        asked(Wire::OpenAi, Wire::BedrockCohere, &one),
        (json!({"texts": ["a"], "input_type": "search_document", "output_dimension": 256}), String::new())
    );
    for wire in [Wire::BedrockTitan, Wire::BedrockNova, Wire::Gemini] {
        let error = request(Wire::OpenAi, wire, &full).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some("input")), "{}", error.message);
    }
}

#[test]
fn a_full_request_of_cohere_for_others() {
    let full = json!({"model": "x", "texts": ["a"], "input_type": "clustering", "embedding_types": ["int8", "float"],
        "output_dimension": 256, "truncate": "END", "max_tokens": 9, "priority": 1});
    assert_eq!(
        asked(Wire::Cohere, Wire::OpenAi, &full),
        (
            json!({"model": "upstream-model", "input": ["a"], "dimensions": 256, "encoding_format": "float"}),
            "priority,max_tokens,input_type,embedding_types,truncate".into()
        )
    );
    assert_eq!(
        asked(Wire::Cohere, Wire::BedrockCohere, &full),
        (
            json!({"texts": ["a"], "input_type": "clustering", "embedding_types": ["int8", "float"],
                "output_dimension": 256, "max_tokens": 9, "truncate": "END"}),
            "priority".into()
        )
    );
    assert_eq!(
        asked(Wire::Cohere, Wire::Voyage, &full),
        (
            json!({"model": "upstream-model", "input": ["a"], "output_dimension": 256, "output_dtype": "int8",
                "truncation": true}),
            "priority,max_tokens,input_type,embedding_types".into()
        )
    );
}

#[test]
fn images_and_tokens_find_their_place() {
    let images = json!({"model": "x", "images": ["data:image/jpeg;base64,QUJD"], "input_type": "image"});
    assert_eq!(asked(Wire::Cohere, Wire::Cohere, &images).0["images"], images["images"]);
    let (gemini, _) = asked(Wire::Cohere, Wire::Gemini, &images);
    assert_eq!(gemini["content"], json!({"parts": [{"inlineData": {"mimeType": "image/jpeg", "data": "QUJD"}}]}));
    let (titan, _) = asked(Wire::Cohere, Wire::BedrockTitan, &images);
    assert_eq!(titan, json!({"inputImage": "QUJD"}));
    let (nova, _) = asked(Wire::Cohere, Wire::BedrockNova, &images);
    assert_eq!(nova["singleEmbeddingParams"]["image"], json!({"format": "jpeg", "source": {"bytes": "QUJD"}}));
    let mixed = json!({"model": "x", "input_type": "image", "inputs": [
        {"content": [{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "https://i"}}]}]});
    assert_eq!(asked(Wire::Cohere, Wire::BedrockCohere, &mixed).0["inputs"], mixed["inputs"]);
    assert_eq!(request(Wire::Cohere, Wire::OpenAi, &images).unwrap_err().status, 400);
    assert_eq!(request(Wire::Cohere, Wire::Vertex, &mixed).unwrap_err().status, 400);
    let item = json!({"model": "x", "input": [{"text": "a", "title": "t"}]});
    assert_eq!(asked(Wire::OpenAi, Wire::Vertex, &item).0, json!({"instances": [{"content": "a", "title": "t"}]}));

    for tokens in [json!([4438, 656, 358]), json!([[4438, 656, 358], "x"])] {
        let body = json!({"model": "x", "input": tokens});
        assert_eq!(asked(Wire::OpenAi, Wire::OpenAi, &body).0["input"], tokens);
        assert_eq!(asked(Wire::OpenAi, Wire::Cohere, &body).0["texts"][0], "How do I");
    }
}

#[test]
fn bad_requests_are_the_callers_fault_and_are_not_quoted() {
    let cases = [
        (Wire::OpenAi, json!({"model": "x"})),
        (Wire::OpenAi, json!({"input": []})),
        (Wire::OpenAi, json!({"input": ["secret", null]})),
        (Wire::OpenAi, json!({"input": {"text": "secret"}})),
        (Wire::OpenAi, json!({"input": [{"text": "a", "secret": 1}]})),
        (Wire::OpenAi, json!({"input": "a", "encoding_format": "secret"})),
        (Wire::OpenAi, json!({"input": "a", "truncate": "secret"})),
        (Wire::Cohere, json!({"texts": []})),
        (Wire::Cohere, json!({"texts": "secret"})),
        (Wire::Cohere, json!({"texts": ["a"], "embedding_types": ["secret"]})),
        (Wire::Cohere, json!({"inputs": [{"content": []}]})),
        (Wire::Gemini, json!({"content": {"parts": [{"secret": 1}]}})),
        (Wire::GeminiBatch, json!({"requests": []})),
        (
            Wire::GeminiBatch,
            json!({"requests": [{"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 1},
            {"content": {"parts": [{"text": "a"}]}}]}),
        ),
        (Wire::Vertex, json!({"instances": [{"text": "secret"}]})),
        (Wire::BedrockTitan, json!({})),
        (Wire::BedrockNova, json!({"taskType": "SEGMENTED_EMBEDDING"})),
    ];
    for (wire, body) in cases {
        let error = request(wire, Wire::OpenAi, &body).unwrap_err();
        assert_eq!(error.status, 400, "{body}");
        assert!(!error.message.contains("secret"), "{body}: {}", error.message);
    }
    let body = json!({"input": [[1, -1]]});
    assert_eq!(request(Wire::OpenAi, Wire::Cohere, &body).unwrap_err().status, 400);
}

#[test]
fn answers_for_everyone() {
    let openai = json!({"object": "list", "model": "u", "usage": {"prompt_tokens": 3, "total_tokens": 3}, "data": [
        {"object": "embedding", "index": 1, "embedding": [0.5, 1]}, {"object": "embedding", "index": 0, "embedding": [2, -3e-2]}]});
    let usage = Some(Usage { input: Some(3), ..Usage::default() });
    let (body, found) = answer(Wire::OpenAi, Wire::Cohere, &[], &openai);
    assert_eq!(found, usage);
    assert_eq!(
        body,
        json!({"id": "req1", "embeddings": {"float": [[2, -3e-2], [0.5, 1]]}, "response_type": "embeddings_by_type",
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 3}}})
    );
    let (body, _) = answer(Wire::OpenAi, Wire::Cohere, &[Form::Base64, Form::Float], &openai);
    assert_eq!(body["embeddings"]["base64"][1], "AAAAPwAAgD8=");
    let (body, _) = answer(Wire::OpenAi, Wire::GeminiBatch, &[], &openai);
    assert_eq!(
        body,
        json!({"embeddings": [{"values": [2, -3e-2]}, {"values": [0.5, 1]}], "usageMetadata": {"promptTokenCount": 3}})
    );

    let cohere = json!({"id": "c1", "response_type": "embeddings_by_type", "embeddings": {"float": [[0.5, 1.0]], "int8": [[1, -2]]},
        "meta": {"billed_units": {"input_tokens": 4, "image_tokens": 6}}});
    let (body, found) = answer(Wire::Cohere, Wire::OpenAi, &[Form::Base64], &cohere);
    assert_eq!(found, Some(Usage { input: Some(4), image_input: Some(6), ..Usage::default() }));
    assert_eq!(
        body,
        json!({"object": "list", "model": "public", "usage": {"prompt_tokens": 10, "total_tokens": 10},
            "data": [{"object": "embedding", "index": 0, "embedding": "AAAAPwAAgD8="}]})
    );
    let (body, _) = answer(Wire::Cohere, Wire::Voyage, &[Form::Int8, Form::Base64], &cohere);
    assert_eq!((&body["data"][0]["embedding"], &body["usage"]), (&json!("Af4="), &json!({"total_tokens": 10})));

    let vertex = json!({"predictions": [
        {"embeddings": {"values": [1.5], "statistics": {"token_count": 2.0, "truncated": false}}},
        {"embeddings": {"values": [2.5], "statistics": {"token_count": 3}}}]});
    let (body, found) = answer(Wire::Vertex, Wire::OpenAi, &[], &vertex);
    assert_eq!(found, Some(Usage { input: Some(5), ..Usage::default() }));
    assert_eq!(body["data"][1], json!({"object": "embedding", "index": 1, "embedding": [2.5]}));
    let (body, _) = answer(Wire::Vertex, Wire::Vertex, &[], &vertex);
    assert_eq!(body["predictions"][1]["embeddings"]["values"], json!([2.5]));
}

#[test]
fn answers_without_vectors_are_no_answers() {
    for wire in WIRES {
        for body in [json!({}), json!({"data": [], "embeddings": [], "predictions": []}), json!([]), json!("x")] {
            let error = translate_answer(wire, Wire::OpenAi, body.to_string().as_bytes(), &Asked::default(), &about());
            assert_eq!(error.unwrap_err().status, 502, "{wire:?}: {body}");
        }
    }
    let two = Asked { inputs: 2, ..Asked::default() };
    let one = json!({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": null}]}).to_string();
    let error = translate_answer(Wire::OpenAi, Wire::Cohere, one.as_bytes(), &two, &about());
    assert_eq!(error.unwrap_err().message, "the provider's answer has no vector for each input");
    let broken = json!({"data": [{"index": 0, "embedding": "AAA"}]});
    let error =
        translate_answer(Wire::OpenAi, Wire::Cohere, broken.to_string().as_bytes(), &Asked::default(), &about());
    assert_eq!(error.unwrap_err().status, 502);
}

/// The wire form of a recorded path.
fn wire(host: &str, path: &str) -> Option<Wire> {
    Some(match path {
        _ if host.contains("voyageai") => Wire::Voyage,
        _ if path.contains("amazon.titan") || path.contains("application-inference-profile") => Wire::BedrockTitan,
        _ if path.contains("amazon.nova") => Wire::BedrockNova,
        _ if path.contains("cohere.embed") => Wire::BedrockCohere,
        _ if path.ends_with("/embeddings") => Wire::OpenAi,
        _ if path.ends_with("/embed") => Wire::Cohere,
        _ if path.ends_with(":batchEmbedContents") => Wire::GeminiBatch,
        _ if path.ends_with(":predict") => Wire::Vertex,
        _ => return None,
    })
}

struct Recorded {
    name: String,
    wire: Wire,
    request: Value,
    status: u64,
    answer: Value,
}

fn recordings() -> Vec<Recorded> {
    let Some(root) = crate::operations::tests::conformance() else { return Vec::new() };
    let files = |folder: PathBuf| {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut all = Vec::new();
    for folder in ["openai-chat", "cohere", "gemini", "bedrock-invoke"] {
        for path in files(root.join("recordings").join(folder)) {
            let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            if file["operation"] != "embeddings" && file["operation"] != "invoke" {
                continue;
            }
            let wire = wire(file["host"].as_str().unwrap(), file["request"]["path"].as_str().unwrap());
            all.push(Recorded {
                name: name(&path),
                wire: wire.unwrap(),
                status: file["response"]["status"].as_u64().unwrap(),
                request: file["request"]["body"].take(),
                answer: file["response"]["body"].take(),
            });
        }
    }
    for path in files(root.join("openai-recordings")) {
        if !name(&path).starts_with("embeddings-") {
            continue;
        }
        let cassette: Value = serde_yaml_ng::from_slice(&fs::read(&path).unwrap()).unwrap();
        let one = &cassette["interactions"][0];
        all.push(Recorded {
            name: name(&path),
            wire: Wire::OpenAi,
            request: serde_json::from_str(one["request"]["body"].as_str().unwrap()).unwrap(),
            status: one["response"]["code"].as_u64().unwrap(),
            answer: serde_json::from_str(one["response"]["body"].as_str().unwrap()).unwrap(),
        });
    }
    assert!(all.len() > 45, "only {}", all.len());
    all
}

#[test]
fn recorded_requests_mean_the_same_after_a_round_trip() {
    for Recorded { name, wire, request: body, .. } in recordings() {
        if name == "embeddings-bad-request" {
            // Neither -1 nor this encoding exists.
            assert_eq!(request(wire, wire, &body).unwrap_err().status, 400);
            continue;
        }
        let model = body["model"].as_str().or(body["requests"][0]["model"].as_str()).unwrap_or_default().to_owned();
        let body = body.to_string();
        let read =
            read_request(wire, body.as_bytes(), &Call::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut losses = Losses::default();
        let written = write_request(wire, &read, &model, Platform::Native, &mut losses).unwrap();
        let differences = crate::codec::testing::differences(
            &serde_json::from_str(&body).unwrap(),
            &serde_json::from_slice(&written).unwrap(),
        );
        assert!(differences.is_empty() && losses.is_empty(), "{name}: {differences:?}, {losses:?}");
    }
}

/// The vectors of any answer, found without this module.
fn vectors(value: &Value, out: &mut Vec<Vec<f64>>) {
    use base64::Engine as _;
    match value {
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_number) => {
            out.push(list.iter().map(|number| number.as_f64().unwrap()).collect());
        }
        Value::Array(list) => list.iter().for_each(|value| vectors(value, out)),
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "embedding" => {
                        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
                        let float = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
                        out.push(bytes.chunks(4).map(float).collect());
                    }
                    // Titan says its vector twice.
                    _ if key == "embeddingsByType" => {}
                    _ => vectors(value, out),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn recorded_answers_reach_every_client_whole() {
    let same = |a: &[Vec<f64>], b: &[Vec<f64>]| {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= a.abs() * 1e-6;
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(near))
    };
    let mut whole = 0;
    for Recorded { name, wire, status, answer: body, .. } in recordings() {
        if status != 200 {
            assert_eq!(crate::error::decode_error(wire.dialect(), 404, body.to_string().as_bytes()).status, 404);
            continue;
        }
        whole += 1;
        let mut wanted = Vec::new();
        vectors(&body, &mut wanted);
        for client in WIRES {
            for forms in [&[][..], &[Form::Base64]] {
                let (written, usage) = answer(wire, client, forms, &body);
                let mut found = Vec::new();
                vectors(&written, &mut found);
                if client == Wire::Cohere && !forms.is_empty() {
                    assert!(written["embeddings"]["base64"][0].is_string());
                    continue;
                }
                if matches!(client, Wire::Gemini | Wire::BedrockTitan) {
                    assert!(same(&wanted[..1], &found), "{name} for {client:?}");
                    continue;
                }
                assert!(same(&wanted, &found), "{name} for {client:?}");
                let counted = !matches!(wire, Wire::BedrockNova | Wire::BedrockCohere)
                    && (wire != Wire::GeminiBatch || !body["usageMetadata"].is_null());
                assert_eq!(usage.and_then(|usage| usage.total_input()).is_some(), counted, "{name}");
                // What was written is read as the same.
                let (again, _) = answer(client, Wire::OpenAi, forms, &written);
                found.clear();
                vectors(&again, &mut found);
                assert!(same(&wanted, &found), "{name} for {client:?} and back");
            }
        }
    }
    assert!(whole == 0 || whole > 40, "only {whole}");
}

#[test]
fn a_large_answer_is_quick() {
    let row = format!("[{}]", vec!["-0.0123456789"; 1536].join(","));
    let data: Vec<_> =
        (0..256).map(|index| format!(r#"{{"object":"embedding","index":{index},"embedding":{row}}}"#)).collect();
    let body = format!(r#"{{"data":[{}],"usage":{{"prompt_tokens":1}}}}"#, data.join(","));
    for forms in [vec![], vec![Form::Base64]] {
        let asked = Asked { forms, ..Asked::default() };
        let start = std::time::Instant::now();
        let answered = translate_answer(Wire::OpenAi, Wire::Cohere, body.as_bytes(), &asked, &about()).unwrap();
        println!("{} bytes: {:?}", answered.body.len(), start.elapsed());
        assert!(start.elapsed() < std::time::Duration::from_secs(10));
    }
}

fn any_wire() -> impl Strategy<Value = Wire> {
    proptest::sample::select(&WIRES[..])
}

/// JSON of the words that the forms know, in the wrong places.
fn any_body() -> impl Strategy<Value = String> {
    let words = "(model|input|texts|content|parts|text|requests|instances|embedding|embeddings|data|values|float|index|usage|\
        encoding_format|base64|predictions|taskType|singleEmbeddingParams|inputText|images|inputs|embeddingsByType)";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(words, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string())
}

proptest! {
    #[test]
    fn nothing_panics(
        from in any_wire(),
        to in any_wire(),
        body in prop_oneof![any_body().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..64)],
        base64 in any::<bool>(),
    ) {
        let target = crate::operations::tests::target();
        if let Ok(translated) = translate_request(from, to, &body, &Call::default(), &target) {
            serde_json::from_slice::<Value>(&translated.body).unwrap();
        }
        let asked = Asked { forms: base64.then_some(Form::Base64).into_iter().collect(), ..Asked::default() };
        if let Ok(answered) = translate_answer(from, to, &body, &asked, &about()) {
            serde_json::from_slice::<Value>(&answered.body).unwrap();
        }
    }
}
