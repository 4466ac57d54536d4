//! `allow`: what has nothing of a list is refused.

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::List;
use crate::find::{Any, Script, find_first};
use crate::guard::follows_stored;
use crate::judging::{Action, Objection};
use crate::{Context, Failure, Needs, Plugin, Request, Settings, TextKind, Verdict, async_trait};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowSettings {
    words: Option<Vec<Spanned<String>>>,
    words_file: Option<Spanned<String>>,
    patterns: Option<Vec<Spanned<String>>>,
    message: Option<String>,
    status: Option<Spanned<u16>>,
}

/// `use = "allow"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("allow", |settings: &Settings<'_>| {
    let AllowSettings { words, words_file, patterns, message, status } = settings.read()?;
    let default = (403, "this is not what may be asked here");
    let objection = Objection::new(Action::Reject, message, status.as_ref(), default)?;
    let (finder, _) = List { words, words_file, patterns, reach: None }.finder(settings)?;
    Ok(Arc::new(Allow { finder, objection }))
});

struct Allow {
    finder: Any,
    objection: Objection,
}

#[async_trait]
impl Plugin for Allow {
    fn needs(&self) -> Needs {
        Needs::new().body()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let asks = |kind| matches!(kind, TextKind::User | TextKind::Input);
        if request.has_tokens() {
            return Ok(self.objection.verdict());
        }
        let texts = request.texts();
        // Of a turn that brings results of tools to one which the provider keeps, the question is there.
        let goes_on = || follows_stored(request) && texts.iter().any(|text| text.kind == TextKind::ToolResult);
        let last = texts.iter().rposition(|text| asks(text.kind));
        if last.is_none() && (request.json().is_empty() || goes_on()) {
            return Ok(Verdict::Pass);
        }
        // A message may have several texts.
        let message = texts.get(..=last.unwrap_or_default()).unwrap_or_default();
        let message = message.iter().rev().take_while(|text| asks(text.kind));
        for text in message {
            if find_first(&self.finder, &text.text, Script::Plain).is_some() {
                return Ok(Verdict::Pass);
            }
        }
        cx.tag("found", "nothing");
        Ok(self.objection.verdict())
    }
}
