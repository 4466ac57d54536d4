//! What the gateway tells about itself, as its receivers get it: traces and metrics at a collector, metrics at Prometheus' own
//! checker, the access log in a file; and that none of it ever holds a secret or costs a request anything.

mod access_log;
mod exporters;
mod metrics;
mod scrub;
mod traces;

use ai_gateway_tests::{Answer, bodies};

/// `model = "m"`: `one` first, then `two`.
fn two_targets(one: &str, two: &str, settings: &str) -> String {
    format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"one\", model = \"1\" }}, \
         {{ provider = \"two\", model = \"2\", priority = 1 }}]\n{settings}\n",
        bodies::openai_provider("one", one),
        bodies::openai_provider("two", two),
    )
}

fn good_stream() -> Answer {
    Answer::sse(bodies::chat_events("good"))
}
