//! Shared calls together with what else may happen to a call: a second target that is asked too, one that goes on with what broke
//! off, answers that are withheld, and clients whose answers are read to their end without them.

use std::sync::atomic::{AtomicUsize, Ordering};

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{H1, Reply, Request, exchange};
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies};
use futures::future::join_all;
use serde_json::json;

use crate::cache;

const SHARED: &str = "cache = { ttl = \"10m\" }\n";

fn stream(gate: Option<&Gate>) -> Answer {
    let mut answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("Hello")]);
    answer.steps.extend(gate.map(|gate| Step::Wait(gate.clone())));
    let end = [bodies::chat_delta(" you"), bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.to_owned()];
    answer.steps.extend(end.map(|event| Step::Send(event.into())));
    answer
}

fn request() -> Request {
    Request::post("/v1/chat/completions", bodies::chat_stream("m"))
}

/// Several ask the same, and `gate` is opened when all are there.
async fn together(gateway: &Gateway, request: &Request, gate: &Gate) -> Vec<Reply> {
    let opens = async {
        gateway.followed(3).await;
        gate.open();
    };
    tokio::join!(join_all((0..4).map(|_| exchange(gateway.addr, request))), opens).0
}

fn assert_shared(dialect: Dialect, replies: &[Reply]) -> String {
    assert!(replies.iter().all(|reply| reply.complete && reply.body == replies[0].body));
    assert_eq!(replies.iter().filter(|reply| cache(reply) == "shared").count(), replies.len() - 1);
    match hear(dialect, true, &replies[0]) {
        Heard::Answer(answer) => answer.text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hedged_call_is_shared() {
    let gate = Gate::new();
    let slow = Stub::always(stream(None).after(&Gate::new())).await;
    let both = Gate::new();
    let mut answer = stream(None).after(&gate);
    answer.steps.insert(0, Step::Wait(both.clone()));
    let fast = Stub::always(answer).await;
    let config = [
        bodies::openai_provider("slow", &slow.origin()),
        bodies::openai_provider("fast", &fast.origin()),
        "[models.m]\ntargets = [{ provider = \"slow\", model = \"u\" }, { provider = \"fast\", model = \"u\", priority = 1 }]\n\
         hedge = { after = \"20ms\", max_extra = \"100%\" }\n"
            .to_owned(),
        SHARED.to_owned(),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let asked = request();
    let (replies, ()) = tokio::join!(together(&gateway, &asked, &gate), async {
        slow.next().await;
        fast.next().await;
        both.open();
    });
    assert_eq!(assert_shared(Dialect::OpenAiChat, &replies), "Hello you");
    assert_eq!((slow.count(), fast.count()), (1, 1));
    slow.departed().await;
    assert_eq!(cache(&exchange(gateway.addr, &request()).await), "hit");
}

/// All see where one text goes on with another, and such an answer is not kept.
#[tokio::test]
async fn an_answer_that_is_gone_on_with_is_shared_and_not_kept() {
    let unrested = "health = { failures = 0, rate = 0 }";
    let gates = [Gate::new(), Gate::new()];
    let (of_stub, calls) = (gates.clone(), AtomicUsize::new(0));
    let stub = Stub::start(move |_| {
        let gate = of_stub[calls.fetch_add(1, Ordering::Relaxed)].clone();
        let words = ["lorem", " ipsum", " dolor", " sit", " amet"].map(bodies::chat_delta);
        let begun = std::iter::once(bodies::chat_role()).chain(words);
        Answer::sse(begun).step(Step::Wait(gate)).step(Step::Cut)
    })
    .await;
    let config = format!(
        "{}{unrested}\n\
         [providers.two]\nkind = \"mock\"\ndialects = [\"anthropic\"]\n{unrested}\n\
         [models.m]\ntargets = [{{ provider = \"one\", model = \"u\" }}, \
         {{ provider = \"two\", model = \"lorem-12+prefill\", priority = 1, traits = {{ prefill = true }} }}]\n\
         on_cut = \"continue\"\n{SHARED}",
        bodies::openai_provider("one", &stub.origin())
    );
    let gateway = Gateway::start(&config).await;
    for gate in &gates {
        let replies = together(&gateway, &ask(Dialect::Anthropic, "m", "Say something", true), gate).await;
        let text = assert_shared(Dialect::Anthropic, &replies);
        assert!(text.starts_with("lorem ipsum") && text.ends_with("tempor"), "{text}");
        assert_eq!(replies[0].text().matches("x-gateway-seam").count(), 1);
    }
}

#[tokio::test]
async fn a_withheld_answer_is_shared_when_it_is_whole() {
    let gate = Gate::new();
    let stub = Stub::always(stream(Some(&gate))).await;
    let provider = bodies::openai_provider("stub", &stub.origin());
    let model =
        format!("[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\non_cut = \"buffer\"\n{SHARED}");
    let gateway = Gateway::start(&format!("{provider}{model}")).await;
    let replies = together(&gateway, &request(), &gate).await;
    assert_eq!(assert_shared(Dialect::OpenAiChat, &replies), "Hello you");
    assert_eq!(stub.count(), 1);
}

/// What is read without any client is accounted for; who comes then makes a call of its own.
#[tokio::test]
async fn an_answer_is_drained_when_all_have_left() {
    let gate = Gate::new();
    let stub = Stub::always(stream(Some(&gate))).await;
    let provider = bodies::openai_provider("stub", &stub.origin());
    let hash = bodies::key_hash("sk-k");
    let config = format!(
        "{provider}[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n{SHARED}\
         [[keys]]\nname = \"k\"\nhash = \"{hash}\"\non_abort = \"drain\"\n"
    );
    let mut gateway = Gateway::start(&config).await;
    let request = request().header("x-api-key", "sk-k");
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = H1::connect(gateway.addr).await;
        client.send(&request).await;
        client.respond().await.until("Hello").await;
        clients.push(client);
    }
    drop(clients);
    gateway.counted_when("gateway_draining", "", |draining| draining == 1).await;
    let mut other = H1::connect(gateway.addr).await;
    other.send(&request).await;
    stub.next().await;
    stub.next().await;
    gate.open();
    let reply = other.reply().await.unwrap();
    assert_eq!((cache(&reply), reply.complete, stub.count()), ("miss", true, 2));
    let line = gateway
        .log_line(|line| (line["finish"] == "client_left" && line["cache"] == "miss").then(|| line.clone()))
        .await;
    assert_eq!(line["tokens"]["output"], 5, "{line}");
    gateway.assert_healthy().await;
}

/// A stream that a plugin ends is over for its client, whose connection goes on. Nobody has left, and no more is read of it.
#[tokio::test]
async fn a_stream_ends_with_its_refusal() {
    let words = [bodies::chat_role(), bodies::chat_delta("one "), bodies::chat_delta("forbidden two ")];
    let gate = Gate::new();
    let more = Step::Send(bodies::chat_delta("three ").into());
    let stub = Stub::always(Answer::sse(words).step(Step::Wait(gate.clone())).step(more).step(Step::Stall)).await;
    let provider = bodies::openai_provider("stub", &stub.origin());
    let hash = bodies::key_hash("sk-k");
    let config = format!(
        "{provider}[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n{SHARED}\
         [[keys]]\nname = \"k\"\nhash = \"{hash}\"\non_abort = \"drain\"\n\
         [[plugins]]\nuse = \"deny\"\nwords = [\"forbidden\"]\non = [\"answer\"]\nmessage = \"GUARD SAYS NO\"\n"
    );
    let mut gateway = Gateway::start(&config).await;
    let mut client = H1::connect(gateway.addr).await;
    let reply = client.exchange(&request().header("x-api-key", "sk-k")).await;
    assert!(reply.complete && cache(&reply) == "miss", "{}", reply.text());
    assert!(reply.text().contains("GUARD SAYS NO") && !reply.text().contains("forbidden"), "{}", reply.text());
    gate.open();
    stub.departed().await;
    let next = client.exchange(&Request::get("/v1/models").header("x-api-key", "sk-k")).await;
    assert_eq!(next.status, 200);
    let line = gateway.log_line(|line| (line["cache"] == "miss").then(|| line.clone())).await;
    assert_eq!((&line["fault"], &line["finish"]), (&json!("policy"), &json!("complete")), "{line}");
    gateway.assert_healthy().await;
}
