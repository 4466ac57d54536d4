//! `ai-gateway cache`: the running gateway's cache, seen and purged through its admin listener.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::Whom;
use super::print;

/// The longest wait for figures, and for a purge.
const SHOW: Duration = Duration::from_secs(10);
const PURGE: Duration = Duration::from_secs(70);

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Print what is kept, and how often it was of use.
    Show(Whom),
    /// Remove answers everywhere: memory, disk and the common store.
    Purge(Purge),
}

/// What to remove: exactly one.
#[derive(Args)]
pub struct Purge {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    whom: Whom,
}

/// See [`Purge`].
#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// What this client's key had answered.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// The answers of this model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// What has this tag.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// The answers to one request.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

impl What {
    fn query(&self) -> String {
        let named =
            [("key", &self.key), ("model", &self.model), ("tag", &self.tag), ("fingerprint", &self.fingerprint)];
        let named = named.into_iter().find_map(|(kind, name)| Some((kind, name.as_deref()?)));
        let (kind, name) = named.unwrap_or(("all", "true"));
        url::form_urlencoded::Serializer::new(String::new()).append_pair(kind, name).finish()
    }
}

/// Prints what was found or done; the error is for a person.
pub fn run(command: &Command) -> Result<(), String> {
    let (whom, method, path, patience) = match command {
        Command::Show(whom) => (whom, "GET", "/api/cache".to_owned(), SHOW),
        Command::Purge(Purge { what, whom }) => (whom, "DELETE", format!("/api/cache?{}", what.query()), PURGE),
    };
    let answer = whom.ask(method, &path, patience)?;
    if !answer.is_ok() {
        return Err(answer.error());
    }
    print(&match command {
        Command::Show(_) => lines(&answer.body, ""),
        Command::Purge(_) => format!("{} removed from this instance\n", answer.body["removed"]),
    })
}

/// One line for each figure.
fn lines(figures: &Value, before: &str) -> String {
    let line = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => lines(value, &format!("{before}{name}.")),
        Value::Null => format!("{:<24} none\n", format!("{before}{name}")),
        value => format!("{:<24} {value}\n", format!("{before}{name}")),
    };
    figures.as_object().into_iter().flatten().map(line).collect()
}
