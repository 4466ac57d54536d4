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

/// Nor do warnings that fill the report take the place of what is wrong.
#[test]
fn no_number_of_warnings_hides_an_error() {
    for providers in [5, 49, 50, 51, 120] {
        let mut text: String =
            (0..providers).map(|i| format!("[providers.p{i}]\nkind = 'openai'\napi_key = 'sk-{i}'\n")).collect();
        let parsed = Config::parse(&text, "a.toml", &Fake::new()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(parsed.warnings.len(), providers.min(51), "{:?}", parsed.warnings.last());
        text.push_str(
            "[[keys]]\nname = 'a'\nhash = 'sha256:abc'\n[[plugins]]\nuse = 'pi'\n[limits]\nrequets = '1/min'\n",
        );
        let errors = Config::parse(&text, "a.toml", &Fake::new()).map(|parsed| parsed.config).unwrap_err();
        assert_eq!(errors.errors.len(), 3, "{errors}");
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
