//! Every cut of a text gives the same pieces as the whole.

use proptest::prelude::*;

use super::*;

/// A text that comes in pieces, as a stream's stages hold it.
struct Stream {
    reader: Reader,
    held: String,
    /// Findings in brackets.
    marked: String,
    plain: String,
}

impl Stream {
    fn new(script: Script) -> Self {
        Self { reader: Reader::new(script), held: String::new(), marked: String::new(), plain: String::new() }
    }

    fn push(&mut self, finder: &dyn Finder, piece: &str, end: bool) -> usize {
        self.held.push_str(piece);
        let Self { reader, held, marked, plain } = self;
        let mut at = 0;
        let settled = reader.look(finder, held, end, &mut |found| {
            marked.push_str(&held[at..found.range.start]);
            let bare = if found.bare { "!" } else { "" };
            marked.push_str(&format!("⟦{}{bare}:{}⟧", found.kind, &held[found.range.clone()]));
            at = found.range.end;
        });
        marked.push_str(&held[at..settled]);
        plain.push_str(&held[..settled]);
        held.drain(..settled);
        held.len()
    }
}

/// What comes out: marked, and as it is.
fn run(finder: &dyn Finder, script: Script, pieces: &[&str]) -> (String, String) {
    let mut stream = Stream::new(script);
    for piece in pieces {
        stream.push(finder, piece, false);
    }
    stream.push(finder, "", true);
    (stream.marked, stream.plain)
}

/// Cuts `text` at every place, in two and byte by byte, and compares with the whole. Gives what the whole gives, marked.
pub fn cut_everywhere(finder: &dyn Finder, script: Script, text: &str) -> String {
    let (whole, plain) = run(finder, script, &[text]);
    assert_eq!(plain, text, "nothing is lost");
    for (at, _) in text.char_indices() {
        let (first, second) = text.split_at(at);
        assert_eq!(run(finder, script, &[first, second]).0, whole, "cut at {at} of {text:?}");
    }
    let chars: Vec<&str> = text.char_indices().map(|(at, char)| &text[at..at + char.len_utf8()]).collect();
    assert_eq!(run(finder, script, &chars).0, whole, "char by char: {text:?}");
    whole
}

/// The same with cuts at `cuts` (parts of a thousand).
pub fn cut_at(finder: &dyn Finder, script: Script, text: &str, cuts: &[usize]) {
    let whole = run(finder, script, &[text]).0;
    let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(text.len() * cut / 1000)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    let pieces: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
    assert_eq!(run(finder, script, &pieces).0, whole, "{pieces:?}");
}

fn words(list: &[&str]) -> Words {
    Words::new("word".into(), list).unwrap()
}

#[test]
fn words_are_found_at_their_borders_in_any_case() {
    let finder = words(&["bad", "bad word", "Straße", "机密", "ΣΟΦΟΣ", "foo-bar"]);
    for (text, marked) in [
        ("a BAD day", "a ⟦word:BAD⟧ day"),
        ("badly bad", "badly ⟦word:bad⟧"),
        ("a bad  word, baD\nWord. bad words", "a ⟦word:bad  word⟧, ⟦word:baD\nWord⟧. ⟦word:bad⟧ words"),
        ("STRAßE straße", "⟦word:STRAßE⟧ ⟦word:straße⟧"),
        ("这是机密文件", "这是⟦word:机密⟧文件"),
        ("σοφός? σοφος", "σοφός? ⟦word:σοφος⟧"),
        ("foo-bar xfoo-bar foo-bars", "⟦word:foo-bar⟧ xfoo-bar foo-bars"),
        ("", ""),
    ] {
        assert_eq!(cut_everywhere(&finder, Script::Plain, text), marked);
    }
}

#[test]
fn nothing_is_kept_that_is_no_beginning_of_a_word() {
    let finder = words(&["confidential", "top secret"]);
    let mut stream = Stream::new(Script::Plain);
    let mut held = |piece: &str| stream.push(&finder, piece, false);
    assert_eq!(held("hello there"), 0);
    assert_eq!(held(" con"), 3);
    assert_eq!(held("crete"), 0);
    assert_eq!(held(" top "), 4);
    assert_eq!(held("secrets"), 0);
}

#[test]
fn patterns_are_found_up_to_their_reach() {
    let finder = Pattern::new("id".into(), r"\bID-\d{4}\b", 16).unwrap();
    let text = "see ID-1234, ID-12345 and xID-1234; ID-9999";
    assert_eq!(cut_everywhere(&finder, Script::Plain, text), "see ⟦id:ID-1234⟧, ID-12345 and xID-1234; ⟦id:ID-9999⟧");
    assert!(Pattern::new("x".into(), "a*", 16).is_err());
    assert!(Pattern::new("x".into(), "(", 16).is_err());
}

#[test]
fn in_json_only_what_strings_say_is_seen() {
    let finder = Any::new(vec![
        Arc::new(words(&["bad", "n"])),
        Arc::new(Pattern::new("n".into(), r"\b\d{4}\b", 16).unwrap()),
        Arc::new(Pattern::new("over".into(), r"x.{1,9}y", 16).unwrap()),
    ]);
    let text = r#"{"a":"\nbad\n1234","n":5678,"s":"\\bad \"bad\" \u00e9bad","x":"y"}"#;
    assert_eq!(
        cut_everywhere(&finder, Script::Json, text),
        concat!(
            r#"{"a":"\n⟦word:bad⟧\n⟦n:1234⟧","⟦word:n⟧":⟦n!:5678⟧,"s":"\\⟦word:bad⟧ \"⟦word:bad⟧\" \u00e9bad","⟦over:x⟧":"#,
            r#""y"}"#
        )
    );
}

#[test]
fn in_json_what_is_escaped_is_found() {
    let finder = words(&["falcon", "机密", "münchen", "a\"b"]);
    let text = r#"{"q":"in M\u00fcnchen","r":"\u673a\u5BC6 f\u0061lcon \ud83dfalcon","s":"a\"b \u0022","😀\ud83d\ude00":"机\u5bc6"}"#;
    assert_eq!(
        cut_everywhere(&finder, Script::Json, text),
        concat!(
            r#"{"q":"in ⟦word:M\u00fcnchen⟧","r":"⟦word:\u673a\u5BC6⟧ ⟦word:f\u0061lcon⟧ \ud83d⟦word:falcon⟧","#,
            r#""s":"⟦word:a\"b⟧ \u0022","😀\ud83d\ude00":"⟦word:机\u5bc6⟧"}"#
        )
    );
    let new = rewrite(&finder, text, Script::Json, &mut |_, found| Some(format!("<{found}>"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&new.replace("\\ud83d<", "<")).unwrap();
    assert_eq!((&json["q"], &json["s"]), (&"in <München>".into(), &"<a\"b> \"".into()));
}

#[test]
fn what_replaces_in_json_is_json() {
    let finder =
        Any::new(vec![Arc::new(words(&["bad"])), Arc::new(Pattern::new("n".into(), r"\b\d{4}\b", 16).unwrap())]);
    let text = r#"{"a":"so\tbad","n":5678}"#;
    let new = rewrite(&finder, text, Script::Json, &mut |kind, _| Some(format!("a \"{kind}\"\n"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&new).unwrap();
    assert_eq!(json, serde_json::json!({"a": "so\ta \"word\"\n", "n": "a \"n\"\n"}));
    assert_eq!(rewrite(&finder, "good", Script::Plain, &mut |_, _| unreachable!()), None);
    assert_eq!(rewrite(&finder, "bad", Script::Plain, &mut |_, _| None), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_cut_of_any_text_is_the_same(
        parts in prop::collection::vec(prop::sample::select(&["bad", "ba", "BAD wo", "rd", " ", "\n", "word", "12", "345", "é", "机", "密", "\\", "\"", "u00", "e9", "-",
            "\\u0062ad", "\\u673a", "\\u5bc6", "\\ud83d", "\\ude00"][..]), 0..24),
        cuts in prop::collection::vec(0_usize..1000, 0..6),
    ) {
        let finder = Any::new(vec![
            Arc::new(words(&["bad", "bad word", "word 12", "机密"])),
            Arc::new(Pattern::new("n".into(), r"\d{3,5}\b|é-", 32).unwrap()),
        ]);
        let text = parts.concat();
        for script in [Script::Plain, Script::Json] {
            cut_at(&finder, script, &text, &cuts);
        }
    }
}
