//! `pii`: what tells of persons in prompts and answers, masked, removed or refused.

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

use crate::find::{Any, Finder, Kind};
use crate::secrets::Secrets;

pub use masks::{Masks, label};

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
    let kind = |name: &str| -> Option<Kind> {
        kinds.iter().any(|kind| kind.as_ref() == name).then(|| name.into())
    };
    let mut finders: Vec<Box<dyn Finder>> = Vec::new();
    if let Some(kind) = kind("secret") {
        finders.push(Box::new(Secrets::new(Some(&kind), true)));
    }
    if let Some(kind) = kind("email") {
        finders.push(Box::new(email::Email(kind)));
    }
    let numbers = numbers::Kinds {
        card: kind("card"),
        iban: kind("iban"),
        phone: kind("phone"),
        national: kind("national_id"),
    };
    if numbers.card.is_some() || numbers.iban.is_some() || numbers.phone.is_some() || numbers.national.is_some() {
        finders.push(Box::new(numbers::Numbers::new(numbers, countries)));
    }
    if let Some(kind) = kind("ip") {
        finders.push(Box::new(ip::Ip(kind)));
    }
    Any::new(finders)
}
