//! Reports as text: CSV for spreadsheets, JSON for programs, a table for the terminal.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Report, Totals};

/// Pico-dollars as a decimal fraction of dollars, exact to the last digit and without needless zeros: `0.0125`.
pub fn dollars(pico: u128) -> String {
    const ONE: u128 = 1_000_000_000_000;
    let text = format!("{}.{:012}", pico / ONE, pico % ONE);
    let short = text.trim_end_matches('0');
    short.strip_suffix('.').unwrap_or(short).to_owned()
}

/// The columns behind those of the group.
fn columns(totals: &Totals) -> Vec<(&'static str, Cell)> {
    let Totals { requests, failed, records, usage, cost, unpriced, rerated_cost, rerated } = totals;
    let count = |value: u64| Cell::Count(Some(value));
    let mut columns = vec![("requests", count(*requests)), ("failed", count(*failed)), ("records", count(*records))];
    // What is charged is in the cost.
    columns.extend(usage.counts().map(|(name, value)| (name, Cell::Count(value))));
    columns.extend([
        ("cost_usd", Cell::Dollars(Some(*cost))),
        ("unpriced", count(*unpriced)),
        ("rerated_cost_usd", Cell::Dollars((*rerated > 0).then_some(*rerated_cost))),
        ("rerated", count(*rerated)),
        ("tokens", Cell::Count(usage.total())),
    ]);
    columns
}

enum Cell {
    Count(Option<u64>),
    /// Pico-dollars.
    Dollars(Option<u128>),
}

impl Cell {
    fn text(&self) -> Option<String> {
        match self {
            Self::Count(count) => count.map(|count| count.to_string()),
            Self::Dollars(pico) => pico.map(dollars),
        }
    }

    /// Money is a string: numbers of JSON lose digits in most readers.
    fn json(&self) -> Value {
        match self {
            Self::Count(count) => json!(count),
            Self::Dollars(pico) => json!(pico.map(dollars)),
        }
    }
}

impl Report {
    /// RFC 4180, with a line of names first; a cell is empty where nothing is known.
    pub fn to_csv(&self) -> String {
        let mut csv = String::new();
        let names = self.by.iter().map(|dimension| dimension.as_str());
        line(&mut csv, names.chain(columns(&Totals::default()).into_iter().map(|(name, _)| name)));
        for (group, totals) in &self.rows {
            let group = group.iter().map(|value| value.as_deref().map(cell).unwrap_or_default());
            line(&mut csv, group.chain(columns(totals).into_iter().map(|(_, value)| value.text().unwrap_or_default())));
        }
        csv
    }

    /// `{"by": […], "rows": [{"key": …, "requests": …, …, "cost_usd": "0.0125"}], "truncated": false}`. A sum is `null`
    /// where no record knows a value.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|(group, totals)| {
            let group = self.by.iter().zip(group).map(|(of, value)| (of.as_str().to_owned(), json!(value)));
            let sums = columns(totals).into_iter().map(|(name, value)| (name.to_owned(), value.json()));
            Value::Object(group.chain(sums).collect::<Map<_, _>>())
        });
        let by: Vec<_> = self.by.iter().map(|dimension| dimension.as_str()).collect();
        json!({ "by": by, "rows": rows.collect::<Vec<_>>(), "truncated": self.truncated })
    }

    /// Columns that line up; those without any value are left out.
    pub fn to_table(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(|(_, totals)| columns(totals)).collect();
        let mut table: Vec<Vec<String>> = Vec::new();
        for (column, dimension) in self.by.iter().enumerate() {
            let name = |value: Option<&Option<String>>| match value {
                Some(Some(value)) => value.escape_debug().to_string(),
                _ => "-".to_owned(),
            };
            let values = self.rows.iter().map(|(group, _)| name(group.get(column)));
            table.push(std::iter::once(dimension.as_str().to_owned()).chain(values).collect());
        }
        for (column, (name, _)) in columns(&Totals::default()).into_iter().enumerate() {
            let values = || rows.iter().map(|row| row.get(column).and_then(|(_, value)| value.text()));
            let always = matches!(name, "requests" | "input" | "output" | "cost_usd");
            if always || values().flatten().any(|value| value != "0") {
                let values = values().map(|value| value.unwrap_or_else(|| "-".to_owned()));
                table.push(std::iter::once(name.to_owned()).chain(values).collect());
            }
        }
        let widths: Vec<usize> =
            table.iter().map(|column| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for row in 0..=self.rows.len() {
            for (column, (cells, width)) in table.iter().zip(&widths).enumerate() {
                let cell = cells.get(row).map_or("", String::as_str);
                // Names to the left, numbers to the right. Writing to a String never fails.
                _ = match column < self.by.len() {
                    true => write!(text, "{cell:<width$}  "),
                    false => write!(text, "{cell:>width$}  "),
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

fn line(csv: &mut String, cells: impl Iterator<Item = impl AsRef<str>>) {
    for (n, cell) in cells.enumerate() {
        if n > 0 {
            csv.push(',');
        }
        csv.push_str(cell.as_ref());
    }
    csv.push_str("\r\n");
}

/// A text as a cell. Clients choose some of them: one that a spreadsheet would take for a formula gets an apostrophe.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use ai_gateway_providers::usage::Usage;

    use super::super::Dimension;
    use super::*;

    #[test]
    fn dollars_are_exact() {
        for (pico, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (12_500_000_000, "0.0125"),
            (1_000_000_000_000, "1"),
            (10_000_000_000_000, "10"),
            (u128::from(u64::MAX), "18446744.073709551615"),
        ] {
            assert_eq!(dollars(pico), text);
        }
    }

    fn report() -> Report {
        let usage = Usage { input: Some(1_200), output: Some(0), ..Usage::default() };
        let totals = Totals { requests: 3, records: 4, usage, cost: 12_500_000_000, unpriced: 1, ..Totals::default() };
        Report {
            by: vec![Dimension::Customer, Dimension::Day],
            rows: vec![
                (vec![Some("=1+\"x\",\n".to_owned()), Some("2026-11-25".to_owned())], totals),
                (vec![None, None], Totals::default()),
            ],
            truncated: false,
        }
    }

    #[test]
    fn csv_quotes_and_disarms() {
        let csv = report().to_csv();
        let mut lines = csv.split("\r\n");
        assert!(lines.next().unwrap().starts_with("customer,day,requests,failed,records,input,cache_read,"));
        assert_eq!(
            lines.next().unwrap(),
            "\"'=1+\"\"x\"\",\n\",2026-11-25,3,0,4,1200,,,,,,0,,,,,,,,,,0.0125,1,,0,1200"
        );
        assert_eq!(lines.next().unwrap(), ",,0,0,0,,,,,,,,,,,,,,,,,0,0,,0,");
        assert_eq!((lines.next(), lines.next()), (Some(""), None));
    }

    #[test]
    fn json_tells_unknown_from_zero() {
        let json = report().to_json();
        let row = &json["rows"][0];
        assert_eq!((&row["input"], &row["output"], &row["reasoning"]), (&json!(1200), &json!(0), &Value::Null));
        assert_eq!((&row["cost_usd"], &row["rerated_cost_usd"]), (&json!("0.0125"), &Value::Null));
        assert_eq!((&json["by"], &json["rows"][1]["day"]), (&json!(["customer", "day"]), &Value::Null));
    }

    #[test]
    fn the_table_lines_up_and_leaves_out_what_nobody_has() {
        let mut report = report();
        report.rows[0].0[0] = Some("acme".to_owned());
        assert_eq!(
            report.to_table(),
            "customer  day         requests  records  input  output  cost_usd  unpriced  tokens\n\
             acme      2026-11-25         3        4   1200       0    0.0125         1    1200\n\
             -         -                  0        0      -       -         0         0       -\n"
        );
    }
}
