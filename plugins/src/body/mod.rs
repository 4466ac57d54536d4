//! `body`: fields of a request's JSON body, in the client's API.
//!
//! ```toml
//! [[plugins]]
//! use = "body"
//! when = { dialect = "anthropic" }          # bodies differ by API: say for which
//! set = { temperature = 0.2, "metadata.user_id" = "{{key}}" }
//! default = { max_tokens = 1024 }           # only where the client said nothing
//! remove = ["top_k", "messages.*.name"]
//! ```
//!
//! Paths name fields, with dots between them; numbers are elements, `*` all of them. Whatever is not named is passed on as it was
//! written. Texts may have the variables of `prompt`. `model` can be set: routes and targets go by it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use crate::fields::{Change, Object, change};
use crate::template::Template;
use crate::{Context, Failure, Needs, Plugin, Request, Settings, SettingsError, Verdict, async_trait};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodySettings {
    set: Option<Spanned<Map<String, Value>>>,
    default: Option<Spanned<Map<String, Value>>>,
    remove: Option<Spanned<Vec<String>>>,
}

/// `use = "body"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("body", |settings: &Settings<'_>| {
    let BodySettings { set, default, remove } = settings.read()?;
    let mut edits = Vec::new();
    for path in remove.iter().flat_map(Spanned::get_ref) {
        edits.push((split(path).ok_or_else(|| bad_path(remove.as_ref(), path))?, What::Remove));
    }
    for (fields, only_default) in [(&set, false), (&default, true)] {
        let Some(fields) = fields else { continue };
        for (path, value) in fields.get_ref() {
            let names = split(path).ok_or_else(|| bad_path(Some(fields), path))?;
            let value = Said::read(value, fields.span())?;
            edits.push((names, if only_default { What::Default(value) } else { What::Set(value) }));
        }
    }
    if edits.is_empty() {
        return Err(SettingsError::new("it changes nothing").help("give it `set`, `default` or `remove`"));
    }
    Ok(Arc::new(Body { edits }))
});

fn split(path: &str) -> Option<Vec<String>> {
    let names: Vec<String> = path.split('.').map(str::to_owned).collect();
    (names.len() <= 16 && names.iter().all(|name| !name.is_empty())).then_some(names)
}

fn bad_path<T>(all: Option<&Spanned<T>>, path: &str) -> SettingsError {
    let message = format!("`{path}` is no path: names with dots between them");
    match all {
        Some(all) => SettingsError::at(all, message),
        None => SettingsError::new(message),
    }
}

struct Body {
    edits: Vec<(Vec<String>, What)>,
}

enum What {
    Set(Said),
    Default(Said),
    Remove,
}

/// A value as configured: texts may have variables.
enum Said {
    Text(Template),
    Plain(Value),
}

impl Said {
    fn read(value: &Value, span: std::ops::Range<usize>) -> Result<Self, SettingsError> {
        match value {
            Value::String(text) if text.contains("{{") => {
                Ok(Self::Text(Template::read(&Spanned::new(span, text.clone()))?))
            }
            value => Ok(Self::Plain(value.clone())),
        }
    }

    fn value(&self, request: &Request, cx: &Context) -> Value {
        match self {
            Self::Text(template) => Value::String(template.fill(request, cx)),
            Self::Plain(value) => value.clone(),
        }
    }
}

#[async_trait]
impl Plugin for Body {
    fn needs(&self) -> Needs {
        Needs::new().body()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let Some(mut object) = Object::read(request.json()) else { return Ok(Verdict::Pass) };
        for (path, what) in &self.edits {
            match what {
                What::Set(said) => change(&mut object, path, &Change::Set(&said.value(request, cx))),
                What::Default(said) => change(&mut object, path, &Change::Default(&said.value(request, cx))),
                What::Remove => change(&mut object, path, &Change::Remove),
            }
        }
        let new = object.write();
        if new != *request.json() {
            request.set_json(new);
        }
        Ok(Verdict::Pass)
    }
}
