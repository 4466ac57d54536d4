//! What a provider says about coming back: `retry-after`, `retry-after-ms`, `x-ms-retry-after-ms`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

/// Longer waits are not believed.
const LONGEST: Duration = Duration::from_secs(300);

/// When to come back, as `headers` say, as far as that is believed.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    said(headers).map(believed)
}

/// As much of what a provider asks for as is believed.
pub fn believed(wait: Duration) -> Duration {
    wait.min(LONGEST)
}

/// The headers that tell a client the same: as the provider wrote them, where that can be understood, and where it wrote only one of
/// them, or Azure's, the other made of that.
pub fn told(headers: &HeaderMap) -> Vec<(&'static str, HeaderValue)> {
    let mut told = said(headers).map(written).unwrap_or_default();
    for (name, value) in &mut told {
        let read = if *name == MILLISECONDS { number(headers, name, 1000.0) } else { seconds(headers) };
        if let (Some(_), Some(said)) = (read, headers.get(*name)) {
            *value = said.clone();
        }
    }
    told
}

/// The headers that tell a client to wait so long.
pub fn written(wait: Duration) -> Vec<(&'static str, HeaderValue)> {
    let milliseconds = wait.as_millis();
    let word = |(name, number): (&'static str, u128)| Some((name, number.to_string().try_into().ok()?));
    [(SECONDS, milliseconds.div_ceil(1000)), (MILLISECONDS, milliseconds)].into_iter().filter_map(word).collect()
}

const SECONDS: &str = "retry-after";
const MILLISECONDS: &str = "retry-after-ms";

/// The most exact of what `headers` say that makes sense.
fn said(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = number(headers, MILLISECONDS, 1000.0).or_else(|| number(headers, "x-ms-retry-after-ms", 1000.0));
    milliseconds.or_else(|| seconds(headers))
}

/// <https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>
fn seconds(headers: &HeaderMap) -> Option<Duration> {
    number(headers, SECONDS, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(text(headers, SECONDS)?).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

/// A number of which `per_second` are a second.
fn number(headers: &HeaderMap, name: &str, per_second: f64) -> Option<Duration> {
    let number: f64 = text(headers, name)?.parse().ok()?;
    Duration::try_from_secs_f64(number / per_second).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn of(headers: &[(&'static str, &str)]) -> Option<Duration> {
        retry_after(&map(headers))
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

    #[test]
    fn what_makes_no_sense_hides_nothing_and_is_not_told() {
        for wrong in ["-1", "NaN", "inf", "1e300", "soon"] {
            let both = [("retry-after", "20"), ("retry-after-ms", wrong)];
            assert_eq!(of(&both), Some(Duration::from_secs(20)), "{wrong}");
            assert_eq!(
                told(&map(&both)),
                [("retry-after", "20".parse().unwrap()), ("retry-after-ms", "20000".parse().unwrap())]
            );
            assert_eq!(told(&map(&[("retry-after", wrong)])), [], "{wrong}");
        }
        let azure = told(&map(&[("x-ms-retry-after-ms", "1500"), ("retry-after", "soon")]));
        assert_eq!(azure, [("retry-after", "2".parse().unwrap()), ("retry-after-ms", "1500".parse().unwrap())]);
    }
}
