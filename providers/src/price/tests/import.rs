//! The import of LiteLLM's file, in small and whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::import::{Import, Skip, litellm};

fn import(file: &Value) -> Import {
    litellm(file.to_string().as_bytes(), "2026-01-02").unwrap()
}

fn rows(import: &Import) -> Vec<&str> {
    import.sheet.lines().skip(1).collect()
}

#[test]
fn fields_become_rates() {
    let import = import(&json!({
        "b": {
            "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 10, "max_output_tokens": "many",
            "input_cost_per_token": 2.5e-6, "input_cost_per_token_above_200k_tokens_priority": 9e-6,
            "output_cost_per_token_batches": 0.0, "cache_creation_input_token_cost_above_1hr": 6e-6,
            "cache_creation_input_token_cost_above_12hr": 7e-6, "input_cost_per_token_cache_hit": 1e-7,
            "input_cost_per_query": 5.0, "input_cost_per_image": 1.0, "supports_vision": true,
            "search_context_cost_per_query": {"search_context_size_low": 0.005, "search_context_size_medium": 0.01},
        },
        "whisper": {"litellm_provider": "openai", "mode": "audio_transcription",
            "input_cost_per_second": 1e-4, "output_cost_per_second": 2e-4},
        "claude": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 5e-6, "output_cost_per_token": 2.5e-5,
            "input_cost_per_token_above_200k_tokens": 1e-5, "input_cost_per_token_batches": 2.5e-6,
            "provider_specific_entry": {"us": 1.1, "fast": 2.0, "schema": "x"}},
        "rerank": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002},
        "picture": {"litellm_provider": "vertex_ai-image-models", "mode": "image_generation", "output_cost_per_image": 0.04},
        "voice": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_character": 1.5e-5},
        "q": {"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
            {"input_cost_per_token": 4e-7, "range": [0, 256_000.0]},
            {"input_cost_per_token": 1.2e-6, "range": [256_000.0, 1e6]},
        ]},
    }));
    assert_eq!(
        rows(&import),
        [
            "anthropic/claude input=5 input>200000=10 input@batch=2.5 input@fast_mode=10 input@fast_mode>200000=20 \
             output=25 output@fast_mode=50 us_only=1.1",
            "cohere/rerank search_unit=2000",
            "dashscope/q input=0.4 input>256000=1.2",
            "openai/b window=10 input=2.5 input@priority>200000=9 cache_read=0.1 cache_write_1h=6 output@batch=0 web_search=10000",
            "openai/voice character=15",
            "openai/whisper audio_second=100",
            "vertex_ai/picture image=40000",
        ]
    );
    assert!(import.sheet.starts_with("# ai-gateway prices 2026-01-02-"));
    assert_eq!((import.rounded, import.unknown_fields.len()), (0, 0));
}

#[test]
fn what_is_left_out_is_told() {
    let import = import(&json!({
        "sample_spec": {"litellm_provider": "documentation", "input_cost_per_token": 0.0},
        "nobody": {"input_cost_per_token": 1e-6},
        "film": {"litellm_provider": "openai", "mode": "video_generation", "input_cost_per_token": 1e-6},
        "pixels": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 1e-9},
        "a b": {"litellm_provider": "openai", "input_cost_per_token": 1e-6},
        "new": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.41953125e-7,
            "input_cost_per_token_warp": 1e-6, "smell_cost_per_breath": 1.0, "output_cost_per_token": -1.0},
    }));
    assert_eq!(rows(&import), ["openai/new input=0.141953 web_search=10000"], "a negative price is none");
    let skipped: Vec<_> = import.skipped.iter().map(|(key, skip)| (key.as_str(), skip.clone())).collect();
    assert_eq!(
        skipped,
        [
            ("a b", Skip::Name),
            ("film", Skip::Mode("video_generation".to_owned())),
            ("nobody", Skip::NoModel),
            ("pixels", Skip::NothingUsable),
            ("sample_spec", Skip::NoModel),
        ]
    );
    assert_eq!(import.rounded, 1);
    let unknown = ["input_cost_per_token_warp", "output_cost_per_token", "smell_cost_per_breath"].map(str::to_owned);
    assert_eq!(import.unknown_fields, BTreeSet::from(unknown));
}

#[test]
fn two_keys_of_one_model_are_one_row() {
    let import = import(&json!({
        "x": {"litellm_provider": "deepseek", "max_input_tokens": 5, "input_cost_per_token": 1e-6, "output_cost_per_token": 3e-6},
        "deepseek/x": {"litellm_provider": "deepseek", "input_cost_per_token": 2e-6},
        "vertex_ai/y": {"litellm_provider": "vertex_ai", "input_cost_per_token": 2e-6},
        "y": {"litellm_provider": "vertex_ai-language-models", "input_cost_per_token": 1e-6},
    }));
    assert_eq!(rows(&import), ["deepseek/x window=5 input=2 output=3", "vertex_ai/y input=2"]);
    assert_eq!((import.rows, import.taken), (2, 4));
}

/// LiteLLM's file; without it the tests skip, but never in CI.
fn file() -> Option<Vec<u8>> {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/prices/model_prices_and_context_window.json"));
    if let Ok(file) = fs::read(path) {
        return Some(file);
    }
    assert!(std::env::var_os("CI").is_none(), "no price file at {}", path.display());
    eprintln!("SKIPPED: no price file at {}", path.display());
    None
}

#[test]
fn every_key_of_the_file_is_a_row_or_has_a_reason() {
    let Some(file) = file() else { return };
    let import = litellm(&file, "2026-11-12").unwrap();
    let keys: serde_json::Map<String, Value> = serde_json::from_slice(&file).unwrap();
    assert_eq!(keys.len(), 4_553);
    let names: BTreeSet<&str> = import.sheet.lines().skip(1).map(|row| row.split(' ').next().unwrap()).collect();
    assert_eq!(names.len(), import.rows);
    let mut taken = 0;
    for (key, fields) in &keys {
        let is_row = || {
            let provider = fields["litellm_provider"].as_str().unwrap();
            let vendors =
                [provider, provider.split('-').next().unwrap(), provider.split('_').next().unwrap(), "openai"];
            names.contains(key.as_str())
                || vendors.iter().any(|vendor| names.contains(format!("{vendor}/{key}").as_str()))
        };
        match import.skipped.get(key) {
            None => {
                assert!(is_row(), "{key}");
                taken += 1;
            }
            Some(Skip::NoModel) => assert!(matches!(key.as_str(), "sample_spec" | "fallback_generalizations"), "{key}"),
            Some(Skip::Mode(mode)) => assert_eq!(fields["mode"], *mode, "{key}"),
            Some(Skip::NothingUsable) => {
                let prices = ["input_cost_per_token", "output_cost_per_token", "max_input_tokens", "max_output_tokens"];
                assert!(prices.iter().all(|price| fields[price].as_f64().is_none()), "{key}");
            }
            Some(Skip::Name) => panic!("{key}"),
        }
    }
    assert_eq!((taken, import.skipped.len()), (import.taken, 4_553 - import.taken));
    assert!(taken > 4_300);
    assert_eq!(import.unknown_fields, BTreeSet::new(), "new fields: know them, or leave them out on purpose");
}

#[test]
fn the_built_in_sheet_is_this_import() {
    let Some(file) = file() else { return };
    let import = litellm(&file, "2026-11-12").unwrap();
    assert!(import.sheet == include_str!("../../../data/prices.txt"), "run `ai-gateway prices import` again");
    assert_eq!(import, litellm(&file, "2026-11-12").unwrap());
}
