//! A webhook that is well, down, slow, and lying.

use std::time::{Duration, Instant};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Reply, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::tls::Authority;
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, run_to_end, unreachable};

use super::{ended, gateway, refused, said};

async fn hears(gateway: &Gateway, dialect: Dialect, text: &str, stream: bool) -> (Heard, Reply) {
    let reply = exchange(gateway.addr, &ask(dialect, &format!("{dialect}/echo"), text, stream)).await;
    (hear(dialect, stream, &reply), reply)
}

fn verdict(event: &str, text: &str) -> String {
    match (event, text) {
        ("request", text) if text.contains("edit") => {
            r#"{"action":"edit","texts":[{"number":0,"text":"edited by the webhook"}],"tags":{"risk":"low"}}"#
                .to_owned()
        }
        ("request", text) if text.contains("refuse") => {
            r#"{"action":"reject","status":451,"message":"GUARD SAYS NO"}"#.to_owned()
        }
        ("request", text) if text.contains("answer") => {
            r#"{"action":"answer","text":"said by the webhook"}"#.to_owned()
        }
        ("answer", text) if text.contains("leak") => r#"{"action":"reject","message":"GUARD SAYS NO"}"#.to_owned(),
        _ => r#"{"action":"pass"}"#.to_owned(),
    }
}

#[tokio::test]
async fn its_verdicts_count_on_every_dialect() {
    let hook = Stub::start(|request| {
        let call = request.json();
        Answer::json(200, verdict(call["event"].as_str().unwrap(), call["texts"][0]["text"].as_str().unwrap()))
    })
    .await;
    let plugin = format!(
        "[[plugins]]\nuse = \"webhook\"\nurl = \"{}/check\"\nsecret = \"env:HOOK\"\non = [\"request\", \"answer\"]\nwindow = 24\nheaders = {{ \"x-tenant\" = \"acme\" }}\n",
        hook.origin()
    );
    let provider = |dialect: Dialect| format!("[providers.{dialect}]\nkind = \"mock\"\ndialects = [\"{dialect}\"]\n");
    let config = format!("{}{plugin}", Dialect::ALL.map(provider).concat());
    let gateway = Gateway::builder().config(&config).env("HOOK", "secret").start().await;
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let what = format!("{dialect}, stream {stream}");
            let (heard, _) = hears(&gateway, dialect, "all is well", stream).await;
            assert_eq!(said(&heard), "all is well", "{what}: {heard:?}");
            let (heard, _) = hears(&gateway, dialect, "edit this", stream).await;
            assert_eq!(said(&heard), "edited by the webhook", "{what}: {heard:?}");
            let (heard, _) = hears(&gateway, dialect, "refuse this", stream).await;
            assert!(refused(&heard, 451), "{what}: {heard:?}");
            let (heard, _) = hears(&gateway, dialect, "answer this", stream).await;
            assert_eq!(said(&heard), "said by the webhook", "{what}: {heard:?}");
            let (heard, reply) =
                hears(&gateway, dialect, "some words come, and then we leak a thing or two", stream).await;
            assert!(ended(&heard, &reply, "leak"), "{what}: {heard:?}");
        }
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    for call in hook.received() {
        assert_eq!((call.method.as_str(), &*call.target, call.header("x-tenant")), ("POST", "/check", "acme"));
        let signed = [call.header("x-gateway-timestamp").as_bytes(), b".", &call.body].concat();
        let signature = hex::decode(call.header("x-gateway-signature").strip_prefix("v1=").unwrap()).unwrap();
        ring::hmac::verify(&key, &signed, &signature).expect("signed");
        assert_eq!(call.json()["version"], 1);
    }
}

/// Its connection is kept, and what it says before its answer is no answer.
#[tokio::test]
async fn it_is_asked_on_one_connection() {
    let pass = r#"{"action":"pass"}"#;
    let hook = Stub::always(Answer::json(200, pass)).await;
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{pass}", pass.len());
    let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n{head}");
    let hasty = Stub::always(Answer::raw(hints)).await;
    let plugin = |hook: &Stub| {
        format!("[[plugins]]\nuse = \"webhook\"\nname = \"h{}\"\nurl = \"{}\"\n", hook.addr.port(), hook.origin())
    };
    let provider = "[providers.openai-chat]\nkind = \"mock\"\n";
    let gateway = Gateway::start(&format!("{provider}{}{}", plugin(&hook), plugin(&hasty))).await;
    for _ in 0..5 {
        let (heard, _) = hears(&gateway, Dialect::OpenAiChat, "all is well", false).await;
        assert_eq!(said(&heard), "all is well", "{heard:?}");
    }
    let connections: Vec<_> = hook.received().iter().map(|call| call.connection).collect();
    assert_eq!((connections, hasty.count()), (vec![0; 5], 5));
}

/// What a plugin answers by itself passes those that stand before it.
#[tokio::test]
async fn its_answer_passes_the_plugins_before_it() {
    let hook = Stub::start(|request| {
        let asked = request.json()["texts"][0]["text"].as_str().unwrap().to_owned();
        Answer::json(200, serde_json::json!({ "action": "answer", "text": format!("you wrote: {asked}") }).to_string())
    })
    .await;
    let plugins = format!(
        "[[plugins]]\nuse = \"headers\"\nanswer = {{ set = {{ x-seen = \"yes\" }} }}\n\
         [[plugins]]\nuse = \"pii\"\n\
         [[plugins]]\nuse = \"deny\"\nwords = [\"falcon\"]\non = [\"answer\"]\nmessage = \"GUARD SAYS NO\"\n\
         [[plugins]]\nuse = \"webhook\"\nurl = \"{}/\"\n\
         [[plugins]]\nuse = \"deny\"\nname = \"behind\"\nwords = [\"wrote\"]\non = [\"answer\"]\n",
        hook.origin()
    );
    let gateway = gateway(&plugins).await;
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let what = format!("{dialect}, stream {stream}");
            let (heard, reply) = hears(&gateway, dialect, "mail ann@example.com", stream).await;
            assert_eq!(said(&heard), "you wrote: mail ann@example.com", "{what}: {heard:?}");
            assert_eq!(reply.header("x-seen"), "yes", "{what}");
            let (heard, reply) = hears(&gateway, dialect, "the falcon, of all", stream).await;
            assert!(ended(&heard, &reply, "of all"), "{what}: {}", reply.text());
        }
    }
    assert!(hook.received().iter().all(|call| !call.json().to_string().contains("ann@")));
}

#[tokio::test]
async fn one_that_fails_is_told_by_on_error_and_nothing_hangs() {
    let never = Gate::new();
    let lie = |body: &str| Answer::json(200, body.to_owned());
    let mut hooks = vec![("down", None)];
    for (what, answer) in [
        ("slow", Answer::status(200).after(&never)),
        ("stalls", Answer::json(200, "{\"action\"").step(Step::Stall)),
        ("fails", Answer::json(500, r#"{"action":"pass"}"#)),
        ("redirects", Answer::status(302).header("location", "/elsewhere")),
        ("no JSON", lie("yes, fine")),
        ("no verdict", lie("{}")),
        ("unknown verdict", lie(r#"{"action":"maybe"}"#)),
        ("a text that is none", lie(r#"{"action":"edit","texts":[{"number":99,"text":"x"}]}"#)),
        ("a status that is none", lie(r#"{"action":"reject","status":200}"#)),
        ("too much", lie(&format!(r#"{{"action":"pass","x":"{}"}}"#, "x".repeat(2 << 20)))),
        ("nonsense", Answer::raw("nonsense\r\n\r\n")),
    ] {
        hooks.push((what, Some(Stub::always(answer).await)));
    }
    let nobody = unreachable::Refusing::new();
    let mut plugins = String::new();
    for (number, (_, hook)) in hooks.iter().enumerate() {
        let url = hook.as_ref().map_or_else(|| format!("http://{}", nobody.addr), Stub::origin);
        for (on_error, on) in [("open", "request"), ("closed", "request"), ("open", "answer"), ("closed", "answer")] {
            plugins.push_str(&format!(
                "[[plugins]]\nuse = \"webhook\"\nname = \"{number}-{on}-{on_error}\"\nurl = \"{url}/\"\non = [\"{on}\"]\nwindow = 8\n\
                 on_error = \"{on_error}\"\ntimeout = \"300ms\"\nwhen = {{ header = {{ \"x-guard\" = \"{number}-{on}-{on_error}\" }} }}\n",
            ));
        }
    }
    let mut gateway = gateway(&plugins).await;
    for (number, (what, _)) in hooks.iter().enumerate() {
        for on in ["request", "answer"] {
            for stream in [false, true] {
                for on_error in ["open", "closed"] {
                    let what = format!("{what}, {on}, stream {stream}, {on_error}");
                    let dialect = Dialect::OpenAiChat;
                    let request = ask(dialect, "openai-chat/echo", "three small words", stream);
                    let request = request.header("x-guard", &format!("{number}-{on}-{on_error}"));
                    let begun = Instant::now();
                    let reply = exchange(gateway.addr, &request).await;
                    assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
                    let heard = hear(dialect, stream, &reply);
                    // A lie about edits or status can be told of requests only; of answers it is as unknown.
                    match on_error {
                        "open" => assert_eq!(said(&heard), "three small words", "{what}: {heard:?}"),
                        _ => assert!(!reply.text().contains("three small"), "{what}: {heard:?} {}", reply.text()),
                    }
                    if on_error == "closed" && on == "request" {
                        assert!(matches!(heard, Heard::Refused(500, _)), "{what}: {heard:?}");
                    }
                }
            }
        }
    }
    gateway.assert_healthy().await;
}

/// Both sides show a certificate, and each knows the other by an authority of its own.
#[tokio::test]
async fn one_that_demands_a_certificate_gets_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let hook =
        Stub::mutual_tls(&authority, |_| Answer::json(200, r#"{"action":"reject","message":"GUARD SAYS NO"}"#)).await;
    let hooks = [
        ("known", format!("tls = {}\n", authority.client_files())),
        ("unknown", format!("tls = {}\n", stranger.client_files())),
        ("nobody", format!("tls = {{ ca = {:?} }}\n", authority.file())),
        ("trusts nobody", String::new()),
    ];
    let plugins = hooks.iter().map(|(name, tls)| {
        let url = hook.origin();
        format!("[[plugins]]\nuse = \"webhook\"\nname = \"{name}\"\nurl = \"{url}\"\n{tls}when = {{ header = {{ \"x-guard\" = \"{name}\" }} }}\n")
    });
    let gateway = gateway(&plugins.collect::<String>()).await;
    for (name, _) in &hooks {
        let request = ask(Dialect::OpenAiChat, "openai-chat/echo", "hi", false).header("x-guard", name);
        let reply = exchange(gateway.addr, &request).await;
        let told = if *name == "known" { "GUARD SAYS NO" } else { "failed, and nothing passes without it" };
        assert!(reply.status >= 400 && reply.text().contains(told), "{name}: {} {}", reply.status, reply.text());
    }
    assert_eq!(hook.count(), 1);
}

#[test]
fn certificates_that_cannot_be_used_are_told_at_their_place() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (own, other) = (authority.client_files(), stranger.client_files());
    let key_of = |files: &str| files.split("key = ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    for (url, tls, place, words) in [
        ("https", own.replace(&key_of(&own), &key_of(&other)), ":6:", "not the private key of `cert`"),
        ("https", "{ cert = \"/nowhere.pem\" }".to_owned(), ":6:16", "`cert` and `key` go together"),
        ("https", "{ ca = \"/nowhere.pem\" }".to_owned(), ":6:14", "nowhere"),
        ("https", format!("{{ ca = {} }}", key_of(&own)), ":6:14", "holds no PEM certificate"),
        ("http", own.clone(), ":6:7", "without https there is no TLS"),
    ] {
        let config = format!(
            "[providers.p]\nkind = \"mock\"\n[[plugins]]\nuse = \"webhook\"\nurl = \"{url}://localhost/\"\ntls = {tls}\n"
        );
        let outcome = run_to_end(&["check", "{config}"], &config, &[]);
        assert_eq!(outcome.code, Some(1), "{tls}: {}", outcome.stdout);
        assert!(outcome.stderr.contains(place) && outcome.stderr.contains(words), "{tls}:\n{}", outcome.stderr);
    }
}

/// One that takes longer to judge than a server of tokens may be silent has its time all the same.
#[tokio::test]
async fn one_that_takes_its_time_has_it() {
    let pass = Step::Send(r#"{"action":"pass"}"#.into());
    let hook = Stub::always(Answer::status(200).step(Step::Pause(Duration::from_millis(8_500))).step(pass)).await;
    let gateway =
        gateway(&format!("[[plugins]]\nuse = \"webhook\"\nurl = \"{}\"\ntimeout = \"25s\"\n", hook.origin())).await;
    let (heard, reply) = hears(&gateway, Dialect::OpenAiChat, "all is well", false).await;
    assert_eq!(said(&heard), "all is well", "{}", reply.text());
}
