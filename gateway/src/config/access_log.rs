//! `[access_log]`: where the line of each request goes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::At;
use super::units::{self, PercentText};

/// Every request, in ten thousand.
const ALL: u32 = 10_000;

/// `[access_log]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// `"stdout"`, `"stderr"`, `"journald"`, `"off"`, or `"file:PATH"`. Default: `"stdout"`.
    pub to: Option<At<String>>,
    /// The share of the requests that succeed which is logged; the others always are. Default: `"100%"`.
    pub sample: Option<At<PercentText>>,
}

/// The resolved `[access_log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// Where lines go.
    pub to: LogTo,
    /// The share of successes, in ten thousand.
    pub sample: u32,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogTo {
    /// Nowhere.
    Off,
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// The journal of systemd.
    Journald,
    /// A file, to whose end it is written.
    File(PathBuf),
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { to: LogTo::default(), sample: ALL }
    }
}

impl AccessLog {
    /// Fills the defaults in. Nothing is opened: checking a file must not.
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> AccessLogConfig {
        let to = self.to.and_then(|text| match &*text.value {
            "stdout" => Some(LogTo::Stdout),
            "stderr" => Some(LogTo::Stderr),
            "journald" => Some(LogTo::Journald),
            "off" => Some(LogTo::Off),
            other => match other.strip_prefix("file:").filter(|path| !path.trim().is_empty()) {
                Some(path) => Some(LogTo::File(cx.dir.join(path))),
                None => {
                    let help = "there are \"stdout\", \"stderr\", \"journald\", \"off\" and \"file:PATH\"";
                    cx.report.error(text.span.clone(), "the access log cannot go there", help);
                    None
                }
            },
        });
        let sample = self.sample.and_then(|text| cx.parse(&text, |text| units::percent(&text.0)));
        AccessLogConfig { to: to.unwrap_or_default(), sample: sample.unwrap_or(ALL) }
    }
}
