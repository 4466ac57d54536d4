//! Texts with variables: `Answer in German. Today is {{date}}.`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use toml::Spanned;

use crate::fields::Object;
use crate::{Context, Request, SettingsError};

/// The variables; `header.NAME`, `metadata.NAME` and `properties.NAME` beside them.
const NAMES: &[&str] = &["key", "team", "tags", "model", "dialect", "operation", "path", "request_id", "date", "time"];

/// A text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

impl Template {
    /// Reads a text as written in the settings.
    pub fn read(text: &Spanned<String>) -> Result<Self, SettingsError> {
        Self::parse(text.get_ref()).map_err(|name| {
            let known = NAMES.join(", ");
            SettingsError::at(text, format!("there is no variable `{name}`"))
                .help(format!("{known}, header.NAME, metadata.NAME, properties.NAME"))
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((plain, behind)) = rest.split_once("{{") {
            let Some((name, behind)) = behind.split_once("}}") else { break };
            let name = name.trim();
            let of_request = name
                .split_once('.')
                .is_some_and(|(of, name)| matches!(of, "header" | "metadata" | "properties") && !name.is_empty());
            if !of_request && !NAMES.contains(&name) {
                return Err(name.to_owned());
            }
            pieces.extend([Piece::Text(plain.to_owned()), Piece::Variable(name.to_owned())]);
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// Whether it says anything of the body's `properties`.
    pub fn has_properties(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Variable(name) if name.starts_with("properties.")))
    }

    /// The text for a request. What is not known is empty.
    pub fn fill(&self, request: &Request, cx: &Context) -> String {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Variable(name) => filled.push_str(&value(name, request, cx)),
            }
        }
        filled
    }
}

fn value(name: &str, request: &Request, cx: &Context) -> String {
    let about = cx.about();
    let key = about.key.as_ref();
    match name {
        "key" => key.map(|key| key.name.to_string()),
        "team" => key.and_then(|key| key.team.as_ref()).map(ToString::to_string),
        "tags" => key.map(|key| key.tags.iter().map(|tag| &**tag).collect::<Vec<_>>().join(", ")),
        "model" => about.model.as_ref().map(ToString::to_string),
        "dialect" => Some(about.dialect.as_str().to_owned()),
        "operation" => Some(about.operation.as_str().to_owned()),
        "path" => Some(about.path.to_string()),
        "request_id" => Some(about.id.to_string()),
        "date" => Some(date(about.now()).0),
        "time" => Some(date(about.now()).1),
        name => match name.split_once('.') {
            Some(("header", name)) => {
                request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
            }
            Some((field, name)) => Object::read(request.json()).and_then(|body| {
                let inner = Object::read(body.get(field)?.as_bytes())?;
                let value: serde_json::Value = serde_json::from_str(inner.get(name)?).ok()?;
                Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            }),
            None => None,
        },
    }
    .unwrap_or_default()
}

/// Date and time of day in UTC: `2026-11-25`, `21:05`.
fn date(at: SystemTime) -> (String, String) {
    calendar(at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

/// Howard Hinnant's `civil_from_days`.
fn calendar(seconds: u64) -> (String, String) {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (format!("{year:04}-{month:02}-{day:02}"), format!("{:02}:{:02}", seconds % 86_400 / 3600, seconds % 3600 / 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        assert_eq!(calendar(0), ("1970-01-01".to_owned(), "00:00".to_owned()));
        assert_eq!(calendar(951_782_400 + 3660), ("2000-02-29".to_owned(), "01:01".to_owned()));
        assert_eq!(calendar(1_795_640_700).0, "2026-11-25");
    }

    #[test]
    fn variables_are_known_when_the_file_is_read() {
        assert_eq!(Template::parse("a {{ nothing }}"), Err("nothing".to_owned()));
        assert_eq!(Template::parse("{{header.}}"), Err("header.".to_owned()));
        assert!(Template::parse("{{key}}{{header.x-a}} {{ open").is_ok());
    }
}
