//! Keeps a target under steady load and prints what its clients saw; exit code 1 if one had a reason to complain.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use ai_gateway_benches::{Result, steady::Steady, wire::Request};
use clap::Parser;

/// Long streams and short requests that must not notice how their target is replaced.
#[derive(Debug, Parser)]
struct Arguments {
    /// The target's listener.
    address: SocketAddr,
    /// Bearer key sent.
    #[arg(long)]
    key: Option<String>,
    /// Streams open at any time.
    #[arg(long, default_value_t = 200)]
    streams: usize,
    /// What streams ask for.
    #[arg(long, default_value = "mock/lorem-120-every-500ms")]
    stream_model: String,
    /// Short requests per second.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// What short requests ask for.
    #[arg(long, default_value = "mock/lorem-5")]
    model: String,
    /// Seconds after which nothing more is begun.
    #[arg(long, short, default_value_t = 60.0)]
    seconds: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let Arguments { address, key, streams, stream_model, rate, model, seconds } = Arguments::parse();
    let request = |model: &str, stream| Arc::new(Request::chat(address, key.as_deref(), model, 512, stream));
    let (stream, request) = (request(&stream_model, true), request(&model, false));
    let length = Duration::from_secs_f64(seconds);
    let seen = Steady { address, streams, stream, rate, request, length }.run().await?;
    println!("{seen}");
    Ok(if seen.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
