//! No text is a panic.

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

/// Texts that are nearly configurations: lines of good and bad ones in any order, cut anywhere.
fn nearly() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = [
        include_str!("bad/unknown_keys.toml"),
        include_str!("bad/types.toml"),
        include_str!("bad/references.toml"),
        include_str!("bad/secrets.toml"),
        include_str!("bad/syntax.toml"),
        include_str!("../../../../conf/example.toml"),
    ]
    .into_iter()
    .flat_map(str::lines)
    .collect();
    let lines = prop::collection::vec(prop::sample::select(lines), 0..12);
    (lines, any::<prop::sample::Index>()).prop_map(|(lines, cut)| {
        let mut text = lines.join("\n");
        let at = text.floor_char_boundary(cut.index(text.len() + 1));
        text.truncate(at);
        text
    })
}

#[test]
fn deep_nesting() {
    for open in ["a = [", "[", "a = {a = ", "a.", "[["] {
        let text = open.repeat(5_000);
        assert!(Config::parse(&text, "a.toml", &Fake::new()).is_err());
        let text = format!("a = {}", "[".repeat(5_000));
        assert!(Config::parse(&text, "a.toml", &Fake::new()).is_err());
    }
}

proptest! {
    #[test]
    fn any_text(text in "\\PC*|[\\[\\]={}\"'#.,\\n a-z0-9\u{0}\u{e9}]*") {
        let _ = Config::parse(&text, "a.toml", &Fake::new()).map_err(|errors| errors.to_string());
    }

    #[test]
    fn nearly_a_configuration(text in nearly()) {
        let world = Fake::new().with_var("SET", "x");
        if let Err(errors) = Config::parse(&text, "a.toml", &world) {
            let shown = errors.to_string();
            prop_assert!(!errors.errors.is_empty());
            prop_assert!(!shown.contains("sk-this"), "{}", shown);
        }
    }
}
