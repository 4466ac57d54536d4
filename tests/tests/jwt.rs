//! JWTs as the other way in: what holds, every known attack, and how public keys are fetched.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::signer::{Signer, message};
use ai_gateway_tests::{Answer, Gate, Gateway, Stub, bodies};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({ "iss": "https://id.example", "aud": "gateway", "sub": "ada", "exp": now() + 600 })
}

/// The claims with some replaced; `null` takes one out.
fn with(more: Value) -> Value {
    let mut claims = claims();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

struct Bench {
    upstream: Stub,
    issuer: Stub,
    /// What the issuer answers; `None`: a 500.
    served: Arc<Mutex<Option<Value>>>,
    gateway: Gateway,
}

impl Bench {
    async fn new(served: Option<Value>) -> Self {
        Self::gated(served, None).await
    }

    async fn gated(served: Option<Value>, gate: Option<Gate>) -> Self {
        let upstream = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
        let served = Arc::new(Mutex::new(served));
        let mine = served.clone();
        let issuer = Stub::start(move |_| {
            let answer = match &*mine.lock().unwrap() {
                Some(keys) => Answer::json(200, keys.to_string()),
                None => Answer::status(500),
            };
            match &gate {
                Some(gate) => answer.after(gate),
                None => answer,
            }
        })
        .await;
        let config = format!(
            r#"
            {}
            [models.assistant]
            targets = [{{ provider = "stub", model = "m" }}]
            [models.other]
            targets = [{{ provider = "stub", model = "m" }}]
            [[keys]]
            name = "staff"
            models = ["assistant", "other"]
            [[keys]]
            name = "readers"
            models = ["other"]
            [[keys]]
            name = "plain"
            hash = "{}"
            [jwt]
            issuers = [{{
                issuer = "https://id.example", audience = "gateway", jwks = "{}/keys", key = "staff",
                claims = {{ tags = "roles" }},
                by_claim = [{{ claim = "roles", has = "readers", key = "readers" }}],
            }}]
            "#,
            bodies::openai_provider("stub", &upstream.origin()),
            bodies::key_hash("sk-plain"),
            issuer.origin(),
        );
        let gateway = Gateway::start(&config).await;
        Self { upstream, issuer, served, gateway }
    }

    async fn ask(&self, token: &str) -> Reply {
        self.ask_for("assistant", token).await
    }

    async fn ask_for(&self, model: &str, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        let request = Request::post("/v1/chat/completions", bodies::chat(model)).header("authorization", &bearer);
        exchange(self.gateway.addr, &request).await
    }

    fn serve(&self, keys: Option<Value>) {
        *self.served.lock().unwrap() = keys;
    }
}

fn set(keys: &[Value]) -> Option<Value> {
    Some(json!({ "keys": keys }))
}

#[tokio::test]
async fn a_token_is_a_key_within_its_template() {
    let signer = Signer::new();
    let bench = Bench::new(set(&[signer.jwk("a")])).await;
    let token = signer.token("a", &claims());
    for _ in 0..3 {
        let reply = bench.ask(&token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let log = bench.gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["key"], "staff/ada", "{log}");
        let received = bench.upstream.next().await;
        assert!(!format!("{:?}", received.headers).contains("eyJ"), "the token went upstream");
    }
    assert_eq!(bench.ask_for("stub/gpt-5", &token).await.status, 404, "the template may not use it");
    // In every header, as any key.
    for header in ["x-api-key", "api-key", "x-goog-api-key"] {
        let request = Request::post("/v1/chat/completions", bodies::chat("other")).header(header, &token);
        assert_eq!(exchange(bench.gateway.addr, &request).await.status, 200, "{header}");
    }
    // A list of audiences, and clocks that differ a little.
    for good in [json!({ "aud": ["x", "gateway"] }), json!({ "nbf": now() + 5 }), json!({ "exp": now() - 5 })] {
        assert_eq!(bench.ask(&signer.token("a", &with(good.clone()))).await.status, 200, "{good}");
    }
    assert_eq!(bench.ask("sk-plain").await.status, 200, "keys are taken beside tokens");
    assert_eq!(bench.issuer.count(), 1, "public keys are fetched once");
}

#[tokio::test]
async fn a_claim_chooses_the_template() {
    let signer = Signer::new();
    let bench = Bench::new(set(&[signer.jwk("a")])).await;
    let reader = signer.token("a", &with(json!({ "roles": ["guests", "readers"] })));
    let reply = bench.ask_for("other", &reader).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(bench.gateway.log_of(reply.header("x-request-id")).await["key"], "readers/ada");
    assert_eq!(bench.ask(&reader).await.status, 404, "this template may not use it");
    assert_eq!(bench.ask(&signer.token("a", &with(json!({ "roles": ["guests"] })))).await.status, 200);
}

/// The same 401 for all of them, whatever it is.
#[tokio::test]
async fn attacks_are_refused() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let bench = Bench::new(set(&[signer.jwk("a"), json!({ "kty": "oct", "kid": "shared", "k": "c2VjcmV0" })])).await;
    let good = signer.token("a", &claims());
    assert_eq!(bench.ask(&good).await.status, 200);

    let header = |more: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "a" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    let hmac = |key: &[u8], header: &Value| {
        let message = message(header, &claims());
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let unsigned = |algorithm: &str| format!("{}.", message(&json!({ "alg": algorithm, "kid": "a" }), &claims()));
    let parts: Vec<&str> = good.split('.').collect();
    let flipped = format!("{}.{}.{}", parts[0], parts[1], parts[2].chars().rev().collect::<String>());
    let other_claims = URL_SAFE_NO_PAD.encode(with(json!({ "sub": "root" })).to_string());
    let public = signer.jwk("a").to_string();

    let mut attacks: Vec<(&str, String)> = vec![
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg NONE", unsigned("NONE")),
        ("alg empty", unsigned("")),
        ("ES256 unsigned", unsigned("ES256")),
        ("HS256 by the public key", hmac(signer.public(), &header(json!({ "alg": "HS256" })))),
        ("HS256 by the JWK", hmac(public.as_bytes(), &header(json!({ "alg": "HS256" })))),
        ("HS256 by a symmetric key of the set", hmac(b"secret", &header(json!({ "alg": "HS256", "kid": "shared" })))),
        ("another's signature", stranger.token("a", &claims())),
        ("its own key inside", stranger.sign(&header(json!({ "jwk": stranger.jwk("a") })), &claims())),
        ("its own key elsewhere", stranger.sign(&header(json!({ "jku": bench.issuer.origin() })), &claims())),
        ("no kid", signer.sign(&json!({ "alg": "ES256" }), &claims())),
        ("kid is a path", signer.token("../../etc/passwd", &claims())),
        ("kid is SQL", signer.token("a' OR '1'='1", &claims())),
        ("kid is a number", signer.sign(&header(json!({ "kid": 1 })), &claims())),
        ("another algorithm", signer.sign(&header(json!({ "alg": "ES384" })), &claims())),
        ("RS256", signer.sign(&header(json!({ "alg": "RS256" })), &claims())),
        ("critical extension", signer.sign(&header(json!({ "crit": ["exp"] })), &claims())),
        ("signature changed", flipped),
        ("claims changed", format!("{}.{other_claims}.{}", parts[0], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("four parts", format!("{good}.x")),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("cut", good[..good.len() - 2].to_owned()),
        ("no JSON", "eyJhbGciOiJFUzI1NiJ9.e30x.AAAA".to_owned()),
        ("no base64", "eyJ!.eyJ!.!".to_owned()),
    ];
    for (what, claims) in [
        ("expired", with(json!({ "exp": now() - 60 }))),
        ("expired long ago", with(json!({ "exp": 1 }))),
        ("no exp", with(json!({ "exp": null }))),
        ("exp is a text", with(json!({ "exp": "9999999999" }))),
        ("exp is negative", with(json!({ "exp": -1 }))),
        ("not yet", with(json!({ "nbf": now() + 60 }))),
        ("nbf is a text", with(json!({ "nbf": "soon" }))),
        ("wrong audience", with(json!({ "aud": "another" }))),
        ("audience in part", with(json!({ "aud": "gate" }))),
        ("no audience", with(json!({ "aud": null }))),
        ("empty audience", with(json!({ "aud": [] }))),
        ("wrong issuer", with(json!({ "iss": "https://evil.example" }))),
        ("issuer with a slash", with(json!({ "iss": "https://id.example/" }))),
        ("issuer in a list", with(json!({ "iss": ["https://id.example"] }))),
        ("no issuer", with(json!({ "iss": null }))),
        ("no name", with(json!({ "sub": null }))),
        ("control characters", with(json!({ "sub": "a\u{0}b" }))),
        ("oversized", with(json!({ "more": "x".repeat(7000) }))),
    ] {
        attacks.push((what, signer.token("a", &claims)));
    }
    let reasons = [
        ("alg none", "token_form"),
        ("another's signature", "token_signature"),
        ("no kid", "token_kid"),
        ("kid is SQL", "token_kid"),
        ("another algorithm", "token_algorithm"),
        ("two parts", "unknown"),
        ("expired", "token_expired"),
        ("not yet", "token_not_yet"),
        ("no exp", "token_claims"),
        ("no name", "token_claims"),
        ("wrong audience", "token_audience"),
        ("wrong issuer", "token_issuer"),
    ];
    let served = bench.upstream.count();
    let mut answers = std::collections::HashSet::new();
    for (what, token) in &attacks {
        // Twice: what was refused is not remembered as good.
        for _ in 0..2 {
            let reply = bench.ask(token).await;
            assert_eq!((reply.status, &reply.json()["error"]["code"]), (401, &"invalid_api_key".into()), "{what}");
            answers.insert(reply.text().replace(reply.header("x-request-id"), ""));
            // Whoever set it up can find out, from the log.
            let log = bench.gateway.log_of(reply.header("x-request-id")).await;
            let told = log["refused"].as_str().unwrap_or_else(|| panic!("{what}: {log}"));
            match reasons.iter().find(|(of, _)| of == what) {
                Some((_, reason)) => assert_eq!(told, *reason, "{what}: {log}"),
                None => assert!(told == "unknown" || told.starts_with("token_"), "{what}: {log}"),
            }
        }
    }
    let counted = bench.gateway.measured("gateway_auth_refused_total", "reason=\"token_audience\"").await;
    assert!(counted >= Some(2.0), "{counted:?}");
    assert_eq!(answers.len(), 1, "the answers tell them apart: {answers:?}");
    assert_eq!(bench.upstream.count(), served);
    // Tokens are for clients, not for the admin API.
    let admin = Request::get("/api/keys").header("authorization", &format!("Bearer {good}"));
    assert_eq!(exchange(bench.gateway.admin, &admin).await.status, 401);
    let metrics = exchange(bench.gateway.admin, &Request::get("/metrics")).await.text();
    let (out, err) = bench.gateway.output();
    for text in out.iter().chain(&err).chain([&metrics]) {
        assert!(!text.contains("eyJ") && !text.contains("panicked"), "{text}");
    }
    assert_eq!(bench.ask(&good).await.status, 200);
    assert!(bench.issuer.count() <= 3, "made-up names make the gateway ask the issuer {} times", bench.issuer.count());
}

/// Many first requests wait for one fetch together.
#[tokio::test]
async fn public_keys_are_fetched_once_for_all_who_wait() {
    let signer = Signer::new();
    let gate = Gate::new();
    let bench = Bench::gated(set(&[signer.jwk("a")]), Some(gate.clone())).await;
    let token = signer.token("a", &claims());
    let asking = futures::future::join_all((0..10).map(|_| bench.ask(&token)));
    let opening = async {
        bench.issuer.next().await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(asking, opening);
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(bench.issuer.count(), 1);
}

/// Without the issuer's keys nobody can say whether a token holds: that is the gateway's trouble, not the client's.
#[tokio::test]
async fn an_issuer_that_is_down_is_a_503_and_keys_go_on() {
    let signer = Signer::new();
    let bench = Bench::new(None).await;
    let reply = bench.ask(&signer.token("a", &claims())).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(bench.ask("sk-plain").await.status, 200);
    // Not asked again with every token.
    bench.serve(set(&[signer.jwk("a")]));
    for _ in 0..5 {
        assert_eq!(bench.ask(&signer.token("a", &claims())).await.status, 503);
    }
    assert_eq!(bench.issuer.count(), 1);
}

#[tokio::test]
async fn without_any_token_or_key_nobody_comes_in() {
    let bench = Bench::new(set(&[])).await;
    let request = Request::post("/v1/chat/completions", bodies::chat("assistant"));
    assert_eq!(exchange(bench.gateway.addr, &request).await.status, 401);
    assert_eq!(bench.issuer.count(), 0, "nothing is fetched for nobody");
}
