//! The system's resolver: `/etc/hosts` and the name servers of `/etc/resolv.conf`, asked by hickory.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Found;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use log::warn;

use super::{Answer, DnsError, Lookup, MAX_TTL};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// When one family has answered, the other gets this much longer (RFC 8305 §3 calls it the resolution delay).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Asks the hosts file and the name servers of the system. Their files are read with the first lookup, and again when
/// they have changed: a machine may get its name server only after the gateway has started.
#[derive(Default)]
pub struct SystemLookup {
    configured: ArcSwapOption<Configured>,
}

struct Configured {
    stamp: Stamp,
    resolver: TokioResolver,
}

/// When the two files were changed; `None` for a file that is not there.
type Stamp = [Option<SystemTime>; 2];

impl SystemLookup {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self::default()
    }

    async fn configured(&self) -> Result<Arc<Configured>, DnsError> {
        let current = self.configured.load_full();
        let read = tokio::task::spawn_blocking(move || {
            let stamp = [RESOLV_CONF, HOSTS].map(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
            match current {
                Some(current) if current.stamp == stamp => Ok(current),
                _ => configure(stamp, read_system_conf()).map(Arc::new),
            }
        });
        let configured = read.await.map_err(|error| DnsError::Failed(error.to_string().into()))??;
        self.configured.store(Some(configured.clone()));
        Ok(configured)
    }
}

/// A system without a usable configuration is no error: its hosts file still counts.
fn configure(stamp: Stamp, system: Result<(ResolverConfig, ResolverOpts), NetError>) -> Result<Configured, DnsError> {
    let (config, mut options) = system.unwrap_or_else(|error| {
        warn!("no name server in {RESOLV_CONF} ({error}), asking this machine");
        let here = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        (ResolverConfig::from_parts(None, Vec::new(), vec![here]), ResolverOpts::default())
    });
    // The cache above this knows better when to ask again, after failures in particular.
    options.cache_size = 0;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    Ok(Configured { stamp, resolver: builder.build().map_err(failed)? })
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> Result<Answer, DnsError> {
        // RFC 6761 §6.3: these names never leave the machine.
        let name = host.strip_suffix('.').unwrap_or(host);
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(Answer {
                addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
                ttl: MAX_TTL,
            });
        }
        let configured = self.configured().await?;
        let resolver = &configured.resolver;
        let mut v4 = std::pin::pin!(resolver.ipv4_lookup(host));
        let mut v6 = std::pin::pin!(resolver.ipv6_lookup(host));
        tokio::select! {
            first = &mut v4 => join(first, v6).await,
            first = &mut v6 => join(first, v4).await,
        }
    }
}

/// Both families; of the second only what comes soon, if the first has addresses.
async fn join(
    first: Result<Found, NetError>,
    second: impl Future<Output = Result<Found, NetError>>,
) -> Result<Answer, DnsError> {
    match first.map(answer) {
        Ok(mut found) if !found.addresses.is_empty() => {
            if let Ok(Ok(second)) = tokio::time::timeout(RESOLUTION_DELAY, second).await {
                let second = answer(second);
                if !second.addresses.is_empty() {
                    found.ttl = found.ttl.min(second.ttl);
                    found.addresses.extend(second.addresses);
                }
            }
            Ok(found)
        }
        Ok(_) => second.await.map(answer).map_err(failed),
        Err(error) => second.await.map(answer).map_err(|_| failed(error)),
    }
}

fn answer(found: Found) -> Answer {
    Answer {
        addresses: found.answers().iter().filter_map(|record| record.data.ip_addr()).collect(),
        ttl: found.valid_until().saturating_duration_since(Instant::now()),
    }
}

fn failed(error: NetError) -> DnsError {
    match error {
        NetError::Timeout => DnsError::Timeout,
        error if error.is_no_records_found() => DnsError::NotFound,
        error => DnsError::Failed(error.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{NetError, configure};

    #[tokio::test]
    async fn a_machine_without_name_servers_can_be_configured() {
        assert!(configure([None, None], Err(NetError::NoConnections)).is_ok());
    }
}
