//! What OpenAI takes of what others say.

use super::*;
use crate::common::{Json, ResponseFormat, ToolCall, ToolResult};
use crate::preset::Preset;

const BOTH: [Dialect; 2] = [Dialect::OpenAiChat, Dialect::OpenAiResponses];
const OTHERS: [Dialect; 4] = [Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock, Dialect::Cohere];

fn kind(name: &str) -> Target<'static> {
    Target { quirks: Preset::find(name).unwrap().quirks, ..target() }
}

/// Other dialects have no word for it: their answers always follow the schema.
#[test]
fn an_answer_that_must_follow_its_schema_must_do_so_at_openai_too() {
    let properties = json!({"a": {"type": "number"}});
    let closed = json!({"type": "object", "properties": properties, "required": ["a"], "additionalProperties": false});
    let open = json!({"type": "object", "properties": properties});
    for to in BOTH {
        let told = |from, schema: &Value, target: &Target<'_>| {
            let schema = Json::of(schema);
            let format = ResponseFormat::Schema { name: None, description: None, schema, strict: None };
            let request = Request { response_format: Some(format), ..Request::new(from) };
            let (body, lost) = written(&request, to, target);
            let places = ["/response_format/json_schema/strict", "/text/format/strict"];
            (places.iter().find_map(|place| body.pointer(place)?.as_bool()), lost)
        };
        for from in OTHERS {
            assert_eq!(told(from, &closed, &kind("openai")), (Some(true), Vec::new()), "{from} -> {to}");
            let lost = vec!["response_format.strict".to_owned()];
            assert_eq!(told(from, &open, &kind("azure")), (None, lost), "{from} -> {to}");
            assert_eq!(told(from, &closed, &kind("groq")), (None, Vec::new()), "what others take is not known");
        }
        for from in BOTH {
            assert_eq!(told(from, &closed, &kind("openai")), (None, Vec::new()), "who says nothing means it");
        }
    }
}

#[test]
fn tiers_are_openais() {
    for to in BOTH {
        for (tier, told) in [("flex", true), ("priority", true), ("auto", true), ("reserved", false)] {
            let request = Request { service_tier: Some(tier.into()), ..Request::new(Dialect::Bedrock) };
            for vendor in ["openai", "groq"] {
                let (body, lost) = written(&request, to, &kind(vendor));
                assert_eq!(body["service_tier"].as_str(), told.then_some(tier), "{to}");
                assert_eq!(lost, Vec::from_iter((!told).then_some("service_tier")), "{to}");
            }
            let own = Request { dialect: to, ..request };
            assert_eq!(written(&own, to, &kind("openai")).0["service_tier"], tier);
        }
    }
}

/// "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40".
#[test]
fn ids_of_calls_are_of_forty_characters_at_most() {
    let turn = |id: &str, from| {
        let id = || Str::from(id.to_owned());
        let call = ToolCall { id: id(), name: "f".into(), arguments: "{}".into(), ..ToolCall::default() };
        let result = ToolResult { call_id: id(), content: vec![Block::text("a")], ..ToolResult::default() };
        let messages = vec![
            Message {
                role: Role::Assistant,
                blocks: vec![Block::new(Content::ToolCall(Box::new(call)))],
                ..Message::default()
            },
            Message { blocks: vec![Block::new(Content::ToolResult(Box::new(result)))], ..Message::default() },
        ];
        Request { messages, ..Request::new(from) }
    };
    let ids = |id: &str, from, vendor: &str| {
        let (body, lost) = written(&turn(id, from), Dialect::OpenAiChat, &kind(vendor));
        assert!(lost.is_empty(), "{lost:?}");
        let messages = &body["messages"];
        assert_eq!(messages[0]["tool_calls"][0]["id"], messages[1]["tool_call_id"]);
        messages[1]["tool_call_id"].as_str().unwrap().to_owned()
    };
    let (long, other) = ("x".repeat(50), format!("{}y", "x".repeat(49)));
    let (told, apart) = (ids(&long, Dialect::Cohere, "openai"), ids(&other, Dialect::Cohere, "azure"));
    assert!(told.len() == 40 && apart.len() == 40 && told != apart, "{told} {apart}");
    for (id, from, vendor) in [
        ("toolu_01A", Dialect::Anthropic, "openai"),
        (&*long, Dialect::OpenAiChat, "openai"),
        (&*long, Dialect::Anthropic, "groq"),
    ] {
        assert_eq!(ids(id, from, vendor), id);
    }
}
