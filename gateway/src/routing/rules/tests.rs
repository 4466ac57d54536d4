use ai_gateway_providers::{Dialect, Operation};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::config::{Config, System};
use crate::snapshot::{Key, ModelName, Snapshot};

const BASE: &str = "[providers.p]\nkind = 'openai-compatible'\nbase_url = 'http://127.0.0.1:1/v1'\n\
    [models.a]\ntargets = [{ provider = 'p', model = 'a' }]\n[models.b]\ntargets = [{ provider = 'p', model = 'b' }]\n\
    [[keys]]\nname = 'bot'\ntags = ['gold', 'eu']\nteam = 'research'\n\
    hash = 'sha256:62af8704764faf8ea82fc61ce9c4c3908b6cb97d463a634e9e587d7c885db0ef'\n";

fn snapshot(routes: &str) -> Snapshot {
    let loaded = Config::parse(&format!("{BASE}{routes}"), "test.toml", &System).unwrap_or_else(|e| panic!("{e}"));
    Snapshot::of(&loaded.config)
}

/// A request that tests change.
struct Sent {
    headers: HeaderMap,
    key: Option<Arc<Key>>,
    model: Option<ModelName<'static>>,
    path: &'static str,
    dialect: Dialect,
    operation: Operation,
    stream: bool,
    body: String,
}

impl Sent {
    fn plain() -> Self {
        let (dialect, operation) = (Dialect::OpenAiChat, Operation::Chat);
        let path = "/v1/chat/completions";
        let (headers, body) = (HeaderMap::new(), "{}".to_owned());
        Self { headers, key: None, model: Some("gpt-5".into()), path, dialect, operation, stream: false, body }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    fn keyed(mut self, snapshot: &Snapshot) -> Self {
        self.key = Some(snapshot.keys.find(b"test-key", std::time::SystemTime::now()).unwrap());
        self
    }

    fn facts(&self) -> Facts<'_> {
        Facts::new(Asked {
            path: self.path,
            operation: self.operation,
            dialect: self.dialect,
            headers: &self.headers,
            key: self.key.as_deref(),
            model: self.model.as_ref(),
            stream: self.stream,
            json: self.body.as_bytes(),
        })
    }
}

fn decide(snapshot: &Snapshot, sent: &Sent, random: u64) -> Option<Decision> {
    snapshot.rules.decide(&sent.facts(), &mut |bound| random % bound, |_, _| ())
}

/// Whether a rule with this `when` matches.
fn matches(when: &str, sent: &Sent) -> bool {
    let snapshot = snapshot(&format!("[[routes]]\nwhen = {{ {when} }}\nmodel = 'a'"));
    decide(&snapshot, sent, 0).is_some()
}

#[test]
fn every_condition_holds_and_fails() {
    let long = format!(r#"{{"messages":[{{"content":"{}"}}]}}"#, "x".repeat(4000));
    let keyed = Sent::plain().keyed(&snapshot(""));
    let json = |body: &str| Sent::plain().body(body);
    let with = |change: fn(&mut Sent)| {
        let mut sent = Sent::plain();
        change(&mut sent);
        sent
    };
    for (when, yes) in [
        ("path = '/special/*'", with(|sent| sent.path = "/special/chat")),
        ("operation = ['embeddings', 'rerank']", with(|sent| sent.operation = Operation::Rerank)),
        ("dialect = 'anthropic'", with(|sent| sent.dialect = Dialect::Anthropic)),
        ("header = { X-Team = 're*' }", Sent::plain().header("x-team", "other").header("x-team", "research")),
        ("key = ['x', 'bo*']", keyed),
        ("tag = 'gold'", Sent::plain().keyed(&snapshot(""))),
        ("team = 'research'", Sent::plain().keyed(&snapshot(""))),
        ("model = 'claude-*'", with(|sent| sent.model = Some("claude-x".into()))),
        ("stream = true", with(|sent| sent.stream = true)),
        ("images = true", json(r#"{"messages":[{"content":[{"type":"image_url"}]}]}"#)),
        ("tools = true", json(r#"{"tools":[{}]}"#)),
        ("prompt_tokens = { min = 1000, max = 1000 }", json(&long)),
        ("metadata = { env = 'prod*' }", json(r#"{"metadata":{"env":"production"}}"#)),
        ("metadata = { user = 'u' }", json(r#"{"user":"u"}"#)),
        ("metadata = { tags = 'free' }", Sent::plain().header("x-litellm-tags", "gold, free")),
        ("metadata = { env = 'prod' }", Sent::plain().header("x-portkey-metadata", r#"{"env":"prod"}"#)),
        ("cel = 'request.stream'", with(|sent| sent.stream = true)),
        ("not = { model = 'gpt-*', stream = false }", with(|sent| sent.stream = true)),
    ] {
        assert!(matches(when, &yes), "{when}");
        assert!(!matches(when, &Sent::plain()), "{when}: of a plain request");
        let other = if when.starts_with("path") { "team = 'nobody'" } else { "path = '/other'" };
        assert!(!matches(&format!("{when}, {other}"), &yes), "{when}: all must hold");
    }
    assert!(!matches("model = '*'", &with(|sent| sent.model = None)), "no name matches no pattern");
}

#[test]
fn a_header_of_any_bytes_is_seen() {
    let mut sent = Sent::plain();
    sent.headers.append("x-a", HeaderValue::from_bytes(b"secret\xe9").unwrap());
    for pattern in ["secret*", "*"] {
        assert!(matches(&format!("header = {{ x-a = '{pattern}' }}"), &sent), "{pattern}");
    }
}

#[test]
fn the_trace_says_what_failed() {
    let snapshot = snapshot(
        "[[routes]]\nname = 'big'\nwhen = { model = ['gpt-*', 'o3'], prompt_tokens = { min = 9 } }\nmodel = 'a'\n\
         [[routes]]\nwhen = { cel = \"request.headers['x-a'] == 'b'\" }\n[[routes]]\nname = 'rest'\nmodel = 'b'\n\
         [[routes]]\nname = 'unreached'\nmodel = 'b'",
    );
    let sent = Sent::plain();
    let mut trace = Vec::new();
    let decision = snapshot.rules.decide(&sent.facts(), &mut |_| 0, |rule, verdict| {
        trace.push(match verdict {
            Verdict::Matched => format!("{}: matched", rule.name),
            Verdict::Failed(condition) => format!("{}: {condition}", rule.name),
            Verdict::Broke(condition) => format!("{}: broke: {condition}", rule.name),
        });
    });
    let broke = "route-2: broke: cel \"request.headers['x-a'] == 'b'\"";
    assert_eq!(trace, ["big: prompt_tokens >= 9", broke, "rest: matched"]);
    assert_eq!(&*decision.unwrap().rule.name, "rest");
}

#[test]
fn actions() {
    let snapshot = snapshot(
        "[[routes]]\nwhen = { model = '1' }\ntargets = [{ provider = 'p', model = 'x' }]\nname = 'own'\n\
         [[routes]]\nwhen = { model = '2' }\nreject = { message = 'no', status = 451 }\n\
         [[routes]]\nwhen = { model = '3' }\nmodel = 'p/direct'\n\
         [[routes]]\nwhen = { model = '4' }\nmirror = { target = { provider = 'p', model = 'copy' }, percent = 25 }\n\
         headers = { set = { x-a = 'b' }, remove = ['x-title'] }\nbody = { set = { temperature = 0.5, stop = ['a'] }, remove = ['top_p'] }",
    );
    let go = |model: &'static str, random: u64| {
        decide(&snapshot, &Sent { model: Some(model.into()), ..Sent::plain() }, random).unwrap()
    };
    let Destination::Model(model) = go("1", 0).to else { panic!() };
    assert_eq!((&*model.name, &*model.targets[0].model, model.direct), ("own", "x", false));
    let Destination::Rejected { status, message } = go("2", 0).to else { panic!() };
    assert_eq!((status, message.as_str()), (451, "no"));
    let Destination::Model(model) = go("3", 0).to else { panic!() };
    assert_eq!((&*model.name, model.direct), ("p/direct", true));
    let decision = go("4", 249_999);
    assert!(matches!(decision.to, Destination::Asked));
    assert_eq!(&*decision.mirror.unwrap().model, "copy");
    assert!(go("4", 250_000).mirror.is_none());
    let body = decision.rule.body.apply(&bytes::Bytes::from_static(br#"{"top_p":1,"temperature":1}"#));
    assert_eq!(body, r#"{"temperature":0.5,"stop":["a"]}"#);
    assert!(decide(&snapshot, &Sent::plain(), 0).is_none());
}

/// Which side of the canary a request gets.
fn drawn(snapshot: &Snapshot, sent: &Sent, random: u64) -> String {
    match decide(snapshot, sent, random).unwrap().to {
        Destination::Model(model) => model.name.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn splits_keep_to_who_asks() {
    let split = |by: &str| {
        snapshot(&format!(
            "[[routes]]\nname = 'canary'\nby = '{by}'\n\
             split = [{{ model = 'a', percent = 95 }}, {{ model = 'b', percent = 5.0 }}]"
        ))
    };
    // The golden tickets of `split.rs`: alice has 6690, bob 971238.
    let user = split("user");
    for random in [0, 999_999] {
        assert_eq!(drawn(&user, &Sent::plain().body(r#"{"user":"alice"}"#), random), "a");
        assert_eq!(drawn(&user, &Sent::plain().body(r#"{"metadata":{"user_id":"bob"}}"#), random), "b");
    }
    assert_eq!(drawn(&user, &Sent::plain(), 0), "a", "who says no name is drawn");
    assert_eq!(drawn(&user, &Sent::plain(), 999_999), "b");
    for (by, sent) in [("session", Sent::plain().header("x-session-id", "s")), ("key", Sent::plain().keyed(&user))] {
        let snapshot = split(by);
        assert_eq!(drawn(&snapshot, &sent, 0), drawn(&snapshot, &sent, 999_999), "{by}");
    }
    let request = split("request");
    let sent = Sent::plain().body(r#"{"user":"alice"}"#);
    assert_ne!(drawn(&request, &sent, 0), drawn(&request, &sent, 999_999));
}

proptest! {
    /// The rule that decides is the first whose own condition holds.
    #[test]
    fn the_first_match_wins(patterns in prop::collection::vec("[ab*]{0,3}", 0..8), model in prop::sample::select(vec!["a", "b", "ab", "ba", "aab"])) {
        let rules: String = patterns.iter().map(|pattern| format!("[[routes]]\nwhen = {{ model = '{pattern}' }}\n")).collect();
        let snapshot = snapshot(&rules);
        let first = patterns.iter().position(|pattern| crate::config::ModelPattern::new(pattern).matches(model));
        let decided = decide(&snapshot, &Sent { model: Some(model.into()), ..Sent::plain() }, 0);
        prop_assert_eq!(decided.map(|decision| decision.rule.name.to_string()), first.map(|at| format!("route-{}", at + 1)));
    }
}
