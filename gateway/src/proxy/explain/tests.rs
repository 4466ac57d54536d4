//! `explain` says what the live code does, on random configurations, states and requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;

use super::*;
use crate::config::{Config, System};
use crate::health::{FailureKind, Pass, Verdict as HealthVerdict};
use crate::proxy::attempt::next_attempt;
use crate::proxy::plan::Next;
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;

const CONFIGURATIONS: u64 = 400;
const STATES: usize = 25;

/// Of `test-key`.
const KEY_HASH: &str = "sha256:62af8704764faf8ea82fc61ce9c4c3908b6cb97d463a634e9e587d7c885db0ef";

const STRATEGIES: [&str; 6] = ["weighted", "round_robin", "least_latency", "least_busy", "lowest_cost", "sticky"];

/// One of these.
fn any<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

fn coin(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

fn configuration(rng: &mut Rng) -> String {
    let mut text = String::from(
        "[providers.one]\nkind = 'openai-compatible'\nbase_url = 'http://127.0.0.1:1/v1'\n\
         [providers.three]\nkind = 'openai-compatible'\nbase_url = 'http://127.0.0.1:1/v1'\napi_keys = ['a', 'b', 'c']\n\
         [providers.claude]\nkind = 'anthropic'\nbase_url = 'http://127.0.0.1:1'\napi_keys = ['a', 'b']\n",
    );
    for model in 0..3 {
        let strategy = any(rng, &STRATEGIES);
        let _ =
            write!(text, "[models.m{model}]\nstrategy = '{strategy}'\nretry = {{ attempts = {} }}\n", rng.u32(1..5));
        if strategy == "sticky" {
            let _ = writeln!(text, "sticky = {{ by = '{}' }}", any(rng, &["session", "key", "prompt"]));
        }
        if coin(rng, 20) {
            text.push_str("lossy = 'error'\n");
        }
        text.push_str("targets = [");
        let mut weighty = [false; 3];
        for target in 0..rng.usize(1..6) {
            let priority = rng.usize(..3);
            let weight =
                if std::mem::replace(&mut weighty[priority], true) { any(rng, &["0", "1", "10"]) } else { "3" };
            let provider = any(rng, &["one", "three", "claude"]);
            let _ = write!(
                text,
                "{{ provider = '{provider}', model = 't{target}', priority = {priority}, weight = {weight}"
            );
            if coin(rng, 60) {
                let _ = write!(text, ", price = {{ input = {}, output = {} }}", rng.u32(1..4), rng.u32(1..9));
            }
            text.push_str(" }, ");
        }
        text.push_str("]\n");
    }
    for rule in 0..rng.usize(..4) {
        let when = any(
            rng,
            &[
                "stream = true",
                "model = 'm0'",
                "header = { x-team = 'a*' }",
                "prompt_tokens = { min = 20 }",
                "not = { metadata = { env = 'prod' } }",
                "cel = \"request.headers['x-team'] == 'b'\"",
            ],
        );
        let to = any(
            rng,
            &[
                "model = 'm1'",
                "model = 'one/free'",
                "split = [{ model = 'm0', percent = 30 }, { model = 'm2', percent = 70 }]\nby = 'user'",
                "split = [{ model = 'm1', percent = 50 }, { model = 'm2', percent = 50 }]\nby = 'request'",
                "targets = [{ provider = 'three', model = 't1' }, { provider = 'claude', model = 't2' }]",
                "reject = { message = 'no' }",
                "body = { set = { temperature = 0.5 } }",
            ],
        );
        let _ = write!(text, "[[routes]]\nname = 'r{rule}'\nwhen = {{ {when} }}\n{to}\n");
        if coin(rng, 30) && !to.starts_with("reject") {
            text.push_str("mirror = { target = { provider = 'one', model = 'copy' }, percent = 50 }\n");
        }
    }
    if coin(rng, 40) {
        let allow = any(rng, &["[]", "['fallbacks']"]);
        let models = any(rng, &["['m0', 'm1']", "['*']"]);
        let _ = write!(text, "[[keys]]\nname = 'bot'\nhash = '{KEY_HASH}'\nmodels = {models}\nallow = {allow}\n");
    }
    text
}

fn request(rng: &mut Rng) -> (RequestHeader, Bytes) {
    let messages = json!([{"role": "user", "content": "x".repeat(rng.usize(1..200))}]);
    let model = any(rng, &["m0", "m1", "m2", "m0", "m1", "m2", "three/free", "nobody"]);
    let mut body = json!({"model": model, "messages": messages, "stream": coin(rng, 50)});
    if coin(rng, 30) {
        body["user"] = format!("user-{}", rng.u32(..9)).into();
    }
    if coin(rng, 20) {
        body["fallbacks"] = json!([any(rng, &["m0", "m1", "m2"])]);
    }
    let path = any(rng, &["/v1/chat/completions", "/v1/messages"]);
    match path {
        "/v1/messages" => body["max_tokens"] = rng.u32(1..3000).into(),
        _ if coin(rng, 30) => body["logprobs"] = true.into(),
        _ => {}
    }
    let mut header = RequestHeader::build("POST", path.as_bytes(), None).unwrap();
    header.insert_header("api-key", "test-key").unwrap();
    if coin(rng, 50) {
        header.insert_header("x-session-id", format!("s{}", rng.u32(..9))).unwrap();
    }
    if coin(rng, 50) {
        header.insert_header("x-team", any(rng, &["a", "b"])).unwrap();
    }
    (header, body.to_string().into())
}

/// A gateway without listeners, whose clock the test moves.
struct Lab {
    rng: Rng,
    now: Instant,
    metrics: Metrics,
    snapshot: Arc<Snapshot>,
    continuity: Continuity,
    under_way: Vec<Pass>,
}

impl Lab {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let text = configuration(&mut rng);
        let loaded = Config::parse(&text, "test.toml", &System).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let metrics = Metrics::new();
        let snapshot = Arc::new(Snapshot::build(&loaded.config, None, &metrics.health, &metrics.limits).unwrap());
        Self { rng, now: Instant::now(), metrics, snapshot, continuity: Continuity::default(), under_way: Vec::new() }
    }

    /// Time passes, attempts begin and end, operators meddle.
    fn stir(&mut self) {
        let rng = &mut self.rng;
        self.now += Duration::from_millis(rng.u64(..4000));
        for state in self.metrics.health.targets() {
            match rng.u32(..20) {
                0 => _ = state.drain(),
                1..=4 => _ = state.undrain(),
                5 | 6 => self.under_way.extend(state.begin(self.now)),
                7 | 8 => {
                    for _ in 0..rng.usize(1..7) {
                        let kinds = [FailureKind::Connect, FailureKind::RateLimited, FailureKind::Credentials(401)];
                        let kind = kinds[usize::from(coin(rng, 20)) + usize::from(coin(rng, 20))];
                        if let Some(pass) = state.begin(self.now) {
                            _ = pass.finish(self.now, HealthVerdict::Failure { kind, retry_after: None });
                        }
                    }
                }
                9..=11 => {
                    if let Some(pass) = state.begin(self.now) {
                        let first_output = Some(Duration::from_millis(rng.u64(20..3000)));
                        _ = pass.finish(self.now, HealthVerdict::Success { first_output });
                    }
                }
                _ => {}
            }
        }
        let ended = rng.usize(..=self.under_way.len());
        self.under_way.drain(..ended);
    }

    fn exchange(&self, header: &RequestHeader) -> Exchange {
        let mut exchange = Exchange::new(self.snapshot.clone(), self.metrics.in_flight());
        plan::find_endpoint(header, &mut exchange).unwrap();
        futures::executor::block_on(plan::admit(header, None, &mut exchange)).unwrap();
        exchange
    }

    fn explain(&self, header: &RequestHeader, body: &Bytes, seed: u64) -> Explanation {
        let mut draws = Rng::with_seed(seed);
        let random = &mut |bound| draws.u64(..bound);
        explain(header, body.clone(), &mut self.exchange(header), &self.continuity, self.now, random)
    }

    /// The targets that are asked when one attempt after the other fails, and the error if none is.
    fn live(&self, header: &RequestHeader, body: &Bytes, seed: u64) -> (Exchange, Vec<String>, Option<ApiError>) {
        let mut exchange = self.exchange(header);
        let mut draws = Rng::with_seed(seed);
        let mut planner = Planner {
            continuity: &self.continuity,
            now: self.now,
            random: &mut |bound| draws.u64(..bound),
            told: &mut |_, _| (),
            preview: false,
        };
        match plan::plan(header, body.clone(), &mut exchange, &mut planner) {
            Ok(next) => assert_eq!(next, Next::Ask),
            Err(refusal) => return (exchange, Vec::new(), Some(refusal.error().clone())),
        }
        let mut asked = Vec::new();
        while let Ok(attempt) = next_attempt(&self.continuity, &mut exchange, None, self.now) {
            asked.push(format!("{}/{}", attempt.target.provider.name, attempt.target.model));
            exchange.plan.leave_target();
        }
        let error = exchange.error.clone().filter(|_| asked.is_empty());
        (exchange, asked, error)
    }
}

#[test]
fn predicts_the_live_target_in_ten_thousand_states() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for seed in 0..CONFIGURATIONS {
        let mut lab = Lab::new(seed);
        for state in 0..STATES {
            lab.stir();
            let (header, body) = request(&mut lab.rng);
            let draw = lab.rng.u64(..);
            let explained = lab.explain(&header, &body, draw);
            let case = || format!("configuration {seed}, state {state}: {explained:#?}");
            assert_eq!(lab.explain(&header, &body, draw), explained, "explaining moves something: {}", case());
            let (exchange, asked, error) = lab.live(&header, &body, draw);

            assert_eq!(explained.target.as_ref(), asked.first(), "{}", case());
            let will_be_asked = |candidate: &&Candidate| candidate.cannot.is_none() && !candidate.spare;
            let order: Vec<String> = explained
                .candidates
                .iter()
                .filter(will_be_asked)
                .map(|candidate| format!("{}/{}", candidate.provider, candidate.model))
                .collect();
            assert_eq!(order, asked, "{}", case());
            let told = |error: &ApiError| (error.kind.as_str(), error.status);
            let refused = explained.refused.as_ref().map(|refused| (refused.error, refused.status));
            assert_eq!(refused, error.as_ref().map(told), "{}", case());
            assert_eq!(explained.rule.as_deref(), exchange.route.as_ref().map(|rule| &*rule.name), "{}", case());
            assert_eq!(explained.rule.is_some(), explained.rules.last().is_some_and(|step| step.matched), "{}", case());
            let copied = exchange.mirror.as_ref().filter(|_| !asked.is_empty()).map(|target| &*target.model);
            let mirror = explained.mirror.as_deref().and_then(|mirror| mirror.strip_prefix("one/"));
            assert_eq!(mirror, copied, "{}", case());

            let mut note = |what, when: bool| *seen.entry(what).or_default() += usize::from(when);
            note("key", explained.key.is_some());
            note("asked", !asked.is_empty());
            note("several", asked.len() > 1);
            note("rule", explained.rule.is_some());
            note("mirror", mirror.is_some());
            if let Some(refused) = &explained.refused {
                note(refused.error, true);
            }
            for model in explained.model.iter().filter(|_| explained.candidates.len() > 1) {
                note(model.strategy, true);
            }
            for left_out in &explained.left_out {
                note(left_out.by, true);
            }
            for candidate in &explained.candidates {
                note("half open", candidate.state == crate::health::State::HalfOpen);
                note("spare", candidate.spare);
                note("cannot", candidate.cannot.is_some());
                note("dropped", !candidate.dropped.is_empty());
                note("translated", candidate.translated);
                candidate.behind.iter().for_each(|behind| note(behind.by, true));
            }
        }
    }
    let everything = [
        "asked",
        "several",
        "rule",
        "mirror",
        "half open",
        "spare",
        "cannot",
        "dropped",
        "translated",
        "weighted",
        "round_robin",
        "least_latency",
        "least_busy",
        "lowest_cost",
        "sticky",
        "resting",
        "drained",
        "enough",
        "priority",
        "weight",
        "draw",
        "turn",
        "latency",
        "in_flight",
        "cost",
        "affinity",
        "model_not_found",
        "rejected",
        "all_targets_resting",
        "forbidden",
        "key",
    ];
    for what in everything {
        assert!(seen.get(what) > Some(&20), "hardly any case of `{what}`: {seen:#?}");
    }
}
