//! What is priced ([`Unit`]), at which quality of service ([`Tier`]), from which prompt on ([`Rate`]), and how that is
//! written.

use std::fmt;
use std::str::FromStr;

use super::decimal::{Decimal, scaled};

/// Defines an enum whose members have a word in files.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$member_doc])* $member,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$member),*];

            /// Its word in files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$member => $word),* }
            }

            /// The one with this word.
            #[must_use]
            pub fn of_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$member),)* _ => None }
            }
        }
    };
}

words! {
    /// What a price is for. The first ten are tokens and correspond to the buckets of [`Usage`](crate::Usage).
    Unit {
        /// A token of input, read anew.
        Input = "input",
        /// A token of input from the provider's cache.
        CacheRead = "cache_read",
        /// A token of input written to the provider's cache for five minutes, or for its only time.
        CacheWrite = "cache_write",
        /// A token of input written to the provider's cache for an hour.
        CacheWrite1h = "cache_write_1h",
        /// A token of audio input.
        AudioInput = "audio_input",
        /// A token of image input.
        ImageInput = "image_input",
        /// A token of output.
        Output = "output",
        /// A token of reasoning.
        Reasoning = "reasoning",
        /// A token of audio output.
        AudioOutput = "audio_output",
        /// A token of image output.
        ImageOutput = "image_output",
        /// A second of audio heard, where no tokens are billed.
        AudioSecond = "audio_second",
        /// A search unit of a rerank.
        SearchUnit = "search_unit",
        /// A web search that the provider ran.
        WebSearch = "web_search",
        /// A request, whatever it holds.
        Request = "request",
        /// A character of text to be spoken.
        Character = "character",
        /// An image made.
        Image = "image",
    }
}

impl Unit {
    /// Whether it is a token of some kind.
    pub(super) const fn is_token(self) -> bool {
        match self {
            Self::Input
            | Self::CacheRead
            | Self::CacheWrite
            | Self::CacheWrite1h
            | Self::AudioInput
            | Self::ImageInput
            | Self::Output
            | Self::Reasoning
            | Self::AudioOutput
            | Self::ImageOutput => true,
            Self::AudioSecond | Self::SearchUnit | Self::WebSearch | Self::Request | Self::Character | Self::Image => {
                false
            }
        }
    }

    /// The unit whose price counts where this one has none: nobody publishes a price for what costs the same.
    pub(super) const fn stands_for(self) -> Option<Self> {
        match self {
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::CacheRead | Self::CacheWrite | Self::AudioInput | Self::ImageInput => Some(Self::Input),
            Self::Reasoning | Self::AudioOutput | Self::ImageOutput => Some(Self::Output),
            Self::Input
            | Self::Output
            | Self::AudioSecond
            | Self::SearchUnit
            | Self::WebSearch
            | Self::Request
            | Self::Character
            | Self::Image => None,
        }
    }
}

words! {
    /// A quality of service with prices of its own.
    Tier {
        /// What is served when nothing is asked for.
        Standard = "standard",
        /// Slower and cheaper.
        Flex = "flex",
        /// Faster and dearer.
        Priority = "priority",
        /// In a batch.
        Batch = "batch",
        /// Fastest and dearest.
        Ultrafast = "ultrafast",
        /// Between standard and flex.
        Balanced = "balanced",
        /// Anthropic's fast mode, which is asked for beside the service tier.
        FastMode = "fast_mode",
    }
}

/// What answers call tiers beside their words in files.
const OTHER_NAMES: &[(&str, Tier)] = &[
    ("batches", Tier::Batch),
    // OpenAI's name for it from GPT-6 on.
    ("fast", Tier::Priority),
];

impl Tier {
    /// The tier of an answer's `service_tier` (OpenAI, Anthropic) or `trafficType` (Google). A word that no price knows
    /// (`default`, `scale`, …) is served at the standard price.
    #[must_use]
    pub fn of_answer(word: Option<&str>) -> Self {
        let Some(word) = word else { return Self::Standard };
        let on_demand = word.get(.."ON_DEMAND_".len()).filter(|start| start.eq_ignore_ascii_case("ON_DEMAND_"));
        let name = on_demand.map_or(word, |start| &word[start.len()..]);
        let named = Self::ALL.iter().copied().find(|tier| tier.as_str().eq_ignore_ascii_case(name));
        let other = || OTHER_NAMES.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, tier)| *tier);
        named.or_else(other).unwrap_or(Self::Standard)
    }
}

/// How an answer was served, as far as its price goes by it. Written as the provider's word for its tier and, behind a `+` each,
/// what decides beside it: `standard+fast_mode+us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Served {
    pub(super) tier: Tier,
    pub(super) region: Region,
}

/// Where an answer was made that was to be made nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Region {
    /// Wherever there was room.
    #[default]
    Any,
    /// In the United States.
    Us,
    /// Where nothing is known of prices.
    Other,
}

impl Served {
    pub(super) fn of_answer(word: Option<&str>) -> Self {
        let Some((tier, marks)) = word.and_then(|word| word.split_once('+')) else {
            return Self { tier: Tier::of_answer(word), region: Region::Any };
        };
        let mut served = Self { tier: Tier::of_answer(Some(tier)), region: Region::Any };
        for mark in marks.split('+') {
            match mark {
                FAST_MODE => served.tier = Tier::FastMode,
                "us" => served.region = Region::Us,
                _ => served.region = Region::Other,
            }
        }
        served
    }

    /// The word for `tier`, Anthropic's for the service tier, with what its answer says beside it; what it says nothing of is as
    /// it was in `known`, which was told before. `None`: there is nothing new.
    pub(crate) fn told(
        known: Option<&str>,
        tier: Option<&str>,
        speed: Option<&str>,
        geo: Option<&str>,
    ) -> Option<String> {
        let fast = speed == Some("fast");
        let region = geo.filter(|geo| !matches!(*geo, "" | "global" | "not_available"));
        if tier.is_none() && !fast && region.is_none() {
            return None;
        }
        let (known_tier, marks) = known.map_or(("standard", ""), |known| known.split_once('+').unwrap_or((known, "")));
        let mut marks = marks.split('+').filter(|mark| !mark.is_empty());
        let was_fast = marks.clone().any(|mark| mark == FAST_MODE);
        let mut word = tier.unwrap_or(known_tier).to_owned();
        let region = region.or_else(|| marks.find(|mark| *mark != FAST_MODE));
        for mark in (fast || was_fast).then_some(FAST_MODE).into_iter().chain(region) {
            word.push('+');
            word.push_str(mark);
        }
        Some(word)
    }

    /// The word for the tier alone.
    pub(crate) fn tier_word(word: &str) -> &str {
        word.split_once('+').map_or(word, |(tier, _)| tier)
    }
}

const FAST_MODE: &str = Tier::FastMode.as_str();

/// One price. Written `unit@tier>tokens=dollars`, dollars per million units: `input=2.5`, `output@priority>200000=30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// What costs this.
    pub unit: Unit,
    /// At which quality of service.
    pub tier: Tier,
    /// It counts when the whole prompt, cached parts included, has more tokens than this.
    pub above: u64,
    /// Pico-dollars (10⁻¹² US dollars) per unit.
    pub pico: u64,
}

impl Rate {
    /// A standard price of `pico` pico-dollars per unit.
    #[must_use]
    pub const fn new(unit: Unit, pico: u64) -> Self {
        Self { unit, tier: Tier::Standard, above: 0, pico }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.unit.as_str())?;
        if self.tier != Tier::Standard {
            write!(f, "@{}", self.tier.as_str())?;
        }
        if self.above > 0 {
            write!(f, ">{}", self.above)?;
        }
        write!(f, "={}", PerMillion(self.pico))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no price: it is written `unit@tier>tokens=dollars per million`");
        let (what, dollars) = text.split_once('=').ok_or_else(bad)?;
        let (what, above) = match what.split_once('>') {
            Some((what, above)) => (what, above.parse().map_err(|_| bad())?),
            None => (what, 0),
        };
        let (unit, tier) = match what.split_once('@') {
            Some((unit, tier)) => (unit, Tier::of_word(tier).ok_or_else(bad)?),
            None => (what, Tier::Standard),
        };
        let unit = Unit::of_word(unit).ok_or_else(bad)?;
        Ok(Self { unit, tier, above, pico: per_million(dollars)? })
    }
}

/// Reads US dollars per million units (`2.50`) into pico-dollars per unit.
///
/// # Errors
/// What is wrong, for a person: no number, negative, finer than a pico-dollar, or too large.
pub fn per_million(dollars: &str) -> Result<u64, String> {
    match scaled(dollars, 6) {
        Some(scaled) if scaled.exact => Ok(scaled.value),
        Some(_) => Err(format!("`{dollars}` is finer than a millionth of a dollar per million")),
        None => Err(format!("`{dollars}` is no price: write US dollars per million, as in \"2.50\"")),
    }
}

/// How many times as much something costs, in millionths. Written `1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times(u64);

impl Times {
    pub(super) const ONE: Self = Self(1_000_000);

    /// So many times `cost`, rounded half up to a whole pico-dollar.
    pub(super) fn of(self, cost: u64) -> u64 {
        let millionths = u128::from(cost) * u128::from(self.0);
        u64::try_from((millionths + 500_000) / 1_000_000).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Decimal { value: self.0, places: 6 }, f)
    }
}

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let times = scaled(text, 6).filter(|times| times.exact && times.value > 0);
        times.map(|times| Self(times.value)).ok_or_else(|| format!("`{text}` is no number of times, as in `1.1`"))
    }
}

/// Shows pico-dollars per unit as US dollars per million units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerMillion(pub u64);

impl fmt::Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Decimal { value: self.0, places: 6 }, f)
    }
}

/// Shows pico-dollars as US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dollars(pub u64);

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Decimal { value: self.0, places: 12 }, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_and_read() {
        for text in
            ["input=2.5", "output@priority>200000=30", "cache_read@flex=0", "search_unit=2000", "input>1=0.000001"]
        {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in
            ["", "input", "input=", "input=-1", "nothing=1", "input@best=1", "input>x=1", "input=0.0000001", "=1"]
        {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tiers_as_answers_name_them() {
        for (word, tier) in [
            (None, Tier::Standard),
            (Some("default"), Tier::Standard),
            (Some("standard"), Tier::Standard),
            (Some("flex"), Tier::Flex),
            (Some("priority"), Tier::Priority),
            (Some("fast"), Tier::Priority),
            (Some("batch"), Tier::Batch),
            (Some("batches"), Tier::Batch),
            (Some("ON_DEMAND"), Tier::Standard),
            (Some("ON_DEMAND_PRIORITY"), Tier::Priority),
            (Some("ON_DEMAND_FLEX"), Tier::Flex),
            (Some("PROVISIONED_THROUGHPUT"), Tier::Standard),
            (Some("not-priority"), Tier::Standard),
            (Some(""), Tier::Standard),
        ] {
            assert_eq!(Tier::of_answer(word), tier, "{word:?}");
        }
    }

    #[test]
    fn what_decides_beside_the_tier() {
        for (word, tier, region) in [
            (None, Tier::Standard, Region::Any),
            (Some("priority"), Tier::Priority, Region::Any),
            (Some("standard+fast_mode"), Tier::FastMode, Region::Any),
            (Some("batch+us"), Tier::Batch, Region::Us),
            (Some("default+fast_mode+us"), Tier::FastMode, Region::Us),
            (Some("standard+mars"), Tier::Standard, Region::Other),
        ] {
            assert_eq!(Served::of_answer(word), Served { tier, region }, "{word:?}");
        }
        let told = |known, tier, speed, geo| Served::told(known, tier, speed, geo);
        assert_eq!(told(None, None, Some("standard"), Some("global")), None);
        assert_eq!(told(None, None, Some("fast"), None).as_deref(), Some("standard+fast_mode"));
        assert_eq!(told(None, Some("standard"), Some("standard"), Some("not_available")).as_deref(), Some("standard"));
        assert_eq!(told(None, Some("batch"), None, Some("us")).as_deref(), Some("batch+us"));
        // What the end of a stream leaves out, its beginning has said.
        let both = Some("priority+fast_mode+us");
        assert_eq!(told(Some("standard+fast_mode+us"), Some("priority"), None, None).as_deref(), both);
        assert_eq!(told(Some("priority+us"), None, Some("fast"), None).as_deref(), both);
        assert_eq!((Served::tier_word("default+us"), Served::tier_word("flex")), ("default", "flex"));
    }

    #[test]
    fn money_is_shown() {
        assert_eq!(Dollars(1_234_500_000).to_string(), "0.0012345");
        assert_eq!(Dollars(5_000_000_000_000).to_string(), "5");
        assert_eq!(PerMillion(2_500_000).to_string(), "2.5");
    }
}
