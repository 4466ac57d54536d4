//! What the file may say already and no code does yet. Such a part is refused, never accepted and ignored.
//!
//! This is the only list: an issue that builds a part takes its line away, and the part is read from then on.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;

/// Paths of keys; `*` stands for any key of a table and for the elements of an array.
const NOT_YET: &[&[&str]] = &[&["cache"], &["models", "*", "cache"], &["keys", "*", "cache"]];

/// Reports every part of `root` that no code uses yet and takes it out.
pub(super) fn refuse(root: &mut DeTable<'_>, report: &mut Report<'_>) {
    for path in NOT_YET {
        take(root, path, &mut String::new(), report);
    }
}

fn take(table: &mut DeTable<'_>, path: &[&str], shown: &mut String, report: &mut Report<'_>) {
    match path {
        [] => {}
        [key] => {
            let Some((found, value)) = table.remove_entry(*key) else { return };
            let name = match value.get_ref() {
                DeValue::Table(_) if shown.is_empty() => format!("[{key}]"),
                DeValue::Array(_) if shown.is_empty() => format!("[[{key}]]"),
                _ => format!("{shown}{key}"),
            };
            report.error(
                found.span(),
                format!("`{name}` is not supported yet"),
                "remove it, or wait for a later version",
            );
        }
        ["*", rest @ ..] => {
            for (key, value) in table.iter_mut() {
                below(key.get_ref(), value, rest, shown, report);
            }
        }
        [key, rest @ ..] => {
            if let Some(value) = table.get_mut(*key) {
                below(key, value, rest, shown, report);
            }
        }
    }
}

fn below(key: &str, value: &mut Spanned<DeValue<'_>>, rest: &[&str], shown: &mut String, report: &mut Report<'_>) {
    let length = shown.len();
    shown.push_str(key);
    match (value.get_mut(), rest) {
        (DeValue::Table(table), _) => {
            shown.push('.');
            take(table, rest, shown, report);
        }
        (DeValue::Array(array), ["*", rest @ ..]) => {
            shown.push_str("[].");
            for value in array.iter_mut() {
                if let DeValue::Table(table) = value.get_mut() {
                    take(table, rest, shown, report);
                }
            }
        }
        // Of a wrong type: refused for that when it is read.
        _ => {}
    }
    shown.truncate(length);
}
