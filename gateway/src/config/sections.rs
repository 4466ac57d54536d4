//! The sections of a file, which [`read`](super::read) takes one after the other.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Context;
use super::schema::SCHEMA;
use super::tree::{self, At, instead};

/// Their names: the fields of [`File`](super::File).
pub(super) static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let fields = SCHEMA.get("properties").and_then(|fields| fields.as_object());
    fields.into_iter().flat_map(|fields| fields.keys().cloned()).collect()
});

/// The sections that were not taken yet.
pub(super) struct Sections<'i>(DeTable<'i>);

impl<'i> Sections<'i> {
    /// The sections of `text`. `None` where it is not TOML, which is reported, as what is no section.
    pub(super) fn of(text: &'i str, cx: &mut Context<'_>) -> Option<Self> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let errors: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
            for (span, _) in &errors {
                tree::mask_broken_line(text, span.start, &mut cx.report);
            }
            for (span, message) in errors {
                cx.report.error(span, format!("this is not TOML: {message}"), None);
            }
            return None;
        }
        let root = root.into_inner();
        tree::mask_secrets(&root, &mut cx.report);
        let names: Vec<&str> = NAMES.iter().map(String::as_str).collect();
        for key in root.keys().filter(|key| !names.contains(&&**key.get_ref())) {
            let name = key.get_ref();
            cx.report.error(key.span(), format!("there is no section `{name}`"), instead(name, &names));
        }
        Some(Self(root))
    }

    /// Where a section stands that was not taken yet.
    pub(super) fn span(&self, name: &str) -> Range<usize> {
        self.0.get(name).map_or(0..0, Spanned::span)
    }

    /// `[name]`. `None`: it is not there, or not of its type, which is reported.
    pub(super) fn table<T: DeserializeOwned>(&mut self, name: &str, cx: &mut Context<'_>) -> Option<T> {
        tree::shape(self.0.remove(name)?, &format!("[{name}]"), &mut cx.report)
    }

    /// Each `[name.NAME]`; `None` for one that is not of its type.
    pub(super) fn tables<T: DeserializeOwned>(
        &mut self,
        name: &str,
        cx: &mut Context<'_>,
    ) -> Vec<(At<String>, Option<T>)> {
        let Some(section) = self.0.remove(name) else { return Vec::new() };
        let span = section.span();
        let DeValue::Table(table) = section.into_inner() else {
            cx.report.error(span, format!("`{name}` is a table of tables"), format!("write [{name}.NAME]"));
            return Vec::new();
        };
        let typed = |(key, value): (Spanned<Cow<'_, str>>, _)| {
            let key = At { span: key.span(), value: key.into_inner().into_owned() };
            let table = tree::shape(value, &format!("[{name}.{}]", key.value), &mut cx.report);
            (key, table)
        };
        table.into_iter().map(typed).collect()
    }

    /// Each `[[name]]`; `None` for one that is not of its type.
    pub(super) fn elements<T: DeserializeOwned>(&mut self, name: &str, cx: &mut Context<'_>) -> Vec<At<Option<T>>> {
        let elements = self.untyped(name, cx);
        let typed = |value: Spanned<DeValue<'_>>| {
            let span = value.span();
            At { value: tree::shape(value, &format!("[[{name}]]"), &mut cx.report), span }
        };
        elements.into_iter().map(typed).collect()
    }

    /// Each `[[name]]` as it was written.
    pub(super) fn untyped(&mut self, name: &str, cx: &mut Context<'_>) -> Vec<Spanned<DeValue<'i>>> {
        let Some(section) = self.0.remove(name) else { return Vec::new() };
        let span = section.span();
        if let DeValue::Array(array) = section.into_inner() {
            return array.into_iter().collect();
        }
        let help = format!("write [[{name}]] above each of them");
        cx.report.error(span, format!("`{name}` is an array of tables"), help);
        Vec::new()
    }
}
