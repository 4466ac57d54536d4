//! What a client says of its request for its own accounts, in the words of the gateways that it may have used before: whose it
//! is (`customer`), tags, and metadata. Bounded in number and length, kept in the ledger only, never sent to a provider by the
//! gateway itself; the fields of a body that say the same go on as sent.

use ai_gateway_providers::scan::{LabelFields, label_fields, metadata_of};
use http::{HeaderMap, HeaderValue};

/// Pairs of metadata and tags that are kept.
const MOST: usize = 32;
/// Bytes that are kept of a name or a value.
const MAX_TEXT: usize = 256;

const CUSTOMER: [&str; 4] =
    ["x-litellm-customer-id", "x-litellm-end-user-id", "helicone-user-id", "x-openwebui-user-id"];
/// Headers with a JSON object.
const METADATA: [&str; 3] = ["x-portkey-metadata", "cf-aig-metadata", "x-litellm-spend-logs-metadata"];
/// Headers with the client's own numbers, and what they are called in the metadata.
const TRACES: [(&str, &str); 6] = [
    ("x-litellm-call-id", "call_id"),
    ("x-litellm-trace-id", "trace_id"),
    ("x-portkey-trace-id", "trace_id"),
    ("x-litellm-session-id", "session_id"),
    ("helicone-session-id", "session_id"),
    ("x-session-id", "session_id"),
];
const PROPERTY: &str = "helicone-property-";

/// What a request says for its client's own accounts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels {
    customer: Option<String>,
    tags: Vec<String>,
    metadata: Vec<(String, String)>,
}

impl Labels {
    /// Reads the headers, and the body where `in_body` says that there is something. `None`: nothing is said, as by most.
    pub fn of(headers: &HeaderMap, in_body: bool, body: &[u8]) -> Option<Box<Self>> {
        let said = |name: &str| {
            name.starts_with("x-litellm-")
                || name.starts_with("helicone-")
                || name.starts_with("x-portkey-")
                || name == "cf-aig-metadata"
                || name == "x-session-id"
                || name == "x-openwebui-user-id"
        };
        if !in_body && !headers.keys().any(|name| said(name.as_str())) {
            return None;
        }
        let mut labels = Self::default();
        let text = |name: &str| headers.get(name).and_then(text);
        labels.customer = CUSTOMER.into_iter().find_map(text);
        let tags = text("x-litellm-tags").unwrap_or_default();
        tags.split(',').for_each(|tag| labels.tag(tag.trim()));
        for (header, name) in TRACES {
            if let Some(value) = text(header) {
                labels.pair(name, &value);
            }
        }
        for object in METADATA.iter().filter_map(|name| headers.get(*name)) {
            let pairs = metadata_of(object.as_bytes());
            labels.pairs(&pairs);
        }
        for (name, value) in headers {
            if let (Some(name), Some(value)) = (name.as_str().strip_prefix(PROPERTY), self::text(value)) {
                labels.pair(name, &value);
            }
        }
        if in_body {
            let LabelFields { user, metadata } = label_fields(body);
            labels.customer = labels.customer.or(user.map(shortened));
            labels.pairs(&metadata);
        }
        (labels != Self::default()).then(|| Box::new(labels))
    }

    /// Whose request it is.
    pub fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }

    /// Its tags.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// Its metadata.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Adds what plugins noted, as `plugin.name`.
    pub fn note(&mut self, tags: &[ai_gateway_plugins::Tag]) {
        for ai_gateway_plugins::Tag { plugin, name, value } in tags {
            self.pair(&format!("{plugin}.{name}"), value);
        }
    }

    fn tag(&mut self, tag: &str) {
        if !tag.is_empty() && self.tags.len() < MOST && !self.tags.iter().any(|known| known == tag) {
            self.tags.push(shortened(tag.to_owned()));
        }
    }

    fn pairs(&mut self, pairs: &[(String, String)]) {
        for (name, value) in pairs {
            match &**name {
                "tags" => self.tag(value),
                "_user" | "user_id" if self.customer.is_none() => self.customer = Some(shortened(value.clone())),
                name => self.pair(name, value),
            }
        }
    }

    /// Of one name the first value stays.
    fn pair(&mut self, name: &str, value: &str) {
        if self.metadata.len() < MOST && !self.metadata.iter().any(|(known, _)| known == name) {
            self.metadata.push((shortened(name.to_owned()), shortened(value.to_owned())));
        }
    }
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::trim).filter(|text| !text.is_empty()).map(|text| shortened(text.to_owned()))
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn most_requests_say_nothing() {
        assert_eq!(Labels::of(&headers(&[("user-agent", "x"), ("authorization", "Bearer y")]), false, b""), None);
        assert_eq!(Labels::of(&HeaderMap::new(), true, br#"{"metadata":{},"user":""}"#), None);
    }

    #[test]
    fn headers_and_fields_of_many_gateways_are_understood() {
        let sent = headers(&[
            ("x-litellm-customer-id", "acme"),
            ("x-litellm-tags", "a, b,,a"),
            ("x-litellm-call-id", "c-1"),
            ("x-portkey-trace-id", "t-1"),
            ("x-portkey-metadata", r#"{"env":"prod","_user":"other"}"#),
            ("cf-aig-metadata", r#"{"n":5,"deep":{"x":1}}"#),
            ("helicone-property-app", "chat"),
        ]);
        let body =
            br#"{"user":"someone","metadata":{"user_id":"u","tags":["b","c"],"env":"dev"},"messages":["secret"]}"#;
        let labels = Labels::of(&sent, true, body).unwrap();
        assert_eq!(labels.customer(), Some("acme"));
        assert_eq!(labels.tags().collect::<Vec<_>>(), ["a", "b", "c"]);
        let metadata: Vec<_> = labels.metadata().collect();
        let expected = [
            ("call_id", "c-1"),
            ("trace_id", "t-1"),
            ("env", "prod"),
            ("_user", "other"),
            ("n", "5"),
            ("app", "chat"),
            ("user_id", "u"),
        ];
        assert_eq!(metadata, expected);
        let customer = |body: &[u8]| Labels::of(&HeaderMap::new(), true, body).unwrap().customer;
        assert_eq!(customer(br#"{"user":"u1"}"#).as_deref(), Some("u1"));
        assert_eq!(customer(br#"{"metadata":{"user_id":"u2"}}"#).as_deref(), Some("u2"));
    }

    #[test]
    fn they_are_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("\"{n}\":\"{}\"", "é".repeat(300))).collect();
        let body = format!("{{\"metadata\":{{{}}}}}", many.join(","));
        let labels = Labels::of(&headers(&[("x-litellm-tags", &"t,".repeat(50))]), true, body.as_bytes()).unwrap();
        assert!(labels.metadata.len() <= MOST && labels.tags.len() == 1);
        assert!(labels.metadata.iter().all(|(_, value)| value.len() <= MAX_TEXT));
    }
}
