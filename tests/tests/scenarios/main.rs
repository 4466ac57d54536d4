//! The sixteen scenarios of failoverbench (methodology v0.1), each streamed and not, for clients of every dialect, with a
//! first target that speaks the client's dialect and a second that speaks another, and the other way around.
//!
//! A scenario says what the first target does; the second is well. Its times are shorter here, its proportions the same.
//! What the bench counts as recovered must be; where this gateway does otherwise on purpose, the test says so.

mod setup;

use ai_gateway_providers::{Dialect, ErrorKind};
use ai_gateway_tests::speak::Heard;
use setup::{PROMPT, Ran, setup, setup_at, setup_with};
use std::time::{Duration, Instant};

/// What a busy machine may add to a clock.
const SLACK: Duration = Duration::from_secs(8);

/// S01. 429 with `retry-after: 2` once. With nobody else to ask the gateway waits, then asks again.
#[tokio::test]
async fn s01_retry_after_is_honoured() {
    let setup = setup(&["echo+status-429-retry-2s+first-1"], "").await;
    for ran in setup.ask_all().await {
        ran.answer();
        assert!(ran.took >= Duration::from_millis(1900), "{ran}: did not wait");
        assert_eq!(ran.asked, [2], "{ran}");
    }
}

/// S01 with another target: the bench allows both; here nobody waits, and the limited one is left alone for its time.
#[tokio::test]
async fn s01_another_target_answers_at_once() {
    let setup = setup(&["echo+status-429-retry-30s+first-1", "echo"], "").await;
    for round in 1..=2 {
        for ran in setup.ask_all().await {
            ran.answer();
            assert!(ran.by(1) && ran.took < SLACK, "{ran}");
            assert_eq!(ran.asked, [1, round], "{ran}");
        }
    }
}

/// S02. 429 without `retry-after`, always: never hammered, and the other target answers.
#[tokio::test]
async fn s02_a_limited_provider_is_not_hammered() {
    let two = setup(&["echo+status-429", "echo"], "").await;
    for ran in two.ask_all().await {
        ran.answer();
        assert!(ran.by(1) && ran.asked[0] <= 2, "{ran}");
    }
    let alone = setup(&["echo+status-429"], "").await;
    for ran in alone.ask_all().await {
        ran.honest_error();
        assert_eq!(ran.reply.status, 429, "{ran}");
        assert!(ran.asked[0] <= 2, "{ran}");
    }
}

/// S03. 500 once: the same target is asked once more, also if there is another.
#[tokio::test]
async fn s03_a_500_that_passes_is_repeated() {
    let setup = setup(&["echo+status-500+first-1", "echo"], "").await;
    for ran in setup.ask_all().await {
        ran.answer();
        assert_eq!(ran.asked, [2, 0], "{ran}");
    }
}

/// S04. 503 always: the other target answers; with nobody else the client is told, after few attempts.
#[tokio::test]
async fn s04_an_overloaded_provider_is_passed_over() {
    let two = setup(&["echo+status-503", "echo"], "").await;
    for ran in two.ask_all().await {
        ran.answer();
        assert!(ran.by(1) && ran.asked[0] <= 2, "{ran}");
    }
    let alone = setup(&["echo+status-503"], "").await;
    for ran in alone.ask_all().await {
        ran.honest_error();
        assert!(matches!(ran.reply.status, 503 | 529), "{ran}: {}", ran.reply.status);
        assert!(ran.asked[0] <= 3, "{ran}");
    }
}

/// S05. The connection is closed before the header, once.
#[tokio::test]
async fn s05_a_reset_is_repeated_or_passed_over() {
    for targets in [&["echo+cut-header+first-1", "echo"][..], &["echo+cut-header+first-1"]] {
        let setup = setup(targets, "").await;
        for ran in setup.ask_all().await {
            ran.answer();
            assert_eq!(ran.asked.iter().sum::<u64>(), 2, "{ran}");
        }
    }
}

/// S06. No answer at all: after its clock the next target, and never the silent one again. What is not streamed has no first
/// token: `total` is its clock.
#[tokio::test]
async fn s06_a_silent_target_is_not_asked_again() {
    for (targets, asked) in [(&["echo+stall-header", "echo"][..], &[1, 1][..]), (&["echo+stall-header"], &[1])] {
        let setup = setup(targets, "").await;
        for ran in setup.ask_all().await {
            if targets.len() == 2 {
                ran.answer();
            } else {
                ran.honest_error();
                assert_eq!(ran.reply.status, 504, "{ran}");
            }
            assert_eq!(ran.asked, asked, "{ran}");
            assert!(ran.took < Duration::from_secs(4) + SLACK, "{ran}");
        }
    }
}

/// S07. The header at once, the first token after 20 s: its clock moves on.
#[tokio::test]
async fn s07_a_slow_first_token_moves_on() {
    let setup = setup(&["echo+slow-first-20s", "echo"], "").await;
    for ran in setup.ask_all().await {
        ran.answer();
        assert!(ran.by(1) && ran.took < Duration::from_secs(14), "{ran}");
        assert_eq!(ran.asked, [1, 1], "{ran}");
    }
}

/// S08 and S09 as they are by default: what is not streamed is answered by the other target; a stream that has begun tells
/// that it broke. Never a success that is none, and the next request goes well.
#[tokio::test]
async fn s08_s09_a_broken_stream_is_told() {
    for fault in ["echo+cut-after-40", "echo+stall-after-20", "echo+error-after-40", "echo+end-early-after-40"] {
        let setup = setup(&[fault, "echo"], "").await;
        for ran in setup.ask_all().await {
            if ran.case.stream {
                assert!(matches!(ran.heard, Heard::Told(..)), "{fault}: {ran}: {:?}", ran.heard);
                ran.honest_error();
                assert_eq!(ran.asked, [1, 0], "{fault}: {ran}");
            } else {
                ran.answer();
                assert!(ran.by(1), "{fault}: {ran}");
            }
            assert!(ran.took < Duration::from_secs(4) + SLACK, "{fault}: {ran}");
        }
    }
}

/// S08 and S09 with recovery: the whole answer, once, whether it is gone on with or was waited for. An answer of the Responses
/// API is not gone on with: a provider keeps it, and what it keeps would not be what the client has got.
#[tokio::test]
async fn s08_s09_a_broken_stream_is_completed() {
    for fault in ["echo+cut-after-40", "echo+stall-after-20", "echo+error-after-40"] {
        for on_cut in ["continue", "buffer"] {
            let settings = format!("on_cut = \"{on_cut}\"");
            let targets = [fault, "echo+prefill, traits = { prefill = true }"];
            let setup = setup_with(&targets, &settings, |case, target| {
                (case.dialect_of(target) == Dialect::OpenAiResponses).then_some(Dialect::OpenAiChat)
            })
            .await;
            for ran in setup.ask_all().await {
                ran.answer();
                assert!(ran.took < Duration::from_secs(4) + SLACK, "{fault} {on_cut}: {ran}");
                assert_eq!(ran.asked, [1, 1], "{fault} {on_cut}: {ran}");
            }
        }
    }
}

/// S10. An event that is no JSON after ten chunks, then the rest: skipped, or told; and nothing is broken afterwards.
#[tokio::test]
async fn s10_a_malformed_event_is_skipped_or_told() {
    let setup = setup(&["echo+malformed-after-10", "echo"], "").await;
    let mut wrong = Vec::new();
    for _ in 0..2 {
        for ran in setup.ask_all().await {
            match &ran.heard {
                Heard::Answer(answer) if answer.text == PROMPT => {}
                Heard::Told(text, _) if ran.case.stream && PROMPT.starts_with(text) => {}
                other => wrong.push(format!("{ran}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// S11. A whole stream without `[DONE]`, of a provider that speaks Chat Completions: the answer ends at once, with its usage.
#[tokio::test]
async fn s11_no_end_marker_is_needed() {
    let setup = setup_with(&["echo+no-end-marker", "echo"], "", |_, _| Some(Dialect::OpenAiChat)).await;
    for ran in setup.ask_all().await {
        ran.answer();
        assert!(ran.took < SLACK, "{ran}");
        assert_eq!(ran.asked, [1, 0], "{ran}");
    }
}

/// S12. The prompt is too long: never the same target again; one with a larger window answers, or the client is told.
#[tokio::test]
async fn s12_a_prompt_that_is_too_long_needs_a_larger_window() {
    let larger = setup(&["echo+context-length, context = 128000", "echo, context = 1000000"], "").await;
    for ran in larger.ask_all().await {
        ran.answer();
        assert_eq!(ran.asked, [1, 1], "{ran}");
    }
    let no_larger = setup(&["echo+context-length, context = 128000", "echo, context = 128000"], "").await;
    for ran in no_larger.ask_all().await {
        ran.honest_error();
        assert_eq!((ran.reply.status, &ran.asked[..]), (400, &[1, 0][..]), "{ran}");
        let Heard::Refused(_, error) = &ran.heard else { panic!("{ran}: {:?}", ran.heard) };
        assert!(error.message.contains("too long"), "{ran}: {error}");
    }
}

/// S13. The content filter refuses: nobody else is asked, and the provider's reason is told; unless the operator says so.
#[tokio::test]
async fn s13_a_content_filter_is_not_circumvented() {
    let default = setup(&["echo+content-filter", "echo"], "").await;
    for ran in default.ask_all().await {
        ran.honest_error();
        assert_eq!((ran.reply.status, &ran.asked[..]), (400, &[1, 0][..]), "{ran}");
        let Heard::Refused(_, error) = &ran.heard else { panic!("{ran}: {:?}", ran.heard) };
        assert!(error.message.contains("content policy"), "{ran}: {error}");
    }
    // Not every dialect says why it refuses: Chat Completions does.
    let settings = "retry = { on = [\"content_filter\"] }";
    let asked_for = setup_with(&["echo+content-filter", "echo"], settings, |_, target| {
        (target == 0).then_some(Dialect::OpenAiChat)
    })
    .await;
    for ran in asked_for.ask_all().await {
        ran.answer();
        assert_eq!(ran.asked, [1, 1], "{ran}");
    }
}

/// S13, for providers that answer 200 and keep back what they would say.
#[tokio::test]
async fn s13_an_answer_that_is_kept_back_is_not_circumvented() {
    let targets = &["echo+content-filter-after-0", "echo"];
    // Cohere's word for it is read as an error.
    let has_word = |ran: &Ran| ![ran.case.client, ran.case.dialect_of(0)].contains(&Dialect::Cohere);
    for ran in setup(targets, "").await.ask_all().await {
        if has_word(&ran) {
            assert_eq!((ran.reply.status, &ran.asked[..]), (200, &[1, 0][..]), "{ran}");
            assert!(matches!(&ran.heard, Heard::Answer(answer) if answer.text.is_empty()), "{ran}: {:?}", ran.heard);
        }
    }
    for on_cut in ["error", "buffer", "continue"] {
        let settings = format!("retry = {{ on = [\"content_filter\", \"5xx\"] }}\non_cut = \"{on_cut}\"");
        for ran in setup(targets, &settings).await.ask_all().await {
            ran.answer();
            assert_eq!(ran.asked, [1, 1], "{on_cut}: {ran}");
        }
    }
    // With nobody else to ask, or behind the first words, it is what the client gets.
    let settings = "retry = { on = [\"content_filter\"] }";
    for targets in [&["echo+content-filter-after-0"][..], &["echo+content-filter-after-3", "echo"]] {
        for ran in setup(targets, settings).await.ask_all().await {
            if has_word(&ran) {
                let Heard::Answer(answer) = &ran.heard else { panic!("{ran}: {:?}", ran.heard) };
                assert!(PROMPT.starts_with(&answer.text) && answer.text.len() < 30, "{ran}: {answer:?}");
                assert_eq!(ran.asked.iter().sum::<u64>(), 1, "{ran}");
            }
        }
    }
}

/// S14. The stream is cut, and the only other target refuses to go on with an answer that has begun: its refusal is never what
/// the client is told. What was waited for is answered from the beginning.
#[tokio::test]
async fn s14_a_refused_prefill_hides_nothing() {
    for (on_cut, prefill) in [("error", false), ("continue", false), ("continue", true), ("buffer", false)] {
        let refusing: &'static str = match prefill {
            true => "echo+no-prefill, traits = { prefill = true }",
            false => "echo+no-prefill, traits = { prefill = false }",
        };
        let settings = format!("on_cut = \"{on_cut}\"");
        let setup = setup(&["echo+cut-after-40", refusing], &settings).await;
        for ran in setup.ask_all().await {
            if on_cut == "buffer" || !ran.case.stream {
                ran.answer();
                continue;
            }
            ran.honest_error();
            let Heard::Told(_, error) = &ran.heard else { panic!("{on_cut} {prefill}: {ran}: {:?}", ran.heard) };
            assert!(!error.message.contains("prefill"), "{on_cut} {prefill}: {ran}: {error}");
            assert_ne!(error.kind, ErrorKind::InvalidRequest, "{on_cut} {prefill}: {ran}: {error}");
        }
    }
}

/// S15. The first target is down for a while, here for six requests: every client is answered all along, few requests find out
/// that it is down, and it is used again within 30 s.
#[tokio::test]
async fn s15_a_target_that_was_down_is_used_again() {
    let setup = setup(&["echo+status-503+first-6", "echo"], "").await;
    let flap = |case: setup::Case| {
        let setup = &setup;
        async move {
            let begun = Instant::now();
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            for requests in 1_u64.. {
                pace.tick().await;
                let ran = setup.ask(&case).await;
                ran.answer();
                assert!(begun.elapsed() < Duration::from_secs(30), "{ran}: not used again after {requests} requests");
                if ran.by(0) {
                    let asked = setup.asked_of(&case).await;
                    assert_eq!(asked, [7, requests - 1], "{ran}");
                    assert!(requests > 2 * asked[0], "{ran}: asked {} times in {requests} requests", asked[0]);
                    // Its answer was there before the gateway had drawn its conclusion.
                    setup.gateway.log_of(ran.reply.header("x-request-id")).await;
                    break;
                }
            }
            for _ in 0..3 {
                let ran = setup.ask(&case).await;
                ran.answer();
                assert!(ran.by(0), "{ran}: back at the other");
            }
        }
    };
    futures::future::join_all(setup.cases().to_vec().into_iter().map(flap)).await;
}

/// S16. 503 always: the answer names the model that gave it and says what it used, and nothing else is accounted for.
#[tokio::test]
async fn s16_the_answer_is_accounted_to_who_gave_it() {
    let setup = setup(&["echo+status-503", "echo"], "").await;
    let mut names = std::collections::HashMap::new();
    for ran in setup.ask_all().await {
        let answer = ran.answer();
        let fallback = setup.upstream(&ran.case, 1);
        // Bedrock and Cohere do not name it.
        let named = !matches!(ran.case.client, Dialect::Bedrock | Dialect::Cohere);
        assert_eq!(answer.model.as_deref(), named.then_some(&*fallback), "{ran}");
        assert!(ran.asked[0] <= 6, "{ran}");
        names.insert(ran.reply.header("x-request-id").to_owned(), (fallback, answer.tokens));
    }
    setup.gateway.at_rest().await;
    let (attempts, output) = (
        setup.gateway.counted("gateway_attempts_total", "outcome=\"ok\"").await,
        setup.gateway.counted("gen_ai_client_token_usage_token_sum", "=\"output\"").await,
    );
    assert_eq!(attempts, names.len() as u64);
    assert_eq!(output, names.values().map(|(_, tokens)| tokens.unwrap().1).sum::<u64>());
    for line in setup.gateway.final_log().await {
        let (model, tokens) = names.remove(line["id"].as_str().unwrap()).unwrap();
        assert_eq!(line["upstream_model"], *model, "{line}");
        let (input, output) = tokens.unwrap();
        assert_eq!((line["tokens"]["input"].as_u64(), line["tokens"]["output"].as_u64()), (Some(input), Some(output)));
        let ends: Vec<_> = line["attempts"].as_array().unwrap().iter().map(|a| &a["outcome"]).collect();
        assert!(ends.iter().filter(|end| **end == "ok").count() == 1 && *ends[ends.len() - 1] == "ok", "{line}");
    }
    assert!(names.is_empty(), "not logged: {names:?}");
}

/// All targets rest: the client is told at once, when to come back and why each of them does.
#[tokio::test]
async fn all_targets_rest() {
    let rest = "health = { cooldown = \"1m\", max_cooldown = \"1m\" }\n";
    let targets = ["echo+status-503", "echo+status-500"];
    let setup = setup_at(rest, &targets, "retry = { same_target = false }", |_, _| None).await;
    for _ in 0..5 {
        for ran in setup.ask_all().await {
            ran.honest_error();
        }
    }
    for ran in setup.ask_all().await {
        ran.honest_error();
        assert!(ran.asked.iter().all(|asked| *asked <= 6), "{ran}");
        assert!(matches!(ran.reply.status, 503 | 529), "{ran}: {}", ran.reply.status);
        let wait: u64 = ran.reply.header("retry-after").parse().unwrap_or_else(|e| panic!("{ran}: retry-after: {e}"));
        assert!((1..=60).contains(&wait), "{ran}: {wait}");
        let Heard::Refused(_, error) = &ran.heard else { panic!("{ran}: {:?}", ran.heard) };
        for target in 0..2 {
            let provider = format!("p-{}", ran.case.dialect_of(target));
            assert!(error.message.contains(&provider), "{ran}: no word of {provider}: {error}");
        }
    }
}
