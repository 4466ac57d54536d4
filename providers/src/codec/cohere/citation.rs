//! Citations. Cohere keeps them beside the text, each with all its sources; the common model has them on the text that they
//! support, each with one source. The whole of Cohere's goes along as `raw`, in each of the citations made of it.

use serde_json::{Map, Value};

use super::wire;
use crate::common::{Block, Citation, Content, Extras, Json, Str};
use crate::dialect::Dialect;
use crate::json::{self, Object};

/// Where a citation of Cohere's belongs.
pub(super) enum Place {
    /// To the plan.
    Plan,
    /// To the content with this index, or to whatever text there is.
    Text(Option<u64>),
    /// To what cannot have any here: reasoning.
    Elsewhere,
}

/// Reads one of Cohere's citations. `None`: it is none.
pub(super) fn read(raw: &Json<'_>) -> Option<(Place, Vec<Citation<'static>>)> {
    let whole = raw.clone().into_owned();
    let read: wire::Citation<'_> = raw.read().ok()?;
    let place = match read.kind.as_deref() {
        Some("PLAN") => Place::Plan,
        Some("TEXT_CONTENT") | None => Place::Text(read.content_index),
        Some(_) => Place::Elsewhere,
    };
    let span = read.start.zip(read.end);
    let citation = |source: &wire::Source<'_>| {
        let said = |names: &[&str]| find(&source.document, names).or_else(|| find(&source.tool_output, names));
        Citation {
            url: said(&["url", "link"]),
            title: said(&["title", "name"]).or_else(|| source.id.clone().map(Str::into_owned)),
            quote: said(&["snippet", "text", "content"]),
            span,
            raw: Some((Dialect::Cohere, whole.clone())),
        }
    };
    let citations = match &read.sources[..] {
        [] => vec![Citation { span, raw: Some((Dialect::Cohere, whole.clone())), ..Citation::default() }],
        sources => sources.iter().map(citation).collect(),
    };
    Some((place, citations))
}

fn find(fields: &Map<String, Value>, names: &[&str]) -> Option<Str<'static>> {
    names.iter().find_map(|name| fields.get(*name)?.as_str()).map(|text| text.to_owned().into())
}

/// Puts a message's citations on its blocks: the first `contents` are its content, `plan` is where the plan stands. Those
/// that have no place there stay as they are.
pub(super) fn attach<'a>(
    blocks: &mut [Block<'a>],
    contents: usize,
    plan: Option<usize>,
    citations: Vec<Json<'a>>,
    extras: &mut Extras<'a>,
) {
    let mut left = Vec::new();
    for raw in citations {
        let is_text = |block: &Block<'_>| matches!(block.content, Content::Text(_));
        let read = read(&raw);
        let at = match &read {
            None | Some((Place::Elsewhere, _)) => None,
            Some((Place::Plan, _)) => plan,
            Some((Place::Text(Some(index)), _)) => usize::try_from(*index).ok().filter(|index| *index < contents),
            Some((Place::Text(None), _)) => blocks[..contents].iter().rposition(is_text).or(plan),
        };
        match (at.map(|at| &mut blocks[at].content), read) {
            (Some(Content::Text(text)), Some((_, citations))) => text.citations.extend(citations),
            (_, _) => left.push(raw),
        }
    }
    if !left.is_empty() {
        extras.push(("citations".into(), Json::of(&left)));
    }
}

/// Writes one citation of a text. `length` is the text's in characters, `text` the text itself where it is at hand; `index` is
/// the content's, none for a plan.
pub(super) fn written<'c>(
    citation: &'c Citation<'_>,
    text: Option<&str>,
    length: u64,
    index: Option<usize>,
) -> Json<'c> {
    let Citation { url, title, quote, span, raw: own } = citation;
    if let Some((Dialect::Cohere, own)) = own {
        return own.borrowed();
    }
    let (start, end) = span.unwrap_or((0, length));
    json::raw(|citation| {
        citation.field("start", &start);
        citation.field("end", &end);
        citation.optional("text", text.map(|text| slice(text, start, end)));
        let source = |source: &mut Object<'_>| {
            source.field("type", "document");
            source.optional("id", url.as_ref().or(title.as_ref()));
            source.object("document", |document| {
                document.optional("title", title.as_ref());
                document.optional("url", url.as_ref());
                document.optional("text", quote.as_ref());
            });
        };
        citation.list("sources", |list| json::object(list.item(), source));
        citation.optional("content_index", index.as_ref());
        citation.field("type", if index.is_some() { "TEXT_CONTENT" } else { "PLAN" });
    })
}

/// Characters `start..end` of `text`.
fn slice(text: &str, start: u64, end: u64) -> &str {
    let byte = |at: u64| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte)
    };
    text.get(byte(start)..byte(end)).unwrap_or_default()
}

/// Whether `next` is the same citation as `last`, come back for another source of it.
pub(super) fn repeats(last: Option<&Citation<'_>>, next: &Citation<'_>) -> bool {
    matches!((last.and_then(|last| last.raw.as_ref()), &next.raw), (Some((Dialect::Cohere, last)), Some((Dialect::Cohere, next))) if last.get() == next.get())
}
