//! What a medium needs on this wire.

use std::borrow::Cow;
use std::collections::BTreeSet;

pub(super) use crate::codec::media::{guess, mime_of, word_of};

/// Gives documents names that the service takes: letters, digits, single spaces, `-()[]`, each name once.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    pub(super) fn name<'n>(&mut self, wanted: Option<&'n str>) -> Cow<'n, str> {
        let wanted = wanted.unwrap_or_default();
        let clean = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '[' | ']');
        let mut name = Cow::Borrowed(wanted);
        if wanted.is_empty() || wanted.trim() != wanted || wanted.contains("  ") || !wanted.chars().all(clean) {
            let spaced: String = wanted.chars().map(|c| if clean(c) { c } else { ' ' }).collect();
            name = spaced.split_whitespace().collect::<Vec<_>>().join(" ").into();
        }
        if name.is_empty() {
            name = "Document".into();
        }
        // The service takes 200.
        if name.len() > 180 {
            name = name.chars().take(180).collect::<String>().trim_end().to_owned().into();
        }
        if self.0.contains(&*name) {
            let free = (2u32..).map(|n| format!("{name} {n}")).find(|name| !self.0.contains(name));
            name = free.unwrap_or_default().into();
        }
        self.0.insert(name.clone().into_owned());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_clean_and_unique() {
        let mut names = Names::default();
        assert_eq!(names.name(Some("report_2024.final.pdf")), "report 2024 final pdf");
        assert_eq!(names.name(Some("report 2024 final pdf")), "report 2024 final pdf 2");
        assert_eq!(names.name(Some("报告")), "Document");
        assert_eq!(names.name(None), "Document 2");
        assert!(names.name(Some(&"x".repeat(500))).len() <= 200);
    }
}
