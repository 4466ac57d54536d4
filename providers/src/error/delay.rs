//! When to come back, where an error says so in its body and no header does.

use std::time::Duration;

use serde_json::Value;

/// How long a provider asks to wait: Google's `RetryInfo` among the details of an error, which may stand in a list
/// (<https://cloud.google.com/apis/design/errors#error_details>). A protobuf duration: `"34.074824224s"`.
#[must_use]
pub fn retry_delay(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let body = body.get(0).unwrap_or(&body);
    let details = body.get("error")?.get("details")?.as_array()?;
    let is_info = |detail: &&Value| {
        detail.get("@type").and_then(Value::as_str).is_some_and(|name| name.ends_with("/google.rpc.RetryInfo"))
    };
    let delay = details.iter().find(is_info)?.get("retryDelay")?.as_str()?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_says_it_among_the_details() {
        let error = |delay: &str| {
            format!(
                r#"{{"error":{{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
                {{"@type":"type.googleapis.com/google.rpc.Help","links":[]}},
                {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#
            )
        };
        let of = |body: &str| retry_delay(body.as_bytes());
        assert_eq!(of(&error("34.5s")), Some(Duration::from_millis(34_500)));
        assert_eq!(of(&format!("[{}]", error("2s"))), Some(Duration::from_secs(2)));
        for wrong in ["", "2", "-1s", "NaNs", "soon"] {
            assert_eq!(of(&error(wrong)), None, "{wrong}");
        }
        for other in ["", "[]", "{}", r#"{"error":"m"}"#, r#"{"error":{"details":[{"retryDelay":"1s"}]}}"#] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
