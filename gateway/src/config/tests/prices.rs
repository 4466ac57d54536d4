//! What models cost.

use ai_gateway_providers::price::Dollars;

use super::*;
use crate::snapshot::Snapshot;

const PROVIDERS: &str = r#"
    [providers.openai]
    kind = "openai"
    api_key = "env:SET"
    [providers.azure]
    kind = "azure"
    base_url = "https://example.openai.azure.com"
    api_key = "env:SET"
    [providers.aws]
    kind = "bedrock"
    region = "us-east-1"
    access_key_id = "env:SET"
    secret_access_key = "env:SET"
"#;

fn world() -> Fake {
    let file = r#"{"gpt-5": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 7e-6}}"#;
    Fake::new().with_var("SET", "x").with_file("prices.json", file)
}

fn parse(text: &str) -> Config {
    let text = format!("{PROVIDERS}{text}");
    Config::parse(&text, "a.toml", &world()).unwrap_or_else(|errors| panic!("{errors}")).config
}

/// Dollars for a million tokens in and out of each target of the model `m`; `?` where that is not known.
fn million(text: &str) -> Vec<String> {
    let expected = |target: &TargetConfig| target.known.price.as_ref()?.expected(1_000_000, 1_000_000);
    let shown = |target| expected(target).map_or_else(|| "?".to_owned(), |pico| Dollars(pico).to_string());
    parse(text).model("m").unwrap().targets.iter().map(shown).collect()
}

#[test]
fn a_target_costs_what_the_map_says_or_what_is_written() {
    let targets = r#"
        [models.m]
        targets = [
          { provider = "openai", model = "gpt-5" },
          { provider = "azure", model = "mine" },
          { provider = "azure", model = "as-text", price = { input = "2.50", output = "10" } },
          { provider = "azure", model = "as-number", price = { input = 2.5, output = 10 } },
          { provider = "azure", model = "like", price = { like = "openai/gpt-5" } },
          { provider = "azure", model = "nearly", price = { like = "openai/gpt-5", output = 0.000001 } },
          { provider = "azure", model = "half", price = { input = 1 } },
        ]
    "#;
    assert_eq!(million(targets), ["11.25", "?", "12.5", "12.5", "11.25", "1.250001", "?"]);
}

#[test]
fn what_is_written_counts_at_every_tier_and_step() {
    let config = parse(
        r#"[models.m]
        targets = [{ provider = "azure", model = "x", price = { like = "gemini/gemini-2.5-pro", input = 1 } }]"#,
    );
    let target = &config.models["m"].targets[0];
    let price = target.known.price.as_ref().unwrap();
    assert_eq!(price.expected(1_000_000, 0), Some(1_000_000_000_000), "not the price above 200,000");
    assert_eq!(price.expected(0, 1_000_000), Some(10_000_000_000_000));
}

#[test]
fn a_price_is_found_in_whichever_way_its_model_is_spelt() {
    let google = r#"
        [providers.g]
        kind = "gemini"
        api_key = "env:SET"
        [providers.v]
        kind = "vertex"
        project = "p"
        region = "r"
        access_token = "env:SET"
    "#;
    let priced = |config: &Config, name: &str| {
        let snapshot = Snapshot::of(config);
        let at_once = snapshot.model(snapshot.name(name).as_str()).unwrap().targets[0].known.clone();
        let (provider, model) = name.split_once('/').unwrap();
        assert_eq!(*at_once, config.prices.of(&config.providers[provider], model), "{name}");
        at_once.price.as_ref().map(|price| price.rates()[0].pico / 1_000_000)
    };
    for (plain, in_collection) in [
        ("g/own", "g/models/own"),
        ("v/own", "v/publishers/google/models/own"),
        ("v/claude-own", "v/publishers/anthropic/models/claude-own"),
    ] {
        for written in [plain, in_collection] {
            let config = parse(&format!("{google}[prices.models.'{written}']\nrequest = 1"));
            assert_eq!(priced(&config, plain), Some(1), "{written}");
            assert_eq!(priced(&config, in_collection), Some(1), "{written}");
            assert_eq!(priced(&config, "v/publishers/meta/models/own"), None, "{written}");
        }
        for [first, second] in [[plain, in_collection], [in_collection, plain]] {
            let both = format!("[prices.models]\n'{first}' = {{ request = 1 }}\n'{second}' = {{ request = 2 }}");
            let loaded = Config::parse(&format!("{PROVIDERS}{google}{both}"), "a.toml", &world()).unwrap();
            assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
            let counts = if first == plain { 1 } else { 2 };
            assert_eq!(priced(&loaded.config, in_collection), Some(counts), "{both}");
        }
    }
}

#[test]
fn a_file_and_single_prices_count_before_the_map() {
    let config = parse(
        r#"
        [prices]
        file = "prices.json"
        [prices.models."azure/mine"]
        input = "3"
        output = "4"
        [models.m]
        targets = [{ provider = "openai", model = "gpt-5" }, { provider = "azure", model = "mine" }]
        "#,
    );
    let targets = &config.models["m"].targets;
    let input = |target: &TargetConfig| target.known.price.as_ref().unwrap().expected(1, 0);
    assert_eq!((input(&targets[0]), input(&targets[1])), (Some(7_000_000), Some(3_000_000)));
    assert_eq!(targets[0].known.context_window, Some(272_000), "what the file does not say comes from below");
    let direct = config.model("azure/mine").unwrap();
    assert_eq!(input(&direct.targets[0]), Some(3_000_000));
    let built_in = parse("").prices.map.id().to_owned();
    assert_eq!(config.prices.map.id().split('+').count(), 3);
    assert!(config.prices.map.id().starts_with(&built_in));
}

#[test]
fn a_region_decides() {
    let config = parse("[models.m]\ntargets = [{ provider = \"aws\", model = \"zai.glm-5\" }]");
    let of = |name: &str| config.prices.map.row(name);
    assert_eq!(*config.models["m"].targets[0].known, of("bedrock/us-east-1/zai.glm-5").unwrap());
}

#[test]
fn a_price_may_be_required() {
    let text = "[prices]\nrequire = true\n[models.m]\ntargets = [{ provider = \"azure\", model = \"mine\" }]";
    let errors = Config::parse(&format!("{PROVIDERS}{text}"), "a.toml", &world()).unwrap_err();
    assert_eq!(errors.errors.len(), 1);
    assert!(errors.errors[0].message.starts_with("the price of `mine` at `azure` is not known"), "{errors}");
    assert!(parse("[prices]\nrequire = true").prices.require);
}

/// Records name the model that was asked for: not that which it fell back on, and neither a mirror nor where a rule sent it.
#[test]
fn what_was_used_has_its_price_wherever_its_target_stands() {
    let config = parse(
        r#"
        [prices.models."azure/direct"]
        input = "9"
        [models.asked]
        targets = [{ provider = "azure", model = "x", price = { input = 1 } }, { provider = "azure", model = "untold" }]
        [models.good]
        targets = [{ provider = "azure", model = "y", price = { input = 2 } }]
        [models.later]
        targets = [
          { provider = "azure", model = "x", price = { input = 3 } },
          { provider = "azure", model = "untold", price = { input = 4 } },
        ]
        [[routes]]
        when = { model = "gpt-*" }
        targets = [{ provider = "azure", model = "z", price = { input = 5 } }]
        [[routes]]
        targets = [{ provider = "azure", model = "x", price = { input = 6 } }]
        mirror = { target = { provider = "azure", model = "copied", price = { input = 7 } } }
        "#,
    );
    let price = |model: &str, upstream: &str| config.price_of(Some(model), "azure", upstream)?.expected(1, 0);
    let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(model, upstream)| price(model, upstream)).collect::<Vec<_>>();
    let micro = |dollars: u64| Some(dollars * 1_000_000);
    let of_others = [("asked", "y"), ("gone", "y"), ("route-1", "z"), ("asked", "copied"), ("azure/x", "y")];
    assert_eq!(of(&of_others), [micro(2), micro(2), micro(5), micro(7), micro(2)]);
    let of_their_own = [("asked", "x"), ("later", "x"), ("route-2", "x"), ("asked", "untold"), ("later", "untold")];
    assert_eq!(of(&of_their_own), [micro(1), micro(3), micro(6), None, micro(4)]);
    assert_eq!(of(&[("gone", "untold"), ("asked", "direct"), ("asked", "none")]), [micro(4), micro(9), None]);
}
