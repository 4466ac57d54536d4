//! Questions that mean nearly the same are given the same answer; nothing else may differ, and nobody gets another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};
use serde_json::{Value, json};

/// An upstream whose every answer is another one, and which gives a text the vector of how often it has each letter.
async fn upstream(embeds: Arc<AtomicUsize>) -> Stub {
    let calls = AtomicUsize::new(0);
    Stub::start(move |request| {
        if request.target.ends_with("/embeddings") {
            let state = embeds.fetch_add(1, Ordering::Relaxed);
            if state >= 1000 {
                return Answer::json(500, json!({"error": {"message": "no"}}).to_string());
            }
            let text = request.json()["input"].as_str().unwrap().to_lowercase();
            let count = |letter: char| text.chars().filter(|other| *other == letter).count();
            let vector: Vec<usize> = ('a'..='z').map(count).collect();
            let usage = json!({"prompt_tokens": 3, "total_tokens": 3});
            let data = json!([{"object": "embedding", "index": 0, "embedding": vector}]);
            let body = json!({"object": "list", "model": "e", "data": data, "usage": usage});
            return Answer::json(200, body.to_string());
        }
        let text = format!("answer {}", calls.fetch_add(1, Ordering::Relaxed));
        if request.json()["stream"] == true {
            let words = [bodies::chat_role(), bodies::chat_delta(&text), bodies::chat_finish()];
            return Answer::sse(words.into_iter().chain([bodies::chat_usage(), bodies::DONE.to_owned()]));
        }
        Answer::json(200, bodies::chat_answer(&text))
    })
    .await
}

const KEYS: [&str; 3] = ["sk-first-client", "sk-second-client", "sk-third-client"];

async fn start(stub: &Stub) -> Gateway {
    let keys: String = KEYS
        .iter()
        .zip(["private", "shared", "shared"])
        .map(|(secret, scope)| {
            let hash = bodies::key_hash(secret);
            format!("[[keys]]\nname = \"{secret}\"\nhash = \"{hash}\"\ncache = \"{scope}\"\n")
        })
        .collect();
    let provider = bodies::openai_provider("stub", &stub.origin());
    let semantic = "semantic = { model = \"stub/e\", threshold = 0.97 }";
    let model = format!(
        "[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n[models.m.cache]\nttl = \"10m\"\n{semantic}\n"
    );
    Gateway::start(&format!("{provider}health = {{ failures = 0, rate = 0 }}\n{model}{keys}")).await
}

async fn ask(gateway: &Gateway, key: &str, question: &str, more: &Value) -> Reply {
    let turns = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": question}]);
    let mut body = json!({"model": "m", "messages": turns});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = Request::post("/v1/chat/completions", body.to_string());
    exchange(gateway.addr, &request.header("authorization", &format!("Bearer {key}"))).await
}

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8_lossy(&exchange(gateway.admin, &Request::get("/metrics")).await.body).into_owned()
}

#[tokio::test]
async fn nearly_the_same_question_has_the_same_answer() {
    let embeds = Arc::new(AtomicUsize::new(0));
    let stub = upstream(embeds.clone()).await;
    let gateway = start(&stub).await;
    let none = json!({});
    let said = |reply: &Reply| {
        (reply.header("x-gateway-cache").to_owned(), !reply.header("x-gateway-cache-distance").is_empty())
    };
    let first = ask(&gateway, KEYS[1], "How tall is the Eiffel Tower?", &none).await;
    assert_eq!((first.status, said(&first)), (200, ("miss".to_owned(), false)));

    // In other words, by another key that shares, and as a stream.
    let near = ask(&gateway, KEYS[2], "how tall is the eiffel tower, then", &none).await;
    assert_eq!((near.status, said(&near)), (200, ("hit".to_owned(), true)));
    assert_eq!(near.body, first.body);
    let distance: f32 = near.header("x-gateway-cache-distance").parse().unwrap();
    assert!((0.0..=0.03).contains(&distance), "{distance}");
    let stream = ask(&gateway, KEYS[2], "how tall is the eiffel tower, then!", &json!({"stream": true})).await;
    assert_eq!(said(&stream), ("hit".to_owned(), true));
    assert!(String::from_utf8_lossy(&stream.body).contains("answer 0") && stream.complete);

    // Exactly the same question needs no vector.
    let asked = embeds.load(Ordering::Relaxed);
    let same = ask(&gateway, KEYS[1], "How tall is the Eiffel Tower?", &none).await;
    assert_eq!((said(&same), embeds.load(Ordering::Relaxed)), (("hit".to_owned(), false), asked));

    // Another question, another system prompt or setting, another scope, a request that wants none of it.
    let temper = json!({"seed": 7});
    for (key, question, more) in [
        (KEYS[1], "What does a zebra quilt cost in Mexico?", &none),
        (KEYS[1], "how tall is the eiffel tower now", &temper),
        (KEYS[0], "how tall is the eiffel tower, then", &none),
        (KEYS[1], "how tall is the eiffel tower, hm", &json!({"cache": {"semantic": false}})),
        (KEYS[1], "how tall is the eiffel tower, hmm", &json!({"cache": {"no-cache": true}})),
    ] {
        let other = ask(&gateway, key, question, more).await;
        assert_eq!((other.status, said(&other)), (200, ("miss".to_owned(), false)), "{question} {more}");
        assert_ne!(other.body, first.body);
    }
    assert!(metrics(&gateway).await.contains("gateway_cache_embedding_failures_total 0"));

    // An embedding model that fails costs no request anything.
    embeds.store(1000, Ordering::Relaxed);
    let lonely = ask(&gateway, KEYS[1], "how tall is the eiffel tower, please", &none).await;
    assert_eq!((lonely.status, said(&lonely)), (200, ("miss".to_owned(), false)));
    assert!(metrics(&gateway).await.contains("gateway_cache_embedding_failures_total 1"));
}
