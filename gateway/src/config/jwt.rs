//! `[jwt]`: tokens of identity providers as the other way in.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::tree::At;
use super::{Context, KeyConfig, base_url};

/// `[jwt]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Who makes tokens; each has template keys of its own.
    pub issuers: At<Vec<At<Issuer>>>,
}

/// An element of `issuers` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What the tokens' `iss` says, to the letter. It may stand in several entries, for one `audience` each.
    pub issuer: At<String>,
    /// What their `aud` must say, or hold if it is a list. Of several entries the first that has a key for the token.
    pub audience: At<String>,
    /// Where the public keys are: the URL of a JWKS, or `file:PATH`.
    pub jwks: At<String>,
    /// Which claims say what.
    #[serde(default)]
    pub claims: ClaimNames,
    /// Name of the `[[keys]]` entry whose rights the tokens have at most, unless `by_claim` has another for them. It needs no
    /// `hash`. Without it tokens that `by_claim` has nothing for are refused.
    pub key: Option<At<String>>,
    /// Other such keys, each for tokens of which a claim says something; of several the first.
    #[serde(default)]
    pub by_claim: Vec<KeyByClaim>,
}

/// An element of `by_claim` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyByClaim {
    /// Name of a claim, or a JSON pointer into one.
    pub claim: At<String>,
    /// What the claim is or has: a text, a number, `true` or `false`, one of a list, or a word of a text with spaces between.
    pub has: At<String>,
    /// Name of the `[[keys]]` entry.
    pub key: At<String>,
}

impl Issuer {
    /// Names of all `[[keys]]` entries that its tokens may have the rights of.
    pub(super) fn templates(&self) -> impl Iterator<Item = &At<String>> {
        self.by_claim.iter().map(|by| &by.key).chain(&self.key)
    }
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
    /// Its template keys, the first that fits: that without a claim is the last.
    pub templates: Vec<TemplateConfig>,
}

/// A template key of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateConfig {
    /// Its name; there is such a key, and tokens of no other issuer have it.
    pub key: String,
    /// A claim, and what it must have; `None`: it is for all tokens.
    pub claim: Option<(String, String)>,
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
        let mut accepted = HashSet::new();
        let mut templates = HashMap::new();
        if self.issuers.value.is_empty() {
            // Whoever wrote the section wants callers to be asked.
            let help = "name an issuer, or remove [jwt]";
            cx.report.error(self.issuers.span, "there is no issuer: no token would be accepted", help);
        }
        let mut resolved = Vec::with_capacity(self.issuers.value.len());
        for At { value: issuer, span } in self.issuers.value {
            let by_claim = issuer.by_claim.iter().flat_map(|by| [&by.claim, &by.has]);
            for text in [&issuer.issuer, &issuer.audience].into_iter().chain(by_claim) {
                if text.value.trim().is_empty() {
                    cx.report.error(text.span.clone(), "this is empty", "write what the tokens say");
                }
            }
            let name = &issuer.issuer.value;
            if !accepted.insert((name.clone(), issuer.audience.value.clone())) {
                let message = format!("there is another issuer `{name}` of the same audience");
                cx.report.error(
                    issuer.issuer.span.clone(),
                    message,
                    "name both once; `by_claim` chooses by what a token says",
                );
            }
            if issuer.templates().next().is_none() {
                let help = "`key` names the [[keys]] entry whose rights the tokens have at most";
                cx.report.error(span, "this issuer's tokens have no key", help);
            }
            for template in issuer.templates() {
                check_template(template, name, keys, &mut templates, cx);
            }
            let Some(jwks) = cx.jwks(&issuer.jwks) else { continue };
            resolved.push(IssuerConfig {
                issuer: issuer.issuer.value,
                audience: issuer.audience.value,
                jwks,
                claims: issuer.claims,
                templates: (issuer.by_claim.into_iter())
                    .map(|by| TemplateConfig { key: by.key.value, claim: Some((by.claim.value, by.has.value)) })
                    .chain(issuer.key.map(|key| TemplateConfig { key: key.value, claim: None }))
                    .collect(),
            });
        }
        resolved
    }
}

/// Whether tokens of `issuer` can have that key; `templates` has the issuers of those before it.
fn check_template(
    template: &At<String>,
    issuer: &str,
    keys: &[KeyConfig],
    templates: &mut HashMap<String, String>,
    cx: &mut Context<'_>,
) {
    let name = &template.value;
    let is_token_of = |key: &&KeyConfig| key.name.strip_prefix(&**name).is_some_and(|rest| rest.starts_with('/'));
    let (message, help) = if !keys.iter().any(|key| key.name == *name) {
        let help = "add a [[keys]] table of that name (it needs no `hash`) with what the tokens may at most";
        (format!("there is no key `{name}`"), help)
    } else if templates.insert(name.clone(), issuer.to_owned()).is_some_and(|other| other != issuer) {
        let help = "limits go by the template's name and the token's: give each issuer a template of its own";
        (format!("another issuer uses the key `{name}`"), help)
    } else if let Some(key) = keys.iter().find(is_token_of) {
        let message = format!("the key `{}` is named as a token of the template `{name}` would be", key.name);
        (message, "name one of them anew")
    } else {
        return;
    };
    cx.report.error(template.span.clone(), message, help);
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
