//! Rerank: documents ordered by their relevance to a query. The vendors' forms are near each other, so that one reader
//! serves all clients (`request`); answers are in `answer`.
//!
//! Bedrock is spoken to by InvokeModel: it takes Cohere's body for Cohere's ranker (`BedrockCohere`) and for Amazon's
//! (`Bedrock`), and needs no other host and no ARN, where `/rerank` of the agent runtime needs both.

mod answer;
mod request;

use self::request::Request;
use super::{About, Answered, Asked, Translated, Wire, no_translation};
use crate::codec::Target;
use crate::common::Losses;
use crate::dialect::Operation;
use crate::error::ApiError;

pub(super) fn translate_request(
    from: Wire,
    to: Wire,
    body: &[u8],
    target: &Target<'_>,
) -> Result<Translated, ApiError> {
    let request = match from {
        Wire::Cohere | Wire::Jina | Wire::Voyage => request::read(from, body)?,
        _ => return Err(no_translation(Operation::Rerank)),
    };
    let mut losses = Losses::default();
    let body = request::write(to, &request, target.model, &mut losses)?;
    // The gateway repeats them itself: not every provider can.
    let documents = request.documents.iter().filter(|_| request.returned());
    let asked =
        Asked { documents: documents.map(|document| document.clone().into_owned()).collect(), ..Asked::default() };
    Ok(Translated { body, losses, asked })
}

pub(super) fn translate_answer(
    from: Wire,
    to: Wire,
    body: &[u8],
    asked: &Asked,
    about: &About<'_>,
) -> Result<Answered, ApiError> {
    if !matches!(from, Wire::Cohere | Wire::Jina | Wire::Voyage | Wire::Bedrock | Wire::BedrockCohere) {
        return Err(no_translation(Operation::Rerank));
    }
    let answer = answer::read(body)?;
    let body = answer::write(to, &answer, asked, about)?;
    Ok(Answered { body, losses: Losses::default(), usage: answer.usage })
}

impl Request<'_> {
    /// Whether the answer shall repeat the documents. Only Jina does so unasked.
    fn returned(&self) -> bool {
        self.return_documents.unwrap_or(self.wire == Wire::Jina && self.top_k.is_none())
    }
}

#[cfg(test)]
mod tests;
