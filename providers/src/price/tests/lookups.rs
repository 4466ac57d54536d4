//! The price map: names, layers, ids.

use std::collections::BTreeMap;

use super::*;

fn row(kind: &str, model: &str) -> Option<String> {
    let map = PriceMap::built_in();
    map.row_of(&Lookup { provider: "mine", kind, model, region: None }).map(str::to_owned)
}

#[test]
fn models_by_the_names_that_vendors_give_them() {
    for (kind, model, name) in [
        ("openai", "gpt-5", "openai/gpt-5"),
        ("openai", "gpt-5-2099-01-01", "openai/gpt-5"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::AbC", "openai/ft:gpt-4o-mini-2024-07-18"),
        ("anthropic", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5-latest", "anthropic/claude-sonnet-4-5"),
        (
            "bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("bedrock", "ca.amazon.nova-micro-v1:0", "bedrock/amazon.nova-micro-v1:0"),
        ("bedrock", "anthropic.claude-sonnet-4-5", "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6",
            "bedrock/us.anthropic.claude-sonnet-4-6",
        ),
        ("vertex", "claude-sonnet-4-5@20250929", "vertex_ai/claude-sonnet-4-5@20250929"),
        ("vertex", "claude-sonnet-4-5@20990101", "vertex_ai/claude-sonnet-4-5"),
        ("vertex", "publishers/anthropic/models/claude-opus-4-8", "vertex_ai/claude-opus-4-8"),
        ("vertex", "gemini-2.5-pro", "vertex_ai/gemini-2.5-pro"),
        ("gemini", "models/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("mistral", "mistral-large-latest", "mistral/mistral-large-latest"),
        ("cohere", "rerank-v3.5", "cohere/rerank-v3.5"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ] {
        assert_eq!(row(kind, model).as_deref(), Some(name), "{kind}: {model}");
    }
    for (kind, model) in [
        ("openai", "gpt-5-nonsense"),
        ("openai", "claude-sonnet-4-5"),
        ("openai", "gpt"),
        ("openai", ""),
        ("azure", "gpt-5"),
        ("openai-compatible", "gpt-5"),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
    ] {
        assert_eq!(row(kind, model), None, "{kind}: {model}");
    }
}

#[test]
fn a_region_has_prices_of_its_own() {
    let map = PriceMap::built_in();
    let of = |region| map.row_of(&Lookup { provider: "mine", kind: "bedrock", model: "zai.glm-5", region });
    assert_eq!(of(Some("us-east-1")), Some("bedrock/us-east-1/zai.glm-5"));
    assert_eq!(of(Some("xx-west-9")), of(None));
}

#[test]
fn windows_are_in_the_same_table() {
    let map = PriceMap::built_in();
    let model = map.find(&Lookup { provider: "mine", kind: "gemini", model: "gemini-2.5-pro", region: None }).unwrap();
    assert_eq!((model.context_window, model.max_output), (Some(1_048_576), Some(65_536)));
    assert!(model.price.is_some());
}

#[test]
fn every_row_is_found_by_its_name() {
    let map = PriceMap::built_in();
    let names: Vec<&str> = map.names().collect();
    assert!(names.len() > 4_000);
    for name in names {
        assert!(map.row(name).is_some(), "{name}");
    }
    for absent in ["", "a", "zzz", "openai/gpt-5 ", "openai/gpt-", "\u{7f}"] {
        assert!(map.row(absent).is_none(), "{absent}");
    }
}

#[test]
fn the_built_in_sheet_is_what_its_id_says() {
    let built_in = PriceMap::built_in();
    let checked = PriceMap::of_file(include_bytes!("../../../data/prices.txt")).unwrap();
    assert_eq!(built_in.id(), checked.id());
    assert_eq!(built_in.id().len(), "2026-11-12-00000000".len());
}

const FILE: &str = r#"{
    "gpt-5": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 9e-6, "output_cost_per_token": 9e-5},
    "mine": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000}
}"#;

#[test]
fn layers_lie_one_above_the_other() {
    let built_in = PriceMap::built_in();
    let filed = built_in.clone().with_file(FILE.as_bytes()).unwrap();
    let find =
        |map: &PriceMap, model: &str| map.find(&Lookup { provider: "mine", kind: "openai", model, region: None });
    let gpt = find(&filed, "gpt-5").unwrap();
    assert_eq!(gpt.price.unwrap().expected(1, 0), Some(9_000_000), "the operator's price counts");
    assert_eq!(gpt.context_window, Some(272_000), "and the rest comes from below");
    let dated = |model: &str| find(&filed, model).unwrap().price.unwrap().expected(1, 0);
    assert_eq!(
        dated("gpt-5-2025-08-07"),
        Some(1_250_000),
        "a version that the map below names has the price that it says"
    );
    assert_eq!(dated("gpt-5-2031-01-01"), Some(9_000_000), "one that nobody names has the operator's");
    // A version in the operator's file says nothing of the model itself.
    let one = PriceMap::built_in().with_file(FILE.replace("gpt-5", "gpt-5-2025-08-07").as_bytes()).unwrap();
    assert_eq!(find(&one, "gpt-5").unwrap().price.unwrap().expected(1, 0), Some(1_250_000));
    assert_eq!(find(&one, "gpt-5-2025-08-07").unwrap().price.unwrap().expected(1, 0), Some(9_000_000));
    let unpriced = find(&filed, "mine").unwrap();
    assert_eq!((unpriced.price, unpriced.context_window), (None, Some(1_000)));

    let own = Model { price: Some(price("input=3")), ..Model::default() };
    let all = filed.clone().with_overrides(BTreeMap::from([("mine/gpt-5".to_owned(), own)]));
    assert_eq!(find(&all, "gpt-5").unwrap().price.unwrap().expected(1, 0), Some(3_000_000));
    let other = all.find(&Lookup { provider: "other", kind: "openai", model: "gpt-5", region: None }).unwrap();
    assert_eq!(other.price.unwrap().expected(1, 0), Some(9_000_000), "an override is one account's");
    let cased = |provider, kind, model| all.find(&Lookup { provider, kind, model, region: None });
    assert!(cased("mine", "azure", "GPT-5").is_some_and(|model| model.price == Some(price("input=3"))));
    assert!(
        cased("Mine", "azure", "gpt-5").or(cased("mine", "azure", "GPT")).or(cased("mine", "vllm", "GPT-5")).is_none()
    );
    // An account's name is no vendor of the sheets.
    assert!(all.find(&Lookup { provider: "openai", kind: "azure", model: "gpt-5", region: None }).is_none());

    let ids = [built_in.id(), filed.id(), all.id()];
    assert!(ids[1].starts_with(&format!("{}+", ids[0])) && ids[2].starts_with(&format!("{}+", ids[1])));
    assert_eq!(built_in.clone().with_overrides(BTreeMap::new()).id(), built_in.id());
    assert_eq!(PriceMap::built_in().with_file(FILE.as_bytes()).unwrap().id(), filed.id());
    assert_ne!(PriceMap::built_in().with_file(FILE.replace("9e-6", "8e-6").as_bytes()).unwrap().id(), filed.id());
}

#[test]
fn a_sheet_may_be_edited() {
    let sheet = "# ai-gateway prices 2026-01-01-00000000\na/b input=1\na/c window=5\n";
    let map = PriceMap::of_file(sheet.as_bytes()).unwrap();
    assert!(map.id().starts_with("2026-01-01-") && !map.id().ends_with("-00000000"), "the id is of what is there");
    assert_eq!(map.row("a/c").unwrap().context_window, Some(5));
    for (file, message) in [
        ("", "it is neither a JSON object nor a sheet"),
        ("a/b input=1\n", "it is neither a JSON object nor a sheet"),
        ("# ai-gateway prices x\nb input=1\na input=1\n", "line 3: rows are sorted"),
        ("# ai-gateway prices x\na input=1\na input=2\n", "line 3: rows are sorted"),
        ("# ai-gateway prices x\n\n", "line 2: rows are sorted"),
        ("# ai-gateway prices x\na input=cheap\n", "line 2: `cheap` is no price"),
        ("# ai-gateway prices x\na window=-1\n", "line 2: `window=-1` is no number of tokens"),
        ("{\"a\": 1}", "it is not LiteLLM's price file"),
        ("{", "it is not LiteLLM's price file"),
    ] {
        let error = PriceMap::of_file(file.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(message), "{file}: {error}");
    }
    assert!(PriceMap::of_file(&[0xff]).is_err());
    assert_eq!(PriceMap::of_file(b"# ai-gateway prices x").unwrap().names().count(), 0);
}
