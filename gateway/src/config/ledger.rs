//! `[ledger]`: the durable record of usage and cost.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::At;
use super::units::{self, DurationText, RetentionText, SizeText};

/// `[ledger]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// File of the embedded database (SQLite). It is made if it is not there.
    pub path: At<String>,
    /// How long records are kept. `"off"` keeps them for ever. Default: `"400d"`.
    pub retention: Option<At<RetentionText>>,
    /// Folder of the records that are not in the database yet. On a file system in memory, such as systemd's
    /// `RuntimeDirectory`, no request ever waits for a disk, and a power loss costs a second of records. Default: `path` with
    /// `.spool` behind it.
    pub spool: Option<At<String>>,
    /// How often new records are synced to disk: what a power loss may cost. Default: `"50ms"`.
    pub sync: Option<At<DurationText>>,
    /// Records that may wait in memory while the disk is full; past it the oldest are lost, and counted. Default: `"256MiB"`.
    pub memory: Option<At<SizeText>>,
}

/// The resolved `[ledger]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// File of the database.
    pub path: PathBuf,
    /// How long records are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// Folder of the spool.
    pub spool: PathBuf,
    /// Between two syncs of the spool.
    pub sync: Duration,
    /// Bytes of records that may wait in memory.
    pub memory: usize,
}

impl LedgerConfig {
    /// A ledger at `path`, everything else as it is by default.
    pub fn at(path: PathBuf) -> Self {
        let mut spool = path.clone().into_os_string();
        spool.push(".spool");
        Self {
            path,
            retention: Some(Duration::from_secs(400 * 86_400)),
            spool: spool.into(),
            sync: Duration::from_millis(50),
            memory: 256 << 20,
        }
    }
}

impl Ledger {
    /// Fills the defaults in. Nothing is made on disk: checking a file must not.
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> LedgerConfig {
        let default = LedgerConfig::at(cx.dir.join(&self.path.value));
        for path in [Some(&self.path), self.spool.as_ref()].into_iter().flatten() {
            if path.value.trim().is_empty() {
                cx.report.error(path.span.clone(), "a path cannot be empty", "name a file or a folder");
            }
        }
        LedgerConfig {
            retention: match &self.retention {
                Some(text) if text.value.0.trim() == "off" => None,
                Some(text) => cx.parse(text, |text| units::duration(&text.0)).or(default.retention),
                None => default.retention,
            },
            spool: self.spool.map_or(default.spool, |text| cx.dir.join(text.value)),
            sync: cx.duration(self.sync.as_ref()).unwrap_or(default.sync),
            memory: self
                .memory
                .as_ref()
                .and_then(|text| cx.parse(text, |text| units::size(&text.0)))
                .unwrap_or(default.memory),
            path: default.path,
        }
    }
}
