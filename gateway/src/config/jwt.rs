//! `[jwt]`: tokens of identity providers as the other way in.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::tree::At;
use super::{Context, KeyConfig, base_url};

/// `[jwt]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Who makes tokens; each has a template key of its own.
    pub issuers: At<Vec<At<Issuer>>>,
}

/// An element of `issuers` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What the tokens' `iss` says, to the letter.
    pub issuer: At<String>,
    /// What their `aud` must say, or hold if it is a list.
    pub audience: At<String>,
    /// Where the public keys are: the URL of a JWKS, or `file:PATH`.
    pub jwks: At<String>,
    /// Which claims say what.
    #[serde(default)]
    pub claims: ClaimNames,
    /// Name of the `[[keys]]` entry whose rights the tokens have at most. It needs no `hash`.
    pub key: At<String>,
}

/// `claims` as written: names of claims, or JSON pointers into them (`/realm_access/roles`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimNames {
    /// Who it is: limits, metrics and logs go by it, after the template's name and a slash. Default: `"sub"`.
    pub name: Option<String>,
    /// The team. Default: the template's.
    pub team: Option<String>,
    /// A tag or several, beside the template's.
    pub tags: Option<String>,
    /// Models it may use, of those that the template may: a list, or words with spaces between. A token without it is refused.
    pub models: Option<String>,
}

/// A resolved issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` of its tokens.
    pub audience: String,
    /// Where its public keys are.
    pub jwks: JwksConfig,
    /// Which claims say what.
    pub claims: ClaimNames,
    /// Name of the template key; there is such a key, and no other issuer has it.
    pub key: String,
}

/// Where public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksConfig {
    /// Fetched from there: https, or http on this machine.
    Url(Url),
    /// The content of a file, checked to hold a key that can be used.
    Fixed(Vec<u8>),
}

impl Jwt {
    pub(super) fn resolve(self, keys: &[KeyConfig], cx: &mut Context<'_>) -> Vec<IssuerConfig> {
        let (mut issuers, mut templates) = (HashSet::new(), HashSet::new());
        if self.issuers.value.is_empty() {
            // Whoever wrote the section wants callers to be asked.
            let help = "name an issuer, or remove [jwt]";
            cx.report.error(self.issuers.span, "there is no issuer: no token would be accepted", help);
        }
        let mut resolved = Vec::with_capacity(self.issuers.value.len());
        for At { value: issuer, .. } in self.issuers.value {
            for text in [&issuer.issuer, &issuer.audience] {
                if text.value.trim().is_empty() {
                    cx.report.error(text.span.clone(), "this is empty", "write what the tokens say");
                }
            }
            if !issuers.insert(issuer.issuer.value.clone()) {
                let message = format!("there is another issuer `{}`", issuer.issuer.value);
                cx.report.error(issuer.issuer.span.clone(), message, "name each issuer once");
            }
            let name = &issuer.key.value;
            if !keys.iter().any(|key| key.name == *name) {
                let help = "add a [[keys]] table of that name (it needs no `hash`) with what the tokens may at most";
                cx.report.error(issuer.key.span.clone(), format!("there is no key `{name}`"), help);
            } else if !templates.insert(name.clone()) {
                let help = "limits go by the template's name and the token's: give each issuer a template of its own";
                cx.report.error(issuer.key.span.clone(), format!("another issuer uses the key `{name}`"), help);
            } else if let Some(key) =
                keys.iter().find(|key| key.name.strip_prefix(&**name).is_some_and(|rest| rest.starts_with('/')))
            {
                let message = format!("the key `{}` is named as a token of the template `{name}` would be", key.name);
                cx.report.error(issuer.key.span.clone(), message, "name one of them anew");
            }
            let Some(jwks) = cx.jwks(&issuer.jwks) else { continue };
            resolved.push(IssuerConfig {
                issuer: issuer.issuer.value,
                audience: issuer.audience.value,
                jwks,
                claims: issuer.claims,
                key: issuer.key.value,
            });
        }
        resolved
    }
}

impl Context<'_> {
    fn jwks(&mut self, text: &At<String>) -> Option<JwksConfig> {
        if let Some(path) = text.value.strip_prefix("file:") {
            let content = self.read(&At { value: path.to_owned(), span: text.span.clone() })?;
            if let Err(message) = crate::keys::check_jwks(&content) {
                self.report.error(text.span.clone(), format!("`{path}` {message}"), None);
                return None;
            }
            return Some(JwksConfig::Fixed(content));
        }
        let url = Url::parse(&text.value).ok().filter(|url| url.has_host());
        let safe = |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && base_url::is_local(url));
        if url.as_ref().is_none_or(|url| !safe(url)) {
            let help = "write the https URL of a JWKS (http only on this machine), or \"file:PATH\"";
            self.report.error(text.span.clone(), "public keys cannot be fetched from there", help);
        }
        url.map(JwksConfig::Url)
    }
}
