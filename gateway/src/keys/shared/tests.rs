//! What instances make of each other's changes, without a Redis between them. Tests with a real one are in
//! `tests/tests/keys_shared.rs`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::keys::*;
use crate::limits::{Kind, Limits};

struct Instance {
    keys: RuntimeKeys,
    ring: KeyRing,
    limits: Arc<Limits>,
    _dir: tempfile::TempDir,
}

impl Instance {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = Arc::new(Limits::new());
        let keys = RuntimeKeys::open(&dir.path().join("keys.db"), &KeyRing::default(), limits.clone()).unwrap();
        let ring = KeyRing::default().joined_by(Some(keys.live()), &[], &KeySets::new(crate::keys::tests::client()));
        Self { keys, ring, limits, _dir: dir }
    }

    fn make(&self, body: serde_json::Value, maker: &Maker) -> String {
        let new = NewKey::parse(body.to_string().as_bytes(), SystemTime::now()).unwrap();
        self.keys.create(new, maker).unwrap().1
    }

    fn found(&self, secret: &str) -> Result<String, Refused> {
        self.ring.find(secret.as_bytes(), SystemTime::now()).map(|key| key.name.to_string())
    }

    /// Hears of everything that `other` knows, over the wire.
    fn hears(&self, other: &Self) {
        let told = serde_json::to_string(&other.keys.entries(None)).unwrap();
        self.keys.merge(serde_json::from_str(&told).unwrap()).unwrap();
    }
}

fn same(a: &Instance, b: &Instance) {
    a.hears(b);
    b.hears(a);
    assert_eq!(a.keys.entries(None), b.keys.entries(None));
}

#[test]
fn a_key_is_the_same_elsewhere_with_its_limits_and_its_makers() {
    let (a, b) = (Instance::new(), Instance::new());
    let maker = a.make(json!({ "name": "z-maker", "allow": ["keys"] }), &Maker::Master);
    let of_maker = Maker::Key(a.ring.find(maker.as_bytes(), SystemTime::now()).unwrap());
    let own = a.make(json!({ "name": "own", "limits": { "requests": "5/min" } }), &of_maker);
    same(&a, &b);
    assert_eq!((b.found(&maker).as_deref(), b.found(&own).as_deref()), (Ok("z-maker"), Ok("own")));
    assert_eq!(b.limits.find(Kind::Key, "own").unwrap().usage(0).len(), 1);
    assert_eq!(b.keys.get("own", &Maker::Master), a.keys.get("own", &Maker::Master));

    let change = |body: &str| Change::parse(body.as_bytes()).unwrap();
    b.keys.change("own", change(r#"{"limits": null, "budget": {"usd": 1, "per": "day"}}"#), &Maker::Master).unwrap();
    same(&a, &b);
    let usage = a.limits.find(Kind::Key, "own").unwrap().usage(0);
    assert_eq!(usage.iter().map(|usage| usage.rule.limit).collect::<Vec<_>>(), [1_000_000_000_000]);

    b.keys.change("z-maker", change(r#"{"enabled": false}"#), &Maker::Master).unwrap();
    same(&a, &b);
    assert_eq!((a.found(&maker), a.found(&own)), (Err(Refused::Disabled), Err(Refused::Disabled)));

    a.keys.delete("z-maker", &Maker::Master).unwrap();
    same(&a, &b);
    assert_eq!((b.found(&maker), b.found(&own)), (Err(Refused::Wrong), Err(Refused::Wrong)));
    assert_eq!(b.keys.list("", 10, &Maker::Master), []);
}

#[test]
fn the_later_of_two_changes_wins_everywhere() {
    let (a, b) = (Instance::new(), Instance::new());
    let first = a.make(json!({ "name": "bot" }), &Maker::Master);
    same(&a, &b);
    let second = b.keys.rotate("bot", Duration::from_secs(60), &Maker::Master).unwrap().1;
    a.keys.change("bot", Change { enabled: Some(false), ..Change::default() }, &Maker::Master).unwrap();
    // The two happen in the same millisecond, or not: both sides agree.
    b.keys.delete("bot", &Maker::Master).unwrap();
    same(&a, &b);
    assert_eq!((a.found(&first), a.found(&second)), (Err(Refused::Wrong), Err(Refused::Wrong)));
    // Made again, it is another key, which no older news takes away.
    let third = a.make(json!({ "name": "bot" }), &Maker::Master);
    same(&b, &a);
    assert_eq!(b.found(&third).as_deref(), Ok("bot"));
    assert_eq!(b.found(&second), Err(Refused::Wrong));
}

#[test]
fn what_lies_elsewhere_holds_no_secret_and_nonsense_is_passed_over() {
    let a = Instance::new();
    let secret = a.make(json!({ "name": "bot" }), &Maker::Master);
    let told = serde_json::to_string(&a.keys.entries(None)).unwrap();
    assert!(!told.contains(&secret) && told.contains(&hash_line(&secret)["sha256:".len()..]), "{told}");
    let bad = told.replace(&hash_line(&secret)["sha256:".len()..], "nonsense").replace("bot", "bad");
    a.keys.merge(serde_json::from_str(&bad).unwrap()).unwrap();
    assert_eq!(a.keys.list("", 10, &Maker::Master).len(), 1);
}
