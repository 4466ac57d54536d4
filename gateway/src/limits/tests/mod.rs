//! Limits in one process: exactness, reservations, windows.

mod looks;
mod sums;
mod waiting;

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::*;

const T: u64 = 1_764_092_000_000;

fn rule(what: What, period: Period, limit: u64) -> Rule {
    Rule { what, period, limit, soft: limit }
}

fn amounts(tokens: u64, cost: u64) -> Amounts {
    Amounts { tokens, cost }
}

fn limits(rules: &[Rule]) -> (Arc<Limits>, Arc<Subject>) {
    let limits = Arc::new(Limits::new());
    let subject = limits.set(Kind::Key, "bot", rules);
    (limits, subject)
}

fn admit(
    limits: &Arc<Limits>,
    subjects: &[&Arc<Subject>],
    amounts: Amounts,
    now: u64,
) -> Result<Reservation, Box<Refusal>> {
    let places = subject::places(subjects.iter().map(|subject| Arc::clone(subject)).collect());
    limits.enter(places, Claim::request(amounts), Some(1), now)
}

async fn in_turn(
    limits: &Arc<Limits>,
    subject: &Arc<Subject>,
    amounts: Amounts,
    priority: u32,
) -> Result<Reservation, Box<Refusal>> {
    limits.admit_in_turn(vec![subject.clone()], Claim::request(amounts), priority, Duration::ZERO).await
}

fn until(refused: Result<Reservation, Box<Refusal>>) -> u64 {
    refused.unwrap_err().refused.until
}

#[test]
fn requests_count_when_they_come_and_for_the_whole_window() {
    let (limits, bot) = limits(&[rule(What::Requests, Period::Sliding(60_000), 5)]);
    for step in 0..5 {
        drop(admit(&limits, &[&bot], amounts(0, 0), T + step * 1_000).unwrap());
    }
    let at = until(admit(&limits, &[&bot], amounts(0, 0), T + 5_000));
    assert!((T + 60_000..=T + 61_000).contains(&at), "{}", at - T);
    assert_eq!(until(admit(&limits, &[&bot], amounts(0, 0), at - 1)), at);
    admit(&limits, &[&bot], amounts(0, 0), at).unwrap();
    let next = until(admit(&limits, &[&bot], amounts(0, 0), at));
    assert!((at + 1..=at + 1_000).contains(&next), "room for one comes back");
}

#[test]
fn a_refusal_counts_nowhere() {
    let limits = Arc::new(Limits::new());
    let narrow = limits.set(Kind::Team, "t", &[rule(What::Requests, Period::Day, 1)]);
    let wide =
        limits.set(Kind::Key, "k", &[rule(What::Requests, Period::Day, 9), rule(What::Tokens, Period::Day, 100)]);
    let first = admit(&limits, &[&narrow, &wide], amounts(10, 0), T).unwrap();
    let refused = admit(&limits, &[&wide, &narrow], amounts(10, 0), T).unwrap_err().refused;
    assert_eq!((refused.subject.kind, refused.rule.what), (Kind::Team, What::Requests));
    assert_eq!(wide.usage(T)[0].booked, 1);
    assert_eq!(wide.usage(T)[1].reserved, 10);
    first.settle(amounts(3, 0));
    assert_eq!((wide.usage(T)[1].booked, wide.usage(T)[1].reserved), (3, 0));
}

#[test]
fn a_budget_lets_in_while_anything_is_left() {
    let (limits, bot) = limits(&[rule(What::Cost, Period::Month, 100)]);
    let first = admit(&limits, &[&bot], amounts(0, 99), T).unwrap();
    let second = admit(&limits, &[&bot], amounts(0, 50), T).unwrap();
    assert!(admit(&limits, &[&bot], amounts(0, 0), T).is_err());
    drop(second);
    first.settle(amounts(0, 40));
    assert_eq!(bot.usage(limits.now())[0].booked, 40);
    // What it costs is booked by the clock of the process.
    let now = limits.now();
    let third = admit(&limits, &[&bot], amounts(0, 61), now).unwrap();
    let at = until(admit(&limits, &[&bot], amounts(0, 1), now));
    // 40 are booked, 61 reserved: one too many with the one that each needs, and 61 may come back.
    assert_eq!(at, now + 1_000, "requests that run may give it back long before the month ends");
    third.settle(amounts(0, 10));
    assert!(admit(&limits, &[&bot], amounts(0, 1), now).is_ok());
    // 50 and 55 are booked, 5 reserved: eleven too many, of which 5 may come back.
    let fourth = admit(&limits, &[&bot], amounts(0, 5), now).unwrap();
    bot.meters()[0].book(55, now);
    assert_eq!(until(admit(&limits, &[&bot], amounts(0, 1), now)), Period::Month.ends(now));
    drop(fourth);
}

#[test]
fn a_total_budget_that_is_used_up_never_comes_back() {
    let (limits, bot) = limits(&[rule(What::Cost, Period::Total, 100)]);
    assert_eq!(limits.restores_from(), Some(0));
    let used = Used { keys: [Some("bot"), None], amounts: amounts(0, 100), at: 1, ..Used::default() };
    limits.restore(&used);
    assert_eq!(until(admit(&limits, &[&bot], amounts(0, 1), T)), NEVER);
}

/// What was used before counts until the same moment as if this process had seen it, whatever order it is told in.
#[test]
fn what_was_used_before_counts_as_long_as_it_would_have() {
    let windows = [Period::Sliding(60_000), Period::Sliding(86_400_000), Period::Hour, Period::Day, Period::Month];
    for (what, period) in
        [What::Tokens, What::Requests].into_iter().flat_map(|what| windows.map(|window| (what, window)))
    {
        let (seen, bot) = limits(&[rule(what, period, 1_000)]);
        let (told, other) = limits(&[rule(what, period, 1_000)]);
        let now = seen.now();
        let past = [0, 1_000, 59_000, 61_000, 3_000_000, 80_000_000, 90_000_000, 3_000_000_000].map(|ago| now - ago);
        let in_order: Vec<(u64, u64)> = (1..).zip(past).collect();
        for (amount, at) in in_order.iter().rev() {
            bot.meters()[0].book(if what == What::Requests { 1 } else { *amount }, *at);
        }
        for (amount, at) in (1..).zip(past) {
            // A request counts when it came, tokens when it ended.
            let (at, let_in) = if what == What::Requests { (now, Some(at)) } else { (at, None) };
            told.restore(&Used {
                keys: [None, Some("bot")],
                amounts: amounts(amount, 0),
                at,
                let_in,
                ..Used::default()
            });
        }
        bot.meters()[0].advance(now);
        let of = |subject: &Subject| {
            let mut meters = subject.meters();
            [0, 30_000, 1_800_000, 50_000_000].map(|later| {
                meters[0].advance(now + later);
                meters[0].booked()
            })
        };
        assert_eq!(of(&bot), of(&other), "{what:?} {period}");
    }
}

#[test]
fn a_request_larger_than_the_limit_passes_alone() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Sliding(1_000), 100)]);
    let large = admit(&limits, &[&bot], amounts(1_000, 0), T).unwrap();
    assert!(admit(&limits, &[&bot], amounts(1, 0), T).is_err());
    drop(large);
    drop(admit(&limits, &[&bot], amounts(1, 0), T).unwrap());
    assert_eq!(bot.reserved(What::Tokens), 0);
}

#[test]
fn absurd_numbers_count_as_large_ones() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Day, 100), rule(What::Cost, Period::Total, u64::MAX / 2)]);
    for _ in 0..10_000 {
        let Ok(held) = admit(&limits, &[&bot], amounts(u64::MAX, u64::MAX), limits.now()) else { break };
        held.settle(amounts(0, u64::MAX));
    }
    let usage = bot.usage(limits.now());
    assert_eq!((usage[0].reserved, usage[1].reserved), (0, 0));
    assert!(usage[1].booked >= u64::MAX / 2);
    assert!(admit(&limits, &[&bot], amounts(1, 1), limits.now()).is_err());
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let (limits, bot) = limits(&[rule(What::Concurrent, Period::Total, 2), rule(What::Tokens, Period::Day, 100)]);
    let held = admit(&limits, &[&bot], amounts(30, 0), T).unwrap();
    // One limit goes, one is narrower, one is new.
    assert!(Arc::ptr_eq(
        &bot,
        &limits.set(Kind::Key, "bot", &[rule(What::Tokens, Period::Day, 50), rule(What::Tokens, Period::Hour, 60)])
    ));
    assert_eq!(bot.usage(T).len(), 2);
    assert!(admit(&limits, &[&bot], amounts(21, 0), T).is_err());
    let other = admit(&limits, &[&bot], amounts(20, 0), T).unwrap();
    limits.set(Kind::Key, "bot", &[rule(What::Concurrent, Period::Total, 2), rule(What::Tokens, Period::Day, 100)]);
    assert!(admit(&limits, &[&bot], amounts(1, 0), T).is_err(), "both are still under way");
    held.settle(amounts(5, 0));
    other.settle(amounts(6, 0));
    let now = limits.now();
    let usage = bot.usage(now);
    assert_eq!((usage[0].reserved, usage[1].reserved, usage[1].booked), (0, 0, 11));
    limits.set(Kind::Key, "bot", &[rule(What::Tokens, Period::Hour, 60)]);
    assert_eq!(
        (bot.usage(now)[0].reserved, bot.usage(now)[0].booked),
        (0, 11),
        "it never knew of the first one's estimate"
    );
}

#[test]
fn what_the_client_is_told() {
    let (limits, bot) = limits(&[
        rule(What::Requests, Period::Sliding(60_000), 10),
        rule(What::Requests, Period::Day, 3),
        rule(What::Tokens, Period::Sliding(60_000), 1_000),
        Rule { soft: 80, ..rule(What::Cost, Period::Month, 100) },
    ]);
    let header = |name, value: &str| (HeaderName::from_static(name), value.to_owned());
    let told = |standing: Standing| -> Vec<(HeaderName, String)> {
        let mut headers = HeaderMap::new();
        standing.tell(&mut headers);
        headers.iter().map(|(name, value)| (name.clone(), value.to_str().unwrap().to_owned())).collect()
    };
    let held = admit(&limits, &[&bot], amounts(100, 79), T).unwrap();
    let headers = told(held.standing);
    assert_eq!(headers[0], header("x-ratelimit-limit-requests", "3"));
    assert_eq!(headers[1], header("x-ratelimit-remaining-requests", "2"));
    assert_eq!(headers[3], header("x-ratelimit-limit-tokens", "1000"));
    assert_eq!(headers[4], header("x-ratelimit-remaining-tokens", "900"));
    assert_eq!(headers.len(), 6, "the soft mark is not reached: {headers:?}");
    let second = admit(&limits, &[&bot], amounts(1, 4), T).unwrap();
    assert_eq!(told(second.standing).len(), 6, "nothing is used yet");
    held.settle(amounts(100, 80));
    let third = admit(&limits, &[&bot], amounts(1, 4), limits.now()).unwrap();
    assert_eq!(told(third.standing).last(), Some(&header("x-gateway-budget-used", "0.800")));
}

#[test]
fn a_budget_that_is_only_reserved_is_not_used_up() {
    let (limits, bot) = limits(&[rule(What::Cost, Period::Total, 100)]);
    let [first, second] = [30, 120].map(|cost| admit(&limits, &[&bot], amounts(1, cost), limits.now()).unwrap());
    let refused = |now| admit(&limits, &[&bot], amounts(1, 1), now).unwrap_err().refused;
    assert!(refused(limits.now()).is_held);
    first.settle(amounts(1, 99));
    assert!(refused(limits.now()).is_held);
    second.settle(amounts(1, 1));
    assert!(!refused(limits.now()).is_held);
}

#[test]
fn a_soft_mark_warns_once_in_its_time() {
    let mut meter = meter::Meter::new(Rule { soft: 80, ..rule(What::Cost, Period::Day, 100) });
    meter.enter(90, T, false);
    meter.spend(79, T);
    assert!(!meter.warns(meter.booked(), T));
    meter.spend(1, T);
    assert!(meter.warns(80, T) && !meter.warns(80, T) && !meter.warns(80, Period::Day.ends(T) - 1));
    assert!(meter.warns(80, Period::Day.ends(T)));
}

#[test]
fn a_clock_that_is_set_back_freezes_nothing() {
    const HOUR: u64 = 3_600_000;
    let mut meter = meter::Meter::new(rule(What::Tokens, Period::Sliding(HOUR), 100));
    meter.book(7, T);
    meter.book(20, T + 30 * 60_000);
    // Two threads, of which the one that read the clock first comes last.
    meter.advance(T + 30 * 60_000 - 500);
    assert_eq!(meter.last_end(), Some(Period::Sliding(HOUR).ends(T + 30 * 60_000)));
    // Ten hours back: all of it counts one more window, by the clock that goes now.
    let back = T - 10 * HOUR;
    meter.book(3, back);
    assert_eq!((meter.booked(), meter.last_end()), (30, Some(Period::Sliding(HOUR).ends(back))));
    meter.book(5, back + HOUR / 2);
    assert_eq!(meter.booked(), 35);
    meter.advance(back + HOUR + 60_000);
    assert_eq!(meter.booked(), 5, "what is counted since ends on its own");
    meter.advance(back + 2 * HOUR);
    assert_eq!((meter.booked(), meter.last_end()), (0, None));
}

#[test]
fn a_store_is_told_until_when_it_counts() {
    let mut meter = meter::Meter::new(rule(What::Cost, Period::Sliding(60_000), 100));
    let ends = |at| Period::Sliding(60_000).ends(at);
    for (amount, at) in [(10, T), (20, T + 20_000), (30, T + 40_000)] {
        meter.spend(amount, at);
    }
    // The store has heard of the first ten.
    meter.unsent -= 10;
    assert_eq!(meter.take_unsent(T + 40_000), [(ends(T + 40_000), 30), (ends(T + 20_000), 20)]);
    assert!(meter.take_unsent(T + 40_000).is_empty());
    // It was out of reach for longer than the window: nothing that has ended is told into the next one.
    meter.spend(40, T + 41_000);
    assert!(meter.take_unsent(T + 200_000).is_empty());
    meter.spend(50, T + 200_000);
    assert_eq!(meter.take_unsent(T + 200_000), [(ends(T + 200_000), 50)]);
}

/// A client that keeps to the headers comes back when the limit has room that was in its way.
#[test]
fn who_is_refused_is_told_of_the_limit_that_refuses_whoevers_it_is() {
    let (limits, bot) = limits(&[rule(What::Requests, Period::Day, 1_000), rule(What::Tokens, Period::Day, 1_000)]);
    let model = limits.set(Kind::Model, "m", &[rule(What::Requests, Period::Sliding(60_000), 2)]);
    let told = |standing: Standing| {
        let mut headers = HeaderMap::new();
        standing.tell(&mut headers);
        ["limit", "remaining"].map(|of| headers[format!("x-ratelimit-{of}-requests")].to_str().unwrap().to_owned())
    };
    let _first = admit(&limits, &[&bot, &model], amounts(1, 0), T).unwrap();
    let second = admit(&limits, &[&bot, &model], amounts(1, 0), T).unwrap();
    assert_eq!(told(second.standing), ["1000", "998"]);
    let refusal = admit(&limits, &[&bot, &model], amounts(1, 0), T).unwrap_err();
    assert_eq!(refusal.refused.subject, model);
    assert_eq!(told(refusal.standing), ["2", "0"]);
    let tokens = admit(&limits, &[&bot], amounts(999, 0), T).unwrap_err();
    assert_eq!((tokens.refused.rule.what, told(tokens.standing)), (What::Tokens, ["1000", "998"].map(str::to_owned)));
}

#[test]
fn what_only_requests_under_way_use_is_reset_soon() {
    let (limits, bot) = limits(&[rule(What::Tokens, Period::Day, 100)]);
    let held = admit(&limits, &[&bot], amounts(100, 0), T).unwrap();
    let mut headers = HeaderMap::new();
    held.standing.tell(&mut headers);
    assert_eq!(headers["x-ratelimit-remaining-tokens"], "0");
    assert_eq!(headers["x-ratelimit-reset-tokens"], "1s");
}

#[test]
fn what_is_done_anyway_counts_at_its_target() {
    let limits = Arc::new(Limits::new());
    let target = limits.set(Kind::Target, "p/m", &[rule(What::Requests, Period::Day, 1)]);
    let _first = limits.begin(vec![target.clone()], Claim::request(amounts(0, 0))).unwrap();
    assert!(limits.begin(vec![target.clone()], Claim::request(amounts(0, 0))).is_none());
    let _half = limits.begin_anyway(vec![target.clone()], Claim::request(amounts(0, 0))).unwrap();
    assert_eq!(target.usage(limits.now())[0].booked, 2);
}

/// In two places with other limits, and in a third one with none: they are the target's, not the place's.
#[test]
fn a_target_in_several_places_has_one_set_of_limits() {
    let text = "[providers.p]\nkind = \"anthropic\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"x\"\n\
                [models.a]\ntargets = [{ provider = \"p\", model = \"m\", rpm = 5, tpm = 900 }]\n\
                [models.b]\ntargets = [{ provider = \"p\", model = \"m\", rpm = 9 }]\n\
                [models.c]\ntargets = [{ provider = \"p\", model = \"m\" }]\n";
    let loaded = crate::config::Config::parse(text, "test.toml", &crate::config::System).unwrap();
    let snapshot = crate::snapshot::Snapshot::of(&loaded.config);
    let of = |model: &str| snapshot.model(model).unwrap().targets[0].limits.clone().unwrap();
    assert!(Arc::ptr_eq(&of("a"), &of("b")) && Arc::ptr_eq(&of("a"), &of("c")));
    let mut limits: Vec<_> =
        of("c").usage(T).iter().map(|usage| (usage.rule.what.as_str(), usage.rule.limit)).collect();
    limits.sort_unstable();
    assert_eq!(limits, [("requests", 5), ("tokens", 900)]);
}
