//! Tests of prices and of the price map.

mod golden;
mod import;
mod lookups;
mod properties;

use super::*;

/// A price as a row of a sheet writes it.
fn price(rates: &str) -> Price {
    let (mut rates, mut us_only) = (rates.split_ascii_whitespace().collect::<Vec<_>>(), None);
    rates.retain(|word| match word.strip_prefix("us_only=") {
        Some(times) => {
            us_only = Some(times.parse().unwrap());
            false
        }
        None => true,
    });
    Price::new(rates.iter().map(|rate| rate.parse::<Rate>().unwrap())).with_us_only(us_only)
}

#[test]
fn each_bucket_has_its_price() {
    let price = price(
        "input=1 cache_read=2 cache_write=3 cache_write_1h=4 audio_input=5 image_input=6 output=7 reasoning=8 \
         audio_output=9 image_output=10 search_unit=11 web_search=12",
    );
    let usage = Usage {
        input: Some(1),
        cache_read: Some(10),
        cache_write_5m: Some(100),
        cache_write_1h: Some(1_000),
        audio_input: Some(10_000),
        image_input: Some(100_000),
        output: Some(1),
        reasoning: Some(10),
        audio_output: Some(100),
        image_output: Some(1_000),
        audio_input_ms: None,
        search_units: Some(10_000),
        web_searches: Some(100_000),
        characters: None,
        images: None,
        other_models: None,
        charged: None,
    };
    let million = 1_000_000;
    let cost = price.cost(&usage, None);
    assert_eq!(cost.input, 650_001 * million);
    assert_eq!(cost.cache_read, 20 * million);
    assert_eq!(cost.cache_write, 4_300 * million);
    assert_eq!(cost.output, 10_987 * million);
    assert_eq!(cost.other, 1_310_000 * million);
    assert_eq!(cost.total(), Some(1_975_308 * million));
}

#[test]
fn what_costs_the_same_has_no_price_of_its_own() {
    let of =
        |rates: &str, unit: Unit| price(rates).of(unit, Tier::Standard, 0).map(|pico| PerMillion(pico).to_string());
    let some = |dollars: &str| Some(dollars.to_owned());
    for unit in [Unit::CacheRead, Unit::CacheWrite, Unit::CacheWrite1h, Unit::AudioInput, Unit::ImageInput] {
        assert_eq!(of("input=2 output=8", unit), some("2"), "{unit:?}");
    }
    for unit in [Unit::Reasoning, Unit::AudioOutput, Unit::ImageOutput] {
        assert_eq!(of("input=2 output=8", unit), some("8"), "{unit:?}");
    }
    assert_eq!(of("input=2 cache_write=2.5", Unit::CacheWrite1h), some("2.5"));
    assert_eq!(of("input=2 cache_read=0", Unit::CacheRead), some("0"), "what is free is free");
    for unit in [Unit::Output, Unit::Reasoning, Unit::SearchUnit, Unit::WebSearch, Unit::AudioSecond, Unit::Image] {
        assert_eq!(of("input=2", unit), None, "{unit:?}");
    }
}

#[test]
fn an_unknown_price_is_no_zero() {
    let price = price("input=2");
    let read = Usage { input: Some(3), output: Some(0), ..Usage::default() };
    assert_eq!(price.cost(&read, None).total(), Some(6_000_000));
    let written = Usage { reasoning: Some(1), web_searches: Some(1), ..read };
    let cost = price.cost(&written, None);
    assert_eq!((cost.total(), cost.known(), cost.unpriced), (None, 6_000_000, Some(Unit::Reasoning)));
    assert_eq!(price.cost(&Usage::default(), None).total(), None, "nothing reported is not nothing used");
    let nothing = Usage { input: Some(0), ..Usage::default() };
    assert_eq!(price.cost(&nothing, None).total(), Some(0), "an explicit zero is a zero");
    assert_eq!((price.expected(5, 0), price.expected(5, 1)), (Some(10_000_000), None));
}

#[test]
fn the_whole_prompt_decides_the_step_for_the_whole_request() {
    let price = price("input=1.25 input>200000=2.5 cache_read=0.125 cache_read>200000=0.25 output=10 output>200000=15");
    let of = |fresh, cached| {
        let usage = Usage { input: Some(fresh), cache_read: Some(cached), output: Some(1_000), ..Usage::default() };
        Dollars(price.cost(&usage, None).total().unwrap()).to_string()
    };
    // 1000 x 1.25 + 199000 x 0.125 + 1000 x 10 = 1250 + 24875 + 10000 = 36125
    assert_eq!(of(1_000, 199_000), "0.036125");
    // 1001 x 2.5 + 199000 x 0.25 + 1000 x 15 = 2502.5 + 49750 + 15000 = 67252.5
    assert_eq!(of(1_001, 199_000), "0.0672525");
    assert_eq!(price.expected(200_000, 1), Some(200_000 * 1_250_000 + 10_000_000));
    assert_eq!(price.expected(200_001, 1), Some(200_001 * 2_500_000 + 15_000_000));
}

#[test]
fn several_steps() {
    let price = price("input=1 input>32000=2 input>128000=3 output=5 output>128000=6");
    let of = |unit, prompt| price.of(unit, Tier::Standard, prompt).unwrap() / 1_000_000;
    for (prompt, input, output) in
        [(0, 1, 5), (32_000, 1, 5), (32_001, 2, 5), (128_000, 2, 5), (128_001, 3, 6), (u64::MAX, 3, 6)]
    {
        assert_eq!((of(Unit::Input, prompt), of(Unit::Output, prompt)), (input, output), "{prompt}");
    }
}

#[test]
fn the_service_tier_of_the_answer_counts() {
    let price = price(
        "input=2 input>200000=4 input@flex=1 input@priority=3.5 input@priority>200000=7 \
         output=8 output@priority=16 output>200000=12 reasoning@flex=1",
    );
    let of = |unit, word: Option<&str>, prompt| {
        PerMillion(price.of(unit, Tier::of_answer(word), prompt).unwrap()).to_string()
    };
    assert_eq!(of(Unit::Input, Some("flex"), 1), "1");
    assert_eq!(of(Unit::Input, Some("default"), 1), "2");
    assert_eq!(of(Unit::Input, Some("priority"), 200_000), "3.5");
    assert_eq!(of(Unit::Input, Some("priority"), 200_001), "7");
    // No price of its own at this step: the dearer of the two that are known.
    assert_eq!(of(Unit::Input, Some("flex"), 200_001), "4");
    assert_eq!(of(Unit::Output, Some("priority"), 200_001), "16");
    // None at all: the standard one.
    assert_eq!(of(Unit::Output, Some("flex"), 1), "8");
    assert_eq!(of(Unit::Output, Some("batch"), 1), "8");
    // The bucket's own, before what stands for it.
    assert_eq!(of(Unit::Reasoning, Some("flex"), 1), "1");
    assert_eq!(of(Unit::Reasoning, None, 1), "8");
}

#[test]
fn seconds_are_billed_where_tokens_are_not() {
    let price = price("input=2.5 output=10 audio_second=100");
    let seconds = Usage { audio_input_ms: Some(1_500), ..Usage::default() };
    assert_eq!(price.cost(&seconds, None).total(), Some(150_000_000));
    let both = Usage { audio_input: Some(4), output: Some(1), ..seconds };
    assert_eq!(price.cost(&both, None).total(), Some(4 * 2_500_000 + 10_000_000));
    let zero = Usage { input: Some(0), ..seconds };
    assert_eq!(price.cost(&zero, None).total(), Some(150_000_000));
    // Mistral's transcription tells tokens, too, but has no price for them.
    let told = Usage { input: Some(10), output: Some(67), ..seconds };
    assert_eq!(self::price("audio_second=100").cost(&told, None).total(), Some(150_000_000));
    let fine = self::price("audio_second=0.000001");
    assert_eq!(fine.cost(&Usage { audio_input_ms: Some(1), ..Usage::default() }, None).total(), Some(1), "rounded up");
}

#[test]
fn a_request_can_have_a_price() {
    let price = price("input=1 request=5000");
    let usage = Usage { input: Some(2), ..Usage::default() };
    assert_eq!(price.cost(&usage, None).total(), Some(5_000_000_000 + 2_000_000));
}

#[test]
fn characters_and_pictures_are_billed() {
    // tts-1: 2,000 characters at 15 dollars a million.
    let spoken = Usage { characters: Some(2_000), ..Usage::default() };
    assert_eq!(price("character=15").cost(&spoken, None).total(), Some(30_000_000_000));
    // Two pictures at four cents.
    let drawn = Usage { images: Some(2), ..Usage::default() };
    assert_eq!(price("image=40000").cost(&drawn, None).total(), Some(80_000_000_000));
    // Told tokens cost nothing more where only the picture has a price, and are no reason not to know the cost.
    let told = Usage { input: Some(9), image_output: Some(4_000), ..drawn };
    assert_eq!(price("image=40000").cost(&told, None).total(), Some(80_000_000_000));
    // Where both are published, they say the same: 9 x 0.3 + 4000 x 30.
    let both = price("input=0.3 output=2.5 image_output=30 image=39000");
    assert_eq!(both.cost(&told, None).total(), Some(120_002_700_000));
    let unread = Usage { input: Some(9), ..drawn };
    assert_eq!(both.cost(&unread, None).total(), Some(9 * 300_000 + 2 * 39_000_000_000));
    // No price for what was made.
    assert_eq!(price("input=5 image_output=40").cost(&drawn, None).unpriced, Some(Unit::Image));
    assert_eq!(price("input=0.6 audio_output=12").cost(&spoken, None).unpriced, Some(Unit::Character));
    assert_eq!(price("image=40000").cost(&spoken, None).unpriced, Some(Unit::Character));
}

#[test]
fn where_only_requests_have_a_price_nothing_else_has_to() {
    let price = price("request=5000");
    for usage in [Usage::default(), Usage { output: Some(7), images: Some(1), ..Usage::default() }] {
        assert_eq!(price.cost(&usage, None).total(), Some(5_000_000_000), "{usage:?}");
    }
    let with_tokens = self::price("input=1 request=5000").cost(&Usage::default(), None);
    assert_eq!((with_tokens.total(), with_tokens.known()), (None, 5_000_000_000));
}

#[test]
fn a_price_serves_what_it_is_for() {
    let serves = |rates: &str| -> Vec<&str> {
        let price = price(rates);
        let known = Operation::ALL.into_iter().filter(|operation| price.serves(*operation));
        known.map(Operation::as_str).collect()
    };
    let free = ["moderation", "count_tokens", "models", "stored"];
    let with = |words: &[&'static str]| [words, &free].concat();
    assert_eq!(serves("character=15"), with(&["speech"]));
    assert_eq!(serves("image=40000"), with(&["images"]));
    assert_eq!(serves("audio_second=100"), with(&["transcription"]));
    assert_eq!(serves("search_unit=2000"), with(&["rerank"]));
    assert_eq!(serves("web_search=2000"), free);
    assert_eq!(serves("input=1"), with(&["chat", "completions", "embeddings", "rerank", "transcription"]));
    assert_eq!(serves("request=1").len(), Operation::ALL.len());
}

#[test]
fn sums_saturate() {
    let price = Price::new([Rate::new(Unit::Input, u64::MAX), Rate::new(Unit::Output, u64::MAX)]);
    let usage = Usage { input: Some(u64::MAX), cache_read: Some(u64::MAX), output: Some(u64::MAX), ..Usage::default() };
    assert_eq!(price.cost(&usage, None).total(), Some(u64::MAX));
}

#[test]
fn of_two_rates_for_the_same_the_first_counts() {
    assert_eq!(price("input=1 output=3 input=2").rates(), price("output=3 input=1").rates());
}

/// Not the standard price: it would be too little. A tier that somebody has bought (Anthropic's `priority`) is another thing.
#[test]
fn fast_mode_and_places_without_a_price_have_an_unknown_cost() {
    let price = price("input=2 input@flex=1 output=8 web_search=10000");
    let usage = Usage { input: Some(10), output: Some(1), ..Usage::default() };
    for tier in ["standard+fast_mode", "standard+us", "standard+mars"] {
        let cost = price.cost(&usage, Some(tier));
        assert_eq!((cost.total(), cost.known()), (None, 28_000_000), "{tier}");
        assert_eq!(price.clone().for_all().cost(&usage, Some(tier)).total(), Some(28_000_000), "written: {tier}");
    }
    for tier in ["batch", "default", "scale", "priority", "fast", "ultrafast"] {
        assert_eq!(price.cost(&usage, Some(tier)).total(), Some(28_000_000), "{tier}");
    }
    assert_eq!(price.cost(&usage, Some("flex")).total(), Some(18_000_000));
    let searched = Usage { web_searches: Some(1), ..Usage::default() };
    assert_eq!(price.cost(&searched, Some("priority")).total(), Some(10_000_000_000), "it has no tiers");
    let free = self::price("input=0 output=0");
    assert_eq!(free.cost(&usage, Some("priority")).total(), Some(0), "so many times nothing");
}

#[test]
fn reserved_is_what_the_fast_mode_and_the_us_may_cost() {
    let price = price("input=5 input@fast_mode=10 output=25 output@fast_mode=50 us_only=1.1");
    let usage = Usage { input: Some(1_000), output: Some(1_000), ..Usage::default() };
    let most = |terms: Terms| price.most(&usage, &terms);
    let fast = Terms { tier: Some(Tier::FastMode), ..Terms::default() };
    assert_eq!(most(Terms::default()), 30_000_000_000);
    assert_eq!(most(Terms { any_tier: true, ..Terms::default() }), 30_000_000_000, "nobody has it unasked");
    assert_eq!(most(fast), 60_000_000_000);
    assert_eq!(most(Terms { us_only: true, ..fast }), 66_000_000_000);
}
