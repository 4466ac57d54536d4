//! The life of keys made at run time, in one process and over a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Hand;
use crate::clock::Time;
use crate::config::{KeyConfig, ModelPattern, Right};
use crate::keys::*;
use crate::limits::{Kind, Limits, Period, Rule, What};

struct Bench {
    dir: tempfile::TempDir,
    keys: RuntimeKeys,
    ring: KeyRing,
}

fn lead() -> KeyConfig {
    KeyConfig { name: "lead".to_owned(), allow: vec![Right::Keys], ..KeyConfig::default() }
}

fn open(path: &Path, configured: &[KeyConfig]) -> (RuntimeKeys, KeyRing) {
    let ring = KeyRing::new(configured);
    let keys = RuntimeKeys::open(path, &ring, Arc::default()).unwrap();
    let ring = ring.joined_by(Some(keys.live()), &[], &KeySets::new(super::client()));
    (keys, ring)
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (keys, ring) = open(&dir.path().join("keys.db"), &[lead()]);
        Self { dir, keys, ring }
    }

    fn restarted(self, configured: &[KeyConfig]) -> Self {
        drop(self.keys);
        let (keys, ring) = open(&self.dir.path().join("keys.db"), configured);
        Self { dir: self.dir, keys, ring }
    }

    fn make(&self, name: &str, maker: &Maker) -> Result<String, KeyError> {
        let new = NewKey { name: name.to_owned(), ..NewKey::default() };
        self.keys.create(new, maker).map(|(_, secret)| secret)
    }

    fn found(&self, secret: &str) -> Result<String, Refused> {
        self.found_at(secret, SystemTime::now())
    }

    fn found_at(&self, secret: &str, now: SystemTime) -> Result<String, Refused> {
        self.ring.find(secret.as_bytes(), now).map(|key| key.name.to_string())
    }

    fn set_enabled(&self, name: &str, enabled: bool, maker: &Maker) -> Result<Listed, KeyError> {
        self.keys.change(name, Change { enabled: Some(enabled), ..Change::default() }, maker)
    }

    fn lead(&self) -> Maker {
        Maker::Key(self.ring.configured()["lead"].clone())
    }
}

#[test]
fn its_priority_and_what_becomes_of_its_answers_outlive_the_process() {
    let bench = Bench::new();
    let body = br#"{"name":"bot","priority":7,"on_abort":"drain"}"#;
    let (listed, secret) = bench.keys.create(NewKey::parse(body, SystemTime::now()).unwrap(), &Maker::Master).unwrap();
    let shown = serde_json::to_value(&listed).unwrap();
    assert_eq!((&shown["priority"], &shown["on_abort"]), (&7.into(), &"drain".into()));
    let bench = bench.restarted(&[lead()]);
    let key = bench.ring.find(secret.as_bytes(), SystemTime::now()).unwrap();
    assert_eq!((key.priority(), key.on_abort()), (7, crate::config::OnAbort::Drain));
}

#[test]
fn a_key_lives_until_it_is_deleted() {
    let bench = Bench::new();
    let secret = bench.make("bot", &Maker::Master).unwrap();
    assert!(secret.starts_with("gw-") && secret.len() == 46, "{secret}");
    assert_eq!(bench.found(&secret).as_deref(), Ok("bot"));
    assert!(matches!(bench.make("bot", &Maker::Master), Err(KeyError::Conflict(_))));
    assert!(matches!(bench.make("lead", &Maker::Master), Err(KeyError::Conflict(_))));

    let held = bench.ring.find(secret.as_bytes(), SystemTime::now()).unwrap();
    bench.set_enabled("bot", false, &Maker::Master).unwrap();
    assert_eq!(bench.found(&secret), Err(Refused::Disabled));
    let bench = bench.restarted(&[lead()]);
    assert_eq!(bench.found(&secret), Err(Refused::Disabled));
    bench.set_enabled("bot", true, &Maker::Master).unwrap();
    assert_eq!(bench.found(&secret).as_deref(), Ok("bot"));

    bench.keys.delete("bot", &Maker::Master).unwrap();
    assert_eq!(bench.found(&secret), Err(Refused::Wrong));
    assert_eq!(&*held.name, "bot", "an exchange under way keeps its key");
    assert!(matches!(bench.keys.delete("bot", &Maker::Master), Err(KeyError::NotFound(_))));
    assert_eq!(bench.restarted(&[lead()]).found(&secret), Err(Refused::Wrong));
}

#[test]
fn the_old_secret_overlaps_and_no_third_one_is_taken() {
    let bench = Bench::new();
    let first = bench.make("bot", &Maker::Master).unwrap();
    let rotate = |overlap| bench.keys.rotate("bot", Duration::from_secs(overlap), &Maker::Master).unwrap().1;
    let second = rotate(1000);
    let later = SystemTime::now() + Duration::from_secs(1001);
    assert_eq!((bench.found(&first).as_deref(), bench.found(&second).as_deref()), (Ok("bot"), Ok("bot")));
    assert_eq!(bench.found_at(&first, later), Err(Refused::Expired));
    assert_eq!(bench.found_at(&second, later).as_deref(), Ok("bot"));

    let third = rotate(1000);
    assert_eq!(bench.found(&first), Err(Refused::Wrong));
    assert!(bench.found(&second).is_ok() && bench.found(&third).is_ok());
    let bench = bench.restarted(&[lead()]);
    assert_eq!(bench.found(&first), Err(Refused::Wrong));
    assert!(bench.found(&second).is_ok() && bench.found(&third).is_ok());

    let fourth = bench.keys.rotate("bot", Duration::ZERO, &Maker::Master).unwrap().1;
    assert_eq!((bench.found(&second), bench.found(&third)), (Err(Refused::Wrong), Err(Refused::Wrong)));
    assert!(bench.restarted(&[lead()]).found(&fourth).is_ok());
}

#[test]
fn keys_are_dated_and_their_secrets_overlap_by_the_clock_of_their_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_930_910_400);
    let limits = Arc::new(Limits::by(Time::of(Hand::at(1_930_910_400))));
    let keys = RuntimeKeys::open(&dir.path().join("keys.db"), &KeyRing::default(), limits).unwrap();
    let ring = KeyRing::default().joined_by(Some(keys.live()), &[], &KeySets::new(super::client()));
    let new = NewKey { name: "bot".to_owned(), ..NewKey::default() };
    let (made, first) = keys.create(new, &Maker::Master).unwrap();
    assert_eq!(serde_json::to_value(made).unwrap()["created"], "2031-03-10T12:00:00Z");
    let (rotated, second) = keys.rotate("bot", Duration::from_secs(1000), &Maker::Master).unwrap();
    assert_eq!(serde_json::to_value(rotated).unwrap()["old_secret_until"], "2031-03-10T12:16:40Z");
    for (passed, overlaps) in [(999, true), (1000, false)] {
        let now = at + Duration::from_secs(passed);
        assert!(ring.find(second.as_bytes(), now).is_ok());
        assert_eq!(ring.find(first.as_bytes(), now).is_ok(), overlaps, "{passed}");
    }
}

#[test]
fn no_request_falls_between_two_secrets() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let bench = Bench::new();
    for round in 0..20 {
        let name = format!("bot-{round}");
        let secret = bench.make(&name, &Maker::Master).unwrap();
        let rotated = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !rotated.load(Ordering::Relaxed) {
                    assert!(bench.found(&secret).is_ok());
                }
            });
            bench.keys.rotate(&name, Duration::from_secs(1000), &Maker::Master).unwrap();
            rotated.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn makers_see_and_bound_only_their_own() {
    let bench = Bench::new();
    let (masters, own) = (bench.make("a", &Maker::Master).unwrap(), bench.make("b", &bench.lead()).unwrap());
    assert_eq!(bench.keys.list("", 10, &Maker::Master).len(), 2);
    let listed = bench.keys.list("", 10, &bench.lead());
    assert_eq!(listed.iter().map(Listed::name).collect::<Vec<_>>(), ["b"]);
    for refused in [
        bench.keys.get("a", &bench.lead()).err(),
        bench.keys.rotate("a", Duration::ZERO, &bench.lead()).err(),
        bench.set_enabled("a", false, &bench.lead()).err(),
        bench.keys.delete("a", &bench.lead()).err(),
    ] {
        assert!(matches!(refused, Some(KeyError::NotFound(_))), "{refused:?}");
    }
    assert!(bench.found(&masters).is_ok() && bench.found(&own).is_ok());

    // The maker narrows what it made for good, also later …
    let narrow = KeyConfig { models: Some(vec![ModelPattern::new("small")]), ..lead() };
    let bench = bench.restarted(&[narrow]);
    let key = bench.ring.find(own.as_bytes(), SystemTime::now()).unwrap();
    assert!(key.may_use("small") && !key.may_use("large"));
    // … and takes it along when it goes.
    let bench = bench.restarted(&[]);
    assert_eq!(bench.found(&own), Err(Refused::Disabled));
    assert!(bench.found(&masters).is_ok());
    bench.keys.delete("b", &Maker::Master).unwrap();
}

#[test]
fn a_maker_of_the_store_takes_its_keys_along() {
    let bench = Bench::new();
    let new = NewKey { name: "maker".to_owned(), allow: Some(vec![Right::Keys]), ..NewKey::default() };
    let (_, secret) = bench.keys.create(new, &Maker::Master).unwrap();
    let maker = Maker::Key(bench.ring.find(secret.as_bytes(), SystemTime::now()).unwrap());
    let own = bench.make("own", &maker).unwrap();
    bench.set_enabled("maker", false, &Maker::Master).unwrap();
    assert_eq!(bench.found(&own), Err(Refused::Disabled));
    bench.set_enabled("maker", true, &Maker::Master).unwrap();
    let bench = bench.restarted(&[lead()]);
    assert!(bench.found(&own).is_ok());
    bench.keys.delete("maker", &Maker::Master).unwrap();
    assert_eq!(bench.found(&own), Err(Refused::Wrong));
    assert_eq!(bench.restarted(&[lead()]).keys.list("", 10, &Maker::Master), []);
}

#[test]
fn a_name_of_the_file_keeps_the_store_out() {
    let bench = Bench::new();
    let secret = bench.make("bot", &Maker::Master).unwrap();
    let bench = bench.restarted(&[KeyConfig { name: "bot".to_owned(), ..KeyConfig::default() }]);
    assert_eq!(bench.found(&secret), Err(Refused::Disabled));
}

#[test]
fn pages_follow_each_other() {
    let bench = Bench::new();
    for name in ["c", "a", "b"] {
        bench.make(name, &Maker::Master).unwrap();
    }
    let page = |after: &str| -> Vec<String> {
        bench.keys.list(after, 2, &Maker::Master).iter().map(|key| key.name().to_owned()).collect()
    };
    assert_eq!((page(""), page("b"), page("c")), (vec!["a".into(), "b".into()], vec!["c".into()], vec![]));
}

/// Neither what is listed nor the file holds a secret, and the file is its owner's only.
#[test]
fn nothing_kept_is_a_secret() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let secret = bench.make("bot", &Maker::Master).unwrap();
    let listed = serde_json::to_string(&bench.keys.list("", 10, &Maker::Master)).unwrap();
    let hash = hash_line(&secret).replace("sha256:", "");
    assert!(!listed.contains(&secret) && !listed.contains(&hash), "{listed}");
    for entry in std::fs::read_dir(bench.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        assert!(!content.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{path:?}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{path:?}");
    }
    assert!(!format!("{:?}", bench.keys).contains(&secret));
}

/// With the store's lock held, a request that wanted anything of the store would never end.
#[test]
fn no_request_asks_the_store() {
    let bench = Bench::new();
    let secret = bench.make("bot", &Maker::Master).unwrap();
    let held = bench.keys.inner.lock();
    for _ in 0..100 {
        assert!(bench.found(&secret).is_ok());
        assert_eq!(bench.found("gw-wrong"), Err(Refused::Wrong));
    }
    drop(held);
}

#[test]
fn a_key_that_cannot_be_read_is_refused_and_can_be_deleted_while_all_others_work() {
    let bench = Bench::new();
    let (good, bad) = (bench.make("good", &Maker::Master).unwrap(), bench.make("bad", &Maker::Master).unwrap());
    let path = bench.dir.path().join("keys.db");
    for rights in [r#"{"limits": [{"requests": "0/min"}]}"#, r#"{"allow": ["rights of a later version"]}"#, "no JSON"] {
        let store = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(store.execute("UPDATE keys SET rights = ?1 WHERE name = 'bad'", [rights]).unwrap(), 1);
        let (keys, ring) = open(&path, &[lead()]);
        let found = |secret: &str| ring.find(secret.as_bytes(), SystemTime::now()).map(|key| key.name.to_string());
        assert_eq!((found(&good).as_deref(), found(&bad)), (Ok("good"), Err(Refused::Wrong)));
        assert!(matches!(keys.get("bad", &Maker::Master), Err(KeyError::NotFound(_))));
    }
    let bench = bench.restarted(&[lead()]);
    assert!(matches!(bench.make("bad", &Maker::Master), Err(KeyError::Conflict(_))));
    assert!(matches!(bench.keys.delete("bad", &bench.lead()), Err(KeyError::NotFound(_))));
    bench.keys.delete("bad", &Maker::Master).unwrap();
    let again = bench.make("bad", &Maker::Master).unwrap();
    assert_eq!((bench.found(&bad), bench.found(&again).as_deref()), (Err(Refused::Wrong), Ok("bad")));
}

#[test]
fn a_file_that_is_no_store_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    std::fs::write(&path, "this is no database, and was never meant to be one: a text of some length").unwrap();
    assert!(matches!(RuntimeKeys::open(&path, &KeyRing::default(), Arc::default()), Err(KeyError::Store(_))));
    assert!(matches!(
        RuntimeKeys::open(Path::new("/nowhere/keys.db"), &KeyRing::default(), Arc::default()),
        Err(KeyError::Store(_))
    ));
}

/// A request may take its time, and its maker may go meanwhile, or be another one.
#[test]
fn what_a_maker_asked_for_is_judged_by_what_it_is_when_it_is_done() {
    let bench = Bench::new();
    let lead_as_it_was = bench.lead();
    let narrow = KeyConfig { models: Some(vec![ModelPattern::new("small")]), ..lead() };
    bench.keys.rebind(&KeyRing::new(&[narrow]));
    let own = bench.make("own", &lead_as_it_was).unwrap();
    let own = bench.ring.find(own.as_bytes(), SystemTime::now()).unwrap();
    assert!(own.may_use("small") && !own.may_use("large"));

    let refused = |maker: &Maker, why| {
        let refusals = [
            bench.make("new", maker).err(),
            bench.keys.rotate("own", Duration::ZERO, maker).err(),
            bench.set_enabled("own", true, maker).err(),
            bench.keys.delete("own", maker).err(),
        ];
        assert_eq!(refusals, std::array::from_fn(|_| Some(KeyError::Refused(why))));
    };
    bench.keys.rebind(&KeyRing::new(&[KeyConfig { expires: Some(SystemTime::UNIX_EPOCH), ..lead() }]));
    refused(&lead_as_it_was, Refused::Expired);
    bench.keys.rebind(&KeyRing::new(&[KeyConfig { allow: vec![], ..lead() }]));
    refused(&lead_as_it_was, Refused::Wrong);
    bench.keys.rebind(&KeyRing::default());
    refused(&lead_as_it_was, Refused::Wrong);

    let new = NewKey { name: "maker".to_owned(), allow: Some(vec![Right::Keys]), ..NewKey::default() };
    let (_, secret) = bench.keys.create(new, &Maker::Master).unwrap();
    let maker = Maker::Key(bench.ring.find(secret.as_bytes(), SystemTime::now()).unwrap());
    bench.set_enabled("maker", false, &Maker::Master).unwrap();
    refused(&maker, Refused::Disabled);
    bench.keys.delete("maker", &Maker::Master).unwrap();
    refused(&maker, Refused::Wrong);
}

fn maker(bench: &Bench, name: &str) -> Maker {
    let new = NewKey { name: name.to_owned(), allow: Some(vec![Right::Keys]), ..NewKey::default() };
    let (_, secret) = bench.keys.create(new, &Maker::Master).unwrap();
    Maker::Key(bench.ring.find(secret.as_bytes(), SystemTime::now()).unwrap())
}

/// A key of a maker's name that is made later is another one: it neither brings back what the first one made nor has it.
#[test]
fn a_new_key_of_a_makers_name_is_not_the_maker() {
    let bench = Bench::new();
    let own = bench.make("own", &bench.lead()).unwrap();
    let bench = bench.restarted(&[]);
    assert_eq!(bench.found(&own), Err(Refused::Disabled));
    let new_lead = maker(&bench, "lead");
    bench.keys.rebind(&KeyRing::default());
    assert_eq!(bench.found(&own), Err(Refused::Disabled));
    assert_eq!(bench.keys.list("", 10, &new_lead), []);
    assert!(matches!(bench.keys.delete("own", &new_lead), Err(KeyError::NotFound(_))));
    let bench = bench.restarted(&[]);
    assert_eq!(bench.found(&own), Err(Refused::Disabled));
    bench.keys.delete("lead", &Maker::Master).unwrap();
    assert!(bench.keys.get("own", &Maker::Master).is_ok(), "the new key had not made it");
    // The file's key is back.
    bench.keys.rebind(&KeyRing::new(&[lead()]));
    assert!(bench.found(&own).is_ok());
}

/// Also within the second in which the first one was deleted.
#[test]
fn a_maker_made_anew_at_once_is_another_one() {
    let bench = Bench::new();
    let first = maker(&bench, "maker");
    bench.keys.delete("maker", &Maker::Master).unwrap();
    let second = maker(&bench, "maker");
    assert_eq!(bench.make("new", &first).err(), Some(KeyError::Refused(Refused::Wrong)));
    assert!(bench.make("new", &second).is_ok());
}

#[test]
fn a_key_of_the_file_does_not_get_what_one_of_the_store_made() {
    let bench = Bench::new();
    let own = bench.make("own", &maker(&bench, "maker")).unwrap();
    let named = KeyConfig { name: "maker".to_owned(), ..lead() };
    let bench = bench.restarted(&[named]);
    assert_eq!(bench.found(&own), Err(Refused::Disabled));
    assert_eq!(bench.keys.list("", 10, &Maker::Key(bench.ring.configured()["maker"].clone())), []);
    assert!(bench.restarted(&[]).found(&own).is_ok());
}

/// What a version wrote that knew makers by name only.
#[test]
fn keys_of_an_older_store_have_the_maker_that_is_there() {
    let bench = Bench::new();
    let (of_file, of_store) =
        (bench.make("of-file", &bench.lead()).unwrap(), bench.make("of-store", &maker(&bench, "maker")).unwrap());
    let gone = bench.make("gone", &Maker::Master).unwrap();
    bench.keys.delete("gone", &Maker::Master).unwrap();
    let store = rusqlite::Connection::open(bench.dir.path().join("keys.db")).unwrap();
    store
        .execute_batch(
            "UPDATE keys SET maker_created = NULL, enabled_changed = 0, secrets_changed = 0, rules_changed = 0;
            UPDATE deleted SET created = 0",
        )
        .unwrap();
    let bench = bench.restarted(&[lead()]);
    assert_eq!((bench.found(&of_file), bench.found(&of_store)), (Ok("of-file".into()), Ok("of-store".into())));
    assert_eq!(bench.found(&gone), Err(Refused::Wrong));
    bench.keys.delete("maker", &Maker::Master).unwrap();
    maker(&bench, "maker");
    assert_eq!(bench.restarted(&[lead()]).found(&of_store), Err(Refused::Wrong));
}

#[test]
fn what_was_deleted_is_forgotten_after_a_year() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::at(1_930_910_400));
    let limits = Arc::new(Limits::by(Time::of(clock.clone())));
    let keys = RuntimeKeys::open(&dir.path().join("keys.db"), &KeyRing::default(), limits).unwrap();
    keys.create(NewKey { name: "bot".to_owned(), ..NewKey::default() }, &Maker::Master).unwrap();
    keys.delete("bot", &Maker::Master).unwrap();
    for (passed, known) in [(0, 1), (366 * 86_400, 1), (1, 0)] {
        clock.pass(passed);
        keys.rebind(&KeyRing::default());
        assert_eq!(keys.inner.lock().deleted.len(), known, "{passed}");
        assert_eq!(keys.entries(None).len(), known, "{passed}");
        let store = rusqlite::Connection::open(dir.path().join("keys.db")).unwrap();
        let rows: u32 = store.query_row("SELECT COUNT(*) FROM deleted", [], |row| row.get(0)).unwrap();
        assert_eq!(rows as usize, known, "{passed}");
    }
}

/// A reload finds a key in the file that had been made at run time.
#[test]
fn a_key_of_the_file_has_no_limits_of_the_stores_key_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Arc::<Limits>::default();
    let keys = RuntimeKeys::open(&dir.path().join("keys.db"), &KeyRing::new(&[lead()]), limits.clone()).unwrap();
    let rule = |limit| Rule { what: What::Requests, period: Period::Day, limit, soft: limit };
    keys.create(NewKey { name: "bot".to_owned(), rules: vec![rule(1)], ..NewKey::default() }, &Maker::Master).unwrap();
    let in_force = || {
        let bot = limits.find(Kind::Key, "bot").unwrap();
        bot.usage(limits.now()).into_iter().map(|usage| usage.rule).collect::<Vec<_>>()
    };
    assert_eq!(in_force(), [rule(1)]);
    let of_file = |rules| KeyConfig { name: "bot".to_owned(), rules, ..KeyConfig::default() };
    keys.rebind(&KeyRing::new(&[lead(), of_file(Vec::new())]));
    assert_eq!(in_force(), []);
    keys.rebind(&KeyRing::new(&[lead(), of_file(vec![rule(2)])]));
    assert_eq!(in_force(), [rule(2)]);
    keys.rebind(&KeyRing::new(&[lead()]));
    assert_eq!(in_force(), [rule(1)]);
}
