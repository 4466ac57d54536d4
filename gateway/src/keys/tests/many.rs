//! A hundred thousand keys. `cargo test -p ai-gateway --release --lib keys::tests::many -- --ignored --nocapture` measures.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::config::{KeyConfig, ModelPattern};
use crate::keys::secret::digest;
use crate::keys::*;

fn live(count: usize) -> KeyRing {
    let key = |number: usize| {
        let config = KeyConfig {
            name: format!("key-{number}"),
            models: Some(vec![ModelPattern::new("assistant")]),
            tags: vec!["gold".to_owned()],
            team: Some("support".to_owned()),
            ..KeyConfig::default()
        };
        (digest(format!("gw-{number}").as_bytes()), None, Arc::new(Key::new(config)))
    };
    let keys = Arc::new(LiveKeys::new((0..count).map(key)));
    KeyRing::default().joined_by(Some(keys), &[], &KeySets::new(super::client()))
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Every one of many keys is found, and nothing else.
#[test]
fn each_is_found() {
    let ring = live(20_000);
    let now = SystemTime::now();
    for number in 0..20_000 {
        assert_eq!(&*ring.find(format!("gw-{number}").as_bytes(), now).unwrap().name, format!("key-{number}"));
        assert_eq!(ring.find(format!("gw-{number}x").as_bytes(), now).unwrap_err(), Refused::Wrong);
    }
}

#[test]
#[ignore = "a measurement"]
fn lookups_cost_the_same() {
    const LOOKUPS: usize = 400_000;
    for count in [10, 100_000] {
        let before = resident();
        let ring = live(count);
        let memory = resident() - before;
        let now = SystemTime::now();
        let secrets: Vec<String> = (0..1000).map(|number| format!("gw-{}", (number * 7919) % count)).collect();
        let begun = Instant::now();
        for secret in secrets.iter().cycle().take(LOOKUPS) {
            black_box(ring.find(black_box(secret.as_bytes()), now).unwrap());
        }
        let found = begun.elapsed().as_nanos() / LOOKUPS as u128;
        let begun = Instant::now();
        for _ in 0..LOOKUPS {
            black_box(ring.find(black_box(b"gw-not-there-at-all"), now).unwrap_err());
        }
        let missed = begun.elapsed().as_nanos() / LOOKUPS as u128;
        println!("{count} keys: found {found} ns, wrong {missed} ns, {} bytes a key", memory / count as u64);
    }
}
