//! Where the store is: one Redis, one behind Sentinels, or a cluster.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisError, RedisFuture,
    RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::sync::Mutex;

use super::PATIENCE;
use crate::config::RedisConfig;

/// What a URL names.
pub(crate) enum Server {
    One(Box<Client>),
    /// The master that the Sentinels name when they are asked.
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// A connection; its clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What is wrong, in words that quote no URL: of most errors only their kind.
pub(crate) fn why(error: &RedisError) -> String {
    if error.is_io_error() { error.to_string() } else { error.category().to_owned() }
}

impl Server {
    /// Reads `redis://HOST:PORT/DB`, `redis-sentinel://HOST:PORT,HOST:PORT/MASTER/DB` or `redis-cluster://HOST:PORT,HOST:PORT`,
    /// with `USER:PASSWORD@` before the hosts (the password of the Redis; that of its Sentinels stands beside it), and `rediss` for TLS.
    pub(crate) fn new(config: &RedisConfig) -> RedisResult<Self> {
        let url = config.url.expose();
        let certificates = config.ca.clone().map(|ca| TlsCertificates { client_tls: None, root_cert: Some(ca) });
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let Some((plain, kind)) = scheme.split_once('-') else {
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(url, certificates),
                None => Client::open(url),
            };
            return Ok(Self::One(Box::new(client?)));
        };
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let at = if user.is_empty() { "" } else { "@" };
        let nodes = |user: &str, at: &str, db: &str| {
            let one = |host: &str| format!("{plain}://{user}{at}{host}{db}").into_connection_info();
            hosts.split(',').map(one).collect::<RedisResult<Vec<ConnectionInfo>>>()
        };
        match kind {
            "sentinel" => {
                let (master, db) =
                    path.split_once('/').map_or((path, String::new()), |(master, db)| (master, format!("/{db}")));
                if master.is_empty() {
                    return Err((redis::ErrorKind::InvalidClientConfig, "no master is named").into());
                }
                let sentinels = nodes("", "", "")?.into_iter().map(|node| node.addr().clone());
                let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?;
                if let Some(settings) = nodes(user, at, &db)?.first().map(ConnectionInfo::redis_settings) {
                    builder = builder.set_client_to_redis_db(settings.db());
                    builder = match settings.username() {
                        Some(name) => builder.set_client_to_redis_username(name),
                        None => builder,
                    };
                    builder = match settings.password() {
                        Some(password) => builder.set_client_to_redis_password(password),
                        None => builder,
                    };
                }
                if let Some(name) = &config.sentinel_user {
                    builder = builder.set_client_to_sentinel_username(name);
                }
                if let Some(password) = &config.sentinel_password {
                    builder = builder.set_client_to_sentinel_password(password.expose());
                }
                if plain == "rediss" {
                    builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                if let Some(certificates) = certificates {
                    builder = builder.set_client_to_sentinel_certificates(certificates.clone());
                    builder = builder.set_client_to_redis_certificates(certificates);
                }
                Ok(Self::Sentinel(Box::new(Mutex::new(builder.build()?))))
            }
            "cluster" => {
                let mut builder = ClusterClient::builder(nodes(user, at, "")?)
                    .connection_timeout(PATIENCE)
                    .response_timeout(PATIENCE)
                    .retries(0);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Ok(Self::Cluster(Box::new(builder.build()?)))
            }
            _ => Err((redis::ErrorKind::InvalidClientConfig, "no such scheme").into()),
        }
    }

    pub(crate) async fn connect(&self) -> RedisResult<Connection> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        match self {
            Self::One(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
            }
            Self::Sentinel(client) => {
                client.lock().await.get_async_connection_with_config(&config).await.map(Connection::One)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |url: &str| Server::new(&RedisConfig::new(url, PATIENCE));
        for good in [
            "redis://127.0.0.1",
            "redis://:pw@127.0.0.1:6379/2",
            "redis://user:p%40w@host",
            "rediss://host:6380",
            "redis-sentinel://a:26379,b:26379/main",
            "rediss-sentinel://user:pw@a,b,c/main/3",
            "redis-cluster://a:6379,b:6379",
            "rediss-cluster://:pw@a",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://a",
            "redis://",
            "redis-sentinel://a:26379",
            "redis-moon://a",
            "redis-cluster://",
            "127.0.0.1:6379",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
