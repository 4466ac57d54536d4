//! `language`: in which language is asked.
//!
//! ```toml
//! [[plugins]]
//! use = "language"
//! allow = ["en", "de"]        # or deny = ["ru"]; ISO 639-1
//! action = "reject"           # reject (default) | report
//! message = "…"
//! status = 400
//! ```
//!
//! The last user message is looked at: scripts tell Chinese, Japanese, Korean, Greek, Hebrew, Thai, Hindi, Arabic and Cyrillic; small
//! words tell the languages of one script apart. What is too short, is code, or could be two languages is not known, and passes. The
//! figures on a labelled set are in `docs/guardrails.md`.

mod detect;

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::judging::{Action, Objection, Tokens};
use crate::settings::one_of;
use crate::{Context, Failure, Needs, Plugin, Request, Settings, SettingsError, TextKind, Verdict, async_trait};
pub(crate) use detect::{LANGUAGES, detect};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageSettings {
    allow: Option<Vec<Spanned<String>>>,
    deny: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    action: Action,
    message: Option<String>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    tokens: Tokens,
}

/// `use = "language"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("language", |settings: &Settings<'_>| {
    let LanguageSettings { allow, deny, action, message, status, tokens } = settings.read()?;
    let (list, allows) = match (&allow, &deny) {
        (Some(allow), None) => (one_of(allow, LANGUAGES)?, true),
        (None, Some(deny)) => (one_of(deny, LANGUAGES)?, false),
        (None, None) => {
            let error = SettingsError::new("this entry says neither `allow` nor `deny`");
            return Err(error.help("one of them says in which languages may, or may not, be asked"));
        }
        (Some(_), Some(_)) => {
            let error = SettingsError::new("this entry says both `allow` and `deny`");
            return Err(error.help("leave one of them out: `allow` refuses all others already"));
        }
    };
    let default = (400, "this gateway does not take requests in this language");
    let objection = Objection::new(action, message, status.as_ref(), default)?;
    Ok(Arc::new(Language { list, allows, objection, tokens }))
});

struct Language {
    list: Vec<String>,
    allows: bool,
    objection: Objection,
    tokens: Tokens,
}

#[async_trait]
impl Plugin for Language {
    fn needs(&self) -> Needs {
        Needs::new().body()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        if let Some(verdict) = self.tokens.verdict(request, self.objection.reports(), cx) {
            return Ok(verdict);
        }
        let texts = request.texts();
        let asked = texts.iter().rfind(|text| matches!(text.kind, TextKind::User | TextKind::Input));
        let Some(language) = asked.and_then(|text| detect(&text.text)) else { return Ok(Verdict::Pass) };
        cx.tag("language", language);
        let listed = self.list.iter().any(|name| name == language);
        Ok(if listed == self.allows { Verdict::Pass } else { self.objection.verdict() })
    }
}
