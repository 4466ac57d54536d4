//! Requests of pages in a browser: where there is no key, the loopback address is all the protection, and a page that somebody
//! opens on this machine reaches it, too.

use std::net::IpAddr;

use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderName, header};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether any page may have sent it: one says so itself, and one whose host's name was made to lead here has that name for a
/// host.
pub fn is_from_page(headers: &HeaderMap) -> bool {
    let elsewhere = headers.get(header::HOST).is_some_and(|host| !is_this_machine(host.to_str().unwrap_or_default()));
    headers.contains_key(header::ORIGIN) || headers.contains_key(&SEC_FETCH_SITE) || elsewhere
}

/// Whether a page of a site that is not on this machine has sent it. What a browser sends for itself, and for a page from this
/// machine, is not.
pub(super) fn is_from_other_site(headers: &HeaderMap) -> bool {
    let site = headers.get(&SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
    let origin = headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        // A sandboxed frame of any site.
        let hidden = origin == "null";
        let origin = origin.parse::<Uri>();
        let web = |origin: &Uri| matches!(origin.scheme_str(), Some("http" | "https"));
        hidden
            || origin
                .is_ok_and(|origin| web(&origin) && !is_this_machine(origin.authority().map_or("", Authority::as_str)))
    });
    site || origin
}

fn is_this_machine(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else { return false };
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites() {
        for (name, value, expected) in [
            ("sec-fetch-site", "cross-site", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "none", false),
            ("origin", "https://evil.example", true),
            ("origin", "http://localhost.evil.example:8080", true),
            ("origin", "null", true),
            ("origin", "http://localhost:3000", false),
            ("origin", "http://[::1]:3000", false),
            ("origin", "http://127.0.0.1", false),
            ("origin", "vscode-webview://abc", false),
            ("host", "gateway.example", false),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(is_from_other_site(&headers), expected, "{name}: {value}");
        }
        assert!(!is_from_other_site(&HeaderMap::new()));
    }
}
