//! What answers tell of their usage, their tier, and who answered.

use super::*;

fn usage_of(what: (Dialect, Operation), usage: &str) -> Usage {
    json(what, &format!("{{\"usage\":{usage}}}")).usage.unwrap()
}

#[test]
fn usage_of_every_provider_becomes_disjoint() {
    let empty = Usage::default();
    let chat = |usage| usage_of(CHAT, usage);
    assert_eq!(
        chat(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":60,"audio_tokens":10},"completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5}}"#
        ),
        Usage {
            input: Some(30),
            cache_read: Some(60),
            audio_input: Some(10),
            output: Some(25),
            reasoning: Some(20),
            audio_output: Some(5),
            ..empty
        }
    );
    // OpenRouter tells what it charges; where another provider's account is used, that one charges besides.
    for (said, charged) in [
        (r#""cost":0.00014,"is_byok":false,"cost_details":{"upstream_inference_cost":0.00014}"#, Some(140_000_000)),
        (r#""cost":1e-7,"is_byok":true,"cost_details":{"upstream_inference_cost":0.002}"#, Some(2_000_100_000)),
        (r#""cost":0.1,"is_byok":true,"cost_details":{"upstream_inference_cost":null}"#, None),
        (r#""cost":0"#, Some(0)),
        (r#""cost":-0.1"#, None),
        (r#""cost":-0.0"#, None),
        (r#""cost":10001"#, None),
        (r#""cost":1e300"#, None),
        (r#""cost":"0.1""#, None),
        (r#""cost":{"total_cost":0.1}"#, None),
    ] {
        let wanted = Usage { input: Some(7), output: Some(5), charged, ..empty };
        let said = format!(r#"{{"prompt_tokens":7,"completion_tokens":5,{said}}}"#);
        assert_eq!(usage_of(CHAT, &said), wanted, "{said}");
    }
    // xAI leaves reasoning out of completion_tokens.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}"#
        ),
        Usage { input: Some(10), output: Some(5), reasoning: Some(100), ..empty }
    );
    // Gemini's endpoint says it only by the total.
    assert_eq!(
        chat(r#"{"prompt_tokens":35,"completion_tokens":12,"total_tokens":109}"#),
        Usage { input: Some(35), output: Some(12), reasoning: Some(62), ..empty }
    );
    // DeepSeek.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}"#
        ),
        Usage { input: Some(2), cache_read: Some(8), output: Some(1), ..empty }
    );
    // Details that do not add up never make a total wrong or a bucket negative.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":99,"audio_tokens":3},"completion_tokens_details":{"reasoning_tokens":11}}"#
        ),
        Usage {
            input: Some(0),
            cache_read: Some(10),
            audio_input: Some(0),
            output: Some(0),
            reasoning: Some(10),
            ..empty
        }
    );
    // Cache writes are part of the prompt.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cache_write_tokens":4,"cached_tokens":1}}"#
        ),
        Usage { input: Some(5), cache_read: Some(1), cache_write_5m: Some(4), output: Some(1), ..empty }
    );
    // Voyage, and a rerank.
    assert_eq!(
        usage_of((Dialect::OpenAiChat, Operation::Embeddings), r#"{"total_tokens":3}"#),
        Usage { input: Some(3), ..empty }
    );
    let rerank = json((Dialect::OpenAiChat, Operation::Rerank), r#"{"meta":{"billed_units":{"search_units":2}}}"#);
    assert_eq!(rerank.usage, Some(Usage { search_units: Some(2), ..empty }));
    assert_eq!(
        usage_of(
            ANTHROPIC,
            r#"{"input_tokens":5,"cache_read_input_tokens":7,"cache_creation_input_tokens":11,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":10},"output_tokens":9,"output_tokens_details":{"thinking_tokens":4},"server_tool_use":{"web_search_requests":2}}"#
        ),
        Usage {
            input: Some(5),
            cache_read: Some(7),
            cache_write_5m: Some(1),
            cache_write_1h: Some(10),
            output: Some(5),
            reasoning: Some(4),
            web_searches: Some(2),
            ..empty
        }
    );
    assert_eq!(
        usage_of(
            (Dialect::OpenAiChat, Operation::Images),
            r#"{"input_tokens":50,"output_tokens":400,"total_tokens":450,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}"#
        ),
        Usage { input: Some(10), image_input: Some(40), output: Some(0), image_output: Some(400), ..empty }
    );
    let transcription = (Dialect::OpenAiChat, Operation::Transcription);
    assert_eq!(
        usage_of(
            transcription,
            r#"{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}"#
        ),
        Usage { input: Some(0), audio_input: Some(14), output: Some(45), ..empty }
    );
    assert_eq!(
        usage_of(transcription, r#"{"type":"duration","seconds":7}"#),
        Usage { audio_input_ms: Some(7000), ..empty }
    );
    assert_eq!(
        json(transcription, r#"{"duration":8.47,"text":"a"}"#).usage,
        Some(Usage { audio_input_ms: Some(8470), ..empty })
    );
    for none in
        ["null", "{}", "[]", "7", r#"{"prompt_tokens":null}"#, r#"{"prompt_tokens":-3,"completion_tokens":"x"}"#]
    {
        assert_eq!(json(CHAT, &format!("{{\"usage\":{none}}}")).usage, None, "{none}");
    }
    assert_eq!(json((Dialect::Anthropic, Operation::CountTokens), r#"{"input_tokens":9}"#).usage, None);
}

#[test]
fn late_reasoning_moves_out_of_output() {
    let text = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":3,\"output_tokens\":2}}}\n\n\
        event: message_delta\ndata: {\"usage\":{\"output_tokens\":40,\"output_tokens_details\":{\"thinking_tokens\":40}}}\n\n\
        event: message_delta\ndata: {\"usage\":{\"input_tokens\":0,\"output_tokens\":1}}\n\n";
    let usage = stream(ANTHROPIC, text).usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (Some(10), Some(3), Some(0), Some(40)));
}

#[test]
fn groq_reports_usage_in_a_place_of_its_own() {
    let text = chunk("{\"content\":\"a\"}")
        + "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"r\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}}\n\n";
    let seen = stream(CHAT, &text);
    assert_eq!(seen.usage.unwrap().total(), Some(7));
    assert_eq!(json(CHAT, "{\"x_groq\":{\"usage\":{\"prompt_tokens\":3}}}").usage.unwrap().input, Some(3));
}

#[test]
fn pictures_are_counted() {
    let images = |text| json((Dialect::OpenAiChat, Operation::Images), text).usage;
    let two = r#"{"created":1,"data":[{"b64_json":"[{\"","x":[{}]}, {"url":"{"}],"b":[{},{}],"c":{"data":[{}]}}"#;
    assert_eq!(images(two), Some(Usage { images: Some(2), ..Usage::default() }));
    for none in [r#"{"data":[]}"#, r#"{"data":null}"#, r#"{"data":{"a":1}}"#, r#"[{"data":[{}]}]"#] {
        assert_eq!(images(none), None, "{none}");
    }
    let told = images(r#"{"data":[{"url":"a"}],"usage":{"input_tokens":3,"output_tokens":9}}"#).unwrap();
    assert_eq!((told.images, told.image_output, told.told().unwrap().images), (Some(1), Some(9), None));
    assert_eq!(json((Dialect::OpenAiChat, Operation::Embeddings), two).usage, None);
}

/// <https://platform.claude.com/docs/en/build-with-claude/fast-mode> and `…/data-residency`: what costs more is told in the usage.
#[test]
fn anthropics_speed_and_region_stand_beside_its_tier() {
    for (usage, tier) in [
        (r#"{"input_tokens":1,"speed":"standard","inference_geo":"global"}"#, None),
        (r#"{"input_tokens":1,"service_tier":"standard","inference_geo":"not_available"}"#, Some("standard")),
        (r#"{"input_tokens":1,"service_tier":"standard","speed":"fast"}"#, Some("standard+fast_mode")),
        (
            r#"{"input_tokens":1,"service_tier":"standard","speed":"fast","inference_geo":"us"}"#,
            Some("standard+fast_mode+us"),
        ),
    ] {
        let answer = format!(r#"{{"type":"message","usage":{usage}}}"#);
        assert_eq!(json(ANTHROPIC, &answer).service_tier.as_deref(), tier, "{answer}");
        // The end of a stream may say nothing of it.
        let start = format!("event: message_start\ndata: {{\"message\":{{\"usage\":{usage}}}}}\n\n");
        let end = "event: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {}\n\n";
        assert_eq!(stream(ANTHROPIC, &(start + end)).service_tier.as_deref(), tier, "{usage}");
    }
}

/// A stream begins with the name of the model that was asked for: a block says that another one goes on, and the usage at its end that
/// another one answered, for which there may be no block.
#[test]
fn anthropics_streams_tell_which_model_has_answered_after_all() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\
        \"role\":\"assistant\",\"model\":\"fable\",\"content\":[],\"usage\":{\"input_tokens\":5}}}\n\n";
    let block = |index: u64, block: &str| {
        format!(
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{block}}}\n\n\
             event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{index}}}\n\n"
        )
    };
    let said = block(0, r#"{"type":"text","text":"the \"fallback\" of"}"#);
    let hop = |index, to: &str| {
        let hop = format!(r#"{{"type":"fallback","from":{{"model":"fable"}},"to":{{"model":"{to}"}}}}"#);
        block(index, &hop)
    };
    let end = |kind: &str| {
        format!(
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{{\
             \"output_tokens\":9,\"iterations\":[{{\"type\":\"{kind}\",\"model\":\"haiku\",\"input_tokens\":5,\"output_tokens\":9}}]}}}}\n\n\
             event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        )
    };
    let model = |parts: &[&str]| stream(ANTHROPIC, &parts.concat()).model;
    assert_eq!(model(&[start, &said]).as_deref(), Some("fable"));
    assert_eq!(model(&[start, &said, &hop(1, "opus"), &said]).as_deref(), Some("opus"));
    assert_eq!(model(&[start, &hop(0, "opus"), &hop(1, "haiku")]).as_deref(), Some("haiku"));
    for (kind, wanted) in [("fallback_message", "haiku"), ("message", "fable")] {
        assert_eq!(model(&[start, &said, &end(kind)]).as_deref(), Some(wanted));
    }
}

/// What its usage does not tell: <https://developers.openai.com/api/docs/pricing#built-in-tools>.
#[test]
fn what_openai_runs_as_tools_counts() {
    let counts = |usage: Usage| (usage.web_searches, usage.other_models);
    let used = r#""usage":{"input_tokens":5,"output_tokens":2}"#;
    let tools = |searches: u64, pictures: u64| {
        format!(
            r#""tool_usage":{{"image_gen":{{"input_tokens":{pictures},"output_tokens":{pictures}}},"web_search":{{"num_requests":{searches}}}}}"#
        )
    };
    let search = |action: &str| format!(r#"{{"id":"ws","type":"web_search_call","status":"completed"{action}}}"#);
    let items = [
        search(r#","action":{"type":"search","query":"find","queries":["find"]}"#),
        search(r#","action":{"type":"open_page","url":"web_search_call"}"#),
        search(r#","action":{"pattern":"search","type":"find_in_page"}"#),
        search(""),
        r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"web_search_call"}]}"#
            .to_owned(),
    ];
    let output = format!(r#""output":[{}]"#, items.join(","));
    for (rest, right) in [
        (format!(r#""output":[],{}"#, tools(0, 0)), (None, None)),
        (format!("{output},{}", tools(7, 0)), (Some(7), None)),
        (format!(r#""output":[],{}"#, tools(0, 3120)), (None, Some(6240))),
        (output.clone(), (Some(2), None)),
    ] {
        let response = format!(r#"{{"id":"r","status":"completed",{used},{rest}}}"#);
        assert_eq!(counts(json(RESPONSES, &response).usage.unwrap()), right, "{response}");
        let done = items
            .iter()
            .filter(|_| rest.contains("web_search_call"))
            .map(|item| format!("data: {{\"type\":\"response.output_item.done\",\"item\":{item}}}\n\n"));
        let completed = format!("data: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n");
        let text = done.chain([completed]).collect::<String>();
        assert_eq!(
            counts(feed(RESPONSES, AnswerForm::Stream, false, &[text.as_bytes()]).1.usage.unwrap()),
            right,
            "{text}"
        );
    }
}

/// <https://ai.google.dev/gemini-api/docs/google-search#pricing>
#[test]
fn what_google_searched_for_counts() {
    let gemini = (Dialect::Gemini, Operation::Chat);
    let grounded = r#""groundingMetadata":{"searchEntryPoint":{"renderedContent":"a"},"retrievalQueries":["b"],"webSearchQueries":["one","","two, longer than sixteen"]},"safetyRatings":[{"category":"c"}]"#;
    for (model, searches) in [("gemini-3-flash-preview", 2), ("gemini-2.5-pro", 1)] {
        let answer = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"webSearchQueries"}}],"role":"model"}},"finishReason":"STOP",{grounded}}}],"usageMetadata":{{"promptTokenCount":5}},"modelVersion":"{model}"}}"#
        );
        let right = Some(Usage { input: Some(5), web_searches: Some(searches), ..Usage::default() });
        assert_eq!(json(gemini, &answer).usage, right, "{answer}");
        assert_eq!(stream(gemini, &format!("data: {answer}\n\n")).usage, right, "{answer}");
    }
}

#[test]
fn the_service_tier_is_read_where_it_stands() {
    let gemini = (Dialect::Gemini, Operation::Chat);
    for (said, tier) in [
        (r#""serviceTier":"standard""#, Some("default")),
        (r#""serviceTier":"FLEX""#, Some("flex")),
        (r#""trafficType":"ON_DEMAND_PRIORITY""#, Some("priority")),
        (r#""trafficType":"ON_DEMAND_FLEX""#, Some("flex")),
        (r#""trafficType":"ON_DEMAND""#, None),
        (r#""trafficType":"PROVISIONED_THROUGHPUT""#, None),
    ] {
        let parts = r#""candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]"#;
        let answer = format!(r#"{{{parts},"usageMetadata":{{"promptTokenCount":1,{said}}}}}"#);
        assert_eq!(json(gemini, &answer).service_tier.as_deref(), tier, "{answer}");
        assert_eq!(stream(gemini, &format!("data: {answer}\n\n")).service_tier.as_deref(), tier, "{answer}");
    }
    let bedrock = |tier: &str| {
        let answer = format!(r#"{{"output":{{"message":{{}}}},"usage":{{"inputTokens":1}},"serviceTier":{tier}}}"#);
        json((Dialect::Bedrock, Operation::Chat), &answer).service_tier
    };
    assert_eq!(bedrock(r#"{"type":"priority"}"#).as_deref(), Some("priority"));
    assert_eq!((bedrock("null"), bedrock("7")), (None, None));
}
