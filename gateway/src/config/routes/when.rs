//! `when`: the conditions of a route.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use ai_gateway_providers::{Dialect, Operation};
use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::super::CREDENTIALS;
use super::super::Context;
use super::super::keys::ModelPattern;
use super::super::tree::{At, instead};
use crate::routing::rules::Expression;

/// `when` as written. All that is written must hold; of an array one element must. Texts are patterns in which `*` stands for
/// any characters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The path that the client asked for, without its query.
    pub path: Option<OneOrMany>,
    /// What is asked: `chat`, `completions`, `embeddings`, `rerank`, `images`, `speech`, `transcription`, `moderation` or
    /// `count_tokens`.
    pub operation: Option<OneOrMany>,
    /// The API that the client speaks: `openai-chat`, `openai-responses`, `anthropic`, `gemini`, `bedrock` or `cohere`.
    pub dialect: Option<OneOrMany>,
    /// Headers of the request; one that was not sent matches no pattern. Those that carry keys cannot be asked for.
    pub header: Option<BTreeMap<String, OneOrMany>>,
    /// Name of the client's key.
    pub key: Option<OneOrMany>,
    /// One of the tags of the client's key.
    pub tag: Option<OneOrMany>,
    /// Team of the client's key.
    pub team: Option<OneOrMany>,
    /// The model that the client asked for.
    pub model: Option<OneOrMany>,
    /// Whether the client wants a stream.
    pub stream: Option<bool>,
    /// Whether there are images in the request.
    pub images: Option<bool>,
    /// Whether the request offers tools.
    pub tools: Option<bool>,
    /// Size of the prompt in tokens: a quarter of the bytes of its texts.
    pub prompt_tokens: Option<At<TokenRange>>,
    /// Fields of the body's `metadata` (Gemini's `labels`, Bedrock's `requestMetadata`), of the header
    /// `x-portkey-metadata`, and `tags` of `x-litellm-tags`. `user` is also OpenAI's `user` and Anthropic's `user_id`.
    pub metadata: Option<BTreeMap<String, OneOrMany>>,
    /// A CEL expression over `request`, for what the others cannot say. One that fails does not match.
    pub cel: Option<At<String>>,
    /// What must not hold: it fails where all of this holds.
    pub not: Option<Box<When>>,
}

/// `prompt_tokens` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRange {
    /// At least so many. Default: 0.
    pub min: Option<u64>,
    /// At most so many. Default: no bound.
    pub max: Option<u64>,
}

/// One text, or an array of them.
#[derive(Debug, Clone)]
pub struct OneOrMany(pub(in crate::config) Vec<At<String>>);

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The path.
    Path(Patterns),
    /// What is asked.
    Operation(Vec<Operation>),
    /// The client's dialect.
    Dialect(Vec<Dialect>),
    /// A header.
    Header(HeaderName, Patterns),
    /// The key's name.
    Key(Patterns),
    /// One of the key's tags.
    Tag(Patterns),
    /// The key's team.
    Team(Patterns),
    /// The model that the client named.
    Model(Patterns),
    /// Whether a stream is wanted.
    Stream(bool),
    /// Whether there are images.
    Images(bool),
    /// Whether there are tools.
    Tools(bool),
    /// Estimated tokens of the prompt.
    PromptTokens {
        /// At least.
        min: u64,
        /// At most.
        max: u64,
    },
    /// A field of the metadata.
    Metadata(String, Patterns),
    /// What an expression says.
    Cel(Expression),
    /// Not all of these.
    Not(Vec<Condition>),
}

/// Patterns of which one must match.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns(Vec<ModelPattern>);

impl Patterns {
    /// Whether one of them matches.
    pub fn match_one(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(text))
    }
}

impl From<OneOrMany> for Patterns {
    fn from(texts: OneOrMany) -> Self {
        Self(texts.0.iter().map(|text| ModelPattern::new(&text.value)).collect())
    }
}

impl When {
    /// The conditions, those that need only the head of the request first, expressions last.
    pub(in crate::config) fn resolve(self, cx: &mut Context<'_>) -> Vec<Condition> {
        let mut all = Vec::new();
        if let Some(words) = self.operation {
            all.push(Condition::Operation(words.read(&asked(), "operation", Operation::as_str, cx)));
        }
        if let Some(words) = self.dialect {
            all.push(Condition::Dialect(words.read(&cx.dialects(), "dialect", Dialect::as_str, cx)));
        }
        for (word, texts) in [("key", &self.key), ("tag", &self.tag), ("team", &self.team)] {
            cx.asked_of_keys.extend(texts.iter().flat_map(|texts| &texts.0).map(|text| (word, text.clone())));
        }
        all.extend(self.stream.map(Condition::Stream));
        all.extend(self.key.map(|texts| Condition::Key(texts.into())));
        all.extend(self.tag.map(|texts| Condition::Tag(texts.into())));
        all.extend(self.team.map(|texts| Condition::Team(texts.into())));
        all.extend(self.model.map(|texts| Condition::Model(texts.into())));
        all.extend(self.path.map(|texts| Condition::Path(texts.into())));
        for (name, texts) in self.header.unwrap_or_default() {
            all.extend(header(&name, &texts, cx).map(|name| Condition::Header(name, texts.into())));
        }
        all.extend(self.images.map(Condition::Images));
        all.extend(self.tools.map(Condition::Tools));
        if let Some(At { value: TokenRange { min, max }, span }) = self.prompt_tokens {
            let (min, max) = (min.unwrap_or(0), max.unwrap_or(u64::MAX));
            if min > max {
                cx.report.error(span, "`min` is more than `max`: no prompt is of such a size", None);
            }
            all.push(Condition::PromptTokens { min, max });
        }
        for (name, texts) in self.metadata.unwrap_or_default() {
            all.push(Condition::Metadata(name, texts.into()));
        }
        all.extend(self.cel.and_then(|text| expression(&text, cx)).map(Condition::Cel));
        if let Some(not) = self.not {
            all.push(Condition::Not(not.resolve(cx)));
        }
        all
    }
}

/// What rules are asked for: the gateway answers the others itself, or sends them where their answer is kept.
fn asked() -> Vec<Operation> {
    Operation::ALL.into_iter().filter(|op| !matches!(op, Operation::Models | Operation::Stored)).collect()
}

fn header(name: &str, texts: &OneOrMany, cx: &mut Context<'_>) -> Option<HeaderName> {
    let span = texts.0.first().map_or(0..0, |text| text.span.clone());
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        cx.report.error(span, format!("`{name}` cannot be the name of a header"), None);
        return None;
    };
    if CREDENTIALS.contains(&header.as_str()) {
        let message = format!("`{header}` carries a credential, which no rule sees");
        cx.report.error(span, message, "write `key`, `tag` or `team`");
        return None;
    }
    Some(header)
}

/// Compiles it; an error stands at its place in the file where that can be told.
fn expression(text: &At<String>, cx: &mut Context<'_>) -> Option<Expression> {
    match Expression::compile(&text.value) {
        Ok(expression) => {
            let compared = expression.beside_model().into_iter().map(str::to_owned);
            cx.compared_models.extend(compared.map(|value| At { value, span: text.span.clone() }));
            Some(expression)
        }
        Err(error) => {
            let written = cx.report.source(text.span.clone());
            let before = written.find(text.value.as_str());
            let at = match (before, error.offset(&text.value)) {
                // The text stands in the file as it is: no escapes.
                (Some(before), Some(offset)) => {
                    let at = text.span.start + before + offset;
                    at..at + 1
                }
                _ => text.span.clone(),
            };
            let (line, column) = (error.line, error.column);
            let message = format!("line {line}, column {column} of this CEL expression: {}", error.message);
            cx.report.error(at, message, error.help);
            None
        }
    }
}

impl OneOrMany {
    /// The values that the words stand for; others are reported.
    fn read<T: Copy>(self, all: &[T], what: &str, word: fn(T) -> &'static str, cx: &mut Context<'_>) -> Vec<T> {
        let known: Vec<&str> = all.iter().map(|value| word(*value)).collect();
        let mut values = Vec::new();
        for text in self.0 {
            match all.iter().find(|value| word(**value) == text.value) {
                Some(value) => values.push(*value),
                None => {
                    let help = instead(&text.value, &known);
                    cx.report.error(text.span, format!("`{}` is no {what}", text.value), help);
                }
            }
        }
        values
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Spanned::<Texts>::deserialize(deserializer)?;
        let span = written.span();
        Ok(match written.into_inner() {
            Texts::One(value) => Self(vec![At { value, span }]),
            Texts::Many(texts) => Self(texts),
        })
    }
}

/// [`OneOrMany`] before it knows where it stands. (Serde's untagged enums lose the places of what is inside.)
enum Texts {
    One(String),
    Many(Vec<At<String>>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(Texts::Many(texts))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (one, many) = (generator.subschema_for::<String>(), generator.subschema_for::<Vec<String>>());
        schemars::json_schema!({ "anyOf": [one, many] })
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, self.0.iter().map(|pattern| format!("{:?}", pattern.as_str())))
    }
}

/// As in the file, more or less: for `explain`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(patterns) => write!(f, "path = {patterns}"),
            Self::Operation(values) => {
                f.write_str("operation = ")?;
                joined(f, values.iter().map(|value| format!("\"{value}\"")))
            }
            Self::Dialect(values) => {
                f.write_str("dialect = ")?;
                joined(f, values.iter().map(|value| format!("\"{value}\"")))
            }
            Self::Header(name, patterns) => write!(f, "header {name} = {patterns}"),
            Self::Key(patterns) => write!(f, "key = {patterns}"),
            Self::Tag(patterns) => write!(f, "tag = {patterns}"),
            Self::Team(patterns) => write!(f, "team = {patterns}"),
            Self::Model(patterns) => write!(f, "model = {patterns}"),
            Self::Stream(wanted) => write!(f, "stream = {wanted}"),
            Self::Images(wanted) => write!(f, "images = {wanted}"),
            Self::Tools(wanted) => write!(f, "tools = {wanted}"),
            Self::PromptTokens { min, max: u64::MAX } => write!(f, "prompt_tokens >= {min}"),
            Self::PromptTokens { min: 0, max } => write!(f, "prompt_tokens <= {max}"),
            Self::PromptTokens { min, max } => write!(f, "prompt_tokens from {min} to {max}"),
            Self::Metadata(name, patterns) => write!(f, "metadata {name} = {patterns}"),
            Self::Cel(expression) => write!(f, "cel {expression}"),
            Self::Not(conditions) => {
                let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
                write!(f, "not ({})", conditions.join(" and "))
            }
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, mut texts: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    if texts.len() == 1 {
        return f.write_str(&texts.next().unwrap_or_default());
    }
    write!(f, "[{}]", texts.collect::<Vec<_>>().join(", "))
}
