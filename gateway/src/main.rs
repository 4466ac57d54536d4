//! The `ai-gateway` command.

#![deny(clippy::print_stderr)]

mod cli;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ai_gateway::config::{self, Config, ProviderConfig, System};
use ai_gateway::internal::mock::{self, Tls};
use ai_gateway::internal::server::{self, Invocation, Source};
use ai_gateway::internal::{Time, say};
use ai_gateway_providers::Dialect;
use clap::{ArgGroup, CommandFactory, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One address and one key in front of every generative-AI provider.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    ///
    /// Without a file it takes the providers whose usual variables are set (OPENAI_API_KEY, ANTHROPIC_API_KEY, …) and,
    /// if there are none, the built-in mock provider.
    Run(cli::File),
    /// Check a configuration: exit code 1 and the reasons if it cannot be used.
    #[command(group = ArgGroup::new("which").args(["file", "config"]).required(true))]
    Check(cli::File),
    /// Tell where a request would go and why, without sending it.
    Explain(cli::explain::Explain),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Read the configuration of the running gateway again; exit code 1 and the reasons if it stays as it was.
    Reload(cli::reload::Options),
    /// Tell how the running gateway is.
    Status(cli::status::Options),
    /// Let the program that the running gateway was started from, replaced meanwhile, take over without breaking a stream.
    Upgrade(cli::upgrade::Options),
    /// Print what was used and what it cost, from the ledger.
    Usage(cli::usage::Options),
    /// Show or purge the running gateway's cache.
    #[command(subcommand)]
    Cache(cli::cache::Command),
    /// Make a client's key, or the hash of one.
    #[command(subcommand)]
    Key(cli::key::Command),
    /// Make a price map, or show what the built-in one says.
    #[command(subcommand)]
    Prices(cli::prices::Command),
    /// Write the man pages and the completions of shells into a folder, for packages.
    #[command(hide = true)]
    Generate {
        /// Where they go.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Run the mock provider as a server: no account needed, behaviour chosen by model name.
    #[command(after_help = mock::help())]
    Mock {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
        listen: String,
        /// Worker threads.
        #[arg(long, default_value_t = NonZeroUsize::MIN)]
        threads: NonZeroUsize,
        /// PEM file with a certificate: speak TLS, and HTTP/2 by ALPN.
        #[arg(long, value_name = "FILE", requires = "tls_key")]
        tls_cert: Option<String>,
        /// PEM file with the certificate's key.
        #[arg(long, value_name = "FILE", requires = "tls_cert")]
        tls_key: Option<String>,
    },
}

fn main() -> ExitCode {
    init_log();
    match Cli::parse().command {
        Command::Run(file) => run(file.path()),
        Command::Check(file) => check(file.path().unwrap_or(Path::new(""))),
        Command::Explain(arguments) => exit(cli::explain::run(&arguments)),
        Command::Schema => exit(cli::print(&config::schema_json())),
        Command::Reload(options) => exit(cli::reload::run(&options)),
        Command::Status(options) => exit(cli::status::run(&options)),
        Command::Upgrade(options) => exit(cli::upgrade::run(&options)),
        Command::Usage(options) => exit(cli::usage::run(options)),
        Command::Cache(command) => exit(cli::cache::run(&command)),
        Command::Key(command) => exit(cli::key::run(command)),
        Command::Prices(command) => exit(cli::prices::run(command)),
        Command::Generate { folder } => exit(cli::generate::run(Cli::command(), &folder)),
        Command::Mock { listen, threads, tls_cert, tls_key } => {
            let tls = tls_cert.zip(tls_key).map(|(cert, key)| Tls { cert, key });
            exit(mock::serve(&mock::Options { listen, threads: threads.get(), tls }))
        }
    }
}

/// `RUST_LOG` sets the level. Pingora's own lines below `info` quote requests and answers: they stay out.
fn init_log() {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"));
    for quoting in ["pingora_core", "pingora_proxy", "h2"] {
        builder.filter_module(quoting, log::LevelFilter::Warn);
    }
    // All that it says is that a kept connection is not used again, as an error: a new one is made, and no request is harmed.
    builder.filter_module("pingora_core::connectors", log::LevelFilter::Off);
    builder.init();
}

fn run(file: Option<&Path>) -> ExitCode {
    let Some(file) = file else { return run_discovered() };
    match Config::load(file) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                say(warning);
            }
            let check = Some(vec!["check".into(), file.into()]);
            let invocation = Invocation { check, ..Invocation::own() };
            exit(server::run(&loaded.config, Source::file(file), invocation, Time::default()))
        }
        Err(errors) => exit(Err(errors)),
    }
}

fn run_discovered() -> ExitCode {
    let discovery = Config::from_environment(&System);
    say(&discovery);
    let Config { server, providers, .. } = &discovery.config;
    let to_try = server.listen.first().zip(providers.values().next());
    let hint = to_try.map(|(address, provider)| format!("try: {}", curl_line(*address, provider)));
    let invocation = Invocation { check: Some(vec!["schema".into()]), hint, ..Invocation::own() };
    exit(server::run(&discovery.config, Source::Fixed, invocation, Time::default()))
}

/// A command to paste: asks the gateway at `address` for a stream from `provider`.
fn curl_line(address: SocketAddr, provider: &ProviderConfig) -> String {
    let model = if provider.base_url.is_none() { "lorem-20-every-50ms" } else { "MODEL" };
    let (path, limit) = match provider.dialects.first() {
        Some(Dialect::Anthropic) => ("/v1/messages", "\"max_tokens\": 100, "),
        _ => ("/v1/chat/completions", ""),
    };
    format!(
        "curl -N http://{address}{path} -H 'content-type: application/json' \
         -d '{{\"model\": \"{}/{model}\", \"stream\": true, {limit}\
         \"messages\": [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'",
        provider.name
    )
}

fn check(file: &Path) -> ExitCode {
    let verdict = config::check(file, &System);
    if verdict.is_ok() {
        return exit(cli::print(&verdict.to_string()));
    }
    say(verdict);
    ExitCode::FAILURE
}

fn exit<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = error.to_string();
            // The errors of a configuration say it themselves, each with its place.
            let prefix = if error.starts_with("error: ") { "" } else { "error: " };
            say(format_args!("{prefix}{error}"));
            ExitCode::FAILURE
        }
    }
}
