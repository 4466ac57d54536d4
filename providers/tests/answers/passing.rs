//! The bytes that pass: nothing is copied, kept or lost that need not be.

use super::*;

#[test]
fn hidden_usage_is_gone_and_nothing_else() {
    let text = chunk("{\"content\":\"a\"}");
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n";
    let azure = "data: {\"choices\":[],\"prompt_filter_results\":[],\"usage\":null}\r\n\r\n";
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n";
    for end in ["data: [DONE]\n\n", "data: [DONE]", ""] {
        let whole = format!("{azure}: hi\n\n{text}{finish}{usage}{end}");
        let expected = whole.replace(usage, "");
        for at in 0..=whole.len() {
            let (out, seen) = feed(CHAT, AnswerForm::Stream, true, &[&whole.as_bytes()[..at], &whole.as_bytes()[at..]]);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {at}");
            assert_eq!(seen.usage.unwrap().total(), Some(3));
        }
    }
    // An error that comes with usage is not hidden, nor is the last event of a stream without its line ends lost.
    let error = "data: {\"choices\":[],\"usage\":{},\"error\":{\"message\":\"m\"}}";
    assert_eq!(feed(CHAT, AnswerForm::Stream, true, &[error.as_bytes()]).0, error.as_bytes());
    let bare = usage.trim_end();
    assert_eq!(feed(CHAT, AnswerForm::Stream, true, &[bare.as_bytes()]).0, b"");
}

#[test]
fn an_ordinary_chunk_is_not_copied() {
    for hide_usage in [false, true] {
        let mut observer = Observer::new(CHAT.0, CHAT.1, AnswerForm::Stream, hide_usage);
        for _ in 0..3 {
            let input = Bytes::from(chunk("{\"content\":\"a\"}").repeat(2));
            let output = observer.feed(input.clone(), false);
            assert_eq!((output.as_ptr(), output.len()), (input.as_ptr(), input.len()));
        }
    }
}

#[test]
fn an_event_over_the_limit_is_passed_on_and_not_kept() {
    for hide_usage in [false, true] {
        let mut observer = Observer::new(CHAT.0, CHAT.1, AnswerForm::Stream, hide_usage);
        let part = Bytes::from(vec![b'a'; 1 << 20]);
        let mut passed = observer.feed(Bytes::from_static(b"data: {\"x\":\""), false).len();
        for _ in 0..40 {
            passed += observer.feed(part.clone(), false).len();
        }
        assert_eq!((passed, observer.mid_event()), (12 + (40 << 20), true));
        assert_eq!(observer.feed(Bytes::from_static(b"\"}\n\n"), false), "\"}\n\n");
        assert_eq!(observer.feed(Bytes::from_static(b"data: [DONE]\n\n"), true), "data: [DONE]\n\n");
        let seen = observer.seen();
        assert_eq!((seen.unreadable, seen.complete, observer.mid_event()), (1, true, false));
    }
}

#[test]
fn the_rest_of_a_broken_event_stays_behind() {
    for hide_usage in [false, true] {
        let mut observer = Observer::new(CHAT.0, CHAT.1, AnswerForm::Stream, hide_usage);
        assert_eq!(observer.feed(Bytes::from_static(b": hi\n\ndata: {"), false), ": hi\n\n");
        assert_eq!(observer.feed(Bytes::new(), true), "");
        assert!(!observer.mid_event() && observer.seen().cut);
    }
}

/// Text that looks enough like the real thing to reach the code behind it.
fn fragments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let known = prop::sample::select(vec![
        "data: ",
        "event: error\n",
        "event: response.completed\n",
        "event: message_delta\n",
        "event: content_block_delta\n",
        "\n\n",
        "\r\n\r\n",
        "\r",
        "{\"choices\":[",
        "{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}",
        "{\"index\":1,\"finish_reason\":\"stop\"}",
        "]",
        ",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":18446744073709551615}",
        "}",
        "\"error\":",
        "[DONE]",
        "{\"type\":\"message_stop\"}",
        "{\"delta\":{\"text\":\"\u{fc}\"}}",
        "{\"response\":{\"usage\":{\"input_tokens\":1e300}}}",
        "\"",
        "\\",
        "{",
        "[",
        ":",
        ",",
        "\u{feff}",
        "null",
    ]);
    let piece = prop_oneof![
        6 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..40)
}

fn dialect_and_operation() -> impl Strategy<Value = (Dialect, Operation)> {
    (prop::sample::select(Dialect::ALL.to_vec()), prop::sample::select(Operation::ALL.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_comes_goes(chunks in fragments(), what in dialect_and_operation(), form in prop::sample::select(vec![AnswerForm::Json, AnswerForm::Stream, AnswerForm::Opaque])) {
        let input = chunks.concat();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let (out, seen) = feed(what, form, false, &chunks);
        if seen.unreadable > 0 && form == AnswerForm::Stream {
            let mut rest = input.iter();
            prop_assert!(out.iter().all(|byte| rest.any(|other| other == byte)), "malformed events are left out, no more");
        } else if seen.cut && form == AnswerForm::Stream {
            prop_assert!(input.starts_with(&out));
        } else {
            prop_assert_eq!(&out, &input);
        }
        prop_assert!(seen.complete || seen.cut || seen.error.is_some());
        if form != AnswerForm::Opaque {
            // The cut does not matter.
            prop_assert_eq!(feed(what, form, false, &[&input]).1.usage, seen.usage);
            prop_assert_eq!(feed(what, form, false, &[&input]).1.complete, seen.complete);
        }
    }

    #[test]
    fn hiding_only_ever_takes_whole_events_out(chunks in fragments()) {
        let input = chunks.concat();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let (out, seen) = feed(CHAT, AnswerForm::Stream, true, &chunks);
        prop_assert!(out.len() <= input.len());
        prop_assert_eq!(feed(CHAT, AnswerForm::Stream, false, &chunks).1, seen.clone());
        if seen.usage.is_none() && !String::from_utf8_lossy(&input).contains("usage") {
            prop_assert_eq!(out, feed(CHAT, AnswerForm::Stream, false, &chunks).0);
        }
    }
}
