//! Several gateways in one process.

use std::time::Duration;

use ai_gateway::config::OnError;
use ai_gateway_providers::Dialect;

use crate::client::said;
use crate::hooks::All;
use crate::setup::{chat, config, serve};

#[tokio::test]
async fn two_gateways_in_one_process_know_nothing_of_each_other() {
    let (one, first) = serve(vec![config(All::default(), OnError::Closed, Duration::from_secs(5))]).await;
    let (two, second) = serve(Vec::new()).await;
    let reply = chat(one, "two", "a cat", false).await;
    assert_eq!((said(Dialect::OpenAiChat, false, &reply), reply.header("x-plugin")), ("a dog".to_owned(), "yes"));
    let reply = chat(two, "two", "a cat", false).await;
    assert_eq!((said(Dialect::OpenAiChat, false, &reply), reply.header("x-plugin")), ("a cat".to_owned(), ""));
    assert!(first.metrics().unwrap().contains("gateway_plugin_calls_total"));
    assert!(!second.metrics().unwrap().contains("gateway_plugin_calls_total"));
}
