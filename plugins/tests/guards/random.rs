//! Random texts, thrown together of what is looked for, and cut anywhere.

use std::sync::{Arc, LazyLock};

use ai_gateway_plugins::find::{CONTEXT, Finder, Finding, Next, Pattern, Words};
use ai_gateway_plugins::{PartKind, Plugin, pii};
use proptest::prelude::*;

use super::{answer, ask, context, plugin};

/// Pieces of what is looked for, and of what stands around it.
#[rustfmt::skip]
const PARTS: &[&str] = &[
    "a@b.com", "john", "@", ".de", "4111 1111 1111 1111", "4111", "1111", " ", "-", "+49 30", "1234567", "030",
    "(212) 555-1234", "(", "DE89 3704 0044 0532 0130 00", "DE89", "sk-ant-", "AKIAIOSFODNN7EXAMPLQ", "eyJ",
    "password: ", "\"", "\\n", "\\", "é", "电话", "13812345678", "://u:", "https://", "10.0.0.1", "token=", "Bearer",
    "Pa55word!x", "-----BEGIN PRIVATE KEY-----", "-----END ", "\n", ",", ":", ".", "/", "123-45-6789", "12345678Z",
    "[", "EMAIL_1]", "x", "0", "Project", "falcon", "ACME-123456", "tel ", "SSN ", "rut ", "uid:", "xn--", "=",
    "'", "git@", "?", "&", "fe80::1", "+1 ", "1.2", "_", ")", "(+", "–", "\u{a0}", "00", "A1", "X", "key",
    "secret", "; ", "&&", "ſ", "]", "[EMAIL_2]", "5678", "2024-01-02",
    "\\u0040", "a\\u0040b.com", "\\u00e9", "\\ud83d", "\\ude00",
];

/// Such pieces, and what separates them in any order.
fn parts() -> impl Strategy<Value = String> {
    let parts = prop::collection::vec(prop::sample::select(PARTS), 0..20).prop_map(|parts| parts.concat());
    prop_oneof![3 => parts, 1 => "[0-9 ,.:/()+é-]{0,60}", 1 => "[a-c1@.:/ =\"'_\\\\-]{0,60}"]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..1000, 0..6)
}

/// `text` cut at `cuts`, parts of a thousand.
fn cut<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(text.len() * cut / 1000)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

const KINDS: &str = "kinds = ['email', 'phone', 'card', 'iban', 'national_id', 'secret', 'ip']";

static GUARDS: LazyLock<Vec<Arc<dyn Plugin>>> = LazyLock::new(|| {
    let deny = "words = ['project falcon', 'john', 'x-']\npatterns = ['\\bACME-\\d{6}\\b', '\\d{3}-']";
    let redact = "action = 'redact'\non = ['answer']";
    [("pii", KINDS), ("secrets", ""), ("deny", deny)]
        .map(|(kind, more)| plugin(kind, &format!("{redact}\n{more}")))
        .into()
});

static MASKS: LazyLock<[Arc<dyn Plugin>; 2]> = LazyLock::new(|| {
    ["'request'", "'request', 'answer'"].map(|on| plugin("pii", &format!("action = 'mask'\non = [{on}]\n{KINDS}")))
});

/// Each finder by itself.
static FINDERS: LazyLock<Vec<Arc<dyn Finder>>> = LazyLock::new(|| {
    let mut finders: Vec<Arc<dyn Finder>> = Vec::new();
    for kind in pii::KINDS {
        finders.push(Arc::new(pii::finder(&[kind], None)));
    }
    finders.push(Arc::new(Words::new("word".into(), &["project falcon", "john", "x-", "falcon ACME"]).unwrap()));
    finders.push(Arc::new(Pattern::new("pattern".into(), r"\d{3}-|\bACME-\d{6}\b", 16).unwrap()));
    finders
});

/// What the finder says of `text` from `from` on, if it sees no more before that than it may.
fn next(finder: &dyn Finder, text: &str, from: usize, end: bool) -> Next {
    let first = text.floor_char_boundary(from.saturating_sub(CONTEXT));
    match finder.next(&text[first..], from - first, end) {
        Next::Open(open) => Next::Open(first + open),
        Next::Found(Finding { kind, range, .. }) => {
            Next::Found(Finding::new(kind, first + range.start..first + range.end))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Pieces of what is looked for, thrown together and cut anywhere.
    #[test]
    fn any_text_is_cut_anywhere(text in parts(), cuts in cuts()) {
        for guard in &*GUARDS {
            let hold = guard.needs().text.unwrap();
            let cx = context();
            for kind in [PartKind::Text, PartKind::Arguments] {
                let run = |pieces: &[&str]| answer(&mut *guard.text_hook(&cx).unwrap(), kind, pieces, hold).unwrap();
                let pieces = cut(&text, &cuts);
                prop_assert_eq!(run(&pieces), run(&[&text]), "{:?}", pieces);
            }
        }
    }

    /// The same of what was masked, by itself and among other things.
    #[test]
    fn any_text_that_was_masked_comes_back_from_any_cut(text in parts(), more in parts(), cuts in cuts()) {
        let [restores, looks, ..] = &*MASKS;
        for guard in [restores, looks] {
            let hold = guard.needs().text.unwrap();
            let cx = context();
            let (_, masked) = ask(&**guard, &cx, &text);
            let hooks = || guard.text_hook(&cx).into_iter().chain(guard.restore_hook(&cx));
            if hooks().next().is_none() {
                prop_assert_eq!(&masked, &text);
                continue;
            }
            let run = |kind, pieces: &[&str]| {
                let first = answer(&mut *hooks().next().unwrap(), kind, pieces, hold).unwrap();
                hooks().skip(1).fold(first, |said, mut hook| answer(&mut *hook, kind, &[&said], hold).unwrap())
            };
            if Arc::ptr_eq(guard, restores) {
                let pieces = cut(&masked, &cuts);
                prop_assert_eq!(run(PartKind::Text, &pieces), &*text, "{:?}", pieces);
            }
            let said = masked + &more;
            let pieces = cut(&said, &cuts);
            for kind in [PartKind::Text, PartKind::Arguments] {
                prop_assert_eq!(run(kind, &pieces), run(kind, &[&said]), "{:?}", pieces);
            }
        }
    }

    /// What a finder is promised to be: it decides about a place by what stands there, not by where it began to look or by how much
    /// has come.
    #[test]
    fn a_finder_keeps_its_word(text in parts(), from in 0_usize..1000, later in 0_usize..1000, cut in 0_usize..1000) {
        let place = |from: usize, part: usize| text.floor_char_boundary(from + (text.len() - from) * part / 1000);
        let from = place(0, from);
        for finder in &*FINDERS {
            let whole = next(&**finder, &text, from, true);
            let start = match &whole {
                Next::Open(open) => {
                    prop_assert_eq!(*open, text.len());
                    text.len()
                }
                Next::Found(found) => found.range.start,
            };
            prop_assert!(start >= from);
            let later = text.floor_char_boundary(from + (start - from) * later / 999).max(from);
            prop_assert_eq!(&next(&**finder, &text, later, true), &whole, "from {} and from {} of {:?}", from, later, &text);
            let cut = place(from, cut).max(from);
            match next(&**finder, &text[..cut], from, false) {
                Next::Open(open) => prop_assert!((from..=start).contains(&open), "{} of {:?}, cut at {}: {:?}", open, &text, cut, &whole),
                found => prop_assert_eq!(&found, &whole, "{:?} from {}, cut at {}", &text, from, cut),
            }
        }
    }
}
