//! A request's place in a trace: <https://www.w3.org/TR/trace-context/>.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::TracesConfig;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// A longer `tracestate` is not passed on; the standard asks for this much.
const MAX_STATE: usize = 512;
const SAMPLED: u8 = 1;

/// The trace that a request belongs to, and its own span in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    trace: u128,
    /// The client's span; `None`: the trace begins here.
    parent: Option<u64>,
    span: u64,
    /// Whether its spans are sent.
    pub sampled: bool,
    state: Option<HeaderValue>,
}

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl Context {
    /// The place of a request with these headers.
    pub fn of(headers: &HeaderMap, config: &TracesConfig) -> Self {
        let span = fastrand::u64(1..);
        let parent = parent_of(headers);
        let trace = parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace);
        let sampled = match parent {
            Some(parent) if config.follow => parent.sampled,
            _ => is_drawn(trace, config.sample),
        };
        let state = parent.and_then(|_| state_of(headers));
        Self { trace, parent: parent.map(|parent| parent.span), span, sampled, state }
    }

    /// Id of the trace, in hexadecimal as logs have it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The same as bytes.
    pub(super) fn trace_bytes(&self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    /// Id of the request's span.
    pub(super) fn span(&self) -> u64 {
        self.span
    }

    /// Id of the client's span.
    pub(super) fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// What the client's vendors said beside it.
    pub(super) fn state(&self) -> &str {
        self.state.as_ref().and_then(|state| state.to_str().ok()).unwrap_or_default()
    }

    /// The headers that make `span`, one of its own, the parent of what a provider does.
    pub fn headers(&self, span: u64) -> [(&'static HeaderName, Option<HeaderValue>); 2] {
        let flags = if self.sampled { SAMPLED } else { 0 };
        let parent = format!("00-{:032x}-{span:016x}-{flags:02x}", self.trace);
        [(&TRACEPARENT, HeaderValue::try_from(parent).ok()), (&TRACESTATE, self.state.clone())]
    }
}

/// The id of the trace that the client's headers name.
pub fn trace_id_of(headers: &HeaderMap) -> Option<String> {
    parent_of(headers).map(|parent| format!("{:032x}", parent.trace))
}

/// Whether a trace that begins here is sent: by its id, so that everybody with the same share decides alike.
fn is_drawn(trace: u128, sample: u32) -> bool {
    let low = trace & u128::from(u64::MAX);
    low * 10_000 < (u128::from(u64::MAX) + 1) * u128::from(sample)
}

fn parent_of(headers: &HeaderMap) -> Option<Parent> {
    let mut all = headers.get_all(&TRACEPARENT).iter();
    let parent = all.next()?.as_bytes().trim_ascii();
    if all.next().is_some() {
        return None;
    }
    let hex = |from: usize, to: usize| {
        let digits = parent.get(from..to)?;
        let lower = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| lower)?, 16).ok()
    };
    let version = hex(0, 2)?;
    let whole = if version == 0 { parent.len() == 55 } else { parent.get(55).is_none_or(|next| *next == b'-') };
    let dashes = [2, 35, 52].iter().all(|place| parent.get(*place) == Some(&b'-'));
    let (trace, span, flags) = (hex(3, 35)?, u64::try_from(hex(36, 52)?).ok()?, hex(53, 55)?);
    let valid = version != 0xff && whole && dashes && trace != 0 && span != 0;
    valid.then_some(Parent { trace, span, sampled: flags & u128::from(SAMPLED) != 0 })
}

/// Several headers are one list.
fn state_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(&TRACESTATE).iter();
    let first = all.next()?;
    let mut rest = all.peekable();
    let state = match rest.peek() {
        None => first.clone(),
        Some(_) => {
            let list: Vec<&[u8]> = std::iter::once(first).chain(rest).map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&list.join(&b',')).ok()?
        }
    };
    (state.len() <= MAX_STATE && state.to_str().is_ok()).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn parent(text: &str) -> Option<Parent> {
        parent_of(&headers(&[("traceparent", text)]))
    }

    #[test]
    fn only_what_the_standard_allows_is_a_parent() {
        let expected = Parent { trace: 0x0af7651916cd43dd8448eb211c80319c, span: 0xb7ad6b7169203331, sampled: true };
        assert_eq!(parent(VALID), Some(expected));
        assert!(!parent(&VALID.replace("-01", "-00")).unwrap().sampled);
        assert!(parent(&VALID.replace("-01", "-ff")).unwrap().sampled);
        // A later version may say more, behind a dash.
        assert_eq!(parent(&VALID.replacen("00-", "42-", 1)), Some(expected));
        assert_eq!(parent(&format!("{}-more", VALID.replacen("00-", "42-", 1))), Some(expected));
        for bad in [
            "",
            "00",
            &VALID.to_uppercase(),
            &VALID.replacen("00-", "ff-", 1),
            &format!("{VALID}-more"),
            &format!("{}x", VALID.replacen("00-", "42-", 1)),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            &VALID.replace('-', "_"),
            &VALID.replace("af", "+f"),
            "00-éaf7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        ] {
            assert_eq!(parent(bad), None, "{bad}");
        }
        assert_eq!(parent_of(&headers(&[("traceparent", VALID), ("traceparent", VALID)])), None);
    }

    fn config(sample: u32, follow: bool) -> TracesConfig {
        TracesConfig { sample, follow, ..TracesConfig::for_tests() }
    }

    #[test]
    fn a_clients_trace_goes_on_and_its_flag_decides() {
        let sent = headers(&[("traceparent", VALID), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let context = Context::of(&sent, &config(1, true));
        assert!(context.sampled && context.parent() == Some(0xb7ad6b7169203331) && context.state() == "a=1,b=2");
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let [(_, parent), (_, state)] = context.headers(7);
        assert_eq!(parent.unwrap(), "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
        assert_eq!(state.unwrap(), "a=1,b=2");
        let unsampled = headers(&[("traceparent", &VALID.replace("-01", "-00"))]);
        assert!(!Context::of(&unsampled, &config(10_000, true)).sampled);
        assert!(Context::of(&unsampled, &config(10_000, false)).sampled);
    }

    #[test]
    fn without_a_parent_a_share_is_drawn() {
        let of = |sample| {
            let drawn = (0..4_000).filter(|_| Context::of(&HeaderMap::new(), &config(sample, true)).sampled);
            drawn.count()
        };
        assert_eq!((of(0), of(10_000)), (0, 4_000));
        assert!((800..1_200).contains(&of(2_500)));
        let orphan = Context::of(&headers(&[("tracestate", "a=1")]), &config(10_000, true));
        assert_eq!((orphan.parent(), orphan.state()), (None, ""));
    }
}
