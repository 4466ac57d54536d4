//! The `ai-gateway` command.

use std::process::ExitCode;

use ai_gateway::mock;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the mock provider as a server.
    #[command(after_help = mock::help())]
    Mock(MockArgs),
}

#[derive(Args)]
struct MockArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: String,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// PEM file with the certificate chain: serve TLS, with HTTP/2 by ALPN.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<String>,
    /// PEM file with the private key.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<String>,
}

fn main() -> ExitCode {
    env_logger::init();
    let Command::Mock(args) = Cli::parse().command;
    let tls = args.tls_cert.zip(args.tls_key).map(|(cert, key)| mock::Tls { cert, key });
    match mock::serve(&mock::Options { listen: args.listen, threads: args.threads, tls }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
