//! How well `pii` finds what tells of persons: precision and recall for each kind on a labelled set in fifteen languages, hard
//! negatives among it. `cargo test -p ai-gateway-plugins --test pii -- --nocapture` prints the figures.

#![expect(clippy::unwrap_used, reason = "a broken test shall stop")]

use std::collections::BTreeMap;

use ai_gateway_plugins::find::find_all;
use ai_gateway_plugins::pii;

const SET: &str = include_str!("data/pii.tsv");
/// Least precision and recall of every kind, in percent.
const FLOOR: (f64, f64) = (96.0, 96.0);

#[derive(Default)]
struct Score {
    right: usize,
    wrong: usize,
    missed: usize,
}

/// A line's text, and what is to be found in it.
fn labelled(line: &str) -> (String, Vec<(String, std::ops::Range<usize>)>) {
    let marked = line.split_once('\t').unwrap().1.replace("\\n", "\n");
    let (mut text, mut labels) = (String::new(), Vec::new());
    let mut rest = marked.as_str();
    while let Some((plain, behind)) = rest.split_once("{{") {
        text.push_str(plain);
        let (label, behind) = behind.split_once("}}").unwrap();
        let (kind, value) = label.split_once('|').unwrap();
        labels.push((kind.to_owned(), text.len()..text.len() + value.len()));
        text.push_str(value);
        rest = behind;
    }
    text.push_str(rest);
    (text, labels)
}

#[test]
fn precision_and_recall_on_the_labelled_set() {
    let finder = pii::finder(pii::DEFAULT_KINDS, None);
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut lines = 0;
    for line in SET.lines().filter(|line| !line.starts_with('#')) {
        lines += 1;
        let (text, mut labels) = labelled(line);
        for found in find_all(&finder, &text) {
            let score = scores.entry(found.kind.to_string()).or_default();
            match labels.iter().position(|(kind, range)| **kind == *found.kind && *range == found.range) {
                Some(place) => {
                    labels.remove(place);
                    score.right += 1;
                }
                None => {
                    score.wrong += 1;
                    println!("wrong {:12} {:?} in {text:?}", found.kind, &text[found.range]);
                }
            }
        }
        for (kind, range) in labels {
            println!("missed {kind:12} {:?} in {text:?}", &text[range]);
            scores.entry(kind).or_default().missed += 1;
        }
    }
    assert!(lines >= 500, "{lines} lines");
    println!("\n{lines} lines\n{:12} {:>5} {:>9} {:>7}", "kind", "right", "precision", "recall");
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let mut low = Vec::new();
    for (kind, Score { right, wrong, missed }) in &scores {
        let (precision, recall) = (percent(*right, right + wrong), percent(*right, right + missed));
        println!("{kind:12} {right:5} {precision:8.1}% {recall:6.1}%");
        if precision < FLOOR.0 || recall < FLOOR.1 {
            low.push(kind);
        }
    }
    assert_eq!(scores.len(), pii::DEFAULT_KINDS.len());
    assert!(low.is_empty(), "below the floor: {low:?}");
}
