//! What is told of media: how closely to look, in which types, under which titles.

use super::*;
use crate::catalogue::Traits;
use crate::preset::Preset;

fn kind(name: &str) -> Target<'static> {
    Target { quirks: Preset::find(name).unwrap().quirks, ..target() }
}

fn gemini(platform: Platform) -> Target<'static> {
    Target { traits: Traits { gemini_3: true, ..Traits::default() }, platform, ..target() }
}

/// A request that shows a medium and says something of it, of a dialect that none of the tests writes.
fn shows(media: Media<'static>) -> Request<'static> {
    let blocks = vec![Block::new(Content::Media(Box::new(media))), Block::text("look")];
    Request { messages: vec![Message { blocks, ..Message::default() }], ..Request::new(Dialect::Bedrock) }
}

fn data(kind: MediaKind, mime: &'static str) -> Media<'static> {
    Media { kind, mime: Some(mime.into()), source: MediaSource::Data("AAAA".into()), ..Media::default() }
}

#[test]
fn how_closely_to_look_is_said_in_a_word_that_the_reader_knows() {
    let (chat, responses) = (Dialect::OpenAiChat, Dialect::OpenAiResponses);
    // A word that says less, or nothing, is behind a `~`.
    for (word, openai, others, google) in [
        ("low", "low", "low", "MEDIA_RESOLUTION_LOW"),
        ("medium", "~high", "~high", "MEDIA_RESOLUTION_MEDIUM"),
        ("high", "high", "high", "MEDIA_RESOLUTION_HIGH"),
        ("ultra_high", "~high", "~high", "MEDIA_RESOLUTION_ULTRA_HIGH"),
        ("original", "original", "~high", "MEDIA_RESOLUTION_ULTRA_HIGH"),
        ("auto", "auto", "auto", ""),
        ("unspecified", "auto", "auto", ""),
        ("huge", "~", "~", "~"),
    ] {
        let request = shows(Media { detail: Some(word.into()), ..data(MediaKind::Image, "image/png") });
        for (to, target, wanted) in [
            (chat, kind("openai"), openai),
            (chat, kind("groq"), others),
            (responses, kind("openai"), openai),
            (responses, kind("groq"), others),
            (Dialect::Cohere, target(), others),
            (Dialect::Gemini, gemini(Platform::Native), google),
        ] {
            let (body, lost) = written(&request, to, &target);
            let told = [
                "/messages/0/content/0/image_url/detail",
                "/input/0/content/0/detail",
                "/contents/0/parts/0/mediaResolution/level",
            ];
            let told = told.iter().find_map(|place| body.pointer(place)?.as_str()).unwrap_or_default();
            assert_eq!(told, wanted.trim_start_matches('~'), "{word} for {to}");
            let nearest = wanted.starts_with('~').then_some("messages.detail");
            assert_eq!(lost, Vec::from_iter(nearest), "{word} for {to}");
        }
    }
    let request = shows(Media { detail: Some("medium".into()), ..data(MediaKind::Document, "application/pdf") });
    let (body, lost) = written(&request, responses, &kind("openai"));
    assert_eq!(
        (&body["input"][0]["content"][0]["detail"], &lost[..]),
        (&json!("high"), &["messages.detail".into()][..])
    );
    assert_eq!(written(&request, chat, &kind("openai")).1, ["messages.detail"], "files have no such field");
}

#[test]
fn types_that_a_vendor_does_not_read_are_named() {
    let (chat, responses) = (Dialect::OpenAiChat, Dialect::OpenAiResponses);
    let (image, audio) = (MediaKind::Image, MediaKind::Audio);
    for (media, read) in [
        (data(image, "image/png"), true),
        (data(image, "image/jpg"), true),
        (data(image, "IMAGE/webp;q=1"), true),
        (data(image, "image/*"), true),
        (Media { mime: None, ..data(image, "") }, true),
        (data(image, "image/heic"), false),
        (data(image, "image/tiff"), false),
        (data(audio, "audio/x-wav"), true),
        (data(audio, "audio/mp3"), true),
        (data(audio, "audio/mpeg;rate=8000"), true),
        (data(audio, "audio/ogg"), false),
    ] {
        let lost = if read { Vec::new() } else { vec![media.kind.lost_in_message().to_owned()] };
        let request = shows(media.clone());
        for to in [chat, responses] {
            assert_eq!(written(&request, to, &kind("openai")).1, lost, "{:?} for {to}", media.mime);
            assert_eq!(written(&Request { dialect: to, ..request.clone() }, to, &kind("openai")).1, [""; 0]);
        }
        assert_eq!(written(&request, chat, &kind("groq")).1, [""; 0], "who knows what others read");
        if media.kind == image {
            assert_eq!(written(&request, Dialect::Cohere, &target()).1, lost, "{:?} for Cohere", media.mime);
        }
    }
    let spoken = Media { transcript: Some("Hello".into()), ..data(audio, "audio/ogg") };
    for to in [chat, responses] {
        assert!(written(&shows(spoken.clone()), to, &kind("openai")).0.to_string().contains("Hello"), "{to}");
    }
}

/// With several documents the model would not know which is which.
#[test]
fn titles_of_texts_are_told() {
    let body = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc text"},
            "title": "My Title", "context": "My context"},
        {"type": "document", "source": {"type": "content", "content": "inner text"}, "title": "Inner Title"},
        {"type": "search_result", "source": "https://x.org/", "title": "SR Title", "content": [{"type": "text", "text": "sr body"}]},
        {"type": "text", "text": "Which?"}]}]});
    let body = body.to_string();
    let request = codec(Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap();
    for (to, target) in [
        (Dialect::OpenAiChat, kind("openai")),
        (Dialect::OpenAiResponses, kind("openai")),
        (Dialect::Gemini, gemini(Platform::Native)),
        (Dialect::Gemini, gemini(Platform::Vertex)),
    ] {
        let (body, lost) = written(&request, to, &target);
        let body = body.to_string();
        let places: Vec<_> =
            ["My context", "My Title", "doc text", "Inner Title", "inner text", "SR Title", "sr body", "Which?"]
                .iter()
                .map(|text| body.find(text).unwrap_or_else(|| panic!("{text} is not in {body}")))
                .collect();
        assert!(places.is_sorted(), "{body}");
        assert_eq!(lost, ["messages.source"], "{to}");
    }
    let pdf = Media { context: Some("My context".into()), ..data(MediaKind::Document, "application/pdf") };
    let (body, lost) = written(&shows(pdf), Dialect::OpenAiResponses, &kind("openai"));
    assert_eq!(body["input"][0]["content"][0], json!({"type": "input_text", "text": "My context"}));
    assert!(lost.is_empty(), "{lost:?}");
}
