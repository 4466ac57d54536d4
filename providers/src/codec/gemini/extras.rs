//! Fields that the common model has no place for: where they go in, and where they come out again.
//!
//! A field of a nested object keeps the path to it in its name (`functionCall.willContinue`), so that extras stay a flat
//! list. A name that begins with `=` remembers how a client spelt something that the model does say
//! ([`Losses::note_extras`](crate::common::Losses::note_extras)).

use serde::{Serialize, Serializer};

use crate::common::{Extras, Json, Str};

/// Objects whose fields are kept under a path.
const NESTED: [&str; 9] = [
    "functionCall.",
    "functionResponse.",
    "inlineData.",
    "fileData.",
    "systemInstruction.",
    "generationConfig.",
    "generationConfig.thinkingConfig.",
    "toolConfig.",
    "toolConfig.functionCallingConfig.",
];

/// Fields of answers that are kept as they are. An encoder of a stream cannot see whose extras it gets, so it passes
/// only these.
const OF_ANSWERS: [&str; 26] = [
    "promptFeedback",
    "modelStatus",
    "groundingMetadata",
    "groundingAttributions",
    "citationMetadata",
    "safetyRatings",
    "avgLogprobs",
    "urlContextMetadata",
    "urlRetrievalMetadata",
    "finishMessage",
    "tokenCount",
    "continuationToken",
    "score",
    "thought",
    "thoughtSignature",
    "partMetadata",
    "videoMetadata",
    "mediaResolution",
    "mediaProcessing",
    "audioTranscription",
    "speechMetadata",
    "documentMetadata",
    "spreadsheetMetadata",
    "audioMetadata",
    "automaticFunctionCallingHistory",
    "responseTokenDetails",
];

/// Moves the fields of a nested object in.
pub(super) fn nest<'a>(extras: &mut Extras<'a>, prefix: &str, fields: Extras<'a>) {
    extras.extend(fields.into_iter().map(|(name, json)| (format!("{prefix}{name}").into(), json)));
}

/// Remembers a spelling.
pub(super) fn remember<'a>(extras: &mut Extras<'a>, name: &'static str, json: Json<'a>) {
    extras.push((name.into(), json));
}

/// A remembered spelling, or any other extra.
pub(super) fn find<'e, 'a>(extras: &'e [(Str<'a>, Json<'a>)], name: &str) -> Option<&'e Json<'a>> {
    extras.iter().find(|(key, _)| &**key == name).map(|(_, json)| json)
}

/// Whether an extra is a field of Gemini's answers: another API's may have the same name.
pub(super) fn of_answers(name: &str, json: &Json<'_>) -> bool {
    let fits = match name {
        "thought" => json.read::<bool>().is_ok(),
        "thoughtSignature" => json.read::<Str<'_>>().is_ok(),
        _ => true,
    };
    fits && (OF_ANSWERS.contains(&name) || NESTED.iter().any(|prefix| name.starts_with(prefix)))
}

/// The extras that stand directly in one object, written as its fields.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beside<'o> {
    extras: &'o [(Str<'o>, Json<'o>)],
    prefix: &'static str,
}

impl<'o> Beside<'o> {
    /// Those of the object at `prefix`, a path that ends with a point, or nothing.
    pub(super) fn of(extras: &'o [(Str<'o>, Json<'o>)], prefix: &'static str) -> Self {
        Self { extras, prefix }
    }

    /// Name and value of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'o str, &'o Json<'o>)> + use<'o> {
        let prefix = self.prefix;
        let deeper = move |name: &str| {
            NESTED.iter().any(|path| path.len() > prefix.len() && path.starts_with(prefix) && name.starts_with(path))
        };
        self.extras.iter().filter_map(move |(name, json)| {
            let own = name.strip_prefix(prefix)?;
            (!name.starts_with('=') && !deeper(name)).then_some((own, json))
        })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl Serialize for Beside<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
