//! What is asked: Cohere (<https://docs.cohere.com/reference/rerank>), Jina (<https://api.jina.ai/redoc>), Voyage
//! (<https://docs.voyageai.com/reference/reranker-api>), Bedrock
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/rerank-supported.html>).

use super::super::{Wire, no_translation, refused};
use crate::codec::wire::{read_request, wire};
use crate::common::{Extras, Json, Losses, Str};
use crate::dialect::Operation;
use crate::error::ApiError;
use crate::json;

wire! {
    struct Body<'a> {
        "query" => query: Json<'a>,
        "documents" => documents: Vec<Json<'a>>,
        "top_n" => top_n: Option<u64>,
        "top_k" => top_k: Option<u64>,
        "return_documents" => return_documents: Option<bool>,
        "max_tokens_per_doc" => max_tokens_per_doc: Option<u64>,
        "truncation" => truncation: Option<bool>,
        "model" => model: Option<Str<'a>>,
    }

    /// A document that has fields.
    struct Fields<'a> {
        "text" => text: Option<Str<'a>>,
        "title" => title: Option<Str<'a>>,
    }
}

/// What is asked, in the words of no vendor.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The form it was read from, which alone understands `extras`.
    pub(super) wire: Wire,
    query: Json<'a>,
    /// Strings or objects.
    pub(super) documents: Vec<Json<'a>>,
    top_n: Option<u64>,
    /// The same in Voyage's word.
    pub(super) top_k: Option<u64>,
    pub(super) return_documents: Option<bool>,
    max_tokens_per_doc: Option<u64>,
    truncation: Option<bool>,
    extras: Extras<'a>,
}

pub(super) fn read(wire: Wire, body: &[u8]) -> Result<Request<'_>, ApiError> {
    let body: Body<'_> = read_request(body)?;
    if body.query.is_null() {
        return Err(refused("query", "the query is missing"));
    }
    if body.documents.is_empty() {
        return Err(refused("documents", "there are no documents to rank"));
    }
    if !body.documents.iter().all(|document| document.is_object() || document.get().starts_with('"')) {
        return Err(refused("documents", "a document is a text or an object"));
    }
    Ok(Request {
        wire,
        query: body.query,
        documents: body.documents,
        top_n: body.top_n,
        top_k: body.top_k,
        return_documents: body.return_documents,
        max_tokens_per_doc: body.max_tokens_per_doc,
        truncation: body.truncation,
        extras: body.rest,
    })
}

/// Cohere refuses objects, and advises to write them as YAML: <https://docs.cohere.com/docs/rerank-overview>.
fn text_of(document: &Json<'_>) -> Result<Str<'static>, ApiError> {
    let broken = |_| refused("documents", "a document cannot be read");
    if !document.is_object() {
        return document.read::<Str<'_>>().map(Str::into_owned).map_err(broken);
    }
    let Fields { text, title, rest } = document.read().map_err(broken)?;
    if let (Some(text), None, true) = (&text, &title, rest.is_empty()) {
        return Ok(text.clone().into_owned());
    }
    let mut yaml = String::new();
    let named = [("title", title), ("text", text)].into_iter();
    for (name, value) in named.filter_map(|(name, value)| Some((name, value?))) {
        yaml.push_str(&format!("{name}: {value}\n"));
    }
    for (name, value) in &rest {
        let value = value.read::<Str<'_>>().map_or_else(|_| value.get().to_owned(), Str::into_string);
        yaml.push_str(&format!("{name}: {value}\n"));
    }
    Ok(yaml.into())
}

pub(super) fn write(wire: Wire, request: &Request<'_>, model: &str, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let Request {
        wire: from,
        query,
        documents,
        top_n,
        top_k,
        return_documents,
        max_tokens_per_doc,
        truncation,
        extras,
    } = request;
    let own = *from == wire;
    if !own {
        losses.note_extras("", extras);
    }
    let extras = if own { &extras[..] } else { &[] };
    let top_n = top_n.or(*top_k);
    // The default everywhere; only Voyage can be told to refuse.
    losses.note_if(wire != Wire::Voyage && !own && *truncation == Some(false), "truncation");
    losses.note_if(!own && wire != Wire::Cohere && max_tokens_per_doc.is_some(), "max_tokens_per_doc");
    // Jina ranks images, which it takes as objects.
    if !own && !query.get().starts_with('"') {
        return Err(refused("query", "this model takes a text as the query"));
    }
    let texts = if wire == Wire::Jina && own {
        documents.clone()
    } else {
        documents.iter().map(|document| text_of(document).map(|text| Json::of(&text))).collect::<Result<_, _>>()?
    };
    if !matches!(wire, Wire::Cohere | Wire::Jina | Wire::Voyage | Wire::Bedrock | Wire::BedrockCohere) {
        return Err(no_translation(Operation::Rerank));
    }
    Ok(json::body(|o| {
        match wire {
            Wire::BedrockCohere => o.field("api_version", &2),
            Wire::Bedrock => {}
            _ => o.field("model", model),
        }
        o.field("query", query);
        o.field("documents", &texts);
        let most = if wire == Wire::Voyage || (own && top_k.is_some()) { "top_k" } else { "top_n" };
        o.optional(most, top_n.as_ref());
        match wire {
            Wire::Cohere => o.optional("max_tokens_per_doc", max_tokens_per_doc.as_ref()),
            Wire::Jina => {
                o.optional("max_tokens_per_doc", max_tokens_per_doc.filter(|_| own).as_ref());
                // The gateway has the documents: they need not travel back.
                o.optional("return_documents", if own { return_documents.as_ref() } else { Some(&false) });
            }
            Wire::Voyage => {
                o.optional("return_documents", return_documents.filter(|_| own).as_ref());
                o.optional("truncation", truncation.as_ref());
            }
            _ => {}
        }
        if own && wire != Wire::Voyage {
            o.optional("truncation", truncation.as_ref());
        }
        if own && wire == Wire::Cohere {
            o.optional("return_documents", return_documents.as_ref());
        }
        o.extras(extras);
    }))
}
