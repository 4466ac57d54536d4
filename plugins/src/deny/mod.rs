//! `deny` and `allow`: words and patterns that must not, or must, be there.
//!
//! ```toml
//! [[plugins]]
//! use = "deny"
//! words = ["project falcon", "机密"]      # in any case, at the borders of words
//! words_file = "words.txt"                # one a line; `#` begins a comment
//! patterns = ['\bACME-\d{6}\b']           # regular expressions, in linear time
//! reach = "64B"                           # longest match of a pattern that is found across the chunks of a stream
//! on = ["request", "answer"]              # default: both
//! action = "reject"                       # reject (default) | redact | report
//! message = "…"
//! status = 403
//!
//! [[plugins]]
//! use = "allow"                           # the last user message must have one of them
//! patterns = ['(?i)\b(invoice|order|refund)\b']
//! ```

mod allow;

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::find::{Any, Finder, Kind, Pattern, Words};
use crate::guard::{Action, Common, Guard};
use crate::judging::{Tokens, Way};
use crate::settings::{Size, bytes};
use crate::{Settings, SettingsError};

pub use allow::PLUGIN as ALLOW;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DenySettings {
    words: Option<Vec<Spanned<String>>>,
    words_file: Option<Spanned<String>>,
    patterns: Option<Vec<Spanned<String>>>,
    reach: Option<Spanned<Size>>,
    #[serde(default = "both")]
    on: Vec<Way>,
    #[serde(default = "reject")]
    action: Spanned<Action>,
    message: Option<String>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    tokens: Tokens,
}

fn both() -> Vec<Way> {
    vec![Way::Request, Way::Answer]
}

fn reject() -> Spanned<Action> {
    Spanned::new(0..0, Action::Reject)
}

/// `use = "deny"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("deny", |settings: &Settings<'_>| {
    let DenySettings { words, words_file, patterns, reach, on, action, message, status, tokens } = settings.read()?;
    if *action.get_ref() == Action::Mask {
        return Err(SettingsError::at(&action, "what is denied does not come back").help("use `redact`"));
    }
    let list = List { words, words_file, patterns, reach };
    let common = Common::new(on, *action.get_ref(), message, status.as_ref(), tokens)?;
    let (finder, hold) = list.finder(settings)?;
    Ok(Arc::new(Guard::new(finder, common, hold)))
});

/// What is looked for, as written.
struct List {
    words: Option<Vec<Spanned<String>>>,
    words_file: Option<Spanned<String>>,
    patterns: Option<Vec<Spanned<String>>>,
    reach: Option<Spanned<Size>>,
}

/// Most bytes that a pattern may reach.
const MOST_REACH: usize = 16 << 10;

impl List {
    /// The finder, and how many bytes it may keep open.
    fn finder(self, settings: &Settings<'_>) -> Result<(Any, usize), SettingsError> {
        let mut finders: Vec<Arc<dyn Finder>> = Vec::new();
        let reach = bytes("reach", self.reach.as_ref(), Pattern::REACH, MOST_REACH)?;
        let mut hold = reach;
        let mut add = |words: &[String], place: &dyn Fn(String) -> SettingsError| -> Result<(), SettingsError> {
            if !words.is_empty() {
                let words = Words::new("word".into(), words).map_err(|error| place(error.to_string()))?;
                hold = hold.max(words.reach());
                finders.push(Arc::new(words));
            }
            Ok(())
        };
        if let Some(words) = &self.words {
            let list: Vec<String> = words.iter().map(|word| word.get_ref().clone()).collect();
            if let Some(empty) = words.iter().find(|word| word.get_ref().trim().is_empty()) {
                return Err(
                    SettingsError::at(empty, "a word is empty").help("leave it out: it would be found everywhere")
                );
            }
            add(&list, &SettingsError::new)?;
        }
        if let Some(path) = &self.words_file {
            let text = String::from_utf8(settings.file(path)?)
                .map_err(|_| SettingsError::at(path, "the file is not UTF-8"))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            add(&lines.map(str::to_owned).collect::<Vec<_>>(), &|error| SettingsError::at(path, error))?;
        }
        let kind: Kind = "pattern".into();
        for pattern in self.patterns.iter().flatten() {
            let read = Pattern::new(kind.clone(), pattern.get_ref(), reach);
            finders.push(Arc::new(read.map_err(|error| SettingsError::at(pattern, error.to_string()))?));
        }
        if finders.is_empty() {
            return Err(SettingsError::new("it looks for nothing").help("give it `words`, `words_file` or `patterns`"));
        }
        Ok((Any::new(finders), hold))
    }
}
