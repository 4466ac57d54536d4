//! Where a running gateway is asked, by its file alone: also if the file has errors, which the gateway is asked about.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::secret::{self, Secret};
use super::server::{ServerConfig, parse_address};

/// The way to a running gateway's admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddress {
    /// Where it listens; `None`: nowhere.
    pub address: Option<SocketAddr>,
    /// The key that it asks for.
    pub key: Option<Secret>,
}

impl Default for AdminAddress {
    /// That of a gateway without a file.
    fn default() -> Self {
        Self { address: ServerConfig::default().admin, key: None }
    }
}

impl AdminAddress {
    /// What the file at `path` says of it. What cannot be understood counts as not said: whoever is asked tells more about it.
    ///
    /// # Errors
    /// The file cannot be read, or the key that it names cannot be had.
    pub fn of_file(path: &Path, env: &dyn Environment) -> io::Result<Self> {
        let told = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
        let bytes = env.read(path).map_err(|error| told(&error))?;
        let text = String::from_utf8_lossy(&bytes);
        let (root, _) = DeTable::parse_recoverable(&text);
        let server = root.get_ref().get("server").and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        });
        let said = |name: &str| match server?.get(name)?.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        };
        let mut found = Self::default();
        if let Some(text) = said("admin") {
            found.address = parse_address(text);
        }
        if let Some(text) = said("admin_key") {
            let dir = path.parent().unwrap_or(Path::new(""));
            found.key = Some(secret::fetch(text, dir, env).map_err(|error| told(&format!("admin_key: {error}")))?);
        }
        Ok(found)
    }
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
        assert_eq!(found.key.unwrap().expose(), "admin-key");
        assert_eq!(of("").unwrap(), AdminAddress::default());
        assert_eq!(of("[server]\nadmin = \"off\"").unwrap().address, None);
        assert_eq!(of("[server]\nadmin = \"localhost:7\"").unwrap().address, "127.0.0.1:7".parse().ok());
        assert!(of("[server]\nadmin_key = \"env:NONE\"").unwrap_err().to_string().contains("NONE"));
        assert!(AdminAddress::of_file(Path::new("none.toml"), &Fake::new()).is_err());
    }
}
