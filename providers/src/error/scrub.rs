//! What a provider's message tells about the operator's account is left out of what a client gets.

use std::borrow::Cow;

/// Prefixes of words that are secrets.
const KEYS: [&str; 9] = ["sk-", "sk_", "pk-", "AIza", "AKIA", "ASIA", "gsk_", "xai-", "hf_"];
/// Prefixes of words that name an account.
const ACCOUNTS: [&str; 6] = ["org-", "proj_", "user-", "projects/", "organizations/", "arn:aws"];

/// `message` without addresses, keys and names of accounts. Borrowed if it has none, as nearly always.
pub(super) fn scrub(message: &str) -> Cow<'_, str> {
    if !message.split(is_border).any(|word| replacement(word).is_some()) {
        return Cow::Borrowed(message);
    }
    let mut scrubbed = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let word = rest.split(is_border).next().unwrap_or_default();
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

fn replacement(word: &str) -> Option<&'static str> {
    let word = word.trim_end_matches(['.', ':', '!', '?']);
    let begins = |prefixes: &[&str]| {
        prefixes.iter().any(|prefix| {
            word.strip_prefix(prefix).is_some_and(|rest| {
                rest.len() >= 4 && (rest.bytes().any(|byte| byte.is_ascii_digit()) || rest.len() >= 12)
            })
        })
    };
    if word.starts_with("http://") || word.starts_with("https://") {
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
        ] {
            assert_eq!(scrub(said), told);
        }
    }

    #[test]
    fn other_words_stay() {
        for message in [
            "",
            "messages.0.content: sk- is no key",
            "the user-agent is org-wide",
            "prompt is too long: 200001 tokens > 200000",
            "é, \u{1F389}",
        ] {
            assert!(matches!(scrub(message), Cow::Borrowed(same) if same == message), "{message}");
        }
    }
}
