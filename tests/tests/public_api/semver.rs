//! What of a list's changes breaks programs, and whether a version may: <https://doc.rust-lang.org/cargo/reference/semver.html>,
//! as far as a list of signatures tells it.

use std::collections::BTreeSet;

use super::scan::MORE;

/// A line of a list: its crate, the item that it is a member of, and itself.
type Line<'a> = (&'a str, &'a str, &'a str);

/// The lines of a list. Files are of no matter: what is moved from one to another is the same to who uses it, but for the
/// names by which it is found, which are those of a file.
fn lines(list: &str) -> BTreeSet<Line<'_>> {
    let (mut of_crate, mut of_file, mut of) = ("", "", "");
    let mut lines = BTreeSet::new();
    for line in list.lines().skip(1) {
        if let Some(file) = line.strip_prefix("# ") {
            (of_crate, of_file) = file.split_once('/').unwrap_or_default();
        } else if let Some(member) = line.strip_prefix("    ") {
            lines.insert((of_crate, of, member));
        } else if line.starts_with("pub use ") || line.starts_with("pub mod ") {
            lines.insert((of_crate, of_file, line));
        } else {
            of = name(line);
            // An `impl` of a type's own functions says nothing by itself.
            if !line.starts_with("impl") || line.contains(" for ") {
                lines.insert((of_crate, "", line));
            }
        }
    }
    lines
}

/// What an item defines, or is an `impl` of.
fn name(item: &str) -> &str {
    let of = match item.strip_prefix("impl") {
        Some(rest) if rest.starts_with('<') => rest.split_once("> ").map_or(rest, |(_, of)| of),
        Some(rest) => rest.trim_start(),
        None => item.split(' ').nth(2).unwrap_or_default(),
    };
    of.split(['<', ':', '(', ' ']).next().unwrap_or_default()
}

/// What of the list `old` programs relied on and `new` does not have, or what it asks of them anew.
pub fn breaks(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (lines(old), lines(new));
    let gone = old.difference(&new).filter(|(of_crate, of, line)| {
        // A type that may be written out now, or a function that a trait now brings with it.
        let softer = match (of.is_empty(), line.strip_suffix(MORE)) {
            (true, Some(closed)) => closed.to_owned(),
            (false, None) => format!("{line}{MORE}"),
            _ => return true,
        };
        !new.contains(&(*of_crate, *of, &*softer))
    });
    let gone = gone.map(|(of_crate, of, line)| format!("gone: {of_crate}: {of} {line}"));
    let asked = new.difference(&old).filter(|line| is_asked_of_programs(line, &old));
    let asked = asked.map(|(of_crate, of, line)| format!("new, and all have to follow: {of_crate}: {of} {line}"));
    gone.chain(asked).collect()
}

/// Whether a new member is one that everybody has to follow who implements its trait, or writes out or matches its type.
fn is_asked_of_programs((of_crate, of, line): &Line<'_>, old: &BTreeSet<Line<'_>>) -> bool {
    let mut before =
        old.iter().filter(|(other, owner, line)| other == of_crate && owner.is_empty() && name(line) == *of);
    let is_function = line.contains("fn ") || line.starts_with("pub const ") || line.starts_with("derive ");
    !of.is_empty()
        && before.any(|(_, _, item)| match item.split(' ').nth(1) {
            Some("trait") => !line.ends_with(MORE),
            Some("struct" | "enum") => !item.ends_with(MORE) && !is_function,
            _ => false,
        })
}

/// Whether the version of `new` is one whose users know that it breaks what was in that of `old`.
pub fn may_break(old: &str, new: &str) -> bool {
    let compatible = |list: &str| {
        let version = list.lines().next()?.strip_prefix("ai-gateway ")?;
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
        match (numbers.next()??, numbers.next()??) {
            (0, minor) => Some((0, minor)),
            (major, _) => Some((major, 0)),
        }
    };
    compatible(new) > compatible(old)
}

#[cfg(test)]
const OLD: &str = "ai-gateway 0.1.0
# plugins/a
pub struct Open
    derive Clone
    pub a: u8
pub struct Closed<'a> { .. }
    pub a: u8
impl<'a> Closed<'a>
    pub fn new(a: u8) -> Self
impl fmt::Debug for Closed<'_>
pub enum E
    A
pub use Open
# plugins/b
pub trait T: Send
    fn needed(&self)
    fn provided(&self) { .. }
pub fn free(a: u8)
";

#[test]
fn what_only_adds_breaks_nothing() {
    for (before, after) in [
        ("pub fn free(a: u8)\n", "pub fn free(a: u8)\npub fn more()\npub enum F\n    A\n"),
        ("    pub fn new(a: u8) -> Self\n", "    pub fn new(a: u8) -> Self\n    pub fn other() -> Self\n"),
        ("    derive Clone\n", "    derive Clone\n    derive Debug\n"),
        ("Closed<'a> { .. }\n    pub a: u8\n", "Closed<'a> { .. }\n    pub a: u8\n    pub b: u8\n"),
        ("    fn provided(&self) { .. }\n", "    fn provided(&self) { .. }\n    fn another(&self) { .. }\n"),
        ("    fn needed(&self)\n", "    fn needed(&self) { .. }\n"),
        ("pub struct Closed<'a> { .. }", "pub struct Closed<'a>"),
        ("# plugins/b\n", "# plugins/c\n"),
        ("impl<'a> Closed<'a>\n", "impl Closed<'_>\n"),
        ("pub use Open\n", "pub use Open\npub use Closed\n"),
        ("# plugins/b\n", "impl Open\n    pub const MOST: usize\n# plugins/b\n"),
    ] {
        let new = OLD.replace(before, after);
        assert!(new != OLD && breaks(OLD, &new).is_empty(), "{after}: {:?}", breaks(OLD, &new));
    }
}

#[test]
fn what_goes_or_changes_or_asks_for_more_breaks_programs() {
    for (before, after) in [
        ("pub fn free(a: u8)\n", ""),
        ("pub fn free(a: u8)\n", "pub fn free(a: u16)\n"),
        ("    derive Clone\n", ""),
        ("impl fmt::Debug for Closed<'_>\n", ""),
        ("    pub fn new(a: u8) -> Self\n", "    pub fn new() -> Self\n"),
        (
            "pub struct Open\n    derive Clone\n    pub a: u8\n",
            "pub struct Open { .. }\n    derive Clone\n    pub a: u8\n",
        ),
        (
            "pub struct Open\n    derive Clone\n    pub a: u8\n",
            "pub struct Open\n    derive Clone\n    pub a: u8\n    pub b: u8\n",
        ),
        ("    A\n", "    A\n    B(u8)\n"),
        ("    A\n", ""),
        ("pub enum E\n", "pub enum E { .. }\n"),
        ("    fn needed(&self)\n", "    fn needed(&self)\n    async fn another(&self)\n"),
        ("    fn needed(&self)\n", "    fn needed(&self)\n    type Another\n"),
        ("    fn provided(&self) { .. }\n", "    fn provided(&self)\n"),
        ("pub trait T: Send\n", "pub trait T: Send + Sync\n"),
        ("# plugins/b\n", "# gateway/b\n"),
        ("pub use Open\n# plugins/b\n", "# plugins/b\npub use Open\n"),
    ] {
        let new = OLD.replacen(before, after, 1);
        assert!(new != OLD && !breaks(OLD, &new).is_empty(), "{before} -> {after}");
    }
}

#[test]
fn a_version_says_whether_it_may_break_programs() {
    for (old, new, may) in [
        ("0.1.0", "0.1.0", false),
        ("0.1.0", "0.1.7", false),
        ("0.1.7", "0.2.0", true),
        ("0.9.0", "1.0.0", true),
        ("1.0.0", "1.9.0", false),
        ("1.9.3", "2.0.0", true),
        ("2.0.0", "1.9.0", false),
        ("0.2.0", "0.1.0", false),
    ] {
        let list = |version: &str| format!("ai-gateway {version}\n# plugins/a\n");
        assert_eq!(may_break(&list(old), &list(new)), may, "{old} -> {new}");
    }
}
