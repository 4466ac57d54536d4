//! No key gives more than it has.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use wildmatch::WildMatchPattern;

use crate::config::{CacheScope, KeyConfig, ModelPattern, OnAbort, Right};
use crate::keys::grant::grant;
use crate::keys::*;

fn models(names: &[&str]) -> Option<Vec<ModelPattern>> {
    Some(names.iter().map(|name| ModelPattern::new(name)).collect())
}

fn maker() -> Key {
    Key::new(KeyConfig {
        name: "lead".to_owned(),
        models: models(&["assistant", "openai/gpt-*"]),
        tags: vec!["gold".to_owned(), "eu".to_owned()],
        team: Some("support".to_owned()),
        allow: vec![Right::Keys, Right::Explain],
        expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5_000_000_000)),
        ..KeyConfig::default()
    })
}

fn asked(body: serde_json::Value) -> Result<KeyConfig, KeyError> {
    let new = NewKey::parse(body.to_string().as_bytes(), SystemTime::now())?;
    grant(new, Some(&maker()))
}

#[test]
fn within_its_own_it_may() {
    let granted = asked(serde_json::json!({
        "name": "bot", "models": ["assistant", "openai/gpt-5*", "openai/gpt-*"], "tags": ["eu", "gold"], "team": "support",
        "owner": "somebody", "allow": ["explain"], "expires": "30d",
    }))
    .unwrap();
    assert_eq!(granted.models, models(&["assistant", "openai/gpt-5*", "openai/gpt-*"]));
    assert_eq!((&*granted.tags, granted.allow), (&["eu".to_owned(), "gold".to_owned()][..], vec![Right::Explain]));
}

#[test]
fn what_is_left_out_is_the_makers() {
    let granted = asked(serde_json::json!({ "name": "bot" })).unwrap();
    let maker = maker();
    assert_eq!((&granted.models, &granted.tags), (&maker.config().models, &maker.config().tags));
    assert_eq!((&granted.team, granted.expires), (&maker.config().team, maker.config().expires));
    assert_eq!(granted.allow, []);
    let sharing = KeyConfig { cache: CacheScope::Shared, ..maker.config().clone() };
    let sharing = Key::new(sharing);
    for (asked, granted) in [
        ("{\"name\":\"a\"}", CacheScope::Shared),
        ("{\"name\":\"a\",\"cache\":\"private\"}", CacheScope::Private),
        ("{\"name\":\"a\",\"cache\":\"off\"}", CacheScope::Off),
    ] {
        let new = NewKey::parse(asked.as_bytes(), SystemTime::now()).unwrap();
        assert_eq!(grant(new, Some(&sharing)).unwrap().cache, granted, "{asked}");
    }
}

#[test]
fn more_is_refused_with_the_field() {
    for (field, value) in [
        ("models", serde_json::json!(["assistant", "openai/*"])),
        ("models", serde_json::json!(["*"])),
        ("models", serde_json::json!(["assistant*"])),
        ("models", serde_json::json!(["*gpt-*"])),
        ("tags", serde_json::json!(["platinum"])),
        ("tags", serde_json::json!(["gold", "eu", "platinum"])),
        // Its spending would not count against the budget of `gold`.
        ("tags", serde_json::json!(["eu"])),
        ("team", serde_json::json!("research")),
        ("allow", serde_json::json!(["fallbacks"])),
        ("allow", serde_json::json!(["keys"])),
        ("cache", serde_json::json!("shared")),
        ("expires", serde_json::json!("9000-01-01T00:00:00Z")),
    ] {
        let refused = asked(serde_json::json!({ "name": "bot", field: value })).unwrap_err();
        assert!(matches!(&refused, KeyError::Beyond { field: named, .. } if *named == field), "{field}: {refused}");
    }
}

#[test]
fn bad_fields_are_named() {
    let long = "x".repeat(129);
    for (body, field) in [
        ("{}", "name"),
        (r#"{"name": 1}"#, "name"),
        (r#"{"name": ""}"#, "name"),
        (r#"{"name": "a/b"}"#, "name"),
        (r#"{"name": "'; DROP TABLE keys; --"}"#, "name"),
        (r#"{"name": "a\u0000"}"#, "name"),
        (&format!(r#"{{"name": "{long}"}}"#), "name"),
        (r#"{"name": "a", "models": []}"#, "models"),
        (r#"{"name": "a", "models": "x"}"#, "models"),
        (r#"{"name": "a", "models": ["x\n"]}"#, "models"),
        (r#"{"name": "a", "tags": [""]}"#, "tags"),
        (r#"{"name": "a", "team": "a\u0007"}"#, "team"),
        (r#"{"name": "a", "allow": ["everything"]}"#, "allow"),
        (r#"{"name": "a", "expires": "soon"}"#, "expires"),
        (r#"{"name": "a", "expires": "2001-01-01T00:00:00Z"}"#, "expires"),
        (r#"{"name": "a", "expires": "99999999999999y"}"#, "expires"),
        (r#"{"name": "a", "expires": 12}"#, "expires"),
        (r#"{"name": "a", "secret": "mine"}"#, "secret"),
        (r#"{"name": "a", "limits": {"requests": "5"}}"#, "limits"),
        (r#"{"name": "a", "budget": {"usd": 5}}"#, "budget"),
        (r#"{"name": "a", "cache": "everyone"}"#, "cache"),
        ("[]", "body"),
        ("", "body"),
        ("{\"name\": \"a\"", "body"),
    ] {
        let refused = NewKey::parse(body.as_bytes(), SystemTime::now()).unwrap_err();
        assert!(matches!(&refused, KeyError::Field { field: named, .. } if named == field), "{body}: {refused}");
    }
}

proptest! {
    /// Whatever a granted pattern stands for, the maker's pattern stands for too.
    #[test]
    fn a_granted_pattern_is_no_wider(own in "[ab/*]{0,6}", wanted in "[ab/*]{0,6}", name in "[ab/]{0,8}") {
        let maker = Key::new(KeyConfig { models: models(&[&own]), ..KeyConfig::default() });
        let new = NewKey { name: "a".to_owned(), models: Some(vec![wanted.clone()]), ..NewKey::default() };
        if grant(new, Some(&maker)).is_ok() && WildMatchPattern::<'*', '\0'>::new(&wanted).matches(&name) {
            prop_assert!(WildMatchPattern::<'*', '\0'>::new(&own).matches(&name), "{own} {wanted} {name}");
        }
    }
}

#[test]
fn who_is_made_waits_no_less_than_its_maker_and_reads_answers_to_their_end_as_it_does() {
    let maker = |priority, on_abort| {
        Arc::new(Key::new(KeyConfig { priority, on_abort, allow: vec![Right::Keys], ..KeyConfig::default() }))
    };
    let made = |body: &str, maker: &Arc<Key>| {
        let new = NewKey::parse(body.as_bytes(), SystemTime::now()).unwrap();
        let key = Key::within(grant(new, Some(maker))?, Some(maker.clone()), true);
        Ok::<_, KeyError>((key.priority(), key.on_abort()))
    };
    let (plain, high) = (maker(None, OnAbort::Cancel), maker(Some(5), OnAbort::Drain));
    assert_eq!(made(r#"{"name":"a"}"#, &plain), Ok((0, OnAbort::Cancel)));
    assert_eq!(made(r#"{"name":"a","on_abort":"drain"}"#, &plain), Ok((0, OnAbort::Drain)));
    assert_eq!(made(r#"{"name":"a"}"#, &high), Ok((5, OnAbort::Drain)));
    assert_eq!(made(r#"{"name":"a","priority":3}"#, &high), Ok((3, OnAbort::Drain)));
    let beyond = |body, maker| match made(body, maker) {
        Err(KeyError::Beyond { field, .. }) => field,
        other => panic!("{body}: {other:?}"),
    };
    assert_eq!(beyond(r#"{"name":"a","priority":1}"#, &plain), "priority");
    assert_eq!(beyond(r#"{"name":"a","priority":6}"#, &high), "priority");
    assert_eq!(beyond(r#"{"name":"a","on_abort":"cancel"}"#, &high), "on_abort");
    let of_master = NewKey::parse(br#"{"name":"a","priority":9,"on_abort":"drain"}"#, SystemTime::now()).unwrap();
    let of_master = grant(of_master, None).unwrap();
    assert_eq!((of_master.priority, of_master.on_abort), (Some(9), OnAbort::Drain));
    assert!(NewKey::parse(br#"{"name":"a","priority":-1}"#, SystemTime::now()).is_err());
    assert!(NewKey::parse(br#"{"name":"a","on_abort":"stop"}"#, SystemTime::now()).is_err());
}
