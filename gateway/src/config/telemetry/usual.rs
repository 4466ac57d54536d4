//! OpenTelemetry's usual variables: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>,
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::{Host, Url};

use super::{ALL, CollectorConfig, Protocol, Signal, TIMEOUT};
use crate::config::{CaConfig, Environment, base_url};

/// What they say.
#[derive(Default)]
pub(super) struct Usual {
    off: bool,
    endpoint: Option<Url>,
    traces: OfSignal,
    metrics: OfSignal,
    headers: Vec<(HeaderName, HeaderValue)>,
    ca: Option<CaConfig>,
    timeout: Option<Duration>,
    pub(super) protocol: Option<Protocol>,
    pub(super) resource: BTreeMap<String, String>,
    pub(super) sample: Option<u32>,
    pub(super) follow: bool,
    pub(super) every: Option<Duration>,
}

/// What they say of one signal.
#[derive(Default)]
struct OfSignal {
    endpoint: Option<Url>,
    exported: Option<bool>,
}

/// Reads variables; what cannot be used is passed over and named in `skipped`, without its value.
struct Reader<'a> {
    env: &'a dyn Environment,
    skipped: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn of<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match parse(self.env.var(name)?.trim()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.skipped.push(format!("`{name}` cannot be used: {message}"));
                None
            }
        }
    }

    fn of_signal(&mut self, endpoint: &str, exporter: &str) -> OfSignal {
        let exported = |text: &str| Ok(text.split(',').any(|name| name.trim() == "otlp"));
        OfSignal { endpoint: self.of(endpoint, base_url::parse), exported: self.of(exporter, exported) }
    }
}

impl Usual {
    /// Reads them. What cannot be used is passed over and named in `skipped`.
    pub(super) fn of(env: &dyn Environment, skipped: &mut Vec<String>) -> Self {
        let mut read = Reader { env, skipped };
        let resource = read.of("OTEL_RESOURCE_ATTRIBUTES", pairs).unwrap_or_default();
        let mut resource: BTreeMap<_, _> = resource.into_iter().collect();
        let service = env.var("OTEL_SERVICE_NAME");
        let service = service.or_else(|| resource.get("service.name").cloned()).unwrap_or("ai-gateway".to_owned());
        resource.insert("service.name".to_owned(), service);
        let sampler = sampler(&mut read);
        Self {
            off: read.of("OTEL_SDK_DISABLED", |text| Ok(text.eq_ignore_ascii_case("true"))).unwrap_or(false),
            endpoint: read.of("OTEL_EXPORTER_OTLP_ENDPOINT", base_url::parse),
            traces: read.of_signal("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"),
            metrics: read.of_signal("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_METRICS_EXPORTER"),
            headers: read.of("OTEL_EXPORTER_OTLP_HEADERS", headers).unwrap_or_default(),
            ca: read.of("OTEL_EXPORTER_OTLP_CERTIFICATE", |path| certificates(path, env)),
            timeout: read.of("OTEL_EXPORTER_OTLP_TIMEOUT", millis),
            protocol: read.of("OTEL_EXPORTER_OTLP_PROTOCOL", |text| match text {
                "grpc" => Ok(Protocol::Grpc),
                "http/protobuf" => Ok(Protocol::Http),
                _ => Err("there are grpc and http/protobuf".to_owned()),
            }),
            every: read.of("OTEL_METRIC_EXPORT_INTERVAL", millis),
            sample: sampler.map(|(_, share)| share),
            follow: sampler.is_none_or(|(follow, _)| follow),
            resource,
        }
    }

    /// Whether they alone turn a signal on.
    pub(super) fn turns_on(&self, signal: Signal) -> bool {
        let of_signal = self.of_signal(signal);
        let named = self.endpoint.is_some() || of_signal.endpoint.is_some();
        !self.off && of_signal.exported.unwrap_or(named)
    }

    fn of_signal(&self, signal: Signal) -> &OfSignal {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
        }
    }

    /// The collector of `signal`. `base`: what the file says instead of them.
    pub(super) fn collector(&self, signal: Signal, base: Option<&Url>, protocol: Protocol) -> CollectorConfig {
        // The endpoint of one signal is its whole URL.
        let (url, whole) = match &self.of_signal(signal).endpoint {
            Some(own) if base.is_none() => (Some(own), true),
            _ => (base.or(self.endpoint.as_ref()), false),
        };
        let base_path = url.map_or("", |url| url.path().trim_end_matches('/'));
        let path = match (protocol, signal) {
            (Protocol::Http, _) if whole => base_path.to_owned(),
            (Protocol::Http, Signal::Traces) => format!("{base_path}/v1/traces"),
            (Protocol::Http, Signal::Metrics) => format!("{base_path}/v1/metrics"),
            (Protocol::Grpc, Signal::Traces) => {
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export".to_owned()
            }
            (Protocol::Grpc, Signal::Metrics) => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export".to_owned()
            }
        };
        let usual_port = if protocol == Protocol::Grpc { 4317 } else { 4318 };
        CollectorConfig {
            tls: url.is_some_and(|url| url.scheme() == "https"),
            host: match url.and_then(Url::host) {
                Some(Host::Ipv6(ip)) => ip.to_string(),
                Some(host) => host.to_string(),
                None => "127.0.0.1".to_owned(),
            },
            port: url.and_then(Url::port_or_known_default).unwrap_or(usual_port),
            path: if path.is_empty() { "/".to_owned() } else { path },
            protocol,
            headers: self.headers.clone(),
            ca: self.ca.clone(),
            timeout: self.timeout.unwrap_or(TIMEOUT),
        }
    }
}

/// Whether a client's context decides for its own traces, and the share of the others.
fn sampler(read: &mut Reader<'_>) -> Option<(bool, u32)> {
    let ratio = read.of("OTEL_TRACES_SAMPLER_ARG", |text| match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it is a number from 0 to 1".to_owned()),
    });
    read.of("OTEL_TRACES_SAMPLER", |text| {
        let (follow, own) = match text.strip_prefix("parentbased_") {
            Some(own) => (true, own),
            None => (false, text),
        };
        let share = match own {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio.unwrap_or(1.0),
            _ => return Err("there are always_on, always_off and traceidratio, also with parentbased_".to_owned()),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most ten thousand")]
        Ok((follow, (share * f64::from(ALL)).round() as u32))
    })
}

/// `name=value,name=value`, percent-encoded.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        // A plus is a plus there.
        let pair = pair.trim().replace('+', "%2B");
        let decoded = url::form_urlencoded::parse(pair.as_bytes()).next().filter(|_| pair.contains('='));
        let (name, value) = decoded.ok_or("write name=value, with commas between")?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(name, value): (String, String)| {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not the name of a header")?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| "a value holds a control character")?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    pairs(text)?.into_iter().map(header).collect()
}

fn millis(text: &str) -> Result<Duration, String> {
    let millis = text.parse::<u64>().ok().filter(|millis| *millis > 0);
    millis.map(Duration::from_millis).ok_or_else(|| "it is a number of milliseconds".to_owned())
}

fn certificates(path: &str, env: &dyn Environment) -> Result<CaConfig, String> {
    let pem = env.read(Path::new(path)).map_err(|error| error.to_string())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(CaConfig {
            path: path.into(),
            certificates: chain.into_iter().map(|certificate| certificate.to_vec()).collect(),
        }),
        _ => Err("the file holds no PEM certificate".to_owned()),
    }
}
