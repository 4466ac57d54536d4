//! AWS Signature Version 4, in headers: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! What is signed: method, path, query, `host`, `content-type`, the `x-amz-…` headers and the hash of the body. Not
//! `content-length`, nor anything else that a hop between here and there may rewrite.

use std::fmt;
use std::fmt::Write as _;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::config::AwsKeys;

const SERVICE: &str = "bedrock";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// An access key.
pub struct Keys {
    id: String,
    secret: String,
    /// Of temporary keys.
    token: Option<HeaderValue>,
}

impl Keys {
    /// The access key's id, which every signature tells.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `None`: the token holds what no header can carry.
    pub fn new(id: &str, secret: &str, token: Option<&str>) -> Option<Self> {
        let token = match token.map(HeaderValue::from_str) {
            None => None,
            Some(token) => Some(token.ok().map(sensitive)?),
        };
        Some(Self { id: id.to_owned(), secret: secret.to_owned(), token })
    }

    pub(super) fn of_config(keys: &AwsKeys) -> Self {
        Self {
            id: keys.access_key_id.clone(),
            secret: keys.secret_access_key.expose().to_owned(),
            token: keys.session_token.clone(),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// The headers to add to `header`, which has its `host` and whatever else is signed.
pub fn sign(
    header: &RequestHeader,
    body: &[u8],
    keys: &Keys,
    region: &str,
    now: SystemTime,
) -> Vec<(HeaderName, HeaderValue)> {
    // `2015-08-30T12:36:00Z` without its marks.
    let time = humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "");
    let day = time.get(..8).unwrap_or_default();
    let mut added = vec![(DATE, text(&time))];
    added.extend(keys.token.clone().map(|token| (TOKEN, token)));

    let kept = header.headers.iter().filter(|(name, _)| {
        *name == HOST
            || *name == CONTENT_TYPE
            || (name.as_str().starts_with("x-amz-") && **name != DATE && **name != TOKEN)
    });
    let mut signed: Vec<(&str, String)> = kept
        .chain(added.iter().map(|(name, value)| (name, value)))
        .map(|(name, value)| (name.as_str(), tidy(value)))
        .collect();
    signed.sort();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");

    let mut request = format!("{}\n", header.method);
    // Everybody but S3 encodes the path once more than it is sent.
    encode(header.uri.path().as_bytes(), b"/", &mut request);
    let _ = write!(request, "\n{}\n", canonical_query(header.uri.query().unwrap_or_default()));
    for (name, value) in &signed {
        let _ = writeln!(request, "{name}:{value}");
    }
    let _ = write!(request, "\n{names}\n{}", hex::encode(Sha256::digest(body)));

    let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(&request)));
    let key = [day, region, SERVICE, "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", keys.secret).into_bytes(), |key, part| mac(&key, part.as_bytes()));
    let signature = hex::encode(mac(&key, to_sign.as_bytes()));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", keys.id);
    added.push((AUTHORIZATION, sensitive(text(&authorization))));
    added
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// Trimmed, with single spaces.
fn tidy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sorted by name and value, each with an equals sign, encoded as it is sent.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut pair = String::with_capacity(query.len());
            encode(name.as_bytes(), b"%", &mut pair);
            pair.push('=');
            encode(value.as_bytes(), b"%", &mut pair);
            pair
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn encode(bytes: &[u8], also_plain: &[u8], into: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also_plain.contains(&byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// Made of characters that any header carries; the access key's id was checked.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn signed(host: &str, path: &str, token: Option<&str>, region: &str) -> Vec<(HeaderName, HeaderValue)> {
        let mut header = RequestHeader::build("POST", path.as_bytes(), None).unwrap();
        for (name, value) in [
            ("host", host),
            ("content-type", "application/json"),
            ("content-length", "15"),
            ("user-agent", "not signed"),
            // A client's or an earlier attempt's: replaced.
            ("x-amz-date", "20000101T000000Z"),
        ] {
            header.insert_header(name, value).unwrap();
        }
        let keys = Keys::new("AKIDEXAMPLE", SECRET, token).unwrap();
        // 2026-11-25T12:34:56Z
        let now = UNIX_EPOCH + Duration::from_secs(1_795_610_096);
        sign(&header, br#"{"messages":[]}"#, &keys, region, now)
    }

    /// Computed with botocore 1.42's `SigV4Auth`.
    #[test]
    fn as_botocore_signs() {
        let headers = signed(
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
            None,
            "us-east-1",
        );
        assert_eq!(headers[0], (DATE, "20261125T123456Z".parse().unwrap()));
        assert_eq!(
            headers[1].1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261125/us-east-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=6c9499a6a74be9508d9cca99cd90455157a90c874353df01f0cb8f08ff78a766"
        );
        let headers = signed(
            "bedrock-runtime.eu-west-1.amazonaws.com",
            "/proxy/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Fx/invoke?b=2&a=1%2F%20x&flag",
            Some("tok/en+1=="),
            "eu-west-1",
        );
        assert_eq!(headers[1], (TOKEN, "tok/en+1==".parse().unwrap()));
        assert_eq!(
            headers[2].1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261125/eu-west-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=571f9194736ae5cfb3d1a42519f34d4ee1598e3c63ef8a314c07b5fdcb5ad2a7"
        );
    }

    #[test]
    fn nothing_is_shown() {
        let headers = signed("h", "/", Some("sk-token"), "r");
        let shown = format!("{headers:?} {:?}", Keys::new("id", SECRET, None).unwrap());
        assert!(!shown.contains("sk-token") && !shown.contains("Signature=") && !shown.contains(SECRET), "{shown}");
        assert!(Keys::new("id", SECRET, Some("a\nb")).is_none());
    }
}
