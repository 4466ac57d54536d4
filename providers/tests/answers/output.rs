//! What counts as output, and which streams are read.

use super::*;

#[test]
fn only_output_is_first_output_in_chat() {
    for preamble in [
        r#"{"role":"assistant"}"#,
        r#"{"role":"assistant","content":"","refusal":null,"reasoning":null,"reasoning_details":[],"tool_calls":[ ]}"#,
        r#"{"content":""}"#,
        r#"{"channel":"analysis"}"#,
        "{}",
        "null",
        "7",
    ] {
        assert!(!stream(CHAT, &chunk(preamble)).first_output, "{preamble}");
    }
    for output in [
        r#"{"content":" "}"#,
        r#"{"role":"assistant","content":"\u0000"}"#,
        r#"{"reasoning_content":"a"}"#,
        r#"{"reasoning":"a"}"#,
        r#"{"refusal":"no"}"#,
        r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}"#,
        r#"{"function_call":{"name":"f"}}"#,
        r#"{"audio":{"id":"a"}}"#,
        r#"{"content":[{"type":"thinking"}]}"#,
        r#"{"something_new":{"x":1}}"#,
    ] {
        let seen = stream(CHAT, &chunk(output));
        assert!(seen.first_output && seen.outputs == 1, "{output}");
    }
    let azure = "data: {\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":null}\n\n";
    let seen = stream(CHAT, &format!(": OPENROUTER PROCESSING\n\n{azure}"));
    assert!(!seen.first_output && seen.unreadable == 0 && seen.events == 1);
}

#[test]
fn only_output_is_first_output_in_anthropic() {
    let start = |block: &str| {
        format!("event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"content_block\":{block}}}\n\n")
    };
    let delta = |delta: &str| format!("data: {{\"type\":\"content_block_delta\",\"delta\":{delta}}}\n\n");
    let preamble = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n".to_owned(),
        start(r#"{"type":"text","text":""}"#),
        start(r#"{"type":"thinking","thinking":"","signature":""}"#),
        "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
        delta(r#"{"type":"text_delta","text":""}"#),
    ]
    .concat();
    let seen = stream(ANTHROPIC, &preamble);
    assert!(!seen.first_output && seen.cut, "{seen:?}");
    for output in [
        start(r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#),
        start(r#"{"type":"redacted_thinking","data":"x"}"#),
        delta(r#"{"type":"text_delta","text":"a"}"#),
        delta(r#"{"type":"thinking_delta","thinking":"a"}"#),
    ] {
        let seen = stream(ANTHROPIC, &format!("{preamble}{output}"));
        assert!(seen.first_output && seen.outputs == 1, "{output}");
    }
}

#[test]
fn only_output_is_first_output_in_responses() {
    let preamble = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"m\",\"usage\":null}}\n\n\
        event: response.in_progress\ndata: {\"type\":\"response.in_progress\",\"response\":{\"model\":\"m\"}}\n\n\
        event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"message\",\"content\":[]}}\n\n\
        event: response.content_part.added\ndata: {\"type\":\"response.content_part.added\",\"part\":{\"type\":\"output_text\",\"text\":\"\"}}\n\n\
        event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"\"}\n\n";
    let seen = stream(RESPONSES, preamble);
    assert!(!seen.first_output && seen.cut);
    assert_eq!((seen.model.as_deref(), seen.events), (Some("m"), 5));
    for kind in ["output_text", "reasoning_summary_text", "function_call_arguments", "refusal"] {
        let text = format!("{preamble}data: {{\"delta\":\"a\",\"type\":\"response.{kind}.delta\"}}\n\n");
        let seen = stream(RESPONSES, &text);
        assert!(seen.first_output && seen.outputs == 1, "{kind}");
    }
}

#[test]
fn other_streams_of_openai_are_read() {
    let transcription = (Dialect::OpenAiChat, Operation::Transcription);
    let seen = stream(
        transcription,
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"a\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":3,\"output_tokens\":1,\"total_tokens\":4}}\n\n",
    );
    assert_eq!((seen.outputs, seen.complete, seen.usage.unwrap().total()), (1, true, Some(4)));
    // vLLM
    let seen = stream(transcription, &(chunk("{\"content\":\"a\"}") + "data: [DONE]\n\n"));
    assert_eq!((seen.outputs, seen.complete), (1, true));
    let seen = stream(
        (Dialect::OpenAiChat, Operation::Images),
        "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA==\"}\n\nevent: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA==\",\"usage\":{\"input_tokens\":3,\"output_tokens\":9,\"total_tokens\":12}}\n\n",
    );
    assert_eq!((seen.outputs, seen.complete), (1, true));
    let usage = seen.usage.unwrap();
    assert_eq!((usage.image_output, usage.images), (Some(9), Some(1)));
    let seen = stream(
        (Dialect::OpenAiChat, Operation::Speech),
        "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AA==\"}\n\ndata: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":9,\"total_tokens\":12}}\n\n",
    );
    assert_eq!((seen.outputs, seen.complete, seen.usage.unwrap().total()), (1, true, Some(12)));
}

#[test]
fn a_json_document_is_read_without_being_kept() {
    let seen = json(
        CHAT,
        "\n \n{\"a\":{\"usage\":{\"prompt_tokens\":1},\"model\":\"no\"},\"model\":\"m\\u0031\",\"b\":[{\"model\":\"no\"},\"}\\\"]\"],\"usage\" : {\"prompt_tokens\":2} , \"service_tier\":\"flex\",\"error\":null}\n",
    );
    assert_eq!((seen.model.as_deref(), seen.service_tier.as_deref()), (Some("m1"), Some("flex")));
    assert_eq!(seen.usage.unwrap().input, Some(2));
    assert!(seen.complete && seen.first_output && seen.outputs == 1 && seen.error.is_none());
    for open in ["", " ", "{", "{\"a\":1", "[1,2", "{\"a\":\"}", "\"ab"] {
        assert!(json(CHAT, open).cut, "{open}");
    }
    for closed in ["{}", "[]", "[{\"usage\":{\"prompt_tokens\":1}}]", "null", "7", "\"a\"", "\u{feff}{}"] {
        let seen = json(CHAT, closed);
        assert!(seen.complete && seen.usage.is_none(), "{closed}");
    }
    let error = json(CHAT, "{\"error\":{\"message\":\"m\",\"code\":429}}").error.unwrap();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::RateLimited, "m"));
    let failed = json(
        RESPONSES,
        "{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"model\":\"x\"}",
    );
    assert_eq!(failed.error.unwrap().kind, ErrorKind::UpstreamError);
    let mut long = String::from("{\"usage\":[");
    long.push_str(&"1,".repeat(50_000));
    let (_, seen) = feed(CHAT, AnswerForm::Json, false, &[(long + "1],\"model\":\"m\"}").as_bytes()]);
    assert_eq!((seen.unreadable, seen.usage, seen.model.as_deref(), seen.complete), (1, None, Some("m"), true));
}

#[test]
fn opaque_answers_are_counted() {
    let (out, seen) = feed((Dialect::OpenAiChat, Operation::Speech), AnswerForm::Opaque, true, &[b"\0\xff", b"", b"x"]);
    assert_eq!((out.as_slice(), seen.outputs, seen.complete, seen.cut), (&b"\0\xffx"[..], 2, true, false));
}
