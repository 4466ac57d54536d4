//! `pii`: what tells of persons in prompts and answers, masked, removed or refused.
//!
//! ```toml
//! [[plugins]]
//! use = "pii"
//! action = "mask"             # mask (default) | redact | reject | report
//! on = ["request"]            # and "answer"
//! kinds = ["email", "phone", "card", "iban", "national_id", "secret"]   # and "ip"
//! countries = ["us", "de"]    # whose national ids; all that are known if it is not said
//! message = "…"               # what a rejected client is told
//! status = 403
//! ```
//!
//! Masked values come back: the provider sees `[EMAIL_1]`, and where its answer says `[EMAIL_1]`, the client reads the address, in
//! streams and in the arguments of tools, too. What is found and how well: `docs/guardrails.md`.

mod card;
mod checks;
mod email;
mod form;
mod iban;
mod ip;
mod masks;
mod national;
mod numbers;
mod phone;

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::Settings;
use crate::find::{Any, Finder, Kind};
use crate::guard::{Action, Common, Guard};
use crate::judging::{Tokens, Way};
use crate::secrets::{self, Secrets};
use crate::settings::one_of;

pub use masks::Masks;

/// What can be looked for, by name.
pub const KINDS: &[&str] = &["email", "phone", "card", "iban", "national_id", "secret", "ip"];
/// What is looked for if nothing is said: all but addresses of machines.
pub const DEFAULT_KINDS: &[&str] = &["email", "phone", "card", "iban", "national_id", "secret"];

/// Countries whose national ids are known, by ISO 3166-1.
#[must_use]
pub fn countries() -> Vec<&'static str> {
    national::countries()
}

/// Finds these [`KINDS`]; national ids of `countries`, or of all that are known.
#[must_use]
pub fn finder(kinds: &[impl AsRef<str>], countries: Option<&[String]>) -> Any {
    let kind = |name: &str| -> Option<Kind> { kinds.iter().any(|kind| kind.as_ref() == name).then(|| name.into()) };
    let mut finders: Vec<Arc<dyn Finder>> = Vec::new();
    if let Some(kind) = kind("secret") {
        finders.push(Arc::new(Secrets::new(Some(&kind), true)));
    }
    if let Some(kind) = kind("email") {
        finders.push(Arc::new(email::Email(kind)));
    }
    let numbers =
        numbers::Kinds { card: kind("card"), iban: kind("iban"), phone: kind("phone"), national: kind("national_id") };
    if numbers.card.is_some() || numbers.iban.is_some() || numbers.phone.is_some() || numbers.national.is_some() {
        finders.push(Arc::new(numbers::Numbers::new(numbers, countries)));
    }
    if let Some(kind) = kind("ip") {
        finders.push(Arc::new(ip::Ip(kind)));
    }
    Any::new(finders)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PiiSettings {
    #[serde(default = "mask")]
    action: Action,
    #[serde(default = "request")]
    on: Vec<Way>,
    kinds: Option<Vec<Spanned<String>>>,
    countries: Option<Vec<Spanned<String>>>,
    message: Option<String>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    tokens: Tokens,
}

fn mask() -> Action {
    Action::Mask
}

fn request() -> Vec<Way> {
    vec![Way::Request]
}

/// `use = "pii"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("pii", |settings: &Settings<'_>| {
    let PiiSettings { action, on, kinds, countries, message, status, tokens } = settings.read()?;
    let kinds = match &kinds {
        Some(kinds) => one_of(kinds, KINDS)?,
        None => DEFAULT_KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
    };
    let countries = countries.as_ref().map(|list| one_of(list, &self::countries())).transpose()?;
    let common = Common::new(on, action, message, status.as_ref(), tokens)?;
    Ok(Arc::new(Guard::new(finder(&kinds, countries.as_deref()), common, hold(&kinds))))
});

/// Bytes of a text that what is looked for may take.
pub(crate) fn hold(kinds: &[String]) -> usize {
    if kinds.iter().any(|kind| kind == "secret") { secrets::HOLD } else { HOLD }
}

/// The same without secrets: a long mail address.
const HOLD: usize = 512;
