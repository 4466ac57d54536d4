//! Drives one target and prints what it saw; with `--pid`, also what it cost the target.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use ai_gateway_benches::{
    Result,
    load::{HeldStreams, Load, Outcome},
    process::{CpuTime, Memory},
    standin,
    wire::Request,
};
use clap::{Parser, ValueEnum};

/// A cheap load generator for OpenAI-compatible chat.
#[derive(Debug, Parser)]
struct Arguments {
    /// The target's listener.
    #[arg(required_unless_present = "standin")]
    address: Option<SocketAddr>,
    /// Serve as the stand-in upstream at this address instead of sending anything.
    #[arg(long)]
    standin: Option<SocketAddr>,
    /// What to ask for.
    #[arg(long, value_enum, default_value_t = Mode::Chat)]
    mode: Mode,
    /// Model name sent.
    #[arg(long, default_value = "echo")]
    model: String,
    /// Bearer key sent.
    #[arg(long)]
    key: Option<String>,
    /// Size of the request body in bytes.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Connections; in mode `hold`, streams.
    #[arg(long, short, default_value_t = 32)]
    connections: usize,
    /// Seconds to run, or to hold.
    #[arg(long, short, default_value_t = 5.0)]
    seconds: f64,
    /// Requests per second over all connections; a closed loop unless given.
    #[arg(long)]
    rate: Option<f64>,
    /// Process whose CPU time and memory are read.
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Non-streamed chat.
    Chat,
    /// Streamed chat, read to its end.
    Stream,
    /// Streams that stay open.
    Hold,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(listen) = arguments.standin {
        let address = standin::spawn(listen).await?;
        eprintln!("mock listening on http://{address}");
        std::future::pending::<()>().await;
    }
    let address = arguments.address.ok_or("no address")?;
    let stream = arguments.mode != Mode::Chat;
    let key = arguments.key.as_deref();
    let request = Arc::new(Request::chat(address, key, &arguments.model, arguments.size, stream));
    let length = Duration::from_secs_f64(arguments.seconds);
    let before = arguments.pid.map(CpuTime::of).transpose()?;
    if arguments.mode == Mode::Hold {
        let base = arguments.pid.map(Memory::of).transpose()?;
        let held = HeldStreams::open(address, request, arguments.connections).await?;
        tokio::time::sleep(length).await;
        if let (Some(pid), Some(base)) = (arguments.pid, base) {
            let now = Memory::of(pid)?;
            let each = now.resident.saturating_sub(base.resident) / arguments.connections.max(1) as u64;
            println!("{} streams: {} KiB resident, {each} bytes each", held.open_streams(), now.resident / 1024);
        }
        held.close().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let load = Load { address, request, connections: arguments.connections, length, rate: arguments.rate };
    let outcome = load.run().await?;
    print(&outcome);
    if let (Some(pid), Some(before)) = (arguments.pid, before) {
        let spent = CpuTime::of(pid)?.since(&before).as_secs_f64() * 1e6;
        let per = |count: u64| spent / count.max(1) as f64;
        println!("target CPU: {:.2} µs per request, {:.3} µs per event", per(outcome.answers), per(outcome.events));
        println!("target resident: {} KiB", Memory::of(pid)?.resident / 1024);
    }
    Ok(if outcome.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(outcome: &Outcome) {
    println!(
        "{} answers, {} events, {:.0} answers/s, {} errors{}",
        outcome.answers,
        outcome.events,
        outcome.rate(),
        outcome.errors,
        outcome.first_error.as_ref().map(|error| format!(" (first: {error})")).unwrap_or_default(),
    );
    for (name, samples) in
        [("latency", &outcome.latency), ("first output", &outcome.first_output), ("gap", &outcome.gaps)]
    {
        if !samples.is_empty() {
            let quantile = |q| samples.quantile_us(q);
            println!("{name}: p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs", quantile(0.5), quantile(0.99), quantile(1.0));
        }
    }
}
