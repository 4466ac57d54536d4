use std::sync::Arc;

use ai_gateway_providers::endpoint::match_endpoint;
use ai_gateway_providers::scan::{cache_field, scan_json};
use http::{HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::cache::{Fingerprint, Form, Payer};
use crate::config::{CacheScope, Config, KeyConfig, System};
use crate::snapshot::Snapshot;

const MODELS: &str = r#"
    [providers.one]
    kind = "mock"
    [providers.two]
    kind = "mock"
    [models.plain]
    targets = [{ provider = "one", model = "echo" }]
    [models.kept]
    targets = [{ provider = "one", model = "echo" }]
    cache = { ttl = "10m" }
    [models.all]
    targets = [{ provider = "one", model = "echo" }]
    cache = { ttl = "1h", tool_calls = true, temperature = true, share = false, pays = "split", pace = "5ms" }
    [models.live]
    targets = [{ provider = "one", model = "echo" }]
    cache = {}
"#;

fn snapshot(text: &str) -> Snapshot {
    let loaded = Config::parse(text, "a.toml", &System).unwrap_or_else(|errors| panic!("{errors}"));
    let mock = "127.0.0.1:1".parse().unwrap();
    let health = Arc::new(crate::health::Health::new(std::time::Instant::now(), 1));
    Snapshot::build(&loaded.config, Some(mock), &health, &Arc::default()).unwrap()
}

fn endpoint(path: &str) -> Endpoint {
    match_endpoint(&Method::POST, path, &HeaderMap::new()).unwrap()
}

fn key(name: &str, cache: CacheScope) -> Arc<Key> {
    Arc::new(Key::new(KeyConfig { name: name.to_owned(), cache, ..KeyConfig::default() }))
}

/// A request that is as any other but for what is changed in it.
struct Case {
    model: &'static str,
    path: &'static str,
    body: String,
    headers: Vec<(&'static str, &'static str)>,
    query: Option<&'static str>,
    key: Option<Arc<Key>>,
    steering: Vec<[u8; 32]>,
}

impl Case {
    fn new(body: &str) -> Self {
        let path = "/v1/chat/completions";
        Self { model: "kept", path, body: body.to_owned(), headers: vec![], query: None, key: None, steering: vec![] }
    }

    fn judge(&self, snapshot: &Snapshot) -> Result<Terms, Bypass> {
        scan_json(self.body.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let model = snapshot.model(self.model).unwrap();
        let field = cache_field(self.body.as_bytes()).unwrap();
        let body = match &field {
            Some(_) => {
                let edits =
                    ai_gateway_providers::scan::FieldEdits { remove: vec!["cache".into()], ..Default::default() };
                edits.apply(&self.body.clone().into())
            }
            None => self.body.clone().into(),
        };
        judge(&Asked {
            endpoint: &endpoint(self.path),
            headers: &headers,
            query: self.query,
            body: &body,
            field: field.as_ref(),
            key: self.key.as_deref(),
            model: &model,
            edits: None,
            steering: &self.steering,
        })
    }
}

#[test]
fn who_may_not() {
    let snapshot = snapshot(MODELS);
    let judged = |case: Case| case.judge(&snapshot).err();
    let of = |body: &str| Case::new(body);
    assert_eq!(judged(Case { model: "plain", ..of("{}") }), Some(Bypass::Model));
    assert_eq!(judged(Case { model: "one/echo", ..of("{}") }), Some(Bypass::Model));
    assert_eq!(judged(Case { path: "/v1/images/generations", ..of("{}") }), Some(Bypass::Operation));
    assert_eq!(judged(Case { path: "/v1/messages/count_tokens", ..of("{}") }), Some(Bypass::Operation));
    assert_eq!(judged(Case { key: Some(key("a", CacheScope::Off)), ..of("{}") }), Some(Bypass::Key));
    assert_eq!(judged(of(r#"{"temperature":0.7}"#)), Some(Bypass::Temperature));
    assert_eq!(judged(of(r#"{"temperature":0}"#)), None);
    assert_eq!(judged(of(r#"{"tools":[{"type":"function"}]}"#)), Some(Bypass::Tools));
    assert_eq!(judged(of(r#"{"store":true}"#)), Some(Bypass::Once("store")));
    assert_eq!(judged(Case { path: "/v1/responses", ..of(r#"{"input":"x"}"#) }), Some(Bypass::Once("store")));
    assert_eq!(judged(Case { path: "/v1/responses", ..of(r#"{"input":"x","store":false}"#) }), None);
    let tools = r#"{"temperature":1,"tools":[{"type":"function"}]}"#;
    assert_eq!(judged(Case { model: "all", ..of(tools) }), None);
    let hosted = r#"{"tools":[{"type":"web_search"}]}"#;
    assert_eq!(judged(Case { model: "all", ..of(hosted) }), Some(Bypass::HostedTools));
    for path in ["/v1/embeddings", "/v1/rerank", "/v2/rerank", "/v1/moderations", "/v1/completions", "/v1/messages"] {
        assert_eq!(judged(Case { path, ..of("{}") }), None, "{path}");
    }
    let many: Vec<_> = (0..5000).map(|number| format!("\"{number}\":1")).collect();
    assert_eq!(judged(of(&format!("{{\"a\":{{{}}}}}", many.join(",")))), Some(Bypass::Body));
}

/// Such a plugin may forbid the one what it lets the other.
#[test]
fn what_a_plugin_decides_for_one_key_holds_for_no_other() {
    let snapshot = snapshot(MODELS);
    let of = |name, steering: &[[u8; 32]]| {
        let steering = steering.to_vec();
        let case = Case { key: Some(key(name, CacheScope::Shared)), steering, ..Case::new("{}") };
        case.judge(&snapshot).unwrap().fingerprint
    };
    let regions = [[1; 32]];
    assert_eq!(of("a", &[]), of("b", &[]));
    assert_ne!(of("a", &regions), of("b", &regions));
    assert_eq!(of("a", &regions), of("a", &regions));
    assert_ne!(of("a", &regions), of("a", &[]));
    assert_ne!(of("a", &regions), of("a", &[[2; 32]]));
}

#[test]
fn what_a_client_may_say() {
    let snapshot = snapshot(MODELS);
    let terms = |headers: &[(&'static str, &'static str)], body: &str| {
        Case { headers: headers.to_vec(), ..Case::new(body) }.judge(&snapshot)
    };
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let plain = terms(&[], "{}").unwrap();
    assert_eq!((plain.max_age, plain.ttl, plain.share, plain.pace), (Duration::MAX, minutes(10), true, Duration::ZERO));
    let fresh = terms(&[("cache-control", "no-cache")], "{}").unwrap();
    assert_eq!((fresh.max_age, fresh.ttl, fresh.share), (Duration::ZERO, minutes(10), false));
    assert_eq!(fresh.fingerprint, plain.fingerprint, "it takes the place of what is kept");
    for same in ["max-age=0", "No-Cache, max-age=5", "max-age=\"0\"", "max-age=soon", "max-age=-1"] {
        assert_eq!(terms(&[("cache-control", same)], "{}").unwrap(), fresh, "{same}");
    }
    assert_eq!(terms(&[("x-portkey-cache-force-refresh", "true")], "{}").unwrap(), fresh);
    assert_eq!(terms(&[], r#"{"cache":{"no-cache":true}}"#).unwrap(), fresh);
    let aged = terms(&[("cache-control", "max-age=60")], r#"{"cache":{"s-maxage":90}}"#).unwrap();
    assert_eq!((aged.max_age, aged.ttl, aged.share), (minutes(1), minutes(10), true));
    let unkept = terms(&[("cache-control", "no-store")], "{}").unwrap();
    assert_eq!((unkept.max_age, unkept.ttl, unkept.share), (Duration::MAX, Duration::ZERO, false));
    assert_eq!(terms(&[("cache-control", "no-store, no-cache")], "{}"), Err(Bypass::Client));
    assert_eq!(terms(&[], r#"{"cache":{"use-cache":false}}"#), Err(Bypass::Client));
    assert_eq!(terms(&[], r#"{"cache":{"ttl":5}}"#).unwrap().ttl, Duration::from_secs(5));
    assert_eq!(terms(&[], r#"{"cache":{"ttl":999999}}"#).unwrap().ttl, minutes(10), "never more");
    assert_ne!(terms(&[], r#"{"cache":{"namespace":"n"}}"#).unwrap().fingerprint, plain.fingerprint);
    assert_eq!((plain.oldest(), aged.oldest(), fresh.oldest()), (minutes(10), minutes(1), Duration::ZERO));
    assert_eq!(
        terms(&[], r#"{"cache":{"ttl":5}}"#).unwrap().oldest(),
        minutes(10),
        "it is said of its own answer alone"
    );
    let live = Case { model: "live", ..Case::new("{}") }.judge(&snapshot).unwrap();
    assert_eq!((live.ttl, live.share, live.oldest()), (Duration::ZERO, true, Duration::ZERO));
    let all = Case { model: "all", ..Case::new("{}") }.judge(&snapshot).unwrap();
    assert_eq!((all.share, all.payer, all.pace), (false, Payer::Split, Duration::from_millis(5)));
}

#[test]
fn what_changes_no_answer() {
    let snapshot = snapshot(MODELS);
    let of = |path: &'static str, body: &str| Case { path, ..Case::new(body) }.judge(&snapshot).unwrap().fingerprint;
    let chat = "/v1/chat/completions";
    for (path, body, same) in [
        (chat, "{}", r#"{"user":"u","metadata":{"a":"b"},"safety_identifier":"s","prompt_cache_key":"k"}"#),
        (chat, "{}", r#"{"stream":true,"stream_options":{"include_usage":true},"model":"x"}"#),
        (chat, "{}", r#"{"store":false}"#),
        ("/v1/messages", "{}", r#"{"metadata":{"user_id":"u"}}"#),
        ("/v1beta/models/kept:generateContent", "{}", r#"{"labels":{"a":"b"}}"#),
        ("/model/kept/converse", "{}", r#"{"requestMetadata":{"a":"b"}}"#),
    ] {
        assert_eq!(of(path, body), of(path, same), "{path} {same}");
    }
    assert_eq!(of("/v1beta/models/kept:generateContent", "{}"), of("/v1beta/models/kept:streamGenerateContent", "{}"));
    assert_eq!(of("/model/kept/converse", "{}"), of("/model/kept/converse-stream", "{}"));
    assert_eq!(of(chat, "{}"), of("/openai/v1/chat/completions", "{}"));
    // Responses repeat them in the answer.
    let responses = "/v1/responses";
    assert_ne!(of(responses, r#"{"store":false}"#), of(responses, r#"{"store":false,"user":"u"}"#));
    assert_ne!(of(responses, r#"{"store":false}"#), of(responses, r#"{"store":false,"metadata":{"a":"b"}}"#));
    // One dialect's label is another's field.
    assert_ne!(of(chat, "{}"), of(chat, r#"{"labels":{}}"#));
    assert_ne!(of("/v1/messages", "{}"), of("/v1/messages", r#"{"user":"u"}"#));
    assert_ne!(of("/v1/rerank", "{}"), of("/v2/rerank", "{}"));
}

#[test]
fn headers_and_queries_that_change_an_answer() {
    let snapshot = snapshot(MODELS);
    let with = |headers: &[(&'static str, &'static str)], query| {
        let case = Case { headers: headers.to_vec(), query, path: "/v1/messages", ..Case::new("{}") };
        case.judge(&snapshot).unwrap().fingerprint
    };
    let plain = with(&[], None);
    assert_ne!(with(&[("anthropic-beta", "context-1m")], None), plain);
    assert_ne!(with(&[("anthropic-beta", "a")], None), with(&[("anthropic-version", "a")], None));
    assert_ne!(
        with(&[("anthropic-beta", "a"), ("anthropic-beta", "b")], None),
        with(&[("anthropic-beta", "ab")], None)
    );
    assert_eq!(with(&[("user-agent", "x"), ("x-request-id", "y"), ("authorization", "z")], None), plain);
    assert_ne!(with(&[], Some("beta=true")), plain);
    assert_eq!(with(&[], Some("key=sk-1&alt=sse&api-version=1")), plain);
}

#[test]
fn another_configuration_has_other_answers() {
    let of = |text: &str| {
        let snapshot = snapshot(&MODELS.replace("[models.kept]\n", text));
        Case::new("{}").judge(&snapshot).unwrap().fingerprint
    };
    let same = of("[models.kept]\n");
    assert_eq!(of("[models.kept]\nretry = { attempts = 1 }\ntimeouts = { total = \"1m\" }\n"), same);
    assert_ne!(of("[models.kept]\nlossy = \"drop\"\n"), same);
    assert_ne!(of("[models.kept]\non_cut = \"continue\"\n"), same);
    let target = |new: &str| {
        let kept = "[models.kept]\n    targets = [{ provider = \"one\", model = \"echo\" }]";
        let snapshot = snapshot(&MODELS.replace(kept, &format!("[models.kept]\n targets = [{new}]")));
        Case::new("{}").judge(&snapshot).unwrap().fingerprint
    };
    assert_eq!(target(r#"{ provider = "one", model = "echo", weight = 3 }"#), same);
    assert_ne!(target(r#"{ provider = "two", model = "echo" }"#), same);
    assert_ne!(target(r#"{ provider = "one", model = "echo2" }"#), same);
    assert_ne!(target(r#"{ provider = "one", model = "echo" }, { provider = "two", model = "echo" }"#), same);
    let base = "[providers.one]\n    kind = \"mock\"";
    let elsewhere =
        MODELS.replace(base, "[providers.one]\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:2/v1\"");
    assert_ne!(Case::new("{}").judge(&snapshot(&elsewhere)).unwrap().fingerprint, same);
}

#[test]
fn models_to_fall_back_on() {
    let snapshot = snapshot(MODELS);
    let model = |name: &str| snapshot.model(name).unwrap();
    let identity = |model: &Model| format!("{:?}", model.cache.as_ref());
    let (kept, all) = (model("kept"), model("all"));
    let both = kept.followed_by(std::slice::from_ref(&all));
    assert_ne!(identity(&both), identity(&kept));
    assert_ne!(identity(&both), identity(&all.followed_by(std::slice::from_ref(&kept))));
    assert!(kept.followed_by(&[model("plain")]).cache.is_none(), "its answers are not kept");
    assert!(model("plain").followed_by(std::slice::from_ref(&kept)).cache.is_none());
}

#[test]
fn another_key_of_the_same_name() {
    let snapshot = snapshot(MODELS);
    let fingerprint =
        |key: Key| Case { key: Some(Arc::new(key)), ..Case::new("{}") }.judge(&snapshot).unwrap().fingerprint;
    let named = |name: &str| Key::new(KeyConfig { name: name.to_owned(), ..KeyConfig::default() });
    let within = |name: &str| {
        Key::within(KeyConfig { name: name.to_owned(), ..KeyConfig::default() }, Some(Arc::new(named("staff"))), true)
    };
    assert_eq!(fingerprint(named("bot")), fingerprint(named("bot")));
    assert_ne!(fingerprint(named("bot").made_at(5)), fingerprint(named("bot").made_at(6)));
    assert_ne!(fingerprint(named("staff/ann")), fingerprint(within("staff/ann")), "a key of the file, and a token");
    // What bounds a key bounds whom it shares with.
    let shared = KeyConfig { name: "a".into(), cache: CacheScope::Shared, ..KeyConfig::default() };
    let bounded = Key::within(shared, Some(Arc::new(named("b"))), true);
    assert_eq!(bounded.cache(), CacheScope::Private);
}

#[test]
fn forms() {
    let of = |path: &str, body: &str, array, cost| {
        super::key::form(&endpoint(path), &scan_json(body.as_bytes()).unwrap(), array, cost)
    };
    let chat = "/v1/chat/completions";
    assert_eq!(of(chat, "{}", false, false), Form::Whole);
    let forms = [
        of(chat, r#"{"stream":true}"#, false, false),
        of(chat, r#"{"stream":true,"stream_options":{"include_usage":true}}"#, false, false),
        of(chat, r#"{"stream":true}"#, false, true),
        of("/v1beta/models/m:streamGenerateContent", "{}", true, false),
    ];
    assert!(forms.iter().enumerate().all(|(index, form)| !forms[..index].contains(form) && *form != Form::Whole));
    assert_eq!(of("/v1beta/models/m:streamGenerateContent", "{}", false, false), forms[0]);
}

/// What there is to choose from: small, so that two requests are often the same.
const KEYS: [Option<(&str, CacheScope)>; 6] = [
    None,
    Some(("a", CacheScope::Private)),
    Some(("b", CacheScope::Private)),
    Some(("a", CacheScope::Shared)),
    Some(("b", CacheScope::Shared)),
    Some(("a", CacheScope::Off)),
];
const NAMES: [&str; 4] = ["kept", "all", "live", "plain"];
const PATHS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/embeddings",
    "/v2/chat",
    "/v1beta/models/x:generateContent",
    "/model/x/converse",
];
/// Each in two spellings.
const BODIES: [[&str; 2]; 5] = [
    [r#"{"input":"a","n":1}"#, r#"{ "n":1.0, "input":"\u0061"}"#],
    [r#"{"input":"a","n":2}"#, r#"{"stream":true,"n":2,"input":"a"}"#],
    [r#"{"input":["a"]}"#, r#"{"input" : [ "a" ],"model":"y"}"#],
    [r#"{"input":"a"}"#, r#"{"input":"a","stream":false}"#],
    [r#"{"temperature":1}"#, r#"{"temperature":10e-1}"#],
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whoever may be given another's answer asks the same, of the same model, in the same dialect, and is allowed to have it;
    /// and whoever asks the same and is allowed to gets it.
    #[test]
    fn a_hit_implies_permission_and_equality(
        one in (0..KEYS.len(), 0..NAMES.len(), 0..PATHS.len(), 0..BODIES.len(), 0..2_usize, any::<bool>()),
        other in (0..KEYS.len(), 0..NAMES.len(), 0..PATHS.len(), 0..BODIES.len(), 0..2_usize, any::<bool>()),
        same in any::<[bool; 4]>(),
    ) {
        let mut other = other;
        if same[0] { other.1 = one.1; }
        if same[1] { other.2 = one.2; }
        if same[2] { other.3 = one.3; }
        if same[3] { other.5 = one.5; }
        let snapshot = snapshot(MODELS);
        let judged = |(who, model, path, body, spelling, spaced): (usize, usize, usize, usize, usize, bool)| -> Option<Fingerprint> {
            let mut text = BODIES[body][spelling].to_owned();
            if spaced {
                text.insert_str(1, r#""cache":{"namespace":"n"},"#);
            }
            let key = KEYS[who].map(|(name, scope)| key(name, scope));
            Case { model: NAMES[model], path: PATHS[path], key, ..Case::new(&text) }.judge(&snapshot).ok().map(|terms| terms.fingerprint)
        };
        let allowed = |who: usize, model: usize, body: usize| {
            !matches!(KEYS[who], Some((_, CacheScope::Off))) && model != 3 && (body != 4 || model == 1)
        };
        let (first, second) = (judged(one), judged(other));
        prop_assert_eq!(first.is_some(), allowed(one.0, one.1, one.3));
        prop_assert_eq!(second.is_some(), allowed(other.0, other.1, other.3));
        let together = match (KEYS[one.0], KEYS[other.0]) {
            (None, None) | (Some((_, CacheScope::Shared)), Some((_, CacheScope::Shared))) => true,
            (Some((a, CacheScope::Private)), Some((b, CacheScope::Private))) => a == b,
            _ => false,
        };
        let asks_the_same = (one.1, one.2, one.3, one.5) == (other.1, other.2, other.3, other.5);
        if let (Some(first), Some(second)) = (first, second) {
            prop_assert_eq!(first == second, together && asks_the_same);
        }
    }
}
