//! Running the mock: as a service of a Pingora server, or as a process of its own.

use std::path::Path;
use std::{fs, io};

use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;

use super::Mock;
use crate::net::prebound::{Prebound, PreboundService};
use crate::paths;
use crate::stderr::say;

/// The certificate chain and the private key of a TLS listener: paths of PEM files.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// How `ai-gateway mock` listens.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address, for instance `127.0.0.1:8081`; port 0 takes a free one.
    pub listen: String,
    /// Worker threads.
    pub threads: usize,
    /// TLS with HTTP/2 by ALPN; plain TCP with HTTP/2 by prior knowledge otherwise.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Options { listen: "127.0.0.1:0".into(), threads: 1, tls: None }
    }
}

/// The mock as a service on a socket that is already bound: give it to `Server::add_service`.
///
/// # Errors
/// A certificate or key cannot be read.
pub fn service(socket: Prebound, tls: Option<&Tls>) -> io::Result<PreboundService<Service<Mock>>> {
    let mut service = Service::new("mock".to_owned(), Mock::default());
    match tls {
        None => service.add_tcp(socket.key()),
        Some(tls) => service.add_tls_with_settings(socket.key(), None, settings(tls)?),
    }
    Ok(PreboundService::new(service, vec![socket]))
}

/// Pingora panics over a file that it cannot read, so they are read here first.
fn settings(tls: &Tls) -> io::Result<TlsSettings> {
    for (option, path) in [("--tls-cert", &tls.cert), ("--tls-key", &tls.key)] {
        let path = Path::new(path);
        fs::read(path).map_err(paths::error(option, path))?;
    }
    match pingora_rustls::load_certs_and_key_files(&tls.cert, &tls.key) {
        Ok(Some(_)) => {}
        Ok(None) => {
            return Err(io::Error::other(format!("{:?} or {:?} holds no certificate or key", tls.cert, tls.key)));
        }
        Err(e) => return Err(io::Error::other(format!("cannot read {:?} and {:?}: {e}", tls.cert, tls.key))),
    }
    let mut settings = TlsSettings::intermediate(&tls.cert, &tls.key).map_err(io::Error::other)?;
    settings.enable_h2();
    Ok(settings)
}

/// Serves until the process gets SIGTERM or SIGINT. Prints `mock listening on http://ADDRESS` to stderr when ready.
///
/// # Errors
/// The address cannot be listened on, or the TLS files cannot be read.
pub fn serve(options: &Options) -> io::Result<()> {
    let socket = Prebound::bind(&options.listen)?;
    let addr = socket.local_addr();
    let mut service = service(socket, options.tls.as_ref())?;
    service.inner_mut().threads = Some(options.threads.max(1));
    let conf = ServerConf {
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    server.add_service(service);
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    say(format_args!("mock listening on {scheme}://{addr}"));
    server.run(pingora_core::server::RunArgs::default());
    Ok(())
}

/// The table of behaviours as text, for `ai-gateway mock --help`.
#[must_use]
pub fn help() -> String {
    let width = super::BEHAVIOURS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::from("Behaviours, chosen by the model name (join several with `+`):\n");
    for (name, meaning) in super::BEHAVIOURS {
        text.push_str(&format!("  {name:width$}  {meaning}\n"));
    }
    text
}
