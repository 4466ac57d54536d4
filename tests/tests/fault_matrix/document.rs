//! The table in `docs/faults.md`: a row for each fault, what it becomes for a client, and what the log says of the attempts.

use super::faults::FAULTS;
use super::{Outcome, Targets};
use ai_gateway_providers::Dialect;
use ai_gateway_tests::speak::Heard;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
const BEGIN: &str = "<!-- written by tests/tests/fault_matrix: begin -->\n";
const END: &str = "<!-- written by tests/tests/fault_matrix: end -->\n";

/// Panics unless the document says what was seen. `UPDATE_DOCS=1` writes it instead.
pub fn compare(outcomes: &[Outcome]) {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a mark where the tables begin");
    let (_, behind) = rest.split_once(END).expect("a mark where the tables end");
    let now = format!("{before}{BEGIN}{}{END}{behind}", tables(outcomes));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(FILE, now).unwrap();
        return;
    }
    let differs: Vec<String> = text
        .lines()
        .zip(now.lines())
        .filter(|(old, new)| old != new)
        .map(|(old, new)| format!("the document: {old}\nis now:       {new}"))
        .collect();
    let update = "UPDATE_DOCS=1 cargo test -p ai-gateway-tests --test fault_matrix";
    assert!(text == now, "docs/faults.md says something else; if it should not, run {update}\n{}", differs.join("\n"));
}

fn tables(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for (stream, title) in [(false, "Answers in one"), (true, "Streams")] {
        let _ = writeln!(text, "\n### {title}\n\n| fault | one target | three, the last one good |\n|---|---|---|");
        for fault in FAULTS {
            let of = |three: bool| {
                let seen = outcomes.iter().filter(|outcome| {
                    let cell = &outcome.cell;
                    cell.fault.name == fault.name && cell.stream == stream && (cell.targets == Targets::Three) == three
                });
                together(seen)
            };
            let _ = writeln!(text, "| {} | {} | {} |", fault.name, of(false), of(true));
        }
    }
    text.push('\n');
    text
}

/// What most clients get, then what the others do.
fn together<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> String {
    let mut by_text: BTreeMap<String, Vec<(Dialect, Targets)>> = BTreeMap::new();
    for outcome in outcomes {
        by_text.entry(told(outcome)).or_default().push((outcome.cell.client, outcome.cell.targets));
    }
    let mut groups: Vec<_> = by_text.into_iter().collect();
    groups.sort_by(|(one, a), (other, b)| b.len().cmp(&a.len()).then_with(|| one.cmp(other)));
    let mut text = String::new();
    for (i, (told, clients)) in groups.iter().enumerate() {
        if i > 0 {
            let _ = write!(text, "<br>{}: ", named(clients));
        }
        text.push_str(told);
    }
    text
}

/// The clients of a group, those together that get the same of their own dialect and of another.
fn named(clients: &[(Dialect, Targets)]) -> String {
    for (targets, name) in [(Targets::Own, "untranslated"), (Targets::Other, "translated")] {
        if Dialect::ALL.iter().all(|dialect| clients.contains(&(*dialect, targets))) && clients.len() == 6 {
            return name.to_owned();
        }
    }
    let mut names = Vec::new();
    for dialect in Dialect::ALL {
        let of = |targets| clients.contains(&(dialect, targets));
        match (of(Targets::Own), of(Targets::Other)) {
            (true, false) => names.push(format!("{dialect} untranslated")),
            (false, true) => names.push(format!("{dialect} translated")),
            (true, true) => names.push(dialect.to_string()),
            (false, false) if of(Targets::Three) => names.push(dialect.to_string()),
            (false, false) => {}
        }
    }
    names.join(", ")
}

fn told(outcome: &Outcome) -> String {
    let log = &outcome.log;
    let error = log["error"].as_str().unwrap_or("provider's own");
    let heard = match &outcome.heard {
        Heard::Answer(_) => "**answer**".to_owned(),
        Heard::Refused(status, _) => format!("{status} {error}"),
        Heard::Told(..) => format!("200, then {error} in the stream"),
        Heard::Broken(_) => format!("200, then broken off ({error})"),
        Heard::Nonsense(_) => "nonsense".to_owned(),
    };
    let attempts = log["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ends: Vec<String> = attempts.iter().map(|a| format!("`{}`", a["outcome"].as_str().unwrap_or("?"))).collect();
    format!("{heard} · {}", ends.join(" "))
}
