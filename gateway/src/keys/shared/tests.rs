//! What instances make of each other's changes, without a Redis between them. Tests with a real one are in
//! `tests/tests/keys_shared.rs`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::clock::Time;
use crate::config::{KeyConfig, ModelPattern, Right};
use crate::keys::tests::Hand;
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
        Self::with(Limits::new())
    }

    /// One that counts by these, and by their clock.
    fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = Arc::new(limits);
        let keys = RuntimeKeys::open(&dir.path().join("keys.db"), &KeyRing::default(), limits.clone()).unwrap();
        let ring = KeyRing::default().joined_by(Some(keys.live()), &[], &KeySets::new(crate::keys::tests::client()));
        Self { keys, ring, limits, _dir: dir }
    }

    fn make(&self, body: serde_json::Value, maker: &Maker) -> String {
        let new = NewKey::parse(body.to_string().as_bytes(), SystemTime::now()).unwrap();
        self.keys.create(new, maker).unwrap().1
    }

    fn change(&self, name: &str, body: &str) {
        self.keys.change(name, Change::parse(body.as_bytes()).unwrap(), &Maker::Master).unwrap();
    }

    /// Changes it so often that no other change of this millisecond is later.
    fn change_last(&self, name: &str, body: &str) {
        for _ in 0..5 {
            self.change(name, body);
        }
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

/// Two instances that both know a key of that name; its secret.
fn sharing(name: &str) -> (Instance, Instance, String) {
    let (a, b) = (Instance::new(), Instance::new());
    let secret = a.make(json!({ "name": name, "allow": ["keys"] }), &Maker::Master);
    same(&a, &b);
    (a, b, secret)
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

#[test]
fn no_change_brings_back_what_was_deleted() {
    for later in [r#"{"limits": {"requests": "5/min"}}"#, r#"{"enabled": true}"#] {
        let (a, b, secret) = sharing("bot");
        a.keys.delete("bot", &Maker::Master).unwrap();
        b.change_last("bot", later);
        // Whoever hears it first.
        same(&a, &b);
        assert_eq!((a.found(&secret), b.found(&secret)), (Err(Refused::Wrong), Err(Refused::Wrong)));
        let (a, b, secret) = sharing("bot");
        a.keys.delete("bot", &Maker::Master).unwrap();
        b.change_last("bot", later);
        same(&b, &a);
        assert_eq!((a.found(&secret), b.found(&secret)), (Err(Refused::Wrong), Err(Refused::Wrong)));
    }
}

/// That the first key of a name was deleted somewhere, or changed, says nothing of the second.
#[test]
fn late_news_of_a_key_leave_alone_the_next_one_of_its_name() {
    let (a, b, first) = sharing("bot");
    let (c, d) = (Instance::new(), Instance::new());
    c.hears(&a);
    d.hears(&a);
    a.keys.delete("bot", &Maker::Master).unwrap();
    let second = a.make(json!({ "name": "bot" }), &Maker::Master);
    b.change_last("bot", r#"{"enabled": false}"#);
    c.change_last("bot", r#"{"enabled": false}"#);
    c.keys.delete("bot", &Maker::Master).unwrap();
    same(&a, &b);
    same(&c, &a);
    d.hears(&b);
    for instance in [&a, &b, &c, &d] {
        assert_eq!((instance.found(&first), instance.found(&second)), (Err(Refused::Wrong), Ok("bot".to_owned())));
    }
}

#[test]
fn changes_of_different_parts_at_different_places_all_count() {
    for order in [false, true] {
        let (a, b, first) = sharing("bot");
        let meet = || if order { same(&a, &b) } else { same(&b, &a) };
        let requests = |instance: &Instance| instance.limits.find(Kind::Key, "bot").unwrap().usage(0)[0].rule.limit;
        a.change("bot", r#"{"enabled": false}"#);
        b.change_last("bot", r#"{"limits": {"requests": "5/min"}}"#);
        meet();
        assert_eq!((a.found(&first), b.found(&first)), (Err(Refused::Disabled), Err(Refused::Disabled)));
        assert_eq!((requests(&a), requests(&b)), (5, 5));

        // The other way round as well, and a secret that was retired stays so.
        let second = b.keys.rotate("bot", Duration::ZERO, &Maker::Master).unwrap().1;
        a.change_last("bot", r#"{"enabled": true}"#);
        a.change_last("bot", r#"{"limits": {"requests": "7/min"}}"#);
        meet();
        for instance in [&a, &b] {
            assert_eq!((instance.found(&first), instance.found(&second)), (Err(Refused::Wrong), Ok("bot".to_owned())));
            assert_eq!(requests(instance), 7);
        }
    }
}

/// Two keys of one name, made in the same second at two places that did not hear of each other.
#[test]
fn of_two_keys_of_a_name_one_is_left_with_all_that_it_may() {
    let at = || Limits::by(Time::of(Hand::at(1_930_910_400)));
    let (a, b) = (Instance::with(at()), Instance::with(at()));
    let small = a.make(json!({ "name": "bot", "models": ["small"], "allow": ["keys"] }), &Maker::Master);
    let large = b.make(json!({ "name": "bot", "models": ["large"], "allow": ["keys"] }), &Maker::Master);
    let of_small = Maker::Key(a.ring.find(small.as_bytes(), SystemTime::now()).unwrap());
    let own = a.make(json!({ "name": "own" }), &of_small);
    b.change("bot", r#"{"enabled": true}"#);
    same(&a, &b);
    for instance in [&a, &b] {
        assert_eq!(instance.found(&small), Err(Refused::Wrong));
        let key = instance.ring.find(large.as_bytes(), SystemTime::now()).unwrap();
        assert!(key.may_use("large") && !key.may_use("small"));
        // What the other one made is bound by both.
        let own = instance.ring.find(own.as_bytes(), SystemTime::now()).unwrap();
        assert!(!own.may_use("large") && !own.may_use("small"));
    }
}

#[test]
fn what_a_maker_made_while_it_was_deleted_elsewhere_goes_with_it_for_good() {
    for order in [false, true] {
        let (a, b, secret) = sharing("maker");
        let maker = Maker::Key(b.ring.find(secret.as_bytes(), SystemTime::now()).unwrap());
        a.keys.delete("maker", &Maker::Master).unwrap();
        let own = b.make(json!({ "name": "own" }), &maker);
        if order {
            same(&a, &b);
        } else {
            same(&b, &a);
            same(&b, &a);
        }
        let next = a.make(json!({ "name": "maker", "allow": ["keys"] }), &Maker::Master);
        same(&b, &a);
        for instance in [&a, &b] {
            assert_eq!((instance.found(&own), instance.found(&next)), (Err(Refused::Wrong), Ok("maker".to_owned())));
            assert_eq!(instance.keys.list("", 10, &Maker::Master).len(), 1);
        }
    }
}

/// Makers of the file are those that the last reload gave.
#[test]
fn what_comes_from_elsewhere_is_bound_to_the_configuration_of_now() {
    let lead = |models: &[&str]| {
        let models = Some(models.iter().map(|model| ModelPattern::new(model)).collect());
        KeyRing::new(&[KeyConfig { name: "lead".to_owned(), models, allow: vec![Right::Keys], ..KeyConfig::default() }])
    };
    let (a, b) = (Instance::new(), Instance::new());
    let wide = lead(&["small", "large"]);
    a.keys.rebind(&wide);
    b.keys.rebind(&wide);
    let own = a.make(json!({ "name": "own" }), &Maker::Key(wide.configured()["lead"].clone()));
    b.keys.rebind(&lead(&["small"]));
    b.hears(&a);
    let own = b.ring.find(own.as_bytes(), SystemTime::now()).unwrap();
    assert!(own.may_use("small") && !own.may_use("large"));
}

/// An older version tells less.
#[test]
fn what_an_older_version_told_is_understood() {
    let (a, b, secret) = sharing("maker");
    let maker = Maker::Key(a.ring.find(secret.as_bytes(), SystemTime::now()).unwrap());
    let (own, gone) = (a.make(json!({ "name": "own" }), &maker), a.make(json!({ "name": "gone" }), &Maker::Master));
    b.hears(&a);
    a.change("own", r#"{"enabled": false}"#);
    a.keys.delete("gone", &Maker::Master).unwrap();
    let mut told = serde_json::to_value(a.keys.entries(None)).unwrap();
    for entry in told.as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("created");
        if let Some(key) = entry.get_mut("key").and_then(|key| key.as_object_mut()) {
            assert!(key.remove("parts").is_some());
            key.remove("maker_created");
        }
    }
    for instance in [b, Instance::new()] {
        instance.keys.merge(serde_json::from_value(told.clone()).unwrap()).unwrap();
        assert_eq!((instance.found(&secret), instance.found(&own)), (Ok("maker".to_owned()), Err(Refused::Disabled)));
        assert_eq!(instance.found(&gone), Err(Refused::Wrong));
        instance.change("own", r#"{"enabled": true}"#);
        assert!(instance.found(&own).is_ok());
        same(&a, &instance);
        assert!(a.found(&own).is_ok());
    }
}

#[test]
fn what_was_deleted_more_than_a_year_ago_is_not_heard() {
    let clock = Hand::at(1_930_910_400);
    let b = Instance::with(Limits::by(Time::of(clock)));
    let told = |changed: u64| serde_json::from_value(json!([{ "name": "bot", "changed": changed }])).unwrap();
    let year = 366 * 86_400_000;
    b.keys.merge(told(1_930_910_400_000 - year - 1)).unwrap();
    assert_eq!(b.keys.entries(None), []);
    b.keys.merge(told(1_930_910_400_000 - year)).unwrap();
    assert_eq!(b.keys.entries(None).len(), 1);
}
