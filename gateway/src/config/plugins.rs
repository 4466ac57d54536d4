//! `[[plugins]]`: what is done to requests and answers on their way, in the order of the file. The keys of this file are the
//! gateway's; all others of an entry are the plugin's own, which reads them itself.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ai_gateway_plugins::{Plugin as Built, Settings, SettingsError, SettingsHost};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;
use super::routes::{self, Condition, When};
use super::tree::{self, At, instead};
use super::units::DurationText;
use super::{Context, Environment, ModelConfig, ProviderConfig, elsewhere, secret};
use crate::paths;

/// How long an async hook may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// `[[plugins]]` as written; they run in this order. All keys beside these are the plugin's own settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub struct Plugin {
    /// Which plugin.
    #[serde(rename = "use")]
    pub use_: At<String>,
    /// A name for logs, metrics and `explain`; unique. Default: that of the plugin, with a number if there are several.
    pub name: Option<At<String>>,
    /// Which requests go through it, as in `[[routes]]`. Default: all.
    pub when: Option<When>,
    /// What becomes of a request when the plugin fails, panics or takes too long. Default: `"closed"`.
    pub on_error: Option<OnError>,
    /// The longest that it may take at a time. Default: `"5s"`.
    pub timeout: Option<At<DurationText>>,
    /// What it does when it finds something: a setting of plugins that look for something.
    pub action: Option<At<String>>,
}

/// The keys of an entry that are the gateway's.
const OWN: [&str; 5] = ["use", "name", "when", "on_error", "timeout"];

/// What becomes of a request when a plugin fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It goes on as if the plugin were not there.
    Open,
    /// It is refused.
    #[default]
    Closed,
}

/// A plugin, ready to run.
#[derive(Clone)]
#[non_exhaustive]
pub struct PluginConfig {
    /// Unique.
    pub name: Arc<str>,
    /// Which requests go through it; all must hold. The cheap conditions come first.
    pub when: Vec<Condition>,
    /// What becomes of a request when it fails.
    pub on_error: OnError,
    /// The longest that a hook may take.
    pub timeout: Duration,
    /// The files that it writes.
    pub files: Vec<PathBuf>,
    /// The plugin itself.
    pub plugin: Arc<dyn Built>,
    /// Of everything that it was made of: another one where it may do something else. Answers are kept by it if the plugin steers
    /// requests.
    pub digest: [u8; 32],
}

impl PluginConfig {
    /// For all requests, closed on errors, with the usual timeout.
    pub fn new(name: impl Into<Arc<str>>, plugin: Arc<dyn Built>) -> Self {
        let name = name.into();
        let digest = Sha256::digest(name.as_bytes()).into();
        let (when, files) = Default::default();
        Self { name, when, on_error: OnError::Closed, timeout: TIMEOUT, files, plugin, digest }
    }

    /// Whether its files can be written, or made.
    ///
    /// # Errors
    /// Why one of them cannot.
    pub(crate) fn check_files(&self) -> io::Result<()> {
        let key = format!("plugin `{}`", self.name);
        self.files.iter().try_for_each(|path| paths::check_file(path).map_err(paths::error(&key, path)))
    }
}

/// Two are the same only if they are one: a plugin may keep anything.
impl PartialEq for PluginConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, when, on_error, timeout, files, plugin, digest: _ } = self;
        *name == other.name
            && *when == other.when
            && *on_error == other.on_error
            && *timeout == other.timeout
            && *files == other.files
            && Arc::ptr_eq(plugin, &other.plugin)
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, when, on_error, timeout, files, plugin, digest: _ } = self;
        f.debug_struct("PluginConfig")
            .field("name", name)
            .field("when", when)
            .field("on_error", on_error)
            .field("timeout", timeout)
            .field("files", files)
            .field("needs", &plugin.needs())
            .finish()
    }
}

/// Builds the plugins of all entries.
pub(super) fn resolve(
    entries: Vec<Spanned<DeValue<'_>>>,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    cx: &mut Context<'_>,
) -> Vec<PluginConfig> {
    let mut names = HashSet::new();
    let mut plugins = Vec::new();
    for entry in entries {
        if let Some(table) = entry.get_ref().as_table().filter(|table| !table.contains_key("use")) {
            unnamed(table, entry.span(), cx);
            continue;
        }
        let (own, settings) = split(entry);
        let Some(plugin) = tree::shape::<Plugin>(own, "[[plugins]]", &mut cx.report) else { continue };
        let when = plugin.when.map(|when| when.resolve(cx)).unwrap_or_default();
        let timeout = cx.duration(plugin.timeout.as_ref()).unwrap_or(TIMEOUT);
        let name = name(plugin.name, &plugin.use_, &mut names, cx);
        let (outputs, read) = Default::default();
        let host = Outside { env: cx.env, dir: &cx.dir, models, providers, outputs, read };
        let settings = Settings::new(settings, &host).within(timeout);
        match cx.plugins.build(&plugin.use_.value, &settings) {
            Some(Ok(built)) => plugins.push(PluginConfig {
                digest: host.digest(&name, &plugin.use_.value, &settings),
                name,
                when,
                on_error: plugin.on_error.unwrap_or_default(),
                timeout,
                files: host.outputs.take(),
                plugin: built,
            }),
            Some(Err(error)) => report(error, &plugin.use_, &mut cx.report),
            None => {
                let known: Vec<&str> = cx.plugins.names().collect();
                let help = instead(&plugin.use_.value, &known);
                cx.report.error(plugin.use_.span, format!("there is no plugin `{}`", plugin.use_.value), help);
            }
        }
    }
    plugins
}

/// Reports an entry that does not say which plugin it is.
fn unnamed(table: &DeTable<'_>, span: Range<usize>, cx: &mut Context<'_>) {
    let is_meant = |key: &&Spanned<Cow<'_, str>>| !elsewhere::meant(key.get_ref(), &["use"]).is_empty();
    if let Some(key) = table.keys().find(is_meant) {
        let message = format!("unknown key `{}` in [[plugins]]", key.get_ref());
        cx.report.error(key.span(), message, "did you mean `use`?");
        return;
    }
    let mut known: Vec<&str> = cx.plugins.names().collect();
    known.sort_unstable();
    cx.report.error(span, "[[plugins]] has no `use`", format!("there are: {}", known.join(", ")));
}

/// Takes the gateway's keys out of an entry.
fn split(entry: Spanned<DeValue<'_>>) -> (Spanned<DeValue<'_>>, Spanned<DeValue<'_>>) {
    let span = entry.span();
    let mut settings = DeTable::new();
    let own = match entry.into_inner() {
        DeValue::Table(mut table) => {
            let others: Vec<String> =
                table.keys().map(|key| key.get_ref().to_string()).filter(|key| !OWN.contains(&key.as_str())).collect();
            for key in others {
                if let Some((key, value)) = table.remove_entry(key.as_str()) {
                    settings.insert(key, value);
                }
            }
            DeValue::Table(table)
        }
        other => other,
    };
    (Spanned::new(span.clone(), own), Spanned::new(span, DeValue::Table(settings)))
}

fn name(name: Option<At<String>>, use_: &At<String>, names: &mut HashSet<Arc<str>>, cx: &mut Context<'_>) -> Arc<str> {
    let name: Arc<str> = match name {
        Some(name) => {
            if name.value.is_empty() || name.value.chars().any(char::is_control) {
                cx.report.error(name.span, "this cannot be the name of a plugin", "say in a word what it is for");
            } else if names.contains(name.value.as_str()) {
                let message = format!("there is another plugin named `{}`", name.value);
                cx.report.error(name.span, message, "names are unique: logs and metrics go by them");
            }
            name.value.into()
        }
        None => (1..)
            .map(|number| if number == 1 { use_.value.clone() } else { format!("{}-{number}", use_.value) })
            .find(|name| !names.contains(name.as_str()))
            .unwrap_or_default()
            .into(),
    };
    names.insert(name.clone());
    name
}

/// Reports what a plugin says of its settings, in the words of the file.
fn report(error: SettingsError, use_: &At<String>, report: &mut Report<'_>) {
    let SettingsError { span, message, help } = error;
    let span = span.unwrap_or_else(|| use_.span.clone());
    let what = format!("the plugin `{}`", use_.value);
    match tree::unknown(&message) {
        Some(("field", key, mut known)) => {
            known.extend(OWN);
            report.error(span, format!("unknown key `{key}` of {what}"), help.or_else(|| instead(key, &known)));
        }
        Some(("variant", word, known)) => tree::unknown_value(span, word, &known, &what, report),
        _ => report.error(span, tree::in_words(&message, &what), help),
    }
}

/// What settings may know of the world.
struct Outside<'a> {
    env: &'a dyn Environment,
    dir: &'a Path,
    models: &'a BTreeMap<String, ModelConfig>,
    providers: &'a BTreeMap<String, Option<ProviderConfig>>,
    /// Asked for so far.
    outputs: RefCell<Vec<PathBuf>>,
    /// What they have read of it.
    read: RefCell<Sha256>,
}

impl Outside<'_> {
    fn digest(&self, name: &str, use_: &str, settings: &Settings<'_>) -> [u8; 32] {
        let table = settings.read::<toml::Table>().unwrap_or_default().to_string();
        [name, use_, &table].iter().for_each(|part| self.note(part.as_bytes()));
        self.read.take().finalize().into()
    }

    fn note(&self, part: &[u8]) {
        let mut read = self.read.borrow_mut();
        read.update((part.len() as u64).to_le_bytes());
        read.update(part);
    }
}

impl SettingsHost for Outside<'_> {
    fn secret(&self, text: &str) -> Result<String, String> {
        let secret = secret::fetch(text, self.dir, self.env).map(|secret| secret.expose().to_owned());
        secret.inspect(|secret| self.note(secret.as_bytes()))
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let file = self.env.read(&self.path(path)).map_err(|error| format!("`{path}` cannot be read: {error}"));
        file.inspect(|file| self.note(file))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    fn output(&self, path: &str) -> PathBuf {
        self.outputs.borrow_mut().push(self.path(path));
        self.path(path)
    }

    fn model(&self, name: &str) -> Result<(), SettingsError> {
        routes::check_model(name, self.models, self.providers)
            .map_err(|(message, help)| SettingsError::new(message).help(help))
    }
}
