//! Secrets: how the file refers to them, and the type that holds one without ever showing it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;

/// Where systemd keeps the credentials of the packaged unit while it runs.
const OF_THE_UNIT: &str = "/run/credentials/ai-gateway.service";
/// What that unit has in its environment (`EnvironmentFile=`).
const ITS_ENVIRONMENT: &str = "/etc/ai-gateway/environment";

/// A secret. It is shown by nothing but [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Where a secret comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source<'a> {
    Env(&'a str),
    File(&'a str),
    Credential(&'a str),
    Literal,
}

impl<'a> Source<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        match text.split_once(':') {
            Some(("env", name)) => Self::Env(name),
            Some(("file", path)) => Self::File(path),
            Some(("credential", name)) => Self::Credential(name),
            _ => Self::Literal,
        }
    }
}

/// How a variable is referred to elsewhere: what stands before its name, and after it.
const ELSEWHERE: [(&str, &str); 8] = [
    ("${{", "}}"),
    ("${env:", "}"),
    ("${", "}"),
    ("$", ""),
    ("os.environ/", ""),
    ("env.", ""),
    ("ENV:", ""),
    ("Env:", ""),
];

/// The variable that `text` refers to in the way of another tool.
fn meant(text: &str) -> Option<&str> {
    ELSEWHERE.iter().find_map(|(before, after)| {
        let name = text.trim().strip_prefix(before)?.strip_suffix(after)?.trim();
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        // A password may begin with `$`.
        let is_name = |byte: u8| if *before == "$" { byte.is_ascii_uppercase() || byte == b'_' } else { is_word(byte) };
        (!name.is_empty() && name.bytes().all(is_name)).then_some(name)
    })
}

/// Whether `text` is a word and a reference after it, as in `Bearer env:NAME`.
fn is_embedded(text: &str) -> bool {
    text.trim().split_once(' ').is_some_and(|(_, after)| {
        let is_name = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic() || "_/.".contains(first));
        let refers = match Source::of(after) {
            Source::Env(name) | Source::File(name) | Source::Credential(name) => is_name(name),
            Source::Literal => meant(after).is_some(),
        };
        refers && !after.contains(' ')
    })
}

/// Whether `text` is a secret itself and no reference to one.
pub(super) fn is_literal(text: &str) -> bool {
    Source::of(text) == Source::Literal && !text.trim().is_empty()
}

/// Whether `text` is a URL that anybody may see: without user and password, and without parameters.
pub(super) fn is_open_url(text: &str) -> bool {
    text.contains("://") && !text.contains(['@', '?'])
}

/// What to do when the secret that `text` refers to cannot be fetched.
pub(super) fn help(text: &str) -> String {
    let help = match Source::of(text) {
        Source::Env(_) => "set it where the gateway starts, or write \"file:PATH\" or \"credential:NAME\"",
        Source::File(_) => "give a file with nothing but the secret, readable by the gateway's user",
        Source::Credential(_) => "name a credential of the unit's `LoadCredential=`",
        Source::Literal if is_embedded(text) => {
            "a reference is the whole value: write `api_key`, which adds `Bearer` itself, or have all of it in the variable"
        }
        Source::Literal => match meant(text) {
            Some(name) => return format!("did you mean \"env:{name}\"?"),
            None => "write \"env:NAME\", \"file:PATH\" or \"credential:NAME\"",
        },
    };
    help.to_owned()
}

/// Fetches the secret that `text` refers to. Relative paths start at `dir`.
///
/// # Errors
/// Which variable or file failed and why, never with any content.
pub(super) fn fetch(text: &str, dir: &Path, env: &dyn Environment) -> Result<Secret, String> {
    match Source::of(text) {
        Source::Literal if text.trim().is_empty() => Err("the secret is empty".into()),
        Source::Literal if meant(text).is_some() => Err("this is not how a reference is written here".into()),
        Source::Literal if is_embedded(text) => Err("a reference within a text is not followed".into()),
        Source::Literal => Ok(Secret::new(text)),
        Source::Env("") => Err("`env:` must be followed by the name of an environment variable".into()),
        Source::Env(name) => {
            let value = env.var(name).or_else(|| variable_of_the_unit(name, env));
            value.map(Secret::new).ok_or_else(|| format!("the environment variable `{name}` is not set"))
        }
        Source::File("") => Err("`file:` must be followed by a path".into()),
        Source::File(path) => read(&dir.join(path), env),
        Source::Credential(name) if name.is_empty() || name.contains('/') => {
            Err("`credential:` must be followed by the name of a systemd credential".into())
        }
        Source::Credential(name) => {
            let Some(root) = env.var("CREDENTIALS_DIRECTORY") else {
                // Commands that root types beside the unit.
                let path = Path::new(OF_THE_UNIT).join(name);
                return read(&path, env).map_err(|_| format!("the credential `{name}` cannot be read: `CREDENTIALS_DIRECTORY` is not set (systemd sets it for a unit with `LoadCredential=`)"));
            };
            read(&PathBuf::from(root).join(name), env)
        }
    }
}

/// The variable as commands find it that root types beside the unit, and nobody else may read.
fn variable_of_the_unit(name: &str, env: &dyn Environment) -> Option<String> {
    let text = String::from_utf8(env.read(Path::new(ITS_ENVIRONMENT)).ok()?).ok()?;
    let value = |line: &str| line.trim().strip_prefix(name)?.strip_prefix('=').map(unquoted);
    // The last one counts.
    text.lines().filter_map(value).next_back().filter(|value| !value.is_empty())
}

/// A value of systemd's environment files without its quotes; of one that goes over lines only the first line.
fn unquoted(text: &str) -> String {
    let (mut value, mut quote) = (String::new(), None);
    let mut rest = text.trim().chars();
    while let Some(next) = rest.next() {
        match (quote, next) {
            (None, '\'' | '"') => quote = Some(next),
            (Some(open), next) if open == next => quote = None,
            (None, '\\') => value.extend(rest.next()),
            (Some('"'), '\\') if rest.clone().next().is_some_and(|next| "\"\\`$".contains(next)) => {
                value.extend(rest.next());
            }
            (_, next) => value.push(next),
        }
    }
    value
}

fn read(path: &Path, env: &dyn Environment) -> Result<Secret, String> {
    let shown = path.display();
    let bytes = env.read(path).map_err(|error| format!("the file `{shown}` cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("the file `{shown}` is not UTF-8 text"))?;
    // Editors and `echo` end a file with a line break, which is no part of the secret.
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() { Err(format!("the file `{shown}` is empty")) } else { Ok(Secret::new(text)) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fake;
    use super::*;

    #[test]
    fn nothing_is_shown() {
        let secret = Secret::new("sk-123");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "… Secret(…) Some(Secret(…))");
        assert_eq!(secret.expose(), "sk-123");
    }

    #[test]
    fn sources() {
        let env = Fake::new()
            .with_var("A", "one")
            .with_var("CREDENTIALS_DIRECTORY", "/run/credentials/x")
            .with_file("dir/key", "two\n")
            .with_file("/abs", "three\r\n")
            .with_file("/run/credentials/x/c", "four")
            .with_file("/empty", "\n")
            .with_file(
                ITS_ENVIRONMENT,
                "# A=no\nA=other\nU=old\nU=plain\n Q='it''s $5' \nD=\"a\\\"b\\\\c\\d\"\nE=\nUU=x\n",
            );
        let get = |text: &str| fetch(text, Path::new("dir"), &env).map(|secret| secret.expose().to_owned());
        assert_eq!(get("env:A").as_deref(), Ok("one"));
        assert_eq!(get("file:key").as_deref(), Ok("two"));
        assert_eq!(get("file:/abs").as_deref(), Ok("three"));
        assert_eq!(get("credential:c").as_deref(), Ok("four"));
        // Of the unit, for commands beside it.
        assert_eq!(get("env:U").as_deref(), Ok("plain"));
        assert_eq!(get("env:Q").as_deref(), Ok("its $5"));
        assert_eq!(get("env:D").as_deref(), Ok("a\"b\\c\\d"));
        for literal in
            ["sk-literal", "$ecret", "$5", "pass env:A word", "see file: yes", "Bearer sk-literal", "env.a-b"]
        {
            assert_eq!(get(literal).as_deref(), Ok(literal));
        }
        for bad in [
            "",
            "env:",
            "env:B",
            "env:E",
            "file:",
            "file:/none",
            "file:/empty",
            "credential:",
            "credential:../x",
            "credential:d",
            "${A}",
            "${env:A}",
            "${{ A }}",
            "$OPENAI_API_KEY",
            "os.environ/A",
            "env.A",
            "ENV:A",
            "Bearer env:A",
            "Bearer ${A}",
            "Token file:/abs",
        ] {
            assert!(get(bad).is_err(), "{bad}");
        }
    }
}
