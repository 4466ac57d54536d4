//! `webhook`: somebody else decides. The contract is in `docs/webhook.md`.
//!
//! ```toml
//! [[plugins]]
//! use = "webhook"
//! url = "https://guard.example.com/check"
//! secret = "env:WEBHOOK_SECRET"   # signs each call: HMAC-SHA256 over time and body
//! on = ["request", "answer"]      # default: ["request"]
//! window = "1KiB"                 # bytes of an answer that are shown at a time; the client waits for the verdict
//! headers = { "x-tenant" = "acme" }
//! tls = { cert = "client.pem", key = "client.key", ca = "ca.pem" }   # who the gateway is, and by whom it knows the webhook
//! timeout = "2s"                  # the gateway's own keys: how long it may take, and what a failure means
//! on_error = "closed"
//! ```
//!
//! A webhook that is down, slow or says what the contract does not know has failed: `on_error` decides, and nothing waits
//! longer than `timeout`.

mod contract;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use crate::judging::{Asking, Tokens, Way};
use crate::settings::{Size, bytes};
use crate::{
    Context, Failure, Flow, Needs, Part, Plugin, Rejection, Request, Settings, SettingsError, Tls, TlsFiles, Verdict,
    async_trait, settings,
};
use contract::{Call, Said, Shown, Verdict as Decision};

/// The gateway's `timeout` ends a call before.
const LONGEST: Duration = Duration::from_secs(120);
/// Bytes of an answer that are shown at a time.
const WINDOW: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookSettings {
    url: Spanned<String>,
    secret: Option<Spanned<String>>,
    #[serde(default = "request")]
    on: Vec<Way>,
    window: Option<Spanned<Size>>,
    headers: Option<Spanned<BTreeMap<String, String>>>,
    tls: Option<Spanned<TlsFiles>>,
    #[serde(default)]
    tokens: Tokens,
}

fn request() -> Vec<Way> {
    vec![Way::Request]
}

/// `use = "webhook"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("webhook", |settings: &Settings<'_>| {
    let WebhookSettings { url, secret, on, window, headers, tls, tokens } = settings.read()?;
    let target = settings::url(&url)?;
    let on = Way::some(on)?;
    if let (Some(tls), Some("http")) = (&tls, target.scheme_str()) {
        return Err(SettingsError::at(tls, "without https there is no TLS"));
    }
    let tls = tls.map(|tls| settings.tls(tls.get_ref())).transpose()?;
    let window = window_of(window.as_ref(), WINDOW)?;
    let secret = secret.as_ref().map(|secret| settings.secret(secret)).transpose()?;
    let headers = settings.headers(headers.as_ref(), "application/json")?;
    let key = secret.map(|secret| ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes()));
    Ok(Arc::new(Webhook { url: target, key, on, window, headers, tls, tokens }))
});

/// Bytes of an answer at a time.
pub(crate) fn window_of(window: Option<&Spanned<Size>>, default: usize) -> Result<usize, SettingsError> {
    bytes("window", window, default, 64 << 10)
}

struct Webhook {
    url: http::Uri,
    key: Option<ring::hmac::Key>,
    on: Vec<Way>,
    window: usize,
    headers: HeaderMap,
    tls: Option<Tls>,
    tokens: Tokens,
}

impl Webhook {
    /// Asks for a verdict.
    async fn ask(&self, call: &Call<'_>, cx: &Context) -> Result<Decision, Failure> {
        let body = serde_json::to_vec(call).map_err(|_| Failure::from("the call could not be written"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let mut request = http::Request::new(Bytes::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert("x-gateway-timestamp", now.into());
        if let Some(key) = &self.key {
            let signature = contract::sign(key, now, request.body());
            let signature =
                HeaderValue::try_from(signature).map_err(|_| Failure::from("the signature is no header"))?;
            request.headers_mut().insert("x-gateway-signature", signature);
        }
        if let Some(tls) = &self.tls {
            request.extensions_mut().insert(tls.clone());
        }
        let answer = cx.host().fetch(request, LONGEST).await?;
        if !answer.status().is_success() {
            return Err(Failure(format!("it answered with status {}", answer.status().as_u16())));
        }
        contract::read(answer.body()).map_err(Failure::from)
    }
}

#[async_trait]
impl Plugin for Webhook {
    fn needs(&self) -> Needs {
        let needs = if self.on.contains(&Way::Request) { Needs::new().body() } else { Needs::new() };
        if self.on.contains(&Way::Answer) { needs.window(self.window) } else { needs }
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        if let Some(verdict) = self.tokens.verdict(request, false, cx) {
            return Ok(verdict);
        }
        let texts: Vec<Shown<'_>> = request.texts().into_iter().map(Shown::of).collect();
        let count = texts.len();
        let decision = self.ask(&Call::request(cx.about(), texts), cx).await?;
        for (name, value) in decision.tags {
            cx.tag(name, value);
        }
        Ok(match decision.said {
            Said::Pass => Verdict::Pass,
            Said::Reject { message, status } => Verdict::reject(status, message),
            Said::Answer { text } => Verdict::say(text),
            Said::Edit { texts } => {
                if texts.keys().any(|number| *number >= count) {
                    return Err("it changed a text that there is none of".into());
                }
                request.edit_texts(|text| texts.get(&text.number).cloned());
                Verdict::Pass
            }
        })
    }

    async fn on_window(&self, part: &Part, text: &str, end: bool, cx: &Context) -> Result<Flow, Failure> {
        if text.is_empty() || !Asking::begin(cx) {
            return Ok(Flow::Pass);
        }
        let decision = self.ask(&Call::answer(cx.about(), *part, text, end), cx).await?;
        for (name, value) in decision.tags {
            cx.tag(name, value);
        }
        let flow = match decision.said {
            Said::Pass => Flow::Pass,
            Said::Reject { message, status } => Flow::Refuse(Rejection { status, message }),
            Said::Answer { .. } | Said::Edit { .. } => {
                return Err("of an answer it may only say `pass` or `reject`".into());
            }
        };
        Asking::end(cx);
        Ok(flow)
    }
}
