//! What usage costs, in whole pico-dollars (10⁻¹² US dollars): [`Price::cost`] of what a provider reported, and
//! [`Price::expected`] of what a request may use, for routing, and [`Price::most`] of that, for reservations.
//!
//! [`PriceMap`] knows the prices, and the context windows, of the models of many vendors; [`import`] makes it from LiteLLM's
//! file. The rules:
//!
//! - Each bucket of [`Usage`] has a price of its own. Where none is published, the next best stands for it: reading a
//!   cache, writing one, audio and images cost as input, an hour in a cache as five minutes, reasoning, audio and images
//!   made as output. What then has no price has an unknown cost, never none.
//! - The whole prompt, cached parts included, decides the step (`above`), and the step counts for the whole request.
//! - The service tier is the one that the answer names, Anthropic's fast mode one of them. Where it has no price for a bucket, the
//!   standard one counts; where it has none for a step, the dearer of its own and the step's standard price. Where fast mode has
//!   none for any token, the cost is unknown, and at least that at the standard price.
//! - An answer that was made in the US only, as Anthropic's say, costs [`Price::us_only`] times as much for all its tokens; if that is
//!   not known, or where it was made, its cost is unknown, too.
//! - A price that an operator has written counts however an answer was served ([`Price::for_all`]).
//! - Seconds of audio, characters and pictures stand for tokens. Where a model has a price for tokens, they are billed only if the
//!   provider counted no such tokens: of input, of both, of output. Where it has none, they are billed, and what tokens the provider
//!   tells besides costs nothing more.
//! - Tokens of other models than the one that answered, such as its advisor, have an unknown cost.
//! - A request may have a price beside all that, which is its tier's standard one. Where it is the only one, it is the whole cost.

mod decimal;
pub mod import;
mod map;
mod names;
mod rate;
mod terms;

pub(crate) use decimal::scaled;
pub use map::{Lookup, Model, PriceMap, SheetError};
use rate::Region;
pub(crate) use rate::Served;
pub use rate::{Dollars, PerMillion, Rate, Tier, Times, Unit, per_million};
pub use terms::Terms;

use crate::{Operation, Usage};

/// The prices of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Price {
    /// Sorted, no two for the same unit, tier and step.
    rates: Box<[Rate]>,
    /// Whether one of them is for tokens.
    by_token: bool,
    /// Whether they are for requests and nothing else.
    by_request: bool,
    us_only: Option<Times>,
    for_all: bool,
}

/// What something costs, in pico-dollars. The parts saturate: past 18 million dollars nobody counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Input read anew: text, audio and images.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to it.
    pub cache_write: u64,
    /// Output of every kind.
    pub output: u64,
    /// Searches, seconds, characters, pictures, requests.
    pub other: u64,
    /// Something that was used and has no price, the first such unit: the parts are then less than the whole.
    pub unpriced: Option<Unit>,
    /// Whether it is what the provider says that it charges, of which the parts are not known: all of it is `other`.
    pub charged: bool,
}

impl Cost {
    /// What the provider says that it charges.
    #[must_use]
    pub fn charged(whole: u64) -> Self {
        Self { other: whole, charged: true, ..Self::default() }
    }

    /// The whole; `None` if it is not known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.unpriced.is_none().then(|| self.known())
    }

    /// The sum of what is known: at least so much was spent.
    #[must_use]
    pub fn known(&self) -> u64 {
        [self.cache_read, self.cache_write, self.output, self.other].into_iter().fold(self.input, u64::saturating_add)
    }
}

impl Price {
    /// The price of these rates. Of two for the same unit, tier and step the first counts.
    #[must_use]
    pub fn new(rates: impl IntoIterator<Item = Rate>) -> Self {
        let mut rates: Vec<Rate> = rates.into_iter().collect();
        let key = |rate: &Rate| (rate.unit, rate.tier, rate.above);
        rates.sort_by_key(key);
        rates.dedup_by_key(|rate| key(rate));
        let is_of_request = |rate: &Rate| rate.unit == Unit::Request;
        Self {
            by_token: rates.iter().any(|rate| rate.unit.is_token()),
            by_request: !rates.is_empty() && rates.iter().all(is_of_request),
            rates: rates.into(),
            us_only: None,
            for_all: false,
        }
    }

    /// The same as one that counts however an answer was served, as far as nothing else is said of that.
    #[must_use]
    pub fn for_all(self) -> Self {
        Self { for_all: true, ..self }
    }

    /// The same, where tokens cost so many times as much in an answer that was made in the US only.
    #[must_use]
    pub fn with_us_only(self, us_only: Option<Times>) -> Self {
        Self { us_only, ..self }
    }

    /// How many times as much the tokens of an answer cost that was made in the US only; `None`: that is not known.
    #[must_use]
    pub fn us_only(&self) -> Option<Times> {
        self.us_only
    }

    /// All rates, by unit, tier and step.
    #[must_use]
    pub fn rates(&self) -> &[Rate] {
        &self.rates
    }

    /// Pico-dollars for one `unit` at `tier` in a request of `prompt` input tokens; `None` if there is no price.
    #[must_use]
    pub fn of(&self, unit: Unit, tier: Tier, prompt: u64) -> Option<u64> {
        let standard = self.step(unit, Tier::Standard, prompt);
        let own = if tier == Tier::Standard { None } else { self.step(unit, tier, prompt) };
        match (own, standard) {
            (Some(own), Some(standard)) if own.above < standard.above => Some(own.pico.max(standard.pico)),
            (Some(rate), _) | (None, Some(rate)) => Some(rate.pico),
            (None, None) => self.of(unit.stands_for()?, tier, prompt),
        }
    }

    /// The highest step that a prompt reaches.
    fn step(&self, unit: Unit, tier: Tier, prompt: u64) -> Option<&Rate> {
        let mine = |rate: &&Rate| rate.unit == unit && rate.tier == tier;
        self.rates.iter().filter(mine).rfind(|rate| rate.above == 0 || rate.above < prompt)
    }

    /// What `usage` costs; `service_tier` is the answer's own word. Unknown where nothing was reported at all. Allocates
    /// nothing.
    #[must_use]
    pub fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Cost {
        self.cost_at(Served::of_answer(service_tier), usage, None)
    }

    /// The most that a request costs which uses this on these terms, in pico-dollars: every token at the dearest rate that it may
    /// be billed at. What has no price costs nothing. Allocates nothing.
    #[must_use]
    pub fn most(&self, usage: &Usage, terms: &Terms) -> u64 {
        let region = if terms.us_only { Region::Us } else { Region::Any };
        let most = |tier| self.cost_at(Served { tier, region }, usage, Some(terms)).known();
        terms.tiers().map(most).max().unwrap_or(0)
    }

    fn cost_at(&self, served: Served, usage: &Usage, terms: Option<&Terms>) -> Cost {
        let Usage {
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
            // What this is instead of.
            charged: _,
        } = *usage;
        let prompt = usage.total_input().unwrap_or(0);
        let request = self.step(Unit::Request, Tier::Standard, prompt).map_or(0, |rate| rate.pico);
        if self.by_request {
            return Cost { other: request, ..Cost::default() };
        }
        let mut bill = Bill { price: self, tier: served.tier, prompt, terms, tokens_are_free: false, unpriced: None };
        let instead_of = |tokens: fn(&Usage) -> Option<u64>, count: Option<u64>| {
            count.filter(|_| !self.by_token || tokens(usage).is_none_or(|n| n == 0))
        };
        let seconds = instead_of(Usage::total_input, audio_input_ms);
        let pieces = [
            (Unit::Character, instead_of(Usage::total, characters)),
            (Unit::Image, instead_of(Usage::total_output, images)),
        ];
        let has_price =
            |(unit, count): (Unit, Option<u64>)| count.is_some_and(|n| n > 0) && self.has_any(|own| own == unit);
        bill.tokens_are_free =
            !self.by_token && (pieces.into_iter().any(has_price) || has_price((Unit::AudioSecond, seconds)));
        let input = bill.sum([(Unit::Input, input), (Unit::AudioInput, audio_input), (Unit::ImageInput, image_input)]);
        let cache_read = bill.sum([(Unit::CacheRead, cache_read)]);
        let cache_write = bill.sum([(Unit::CacheWrite, cache_write_5m), (Unit::CacheWrite1h, cache_write_1h)]);
        let output = bill.sum([
            (Unit::Output, output),
            (Unit::Reasoning, reasoning),
            (Unit::AudioOutput, audio_output),
            (Unit::ImageOutput, image_output),
        ]);
        let mut tokens = [input, cache_read, cache_write, output];
        let times = match served.region {
            Region::Any => Some(Times::ONE),
            Region::Us => self.us_only,
            Region::Other => None,
        };
        let is_known = times.is_some() && (served.tier != Tier::FastMode || self.has_tier(Tier::FastMode));
        if tokens != [0; 4] && !is_known && !self.for_all {
            bill.unpriced.get_or_insert(Unit::Input);
        }
        if let Some(times) = times {
            tokens = tokens.map(|cost| times.of(cost));
        }
        let [input, cache_read, cache_write, output] = tokens;
        let other = bill
            .sum([(Unit::SearchUnit, search_units), (Unit::WebSearch, web_searches)])
            .saturating_add(bill.sum(pieces))
            .saturating_add(bill.milliseconds(seconds))
            .saturating_add(request);
        let told = Usage { charged: None, ..*usage };
        if told == Usage::default() || other_models.is_some_and(|count| count > 0) {
            bill.unpriced.get_or_insert(Unit::Input);
        }
        Cost { input, cache_read, cache_write, output, other, unpriced: bill.unpriced, charged: false }
    }

    fn has_tier(&self, tier: Tier) -> bool {
        self.rates.iter().any(|rate| rate.tier == tier && rate.unit.is_token())
    }

    fn has_any(&self, is: impl Fn(Unit) -> bool) -> bool {
        self.rates.iter().any(|rate| is(rate.unit))
    }

    /// Whether it has a price for what `operation` is billed by, if that [costs](Operation::costs) something.
    #[must_use]
    pub fn serves(&self, operation: Operation) -> bool {
        let units: &[Unit] = match operation {
            Operation::Chat | Operation::Completions => &[Unit::Input, Unit::Output],
            Operation::Embeddings => &[Unit::Input],
            Operation::Rerank => &[Unit::SearchUnit, Unit::Input],
            Operation::Images => &[Unit::Image, Unit::ImageOutput, Unit::Output],
            Operation::Speech => &[Unit::Character, Unit::AudioOutput, Unit::Output],
            Operation::Transcription => &[Unit::AudioSecond, Unit::AudioInput, Unit::Input],
            Operation::Moderation | Operation::CountTokens | Operation::Models | Operation::Stored => &[],
        };
        !operation.costs() || self.has_any(|unit| unit == Unit::Request || units.contains(&unit))
    }

    /// What a request costs in pico-dollars if its prompt is read anew and the answer is so long, at the standard tier;
    /// `None` if one of them has no price. Allocates nothing.
    #[must_use]
    pub fn expected(&self, prompt_tokens: u64, output_tokens: u64) -> Option<u64> {
        let usage = Usage { input: Some(prompt_tokens), output: Some(output_tokens), ..Usage::default() };
        self.cost(&usage, None).total()
    }
}

/// One request being priced.
struct Bill<'a> {
    price: &'a Price,
    tier: Tier,
    prompt: u64,
    /// As what else tokens may be billed.
    terms: Option<&'a Terms>,
    /// Something else is billed in their place.
    tokens_are_free: bool,
    unpriced: Option<Unit>,
}

impl Bill<'_> {
    fn sum<const N: usize>(&mut self, counts: [(Unit, Option<u64>); N]) -> u64 {
        let mut sum = 0_u128;
        for (unit, count) in counts {
            sum = sum.saturating_add(self.times(unit, count.unwrap_or(0)));
        }
        narrow(sum)
    }

    fn times(&mut self, unit: Unit, count: u64) -> u128 {
        if count == 0 || (self.tokens_are_free && unit.is_token()) {
            return 0;
        }
        let of = |unit| self.price.of(unit, self.tier, self.prompt);
        let others = self.terms.and_then(|terms| terms.other_units(unit).filter_map(of).max());
        match of(unit).max(others) {
            Some(pico) => u128::from(count) * u128::from(pico),
            None => {
                self.unpriced.get_or_insert(unit);
                0
            }
        }
    }

    /// Seconds are billed by the millisecond, rounded up to a whole pico-dollar.
    fn milliseconds(&mut self, count: Option<u64>) -> u64 {
        narrow(self.times(Unit::AudioSecond, count.unwrap_or(0)).div_ceil(1000))
    }
}

fn narrow(cost: u128) -> u64 {
    u64::try_from(cost).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
