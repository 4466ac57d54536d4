//! Secrets by their name: `password = "…"`, `API_KEY: …`, `Authorization: Bearer …`, `postgres://user:…@host`.

use std::ops::Range;

use crate::find::before;

/// Most bytes of a name.
const LONGEST_NAME: usize = 64;
/// Most bytes between a name and its value.
const LONGEST_BETWEEN: usize = 8;
/// Most bytes of the user in a URL.
const LONGEST_USER: usize = 64;
/// Most bytes of a value, and of what stands between it and its name.
const LONGEST_VALUE: usize = 512;

/// What names of secrets hold, in lower case and without `_`, `-`, `.`.
const TOKENS: &[&str] = &[
    "apikey",
    "apitoken",
    "accesskey",
    "accesstoken",
    "secretkey",
    "secret",
    "authtoken",
    "refreshtoken",
    "privatekey",
    "clientsecret",
    "encryptionkey",
    "signingkey",
    "accountkey",
    "bearer",
    "token",
];
/// The same of secrets that people think up.
const PASSWORDS: &[&str] =
    &["password", "passwd", "pwd", "passphrase", "passwort", "kennwort", "contraseña", "motdepasse"];

/// What is found behind a name.
pub(super) enum Assigned {
    /// A secret value.
    Value(Range<usize>),
    /// What follows decides.
    Open,
    /// Nothing.
    Not,
}

/// Where the name and the `://` may stand that make a secret of what begins at `from` or behind, in order: the last ones before it.
pub(super) fn signs_before(text: &str, from: usize) -> [Option<usize>; 2] {
    let head = text.as_bytes().get(..from).unwrap_or_default();
    let between = head.iter().rev().take(LONGEST_BETWEEN).take_while(|byte| is_between(**byte)).count();
    let length = head.iter().rev().skip(between).take(LONGEST_NAME).take_while(|byte| is_of_name(**byte)).count();
    let name = (length > 0).then(|| from - between - length);
    let near = from.saturating_sub("://:".len() + LONGEST_USER);
    let colons = memchr::memrchr_iter(b':', head.get(near..).unwrap_or_default()).map(|at| near + at);
    let url = colons.into_iter().find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with("://")));
    if url < name { [url, name] } else { [name, url] }
}

/// Where the name ends that begins at `here`; `None`: it is too long for one.
pub(super) fn name_end(text: &str, here: usize) -> Option<usize> {
    let bytes = text.as_bytes().get(here..).unwrap_or_default();
    let length = bytes.iter().take(LONGEST_NAME + 1).take_while(|byte| is_of_name(**byte)).count();
    (length <= LONGEST_NAME).then_some(here + length)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether a secret's name stands in `name`, and its value behind: after one of `:`, `=`, `:=`, `=>`, in quotes or not.
pub(super) fn read(text: &str, name: Range<usize>, end: bool) -> Assigned {
    let word = text.get(name.clone()).unwrap_or_default();
    let rest = text.get(name.end..).unwrap_or_default();
    let between = rest.bytes().take(LONGEST_BETWEEN).take_while(|byte| is_between(*byte)).count();
    let sign = rest.get(..between).unwrap_or_default();
    let assigns = sign.contains([':', '=']) || word.eq_ignore_ascii_case("bearer");
    let open = between == rest.len() && !end;
    if !assigns && !open {
        return Assigned::Not;
    }
    // "tokens", "max_tokens", "secretary" are none.
    let is_password = PASSWORDS.iter().any(|part| ends_like(word, part));
    if !is_password && !TOKENS.iter().any(|part| ends_like(word, part)) {
        return Assigned::Not;
    }
    let Some(value) = value(text, name.end + between, sign).filter(|_| assigns) else {
        return if open { Assigned::Open } else { Assigned::Not };
    };
    if value.end == text.len() && !end && value.len() <= LONGEST_VALUE {
        return Assigned::Open;
    }
    let said = text.get(value.clone()).unwrap_or_default();
    let fits = if is_password { is_password_like(said) } else { is_random(said) };
    if fits && !is_stand_in(said) { Assigned::Value(value) } else { Assigned::Not }
}

/// Whether a name ends with `part`, its case and whatever is no letter or digit aside.
fn ends_like(name: &str, part: &str) -> bool {
    let mut letters = name.chars().rev().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase);
    part.chars().rev().all(|char| letters.next() == Some(char))
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'"' | b'\'' | b'`' | b':' | b'=' | b'>' | b'\0')
}

/// The value that begins at `start`, behind `sign`.
fn value(text: &str, start: usize, sign: &str) -> Option<Range<usize>> {
    let quote = sign.chars().next_back().filter(|last| matches!(last, '"' | '\'' | '`' | '\0'));
    let rest = text.get(start..)?;
    let limit = rest.get(..rest.floor_char_boundary(LONGEST_VALUE + 4))?;
    let length = match quote {
        Some(quote) => limit.find([quote, '\n', '\0']),
        None => limit.find(|char: char| {
            char.is_whitespace()
                || matches!(char, '"' | '\'' | '`' | ',' | ';' | ')' | '}' | '\0' | '<')
                || (char == '&' && sign == "=")
        }),
    };
    let length = length.unwrap_or(limit.len());
    (length > 0).then_some(start..start + length)
}

/// At least 16 characters of keys, both letters and digits, and no pattern in them.
fn is_random(value: &str) -> bool {
    let plain = value.bytes().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b'~' | b':')
    });
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    plain && (16..=LONGEST_VALUE).contains(&value.len()) && digits >= 2 && letters >= 2 && entropy(value) >= 3.2
}

/// At least 8 characters of three sorts.
fn is_password_like(value: &str) -> bool {
    let sorts =
        [char::is_lowercase as fn(char) -> bool, char::is_uppercase, char::is_numeric, |char| !char.is_alphanumeric()];
    let present = sorts.iter().filter(|sort| value.chars().any(sort)).count();
    (8..=128).contains(&value.len()) && present >= 3 && !value.contains(char::is_whitespace)
}

/// What stands for a secret: references, variables, calls, placeholders, examples.
fn is_stand_in(value: &str) -> bool {
    let lower = value.to_lowercase();
    let marks = [
        "${",
        "{{",
        "$(",
        "%(",
        "<",
        "env:",
        "file:",
        "credential:",
        "vault:",
        "os.environ",
        "process.env",
        "getenv",
        "[",
        "arn:",
    ];
    let words = [
        "example",
        "changeme",
        "your",
        "placeholder",
        "redacted",
        "xxxx",
        "****",
        "dummy",
        "sample",
        "test1234",
        "foobar",
    ];
    marks.iter().any(|mark| lower.starts_with(mark) || (mark.len() > 2 && lower.contains(mark)))
        || words.iter().any(|word| lower.contains(word))
        || lower.starts_with("$") && lower.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        || value.ends_with("()")
        || value.contains('(')
}

/// Shannon's entropy of the characters, in bits for each.
pub(super) fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = text.len().max(1) as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|part| -part * part.log2())
        .sum()
}

/// The password of a URL, `scheme://user:password@host`, whose `://` is at `sign`.
pub(super) fn in_url(text: &str, sign: usize, end: bool) -> Assigned {
    if !before(text, sign).is_some_and(|char| char.is_ascii_alphanumeric()) {
        return Assigned::Not;
    }
    let start = sign + 3;
    let rest = text.get(start..).unwrap_or_default();
    let limit = rest.get(..rest.floor_char_boundary(256)).unwrap_or_default();
    let run = limit.find(|char: char| {
        char.is_whitespace() || matches!(char, '/' | '@' | '"' | '\'' | '<' | '>' | '?' | '#' | '\0' | ')')
    });
    let Some(stop) = run else { return if rest.len() < 256 && !end { Assigned::Open } else { Assigned::Not } };
    let Some((user, password)) = limit.get(..stop).and_then(|user| user.split_once(':')) else { return Assigned::Not };
    if !limit.get(stop..).is_some_and(|rest| rest.starts_with('@'))
        || user.len() > LONGEST_USER
        || password.len() < 4
        || is_stand_in(password)
        || password == "password"
    {
        return Assigned::Not;
    }
    Assigned::Value(start + user.len() + 1..start + stop)
}
