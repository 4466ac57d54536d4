//! What holds for requests to all dialects.

use serde_json::{Value, json};

use super::testing::{client, collected, events, maker, target};
use super::{Call, Client, Platform, Target, codec};
use crate::common::{
    Block, Choice, Citation, Content, Delta, Event, Losses, Media, MediaKind, MediaSource, Message, Reasoning,
    ReasoningConfig, Request, Response, Role, Stop, StopReason, Str, Text, take_apart,
};
use crate::dialect::Dialect;
use crate::error::ErrorKind;
use crate::preset::PRESETS;

mod media;
mod vendors;

/// A request as it is written for `target`, as a tree, and what was lost.
fn written(request: &Request<'_>, to: Dialect, target: &Target<'_>) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = codec(to).encode_request(request, target, &mut losses).unwrap_or_else(|error| panic!("{to}: {error}"));
    (serde_json::from_slice(&body).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}

/// What a request becomes for each other dialect: an error's parameter, or the fields that were lost.
fn asked(from: Dialect, body: &Value) -> Vec<Result<Vec<String>, Option<String>>> {
    let body = body.to_string();
    let request = codec(from).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let mut all = Vec::new();
    for to in Dialect::ALL {
        let mut losses = Losses::default();
        let written = codec(to).encode_request(&request, &target(), &mut losses);
        if to == from {
            assert!(written.is_ok() && losses.is_empty(), "{to} {losses:?}");
            continue;
        }
        all.push(match written {
            Ok(_) => Ok(losses.iter().map(|loss| loss.field.clone()).collect()),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::InvalidRequest);
                Err(error.param)
            }
        });
    }
    all
}

/// Without it the request would ask for something else: money for an answer to nothing.
#[test]
fn what_only_the_provider_keeps_is_not_left_out() {
    for (field, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("conversation", json!({"id": "conv_1"})),
        ("prompt", json!({"id": "pmpt_1"})),
        ("input", json!([{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "go on"}])),
        ("input", json!([{"type": "compaction", "encrypted_content": "e"}, {"role": "user", "content": "go on"}])),
        ("input", json!([{"role": "user", "content": "go on"}, {"type": "compaction_trigger"}])),
    ] {
        let mut body = json!({"model": "m", "input": "and what did I say before?"});
        body[field] = value;
        for told in asked(Dialect::OpenAiResponses, &body) {
            assert_eq!(told, Err(Some(field.to_owned())));
        }
    }
    for thread in [json!({"type": "create"}), json!({"type": "continue", "previous_message_id": "msg_1"})] {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "go on"}], "thread": thread});
        assert!(asked(Dialect::Anthropic, &body).iter().all(|told| *told == Err(Some("thread".to_owned()))));
    }
    for (field, value) in [("compaction", json!({"type": "summarize"})), ("max_tokens", json!(0))] {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "go on"}]});
        body[field] = value;
        assert!(asked(Dialect::Anthropic, &body).iter().all(|told| *told == Err(Some(field.to_owned()))), "{field}");
    }
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "What does it say?"}]}], "cachedContent": "cachedContents/1"});
    assert!(asked(Dialect::Gemini, &body).iter().all(|told| *told == Err(Some("cachedContent".to_owned()))));
}

/// One field can be counted over all targets, and no name says more than was lost.
#[test]
fn a_loss_has_the_same_name_at_every_target() {
    let body = json!({
        "model": "m", "input": "hi", "include": ["message.output_text.logprobs"], "top_logprobs": 3,
        "reasoning": {"effort": "low", "summary": "detailed"},
        "text": {"format": {"type": "json_schema", "name": "n", "description": "d", "schema": {"type": "object"}}},
    });
    let lost = |fields: &[&str]| Ok(fields.iter().map(|field| (*field).to_owned()).collect());
    let expected = [
        lost(&["reasoning.summary"]),
        lost(&["logprobs", "top_logprobs"]),
        lost(&["response_format.description"]),
        lost(&["logprobs", "top_logprobs", "reasoning"]),
        lost(&["response_format.description", "reasoning.summary", "top_logprobs"]),
    ];
    assert_eq!(asked(Dialect::OpenAiResponses, &body), expected);
    let reasoning = Some(ReasoningConfig { show: Some(false), ..ReasoningConfig::default() });
    let request = Request { reasoning, ..Request::new(Dialect::Gemini) };
    for to in [Dialect::OpenAiChat, Dialect::Cohere] {
        let mut losses = Losses::default();
        codec(to).encode_request(&request, &target(), &mut losses).unwrap();
        assert!(losses.iter().any(|loss| loss.field == "reasoning.show"), "{to} {losses:?}");
    }
}

/// Bedrock's and Vertex's Claude keep none; Anthropic's SDK sends the whole conversation when it is told so.
#[test]
fn clouds_keep_no_threads() {
    let body =
        br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"thread":{"type":"create"}}"#;
    let request = codec(Dialect::Anthropic).decode_request(body, &Call::default()).unwrap();
    for platform in [Platform::Native, Platform::Vertex, Platform::BedrockInvoke] {
        let target = Target { platform, ..target() };
        let written = codec(Dialect::Anthropic).encode_request(&request, &target, &mut Losses::default());
        let code = written.err().and_then(|error| error.code);
        assert_eq!(code.as_deref(), (platform != Platform::Native).then_some("thread_unsupported_request"));
    }
}

/// A citation that does not say which words it supports supports all of its text: Anthropic tells it before the words come.
/// Places are those in the text, of Chat and Gemini (in bytes) those in the whole answer.
#[test]
fn citations_point_at_their_words() {
    let cite = |span| Citation { url: Some("https://x".into()), span, ..Citation::default() };
    let (whole, part) = (cite(None), Citation { title: Some("t".into()), ..cite(Some((1, 4))) });
    let text = |text: &'static str, citations: Vec<Citation<'static>>| {
        Content::Text(Text { text: text.into(), citations, signature: None })
    };
    let mut response = Response::new(Dialect::Anthropic);
    let blocks = vec![text("Well, ", vec![]), text("déjà vu", vec![whole.clone(), part.clone()])];
    response.choices.push(Choice { blocks: blocks.into_iter().map(Block::new).collect(), ..Choice::default() });
    let start = |index| Event::BlockStart { choice: 0, index, block: Block::new(text("", vec![])) };
    let delta = |index, delta| Event::Delta { choice: 0, index, delta };
    let events = [
        start(0),
        delta(0, Delta::Text("Well, ".into())),
        Event::BlockEnd { choice: 0, index: 0 },
        start(1),
        delta(1, Delta::Citation(Box::new(whole))),
        delta(1, Delta::Citation(Box::new(part))),
        delta(1, Delta::Text("déjà".into())),
        delta(1, Delta::Text(" vu".into())),
        Event::BlockEnd { choice: 0, index: 1 },
        Event::Stop { choice: 0, stop: Stop::default(), extras: Vec::new() },
        Event::End,
    ];
    for (to, places) in [
        (Dialect::OpenAiChat, [r#""start_index":6,"end_index":13"#, r#""start_index":7,"end_index":10"#]),
        (Dialect::OpenAiResponses, [r#""start_index":0,"end_index":7"#, r#""start_index":1,"end_index":4"#]),
        (Dialect::Gemini, [r#""startIndex":6,"endIndex":15"#, r#""startIndex":7,"endIndex":12"#]),
        (Dialect::Cohere, [r#""start":0,"end":7,"text":"déjà vu""#, r#""start":1,"end":4"#]),
    ] {
        let client = Client::default();
        let body = codec(to).encode_response(&response, &client, &mut Losses::default());
        let mut stream = Vec::new();
        let mut encoder = codec(to).stream_encoder(&client);
        events.iter().for_each(|event| encoder.encode(event.clone(), &mut Losses::default(), &mut stream));
        for written in [body, stream] {
            let written = String::from_utf8(written).unwrap();
            assert!(places.iter().all(|place| written.contains(place)), "{to}: {written}");
        }
    }
}

/// Claude refuses an empty text that a client sends back: nobody is shown one.
#[test]
fn a_text_of_no_words_is_not_shown() {
    let body = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"functionCall": {"name": "f", "args": {}}}, {"text": "", "thoughtSignature": "c2ln"}]}}]});
    let (body, client) = (body.to_string(), Client::default());
    let response = codec(Dialect::Gemini).decode_response(body.as_bytes(), &maker()).unwrap();
    let kinds = |blocks: &[Block<'_>]| {
        blocks.iter().map(|block| matches!(block.content, Content::ToolCall(_))).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&response.choices[0].blocks), [true, false]);
    for to in [Dialect::Anthropic, Dialect::OpenAiResponses, Dialect::Bedrock] {
        let (mut lost, mut lost_of_stream) = (Losses::default(), Losses::default());
        let whole = codec(to).encode_response(&response, &client, &mut lost);
        let whole = codec(to).decode_response(&whole, &maker()).unwrap();
        assert_eq!(kinds(&whole.choices[0].blocks), [true], "{to}");
        let mut stream = Vec::new();
        let mut encoder = codec(to).stream_encoder(&client);
        take_apart(&response, &mut |event| encoder.encode(event, &mut lost_of_stream, &mut stream));
        let streamed = collected(to, &events(&mut *codec(to).stream_decoder(&maker()), &stream)).unwrap();
        assert_eq!(kinds(&streamed.choices[0].blocks), [true], "{to}");
        assert_eq!([lost.header_value(), lost_of_stream.header_value()], ["answer.signature"; 2], "{to}");
    }
}

/// What an earlier gateway showed, or a client says, is left out where the body is written anew.
#[test]
fn claude_is_sent_no_empty_texts() {
    let body = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}, {"type": "text", "text": ""}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": ""}]}]}]});
    let body = body.to_string();
    let request = codec(Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap();
    for platform in [Platform::Native, Platform::Vertex, Platform::BedrockInvoke] {
        let target = Target { platform, ..target() };
        let written = codec(Dialect::Anthropic).encode_request(&request, &target, &mut Losses::default()).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert!(written.contains("hi") && !written.contains(r#""text":"""#), "{written}");
    }
}

/// Google counts from the beginning of the answer, all others from that of the text.
#[test]
fn citations_of_a_later_text_of_gemini_are_counted_from_its_beginning() {
    let body = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
            {"text": "Well, "}, {"functionCall": {"name": "f", "args": {}}}, {"text": "so it is"}]},
        "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://x"}}],
            "groundingSupports": [{"segment": {"startIndex": 9, "endIndex": 14}, "groundingChunkIndices": [0]}]}}]});
    let body = body.to_string();
    let response = codec(Dialect::Gemini).decode_response(body.as_bytes(), &maker()).unwrap();
    let Content::Text(text) = &response.choices[0].blocks[2].content else { panic!() };
    assert_eq!(text.citations[0].span, Some((3, 8)));
}

/// A message of which nothing is left would be asked as an empty one, or not at all, and be paid for.
#[test]
fn a_message_that_cannot_be_said_is_refused() {
    let media = |kind, mime: &'static str| {
        let media =
            Media { kind, source: MediaSource::Data("AAAA".into()), mime: Some(mime.into()), ..Media::default() };
        Block::new(Content::Media(Box::new(media)))
    };
    let film = || media(MediaKind::Video, "video/mp4");
    let sound = || media(MediaKind::Audio, "audio/wav");
    let office = || media(MediaKind::Document, "application/msword");
    for (to, block) in [
        (Dialect::OpenAiChat, film()),
        (Dialect::OpenAiResponses, film()),
        (Dialect::Anthropic, sound()),
        (Dialect::Gemini, office()),
        (Dialect::Bedrock, media(MediaKind::Image, "image/tiff")),
        (Dialect::Cohere, sound()),
    ] {
        let mut request = Request::new(if to == Dialect::Gemini { Dialect::OpenAiChat } else { Dialect::Gemini });
        let user = |blocks| Message { role: Role::User, blocks, ..Message::default() };
        request.messages = vec![
            user(vec![Block::text("hi")]),
            Message { role: Role::Assistant, blocks: vec![Block::text("Hi.")], ..Message::default() },
        ];
        request.messages.push(user(vec![block.clone()]));
        let openai = PRESETS.iter().find(|preset| preset.kind == "openai").unwrap();
        let target = Target { quirks: openai.quirks, ..target() };
        let refused = codec(to).encode_request(&request, &target, &mut Losses::default());
        assert_eq!(refused.unwrap_err().param.as_deref(), Some("messages"), "{to}");
        request.messages[2].blocks.push(Block::text("What is it?"));
        assert!(codec(to).encode_request(&request, &target, &mut Losses::default()).is_ok(), "{to}");
    }
}

/// Typed clients write what is not set as `null`.
#[test]
fn what_asks_for_nothing_is_no_loss() {
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 99, "logit_bias": null,
        "prediction": null, "web_search_options": null, "unheard_of": null, "metadata": {}, "verbosity": "medium"});
    let mut biased = chat.clone();
    biased["logit_bias"] = json!({});
    let responses = json!({"model": "m", "input": "hi", "max_output_tokens": 99, "background": null, "conversation": null,
        "max_tool_calls": null, "prompt": null, "truncation": null, "metadata": {}, "text": {"verbosity": "medium", "new": null},
        "reasoning": {"context": null}, "include": []});
    for (from, body) in
        [(Dialect::OpenAiChat, chat), (Dialect::OpenAiChat, biased), (Dialect::OpenAiResponses, responses)]
    {
        for told in asked(from, &body) {
            assert_eq!(told, Ok(Vec::new()), "{from} {body}");
        }
    }
    let searches = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "web_search_options": {}, "verbosity": "low"});
    for told in asked(Dialect::OpenAiChat, &searches) {
        let lost = told.unwrap();
        assert!(lost.contains(&"web_search_options".to_owned()), "{lost:?}");
    }
}

/// Where there is one place for all of it, parts of a summary and the reasoning itself are paragraphs; parts that say nothing
/// are none.
#[test]
fn reasoning_in_parts_reads_the_same_in_a_stream() {
    for (summary, text, wanted) in [
        (vec!["", "One.", "", "Two.", ""], "", "One.\n\nTwo."),
        (vec!["", ""], "Yes.", "Yes."),
        (vec!["One.", "Two."], "Yes.", "One.\n\nTwo.\n\nYes."),
    ] {
        let summary = summary.into_iter().map(Str::from).collect();
        let reasoning = Reasoning { text: text.into(), summary, ..Reasoning::default() };
        let mut response = Response::new(Dialect::OpenAiResponses);
        let blocks = vec![Block::new(Content::Reasoning(Box::new(reasoning)))];
        response.choices.push(Choice { blocks, ..Choice::default() });
        for to in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock, Dialect::Cohere] {
            let body = codec(to).encode_response(&response, &client(), &mut Losses::default());
            let (mut stream, mut encoder) = (Vec::new(), codec(to).stream_encoder(&client()));
            take_apart(&response, &mut |event| encoder.encode(event, &mut Losses::default(), &mut stream));
            let whole = codec(to).decode_response(&body, &maker()).unwrap();
            let streamed = collected(to, &events(&mut *codec(to).stream_decoder(&maker()), &stream)).unwrap();
            for (how, read) in [("whole", whole), ("as a stream", streamed)] {
                let said = read.choices[0].blocks.iter().filter_map(|block| match &block.content {
                    // Chat keeps the summary and the reasoning apart.
                    Content::Reasoning(it) if !it.summary.is_empty() && !it.text.is_empty() => {
                        Some([&it.summary.concat(), "\n\n", &it.text].concat())
                    }
                    Content::Reasoning(it) => Some([&it.summary.concat(), it.text.as_str()].concat()),
                    _ => None,
                });
                let said = said.collect::<String>();
                assert_eq!(said, wanted, "{to} {how}");
            }
        }
    }
}

/// An answer that is told to have ended for want of tokens sends clients after more of them.
#[test]
fn an_end_that_has_no_word_is_told() {
    for (to, reason, told) in [
        (Dialect::OpenAiChat, StopReason::MalformedCall, true),
        (Dialect::OpenAiChat, StopReason::Pause, true),
        (Dialect::OpenAiChat, StopReason::Other, true),
        (Dialect::OpenAiChat, StopReason::MaxTokens, false),
        (Dialect::Bedrock, StopReason::Pause, true),
        (Dialect::Bedrock, StopReason::MalformedCall, false),
        (Dialect::Anthropic, StopReason::Other, true),
    ] {
        let mut response = Response::new(Dialect::Gemini);
        response.choices.push(Choice { stop: Stop::new(reason), ..Choice::default() });
        let (mut whole, mut streamed) = (Losses::default(), Losses::default());
        codec(to).encode_response(&response, &client(), &mut whole);
        let mut encoder = codec(to).stream_encoder(&client());
        take_apart(&response, &mut |event| encoder.encode(event, &mut streamed, &mut Vec::new()));
        for losses in [whole, streamed] {
            assert_eq!(losses.iter().any(|loss| loss.field == "answer.stop"), told, "{to} {reason:?}");
        }
    }
}

/// What is carried is not lost.
#[test]
fn json_in_a_result_is_carried() {
    let body = json!({"messages": [
    {"role": "user", "content": [{"text": "hi"}]},
    {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]},
    {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "content": [
        {"json": {"a": 1}},
        {"searchResult": {"source": "https://x.org/", "title": "T", "content": [{"text": "found"}]}},
    ]}}]}]});
    for told in asked(Dialect::Bedrock, &body) {
        assert_eq!(told, Ok(Vec::new()));
    }
}
