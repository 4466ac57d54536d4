//! The public items of a source that rustfmt has written: items stand at the left edge, their members four spaces in.

/// What an item is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Header {
    /// `pub struct`, `pub enum`, `pub fn`, `pub use`, …
    Defines,
    /// `impl Trait for Type`.
    Implements,
    /// `impl Type`, which matters by its members only.
    Inherent,
}

/// A public item.
#[derive(Debug)]
pub struct Item {
    pub header: Header,
    /// Its signature; with ` { .. }` where members that are not seen, or may come, keep others from writing it out.
    pub text: String,
    /// What it is about: the name that it defines, or the type of its `impl`.
    pub of: String,
    /// Public fields, variants, functions; and `derive` with what is derived. Those that a trait brings with it end in ` { .. }`.
    pub members: Vec<String>,
}

impl Item {
    /// Whether it is about the type or trait of this name.
    pub fn is_about(&self, name: &str) -> bool {
        self.of == name || self.is_for_all(name)
    }

    /// Whether it makes all types of a kind implement the trait of this name.
    pub fn is_for_all(&self, of_trait: &str) -> bool {
        self.text.starts_with("impl<") && self.text.contains(&format!(" {of_trait} for "))
    }
}

/// Members that are there and not seen, or that may come.
pub const MORE: &str = " { .. }";

#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Struct,
    Enum,
    Trait,
    Impl,
    Other,
}

/// The public items of `source`, in its order.
pub fn items(source: &str) -> Vec<Item> {
    let source = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut items: Vec<Item> = Vec::new();
    let (mut inside, mut attributes) = (Inside::Other, String::new());
    while let Some(line) = lines.next() {
        let member = line.starts_with("    ") && !line.starts_with("     ");
        if line.starts_with("#[") {
            attributes += &whole(line, &mut lines, balanced);
        } else if line.starts_with("pub ") || line.starts_with("impl") {
            let text = whole(line, &mut lines, |text| balanced_but_body(text) && text.ends_with(['{', ';', '}']));
            let begun;
            let attributes = std::mem::take(&mut attributes);
            (begun, inside) = begin(&text, &attributes);
            match attributes.contains("#[doc(hidden)]") {
                true => inside = Inside::Other,
                false => items.extend(begun),
            }
        } else if !line.starts_with([' ', '}']) && !line.is_empty() {
            (inside, attributes) = (Inside::Other, String::new());
        } else if member && !line.trim().starts_with(['#', '}', ')']) {
            let Some(item) = items.last_mut() else { continue };
            match inside {
                Inside::Struct | Inside::Enum => {
                    let text = whole(line, &mut lines, |text| {
                        let closed = text.replace("->", "").matches('>').count();
                        text.matches('<').count() == closed && balanced(text) && text.ends_with(',')
                    });
                    let text = text.trim_end_matches(',').replace("#[from] ", "");
                    match inside == Inside::Enum || text.starts_with("pub ") {
                        true => item.members.push(text),
                        false if !item.text.ends_with(MORE) => item.text += MORE,
                        false => {}
                    }
                }
                Inside::Trait | Inside::Impl => {
                    let text =
                        whole(line, &mut lines, |text| balanced_but_body(text) && text.ends_with(['{', ';', '}']));
                    if inside == Inside::Trait {
                        let provided = if text.ends_with(';') { "" } else { MORE };
                        item.members.push(signature(&text) + provided);
                    } else if text.starts_with("pub ") {
                        item.members.push(signature(&text));
                    }
                }
                Inside::Other => {}
            }
        }
    }
    items
}

/// `first`, and as many lines behind it as it takes until it is `complete`, in one line.
fn whole<'a>(first: &str, rest: &mut impl Iterator<Item = &'a str>, complete: impl Fn(&str) -> bool) -> String {
    let mut text = first.trim().to_owned();
    while !complete(&text) {
        let Some(line) = rest.next() else { break };
        text = text + " " + line.trim();
    }
    [("( ", "("), (", )", ")"), ("< ", "<"), (", >", ">"), (", }", " }")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

fn balanced(text: &str) -> bool {
    ["()", "[]", "{}"].iter().all(|pair| {
        let (open, close) = pair.split_at(1);
        text.matches(open).count() == text.matches(close).count()
    })
}

/// All brackets are closed, but for that of a body that begins at the end.
fn balanced_but_body(text: &str) -> bool {
    balanced(text.strip_suffix('{').unwrap_or(text))
}

/// Without body, value, and what is of no matter to a caller.
fn signature(text: &str) -> String {
    let text = text.trim_end_matches("{}").trim_end_matches(['{', ';']).trim_end();
    let text =
        if text.contains("const ") && !text.contains("fn ") { text.split(" = ").next().unwrap_or(text) } else { text };
    text.replace("(mut ", "(").replace(", mut ", ", ")
}

/// The items of a line, and where the members of the last one are.
fn begin(text: &str, attributes: &str) -> (Vec<Item>, Inside) {
    if let Some(names) = text.strip_prefix("pub use ") {
        // Where they come from is of no matter.
        let names = names.trim_end_matches([';', '}']).rsplit(['{']).next().unwrap_or_default().split(", ");
        let last = |path: &str| path.rsplit([':', ' ']).next().unwrap_or_default().to_owned();
        let item =
            |of: String| Item { header: Header::Defines, text: format!("pub use {of}"), of, members: Vec::new() };
        return (names.map(|path| item(last(path))).collect(), Inside::Other);
    }
    let (body, mut shown) = (text.ends_with('{'), signature(text));
    if let Some(rest) = text.strip_prefix("impl") {
        let header = if rest.contains(" for ") { Header::Implements } else { Header::Inherent };
        let of = rest.rsplit(" for ").next().unwrap_or(rest);
        let of = if header == Header::Inherent { of.trim_start_matches(|c| c != ' ').trim() } else { of };
        let inside = if header == Header::Inherent && body { Inside::Impl } else { Inside::Other };
        return (vec![Item { header, text: shown, of: name(of), members: Vec::new() }], inside);
    }
    let words: Vec<&str> = shown.split([' ', '(']).collect();
    let (inside, of) = match words.as_slice() {
        [_, "struct", of, ..] => (Inside::Struct, name(of)),
        [_, "enum", of, ..] => (Inside::Enum, name(of)),
        [_, "trait", of, ..] => (Inside::Trait, name(of)),
        [_, "type" | "mod", of, ..] => (Inside::Other, name(of)),
        _ => (Inside::Other, String::new()),
    };
    let mut members = Vec::new();
    if matches!(inside, Inside::Struct | Inside::Enum) {
        let derives = attributes.split("#[derive(").skip(1).filter_map(|derive| derive.split(")]").next());
        members.extend(derives.flat_map(|derive| derive.split(',')).map(|derive| format!("derive {}", derive.trim())));
        members.retain(|derive| derive != "derive ");
        members.sort();
        let tuple = shown.split_once('(').map(|(head, fields)| (head.to_owned(), fields.to_owned()));
        let hidden = |fields: &str| fields.split(", ").any(|field| !field.starts_with("pub "));
        if let Some((head, _)) = tuple.filter(|(_, fields)| inside == Inside::Struct && hidden(fields)) {
            shown = head + MORE;
        } else if attributes.contains("#[non_exhaustive]") {
            shown += MORE;
        }
    }
    let inside = if body { inside } else { Inside::Other };
    (vec![Item { header: Header::Defines, text: shown, of, members }], inside)
}

/// `Screen` of `Screen<'a>`, of `Screen:`, of `Screen {` and of `crate::Screen`.
fn name(text: &str) -> String {
    let path = text.trim_start().split(['<', ' ', '{', '(', ';']).next().unwrap_or_default().trim_end_matches(':');
    path.rsplit("::").next().unwrap_or_default().to_owned()
}

#[test]
fn items_and_their_members_are_found() {
    let source = "\
//! A file.
use a::b;
pub use a::{B, C};
pub use b::c as other;
pub mod inner;
pub const MOST: usize = 5 + 6;

#[doc(hidden)]
pub mod internal {
    pub use a::D;
}

#[derive(Debug, Clone)]
pub struct Open {
    /// x
    pub b: u8,
    #[serde(default)]
    pub c: Vec<
        u8,
    >,
}

pub struct Closed<'a> {
    pub b: u8,
    c: &'a u8,
}

#[non_exhaustive]
pub struct More {
    pub b: u8,
}

struct Private {
    pub b: u8,
}

impl Private {
    pub fn not_seen() {}
}

impl fmt::Debug for Private {}

impl<'a> Closed<'a> {
    /// x
    #[must_use]
    pub fn long(
        mut self,
        a: impl Fn(u8) -> u8,
    ) -> u8 {
        pub_fn()
    }

    fn private() {}
    pub(crate) fn also() {}
    pub const fn where_clause<T>() -> T
    where
        T: Copy,
    {
    }
}

impl fmt::Debug for crate::Closed<'_> {
    fn fmt(&self) {}
}

pub struct Pair(pub u8, pub u8);
pub struct Hidden(u8);
pub struct Unit;

pub trait T: Send {
    fn needed(&self);

    #[must_use]
    async fn provided(&self) -> u8 {
        5
    }
    fn empty(&self) {}
}

#[derive(PartialEq)]
pub enum E {
    /// x
    A,
    #[default]
    B(#[from] u8),
    C {
        /// x
        d: u8,
    },
}

fn free() {}
pub fn seen(a: u8) -> u8 {
    a
}

#[cfg(test)]
mod tests {
    pub fn nothing() {}
}
";
    let mut lines = Vec::new();
    for item in items(source) {
        lines.push(format!("{} [{}]", item.text, item.of));
        lines.extend(item.members.iter().map(|member| format!("    {member}")));
    }
    let expected = [
        "pub use B [B]",
        "pub use C [C]",
        "pub use other [other]",
        "pub mod inner [inner]",
        "pub const MOST: usize []",
        "pub struct Open [Open]",
        "    derive Clone",
        "    derive Debug",
        "    pub b: u8",
        "    pub c: Vec<u8>",
        "pub struct Closed<'a> { .. } [Closed]",
        "    pub b: u8",
        "pub struct More { .. } [More]",
        "    pub b: u8",
        "impl Private [Private]",
        "    pub fn not_seen()",
        "impl fmt::Debug for Private [Private]",
        "impl<'a> Closed<'a> [Closed]",
        "    pub fn long(self, a: impl Fn(u8) -> u8) -> u8",
        "    pub const fn where_clause<T>() -> T where T: Copy,",
        "impl fmt::Debug for crate::Closed<'_> [Closed]",
        "pub struct Pair(pub u8, pub u8) [Pair]",
        "pub struct Hidden { .. } [Hidden]",
        "pub struct Unit [Unit]",
        "pub trait T: Send [T]",
        "    fn needed(&self)",
        "    async fn provided(&self) -> u8 { .. }",
        "    fn empty(&self) { .. }",
        "pub enum E [E]",
        "    derive PartialEq",
        "    A",
        "    B(u8)",
        "    C { d: u8 }",
        "pub fn seen(a: u8) -> u8 []",
    ];
    assert_eq!(lines, expected);
}
