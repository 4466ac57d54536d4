//! What comes of a stream, and how often its hooks are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::providers::common::{Delta, Event};
use crate::providers::{Dialect, Operation};
use crate::{Answer, AnswerBody, Window};

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

/// Takes its time.
struct Slow(Duration);

impl TextHook for Slow {
    fn on_text(&mut self, _: &mut Window<'_>) -> Result<Flow, Failure> {
        std::thread::sleep(self.0);
        Ok(Flow::Pass)
    }
}

/// Fails what takes longer than this, and then nothing passes.
struct Impatient(Duration);

impl Policy for Impatient {
    fn failed(&self, failure: &Failure) -> Option<Rejection> {
        Some(Rejection { status: 500, message: failure.0.clone() })
    }

    fn called(&self, _: &Flow, time: Duration) -> Result<(), Failure> {
        if time < self.0 { Ok(()) } else { Err("too slow".into()) }
    }
}

#[test]
fn a_hook_answers_for_its_own_time() {
    let (slow, limit) = (Duration::from_millis(300), Duration::from_millis(200));
    let hooks = |limits: [Duration; 2]| {
        let [first, second] = limits.map(|limit| Arc::new(Impatient(limit)));
        vec![Hooked::new(Box::new(Slow(Duration::ZERO)), 0, first), Hooked::new(Box::new(Slow(slow)), 0, second)]
    };
    for (hooks, refused) in [(hooks([limit, 10 * slow]), false), (hooks([10 * slow, limit]), true)] {
        let mut screen = Screen::new(Dialect::OpenAiChat, hooks, "seed");
        screen.feed(stream(&[(0, "text")]).concat().as_bytes(), false, &mut |_| {});
        assert_eq!(screen.refused().is_some(), refused);
    }
}

/// Who reads Gemini's answer reads the texts of a message as one.
#[test]
fn texts_of_one_message_are_looked_at_as_one() {
    let part = |parts: &[&str]| {
        let parts: Vec<_> = parts.iter().map(|text| serde_json::json!({ "text": text })).collect();
        serde_json::json!({ "content": { "parts": parts } })
    };
    for (said, expected) in [
        ([part(&["ab", "b"]), part(&["a"])], [part(&["", "acc"]), part(&["a"])]),
        ([part(&["a", "a"]), part(&["b"])], [part(&["a", "a"]), part(&["c"])]),
    ] {
        let said = serde_json::json!({ "candidates": said }).to_string();
        let mut answer = Answer::new(Dialect::Gemini, Operation::Chat, AnswerBody::Json(said.into()));
        let hook = Hooked::new(Box::new(Late), 64, Arc::new(Strict));
        assert_eq!(screen_whole(&mut answer, &mut [hook]), None);
        let became: serde_json::Value = serde_json::from_slice(answer.json().unwrap()).unwrap();
        assert_eq!(became, serde_json::json!({ "candidates": expected }));
    }
}

/// Calls of OpenAI's own tools come whole, and the client runs them.
#[test]
fn blocks_of_one_dialect_are_looked_at_in_streams() {
    let event = |data: serde_json::Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let item = |commands: &[&str]| serde_json::json!({"type": "shell_call", "id": "s", "call_id": "c", "action": {"commands": commands}});
    let told =
        |kind: &str, item: serde_json::Value| event(serde_json::json!({"type": kind, "output_index": 0, "item": item}));
    let stream = |command: &str| {
        [
            event(serde_json::json!({"type": "response.created", "response": {"id": "r", "model": "m", "status": "in_progress", "output": []}})),
            told("response.output_item.added", item(&[])),
            told("response.output_item.done", item(&[command])),
            event(serde_json::json!({"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed",
                "output": [item(&[command])]}})),
        ]
        .concat()
    };
    for (command, expected) in [("echo b", Some(r#"["echo c"]"#)), ("echo a", Some(r#"["echo a"]"#)), ("stop", None)] {
        let hook = Hooked::new(Box::new(Counts(Arc::default())), 16, Arc::new(Strict));
        let mut screen = Screen::new(Dialect::OpenAiResponses, vec![hook], "seed");
        let mut ran = None;
        screen.feed(stream(command).as_bytes(), true, &mut |event| {
            if let Event::Delta { delta: Delta::Foreign(raw), .. } = event {
                ran = Some(raw.to_value()["action"]["commands"].to_string());
            }
        });
        assert_eq!((ran.as_deref(), screen.refused().is_some()), (expected, expected.is_none()), "{command}");
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
