//! A stream that was made of two or three looks to its client like one.

use bounded_static::IntoBoundedStatic as _;
use bytes::Bytes;

use super::*;
use crate::answer::{AnswerForm, Observer, Translation};
use crate::codec::testing::{check_cuts, client, collected, events, maker};
use crate::codec::{Platform, codec};
use crate::common::{Aliases, Block, Losses, ProviderTag, Reasoning, Stop, StopReason, ToolCall};
use crate::dialect::{Dialect, Operation};
use crate::error::{ApiError, ErrorKind};

const PIECES: [&str; 8] = ["Über", " allen", " Gipfeln\n\n", "Ist ", "  Ruh,", "\n", "In 大 Wipfeln", "."];

fn translation(from: Dialect, to: Dialect, echoes: bool) -> Translation {
    Translation {
        from,
        to,
        platform: Platform::Native,
        provider: ProviderTag::of("p"),
        model: "m".into(),
        client: client(),
        aliases: Aliases::default(),
        before: None,
        stream: true,
        reasoning: false,
        keeps_items: false,
        completion: false,
        may_go_on: true,
        echoes,
    }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

fn start() -> Event<'static> {
    Event::Start { id: Some("id_1".into()), model: Some("m".into()), created: Some(1_700_000_000) }
}

fn text_start(index: u32) -> Event<'static> {
    Event::BlockStart { choice: 0, index, block: Block::text("") }
}

fn text(index: u32, text: &'static str) -> Event<'static> {
    Event::Delta { choice: 0, index, delta: Delta::Text(text.into()) }
}

fn end(index: u32) -> Event<'static> {
    Event::BlockEnd { choice: 0, index }
}

fn stop() -> Event<'static> {
    Event::Stop { choice: 0, stop: Stop::new(StopReason::End), extras: Vec::new() }
}

/// An answer of these pieces, to its proper end. Usage comes first, as Anthropic tells of its input at the start.
fn answer(pieces: &[&'static str], consumed: Usage) -> Vec<Event<'static>> {
    let mut all = vec![Event::Usage(Usage { output: None, ..consumed }), start(), text_start(0)];
    all.extend(pieces.iter().map(|piece| text(0, piece)));
    all.extend([end(0), stop(), Event::Usage(consumed), Event::End]);
    all
}

/// As a provider of `dialect` streams it.
fn written(dialect: Dialect, events: &[Event<'static>]) -> Vec<u8> {
    let (mut encoder, mut out) = (codec(dialect).stream_encoder(&client()), Vec::new());
    events.iter().for_each(|event| encoder.encode(event.clone(), &mut Losses::default(), &mut out));
    out
}

/// Checks what the client got.
fn check_client(to: Dialect, out: &[u8], wanted: &str, what: &str) {
    assert!(!String::from_utf8_lossy(out).contains("id_of_another"), "{what}");
    let all = events(&mut *codec(to).stream_decoder(&maker()), out);
    let count = |is: fn(&Event<'_>) -> bool| all.iter().filter(|event| is(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Start { .. })), 1, "{what}: {}", String::from_utf8_lossy(out));
    assert_eq!(count(|event| matches!(event, Event::Stop { .. })), 1, "{what}");
    assert_eq!(count(|event| matches!(event, Event::End)), 1, "{what}");
    let response = collected(to, &all).unwrap_or_else(|error| panic!("{what}: {error}"));
    let said: String = response.choices[0].blocks.iter().map(said_by).collect();
    assert_eq!(said, wanted, "{what}");
    assert_eq!(response.choices[0].stop.reason, StopReason::End, "{what}");
}

fn said_by(block: &Block<'_>) -> String {
    match &block.content {
        Content::Text(text) => text.text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_seam_after_any_piece_is_not_seen_in_any_dialect() {
    for to in Dialect::ALL {
        for (first, second) in
            [(Dialect::OpenAiChat, Dialect::Anthropic), (Dialect::Anthropic, Dialect::OpenAiChat), (to, to)]
        {
            for at in 1..PIECES.len() {
                for (echoes, repeats, clean) in [(false, false, true), (true, false, false), (true, true, true)] {
                    let what = format!("{first} and {second} to {to}, {at}, echo {echoes} {repeats}");
                    let mut observer =
                        Observer::translating(translation(first, to, false), Operation::Chat, AnswerForm::Stream);
                    let begun = answer(&PIECES[..at], usage(10, 99));
                    let begun = written(first, &begun[..3 + at]);
                    let mut out = observer.feed(begun.into(), false).to_vec();
                    if clean {
                        out.extend(observer.feed(Bytes::new(), true));
                        assert!(observer.seen().cut, "{what}");
                    }
                    let so_far = PIECES[..at].concat();
                    assert_eq!(observer.said(), Some(so_far.trim_end()), "{what}");
                    let before = observer.seen().usage.and_then(|usage| usage.total_input());
                    assert!(first != Dialect::Anthropic || before == Some(10), "{what}");
                    observer.go_on(translation(second, to, echoes));
                    // What was cut from the beginning's end, the model says again.
                    let space: &'static str = so_far[so_far.trim_end().len()..].to_owned().leak();
                    let mut rest = vec![space];
                    if repeats {
                        rest.insert(0, so_far.trim_end().to_owned().leak());
                    }
                    rest.extend(&PIECES[at..]);
                    let mut rest = answer(&rest, usage(30, 7));
                    rest[1] = Event::Start { id: Some("id_of_another".into()), model: None, created: None };
                    let rest = written(second, &rest);
                    for chunk in rest.chunks(5) {
                        out.extend(observer.feed(Bytes::copy_from_slice(chunk), false));
                    }
                    out.extend(observer.feed(Bytes::new(), true));
                    check_client(to, &out, &PIECES.concat(), &what);
                    if at == 3 && second != to {
                        check_cuts(|| codec(to).stream_decoder(&maker()), to, &out);
                    }
                    let seen = observer.seen();
                    assert!(seen.complete && !seen.cut && seen.error.is_none() && !observer.may_go_on(), "{what}");
                    let input = seen.usage.and_then(|usage| usage.total_input());
                    assert_eq!(input, Some(30 + before.unwrap_or_default()), "{what}");
                    let told = collected(to, &events(&mut *codec(to).stream_decoder(&maker()), &out)).unwrap();
                    let output = told.usage.and_then(|usage| usage.total_output());
                    assert_eq!(output, seen.usage.and_then(|usage| usage.total_output()), "{what}");
                }
            }
        }
    }
}

/// Its id stays that which the client has.
#[test]
fn who_goes_on_is_named_and_not_who_began() {
    let chunk = |id: &str, model: &str, more: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"{id}\",\"model\":\"{model}\"{more},\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"one\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let chat = Dialect::OpenAiChat;
    for to in [chat, Dialect::Anthropic] {
        let mut observer = Observer::translating(translation(chat, to, false), Operation::Chat, AnswerForm::Stream);
        let _ = observer.feed(chunk("a", "first", ",\"service_tier\":\"flex\"", "null").into(), true);
        assert_eq!(observer.seen().model.as_deref(), Some("first"));
        observer.go_on(translation(chat, to, false));
        assert_eq!((&observer.seen().model, &observer.seen().service_tier), (&None, &None));
        let _ = observer.feed(chunk("b", "second", "", "\"stop\"").into(), false);
        let _ = observer.feed(Bytes::from_static(b"data: [DONE]\n\n"), true);
        let seen = observer.seen();
        assert!(seen.complete && seen.service_tier.is_none(), "{seen:?}");
        assert_eq!((seen.id.as_deref(), seen.model.as_deref()), (Some("a"), Some("second")));
    }
}

#[test]
fn an_answer_may_be_made_of_three() {
    let to = Dialect::Anthropic;
    let chat = Dialect::OpenAiChat;
    let mut observer = Observer::translating(translation(chat, to, false), Operation::Chat, AnswerForm::Stream);
    let mut out = Vec::new();
    for (at, piece) in ["one", " two", " three"].into_iter().enumerate() {
        if at > 0 {
            observer.go_on(translation(chat, to, false));
        }
        let all = answer(&[piece], usage(10, 1));
        let until = if at == 2 { all.len() } else { 4 };
        out.extend(observer.feed(written(chat, &all[..until]).into(), true));
    }
    check_client(to, &out, "one two three", "three");
}

#[test]
fn an_error_is_told_only_when_nobody_goes_on() {
    for from in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Bedrock] {
        let mut observer =
            Observer::translating(translation(from, Dialect::Gemini, false), Operation::Chat, AnswerForm::Stream);
        let mut begun = answer(&["said"], usage(1, 1));
        begun.truncate(4);
        begun.push(Event::Error(ApiError::new(ErrorKind::Overloaded, "too much to do")));
        let out = observer.feed(written(from, &begun).into(), true);
        let out = String::from_utf8_lossy(&out);
        assert!(out.contains("said") && !out.contains("error"), "{from}: {out}");
        let error = observer.seen().error.clone().unwrap();
        assert_eq!((observer.said(), error.kind), (Some("said"), ErrorKind::Overloaded), "{from}");
        let told = observer.translated_error(&error).unwrap();
        assert!(String::from_utf8_lossy(&told).contains("too much to do"), "{from}");
    }
}

#[test]
fn nobody_goes_on_with_anything_but_text() {
    let said = |events: &[Event<'static>]| {
        let mut said = Said::default();
        events.iter().for_each(|event| said.note(event));
        said.text().map(str::to_owned)
    };
    let thought = || Event::BlockStart {
        choice: 0,
        index: 0,
        block: Block::new(Content::Reasoning(Box::<Reasoning<'_>>::default())),
    };
    let call =
        Event::BlockStart { choice: 0, index: 1, block: Block::new(Content::ToolCall(Box::<ToolCall<'_>>::default())) };
    let begun = [start(), text_start(0), text(0, "so far \n")];
    assert_eq!(said(&begun).as_deref(), Some("so far"));
    assert_eq!(said(&begun[..2]), None);
    assert_eq!(said(&[start(), text_start(0), text(0, " \n")]), None);
    assert_eq!(said(&[thought()]), None);
    assert_eq!(said(&[thought(), end(0), text_start(1), text(1, "aha")]).as_deref(), Some("aha"));
    assert_eq!(said(&[&begun[..], &[end(0), call]].concat()), None);
    assert_eq!(said(&[&begun[..], &[end(0), stop()]].concat()), None);
    assert_eq!(said(&[&begun[..], &[Event::Logprobs { choice: 0, logprobs: Vec::new() }]].concat()), None);
    let other = Event::BlockStart { choice: 1, index: 0, block: Block::text("another") };
    assert_eq!(said(&[&begun[..], &[other]].concat()), None);
    let long: &'static str = "x".repeat(MOST_SAID).leak();
    assert!(said(&[text_start(0), text(0, long)]).is_some());
    assert_eq!(said(&[text_start(0), text(0, long), text(0, "y")]), None);
}

/// After `begun`, the events of an attempt that goes on become these.
fn joined(begun: &[Event<'static>], echoes: bool, more: Vec<Event<'static>>) -> Vec<Event<'static>> {
    let mut said = Said::default();
    begun.iter().for_each(|event| said.note(event));
    let (mut seam, mut out) = (said.seam(echoes), Vec::new());
    more.into_iter().for_each(|event| seam.feed(event, &mut |event| out.push(event.into_static())));
    out
}

#[test]
fn what_goes_on_may_call_a_tool() {
    let call = |index| Event::BlockStart {
        choice: 0,
        index,
        block: Block::new(Content::ToolCall(Box::<ToolCall<'_>>::default())),
    };
    let begun = [start(), text_start(0), text(0, "let me see")];
    let more = vec![start(), call(0), end(0), stop(), Event::End];
    assert_eq!(joined(&begun, false, more), [end(0), call(1), end(1), stop(), Event::End]);
    let more = vec![text_start(0), text(0, ": "), end(0), call(1), end(1)];
    assert_eq!(joined(&begun, false, more), [text(0, ": "), end(0), call(1), end(1)]);
}

#[test]
fn an_answer_that_was_whole_only_ends() {
    let begun = [start(), text_start(0), text(0, "all")];
    assert_eq!(joined(&begun, false, vec![start(), stop(), Event::End]), [end(0), stop(), Event::End]);
    let ended = [&begun[..], &[end(0)]].concat();
    assert_eq!(joined(&ended, false, vec![start(), stop(), Event::End]), [stop(), Event::End]);
    let more = vec![start(), text_start(0), text(0, " more"), end(0)];
    assert_eq!(joined(&ended, false, more), [text_start(1), text(1, " more"), end(1)]);
}

#[test]
fn what_looks_like_an_echo_and_is_none_is_said() {
    let begun = [text_start(0), text(0, "ha ha ha ")];
    let heard = |pieces: &[&'static str]| {
        let mut more = vec![text_start(0)];
        more.extend(pieces.iter().map(|piece| text(0, piece)));
        more.push(end(0));
        let out = joined(&begun, true, more);
        let texts = out.iter().filter_map(|event| match event {
            Event::Delta { delta: Delta::Text(text), .. } => Some(&**text),
            _ => None,
        });
        texts.collect::<String>()
    };
    assert_eq!(heard(&["ha ", "ha h", "o"]), "ha ha ho");
    assert_eq!(heard(&["ha ha"]), "ha ha");
    assert_eq!(heard(&["ha", " ha ", "ha", " ", "said he"]), "said he");
    assert_eq!(heard(&[" and"]), "and");
    assert_eq!(heard(&["and"]), "and");
}
