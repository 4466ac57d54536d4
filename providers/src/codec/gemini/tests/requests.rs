//! Requests of Gemini's clients: what the recordings lack.

use serde_json::json;

use super::super::super::testing::{differences, own_request};
use super::*;
use crate::common::{
    Content, Effort, Foreign, MediaKind, MediaSource, Opaque, ProviderTag, ReasoningMode, ResponseFormat, Role, Tool,
    ToolChoice,
};

/// Comes out as it went in.
fn round(body: &serde_json::Value) {
    let call = Call { model: Some("m"), stream: true };
    let (given, written, losses) = own_request(OWN, &body.to_string(), &call);
    assert_eq!(differences(&given, &written), Vec::<String>::new());
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn everything_that_can_be_asked_comes_back() {
    round(&json!({
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}, {"text": ""}], "x": 1},
        "contents": [
            {"role": "user", "parts": [
                {"text": "hi", "partMetadata": {"a": 1}},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA", "displayName": "a.png", "y": 2},
                 "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}},
                {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/v.mp4"},
                 "videoMetadata": {"startOffset": "1s", "fps": 2.5}, "mediaResolution": {"level": "X", "numTokens": 3}},
                {"fileData": {"fileUri": "https://youtu.be/x"}},
            ]},
            {"role": "model", "parts": [
                {"text": "because", "thought": true, "thoughtSignature": "c2ln"},
                {"text": "calling", "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "1", "name": "f", "args": {"b": 1, "a": [1]}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "g"}},
                {"functionCall": {"name": "g", "args": {}}},
                {"executableCode": {"language": "PYTHON", "code": "1"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
                {"toolCall": {"toolType": "GOOGLE_SEARCH", "id": "t"}, "thoughtSignature": "c2ln"},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "c2ln"},
                {"newKind": {"z": 1}},
            ], "w": null},
            {"role": "function", "parts": [
                {"functionResponse": {"id": "1", "name": "f", "response": {"output": "{\"a\": 1}"}}},
                {"functionResponse": {"name": "g", "response": {"result": "x"}, "willContinue": true}},
                {"functionResponse": {"name": "g", "response": {"error": "no"}, "scheduling": "SILENT"}},
                {"functionResponse": {"name": "g", "response": {"error": {"code": 1}}}},
                {"functionResponse": {"name": "g", "response": {"error": null}}},
                {"functionResponse": {"name": "g", "response": {"output": "a", "b": 2}, "parts": [
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA", "displayName": "i"}}]}},
                {"functionResponse": {"name": "g"}},
            ]},
            {"parts": [{"text": "go on"}]},
        ],
        "tools": [
            {"functionDeclarations": [
                {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING",
                    "nullable": true}}, "propertyOrdering": ["a"]}, "behavior": "NON_BLOCKING", "response": {"type": "STRING"}},
                {"name": "g", "parametersJsonSchema": {"type": "object", "$defs": {}}},
                {"name": "h"},
            ]},
            {"googleSearch": {}, "urlContext": {}},
            {"codeExecution": {}},
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"], "streamFunctionCallArguments": true},
            "retrievalConfig": {"latLng": {"latitude": 1, "longitude": 2}},
        },
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 40.5, "candidateCount": 2, "maxOutputTokens": 10,
            "stopSequences": ["a", "b", "c", "d", "e", "f"], "seed": -3, "presencePenalty": 0.1, "frequencyPenalty": 0.2,
            "responseLogprobs": true, "logprobs": 3, "responseMimeType": "application/json",
            "responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "1"},
            "responseModalities": ["TEXT", "Image"], "imageConfig": {"aspectRatio": "1:1"},
            "speechConfig": {"languageCode": "de", "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
            "thinkingConfig": {"includeThoughts": true, "thinkingLevel": "HIGH", "new": 1},
            "mediaResolution": "MEDIA_RESOLUTION_LOW", "unheardOf": {"a": [1]},
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/1", "labels": {"Team": "A"}, "serviceTier": "standard", "store": true,
        "modelArmorConfig": {"promptTemplateName": "p"},
    }));
}

#[test]
fn choices_formats_and_budgets_come_back() {
    for choice in [
        json!({"mode": "AUTO"}),
        json!({"mode": "ANY"}),
        json!({"mode": "NONE"}),
        json!({"mode": "VALIDATED"}),
        json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
        json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        json!({"mode": "MODE_UNSPECIFIED"}),
        json!({"allowedFunctionNames": ["f"]}),
    ] {
        round(&json!({"contents": [], "toolConfig": {"functionCallingConfig": choice}}));
    }
    for config in [
        json!({"responseMimeType": "text/plain"}),
        json!({"responseMimeType": "application/json"}),
        json!({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}),
        json!({"responseJsonSchema": {"type": "object"}}),
        json!({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}),
        json!({"thinkingConfig": {"thinkingBudget": -1}}),
        json!({"thinkingConfig": {"thinkingBudget": 0, "includeThoughts": false}}),
        json!({"thinkingConfig": {"thinkingBudget": 512}}),
        json!({"thinkingConfig": {"thinkingLevel": "low"}}),
        json!({"speechConfig": {"multiSpeakerVoiceConfig": {}}}),
    ] {
        round(&json!({"contents": [], "generationConfig": config}));
    }
}

#[test]
fn snake_case_lone_objects_and_quoted_numbers_are_understood() {
    let request = request(
        r#"{"system_instruction":{"parts":{"text":"s"}},
            "contents":{"role":"user","parts":[{"inline_data":{"mime_type":"audio/wav","data":"-_8="}},
                {"file_data":{"file_uri":"https://x.org/a.pdf?b"}}]},
            "tools":{"function_declarations":{"name":"f","parameters":{"type":"OBJECT"}}},
            "tool_config":{"function_calling_config":{"mode":"any","allowed_function_names":["f"]}},
            "generation_config":{"max_output_tokens":"100","top_k":40.0,"response_mime_type":"application/json",
                "_responseJsonSchema":{"type":"object"},"thinking_config":{"thinking_budget":"-1"}}}"#,
    );
    assert_eq!(request.system.len(), 1);
    let [sound, document] = &*request.messages[0].blocks else { panic!() };
    let Content::Media(sound) = &sound.content else { panic!() };
    assert_eq!((sound.kind, &sound.source), (MediaKind::Audio, &MediaSource::Data("+/8=".into())));
    let Content::Media(document) = &document.content else { panic!() };
    assert_eq!(document.kind, MediaKind::Document);
    let [Tool::Function(tool)] = &*request.tools else { panic!() };
    assert_eq!(tool.parameters.as_ref().unwrap().get(), r#"{"type":"object"}"#);
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
    assert_eq!((request.max_tokens, request.top_k), (Some(100), Some(40)));
    assert!(matches!(request.response_format, Some(ResponseFormat::Schema { .. })));
    assert_eq!(request.reasoning.unwrap().mode, Some(ReasoningMode::Adaptive));
}

#[test]
fn settings_mean_what_they_say() {
    let request = request(
        r#"{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"thinkingConfig":{"thinkingLevel":"MEDIUM"},
            "responseModalities":["TEXT","IMAGE"]},"serviceTier":"STANDARD"}"#,
    );
    assert_eq!(request.reasoning.unwrap().effort, Some(Effort::Medium));
    assert_eq!(request.modalities, ["text", "image"]);
    assert_eq!(request.service_tier.as_deref(), Some("default"));
    assert_eq!(request.messages[0].role, Role::User);
}

#[test]
fn results_find_their_calls_without_ids() {
    let request = request(
        r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"g"}},
            {"functionCall":{"name":"f"}}]},{"role":"user","parts":[{"functionResponse":{"name":"g","response":{"output":"1"}}},
            {"functionResponse":{"name":"f","response":{"output":"2"}}},{"functionResponse":{"name":"f","response":{"a":3}}},
            {"functionResponse":{"name":"f","response":{"error":"4"}}}]}]}"#,
    );
    let ids: Vec<_> = request
        .messages
        .iter()
        .flat_map(|message| &message.blocks)
        .map(|block| match &block.content {
            Content::ToolCall(call) => call.id.to_string(),
            Content::ToolResult(result) => result.call_id.to_string(),
            _ => panic!(),
        })
        .collect();
    assert_eq!(ids, ["call_0", "call_1", "call_2", "call_1", "call_0", "call_2", "call_3"]);
    let Content::ToolResult(failed) = &request.messages[1].blocks[3].content else { panic!() };
    assert_eq!(failed.is_error, Some(true));
    let Content::Text(text) = &failed.content[0].content else { panic!() };
    assert_eq!(text.text, "4");
}

#[test]
fn a_ticket_comes_back_in_either_alphabet() {
    let made = Opaque::made_by(Dialect::Anthropic, Some(ProviderTag::of("a")), "sig??>>~~".into());
    let ticket = made.for_client(OWN).into_owned();
    for spelling in [ticket.to_string(), ticket.replace('+', "-").replace('/', "_")] {
        let body = json!({"contents": [{"role": "model", "parts": [
            {"text": "t", "thought": true, "thoughtSignature": spelling}]}]})
        .to_string();
        let request = request(&body);
        let Content::Reasoning(reasoning) = &request.messages[0].blocks[0].content else { panic!() };
        assert_eq!(reasoning.signature.as_ref(), Some(&made));
        // Nobody but its maker gets it.
        let (body, lost) = encoded(&request);
        assert_eq!(body["contents"][0]["parts"][0], json!({"text": "t", "thought": true}));
        assert_eq!(lost, ["messages.signature"]);
    }
}

#[test]
fn what_only_gemini_knows_is_kept_whole() {
    let request = request(
        r#"{"contents":[{"role":"model","parts":[{"executable_code":{"code":"1"},"thought":true}]}],"tools":[{"google_search":{}}]}"#,
    );
    let Content::Foreign(foreign) = &request.messages[0].blocks[0].content else { panic!() };
    let Foreign { kind, raw, .. } = &**foreign;
    assert_eq!(
        (&**kind, raw.to_value()),
        ("executableCode", json!({"executable_code": {"code": "1"}, "thought": true}))
    );
    assert!(matches!(&request.tools[0], Tool::Foreign { kind, .. } if *kind == "googleSearch"));
}

#[test]
fn a_body_that_is_none_is_the_callers_fault_and_is_not_quoted() {
    for body in [
        "",
        "[]",
        r#"{"contents":"my secret"}"#,
        r#"{"tools":"my secret"}"#,
        r#"{"generationConfig":{"topK":"secret"}}"#,
    ] {
        let error = Gemini.decode_request(body.as_bytes(), &Call::default()).unwrap_err();
        assert_eq!(error.kind, crate::error::ErrorKind::InvalidRequest, "{body}");
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}
