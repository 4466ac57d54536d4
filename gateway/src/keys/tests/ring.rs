//! What a request presents, and whom it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use http::HeaderMap;

use crate::config::{KeyConfig, ModelPattern};
use crate::keys::secret::digest;
use crate::keys::*;

fn config(name: &str, key: &str, models: &[&str]) -> KeyConfig {
    KeyConfig {
        name: name.into(),
        hash: Some(digest(key.as_bytes())),
        models: Some(models.iter().map(|pattern| ModelPattern::new(pattern)).collect()),
        ..KeyConfig::default()
    }
}

fn ring() -> KeyRing {
    KeyRing::new(&[config("bot", "sk-bot", &["assistant", "openai/*"]), config("all", "sk-all", &["*"])])
}

/// Without tokens nothing is waited for.
fn admit(ring: &KeyRing, headers: &HeaderMap, query: Option<&str>) -> Admission {
    ring.admit(headers, query, SystemTime::now(), &|| false).now_or_never().unwrap()
}

fn admitted(name: &'static str, value: &str) -> Option<String> {
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
    match admit(&ring(), &headers, None) {
        Admission::Key(key) => Some(key.name.to_string()),
        _ => None,
    }
}

#[test]
fn every_header_form_is_read() {
    for (header, value) in [
        ("authorization", "Bearer sk-bot"),
        ("authorization", "bearer  sk-bot "),
        ("x-api-key", "sk-bot"),
        ("api-key", "sk-bot"),
        ("x-goog-api-key", "sk-bot"),
    ] {
        assert_eq!(admitted(header, value).as_deref(), Some("bot"), "{header}: {value}");
    }
    assert!(matches!(admit(&ring(), &HeaderMap::new(), Some("alt=sse&key=sk-all")), Admission::Key(_)));
}

#[test]
fn wrong_and_missing_keys_are_told_apart() {
    assert!(matches!(admit(&ring(), &HeaderMap::new(), None), Admission::Refused(Refused::Missing)));
    for bad in ["Bearer sk-bo", "Bearer sk-bott", "Basic c2stYm90", "Bearer", "Bearer "] {
        assert!(admitted("authorization", bad).is_none(), "{bad}");
    }
    for without_bearer in ["sk-bot", "Basic c2stYm90"] {
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, without_bearer.parse().unwrap())]);
        let Admission::Refused(why) = admit(&ring(), &headers, None) else { panic!("{without_bearer}") };
        assert!(why.message().starts_with("`authorization` holds no `Bearer KEY`"), "{}", why.message());
    }
    assert!(matches!(admit(&ring(), &HeaderMap::new(), Some("key=sk-bo")), Admission::Refused(Refused::Wrong)));
}

#[test]
fn an_empty_ring_is_open_unless_keys_can_be_made() {
    assert!(matches!(admit(&KeyRing::default(), &HeaderMap::new(), None), Admission::Open));
    let sets = KeySets::new(super::client());
    let ring = KeyRing::default().joined_by(Some(LiveKeys::new([]).into()), &[], &sets);
    assert!(matches!(admit(&ring, &HeaderMap::new(), None), Admission::Refused(Refused::Missing)));
}

#[test]
fn allow_lists_take_globs() {
    let Admission::Key(key) = admit(&ring(), &HeaderMap::new(), Some("key=sk-bot")) else { panic!() };
    assert!(key.may_use("assistant") && key.may_use("openai/gpt-5"));
    assert!(!key.may_use("assistant2") && !key.may_use("anthropic/claude"));
}

#[test]
fn time_ends_a_key() {
    let end = UNIX_EPOCH + Duration::from_secs(1000);
    let ring = KeyRing::new(&[KeyConfig { expires: Some(end), ..config("a", "sk", &["*"]) }]);
    assert!(ring.find(b"sk", end - Duration::from_nanos(1)).is_ok());
    assert_eq!(ring.find(b"sk", end).unwrap_err(), Refused::Expired);
}
