//! What a reload brings and takes away.

use std::sync::Arc;

use ai_gateway::Gateway;
use ai_gateway::config::{Config, System};
use ai_gateway::internal::{KeyRing, Maker, NewKey, RuntimeKeys, hash_line};
use ai_gateway_providers::Dialect;

use crate::client::{ask, exchange};
use crate::setup::{MOCKS, chat, serve, serve_built};

#[tokio::test]
async fn a_reload_brings_plugins_and_takes_them_away() {
    let (addr, gateway) = serve(Vec::new()).await;
    let with = |text: &str| Config::parse(text, "t", &System).unwrap().config;
    let headers = format!("{MOCKS}[[plugins]]\nuse = \"headers\"\nanswer = {{ set = {{ x-new = \"yes\" }} }}");
    for (text, seen) in [(headers.as_str(), "yes"), (MOCKS, "")] {
        gateway.reload(&with(text)).unwrap();
        assert_eq!(chat(addr, "two", "hi", false).await.header("x-new"), seen);
    }
}

#[tokio::test]
async fn a_reload_binds_the_keys_of_the_store_to_what_their_maker_may_now() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let config = |lead: &str| {
        let text = format!(
            "{MOCKS}[store]\npath = {path:?}\n[[keys]]\nname = \"other\"\nhash = \"{}\"\n{lead}",
            hash_line("o")
        );
        Config::parse(&text, "t", &System).unwrap().config
    };
    let lead = |models: &str| {
        config(&format!(
            "[[keys]]\nname = \"lead\"\nhash = \"{}\"\nallow = [\"keys\"]\nmodels = [{models}]",
            hash_line("l")
        ))
    };
    let all = lead("\"*\"");
    let ring = KeyRing::new(&all.keys);
    let keys = RuntimeKeys::open(&path, &ring, Arc::default()).unwrap();
    let maker = Maker::Key(ring.configured()["lead"].clone());
    let (_, secret) = keys.create(NewKey { name: "made".to_owned(), ..NewKey::default() }, &maker).unwrap();
    drop(keys);

    let (addr, gateway) = serve_built(Gateway::builder().config(all.clone()), |_| {}).await;
    let status = async || {
        let request = ask(Dialect::OpenAiChat, "two", "hi", false);
        exchange(addr, &request.header("authorization", &format!("Bearer {secret}"))).await.status
    };
    assert_eq!(status().await, 200);
    for (config, expected) in [(lead("\"openai-chat/*\""), 404), (all, 200), (config(""), 401)] {
        gateway.reload(&config).unwrap();
        assert_eq!(status().await, expected);
    }
}
