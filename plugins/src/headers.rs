//! `use = "headers"`: sets and removes headers of requests, of what goes to providers, and of answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    Answer, Context, Failure, Kind, Needs, Plugin, Request, Settings, SettingsError, Upstream, Verdict, async_trait,
};

/// The kind that `use = "headers"` means.
pub const PLUGIN: Kind = Kind::new("headers", |settings| {
    let Written { request, upstream, answer } = settings.read()?;
    let [request, upstream, answer] = [request, upstream, answer].map(|edits| edits.read(settings));
    let headers = Headers { request: request?, upstream: upstream?, answer: answer? };
    if [&headers.request, &headers.upstream, &headers.answer].into_iter().all(Edits::is_empty) {
        let help = "set or remove a header of `request`, `upstream` or `answer`";
        return Err(SettingsError::new("it changes nothing").help(help));
    }
    Ok(Arc::new(headers))
});

/// Headers that carry credentials, in lower case: no rule and no plugin sees or changes them.
pub const CREDENTIALS: [&str; 6] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie"];

/// What the gateway writes itself, whatever a plugin says.
const OWN: [&str; 6] = ["host", "accept-encoding", "connection", "content-length", "transfer-encoding", "upgrade"];

/// The settings as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    /// What routes and other plugins see.
    request: WrittenEdits,
    /// What providers get.
    upstream: WrittenEdits,
    /// What clients get.
    answer: WrittenEdits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenEdits {
    set: BTreeMap<String, Spanned<String>>,
    remove: Vec<Spanned<String>>,
}

impl WrittenEdits {
    fn read(self, settings: &Settings<'_>) -> Result<Edits, SettingsError> {
        let name = |text: &str, at: &Spanned<String>| {
            let name = HeaderName::from_bytes(text.as_bytes())
                .map_err(|_| SettingsError::at(at, format!("`{text}` cannot be the name of a header")))?;
            if [CREDENTIALS, OWN].as_flattened().contains(&name.as_str()) {
                let message = format!("`{name}` carries a credential, or the gateway writes it itself");
                return Err(SettingsError::at(at, message).help("remove it; credentials belong to [providers]"));
            }
            Ok(name)
        };
        let mut edits = Edits::default();
        for (header, value) in self.set {
            let mut text = HeaderValue::from_str(&settings.secret(&value)?)
                .map_err(|_| SettingsError::at(&value, format!("the value of `{header}` cannot stand in a header")))
                .map_err(|error| error.help("one line of letters, digits and signs of ASCII"))?;
            text.set_sensitive(true);
            edits.set.push((name(&header, &value)?, text));
        }
        for header in &self.remove {
            edits.remove.push(name(header.get_ref(), header)?);
        }
        Ok(edits)
    }
}

#[derive(Debug, Default)]
struct Edits {
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }
}

struct Headers {
    request: Edits,
    upstream: Edits,
    answer: Edits,
}

#[async_trait]
impl Plugin for Headers {
    fn needs(&self) -> Needs {
        let mut needs = Needs::new();
        needs.request = !self.request.is_empty();
        needs.upstream = !self.upstream.is_empty();
        needs.answer = !self.answer.is_empty();
        needs
    }

    async fn on_request(&self, request: &mut Request, _: &Context) -> Result<Verdict, Failure> {
        self.request.apply(&mut request.headers);
        Ok(Verdict::Pass)
    }

    fn on_upstream(&self, upstream: &mut Upstream, _: &Context) -> Result<(), Failure> {
        self.upstream.apply(&mut upstream.headers);
        Ok(())
    }

    async fn on_answer(&self, answer: &mut Answer, _: &Context) -> Result<Verdict, Failure> {
        self.answer.apply(&mut answer.headers);
        Ok(Verdict::Pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_is_needed() {
        fn of(text: &str) -> Result<Needs, SettingsError> {
            PLUGIN.build(&Settings::of(text)).map(|plugin| plugin.needs())
        }
        assert_eq!(of("").unwrap_err().message, "it changes nothing");
        for part in ["request", "upstream", "answer"] {
            for edit in ["set.Authorization = 'Bearer x'", "remove = ['host']"] {
                let text = format!("{part}.{edit}");
                let refused = of(&text).unwrap_err();
                assert!(refused.span.is_some() && refused.message.contains("carries a credential"), "{refused:?}");
            }
        }
        assert_eq!(of("upstream.set.x-a = 'b'").unwrap(), Needs::new().upstream());
        assert_eq!(of("answer.remove = ['x-a']").unwrap(), Needs::new().answer_head());
        assert!(of("answer.set.'a b' = 'c'").is_err() && of("answers = 1").is_err());
        assert!(of("answer.set.a = \"b\\n\"").unwrap_err().span.is_some());
    }

    #[test]
    fn headers_are_set_and_removed() {
        let plugin = PLUGIN.build(&Settings::of("upstream = { set = { x-a = 'new' }, remove = ['x-b'] }")).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "old"), ("x-a", "older"), ("x-b", "b"), ("x-c", "c")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut upstream = Upstream::new("p", "m", headers);
        let about = crate::About::new(
            crate::providers::Dialect::OpenAiChat,
            crate::providers::Operation::Chat,
            Arc::new(crate::NoHost),
        );
        plugin.on_upstream(&mut upstream, &Context::alone(about)).unwrap();
        let left: Vec<_> = upstream.headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        assert_eq!(left, ["x-a=new", "x-c=c"]);
    }
}
