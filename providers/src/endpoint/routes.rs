//! The table of paths, and the walk over it.

use std::borrow::Cow;

use http::{HeaderMap, Method, header};

use super::{BodyKind, Endpoint, EndpointError, percent};
use crate::{Dialect, Operation};

use BodyKind::{Json, Multipart};
use Dialect::{Anthropic, Bedrock, Cohere, Gemini, OpenAiChat, OpenAiResponses};

/// OpenAI operations in the `openai-chat` dialect: all POST, all below a base URL that ends in `/v1`.
const OPENAI: [(&str, Operation, BodyKind); 11] = [
    ("/chat/completions", Operation::Chat, Json),
    ("/embeddings", Operation::Embeddings, Json),
    ("/completions", Operation::Completions, Json),
    ("/moderations", Operation::Moderation, Json),
    ("/rerank", Operation::Rerank, Json),
    ("/images/generations", Operation::Images, Json),
    ("/images/edits", Operation::Images, Multipart),
    ("/images/variations", Operation::Images, Multipart),
    ("/audio/speech", Operation::Speech, Json),
    ("/audio/transcriptions", Operation::Transcription, Multipart),
    ("/audio/translations", Operation::Transcription, Multipart),
];

/// What Gemini's API does with a model: the verb, and whether it asks for a stream.
const GEMINI: [(&str, Operation, bool); 5] = [
    (":generateContent", Operation::Chat, false),
    (":streamGenerateContent", Operation::Chat, true),
    (":countTokens", Operation::CountTokens, false),
    (":embedContent", Operation::Embeddings, false),
    (":batchEmbedContents", Operation::Embeddings, false),
];

/// What its clients ask for that is not served, below `/v1` or behind a model's name: whose they are, and what they may ask in
/// its place, to follow the error.
const UNSERVED: [(&str, Dialect, &str); 11] = [
    ("/chat", Cohere, ": ask `/v2/chat`"),
    ("/embed", Cohere, ": ask `/v2/embed`"),
    ("/tokenize", Cohere, ""),
    ("/detokenize", Cohere, ""),
    ("/fim/completions", OpenAiChat, ""),
    (":predict", Gemini, ": ask `:embedContent`, or `/v1/images/generations`"),
    (":predictLongRunning", Gemini, ""),
    (":batchGenerateContent", Gemini, ": ask `:generateContent`"),
    (":asyncBatchEmbedContent", Gemini, ": ask `:batchEmbedContents`"),
    // Claude on Vertex.
    (":rawPredict", Anthropic, ": ask `/v1/messages`, as Anthropic's own client does"),
    (":streamRawPredict", Anthropic, ": ask `/v1/messages`, as Anthropic's own client does"),
];

/// Finds the endpoint of a request from its method, its path (without the query, percent-encoded as sent) and, where
/// two vendors share a path, its headers. Allocates only for a model named in the path.
///
/// # Errors
/// Says what the answer must be, and in which dialect.
pub fn match_endpoint(method: &Method, path: &str, headers: &HeaderMap) -> Result<Endpoint, EndpointError> {
    let (vendor, path) = split_vendor(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let request = Request { method, headers, vendor };
    let found = request.find(path);
    let Err(EndpointError::UnknownPath { .. }) = found else { return found };
    // An SDK that writes the version itself has got a base URL that ends in one.
    let (Some(version), rest) = split_version(path) else { return found };
    match request.find(rest) {
        Ok(Endpoint { dialect, .. }) => Err(EndpointError::SurplusVersion { dialect, version }),
        Err(_) => found,
    }
}

/// Takes the vendor's prefix off, and the doubled slash that a base URL with a trailing slash leads to.
fn split_vendor(path: &str) -> (Option<Dialect>, &str) {
    let doubled = path.len() - path.trim_start_matches('/').len();
    let path = path.get(doubled.saturating_sub(1)..).unwrap_or(path);
    for (prefix, dialect) in [
        ("/openai", OpenAiChat),
        ("/anthropic", Anthropic),
        ("/gemini", Gemini),
        ("/bedrock", Bedrock),
        ("/cohere", Cohere),
    ] {
        if let Some(rest) = path.strip_prefix(prefix)
            && rest.starts_with('/')
        {
            return (Some(dialect), rest);
        }
    }
    (None, path)
}

/// Takes the API version off.
fn split_version(path: &str) -> (Option<&'static str>, &str) {
    for version in ["v1", "v2", "v1beta", "v1alpha", "v1beta1"] {
        if let Some(rest) = path.strip_prefix('/').and_then(|path| path.strip_prefix(version))
            && rest.starts_with('/')
        {
            return (Some(version), rest);
        }
    }
    (None, path)
}

fn is_or_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path that says no version of Gemini's is Gemini's all the same: `/models/{model}:generateContent` and its sisters, and
/// all of Vertex. Model names have colons (`qwen3:8b`), so the verb decides.
fn is_gemini(path: &str) -> bool {
    is_vertex(path) || (path.starts_with("/models/") && split_verb(path).is_some_and(|(_, verb)| is_verb(verb)))
}

fn is_vertex(path: &str) -> bool {
    is_or_below(path, "/projects") || is_or_below(path, "/publishers")
}

fn is_verb(verb: &str) -> bool {
    GEMINI.iter().any(|(known, ..)| *known == verb) || UNSERVED.iter().any(|(known, ..)| *known == verb)
}

fn is_unserved(path: &str, by: Dialect) -> bool {
    UNSERVED.iter().any(|(known, dialect, _)| *known == path && *dialect == by)
}

/// A model's name, and the verb with its colon.
fn split_verb(path: &str) -> Option<(&str, &str)> {
    path.rfind(':').map(|at| path.split_at(at))
}

struct Request<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    /// The prefix that the path had.
    vendor: Option<Dialect>,
}

impl Request<'_> {
    /// Without the vendor's prefix.
    fn find(&self, path: &str) -> Result<Endpoint, EndpointError> {
        match self.vendor {
            None => match split_version(path) {
                (Some("v1beta" | "v1alpha" | "v1beta1"), rest) => self.gemini(rest),
                (Some("v2"), rest) => self.cohere(rest),
                (_, rest) if is_gemini(rest) => self.gemini(rest),
                (None, rest) if rest.starts_with("/model/") => self.bedrock(rest),
                (_, rest) if is_or_below(rest, "/messages") => self.anthropic(rest),
                (_, rest) if is_or_below(rest, "/models") => self.models(self.lister(), rest),
                (_, rest) => self.openai(rest),
            },
            Some(OpenAiChat) => match path.strip_prefix("/deployments/") {
                Some(rest) => self.azure_deployment(rest),
                None => match split_version(path) {
                    (None | Some("v1"), rest) => self.openai(rest),
                    _ => Err(EndpointError::UnknownPath { dialect: OpenAiChat }),
                },
            },
            Some(Anthropic) => match split_version(path) {
                (None | Some("v1"), rest) => self.anthropic(rest),
                _ => Err(EndpointError::UnknownPath { dialect: Anthropic }),
            },
            Some(Gemini) => self.gemini(split_version(path).1),
            Some(Bedrock) => self.bedrock(path),
            Some(Cohere | OpenAiResponses | Dialect::Own(_)) => match split_version(path) {
                // Of API v1, whose chat and embeddings have other fields.
                (Some("v1"), rest) if is_unserved(rest, Cohere) => Err(self.unserved(rest, Cohere)),
                (_, rest) => self.cohere(rest),
            },
        }
    }

    /// A path of OpenAI's API below `/v1`.
    fn openai(&self, path: &str) -> Result<Endpoint, EndpointError> {
        if let Some(&(suffix, operation, body)) = OPENAI.iter().find(|(suffix, ..)| *suffix == path) {
            return self.post(OpenAiChat, operation, suffix, body, None);
        }
        if path == "/responses" {
            if self.wants_web_socket() {
                return Err(EndpointError::NoWebSocket { dialect: OpenAiResponses });
            }
            return self.post(OpenAiResponses, Operation::Chat, "/responses", Json, None);
        }
        if let Some(rest) = path.strip_prefix("/responses/") {
            return self.stored_response(rest);
        }
        if is_or_below(path, "/models") {
            return self.models(OpenAiChat, path);
        }
        Err(self.unserved(path, self.guess(path)))
    }

    /// `/openai/deployments/{model}/chat/completions`. The model may have slashes, so the end is matched first:
    /// <https://learn.microsoft.com/azure/ai-foundry/openai/reference>.
    fn azure_deployment(&self, rest: &str) -> Result<Endpoint, EndpointError> {
        let found = OPENAI.iter().find_map(|&(suffix, operation, body)| {
            // "/chat/completions" comes before "/completions" in the table.
            rest.strip_suffix(suffix).map(|model| (suffix, operation, body, model))
        });
        let Some((suffix, operation, body, model)) = found else {
            return Err(EndpointError::UnknownPath { dialect: OpenAiChat });
        };
        let model =
            percent::decode_model(model).map_err(|reason| EndpointError::BadModel { dialect: OpenAiChat, reason })?;
        self.post(OpenAiChat, operation, suffix, body, Some(model))
    }

    /// What is below `/responses/`: kept answers, <https://platform.openai.com/docs/api-reference/responses>.
    fn stored_response(&self, rest: &str) -> Result<Endpoint, EndpointError> {
        let (id, allow) = match rest.split_once('/') {
            None if rest == "input_tokens" => {
                return self.post(OpenAiResponses, Operation::CountTokens, "/responses/input_tokens", Json, None);
            }
            None if rest == "compact" => return Err(self.not_yet(OpenAiResponses, "")),
            None if !rest.is_empty() => (rest, "GET, DELETE"),
            Some((id, "cancel")) if !id.is_empty() => (id, "POST"),
            Some((id, "input_items")) if !id.is_empty() => (id, "GET"),
            None | Some(_) => return Err(EndpointError::UnknownPath { dialect: OpenAiResponses }),
        };
        if !percent::is_id(id) {
            return Err(EndpointError::UnknownPath { dialect: OpenAiResponses });
        }
        self.check_method(OpenAiResponses, allow)?;
        Ok(Endpoint {
            operation: Operation::Stored,
            dialect: OpenAiResponses,
            suffix: Cow::Owned(format!("/responses/{rest}")),
            body: BodyKind::None,
            path_model: None,
            stream: false,
            stored: Some(id.to_owned()),
        })
    }

    /// A path of Anthropic's API below `/v1`; the base URL is the bare origin.
    fn anthropic(&self, path: &str) -> Result<Endpoint, EndpointError> {
        match path {
            "/messages" => self.post(Anthropic, Operation::Chat, "/v1/messages", Json, None),
            "/messages/count_tokens" => {
                self.post(Anthropic, Operation::CountTokens, "/v1/messages/count_tokens", Json, None)
            }
            _ if is_or_below(path, "/models") => self.models(Anthropic, path),
            _ if is_or_below(path, "/messages/batches") => {
                Err(EndpointError::NotSupportedYet { dialect: Anthropic, instead: "" })
            }
            _ => Err(EndpointError::UnknownPath { dialect: Anthropic }),
        }
    }

    /// `/models` and `/models/{id}`; ids may have slashes.
    fn models(&self, dialect: Dialect, path: &str) -> Result<Endpoint, EndpointError> {
        self.check_method(dialect, "GET, HEAD")?;
        let suffix = match dialect {
            Anthropic | Cohere => "/v1/models",
            Gemini => "/v1beta/models",
            _ => "/models",
        };
        let (suffix, path_model) = match path.strip_prefix("/models/") {
            None => (Cow::Borrowed(suffix), None),
            Some(id) => {
                let model = percent::decode_model(id).map_err(|reason| EndpointError::BadModel { dialect, reason })?;
                (Cow::Owned(format!("{suffix}/{id}")), Some(model))
            }
        };
        Ok(Endpoint {
            operation: Operation::Models,
            dialect,
            suffix,
            body: BodyKind::None,
            path_model,
            stream: false,
            stored: None,
        })
    }

    /// `/models/{model}:generateContent` and its sisters, <https://ai.google.dev/api>. Vercel's AI SDK leaves `models/` out where
    /// the name has a slash, as `provider/model` has. Below `/openai` Google serves OpenAI's API.
    fn gemini(&self, path: &str) -> Result<Endpoint, EndpointError> {
        if is_vertex(path) {
            return self.vertex(path);
        }
        let named = path.strip_prefix("/models/").or_else(|| path.strip_prefix('/')).and_then(split_verb);
        match (named, path.strip_prefix("/openai")) {
            (Some((model, verb)), _) if is_verb(verb) => self.gemini_call(model, verb),
            (_, Some(rest)) if rest.starts_with('/') => self.openai(rest),
            _ if is_or_below(path, "/models")
                && (named.is_none() || matches!(*self.method, Method::GET | Method::HEAD)) =>
            {
                self.models(Gemini, path)
            }
            _ => Err(EndpointError::UnknownPath { dialect: Gemini }),
        }
    }

    /// `[/projects/{p}/locations/{l}]/publishers/{publisher}/models/{model}:generateContent`: how Google's SDKs speak to Vertex.
    /// They take what a name has before its first slash for the publisher, and Google where there is no slash.
    fn vertex(&self, path: &str) -> Result<Endpoint, EndpointError> {
        let named = path.split_once("/publishers/").and_then(|(_, rest)| rest.split_once("/models/"));
        match named.and_then(|(publisher, rest)| Some((publisher, split_verb(rest)?))) {
            Some(("google", (model, verb))) => self.gemini_call(model, verb),
            Some((publisher, (model, verb))) => self.gemini_call(&format!("{publisher}/{model}"), verb),
            None => Err(EndpointError::UnknownPath { dialect: Gemini }),
        }
    }

    fn gemini_call(&self, model: &str, verb: &str) -> Result<Endpoint, EndpointError> {
        match GEMINI.iter().find(|(known, ..)| *known == verb) {
            Some(&(suffix, operation, stream)) => self.model_call(Gemini, operation, suffix, stream, model),
            None => Err(self.unserved(verb, Gemini)),
        }
    }

    /// `/model/{id}/converse` and its sisters, <https://docs.aws.amazon.com/bedrock/latest/APIReference>.
    fn bedrock(&self, path: &str) -> Result<Endpoint, EndpointError> {
        let unknown = EndpointError::UnknownPath { dialect: Bedrock };
        let (model, action) = path.strip_prefix("/model/").and_then(|rest| rest.rsplit_once('/')).ok_or(unknown)?;
        let (operation, suffix, stream) = match action {
            "converse" => (Operation::Chat, "/converse", false),
            "converse-stream" => (Operation::Chat, "/converse-stream", true),
            "count-tokens" => (Operation::CountTokens, "/count-tokens", false),
            "invoke" | "invoke-with-response-stream" => {
                return Err(self.not_yet(Bedrock, ": ask Converse, or `/v1/messages`"));
            }
            _ => return Err(EndpointError::UnknownPath { dialect: Bedrock }),
        };
        self.model_call(Bedrock, operation, suffix, stream, model)
    }

    /// <https://docs.cohere.com/reference/about>
    fn cohere(&self, path: &str) -> Result<Endpoint, EndpointError> {
        match path {
            "/chat" => self.post(Cohere, Operation::Chat, "/v2/chat", Json, None),
            "/embed" => self.post(Cohere, Operation::Embeddings, "/v2/embed", Json, None),
            "/rerank" => self.post(Cohere, Operation::Rerank, "/v2/rerank", Json, None),
            _ if is_or_below(path, "/models") => self.models(Cohere, path),
            _ => Err(EndpointError::UnknownPath { dialect: Cohere }),
        }
    }

    /// A POST to a path that names the model.
    fn model_call(
        &self,
        dialect: Dialect,
        operation: Operation,
        suffix: &'static str,
        stream: bool,
        model: &str,
    ) -> Result<Endpoint, EndpointError> {
        let model = percent::decode_model(model).map_err(|reason| EndpointError::BadModel { dialect, reason })?;
        Ok(Endpoint { stream, ..self.post(dialect, operation, suffix, Json, Some(model))? })
    }

    fn post(
        &self,
        dialect: Dialect,
        operation: Operation,
        suffix: &'static str,
        body: BodyKind,
        path_model: Option<String>,
    ) -> Result<Endpoint, EndpointError> {
        self.check_method(dialect, "POST")?;
        let body = if body == Multipart && self.is_json() { Json } else { body };
        let suffix = Cow::Borrowed(suffix);
        Ok(Endpoint { operation, dialect, suffix, body, path_model, stream: false, stored: None })
    }

    fn check_method(&self, dialect: Dialect, allow: &'static str) -> Result<(), EndpointError> {
        let allowed = allow.split(", ").any(|allowed| self.method == allowed);
        if allowed { Ok(()) } else { Err(EndpointError::WrongMethod { dialect, allow }) }
    }

    fn not_yet(&self, dialect: Dialect, instead: &'static str) -> EndpointError {
        self.check_method(dialect, "POST").err().unwrap_or(EndpointError::NotSupportedYet { dialect, instead })
    }

    /// The error for a path or verb that is not served; `guess`: whose it is if nobody knows it.
    fn unserved(&self, path: &str, guess: Dialect) -> EndpointError {
        let may_be = |dialect| path.starts_with(':') || self.vendor.is_none_or(|vendor| vendor == dialect);
        match UNSERVED.iter().find(|(known, dialect, _)| *known == path && may_be(*dialect)) {
            Some(&(_, dialect, instead)) => self.not_yet(dialect, instead),
            None => EndpointError::UnknownPath { dialect: guess },
        }
    }

    /// Whose client asks for models on the unprefixed path that vendors share.
    fn lister(&self) -> Dialect {
        let has = |name: &str| self.headers.contains_key(name);
        if has("x-goog-api-key") || has("x-goog-api-client") {
            Gemini
        } else if self.headers.get("x-fern-sdk-name").is_some_and(|name| name == "cohere") {
            Cohere
        } else if has("anthropic-version") || (has("x-api-key") && !self.headers.contains_key(header::AUTHORIZATION)) {
            Anthropic
        } else {
            OpenAiChat
        }
    }

    fn wants_web_socket(&self) -> bool {
        let upgrade = self.headers.get(header::UPGRADE);
        *self.method == Method::GET && upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }

    fn is_json(&self) -> bool {
        let content_type = self.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        content_type.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/json"))
    }

    /// The dialect of the error for a path that does not exist, below `/v1` or below nothing.
    fn guess(&self, path: &str) -> Dialect {
        if let Some(vendor) = self.vendor {
            vendor
        } else if self.headers.contains_key("anthropic-version") {
            Anthropic
        } else if is_or_below(path, "/responses") {
            OpenAiResponses
        } else if path.starts_with("/v1beta") || self.headers.contains_key("x-goog-api-key") {
            Gemini
        } else {
            OpenAiChat
        }
    }
}
