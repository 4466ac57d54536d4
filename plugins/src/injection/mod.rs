//! `injection`: the usual words of those who want a model to drop its instructions.
//!
//! ```toml
//! [[plugins]]
//! use = "injection"
//! action = "report"           # report (default) | reject
//! message = "…"
//! status = 403
//! ```
//!
//! A list of phrases in a dozen languages, and the marks that models' own templates use (`<|im_start|>`, `[INST]`). It looks at what
//! users write and what tools return. It catches who copies a known attack, and nobody who words it anew, encodes it, or paints it:
//! the figures on a small labelled set are in `docs/guardrails.md`. Texts *about* such attacks are found, too. Do not lean on it where
//! it counts: give tools no right that their user must not have.

mod patterns;

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::judging::{Action, Objection, Tokens};
use crate::{Context, Failure, Needs, Plugin, Request, Settings, TextKind, Verdict, async_trait};
pub(crate) use patterns::Patterns;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InjectionSettings {
    #[serde(default = "report")]
    action: Action,
    message: Option<String>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    tokens: Tokens,
}

fn report() -> Action {
    Action::Report
}

/// `use = "injection"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("injection", |settings: &Settings<'_>| {
    let InjectionSettings { action, message, status, tokens } = settings.read()?;
    let default = (403, "this looks like an attempt to change the model's instructions");
    let objection = Objection::new(action, message, status.as_ref(), default)?;
    Ok(Arc::new(Injection { patterns: Patterns::new(), objection, tokens }))
});

struct Injection {
    patterns: Patterns,
    objection: Objection,
    tokens: Tokens,
}

#[async_trait]
impl Plugin for Injection {
    fn needs(&self) -> Needs {
        Needs::new().body()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        if let Some(verdict) = self.tokens.verdict(request, self.objection.reports(), cx) {
            return Ok(verdict);
        }
        for text in request.texts() {
            let foreign =
                matches!(text.kind, TextKind::User | TextKind::ToolResult | TextKind::Input | TextKind::Context);
            if let Some(name) = foreign.then(|| self.patterns.find(&text.text)).flatten() {
                cx.tag("found", name);
                return Ok(self.objection.verdict());
            }
        }
        Ok(Verdict::Pass)
    }
}
