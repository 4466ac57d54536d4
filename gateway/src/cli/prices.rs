//! `ai-gateway prices`: makes a price map, and shows what it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ai_gateway::internal::say;
use ai_gateway_providers::price::import::{self, Import};
use ai_gateway_providers::price::{Lookup, Model, PerMillion, Price, PriceMap, Rate, Tier, Unit};
use clap::Subcommand;
use serde_json::{Value, json};

use super::print;

/// What to do with prices.
#[derive(Subcommand)]
pub enum Command {
    /// Make a price map of LiteLLM's `model_prices_and_context_window.json`.
    Import {
        /// LiteLLM's file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where the price map goes; the default is standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The day of the file, for the price map's id.
        #[arg(long, value_name = "YYYY-MM-DD", value_parser = day, default_value = "", hide_default_value = true)]
        date: String,
    },
    /// Show all prices of a model.
    Show {
        /// `vendor/model`, `kind/model` as in `[providers]`, or a model alone: all vendors of it.
        #[arg(value_name = "MODEL")]
        model: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// A price file that counts before the built-in map, as `file` of `[prices]`.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Runs a command; the error is for a person.
pub fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Import { file, out, date } => {
            let import = import::litellm(&read(&file)?, &date).map_err(|error| in_file(&file, &error))?;
            say(summary(&import)?.trim_end());
            match out {
                Some(out) => fs::write(&out, &import.sheet).map_err(|error| in_file(&out, &error)),
                None => print(&import.sheet),
            }
        }
        Command::Show { model, json, file } => {
            let map = match file {
                Some(file) => PriceMap::built_in().with_file(&read(&file)?).map_err(|error| in_file(&file, &error))?,
                None => PriceMap::built_in(),
            };
            let found = find(&map, &model)?;
            let found = found.iter();
            print(&if json {
                format!("{:#}\n", found.map(|(name, model)| as_json(&map, name, model)).collect::<Value>())
            } else {
                found.map(|(name, model)| format!("{}\n", as_text(&map, name, model))).collect()
            })
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| in_file(file, &error))
}

fn in_file(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}

/// `2026-11-12`, or nothing.
fn day(text: &str) -> Result<String, String> {
    let fits = |(at, byte): (usize, u8)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    if text.is_empty() || (text.len() == 10 && text.bytes().enumerate().all(fits)) {
        return Ok(text.to_owned());
    }
    Err("a day is written as 2026-11-12".to_owned())
}

/// What was taken, what not, and what changes for those who use the built-in map today.
fn summary(import: &Import) -> Result<String, String> {
    let new = PriceMap::of_file(import.sheet.as_bytes()).map_err(|error| error.to_string())?;
    let mut text = format!(
        "price map {}: {} rows of {} keys; {} prices were finer than a pico-dollar and are rounded\n",
        new.id(),
        import.rows,
        import.taken,
        import.rounded
    );
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for skip in import.skipped.values() {
        *reasons.entry(skip.to_string()).or_default() += 1;
    }
    for (reason, count) in reasons {
        let _ = writeln!(text, "  left out {count}: {reason}");
    }
    for field in &import.unknown_fields {
        let _ = writeln!(text, "warning: `{field}` looks like a price and is not known: it is left out");
    }
    text += &changes(&PriceMap::built_in(), &new);
    Ok(text)
}

fn changes(old: &PriceMap, new: &PriceMap) -> String {
    let rows = |map: &PriceMap| -> BTreeMap<String, Model> {
        map.names().filter_map(|name| Some((name.to_owned(), map.row(name)?))).collect()
    };
    let (before, after) = (rows(old), rows(new));
    let added = after.keys().filter(|name| !before.contains_key(*name)).count();
    let gone = before.keys().filter(|name| !after.contains_key(*name)).count();
    let both = || before.iter().filter_map(|(name, model)| Some((name, model, after.get(name)?)));
    let changed = both().filter(|(_, before, after)| before.price != after.price).count();
    let mut text =
        format!("against the built-in map {}: {added} new, {gone} gone, {changed} with other prices\n", old.id());
    let paid = |model: &Model| model.price.as_ref().is_some_and(|price| price.rates().iter().any(|rate| rate.pico > 0));
    for (name, ..) in both().filter(|(_, before, after)| paid(before) && !paid(after)) {
        let _ = writeln!(text, "warning: `{name}` had a price and has none now");
    }
    text
}

/// The rows that `asked` may mean.
fn find(map: &PriceMap, asked: &str) -> Result<Vec<(String, Model)>, String> {
    if let Some(model) = map.row(asked) {
        return Ok(vec![(asked.to_owned(), model)]);
    }
    if let Some((kind, model)) = asked.split_once('/') {
        let lookup = Lookup { provider: kind, kind, model, region: None };
        if let (Some(name), Some(model)) = (map.row_of(&lookup), map.find(&lookup)) {
            return Ok(vec![(name.to_owned(), model)]);
        }
    }
    let matching = |fits: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let mut names: Vec<&str> = map.names().filter(|name| fits(name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let names = matching(&|name| name.split_once('/').is_some_and(|(_, model)| model == asked));
    if !names.is_empty() {
        return Ok(names.into_iter().filter_map(|name| Some((name.to_owned(), map.row(name)?))).collect());
    }
    let near: Vec<&str> = matching(&|name| name.contains(asked)).into_iter().take(10).collect();
    let help = if near.is_empty() { String::new() } else { format!("; there are: {}", near.join(", ")) };
    Err(format!("the price map {} does not know `{asked}`{help}", map.id()))
}

fn as_json(map: &PriceMap, name: &str, model: &Model) -> Value {
    let rate = |rate: &Rate| {
        json!({
            "unit": rate.unit.as_str(),
            "tier": rate.tier.as_str(),
            "above": rate.above,
            "usd_per_million": PerMillion(rate.pico).to_string(),
        })
    };
    json!({
        "name": name,
        "price_map_id": map.id(),
        "context_window": model.context_window,
        "max_output": model.max_output,
        "prices": model.price.as_ref().map(|price| price.rates().iter().map(rate).collect::<Vec<_>>()),
        "us_only": model.price.as_ref().and_then(Price::us_only).map(|times| times.to_string()),
    })
}

/// A table: a line for each unit and step, a column for each tier.
fn as_text(map: &PriceMap, name: &str, model: &Model) -> String {
    let mut text = format!("{name}  (price map {})\n", map.id());
    for (label, tokens) in [("context window", model.context_window), ("most output", model.max_output)] {
        if let Some(tokens) = tokens {
            let _ = writeln!(text, "  {label:<16} {tokens} tokens");
        }
    }
    let Some(price) = &model.price else {
        text += "  no price is known\n";
        return text;
    };
    let rates = price.rates();
    let tiers: Vec<Tier> =
        Tier::ALL.iter().copied().filter(|tier| rates.iter().any(|rate| rate.tier == *tier)).collect();
    let mut lines: Vec<(u64, Unit)> = rates.iter().map(|rate| (rate.above, rate.unit)).collect();
    lines.sort_unstable();
    lines.dedup();
    let _ = write!(text, "  {:<16}", "$ per million");
    tiers.iter().for_each(|tier| text += &format!(" {:>12}", tier.as_str()));
    text.push('\n');
    let mut step = 0;
    for (above, unit) in lines {
        if above != step {
            let _ = writeln!(text, "  if the prompt has more than {above} tokens:");
            step = above;
        }
        let _ = write!(text, "  {:<16}", unit.as_str());
        for tier in &tiers {
            let rate = rates.iter().find(|rate| (rate.unit, rate.tier, rate.above) == (unit, *tier, above));
            let dollars = rate.map_or_else(|| "-".to_owned(), |rate| PerMillion(rate.pico).to_string());
            let _ = write!(text, " {dollars:>12}");
        }
        text.push('\n');
    }
    if let Some(times) = price.us_only() {
        let _ = writeln!(text, "  answers made in the US only: {times} times as much for tokens");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        assert!(day("2026-11-12").is_ok() && day("").is_ok());
        for bad in ["2026-1-12", "today", "2026/11/12", "2026-11-123"] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }

    fn map() -> PriceMap {
        let file = json!({
            "gpt-x": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 272_000,
                "input_cost_per_token": 1.25e-6, "input_cost_per_token_flex": 6.25e-7,
                "output_cost_per_token": 1e-5, "output_cost_per_token_above_200k_tokens": 1.5e-5},
            "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 5e-6,
                "provider_specific_entry": {"fast": 2, "us": 1.1}},
            "azure/gpt-x": {"litellm_provider": "azure", "mode": "chat", "max_output_tokens": 5},
        });
        PriceMap::of_file(file.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn models_are_found_by_the_names_people_have() {
        let names =
            |asked| find(&map(), asked).map(|found| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
        assert_eq!(names("openai/gpt-x").unwrap(), ["openai/gpt-x"]);
        assert_eq!(names("openai/gpt-x-2026-01-01").unwrap(), ["openai/gpt-x"]);
        assert_eq!(names("gpt-x").unwrap(), ["azure/gpt-x", "openai/gpt-x"]);
        let error = names("gpt").unwrap_err();
        assert!(error.ends_with("does not know `gpt`; there are: azure/gpt-x, openai/gpt-x"), "{error}");
    }

    #[test]
    fn prices_are_a_table() {
        let map = map();
        let text = as_text(&map, "openai/gpt-x", &map.row("openai/gpt-x").unwrap());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  context window   272000 tokens",
                "  $ per million        standard         flex",
                "  input                    1.25        0.625",
                "  output                     10            -",
                "  web_search              10000            -",
                "  if the prompt has more than 200000 tokens:",
                "  output                     15            -",
            ]
        );
        assert!(as_text(&map, "azure/gpt-x", &map.row("azure/gpt-x").unwrap()).ends_with("no price is known\n"));
        let text = as_text(&map, "anthropic/claude-x", &map.row("anthropic/claude-x").unwrap());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  $ per million        standard    fast_mode",
                "  input                       5           10",
                "  answers made in the US only: 1.1 times as much for tokens",
            ]
        );
        let json = as_json(&map, "anthropic/claude-x", &map.row("anthropic/claude-x").unwrap());
        assert_eq!(json["us_only"], "1.1");
        let json = as_json(&map, "openai/gpt-x", &map.row("openai/gpt-x").unwrap());
        assert_eq!(json["prices"][1], json!({"unit": "input", "tier": "flex", "above": 0, "usd_per_million": "0.625"}));
    }

    #[test]
    fn what_an_import_changes_is_told() {
        let free = json!({"gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0}});
        let free = PriceMap::of_file(free.to_string().as_bytes()).unwrap();
        let text = changes(&map(), &free);
        assert!(text.contains("0 new, 2 gone, 1 with other prices"), "{text}");
        assert!(text.ends_with("warning: `openai/gpt-x` had a price and has none now\n"), "{text}");
    }
}
