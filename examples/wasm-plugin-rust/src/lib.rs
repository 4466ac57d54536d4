//! A plugin in WebAssembly: whoever asks for a code name is refused, and where a model says it the client reads something else.

use std::cell::OnceCell;

wit_bindgen::generate!({ world: "plugin", path: "../../plugins/wit" });

use ai_gateway::plugin::types::{Change, Hooks, Rejection, Replacement, TextKind, Verdict};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    word: String,
    instead: String,
}

thread_local! {
    /// One instance serves one request, so this is this request's.
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Codename;

impl Guest for Codename {
    fn start(settings: String, _: Option<Exchange>) -> Result<Needs, String> {
        let settings: Settings = serde_json::from_str(&settings).map_err(|error| error.to_string())?;
        let hold = settings.word.len() as u32;
        SETTINGS.with(|kept| kept.set(settings)).map_err(|_| "started twice")?;
        Ok(Needs { hooks: Hooks::REQUEST_TEXTS | Hooks::TEXT, hold, window: 0 })
    }

    fn handle(event: Event) -> Result<Decision, String> {
        SETTINGS.with(|settings| Ok(decide(settings.get().ok_or("not started")?, event)))
    }
}

fn decide(Settings { word, instead }: &Settings, event: Event) -> Decision {
    match event {
        Event::Request(request) if request.texts.iter().any(|t| t.kind == TextKind::User && t.text.contains(word)) => {
            let rejection = Rejection { status: 403, message: "there is no such project".into() };
            Decision { verdict: Verdict::Reject(rejection), tags: vec![("codename".into(), "asked".into())] }
        }
        Event::Text(piece) => {
            let found = piece.text.match_indices(word).map(|(start, _)| {
                let (start, end) = (start as u32, (start + word.len()) as u32);
                Change::Replace(Replacement { start, end, text: instead.clone() })
            });
            Decision { verdict: Verdict::Change(found.collect()), tags: vec![] }
        }
        _ => Decision { verdict: Verdict::Pass, tags: vec![] },
    }
}

export!(Codename);
