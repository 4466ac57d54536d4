//! What an answer consumed. [`Usage`] is the one shape that limits, prices and metrics read; the providers' own shapes
//! are converted to it in `report` and nowhere else, read from a tree that borrows from their text (`tree`).

pub(crate) mod report;
pub(crate) mod tree;

/// What an answer consumed, in buckets that do not overlap: adding them up counts nothing twice.
///
/// Every provider cuts its counts differently (OpenAI's `prompt_tokens` includes cached and audio tokens, Anthropic's
/// `input_tokens` excludes cached ones); that is settled where the report is read. `None` means that nothing was
/// reported, which is not the same as zero. All counts are tokens unless their name says otherwise.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, bounded_static::ToStatic, serde::Serialize, serde::Deserialize,
)]
#[serde(default)]
pub struct Usage {
    /// Input read anew: not from a cache, not written to one, not audio, not an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// Input read from the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Input written to the provider's prompt cache for five minutes, or for whatever time is that provider's only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<u64>,
    /// Input written to the provider's prompt cache for one hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<u64>,
    /// Audio input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<u64>,
    /// Image input, where the provider counts it apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_input: Option<u64>,
    /// Output without reasoning, audio and images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Reasoning, shown or hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// Audio output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<u64>,
    /// Image output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_output: Option<u64>,
    /// Milliseconds of audio heard, where that is billed in place of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input_ms: Option<u64>,
    /// Search units of a rerank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_units: Option<u64>,
    /// Web searches that the provider ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_searches: Option<u64>,
    /// Characters of text that were spoken. No provider tells them: whoever sent the request counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<u64>,
    /// Pictures made by an operation that makes nothing else, counted in its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Tokens, read and written, of other models than the one that answered, which it consulted. They are in no other bucket, and
    /// what they cost is not known from its price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_models: Option<u64>,
    /// What the provider says that it charges for all of it, in pico-dollars. Only of some providers it is known to be that:
    /// [`Preset::tells_cost`](crate::preset::Preset::tells_cost).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged: Option<u64>,
}

impl Usage {
    /// All input tokens; `None` if none of their buckets was reported.
    #[must_use]
    pub fn total_input(&self) -> Option<u64> {
        sum([self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.audio_input, self.image_input])
    }

    /// All tokens written to the provider's cache; `None` if neither bucket was reported.
    #[must_use]
    pub fn total_cache_write(&self) -> Option<u64> {
        sum([self.cache_write_5m, self.cache_write_1h])
    }

    /// All output tokens; `None` if none of their buckets was reported.
    #[must_use]
    pub fn total_output(&self) -> Option<u64> {
        sum([self.output, self.reasoning, self.audio_output, self.image_output])
    }

    /// All tokens; `None` if nothing was reported.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        sum([self.total_input(), self.total_output(), self.other_models])
    }

    /// What the provider itself told of it: not what was counted in the request and the answer. `None` if it told nothing.
    #[must_use]
    pub fn told(&self) -> Option<Self> {
        let told = Self { characters: None, images: None, ..*self };
        (told != Self::default()).then_some(told)
    }

    /// What two calls consumed together. A bucket that neither reported stays unreported.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, |own, other| sum([own, other]))
    }

    /// What is left of it when `part` is taken out. A bucket that was not reported stays unreported.
    #[must_use]
    pub fn minus(&self, part: &Self) -> Self {
        self.zip(part, |own, part| Some(own?.saturating_sub(part.unwrap_or(0))))
    }

    /// The counts by the names of their fields, in this order. What is charged is none of them: it is money.
    #[must_use]
    pub const fn counts(&self) -> [(&'static str, Option<u64>); 16] {
        let Self {
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            audio_input,
            image_input,
            output,
            reasoning,
            audio_output,
            image_output,
            audio_input_ms,
            search_units,
            web_searches,
            characters,
            images,
            other_models,
            charged: _,
        } = *self;
        [
            ("input", input),
            ("cache_read", cache_read),
            ("cache_write_5m", cache_write_5m),
            ("cache_write_1h", cache_write_1h),
            ("audio_input", audio_input),
            ("image_input", image_input),
            ("output", output),
            ("reasoning", reasoning),
            ("audio_output", audio_output),
            ("image_output", image_output),
            ("audio_input_ms", audio_input_ms),
            ("search_units", search_units),
            ("web_searches", web_searches),
            ("characters", characters),
            ("images", images),
            ("other_models", other_models),
        ]
    }

    /// The usage whose [`counts`](Self::counts) these are: `count` is asked for each by its name, in that order.
    ///
    /// # Errors
    /// Those of `count`.
    pub fn of_counts<E>(mut count: impl FnMut(&'static str) -> Result<Option<u64>, E>) -> Result<Self, E> {
        Ok(Self {
            input: count("input")?,
            cache_read: count("cache_read")?,
            cache_write_5m: count("cache_write_5m")?,
            cache_write_1h: count("cache_write_1h")?,
            audio_input: count("audio_input")?,
            image_input: count("image_input")?,
            output: count("output")?,
            reasoning: count("reasoning")?,
            audio_output: count("audio_output")?,
            image_output: count("image_output")?,
            audio_input_ms: count("audio_input_ms")?,
            search_units: count("search_units")?,
            web_searches: count("web_searches")?,
            characters: count("characters")?,
            images: count("images")?,
            other_models: count("other_models")?,
            charged: None,
        })
    }

    /// Takes a later report of the same answer in: it may only raise or fill a bucket.
    ///
    /// This is for reports that are already in disjoint buckets. Within one stream the [`Observer`](crate::Observer)
    /// merges the provider's own counts first, so that a reasoning count that comes late moves tokens out of `output`
    /// and does not count them twice.
    pub fn merge(&mut self, later: &Self) {
        // `None < Some(0)`, so the maximum both fills and raises.
        *self = self.zip(later, Option::max);
    }

    /// Each bucket made of those of two.
    fn zip(&self, other: &Self, with: impl Fn(Option<u64>, Option<u64>) -> Option<u64>) -> Self {
        let Self {
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            audio_input,
            image_input,
            output,
            reasoning,
            audio_output,
            image_output,
            audio_input_ms,
            search_units,
            web_searches,
            characters,
            images,
            other_models,
            charged,
        } = *other;
        Self {
            input: with(self.input, input),
            cache_read: with(self.cache_read, cache_read),
            cache_write_5m: with(self.cache_write_5m, cache_write_5m),
            cache_write_1h: with(self.cache_write_1h, cache_write_1h),
            audio_input: with(self.audio_input, audio_input),
            image_input: with(self.image_input, image_input),
            output: with(self.output, output),
            reasoning: with(self.reasoning, reasoning),
            audio_output: with(self.audio_output, audio_output),
            image_output: with(self.image_output, image_output),
            audio_input_ms: with(self.audio_input_ms, audio_input_ms),
            search_units: with(self.search_units, search_units),
            web_searches: with(self.web_searches, web_searches),
            characters: with(self.characters, characters),
            images: with(self.images, images),
            other_models: with(self.other_models, other_models),
            charged: with(self.charged, charged),
        }
    }
}

fn sum<const N: usize>(counts: [Option<u64>; N]) -> Option<u64> {
    counts.into_iter().flatten().reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_report_only_raises_or_fills() {
        let mut usage = Usage { input: Some(10), output: Some(2), ..Usage::default() };
        usage.merge(&Usage { input: Some(7), output: Some(9), cache_read: Some(0), ..Usage::default() });
        assert_eq!(usage, Usage { input: Some(10), output: Some(9), cache_read: Some(0), ..Usage::default() });
    }

    #[test]
    fn two_calls_add_up() {
        let first = Usage { input: Some(10), output: Some(2), ..Usage::default() };
        let second = Usage { input: Some(u64::MAX), cache_read: Some(0), ..Usage::default() };
        let both = Usage { input: Some(u64::MAX), output: Some(2), cache_read: Some(0), ..Usage::default() };
        assert_eq!((first.plus(&second), Usage::default().plus(&Usage::default())), (both, Usage::default()));
        assert_eq!(first.plus(&first).minus(&first), first);
    }

    #[test]
    fn counts_come_back_in_the_order_of_the_fields() {
        let mut asked = Vec::new();
        let usage = Usage::of_counts(|name| {
            asked.push((name, Some(asked.len() as u64)));
            Ok::<_, ()>(asked[asked.len() - 1].1)
        });
        assert_eq!(usage.unwrap().counts().as_slice(), asked);
        let written = serde_json::to_string(&usage.unwrap()).unwrap();
        let fields = asked.iter().map(|(name, count)| format!("\"{name}\":{}", count.unwrap())).collect::<Vec<_>>();
        assert_eq!(written, format!("{{{}}}", fields.join(",")));
    }

    #[test]
    fn totals_tell_unreported_from_zero() {
        assert_eq!(Usage::default().total(), None);
        let usage = Usage { input: Some(u64::MAX), cache_read: Some(1), reasoning: Some(0), ..Usage::default() };
        assert_eq!((usage.total_input(), usage.total_output()), (Some(u64::MAX), Some(0)));
    }
}
