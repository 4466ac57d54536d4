//! What a provider's message tells about the operator's account is left out of what a client gets.

use std::borrow::Cow;

use super::ApiError;

/// Prefixes of words that are secrets.
const KEYS: [&str; 9] = ["sk-", "sk_", "pk-", "AIza", "AKIA", "ASIA", "gsk_", "xai-", "hf_"];
/// Prefixes of words that name an account.
const ACCOUNTS: [&str; 6] = ["org-", "proj_", "user-", "projects/", "organizations/", "arn:aws"];
/// Those of them with which people begin names, too.
const WORDS: [&str; 3] = ["org-", "proj_", "user-"];

/// What is shorter is no secret, and found in words.
const LEAST_SECRET: usize = 6;

/// `message` without addresses, keys and names of accounts. Borrowed if it has none, as nearly always.
pub(super) fn scrub(message: &str) -> Cow<'_, str> {
    if !message.split(is_border).any(|word| replacement(word).is_some()) {
        return Cow::Borrowed(message);
    }
    let mut scrubbed = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let word = match rest.split(is_border).next().unwrap_or_default() {
            // Its query, too.
            word if is_url(word) => rest.split(|c| c != '=' && is_border(c)).next().unwrap_or_default(),
            word => word,
        };
        scrubbed.push_str(replacement(word).unwrap_or(word));
        let border: usize = rest[word.len()..].chars().next().map_or(0, char::len_utf8);
        scrubbed.push_str(&rest[word.len()..word.len() + border]);
        rest = &rest[word.len() + border..];
    }
    Cow::Owned(scrubbed)
}

fn is_border(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '<' | '>' | ',' | ';' | '=')
}

/// Makes unreadable in `body`, a provider's error that passes as it came, what begins as keys and names of accounts do. Its length
/// stays.
pub fn mask(body: &mut [u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    let (mut hidden, mut at) = (Vec::new(), 0);
    for word in text.split(|c| c == '\\' || is_border(c)) {
        let begins = KEYS.iter().chain(&ACCOUNTS).find(|prefix| is_named(word, prefix));
        hidden.extend(begins.map(|prefix| at + prefix.len()..at + trimmed(word).len()));
        // A border is one byte, unless it is some white space of Unicode's.
        at += word.len();
        at += text[at..].chars().next().map_or(0, char::len_utf8);
    }
    hidden.into_iter().for_each(|range| body[range].fill(b'*'));
}

/// Makes `secret` unreadable wherever it stands in `body`, whose length stays.
pub fn mask_secret(body: &mut [u8], secret: &[u8]) {
    if secret.len() < LEAST_SECRET {
        return;
    }
    hide(body, secret);
    if secret.contains(&b'/') {
        // As PHP writes it in JSON.
        hide(body, &secret.split(|byte| *byte == b'/').collect::<Vec<_>>().join(&br"\/"[..]));
    }
}

fn hide(body: &mut [u8], words: &[u8]) {
    let found: Vec<usize> = memchr::memmem::find_iter(body, words).collect();
    found.into_iter().for_each(|at| body[at..at + words.len()].fill(b'*'));
}

impl ApiError {
    /// Without `secrets` in what it says.
    #[must_use]
    pub fn without<'a>(mut self, secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut message = self.message.into_bytes();
        secrets.into_iter().for_each(|secret| mask_secret(&mut message, secret));
        self.message = String::from_utf8_lossy(&message).into_owned();
        self
    }
}

fn is_url(word: &str) -> bool {
    word.starts_with("http://") || word.starts_with("https://")
}

fn trimmed(word: &str) -> &str {
    word.trim_end_matches(['.', ':', '!', '?'])
}

/// Whether `word` begins with `prefix` and goes on as names do that are made by machines.
fn is_named(word: &str, prefix: &str) -> bool {
    let Some(rest) = trimmed(word).strip_prefix(prefix) else { return false };
    if WORDS.contains(&prefix) {
        let (id, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_alphanumeric).count());
        let is_made = id.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        return id.len() >= 4 && is_made && !after.starts_with('-');
    }
    rest.len() >= 4 && (rest.bytes().any(|byte| byte.is_ascii_digit()) || rest.len() >= 12)
}

fn replacement(word: &str) -> Option<&'static str> {
    let word = trimmed(word);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| is_named(word, prefix));
    if is_url(word) {
        Some("[url]")
    } else if begins(&KEYS) {
        Some("[key]")
    } else if begins(&ACCOUNTS) || (word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_digit())) {
        Some("[account]")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn accounts_keys_and_addresses_are_left_out() {
        for (said, told) in [
            (
                "Rate limit reached for gpt-5 in organization org-AbC123xyz on tokens: Limit 30000. Visit https://platform.openai.com/account/rate-limits to learn more.",
                "Rate limit reached for gpt-5 in organization [account] on tokens: Limit 30000. Visit [url] to learn more.",
            ),
            ("Incorrect API key provided: sk-proj-1234567890.", "Incorrect API key provided: [key]"),
            ("User: arn:aws:iam::123456789012:user/x is not authorized", "User: [account] is not authorized"),
            ("quota of 'projects/483920' exceeded", "quota of '[account]' exceeded"),
            ("Account 123456789012 is suspended", "Account [account] is suspended"),
            ("POST https://a.example/v1?api-key=zzz&x=1 failed", "POST [url] failed"),
        ] {
            assert_eq!(scrub(said), told);
        }
    }

    #[test]
    fn what_passes_as_it_came_keeps_its_length() {
        let mask = |body: &str, secret: &str| {
            let mut bytes = body.as_bytes().to_vec();
            mask_secret(&mut bytes, secret.as_bytes());
            super::mask(&mut bytes);
            assert_eq!(bytes.len(), body.len());
            String::from_utf8(bytes).unwrap()
        };
        let said =
            r#"{"error":{"message":"Limit in organization org-AbC123xyz, see https://a.example.","code":"x\u2028é"}}"#;
        let told = said.replace("AbC123xyz", "*********");
        assert_eq!(mask(said, "m"), told);
        let quoted = r#"{"m":"Authorization: Bearer sk-1234567890!","n":["t0ken-1 t0ken-1"]}"#;
        assert_eq!(mask(quoted, "t0ken-1"), r#"{"m":"Authorization: Bearer sk-**********!","n":["******* *******"]}"#);
        let slashes = r#"{"m":"t0/en/1, t0\/en\/1"}"#;
        assert_eq!(mask(slashes, "t0/en/1"), r#"{"m":"*******, *********"}"#);
        let own = r#"{"m":"tool user-profile-lookup","code":"user-specified-value1","param":"org-wide-settings"}"#;
        assert_eq!(mask(own, "m"), own, "the caller's own words");
        assert_eq!(mask("org-AbC123xyz:user-x1y2z3 proj_x1y2", "m"), "org-********************* proj_****");
        let error = ApiError::new(ErrorKind::UpstreamError, "é: t0ken-1 is old").without([&b"t0ken-1"[..]]);
        assert_eq!(error.message, "é: ******* is old");
        let mut bytes = b"\xffsecret".to_vec();
        mask_secret(&mut bytes, b"secret");
        super::mask(&mut bytes);
        assert_eq!(bytes, b"\xff******");
    }

    #[test]
    fn other_words_stay() {
        for message in [
            "",
            "messages.0.content: sk- is no key",
            "the user-agent is org-wide",
            "prompt is too long: 200001 tokens > 200000",
            "é, \u{1F389}",
            "bad schema for tool user-profile-lookup",
            "user-specified-value1 is no org-wide-setting, proj_settings neither",
        ] {
            assert!(matches!(scrub(message), Cow::Borrowed(same) if same == message), "{message}");
        }
    }
}
