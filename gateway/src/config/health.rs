//! `health` of a provider: when its targets are left alone, and whether they are probed on purpose.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::At;
use super::units::DurationText;
use crate::health::Settings;

/// `health` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Failed attempts in a row after which a target is left alone; 0: no number of them. Default: 5.
    pub failures: Option<u32>,
    /// The share of failed attempts, as 0.5, from which on a target is left alone; 0: no share. Default: 0.5.
    #[schemars(range(min = 0, max = 1))]
    pub rate: Option<At<f64>>,
    /// How many attempts the share is taken of at least. Default: 20.
    #[schemars(range(min = 1))]
    pub min_requests: Option<At<u32>>,
    /// The time that the share is taken of. Default: `"30s"`.
    pub window: Option<At<DurationText>>,
    /// How long a target is left alone at first; twice as long each time that it fails again. Default: `"2s"`.
    pub cooldown: Option<At<DurationText>>,
    /// How long a target is left alone at most. Default: `"60s"`.
    pub max_cooldown: Option<At<DurationText>>,
    /// Ask the provider on purpose, without a client's request. Default: it is not asked.
    pub probe: Option<Probe>,
}

/// `probe` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What is asked for by GET, below `base_url`. Any status below 500 but 401, 403 and 429 is a good answer. Default:
    /// `"/models"`.
    #[schemars(regex(pattern = "^/"))]
    pub path: Option<At<String>>,
    /// How often. Default: `"30s"`.
    pub every: Option<At<DurationText>>,
}

/// How the health of a provider is judged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HealthConfig {
    /// When the breakers of its targets open.
    pub settings: Settings,
    /// Requests of the gateway's own.
    pub probe: Option<ProbeConfig>,
}

/// A request of the gateway's own, made again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeConfig {
    /// Below the base URL: begins with a slash, visible ASCII characters.
    pub path: String,
    /// At least a second.
    pub every: Duration,
}

/// Longer ones are mistakes: nobody waits so long for a target that may be back.
const LONGEST: Duration = Duration::from_secs(3600);

impl Health {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> HealthConfig {
        let default = Settings::default();
        let rate = self.rate.and_then(|rate| {
            cx.parse(&rate, |rate| {
                let valid = (0.0..=1.0).contains(rate);
                valid.then_some(*rate).ok_or_else(|| "a share is a number from 0 to 1".to_owned())
            })
        });
        let min_requests = self.min_requests.and_then(|count| {
            cx.parse(&count, |count| match count {
                0 => Err("a share is taken of at least one attempt".to_owned()),
                count => Ok(*count),
            })
        });
        let cooldown = bounded(self.cooldown.as_ref(), Duration::ZERO, cx).unwrap_or(default.cooldown);
        let max_cooldown = bounded(self.max_cooldown.as_ref(), Duration::ZERO, cx);
        if let (Some(longest), Some(text)) = (max_cooldown, &self.max_cooldown)
            && longest < cooldown
        {
            let message = "`max_cooldown` is shorter than `cooldown`";
            cx.report.error(text.span.clone(), message, format!("the first cool-down is {cooldown:?}"));
        }
        HealthConfig {
            settings: Settings {
                failures: self.failures.unwrap_or(default.failures),
                rate: rate.unwrap_or(default.rate),
                window: bounded(self.window.as_ref(), Duration::from_secs(1), cx).unwrap_or(default.window),
                min_requests: min_requests.unwrap_or(default.min_requests),
                cooldown,
                max_cooldown: max_cooldown.unwrap_or(default.max_cooldown.max(cooldown)),
            },
            probe: self.probe.map(|probe| probe.resolve(cx)),
        }
    }
}

impl Probe {
    fn resolve(self, cx: &mut Context<'_>) -> ProbeConfig {
        let path = self.path.and_then(|path| {
            cx.parse(&path, |path| {
                let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
                plain.then(|| path.clone()).ok_or_else(|| "a path begins with `/` and has no blanks".to_owned())
            })
        });
        ProbeConfig {
            path: path.unwrap_or_else(|| "/models".to_owned()),
            every: bounded(self.every.as_ref(), Duration::from_secs(1), cx).unwrap_or(Duration::from_secs(30)),
        }
    }
}

fn bounded(text: Option<&At<DurationText>>, least: Duration, cx: &mut Context<'_>) -> Option<Duration> {
    let value = cx.duration(text)?;
    if (least..=LONGEST).contains(&value) {
        return Some(value);
    }
    let (problem, span) = (if value < least { "at least a second" } else { "at most an hour" }, text?.span.clone());
    cx.report.error(span, format!("this must be {problem}"), None);
    None
}
