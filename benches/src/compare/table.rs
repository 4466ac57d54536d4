//! The Markdown table.

use std::fmt::Write as _;

use super::{
    MemoryUse,
    rounds::{Field, Rounds},
};
use crate::stats::median;

const MIB: f64 = 1024.0 * 1024.0;

/// Renders what the upstream itself, bare Pingora and the gateway showed.
/// Latencies of the two proxies are what they add to the upstream's own.
pub fn render(rounds: &[Rounds; 3], bare: &[MemoryUse], gateway: &[MemoryUse]) -> String {
    let mut table = Table::default();
    let mut line = |name, unit, of: Field, base| table.line(name, unit, rounds, of, base);
    line("CPU per request, 1 KB chat, 32 connections", "µs", |r| r.cpu_request, Base::None);
    line("CPU per streamed chunk, 50 streams, a chunk per 5 ms each", "µs", |r| r.cpu_paced_chunk, Base::None);
    line("CPU per streamed chunk, 32 streams, as fast as it goes", "µs", |r| r.cpu_burst_chunk, Base::None);
    line("CPU per request, 1 KB chat translated", "µs", |r| r.cpu_translated_request, Base::None);
    line(
        "CPU per translated chunk, 50 streams, a chunk per 5 ms each",
        "µs",
        |r| r.cpu_translated_paced_chunk,
        Base::None,
    );
    line(
        "CPU per translated chunk, 32 streams, as fast as it goes",
        "µs",
        |r| r.cpu_translated_burst_chunk,
        Base::None,
    );
    line("CPU per request, 1 KB chat from the cache", "µs", |r| r.cpu_cached_request, Base::None);
    line("CPU per stream of 100 chunks from the cache", "µs", |r| r.cpu_cached_stream, Base::None);
    line("requests per second, 1 KB chat, 32 connections", "1/s", |r| r.rate, Base::Shown);
    line("latency added, one at a time, p50", "µs", |r| r.alone_p50, Base::Less);
    line("latency added, one at a time, p99", "µs", |r| r.alone_p99, Base::Less);
    line("latency added at 500 requests/s, p50", "µs", |r| r.fixed_p50, Base::Less);
    line("latency added at 500 requests/s, p99", "µs", |r| r.fixed_p99, Base::Less);
    line("first token added, one at a time, p50", "µs", |r| r.first_p50, Base::Less);
    line("first token added, one at a time, p99", "µs", |r| r.first_p99, Base::Less);
    line("gap between chunks that come every 5 ms, p50", "µs", |r| r.gap_p50, Base::Shown);
    line("gap between chunks that come every 5 ms, p99", "µs", |r| r.gap_p99, Base::Shown);
    let memory = |of: fn(&MemoryUse) -> f64| (median(bare.iter().map(of)), median(gateway.iter().map(of)));
    table.pair("resident memory, idle", "MiB", memory(|m| m.idle.resident as f64 / MIB));
    table.pair("of it heap and stacks", "MiB", memory(|m| m.idle.anonymous as f64 / MIB));
    let loaded = |at: usize| rounds[at].median(|r| r.loaded) / MIB;
    table.pair("resident memory, loaded", "MiB", (loaded(1), loaded(2)));
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
        let head = "| figure | unit | direct | bare Pingora | ai-gateway | ratio to bare |";
        Self(format!("{head}\n|---|---|--:|--:|--:|--:|\n"))
    }
}

impl Table {
    fn line(&mut self, name: &str, unit: &str, rounds: &[Rounds; 3], of: Field, base: Base) {
        let [direct, bare, gateway] = rounds.each_ref().map(|rounds| rounds.median(of));
        let ratio = rounds[2].ratio(&rounds[1], of);
        match base {
            Base::None => self.row(name, unit, None, (bare, gateway), ratio),
            Base::Shown => self.row(name, unit, Some(direct), (bare, gateway), ratio),
            Base::Less => {
                let added = (bare - direct, gateway - direct);
                self.row(name, unit, Some(direct), added, added.1 / added.0);
            }
        }
    }

    fn pair(&mut self, name: &str, unit: &str, pair: (f64, f64)) {
        self.row(name, unit, None, pair, pair.1 / pair.0);
    }

    fn row(&mut self, name: &str, unit: &str, direct: Option<f64>, (bare, gateway): (f64, f64), ratio: f64) {
        let direct = direct.map_or_else(String::new, number);
        let ratio = if bare > 0.0 { format!("{ratio:.2}") } else { "–".to_owned() };
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
