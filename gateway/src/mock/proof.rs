//! The opaque state of the mock's reasoning: signatures that it can check although it remembers nothing.
//!
//! A signature is base64 of `mock:`, the dialect and a hash of what is signed, so that one that was made up, altered,
//! moved to another text or taken from another dialect is noticed.

use ai_gateway_providers::Dialect;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What Gemini accepts in place of a signature that a client does not have:
/// <https://ai.google.dev/gemini-api/docs/thought-signatures#faqs>.
const NO_SIGNATURE: [&str; 2] = ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// The signature of a reasoning text. For Responses it is the encrypted content.
pub(super) fn of_text(dialect: Dialect, text: &str) -> String {
    seal(dialect, text.as_bytes())
}

/// The signature of a call. Ids are not signed, because the wire may leave them out.
pub(super) fn of_call(dialect: Dialect, name: &str, arguments: &str) -> String {
    // Clients write the arguments anew: white space and the order of keys mean nothing.
    let arguments = serde_json::from_str::<Value>(arguments).map_or_else(|_| arguments.to_owned(), |v| v.to_string());
    seal(dialect, format!("{name}\n{arguments}").as_bytes())
}

/// Whether the mock could have signed `text` so. Of a text that is not shown only the form can be checked.
pub(super) fn proves(dialect: Dialect, text: &str, signature: &str) -> bool {
    let start = STANDARD.encode(mark(dialect));
    let start = start.trim_end_matches('=');
    // The last letter of the mark holds bits of what follows it.
    let formed = signature.starts_with(&start[..start.len() - 1]);
    formed && (text.is_empty() || signature == of_text(dialect, text))
}

/// Whether `signature` is one of those with which Gemini's check is skipped, plain or as the base64 that SDKs make of it.
pub(super) fn is_skipped(signature: &str) -> bool {
    NO_SIGNATURE.iter().any(|skip| signature == *skip || signature == STANDARD.encode(skip))
}

fn mark(dialect: Dialect) -> String {
    format!("mock:{dialect}:")
}

fn seal(dialect: Dialect, what: &[u8]) -> String {
    let hash = hex::encode(&Sha256::digest(what)[..8]);
    STANDARD.encode(format!("{}{hash}", mark(dialect)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_prove_their_own_text_only() {
        for dialect in Dialect::ALL {
            let signature = of_text(dialect, "think");
            assert!(proves(dialect, "think", &signature) && proves(dialect, "", &signature));
            assert!(!proves(dialect, "thank", &signature));
            assert!(!proves(dialect, "", "bW9jazpz"));
            for other in Dialect::ALL.into_iter().filter(|other| *other != dialect) {
                assert!(!proves(other, "think", &signature) && !proves(other, "", &signature), "{dialect} {other}");
            }
        }
    }

    #[test]
    fn calls_are_signed_by_what_they_mean() {
        let call = |arguments| of_call(Dialect::Gemini, "f", arguments);
        assert_eq!(call(r#"{"a":1, "b":2}"#), call(r#"{"b":2,"a":1}"#));
        assert_ne!(call("{}"), call(r#"{"a":1}"#));
        assert!(is_skipped("skip_thought_signature_validator"));
        assert!(is_skipped("c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="));
    }
}
