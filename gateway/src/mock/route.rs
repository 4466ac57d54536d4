//! Which operation a path asks for. Only the end of the path counts, so that every vendor's prefix fits.

use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Chat,
    Completions,
    Responses,
    /// A stored response: read, delete, cancel, list its input.
    StoredResponse,
    Messages,
    CountTokens,
    Embeddings,
    Images,
    Speech,
    Transcription,
    Moderations,
    Rerank,
    Models,
    Stats,
    Last,
    Reset,
}

/// A path, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route<'p> {
    pub(super) op: Op,
    /// Azure's deployment, which stands for the model.
    pub(super) deployment: Option<&'p str>,
    /// What follows the operation: the id of a model or of a stored response, and its action.
    pub(super) rest: &'p str,
}

/// Why a path is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownPath,
    WrongMethod,
}

const POSTS: &[(&str, Op)] = &[
    ("/chat/completions", Op::Chat),
    ("/completions", Op::Completions),
    ("/responses", Op::Responses),
    ("/messages", Op::Messages),
    ("/messages/count_tokens", Op::CountTokens),
    ("/embeddings", Op::Embeddings),
    ("/images/generations", Op::Images),
    ("/images/edits", Op::Images),
    ("/images/variations", Op::Images),
    ("/audio/speech", Op::Speech),
    ("/audio/transcriptions", Op::Transcription),
    ("/audio/translations", Op::Transcription),
    ("/moderations", Op::Moderations),
    ("/rerank", Op::Rerank),
    ("/mock/reset", Op::Reset),
];

const GETS: &[(&str, Op)] = &[("/models", Op::Models), ("/mock/stats", Op::Stats), ("/mock/last", Op::Last)];

/// Finds the operation of `path` (without its query).
pub(super) fn route<'p>(method: &Method, path: &'p str) -> Result<Route<'p>, Refusal> {
    let path = path.trim_end_matches('/');
    let deployment = path.split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
    let ending = |table: &[(&str, Op)]| table.iter().find(|(end, _)| path.ends_with(end)).map(|&(_, op)| op);
    let exact = |op| Route { op, deployment, rest: "" };
    if let Some(op) = ending(POSTS) {
        return if method == Method::POST { Ok(exact(op)) } else { Err(Refusal::WrongMethod) };
    }
    if let Some(op) = ending(GETS) {
        return if method == Method::GET { Ok(exact(op)) } else { Err(Refusal::WrongMethod) };
    }
    for (part, op) in [("/models/", Op::Models), ("/responses/", Op::StoredResponse)] {
        if let Some((_, rest)) = path.split_once(part) {
            return Ok(Route { op, deployment, rest });
        }
    }
    Err(Refusal::UnknownPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_prefix_fits() {
        for (path, op) in [
            ("/v1/chat/completions", Op::Chat),
            ("/openai/v1/chat/completions", Op::Chat),
            ("/v1beta/openai/chat/completions", Op::Chat),
            ("/inference/v1/completions", Op::Completions),
            ("/v1/messages", Op::Messages),
            ("/v1/messages/count_tokens", Op::CountTokens),
            ("/v2/rerank", Op::Rerank),
            ("/chat/completions/", Op::Chat),
        ] {
            assert_eq!(route(&Method::POST, path).unwrap().op, op, "{path}");
        }
    }

    #[test]
    fn azure_deployments_name_the_model() {
        let found = route(&Method::POST, "/openai/deployments/lorem-5/chat/completions").unwrap();
        assert_eq!(found, Route { op: Op::Chat, deployment: Some("lorem-5"), rest: "" });
    }

    #[test]
    fn what_is_not_served() {
        assert_eq!(route(&Method::GET, "/v1/chat/completions"), Err(Refusal::WrongMethod));
        assert_eq!(route(&Method::POST, "/v1/nothing"), Err(Refusal::UnknownPath));
    }

    #[test]
    fn ids_follow() {
        let found = route(&Method::POST, "/v1/responses/resp_1/cancel").unwrap();
        assert_eq!((found.op, found.rest), (Op::StoredResponse, "resp_1/cancel"));
        assert_eq!(route(&Method::GET, "/v1/models/a/b").unwrap().rest, "a/b");
    }
}
