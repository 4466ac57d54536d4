//! Does whatever a test asks for: the request's header `x-do` says at which event it does what, as `text=loop, end=trap`.

use std::cell::RefCell;

#[cfg(target_os = "wasi")]
wit_bindgen::generate!({ world: "plugin", path: "../../plugins/wit" });

// Without a standard library that can sleep.
#[cfg(not(target_os = "wasi"))]
wit_bindgen::generate!({ world: "test:guest/guest", path: ["../../plugins/wit", "wit"], generate_all });

use ai_gateway::plugin::log::{self, Level};
use ai_gateway::plugin::types::*;

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Which events it needs.
    hooks: Vec<String>,
    #[serde(default)]
    window: u32,
    /// What it says is wrong with these settings.
    error: Option<String>,
}

#[derive(Default)]
struct Kept {
    exchange: Option<Exchange>,
    acts: String,
    events: u32,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

struct Trickster;

impl Guest for Trickster {
    fn start(settings: String, exchange: Option<Exchange>) -> Result<Needs, String> {
        let Settings { hooks, window, error } = serde_json::from_str(&settings).map_err(|error| error.to_string())?;
        if let Some(error) = error {
            return Err(error);
        }
        KEPT.with_borrow_mut(|kept| kept.exchange = exchange);
        let hooks = hooks.iter().map(|name| hook(name)).collect();
        Ok(Needs { hooks, hold: 16, window })
    }

    fn handle(event: Event) -> Result<Decision, String> {
        let name = name(&event);
        let act = KEPT.with_borrow_mut(|kept| {
            kept.events += 1;
            if let Event::Request(request) = &event {
                let acts = request.headers.iter().find(|(name, _)| name == "x-do");
                kept.acts = acts.map(|(_, acts)| acts.clone()).unwrap_or_default();
            }
            let mut acts = kept.acts.split(", ").filter_map(|act| act.split_once('='));
            acts.find(|(at, _)| *at == name).map(|(_, act)| act.to_owned()).unwrap_or_default()
        });
        let verdict = act_out(&act, event)?;
        Ok(Decision { verdict, tags: vec![("saw".to_owned(), name.to_owned())] })
    }
}

fn act_out(act: &str, event: Event) -> Result<Verdict, String> {
    let eagle = |text: &str| text.replace("falcon", "eagle");
    let one = |change| Ok(Verdict::Change(vec![change]));
    match (act, event) {
        ("trap", _) => core::arch::wasm32::unreachable(),
        ("loop", _) => loop {
            std::hint::black_box(());
        },
        ("flood", _) => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(std::hint::black_box(vec![1; 1 << 20]));
            }
        }
        ("deep", _) => Err(deep(1).to_string()),
        ("sleep", _) => {
            #[cfg(target_os = "wasi")]
            std::thread::sleep(std::time::Duration::from_secs(3600));
            #[cfg(not(target_os = "wasi"))]
            wasi::clocks::monotonic_clock::subscribe_duration(3_600_000_000_000).block();
            Ok(Verdict::Pass)
        }
        ("fail", _) => Err("it does not\nlike that".into()),
        ("log", _) => {
            (0..100).for_each(|line| log::write(Level::Warn, &format!("line {line}\nand {}", "long ".repeat(1000))));
            Ok(Verdict::Pass)
        }
        ("reject", _) => Ok(Verdict::Reject(Rejection { status: 422, message: "not with me".into() })),
        ("tell", _) => KEPT.with_borrow(|Kept { exchange, events, .. }| {
            let Some(Exchange { key, operation, dialect, model, streams, path, .. }) = exchange else {
                return Err("no exchange".into());
            };
            let key = key.as_ref().map(|key| &key.name);
            let message = format!("event {events} of {key:?} {operation} {dialect} {model:?} {streams} {path}");
            Ok(Verdict::Reject(Rejection { status: 400, message }))
        }),
        ("say", _) => Ok(Verdict::Answer(Reply::Text("said by a plugin".into()))),
        ("json", _) => Ok(Verdict::Answer(Reply::Json((201, r#"{"made":"up"}"#.into())))),
        ("no-json", _) => Ok(Verdict::Answer(Reply::Json((201, "{".into())))),
        ("header", _) => one(Change::Header(("x-made".into(), Some("up".into())))),
        ("text", Event::Request(Request { texts, .. }) | Event::Answer(Answer { texts, .. })) => {
            one(Change::Text((0, eagle(&texts[0].text))))
        }
        ("text-99", _) => one(Change::Text((99, String::new()))),
        ("body", Event::Request(Request { json, .. }) | Event::Answer(Answer { json, .. })) => {
            one(Change::Json(eagle(&json.ok_or("no json")?)))
        }
        ("chat", Event::Request(Request { chat, .. }) | Event::Answer(Answer { chat, .. })) => {
            one(Change::Chat(eagle(&chat.ok_or("no chat")?)))
        }
        ("last", Event::Plan(plan)) => one(Change::Order(vec![plan.candidates.len() as u32 - 1])),
        ("none", Event::Plan(_)) => one(Change::Order(vec![])),
        ("twice", Event::Plan(_)) => one(Change::Order(vec![0, 0])),
        ("replace", Event::Text(piece) | Event::Restore(piece)) => {
            let found = piece.text.match_indices("falcon").map(|(start, word)| {
                let (start, end) = (start as u32, (start + word.len()) as u32);
                Change::Replace(Replacement { start, end, text: "eagle".into() })
            });
            Ok(Verdict::Change(found.collect()))
        }
        ("beyond", Event::Text(_)) => one(Change::Replace(Replacement { start: 0, end: 1 << 30, text: String::new() })),
        ("birds", Event::Text(piece) | Event::Window(piece)) if piece.text.contains("falcon") => {
            Ok(Verdict::Reject(Rejection { status: 403, message: "not about birds".into() }))
        }
        ("wrong", _) => one(Change::Release(1)),
        _ => Ok(Verdict::Pass),
    }
}

fn deep(n: u64) -> u64 {
    std::hint::black_box(n) + std::hint::black_box(deep as fn(u64) -> u64)(n + 1)
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Request(_) => "request",
        Event::Plan(_) => "plan",
        Event::Upstream(_) => "upstream",
        Event::Answer(_) => "answer",
        Event::Text(_) => "text",
        Event::Restore(_) => "restore",
        Event::Window(_) => "window",
        Event::Bytes(_) => "bytes",
        Event::End(_) => "end",
    }
}

fn hook(name: &str) -> Hooks {
    match name {
        "request" => Hooks::REQUEST,
        "request-texts" => Hooks::REQUEST_TEXTS,
        "request-json" => Hooks::REQUEST_JSON,
        "request-chat" => Hooks::REQUEST_CHAT,
        "plan" => Hooks::PLAN,
        "upstream" => Hooks::UPSTREAM,
        "answer" => Hooks::ANSWER,
        "answer-texts" => Hooks::ANSWER_TEXTS,
        "answer-json" => Hooks::ANSWER_JSON,
        "answer-chat" => Hooks::ANSWER_CHAT,
        "text" => Hooks::TEXT,
        "restore" => Hooks::RESTORE,
        "window" => Hooks::WINDOW,
        "bytes" => Hooks::BYTES,
        "end" => Hooks::END,
        _ => Hooks::empty(),
    }
}

export!(Trickster);
