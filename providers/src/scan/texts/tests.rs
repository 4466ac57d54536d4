use proptest::prelude::*;

use super::super::properties::value;
use super::*;
use crate::common::{Opaque, Str};

fn seen(body: &str, side: Side, dialect: Dialect, operation: Operation) -> Vec<(TextKind, String)> {
    texts(body.as_bytes(), side, dialect, operation).into_iter().map(|text| (text.kind, text.text.into())).collect()
}

fn said(body: &str, side: Side, dialect: Dialect) -> String {
    let texts = seen(body, side, dialect, Operation::Chat);
    texts.into_iter().map(|(kind, text)| format!("{kind:?}={text}")).collect::<Vec<_>>().join("|")
}

/// Servers in Go take a field by its name in any case.
#[test]
fn fields_that_are_spelt_in_another_case_hide_nothing() {
    let body = r#"{"messages":[{"role":"user","content":"a","Content":"b","TEXT":[{"x":"c"}]}],"Messages":[{"content":"d"}],
        "me\u017f\u017fages":"e","Prompt":"f","tools":[{"Content":"no"}],"Model":"no"}"#;
    assert_eq!(
        said(body, Side::Request, Dialect::OpenAiChat),
        r#"User=a|Context=b|Context=[{"x":"c"}]|Context=[{"content":"d"}]|Context=e|Context=f"#
    );
    let (edited, count) =
        edit_texts(&body.into(), Side::Request, Dialect::OpenAiChat, Operation::Chat, |_| Some("[]".to_owned()));
    assert_eq!(count, 6);
    let edited = edited.unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&edited).is_ok());
    assert!(
        !["b", "c", "d", "e", "f"].iter().any(|word| edited.windows(3).any(|w| w == format!("\"{word}\"").as_bytes()))
    );
    assert_eq!(said(r#"{"choices":[{"message":{"Content":"b"}}]}"#, Side::Answer, Dialect::OpenAiChat), "");
}

#[test]
fn requests_of_every_dialect() {
    let chat = r#"{"model":"x","messages":[{"content":"be\nkind","role":"system"},
        {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:x"}}]},
        {"role":"assistant","content":null,"reasoning_content":"r","refusal":"n","tool_calls":[{"id":"1","type":"function",
          "function":{"name":"f","arguments":"{\"q\":1}"}}]},
        {"role":"tool","tool_call_id":"1","content":"t"}],"tools":[{"function":{"description":"no"}}],"user":"no"}"#;
    assert_eq!(
        said(chat, Side::Request, Dialect::OpenAiChat),
        "System=be\nkind|User=a|Reasoning=r|Refusal=n|Arguments={\"q\":1}|ToolResult=t"
    );
    let responses = r#"{"instructions":"i","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},
        {"type":"reasoning","encrypted_content":"no","summary":[{"type":"summary_text","text":"s"}]},
        {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"1","output":"o"},
        {"type":"custom_tool_call","input":"c"}]}"#;
    assert_eq!(
        said(responses, Side::Request, Dialect::OpenAiResponses),
        "System=i|User=a|Reasoning=s|Arguments={}|ToolResult=o|Arguments=c"
    );
    assert_eq!(said(r#"{"input":"a"}"#, Side::Request, Dialect::OpenAiResponses), "User=a");
    let anthropic = r#"{"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"u"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"r","signature":"no"},
          {"type":"tool_use","id":"1","name":"f","input":{"a":"b"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"o"}]},
          {"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"}},
          {"type":"image","source":{"type":"base64","data":"no"}}]}]}"#;
    assert_eq!(
        said(anthropic, Side::Request, Dialect::Anthropic),
        "System=s|User=u|Reasoning=r|Arguments={\"a\":\"b\"}|ToolResult=o|User=d"
    );
    let gemini = r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"parts":[{"text":"u"}]},
        {"role":"model","parts":[{"text":"r","thought":true},{"functionCall":{"name":"f","args":{"a":1}}}]},
        {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"b":2}}},{"inlineData":{"data":"no"}}]}]}"#;
    assert_eq!(
        said(gemini, Side::Request, Dialect::Gemini),
        "System=s|User=u|Reasoning=r|Arguments={\"a\":1}|ToolResult={\"b\":2}"
    );
    let bedrock = r#"{"system":[{"text":"s"}],"messages":[{"role":"user","content":[{"text":"u"},
          {"document":{"format":"txt","source":{"bytes":"no","text":"d"}}}]},
        {"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"r","signature":"no"}}},
          {"toolUse":{"toolUseId":"1","name":"f","input":{"a":1}}}]},
        {"role":"user","content":[{"toolResult":{"toolUseId":"1","content":[{"json":{"b":2}},{"text":"o"}]}}]}]}"#;
    assert_eq!(
        said(bedrock, Side::Request, Dialect::Bedrock),
        "System=s|User=u|User=d|Reasoning=r|Arguments={\"a\":1}|ToolResult={\"b\":2}|ToolResult=o"
    );
    let guarded = r#"{"system":[{"guardContent":{"text":{"text":"s"}}}],"messages":[
        {"role":"user","content":[{"guardContent":{"text":{"text":"u","qualifiers":["no"]}}}]},
        {"role":"assistant","content":[{"citationsContent":{"content":[{"text":"a"}],"citations":[{"title":"no"}]}}]}]}"#;
    assert_eq!(said(guarded, Side::Request, Dialect::Bedrock), "System=s|User=u|Assistant=a");
    let custom = r#"{"messages":[{"role":"assistant","tool_calls":[{"type":"custom","custom":{"name":"no","input":"a \"b\""}}]}]}"#;
    assert_eq!(said(custom, Side::Request, Dialect::OpenAiChat), r#"Arguments=a "b""#);
    let cohere = r#"{"messages":[{"role":"user","content":"u"},{"role":"assistant","tool_plan":"p"},
        {"role":"tool","content":[{"type":"document","document":{"data":"{\"a\":1}"}}]}],"documents":["d",{"data":{"t":"e"}}]}"#;
    assert_eq!(
        said(cohere, Side::Request, Dialect::Cohere),
        "User=u|Reasoning=p|ToolResult={\"a\":1}|Context=d|Context={\"t\":\"e\"}"
    );
}

#[test]
fn answers_of_every_dialect() {
    for (dialect, body, expected) in [
        (
            Dialect::OpenAiChat,
            r#"{"id":"no","choices":[{"message":{"role":"assistant","content":"a","refusal":null,"reasoning":"r"}}]}"#,
            "Assistant=a|Reasoning=r",
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]},
                {"type":"function_call","arguments":"{}"}],"instructions":"no"}"#,
            "Assistant=a|Arguments={}",
        ),
        (
            Dialect::Anthropic,
            r#"{"content":[{"type":"thinking","thinking":"r"},{"type":"text","text":"a"}]}"#,
            "Reasoning=r|Assistant=a",
        ),
        (Dialect::Gemini, r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"a"}]}}]}"#, "Assistant=a"),
        (
            Dialect::Bedrock,
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"a"}]}},"stopReason":"no"}"#,
            "Assistant=a",
        ),
        (Dialect::Cohere, r#"{"message":{"role":"assistant","content":[{"type":"text","text":"a"}]}}"#, "Assistant=a"),
    ] {
        assert_eq!(said(body, Side::Answer, dialect), expected);
    }
}

#[test]
fn other_operations() {
    let one = |body, operation| seen(body, Side::Request, Dialect::OpenAiChat, operation);
    let input = |text: &str| (TextKind::Input, text.to_owned());
    assert_eq!(one(r#"{"input":["a","b"],"model":"m"}"#, Operation::Embeddings), [input("a"), input("b")]);
    assert_eq!(one(r#"{"input":[[1,2],[3]]}"#, Operation::Embeddings), []);
    assert_eq!(one(r#"{"query":"q","documents":[{"text":"d"}]}"#, Operation::Rerank), [input("q"), input("d")]);
    assert_eq!(one(r#"{"prompt":"p","size":"1x1"}"#, Operation::Images), [input("p")]);
    let drawn = r#"{"instances":[{"prompt":"p"}],"parameters":{"prompt":"no"}}"#;
    assert_eq!(seen(drawn, Side::Request, Dialect::Gemini, Operation::Images), [input("p")]);
    let heard = r#"{"text":"a b","segments":[{"id":1,"text":"a b"}],"words":[{"word":"a","start":0.1}],"task":"no"}"#;
    let transcript = seen(heard, Side::Answer, Dialect::OpenAiChat, Operation::Transcription);
    assert_eq!(transcript, [input("a b"), input("a b"), input("a")]);
    let gemini = r#"{"requests":[{"model":"m","content":{"parts":[{"text":"a"}]}}]}"#;
    assert_eq!(seen(gemini, Side::Request, Dialect::Gemini, Operation::Embeddings), [input("a")]);
}

#[test]
fn tokens_are_no_texts() {
    let has = |body: &str, operation| has_tokens(body.as_bytes(), Dialect::OpenAiChat, operation);
    for tokens in ["[9906, 1917]", "[[9906],[1917]]", "7", r#"["a", [1]]"#, r#"["a",-1]"#] {
        assert!(has(&format!(r#"{{"model":"m","input":{tokens}}}"#), Operation::Embeddings), "{tokens}");
        assert!(has(&format!(r#"{{"prompt":{tokens},"model":"m"}}"#), Operation::Completions), "{tokens}");
        assert!(!has(&format!(r#"{{"prompt":"a","logit_bias":{tokens}}}"#), Operation::Completions), "{tokens}");
    }
    for texts in ["\"9906\"", r#"["a","1"]"#, "[]", "null", r#"[{"text":"a","id":7}]"#] {
        assert!(!has(&format!(r#"{{"dimensions":256,"input":{texts}}}"#), Operation::Embeddings), "{texts}");
    }
    assert!(!has(r#"{"messages":[{"role":"user","content":7}]}"#, Operation::Chat));
    let titan = r#"{"inputText":"a","dimensions":256}"#;
    assert!(!has_tokens(titan.as_bytes(), Dialect::Bedrock, Operation::Embeddings));
}

/// A client that cuts a text inside an emoji sends half a surrogate pair; there is no text that nobody looks at.
#[test]
fn half_a_character_hides_no_text() {
    let body =
        r#"{"messages":[{"role":"user","content":"a \ud83d"},{"role":"user","content":"b \ude00\n\ud83d\ude00"}]}"#;
    assert_eq!(said(body, Side::Request, Dialect::OpenAiChat), "User=a \u{fffd}|User=b \u{fffd}\n\u{1f600}");
    let edit = |text: &Text<'_>| text.text.starts_with('a').then(|| text.text.replace('a', "x"));
    let (edited, _) = edit_texts(&Bytes::from(body), Side::Request, Dialect::OpenAiChat, Operation::Chat, edit);
    assert_eq!(edited.unwrap(), body.replace(r"a \ud83d", "x \u{fffd}"), "what is not changed stays as it was sent");
    let answer = [&br#"{"choices":[{"message":{"content":"a "#[..], b"\xff\"}}]}"].concat();
    let texts = texts(&answer, Side::Answer, Dialect::OpenAiChat, Operation::Chat);
    assert_eq!(texts[0].text, "a \u{fffd}");
}

/// What the client asks is what its API takes for that; no word of its own makes it something else.
#[test]
fn a_client_does_not_decide_what_is_looked_at() {
    for (dialect, body, expected) in [
        (Dialect::OpenAiChat, r#"{"messages":[{"role":"user","content":"u","thought":true}]}"#, "User=u"),
        (Dialect::OpenAiChat, r#"{"messages":[{"role":"user","type":"reasoning","content":"u"}]}"#, "User=u"),
        (Dialect::OpenAiChat, r#"{"messages":[{"role":"user","type":"tool_result","content":"u"}]}"#, "User=u"),
        (
            Dialect::OpenAiChat,
            r#"{"messages":[{"role":"user","content":[{"type":"text","role":"assistant","text":"u"},{"refusal":"v"}]}]}"#,
            "User=u|User=v",
        ),
        (
            Dialect::OpenAiChat,
            r#"{"messages":[{"role":"user","content":"u"}],"query":"q","input":"i","contents":"c"}"#,
            "User=u|Context=q|Context=i|Context=c",
        ),
        (Dialect::OpenAiChat, r#"{"input":[{"role":"user","content":"u"}]}"#, "User=u"),
        (Dialect::OpenAiResponses, r#"{"input":[{"type":"reasoning","role":"user","content":"u"}]}"#, "User=u"),
        (
            Dialect::OpenAiResponses,
            r#"{"input":[{"role":"user","content":[{"type":"reasoning_text","text":"u"}]}],"messages":"m"}"#,
            "User=u|Context=m",
        ),
        (
            Dialect::Anthropic,
            r#"{"messages":[{"role":"user","content":[{"type":"thinking","thinking":"u"}]}]}"#,
            "User=u",
        ),
        (Dialect::Gemini, r#"{"contents":[{"role":"user","parts":[{"text":"u","thought":true}]}]}"#, "User=u"),
        (Dialect::Gemini, r#"{"contents":[],"systemInstruction":{"role":"user","parts":[{"text":"s"}]}}"#, "System=s"),
        (
            Dialect::Cohere,
            r#"{"messages":[{"role":"user","content":"u"}],"documents":[{"role":"user","text":"d"}]}"#,
            "User=u|Context=d",
        ),
    ] {
        assert_eq!(said(body, Side::Request, dialect), expected, "{body}");
    }
}

/// Calls of OpenAI's own tools, most of which the client runs, and what came of them.
#[test]
fn calls_of_tools_that_one_api_brings() {
    let input = r#"{"input":[
        {"type":"shell_call","call_id":"no","action":{"commands":["a"]}},
        {"type":"shell_call_output","call_id":"no","output":[{"stdout":"b","stderr":"c","outcome":{"type":"exit"}}]},
        {"type":"local_shell_call","action":{"type":"exec","command":["d"],"env":{}}},
        {"type":"local_shell_call_output","output":"e"},
        {"type":"apply_patch_call","operation":{"type":"delete_file","path":"f"}},
        {"type":"computer_call","action":{"type":"type","text":"g"}},
        {"type":"code_interpreter_call","code":"h","container_id":"no","outputs":[{"type":"logs","logs":"i"}]},
        {"type":"file_search_call","queries":["j"],"results":[{"file_id":"no","text":"k"}]},
        {"type":"web_search_call","id":"no","action":{"type":"search","query":"l"}},
        {"type":"mcp_approval_response","approve":true,"reason":"m"}]}"#;
    let expected = concat!(
        r#"Arguments={"commands":["a"]}|ToolResult=b|ToolResult=c|Arguments={"type":"exec","command":["d"],"env":{}}"#,
        r#"|ToolResult=e|Arguments={"type":"delete_file","path":"f"}|Arguments={"type":"type","text":"g"}"#,
        r#"|Arguments=h|ToolResult=i|Arguments=["j"]|ToolResult=k|Arguments={"type":"search","query":"l"}|User=m"#,
    );
    assert_eq!(said(input, Side::Request, Dialect::OpenAiResponses), expected);
    let elsewhere = r#"{"messages":[{"role":"user","content":[{"type":"shell_call","action":{"commands":["no"]}}]}]}"#;
    assert_eq!(said(elsewhere, Side::Request, Dialect::OpenAiChat), "");
    let ran = r#"{"messages":[{"role":"assistant","content":[{"type":"bash_code_execution_tool_result",
        "content":{"type":"bash_code_execution_result","stdout":"a","stderr":"b"}}]}]}"#;
    assert_eq!(said(ran, Side::Request, Dialect::Anthropic), "ToolResult=a|ToolResult=b");
}

#[test]
fn a_block_is_edited_as_the_answer_that_has_it() {
    let block = r#"{"type":"shell_call","call_id":"a", "action":{"commands":["a"]}}"#;
    let texts = block_texts(block.as_bytes(), Dialect::OpenAiResponses);
    assert_eq!((texts[0].kind, &*texts[0].text, texts.len()), (TextKind::Arguments, r#"{"commands":["a"]}"#, 1));
    let edit = |new: Option<&str>| edit_block(block, Dialect::OpenAiResponses, true, |_| new.map(str::to_owned));
    assert_eq!(edit(Some("{}")).unwrap(), r#"{"type":"shell_call","call_id":"a", "action":{}}"#);
    assert_eq!(edit(None), None);
    let searched = r#"{"type":"server_tool_use","id":"a","name":"web_search","input":{"query":"a"}}"#;
    assert_eq!(block_texts(searched.as_bytes(), Dialect::Anthropic)[0].text, r#"{"query":"a"}"#);
}

#[test]
fn one_object_and_nothing_else() {
    for body in [&b"{}"[..], b" {\"a\":[{}]} \n"] {
        assert!(is_one_object(body));
    }
    for body in [&b""[..], b"[{}]", b"{}{}", b"{}\n{}", b"\xef\xbb\xbf{}", b"\0{}", b"data: {}", b"1"] {
        assert!(!is_one_object(body), "{body:?}");
    }
}

/// Who reads Gemini's answer reads its texts as one.
#[test]
fn texts_of_one_message_go_on() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"b"},{"text":"t","thought":true},{"text":"c"},
        {"functionCall":{"name":"f","args":{}}},{"text":"d"}],"role":"model"}},{"content":{"parts":[{"text":"e"},{"text":"f"}]}}]}"#;
    let texts = texts(body.as_bytes(), Side::Answer, Dialect::Gemini, Operation::Chat);
    let goes_on: String = texts.iter().filter(|text| text.goes_on).map(|text| &*text.text).collect();
    assert_eq!(goes_on, "bf");
}

#[test]
fn what_goes_along_with_a_question() {
    let anthropic = r#"{"messages":[{"role":"user","content":[{"type":"document","title":"t","context":"c",
        "source":{"type":"text","data":"d"}},{"type":"search_result","title":"u","source":"s","content":[{"type":"text","text":"x"}]},
        {"type":"text","text":"y","title":"no"}]}]}"#;
    assert_eq!(said(anthropic, Side::Request, Dialect::Anthropic), "User=t|User=c|User=d|User=u|User=s|User=x|User=y");
    let bedrock = r#"{"messages":[{"role":"user","content":[{"document":{"name":"no","context":"c","source":{"text":"d"}}},
        {"searchResult":{"title":"t","source":"s","content":[{"text":"x"}]}}]}]}"#;
    assert_eq!(said(bedrock, Side::Request, Dialect::Bedrock), "User=c|User=d|User=t|User=s|User=x");
    let predicted = r#"{"messages":[],"prediction":{"type":"content","content":[{"type":"text","text":"p"}]}}"#;
    assert_eq!(said(predicted, Side::Request, Dialect::OpenAiChat), "Context=p");
    let stored = r#"{"prompt":{"id":"no","variables":{"a":"v","b":{"type":"input_text","text":"w"}}},"input":"i"}"#;
    assert_eq!(said(stored, Side::Request, Dialect::OpenAiResponses), "Context=v|Context=w|User=i");
    let counted = r#"{"generateContentRequest":{"model":"no","contents":[{"role":"model","parts":[{"text":"a"}]}],
        "systemInstruction":{"parts":[{"text":"s"}]}}}"#;
    let texts = seen(counted, Side::Request, Dialect::Gemini, Operation::CountTokens);
    assert_eq!(texts, [(TextKind::Assistant, "a".to_owned()), (TextKind::System, "s".to_owned())]);
}

#[test]
fn what_a_kept_answer_was_asked_with() {
    let items = r#"{"object":"list","data":[{"type":"message","role":"user","content":[{"type":"input_text","text":"u"}]},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]}],"first_id":"no"}"#;
    let seen = seen(items, Side::Answer, Dialect::OpenAiResponses, Operation::Stored);
    assert_eq!(seen, [(TextKind::User, "u".to_owned()), (TextKind::Assistant, "a".to_owned())]);
}

#[test]
fn only_what_is_edited_changes() {
    let body = r#"{ "x": 1e999, "messages":[{"role":"user","content":"a\u00e9 b"} , {"role":"assistant","tool_calls":
        [{"function":{"arguments":"{\"q\": \"c\"}"}}]}], "temperature" : 1.0 }"#;
    let edit = |text: &Text<'_>| text.text.contains('b').then(|| text.text.replace('b', "\"B\""));
    let (edited, count) = edit_texts(&Bytes::from(body), Side::Request, Dialect::OpenAiChat, Operation::Chat, edit);
    assert_eq!((edited.unwrap(), count), (Bytes::from(body.replace(r"a\u00e9 b", "aé \\\"B\\\"")), 1));
    let same = edit_texts(&Bytes::from(body), Side::Request, Dialect::OpenAiChat, Operation::Chat, |_| None);
    assert_eq!(same, (None, 0));
}

#[test]
fn an_object_stays_json() {
    let body = Bytes::from(r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"a":"b"}}]}]}"#);
    let edited = |new: &str| {
        let new = new.to_owned();
        let (edited, _) = edit_texts(&body, Side::Request, Dialect::Anthropic, Operation::Chat, |_| Some(new.clone()));
        String::from_utf8(edited.unwrap().into()).unwrap()
    };
    assert!(edited(r#"{"a":"x"}"#).contains(r#""input":{"a":"x"}"#));
    assert!(edited(r#"{"a":"x"#).contains(r#""input":{}"#));
}

/// Who made reasoning refuses it when it is another; what only becomes again what the client said is what was signed.
#[test]
fn reasoning_that_was_changed_is_not_signed() {
    let ticket = |state: Opaque<'_>| state.for_client(Dialect::OpenAiResponses).to_string();
    let signature = ticket(Opaque::made_by(Dialect::Anthropic, None, "S".into()));
    let nobodys = ticket(Opaque::made_by(Dialect::Cohere, None, Str::default()));
    let item = |state: &str| {
        let item = serde_json::json!({"type": "reasoning", "encrypted_content": state, "summary": [{"type": "summary_text", "text": "r"}]});
        serde_json::json!({ "output": [item] }).to_string()
    };
    for (dialect, signed, unsigned) in [
        (
            Dialect::Anthropic,
            r#"{"content":[{"type":"thinking","signature":"S","thinking":"r"},{"type":"text","text":"a","signature":"S"}]}"#.to_owned(),
            r#"{"content":[{"type":"thinking","signature":"","thinking":"x"},{"type":"text","text":"x","signature":"S"}]}"#.to_owned(),
        ),
        (
            Dialect::Gemini,
            r#"{"candidates":[{"content":{"parts":[{"text":"r","thought":true,"thoughtSignature":"S"}]}}]}"#.to_owned(),
            r#"{"candidates":[{"content":{"parts":[{"text":"x","thought":true,"thoughtSignature":""}]}}]}"#.to_owned(),
        ),
        (
            Dialect::Bedrock,
            r#"{"output":{"message":{"content":[{"reasoningContent":{"reasoningText":{"text":"r","signature":"S"}}}]}}}"#.to_owned(),
            r#"{"output":{"message":{"content":[{"reasoningContent":{"reasoningText":{"text":"x","signature":""}}}]}}}"#.to_owned(),
        ),
        (Dialect::OpenAiResponses, item(&signature), item(&nobodys).replace("\"r\"", "\"x\"")),
        (Dialect::OpenAiResponses, item("gAAAA"), item("gAAAA").replace("\"r\"", "\"x\"")),
    ] {
        let signed = Bytes::from(signed);
        let edit = |_: &Text<'_>| Some("x".to_owned());
        let (edited, _) = edit_texts(&signed, Side::Answer, dialect, Operation::Chat, edit);
        assert_eq!(edited.unwrap(), unsigned);
        let (restored, _) = restore_texts(&signed, dialect, Operation::Chat, |text| {
            (text.kind == TextKind::Reasoning).then(|| "r".to_owned())
        });
        assert_eq!(restored.unwrap(), signed);
    }
}

#[test]
fn deep_nesting_ends() {
    let deep = format!("{{\"messages\":{}\"x\"{}}}", "{\"content\":[".repeat(50_000), "]}".repeat(50_000));
    assert_eq!(seen(&deep, Side::Request, Dialect::OpenAiChat, Operation::Chat), []);
}

proptest! {
    #[test]
    fn replacing_each_by_itself_keeps_the_meaning(messages in value()) {
        let body = Bytes::from(format!("{{\"messages\":{messages}}}"));
        // Half of a character has no other way to be written.
        let same = |text: &Text<'_>| (!text.text.contains('\u{fffd}')).then(|| text.text.to_string());
        let (edited, _) = edit_texts(&body, Side::Request, Dialect::OpenAiChat, Operation::Chat, same);
        let read = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).ok();
        prop_assert_eq!(read(&edited.unwrap_or_else(|| body.clone())), read(&body));
    }

    #[test]
    fn any_bytes_do_no_harm(body in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ 1acontextmsg".to_vec()), 0..80)) {
        let body = Bytes::from([b"{\"messages\":", &body[..]].concat());
        let _ = edit_texts(&body, Side::Request, Dialect::Anthropic, Operation::Chat, |_| Some(String::new()));
    }
}
