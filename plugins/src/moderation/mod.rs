//! `moderation`: a moderation model of a configured provider decides.
//!
//! ```toml
//! [[plugins]]
//! use = "moderation"
//! model = "openai/omni-moderation-latest"   # a name of [models], or provider/model
//! on = ["request", "answer"]                # default: ["request"]
//! threshold = 0.8                           # of any category's score; without it what the model flags counts
//! categories = { violence = 0.5, "self-harm" = 0.2 }   # only these, each with its own
//! window = "1KiB"                           # bytes of an answer that are judged at a time
//! action = "reject"                         # reject (default) | report
//! message = "…"
//! status = 403
//! ```
//!
//! Of a request the last user message is judged: the ones before were, when they were the last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use toml::Spanned;

use crate::judging::{Action, Asking, Objection, Tokens, Way};
use crate::providers::Operation;
use crate::settings::Size;
use crate::webhook::window_of;
use crate::{
    Context, Failure, Flow, Needs, Part, PartKind, Plugin, Request, Settings, SettingsError, TextKind, Verdict,
    async_trait,
};

/// The gateway's `timeout` ends a call before.
const LONGEST: Duration = Duration::from_secs(120);
const WINDOW: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModerationSettings {
    model: Spanned<String>,
    #[serde(default = "request")]
    on: Vec<Way>,
    threshold: Option<Spanned<f64>>,
    #[serde(default)]
    categories: BTreeMap<String, Spanned<f64>>,
    window: Option<Spanned<Size>>,
    #[serde(default)]
    action: Action,
    message: Option<String>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    tokens: Tokens,
}

fn request() -> Vec<Way> {
    vec![Way::Request]
}

/// `use = "moderation"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("moderation", |settings: &Settings<'_>| {
    let ModerationSettings { model, on, threshold, categories, window, action, message, status, tokens } =
        settings.read()?;
    if model.get_ref().is_empty() {
        return Err(SettingsError::at(&model, "`model` is empty").help("a name of [models], or provider/model"));
    }
    for score in threshold.iter().chain(categories.values()) {
        if !(0.0..=1.0).contains(score.get_ref()) {
            return Err(SettingsError::at(score, "scores are from 0 to 1"));
        }
    }
    let default = (403, "this is against the rules of this gateway");
    Ok(Arc::new(Moderation {
        model: settings.model(&model)?,
        on: Way::some(on)?,
        threshold: threshold.map(Spanned::into_inner),
        categories: categories.into_iter().map(|(name, score)| (name, score.into_inner())).collect(),
        window: window_of(window.as_ref(), WINDOW)?,
        objection: Objection::new(action, message, status.as_ref(), default)?,
        tokens,
    }))
});

struct Moderation {
    model: String,
    on: Vec<Way>,
    threshold: Option<f64>,
    categories: BTreeMap<String, f64>,
    window: usize,
    objection: Objection,
    tokens: Tokens,
}

/// OpenAI's answer, <https://platform.openai.com/docs/api-reference/moderations/object>.
#[derive(Deserialize)]
struct Judged {
    results: Vec<Judgement>,
}

#[derive(Deserialize)]
struct Judgement {
    flagged: bool,
    #[serde(default)]
    categories: BTreeMap<String, Option<bool>>,
    #[serde(default)]
    category_scores: BTreeMap<String, Option<f64>>,
}

impl Moderation {
    /// The category that is against the rules, if one is.
    async fn judge(&self, texts: &[&str], cx: &Context) -> Result<Option<String>, Failure> {
        if texts.iter().all(|text| text.trim().is_empty()) {
            return Ok(None);
        }
        let body = Bytes::from(serde_json::json!({ "model": self.model, "input": texts }).to_string());
        let answer = cx.host().ask(Operation::Moderation, &self.model, body, LONGEST).await?;
        let judged: Judged =
            serde_json::from_slice(&answer).map_err(|_| Failure::from("its judgement cannot be read"))?;
        if judged.results.len() != texts.len() {
            return Err("it did not judge every text".into());
        }
        Ok(judged.results.iter().find_map(|judgement| self.against(judgement)))
    }

    fn against(&self, judgement: &Judgement) -> Option<String> {
        let score = |name: &str| judgement.category_scores.get(name).copied().flatten().unwrap_or_default();
        if !self.categories.is_empty() {
            return self.categories.iter().find(|(name, limit)| score(name) >= **limit).map(|(name, _)| name.clone());
        }
        if let Some(limit) = self.threshold {
            return judgement.category_scores.keys().find(|name| score(name) >= limit).cloned();
        }
        let named =
            judgement.categories.iter().find(|(_, flagged)| **flagged == Some(true)).map(|(name, _)| name.clone());
        judgement.flagged.then(|| named.unwrap_or_else(|| "flagged".to_owned()))
    }
}

#[async_trait]
impl Plugin for Moderation {
    fn needs(&self) -> Needs {
        let needs = if self.on.contains(&Way::Request) { Needs::new().body() } else { Needs::new() };
        if self.on.contains(&Way::Answer) { needs.window(self.window) } else { needs }
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        if let Some(verdict) = self.tokens.verdict(request, self.objection.reports(), cx) {
            return Ok(verdict);
        }
        let texts = request.texts();
        let is_asked = |kind| matches!(kind, TextKind::User | TextKind::Input);
        let last: Vec<&str> = texts
            .iter()
            .rev()
            .skip_while(|text| !is_asked(text.kind))
            .take_while(|text| is_asked(text.kind))
            .map(|text| &*text.text)
            .collect();
        let Some(category) = self.judge(&last, cx).await? else { return Ok(Verdict::Pass) };
        cx.tag("found", category);
        Ok(self.objection.verdict())
    }

    async fn on_window(&self, part: &Part, text: &str, _end: bool, cx: &Context) -> Result<Flow, Failure> {
        if matches!(part.kind, PartKind::Arguments | PartKind::Input) || !Asking::begin(cx) {
            return Ok(Flow::Pass);
        }
        let judged = self.judge(&[text], cx).await?;
        Asking::end(cx);
        let Some(category) = judged else { return Ok(Flow::Pass) };
        cx.tag("found", category);
        Ok(self.objection.flow())
    }
}
