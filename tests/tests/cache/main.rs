//! The cache: what is kept, who is given it, and one upstream call shared live by everyone who asks the same.
//!
//! | file | subject |
//! |---|---|
//! | `hits`, `paid` | what is kept and in which form it is given; what that costs |
//! | `permission` | who may be given it, whoever asks what, at once or after another |
//! | `tiers` | where it is kept, and for whom: across restarts, instances and failures, until it is purged |
//! | `semantic` | questions that mean nearly the same |
//! | `live`, `readers`, `broken` | calls that are shared while they run; those who leave, stall or wait; those that break |
//! | `with` | shared calls together with what else may happen to a call |

mod broken;
mod hits;
mod live;
mod paid;
mod permission;
mod readers;
mod semantic;
mod tiers;
mod with;

use std::sync::atomic::{AtomicUsize, Ordering};

use ai_gateway_tests::client::{Reply, Request};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};
use serde_json::{Value, json};

const PATH: &str = "/v1/chat/completions";
const KEEPS: &str = "cache = { ttl = \"10m\" }";

async fn start(stub: &Stub, more: &str) -> Gateway {
    let provider = bodies::openai_provider("stub", &stub.origin());
    Gateway::start(&format!("{provider}health = {{ failures = 0, rate = 0 }}\n{more}")).await
}

fn model(more: &str) -> String {
    format!("[models.m]\ntargets = [{{ provider = \"stub\", model = \"u\" }}]\n{more}\n")
}

/// An upstream whose every answer is another one.
async fn counting() -> Stub {
    let calls = AtomicUsize::new(0);
    Stub::start(move |request| {
        let text = format!("answer {}", calls.fetch_add(1, Ordering::Relaxed));
        if request.json()["stream"] == true {
            let words = [bodies::chat_role(), bodies::chat_delta(&text), bodies::chat_finish()];
            return Answer::sse(words.into_iter().chain([bodies::chat_usage(), bodies::DONE.to_owned()]));
        }
        Answer::json(200, bodies::chat_answer(&text)).header("openai-processing-ms", "7")
    })
    .await
}

fn chat(more: &Value) -> Request {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Request::post(PATH, body.to_string())
}

fn cache(reply: &Reply) -> &str {
    reply.header("x-gateway-cache")
}
