//! What kept answers and shared calls cost, and whom.

use ai_gateway_tests::client::{H1, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, bodies, run_to_end, usage};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::{KEEPS, cache, chat, counting, model, start};

const LIMITS: &str = "limits = { requests = \"4/min\", tokens = \"1000/min\" }";

/// Hits are requests, and take no tokens.
#[tokio::test]
async fn limits_count_hits_as_requests_only() {
    let stub = counting().await;
    let key = format!("[[keys]]\nname = \"k\"\nhash = \"{}\"\n{LIMITS}\n", bodies::key_hash("sk-k"));
    let gateway = start(&stub, &format!("{}{key}", model(KEEPS))).await;
    let request = chat(&json!({"max_tokens": 900})).header("authorization", "Bearer sk-k");
    let mut left = Vec::new();
    for status in ["miss", "hit", "hit", "hit"] {
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!((reply.status, cache(&reply)), (200, status));
        left.push(reply.header("x-ratelimit-remaining-tokens").to_owned());
        // What an answer did not take is given back behind its last byte.
        gateway.at_rest().await;
    }
    assert!(left[1..].iter().all(|tokens| *tokens == left[1]), "{left:?}");
    assert_eq!(exchange(gateway.addr, &request).await.status, 429);
}

/// One record for the call, others for those who followed it and for hits; and its cost is divided exactly, if that is to be.
#[tokio::test]
async fn a_call_is_paid_once() {
    // A plugin that judges the answer whole is of no matter to who pays for it.
    let judges = "[[plugins]]\nuse = \"secrets\"\naction = \"redact\"\non = [\"answer\"]\n";
    for (pays, plugins) in [("first", ""), ("split", ""), ("split", judges)] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.db");
        let gate = Gate::new();
        let of_stub = gate.clone();
        let stub = Stub::start(move |_| {
            let mut answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("fine")]);
            answer.steps.push(Step::Wait(of_stub.clone()));
            for end in [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.to_owned()] {
                answer.steps.push(Step::Send(end.into()));
            }
            answer
        })
        .await;
        let keys: String = (0..3)
            .map(|key| {
                format!(
                    "[[keys]]\nname = \"k{key}\"\nhash = \"{}\"\ncache = \"shared\"\n",
                    bodies::key_hash(&format!("sk-{key}"))
                )
            })
            .collect();
        let rest = format!(
            "{}{keys}{plugins}[prices.models]\n\"stub/u\" = {{ input = \"1\", output = \"2\" }}\n[ledger]\npath = \"{}\"\n",
            model(&format!("cache = {{ ttl = \"10m\", pays = \"{pays}\" }}")),
            ledger.display()
        );
        let mut gateway = start(&stub, &rest).await;
        let ask = |key: usize| chat(&json!({"stream": true})).header("authorization", &format!("Bearer sk-{key}"));
        let opens = async {
            gateway.followed(2).await;
            gate.open();
        };
        let requests: Vec<Request> = (0..3).map(ask).collect();
        let (replies, ()) =
            tokio::join!(join_all(requests.iter().map(|request| exchange(gateway.addr, request))), opens);
        assert!(replies.iter().all(|reply| reply.body == replies[0].body));
        assert_eq!(cache(&exchange(gateway.addr, &ask(0)).await), "hit");
        gateway.at_rest().await;
        // Two followers and a hit, of twelve tokens each.
        assert_eq!(gateway.counted("gateway_cache_saved_tokens_total", "").await, 36);
        gateway.terminate();
        gateway.ended().await;

        let rows = usage(&ledger, &["--by", "kind,key"]);
        let count = |kind: &str| {
            rows.iter().filter(|row| row["kind"] == kind).map(|row| row["records"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!((count("request"), count("shared"), count("cache_hit")), (1, 2, 1), "{rows:?}");
        // Seven tokens in and five out, at one and two dollars for a million.
        let cost = |kind: &str| -> Vec<u64> {
            let of_kind = rows.iter().filter(|row| row["kind"] == kind);
            of_kind.map(|row| pico(&row["cost_usd"])).collect()
        };
        let (mut all, whole) = ([cost("request"), cost("shared"), cost("cache_hit")].concat(), 17_000_000);
        assert_eq!(all.iter().sum::<u64>(), whole, "{rows:?}");
        all.sort_unstable();
        let expected = if pays == "first" { [0, 0, 0, whole] } else { [0, 5_666_666, 5_666_667, 5_666_667] };
        assert_eq!(all, expected, "{rows:?}");
    }
}

/// What a provider told of a call that was divided stays the whole of it, whatever prices there are meanwhile for others.
#[tokio::test]
async fn a_divided_cost_that_the_provider_told_outlives_a_rating() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::new();
    let of_stub = gate.clone();
    let stub = Stub::start(move |_| {
        let mut answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("fine")]);
        answer.steps.push(Step::Wait(of_stub.clone()));
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "cost": 0.25});
        let last = format!("data: {}\n\n", json!({"choices": [], "usage": usage}));
        answer
            .steps
            .extend([bodies::chat_finish(), last, bodies::DONE.to_owned()].map(|event| Step::Send(event.into())));
        answer
    })
    .await;
    let config = format!(
        "[providers.stub]\nkind = \"openrouter\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n{}[ledger]\npath = \"{}\"\n",
        stub.origin(),
        model("cache = { ttl = \"10m\", pays = \"split\" }"),
        dir.path().join("ledger.db").display()
    );
    let mut gateway = Gateway::start(&config).await;
    let request = chat(&json!({"stream": true}));
    let opens = async {
        gateway.followed(1).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(join_all((0..2).map(|_| exchange(gateway.addr, &request))), opens);
    assert!(replies.iter().all(|reply| reply.complete));
    gateway.at_rest().await;
    gateway.terminate();
    gateway.ended().await;
    let rerated =
        |price: &str| run_to_end(&["usage", "rerate", "--config", "{config}"], &format!("{config}{price}"), &[]);
    let told = rerated("");
    assert!(
        told.stdout.contains(" 0 cost something else, 0 are without a price; 0.25 USD booked, 0.25 USD now"),
        "{told:?}"
    );
    let priced = rerated("[prices.models]\n\"stub/u\" = { input = \"1\", output = \"2\" }\n");
    assert!(priced.stdout.contains("0.25 USD booked, 0.000017 USD now"), "{priced:?}");
}

/// Who follows a call that is divided pays its part, also if it has not read the answer to its end.
#[tokio::test]
async fn who_leaves_behind_the_end_has_paid() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let of_stub = gate.clone();
    let delta = Bytes::from(bodies::chat_delta(&"x".repeat(64 << 10)));
    let stub = Stub::start(move |_| {
        let mut answer = Answer::sse([bodies::chat_role()]).step(Step::Wait(of_stub.clone()));
        answer.steps.extend((0..150).map(|_| Step::Send(delta.clone())));
        let end = [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.to_owned()];
        answer.steps.extend(end.map(|event| Step::Send(event.into())));
        answer
    })
    .await;
    let rest = format!(
        "{}[prices.models]\n\"stub/u\" = {{ input = \"1\", output = \"2\" }}\n[ledger]\npath = \"{}\"\n",
        model("cache = { ttl = \"10m\", pays = \"split\" }"),
        ledger.display()
    );
    let mut gateway = start(&stub, &rest).await;
    let request = chat(&json!({"stream": true}));
    let mut first = H1::connect(gateway.addr).await;
    first.send(&request).await;
    stub.next().await;
    // It takes little before it reads, which it never does.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut follower = H1::over(socket.connect(gateway.addr).await.unwrap());
    follower.send(&request).await;
    gateway.followed(1).await;
    gate.open();
    assert!(first.reply().await.unwrap().complete);
    drop(follower);
    gateway.at_rest().await;
    gateway.terminate();
    gateway.ended().await;
    let rows = usage(&ledger, &["--by", "kind"]);
    let cost = |kind: &str| {
        let row = rows.iter().find(|row| row["kind"] == kind);
        row.map_or(0, |row| pico(&row["cost_usd"]))
    };
    assert_eq!((cost("request"), cost("shared")), (8_500_000, 8_500_000), "{rows:?}");
}

/// Who waits for the call of another and leaves has followed it; who makes one, leaves and is followed had no answer, whether it has been
/// told to go on sending or not.
#[tokio::test]
async fn who_leaves_before_the_answer_is_booked_as_what_it_was() {
    for expects in [false, true] {
        leaves_before_the_answer(expects).await;
    }
}

async fn leaves_before_the_answer(expects: bool) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let rest = format!("{}[ledger]\npath = \"{}\"\n", model("cache = { ttl = \"10m\" }"), ledger.display());
    let mut gateway = start(&stub, &rest).await;
    let request = chat(&json!({}));
    let addr = gateway.addr;
    let mut first = H1::connect(addr).await;
    first.send(&if expects { request.clone().header("expect", "100-continue") } else { request.clone() }).await;
    stub.next().await;
    let mut waits = H1::connect(addr).await;
    waits.send(&request).await;
    gateway.followed(1).await;
    drop(waits);
    gateway.followed(0).await;
    let stays = tokio::spawn(async move { exchange(addr, &chat(&json!({}))).await });
    gateway.followed(1).await;
    drop(first);
    // Whoever asks now is behind it.
    exchange(addr, &Request::get("/v1/models")).await;
    gate.open();
    assert_eq!(cache(&stays.await.unwrap()), "shared");
    gateway.at_rest().await;
    gateway.terminate();
    gateway.ended().await;
    let ledger = rusqlite::Connection::open(ledger).unwrap();
    let mut query = ledger.prepare("SELECT kind, status FROM usage ORDER BY kind, status").unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u16>(1)?))).unwrap();
    let rows: Vec<_> = rows.map(Result::unwrap).collect();
    let expected = [("request", 499), ("shared", 200), ("shared", 499)];
    assert_eq!(rows, expected.map(|(kind, status)| (kind.to_owned(), status)));
}

/// Dollars as the report writes them, in pico-dollars.
fn pico(dollars: &Value) -> u64 {
    let text = dollars.as_str().map_or_else(|| dollars.to_string(), str::to_owned);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{fraction:0<12}").parse().unwrap_or_else(|error| panic!("{error}: {dollars}"))
}
