use ai_gateway_providers::endpoint::match_endpoint;
use ai_gateway_providers::price::{Price, Rate};
use ai_gateway_providers::scan::{scan_json, scan_multipart};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::*;

fn weighed(path: &str, body: &Value, most: bool) -> Weighed {
    let endpoint = match_endpoint(&Method::POST, path, &HeaderMap::new()).unwrap();
    let body = Bytes::from(body.to_string());
    Weighed::of(&endpoint, &scan_json(&body).unwrap(), &body, || most)
}

fn chat(part: &Value) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "what is it"}, part]}]})
}

#[test]
fn media_weigh_what_providers_count_for_them() {
    let (data, text) = ("A".repeat(1_200_000), "a few words ".repeat(100_000));
    let url = |mime: &str| format!("data:{mime};base64,{data}");
    let image = json!({"type": "image_url", "image_url": {"url": url("image/png")}});
    let sound = json!({"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}});
    let paper = json!({"type": "file", "file": {"file_data": url("application/pdf")}});
    for (part, tokens) in [
        (image.clone(), 1_600..1_700),
        (sound, 3_000..3_100),
        (paper, 36 * 1_600..37 * 1_600),
        (json!({"type": "text", "text": text}), 300_000..300_100),
        (json!({"type": "unheard_of", "bytes": data}), 300_000..300_100),
    ] {
        let found = weighed("/v1/chat/completions", &chat(&part), false).tokens();
        assert!(tokens.contains(&found), "{found} are not {tokens:?}");
    }
    let embedded = json!({"model": "m", "images": [url("image/png"), url("image/png")], "texts": ["a"]});
    assert!((3_200..3_300).contains(&weighed("/v2/embed", &embedded, false).tokens()));
    let answered = weighed("/v1/chat/completions", &chat(&image), true).usage(&Weights::MOST);
    assert_eq!((answered.image_input, answered.audio_input), (Some(48_169), None));
    assert!(answered.input < Some(200), "a picture is no text: {answered:?}");
}

#[test]
fn what_is_small_is_read_again_only_for_what_it_asks() {
    let marked = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}});
    let body = chat(&marked);
    let bytes = body.to_string().len() as u64;
    let usual = weighed("/v1/chat/completions", &body, false);
    assert_eq!((usual.text, usual.terms), (bytes, Terms::default()));
    assert_eq!(usual.tokens(), bytes.div_ceil(4));
    let most = weighed("/v1/chat/completions", &body, true);
    assert!(most.terms.cache_write.is_some());
    assert_eq!(most.usage(&Weights::MOST).input, Some(bytes));
    let mut fast = body;
    fast["service_tier"] = "priority".into();
    assert!(weighed("/v1/chat/completions", &fast, false).terms.tier.is_some());
}

#[test]
fn uploads_weigh_by_their_size() {
    let file = "x".repeat(20_000_000);
    let form = |name: &str| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
             --b\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n{file}\r\n--b--"
        )
    };
    let usage = |path: &str, name: &str, weights: &Weights| {
        let body = form(name);
        let scan = scan_multipart("multipart/form-data; boundary=b", body.as_bytes()).unwrap();
        let endpoint = match_endpoint(&Method::POST, path, &HeaderMap::new()).unwrap();
        Weighed::of(&endpoint, &scan, body.as_bytes(), || false).usage(weights)
    };
    let heard = usage("/v1/audio/transcriptions", "file", &Weights::USUAL);
    assert_eq!((heard.audio_input, heard.audio_input_ms), (Some(50_000), Some(5_000_000)));
    assert!(heard.input < Some(100), "{heard:?}");
    let most = usage("/v1/audio/transcriptions", "file", &Weights::MOST);
    assert_eq!((most.audio_input, most.audio_input_ms), (Some(645_162), Some(20_000_000)));
    assert_eq!(usage("/v1/images/edits", "image[]", &Weights::USUAL).image_input, Some(1_600));
}

/// What is put by is never less than what an answer may be billed: of each request the dearest such answer.
#[test]
fn the_dearest_rates_are_put_by() {
    let rates = "input=1 input@priority=2 input@flex=0.5 input@batch=0.5 input>1000000=3 audio_input=30 \
                 cache_write=1.25 cache_write_1h=2 output=10 output@priority=20 output@flex=5 reasoning=12 \
                 audio_output=80 image_output=120";
    let price = Price::new(rates.split_ascii_whitespace().map(|rate| rate.parse::<Rate>().unwrap()));
    let no_images = json!({"modalities": ["text"]});
    let mark = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}});
    let hour = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}});
    let point = json!({"messages": [{"role": "user", "content": [{"cachePoint": {"type": "default"}}]}]});
    let sound = json!({"type": "input_audio", "input_audio": {"data": "A".repeat(31_000), "format": "mp3"}});
    // Dollars for a million tokens of text in the prompt, and of the answer.
    for (path, body, input, output) in [
        ("/v1/chat/completions", no_images.clone(), 1_000_000, 12_000_000),
        ("/v1/chat/completions", json!({}), 1_000_000, 120_000_000),
        ("/v1/chat/completions", json!({"modalities": ["text"], "service_tier": "priority"}), 2_000_000, 20_000_000),
        ("/v1/chat/completions", json!({"modalities": ["text"], "service_tier": "auto"}), 2_000_000, 20_000_000),
        ("/v1/chat/completions", json!({"modalities": ["text"], "service_tier": "flex"}), 1_000_000, 12_000_000),
        ("/v1/chat/completions", json!({"modalities": ["text"], "service_tier": "default"}), 1_000_000, 12_000_000),
        ("/v1/chat/completions", json!({"modalities": ["text", "audio"], "audio": {}}), 1_000_000, 80_000_000),
        (
            "/v1beta/models/m:generateContent",
            json!({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}, "contents": []}),
            1_000_000,
            120_000_000,
        ),
        (
            "/v1beta/models/m:generateContent",
            json!({"generationConfig": {"responseModalities": ["AUDIO"]}, "contents": []}),
            1_000_000,
            80_000_000,
        ),
        ("/v1/messages", json!({"messages": [{"role": "user", "content": [mark]}]}), 1_250_000, 120_000_000),
        ("/v1/messages", json!({"messages": [{"role": "user", "content": [hour]}]}), 2_000_000, 120_000_000),
        ("/model/m/converse", point, 1_250_000, 120_000_000),
        ("/v1/chat/completions", json!({"messages": [], "x": "x".repeat(1_000_000)}), 3_000_000, 120_000_000),
    ] {
        let weighed = weighed(path, &body, true);
        let prompt = weighed.usage(&Weights::MOST);
        let usage = Usage { output: Some(1_000), ..prompt };
        let right = prompt.input.unwrap() * input + 1_000 * output;
        let told = || body.to_string().chars().take(200).collect::<String>();
        assert_eq!(price.most(&usage, &weighed.terms), right, "{}", told());
    }
    let weighed = weighed("/v1/chat/completions", &chat(&sound), true);
    let usage = weighed.usage(&Weights::MOST);
    assert_eq!(usage.audio_input, Some(1_000));
    assert_eq!(price.most(&usage, &weighed.terms), usage.input.unwrap() * 1_000_000 + 1_000 * 30_000_000);
}

#[test]
fn what_is_made_is_put_by_in_tokens_too() {
    let pieces = Pieces { images: Some(2), ..Pieces::default() };
    assert_eq!(Weights::MOST.made(pieces).unwrap().image_output, Some(12_480));
    let pieces = Pieces { characters: Some(10), ..Pieces::default() };
    assert_eq!(Weights::USUAL.made(pieces).unwrap().audio_output, Some(20));
    assert_eq!(Weights::USUAL.made(Pieces::default()), None);
}
