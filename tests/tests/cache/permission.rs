//! Whoever asks what, at once or after another: an answer is never that to another question, of another model or for another scope.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::{Answer, Dice, Gate, Stub, bodies};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{KEEPS, cache, start};

const KEYS: [(&str, &str); 5] = [("a", "private"), ("b", "private"), ("c", "shared"), ("d", "shared"), ("e", "off")];

/// An upstream that says what it was asked, and by its number which call it was, when the gate of the moment opens.
async fn upstream(gate: Arc<Mutex<Gate>>) -> Stub {
    let calls = AtomicUsize::new(0);
    Stub::start(move |request| {
        let body = request.json();
        let asked = format!("{}|{}|{}", body["model"], body["messages"], body["seed"]);
        let text = format!("{asked}#{}", calls.fetch_add(1, Ordering::Relaxed));
        let answer = if body["stream"] == true {
            let words = [bodies::chat_role(), bodies::chat_delta(&text), bodies::chat_finish()];
            Answer::sse(words.into_iter().chain([bodies::chat_usage(), bodies::DONE.to_owned()]))
        } else {
            Answer::json(200, bodies::chat_answer(&text))
        };
        answer.after(&gate.lock().unwrap())
    })
    .await
}

/// What one client asks.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Whose answers it may have; `None`: nobody's.
    owner: Option<&'static str>,
    dialect: Dialect,
    model: &'static str,
    text: &'static str,
    seed: usize,
}

impl Asked {
    fn drawn(dice: &mut Dice) -> (&'static str, Self) {
        let (key, scope) = dice.pick(&KEYS);
        let dialect = dice.pick(&Dialect::ALL);
        let owner = match scope {
            "shared" => Some("all that share"),
            "off" => None,
            _ => Some(key),
        };
        let (model, text) = (dice.pick(&["m", "n", "o"]), dice.pick(&["one", "two"]));
        let seed = if dialect == Dialect::OpenAiChat { dice.roll(2) } else { 0 };
        (key, Self { owner, dialect, model, text, seed })
    }

    /// The same for all that have the same answer.
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn request(&self, key: &str, stream: bool) -> Request {
        let mut request = ask(self.dialect, self.model, self.text, stream).header("x-api-key", &format!("sk-{key}"));
        let mut body: Value = serde_json::from_slice(&request.body).unwrap();
        match self.dialect {
            Dialect::OpenAiChat => body["seed"] = json!(self.seed),
            // Those that are stored are not kept.
            Dialect::OpenAiResponses => body["store"] = json!(false),
            _ => {}
        }
        request.body = body.to_string().into();
        request
    }

    /// Whether this is what the upstream says to it.
    fn is_answered_by(&self, text: &str) -> bool {
        let upstream = if self.model == "o" { "\"v\"|" } else { "\"u\"|" };
        let seed = if self.dialect == Dialect::OpenAiChat { format!("|{}#", self.seed) } else { "#".to_owned() };
        text.starts_with(upstream) && text.contains(self.text) && text.contains(&seed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_implies_permission_and_equality() {
    let gate = Arc::new(Mutex::new(Gate::new()));
    let stub = upstream(gate.clone()).await;
    let mut config = String::new();
    for (name, scope) in KEYS {
        let hash = bodies::key_hash(&format!("sk-{name}"));
        config += &format!("[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\ncache = \"{scope}\"\n");
    }
    for (name, upstream) in [("m", "u"), ("n", "u"), ("o", "v")] {
        config += &format!("[models.{name}]\ntargets = [{{ provider = \"stub\", model = \"{upstream}\" }}]\n{KEEPS}\n");
    }
    let gateway = start(&stub, &config).await;
    let mut dice = Dice(std::env::var("CHAOS_SEED").map_or(7, |seed| seed.parse().expect("a number")));
    // What is kept for whom, and how often it was given.
    let mut kept = HashMap::<String, String>::new();
    let (mut hits, mut shares) = (0, 0);
    for batch in 0..60 {
        let stream = batch % 2 == 0;
        // So few kinds that many ask the same.
        let kinds: Vec<_> = (0..4).map(|_| Asked::drawn(&mut dice)).collect();
        let asked: Vec<_> = (0..10).map(|_| dice.pick(&kinds)).collect();
        let closed = Gate::new();
        *gate.lock().unwrap() = closed.clone();

        let mut calls = HashMap::<String, u64>::new();
        asked.iter().filter(|(_, asked)| asked.owner.is_some() && !kept.contains_key(&asked.name())).for_each(
            |(_, asked)| {
                *calls.entry(asked.name()).or_default() += 1;
            },
        );
        let following = calls.values().map(|count| count - 1).sum();
        let requests: Vec<Request> = asked.iter().map(|(key, asked)| asked.request(key, stream)).collect();
        let (replies, ()) =
            tokio::join!(join_all(requests.iter().map(|request| exchange(gateway.addr, request))), async {
                gateway.followed(following).await;
                closed.open();
            });

        let mut fresh = HashMap::<String, String>::new();
        for ((_, asked), reply) in asked.iter().zip(&replies) {
            let Heard::Answer(answer) = hear(asked.dialect, stream, reply) else { panic!("{}", reply.text()) };
            assert!(asked.is_answered_by(&answer.text), "{asked:?}: {}", answer.text);
            match cache(reply) {
                "bypass" => assert_eq!(asked.owner, None, "{asked:?}"),
                "hit" => {
                    hits += 1;
                    assert_eq!(kept.get(&asked.name()), Some(&answer.text), "{asked:?}");
                }
                status => {
                    assert!(calls.contains_key(&asked.name()), "{asked:?}: {status}");
                    shares += usize::from(status == "shared");
                    let known = fresh.entry(asked.name()).or_insert_with(|| answer.text.clone());
                    assert_eq!(*known, answer.text, "{asked:?}: {status}");
                }
            }
        }
        let misses = replies.iter().filter(|reply| cache(reply) == "miss").count();
        assert_eq!(misses, calls.len());
        // No two of them have one call.
        for (asked, text) in &fresh {
            let others = fresh.iter().chain(&kept).filter(|(other, said)| *other != asked && *said == text);
            assert_eq!(others.count(), 0, "{asked:?}: {text}");
        }
        kept.extend(fresh);
    }
    assert!(hits > 50 && shares > 50, "{hits} hits, {shares} shares");
}
