//! A guard that asks a model asks it nothing for who has no room in its limits.

use std::io::Write;

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Step, Stub, bodies};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

/// Flags what says so, and answers everything else in twelve tokens.
async fn upstream() -> Stub {
    Stub::start(|request| {
        if request.target.ends_with("/moderations") {
            let flagged = request.json()["input"].to_string().contains("flag");
            return Answer::json(
                200,
                json!({"id": "1", "model": "mod", "results": [{"flagged": flagged}]}).to_string(),
            );
        }
        Answer::json(200, bodies::chat_answer("fine"))
    })
    .await
}

fn judged(stub: &Stub) -> usize {
    stub.received().iter().filter(|request| request.target.ends_with("/moderations")).count()
}

/// A key with these lines, whose requests a moderation model judges that bear `x-guard`.
async fn gateway(stub: &Stub, key: &str, more: &str) -> Gateway {
    let config = format!(
        "{}[[plugins]]\nuse = \"moderation\"\nmodel = \"stub/mod\"\nwhen = {{ header = {{ \"x-guard\" = \"on\" }} }}\n\
         [[keys]]\nname = \"bot\"\nhash = \"{}\"\nteam = \"support\"\ntags = [\"gold\"]\n{key}\n\
         [models.assistant]\ntargets = [{{ provider = \"stub\", model = \"m\", price = {{ input = \"1\", output = \"10\" }} }}]\n{more}\n",
        bodies::openai_provider("stub", &stub.origin()),
        bodies::key_hash("sk"),
    );
    Gateway::start(&config).await
}

async fn ask(gateway: &Gateway, text: &str, guard: &str) -> Reply {
    let turns = json!([{"role": "user", "content": text}]);
    let body = json!({"model": "assistant", "messages": turns}).to_string();
    let request = Request::post("/v1/chat/completions", body).header("x-api-key", "sk").header("x-guard", guard);
    let reply = exchange(gateway.addr, &request).await;
    gateway.at_rest().await;
    reply
}

/// Some providers pack what nobody asked them to, and do not say what it is.
#[tokio::test]
async fn a_packed_verdict_counts() {
    let stub = Stub::start(|request| {
        if !request.target.ends_with("/moderations") {
            return Answer::json(200, bodies::chat_answer("fine"));
        }
        let flagged = request.json()["input"].to_string().contains("flag");
        let verdict = json!({"id": "1", "model": "mod", "results": [{"flagged": flagged}]});
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(verdict.to_string().as_bytes()).unwrap();
        Answer::status(200).header("content-encoding", "gzip").step(Step::Send(packed.finish().unwrap().into()))
    })
    .await;
    let gateway = gateway(&stub, "", "").await;
    let statuses = [ask(&gateway, "hello", "on").await.status, ask(&gateway, "flag me", "on").await.status];
    assert_eq!(statuses, [200, 403]);
}

/// It hears the same as who comes to its limits without a guard, and counts as refused once.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_room_is_refused_before_a_model_is_asked() {
    let stub = upstream().await;
    // A request is expected to use more than a thousand tokens, and uses twelve, for 57 millionths of a dollar.
    for (key, more, subject, kind) in [
        ("limits = { requests = \"1/day\" }", "", "key:bot", "requests"),
        ("limits = { tokens = \"1025/day\" }", "", "key:bot", "tokens"),
        ("budget = { usd = 0.00005, per = \"month\" }", "", "key:bot", "budget"),
        ("", "[teams.support]\nlimits = { requests = \"1/day\" }", "team:support", "requests"),
        ("", "[tags.gold]\nbudget = { usd = 0.00005, per = \"total\" }", "tag:gold", "budget"),
        ("", "limits = { requests = \"1/day\" }", "model:assistant", "requests"),
        ("", "[limits]\nrequests = \"1/day\"", "global", "requests"),
    ] {
        let gateway = gateway(&stub, key, more).await;
        let before = judged(&stub);
        assert_eq!(ask(&gateway, "hi", "on").await.status, 200, "{subject} {kind}");
        let unguarded = ask(&gateway, "hi", "off").await;
        for _ in 0..3 {
            let refused = ask(&gateway, "hi", "on").await;
            assert_eq!((refused.status, refused.json()), (unguarded.status, unguarded.json()), "{subject} {kind}");
            let told = |reply: &Reply| {
                let name = |name: &http::HeaderName| name.as_str().to_owned();
                let mut names: Vec<String> = reply.headers.keys().map(name).collect();
                names.sort();
                let left =
                    ["requests", "tokens"].map(|of| reply.header(&format!("x-ratelimit-remaining-{of}")).to_owned());
                (names, left)
            };
            assert_eq!(told(&refused), told(&unguarded), "{subject} {kind}");
        }
        assert_eq!(judged(&stub) - before, 1, "{subject} {kind}");
        let labels = format!("subject=\"{subject}\",kind=\"{kind}\"");
        assert_eq!(gateway.counted("gateway_limit_rejected_total", &labels).await, 4, "{subject} {kind}");
        let failed = "plugin=\"moderation\",hook=\"request\",verdict=\"error\"";
        assert_eq!(gateway.counted("gateway_plugin_calls_total", failed).await, 0, "the plugin has not failed");
    }
}

/// What a guard refuses counts against no limit, and what the cache may answer needs no room for tokens.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_yet_have_room_is_judged() {
    let stub = upstream().await;
    let gateway_of_one = gateway(&stub, "limits = { requests = \"1/day\" }", "").await;
    for (text, status) in [("a flag", 403), ("a flag", 403), ("hi", 200), ("a flag", 429)] {
        assert_eq!(ask(&gateway_of_one, text, "on").await.status, status, "{text}");
    }
    assert_eq!(judged(&stub), 3);

    let cached = gateway(&stub, "limits = { tokens = \"1025/day\" }", "cache = { ttl = \"1h\" }").await;
    for (text, status, kept) in [("hi", 200, "miss"), ("hi", 200, "hit"), ("bye", 429, ""), ("hi", 200, "hit")] {
        let reply = ask(&cached, text, "on").await;
        assert_eq!(reply.status, status, "{text}: {}", reply.text());
        assert!(kept.is_empty() || reply.header("x-gateway-cache") == kept, "{text}");
    }

    // A rule may send a request to a model that has room.
    let more = "limits = { requests = \"1/day\" }\n[models.other]\ntargets = [{ provider = \"stub\", model = \"o\" }]\n\
                [[routes]]\nwhen = { header = { \"x-guard\" = \"on\" } }\nmodel = \"other\"";
    let routed = gateway(&stub, "", more).await;
    assert_eq!(ask(&routed, "hi", "off").await.status, 200);
    for guard in ["on", "on"] {
        assert_eq!(ask(&routed, "hi", guard).await.status, 200);
    }
    assert_eq!(ask(&routed, "hi", "off").await.status, 429);
}
