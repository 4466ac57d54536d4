//! The plugins that look for something, at work on requests and on the streams of answers: whatever the cut, the result is the same.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken test shall stop")]

mod random;

use std::sync::Arc;

use ai_gateway_plugins::internal::Stage;
use ai_gateway_plugins::providers::{Dialect, Operation};
use ai_gateway_plugins::{
    About, Context, End, Finish, Flow, NoHost, Part, PartKind, Plugin, Registry, Rejection, Request, Settings,
    TextHook, Verdict,
};
use bytes::Bytes;

const SET: &str = include_str!("../data/pii.tsv");

fn plugin(kind: &str, settings: &str) -> Arc<dyn Plugin> {
    Registry::default().build(kind, &Settings::of(settings)).unwrap().unwrap()
}

fn context() -> Context {
    Context::alone(About::new(Dialect::OpenAiChat, Operation::Chat, Arc::new(NoHost)))
}

/// Polls what never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn chat(messages: &serde_json::Value) -> Request {
    let body = serde_json::json!({ "model": "m", "messages": messages }).to_string();
    Request::new(Dialect::OpenAiChat, Operation::Chat, http::HeaderMap::new(), Bytes::from(body))
}

fn ask(plugin: &dyn Plugin, cx: &Context, text: &str) -> (Verdict, String) {
    let mut request = chat(&serde_json::json!([{ "role": "user", "content": text }]));
    let verdict = ready(plugin.on_request(&mut request, cx)).unwrap();
    let body: serde_json::Value = serde_json::from_slice(request.json()).unwrap();
    (verdict, body["messages"][0]["content"].as_str().unwrap().to_owned())
}

/// What the client gets of an answer that comes in `pieces`.
fn answer(hook: &mut dyn TextHook, kind: PartKind, pieces: &[&str], hold: usize) -> Result<String, Rejection> {
    let (mut stage, mut out) = (Stage::default(), String::new());
    let part = Part::new(0, 0, kind);
    for piece in pieces {
        if let Flow::Refuse(rejection) =
            stage.feed(part, piece, false, hold, hook, &mut |text| out.push_str(text)).unwrap()
        {
            return Err(rejection);
        }
    }
    match stage.feed(part, "", true, hold, hook, &mut |text| out.push_str(text)).unwrap() {
        Flow::Refuse(rejection) => Err(rejection),
        Flow::Pass => Ok(out),
    }
}

/// The texts of the labelled set, without their marks.
fn texts() -> impl Iterator<Item = String> {
    SET.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (mut text, marked) = (String::new(), line.split_once('\t').unwrap().1.replace("\\n", "\n"));
        for part in marked.split("{{") {
            match part.split_once("}}") {
                Some((label, rest)) => text.extend([label.split_once('|').unwrap().1, rest]),
                None => text.push_str(part),
            }
        }
        text
    })
}

fn pairs(text: &str) -> impl Iterator<Item = [&str; 2]> {
    text.char_indices().map(|(at, _)| text.split_at(at).into())
}

#[test]
fn what_was_masked_comes_back_exactly_from_every_cut() {
    let pii = plugin("pii", "");
    let hold = pii.needs().text.unwrap();
    let mut masked_lines = 0;
    for text in texts() {
        let cx = context();
        let (verdict, masked) = ask(&*pii, &cx, &text);
        assert_eq!(verdict, Verdict::Pass);
        if masked == text {
            assert!(pii.restore_hook(&cx).is_none(), "nothing to do, nothing done");
            continue;
        }
        masked_lines += 1;
        assert!(pii.text_hook(&cx).is_none(), "it looks at requests only");
        for pieces in pairs(&masked) {
            let mut hook = pii.restore_hook(&cx).unwrap();
            assert_eq!(answer(&mut *hook, PartKind::Text, &pieces, hold).unwrap(), text, "{pieces:?}");
        }
        // In the arguments of a tool they stay JSON.
        let arguments = serde_json::json!({ "a": [masked], "b": 1 }).to_string();
        for pieces in pairs(&arguments).step_by(7) {
            let mut hook = pii.restore_hook(&cx).unwrap();
            let back = answer(&mut *hook, PartKind::Arguments, &pieces, hold).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&back).unwrap()["a"][0], *text);
        }
    }
    assert!(masked_lines > 250, "{masked_lines}");
}

#[test]
fn what_an_answer_tells_is_redacted_the_same_from_every_cut() {
    for (kind, settings) in [("pii", "action = 'redact'\non = ['answer']"), ("secrets", "")] {
        let guard = plugin(kind, settings);
        let hold = guard.needs().text.unwrap();
        let cx = context();
        let run = |kind, pieces: &[&str]| answer(&mut *guard.text_hook(&cx).unwrap(), kind, pieces, hold).unwrap();
        for text in texts() {
            let whole = run(PartKind::Text, &[&text]);
            for pieces in pairs(&text) {
                assert_eq!(run(PartKind::Text, &pieces), whole, "{pieces:?}");
            }
            let arguments = serde_json::json!({ "text": text, "n": 4111111111111111_u64 }).to_string();
            let whole = run(PartKind::Arguments, &[&arguments]);
            assert!(serde_json::from_str::<serde_json::Value>(&whole).is_ok(), "{whole}");
            for pieces in pairs(&arguments).step_by(5) {
                assert_eq!(run(PartKind::Arguments, &pieces), whole, "{pieces:?}");
            }
        }
    }
}

/// The name of a secret, or the sign of a URL, may be a part of what was found before it and has gone out.
#[test]
fn what_tells_of_a_secret_may_have_been_found_as_something_else() {
    let guard = plugin("pii", "action = 'redact'\non = ['answer']\nkinds = ['email', 'national_id', 'secret', 'ip']");
    let hold = guard.needs().text.unwrap();
    let cx = context();
    let run = |pieces: &[&str]| answer(&mut *guard.text_hook(&cx).unwrap(), PartKind::Text, pieces, hold).unwrap();
    for (text, redacted) in [
        ("a@b.compassword: 123-45-6789-----BEGIN PRIVATE KEY-----", "[EMAIL]: [SECRET] PRIVATE KEY-----"),
        ("10.0.0.1.password: Pa55word!x", "[IP].password: [SECRET]"),
        ("https://10.0.0.1:Pa55word@host.com/", "https://[IP]:[SECRET]@host.com/"),
    ] {
        for pieces in pairs(text) {
            assert_eq!(run(&pieces), redacted, "{pieces:?}");
        }
    }
}

/// Three digits behind a comma are of the number before it, but not if a fourth comes.
#[test]
fn what_comes_behind_a_comma_may_be_a_number_of_its_own() {
    let guard = plugin("pii", "action = 'redact'\non = ['answer']\nkinds = ['national_id']");
    let hold = guard.needs().text.unwrap();
    let cx = context();
    let run = |pieces: &[&str]| answer(&mut *guard.text_hook(&cx).unwrap(), PartKind::Text, pieces, hold).unwrap();
    let text = "é4111,12345678Z";
    for pieces in pairs(text) {
        assert_eq!(run(&pieces), "é4111,[NATIONAL_ID]", "{pieces:?}");
    }
}

/// A line that only begins as the last one of a key does, and a first line that is none.
#[test]
fn where_a_private_key_ends_does_not_depend_on_the_cut() {
    let guard = plugin("secrets", "");
    let hold = guard.needs().text.unwrap();
    let cx = context();
    let run = |pieces: &[&str]| answer(&mut *guard.text_hook(&cx).unwrap(), PartKind::Text, pieces, hold).unwrap();
    let key = "MIIBVgIBADANBgkqhkiG9w0BAQEFAASCAUAwggE8AgEAAkEAq7BFUpkGp3+LQmlQYx2eqzDV+xeG8kx".repeat(2);
    for (text, redacted) in [
        (format!("-----BEGIN PRIVATE KEY-----\n-----END {key}@b.com"), "[PRIVATE_KEY]@b.com"),
        (format!("-----BEGIN PRIVATE KEY-----\n-----END {key}\n-----END PRIVATE KEY-----."), "[PRIVATE_KEY]."),
        ("-----BEGIN PRIVATE KEY, they say-----".to_owned(), "-----BEGIN PRIVATE KEY, they say-----"),
    ] {
        for pieces in pairs(&text) {
            assert_eq!(run(&pieces), redacted, "{pieces:?}");
        }
    }
}

#[test]
fn placeholders_are_stable_and_never_mistaken() {
    let pii = plugin("pii", "");
    let cx = context();
    let (_, masked) = ask(&*pii, &cx, "a@b.com, c@d.com, a@b.com; I wrote [EMAIL_1] myself");
    assert_eq!(masked, "[EMAIL_2], [EMAIL_3], [EMAIL_2]; I wrote [EMAIL_1] myself");
    let mut hook = pii.restore_hook(&cx).unwrap();
    let back = answer(&mut *hook, PartKind::Text, &["[EMAIL_1] [EMA", "IL_2]", " [EMAIL_33] [EMAIL_3"], 64).unwrap();
    assert_eq!(back, "[EMAIL_1] a@b.com [EMAIL_33] [EMAIL_3");
}

/// What the provider keeps has placeholders of its own, which stand for what nobody here knows any more.
#[test]
fn a_turn_that_follows_a_stored_one_shares_no_placeholder_with_it() {
    let pii = plugin("pii", "");
    let masked = |previous: serde_json::Value| {
        let body = serde_json::json!({ "model": "m", "input": "I am a@b.com", "previous_response_id": previous });
        let headers = http::HeaderMap::new();
        let mut request = Request::new(Dialect::OpenAiResponses, Operation::Chat, headers, body.to_string().into());
        ready(pii.on_request(&mut request, &context())).unwrap();
        let body: serde_json::Value = serde_json::from_slice(request.json()).unwrap();
        let number = body["input"].as_str().unwrap().strip_prefix("I am [EMAIL_").unwrap().strip_suffix(']').unwrap();
        number.parse::<usize>().unwrap()
    };
    assert_eq!(masked(serde_json::Value::Null), 1);
    assert!(masked("resp_1".into()) > 1000);
}

#[test]
fn reasoning_of_earlier_turns_becomes_what_was_signed() {
    let pii = plugin("pii", "");
    let mut request = Request::new(
        Dialect::Anthropic,
        Operation::Chat,
        http::HeaderMap::new(),
        serde_json::json!({ "model": "m", "messages": [
            { "role": "user", "content": "I am a@b.com" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "a@b.com, or x@y.com?", "signature": "s" },
                { "type": "tool_use", "id": "1", "name": "f", "input": { "to": "a@b.com", "card": 4111111111111111_u64 } },
            ] },
        ] })
        .to_string()
        .into(),
    );
    ready(pii.on_request(&mut request, &context())).unwrap();
    let body: serde_json::Value = serde_json::from_slice(request.json()).unwrap();
    assert_eq!(body["messages"][1]["content"][0]["thinking"], "[EMAIL_1], or x@y.com?");
    assert_eq!(
        body["messages"][1]["content"][1]["input"],
        serde_json::json!({ "to": "[EMAIL_1]", "card": "[CARD_1]" })
    );
}

#[test]
fn reasoning_that_nobody_signed_is_a_text_like_others() {
    let pii = plugin("pii", "");
    let turn = |more: serde_json::Value| {
        let mut message = serde_json::json!({ "role": "assistant", "content": r#""signature": none"#,
            "reasoning_content": "the user is joe@example.com" });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut request = chat(&serde_json::json!([message, { "role": "user", "content": "my signature" }]));
        ready(pii.on_request(&mut request, &context())).unwrap();
        let body: serde_json::Value = serde_json::from_slice(request.json()).unwrap();
        body["messages"][0]["reasoning_content"].as_str().unwrap().to_owned()
    };
    assert_eq!(turn(serde_json::json!({})), "the user is [EMAIL_1]");
    let signed = serde_json::json!({ "reasoning_details": [{ "type": "reasoning.encrypted", "data": "x" }] });
    assert_eq!(turn(signed), "the user is joe@example.com");
}

/// Python's `json.dumps` escapes whatever is not ASCII, and so do models.
#[test]
fn what_is_escaped_in_arguments_is_no_less_found() {
    let deny = plugin("deny", "words = ['机密', 'münchen', 'falcon']");
    let arguments = [r#"{"q": "\u673a\u5bc6"}"#, r#"{"q": "in M\u00fcnchen"}"#, r#"{"q": "f\u0061lcon"}"#];
    let asks = |dialect, body: String| Request::new(dialect, Operation::Chat, http::HeaderMap::new(), body.into());
    for input in arguments {
        let block = format!(r#"{{"type":"tool_use","id":"1","name":"f","input":{input}}}"#);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"assistant","content":[{block}]}}]}}"#);
        let verdict = ready(deny.on_request(&mut asks(Dialect::Anthropic, body), &context())).unwrap();
        assert!(matches!(verdict, Verdict::Reject(_)), "{input}");
        let call =
            serde_json::json!({ "id": "1", "type": "function", "function": { "name": "f", "arguments": input } });
        let message = serde_json::json!({ "role": "assistant", "tool_calls": [call] });
        let verdict = ready(deny.on_request(&mut chat(&serde_json::json!([message])), &context())).unwrap();
        assert!(matches!(verdict, Verdict::Reject(_)), "{input}");
        for pieces in pairs(input) {
            let mut hook = deny.text_hook(&context()).unwrap();
            answer(&mut *hook, PartKind::Arguments, &pieces, deny.needs().text.unwrap()).unwrap_err();
        }
    }
    let (pii, cx) = (plugin("pii", ""), context());
    let body = r#"{"model":"m","messages":[{"role":"assistant","content":[
        {"type":"tool_use","id":"1","name":"f","input":{"q":"joe\u0040example.com"}}]}]}"#;
    let mut request = asks(Dialect::Anthropic, body.to_owned());
    ready(pii.on_request(&mut request, &cx)).unwrap();
    assert_eq!(*request.json(), body.replace(r"joe\u0040example.com", "[EMAIL_1]"));
    let said = r#"{"to":"[EMAIL\u005f1]"}"#;
    for pieces in pairs(said) {
        let mut hook = pii.restore_hook(&cx).unwrap();
        let back = answer(&mut *hook, PartKind::Arguments, &pieces, pii.needs().text.unwrap()).unwrap();
        assert_eq!(back, r#"{"to":"joe@example.com"}"#);
    }
}

#[test]
fn a_stream_that_says_what_is_denied_ends_before_it() {
    let deny = plugin("deny", "words = ['project falcon']\npatterns = ['\\bACME-\\d{6}\\b']\nmessage = 'no'");
    let hold = deny.needs().text.unwrap();
    for bad in ["it is Project  Falcon.", "see ACME-123456!"] {
        for pieces in pairs(bad) {
            let mut hook = deny.text_hook(&context()).unwrap();
            assert_eq!(answer(&mut *hook, PartKind::Text, &pieces, hold).unwrap_err().message, "no");
        }
    }
    let mut hook = deny.text_hook(&context()).unwrap();
    assert_eq!(answer(&mut *hook, PartKind::Text, &["a project", " falconer"], hold).unwrap(), "a project falconer");
    let (verdict, _) = ask(&*deny, &context(), "PROJECT FALCON?");
    assert_eq!(verdict, Verdict::reject(403, "no"));
}

fn prompted(settings: &str, dialect: Dialect, body: &serde_json::Value) -> serde_json::Value {
    let mut request = Request::new(dialect, Operation::Chat, http::HeaderMap::new(), body.to_string().into());
    assert_eq!(ready(plugin("prompt", settings).on_request(&mut request, &context())).unwrap(), Verdict::Pass);
    serde_json::from_slice(request.json()).unwrap()
}

#[test]
fn properties_fill_all_that_names_them_and_go_no_further() {
    let message = |role: &str, text: &str| serde_json::json!({ "role": role, "content": text });
    let system = "system = 'lang={{properties.lang}}'";
    for (settings, text, told) in [
        (format!("{system}\ntemplates = {{ t = 'T {{{{properties.lang}}}}' }}"), "{template://t}", "T de"),
        (system.to_owned(), "hi", "hi"),
        (format!("{system}\nbefore = '({{{{properties.lang}}}}) '"), "hi", "(de) hi"),
    ] {
        let body =
            serde_json::json!({ "model": "m", "properties": { "lang": "de" }, "messages": [message("user", text)] });
        let messages = [message("system", "lang=de"), message("user", told)];
        let made = serde_json::json!({ "model": "m", "messages": messages });
        assert_eq!(prompted(&settings, Dialect::OpenAiChat, &body), made, "{settings}");
    }
    // Whoever does not ask for them leaves them alone.
    let body = serde_json::json!({ "model": "m", "properties": {}, "messages": [] });
    assert_eq!(prompted("before = 'B'", Dialect::OpenAiChat, &body), body);
}

#[test]
fn the_users_message_is_decorated_and_no_document() {
    let body = |text: &str| {
        serde_json::json!({
            "model": "m", "messages": [{ "role": "user", "content": text }], "documents": ["some doc", { "data": { "a": "b" } }]
        })
    };
    assert_eq!(prompted("before = '<'\nafter = '>'", Dialect::Cohere, &body("why?")), body("<why?>"));
}

#[test]
fn only_what_is_allowed_passes() {
    let allow = plugin("allow", "words = ['invoice']\npatterns = ['(?i)refund']\nmessage = 'ask about invoices'");
    for (text, passes) in [("My INVOICE?", true), ("refunds", true), ("a poem", false)] {
        let (verdict, _) = ask(&*allow, &context(), text);
        assert_eq!(verdict == Verdict::Pass, passes, "{text}");
    }
    let messages = serde_json::json!([
        { "role": "user", "content": "my invoice" },
        { "role": "assistant", "content": "invoice" },
        { "role": "user", "content": [{ "type": "text", "text": "and now" }, { "type": "text", "text": "a poem" }] },
    ]);
    let verdict = ready(allow.on_request(&mut chat(&messages), &context())).unwrap();
    assert_eq!(verdict, Verdict::reject(403, "ask about invoices"));
}

/// Nobody can look at what is written as tokens.
#[test]
fn tokens_pass_only_where_that_is_allowed() {
    let guards = [
        ("pii", ""),
        ("secrets", ""),
        ("deny", "words = ['falcon']\n"),
        ("moderation", "model = 'm'\n"),
        ("injection", "action = 'reject'\n"),
        ("language", "allow = ['en']\n"),
        ("webhook", "url = 'http://127.0.0.1:1/'\n"),
        ("allow", "words = ['falcon']\n"),
    ];
    let judge = |kind: &str, settings: &str, body: &str| {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let mut request = Request::new(Dialect::OpenAiChat, Operation::Embeddings, http::HeaderMap::new(), body);
        let cx = context();
        let verdict = ready(plugin(kind, settings).on_request(&mut request, &cx));
        (verdict, cx.tags().iter().any(|tag| (&*tag.name, &*tag.value) == ("unseen", "tokens")))
    };
    for (kind, settings) in guards {
        for body in [r#"{"input":[[9906, 1917]]}"#, r#"{"input":["falcon",[1]]}"#] {
            let (verdict, tagged) = judge(kind, settings, body);
            let Ok(Verdict::Reject(rejection)) = verdict else { panic!("{kind}: {verdict:?}") };
            if kind != "allow" {
                assert!(tagged && rejection.status == 400 && rejection.message.contains("tokens"), "{rejection:?}");
            }
        }
    }
    let tokens = r#"{"input":[[9906, 1917]]}"#;
    for (kind, settings) in guards.into_iter().take(6) {
        let passes = format!("{settings}tokens = 'pass'");
        assert_eq!(judge(kind, &passes, tokens), (Ok(Verdict::Pass), true), "{kind}");
    }
    assert_eq!(judge("deny", "words = ['falcon']\naction = 'report'", tokens), (Ok(Verdict::Pass), true));
    assert_eq!(judge("injection", "", tokens), (Ok(Verdict::Pass), true));
    let (verdict, tagged) = judge("deny", "words = ['falcon']\ntokens = 'pass'", r#"{"input":["falcon",[1]]}"#);
    assert!(tagged && matches!(verdict, Ok(Verdict::Reject(_))), "what can be seen is looked at: {verdict:?}");
}

/// What a client calls its question does not make it something that nobody looks for.
#[test]
fn what_asks_nothing_is_not_allowed() {
    let allow = plugin("allow", "words = ['invoice']");
    let verdict = |dialect, operation, body: &str| {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let mut request = Request::new(dialect, operation, http::HeaderMap::new(), body);
        ready(allow.on_request(&mut request, &context())).unwrap() == Verdict::Pass
    };
    for refused in [
        r#"{"messages":[{"role":"system","content":"a poem"}]}"#,
        r#"{"messages":[{"role":"user","content":"a poem","thought":true}]}"#,
        r#"{"messages":[{"role":"user","content":"a poem"}],"query":"invoice"}"#,
        r#"{"messages":[{"role":"user","content":"a poem"}],"contents":[{"role":"user","parts":[{"text":"invoice"}]}]}"#,
        r#"{"messages":[]}"#,
    ] {
        assert!(!verdict(Dialect::OpenAiChat, Operation::Chat, refused), "{refused}");
    }
    assert!(!verdict(Dialect::OpenAiChat, Operation::Embeddings, r#"{"input":[1,2,3]}"#));
    let result = r#"{"type":"function_call_output","call_id":"1","output":"o"}"#;
    let results = |more| format!(r#"{{"input":[{result}]{more}}}"#);
    assert!(verdict(Dialect::OpenAiResponses, Operation::Chat, &results(r#","previous_response_id":"resp_1""#)));
    assert!(!verdict(Dialect::OpenAiResponses, Operation::Chat, &results("")));
    assert!(verdict(Dialect::OpenAiResponses, Operation::Stored, ""), "there is nothing to say");
}

#[test]
fn settings_that_make_no_sense_are_refused_at_their_place() {
    for (kind, settings, place, message) in [
        ("pii", "kinds = ['email', 'shoe_size']", "'shoe_size'", "not known here"),
        ("pii", "countries = ['xx']", "'xx'", "not known here"),
        ("pii", "status = 200", "200", "a rejection has a status from 400 to 499"),
        ("pii", "colour = 1", "colour", "unknown field"),
        ("pii", "on = []", "", "`on` is empty"),
        ("webhook", "url = 'nowhere'", "'nowhere'", "this is no URL"),
        ("webhook", "url = 'http://a'\nwindow = 0", "0", "`window` must be more than zero"),
        ("webhook", "url = 'http://a'\nwindow = '65KiB'", "'65KiB'", "`window` is at most 64KiB"),
        ("moderation", "model = 'm'\nwindow = 'wide'", "'wide'", "`wide` is not a size"),
        ("moderation", "model = ''", "''", "`model` is empty"),
        ("moderation", "model = 'm'\nthreshold = 2.0", "2.0", "scores are from 0 to 1"),
        ("language", "allow = ['xx']", "'xx'", "not known here"),
        ("language", "allow = ['en']\ndeny = ['de']", "", "this entry says both `allow` and `deny`"),
        ("language", "", "", "this entry says neither `allow` nor `deny`"),
        ("prompt", "system = 'hi {{nobody}}'", "'hi {{nobody}}'", "there is no variable `nobody`"),
        ("prompt", "", "", "it says nothing"),
        ("body", "set = { 'a..b' = 1 }", "{ 'a..b' = 1 }", "`a..b` is no path"),
        ("body", "", "", "it changes nothing"),
        ("log", "", "", "this entry says neither `file` nor `url`"),
        ("log", "file = 'a'\nurl = 'http://a'", "", "this entry says both `file` and `url`"),
        ("log", "file = 'a'\nmemory = 0", "0", "`memory` must be more than zero"),
        ("size", "body_bytes = '4 potatoes'", "'4 potatoes'", "`4 potatoes` is not a size"),
        ("size", "answer_bytes = -1", "-1", "a size such as"),
        ("headers", "answer = { set = { x-a = \"b\\n\" } }", "\"b\\n\"", "the value of `x-a` cannot stand in a header"),
        ("log", "file = 'a'\nredact = ['x']", "['x']", "not known here"),
        ("log", "file = 'a'\nmost = 'much'", "'much'", "`much` is not a size"),
        ("secrets", "action = 'eat'", "'eat'", "unknown variant"),
        ("deny", "", "", "it looks for nothing"),
        ("deny", "words = ['a', ' ']", "' '", "a word is empty"),
        ("deny", "patterns = ['(']", "'('", "this is not a regular expression: unclosed group"),
        ("deny", "patterns = ['a*']", "'a*'", "it matches the empty text"),
        ("deny", "words = ['a']\naction = 'mask'", "'mask'", "what is denied does not come back"),
        ("deny", "words = ['a']\nreach = 0", "0", "`reach` must be more than zero"),
        ("deny", "words = ['a']\nreach = '1MiB'", "'1MiB'", "`reach` is at most 16KiB"),
    ] {
        let error = Registry::default().build(kind, &Settings::of(settings)).unwrap().err().unwrap();
        assert!(error.message.contains(message), "{kind}: {error}");
        assert_eq!(error.span.clone().map_or("", |span| &settings[span]), place, "{kind} {settings}: {error}");
    }
}

/// As sizes are spelt everywhere, and as a number of bytes in files that say one.
#[test]
fn sizes_are_texts_or_numbers() {
    for (kind, settings) in [
        ("size", "body_bytes = '4MiB'\nanswer_bytes = '1MB'"),
        ("size", "body_bytes = 4000000\nanswer_bytes = 0"),
        ("moderation", "model = 'm'\nwindow = '1KiB'"),
        ("moderation", "model = 'm'\nwindow = 1024"),
        ("webhook", "url = 'http://a'\nwindow = '64KiB'"),
        ("deny", "words = ['a']\nreach = '64B'"),
        ("deny", "words = ['a']\nreach = 64"),
        ("log", "file = 'a'\nmost = 65536\nmemory = '16MiB'"),
    ] {
        let built = Registry::default().build(kind, &Settings::of(settings)).unwrap();
        assert!(built.is_ok(), "{kind} {settings}: {:?}", built.err());
    }
}

/// What lies across the border is redacted as a whole, and nothing behind it comes up.
#[tokio::test]
async fn what_is_cut_is_redacted_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = plugin("log", &format!("file = {path:?}\nmost = '60B'"));
    let cx = context();
    ask(&*log, &cx, "joe.the.longest.of.all@example.com wrote: 4111 1111 1111 1111 and 5500 0000 0000 0004");
    log.on_end(&End::new(200, Finish::Complete), &cx);
    let line: serde_json::Value = loop {
        match serde_json::from_slice(&std::fs::read(&path).unwrap_or_default()) {
            Ok(line) => break line,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(line["request"][0]["text"], "[EMAIL] wrote: [CARD]", "{line}");
}

/// `most` is of an answer, too, and what it leaves out is told.
#[tokio::test]
async fn of_an_answer_no_more_than_the_most_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = plugin("log", &format!("file = {path:?}\nmost = '40B'"));
    let (cx, said) = (context(), "0123456789".repeat(10));
    ask(&*log, &cx, &said);
    let answer = serde_json::json!({
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": said }, "finish_reason": "stop" }],
    });
    for piece in answer.to_string().as_bytes().chunks(7) {
        log.on_bytes(piece, &cx);
    }
    log.on_end(&End::new(200, Finish::Complete), &cx);
    let line: serde_json::Value = loop {
        match serde_json::from_slice(&std::fs::read(&path).unwrap_or_default()) {
            Ok(line) => break line,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let most = &said[..40];
    assert_eq!(line["request"][0]["text"], most, "{line}");
    assert_eq!((&line["answer"][0]["text"], &line["left_out"]), (&most.into(), &60.into()), "{line}");
}
