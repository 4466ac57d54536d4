//! The listening sockets of the process: bound, or taken over from the process before.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::upgrade::Role;
use crate::config::ServerConfig;
use crate::net::prebound::Prebound;

/// A socket that listens, on its way from one process to the next.
#[derive(Debug)]
pub struct Listening {
    /// What it is for.
    pub role: Role,
    /// Its address as configured: with port 0 it is not the one in use.
    pub configured: String,
    /// Pingora's name of it.
    pub key: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// All sockets of a process, not yet given to services.
#[derive(Debug)]
pub struct Sockets {
    /// Where clients come; never empty.
    pub public: Vec<Prebound>,
    /// The admin listener.
    pub admin: Option<Prebound>,
    /// The same once more, for the process that takes over.
    pub kept: Vec<Listening>,
}

impl Sockets {
    /// Opens what `config` names. What is among `inherited` is not bound anew; what of those it does not name is closed.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub fn open(config: &ServerConfig, mut inherited: Vec<Listening>) -> io::Result<Self> {
        let mut kept = Vec::new();
        let port_of = |socket: &Listening| Some(socket.configured.parse::<SocketAddr>().ok()?.port());
        let ours: Vec<u16> = inherited.iter().filter_map(port_of).collect();
        let mut open = |role: Role, address: &SocketAddr| {
            let configured = address.to_string();
            let same = |socket: &Listening| socket.role == role && socket.configured == configured;
            let socket = match inherited.iter().position(same) {
                Some(found) => {
                    let found = inherited.remove(found);
                    Prebound::inherited(found.socket, found.key)?
                }
                None => Prebound::bind(&configured)
                    .map_err(|error| explained(role, *address, ours.contains(&address.port()), error))?,
            };
            let (key, duplicate) = (socket.key().to_owned(), socket.duplicate()?);
            kept.push(Listening { role, configured, key, socket: duplicate });
            Ok::<_, io::Error>(socket)
        };
        let public = config.listen.iter().map(|address| open(Role::Public, address)).collect::<io::Result<_>>()?;
        let admin = config.admin.as_ref().map(|address| open(Role::Admin, address)).transpose()?;
        Ok(Self { public, admin, kept })
    }
}

/// What can be done about an address that is taken. `is_ours`: the process before has another address of this port, and goes on
/// serving there until this one is ready.
fn explained(role: Role, address: SocketAddr, is_ours: bool, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return error;
    }
    let other = SocketAddr::new(address.ip(), address.port() ^ 1);
    let (key, setting) = match role {
        Role::Public => ("listen", format!("listen = [\"{other}\"]")),
        Role::Admin => ("admin", format!("admin = \"{other}\"")),
    };
    let advice = if is_ours {
        "the running gateway has this port itself, at another address: that takes a restart".to_owned()
    } else {
        format!(
            "is it another ai-gateway (`ai-gateway status`)? \
             Another port: `[server] {setting}` in a file, and `ai-gateway run FILE`"
        )
    };
    io::Error::new(error.kind(), format!("server.{key}: {error}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_an_address_taken_is_told_where_another_is_set() {
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let holder = std::net::TcpListener::bind(free).unwrap();
        let taken = holder.local_addr().unwrap();
        let error = |listen, admin| {
            let config = ServerConfig { listen: vec![listen], admin: Some(admin), ..ServerConfig::default() };
            Sockets::open(&config, Vec::new()).unwrap_err().to_string()
        };
        let other = format!("127.0.0.1:{}", taken.port() ^ 1);
        let public = error(taken, free);
        assert!(public.starts_with("server.listen: ") && public.contains("cannot be listened on"), "{public}");
        assert!(public.contains(&format!("`[server] listen = [\"{other}\"]` in a file")), "{public}");
        let admin = error(free, taken);
        assert!(admin.starts_with("server.admin: "), "{admin}");
        assert!(admin.contains(&format!("`[server] admin = \"{other}\"` in a file")), "{admin}");
        drop(holder);
    }

    #[test]
    fn who_follows_on_a_process_with_the_same_port_is_told_to_restart() {
        let listening = |listen: &str| ServerConfig {
            listen: vec![listen.parse().unwrap()],
            admin: None,
            ..ServerConfig::default()
        };
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let before = Listening {
            role: Role::Public,
            configured: format!("127.0.0.1:{port}"),
            key: "x".into(),
            socket: holder.try_clone().unwrap().into(),
        };
        let error = Sockets::open(&listening(&format!("0.0.0.0:{port}")), vec![before]).unwrap_err().to_string();
        assert!(error.starts_with("server.listen: ") && error.ends_with("that takes a restart"), "{error}");
    }

    #[test]
    fn what_was_bound_before_is_found_by_what_the_file_says() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = ServerConfig { listen: vec![any, any], admin: Some(any), ..ServerConfig::default() };
        let first = Sockets::open(&config, Vec::new()).unwrap();
        let addresses = |sockets: &Sockets| -> Vec<SocketAddr> {
            sockets.public.iter().chain(&sockets.admin).map(Prebound::local_addr).collect()
        };
        let before = addresses(&first);
        let second = Sockets::open(&config, first.kept).unwrap();
        assert_eq!(addresses(&second), before);

        // The public sockets stay open in `first`; a role does not become another.
        let fewer = ServerConfig { listen: vec![any], admin: None, ..config.clone() };
        let third = Sockets::open(&fewer, second.kept).unwrap();
        assert_eq!(third.public[0].local_addr(), before[0]);
        let alone = Sockets::open(&config, third.kept).unwrap();
        assert_eq!(alone.public[0].local_addr(), before[0]);
        assert!(!before.contains(&alone.public[1].local_addr()));
    }
}
