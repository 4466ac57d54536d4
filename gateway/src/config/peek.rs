//! What commands need of a file that they do not load: where a running gateway is asked, also if the file has errors, which it is
//! asked about; and where the ledger is, also for who has none of the file's secrets.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::ledger::LedgerConfig;
use super::secret::{self, Secret};
use super::server::{ServerConfig, parse_address};

/// The way to a running gateway's admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddress {
    /// Where it listens; `None`: nowhere.
    pub address: Option<SocketAddr>,
    /// The key that it asks for, or why the one that is named cannot be had.
    pub key: Option<Result<Secret, String>>,
}

impl Default for AdminAddress {
    /// That of a gateway without a file.
    fn default() -> Self {
        Self { address: ServerConfig::default().admin, key: None }
    }
}

impl AdminAddress {
    /// An address as `admin` of the file may be written: an IP address or `localhost`, and a port.
    pub fn parse(text: &str) -> Option<SocketAddr> {
        parse_address(text)
    }

    /// What the file at `path` says of it. What cannot be understood counts as not said: whoever is asked tells more about it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_file(path: &Path, env: &dyn Environment) -> io::Result<Self> {
        let [admin, key] = said(path, "server", ["admin", "admin_key"], env)?;
        let mut found = Self::default();
        if let Some(text) = admin {
            found.address = parse_address(&text);
        }
        if let Some(text) = key {
            let fetched = secret::fetch(&text, folder_of(path), env);
            found.key = Some(fetched.map_err(|error| format!("{}: admin_key: {error}", path.display())));
        }
        Ok(found)
    }
}

impl LedgerConfig {
    /// Where the file at `path` says that the ledger's database is; `None`: it names none that can be understood.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn path_in(path: &Path, env: &dyn Environment) -> io::Result<Option<PathBuf>> {
        let [said] = said(path, "ledger", ["path"], env)?;
        Ok(said.map(|said| folder_of(path).join(said)))
    }
}

/// The texts of these names in a section of the file at `path`.
fn said<const N: usize>(
    path: &Path,
    section: &str,
    names: [&str; N],
    env: &dyn Environment,
) -> io::Result<[Option<String>; N]> {
    let bytes = env.read(path).map_err(|error| told(path, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    let (root, _) = DeTable::parse_recoverable(&text);
    let section = root.get_ref().get(section).and_then(|value| match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    });
    Ok(names.map(|name| match section?.get(name)?.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    }))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn told(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fake;
    use super::*;

    fn of(text: &str) -> io::Result<AdminAddress> {
        let env = Fake::new().with_file("etc/a.toml", text).with_var("KEY", "admin-key");
        AdminAddress::of_file(Path::new("etc/a.toml"), &env)
    }

    #[test]
    fn a_file_with_errors_says_enough() {
        let found = of("[server]\nadmin = \"127.0.0.1:19\"\nadmin_key = \"env:KEY\"\nnonsense = [\n[x").unwrap();
        assert_eq!(found.address, "127.0.0.1:19".parse().ok());
        assert_eq!(found.key.unwrap().unwrap().expose(), "admin-key");
        assert_eq!(of("").unwrap(), AdminAddress::default());
        assert_eq!(of("[server]\nadmin = \"off\"").unwrap().address, None);
        assert_eq!(of("[server]\nadmin = \"localhost:7\"").unwrap().address, "127.0.0.1:7".parse().ok());
        let unknown = of("[server]\nadmin_key = \"env:NONE\"").unwrap();
        assert_eq!(unknown.address, AdminAddress::default().address);
        assert!(unknown.key.unwrap().unwrap_err().contains("NONE"));
        assert!(AdminAddress::of_file(Path::new("none.toml"), &Fake::new()).is_err());
    }

    #[test]
    fn the_ledger_is_found_without_secrets() {
        let path = |text: &str| {
            let env = Fake::new().with_file("etc/a.toml", text);
            LedgerConfig::path_in(Path::new("etc/a.toml"), &env).unwrap()
        };
        let secret = "[providers.a]\nkind = \"openai\"\napi_key = \"env:NONE\"\n";
        assert_eq!(path(&format!("{secret}[ledger]\npath = \"l.db\"")), Some("etc/l.db".into()));
        assert_eq!(path("[ledger]\npath = \"/var/l.db\"\n[x"), Some("/var/l.db".into()));
        assert_eq!((path(secret), path("[ledger]\npath = 1")), (None, None));
        assert!(LedgerConfig::path_in(Path::new("none.toml"), &Fake::new()).is_err());
    }
}
