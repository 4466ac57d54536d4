//! `ai-gateway usage`: what the ledger says, also while the gateway runs.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use ai_gateway::config::Config;
use ai_gateway::ledger::{self, Dimension, Query, Report};
use clap::Args;

/// What to add up, and how to show it.
#[derive(Args)]
pub struct Options {
    /// The configuration, whose [ledger] is read.
    #[arg(long, value_name = "FILE", required_unless_present = "ledger")]
    config: Option<PathBuf>,
    /// The ledger's database itself; no configuration is needed then.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    ledger: Option<PathBuf>,
    /// What a row stands for, with commas between, or "" for one row: key, team, owner, tag, customer, model, provider, upstream_model,
    /// operation, kind, usage_source, price_map, hour, day, month.
    #[arg(long, value_name = "LIST", default_value = "key,model")]
    by: String,
    /// Requests since then: 2026-11-25, 2026-11-25T16:00:00Z (UTC), or 30d for that long ago.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,
    /// Requests before then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,
    /// Only records like this: `team=support`, any of the words of --by. Several of one word: one of them.
    #[arg(long = "where", value_name = "WORD=VALUE", value_parser = filter)]
    filters: Vec<(Dimension, String)>,
    /// Print CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<i64, String> {
    ledger::parse_time(text, SystemTime::now()).map_err(|error| error.to_string())
}

fn filter(text: &str) -> Result<(Dimension, String), String> {
    let (word, value) = text.split_once('=').ok_or("write WORD=VALUE, as in team=support")?;
    Ok((word.parse()?, value.to_owned()))
}

/// Prints the report; the error is for a person.
pub fn run(options: Options) -> Result<(), String> {
    let path = match (options.ledger, options.config) {
        (Some(path), _) => path,
        (None, Some(file)) => {
            let loaded = Config::load(&file).map_err(|errors| errors.to_string())?;
            loaded.config.ledger.ok_or_else(|| format!("{} has no [ledger]", file.display()))?.path
        }
        (None, None) => return Err("name a --config or a --ledger".to_owned()),
    };
    let query =
        Query { by: Dimension::list(&options.by)?, from: options.from, to: options.to, filters: options.filters };
    let report = ledger::ask(&path, &query).map_err(|error| format!("{}: {error}", path.display()))?;
    if report.truncated {
        eprintln!("only the first {} rows are shown: ask for a shorter time or fewer groups", report.rows.len());
    }
    print(&match (options.csv, options.json) {
        (true, _) => report.to_csv(),
        (_, true) => format!("{}\n", report.to_json()),
        _ => table(&report),
    })
}

fn table(report: &Report) -> String {
    match report.rows.is_empty() {
        true => "nothing was used\n".to_owned(),
        false => report.to_table(),
    }
}

/// Prints; a reader that has gone, as `head` does, is no error.
fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}
