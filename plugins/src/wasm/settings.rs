//! From `[[plugins]]` to a plugin.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use toml::{Spanned, Value};

use super::engine::{self, Engine};
use super::hooks::Wasm;
use super::instance::Limits;
use super::{at_once, view};
use crate::settings::{Size, bytes};
use crate::{Plugin, Settings, SettingsError};

/// Instructions of one call, about: a second of native code, or less.
const FUEL: u64 = 1_000_000_000;
/// Memory of one instance.
const MEMORY: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WasmSettings {
    path: Spanned<String>,
    sha256: Option<Spanned<String>>,
    fuel: Option<Spanned<u64>>,
    memory: Option<Spanned<Size>>,
    #[serde(default)]
    engine: Engine,
    #[serde(default)]
    settings: toml::Table,
}

/// Loads the component and asks it what it needs.
pub(super) fn build(settings: &Settings<'_>) -> Result<Arc<dyn Plugin>, SettingsError> {
    let WasmSettings { path, sha256, fuel, memory, engine, settings: own } = settings.read()?;
    if path.get_ref().contains("://") {
        let error = SettingsError::at(&path, "plugins are loaded from local files only");
        return Err(error.help("copy it here and say where it lies"));
    }
    if let Some(fuel) = fuel.as_ref().filter(|fuel| *fuel.get_ref() == 0) {
        return Err(
            SettingsError::at(fuel, "without fuel nothing runs").help("a number of instructions, as 1000000000")
        );
    }
    let file = settings.file(&path)?;
    let hash: [u8; 32] = Sha256::digest(&file).into();
    check(&path, sha256.as_ref(), &hash)?;
    let limits = Limits {
        fuel: fuel.map_or(FUEL, Spanned::into_inner),
        memory: bytes("memory", memory.as_ref(), MEMORY, usize::MAX)?,
        time: settings.timeout(),
    };
    let broken = |error: String| SettingsError::at(&path, format!("`{}` cannot be used: {error}", path.get_ref()));
    let component = engine::load(&file, hash, engine).map_err(broken)?;
    let own = json(Value::Table(own)).to_string();
    let wasm = Wasm::new(component, limits, own);
    let needs = at_once::alone(wasm.ask_needs()).map_err(|failure| broken(failure.0))?;
    let needs = view::needs(&needs).map_err(|failure| broken(failure.0))?;
    Ok(Arc::new(wasm.with_needs(needs)))
}

fn check(path: &Spanned<String>, said: Option<&Spanned<String>>, hash: &[u8; 32]) -> Result<(), SettingsError> {
    let is = hex::encode(hash);
    match said {
        None => Err(SettingsError::at(
            path,
            "`sha256` is missing: a plugin is loaded only if its file is the one that was meant",
        )
        .help(format!("if the file is what you mean: sha256 = \"{is}\""))),
        Some(said) if said.get_ref().eq_ignore_ascii_case(&is) => Ok(()),
        Some(said) => {
            let message = format!("`{}` is another file: its SHA-256 is {is}, not {}", path.get_ref(), said.get_ref());
            Err(SettingsError::at(said, message))
        }
    }
}

/// TOML as JSON; a date is its text.
fn json(value: Value) -> Json {
    match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Boolean(truth) => truth.into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(values) => values.into_iter().map(json).collect(),
        Value::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
    }
}
