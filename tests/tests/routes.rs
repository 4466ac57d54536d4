//! `[[routes]]` through the binary: every condition, every action, what the rules see in six dialects, and the models that a
//! client names to fall back on.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};
use serde_json::{Value, json};

/// A stub as the provider `p`, the model `base` on it, keys `gold` (all models) and `small` (only `base`), and these routes.
async fn bench(routes: &str) -> (Stub, Gateway) {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateway = Gateway::start(&config(&stub.origin(), routes)).await;
    (stub, gateway)
}

fn config(origin: &str, routes: &str) -> String {
    format!(
        "{}\n[models.base]\ntargets = [{{ provider = \"p\", model = \"base\" }}]\n{routes}\n\
         [[keys]]\nname = \"gold\"\nhash = \"{}\"\ntags = [\"vip\", \"eu\"]\nteam = \"research\"\nallow = [\"fallbacks\"]\n\
         [[keys]]\nname = \"small\"\nhash = \"{}\"\nmodels = [\"base\"]\n",
        bodies::openai_provider("p", origin),
        bodies::key_hash("sk-gold"),
        bodies::key_hash("sk-small"),
    )
}

fn chat(body: &Value) -> Request {
    Request::post("/v1/chat/completions", body.to_string()).header("authorization", "Bearer sk-gold")
}

fn plain(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

async fn ask(gateway: &Gateway, request: Request) -> Reply {
    exchange(gateway.addr, &request).await
}

/// Which upstream model answered.
async fn answered_by(gateway: &Gateway, request: Request) -> String {
    let reply = ask(gateway, request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-gateway-model").to_owned()
}

#[tokio::test]
async fn each_condition_sends_elsewhere_what_it_is_about_and_nothing_else() {
    let with = |field: &str, value: Value| {
        let mut body = plain("base");
        body[field] = value;
        chat(&body)
    };
    let small = Request::post("/v1/chat/completions", bodies::chat("base")).header("authorization", "Bearer sk-small");
    let embeddings = Request::post("/v1/embeddings", r#"{"model":"base","input":"x"}"#);
    let cases = [
        ("path = \"/v1/emb*\"", embeddings.clone().header("x-api-key", "sk-gold")),
        ("operation = \"embeddings\"", embeddings.header("x-api-key", "sk-gold")),
        (
            "dialect = \"anthropic\"",
            Request::post("/v1/messages", bodies::message("base", false)).header("x-api-key", "sk-gold"),
        ),
        ("header = { x-team = [\"a*\", \"b\"] }", chat(&plain("base")).header("x-team", "abc")),
        ("key = \"small\"", small.clone()),
        ("not = { tag = \"vip\" }", small.clone()),
        ("not = { team = \"research\" }", small),
        ("model = \"gpt-*\"", chat(&plain("gpt-4"))),
        (
            "images = true",
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]),
            ),
        ),
        ("tools = true", with("tools", json!([{"type": "function", "function": {"name": "f"}}]))),
        ("prompt_tokens = { min = 100 }", with("messages", json!([{"role": "user", "content": "x".repeat(400)}]))),
        ("metadata = { env = \"prod\" }", with("metadata", json!({"env": "prod"}))),
        ("metadata = { tags = \"beta\" }", chat(&plain("base")).header("x-litellm-tags", "alpha,beta")),
        ("cel = \"request.headers['x-a'] == request.model\"", chat(&plain("base")).header("x-a", "base")),
    ];
    for (when, matching) in cases {
        let (_stub, gateway) =
            bench(&format!("[[routes]]\nname = \"r\"\nwhen = {{ {when} }}\nmodel = \"p/other\"")).await;
        let reply = ask(&gateway, matching).await;
        assert_eq!((reply.status, reply.header("x-gateway-model")), (200, "other"), "{when}: {}", reply.text());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!(log["route"], "r", "{when}: {log}");
        let reply = ask(&gateway, chat(&plain("base"))).await;
        assert_eq!(reply.header("x-gateway-model"), "base", "{when}: {}", reply.text());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert!(log.get("route").is_none(), "{when}: {log}");
    }
}

#[tokio::test]
async fn tags_teams_and_streams() {
    let routes = "[[routes]]\nwhen = { tag = \"vip\", stream = true }\nmodel = \"p/tagged\"\n\
        [[routes]]\nwhen = { team = \"research\", stream = false }\nmodel = \"p/team\"";
    let (_stub, gateway) = bench(routes).await;
    assert_eq!(answered_by(&gateway, chat(&plain("base"))).await, "team");
    let mut streamed = plain("base");
    streamed["stream"] = true.into();
    let reply = ask(&gateway, chat(&streamed)).await;
    assert_eq!(reply.header("x-gateway-provider"), "p");
    let log = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!(log["route"], "route-1", "{log}");
}

/// Path, plain body, body with an image, body with tools, body with metadata.
fn of_dialect(dialect: Dialect) -> (&'static str, [Value; 4]) {
    let text = json!({"type": "text", "text": "Hello"});
    let message = |content: Value| json!([{"role": "user", "content": content}]);
    let function = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let with = |base: &Value, fields: Value| {
        let mut body = base.clone();
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    let all = |base: Value, image: Value, tools: Value, metadata: Value| {
        [base.clone(), with(&base, image), with(&base, tools), with(&base, metadata)]
    };
    let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    match dialect {
        Dialect::OpenAiChat | Dialect::Cohere | Dialect::Own(_) => (
            if dialect == Dialect::Cohere { "/v2/chat" } else { "/v1/chat/completions" },
            all(
                plain("base"),
                json!({"messages": message(json!([text, url]))}),
                json!({"tools": function}),
                json!({"metadata": {"env": "prod"}}),
            ),
        ),
        Dialect::OpenAiResponses => (
            "/v1/responses",
            all(
                json!({"model": "base", "input": "Hello"}),
                json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]}),
                json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false}]}),
                json!({"metadata": {"env": "prod"}}),
            ),
        ),
        Dialect::Anthropic => (
            "/v1/messages",
            all(
                json!({"model": "base", "max_tokens": 9, "messages": message("Hello".into())}),
                json!({"messages": message(json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]))}),
                json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
                json!({"metadata": {"env": "prod"}}),
            ),
        ),
        Dialect::Gemini => (
            "/v1beta/models/base:generateContent",
            all(
                json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
                json!({"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}]}),
                json!({"tools": [{"functionDeclarations": [{"name": "f"}]}]}),
                json!({"labels": {"env": "prod"}}),
            ),
        ),
        Dialect::Bedrock => (
            "/model/base/converse",
            all(
                json!({"messages": message(json!([{"text": "Hello"}]))}),
                json!({"messages": message(json!([{"image": {"format": "png", "source": {"bytes": "AAAA"}}}]))}),
                json!({"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}}),
                json!({"requestMetadata": {"env": "prod"}}),
            ),
        ),
    }
}

#[tokio::test]
async fn the_body_is_understood_in_six_dialects() {
    let routes = "[[routes]]\nwhen = { images = true }\nmodel = \"p/images\"\n\
        [[routes]]\nwhen = { tools = true }\nmodel = \"p/tools\"\n\
        [[routes]]\nwhen = { metadata = { env = \"prod\" } }\nmodel = \"p/metadata\"\n\
        [[routes]]\nwhen = { prompt_tokens = { min = 2, max = 2 } }\nmodel = \"p/small\"\n";
    let (_stub, gateway) = bench(routes).await;
    for dialect in Dialect::ALL {
        let (path, bodies) = of_dialect(dialect);
        for (body, expected) in bodies.iter().zip(["small", "images", "tools", "metadata"]) {
            let request = Request::post(path, body.to_string()).header("x-api-key", "sk-gold");
            assert_eq!(answered_by(&gateway, request).await, expected, "{dialect}: {body}");
        }
    }
}

#[tokio::test]
async fn a_rule_may_open_what_a_key_could_not_name_and_rejects_in_every_dialect() {
    let routes = "[[routes]]\nwhen = { key = \"small\", model = [\"base\", \"wish\"] }\nmodel = \"p/opened\"\n\
        [[routes]]\nwhen = { header = { x-no = \"*\" } }\nreject = { message = \"not on Sundays\", status = 451 }\n\
        [[routes]]\nwhen = { model = \"own\" }\nname = \"pair\"\n\
        targets = [{ provider = \"p\", model = \"first\" }, { provider = \"p\", model = \"second\", priority = 1 }]\n";
    let (stub, gateway) = bench(routes).await;
    let small = |model: &str| Request::post("/v1/chat/completions", bodies::chat(model)).header("api-key", "sk-small");
    assert_eq!(answered_by(&gateway, small("base")).await, "opened");
    let reply = ask(&gateway, small("wish")).await;
    assert_eq!(reply.status, 404, "neither name is allowed: {}", reply.text());
    assert_eq!(answered_by(&gateway, chat(&plain("own"))).await, "first");
    let asked = stub.count();
    for dialect in Dialect::ALL {
        let (path, [body, ..]) = of_dialect(dialect);
        let request = Request::post(path, body.to_string()).header("x-api-key", "sk-gold").header("x-no", "1");
        let reply = ask(&gateway, request).await;
        assert_eq!(reply.status, 451, "{dialect}: {}", reply.text());
        let body = reply.json();
        let message = if body["error"].is_object() { &body["error"]["message"] } else { &body["message"] };
        assert_eq!(message, "not on Sundays", "{dialect}: {body}");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((&log["fault"], &log["error"]), (&"policy".into(), &"rejected".into()), "{dialect}: {log}");
        assert_eq!(log["route"], "route-2", "{dialect}: {log}");
    }
    assert_eq!(stub.count(), asked, "nothing that is rejected goes upstream");
}

#[tokio::test]
async fn headers_and_fields_reach_the_provider_and_nothing_else_changes() {
    let routes = "[[routes]]\nheaders = { set = { x-extra = \"1\", user-agent = \"gw\" }, remove = [\"x-title\"] }\n\
        body = { set = { temperature = 0.5, extra = { a = [1] } }, remove = [\"top_p\"] }\n";
    let (stub, gateway) = bench(routes).await;
    let body = r#"{ "top_p":1e0, "model" : "base",  "temperature":1, "messages":[ {"role":"user","content":"Hé\u00e9"} ], "n": 1.0 }"#;
    let request = Request::post("/v1/chat/completions", body)
        .header("authorization", "Bearer sk-gold")
        .header("x-title", "app")
        .header("user-agent", "client");
    assert_eq!(answered_by(&gateway, request).await, "base");
    let received = stub.next().await;
    let sent = r#"{ "model" : "base",  "temperature":0.5, "messages":[ {"role":"user","content":"Hé\u00e9"} ], "n": 1.0,"extra":{"a":[1]} }"#;
    assert_eq!(String::from_utf8_lossy(&received.body), sent);
    assert_eq!((received.header("x-extra"), received.header("user-agent")), ("1", "gw"));
    assert!(!received.headers.contains_key("x-title"));
    assert_eq!(received.header("authorization"), "Bearer upstream-p");
}

#[tokio::test]
async fn a_canary_is_the_same_for_a_user_after_a_restart() {
    let routes = "[[routes]]\nname = \"canary\"\nsplit = [{ model = \"base\", percent = 50 }, { model = \"p/new\", percent = 50 }]\n";
    let mut sides = Vec::new();
    for _ in 0..2 {
        let (_stub, gateway) = bench(routes).await;
        let mut drawn = Vec::new();
        for user in 0..16 {
            let mut body = plain("base");
            body["user"] = format!("user-{user}").into();
            let first = answered_by(&gateway, chat(&body)).await;
            body["messages"] = json!([{"role": "user", "content": "again"}]);
            assert_eq!(answered_by(&gateway, chat(&body)).await, first, "user-{user}");
            drawn.push(first);
        }
        sides.push(drawn);
    }
    assert_eq!(sides[0], sides[1]);
    // The golden tickets of routing/rules/split.rs, halved.
    assert!(sides[0].contains(&"base".to_owned()) && sides[0].contains(&"new".to_owned()), "{:?}", sides[0]);
}

#[tokio::test]
async fn an_expression_that_fails_is_counted_and_does_not_match() {
    let (_stub, gateway) =
        bench("[[routes]]\nname = \"odd\"\nwhen = { cel = \"request.headers['x-a'] == 'b'\" }\nmodel = \"p/x\"").await;
    assert_eq!(answered_by(&gateway, chat(&plain("base"))).await, "base");
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(metrics.contains("gateway_route_errors_total{route=\"odd\"} 1"), "{metrics}");
}

#[tokio::test]
async fn fallbacks_of_the_client() {
    let bad = Stub::always(Answer::json(500, "{}")).await;
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let many = "[models.many]\nretry = { attempts = 2, same_target = false }\ntargets = [{ provider = \"p\", model = \"1\" }, \
        { provider = \"p\", model = \"2\" }, { provider = \"p\", model = \"3\" }, { provider = \"p\", model = \"4\" }]\n";
    let config = format!("{}{}{many}", config(&bad.origin(), ""), bodies::openai_provider("good", &good.origin()));
    let gateway = Gateway::start(&config).await;
    let with = |field: &str, value: Value| {
        let mut body = plain("base");
        body[field] = value;
        body
    };
    for field in ["fallbacks", "models"] {
        let reply = ask(&gateway, chat(&with(field, json!(["good/m"])))).await;
        assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "good"), "{field}: {}", reply.text());
        let received = [bad.next().await, good.next().await];
        for received in received {
            assert!(received.json().get(field).is_none(), "{field} went upstream");
        }
    }
    // OpenRouter's clients leave `model` out.
    let mut body = with("models", json!(["good/first", "base"]));
    body.as_object_mut().unwrap().remove("model");
    assert_eq!(answered_by(&gateway, chat(&body)).await, "first");

    // A model with more targets than it may have tried does not keep them from their turn.
    let mut many = plain("many");
    many["fallbacks"] = json!(["good/m"]);
    let reply = ask(&gateway, chat(&many)).await;
    assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "good"), "{}", reply.text());
    assert_eq!(reply.header("x-gateway-attempts"), "3", "two of the model's own, and the fallback");

    let mut small = chat(&with("fallbacks", json!(["good/m"])));
    small.headers.retain(|(name, _)| name != "authorization");
    let refused = ask(&gateway, small.header("authorization", "Bearer sk-small")).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("fallbacks"), "{}", refused.text());
    assert_eq!(ask(&gateway, chat(&with("fallbacks", json!(["nowhere/m"])))).await.status, 404);
    for wrong in [json!("good/m"), json!([{"model": "good/m"}]), json!(vec!["good/m"; 9])] {
        assert_eq!(ask(&gateway, chat(&with("fallbacks", wrong.clone()))).await.status, 400, "{wrong}");
    }
}

/// Anthropic's own `fallbacks` is no list of names, and goes to Anthropic as it came.
#[tokio::test]
async fn anthropics_own_fallbacks_are_anthropics() {
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-8",
        "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1000, "output_tokens": 200, "iterations": [
            {"type": "message", "model": "claude-fable-5-2", "input_tokens": 1000, "output_tokens": 0},
            {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 1000, "output_tokens": 200}]}});
    let stub = Stub::always(Answer::json(200, answer.to_string())).await;
    let chats = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let keys = ["any", "some", "few"].map(|name| {
        let models = match name {
            "some" => "models = [\"claude/*\"]",
            "few" => "models = [\"claude/claude-fable-5-2\"]",
            _ => "",
        };
        format!("[[keys]]\nname = \"{name}\"\nhash = \"{}\"\n{models}\n", bodies::key_hash(&format!("sk-{name}")))
    });
    let prices = "[prices.models]\n\"claude/claude-fable-5-2\" = { input = \"10\", output = \"50\" }\n\
        \"claude/claude-opus-4-8\" = { input = \"5\", output = \"25\" }\n";
    let providers = [
        bodies::anthropic_provider("claude", &stub.origin()),
        bodies::openai_provider("chats", &chats.origin()),
        prices.to_owned(),
    ];
    let gateway = Gateway::start(&[providers.concat(), keys.concat()].concat()).await;
    let request = |model: &str, key: &str, fallbacks: &Value| {
        let body = json!({"model": model, "max_tokens": 64, "fallbacks": fallbacks,
            "messages": [{"role": "user", "content": "Hello"}]});
        Request::post("/v1/messages", body.to_string()).header("x-api-key", &format!("sk-{key}"))
    };
    for fallbacks in [json!("default"), json!([{"model": "claude-opus-4-8", "max_tokens": 9}])] {
        for key in ["any", "some"] {
            let reply = ask(&gateway, request("claude/claude-fable-5-2", key, &fallbacks)).await;
            assert_eq!(reply.status, 200, "{key} {fallbacks}: {}", reply.text());
            assert_eq!(stub.next().await.json()["fallbacks"], fallbacks);
            // 1,000 tokens at 5 dollars for a million, and 200 at 25.
            assert_eq!(reply.header("x-gateway-cost"), "0.01", "{key} {fallbacks}");
        }
        let refused = ask(&gateway, request("claude/claude-fable-5-2", "few", &fallbacks)).await;
        assert_eq!(refused.status, 404, "{fallbacks}: {}", refused.text());
        let lost = ask(&gateway, request("chats/m", "any", &fallbacks)).await;
        assert_eq!((lost.status, lost.header("x-gateway-dropped")), (200, "fallbacks"), "{}", lost.text());
        assert!(chats.next().await.json().get("fallbacks").is_none());
    }
    for wrong in [json!("opus"), json!([{"model": 1}]), json!([["a"]]), json!({"model": "m"})] {
        let refused = ask(&gateway, request("claude/claude-fable-5-2", "any", &wrong)).await;
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.text());
    }
}

/// What only the provider knows is told to it, but not by a key that may use certain models only.
#[tokio::test]
async fn models_that_only_the_provider_knows() {
    let (stub, gateway) = bench("").await;
    let advisor = json!([{"type": "advisor_20260301", "name": "advisor", "model": "elsewhere"}]);
    for (field, value) in
        [("models", json!(["elsewhere"])), ("models", json!("elsewhere")), ("preset", json!("x")), ("tools", advisor)]
    {
        let mut body = plain("base");
        body[field] = value;
        assert_eq!(ask(&gateway, chat(&body)).await.status, 200);
        assert_eq!(stub.next().await.json()[field], body[field]);
        let small = Request::post("/v1/chat/completions", body.to_string()).header("authorization", "Bearer sk-small");
        let refused = ask(&gateway, small).await;
        assert_eq!(refused.status, 403, "{field}: {}", refused.text());
        assert!(refused.text().contains(&format!("`{field}`")), "{}", refused.text());
    }
    assert_eq!(stub.count(), 4);
}

/// Two ways to spell a model are one to rules, plugins and keys, however they spell it.
#[tokio::test]
async fn a_model_of_gemini_is_known_by_either_name() {
    let answer = r#"{"candidates":[{"content":{"parts":[{"text":"fine"}]},"finishReason":"STOP"}]}"#;
    let stub = Stub::always(Answer::json(200, answer)).await;
    let names = ["gem/gemini-3-pro", "gem/models/gemini-3-pro"];
    for pattern in names {
        let gateway = Gateway::start(&format!(
            r#"
            [providers.gem]
            kind = "gemini"
            base_url = "{}"
            api_key = "k"
            [[keys]]
            name = "bot"
            hash = "{}"
            models = ["{pattern}"]
            [[routes]]
            when = {{ model = "{pattern}", header = {{ x-reject = "*" }} }}
            reject = {{ status = 403, message = "no" }}
            [[plugins]]
            use = "pii"
            when = {{ model = "{pattern}" }}
            "#,
            stub.origin(),
            bodies::key_hash("sk-bot"),
        ))
        .await;
        for model in names {
            let path = format!("/v1beta/models/{}:generateContent", model.replace('/', "%2F"));
            let text = "write to ada@example.com";
            let chat = json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
            let native = json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] });
            for (path, body) in [("/v1/chat/completions", chat), (&*path, native)] {
                let request = || Request::post(path, body.to_string()).header("authorization", "Bearer sk-bot");
                let rejected = ask(&gateway, request().header("x-reject", "1")).await;
                assert_eq!(rejected.status, 403, "{pattern} {model} {path}");
                let reply = ask(&gateway, request()).await;
                assert_eq!(reply.status, 200, "{pattern} {model} {path}: {}", reply.text());
                let sent = stub.next().await;
                assert!(!String::from_utf8_lossy(&sent.body).contains("ada@"), "{pattern} {model} {path}");
            }
        }
        let other = Request::post("/v1/chat/completions", bodies::chat("gem/gemini-3-flash"));
        assert_eq!(ask(&gateway, other.header("authorization", "Bearer sk-bot")).await.status, 404);
        let list = ask(&gateway, Request::get("/v1/models").header("authorization", "Bearer sk-bot")).await;
        assert_eq!(list.json()["data"][0]["id"], names[0], "{}", list.text());
    }
    assert_eq!(stub.count(), 8);
}

#[tokio::test]
async fn models_without_a_price_are_refused_where_one_is_required() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let prices = "[prices]\nrequire = true\n[prices.models.\"p/priced\"]\ninput = 1\noutput = 2\n\
        [[routes]]\nwhen = { header = { x-other = \"*\" } }\nmodel = \"p/other\"\n";
    let gateway = Gateway::start(&format!("{}{prices}", bodies::openai_provider("p", &stub.origin()))).await;
    assert_eq!(answered_by(&gateway, chat(&plain("p/priced"))).await, "priced");
    for refused in [chat(&plain("p/other")), chat(&plain("p/priced")).header("x-other", "1")] {
        let reply = ask(&gateway, refused).await;
        assert_eq!(reply.status, 403, "{}", reply.text());
        assert!(reply.text().contains("the price of the model `p/other` is not known"), "{}", reply.text());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((&log["fault"], &log["error"]), (&"policy".into(), &"forbidden".into()), "{log}");
    }
    assert_eq!(stub.count(), 1);
}

/// The rules decide of each model that a client falls back on as if it had been asked for.
#[tokio::test]
async fn a_fallback_is_decided_like_any_model() {
    let stub = Stub::start(|request| match request.json()["model"].as_str() {
        Some("base") => Answer::json(503, r#"{"error":{"message":"away"}}"#),
        _ => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await;
    let routes = "[models.banned]\ntargets = [{ provider = \"p\", model = \"banned\" }]\n\
                  [models.eu]\ntargets = [{ provider = \"p\", model = \"eu\" }]\n\
                  [models.good]\ntargets = [{ provider = \"p\", model = \"good\" }]\n\
                  [[routes]]\nwhen = { model = \"banned\" }\nreject = { status = 403, message = \"not this one\" }\n\
                  [[routes]]\nwhen = { model = \"eu\" }\nmodel = \"good\"\n";
    let gateway = Gateway::start(&config(&stub.origin(), routes)).await;
    let with = |fallback: &str| {
        let mut body = plain("base");
        body["fallbacks"] = json!([fallback]);
        chat(&body)
    };
    let reply = ask(&gateway, with("banned")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(reply.text().contains("not this one"), "{}", reply.text());
    assert_eq!(answered_by(&gateway, with("eu")).await, "good");
}
