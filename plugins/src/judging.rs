//! What plugins that judge texts have in common: at which they look, and what follows.

use serde::Deserialize;
use toml::Spanned;

use crate::{Context, Flow, Rejection, Request, SettingsError, Verdict};

/// Which way texts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// From the client.
    Request,
    /// To the client.
    Answer,
}

impl Way {
    /// Which ways, of which there must be one.
    pub fn some(on: Vec<Self>) -> Result<Vec<Self>, SettingsError> {
        let empty = || {
            SettingsError::new("`on` is empty: it would look at nothing").help("[\"request\"], [\"answer\"] or both")
        };
        if on.is_empty() { Err(empty()) } else { Ok(on) }
    }
}

/// The status of a rejection as configured.
pub(crate) fn rejection_status(status: Option<&Spanned<u16>>, default: u16) -> Result<u16, SettingsError> {
    match status {
        None => Ok(default),
        Some(status) if (400..500).contains(status.get_ref()) => Ok(*status.get_ref()),
        Some(status) => Err(SettingsError::at(status, "a rejection has a status from 400 to 499")),
    }
}

/// What becomes of a request that has tokens in the place of texts, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tokens {
    /// The client gets an error.
    #[default]
    Reject,
    /// It passes, and nobody has looked at them.
    Pass,
}

impl Tokens {
    /// Why `request` does not pass, if that is so. `reports`: the plugin refuses nothing. The exchange gets a tag.
    pub fn verdict(self, request: &Request, reports: bool, cx: &Context) -> Option<Verdict> {
        if !request.has_tokens() {
            return None;
        }
        cx.tag("unseen", "tokens");
        let rejection = || {
            let message = format!(
                "`{}` looks at texts, and this request has tokens in their place: send the texts (OpenAIEmbeddings of \
                 LangChain: `check_embedding_ctx_length=False`), or have `tokens = \"pass\"` set for that plugin",
                cx.plugin()
            );
            Verdict::reject(400, message)
        };
        (self == Self::Reject && !reports).then(rejection)
    }
}

/// What follows where a plugin only says that a text must not pass, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// The client gets an error, or the model's refusal.
    #[default]
    Reject,
    /// Nothing: the exchange gets a tag.
    Report,
}

/// The same as settings have it.
pub(crate) struct Objection(Option<Rejection>);

impl Objection {
    /// With the message and the status that are written, or else with those of the plugin.
    pub fn new(
        action: Action,
        message: Option<String>,
        status: Option<&Spanned<u16>>,
        default: (u16, &str),
    ) -> Result<Self, SettingsError> {
        let status = rejection_status(status, default.0)?;
        let rejection = Rejection { status, message: message.unwrap_or_else(|| default.1.to_owned()) };
        Ok(Self((action == Action::Reject).then_some(rejection)))
    }

    /// Whether nothing is refused.
    pub fn reports(&self) -> bool {
        self.0.is_none()
    }

    /// What becomes of the request.
    pub fn verdict(&self) -> Verdict {
        self.0.clone().map_or(Verdict::Pass, Verdict::Reject)
    }

    /// What becomes of the answer.
    pub fn flow(&self) -> Flow {
        self.0.clone().map_or(Flow::Pass, Flow::Refuse)
    }
}

/// Whether a question about an answer is under way, or was and got no verdict.
#[derive(Default)]
pub(crate) struct Asking(bool);

impl Asking {
    /// Begins to ask. `false`: the question before failed, and `on_error` let the answer go on: nobody waits for another.
    pub fn begin(cx: &Context) -> bool {
        cx.with(|asking: &mut Self| !std::mem::replace(&mut asking.0, true))
    }

    /// There is a verdict.
    pub fn end(cx: &Context) {
        cx.with(|asking: &mut Self| asking.0 = false);
    }
}
