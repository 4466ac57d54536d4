//! The load runs, in alternation between the targets.

use std::time::Duration;

use super::{Ask, Effort, Kind, Target};
use crate::{
    Result,
    load::{Load, Outcome},
    process::{CpuTime, Memory},
    stats::median,
};

/// Connections of the closed loop that measures CPU per request and the highest rate.
const BUSY: usize = 32;
/// Streams at a time of the paced runs.
const PACED_STREAMS: usize = 50;
/// Requests per second of the runs at a fixed rate: far below what the chain can do.
const FIXED_RATE: f64 = 500.0;

/// What one target showed in one round. Times in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Round {
    /// CPU time per 1 KB chat, closed loop.
    pub cpu_request: f64,
    /// Answers per second in that loop.
    pub rate: f64,
    /// CPU time of a stream run per event, chunks written as fast as they can be.
    pub cpu_burst_chunk: f64,
    /// The same with one chunk per 5 ms.
    pub cpu_paced_chunk: f64,
    /// [`Self::cpu_request`] where the gateway translates.
    pub cpu_translated_request: f64,
    /// [`Self::cpu_burst_chunk`] where the gateway translates.
    pub cpu_translated_burst_chunk: f64,
    /// [`Self::cpu_paced_chunk`] where the gateway translates.
    pub cpu_translated_paced_chunk: f64,
    /// [`Self::cpu_request`] where the gateway has the answer.
    pub cpu_cached_request: f64,
    /// CPU time per stream of [`Self::cpu_burst_chunk`] where the gateway has the answer.
    pub cpu_cached_stream: f64,
    /// Gap between the chunks of a paced stream, median.
    pub gap_p50: f64,
    /// The same, 99th percentile.
    pub gap_p99: f64,
    /// Latency of one request at a time, median.
    pub alone_p50: f64,
    /// The same, 99th percentile.
    pub alone_p99: f64,
    /// Latency at the fixed rate, median.
    pub fixed_p50: f64,
    /// The same, 99th percentile.
    pub fixed_p99: f64,
    /// Time to a stream's first output, one stream at a time, median.
    pub first_p50: f64,
    /// The same, 99th percentile.
    pub first_p99: f64,
    /// Resident bytes at the end of the closed loop.
    pub loaded: f64,
}

/// One figure of a round.
pub type Field = fn(&Round) -> f64;

/// All rounds of one target, in order.
#[derive(Debug, Clone, Default)]
pub struct Rounds(Vec<Round>);

impl Rounds {
    /// The median of a figure over all rounds.
    pub fn median(&self, of: Field) -> f64 {
        median(self.0.iter().map(of))
    }

    /// The median over all rounds of the ratio of a figure to `other`'s in the same round: what else the machine did
    /// at that moment hits both.
    pub fn ratio(&self, other: &Self, of: Field) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(mine, theirs)| of(mine) / of(theirs)))
    }

    /// One line per round, to see how far they are apart.
    pub fn spread(&self) -> String {
        let of = |field: Field| self.0.iter().map(|round| format!("{:.1}", field(round))).collect::<Vec<_>>().join(" ");
        format!(
            "request {} | burst chunk {} | paced chunk {} | translated: request {} | burst chunk {} | paced chunk {}",
            of(|r| r.cpu_request),
            of(|r| r.cpu_burst_chunk),
            of(|r| r.cpu_paced_chunk),
            of(|r| r.cpu_translated_request),
            of(|r| r.cpu_translated_burst_chunk),
            of(|r| r.cpu_translated_paced_chunk)
        )
    }
}

/// Runs one round over `targets`, each kind of load on all of them before the next kind, and adds to `rounds`
/// (same order). Odd rounds go through the targets backwards.
pub async fn run(index: usize, targets: &[&Target], effort: &Effort, rounds: &mut [Rounds]) -> Result<()> {
    let mut order: Vec<usize> = (0..targets.len()).collect();
    if index % 2 == 1 {
        order.reverse();
    }
    let mut round = vec![Round::default(); targets.len()];
    let length = effort.length;
    for &at in &order {
        let (seen, cpu) = measure(targets[at], Ask::Chat, BUSY, length, None).await?;
        round[at].cpu_request = micros(cpu) / seen.answers as f64;
        round[at].rate = seen.rate();
        round[at].loaded = Memory::of(targets[at].pid())?.resident as f64;
    }
    for &at in &order {
        let (seen, cpu) = measure(targets[at], Ask::Burst, BUSY, length, None).await?;
        round[at].cpu_burst_chunk = micros(cpu) / seen.events as f64;
    }
    for &at in &order {
        let (seen, cpu) = measure(targets[at], Ask::Paced, PACED_STREAMS, length.mul_f64(0.5), None).await?;
        round[at].cpu_paced_chunk = micros(cpu) / seen.events as f64;
        (round[at].gap_p50, round[at].gap_p99) = (seen.gaps.quantile_us(0.5), seen.gaps.quantile_us(0.99));
    }
    let proxies = || order.iter().copied().filter(|at| targets[*at].kind != Kind::Direct);
    for at in proxies() {
        let (seen, cpu) = measure(targets[at], Ask::TranslatedChat, BUSY, length, None).await?;
        round[at].cpu_translated_request = micros(cpu) / seen.answers as f64;
    }
    for at in proxies() {
        let (seen, cpu) = measure(targets[at], Ask::TranslatedBurst, BUSY, length, None).await?;
        round[at].cpu_translated_burst_chunk = micros(cpu) / seen.events as f64;
    }
    for at in proxies() {
        let (seen, cpu) = measure(targets[at], Ask::TranslatedPaced, PACED_STREAMS, length.mul_f64(0.5), None).await?;
        round[at].cpu_translated_paced_chunk = micros(cpu) / seen.events as f64;
    }
    for at in proxies() {
        let (seen, cpu) = measure(targets[at], Ask::CachedChat, BUSY, length, None).await?;
        round[at].cpu_cached_request = micros(cpu) / seen.answers as f64;
    }
    for at in proxies() {
        let (seen, cpu) = measure(targets[at], Ask::CachedBurst, BUSY, length, None).await?;
        round[at].cpu_cached_stream = micros(cpu) / seen.answers as f64;
    }
    for &at in &order {
        let (seen, _) = measure(targets[at], Ask::Chat, 1, length.mul_f64(0.75), None).await?;
        (round[at].alone_p50, round[at].alone_p99) = (seen.latency.quantile_us(0.5), seen.latency.quantile_us(0.99));
    }
    for &at in &order {
        let (seen, _) = measure(targets[at], Ask::Chat, BUSY, length, Some(FIXED_RATE)).await?;
        (round[at].fixed_p50, round[at].fixed_p99) = (seen.latency.quantile_us(0.5), seen.latency.quantile_us(0.99));
    }
    for &at in &order {
        let (seen, _) = measure(targets[at], Ask::Short, 1, length.mul_f64(0.75), None).await?;
        let first = &seen.first_output;
        (round[at].first_p50, round[at].first_p99) = (first.quantile_us(0.5), first.quantile_us(0.99));
    }
    for (rounds, round) in rounds.iter_mut().zip(round) {
        rounds.0.push(round);
    }
    Ok(())
}

/// Runs every kind of load shortly, so that connections, caches and the allocator are warm.
pub async fn warm_up(targets: &[&Target]) -> Result<()> {
    for target in targets {
        let asks =
            [Ask::Chat, Ask::Burst, Ask::TranslatedChat, Ask::TranslatedBurst, Ask::CachedChat, Ask::CachedBurst];
        for ask in asks {
            measure(target, ask, BUSY, Duration::from_millis(300), None).await?;
        }
    }
    Ok(())
}

async fn measure(
    target: &Target,
    ask: Ask,
    connections: usize,
    length: Duration,
    rate: Option<f64>,
) -> Result<(Outcome, Duration)> {
    let load = Load { address: target.address(), request: target.request(ask), connections, length, rate };
    let before = CpuTime::of(target.pid())?;
    let outcome = load.run().await?;
    // What the target does after its last byte (logs, metrics) belongs to the requests.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let cpu = CpuTime::of(target.pid())?.since(&before);
    match &outcome.first_error {
        Some(error) => Err(target.explain(&format!("{} of {ask:?} failed: {error}", outcome.errors)).into()),
        None => Ok((outcome, cpu)),
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
