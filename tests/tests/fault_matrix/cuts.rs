//! Connections that are closed after k bytes of the body, for k all over the answer: never a success that is none, and never
//! two answers mixed.

use super::{LOREM_20, target};
use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::exchange;
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::{Gateway, Mock};
use futures::StreamExt as _;

/// Where the answer is cut. The longest stream has some 6,000 bytes; 61 is a prime, and hits no period of the events.
fn places() -> impl Iterator<Item = usize> {
    (0..8_000).step_by(61)
}

const TEXT: &str = "the other target says this and nothing else";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_at_any_byte_is_rescued_or_told() {
    let mock = Mock::start().await;
    let mut config: String = Dialect::ALL.iter().map(|d| mock.provider(&format!("p-{d}"), *d)).collect();
    let mut cells = Vec::new();
    for (i, client) in Dialect::ALL.into_iter().enumerate() {
        let other = Dialect::ALL[(i + 1) % Dialect::ALL.len()];
        for (place, stream, first) in places().flat_map(|place| {
            [(place, false, client), (place, true, client), (place, false, other), (place, true, other)]
        }) {
            let name = format!("cut-{}", cells.len());
            let bad = target(&format!("p-{first}"), &format!("lorem-20+cut-at-byte-{place}+{name}"), 0);
            let good = target(&format!("p-{other}"), &format!("echo+{name}"), 1);
            config.push_str(&format!("[models.{name}]\ntargets = [{bad}, {good}]\n"));
            cells.push((name, client, stream, place));
        }
    }
    let gateway = Gateway::start(&config).await;
    let heard = futures::stream::iter(cells).map(|(name, client, stream, place)| async move {
        let reply = exchange(gateway.addr, &ask(client, &name, TEXT, stream)).await;
        (client, stream, place, hear(client, stream, &reply))
    });
    let heard: Vec<_> = heard.buffer_unordered(50).collect().await;
    let (mut whole, mut rescued, mut told) = (0, 0, 0);
    for (client, stream, place, heard) in heard {
        match &heard {
            Heard::Answer(answer) if answer.text == LOREM_20 => whole += 1,
            Heard::Answer(answer) if answer.text == TEXT => rescued += 1,
            Heard::Told(text, _) if stream && LOREM_20.starts_with(text) => told += 1,
            other => panic!("{client}, stream {stream}, cut at {place}: {other:?}"),
        }
    }
    eprintln!("{whole} whole, {rescued} rescued, {told} told");
    assert!(whole > 100 && rescued > 100 && told > 100, "{whole} whole, {rescued} rescued, {told} told");
}
