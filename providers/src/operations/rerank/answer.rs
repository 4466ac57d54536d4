//! What is answered. Kept of it: places, scores and what was consumed; documents are those of the request.

use super::super::{About, Asked, Wire, no_answer, no_translation};
use crate::codec::wire::{read_answer, wire};
use crate::common::{Json, Str};
use crate::dialect::{Dialect, Operation};
use crate::error::ApiError;
use crate::json;
use crate::usage::Usage;
use crate::usage::report::Report;

wire! {
    /// Cohere and Bedrock say `results` and `meta`, Jina `results` and `usage`, Voyage `data` and `usage`.
    struct Body<'a> {
        "id" => id: Option<Str<'a>>,
        "results" => results: Option<Vec<Item<'a>>>,
        "data" => data: Option<Vec<Item<'a>>>,
        "meta" => meta: Option<Json<'a>>,
        "usage" => usage: Option<Json<'a>>,
    }

    struct Item<'a> {
        "index" => index: Option<u64>,
        "relevance_score" => relevance_score: Option<Json<'a>>,
    }
}

/// What is answered, in the words of no vendor.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    id: Option<Str<'a>>,
    ranks: Vec<Rank<'a>>,
    pub(super) usage: Option<Usage>,
}

/// A document's place in the request, and its score as it was written.
#[derive(Debug)]
struct Rank<'a> {
    index: u64,
    score: Json<'a>,
}

pub(super) fn read(body: &[u8]) -> Result<Answer<'_>, ApiError> {
    let Body { id, results, data, meta, usage, rest: _ } = read_answer(body)?;
    let items = results.or(data).ok_or_else(|| no_answer("results"))?;
    let ranks: Option<Vec<_>> = items.into_iter().map(rank).collect();
    let dialect = if meta.is_some() { Dialect::Cohere } else { Dialect::OpenAiChat };
    let report = meta.or(usage).map(|usage| Report::read(dialect, Operation::Rerank, &usage.to_tree()));
    Ok(Answer {
        id,
        ranks: ranks.ok_or_else(|| no_answer("scores that can be read"))?,
        usage: report.and_then(|report| report.usage()),
    })
}

fn rank(item: Item<'_>) -> Option<Rank<'_>> {
    let Item { index, relevance_score, rest: _ } = item;
    let score = relevance_score?;
    score.read::<f64>().ok()?;
    Some(Rank { index: index?, score })
}

pub(super) fn write(wire: Wire, answer: &Answer<'_>, asked: &Asked, about: &About<'_>) -> Result<Vec<u8>, ApiError> {
    if !matches!(wire, Wire::Cohere | Wire::Jina | Wire::Voyage) {
        return Err(no_translation(Operation::Rerank));
    }
    let usage = answer.usage.unwrap_or_default();
    let tokens = usage.total_input();
    Ok(json::body(|o| {
        if wire == Wire::Voyage {
            o.field("object", "list");
        } else {
            o.field("id", answer.id.as_deref().unwrap_or(about.request_id));
        }
        if wire != Wire::Cohere {
            o.field("model", about.model);
        }
        o.each(if wire == Wire::Voyage { "data" } else { "results" }, &answer.ranks, |out, Rank { index, score }| {
            let document = usize::try_from(*index).ok().and_then(|index| asked.documents.get(index));
            json::object(out, |o| {
                o.field("index", index);
                o.field("relevance_score", score);
                match document {
                    // Voyage's documents are texts, those of the others objects.
                    Some(text) if wire != Wire::Voyage && !text.is_object() => {
                        o.object("document", |o| o.field("text", text));
                    }
                    document => o.optional("document", document),
                }
            });
        });
        // Cohere's clients look for `meta`, those of the others for `usage`; of Cohere's v1, which shares its path with Jina, too.
        if wire != Wire::Voyage {
            o.object("meta", |o| {
                o.object("api_version", |o| o.field("version", if wire == Wire::Cohere { "2" } else { "1" }));
                o.object("billed_units", |o| {
                    o.optional("search_units", usage.search_units.as_ref());
                    o.optional("input_tokens", tokens.as_ref());
                });
            });
        }
        if wire != Wire::Cohere {
            o.object("usage", |o| o.field("total_tokens", &tokens.unwrap_or(0)));
        }
    }))
}
