//! The fields of a body that decide at which rates it is billed.

use super::cursor::Cursor;
use crate::price::{Terms, Tier, Unit};

/// Top-level fields with a tier or kinds of answers.
pub(super) fn is_terms(name: &str) -> bool {
    matches!(
        name,
        "service_tier"
            | "serviceTier"
            | "speed"
            | "inference_geo"
            | "modalities"
            | "generationConfig"
            | "generation_config"
            | "cache_control"
    )
}

impl Terms {
    /// Those of a body that [`scan_json`](super::scan_json) has accepted, by its top-level fields alone: what is to be cached is
    /// told by its content, see [`BodyFacts::terms`](super::BodyFacts::terms).
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let (mut terms, mut cursor) = (Self::default(), Cursor::new(body));
        cursor.enter(b'{');
        while let Some(key) = cursor.next_key() {
            if !terms.field(&key.name, &mut cursor) {
                cursor.value();
            }
        }
        terms
    }

    /// Takes the value of a top-level field that is one of these.
    pub(super) fn field(&mut self, name: &[u8], cursor: &mut Cursor<'_>) -> bool {
        match name {
            b"service_tier" | b"serviceTier" => self.tier(cursor),
            b"speed" => {
                if cursor.text().is_some_and(|speed| *speed == *b"fast") {
                    self.tier = Some(Tier::FastMode);
                }
            }
            b"inference_geo" => self.us_only = cursor.text().is_some_and(|geo| *geo == *b"us"),
            b"modalities" => self.modalities(cursor),
            b"generationConfig" | b"generation_config" => {
                cursor.members(|name, cursor| match name {
                    b"responseModalities" | b"response_modalities" => self.modalities(cursor),
                    _ => drop(cursor.value()),
                });
            }
            _ => return self.cache(name, cursor),
        }
        true
    }

    /// Takes the value of a member that marks what is to be cached, if it is one; it may stand anywhere in a prompt.
    pub(super) fn cache(&mut self, name: &[u8], cursor: &mut Cursor<'_>) -> bool {
        if !matches!(name, b"cache_control" | b"cachePoint") {
            return false;
        }
        let mut hour = false;
        let is_mark = cursor.members(|name, cursor| match name {
            b"ttl" => hour = cursor.text().is_some_and(|ttl| *ttl == *b"1h"),
            _ => drop(cursor.value()),
        });
        let write = if hour { Unit::CacheWrite1h } else { Unit::CacheWrite };
        self.cache_write = self.cache_write.max(is_mark.then_some(write));
        true
    }

    /// A word, or Bedrock's object with one.
    fn tier(&mut self, cursor: &mut Cursor<'_>) {
        if cursor.peek() == Some(b'{') {
            cursor.members(|name, cursor| match name {
                b"type" => self.tier_word(cursor),
                _ => drop(cursor.value()),
            });
        } else {
            self.tier_word(cursor);
        }
    }

    fn tier_word(&mut self, cursor: &mut Cursor<'_>) {
        if let Some(word) = cursor.text() {
            self.ask_tier(&String::from_utf8_lossy(&word));
        }
    }

    fn modalities(&mut self, cursor: &mut Cursor<'_>) {
        if !cursor.enter(b'[') {
            cursor.value();
            return;
        }
        let (mut some, mut images) = (false, false);
        while cursor.next_element() {
            let word = cursor.text().unwrap_or_default();
            some = true;
            images |= word.eq_ignore_ascii_case(b"image");
            self.audio |= word.eq_ignore_ascii_case(b"audio");
        }
        self.no_images = some && !images;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::BodyFacts;
    use super::*;

    fn terms(body: &Value) -> Terms {
        BodyFacts::of(body.to_string().as_bytes()).terms
    }

    #[test]
    fn tiers_and_kinds_of_answers_of_each_dialect() {
        let asks = |tier| Terms { tier: Some(tier), ..Terms::default() };
        let no_images = Terms { no_images: true, ..Terms::default() };
        for (body, right) in [
            (json!({"messages": []}), Terms::default()),
            (json!({"service_tier": "default"}), Terms::default()),
            (json!({"service_tier": "standard_only"}), Terms::default()),
            (json!({"service_tier": null}), Terms::default()),
            (json!({"service_tier": "priority"}), asks(Tier::Priority)),
            (json!({"service_tier": "fast"}), asks(Tier::Priority)),
            (json!({"service_tier": "flex"}), asks(Tier::Flex)),
            (json!({"service_tier": "auto"}), Terms { any_tier: true, ..Terms::default() }),
            (json!({"serviceTier": {"type": "priority"}}), asks(Tier::Priority)),
            (json!({"serviceTier": "PRIORITY"}), asks(Tier::Priority)),
            (json!({"speed": "fast", "service_tier": "standard_only"}), asks(Tier::FastMode)),
            (json!({"speed": "fast", "service_tier": "auto"}), Terms { any_tier: true, ..asks(Tier::FastMode) }),
            (json!({"speed": "standard"}), Terms::default()),
            (json!({"speed": 1.5, "inference_geo": null}), Terms::default()),
            (json!({"inference_geo": "us"}), Terms { us_only: true, ..Terms::default() }),
            (json!({"inference_geo": "global"}), Terms::default()),
            (json!({"modalities": ["text"]}), no_images),
            (json!({"modalities": ["text", "audio"]}), Terms { audio: true, ..no_images }),
            (json!({"modalities": ["image", "text"]}), Terms::default()),
            (json!({"modalities": []}), Terms::default()),
            (json!({"generationConfig": {"responseModalities": ["AUDIO"]}}), Terms { audio: true, ..no_images }),
            (json!({"generation_config": {"response_modalities": ["TEXT", "IMAGE"]}}), Terms::default()),
        ] {
            assert_eq!(terms(&body), right, "{body}");
            assert_eq!(Terms::of(body.to_string().as_bytes()), right, "{body}");
        }
    }

    #[test]
    fn what_is_to_be_cached_is_found_where_it_stands() {
        let mark = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}});
        let hour = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}});
        let tool = json!({"name": "f", "input_schema": {}, "cache_control": {"type": "ephemeral"}});
        let point = json!({"cachePoint": {"type": "default"}});
        for (body, write) in [
            (json!({"messages": [{"role": "user", "content": [mark]}]}), Some(Unit::CacheWrite)),
            (json!({"system": [mark], "messages": [{"role": "user", "content": [hour]}]}), Some(Unit::CacheWrite1h)),
            (json!({"system": [hour, mark]}), Some(Unit::CacheWrite1h)),
            (json!({"tools": [tool]}), Some(Unit::CacheWrite)),
            (json!({"cache_control": {"type": "ephemeral"}}), Some(Unit::CacheWrite)),
            (json!({"messages": [{"role": "user", "content": [{"text": "a"}, point]}]}), Some(Unit::CacheWrite)),
            (json!({"toolConfig": {"tools": [{"toolSpec": {}}, point]}}), Some(Unit::CacheWrite)),
            (json!({"messages": [{"content": "\"cache_control\": {}"}], "cache_control": null}), None),
        ] {
            assert_eq!(terms(&body).cache_write, write, "{body}");
        }
    }
}
