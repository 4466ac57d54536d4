use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn whole(body: &str) -> [u8; 32] {
    super::super::scan_json(body.as_bytes()).unwrap();
    canonical_digest(body.as_bytes(), |_| Counts::Whole).unwrap()
}

fn of(value: &str) -> [u8; 32] {
    whole(&format!("{{\"a\":{value}}}"))
}

#[test]
fn the_same_in_other_words() {
    for (one, other) in [
        ("1", "1.0"),
        ("1", "10e-1"),
        ("100", "1E+2"),
        ("1e2", "0.1e0003"),
        ("0", "-0.00e7"),
        ("0.10", "1e-1"),
        ("-12.5", "-125e-1"),
        ("\"a/b\"", r#""\u0061\/b""#),
        ("\"😀\"", r#""\ud83d\uDE00""#),
        ("\"\\n\"", "\"\\u000a\""),
        (
            r#"{"properties":{"b":{"type":"x","enum":[1]},"a":1},"type":"object"}"#,
            r#"{"type":"object","properties":{"b":{"enum":[1],"type":"x"},"a":1}}"#,
        ),
        (r#"{"x":1,"y":[{"b":2,"a":null}]}"#, "{ \"y\" : [ {\"a\":null ,\"b\":2.0}],\n\"\\u0078\":1}"),
    ] {
        assert_eq!(of(one), of(other), "{one} {other}");
    }
}

#[test]
fn something_else() {
    let texts = [
        "1",
        "-1",
        "2",
        "10",
        "\"1\"",
        "\"\"",
        "[]",
        "{}",
        "null",
        "true",
        "false",
        "[1]",
        "[[1]]",
        "[1,1]",
        "[null]",
        "\"a\"",
        "\"A\"",
        "\"a \"",
        "\"ä\"",
        "\"a\u{308}\"",
        r#""\ud800""#,
        r#""\ud801""#,
        r#""\udc00\ud800""#,
        "\"\u{fffd}\"",
        "0.1",
        "0.10000000000000001",
        "123456789012345678901234567890",
        "123456789012345678901234567891",
        "1e400",
        "1e401",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        r#"{"properties":{"a":1,"b":2}}"#,
        r#"{"properties":{"b":2,"a":1}}"#,
        "[\"a\",\"b\"]",
        "[\"b\",\"a\"]",
        "[\"ab\"]",
        "{\"a\":null}",
        "{\"a\":{\"b\":1}}",
        "{\"a\":{},\"b\":1}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":2,\"a\":1}",
        "{\"a\":2}",
        "{\"ab\":1}",
    ];
    let mut seen = BTreeMap::new();
    for text in texts {
        if let Some(other) = seen.insert(of(text), text) {
            panic!("{text} is taken for {other}");
        }
    }
}

#[test]
fn lengths_at_which_the_form_changes() {
    let mut seen = BTreeMap::new();
    for length in [0, 1, 119, 120, 121, 255, 256, 719, 720, 721, 5000] {
        let text = "x".repeat(length);
        let plain = of(&format!("\"{text}\""));
        assert_eq!(plain, of(&format!("\"{}\"", "\\u0078".repeat(length))), "{length}");
        if length > 0 {
            assert_eq!(plain, of(&format!("\"{}\\u0078\"", &text[1..])), "{length}");
        }
        let array = of(&format!("[{}]", vec!["1"; length].join(",")));
        assert_eq!(array, of(&format!("[{}]", vec!["1.0 "; length].join(" ,"))), "{length}");
        let nested = of(&format!("[[{}]]", vec!["1"; length].join(",")));
        for digest in [plain, array, nested] {
            assert_eq!(seen.insert(digest, length), None, "{length}");
        }
    }
}

#[test]
fn what_does_not_count() {
    let counts = |name: &[u8]| match name {
        b"model" => Counts::Not,
        b"stream_options" => Counts::Without("include_usage"),
        _ => Counts::Whole,
    };
    let digest = |body: &str| canonical_digest(body.as_bytes(), counts).unwrap();
    let bare = digest(r#"{"a":1}"#);
    for same in [
        r#"{"a":1,"model":"m"}"#,
        r#"{"m\u006fdel":{"a":2},"a":1}"#,
        r#"{"stream_options":{"include_usage":true},"a":1}"#,
        r#"{"stream_options":{},"a":1}"#,
    ] {
        assert_eq!(digest(same), bare, "{same}");
    }
    let other = digest(r#"{"a":1,"stream_options":{"x":1}}"#);
    assert_ne!(other, bare);
    assert_eq!(other, digest(r#"{"a":1,"stream_options":{"include_usage":false,"x":1.0}}"#));
    assert_ne!(digest(r#"{"a":1,"stream_options":null}"#), bare);
    assert_ne!(digest(r#"{"a":{"model":1}}"#), digest(r#"{"a":{}}"#), "only at the top");
}

#[test]
fn an_object_with_too_many_members() {
    let object = |members: usize| {
        let members: Vec<_> = (0..members).rev().map(|number| format!("\"{number}\":1")).collect();
        canonical_digest(format!("{{{}}}", members.join(",")).as_bytes(), |_| Counts::Whole)
    };
    assert!(object(MAX_MEMBERS).is_some());
    assert!(object(MAX_MEMBERS + 1).is_none());
}

/// What a body says.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    /// Whole digits, and a power of ten.
    Number(i64, i8),
    Text(Vec<Unit>),
    Array(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

/// A character, or half of one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Char(char),
    Lone(u16),
}

impl Tree {
    /// The same for all that say the same.
    fn normal(&self) -> Self {
        match self {
            Self::Number(0, _) => Self::Number(0, 0),
            Self::Number(digits, power) if digits % 10 == 0 => Self::Number(digits / 10, power + 1).normal(),
            Self::Array(array) => Self::Array(array.iter().map(Self::normal).collect()),
            Self::Object(object) => {
                Self::Object(object.iter().map(|(name, value)| (name.clone(), value.normal())).collect())
            }
            other => other.clone(),
        }
    }

    /// Writes it in one of many ways, which `spell` draws below its argument.
    fn write(&self, out: &mut String, spell: &mut dyn FnMut(usize) -> usize) {
        let space = |out: &mut String, spell: &mut dyn FnMut(usize) -> usize| {
            out.push_str(["", "", " ", "\n\t"][spell(4)]);
        };
        space(out, spell);
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => write!(out, "{value}").unwrap(),
            Self::Number(digits, power) => match spell(4) {
                0 if *power >= 0 && *power < 4 => {
                    write!(out, "{digits}{}", "0".repeat(*power as usize * usize::from(*digits != 0))).unwrap()
                }
                1 => write!(out, "{digits}.000e{power}").unwrap(),
                2 if *digits != 0 => write!(out, "{digits}0E{}", i32::from(*power) - 1).unwrap(),
                _ => write!(out, "{digits}e{power}").unwrap(),
            },
            Self::Text(units) => write_text(units, out, spell),
            Self::Array(array) => {
                out.push('[');
                for (index, value) in array.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    value.write(out, spell);
                }
                out.push(']');
            }
            Self::Object(object) => {
                let mut members: Vec<_> = object.iter().collect();
                for index in (1..members.len()).rev() {
                    members.swap(index, spell(index + 1));
                }
                out.push('{');
                for (index, (name, value)) in members.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    space(out, spell);
                    write_text(&name.chars().map(Unit::Char).collect::<Vec<_>>(), out, spell);
                    space(out, spell);
                    out.push(':');
                    value.write(out, spell);
                }
                out.push('}');
            }
        }
        space(out, spell);
    }
}

fn write_text(units: &[Unit], out: &mut String, spell: &mut dyn FnMut(usize) -> usize) {
    out.push('"');
    for unit in units {
        match unit {
            Unit::Lone(unit) => write!(out, "\\u{unit:04x}").unwrap(),
            Unit::Char(char) if spell(3) == 0 => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04X}").unwrap();
                }
            }
            Unit::Char(char) => match char {
                '"' | '\\' => write!(out, "\\{char}").unwrap(),
                '/' => out.push_str(["/", "\\/"][spell(2)]),
                '\n' => out.push_str("\\n"),
                control if control.is_control() && (*control as u32) < 0x20 => {
                    write!(out, "\\u{:04x}", *control as u32).unwrap()
                }
                char => out.push(*char),
            },
        }
    }
    out.push('"');
}

fn tree() -> impl Strategy<Value = Tree> {
    // A high half is followed by nothing that makes it whole.
    let unit = prop_oneof![
        8 => any::<char>().prop_map(Unit::Char),
        8 => prop::sample::select(vec!['a', 'b', '/', '"', '\\', '\n']).prop_map(Unit::Char),
        1 => (0xdc00_u16..0xe000).prop_map(Unit::Lone),
    ];
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        (prop_oneof![-20_i64..20, any::<i64>().prop_map(|digits| digits / 100)], -3_i8..4)
            .prop_map(|(digits, power)| Tree::Number(digits, power)),
        prop::collection::vec(unit.clone(), 0..4).prop_map(Tree::Text),
        prop::collection::vec(unit, 100..140).prop_map(Tree::Text),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::Array),
            prop::collection::btree_map("[ab\"é]{0,2}", inner, 0..6).prop_map(Tree::Object),
        ]
    })
}

fn object() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map("[ab\"é]{0,2}", tree(), 0..4).prop_map(Tree::Object)
}

/// A tree that differs little from another, or not at all.
fn pair() -> impl Strategy<Value = (Tree, Tree)> {
    prop_oneof![
        (object(), object()),
        (tree(), tree()).prop_map(|(a, b)| {
            let wrap =
                |inner: Tree| Tree::Object(BTreeMap::from([("x".to_owned(), Tree::Array(vec![Tree::Null, inner]))]));
            (wrap(a), wrap(b))
        }),
        (object(), any::<prop::sample::Index>()).prop_map(|(a, at)| {
            let mut b = a.clone();
            if let Tree::Object(object) = &mut b
                && !object.is_empty()
            {
                let name = object.keys().nth(at.index(object.len())).unwrap().clone();
                object.insert(name, Tree::Number(1, 0));
            }
            (a, b)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    /// Two bodies have one digest if and only if they say the same, however each is written.
    #[test]
    fn equal_if_and_only_if_equal((a, b) in pair(), seeds in any::<[u64; 3]>()) {
        let written = |tree: &Tree, mut seed: u64| {
            let mut out = String::new();
            tree.write(&mut out, &mut |bound| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from((seed >> 33) % bound as u64).unwrap()
            });
            out
        };
        let (one, again, other) = (written(&a, seeds[0]), written(&a, seeds[1]), written(&b, seeds[2]));
        prop_assert_eq!(whole(&one), whole(&again), "{} {}", one, again);
        prop_assert_eq!(whole(&one) == whole(&other), a.normal() == b.normal(), "{} {}", one, other);
    }

    #[test]
    fn any_bytes_come_to_an_end(text in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ 1a.e-u".to_vec()), 0..60)) {
        let _ = canonical_digest(&text, |_| Counts::Without("a"));
        let _ = super::super::Repeatable::of(&text, crate::Dialect::OpenAiChat);
        let _ = super::super::cache_field(&text);
    }
}
