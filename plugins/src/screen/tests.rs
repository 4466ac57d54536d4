//! What comes of a stream, and how often its hooks are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::Window;
use crate::providers::Dialect;
use crate::providers::common::{Delta, Event};

/// Refuses `stop`, changes `b` to `c`, and counts how often it is asked.
struct Counts(Arc<AtomicUsize>);

impl TextHook for Counts {
    fn on_text(&mut self, window: &mut Window<'_>) -> Result<Flow, Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if window.text().contains("stop") {
            return Ok(Flow::Refuse(Rejection { status: 400, message: "no".to_owned() }));
        }
        for (at, found) in window.text().match_indices('b') {
            window.replace(at..at + found.len(), "c");
        }
        window.release_to(window.text().len());
        Ok(Flow::Pass)
    }
}

struct Strict;

impl Policy for Strict {
    fn failed(&self, _: &Failure) -> Option<Rejection> {
        None
    }
}

/// The stream of these texts, an event for each of them, of the answers that are named.
fn stream(texts: &[(u32, &str)]) -> Vec<String> {
    let event = |(index, text): &(u32, &str)| {
        let delta = serde_json::json!({ "index": index, "delta": { "content": text }, "finish_reason": null });
        format!("data: {}\n\n", serde_json::json!({ "id": "1", "model": "m", "choices": [delta] }))
    };
    texts.iter().map(event).chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// What came out: the texts, with the number of each one's answer, and how often the hook was asked.
fn run(chunks: &[String]) -> (Vec<(u32, String)>, usize) {
    let bytes: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
    run_bytes(&bytes)
}

fn run_bytes(chunks: &[&[u8]]) -> (Vec<(u32, String)>, usize) {
    let asked = Arc::<AtomicUsize>::default();
    let hook = Hooked::new(Box::new(Counts(asked.clone())), 16, Arc::new(Strict));
    let mut screen = Screen::new(Dialect::OpenAiChat, vec![hook], "seed");
    let mut texts = Vec::new();
    for chunk in chunks {
        screen.feed(chunk, false, &mut |event| {
            if let Event::Delta { choice, delta, .. } = event {
                texts.push((choice, text_of(delta).unwrap().2.to_string()));
            }
        });
    }
    (texts, asked.load(Ordering::Relaxed))
}

#[test]
fn pieces_of_a_text_that_come_together_are_looked_at_and_written_as_one() {
    let pieces: Vec<(u32, &str)> = (0..100).map(|_| (0, " abc")).collect();
    let events = stream(&pieces);
    let (texts, asked) = run(&[events.concat()]);
    // Its last call is the end of the text.
    assert_eq!((texts, asked), (vec![(0, " acc".repeat(100))], 2));
    let (texts, asked) = run(&events);
    assert_eq!((texts, asked), (vec![(0, " acc".to_owned()); 100], 101));
}

#[test]
fn texts_are_gathered_up_to_a_limit_and_never_mixed() {
    let long = "x".repeat(3000);
    let pieces = [(0, &*long), (0, &*long), (0, "b"), (1, "b"), (0, "1"), (0, "2"), (1, "stop"), (0, "3")];
    let (texts, _) = run(&[stream(&pieces).concat()]);
    let expected = [
        (0, long.repeat(2)),
        (0, "c".to_owned()),
        (1, "c".to_owned()),
        (0, "12".to_owned()),
        (0, "no".to_owned()),
        (1, "no".to_owned()),
    ];
    assert_eq!(texts, expected);
}

/// Anthropic's stream of thinking in these pieces, with the signature behind them.
fn thinking(pieces: &[&str]) -> String {
    let event = |data: serde_json::Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let delta = |delta: serde_json::Value| {
        event(serde_json::json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    };
    let block = serde_json::json!({"type": "thinking", "thinking": "", "signature": ""});
    let thoughts = pieces.iter().map(|piece| delta(serde_json::json!({"type": "thinking_delta", "thinking": piece})));
    [
        event(serde_json::json!({"type": "message_start", "message": {"id": "1", "type": "message", "role": "assistant",
            "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}})),
        event(serde_json::json!({"type": "content_block_start", "index": 0, "content_block": block})),
        thoughts.collect(),
        delta(serde_json::json!({"type": "signature_delta", "signature": "S"})),
        event(serde_json::json!({"type": "content_block_stop", "index": 0})),
        event(serde_json::json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})),
        event(serde_json::json!({"type": "message_stop"})),
    ]
    .concat()
}

/// Changes `b` to `c` when the text ends, and holds everything back before.
struct Late;

impl TextHook for Late {
    fn on_text(&mut self, window: &mut Window<'_>) -> Result<Flow, Failure> {
        if window.is_end() {
            window.text().match_indices('b').for_each(|(at, found)| window.replace(at..at + found.len(), "c"));
        }
        window.release_to(0);
        Ok(Flow::Pass)
    }
}

/// What is said of it may come to light when it ends only.
#[test]
fn a_signature_goes_out_behind_what_it_signs_and_only_if_that_is_the_same() {
    let late = || Hooked::new(Box::new(Late), 64, Arc::new(Strict));
    for (pieces, hook, expected) in [
        (&["a", "a"], late(), &["aa", "S"][..]),
        (&["a", "b"], late(), &["ac"][..]),
        // What only becomes again what the client said will be signed for again.
        (&["a", "b"], late().restores(), &["ac", "S"][..]),
    ] {
        let mut screen = Screen::new(Dialect::Anthropic, vec![hook], "seed");
        let mut out = Vec::new();
        screen.feed(thinking(pieces).as_bytes(), true, &mut |event| match event {
            Event::Delta { delta: Delta::Reasoning(text), .. } => out.push(text.to_string()),
            Event::Delta { delta: Delta::Signature(signature), .. } => out.push(signature.data.to_string()),
            _ => {}
        });
        assert_eq!(out, expected);
    }
}

proptest! {
    #[test]
    fn whatever_comes_together_the_texts_are_the_same(
        pieces in prop::collection::vec((0_u32..3, "[ab]{0,3}"), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let pieces: Vec<(u32, &str)> = pieces.iter().map(|(answer, text)| (*answer, &**text)).collect();
        let body = stream(&pieces).concat().into_bytes();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        places.extend([0, body.len()]);
        places.sort_unstable();
        let chunks: Vec<&[u8]> = places.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let (texts, _) = run_bytes(&chunks);
        for answer in 0..3 {
            let of = |texts: &[(u32, &str)]| texts.iter().filter(|(of, _)| *of == answer).map(|(_, text)| *text).collect::<String>();
            let out: Vec<(u32, &str)> = texts.iter().map(|(of, text)| (*of, &**text)).collect();
            prop_assert_eq!(of(&out), of(&pieces).replace('b', "c"));
        }
    }
}
