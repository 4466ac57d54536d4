use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn facts(body: &Value) -> BodyFacts {
    BodyFacts::of(body.to_string().as_bytes())
}

/// Of each dialect: a plain request, the same with an image, the same with tools.
fn dialects() -> Vec<(&'static str, Value, Value, Value)> {
    let with = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "abcdefgh"}]});
    let image = json!([{"type": "text", "text": "abcdefgh"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let responses = json!({"model": "m", "input": "abcdefgh"});
    let input = json!([{"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}, {"type": "input_text", "text": "abcdefgh"}]}]);
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let blocks = json!([{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "abcdefgh"}]}]);
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "abcdefgh"}]}]});
    let parts = json!([{"parts": [{"text": "abcdefgh"}, {"inlineData": {"data": "AAAA", "mimeType": "image/png"}}]}]);
    let bedrock = json!({"messages": [{"role": "user", "content": [{"text": "abcdefgh"}]}]});
    let shown = json!([{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": "AAAA"}}}, {"text": "abcdefgh"}]}]);
    vec![
        (
            "openai-chat",
            chat.clone(),
            with(chat.clone(), "messages", json!([{"role": "user", "content": image}])),
            with(chat.clone(), "tools", tool.clone()),
        ),
        (
            "openai-responses",
            responses.clone(),
            with(responses.clone(), "input", input),
            with(responses, "tools", json!([{"type": "web_search"}])),
        ),
        (
            "anthropic",
            chat.clone(),
            with(chat.clone(), "messages", blocks),
            with(chat.clone(), "tools", json!([{"name": "f"}])),
        ),
        (
            "gemini",
            gemini.clone(),
            with(gemini.clone(), "contents", parts),
            with(gemini, "tools", json!([{"googleSearch": {}}])),
        ),
        (
            "bedrock",
            bedrock.clone(),
            with(bedrock.clone(), "messages", shown),
            with(bedrock, "toolConfig", json!({"toolChoice": {}, "tools": [{"toolSpec": {"name": "f"}}]})),
        ),
        (
            "cohere",
            chat.clone(),
            with(chat.clone(), "messages", json!([{"role": "user", "content": image}])),
            with(chat, "tools", tool),
        ),
    ]
}

#[test]
fn images_and_tools_of_each_dialect() {
    for (dialect, plain, image, tools) in dialects() {
        let (plain, image, tools) = (facts(&plain), facts(&image), facts(&tools));
        assert_eq!((plain.images, image.images, tools.images), (false, true, false), "{dialect}");
        assert_eq!((plain.tools, image.tools, tools.tools), (false, false, true), "{dialect}");
        assert_eq!(plain.prompt_bytes, 8, "{dialect}");
        assert_eq!(image.prompt_bytes, 8, "{dialect}: an image is no text");
        assert_eq!(plain.prompt_tokens(), 2, "{dialect}");
    }
}

#[test]
fn images_in_the_results_of_tools_count_and_those_in_their_data_do_not() {
    let block = json!({"type": "image", "source": {"type": "base64", "data": "AAAA"}});
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [block]});
    assert!(facts(&json!({"messages": [{"role": "user", "content": [result]}]})).images);
    let call = json!({"type": "tool_use", "id": "t", "name": "draw", "input": {"type": "image", "image": {}}});
    assert!(!facts(&json!({"messages": [{"role": "assistant", "content": [call]}]})).images);
    let nested = json!({"toolResult": {"toolUseId": "t", "content": [{"image": {"format": "png"}}]}});
    assert!(facts(&json!({"messages": [{"content": [nested]}]})).images);
    let output = json!({"type": "function_call_output", "output": [{"type": "input_image", "image_url": "x"}]});
    assert!(facts(&json!({"input": [output]})).images);
    assert!(facts(&json!({"images": ["data:image/png;base64,AAAA"]})).images);
    assert!(!facts(&json!({"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "A"}}]}]})).images);
    assert!(!facts(&json!({"tools": [], "functions": [], "toolConfig": {"tools": []}})).tools);
}

#[test]
fn the_prompt_is_measured_where_it_stands() {
    let body = json!({"system": "1234", "messages": [{"role": "user", "content": [{"type": "text", "text": "5678"}]}],
        "tools": [{"name": "ab", "input_schema": {"description": "cd"}}], "metadata": {"x": "not counted"}, "stop": "nor this"});
    assert_eq!(facts(&body).prompt_bytes, 4 + 4 + 2 + 2);
    assert_eq!(facts(&json!({})).prompt_tokens(), 0);
}

#[test]
fn metadata_and_user_of_each_dialect() {
    let pairs = |body: Value| facts(&body).metadata;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        pairs(json!({"metadata": {"team": "a", "n": 3, "on": true, "no": null, "deep": {"x": 1}}})),
        [pair("n", "3"), pair("on", "true"), pair("team", "a")]
    );
    assert_eq!(pairs(json!({"labels": {"team": "a"}})), [pair("team", "a")]);
    assert_eq!(pairs(json!({"requestMetadata": {"team": "a"}})), [pair("team", "a")]);
    assert_eq!(pairs(json!({"metadata": {"tags": ["a", "b", ["c"]]}})), [pair("tags", "a"), pair("tags", "b")]);
    assert_eq!(pairs(json!({"metadata": "text"})), []);
    assert_eq!(metadata_of(br#"{"_user": "u", "env": "prod"}"#), [pair("_user", "u"), pair("env", "prod")]);
    assert_eq!(metadata_of(b"nonsense"), []);
    let user = |body: Value| facts(&body).user;
    assert_eq!(user(json!({"user": "u", "metadata": {"user_id": "v"}})).as_deref(), Some("u"));
    assert_eq!(user(json!({"metadata": {"user_id": "v"}, "safety_identifier": "w"})).as_deref(), Some("v"));
    assert_eq!(user(json!({"safety_identifier": "w"})).as_deref(), Some("w"));
    assert_eq!(user(json!({"user": {"name": "u"}})), None);
}

#[test]
fn metadata_is_bounded() {
    let many: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("k{n}"), json!("v"))).collect();
    assert_eq!(facts(&json!({"metadata": many})).metadata.len(), MAX_PAIRS);
    assert_eq!(facts(&json!({"metadata": {"a": "x".repeat(MAX_TEXT + 1), "b": "y"}})).metadata.len(), 1);
}

#[test]
fn what_is_no_unicode_hides_nothing_behind_it() {
    let body =
        br#"{"messages":[{"content":[{"type":"text","text":"\ud800"},{"type":"image","source":{}}]}],"user":"\udc00"}"#;
    let facts = BodyFacts::of(body);
    assert!(facts.images);
    assert_eq!(facts.user, None);
}

#[test]
fn fallbacks_are_arrays_of_names() {
    let read = |body: &str| fallbacks_of(body.as_bytes(), "fallbacks", 3);
    assert_eq!(read(r#"{"models":["a"],"model":"x","fallbacks":["b/c","d\n"]}"#).unwrap(), ["b/c", "d\n"]);
    assert_eq!(read(r#"{"fallbacks":null,"models":[]}"#).unwrap(), [""; 0]);
    assert_eq!(read(r#"{"fallbacks":["a","b","c","d"]}"#).unwrap(), ["a", "b", "c"]);
    for bad in [r#"{"fallbacks":"a"}"#, r#"{"fallbacks":[{"model":"a"}]}"#, r#"{"fallbacks":{}}"#] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn a_field_that_is_null_says_nothing() {
    for (body, named) in [
        (r#"{"tools":[{"name":"a"},{"type":"advisor_20260301","model":"opus"}]}"#, true),
        (r#"{"x":[],"t\u006fols":[{"model":"a"}]}"#, true),
        (r#"{"tools":[{"model":null},{"input_schema":{"model":"a"}},"model",[{"model":"a"}]]}"#, false),
        (r#"{"tools":{"model":"a"},"x":{"tools":[{"model":"a"}]}}"#, false),
        ("", false),
    ] {
        assert_eq!(tools_say(body.as_bytes(), "model"), named, "{body}");
    }
    let says = |body: &str| says(body.as_bytes(), "preset");
    assert!(says(r#"{"model":"a","preset":"b"}"#));
    for nothing in [r#"{"preset":null}"#, r#"{"a":{"preset":1}}"#, "{}", "[]", ""] {
        assert!(!says(nothing), "{nothing}");
    }
}

proptest! {
    #[test]
    fn any_bytes_have_facts(text in prop::collection::vec(
        prop::sample::select(vec!["{", "}", "[", "]", "\"messages\"", "\"content\"", "\"type\"", ":", ",", "\"", "\\", "1", "é"]), 0..80)) {
        let text = text.concat();
        prop_assert!(BodyFacts::of(text.as_bytes()).prompt_bytes <= text.len() as u64);
        let fallbacks = fallbacks_of(text.as_bytes(), "messages", 100).unwrap_or_default();
        prop_assert!(fallbacks.len() <= text.len());
    }

    #[test]
    fn any_json_has_facts(value in super::super::properties::value()) {
        let body = format!("{{\"messages\":{value},\"tools\":[0],\"metadata\":{value}}}");
        let facts = BodyFacts::of(body.as_bytes());
        prop_assert!(facts.tools && facts.prompt_bytes <= body.len() as u64);
    }
}
