//! `prompt`: instructions, decoration and templates.
//!
//! ```toml
//! [[plugins]]
//! use = "prompt"
//! system = "Answer in German. Today is {{date}}; the customer is {{team}}."
//! mode = "prepend"            # to the client's own instructions: prepend (default) | append | replace
//! before = "Question: "       # around the last user message
//! after = "\nThink first."
//! templates = { translate = "Translate to {{properties.language}}: {{properties.text}}" }
//! ```
//!
//! A message that says `{template://translate}` becomes that template. The body's `properties`, an object, fill it and whatever else
//! names them, and go no further. Variables: `key`, `team`, `tags`, `model`, `dialect`, `operation`, `path`, `request_id`, `date` and `time` (UTC),
//! `header.NAME`, `metadata.NAME`, `properties.NAME`; what is not known is empty. The last three are the client's own words:
//! put none of them into instructions that are to hold against the client.

mod system;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::fields::Object;
use crate::providers::{Dialect, Operation};
use crate::template::Template;
use crate::{Context, Failure, Needs, Plugin, Request, Settings, SettingsError, TextKind, Verdict, async_trait};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptSettings {
    system: Option<Spanned<String>>,
    mode: Option<Mode>,
    before: Option<Spanned<String>>,
    after: Option<Spanned<String>>,
    templates: Option<BTreeMap<String, Spanned<String>>>,
}

/// How instructions are joined with the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Prepend,
    Append,
    Replace,
}

/// `use = "prompt"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("prompt", |settings: &Settings<'_>| {
    let PromptSettings { system, mode, before, after, templates } = settings.read()?;
    let read = |text: Option<Spanned<String>>| text.as_ref().map(Template::read).transpose();
    let named = templates.unwrap_or_default().into_iter();
    let prompt = Prompt {
        system: read(system)?,
        mode: mode.unwrap_or_default(),
        before: read(before)?,
        after: read(after)?,
        templates: named
            .map(|(name, text)| Ok((name, Template::read(&text)?)))
            .collect::<Result<_, SettingsError>>()?,
    };
    if prompt.system.is_none() && prompt.before.is_none() && prompt.after.is_none() && prompt.templates.is_empty() {
        return Err(SettingsError::new("it says nothing").help("give it `system`, `before`, `after` or `templates`"));
    }
    Ok(Arc::new(prompt))
});

struct Prompt {
    system: Option<Template>,
    mode: Mode,
    before: Option<Template>,
    after: Option<Template>,
    templates: BTreeMap<String, Template>,
}

#[async_trait]
impl Plugin for Prompt {
    fn needs(&self) -> Needs {
        Needs::new().body()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        if !matches!(request.operation, Operation::Chat | Operation::CountTokens | Operation::Completions) {
            return Ok(Verdict::Pass);
        }
        // All is filled from what the client said.
        let asked = request.clone();
        if let Some(missing) = self.expand(request, &asked, cx) {
            return Ok(Verdict::reject(400, format!("there is no template `{missing}`")));
        }
        self.decorate(request, &asked, cx);
        if let Some(system) = &self.system
            && request.operation != Operation::Completions
        {
            let text = system.fill(&asked, cx);
            if let Dialect::Own(_) = request.dialect {
                system::instruct_chat(request, &text, self.mode)?;
            } else if let Some(mut body) = Object::read(request.json()) {
                system::instruct_within(&mut body, system::path_of(request), request.dialect, &text, self.mode);
                request.set_json(body.write());
            }
        }
        if self.takes_properties()
            && let Some(mut body) = Object::read(request.json())
            && body.remove("properties")
        {
            request.set_json(body.write());
        }
        Ok(Verdict::Pass)
    }
}

impl Prompt {
    /// Whether the body's `properties` are meant for it.
    fn takes_properties(&self) -> bool {
        let mut texts = [&self.system, &self.before, &self.after].into_iter().flatten();
        !self.templates.is_empty() || texts.any(Template::has_properties)
    }

    /// Puts templates in the place of what names them. Gives back a name that there is no template of.
    fn expand(&self, request: &mut Request, asked: &Request, cx: &Context) -> Option<String> {
        if self.templates.is_empty() {
            return None;
        }
        let mut missing = None;
        request.edit_texts(|text| {
            let name = text.text.trim().strip_prefix("{template://")?.strip_suffix('}')?;
            match self.templates.get(name) {
                Some(template) => Some(template.fill(asked, cx)),
                None => {
                    missing = Some(name.chars().take(64).collect());
                    None
                }
            }
        });
        missing
    }

    fn decorate(&self, request: &mut Request, asked: &Request, cx: &Context) {
        if self.before.is_none() && self.after.is_none() {
            return;
        }
        // Chats have other inputs besides: documents.
        let kind = if request.operation == Operation::Completions { TextKind::Input } else { TextKind::User };
        let Some(last) = request.texts().iter().rev().find(|text| text.kind == kind).map(|text| text.number) else {
            return;
        };
        let fill = |template: &Option<Template>| template.as_ref().map(|text| text.fill(asked, cx)).unwrap_or_default();
        let (before, after) = (fill(&self.before), fill(&self.after));
        request.edit_texts(|text| (text.number == last).then(|| format!("{before}{}{after}", text.text)));
    }
}
