//! The gateway's own credentials at the clouds: signatures that AWS would accept, tokens of Google and Azure that are
//! fetched once and renewed, and what happens when there are none.

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Received, Step, Stub, bodies, guard};
use futures::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const KEY: &str = include_str!("../../gateway/src/credentials/test_key.pem");
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

async fn upstream() -> Stub {
    Stub::always(Answer::json(200, r#"{"type":"message","content":[]}"#)).await
}

/// A token endpoint: the n-th token is `token-n`.
async fn issuer(lifetime: u64) -> Stub {
    let count = AtomicUsize::new(0);
    Stub::start(move |_| token(count.fetch_add(1, Ordering::SeqCst) + 1, lifetime)).await
}

fn token(number: usize, lifetime: u64) -> Answer {
    let token = json!({ "access_token": format!("token-{number}"), "expires_in": lifetime, "token_type": "Bearer" });
    Answer::json(200, token.to_string())
}

async fn ask(gateway: &Gateway, target: &str, model: &str) -> Reply {
    exchange(gateway.addr, &Request::post(target, bodies::message(model, false))).await
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

/// What AWS does with a request: computes the signature of what arrived.
fn assert_signed(request: &Received, id: &str, region: &str) {
    let authorization = request.header("authorization").to_owned();
    let field = |name: &str| {
        let start = authorization.find(&format!("{name}=")).unwrap_or_else(|| panic!("{name} in {authorization:?}"));
        authorization[start + name.len() + 1..].split(',').next().unwrap().to_owned()
    };
    let date = request.header("x-amz-date");
    let scope = format!("{}/{region}/bedrock/aws4_request", &date[..8]);
    assert_eq!(field("Credential"), format!("{id}/{scope}"));
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    assert_eq!(query, "");
    let names = field("SignedHeaders");
    for needed in ["content-type", "host", "x-amz-date"] {
        assert!(names.split(';').any(|name| name == needed), "{names}");
    }
    assert!(!names.contains("content-length"), "{names}");
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", request.header(name))).collect();
    let canonical = format!(
        "{}\n{}\n\n{headers}\n{names}\n{}",
        request.method,
        path.replace('%', "%25"),
        hex::encode(Sha256::digest(&request.body))
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(&canonical)));
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    assert_eq!(field("Signature"), hex::encode(hmac(&key, to_sign.as_bytes())), "of\n{canonical}");
}

fn bedrock(origin: &str, keys: &str) -> String {
    format!(
        "[providers.aws]\nkind = \"bedrock\"\nregion = \"us-east-1\"\nbase_url = \"{origin}\"\n\
         dialects = [\"anthropic\"]\n{keys}"
    )
}

#[tokio::test]
async fn bedrock_gets_a_signature_over_exactly_what_arrives() {
    let stub = upstream().await;
    let keys = "access_key_id = \"env:ID\"\nsecret_access_key = \"env:SECRET\"";
    for (config, session) in [(keys.to_owned(), ""), (format!("{keys}\nsession_token = \"env:TOKEN\""), "session+1==")]
    {
        let gateway = Gateway::builder()
            .config(&bedrock(&stub.origin(), &config))
            .env("ID", "AKIDEXAMPLE")
            .env("SECRET", SECRET)
            .env("TOKEN", session)
            .start()
            .await;
        for target in ["/v1/messages", "/v1/messages?beta=true"] {
            let model = "aws/arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-x-v1:0";
            let reply = ask(&gateway, target, model).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let seen = stub.next().await;
            assert_eq!(
                seen.target,
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude-x-v1%3A0/invoke"
            );
            assert_eq!(seen.header("host"), stub.addr.to_string());
            assert_eq!(seen.header("x-amz-security-token"), session);
            assert_signed(&seen, "AKIDEXAMPLE", "us-east-1");
        }
    }
}

/// They refuse others, and the fields that belong to them.
#[tokio::test]
async fn clouds_are_told_the_betas_that_they_take() {
    let stub = upstream().await;
    let keys = format!("access_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"{SECRET}\"\n");
    let google = "access_token = \"google\"\nproject = \"acme\"";
    let config = format!("{}{}", bedrock(&stub.origin(), &keys), vertex(&stub.origin(), google));
    let gateway = Gateway::start(&config).await;
    let mark = json!({"type": "ephemeral", "scope": "global"});
    let tool = json!({"name": "f", "input_schema": {"type": "object"}, "eager_input_streaming": true});
    let asked = |model: &str| {
        let body = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
            "system": [{"type": "text", "text": "s", "cache_control": mark}], "tools": [tool]});
        Request::post("/v1/messages?beta=true", body.to_string()).header(
            "anthropic-beta",
            "claude-code-20250219,prompt-caching-scope-2026-01-05,interleaved-thinking-2025-05-14,advanced-tool-use-2025-11-20",
        )
    };
    let (bedrock_model, vertex_model) =
        ("aws/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "google/claude-sonnet-4-5");
    let taken = ["interleaved-thinking-2025-05-14", "tool-search-tool-2025-10-19"];
    for (model, header, body) in [(bedrock_model, "", json!(taken)), (vertex_model, &*taken.join(","), json!(null))] {
        let reply = exchange(gateway.addr, &asked(model)).await;
        let dropped = "betas.prompt-caching-scope-2026-01-05,tools.eager_input_streaming";
        assert_eq!(reply.header("x-gateway-dropped"), dropped, "{model}: {}", reply.text());
        let seen = stub.next().await;
        assert_eq!((seen.header("anthropic-beta"), &seen.json()["anthropic_beta"]), (header, &body), "{model}");
        assert_eq!(seen.json()["system"][0]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(seen.json()["tools"][0], json!({"name": "f", "input_schema": {"type": "object"}}));
    }
    let only = "betas = [\"claude-code-20250219\"]\n";
    let gateway = Gateway::start(&bedrock(&stub.origin(), &format!("{keys}{only}"))).await;
    exchange(gateway.addr, &asked(bedrock_model)).await;
    assert_eq!(stub.next().await.json()["anthropic_beta"], json!(["claude-code-20250219"]));
}

/// Claude is asked in its maker's API by clients of other APIs, too, all others through Converse; so is Claude about files that its
/// own API does not take.
#[tokio::test]
async fn clients_of_other_apis_reach_claude_on_bedrock_in_its_own() {
    let stub = upstream().await;
    let account = format!(
        "[providers.aws]\nkind = \"bedrock\"\nregion = \"us-east-1\"\nbase_url = \"{}\"\n\
         access_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"{SECRET}\"",
        stub.origin()
    );
    let gateway = Gateway::start(&account).await;
    let file = |name: &str, mime: &str| {
        let file = json!({"filename": name, "file_data": format!("data:{mime};base64,UEsDBA==")});
        json!([{"type": "text", "text": "hi"}, {"type": "file", "file": file}])
    };
    let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let at = |url: &str| json!([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "hi"}]);
    let (claude, nova) = ("us.anthropic.claude-x-v1:0", "amazon.nova-pro-v1:0");
    for (model, content, path) in [
        (claude, json!("hi"), "/model/us.anthropic.claude-x-v1%3A0/invoke"),
        (claude, file("a.pdf", "application/pdf"), "/model/us.anthropic.claude-x-v1%3A0/invoke"),
        (claude, file("a.docx", word), "/model/us.anthropic.claude-x-v1%3A0/converse"),
        (claude, at("s3://bucket/a.png"), "/model/us.anthropic.claude-x-v1%3A0/converse"),
        // Neither takes it.
        (claude, at("https://x/a.png"), "/model/us.anthropic.claude-x-v1%3A0/invoke"),
        (nova, json!("hi"), "/model/amazon.nova-pro-v1%3A0/converse"),
    ] {
        let body = json!({"model": format!("aws/{model}"), "messages": [{"role": "user", "content": content}]});
        exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await;
        let seen = stub.next().await;
        assert_eq!(seen.target, path);
        assert_signed(&seen, "AKIDEXAMPLE", "us-east-1");
    }
}

#[tokio::test]
async fn bedrock_takes_what_the_environment_the_profile_and_the_instance_have() {
    let stub = upstream().await;
    let gateway = Gateway::builder()
        .config(&bedrock(&stub.origin(), ""))
        .env("AWS_ACCESS_KEY_ID", "AKIDENV")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .start()
        .await;
    assert_eq!(ask(&gateway, "/v1/messages", "aws/m").await.status, 200);
    assert_signed(&stub.next().await, "AKIDENV", "us-east-1");

    let metadata = Stub::start(|request| match request.target.as_str() {
        "/latest/api/token" => Answer::json(200, "imds-token"),
        "/latest/meta-data/iam/security-credentials/" => Answer::json(200, "role"),
        "/latest/meta-data/iam/security-credentials/role" => {
            assert_eq!(request.header("x-aws-ec2-metadata-token"), "imds-token");
            let keys = json!({
                "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAROLE", "SecretAccessKey": SECRET,
                "Token": "of-the-role", "Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2020-01-01T00:00:00Z",
            });
            Answer::json(200, keys.to_string())
        }
        _ => Answer::status(404),
    })
    .await;
    let somebody = tempfile::tempdir().unwrap();
    let profiles = somebody.path().join("profiles");
    std::fs::write(&profiles, format!("[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = {SECRET}\n"))
        .unwrap();
    let gateway = Gateway::builder()
        .config(&bedrock(&stub.origin(), ""))
        .env("AWS_SHARED_CREDENTIALS_FILE", profiles.to_str().unwrap())
        .env("AWS_PROFILE", "work")
        .start()
        .await;
    assert_eq!(ask(&gateway, "/v1/messages", "aws/m").await.status, 200);
    assert_signed(&stub.next().await, "AKIDWORK", "us-east-1");

    let nobody = tempfile::tempdir().unwrap();
    let gateway = Gateway::builder()
        .config(&bedrock(&stub.origin(), ""))
        .env("HOME", nobody.path().to_str().unwrap())
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.origin())
        .start()
        .await;
    let replies = join_all((0..20).map(|_| ask(&gateway, "/v1/messages", "aws/m"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    for _ in 0..20 {
        let seen = stub.next().await;
        assert_eq!(seen.header("x-amz-security-token"), "of-the-role");
        assert_signed(&seen, "ASIAROLE", "us-east-1");
    }
    assert_eq!(metadata.count(), 3, "asked once");
}

#[tokio::test]
async fn bedrock_without_any_credential_is_the_gateways_fault() {
    let (stub, nobody) = (upstream().await, tempfile::tempdir().unwrap());
    let mut gateway = Gateway::builder()
        .config(&bedrock(&stub.origin(), ""))
        .env("HOME", nobody.path().to_str().unwrap())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .start()
        .await;
    let reply = ask(&gateway, "/v1/messages", "aws/m").await;
    assert_eq!((reply.status, reply.header("x-gateway-attempts")), (502, "1"), "{}", reply.text());
    assert!(reply.text().contains("the gateway's credentials"), "{}", reply.text());
    let line = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!((&line["attempts"][0]["outcome"], &line["fault"]), (&json!("no_credentials"), &json!("upstream")));
    assert_eq!(stub.count(), 0);
    gateway.assert_healthy().await;
}

fn service_account(token_uri: &str) -> String {
    json!({
        "type": "service_account", "project_id": "acme", "private_key_id": "k1", "private_key": KEY,
        "client_email": "bot@acme.iam.gserviceaccount.com", "token_uri": token_uri,
    })
    .to_string()
}

fn vertex(origin: &str, more: &str) -> String {
    format!(
        "[providers.google]\nkind = \"vertex\"\nregion = \"us-east5\"\nbase_url = \"{origin}\"\n\
         dialects = [\"anthropic\"]\n{more}\n"
    )
}

async fn vertex_gateway(stub: &Stub, issuer: &Stub, more: &str) -> Gateway {
    Gateway::builder()
        .config(&vertex(&stub.origin(), "credentials = \"env:ACCOUNT\""))
        .config(more)
        .env("ACCOUNT", &service_account(&format!("{}/token", issuer.origin())))
        .start()
        .await
}

#[tokio::test]
async fn a_service_accounts_token_is_fetched_once_for_all() {
    let (stub, gate) = (upstream().await, Gate::new());
    let gated = token(1, 3600).after(&gate);
    let issuer = Stub::start(move |_| gated.clone()).await;
    let gateway = vertex_gateway(&stub, &issuer, "").await;
    let asked = join_all((0..50).map(|_| ask(&gateway, "/v1/messages", "google/claude-x@1")));
    let opened = async {
        let request = issuer.next().await;
        gate.open();
        request
    };
    let (replies, request) = futures::join!(asked, opened);
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    for _ in 0..50 {
        let seen = stub.next().await;
        assert_eq!(
            seen.target,
            "/v1/projects/acme/locations/us-east5/publishers/anthropic/models/claude-x%401:rawPredict"
        );
        assert_eq!(seen.header("authorization"), "Bearer token-1");
    }
    assert_eq!(issuer.count(), 1);

    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/token"));
    let body = String::from_utf8(request.body.to_vec()).unwrap();
    let assertion = body
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap_or_else(|| panic!("{body}"));
    assert_eq!(assertion.split('.').count(), 3, "{assertion}");
    let (_, messages) = gateway.output();
    assert!(!messages.iter().any(|line| line.contains("token-1") || line.contains(assertion)), "{messages:?}");
}

/// How long a provider may take for its first output does not count from before it was asked.
#[tokio::test]
async fn a_slow_token_takes_no_time_from_the_first_output() {
    let events = whole_stream();
    let stub = Stub::start(move |_| Answer::sse(events.clone())).await;
    let mut slow = token(1, 3600);
    slow.steps.insert(0, Step::Pause(Duration::from_millis(1700)));
    let issuer = Stub::start(move |_| slow.clone()).await;
    let gateway = vertex_gateway(&stub, &issuer, "").await;
    let request = Request::post("/v1/messages", bodies::message("google/claude-x@1", true))
        .header("x-gateway-timeout-first-token", "1500ms");
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("message_stop"), "{}", reply.text());
}

fn whole_stream() -> Vec<String> {
    let event = |name: &str, more: Value| {
        let mut data = json!({"type": name});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bodies::anthropic_event(name, &data)
    };
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
    vec![
        event("message_start", json!({ "message": message })),
        event("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
        event("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": "Hi"}})),
        event("content_block_stop", json!({"index": 0})),
        event("message_delta", json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}})),
        event("message_stop", json!({})),
    ]
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    let (stub, issuer) = (upstream().await, issuer(2).await);
    let gateway = vertex_gateway(&stub, &issuer, "").await;
    guard("the third token", async {
        while stub.received().last().is_none_or(|seen| seen.header("authorization") != "Bearer token-3") {
            let reply = ask(&gateway, "/v1/messages", "google/claude-x").await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_fails_over() {
    let (stub, other) = (upstream().await, upstream().await);
    let issuer = Stub::always(Answer::json(400, r#"{"error":"invalid_grant","error_description":"sk-secret"}"#)).await;
    let models = format!(
        "{}\n[models.m]\ntargets = [{{ provider = \"google\", model = \"claude-x\" }}, \
         {{ provider = \"other\", model = \"x\", priority = 1 }}]\nretry = {{ on = [\"connect\"] }}",
        bodies::anthropic_provider("other", &other.origin())
    );
    let gateway = vertex_gateway(&stub, &issuer, &models).await;
    let reply = ask(&gateway, "/v1/messages", "google/claude-x").await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let error: Value = reply.json();
    assert!(error["error"]["message"].as_str().unwrap().contains("the gateway's credentials"), "{error}");
    // From then on the account rests, with all its targets.
    let reply = ask(&gateway, "/v1/messages", "m").await;
    assert_eq!((reply.status, reply.header("x-gateway-attempts")), (200, "1"), "{}", reply.text());
    let fresh = vertex_gateway(&stub, &issuer, &models).await;
    let reply = ask(&fresh, "/v1/messages", "m").await;
    assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "other"), "{}", reply.text());
    assert_eq!(reply.header("x-gateway-attempts"), "2");
    assert_eq!((stub.count(), other.count()), (0, 2));
    gateway.told(|line| line.contains("invalid_grant")).await;
    let messages = gateway.output().1.join("\n");
    assert!(!messages.contains("sk-secret"), "{messages}");
}

#[tokio::test]
async fn vertex_asks_the_machine_it_runs_on() {
    let (stub, nobody) = (upstream().await, tempfile::tempdir().unwrap());
    let metadata = issuer(3600).await;
    let gateway = Gateway::builder()
        .config(&vertex(&stub.origin(), "project = \"acme\""))
        .env("HOME", nobody.path().to_str().unwrap())
        .env("GCE_METADATA_HOST", &metadata.addr.to_string())
        .start()
        .await;
    assert_eq!(ask(&gateway, "/v1/messages", "google/claude-x").await.status, 200);
    assert_eq!(stub.next().await.header("authorization"), "Bearer token-1");
    let asked = metadata.next().await;
    assert_eq!(asked.target, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!((asked.method.as_str(), asked.header("metadata-flavor")), ("GET", "Google"));
}

#[tokio::test]
async fn a_person_refreshes_a_token() {
    let (stub, issuer) = (upstream().await, issuer(3600).await);
    let user = json!({
        "type": "authorized_user", "client_id": "app", "client_secret": "s", "refresh_token": "r/1",
        "token_uri": issuer.origin(),
    });
    let gateway = Gateway::builder()
        .config(&vertex(&stub.origin(), "project = \"acme\"\ncredentials = \"env:ACCOUNT\""))
        .env("ACCOUNT", &user.to_string())
        .start()
        .await;
    assert_eq!(ask(&gateway, "/v1/messages", "google/claude-x").await.status, 200);
    assert_eq!(stub.next().await.header("authorization"), "Bearer token-1");
    let form = issuer.next().await.body;
    assert_eq!(form, "grant_type=refresh_token&client_id=app&client_secret=s&refresh_token=r%2F1");
}

#[tokio::test]
async fn azure_takes_tokens_of_entra() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let entra = issuer(3600).await;
    let config = format!(
        "[providers.azure]\nkind = \"azure\"\nbase_url = \"{}\"\ntenant_id = \"acme.example\"\n\
         client_id = \"app\"\nclient_secret = \"env:SECRET\"",
        stub.origin()
    );
    let gateway = Gateway::builder()
        .config(&config)
        .env("SECRET", "s&1")
        .env("AZURE_AUTHORITY_HOST", &entra.origin())
        .start()
        .await;
    let request = Request::post("/v1/chat/completions", bodies::chat("azure/gpt"));
    let replies = join_all((0..20).map(|_| exchange(gateway.addr, &request))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    for _ in 0..20 {
        let seen = stub.next().await;
        assert_eq!((seen.header("authorization"), seen.header("api-key")), ("Bearer token-1", ""));
        assert_eq!(seen.target, "/openai/v1/chat/completions");
    }
    let asked = entra.next().await;
    assert_eq!((entra.count(), asked.target.as_str()), (1, "/acme.example/oauth2/v2.0/token"));
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&client_id=app&client_secret=s%261\
         &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
    );
}

#[tokio::test]
async fn keys_go_where_each_api_wants_them() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let config = format!(
        "[providers.gemini]\nkind = \"gemini\"\nbase_url = \"{0}\"\napi_key = \"env:KEY\"\n\
         [providers.cohere]\nkind = \"cohere\"\nbase_url = \"{0}\"\napi_key = \"env:KEY\"",
        stub.origin()
    );
    let gateway = Gateway::builder().config(&config).env("KEY", "sk-1").start().await;
    for (model, target) in
        [("gemini/g", "/v1beta/openai/chat/completions"), ("cohere/c", "/compatibility/v1/chat/completions")]
    {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat(model))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen = stub.next().await;
        assert_eq!((seen.target.as_str(), seen.header("authorization")), (target, "Bearer sk-1"));
        assert_eq!(seen.header("x-goog-api-key"), "");
    }
}

#[tokio::test]
async fn a_models_name_does_not_climb() {
    let stub = upstream().await;
    let keys = "access_key_id = \"env:ID\"\nsecret_access_key = \"env:ID\"";
    let gateway = Gateway::builder().config(&bedrock(&stub.origin(), keys)).env("ID", "AKIDEXAMPLE").start().await;
    for model in ["aws/..", "aws/.", "aws/a/../b", "aws/"] {
        let reply = ask(&gateway, "/v1/messages", model).await;
        assert_eq!(reply.status, 404, "{model}: {}", reply.text());
    }
    assert_eq!(stub.count(), 0);
}
