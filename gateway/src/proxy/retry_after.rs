//! What a provider says about coming back: `retry-after`, `retry-after-ms`, `x-ms-retry-after-ms`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

/// Longer waits are not believed.
const LONGEST: Duration = Duration::from_secs(300);

/// When to come back, as `headers` say, as far as that is believed.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    said(headers).map(|wait| wait.min(LONGEST))
}

/// The headers that tell a client the same: as the provider wrote them, and where it wrote only one of them, or Azure's, the other
/// made of that.
pub fn told(headers: &HeaderMap) -> Vec<(&'static str, HeaderValue)> {
    let milliseconds = said(headers).map(|wait| wait.as_millis());
    let seconds = milliseconds.map(|wait| wait.div_ceil(1000));
    let word = |(name, made): (&'static str, Option<u128>)| {
        let written = headers.get(name).cloned();
        Some((name, written.or_else(|| made?.to_string().try_into().ok())?))
    };
    [("retry-after", seconds), ("retry-after-ms", milliseconds)].into_iter().filter_map(word).collect()
}

/// The most exact of what `headers` say. <https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>
fn said(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let milliseconds = |name: &str| text(name)?.parse::<f64>().ok().map(|ms| ms / 1000.0);
    let seconds = milliseconds("retry-after-ms")
        .or_else(|| milliseconds("x-ms-retry-after-ms"))
        .or_else(|| text("retry-after")?.parse::<f64>().ok());
    match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => {
            let date = httpdate::parse_http_date(text("retry-after")?).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &str)]) -> Option<Duration> {
        retry_after(&headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
    }

    #[test]
    fn every_form_is_understood_and_capped() {
        assert_eq!(of(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(of(&[("retry-after", "2"), ("retry-after-ms", "1500")]), Some(Duration::from_millis(1500)));
        assert_eq!(of(&[("x-ms-retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        assert_eq!(of(&[("retry-after", "86400")]), Some(LONGEST));
        assert_eq!(of(&[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")]), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(20));
        assert!((18..=20).contains(&of(&[("retry-after", &soon)]).unwrap().as_secs()));
        for wrong in ["", "soon", "-1", "NaN"] {
            assert_eq!(of(&[("retry-after", wrong)]), None, "{wrong}");
        }
    }
}
