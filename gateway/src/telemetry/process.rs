//! `process_*`: what the operating system says of this process, read when somebody asks, under the names of Prometheus' own
//! client libraries. <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// In which `/proc` counts time, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc` when asked.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let help = "Processor time used";
            let counter = ConstCounter::new(seconds);
            let family = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), counter.metric_type())?;
            counter.encode(family)?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name| field(&status, name).map(|kib| kib * 1024.0);
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(|all| all.count());
        #[expect(clippy::cast_precision_loss, reason = "so many files are not open")]
        let descriptors = descriptors.map(|count| count as f64);
        for (name, help, unit, value) in [
            ("process_resident_memory", "Memory in use", Some(Unit::Bytes), bytes("VmRSS:")),
            ("process_virtual_memory", "Address space reserved", Some(Unit::Bytes), bytes("VmSize:")),
            ("process_open_fds", "File descriptors in use", None, descriptors),
            ("process_max_fds", "File descriptors allowed", None, max_descriptors()),
            ("process_threads", "Threads", None, field(&status, "Threads:")),
            ("process_start_time", "When it started, in Unix time", Some(Unit::Seconds), start_time(&stat)),
        ] {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
            }
        }
        Ok(())
    }
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// A field of `/proc/self/stat`, numbered as in its manual; the name in the second may hold anything.
fn of_stat(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((of_stat(stat, 14)? + of_stat(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str) -> Option<f64> {
    let system = fs::read_to_string("/proc/stat").ok()?;
    Some(field(&system, "btime ")? + of_stat(stat, 22)? / TICKS_PER_SECOND)
}

fn max_descriptors() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    field(&limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_hides_nothing() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4 9 0 0 0 150 50 0 0 20 0 9 0 12300 1 1";
        assert_eq!((cpu_seconds(stat), of_stat(stat, 22)), (Some(2.0), Some(12_300.0)));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(field("Name:\tx\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1_234.0));
    }

    #[test]
    fn this_process_has_figures() {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name}: {text}");
        }
    }
}
