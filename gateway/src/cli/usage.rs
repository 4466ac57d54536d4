//! `ai-gateway usage`: what the ledger says, also while the gateway runs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ai_gateway::config::{Config, LedgerConfig, System};
use ai_gateway::internal::ledger::{self, CHARGED, Dimension, Kind, Query, Record, Report, Store};
use ai_gateway::internal::say;
use clap::{ArgGroup, Args, Subcommand};

use super::print;

/// What to add up, and how to show it.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(group = ArgGroup::new("which").args(["config", "ledger"]).required(true))]
pub struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    /// The configuration, whose [ledger] is read.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The ledger's database itself; no configuration is needed then.
    #[arg(long, value_name = "FILE")]
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

/// What else can be done to the ledger.
#[derive(Subcommand)]
enum Action {
    /// Reckon what records cost by the prices of a configuration, and note it beside what they were booked with.
    Rerate {
        /// The configuration, whose prices and [ledger] are taken.
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Requests since then; times as in `usage`.
        #[arg(long, value_name = "TIME", value_parser = time)]
        from: Option<i64>,
        /// Requests before then.
        #[arg(long, value_name = "TIME", value_parser = time)]
        to: Option<i64>,
    },
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
    if let Some(Action::Rerate { config, from, to }) = options.action {
        return rerate(&config, from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
    }
    let path = match (options.ledger, options.config) {
        (Some(path), _) => path,
        (None, Some(file)) => {
            in_file(&file, LedgerConfig::path_in(&file, &System).map_err(|error| error.to_string())?)?
        }
        (None, None) => return Err("name a --config or a --ledger".to_owned()),
    };
    let query =
        Query { by: Dimension::list(&options.by)?, from: options.from, to: options.to, filters: options.filters };
    let report = ledger::ask(&path, &query).map_err(|error| format!("{}: {error}", path.display()))?;
    if report.truncated {
        say(format_args!(
            "only the first {} rows are shown: ask for a shorter time or fewer groups",
            report.rows.len()
        ));
    }
    print(&match (options.csv, options.json) {
        (true, _) => report.to_csv(),
        (_, true) => format!("{}\n", report.to_json()),
        _ => table(&report),
    })
}

/// A configuration, for its prices, and the path of its ledger's database.
fn load(file: &Path) -> Result<(Config, PathBuf), String> {
    let config = Config::load(file).map_err(|errors| errors.to_string())?.config;
    let path = in_file(file, config.ledger.as_ref().map(|ledger| ledger.path.clone()))?;
    Ok((config, path))
}

fn in_file(file: &Path, ledger: Option<PathBuf>) -> Result<PathBuf, String> {
    ledger.ok_or_else(|| format!("{} has no [ledger]", file.display()))
}

fn rerate(file: &Path, from: i64, to: i64) -> Result<(), String> {
    let (config, path) = load(file)?;
    if !path.exists() {
        return Err(format!("{}: there is no such file", path.display()));
    }
    let failed = |error| format!("{}: {error}", path.display());
    let mut store = Store::open(&path).map_err(failed)?;
    let price_map = config.prices.map.id();
    let result = ledger::rerate(&mut store, from, to, price_map, |record| price(&config, record)).map_err(failed)?;
    print(&format!(
        "{} records by {price_map}: {} cost something else, {} are without a price; {} USD booked, {} USD now\n",
        result.records,
        result.changed,
        result.unpriced,
        ledger::dollars(result.before),
        ledger::dollars(result.after),
    ))
}

/// What a record costs by the prices of `config`, in pico-dollars.
fn price(config: &Config, record: &Record<'_>) -> Option<u64> {
    match record.kind {
        // What the provider told is divided until there is a price.
        Kind::Shared if record.price_map.as_deref() == Some(CHARGED) && !has_prices(config, record) => return None,
        // The whole call is on the record of who made it, with all of its usage, however its cost was divided.
        Kind::Shared => return Some(0),
        // What it costs was no price.
        Kind::CacheHit => return record.cost,
        _ if !record.costs() => return None,
        _ => {}
    }
    config.cost_of(record)?.total()
}

/// Whether all targets of the record's model whose providers tell what they charge have a price by now.
fn has_prices(config: &Config, record: &Record<'_>) -> bool {
    let tells = |provider: &str| config.providers.get(provider).is_some_and(|provider| provider.preset.tells_cost);
    let model = record.asked_model().and_then(|name| config.model(name));
    model.is_some_and(|model| {
        model.targets.iter().all(|target| target.known.price.is_some() || !tells(&target.provider))
    })
}

fn table(report: &Report) -> String {
    match report.rows.is_empty() {
        true => "nothing was used\n".to_owned(),
        false => report.to_table(),
    }
}

#[cfg(test)]
mod tests {
    use ai_gateway::config::System;
    use ai_gateway::internal::ledger::UsageSource;
    use ai_gateway_providers::usage::Usage;

    use super::*;

    /// Of a call that two shared the first has all usage and half the cost: together they cost what the call costs.
    #[test]
    fn a_call_that_several_shared_is_rated_once() {
        let text = "[providers.p]\nkind = 'openai-compatible'\nbase_url = 'http://127.0.0.1:1/v1'\n\
                    [providers.r]\nkind = 'openrouter'\napi_key = 'k'\n\
                    [prices.models]\n'r/priced' = { input = '3' }\n'p/m' = { input = '3' }\n'p/r' = { request = '7' }\n";
        let config = Config::parse(text, "a.toml", &System).unwrap_or_else(|errors| panic!("{errors}")).config;
        let lead = Record {
            provider: Some("p".into()),
            upstream_model: Some("m".into()),
            usage: Usage { input: Some(10), ..Usage::default() },
            usage_source: UsageSource::Provider,
            cost: Some(10_000_000),
            ..Record::default()
        };
        let follower =
            Record { kind: Kind::Shared, usage: Usage::default(), usage_source: UsageSource::None, ..lead.clone() };
        let hit = Record { kind: Kind::CacheHit, cost: Some(0), ..follower.clone() };
        let costs = [&lead, &follower, &hit].map(|record| price(&config, record));
        assert_eq!(costs, [Some(30_000_000), Some(0), Some(0)]);
        // What the provider told stays divided until there is a price.
        let told = Record { price_map: Some(CHARGED.into()), model: Some("r/priced".into()), ..follower.clone() };
        let unpriced = Record { model: Some("r/other".into()), ..told.clone() };
        assert_eq!([&told, &unpriced].map(|record| price(&config, record)), [Some(0), None]);
        // An answer that told of no usage costs what a request costs; one that failed nothing that is known.
        let untold = Record {
            usage: Usage::default(),
            usage_source: UsageSource::None,
            operation: "rerank".into(),
            upstream_model: Some("r".into()),
            status: 200,
            ..lead
        };
        assert_eq!(price(&config, &untold), Some(7_000_000));
        assert_eq!(price(&config, &Record { fault: Some("upstream".into()), ..untold }), None);
    }
}
