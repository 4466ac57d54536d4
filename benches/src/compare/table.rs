//! The Markdown table.

use std::fmt::Write as _;

use super::{Figures, MemoryUse};
use crate::stats::median;

const MIB: f64 = 1024.0 * 1024.0;

/// Renders the figures of the upstream itself, bare Pingora and the gateway.
/// Latencies of the two proxies are what they add to the upstream's own.
pub fn render(figures: &[Figures; 3], bare: &[MemoryUse], gateway: &[MemoryUse]) -> String {
    let mut table = Table::default();
    table.line("CPU per request, 1 KB chat, 32 connections", "µs", figures, |f| f.cpu_request, Base::None);
    table.line(
        "CPU per streamed chunk, 100 streams, a chunk per 10 ms each",
        "µs",
        figures,
        |f| f.cpu_paced_chunk,
        Base::None,
    );
    table.line(
        "CPU per streamed chunk, 32 streams, as fast as it goes",
        "µs",
        figures,
        |f| f.cpu_burst_chunk,
        Base::None,
    );
    table.line("requests per second, 1 KB chat, 32 connections", "1/s", figures, |f| f.rate, Base::Shown);
    table.line("latency added, one at a time, p50", "µs", figures, |f| f.alone_p50, Base::Less);
    table.line("latency added, one at a time, p99", "µs", figures, |f| f.alone_p99, Base::Less);
    table.line("latency added at 500 requests/s, p50", "µs", figures, |f| f.fixed_p50, Base::Less);
    table.line("latency added at 500 requests/s, p99", "µs", figures, |f| f.fixed_p99, Base::Less);
    table.line("first token added, one at a time, p50", "µs", figures, |f| f.first_p50, Base::Less);
    table.line("first token added, one at a time, p99", "µs", figures, |f| f.first_p99, Base::Less);
    table.line("gap between chunks that come every 10 ms, p50", "µs", figures, |f| f.gap_p50, Base::Shown);
    table.line("gap between chunks that come every 10 ms, p99", "µs", figures, |f| f.gap_p99, Base::Shown);
    let memory = |of: fn(&MemoryUse) -> f64| (median(bare.iter().map(of)), median(gateway.iter().map(of)));
    table.pair("resident memory, idle", "MiB", memory(|m| m.idle.resident as f64 / MIB));
    table.pair("of it heap and stacks", "MiB", memory(|m| m.idle.anonymous as f64 / MIB));
    table.pair("resident memory, loaded", "MiB", (figures[1].loaded / MIB, figures[2].loaded / MIB));
    table.pair("resident memory, 1,000 open streams", "MiB", memory(|m| m.streaming.resident as f64 / MIB));
    table.pair("memory per open stream", "KiB", memory(|m| m.per_stream / 1024.0));
    table.0
}

/// What the upstream's own figure is to a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    /// Not of interest.
    None,
    /// Shown beside the others.
    Shown,
    /// Subtracted from the others.
    Less,
}

struct Table(String);

impl Default for Table {
    fn default() -> Self {
        let head = "| figure (median) | unit | direct | bare Pingora | ai-gateway | ratio to bare |";
        Self(format!("{head}\n|---|---|--:|--:|--:|--:|\n"))
    }
}

impl Table {
    fn line(&mut self, name: &str, unit: &str, of: &[Figures; 3], field: fn(&Figures) -> f64, base: Base) {
        let [direct, bare, gateway] = [field(&of[0]), field(&of[1]), field(&of[2])];
        match base {
            Base::None => self.row(name, unit, None, bare, gateway),
            Base::Shown => self.row(name, unit, Some(direct), bare, gateway),
            Base::Less => self.row(name, unit, Some(direct), bare - direct, gateway - direct),
        }
    }

    fn pair(&mut self, name: &str, unit: &str, (bare, gateway): (f64, f64)) {
        self.row(name, unit, None, bare, gateway);
    }

    fn row(&mut self, name: &str, unit: &str, direct: Option<f64>, bare: f64, gateway: f64) {
        let direct = direct.map_or_else(String::new, number);
        let ratio = if bare > 0.0 { format!("{:.2}", gateway / bare) } else { "–".to_owned() };
        let (bare, gateway) = (number(bare), number(gateway));
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "| {name} | {unit} | {direct} | {bare} | {gateway} | {ratio} |");
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 20.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
