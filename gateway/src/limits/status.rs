//! What operators see of limits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Kind, Limits, MeterUsage, Refused, What};

/// Subjects of a kind that are shown in metrics; runtime keys may be many.
const MAX_SUBJECTS: usize = 1_000;
/// Where those are counted that are too many to be shown.
const OTHERS: &str = "_other";

/// A subject and its limits.
#[derive(Debug)]
pub struct SubjectStatus {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Box<str>,
    /// Its limits.
    pub limits: Vec<MeterUsage>,
}

/// How it stands with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether limits are counted there now.
    pub up: bool,
    /// Instances that counted there lately, this one included.
    pub instances: u64,
}

/// How many requests each limit has refused. Only refusals lock it.
#[derive(Debug, Default)]
pub(super) struct Rejections(Mutex<BTreeMap<Rejected, u64>>);

/// Whose limit it was, and of what.
type Rejected = (Kind, Box<str>, &'static str);

impl Limits {
    /// Counts a refusal that a client is told of.
    pub fn count_rejection(&self, refused: &Refused) {
        let key = (refused.subject.kind, refused.subject.name.clone(), refused.rule.what.as_str());
        let mut rejected = self.rejected.0.lock();
        let key = match rejected.len() < MAX_SUBJECTS || rejected.contains_key(&key) {
            true => key,
            false => (key.0, OTHERS.into(), key.2),
        };
        *rejected.entry(key).or_default() += 1;
    }

    /// All subjects with a limit in force, by kind and name.
    pub fn status(&self) -> Vec<SubjectStatus> {
        let now = self.now();
        let mut all: Vec<_> = self
            .all()
            .into_iter()
            .map(|subject| SubjectStatus { kind: subject.kind, name: subject.name.clone(), limits: subject.usage(now) })
            .filter(|status| !status.limits.is_empty())
            .collect();
        all.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        all
    }

    /// How it stands with the store; `None` without one.
    pub fn store(&self) -> Option<StoreStatus> {
        let shared = self.shared.get()?;
        Some(StoreStatus { up: shared.is_up(), instances: shared.instances() })
    }
}

/// Writes the metrics of limits when Prometheus asks.
#[derive(Debug)]
pub struct LimitsCollector(pub Arc<Limits>);

impl Collector for LimitsCollector {
    #[expect(clippy::cast_precision_loss, reason = "a metric is a floating number")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests refused by a limit or a budget";
        let mut family = encoder.encode_descriptor("gateway_limit_rejected", help, None, MetricType::Counter)?;
        for ((kind, name, what), count) in self.0.rejected.0.lock().iter() {
            let labels = [("subject", label(*kind, name)), ("kind", (*what).to_owned())];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let subjects = shown(self.0.status());
        let help = "Part of a budget that is used or reserved, by this instance";
        let mut family = encoder.encode_descriptor("gateway_budget_used_ratio", help, None, MetricType::Gauge)?;
        for subject in &subjects {
            for usage in subject.limits.iter().filter(|usage| usage.rule.what == What::Cost) {
                let labels = [("subject", label(subject.kind, &subject.name)), ("per", usage.rule.period.to_string())];
                ConstGauge::new(part_used(usage)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, what, unit) in [
            ("gateway_reserved_tokens", "Tokens that requests under way are expected to use", What::Tokens, 1.0),
            ("gateway_reserved_cost", "US dollars that requests under way are expected to cost", What::Cost, 1e12),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for subject in &subjects {
                let of_that = subject.limits.iter().filter(|usage| usage.rule.what == what);
                if let Some(reserved) = of_that.map(|usage| usage.reserved).max() {
                    let labels = [("subject", label(subject.kind, &subject.name))];
                    ConstGauge::new(reserved as f64 / unit).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Requests that wait for room instead of being refused";
        let gauge = encoder.encode_descriptor("gateway_limit_waiting", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.queues.len()).unwrap_or(i64::MAX)).encode(gauge)?;
        if let Some(store) = self.0.store() {
            let help = "Whether limits are counted in the store; else each instance keeps to its share";
            let gauge = encoder.encode_descriptor("gateway_store_up", help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::from(store.up)).encode(gauge)?;
            let help = "Instances that counted in the store lately";
            let gauge = encoder.encode_descriptor("gateway_store_instances", help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(store.instances).unwrap_or(i64::MAX)).encode(gauge)?;
        }
        Ok(())
    }
}

/// Of each kind so many as there is room for, those first that have used most of a limit.
fn shown(mut subjects: Vec<SubjectStatus>) -> Vec<SubjectStatus> {
    let most = |subject: &SubjectStatus| subject.limits.iter().map(part_used).fold(0.0, f64::max);
    subjects.sort_by(|a, b| a.kind.cmp(&b.kind).then_with(|| most(b).total_cmp(&most(a))));
    let (mut kind, mut count) = (None, 0);
    subjects.retain(|subject| {
        count = if kind.replace(subject.kind) == Some(subject.kind) { count + 1 } else { 1 };
        count <= MAX_SUBJECTS
    });
    subjects
}

/// Which part of a limit is used or reserved.
#[expect(clippy::cast_precision_loss, reason = "a metric is a floating number")]
fn part_used(usage: &MeterUsage) -> f64 {
    usage.booked.saturating_add(usage.reserved) as f64 / usage.rule.limit as f64
}

/// `key:support-bot`, `global`.
fn label(kind: Kind, name: &str) -> String {
    if name.is_empty() { kind.as_str().to_owned() } else { format!("{}:{name}", kind.as_str()) }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::super::{Amounts, Claim, Period, Rule};
    use super::*;

    /// A crowd of keys hides neither the budget of their team nor the key that has used the most, and every refusal is counted.
    #[tokio::test]
    async fn many_keys_hide_nobody() {
        let limits = Arc::new(Limits::new());
        let rule = |what, limit| Rule { what, period: Period::Day, limit, soft: limit };
        for key in 0..=MAX_SUBJECTS + 100 {
            limits.set(Kind::Key, &format!("key-{key:04}"), &[rule(What::Cost, 10), rule(What::Requests, 1)]);
        }
        limits.set(Kind::Team, "sales", &[rule(What::Cost, 10)]);
        let keys = || (0..=MAX_SUBJECTS + 100).map(|key| limits.find(Kind::Key, &format!("key-{key:04}")).unwrap());
        for key in keys() {
            let claim = Claim::request(Amounts::default());
            drop(limits.admit(vec![key.clone()], claim).await.unwrap());
            limits.count_rejection(&limits.admit(vec![key], claim).await.unwrap_err().refused);
        }
        limits.charge(keys().next_back().into_iter().collect(), Amounts { tokens: 0, cost: 20 });

        let mut registry = Registry::default();
        registry.register_collector(Box::new(LimitsCollector(limits)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for shown in ["team:sales", &format!("key:key-{:04}", MAX_SUBJECTS + 100)] {
            assert!(text.contains(&format!("gateway_budget_used_ratio{{subject=\"{shown}\"")), "{shown}");
        }
        assert_eq!(text.matches("gateway_budget_used_ratio{").count(), MAX_SUBJECTS + 1);
        let refused = text.lines().filter(|line| line.starts_with("gateway_limit_rejected_total{"));
        let refused: u64 = refused.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(refused, MAX_SUBJECTS as u64 + 101);
    }
}
