//! What stands beside a text: its sources (annotations) and the probabilities of its tokens.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::fields::Writer;
use super::{OWN, wire};
use crate::common::{Citation, Json, Str, TokenLogprob};

/// Reads an annotation: `url_citation`, `file_citation`, `container_file_citation`, `file_path`.
pub(super) fn citation(raw: Json<'_>) -> Citation<'_> {
    // What has another shape is kept for its own dialect all the same.
    let known = raw.read::<wire::Annotation<'_>>().unwrap_or_default();
    let own = |text: Option<Str<'_>>| text.map(Str::into_owned);
    let (url, title, quote) = (own(known.url), own(known.title.or(known.filename)), own(known.quote));
    let span = known.start.zip(known.end);
    Citation { url, title, quote, span, raw: Some((OWN, raw)) }
}

/// Whether an annotation can say it: those of other dialects need an address.
pub(super) fn can_say(citation: &Citation<'_>) -> bool {
    citation.url.is_some() || matches!(&citation.raw, Some((OWN, _)))
}

/// Whether where it belongs is known only at the end of its text.
pub(super) fn waits(citation: &Citation<'_>) -> bool {
    can_say(citation) && citation.span.is_none() && !matches!(&citation.raw, Some((OWN, _)))
}

/// Writes a citation that [`can_say`] let pass. `length` is that of its text, all of which it supports if it does not say.
pub(super) struct Annotation<'c, 'a> {
    pub(super) citation: &'c Citation<'a>,
    pub(super) length: u64,
}

impl Serialize for Annotation<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Citation { url, title, quote: _, span, raw } = self.citation;
        if let Some((OWN, raw)) = raw {
            return raw.serialize(serializer);
        }
        let (start, end) = span.unwrap_or((0, self.length));
        let mut object = Writer(serializer.serialize_map(None)?);
        object.put("type", "url_citation")?;
        object.put("url", url.as_deref().unwrap_or_default())?;
        object.put("title", title.as_deref().unwrap_or_default())?;
        object.put("start_index", &start)?;
        object.put("end_index", &end)?;
        object.0.end()
    }
}

pub(super) fn logprob(token: wire::Logprob<'_>) -> TokenLogprob<'_> {
    let wire::Logprob { token, logprob, bytes, top, rest: _ } = token;
    TokenLogprob { token, logprob, bytes, top: top.into_iter().map(self::logprob).collect() }
}

/// Writes tokens with their alternatives.
pub(super) struct Logprobs<'t, 'a>(pub(super) &'t [TokenLogprob<'a>]);

impl Serialize for Logprobs<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|token| Token { token, with_top: true }))
    }
}

/// Alternatives have none of their own.
struct Token<'t, 'a> {
    token: &'t TokenLogprob<'a>,
    with_top: bool,
}

impl Serialize for Token<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TokenLogprob { token, logprob, bytes, top } = self.token;
        let mut object = Writer(serializer.serialize_map(None)?);
        object.put("token", token)?;
        object.put("logprob", logprob)?;
        // The SDKs' types demand them.
        object.put("bytes", bytes.as_deref().unwrap_or(token.as_bytes()))?;
        if self.with_top {
            let top: Vec<_> = top.iter().map(|token| Token { token, with_top: false }).collect();
            object.put("top_logprobs", &top)?;
        }
        object.0.end()
    }
}
