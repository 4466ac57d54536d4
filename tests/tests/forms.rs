//! Bodies and the `content-type` that says how to read them: the provider reads what the gateway read.

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies, is_installed};
use std::process::Stdio;

const PATH: &str = "/v1/audio/transcriptions";
const HEARD: &str = r#"{"text":"heard"}"#;

fn provider(stub: &Stub) -> String {
    format!("[providers.up]\nkind = \"openai\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n", stub.origin())
}

async fn start(answer: &'static str) -> (Stub, Gateway) {
    let stub = Stub::always(Answer::json(200, answer)).await;
    let hash = bodies::key_hash("sk-forms");
    let key = format!("[[keys]]\nname = \"forms\"\nhash = \"{hash}\"\nmodels = [\"up/allowed\"]\n");
    let gateway = Gateway::start(&format!("{}{key}", provider(&stub))).await;
    (stub, gateway)
}

fn post(target: &str, content_types: &[&str], body: impl Into<bytes::Bytes>) -> Request {
    let mut request = Request::post(target, body).header("authorization", "Bearer sk-forms");
    request.headers.retain(|(name, _)| name != "content-type");
    content_types.iter().fold(request, |request, content_type| request.header("content-type", content_type))
}

fn part(boundary: &str, name: &str, value: &str) -> String {
    format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// The message of a refusal as OpenAI's clients read it.
fn message(reply: &Reply) -> String {
    let error = &reply.json()["error"];
    assert_eq!(error["type"], "invalid_request_error", "{}", reply.text());
    error["message"].as_str().unwrap_or_default().to_owned()
}

/// All that a provider may read of it is in the one `content-type` that the gateway writes.
#[tokio::test]
async fn the_provider_gets_the_boundary_that_was_read() {
    let (stub, gateway) = start(HEARD).await;
    for (sent, boundary, forwarded) in [
        ("multipart/form-data; boundary=ab", "ab", "multipart/form-data; boundary=ab"),
        ("Multipart/Form-Data;charset=utf-16; Boundary=\"ab\"", "ab", "multipart/form-data; boundary=ab"),
        (
            "multipart/form-data; boundary==_a?b; x=\"; boundary=cd\"",
            "=_a?b",
            "multipart/form-data; boundary=\"=_a?b\"",
        ),
    ] {
        let form =
            |model: &str| part(boundary, "model", model) + &part(boundary, "file", "x") + &format!("--{boundary}--");
        let reply = exchange(gateway.addr, &post(PATH, &[sent], form("up/allowed"))).await;
        assert_eq!(reply.status, 200, "{sent}: {}", reply.text());
        let received = stub.next().await;
        let types: Vec<_> = received.headers.get_all("content-type").iter().collect();
        assert_eq!(types, [forwarded], "{sent}");
        assert_eq!(received.body, form("allowed"), "{sent}");
    }
}

/// Each of these has a reader for which it is a form with `model=forbidden` and a prompt that nobody has looked at.
#[tokio::test]
async fn forms_with_two_readings_are_refused() {
    let (stub, gateway) = start(HEARD).await;
    let hidden = |boundary: &str| {
        part(boundary, "model", "forbidden") + &part(boundary, "prompt", "secret") + &format!("--{boundary}--\r\n")
    };
    let shown = part("ab", "model", "up/allowed") + "--ab--\r\n";
    let plain = "multipart/form-data; boundary=ab";
    let disposed = |disposition: &str| {
        format!("--ab\r\nContent-Disposition: form-data; {disposition}\r\n\r\nforbidden\r\n{shown}")
    };
    let encoded = "--ab\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\
                   Content-Transfer-Encoding: quoted-printable\r\n\r\n=73ecret\r\n";
    let cases = [
        (vec![r#"multipart/form-data; boundary="a\b""#], hidden(r"a\b") + &shown, "boundary"),
        (vec!["multipart/form-data; boundary=ab; boundary*=utf-8''cd"], hidden("cd") + &shown, "`*`"),
        (vec!["multipart/form-data; boundary=ab; boundary*0=cd"], hidden("cd") + &shown, "`*`"),
        (vec![plain, "multipart/form-data; boundary=cd"], hidden("cd") + &shown, "more than one `content-type`"),
        (vec![plain], format!("\n{}", part("ab", "prompt", "secret")) + &shown, "does not begin"),
        (vec![plain], hidden("cd") + &shown, "does not begin"),
        (
            vec![plain],
            part("ab", "x", &part("ab", "prompt", "secret").replace("\r\n", "\n")) + &shown,
            "alone on a line",
        ),
        (vec![plain], part("ab", "x", &format!("\n{}", part("ab", "prompt", "secret"))) + &shown, "alone on a line"),
        (vec![plain], disposed("name=\"x\"; Name*=utf-8''model"), "content-disposition"),
        (vec![plain], disposed(r#"name="mod\el""#), "content-disposition"),
        (vec![plain], disposed("name=\"Model\""), "`model` is misspelt"),
        (vec![plain], format!("{encoded}{shown}"), "content-transfer-encoding"),
    ];
    for (content_types, body, why) in cases {
        let reply = exchange(gateway.addr, &post(PATH, &content_types, body.clone())).await;
        assert_eq!(reply.status, 400, "{content_types:?} {body:?}: {}", reply.text());
        assert!(message(&reply).contains(why), "{content_types:?} {body:?}: {}", reply.text());
    }
    assert_eq!(stub.count(), 0);
    let reply = exchange(gateway.addr, &post(PATH, &[plain], shown)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn curl_sends_forms() {
    if !is_installed("curl", std::process::Command::new("curl").arg("--version").output().is_ok(), "apt install curl") {
        return;
    }
    let (stub, gateway) = start(HEARD).await;
    for escape in [&[][..], &["--form-escape"]] {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "-H", "authorization: Bearer sk-forms"]).args(escape);
        curl.args(["-F", "model=up/allowed", "-F", "file=@-;filename=\"a \\\"b\\\".wav\";type=audio/wav"]);
        curl.args(["-F", "prompt=h\u{e9};type=text/plain", &format!("http://{}{PATH}", gateway.addr)]);
        let output = curl.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, HEARD, "{}", String::from_utf8_lossy(&output.stderr));
        let sent = String::from_utf8_lossy(&stub.next().await.body).into_owned();
        assert!(sent.contains("name=\"model\"\r\n\r\nallowed\r\n") && sent.contains("h\u{e9}"), "{sent}");
    }
}

/// Some providers read a form where the header says so, whatever the path.
#[tokio::test]
async fn json_goes_on_as_json() {
    let (stub, gateway) = start(r#"{"object":"list","data":[]}"#).await;
    let body = r#"{"model":"up/allowed","input":"x","z":"&model=forbidden&input=secret&y="}"#;
    let types: [&[&str]; 7] = [
        &[],
        &["application/json; charset=utf-16"],
        &["text/plain;charset=UTF-8"],
        &["application/octet-stream"],
        &["nonsense"],
        &["application/json", "application/x-www-form-urlencoded"],
        // What curl says of any body.
        &["application/x-www-form-urlencoded"],
    ];
    for content_types in types {
        let reply = exchange(gateway.addr, &post("/v1/embeddings", content_types, body)).await;
        assert_eq!(reply.status, 200, "{content_types:?}: {}", reply.text());
        let received = stub.next().await;
        let sent: Vec<_> = received.headers.get_all("content-type").iter().collect();
        assert_eq!(sent, ["application/json"], "{content_types:?}");
        assert_eq!(received.body, body.replace("up/", ""));
    }
}

#[tokio::test]
async fn a_form_where_json_is_asked_is_refused_clearly() {
    let (stub, gateway) = start(HEARD).await;
    let form = part("ab", "model", "up/allowed") + "--ab--\r\n";
    for target in ["/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/v1/responses", "/v2/chat"] {
        for (content_type, body) in [
            ("multipart/form-data; boundary=ab", form.as_str()),
            ("Multipart/Mixed; boundary=ab", &form),
            ("application/x-www-form-urlencoded; charset=utf-8", "model=up%2Fallowed&input=x"),
            ("application/x-www-form-urlencoded", ""),
        ] {
            let reply = exchange(gateway.addr, &post(target, &[content_type], body.to_owned())).await;
            assert_eq!(reply.status, 415, "{target} {content_type}: {}", reply.text());
            let body = reply.json();
            let message = body["error"]["message"].as_str().or(body["message"].as_str()).unwrap_or_default();
            assert!(message.contains("application/json"), "{target}: {body}");
            assert_eq!(body["type"] == "error", target == "/v1/messages", "{body}");
        }
    }
    assert_eq!(stub.count(), 0);
}

/// All clients share an account upstream: with the same idempotency key one would get another's answer.
#[tokio::test]
async fn an_idempotency_key_is_bound_to_its_client() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let keys = ["a", "b"].map(|name| {
        let hash = bodies::key_hash(&format!("sk-{name}"));
        format!("[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nmodels = [\"up/*\"]\n")
    });
    let gateway = Gateway::start(&format!("{}{}", provider(&stub), keys.concat())).await;
    let mut told = Vec::new();
    for (client, value) in [("sk-a", "order-17"), ("sk-a", "order-17"), ("sk-b", "order-17"), ("sk-a", "order-18")] {
        let request = Request::post("/v1/chat/completions", bodies::chat("up/m"))
            .header("authorization", &format!("Bearer {client}"))
            .header("idempotency-key", value);
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        told.push(stub.next().await.header("idempotency-key").to_owned());
    }
    assert_eq!(told[0], told[1], "a client that tries again");
    assert!(told[0] != told[2] && told[0] != told[3] && !told.iter().any(|told| told.contains("order")), "{told:?}");
    let open = Gateway::start(&provider(&stub)).await;
    let request = Request::post("/v1/chat/completions", bodies::chat("up/m")).header("idempotency-key", "order-17");
    assert_eq!(exchange(open.addr, &request).await.status, 200);
    assert_eq!(stub.next().await.header("idempotency-key"), "order-17", "there is one client");
}
