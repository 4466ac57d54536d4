//! OAuth 2.0 token endpoints: RFC 6749 §4.4 and §5, RFC 7523.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::source::Issued;
use super::{Client, CredentialError};

/// Lifetime of a token whose answer names none.
const USUAL_LIFETIME: u64 = 3600;

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<Seconds>,
}

/// Azure's older endpoints write the number as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
struct Refusal {
    /// One word of a fixed list, such as `invalid_grant`.
    error: Option<String>,
}

/// Posts `form` and reads the access token that comes back.
pub async fn post(
    client: &Arc<Client>,
    url: &str,
    form: &[(&str, &str)],
) -> Result<Issued<HeaderValue>, CredentialError> {
    let body = Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(body));
    send(client, request).await
}

/// Gets a token from a metadata server.
pub async fn get(
    client: &Arc<Client>,
    url: &str,
    flavor: (HeaderName, HeaderValue),
) -> Result<Issued<HeaderValue>, CredentialError> {
    send(client, Request::builder().uri(url).header(flavor.0, flavor.1).body(Bytes::new())).await
}

async fn send(
    client: &Arc<Client>,
    request: http::Result<Request<Bytes>>,
) -> Result<Issued<HeaderValue>, CredentialError> {
    let request = request.map_err(|_| CredentialError::new("the address of the token endpoint is no URL"))?;
    let host = request.uri().host().unwrap_or_default().to_owned();
    let response = client.send(request).await?;
    if !response.status().is_success() {
        let refusal = serde_json::from_slice::<Refusal>(response.body()).ok().and_then(|refusal| refusal.error);
        // Anything but a word of the list may be a quotation.
        let word = refusal.filter(|word| word.len() < 50 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        let word = word.map(|word| format!(" ({word})")).unwrap_or_default();
        return Err(CredentialError::new(format!("{host} answered with status {}{word}", response.status().as_u16())));
    }
    let unusable = || CredentialError::new(format!("{host} answered without a usable token"));
    let answer: Answer = serde_json::from_slice(response.body()).map_err(|_| unusable())?;
    let mut token = HeaderValue::from_str(&format!("Bearer {}", answer.access_token)).map_err(|_| unusable())?;
    token.set_sensitive(true);
    let seconds = match answer.expires_in {
        None => USUAL_LIFETIME,
        // A float that is out of range or no number becomes the nearest integer.
        Some(Seconds::Number(seconds)) => seconds as u64,
        Some(Seconds::Text(seconds)) => seconds.parse().map_err(|_| unusable())?,
    };
    // A year is as good as forever, and instants have an end.
    Ok(Issued { token, lifetime: Some(Duration::from_secs(seconds.min(365 * 86_400))) })
}
