use bytes::Bytes;

use super::super::{Edits, MAX_DEPTH, Place, ScanError};
use super::*;

fn scan(body: &str) -> RequestScan {
    scan_json(body.as_bytes()).unwrap()
}

fn refused(body: &str) -> ScanError {
    scan_json(body.as_bytes()).unwrap_err()
}

/// What is sent for a body with the model name `new` and usage asked for.
fn sent(body: &str) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let sent = scan(body).rewrite(&bytes, &Edits { model: Some("new"), include_usage: true });
    String::from_utf8(sent.to_vec()).unwrap()
}

#[test]
fn bodies_of_responses_are_told_from_those_of_chat() {
    assert!(
        scan(r#"{"model":"a","input":[{"role":"user","content":"\"messages\""}],"tools":[{"messages":1}]}"#).only_input
    );
    assert!(!scan(r#"{"model":"a","input":"x","messages":[]}"#).only_input);
    assert!(!scan(r#"{"model":"a","messages":[{"input":1}]}"#).only_input);
}

#[test]
fn fields_are_read_wherever_they_stand() {
    let body =
        "{\"messages\":[{\"model\":\"no\"}],\r\n\t\"stream\" : true , \"max_tokens\":7,\"model\":\"a\\/b\\u00e9\"}";
    let found = scan(body);
    let model = found.model.clone().unwrap();
    assert_eq!(model.value, "a/bé");
    assert_eq!(&body[model.span], "\"a\\/b\\u00e9\"");
    assert!(found.stream && found.hide_usage());
    assert_eq!(found.max_tokens, Some(7));
}

#[test]
fn absent_and_null_are_the_same() {
    for body in ["{}", r#"{"model":null,"stream":null,"max_tokens":null,"stream_options":null}"#] {
        let found = scan(body);
        assert_eq!(
            (found.model.clone(), found.stream, found.max_tokens, found.hide_usage()),
            (None, false, None, false)
        );
    }
}

#[test]
fn the_largest_token_limit_counts() {
    for (limits, want) in [
        (r#""max_tokens":5,"max_completion_tokens":9,"max_output_tokens":7"#, Some(9)),
        (r#""max_completion_tokens":1e3"#, Some(1000)),
        (r#""generationConfig":{"maxOutputTokens":5,"temperature":0.5}"#, Some(5)),
        (r#""generation_config":{"max_output_tokens":6}"#, Some(6)),
        (r#""inferenceConfig":{"maxTokens":7}"#, Some(7)),
        (r#""inferenceConfig":{"maxTokens":null},"generationConfig":null"#, None),
        (r#""generationConfig":{"maxOutputTokens":"5"},"inferenceConfig":[{"maxTokens":7}]"#, Some(5)),
        (r#""max_tokens":1e999"#, Some(u64::MAX)),
        (r#""max_tokens":-1"#, None),
        (r#""max_tokens":"5""#, Some(5)),
        (r#""max_tokens":"five""#, None),
        (r#""max_tokens":[5]"#, None),
    ] {
        assert_eq!(scan(&format!("{{{limits}}}")).max_tokens, want, "{limits}");
    }
}

#[test]
fn how_many_answers_are_asked_for() {
    for (asks, want) in [
        (r#""x":{"n":2}"#, None),
        (r#""n":null"#, None),
        (r#""n":3"#, Some(3)),
        (r#""n":0"#, Some(1)),
        (r#""n":2,"best_of":5"#, Some(5)),
        (r#""n":1000000000000"#, Some(128)),
        (r#""generationConfig":{"candidateCount":4}"#, Some(4)),
        (r#""generation_config":{"candidate_count":4}"#, Some(4)),
        (r#""prompt":"a""#, None),
        (r#""prompt":[1,2,3]"#, None),
        (r#""prompt":[]"#, None),
        (r#""prompt":["a","b,]"]"#, Some(2)),
        (r#""prompt":[[1,2],[3]],"n":3"#, Some(6)),
    ] {
        assert_eq!(scan(&format!("{{{asks}}}")).choices, want, "{asks}");
    }
}

#[test]
fn what_nobody_reads_may_be_anything() {
    for ignored in [
        r#""x":"\ud800""#,
        r#""\udc00":1"#,
        r#""x":1e999"#,
        r#""x":-0.00000000000000000000000000000000000000000001E+4000"#,
        r#""x":"\u0000""#,
        r#""x":1,"x":2"#,
        r#""stream_options":{"a":1,"a":2}"#,
    ] {
        assert_eq!(scan(&format!(r#"{{{ignored},"model":"m"}}"#)).model.unwrap().value, "m", "{ignored}");
    }
}

/// Azure's SDK writes it empty where the path names the deployment.
#[test]
fn an_empty_model_is_none() {
    assert!(scan(r#"{"model":""}"#).model.is_none());
    assert_eq!(sent(r#"{"model":"","x":1}"#), r#"{"model":"new","x":1}"#);
}

#[test]
fn bad_bodies_are_refused_with_their_place() {
    let at = |line, column| Place { line, column };
    assert_eq!(refused(""), ScanError::Empty);
    assert_eq!(refused(" \n"), ScanError::Empty);
    assert_eq!(refused("[1]"), ScanError::NotAnObject);
    assert_eq!(refused("\"secret\""), ScanError::NotAnObject);
    assert_eq!(refused("{\n \"model\": 5}"), ScanError::ModelNotAString { place: at(2, 11) });
    assert_eq!(refused(r#"{"model":"\ud800"}"#), ScanError::BadModel { reason: "not valid Unicode", place: at(1, 10) });
    assert!(matches!(refused(r#"{"model":"a\r\nb"}"#), ScanError::BadModel { .. }));
    assert_eq!(refused(r#"{"stream":"true"}"#), ScanError::StreamNotABoolean { place: at(1, 11) });
    assert_eq!(refused(r#"{"stream":1}"#), ScanError::StreamNotABoolean { place: at(1, 11) });
    assert_eq!(refused(r#"{"model":"a","Model":"b"}"#), ScanError::ModelCase { place: at(1, 14) });
    for (body, key, column) in [
        (r#"{"model":"a","model":"b"}"#, "model", 14),
        (r#"{"model":"a","mod\u0065l":"a"}"#, "model", 14),
        (r#"{"model":null,"model":"b"}"#, "model", 15),
        (r#"{"stream":true,"stream":false}"#, "stream", 16),
        (r#"{"stream_options":{"include_usage":true,"include_usage":true}}"#, "include_usage", 41),
    ] {
        assert_eq!(refused(body), ScanError::Duplicate { key, place: at(1, column) }, "{body}");
    }
    let deep = format!("{{\"x\":\n{}{}}}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(refused(&deep), ScanError::TooDeep { place: at(2, MAX_DEPTH) });
    let bad = scan_json(b"{\"a\":\n\"\xff\"}").unwrap_err();
    assert_eq!(bad, ScanError::NotUtf8 { offset: 7, place: at(2, 2) });
}

#[test]
fn syntax_errors_say_where_and_repeat_nothing() {
    for (body, want) in [
        ("{\"model\": \"secret\",\n}", "trailing comma at line 2 column 1"),
        ("{\"model\": \"secret\"", "EOF while parsing an object at line 1 column 18"),
        ("{\"model\": \"secret", "EOF while parsing a string at line 1 column 17"),
        ("{\"model\": secret}", "expected value at line 1 column 11"),
        ("{\"model\": \"m\"} secret", "trailing characters at line 1 column 16"),
        ("secret", "expected value at line 1 column 1"),
        ("{\"secret\nsecret\":1}", "control character"),
        ("{secret:1}", "key must be a string at line 1 column 2"),
    ] {
        let text = refused(body).to_string();
        assert!(text.contains(want) && !text.contains("secret"), "{text}");
    }
}

#[test]
fn usage_is_added_where_it_is_missing() {
    for (body, want) in [
        (r#"{"model":"m"}"#, r#"{"model":"new"}"#),
        (r#"{"model":"m","stream":false}"#, r#"{"model":"new","stream":false}"#),
        (
            r#"{"stream":true, "model" : "m" }"#,
            r#"{"stream":true, "model" : "new","stream_options":{"include_usage":true} }"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options": {}}"#,
            r#"{"model":"new","stream":true,"stream_options": {"include_usage":true}}"#,
        ),
        (
            r#"{"stream_options":{ "x":1},"model":"m","stream":true}"#,
            r#"{"stream_options":{"include_usage":true, "x":1},"model":"new","stream":true}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"include_usage" :false}}"#,
            r#"{"model":"new","stream":true,"stream_options":{"include_usage" :true}}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":null}"#,
            r#"{"model":"new","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"model":"new","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (r#"{"model":"m","stream":true,"stream_options":7}"#, r#"{"model":"new","stream":true,"stream_options":7}"#),
        // The model in the path: the body may have none.
        (r#"{ }"#, r#"{"model":"new" }"#),
        (r#"{"stream":true}"#, r#"{"model":"new","stream_options":{"include_usage":true},"stream":true}"#),
        (r#"{"model":null}"#, r#"{"model":"new"}"#),
    ] {
        assert_eq!(sent(body), want);
    }
}

#[test]
fn the_usage_chunk_is_hidden_unless_asked_for() {
    for (options, hide) in [
        (r#""a":1"#, true),
        (r#""stream_options":null"#, true),
        (r#""stream_options":{}"#, true),
        (r#""stream_options":{"include_usage":false}"#, true),
        (r#""stream_options":{"include_usage":true}"#, false),
    ] {
        assert_eq!(scan(&format!(r#"{{"stream":true,{options}}}"#)).hide_usage(), hide, "{options}");
        assert!(!scan(&format!(r#"{{"stream":false,{options}}}"#)).hide_usage(), "{options}");
    }
}

#[test]
fn names_are_escaped() {
    let body = Bytes::from_static(br#"{"model":"m"}"#);
    let sent = scan_json(&body).unwrap().rewrite(&body, &Edits { model: Some("a\"b\\\n€"), include_usage: false });
    assert_eq!(sent, r#"{"model":"a\"b\\\n€"}"#);
}

#[test]
fn a_rewritten_body_takes_exactly_its_size() {
    let body = Bytes::from_static(br#"{"stream":true,"model":"m","stream_options":{"a":1}}"#);
    let sent = scan_json(&body).unwrap().rewrite(&body, &Edits { model: Some("a\"\nb"), include_usage: true });
    assert_eq!(sent.len(), sent.try_into_mut().unwrap().capacity());
}

#[test]
fn a_hundred_thousand_keys_are_nothing_special() {
    let keys: Vec<_> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
    assert_eq!(scan(&format!("{{{},\"model\":\"m\"}}", keys.join(","))).model.unwrap().value, "m");
}
