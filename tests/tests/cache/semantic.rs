//! Questions that mean nearly the same are given the same answer; nothing else may differ, and nobody gets another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Target, codec};
use ai_gateway_providers::common::{Block, Losses, Message, ProviderTag, Request as Chat, Role};
use ai_gateway_tests::client::{Framing, H1, H2, Reply, Request, exchange};
use ai_gateway_tests::speak::{Heard, hear};
use ai_gateway_tests::talk::target_of;
use ai_gateway_tests::{Answer, Dice, Gate, Gateway, Redis, Setup, Stub, bodies, guard};
use serde_json::{Value, json};

/// How often a text has each letter.
fn letters(text: &str) -> Vec<f64> {
    let text = text.to_lowercase();
    ('a'..='z').map(|letter| text.matches(letter).count() as f64).collect()
}

fn cosine(one: &str, other: &str) -> f64 {
    let product = |one: &str, other: &str| letters(one).iter().zip(letters(other)).map(|(a, b)| a * b).sum::<f64>();
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}

/// An upstream whose every answer is another one, and which gives a text the vector of its [`letters`].
async fn upstream(embeds: Arc<AtomicUsize>) -> Stub {
    let calls = AtomicUsize::new(0);
    Stub::start(move |request| {
        if request.target.ends_with("/embeddings") {
            let state = embeds.fetch_add(1, Ordering::Relaxed);
            if state >= 1000 {
                return Answer::json(500, json!({"error": {"message": "no"}}).to_string());
            }
            let vector = letters(request.json()["input"].as_str().unwrap());
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
    start_with(stub, "").await
}

async fn start_with(stub: &Stub, more: &str) -> Gateway {
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
    Gateway::start(&format!("{provider}health = {{ failures = 0, rate = 0 }}\n{model}{keys}{more}")).await
}

async fn ask(gateway: &Gateway, key: &str, question: &str, more: &Value) -> Reply {
    exchange(gateway.addr, &request(key, question, more)).await
}

fn request(key: &str, question: &str, more: &Value) -> Request {
    let turns = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": question}]);
    let mut body = json!({"model": "m", "messages": turns});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Request::post("/v1/chat/completions", body.to_string()).header("authorization", &format!("Bearer {key}"))
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

/// A question of one of a few subjects, in its own words: letters that others have not, in this case or that.
fn question(dice: &mut Dice) -> String {
    let subject =
        dice.pick(&["How tall is the Eiffel Tower?", "What does a zebra quilt cost in Mexico?", "Why do cats purr?"]);
    let more: String = (0..dice.roll(4)).map(|_| char::from(b'a' + dice.roll(26) as u8)).collect();
    let whole = format!("{subject} {more}");
    if dice.roll(3) == 0 { whole.to_uppercase() } else { whole }
}

/// The first of them more often than not.
fn mostly<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    if dice.roll(3) > 0 { of[0] } else { dice.pick(of) }
}

/// Whoever asks what, in whatever words and order: nobody is given the answer to a question of another scope, model, dialect,
/// namespace, system prompt or conversation, or one that means something else, and everybody that of the nearest question.
#[tokio::test]
async fn a_hit_implies_permission_equality_and_nearness() {
    let stub = upstream(Arc::default()).await;
    let keys = [(KEYS[0], "private"), ("sk-a", "private"), (KEYS[1], "shared"), (KEYS[2], "shared"), ("sk-b", "off")];
    let mut more = String::new();
    for (key, scope) in [keys[1], keys[4]] {
        let hash = bodies::key_hash(key);
        more += &format!("[[keys]]\nname = \"{key}\"\nhash = \"{hash}\"\ncache = \"{scope}\"\n");
    }
    for (name, upstream) in [("n", "u"), ("o", "v")] {
        more += &format!("[models.{name}]\ntargets = [{{ provider = \"stub\", model = \"{upstream}\" }}]\n");
        more += "cache = { ttl = \"10m\", semantic = { model = \"stub/e\", threshold = 0.97 } }\n";
    }
    let gateway = start_with(&stub, &more).await;
    let mut client = H1::connect(gateway.addr).await;
    // Of each context the questions that an answer was made for.
    let (mut dice, mut made, mut near) = (Dice(7), HashMap::<String, Vec<(String, String)>>::new(), 0);
    for _ in 0..900 {
        let ((key, scope), model, dialect) =
            (dice.pick(&keys), mostly(&mut dice, &["m", "n", "o"]), dice.pick(&Dialect::ALL));
        let system = mostly(&mut dice, &["Be brief.", "", "Be brief"]);
        let (before, namespace) = (mostly(&mut dice, &["", "Hello."]), mostly(&mut dice, &[None, Some("n")]));
        let stream = dice.roll(2) == 0;
        let asked = question(&mut dice);
        let mut chat = Chat { stream, include_usage: stream, max_tokens: Some(1000), ..Chat::new(dialect) };
        let blocks = |text: &str| vec![Block::text(text.to_owned())];
        if !system.is_empty() {
            chat.system = blocks(system);
        }
        if !before.is_empty() {
            chat.messages.push(Message { blocks: blocks(before), ..Message::default() });
            chat.messages.push(Message { role: Role::Assistant, blocks: blocks("Hi."), ..Message::default() });
        }
        chat.messages.push(Message { blocks: blocks(&asked), ..Message::default() });
        let target = Target::new(model, ProviderTag::of("client"));
        let body = codec(dialect).encode_request(&chat, &target, &mut Losses::default()).unwrap();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        if dialect == Dialect::OpenAiResponses {
            body["store"] = json!(false);
        }
        if let Some(namespace) = namespace {
            body["cache"] = json!({"namespace": namespace});
        }
        let request = Request::post(&target_of(dialect, model, stream), body.to_string());
        let reply = client.exchange(&request.header("authorization", &format!("Bearer {key}"))).await;
        let Heard::Answer(answer) = hear(dialect, stream, &reply) else { panic!("{}", reply.text()) };

        let owner = if scope == "shared" { "all that share" } else { key };
        let context = format!("{owner} {model} {dialect} {system:?} {before:?} {namespace:?}");
        let known = made.entry(context.clone()).or_default();
        let what = format!("{context}: {asked}, {}, of {known:?}", answer.text);
        let nearest = known.iter().map(|(question, _)| cosine(question, &asked)).fold(0.0, f64::max);
        match reply.header("x-gateway-cache") {
            "hit" => {
                let its = known.iter().find(|(_, text)| *text == answer.text);
                let its = &its.unwrap_or_else(|| panic!("the answer of others: {what}")).0;
                match reply.header("x-gateway-cache-distance") {
                    "" => assert_eq!(*its, asked, "{what}"),
                    distance => {
                        near += 1;
                        let is = cosine(its, &asked);
                        assert!(is > 0.97 - 1e-3 && (is - nearest).abs() < 1e-3, "{is} is not {nearest}: {what}");
                        assert!((1.0 - is - distance.parse::<f64>().unwrap()).abs() < 1e-3, "{distance}: {what}");
                    }
                }
            }
            "miss" => {
                assert!(nearest < 0.97 + 1e-3, "{nearest} is near: {what}");
                assert!(made.values().flatten().all(|(_, text)| *text != answer.text), "{what}");
                made.entry(context).or_default().push((asked, answer.text));
            }
            "bypass" => assert_eq!(scope, "off"),
            other => panic!("{other}: {what}"),
        }
    }
    assert!(near > 150, "{near}");
}

/// Who cannot be given an answer, because it wants it in a form that this one cannot be written in, takes it from nobody else.
#[tokio::test]
async fn an_answer_that_is_not_for_one_client_is_still_there_for_the_next() {
    let stub = upstream(Arc::default()).await;
    let gateway = start(&stub).await;
    let first = ask(&gateway, KEYS[1], "How tall is the Eiffel Tower?", &json!({})).await;
    assert_eq!((first.status, first.header("x-gateway-cache")), (200, "miss"));
    let stream = request(KEYS[1], "how tall is the eiffel tower, then", &json!({"stream": true}));
    let other = exchange(gateway.addr, &stream.header("x-gateway-cost", "stream")).await;
    assert_eq!((other.status, other.header("x-gateway-cache")), (200, "miss"));
    let again = ask(&gateway, KEYS[1], "how tall is the eiffel tower", &json!({})).await;
    assert_eq!((again.status, again.header("x-gateway-cache")), (200, "hit"));
    assert_eq!(again.body, first.body);
}

/// With a Redis in common, what one instance has learnt the others know: those that run, and those that start later.
#[tokio::test(flavor = "multi_thread")]
async fn instances_have_their_questions_in_common() {
    if !Redis::is_installed() {
        return;
    }
    let none = json!({});
    let known = |reply: &Reply| {
        (reply.header("x-gateway-cache") == "hit", !reply.header("x-gateway-cache-distance").is_empty())
    };
    let knows = async |gateway: &Gateway, questions: u64| {
        gateway.admin_when("/api/cache", "questions", |status| status["questions"] == questions).await;
    };
    for setup in [Setup::One, Setup::Cluster] {
        let mut redis = Redis::start(setup).await;
        let stub = upstream(Arc::default()).await;
        let more = format!("[cache]\nredis = true\n[store]\nredis = \"{}\"\ntimeout = \"10s\"\n", redis.url());
        let begin = async || {
            let gateway = start_with(&stub, &more).await;
            gateway.admin_when("/api/cache", "the store", |status| status["redis"]["up"] == true).await;
            gateway
        };
        let holds = async |redis: &Redis, keys: u64| {
            guard("all is stored", async {
                while redis.count("ai-gateway:cache*").await != keys {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
            .await;
        };
        let (one, other) = (begin().await, begin().await);
        let first = ask(&one, KEYS[1], "How tall is the Eiffel Tower?", &none).await;
        assert_eq!((first.status, known(&first)), (200, (false, false)));
        knows(&other, 1).await;
        // The answer, and the questions.
        holds(&redis, 2).await;
        let near = ask(&other, KEYS[2], "how tall is the eiffel tower, then", &none).await;
        assert_eq!((near.status, known(&near), &near.body), (200, (true, true), &first.body), "{setup:?}");
        let stranger = ask(&other, KEYS[0], "how tall is the eiffel tower, then", &none).await;
        assert_eq!((stranger.status, known(&stranger)), (200, (false, false)), "it is another's");
        for gateway in [&one, &other] {
            knows(gateway, 2).await;
        }

        // Purged at one of them, it is forgotten at both, and nobody hears of it any more.
        let purge = Request { method: "DELETE".to_owned(), ..Request::post("/api/cache?model=m", "") };
        assert_eq!(exchange(one.admin, &purge).await.status, 200);
        for gateway in [&one, &other] {
            knows(gateway, 0).await;
        }
        let new = ask(&other, KEYS[2], "how tall is the eiffel tower, then", &none).await;
        assert_eq!((new.status, known(&new)), (200, (false, false)), "{setup:?}");
        assert_ne!(new.body, first.body);
        // Three answers, the questions, and what was purged.
        holds(&redis, 5).await;
        let late = begin().await;
        for gateway in [&one, &late] {
            knows(gateway, 1).await;
            let near = ask(gateway, KEYS[1], "how tall is the eiffel tower, then?", &none).await;
            assert_eq!((near.status, known(&near), &near.body), (200, (true, true), &new.body), "{setup:?}");
        }

        // Without the store each goes on with what it knows, and learns.
        redis.kill();
        let near = ask(&one, KEYS[1], "how tall is the eiffel tower, then?!", &none).await;
        assert_eq!((near.status, known(&near), &near.body), (200, (true, true), &new.body), "{setup:?}");
        let own = ask(&one, KEYS[1], "What does a zebra quilt cost in Mexico?", &none).await;
        assert_eq!((own.status, known(&own)), (200, (false, false)));
        knows(&one, 2).await;
        let near = ask(&one, KEYS[2], "what does a zebra quilt cost in mexico", &none).await;
        assert_eq!((near.status, known(&near), &near.body), (200, (true, true), &own.body), "{setup:?}");
    }
}

/// What a vector costs counts against the key that it is asked for, and none is asked for who is refused.
#[tokio::test]
async fn vectors_count_against_limits() {
    let embeds = Arc::new(AtomicUsize::new(0));
    let stub = upstream(embeds.clone()).await;
    let key = format!(
        "[[keys]]\nname = \"bounded\"\nhash = \"{}\"\nlimits = {{ requests = \"2/day\", tokens = \"10000/day\" }}\n",
        bodies::key_hash("sk-bounded")
    );
    let gateway = start_with(&stub, &key).await;
    let first = ask(&gateway, "sk-bounded", "How tall is the Eiffel Tower?", &json!({})).await;
    assert_eq!((first.status, embeds.load(Ordering::Relaxed)), (200, 1));
    gateway.at_rest().await;
    let again = ask(&gateway, "sk-bounded", "How tall is the Eiffel Tower?", &json!({})).await;
    assert_eq!(again.header("x-gateway-cache"), "hit");
    // The answer had 12 tokens, the vector 3.
    assert_eq!(again.header("x-ratelimit-remaining-tokens"), "9985");
    assert_eq!(again.header("x-ratelimit-remaining-requests"), "0", "who makes a call counts once");
    let refused = ask(&gateway, "sk-bounded", "What does a zebra quilt cost in Mexico?", &json!({})).await;
    assert_eq!((refused.status, embeds.load(Ordering::Relaxed)), (429, 1));
}

/// No vector is asked for whose own tokens are more than the key has left: its request comes to its limits without.
#[tokio::test]
async fn who_has_no_room_for_a_vector_has_none_asked() {
    let embeds = Arc::new(AtomicUsize::new(0));
    let stub = upstream(embeds.clone()).await;
    let key = format!(
        "[[keys]]\nname = \"bounded\"\nhash = \"{}\"\nlimits = {{ tokens = \"60/day\" }}\n",
        bodies::key_hash("sk-bounded")
    );
    let gateway = start_with(&stub, &key).await;
    let short = json!({"max_tokens": 2});
    let first = ask(&gateway, "sk-bounded", "How tall is the Eiffel Tower?", &short).await;
    assert_eq!((first.status, embeds.load(Ordering::Relaxed)), (200, 1), "{}", first.text());
    gateway.at_rest().await;
    // 15 are used, and this takes 50.
    let long = "zebra ".repeat(34);
    for _ in 0..2 {
        let refused = ask(&gateway, "sk-bounded", &long[..200], &short).await;
        assert_eq!((refused.status, embeds.load(Ordering::Relaxed)), (429, 1));
    }
    assert!(metrics(&gateway).await.contains("gateway_cache_embedding_failures_total 0"));
    // What is kept needs neither.
    let again = ask(&gateway, "sk-bounded", "How tall is the Eiffel Tower?", &short).await;
    assert_eq!((again.status, again.header("x-gateway-cache")), (200, "hit"));
}

/// One at a time: who asks the same as a request that waits for its vector is refused, and does not take its place from it.
#[tokio::test]
async fn who_follows_takes_no_place_from_whom_it_follows() {
    let gate = Gate::new();
    let held = gate.clone();
    let stub = Stub::start(move |request| {
        if request.target.ends_with("/embeddings") {
            let data = json!([{"object": "embedding", "index": 0, "embedding": [1, 2]}]);
            return Answer::json(200, json!({"object": "list", "model": "e", "data": data}).to_string()).after(&held);
        }
        Answer::json(200, bodies::chat_answer("fine"))
    })
    .await;
    let hash = bodies::key_hash("sk-one");
    let key = format!("[[keys]]\nname = \"one\"\nhash = \"{hash}\"\nlimits = {{ concurrent = 1 }}\n");
    let gateway = Arc::new(start_with(&stub, &key).await);
    let leader = tokio::spawn({
        let gateway = gateway.clone();
        async move { ask(&gateway, "sk-one", "How tall is the Eiffel Tower?", &json!({})).await }
    });
    stub.next().await;
    let follower = ask(&gateway, "sk-one", "How tall is the Eiffel Tower?", &json!({})).await;
    assert_eq!(follower.status, 429, "{}", follower.text());
    gate.open();
    let leader = leader.await.unwrap();
    assert_eq!(leader.status, 200, "{}", leader.text());
}

/// Who leaves while its question is turned into a vector is not gone on for, and has its place back.
#[tokio::test]
async fn who_leaves_waits_for_no_vector() {
    let never = Gate::new();
    let stub = Stub::start(move |request| match request.target.ends_with("/embeddings") {
        true => Answer::status(200).after(&never),
        false => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let more = format!(
        "[[keys]]\nname = \"bot\"\nhash = \"{}\"\nlimits = {{ concurrent = 1 }}\n\
         [models.slow]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n[models.slow.cache]\nttl = \"10m\"\n\
         semantic = {{ model = \"stub/e\", threshold = 0.97, timeout = \"2m\" }}\n",
        bodies::key_hash("sk-bot")
    );
    let gateway = start_with(&stub, &more).await;
    let asks = |model: &str| request("sk-bot", "How tall is the Eiffel Tower?", &json!({"model": model}));
    for framing in [Framing::Length, Framing::H2(16 << 10)] {
        let what = format!("{framing:?}");
        let asked = asks("slow").framing(framing).header("user-agent", &what);
        if framing == Framing::Length {
            let mut client = H1::connect(gateway.addr).await;
            client.send(&asked).await;
            stub.next().await;
        } else {
            let connection = H2::connect(gateway.addr).await;
            let mut stream = connection.clone();
            let answer = tokio::spawn(async move { drop(stream.exchange(&asked).await) });
            stub.next().await;
            answer.abort();
            assert!(answer.await.unwrap_err().is_cancelled(), "there was an answer");
        }
        stub.departed().await;
        let log = gateway.log_line(|line| (line["user_agent"] == what.as_str()).then(|| line.clone())).await;
        assert_eq!((&log["status"], &log["finish"]), (&499.into(), &"client_left".into()), "{log}");
        let next = exchange(gateway.addr, &asks("stub/u")).await;
        assert_eq!(next.status, 200, "{}", next.text());
        stub.next().await;
    }
    assert_eq!(stub.count(), 4, "nobody was asked for an answer");
}
