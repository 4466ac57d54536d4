//! The content of a message as OpenAI and Anthropic write it: a text or a list of parts, which may hold further lists.

use std::fmt;

use ai_gateway_providers::Dialect;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::proof;

/// A text, or a list of parts.
#[derive(Default)]
pub(super) struct Content {
    pub(super) text: String,
    /// Images, audio, files.
    pub(super) counts: [usize; 3],
    /// The results of tools, which stand before what the user says.
    pub(super) results: Option<String>,
    /// The kinds of the parts, for the history.
    pub(super) marks: Vec<Mark>,
}

/// What a part of a message of the model is.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Text,
    Call,
    /// Reasoning, and whether it is signed as it should be.
    Thought(bool),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    content: Option<Box<Content>>,
    thinking: Option<String>,
    signature: Option<String>,
}

/// Appends `more` on a line of its own.
pub(super) fn push_line(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}

impl Content {
    fn add(&mut self, part: Part) {
        match part.kind.as_deref() {
            Some("image" | "image_url" | "input_image") => self.counts[0] += 1,
            Some("audio" | "input_audio") => self.counts[1] += 1,
            Some("file" | "input_file" | "document") => self.counts[2] += 1,
            Some("tool_result") => {
                let said = part.content.map(|inner| *inner).unwrap_or_default();
                push_line(self.results.get_or_insert_default(), &said.text);
                add(&mut self.counts, said.counts);
            }
            Some("tool_use") => self.marks.push(Mark::Call),
            Some("thinking") => {
                let text = part.thinking.unwrap_or_default();
                let signature = part.signature.unwrap_or_default();
                self.marks.push(Mark::Thought(proof::proves(Dialect::Anthropic, &text, &signature)));
            }
            // The mock never hides its reasoning so.
            Some("redacted_thinking") => self.marks.push(Mark::Thought(false)),
            // Texts of all dialects, and any other part that has one.
            Some(_) | None => {
                self.marks.push(Mark::Text);
                push_line(&mut self.text, part.text.as_deref().unwrap_or_default());
            }
        }
    }

    /// Results, text and the number of media.
    pub(super) fn described(&self) -> String {
        let mut text = self.results.clone().unwrap_or_default();
        push_line(&mut text, &self.text);
        described(text, self.counts)
    }
}

/// Adds the media of one part to those of others.
pub(super) fn add(counts: &mut [usize; 3], more: [usize; 3]) {
    counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
}

/// A text with the images, audio and files that came with it.
pub(super) fn described(mut text: String, counts: [usize; 3]) -> String {
    for (count, name) in counts.into_iter().zip(["image", "audio", "file"]) {
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            text.push_str(&format!(" [{count} {name}{plural}]"));
        }
    }
    text
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of content parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content { text: text.to_owned(), ..Content::default() })
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }

            fn visit_u64<E>(self, _token: u64) -> Result<Content, E> {
                Ok(Content { text: "token".into(), ..Content::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                content.add(Part::deserialize(serde::de::value::MapAccessDeserializer::new(map))?);
                Ok(content)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                while let Some(mut part) = seq.next_element::<Content>()? {
                    push_line(&mut content.text, &part.text);
                    if let Some(result) = part.results {
                        push_line(content.results.get_or_insert_default(), &result);
                    }
                    add(&mut content.counts, part.counts);
                    content.marks.append(&mut part.marks);
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(Parts)
    }
}
