//! Which operation a path asks for, and in which dialect. Only the end of the path counts, so that every vendor's prefix
//! fits.

use ai_gateway_providers::Dialect;
use http::Method;
use percent_encoding::percent_decode_str;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Chat,
    Completions,
    Responses,
    /// A stored response: read, delete, cancel, list its input.
    StoredResponse,
    Messages,
    /// A conversation in a dialect that the gateway's codecs read and write here.
    Translated,
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
    pub(super) dialect: Dialect,
    /// Bedrock carries another dialect: streams come in its frames, errors in its shape.
    pub(super) on_bedrock: bool,
    /// The model, where the path names it: Gemini, Bedrock, Azure's deployments.
    pub(super) model: Option<String>,
    /// The path asks for a stream.
    pub(super) stream: bool,
    /// What follows the operation: the id of a model or of a stored response, and its action; Gemini's verb.
    pub(super) rest: &'p str,
}

/// Why a path is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownPath,
    WrongMethod,
}

const POSTS: &[(&str, Op, Dialect)] = &[
    ("/chat/completions", Op::Chat, Dialect::OpenAiChat),
    ("/completions", Op::Completions, Dialect::OpenAiChat),
    ("/responses", Op::Responses, Dialect::OpenAiResponses),
    ("/messages", Op::Messages, Dialect::Anthropic),
    ("/messages/count_tokens", Op::CountTokens, Dialect::Anthropic),
    ("/embeddings", Op::Embeddings, Dialect::OpenAiChat),
    ("/images/generations", Op::Images, Dialect::OpenAiChat),
    ("/images/edits", Op::Images, Dialect::OpenAiChat),
    ("/images/variations", Op::Images, Dialect::OpenAiChat),
    ("/audio/speech", Op::Speech, Dialect::OpenAiChat),
    ("/audio/transcriptions", Op::Transcription, Dialect::OpenAiChat),
    ("/audio/translations", Op::Transcription, Dialect::OpenAiChat),
    ("/moderations", Op::Moderations, Dialect::OpenAiChat),
    ("/v2/chat", Op::Translated, Dialect::Cohere),
    ("/v2/embed", Op::Embeddings, Dialect::Cohere),
    ("/v2/rerank", Op::Rerank, Dialect::Cohere),
    ("/rerank", Op::Rerank, Dialect::OpenAiChat),
    ("/mock/reset", Op::Reset, Dialect::OpenAiChat),
];

const GETS: &[(&str, Op, Dialect)] = &[
    ("/v1beta/models", Op::Models, Dialect::Gemini),
    ("/models", Op::Models, Dialect::OpenAiChat),
    ("/mock/stats", Op::Stats, Dialect::OpenAiChat),
    ("/mock/last", Op::Last, Dialect::OpenAiChat),
];

const BELOW: &[(&str, Op, Dialect)] = &[
    ("/v1beta/models/", Op::Models, Dialect::Gemini),
    ("/models/", Op::Models, Dialect::OpenAiChat),
    ("/responses/", Op::StoredResponse, Dialect::OpenAiResponses),
];

/// What Gemini (<https://ai.google.dev/api>) and Vertex AI write behind the model's name; whether it is a stream.
const VERBS: &[(&str, Op, Dialect, bool)] = &[
    ("generateContent", Op::Translated, Dialect::Gemini, false),
    ("streamGenerateContent", Op::Translated, Dialect::Gemini, true),
    ("countTokens", Op::CountTokens, Dialect::Gemini, false),
    ("embedContent", Op::Embeddings, Dialect::Gemini, false),
    ("batchEmbedContents", Op::Embeddings, Dialect::Gemini, false),
    ("predict", Op::Embeddings, Dialect::Gemini, false),
    ("rawPredict", Op::Messages, Dialect::Anthropic, false),
    ("streamRawPredict", Op::Messages, Dialect::Anthropic, true),
];

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>
const ACTIONS: &[(&str, Op, Dialect, bool)] = &[
    ("converse", Op::Translated, Dialect::Bedrock, false),
    ("converse-stream", Op::Translated, Dialect::Bedrock, true),
    ("count-tokens", Op::CountTokens, Dialect::Bedrock, false),
    ("invoke", Op::Messages, Dialect::Anthropic, false),
    ("invoke-with-response-stream", Op::Messages, Dialect::Anthropic, true),
];

/// Finds the operation of `path` (without its query).
pub(super) fn route<'p>(method: &Method, path: &'p str) -> Result<Route<'p>, Refusal> {
    let path = path.trim_end_matches('/');
    let only = |wanted: &Method, route| if method == wanted { Ok(route) } else { Err(Refusal::WrongMethod) };
    if let Some(route) = google(path).or_else(|| bedrock(path)) {
        return only(&Method::POST, route);
    }
    let deployment = path.split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
    let model = deployment.map(decoded);
    let found = |&(_, op, dialect): &(&str, Op, Dialect), rest| Route {
        op,
        dialect,
        on_bedrock: false,
        model: model.clone(),
        stream: false,
        rest,
    };
    for (method, table) in [(Method::POST, POSTS), (Method::GET, GETS)] {
        if let Some(row) = table.iter().find(|(end, ..)| path.ends_with(end)) {
            return only(&method, found(row, ""));
        }
    }
    let below = BELOW.iter().find_map(|row| path.split_once(row.0).map(|(_, rest)| found(row, rest)));
    below.ok_or(Refusal::UnknownPath)
}

/// `…/models/{model}:verb`, and Vertex AI's `…/endpoints/{id}:verb`.
fn google(path: &str) -> Option<Route<'_>> {
    let (head, verb) = path.rsplit_once(':')?;
    let &(_, op, dialect, stream) = VERBS.iter().find(|(known, ..)| *known == verb)?;
    let (_, model) = head.rsplit_once("/models/").or_else(|| head.rsplit_once('/'))?;
    let route = Route { op, dialect, on_bedrock: false, model: Some(decoded(model)), stream, rest: verb };
    if dialect == Dialect::Anthropic && model == "count-tokens" {
        return Some(Route { op: Op::CountTokens, model: None, ..route });
    }
    Some(route)
}

/// `/model/{id}/action`; the id may be an ARN with slashes.
fn bedrock(path: &str) -> Option<Route<'_>> {
    let (id, action) = path.split_once("/model/")?.1.rsplit_once('/')?;
    let &(_, op, dialect, stream) = ACTIONS.iter().find(|(known, ..)| *known == action)?;
    let on_bedrock = dialect != Dialect::Bedrock;
    Some(Route { op, dialect, on_bedrock, model: Some(decoded(id)), stream, rest: "" })
}

/// A segment of a path, percent-decoded; what is malformed stays.
fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_prefix_fits() {
        for (path, op, dialect) in [
            ("/v1/chat/completions", Op::Chat, Dialect::OpenAiChat),
            ("/openai/v1/chat/completions", Op::Chat, Dialect::OpenAiChat),
            ("/v1beta/openai/chat/completions", Op::Chat, Dialect::OpenAiChat),
            ("/inference/v1/completions", Op::Completions, Dialect::OpenAiChat),
            ("/v1/messages", Op::Messages, Dialect::Anthropic),
            ("/v1/messages/count_tokens", Op::CountTokens, Dialect::Anthropic),
            ("/v1/v2/rerank", Op::Rerank, Dialect::Cohere),
            ("/v1/rerank", Op::Rerank, Dialect::OpenAiChat),
            ("/chat/completions/", Op::Chat, Dialect::OpenAiChat),
            ("/v2/chat", Op::Translated, Dialect::Cohere),
        ] {
            let found = route(&Method::POST, path).unwrap();
            assert_eq!((found.op, found.dialect), (op, dialect), "{path}");
        }
    }

    #[test]
    fn azure_deployments_name_the_model() {
        let found = route(&Method::POST, "/openai/deployments/lorem-5/chat/completions").unwrap();
        assert_eq!((found.op, found.model.as_deref()), (Op::Chat, Some("lorem-5")));
    }

    #[test]
    fn what_is_not_served() {
        for path in ["/v1/chat/completions", "/v1beta/models/x:generateContent", "/model/x/converse"] {
            assert_eq!(route(&Method::GET, path), Err(Refusal::WrongMethod), "{path}");
        }
        assert_eq!(route(&Method::POST, "/v1/nothing"), Err(Refusal::UnknownPath));
        assert_eq!(route(&Method::POST, "/model/x/nothing"), Err(Refusal::UnknownPath));
    }

    #[test]
    fn ids_follow() {
        let found = route(&Method::POST, "/v1/responses/resp_1/cancel").unwrap();
        assert_eq!((found.op, found.rest), (Op::StoredResponse, "resp_1/cancel"));
        assert_eq!(route(&Method::GET, "/v1/models/a/b").unwrap().rest, "a/b");
        assert_eq!(route(&Method::GET, "/v1beta/models/a").unwrap().dialect, Dialect::Gemini);
    }

    #[test]
    fn clouds_name_the_model_and_the_stream() {
        let vertex = "/v1/projects/p/locations/l/publishers";
        for (path, op, model, stream, on_bedrock) in [
            ("/v1beta/models/a%2Florem-5+crlf:generateContent", Op::Translated, Some("a/lorem-5+crlf"), false, false),
            (&*format!("{vertex}/google/models/echo:streamGenerateContent"), Op::Translated, Some("echo"), true, false),
            (
                &*format!("{vertex}/anthropic/models/claude-echo:rawPredict"),
                Op::Messages,
                Some("claude-echo"),
                false,
                false,
            ),
            (&*format!("{vertex}/anthropic/models/count-tokens:rawPredict"), Op::CountTokens, None, false, false),
            ("/model/anthropic.echo%3A0/converse-stream", Op::Translated, Some("anthropic.echo:0"), true, false),
            ("/v1/model/arn:aws:x/y/invoke", Op::Messages, Some("arn:aws:x/y"), false, true),
            ("/model/m/invoke-with-response-stream", Op::Messages, Some("m"), true, true),
        ] {
            let found = route(&Method::POST, path).unwrap();
            assert_eq!(
                (found.op, found.model.as_deref(), found.stream, found.on_bedrock),
                (op, model, stream, on_bedrock),
                "{path}"
            );
        }
    }
}
