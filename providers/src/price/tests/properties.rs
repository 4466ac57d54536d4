//! What holds for every price and every usage.

use proptest::prelude::*;

use super::*;

/// A price whose step is not cheaper than what is below it, as vendors publish them: one step for all of a model.
fn prices() -> impl Strategy<Value = Price> {
    let what = (prop::sample::select(Unit::ALL), prop::sample::select(Tier::ALL));
    let costs = (0_u64..1_000_000_000, prop::option::of(0_u64..100));
    (prop::collection::btree_map(what, costs, 0..40), 1_u64..20_000).prop_map(|(rates, above)| {
        Price::new(rates.into_iter().flat_map(|((unit, tier), (pico, more))| {
            let base = Rate { unit, tier, above: 0, pico };
            [Some(base), more.map(|more| Rate { above, pico: pico + more, ..base })].into_iter().flatten()
        }))
    })
}

fn usages(most: u64) -> impl Strategy<Value = Usage> {
    prop::collection::vec(prop::option::of(0..=most), 12).prop_map(|counts| Usage {
        input: counts[0],
        cache_read: counts[1],
        cache_write_5m: counts[2],
        cache_write_1h: counts[3],
        audio_input: counts[4],
        image_input: counts[5],
        output: counts[6],
        reasoning: counts[7],
        audio_output: counts[8],
        image_output: counts[9],
        // What stands for tokens adds up with none.
        audio_input_ms: None,
        characters: None,
        images: None,
        other_models: None,
        charged: None,
        search_units: counts[10],
        web_searches: counts[11],
    })
}

/// One usage for each bucket of this one.
fn parts(usage: &Usage) -> Vec<Usage> {
    let serde_json::Value::Object(buckets) = serde_json::to_value(usage).unwrap() else { unreachable!() };
    let alone = |(name, count): (String, serde_json::Value)| {
        serde_json::from_value(serde_json::json!({ name: count })).unwrap()
    };
    buckets.into_iter().map(alone).collect()
}

fn tiers() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(
        &["default", "flex", "priority", "batch", "?", "standard+fast_mode", "standard+us"][..],
    ))
}

proptest! {
    #[test]
    fn buckets_add_up(price in prices(), usage in usages(1_000_000), tier in tiers()) {
        // Steps go by the whole prompt, and a request is one: both are left out.
        let flat = Price::new(price.rates().iter().copied().filter(|rate| rate.above == 0 && rate.unit != Unit::Request));
        let whole = flat.cost(&usage, tier);
        let alone: Vec<Cost> = parts(&usage).iter().map(|part| flat.cost(part, tier)).collect();
        prop_assert_eq!(whole.known(), alone.iter().map(Cost::known).sum::<u64>());
        if !alone.is_empty() {
            prop_assert_eq!(whole.total().is_some(), alone.iter().all(|cost| cost.total().is_some()));
        }
    }

    #[test]
    fn more_is_not_cheaper(price in prices(), usage in usages(5_000), more in usages(5_000), tier in tiers()) {
        let sum = |a: Option<u64>, b: Option<u64>| a.map(|a| a + b.unwrap_or(0)).or(b);
        let both = Usage {
            input: sum(usage.input, more.input),
            cache_read: sum(usage.cache_read, more.cache_read),
            cache_write_5m: sum(usage.cache_write_5m, more.cache_write_5m),
            cache_write_1h: sum(usage.cache_write_1h, more.cache_write_1h),
            audio_input: sum(usage.audio_input, more.audio_input),
            image_input: sum(usage.image_input, more.image_input),
            output: sum(usage.output, more.output),
            reasoning: sum(usage.reasoning, more.reasoning),
            audio_output: sum(usage.audio_output, more.audio_output),
            image_output: sum(usage.image_output, more.image_output),
            audio_input_ms: None,
            search_units: sum(usage.search_units, more.search_units),
            web_searches: sum(usage.web_searches, more.web_searches),
            characters: None,
            images: None,
            other_models: None,
            charged: None,
        };
        prop_assert!(price.cost(&both, tier).known() >= price.cost(&usage, tier).known());
    }

    #[test]
    fn no_usage_and_no_price_is_a_panic(
        rates in prop::collection::vec((prop::sample::select(Unit::ALL), prop::sample::select(Tier::ALL), any::<u64>(), any::<u64>()), 0..20),
        usage in usages(u64::MAX),
        pieces: [Option<u64>; 3],
        tier in "\\PC{0,12}",
    ) {
        let price = Price::new(rates.into_iter().map(|(unit, tier, above, pico)| Rate { unit, tier, above, pico }));
        let [audio_input_ms, characters, images] = pieces;
        let cost = price.cost(&Usage { audio_input_ms, characters, images, ..usage }, Some(&tier));
        prop_assert!(cost.total().is_none_or(|total| total == cost.known()));
        prop_assert!(price.rates().iter().all(|rate| rate.to_string().parse() == Ok(*rate)));
    }
}
