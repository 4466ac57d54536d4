//! Answers and streams that were not recorded.

use bounded_static::IntoBoundedStatic as _;

use super::*;

#[test]
fn vendors_answers_are_understood() {
    let found = answer(
        r#"{"id":"r","object":"chat.completion","created":1.5,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{
        "role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"},{"type":"text","text":"b"}],
        "images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}],"executed_tools":[1],
        "tool_calls":[{"id":"","function":{"name":"f","arguments":{"z":1,"a":1e400}}},{"id":"x","type":"mystery"}]}}],
        "citations":["https://a"],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    );
    let choice = &found.choices[0];
    assert_eq!((choice.blocks.len(), choice.stop.reason), (5, StopReason::ToolCalls));
    let Content::ToolCall(call) = &choice.blocks[3].content else { panic!("{choice:?}") };
    assert_eq!((&*call.id, &*call.arguments), ("call_seed_0", r#"{"z":1,"a":1e400}"#));
    assert_eq!(&*choice.extras[0].0, "message.executed_tools");
    assert_eq!(&*found.extras[0].0, "citations");
    check_own_answer(OWN, &found, "vendors");
}

#[test]
fn everything_in_an_answer_survives() {
    let found = answer(
        r#"{"id":"r","created":5,"model":"m","service_tier":"flex","choices":[{"index":0,"finish_reason":"stop","stop_reason":"END","message":{
        "content":"cited","refusal":null,"annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":5}},{"type":"file","file":{"hash":"h"}}],
        "audio":{"id":"a1","data":"AAAA","transcript":"beep","expires_at":9},"extra_content":{"google":{"thought_signature":"sig"}},
        "reasoning":"why","reasoning_details":[{"type":"reasoning.text","text":"why","signature":"s","format":"f","index":0},{"type":"reasoning.encrypted","data":"d","index":1}]},
        "logprobs":{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1,"bytes":null}]}],"refusal":null}},
        {"index":1,"finish_reason":"length","message":{"refusal":"no"}}]}"#,
    );
    let first = &found.choices[0];
    assert_eq!((first.blocks.len(), first.stop.reason), (4, StopReason::StopSequence));
    assert_eq!(first.stop.sequence.as_deref(), Some("END"));
    assert_eq!(first.logprobs[0].top[0].logprob, -1.0);
    check_own_answer(OWN, &found, "everything");
}

#[test]
fn errors_inside_a_success_are_errors() {
    for (body, kind) in [
        (r#"{"error":{"message":"m","code":429}}"#, ErrorKind::RateLimited),
        (r#"{"object":"error","message":"m","code":400}"#, ErrorKind::InvalidRequest),
        (r#"{"choices":[{"error":{"code":502,"message":"m"},"message":{"content":"x"}}]}"#, ErrorKind::UpstreamError),
        (r#"{"choices":[{"finish_reason":"error","message":{"content":"x"}}]}"#, ErrorKind::UpstreamError),
        (r#"{"choices":[{"finish_reason":"insufficient_system_resource","message":{}}]}"#, ErrorKind::Overloaded),
        (r#"{"contentType":"x"}"#, ErrorKind::UpstreamError),
        ("<html>", ErrorKind::UpstreamError),
    ] {
        assert_eq!(codec(OWN).decode_response(body.as_bytes(), &maker()).unwrap_err().kind, kind, "{body}");
        let stream = stream(&[body]);
        let all = events(&mut *codec(OWN).stream_decoder(&maker()), stream.as_bytes());
        assert!(matches!(all.last(), Some(Event::Error(_))), "{body}");
    }
}

#[test]
fn every_reason_to_stop_is_known() {
    use StopReason::*;
    for (word, reason, written) in [
        ("stop", End, "stop"),
        ("length", MaxTokens, "length"),
        ("tool_calls", ToolCalls, "tool_calls"),
        ("function_call", ToolCalls, "tool_calls"),
        ("content_filter", ContentFilter, "content_filter"),
        ("model_length", ContextWindow, "model_length"),
        ("sensitive", ContentFilter, "sensitive"),
        ("eos", End, "eos"),
        ("abort", Other, "abort"),
    ] {
        let body = format!(r#"{{"choices":[{{"finish_reason":"{word}","message":{{"content":"x"}}}}]}}"#);
        let found = answer(&body);
        assert_eq!(found.choices[0].stop.reason, reason, "{word}");
        let out = codec(OWN).encode_response(&found, &client(), &mut Losses::default());
        let out: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out["choices"][0]["finish_reason"], written);
        check_own_answer(OWN, &with_id(found), word);
    }
}

#[test]
fn interleaved_and_odd_calls_come_apart() {
    let call = |calls: &str| format!(r#"{{"id":"r","choices":[{{"index":0,"delta":{{"tool_calls":[{calls}]}}}}]}}"#);
    let finish = r#"{"id":"r","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let names = |chunks: &[String]| {
        let mut chunks: Vec<&str> = chunks.iter().map(|chunk| &**chunk).collect();
        chunks.extend([finish, "[DONE]"]);
        let found = check_stream(&stream(&chunks));
        found.choices[0]
            .blocks
            .iter()
            .map(|block| match &block.content {
                Content::ToolCall(call) => format!("{} {} {}", call.id, call.name, call.arguments),
                other => format!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    // Interleaved.
    let chunks = [
        call(
            r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}},{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}"#,
        ),
        call(r#"{"index":0,"function":{"arguments":"{\"x\":1}"}}"#),
        call(r#"{"index":1,"function":{"arguments":"}"}}"#),
    ];
    assert_eq!(names(&chunks), [r#"a f {"x":1}"#, "b g {}"]);
    // All with the index 0; without ids; without indexes.
    let chunks = [
        call(r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#),
        call(r#"{"index":0,"id":"b","function":{"name":"f","arguments":"{}"}}"#),
    ];
    assert_eq!(names(&chunks), ["a f {}", "b f {}"]);
    let chunks = [call(
        r#"{"index":0,"id":"","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"","function":{"name":"g","arguments":"{}"}}"#,
    )];
    assert_eq!(names(&chunks), ["call_seed_0 f {}", "call_seed_1 g {}"]);
    let chunks = [
        call(r#"{"id":"a","function":{"name":"f","arguments":"{"}}"#),
        call(r#"{"function":{"arguments":"}"}}"#),
        call(r#"{"id":"b","function":{"name":"g","arguments":{"k":1}}}"#),
    ];
    assert_eq!(names(&chunks), ["a f {}", r#"b g {"k":1}"#]);
    // The name comes late, or the call is custom.
    let chunks = [
        call(r#"{"index":0,"id":"a","function":{"arguments":"{"}}"#),
        call(r#"{"index":0,"function":{"name":"f","arguments":"}"}}"#),
        call(r#"{"index":1,"id":"b","type":"custom","custom":{"name":"p","input":"{x"}}"#),
        call(r#"{"index":1,"custom":{"input":"y"}}"#),
    ];
    assert_eq!(names(&chunks), ["a f {}", "b p {xy"]);
}

#[test]
fn reasoning_is_told_once_and_signed() {
    let delta = |delta: &str| format!(r#"{{"id":"r","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
    let chunks = [
        delta(
            r#"{"content":"","reasoning":null,"reasoning_details":[{"type":"reasoning.text","text":"","signature":"","index":0}]}"#,
        ),
        delta(
            r#"{"content":"","reasoning":"Th","reasoning_details":[{"type":"reasoning.text","text":"Th","index":0,"format":"f"}]}"#,
        ),
        delta(
            r#"{"content":"","reasoning":"is","reasoning_details":[{"type":"reasoning.text","text":"is","index":0,"format":"f"}]}"#,
        ),
        delta(
            r#"{"content":"","reasoning_details":[{"type":"reasoning.text","signature":"s","index":0,"format":"f"}]}"#,
        ),
        delta(r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"d","index":1,"format":"f"}]}"#),
        delta(r#"{"content":"so","extra_content":{"google":{"thought_signature":"g"}}}"#),
        r#"{"id":"r","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned(),
    ];
    let streamed = check_stream(&stream(&chunks.each_ref().map(|chunk| &**chunk)));
    let whole = answer(
        r#"{"id":"r","choices":[{"finish_reason":"stop","message":{"content":"so","reasoning":"This","extra_content":{"google":{"thought_signature":"g"}},
        "reasoning_details":[{"type":"reasoning.text","text":"This","signature":"s","index":0,"format":"f"},{"type":"reasoning.encrypted","data":"d","index":1,"format":"f"}]}}]}"#,
    );
    assert_eq!(streamed.choices, whole.choices);
    assert_eq!(whole.choices[0].blocks.len(), 3);
    // The same of vendors without details.
    let plain =
        [delta(r#"{"reasoning_content":"a"}"#), delta(r#"{"reasoning_content":"b"}"#), delta(r#"{"content":"c"}"#)];
    let mut plain: Vec<&str> = plain.iter().map(|chunk| &**chunk).collect();
    plain.push(&chunks[6]);
    let streamed = check_stream(&stream(&plain));
    let whole =
        answer(r#"{"id":"r","choices":[{"finish_reason":"stop","message":{"content":"c","reasoning_content":"ab"}}]}"#);
    assert_eq!(streamed.choices, whole.choices);
}

#[test]
fn sound_refusals_sources_and_old_calls_come_in_streams() {
    let delta = |delta: &str| format!(r#"{{"id":"r","choices":[{{"index":0,"delta":{delta}}}]}}"#);
    let chunks = [
        delta(r#"{"audio":{"id":"a","transcript":"be"}}"#),
        delta(r#"{"audio":{"data":"AAAA"}}"#),
        delta(r#"{"audio":{"transcript":"ep"}}"#),
        delta(r#"{"refusal":"n"}"#),
        delta(r#"{"refusal":"o"}"#),
        delta(r#"{"content":"x","annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":1}},{"type":"file"}]}"#),
        delta(r#"{"images":[{"type":"image_url","image_url":{"url":"https://i"}}]}"#),
        delta(r#"{"function_call":{"name":"f","arguments":"{"}}"#),
        delta(r#"{"function_call":{"arguments":"}"}}"#),
        r#"{"id":"r","choices":[{"index":0,"delta":{},"finish_reason":"function_call","logprobs":{"content":[{"token":"x","logprob":-1}]}}]}"#.to_owned(),
    ];
    let found = check_stream(&stream(&chunks.each_ref().map(|chunk| &**chunk)));
    let choice = &found.choices[0];
    assert_eq!((choice.blocks.len(), choice.stop.reason, choice.logprobs.len()), (5, StopReason::ToolCalls, 1));
    let Content::Media(sound) = &choice.blocks[0].content else { panic!() };
    assert_eq!((sound.transcript.as_deref(), &sound.source), (Some("beep"), &MediaSource::Data("AAAA".into())));
    assert_eq!(choice.blocks[1].content, Content::Refusal("no".into()));
    let Content::Text(text) = &choice.blocks[2].content else { panic!() };
    assert_eq!(text.citations.len(), 1);
    assert_eq!(&*choice.extras[0].0, "message.annotations");
}

#[test]
fn a_complete_call_ends_when_the_next_begins() {
    let body = stream(&[
        r#"{"id":"r","choices":[{"delta":{"content":"hi"}}]}"#,
        r#"{"id":"r","choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}"#,
        r#"{"id":"r","choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}"#,
        r#"{"id":"r","choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
    ]);
    let all = events(&mut *codec(OWN).stream_decoder(&maker()), body.as_bytes());
    let order: String = all
        .iter()
        .map(|event| match event {
            Event::BlockStart { index, .. } => format!("+{index}"),
            Event::BlockEnd { index, .. } => format!("-{index}"),
            _ => String::new(),
        })
        .collect();
    assert_eq!(order, "+0-0+1-1+2-2");
    assert_eq!(all.last(), Some(&Event::End), "finished without [DONE]");
}

#[test]
fn streams_end_only_when_all_was_said() {
    let azure = r#"{"id":"","model":"","created":0,"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#;
    let text =
        r#"{"id":"r","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}],"usage":null}"#;
    let other = r#"{"id":"r","model":"m","choices":[{"index":1,"delta":{"content":"ho"}}]}"#;
    let stop = |n: u32| {
        format!(
            r#"{{"id":"r","choices":[{{"index":{n},"delta":{{}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":2,"completion_tokens":{n}}}}}"#
        )
    };
    let found = check_stream(&stream(&[azure, text, &stop(0), "[DONE]"]));
    assert_eq!((found.id.as_deref(), &*found.extras[0].0), (Some("r"), "prompt_filter_results"));
    let found = check_stream(&stream(&[text, other, &stop(0), &stop(1)]));
    assert_eq!((found.choices.len(), found.usage.unwrap().output), (2, Some(1)));
    let last = |chunks: &[&str]| events(&mut *codec(OWN).stream_decoder(&maker()), stream(chunks).as_bytes()).pop();
    assert!(matches!(last(&[text, other, &stop(0)]), Some(Event::Error(error)) if error.kind == ErrorKind::StreamCut));
    assert!(matches!(last(&[text, r#"{"choices":[{"delta":{"content":"#, &stop(0), "[DONE]"]), Some(Event::Error(_))));
    assert_eq!(last(&[text, "keep-alive", &stop(0), "[DONE]"]), Some(Event::End));
    assert!(matches!(
        last(&[text, &stop(0), r#"{"error":{"message":"m","code":500}}"#, "[DONE]"]),
        Some(Event::Error(_))
    ));
}

#[test]
fn clients_get_the_chunks_that_sdks_expect() {
    let mut response = Response::new(crate::Dialect::Anthropic);
    response.id = Some("msg_1".into());
    response.usage = Some(crate::Usage { input: Some(3), output: Some(4), ..crate::Usage::default() });
    let call = ToolCall { id: "c".into(), name: "f".into(), ..ToolCall::default() };
    response.choices.push(Choice {
        blocks: vec![Block::text("hi"), Block::new(Content::ToolCall(Box::new(call)))],
        stop: Stop::new(StopReason::ToolCalls),
        ..Choice::default()
    });
    let mut all = Vec::new();
    take_apart(&response, &mut |event| all.push(bounded_static::IntoBoundedStatic::into_static(event)));
    let (out, losses) = encoded(all.clone(), &client());
    let chunk = |rest: &str| {
        format!(
            "data: {{\"id\":\"msg_1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"public\",{rest}}}\n\n"
        )
    };
    let delta = |delta: &str| {
        chunk(&format!("\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}],\"usage\":null"))
    };
    let wanted = [
        delta(r#"{"role":"assistant","content":""}"#),
        delta(r#"{"content":"hi"}"#),
        delta(r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#),
        delta(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#),
        chunk(r#""choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":null"#),
        chunk(r#""choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#),
        "data: [DONE]\n\n".to_owned(),
    ];
    assert_eq!(out, wanted.concat());
    assert!(losses.is_empty());
    let (out, _) = encoded(all, &Client { include_usage: false, ..client() });
    assert!(!out.contains("usage") && out.ends_with("data: [DONE]\n\n"));
    // An answer of nothing, one that breaks off, and a sign of life.
    let (out, _) = encoded(vec![Event::End], &client());
    assert!(
        out.contains(r#""role":"assistant""#)
            && out.contains(r#""finish_reason":"stop""#)
            && out.ends_with("[DONE]\n\n")
    );
    let stop = Event::Stop { choice: 0, stop: Stop::default(), extras: Vec::new() };
    let (out, _) = encoded(vec![stop, Event::Ping, Event::Error(crate::error::ApiError::cut_short())], &client());
    assert!(
        out.contains(": ping") && out.contains("\"error\"") && !out.contains("[DONE]") && !out.contains("\"stop\"")
    );
}

#[test]
fn citations_keep_their_stretch_in_the_joined_text() {
    let cited = |text: &'static str, span| {
        let citation = Citation { url: Some("https://a".into()), span, ..Citation::default() };
        Block::new(Content::Text(Text { text: text.into(), citations: vec![citation], signature: None }))
    };
    let mut response = Response::new(crate::Dialect::Anthropic);
    let blocks = vec![Block::text("äö "), cited("abc", None), cited("def", Some((1, 2)))];
    response.choices.push(Choice { blocks, ..Choice::default() });
    let whole = codec(OWN).encode_response(&response, &client(), &mut Losses::default());
    let whole = answer(std::str::from_utf8(&whole).unwrap()).into_owned_answer();
    let mut all = Vec::new();
    take_apart(&response, &mut |event| all.push(bounded_static::IntoBoundedStatic::into_static(event)));
    let (out, _) = encoded(all, &client());
    for found in [whole, check_stream(&out)] {
        let Content::Text(text) = &found.choices[0].blocks[0].content else { panic!() };
        let spans: Vec<_> = text.citations.iter().map(|citation| citation.span.unwrap()).collect();
        assert_eq!((&*text.text, spans), ("äö abcdef", vec![(3, 6), (7, 8)]));
    }
}

/// OpenAI's Python SDK adds up lists of a stream by the `index` of their entries, and fails without.
#[test]
fn streamed_sources_are_numbered() {
    let cited = |url: &'static str| {
        let citation = Citation { url: Some(url.into()), ..Citation::default() };
        Block::new(Content::Text(Text {
            text: "x".into(),
            citations: vec![citation.clone(), citation],
            signature: None,
        }))
    };
    let mut response = Response::new(crate::Dialect::Anthropic);
    response.choices.push(Choice { blocks: vec![cited("https://a"), cited("https://b")], ..Choice::default() });
    let mut all = Vec::new();
    take_apart(&response, &mut |event| all.push(bounded_static::IntoBoundedStatic::into_static(event)));
    let (out, _) = encoded(all, &client());
    for index in 0..4 {
        assert_eq!(out.matches(&format!(r#"{{"index":{index},"type":"url_citation""#)).count(), 1, "{out}");
    }
    let whole = codec(OWN).encode_response(&response, &client(), &mut Losses::default());
    assert!(!String::from_utf8(whole).unwrap().contains(r#""index":1"#));
}

/// OpenAI's Python SDK fails on a piece of a function that has no `function`.
#[test]
fn a_streamed_signature_stands_beside_a_function() {
    let signature = Opaque::made_by(crate::Dialect::Gemini, None, "sig".into());
    let call = ToolCall { id: "c".into(), name: "f".into(), ..ToolCall::default() };
    let block = Block::new(Content::ToolCall(Box::new(call)));
    let events = vec![
        Event::BlockStart { choice: 0, index: 0, block },
        Event::Delta { choice: 0, index: 0, delta: Delta::Signature(signature) },
        Event::End,
    ];
    let (out, _) = encoded(events, &client());
    assert!(out.contains(r#"{"index":0,"function":{"arguments":""},"extra_content":{"#), "{out}");
}

/// What is written always has an id and a model.
fn with_id(response: Response<'_>) -> Response<'_> {
    Response { id: Some("r".into()), model: Some("m".into()), ..response }
}

trait Owned {
    fn into_owned_answer(self) -> Response<'static>;
}

impl Owned for Response<'_> {
    fn into_owned_answer(self) -> Response<'static> {
        bounded_static::IntoBoundedStatic::into_static(self)
    }
}

#[test]
fn parts_of_a_summary_are_paragraphs_in_streams_too() {
    let reasoning = Reasoning { summary: vec!["One".into(), "Two".into()], ..Reasoning::default() };
    let blocks = vec![Block::new(Content::Reasoning(Box::new(reasoning))), Block::text("x")];
    let choices = vec![Choice { blocks, ..Choice::default() }];
    let response = Response { choices, ..Response::new(crate::Dialect::OpenAiResponses) };
    let whole = codec(OWN).encode_response(&response, &client(), &mut Losses::default());
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let mut events = Vec::new();
    take_apart(&response, &mut |event| events.push(event.into_static()));
    let (streamed, _) = encoded(events, &client());
    let chunks = streamed.lines().filter_map(|line| line.strip_prefix("data: {"));
    let told: String = chunks
        .filter_map(|chunk| {
            let chunk: Value = serde_json::from_str(&format!("{{{chunk}")).unwrap();
            Some(chunk["choices"][0]["delta"]["reasoning_content"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(
        (told.as_str(), &whole["choices"][0]["message"]["reasoning_content"]),
        ("One\n\nTwo", &json!("One\n\nTwo"))
    );
}

#[test]
fn a_character_cut_between_two_chunks_ends_no_stream() {
    let piece = |half: &str| format!(r#"{{"id":"r","choices":[{{"index":0,"delta":{{"content":"a{half}"}}}}]}}"#);
    let stop = r#"{"id":"r","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let found = check_stream(&stream(&[&piece(r"\ud83d"), &piece(r"\ude00"), stop, "[DONE]"]));
    let Content::Text(text) = &found.choices[0].blocks[0].content else { panic!() };
    assert_eq!(&*text.text, "a\u{fffd}a\u{fffd}");
}

#[test]
fn who_says_functions_gets_a_function_call() {
    let request = |tools: &str| format!(r#"{{"messages":[],"functions":[{{"name":"f"}}]{tools}}}"#);
    let both = request(r#","tools":[{"type":"function","function":{"name":"g"}}]"#);
    assert_eq!(codec(OWN).echo(&read(&both)), None);
    let only = request("");
    let client = Client { echo: codec(OWN).echo(&read(&only)), ..client() };
    let call = |number: usize| ToolCall {
        id: format!("c{number}").into(),
        name: "f".into(),
        arguments: r#"{"a":1}"#.into(),
        ..ToolCall::default()
    };
    let block = |call: ToolCall<'static>| Block::new(Content::ToolCall(Box::new(call)));
    let stop = Stop::new(StopReason::ToolCalls);
    for (others, lost) in [(0, &[][..]), (1, &["answer.tool_calls"])] {
        let blocks: Vec<_> = (0..=others).map(|number| block(call(number))).collect();
        let choices = vec![Choice { blocks: blocks.clone(), stop: stop.clone(), ..Choice::default() }];
        let response = Response { choices, ..Response::new(crate::Dialect::Anthropic) };
        let mut losses = Losses::default();
        let out = codec(OWN).encode_response(&response, &client, &mut losses);
        let out: Value = serde_json::from_slice(&out).unwrap();
        let told = json!({"name": "f", "arguments": r#"{"a":1}"#});
        let message = json!({"role": "assistant", "content": null, "refusal": null, "function_call": told});
        assert_eq!(out["choices"][0], json!({"index": 0, "message": message, "finish_reason": "function_call"}));
        assert_eq!(losses.iter().map(|loss| &*loss.field).collect::<Vec<_>>(), lost);

        let (mut encoder, mut losses, mut out) = (codec(OWN).stream_encoder(&client), Losses::default(), Vec::new());
        let mut events = vec![Event::Start { id: None, model: None, created: None }];
        for (index, block) in (0u32..).zip(&blocks) {
            let Content::ToolCall(whole) = &block.content else { panic!() };
            let begun = ToolCall { arguments: Str::default(), ..(**whole).clone() };
            events.push(Event::BlockStart {
                choice: 0,
                index,
                block: self::Block::new(Content::ToolCall(Box::new(begun))),
            });
            let pieces = [r#"{"a""#, ":1}"];
            events.extend(pieces.map(|piece| Event::Delta { choice: 0, index, delta: Delta::Arguments(piece.into()) }));
            events.push(Event::BlockEnd { choice: 0, index });
        }
        events.extend([Event::Stop { choice: 0, stop: stop.clone(), extras: Vec::new() }, Event::End]);
        events.into_iter().for_each(|event| encoder.encode(event, &mut losses, &mut out));
        let out = String::from_utf8(out).unwrap();
        let chunks = out.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        let choices: Vec<Value> = chunks.map(|chunk| chunk["choices"][0].clone()).collect();
        let deltas: Vec<&Value> = choices.iter().filter_map(|choice| choice["delta"].get("function_call")).collect();
        let arguments = |text: &str| json!({"arguments": text});
        assert_eq!(deltas, [&json!({"name": "f", "arguments": ""}), &arguments(r#"{"a""#), &arguments(":1}")], "{out}");
        assert!(!out.contains(r#""tool_calls""#), "{out}");
        assert_eq!(choices.last().unwrap()["finish_reason"], "function_call", "{out}");
        assert_eq!(losses.iter().map(|loss| &*loss.field).collect::<Vec<_>>(), lost);
    }
}
