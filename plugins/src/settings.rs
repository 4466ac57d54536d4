//! A plugin's settings: its table in the configuration, without the keys that are the gateway's.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is written under a `[[plugins]]` entry beside `use`, `name`, `when`, `on_error` and `timeout`.
pub struct Settings<'a> {
    table: Spanned<DeValue<'a>>,
    host: &'a dyn SettingsHost,
    timeout: Duration,
}

/// How settings reach what is outside of the file.
pub trait SettingsHost {
    /// The secret that a text stands for: `env:NAME`, `file:PATH`, `credential:NAME`, or the text itself.
    ///
    /// # Errors
    /// Why there is none. Never quotes the secret.
    fn secret(&self, text: &str) -> Result<String, String>;

    /// The content of a file. Relative paths start at the configuration's own folder.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn file(&self, path: &str) -> Result<Vec<u8>, String>;

    /// Where a path of the file points.
    fn path(&self, path: &str) -> PathBuf;

    /// The same of a file that is written, which is to be asked for before anything runs.
    fn output(&self, path: &str) -> PathBuf {
        self.path(path)
    }

    /// Whether [`Host::ask`](crate::Host::ask) knows a model of this name.
    ///
    /// # Errors
    /// It does not.
    fn model(&self, name: &str) -> Result<(), SettingsError> {
        let _ = name;
        Ok(())
    }
}

impl<'a> Settings<'a> {
    /// Those of `table`, a table.
    #[must_use]
    pub fn new(table: Spanned<DeValue<'a>>, host: &'a dyn SettingsHost) -> Self {
        Self { table, host, timeout: Duration::from_secs(5) }
    }

    /// With the `timeout` of the entry.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The longest that a call of a hook may take. The gateway sees to it in hooks that wait; one that does not wait can only be
    /// found too slow when it is done.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// For tests: settings written as TOML, with nothing outside. A text that is no TOML has no settings.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let table = DeTable::parse(text).map(Spanned::into_inner).unwrap_or_default();
        Self::new(Spanned::new(0..text.len(), DeValue::Table(table)), &Nothing)
    }

    /// Reads them as a `T`, which says `#[serde(deny_unknown_fields)]`. A field of type `toml::Spanned<_>` knows where it stands,
    /// for [`SettingsError::at`].
    ///
    /// # Errors
    /// What does not fit, at its place.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        T::deserialize(self.table.clone().into_deserializer()).map_err(|error| SettingsError {
            span: error.span(),
            message: error.message().to_owned(),
            help: None,
        })
    }

    /// The secret that `text` stands for, wherever it is kept.
    ///
    /// # Errors
    /// There is none.
    pub fn secret(&self, text: &Spanned<String>) -> Result<String, SettingsError> {
        self.host.secret(text.get_ref()).map_err(|message| SettingsError::at(text, message))
    }

    /// The content of the file at `path`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn file(&self, path: &Spanned<String>) -> Result<Vec<u8>, SettingsError> {
        self.host.file(path.get_ref()).map_err(|message| SettingsError::at(path, message))
    }

    /// The name of a model that [`Host::ask`](crate::Host::ask) knows.
    ///
    /// # Errors
    /// There is none.
    pub fn model(&self, name: &Spanned<String>) -> Result<String, SettingsError> {
        let known = self.host.model(name.get_ref());
        known.map(|()| name.get_ref().clone()).map_err(|error| SettingsError { span: Some(name.span()), ..error })
    }

    /// Headers whose values may be secrets, in the place of `content-type` too, where it is among them.
    pub(crate) fn headers(
        &self,
        headers: Option<&Spanned<BTreeMap<String, String>>>,
        content_type: &'static str,
    ) -> Result<HeaderMap, SettingsError> {
        let mut read = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let Some(headers) = headers else { return Ok(read) };
        for (name, value) in headers.get_ref() {
            let value = self.secret(&Spanned::new(headers.span(), value.clone()))?;
            let bad = || SettingsError::at(headers, format!("`{name}` is no header"));
            let name = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
            read.insert(name, HeaderValue::try_from(value).map_err(|_| bad())?);
        }
        Ok(read)
    }

    /// Where a path in the settings points: relative ones start at the configuration's folder.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.host.path(path)
    }

    /// The same of a file that the plugin writes: a configuration whose file cannot be written, or made, is refused.
    #[must_use]
    pub fn output(&self, path: &str) -> PathBuf {
        self.host.output(path)
    }
}

impl fmt::Debug for Settings<'_> {
    /// Not the values: one may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

/// Reads a size of the file, as `"512KiB"`, `"32MiB"` or `"1GB"`, in bytes; zero is refused.
///
/// # Errors
/// What is wrong, for a person.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let bad = || format!("`{text}` is not a size: write a number and a unit, as in \"512KiB\", \"32MiB\", \"1GiB\"");
    let value: bytesize::ByteSize = text.trim().parse().map_err(|_| bad())?;
    match usize::try_from(value.as_u64()) {
        Ok(0) => Err("a size must be more than zero".into()),
        Ok(value) => Ok(value),
        Err(_) => Err(bad()),
    }
}

/// A setting that is a size in bytes: a text as [`parse_size`] reads it, or a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"512KiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                let size = usize::try_from(bytes).map(Size);
                size.map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The setting `name`, a size from one byte to `most`.
pub(crate) fn bytes(
    name: &str,
    size: Option<&Spanned<Size>>,
    default: usize,
    most: usize,
) -> Result<usize, SettingsError> {
    let Some(size) = size else { return Ok(default) };
    match size.get_ref().0 {
        0 => Err(SettingsError::at(size, format!("`{name}` must be more than zero"))),
        bytes if bytes > most => Err(SettingsError::at(size, format!("`{name}` is at most {}KiB", most >> 10))),
        bytes => Ok(bytes),
    }
}

/// A URL with a scheme and a host.
pub(crate) fn url(url: &Spanned<String>) -> Result<http::Uri, SettingsError> {
    let read = http::Uri::try_from(url.get_ref().as_str()).ok();
    let fits = |url: &http::Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    read.filter(fits).ok_or_else(|| SettingsError::at(url, "this is no URL").help("\"https://host/path\""))
}

/// The names, each of which has to be one of those that are known.
pub(crate) fn one_of(names: &[Spanned<String>], known: &[&str]) -> Result<Vec<String>, SettingsError> {
    let check = |name: &Spanned<String>| match known.contains(&name.get_ref().as_str()) {
        true => Ok(name.get_ref().clone()),
        false => Err(SettingsError::at(name, "not known here").help(format!("one of {}", known.join(", ")))),
    };
    names.iter().map(check).collect()
}

/// What is wrong with a plugin's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// Where it stands in the file; `None`: the whole entry.
    pub span: Option<Range<usize>>,
    /// What is wrong. Never a value that could be a secret.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl SettingsError {
    /// Of the whole entry.
    pub fn new(message: impl Into<String>) -> Self {
        Self { span: None, message: message.into(), help: None }
    }

    /// Of one value.
    pub fn at<T>(value: &Spanned<T>, message: impl Into<String>) -> Self {
        Self { span: Some(value.span()), message: message.into(), help: None }
    }

    /// Says what would be right.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SettingsError {}

struct Nothing;

impl SettingsHost for Nothing {
    fn secret(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn file(&self, _: &str) -> Result<Vec<u8>, String> {
        Err("there are no files here".to_owned())
    }

    fn path(&self, path: &str) -> PathBuf {
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("32MiB", 32 << 20), ("1 GiB", 1 << 30), ("1GB", 1_000_000_000), ("10", 10)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "1 potato", "-1MiB", "0", "1e3"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_may_say_what_the_body_is() {
        let read = |text: &str| {
            let headers = toml::from_str::<BTreeMap<String, Spanned<BTreeMap<String, String>>>>(text).unwrap();
            Settings::of("").headers(headers.get("headers"), "application/json")
        };
        let types = |headers: &HeaderMap| headers.get(CONTENT_TYPE).unwrap().to_str().unwrap().to_owned();
        assert_eq!(types(&read("").unwrap()), "application/json");
        let said = read("headers = { authorization = 'a', Content-Type = 'application/x-check' }").unwrap();
        assert_eq!((types(&said).as_str(), said.len()), ("application/x-check", 2));
        for bad in ["headers = { 'a b' = 'c' }", "headers = { a = \"b\\n\" }"] {
            let error = read(bad).unwrap_err();
            assert!(error.span.is_some() && error.message.ends_with("is no header"), "{bad}: {error:?}");
        }
    }
}
