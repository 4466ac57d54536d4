//! The metrics as text, read again: for scrapers that do not know OpenMetrics, and for collectors that are pushed to. So there is
//! one set of numbers, whoever wants them.
//!
//! The text is the gateway's own (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>); what
//! cannot be read of it is passed over.

use std::borrow::Cow;

/// The content type of `classic`: <https://prometheus.io/docs/instrumenting/exposition_formats/>
pub const CLASSIC_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric with all its series.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Family<'t> {
    /// Its name, unit included, without the ending of a sample.
    pub name: &'t str,
    pub help: &'t str,
    /// `counter`, `gauge`, `histogram`, `info` or `unknown`.
    pub kind: &'t str,
    pub unit: &'t str,
    pub samples: Vec<Sample<'t>>,
}

/// A line of it.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'t> {
    /// What stands behind the family's name: `_total`, `_bucket`, …
    pub ending: &'t str,
    pub labels: Vec<(&'t str, Cow<'t, str>)>,
    pub value: f64,
}

/// Reads the text.
pub(super) fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
            match (word, name, families.last_mut()) {
                (Some("HELP"), Some(name), _) => families.push(Family { name, help: rest, ..Family::default() }),
                (Some("TYPE"), Some(name), Some(family)) if family.name == name => family.kind = rest,
                (Some("UNIT"), Some(name), Some(family)) if family.name == name => family.unit = rest,
                _ => {}
            }
        } else if let Some(family) = families.last_mut()
            && let Some(sample) = line.strip_prefix(family.name).and_then(sample)
        {
            family.samples.push(sample);
        }
    }
    families
}

/// A sample, from behind the family's name on.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (ending, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (name, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((name, value));
            rest = after;
        }
        rest = rest.get(1..)?;
    }
    let value = rest.trim_start().split(' ').next()?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    Some(Sample { ending, labels, value })
}

/// What stands before the closing quote, and what behind it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(['"', '\\'])?;
        if text[at..].starts_with('"') {
            let value = &text[..at];
            let value = if value.contains('\\') { Cow::Owned(unescaped(value)) } else { Cow::Borrowed(value) };
            return Some((value, &text[at + 1..]));
        }
        from = at + 1 + text.get(at + 1..)?.chars().next()?.len_utf8();
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => out.push('\n'),
                other => out.extend(other),
            },
            other => out.push(other),
        }
    }
    out
}

/// The same text in Prometheus' older format, in which a counter is called what its samples are called.
pub(super) fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        match line.strip_prefix("# ") {
            None => out.extend([line, "\n"]),
            Some("EOF") => {}
            Some(comment) => {
                let mut words = comment.splitn(3, ' ');
                let (Some("HELP"), Some(name), help) = (words.next(), words.next(), words.next()) else { continue };
                let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE ")?.strip_prefix(name));
                let (ending, kind) = match kind.unwrap_or_default().trim() {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    kind @ ("gauge" | "histogram") => ("", kind),
                    _ => ("", "untyped"),
                };
                out.extend(["# HELP ", name, ending, " ", help.unwrap_or_default(), "\n"]);
                out.extend(["# TYPE ", name, ending, " ", kind, "\n"]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "# HELP requests Those that came.\n# TYPE requests counter\n",
        "requests_total{model=\"a\\\"} b{c=\\\\ é\\nd\",key=\"\"} 3\nrequests_total 1\n",
        "# HELP wait_seconds How long\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n",
        "wait_seconds_sum 1.5\nwait_seconds_count 2\nwait_seconds_bucket{le=\"1.0\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 2\n",
        "# HELP build The version\n# TYPE build info\nbuild_info{version=\"1\"} 1\n",
        "# EOF\n",
    );

    #[test]
    fn the_text_is_read_back() {
        let families = families(TEXT);
        let shapes: Vec<_> = families.iter().map(|f| (f.name, f.kind, f.unit, f.samples.len())).collect();
        assert_eq!(
            shapes,
            [("requests", "counter", "", 2), ("wait_seconds", "histogram", "seconds", 4), ("build", "info", "", 1)]
        );
        assert_eq!(families[0].help, "Those that came.");
        let first = &families[0].samples[0];
        assert_eq!((first.ending, first.value), ("_total", 3.0));
        assert_eq!(first.labels, [("model", "a\"} b{c=\\ é\nd".into()), ("key", "".into())]);
        assert_eq!(families[1].samples[3].labels, [("le", "+Inf".into())]);
    }

    #[test]
    fn the_older_format_names_counters_by_their_samples() {
        let expected = concat!(
            "# HELP requests_total Those that came.\n# TYPE requests_total counter\n",
            "requests_total{model=\"a\\\"} b{c=\\\\ é\\nd\",key=\"\"} 3\nrequests_total 1\n",
            "# HELP wait_seconds How long\n# TYPE wait_seconds histogram\n",
            "wait_seconds_sum 1.5\nwait_seconds_count 2\nwait_seconds_bucket{le=\"1.0\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 2\n",
            "# HELP build_info The version\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n",
        );
        assert_eq!(classic(TEXT), expected);
    }

    #[test]
    fn what_is_no_text_of_ours_is_passed_over() {
        for odd in ["", "x", "# HELP a b\na{b=\"c", "# HELP a\n# TYPE\na x", "# HELP a b\na{b=\"\\", "# HELP a b\na{\n"]
        {
            let read = families(odd);
            assert!(read.iter().all(|family| family.samples.is_empty()), "{odd}");
            classic(odd);
        }
    }
}
